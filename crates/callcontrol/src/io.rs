//! What goes into call control and what comes out: two closed enums.
//!
//! Contract of the shell:
//!
//! - Give one [`Input`] to [`crate::CallControl::handle`], then drain
//!   [`crate::CallControl::poll_output`] until it returns `None`, before the next input; come back
//!   with [`Input::Timeout`] when [`crate::CallControl::poll_timeout`] has passed.
//! - Every [`Ticket`] gets exactly one answer, sooner or later.
//! - Requests to one relay are carried out in their order.
//! - After [`Input::Life`] with a grant, give an [`Input::LegChanged`] for every leg that this life
//!   owns already: the log may have given it some before the grant was known here.

use std::time::{Duration, Instant};

use tandem_cluster::{
    binding::Credential,
    command::{Command, Outcome},
    ids::{AgentId, Epoch, LegEpoch, LegId, NodeId, TenantId},
    leg::{Codec, EndingFrom, Endpoint, LegPhase, MediaDirection, StreamOrigin},
    machine::Machine,
    node::RelayRecord,
    view::LegView,
};
use tandem_routing::{entity::SiteState, name::Name, time::ClusterTime};
use tandem_sip::{
    auth::WallSeconds,
    message::{Message, ParseFailure},
    transaction::{ConnectionId, Flow, TransactionId, Transmit},
};

/// The three clocks, read by the shell once per input.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// This process's monotonic clock: timers, leases.
    pub instant: Instant,
    /// The cluster's clock: what is recorded.
    pub cluster: ClusterTime,
    /// Wall time: the age of nonces only.
    pub wall: WallSeconds,
}

/// Names a question to the shell until it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub(crate) u64);

/// What happens to call control.
#[derive(Debug)]
pub enum Input {
    /// A SIP message came in.
    Received {
        /// By this way.
        source: Flow,
        /// The message.
        message: Message,
    },
    /// Bytes came in that are no SIP message.
    Malformed {
        /// By this way.
        source: Flow,
        /// What is wrong, with what can be answered.
        failure: Box<ParseFailure>,
    },
    /// A message could not be sent.
    TransmitFailed(TransactionId),
    /// A connection closed.
    ConnectionClosed(ConnectionId),
    /// A leg changed in the log; `None`: its row is gone.
    LegChanged {
        /// Which.
        leg: LegId,
        /// As it is now.
        view: Option<Box<LegView>>,
    },
    /// A proposal came to an end.
    Proposed {
        /// Which.
        ticket: Ticket,
        /// How.
        result: Result<Outcome, NoOutcome>,
    },
    /// A relay answered, or did not.
    Media {
        /// To which request.
        ticket: Ticket,
        /// What.
        reply: MediaReply,
    },
    /// Something happened to a session at a relay.
    MediaEvent {
        /// The leg of the session.
        leg: LegId,
        /// Under which ownership.
        epoch: LegEpoch,
        /// What.
        event: MediaEvent,
    },
    /// A relay runs anew: all its sessions are gone.
    RelayRestarted {
        /// Which.
        relay: Name,
    },
    /// The agent that was looked up.
    AgentFound {
        /// For which question.
        ticket: Ticket,
        /// `None`: there is no such agent.
        agent: Option<Box<AgentEntry>>,
    },
    /// The leg that was looked up.
    LegFound {
        /// For which question.
        ticket: Ticket,
        /// As the node's copy of the log has it.
        state: LegState,
    },
    /// This node's life in the log began or ended. The views of the legs that it owns follow.
    Life(Option<Grant>),
    /// The lease was renewed up to then.
    Lease {
        /// Of which life.
        epoch: Epoch,
        /// Until when.
        until: Instant,
    },
    /// The machine slept (suspended, or paused by its host) and woke up: no lease that was granted
    /// before counts any more, although `Now::instant` may not show the time that passed.
    Slept,
    /// What this node's site does now.
    Site(SiteState),
    /// Time has passed.
    Timeout,
}

