//! Tests over the message corpus in `corpus/`: what is read from it, what survives mutation, and how
//! another parser reads it.

mod differences;
mod differential;
mod linear;
mod messages;
mod mutation;

use crate::message::{
    Contacts, DisplayName, HeaderName, Message, NameAddr, ParseError, Rport, parse_datagram,
};
use crate::text::SipText;
use std::collections::BTreeMap;
use std::path::Path;

/// One message of the corpus with what is expected of it.
pub(super) struct Case {
    /// `valid/…` or `invalid/…`.
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    /// Fields in the order of the table.
    pub(super) expected: Vec<(String, String)>,
}

impl Case {
    pub(super) fn is_valid(&self) -> bool {
        self.name.starts_with("valid/")
    }
}

/// Reads the table and every message that it names.
pub(super) fn corpus() -> Vec<Case> {
    let table = String::from_utf8(read_file("expected.txt")).expect("the table is text");
    let mut cases: Vec<Case> = Vec::new();
    for line in table.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            let bytes = read_file(&format!("{name}.sip"));
            cases.push(Case { name: name.to_owned(), bytes, expected: Vec::new() });
        } else if !line.is_empty() && !line.starts_with('#') {
            let (key, value) =
                line.split_once(" = ").or(line.split_once(" =")).expect("key = value");
            let case = cases.last_mut().expect("a section comes first");
            case.expected.push((key.to_owned(), value.to_owned()));
        }
    }
    cases
}

/// Names of all message files, as the table would write them.
pub(super) fn files() -> Vec<String> {
    let mut names = Vec::new();
    for kind in ["valid", "invalid"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(kind);
        for entry in std::fs::read_dir(folder).expect("the corpus is there") {
            let name = entry.expect("a file").file_name().into_string().expect("ASCII");
            names.push(format!("{kind}/{}", name.strip_suffix(".sip").expect("a .sip file")));
        }
    }
    names.sort();
    names
}

