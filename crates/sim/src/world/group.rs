//! The nodes as a Raft group under an adversary: elections, replication, lost and repeated proposals,
//! answers that never come. What Raft forbids, [`crate::raft::Group`] refuses; everything else may
//! happen, by chance.
//!
//! The leader keeps three rules about leases, each found by a run of this simulation:
//! it gives no lease before an entry of its own term is committed, none to a life that it has given up,
//! and it takes no predecessor's word that a lease ran out.

use std::collections::BTreeSet;

use tandem_callcontrol::io::NoOutcome;
use tandem_cluster::{
    command::{Command, Envelope, Evidence, Outcome, decode_outcome},
    ids::{Epoch, NodeId},
};
use tandem_routing::time::{ClusterTime, Millis};

use super::{
    Beat, Ev, Proposal, ProposalKey, Replied, World, checks,
    leader::key_of,
    log::Log,
    node::{Asker, Waiting},
};
use crate::raft::Group;

/// How soon a proposer that heard nothing asks again, in ms.
const RETRY: u64 = 400;
/// Commands that a leader puts into one entry.
const BATCH_MAX: usize = 16;

/// The group and its adversary.
pub(super) struct Consensus {
    pub(super) group: Group<Entry>,
    pub(super) adversary: Adversary,
    /// What the leader has not put into an entry yet.
    inbox: Vec<Proposal>,
    /// ClusterTime and the leader's clock at its last stamp.
    stamp: (ClusterTime, u64),
    /// Lives that this leader has given up: they get no lease from it, however late they come.
    given_up: BTreeSet<(u64, Epoch)>,
    /// When the group will vote, if it hears nothing of its leader.
    election: Option<u64>,
}

/// What may happen to proposals beside faults, in parts of a thousand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Adversary {
    /// Proposals that never arrive.
    pub proposals_lost: u32,
    /// Proposals that arrive twice.
    pub proposals_doubled: u32,
    /// Answers that never arrive, although the command is committed.
    pub answers_lost: u32,
    /// Proposals that are sent to somebody who does not lead.
    pub misdirected: u32,
    /// Further delay of a disk's sync, at most, in ms.
    pub sync_ms_max: u64,
}

/// An entry that is not committed yet.
#[derive(Debug)]
pub(super) struct Entry {
    time: ClusterTime,
    proposals: Vec<Proposal>,
}

impl World {
    /// From now on the nodes are a Raft group under this adversary.
    pub fn begin_consensus(&mut self, adversary: Adversary) {
        let members: Vec<u64> = self.nodes.keys().copied().collect();
        let group = Group::new(members, self.log.index);
        let stamp = (self.log.machine.now(), 0);
        self.consensus = Some(Consensus {
            group,
            adversary,
            inbox: Vec::new(),
            stamp,
            given_up: BTreeSet::new(),
            election: None,
        });
    }

    /// Who leads, if the nodes are a Raft group and somebody does.
    #[must_use]
    pub fn leader(&self) -> Option<u64> {
        self.consensus.as_ref().and_then(|consensus| consensus.group.leader())
    }

    /// The leader loses its office, for no reason that anybody knows; false when nobody has it.
    pub fn depose_leader(&mut self) -> bool {
        let Some(consensus) = &mut self.consensus else { return false };
        let led = consensus.group.leader().is_some();
        consensus.group.depose();
        consensus.inbox.clear();
        led
    }

    /// True when a message from one node gets to another now.
    pub(super) fn reaches(&self, from: u64, to: u64) -> bool {
        let cut_off = |node| self.isolated.contains(&node);
        from == to || (!cut_off(from) && !cut_off(to) && !self.cuts.contains(&(from, to)))
    }

    /// True while a node's process runs and does not stand still.
    #[must_use]
    pub fn is_awake(&self, node: u64) -> bool {
        let process = self.nodes.get(&node).and_then(|node| node.process.as_ref());
        process.is_some_and(|process| !process.frozen)
    }

    fn both_ways(&self, a: u64, b: u64) -> bool {
        self.is_awake(b) && self.reaches(a, b) && self.reaches(b, a)
    }

    /// Members that a node can talk with, itself included.
    fn circle(&self, node: u64) -> BTreeSet<u64> {
        self.nodes.keys().copied().filter(|other| self.both_ways(node, *other)).collect()
    }

