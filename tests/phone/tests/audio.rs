//! Who hears whom on real sockets, through scripted nodes and relays.

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use support::connected::connect;
use support::{
    End, FarLeg, Node, Relay, WAIT_MS, any_port, caller_config, ip, phone_config, rtp_of, sdp_of,
    world,
};
use tandem_phone::media::goertzel_share;
use tandem_phone::sip::Method;
use tandem_phone::{
    AnswerPolicy, CallPlan, CallState, EndCause, EventKind, GapKind, HangUp, Heard, KnownSound,
    SentAudio, SourceStanding, World, WorldOptions,
};
use tokio::net::UdpSocket;

// Goal: through an undisturbed system both hear each other: nothing lost, one voice, no fault in any
// sequence (pauses are the business of a machine that the test does not own).
#[tokio::test]
async fn undisturbed_conversation() {
    let mut c = connect(world().await, CallPlan::to("8000").from("+442079460958")).await;
    c.call.wait_hears_more(c.agent_call.sender_tag(), 50, WAIT_MS).await.expect("the agent");
    c.agent_call.wait_hears_more(c.call.sender_tag(), 50, WAIT_MS).await.expect("the caller");
    c.agent_leg.bye(&c.node).await;
    c.caller_leg.bye(&c.node).await;
    let at_agent = c.agent_call.wait_ended(WAIT_MS).await.expect("ended");
    let at_caller = c.call.wait_ended(WAIT_MS).await.expect("ended");

    for (report, other) in [(&at_caller, &c.agent_call), (&at_agent, &c.call)] {
        assert_eq!(report.end, Some(EndCause::HungUpThere { reason: None }));
        let media = &report.media;
        assert_eq!((media.lost(), media.sequence_faults(), media.ssrc_changes), (0, 0, 0));
        assert_eq!((media.unsignalled_packets, media.malformed_packets), (0, 0));
        let heard = media.sender(other.sender_tag()).expect("heard");
        assert_eq!((heard.lost, heard.jumps_count), (0, 0));
        assert_eq!(heard.label.as_deref(), Some(other.label()));
        assert_eq!(media.heard.len(), 1, "one voice only: {:?}", media.heard);
        assert_eq!(report.anomalies, []);
        assert_eq!(report.takeovers, 0);
    }
    assert_eq!(c.world.report().await.expect("alive").streams, 0);
    assert_eq!(c.phone.report().await.expect("alive").calls_peak, 1);
}

