//! Concurrent clients that read and change settings and agents of a cluster, while somebody else
//! breaks it.
//!
//! [`run`] records everything; `check::history::judge` says afterwards whether it can be. The rows
//! are the workload's own (their names begin with the run's prefix), except for the weights of the
//! sites, which stay as the last write left them. Its queue is called by nobody, so its agents get no contacts.
//!
//! ```no_run
//! use std::{path::Path, time::Duration};
//! use tandem_chaos::{
//!     check::history::{judge, linearizable::Bounds},
//!     cluster::LocalCluster,
//!     history::{Clock, History, Recorder, workload::{Plan, run}},
//! };
//!
//! # async fn example(cluster: LocalCluster) -> anyhow::Result<()> {
//! let file = Path::new("history.jsonl");
//! let recorder = Recorder::create(file, Clock::starting_now())?;
//! let apis = (0..3).map(|index| cluster.api(index)).collect::<Result<Vec<_>, _>>()?;
//! let plan = Plan::new("h1-", &["lon", "fra", "mil"], 1);
//! let (stop, stopped) = tokio::sync::watch::channel(false);
//! let clients = tokio::spawn(run(plan, apis, recorder.clone(), stopped));
//! // ... faults, with recorder.fault("kill lon") and recorder.healed(..) around them ...
//! tokio::time::sleep(Duration::from_secs(60)).await;
//! stop.send(true)?;
//! println!("{:?}", clients.await??);
//! println!("{}", judge(&History::read(file)?, &Bounds::default()));
//! # Ok(())
//! # }
//! ```

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, bail, ensure};
use tokio::{sync::watch, task::JoinSet, time::Instant};

use super::{
    Action, Answer, Client, Kind, Outcome, Presence, Recorder, Refusal, Subject,
    dice::Dice,
    port::{AGENT_NUMBERS, Home, Port, QUEUE_NUMBERS, SITE_NUMBERS},
};
use crate::cluster::Api;

/// Clients of one workload.
pub const CLIENTS_MAX: u32 = 64;
/// Times that a client asks for the same change again, each time at another node.
const TRIES_MAX: u32 = 3;
/// How long making the rows may take.
const PREPARE_WITHIN: Duration = Duration::from_secs(60);
const PREPARE_PAUSE: Duration = Duration::from_millis(200);
/// The client that makes the rows.
const PREPARER: u32 = 0;

/// What the clients do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Names of rows begin with it; no two runs on one cluster may share it.
    pub prefix: String,
    /// Sites of the cluster: their weights are changed.
    pub sites: Vec<String>,
    /// Clients.
    pub clients: u32,
    /// Queues whose settings are changed.
    pub queues: u32,
    /// Agents whose settings are changed, and as many whose presence is.
    pub agents: u32,
    /// Operations of each client at most.
    pub operations_max: u32,
    /// How many of 100 operations are readings.
    pub read_percent: u64,
    /// How many of 100 changes without an answer are asked for again, with their idempotency key.
    pub again_percent: u64,
    /// A client's pause between two operations, milliseconds: up to this.
    pub pause_ms_max: u64,
    /// An answer is waited for so long, milliseconds.
    pub within_ms: u64,
    /// Skills that every agent of a register has besides those of its number: long names, so that a
    /// change of it fills more than a packet.
    pub ballast_skills: usize,
    /// Decides what is asked; when is up to the machine.
    pub seed: u64,
}

impl Plan {
    /// A load that a small machine carries beside a cluster: about 100 operations a second, 12
    /// clients.
    #[must_use]
    pub fn new(prefix: &str, sites: &[&str], seed: u64) -> Self {
        Self {
            prefix: prefix.to_owned(),
            sites: sites.iter().map(|site| (*site).to_owned()).collect(),
            clients: 12,
            queues: 6,
            agents: 6,
            operations_max: 5_000,
            read_percent: 50,
            again_percent: 60,
            pause_ms_max: 200,
            within_ms: 3_000,
            ballast_skills: 0,
            seed,
        }
    }

    /// # Errors
    /// When the plan has no sites, rows or clients, or more than can be.
    fn check(&self) -> Result<()> {
        ensure!(!self.sites.is_empty(), "a workload needs the name of a site");
        ensure!(
            (1..=CLIENTS_MAX).contains(&self.clients),
            "{} clients: a workload has 1 to {CLIENTS_MAX}",
            self.clients
        );
        ensure!(self.queues > 0 && self.agents > 0, "a workload needs queues and agents");
        ensure!(self.read_percent <= 100 && self.again_percent <= 100, "percents are up to 100");
        Ok(())
    }

