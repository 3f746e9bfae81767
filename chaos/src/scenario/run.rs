//! A scenario's run: the center is set up, callers come, the steps are made one after the other, and
//! the phones are asked in the end.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use tandem_lab::wan::LinkState;
use tandem_phone::{AnswerPolicy, World, WorldOptions};
use tokio::{
    task::block_in_place,
    time::{self, Instant},
};

use super::{
    action::{Action, Needs, Open},
    api_clients::ApiClients,
    judges::{Findings, Inquiry},
    life::{Life, Phase},
    machine::Machines,
    people::People,
    plan::{Scenario, Step, Target},
    verdict::{Episode, Verdict},
    wan::{Direction, Done, Wan},
};
use crate::{
    center,
    check::{Allowances, Evidence, judge},
    cluster::{Api, LocalCluster},
    faults::{self, Fault, FaultKind},
    record::Recorder,
    scene::{self, Board, CallerPlan, Crowd, LINES, Watch, millis},
};

/// A fault must show, and be over, within this time.
pub(super) const SHOWS_WITHIN: Duration = Duration::from_secs(60);
/// The last caller must be through this long after the last step and the last arrival.
const THROUGH_WITHIN: Duration = Duration::from_secs(90);
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Loopback traffic stays within a millisecond.
const ROUND_TRIP_MS: u64 = 1;
/// How long phones may take to hang up and leave.
const LEAVE_MS_MAX: u64 = 3_000;
/// From an INVITE to the answer of an agent's phone.
const RING: Duration = Duration::from_millis(300);
/// Every fourth call of an agent is ended by the agent, after this share of the callers' talk.
const AGENT_TALK: f64 = 0.8;

/// Everything that a run leaves behind.
#[derive(Debug)]
pub(super) struct Ran {
    /// How it ended.
    pub(super) verdict: Verdict,
    /// What everybody experienced, when the run got so far.
    pub(super) evidence: Option<Evidence>,
    /// What was seen of the cluster.
    pub(super) board: Arc<Board>,
}

/// Runs a scenario on a cluster that is prepared and not yet founded. Whatever happens becomes part of the
/// verdict: what the laboratory itself could not do is *harness failed*, never a pass.
pub(super) async fn run(
    scenario: &Scenario,
    mut cluster: LocalCluster,
    wan: Option<Arc<Wan>>,
    mut machines: Machines,
) -> Ran {
    let round_trip_ms = wan.as_ref().map_or(ROUND_TRIP_MS, |wan| wan.round_trip_ms());
    let board = Arc::new(Board::new(scenario.step.len() + 2, scenario.center.callers as u64));
    let mut verdict = Verdict::of(scenario);
    let allowances = scenario.allowances(cluster.plan().timing, round_trip_ms);
    let on = Ground { wan, machines: &mut machines };
    let played = play(scenario, &mut cluster, on, &board, &allowances, &mut verdict).await;
    verdict.did_not_end = cluster.end();
    drop(cluster);
    if let Err(error) = block_in_place(|| machines.undo()) {
        verdict.unproven.push(format!("the machines are not whole again: {error:#}"));
    }
    let evidence = match played {
        Ok((evidence, findings)) => {
            let mut judgement = judge(&evidence, &allowances);
            judgement.problems.extend(findings.problems);
            verdict.violated.extend(findings.violated);
            verdict.unproven.extend(findings.unproven);
            verdict.notes.extend(findings.proven);
            judgement.problems.truncate(crate::limits::PROBLEMS_KEPT_MAX);
            verdict.judgement = Some(judgement);
            Some(evidence)
        }
        Err(error) => {
            verdict.error = Some(format!("{error:#}"));
            None
        }
    };
    verdict.settle();
    Ran { verdict, evidence, board }
}

/// What the cluster stands on, as far as it can be broken.
struct Ground<'a> {
    wan: Option<Arc<Wan>>,
    machines: &'a mut Machines,
}

