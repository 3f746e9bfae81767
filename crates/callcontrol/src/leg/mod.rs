//! One leg as this node acts for it: what the log says, how far SIP and media have come.
//!
//! Only data and what follows from one leg alone; what is done with it is in the other files of
//! this folder, one per part of a leg's life.

pub(crate) mod admission;
pub(crate) mod ending;
pub(crate) mod facts;
pub(crate) mod media;
pub(crate) mod record;
pub(crate) mod reinvite;
pub(crate) mod ring;
pub(crate) mod session_timer;
pub(crate) mod stream;
pub(crate) mod takeover;
pub(crate) mod within;

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use tandem_cluster::{
    ids::{LegEpoch, LegId, OfferNumber},
    leg::{Codec, Endpoint, MediaDirection, StreamOrigin, Transport},
    node::RelayRecord,
    view::{Goal, LegView},
};
use tandem_routing::name::{CallerNumber, Name};
use tandem_sip::{
    dialog::{
        AckKeeper, Dialog, Glare, OkRetransmission,
        session_timer::{SessionTimer, SessionTimerPolicy},
    },
    message::{Request, Response},
    sdp::{LocalDescription, Negotiated, OfferedMedia},
    transaction::{ClientTx, ConnectionId, Owner, ServerTx},
};

use crate::{
    io::{Now, SessionSpec, Ticket},
    limits::FACT_AGAIN,
    settings::TrunkId,
};
use facts::{Fact, Telling};
use stream::StreamState;

/// Whose leg it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A caller's, by this trunk (`None`: the trunk is not in this node's settings any more).
    Caller(Option<TrunkId>),
    /// An agent's, for this offer.
    Agent(OfferNumber),
}

/// How far a leg has come on the wire.
#[derive(Debug)]
pub(crate) enum Stage {
    /// Caller: the relay is asked for a socket.
    Allocating(Box<Pending>),
    /// Caller: the log is asked for a place in the queue.
    Admitting(Box<Pending>),
    /// Agent: the relay is asked for a socket.
    Preparing,
    /// Agent: the phone is invited.
    Inviting(Box<Invite>),
    /// The dialog stands.
    Established,
    /// The log wants the leg ended; CANCEL or BYE is under way.
    Ending(Ending),
    /// Over on the wire; the log is being told.
    Over,
}

/// An INVITE of a caller that has no final answer yet.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) server_tx: ServerTx,
    pub(crate) request: Request,
    pub(crate) called: Name,
    pub(crate) caller: CallerNumber,
    /// What the log was asked.
    pub(crate) asking: Option<Ticket>,
    /// Whether the caller has given up in the meantime.
    pub(crate) cancelled: Cancelled,
}

/// See [`Pending::cancelled`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancelled {
    No,
    Yes,
}

/// Our INVITE to an agent's phone.
#[derive(Debug)]
pub(crate) struct Invite {
    pub(crate) client_tx: ClientTx,
    pub(crate) request: Request,
    pub(crate) offered: OfferedMedia,
    pub(crate) sent: Instant,
    /// The tag of the phone that rings, once known.
    pub(crate) rang: Option<Dialog>,
    /// Any provisional response has come.
    pub(crate) heard: Heard,
    /// Why it was cancelled.
    pub(crate) cancel: Option<CancelledFor>,
}

/// Whether a phone has reacted at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    Nothing,
    Something,
}

/// Why an INVITE of ours was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CancelledFor {
    /// It rang for as long as the queue says.
    NotAnswered,
    /// The log wants the leg ended.
    Ended,
    /// Another agent took the contact: the offer is over, and nobody missed a call.
    Elsewhere,
}

/// What ends a leg on the wire.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The INVITE is cancelled; its final response is awaited.
    Cancelling(Box<Invite>),
    /// A BYE is under way.
    Bye(ClientTx),
    /// What a lost node sent is cancelled: CANCEL and a question for a sign of life.
    Foreign { waiting: Vec<ClientTx> },
}

/// A 2xx of ours to an INVITE, until it is acknowledged.
#[derive(Debug)]
pub(crate) struct OkSent {
    pub(crate) server_tx: ServerTx,
    pub(crate) response: Response,
    pub(crate) again: OkRetransmission,
    /// Our offer in it, when the INVITE had none: the answer comes with the ACK.
    pub(crate) offered: Option<OfferedMedia>,
}

