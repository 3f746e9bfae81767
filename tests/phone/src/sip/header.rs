//! Pieces of headers: lists, parameters, Via, CSeq. Text in, typed values out.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::error::ParseError;
use super::method::Method;
use super::uri::{Host, parse_host_port};

/// Splits a comma list (RFC 3261 7.3.1); commas in quotes and in `<…>` do not split.
///
/// # Errors
/// `ParseError::Quote` when a quote or bracket stays open.
pub fn split_list(text: &str) -> Result<Vec<&str>, ParseError> {
    split_quoted(text, b',')
}

/// Splits at `separator` outside of quotes and angle brackets; parts are trimmed, empty ones kept.
pub(super) fn split_quoted(text: &str, separator: u8) -> Result<Vec<&str>, ParseError> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut quote = Quote::default();
    for (at, byte) in text.bytes().enumerate() {
        if quote.step(byte) == Place::Plain && byte == separator {
            parts.push(text[start..at].trim());
            start = at + 1;
        }
    }
    if quote.is_open() {
        return Err(ParseError::Quote);
    }
    parts.push(text[start..].trim());
    Ok(parts)
}

/// Where `wanted` stands outside of quotes.
pub(super) fn find_unquoted(text: &str, wanted: u8) -> Option<usize> {
    let mut in_quotes = false;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_quotes => escaped = true,
            b'"' => in_quotes = !in_quotes,
            _ if byte == wanted && !in_quotes => return Some(at),
            _ => {}
        }
    }
    None
}

#[derive(PartialEq)]
enum Place {
    Plain,
    Inside,
}

/// Walks over quotes, escapes and brackets.
#[derive(Default)]
struct Quote {
    quoted: bool,
    escaped: bool,
    bracketed: bool,
}

impl Quote {
    fn step(&mut self, byte: u8) -> Place {
        if self.escaped {
            self.escaped = false;
            return Place::Inside;
        }
        match byte {
            b'\\' if self.quoted => self.escaped = true,
            b'"' => self.quoted = !self.quoted,
            b'<' if !self.quoted => self.bracketed = true,
            b'>' if !self.quoted => self.bracketed = false,
            _ => {}
        }
        if self.quoted || self.bracketed { Place::Inside } else { Place::Plain }
    }

    fn is_open(&self) -> bool {
        self.quoted || self.bracketed
    }
}

/// Reads `name=value;name;…`; names are lower-cased, quoted values keep their quotes.
pub(super) fn parse_params(text: &str) -> Result<Vec<(String, Option<String>)>, ParseError> {
    split_quoted(text, b';')?
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim())),
                None => (part, None),
            };
            if name.is_empty() || value.is_some_and(str::is_empty) {
                return Err(ParseError::Parameter);
            }
            Ok((name.to_ascii_lowercase(), value.map(str::to_owned)))
        })
        .collect()
}

/// The value of one parameter of a header value such as `timeout;retry-after=3` or
/// `Q.850;cause=16;text="x"`, without quotes.
#[must_use]
pub fn header_param(value: &str, name: &str) -> Option<String> {
    let params = find_unquoted(value, b';').map(|at| &value[at + 1..])?;
    let params = parse_params(params).ok()?;
    let (_, found) = params.into_iter().find(|(n, _)| n == name)?;
    found.map(|text| text.trim_matches('"').to_owned())
}

/// One Via value (RFC 3261 20.42, RFC 3581).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Via {
    /// `UDP`, `TCP`, … upper-cased.
    pub transport: String,
    /// Host of sent-by.
    pub host: Host,
    /// Port of sent-by, when written.
    pub port: Option<u16>,
    /// Parameters, names lower-cased.
    pub params: Vec<(String, Option<String>)>,
}

