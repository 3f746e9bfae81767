//! [`Scanner`]: reads the elements of RFC 3261 section 25.1 from one unfolded header value.
//!
//! Only the small elements live here (tokens, quoted strings, separators, numbers); what they mean is
//! the business of the modules in `message`. Every byte is looked at a bounded number of times and
//! reported to `meter`.

use crate::message::SyntaxError;
use crate::meter::tick;
use crate::text::SipText;

/// A position in a text.
pub(crate) struct Scanner<'a> {
    text: &'a SipText,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a SipText) -> Self {
        Self { text, at: 0 }
    }

    /// Offset of the next byte.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// What has not been read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest().first().copied()
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    /// Takes the next `len` bytes (cut to what is there).
    pub(crate) fn take(&mut self, len: usize) -> SipText {
        let piece = self.text.slice(self.at, self.at.saturating_add(len));
        self.at += piece.len();
        piece
    }

    /// Takes bytes while they belong to the set.
    pub(crate) fn take_while(&mut self, belongs: impl Fn(u8) -> bool) -> SipText {
        let len = self.rest().iter().take_while(|b| belongs(**b)).count();
        tick(len + 1);
        self.take(len)
    }

    /// Offset from here of the first byte of the set, if any.
    pub(crate) fn find(&self, wanted: impl Fn(u8) -> bool) -> Option<usize> {
        let found = self.rest().iter().position(|b| wanted(*b));
        tick(found.unwrap_or(self.rest().len()) + 1);
        found
    }

    /// Passes over blanks (`SWS` in a header value that is already unfolded).
    pub(crate) fn skip_blanks(&mut self) {
        let blanks = self.rest().iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
        tick(blanks + 1);
        self.at += blanks;
    }

    /// Takes exactly this byte, if it is next.
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        tick(1);
        let hit = self.peek() == Some(byte);
        self.at += usize::from(hit);
        hit
    }

    /// Takes a separator with blanks around it (`COMMA`, `SEMI`, `EQUAL`, `SLASH`, `COLON`); reads
    /// nothing when it is not next.
    pub(crate) fn eat_separator(&mut self, byte: u8) -> bool {
        let before = self.at;
        self.skip_blanks();
        if !self.eat(byte) {
            self.at = before;
            return false;
        }
        self.skip_blanks();
        true
    }

    /// `token`, not empty.
    pub(crate) fn token(&mut self) -> Result<SipText, SyntaxError> {
        let token = self.take_while(is_token_byte);
        if token.is_empty() { Err(SyntaxError::TokenExpected { at: self.at }) } else { Ok(token) }
    }

    /// `1*DIGIT` below or at `max`; leading zeros are fine (RFC 4475 section 3.1.1.1).
    pub(crate) fn number(&mut self, max: u64) -> Result<u64, SyntaxError> {
        let at = self.at;
        let digits = self.take_while(|b| b.is_ascii_digit());
        if digits.is_empty() {
            return Err(SyntaxError::NumberExpected { at });
        }
        decimal(digits.as_bytes())
            .filter(|number| *number <= max)
            .ok_or(SyntaxError::NumberTooLarge { at, max })
    }

    /// `quoted-string` with its quotes and escapes as they stand (RFC 3261 section 25.1): control
    /// bytes only after a backslash, any byte from 0x80 up.
    pub(crate) fn quoted_string(&mut self) -> Result<SipText, SyntaxError> {
        let start = self.at;
        if !self.eat(b'"') {
            return Err(SyntaxError::QuoteExpected { at: start });
        }
        let mut escaped = false;
        for (offset, byte) in self.rest().iter().enumerate() {
            tick(1);
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    let len = offset + 2;
                    self.at = start;
                    return Ok(self.take(len));
                }
                b'\t' => {}
                0..=0x1f | 0x7f => return Err(SyntaxError::ControlByte { at: self.at + offset }),
                _ => {}
            }
        }
        Err(SyntaxError::QuoteNotClosed { at: start })
    }

    /// Errs unless everything was read.
    pub(crate) fn expect_end(&mut self) -> Result<(), SyntaxError> {
        self.skip_blanks();
        if self.is_at_end() { Ok(()) } else { Err(SyntaxError::TrailingData { at: self.at }) }
    }
}

/// A decimal number; `None` when it does not fit or is empty or holds anything but digits.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    tick(digits.len());
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// `token` of RFC 3261 section 25.1.
pub(crate) fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(b, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~')
}

