//! An independent implementation speaks with the phone: SIPp as caller, as callee with echo, and as
//! registrar.

mod support;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use support::{WAIT_MS, caller_config, ip, phone_config, world};
use tandem_phone::{AnswerPolicy, CallPlan, EndCause, Event, EventKind, Server};

/// One run of SIPp in a folder of its own.
struct Sipp {
    child: Child,
    folder: tempfile::TempDir,
    address: SocketAddr,
}

impl Sipp {
    fn start(scenario: &str, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let address = SocketAddr::new(ip(), 5060);
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/sipp").join(scenario);
        let output = std::fs::File::create(folder.path().join("output")).expect("a file");
        let child = Command::new("sipp")
            .args(["-sf", file.to_str().expect("UTF-8"), "-i", &address.ip().to_string()])
            .args(["-mi", &address.ip().to_string(), "-mp", "6000", "-p", "5060"])
            .args(["-m", "1", "-nostdin", "-timeout", "30s", "-timeout_error", "-trace_err"])
            .args(more)
            .current_dir(folder.path())
            .env("TERM", "dumb")
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file"))
            .stderr(output)
            .spawn()
            .expect(
                "cannot start `sipp`, the independent SIP peer of this test: `cargo xtask setup` \
                 installs it (Debian package sip-tester)",
            );
        Self { child, folder, address }
    }

    /// Waits for its end without blocking the test's runtime; it must say that all went well.
    async fn succeeds(mut self) {
        let (status, told) = tokio::task::spawn_blocking(move || {
            let status = self.child.wait().expect("waited");
            let mut told = String::new();
            for entry in std::fs::read_dir(self.folder.path()).expect("the folder") {
                let path = entry.expect("an entry").path();
                told.push_str(&String::from_utf8_lossy(&std::fs::read(path).expect("a file")));
            }
            (status, told)
        })
        .await
        .expect("no panic");
        let end: Vec<&str> = told.lines().rev().take(120).collect();
        let end: Vec<&str> = end.into_iter().rev().collect();
        assert!(status.success(), "SIPp ended with {status}:\n{}", end.join("\n"));
    }
}

// Goal: SIPp as caller: answered, held, resumed, asked for options, hung up with its Reason.
#[tokio::test]
async fn sipp_calls_the_phone() {
    let world = world().await;
    let config = phone_config("1001").with_policy(AnswerPolicy::answer_after(50));
    let phone = world.phone(config).await.expect("a phone");
    let sipp = Sipp::start("uac.xml", &[&phone.address().to_string(), "-s", "1001"]);
    let call = phone.wait_call(WAIT_MS).await.expect("the call");
    let report = call.wait_ended(WAIT_MS).await.expect("ended");
    let reason = Some("Q.850;cause=16;text=\"Normal call clearing\"".to_owned());
    assert_eq!(report.end, Some(EndCause::HungUpThere { reason }));
    assert_eq!((report.modifications_count, report.takeovers), (1, 0));
    assert_eq!(report.anomalies, []);
    assert!(report.media.sent_packets > 0);
    sipp.succeeds().await;
}

// Goal: SIPp cancels a ringing phone and gets 200 and 487.
#[tokio::test]
async fn sipp_cancels() {
    let world = world().await;
    let phone =
        world.phone(phone_config("1001").with_policy(AnswerPolicy::ring())).await.expect("a phone");
    let sipp = Sipp::start("cancel.xml", &[&phone.address().to_string(), "-s", "1001"]);
    let call = phone.wait_call(WAIT_MS).await.expect("the call");
    let report = call.wait_ended(WAIT_MS).await.expect("ended");
    assert_eq!(report.end, Some(EndCause::CancelledThere { reason: None }));
    sipp.succeeds().await;
}

// Goal: SIPp as callee echoes the audio: the caller hears its own tag, from the signalled address,
// without loss.
#[tokio::test]
async fn sipp_echoes_the_caller() {
    let sipp = Sipp::start("uas.xml", &["-rtp_echo"]);
    let world = world().await;
    let caller = world.caller(caller_config(sipp.address)).await.expect("a caller");
    // SIPp may not listen yet: the INVITE is repeated until it does.
    let call = caller.call(CallPlan::to("8000")).await.expect("a call");
    call.wait_established(WAIT_MS).await.expect("answered");
    let own = call.sender_tag();
    call.wait_hears_more(own, 25, WAIT_MS).await.expect("the echo");
    call.hang_up().await.expect("alive");
    let report = call.wait_ended(WAIT_MS).await.expect("ended");
    assert_eq!(report.end, Some(EndCause::HungUpHere));
    assert_eq!(report.media.unsignalled_packets, 0);
    assert_eq!(report.media.sender(own).map(|sender| sender.lost), Some(0));
    assert_eq!(report.media.sequence_faults(), 0);
    sipp.succeeds().await;
}

// Goal: SIPp as registrar checks the digest by its own means, and sees the phone leave; a wrong
// password does not pass its check.
#[tokio::test]
async fn sipp_registers_the_phone() {
    let sipp = Sipp::start("registrar.xml", &[]);
    let world = world().await;
    let config = phone_config("1001").registering("secret", vec![Server::udp(sipp.address)]);
    let phone = world.phone(config).await.expect("a phone");
    phone.wait_registered_at(sipp.address, WAIT_MS).await.expect("registered");
    phone.unregister().await.expect("alive");
    assert_eq!(phone.registered_at(), None);
    sipp.succeeds().await;

    let sipp = Sipp::start("registrar.xml", &[]);
    let mut events = world.events();
    let config = phone_config("1001").registering("wrong", vec![Server::udp(sipp.address)]);
    world.phone(config).await.expect("a phone");
    let is_refused = |event: &Event| matches!(&event.kind, EventKind::RegisterFailed { reason, .. } if reason == "403");
    events.wait_for(WAIT_MS, "the refusal", is_refused).await.expect("refused");
    sipp.succeeds().await;
}