    fn has_quorum(&self, node: u64) -> bool {
        let quorum = self.nodes.len() / 2 + 1;
        self.quorum && self.is_awake(node) && self.circle(node).len() >= quorum
    }

    // --- proposals ----------------------------------------------------------------------------------

    /// Sends a proposal, for the first time or again.
    pub(super) fn send_proposal(&mut self, node: u64, process: u64, key: ProposalKey) {
        let Some(consensus) = &self.consensus else { return };
        let (adversary, leader) = (consensus.adversary, consensus.group.leader());
        let members: Vec<u64> = self.nodes.keys().copied().collect();
        let astray = self.chance.per_mille(adversary.misdirected) || leader.is_none();
        let any = self.chance.below(members.len() as u64);
        let any = usize::try_from(any).ok().and_then(|at| members.get(at)).copied();
        let to = if astray { any } else { leader };
        let (to, lost) = (to.unwrap_or(node), self.chance.per_mille(adversary.proposals_lost));
        let copies = if self.chance.per_mille(adversary.proposals_doubled) { 2 } else { 1 };
        let running = self.nodes.get_mut(&node).and_then(|node| node.process.as_mut());
        let Some(running) = running.filter(|running| running.number == process) else { return };
        let Some(waiting) = running.proposed.get_mut(&key) else { return };
        if waiting.again != self.now {
            // It was asked again meanwhile.
            return;
        }
        if running.frozen {
            return self.ask_again(node, process, key, RETRY);
        }
        waiting.outstanding += copies;
        let (envelope, since) = (waiting.envelope.clone(), waiting.since);
        if !lost {
            for _ in 0..copies {
                let after = self.chance.between(1, 15) + self.log_slow;
                let envelope = envelope.clone();
                let proposal = Box::new(Proposal { process, envelope, since, to });
                self.at(after, Ev::Leader(proposal));
            }
        }
        self.ask_again(node, process, key, RETRY);
    }

    /// A proposer will ask again after so long, and not before.
    pub(super) fn ask_again(&mut self, node: u64, process: u64, key: ProposalKey, after: u64) {
        let again = self.now + after;
        let running = self.nodes.get_mut(&node).and_then(|node| node.process.as_mut());
        let Some(running) = running.filter(|running| running.number == process) else { return };
        if let Some(waiting) = running.proposed.get_mut(&key) {
            waiting.again = again;
            self.at(after, Ev::Again { node, process, key });
        }
    }

    /// A proposal reaches the one who was taken for the leader.
    pub(super) fn reach_member(&mut self, proposal: Box<Proposal>) {
        let (from, to) = (proposal.envelope.node.0, proposal.to);
        if !self.is_awake(to) || !self.reaches(from, to) {
            return;
        }
        let Some(consensus) = &mut self.consensus else { return };
        if consensus.group.leader() == Some(to) {
            if outdated(&proposal.envelope.command, &consensus.given_up) {
                return;
            }
            let term = consensus.group.term();
            consensus.inbox.push(*proposal);
            if consensus.inbox.len() == 1 {
                let after = self.chance.between(0, 3);
                self.at(after, Ev::Append { term });
            }
            return;
        }
        // One that was cut off may think that it leads still: what it takes is never heard of.
        if self.reaches(to, from) && !self.isolated.contains(&to) {
            let (process, key) = (proposal.process, key_of(&proposal.envelope));
            let after = self.chance.between(1, 15);
            self.at(after, Ev::Replied { node: from, process, key, reply: Replied::NotLeader });
        }
    }

    /// The leader appends what waits.
    pub(super) fn append(&mut self, term: u64) {
        let Some(leader) = self.leader() else { return };
        let local = self.local(leader);
        let Some(consensus) = &mut self.consensus else { return };
        if consensus.group.term() != term || consensus.inbox.is_empty() {
            return;
        }
        let count = consensus.inbox.len().min(BATCH_MAX);
        let proposals: Vec<Proposal> = consensus.inbox.drain(..count).collect();
        let (time, since) = consensus.stamp;
        let time = time + Millis(local.saturating_sub(since));
        consensus.stamp = (time, local.max(since));
        let more = !consensus.inbox.is_empty();
        let told: Vec<_> = if planted!(self, AcknowledgedBeforeCommit) {
            proposals.iter().map(|p| (p.process, p.envelope.node.0, key_of(&p.envelope))).collect()
        } else {
            Vec::new()
        };
        let Some(consensus) = &mut self.consensus else { return };
        if consensus.group.append(Entry { time, proposals }).is_err() {
            return;
        }
        for (process, node, key) in told {
            let asker = self.nodes[&node].process.as_ref().and_then(|p| p.proposed.get(&key));
            if matches!(asker.map(|waiting| waiting.asker), Some(Asker::Api(_))) {
                let outcome = Ok(tandem_cluster::command::Reply::Done);
                let reply = Replied::Outcome { outcome, index: 0 };
                self.at(1, Ev::Replied { node, process, key, reply });
            }
        }
        if more {
            self.at(1, Ev::Append { term });
        }
        self.replicate();
    }

