//! Other parsers over the same corpus. Where they differ from ours is listed in `differences` with the
//! reason; a new difference, or one that is gone, fails the test.

use super::differences::{EZK, Known, RSIP};
use super::{Case, corpus, field};
use crate::message::{Message, Uri, parse_datagram};
use bytes::Bytes;
use std::collections::BTreeMap;

/// What two parsers are compared in; fields that one has no value for are left out.
type Reading = BTreeMap<&'static str, String>;

/// How another parser differs from ours on a message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Difference {
    /// It refuses what we accept.
    Refuses,
    /// It accepts what we refuse.
    Accepts,
    /// It reads a field differently.
    Field(&'static str),
}

fn ours(message: &Message) -> Reading {
    let mut reading = Reading::new();
    match message {
        Message::Request(r) => {
            reading.insert("start", r.method.to_string());
            reading.insert("uri.host", host_of(&r.uri));
        }
        Message::Response(r) => {
            reading.insert("start", r.status.to_string());
        }
    }
    let (from, to) = match message {
        Message::Request(r) => (&r.from.uri, &r.to.uri),
        Message::Response(r) => (&r.from.uri, &r.to.uri),
    };
    reading.insert("from.host", host_of(from));
    reading.insert("to.host", host_of(to));
    for key in ["vias", "via.port", "via.branch", "from.tag", "to.tag", "call-id", "cseq", "body"] {
        reading.insert(key, field(message, key));
    }
    let host = message.top_via().map(|via| {
        via.host.address().map_or_else(|| field(message, "via.host"), |a| a.to_string())
    });
    reading.insert("via.host", host.unwrap_or_default());
    reading
}

fn host_of(uri: &Uri) -> String {
    match uri.as_sip() {
        None => "-".into(),
        Some(sip) => match sip.host.address() {
            Some(address) => address.to_string(),
            None => sip.host.text().to_str().expect("ASCII").to_owned(),
        },
    }
}

fn text_or_dash(text: Option<impl ToString>) -> String {
    text.map_or("-".into(), |t| t.to_string())
}

/// Compares a whole parser with ours.
fn differences(theirs: impl Fn(&[u8]) -> Option<Reading>) -> BTreeMap<String, Vec<Difference>> {
    let mut found = BTreeMap::new();
    for Case { name, bytes, .. } in corpus() {
        let list = match (parse_datagram(bytes.clone()), theirs(&bytes)) {
            (Err(_), None) => Vec::new(),
            (Ok(_), None) => vec![Difference::Refuses],
            (Err(_), Some(_)) => vec![Difference::Accepts],
            (Ok(message), Some(theirs)) => {
                let ours = ours(&message);
                theirs
                    .iter()
                    .filter(|(key, value)| ours.get(*key) != Some(*value))
                    .map(|(key, _)| Difference::Field(key))
                    .collect()
            }
        };
        if !list.is_empty() {
            found.insert(name, list);
        }
    }
    found
}

fn assert_known(found: &BTreeMap<String, Vec<Difference>>, table: &[Known]) {
    let mut listed = BTreeMap::new();
    for known in table {
        assert!(!known.reason.is_empty(), "{:?} need a reason", known.messages);
        for message in known.messages {
            let before = listed.insert((*message).to_owned(), known.differences.to_vec());
            assert!(before.is_none(), "{message} is listed twice");
        }
    }
    let only = |a: &BTreeMap<String, Vec<Difference>>, b: &BTreeMap<String, Vec<Difference>>| {
        let lines = a.iter().filter(|(name, list)| b.get(*name) != Some(*list));
        lines.map(|(name, list)| format!("{name}: {list:?}")).collect::<Vec<_>>().join("\n")
    };
    assert!(
        *found == listed,
        "found and not listed:\n{}\nlisted and not found:\n{}",
        only(found, &listed),
        only(&listed, found)
    );
}