/// A re-INVITE of ours.
#[derive(Debug)]
pub(crate) struct Reinvite {
    pub(crate) client_tx: ClientTx,
    pub(crate) why: Why,
    pub(crate) offered: OfferedMedia,
    /// The socket that the peer was told before.
    pub(crate) stated_before: Option<Endpoint>,
}

/// A question to a silent peer whether the call still stands.
#[derive(Debug)]
pub(crate) struct Audit {
    pub(crate) client_tx: ClientTx,
    pub(crate) asked: Instant,
}

/// Why we change a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// We took the leg over.
    Takeover,
    /// The media has moved to another relay.
    NewMedia,
    /// The session timer is due.
    Refresh,
}

/// A takeover under way.
#[derive(Debug)]
pub(crate) struct Takeover {
    pub(crate) began: Instant,
    pub(crate) step: TakeoverStep,
    pub(crate) tries: u32,
    /// At which peer's line this takeover has its turn.
    pub(crate) turn: Option<IpAddr>,
}

/// How far a takeover is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TakeoverStep {
    /// The relay is told about the new ownership.
    Media,
    /// It waits for its turn: too many towards this peer are under way.
    Waiting,
    /// The re-INVITE is under way.
    Asking,
    /// It got no answer that settles it, and will be asked again.
    Again,
    /// The peer confirmed; the log is being told.
    Confirming,
}

/// The SIP side.
#[derive(Debug)]
pub(crate) struct SipSide {
    pub(crate) dialog: Option<Dialog>,
    pub(crate) transport: Transport,
    /// Where in-dialog requests go.
    pub(crate) peer: SocketAddr,
    /// Whether `peer` is the source of what came in rather than the Contact (phones behind NAT).
    pub(crate) reach: Reach,
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) description: LocalDescription,
    pub(crate) agreed: Option<Negotiated>,
    pub(crate) glare: Glare,
    pub(crate) timer: Option<SessionTimer>,
    /// What we ask for; `None`: no session timer.
    pub(crate) timer_policy: Option<SessionTimerPolicy>,
    pub(crate) refreshed: Instant,
    pub(crate) ok: Option<OkSent>,
    pub(crate) reinvite: Option<Reinvite>,
    /// Our first INVITE, once it was answered: phones of a fork answer it too.
    pub(crate) invited: Option<ClientTx>,
    pub(crate) acks: AckKeeper,
    /// The ACK to the last 2xx to a re-INVITE of ours.
    pub(crate) last_ack: Option<Request>,
    /// A question to a silent peer.
    pub(crate) audit: Option<Audit>,
    /// A re-INVITE that waits until it may be sent.
    pub(crate) wanted: Option<Why>,
    /// Until when none may be sent, because of how the last one ended.
    pub(crate) not_before: Option<Instant>,
    /// The socket that the peer was told last, and did not refuse; `None`: not known, because it
    /// refused a takeover.
    pub(crate) stated: Option<Endpoint>,
}

/// How the peer of a leg is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// At its Contact (or the first route), when that is an address.
    ByContact,
    /// Where its messages come from.
    BySource,
}

/// The media side.
#[derive(Debug)]
pub(crate) struct MediaSide {
    pub(crate) relay: RelayRecord,
    pub(crate) local: Option<Endpoint>,
    pub(crate) remote: Option<Endpoint>,
    pub(crate) learn_from: Option<String>,
    pub(crate) codec: Codec,
    pub(crate) payload_type: u8,
    pub(crate) dtmf_payload_type: Option<u8>,
    pub(crate) direction: MediaDirection,
    pub(crate) origin: StreamOrigin,
    pub(crate) stream: StreamState,
    pub(crate) revision: u64,
    /// What the relay was last told, without its revision.
    pub(crate) told: Option<SessionSpec>,
    pub(crate) asking: Option<Ticket>,
    pub(crate) failures: u32,
    /// A relay that was asked for a session, answered nothing, and was left for another one: it may have
    /// made the session all the same, and keeps it for as long as this node listens there.
    pub(crate) unanswered: Option<RelayRecord>,
}

/// One leg.
#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) id: LegId,
    /// The tag of its SIP transactions.
    pub(crate) owner: Owner,
    pub(crate) epoch: LegEpoch,
    pub(crate) kind: Kind,
    /// As the log knows it; `None` while it does not yet.
    pub(crate) view: Option<LegView>,
    pub(crate) stage: Stage,
    pub(crate) sip: SipSide,
    pub(crate) media: MediaSide,
    pub(crate) takeover: Option<Takeover>,
    /// What the log has still to be told, oldest first.
    pub(crate) facts: VecDeque<Fact>,
    pub(crate) telling: Option<Telling>,
    /// Pause before a fact is told again.
    pub(crate) tell_again: Duration,
    pub(crate) life: LegLife,
}

