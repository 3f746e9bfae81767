//! Takeover: legs and connections of lives that are over get a living owner.
//!
//! Whether there is something to take over follows from the rows alone (a leg whose owner's life is
//! not current), so no list of it is kept; one entry does at most `TAKEOVER_WORK_MAX` steps and
//! the next goes on.

use tandem_routing::{command::Event, entity::DeviceState};

use crate::{
    ids::{AgentId, NodeId, SiteId},
    leg::{Control, Leg, LegPhase, LegRole, Owner},
    limits::{CSEQ_BLOCK, SDP_VERSION_BLOCK},
    machine::Machine,
    node::Node,
};

impl Machine {
    /// True when this life is the current one of its node, and trusted.
    #[must_use]
    pub fn is_current_life(&self, owner: Owner) -> bool {
        self.nodes.get(&owner.node).is_some_and(|row| row.epoch == owner.epoch && row.is_up())
    }

    pub(crate) fn has_orphans(&self) -> bool {
        self.nodes.iter().any(Node::is_up)
            && (self.index.legs_by_owner.keys().any(|owner| !self.is_current_life(*owner))
                || self.index.connections.keys().any(|edge| !self.is_current_life(*edge)))
    }

    /// Does what the entry has left of takeover work; appends the queue's events.
    pub(crate) fn take_over(&mut self, events: &mut Vec<Event>) {
        if !self.has_orphans() {
            return;
        }
        while self.takeover_left > 0 {
            self.takeover_left -= 1;
            if let Some(leg) = self.next_orphan() {
                self.hand_over(&leg, events);
            } else if let Some((agent, uri)) = self.next_dead_connection() {
                self.drop_connection(agent, &uri, events);
            } else {
                return;
            }
        }
    }

    fn next_orphan(&self) -> Option<Leg> {
        let mut owners = self.index.legs_by_owner.iter();
        let (_, legs) = owners.find(|(owner, _)| !self.is_current_life(**owner))?;
        legs.first().and_then(|(_, id)| self.legs.get(id)).cloned()
    }

    fn hand_over(&mut self, leg: &Leg, events: &mut Vec<Event>) {
        let site = self.nodes.get(&leg.owner.node).map(|row| row.site).unwrap_or_default();
        let Some(owner) = self.pick_node(site) else { return };
        let since = self.queue.now();
        let raised = u64::from(!planted!(self.queue, LegEpochIsNotRaised));
        let stale = planted!(self.queue, LegOwnerIsStale);
        let bare = planted!(self.queue, NumbersAreNotReserved);
        self.update_leg(leg.id, |row| {
            row.owner = if stale { row.owner } else { owner };
            row.epoch.0 += raised;
            row.control = Control::Recovering { since };
            // The new owner's numbers lie behind everything that the old one can have used, and are
            // reserved by this very entry.
            if let Some(dialog) = row.dialog.as_mut().filter(|_| !bare) {
                dialog.local_cseq_reserved = dialog.local_cseq_reserved.saturating_add(CSEQ_BLOCK);
                dialog.sdp_version_reserved =
                    dialog.sdp_version_reserved.saturating_add(SDP_VERSION_BLOCK);
            }
        });
        match (leg.role, &leg.phase) {
            // The phone may still ring for the lost node: somebody else is asked, and this one
            // must show a sign of life.
            (LegRole::Agent { offer, agent }, LegPhase::Inviting) => {
                self.queue.offer_owner_lost(offer, events);
                self.queue.set_device(agent, DeviceState::Recovering, events);
            }
            // A waiting caller is not offered until their leg answered (no ghost callers); a
            // conversation goes on.
            (LegRole::Caller, LegPhase::Active)
                if planted!(self.queue, LostCallersAreNotDoubted) => {}
            (LegRole::Caller, LegPhase::Active) => self.queue.unconfirm(leg.contact, events),
            _ => {}
        }
    }

    fn next_dead_connection(&self) -> Option<(AgentId, String)> {
        let mut edges = self.index.connections.iter();
        let (_, bindings) = edges.find(|(edge, _)| !self.is_current_life(**edge))?;
        bindings.first().cloned()
    }

    /// A phone whose connection died with its node is out of reach until it registers anew; its
    /// agent stays logged in.
    fn drop_connection(&mut self, agent: AgentId, uri: &str, events: &mut Vec<Event>) {
        self.remove_binding_row(agent, uri, events);
        if self.bindings_of(agent).is_empty() {
            self.queue.set_device(agent, DeviceState::Recovering, events);
        }
    }

    /// The living node that takes a leg of this site: at the site itself, else in its region, else
    /// anywhere; the one with the fewest legs, then the lower number.
    pub(crate) fn pick_node(&self, site: SiteId) -> Option<Owner> {
        let region = |id: SiteId| self.queue.sites().get(&id).map(|row| &row.region);
        let legs = |node: &Node| {
            let owner = Owner { node: node.id, epoch: node.epoch };
            self.index.legs_by_owner.get(&owner).map_or(0, std::collections::BTreeSet::len)
        };
        let distance = |node: &Node| match () {
            () if node.site == site => 0,
            () if region(node.site).is_some() && region(node.site) == region(site) => 1,
            () => 2,
        };
        self.nodes
            .iter()
            .filter(|node| node.is_up())
            .min_by_key(|node| (distance(node), legs(node), NodeId(node.id.0)))
            .map(|node| Owner { node: node.id, epoch: node.epoch })
    }
}
