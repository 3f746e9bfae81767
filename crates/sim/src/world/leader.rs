//! The leader of the log: proposals and what follows from them for every node, lives, leases.

use std::time::Duration;

use tandem_callcontrol::io::{Input, NoOutcome};
use tandem_cluster::{
    command::{Command, Envelope, Evidence, Outcome, Reply},
    ids::{Epoch, LegId, NodeId},
    machine::Effect,
};
use tandem_routing::command::Command as QueueCommand;

use super::{Ev, LEASE, LEASE_MARGIN, NodeInput, Proposal, World, checks, log::Log};

impl World {
    /// Applies a command and feeds every node with what changed.
    pub fn apply(&mut self, envelope: Envelope) -> Outcome {
        let now = self.now;
        let command = envelope.command.clone();
        let (outcome, applied) = self.log.apply(now, envelope);
        let mut ended = Vec::new();
        for effect in applied.effects {
            match effect {
                Effect::LegChanged(leg) => self.feed_leg(leg),
                Effect::LifeEnded { node, epoch } => ended.push((node.0, epoch)),
                Effect::Bug { message, .. } => {
                    let text = format!("the machine panicked: {message} at {command:?}");
                    self.checks.violations.push(text);
                }
                Effect::DigestDue { .. } | Effect::Diverged { .. } => {}
            }
        }
        for (node, epoch) in ended {
            self.feed_life_ended(node, epoch);
        }
        checks::after_apply(self);
        outcome
    }

    pub(super) fn feed_leg(&mut self, leg: LegId) {
        let view = self.log.machine.view(leg);
        for node in self.nodes.keys().copied().collect::<Vec<_>>() {
            let view = view.clone().map(Box::new);
            self.feed(node, Input::LegChanged { leg, view });
        }
    }

    pub(super) fn feed_life_ended(&mut self, node: u64, epoch: Epoch) {
        let process = self.nodes.get(&node).and_then(|node| node.process.as_ref());
        if process.is_some_and(|process| process.epoch == Some(epoch)) {
            self.feed(node, Input::Life(None));
        }
    }

    /// Tells a node's process something of the log, behind everything that it was told before.
    pub(super) fn feed(&mut self, node: u64, input: Input) {
        let Some(process) = self.nodes[&node].process.as_ref().map(|process| process.number) else {
            return;
        };
        if self.isolated.contains(&node) {
            self.node_mut(node).held_feed.push_back(input);
            return;
        }
        let lag = self.chance.between(1, 12) + self.log_slow + self.feed_slow;
        let at = (self.now + lag).max(self.feed_at.get(&node).copied().unwrap_or(0));
        self.feed_at.insert(node, at);
        let after = at - self.now;
        self.at(after, Ev::Node { node, process, input: NodeInput::Log(input) });
    }

    /// An operator's or application's command.
    pub fn command(&mut self, command: Command) -> Outcome {
        let life = self.log.any_life().expect("a node is up");
        let envelope = self.log.envelope(life.node.0, life.epoch, command);
        self.apply(envelope)
    }

    /// A command to the queue.
    pub fn queue(&mut self, command: QueueCommand) -> Outcome {
        self.command(Command::Queue(command))
    }

    pub(super) fn reach_leader(&mut self, proposal: Box<Proposal>) {
        let node = proposal.envelope.node.0;
        if !self.quorum || self.isolated.contains(&node) {
            self.stuck.push_back(proposal);
            return;
        }
        let (process, sequence) = (proposal.process, proposal.envelope.sequence);
        let mut envelope = proposal.envelope;
        envelope.age = tandem_routing::time::Millis(self.now - proposal.since);
        let outcome = self.apply(envelope);
        let known = self.nodes.get_mut(&node).and_then(|node| node.process.as_mut());
        let known = known.filter(|known| known.number == process);
        let Some(ticket) = known.and_then(|known| known.proposed.remove(&sequence)) else { return };
        let after = self.chance.between(1, 15) + self.log_slow;
        let input = NodeInput::Plain(Input::Proposed { ticket, result: Ok(outcome) });
        self.at(after, Ev::Node { node, process, input });
    }

    /// A proposer's patience is over: what never reached a leader may be taken back.
    pub(super) fn give_up(&mut self, node: u64, process: u64, sequence: u64) {
        let known = self.nodes.get_mut(&node).and_then(|node| node.process.as_mut());
        let known = known.filter(|known| known.number == process);
        let Some(ticket) = known.and_then(|known| known.proposed.remove(&sequence)) else { return };
        let of = |p: &Proposal| p.envelope.node.0 == node && p.envelope.sequence == sequence;
        let stuck = self.stuck.iter().position(|p| of(p) && p.process == process);
        let taken_back = stuck.is_some() && self.chance.per_mille(500);
        if let (true, Some(at)) = (taken_back, stuck) {
            self.stuck.remove(at);
            if let Some(pending) = self.log.pending.get_mut(&node) {
                pending.remove(&sequence);
            }
        }
        let why = if taken_back { NoOutcome::NotDone } else { NoOutcome::Unknown };
        let input = NodeInput::Plain(Input::Proposed { ticket, result: Err(why) });
        self.input(node, process, input);
    }

