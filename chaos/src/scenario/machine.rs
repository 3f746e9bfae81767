//! Disks, clocks and limits of the sites, and the faults made with them.
//!
//! Which site is hit is known only when the fault is made, so in a scenario that needs disks or clocks
//! every site has one of its own. All of it ends with this process, however it ends.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal};
use tandem_lab::{
    disk::{
        Answer, Disk, Order, Settings,
        device::Status,
        faults::{Operation, Refusal, SyncPromise, Which},
        image::Crash,
    },
    machine::{
        Invocation,
        clock::{Clock, RATE_NORMAL_PERMILLE, Setting},
        crash_point::{Call, Effect, Injection, Injections, When},
        descriptors::DescriptorLimit,
        group::{Group, Limits},
    },
};
use tokio::{
    task::block_in_place,
    time::{self, Instant},
};

use super::{
    action::{Action, Damaged, Needs, Program},
    plan::Scenario,
    run::{LOOK_EVERY, SHOWS_WITHIN, Stage},
};
use crate::{
    cluster::{Api, Dress, LocalCluster, Plan},
    faults::{self, Fault, FaultKind},
};

/// Size of a site's disk. Only what is written takes memory.
const DISK_BYTES: u64 = 512 << 20;
/// So rarely does ext4 sync by itself what nobody synced, seconds: a power loss takes it all.
const COMMIT_INTERVAL_S: u32 = 3_600;
/// The exit code of a node whose disk failed, is full or holds damage (docs/errors/exit-codes.md).
const EXIT_STORAGE: i32 = 5;
/// The exit code of a node whose disk is not what the cluster knows it to be.
const EXIT_IDENTITY: i32 = 6;
/// A new connection that is not served within this time is refused.
const CONNECTS_WITHIN: Duration = Duration::from_secs(3);
/// How many periods (of 100 ms) in which a node waited for its processor prove a limit.
const THROTTLED_MIN: u64 = 5;
/// A program that is limited still waits for its processor within this time, or it is another one by now.
const STARVES: Duration = Duration::from_secs(1);
/// How much later syncs come while a write to be torn is waited for, milliseconds.
const TEARS_WITHIN_MS: u64 = 200;
/// Between two looks whether something is written and not synced.
const PENDING_LOOK_EVERY: Duration = Duration::from_millis(5);
/// The bit that is flipped.
const FLIPPED: u8 = 0x10;

/// What the sites of a scenario have of their own. Dropping it after the cluster has ended takes it
/// away.
#[derive(Debug, Default)]
pub(super) struct Machines {
    disks: Vec<Disk>,
    clocks: Vec<Clock>,
    groups: BTreeMap<usize, Group>,
    descriptors: BTreeMap<usize, DescriptorLimit>,
}

impl Machines {
    /// Makes what a scenario needs, and lets the plan use it. `dir` is not the cluster's: whoever ends a
    /// cluster ends every child whose command line names its folder, and the keepers of disks name theirs.
    ///
    /// # Errors
    /// When it does not run as root, or a program of the system is missing.
    pub(super) fn build(scenario: &Scenario, dir: &Path, plan: &mut Plan) -> Result<Self> {
        let mut machines = Self::default();
        let disks = scenario.needs(Needs::Disks);
        let clocks = scenario.needs(Needs::Clocks);
        for site in &mut plan.sites {
            let own = dir.join(&site.name);
            if disks {
                let dir = own.join("disk");
                fs::create_dir_all(&dir)?;
                site.data_dir = dir.join("data");
                let settings =
                    Settings { bytes: DISK_BYTES, dir, commit_interval_s: COMMIT_INTERVAL_S };
                machines.disks.push(Disk::start(settings)?);
            }
            if clocks {
                fs::create_dir_all(&own)?;
                machines.clocks.push(Clock::start(own.join("clock"))?);
            }
        }
        Ok(machines)
    }