/// A life that the log granted, with leg ids to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Its number.
    pub epoch: Epoch,
    /// First of the reserved leg ids.
    pub first_leg: LegId,
    /// How many.
    pub leg_ids: u32,
}

/// Why a proposal has no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoOutcome {
    /// Nothing was done.
    NotDone,
    /// It may or may not have been done.
    Unknown,
}

/// How the log knows a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegState {
    /// Its peer has not answered yet, or is being told that the call is over.
    Unanswered,
    /// Its peer has answered.
    Answered,
    /// It has no row.
    Gone {
        /// The life of this node in the same copy of the log.
        epoch: Epoch,
    },
}

impl LegState {
    /// What `node`'s copy of the log knows of a leg.
    #[must_use]
    pub fn of(machine: &Machine, node: NodeId, leg: LegId) -> Self {
        match machine.legs().get(&leg).map(|leg| &leg.phase) {
            Some(LegPhase::Active | LegPhase::Ending { from: EndingFrom::Active, .. }) => {
                Self::Answered
            }
            Some(LegPhase::Inviting | LegPhase::Ending { from: EndingFrom::Inviting, .. }) => {
                Self::Unanswered
            }
            None => {
                let row = machine.nodes().get(&node);
                Self::Gone { epoch: row.map(|row| row.epoch).unwrap_or_default() }
            }
        }
    }
}

/// What a registrar needs of an agent.
#[derive(Debug, Clone)]
pub struct AgentEntry {
    /// Who.
    pub agent: AgentId,
    /// Whose.
    pub tenant: TenantId,
    /// What their phone proves itself with; `None`: it cannot register.
    pub credential: Option<Credential>,
    /// Their bindings in the log.
    pub bindings: Vec<tandem_cluster::binding::Binding>,
}

/// What call control wants done.
#[derive(Debug)]
pub enum Output {
    /// Send a SIP message.
    Transmit(Transmit),
    /// Put a command into the log; answer with [`Input::Proposed`].
    Propose {
        /// For the answer.
        ticket: Ticket,
        /// The command.
        command: Command,
        /// After so long the answer is [`NoOutcome`].
        within: Duration,
    },
    /// Ask a relay; answer with [`Input::Media`].
    Media(Box<MediaRequest>),
    /// Look an agent up; answer with [`Input::AgentFound`].
    LookUp {
        /// For the answer.
        ticket: Ticket,
        /// The agent's name: the user of the REGISTER.
        user: Name,
    },
    /// Look a leg up; answer with [`Input::LegFound`].
    LookUpLeg {
        /// For the answer.
        ticket: Ticket,
        /// Which.
        leg: LegId,
    },
    /// Something to log and count.
    Note(Note),
}

/// A request to a relay.
#[derive(Debug)]
pub struct MediaRequest {
    /// For the answer.
    pub ticket: Ticket,
    /// Which relay.
    pub relay: RelayRecord,
    /// What.
    pub what: MediaOperation,
}

/// See [`MediaRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaOperation {
    /// Create or re-describe a session.
    Put(SessionSpec),
    /// End a session.
    Remove {
        /// Whose.
        leg: LegId,
        /// Under which ownership.
        epoch: LegEpoch,
    },
}

/// A session as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSpec {
    /// Whose.
    pub leg: LegId,
    /// Under which ownership.
    pub epoch: LegEpoch,
    /// Grows with every change within an ownership.
    pub revision: u64,
    /// The port that the peer knows, for a session that was there before.
    pub local_port: Option<u16>,
    /// Where the peer receives; absent until it is known.
    pub remote: Option<Endpoint>,
    /// From which address the peer's packets may also come: the source of its signalling.
    pub learn_from: Option<String>,
    /// Coding.
    pub codec: Codec,
    /// Its payload type.
    pub payload_type: u8,
    /// Payload type of telephone-event.
    pub dtmf_payload_type: Option<u8>,
    /// Direction, seen from us.
    pub direction: MediaDirection,
    /// The stream that we send. Its count of takeovers grows when another relay process is asked to
    /// go on with it (invariant M1).
    pub origin: StreamOrigin,
    /// What is sent.
    pub source: Source,
}

