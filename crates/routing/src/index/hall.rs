//! The waiting contacts of one queue.
//!
//! Contacts with equal requirements form one *class*; those of a class that may be served anywhere stand
//! in one line, those that only one site may serve for now in another. The first of every line is kept in
//! one order, so that an agent looks at lines and not at contacts.

use std::collections::{BTreeMap, BTreeSet};

use super::filter::Filter;
use crate::{
    entity::{Contact, ContactState, WaitKey},
    ids::{AgentId, QueueId, SiteId},
    requirement::SharedRequirement,
    strategy::Strategy,
};

/// Number of a class within this process; never leaves it and never breaks a tie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClassId(pub(crate) u32);

/// What makes contacts of one queue equal: how many reserve levels are asked, and the requirement.
pub(crate) type Kind = (u8, SharedRequirement);

/// Contacts of one queue with equal requirements.
#[derive(Debug, Clone)]
pub(crate) struct Class {
    pub(crate) queue: QueueId,
    pub(crate) kind: Kind,
    pub(crate) filter: Filter,
    /// Contacts that may be offered.
    pub(crate) waiting: Line,
    /// Contacts that are being confirmed, for which agents are held.
    pub(crate) confirming: Line,
    /// Live contacts.
    pub(crate) uses: u32,
    /// When it had no live contact any more, by a counter.
    pub(crate) idle: u64,
}

/// Contacts of one class in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// Those that any site may serve.
    any: BTreeSet<WaitKey>,
    /// Those that only this site may serve for now. No empty sets are kept.
    site: BTreeMap<SiteId, BTreeSet<WaitKey>>,
}

/// Where a contact stands in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) standing: Standing,
    pub(crate) kept_for: KeptFor,
    pub(crate) key: WaitKey,
}

/// Who may serve a contact for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum KeptFor {
    Anybody,
    /// Agents of this site, while there are any.
    Site(SiteId),
    /// This agent alone. Such contacts stand in no line of a class, but in the agent's own.
    Agent(AgentId),
}

/// Which kind of line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    Waiting,
    Confirming,
}

impl Place {
    /// Where a contact stands, if it stands in a line.
    pub(crate) fn of(contact: &Contact) -> Option<Self> {
        let standing = Standing::of(contact)?;
        let kept_for = match (contact.preferred, contact.widen_at) {
            (Some(preferred), _) => KeptFor::Agent(preferred.agent),
            (None, Some(_)) => KeptFor::Site(contact.serving),
            (None, None) => KeptFor::Anybody,
        };
        Some(Self { standing, kept_for, key: contact.wait_key() })
    }

    /// Where a contact stands that is seen from a further queue: not while it waits for one agent alone.
    pub(crate) fn elsewhere(contact: &Contact) -> Option<Self> {
        Self::of(contact).filter(|place| !matches!(place.kept_for, KeptFor::Agent(_)))
    }
}

impl Standing {
    fn of(contact: &Contact) -> Option<Self> {
        match contact.state {
            ContactState::Queued => Some(Self::Waiting),
            ContactState::Unconfirmed if contact.holds_agents() => Some(Self::Confirming),
            _ => None,
        }
    }
}

/// The first of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Head {
    pub(crate) key: WaitKey,
    /// Breaks the tie of a contact that stands in several queues.
    pub(crate) queue: QueueId,
    pub(crate) class: ClassId,
    pub(crate) kept_for: KeptFor,
}

/// One queue.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hall {
    pub(crate) strategy: Strategy,
    pub(crate) classes: BTreeMap<Kind, ClassId>,
    /// Contacts with a place in the line.
    pub(crate) len: u32,
    waiting: BTreeSet<Head>,
    confirming: BTreeSet<Head>,
}

impl Hall {
    pub(crate) fn heads(&self, standing: Standing) -> &BTreeSet<Head> {
        match standing {
            Standing::Waiting => &self.waiting,
            Standing::Confirming => &self.confirming,
        }
    }

    fn heads_mut(&mut self, standing: Standing) -> &mut BTreeSet<Head> {
        match standing {
            Standing::Waiting => &mut self.waiting,
            Standing::Confirming => &mut self.confirming,
        }
    }

    pub(crate) fn insert(&mut self, class: &mut Class, id: ClassId, place: Place) {
        let set = class.line_mut(place.standing).set_mut(place.kept_for);
        let first = set.first().copied();
        set.insert(place.key);
        if first.is_none_or(|first| place.key < first) {
            let queue = class.queue;
            let head = |key| Head { key, queue, class: id, kept_for: place.kept_for };
            let heads = self.heads_mut(place.standing);
            first.map(|first| heads.remove(&head(first)));
            heads.insert(head(place.key));
        }
    }

    pub(crate) fn remove(&mut self, class: &mut Class, id: ClassId, place: Place) {
        let line = class.line_mut(place.standing);
        let set = line.set_mut(place.kept_for);
        let was_first = set.first() == Some(&place.key);
        set.remove(&place.key);
        let next = set.first().copied();
        if let (None, KeptFor::Site(site)) = (next, place.kept_for) {
            line.site.remove(&site);
        }
        if was_first {
            let queue = class.queue;
            let head = |key| Head { key, queue, class: id, kept_for: place.kept_for };
            let heads = self.heads_mut(place.standing);
            heads.remove(&head(place.key));
            next.map(|next| heads.insert(head(next)));
        }
    }
}

impl Class {
    pub(crate) fn line(&self, standing: Standing) -> &Line {
        match standing {
            Standing::Waiting => &self.waiting,
            Standing::Confirming => &self.confirming,
        }
    }

    fn line_mut(&mut self, standing: Standing) -> &mut Line {
        match standing {
            Standing::Waiting => &mut self.waiting,
            Standing::Confirming => &mut self.confirming,
        }
    }
}

impl Line {
    fn set_mut(&mut self, kept_for: KeptFor) -> &mut BTreeSet<WaitKey> {
        match kept_for {
            KeptFor::Site(site) => self.site.entry(site).or_default(),
            KeptFor::Anybody | KeptFor::Agent(_) => &mut self.any,
        }
    }

    /// The first contact of this line that any site may serve, or only a site that `may` names.
    pub(crate) fn first(&self, may: impl Fn(SiteId) -> bool) -> Option<WaitKey> {
        let restricted =
            self.site.iter().filter(|(site, _)| may(**site)).filter_map(|(_, set)| set.first());
        self.any.first().into_iter().chain(restricted).min().copied()
    }

    /// How many stand in this line before a place, whoever may serve them.
    pub(crate) fn before(&self, key: WaitKey) -> impl Iterator<Item = &WaitKey> {
        let lines = [&self.any].into_iter().chain(self.site.values());
        lines.flat_map(move |line| line.range(..key))
    }

    /// The contact behind this one in the line of the same restriction.
    pub(crate) fn next(&self, kept_for: KeptFor, key: WaitKey) -> Option<WaitKey> {
        use std::ops::Bound::{Excluded, Unbounded};
        let set = match kept_for {
            KeptFor::Site(site) => self.site.get(&site),
            KeptFor::Anybody | KeptFor::Agent(_) => Some(&self.any),
        };
        set?.range((Excluded(key), Unbounded)).next().copied()
    }
}
