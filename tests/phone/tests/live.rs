//! Signalling of phones and callers on real sockets, against scripted nodes.

mod support;

use support::connected::connect;
use support::{
    FarLeg, Node, WAIT_MS, any_port, caller_config, ip, phone_config, sink, within, world,
};
use tandem_phone::sip::{Message, Method, Received};
use tandem_phone::{
    AnswerPolicy, CallPlan, CallerConfig, EndCause, EventKind, PhoneConfig, PhoneError, Server,
    Vanish, World, WorldOptions,
};

// Goal: a caller who hung up while the node was dead answers 481 to the taker; a caller whose line
// was cut answers nothing.
#[tokio::test]
async fn vanished_callers() {
    let mut c = connect(world().await, CallPlan::to("8000")).await;
    c.talk().await;
    c.call.vanish(Vanish::Answering481).await.expect("alive");
    c.agent_call.vanish(Vanish::Silently).await.expect("alive");
    let taker = Node::new().await;
    let body = c.agent_leg.sdp(c.relay.agent_side, "");
    let to_agent = c.agent_leg.request(&taker, &Method::Invite);
    taker.send(&to_agent.with_body("application/sdp", body), c.agent_leg.peer).await;
    let body = c.caller_leg.sdp(c.relay.caller_side, "");
    let to_caller = c.caller_leg.request(&taker, &Method::Invite);
    taker.send(&to_caller.with_body("application/sdp", body), c.caller_leg.peer).await;
    // The agent's phone was asked first: the first answer of all is the caller's.
    let (answer, from) = taker.receive_any().await;
    assert_eq!(answer.message.code(), Some(481));
    assert_eq!(from, c.caller.address());
    for call in [&c.call, &c.agent_call] {
        assert_eq!(call.wait_ended(WAIT_MS).await.expect("ended").end, Some(EndCause::Vanished));
    }
}

// Goal: registration with digest against a registrar; failover to the second one when it goes; calls
// reach the phone by its Contact; un-REGISTER at the end.
#[tokio::test]
async fn registration() {
    let world = world().await;
    let (first, second) = (Node::new().await, Node::new().await);
    let registrars = vec![Server::udp(first.address), Server::udp(second.address)];
    let mut config = phone_config("1001").registering("secret", registrars);
    config.failover_after_ms = Some(2_000);
    let phone = world.phone(config).await.expect("a phone");
    let (request, _) = first.request(&Method::Register).await;
    let challenge = "Digest realm=\"tandem\", nonce=\"n1\", algorithm=SHA-256, qop=\"auth\"";
    let answer = first.answer_to(&request, 401, "reg", None).with("WWW-Authenticate", challenge);
    first.send(&answer, request.via.response_address().expect("an address")).await;
    let (request, _) = first.request(&Method::Register).await;
    let given = request.message.header("Authorization").expect("credentials");
    assert!(given.contains("algorithm=SHA-256") && !given.contains("secret"), "{given}");
    // One second: the refresh comes after 700 ms, and nobody answers it.
    first.accept_register(&request, 1).await;
    phone.wait_registered_at(first.address, WAIT_MS).await.expect("registered");
    let (request, _) = second.request(&Method::Register).await;
    second.accept_register(&request, 300).await;
    phone.wait_registered_at(second.address, WAIT_MS).await.expect("registered");
    assert!(phone.report().await.expect("alive").register_failures >= 1);

    let leaving = tokio::spawn(world.stop(WAIT_MS));
    let (request, _) = second.request(&Method::Register).await;
    assert_eq!(request.message.header("Expires"), Some("0"));
    second.accept_register(&request, 0).await;
    leaving.await.expect("no panic").expect("stopped in order");
}

