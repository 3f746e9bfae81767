//! The Digest headers: challenges and credentials (RFC 3261 section 25.1, RFC 7616 sections 3.3, 3.4).

use super::Algorithm;
use crate::limits::{AUTH_VALUE_BYTES_MAX, PARAMS_MAX};
use crate::message::SyntaxError;
use crate::meter::tick;
use crate::scan::{Scanner, quote, unquote};
use crate::text::SipText;
use std::fmt;

/// A WWW-Authenticate or Proxy-Authenticate value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Realm, without quotes.
    pub realm: Vec<u8>,
    /// Nonce, without quotes.
    pub nonce: Vec<u8>,
    /// Algorithm; `None` when we do not know it.
    pub algorithm: Option<Algorithm>,
    /// Whether `auth` is among the offered qualities of protection.
    pub qop: Option<Qop>,
    /// The last nonce was only too old: try again without asking the user.
    pub stale: bool,
    /// Opaque value to be returned.
    pub opaque: Option<Vec<u8>>,
}

/// Quality of protection, as far as we speak it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qop {
    /// `auth`.
    Auth,
    /// Another one.
    Other,
}

/// An Authorization or Proxy-Authorization value.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name, without quotes; personal data.
    pub username: Vec<u8>,
    /// Realm, without quotes.
    pub realm: Vec<u8>,
    /// Nonce, without quotes.
    pub nonce: Vec<u8>,
    /// URI as the client wrote it.
    pub uri: Vec<u8>,
    /// The hash, as hexadecimal digits.
    pub response: Vec<u8>,
    /// Algorithm; `None` when we do not know it.
    pub algorithm: Option<Algorithm>,
    /// Quality of protection; `None` in clients of RFC 2069.
    pub qop: Option<Qop>,
    /// Nonce count as written: eight hexadecimal digits.
    pub count: Vec<u8>,
    /// Client nonce.
    pub cnonce: Vec<u8>,
    /// Opaque value.
    pub opaque: Option<Vec<u8>>,
}

impl Challenge {
    /// Reads a header value; `None` for a scheme other than Digest.
    ///
    /// # Errors
    /// [`SyntaxError`].
    pub fn parse(value: &SipText) -> Result<Option<Self>, SyntaxError> {
        let Some(params) = AuthParams::parse_digest(value)? else { return Ok(None) };
        Ok(Some(Self {
            realm: params.required("realm")?,
            nonce: params.required("nonce")?,
            algorithm: Algorithm::from_token(params.get("algorithm").as_deref()),
            qop: params.get("qop").map(|list| qop_of(&list)),
            stale: params.get("stale").is_some_and(|s| s.eq_ignore_ascii_case(b"true")),
            opaque: params.get("opaque"),
        }))
    }

    /// The header value.
    pub fn to_text(&self) -> SipText {
        let mut out = b"Digest realm=".to_vec();
        out.extend(quote(&self.realm));
        out.extend_from_slice(b", nonce=");
        out.extend(quote(&self.nonce));
        if let Some(opaque) = &self.opaque {
            out.extend_from_slice(b", opaque=");
            out.extend(quote(opaque));
        }
        if let Some(algorithm) = self.algorithm {
            out.extend_from_slice(format!(", algorithm={}", algorithm.token()).as_bytes());
        }
        if self.stale {
            out.extend_from_slice(b", stale=true");
        }
        if self.qop == Some(Qop::Auth) {
            out.extend_from_slice(b", qop=\"auth\"");
        }
        SipText::trusted(out.into())
    }
}

impl Credentials {
    /// Reads a header value; `None` for a scheme other than Digest.
    ///
    /// # Errors
    /// [`SyntaxError`].
    pub fn parse(value: &SipText) -> Result<Option<Self>, SyntaxError> {
        let Some(params) = AuthParams::parse_digest(value)? else { return Ok(None) };
        Ok(Some(Self {
            username: params.required("username")?,
            realm: params.required("realm")?,
            nonce: params.required("nonce")?,
            uri: params.required("uri")?,
            response: params.required("response")?,
            algorithm: Algorithm::from_token(params.get("algorithm").as_deref()),
            qop: params.get("qop").map(|q| qop_of(&q)),
            count: params.get("nc").unwrap_or_default(),
            cnonce: params.get("cnonce").unwrap_or_default(),
            opaque: params.get("opaque"),
        }))
    }

