//! Hash algorithms of digest authentication.

use md5::{Digest, Md5};
use sha2::Sha256;

/// An algorithm; ordered by strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// MD5: for old phones only (RFC 8760 section 3).
    Md5,
    /// SHA-256 (RFC 7616, RFC 8760).
    Sha256,
}

impl Algorithm {
    /// The token in headers.
    pub fn token(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    /// Recognises a token; no token means MD5 (RFC 7616 section 3.3).
    pub fn from_token(token: Option<&[u8]>) -> Option<Self> {
        match token {
            None => Some(Self::Md5),
            Some(token) if token.eq_ignore_ascii_case(b"MD5") => Some(Self::Md5),
            Some(token) if token.eq_ignore_ascii_case(b"SHA-256") => Some(Self::Sha256),
            Some(_) => None,
        }
    }

    /// Length of a hash in bytes.
    pub fn hash_len(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha256 => 32,
        }
    }

    /// Hash of the parts joined by colons, as hexadecimal digits: `H(a:b:c)` of RFC 7616 section 3.4.
    pub(super) fn hash_joined(self, parts: &[&[u8]]) -> String {
        let joined = parts.join(&b':');
        match self {
            Self::Md5 => crate::prng::hex(&Md5::digest(&joined)),
            Self::Sha256 => crate::prng::hex(&Sha256::digest(&joined)),
        }
    }
}

/// The `response` value for `qop=auth` (RFC 7616 section 3.4.1):
/// `H(HA1 : nonce : nc : cnonce : "auth" : H(method : uri))`.
pub(super) fn auth_response(ha1: &super::Ha1, parts: &ResponseParts<'_>) -> String {
    let algorithm = ha1.algorithm();
    let ha2 = algorithm.hash_joined(&[parts.method, parts.uri]);
    algorithm.hash_joined(&[
        ha1.hex().as_bytes(),
        parts.nonce,
        parts.count,
        parts.cnonce,
        b"auth",
        ha2.as_bytes(),
    ])
}

/// What goes into a response, as it stands in the headers.
pub(super) struct ResponseParts<'a> {
    pub(super) method: &'a [u8],
    pub(super) uri: &'a [u8],
    pub(super) nonce: &'a [u8],
    /// Eight hexadecimal digits.
    pub(super) count: &'a [u8],
    pub(super) cnonce: &'a [u8],
}