// Goal: node and relay die; another node takes both legs over by re-INVITE with another relay. Both
// phones keep their streams and follow; reports tell the takeover, the pause and the loss exactly.
#[tokio::test]
async fn takeover_by_another_node() {
    let mut c = connect(world().await, CallPlan::to("8000")).await;
    c.talk().await;
    c.relay.kill();
    // The pause is made of packets, not of a clock: the callers sent this many into the void.
    let sent = c.call.report().await.expect("alive").media.sent_packets;
    c.call
        .wait_for(WAIT_MS, "20 packets into the void", |r| r.media.sent_packets >= sent + 20)
        .await
        .expect("sends on");
    let (taker, second) = (Node::new().await, Relay::new().await);
    c.caller_leg.cseq += 1_000;
    c.agent_leg.cseq += 1_000;
    c.caller_leg.sdp_version += 100;
    c.agent_leg.sdp_version += 100;
    let caller_rtp = c.caller_leg.invite(&taker, second.caller_side, "").await;
    let agent_rtp = c.agent_leg.invite(&taker, second.agent_side, "").await;
    second.connect(caller_rtp, agent_rtp);
    c.talk().await;

    // The phones' own streams went on: same SSRC, numbers and timestamps in one line.
    for end in [End::Caller, End::Agent] {
        let (before, after) = (c.relay.headers(end), second.headers(end));
        let (last, next) = (before.last().expect("before"), after.first().expect("after"));
        assert_eq!(last.ssrc, next.ssrc);
        let (steps, time) = (
            next.sequence.wrapping_sub(last.sequence),
            next.timestamp.wrapping_sub(last.timestamp),
        );
        assert!(steps >= 1, "{end:?}: numbers go on");
        // A busy machine may make the phone skip packets: its timestamps follow the clock then.
        let by_numbers = u32::from(steps) * 160;
        let skipped = c.call.report().await.expect("alive").media.own_stall_us > 0;
        assert!(
            time == by_numbers || (skipped && time > by_numbers && time % 160 == 0),
            "{end:?}: timestamps go with the numbers: {time} for {steps}"
        );
    }
    for (call, other) in [(&c.call, &c.agent_call), (&c.agent_call, &c.call)] {
        let report = call.report().await.expect("alive");
        assert_eq!((report.takeovers, report.modifications_count), (1, 1));
        let seen = &report.modifications[0];
        assert!(seen.source_changed && seen.media_changed && seen.code == 200, "{seen:?}");
        assert_eq!(seen.contact, Some(taker.address.to_string()));
        let gaps: Vec<_> =
            report.media.gaps.iter().filter(|gap| gap.kind == GapKind::Between).collect();
        let longest = gaps.iter().max_by_key(|gap| gap.length_us).expect("the pause");
        assert!(longest.length_ms() >= 300, "20 packets are about 400 ms: {gaps:?}");
        // Lost end to end is what the sender counted in between: the 20 packets at least (give or
        // take the phases of the two phones), and no more than the pause had room for.
        let heard = report.media.sender(other.sender_tag()).expect("heard");
        assert_eq!(heard.jumps_count, 1);
        assert_eq!(heard.lost, heard.jumps[0].missing);
        let room = longest.length_us / 20_000 + 2;
        assert!((18..=room).contains(&heard.lost), "{} lost, room for {room}", heard.lost);
        // The second relay forwards what the sender numbered: a jump, no step back, no reuse.
        assert_eq!(report.media.sequence_faults(), 0);
        assert_eq!(report.media.ssrc_changes, 0);
        assert_eq!(report.anomalies, []);
    }
    // Later requests go to the taker.
    c.call.hang_up().await.expect("alive");
    let (bye, _) = taker.request(&Method::Bye).await;
    taker.answer(&bye, 200, "queue", None).await;
    c.agent_leg.bye(&taker).await;
    c.agent_call.wait_ended(WAIT_MS).await.expect("ended");
    let report = c.call.wait_ended(WAIT_MS).await.expect("ended");
    assert_eq!(report.end, Some(EndCause::HungUpHere));
}

// Goal: hold and resume from the phone's side reach the other side, stop and start the audio, and
// pauses on hold are no gaps.
#[tokio::test]
async fn hold_and_resume() {
    let mut c = connect(world().await, CallPlan::to("8000")).await;
    c.talk().await;
    let holding = tokio::spawn({
        let call = c.agent_call.clone();
        async move { call.modify(tandem_phone::sip::Direction::Inactive).await }
    });
    let (reinvite, _) = c.node.request(&Method::Invite).await;
    let text = String::from_utf8_lossy(&reinvite.message.body).into_owned();
    assert!(text.contains("a=inactive"), "{text}");
    let body = c.agent_leg.sdp(c.relay.agent_side, "a=inactive\r\n");
    c.node.answer(&reinvite, 200, "x", Some(body)).await;
    c.node.request(&Method::Ack).await;
    holding.await.expect("no panic").expect("held");
    // What was under way when the hold began may still arrive; then silence.
    let at_hold = c.agent_call.report().await.expect("alive").media.sent_packets;
    let caller_sent = c.call.report().await.expect("alive").media.sent_packets;
    c.call
        .wait_for(WAIT_MS, "15 packets of the caller", |r| r.media.sent_packets >= caller_sent + 15)
        .await
        .expect("the caller talks on");
    let held = c.agent_call.report().await.expect("alive").media;
    assert_eq!(held.sent_packets, at_hold, "a phone on hold sends nothing");
    assert!(held.unexpected_packets > 0, "what comes on hold is counted apart");

    let resuming = tokio::spawn({
        let call = c.agent_call.clone();
        async move { call.resume().await }
    });
    let (reinvite, _) = c.node.request(&Method::Invite).await;
    let body = c.agent_leg.sdp(c.relay.agent_side, "");
    c.node.answer(&reinvite, 200, "x", Some(body)).await;
    c.node.request(&Method::Ack).await;
    resuming.await.expect("no panic").expect("resumed");
    c.talk().await;
    c.agent_call.hang_up().await.expect("alive");
    let (bye, _) = c.node.request(&Method::Bye).await;
    c.node.answer(&bye, 200, "x", None).await;
    let report = c.agent_call.wait_ended(WAIT_MS).await.expect("ended");
    let heard = report.media.sender(c.call.sender_tag()).expect("heard");
    assert_eq!(heard.lost, 0, "nothing was lost, only not expected");
}

