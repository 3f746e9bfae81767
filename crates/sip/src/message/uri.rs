//! URIs: `sip:` and `sips:` in parts, `tel:` as number and parameters, any other scheme whole.
//!
//! Parts stay as they came, escapes included (`%40` is never decoded and so never encoded twice).
//! URIs are ASCII. Comparison lives in `uri_compare`.

use super::host::{Blanks, scan_port};
use super::{Host, Params, SyntaxError};
use crate::limits::URI_BYTES_MAX;
use crate::meter::tick;
use crate::redact::Redacted;
use crate::scan::Scanner;
use crate::text::SipText;
use std::fmt;

/// A URI of any scheme.
#[derive(Clone, PartialEq, Eq)]
pub enum Uri {
    /// `sip:` or `sips:` (RFC 3261 section 19.1).
    Sip(SipUri),
    /// `tel:` (RFC 3966).
    Tel(TelUri),
    /// Any other scheme, kept as it came.
    Other(OtherUri),
}

/// Which of the two SIP schemes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SipScheme {
    /// `sip:`
    Sip,
    /// `sips:`: every hop must be secured (RFC 5630).
    Sips,
}

/// A `sip:` or `sips:` URI. `PartialEq` compares the parts as written; for equality in the sense of
/// RFC 3261 section 19.1.4 see [`Uri::is_equivalent`].
#[derive(Clone, PartialEq, Eq)]
pub struct SipUri {
    /// Scheme.
    pub scheme: SipScheme,
    /// User part with its escapes; personal data.
    pub user: Option<SipText>,
    /// Password part; never use it (RFC 3261 section 19.1.1 advises against it).
    pub password: Option<SipText>,
    /// Host.
    pub host: Host,
    /// Port; `None` means the default of the transport.
    pub port: Option<u16>,
    /// Parameters.
    pub params: Params,
    /// What follows `?`, raw.
    pub headers: Option<SipText>,
}

/// A `tel:` URI.
#[derive(Clone, PartialEq, Eq)]
pub struct TelUri {
    /// The number as written, visual separators included; personal data.
    pub number: SipText,
    /// Parameters (`phone-context`, `ext`, `isub`, …).
    pub params: Params,
}

/// A URI of a scheme that we do not look into.
#[derive(Clone, PartialEq, Eq)]
pub struct OtherUri {
    /// The scheme as written, without colon.
    pub scheme: SipText,
    /// Everything after the colon.
    pub rest: SipText,
}

