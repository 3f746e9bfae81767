//! Running other programs, with what they need in their environment.

use std::{
    env,
    ffi::OsStr,
    fmt::Display,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

use crate::{root, setup};

/// Why a command of xtask failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) code: u8,
}

impl Failure {
    pub(crate) fn new(message: impl Display) -> Self {
        Self { message: message.to_string(), code: 1 }
    }

    pub(crate) fn usage(message: impl Display) -> Self {
        Self { message: message.to_string(), code: 2 }
    }
}

/// Says what comes next.
pub(crate) fn step(what: &str) {
    println!("\n== {what}");
}

/// Where builds go: outside of the clone, so that a fresh clone finds what was built before.
pub(crate) fn target_dir() -> Result<PathBuf, Failure> {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => Ok(PathBuf::from(dir)),
        None => Ok(cache_dir()?.join("target")),
    }
}

/// What is kept between clones.
pub(crate) fn cache_dir() -> Result<PathBuf, Failure> {
    let home = env::var_os("HOME").ok_or_else(|| Failure::new("HOME is not set"))?;
    Ok(PathBuf::from(home).join(".cache/tandem"))
}

/// Runs cargo in the workspace, with the shared target folder and the prebuilt RocksDB.
pub(crate) fn cargo(arguments: &[&str]) -> Result<(), Failure> {
    cargo_with(arguments, &[])
}

/// The same with more environment.
pub(crate) fn cargo_with(arguments: &[&str], more: &[(&str, &str)]) -> Result<(), Failure> {
    let mut command = cargo_command()?;
    command.args(arguments).envs(more.iter().copied());
    check(&mut command)
}

/// The cargo that runs this, ready for arguments.
pub(crate) fn cargo_command() -> Result<Command, Failure> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root()).env("CARGO_TARGET_DIR", target_dir()?);
    // Set by the cargo that runs this for this program; the next one finds its own.
    command.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_PKG_NAME");
    if let Some(library) = setup::rocksdb_library()?.filter(|library| library.exists()) {
        let folder = library.parent().unwrap_or(Path::new("/"));
        command.env("ROCKSDB_LIB_DIR", folder).env("ROCKSDB_STATIC", "1");
    }
    Ok(command)
}

/// The commit that is tested; none outside of a clone, or without git.
pub(crate) fn commit() -> Option<String> {
    let asked =
        Command::new("git").args(["rev-parse", "HEAD"]).current_dir(root()).output().ok()?;
    let commit = String::from_utf8(asked.stdout).ok()?;
    asked.status.success().then(|| commit.trim().to_owned())
}

/// Runs a program to its end; its exit code becomes ours.
pub(crate) fn exec<A: AsRef<OsStr>>(program: &Path, arguments: &[A]) -> Result<(), Failure> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    let status = status(&mut command)?;
    if status.success() {
        return Ok(());
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Err(Failure { message: format!("{} ended with {status}", program.display()), code })
}

/// Runs a command that must succeed.
pub(crate) fn check(command: &mut Command) -> Result<(), Failure> {
    let status = status(command)?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("{} ended with {status}", shown(command))))
}

fn status(command: &mut Command) -> Result<ExitStatus, Failure> {
    command
        .status()
        .map_err(|error| Failure::new(format!("{} cannot be started: {error}", shown(command))))
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
