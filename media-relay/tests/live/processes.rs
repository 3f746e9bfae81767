//! The program `tandem-relay`: starts once, survives what it must, ends in order, and another one
//! goes on with its streams.

use std::{
    os::unix::process::ExitStatusExt,
    process::{Child, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tandem_media_relay::{identity::Role, process::PidFile};
use tandem_proto::relay::v1::RetireRequest;
use tandem_rtp::{
    continuity::{ContinuityJudge, TimeCheck},
    ids::PayloadType,
};

use crate::support::{
    phone::{Phone, rtp},
    relays::{Lab, RelayProcess, command, endpoint, music, remote_peer, write_config},
    until, until_now,
};

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id() as i32).expect("a process id");
    kill_process(pid, signal).expect("alive");
}

async fn exit_code(child: &mut Child) -> Option<i32> {
    let mut status = None;
    until_now("the program ends", || {
        status = child.try_wait().expect("a child");
        status.is_some()
    })
    .await;
    let status = status.expect("just seen");
    assert_eq!(status.signal(), None, "it ended by itself");
    status.code()
}

// Goal: a second relay on the same folder or port does not start and says why in one line; the
// first one is not disturbed.
#[tokio::test(flavor = "multi_thread")]
async fn occupied_ports_are_told() {
    let lab = Lab::new();
    let settings = lab.settings("first");
    let first = RelayProcess::start(&lab, &settings).await;
    let run = |settings: &tandem_media_relay::Settings| {
        let output = command(&write_config(&lab, settings)).stderr(Stdio::piped()).output();
        let output = output.expect("it ran");
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stderr).expect("text");
        text.lines().rfind(|line| line.starts_with("tandem-relay:")).expect("a reason").to_owned()
    };
    let error = run(&settings);
    assert!(error.contains(&format!("(process {})", first.child.id())), "{error}");
    for (port, protocol) in [("control", "TCP"), ("link", "UDP")] {
        let mut second = lab.settings("second");
        match port {
            "control" => second.relay.control = first.file.control,
            _ => second.relay.link = first.file.link,
        }
        let error = run(&second);
        assert!(error.contains(port) && error.contains(protocol), "{error}");
        assert!(error.contains("another relay or program has it"), "{error}");
    }
    let mut third = lab.settings("third");
    third.relay.media_address = "192.0.2.1".parse().expect("an address");
    assert!(run(&third).contains("media_address"));
    lab.node(first.file.control).await.describe().await;
}