    /// Puts each site's clock around its node.
    ///
    /// # Errors
    /// When there are more clocks than sites.
    pub(super) fn dress(&self, cluster: &mut LocalCluster) -> Result<()> {
        for (index, clock) in self.clocks.iter().enumerate() {
            let environment = clock.wrap(Invocation::default()).env;
            cluster.dress(index, Dress { environment, ..Dress::default() })?;
        }
        Ok(())
    }

    /// Takes everything away, once no program uses it any more.
    ///
    /// # Errors
    /// What could not be taken away.
    pub(super) fn undo(mut self) -> Result<()> {
        self.descriptors.values_mut().try_for_each(DescriptorLimit::undo)?;
        self.groups.values_mut().try_for_each(Group::undo)?;
        Ok(self.disks.iter_mut().try_for_each(Disk::undo)?)
    }

    fn disk(&mut self, site: usize) -> Result<&mut Disk> {
        self.disks.get_mut(site).context("a site without a disk")
    }

    fn order(&mut self, site: usize, order: Order) -> Result<Answer> {
        let disk = self.disk(site)?;
        Ok(block_in_place(|| disk.apply(order))?)
    }

    fn status(&mut self, site: usize) -> Result<Status> {
        Ok(self.disk(site)?.status())
    }

    /// Only between the end of the programs that used it and the start of the next ones.
    fn lose_power(&mut self, site: usize, leaves: Crash) -> Result<String> {
        match self.order(site, Order::PowerLoss { leaves })? {
            Answer::PowerLost(report)
                if report.torn.is_none() && matches!(leaves, Crash::TornLast { .. }) =>
            {
                bail!("the power loss tore no write")
            }
            Answer::PowerLost(report) => Ok(format!(
                "{} unsynced blocks were lost, {} torn",
                report.blocks_lost,
                report.torn.map_or(0, |_| 1)
            )),
            other => bail!("a disk answered a power loss by {other:?}"),
        }
    }

    fn clock(&self, site: usize) -> Result<&Clock> {
        self.clocks.get(site).context("a site without a clock")
    }
}