async fn play(
    scenario: &Scenario,
    cluster: &mut LocalCluster,
    on: Ground<'_>,
    board: &Arc<Board>,
    allowances: &Allowances,
    verdict: &mut Verdict,
) -> Result<(Evidence, Findings)> {
    board.phase("the center is set up", &scenario.breaks);
    let world = World::start(WorldOptions::default()).await?;
    cluster.found().await?;
    let agents = scene::agents(scenario.center.agents, cluster);
    center::configure(cluster, &scene::queues(), &agents).await?;
    let policy = AnswerPolicy::answer_after(millis(RING));
    let phones = center::phones(cluster, &world, &agents, &policy).await?;
    let talk = Duration::from_millis(scenario.center.talk_ms);
    let agent_talk = talk.mul_f64(AGENT_TALK);
    scene::answer_as(&phones, RING, agent_talk).await?;
    center::log_in(cluster, &agents).await?;
    let recorder = Arc::new(Recorder::start(&world, &phones, scene::facts(cluster, &agents)));
    let apis = (0..cluster.places().len()).map(|site| cluster.api(site));
    let apis: Vec<Api> = apis.collect::<Result<_>>()?;
    let clients = ApiClients::start(&scenario.center, cluster, &apis, &world)?;
    let history = clients.as_ref().map(ApiClients::recorder);
    let inquiry = Inquiry::start(&world, &apis);
    let _watch = Watch::start(&world, apis, board);
    let mut trunks = Vec::new();
    for site in 0..cluster.places().len() {
        trunks.push(center::trunk(cluster, &world, site).await?);
    }
    let sites = cluster.plan().sites.iter().map(|site| site.name.clone()).collect();
    let began = Instant::now();
    let crowd = Crowd::start(&callers(scenario), trunks, sites, &recorder, board);
    let Ground { wan, machines } = on;
    let mut stage = Stage {
        cluster,
        wan,
        machines,
        people: People { phones, ring: RING, talk: agent_talk },
        world,
        recorder,
        board,
        crowd,
        notes: Vec::new(),
        violated: Vec::new(),
    };
    for step in &scenario.step {
        stage.crowd.until(began + Duration::from_millis(step.at_ms)).await?;
        board.phase(&step.words(), "");
        let mut episode = Episode::planned(step, stage.world.now());
        let span = history.as_ref().map(|it| it.fault(&step.words())).transpose()?;
        let lived = stage.live(step, &mut episode).await;
        if let Some((history, span)) = history.as_ref().zip(span) {
            history.healed(span)?;
        }
        verdict.episodes.push(episode);
        verdict.notes.append(&mut stage.notes);
        verdict.violated.append(&mut stage.violated);
        lived.with_context(|| step.words())?;
    }
    board.phase("the last callers are served", "");
    let arrived = began + Duration::from_millis(scenario.center.arrive_ms);
    let deadline = Instant::now().max(arrived) + THROUGH_WITHIN;
    let left = stage.crowd.until_over(deadline).await?;
    if left > 0 {
        let what =
            format!("{left} callers are not through {THROUGH_WITHIN:?} after the last fault");
        board.note(&what);
        verdict.violated.push(what);
    }
    let evidence = stage.recorder.evidence().await?;
    let mut clients_found = Findings::default();
    if let Some(clients) = clients {
        clients.close(&mut clients_found).await?;
    }
    let mut findings = inquiry.close(stage.cluster, &evidence, allowances, left).await?;
    findings.add(clients_found);
    let world = stage.world.clone();
    drop(stage);
    world.stop(LEAVE_MS_MAX).await?;
    Ok((evidence, findings))
}

/// Evenly over the time, the sites and the lines.
fn callers(scenario: &Scenario) -> Vec<CallerPlan> {
    let center = &scenario.center;
    let every =
        Duration::from_millis(center.arrive_ms) / u32::try_from(center.callers).unwrap_or(1);
    let plan = |index: usize| CallerPlan {
        at: every * u32::try_from(index).unwrap_or(u32::MAX),
        site: index % center.sites,
        line: index / center.sites % LINES.len(),
        talk: Duration::from_millis(center.talk_ms),
        patience: (center.patience_ms > 0 && index % 3 == 2)
            .then_some(Duration::from_millis(center.patience_ms)),
    };
    (0..center.callers).map(plan).collect()
}

/// Everything that a step needs.
pub(super) struct Stage<'a> {
    pub(super) cluster: &'a mut LocalCluster,
    wan: Option<Arc<Wan>>,
    pub(super) machines: &'a mut Machines,
    pub(super) people: People,
    pub(super) world: World,
    recorder: Arc<Recorder>,
    board: &'a Arc<Board>,
    crowd: Crowd,
    /// What a fault did.
    pub(super) notes: Vec<String>,
    /// What a fault showed that must not be.
    pub(super) violated: Vec<String>,
}

