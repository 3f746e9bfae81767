//! Requests that the transaction layer makes itself: the ACK to a failure, and CANCEL.

use crate::limits::MAX_FORWARDS_INITIAL;
use crate::message::{CSeq, HeaderName, Headers, Method, Reason, Request, Response};
use bytes::Bytes;

/// The ACK to a 300-699 response (RFC 3261 section 17.1.1.3): everything of the INVITE, the To of the
/// response, and only the top Via.
pub(crate) fn ack_for_failure(invite: &Request, response: &Response) -> Request {
    Request { to: response.to.clone(), ..same_branch_request(invite, Method::Ack) }
}

/// A CANCEL for an INVITE (RFC 3261 section 9.1): same Request-URI, Call-ID, To, From, CSeq number,
/// Route and top Via, so that it takes the INVITE's way and finds its transaction.
///
/// For an INVITE that this node sent, use [`super::TransactionLayer::cancel`], which waits for a
/// provisional response. This function is for a node that took over a ringing leg: from the replicated
/// skeleton of the dead node's INVITE ([`Request::skeleton`]) it makes a CANCEL that
/// [`super::TransactionLayer::send_request`] sends as a transaction of its own.
pub fn build_cancel(invite: &Request, reasons: &[Reason]) -> Request {
    let mut cancel = same_branch_request(invite, Method::Cancel);
    for reason in reasons {
        cancel.headers.push(HeaderName::Reason, reason.to_text());
    }
    cancel
}

fn same_branch_request(invite: &Request, method: Method) -> Request {
    let mut headers = Headers::new();
    for route in invite.headers.all(&HeaderName::Route) {
        headers.push(HeaderName::Route, route.clone());
    }
    Request {
        cseq: CSeq { number: invite.cseq.number, method: method.clone() },
        method,
        uri: invite.uri.clone(),
        vias: invite.vias.first().cloned().into_iter().collect(),
        from: invite.from.clone(),
        to: invite.to.clone(),
        call_id: invite.call_id.clone(),
        max_forwards: Some(MAX_FORWARDS_INITIAL),
        headers,
        body: Bytes::new(),
    }
}

impl Request {
    /// What is needed to cancel or answer this request on another node: first line, Via, From, To,
    /// Call-ID, CSeq, Contact, Route, Record-Route, Require, Supported, Timestamp, session timer, with
    /// buffers of their own. Its [`Request::to_bytes`] is what to replicate; reading those bytes back
    /// gives the skeleton again.
    pub fn skeleton(&self) -> Request {
        let mut headers = Headers::new();
        let kept = self.headers.iter().filter(|header| {
            matches!(
                header.name,
                HeaderName::Contact
                    | HeaderName::Route
                    | HeaderName::RecordRoute
                    | HeaderName::Require
                    | HeaderName::Supported
                    | HeaderName::SessionExpires
                    | HeaderName::MinSe
                    | HeaderName::Timestamp
            )
        });
        for header in kept {
            headers.push(header.name.clone(), header.value.detached());
        }
        Request {
            method: self.method.clone(),
            uri: self.uri.detached(),
            vias: self.vias.iter().map(crate::message::Via::detached).collect(),
            from: self.from.detached(),
            to: self.to.detached(),
            call_id: self.call_id.detached(),
            cseq: self.cseq.clone(),
            max_forwards: self.max_forwards,
            headers,
            body: Bytes::new(),
        }
    }
}
