//! A Rust program that does what it is told, line by line: this test program, started again.

use std::fs::File;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Pid;
use tandem_lab::machine::Invocation;

const TOLD: &str = "TANDEM_LAB_TEST_BE_A_PUPPET";

/// The puppet's side; does nothing in an ordinary run of the tests.
#[test]
fn be_a_puppet_when_told_to() {
    if std::env::var_os(TOLD).is_none() {
        return;
    }
    let start = Instant::now();
    let mut held = Vec::new();
    for line in std::io::stdin().lines() {
        let answer = match line.unwrap().as_str() {
            "time" => {
                let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
                format!("{} {}", wall.as_millis(), start.elapsed().as_millis())
            }
            "open" => match File::open("/dev/null") {
                Ok(file) => {
                    held.push(file);
                    "opened".to_owned()
                }
                Err(error) => format!("errno {}", error.raw_os_error().unwrap()),
            },
            other => panic!("unknown word {other:?}"),
        };
        println!("\npuppet: {answer}");
    }
}

pub(crate) struct Puppet {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

/// What a program believes the time is, in milliseconds.
pub(crate) struct Times {
    pub(crate) wall_ms: i64,
    pub(crate) monotonic_ms: i64,
}

impl Puppet {
    pub(crate) fn invocation() -> Invocation {
        let args = ["--exact", "puppet::be_a_puppet_when_told_to", "--nocapture"];
        Invocation::new(std::env::current_exe().unwrap(), args).with_env(TOLD, "1")
    }

    pub(crate) fn start(invocation: Invocation) -> Self {
        let mut command = invocation.command();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, stdin, lines }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn tell(&mut self, word: &str) {
        writeln!(self.stdin, "{word}").unwrap();
    }

    pub(crate) fn answer(&mut self) -> String {
        let found =
            self.lines.find_map(|line| line.unwrap().strip_prefix("puppet: ").map(str::to_owned));
        found.expect("the puppet answers while it lives")
    }

    pub(crate) fn ask(&mut self, word: &str) -> String {
        self.tell(word);
        self.answer()
    }

    pub(crate) fn times(&mut self) -> Times {
        let answer = self.ask("time");
        let (wall, monotonic) = answer.split_once(' ').unwrap();
        Times { wall_ms: wall.parse().unwrap(), monotonic_ms: monotonic.parse().unwrap() }
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