#[expect(clippy::disallowed_methods, reason = "the corpus is files; only this test reads them")]
fn read_file(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A field of a message as the table writes it.
pub(super) fn field(message: &Message, key: &str) -> String {
    if let Some((kind, name)) = key.split_once('.')
        && let Some(value) = header_field(message, kind, name)
    {
        return value;
    }
    let headers = message.headers();
    let via = message.top_via().expect("a Via");
    match key {
        "via.transport" => show(Some(&via.transport)),
        "via.host" => show(Some(via.host.text())),
        "via.port" => via.port.map_or("-".into(), |p| p.to_string()),
        "via.branch" => show(via.branch()),
        "via.received" => via.received().map_or("-".into(), |a| a.to_string()),
        "via.rport" => match via.rport() {
            Rport::Absent => "-".into(),
            Rport::Requested => "asked".into(),
            Rport::Filled(port) => port.to_string(),
            Rport::Unreadable => "unreadable".into(),
        },
        "contacts" => match headers.contacts().expect("readable contacts") {
            None => "0".into(),
            Some(Contacts::Star) => "star".into(),
            Some(Contacts::List(list)) => list.len().to_string(),
        },
        "routes" => headers.routes(&HeaderName::Route).expect("readable routes").len().to_string(),
        "record-routes" => uris(&headers.routes(&HeaderName::RecordRoute).expect("readable")),
        "expires" => headers.expires_s().expect("once").map_or("-".into(), |s| s.to_string()),
        "content-type" => {
            let kind = headers.content_type().expect("readable").expect("there");
            format!("{}/{}", show(Some(&kind.kind)), show(Some(&kind.subtype)))
        }
        "retry-after" => {
            headers.retry_after().expect("readable").expect("there").delay_s.to_string()
        }
        "reasons" => {
            let reasons = headers.reasons().expect("readable");
            let one = |r: &crate::message::Reason| {
                format!("{} {}", show(Some(&r.protocol)), r.cause.unwrap_or_default())
            };
            reasons.iter().map(one).collect::<Vec<_>>().join("|")
        }
        _ => common_field(message, key),
    }
}

fn common_field(message: &Message, key: &str) -> String {
    let (vias, from, to, call_id, cseq, body) = match message {
        Message::Request(r) => (&r.vias, &r.from, &r.to, &r.call_id, &r.cseq, &r.body),
        Message::Response(r) => (&r.vias, &r.from, &r.to, &r.call_id, &r.cseq, &r.body),
    };
    match (key, message) {
        ("vias", _) => vias.len().to_string(),
        ("from.uri", _) => from.uri.expose(),
        ("from.tag", _) => show(from.tag()),
        ("from.name", _) => name_of(from.display.as_ref()),
        ("to.uri", _) => to.uri.expose(),
        ("to.tag", _) => show(to.tag()),
        ("call-id", _) => show(Some(call_id.text())),
        ("cseq", _) => format!("{} {}", cseq.number, cseq.method),
        ("body", _) => body.len().to_string(),
        ("method", Message::Request(r)) => r.method.to_string(),
        ("uri", Message::Request(r)) => r.uri.expose(),
        ("max-forwards", Message::Request(r)) => {
            r.max_forwards.map_or("-".into(), |hops| hops.to_string())
        }
        ("status", Message::Response(r)) => r.status.to_string(),
        ("reason", Message::Response(r)) => show(Some(&r.reason)),
        _ => panic!("the table has a field {key} that this test does not know"),
    }
}

fn header_field(message: &Message, kind: &str, name: &str) -> Option<String> {
    let headers = message.headers();
    let name = HeaderName::recognise(SipText::copy_of(name).ok()?);
    match kind {
        "header" => Some(show(headers.first(&name))),
        "list" => {
            let tokens = headers.tokens(&name).expect("readable tokens");
            Some(tokens.iter().map(|t| show(Some(t))).collect::<Vec<_>>().join("|"))
        }
        "addresses" => Some(uris(&headers.addresses(&name).expect("readable addresses"))),
        _ => None,
    }
}

fn uris(list: &[NameAddr]) -> String {
    list.iter().map(|a| a.uri.expose()).collect::<Vec<_>>().join("|")
}

fn name_of(name: Option<&DisplayName>) -> String {
    name.map_or("-".into(), |n| String::from_utf8(n.expose()).expect("UTF-8 in this case"))
}

fn show(text: Option<&SipText>) -> String {
    text.map_or("-".into(), |t| t.to_str().expect("UTF-8 in this case").to_owned())
}

/// The name of a fault as the table writes it.
pub(super) fn fault_name(error: &ParseError) -> String {
    use crate::message::HeaderError;
    match error {
        ParseError::Header(HeaderError::Missing { name }) => format!("Missing {name}"),
        ParseError::Header(HeaderError::Repeated { name }) => format!("Repeated {name}"),
        ParseError::Header(HeaderError::Syntax { name, .. }) => format!("Syntax {name}"),
        other => {
            let shown = format!("{other:?}");
            shown.split([' ', '(']).next().unwrap_or_default().to_owned()
        }
    }
}

/// What is wrong with a case, one line per field; empty when all is as expected.
pub(super) fn check(case: &Case) -> Vec<String> {
    let expected: BTreeMap<_, _> = case.expected.iter().cloned().collect();
    match (parse_datagram(case.bytes.clone()), case.is_valid()) {
        (Ok(message), true) => case
            .expected
            .iter()
            .filter_map(|(key, value)| {
                let got = field(&message, key);
                (got != *value).then(|| format!("{}: {key} is {got:?}, not {value:?}", case.name))
            })
            .collect(),
        (Err(failure), false) => {
            let answer = match &failure.salvage {
                Some(_) => failure.error.status().to_string(),
                None => "drop".to_owned(),
            };
            let got = BTreeMap::from([
                ("answer".to_owned(), answer),
                ("error".to_owned(), fault_name(&failure.error)),
            ]);
            if got == expected {
                Vec::new()
            } else {
                vec![format!("{}: {got:?}, not {expected:?}", case.name)]
            }
        }
        (Ok(_), false) => vec![format!("{}: accepted", case.name)],
        (Err(failure), true) => vec![format!("{}: refused: {}", case.name, failure.error)],
    }
}
