//! Request methods.

use crate::text::{SipText, Visible};
use std::fmt;

macro_rules! methods {
    ($($(#[$doc:meta])* $variant:ident $name:literal;)*) => {
        /// The method of a request. Method names compare with case (RFC 3261 section 7.1).
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Method {
            $($(#[$doc])* $variant,)*
            /// A method that this crate does not know: kept, so that it can be answered with 405 or
            /// 501.
            Other(SipText),
        }

        impl Method {
            /// All known methods.
            pub const KNOWN: &'static [Method] = &[$(Method::$variant,)*];

            /// The name as it stands in a message.
            pub fn as_bytes(&self) -> &[u8] {
                match self {
                    $(Self::$variant => $name.as_bytes(),)*
                    Self::Other(name) => name.as_bytes(),
                }
            }

            /// Recognises a name; the caller has checked that it is a token.
            pub(crate) fn recognise(name: SipText) -> Self {
                match name.as_bytes() {
                    $(bytes if bytes == $name.as_bytes() => Self::$variant,)*
                    _ => Self::Other(name),
                }
            }
        }
    };
}

methods! {
    /// RFC 3261 section 13.
    Invite "INVITE";
    /// RFC 3261 section 17.1.1.3, 13.2.2.4.
    Ack "ACK";
    /// RFC 3261 section 15.
    Bye "BYE";
    /// RFC 3261 section 9.
    Cancel "CANCEL";
    /// RFC 3261 section 10.
    Register "REGISTER";
    /// RFC 3261 section 11.
    Options "OPTIONS";
    /// RFC 6086.
    Info "INFO";
    /// RFC 3262.
    Prack "PRACK";
    /// RFC 3311.
    Update "UPDATE";
    /// RFC 3515.
    Refer "REFER";
    /// RFC 6665.
    Subscribe "SUBSCRIBE";
    /// RFC 6665.
    Notify "NOTIFY";
    /// RFC 3428.
    Message "MESSAGE";
    /// RFC 3903.
    Publish "PUBLISH";
}

impl Method {
    /// Whether a request of this method refreshes the remote target of its dialog (RFC 3261 section
    /// 12.2, RFC 3311 section 5.1, RFC 6665 section 4.4.1).
    pub fn is_target_refresh(&self) -> bool {
        matches!(self, Self::Invite | Self::Update | Self::Subscribe | Self::Notify | Self::Refer)
    }

    /// Whether a request of this method can create a dialog.
    pub fn creates_dialog(&self) -> bool {
        matches!(self, Self::Invite | Self::Subscribe | Self::Refer)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Visible(self.as_bytes()).fmt(f)
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: each name maps to its method and back; case decides, as RFC 3261 section 7.1 says.
    #[test]
    fn names_map_both_ways() {
        for method in Method::KNOWN {
            let name = method.to_string();
            assert_eq!(&Method::recognise(SipText::copy_of(&name).unwrap()), method);
            let lower = SipText::copy_of(&name.to_ascii_lowercase()).unwrap();
            assert_eq!(Method::recognise(lower.clone()), Method::Other(lower));
        }
    }
}
