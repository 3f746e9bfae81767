//! SIP URIs (RFC 3261 19.1) and the name-addr of From, To, Contact, Route (RFC 3261 20.10).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::error::ParseError;
use super::header::{find_unquoted, parse_params};

/// The host part of a SIP URI or of a Via.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Host {
    /// An address; IPv6 stands in brackets on the wire.
    Ip(IpAddr),
    /// A name, lower-cased.
    Name(String),
}

impl Host {
    /// Reads `192.0.2.1`, `[2001:db8::1]` or a host name.
    ///
    /// # Errors
    /// `ParseError::Host` when the text is none of them.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return inner
                .parse::<Ipv6Addr>()
                .map(|ip| Self::Ip(IpAddr::V6(ip)))
                .map_err(|_| ParseError::Host);
        }
        if let Ok(ip) = text.parse::<std::net::Ipv4Addr>() {
            return Ok(Self::Ip(IpAddr::V4(ip)));
        }
        let is_name = !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
        if is_name { Ok(Self::Name(text.to_ascii_lowercase())) } else { Err(ParseError::Host) }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Ip(ip) => write!(f, "{ip}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Reads `host[:port]`.
pub(super) fn parse_host_port(text: &str) -> Result<(Host, Option<u16>), ParseError> {
    let text = text.trim();
    let split_at = match text.rfind(']') {
        Some(end) => text[end..].find(':').map(|at| end + at),
        None => text.rfind(':'),
    };
    match split_at {
        Some(at) => {
            let port: u16 = text[at + 1..].trim().parse().map_err(|_| ParseError::Port)?;
            Ok((Host::parse(text[..at].trim())?, Some(port)))
        }
        None => Ok((Host::parse(text)?, None)),
    }
}

/// A `sip:` or `sips:` URI. Parameters keep their order; the user part is kept verbatim, escapes
/// included.
#[derive(Clone, PartialEq, Eq)]
pub struct SipUri {
    /// `sips` instead of `sip`.
    pub secure: bool,
    /// User part (with a password, if there is one), verbatim.
    pub user: Option<String>,
    /// Host.
    pub host: Host,
    /// Port, when written.
    pub port: Option<u16>,
    /// Parameters after `;`, names lower-cased.
    pub params: Vec<(String, Option<String>)>,
    /// Everything after `?`, verbatim.
    pub headers: Option<String>,
}

impl SipUri {
    /// `sip:user@address:port`.
    #[must_use]
    pub fn at(user: &str, address: SocketAddr) -> Self {
        Self {
            secure: false,
            user: (!user.is_empty()).then(|| user.to_owned()),
            host: Host::Ip(address.ip()),
            port: Some(address.port()),
            params: Vec::new(),
            headers: None,
        }
    }

    /// The value of a parameter: `Some(None)` when it stands there without a value.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<Option<&str>> {
        self.params.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_deref())
    }

    /// Adds or replaces a parameter.
    #[must_use]
    pub fn with_param(mut self, name: &str, value: Option<&str>) -> Self {
        self.params.retain(|(n, _)| n != name);
        self.params.push((name.to_owned(), value.map(str::to_owned)));
        self
    }

    /// Where to send to when the host is an address; port 5060 when none is written.
    #[must_use]
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match &self.host {
            Host::Ip(ip) => Some(SocketAddr::new(*ip, self.port.unwrap_or(5060))),
            Host::Name(_) => None,
        }
    }
}

