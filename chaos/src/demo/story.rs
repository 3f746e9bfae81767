//! The demo's story: the phases after the center stands.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use tandem_phone::{RunTime, World};
use tokio::time::{self, Instant};

use super::pace::Pace;
use crate::{
    cluster::LocalCluster,
    faults::{self, Fault, FaultKind},
    record::Recorder,
    scene::{Board, Crowd},
};

/// Phases in all, the start included.
pub(super) const PHASES: usize = Step::ALL.len();
/// The cluster must show a fault within this time.
const SEEN_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The phases, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The center is set up.
    Start,
    /// Callers come.
    Arrive,
    /// A site is drained.
    Drain,
    /// It is opened again.
    Reopen,
    /// The leader's node dies, and is restarted.
    KillLeader,
    /// A site dies, and is restarted.
    KillSite,
    /// The last callers are served.
    Finish,
}

impl Step {
    const ALL: [Self; 7] = [
        Self::Start,
        Self::Arrive,
        Self::Drain,
        Self::Reopen,
        Self::KillLeader,
        Self::KillSite,
        Self::Finish,
    ];

    /// What happens, and what to watch.
    pub(super) fn words(self, site: &str) -> (String, &'static str) {
        let (title, watch) = match self {
            Self::Start => (
                "Three sites start, a node and a relay each; phones register",
                "watch: three nodes become one cluster with one leader and one queue",
            ),
            Self::Arrive => (
                "Callers come in at all sites, faster than agents can take them",
                "watch: one queue; each goes to the best free agent of any site",
            ),
            Self::Drain => (
                "Site SITE is drained for maintenance",
                "watch: its calls end by themselves, new ones go elsewhere",
            ),
            Self::Reopen => (
                "Site SITE is open again",
                "watch: its agents take callers from the one queue at once",
            ),
            Self::KillLeader => (
                "kill -9: the leader's node at SITE; its relay lives on",
                "watch: talking goes on, the queue keeps its order, nobody hears it",
            ),
            Self::KillSite => (
                "kill -9: the whole site SITE, node and relay at once",
                "watch: its audio pauses a second, then goes on elsewhere; none lost",
            ),
            Self::Finish => (
                "All sites are back; the queue drains",
                "watch: the last callers are served; then the phones are asked",
            ),
        };
        (title.replace("SITE", site), watch)
    }
}

/// What the story needs.
#[derive(Debug)]
pub(super) struct Story<'a> {
    /// The cluster.
    pub(super) cluster: &'a mut LocalCluster,
    /// The phones.
    pub(super) world: &'a World,
    /// Where faults are noted.
    pub(super) recorder: &'a Arc<Recorder>,
    /// Where the story is told.
    pub(super) board: &'a Arc<Board>,
    /// The time table.
    pub(super) pace: &'a Pace,
    /// The callers, who have begun.
    pub(super) crowd: &'a mut Crowd,
    /// When they began.
    pub(super) began: Instant,
}

