//! The program `tandem-phone`, as a user starts it.

mod support;

use std::process::{Command, Output, Stdio};

use support::{Node, WAIT_MS, any_port, caller_config, ip, phone_config, world};
use tandem_phone::sip::Method;
use tandem_phone::{AnswerPolicy, CallPlan, EndCause, Event, EventKind, HangUp};

/// Runs the program to its end without blocking the test's runtime.
async fn run(args: Vec<String>) -> Output {
    let running = tokio::task::spawn_blocking(move || {
        Command::new(env!("CARGO_BIN_EXE_tandem-phone")).args(args).output()
    });
    running.await.expect("no panic").expect("the program runs")
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn events(output: &Output) -> Vec<Event> {
    let text = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

// Goal: a call that is answered and heard exits with 0, prints its story as JSON lines on stdout,
// and leaves a WAV file.
#[tokio::test]
async fn call_is_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let wav = folder.path().join("heard.wav");
    let world = world().await;
    let config = phone_config("1001").with_policy(AnswerPolicy::answer_and_hang_up(0, 500));
    let phone = world.phone(config).await.expect("a phone");
    let line = format!(
        "call 1001 --via {} --from +442079460958 --output json --wav {} --digits 5",
        phone.address(),
        wav.display()
    );
    let output = run(words(&line)).await;
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let events = events(&output);
    let Some(EventKind::Ended { report }) =
        events.iter().map(|e| &e.kind).find(|kind| matches!(kind, EventKind::Ended { .. }))
    else {
        panic!("no summary: {events:?}");
    };
    assert_eq!(report.end, Some(EndCause::HungUpThere { reason: None }));
    assert!(std::fs::metadata(&wav).expect("the file").len() > 44);
    let call = phone.wait_call(WAIT_MS).await.expect("the call");
    assert_eq!(call.report().await.expect("final").media.digits, "5");
}

// Goal: a refused call exits with 1; no audio with 3; wrong usage with 2; a bad address with 5.
#[tokio::test]
async fn exit_codes() {
    let world = world().await;
    let busy = world.phone(phone_config("1001").with_policy(AnswerPolicy::busy())).await;
    let busy = busy.expect("a phone").address();
    let refused = run(words(&format!("call 1001 --via {busy}"))).await;
    assert_eq!(refused.status.code(), Some(1), "{}", errors(&refused));

    let node = Node::new().await;
    let address = node.address;
    let calling = tokio::spawn(run(words(&format!("call 8000 --via {address} --duration-s 1"))));
    let (invite, _) = node.request(&Method::Invite).await;
    let (_open, sink) = support::sink().await;
    let body = support::sdp_of(1, sink, "");
    node.answer(&invite, 200, "x", Some(body)).await;
    node.request(&Method::Ack).await;
    let (bye, _) = node.request(&Method::Bye).await;
    node.answer(&bye, 200, "x", None).await;
    let silent = calling.await.expect("no panic");
    assert_eq!(silent.status.code(), Some(3), "{}", errors(&silent));

    let usage = run(words("call 8000")).await;
    assert_eq!(usage.status.code(), Some(2));
    let unusable = run(words("call 8000 --via 127.0.0.1 --listen 0.0.0.0:5999")).await;
    assert_eq!(unusable.status.code(), Some(5));
    assert!(errors(&unusable).contains("0.0.0.0"), "{}", errors(&unusable));
}

// Goal: `register` registers, answers a call, prints it for people, and leaves in order.
#[tokio::test]
async fn register_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let password = folder.path().join("password");
    std::fs::write(&password, "secret\n").expect("written");
    let node = Node::new().await;
    let listen = any_port(ip());
    let line = format!(
        "register --user 1001 --password-file {} --registrar {} --listen {listen} --duration-s 3 \
         --answer-after-ms 0 --label desk",
        password.display(),
        node.address
    );
    let running = tokio::spawn(run(words(&line)));
    let (request, from) = node.request(&Method::Register).await;
    node.accept_register(&request, 300).await;
    let world = world().await;
    let caller = world.caller(caller_config(from)).await.expect("a caller");
    let plan = CallPlan::to("1001").hanging_up(HangUp::AfterAgentHeard { ms: 100 });
    let call = caller.call(plan).await.expect("a call");
    let report = call.wait_ended(WAIT_MS).await.expect("ended");
    assert_eq!(report.end, Some(EndCause::HungUpHere));
    let (request, _) = node.request(&Method::Register).await;
    assert_eq!(request.message.header("Expires"), Some("0"));
    node.accept_register(&request, 0).await;
    let output = running.await.expect("no panic");
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in ["registered", "invite_received", "answered", "ended: ", "unregistered"] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
}

// Goal: SIGTERM ends the phone in order: it hangs up, leaves its registrar, and exits with 0.
#[tokio::test]
async fn sigterm_leaves_in_order() {
    let node = Node::new().await;
    let line = format!("register --user 1001 --registrar {} --answer-after-ms 0", node.address);
    let mut child = Command::new(env!("CARGO_BIN_EXE_tandem-phone"))
        .args(words(&line))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    let (request, from) = node.request(&Method::Register).await;
    node.accept_register(&request, 300).await;
    let world = world().await;
    let caller = world.caller(caller_config(from)).await.expect("a caller");
    let call = caller.call(CallPlan::to("1001")).await.expect("a call");
    call.wait_established(WAIT_MS).await.expect("answered");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signalled");
    let report = call.wait_ended(WAIT_MS).await.expect("ended");
    assert_eq!(report.end, Some(EndCause::HungUpThere { reason: None }));
    let (request, _) = node.request(&Method::Register).await;
    assert_eq!(request.message.header("Expires"), Some("0"));
    node.accept_register(&request, 0).await;
    let waiting = tokio::task::spawn_blocking(move || child.wait());
    let status = waiting.await.expect("no panic").expect("waited");
    assert_eq!(status.code(), Some(0));
}

// Goal: help names the exit codes and shows examples.
#[tokio::test]
async fn help() {
    for (line, parts) in [
        ("--help", &["Exit codes:", "register", "call"][..]),
        ("call --help", &["Examples:", "--fail-on-gap-ms", "--wav"]),
        ("register --help", &["Examples:", "--password-file", "--answer-after-ms"]),
    ] {
        let output = run(words(line)).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for part in parts {
            assert!(text.contains(part), "{line}: {part} is missing");
        }
    }
}
