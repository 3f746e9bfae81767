//! [`SipText`]: the piece of a message that everything else is made of.
//!
//! A message is read into one buffer, and its parts share that buffer by reference count. A part is
//! *bytes*: mostly ASCII, sometimes UTF-8 or an old 8-bit alphabet in a display name, and it is
//! written back as it came. Grammar lives in `scan`, not here.

use bytes::Bytes;
use std::fmt;

/// A piece of one header line: any bytes but CR and LF, cheap to clone.
///
/// Invariant: holds no CR and no LF, so that writing it into a message cannot start another header.
/// Bytes are never converted: what came is what leaves.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SipText(Bytes);

/// Why bytes were refused as a [`SipText`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "text holds a line break at byte {at}: it would start another header line; remove CR and LF \
     before putting it into a message"
)]
pub struct LineBreakInText {
    /// Offset of the first CR or LF.
    pub at: usize,
}

impl SipText {
    /// The empty text.
    pub const EMPTY: SipText = SipText(Bytes::new());

    /// Wraps a literal of our own; compile-time constant.
    ///
    /// # Panics
    /// When the literal holds CR or LF, which is a bug at the line that wrote it (in a `const` it
    /// does not compile).
    pub const fn from_static(text: &'static str) -> Self {
        let bytes = text.as_bytes();
        let mut i = 0;
        while i < bytes.len() {
            assert!(bytes[i] != b'\r' && bytes[i] != b'\n', "literal holds a line break");
            i += 1;
        }
        Self(Bytes::from_static(bytes))
    }

    /// Takes bytes that come from outside.
    ///
    /// # Errors
    /// [`LineBreakInText`] when they hold CR or LF.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, LineBreakInText> {
        let bytes = bytes.into();
        match bytes.iter().position(|b| matches!(b, b'\r' | b'\n')) {
            Some(at) => Err(LineBreakInText { at }),
            None => Ok(Self(bytes)),
        }
    }

    /// Copies text from outside.
    ///
    /// # Errors
    /// [`LineBreakInText`] when it holds CR or LF.
    pub fn copy_of(text: &str) -> Result<Self, LineBreakInText> {
        Self::new(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// For bytes whose maker has already excluded line breaks.
    pub(crate) fn trusted(bytes: Bytes) -> Self {
        debug_assert!(!bytes.iter().any(|b| matches!(b, b'\r' | b'\n')), "line break in text");
        Self(bytes)
    }

    /// For text that this crate composed itself.
    pub(crate) fn composed(text: String) -> Self {
        Self::trusted(Bytes::from(text))
    }

    /// The bytes as they are.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Shares the underlying buffer.
    pub fn to_shared(&self) -> Bytes {
        self.0.clone()
    }

    /// The text, when it is UTF-8. Never a lossy conversion.
    pub fn to_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares as SIP compares tokens: ASCII letters without case (RFC 3261 section 7.3.1).
    pub fn eq_ignore_case(&self, other: &str) -> bool {
        self.0.eq_ignore_ascii_case(other.as_bytes())
    }

    /// A copy with a buffer of its own.
    ///
    /// A part keeps the whole message that it came from alive; what outlives a message (dialogs,
    /// bindings) takes a detached copy.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    /// A part of this text that shares its buffer; out-of-range bounds are cut to the text.
    #[must_use]
    pub(crate) fn slice(&self, from: usize, to: usize) -> Self {
        let to = to.min(self.0.len());
        let from = from.min(to);
        Self(self.0.slice(from..to))
    }

    /// ASCII letters made small.
    #[must_use]
    pub fn to_ascii_lowercase(&self) -> Self {
        if self.0.iter().any(u8::is_ascii_uppercase) {
            Self(Bytes::from(self.0.to_ascii_lowercase()))
        } else {
            self.clone()
        }
    }
}

/// Shows bytes of a token: visible ASCII as it is, anything else escaped.
pub(crate) struct Visible<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| match byte {
            0x21..=0x7e => fmt::Write::write_char(f, char::from(*byte)),
            other => write!(f, "{}", other.escape_ascii()),
        })
    }
}

impl fmt::Debug for SipText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl PartialEq<str> for SipText {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for SipText {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl From<u32> for SipText {
    fn from(number: u32) -> Self {
        Self::composed(number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: text that could start another header line never gets in.
    #[test]
    fn line_breaks_are_refused() {
        assert_eq!(SipText::copy_of("a\r\nVia: x"), Err(LineBreakInText { at: 1 }));
        assert_eq!(SipText::copy_of("ab\n"), Err(LineBreakInText { at: 2 }));
        assert!(SipText::copy_of("a b\tc").is_ok());
    }

    // Goal: bytes that are not UTF-8 pass through unchanged and are not shown as text.
    #[test]
    fn bytes_stay_bytes() {
        let latin1 = SipText::new(Bytes::from_static(b"J\xf6rg")).unwrap();
        assert_eq!(latin1.as_bytes(), b"J\xf6rg");
        assert_eq!(latin1.to_str(), None);
        assert_eq!(format!("{latin1:?}"), "\"J\\xf6rg\"");
    }
}