// Goal: a caller abandons while the agent rings: CANCEL goes through, both sides say so.
#[tokio::test]
async fn abandoned_while_ringing() {
    let world = world().await;
    let (_open, sink) = sink().await;
    let node = Node::new().await;
    let phone =
        world.phone(phone_config("1001").with_policy(AnswerPolicy::ring())).await.expect("phone");
    let caller = world.caller(caller_config(node.address)).await.expect("a caller");
    let call = caller.call(CallPlan::to("8000")).await.expect("a call");
    let (invite, _) = node.request(&Method::Invite).await;
    let mut agent_leg = FarLeg::to_phone("1001", phone.address(), "cancelled");
    let body = agent_leg.sdp(sink, "");
    let to_agent = agent_leg.request(&node, &Method::Invite).with_body("application/sdp", body);
    node.send(&to_agent, phone.address()).await;
    node.response(180).await;
    node.answer(&invite, 180, "queue", None).await;
    call.wait_ringing(WAIT_MS).await.expect("ringing");
    call.abandon().await.expect("alive");
    let (cancel, _) = node.request(&Method::Cancel).await;
    assert_eq!(cancel.via.branch(), invite.via.branch());
    node.answer(&cancel, 200, "queue", None).await;
    node.answer(&invite, 487, "queue", None).await;
    node.request(&Method::Ack).await;
    assert_eq!(call.wait_ended(WAIT_MS).await.expect("ended").end, Some(EndCause::CancelledHere));

    let header = |name| to_agent.header(name).expect("present").to_owned();
    let cancel = Message::request(Method::Cancel, agent_leg.target.clone())
        .with("Via", header("Via"))
        .with("From", header("From"))
        .with("To", header("To"))
        .with("Call-ID", header("Call-ID"))
        .with("CSeq", format!("{} CANCEL", agent_leg.cseq));
    node.send(&cancel, phone.address()).await;
    node.response(200).await;
    node.response(487).await;
    let agent_call = phone.wait_call(WAIT_MS).await.expect("the call");
    let end = agent_call.wait_ended(WAIT_MS).await.expect("ended").end;
    assert_eq!(end, Some(EndCause::CancelledThere { reason: None }));
}

// Goal: a phone answers by command, refuses by command, and each of its ends is reported.
#[tokio::test]
async fn answers_by_command() {
    let world = world().await;
    let (_open, sink) = sink().await;
    let node = Node::new().await;
    let phone =
        world.phone(phone_config("1001").with_policy(AnswerPolicy::ring())).await.expect("phone");
    for answer in [true, false] {
        let mut leg = FarLeg::to_phone("1001", phone.address(), &format!("command-{answer}"));
        let body = leg.sdp(sink, "");
        let invite = leg
            .request(&node, &Method::Invite)
            .with("P-Asserted-Identity", "<sip:+442079460958@tandem.example>")
            .with_body("application/sdp", body);
        node.send(&invite, phone.address()).await;
        let call = phone.wait_call(WAIT_MS).await.expect("the call");
        call.wait_ringing(WAIT_MS).await.expect("ringing");
        let identity = call.invite_header("p-asserted-identity").await.expect("alive");
        assert_eq!(identity.as_deref(), Some("<sip:+442079460958@tandem.example>"));
        if answer {
            call.answer().await.expect("alive");
            let (ok, _) = node.response(200).await;
            leg.confirm(&ok);
            let ack = leg.request_with(&node, &Method::Ack, leg.cseq);
            node.send(&ack, phone.address()).await;
            call.wait_established(WAIT_MS).await.expect("established");
            call.hang_up().await.expect("alive");
            let (bye, _) = node.request(&Method::Bye).await;
            node.answer(&bye, 200, "n", None).await;
            let report = call.wait_ended(WAIT_MS).await.expect("ended");
            assert_eq!(report.end, Some(EndCause::HungUpHere));
        } else {
            call.reject(486, "Busy Here").await.expect("alive");
            node.response(486).await;
            let report = call.wait_ended(WAIT_MS).await.expect("ended");
            assert_eq!(report.end, Some(EndCause::RejectedHere { code: 486 }));
        }
    }
}

