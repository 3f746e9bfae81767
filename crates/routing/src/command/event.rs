//! What happened, for whoever follows the queue.

use serde::{Deserialize, Serialize};

use crate::{
    command::DeclineCause,
    entity::{Contact, EndReason},
    ids::{AgentId, ContactId, OfferNumber, Ordinal, QueueId, SiteId},
};

/// What happened, in order: for the composition in `crates/cluster`, the history and the event
/// feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A contact is in the queue.
    ContactEnqueued(ContactId),
    /// A contact prefers another site now.
    ContactMoved {
        /// Which.
        contact: ContactId,
        /// From where.
        from: SiteId,
        /// To where.
        to: SiteId,
    },
    /// A contact left for another queue by a rule.
    ContactOverflowed {
        /// Which.
        contact: ContactId,
        /// From where.
        from: QueueId,
        /// To where.
        to: QueueId,
    },
    /// A contact is offered to an agent.
    OfferMade {
        /// The new offer.
        offer: OfferNumber,
        /// Of what.
        contact: ContactId,
        /// To whom.
        agent: AgentId,
    },
    /// An offer is over.
    OfferEnded {
        /// Which.
        offer: OfferNumber,
        /// Of what.
        contact: ContactId,
        /// To whom.
        agent: AgentId,
        /// How.
        how: OfferEnd,
    },
    /// A contact talks with an agent.
    ContactConnected {
        /// Which.
        contact: ContactId,
        /// With whom.
        agent: AgentId,
        /// By which offer.
        offer: OfferNumber,
    },
    /// A caller is back in the line because the agent's leg was lost.
    ContactRequeued {
        /// Which.
        contact: ContactId,
        /// Who talked with it.
        agent: AgentId,
    },
    /// The owner of a waiting contact was lost.
    ContactUnconfirmed(ContactId),
    /// Its leg answered: it may be offered again.
    ContactConfirmed(ContactId),
    /// A contact is over; its row is gone, here is what it was.
    ContactEnded {
        /// The last state of the row.
        contact: Box<Contact>,
        /// Why.
        reason: EndReason,
    },
    /// A rebalance plan went a step forward or back.
    PlanStepped(Ordinal),
    /// An agent's row changed in a way that others may want to know.
    AgentChanged(AgentId),
}

/// How an offer ended. Appended to, never reordered: the position is the encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OfferEnd {
    /// The agent took it.
    Accepted,
    /// The agent did not take it.
    Declined(DeclineCause),
    /// The log's backstop.
    Expired,
    /// The contact ended, or lost its owner.
    ContactGone,
    /// The node that made the agent's phone ring was lost.
    OwnerLost,
    /// An operator set the agent free.
    Withdrawn,
    /// Another agent, whose phone rang too, took the contact.
    AnsweredElsewhere,
}
