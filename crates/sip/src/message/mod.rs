//! SIP messages: bytes in, typed values, bytes out.
//!
//! Our own parser, because what carriers and phones send needs it. Decisions, with their source:
//!
//! | input | decision |
//! |---|---|
//! | compact names, folded lines, lists over lines and commas | accepted (RFC 3261 sections 7.3.1, 7.3.3) |
//! | blanks before the colon and around separators | accepted (section 25.1, HCOLON, SEMI, …) |
//! | `sip/2.0` | accepted: the version compares without case (section 7.1) |
//! | version other than 2.0 | refused, 505 (section 21.5.6) |
//! | two spaces, or a space behind, in a request line | refused, 400 (section 7.1) |
//! | CR or LF alone | refused: two readers of one stream must see the same message |
//! | unknown method | accepted, so that the core can answer 405 or 501 |
//! | unknown transport in Via, unknown URI scheme | accepted, kept as it came |
//! | IPv6 without brackets | refused (RFC 5118 section 4.1) |
//! | `#` in a user part, `_` in a host name | accepted: carriers send them |
//! | bytes over 0x7f in a URI | refused; in display names and reason phrases accepted as they are |
//! | display name without quotes with more than tokens | accepted unless it holds `"`, `<`, `>`, `,` or `;` |
//! | one parameter twice in one value | refused (section 7.3.1) |
//! | Via, From, To, Call-ID, CSeq missing | refused (section 8.1.1); Max-Forwards may be missing (old peers) |
//! | a single-value header twice, Content-Length included | refused, also when both agree (RFC 4475 sections 3.3.8, 3.3.9) |
//! | CSeq from 2^31 up, Max-Forwards over 255, CSeq of another method | refused (sections 8.1.1.5, 20.22) |
//! | Expires that is no number | counts as 3600 (section 20.19) |
//! | no Content-Length in a datagram | the body is the rest (section 18.3) |
//! | bytes behind Content-Length in a datagram | cut off (section 18.3) |
//! | Content-Length larger than the datagram | refused, 400 (section 18.3) |
//! | no or two Content-Length on a stream | answered if possible, connection closed |
//!
//! `Debug` output of these types shows no user parts, names or header values.

mod contact;
mod error;
mod framer;
mod head;
mod header_name;
mod headers;
mod host;
mod interop;
mod method;
mod name_addr;
mod params;
mod parser;
#[cfg(test)]
mod properties;
mod request;
mod response;
mod status;
mod uri;
mod uri_compare;
mod values;
mod via;
mod write;

pub use contact::{RegisterAction, RequestedBinding};
pub use error::{HeaderError, ParseError, ParseFailure, Salvage, SyntaxError};
pub use framer::{FramingError, KeepAliveRole, StreamFramer, StreamItem};
pub use header_name::HeaderName;
pub use headers::{Contacts, Header, Headers};
pub use host::Host;
pub use interop::InteropError;
pub use method::Method;
pub use name_addr::{DisplayName, NameAddr};
pub use params::{Param, Params};
pub use parser::parse_datagram;
pub use request::Request;
pub use response::Response;
pub use status::{StatusClass, StatusCode};
pub use uri::{OtherUri, SipScheme, SipUri, TelUri, Uri, escape_user};
pub use values::{
    CSeq, CallId, MediaType, RAck, Reason, Refresher, Replaces, RetryAfter, SessionExpires,
};
pub use via::{BRANCH_COOKIE, Rport, Via};

pub(crate) use uri_compare::is_visual_separator;

use crate::text::SipText;
use bytes::Bytes;

/// A request or a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A request.
    Request(Box<Request>),
    /// A response.
    Response(Box<Response>),
}

impl Message {
    /// The message as bytes.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Self::Request(request) => request.to_bytes(),
            Self::Response(response) => response.to_bytes(),
        }
    }

    /// The headers beside the mandatory ones.
    pub fn headers(&self) -> &Headers {
        match self {
            Self::Request(request) => &request.headers,
            Self::Response(response) => &response.headers,
        }
    }

    /// The Via by which the transaction is found.
    pub fn top_via(&self) -> Option<&Via> {
        match self {
            Self::Request(request) => request.top_via(),
            Self::Response(response) => response.top_via(),
        }
    }
}

/// The value of an Allow header for these methods (RFC 3261 section 20.5).
pub fn allow_value(methods: &[Method]) -> SipText {
    let names: Vec<String> = methods.iter().map(Method::to_string).collect();
    SipText::composed(names.join(", "))
}