/// Whether this node still acts for a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LegLife {
    Ours,
    /// The log knows that it is over.
    Over,
    /// Another node acts for it.
    Lost,
}

/// What a leg waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TimerKind {
    /// Send the 2xx again.
    Ok,
    /// The phone has rung long enough.
    Ring,
    /// Tell the log again.
    Fact,
    /// Ask the relay again.
    Media,
    /// Try the takeover or re-INVITE again.
    Reinvite,
    /// Refresh the session, or end it.
    Session,
    /// Ask a silent peer.
    Audit,
}

impl TimerKind {
    pub(crate) const ALL: [Self; 7] =
        [Self::Ok, Self::Ring, Self::Fact, Self::Media, Self::Reinvite, Self::Session, Self::Audit];
}

impl SipSide {
    /// The SIP side of a leg whose dialog begins, with this peer.
    pub(crate) fn new(
        now: Now,
        transport: Transport,
        peer: SocketAddr,
        reach: Reach,
        description: LocalDescription,
    ) -> Self {
        Self {
            dialog: None,
            transport,
            peer,
            reach,
            connection: None,
            description,
            agreed: None,
            glare: Glare::default(),
            timer: None,
            timer_policy: None,
            refreshed: now.instant,
            ok: None,
            reinvite: None,
            invited: None,
            acks: AckKeeper::new(),
            last_ack: None,
            audit: None,
            wanted: None,
            not_before: None,
            stated: None,
        }
    }
}

impl Stage {
    /// A caller's INVITE that has no final answer yet.
    pub(crate) fn pending(&self) -> Option<&Pending> {
        match self {
            Self::Allocating(pending) | Self::Admitting(pending) => Some(pending),
            _ => None,
        }
    }
}

impl Leg {
    /// A leg that does nothing yet.
    pub(crate) fn new(
        id: LegId,
        epoch: LegEpoch,
        owner: Owner,
        kind: Kind,
        sip: SipSide,
        media: MediaSide,
    ) -> Self {
        Self {
            id,
            epoch,
            owner,
            kind,
            view: None,
            stage: Stage::Over,
            sip,
            media,
            takeover: None,
            facts: VecDeque::new(),
            telling: None,
            tell_again: FACT_AGAIN,
            life: LegLife::Ours,
        }
    }

    /// What the log does not know yet.
    pub(crate) fn unheard(&self) -> impl Iterator<Item = Fact> {
        self.telling.iter().map(|telling| telling.fact).chain(self.facts.iter().copied())
    }

    /// True unless the log has still to judge a phone's answer.
    pub(crate) fn is_judged(&self) -> bool {
        !self.unheard().any(|fact| matches!(fact, Fact::Answered { .. }))
    }

    /// True while all that this node has learned from the log is that the phone should ring.
    pub(crate) fn is_to_ring(&self) -> bool {
        matches!(self.view.as_ref().map(|view| &view.goal), Some(Goal::Ring(_)))
    }

    /// True when the dialog stands and nobody has ended it.
    pub(crate) fn is_established(&self) -> bool {
        matches!(self.stage, Stage::Established)
    }

    /// The stream as the log has it.
    pub(crate) fn logged_stream(&self) -> Option<StreamOrigin> {
        self.view.as_ref()?.leg.media.as_ref().map(|media| media.origin)
    }

    /// True when a relay may hold a session for this leg.
    pub(crate) fn has_session(&self) -> bool {
        let ended = matches!(self.stage, Stage::Over | Stage::Ending(Ending::Bye(_)));
        self.media.revision > 0 && !ended
    }

    /// True when a relay may hold a session for this leg without the log's knowing.
    pub(crate) fn has_unknown_session(&self) -> bool {
        let logged = self.view.as_ref().and_then(|view| view.leg.media.as_ref());
        let known = match logged {
            Some(media) => media.relay == self.media.relay.id,
            // The log has said yes to the admission or the answer that named it, and its row has not been
            // seen here yet: a reply of the leader overtakes the node's own replica.
            None => self.is_established() && self.is_judged(),
        };
        self.has_session() && !known
    }

    /// True when the peer sends its audio to a socket that is not this leg's any more.
    pub(crate) fn has_moved(&self) -> bool {
        self.media.local.is_some()
            && self.sip.stated.is_some()
            && self.media.local != self.sip.stated
    }
}