impl Stage<'_> {
    /// One fault, from its plan to the last trace of it. What was begun is mended also when something
    /// goes wrong in between.
    async fn live(&mut self, step: &Step, episode: &mut Episode) -> Result<()> {
        let sites = self.target(step.target).await?;
        episode.sites = sites.iter().map(|site| self.name(*site)).collect();
        self.enter(&mut episode.life, Phase::SetUp)?;
        let broken = self.broken(step, &sites, &mut episode.life).await;
        let mended = if broken.is_ok() {
            self.mended(step, &sites, &mut episode.life).await
        } else {
            self.mend(step, &sites).await.map(drop)
        };
        self.enter(&mut episode.life, Phase::CleanedUp)?;
        broken.and(mended)
    }

    async fn broken(&mut self, step: &Step, sites: &[usize], life: &mut Life) -> Result<()> {
        let (mut noted, mut before) = (Vec::new(), Vec::new());
        for site in sites {
            if let Some(wan) = &self.wan {
                before.push((*site, wan.done(*site)?));
            }
            noted.push(self.make(&step.fault, *site).await?);
        }
        self.enter(life, Phase::Injected)?;
        if step.fault.shows_on_the_router() {
            self.until_harmed(&step.fault, &before).await?;
        }
        // With every node dead nobody is left to ask; that they are dead was seen at the kill.
        if self.cluster.running().next().is_some() {
            for (fault, index) in noted {
                self.until_seen(fault, index).await?;
            }
        }
        self.enter(life, Phase::Shown)?;
        time::sleep(Duration::from_millis(step.lasts_ms)).await;
        Ok(())
    }

    /// Packets must have met the fault, or it proved nothing.
    async fn until_harmed(&self, action: &Action, before: &[(usize, Done)]) -> Result<()> {
        let (wan, deadline) = (self.wan()?, Instant::now() + SHOWS_WITHIN);
        // Delay harms nothing; then a packet that came through is what shows it.
        let only_late = matches!(action, Action::Impair(by) if by.only_delays());
        for (site, before) in before {
            loop {
                let now = wan.done(*site)?;
                let met = if only_late {
                    now.carried > before.carried
                } else {
                    now.harmed > before.harmed
                };
                if met {
                    break;
                }
                if Instant::now() > deadline {
                    bail!("no packet met the fault at {}", self.name(*site));
                }
                time::sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    async fn mended(&mut self, step: &Step, sites: &[usize], life: &mut Life) -> Result<()> {
        self.enter(life, Phase::Recovering)?;
        for (fault, index) in self.mend(step, sites).await? {
            self.until_seen(fault, index).await?;
        }
        self.enter(life, Phase::Recovered)
    }

    async fn mend(&mut self, step: &Step, sites: &[usize]) -> Result<Vec<(Fault, usize)>> {
        let mut noted = Vec::new();
        if let Some(kind) = step.fault.mended() {
            for site in sites {
                noted.push(self.unmake(&step.fault, kind, *site).await?);
            }
        }
        Ok(noted)
    }

    async fn target(&self, target: Target) -> Result<Vec<usize>> {
        let all = 0..self.cluster.places().len();
        let leader = self.cluster.leader().await?;
        Ok(match target {
            Target::Leader => vec![leader],
            Target::Follower => all.filter(|site| *site != leader).take(1).collect(),
            Target::All => all.collect(),
        })
    }

    async fn make(&mut self, action: &Action, site: usize) -> Result<(Fault, usize)> {
        let kind = action.made();
        match action.needs() {
            Needs::Wan => {}
            Needs::People => return self.disturb(action, site).await,
            Needs::Processes => return self.inject(kind, site).await,
            Needs::Disks | Needs::Clocks | Needs::Limits => return self.spoil(action, site).await,
        }
        let fault = faults::planned(self.cluster, &self.world, kind, site).await?;
        let wan = self.wan()?;
        match action {
            Action::CutSite => wan.border(site, LinkState::Down)?,
            Action::CutNode => wan.between_hosts(site, Direction::Both, LinkState::Down)?,
            Action::CutOneWay { open } => {
                let cut = match open {
                    Open::In => Direction::Out,
                    Open::Out => Direction::In,
                };
                wan.between_hosts(site, cut, LinkState::Down)?;
            }
            Action::CutLink => wan.link(site, self.next(site), LinkState::Down)?,
            Action::Flap { times, period_ms } => self.flap(site, *times, *period_ms).await?,
            Action::Impair(by) => {
                wan.impair(site, by)?;
                // Nodes send no packet so long, which is why they live through it: ours shows it.
                if let Some(bytes) = by.longer_than {
                    wan.send_to_next(site, bytes.saturating_add(1))?;
                }
            }
            _ => bail!("{}: this is not made by the network", action.words()),
        }
        Ok(self.note(fault))
    }

    async fn unmake(
        &mut self,
        action: &Action,
        kind: FaultKind,
        site: usize,
    ) -> Result<(Fault, usize)> {
        match action.needs() {
            Needs::Wan => {}
            Needs::People => return self.calm(action, site).await,
            Needs::Processes => return self.inject(kind, site).await,
            Needs::Disks | Needs::Clocks | Needs::Limits => return self.repair(action, site).await,
        }
        let fault = faults::planned(self.cluster, &self.world, kind, site).await?;
        let wan = self.wan()?;
        match action {
            Action::CutSite => wan.border(site, LinkState::Up)?,
            Action::CutLink => wan.link(site, self.next(site), LinkState::Up)?,
            Action::Impair(by) => wan.restore(site, by)?,
            _ => wan.between_hosts(site, Direction::Both, LinkState::Up)?,
        }
        Ok(self.note(fault))
    }

    async fn flap(&self, site: usize, times: u32, period_ms: u64) -> Result<()> {
        let (wan, half) = (self.wan()?, Duration::from_millis(period_ms / 2));
        for _ in 0..times {
            wan.between_hosts(site, Direction::Both, LinkState::Down)?;
            time::sleep(half).await;
            wan.between_hosts(site, Direction::Both, LinkState::Up)?;
            time::sleep(half).await;
        }
        Ok(())
    }

    pub(super) async fn inject(&mut self, kind: FaultKind, site: usize) -> Result<(Fault, usize)> {
        let fault = faults::inject(self.cluster, &self.world, kind, site)
            .await
            .with_context(|| format!("{kind} {}", self.name(site)))?;
        Ok(self.note(fault))
    }

    pub(super) fn note(&self, fault: Fault) -> (Fault, usize) {
        self.board.note(format!("{fault}: done"));
        let index = self.recorder.fault(fault.clone());
        (fault, index)
    }

    fn wan(&self) -> Result<Arc<Wan>> {
        self.wan.clone().context("a step needs `network = \"wan\"`")
    }

    fn next(&self, site: usize) -> usize {
        (site + 1) % self.cluster.places().len()
    }

    async fn until_seen(&mut self, mut fault: Fault, index: usize) -> Result<()> {
        let deadline = Instant::now() + SHOWS_WITHIN;
        // A node that starts or is lost may be the one that is asked: then the next look counts.
        while !faults::seen(self.cluster, &self.world, &mut fault).await.unwrap_or(false) {
            // A node that ended instead of starting is the cluster's doing.
            if fault.kind == FaultKind::StartNode
                && let Some(index) =
                    self.cluster.places().iter().position(|it| it.site.name == fault.site)
                && let Some(code) = self.cluster.exit_code(index)
            {
                let tail = self.cluster.tail(index);
                self.violated
                    .push(format!("{} did not start: exit code {code}\n{tail}", fault.site));
                bail!("'{fault}' cannot show any more");
            }
            if Instant::now() > deadline {
                let sites = 0..self.cluster.places().len();
                let logs: Vec<String> = sites.map(|site| self.cluster.tail(site)).collect();
                bail!("'{fault}' does not show within {SHOWS_WITHIN:?}\n{}", logs.join("\n"));
            }
            time::sleep(LOOK_EVERY).await;
        }
        self.recorder.seen(index, fault.seen_us.unwrap_or_default());
        Ok(())
    }

    fn enter(&self, life: &mut Life, phase: Phase) -> Result<()> {
        Ok(life.enter(phase, self.world.now())?)
    }

    pub(super) fn name(&self, site: usize) -> String {
        self.cluster.plan().sites.get(site).map(|site| site.name.clone()).unwrap_or_default()
    }
}

impl Step {
    /// In a few words.
    #[must_use]
    pub fn words(&self) -> String {
        let target = match self.target {
            Target::Leader => "the leader's site",
            Target::Follower => "another site",
            Target::All => "every site",
        };
        format!("{} {target}", self.fault.words())
    }
}

/// The programs of the product in a folder.
///
/// # Errors
/// Names what is missing and how to build it.
pub(super) fn check_programs(folder: &Path) -> Result<()> {
    for program in ["tandem", "tandem-relay"] {
        if !folder.join(program).is_file() {
            bail!(
                "{program} is not in {}; build it with `cargo build -p tandem-node -p \
                 tandem-media-relay`, or name its folder with --programs",
                folder.display()
            );
        }
    }
    Ok(())
}
