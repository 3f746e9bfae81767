//! A deterministic world around call control: the real replicated machine behind a log, nodes,
//! scripted user agents, fake relays, leases, and a network with delay, loss and reordering.
//!
//! Time is virtual, in milliseconds. One seed decides everything. The shell's part (proposals, relay
//! clients, feeding of views) follows `tandem_callcontrol::io`'s contract and nothing more.

pub mod center;
pub mod checks;
pub mod clock;
mod follow;
pub mod group;
mod leader;
pub mod log;
mod media;
pub mod net;
pub mod node;
pub mod relays;
pub mod replica;
mod shell;
pub mod text;
pub mod trace;
pub mod ua;
mod wire;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use tandem_callcontrol::io::{Input, MediaRequest};
use tandem_cluster::{
    command::{Envelope, Evidence, Outcome},
    ids::Epoch,
};

use checks::Checks;
use log::Log;
use net::{Chance, Net};
use node::Node;
use relays::Relay;
use ua::Ua;

/// How long a lease runs, in ms.
pub const LEASE: u64 = 1_000;
/// Events within one millisecond: more of them are a loop.
const STEPS_AT_ONCE_MAX: u64 = 10_000;
/// How much longer the leader waits before it declares a silent node lost, in ms.
pub const LEASE_MARGIN: u64 = 100;

/// Something that will happen.
#[derive(Debug)]
enum Ev {
    /// To whoever listens there.
    Datagram {
        from: SocketAddr,
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    /// On a stream, towards the node or the user agent.
    Stream {
        conn: u64,
        to_node: bool,
        bytes: Vec<u8>,
    },
    StreamClosed {
        conn: u64,
        to_node: bool,
    },
    /// An input for a node's process, if that process still runs.
    Node {
        node: u64,
        process: u64,
        input: NodeInput,
    },
    /// A proposal reaches whoever leads.
    Leader(Box<Proposal>),
    /// A proposer heard nothing and asks again.
    Again {
        node: u64,
        process: u64,
        key: ProposalKey,
    },
    /// A proposer waits no longer.
    GiveUp {
        node: u64,
        process: u64,
        key: ProposalKey,
    },
    /// The leader answers a proposer.
    Replied {
        node: u64,
        process: u64,
        key: ProposalKey,
        reply: Replied,
    },
    /// The leader puts what waits into an entry.
    Append {
        term: u64,
    },
    /// A member has the leader's log up to here on its disk.
    Synced {
        member: u64,
        term: u64,
        index: u64,
    },
    /// A node learns that the log is committed up to here, and applies it.
    Learn {
        node: u64,
        process: u64,
        upto: u64,
    },
    /// A node hears that its life is over.
    LeaseRefused {
        node: u64,
        process: u64,
        epoch: Epoch,
    },
    /// A heartbeat for a lease reaches the leader.
    Beat {
        node: u64,
        process: u64,
        epoch: Epoch,
        sent: Beat,
    },
    /// A request reaches a relay, of which its node knew this start when it left.
    Relay {
        node: u64,
        process: u64,
        knows: Option<u64>,
        request: Box<MediaRequest>,
    },
    Lease {
        node: u64,
        process: u64,
        epoch: Epoch,
    },
    Register {
        node: u64,
        process: u64,
    },
    Wake {
        node: u64,
        process: u64,
    },
    UaWake {
        ua: usize,
    },
    RelayUp {
        relay: usize,
    },
    Thaw {
        node: u64,
        process: u64,
    },
    Lost {
        node: u64,
        epoch: Epoch,
    },
    Media,
    Judge,
}

/// What a node's shell is told.
#[derive(Debug)]
pub enum NodeInput {
    /// As it is.
    Plain(Input),
    /// A relay answered; its incarnation.
    Media {
        /// Which relay.
        relay: String,
        /// Which start of it.
        incarnation: u64,
        /// What it answered.
        input: Input,
    },
    /// The leader granted a lease; after how many sleeps of the machine the node had asked for it.
    Lease {
        /// For which life.
        epoch: Epoch,
        /// Until when.
        until: Instant,
        /// Sleeps by then: a lease from before a sleep is worth nothing.
        sleeps: u64,
    },
    /// Time has passed.
    Timeout,
}

/// A proposal on its way.
#[derive(Debug)]
struct Proposal {
    process: u64,
    envelope: Envelope,
    since: u64,
    /// The node that is taken for the leader.
    to: u64,
}

/// When a heartbeat was sent.
#[derive(Debug, Clone, Copy)]
struct Beat {
    /// By the node's clock, in ms.
    local: u64,
    /// Sleeps of its machine before.
    sleeps: u64,
}

/// Names a proposal of a process: the life and the sequence.
type ProposalKey = (Epoch, u64);

/// What a leader, or who was taken for one, answers.
#[derive(Debug)]
enum Replied {
    /// It was applied, and came to this.
    Outcome {
        outcome: Outcome,
        /// By which entry.
        index: u64,
    },
    /// Somebody else leads.
    NotLeader,
}

/// What a world does when an invariant breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnViolation {
    /// It panics: for a test that tells one story.
    Fail,
    /// It keeps the violation for the report of the run.
    Record,
}

