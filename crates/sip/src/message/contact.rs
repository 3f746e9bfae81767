//! Contact parameters, and what a REGISTER asks for (RFC 3261 section 10.3, RFC 5626 section 4).

use super::{Contacts, HeaderError, HeaderName, Method, NameAddr, Request, SyntaxError};
use crate::scan::decimal;
use crate::text::SipText;

/// Expires of a contact whose value cannot be read (RFC 3261 sections 10.2.1.1 and 20.10).
const EXPIRES_S_UNREADABLE: u32 = 3_600;

impl NameAddr {
    /// The `q` of a Contact in thousandths, 0 to 1000; `None` when absent.
    ///
    /// # Errors
    /// [`SyntaxError::BadValue`] when it is not within 0 and 1 with at most three decimals (RFC 3261
    /// section 25.1, qvalue).
    pub fn q_thousandths(&self) -> Result<Option<u16>, SyntaxError> {
        match self.params.get("q") {
            None => Ok(None),
            Some(value) => {
                let q = value.and_then(|text| parse_q(text.as_bytes()));
                q.map(Some).ok_or(SyntaxError::BadValue)
            }
        }
    }

    /// The `expires` parameter in seconds; one that is no number counts as 3600.
    pub fn expires_param_s(&self) -> Option<u32> {
        let value = self.params.get("expires")?;
        Some(value.map_or(EXPIRES_S_UNREADABLE, lenient_expires_s))
    }

    /// The `+sip.instance` parameter without its quotes (RFC 5626 section 4.1).
    pub fn instance(&self) -> Option<Vec<u8>> {
        self.params.unquoted("+sip.instance")
    }

    /// The `reg-id` parameter, 1 or larger (RFC 5626 section 4.2).
    pub fn reg_id(&self) -> Option<u32> {
        let number = decimal(self.params.value("reg-id")?.as_bytes())?;
        u32::try_from(number).ok().filter(|id| *id != 0)
    }
}

/// A number of seconds that is never an error: what is no number counts as 3600, what is too large as
/// the largest (RFC 3261 section 20.19).
pub(crate) fn lenient_expires_s(value: &SipText) -> u32 {
    let digits = value.as_bytes();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return EXPIRES_S_UNREADABLE;
    }
    decimal(digits).and_then(|s| u32::try_from(s).ok()).unwrap_or(u32::MAX)
}

/// `qvalue`: `0`, `0.nnn`, `1`, `1.000`.
fn parse_q(text: &[u8]) -> Option<u16> {
    let mut halves = text.splitn(2, |b| *b == b'.');
    let whole = match halves.next()? {
        b"0" => 0,
        b"1" => 1_000,
        _ => return None,
    };
    let decimals = halves.next().unwrap_or_default();
    if decimals.len() > 3 || !decimals.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let weights = [100, 10, 1];
    let fraction: u16 =
        decimals.iter().zip(weights).map(|(digit, weight)| u16::from(digit - b'0') * weight).sum();
    Some(whole + fraction).filter(|q| *q <= 1_000)
}

/// What a REGISTER asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegisterAction {
    /// No Contact: tell me the bindings.
    Query,
    /// `Contact: *` with `Expires: 0`: remove all bindings.
    RemoveAll,
    /// Add, refresh or (with zero seconds) remove these bindings.
    Update(Vec<RequestedBinding>),
}

/// One binding of a REGISTER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedBinding {
    /// The address with its parameters.
    pub contact: NameAddr,
    /// Wanted life in seconds: the contact's parameter, else the Expires header; `None` leaves it to
    /// the registrar. Zero removes.
    pub expires_s: Option<u32>,
}

impl RegisterAction {
    /// Reads the Contact and Expires headers of a REGISTER (RFC 3261 section 10.3 steps 6 and 7).
    ///
    /// # Errors
    /// [`HeaderError`]: unreadable contacts, or `*` without `Expires: 0`, which is answered with 400.
    pub fn from_request(request: &Request) -> Result<Self, HeaderError> {
        debug_assert_eq!(request.method, Method::Register, "only REGISTER asks for bindings");
        let header_s = request.headers.expires_s()?;
        match request.headers.contacts()? {
            None => Ok(Self::Query),
            Some(Contacts::Star) if header_s == Some(0) => Ok(Self::RemoveAll),
            Some(Contacts::Star) => {
                Err(HeaderError::Syntax { name: HeaderName::Contact, fault: SyntaxError::BadValue })
            }
            Some(Contacts::List(list)) => {
                let bindings = list.into_iter().map(|contact| {
                    let expires_s = contact.expires_param_s().or(header_s);
                    RequestedBinding { contact, expires_s }
                });
                Ok(Self::Update(bindings.collect()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: q values at and over their edges.
    #[test]
    fn q_values() {
        let rows = [
            ("0", Some(0)),
            ("0.7", Some(700)),
            ("0.123", Some(123)),
            ("1", Some(1000)),
            ("1.000", Some(1000)),
            ("1.", Some(1000)),
            ("1.001", None),
            ("0.1234", None),
            ("2", None),
            (".5", None),
            ("-1", None),
        ];
        for (text, expect) in rows {
            assert_eq!(parse_q(text.as_bytes()), expect, "{text}");
        }
    }

    // Goal: the contact's own expires beats the header, and unreadable ones count as an hour.
    #[test]
    fn expires() {
        let contact = |text: &str| NameAddr::parse(&SipText::copy_of(text).unwrap()).unwrap();
        assert_eq!(contact("<sip:a@h>;expires=0").expires_param_s(), Some(0));
        assert_eq!(contact("<sip:a@h>;expires=never").expires_param_s(), Some(3_600));
        assert_eq!(contact("<sip:a@h>;expires").expires_param_s(), Some(3_600));
        assert_eq!(contact("<sip:a@h>;expires=99999999999").expires_param_s(), Some(u32::MAX));
        assert_eq!(contact("<sip:a@h>").expires_param_s(), None);
        let outbound = contact("<sip:a@h>;+sip.instance=\"<urn:uuid:00-11>\";reg-id=2");
        assert_eq!(outbound.instance().as_deref(), Some(&b"<urn:uuid:00-11>"[..]));
        assert_eq!((outbound.reg_id(), contact("<sip:a@h>;reg-id=0").reg_id()), (Some(2), None));
    }
}
