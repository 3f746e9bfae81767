//! Names that people give to things, and personal data that must not be shown.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::limits::{NAME_LEN_MAX, NUMBER_LEN_MAX};

/// Name of a site, queue, skill, agent, number or reason: 1 to 64 characters of `a-z A-Z 0-9 . _ - +`.
///
/// Compared byte by byte. The character set makes a name safe in a shell, a SIP user part, a URL
/// and a metric label without escaping.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Name(Arc<str>);

/// A text that cannot be a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} cannot be a name: use 1 to {NAME_LEN_MAX} characters of a-z, A-Z, 0-9, '.', '_', '-' and '+'"
)]
pub struct NameError {
    /// What was given.
    pub text: String,
}

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let fits = (1..=NAME_LEN_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+".contains(&b));
        if fits { Ok(Self(text.into())) } else { Err(NameError { text: text.to_owned() }) }
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// A caller's number: personal data. `Debug` and `Display` show its last two characters, enough to
/// tell two calls apart and too little to call back; nothing of a number of six digits or less, or of
/// what is no number (a name, a SIP user).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct CallerNumber(Arc<str>);

impl CallerNumber {
    /// Takes a number as the edge normalised it; longer than 64 bytes is cut.
    #[must_use]
    pub fn new(number: &str) -> Self {
        let mut end = number.len().min(NUMBER_LEN_MAX);
        while !number.is_char_boundary(end) {
            end -= 1;
        }
        Self(number[..end].into())
    }

    /// The number in clear: for the phone that rings and for comparing, never for logs.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// True when the caller withheld the number.
    #[must_use]
    pub fn is_withheld(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for CallerNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_number = self.0.bytes().all(|b| b.is_ascii_digit() || b"+-.()*#".contains(&b));
        let digits = self.0.bytes().filter(u8::is_ascii_digit).count();
        let tail = self.0.len().checked_sub(2).and_then(|at| self.0.get(at..));
        match tail {
            _ if self.is_withheld() => f.write_str("withheld"),
            Some(tail) if is_number && digits > HIDDEN_DIGITS => write!(f, "…{tail}"),
            _ => f.write_str("…"),
        }
    }
}

/// Numbers of so many digits or less are not shown in part: two would be a third of them.
const HIDDEN_DIGITS: usize = 6;

impl fmt::Debug for CallerNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: names are safe to print anywhere; the edges of the length hold and break.
    #[test]
    fn names_are_checked() {
        for good in ["a", "support-1", "+4420", "A.b_c", &"x".repeat(64)] {
            assert_eq!(good.parse::<Name>().map(|n| n.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", " ", "a b", "é", "a/b", "a\n", &"x".repeat(65)] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
    }

    // Goal: a caller's number never appears whole in a log line, however short or odd it is.
    #[test]
    fn caller_numbers_are_redacted() {
        for (number, shown) in [
            ("", "withheld"),
            ("112", "…"),
            ("123456", "…"),
            ("+123456", "…"),
            ("1234567", "…67"),
            ("+442071234567", "…67"),
            ("alice-from-sales", "…"),
            ("日本語番号です", "…"),
        ] {
            let number = CallerNumber::new(number);
            assert_eq!(format!("{number}"), shown);
            assert_eq!(format!("{number:?}"), shown);
        }
        assert_eq!(CallerNumber::new(&"é".repeat(40)).expose().len(), 64);
    }
}