/// Everything there is, as one value.
pub struct World {
    /// What happens when an invariant breaks.
    pub on_violation: OnViolation,
    /// A fault on purpose.
    #[cfg(feature = "planted")]
    pub planted: Option<tandem_routing::planted::Planted>,
    /// What decides everything.
    pub seed: u64,
    /// Virtual time, in ms since the beginning.
    pub now: u64,
    base: Instant,
    /// The one source of chance.
    pub chance: Chance,
    /// How datagrams fare.
    pub net: Net,
    /// The log, and the machine that has applied all that is committed.
    pub log: Log,
    /// Nodes by number.
    pub nodes: BTreeMap<u64, Node>,
    /// Callers and phones.
    pub uas: Vec<Ua>,
    /// Relays, in the order of their nodes.
    pub relays: Vec<Relay>,
    /// What is judged after every step.
    pub checks: Checks,
    /// False: nothing is committed.
    pub quorum: bool,
    /// Nodes that cannot reach the others; their callers and phones reach them.
    pub isolated: std::collections::BTreeSet<u64>,
    /// Who cannot send to whom, among nodes: one-way cuts.
    pub cuts: std::collections::BTreeSet<(u64, u64)>,
    /// Further delay of the log, in ms.
    pub log_slow: u64,
    /// Further delay of what nodes are told of the log, in ms.
    pub feed_slow: u64,
    /// How the log behaves: `None` is one that never fails, for tests that tell another story.
    consensus: Option<group::Consensus>,
    /// What applications asked for, and what they heard.
    pub operations: Vec<group::Operation>,
    /// What happened, counted and digested.
    pub trace: trace::Trace,
    /// When the leader last heard of a life, by its own clock.
    heard: BTreeMap<u64, u64>,
    /// Proposals that wait for a quorum.
    stuck: VecDeque<Box<Proposal>>,
    events: BTreeMap<(u64, u64), Ev>,
    next_event: u64,
    conns: BTreeMap<u64, Conn>,
    next_conn: u64,
    ua_wakes: BTreeMap<usize, u64>,
    feed_at: BTreeMap<u64, u64>,
    relay_at: BTreeMap<(u64, String), u64>,
    /// Events processed at this moment.
    steps: u64,
}

#[derive(Debug, Clone, Copy)]
struct Conn {
    node: u64,
    ua: usize,
    open: bool,
}

#[expect(clippy::disallowed_methods, reason = "an Instant has no other beginning")]
fn start() -> Instant {
    Instant::now()
}

/// Where the relay beside a node stands in [`World::relays`].
pub(crate) fn relay_of(node: u64) -> usize {
    usize::try_from(node).map_or(0, |node| node.saturating_sub(1))
}

// --- building -------------------------------------------------------------------------------------

