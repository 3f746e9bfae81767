//! Nodes: admission, lives, versions, digests; and commands that go straight to the queue.

use std::collections::BTreeMap;

use tandem_routing::{
    command::{Command as QueueCommand, Event},
    digest::Digest,
};

use crate::{
    command::{AdmitNode, Outcome, RegisterNode, Rejection, Reply},
    ids::{ClusterId, DiskId, Epoch, LegId, NodeId},
    index::Expiry,
    limits::{CHECKPOINTS_MAX, ENDPOINTS_MAX, LEG_IDS_PER_RESERVATION_MAX, NODES_MAX},
    machine::{Effect, Machine},
    node::{Checkpoint, Header, Node, NodeLife, Verdict},
};

impl Machine {
    pub(crate) fn initialise(&mut self, cluster: ClusterId, machine_version: u16) -> Outcome {
        let header = self.header();
        if header.cluster == cluster {
            return Ok(Reply::Done);
        }
        if header.cluster != ClusterId::default() {
            return Err(Rejection::ClusterMustBeNew(header.cluster));
        }
        self.put_header(Header { cluster, machine_version });
        Ok(Reply::Done)
    }

    pub(crate) fn admit_node(&mut self, admit: &AdmitNode, events: &mut Vec<Event>) -> Outcome {
        if let Some(row) = self.nodes.get(&admit.node) {
            check_may_return(row, admit.disk)?;
            return Ok(Reply::Done);
        }
        if let Some(other) = self.nodes.iter().find(|row| row.disk == admit.disk) {
            return Err(Rejection::DiskMustBeNew(other.id));
        }
        if self.index.node_by_name.contains_key(&admit.name) {
            return Err(Rejection::NameMustBeFree(admit.name.clone()));
        }
        if self.nodes.len() >= NODES_MAX {
            return Err(Rejection::LimitReached { what: "nodes".into(), limit: NODES_MAX as u64 });
        }
        let known = self.queue.site_named(&admit.site).map(|row| row.region.clone());
        let site = QueueCommand::PutSite { name: admit.site.clone(), region: admit.region.clone() };
        self.queue.apply(self.group, &site, events).map_err(Rejection::Queue)?;
        if known.as_ref() != Some(&admit.region) {
            self.count_configured(&site, &[]);
        }
        let site = self.queue.site_named(&admit.site).map(|site| site.id).unwrap_or_default();
        self.put_node(Node {
            id: admit.node,
            name: admit.name.clone(),
            site,
            disk: admit.disk,
            epoch: Epoch(0),
            boot: crate::ids::BootId(0),
            life: NodeLife::Admitted,
            verdict: Verdict::Trusted,
            // Until it registers; never a figure of the program that applies this, of which there may
            // be two in a cluster.
            supports: self.header().machine_version,
            cluster_address: admit.cluster_address.clone(),
            api_address: admit.cluster_address.clone(),
            sip: Vec::new(),
            relay: None,
        });
        Ok(Reply::Done)
    }

    pub(crate) fn register_node(&mut self, register: &RegisterNode) -> Outcome {
        let id = register.node;
        let row = self.nodes.get(&id).ok_or(Rejection::NodeMustBeMember(id))?.clone();
        check_may_return(&row, register.disk)?;
        let in_force = self.header().machine_version;
        if register.supports < in_force {
            let supports = register.supports;
            return Err(Rejection::NodeMustSupportVersion { node: id, supports, in_force });
        }
        if register.sip.len() > ENDPOINTS_MAX {
            let limit = ENDPOINTS_MAX as u64;
            return Err(Rejection::LimitReached { what: "SIP endpoints".into(), limit });
        }
        check_count(register.leg_ids)?;
        self.claim_relay(register)?;
        let again = (row.boot == register.boot || planted!(self.queue, EpochIsNotRaised))
            && row.life == NodeLife::Up;
        // A late copy would end the life that the node has now, while its lease runs.
        if !again && register.boot.follows() < row.epoch {
            return Err(Rejection::LifeMustBeTheLast { node: id, epoch: row.epoch });
        }
        let epoch = if again { row.epoch } else { row.epoch.next() };
        if !again {
            if row.life == NodeLife::Up {
                self.effects.push(Effect::LifeEnded { node: id, epoch: row.epoch });
            }
            self.reset_window(id, epoch);
        }
        self.put_node(Node {
            epoch,
            boot: register.boot,
            life: NodeLife::Up,
            supports: register.supports,
            cluster_address: register.cluster_address.clone(),
            api_address: register.api_address.clone(),
            sip: register.sip.clone(),
            relay: register.relay.clone(),
            ..row
        });
        let first = self.queue.reserve_ordinals(register.leg_ids);
        let first_leg = LegId { group: self.group, ordinal: first };
        Ok(Reply::Registered { epoch, first_leg })
    }

