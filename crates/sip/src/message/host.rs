//! Hosts: a name, an IPv4 address, or an IPv6 address in brackets.

use super::SyntaxError;
use crate::limits::HOST_BYTES_MAX;
use crate::scan::Scanner;
use crate::text::SipText;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A host of a URI or a Via.
///
/// Keeps its text as it came, so that it is written back byte for byte; compares by address, or by
/// name without case (RFC 3261 section 19.1.4).
#[derive(Clone)]
pub struct Host {
    text: SipText,
    address: Option<IpAddr>,
}

impl Host {
    /// The host that an address is.
    pub fn from_address(address: IpAddr) -> Self {
        let text = match address {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("[{v6}]"),
        };
        Self { text: SipText::composed(text), address: Some(address) }
    }

    /// Reads a complete host.
    ///
    /// # Errors
    /// [`SyntaxError::BadHost`].
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let text = SipText::copy_of(text).map_err(|_| SyntaxError::BadHost)?;
        let mut scan = Scanner::new(&text);
        let host = Self::scan(&mut scan)?;
        if scan.is_at_end() { Ok(host) } else { Err(SyntaxError::BadHost) }
    }

    /// The address, when it is one and not a name to resolve.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// The text as it stands in the message; IPv6 in brackets.
    pub fn text(&self) -> &SipText {
        &self.text
    }

    /// A form in which equal hosts are equal bytes: for keys of tables.
    pub(crate) fn key(&self) -> SipText {
        match self.address {
            Some(address) => Self::from_address(address).text,
            None => self.text.to_ascii_lowercase(),
        }
    }

    /// A copy with a buffer of its own.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self { text: self.text.detached(), address: self.address }
    }

    pub(crate) fn scan(scan: &mut Scanner<'_>) -> Result<Self, SyntaxError> {
        if scan.peek() == Some(b'[') {
            return Self::scan_ipv6(scan);
        }
        let text = scan.take_while(is_name_byte);
        if text.is_empty() || text.len() > HOST_BYTES_MAX {
            return Err(SyntaxError::BadHost);
        }
        let ascii = text.to_str().ok_or(SyntaxError::BadHost)?;
        let address = ascii.parse::<Ipv4Addr>().ok();
        if address.is_none() && !is_name(ascii) {
            return Err(SyntaxError::BadHost);
        }
        Ok(Self { address: address.map(IpAddr::V4), text })
    }

    fn scan_ipv6(scan: &mut Scanner<'_>) -> Result<Self, SyntaxError> {
        let close = scan.find(|b| b == b']').ok_or(SyntaxError::BadHost)?;
        let text = scan.take(close + 1);
        let inner = text.slice(1, close);
        let address =
            inner.to_str().and_then(|t| t.parse::<Ipv6Addr>().ok()).ok_or(SyntaxError::BadHost)?;
        Ok(Self { text, address: Some(IpAddr::V6(address)) })
    }
}

/// Reads `":" port`, if a colon is next; blanks are allowed around the colon where the grammar has
/// `COLON` (Via) and refused where it has `":"` (URI).
pub(crate) fn scan_port(
    scan: &mut Scanner<'_>,
    blanks: Blanks,
) -> Result<Option<u16>, SyntaxError> {
    let colon = match blanks {
        Blanks::Allowed => scan.eat_separator(b':'),
        Blanks::Refused => scan.eat(b':'),
    };
    if !colon {
        return Ok(None);
    }
    let port = scan.number(u64::from(u16::MAX)).map_err(|_| SyntaxError::BadPort)?;
    match u16::try_from(port) {
        Ok(0) | Err(_) => Err(SyntaxError::BadPort),
        Ok(port) => Ok(Some(port)),
    }
}

/// Whether blanks may stand around a separator.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blanks {
    Allowed,
    Refused,
}

/// Bytes of a host name. The underscore is not in the grammar but stands in many private names.
fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')
}

/// A name whose last label is not a number (RFC 3261 section 25.1: toplabel starts with a letter;
/// we only refuse what looks like a broken IPv4 address) and that has no empty label.
fn is_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let last_is_number =
        text.rsplit('.').next().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
    !last_is_number && text.split('.').all(|label| !label.is_empty())
}

impl PartialEq for Host {
    fn eq(&self, other: &Self) -> bool {
        match (self.address, other.address) {
            (Some(a), Some(b)) => a == b,
            (None, None) => self.text.as_bytes().eq_ignore_ascii_case(other.text.as_bytes()),
            _ => false,
        }
    }
}

impl Eq for Host {}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.text.as_bytes().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: names and addresses are read, what looks like a broken address is refused.
    #[test]
    fn hosts() {
        let good = [
            "example.com",
            "a",
            "sip_1.example",
            "192.0.2.1",
            "[2001:db8::1]",
            "x.y.",
            "[::ffff:192.0.2.1]",
        ];
        for host in good {
            assert_eq!(Host::parse(host).unwrap().text(), &host, "{host}");
        }
        let bad = [
            "",
            "2001:db8::1",
            "[2001:db8::1",
            "[fe80::1%25eth0]",
            "192.0.2.256",
            "192.0.2",
            "a..b",
            "..",
            "é",
            "[]",
        ];
        for host in bad {
            assert_eq!(Host::parse(host).err(), Some(SyntaxError::BadHost), "{host}");
        }
    }

    // Goal: two spellings of one IPv6 address are one host and one key, but each keeps its text.
    #[test]
    fn addresses_compare_by_value() {
        let (a, b) =
            (Host::parse("[2001:DB8:0::1]").unwrap(), Host::parse("[2001:db8::1]").unwrap());
        assert_eq!(a, b);
        assert_eq!(a.key(), b.key());
        assert_ne!(a.text(), b.text());
        assert_eq!(Host::parse("Example.COM").unwrap(), Host::parse("example.com").unwrap());
        assert_ne!(Host::parse("example.com").unwrap(), Host::parse("192.0.2.1").unwrap());
    }
}