// Goal: DTMF from the caller arrives at the agent, digit by digit, each once.
#[tokio::test]
async fn dtmf() {
    let c = connect(world().await, CallPlan::to("8000")).await;
    c.talk().await;
    let mut events = c.world.events();
    c.call.send_digits("12#").await.expect("events are negotiated");
    let report = c
        .agent_call
        .wait_for(WAIT_MS, "three digits", |r| r.media.digits.len() == 3)
        .await
        .expect("digits");
    assert_eq!(report.media.digits, "12#");
    let is_first = |kind: &EventKind| matches!(kind, EventKind::Digit { digit: '1' });
    events.wait_for(WAIT_MS, "the event", |event| is_first(&event.kind)).await.expect("told");
    assert!(c.call.send_digits("x").await.is_err());
    let after = c.agent_call.report().await.expect("alive").media;
    assert_eq!(
        (after.sequence_faults(), after.sender(c.call.sender_tag()).map(|s| s.lost)),
        (0, Some(0))
    );
}

// Goal: a tone and a known sound are recognised without tags, and the WAV file holds them.
#[tokio::test]
async fn tones_and_wav() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("deep/heard.wav");
    let options = WorldOptions {
        known_sounds: vec![KnownSound { name: "moh".into(), tones_hz: vec![620.0] }],
        ..WorldOptions::default()
    };
    let world = World::start(options).await.expect("a world");
    let mut plan = CallPlan::to("8000");
    plan.sent = Some(SentAudio::Tone { hz: 425 });
    let mut c = connect(world, plan).await;
    c.agent_call.record(&file).await.expect("alive");
    let tone = |report: &tandem_phone::CallReport, wanted: &Heard| {
        report.media.heard.iter().any(|span| span.heard == *wanted && span.packets >= 25)
    };
    let first = Heard::Tone { hz: 425 };
    c.agent_call.wait_for(WAIT_MS, "the tone", |r| tone(r, &first)).await.expect("the tone");
    c.call.send_audio(SentAudio::Tone { hz: 620 }).await.expect("alive");
    let second = Heard::Known { name: "moh".into() };
    c.agent_call.wait_for(WAIT_MS, "the sound", |r| tone(r, &second)).await.expect("the sound");
    let mut events = c.world.events();
    c.agent_leg.bye(&c.node).await;
    let written = |kind: &EventKind| matches!(kind, EventKind::WavWritten { .. });
    events.wait_for(WAIT_MS, "the file", |event| written(&event.kind)).await.expect("written");
    let bytes = std::fs::read(&file).expect("the file");
    let samples: Vec<i16> =
        bytes[44..].chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
    // A busy machine may cut holes into the audio: somewhere 200 ms of each must be whole.
    let holds = |hz: f32| {
        samples.windows(1_600).step_by(160).any(|window| goertzel_share(window, hz) > 0.9)
    };
    assert!(holds(425.0) && holds(620.0), "the tone and the sound are in the file");
    assert!(!holds(1_000.0), "and nothing else");
}