    /// Every member that lacks something of the leader's log is sent it.
    fn replicate(&mut self) {
        let Some(consensus) = &self.consensus else { return };
        let (term, index) = (consensus.group.term(), consensus.group.last());
        let slow = consensus.adversary.sync_ms_max;
        let Some(leader) = consensus.group.leader() else { return };
        let behind: Vec<u64> = self
            .nodes
            .keys()
            .copied()
            .filter(|member| consensus.group.held(*member) < index)
            .collect();
        for member in behind {
            let hop = if member == leader { 0 } else { self.chance.between(2, 30) };
            let after = hop + self.chance.below(slow + 1) + self.log_slow;
            self.at(after, Ev::Synced { member, term, index });
        }
    }

    /// A member's disk has the leader's log up to an index, and the leader hears of it.
    pub(super) fn synced(&mut self, member: u64, term: u64, index: u64) {
        let Some(leader) = self.leader().filter(|leader| self.is_awake(*leader)) else { return };
        if !self.both_ways(leader, member) || !self.quorum {
            return;
        }
        let Some(consensus) = &mut self.consensus else { return };
        let done = consensus.group.synced(member, term, index);
        for committed in done {
            match committed.entry {
                Some(entry) => self.commit_entry(leader, entry),
                None => {
                    self.log.commit_blank();
                    self.trace.committed(committed.index, 0);
                }
            }
        }
    }

    fn commit_entry(&mut self, leader: u64, entry: Entry) {
        let now = self.now;
        let envelopes: Vec<Envelope> = entry
            .proposals
            .iter()
            .map(|proposal| {
                // The age is of when the leader stamped it; the network's clock is true enough here.
                let age = Millis(now.saturating_sub(proposal.since));
                Envelope { age, ..proposal.envelope.clone() }
            })
            .collect();
        let applied = self.log.commit(entry.time, envelopes);
        let index = self.log.index;
        self.trace.committed(index, self.log.machine.digest().0);
        self.committed(&applied);
        let local = self.local(leader);
        for proposal in &entry.proposals {
            if let Command::RegisterNode(register) = &proposal.envelope.command {
                // A life that begins was heard of.
                self.heard.insert(register.node.0, local);
            }
        }
        let lost = self.consensus.as_ref().map_or(0, |c| c.adversary.answers_lost);
        for (proposal, outcome) in entry.proposals.into_iter().zip(&applied.outcomes) {
            let outcome = decode_outcome(outcome).expect("our own outcome decodes");
            checks::outcome(self, &proposal.envelope, &outcome);
            let (node, process) = (proposal.envelope.node.0, proposal.process);
            if self.chance.per_mille(lost) || !self.reaches(leader, node) {
                continue;
            }
            let key = key_of(&proposal.envelope);
            let after = self.chance.between(1, 15) + self.log_slow;
            let reply = Replied::Outcome { outcome, index };
            self.at(after, Ev::Replied { node, process, key, reply });
        }
    }

    /// Proposes for a part of a node; the node's life must have begun.
    pub(super) fn propose_as(
        &mut self,
        node: u64,
        process: u64,
        asker: Asker,
        command: Command,
        within: u64,
    ) -> Option<ProposalKey> {
        let running = self.nodes.get(&node).and_then(|node| node.process.as_ref());
        let epoch = running.and_then(|running| running.epoch)?;
        let envelope = self.log.envelope(node, epoch, command);
        let key = key_of(&envelope);
        self.wait_for(node, process, asker, envelope, within);
        Some(key)
    }

