//! Clients of the API beside the callers, and the judgement on what they were told.

use std::path::PathBuf;

use anyhow::{Context, Result};
use tandem_phone::World;
use tokio::{sync::watch, task::JoinHandle};

use super::{judges::Findings, plan::Center};
use crate::{
    check::history::{judge, linearizable::Bounds},
    cluster::{Api, LocalCluster},
    history::{
        Clock, History, Recorder,
        workload::{Counts, Plan, run},
    },
};

/// Names of the clients' rows begin with it.
const PREFIX: &str = "api-";
/// Decides what is asked.
const SEED: u64 = 1;

/// Clients at work. Dropping it stops them.
#[derive(Debug)]
pub(super) struct ApiClients {
    file: PathBuf,
    recorder: Recorder,
    stop: watch::Sender<bool>,
    work: JoinHandle<Result<Counts>>,
    operations_min: usize,
}

impl ApiClients {
    /// Lets the clients of a center begin; none when it has none.
    ///
    /// # Errors
    /// When the history cannot be written.
    pub(super) fn start(
        center: &Center,
        cluster: &LocalCluster,
        apis: &[Api],
        world: &World,
    ) -> Result<Option<Self>> {
        if center.api_clients == 0 {
            return Ok(None);
        }
        let file = cluster.plan().dir.join("history.jsonl");
        let recorder = Recorder::create(&file, Clock::of_world(world))?;
        let sites: Vec<&str> = cluster.plan().sites.iter().map(|it| it.name.as_str()).collect();
        let plan = Plan {
            clients: center.api_clients,
            pause_ms_max: center.api_pause_ms,
            ballast_skills: center.api_ballast_skills,
            ..Plan::new(PREFIX, &sites, SEED)
        };
        let (stop, stopped) = watch::channel(false);
        let work = tokio::spawn(run(plan, apis.to_vec(), recorder.clone(), stopped));
        Ok(Some(Self { file, recorder, stop, work, operations_min: center.api_operations_min }))
    }

    /// Where faults are noted too.
    pub(super) fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// Stops the clients and judges what they saw.
    ///
    /// # Errors
    /// When a client could not work, or the history cannot be read.
    pub(super) async fn close(self, findings: &mut Findings) -> Result<()> {
        // Whoever has done all of its operations listens no more.
        self.stop.send(true).ok();
        self.work.await.context("the API's clients")??;
        let history = History::read(&self.file)?;
        let judgement = judge(&history, &Bounds::default());
        let undecided: Vec<String> = judgement.undecided().map(ToString::to_string).collect();
        let violations = judgement.violations().map(ToString::to_string);
        findings.violated.extend(violations);
        findings.violated.extend(judgement.steps_back.iter().map(ToString::to_string));
        if !undecided.is_empty() {
            findings.unproven.push(format!("linearizability of {}", undecided.join(", ")));
        }
        let enough = self.operations_min.max(1);
        if judgement.answered < enough {
            let answered = judgement.answered;
            findings.unproven.push(format!("the API answered {answered} of {enough} operations"));
        }
        let proven = judgement.subjects.len() - judgement.violations().count() - undecided.len();
        findings.proven.push(format!(
            "{} operations of the API answered, {} with unknown outcome: {proven} of {} subjects \
             linearizable",
            judgement.answered,
            judgement.unknown,
            judgement.subjects.len()
        ));
        Ok(())
    }
}
