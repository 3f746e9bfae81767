//! Queues: a named waiting line with rules.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    ids::{QueueId, SiteId, TenantId},
    name::Name,
    requirement::{BoundRequirement, SharedRequirement},
    rules::{BoundQueueRules, OwnRequirement, Target},
    time::Millis,
};

/// How a queue chooses the site of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SiteChoice {
    /// The agent who has been idle longest, wherever they sit.
    #[default]
    Any,
    /// An agent of the site where the caller came in, if one is ready; else as `Any`.
    Nearest,
    /// An agent of a site chosen in proportion to the sites' weights, if one is ready; else as
    /// `Any`.
    Weighted,
    /// An agent of the site where the caller came in, unless another one has so much less load that the
    /// contact goes there ([`crate::rules::Balance`]), if one is ready; else as `Any`.
    Balanced,
}

/// A named waiting line with rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Given at creation.
    pub id: QueueId,
    /// Owner.
    pub tenant: TenantId,
    /// Unique in the tenant.
    pub name: Name,
    /// What an agent must meet.
    pub requirement: SharedRequirement,
    /// Importance against other queues that share agents, 0-100: one step counts as ten seconds of
    /// earlier arrival.
    pub weight: u8,
    /// Which site's agents are preferred.
    pub site_choice: SiteChoice,
    /// For how long after arrival *only* agents of the preferred site are asked. 0: not at all.
    pub widen_after: Millis,
    /// How long an agent's phone rings.
    pub ring: Millis,
    /// After-contact work.
    pub wrap_up: Millis,
    /// Waiting contacts (with those that ring); more are refused.
    pub length_max: u32,
    /// Longest wait; the contact then ends. 0: no limit.
    pub wait_max: Millis,
    /// Contacts given to each site since the weights last changed (for `SiteChoice::Weighted`).
    pub assigned: BTreeMap<SiteId, u64>,
    /// Whatever else is configured.
    pub rules: Arc<BoundQueueRules>,
    /// It is being taken out.
    pub retiring: Option<Retirement>,
    /// Contacts that were given to another site than their own lately.
    pub moves: Moves,
}

/// How many contacts were given to another site in a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Moves {
    /// Which minute of ClusterTime.
    pub minute: u64,
    /// How many.
    pub count: u32,
}

/// A queue on its way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retirement {
    /// Where those who wait go.
    pub to: Target<QueueId>,
    /// How far it is.
    pub progress: Progress,
}

/// See [`Retirement`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Progress {
    /// Numbers, rules and agents are being told.
    Clearing,
    /// Nothing leads to it any more and nobody serves it: it is gone with its last contact.
    Cleared,
}

impl Queue {
    /// What an agent must meet at a step for a contact that asks for this besides.
    #[must_use]
    pub fn requirement_at(&self, step: u8, own: &SharedRequirement) -> SharedRequirement {
        let taken = usize::from(step).checked_sub(1).and_then(|last| self.rules.steps.get(last));
        let base = taken.map_or(&self.requirement, |step| &step.requirement);
        let dropped = self.rules.steps.iter().take(step.into());
        let own_counts = dropped.into_iter().all(|step| step.own == OwnRequirement::Kept);
        // Most queues or most numbers ask for nothing more, and there is nothing to put together.
        if !own_counts || own.is_anybody() {
            return base.clone();
        }
        if base.is_anybody() {
            return own.clone();
        }
        let both = vec![(**base).clone(), (**own).clone()];
        BoundRequirement::All(both).canonical().into()
    }
}

/// A queue's row as version 1 had it: every queue asked the longest idle.
#[derive(Deserialize)]
pub(super) struct QueueV1 {
    id: QueueId,
    tenant: TenantId,
    name: Name,
    requirement: SharedRequirement,
    weight: u8,
    site_choice: SiteChoice,
    widen_after: Millis,
    ring: Millis,
    wrap_up: Millis,
    length_max: u32,
    wait_max: Millis,
    assigned: BTreeMap<SiteId, u64>,
}

impl From<QueueV1> for Queue {
    fn from(old: QueueV1) -> Self {
        Self {
            id: old.id,
            tenant: old.tenant,
            name: old.name,
            requirement: old.requirement,
            weight: old.weight,
            site_choice: old.site_choice,
            widen_after: old.widen_after,
            ring: old.ring,
            wrap_up: old.wrap_up,
            length_max: old.length_max,
            wait_max: old.wait_max,
            assigned: old.assigned,
            rules: Arc::default(),
            retiring: None,
            moves: Moves::default(),
        }
    }
}