/// `word` of RFC 3261 section 25.1: what a Call-ID is made of, beside one `@`.
pub(crate) fn is_word_byte(b: u8) -> bool {
    is_token_byte(b)
        || matches!(
            b,
            b'(' | b')'
                | b'<'
                | b'>'
                | b':'
                | b'\\'
                | b'"'
                | b'/'
                | b'['
                | b']'
                | b'?'
                | b'{'
                | b'}'
        )
}

/// Takes the blanks off both ends.
pub(crate) fn trim(text: &SipText) -> SipText {
    let bytes = text.as_bytes();
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let start = bytes.iter().take_while(|b| blank(b)).count();
    let end = bytes.len() - bytes.iter().rev().take_while(|b| blank(b)).count();
    tick(bytes.len() - end.max(start) + start);
    text.slice(start, end.max(start))
}

/// Text between the quotes with its escapes resolved (RFC 3261 section 25.1, quoted-pair).
pub(crate) fn unquote(quoted: &[u8]) -> Vec<u8> {
    let inner =
        quoted.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(quoted);
    let mut plain = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        tick(1);
        match byte {
            b'\\' => plain.extend(bytes.next()),
            other => plain.push(*other),
        }
    }
    plain
}

/// Quotes text of ours: backslash and quote are escaped, line breaks and other control bytes
/// dropped.
pub(crate) fn quote(plain: &[u8]) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(plain.len() + 2);
    quoted.push(b'"');
    for byte in plain.iter().filter(|b| **b >= 0x20 && **b != 0x7f) {
        if matches!(byte, b'"' | b'\\') {
            quoted.push(b'\\');
        }
        quoted.push(*byte);
    }
    quoted.push(b'"');
    quoted
}

/// Splits a list at its commas, not inside quotes or angle brackets; pieces are trimmed, and empty
/// ones left out.
pub(crate) fn split_list(value: &SipText) -> Vec<SipText> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let (mut quoted, mut escaped, mut angle) = (false, false, false);
    for (at, byte) in value.as_bytes().iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'<' if !quoted => angle = true,
            b'>' if !quoted => angle = false,
            b',' if !quoted && !angle => {
                pieces.push(trim(&value.slice(start, at)));
                start = at + 1;
            }
            _ => {}
        }
    }
    tick(value.len());
    pieces.push(trim(&value.slice(start, value.len())));
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(s: &str) -> SipText {
        SipText::copy_of(s).unwrap()
    }

    // Goal: a quoted string ends at its own quote and nowhere else.
    #[test]
    fn quoted_strings() {
        let rows = [
            (r#""a" b"#, Ok(r#""a""#)),
            (r#""a\"b""#, Ok(r#""a\"b""#)),
            (r#""a\\""#, Ok(r#""a\\""#)),
            (r#""a\""#, Err(SyntaxError::QuoteNotClosed { at: 0 })),
            (r#"a"#, Err(SyntaxError::QuoteExpected { at: 0 })),
            ("\"a\u{1}\"", Err(SyntaxError::ControlByte { at: 2 })),
            ("\"a\\\u{1}\"", Ok("\"a\\\u{1}\"")),
        ];
        for (input, expect) in rows {
            let input = text(input);
            let got = Scanner::new(&input).quoted_string();
            assert_eq!(got, expect.map(text), "{input:?}");
        }
    }

    // Goal: quoting and unquoting are inverse for anything without control bytes.
    #[test]
    fn quoting_round_trip() {
        for plain in ["", "a", "a\"b", "\\", "a,<b>;c", "Jürgen"] {
            assert_eq!(unquote(&quote(plain.as_bytes())), plain.as_bytes());
        }
        assert_eq!(quote(b"a\r\nVia: x"), b"\"aVia: x\"");
    }

    // Goal: a comma inside quotes or angle brackets does not split.
    #[test]
    fn lists_split_at_their_own_commas() {
        let list = text(r#""A, B" <sip:a,b@c>;x=",", <sip:d> ,, e"#);
        let pieces: Vec<_> =
            split_list(&list).iter().map(|p| p.to_str().unwrap().to_owned()).collect();
        assert_eq!(pieces, [r#""A, B" <sip:a,b@c>;x=",""#, "<sip:d>", "e"]);
    }

    // Goal: numbers at their bound are read, one above is refused, and overflow is no wrap-around.
    #[test]
    fn numbers_have_bounds() {
        let rows: [(&str, Option<u64>); 5] = [
            ("0068", Some(68)),
            ("255", Some(255)),
            ("256", None),
            ("36893488147419103232", None),
            ("", None),
        ];
        for (digits, expect) in rows {
            assert_eq!(Scanner::new(&text(digits)).number(255).ok(), expect, "{digits}");
        }
    }
}
