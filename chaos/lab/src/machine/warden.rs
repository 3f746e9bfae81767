//! Undoes a fault when the process that made it dies, even by `SIGKILL`.
//!
//! A warden is a small shell that waits on a pipe whose other end only its owner holds. A word on
//! the pipe sends it home; the end of the pipe, which the kernel brings about when the owner dies,
//! makes it do its one action. It sits in a process group of its own, so that a Ctrl-C does not end
//! it too.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

use super::tool::ToolError;

/// Waits for the word; anything else is the owner's death. `$0` names it in a process list.
const WAIT: &str = "trap '' HUP INT QUIT TERM
if read -r word && [ \"$word\" = done ]; then exit 0; fi
";

/// Does its action when it is dropped or its owner dies, unless it was dismissed.
#[derive(Debug)]
pub struct Warden {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Warden {
    /// Starts one. `action` is a shell script that sees `args` as `$1`, `$2`, ...; it must end by
    /// itself and must bear that what it undoes is undone already.
    pub fn start<A: AsRef<OsStr>>(
        action: &str,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Self, ToolError> {
        let mut child = Command::new("sh")
            .arg("-c")
            .arg([WAIT, action].concat())
            .arg("tandem-lab-warden")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn()
            .map_err(|source| ToolError::Start { program: "sh", package: "dash", source })?;
        let pipe = child.stdin.take();
        Ok(Self { child, pipe })
    }

    /// Sends the warden home: the fault is undone already. Waits for its end.
    pub fn dismiss(mut self) -> std::io::Result<()> {
        if let Some(mut pipe) = self.pipe.take() {
            pipe.write_all(b"done\n")?;
        }
        self.child.wait().map(drop)
    }
}

impl Drop for Warden {
    /// Lets the warden do its action and waits until it is done.
    fn drop(&mut self) {
        drop(self.pipe.take());
        if let Err(error) = self.child.wait() {
            tracing::warn!(%error, "a warden's end was not seen; what it had to undo may still be there");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a warden acts when dropped and does not when dismissed; odd paths reach it whole.
    #[test]
    fn it_acts_unless_dismissed() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("it's \"$(acted)\"");
        let warden = Warden::start("touch \"$1\"", [&mark]).unwrap();
        warden.dismiss().unwrap();
        assert!(!mark.exists());
        drop(Warden::start("touch \"$1\"", [&mark]).unwrap());
        assert!(mark.exists());
    }
}
