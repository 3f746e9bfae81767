//! A small contact center in the world: one queue, a number, agents with phones, callers.

use std::collections::BTreeMap;

use tandem_cluster::{
    binding::PhoneTarget,
    command::Command,
    ids::{AgentId, NodeId},
    leg::{Leg, LegRole, Owner, Transport},
};
use tandem_routing::{
    command::{AgentSpec, Command as QueueCommand, NumberSpec, QueueSpec, Readiness},
    entity::{ContactState, SiteState},
    time::Millis,
};

use super::{
    World,
    log::{TENANT, binding, name},
    net::Net,
};

/// What callers dial.
pub const NUMBER: &str = "100";

impl World {
    /// Three nodes, one queue, no agents.
    pub fn center(seed: u64, net: Net) -> Self {
        let mut world = Self::new(seed, net);
        world.put_queue(QueueSpec { wrap_up: Millis(0), ..QueueSpec::named(name("sales")) });
        let number = NumberSpec {
            number: name(NUMBER),
            queue: name("sales"),
            requirement: "anybody".parse().expect("a literal requirement"),
            priority: 0,
        };
        world
            .queue(QueueCommand::PutNumber { tenant: TENANT, number })
            .expect("the machine takes it");
        world
    }

    /// Gives all nodes a session timer, by starting them anew.
    pub fn with_session_timers(&mut self, interval_s: u32) {
        for node in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.crash_node(node, true);
            self.node_mut(node).with_session_timer(interval_s);
            self.run(100);
            self.start_node(node);
            self.run(500);
        }
    }

    /// Creates or changes a queue.
    pub fn put_queue(&mut self, queue: QueueSpec) {
        self.queue(QueueCommand::PutQueue { tenant: TENANT, queue }).expect("the machine takes it");
    }

    /// Opens, drains or closes a site.
    pub fn set_site(&mut self, site: &str, state: SiteState) {
        self.queue(QueueCommand::SetSiteState { site: name(site), state })
            .expect("the machine takes it");
    }

    /// An agent at the site of a node, logged in and ready, whose phone has registered there.
    pub fn add_agent(&mut self, agent: &str, node: u64) {
        let site = self.nodes[&node].settings.site.clone();
        let spec = AgentSpec {
            name: name(agent),
            site,
            skills: BTreeMap::new(),
            queues: [name("sales")].into(),
        };
        self.queue(QueueCommand::PutAgent { tenant: TENANT, agent: spec })
            .expect("the machine takes it");
        let number = self.uas.len() + 1;
        let addr = format!("192.0.2.{number}:5060");
        self.add_ua(agent, &addr, node);
        self.bind_phone(agent, node);
        let as_state = Readiness::Ready;
        self.queue(QueueCommand::LogIn { tenant: TENANT, agent: name(agent), as_state })
            .expect("the machine takes it");
    }

    /// The phone of an agent is bound at a node, as if it had registered there.
    pub fn bind_phone(&mut self, agent: &str, node: u64) {
        let phone = self.see(agent);
        let (contact_uri, source) = (phone.contact(), phone.addr.to_string());
        let row = self.log.machine.nodes().get(&NodeId(node)).expect("an admitted node");
        let edge = Owner { node: row.id, epoch: row.epoch };
        let transport = if phone.tcp { Transport::Tcp } else { Transport::Udp };
        let target = PhoneTarget { contact_uri, transport, source, edge };
        let put = binding(self.agent_id(agent), target);
        let envelope = self.log.envelope(node, edge.epoch, put);
        self.apply(envelope).expect("the machine takes it");
        self.ua(agent).proxy = self.nodes[&node].udp;
    }

    /// Takes all bindings of an agent's phone back.
    pub fn unbind_phone(&mut self, agent: &str) {
        let (agent, contact_uri) = (self.agent_id(agent), String::new());
        self.command(Command::RemoveBinding { tenant: TENANT, agent, contact_uri })
            .expect("the machine takes it");
    }

    /// A caller on the trunk of a node.
    pub fn add_caller(&mut self, caller: &str, node: u64) {
        let number = self.uas.len() + 1;
        let addr = format!("198.51.100.{number}:5060");
        self.add_ua(caller, &addr, node);
    }

    /// The id of an agent that was added.
    pub fn agent_id(&self, agent: &str) -> AgentId {
        self.log
            .machine
            .queue()
            .agent_named(TENANT, &name(agent))
            .expect("an agent that was put")
            .id
    }

    // --- what the log says --------------------------------------------------------------------------

    /// The caller's leg of the call that this user agent has.
    pub fn caller_leg(&self, caller: &str) -> Option<&Leg> {
        let call = self.see(caller).calls.last()?;
        self.log.machine.legs().iter().find(|leg| {
            leg.dialog.as_ref().is_some_and(|dialog| dialog.call_id == call.call_id)
                && leg.role == LegRole::Caller
        })
    }

    /// Conversations in the log.
    pub fn connected(&self) -> usize {
        let contacts = self.log.machine.queue().contacts().iter();
        contacts.filter(|row| matches!(row.state, ContactState::Connected { .. })).count()
    }

    /// Legs in the log.
    pub fn legs(&self) -> usize {
        self.log.machine.legs().len()
    }

    /// Notes of a node that fit.
    pub fn noted(&self, node: u64, fits: impl Fn(&tandem_callcontrol::io::Note) -> bool) -> usize {
        self.nodes[&node].notes.iter().filter(|(_, note)| fits(note)).count()
    }

    /// All that there is to see, for a failing test.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for leg in self.log.machine.legs().iter() {
            let (id, owner, epoch) = (leg.id, leg.owner, leg.epoch);
            let (control, phase, role) = (leg.control, &leg.phase, leg.role);
            text.push_str(&format!(
                "log: {id} {role:?} {owner:?} {epoch:?} {control:?} {phase:?}\n"
            ));
        }
        for contact in self.log.machine.queue().contacts().iter() {
            text.push_str(&format!("log: {} {:?}\n", contact.id, contact.state));
        }
        text.push_str(&format!("leader {:?}, entry {}\n", self.leader(), self.log.index));
        for row in self.log.machine.nodes().iter() {
            let (id, life, epoch, boot) = (row.id, row.life, row.epoch, row.boot);
            text.push_str(&format!("log: {id} {life:?} {epoch} {boot:?}\n"));
        }
        for (id, node) in &self.nodes {
            let process = node.process.as_ref();
            let at = process.map(|p| (p.number, p.epoch, p.replica.applied, p.frozen));
            text.push_str(&format!("node {id}: {at:?}, its clock {} ms\n", self.local(*id)));
            let load = node.process.as_ref().map(|process| process.control.load());
            text.push_str(&format!("node {id}: {load:?}\n"));
            let from = node.notes.len().saturating_sub(12);
            for (at, note) in &node.notes[from..] {
                text.push_str(&format!("  {at} {note:?}\n"));
            }
        }
        for relay in &self.relays {
            let sessions: Vec<String> = relay.sessions.keys().map(ToString::to_string).collect();
            text.push_str(&format!("{}: up {} {sessions:?}\n", relay.record.id, relay.up));
        }
        for ua in &self.uas {
            text.push_str(&format!("{} alive {}:\n", ua.name, ua.alive));
            for call in &ua.calls {
                let (state, status, ended) = (call.state, call.status, call.ended);
                text.push_str(&format!("  {} {state:?} {status:?} {ended:?}\n", call.call_id));
            }
            let from = ua.heard.len().saturating_sub(10);
            for (at, line) in &ua.heard[from..] {
                text.push_str(&format!("    {at} {line}\n"));
            }
        }
        text
    }
}
