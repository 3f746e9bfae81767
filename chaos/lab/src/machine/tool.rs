//! Runs the system's own programs to their end and keeps what they complain.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

/// A system program that could not be run, or that refused.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It is not installed, or may not be run.
    #[error("{program} could not be started ({source}): install it (Debian package {package})")]
    Start {
        /// Its name.
        program: &'static str,
        /// The Debian package that brings it.
        package: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// It ended with an error.
    #[error("{command} failed ({status}): {complaint}")]
    Failed {
        /// What was run.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it wrote to its error output.
        complaint: String,
    },
}

/// Runs a program with nothing on its input and returns what it printed.
pub fn run<A: AsRef<OsStr>>(
    program: &'static str,
    args: impl IntoIterator<Item = A>,
) -> Result<String, ToolError> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).env("LC_ALL", "C");
    let output = command.output().map_err(|source| ToolError::Start {
        program,
        package: package(program),
        source,
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(ToolError::Failed {
        command: format!("{command:?}"),
        status: output.status,
        complaint: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

fn package(program: &str) -> &'static str {
    match program {
        "mkfs.ext4" | "filefrag" => "e2fsprogs",
        "mount" | "umount" => "mount",
        "fallocate" => "util-linux",
        "strace" => "strace",
        _ => "coreutils",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: output comes back, a refusal carries the complaint, a missing program names its
    // package.
    #[test]
    fn what_a_tool_says_is_kept() {
        assert_eq!(run("echo", ["one", "two"]).unwrap(), "one two\n");
        let refused = run("ls", ["/no such folder"]).unwrap_err().to_string();
        assert!(
            refused.contains("/no such folder") && refused.contains("exit status"),
            "{refused}"
        );
        let missing = run("no-such-program", [""; 0]).unwrap_err().to_string();
        assert!(missing.contains("no-such-program") && missing.contains("install"), "{missing}");
    }
}
