//! Bytes to [`Message`]: the first line, the mandatory headers, the body.
//!
//! What is accepted beyond the letter of RFC 3261 and what is refused is listed in the module
//! documentation of [`crate::message`].

use super::head::{Head, RawHeader, cut_head};
use super::values::scan_method;
use super::{
    CSeq, CallId, HeaderError, HeaderName, Headers, Message, Method, NameAddr, ParseError,
    ParseFailure, Request, Response, Salvage, StatusCode, SyntaxError, Uri, Via,
};
use crate::limits::{HEAD_BYTES_MAX, LEADING_CRLF_MAX, MESSAGE_BYTES_MAX, URI_BYTES_MAX};
use crate::scan::{Scanner, decimal};
use crate::text::SipText;
use bytes::Bytes;

/// Reads one datagram (RFC 3261 section 18.3): without Content-Length the body is the rest, with it
/// the rest is cut, and a datagram shorter than it says is refused.
///
/// # Errors
/// [`ParseFailure`]; its `salvage` says whether a response can be built.
///
/// ```
/// use tandem_sip::message::{Message, parse_datagram};
/// let bytes = b"OPTIONS sip:h SIP/2.0\r\nv: SIP/2.0/UDP a;branch=z9hG4bK1\r\nf: <sip:a@h>;tag=1\r\n\
///               t: sip:h\r\ni: 1\r\nCSeq: 1 OPTIONS\r\n\r\n";
/// let Message::Request(request) = parse_datagram(bytes.as_slice()).unwrap() else { panic!() };
/// assert_eq!(request.from_tag().unwrap(), &"1");
/// ```
pub fn parse_datagram(datagram: impl Into<Bytes>) -> Result<Message, ParseFailure> {
    let datagram = datagram.into();
    if datagram.len() > MESSAGE_BYTES_MAX {
        let fault = ParseError::TooLarge { len: datagram.len(), max: MESSAGE_BYTES_MAX };
        return Err(ParseFailure::silent(fault));
    }
    parse_message(skip_leading_crlf(datagram)?, BodyEnd::Datagram)
}

/// Where the body of a message without Content-Length ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyEnd {
    /// With the datagram.
    Datagram,
    /// Nowhere: such a message is refused.
    Stream,
}

/// RFC 3261 section 7.5: line breaks before the first line are passed over.
fn skip_leading_crlf(bytes: Bytes) -> Result<Bytes, ParseFailure> {
    let mut at = 0;
    while bytes.get(at..at + 2) == Some(b"\r\n") {
        at += 2;
        if at > 2 * LEADING_CRLF_MAX {
            return Err(ParseFailure::silent(ParseError::BadStartLine));
        }
    }
    crate::meter::tick(at);
    match bytes.get(at..) {
        None | Some([]) => Err(ParseFailure::silent(ParseError::KeepAlive)),
        Some(_) => Ok(bytes.slice(at..)),
    }
}

/// Reads a message that starts at the first byte.
pub(super) fn parse_message(bytes: Bytes, body_end: BodyEnd) -> Result<Message, ParseFailure> {
    let head = cut_head(&bytes).map_err(ParseFailure::silent)?;
    if head.len > HEAD_BYTES_MAX {
        let fault = ParseError::TooLarge { len: head.len, max: HEAD_BYTES_MAX };
        return Err(fail(&head, fault));
    }
    let first_line = match read_first_line(&head.first_line) {
        Ok(first_line) => first_line,
        Err(fault) => return Err(fail(&head, fault)),
    };
    if let Some(fault) = head.fault.clone() {
        return Err(fail(&head, fault));
    }
    read_parts(&bytes, &head, first_line, body_end).map_err(|fault| fail(&head, fault))
}

enum FirstLine {
    Request { method: Method, uri: Uri },
    Status { status: StatusCode, reason: SipText },
}

fn read_first_line(line: &SipText) -> Result<FirstLine, ParseError> {
    let prefix = line.as_bytes().get(..4).unwrap_or_default();
    if prefix.eq_ignore_ascii_case(b"SIP/") {
        read_status_line(line)
    } else {
        read_request_line(line)
    }
}