    /// Everything that is read and changed.
    fn subjects(&self) -> Vec<Subject> {
        let prefix = &self.prefix;
        let queues = (0..self.queues).map(|n| Subject::register(&format!("queue/{prefix}q{n}")));
        let settings = (0..self.agents).map(|n| Subject::register(&format!("agent/{prefix}s{n}")));
        let people = (0..self.agents).map(|n| Subject::presence(&format!("agent/{prefix}p{n}")));
        let sites = self.sites.iter().map(|site| Subject::register(&format!("site/{site}")));
        let numbers = Subject::counter(&format!("numbers/{prefix}"));
        queues.chain(settings).chain(people).chain(sites).chain([numbers]).collect()
    }

    /// The changes that make the rows, in order: what the clients find. The agents of the presences
    /// must exist and be logged out, which their model takes for granted; their settings are
    /// nobody's subject.
    fn preparation(&self) -> Vec<Preparation> {
        let make = |subject: Subject| match subject.kind {
            Kind::Register => {
                let first = Action::Write(first_text(&subject).to_owned());
                Some(Preparation::Recorded(subject, first))
            }
            Kind::Presence => Some(Preparation::Silent(Subject::register(&subject.name))),
            Kind::Counter => None,
        };
        let home = Preparation::Silent(Subject::register(&format!("queue/{}", self.home().queue)));
        std::iter::once(home).chain(self.subjects().into_iter().filter_map(make)).collect()
    }

    fn home(&self) -> Home {
        let site = self.sites.first().cloned().unwrap_or_default();
        let ballast_skills = self.ballast_skills;
        Home { site, queue: format!("{}home", self.prefix), ballast_skills }
    }
}

/// What a register holds when the clients begin. Sites have full weight, as new ones do.
fn first_text(subject: &Subject) -> &'static str {
    if subject.name.starts_with("site/") { "100" } else { "0" }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Preparation {
    /// Part of the history: the first value of a subject.
    Recorded(Subject, Action),
    /// Needed by others, read by nobody.
    Silent(Subject),
}

/// What came of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Done.
    pub ok: u64,
    /// Refused.
    pub refused: u64,
    /// Without an answer.
    pub unknown: u64,
}

impl Counts {
    fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Ok(_) => self.ok += 1,
            Outcome::Refused(_) => self.refused += 1,
            Outcome::Unknown => self.unknown += 1,
        }
    }
}

/// Makes the rows, then lets the clients work until `stop` becomes true (or its sender is gone) or
/// each has done all of its operations. Call it on a cluster that is whole; break it afterwards.
///
/// # Errors
/// When the plan makes no sense, the rows cannot be made, or the history cannot be written.
pub async fn run(
    plan: Plan,
    nodes: Vec<Api>,
    recorder: Recorder,
    stop: watch::Receiver<bool>,
) -> Result<Counts> {
    plan.check()?;
    ensure!(!nodes.is_empty(), "a workload needs a node");
    let within = Duration::from_millis(plan.within_ms);
    let ports: Vec<Port> = nodes.iter().map(|api| Port::new(api, plan.home(), within)).collect();
    prepare(&plan, &ports, &recorder.client(PREPARER)).await?;
    let mut clients = JoinSet::new();
    for number in 1..=plan.clients {
        let asker = Asker {
            chooser: Chooser::new(&plan, number),
            ports: ports.clone(),
            client: recorder.client(number),
            stop: stop.clone(),
        };
        clients.spawn(asker.work(plan.operations_max));
    }
    let mut counts = Counts::default();
    while let Some(done) = clients.join_next().await {
        let Counts { ok, refused, unknown } = done??;
        counts.ok += ok;
        counts.refused += refused;
        counts.unknown += unknown;
    }
    Ok(counts)
}

async fn prepare(plan: &Plan, ports: &[Port], client: &Client) -> Result<()> {
    let deadline = Instant::now() + PREPARE_WITHIN;
    let mut nodes = ports.iter().cycle();
    for (nth, step) in plan.preparation().into_iter().enumerate() {
        let key = format!("{}prepare-{nth}", plan.prefix);
        loop {
            let Some(port) = nodes.next() else { bail!("no node") };
            let outcome = match &step {
                Preparation::Recorded(subject, action) => {
                    let asked = client.invoke(subject, action.clone(), Some(&key))?;
                    let outcome = port.ask(subject, action, Some(&key)).await;
                    asked.returned(outcome.clone())?;
                    outcome
                }
                Preparation::Silent(subject) => {
                    port.ask(subject, &Action::Write("0".to_owned()), Some(&key)).await
                }
            };
            if outcome == Outcome::Ok(Answer::Done) {
                break;
            }
            let hopeless = matches!(outcome, Outcome::Refused(Refusal::Rule | Refusal::Absent))
                || Instant::now() > deadline;
            ensure!(!hopeless, "the rows of the workload cannot be made: {step:?}: {outcome:?}");
            tokio::time::sleep(PREPARE_PAUSE).await;
        }
    }
    Ok(())
}