// Goal: when the 200's ACK is lost, the 200 comes again, byte by byte, until the ACK.
#[tokio::test]
async fn lost_ack() {
    let world = world().await;
    let (_open, sink) = sink().await;
    let node = Node::new().await;
    let config = phone_config("1001").with_policy(AnswerPolicy::answer_after(0));
    let phone = world.phone(config).await.expect("a phone");
    let mut leg = FarLeg::to_phone("1001", phone.address(), "lost-ack");
    let body = leg.sdp(sink, "");
    let invite = leg.request(&node, &Method::Invite).with_body("application/sdp", body);
    node.send(&invite, phone.address()).await;
    let (ok, _) = node.response(200).await;
    let (again, _) = node.receive_any().await;
    assert_eq!(again.message, ok.message);
    // A repeated INVITE makes no second call and no second answer of its own.
    node.send(&invite, phone.address()).await;
    leg.confirm(&ok);
    let ack = leg.request_with(&node, &Method::Ack, leg.cseq);
    node.send(&ack, phone.address()).await;
    let call = phone.wait_call(WAIT_MS).await.expect("the call");
    let report = call.wait_established(WAIT_MS).await.expect("established");
    assert!(report.ok_retransmissions >= 1);
    assert_eq!(phone.report().await.expect("alive").invites, 1);
    leg.bye(&node).await;
}

// Goal: the whole by TCP: registration over a connection, a call over connections, and a phone that
// notices its registrar's death by the broken connection.
#[tokio::test]
async fn by_tcp() {
    let world = world().await;
    let listener = tokio::net::TcpListener::bind(any_port(ip())).await.expect("a socket");
    let registrar = listener.local_addr().expect("bound");
    let mut config = phone_config("1001").with_policy(AnswerPolicy::answer_after(0));
    config.transport = tandem_phone::Transport::Tcp;
    config = config.registering("secret", vec![Server::tcp(registrar)]);
    config.retry_after_ms = 100;
    let phone = world.phone(config).await.expect("a phone");
    for round in 0..2 {
        let (stream, _) = within("a connection", listener.accept()).await.expect("accepted");
        let (mut stream, request) = read_message(stream).await;
        assert!(request.message.header("Contact").is_some_and(|c| c.contains("transport=tcp")));
        assert_eq!(request.via.transport, "TCP");
        let contact = request.message.header("Contact").expect("a Contact").to_owned();
        let ok = Message::response(&request, 200, "OK", Some("reg"))
            .with("Contact", format!("{contact};expires=1"));
        tokio::io::AsyncWriteExt::write_all(&mut stream, &ok.to_bytes()).await.expect("written");
        phone.wait_registrations(round + 1, WAIT_MS).await.expect("registered");
        // The connection breaks; the refresh fails, and the phone connects again.
        drop(stream);
    }
    let node = Server::tcp(phone.address());
    let caller = CallerConfig::new("trunk", any_port(ip()), vec![node]);
    let caller = world.caller(caller).await.expect("a caller");
    let call = caller.call(CallPlan::to("1001")).await.expect("a call");
    let agent = phone.wait_call(WAIT_MS).await.expect("the call");
    call.wait_hears(agent.sender_tag(), WAIT_MS).await.expect("heard");
    agent.wait_hears(call.sender_tag(), WAIT_MS).await.expect("heard");
    agent.hang_up().await.expect("alive");
    let report = call.wait_ended(WAIT_MS).await.expect("ended");
    assert_eq!(report.end, Some(EndCause::HungUpThere { reason: None }));
    agent.wait_ended(WAIT_MS).await.expect("ended");
}

async fn read_message(mut stream: tokio::net::TcpStream) -> (tokio::net::TcpStream, Received) {
    let mut framer = tandem_phone::sip::Framer::default();
    let mut buffer = [0; 4_096];
    loop {
        if let Some(message) = framer.next_message().expect("valid SIP") {
            return (stream, Received::check(message).expect("with all headers"));
        }
        let reading = tokio::io::AsyncReadExt::read(&mut stream, &mut buffer);
        let length = within("bytes", reading).await.expect("readable");
        framer.feed(&buffer[..length]);
    }
}