impl Uri {
    /// Reads a complete URI.
    ///
    /// # Errors
    /// The [`SyntaxError`] that says where it breaks its grammar (RFC 3261 section 25.1, RFC 3966
    /// section 3, RFC 3986 section 3).
    ///
    /// ```
    /// use tandem_sip::message::Uri;
    /// let uri = Uri::parse("sip:%40dave@[2001:db8::1]:5070;transport=tcp").unwrap();
    /// let sip = uri.as_sip().unwrap();
    /// assert_eq!(sip.user.as_ref().unwrap(), &"%40dave");
    /// assert_eq!(sip.port, Some(5070));
    /// assert_eq!(uri.expose(), "sip:%40dave@[2001:db8::1]:5070;transport=tcp");
    /// ```
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let text =
            SipText::copy_of(text).map_err(|fault| SyntaxError::BadUriByte { at: fault.at })?;
        Self::from_text(&text)
    }

    /// Reads a complete URI that shares its buffer with `text`.
    ///
    /// # Errors
    /// As [`Uri::parse`].
    pub fn from_text(text: &SipText) -> Result<Self, SyntaxError> {
        if text.len() > URI_BYTES_MAX {
            return Err(SyntaxError::TooMany { what: "bytes in a URI", max: URI_BYTES_MAX });
        }
        check_visible_ascii(text)?;
        let mut scan = Scanner::new(text);
        let scheme = scan.take_while(is_scheme_byte);
        if scheme.is_empty() || !starts_with_letter(&scheme) || !scan.eat(b':') {
            return Err(SyntaxError::NoScheme);
        }
        let rest = text.slice(scan.at(), text.len());
        if scheme.eq_ignore_case("sip") {
            SipUri::parse_rest(SipScheme::Sip, &rest).map(Self::Sip)
        } else if scheme.eq_ignore_case("sips") {
            SipUri::parse_rest(SipScheme::Sips, &rest).map(Self::Sip)
        } else if scheme.eq_ignore_case("tel") {
            TelUri::parse_rest(&rest).map(Self::Tel)
        } else if rest.is_empty() {
            Err(SyntaxError::Empty)
        } else {
            Ok(Self::Other(OtherUri { scheme, rest }))
        }
    }

    /// The parts of a `sip:` or `sips:` URI.
    pub fn as_sip(&self) -> Option<&SipUri> {
        match self {
            Self::Sip(sip) => Some(sip),
            _ => None,
        }
    }

    /// Whether the scheme is `sips:`.
    pub fn is_secure(&self) -> bool {
        self.as_sip().is_some_and(|sip| sip.scheme == SipScheme::Sips)
    }

    /// The whole URI in clear: for messages and records, never for logs.
    pub fn expose(&self) -> String {
        let mut out = Vec::new();
        self.write_to(&mut out);
        // Every URI was checked to be ASCII when it was read, so nothing is lost here.
        out.into_iter().map(char::from).collect()
    }

    /// A copy with buffers of its own, see [`SipText::detached`].
    #[must_use]
    pub fn detached(&self) -> Self {
        match self {
            Self::Sip(sip) => Self::Sip(SipUri {
                scheme: sip.scheme,
                user: sip.user.as_ref().map(SipText::detached),
                password: sip.password.as_ref().map(SipText::detached),
                host: sip.host.detached(),
                port: sip.port,
                params: sip.params.detached(),
                headers: sip.headers.as_ref().map(SipText::detached),
            }),
            Self::Tel(tel) => {
                Self::Tel(TelUri { number: tel.number.detached(), params: tel.params.detached() })
            }
            Self::Other(other) => Self::Other(OtherUri {
                scheme: other.scheme.detached(),
                rest: other.rest.detached(),
            }),
        }
    }

    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        match self {
            Self::Sip(sip) => sip.write_to(out),
            Self::Tel(tel) => {
                out.extend_from_slice(b"tel:");
                out.extend_from_slice(tel.number.as_bytes());
                tel.params.write_to(out);
            }
            Self::Other(other) => {
                out.extend_from_slice(other.scheme.as_bytes());
                out.push(b':');
                out.extend_from_slice(other.rest.as_bytes());
            }
        }
    }
}

impl From<SipUri> for Uri {
    fn from(uri: SipUri) -> Self {
        Self::Sip(uri)
    }
}

impl SipUri {
    /// `sip:user@host` without port and parameters.
    ///
    /// # Errors
    /// [`SyntaxError`] when the user part holds bytes that need an escape; use [`escape_user`].
    pub fn new(user: Option<&str>, host: Host, port: Option<u16>) -> Result<Self, SyntaxError> {
        let user = match user {
            Some(user) => {
                let text = SipText::copy_of(user)
                    .map_err(|fault| SyntaxError::BadUriByte { at: fault.at })?;
                check_user(&text)?;
                Some(text)
            }
            None => None,
        };
        let (password, params, headers) = (None, Params::new(), None);
        Ok(Self { scheme: SipScheme::Sip, user, password, host, port, params, headers })
    }

    /// The user part with its escapes resolved: for comparison and look-ups; personal data.
    pub fn user_decoded(&self) -> Option<Vec<u8>> {
        self.user.as_ref().map(|user| unescape(user.as_bytes()))
    }

    /// Whether the URI asks for loose routing (RFC 3261 section 19.1.1, `lr`).
    pub fn is_loose_router(&self) -> bool {
        self.params.has("lr")
    }

