//! Requests to relays, their deaths, and what they tell nodes.

use std::net::SocketAddr;

use tandem_callcontrol::io::{Input, MediaEvent, MediaOperation, MediaReply, MediaRequest};
use tandem_cluster::ids::LegId;

use super::{Ev, NodeInput, World, relay_of};

impl World {
    pub(super) fn reach_relay(
        &mut self,
        node: u64,
        process: u64,
        knows: Option<u64>,
        request: MediaRequest,
    ) {
        let index = self.relays.iter().position(|relay| relay.record.id == request.relay.id);
        let index = index.expect("a known relay");
        let (now, ticket) = (self.now, request.ticket);
        let isolated = self.isolated.contains(&node) && index != relay_of(node);
        let relay = &mut self.relays[index];
        let (slow, cut) = (relay.slow, isolated || relay.cut_from.contains(&node));
        if !relay.up || cut {
            let after = if cut { 500 } else { 20 };
            let input = Input::Media { ticket, reply: MediaReply::Unreachable };
            return self.at(after, Ev::Node { node, process, input: NodeInput::Plain(input) });
        }
        let (reply, stream) = relay.carry_out(now, (node, process), &request.what);
        let (name, incarnation) = (relay.record.id.to_string(), relay.incarnation);
        if let (Some(used), MediaOperation::Put(spec)) = (stream, &request.what) {
            let judged = knows == Some(incarnation);
            let process = (name.as_str(), incarnation);
            self.checks.stream_used(used, process, spec.epoch, judged);
        }
        let after = self.chance.between(1, 8) + slow;
        let input =
            NodeInput::Media { relay: name, incarnation, input: Input::Media { ticket, reply } };
        self.at(after, Ev::Node { node, process, input });
    }

    /// A relay dies and comes back as another process so many ms later.
    pub fn crash_relay(&mut self, node: u64, back_after: u64) {
        let relay = relay_of(node);
        self.relays[relay].crash();
        self.at(back_after, Ev::RelayUp { relay });
    }

    /// A relay that died for good, with its host.
    pub fn kill_relay(&mut self, node: u64) {
        self.relay(node).crash();
    }

    /// Nodes that could not reach a relay can again.
    pub fn uncut_relay(&mut self, node: u64) {
        let index = relay_of(node);
        self.relays[index].cut_from.clear();
        if self.relays[index].up {
            self.relay_up(index);
        }
    }

    /// Every node that listens to the relay hears which start of it this is.
    pub(super) fn relay_up(&mut self, index: usize) {
        self.relays[index].up = true;
        let relay = &self.relays[index];
        let (name, incarnation) = (relay.record.id.to_string(), relay.incarnation);
        for node in self.nodes.keys().copied().collect::<Vec<_>>() {
            let cut = self.relays[index].cut_from.contains(&node);
            let Some(process) = self.nodes[&node].process.as_ref() else { continue };
            if cut || !process.incarnations.contains_key(&name) {
                continue;
            }
            let (number, after) = (process.number, self.chance.between(20, 120));
            let relay = name.clone();
            let input = NodeInput::Media { relay, incarnation, input: Input::Timeout };
            self.at(after, Ev::Node { node, process: number, input });
        }
    }

    pub(super) fn media_tick(&mut self) {
        self.at(500, Ev::Media);
        let now = self.now;
        let mut events: Vec<(u64, LegId, tandem_cluster::ids::LegEpoch, MediaEvent)> = Vec::new();
        let senders: Vec<(SocketAddr, Vec<SocketAddr>)> =
            self.uas.iter().map(|ua| (ua.rtp, ua.sends_to())).collect();
        let nodes = self.nodes.values().filter_map(|node| Some((node.id, node.process.as_ref()?)));
        let running: Vec<(u64, u64)> = nodes.map(|(id, process)| (id, process.number)).collect();
        for relay in self.relays.iter_mut().filter(|relay| relay.up) {
            let cut = relay.cut_from.clone();
            let flows =
                |remote, at| senders.iter().any(|(rtp, to)| *rtp == remote && to.contains(&at));
            let seen = relay.judge_flows(now, flows, |owner| running.contains(&owner));
            events.extend(seen.into_iter().filter(|(node, ..)| !cut.contains(node)));
        }
        for (node, leg, epoch, event) in events {
            let process = self.nodes.get(&node).and_then(|node| node.process.as_ref());
            let Some(process) = process.map(|process| process.number) else { continue };
            let input = NodeInput::Plain(Input::MediaEvent { leg, epoch, event });
            let after = self.chance.between(1, 10);
            self.at(after, Ev::Node { node, process, input });
        }
    }
}
