//! Around call control: a node's process starts, dies, freezes; inputs go in and outputs are carried
//! out.

use std::{collections::VecDeque, time::Duration};

use tandem_callcontrol::io::{Input, LegState, NoOutcome, Output};
use tandem_cluster::{command::Command, ids::NodeId};
use tandem_routing::time::{ClusterTime, Millis};

use super::{
    Ev, NodeInput, World,
    log::Log,
    node,
    node::{Asker, Process},
    replica::{Death, Replica},
};

impl World {
    /// Starts a node's process.
    pub fn start_node(&mut self, node: u64) {
        let (prng, now) = (self.chance.fork(), self.now);
        let known = self.node_mut(node);
        assert!(known.process.is_none(), "node {node} runs already");
        known.starts += 1;
        let number = known.starts;
        let (settings, local) = (known.settings.clone(), known.clock.local(now));
        let replica = match Replica::open(&known.disk, local) {
            Ok(replica) => replica,
            Err(why) => return self.wrong(format!("node {node} cannot start: {why}")),
        };
        let process = Process::new(number, settings, prng, replica);
        #[cfg(feature = "planted")]
        let process = process.with_planted(known.disk.planted);
        known.process = Some(process);
        self.tell_of_log(node);
        self.at(20, Ev::Register { node, process: number });
    }

    /// A node's process dies; `witness`: its host attests that at once.
    pub fn crash_node(&mut self, node: u64, witness: bool) {
        let how = Death::Process;
        self.kill_node(node, witness, how);
    }

    /// A node's host loses power: nobody attests it, and what was not synced is gone.
    pub fn cut_power(&mut self, node: u64) {
        self.kill_node(node, false, Death::Power);
    }

    fn kill_node(&mut self, node: u64, witness: bool, how: Death) {
        let Some(process) = self.node_mut(node).process.take() else { return };
        self.node_mut(node).disk.dies(how);
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
        let Some(process) = self.nodes[&node].process.as_ref().map(|process| process.number) else {
            return;
        };
        let after = self.chance.between(1, 12);
        self.at(after, Ev::Node { node, process, input: NodeInput::Plain(Input::Slept) });
    }

    /// A node's machine sleeps for so long: its clock stands, and everything waits at its door.
    pub fn suspend_node(&mut self, node: u64, ms: u64) {
        let now = self.now;
        self.freeze_node(node, ms);
        if let Some(process) = self.node_mut(node).process.as_mut() {
            process.asleep_since = process.asleep_since.or(Some(now));
        }
    }

    /// A node's clock runs so much faster from now on, in parts per million.
    pub fn drift(&mut self, node: u64, ppm: i64) {
        let now = self.now;
        self.node_mut(node).clock.drift(now, ppm);
        self.look_at_clock(node);
    }

    /// A node's clock jumps ahead; a leader notices such a tick and counts nothing that it heard before.
    pub fn jump(&mut self, node: u64, ms: u64) {
        let now = self.now;
        self.node_mut(node).clock.jump(now, ms);
        if self.leader() == Some(node) {
            let local = self.local(node);
            self.heard.values_mut().for_each(|heard| *heard = local);
        }
        self.look_at_clock(node);
    }

    /// Wakes a node when its clock says so now.
    fn look_at_clock(&mut self, node: u64) {
        let Some(process) = self.node_mut(node).process.as_mut() else { return };
        process.wake = None;
        let process = process.number;
        self.wake_when_due(node, process);
    }

    /// A dead node's disk is filled from a snapshot of another one, if that one is further.
    pub fn install_snapshot(&mut self, node: u64, of: u64) {
        let snapshot = self.nodes[&of].disk.snapshot();
        let disk = &mut self.node_mut(node).disk;
        if snapshot.position() > disk.position() {
            *disk = snapshot;
        }
    }

    pub(super) fn thaw(&mut self, node: u64, process: u64) {
        let first = self.chance.per_mille(500);
        let running = self.node_mut(node).process.as_mut();
        let Some(running) = running.filter(|running| running.number == process) else { return };
        running.frozen = false;
        let (waiting, asleep) = (std::mem::take(&mut running.waiting), running.asleep_since.take());
        if let Some(since) = asleep {
            let now = self.now;
            let known = self.node_mut(node);
            known.clock.slept(now, since);
            if let Some(process) = known.process.as_mut() {
                process.sleeps += 1;
            }
            self.input(node, process, NodeInput::Plain(Input::Slept));
        }
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
        let (at, true_time) = (self.instant_of(self.local(node)), self.now);
        let cluster = self.cluster_time(node);
        let now = node::now(at, cluster, true_time);
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
                self.forget_proposals(node);
                self.at(50, Ev::Register { node, process });
            }
        }
        self.wake_when_due(node, process);
    }

    pub(super) fn wake_when_due(&mut self, node: u64, process: u64) {
        let running = self.nodes.get(&node).and_then(|node| node.process.as_ref());
        let Some(running) = running else { return };
        let due = running.control.poll_timeout().map(|at| self.ms_of(at));
        let due = due.map(|local| self.nodes[&node].clock.when(local));
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
                let running = self.nodes[&node].process.as_ref();
                let agent =
                    running.and_then(|running| node::look_up(&running.replica.machine, &user));
                Some(Input::AgentFound { ticket, agent })
            }
            Output::LookUpLeg { ticket, leg } => {
                let running = self.nodes[&node].process.as_ref();
                let state = running.map(|it| LegState::of(&it.replica.machine, NodeId(node), leg));
                state.map(|state| Input::LegFound { ticket, state })
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
        let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        if self.propose_as(node, process, Asker::Control(ticket), command, within).is_some() {
            return None;
        }
        Some(Input::Proposed { ticket, result: Err(NoOutcome::NotDone) })
    }

    /// ClusterTime as a node knows it: of the last entry that it applied, and what passed since.
    pub(super) fn cluster_time(&self, node: u64) -> ClusterTime {
        let running = self.nodes.get(&node).and_then(|node| node.process.as_ref());
        match running.filter(|_| self.consensus.is_some()) {
            Some(running) => {
                let since = self.local(node).saturating_sub(running.replica.applied_at);
                running.replica.machine.now() + Millis(since)
            }
            None => Log::now(self.now),
        }
    }

    /// A life is over: of what it proposed nobody will ever know more.
    fn forget_proposals(&mut self, node: u64) {
        let Some(running) = self.node_mut(node).process.as_mut() else { return };
        let process = running.number;
        let keys: Vec<_> = running.proposed.keys().copied().collect();
        for key in keys {
            self.at(0, Ev::GiveUp { node, process, key });
        }
    }
}