/// Method SP Request-URI SP SIP-Version (RFC 3261 section 7.1): single spaces, nothing behind.
fn read_request_line(line: &SipText) -> Result<FirstLine, ParseError> {
    let mut scan = Scanner::new(line);
    let method = scan_method(&mut scan).map_err(|_| ParseError::BadStartLine)?;
    if !scan.eat(b' ') {
        return Err(ParseError::BadStartLine);
    }
    let uri_text = scan.take_while(|b| b != b' ');
    if !scan.eat(b' ') {
        return Err(ParseError::BadStartLine);
    }
    check_version(scan.rest())?;
    if uri_text.len() > URI_BYTES_MAX {
        return Err(ParseError::RequestUriTooLong);
    }
    let uri = Uri::from_text(&uri_text).map_err(ParseError::BadRequestUri)?;
    Ok(FirstLine::Request { method, uri })
}

/// SIP-Version SP Status-Code SP Reason-Phrase (section 7.2). The space before an empty phrase may be
/// missing.
fn read_status_line(line: &SipText) -> Result<FirstLine, ParseError> {
    let mut scan = Scanner::new(line);
    let version = scan.take_while(|b| b != b' ');
    check_version(version.as_bytes())?;
    if !scan.eat(b' ') {
        return Err(ParseError::BadStartLine);
    }
    let digits = scan.take_while(|b| b.is_ascii_digit());
    let code = if digits.len() == 3 { decimal(digits.as_bytes()) } else { None };
    let status = code
        .and_then(|c| u16::try_from(c).ok())
        .and_then(StatusCode::new)
        .ok_or(ParseError::BadStatusCode)?;
    if !scan.is_at_end() && !scan.eat(b' ') {
        return Err(ParseError::BadStatusCode);
    }
    let reason = scan.take(usize::MAX);
    Ok(FirstLine::Status { status, reason })
}

/// `SIP/2.0` in any case (section 7.1: the version compares without case).
fn check_version(text: &[u8]) -> Result<(), ParseError> {
    if text.eq_ignore_ascii_case(b"SIP/2.0") {
        return Ok(());
    }
    let mut numbers = match text.split_at_checked(4) {
        Some((name, numbers)) if name.eq_ignore_ascii_case(b"SIP/") => {
            numbers.split(|b| *b == b'.')
        }
        _ => return Err(ParseError::BadStartLine),
    };
    let is_number = |part: Option<&[u8]>| {
        part.is_some_and(|p| !p.is_empty() && p.iter().all(u8::is_ascii_digit))
    };
    let well_formed =
        is_number(numbers.next()) && is_number(numbers.next()) && numbers.next().is_none();
    Err(if well_formed { ParseError::UnsupportedVersion } else { ParseError::BadStartLine })
}

/// The headers that every message must or may have once, before they are typed.
#[derive(Default)]
struct Essentials<'a> {
    vias: Vec<&'a SipText>,
    from: Once<'a>,
    to: Once<'a>,
    call_id: Once<'a>,
    cseq: Once<'a>,
    max_forwards: Once<'a>,
    content_length: Once<'a>,
    others: Vec<&'a RawHeader>,
}

/// A header that may stand once.
#[derive(Default)]
enum Once<'a> {
    #[default]
    Absent,
    Value(&'a SipText),
    Repeated(&'a SipText),
}

impl<'a> Once<'a> {
    fn add(&mut self, value: &'a SipText) {
        *self = match self {
            Self::Absent => Self::Value(value),
            Self::Value(first) | Self::Repeated(first) => Self::Repeated(first),
        };
    }

    fn first(&self) -> Option<&'a SipText> {
        match self {
            Self::Absent => None,
            Self::Value(value) | Self::Repeated(value) => Some(value),
        }
    }

    fn at_most_once(&self, name: HeaderName) -> Result<Option<&'a SipText>, HeaderError> {
        match self {
            Self::Absent => Ok(None),
            Self::Value(value) => Ok(Some(value)),
            Self::Repeated(_) => Err(HeaderError::Repeated { name }),
        }
    }

    fn parse<T>(
        &self,
        name: HeaderName,
        parse: impl Fn(&SipText) -> Result<T, SyntaxError>,
    ) -> Result<T, HeaderError> {
        let value = self
            .at_most_once(name.clone())?
            .ok_or_else(|| HeaderError::Missing { name: name.clone() })?;
        parse(value).map_err(|fault| HeaderError::Syntax { name, fault })
    }
}

