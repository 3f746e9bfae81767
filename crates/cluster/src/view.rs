//! What the owner of a leg should make true: the replicated state, seen from one leg.
//!
//! `callcontrol` reconciles SIP and media with these views. A view is computed from the rows at one
//! log index and can be computed again at any time.

use tandem_routing::{entity::ContactState, name::Name, time::Millis};

use crate::{
    ids::{LegId, NodeId, OfferNumber},
    leg::{
        Codec, EndCause, EndingFrom, Endpoint, Invitation, Leg, LegPhase, LegRole, MediaRecord,
        Transport,
    },
    machine::Machine,
    node::RelayRecord,
};

/// A leg and what should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegView {
    /// The row.
    pub leg: Leg,
    /// What its owner should make true.
    pub goal: Goal,
    /// The relay that holds its media, if it has any and the relay is known.
    pub relay: Option<RelayRecord>,
    /// Where the first inviter of this leg speaks SIP, for an agent's leg.
    pub inviter: Option<Endpoint>,
}

/// What the owner of a leg should make true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    /// The caller waits, with music.
    Treat,
    /// The agent's phone rings.
    Ring(Box<Ring>),
    /// Both sides hear each other.
    Talk(Box<Bridge>),
    /// The leg is ended.
    End {
        /// What there is to end.
        from: EndingFrom,
        /// Why.
        cause: EndCause,
    },
}

/// See [`Goal::Ring`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring {
    /// What the INVITE says.
    pub invitation: Invitation,
    /// The offer that an answer accepts.
    pub offer: OfferNumber,
    /// How long it may ring.
    pub ring: Millis,
    /// The caller's coding, to be preferred.
    pub codec: Option<Codec>,
    /// The relay that holds the caller's media: it has sockets, should one's own have none.
    pub caller_relay: Option<RelayRecord>,
}

/// See [`Goal::Talk`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// The other side's leg.
    pub leg: LegId,
    /// Its media.
    pub media: MediaRecord,
    /// The relay that holds its media.
    pub relay: Option<RelayRecord>,
}

impl Machine {
    /// What the owner of this leg should make true; `None` when the leg is over.
    #[must_use]
    pub fn view(&self, id: LegId) -> Option<LegView> {
        let leg = self.legs.get(&id)?;
        let goal = match (&leg.phase, leg.role) {
            (LegPhase::Ending { from, cause }, _) => Goal::End { from: *from, cause: *cause },
            (LegPhase::Inviting, _) => self.ring_goal(leg),
            (LegPhase::Active, LegRole::Caller) => self.caller_goal(leg),
            (LegPhase::Active, LegRole::Agent { .. }) => self.agent_goal(leg),
        };
        let relay = leg.media.as_ref().and_then(|media| self.relay_record(&media.relay));
        let inviter =
            leg.invitation.as_ref().and_then(|invitation| self.udp_of(invitation.by.node));
        Some(LegView { leg: leg.clone(), goal, relay, inviter })
    }

    fn ring_goal(&self, leg: &Leg) -> Goal {
        let gone = Goal::End { from: EndingFrom::Inviting, cause: EndCause::OfferWithdrawn };
        let LegRole::Agent { offer, .. } = leg.role else { return gone };
        let (Some(invitation), Some(contact)) =
            (leg.invitation.clone(), self.queue.contacts().get(&leg.contact))
        else {
            return gone;
        };
        let caller = self.legs_of(leg.contact).find(|other| other.role == LegRole::Caller);
        let media = caller.and_then(|leg| leg.media.as_ref());
        Goal::Ring(Box::new(Ring {
            invitation,
            offer,
            ring: self.queue.queues().get(&contact.queue).map_or(Millis(0), |queue| queue.ring),
            codec: media.map(|media| media.codec),
            caller_relay: media.and_then(|media| self.relay_record(&media.relay)),
        }))
    }

    fn caller_goal(&self, leg: &Leg) -> Goal {
        let Some(contact) = self.queue.contacts().get(&leg.contact) else {
            return Goal::End { from: EndingFrom::Active, cause: EndCause::PeerHungUp };
        };
        let agent_leg = match contact.state {
            ContactState::Connected { offer, .. } => self.index.leg_by_offer.get(&offer),
            _ => None,
        };
        agent_leg
            .and_then(|id| self.legs.get(id))
            .filter(|other| other.phase == LegPhase::Active)
            .and_then(|other| self.bridge(other))
            .unwrap_or(Goal::Treat)
    }

    fn agent_goal(&self, leg: &Leg) -> Goal {
        self.legs_of(leg.contact)
            .find(|other| other.role == LegRole::Caller)
            .and_then(|other| self.bridge(other))
            .unwrap_or(Goal::End { from: EndingFrom::Active, cause: EndCause::PeerHungUp })
    }

    fn bridge(&self, other: &Leg) -> Option<Goal> {
        let media = other.media.clone()?;
        let relay = self.relay_record(&media.relay);
        Some(Goal::Talk(Box::new(Bridge { leg: other.id, media, relay })))
    }

    fn udp_of(&self, node: NodeId) -> Option<Endpoint> {
        let endpoints = &self.nodes.get(&node)?.sip;
        endpoints.iter().find(|sip| sip.transport == Transport::Udp).map(|sip| sip.at.clone())
    }

    fn relay_record(&self, relay: &Name) -> Option<RelayRecord> {
        self.node_of_relay(relay).and_then(|node| node.relay.clone())
    }
}
