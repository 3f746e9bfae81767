//! A node follows the log: its own copy applies what is committed, at its own pace, and what changed is
//! told to its call control from that copy, never from what is true elsewhere.

use tandem_callcontrol::io::Input;
use tandem_cluster::{
    command::Command,
    ids::{Epoch, LegId, NodeId},
    leg::Owner,
    machine::Effect,
};

use super::{Ev, NodeInput, World, node::Asker};

/// A frozen node looks again after so long, in ms.
const FROZEN_RETRY: u64 = 50;

impl World {
    /// A node learns that the log is committed up to an index.
    pub(super) fn learn(&mut self, node: u64, process: u64, upto: u64) {
        let Some(running) = self.nodes.get(&node).and_then(|node| node.process.as_ref()) else {
            return;
        };
        if running.number != process || running.replica.applied >= upto {
            return;
        }
        if running.frozen {
            return self.at(FROZEN_RETRY, Ev::Learn { node, process, upto });
        }
        if !self.hears_of_log(node) {
            // What it misses comes when it is reached again.
            return;
        }
        while self.apply_next(node, process, upto) {}
        self.begin_life(node);
    }

    /// Applies one more entry; false when there is nothing more to do.
    fn apply_next(&mut self, node: u64, process: u64, upto: u64) -> bool {
        let local = self.local(node);
        let Some(known) = self.nodes.get_mut(&node) else { return false };
        let Some(running) = known.process.as_mut().filter(|p| p.number == process) else {
            return false;
        };
        let index = running.replica.applied + 1;
        if index > upto {
            return false;
        }
        let Some((entry, digest)) = self.log.entry(index) else { return false };
        self.trace.applied(node, index, digest.0);
        let applied = match running.replica.apply(entry.as_deref(), local, &mut known.disk) {
            Ok(applied) => applied,
            Err(why) => {
                self.checks.violations.push(format!("node {node} cannot apply {index}: {why}"));
                return false;
            }
        };
        let (ours, theirs) = (running.replica.machine.digest(), *digest);
        if ours != theirs {
            let text = format!("R7: node {node} has {ours:?} after entry {index}, not {theirs:?}");
            self.checks.violations.push(text);
            return false;
        }
        for effect in applied.effects {
            self.take_effect(node, process, effect);
        }
        self.watch_site(node, process);
        true
    }

    fn take_effect(&mut self, node: u64, process: u64, effect: Effect) {
        match effect {
            Effect::LegChanged(leg) => self.show_leg(node, process, leg),
            Effect::LifeEnded { node: whose, epoch } if whose == NodeId(node) => {
                let running = self.nodes[&node].process.as_ref();
                if running.is_some_and(|running| running.epoch == Some(epoch)) {
                    self.input(node, process, NodeInput::Plain(Input::Life(None)));
                }
            }
            Effect::DigestDue { index, digest } => {
                if self.consensus.is_some() {
                    let command = Command::ReportDigest { index, digest };
                    self.propose_as(node, process, Asker::Shell, command, 5_000);
                }
            }
            Effect::Diverged { node: whose, index } => {
                self.wrong(format!("R7: {whose:?} was condemned after entry {index}"));
            }
            Effect::LifeEnded { .. } | Effect::Bug { .. } => {}
        }
    }

    /// Shows call control a leg as the node's own copy has it.
    fn show_leg(&mut self, node: u64, process: u64, leg: LegId) {
        let running = self.nodes[&node].process.as_ref();
        let Some(running) = running.filter(|running| running.number == process) else { return };
        let view = running.replica.machine.view(leg).map(Box::new);
        self.input(node, process, NodeInput::Plain(Input::LegChanged { leg, view }));
    }

    /// Tells call control when its site opens or closes.
    fn watch_site(&mut self, node: u64, process: u64) {
        let Some(known) = self.nodes.get_mut(&node) else { return };
        let Some(running) = known.process.as_mut() else { return };
        let site = running.replica.machine.queue().site_named(&known.settings.site);
        let Some(state) = site.map(|site| site.state) else { return };
        if running.site.replace(state).is_some_and(|before| before != state) {
            self.input(node, process, NodeInput::Plain(Input::Site(state)));
        }
    }

    /// A granted life begins when the node's own copy has its entry.
    pub(super) fn begin_life(&mut self, node: u64) {
        let Some(running) = self.node_mut(node).process.as_mut() else { return };
        let Some((index, grant)) = running.granted else { return };
        if running.replica.applied < index || running.frozen {
            return;
        }
        running.granted = None;
        if running.epoch >= Some(grant.epoch) {
            return;
        }
        let row = running.replica.machine.nodes().get(&NodeId(node));
        if row.is_none_or(|row| row.epoch != grant.epoch || !row.is_up()) {
            // It ended before it was known here: the node asks for the next one.
            let process = running.number;
            return self.at(50, Ev::Register { node, process });
        }
        let process = running.number;
        running.epoch = Some(grant.epoch);
        running.last_life = grant.epoch;
        self.at(1, Ev::Lease { node, process, epoch: grant.epoch });
        self.input(node, process, NodeInput::Plain(Input::Life(Some(grant))));
        for leg in self.owned_by(node, grant.epoch) {
            self.show_leg(node, process, leg);
        }
    }

    fn owned_by(&self, node: u64, epoch: Epoch) -> Vec<LegId> {
        let owner = Owner { node: NodeId(node), epoch };
        let running = self.nodes[&node].process.as_ref();
        running
            .map(|running| running.replica.machine.legs_owned_by(owner).map(|leg| leg.id).collect())
            .unwrap_or_default()
    }

    /// True while news of commits reach a node.
    fn hears_of_log(&self, node: u64) -> bool {
        match self.consensus.as_ref().and_then(|consensus| consensus.group.leader()) {
            Some(leader) => self.reaches(leader, node),
            None => !self.isolated.contains(&node),
        }
    }
}