/// One client at work.
struct Asker {
    chooser: Chooser,
    ports: Vec<Port>,
    client: Client,
    stop: watch::Receiver<bool>,
}

impl Asker {
    async fn work(mut self, operations_max: u32) -> Result<Counts> {
        let mut counts = Counts::default();
        for _ in 0..operations_max {
            if *self.stop.borrow() {
                break;
            }
            let Step { subject, action, once, node, pause_ms } =
                self.chooser.next(self.ports.len());
            let Some(port) = self.ports.get(node) else { break };
            let asked = self.client.invoke(&subject, action.clone(), once.as_deref())?;
            let outcome = port.ask(&subject, &action, once.as_deref()).await;
            asked.returned(outcome.clone())?;
            counts.count(&outcome);
            self.chooser.learn(subject, action, once, &outcome);
            let pause = tokio::time::sleep(Duration::from_millis(pause_ms));
            tokio::select! {
                () = pause => {}
                // Stopped, or whoever could stop it is gone.
                _ = self.stop.wait_for(|stop| *stop) => break,
            }
        }
        Ok(counts)
    }
}

/// What a client asks next.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    subject: Subject,
    action: Action,
    once: Option<String>,
    /// Index of the node.
    node: usize,
    pause_ms: u64,
}

/// Decides what one client asks; the same seed, client and answers give the same steps.
#[derive(Debug)]
struct Chooser {
    plan: Plan,
    client: u32,
    dice: Dice,
    subjects: Vec<Subject>,
    /// Changes of each subject so far.
    changes: BTreeMap<Subject, u64>,
    keys: u64,
    /// A change to be asked for again, and how often it was.
    again: Option<(Subject, Action, String, u32)>,
    node: usize,
}

impl Chooser {
    fn new(plan: &Plan, client: u32) -> Self {
        let mut dice = Dice::from_seed(plan.seed.wrapping_add(u64::from(client)));
        // Neighbouring seeds begin alike otherwise.
        let node = usize::try_from(dice.next() % 1_024).unwrap_or(0);
        Self {
            plan: plan.clone(),
            client,
            subjects: plan.subjects(),
            changes: BTreeMap::new(),
            keys: 0,
            again: None,
            node,
            dice,
        }
    }

    fn next(&mut self, nodes: usize) -> Step {
        let pause_ms = self.dice.below(self.plan.pause_ms_max.saturating_add(1));
        if let Some((subject, action, key, _)) = self.again.clone() {
            // Whoever did not answer is left.
            self.node += 1;
            let node = self.node % nodes.max(1);
            return Step { subject, action, once: Some(key), node, pause_ms };
        }
        // Clients stay with a node for a while, as applications do.
        if self.dice.percent(10) {
            self.node += 1;
        }
        let node = self.node % nodes.max(1);
        let subject = self.dice.pick(&self.subjects).cloned();
        let subject = subject.unwrap_or_else(|| Subject::counter(""));
        if self.dice.percent(self.plan.read_percent) {
            return Step { subject, action: Action::Read, once: None, node, pause_ms };
        }
        let nth = self.changes.entry(subject.clone()).or_default();
        *nth += 1;
        // No two clients write the same number; 0 was there first.
        let number = (*nth - 1) * u64::from(self.plan.clients) + u64::from(self.client);
        let action = self.change(&subject, number);
        self.keys += 1;
        let key = format!("{}c{}-{}", self.plan.prefix, self.client, self.keys);
        Step { subject, action, once: Some(key), node, pause_ms }
    }

    fn change(&mut self, subject: &Subject, number: u64) -> Action {
        let reason = || Presence::NotReady(format!("r{number}"));
        match subject.kind {
            Kind::Register => {
                let (table, _) = subject.name.split_once('/').unwrap_or_default();
                let numbers = match table {
                    "agent" => AGENT_NUMBERS,
                    "site" => SITE_NUMBERS,
                    _ => QUEUE_NUMBERS,
                };
                Action::Write((number % numbers).to_string())
            }
            Kind::Counter => Action::Add(1),
            Kind::Presence => match self.dice.below(6) {
                0 => Action::LogIn(Presence::Ready),
                1 => Action::LogIn(reason()),
                2 => Action::LogOut,
                3 => Action::SetPresence(Presence::Ready),
                _ => Action::SetPresence(reason()),
            },
        }
    }

