//! The one task that owns call control: it waits for whatever comes first, feeds it in, and carries
//! out what comes out.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use tandem_callcontrol::{
    CallControl,
    io::{AgentEntry, Grant, Input, LegState, MediaReply, NoOutcome, Now, Output, Ticket},
    settings::Settings,
};
use tandem_cluster::{ids::LegId, leg::Owner, machine::Machine};
use tandem_routing::{entity::SiteState, name::Name};
use tandem_sip::{
    auth::WallSeconds,
    prng::Prng,
    transaction::{Transmit, Transport},
};
use tokio::sync::mpsc;

use super::{INBOX_MAX, Inbox, Sockets, notes::Notes, relays::Relays};
use crate::{
    cluster::{
        awake::Moment,
        core::Core,
        life::{self, LEG_IDS},
        observer::ChangedLegs,
        proposer::ProposeError,
    },
    phones,
};

/// Inputs that are taken from the inbox before clocks and the log are looked at again.
const INPUTS_PER_TURN: usize = 64;

/// See the module.
#[derive(Debug)]
pub struct Driver {
    control: CallControl,
    core: Arc<Core>,
    site: Name,
    sockets: Sockets,
    relays: Relays,
    inbox: Inbox,
    inputs: mpsc::Receiver<Input>,
    /// The current life, as call control knows it.
    life: Option<Owner>,
    /// Legs of this life that call control was told about.
    told: BTreeSet<LegId>,
    site_state: Option<SiteState>,
    notes: Notes,
    /// When call control was last given something.
    last_turn: Moment,
}

impl Driver {
    /// A driver over open sockets; nothing is received yet.
    #[must_use]
    pub fn new(core: Arc<Core>, settings: Settings, sockets: Sockets) -> Self {
        let (inbox, inputs) = mpsc::channel(INBOX_MAX);
        let prng = Prng::from_seed(crate::entropy::random_bytes());
        let relays = Relays::new(
            core.member.node,
            core.peers.clone(),
            Arc::clone(&core.clock),
            inbox.clone(),
        );
        Self {
            site: settings.site.clone(),
            control: CallControl::new(settings, prng),
            core,
            sockets,
            relays,
            inbox,
            inputs,
            life: None,
            told: BTreeSet::new(),
            site_state: None,
            notes: Notes::default(),
            last_turn: Moment::now(),
        }
    }