impl Stage<'_> {
    /// Makes a fault of disk, clock or limit, and proves that it works where the cluster cannot.
    pub(super) async fn spoil(&mut self, action: &Action, site: usize) -> Result<(Fault, usize)> {
        match action {
            Action::PowerLoss => return self.lose_power(site, Crash::Clean).await,
            Action::TornWrite { seed } => {
                self.cut_power_in_a_write(site).await?;
                return self.lose_power(site, Crash::TornLast { seed: *seed }).await;
            }
            Action::LyingDisk { lies_ms } => {
                self.machines.order(site, Order::Promise { promise: SyncPromise::Lied })?;
                time::sleep(Duration::from_millis(*lies_ms)).await;
                let lies = self.machines.status(site)?.counts.lies;
                ensure!(lies > 0, "the disk was asked for no sync in the time of its lies");
                self.notes.push(format!("{}: {lies} syncs were lies", self.name(site)));
                return self.lose_power(site, Crash::Clean).await;
            }
            Action::DiskFull => return self.fill(site).await,
            Action::BitFlip { file } => return self.flip(site, *file).await,
            Action::CrashPoints { syncs } => return self.crash(site, syncs).await,
            _ => {}
        }
        let kind = action.made();
        let fault = faults::planned(self.cluster, &self.world, kind, site).await?;
        match action {
            Action::SyncFails => {
                let (operation, which) = (Operation::Sync, Which::Nth(1));
                self.machines
                    .order(site, Order::Fail { operation, which, refusal: Refusal::Io })?;
            }
            Action::DiskSlow { write_ms, sync_ms } => self.slow(site, *write_ms, *sync_ms).await?,
            Action::ClockStep { offset_s } => {
                let offset_ms = offset_s.checked_mul(1_000).context("a step out of range")?;
                self.set_clock(site, Setting::step(offset_ms))?;
            }
            Action::ClockRate { permille } => {
                self.set_clock(site, Setting { offset_ms: 0, rate_permille: *permille })?;
            }
            Action::FreezeRelay => self.cluster.relay(site)?.signal(Signal::STOP)?,
            Action::CpuLimit { percent, of } => self.limit_cpu(site, *percent, *of).await?,
            Action::Descriptors { of } => self.limit_descriptors(site, *of).await?,
            _ => bail!("{}: this is not made by a machine", action.words()),
        }
        Ok(self.note(fault))
    }

    /// Mends it, as an operator would: the machine first, then the node.
    pub(super) async fn repair(&mut self, action: &Action, site: usize) -> Result<(Fault, usize)> {
        match action {
            Action::DiskFull | Action::SyncFails => {
                self.has_left(action, site).await?;
                if *action == Action::DiskFull {
                    self.machines.order(site, Order::MakeRoom)?;
                } else {
                    let lost = self.machines.lose_power(site, Crash::Clean)?;
                    self.notes.push(format!("{}: host restarted, {lost}", self.name(site)));
                }
                return self.inject(FaultKind::StartNode, site).await;
            }
            Action::CrashPoints { .. } => {
                self.cluster.dress(site, Dress::default())?;
                return self.inject(FaultKind::StartNode, site).await;
            }
            Action::PowerLoss => return self.inject(FaultKind::StartNode, site).await,
            Action::TornWrite { .. } | Action::BitFlip { .. } => {
                return self.start_or_replace(site).await;
            }
            Action::LyingDisk { .. } => {
                let old = self.cluster.places().get(site).map(|place| place.id);
                let started = self.start_or_replace(site).await?;
                if self.cluster.places().get(site).map(|place| place.id) == old {
                    let name = self.name(site);
                    self.violated.push(format!(
                        "{name} takes part again under its old number, and has forgotten what it had \
                         acknowledged"
                    ));
                }
                return Ok(started);
            }
            _ => {}
        }
        if let Action::CpuLimit { of, .. } = action {
            self.still_starves(site, *of).await?;
        }
        let fault = faults::planned(self.cluster, &self.world, FaultKind::Restore, site).await?;
        match action {
            Action::DiskSlow { .. } => {
                self.machines.order(site, Order::Heal)?;
            }
            Action::ClockStep { .. } | Action::ClockRate { .. } => {
                self.machines.clock(site)?.undo()?;
            }
            Action::CpuLimit { .. } => {
                if let Some(mut group) = self.machines.groups.remove(&site) {
                    group.undo()?;
                }
            }
            Action::Descriptors { .. } => {
                if let Some(mut limit) = self.machines.descriptors.remove(&site) {
                    limit.undo()?;
                }
            }
            _ => bail!("{}: this is not mended by a machine", action.words()),
        }
        Ok(self.note(fault))
    }

    /// Only a block that is written and not synced can be torn. Slow syncs make sure that there is one.
    async fn cut_power_in_a_write(&mut self, site: usize) -> Result<()> {
        let (operation, delay_ms) = (Operation::Sync, TEARS_WITHIN_MS);
        self.machines.order(site, Order::Delay { operation, delay_ms })?;
        let deadline = Instant::now() + SHOWS_WITHIN;
        while self.machines.status(site)?.pending_blocks == 0 {
            ensure!(Instant::now() < deadline, "nothing was written at {}", self.name(site));
            time::sleep(PENDING_LOOK_EVERY).await;
        }
        self.machines.order(site, Order::CutPower)?;
        self.machines.order(site, Order::Heal)?;
        Ok(())
    }

    async fn lose_power(&mut self, site: usize, leaves: Crash) -> Result<(Fault, usize)> {
        let killed = self.inject(FaultKind::KillNode, site).await?;
        let lost = self.machines.lose_power(site, leaves)?;
        self.notes.push(format!("{}: {lost}", self.name(site)));
        Ok(killed)
    }

    /// RocksDB reserves room for its log ahead, so a node that runs may not notice for hours. One that is
    /// killed and starts again must.
    async fn fill(&mut self, site: usize) -> Result<(Fault, usize)> {
        let filled = self.machines.order(site, Order::Fill { leave_bytes: 0 })?;
        self.notes.push(format!("{}: {filled:?}", self.name(site)));
        let killed = self.inject(FaultKind::KillNode, site).await?;
        self.inject(FaultKind::StartNode, site).await?;
        Ok(killed)
    }

    /// In the middle of the file: what is damaged at its very end looks like a write that was cut off.
    async fn flip(&mut self, site: usize, file: Damaged) -> Result<(Fault, usize)> {
        let killed = self.inject(FaultKind::KillNode, site).await?;
        let dir = self.machines.disk(site)?.dir().to_owned();
        let (path, bytes) = newest(&dir, file)?
            .with_context(|| format!("{} has no file of that kind yet", self.name(site)))?;
        let offset = bytes / 2;
        self.machines.order(site, Order::FlipFile { path: path.clone(), offset, mask: FLIPPED })?;
        let shown = path.strip_prefix(&dir).unwrap_or(&path).display();
        self.notes.push(format!(
            "{}: byte {offset} of {bytes} of {shown} is another one",
            self.name(site)
        ));
        Ok(killed)
    }

    async fn crash(&mut self, site: usize, syncs: &[u64]) -> Result<(Fault, usize)> {
        let mut last = self.inject(FaultKind::KillNode, site).await?;
        for nth in syncs {
            let fault = Injection { call: Call::Sync, effect: Effect::Kill, when: When::Nth(*nth) };
            let injections = Injections { faults: vec![fault], files: Vec::new() };
            let wrapped = injections.wrap(Invocation::default());
            // What follows is the node's own command line, instead of the empty one.
            let mut before = vec![wrapped.program];
            before.extend(wrapped.args.into_iter().filter(|word| !word.is_empty()));
            self.cluster.dress(site, Dress { before, environment: wrapped.env })?;
            self.inject(FaultKind::StartNode, site).await?;
            let point = format!("{} did not reach sync {nth} of a thread", self.name(site));
            self.until_ended(site).await?.then_some(()).context(point)?;
            let kind = FaultKind::KillNode;
            let fault = faults::planned(self.cluster, &self.world, kind, site).await?;
            self.cluster.forget_node(site)?;
            last = self.note(fault);
        }
        self.notes.push(format!("{}: killed at syncs {syncs:?}", self.name(site)));
        Ok(last)
    }

    async fn slow(&mut self, site: usize, write_ms: u64, sync_ms: u64) -> Result<()> {
        for (operation, delay_ms) in [(Operation::Write, write_ms), (Operation::Sync, sync_ms)] {
            self.machines.order(site, Order::Delay { operation, delay_ms })?;
        }
        let before = self.machines.status(site)?.counts;
        let deadline = Instant::now() + SHOWS_WITHIN;
        loop {
            let now = self.machines.status(site)?.counts;
            if now.syncs > before.syncs + 1 && now.writes > before.writes + 1 {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "nobody used the slow disk of {}", self.name(site));
            time::sleep(LOOK_EVERY).await;
        }
    }

    /// That the node goes by this clock is seen in its memory: the library that tells it the time.
    fn set_clock(&mut self, site: usize, setting: Setting) -> Result<()> {
        let pid = self.cluster.node(site)?.pid();
        let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
        ensure!(maps.contains("libfaketime"), "{} goes by the true clock", self.name(site));
        let is_step = setting.rate_permille == RATE_NORMAL_PERMILLE;
        self.machines.clock(site)?.set(setting)?;
        let how = if is_step { "stepped" } else { "at another speed" };
        self.notes.push(format!("{}: its clock is {how}", self.name(site)));
        Ok(())
    }

    async fn limit_cpu(&mut self, site: usize, percent: u32, of: Program) -> Result<()> {
        let limits = Limits { cpu_percent_max: Some(percent), ..Limits::default() };
        let group = Group::start(limits)?;
        group.adopt(self.pid(site, of)?)?;
        let deadline = Instant::now() + SHOWS_WITHIN;
        while group.cpu_use()?.periods_throttled < THROTTLED_MIN {
            if Instant::now() > deadline {
                bail!("{} never waited for its processor", self.name(site));
            }
            time::sleep(LOOK_EVERY).await;
        }
        self.machines.groups.insert(site, group);
        Ok(())
    }

    /// A relay that is given up for silent, say, is followed by one without a limit.
    async fn still_starves(&self, site: usize, of: Program) -> Result<()> {
        let group = self.machines.groups.get(&site).context("a limit that was not made")?;
        let before = group.cpu_use()?.periods_throttled;
        time::sleep(STARVES).await;
        let starves = group.cpu_use()?.periods_throttled > before;
        let whose = if of == Program::Node { "node" } else { "relay" };
        ensure!(starves, "the {whose} of {} waits no longer", self.name(site));
        Ok(())
    }

    /// No descriptor above those that the program holds. A new connection that a node does not serve
    /// proves it; of a relay the kernel's word must do.
    async fn limit_descriptors(&mut self, site: usize, of: Program) -> Result<()> {
        let pid = self.pid(site, of)?;
        let folder = format!("/proc/{}/fd", pid.as_raw_nonzero());
        let held = fs::read_dir(folder)?.count();
        let limit = DescriptorLimit::start(pid, held as u64 / 2)?;
        self.machines.descriptors.insert(site, limit);
        if of == Program::Node {
            let api: Api = self.cluster.api(site)?;
            let served = time::timeout(CONNECTS_WITHIN, api.status_local()).await;
            ensure!(!matches!(served, Ok(Ok(_))), "{} still takes connections", self.name(site));
        }
        self.notes.push(format!("{}: no descriptor but the {held} that it has", self.name(site)));
        Ok(())
    }

    fn pid(&self, site: usize, of: Program) -> Result<Pid> {
        let pid = match of {
            Program::Node => self.cluster.node(site)?.pid(),
            Program::Relay => self.cluster.relay(site)?.pid(),
        };
        Pid::from_raw(pid).context("a process id")
    }

    /// A node that cannot trust its disk ends by itself and says why; one that stays must be killed
    /// before its disk can be mended, and that is a violation.
    async fn has_left(&mut self, action: &Action, site: usize) -> Result<()> {
        if self.until_ended(site).await? {
            self.judge_exit(action.words(), site, &[EXIT_STORAGE]);
            return self.cluster.forget_node(site);
        }
        let (name, words) = (self.name(site), action.words());
        let refused = self.machines.status(site)?.counts.refused;
        self.cluster.kill_node(site)?;
        // Only what met the node can be held against it.
        ensure!(refused > 0, "{name} met no fault by '{words}'");
        self.violated.push(format!("{name} went on after '{words}' ({refused} refused)"));
        Ok(())
    }

    fn judge_exit(&mut self, after: &str, site: usize, codes: &[i32]) {
        let code = self.cluster.exit_code(site);
        // The relay writes into the same log.
        let tail = self.cluster.tail(site);
        let own = |line: &&str| line.starts_with("tandem: ");
        let why = tail.lines().rfind(own).unwrap_or("no line that begins with tandem:");
        let name = self.name(site);
        if code.is_some_and(|code| codes.contains(&code)) && why.starts_with("tandem: ") {
            self.notes.push(format!("{name}: exit code {} ({why})", code.unwrap_or_default()));
        } else {
            self.violated.push(format!(
                "after '{after}' {name} ended with {code:?} and these words: {why} (allowed: {codes:?})"
            ));
        }
    }

    /// Whether the process of a site's node ends by itself in time.
    async fn until_ended(&self, site: usize) -> Result<bool> {
        let deadline = Instant::now() + SHOWS_WITHIN;
        while self.cluster.running().any(|running| running == site) {
            if Instant::now() > deadline {
                return Ok(false);
            }
            time::sleep(LOOK_EVERY).await;
        }
        Ok(true)
    }

    /// Starts a node on a disk that may hold damage. One that refuses to start must say why; then it is
    /// removed and joins anew, as docs/operating/failures.md tells operators.
    async fn start_or_replace(&mut self, site: usize) -> Result<(Fault, usize)> {
        let (mut fault, index) = self.inject(FaultKind::StartNode, site).await?;
        let deadline = Instant::now() + SHOWS_WITHIN;
        while self.cluster.running().any(|running| running == site) {
            if faults::seen(self.cluster, &self.world, &mut fault).await.unwrap_or(false) {
                self.notes.push(format!("{}: starts on its disk", self.name(site)));
                return Ok((fault, index));
            }
            ensure!(
                Instant::now() < deadline,
                "{} is not up\n{}",
                self.name(site),
                self.cluster.tail(site)
            );
            time::sleep(LOOK_EVERY).await;
        }
        self.judge_exit("start on its disk", site, &[EXIT_STORAGE, EXIT_IDENTITY]);
        self.cluster.forget_node(site)?;
        let id = self.cluster.replace_node(site).await?;
        self.notes.push(format!("{}: removed, and joined anew as node {id}", self.name(site)));
        let fault = faults::planned(self.cluster, &self.world, FaultKind::StartNode, site).await?;
        Ok(self.note(fault))
    }
}