// Goal: 300 short calls through a range of only 40 port pairs: all answered, all heard, and nothing
// is left over: no socket, no call, no report lost.
#[tokio::test]
async fn hundreds_of_short_calls_leak_nothing() {
    let options = WorldOptions { media_ports: 30_000..=30_079, ..WorldOptions::default() };
    let world = World::start(options).await.expect("a world");
    let mut config = phone_config("1001").with_policy(AnswerPolicy::answer_after(0));
    config.lines = 100;
    let phone = world.phone(config).await.expect("a phone");
    let mut trunk = caller_config(phone.address());
    trunk.listen = any_port(phone.address().ip());
    let caller = world.caller(trunk).await.expect("a caller");
    // Caller and phone share an address, so 20 calls at once use all 40 pairs.
    for _ in 0..15 {
        let mut calls = Vec::new();
        for _ in 0..20 {
            calls.push(caller.call(CallPlan::to("1001")).await.expect("a call"));
        }
        for call in &calls {
            let fits = |r: &tandem_phone::CallReport| !r.media.senders.is_empty();
            call.wait_for(WAIT_MS, "a voice", fits).await.expect("heard");
            call.hang_up().await.expect("alive");
        }
        for call in &calls {
            let report = call.wait_ended(WAIT_MS).await.expect("ended");
            assert_eq!(report.end, Some(EndCause::HungUpHere));
        }
        while world.report().await.expect("alive").calls > 0 {
            tokio::task::yield_now().await;
        }
    }
    let report = world.report().await.expect("alive");
    assert_eq!((report.calls, report.streams, report.reports_dropped), (0, 0, 0));
    assert_eq!(world.take_reports().await.expect("alive").len(), 600);
    let one_too_many = world.report().await.expect("alive").transactions;
    // INVITE and BYE linger on both sides, no more.
    assert!(one_too_many <= 4 * 300, "{one_too_many}");
}

// Goal: when the port range is used up the next call fails with a message, and the one after an end
// succeeds.
#[tokio::test]
async fn ports_run_out_and_come_back() {
    let options = WorldOptions { media_ports: 31_000..=31_003, ..WorldOptions::default() };
    let world = World::start(options).await.expect("a world");
    let node = Node::new().await;
    let caller = world.caller(caller_config(node.address)).await.expect("a caller");
    let first = caller.call(CallPlan::to("1")).await.expect("the first pair");
    caller.call(CallPlan::to("2")).await.expect("the second pair");
    let refused = caller.call(CallPlan::to("3")).await.expect_err("no pair is left");
    assert!(refused.to_string().contains("port range"), "{refused}");
    let (invite, _) = node.request(&Method::Invite).await;
    node.answer(&invite, 486, "x", None).await;
    first.wait_ended(WAIT_MS).await.expect("ended");
    caller.call(CallPlan::to("4")).await.expect("the first pair again");
}

// Goal: every event of a call comes in order, with the call's key, and the summary at its end equals
// the report; JSON and back loses nothing.
#[tokio::test]
async fn events_tell_the_story() {
    let world = world().await;
    let mut events = world.events();
    let config = phone_config("1001").with_policy(AnswerPolicy::answer_after(50));
    let phone = world.phone(config).await.expect("a phone");
    let caller = world.caller(caller_config(phone.address())).await.expect("a caller");
    let call = caller.call(CallPlan::to("1001")).await.expect("a call");
    let agent = phone.wait_call(WAIT_MS).await.expect("the call");
    call.wait_hears(agent.sender_tag(), WAIT_MS).await.expect("heard");
    call.hang_up().await.expect("alive");
    let report = call.wait_ended(WAIT_MS).await.expect("ended");
    agent.wait_ended(WAIT_MS).await.expect("ended");
    let key = call.key().clone();
    let mut names = Vec::new();
    loop {
        let event = within("the end", events.next()).await.expect("not over");
        let text = serde_json::to_string(&*event).expect("writes");
        let again: tandem_phone::Event = serde_json::from_str(&text).expect("reads");
        assert_eq!(again, *event);
        assert!(!text.contains("1001@"), "no number stands in events: {text}");
        if event.phone != "trunk#1" {
            continue;
        }
        assert_eq!(event.call.as_ref(), Some(&key));
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        names.push(value["event"].as_str().expect("a name").to_owned());
        if let EventKind::Ended { report: told } = &event.kind {
            assert_eq!(**told, report);
            break;
        }
    }
    // Audio may be quicker than the 200: it has an order of its own.
    let is_audio = |name: &String| name == "first_audio" || name == "hears";
    let (audio, signalling): (Vec<String>, Vec<String>) =
        names.into_iter().filter(|name| name != "gap").partition(is_audio);
    assert_eq!(signalling.join(" "), "invite_sent ringing answered ended");
    assert_eq!(audio.join(" "), "first_audio hears");
    assert_eq!(events.lost(), 0);
}