    fn parse_rest(scheme: SipScheme, rest: &SipText) -> Result<Self, SyntaxError> {
        // Neither host, parameters nor headers can hold "@" (RFC 3261 section 25.1), so the first
        // one ends the user part; ";" "?" "/" before it belong to the user.
        let at_sign = rest.as_bytes().iter().position(|b| *b == b'@');
        tick(at_sign.unwrap_or(rest.len()) + 1);
        let (user, password, host_part) = match at_sign {
            None => (None, None, rest.clone()),
            Some(at) => {
                let (user, password) = parse_userinfo(&rest.slice(0, at))?;
                (Some(user), password, rest.slice(at + 1, rest.len()))
            }
        };
        let mut scan = Scanner::new(&host_part);
        let host = Host::scan(&mut scan)?;
        let port = scan_port(&mut scan, Blanks::Refused)?;
        let question = scan.find(|b| b == b'?');
        let after_host = scan.at();
        let params_end = question.map_or(host_part.len(), |offset| after_host + offset);
        let params = Params::parse_uri(&host_part.slice(after_host, params_end))?;
        let headers = question.map(|_| host_part.slice(params_end + 1, host_part.len()));
        if let Some(headers) = &headers {
            check_headers(headers)?;
        }
        Ok(Self { scheme, user, password, host, port, params, headers })
    }

    fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(match self.scheme {
            SipScheme::Sip => b"sip:",
            SipScheme::Sips => b"sips:",
        });
        if let Some(user) = &self.user {
            out.extend_from_slice(user.as_bytes());
            if let Some(password) = &self.password {
                out.push(b':');
                out.extend_from_slice(password.as_bytes());
            }
            out.push(b'@');
        }
        out.extend_from_slice(self.host.text().as_bytes());
        if let Some(port) = self.port {
            out.extend_from_slice(format!(":{port}").as_bytes());
        }
        self.params.write_to(out);
        if let Some(headers) = &self.headers {
            out.push(b'?');
            out.extend_from_slice(headers.as_bytes());
        }
    }
}

impl TelUri {
    fn parse_rest(rest: &SipText) -> Result<Self, SyntaxError> {
        let mut scan = Scanner::new(rest);
        let number = scan.take_while(is_tel_byte);
        if number.is_empty() {
            return Err(SyntaxError::Empty);
        }
        let params = Params::parse_uri(&rest.slice(number.len(), rest.len()))?;
        Ok(Self { number, params })
    }
}

fn parse_userinfo(info: &SipText) -> Result<(SipText, Option<SipText>), SyntaxError> {
    let colon = info.as_bytes().iter().position(|b| *b == b':');
    tick(colon.unwrap_or(info.len()) + 1);
    let (user, password) = match colon {
        None => (info.clone(), None),
        Some(at) => (info.slice(0, at), Some(info.slice(at + 1, info.len()))),
    };
    check_user(&user)?;
    if let Some(password) = &password {
        check_set(password, |b| is_unreserved(b) || matches!(b, b'&' | b'=' | b'+' | b'$' | b','))?;
        check_escapes(password.as_bytes())?;
    }
    Ok((user, password))
}

/// `user` of RFC 3261 section 25.1, plus `#`, which carriers send in service codes (`*31#`).
fn check_user(user: &SipText) -> Result<(), SyntaxError> {
    if user.is_empty() {
        return Err(SyntaxError::Empty);
    }
    check_set(user, is_user_byte)?;
    check_escapes(user.as_bytes())
}

fn is_user_byte(b: u8) -> bool {
    is_unreserved(b) || matches!(b, b'&' | b'=' | b'+' | b'$' | b',' | b';' | b'?' | b'/' | b'#')
}

fn check_headers(headers: &SipText) -> Result<(), SyntaxError> {
    if headers.is_empty() {
        return Err(SyntaxError::Empty);
    }
    check_set(headers, |b| {
        is_unreserved(b)
            || matches!(b, b'[' | b']' | b'/' | b'?' | b':' | b'+' | b'$' | b'=' | b'&')
    })?;
    check_escapes(headers.as_bytes())
}

