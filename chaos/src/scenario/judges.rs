//! Judges who do not ask phones: what the cluster said of itself while it ran, compared with itself and
//! with what phones experienced; and what the run left on the machine.
//!
//! Each finding is one of two: something was *violated*, or something *could not be proven*. The second
//! says nothing about the product and is never a pass.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::Result;
use tandem_phone::{RunTime, World};
use tandem_proto::api::v1 as api;
use tokio::{
    task::JoinHandle,
    time::{self, Instant},
};

use crate::{
    check::{
        Allowances, Evidence, Problem, conversations,
        digests::{Compared, DigestSeen, compare},
        leftovers::{Listing, Scope, Thing},
        statistics::{Sample, TRAVELS_MS, wrong_counts, wrong_samples},
    },
    cluster::{Api, LocalCluster},
    limits::{CONTACTS_MAX, SAMPLES_MAX},
};

/// Between two rounds of questions.
const EVERY: Duration = Duration::from_millis(500);
/// A node that does not answer within this time is asked again in the next round.
const ANSWERS_WITHIN: Duration = Duration::from_millis(700);
/// An answer that needs a quorum: an election may lie in between.
const QUORUM_ANSWERS_WITHIN: Duration = Duration::from_secs(3);
/// In the end all states must meet, and all contacts end, within this time.
const SETTLES_WITHIN: Duration = Duration::from_secs(20);
/// What ends with its last user may need a moment.
const GONE_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What the judges found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// What must not be, as phones' evidence shows it.
    pub(super) problems: Vec<Problem>,
    /// What must not be, in words.
    pub(super) violated: Vec<String>,
    /// What could not be judged.
    pub(super) unproven: Vec<String>,
    /// What was proven, in words.
    pub(super) proven: Vec<String>,
}

impl Findings {
    /// Those of another judge too.
    pub(super) fn add(&mut self, other: Self) {
        let Self { problems, violated, unproven, proven } = other;
        self.problems.extend(problems);
        self.violated.extend(violated);
        self.unproven.extend(unproven);
        self.proven.extend(proven);
    }
}

/// Asks all nodes again and again, from the beginning of a run to its end. Dropping it ends that.
#[derive(Debug)]
pub(super) struct Inquiry {
    book: Arc<Mutex<Book>>,
    asking: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Book {
    digests: Vec<DigestSeen>,
    samples: Vec<Sample>,
    contacts: BTreeSet<String>,
}

impl Inquiry {
    pub(super) fn start(world: &World, apis: &[Api]) -> Self {
        let book = Arc::new(Mutex::new(Book::default()));
        let one = |api: &Api| tokio::spawn(ask_one(api.clone(), Arc::clone(&book)));
        let mut asking: Vec<JoinHandle<()>> = apis.iter().map(one).collect();
        asking.push(tokio::spawn(ask_quorum(world.clone(), apis.to_vec(), Arc::clone(&book))));
        Self { book, asking }
    }

    /// Judges what the cluster said, once nobody calls any more. The evidence must have been taken
    /// after the last call.
    ///
    /// # Errors
    /// When the operator's certificate cannot be read.
    pub(super) async fn close(
        self,
        cluster: &LocalCluster,
        evidence: &Evidence,
        allowances: &Allowances,
        callers_left: usize,
    ) -> Result<Findings> {
        let mut findings = Findings::default();
        ended_by_themselves(cluster, &mut findings);
        let up = all_are_up(cluster).await?;
        findings.violated.extend(up.err());
        let now = self.states_meet(cluster).await?;
        judge_states(&compare(&self.book().digests), &now, cluster, &mut findings);
        let talks = conversations(evidence);
        // Copies: a guard in the head of a loop is held through the loop, and across its awaits.
        let samples = self.book().samples.clone();
        for (travels_ms, samples) in by_travel(&samples, evidence, allowances) {
            findings.problems.extend(wrong_samples(evidence, &talks, &samples, travels_ms));
        }
        if samples.is_empty() {
            findings.unproven.push("the cluster never told its figures: none was judged".into());
        }
        // Who still calls is a problem of its own, and no count is final.
        if callers_left == 0 {
            match self.ended_contacts(cluster).await? {
                Ok(contacts) => {
                    let wrong = wrong_counts(evidence, &talks, &contacts);
                    if !wrong.is_empty() {
                        findings.proven.extend(contacts.iter().filter_map(unusual_end));
                    }
                    findings.problems.extend(wrong);
                    findings.proven.push(format!("{} ended contacts counted", contacts.len()));
                }
                Err(why) => findings.violated.push(why),
            }
        }
        Ok(findings)
    }

