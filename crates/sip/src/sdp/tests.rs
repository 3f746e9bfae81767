//! Tests of descriptions and of offer/answer.

use super::*;
use crate::limits::{SDP_BYTES_MAX, SDP_LINES_MAX, SDP_MEDIA_MAX, SDP_VERSION_BLOCK};
use crate::message::{HeaderName, Headers};
use crate::prng::Prng;
use crate::text::SipText;
use bytes::Bytes;
use std::net::IpAddr;

const HEAD: &str =
    "v=0\r\no=- 20518 1 IN IP4 203.0.113.1\r\ns=call\r\nc=IN IP4 203.0.113.1\r\nt=0 0\r\n";

fn describe(media: &str) -> RemoteDescription {
    RemoteDescription::parse(format!("{HEAD}{media}").as_bytes()).unwrap()
}

fn audio(media: &str) -> AudioMedia {
    describe(media).audio(0).unwrap()
}

fn local(direction: Direction) -> LocalMedia {
    let address: IpAddr = "198.51.100.9".parse().unwrap();
    LocalMedia { address, port: 30_000, rtcp_port: None, crypto: Vec::new(), direction }
}

fn description() -> LocalDescription {
    let address = "198.51.100.9".parse().unwrap();
    let origin = Origin { username: "-".into(), session_id: 77, address };
    LocalDescription::new(origin, SdpVersionBlock::first())
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

// Goal: an ordinary offer is read into all its parts.
#[test]
fn audio_view() {
    let got = audio(
        "m=audio 49170/2 RTP/AVP 0  8 97 101\r\nc=IN IP6 2001:db8::7\r\na=rtpmap:97 opus/48000/2\r\n\
         a=fmtp:97 useinbandfec=1\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\n\
         a=maxptime:40\r\na=sendonly\r\na=rtcp:53020 IN IP4 203.0.113.2\r\na=rtcp-mux\r\n\
         a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:KEYKEYKEY\r\n",
    );
    assert_eq!(got.rtp_address().unwrap().to_string(), "[2001:db8::7]:49170");
    let names: Vec<_> =
        got.formats.iter().map(|f| (f.payload_type, f.codec.name.as_str())).collect();
    assert_eq!(names, [(0, "PCMU"), (8, "PCMA"), (97, "opus")]);
    assert_eq!(got.formats[2].codec.channels, 2);
    assert_eq!(got.formats[2].parameters.as_deref(), Some("useinbandfec=1"));
    assert_eq!(got.telephone_events[0].payload_type, 101);
    assert_eq!(got.telephone_events[0].events.as_deref(), Some("0-15"));
    assert_eq!((got.ptime_ms, got.ptime_ms_max), (Some(20), Some(40)));
    assert_eq!((got.direction(), got.rtcp_port), (Direction::SendOnly, Some(53_020)));
    assert_eq!((got.rtcp_mux, got.profile), (RtcpMux::Mux, Profile::Avp));
    assert_eq!(got.crypto[0].suite, "AES_CM_128_HMAC_SHA1_80");
    assert!(!format!("{got:?}").contains("KEYKEY"), "keys do not show");
}

// Goal: direction comes from the stream, else the session, else both ways, and from the hold of RFC 2543.
#[test]
fn directions() {
    let of = |session: &str, media: &str| {
        let text = format!(
            "v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\n{session}t=0 0\r\nm=audio 9 RTP/AVP 0\r\n{media}"
        );
        RemoteDescription::parse(text.as_bytes()).unwrap().audio(0).unwrap().direction()
    };
    let c = "c=IN IP4 192.0.2.1\r\n";
    let hold = "c=IN IP4 0.0.0.0\r\n";
    assert_eq!(of(c, ""), Direction::SendRecv);
    assert_eq!(of(&format!("{c}a=inactive\r\n"), ""), Direction::Inactive);
    assert_eq!(of(&format!("{c}a=inactive\r\n"), "a=RecvOnly\r\n"), Direction::RecvOnly);
    assert_eq!(of(hold, ""), Direction::SendOnly);
    assert_eq!(of(hold, "a=recvonly\r\n"), Direction::Inactive);
    assert_eq!(of("", "c=IN IP6 ::\r\na=sendrecv\r\n"), Direction::SendOnly);
    assert_eq!(of(hold, c), Direction::SendRecv, "the stream's own address counts");
}

// Goal: lines that nobody needs cost nothing, whatever is wrong with them.
#[test]
fn odd_lines_are_passed_over() {
    let bodies: [&[u8]; 6] = [
        b"v=0\no=Cisco UA 1 2 3 IN IP4 h\ns=\xe9\xff\nc=IN IP4 192.0.2.1\nt=0 0\nm=audio 9 RTP/AVP 0\n",
        b"v=0\r\nb=AS:abc\r\nt=now\r\nc=IN IP4 192.0.2.1\r\nm=audio 9 RTP/AVP 0\r\n",
        b"v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 9 RTP/AVP 0\r\na=x:\xff\xfe\r\na=rtpmap:x\r\na=fmtp\r\n",
        b"v=0\r\nc=IN IP4 192.0.2.1\r\ny=?\r\nm=audio   9 RTP/AVP  0",
        b"v=0\r\ns=a\r\ns=b\r\ni=x\r\ni=y\r\nk=clear\r\nc=IN IP4 192.0.2.1\r\n\r\nm=audio 9 RTP/AVP 0\r\n\r\n",
        b"v=0\r\no=- 99999999999999999999999 1 IN IP4 h\r\nc=IN IP4 192.0.2.1\r\nm=audio 9 RTP/AVP 0\r\n",
    ];
    for body in bodies {
        let got = RemoteDescription::parse(body)
            .unwrap_or_else(|e| unreachable!("{e} {}", body.escape_ascii()));
        assert_eq!(got.audio(0).unwrap().formats[0].codec.name, "PCMU");
    }
    assert_eq!(
        describe("m=audio 9 RTP/AVP 0\r\n").origin_line(),
        Some(&b"- 20518 1 IN IP4 203.0.113.1"[..])
    );
}

// Goal: what is no description says why.
#[test]
fn refused_bodies() {
    let parse = |body: &str| RemoteDescription::parse(body.as_bytes()).unwrap_err();
    assert!(matches!(parse(""), SdpError::Grammar(_)));
    assert!(matches!(parse("v=1\r\nm=audio 9 RTP/AVP 0\r\n"), SdpError::Grammar(_)));
    assert!(matches!(parse("c=IN IP4 h\r\nv=0\r\n"), SdpError::Grammar(_)));
    assert!(matches!(parse("v=0\r\nc=IN\r\nm=audio 9 RTP/AVP 0\r\n"), SdpError::Grammar(_)));
    assert!(matches!(parse("v=0\r\nm=audio 99999 RTP/AVP 0\r\n"), SdpError::Grammar(_)));
    assert!(matches!(parse("v=0\r\nm=audio\r\n"), SdpError::Grammar(_)));
    assert_eq!(parse("v=0\r\nhello\r\n"), SdpError::BadLine { line: 2 });
    assert_eq!(parse("v=0\r\n"), SdpError::NoStream);
}

// Goal: the last allowed line, stream and byte pass, the next do not (pairs at the edge).
#[test]
fn limits() {
    let parse = |body: String| RemoteDescription::parse(body.as_bytes()).map(|_| ());
    let streams = |n: usize| format!("v=0\r\n{}", "m=audio 9 RTP/AVP 0\r\n".repeat(n));
    assert_eq!(parse(streams(SDP_MEDIA_MAX)), Ok(()));
    assert!(matches!(
        parse(streams(SDP_MEDIA_MAX + 1)),
        Err(SdpError::TooMany { what: "streams", .. })
    ));
    let lines = |n: usize| format!("v=0\r\nm=audio 9 RTP/AVP 0\r\n{}", "a=x\r\n".repeat(n - 2));
    assert_eq!(parse(lines(SDP_LINES_MAX)), Ok(()));
    assert!(matches!(
        parse(lines(SDP_LINES_MAX + 1)),
        Err(SdpError::TooMany { what: "lines", .. })
    ));
    let start = "v=0\r\nm=audio 9 RTP/AVP 0\r\na=";
    let long = |n: usize| format!("{start}{}", "x".repeat(n - start.len()));
    assert_eq!(parse(long(SDP_BYTES_MAX)), Ok(()));
    assert!(matches!(parse(long(SDP_BYTES_MAX + 1)), Err(SdpError::TooLong { .. })));
}

// Goal: streams that cannot be used are not views: wrong kind, switched off, no address, multicast, no
// understandable format.
#[test]
fn unusable_streams() {
    for media in [
        "m=video 9 RTP/AVP 31\r\n",
        "m=audio 0 RTP/AVP 0\r\n",
        "m=audio 9 RTP/AVP 0\r\nc=IN IP4 224.2.1.1/127\r\n",
        "m=audio 9 RTP/AVP 0\r\nc=IN IP4 224.2.1.1\r\n",
        "m=audio 9 RTP/AVP 96\r\n",
        "m=audio 9 RTP/AVP 101\r\na=rtpmap:101 telephone-event/8000\r\n",
        "m=audio 9 RTP/AVP 200 x\r\n",
        "m=audio 9 RTP/AVP 96\r\na=rtpmap:96 foo/0\r\n",
    ] {
        assert_eq!(describe(media).audio(0), None, "{media}");
    }
    let named = audio("m=audio 9 RTP/AVP 0\r\nc=IN IP4 media.example\r\n");
    assert_eq!(named.address, MediaAddress::Name("media.example".into()));
    assert_eq!(named.rtp_address(), None);
}

// Goal: the answer takes one codec and DTMF with the offer's numbers, turns the direction around, and
// refuses every other stream in its place (RFC 3264 section 6).
#[test]
fn answers() {
    let offer = describe(
        "m=video 5000 RTP/AVP 31 32\r\nm=audio 4000 RTP/AVP 18 8 0 96\r\na=rtpmap:96 telephone-event/8000\r\n\
         a=sendonly\r\na=ptime:30\r\nm=audio 4002 RTP/AVP 0\r\nm=application 6000 UDP/BFCP *\r\n",
    );
    let agreed = negotiate(&offer, &Capabilities::default(), Direction::SendRecv).unwrap();
    assert_eq!((agreed.send.payload_type, agreed.direction), (8, Direction::RecvOnly));
    let bytes = answer(&agreed, &local(Direction::SendRecv), &mut description()).unwrap();
    assert_eq!(
        text(&bytes),
        "v=0\r\no=- 77 1 IN IP4 198.51.100.9\r\ns=-\r\nc=IN IP4 198.51.100.9\r\nt=0 0\r\n\
         m=video 0 RTP/AVP 31 32\r\n\
         m=audio 30000 RTP/AVP 8 96\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:96 telephone-event/8000\r\n\
         a=fmtp:96 0-15\r\na=recvonly\r\na=ptime:30\r\n\
         m=audio 0 RTP/AVP 0\r\n\
         m=application 0 UDP/BFCP *\r\n"
    );
    let ours = Capabilities { order: CodecOrder::Ours, ..Capabilities::default() };
    let by_our_order = negotiate(&offer, &ours, Direction::SendRecv).unwrap();
    assert_eq!(by_our_order.send.payload_type, 0);
}

// Goal: the direction table of RFC 3264 section 6.1.
#[test]
fn answered_directions() {
    use Direction::*;
    let rows = [
        ("sendrecv", SendRecv, SendRecv),
        ("sendrecv", SendOnly, SendOnly),
        ("sendrecv", Inactive, Inactive),
        ("sendonly", SendRecv, RecvOnly),
        ("sendonly", SendOnly, Inactive),
        ("recvonly", SendRecv, SendOnly),
        ("recvonly", RecvOnly, Inactive),
        ("inactive", SendRecv, Inactive),
    ];
    for (offered, wanted, expect) in rows {
        let offer = describe(&format!("m=audio 9 RTP/AVP 0\r\na={offered}\r\n"));
        let agreed = negotiate(&offer, &Capabilities::default(), wanted).unwrap();
        assert_eq!(agreed.direction, expect, "{offered} {wanted:?}");
    }
}

// Goal: each reason for a 488 is named.
#[test]
fn refused_offers() {
    let refuse = |media: &str, capabilities: &Capabilities| {
        negotiate(&describe(media), capabilities, Direction::SendRecv).unwrap_err()
    };
    let plain = Capabilities::default();
    let srtp = Capabilities {
        srtp_suites: vec!["AES_CM_128_HMAC_SHA1_80".into()],
        plain_rtp: Support::No,
        ..plain.clone()
    };
    assert_eq!(refuse("m=video 9 RTP/AVP 31\r\n", &plain), NegotiationError::NoAudio);
    assert_eq!(refuse("m=audio 9 RTP/AVP 18\r\n", &plain), NegotiationError::NoCodec);
    assert!(matches!(refuse("m=audio 9 RTP/SAVP 0\r\n", &plain), NegotiationError::Profile(_)));
    assert!(matches!(
        refuse("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n", &srtp),
        NegotiationError::Profile(_)
    ));
    assert!(matches!(refuse("m=audio 9 RTP/AVP 0\r\n", &srtp), NegotiationError::Profile(_)));
    let other_suite =
        "m=audio 9 RTP/SAVP 0\r\na=crypto:1 F8_128_HMAC_SHA1_80 inline:K\r\na=crypto:x\r\n";
    assert_eq!(refuse(other_suite, &srtp), NegotiationError::NoCrypto);
}

// Goal: with SRTP the suite that we know is chosen, our key answers it, and without a key of ours nothing
// is written.
#[test]
fn encrypted_answers() {
    let capabilities = Capabilities {
        srtp_suites: vec!["AES_CM_128_HMAC_SHA1_80".into()],
        ..Capabilities::default()
    };
    let offer = describe(
        "m=audio 9 RTP/SAVP 0\r\na=crypto:1 X inline:A\r\na=crypto:7 aes_cm_128_hmac_sha1_80 inline:B|2^20\r\n",
    );
    let agreed = negotiate(&offer, &capabilities, Direction::SendRecv).unwrap();
    let chosen = agreed.remote_crypto.clone().unwrap();
    assert_eq!((chosen.tag, chosen.key_params.as_str()), (7, "inline:B|2^20"));
    let mut local = local(Direction::SendRecv);
    assert_eq!(answer(&agreed, &local, &mut description()), Err(DescribeError::NoKey));
    local.crypto = vec![CryptoLine { tag: 7, suite: chosen.suite, key_params: "inline:C".into() }];
    let mut description = description();
    let bytes = answer(&agreed, &local, &mut description).unwrap();
    let shown = format!("{offer:?} {agreed:?} {local:?} {description:?}");
    assert!(!shown.contains("inline:"), "keys do not show: {shown}");
    assert!(text(&bytes).contains("RTP/SAVP 0\r\n"));
    assert!(text(&bytes).contains("a=crypto:7 aes_cm_128_hmac_sha1_80 inline:C\r\n"));
}

// Goal: an offer of ours is answered by our own negotiation, and both sides agree on the same, also for a
// delayed offer and with codecs that have dynamic numbers.
#[test]
fn both_sides_agree() {
    let opus = SupportedCodec {
        codec: Codec { name: "opus".into(), clock_rate_hz: 48_000, channels: 2 },
        parameters: Some("useinbandfec=1".into()),
    };
    let ours = Capabilities {
        codecs: vec![opus, Codec::new("PCMA", 8_000).into()],
        ..Capabilities::default()
    };
    let (bytes, offered) =
        offer(&ours, None, &local(Direction::SendRecv), &mut description()).unwrap();
    assert!(text(&bytes).contains("m=audio 30000 RTP/AVP 96 8 101 102\r\n"), "{}", text(&bytes));
    assert!(text(&bytes).contains("a=fmtp:96 useinbandfec=1\r\n"));
    let seen = RemoteDescription::parse(&bytes).unwrap();
    for (theirs, codec, events) in
        [(ours.clone(), "opus", 101), (Capabilities::default(), "PCMA", 102)]
    {
        let agreed = negotiate(&seen, &theirs, Direction::RecvOnly).unwrap();
        let reply = answer(&agreed, &local(Direction::RecvOnly), &mut description()).unwrap();
        let reply = RemoteDescription::parse(&reply).unwrap();
        let back = accept_answer(&offered, &reply, &ours).unwrap();
        assert_eq!(
            (back.send.codec.name.as_str(), &back.send, &back.receive),
            (codec, &agreed.receive, &agreed.send)
        );
        assert_eq!(back.send_events.unwrap().payload_type, events);
        assert_eq!(back.receive_events.unwrap().payload_type, events);
        assert_eq!((back.direction, agreed.direction), (Direction::SendOnly, Direction::RecvOnly));
        assert_eq!((back.rtcp_mux, agreed.rtcp_mux), (RtcpMux::Mux, RtcpMux::Mux));
    }
}

// Goal: an answer with other payload types than ours is sent to with its numbers and received with ours.
#[test]
fn asymmetric_payload_types() {
    let opus = Codec { name: "opus".into(), clock_rate_hz: 48_000, channels: 2 };
    let ours = Capabilities { codecs: vec![opus.into()], ..Capabilities::default() };
    let (_, offered) = offer(&ours, None, &local(Direction::SendRecv), &mut description()).unwrap();
    let reply = describe("m=audio 9 RTP/AVP 111\r\na=rtpmap:111 OPUS/48000/2\r\n");
    let agreed = accept_answer(&offered, &reply, &ours).unwrap();
    assert_eq!((agreed.send.payload_type, agreed.receive.payload_type), (111, 96));
    assert_eq!((agreed.send_events, agreed.receive_events), (None, None));
    assert_eq!(agreed.rtcp_mux, RtcpMux::Separate);
}

// Goal: answers that end the call say why.
#[test]
fn refused_answers() {
    let ours = Capabilities::default();
    let (_, offered) = offer(&ours, None, &local(Direction::SendRecv), &mut description()).unwrap();
    let refuse = |media: &str| accept_answer(&offered, &describe(media), &ours).unwrap_err();
    assert_eq!(refuse("m=audio 0 RTP/AVP 0\r\n"), AnswerError::Refused);
    assert_eq!(refuse("m=audio 9 RTP/AVP 18\r\n"), AnswerError::NoCodec);
    assert_eq!(refuse("m=audio 9 RTP/SAVP 0\r\n"), AnswerError::Profile);
}

// Goal: the version grows exactly when the description changes (RFC 3264 section 8).
#[test]
fn versions_follow_changes() {
    let offer_in = describe("m=audio 4000 RTP/AVP 0\r\n");
    let agreed = negotiate(&offer_in, &Capabilities::default(), Direction::SendRecv).unwrap();
    let mut description = description();
    let first = answer(&agreed, &local(Direction::SendRecv), &mut description).unwrap();
    let same = answer(&agreed, &local(Direction::SendRecv), &mut description).unwrap();
    assert_eq!(first, same);
    let (hold, _) = offer(
        &Capabilities::default(),
        Some(&agreed),
        &local(Direction::SendOnly),
        &mut description,
    )
    .unwrap();
    assert!(text(&hold).contains("o=- 77 2 IN IP4 198.51.100.9\r\n"), "{}", text(&hold));
    assert!(text(&hold).contains("a=sendonly\r\n"));
    assert_eq!(description.last(), Some(&hold));
    let moved =
        LocalMedia { address: "198.51.100.10".parse().unwrap(), ..local(Direction::SendRecv) };
    let (relay, _) =
        offer(&Capabilities::default(), Some(&agreed), &moved, &mut description).unwrap();
    assert!(
        text(&relay).contains("o=- 77 3 IN IP4 198.51.100.9\r\n"),
        "the origin's address stays"
    );
    assert!(text(&relay).contains("c=IN IP4 198.51.100.10\r\n"));
}

// Goal: a taker's first description is newer than any of the owner's, and has the same o= otherwise.
#[test]
fn takers_versions_are_higher() {
    let offer_in = describe("m=audio 4000 RTP/AVP 0\r\n");
    let agreed = negotiate(&offer_in, &Capabilities::default(), Direction::SendRecv).unwrap();
    let mut owner = description();
    let reserved_until = owner.versions().reserved_until();
    let mut port = 30_000;
    let mut last = String::new();
    loop {
        port += 2;
        let media = LocalMedia { port, ..local(Direction::SendRecv) };
        match answer(&agreed, &media, &mut owner) {
            Ok(bytes) => last = text(&bytes),
            Err(error) => {
                assert_eq!(error, DescribeError::Versions(VersionsExhausted { reserved_until }));
                break;
            }
        }
    }
    assert!(last.contains(&format!("o=- 77 {SDP_VERSION_BLOCK} IN IP4")));
    let versions = SdpVersionBlock::after(reserved_until);
    let mut taker = LocalDescription::new(owner.origin().clone(), versions);
    let media = local(Direction::SendRecv);
    assert!(answer(&agreed, &media, &mut taker).is_err(), "reserve first");
    taker.reserve(taker.versions().needs_reservation().unwrap());
    let taken = answer(&agreed, &media, &mut taker).unwrap();
    assert!(
        text(&taken).contains(&format!("o=- 77 {} IN IP4 198.51.100.9\r\n", SDP_VERSION_BLOCK + 1))
    );
}

// Goal: a second offer keeps the place of our stream among those that were refused (RFC 3264 section 8).
#[test]
fn streams_keep_their_places() {
    let offer_in =
        describe("m=video 5000 RTP/AVP 31\r\nm=audio 4000 RTP/AVP 0\r\nm=text 6000 RTP/AVP 98\r\n");
    let agreed = negotiate(&offer_in, &Capabilities::default(), Direction::SendRecv).unwrap();
    let (bytes, _) = offer(
        &Capabilities::default(),
        Some(&agreed),
        &local(Direction::SendRecv),
        &mut description(),
    )
    .unwrap();
    let streams = RemoteDescription::parse(&bytes).unwrap().streams();
    let ports: Vec<_> = streams.iter().map(|s| (s.media.as_str(), s.port)).collect();
    assert_eq!(ports, [("video", 0), ("audio", 30_000), ("text", 0)]);
}

// Goal: origins of new sessions differ and stay below 2^62.
#[test]
fn origins() {
    let mut prng = Prng::from_number(1);
    let address = "192.0.2.1".parse().unwrap();
    let (a, b) = (Origin::new(address, &mut prng), Origin::new(address, &mut prng));
    assert_ne!(a.session_id, b.session_id);
    assert!(a.session_id < 1 << 62 && b.session_id < 1 << 62);
}

// Goal: the description is found in a body of several parts, and nowhere else.
#[test]
fn multipart_bodies() {
    let find = |content_type: &str, body: &str| {
        let mut headers = Headers::new();
        headers.push(HeaderName::ContentType, SipText::copy_of(content_type).unwrap());
        let kind = headers.content_type().unwrap().unwrap();
        sdp_part(&kind, &Bytes::from(body.to_owned())).map(|b| text(&b))
    };
    let body = "preamble\r\n--b1\r\nContent-Type: application/pidf+xml\r\n\r\n<x/>\r\n--b1\r\n\
                content-type : application/sdp;x=y\r\nContent-Disposition: session\r\n\r\nv=0\r\nm=a\r\n--b1--\r\nrest";
    assert_eq!(find("multipart/mixed;boundary=\"b1\"", body).as_deref(), Some("v=0\r\nm=a\r\n"));
    assert_eq!(find("application/sdp", "v=0").as_deref(), Some("v=0"));
    assert_eq!(find("multipart/mixed;boundary=b2", body), None);
    assert_eq!(find("multipart/mixed", body), None);
    assert_eq!(find("text/plain", "v=0"), None);
    let cut = "--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n";
    assert_eq!(find("multipart/mixed;boundary=b", cut), None, "no closing line");
}
