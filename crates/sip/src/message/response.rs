//! [`Response`], and how one is made from its request.

use super::write::{MandatoryFields, write_message};
use super::{CSeq, CallId, HeaderName, Headers, Method, NameAddr, Request, StatusCode, Via};
use crate::text::SipText;
use bytes::Bytes;
use std::fmt;

/// A response.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: StatusCode,
    /// Reason phrase; may be empty and in any language (RFC 4475 section 3.1.1.12).
    pub reason: SipText,
    /// Via values, top first; never empty.
    pub vias: Vec<Via>,
    /// From, as in the request.
    pub from: NameAddr,
    /// To, as in the request, with the answering side's tag.
    pub to: NameAddr,
    /// Call-ID, as in the request.
    pub call_id: CallId,
    /// CSeq, as in the request.
    pub cseq: CSeq,
    /// All other headers, in order.
    pub headers: Headers,
    /// Body.
    pub body: Bytes,
}

impl Response {
    /// Answers a request (RFC 3261 section 8.2.6.2): Via, From, To, Call-ID and CSeq are copied; the To
    /// gets `to_tag` unless it has a tag already or the status is 100; Record-Route is copied into
    /// responses that make a dialog (section 12.1.1), Timestamp into a 100 (section 8.2.6.1).
    pub fn to_request(request: &Request, status: StatusCode, to_tag: &SipText) -> Self {
        let mut to = request.to.clone();
        if to.tag().is_none() && status != StatusCode::TRYING {
            to.set_tag(to_tag.clone());
        }
        let mut headers = Headers::new();
        let copied = if status == StatusCode::TRYING {
            Some(HeaderName::Timestamp)
        } else if makes_dialog(&request.method, status) {
            Some(HeaderName::RecordRoute)
        } else {
            None
        };
        if let Some(name) = copied {
            for value in request.headers.all(&name) {
                headers.push(name.clone(), value.clone());
            }
        }
        Self {
            status,
            reason: SipText::from_static(status.reason()),
            vias: request.vias.clone(),
            from: request.from.clone(),
            to,
            call_id: request.call_id.clone(),
            cseq: request.cseq.clone(),
            headers,
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

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: SipText) -> Self {
        self.headers.push(name, value);
        self
    }

    /// The Via by which the client transaction is found.
    pub fn top_via(&self) -> Option<&Via> {
        self.vias.first()
    }

    /// The tag of the To header.
    pub fn to_tag(&self) -> Option<&SipText> {
        self.to.tag()
    }

    /// The message as bytes. Content-Length is written from the body.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(512 + self.body.len());
        out.extend_from_slice(b"SIP/2.0 ");
        out.extend_from_slice(self.status.code().to_string().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.reason.as_bytes());
        out.extend_from_slice(b"\r\n");
        let fields = MandatoryFields {
            vias: &self.vias,
            max_forwards: None,
            from: &self.from,
            to: &self.to,
            call_id: &self.call_id,
            cseq: &self.cseq,
        };
        write_message(&mut out, &fields, &self.headers, &self.body);
        out.into()
    }
}

/// Responses that carry the route set: 101 to 299 to a request that can make a dialog.
fn makes_dialog(method: &Method, status: StatusCode) -> bool {
    (101..300).contains(&status.code()) && (method.creates_dialog() || *method == Method::Notify)
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("branch", &self.top_via().and_then(Via::branch))
            .field("from", &self.from)
            .field("to", &self.to)
            .field("call_id", &self.call_id.text())
            .field("cseq", &self.cseq)
            .field("headers", &self.headers)
            .field("body_bytes", &self.body.len())
            .finish()
    }
}