/// The newest file of a kind, with its size; empty ones are none.
fn newest(dir: &Path, kind: Damaged) -> Result<Option<(PathBuf, u64)>> {
    let (mut best, mut folders) = (None::<(SystemTime, PathBuf, u64)>, vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let about = fs::symlink_metadata(&path)?;
            if about.is_dir() {
                folders.push(path);
            } else if about.is_file() && about.len() > 0 && is_of(kind, &path) {
                let modified = about.modified()?;
                if best.as_ref().is_none_or(|(newest, ..)| *newest <= modified) {
                    best = Some((modified, path, about.len()));
                }
            }
        }
    }
    Ok(best.map(|(_, path, bytes)| (path, bytes)))
}

fn is_of(kind: Damaged, path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    // RocksDB has an identity too, of which nothing hangs.
    let is_ours = path.parent().is_some_and(|folder| !folder.ends_with("db"));
    match kind {
        Damaged::Wal => is_numbered(path, "log"),
        Damaged::Table => is_numbered(path, "sst"),
        Damaged::Manifest => name.starts_with("MANIFEST-"),
        Damaged::Mark => name == "MARK" && is_ours,
        Damaged::Identity => name == "IDENTITY" && is_ours,
    }
}

/// RocksDB's own files are numbered: `000012.log`.
fn is_numbered(path: &Path, ending: &str) -> bool {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    path.extension().is_some_and(|own| own == ending)
        && !stem.is_empty()
        && stem.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: the newest file of a kind is found in any folder; logs in words, empty files and other kinds
    // are not.
    #[test]
    fn files_to_damage() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, text: &str, age_s: u64| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            let at = SystemTime::now() - Duration::from_secs(age_s);
            fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
            path
        };
        assert_eq!(newest(dir.path(), Damaged::Wal).unwrap(), None);
        make("db/000004.log", "old", 60);
        let wal = make("db/000009.log", "newer", 30);
        make("db/000010.log", "", 1);
        make("node.log", "words", 0);
        let table = make("db/deep/000007.sst", "table", 90);
        assert_eq!(newest(dir.path(), Damaged::Wal).unwrap(), Some((wal, 5)));
        assert_eq!(newest(dir.path(), Damaged::Table).unwrap(), Some((table, 5)));
        make("db/IDENTITY", "RocksDB's", 0);
        let own = [
            (Damaged::Manifest, make("db/MANIFEST-000010", "m", 50)),
            (Damaged::Mark, make("MARK", "m", 50)),
            (Damaged::Identity, make("IDENTITY", "m", 50)),
        ];
        for (kind, path) in own {
            assert_eq!(newest(dir.path(), kind).unwrap(), Some((path, 1)));
        }
    }
}