impl World {
    /// Three sites lon, fra, nyc with nodes 1, 2, 3, each with a relay; no queue yet.
    pub fn new(seed: u64, net: Net) -> Self {
        let mut world = Self {
            on_violation: OnViolation::Fail,
            #[cfg(feature = "planted")]
            planted: None,
            seed,
            now: 0,
            base: start(),
            chance: Chance::new(seed),
            net,
            log: Log::new(),
            nodes: BTreeMap::new(),
            uas: Vec::new(),
            relays: Vec::new(),
            checks: Checks::default(),
            quorum: true,
            isolated: Default::default(),
            cuts: Default::default(),
            consensus: None,
            operations: Vec::new(),
            trace: trace::Trace::default(),
            log_slow: 0,
            feed_slow: 0,
            heard: BTreeMap::new(),
            stuck: VecDeque::new(),
            events: BTreeMap::new(),
            next_event: 0,
            conns: BTreeMap::new(),
            next_conn: 1,
            ua_wakes: BTreeMap::new(),
            feed_at: BTreeMap::new(),
            relay_at: BTreeMap::new(),
            steps: 0,
        };
        world.apply(Log::first(1, log::initialise())).expect("an empty cluster is initialised");
        for (node, site) in [(1, "lon"), (2, "fra"), (3, "nyc")] {
            world
                .apply(Log::first(node, log::admission(node, site)))
                .expect("a new node is admitted");
            world.relays.push(Relay::new(log::relay_record(node)));
            world.nodes.insert(node, Node::new(node, site));
            world.start_node(node);
        }
        world.at(500, Ev::Media);
        world.at(100, Ev::Judge);
        world.run(500);
        world
    }

    fn at(&mut self, after: u64, event: Ev) {
        self.next_event += 1;
        self.events.insert((self.now + after, self.next_event), event);
    }

    /// True time as an `Instant`.
    pub fn instant(&self) -> Instant {
        self.base + Duration::from_millis(self.now)
    }

    /// The ms of an instant, the next whole one: of true time, or of the clock that it came from.
    fn ms_of(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.base);
        u64::try_from(since.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
    }

    /// What a node's clock shows now, in ms.
    pub(crate) fn local(&self, node: u64) -> u64 {
        self.nodes.get(&node).map_or(self.now, |node| node.clock.local(self.now))
    }

    /// An instant of a node's clock.
    fn instant_of(&self, local: u64) -> Instant {
        self.base + Duration::from_millis(local)
    }

    /// The user agent of this name, which must have been added.
    pub fn ua(&mut self, name: &str) -> &mut Ua {
        let now = self.now;
        let ua = self.uas.iter_mut().find(|ua| ua.name == name);
        let ua = ua.expect("a user agent that was added");
        ua.now = now;
        ua
    }

    /// The same, to look at.
    pub fn see(&self, name: &str) -> &Ua {
        self.uas.iter().find(|ua| ua.name == name).expect("a user agent that was added")
    }

    /// Adds a user agent with a socket of its own, whose requests go to this node.
    pub fn add_ua(&mut self, name: &str, addr: &str, node: u64) -> usize {
        let proxy = self.nodes[&node].udp;
        let mut ua = Ua::new(name, addr.parse().expect("an address and a port"), proxy);
        ua.now = self.now;
        self.uas.push(ua);
        self.uas.len() - 1
    }

    /// The node with this number, which was built with the world.
    pub(crate) fn node_mut(&mut self, node: u64) -> &mut Node {
        self.nodes.get_mut(&node).expect("a node of this world")
    }

    /// Plants a fault everywhere; what runs already goes on without it until its next start, but for call
    /// control and the machines.
    #[cfg(feature = "planted")]
    pub fn plant(&mut self, planted: Option<tandem_routing::planted::Planted>) {
        self.planted = planted;
        self.log.planted = planted;
        let machine = std::mem::take(&mut self.log.machine);
        self.log.machine = machine.with_planted(planted);
        for node in self.nodes.values_mut() {
            node.disk.planted = planted;
            if let Some(mut process) = node.process.take() {
                let machine = std::mem::take(&mut process.replica.machine);
                process.replica.machine = machine.with_planted(planted);
                node.process = Some(process.with_planted(planted));
            }
        }
    }

    /// Records a violation.
    pub(crate) fn wrong(&mut self, text: String) {
        self.checks.violations.push(text);
    }

    /// The relay beside this node.
    pub fn relay(&mut self, node: u64) -> &mut Relay {
        &mut self.relays[relay_of(node)]
    }

    // --- running --------------------------------------------------------------------------------------