    /// Serves until the process ends.
    pub async fn run(mut self, mut lives: life::LifeWatch) {
        self.sockets.udp.start(&self.inbox);
        self.sockets.tcp.start(&self.inbox);
        let observed = Arc::clone(&self.core.observed);
        let mut leases = self.core.lease.subscribe();
        let mut applied = observed.applied.subscribe();
        let mut inputs = Vec::with_capacity(INPUTS_PER_TURN);
        lives.mark_changed();
        loop {
            let wake = self.control.poll_timeout().map(tokio::time::Instant::from_std);
            tokio::select! {
                Ok(()) = lives.changed() => {
                    let grant = *lives.borrow_and_update();
                    self.life_changed(grant);
                }
                Ok(()) = leases.changed() => self.lease_renewed(),
                () = observed.legs.notified() => {
                    let changed = observed.take_legs();
                    self.legs_changed(&changed);
                }
                Ok(()) = applied.changed() => self.site_changed(),
                () = sleep_until(wake) => self.feed(Input::Timeout),
                count = self.inputs.recv_many(&mut inputs, INPUTS_PER_TURN) => {
                    if count == 0 {
                        return;
                    }
                    for input in inputs.drain(..) {
                        self.feed(input);
                    }
                }
            }
        }
    }

    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            instant: Instant::now(),
            cluster: self.core.clock.now(),
            wall: WallSeconds(wall.as_secs()),
        }
    }

    /// Call control counts by `Instant`, which stands still while the machine sleeps: after a sleep
    /// its lease is over until the quorum is heard again.
    fn notice_sleep(&mut self) {
        let now = Moment::now();
        if now.has_slept_since(self.last_turn) {
            tracing::warn!(slept = ?(now.slept - self.last_turn.slept), "this machine slept");
            self.control.handle(self.now(), Input::Slept);
            // A lease that was asked for since it woke up counts.
            if let Some(lease) = self.core.lease.current().filter(|lease| lease.is_valid(now)) {
                let until = lease.until.instant;
                self.control.handle(self.now(), Input::Lease { epoch: lease.epoch, until });
            }
        }
        self.last_turn = now;
    }

    fn feed(&mut self, input: Input) {
        self.notice_sleep();
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.control.handle(self.now(), input);
            while let Some(output) = self.control.poll_output() {
                inputs.extend(self.carry_out(output));
            }
        }
    }

    // --- the log ------------------------------------------------------------------------------------

    fn life_changed(&mut self, grant: Option<life::Grant>) {
        let node = self.core.member.node;
        self.life = grant.map(|grant| Owner { node, epoch: grant.epoch });
        self.told.clear();
        self.feed(Input::Life(grant.map(|grant| Grant {
            epoch: grant.epoch,
            first_leg: grant.first_leg,
            leg_ids: LEG_IDS,
        })));
        self.legs_changed(&ChangedLegs { all: true, legs: BTreeSet::new() });
        self.lease_renewed();
        self.site_changed();
    }

    fn lease_renewed(&mut self) {
        if let Some(lease) = self.core.lease.current().filter(|it| it.is_valid(Moment::now())) {
            self.feed(Input::Lease { epoch: lease.epoch, until: lease.until.instant });
        }
    }

    fn legs_changed(&mut self, changed: &ChangedLegs) {
        let Some(owner) = self.life else { return };
        let told = &self.told;
        let views = self.core.store.read(|replica, _| {
            let machine = &replica.0;
            let mut ids: BTreeSet<LegId> = changed.legs.clone();
            if changed.all {
                ids.extend(machine.legs_owned_by(owner).map(|leg| leg.id));
                ids.extend(told);
            }
            // Another node's legs are none of ours, unless they were.
            ids.retain(|id| told.contains(id) || is_owned(machine, *id, owner));
            ids.into_iter().map(|id| (id, machine.view(id))).collect::<Vec<_>>()
        });
        for (leg, view) in views {
            if view.as_ref().is_some_and(|view| view.leg.owner == owner) {
                self.told.insert(leg);
            } else {
                self.told.remove(&leg);
            }
            self.feed(Input::LegChanged { leg, view: view.map(Box::new) });
        }
    }

    fn site_changed(&mut self) {
        let state = self
            .core
            .store
            .read(|replica, _| replica.0.queue().site_named(&self.site).map(|site| site.state));
        if state != self.site_state {
            self.site_state = state;
            if let Some(state) = state {
                self.feed(Input::Site(state));
            }
        }
    }

    // --- outputs ------------------------------------------------------------------------------------

    /// Carries an output out; returns what is known of it at once.
    fn carry_out(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Transmit(transmit) => self.transmit(transmit),
            Output::Propose { ticket, command, within } => {
                let (core, inbox) = (Arc::clone(&self.core), self.inbox.clone());
                tokio::spawn(async move {
                    let result = core.propose(command, within).await.map_err(no_outcome);
                    inbox.send(Input::Proposed { ticket, result }).await.ok();
                });
                None
            }
            Output::Media(request) => {
                let asked = self.relays.ask(*request);
                let reply = MediaReply::Unreachable;
                asked.err().map(|ticket| Input::Media { ticket, reply })
            }
            Output::LookUp { ticket, user } => Some(self.look_up(ticket, &user)),
            Output::LookUpLeg { ticket, leg } => {
                let node = self.core.member.node;
                let state = self.core.store.read(|replica, _| LegState::of(&replica.0, node, leg));
                Some(Input::LegFound { ticket, state })
            }
            Output::Note(note) => {
                self.notes.log(&note);
                None
            }
        }
    }

    fn transmit(&self, transmit: Transmit) -> Option<Input> {
        let transaction = transmit.transaction;
        let sent = match transmit.flow.transport {
            Transport::Udp => {
                let sent = self.sockets.udp.send(&transmit.flow, &transmit.bytes);
                sent.map_err(|error| tracing::debug!(%error, "a datagram was not sent"))
            }
            Transport::Tcp => {
                let sent = self.sockets.tcp.send(transmit, &self.inbox);
                sent.map_err(|_| tracing::debug!("a message was not sent over TCP"))
            }
            Transport::Tls => {
                tracing::debug!("a message was not sent: SIP over TLS is not served");
                Err(())
            }
        };
        sent.err().and(transaction).map(Input::TransmitFailed)
    }

    fn look_up(&self, ticket: Ticket, user: &Name) -> Input {
        let agent = self.core.store.read(|replica, _| {
            let machine = &replica.0;
            let agent = phones::agent_of(machine.queue(), user)?;
            Some(Box::new(AgentEntry {
                agent: agent.id,
                tenant: agent.tenant,
                credential: machine.credentials().get(&agent.id).cloned(),
                bindings: machine.bindings_of(agent.id).into_iter().cloned().collect(),
            }))
        });
        Input::AgentFound { ticket, agent }
    }
}

fn is_owned(machine: &Machine, leg: LegId, owner: Owner) -> bool {
    machine.legs().get(&leg).is_some_and(|leg| leg.owner == owner)
}

fn no_outcome(error: ProposeError) -> NoOutcome {
    match error {
        ProposeError::Unknown => NoOutcome::Unknown,
        ProposeError::NotDone
        | ProposeError::Overloaded
        | ProposeError::TooLarge
        | ProposeError::NoLife => NoOutcome::NotDone,
    }
}

async fn sleep_until(wake: Option<tokio::time::Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
