//! By what a message finds its transaction: RFC 3261 sections 17.1.3 and 17.2.3.

use crate::message::{CallId, Method, Request, Response, Via};
use crate::text::SipText;

/// Section 17.1.3: the branch of the top Via and the method of the CSeq.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClientKey {
    pub(crate) branch: SipText,
    pub(crate) method: Method,
}

impl ClientKey {
    pub(crate) fn of_response(response: &Response) -> Option<Self> {
        let branch = response.top_via()?.rfc3261_branch()?.clone();
        Some(Self { branch, method: response.cseq.method.clone() })
    }
}

/// Section 17.2.3: branch and sent-by of the top Via, and the method, where ACK counts as INVITE.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ServerKey {
    branch: SipText,
    host: SipText,
    port: u16,
    // Last, so that all transactions of one branch stand together.
    method: Method,
}

impl ServerKey {
    /// `None` for a branch without the magic cookie: those of RFC 2543 are refused.
    pub(crate) fn of(via: &Via, method: &Method) -> Option<Self> {
        let method = if *method == Method::Ack { Method::Invite } else { method.clone() };
        Some(Self {
            branch: via.rfc3261_branch()?.clone(),
            host: via.host.key(),
            port: via.port.unwrap_or(0),
            method,
        })
    }

    /// The same branch with the smallest method: where a search for a CANCEL's target starts.
    pub(crate) fn first_of_branch(&self) -> Self {
        Self { method: Method::Invite, ..self.clone() }
    }

    /// Whether a transaction is one that a CANCEL with this key aims at (section 9.2: any method but
    /// ACK and CANCEL).
    pub(crate) fn cancels(&self, other: &Self) -> bool {
        self.is_same_branch(other) && other.method != Method::Cancel
    }

    pub(crate) fn is_same_branch(&self, other: &Self) -> bool {
        self.branch == other.branch && self.host == other.host && self.port == other.port
    }
}

/// Section 8.2.2.2: the same request that came on two ways has the same of these and another branch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MergeKey {
    call_id: CallId,
    from_tag: SipText,
    cseq: u32,
    method: Method,
}

impl MergeKey {
    /// `None` for requests to which the rule does not apply: inside a dialog, ACK, CANCEL, and those of
    /// old peers without From tag.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        if request.to_tag().is_some() || matches!(request.method, Method::Ack | Method::Cancel) {
            return None;
        }
        Some(Self {
            call_id: request.call_id.clone(),
            from_tag: request.from_tag()?.clone(),
            cseq: request.cseq.number,
            method: request.method.clone(),
        })
    }
}
