//! A seeded mutation test: the corpus, changed at random, through every reader of this crate. Nothing may
//! panic, what is accepted must be written and read back the same, and work must stay linear.

use super::{Case, corpus};
use crate::auth::{Challenge, Credentials};
use crate::dialog::session_timer::{SessionTimerPolicy, judge_request, judge_response};
use crate::dialog::{Dialog, DialogId, Security, next_max_forwards, unsupported_options};
use crate::identity::{Trust, called, caller};
use crate::limits::{HEADER_LINE_BYTES_MAX, MESSAGE_BYTES_MAX};
use crate::message::{
    HeaderName, Headers, KeepAliveRole, Message, Method, RegisterAction, Request, StreamFramer,
    StreamItem, Uri, parse_datagram,
};
use crate::meter::counter;
use crate::prng::Prng;
use crate::sdp::{Capabilities, Direction, RemoteDescription, negotiate, sdp_part};
use crate::text::SipText;
use crate::transaction::{Flow, LayerConfig, Output, TransactionLayer};
use bytes::Bytes;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Mutants per run.
const MUTANTS: u64 = 200_000;

/// Seed of the run: fixed, so that every run is the same; another one can be compiled in.
fn seed() -> u64 {
    option_env!("TANDEM_SIP_SEED").and_then(|s| s.parse().ok()).unwrap_or(20_261_122)
}

/// Bytes that mean something to a parser.
const TOKENS: [&[u8]; 40] = [
    b"\r\n",
    b"\r",
    b"\n",
    b"\r\n\r\n",
    b"\r\n ",
    b"\"",
    b"\\",
    b"\\\"",
    b"<",
    b">",
    b"<>",
    b",",
    b";",
    b"=",
    b":",
    b"@",
    b"%",
    b"%00",
    b"%ff",
    b"%4",
    b"?",
    b"[",
    b"]",
    b"[::1]",
    b"*",
    b"/",
    b" ",
    b"\t",
    b"(",
    b")",
    b"\0",
    b"\xff",
    b"\xc3\xa9",
    b"4294967296",
    b"99999999999999999999",
    b"-1",
    b"sip:",
    b"tel:",
    b"SIP/2.0",
    b";tag=x",
];

// Goal: 200,000 mutants through datagram parser, framer, writer, typed headers, identity, dialogs, digest
// headers, SDP and the transaction layer: no panic, same message after a round trip, linear work. A failure
// prints the seed and number that replay it.
#[test]
fn mutants() {
    let bases = corpus();
    let mut layer = TransactionLayer::new(LayerConfig::default(), Prng::from_number(1));
    let (mut accepted, mut refused) = (0_u64, 0_u64);
    for number in 0..MUTANTS {
        let mutant = mutant(&bases, seed(), number);
        counter::take();
        let outcome = catch_unwind(AssertUnwindSafe(|| exercise(&mutant, number)));
        let steps = counter::take();
        let Ok(is_message) = outcome else { panic!("{}", replay(number, &mutant)) };
        assert!(steps <= step_limit(mutant.len()), "{steps} steps: {}", replay(number, &mutant));
        let fed = catch_unwind(AssertUnwindSafe(|| feed(&mut layer, &mutant)));
        assert!(fed.is_ok(), "layer: {}", replay(number, &mutant));
        if number % 5_000 == 0 {
            layer = TransactionLayer::new(LayerConfig::default(), Prng::from_number(number));
        }
        *(if is_message { &mut accepted } else { &mut refused }) += 1;
    }
    // A mutator that spoils everything, or nothing, would test little.
    assert!(
        accepted > MUTANTS / 5 && refused > MUTANTS / 5,
        "{accepted} accepted, {refused} refused"
    );
}

/// Several readers look at each byte a bounded number of times: up to 60 steps for each byte were seen.
fn step_limit(len: usize) -> u64 {
    80 * len as u64 + 2_000
}

