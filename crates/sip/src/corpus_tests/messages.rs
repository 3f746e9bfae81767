//! The corpus read as it is.

use super::{Case, check, corpus, files};
use crate::message::{
    HeaderName, KeepAliveRole, Message, StreamFramer, StreamItem, parse_datagram,
};

// Goal: every valid message gives every field of the table, every invalid one its fault and answer.
#[test]
fn all_expected_fields() {
    let wrong: Vec<String> = corpus().iter().flat_map(check).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// Goal: the table and the folder name the same messages, 100 or more, of both kinds.
#[test]
fn table_and_folder_agree() {
    let mut named: Vec<String> = corpus().into_iter().map(|case| case.name).collect();
    named.sort();
    assert_eq!(named, files());
    let valid = named.iter().filter(|name| name.starts_with("valid/")).count();
    assert!(valid >= 60 && named.len() - valid >= 40, "{valid} of {}", named.len());
}

// Goal: the check above can fail: a wrong expectation of either kind is reported.
#[test]
fn planted_errors_are_found() {
    for mut case in corpus() {
        let Some((_, value)) = case.expected.first_mut() else { unreachable!("{}", case.name) };
        value.push('x');
        assert_eq!(check(&case).len(), 1, "{}", case.name);
        let swapped = if case.is_valid() { "invalid/x" } else { "valid/x" };
        let case = Case { name: swapped.into(), ..case };
        assert!(!check(&case).is_empty());
    }
}

// Goal: what we write is read back as the same message, and written again as the same bytes.
#[test]
fn round_trips() {
    for case in corpus().into_iter().filter(Case::is_valid) {
        let message = parse_datagram(case.bytes).unwrap();
        let bytes = message.to_bytes();
        let again = parse_datagram(bytes.clone()).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        assert_eq!(again, message, "{}", case.name);
        assert_eq!(again.to_bytes(), bytes, "{}", case.name);
    }
}

// Goal: on a stream the same messages come out, whatever the pieces, when their length is right.
#[test]
fn streams_give_the_same_messages() {
    let mut seen = 0;
    for case in corpus().into_iter().filter(Case::is_valid) {
        let message = parse_datagram(case.bytes.clone()).unwrap();
        for piece in [1, 7, 64, case.bytes.len()] {
            let mut framer = StreamFramer::new(KeepAliveRole::AnswersPings);
            let mut items = Vec::new();
            for chunk in case.bytes.chunks(piece) {
                framer.push(chunk);
                while let Ok(Some(item)) = framer.next_item() {
                    items.push(item);
                }
            }
            let first = items.into_iter().find(|item| !matches!(item, StreamItem::Ping));
            match first {
                Some(StreamItem::Message(framed)) => {
                    assert_eq!(framed, message, "{} in pieces of {piece}", case.name);
                    seen += 1;
                }
                _ => assert_eq!(case.name, "valid/no-content-length"),
            }
        }
    }
    assert!(seen > 400, "{seen}");
}

// Goal: headers that nobody knows stay verbatim, in their order and number.
#[test]
fn unknown_headers_are_verbatim() {
    let case = corpus().into_iter().find(|c| c.name == "valid/unknown-headers").unwrap();
    let message = parse_datagram(case.bytes).unwrap();
    let others: Vec<String> = message
        .headers()
        .iter()
        .filter(|h| matches!(h.name, HeaderName::Other(_)))
        .map(|h| format!("{}={}", h.name, h.value.to_str().unwrap()))
        .collect();
    assert_eq!(others, ["X-Crm-Id=4711", "P-Odd-Header=no", "x-crm-id=0815"]);
}

// Goal: a binary body passes through byte by byte.
#[test]
fn binary_bodies_are_verbatim() {
    let case = corpus().into_iter().find(|c| c.name == "valid/binary-body").unwrap();
    let Message::Request(request) = parse_datagram(case.bytes).unwrap() else {
        unreachable!("a request")
    };
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(request.body, all);
    assert!(request.to_bytes().ends_with(&all));
}

// Goal: debug output of no corpus message shows a number or a name of a caller.
#[test]
fn debug_output_is_private() {
    let case = corpus().into_iter().find(|c| c.name == "valid/carrier-identity-headers").unwrap();
    let shown = format!("{:?}", parse_datagram(case.bytes).unwrap());
    assert!(!shown.contains("2079460001") && !shown.contains("Caller"), "{shown}");
}
