//! Status codes and their reason phrases.

use std::fmt;

/// A status code, 100 to 699.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatusCode(u16);

macro_rules! status_codes {
    ($($(#[$doc:meta])* $name:ident $code:literal $reason:literal;)*) => {
        impl StatusCode {
            $($(#[$doc])* pub const $name: StatusCode = StatusCode($code);)*

            /// All codes that have a name here.
            pub const NAMED: &'static [StatusCode] = &[$(StatusCode::$name,)*];

            /// The reason phrase that the code's document suggests; that of its class for a code
            /// without a name here.
            pub fn reason(self) -> &'static str {
                match self.0 {
                    $($code => $reason,)*
                    101..=199 => "Session Progress",
                    200..=299 => "OK",
                    300..=399 => "Redirection",
                    400..=499 => "Bad Request",
                    500..=599 => "Server Internal Error",
                    _ => "Decline",
                }
            }
        }
    };
}

status_codes! {
    /// RFC 3261 section 21.1.1.
    TRYING 100 "Trying";
    /// RFC 3261 section 21.1.2.
    RINGING 180 "Ringing";
    /// RFC 3261 section 21.1.3.
    CALL_IS_BEING_FORWARDED 181 "Call Is Being Forwarded";
    /// RFC 3261 section 21.1.4.
    QUEUED 182 "Queued";
    /// RFC 3261 section 21.1.5.
    SESSION_PROGRESS 183 "Session Progress";
    /// RFC 6228 section 11.1.
    EARLY_DIALOG_TERMINATED 199 "Early Dialog Terminated";
    /// RFC 3261 section 21.2.1.
    OK 200 "OK";
    /// RFC 3515, kept by RFC 6665 section 8.3.1.
    ACCEPTED 202 "Accepted";
    /// RFC 5839 section 7.
    NO_NOTIFICATION 204 "No Notification";
    /// RFC 3261 section 21.3.1.
    MULTIPLE_CHOICES 300 "Multiple Choices";
    /// RFC 3261 section 21.3.2.
    MOVED_PERMANENTLY 301 "Moved Permanently";
    /// RFC 3261 section 21.3.3.
    MOVED_TEMPORARILY 302 "Moved Temporarily";
    /// RFC 3261 section 21.3.4.
    USE_PROXY 305 "Use Proxy";
    /// RFC 3261 section 21.3.5.
    ALTERNATIVE_SERVICE 380 "Alternative Service";
    /// RFC 3261 section 21.4.1.
    BAD_REQUEST 400 "Bad Request";
    /// RFC 3261 section 21.4.2.
    UNAUTHORIZED 401 "Unauthorized";
    /// RFC 3261 section 21.4.3.
    PAYMENT_REQUIRED 402 "Payment Required";
    /// RFC 3261 section 21.4.4.
    FORBIDDEN 403 "Forbidden";
    /// RFC 3261 section 21.4.5.
    NOT_FOUND 404 "Not Found";
    /// RFC 3261 section 21.4.6.
    METHOD_NOT_ALLOWED 405 "Method Not Allowed";
    /// RFC 3261 section 21.4.7.
    NOT_ACCEPTABLE 406 "Not Acceptable";
    /// RFC 3261 section 21.4.8.
    PROXY_AUTHENTICATION_REQUIRED 407 "Proxy Authentication Required";
    /// RFC 3261 section 21.4.9.
    REQUEST_TIMEOUT 408 "Request Timeout";
    /// RFC 3261 section 21.4.10.
    GONE 410 "Gone";
    /// RFC 3903 section 11.2.1.
    CONDITIONAL_REQUEST_FAILED 412 "Conditional Request Failed";
    /// RFC 3261 section 21.4.11.
    REQUEST_ENTITY_TOO_LARGE 413 "Request Entity Too Large";
    /// RFC 3261 section 21.4.12.
    REQUEST_URI_TOO_LONG 414 "Request-URI Too Long";
    /// RFC 3261 section 21.4.13.
    UNSUPPORTED_MEDIA_TYPE 415 "Unsupported Media Type";
    /// RFC 3261 section 21.4.14.
    UNSUPPORTED_URI_SCHEME 416 "Unsupported URI Scheme";
    /// RFC 4412 section 4.6.2.
    UNKNOWN_RESOURCE_PRIORITY 417 "Unknown Resource-Priority";
    /// RFC 3261 section 21.4.15.
    BAD_EXTENSION 420 "Bad Extension";
    /// RFC 3261 section 21.4.16.
    EXTENSION_REQUIRED 421 "Extension Required";
    /// RFC 4028 section 6.
    SESSION_INTERVAL_TOO_SMALL 422 "Session Interval Too Small";
    /// RFC 3261 section 21.4.17.
    INTERVAL_TOO_BRIEF 423 "Interval Too Brief";
    /// RFC 6442 section 4.3.
    BAD_LOCATION_INFORMATION 424 "Bad Location Information";
    /// RFC 8224 section 6.2.2.
    USE_IDENTITY_HEADER 428 "Use Identity Header";
    /// RFC 3892 section 5.
    PROVIDE_REFERRER_IDENTITY 429 "Provide Referrer Identity";
    /// RFC 5626 section 11.
    FLOW_FAILED 430 "Flow Failed";
    /// RFC 5079 section 5.
    ANONYMITY_DISALLOWED 433 "Anonymity Disallowed";
    /// RFC 8224 section 6.2.2.
    BAD_IDENTITY_INFO 436 "Bad Identity Info";
    /// RFC 8224 section 6.2.2.
    UNSUPPORTED_CREDENTIAL 437 "Unsupported Credential";
    /// RFC 8224 section 6.2.2.
    INVALID_IDENTITY_HEADER 438 "Invalid Identity Header";
    /// RFC 5626 section 11.
    FIRST_HOP_LACKS_OUTBOUND_SUPPORT 439 "First Hop Lacks Outbound Support";
    /// RFC 5393 section 5.1.
    MAX_BREADTH_EXCEEDED 440 "Max-Breadth Exceeded";
    /// RFC 6086 section 4.2.2.
    BAD_INFO_PACKAGE 469 "Bad Info Package";
    /// RFC 5360 section 5.9.2.
    CONSENT_NEEDED 470 "Consent Needed";
    /// RFC 3261 section 21.4.18.
    TEMPORARILY_UNAVAILABLE 480 "Temporarily Unavailable";
    /// RFC 3261 section 21.4.19.
    CALL_OR_TRANSACTION_DOES_NOT_EXIST 481 "Call/Transaction Does Not Exist";
    /// RFC 3261 section 21.4.20.
    LOOP_DETECTED 482 "Loop Detected";
    /// RFC 3261 section 21.4.21.
    TOO_MANY_HOPS 483 "Too Many Hops";
    /// RFC 3261 section 21.4.22.
    ADDRESS_INCOMPLETE 484 "Address Incomplete";
    /// RFC 3261 section 21.4.23.
    AMBIGUOUS 485 "Ambiguous";
    /// RFC 3261 section 21.4.24.
    BUSY_HERE 486 "Busy Here";
    /// RFC 3261 section 21.4.25.
    REQUEST_TERMINATED 487 "Request Terminated";
    /// RFC 3261 section 21.4.26.
    NOT_ACCEPTABLE_HERE 488 "Not Acceptable Here";
    /// RFC 6665 section 8.3.2.
    BAD_EVENT 489 "Bad Event";
    /// RFC 3261 section 21.4.27.
    REQUEST_PENDING 491 "Request Pending";
    /// RFC 3261 section 21.4.28.
    UNDECIPHERABLE 493 "Undecipherable";
    /// RFC 3329 section 2.3.1.
    SECURITY_AGREEMENT_REQUIRED 494 "Security Agreement Required";
    /// RFC 3261 section 21.5.1.
    SERVER_INTERNAL_ERROR 500 "Server Internal Error";
    /// RFC 3261 section 21.5.2.
    NOT_IMPLEMENTED 501 "Not Implemented";
    /// RFC 3261 section 21.5.3.
    BAD_GATEWAY 502 "Bad Gateway";
    /// RFC 3261 section 21.5.4.
    SERVICE_UNAVAILABLE 503 "Service Unavailable";
    /// RFC 3261 section 21.5.5.
    SERVER_TIMEOUT 504 "Server Time-out";
    /// RFC 3261 section 21.5.6.
    VERSION_NOT_SUPPORTED 505 "Version Not Supported";
    /// RFC 3261 section 21.5.7.
    MESSAGE_TOO_LARGE 513 "Message Too Large";
    /// RFC 8599 section 8.
    PUSH_NOTIFICATION_SERVICE_NOT_SUPPORTED 555 "Push Notification Service Not Supported";
    /// RFC 3312 section 11.
    PRECONDITION_FAILURE 580 "Precondition Failure";
    /// RFC 3261 section 21.6.1.
    BUSY_EVERYWHERE 600 "Busy Everywhere";
    /// RFC 3261 section 21.6.2.
    DECLINE 603 "Decline";
    /// RFC 3261 section 21.6.3.
    DOES_NOT_EXIST_ANYWHERE 604 "Does Not Exist Anywhere";
    /// RFC 3261 section 21.6.4.
    NOT_ACCEPTABLE_ANYWHERE 606 "Not Acceptable";
    /// RFC 8197 section 7.
    UNWANTED 607 "Unwanted";
    /// RFC 8688 section 5.
    REJECTED 608 "Rejected";
}

/// The class of a status code (RFC 3261 section 7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusClass {
    /// 1xx: received, being processed.
    Provisional,
    /// 2xx.
    Success,
    /// 3xx.
    Redirection,
    /// 4xx.
    ClientError,
    /// 5xx.
    ServerError,
    /// 6xx: no other server can do better.
    GlobalFailure,
}

impl StatusCode {
    /// A code from outside; `None` outside of 100 to 699 (RFC 3261 section 7.2).
    pub fn new(code: u16) -> Option<Self> {
        (100..=699).contains(&code).then_some(Self(code))
    }

    /// The number.
    pub fn code(self) -> u16 {
        self.0
    }

    /// The class, by the first digit.
    pub fn class(self) -> StatusClass {
        match self.0 {
            ..200 => StatusClass::Provisional,
            200..300 => StatusClass::Success,
            300..400 => StatusClass::Redirection,
            400..500 => StatusClass::ClientError,
            500..600 => StatusClass::ServerError,
            600.. => StatusClass::GlobalFailure,
        }
    }

    /// 1xx.
    pub fn is_provisional(self) -> bool {
        self.class() == StatusClass::Provisional
    }

    /// 2xx.
    pub fn is_success(self) -> bool {
        self.class() == StatusClass::Success
    }

    /// 2xx to 6xx.
    pub fn is_final(self) -> bool {
        !self.is_provisional()
    }
}

impl fmt::Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: 100 and 699 are codes, 99 and 700 are not (pairs at the edge).
    #[test]
    fn codes_have_bounds() {
        assert_eq!(StatusCode::new(99), None);
        assert_eq!(StatusCode::new(100), Some(StatusCode::TRYING));
        assert_eq!(StatusCode::new(699).map(StatusCode::class), Some(StatusClass::GlobalFailure));
        assert_eq!(StatusCode::new(700), None);
    }

    // Goal: the list is sorted without doubles, and every code falls into its class.
    #[test]
    fn named_codes_are_in_order() {
        assert!(StatusCode::NAMED.windows(2).all(|w| w[0] < w[1]));
        for status in StatusCode::NAMED {
            assert_eq!(status.is_final(), status.code() >= 200);
            assert_eq!(status.is_success(), (200..300).contains(&status.code()));
        }
    }
}