fn sort_headers(headers: &[RawHeader]) -> Essentials<'_> {
    let mut sorted = Essentials::default();
    for header in headers {
        match header.name {
            HeaderName::Via => sorted.vias.push(&header.value),
            HeaderName::From => sorted.from.add(&header.value),
            HeaderName::To => sorted.to.add(&header.value),
            HeaderName::CallId => sorted.call_id.add(&header.value),
            HeaderName::CSeq => sorted.cseq.add(&header.value),
            HeaderName::MaxForwards => sorted.max_forwards.add(&header.value),
            HeaderName::ContentLength => sorted.content_length.add(&header.value),
            _ => sorted.others.push(header),
        }
    }
    sorted
}

fn read_parts(
    bytes: &Bytes,
    head: &Head,
    first_line: FirstLine,
    body_end: BodyEnd,
) -> Result<Message, ParseError> {
    let sorted = sort_headers(&head.headers);
    let vias = read_vias(&sorted.vias)?;
    let from = sorted.from.parse(HeaderName::From, parse_tagged)?;
    let to = sorted.to.parse(HeaderName::To, parse_tagged)?;
    let call_id = sorted.call_id.parse(HeaderName::CallId, CallId::parse)?;
    let cseq = sorted.cseq.parse(HeaderName::CSeq, CSeq::parse)?;
    let max_forwards = read_max_forwards(&sorted)?;
    let body = cut_body(bytes, head, &sorted, body_end)?;
    let mut headers = Headers::new();
    for header in sorted.others {
        headers.push(header.name.clone(), header.value.clone());
    }
    match first_line {
        FirstLine::Request { method, .. } if method != cseq.method => {
            Err(ParseError::CseqMethodMismatch)
        }
        FirstLine::Request { method, uri } => Ok(Message::Request(Box::new(Request {
            method,
            uri,
            vias,
            from,
            to,
            call_id,
            cseq,
            max_forwards,
            headers,
            body,
        }))),
        FirstLine::Status { status, reason } => Ok(Message::Response(Box::new(Response {
            status,
            reason,
            vias,
            from,
            to,
            call_id,
            cseq,
            headers,
            body,
        }))),
    }
}

fn read_vias(values: &[&SipText]) -> Result<Vec<Via>, HeaderError> {
    let mut vias = Vec::new();
    for value in values {
        Via::parse_list(value, &mut vias)
            .map_err(|fault| HeaderError::Syntax { name: HeaderName::Via, fault })?;
    }
    if vias.is_empty() { Err(HeaderError::Missing { name: HeaderName::Via }) } else { Ok(vias) }
}

fn parse_tagged(value: &SipText) -> Result<NameAddr, SyntaxError> {
    let address = NameAddr::parse(value)?;
    address.check_tag()?;
    Ok(address)
}

/// 0 to 255 (RFC 3261 section 20.22).
fn read_max_forwards(sorted: &Essentials<'_>) -> Result<Option<u8>, HeaderError> {
    let name = HeaderName::MaxForwards;
    let Some(value) = sorted.max_forwards.at_most_once(name.clone())? else { return Ok(None) };
    let mut scan = Scanner::new(value);
    let number = scan.number(u64::from(u8::MAX)).and_then(|n| scan.expect_end().map(|()| n));
    match number {
        Ok(number) => Ok(u8::try_from(number).ok()),
        Err(fault) => Err(HeaderError::Syntax { name, fault }),
    }
}

pub(super) fn read_content_length(value: &SipText) -> Result<u64, SyntaxError> {
    let mut scan = Scanner::new(value);
    let number = scan.number(u64::MAX)?;
    scan.expect_end()?;
    Ok(number)
}

/// RFC 3261 section 18.3.
fn cut_body(
    bytes: &Bytes,
    head: &Head,
    sorted: &Essentials<'_>,
    body_end: BodyEnd,
) -> Result<Bytes, ParseError> {
    let present = bytes.len().saturating_sub(head.len);
    let name = HeaderName::ContentLength;
    let declared = match sorted.content_length.at_most_once(name.clone())? {
        Some(value) => {
            let declared = read_content_length(value);
            Some(declared.map_err(|fault| HeaderError::Syntax { name, fault })?)
        }
        None if body_end == BodyEnd::Stream => return Err(ParseError::ContentLengthMissing),
        None => None,
    };
    let len = match declared {
        None => present,
        Some(declared) => usize::try_from(declared)
            .ok()
            .filter(|len| *len <= present)
            .ok_or(ParseError::BodyTruncated { declared, present })?,
    };
    Ok(bytes.slice(head.len..head.len + len))
}

