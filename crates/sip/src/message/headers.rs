//! [`Headers`]: the header fields that a message carries beside its mandatory ones, in order and as
//! they came, with typed access.
//!
//! A typed getter reads the raw value each time; what it cannot read stays untouched in the message.

use super::values::{RAck, Reason, Replaces, RetryAfter, SessionExpires};
use super::{HeaderError, HeaderName, MediaType, NameAddr, Params, SyntaxError};
use crate::limits::{CONTACTS_MAX, LIST_VALUES_MAX, ROUTES_MAX};
use crate::scan::{Scanner, split_list};
use crate::text::SipText;
use std::fmt;

/// One header field: name and unfolded value.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    /// Name.
    pub name: HeaderName,
    /// Value, without the blanks around it.
    pub value: SipText,
}

/// Header fields in their order.
///
/// Never holds Via, From, To, Call-ID, CSeq, Max-Forwards or Content-Length: those are fields of the
/// message itself.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Headers(Vec<Header>);

/// What the Contact header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contacts {
    /// `*`: all bindings (RFC 3261 section 10.2.2).
    Star,
    /// Addresses with their parameters.
    List(Vec<NameAddr>),
}

impl Headers {
    /// No headers.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a field at the end.
    pub fn push(&mut self, name: HeaderName, value: SipText) {
        debug_assert!(!is_message_field(&name), "{name} is a field of the message");
        self.0.push(Header { name, value });
    }

    /// Adds an address at the end, for instance a Contact or a Record-Route.
    pub fn push_address(&mut self, name: HeaderName, address: &NameAddr) {
        let mut out = Vec::new();
        address.write_to(&mut out);
        self.push(name, SipText::trusted(out.into()));
    }

    /// Replaces all fields of a name by one.
    pub fn set(&mut self, name: HeaderName, value: SipText) {
        self.remove(&name);
        self.push(name, value);
    }

    /// Takes all fields of a name out.
    pub fn remove(&mut self, name: &HeaderName) {
        self.0.retain(|h| h.name != *name);
    }

    /// The fields in order.
    pub fn iter(&self) -> impl Iterator<Item = &Header> {
        self.0.iter()
    }

    /// The raw values of a name, one per header line.
    pub fn all<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a SipText> {
        crate::meter::tick(self.0.len());
        self.0.iter().filter(move |h| h.name == *name).map(|h| &h.value)
    }

