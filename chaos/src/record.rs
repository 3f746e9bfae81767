//! Gathers what phones experience into [`Evidence`] for the checkers.
//!
//! A [`Recorder`] listens to a world's events from before the first call: it notes which node
//! invited an agent's phone and for whom the phone rings. Callers are told to it by whoever makes
//! them, because only they know who calls on which line.
//!
//! ```no_run
//! use tandem_chaos::{
//!     check::{AgentFacts, Allowances, judge},
//!     cluster::LocalCluster,
//!     faults::{self, FaultKind},
//!     record::{CallerFacts, Recorder},
//! };
//! use tandem_phone::{CallPlan, Caller, Phone, World};
//!
//! # async fn example(
//! #     mut cluster: LocalCluster, world: World, phones: Vec<Phone>, trunk: Caller,
//! #     agents: Vec<AgentFacts>,
//! # ) -> anyhow::Result<()> {
//! let recorder = Recorder::start(&world, &phones, agents);
//! let number = "+441632960001".to_owned();
//! let call = trunk.call(CallPlan::to("8000").from(&number)).await?;
//! let (person, line, site) = ("ann".to_owned(), "sales".to_owned(), "lon".to_owned());
//! recorder.caller(CallerFacts { person, number, line, site }, &call);
//!
//! let mut fault = faults::inject(&mut cluster, &world, FaultKind::KillNode, 0).await?;
//! let index = recorder.fault(fault.clone());
//! cluster.until("the loss is seen", async || faults::seen(&cluster, &world, &mut fault).await).await?;
//! recorder.seen(index, world.now());
//!
//! call.hang_up().await?;
//! let verdict = judge(&recorder.evidence().await?, &Allowances::default());
//! assert!(verdict.is_clean(), "{:#?}", verdict.problems);
//! # Ok(())
//! # }
//! ```

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result, ensure};
use tandem_phone::{Call, EventKind, EventStream, Phone, RunTime, SenderTag, World};
use tokio::task::JoinHandle;

use crate::{
    center::RING_MS,
    check::{AgentFacts, AgentLeg, CallerLeg, Evidence, IgnoredInvite},
    faults::Fault,
};

/// Who calls, and what for.
#[derive(Debug, Clone)]
pub struct CallerFacts {
    /// The person: the same for a second try.
    pub person: String,
    /// The number that the call comes from; no other person has it.
    pub number: String,
    /// Requirement and priority are equal within a line.
    pub line: String,
    /// Where the call comes in.
    pub site: String,
}

/// See the module. Dropping it ends the listening.
#[derive(Debug)]
pub struct Recorder {
    world: World,
    agents: Vec<AgentFacts>,
    book: Arc<Mutex<Book>>,
    listening: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Book {
    callers: Vec<(CallerFacts, Call, Option<RunTime>)>,
    legs: Vec<Rung>,
    /// Agent, caller's number, when.
    ignored: Vec<(String, Option<String>, RunTime)>,
    faults: Vec<Fault>,
    /// Events that came too fast to be read.
    lost: u64,
    /// Calls of phones that could not be found.
    missed: Vec<String>,
}

#[derive(Debug)]
struct Rung {
    agent: String,
    invited_by: SocketAddr,
    call: Call,
    /// User part of From.
    from_number: Option<String>,
}

impl Recorder {
    /// Begins to listen. Phones' labels are the agents' names.
    #[must_use]
    pub fn start(world: &World, phones: &[Phone], agents: Vec<AgentFacts>) -> Self {
        let book = Arc::new(Mutex::new(Book::default()));
        let by_label = phones.iter().map(|phone| (phone.label().to_owned(), phone.clone()));
        let listening = tokio::spawn(listen(world.events(), by_label.collect(), Arc::clone(&book)));
        Self { world: world.clone(), agents, book, listening }
    }

    /// Notes a caller's call.
    pub fn caller(&self, facts: CallerFacts, call: &Call) {
        self.book().callers.push((facts, call.clone(), None));
    }

    /// Notes that a caller was told to leave now; the report alone cannot tell when the line to
    /// the node is dead.
    pub fn left(&self, call: &Call) {
        let now = self.world.now();
        let mut book = self.book();
        let mut callers = book.callers.iter_mut();
        if let Some(entry) = callers.find(|entry| entry.1.sender_tag() == call.sender_tag()) {
            entry.2 = Some(now);
        }
    }

    /// Notes a fault; returns its index, for [`Recorder::seen`].
    pub fn fault(&self, fault: Fault) -> usize {
        let mut book = self.book();
        book.faults.push(fault);
        book.faults.len() - 1
    }

    /// Notes that the cluster shows the fault now.
    pub fn seen(&self, fault: usize, at: RunTime) {
        if let Some(fault) = self.book().faults.get_mut(fault) {
            fault.seen_us.get_or_insert(at);
        }
    }

