//! A program, its arguments and its environment, as a value that faults can wrap before it starts.

use std::ffi::{OsStr, OsString};
use std::process::Command;

/// What is to be started. Wrapping puts another program in front of it, outermost last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invocation {
    /// The program: a path, or a name to be found by `PATH`.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables added to the environment that it inherits.
    pub env: Vec<(OsString, OsString)>,
}

impl Invocation {
    /// A program with its arguments.
    pub fn new<A: Into<OsString>>(
        program: impl Into<OsString>,
        args: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            env: Vec::new(),
        }
    }

    /// The same with one more variable.
    pub fn with_env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// `program args...` in front of this one; the whole inherits the environment.
    pub fn behind<A: Into<OsString>>(
        self,
        program: impl Into<OsString>,
        args: impl IntoIterator<Item = A>,
    ) -> Self {
        let mut all: Vec<OsString> = args.into_iter().map(Into::into).collect();
        all.push(self.program);
        all.extend(self.args);
        Self { program: program.into(), args: all, env: self.env }
    }

    /// The command to spawn; inputs and outputs are the caller's to set.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: wrapping keeps the program's own arguments and environment, and runs it.
    #[test]
    fn a_wrapped_program_still_runs() {
        let inner = Invocation::new("sh", ["-c", "echo $WORD $0", "zero"]).with_env("WORD", "said");
        let wrapped = inner.behind("nice", ["-n", "0"]);
        assert_eq!(wrapped.args[..3], ["-n", "0", "sh"]);
        let output = wrapped.command().output().unwrap();
        assert_eq!(output.stdout, b"said zero\n");
    }
}