    /// Sends an envelope and waits for its outcome.
    pub(super) fn wait_for(
        &mut self,
        node: u64,
        process: u64,
        asker: Asker,
        envelope: Envelope,
        within: u64,
    ) {
        let (key, since) = (key_of(&envelope), self.now);
        let sent = (envelope.clone(), u32::from(self.consensus.is_none()));
        let waiting = Waiting { asker, envelope, since, again: since, outstanding: sent.1 };
        if let Some(running) = self.nodes.get_mut(&node).and_then(|node| node.process.as_mut()) {
            running.proposed.insert(key, waiting);
        }
        if self.consensus.is_some() {
            self.send_proposal(node, process, key);
        } else {
            let after = self.chance.between(1, 15) + self.log_slow;
            let proposal = Box::new(Proposal { process, envelope: sent.0, since, to: node });
            self.at(after, Ev::Leader(proposal));
        }
        self.at(within, Ev::GiveUp { node, process, key });
    }

    // --- lives --------------------------------------------------------------------------------------

    /// A node asks for a life until it gets one.
    pub(super) fn register_by_log(&mut self, node: u64, process: u64) {
        let Some(running) = self.nodes[&node].process.as_ref() else { return };
        if running.granted.is_some() || running.epoch.is_some() {
            return;
        }
        let known = running.registering.clone();
        let row = running.replica.machine.nodes().get(&NodeId(node));
        let last = row.map_or(Epoch(0), |row| row.epoch).max(running.last_life);
        let command = known.unwrap_or_else(|| self.log.registration(node, last));
        if let Some(running) = self.node_mut(node).process.as_mut() {
            running.registering = Some(command.clone());
        }
        self.wait_for(node, process, Asker::Shell, Log::first(node, command), 2_000);
        self.at(2_100, Ev::Register { node, process });
    }

    /// A node's heartbeat leaves for the leader.
    pub(super) fn send_beat(&mut self, node: u64, process: u64, epoch: Epoch, sent: Beat) {
        let after = self.chance.between(1, 15) + self.log_slow;
        self.at(after, Ev::Beat { node, process, epoch, sent });
    }

    /// The leader proves its quorum and grants the lease.
    pub(super) fn beat(&mut self, node: u64, process: u64, epoch: Epoch, sent: Beat) {
        let settled = self.consensus.as_ref().filter(|known| known.group.is_settled());
        let Some(consensus) = settled else { return };
        let Some(leader) = consensus.group.leader() else { return };
        let over = consensus.given_up.contains(&(node, epoch));
        if !self.has_quorum(leader) || !self.both_ways(leader, node) {
            return;
        }
        if over || !self.is_current(node, epoch) {
            return self.refuse_lease(node, process, epoch);
        }
        let local = self.local(leader);
        self.heard.insert(node, local);
        self.grant_lease(node, process, epoch, sent);
    }

    /// Whoever leads proposes that a life is over. A host that saw its node die says so again until it is
    /// written; a lease that ran out is judged anew by whoever leads next.
    pub(super) fn witnessed(&mut self, node: u64, epoch: Epoch, command: Command) {
        let witness = matches!(command, Command::NodeLost { evidence: Evidence::Witness, .. });
        let leader = self.leader().filter(|leader| self.has_quorum(*leader));
        let process = leader.and_then(|leader| self.nodes[&leader].process.as_ref());
        let process = process.map(|process| process.number);
        let proposed = match (leader, process) {
            (Some(leader), Some(process)) => {
                self.propose_as(leader, process, Asker::Shell, command, 2_000).is_some()
            }
            _ => false,
        };
        if !proposed && witness && self.is_current(node, epoch) {
            self.at(200, Ev::Lost { node, epoch });
        }
    }

    /// What the group does by itself every while.
    pub(super) fn lead(&mut self) {
        self.vote_when_due();
        let Some(leader) = self.leader().filter(|leader| self.has_quorum(*leader)) else { return };
        self.replicate();
        for node in self.circle(leader) {
            let applied = self.nodes[&node].process.as_ref().map(|p| p.replica.applied);
            if applied.is_some_and(|applied| applied < self.log.index) {
                self.tell_of_log(node);
            }
        }
        let local = self.local(leader);
        for (node, epoch) in self.silent(local) {
            if let Some(consensus) = &mut self.consensus {
                consensus.given_up.insert((node, epoch));
            }
            self.declare_lost(node, epoch, Evidence::LeaseExpired);
            // Said once; said again if the saying was lost.
            self.heard.insert(node, local);
        }
        self.propose_what_is_due(leader, local);
    }

