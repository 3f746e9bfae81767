//! Who calls and whom: numbers and names out of From, P-Asserted-Identity, Request-URI, To, Diversion and
//! History-Info, for routing.
//!
//! Numbers and names are personal data. The types here hide them in `Debug` and `Display`; `expose` hands
//! them out, and what is exposed must not reach a log.

use crate::limits::PHONE_NUMBER_BYTES_MAX;
use crate::message::{HeaderName, Headers, NameAddr, Request, Uri, is_visual_separator};
use crate::redact::Redacted;
use crate::scan::{split_list, trim};
use std::fmt;

/// A telephone number in one form: an optional `+`, then digits, `*` and `#`, at least one of them;
/// visual separators and parameters are gone. At most [`PHONE_NUMBER_BYTES_MAX`] bytes.
///
/// ```
/// use tandem_sip::identity::PhoneNumber;
/// let number = PhoneNumber::normalise(b"+44 (20) 7946-0089;phone-context=x").unwrap();
/// assert_eq!(number.expose(), "+442079460089");
/// assert_eq!(format!("{number} {number:?}"), "…89 …89");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhoneNumber(String);

/// A name or user part; personal data.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrivateText(Vec<u8>);

/// Whether the peer that sent a request may assert identities (RFC 3325 section 3): a carrier's trunk may,
/// a phone may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Its P-Asserted-Identity counts.
    Trusted,
    /// Only its From counts, and says what the caller wants it to say.
    Untrusted,
}

/// Whether agents may be shown the caller (RFC 3323 section 4.2, RFC 3325 section 9.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presentation {
    /// Yes.
    Allowed,
    /// No: `Privacy` asks for it, or the From is anonymous.
    Restricted,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The number, if the caller has one.
    pub number: Option<PhoneNumber>,
    /// The user part when it is no number (`alice`).
    pub user: Option<PrivateText>,
    /// The display name.
    pub name: Option<PrivateText>,
    /// Whether it may be shown.
    pub presentation: Presentation,
    /// Where number and name come from.
    pub source: CallerSource,
}

/// Header of a caller's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerSource {
    /// From: what the caller says.
    From,
    /// P-Asserted-Identity: what a trusted network says.
    Asserted,
}

/// What was called, by each header that tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Called {
    /// Request-URI: where the call is going now.
    pub target: Option<PhoneNumber>,
    /// User part of the Request-URI when it is no number (`support`).
    pub target_user: Option<PrivateText>,
    /// To: what the caller dialled, as far as nobody changed it.
    pub to: Option<PhoneNumber>,
    /// The number that was called first: the first History-Info entry (RFC 7044 section 5), else the last
    /// Diversion entry (RFC 5806 section 4: the newest stands first).
    pub original: Option<PhoneNumber>,
    /// The number that sent the call here: the first Diversion entry.
    pub diverted_by: Option<PhoneNumber>,
}

impl PhoneNumber {
    /// Reads a user part without escapes or a `tel:` number: visual separators and blanks are dropped,
    /// parameters cut off. `None` when something else than a number is left.
    pub fn normalise(text: &[u8]) -> Option<Self> {
        let number = text.split(|b| *b == b';').next().unwrap_or_default();
        let kept: String = number
            .iter()
            .filter(|b| !is_visual_separator(**b) && **b != b' ')
            .map(|b| char::from(*b))
            .collect();
        let digits = kept.strip_prefix('+').unwrap_or(&kept);
        let is_number = !digits.is_empty()
            && kept.len() <= PHONE_NUMBER_BYTES_MAX
            && digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'*' | b'#'));
        is_number.then_some(Self(kept))
    }

    /// The number of a URI: the user part of `sip:` and `sips:`, the whole of `tel:`.
    pub fn of_uri(uri: &Uri) -> Option<Self> {
        match uri {
            Uri::Sip(sip) => Self::normalise(&sip.user_decoded()?),
            Uri::Tel(tel) => Self::normalise(tel.number.as_bytes()),
            Uri::Other(_) => None,
        }
    }

    /// The number in clear: for routing and dialling, never for logs.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it starts with `+` and so means the same everywhere (RFC 3966 section 5.1.4).
    pub fn is_global(&self) -> bool {
        self.0.starts_with('+')
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Redacted(self.0.as_bytes()).fmt(f)
    }
}

impl PrivateText {
    /// The bytes in clear; an old peer may not send UTF-8.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The text in clear, when it is UTF-8.
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    fn not_empty(bytes: Vec<u8>) -> Option<Self> {
        let trimmed = bytes.trim_ascii();
        (!trimmed.is_empty()).then(|| Self(trimmed.to_vec()))
    }
}