    /// Commits go on: what waited for a quorum arrives, in any order.
    pub fn heal(&mut self) {
        self.quorum = true;
        for node in std::mem::take(&mut self.isolated) {
            let held = std::mem::take(&mut self.node_mut(node).held_feed);
            for input in held {
                self.feed(node, input);
            }
        }
        for proposal in std::mem::take(&mut self.stuck) {
            let after = self.chance.between(1, 40);
            self.at(after, Ev::Leader(proposal));
        }
    }

    pub(super) fn register(&mut self, node: u64, process: u64) {
        let running = self.nodes[&node].process.as_ref().is_some_and(|p| p.number == process);
        if !running {
            return;
        }
        if !self.quorum || self.isolated.contains(&node) {
            return self.at(200, Ev::Register { node, process });
        }
        let command = self.log.registration(node);
        self.log.begin_life(node);
        let outcome = self.apply(Log::first(node, command));
        let Ok(Reply::Registered { epoch, first_leg }) = outcome else {
            return self.wrong(format!("node {node} was not registered: {outcome:?}"));
        };
        self.heard.insert(node, self.now);
        let running = self.nodes.get_mut(&node).and_then(|node| node.process.as_mut());
        if let Some(running) = running {
            running.epoch = Some(epoch);
        }
        let grant = tandem_callcontrol::io::Grant { epoch, first_leg, leg_ids: 2_000 };
        self.feed(node, Input::Life(Some(grant)));
        let owner = tandem_cluster::leg::Owner { node: NodeId(node), epoch };
        let owned: Vec<LegId> = self.log.machine.legs_owned_by(owner).map(|leg| leg.id).collect();
        for leg in owned {
            let view = self.log.machine.view(leg).map(Box::new);
            self.feed(node, Input::LegChanged { leg, view });
        }
        self.at(1, Ev::Lease { node, process });
    }

    /// A node asks for its lease again; the leader grants it after proving its quorum.
    pub(super) fn renew(&mut self, node: u64, process: u64) {
        let running = self.nodes[&node].process.as_ref();
        let Some(running) = running.filter(|running| running.number == process) else { return };
        let (epoch, frozen) = (running.epoch, running.frozen);
        let Some(epoch) = epoch else { return };
        self.at(LEASE / 4, Ev::Lease { node, process });
        let current = self.log.machine.nodes().get(&NodeId(node));
        let current = current.is_some_and(|row| row.epoch == epoch && row.is_up());
        if frozen || !self.quorum || self.isolated.contains(&node) || !current {
            return;
        }
        self.heard.insert(node, self.now);
        let until = self.base + Duration::from_millis(self.now + LEASE);
        self.checks.leased(node, epoch, self.now + LEASE);
        let after = self.chance.between(2, 20);
        let input = NodeInput::Plain(Input::Lease { epoch, until });
        self.at(after, Ev::Node { node, process, input });
    }

    /// The leader: deadlines, unfinished work, silent nodes.
    pub(super) fn judge(&mut self) {
        self.at(50, Ev::Judge);
        if !self.quorum {
            // Nobody leads; a new leader gives everybody a full lease.
            for heard in self.heard.values_mut() {
                *heard = self.now;
            }
            return;
        }
        let silent: Vec<(u64, Epoch)> = self
            .log
            .machine
            .nodes()
            .iter()
            .filter(|row| row.is_up())
            .filter(|row| {
                let heard = self.heard.get(&row.id.0).copied().unwrap_or(0);
                self.now > heard + LEASE + LEASE_MARGIN
            })
            .map(|row| (row.id.0, row.epoch))
            .collect();
        for (node, epoch) in silent {
            self.declare_lost(node, epoch, Evidence::LeaseExpired);
        }
        if self.log.any_life().is_none() {
            return;
        }
        if self.log.machine.next_deadline().is_some_and(|at| at <= Log::now(self.now)) {
            self.command(Command::ExpireDue).expect("the machine takes it");
        }
        while self.log.machine.has_work() {
            self.command(Command::ContinueWork).expect("the machine takes it");
        }
    }

    pub(super) fn declare_lost(&mut self, node: u64, epoch: Epoch, evidence: Evidence) {
        let Some(life) = self.log.any_life() else { return };
        if !self.quorum {
            return;
        }
        let command = Command::NodeLost { node: NodeId(node), epoch, evidence };
        let envelope = self.log.envelope(life.node.0, life.epoch, command);
        self.apply(envelope).expect("the machine takes it");
    }
}
