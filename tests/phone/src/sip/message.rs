//! SIP messages (RFC 3261 section 7): parse bytes, look at headers, build, write bytes.

use std::fmt;

use bytes::Bytes;

use super::error::ParseError;
use super::header::split_list;
use super::method::{Method, is_token};
use super::received::Received;
use crate::limits::{SIP_HEAD_BYTES_MAX, SIP_HEADERS_MAX, SIP_MESSAGE_BYTES_MAX};

/// Request line or status line.
#[derive(Clone, PartialEq, Eq)]
pub enum Head {
    /// A request.
    Request {
        /// The method.
        method: Method,
        /// The Request-URI, verbatim.
        uri: String,
    },
    /// A response.
    Response {
        /// 100 to 699.
        code: u16,
        /// The reason phrase.
        reason: String,
    },
}

/// A SIP message: start line, headers in their order with long names, body.
///
/// ```
/// use tandem_phone::sip::Message;
/// let bytes = b"SIP/2.0 200 OK\r\nv: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\r\n";
/// let message = Message::parse(bytes)?;
/// assert_eq!(message.code(), Some(200));
/// assert_eq!(message.header("Via"), Some("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"));
/// # Ok::<(), tandem_phone::sip::ParseError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Request line or status line.
    pub head: Head,
    headers: Vec<(String, String)>,
    /// The body; `Content-Length` is written from its length.
    pub body: Bytes,
}

impl Message {
    /// A request without headers.
    #[must_use]
    pub fn request(method: Method, uri: impl Into<String>) -> Self {
        let head = Head::Request { method, uri: uri.into() };
        Self { head, headers: Vec::new(), body: Bytes::new() }
    }

    /// A response to `request` with the headers that RFC 3261 8.2.6.2 copies: Via (all), From, To,
    /// Call-ID, CSeq. `to_tag` is added when the request's To has none and the code is above 100.
    #[must_use]
    pub fn response(request: &Received, code: u16, reason: &str, to_tag: Option<&str>) -> Self {
        let head = Head::Response { code, reason: reason.to_owned() };
        let mut response = Self { head, headers: Vec::new(), body: Bytes::new() };
        response.push("Via", request.via.to_string());
        for (index, value) in request.message.values("Via").into_iter().enumerate() {
            if index > 0 {
                response.push("Via", value.to_owned());
            }
        }
        for name in ["From", "To", "Call-ID", "CSeq"] {
            let mut value = request.message.header(name).unwrap_or_default().to_owned();
            if let ("To", Some(tag), None, 101..) = (name, to_tag, request.to.tag(), code) {
                value.push_str(";tag=");
                value.push_str(tag);
            }
            response.push(name, value);
        }
        response
    }

