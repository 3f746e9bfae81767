//! A share of the processor and an amount of memory for some programs: control groups, version 1.
//!
//! A group is two folders, one under the controller `cpu` and one under `memory`, named after this
//! process. A warden ends their programs and removes them when this process dies; what even that
//! leaves, because both were killed, the next [`Group::start`] of any process removes.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::Invocation;
use super::tool::ToolError;
use super::warden::Warden;

const CONTROLLERS: [&str; 2] = ["cpu", "memory"];
const NAME: &str = "tandem-lab-";

/// The kernel's own period; a quota is per period, and must be at least 1 ms.
const PERIOD_US: u64 = 100_000;

/// Tries, 20 ms apart, to remove a group whose last program is just ending.
const REMOVE_TRIES: u32 = 250;
const REMOVE_PAUSE: Duration = Duration::from_millis(20);

const REMOVE: &str = "for group; do
  tries=0
  while [ -d \"$group\" ] && [ $tries -lt 250 ]; do
    while read -r pid; do kill -9 \"$pid\"; done <\"$group/cgroup.procs\"
    rmdir \"$group\" || sleep 0.02
    tries=$((tries + 1))
  done
done";

static NEXT: AtomicU64 = AtomicU64::new(1);

/// What the programs of a group may use, all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Percent of one processor, at least 1; 150 is one and a half. `None`: no limit.
    pub cpu_percent_max: Option<u32>,
    /// Bytes, page cache included; who exceeds it is killed. `None`: no limit.
    pub memory_bytes_max: Option<u64>,
}

/// What the limit of the processor did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuUse {
    /// Periods of 100 ms in which a program of the group wanted to run.
    pub periods: u64,
    /// Those in which it was made to wait.
    pub periods_throttled: u64,
    /// How long it waited, in nanoseconds.
    pub throttled_ns: u64,
}

/// What the limit of memory did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes in use.
    pub bytes: u64,
    /// Programs killed for it.
    pub kills: u64,
}

/// A group that could not be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum LimitsError {
    /// The system has no version 1 controllers, or shows none.
    #[error(
        "no control group of version 1 for `{0}` is mounted: boot with systemd.unified_cgroup_hierarchy=0"
    )]
    NoController(&'static str),
    /// A share of nothing.
    #[error("a limit of 0 % would stop the programs for ever: choose at least 1, or pause them")]
    NoShare,
    /// A file of the group.
    #[error("{path}: {source} (control groups need root)")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of the group says something unknown.
    #[error("{path} does not tell `{field}`: another kernel than this was written for")]
    Unknown {
        /// Which file.
        path: PathBuf,
        /// What was looked for.
        field: &'static str,
    },
    /// No shell.
    #[error(transparent)]
    Tool(#[from] ToolError),
}

/// Some programs under common limits. Dropped or undone, it lets them go on without limits; when
/// this process dies they are killed.
#[derive(Debug)]
pub struct Group {
    cpu: PathBuf,
    memory: PathBuf,
    warden: Option<Warden>,
}

impl Group {
    /// Makes an empty group. Needs root.
    pub fn start(limits: Limits) -> Result<Self, LimitsError> {
        let [cpu, memory] = parents()?;
        for parent in [&cpu, &memory] {
            remove_stale(parent)?;
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{NAME}{}-{number}", std::process::id());
        let (cpu, memory) = (cpu.join(&name), memory.join(&name));
        let warden = Warden::start(REMOVE, [&cpu, &memory])?;
        for folder in [&cpu, &memory] {
            std::fs::create_dir(folder).map_err(failed(folder))?;
        }
        let group = Self { cpu, memory, warden: Some(warden) };
        group.set(limits)?;
        Ok(group)
    }

    /// Changes the limits of running programs.
    pub fn set(&self, limits: Limits) -> Result<(), LimitsError> {
        let quota_us = match limits.cpu_percent_max {
            Some(0) => return Err(LimitsError::NoShare),
            Some(percent) => (u64::from(percent) * PERIOD_US / 100).to_string(),
            None => "-1".to_owned(),
        };
        write(&self.cpu.join("cpu.cfs_period_us"), &PERIOD_US.to_string())?;
        write(&self.cpu.join("cpu.cfs_quota_us"), &quota_us)?;
        let bytes = limits.memory_bytes_max.map_or_else(|| "-1".to_owned(), |b| b.to_string());
        // Memory and swap together may not be less than memory, so they are freed first.
        let with_swap = self.memory.join("memory.memsw.limit_in_bytes");
        if with_swap.exists() {
            write(&with_swap, "-1")?;
        }
        write(&self.memory.join("memory.limit_in_bytes"), &bytes)?;
        if with_swap.exists() {
            write(&with_swap, &bytes)?;
        }
        Ok(())
    }

    /// The program, started inside the group, with all that it starts.
    pub fn wrap(&self, invocation: Invocation) -> Invocation {
        let enter = "echo $$ >\"$1\" && echo $$ >\"$2\" && shift 2 && exec \"$@\"";
        let [cpu, memory] = self.members().map(PathBuf::into_os_string);
        invocation.behind("sh", ["-c".into(), enter.into(), "sh".into(), cpu, memory])
    }

    /// Takes a running process in; those that it started before stay where they are.
    pub fn adopt(&self, process: Pid) -> Result<(), LimitsError> {
        let process = process.as_raw_nonzero().to_string();
        self.members().iter().try_for_each(|members| write(members, &process))
    }

    /// What the limit of the processor did until now.
    pub fn cpu_use(&self) -> Result<CpuUse, LimitsError> {
        let path = self.cpu.join("cpu.stat");
        Ok(CpuUse {
            periods: field(&path, "nr_periods")?,
            periods_throttled: field(&path, "nr_throttled")?,
            throttled_ns: field(&path, "throttled_time")?,
        })
    }

    /// What the limit of memory did until now.
    pub fn memory_use(&self) -> Result<MemoryUse, LimitsError> {
        Ok(MemoryUse {
            bytes: number(&self.memory.join("memory.usage_in_bytes"))?,
            kills: field(&self.memory.join("memory.oom_control"), "oom_kill")?,
        })
    }

    /// Lets the programs go on without limits and removes the group.
    pub fn undo(&mut self) -> Result<(), LimitsError> {
        for folder in [&self.cpu, &self.memory] {
            release(folder)?;
        }
        if let Some(warden) = self.warden.take() {
            warden.dismiss().map_err(failed(&self.cpu))?;
        }
        Ok(())
    }

    fn members(&self) -> [PathBuf; 2] {
        [&self.cpu, &self.memory].map(|folder| folder.join("cgroup.procs"))
    }
}

impl Drop for Group {
    /// If the programs could not be let go, the warden, which goes after this, ends them.
    fn drop(&mut self) {
        if let Err(error) = self.undo() {
            tracing::warn!(%error, "a control group could not be left in peace");
        }
    }
}

/// Where this process is under each controller: groups are made there, so that limits which hold
/// for this process go on to hold.
fn parents() -> Result<[PathBuf; 2], LimitsError> {
    let mounts = read(Path::new("/proc/self/mounts"))?;
    let own = read(Path::new("/proc/self/cgroup"))?;
    let find =
        |controller| parent(&mounts, &own, controller).ok_or(LimitsError::NoController(controller));
    let [cpu, memory] = CONTROLLERS;
    Ok([find(cpu)?, find(memory)?])
}

fn parent(mounts: &str, own: &str, controller: &str) -> Option<PathBuf> {
    let has = |list: &str| list.split(',').any(|word| word == controller);
    let mount = mounts.lines().find_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let &[_, folder, "cgroup", options, ..] = words.as_slice() else { return None };
        has(options).then_some(folder)
    })?;
    let path = own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        parts.next().filter(|list| has(list)).and(parts.next())
    });
    let inside = Path::new(mount).join(path.unwrap_or("/").trim_start_matches('/'));
    // In a container the path may be one of the host, which is not seen here.
    Some(if inside.is_dir() { inside } else { mount.into() })
}