    /// The header value. Without qop there is neither nonce count nor client nonce.
    pub fn to_text(&self) -> SipText {
        let mut out = b"Digest username=".to_vec();
        out.extend(quote(&self.username));
        for (name, value) in [
            (", realm=", &self.realm),
            (", nonce=", &self.nonce),
            (", uri=", &self.uri),
            (", response=", &self.response),
        ] {
            out.extend_from_slice(name.as_bytes());
            out.extend(quote(value));
        }
        if let Some(algorithm) = self.algorithm {
            out.extend_from_slice(format!(", algorithm={}", algorithm.token()).as_bytes());
        }
        if self.qop == Some(Qop::Auth) {
            out.extend_from_slice(b", cnonce=");
            out.extend(quote(&self.cnonce));
            out.extend_from_slice(b", qop=auth, nc=");
            out.extend_from_slice(&self.count);
        }
        if let Some(opaque) = &self.opaque {
            out.extend_from_slice(b", opaque=");
            out.extend(quote(opaque));
        }
        SipText::trusted(out.into())
    }

    /// The nonce count as a number.
    pub fn count_number(&self) -> Option<u32> {
        let digits = std::str::from_utf8(&self.count).ok().filter(|d| d.len() == 8)?;
        u32::from_str_radix(digits, 16).ok()
    }
}

impl fmt::Debug for Credentials {
    /// Neither user name nor hash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("realm", &format_args!("{}", self.realm.escape_ascii()))
            .field("algorithm", &self.algorithm)
            .field("qop", &self.qop)
            .finish_non_exhaustive()
    }
}

/// `auth` may stand in a list of offers.
fn qop_of(list: &[u8]) -> Qop {
    let mut offers = list.split(|b| matches!(b, b',' | b' ' | b'\t'));
    if offers.any(|offer| offer.eq_ignore_ascii_case(b"auth")) { Qop::Auth } else { Qop::Other }
}

/// `name=value` pairs separated by commas.
struct AuthParams(Vec<(SipText, SipText)>);

impl AuthParams {
    fn parse_digest(value: &SipText) -> Result<Option<Self>, SyntaxError> {
        let mut scan = Scanner::new(value);
        let scheme = scan.token()?;
        if !scheme.eq_ignore_case("Digest") {
            return Ok(None);
        }
        let at = scan.at();
        scan.skip_blanks();
        if scan.at() == at {
            return Err(SyntaxError::TokenExpected { at });
        }
        let mut params = Self(Vec::new());
        loop {
            params.push(&mut scan)?;
            if !scan.eat_separator(b',') {
                scan.expect_end()?;
                return Ok(Some(params));
            }
        }
    }

    fn push(&mut self, scan: &mut Scanner<'_>) -> Result<(), SyntaxError> {
        let at = scan.at();
        let name = scan.token()?;
        if !scan.eat_separator(b'=') {
            return Err(SyntaxError::BadParameter { at });
        }
        // Tokens by the grammar, but clients send unquoted URIs and base64 too.
        let value = if scan.peek() == Some(b'"') {
            scan.quoted_string()?
        } else {
            scan.take_while(|b| (0x21..=0x7e).contains(&b) && !matches!(b, b',' | b'"'))
        };
        if value.is_empty() {
            return Err(SyntaxError::BadParameter { at });
        }
        if value.len() > AUTH_VALUE_BYTES_MAX {
            let what = "bytes in a digest parameter";
            return Err(SyntaxError::TooMany { what, max: AUTH_VALUE_BYTES_MAX });
        }
        if self.0.len() >= PARAMS_MAX {
            return Err(SyntaxError::TooMany { what: "parameters", max: PARAMS_MAX });
        }
        tick(self.0.len());
        if self.0.iter().any(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name.as_bytes())) {
            return Err(SyntaxError::RepeatedParameter);
        }
        self.0.push((name, value));
        Ok(())
    }

    fn get(&self, name: &str) -> Option<Vec<u8>> {
        tick(self.0.len());
        let found = self.0.iter().find(|(known, _)| known.eq_ignore_case(name));
        found.map(|(_, value)| unquote(value.as_bytes()))
    }

    fn required(&self, name: &str) -> Result<Vec<u8>, SyntaxError> {
        self.get(name).ok_or(SyntaxError::Empty)
    }
}