/// Adds to a fault what an answer needs, when it can be had (RFC 3261 section 8.2.6).
fn fail(head: &Head, error: ParseError) -> ParseFailure {
    ParseFailure { salvage: salvage(head).map(Box::new), error }
}

/// What a response echoes; `None` for responses, for ACK, and when a header is missing or the top Via
/// cannot be read.
fn salvage(head: &Head) -> Option<Salvage> {
    let mut scan = Scanner::new(&head.first_line);
    let method = scan_method(&mut scan).ok().filter(|_| scan.peek() == Some(b' '));
    let is_response =
        head.first_line.as_bytes().get(..4).is_some_and(|p| p.eq_ignore_ascii_case(b"SIP/"));
    if is_response || method == Some(Method::Ack) {
        return None;
    }
    let sorted = sort_headers(&head.headers);
    let mut top = Vec::new();
    // A fault behind the first value of the line leaves that value readable.
    let top_readable = Via::parse_list(sorted.vias.first()?, &mut top).is_ok() || !top.is_empty();
    let top_via = top.into_iter().next().filter(|_| top_readable)?;
    let cseq = sorted.cseq.first()?;
    if CSeq::parse(cseq).is_ok_and(|c| c.method == Method::Ack) {
        return None;
    }
    Some(Salvage {
        method,
        top_via,
        vias: sorted.vias.into_iter().cloned().collect(),
        from: sorted.from.first()?.clone(),
        to: sorted.to.first()?.clone(),
        call_id: sorted.call_id.first()?.clone(),
        cseq: cseq.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: &str = "Via: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n\
                        To: <sip:b@h>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n";

    fn request_line(line: &str) -> Result<Message, ParseFailure> {
        parse_datagram(Bytes::from(format!("{line}\r\n{REST}\r\n")))
    }

    fn with_header(header: &str) -> Result<Message, ParseFailure> {
        parse_datagram(Bytes::from(format!("INVITE sip:b@h SIP/2.0\r\n{REST}{header}\r\n\r\nbody")))
    }

    // Goal: the first line is read by the letter, and each fault has its own reason and status.
    #[test]
    fn first_lines() {
        assert!(request_line("INVITE sip:b@h SIP/2.0").is_ok());
        assert!(request_line("INVITE sip:b@h sip/2.0").is_ok(), "section 7.1: without case");
        let rows: [(&str, u16); 9] = [
            ("INVITE  sip:b@h SIP/2.0", 400),
            ("INVITE sip:b@h SIP/2.0 ", 400),
            ("INVITE <sip:b@h> SIP/2.0", 400),
            ("INVITE sip:b@h", 400),
            ("INVITE sip:b@h SIP/7.0", 505),
            ("INVITE sip:b@h SIP/2", 400),
            ("INVITE sip:b@h HTTP/1.1", 400),
            ("IN{VITE sip:b@h SIP/2.0", 400),
            ("invite sip:b@h SIP/2.0", 400),
        ];
        for (line, status) in rows {
            let failure = request_line(line).unwrap_err();
            assert_eq!(failure.error.status().code(), status, "{line}");
            assert!(failure.salvage.is_some(), "{line} can be answered");
        }
        let long = format!("INVITE sip:{}@h SIP/2.0", "a".repeat(URI_BYTES_MAX));
        assert_eq!(request_line(&long).unwrap_err().error, ParseError::RequestUriTooLong);
    }

    // Goal: status lines, the empty phrase with and without its space, codes at the edge.
    #[test]
    fn status_lines() {
        for good in ["SIP/2.0 200 OK", "SIP/2.0 200 ", "SIP/2.0 200", "sip/2.0 699 \u{424}"] {
            assert!(matches!(request_line(good), Ok(Message::Response(_))), "{good}");
        }
        for bad in [
            "SIP/2.0 700 x",
            "SIP/2.0 099 x",
            "SIP/2.0 4294967301 x",
            "SIP/2.0 20 x",
            "SIP/2.0 200OK",
            "SIP/2.0",
            "SIP/3.0 200 OK",
        ] {
            let failure = request_line(bad).unwrap_err();
            assert!(failure.salvage.is_none(), "{bad}: a response is never answered");
        }
    }

    // Goal: Content-Length cuts, refuses what is too short, and may stand once.
    #[test]
    fn bodies_of_datagrams() {
        let body = |header: &str| match with_header(header) {
            Ok(Message::Request(request)) => Ok(request.body),
            Ok(Message::Response(_)) => unreachable!("a request"),
            Err(failure) => Err(failure.error),
        };
        assert_eq!(body("X: y").unwrap(), "body");
        assert_eq!(body("Content-Length: 4").unwrap(), "body");
        assert_eq!(body("l: 003").unwrap(), "bod");
        assert_eq!(
            body("Content-Length: 5"),
            Err(ParseError::BodyTruncated { declared: 5, present: 4 })
        );
        assert!(body("Content-Length: -1").is_err());
        assert!(body("Content-Length: 4 4").is_err());
        assert!(body("Content-Length: 18446744073709551616").is_err());
        assert!(body("Content-Length: 4\r\nl: 4").is_err(), "RFC 4475 section 3.3.9");
    }

    // Goal: mandatory headers: none may be missing or doubled, the methods must agree.
    #[test]
    fn mandatory_headers() {
        for (index, _) in REST.lines().enumerate() {
            let rest: String = REST
                .split_inclusive("\r\n")
                .enumerate()
                .filter(|(i, _)| *i != index)
                .map(|(_, line)| line)
                .collect();
            let failure =
                parse_datagram(Bytes::from(format!("INVITE sip:b@h SIP/2.0\r\n{rest}\r\n")))
                    .unwrap_err();
            let missing = matches!(failure.error, ParseError::Header(HeaderError::Missing { .. }));
            assert!(missing && failure.salvage.is_none(), "line {index}");
        }
        for header in [
            "f: <sip:x@h>",
            "t: <sip:x@h>",
            "i: c",
            "CSeq: 1 INVITE",
            "Max-Forwards: 1\r\nMax-Forwards: 1",
        ] {
            let failure = with_header(header).unwrap_err();
            let repeated =
                matches!(failure.error, ParseError::Header(HeaderError::Repeated { .. }));
            assert!(repeated && failure.salvage.is_some(), "{header}");
        }
        assert_eq!(
            request_line("BYE sip:b@h SIP/2.0").unwrap_err().error,
            ParseError::CseqMethodMismatch
        );
        assert!(with_header("Max-Forwards: 255").is_ok());
        assert!(with_header("Max-Forwards: 256").is_err());
    }

    // Goal: a broken ACK is never answered, and neither is one that only CSeq betrays.
    #[test]
    fn broken_acks_are_dropped() {
        let ack = REST.replace("INVITE", "ACK").replace("<sip:b@h>", "<sip:b@h");
        let failure = parse_datagram(Bytes::from(format!("ACK sip:b@h SIP/2.0\r\n{ack}\r\n")));
        assert!(failure.unwrap_err().salvage.is_none());
        let failure = parse_datagram(Bytes::from(format!(" ACK sip:b@h SIP/2.0\r\n{ack}\r\n")));
        assert!(failure.unwrap_err().salvage.is_none());
    }

    // Goal: line breaks before a message are passed over, alone they are a keep-alive.
    #[test]
    fn leading_line_breaks() {
        let message = |n: usize| {
            let breaks = "\r\n".repeat(n);
            parse_datagram(Bytes::from(format!("{breaks}INVITE sip:b@h SIP/2.0\r\n{REST}\r\n")))
        };
        assert!(message(LEADING_CRLF_MAX).is_ok());
        assert!(message(LEADING_CRLF_MAX + 1).is_err());
        for keep_alive in [&b""[..], b"\r\n", b"\r\n\r\n"] {
            assert_eq!(parse_datagram(keep_alive).unwrap_err().error, ParseError::KeepAlive);
        }
    }

    // Goal: the largest datagram is read, one byte more is refused.
    #[test]
    fn message_size() {
        let head = format!("INVITE sip:b@h SIP/2.0\r\n{REST}\r\n");
        let sized =
            |len: usize| parse_datagram(Bytes::from(head.clone() + &"x".repeat(len - head.len())));
        assert!(sized(MESSAGE_BYTES_MAX).is_ok());
        assert!(matches!(
            sized(MESSAGE_BYTES_MAX + 1).unwrap_err().error,
            ParseError::TooLarge { .. }
        ));
    }
}
