//! Cuts a message into first line, header lines and body. Grammar of the values comes later.
//!
//! Lines end with CRLF; a CR or LF alone is refused (RFC 3261 section 7; on a stream it would let two
//! parsers see two different messages). A line that starts with a blank continues the one before
//! (section 7.3.1) and is joined to it by one space.

use super::{HeaderName, ParseError};
use crate::limits::{HEADER_LINE_BYTES_MAX, HEADER_NAME_BYTES_MAX, HEADERS_MAX};
use crate::meter::tick;
use crate::scan::{is_token_byte, trim};
use crate::text::SipText;
use bytes::{Bytes, BytesMut};

/// A header line, unfolded, with its name recognised.
#[derive(Debug, Clone)]
pub(super) struct RawHeader {
    pub(super) name: HeaderName,
    pub(super) value: SipText,
}

/// What a head holds, and the first fault in it. A fault does not end the reading: a broken request is
/// answered with the headers that could be read.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) first_line: SipText,
    pub(super) headers: Vec<RawHeader>,
    pub(super) fault: Option<ParseError>,
    /// Length of the head with its empty line.
    pub(super) len: usize,
}

/// Length of the head, its empty line included, or `None` while that line has not come. Looks only at
/// bytes from `from` on (less three, in case the mark was cut).
pub(super) fn find_head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let start = from.saturating_sub(3);
    let tail = bytes.get(start..).unwrap_or_default();
    tick(tail.len());
    tail.windows(4).position(|w| w == b"\r\n\r\n").map(|at| start + at + 4)
}

/// Cuts a head. `bytes` starts at the first line and holds at least the whole head.
pub(super) fn cut_head(bytes: &Bytes) -> Result<Head, ParseError> {
    let mut lines = Lines { bytes, at: 0, number: 0 };
    let first_line = match lines.next()? {
        None => return Err(ParseError::HeadNotEnded),
        Some(line) if line.is_empty() => return Err(ParseError::BadStartLine),
        Some(line) => line,
    };
    let mut head =
        Head { first_line: SipText::trusted(first_line), headers: Vec::new(), fault: None, len: 0 };
    loop {
        let Some(line) = lines.next()? else { return Err(ParseError::HeadNotEnded) };
        if line.is_empty() {
            head.len = lines.at;
            return Ok(head);
        }
        let number = lines.number;
        let line = lines.join_folds(line)?;
        if head.headers.len() >= HEADERS_MAX {
            return Err(ParseError::TooManyHeaders { max: HEADERS_MAX });
        }
        match read_header(&SipText::trusted(line), number) {
            Ok(header) => head.headers.push(header),
            Err(fault) => head.fault = head.fault.or(Some(fault)),
        }
    }
}

/// Reads `name HCOLON value`.
fn read_header(line: &SipText, number: usize) -> Result<RawHeader, ParseError> {
    if line.len() > HEADER_LINE_BYTES_MAX {
        return Err(ParseError::HeaderLineTooLong { line: number, max: HEADER_LINE_BYTES_MAX });
    }
    let bad = || ParseError::BadHeaderLine { line: number };
    let bytes = line.as_bytes();
    let name_len = bytes.iter().take_while(|b| is_token_byte(**b)).count();
    let blanks = bytes.iter().skip(name_len).take_while(|b| matches!(b, b' ' | b'\t')).count();
    tick(name_len + blanks + 2);
    let colon = name_len + blanks;
    if name_len == 0 || name_len > HEADER_NAME_BYTES_MAX || bytes.get(colon) != Some(&b':') {
        return Err(bad());
    }
    Ok(RawHeader {
        name: HeaderName::recognise(line.slice(0, name_len)),
        value: trim(&line.slice(colon + 1, line.len())),
    })
}

/// Walks over CRLF lines.
struct Lines<'a> {
    bytes: &'a Bytes,
    at: usize,
    number: usize,
}

