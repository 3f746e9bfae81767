//! The program `tandem-lab`, used as people use it, and what it leaves behind.

use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use tandem_lab::wan::Party;
use tandem_lab::wan::control::{Request, ask};

use crate::support::{eventually, require_root};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tandem-lab");

/// A process that is killed when the test ends.
struct Running {
    child: Child,
    first_line: String,
}

impl Running {
    /// Starts a program and waits for the first line that it prints.
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut first_line = String::new();
        let stdout = child.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut first_line).unwrap();
        Self { child, first_line }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::KILL);
        }
        self.child.wait().unwrap();
    }
}

/// Two hosts, and this process as a third one with the given block of addresses.
fn config(here: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let text = format!(
        r#"
        [[host]]
        name = "a"
        endpoint = [{{ site = "paris", addresses = "10.0.0.1" }}]
        [[host]]
        name = "b"
        endpoint = [{{ site = "milan", addresses = "10.0.0.2" }}]
        [[host]]
        name = "phones"
        here = true
        endpoint = [{{ site = "paris", addresses = "{here}" }}]
        [[link]]
        from = "a"
        to = "b"
        change = {{ delay_us = 5000 }}
        "#
    );
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn run_lab(config: &Path, name: &str) -> Running {
    let mut command = Command::new(PROGRAM);
    command.args(["--output", "json", "wan", "run", "--name", name, "--config"]).arg(config);
    Running::start(&mut command)
}

fn lab(name: &str, words: &[&str]) -> Output {
    let (verb, rest) = words.split_first().unwrap();
    Command::new(PROGRAM).args(["wan", verb, "--name", name]).args(rest).output().unwrap()
}

fn printed(output: &Output) -> String {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text + std::str::from_utf8(&output.stderr).unwrap()
}

/// A name for a laboratory that no other test run uses at the same time.
fn own_name(test: &str) -> String {
    format!("{test}-{}", std::process::id())
}

/// Links in `/proc` of any process, thread or descriptor that lead to this namespace.
fn holders_of(namespace: &str) -> Vec<PathBuf> {
    let list = |path: PathBuf| {
        std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path())
    };
    let processes = list("/proc".into()).filter(|path| path.join("task").exists());
    let links = processes.flat_map(|process| {
        let threads = list(process.join("task"));
        let of_threads = threads.flat_map(|thread| [thread.join("ns/net"), thread.join("ns/pid")]);
        of_threads.chain(list(process.join("fd"))).collect::<Vec<_>>()
    });
    // A process may end while it is looked at: its links are gone then.
    links
        .filter(|link| std::fs::read_link(link).is_ok_and(|it| it == Path::new(namespace)))
        .collect()
}

