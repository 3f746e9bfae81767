//! A program that dies, or meets an error, a delay or a lie, at its Nth system call of a kind.
//!
//! By strace's tampering (Debian package `strace`). System calls are counted per thread, and only
//! those that concern the chosen file, if one is chosen. The program ends with strace; programs
//! that it started may not: [`super::group::Group`] holds all of them together.

use std::ffi::OsString;
use std::path::PathBuf;

use super::Invocation;

/// System calls that make data durable, or try to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `write`, `pwrite64`, `writev` and `pwritev`.
    Write,
    /// `fsync`, `fdatasync` and `sync_file_range`.
    Sync,
    /// `rename`, `renameat` and `renameat2`.
    Rename,
    /// `openat`.
    Open,
}

/// What happens instead of the call, or with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The process is killed; the call is not made.
    Kill,
    /// The call is not made and fails with `EIO`.
    InputOutputError,
    /// The call is not made and fails with `ENOSPC`.
    NoSpace,
    /// The call is not made, and returns 0 as if it were. A lie only for [`Call::Sync`] and
    /// [`Call::Rename`]; a write that returns 0 looks like a full pipe.
    Lie,
    /// The call is made this much later.
    Delay {
        /// How much later.
        delay_us: u64,
    },
}

/// Which of a thread's calls are meant. The first one is number 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Only this one.
    Nth(u64),
    /// This one and all after it.
    From(u64),
}

/// One fault to inject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injection {
    /// On which calls.
    pub call: Call,
    /// What.
    pub effect: Effect,
    /// On which of them.
    pub when: When,
}

/// Faults for one program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Injections {
    /// All of them. Of two on the same call the last one counts: strace has one per call.
    pub faults: Vec<Injection>,
    /// Only calls that concern one of these files count; empty: all do. A file need not exist yet.
    pub files: Vec<PathBuf>,
}

impl Injections {
    /// The program killed at its Nth write to a file.
    pub fn kill_at_write(n: u64, file: impl Into<PathBuf>) -> Self {
        let fault = Injection { call: Call::Write, effect: Effect::Kill, when: When::Nth(n) };
        Self { faults: vec![fault], files: vec![file.into()] }
    }

    /// The program under strace. The exit status is the program's own, its death by signal
    /// included.
    pub fn wrap(&self, invocation: Invocation) -> Invocation {
        let mut args: Vec<OsString> = ["-f", "-qqq", "-o", "/dev/null"].map(Into::into).into();
        for file in &self.files {
            args.extend(["-P".into(), file.clone().into_os_string()]);
        }
        for fault in &self.faults {
            args.extend(["-e".into(), fault.expression().into()]);
        }
        // Or the program would live on, unharmed, when strace is killed.
        args.extend(["setpriv", "--pdeathsig", "KILL", "--"].map(Into::into));
        invocation.behind("strace", args)
    }
}

impl Injection {
    fn expression(self) -> String {
        // `?` lets strace pass over a call that this processor's kernel does not have.
        let calls = match self.call {
            Call::Write => "?write,?pwrite64,?writev,?pwritev,?pwritev2",
            Call::Sync => "?fsync,?fdatasync,?sync_file_range",
            Call::Rename => "?rename,?renameat,?renameat2",
            Call::Open => "?openat",
        };
        let effect = match self.effect {
            Effect::Kill => "signal=KILL".to_owned(),
            Effect::InputOutputError => "error=EIO".to_owned(),
            Effect::NoSpace => "error=ENOSPC".to_owned(),
            Effect::Lie => "retval=0".to_owned(),
            Effect::Delay { delay_us } => format!("delay_enter={delay_us}"),
        };
        let when = match self.when {
            When::Nth(n) => n.to_string(),
            When::From(n) => format!("{n}+"),
        };
        format!("inject={calls}:{effect}:when={when}")
    }
}

/// How a run of a [`sweep`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// The fault met the program: there may be a later point.
    Hit,
    /// The program ended before its Nth call: there are no more points.
    Finished,
}

/// Runs the program at its first crash point, its second, and so on, until it finishes or
/// `points_max` is reached; each run checks what the crash left. Returns how many points were hit.
pub fn sweep<E>(points_max: u64, mut run: impl FnMut(u64) -> Result<Run, E>) -> Result<u64, E> {
    for point in 1..=points_max {
        if run(point)? == Run::Finished {
            return Ok(point - 1);
        }
    }
    Ok(points_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: each fault becomes the expression that strace documents.
    #[test]
    fn expressions() {
        let rows = [
            (Call::Sync, Effect::Kill, When::Nth(3), ":signal=KILL:when=3"),
            (Call::Sync, Effect::InputOutputError, When::From(2), ":error=EIO:when=2+"),
            (Call::Sync, Effect::NoSpace, When::Nth(1), ":error=ENOSPC:when=1"),
            (Call::Sync, Effect::Lie, When::From(1), ":retval=0:when=1+"),
            (Call::Sync, Effect::Delay { delay_us: 20 }, When::From(1), ":delay_enter=20:when=1+"),
        ];
        for (call, effect, when, expected) in rows {
            let expression = Injection { call, effect, when }.expression();
            assert_eq!(expression, format!("inject=?fsync,?fdatasync,?sync_file_range{expected}"));
        }
    }

    // Goal: a sweep visits every point once, in order, and stops where the program finished or at
    // its limit.
    #[test]
    fn sweeps() {
        let mut visited = Vec::new();
        let hits = sweep(100, |point| {
            visited.push(point);
            Ok::<_, ()>(if point <= 3 { Run::Hit } else { Run::Finished })
        });
        assert_eq!((hits, visited), (Ok(3), vec![1, 2, 3, 4]));
        assert_eq!(sweep(2, |_| Ok::<_, ()>(Run::Hit)), Ok(2));
        assert_eq!(
            sweep(2, |point| if point == 2 { Err("bad") } else { Ok(Run::Hit) }),
            Err("bad")
        );
    }
}
