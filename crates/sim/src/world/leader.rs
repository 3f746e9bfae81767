//! The leader's work: commits and what follows from them, lives, leases, deadlines. How proposals get
//! there is in `shell`, what can happen to them in `group`.

use std::collections::VecDeque;

use tandem_callcontrol::io::{Grant, Input, NoOutcome};
use tandem_cluster::{
    command::{Command, Envelope, Evidence, Outcome, Rejection, Reply},
    ids::{Epoch, NodeId},
    machine::{Applied, Effect},
};
use tandem_routing::{command::Command as QueueCommand, time::Millis};

use super::{
    Beat, Ev, LEASE, LEASE_MARGIN, NodeInput, Proposal, ProposalKey, Replied, World, checks,
    log::Log, node::Asker,
};

/// Between two looks of the leader at what is due, in ms.
pub(super) const JUDGE_EVERY: u64 = 50;

impl World {
    /// Commits a command at once, with true time, and lets every node learn of it.
    pub fn apply(&mut self, envelope: Envelope) -> Outcome {
        let now = self.now;
        let (outcome, applied) = self.log.apply(now, envelope);
        self.committed(&applied);
        outcome
    }

    /// An entry is committed: the judges look at it, and nodes will learn of it.
    pub(super) fn committed(&mut self, applied: &Applied) {
        for effect in &applied.effects {
            if let Effect::Bug { message, .. } = effect {
                self.wrong(format!("the machine panicked: {message}"));
            }
        }
        checks::after_apply(self);
        checks::after_offers(self, &applied.events);
        let index = self.log.index;
        let wrong = self.checks.judge.after_entry(&self.log.machine, applied, index);
        self.checks.violations.extend(wrong);
        for node in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.tell_of_log(node);
        }
    }

    /// A node will learn soon of everything that is committed.
    pub(super) fn tell_of_log(&mut self, node: u64) {
        let upto = self.log.index;
        let Some(process) = self.nodes[&node].process.as_ref().map(|process| process.number) else {
            return;
        };
        let lag = self.chance.between(1, 12) + self.log_slow + self.feed_slow;
        let at = (self.now + lag).max(self.feed_at.get(&node).copied().unwrap_or(0));
        self.feed_at.insert(node, at);
        self.at(at - self.now, Ev::Learn { node, process, upto });
    }

    /// An operator's or application's command, committed at once.
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
        if self.consensus.is_some() {
            return self.reach_member(proposal);
        }
        let node = proposal.envelope.node.0;
        if !self.quorum || self.isolated.contains(&node) {
            self.stuck.push_back(proposal);
            return;
        }
        let (process, key) = (proposal.process, key_of(&proposal.envelope));
        let mut envelope = proposal.envelope;
        envelope.age = Millis(self.now - proposal.since);
        let outcome = self.apply(envelope);
        let reply = Replied::Outcome { outcome, index: self.log.index };
        let after = self.chance.between(1, 15) + self.log_slow;
        self.at(after, Ev::Replied { node, process, key, reply });
    }

    /// A proposer hears of its proposal.
    pub(super) fn replied(&mut self, node: u64, process: u64, key: ProposalKey, reply: Replied) {
        let running = self.nodes.get_mut(&node).and_then(|node| node.process.as_mut());
        let Some(running) = running.filter(|running| running.number == process) else { return };
        if running.frozen {
            // It waits at the door like everything else.
            return self.at(JUDGE_EVERY, Ev::Replied { node, process, key, reply });
        }
        let (outcome, index) = match reply {
            Replied::Outcome { outcome, index } => (outcome, index),
            Replied::NotLeader => {
                if let Some(waiting) = running.proposed.get_mut(&key) {
                    waiting.outstanding = waiting.outstanding.saturating_sub(1);
                    let after = self.chance.between(10, 60);
                    self.ask_again(node, process, key, after);
                }
                return;
            }
        };
        let Some(waiting) = running.proposed.remove(&key) else { return };
        self.log.settled(node, key);
        match waiting.asker {
            Asker::Control(ticket) => {
                let input = Input::Proposed { ticket, result: Ok(outcome) };
                self.input(node, process, NodeInput::Plain(input));
            }
            Asker::Api(operation) => self.answered(operation, Ok(outcome)),
            Asker::Shell => self.shell_heard(node, outcome, index),
        }
    }

    /// A registration came to an end: the life begins when the node's own copy has come so far.
    fn shell_heard(&mut self, node: u64, outcome: Outcome, index: u64) {
        let Some(running) = self.node_mut(node).process.as_mut() else { return };
        if let Err(Rejection::LifeMustBeTheLast { epoch, .. }) = outcome {
            // Asked again with that, when its turn comes.
            running.registering = None;
            running.last_life = epoch;
            return;
        }
        let Ok(Reply::Registered { epoch, first_leg }) = outcome else { return };
        running.registering = None;
        if epoch <= running.last_life {
            // The answer to an earlier try; that life has been lived.
            return;
        }
        let grant = Grant { epoch, first_leg, leg_ids: 2_000 };
        running.granted = Some((index, grant));
        self.begin_life(node);
    }

    /// A proposer's patience is over: what never reached a leader may be taken back.
    pub(super) fn give_up(&mut self, node: u64, process: u64, key: ProposalKey) {
        let known = self.nodes.get_mut(&node).and_then(|node| node.process.as_mut());
        let known = known.filter(|known| known.number == process);
        let Some(waiting) = known.and_then(|known| known.proposed.remove(&key)) else { return };
        let of = |p: &Proposal| p.envelope.node.0 == node && key_of(&p.envelope) == key;
        let stuck = self.stuck.iter().position(|p| of(p) && p.process == process);
        let taken_back = stuck.is_some() && self.chance.per_mille(500);
        if let (true, Some(at)) = (taken_back, stuck) {
            self.stuck.remove(at);
        }
        let never_sent = self.consensus.is_some() && waiting.outstanding == 0;
        if taken_back || self.consensus.is_some() {
            self.log.settled(node, key);
        }
        let never_sent = never_sent || planted!(self, UnknownIsReportedNotDone);
        let why = if taken_back || never_sent { NoOutcome::NotDone } else { NoOutcome::Unknown };
        match waiting.asker {
            Asker::Control(ticket) => {
                let input = Input::Proposed { ticket, result: Err(why) };
                self.input(node, process, NodeInput::Plain(input));
            }
            Asker::Api(operation) => self.answered(operation, Err(why)),
            Asker::Shell => {}
        }
    }

    /// Commits go on: what waited for a quorum arrives, in any order.
    pub fn heal(&mut self) {
        self.quorum = true;
        self.cuts.clear();
        self.isolated.clear();
        for node in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.tell_of_log(node);
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
        if self.consensus.is_some() {
            return self.register_by_log(node, process);
        }
        if !self.quorum || self.isolated.contains(&node) {
            return self.at(200, Ev::Register { node, process });
        }
        let last = self.log.machine.nodes().get(&NodeId(node)).map_or(Epoch(0), |row| row.epoch);
        let command = self.log.registration(node, last);
        let outcome = self.apply(Log::first(node, command));
        if outcome.is_err() {
            return self.wrong(format!("node {node} was not registered: {outcome:?}"));
        }
        self.heard.insert(node, self.now);
        let index = self.log.index;
        self.shell_heard(node, outcome, index);
    }

    /// A node asks for its lease again; the leader grants it after proving its quorum.
    pub(super) fn renew(&mut self, node: u64, process: u64, epoch: Epoch) {
        let running = self.nodes[&node].process.as_ref();
        let Some(running) = running.filter(|running| running.number == process) else { return };
        if running.epoch != Some(epoch) {
            return;
        }
        let (frozen, sent) =
            (running.frozen, Beat { local: self.local(node), sleeps: running.sleeps });
        self.at(LEASE / 4, Ev::Lease { node, process, epoch });
        if frozen {
            return;
        }
        if self.consensus.is_some() {
            return self.send_beat(node, process, epoch, sent);
        }
        if !self.quorum || self.isolated.contains(&node) {
            return;
        }
        if !self.is_current(node, epoch) {
            return self.refuse_lease(node, process, epoch);
        }
        self.heard.insert(node, self.now);
        self.grant_lease(node, process, epoch, sent);
    }

    pub(crate) fn is_current(&self, node: u64, epoch: Epoch) -> bool {
        let row = self.log.machine.nodes().get(&NodeId(node));
        row.is_some_and(|row| row.epoch == epoch && row.is_up())
    }

    /// The lease counts from when the node sent its heartbeat, by its own clock.
    pub(super) fn grant_lease(&mut self, node: u64, process: u64, epoch: Epoch, sent: Beat) {
        let until = self.instant_of(sent.local + LEASE);
        self.checks.leased(node, epoch, sent.local + LEASE);
        let after = self.chance.between(2, 20);
        let until = if planted!(self, LeaseCountsFromAnswer) {
            self.instant_of(self.local(node) + LEASE)
        } else {
            until
        };
        let input = NodeInput::Lease { epoch, until, sleeps: sent.sleeps };
        self.at(after, Ev::Node { node, process, input });
    }

    /// The leader says that this life is over, perhaps before the node's own copy of the log does. Most of
    /// these answers come late or never: a life that goes on in ignorance is what fences are for.
    pub(super) fn refuse_lease(&mut self, node: u64, process: u64, epoch: Epoch) {
        if self.chance.per_mille(250) {
            let after = self.chance.between(2, 200);
            self.at(after, Ev::LeaseRefused { node, process, epoch });
        }
    }

    pub(super) fn lease_refused(&mut self, node: u64, process: u64, epoch: Epoch) {
        let running = self.nodes[&node].process.as_ref();
        if running.is_some_and(|running| running.number == process && running.epoch == Some(epoch))
        {
            self.input(node, process, NodeInput::Plain(Input::Life(None)));
        }
    }

    /// The leader: deadlines, unfinished work, silent nodes.
    pub(super) fn judge(&mut self) {
        self.at(JUDGE_EVERY, Ev::Judge);
        if self.consensus.is_some() {
            return self.lead();
        }
        if !self.quorum {
            // Nobody leads; a new leader gives everybody a full lease.
            for heard in self.heard.values_mut() {
                *heard = self.now;
            }
            return;
        }
        for (node, epoch) in self.silent(self.now) {
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

    /// Lives of which the leader heard nothing for too long, by its own clock.
    pub(super) fn silent(&self, leader_now: u64) -> VecDeque<(u64, Epoch)> {
        let silent = |node: u64| {
            let heard = self.heard.get(&node).copied().unwrap_or(0);
            leader_now > heard + LEASE + LEASE_MARGIN
        };
        let rows = self.log.machine.nodes().iter().filter(|row| row.is_up());
        rows.filter(|row| silent(row.id.0)).map(|row| (row.id.0, row.epoch)).collect()
    }

    pub(super) fn declare_lost(&mut self, node: u64, epoch: Epoch, evidence: Evidence) {
        let command = Command::NodeLost { node: NodeId(node), epoch, evidence };
        if self.consensus.is_some() {
            return self.witnessed(node, epoch, command);
        }
        let Some(life) = self.log.any_life().filter(|_| self.quorum) else { return };
        let envelope = self.log.envelope(life.node.0, life.epoch, command);
        self.apply(envelope).expect("the machine takes it");
    }
}

/// Names a proposal by its envelope.
pub(super) fn key_of(envelope: &Envelope) -> ProposalKey {
    (envelope.epoch, envelope.sequence)
}