fn replay(number: u64, mutant: &[u8]) -> String {
    format!(
        "mutant {number} of seed {} (compile with TANDEM_SIP_SEED={} to repeat the run): {}",
        seed(),
        seed(),
        mutant.escape_ascii()
    )
}

/// The mutant with a number: one to six changes of one corpus message.
fn mutant(bases: &[Case], seed: u64, number: u64) -> Vec<u8> {
    let mut random =
        Prng::from_number(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number));
    let pick = |random: &mut Prng| random.below(bases.len() as u32) as usize;
    // Mostly messages that are accepted before the change: the way behind the parser is longer.
    let mut first = pick(&mut random);
    while !bases[first].is_valid() && random.below(10) != 0 {
        first = pick(&mut random);
    }
    let mut bytes = bases[first].bytes.clone();
    let more = if random.below(3) == 0 { random.below(6) } else { 0 };
    for _ in 0..=more {
        let other = &bases[pick(&mut random)].bytes;
        change(&mut bytes, other, &mut random);
    }
    bytes.truncate(MESSAGE_BYTES_MAX + 10);
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], random: &mut Prng) {
    let at = random.below(bytes.len() as u32 + 1) as usize;
    let len = (random.below(30) as usize).min(bytes.len() - at);
    match random.below(9) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        1 => bytes.insert(at, random.below(256) as u8),
        2 | 3 => {
            let token = TOKENS[random.below(TOKENS.len() as u32) as usize];
            bytes.splice(at..at, token.iter().copied());
        }
        4 => {
            let token = TOKENS[random.below(TOKENS.len() as u32) as usize];
            bytes.splice(at..at + len, token.iter().copied());
        }
        5 => {
            bytes.drain(at..at + len);
        }
        6 => {
            let copy = bytes[at..at + len].repeat(1 + random.below(40) as usize);
            bytes.splice(at..at, copy);
        }
        7 => {
            let from = random.below(other.len() as u32 + 1) as usize;
            let piece = &other[from..(from + 60).min(other.len())];
            bytes.splice(at..at, piece.iter().copied());
        }
        _ => swap_lines(bytes, random),
    }
}

fn swap_lines(bytes: &mut Vec<u8>, random: &mut Prng) {
    let mut lines: Vec<Vec<u8>> =
        bytes.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    if lines.len() > 2 {
        let (a, b) =
            (random.below(lines.len() as u32) as usize, random.below(lines.len() as u32) as usize);
        lines.swap(a, b);
        *bytes = lines.concat();
    }
}

/// Runs bytes through every reader; whether they were a message.
pub(super) fn exercise(bytes: &[u8], number: u64) -> bool {
    frame(bytes, number);
    drop(RemoteDescription::parse(bytes));
    for line in bytes.split(|b| *b == b'\n').filter(|line| line.len() < HEADER_LINE_BYTES_MAX) {
        read_line(line);
    }
    let Ok(message) = parse_datagram(bytes.to_vec()) else { return false };
    let written = message.to_bytes();
    let again = parse_datagram(written.clone()).expect("what we write can be read");
    assert_eq!(again, message, "the same message after a round trip");
    assert_eq!(again.to_bytes(), written, "the same bytes after a round trip");
    assert!(!format!("{message:?}").is_empty());
    read_headers(message.headers());
    read_body(message.headers(), &again);
    match &message {
        Message::Request(request) => read_request(request),
        Message::Response(response) => {
            drop(judge_response(response));
            drop(DialogId::of_response(response));
        }
    }
    true
}

fn frame(bytes: &[u8], number: u64) {
    let role = if number.is_multiple_of(2) {
        KeepAliveRole::AnswersPings
    } else {
        KeepAliveRole::SendsPings
    };
    let mut framer = StreamFramer::new(role);
    for chunk in bytes.chunks(1 + (number % 301) as usize) {
        framer.push(chunk);
        while let Ok(Some(item)) = framer.next_item() {
            if let StreamItem::Message(message) = item {
                assert!(!message.to_bytes().is_empty());
            }
        }
    }
    assert!(framer.pending_bytes() <= bytes.len());
}