    /// Reads one datagram. Without Content-Length the body is the rest; bytes after Content-Length
    /// are cut (RFC 3261 18.3).
    ///
    /// # Errors
    /// What is wrong; the bytes are to be dropped.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        if bytes.len() > SIP_MESSAGE_BYTES_MAX {
            return Err(ParseError::TooLarge);
        }
        let (mut message, head_length) = Self::parse_head(bytes)?;
        let rest = &bytes[head_length..];
        let length = message.content_length()?.unwrap_or(rest.len());
        message.body = Bytes::copy_from_slice(rest.get(..length).ok_or(ParseError::ContentLength)?);
        Ok(message)
    }

    /// Reads start line and headers; returns the message without its body, and how long the head
    /// is, the empty line included.
    pub(super) fn parse_head(bytes: &[u8]) -> Result<(Self, usize), ParseError> {
        let end = bytes
            .windows(4)
            .take(SIP_HEAD_BYTES_MAX)
            .position(|window| window == b"\r\n\r\n")
            .ok_or(ParseError::HeadNotEnded)?;
        let text = std::str::from_utf8(&bytes[..end]).map_err(|_| ParseError::NotUtf8)?;
        let mut lines = text.split("\r\n");
        let head = parse_start_line(lines.next().unwrap_or_default())?;
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in lines {
            if line.starts_with([' ', '\t']) {
                // A folded line goes on with the header before it (RFC 3261 7.3.1).
                let (_, value) = headers.last_mut().ok_or(ParseError::HeaderLine)?;
                value.push(' ');
                value.push_str(line.trim());
                continue;
            }
            let (name, value) = line.split_once(':').ok_or(ParseError::HeaderLine)?;
            let name = name.trim_end();
            if !is_token(name) || headers.len() == SIP_HEADERS_MAX {
                return Err(ParseError::HeaderLine);
            }
            headers.push((long_name(name).to_owned(), value.trim().to_owned()));
        }
        Ok((Self { head, headers, body: Bytes::new() }, end + 4))
    }

    /// The Content-Length, when there is one.
    pub(super) fn content_length(&self) -> Result<Option<usize>, ParseError> {
        self.header("Content-Length")
            .map(|text| text.parse().map_err(|_| ParseError::ContentLength))
            .transpose()
    }

    /// The first header of that name (long form, any case), unsplit.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// All values of a list header (Via, Contact, Route, Require …), over all its lines; a line
    /// that does not split (an open quote) counts as one value.
    #[must_use]
    pub fn values<'m>(&'m self, name: &str) -> Vec<&'m str> {
        self.lines(name).flat_map(|line| split_list(line).unwrap_or_else(|_| vec![line])).collect()
    }

    /// The lines of one header, unsplit (for headers whose values hold commas, like
    /// WWW-Authenticate).
    pub fn lines<'m, 'n>(&'m self, name: &'n str) -> impl Iterator<Item = &'m str> + use<'m, 'n> {
        self.headers
            .iter()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    /// Adds a header at the end.
    pub fn push(&mut self, name: &str, value: impl Into<String>) {
        self.headers.push((name.to_owned(), value.into()));
    }

    /// Adds a header at the beginning (a Via of one's own).
    pub fn push_first(&mut self, name: &str, value: impl Into<String>) {
        self.headers.insert(0, (name.to_owned(), value.into()));
    }

    /// The same with a header more.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.push(name, value);
        self
    }

    /// The same with a body.
    #[must_use]
    pub fn with_body(self, content_type: &str, body: impl Into<Bytes>) -> Self {
        let mut message = self.with("Content-Type", content_type);
        message.body = body.into();
        message
    }

    /// The method, when it is a request.
    #[must_use]
    pub fn method(&self) -> Option<&Method> {
        match &self.head {
            Head::Request { method, .. } => Some(method),
            Head::Response { .. } => None,
        }
    }

    /// The status code, when it is a response.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match &self.head {
            Head::Request { .. } => None,
            Head::Response { code, .. } => Some(*code),
        }
    }

    /// The message as bytes; Content-Length is written from the body.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut text = match &self.head {
            Head::Request { method, uri } => format!("{method} {uri} SIP/2.0\r\n"),
            Head::Response { code, reason } => format!("SIP/2.0 {code} {reason}\r\n"),
        };
        for (name, value) in &self.headers {
            if !name.eq_ignore_ascii_case("Content-Length") {
                text.push_str(name);
                text.push_str(": ");
                text.push_str(value);
                text.push_str("\r\n");
            }
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n", self.body.len()));
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.body);
        Bytes::from(bytes)
    }

    /// The SDP body; `None` without a body, or with one of another type.
    #[must_use]
    pub fn sdp(&self) -> Option<&[u8]> {
        let is_sdp = self.header("Content-Type").is_some_and(|value| {
            value
                .split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .eq_ignore_ascii_case("application/sdp")
        });
        (is_sdp && !self.body.is_empty()).then_some(&self.body)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.head {
            Head::Request { method, .. } => write!(f, "{method}")?,
            Head::Response { code, .. } => write!(f, "{code}")?,
        }
        write!(f, " ({} headers, {} bytes of body)", self.headers.len(), self.body.len())
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request { method, .. } => write!(f, "{method}"),
            Self::Response { code, reason } => write!(f, "{code} {reason}"),
        }
    }
}

fn parse_start_line(line: &str) -> Result<Head, ParseError> {
    if let Some(rest) = line.strip_prefix("SIP/2.0 ") {
        let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
        let code = Some(code).filter(|text| text.len() == 3).and_then(|text| text.parse().ok());
        let code = code.filter(|code| (100..700).contains(code)).ok_or(ParseError::StartLine)?;
        return Ok(Head::Response { code, reason: reason.to_owned() });
    }
    let mut parts = line.split(' ');
    let (method, uri, version) = (parts.next(), parts.next(), parts.next());
    if parts.next().is_some() {
        return Err(ParseError::StartLine);
    }
    let method = method.and_then(Method::parse).ok_or(ParseError::StartLine)?;
    let uri = uri.filter(|text| !text.is_empty()).ok_or(ParseError::StartLine)?.to_owned();
    match version {
        Some("SIP/2.0") => Ok(Head::Request { method, uri }),
        Some(other) if other.to_ascii_uppercase().starts_with("SIP/") => Err(ParseError::Version),
        _ => Err(ParseError::StartLine),
    }
}

