//! The callers: each a task that calls, waits, talks, hangs up, and calls again when the call broke.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use tandem_phone::{Call, CallPlan, CallState, Caller, EndCause, HangUp, Patience, PhoneError};
use tokio::{task::JoinSet, time};

use super::{
    board::Board,
    lines::{LINES, NUMBERS},
};
use crate::{
    limits::TRIES_MAX,
    record::{CallerFacts, Recorder},
};

/// Between a broken call and the next try.
const AGAIN_AFTER: Duration = Duration::from_millis(1_500);
/// Longer than any demo: a call's own end is waited for.
const CALL_MS_MAX: u64 = 3_600_000;
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// One caller's plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallerPlan {
    /// When the call is placed, from the first caller on.
    pub(crate) at: Duration,
    /// Index of the site at which it comes in.
    pub(crate) site: usize,
    /// Index of the line.
    pub(crate) line: usize,
    /// How long the caller talks.
    pub(crate) talk: Duration,
    /// Leaves when no agent was heard for so long; none for the patient.
    pub(crate) patience: Option<Duration>,
}

/// All callers of a run. Dropping it ends their tasks (not their calls).
#[derive(Debug)]
pub(crate) struct Crowd {
    tasks: JoinSet<Result<()>>,
    open: Arc<AtomicUsize>,
    calls: Arc<Mutex<Vec<Call>>>,
}

/// What every caller's task needs.
#[derive(Clone)]
struct Lab {
    trunks: Vec<Caller>,
    sites: Vec<String>,
    recorder: Arc<Recorder>,
    board: Arc<Board>,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Crowd {
    /// The first caller calls now; trunks and sites in the order of the plan.
    #[must_use]
    pub(crate) fn start(
        plans: &[CallerPlan],
        trunks: Vec<Caller>,
        sites: Vec<String>,
        recorder: &Arc<Recorder>,
        board: &Arc<Board>,
    ) -> Self {
        let calls = Arc::default();
        let lab = Lab {
            trunks,
            sites,
            recorder: Arc::clone(recorder),
            board: Arc::clone(board),
            calls: Arc::clone(&calls),
        };
        let open = Arc::new(AtomicUsize::new(plans.len()));
        let mut tasks = JoinSet::new();
        let began = time::Instant::now();
        for (index, plan) in plans.iter().copied().enumerate() {
            let (lab, open) = (lab.clone(), Arc::clone(&open));
            tasks.spawn(async move {
                time::sleep_until(began + plan.at).await;
                let lived = live(&lab, index, plan).await;
                open.fetch_sub(1, Ordering::SeqCst);
                lab.board.pulse(|pulse| pulse.over += 1);
                lived
            });
        }
        Self { tasks, open, calls }
    }

    /// Callers who have not called yet or whose call is not over.
    #[must_use]
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Fails when a caller's task failed: the phones' side is broken, not the cluster.
    ///
    /// # Errors
    /// What the task says.
    pub(crate) fn check(&mut self) -> Result<()> {
        while let Some(ended) = self.tasks.try_join_next() {
            ended.context("a caller's task ended badly")??;
        }
        Ok(())
    }

    /// Waits for a moment.
    ///
    /// # Errors
    /// As [`Crowd::check`].
    pub(crate) async fn until(&mut self, moment: time::Instant) -> Result<()> {
        while time::Instant::now() < moment {
            self.check()?;
            let left = moment.duration_since(time::Instant::now());
            time::sleep(left.min(LOOK_EVERY)).await;
        }
        Ok(())
    }

    /// Waits until the last one is over or the time is up; returns how many are left.
    ///
    /// # Errors
    /// As [`Crowd::check`].
    pub(crate) async fn until_over(&mut self, deadline: time::Instant) -> Result<usize> {
        while self.open() > 0 && time::Instant::now() < deadline {
            self.check()?;
            time::sleep(LOOK_EVERY).await;
        }
        self.check()?;
        Ok(self.open())
    }

    /// Calls that were answered and have not heard an agent: their callers wait.
    ///
    /// # Errors
    /// When the world has stopped.
    pub(crate) async fn waiting(&self) -> Result<Vec<Call>, PhoneError> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut waiting = Vec::new();
        for call in calls {
            if call.state() == CallState::Established
                && call.report().await?.media.senders.is_empty()
            {
                waiting.push(call);
            }
        }
        Ok(waiting)
    }
}

/// One person's calls.
async fn live(lab: &Lab, index: usize, plan: CallerPlan) -> Result<()> {
    for again in 0..TRIES_MAX {
        if again > 0 {
            time::sleep(AGAIN_AFTER).await;
        }
        let call = place(lab, index, plan).await?;
        lab.board.pulse(|pulse| pulse.placed += u64::from(again == 0));
        // Who leaves without having talked ends here too.
        let heard =
            call.wait_for(CALL_MS_MAX, "an agent", |report| !report.media.senders.is_empty());
        match heard.await {
            Ok(_) => lab.board.pulse(|pulse| pulse.answered += 1),
            Err(PhoneError::Deadline { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let report = call.wait_ended(CALL_MS_MAX).await?;
        let talked = !report.media.senders.is_empty();
        let chosen = matches!(report.end, Some(EndCause::HungUpHere | EndCause::CancelledHere));
        if talked || chosen {
            return Ok(());
        }
        lab.board.note(format!("{} was cut off and calls again", report.phone));
    }
    Ok(())
}

async fn place(lab: &Lab, index: usize, plan: CallerPlan) -> Result<Call> {
    let trunk = lab.trunks.get(plan.site).context("a caller without trunk")?;
    let number = NUMBERS.get(plan.line).context("a caller without number")?;
    let from = format!("+44163296{index:04}");
    let patience = plan
        .patience
        .map_or(Patience::Endless, |patience| Patience::UntilAgentHeard { ms: millis(patience) });
    let call = CallPlan::to(number)
        .from(&from)
        .with_patience(patience)
        .hanging_up(HangUp::AfterAgentHeard { ms: millis(plan.talk) });
    let call = trunk.call(call).await?;
    let facts = CallerFacts {
        person: format!("person-{index:03}"),
        number: from,
        line: LINES.get(plan.line).copied().unwrap_or_default().to_owned(),
        site: lab.sites.get(plan.site).cloned().unwrap_or_default(),
    };
    lab.recorder.caller(facts, &call);
    lab.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call.clone());
    Ok(call)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