// Goal: M2: RTP from somebody else is counted apart and not heard.
#[tokio::test]
async fn injected_audio() {
    let c = connect(world().await, CallPlan::to("8000")).await;
    c.talk().await;
    let target = c.agent_call.report().await.expect("alive");
    assert_eq!(target.media.unsignalled_packets, 0);
    let headers = c.relay.headers(End::Caller);
    let mut header = *headers.last().expect("headers");
    header.sequence = header.sequence.wrapping_add(5_000);
    let rogue = UdpSocket::bind(any_port(ip())).await.expect("a socket");
    let phone_rtp = {
        // The agent's RTP address, as any eavesdropper of the SDP knows it.
        let mut leg = c.agent_leg.clone();
        leg.invite(&c.node, c.relay.agent_side, "").await
    };
    let packet = [&header.to_bytes()[..], &[0; 160]].concat();
    for _ in 0..10 {
        rogue.send_to(&packet, phone_rtp).await.expect("sent");
    }
    let report = c
        .agent_call
        .wait_for(WAIT_MS, "ten foreign packets", |r| r.media.unsignalled_packets == 10)
        .await
        .expect("counted");
    let source = report.media.sources.iter().find(|s| s.standing == SourceStanding::Unsignalled);
    assert_eq!(
        source.map(|s| (s.address, s.packets)),
        Some((rogue.local_addr().expect("bound"), 10))
    );
    assert_eq!((report.media.heard.len(), report.media.sequence_faults()), (1, 0));
}

// Goal: RTCP: reports go both ways with CNAME and loss, BYE at the end.
#[tokio::test]
async fn rtcp() {
    let options = WorldOptions { rtcp_interval_ms: 100, ..WorldOptions::default() };
    let world = World::start(options).await.expect("a world");
    let config = phone_config("1001").with_policy(AnswerPolicy::answer_after(0));
    let phone = world.phone(config).await.expect("a phone");
    let caller = world.caller(caller_config(phone.address())).await.expect("a caller");
    let call = caller.call(CallPlan::to("1001")).await.expect("a call");
    let agent = phone.wait_call(WAIT_MS).await.expect("the call");
    for side in [&call, &agent] {
        let fits = |r: &tandem_phone::CallReport| {
            r.media.rtcp.sender_reports >= 3 && r.media.rtcp.round_trip_us.is_some()
        };
        let report = side.wait_for(WAIT_MS, "sender reports", fits).await.expect("RTCP");
        assert_eq!(report.media.rtcp.cnames.len(), 1);
        assert_eq!(report.media.rtcp.peer_reports_lost, Some(0));
        assert_eq!(report.media.rtcp.malformed, 0);
    }
    // The agent's phone says RTCP BYE as it hangs up; the SIP BYE ends the caller's side, maybe first.
    agent.hang_up().await.expect("alive");
    let ended = call.wait_ended(WAIT_MS).await.expect("ended");
    assert!(ended.media.rtcp.sent >= 3);
}

