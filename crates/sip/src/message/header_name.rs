//! Header names: the ones we know by their standard spelling and compact form, the others as they came.

use crate::text::{SipText, Visible};
use std::fmt;

macro_rules! header_names {
    ($($(#[$doc:meta])* $variant:ident $name:literal $(/ $compact:literal)?;)*) => {
        /// The name of a header field. Names compare without case (RFC 3261 section 7.3.1); known
        /// names are written in their standard long spelling, unknown ones as they came.
        #[derive(Clone)]
        #[non_exhaustive]
        pub enum HeaderName {
            $($(#[$doc])* $variant,)*
            /// A name that this crate gives no meaning to; the header is kept verbatim.
            Other(SipText),
        }

        impl HeaderName {
            /// All known names.
            pub const KNOWN: &'static [HeaderName] = &[$(HeaderName::$variant,)*];

            /// The name as it is written into a message.
            pub fn as_bytes(&self) -> &[u8] {
                match self {
                    $(Self::$variant => $name.as_bytes(),)*
                    Self::Other(name) => name.as_bytes(),
                }
            }

            /// The compact form, where one is defined.
            pub fn compact(&self) -> Option<u8> {
                match self {
                    $($(Self::$variant => Some($compact),)?)*
                    _ => None,
                }
            }

            /// Recognises a name in any case, long or compact. The caller has checked that it is a
            /// token.
            pub(crate) fn recognise(name: SipText) -> Self {
                if let [letter] = name.as_bytes() {
                    match letter.to_ascii_lowercase() {
                        $($($compact => return Self::$variant,)?)*
                        _ => return Self::Other(name),
                    }
                }
                $(if name.eq_ignore_case($name) { return Self::$variant; })*
                Self::Other(name)
            }
        }
    };
}

header_names! {
    /// RFC 3261 section 20.43.
    Via "Via" / b'v';
    /// RFC 3261 section 20.20.
    From "From" / b'f';
    /// RFC 3261 section 20.39.
    To "To" / b't';
    /// RFC 3261 section 20.8.
    CallId "Call-ID" / b'i';
    /// RFC 3261 section 20.16.
    CSeq "CSeq";
    /// RFC 3261 section 20.22.
    MaxForwards "Max-Forwards";
    /// RFC 3261 section 20.10.
    Contact "Contact" / b'm';
    /// RFC 3261 section 20.14.
    ContentLength "Content-Length" / b'l';
    /// RFC 3261 section 20.15.
    ContentType "Content-Type" / b'c';
    /// RFC 3261 section 20.34.
    Route "Route";
    /// RFC 3261 section 20.30.
    RecordRoute "Record-Route";
    /// RFC 3261 section 20.5.
    Allow "Allow";
    /// RFC 3261 section 20.37.
    Supported "Supported" / b'k';
    /// RFC 3261 section 20.32.
    Require "Require";
    /// RFC 3261 section 20.29.
    ProxyRequire "Proxy-Require";
    /// RFC 3261 section 20.40.
    Unsupported "Unsupported";
    /// RFC 3261 section 20.41.
    UserAgent "User-Agent";
    /// RFC 3261 section 20.35.
    Server "Server";
    /// RFC 3261 section 20.19.
    Expires "Expires";
    /// RFC 3261 section 20.23.
    MinExpires "Min-Expires";
    /// RFC 3261 section 20.7.
    Authorization "Authorization";
    /// RFC 3261 section 20.28.
    ProxyAuthorization "Proxy-Authorization";
    /// RFC 3261 section 20.44.
    WwwAuthenticate "WWW-Authenticate";
    /// RFC 3261 section 20.27.
    ProxyAuthenticate "Proxy-Authenticate";
    /// RFC 3261 section 20.6.
    AuthenticationInfo "Authentication-Info";
    /// RFC 3326 section 2.
    Reason "Reason";
    /// RFC 3261 section 20.33.
    RetryAfter "Retry-After";
    /// RFC 4028 section 4.
    SessionExpires "Session-Expires" / b'x';
    /// RFC 4028 section 5.
    MinSe "Min-SE";
    /// RFC 7989 section 5.
    SessionId "Session-ID";
    /// RFC 3325 section 9.1.
    PAssertedIdentity "P-Asserted-Identity";
    /// RFC 3325 section 9.2.
    PPreferredIdentity "P-Preferred-Identity";
    /// RFC 3323 section 4.2.
    Privacy "Privacy";
    /// RFC 5806 section 5.
    Diversion "Diversion";
    /// RFC 7044 section 5.
    HistoryInfo "History-Info";
    /// RFC 7433 section 4.
    UserToUser "User-to-User";
    /// RFC 8224 section 4.
    Identity "Identity" / b'y';
    /// RFC 3515 section 2.1.
    ReferTo "Refer-To" / b'r';
    /// RFC 3892 section 3.
    ReferredBy "Referred-By" / b'b';
    /// RFC 3891 section 6.1.
    Replaces "Replaces";
    /// RFC 3911 section 7.1.
    Join "Join";
    /// RFC 4538 section 4.
    TargetDialog "Target-Dialog";
    /// RFC 3262 section 7.1.
    RSeq "RSeq";
    /// RFC 3262 section 7.2.
    RAck "RAck";
    /// RFC 6665 section 8.2.1.
    Event "Event" / b'o';
    /// RFC 6665 section 8.2.2.
    AllowEvents "Allow-Events" / b'u';
    /// RFC 6665 section 8.2.3.
    SubscriptionState "Subscription-State";
    /// RFC 3327 section 4.
    Path "Path";
    /// RFC 3608 section 5.
    ServiceRoute "Service-Route";
    /// RFC 5626 section 10.
    FlowTimer "Flow-Timer";
    /// RFC 3261 section 20.1.
    Accept "Accept";
    /// RFC 3261 section 20.2.
    AcceptEncoding "Accept-Encoding";
    /// RFC 3261 section 20.3.
    AcceptLanguage "Accept-Language";
    /// RFC 3841 section 9.2.
    AcceptContact "Accept-Contact" / b'a';
    /// RFC 3841 section 9.2.
    RejectContact "Reject-Contact" / b'j';
    /// RFC 3841 section 9.1.
    RequestDisposition "Request-Disposition" / b'd';
    /// RFC 3261 section 20.4.
    AlertInfo "Alert-Info";
    /// RFC 3261 section 20.9.
    CallInfo "Call-Info";
    /// RFC 3261 section 20.11.
    ContentDisposition "Content-Disposition";
    /// RFC 3261 section 20.12.
    ContentEncoding "Content-Encoding" / b'e';
    /// RFC 3261 section 20.13.
    ContentLanguage "Content-Language";
    /// RFC 3261 section 20.17.
    Date "Date";
    /// RFC 3261 section 20.18.
    ErrorInfo "Error-Info";
    /// RFC 3261 section 20.21.
    InReplyTo "In-Reply-To";
    /// RFC 3261 section 20.24.
    MimeVersion "MIME-Version";
    /// RFC 3261 section 20.25.
    Organization "Organization";
    /// RFC 3261 section 20.26.
    Priority "Priority";
    /// RFC 4412 section 3.1.
    ResourcePriority "Resource-Priority";
    /// RFC 3261 section 20.31.
    ReplyTo "Reply-To";
    /// RFC 3903 section 11.3.1.
    SipEtag "SIP-ETag";
    /// RFC 3903 section 11.3.2.
    SipIfMatch "SIP-If-Match";
    /// RFC 3261 section 20.36.
    Subject "Subject" / b's';
    /// RFC 3261 section 20.38.
    Timestamp "Timestamp";
    /// RFC 3261 section 20.42.
    Warning "Warning";
}

impl PartialEq for HeaderName {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Other(a), Self::Other(b)) => a.as_bytes().eq_ignore_ascii_case(b.as_bytes()),
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl Eq for HeaderName {}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Visible(self.as_bytes()).fmt(f)
    }
}

impl fmt::Debug for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognise(name: &str) -> HeaderName {
        HeaderName::recognise(SipText::copy_of(name).unwrap())
    }

    // Goal: every known name is recognised in its own spelling, in other case, and in compact form.
    #[test]
    fn every_spelling_is_recognised() {
        for known in HeaderName::KNOWN {
            let name = known.to_string();
            assert_eq!(&recognise(&name), known);
            assert_eq!(&recognise(&name.to_ascii_uppercase()), known);
            assert_eq!(&recognise(&name.to_ascii_lowercase()), known);
            if let Some(letter) = known.compact() {
                assert_eq!(&recognise(&char::from(letter).to_string()), known);
                assert_eq!(&recognise(&char::from(letter).to_uppercase().to_string()), known);
            }
        }
    }

    // Goal: no two names share a spelling or a compact letter.
    #[test]
    fn spellings_are_unique() {
        let mut seen: Vec<String> = Vec::new();
        for known in HeaderName::KNOWN {
            let name = known.to_string().to_ascii_lowercase();
            let compact = known.compact().map(|letter| char::from(letter).to_string());
            for spelling in std::iter::once(name).chain(compact) {
                assert!(!seen.contains(&spelling), "{spelling} twice");
                seen.push(spelling);
            }
        }
    }

    // Goal: an unknown name keeps its spelling and compares without case.
    #[test]
    fn unknown_names_are_kept() {
        let name = recognise("x-CRM-Id");
        assert_eq!(name.as_bytes(), b"x-CRM-Id");
        assert_eq!(name, recognise("X-crm-ID"));
        assert_ne!(name, recognise("X-crm-IDs"));
        assert!(matches!(recognise("z"), HeaderName::Other(_)));
    }
}
