//! Indexes over the cluster's rows: derived, never stored.

use std::collections::{BTreeMap, BTreeSet};

use tandem_routing::{name::Name, time::ClusterTime};

use crate::{
    binding::Binding,
    ids::{AgentId, ContactId, LegId, NodeId, OfferNumber},
    leg::{Leg, LegPhase, LegRole, Owner, Transport},
    node::{IdempotencyRow, Node},
};

/// What runs out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Expiry {
    Binding(AgentId, String),
    Idempotency(String),
}

/// Order of takeover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    Ringing,
    Other,
}

impl Urgency {
    fn of(leg: &Leg) -> Self {
        if leg.phase == LegPhase::Inviting { Self::Ringing } else { Self::Other }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Index {
    /// Ringing legs first: at a takeover they are dealt with before their callers' legs, so that a
    /// phone that rings for a lost node is not offered the next call. No empty sets are kept.
    pub(crate) legs_by_owner: BTreeMap<Owner, BTreeSet<(Urgency, LegId)>>,
    /// No empty sets are kept.
    pub(crate) legs_by_contact: BTreeMap<ContactId, BTreeSet<LegId>>,
    pub(crate) leg_by_offer: BTreeMap<OfferNumber, LegId>,
    /// Bindings that only their edge can reach. No empty sets are kept.
    pub(crate) connections: BTreeMap<Owner, BTreeSet<(AgentId, String)>>,
    pub(crate) expiries: BTreeSet<(ClusterTime, Expiry)>,
    pub(crate) node_by_name: BTreeMap<Name, NodeId>,
    pub(crate) node_by_relay: BTreeMap<Name, NodeId>,
}

impl Index {
    pub(crate) fn add_leg(&mut self, leg: &Leg) {
        self.legs_by_owner.entry(leg.owner).or_default().insert((Urgency::of(leg), leg.id));
        self.legs_by_contact.entry(leg.contact).or_default().insert(leg.id);
        if let LegRole::Agent { offer, .. } = leg.role {
            self.leg_by_offer.insert(offer, leg.id);
        }
    }

    pub(crate) fn remove_leg(&mut self, leg: &Leg) {
        remove_from(&mut self.legs_by_owner, &leg.owner, &(Urgency::of(leg), leg.id));
        remove_from(&mut self.legs_by_contact, &leg.contact, &leg.id);
        if let LegRole::Agent { offer, .. } = leg.role {
            self.leg_by_offer.remove(&offer);
        }
    }

    pub(crate) fn add_binding(&mut self, binding: &Binding) {
        let key = (binding.agent, binding.target.contact_uri.clone());
        if binding.target.transport != Transport::Udp {
            self.connections.entry(binding.target.edge).or_default().insert(key.clone());
        }
        self.expiries.insert((binding.expires, Expiry::Binding(key.0, key.1)));
    }

    pub(crate) fn remove_binding(&mut self, binding: &Binding) {
        let key = (binding.agent, binding.target.contact_uri.clone());
        remove_from(&mut self.connections, &binding.target.edge, &key);
        self.expiries.remove(&(binding.expires, Expiry::Binding(key.0, key.1)));
    }

    /// The name of a removed node is free again; its relay is known until another node has it, because
    /// calls may still have their media there.
    pub(crate) fn add_node(&mut self, node: &Node) {
        if node.is_member() {
            self.node_by_name.insert(node.name.clone(), node.id);
        }
        if let Some(relay) = &node.relay {
            self.node_by_relay.insert(relay.id.clone(), node.id);
        }
    }

    pub(crate) fn remove_node(&mut self, node: &Node) {
        if node.is_member() {
            self.node_by_name.remove(&node.name);
        }
        if let Some(relay) = &node.relay {
            self.node_by_relay.remove(&relay.id);
        }
    }

    pub(crate) fn idempotency_expiry(row: &IdempotencyRow) -> (ClusterTime, Expiry) {
        (row.expires, Expiry::Idempotency(row.key.clone()))
    }
}

fn remove_from<K: Ord, T: Ord>(sets: &mut BTreeMap<K, BTreeSet<T>>, key: &K, item: &T) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(item);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}
