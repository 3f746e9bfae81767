//! Where the programs of a site are started, and what is put around them.

use std::{
    ffi::OsString,
    fmt, io,
    path::Path,
    process::{Child, Command},
};

/// Where programs run.
pub trait Ground: fmt::Debug + Send + Sync {
    /// Starts a program at a site (its index in the plan).
    ///
    /// # Errors
    /// When it cannot be started there.
    fn spawn(&self, site: usize, command: Command) -> io::Result<Child>;
}

/// Every site on a loopback address of this machine.
#[derive(Debug, Clone, Copy)]
pub struct Loopback;

impl Ground for Loopback {
    fn spawn(&self, _: usize, mut command: Command) -> io::Result<Child> {
        command.spawn()
    }
}

/// What is put around a site's node when it is started next: a faked clock, a tracer, another place
/// for its data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dress {
    /// A program and its arguments that the node's own command line follows.
    pub before: Vec<OsString>,
    /// Environment on top of ours.
    pub environment: Vec<(OsString, OsString)>,
}

impl Dress {
    /// The command that starts `program` in this dress.
    pub(super) fn command(&self, program: &Path, arguments: &[OsString]) -> Command {
        let mut words = self.before.iter().cloned();
        let mut command = match words.next() {
            Some(first) => {
                let mut command = Command::new(first);
                command.args(words).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.args(arguments).envs(self.environment.iter().map(|(key, value)| (key, value)));
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: the node's command line follows what is put before it, and nothing is put before by default.
    #[test]
    fn what_is_started() {
        let words = |dress: &Dress| {
            let command = dress.command(Path::new("tandem"), &["node".into()]);
            let all = [command.get_program()].into_iter().chain(command.get_args());
            all.map(|word| word.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(words(&Dress::default()), ["tandem", "node"]);
        let before = vec!["strace".into(), "-f".into()];
        let dress = Dress { before, ..Dress::default() };
        assert_eq!(words(&dress), ["strace", "-f", "tandem", "node"]);
    }
}
