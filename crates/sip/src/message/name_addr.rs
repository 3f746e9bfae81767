//! `name-addr` and `addr-spec` with their header parameters: From, To, Contact, Route, Record-Route,
//! P-Asserted-Identity, Diversion, History-Info, Refer-To.

use super::{Params, SyntaxError, Uri};
use crate::limits::KEY_BYTES_MAX;
use crate::scan::{Scanner, quote, trim, unquote};
use crate::text::SipText;
use std::fmt;

/// A display name as it came: quoted, or plain words. Personal data: `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct DisplayName(SipText);

/// A URI with an optional display name and header parameters.
#[derive(Clone, PartialEq, Eq)]
pub struct NameAddr {
    /// The name before the angle bracket.
    pub display: Option<DisplayName>,
    /// The URI.
    pub uri: Uri,
    /// Parameters of the header, behind the URI (`tag`, `q`, `expires`, …).
    pub params: Params,
}

impl DisplayName {
    /// A name of our own; quotes are put around it, control bytes dropped.
    pub fn new(name: &str) -> Self {
        Self(SipText::trusted(quote(name.as_bytes()).into()))
    }

    /// The name without quotes and escapes; bytes, since an old peer may not send UTF-8.
    pub fn expose(&self) -> Vec<u8> {
        unquote(self.0.as_bytes())
    }
}

impl fmt::Debug for DisplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl NameAddr {
    /// Only a URI.
    pub fn from_uri(uri: Uri) -> Self {
        Self { display: None, uri, params: Params::new() }
    }

    /// Reads one complete value.
    ///
    /// # Errors
    /// [`SyntaxError`] by the grammar of RFC 3261 section 25.1, with two mercies: a display name
    /// without quotes may hold anything but `"<>,;`, and blanks before `<` may be left out.
    pub fn parse(value: &SipText) -> Result<Self, SyntaxError> {
        let mut scan = Scanner::new(value);
        let address = Self::scan(&mut scan)?;
        scan.expect_end()?;
        Ok(address)
    }

    /// Reads a list with commas over one header line.
    pub(crate) fn parse_list(value: &SipText, max: usize) -> Result<Vec<Self>, SyntaxError> {
        let mut list = Vec::new();
        let mut scan = Scanner::new(value);
        scan.skip_blanks();
        if scan.is_at_end() {
            return Err(SyntaxError::Empty);
        }
        loop {
            if list.len() >= max {
                return Err(SyntaxError::TooMany { what: "addresses", max });
            }
            list.push(Self::scan(&mut scan)?);
            if !scan.eat_separator(b',') {
                scan.expect_end()?;
                return Ok(list);
            }
        }
    }

    /// The tag of a From or To (RFC 3261 section 19.3).
    pub fn tag(&self) -> Option<&SipText> {
        self.params.value("tag")
    }

    /// Sets the tag.
    pub fn set_tag(&mut self, tag: SipText) {
        self.params.set(SipText::from_static("tag"), Some(tag));
    }

    /// A copy with buffers of its own, see [`SipText::detached`].
    #[must_use]
    pub fn detached(&self) -> Self {
        Self {
            display: self.display.as_ref().map(|d| DisplayName(d.0.detached())),
            uri: self.uri.detached(),
            params: self.params.detached(),
        }
    }

