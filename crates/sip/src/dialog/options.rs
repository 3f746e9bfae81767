//! Extensions that a request requires, and how far it may still travel.

use crate::limits::MAX_FORWARDS_INITIAL;
use crate::message::{HeaderError, HeaderName, Method, Request, Response, StatusCode};
use crate::text::SipText;

/// The option tags of Require that are not in `supported` (RFC 3261 section 8.2.2.3). Not looked at in
/// ACK and CANCEL, which cannot be refused. For reliable provisional responses (RFC 3262) the tag is
/// `100rel`, for session timers `timer`, for Replaces `replaces`.
///
/// # Errors
/// [`HeaderError`] when the header cannot be read: 400.
pub fn unsupported_options(
    request: &Request,
    supported: &[&str],
) -> Result<Vec<SipText>, HeaderError> {
    if matches!(request.method, Method::Ack | Method::Cancel) {
        return Ok(Vec::new());
    }
    let mut required = request.headers.tokens(&HeaderName::Require)?;
    required.retain(|tag| !supported.iter().any(|known| tag.eq_ignore_case(known)));
    Ok(required)
}

/// The 420 that names what is not supported (RFC 3261 section 8.2.2.3).
pub fn bad_extension_response(
    request: &Request,
    to_tag: &SipText,
    unsupported: &[SipText],
) -> Response {
    let mut response = Response::to_request(request, StatusCode::BAD_EXTENSION, to_tag);
    for tag in unsupported {
        response.headers.push(HeaderName::Unsupported, tag.clone());
    }
    response
}

/// How far a request may still go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hops {
    /// The Max-Forwards of the request that a B2BUA sends on.
    Left(u8),
    /// None: answer 483 (RFC 3261 section 16.3 step 3).
    TooMany,
}

/// Max-Forwards for the other leg of a B2BUA: one less than what came in (RFC 7332 section 4), so that a
/// loop over several B2BUAs ends. A request without it counts as fresh (RFC 3261 section 16.6 step 3).
pub fn next_max_forwards(request: &Request) -> Hops {
    match request.max_forwards {
        None => Hops::Left(MAX_FORWARDS_INITIAL),
        Some(0) => Hops::TooMany,
        Some(hops) => Hops::Left(hops.min(MAX_FORWARDS_INITIAL) - 1),
    }
}
