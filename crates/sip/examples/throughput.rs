//! How many messages a second this crate reads and writes on one thread. Figures to look at, never
//! asserted: `cargo run --release -p tandem-sip --example throughput`.
#![expect(clippy::disallowed_methods, reason = "a benchmark looks at the clock")]
#![expect(clippy::disallowed_macros, reason = "and prints what it saw")]

use std::time::Instant;
use tandem_sip::message::{Message, parse_datagram};
use tandem_sip::prng::Prng;
use tandem_sip::sdp::{Capabilities, Direction, RemoteDescription, negotiate};
use tandem_sip::transaction::{Flow, LayerConfig, TransactionLayer};

const ROUNDS: u32 = 5;
const MESSAGES: u32 = 40_000;

fn main() {
    let invite = invite();
    let Ok(parsed) = parse_datagram(invite.clone()) else { unreachable!("the message is valid") };
    let body = match &parsed {
        Message::Request(request) => request.body.clone(),
        Message::Response(_) => unreachable!("an INVITE"),
    };
    println!("INVITE of {} bytes, best of {ROUNDS} x {MESSAGES}", invite.len());
    report("read", || parse_datagram(invite.clone()).is_ok());
    report("read with contacts, routes, supported", || {
        parse_datagram(invite.clone()).is_ok_and(|message| {
            let headers = message.headers();
            headers.contacts().is_ok()
                && headers.routes(&tandem_sip::message::HeaderName::RecordRoute).is_ok()
                && headers.tokens(&tandem_sip::message::HeaderName::Supported).is_ok()
        })
    });
    report("write", || !parsed.to_bytes().is_empty());
    report("read and negotiate SDP", || {
        RemoteDescription::parse(&body).is_ok_and(|offer| {
            negotiate(&offer, &Capabilities::default(), Direction::SendRecv).is_ok()
        })
    });
    report_layer(&invite);
}

fn report(what: &str, mut one: impl FnMut() -> bool) {
    let best = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            let good = (0..MESSAGES).filter(|_| one()).count();
            assert_eq!(good, MESSAGES as usize, "every round does its work");
            start.elapsed()
        })
        .min()
        .unwrap_or_default();
    println!("{what}: {:.0} k/s", f64::from(MESSAGES) / best.as_secs_f64() / 1_000.0);
}

/// Requests that each open a server transaction with its timers.
fn report_layer(invite: &[u8]) {
    let mut layer = TransactionLayer::new(LayerConfig::default(), Prng::from_number(1));
    let (Ok(local), Ok(remote)) = ("192.0.2.1:5060".parse(), "192.0.2.2:5060".parse()) else {
        unreachable!("addresses")
    };
    let flow = Flow::udp(local, remote);
    let text = String::from_utf8_lossy(invite).into_owned();
    let messages: Vec<Vec<u8>> = (0..MESSAGES)
        .map(|i| {
            text.replace("z9hG4bK-1", &format!("z9hG4bK-{i}")).replace("tag=1", &format!("tag={i}"))
        })
        .map(String::into_bytes)
        .collect();
    let start = Instant::now();
    for bytes in messages {
        if let Ok(message) = parse_datagram(bytes) {
            layer.handle_message(start, &flow, message);
        }
        while layer.poll_output().is_some() {}
    }
    let rate = f64::from(MESSAGES) / start.elapsed().as_secs_f64() / 1_000.0;
    println!(
        "read and open a server transaction: {rate:.0} k/s, {} open",
        layer.server_transactions()
    );
}

fn invite() -> Vec<u8> {
    let body = "v=0\r\no=- 3747 3747 IN IP4 192.0.2.10\r\ns=call\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n\
                m=audio 4000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
                a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n";
    format!(
        "INVITE sip:+442079460100@center.example SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-1;rport\r\nMax-Forwards: 69\r\n\
         From: \"Caller\" <sip:+442079460001@carrier.example>;tag=1\r\n\
         To: <sip:+442079460100@center.example>\r\nCall-ID: 843817637684230@192.0.2.10\r\n\
         CSeq: 101 INVITE\r\nContact: <sip:+442079460001@192.0.2.10:5060;transport=udp>\r\n\
         Record-Route: <sip:proxy.carrier.example;lr>\r\n\
         Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE\r\nSupported: timer, 100rel\r\n\
         Session-Expires: 1800\r\nP-Asserted-Identity: <sip:+442079460001@carrier.example>\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