    /// Everything up to now; can be asked at any time.
    ///
    /// # Errors
    /// When the world has stopped while calls were open, or events were lost: evidence with holes
    /// is none.
    pub async fn evidence(&self) -> Result<Evidence> {
        let (callers, legs, ignored, faults) = {
            let book = self.book();
            ensure!(book.lost == 0, "{} events were lost: the machine is too busy", book.lost);
            ensure!(book.missed.is_empty(), "calls without a record: {:?}", book.missed);
            let legs = book.legs.iter().map(|rung| {
                (rung.agent.clone(), rung.invited_by, rung.call.clone(), rung.from_number.clone())
            });
            let (legs, ignored) = (legs.collect::<Vec<_>>(), book.ignored.clone());
            (book.callers.clone(), legs, ignored, book.faults.clone())
        };
        let mut evidence = Evidence {
            agents: self.agents.clone(),
            faults,
            ended_us: self.world.now(),
            ..Evidence::default()
        };
        let mut tags: BTreeMap<String, Vec<(RunTime, SenderTag)>> = BTreeMap::new();
        for (facts, call, left_us) in callers {
            let report = call.report().await.context("a caller's report")?;
            let own = (report.started_us, report.sender_tag);
            tags.entry(facts.number).or_default().push(own);
            evidence.callers.push(CallerLeg {
                person: facts.person,
                line: facts.line,
                site: facts.site,
                left_us,
                report,
            });
        }
        for (agent, invited_by, call, from_number) in legs {
            let report = call.report().await.context("an agent's report")?;
            let rings_for = caller_of(&tags, from_number, report.started_us);
            evidence.legs.push(AgentLeg { agent, invited_by, rings_for, report });
        }
        for (agent, number, at_us) in ignored {
            let rings_for = caller_of(&tags, number, at_us);
            let until_us = at_us.plus_ms(RING_MS);
            evidence.ignored.push(IgnoredInvite { agent, rings_for, at_us, until_us });
        }
        Ok(evidence)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Whose call it is. A second call of the same person: the last one that had begun.
fn caller_of(
    tags: &BTreeMap<String, Vec<(RunTime, SenderTag)>>,
    number: Option<String>,
    at: RunTime,
) -> Option<SenderTag> {
    let calls = tags.get(&number?)?;
    calls.iter().rfind(|it| it.0 <= at).map(|(_, tag)| *tag)
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    // A panic elsewhere leaves complete entries behind.
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn listen(mut events: EventStream, phones: BTreeMap<String, Phone>, book: Arc<Mutex<Book>>) {
    while let Some(event) = events.next().await {
        lock(&book).lost = events.lost();
        let (from, sender_tag, caller) = match &event.kind {
            EventKind::InviteReceived { from, sender_tag, caller } => {
                (*from, *sender_tag, caller.clone())
            }
            EventKind::InviteIgnored { caller } => {
                let ignored = (event.phone.clone(), caller.clone(), event.at_us);
                lock(&book).ignored.push(ignored);
                continue;
            }
            _ => continue,
        };
        let Some(phone) = phones.get(&event.phone) else { continue };
        let rung = rung(phone, from, sender_tag, caller).await;
        let mut book = lock(&book);
        match rung {
            Some(rung) => book.legs.push(rung),
            None => book.missed.push(format!("{} at {} us", event.phone, event.at_us.as_us())),
        }
    }
}

async fn rung(
    phone: &Phone,
    invited_by: SocketAddr,
    tag: SenderTag,
    from_number: Option<String>,
) -> Option<Rung> {
    let calls = phone.calls().await.ok()?;
    let call = calls.into_iter().rfind(|call| call.sender_tag() == tag)?;
    Some(Rung { agent: phone.label().to_owned(), invited_by, call, from_number })
}

#[cfg(test)]
mod tests {
    use tandem_phone::{AnswerPolicy, CallPlan, CallerConfig, PhoneConfig, Server, WorldOptions};

    use super::*;

    // Goal: a real call between two phones becomes one caller, one agent's leg that rings for this
    // caller, and one conversation.
    #[tokio::test]
    async fn a_call_becomes_evidence() {
        let world = World::start(WorldOptions::default()).await.unwrap();
        let config = PhoneConfig::new("ann", "1001", "127.0.0.71:0".parse().unwrap())
            .with_policy(AnswerPolicy::answer_after(20));
        let phone = world.phone(config).await.unwrap();
        let facts = AgentFacts {
            name: "ann".to_owned(),
            site: "lon".to_owned(),
            lines: ["sales".to_owned()].into(),
        };
        let recorder = Recorder::start(&world, std::slice::from_ref(&phone), vec![facts]);
        let node = Server::udp(phone.address());
        let trunk = CallerConfig::new("trunk", "127.0.0.72:0".parse().unwrap(), vec![node]);
        let trunk = world.caller(trunk).await.unwrap();
        let call = trunk.call(CallPlan::to("1001").from("+441632960001")).await.unwrap();
        let caller = CallerFacts {
            person: "p".to_owned(),
            number: "+441632960001".to_owned(),
            line: "sales".to_owned(),
            site: "lon".to_owned(),
        };
        recorder.caller(caller, &call);
        let agent = phone.wait_call(5_000).await.unwrap();
        call.wait_hears(agent.sender_tag(), 5_000).await.unwrap();
        agent.wait_hears(call.sender_tag(), 5_000).await.unwrap();
        call.hang_up().await.unwrap();
        call.wait_ended(5_000).await.unwrap();
        let evidence = recorder.evidence().await.unwrap();
        assert_eq!(evidence.legs.len(), 1);
        assert_eq!(evidence.legs[0].rings_for, Some(call.sender_tag()));
        assert_eq!(evidence.legs[0].invited_by, trunk.address());
        assert_eq!(crate::check::conversations(&evidence).len(), 1);
        world.stop(1_000).await.unwrap();
    }
}