    /// Asks until every node was compared with another one, or the time is up. What they said before
    /// the last fault was mended proves nothing of now.
    async fn states_meet(&self, cluster: &LocalCluster) -> Result<Compared> {
        let deadline = Instant::now() + SETTLES_WITHIN;
        let mut now = Vec::new();
        loop {
            for index in cluster.running() {
                if let Ok(Ok(status)) =
                    time::timeout(ANSWERS_WITHIN, cluster.api(index)?.status_local()).await
                {
                    now.extend(DigestSeen::of(&status));
                }
            }
            let compared = compare(&now);
            let is_known = compared.proves(&ids(cluster)) || !compared.divergences.is_empty();
            if is_known || Instant::now() > deadline {
                self.book().digests.extend(now);
                return Ok(compared);
            }
            time::sleep(LOOK_EVERY).await;
        }
    }

    /// Every contact that was ever seen, once all have ended; or which one does not.
    async fn ended_contacts(
        &self,
        cluster: &LocalCluster,
    ) -> Result<Result<Vec<api::Contact>, String>> {
        let deadline = Instant::now() + SETTLES_WITHIN;
        let ids = self.book().contacts.clone();
        loop {
            let (mut found, mut open) = (Vec::new(), Vec::new());
            for id in &ids {
                match contact(cluster, id).await? {
                    Some(contact) if contact.state == "ended" => found.push(contact),
                    Some(contact) => open.push(format!("{id} is {}", contact.state)),
                    None => open.push(format!("{id} cannot be shown by any node")),
                }
            }
            if open.is_empty() {
                return Ok(Ok(found));
            }
            if Instant::now() > deadline {
                let open = open.join(", ");
                return Ok(Err(format!("contacts live on though every call is over: {open}")));
            }
            time::sleep(LOOK_EVERY).await;
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }
}

impl Drop for Inquiry {
    fn drop(&mut self) {
        self.asking.iter().for_each(JoinHandle::abort);
    }
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    // A panic elsewhere leaves whole entries behind.
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one node says of itself, whether it is part of a majority or not.
async fn ask_one(api: Api, book: Arc<Mutex<Book>>) {
    let mut ticks = time::interval(EVERY);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        if let Ok(Ok(status)) = time::timeout(ANSWERS_WITHIN, api.status_local()).await {
            let mut book = lock(&book);
            if book.digests.len() < SAMPLES_MAX {
                book.digests.extend(DigestSeen::of(&status));
            }
        }
        if let Ok(Ok(contacts)) = time::timeout(ANSWERS_WITHIN, api.contacts()).await {
            let mut book = lock(&book);
            let room = CONTACTS_MAX.saturating_sub(book.contacts.len());
            book.contacts.extend(contacts.into_iter().take(room).map(|contact| contact.id));
        }
    }
}

/// What the cluster says of its queues. Nodes that are cut off cannot, and are passed over.
async fn ask_quorum(world: World, apis: Vec<Api>, book: Arc<Mutex<Book>>) {
    let mut ticks = time::interval(EVERY);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        for api in &apis {
            let asked_us = world.now();
            let Ok(Ok(status)) = time::timeout(QUORUM_ANSWERS_WITHIN, api.status()).await else {
                continue;
            };
            let mut book = lock(&book);
            if book.samples.len() < SAMPLES_MAX {
                book.samples.extend(Sample::of(&status, asked_us, world.now()));
            }
            break;
        }
    }
}

async fn contact(cluster: &LocalCluster, id: &str) -> Result<Option<api::Contact>> {
    for index in cluster.running() {
        let api = cluster.api(index)?;
        if let Ok(Ok(contact)) = time::timeout(QUORUM_ANSWERS_WITHIN, api.contact(id)).await {
            return Ok(Some(contact));
        }
    }
    Ok(None)
}

/// A contact that ended in another way than most, in words: what a wrong count is looked up in.
fn unusual_end(contact: &api::Contact) -> Option<String> {
    let api::Contact { id, agent, end_reason, waited_ms, talked_ms, .. } = contact;
    let is_usual =
        !agent.is_empty() && matches!(end_reason.as_str(), "caller-hung-up" | "agent-hung-up");
    let agent = if agent.is_empty() { "nobody" } else { agent };
    (!is_usual).then(|| {
        format!(
            "{id} ended as {end_reason} with {agent}, waited {waited_ms} ms, talked {talked_ms} ms"
        )
    })
}

fn ids(cluster: &LocalCluster) -> Vec<u64> {
    cluster.places().iter().map(|place| place.id).collect()
}

/// Every node that the scenario broke was started again, so one that does not run ended by itself.
fn ended_by_themselves(cluster: &LocalCluster, findings: &mut Findings) {
    let running: Vec<usize> = cluster.running().collect();
    for index in (0..cluster.places().len()).filter(|index| !running.contains(index)) {
        let code =
            cluster.exit_code(index).map_or("a signal".into(), |code| format!("code {code}"));
        let (name, tail) = (cluster.name(index), cluster.tail(index));
        findings.violated.push(format!("{name} ended by itself with {code}\n{tail}"));
    }
}

/// Nothing is broken any more, so the cluster must count every node among the living.
async fn all_are_up(cluster: &LocalCluster) -> Result<std::result::Result<(), String>> {
    let deadline = Instant::now() + SETTLES_WITHIN;
    loop {
        let mut said = "no node answers with a quorum".to_owned();
        for index in cluster.running() {
            let api = cluster.api(index)?;
            let Ok(Ok(status)) = time::timeout(QUORUM_ANSWERS_WITHIN, api.status()).await else {
                continue;
            };
            let life = |id: &u64| status.nodes.iter().find(|node| node.id == *id);
            let down = |id: &u64| life(id).is_none_or(|node| node.life != "up");
            let down: Vec<u64> = ids(cluster).into_iter().filter(down).collect();
            if down.is_empty() {
                return Ok(Ok(()));
            }
            let logs = down.iter().filter_map(|id| cluster.index_of(*id));
            let logs: Vec<String> = logs.map(|index| cluster.tail(index)).collect();
            said = format!("nodes {down:?} are not up\n{}", logs.join("\n"));
            break;
        }
        if Instant::now() > deadline {
            return Ok(Err(format!("nothing is broken any more, and {said}")));
        }
        time::sleep(LOOK_EVERY).await;
    }
}

fn judge_states(
    compared: &Compared,
    now: &Compared,
    cluster: &LocalCluster,
    findings: &mut Findings,
) {
    for divergence in &compared.divergences {
        findings.violated.push(divergence.to_string());
    }
    if compared.divergences.is_empty() {
        let at = compared.indexes_compared;
        if now.proves(&ids(cluster)) {
            findings.proven.push(format!("equal states at {at} log indexes"));
        } else {
            let met = &now.nodes_compared;
            findings
                .unproven
                .push(format!("states: in the end only nodes {met:?} met at an index"));
        }
    }
}

/// Samples by how far they may be from the phones in time: near a fault, legs may be on their way to
/// another node for as long as that may take.
fn by_travel(
    samples: &[Sample],
    evidence: &Evidence,
    allowances: &Allowances,
) -> [(u64, Vec<Sample>); 2] {
    let takes_ms = allowances.takeover_ms_max;
    let spans: Vec<(RunTime, RunTime)> = evidence
        .faults
        .iter()
        .map(|fault| (fault.made_us, fault.seen_us.unwrap_or(fault.made_us).plus_ms(takes_ms)))
        .collect();
    let is_near = |sample: &&Sample| {
        spans.iter().any(|(from, to)| sample.answered_us >= *from && sample.asked_us <= *to)
    };
    let (near, far) = samples.iter().partition::<Vec<&Sample>, _>(is_near);
    let own = |samples: Vec<&Sample>| samples.into_iter().copied().collect();
    [(takes_ms, own(near)), (TRAVELS_MS, own(far))]
}

/// What was there before a run, to be compared with what is there after it.
#[derive(Debug)]
pub(super) struct Before {
    scope: Scope,
    listing: Listing,
}

impl Before {
    /// Looks at the machine before anything is made. Ours is what names this text.
    pub(super) fn look(marks: Vec<String>) -> Self {
        let scope = Scope { marks, ..Scope::default() };
        let listing = Listing::take(&scope);
        Self { scope, listing }
    }

