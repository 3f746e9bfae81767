//! Work grows with the length of the input, counted in steps (see `meter`), never in time.

use super::mutation::exercise;
use crate::meter::counter;

/// Inputs that would be slow for a parser that goes back over what it has read.
const PATTERNS: [(&str, &str, &str); 16] = [
    ("commas in a Via", "Via: SIP/2.0/UDP a;branch=z9hG4bK1", ",,"),
    ("parameters", "Supported: a", ";p"),
    ("tokens in a list", "Supported: a", ",b"),
    ("bare URIs in a list", "P-Asserted-Identity: sip:a@h", ",sip:a@h"),
    ("named URIs in a list", "Diversion: <sip:a@h>", ",\"n\" <sip:a@h>"),
    ("open brackets", "Diversion: ", "<"),
    ("open quotes", "Subject: ", "\""),
    ("quoted list", "Reason: SIP;text=\"", "\\\""),
    ("reasons", "Reason: SIP", ",Q.850;cause=1"),
    ("escapes", "Refer-To: <sip:", "%41"),
    ("at signs", "Refer-To: <sip:", "a@"),
    ("colons", "Refer-To: <sip:", "a:"),
    ("folds", "Subject: a", "\r\n b"),
    ("blanks", "Subject: a", "  \t"),
    ("nested comments", "Retry-After: 1 ", "("),
    ("digest parameters", "Authorization: Digest a=1", ",b=\"2\""),
];

fn message(header: &str, unit: &str, len: usize) -> Vec<u8> {
    let repeated = unit.repeat(len / unit.len());
    format!(
        "INVITE sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n\
         To: <sip:b@h>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n{header}{repeated}\r\n\r\n"
    )
    .into_bytes()
}

fn steps(bytes: &[u8]) -> u64 {
    counter::take();
    exercise(bytes, 1);
    counter::take()
}

/// Whether work that went from `small` to `large` steps for twice the input is linear: a little over
/// twice, and a constant part.
fn is_linear(small: u64, large: u64) -> bool {
    large * 10 <= small * 23 + 20_000
}

// Goal: the judgement passes linear work and catches quadratic work, at the sizes that are used here.
#[test]
fn quadratic_work_would_be_caught() {
    assert!(is_linear(3_000, 6_000) && is_linear(200_000, 440_000));
    assert!(!is_linear(3_000, 12_000) && !is_linear(200_000, 480_000));
}

// Goal: for each bad pattern, twice the input takes at most about twice the steps.
#[test]
fn doubling_the_input_doubles_the_work() {
    for (name, header, unit) in PATTERNS {
        let (small, large) = (message(header, unit, 3_000), message(header, unit, 6_000));
        let (a, b) = (steps(&small), steps(&large));
        assert!(a > 3_000 && is_linear(a, b), "{name}: {a} steps, then {b}");
    }
}

// Goal: the same for messages of many headers and for the largest datagram.
#[test]
fn many_headers_take_linear_work() {
    let many = |n: usize| {
        let lines: String = (0..n).map(|i| format!("X-{i}: <sip:{i}@h>;p={i}\r\n")).collect();
        message(&format!("Subject: a\r\n{lines}Subject: b"), "c", 1)
    };
    let (a, b) = (steps(&many(100)), steps(&many(200)));
    assert!(a > 3_000 && is_linear(a, b), "{a} steps, then {b}");
    let noise = vec![b'<'; crate::limits::MESSAGE_BYTES_MAX];
    let taken = steps(&noise);
    assert!(taken <= 40 * noise.len() as u64, "{taken}");
}

// Goal: the same for session descriptions with many attributes and formats.
#[test]
fn descriptions_take_linear_work() {
    let body = |n: usize| {
        let formats: String = (0..n.min(120)).map(|i| format!(" {i}")).collect();
        let maps: String = (0..n)
            .map(|i| format!("a=rtpmap:{} X/8000\r\na=crypto:{i} S k\r\n", i % 128))
            .collect();
        format!("v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 9 RTP/AVP{formats}\r\n{maps}").into_bytes()
    };
    let (a, b) = (steps(&body(100)), steps(&body(200)));
    assert!(a > 3_000 && is_linear(a, b), "{a} steps, then {b}");
}