impl Story<'_> {
    /// Tells it, until the last caller is served or the time is up.
    ///
    /// # Errors
    /// When a step cannot be done.
    pub(super) async fn tell(mut self) -> Result<()> {
        self.phase(Step::Arrive, "");
        let first = self.site_that(|index, leader| Some(index) != leader).await?;
        self.drain(first).await?;
        self.reopen(first).await?;
        let leader = self.kill_leader().await?;
        self.restart(leader, self.pace.restart_leader_at).await?;
        let other = self.site_that(|index, _| index != leader && index != first).await?;
        self.kill_site(other).await?;
        self.restart(other, self.pace.restart_site_at).await?;
        self.finish().await
    }

    async fn drain(&mut self, site: usize) -> Result<()> {
        self.until(self.pace.drain_at).await?;
        let name = self.name(site);
        self.phase(Step::Drain, &name);
        self.make(FaultKind::DrainSite, site).await
    }

    async fn reopen(&mut self, site: usize) -> Result<()> {
        self.until(self.pace.reopen_at).await?;
        let name = self.name(site);
        self.phase(Step::Reopen, &name);
        self.make(FaultKind::OpenSite, site).await
    }

    async fn kill_leader(&mut self) -> Result<usize> {
        self.until(self.pace.kill_leader_at).await?;
        let leader = self.cluster.leader().await?;
        let name = self.name(leader);
        self.phase(Step::KillLeader, &name);
        let (fault, index) = self.inject(FaultKind::KillNode, leader).await?;
        self.somebody_hangs_up(&fault).await?;
        self.until_seen(fault, index).await?;
        Ok(leader)
    }

    async fn kill_site(&mut self, site: usize) -> Result<()> {
        self.until(self.pace.kill_site_at).await?;
        let name = self.name(site);
        self.phase(Step::KillSite, &name);
        self.make(FaultKind::KillSite, site).await
    }

    async fn restart(&mut self, site: usize, at: Duration) -> Result<()> {
        self.until(at).await?;
        self.make(FaultKind::StartNode, site).await
    }

    async fn finish(&mut self) -> Result<()> {
        self.phase(Step::Finish, "");
        let left = self.crowd.until_over(self.began + self.pace.end_max).await?;
        if left > 0 {
            self.board.note(format!("{left} callers are not through in time"));
        }
        Ok(())
    }

    /// Makes a fault, and waits until the cluster shows it.
    async fn make(&mut self, kind: FaultKind, site: usize) -> Result<()> {
        let (fault, index) = self.inject(kind, site).await?;
        self.until_seen(fault, index).await
    }

    async fn inject(&mut self, kind: FaultKind, site: usize) -> Result<(Fault, usize)> {
        let fault = faults::inject(self.cluster, self.world, kind, site)
            .await
            .with_context(|| format!("{kind} {}", self.name(site)))?;
        self.board.note(format!("{fault}: done"));
        let index = self.recorder.fault(fault.clone());
        Ok((fault, index))
    }

    async fn until_seen(&mut self, mut fault: Fault, index: usize) -> Result<()> {
        let deadline = Instant::now() + SEEN_WITHIN;
        // A node that starts or is lost may be the one that is asked: then the next look counts.
        while !faults::seen(self.cluster, self.world, &mut fault).await.unwrap_or(false) {
            if Instant::now() > deadline {
                bail!(
                    "the cluster does not show '{fault}' within {SEEN_WITHIN:?}\n{}",
                    self.logs()
                );
            }
            time::sleep(LOOK_EVERY).await;
        }
        let seen = fault.seen_us.unwrap_or_default();
        self.recorder.seen(index, seen);
        self.board.note(format!("{}: {}", fault, shown(&fault, seen)));
        Ok(())
    }

    /// One who waits at the dead node hangs up: no agent's phone may ring for them.
    async fn somebody_hangs_up(&mut self, fault: &Fault) -> Result<()> {
        for call in self.crowd.waiting().await? {
            let report = call.report().await?;
            let reached = report.attempts.last().map(|attempt| attempt.node);
            if reached == Some(fault.sip) && report.modifications_count == 0 {
                self.recorder.left(&call);
                call.hang_up().await?;
                let who = call.label();
                self.board.note(format!("{who} hangs up while nobody owns the call"));
                return Ok(());
            }
        }
        Ok(())
    }

    async fn site_that(&self, fits: impl Fn(usize, Option<usize>) -> bool) -> Result<usize> {
        let leader = self.cluster.leader().await?;
        let mut sites = 0..self.cluster.places().len();
        sites.rfind(|index| fits(*index, Some(leader))).context("no such site")
    }

    /// Waits for a moment of the time table.
    async fn until(&mut self, at: Duration) -> Result<()> {
        self.crowd.until(self.began + at).await
    }

    fn phase(&self, step: Step, site: &str) {
        let (title, watch) = step.words(site);
        self.board.phase(&title, watch);
    }

    fn name(&self, site: usize) -> String {
        self.cluster.plan().sites.get(site).map(|site| site.name.clone()).unwrap_or_default()
    }

    fn logs(&self) -> String {
        (0..self.cluster.places().len()).map(|site| self.cluster.tail(site)).collect()
    }
}

fn shown(fault: &Fault, seen: RunTime) -> String {
    let after = seen.ms_since(fault.made_us);
    match fault.kind {
        FaultKind::KillNode | FaultKind::KillSite | FaultKind::FreezeNode => {
            format!("declared lost after {after} ms")
        }
        FaultKind::StartNode | FaultKind::ThawNode => format!("up again after {after} ms"),
        FaultKind::DrainSite | FaultKind::OpenSite => format!("in force after {after} ms"),
        FaultKind::KillRelay => "its audio goes elsewhere".to_owned(),
        FaultKind::CutSite
        | FaultKind::CutNode
        | FaultKind::CutLink
        | FaultKind::Join
        | FaultKind::Impair
        | FaultKind::Restore => format!("seen after {after} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: each phase's words fit a line of the smallest usual terminal, also with a longer name.
    #[test]
    fn words_fit() {
        for step in Step::ALL {
            let (title, watch) = step.words("barcelona");
            assert!(title.len() <= 74 && watch.len() <= 74, "{title}: {watch}");
            assert!(!title.contains("SITE"));
        }
    }
}