/// `unreserved` of RFC 3261 section 25.1, and `%`, whose digits [`check_escapes`] looks at.
fn is_unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(b, b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')' | b'%')
}

fn is_scheme_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.')
}

fn starts_with_letter(scheme: &SipText) -> bool {
    scheme.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
}

/// Digits and visual separators of RFC 3966 section 3, for global and local numbers.
fn is_tel_byte(b: u8) -> bool {
    b.is_ascii_hexdigit() || matches!(b, b'+' | b'-' | b'.' | b'(' | b')' | b'*' | b'#')
}

fn check_visible_ascii(text: &SipText) -> Result<(), SyntaxError> {
    check_set(text, |b| (0x21..=0x7e).contains(&b) && !matches!(b, b'<' | b'>' | b'"'))
}

fn check_set(text: &SipText, belongs: impl Fn(u8) -> bool) -> Result<(), SyntaxError> {
    tick(text.len());
    match text.as_bytes().iter().position(|b| !belongs(*b)) {
        Some(at) => Err(SyntaxError::BadUriByte { at }),
        None => Ok(()),
    }
}

/// Every `%` is followed by two hexadecimal digits.
pub(crate) fn check_escapes(bytes: &[u8]) -> Result<(), SyntaxError> {
    tick(bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        if *byte == b'%' {
            let digits = bytes.get(at + 1..at + 3).unwrap_or_default();
            if digits.len() != 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
                return Err(SyntaxError::BadEscape { at });
            }
        }
    }
    Ok(())
}