/// Moves the programs of a group to where this process is, and removes it.
fn release(folder: &Path) -> Result<(), LimitsError> {
    let outside = folder.parent().unwrap_or(folder).join("cgroup.procs");
    remove(folder, |process| match write(&outside, &process.as_raw_nonzero().to_string()) {
        Err(error) if !ended(process) => Err(error),
        _ => Ok(()),
    })
}

/// Ends what is left of groups whose owners are dead.
fn remove_stale(parent: &Path) -> Result<(), LimitsError> {
    for entry in std::fs::read_dir(parent).map_err(failed(parent))?.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(NAME).and_then(|rest| rest.split('-').next());
        let owner = owner.and_then(|owner| owner.parse().ok()).and_then(Pid::from_raw);
        if owner.is_some_and(ended) {
            remove(&entry.path(), |process| {
                kill_process(process, Signal::KILL).ok();
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// Does something to every program of a group until the group can be removed. Gone already is fine.
fn remove(
    folder: &Path,
    mut clear: impl FnMut(Pid) -> Result<(), LimitsError>,
) -> Result<(), LimitsError> {
    for attempt in 1..=REMOVE_TRIES {
        let Ok(members) = read(&folder.join("cgroup.procs")) else { return Ok(()) };
        let members = members.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?));
        members.into_iter().try_for_each(&mut clear)?;
        match std::fs::remove_dir(folder) {
            Err(source) if attempt == REMOVE_TRIES => return Err(failed(folder)(source)),
            Err(source)
                if source.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) =>
            {
                std::thread::sleep(REMOVE_PAUSE);
            }
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(folder)(source));
            }
            _ => return Ok(()),
        }
    }
    Ok(())
}

fn ended(process: Pid) -> bool {
    !Path::new(&format!("/proc/{}", process.as_raw_nonzero())).exists()
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> LimitsError {
    let path = path.to_owned();
    move |source| LimitsError::File { path, source }
}

fn read(path: &Path) -> Result<String, LimitsError> {
    std::fs::read_to_string(path).map_err(failed(path))
}

fn write(path: &Path, text: &str) -> Result<(), LimitsError> {
    std::fs::write(path, text).map_err(failed(path))
}

fn number(path: &Path) -> Result<u64, LimitsError> {
    let unknown = || LimitsError::Unknown { path: path.to_owned(), field: "a number" };
    read(path)?.trim().parse().map_err(|_| unknown())
}

fn field(path: &Path, field: &'static str) -> Result<u64, LimitsError> {
    read(path)?
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(' ')?.parse().ok())
        .ok_or_else(|| LimitsError::Unknown { path: path.to_owned(), field })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: the folder of a controller is found among joint mounts, and version 2 is not taken for
    // it.
    #[test]
    fn controllers_are_found() {
        let mounts = "cgroup2 /nowhere/unified cgroup2 rw 0 0\n\
                      cgroup /nowhere/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n\
                      cgroup /nowhere/cpuset cgroup rw,cpuset 0 0\n";
        let own = "5:memory:/x\n3:cpu,cpuacct:/not/seen/here\n0::/\n";
        let found = Some("/nowhere/cpu,cpuacct".into());
        assert_eq!(parent(mounts, own, "cpu"), found);
        assert_eq!(parent(mounts, own, "memory"), None);
    }
}