    /// Runs for so many milliseconds.
    pub fn run(&mut self, ms: u64) {
        let until = self.now + ms;
        self.flush_uas();
        while let Some((&(at, _), _)) = self.events.first_key_value() {
            if at > until || !self.checks.violations.is_empty() {
                break;
            }
            self.step();
        }
        self.now = until;
        for ua in &mut self.uas {
            ua.now = until;
        }
    }

    /// Runs until something is true; true when that happened within so many milliseconds.
    pub fn run_until(&mut self, ms: u64, mut done: impl FnMut(&Self) -> bool) -> bool {
        let until = self.now + ms;
        self.flush_uas();
        loop {
            if done(self) {
                return true;
            }
            match self.events.first_key_value() {
                Some((&(at, _), _)) if at <= until && self.checks.violations.is_empty() => {
                    self.step()
                }
                _ => {
                    self.now = until;
                    return done(self);
                }
            }
        }
    }

    /// Runs until something is true, which must happen.
    pub fn expect(&mut self, ms: u64, what: &str, done: impl FnMut(&Self) -> bool) {
        let since = self.now;
        let done = self.run_until(ms, done);
        let (seed, state) = (self.seed, if done { String::new() } else { self.describe() });
        assert!(done, "seed {seed}: not within {ms} ms from {since}: {what}\n{state}");
    }

    /// Takes the next event.
    pub fn step(&mut self) {
        let Some(((at, _), event)) = self.events.pop_first() else { return };
        assert!(at >= self.now);
        self.steps = if at == self.now { self.steps + 1 } else { 0 };
        if self.steps >= STEPS_AT_ONCE_MAX {
            let what: String = format!("{event:?}").chars().take(200).collect();
            self.wrong(format!("S1: no time passes: {what}"));
            self.steps = 0;
        }
        self.now = at;
        self.trace.happened(at, &event);
        self.happen(event);
        self.flush_uas();
        checks::after_step(self);
    }

    fn happen(&mut self, event: Ev) {
        match event {
            Ev::Datagram { from, to, bytes } => self.datagram(from, to, bytes),
            Ev::Stream { conn, to_node, bytes } => self.stream(conn, to_node, bytes),
            Ev::StreamClosed { conn, to_node } => self.stream_closed(conn, to_node),
            Ev::Node { node, process, input } => self.input(node, process, input),
            Ev::Leader(proposal) => self.reach_leader(proposal),
            Ev::GiveUp { node, process, key } => self.give_up(node, process, key),
            Ev::Again { node, process, key } => self.send_proposal(node, process, key),
            Ev::Replied { node, process, key, reply } => self.replied(node, process, key, reply),
            Ev::Append { term } => self.append(term),
            Ev::Synced { member, term, index } => self.synced(member, term, index),
            Ev::Learn { node, process, upto } => self.learn(node, process, upto),
            Ev::Beat { node, process, epoch, sent } => self.beat(node, process, epoch, sent),
            Ev::Relay { node, process, knows, request } => {
                self.reach_relay(node, process, knows, *request);
            }
            Ev::Lease { node, process, epoch } => self.renew(node, process, epoch),
            Ev::LeaseRefused { node, process, epoch } => {
                self.lease_refused(node, process, epoch);
            }
            Ev::Register { node, process } => self.register(node, process),
            Ev::Wake { node, process } => {
                let due = self.nodes.get(&node).and_then(|n| n.process.as_ref());
                let due = due.filter(|p| p.number == process).and_then(|p| p.wake);
                if due.is_some_and(|due| due <= self.now) {
                    self.trace.fired();
                    self.input(node, process, NodeInput::Timeout);
                }
            }
            Ev::UaWake { ua } => {
                self.ua_wakes.remove(&ua);
                self.trace.fired();
                let now = self.now;
                self.uas[ua].time_passed(now);
            }
            Ev::RelayUp { relay } => self.relay_up(relay),
            Ev::Thaw { node, process } => self.thaw(node, process),
            Ev::Lost { node, epoch } => self.declare_lost(node, epoch, Evidence::Witness),
            Ev::Media => self.media_tick(),
            Ev::Judge => self.judge(),
        }
    }
}