/// What a session sends to its peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nothing.
    Silence,
    /// Music while waiting.
    Music,
    /// A short tone: answered, not connected yet.
    Beep,
    /// What the other side says.
    Peer {
        /// The other side's leg.
        leg: LegId,
        /// The relay that holds it.
        relay: Name,
        /// Where that relay takes links; `None`: it is this same relay.
        link: Option<Endpoint>,
    },
}

/// How a relay answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaReply {
    /// Done; this is the session's socket.
    Ready(Endpoint),
    /// Ended.
    Removed,
    /// A higher epoch owns the leg: stop acting for it.
    Fenced,
    /// A later description is in force.
    Stale,
    /// It cannot: no port, too many sessions, retiring, or the request is wrong.
    Refused(String),
    /// No answer.
    Unreachable,
}

/// Something that happened to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaEvent {
    /// Packets arrive.
    Flowing,
    /// None have for a while.
    Stopped,
    /// A key was pressed.
    Dtmf(char),
    /// The relay had to begin the stream anew under another SSRC.
    Restarted {
        /// The new source.
        ssrc: u32,
        /// Sequence number of its first packet.
        first_sequence: u16,
        /// Timestamp of its first packet.
        first_timestamp: u32,
    },
    /// The relay ended the session by itself.
    Gone,
}

/// How much is open: for metrics and tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Legs that this node acts for.
    pub legs: usize,
    /// Dialogs of theirs.
    pub dialogs: usize,
    /// Callers who have no final answer yet.
    pub pending: usize,
    /// SIP requests of ours.
    pub client_transactions: usize,
    /// SIP requests of others.
    pub server_transactions: usize,
    /// Deadlines of legs.
    pub timers: usize,
    /// Questions to the shell that are not answered yet.
    pub tickets: usize,
    /// INVITEs whose leg is forgotten; an answer is ended.
    pub orphans: usize,
    /// Calls of phones that may belong to nobody.
    pub unowned: usize,
    /// Takeover re-INVITEs under way.
    pub takeovers_asking: usize,
    /// Takeovers that wait for their turn.
    pub takeovers_waiting: usize,
    /// Relay sessions whose end is not confirmed.
    pub removals: usize,
    /// Legs that this node acted for and that are remembered until the log forgets them.
    pub former: usize,
    /// REGISTERs that are not answered yet.
    pub registers_open: usize,
    /// Phones whose registration is watched.
    pub registrations: usize,
}

/// Something to log and count. No caller data.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is what its name says")]
pub enum Note {
    /// A caller is in the queue and was answered.
    CallAnswered { leg: LegId },
    /// A caller was refused.
    CallRefused { status: u16, why: String },
    /// An agent's phone did not take a call.
    PhoneFailed { leg: LegId, status: Option<u16> },
    /// An agent's phone was not rung, for no fault of its own: no relay had a socket for it, or the request
    /// could not be sent.
    PhoneNotRung { leg: LegId },
    /// A leg of a lost node is being taken over.
    TakeoverBegan { leg: LegId, epoch: LegEpoch },
    /// Its peer confirmed it, after so many milliseconds.
    TakeoverKept { leg: LegId, after_ms: u64 },
    /// Its peer is gone.
    TakeoverLost { leg: LegId, status: Option<u16> },
    /// It will be tried again.
    TakeoverAgain { leg: LegId, status: Option<u16> },
    /// The relay of a leg is lost; the leg moves to another.
    MediaMoved { leg: LegId, from: Name, to: Name },
    /// This node no longer owns a leg.
    LegDropped { leg: LegId },
    /// A leg is over.
    LegOver { leg: LegId },
    /// A phone was in a call that nobody had, and it was ended.
    UnownedEnded { leg: LegId },
    /// A registration was refused.
    RegisterRefused { status: u16 },
    /// The node may not originate requests until its lease is renewed.
    Held,
    /// It may again.
    Released,
    /// A proposal was refused.
    ProposalRefused { leg: Option<LegId>, why: String },
    /// Something that should not happen, and was survived.
    Unexpected { what: String },
}