    /// A relay's name belongs to one member; a removed node's is given up to the one who uses it next.
    fn claim_relay(&mut self, register: &RegisterNode) -> Result<(), Rejection> {
        let Some(relay) = &register.relay else { return Ok(()) };
        let holder = self.index.node_by_relay.get(&relay.id).and_then(|id| self.nodes.get(id));
        match holder.cloned() {
            Some(row) if row.id == register.node => Ok(()),
            Some(row) if row.is_member() => Err(Rejection::RelayNameMustBeFree(relay.id.clone())),
            Some(row) => {
                self.put_node(Node { relay: None, ..row });
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Declares a life over; declaring it twice, or after the next one began, changes nothing.
    pub(crate) fn node_lost(&mut self, node: NodeId, epoch: Epoch) -> Outcome {
        let since = self.queue.now();
        self.end_life(node, epoch, NodeLife::Lost { since })
    }

    pub(crate) fn stop_node(&mut self, node: NodeId) -> Outcome {
        let since = self.queue.now();
        let epoch = self.nodes.get(&node).map(|row| row.epoch).unwrap_or_default();
        self.end_life(node, epoch, NodeLife::Stopped { since })
    }

    fn end_life(&mut self, node: NodeId, epoch: Epoch, life: NodeLife) -> Outcome {
        let row = self.nodes.get(&node).ok_or(Rejection::NodeMustBeMember(node))?;
        if row.epoch == epoch && row.life == NodeLife::Up {
            self.nodes.update(&node, |row| row.life = life);
            self.effects.push(Effect::LifeEnded { node, epoch });
        }
        Ok(Reply::Done)
    }

    /// Takes a node out for ever (D1). Its life is over before: what it owned is being taken over, and
    /// goes on to be.
    pub(crate) fn remove_node(&mut self, node: NodeId) -> Outcome {
        let row = self.nodes.get(&node).ok_or(Rejection::NodeMustBeMember(node))?;
        if row.life == NodeLife::Up {
            return Err(Rejection::NodeMustBeStopped(node));
        }
        if row.is_member() {
            let since = self.queue.now();
            let row = Node { life: NodeLife::Removed { since }, ..row.clone() };
            self.put_node(row);
        }
        Ok(Reply::Done)
    }

    /// Every member counts, also those that are down: they come back with the program that they have.
    pub(crate) fn raise_version(&mut self, to: u16) -> Outcome {
        let behind = self.nodes.iter().find(|row| row.is_member() && row.supports < to);
        if let Some(row) = behind {
            let (node, supports) = (row.id, row.supports);
            return Err(Rejection::VersionMustBeSupported { to, node, supports });
        }
        let header = self.header();
        if to > header.machine_version {
            self.put_header(Header { machine_version: to, ..header });
        }
        Ok(Reply::Done)
    }

    /// Compares the nodes' digests after one index: the majority of the members wins (R7).
    pub(crate) fn report_digest(&mut self, node: NodeId, index: u64, digest: Digest) -> Outcome {
        let mut row = self
            .checkpoints
            .get(&index)
            .cloned()
            .unwrap_or_else(|| Checkpoint { index, reports: BTreeMap::new() });
        row.reports.insert(node, digest);
        let votes_of = |row: &&Node| row.is_member() && row.epoch > Epoch(0);
        let members = self.nodes.iter().filter(votes_of).count();
        row.reports.retain(|node, _| self.nodes.get(node).is_some_and(Node::is_member));
        let mut votes: BTreeMap<Digest, usize> = BTreeMap::new();
        row.reports.values().for_each(|digest| *votes.entry(*digest).or_default() += 1);
        let winner = votes.into_iter().find(|(_, count)| *count > members / 2);
        if let Some((winner, _)) = winner {
            let wrong: Vec<NodeId> = row
                .reports
                .iter()
                .filter(|(_, digest)| **digest != winner)
                .map(|(node, _)| *node)
                .collect();
            wrong.into_iter().for_each(|node| self.condemn(node, index));
        }
        self.checkpoints.insert(row);
        while self.checkpoints.len() > CHECKPOINTS_MAX {
            let Some(oldest) = self.checkpoints.iter().next().map(|row| row.index) else { break };
            self.checkpoints.remove(&oldest);
        }
        Ok(Reply::Done)
    }

    fn condemn(&mut self, node: NodeId, index: u64) {
        let since = self.queue.now();
        let trusted = self.nodes.get(&node).is_some_and(|row| row.verdict == Verdict::Trusted);
        if trusted {
            self.nodes.update(&node, |row| {
                row.verdict = Verdict::Diverged { index };
                row.life = NodeLife::Lost { since };
            });
            self.effects.push(Effect::Diverged { node, index });
        }
    }

    pub(crate) fn reserve_leg_ids(&mut self, count: u32) -> Outcome {
        check_count(count)?;
        let ordinal = self.queue.reserve_ordinals(count);
        Ok(Reply::LegIds { first: LegId { group: self.group, ordinal } })
    }

    pub(crate) fn run_queue(&mut self, command: &QueueCommand, events: &mut Vec<Event>) -> Outcome {
        let leaver = match command {
            QueueCommand::RemoveAgent { tenant, agent } => {
                self.queue.agent_named(*tenant, agent).map(|row| row.id)
            }
            _ => None,
        };
        let before = events.len();
        let reply = self.queue.apply(self.group, command, events).map_err(Rejection::Queue)?;
        if let Some(agent) = leaver {
            self.forget_agent(agent, events);
        }
        self.count_configured(command, &events[before..]);
        Ok(Reply::Queue(reply))
    }

    /// Deadlines: the queue's, then the cluster's own, as many as the entry has steps left.
    pub(crate) fn expire_due(&mut self, events: &mut Vec<Event>) -> Outcome {
        let done = self.run_queue(&QueueCommand::ExpireDue, events);
        while let Some((at, expiry)) = self.index.expiries.first().cloned() {
            if at > self.queue.now() || !self.queue.take_step() {
                break;
            }
            match &expiry {
                Expiry::Binding(agent, uri) => self.remove_binding_row(*agent, uri, events),
                Expiry::Idempotency(key) => self.remove_idempotency(key),
            }
            self.index.expiries.remove(&(at, expiry));
        }
        done
    }

    fn put_node(&mut self, node: Node) {
        if let Some(before) = self.nodes.get(&node.id) {
            self.index.remove_node(before);
        }
        self.index.add_node(&node);
        self.nodes.insert(node);
    }
}

/// A number lives and dies with its disk, and with its place in the cluster (D1, R7).
fn check_may_return(row: &Node, given: DiskId) -> Result<(), Rejection> {
    if !row.is_member() {
        return Err(Rejection::NodeMustNotBeRemoved(row.id));
    }
    if row.disk != given {
        return Err(Rejection::DiskMustMatch { node: row.id, expected: row.disk, given });
    }
    match row.verdict {
        Verdict::Trusted => Ok(()),
        Verdict::Diverged { index } => Err(Rejection::NodeMustBeTrusted { node: row.id, index }),
    }
}

fn check_count(count: u32) -> Result<(), Rejection> {
    if (1..=LEG_IDS_PER_RESERVATION_MAX).contains(&count) {
        return Ok(());
    }
    Err(Rejection::Malformed(format!(
        "leg ids are reserved 1 to {LEG_IDS_PER_RESERVATION_MAX} at a time, not {count}"
    )))
}