/// Resolves `%XX`; text that was checked has no broken escape, others are left as they are.
pub(crate) fn unescape(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        tick(1);
        let decoded = match (*first, tail) {
            (b'%', [high, low, ..]) => hex_pair(*high, *low),
            _ => None,
        };
        match decoded {
            Some(byte) => {
                plain.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    plain
}

/// Escapes bytes so that they can stand in a user part (RFC 3261 section 19.1.2). For plain text
/// only: text that came from a message is escaped already.
///
/// ```
/// assert_eq!(tandem_sip::message::escape_user("j@smith".as_bytes()), "j%40smith");
/// ```
pub fn escape_user(plain: &[u8]) -> String {
    plain.iter().fold(String::with_capacity(plain.len()), |mut escaped, byte| {
        if is_user_byte(*byte) && !matches!(byte, b'%' | b'#') {
            escaped.push(char::from(*byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
        escaped
    })
}

fn hex_pair(high: u8, low: u8) -> Option<u8> {
    let high = char::from(high).to_digit(16)?;
    let low = char::from(low).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sip(sip) => sip.fmt(f),
            Self::Tel(tel) => tel.fmt(f),
            Self::Other(other) => other.fmt(f),
        }
    }
}

impl fmt::Debug for SipUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            SipScheme::Sip => "sip",
            SipScheme::Sips => "sips",
        };
        write!(f, "{scheme}:")?;
        if let Some(user) = &self.user {
            write!(f, "{}@", Redacted(user.as_bytes()))?;
        }
        write!(f, "{:?}", self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for TelUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tel:{}", Redacted(self.number.as_bytes()))
    }
}

impl fmt::Debug for OtherUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:…", self.scheme.as_bytes().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: what carriers send is read into the right parts and written back byte for byte.
    #[test]
    fn accepted_uris_round_trip() {
        let rows: [(&str, Option<&str>, &str, Option<u16>); 12] = [
            ("sip:alice@example.com", Some("alice"), "example.com", None),
            ("sips:alice:pw@example.com:5061", Some("alice"), "example.com", Some(5061)),
            ("sip:example.com;lr", None, "example.com", None),
            (
                "sip:user;par=u%40example.net@example.com",
                Some("user;par=u%40example.net"),
                "example.com",
                None,
            ),
            ("sip:%40@h", Some("%40"), "h", None),
            ("sip:a%00b@h", Some("a%00b"), "h", None),
            ("sip:*31#+4420@h", Some("*31#+4420"), "h", None),
            ("sip:1@[2001:db8::9]:5062;transport=tcp", Some("1"), "[2001:db8::9]", Some(5062)),
            ("sip:[2001:db8::10:5070]", None, "[2001:db8::10:5070]", None),
            ("sip:a@h;x=1;y?Route=%3Csip:b%3E&z=1", Some("a"), "h", None),
            ("SIP:a@h", Some("a"), "h", None),
            ("sip:a/b?c@h", Some("a/b?c"), "h", None),
        ];
        for (text, user, host, port) in rows {
            let uri = Uri::parse(text).unwrap();
            let sip = uri.as_sip().unwrap();
            assert_eq!(sip.user.as_ref().map(|u| u.to_str().unwrap()), user, "{text}");
            assert_eq!(sip.host.text(), &host, "{text}");
            assert_eq!(sip.port, port, "{text}");
            assert_eq!(uri.expose(), text.replace("SIP:", "sip:"), "{text}");
        }
    }

    // Goal: each broken URI is refused for its own reason.
    #[test]
    fn broken_uris_are_refused() {
        let rows = [
            ("alice@example.com", SyntaxError::NoScheme),
            ("sip:", SyntaxError::BadHost),
            ("sip:@h", SyntaxError::Empty),
            ("sip:a@b@c", SyntaxError::TrailingData { at: 0 }),
            ("sip:a%4@h", SyntaxError::BadEscape { at: 1 }),
            ("sip:a%zz@h", SyntaxError::BadEscape { at: 1 }),
            ("sip:a b@h", SyntaxError::BadUriByte { at: 5 }),
            ("sip:é@h", SyntaxError::BadUriByte { at: 4 }),
            ("sip:a@2001:db8::1", SyntaxError::BadHost),
            ("sip:a@h:", SyntaxError::BadPort),
            ("sip:a@h:0", SyntaxError::BadPort),
            ("sip:a@h:65536", SyntaxError::BadPort),
            ("sip:a@h;;x", SyntaxError::BadParameter { at: 1 }),
            ("sip:a@h;x=1;X=2", SyntaxError::RepeatedParameter),
            ("sip:a@h?", SyntaxError::Empty),
            ("tel:", SyntaxError::Empty),
            ("tel:+44;;", SyntaxError::BadParameter { at: 1 }),
            ("1sip:a", SyntaxError::NoScheme),
        ];
        for (text, fault) in rows {
            assert_eq!(Uri::parse(text).err(), Some(fault), "{text}");
        }
    }

    // Goal: schemes that we do not know are kept whole.
    #[test]
    fn other_schemes_stay_opaque() {
        for text in ["urn:service:sos", "soap.beep://192.0.2.1:3002", "http://a/b?c=d%20e"] {
            assert_eq!(Uri::parse(text).unwrap().expose(), text);
        }
        let tel = Uri::parse("tel:+44-20-7946;ext=12").unwrap();
        assert!(matches!(&tel, Uri::Tel(t) if t.number == "+44-20-7946" && t.params.has("ext")));
        assert_eq!(tel.expose(), "tel:+44-20-7946;ext=12");
    }

    // Goal: escaping our own text and reading it back gives the same bytes.
    #[test]
    fn escaping_round_trip() {
        for plain in [&b"j@smith"[..], b"100%", b"a b", b"#31#", "é".as_bytes()] {
            assert_eq!(unescape(escape_user(plain).as_bytes()), plain);
        }
        assert_eq!(unescape(b"a%4"), b"a%4");
    }

    // Goal: no debug output shows a user part or a number.
    #[test]
    fn debug_hides_users() {
        let shown = |text: &str| format!("{:?}", Uri::parse(text).unwrap());
        assert_eq!(shown("sip:+442079460089:secret@h:5070;x=y?z=1"), "sip:…89@h:5070");
        assert_eq!(shown("sip:alice@h"), "sip:…@h");
        assert_eq!(shown("tel:+442079460089"), "tel:…89");
        assert_eq!(shown("mailto:bob@example.com"), "mailto:…");
    }
}