// Goal: a world that stopped says so to every handle, and its events end.
#[tokio::test]
async fn stopped_world() {
    let world = world().await;
    let phone = world.phone(phone_config("1001")).await.expect("a phone");
    let caller = world.caller(caller_config(phone.address())).await.expect("a caller");
    let call = caller.call(CallPlan::to("1001")).await.expect("a call");
    call.wait_ringing(WAIT_MS).await.expect("ringing");
    let (mut events, same) = (world.events(), world.clone());
    // Nobody waits for the CANCEL to be answered: the rest is ended without a word.
    let reports = world.stop(0).await.expect("stopped");
    assert_eq!(reports.len(), 2);
    assert!(call.wait_ended(WAIT_MS).await.is_ok(), "the last report is still at hand");
    while within("the end", events.next()).await.is_some() {}
    assert!(within("the end", same.events().next()).await.is_none());
    assert!(matches!(phone.report().await, Err(PhoneError::WorldStopped)));
    assert!(matches!(caller.call(CallPlan::to("1")).await, Err(PhoneError::WorldStopped)));
    assert!(matches!(call.hang_up().await, Err(PhoneError::WorldStopped)));
}

// Goal: settings that cannot work are refused with a reason, and leave no socket behind.
#[tokio::test]
async fn settings_are_checked() {
    let world = world().await;
    let listen = std::net::SocketAddr::new(ip(), 5_060);
    let at = |user: &str| PhoneConfig::new("x", user, listen);
    let mut no_codec = at("1001");
    no_codec.audio.codecs.clear();
    let mut refresh = at("1001");
    refresh.refresh_percent = 96;
    for config in [at(""), at("a b"), no_codec, refresh] {
        let refused = world.phone(config).await;
        assert!(matches!(refused, Err(PhoneError::Setting { .. })), "{refused:?}");
    }
    let unspecified = PhoneConfig::new("x", "1", "0.0.0.0:5060".parse().expect("an address"));
    assert!(matches!(world.phone(unspecified).await, Err(PhoneError::Listen { .. })));

    let first = world.phone(at("1001")).await.expect("nothing was left behind");
    let twice = world.phone(at("1001")).await;
    assert!(matches!(twice, Err(PhoneError::Setting { .. })), "{twice:?}");
    let second = world.phone(at("1002")).await.expect("shares the socket");
    assert_eq!(first.address(), second.address());
    first.remove().await.expect("alive");
    second.remove().await.expect("alive");
    world.phone(at("1001")).await.expect("the socket is free again");

    let caller = world.caller(caller_config(listen)).await.expect("a caller");
    let mut injected = CallPlan::to("1001");
    injected.headers.push(("X".into(), "a\r\nEvil: yes".into()));
    for plan in [CallPlan::to("a b"), CallPlan::to(""), CallPlan::to("1").from("<x>"), injected] {
        let refused = caller.call(plan).await;
        assert!(matches!(refused, Err(PhoneError::Setting { .. })), "{refused:?}");
    }
}
