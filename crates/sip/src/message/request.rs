//! [`Request`].

use super::write::{MandatoryFields, write_message};
use super::{CSeq, CallId, HeaderName, Headers, Method, NameAddr, Uri, Via};
use crate::limits::MAX_FORWARDS_INITIAL;
use crate::text::SipText;
use bytes::Bytes;
use std::fmt;

/// A request. What RFC 3261 section 8.1.1 makes mandatory are fields of their own, so a value of this
/// type always has them; everything else is in `headers`.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// Request-URI.
    pub uri: Uri,
    /// Via values, top first. Never empty after parsing; empty while we build a request of our own,
    /// until the transaction layer puts its Via on top.
    pub vias: Vec<Via>,
    /// From.
    pub from: NameAddr,
    /// To.
    pub to: NameAddr,
    /// Call-ID.
    pub call_id: CallId,
    /// CSeq; its method is `method`.
    pub cseq: CSeq,
    /// Max-Forwards; `None` when an old peer left it out.
    pub max_forwards: Option<u8>,
    /// All other headers, in order.
    pub headers: Headers,
    /// Body.
    pub body: Bytes,
}

impl Request {
    /// A request of ours without Via: Max-Forwards 70, no headers, no body.
    pub fn new(
        method: Method,
        uri: Uri,
        from: NameAddr,
        to: NameAddr,
        call_id: CallId,
        cseq_number: u32,
    ) -> Self {
        let cseq = CSeq { number: cseq_number, method: method.clone() };
        Self {
            method,
            uri,
            vias: Vec::new(),
            from,
            to,
            call_id,
            cseq,
            max_forwards: Some(MAX_FORWARDS_INITIAL),
            headers: Headers::new(),
            body: Bytes::new(),
        }
    }

    /// Sets body and Content-Type.
    #[must_use]
    pub fn with_body(mut self, content_type: SipText, body: Bytes) -> Self {
        self.headers.set(HeaderName::ContentType, content_type);
        self.body = body;
        self
    }

    /// The Via that the response follows.
    pub fn top_via(&self) -> Option<&Via> {
        self.vias.first()
    }

    /// The tag of the To header: there inside a dialog.
    pub fn to_tag(&self) -> Option<&SipText> {
        self.to.tag()
    }

    /// The tag of the From header.
    pub fn from_tag(&self) -> Option<&SipText> {
        self.from.tag()
    }

    /// The message as bytes. Content-Length is written from the body.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(512 + self.body.len());
        out.extend_from_slice(self.method.as_bytes());
        out.push(b' ');
        self.uri.write_to(&mut out);
        out.extend_from_slice(b" SIP/2.0\r\n");
        let fields = MandatoryFields {
            vias: &self.vias,
            max_forwards: self.max_forwards,
            from: &self.from,
            to: &self.to,
            call_id: &self.call_id,
            cseq: &self.cseq,
        };
        write_message(&mut out, &fields, &self.headers, &self.body);
        out.into()
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("uri", &self.uri)
            .field("branch", &self.top_via().and_then(Via::branch))
            .field("from", &self.from)
            .field("to", &self.to)
            .field("call_id", &self.call_id.text())
            .field("cseq", &self.cseq.number)
            .field("headers", &self.headers)
            .field("body_bytes", &self.body.len())
            .finish()
    }
}
