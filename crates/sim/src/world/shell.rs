//! Around call control: a node's process starts, dies, freezes; inputs go in and outputs are carried
//! out.

use std::{collections::VecDeque, time::Duration};

use tandem_callcontrol::io::{Input, NoOutcome, Output};
use tandem_cluster::command::Command;

use super::{Ev, NodeInput, Proposal, World, node, node::Process};

impl World {
    /// Starts a node's process.
    pub fn start_node(&mut self, node: u64) {
        let prng = self.chance.fork();
        let known = self.node_mut(node);
        assert!(known.process.is_none(), "node {node} runs already");
        known.starts += 1;
        let number = known.starts;
        let settings = known.settings.clone();
        known.process = Some(Process::new(number, settings, prng));
        known.held_feed.clear();
        self.at(20, Ev::Register { node, process: number });
    }

    /// A node's process dies; `witness`: its host attests that at once.
    pub fn crash_node(&mut self, node: u64, witness: bool) {
        let Some(process) = self.node_mut(node).process.take() else { return };
        let conns: Vec<u64> = self
            .conns
            .iter()
            .filter(|(_, c)| c.node == node && c.open)
            .map(|(id, _)| *id)
            .collect();
        conns.into_iter().for_each(|conn| self.disconnect(conn));
        if let (true, Some(epoch)) = (witness, process.epoch) {
            self.at(30, Ev::Lost { node, epoch });
        }
    }

    /// A node stands still for so long: everything waits at its door.
    pub fn freeze_node(&mut self, node: u64, ms: u64) {
        let Some(process) = self.node_mut(node).process.as_mut() else { return };
        process.frozen = true;
        let number = process.number;
        self.at(ms, Ev::Thaw { node, process: number });
    }

    /// A node's machine slept and woke up; its `Instant` does not show it.
    pub fn sleep_node(&mut self, node: u64) {
        self.feed(node, Input::Slept);
    }

    pub(super) fn thaw(&mut self, node: u64, process: u64) {
        let first = self.chance.per_mille(500);
        let running = self.node_mut(node).process.as_mut();
        let Some(running) = running.filter(|running| running.number == process) else { return };
        running.frozen = false;
        let waiting = std::mem::take(&mut running.waiting);
        if first {
            self.input(node, process, NodeInput::Timeout);
        }
        for input in waiting {
            self.input(node, process, input);
        }
        self.input(node, process, NodeInput::Timeout);
    }

    /// Gives a node's process an input and carries its outputs out.
    pub(super) fn input(&mut self, node: u64, process: u64, input: NodeInput) {
        let now = node::now(self.instant(), self.now);
        let running = self.nodes.get_mut(&node).and_then(|node| node.process.as_mut());
        let Some(running) = running.filter(|running| running.number == process) else { return };
        if running.frozen {
            running.waiting.push_back(input);
            return;
        }
        let (was, inputs) = (running.epoch, running.translate(input));
        let mut inputs = VecDeque::from(inputs);
        while let Some(input) = inputs.pop_front() {
            let running = self.nodes.get_mut(&node).and_then(|node| node.process.as_mut());
            let Some(running) = running else { return };
            let life_ended = matches!(input, Input::Life(None));
            running.control.handle(now, input);
            let mut outputs = Vec::new();
            while let Some(output) = running.control.poll_output() {
                outputs.push(output);
            }
            if life_ended {
                running.epoch = None;
            }
            for output in outputs {
                inputs.extend(self.carry_out(node, process, output));
            }
            if life_ended && was.is_some() {
                self.at(50, Ev::Register { node, process });
            }
        }
        self.wake_when_due(node, process);
    }

    pub(super) fn wake_when_due(&mut self, node: u64, process: u64) {
        let running = self.nodes.get(&node).and_then(|node| node.process.as_ref());
        let Some(running) = running else { return };
        let due = running.control.poll_timeout().map(|at| self.ms_of(at));
        if due == running.wake && due.is_none_or(|due| due > self.now) {
            return;
        }
        if let Some(process) = self.nodes.get_mut(&node).and_then(|node| node.process.as_mut()) {
            process.wake = due;
        }
        if let Some(due) = due {
            // A deadline that has passed already is taken at once, but not within this step.
            let after = due.saturating_sub(self.now);
            self.at(after, Ev::Wake { node, process });
        }
    }

    pub(super) fn carry_out(&mut self, node: u64, process: u64, output: Output) -> Option<Input> {
        match output {
            Output::Transmit(transmit) => self.transmit(node, transmit),
            Output::Propose { ticket, command, within } => {
                self.propose(node, process, ticket, command, within)
            }
            Output::Media(request) => {
                let key = (node, request.relay.id.to_string());
                let after = self.chance.between(1, 8);
                let last = self.relay_at.get(&key).copied().unwrap_or(0);
                let at = (self.now + after).max(last);
                self.relay_at.insert(key.clone(), at);
                let running = self.nodes[&node].process.as_ref();
                let knows = running.and_then(|p| p.incarnations.get(&key.1)).copied();
                self.at(at - self.now, Ev::Relay { node, process, knows, request });
                None
            }
            Output::LookUp { ticket, user } => {
                let agent = node::look_up(&self.log.machine, &user);
                Some(Input::AgentFound { ticket, agent })
            }
            Output::Note(note) => {
                let now = self.now;
                self.node_mut(node).notes.push((now, note));
                None
            }
        }
    }

    pub(super) fn propose(
        &mut self,
        node: u64,
        process: u64,
        ticket: tandem_callcontrol::io::Ticket,
        command: Command,
        within: Duration,
    ) -> Option<Input> {
        let running = self.nodes.get(&node).and_then(|node| node.process.as_ref());
        let Some(epoch) = running.and_then(|running| running.epoch) else {
            return Some(Input::Proposed { ticket, result: Err(NoOutcome::NotDone) });
        };
        let envelope = self.log.envelope(node, epoch, command);
        let sequence = envelope.sequence;
        if let Some(running) = self.nodes.get_mut(&node).and_then(|node| node.process.as_mut()) {
            running.proposed.insert(sequence, ticket);
        }
        let after = self.chance.between(1, 15) + self.log_slow;
        let proposal = Box::new(Proposal { process, envelope, since: self.now });
        self.at(after, Ev::Leader(proposal));
        let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        self.at(within, Ev::GiveUp { node, process, sequence });
        None
    }
}
