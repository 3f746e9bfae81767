//! When two URIs name the same thing: RFC 3261 section 19.1.4 for `sip:`, RFC 3966 section 4 for
//! `tel:`, byte equality for the rest. For registrars, which must not bind one contact twice.

use super::uri::unescape;
use super::{Params, SipUri, TelUri, Uri};
use crate::text::SipText;

impl Uri {
    /// Whether two URIs are equivalent. Not transitive, by the RFC's own rules: a parameter that only
    /// one side has is mostly ignored.
    pub fn is_equivalent(&self, other: &Uri) -> bool {
        match (self, other) {
            (Uri::Sip(a), Uri::Sip(b)) => sip_equivalent(a, b),
            (Uri::Tel(a), Uri::Tel(b)) => tel_equivalent(a, b),
            (Uri::Other(a), Uri::Other(b)) => {
                a.scheme.as_bytes().eq_ignore_ascii_case(b.scheme.as_bytes()) && a.rest == b.rest
            }
            _ => false,
        }
    }
}

fn sip_equivalent(a: &SipUri, b: &SipUri) -> bool {
    // "A SIP and SIPS URI are never equivalent."
    a.scheme == b.scheme
        // Userinfo compares with case, after escapes of unreserved bytes are resolved. An absent
        // user differs from any user.
        && opt_decoded(a.user.as_ref()) == opt_decoded(b.user.as_ref())
        && opt_decoded(a.password.as_ref()) == opt_decoded(b.password.as_ref())
        && a.host == b.host
        // "A URI omitting any component with a default value will not match a URI explicitly
        // containing that component with its default value."
        && a.port == b.port
        && params_match(&a.params, &b.params)
        && headers_match(a.headers.as_ref(), b.headers.as_ref())
}

/// Parameters that must match when only one side has them. `transport` is not among the RFC's four,
/// but a port-less URI with `transport=tcp` names another binding than one without ("components with
/// default values": the default of transport depends on the scheme); its examples say so.
const MUST_BE_ON_BOTH: [&str; 5] = ["user", "ttl", "method", "maddr", "transport"];

fn params_match(a: &Params, b: &Params) -> bool {
    let one_sided = |left: &Params, right: &Params| {
        MUST_BE_ON_BOTH.iter().any(|name| left.has(name) && !right.has(name))
    };
    if one_sided(a, b) || one_sided(b, a) {
        return false;
    }
    a.iter().all(|param| match param.name.to_str().and_then(|name| b.get(name)) {
        None => true,
        Some(value) => match (&param.value, value) {
            (None, None) => true,
            (Some(x), Some(y)) => {
                unescape(x.as_bytes()).eq_ignore_ascii_case(&unescape(y.as_bytes()))
            }
            _ => false,
        },
    })
}

/// "URI header components are never ignored": the same set on both sides, in any order.
fn headers_match(a: Option<&SipText>, b: Option<&SipText>) -> bool {
    header_set(a) == header_set(b)
}

fn header_set(headers: Option<&SipText>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let Some(headers) = headers else { return Vec::new() };
    let mut set: Vec<_> = headers
        .as_bytes()
        .split(|b| *b == b'&')
        .map(|pair| {
            let mut halves = pair.splitn(2, |b| *b == b'=');
            let name = unescape(halves.next().unwrap_or_default()).to_ascii_lowercase();
            (name, unescape(halves.next().unwrap_or_default()))
        })
        .collect();
    set.sort();
    set
}

fn opt_decoded(part: Option<&SipText>) -> Option<Vec<u8>> {
    part.map(|p| unescape(p.as_bytes()))
}

/// RFC 3966 section 4: visual separators are ignored, letters compare without case, parameters are
/// compared as sets.
fn tel_equivalent(a: &TelUri, b: &TelUri) -> bool {
    let digits = |tel: &TelUri| -> Vec<u8> {
        let kept = tel.number.as_bytes().iter().filter(|b| !is_visual_separator(**b));
        kept.map(u8::to_ascii_lowercase).collect()
    };
    let subset = |x: &Params, y: &Params| {
        x.iter().all(|param| {
            let other = param.name.to_str().and_then(|name| y.get(name));
            other.is_some_and(|value| match (&param.value, value) {
                (Some(p), Some(q)) => p.as_bytes().eq_ignore_ascii_case(q.as_bytes()),
                (p, q) => p.is_none() && q.is_none(),
            })
        })
    };
    digits(a) == digits(b) && subset(&a.params, &b.params) && subset(&b.params, &a.params)
}

/// RFC 3966 section 3, visual-separator.
pub(crate) fn is_visual_separator(b: u8) -> bool {
    matches!(b, b'-' | b'.' | b'(' | b')')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equivalent(a: &str, b: &str) -> bool {
        let (a, b) = (Uri::parse(a).unwrap(), Uri::parse(b).unwrap());
        assert_eq!(a.is_equivalent(&b), b.is_equivalent(&a), "symmetric");
        assert!(a.is_equivalent(&a) && b.is_equivalent(&b), "reflexive");
        a.is_equivalent(&b)
    }

    // Goal: the rules of RFC 3261 section 19.1.4, one row per rule, equal side.
    #[test]
    fn equivalent_uris() {
        let rows = [
            ("sip:%61lice@example.com", "sip:alice@example.com"),
            ("sip:alice@EXAMPLE.com;Transport=TCP", "SIP:alice@example.com;transport=tcp"),
            ("sip:carol@h", "sip:carol@h;newparam=5"),
            ("sip:carol@h;security=on", "sip:carol@h;newparam=5"),
            (
                "sip:h;transport=tcp;method=REGISTER?to=x&from=y",
                "sip:h;method=REGISTER;transport=tcp?from=y&to=x",
            ),
            ("sip:a@h?subject=project%20x", "sip:a@h?Subject=project%20x"),
            ("sip:a@[2001:db8::1]", "sip:a@[2001:DB8:0::1]"),
            ("tel:+44-20-79460089", "tel:+442079460089"),
            ("urn:service:sos", "URN:service:sos"),
        ];
        for (a, b) in rows {
            assert!(equivalent(a, b), "{a} {b}");
        }
    }

    // Goal: the same rules, unequal side.
    #[test]
    fn different_uris() {
        let rows = [
            ("sip:alice@h", "sip:ALICE@h"),
            ("sip:alice@h", "sips:alice@h"),
            ("sip:alice@h", "sip:h"),
            ("sip:bob@h", "sip:bob@h:5060"),
            ("sip:bob@h", "sip:bob@h;transport=udp"),
            ("sip:bob@h;maddr=192.0.2.1", "sip:bob@h"),
            ("sip:bob@h;x=1", "sip:bob@h;x=2"),
            ("sip:bob@h;x=1", "sip:bob@h;x"),
            ("sip:bob@h?a=1", "sip:bob@h"),
            ("sip:bob:pw@h", "sip:bob@h"),
            ("sip:bob@192.0.2.1", "sip:bob@bobs.example"),
            ("tel:+44", "tel:+45"),
            ("tel:44;phone-context=a", "tel:44;phone-context=b"),
            ("tel:44;phone-context=a", "tel:44"),
            ("tel:44", "sip:44@h"),
            ("urn:a", "urn:A"),
        ];
        for (a, b) in rows {
            assert!(!equivalent(a, b), "{a} {b}");
        }
    }
}
