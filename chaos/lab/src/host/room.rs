//! A room for a process and everything it starts: namespaces of processes, mounts and network that
//! end with the process, however it ends.
//!
//! Three processes of the same program take part:
//!
//! 1. the one that was started, which waits outside and passes SIGTERM, SIGHUP and the exit code on;
//! 2. the first process inside (pid 1). It adopts orphans and reaps them. The kernel kills it when
//!    the outer one dies, and everything else inside when *it* dies (`man 7 pid_namespaces`);
//! 3. the program proper, for which [`isolate_self`] returns.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::sync::mpsc::{Sender, channel};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{
    Pid, WaitOptions, getpid, kill_process, set_parent_process_death_signal, wait,
};

use super::netlink::{LOOPBACK, Netlink};

/// Tells a process of the room which of the three it is: `first PID` with the outer process, or
/// `inside`.
const ROLE: &str = "TANDEM_LAB_ROOM";
const INSIDE: &str = "inside";
const FIRST: &str = "first ";

/// Signals that the waiting processes pass on. SIGINT is not among them: a terminal sends it to the
/// program itself, and twice would mean more than once.
const PASSED_ON: [Signal; 2] = [Signal::SIGTERM, Signal::SIGHUP];

/// A room that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    /// A system call failed.
    #[error("no room of its own for this program, could not {what}: {cause}; run as root")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        cause: io::Error,
    },
    /// The environment claims that this is a process of a room, and it is not.
    #[error(
        "{ROLE} is {0:?}, but this process is not the first of a room: unset {ROLE} and start again"
    )]
    WrongRole(String),
    /// The outer process ended before this one was tied to it.
    #[error("the process that started this room has ended")]
    OuterEnded,
}

/// Runs the rest of this program in a room of its own: what it starts, mounts and configures ends
/// with it, even if it is killed with SIGKILL. Inside, process ids count from 1, mounts are private,
/// `/proc` shows the room only, and the network is empty but for loopback.
///
/// Call it first in `main`, before any thread exists. It returns in the innermost of three processes
/// only; the outer ones leave with its exit code. Inside a room it does nothing.
///
/// # Errors
/// The kernel refuses the namespaces; most often the program does not run as root.
pub fn isolate_self() -> Result<(), RoomError> {
    match std::env::var(ROLE) {
        Err(_) => leave_with(wait_outside()?),
        Ok(role) if role == INSIDE => unblock_signals(),
        Ok(role) => match role.strip_prefix(FIRST) {
            Some(outer) if getpid().as_raw_nonzero().get() == 1 => leave_with(be_first(outer)?),
            _ => Err(RoomError::WrongRole(role)),
        },
    }
}

/// The outer process: opens the room, waits for its end.
fn wait_outside() -> Result<ExitStatus, RoomError> {
    let signals = block_signals()?;
    let outer = own_pid_in_proc().map_err(failed("find its own process in /proc"))?;
    let first = again(&format!("{FIRST}{outer}")).map_err(failed("find its own program"))?;
    let (started, child) = channel();
    let (ended, status) = channel();
    // On a thread of its own: whoever has left the namespace of processes can start no more threads.
    std::thread::Builder::new()
        .name("room".to_owned())
        .spawn(move || open_room(first, &started, &ended))
        .map_err(failed("start a thread"))?;
    let gone = |_| failed("start the first process")(io::Error::other("its thread ended"));
    let pid = child.recv().map_err(gone)??;
    loop {
        let signal = signals.wait().map_err(|errno| failed("wait for signals")(errno.into()))?;
        if PASSED_ON.contains(&signal) {
            pass_on(signal, pid);
        } else if let Ok(status) = status.try_recv() {
            return status.map_err(failed("wait for the room's end"));
        }
    }
}

/// Starts the first process in new namespaces and stays until it ends: the kernel ties a process to
/// the *thread* that started it.
fn open_room(
    mut first: Command,
    started: &Sender<Result<Pid, RoomError>>,
    ended: &Sender<io::Result<ExitStatus>>,
) {
    let namespaces = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET;
    let child = unshare(namespaces)
        .map_err(|errno| failed("open namespaces")(errno.into()))
        .and_then(|()| first.spawn().map_err(failed("start the first process")));
    let told = match child {
        Err(error) => started.send(Err(error)).is_ok(),
        Ok(mut child) => {
            started.send(Ok(Pid::from_child(&child))).is_ok() && ended.send(child.wait()).is_ok()
        }
    };
    // The child's own SIGCHLD may have come before the status was there.
    let woken = kill_process(getpid(), rustix::process::Signal::CHILD).is_ok();
    if !(told && woken) {
        tracing::warn!("nobody waited for the room");
    }
}

