//! How personal data is shown in `Debug` output: enough to tell two apart, too little to call back.

use std::fmt;

/// Shows a number or user part with its middle left out, for `Debug` output and logs.
///
/// A text of seven or more bytes that looks like a number keeps its last two (`…89`), as everywhere in
/// Tandem; everything else shows only `…`.
///
/// ```
/// use tandem_sip::redact::Redacted;
/// assert_eq!(Redacted(b"+442079460089").to_string(), "…89");
/// assert_eq!(Redacted(b"alice").to_string(), "…");
/// ```
pub struct Redacted<'a>(
    /// The bytes to hide.
    pub &'a [u8],
);

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.last_chunk::<2>() {
            Some(tail) if looks_like_number(self.0) => write!(f, "…{}", tail.escape_ascii()),
            _ => f.write_str("…"),
        }
    }
}

impl fmt::Debug for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Shortest text of which a part is shown: extensions and short codes are their two last digits.
const SHOWN_LEN_MIN: usize = 7;

fn looks_like_number(bytes: &[u8]) -> bool {
    bytes.len() >= SHOWN_LEN_MIN
        && bytes.iter().all(|b| {
            b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'(' | b')' | b'*' | b'#')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: at six digits nothing is shown, at seven the last two are (pair at the edge).
    #[test]
    fn short_numbers_are_hidden_whole() {
        assert_eq!(Redacted(b"123456").to_string(), "…");
        assert_eq!(Redacted(b"1234567").to_string(), "…67");
        assert_eq!(Redacted(b"").to_string(), "…");
        assert_eq!(Redacted(b"long-user-name").to_string(), "…");
    }
}