    fn propose_what_is_due(&mut self, leader: u64, local: u64) {
        let Some(running) = self.nodes[&leader].process.as_ref() else { return };
        let busy = running.proposed.values().any(|waiting| {
            matches!(waiting.envelope.command, Command::ExpireDue | Command::ContinueWork)
        });
        let (process, machine) = (running.number, &running.replica.machine);
        let Some(consensus) = self.consensus.as_ref().filter(|_| !busy) else { return };
        let (time, since) = consensus.stamp;
        let now = time + Millis(local.saturating_sub(since));
        let command = if machine.has_work() {
            Command::ContinueWork
        } else if machine.next_deadline().is_some_and(|at| at <= now) {
            Command::ExpireDue
        } else {
            return;
        };
        self.propose_as(leader, process, Asker::Shell, command, 2_000);
    }

    // --- elections ----------------------------------------------------------------------------------

    fn vote_when_due(&mut self) {
        let healthy = self.leader().is_some_and(|leader| self.has_quorum(leader));
        let now = self.now;
        let patience = self.chance.between(150, 600);
        let Some(consensus) = &mut self.consensus else { return };
        if healthy {
            consensus.election = None;
            return;
        }
        let due = *consensus.election.get_or_insert(now + patience);
        if now < due {
            return;
        }
        consensus.election = None;
        consensus.group.depose();
        consensus.inbox.clear();
        let group = &self.consensus.as_ref().map(|consensus| &consensus.group);
        let may_win = |node: &u64| {
            self.has_quorum(*node)
                && group.is_some_and(|group| group.may_win(*node, &self.circle(*node)))
        };
        let candidates: Vec<u64> = self.nodes.keys().copied().filter(may_win).collect();
        if candidates.is_empty() {
            return;
        }
        let pick = self.chance.below(candidates.len() as u64);
        let winner = usize::try_from(pick).ok().and_then(|at| candidates.get(at)).copied();
        if let Some(winner) = winner {
            self.take_office(winner);
        }
    }

    /// A new leader: the tail that it lacks is lost, and everybody gets a full lease.
    fn take_office(&mut self, winner: u64) {
        let local = self.local(winner);
        let Some(consensus) = &mut self.consensus else { return };
        consensus.group.elect(winner);
        consensus.given_up.clear();
        let latest = consensus.stamp.0;
        consensus.stamp = (latest.max(self.log.machine.now()), local);
        for heard in self.heard.values_mut() {
            *heard = local;
        }
        self.trace.led(winner);
        self.replicate();
    }

    // --- operations from outside --------------------------------------------------------------------

    /// An application asks a node's API; its number, to look the outcome up by.
    pub fn ask(&mut self, node: u64, command: Command, within: u64) -> Option<usize> {
        let running = self.nodes.get(&node).and_then(|node| node.process.as_ref());
        let process = running.filter(|running| !running.frozen).map(|running| running.number)?;
        let operation = self.operations.len();
        self.operations.push(Operation { command: command.clone(), outcome: None, key: None });
        let key = self.propose_as(node, process, Asker::Api(operation), command, within);
        match key {
            Some((epoch, sequence)) => {
                self.operations[operation].key = Some((NodeId(node), epoch, sequence));
            }
            None => self.answered(operation, Err(NoOutcome::NotDone)),
        }
        Some(operation)
    }

    pub(super) fn answered(&mut self, operation: usize, outcome: Result<Outcome, NoOutcome>) {
        if let Some(known) = self.operations.get_mut(operation) {
            known.outcome = Some(outcome);
        }
    }
}

/// A leader's judgement that a lease ran out is worth nothing under the next leader, who may have renewed
/// that lease meanwhile.
fn outdated(command: &Command, given_up: &BTreeSet<(u64, Epoch)>) -> bool {
    matches!(
        command,
        Command::NodeLost { node, epoch, evidence: Evidence::LeaseExpired }
            if !given_up.contains(&(node.0, *epoch))
    )
}

/// What an application asked for.
#[derive(Debug)]
pub struct Operation {
    /// The command.
    pub command: Command,
    /// Names its proposal; `None`: it never became one.
    pub key: Option<(NodeId, Epoch, u64)>,
    /// What it heard; `None` while it waits, and for ever when the node died. Unknown stays unknown.
    pub outcome: Option<Result<Outcome, NoOutcome>>,
}