/// The first process inside: starts the program, adopts and reaps orphans until it ends.
fn be_first(outer: &str) -> Result<ExitStatus, RoomError> {
    set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|errno| failed("tie itself to the outer process")(errno.into()))?;
    // If the outer process ended before that, no signal comes. /proc is still the outer one here.
    if parent_in_proc().map_err(failed("find its parent in /proc"))? != outer {
        return Err(RoomError::OuterEnded);
    }
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(|errno| failed("make mounts private")(errno.into()))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, None)
        .map_err(|errno| failed("mount /proc")(errno.into()))?;
    // A new namespace's loopback is down.
    Netlink::open()
        .and_then(|netlink| netlink.bring_up(LOOPBACK))
        .map_err(failed("bring loopback up"))?;

    let signals = block_signals()?;
    // It inherits the blocked signals, and unblocks them itself. No thread of ours may have them unblocked,
    // not even for a moment: the first process of a room is not killed by SIGTERM, it loses it.
    let program = again(INSIDE)
        .and_then(|mut program| program.spawn())
        .map(|child| Pid::from_child(&child))
        .map_err(failed("start the program"))?;
    loop {
        if let Some(status) = reap(program)? {
            return Ok(status);
        }
        let signal = signals.wait().map_err(|errno| failed("wait for signals")(errno.into()))?;
        if PASSED_ON.contains(&signal) {
            pass_on(signal, program);
        }
    }
}

/// Reaps whatever has ended; how the program ended, if it has.
fn reap(program: Pid) -> Result<Option<ExitStatus>, RoomError> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == program => {
                return Ok(Some(ExitStatus::from_raw(status.as_raw())));
            }
            Ok(Some(_orphan)) => {}
            Ok(None) => return Ok(None),
            Err(errno) => return Err(failed("wait for the program")(errno.into())),
        }
    }
}

/// This program again, with the same arguments, as another process of the room.
fn again(role: &str) -> io::Result<Command> {
    let mut arguments = std::env::args_os();
    let name = arguments.next();
    let mut command = Command::new(std::env::current_exe()?);
    if let Some(name) = name {
        command.arg0(name);
    }
    command.args(arguments).env(ROLE, role);
    Ok(command)
}

/// Signals are waited for, not handled: blocked before any thread or child exists, so that none is
/// missed.
fn block_signals() -> Result<SigSet, RoomError> {
    let signals = waited_for();
    signals.thread_block().map_err(|errno| failed("block signals")(errno.into()))?;
    Ok(signals)
}

/// The program proper has them as any program: what came meanwhile comes now.
fn unblock_signals() -> Result<(), RoomError> {
    waited_for().thread_unblock().map_err(|errno| failed("unblock signals")(errno.into()))
}

fn waited_for() -> SigSet {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    for signal in PASSED_ON {
        signals.add(signal);
    }
    signals
}

fn pass_on(signal: Signal, pid: Pid) {
    let signal = match signal {
        Signal::SIGHUP => rustix::process::Signal::HUP,
        _ => rustix::process::Signal::TERM,
    };
    if let Err(errno) = kill_process(pid, signal) {
        // It has just ended; the wait notices.
        tracing::debug!("signal not passed on: {errno}");
    }
}

fn own_pid_in_proc() -> io::Result<String> {
    stat_field(0)
}

fn parent_in_proc() -> io::Result<String> {
    stat_field(3)
}

/// A field of `/proc/self/stat`, counted from 0 (`man 5 proc`), by the process ids that the mounted
/// `/proc` counts in.
fn stat_field(field: usize) -> io::Result<String> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The second field is the program's name in brackets and may hold anything.
    let (name, rest) = stat.rsplit_once(')').unwrap_or(("", &stat));
    let mut fields = name.split(' ').take(1).chain(["name"]).chain(rest.split_ascii_whitespace());
    fields.nth(field).map(str::to_owned).ok_or_else(|| io::Error::other("/proc/self/stat is short"))
}

/// Leaves with the code of another process; killed by signal N is 128 + N, as in a shell.
fn leave_with(status: ExitStatus) -> ! {
    let by_signal = status.signal().map(|signal| 128 + signal);
    std::process::exit(status.code().or(by_signal).unwrap_or(1))
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> RoomError {
    move |cause| RoomError::System { what, cause }
}
