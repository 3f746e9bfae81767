//! Via: the way that a request came and its response goes (RFC 3261 sections 18.2, 20.42; RFC 3581).

use super::host::{Blanks, scan_port};
use super::{Host, Params, SyntaxError};
use crate::limits::{KEY_BYTES_MAX, VIAS_MAX};
use crate::scan::Scanner;
use crate::text::SipText;
use std::net::IpAddr;

/// What a branch of RFC 3261 starts with (section 8.1.1.7).
pub const BRANCH_COOKIE: &[u8] = b"z9hG4bK";

/// One Via value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    /// Transport as written: `UDP`, `TCP`, `TLS`, `WS`, … or one that we do not know.
    pub transport: SipText,
    /// Host of sent-by.
    pub host: Host,
    /// Port of sent-by.
    pub port: Option<u16>,
    /// Parameters: `branch`, `received`, `rport`, …
    pub params: Params,
}

/// The `rport` parameter of RFC 3581.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rport {
    /// The client did not ask.
    Absent,
    /// The client asks for the response to come to its source port.
    Requested,
    /// The server has filled in the source port.
    Filled(u16),
    /// A value that is no port; treated like `Requested` by a server, which overwrites it.
    Unreadable,
}

impl Via {
    /// A Via of ours: `SIP/2.0/<transport> host:port;branch=…;rport`.
    pub fn new(transport: SipText, host: Host, port: Option<u16>, branch: SipText) -> Self {
        let mut params = Params::new();
        params.set(SipText::from_static("branch"), Some(branch));
        params.set(SipText::from_static("rport"), None);
        Self { transport, host, port, params }
    }

    /// Reads the values of one header line.
    ///
    /// # Errors
    /// [`SyntaxError`], also [`SyntaxError::BadVia`] for a protocol other than SIP/2.0.
    pub(crate) fn parse_list(value: &SipText, into: &mut Vec<Via>) -> Result<(), SyntaxError> {
        let mut scan = Scanner::new(value);
        loop {
            if into.len() >= VIAS_MAX {
                return Err(SyntaxError::TooMany { what: "Via values", max: VIAS_MAX });
            }
            into.push(Self::scan(&mut scan)?);
            if !scan.eat_separator(b',') {
                return scan.expect_end();
            }
        }
    }

    /// The branch, when there is one with a value.
    pub fn branch(&self) -> Option<&SipText> {
        self.params.value("branch")
    }

    /// The branch, when it identifies a transaction: the magic cookie and something behind it (RFC
    /// 3261 section 17.2.3; RFC 4475 section 3.2.1 for the cookie alone).
    pub fn rfc3261_branch(&self) -> Option<&SipText> {
        self.branch().filter(|b| {
            b.as_bytes()
                .split_at_checked(BRANCH_COOKIE.len())
                .is_some_and(|(cookie, rest)| cookie == BRANCH_COOKIE && !rest.is_empty())
        })
    }

    /// The `received` address, in brackets or not (RFC 5118 section 4.5).
    pub fn received(&self) -> Option<IpAddr> {
        let text = self.params.value("received")?.to_str()?;
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        bare.parse().ok()
    }

    /// The `rport` parameter.
    pub fn rport(&self) -> Rport {
        match self.params.get("rport") {
            None => Rport::Absent,
            Some(None) => Rport::Requested,
            Some(Some(text)) => {
                let port = text.to_str().and_then(|t| t.parse().ok()).filter(|port| *port != 0);
                port.map_or(Rport::Unreadable, Rport::Filled)
            }
        }
    }

    /// A copy with buffers of its own, see [`SipText::detached`].
    #[must_use]
    pub fn detached(&self) -> Self {
        Self {
            transport: self.transport.detached(),
            host: self.host.detached(),
            port: self.port,
            params: self.params.detached(),
        }
    }

    /// sent-protocol LWS sent-by *( SEMI via-params ), RFC 3261 section 25.1.
    fn scan(scan: &mut Scanner<'_>) -> Result<Self, SyntaxError> {
        scan.skip_blanks();
        let protocol = scan.token()?;
        if !scan.eat_separator(b'/') {
            return Err(SyntaxError::BadVia);
        }
        let version = scan.token()?;
        if !protocol.eq_ignore_case("SIP") || version != "2.0" || !scan.eat_separator(b'/') {
            return Err(SyntaxError::BadVia);
        }
        let transport = scan.token()?;
        let before = scan.at();
        scan.skip_blanks();
        if scan.at() == before {
            return Err(SyntaxError::BadVia);
        }
        let host = Host::scan(scan)?;
        let port = scan_port(scan, Blanks::Allowed)?;
        let params = Params::scan_header(scan)?;
        let via = Self { transport, host, port, params };
        if via.branch().is_some_and(|b| b.len() > KEY_BYTES_MAX) {
            return Err(SyntaxError::TooMany { what: "bytes in a branch", max: KEY_BYTES_MAX });
        }
        Ok(via)
    }

    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"SIP/2.0/");
        out.extend_from_slice(self.transport.as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.host.text().as_bytes());
        if let Some(port) = self.port {
            out.extend_from_slice(format!(":{port}").as_bytes());
        }
        self.params.write_to(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<Via>, SyntaxError> {
        let mut vias = Vec::new();
        Via::parse_list(&SipText::copy_of(text).unwrap(), &mut vias)?;
        Ok(vias)
    }

    // Goal: blanks where the grammar allows them, unknown transports, IPv6, quoted parameters before
    // the branch.
    #[test]
    fn accepted_vias() {
        let vias = parse(
            "SIP  / 2.0 /  TLS  [2001:db8::1] : 5061 ; x=\"a;b,c\" ; branch = z9hG4bK1;rport, \
             sip/2.0/CARRIER-PIGEON h;received=[2001:db8::9];rport=5070;branch=z9hG4bK",
        )
        .unwrap();
        let [a, b] = vias.as_slice() else { unreachable!("two values") };
        assert_eq!((a.port, a.rport()), (Some(5061), Rport::Requested));
        assert_eq!(a.rfc3261_branch().unwrap(), &"z9hG4bK1");
        assert_eq!(a.host.text(), &"[2001:db8::1]");
        assert_eq!(b.transport, "CARRIER-PIGEON");
        assert_eq!(b.received(), Some("2001:db8::9".parse().unwrap()));
        assert_eq!(b.rport(), Rport::Filled(5070));
        assert_eq!(b.rfc3261_branch(), None, "the cookie alone names no transaction");
    }

    // Goal: broken values are refused, also when a good one stands before them.
    #[test]
    fn broken_vias() {
        let bad = [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0/UDPh;branch=1",
            "SIP/3.0/UDP h",
            "HTTP/2.0/UDP h",
            "SIP/2.0/UDP h;;,;,,",
            "SIP/2.0/UDP h;branch=",
            "SIP/2.0/UDP 2001:db8::1;branch=z",
            "SIP/2.0/UDP h, ",
            "SIP/2.0/UDP h, junk",
        ];
        for text in bad {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse("SIP/2.0/UDP h;rport=abc").unwrap()[0].rport(), Rport::Unreadable);
    }
}
