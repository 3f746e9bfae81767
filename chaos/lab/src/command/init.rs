//! `tandem-lab init`: a room for any program.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context;
use tandem_lab::host::isolate_self;

/// Starts the program in namespaces of its own for processes, mounts and network. They end when this
/// program ends, even if it is killed with SIGKILL: every process inside is killed, every mount and
/// device is gone. SIGTERM and SIGHUP reach the program; its exit code is this program's (128 + N
/// after signal N).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tandem-lab init -- tandem-lab wan run --config lab.toml
  tandem-lab init -- sh -c 'ps ax; ip link'

Without this program, util-linux does nearly the same, but for reaping orphans:
  unshare --fork --pid --kill-child --mount --mount-proc --net PROGRAM ARGS")]
pub(crate) struct Arguments {
    /// The program and its arguments, after `--`
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    isolate_self()?;
    let mut words = arguments.program.into_iter();
    let program = words.next().context("no program given")?;
    let refused = Command::new(&program).args(words).exec();
    Err(refused).with_context(|| format!("{} did not start", program.display()))
}