    /// What is there still, a moment after everything was undone.
    pub(super) fn left(&self) -> Vec<Thing> {
        let deadline = std::time::Instant::now() + GONE_WITHIN;
        loop {
            let left = Listing::take(&self.scope).left_since(&self.listing);
            if left.is_empty() || std::time::Instant::now() > deadline {
                return left;
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::fixture::Run, faults::FaultKind};

    // Goal: a sample in a fault's time may be as far off as a takeover, one before and one after not.
    #[test]
    fn samples_near_faults() {
        let mut run = Run::default();
        run.fault(FaultKind::KillNode, 0, 20_000);
        run.evidence.faults[0].seen_us = Some(RunTime::from_ms(21_000));
        let allowances = Allowances::default();
        let after = 21_000 + allowances.takeover_ms_max;
        let rows = [(19_999, 1), (20_000, 0), (after, 0), (after + 1, 1)];
        for (at_ms, group) in rows {
            let at = RunTime::from_ms(at_ms);
            let sample = Sample { asked_us: at, answered_us: at, waiting: 0, talking: 0 };
            let groups = by_travel(&[sample], &run.evidence, &allowances);
            assert_eq!(groups[group].1.len(), 1, "{at_ms}");
            assert_eq!(groups[1 - group].1, [], "{at_ms}");
        }
    }
}