impl fmt::Debug for PrivateText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Finds the caller of a request. Headers that cannot be read are passed over: identity is never a reason
/// to refuse a call.
pub fn caller(request: &Request, trust: Trust) -> Caller {
    let asserted = match trust {
        Trust::Trusted => {
            request.headers.addresses(&HeaderName::PAssertedIdentity).unwrap_or_default()
        }
        Trust::Untrusted => Vec::new(),
    };
    let restricted = asks_for_privacy(&request.headers) || is_anonymous(&request.from.uri);
    let presentation = if restricted { Presentation::Restricted } else { Presentation::Allowed };
    if asserted.is_empty() {
        return caller_of(std::slice::from_ref(&request.from), presentation, CallerSource::From);
    }
    caller_of(&asserted, presentation, CallerSource::Asserted)
}

/// Finds what was called.
pub fn called(request: &Request) -> Called {
    let numbers = |name: HeaderName| -> Vec<NameAddr> {
        request.headers.addresses(&name).unwrap_or_default()
    };
    let history = numbers(HeaderName::HistoryInfo);
    let diversions = numbers(HeaderName::Diversion);
    let number_of = |address: Option<&NameAddr>| PhoneNumber::of_uri(&address?.uri);
    let target = PhoneNumber::of_uri(&request.uri);
    Called {
        target_user: if target.is_none() { user_of(&request.uri) } else { None },
        target,
        to: PhoneNumber::of_uri(&request.to.uri),
        original: number_of(history.first()).or_else(|| number_of(diversions.last())),
        diverted_by: number_of(diversions.first()),
    }
}

/// RFC 3325 section 9.1: there may be a `sip:` and a `tel:` value; the first number and the first name
/// count.
fn caller_of(addresses: &[NameAddr], presentation: Presentation, source: CallerSource) -> Caller {
    let number = addresses.iter().find_map(|address| PhoneNumber::of_uri(&address.uri));
    let user = match number {
        Some(_) => None,
        None => addresses
            .iter()
            .filter(|address| !is_anonymous(&address.uri))
            .find_map(|address| user_of(&address.uri)),
    };
    let name = addresses
        .iter()
        .find_map(|address| PrivateText::not_empty(address.display.as_ref()?.expose()));
    Caller { number, user, name, presentation, source }
}

fn user_of(uri: &Uri) -> Option<PrivateText> {
    PrivateText::not_empty(uri.as_sip()?.user_decoded()?)
}

/// RFC 3323 section 4.1.1.3: `sip:anonymous@anonymous.invalid`; the user part alone is in use too.
fn is_anonymous(uri: &Uri) -> bool {
    uri.as_sip().is_some_and(|sip| {
        sip.host.text().eq_ignore_case("anonymous.invalid")
            || sip.user.as_ref().is_some_and(|user| user.eq_ignore_case("anonymous"))
    })
}