impl Lines<'_> {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The next line without its end, `None` when the bytes end before a line does.
    fn next(&mut self) -> Result<Option<Bytes>, ParseError> {
        let rest = self.rest();
        let len = rest.iter().position(|b| matches!(b, b'\r' | b'\n'));
        tick(len.unwrap_or(rest.len()) + 1);
        let Some(len) = len else { return Ok(None) };
        match rest.get(len..len + 2) {
            Some(b"\r\n") => {}
            None if rest.get(len) == Some(&b'\r') => return Ok(None),
            _ => return Err(ParseError::BareLineBreak { at: self.at + len }),
        }
        let line = self.bytes.slice(self.at..self.at + len);
        self.at += len + 2;
        self.number += 1;
        Ok(Some(line))
    }

    /// Appends the lines that continue `line`.
    fn join_folds(&mut self, line: Bytes) -> Result<Bytes, ParseError> {
        if !matches!(self.rest().first(), Some(b' ' | b'\t')) {
            return Ok(line);
        }
        let mut joined = BytesMut::from(line.as_ref());
        while matches!(self.rest().first(), Some(b' ' | b'\t')) {
            let Some(more) = self.next()? else { return Err(ParseError::HeadNotEnded) };
            let blanks = more.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
            joined.extend_from_slice(b" ");
            joined.extend_from_slice(more.get(blanks..).unwrap_or_default());
        }
        Ok(joined.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Result<Head, ParseError> {
        cut_head(&Bytes::copy_from_slice(text.as_bytes()))
    }

    // Goal: folds are joined with one space, names end at the colon, blanks around go.
    #[test]
    fn folds_and_names() {
        let head = cut("X\r\nSubject : a\r\n\t b\r\n  c\r\nk:\r\n\r\nbody").unwrap();
        let got: Vec<_> = head.headers.iter().map(|h| (h.name.clone(), h.value.clone())).collect();
        assert_eq!(got[0].0, HeaderName::Subject);
        assert_eq!(got[0].1, "a b c");
        assert_eq!((&got[1].0, got[1].1.len()), (&HeaderName::Supported, 0));
        assert_eq!(head.len, "X\r\nSubject : a\r\n\t b\r\n  c\r\nk:\r\n\r\n".len());
        assert_eq!(head.fault, None);
    }

    // Goal: each way in which a head is not a head has its own reason.
    #[test]
    fn broken_heads() {
        assert!(matches!(cut("X\r\nA: b\n\r\n"), Err(ParseError::BareLineBreak { at: 7 })));
        assert!(matches!(cut("X\r\nA: \rb\r\n\r\n"), Err(ParseError::BareLineBreak { at: 6 })));
        assert!(matches!(cut("X\r\nA: b\r\n"), Err(ParseError::HeadNotEnded)));
        assert!(matches!(cut("X\r\nA: b\r"), Err(ParseError::HeadNotEnded)));
        assert!(matches!(cut("X\r\nA: b\r\n c"), Err(ParseError::HeadNotEnded)));
        assert!(matches!(cut("\r\nA: b\r\n\r\n"), Err(ParseError::BadStartLine)));
        let fault = |text: &str| cut(text).unwrap().fault;
        assert_eq!(fault("X\r\nA b\r\n\r\n"), Some(ParseError::BadHeaderLine { line: 2 }));
        assert_eq!(fault("X\r\nA: b\r\n: c\r\n\r\n"), Some(ParseError::BadHeaderLine { line: 3 }));
        assert_eq!(
            fault("X\r\n A: b\r\nC: d\r\n\r\n"),
            Some(ParseError::BadHeaderLine { line: 2 })
        );
    }

    // Goal: the longest line and the last header are taken, the next byte and header refused.
    #[test]
    fn limits() {
        let line = |len: usize| format!("X\r\nA: {}\r\n\r\n", "b".repeat(len - 3));
        assert_eq!(cut(&line(HEADER_LINE_BYTES_MAX)).unwrap().fault, None);
        let too_long = cut(&line(HEADER_LINE_BYTES_MAX + 1)).unwrap().fault;
        assert!(matches!(too_long, Some(ParseError::HeaderLineTooLong { line: 2, .. })));
        let many = |n: usize| format!("X\r\n{}\r\n", "A: b\r\n".repeat(n));
        assert_eq!(cut(&many(HEADERS_MAX)).unwrap().headers.len(), HEADERS_MAX);
        assert!(matches!(cut(&many(HEADERS_MAX + 1)), Err(ParseError::TooManyHeaders { .. })));
        let name = |len: usize| format!("X\r\n{}: b\r\n\r\n", "A".repeat(len));
        assert_eq!(cut(&name(HEADER_NAME_BYTES_MAX)).unwrap().fault, None);
        assert!(cut(&name(HEADER_NAME_BYTES_MAX + 1)).unwrap().fault.is_some());
    }

    // Goal: the end of a head is found also when it arrives in pieces.
    #[test]
    fn head_end_in_pieces() {
        let bytes = b"X\r\nA: b\r\n\r\nrest";
        assert_eq!(find_head_end(bytes, 0), Some(11));
        for seen in 0..=10 {
            assert_eq!(find_head_end(bytes, seen), Some(11), "{seen}");
        }
        assert_eq!(find_head_end(&bytes[..10], 9), None);
    }
}