/// People see links, change them, and run programs in hosts; wrong words change nothing.
#[test]
fn a_laboratory_is_controlled_by_its_name() {
    require_root();
    let (config, name) = (config("10.81.0.0/24"), own_name("control"));
    let _running = run_lab(config.path(), &name);

    let devices = lab(&name, &["exec", "a", "--", "cat", "/proc/net/dev"]);
    assert!(printed(&devices).contains("wan0:"), "{}", printed(&devices));
    assert!(printed(&lab(&name, &["ctl", "get", "a", "b"])).contains(r#""delay_us":5000"#));

    let set = ["ctl", "set", "site:paris", "site:milan", "delay=30ms", "loss=2%", "--both-ways"];
    assert!(lab(&name, &set).status.success());
    let get = |from: &str, to: &str| printed(&lab(&name, &["ctl", "get", from, to]));
    for (from, to) in [("a", "b"), ("b", "phones")] {
        assert!(get(from, to).contains(r#""delay_us":30000"#), "{}", get(from, to));
    }
    let before = get("all", "all");
    for (words, message) in [
        (&["ctl", "set", "a", "nobody", "delay=1ms"][..], "there are a, b, phones"),
        (&["ctl", "set", "a", "b", "delay=1"], "delay=1"),
        (&["ctl", "set", "a", "b", "delay=1ms", "loss=200%"], "loss=200%"),
        (&["ctl", "preset", "cities-1911"], "cities-2011"),
        (&["exec", "nobody", "--", "true"], "there are a, b, phones"),
    ] {
        let refused = lab(&name, words);
        assert!(!refused.status.success(), "{words:?}");
        assert!(printed(&refused).contains(message), "{words:?}: {}", printed(&refused));
    }
    assert_eq!(get("all", "all"), before);

    assert!(lab(&name, &["ctl", "isolate", "b"]).status.success());
    assert!(get("a", "b").contains(r#""state":"down""#));
    assert!(lab(&name, &["ctl", "heal"]).status.success());
    assert!(get("a", "b").contains(r#""state":"up""#));
    assert!(lab(&name, &["ctl", "preset", "cities-2011"]).status.success());
    assert!(get("a", "b").contains(r#""delay_us":10805"#));
    assert!(printed(&lab(&name, &["ctl", "counters"])).contains("a -> b  offered 0"));
}

/// The control socket answers its own user, and turns every other one but root away.
#[test]
fn strangers_control_nothing() {
    require_root();
    let (config, name) = (config("10.84.0.0/24"), own_name("strangers"));
    let _running = run_lab(config.path(), &name);
    assert!(ask(&name, &Request::Heal).is_ok());
    let as_nobody = || {
        let nobody = rustix::process::Uid::from_raw(65_534);
        // This thread only, and for good.
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        ask(&name, &Request::Isolate { party: Party::All })
    };
    let refused = std::thread::scope(|scope| scope.spawn(as_nobody).join().unwrap()).unwrap_err();
    assert!(refused.to_string().contains("only root"), "{refused}");
    assert!(printed(&lab(&name, &["ctl", "get", "a", "b"])).contains(r#""state":"up""#));
}

/// After SIGKILL of a running laboratory, no namespace, device, address or socket of it is left, and
/// the same one starts again.
#[test]
fn nothing_is_left_after_a_kill() {
    require_root();
    let (config, name) = (config("10.82.0.0/24"), own_name("kill"));
    for _ in 0..2 {
        let running = run_lab(config.path(), &name);
        let ready: serde_json::Value = serde_json::from_str(&running.first_line).unwrap();
        let hosts = ready["hosts"].as_array().unwrap();
        let namespaces: Vec<String> = hosts
            .iter()
            .filter(|host| host["name"] != "phones")
            .map(|host| std::fs::read_link(host["namespace"].as_str().unwrap()).unwrap())
            .map(|link| link.to_string_lossy().into_owned())
            .collect();
        assert_eq!(namespaces.len(), 2);
        assert!(namespaces.iter().all(|it| !holders_of(it).is_empty()), "the search finds them");
        assert!(UdpSocket::bind(("10.82.0.77", 0)).is_ok(), "this process has the addresses");

        running.signal(Signal::KILL);
        eventually("no process, thread or descriptor in the namespaces", || {
            namespaces.iter().all(|it| holders_of(it).is_empty())
        });
        eventually("the device and its addresses are gone", || {
            UdpSocket::bind(("10.82.0.77", 0)).is_err()
        });
    }
}

/// A room ends with the process that opened it, even by SIGKILL: also what left its parents.
#[test]
fn a_room_ends_with_its_outer_process() {
    require_root();
    let config = config("10.83.0.0/24");
    let script = format!(
        "(setsid sleep 1000 &); {PROGRAM} wan run --config {} & sleep 1000 & \
         readlink /proc/self/ns/pid; wait",
        config.path().display()
    );
    let mut command = Command::new(PROGRAM);
    command.args(["init", "--", "sh", "-c", &script]);
    let room = Running::start(&mut command);
    let namespace = room.first_line.trim().to_owned();
    // The first process, sh, two sleeps, and the laboratory with its threads.
    eventually("everything runs", || holders_of(&namespace).len() >= 8);
    room.signal(Signal::KILL);
    eventually("no process of the room is left", || holders_of(&namespace).is_empty());
}

/// A room is empty but for its program, and gives on how that ended.
#[test]
fn a_room_gives_the_exit_code_on() {
    require_root();
    let code = |script: &str| {
        let status =
            Command::new(PROGRAM).args(["init", "--", "sh", "-c", script]).status().unwrap();
        status.code()
    };
    assert_eq!(code("exit 7"), Some(7));
    assert_eq!(code("kill -TERM $$"), Some(128 + 15));
    assert_eq!(code("kill -KILL $$"), Some(128 + 9));
    // Device lo only, process ids from 1, a /proc of its own.
    assert_eq!(code("[ $(grep -c : /proc/net/dev) = 1 ]"), Some(0));
    assert_eq!(
        code("[ $$ -lt 10 ] && [ -d /proc/$$ ] && [ $(ls -d /proc/[0-9]* | wc -l) -lt 10 ]"),
        Some(0)
    );
    // A room within a room is the same room.
    let here = "$(readlink /proc/self/ns/pid)";
    let again = format!("OUT={here} exec {PROGRAM} init -- sh -c '[ $OUT = {here} ] && exit 5'");
    assert_eq!(code(&again), Some(5));
    let missing = Command::new(PROGRAM).args(["init", "--", "/no/such/program"]).output().unwrap();
    assert!(printed(&missing).contains("/no/such/program"));
    assert!(!missing.status.success());
}

/// Orphans are reaped: the number of one that has ended is free again.
#[test]
fn a_room_reaps_its_orphans() {
    require_root();
    let file = tempfile::NamedTempFile::new().unwrap();
    let script = format!(
        "(sleep 0.1 & echo $! > {0}); tries=0; while [ -d /proc/$(cat {0}) ]; do \
         tries=$((tries+1)); [ $tries = 200 ] && exit 9; sleep 0.05; done; [ $tries -gt 0 ]",
        file.path().display()
    );
    let status = Command::new(PROGRAM).args(["init", "--", "sh", "-c", &script]).status().unwrap();
    assert_eq!(status.code(), Some(0), "9: still there; 1: it was never there");
}

/// A polite end reaches the program, which leaves by itself.
#[test]
fn a_room_passes_sigterm_on() {
    require_root();
    let script = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    let mut command = Command::new(PROGRAM);
    command.args(["init", "--", "sh", "-c", script]);
    let mut room = Running::start(&mut command);
    room.signal(Signal::TERM);
    assert_eq!(room.child.wait().unwrap().code(), Some(3));
}

/// The bench measures what it says it does, and loses nothing at a rate that any machine carries.
#[test]
fn the_bench_measures() {
    require_root();
    let bench = ["wan", "bench", "--output", "json", "--delay", "3ms", "--pings", "20"];
    let flood = ["--packets-per-second", "2000", "--seconds", "1"];
    let output = Command::new(PROGRAM).args(bench).args(flood).output().unwrap();
    let text = printed(&output);
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["round_trip_us"]["set"], 6_000);
    assert!(lines[0]["round_trip_us"]["min"].as_u64().unwrap() >= 6_000, "{text}");
    assert_eq!(lines[1]["lateness"]["summary"]["departures"], 40, "{text}");
    assert_eq!(lines[2]["flood"]["received"], 2_000, "{text}");
}