    fn scan(scan: &mut Scanner<'_>) -> Result<Self, SyntaxError> {
        scan.skip_blanks();
        let address = if scan.peek() == Some(b'"') {
            let quoted = scan.quoted_string()?;
            scan.skip_blanks();
            Self { display: Some(DisplayName(quoted)), ..Self::from_uri(scan_angle_uri(scan)?) }
        } else {
            match name_before_angle(scan)? {
                Some(words) => {
                    let display = (!words.is_empty()).then_some(DisplayName(words));
                    Self { display, ..Self::from_uri(scan_angle_uri(scan)?) }
                }
                None => Self::from_uri(scan_bare_uri(scan)?),
            }
        };
        let params = Params::scan_header(scan)?;
        Ok(Self { params, ..address })
    }

    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        if let Some(DisplayName(name)) = &self.display {
            out.extend_from_slice(name.as_bytes());
            out.push(b' ');
        }
        out.push(b'<');
        self.uri.write_to(out);
        out.push(b'>');
        self.params.write_to(out);
    }

    /// Checks what only From and To promise: a tag that can be a key.
    pub(crate) fn check_tag(&self) -> Result<(), SyntaxError> {
        let Some(tag) = self.params.get("tag") else { return Ok(()) };
        let tag = tag.ok_or(SyntaxError::BadValue)?;
        if tag.len() > KEY_BYTES_MAX {
            return Err(SyntaxError::TooMany { what: "bytes in a tag", max: KEY_BYTES_MAX });
        }
        if tag.as_bytes().iter().all(|b| crate::scan::is_token_byte(*b)) {
            Ok(())
        } else {
            Err(SyntaxError::BadValue)
        }
    }
}

/// Takes a display name without quotes when a `<` follows it; `None` when the value is a bare URI. The
/// `<` stays unread.
fn name_before_angle(scan: &mut Scanner<'_>) -> Result<Option<SipText>, SyntaxError> {
    // "<" cannot stand in a bare URI, but in a quoted parameter behind one, or in the next value of
    // a list.
    let stop = scan.find(|b| matches!(b, b'<' | b'"' | b';' | b','));
    let Some(len) = stop.filter(|len| scan.rest().get(*len) == Some(&b'<')) else {
        return Ok(None);
    };
    let at = scan.at();
    let words = scan.take(len);
    let bad = |b: &u8| *b == b'>' || (*b < 0x20 && *b != b'\t') || *b == 0x7f;
    match words.as_bytes().iter().position(bad) {
        Some(offset) => Err(SyntaxError::BadDisplayName { at: at + offset }),
        None => Ok(Some(trim(&words))),
    }
}

fn scan_angle_uri(scan: &mut Scanner<'_>) -> Result<Uri, SyntaxError> {
    if !scan.eat(b'<') {
        return Err(SyntaxError::AngleNotClosed);
    }
    let len = scan.find(|b| b == b'>').ok_or(SyntaxError::AngleNotClosed)?;
    let uri = Uri::from_text(&scan.take(len))?;
    if scan.eat(b'>') { Ok(uri) } else { Err(SyntaxError::AngleNotClosed) }
}

/// RFC 3261 section 20.10: a URI with comma, question mark or semicolon must stand in angle brackets,
/// so here all of them end it, and a question mark is an error.
fn scan_bare_uri(scan: &mut Scanner<'_>) -> Result<Uri, SyntaxError> {
    let text = scan.take_while(|b| !matches!(b, b';' | b',' | b'?' | b' ' | b'\t'));
    if scan.peek() == Some(b'?') {
        return Err(SyntaxError::UriNeedsAngles);
    }
    Uri::from_text(&text)
}