// Goal: early media is heard before the answer, and the talk's clock starts with the agent's voice.
#[tokio::test]
async fn early_media_and_talk_time() {
    let world = world().await;
    let (node, relay) = (Node::new().await, Relay::new().await);
    let config = phone_config("1001").with_policy(AnswerPolicy::answer_after(0));
    let phone = world.phone(config).await.expect("a phone");
    let caller = world.caller(caller_config(node.address)).await.expect("a caller");
    let plan = CallPlan::to("8000").hanging_up(HangUp::AfterAgentHeard { ms: 200 });
    let call = caller.call(plan).await.expect("a call");
    let (invite, from) = node.request(&Method::Invite).await;
    let mut caller_leg = FarLeg::of_invite(&invite, from, "queue");
    let mut agent_leg = FarLeg::to_phone("1001", phone.address(), "early");
    let agent_rtp = agent_leg.invite(&node, relay.agent_side, "").await;
    relay.connect(rtp_of(&invite.message), agent_rtp);
    let body = caller_leg.sdp(relay.caller_side, "");
    node.answer(&invite, 183, "queue", Some(body.clone())).await;
    let agent = phone.wait_call(WAIT_MS).await.expect("the call");
    let early = call.wait_hears(agent.sender_tag(), WAIT_MS).await.expect("early media");
    assert_eq!((early.state, early.answered_us), (CallState::Ringing, None));
    assert!(early.early_media_us.is_some());
    node.answer(&invite, 200, "queue", Some(body)).await;
    node.request(&Method::Ack).await;
    let (bye, _) = node.request(&Method::Bye).await;
    node.answer(&bye, 200, "queue", None).await;
    let report = call.wait_ended(WAIT_MS).await.expect("ended");
    assert_eq!(report.end, Some(EndCause::HungUpHere));
}

// Goal: a process that sleeps does not blame the network: the pause it slept through is told apart.
#[tokio::test]
async fn own_stall_is_told() {
    let world = world().await;
    let config = phone_config("1001").with_policy(AnswerPolicy::answer_after(0));
    let phone = world.phone(config).await.expect("a phone");
    let caller = world.caller(caller_config(phone.address())).await.expect("a caller");
    let call = caller.call(CallPlan::to("1001")).await.expect("a call");
    let agent = phone.wait_call(WAIT_MS).await.expect("the call");
    call.wait_hears_more(agent.sender_tag(), 5, WAIT_MS).await.expect("heard");
    // A policy function runs on the world's thread: this one stops it for a while.
    phone
        .set_policy_fn(|_| {
            std::thread::sleep(Duration::from_millis(300));
            AnswerPolicy::busy()
        })
        .await
        .expect("alive");
    let refused = caller.call(CallPlan::to("1001")).await.expect("a call");
    refused.wait_ended(WAIT_MS).await.expect("refused");
    let longer = |r: &tandem_phone::CallReport| {
        r.media.gaps.iter().any(|gap| gap.kind == GapKind::Between && gap.length_ms() >= 250)
    };
    let report = call.wait_for(WAIT_MS, "the pause", longer).await.expect("told");
    assert!(report.media.own_stall_us >= 250_000, "{}", report.media.own_stall_us);
    assert!(report.media.gap_ms_max() < 150, "{:?}", report.media.gaps);
}

// Goal: what the RTP socket gets that is no RTP is counted and harms nothing.
#[tokio::test]
async fn nonsense_on_the_media_port() {
    let node = Node::new().await;
    let world = world().await;
    let caller = world.caller(caller_config(node.address)).await.expect("a caller");
    let call = caller.call(CallPlan::to("8000")).await.expect("a call");
    let (invite, _) = node.request(&Method::Invite).await;
    let rtp = rtp_of(&invite.message);
    let socket = UdpSocket::bind(any_port(ip())).await.expect("a socket");
    let body = sdp_of(1, socket.local_addr().expect("bound"), "");
    node.answer(&invite, 200, "x", Some(body)).await;
    call.wait_established(WAIT_MS).await.expect("established");
    for bytes in [&b""[..], b"x", b"nonsense that is no RTP", &[0xff; 1_500]] {
        socket.send_to(bytes, rtp).await.expect("sent");
        let rtcp = SocketAddr::new(rtp.ip(), rtp.port() + 1);
        socket.send_to(bytes, rtcp).await.expect("sent");
    }
    let fits = |r: &tandem_phone::CallReport| {
        r.media.malformed_packets == 4 && r.media.rtcp.malformed == 4
    };
    call.wait_for(WAIT_MS, "four and four", fits).await.expect("counted");
}