/// The long name of a compact header (RFC 3261 7.3.3 and the header registry), else the name.
fn long_name(name: &str) -> &str {
    let [short] = name.as_bytes() else { return name };
    match short.to_ascii_lowercase() {
        b'a' => "Accept-Contact",
        b'b' => "Referred-By",
        b'c' => "Content-Type",
        b'd' => "Request-Disposition",
        b'e' => "Content-Encoding",
        b'f' => "From",
        b'i' => "Call-ID",
        b'j' => "Reject-Contact",
        b'k' => "Supported",
        b'l' => "Content-Length",
        b'm' => "Contact",
        b'o' => "Event",
        b'r' => "Refer-To",
        b's' => "Subject",
        b't' => "To",
        b'u' => "Allow-Events",
        b'v' => "Via",
        b'x' => "Session-Expires",
        b'y' => "Identity",
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::CSeq;

    const INVITE: &str = "INVITE sip:1001@127.0.0.1 SIP/2.0\r\n\
        v: SIP/2.0/UDP 127.0.0.2:5060;branch=z9hG4bKa , SIP/2.0/TCP h;branch=z9hG4bKb\r\n\
        Via: SIP/2.0/UDP 10.0.0.1\r\n\
        f: \"A, B\" <sip:a@h>;tag=1\r\nt: <sip:1001@h>\r\ni: call@h\r\n\
        CSeq: 7 INVITE\r\nMax-Forwards : 70\r\nSubject: a\r\n  folded\r\n\tagain\r\n\
        c: Application/SDP; x=y\r\nl: 4\r\n\r\nv=0\nrest";

    fn checked(text: &str) -> Result<Received, ParseError> {
        Received::check(Message::parse(text.as_bytes())?)
    }

    // Goal: compact names, lists, folding, odd spacing and surplus bytes are read as RFC 3261 says.
    #[test]
    fn a_message_with_every_freedom_is_read() {
        let invite = checked(INVITE).expect("valid");
        assert_eq!(invite.message.values("Via").len(), 3);
        assert_eq!(invite.via.branch(), Some("z9hG4bKa"));
        assert_eq!(invite.from.tag(), Some("1"));
        assert_eq!(invite.cseq, CSeq { number: 7, method: Method::Invite });
        assert_eq!(invite.message.header("subject"), Some("a folded again"));
        assert_eq!(invite.message.header("Max-Forwards"), Some("70"));
        assert_eq!(invite.message.sdp(), Some(&b"v=0\n"[..]));
    }

    // Goal: each breach of the grammar is refused with its own reason.
    #[test]
    fn breaches_are_named() {
        let table = [
            ("", "", ParseError::HeadNotEnded),
            ("SIP/2.0\r\n", "SIP/7.0\r\n", ParseError::Version),
            ("INVITE sip", "INVITE  sip", ParseError::StartLine),
            ("INVITE sip", "IN{VITE sip", ParseError::StartLine),
            ("CSeq: 7 INVITE", "CSeq: 7 BYE", ParseError::CSeq),
            ("CSeq: 7 INVITE", "CSeq 7 INVITE", ParseError::HeaderLine),
            ("CSeq: 7 INVITE\r\n", "", ParseError::Missing),
            ("i: call@h", "i: call@h\r\nCall-ID: 2", ParseError::Repeated),
            ("l: 4", "l: 400", ParseError::ContentLength),
            ("l: 4", "l: -4", ParseError::ContentLength),
            ("SIP/2.0/UDP 127.0.0.2", "SIP/2.0-UDP 127.0.0.2", ParseError::Via),
        ];
        for (from, to, error) in table {
            let text = if from.is_empty() { to.to_owned() } else { INVITE.replacen(from, to, 1) };
            assert_eq!(checked(&text).err(), Some(error), "{from} -> {to}");
        }
        assert_eq!(Message::parse(b"SIP/2.0 99 x\r\nA: b\r\n\r\n"), Err(ParseError::StartLine));
        assert_eq!(
            Message::parse(b"OPTIONS sip:h SIP/2.0\nA: b\n\n"),
            Err(ParseError::HeadNotEnded)
        );
        assert_eq!(
            Message::parse(b"OPTIONS sip:h SIP/2.0\r\nA: \xff\r\n\r\n"),
            Err(ParseError::NotUtf8)
        );
    }

    // Goal: a response copies what it must, adds the To tag once, and goes over the wire unchanged.
    #[test]
    fn responses_copy_the_request() {
        let invite = checked(INVITE).expect("valid");
        let ok = Message::response(&invite, 200, "OK", Some("mine"));
        assert_eq!(ok.values("Via").len(), 3);
        assert_eq!(ok.header("To"), Some("<sip:1001@h>;tag=mine"));
        assert_eq!(ok.header("From"), Some("\"A, B\" <sip:a@h>;tag=1"));
        let trying = Message::response(&invite, 100, "Trying", Some("mine"));
        assert_eq!(trying.header("To"), Some("<sip:1001@h>"), "100 carries no tag");

        let read = Message::parse(&ok.to_bytes()).expect("own output");
        assert_eq!((read.code(), read.values("Via").len()), (Some(200), 3));
        assert_eq!(read.to_bytes(), ok.to_bytes());
    }

    // Goal: Debug output of a message shows no number and no body.
    #[test]
    fn debug_is_free_of_personal_data() {
        let invite = checked(&INVITE.replace("1001", "+442079460958")).expect("valid");
        let shown = format!("{invite:?}");
        assert!(!shown.contains("7946"), "{shown}");
    }

    proptest::proptest! {
        // Goal: no bytes make the parser panic, and what it accepts it writes and reads again.
        #[test]
        fn mutated_messages_never_panic(edits in proptest::collection::vec((0usize..600, 0u8..=255), 0..12), cut in 0usize..600) {
            let mut bytes = INVITE.as_bytes().to_vec();
            for (at, byte) in edits {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            bytes.truncate(cut.max(1));
            if let Ok(message) = Message::parse(&bytes) {
                let again = Message::parse(&message.to_bytes());
                proptest::prop_assert!(again.is_ok());
                let _checked = Received::check(message);
            }
        }
    }
}
