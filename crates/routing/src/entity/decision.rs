//! What is kept of a choice, so that it can be explained later.

use serde::{Deserialize, Serialize};

use crate::{
    command::OfferEnd,
    ids::{AgentId, OfferNumber, QueueId, SiteId},
    rules::Stage,
    strategy::Strategy,
    time::ClusterTime,
};

/// Why a contact was offered to an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The offer that it made.
    pub offer: OfferNumber,
    /// When.
    pub at: ClusterTime,
    /// Who was chosen.
    pub agent: AgentId,
    /// Where they sat.
    pub site: SiteId,
    /// Through which of the contact's queues.
    pub queue: QueueId,
    /// What brought it about.
    pub occasion: Occasion,
    /// Which rule chose them.
    pub choice: Choice,
    /// How the queue chose among those who were ready.
    pub strategy: Strategy,
    /// Where they stood by the strategy: the lowest is asked first.
    pub standing: Rival,
    /// Who would have been asked had they not been there.
    pub next: Option<Rival>,
    /// Where the contact stood in its queue's timed rules.
    pub stage: Stage,
    /// Contacts in the line of its queue, itself included.
    pub queue_len: u32,
}

/// An agent who was ready and might have served a contact, and where they stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rival {
    /// Who.
    pub agent: AgentId,
    /// By the queue's strategy: the lowest is asked first.
    pub rank: u64,
    /// Between equals the longest idle is asked first.
    pub idle_since: ClusterTime,
}

/// What brought a contact and an agent together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Occasion {
    /// The contact came, came back, or came to a new stage, and agents were ready.
    ContactWanted,
    /// The agent became ready, and the contact was the first of those they may serve.
    AgentReady,
    /// Several became free at once; the waiting were gone through in their order.
    Sweep,
}

/// Which rule chose an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Choice {
    /// The contact waited for this agent alone.
    Preferred,
    /// The best of the site that the contact prefers.
    PreferredSite,
    /// The best of all who were ready.
    Best,
    /// Their phone had dropped this contact before, and nobody else was free.
    LastResort,
}

/// An offer that came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedOffer {
    /// Its number.
    pub offer: OfferNumber,
    /// To whom.
    pub agent: AgentId,
    /// When it ended.
    pub at: ClusterTime,
    /// How.
    pub how: OfferEnd,
}