// Goal: wrong settings and certificates end with code 1 and the reason; good ones pass --check.
#[tokio::test(flavor = "multi_thread")]
async fn settings_are_checked() {
    let lab = Lab::new();
    let mut settings = lab.settings("checked");
    let check = |settings: &tandem_media_relay::Settings| {
        let mut command = command(&write_config(&lab, settings));
        let output = command.arg("--check").stderr(Stdio::piped()).output().expect("it ran");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    assert_eq!(check(&settings), (Some(0), String::new()));
    settings.relay.sessions_max = 0;
    let (code, error) = check(&settings);
    assert!(code == Some(1) && error.contains("sessions_max"), "{error}");
    settings.relay.sessions_max = 1;
    settings.tls = lab.authority.write(lab.folder.path(), Role::Operator, "checked");
    let (code, error) = check(&settings);
    assert!(code == Some(1) && error.contains("and not relay.tandem.internal"), "{error}");
}

// Goal: the relay outlives the terminal and the log of the node that started it; SIGTERM is an
// orderly end with a goodbye to the phone, and takes the pid file along.
#[tokio::test(flavor = "multi_thread")]
async fn outlives_its_node_and_ends_in_order() {
    let lab = Lab::new();
    let settings = lab.settings("lasting");
    let config = write_config(&lab, &settings);
    let mut child = command(&config).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut file = None;
    until_now("the pid file", || {
        file = PidFile::read(&settings.relay.data_dir).ok().flatten();
        file.is_some()
    })
    .await;
    let file = file.expect("just read");
    assert!(file.is_alive() && file.pid == child.id());
    drop(child.stderr.take()); // nobody reads its log any more
    let mut node = lab.node(file.control).await;
    let phone = Phone::new();
    let mut wanted = node.session(1, &phone, music());
    wanted.rtcp_mux = true;
    node.put_done(wanted).await;
    signal(&child, Signal::HUP);
    assert_eq!(node.describe().await.sessions, 1);
    // A refused call writes into the closed log.
    let mut operator = lab.caller(file.control, Role::Operator).await.expect("of this cluster");
    operator.client.retire(RetireRequest {}).await.expect_err("refused");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(node.describe().await.sessions, 1);
    signal(&child, Signal::TERM);
    assert_eq!(exit_code(&mut child).await, Some(0));
    assert_eq!(PidFile::read(&settings.relay.data_dir).expect("readable"), None);
    let heard = phone.hang_up();
    let goodbye = heard.rtcp().last().expect("a report").to_vec();
    let packets: Vec<_> = tandem_rtp::rtcp::Compound::parse(&goodbye).expect("RTCP").collect();
    assert!(
        matches!(packets.last(), Some(tandem_rtp::rtcp::RtcpPacket::Goodbye { .. })),
        "{packets:?}"
    );
    assert_eq!(heard.judge(TimeCheck::On), Ok(1));
}

// Goal: even the most talkative log of a relay holds neither a phone's address nor a pressed key,
// and the JSON form is one object per line.
#[tokio::test(flavor = "multi_thread")]
async fn logs_hold_no_caller_data() {
    let lab = Lab::new();
    let mut settings = lab.settings("discreet");
    settings.relay.log_format = tandem_media_relay::LogFormat::Json;
    let path = lab.folder.path().join("log");
    let log = std::fs::File::create(&path).expect("a file");
    let mut command = command(&write_config(&lab, &settings));
    command.env("TANDEM_LOG", "info,tandem_media_relay=trace,tandem_rtp=trace").stderr(log);
    let mut child = command.spawn().expect("it starts");
    let mut file = None;
    until_now("the pid file", || {
        file = PidFile::read(&settings.relay.data_dir).ok().flatten();
        file.is_some()
    })
    .await;
    let mut node = lab.node(file.expect("just read").control).await;
    let phone = std::net::UdpSocket::bind("127.88.77.66:0").expect("a port");
    let mut wanted = node.session(1, &Phone::new(), music());
    wanted.remote_rtp = Some(endpoint(phone.local_addr().expect("bound")));
    let to = node.put_done(wanted).await;
    for event in [5u8, 9] {
        let timestamp = u32::from(event) * 800;
        let key = rtp(101, 1, event.into(), timestamp, &[event, 0x8a, 1, 0x40]);
        phone.send_to(&key, to).expect("sent");
    }
    until("the keys arrive", async || {
        node.describe().await.counters.expect("counted").received == 2
    })
    .await;
    // Nobody is at this address, and nothing can be sent there: errors are logged as well.
    let mut wanted = node.session(2, &Phone::new(), music());
    wanted.remote_rtp = Some(endpoint("240.88.77.66:9".parse().expect("an address")));
    node.put_done(wanted).await;
    until("sending fails", async || {
        node.describe().await.counters.expect("counted").send_errors > 0
    })
    .await;
    let mut strange = node.session(3, &Phone::new(), music());
    strange.remote_rtp =
        Some(tandem_proto::relay::v1::Endpoint { address: "+39021234567".to_owned(), port: 1 });
    assert_ne!(node.put(strange).await.outcome(), tandem_proto::relay::v1::PutOutcome::Done);
    signal(&child, Signal::TERM);
    assert_eq!(exit_code(&mut child).await, Some(0));
    let text = std::fs::read_to_string(&path).expect("a log");
    assert!(text.lines().count() >= 4 && text.contains("was not sent"), "{text}");
    assert!(text.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{text}");
    for secret in ["88.77.66", "39021234567", "Digit('", "\"digit\""] {
        assert!(!text.contains(secret), "{secret} is in the log: {text}");
    }
}

// Goal: a relay without sessions that no node calls ends by itself; one that is called, or listened
// to, stays.
#[tokio::test(flavor = "multi_thread")]
async fn orphans_end_by_themselves() {
    let lab = Lab::new();
    let mut settings = lab.settings("orphan");
    settings.relay.orphan_exit_ms = 800;
    let mut relay = RelayProcess::start(&lab, &settings).await;
    let mut node = lab.node(relay.file.control).await;
    for _ in 0..15 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        node.describe().await;
    }
    let listening = node.events().await.expect("a stream");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(relay.child.try_wait().expect("a child"), None, "a node listens");
    drop(listening);
    assert_eq!(exit_code(&mut relay.child).await, Some(0));
}

// Goal: a relay is killed, another one goes on with the stream of its phone: one line of numbers
// (M1), twice in a row, and the tune goes on.
#[tokio::test(flavor = "multi_thread")]
async fn another_relay_continues_the_stream() {
    let lab = Lab::new();
    let phone = Phone::new();
    let began = std::time::Instant::now();
    for (takeovers, name) in (0..).zip(["first", "second", "third"]) {
        let relay = RelayProcess::start(&lab, &lab.settings(name)).await;
        let mut node = lab.node(relay.file.control).await;
        let mut wanted = node.session(1, &phone, music());
        let origin = wanted.origin.as_mut().expect("given");
        origin.elapsed_ms = began.elapsed().as_millis() as u64;
        origin.takeovers = takeovers;
        node.put_done(wanted).await;
        tokio::time::sleep(Duration::from_millis(800)).await;
        relay.kill();
        // Nobody notices a loss sooner than this. A taker within one frame of the last packet
        // would begin before that packet ends.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let heard = phone.hang_up();
    assert_eq!(heard.judge(TimeCheck::On), Ok(1));
    let numbers: Vec<_> = heard.rtp().map(|p| u16::from_be_bytes([p[2], p[3]])).collect();
    let jumps = numbers.windows(2).filter(|w| w[1].wrapping_sub(w[0]) > 400).count();
    assert_eq!(jumps, 2, "one forward jump for each takeover");
    assert!(numbers.len() >= 90, "{}", numbers.len());
}

// Goal: in a call over two relays one is killed and started anew: its stream goes on, the other
// phone hears only silence meanwhile, and both hear each other again.
#[tokio::test(flavor = "multi_thread")]
async fn killed_relay_comes_back_into_the_call() {
    let lab = Lab::new();
    let mut settings = [lab.settings("a"), lab.settings("b")];
    for settings in &mut settings {
        settings.relay.link.set_port(7_401);
    }
    let [a, b] = &settings;
    let killed = RelayProcess::start(&lab, a).await;
    let other = RelayProcess::start(&lab, b).await;
    let phones = [Phone::new(), Phone::new()];
    let mut node_b = lab.node(other.file.control).await;
    let wanted = node_b.session(2, &phones[1], remote_peer(1, "a", a.relay.link));
    let to_b = node_b.put_done(wanted).await;
    let began = std::time::Instant::now();
    let mut node_a = lab.node(killed.file.control).await;
    let wanted = node_a.session(1, &phones[0], remote_peer(2, "b", b.relay.link));
    let to_a = node_a.put_done(wanted).await;
    until("the link is up", async || node_b.describe().await.links.iter().any(|l| l.up)).await;
    let talk = |from: u32, count: u32, to_a| {
        std::thread::scope(|scope| {
            scope.spawn(|| phones[0].speak(to_a, 1, from, count));
            scope.spawn(|| phones[1].speak(to_b, 2, from, count));
        });
    };
    talk(0, 40, to_a);
    killed.kill();
    phones[1].speak(to_b, 2, 40, 20);
    let again = RelayProcess::start(&lab, a).await;
    let mut node_a = lab.node(again.file.control).await;
    let mut wanted = node_a.session(1, &phones[0], remote_peer(2, "b", b.relay.link));
    wanted.local_port = u32::from(to_a.port());
    let origin = wanted.origin.as_mut().expect("given");
    origin.elapsed_ms = began.elapsed().as_millis() as u64;
    origin.takeovers = 1;
    assert_eq!(node_a.put_done(wanted).await, to_a, "the same address and port");
    until("relay a has a link", async || node_a.describe().await.links.iter().any(|l| l.up)).await;
    until("relay b has a link", async || node_b.describe().await.links.iter().any(|l| l.up)).await;
    talk(1_000, 60, to_a);
    for (i, recording) in phones.map(Phone::hang_up).iter().enumerate() {
        assert_eq!(recording.judge(TimeCheck::On), Ok(1), "phone {i}");
        let numbers = recording.numbers();
        let after = numbers.iter().filter(|number| **number >= 1_000).count();
        let before = numbers.len() - after;
        assert!(before >= 20 && after >= 40, "phone {i} heard {before} and {after}");
    }
}

// Goal: when the relay that is dialled is killed and comes back, it resets the link of its last
// life, so that the other one dials again at once and not after the idle timeout.
#[tokio::test(flavor = "multi_thread")]
async fn killed_relay_resets_its_old_link() {
    let lab = Lab::new();
    let mut settings = [lab.settings("a"), lab.settings("b")];
    for settings in &mut settings {
        settings.relay.link.set_port(7_401);
    }
    let [a, b] = &settings;
    let dialler = RelayProcess::start(&lab, a).await;
    let killed = RelayProcess::start(&lab, b).await;
    let phone = Phone::new();
    let mut node = lab.node(dialler.file.control).await;
    let wanted = node.session(1, &phone, remote_peer(2, "b", b.relay.link));
    let to_a = node.put_done(wanted).await;
    until("the link is up", async || node.describe().await.links.iter().any(|l| l.up)).await;
    killed.kill();
    let again = RelayProcess::start(&lab, b).await;
    phone.speak(to_a, 1, 0, 5); // whatever is sent on the old link is answered with a reset
    let mut link = None;
    until("the link is up again", async || {
        link = node.describe().await.links.into_iter().next();
        link.as_ref().is_some_and(|link| link.up && !link.last_down.is_empty())
    })
    .await;
    assert_eq!(link.expect("just seen").last_down, "reset by peer");
    drop(again);
}

// Goal: the judge would notice a relay that does not jump (the takeover tests can fail).
#[test]
fn the_judge_can_fail() {
    let mut judge = ContinuityJudge::new(PayloadType::PCMU, TimeCheck::Off);
    let packet = crate::support::phone::audio(1, 5);
    assert!(judge.hear(&packet).is_ok());
    assert!(judge.hear(&packet).is_err());
}
