//! Finds the session description in a body of several parts (RFC 2046 section 5.1, RFC 5621): carriers
//! add location or ISUP data beside it.

use crate::limits::LIST_VALUES_MAX;
use crate::message::MediaType;
use crate::meter::tick;
use crate::scan::unquote;
use crate::text::SipText;
use bytes::Bytes;

/// The session description of a body: the body itself for `application/sdp`, its first such part for
/// `multipart/*`, `None` for any other type or when no part is one. Nested multiparts are not searched.
pub fn sdp_part(content_type: &MediaType, body: &Bytes) -> Option<Bytes> {
    if content_type.is_sdp() {
        return Some(body.clone());
    }
    if !content_type.kind.eq_ignore_case("multipart") {
        return None;
    }
    let boundary = unquote(content_type.params.value("boundary")?.as_bytes());
    parts(body, &boundary).into_iter().take(LIST_VALUES_MAX).find_map(|part| sdp_of(&part))
}

/// The parts between the boundary lines; a last part without its closing line is cut off.
fn parts(body: &Bytes, boundary: &[u8]) -> Vec<Bytes> {
    let mut parts = Vec::new();
    if boundary.is_empty() || boundary.len() > BOUNDARY_BYTES_MAX {
        return parts;
    }
    let (mut part_start, mut at) = (None, 0);
    for line in body.split_inclusive(|b| *b == b'\n') {
        tick(line.len());
        let end = at + line.len();
        if let Some(mark) = boundary_mark(line, boundary) {
            if let Some(start) = part_start {
                parts.push(body.slice(start..at));
            }
            part_start = (mark == Mark::Next).then_some(end);
        }
        at = end;
    }
    parts
}

/// RFC 2046 section 5.1.1.
const BOUNDARY_BYTES_MAX: usize = 70;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Next,
    Last,
}

fn boundary_mark(line: &[u8], boundary: &[u8]) -> Option<Mark> {
    let rest = line.trim_ascii_end().strip_prefix(b"--")?.strip_prefix(boundary)?;
    match rest {
        b"" => Some(Mark::Next),
        b"--" => Some(Mark::Last),
        _ => None,
    }
}

/// The content of a part of type `application/sdp`, without the line break that belongs to the boundary.
fn sdp_of(part: &Bytes) -> Option<Bytes> {
    let mut at = 0;
    let mut is_sdp = false;
    for line in part.split_inclusive(|b| *b == b'\n') {
        tick(line.len());
        at += line.len();
        let text = line.trim_ascii_end();
        if text.is_empty() {
            let end = part.len();
            return is_sdp.then(|| part.slice(at..end));
        }
        let Some(colon) = text.iter().position(|b| *b == b':') else { continue };
        let (name, value) = text.split_at(colon);
        if name.trim_ascii().eq_ignore_ascii_case(b"content-type") {
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            let value = SipText::new(Bytes::copy_from_slice(value)).ok()?;
            is_sdp = MediaType::parse(&value).is_ok_and(|kind| kind.is_sdp());
        }
    }
    None
}