impl fmt::Display for SipUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.secure { "sips:" } else { "sip:" })?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        write!(f, "{}", self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        for (name, value) in &self.params {
            match value {
                Some(value) => write!(f, ";{name}={value}")?,
                None => write!(f, ";{name}")?,
            }
        }
        if let Some(headers) = &self.headers {
            write!(f, "?{headers}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for SipUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.user.as_deref().map(super::masked).unwrap_or_default();
        write!(f, "sip:{user}@{}:{:?}", self.host, self.port)
    }
}

/// Any URI: understood when `sip:` or `sips:`, else kept as text.
#[derive(Clone, PartialEq, Eq)]
pub enum Uri {
    /// `sip:` or `sips:`.
    Sip(SipUri),
    /// Another scheme (`tel:` …), verbatim.
    Other(String),
}

impl Uri {
    /// Reads a URI.
    ///
    /// # Errors
    /// `ParseError::Uri`, `Host` or `Port` when it is malformed.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let text = text.trim();
        let (scheme, rest) = text.split_once(':').ok_or(ParseError::Uri)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "sip" => false,
            "sips" => true,
            other => {
                let is_scheme = other.starts_with(|c: char| c.is_ascii_alphabetic())
                    && other.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
                let is_token = !rest.is_empty() && !rest.contains(|c: char| " <>\"".contains(c));
                return if is_scheme && is_token {
                    Ok(Self::Other(text.to_owned()))
                } else {
                    Err(ParseError::Uri)
                };
            }
        };
        if rest.contains(|c: char| c.is_whitespace() || "<>\"".contains(c)) {
            return Err(ParseError::Uri);
        }
        parse_sip_rest(secure, rest).map(Self::Sip)
    }

    /// The SIP URI, when it is one.
    #[must_use]
    pub fn as_sip(&self) -> Option<&SipUri> {
        match self {
            Self::Sip(uri) => Some(uri),
            Self::Other(_) => None,
        }
    }
}

/// Parses what follows the scheme: `[user@]host[:port][;params][?headers]`. The user part may hold
/// `;` and `?`, so the `@` is looked for first (RFC 3261 25.1: it cannot stand unescaped elsewhere
/// before the host).
fn parse_sip_rest(secure: bool, rest: &str) -> Result<SipUri, ParseError> {
    let (user, after_user) = match rest.find('@') {
        Some(0) => return Err(ParseError::Uri),
        Some(at) => (Some(rest[..at].to_owned()), &rest[at + 1..]),
        None => (None, rest),
    };
    let (before_headers, headers) = match after_user.split_once('?') {
        Some((before, headers)) => (before, Some(headers.to_owned())),
        None => (after_user, None),
    };
    let (host_port, params) = match before_headers.split_once(';') {
        Some((host_port, params)) => (host_port, parse_params(params)?),
        None => (before_headers, Vec::new()),
    };
    let (host, port) = parse_host_port(host_port)?;
    Ok(SipUri { secure, user, host, port, params, headers })
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sip(uri) => uri.fmt(f),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sip(uri) => fmt::Debug::fmt(uri, f),
            Self::Other(text) => {
                let (scheme, rest) = text.split_once(':').unwrap_or(("", text));
                write!(f, "{scheme}:{}", super::masked(rest))
            }
        }
    }
}

/// `"Name" <uri>;params` or `uri;params` (where the parameters belong to the header).
#[derive(Clone, PartialEq, Eq)]
pub struct NameAddr {
    /// Display name without its quotes, escapes kept.
    pub display: Option<String>,
    /// The URI.
    pub uri: Uri,
    /// Header parameters, names lower-cased.
    pub params: Vec<(String, Option<String>)>,
}

impl NameAddr {
    /// Reads one name-addr or addr-spec with its header parameters.
    ///
    /// # Errors
    /// `ParseError::NameAddr`, or what the URI or a parameter is refused for.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let text = text.trim();
        match find_unquoted(text, b'<') {
            Some(open) => {
                let close = text[open..].find('>').ok_or(ParseError::NameAddr)? + open;
                let display = text[..open].trim();
                let display = match display.strip_prefix('"') {
                    Some(inner) => Some(inner.strip_suffix('"').ok_or(ParseError::NameAddr)?),
                    None => Some(display).filter(|name| !name.is_empty()),
                };
                let uri = Uri::parse(&text[open + 1..close])?;
                Ok(Self {
                    display: display.map(str::to_owned),
                    uri,
                    params: tail_params(&text[close + 1..])?,
                })
            }
            None => {
                // RFC 3261 20: without brackets, parameters belong to the header.
                let (uri, params) = match text.find(';') {
                    Some(at) => (&text[..at], &text[at..]),
                    None => (text, ""),
                };
                Ok(Self { display: None, uri: Uri::parse(uri)?, params: tail_params(params)? })
            }
        }
    }

    /// The value of a header parameter (`tag`, `expires` …) that has one.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(n, _)| n == name).and_then(|(_, value)| value.as_deref())
    }

    /// The `tag` of a From or To.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.param("tag")
    }
}