/// RFC 3323 section 4.2: `Privacy: id; user`, values separated by semicolons (and, by mistake, commas).
fn asks_for_privacy(headers: &Headers) -> bool {
    headers.all(&HeaderName::Privacy).flat_map(split_list).any(|piece| {
        let mut at = 0;
        piece.as_bytes().split(|b| *b == b';').any(|value| {
            let value_text = trim(&piece.slice(at, at + value.len()));
            at += value.len() + 1;
            ["id", "user", "header", "history"].iter().any(|p| value_text.eq_ignore_case(p))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Message, parse_datagram};

    fn invite(uri: &str, from: &str, to: &str, more: &str) -> Request {
        let text = format!(
            "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: {from};tag=1\r\n\
             To: {to}\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n{more}\r\n"
        );
        match parse_datagram(text.into_bytes()).unwrap() {
            Message::Request(request) => *request,
            Message::Response(_) => unreachable!("a request"),
        }
    }

    fn from(from: &str, more: &str, trust: Trust) -> Caller {
        caller(&invite("sip:1@h", from, "<sip:1@h>", more), trust)
    }

    fn shown(number: &Option<PhoneNumber>) -> Option<&str> {
        number.as_ref().map(PhoneNumber::expose)
    }

    // Goal: numbers come out in one form, and what is no number does not.
    #[test]
    fn normalised_numbers() {
        let rows: [(&str, Option<&str>); 12] = [
            ("+44-20.7946(0089)", Some("+442079460089")),
            ("0800 123", Some("0800123")),
            ("*31#0301", Some("*31#0301")),
            ("7042;phone-context=example.com", Some("7042")),
            ("+1;npdi;rn=+1202", Some("+1")),
            ("alice", None),
            ("+", None),
            ("", None),
            ("()", None),
            ("++1", None),
            ("1+1", None),
            ("12a", None),
        ];
        for (text, expect) in rows {
            let got = PhoneNumber::normalise(text.as_bytes());
            assert_eq!(shown(&got), expect, "{text}");
        }
        assert!(PhoneNumber::normalise(&[b'1'; PHONE_NUMBER_BYTES_MAX]).is_some());
        assert!(PhoneNumber::normalise(&[b'1'; PHONE_NUMBER_BYTES_MAX + 1]).is_none());
        assert!(PhoneNumber::normalise(b"+1").unwrap().is_global());
    }

    // Goal: escapes are resolved, schemes understood.
    #[test]
    fn numbers_of_uris() {
        let of = |uri: &str| PhoneNumber::of_uri(&Uri::parse(uri).unwrap());
        assert_eq!(shown(&of("sip:%2B44%2020@h;user=phone")), Some("+4420"));
        assert_eq!(shown(&of("sips:0301:pw@h")), Some("0301"));
        assert_eq!(shown(&of("tel:+49-30-1;ext=5")), Some("+49301"));
        assert_eq!(shown(&of("urn:service:sos")), None);
        assert_eq!(shown(&of("sip:h")), None);
    }

    // Goal: an asserted identity counts only from a trusted peer, over the From, whichever of its values
    // has the number and the name.
    #[test]
    fn asserted_identities() {
        let pai = "P-Asserted-Identity: \"Bob\" <sip:bob@carrier>, <tel:+4420>\r\n";
        let trusted = from("\"Eve\" <sip:+999@h>", pai, Trust::Trusted);
        assert_eq!(shown(&trusted.number), Some("+4420"));
        assert_eq!(trusted.name.unwrap().expose_str(), Some("Bob"));
        assert_eq!(trusted.source, CallerSource::Asserted);
        let untrusted = from("\"Eve\" <sip:+999@h>", pai, Trust::Untrusted);
        assert_eq!(shown(&untrusted.number), Some("+999"));
        assert_eq!(untrusted.name.unwrap().expose_str(), Some("Eve"));
        let broken = from("<sip:+999@h>", "P-Asserted-Identity: <sip:\r\n", Trust::Trusted);
        assert_eq!((shown(&broken.number), broken.source), (Some("+999"), CallerSource::From));
        let user = from("<sip:alice@h>", "", Trust::Untrusted);
        assert_eq!((user.number, user.user.unwrap().expose()), (None, &b"alice"[..]));
    }

    // Goal: privacy is found however it is asked for, and an anonymous From has neither number nor user.
    #[test]
    fn privacy() {
        let of = |header: &str| from("<sip:+4420@h>", header, Trust::Untrusted).presentation;
        assert_eq!(of(""), Presentation::Allowed);
        assert_eq!(of("Privacy: none\r\n"), Presentation::Allowed);
        for header in [
            "Privacy: id\r\n",
            "Privacy: critical; ID\r\n",
            "Privacy: critical,user\r\n",
            "Privacy: header;critical\r\n",
        ] {
            assert_eq!(of(header), Presentation::Restricted, "{header}");
        }
        let anonymous =
            from("\"Anonymous\" <sip:anonymous@anonymous.invalid>", "", Trust::Untrusted);
        assert_eq!((anonymous.number, anonymous.user), (None, None));
        assert_eq!(anonymous.presentation, Presentation::Restricted);
    }

    // Goal: the called number by each header; the original is the oldest that is known.
    #[test]
    fn called_numbers() {
        let diversions = "Diversion: <sip:222@h>;reason=no-answer, <tel:111>\r\n";
        let history =
            "History-Info: <sip:100@h>;index=1\r\nHistory-Info: <sip:300@h>;index=1.1\r\n";
        let of = |more: &str| called(&invite("sip:300@h", "<sip:1@h>", "<sip:200@h>", more));
        let plain = of("");
        assert_eq!((shown(&plain.target), shown(&plain.to)), (Some("300"), Some("200")));
        assert_eq!((plain.original, plain.diverted_by), (None, None));
        let diverted = of(diversions);
        assert_eq!(
            (shown(&diverted.original), shown(&diverted.diverted_by)),
            (Some("111"), Some("222"))
        );
        let both = of(&format!("{diversions}{history}"));
        assert_eq!((shown(&both.original), shown(&both.diverted_by)), (Some("100"), Some("222")));
        let named = called(&invite("sip:support@h", "<sip:1@h>", "<sip:support@h>", ""));
        assert_eq!((named.target, named.target_user.unwrap().expose()), (None, &b"support"[..]));
    }

    // Goal: nothing personal shows in debug output.
    #[test]
    fn debug_is_private() {
        let caller = from("\"Bob Secret\" <sip:+442079460089@h>", "", Trust::Untrusted);
        let shown = format!("{caller:?}");
        assert!(!shown.contains("7946") && !shown.contains("Secret"), "{shown}");
    }
}
