//! Answers to requests that are no SIP messages (RFC 3261 section 21.4.1): without a transaction, from
//! the headers that could be read.

use super::flow::{Flow, ReplyRoute, SymmetricResponses, mark_source};
use crate::message::{NameAddr, ParseError, Salvage, Via};
use crate::text::SipText;
use bytes::Bytes;

/// The answer and its way.
pub(super) fn answer(
    salvage: &Salvage,
    error: &ParseError,
    source: &Flow,
    symmetric: SymmetricResponses,
    to_tag: &SipText,
) -> (ReplyRoute, Bytes) {
    let mut top_via = salvage.top_via.clone();
    let route = mark_source(&mut top_via, source, symmetric);
    let status = error.status();
    let mut out = format!("SIP/2.0 {status} {}\r\n", status.reason()).into_bytes();
    write_vias(&mut out, &top_via, &salvage.vias);
    write_line(&mut out, "From", &salvage.from);
    write_line(&mut out, "To", &with_tag(&salvage.to, to_tag));
    write_line(&mut out, "Call-ID", &salvage.call_id);
    write_line(&mut out, "CSeq", &salvage.cseq);
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    (route, out.into())
}

/// The first Via line is replaced by its own first value; what stood behind that on the same line and
/// cannot be read is lost, and is not for us to follow.
fn write_vias(out: &mut Vec<u8>, top: &Via, lines: &[SipText]) {
    let mut values = Vec::new();
    if let Some(first) = lines.first() {
        // Values behind the first are echoed as far as they can be read.
        if Via::parse_list(first, &mut values).is_err() {
            values.truncate(1);
        }
    }
    for via in std::iter::once(top).chain(values.get(1..).unwrap_or_default()) {
        out.extend_from_slice(b"Via: ");
        via.write_to(out);
        out.extend_from_slice(b"\r\n");
    }
    for line in lines.get(1..).unwrap_or_default() {
        write_line(out, "Via", line);
    }
}

fn write_line(out: &mut Vec<u8>, name: &str, value: &SipText) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Adds a tag where the To can be read and has none; a broken To is echoed as it is.
fn with_tag(to: &SipText, tag: &SipText) -> SipText {
    match NameAddr::parse(to) {
        Ok(address) if address.tag().is_none() => {
            let mut text = to.as_bytes().to_vec();
            text.extend_from_slice(b";tag=");
            text.extend_from_slice(tag.as_bytes());
            SipText::trusted(text.into())
        }
        _ => to.clone(),
    }
}