fn read_ezk(bytes: &[u8]) -> Option<Reading> {
    use ezk_sip_types::header::typed::{CSeq, CallID, ContentLength, FromTo, Via};
    use ezk_sip_types::host::HostPort;
    use ezk_sip_types::msg::{Line, MessageLine, PullParser};
    use ezk_sip_types::parse::Parse;
    use ezk_sip_types::{Headers, Name};

    fn host(host: &HostPort) -> String {
        host.ip().map_or_else(|| host.host.to_string(), |a| a.to_string())
    }
    let bytes = Bytes::copy_from_slice(bytes);
    let mut lines = PullParser::new(&bytes, 0);
    let first = std::str::from_utf8(lines.next()?.ok()?).ok()?;
    let (rest, first) = MessageLine::parse(&bytes)(first).ok()?;
    if !rest.is_empty() && first.is_request() {
        return None;
    }
    let mut headers = Headers::new();
    for line in &mut lines {
        let line = std::str::from_utf8(line.ok()?).ok()?;
        let (_, line) = Line::parse(&bytes, line).ok()?;
        headers.insert(line.name, line.value);
    }
    let head_end = lines.head_end();
    let mut reading = Reading::new();
    match &first {
        MessageLine::Request(line) => {
            reading.insert("start", line.method.to_string());
            reading.insert("uri.host", host(&line.uri.host_port));
        }
        MessageLine::Response(line) => {
            reading.insert("start", line.code.into_u16().to_string());
        }
    }
    let vias: Vec<Via> = headers.get_named().ok()?;
    let top = vias.first()?;
    reading.insert("vias", vias.len().to_string());
    reading.insert("via.host", host(&top.sent_by));
    reading.insert("via.port", text_or_dash(top.sent_by.port));
    reading.insert("via.branch", text_or_dash(top.params.get_val("branch")));
    let from: FromTo = headers.get(Name::FROM).ok()?;
    let to: FromTo = headers.get(Name::TO).ok()?;
    reading.insert("from.host", host(&from.uri.uri.host_port));
    reading.insert("from.tag", text_or_dash(from.tag.as_ref()));
    reading.insert("to.host", host(&to.uri.uri.host_port));
    reading.insert("to.tag", text_or_dash(to.tag.as_ref()));
    reading.insert("call-id", headers.get_named::<CallID>().ok()?.0.to_string());
    let cseq: CSeq = headers.get_named().ok()?;
    reading.insert("cseq", format!("{} {}", cseq.cseq, cseq.method));
    let present = bytes.len() - head_end;
    let body = match headers.try_get_named::<ContentLength>() {
        None => present,
        Some(Ok(ContentLength(len))) if len <= present => len,
        Some(_) => return None,
    };
    reading.insert("body", body.to_string());
    Some(reading)
}

fn read_rsip(bytes: &[u8]) -> Option<Reading> {
    use rsip::headers::{ToTypedHeader, UntypedHeader};
    use rsip::message::{HasHeaders, HeadersExt};

    fn host(uri: &rsip::Uri) -> String {
        uri.host().to_string()
    }
    let message = rsip::SipMessage::try_from(bytes).ok()?;
    let mut reading = Reading::new();
    match &message {
        rsip::SipMessage::Request(request) => {
            reading.insert("start", request.method.to_string());
            reading.insert("uri.host", host(&request.uri));
        }
        rsip::SipMessage::Response(response) => {
            reading.insert("start", response.status_code.code().to_string());
        }
    }
    let vias = message.headers().iter().filter(|h| matches!(h, rsip::Header::Via(_))).count();
    reading.insert("vias", vias.to_string());
    let via = message.via_header().ok()?.typed().ok()?;
    reading.insert("via.host", host(&via.uri));
    reading.insert("via.port", text_or_dash(via.uri.port().map(|p| *p.value())));
    reading.insert("via.branch", text_or_dash(via.branch().map(|b| b.value())));
    let from = message.from_header().ok()?.typed().ok()?;
    let to = message.to_header().ok()?.typed().ok()?;
    reading.insert("from.host", host(&from.uri));
    reading.insert("from.tag", text_or_dash(from.tag().map(|t| t.value())));
    reading.insert("to.host", host(&to.uri));
    reading.insert("to.tag", text_or_dash(to.tag().map(|t| t.value())));
    reading.insert("call-id", message.call_id_header().ok()?.value().to_owned());
    let cseq = message.cseq_header().ok()?.typed().ok()?;
    reading.insert("cseq", format!("{} {}", cseq.seq, cseq.method));
    reading.insert("body", message.body().len().to_string());
    Some(reading)
}

use Difference::{Accepts, Field, Refuses};

// Goal: ezk-sip-types reads the corpus as we do, but for the listed differences.
#[test]
fn against_ezk() {
    assert_known(&differences(read_ezk), EZK);
}

// Goal: rsip reads the corpus as we do, but for the listed differences: why it is not our parser.
#[test]
fn against_rsip() {
    assert_known(&differences(read_rsip), RSIP);
}

// Goal: the comparison notices a parser that reads something else (a planted difference).
#[test]
fn planted_differences_are_found() {
    let wrong = |bytes: &[u8]| {
        let mut reading = ours(&parse_datagram(bytes.to_vec()).ok()?);
        reading.insert("cseq", "0 X".into());
        Some(reading)
    };
    let found = differences(wrong);
    assert!(found.values().all(|list| *list == [Field("cseq")]));
    assert_eq!(found.len(), corpus().iter().filter(|c| c.is_valid()).count());
    let (none, all) = (differences(|_| None), differences(|_| Some(Reading::new())));
    assert!(none.values().all(|list| *list == [Refuses]));
    assert!(all.values().all(|list| *list == [Accepts]));
    assert_eq!(none.len() + all.len(), corpus().len());
}
