//! What goes in and out of the layer beside messages: identifiers, events, transmissions, errors.

use super::flow::{Flow, ReplyRoute};
use crate::message::{Request, Response};
use crate::text::SipText;
use bytes::Bytes;
use std::net::SocketAddr;

/// A client transaction of this layer. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientTx(pub(crate) u64);

/// A server transaction of this layer. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerTx(pub(crate) u64);

/// Either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransactionId {
    /// A client transaction.
    Client(ClientTx),
    /// A server transaction.
    Server(ServerTx),
}

/// Whose transaction it is: a tag of the core's (for instance a leg), by which all transactions of a
/// leg that another node took over can be dropped at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(pub u64);

/// Whether this layer may originate requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Yes.
    Open,
    /// Requests, their retransmissions, ACK and CANCEL stay inside; responses to what comes in still
    /// leave. For a node that may be fenced.
    Held,
}

/// One thing for the owner of the layer to do.
#[derive(Debug)]
pub enum Output {
    /// Send bytes.
    Transmit(Transmit),
    /// Look at this.
    Event(Event),
}

/// Bytes to send.
#[derive(Clone, PartialEq, Eq)]
pub struct Transmit {
    /// The way.
    pub flow: Flow,
    /// For a response on a stream whose connection is gone: open one to this address.
    pub reconnect: Option<SocketAddr>,
    /// The message.
    pub bytes: Bytes,
    /// Whose message it is: tell [`super::TransactionLayer::handle_transmit_failed`] when it could not
    /// be sent. `None` for messages without transaction.
    pub transaction: Option<TransactionId>,
}

impl Transmit {
    pub(crate) fn reply(route: &ReplyRoute, bytes: Bytes, tx: Option<TransactionId>) -> Self {
        Self { flow: route.flow, reconnect: route.reconnect, bytes, transaction: tx }
    }
}

impl std::fmt::Debug for Transmit {
    /// Without the bytes: they hold numbers and names.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transmit")
            .field("flow", &self.flow)
            .field("len", &self.bytes.len())
            .field("transaction", &self.transaction)
            .finish_non_exhaustive()
    }
}

/// What the core is told.
#[derive(Debug)]
pub enum Event {
    /// A new request, to be answered by [`super::TransactionLayer::respond`].
    Request {
        /// Its transaction.
        server_tx: ServerTx,
        /// The request; its top Via has `received` and `rport` filled in.
        request: Box<Request>,
        /// Where it came from.
        source: Flow,
        /// The tag that the layer uses, and the core should use, in the To of responses.
        to_tag: SipText,
    },
    /// An ACK that acknowledges a 2xx (other ACKs are absorbed).
    Ack {
        /// The ACK.
        request: Box<Request>,
        /// Where it came from.
        source: Flow,
    },
    /// An INVITE that the core has not answered finally was cancelled; the CANCEL itself is answered
    /// already. The core answers the INVITE with 487.
    Cancel {
        /// The transaction of the INVITE.
        server_tx: ServerTx,
        /// The CANCEL, for its Reason.
        cancel: Box<Request>,
    },
    /// A response to a request of ours. Several may come, and several 2xx to an INVITE.
    Response {
        /// The request's transaction.
        client_tx: ClientTx,
        /// Its owner.
        owner: Owner,
        /// The response.
        response: Box<Response>,
        /// Where it came from.
        source: Flow,
    },
    /// A response that no transaction waits for (RFC 3261 section 18.1.2): late, or meant for a node
    /// whose leg this one has taken over. A 2xx to an INVITE has made a call: acknowledge it, and end it
    /// if nobody wants it any more.
    StrayResponse {
        /// The response.
        response: Box<Response>,
        /// Where it came from.
        source: Flow,
    },
    /// No final response came in time; counts as a 408 (section 8.1.3.1).
    Timeout {
        /// The transaction.
        client_tx: ClientTx,
        /// Its owner.
        owner: Owner,
    },
    /// The request could not be sent; counts as a 503 (section 8.1.3.1).
    TransportFailed {
        /// The transaction.
        client_tx: ClientTx,
        /// Its owner.
        owner: Owner,
    },
    /// A failure response was never acknowledged, or the core never answered.
    ServerTimeout {
        /// The transaction.
        server_tx: ServerTx,
    },
    /// A response could not be sent.
    ServerTransportFailed {
        /// The transaction.
        server_tx: ServerTx,
    },
    /// A transaction is gone; its identifier means nothing any more.
    Terminated {
        /// Which.
        transaction: TransactionId,
    },
}

/// Why a request was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The table is full.
    #[error("{max} client transactions are open, the limit: answer 503 upstream and try later")]
    Full {
        /// The limit.
        max: usize,
    },
    /// An ACK is no transaction.
    #[error("an ACK has no client transaction: use send_ack")]
    Ack,
    /// The top Via has no branch of RFC 3261.
    #[error(
        "the request's own Via has no branch that starts with z9hG4bK: set one or leave Via out"
    )]
    NoBranch,
    /// The branch is in use.
    #[error("another transaction uses this branch and method: choose a fresh branch")]
    BranchInUse,
    /// Longer than a message may be.
    #[error("the request is {len} bytes long, more than {max}: shorten its headers or body")]
    TooLarge {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
}

/// Why a response was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RespondError {
    /// The transaction is gone.
    #[error("the server transaction is gone: the peer has given up, drop the response")]
    Unknown,
    /// A final response was sent before.
    #[error("the transaction has its final response already: drop this one")]
    AlreadyAnswered,
}

/// What became of a CANCEL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelOutcome {
    /// It is on its way.
    Sent,
    /// It will be sent with the first provisional response (RFC 3261 section 9.1).
    AfterProvisional,
    /// It was sent before.
    AlreadySent,
    /// The INVITE has its final response: a BYE is needed if that was a 2xx.
    TooLate,
}

/// Why nothing can be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CancelError {
    /// The transaction is gone.
    #[error("the client transaction is gone: nothing is left to cancel")]
    Unknown,
    /// Not an INVITE (RFC 3261 section 9.1).
    #[error("only an INVITE can be cancelled; this transaction ends by itself")]
    NotInvite,
}

/// What became of a message that has no transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It is among the outputs.
    Yes,
    /// The gate is held: nothing leaves.
    Withheld,
}

/// Counts for metrics; they only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Requests that came again and were absorbed or answered by the layer.
    pub request_retransmissions: u64,
    /// Requests sent again.
    pub requests_resent: u64,
    /// Responses without transaction.
    pub stray_responses: u64,
    /// Broken messages answered.
    pub malformed_answered: u64,
    /// Broken messages dropped.
    pub malformed_dropped: u64,
    /// Requests refused because a table was full.
    pub refused_full: u64,
    /// Merged requests answered with 482.
    pub merged: u64,
    /// Requests without a branch of RFC 3261, answered with 400.
    pub old_branches: u64,
    /// CANCELs that found no room in the table; their INVITEs end by timer.
    pub cancels_not_sent: u64,
    /// Messages that the gate kept back.
    pub withheld: u64,
}