impl fmt::Debug for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.display.is_some() {
            f.write_str("… ")?;
        }
        write!(f, "<{:?}>", self.uri)?;
        match self.tag() {
            Some(tag) => write!(f, ";tag={}", tag.as_bytes().escape_ascii()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<NameAddr, SyntaxError> {
        NameAddr::parse(&SipText::copy_of(text).unwrap())
    }

    // Goal: each form of the address gives the right name, URI and tag.
    #[test]
    fn accepted_forms() {
        let rows = [
            ("sip:a@h;tag=1", "", "sip:a@h", Some("1")),
            ("<sip:a@h;x=1>;tag=1", "", "sip:a@h;x=1", Some("1")),
            ("A. Bell <sip:a@h>", "A. Bell", "sip:a@h", None),
            ("\"Bell, A <x>\" <sip:a@h>;tag=z", "Bell, A <x>", "sip:a@h", Some("z")),
            ("caller<sip:a@h>", "caller", "sip:a@h", None),
            ("\"\\\"q\\\"\"<sip:a@h>", "\"q\"", "sip:a@h", None),
            ("+44 (0)20 <sip:a@h>", "+44 (0)20", "sip:a@h", None),
            ("Jürgen <sip:a@h>", "Jürgen", "sip:a@h", None),
            ("<tel:+44;ext=1>  ; tag = q", "", "tel:+44;ext=1", Some("q")),
            ("<sip:user;p=1@h>", "", "sip:user;p=1@h", None),
            ("sip:a@h;x=\"<y>\"", "", "sip:a@h", None),
        ];
        for (text, name, uri, tag) in rows {
            let got = parse(text).unwrap();
            let shown = got.display.as_ref().map(DisplayName::expose).unwrap_or_default();
            assert_eq!(shown, name.as_bytes(), "{text}");
            assert_eq!(got.uri.expose(), uri, "{text}");
            assert_eq!(got.tag().map(|t| t.to_str().unwrap()), tag, "{text}");
        }
    }

    // Goal: each broken address is refused for its own reason.
    #[test]
    fn broken_forms() {
        let rows = [
            ("", SyntaxError::NoScheme),
            ("Bell, A <sip:a@h>", SyntaxError::NoScheme),
            ("Bell> A <sip:a@h>", SyntaxError::BadDisplayName { at: 4 }),
            ("\"open <sip:a@h>", SyntaxError::QuoteNotClosed { at: 0 }),
            ("<sip:a@h", SyntaxError::AngleNotClosed),
            ("\"n\" sip:a@h", SyntaxError::AngleNotClosed),
            ("< sip:a@h>", SyntaxError::BadUriByte { at: 0 }),
            ("sip:a@h?x=1", SyntaxError::UriNeedsAngles),
            ("<sip:a@h> x", SyntaxError::TrailingData { at: 10 }),
            ("<sip:a@h>;tag=", SyntaxError::BadParameter { at: 14 }),
            ("sip:a@h, sip:b@h", SyntaxError::TrailingData { at: 7 }),
        ];
        for (text, fault) in rows {
            assert_eq!(parse(text).err(), Some(fault), "{text}");
        }
    }

    // Goal: a list is read over commas, also inside quotes and brackets, and counted.
    #[test]
    fn lists() {
        let text = SipText::copy_of("\"a,b\" <sip:1@h;x=1>;q=0.5 , sip:2@h;q=1,<sip:3@h>").unwrap();
        let list = NameAddr::parse_list(&text, 3).unwrap();
        let uris: Vec<_> = list.iter().map(|a| a.uri.expose()).collect();
        assert_eq!(uris, ["sip:1@h;x=1", "sip:2@h", "sip:3@h"]);
        assert!(matches!(NameAddr::parse_list(&text, 2), Err(SyntaxError::TooMany { max: 2, .. })));
        let open = SipText::copy_of("<sip:1@h>,").unwrap();
        assert!(NameAddr::parse_list(&open, 3).is_err());
    }

    // Goal: names and users never show in debug output; a name of ours cannot break out of its quotes.
    #[test]
    fn names_are_private_and_quoted() {
        let mut address = parse("\"Bob Secret\" <sip:+442079460089@h>;tag=9").unwrap();
        assert_eq!(format!("{address:?}"), "… <sip:…89@h>;tag=9");
        address.display = Some(DisplayName::new("x\" <sip:evil@h>\r\nVia: y"));
        let mut out = Vec::new();
        address.write_to(&mut out);
        let text = SipText::new(out).unwrap();
        let again = NameAddr::parse(&text).unwrap();
        assert_eq!(again, address);
        assert_eq!(again.uri.expose(), "sip:+442079460089@h");
    }
}