    /// The raw value of a header that may stand once.
    ///
    /// # Errors
    /// [`HeaderError::Repeated`] when it stands more than once.
    pub fn single<'a>(&'a self, name: &HeaderName) -> Result<Option<&'a SipText>, HeaderError> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (first, None) => Ok(first),
            (_, Some(_)) => Err(HeaderError::Repeated { name: name.clone() }),
        }
    }

    /// The first raw value of a name.
    pub fn first<'a>(&'a self, name: &HeaderName) -> Option<&'a SipText> {
        self.all(name).next()
    }

    /// Whether a header is there.
    pub fn has(&self, name: &HeaderName) -> bool {
        self.first(name).is_some()
    }

    /// Number of header lines.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The Contact header (RFC 3261 section 20.10).
    ///
    /// # Errors
    /// [`HeaderError`], also for `*` beside an address.
    pub fn contacts(&self) -> Result<Option<Contacts>, HeaderError> {
        let name = HeaderName::Contact;
        if self.all(&name).any(|v| v == "*") {
            return match self.single(&name) {
                Ok(_) => Ok(Some(Contacts::Star)),
                Err(_) => Err(HeaderError::Syntax { name, fault: SyntaxError::BadValue }),
            };
        }
        let list = self.addresses_up_to(&name, CONTACTS_MAX)?;
        Ok((!list.is_empty()).then_some(Contacts::List(list)))
    }

    /// The one Contact of a request or response that makes a dialog (RFC 3261 section 8.1.1.8).
    ///
    /// # Errors
    /// [`HeaderError`] when there is none, more than one, or `*`.
    pub fn dialog_contact(&self) -> Result<NameAddr, HeaderError> {
        let name = HeaderName::Contact;
        match self.contacts()? {
            None => Err(HeaderError::Missing { name }),
            Some(Contacts::Star) => Err(HeaderError::Syntax { name, fault: SyntaxError::BadValue }),
            Some(Contacts::List(list)) => {
                let [contact] =
                    <[NameAddr; 1]>::try_from(list).map_err(|_| HeaderError::Repeated { name })?;
                Ok(contact)
            }
        }
    }

    /// Route, Record-Route, Path, Service-Route: values over all lines in order.
    ///
    /// # Errors
    /// [`HeaderError`], also over [`ROUTES_MAX`].
    pub fn routes(&self, name: &HeaderName) -> Result<Vec<NameAddr>, HeaderError> {
        self.addresses_up_to(name, ROUTES_MAX)
    }

    /// Address headers such as P-Asserted-Identity, Diversion or History-Info, over all lines.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn addresses(&self, name: &HeaderName) -> Result<Vec<NameAddr>, HeaderError> {
        self.addresses_up_to(name, LIST_VALUES_MAX)
    }

    fn addresses_up_to(&self, name: &HeaderName, max: usize) -> Result<Vec<NameAddr>, HeaderError> {
        let mut list = Vec::new();
        for value in self.all(name) {
            let more = NameAddr::parse_list(value, max - list.len())
                .map_err(|fault| HeaderError::Syntax { name: name.clone(), fault })?;
            list.extend(more);
        }
        Ok(list)
    }

    /// Token lists such as Allow, Supported, Require, Privacy (with `;`), over all lines.
    ///
    /// # Errors
    /// [`HeaderError`] when an item is no token, or over [`LIST_VALUES_MAX`].
    pub fn tokens(&self, name: &HeaderName) -> Result<Vec<SipText>, HeaderError> {
        let mut tokens = Vec::new();
        for value in self.all(name) {
            for piece in split_list(value) {
                let fault = |fault| HeaderError::Syntax { name: name.clone(), fault };
                let mut scan = Scanner::new(&piece);
                let token = scan.token().map_err(fault)?;
                Params::scan_header(&mut scan).and_then(|_| scan.expect_end()).map_err(fault)?;
                if tokens.len() >= LIST_VALUES_MAX {
                    let what = "list values";
                    return Err(fault(SyntaxError::TooMany { what, max: LIST_VALUES_MAX }));
                }
                tokens.push(token);
            }
        }
        Ok(tokens)
    }

    /// Whether a token list names an option tag (without case).
    pub fn lists(&self, name: &HeaderName, token: &str) -> bool {
        self.all(name)
            .any(|value| split_list(value).iter().any(|piece| piece.eq_ignore_case(token)))
    }

    /// Expires in seconds. A value that is no number counts as 3600, a too large one as the largest
    /// (RFC 3261 section 20.19).
    ///
    /// # Errors
    /// [`HeaderError::Repeated`].
    pub fn expires_s(&self) -> Result<Option<u32>, HeaderError> {
        let value = self.single(&HeaderName::Expires)?;
        Ok(value.map(super::contact::lenient_expires_s))
    }

    /// Min-Expires in seconds (RFC 3261 section 20.23).
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn min_expires_s(&self) -> Result<Option<u32>, HeaderError> {
        self.parsed(HeaderName::MinExpires, parse_delta_seconds)
    }

    /// Content-Type.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn content_type(&self) -> Result<Option<MediaType>, HeaderError> {
        self.parsed(HeaderName::ContentType, MediaType::parse)
    }

    /// Retry-After.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn retry_after(&self) -> Result<Option<RetryAfter>, HeaderError> {
        self.parsed(HeaderName::RetryAfter, RetryAfter::parse)
    }

    /// Session-Expires.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn session_expires(&self) -> Result<Option<SessionExpires>, HeaderError> {
        self.parsed(HeaderName::SessionExpires, SessionExpires::parse)
    }

    /// Min-SE in seconds; parameters are ignored (RFC 4028 section 5).
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn min_se_s(&self) -> Result<Option<u32>, HeaderError> {
        let min = self.parsed(HeaderName::MinSe, SessionExpires::parse)?;
        Ok(min.map(|value| value.interval_s))
    }

    /// Reason values over all lines.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn reasons(&self) -> Result<Vec<Reason>, HeaderError> {
        let name = HeaderName::Reason;
        let mut reasons = Vec::new();
        for piece in self.all(&name).flat_map(split_list) {
            if reasons.len() >= LIST_VALUES_MAX {
                let fault = SyntaxError::TooMany { what: "reasons", max: LIST_VALUES_MAX };
                return Err(HeaderError::Syntax { name: name.clone(), fault });
            }
            let reason = Reason::parse(&piece)
                .map_err(|fault| HeaderError::Syntax { name: name.clone(), fault })?;
            reasons.push(reason);
        }
        Ok(reasons)
    }

    /// Replaces.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn replaces(&self) -> Result<Option<Replaces>, HeaderError> {
        self.parsed(HeaderName::Replaces, Replaces::parse)
    }

    /// Refer-To.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn refer_to(&self) -> Result<Option<NameAddr>, HeaderError> {
        self.parsed(HeaderName::ReferTo, NameAddr::parse)
    }

    /// RAck.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn rack(&self) -> Result<Option<RAck>, HeaderError> {
        self.parsed(HeaderName::RAck, RAck::parse)
    }

    /// RSeq (RFC 3262 section 7.1).
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn rseq(&self) -> Result<Option<u32>, HeaderError> {
        self.parsed(HeaderName::RSeq, |value| {
            let mut scan = Scanner::new(value);
            let number = scan.number(u64::from(u32::MAX))?;
            scan.expect_end()?;
            u32::try_from(number).map_err(|_| SyntaxError::BadValue)
        })
    }

    fn parsed<T>(
        &self,
        name: HeaderName,
        parse: impl Fn(&SipText) -> Result<T, SyntaxError>,
    ) -> Result<Option<T>, HeaderError> {
        match self.single(&name)?.map(parse).transpose() {
            Ok(value) => Ok(value),
            Err(fault) => Err(HeaderError::Syntax { name, fault }),
        }
    }
}