/// Takes a line for a URI and for the values of headers with their own grammar.
fn read_line(line: &[u8]) {
    let value = line.split(|b| *b == b':').next_back().unwrap_or_default();
    let Ok(text) = SipText::new(Bytes::copy_from_slice(value.trim_ascii())) else { return };
    drop(Challenge::parse(&text));
    if let Ok(Some(credentials)) = Credentials::parse(&text) {
        assert!(Credentials::parse(&credentials.to_text()).is_ok_and(|again| again.is_some()));
    }
    if let Ok(uri) = Uri::from_text(&text) {
        assert!(uri.is_equivalent(&uri), "a URI equals itself: {}", uri.expose());
        assert_eq!(Uri::parse(&uri.expose()).as_ref(), Ok(&uri));
    }
}

fn read_headers(headers: &Headers) {
    for name in HeaderName::KNOWN {
        drop(headers.tokens(name));
        drop(headers.addresses(name));
    }
    drop(headers.contacts());
    drop(headers.dialog_contact());
    drop(headers.routes(&HeaderName::Route));
    drop(headers.expires_s());
    drop(headers.min_expires_s());
    drop(headers.retry_after());
    drop(headers.session_expires());
    drop(headers.min_se_s());
    drop(headers.replaces());
    drop(headers.refer_to());
    drop(headers.rack());
    drop(headers.rseq());
    if let Ok(reasons) = headers.reasons() {
        for reason in reasons {
            assert!(!reason.to_text().is_empty());
        }
    }
}

fn read_body(headers: &Headers, message: &Message) {
    let body = match message {
        Message::Request(request) => &request.body,
        Message::Response(response) => &response.body,
    };
    let part = match headers.content_type() {
        Ok(Some(kind)) => sdp_part(&kind, body),
        _ => None,
    };
    for body in std::iter::once(body).chain(part.as_ref()) {
        if let Ok(description) = RemoteDescription::parse(body) {
            let capabilities = Capabilities::default();
            drop(negotiate(&description, &capabilities, Direction::SendRecv));
        }
    }
}

fn read_request(request: &Request) {
    assert!(!format!("{:?}", caller(request, Trust::Trusted)).is_empty());
    assert!(!format!("{:?}", called(request)).is_empty());
    drop(unsupported_options(request, &["timer"]));
    drop(judge_request(request, &SessionTimerPolicy::default()));
    assert_eq!(next_max_forwards(request), next_max_forwards(&request.skeleton()));
    if request.method == Method::Register {
        drop(RegisterAction::from_request(request));
    }
    if let Ok(dialog) = Dialog::uas(request, &SipText::from_static("tag"), Security::Plain) {
        let record = dialog.to_record();
        let adopted = Dialog::adopt(&record).expect("what we record can be adopted");
        assert_eq!(adopted.to_record(), record);
        assert_eq!(adopted.id(), dialog.id());
    }
}

/// Lets the transaction layer take the bytes as they come from the network.
fn feed(layer: &mut TransactionLayer, bytes: &[u8]) {
    let flow = Flow::udp(
        "192.0.2.1:5060".parse().expect("an address"),
        "192.0.2.2:5060".parse().expect("an address"),
    );
    let now = crate::test_clock::start();
    match parse_datagram(bytes.to_vec()) {
        Ok(message) => layer.handle_message(now, &flow, message),
        Err(failure) => layer.handle_malformed(&flow, &failure),
    }
    while let Some(output) = layer.poll_output() {
        if let Output::Transmit(transmit) = output {
            assert!(transmit.bytes.starts_with(b"SIP/2.0 "), "only responses leave");
            let head = transmit.bytes.windows(4).position(|w| w == b"\r\n\r\n");
            assert_eq!(head, Some(transmit.bytes.len() - 4), "one head, nothing smuggled");
        }
    }
}