impl Via {
    /// Reads one Via value.
    ///
    /// # Errors
    /// `ParseError::Via`, or what its host or a parameter is refused for.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let (head, params) = match find_unquoted(text, b';') {
            Some(at) => (&text[..at], parse_params(&text[at + 1..])?),
            None => (text, Vec::new()),
        };
        // sent-protocol allows spaces around its slashes: "SIP / 2.0 / UDP host".
        let mut slashes = head.splitn(3, '/');
        let (name, version, rest) = (slashes.next(), slashes.next(), slashes.next());
        let is_sip = name.is_some_and(|n| n.trim().eq_ignore_ascii_case("SIP"))
            && version.is_some_and(|v| v.trim() == "2.0");
        let rest = rest.filter(|_| is_sip).ok_or(ParseError::Via)?.trim();
        let (transport, sent_by) =
            rest.split_once(|c: char| c.is_ascii_whitespace()).ok_or(ParseError::Via)?;
        let (host, port) = parse_host_port(sent_by)?;
        Ok(Self { transport: transport.to_ascii_uppercase(), host, port, params })
    }

    /// The branch, which with sent-by and method names a transaction (RFC 3261 17.2.3).
    #[must_use]
    pub fn branch(&self) -> Option<&str> {
        self.param("branch").flatten()
    }

    /// `Some(None)` when the parameter stands there without a value.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<Option<&str>> {
        self.params.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_deref())
    }

    /// Notes where the request really came from (RFC 3261 18.2.1, RFC 3581 4).
    pub fn note_source(&mut self, source: SocketAddr) {
        let wants_port = matches!(self.param("rport"), Some(None));
        if wants_port {
            self.set("rport", source.port().to_string());
        }
        if wants_port || self.host != Host::Ip(source.ip()) {
            self.set("received", source.ip().to_string());
        }
    }

    fn set(&mut self, name: &str, value: String) {
        match self.params.iter_mut().find(|(n, _)| n == name) {
            Some(param) => param.1 = Some(value),
            None => self.params.push((name.to_owned(), Some(value))),
        }
    }

    /// Where a response over UDP goes (RFC 3261 18.2.2, RFC 3581 4), once the source is noted.
    #[must_use]
    pub fn response_address(&self) -> Option<SocketAddr> {
        let noted: Option<IpAddr> = self
            .param("received")
            .flatten()
            .and_then(|ip| ip.trim_matches(['[', ']']).parse().ok());
        let ip = match (noted, &self.host) {
            (Some(ip), _) => ip,
            (None, Host::Ip(ip)) => *ip,
            (None, Host::Name(_)) => return None,
        };
        let rport = self.param("rport").flatten().and_then(|port| port.parse().ok());
        Some(SocketAddr::new(ip, rport.or(self.port).unwrap_or(5060)))
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIP/2.0/{} {}", self.transport, self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        for (name, value) in &self.params {
            match value {
                Some(value) => write!(f, ";{name}={value}")?,
                None => write!(f, ";{name}")?,
            }
        }
        Ok(())
    }
}

/// A CSeq header (RFC 3261 20.16).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CSeq {
    /// The number, below 2^31.
    pub number: u32,
    /// The method.
    pub method: Method,
}

impl CSeq {
    /// Reads `314159 INVITE`.
    ///
    /// # Errors
    /// `ParseError::CSeq` when it is malformed or the number is 2^31 or more (RFC 3261 8.1.1.5).
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let (number, method) =
            text.split_once(|c: char| c.is_ascii_whitespace()).ok_or(ParseError::CSeq)?;
        let number: u32 = number.parse().map_err(|_| ParseError::CSeq)?;
        if number >= 1 << 31 {
            return Err(ParseError::CSeq);
        }
        let method = Method::parse(method.trim()).ok_or(ParseError::CSeq)?;
        Ok(Self { number, method })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a response goes where the request came from, by received and rport.
    #[test]
    fn responses_follow_the_source() {
        let source: SocketAddr = "192.0.2.9:40000".parse().expect("address");
        let table = [
            ("SIP/2.0/UDP 192.0.2.9:5070;branch=z9hG4bKa", "192.0.2.9:5070"),
            ("SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKa", "192.0.2.9:5060"),
            ("SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bKa", "192.0.2.9:5070"),
            ("SIP/2.0/UDP 10.0.0.1:5070;rport;branch=z9hG4bKa", "192.0.2.9:40000"),
            ("SIP/2.0/UDP edge.example:5070;branch=z9hG4bKa", "192.0.2.9:5070"),
        ];
        for (text, wanted) in table {
            let mut via = Via::parse(text).expect(text);
            via.note_source(source);
            assert_eq!(via.response_address(), wanted.parse().ok(), "{text}");
        }
    }

    // Goal: Via values with odd but legal spelling are read, others refused.
    #[test]
    fn via_forms() {
        let odd = Via::parse("SIP / 2.0 / udp  [2001:db8::9]:5060 ; branch=z9hG4bK1;x=\"a;b\"")
            .expect("legal");
        assert_eq!(odd.transport, "UDP");
        assert_eq!(odd.branch(), Some("z9hG4bK1"));
        assert_eq!(odd.param("x"), Some(Some("\"a;b\"")));
        for text in ["", "SIP/2.0/UDP", "SIP/3.0/UDP h", "HTTP/2.0/UDP h", "SIP/2.0/UDP h:x"] {
            assert!(Via::parse(text).is_err(), "{text}");
        }
    }

    // Goal: lists split only at commas outside quotes and brackets.
    #[test]
    fn lists_split_outside_quotes() {
        assert_eq!(
            split_list(r#""a,b" <sip:x@h;p=1,2>, <sip:y@h> ,z"#),
            Ok(vec![r#""a,b" <sip:x@h;p=1,2>"#, "<sip:y@h>", "z"])
        );
        assert_eq!(split_list("\"open, x"), Err(ParseError::Quote));
        assert_eq!(
            header_param("SIP;cause=200;text=\"Call done, x\"", "text"),
            Some("Call done, x".into())
        );
        assert_eq!(header_param("SIP", "cause"), None);
    }

    // Goal: CSeq numbers up to 2^31-1 are read, the next one and nonsense refused.
    #[test]
    fn cseq_bounds() {
        assert_eq!(CSeq::parse("2147483647 ACK").map(|c| c.number), Ok(2_147_483_647));
        for text in ["2147483648 ACK", "-1 ACK", "1", "ACK 1", "1 ", "1 A B"] {
            assert!(CSeq::parse(text).is_err(), "{text}");
        }
    }
}