fn tail_params(text: &str) -> Result<Vec<(String, Option<String>)>, ParseError> {
    let text = text.trim();
    match text.strip_prefix(';') {
        Some(params) => parse_params(params),
        None if text.is_empty() => Ok(Vec::new()),
        None => Err(ParseError::NameAddr),
    }
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(display) = &self.display {
            write!(f, "\"{display}\" ")?;
        }
        write!(f, "<{}>", self.uri)?;
        for (name, value) in &self.params {
            match value {
                Some(value) => write!(f, ";{name}={value}")?,
                None => write!(f, ";{name}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{:?}>", self.uri)?;
        self.tag().map_or(Ok(()), |tag| write!(f, ";tag={tag}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: what carriers and phones write as URIs is read right, and printed back the same.
    #[test]
    fn uris_are_read_and_printed() {
        type Expected = (Option<&'static str>, &'static str, Option<u16>);
        let table: [(&str, Expected); 9] = [
            ("sip:1001@192.0.2.1", (Some("1001"), "192.0.2.1", None)),
            ("sip:+44207@192.0.2.1:5070;transport=tcp", (Some("+44207"), "192.0.2.1", Some(5070))),
            ("sip:a;x=1@host.example;lr", (Some("a;x=1"), "host.example", None)),
            ("sip:j%40son@example.com", (Some("j%40son"), "example.com", None)),
            ("sips:[2001:db8::1]:5061", (None, "[2001:db8::1]", Some(5061))),
            ("sip:[2001:db8::1]", (None, "[2001:db8::1]", None)),
            ("sip:u:pw@h?Subject=x", (Some("u:pw"), "h", None)),
            ("sip:127.0.1.50:5060;lr", (None, "127.0.1.50", Some(5060))),
            ("SIP:a@B.Example", (Some("a"), "b.example", None)),
        ];
        for (text, (user, host, port)) in table {
            let uri = Uri::parse(text).expect(text);
            let sip = uri.as_sip().expect(text);
            assert_eq!((sip.user.as_deref(), sip.port), (user, port), "{text}");
            assert_eq!(sip.host.to_string(), host, "{text}");
            assert_eq!(Uri::parse(&uri.to_string()).as_ref(), Ok(&uri), "{text}");
        }
        assert_eq!(Uri::parse("tel:+1-201"), Ok(Uri::Other("tel:+1-201".into())));
    }

    // Goal: malformed URIs are refused, never half-read.
    #[test]
    fn malformed_uris_are_refused() {
        for text in [
            "",
            "sip",
            "sip:",
            "sip:@h",
            "sip:a@",
            "sip:a@h:99999",
            "sip:a@h:",
            "sip:a b@h",
            "sip:a@[::1",
            "sip:a@h ost",
            "1tel:5",
            "sip:a@<h>",
            "tel:",
        ] {
            assert!(Uri::parse(text).is_err(), "{text}");
        }
    }

    // Goal: name-addr keeps commas and brackets of quoted names, and knows whose parameters are whose.
    #[test]
    fn name_addr_forms() {
        let table = [
            (r#""A, <B>" <sip:a@h;x=1>;tag=t"#, Some("A, <B>"), "sip:a@h;x=1", Some("t")),
            (r#""q\"uote" <sip:a@h>"#, Some(r#"q\"uote"#), "sip:a@h", None),
            ("Bob <sip:b@h> ; tag=9", Some("Bob"), "sip:b@h", Some("9")),
            ("sip:b@h;tag=z", None, "sip:b@h", Some("z")),
            ("<sip:b@h>", None, "sip:b@h", None),
        ];
        for (text, display, uri, tag) in table {
            let parsed = NameAddr::parse(text).expect(text);
            assert_eq!(parsed.display.as_deref(), display, "{text}");
            assert_eq!(parsed.uri.to_string(), uri, "{text}");
            assert_eq!(parsed.tag(), tag, "{text}");
            assert_eq!(NameAddr::parse(&parsed.to_string()).as_ref(), Ok(&parsed), "{text}");
        }
        for text in ["<sip:a@h", "\"open <sip:a@h>", "<sip:a@h> x", "", "<>"] {
            assert!(NameAddr::parse(text).is_err(), "{text}");
        }
    }

    // Goal: Debug output shows no number in clear.
    #[test]
    fn debug_hides_the_user() {
        let uri = Uri::parse("sip:+442079460958@192.0.2.1").expect("valid");
        assert!(!format!("{uri:?}").contains("7946"), "{uri:?}");
        let tel = Uri::parse("tel:+442079460958").expect("valid");
        assert!(!format!("{tel:?}").contains("7946"), "{tel:?}");
    }
}
