//! Writes the part of a message behind its first line.

use super::{CSeq, CallId, Headers, NameAddr, Via};

/// The fields that every message has.
pub(super) struct MandatoryFields<'a> {
    pub(super) vias: &'a [Via],
    pub(super) max_forwards: Option<u8>,
    pub(super) from: &'a NameAddr,
    pub(super) to: &'a NameAddr,
    pub(super) call_id: &'a CallId,
    pub(super) cseq: &'a CSeq,
}

/// One value per Via line, mandatory fields first, other headers verbatim and in order.
pub(super) fn write_message(
    out: &mut Vec<u8>,
    fields: &MandatoryFields<'_>,
    headers: &Headers,
    body: &[u8],
) {
    for via in fields.vias {
        out.extend_from_slice(b"Via: ");
        via.write_to(out);
        out.extend_from_slice(b"\r\n");
    }
    if let Some(hops) = fields.max_forwards {
        out.extend_from_slice(format!("Max-Forwards: {hops}\r\n").as_bytes());
    }
    out.extend_from_slice(b"From: ");
    fields.from.write_to(out);
    out.extend_from_slice(b"\r\nTo: ");
    fields.to.write_to(out);
    out.extend_from_slice(b"\r\nCall-ID: ");
    out.extend_from_slice(fields.call_id.text().as_bytes());
    out.extend_from_slice(b"\r\nCSeq: ");
    fields.cseq.write_to(out);
    out.extend_from_slice(b"\r\n");
    for header in headers.iter() {
        out.extend_from_slice(header.name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(header.value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    out.extend_from_slice(body);
}