fn parse_delta_seconds(value: &SipText) -> Result<u32, SyntaxError> {
    let mut scan = Scanner::new(value);
    let seconds = super::values::scan_delta_seconds(&mut scan)?;
    scan.expect_end()?;
    Ok(seconds)
}

/// Headers that are fields of the message and never stand in [`Headers`].
fn is_message_field(name: &HeaderName) -> bool {
    matches!(
        name,
        HeaderName::Via
            | HeaderName::From
            | HeaderName::To
            | HeaderName::CallId
            | HeaderName::CSeq
            | HeaderName::MaxForwards
            | HeaderName::ContentLength
    )
}

impl fmt::Debug for Headers {
    /// Names and lengths only: any header may hold a number or a name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.name, self.value.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(HeaderName, &str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in lines {
            headers.push(name.clone(), SipText::copy_of(value).unwrap());
        }
        headers
    }

    // Goal: values over several lines and in one line are one list, in order.
    #[test]
    fn lists_join_lines() {
        let h = headers(&[
            (HeaderName::Supported, "100rel, timer"),
            (HeaderName::Route, "<sip:a;lr>,<sip:b;lr>"),
            (HeaderName::Supported, "Path,,"),
            (HeaderName::Route, "<sip:c;lr>"),
        ]);
        let tokens = h.tokens(&HeaderName::Supported).unwrap();
        assert_eq!(tokens, ["100rel", "timer", "Path"]);
        assert!(h.lists(&HeaderName::Supported, "PATH"));
        assert!(!h.lists(&HeaderName::Supported, "pat"));
        let routes = h.routes(&HeaderName::Route).unwrap();
        assert_eq!(
            routes.iter().map(|r| r.uri.expose()).collect::<Vec<_>>(),
            ["sip:a;lr", "sip:b;lr", "sip:c;lr"]
        );
    }

    // Goal: the star stands alone; a dialog has exactly one contact.
    #[test]
    fn contacts() {
        let star = headers(&[(HeaderName::Contact, "*")]);
        assert_eq!(star.contacts(), Ok(Some(Contacts::Star)));
        assert!(star.dialog_contact().is_err());
        let both = headers(&[(HeaderName::Contact, "*"), (HeaderName::Contact, "<sip:a@h>")]);
        assert!(both.contacts().is_err());
        let two = headers(&[(HeaderName::Contact, "<sip:a@h>, <sip:b@h>")]);
        assert!(matches!(two.dialog_contact(), Err(HeaderError::Repeated { .. })));
        assert!(matches!(Headers::new().dialog_contact(), Err(HeaderError::Missing { .. })));
        assert_eq!(Headers::new().contacts(), Ok(None));
    }

    // Goal: a header that may stand once is an error when it stands twice, even if both agree.
    #[test]
    fn single_headers() {
        let h = headers(&[
            (HeaderName::ContentType, "application/sdp"),
            (HeaderName::ContentType, "application/sdp"),
        ]);
        assert_eq!(h.content_type(), Err(HeaderError::Repeated { name: HeaderName::ContentType }));
        let h = headers(&[
            (HeaderName::Expires, "soon"),
            (HeaderName::MinSe, "90;x=1"),
            (HeaderName::MinExpires, "x"),
        ]);
        assert_eq!(h.expires_s(), Ok(Some(3_600)), "RFC 3261 section 20.19");
        assert_eq!(h.min_se_s(), Ok(Some(90)));
        assert!(h.min_expires_s().is_err());
        assert_eq!(h.rseq(), Ok(None));
    }

    // Goal: debug output shows names and lengths, never values.
    #[test]
    fn values_are_private() {
        let h = headers(&[(HeaderName::PAssertedIdentity, "<tel:+442079460089>")]);
        assert_eq!(format!("{h:?}"), "[P-Asserted-Identity[19]]");
    }
}