    fn learn(&mut self, subject: Subject, action: Action, once: Option<String>, outcome: &Outcome) {
        let tries = self.again.take().map_or(0, |(.., tries)| tries);
        if let Some(key) = once
            && *outcome == Outcome::Unknown
            && tries < TRIES_MAX
            && self.dice.percent(self.plan.again_percent)
        {
            self.again = Some((subject, action, key, tries + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn plan() -> Plan {
        Plan { again_percent: 100, ..Plan::new("h1-", &["lon", "fra"], 7) }
    }

    fn steps(plan: &Plan, client: u32, count: usize, outcome: &Outcome) -> Vec<Step> {
        let mut chooser = Chooser::new(plan, client);
        (0..count)
            .map(|_| {
                let step = chooser.next(3);
                let Step { subject, action, once, .. } = step.clone();
                chooser.learn(subject, action, once, outcome);
                step
            })
            .collect()
    }

    const DONE: Outcome = Outcome::Ok(Answer::Done);

    // Goal: a seed replays; clients differ; every subject is read and changed, at every node.
    #[test]
    fn a_seed_decides() {
        let plan = plan();
        let first = steps(&plan, 1, 2_000, &DONE);
        assert_eq!(first, steps(&plan, 1, 2_000, &DONE));
        assert_ne!(first, steps(&plan, 2, 2_000, &DONE));
        let of = |is_read| {
            let chosen = first.iter().filter(|step| (step.action == Action::Read) == is_read);
            chosen.map(|step| step.subject.clone()).collect::<BTreeSet<_>>()
        };
        let all: BTreeSet<Subject> = plan.subjects().into_iter().collect();
        assert_eq!(all.len() as u32, plan.queues + 2 * plan.agents + 2 + 1);
        assert_eq!((of(true), of(false)), (all.clone(), all));
        assert_eq!(first.iter().map(|step| step.node).collect::<BTreeSet<_>>(), [0, 1, 2].into());
    }

    // Goal: no two changes have the same key, and no two clients write the same text into a queue or
    // an agent.
    #[test]
    fn changes_can_be_told_apart() {
        let plan = plan();
        let (mut keys, mut texts) = (BTreeSet::new(), BTreeSet::new());
        for client in 1..=plan.clients {
            for Step { subject, action, once, .. } in steps(&plan, client, 500, &DONE) {
                assert_eq!(once.is_some(), action != Action::Read);
                assert!(once.is_none_or(|key| keys.insert(key)));
                if let Action::Write(text) = action
                    && !subject.name.starts_with("site/")
                {
                    assert_ne!(text, "0", "it was there first");
                    assert!(texts.insert((subject, text)));
                }
            }
        }
    }

    // Goal: a change without an answer is asked for again with its key at another node, a few times
    // and then no more; a reading is not, nor is what was refused.
    #[test]
    fn what_is_asked_again() {
        let all = steps(&plan(), 1, 400, &Outcome::Unknown);
        let mut tries: BTreeMap<&str, Vec<&Step>> = BTreeMap::new();
        for step in &all {
            tries.entry(step.once.as_deref().unwrap_or("")).or_default().push(step);
        }
        tries.remove("");
        // The last one may have been cut short.
        let last = all.iter().rev().find_map(|step| step.once.as_deref()).unwrap();
        tries.remove(last);
        assert!(tries.len() > 20);
        for (key, tries) in tries {
            assert_eq!(tries.len() as u32, TRIES_MAX + 1, "{key}");
            assert!(tries.windows(2).all(|pair| pair[0].action == pair[1].action));
            assert!(tries.windows(2).all(|pair| pair[0].node != pair[1].node));
        }
        let refused = steps(&plan(), 1, 400, &Outcome::Refused(Refusal::NotDone));
        let keys: Vec<_> = refused.iter().filter_map(|step| step.once.as_ref()).collect();
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
    }

    // Goal: every register has a first value before the clients begin, every person exists, and the
    // queue that numbers lead to comes first.
    #[test]
    fn rows_are_made_first() {
        let plan = plan();
        let steps = plan.preparation();
        assert_eq!(steps[0], Preparation::Silent(Subject::register("queue/h1-home")));
        for subject in plan.subjects() {
            let first = if subject.name.starts_with("site/") { "100" } else { "0" };
            let first = Action::Write(first.to_owned());
            let made = match subject.kind {
                Kind::Register => Preparation::Recorded(subject, first),
                Kind::Presence => Preparation::Silent(Subject::register(&subject.name)),
                Kind::Counter => continue,
            };
            assert!(steps.contains(&made), "{made:?}");
        }
    }

    // Goal: plans without sense are refused with a reason.
    #[test]
    fn plans_are_checked() {
        assert!(plan().check().is_ok());
        for wrong in [
            Plan { sites: Vec::new(), ..plan() },
            Plan { clients: 0, ..plan() },
            Plan { clients: CLIENTS_MAX + 1, ..plan() },
            Plan { queues: 0, ..plan() },
            Plan { read_percent: 101, ..plan() },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}
