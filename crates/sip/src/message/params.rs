//! Parameters: `;name=value` lists of URIs and of header values.
//!
//! Names compare without case; values stay as they came, quotes and escapes included, so that what
//! we do not understand passes through unchanged.

use super::SyntaxError;
use crate::limits::PARAMS_MAX;
use crate::meter::tick;
use crate::scan::{Scanner, unquote};
use crate::text::SipText;

/// One parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    /// Name as it came.
    pub name: SipText,
    /// Value as it came, with its quotes; `None` for a flag.
    pub value: Option<SipText>,
}

/// An ordered list of parameters with unique names (RFC 3261 section 7.3.1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Params(Vec<Param>);

impl Params {
    /// No parameters.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The value of a parameter: `None` when absent, `Some(None)` for a flag.
    pub fn get(&self, name: &str) -> Option<Option<&SipText>> {
        tick(self.0.len());
        self.0.iter().find(|p| p.name.eq_ignore_case(name)).map(|p| p.value.as_ref())
    }

    /// The value of a parameter that has one.
    pub fn value(&self, name: &str) -> Option<&SipText> {
        self.get(name).flatten()
    }

    /// The value without quotes and with its escapes resolved.
    pub fn unquoted(&self, name: &str) -> Option<Vec<u8>> {
        self.value(name).map(|value| unquote(value.as_bytes()))
    }

    /// Whether the parameter is there, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Sets a parameter, replacing one of the same name.
    pub fn set(&mut self, name: SipText, value: Option<SipText>) {
        let same = |p: &&mut Param| p.name.as_bytes().eq_ignore_ascii_case(name.as_bytes());
        match self.0.iter_mut().find(same) {
            Some(param) => param.value = value,
            None => self.0.push(Param { name, value }),
        }
    }

    /// Takes a parameter out.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|p| !p.name.eq_ignore_case(name));
    }

    /// The parameters in order.
    pub fn iter(&self) -> impl Iterator<Item = &Param> {
        self.0.iter()
    }

    /// Number of parameters.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Copies with buffers of their own, see [`SipText::detached`].
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(
            self.0
                .iter()
                .map(|p| Param {
                    name: p.name.detached(),
                    value: p.value.as_ref().map(SipText::detached),
                })
                .collect(),
        )
    }

    /// Writes `;name=value` for each.
    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        for param in &self.0 {
            out.push(b';');
            param.write_to(out);
        }
    }

    fn push_unique(&mut self, param: Param) -> Result<(), SyntaxError> {
        if self.0.len() >= PARAMS_MAX {
            return Err(SyntaxError::TooMany { what: "parameters", max: PARAMS_MAX });
        }
        tick(self.0.len());
        let same = |p: &Param| p.name.as_bytes().eq_ignore_ascii_case(param.name.as_bytes());
        if self.0.iter().any(same) {
            return Err(SyntaxError::RepeatedParameter);
        }
        self.0.push(param);
        Ok(())
    }

    /// Reads `*(SEMI generic-param)` of a header value (RFC 3261 section 25.1), blanks allowed around
    /// separators; stops before anything else.
    pub(crate) fn scan_header(scan: &mut Scanner<'_>) -> Result<Self, SyntaxError> {
        let mut params = Self::new();
        while scan.eat_separator(b';') {
            let name = scan.token()?;
            let value =
                if scan.eat_separator(b'=') { Some(scan_header_value(scan)?) } else { None };
            params.push_unique(Param { name, value })?;
        }
        Ok(params)
    }

    /// Reads `;name=value` lists of a URI (RFC 3261 section 25.1, uri-parameters) from a complete
    /// text.
    pub(crate) fn parse_uri(text: &SipText) -> Result<Self, SyntaxError> {
        let mut params = Self::new();
        let mut scan = Scanner::new(text);
        while !scan.is_at_end() {
            if !scan.eat(b';') {
                return Err(SyntaxError::TrailingData { at: scan.at() });
            }
            let at = scan.at();
            let name = scan.take_while(is_uri_param_byte);
            if name.is_empty() {
                return Err(SyntaxError::BadParameter { at });
            }
            let value = if scan.eat(b'=') {
                let value = scan.take_while(is_uri_param_byte);
                if value.is_empty() {
                    return Err(SyntaxError::BadParameter { at });
                }
                Some(value)
            } else {
                None
            };
            for piece in std::iter::once(&name).chain(value.as_ref()) {
                super::uri::check_escapes(piece.as_bytes())?;
            }
            params.push_unique(Param { name, value })?;
        }
        Ok(params)
    }
}

impl Param {
    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.name.as_bytes());
        if let Some(value) = &self.value {
            out.push(b'=');
            out.extend_from_slice(value.as_bytes());
        }
    }
}

/// `gen-value`: a quoted string, or any run of visible bytes without list separators. The RFC asks for
/// a token or host; carriers send `:`, `/`, `=` and `@` here too, and we only keep it.
fn scan_header_value(scan: &mut Scanner<'_>) -> Result<SipText, SyntaxError> {
    if scan.peek() == Some(b'"') {
        return scan.quoted_string();
    }
    let at = scan.at();
    let value = scan.take_while(|b| {
        (0x21..=0x7e).contains(&b) && !matches!(b, b';' | b',' | b'"' | b'<' | b'>')
    });
    if value.is_empty() { Err(SyntaxError::BadParameter { at }) } else { Ok(value) }
}

/// `paramchar` of RFC 3261 section 25.1.
fn is_uri_param_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(
            b,
            b'[' | b']'
                | b'/'
                | b':'
                | b'&'
                | b'+'
                | b'$'
                | b'-'
                | b'_'
                | b'.'
                | b'!'
                | b'~'
                | b'*'
                | b'\''
                | b'('
                | b')'
                | b'%'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header_params(text: &str) -> Result<Params, SyntaxError> {
        let text = SipText::copy_of(text).unwrap();
        let mut scan = Scanner::new(&text);
        let params = Params::scan_header(&mut scan)?;
        scan.expect_end()?;
        Ok(params)
    }

    // Goal: values keep their quotes, names compare without case, blanks around separators are fine.
    #[test]
    fn header_parameters() {
        let params = header_params("; Q = 0.7 ;flag;+sip.instance=\"<urn:uuid:1;2>\"").unwrap();
        assert_eq!(params.value("q").unwrap(), &"0.7");
        assert_eq!(params.get("FLAG"), Some(None));
        assert_eq!(params.value("+sip.instance").unwrap(), &"\"<urn:uuid:1;2>\"");
        assert_eq!(params.unquoted("+sip.instance").unwrap(), b"<urn:uuid:1;2>");
        assert!(!params.has("r"));
        let mut out = Vec::new();
        params.write_to(&mut out);
        assert_eq!(out, b";Q=0.7;flag;+sip.instance=\"<urn:uuid:1;2>\"");
    }

    // Goal: empty names, empty values and doubles are refused.
    #[test]
    fn broken_parameters_are_refused() {
        for bad in [";;a=1", ";=1", ";a=", ";a=1;A=2", ";a=\"x", ";a b"] {
            assert!(header_params(bad).is_err(), "{bad}");
        }
    }

    // Goal: the last allowed parameter is read, the next refused (pair at the edge).
    #[test]
    fn parameters_are_counted() {
        let many = |n: usize| (0..n).map(|i| format!(";p{i}")).collect::<String>();
        assert_eq!(header_params(&many(PARAMS_MAX)).unwrap().len(), PARAMS_MAX);
        assert!(matches!(
            header_params(&many(PARAMS_MAX + 1)),
            Err(SyntaxError::TooMany { what: "parameters", .. })
        ));
    }
}
