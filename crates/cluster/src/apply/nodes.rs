//! Nodes: admission, lives, versions, digests; and commands that go straight to the queue.

use std::collections::BTreeMap;

use tandem_routing::{
    command::{Command as QueueCommand, Event},
    digest::Digest,
    limits::APPLY_WORK_MAX,
};

use crate::{
    command::{AdmitNode, Outcome, RegisterNode, Rejection, Reply},
    ids::{ClusterId, Epoch, LegId, NodeId},
    index::Expiry,
    limits::{CHECKPOINTS_MAX, ENDPOINTS_MAX, LEG_IDS_PER_RESERVATION_MAX, NODES_MAX},
    machine::{Effect, MACHINE_VERSION, Machine},
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

    pub(crate) fn admit_node(&mut self, admit: &AdmitNode) -> Outcome {
        if let Some(row) = self.nodes.get(&admit.node) {
            self.check_disk(row, admit.disk)?;
            return Ok(Reply::Done);
        }
        if self.index.node_by_name.contains_key(&admit.name) {
            return Err(Rejection::NameMustBeFree(admit.name.clone()));
        }
        if self.nodes.len() >= NODES_MAX {
            return Err(Rejection::LimitReached { what: "nodes".into(), limit: NODES_MAX as u64 });
        }
        let site = QueueCommand::PutSite { name: admit.site.clone(), region: admit.region.clone() };
        self.queue.apply(self.group, &site, &mut Vec::new()).map_err(Rejection::Queue)?;
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
            supports: MACHINE_VERSION,
            cluster_address: admit.cluster_address.clone(),
            api_address: admit.cluster_address.clone(),
            sip: Vec::new(),
            relay: None,
        });
        Ok(Reply::Done)
    }

    fn check_disk(&self, row: &Node, given: crate::ids::DiskId) -> Result<(), Rejection> {
        if row.disk == given {
            Ok(())
        } else {
            Err(Rejection::DiskMustMatch { node: row.id, expected: row.disk, given })
        }
    }

    pub(crate) fn register_node(&mut self, register: &RegisterNode) -> Outcome {
        let id = register.node;
        let row = self.nodes.get(&id).ok_or(Rejection::NodeMustBeMember(id))?.clone();
        self.check_disk(&row, register.disk)?;
        if register.sip.len() > ENDPOINTS_MAX {
            let limit = ENDPOINTS_MAX as u64;
            return Err(Rejection::LimitReached { what: "SIP endpoints".into(), limit });
        }
        check_count(register.leg_ids)?;
        let again = row.boot == register.boot && row.life == NodeLife::Up;
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

    pub(crate) fn remove_node(&mut self, node: NodeId) -> Outcome {
        let row = self.nodes.get(&node).ok_or(Rejection::NodeMustBeMember(node))?;
        if row.life == NodeLife::Up {
            return Err(Rejection::NodeMustBeStopped(node));
        }
        // The row stays as a tombstone: the number and its disk are never used again (D1).
        let since = self.queue.now();
        self.nodes.update(&node, |row| row.life = NodeLife::Stopped { since });
        Ok(Reply::Done)
    }

    pub(crate) fn raise_version(&mut self, to: u16) -> Outcome {
        let behind = self.nodes.iter().find(|row| row.is_up() && row.supports < to);
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
        let members = self.nodes.iter().filter(|row| row.epoch > Epoch(0)).count();
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
        self.queue.apply(self.group, command, events).map(Reply::Queue).map_err(Rejection::Queue)
    }

    /// All deadlines: the queue's, then the cluster's own.
    pub(crate) fn expire_due(&mut self, events: &mut Vec<Event>) -> Outcome {
        let done = self.run_queue(&QueueCommand::ExpireDue, events);
        for _ in 0..APPLY_WORK_MAX {
            let Some((at, expiry)) = self.index.expiries.first().cloned() else { break };
            if at > self.queue.now() {
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

fn check_count(count: u32) -> Result<(), Rejection> {
    if (1..=LEG_IDS_PER_RESERVATION_MAX).contains(&count) {
        return Ok(());
    }
    Err(Rejection::Malformed(format!(
        "leg ids are reserved 1 to {LEG_IDS_PER_RESERVATION_MAX} at a time, not {count}"
    )))
}
