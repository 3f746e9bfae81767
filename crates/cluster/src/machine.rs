//! The one replicated machine: the queue, legs, bindings, nodes and what makes commands apply once.
//!
//! [`Machine::apply`] takes one log entry. It cannot wait, read a clock or draw a number. Each
//! command of an entry applies alone: it is checked before it changes anything, and a panic inside
//! it is caught, undone and recorded as [`Rejection::Bug`] on every node alike
//! (`docs/adr/0005-containment-of-a-panicking-command.md`). What commands do is in `apply/`; what makes
//! them apply once, in `once`.

use std::{
    collections::BTreeSet,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use tandem_routing::{
    command::Event,
    digest::Digest,
    state::State as Queue,
    table::{RowChange, RowError, Table, TableTag, row_key, table_byte},
    time::ClusterTime,
};

use crate::{
    binding::{Binding, Credential},
    command::{Batch, BatchError, Command, Envelope, Outcome, Rejection, Reply, encode_outcome},
    configuration::ConfigurationVersion,
    feed::{Draft, FEED_SINCE, FeedHead},
    history::EndedContact,
    ids::{Epoch, GroupId, LegId, NodeId},
    index::Index,
    leg::Leg,
    limits::{DIGEST_EVERY, TAKEOVER_WORK_MAX},
    node::{Checkpoint, Header, IdempotencyRow, Node, ReplyRow, Window},
    once::Admission,
};

/// The machine version that this program writes and fully supports.
pub const MACHINE_VERSION: u16 = 2;

/// What one entry came to.
#[derive(Debug, Default)]
pub struct Applied {
    /// One encoded [`Outcome`] per command, in order.
    pub outcomes: Vec<Vec<u8>>,
    /// Rows to write.
    pub changes: Vec<RowChange>,
    /// Rows to append to the history.
    pub history: Vec<RowChange>,
    /// What the shells may have to act on.
    pub effects: Vec<Effect>,
    /// What happened in the queue, in order.
    pub events: Vec<Event>,
    /// The same for consumers: rows of the feed, to append to the history.
    pub feed: Vec<RowChange>,
}

/// Something a shell may have to act on. Repeatable: the state says what should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A leg's row or its goal changed, or the row is gone.
    LegChanged(LegId),
    /// A life ended: that process must stop acting for what it owned, and register anew.
    LifeEnded {
        /// Whose.
        node: NodeId,
        /// Which life.
        epoch: Epoch,
    },
    /// The node should report this digest.
    DigestDue {
        /// After which entry.
        index: u64,
        /// The digest.
        digest: Digest,
    },
    /// A node's digest differed from the majority's: it must leave service.
    Diverged {
        /// Which node.
        node: NodeId,
        /// After which entry.
        index: u64,
    },
    /// A command panicked and was undone: an alarm.
    Bug {
        /// The ordinal of the command.
        incident: u64,
        /// What the panic said.
        message: String,
    },
}

/// Sees a command before it is applied.
pub type CommandHook = Box<dyn Fn(&Command) + Send + Sync>;
/// Changes the queue after the entry of this index.
pub type TamperHook = Box<dyn Fn(u64, &mut Queue) + Send + Sync>;

/// Places where tests plant faults. All empty in production.
#[derive(Default)]
pub struct Hooks {
    /// Runs inside each command, before it; may panic.
    pub before_command: Option<CommandHook>,
    /// Runs after each entry and may change the queue's state behind the log's back.
    pub tamper: Option<TamperHook>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = (self.before_command.is_some(), self.tamper.is_some());
        write!(f, "Hooks{set:?}")
    }
}

/// The replicated machine as a value.
#[derive(Debug, Default)]
pub struct Machine {
    pub(crate) group: GroupId,
    pub(crate) queue: Queue,
    header: Table<Header>,
    pub(crate) nodes: Table<Node>,
    pub(crate) windows: Table<Window>,
    pub(crate) replies: Table<ReplyRow>,
    pub(crate) idempotency: Table<IdempotencyRow>,
    pub(crate) checkpoints: Table<Checkpoint>,
    pub(crate) legs: Table<Leg>,
    pub(crate) bindings: Table<Binding>,
    pub(crate) credentials: Table<Credential>,
    pub(crate) configuration: Table<ConfigurationVersion>,
    pub(crate) feed_head: Table<FeedHead>,
    pub(crate) index: Index,
    digest: Digest,
    /// Steps of takeover that the running entry may still do.
    pub(crate) takeover_left: usize,
    pub(crate) effects: Vec<Effect>,
    pub(crate) history: Vec<EndedContact>,
    /// Records of the feed that the running entry has made.
    pub(crate) feed: Draft,
    /// Where those of the running command are made.
    pub(crate) feed_spare: Draft,
    hooks: Hooks,
}

macro_rules! each_table {
    ($machine:expr, |$table:ident| $body:expr) => {{
        {
            let $table = &mut $machine.header;
            $body;
        }
        {
            let $table = &mut $machine.nodes;
            $body;
        }
        {
            let $table = &mut $machine.windows;
            $body;
        }
        {
            let $table = &mut $machine.replies;
            $body;
        }
        {
            let $table = &mut $machine.idempotency;
            $body;
        }
        {
            let $table = &mut $machine.checkpoints;
            $body;
        }
        {
            let $table = &mut $machine.legs;
            $body;
        }
        {
            let $table = &mut $machine.bindings;
            $body;
        }
        {
            let $table = &mut $machine.credentials;
            $body;
        }
        {
            let $table = &mut $machine.configuration;
            $body;
        }
        {
            let $table = &mut $machine.feed_head;
            $body;
        }
    }};
}

// --- reading ------------------------------------------------------------------------------------

impl Machine {
    /// An empty machine of this group.
    #[must_use]
    pub fn new(group: GroupId) -> Self {
        Self { group, ..Self::default() }
    }

    /// Plants faults, for tests.
    #[must_use]
    pub fn with_hooks(mut self, hooks: Hooks) -> Self {
        self.hooks = hooks;
        self
    }

    /// Plants a fault, here and in the queue.
    #[cfg(feature = "planted")]
    #[must_use]
    pub fn with_planted(mut self, planted: Option<tandem_routing::planted::Planted>) -> Self {
        self.queue.planted = planted;
        self
    }

    /// Which group this is.
    #[must_use]
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// The queue's state.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Facts about the cluster.
    #[must_use]
    pub fn header(&self) -> Header {
        self.header.get(&()).cloned().unwrap_or_default()
    }

    /// All nodes ever admitted, also those that were removed ([`Node::is_member`]).
    #[must_use]
    pub fn nodes(&self) -> &Table<Node> {
        &self.nodes
    }

    /// All live legs.
    #[must_use]
    pub fn legs(&self) -> &Table<Leg> {
        &self.legs
    }

    /// All bindings.
    #[must_use]
    pub fn bindings(&self) -> &Table<Binding> {
        &self.bindings
    }

    /// All credentials.
    #[must_use]
    pub fn credentials(&self) -> &Table<Credential> {
        &self.credentials
    }

    /// Versions of the configuration that are kept, the oldest first.
    #[must_use]
    pub fn configuration(&self) -> &Table<ConfigurationVersion> {
        &self.configuration
    }

    /// Up to where the feed goes.
    #[must_use]
    pub fn feed_head(&self) -> FeedHead {
        self.feed_head.get(&()).copied().unwrap_or_default()
    }

    /// Digest of all rows (R7).
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// ClusterTime of the last applied entry.
    #[must_use]
    pub fn now(&self) -> ClusterTime {
        self.queue.now()
    }

    /// When the next deadline is due: the leader proposes `ExpireDue` then.
    #[must_use]
    pub fn next_deadline(&self) -> Option<ClusterTime> {
        let own = self.index.expiries.first().map(|(at, _)| *at);
        [own, self.queue.next_deadline()].into_iter().flatten().min()
    }

    /// True when work is left that no deadline announces: the leader proposes `ContinueWork`.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.queue.has_work() || self.has_orphans()
    }

    /// The node that started this relay.
    #[must_use]
    pub fn node_of_relay(&self, relay: &tandem_routing::name::Name) -> Option<&Node> {
        self.index.node_by_relay.get(relay).and_then(|id| self.nodes.get(id))
    }

    /// Legs that this life owns, in id order.
    pub fn legs_owned_by(&self, owner: crate::leg::Owner) -> impl Iterator<Item = &Leg> {
        let ids = self.index.legs_by_owner.get(&owner);
        ids.into_iter().flatten().filter_map(|(_, id)| self.legs.get(id))
    }

    /// Legs of this contact, in id order.
    pub fn legs_of(&self, contact: crate::ids::ContactId) -> impl Iterator<Item = &Leg> {
        let ids = self.index.legs_by_contact.get(&contact);
        ids.into_iter().flatten().filter_map(|id| self.legs.get(id))
    }

    /// Bindings of this agent, the newest first.
    #[must_use]
    pub fn bindings_of(&self, agent: crate::ids::AgentId) -> Vec<&Binding> {
        let mut found: Vec<&Binding> = self
            .bindings
            .iter_from(&(agent, String::new()))
            .take_while(|row| row.agent == agent)
            .collect();
        found.sort_by(|a, b| {
            b.written.cmp(&a.written).then_with(|| a.target.contact_uri.cmp(&b.target.contact_uri))
        });
        found
    }
}

// --- the log's side -----------------------------------------------------------------------------

impl Machine {
    /// Applies one entry.
    ///
    /// # Errors
    /// [`BatchError`] when the entry cannot be read or must not be applied: it was written by a newer
    /// program, a newer machine version is in force, or it is damaged. The node must stop and write
    /// nothing of the entry, because going on would diverge.
    pub fn apply(&mut self, index: u64, entry: &[u8]) -> Result<Applied, BatchError> {
        let batch = Batch::decode(entry)?;
        check_version(batch.machine_version)?;
        self.queue.begin_entry(batch.time);
        self.takeover_left = TAKEOVER_WORK_MAX;
        let mut applied = Applied::default();
        for envelope in &batch.envelopes {
            check_version(self.header().machine_version)?;
            let outcome = self.apply_envelope(envelope, &mut applied.events);
            applied.outcomes.push(encode_outcome(&outcome));
        }
        if let Some(tamper) = &self.hooks.tamper {
            tamper(index, &mut self.queue);
            self.queue.commit();
        }
        let changed = self.changed_legs();
        applied.effects = std::mem::take(&mut self.effects);
        applied.effects.extend(changed.into_iter().map(Effect::LegChanged));
        applied.history = self.take_history();
        applied.feed = self.take_feed(index);
        self.take_changes(&mut applied.changes);
        if index.is_multiple_of(DIGEST_EVERY) {
            applied.effects.push(Effect::DigestDue { index, digest: self.digest });
        }
        Ok(applied)
    }

    fn apply_envelope(&mut self, envelope: &Envelope, events: &mut Vec<Event>) -> Outcome {
        let outcome = match self.admit(envelope) {
            Admission::Known(outcome) => return outcome,
            Admission::Refused(rejection) => return Err(rejection),
            Admission::Settled(outcome) => outcome,
            Admission::New => {
                let outcome = self.apply_contained(envelope, events);
                self.remember_key(envelope, &outcome);
                outcome
            }
        };
        self.remember(envelope, &outcome);
        self.queue.commit();
        each_table!(self, |table| table.commit());
        outcome
    }

    /// Runs one command; a panic inside it is undone and becomes a rejection.
    fn apply_contained(&mut self, envelope: &Envelope, events: &mut Vec<Event>) -> Outcome {
        self.queue.begin_command();
        let (event_count, effect_count) = (events.len(), self.effects.len());
        let (history_count, feed_mark) = (self.history.len(), self.feed.mark());
        let incident = self.queue.counters().ordinal.0;
        let run = catch_unwind(AssertUnwindSafe(|| {
            if let Some(hook) = &self.hooks.before_command {
                hook(&envelope.command);
            }
            let outcome = self.run(envelope, events);
            self.compose(event_count, events);
            let composed = events.len();
            self.take_over(events);
            self.compose(composed, events);
            if self.header().machine_version >= FEED_SINCE {
                self.note(envelope, events.get(event_count..).unwrap_or_default(), outcome.is_ok());
            }
            outcome
        }));
        run.unwrap_or_else(|panic| {
            self.queue.undo();
            each_table!(self, |table| table.undo());
            self.rebuild();
            events.truncate(event_count);
            self.effects.truncate(effect_count);
            self.history.truncate(history_count);
            self.feed.cut(feed_mark);
            self.effects.push(Effect::Bug { incident, message: panic_message(&*panic) });
            Err(Rejection::Bug { incident })
        })
    }

    pub(crate) fn put_header(&mut self, header: Header) {
        self.header.insert(header);
    }

    /// Legs whose row, contact, or other side changed in this entry.
    fn changed_legs(&self) -> BTreeSet<LegId> {
        let mut changed: BTreeSet<LegId> = self.legs.touched().copied().collect();
        let mut contacts: BTreeSet<_> = self.queue.touched_contacts().collect();
        contacts.extend(changed.iter().filter_map(|id| self.legs.get(id)).map(|leg| leg.contact));
        for contact in contacts {
            changed.extend(self.index.legs_by_contact.get(&contact).into_iter().flatten());
        }
        changed
    }

    fn take_history(&mut self) -> Vec<RowChange> {
        let group = self.group;
        std::mem::take(&mut self.history).into_iter().map(|row| row.stored(group)).collect()
    }

    fn take_changes(&mut self, changes: &mut Vec<RowChange>) {
        let group = self.group;
        self.queue.take_changes(group, &mut self.digest, changes);
        let before = self.digest;
        each_table!(self, |table| table.take_changes(group, &mut self.digest, changes));
        if planted!(self.queue, DigestSkipsLegs) && self.digest != before && self.legs.len() == 1 {
            self.digest = before;
        }
    }

    // --- loading ----------------------------------------------------------------------------------

    /// A machine from its stored rows.
    ///
    /// # Errors
    /// [`LoadError`] when a row cannot be read or belongs to no table.
    pub fn load<R, E>(group: GroupId, rows: R) -> Result<Self, LoadError<E>>
    where
        R: Iterator<Item = Result<(Vec<u8>, Vec<u8>), E>>,
    {
        let mut machine = Self::new(group);
        for row in rows {
            let (key, value) = row.map_err(LoadError::Source)?;
            machine.load_row(&key, &value)?;
        }
        machine.queue.finish_load();
        each_table!(machine, |table| table.forget_journal());
        machine.rebuild();
        match machine.header().machine_version {
            version if version > MACHINE_VERSION => Err(LoadError::NewerMachine { version }),
            _ => Ok(machine),
        }
    }

    fn load_row<E>(&mut self, key: &[u8], value: &[u8]) -> Result<(), LoadError<E>> {
        const HEADER: u8 = TableTag::Header as u8;
        const NODE: u8 = TableTag::Node as u8;
        const WINDOW: u8 = TableTag::Window as u8;
        const REPLY: u8 = TableTag::Reply as u8;
        const IDEMPOTENCY: u8 = TableTag::Idempotency as u8;
        const CHECKPOINT: u8 = TableTag::Checkpoint as u8;
        const LEG: u8 = TableTag::Leg as u8;
        const BINDING: u8 = TableTag::Binding as u8;
        const CREDENTIAL: u8 = TableTag::Credential as u8;
        const CONFIGURATION: u8 = TableTag::Configuration as u8;
        const FEED_HEAD: u8 = TableTag::FeedHead as u8;
        let unknown = || LoadError::UnknownRow { key: format!("{key:02x?}") };
        if key.get(..2) != Some(&self.group.0.to_be_bytes()[..]) {
            return Err(unknown());
        }
        let tag = table_byte(key).ok_or_else(unknown)?;
        let digest = &mut self.digest;
        let loaded = match tag {
            HEADER => self.header.load(key, value, digest),
            NODE => self.nodes.load(key, value, digest),
            WINDOW => self.windows.load(key, value, digest),
            REPLY => self.replies.load(key, value, digest),
            IDEMPOTENCY => self.idempotency.load(key, value, digest),
            CHECKPOINT => self.checkpoints.load(key, value, digest),
            LEG => self.legs.load(key, value, digest),
            BINDING => self.bindings.load(key, value, digest),
            CREDENTIAL => self.credentials.load(key, value, digest),
            CONFIGURATION => self.configuration.load(key, value, digest),
            FEED_HEAD => self.feed_head.load(key, value, digest),
            other => self.queue.load_row(other, key, value, digest).ok_or_else(unknown)?,
        };
        loaded.map_err(LoadError::Row)
    }

    /// Every row as it is stored.
    pub fn stored_rows(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        let group = self.group;
        self.queue
            .stored_rows(group)
            .chain(self.header.stored_rows(group))
            .chain(self.nodes.stored_rows(group))
            .chain(self.windows.stored_rows(group))
            .chain(self.replies.stored_rows(group))
            .chain(self.idempotency.stored_rows(group))
            .chain(self.checkpoints.stored_rows(group))
            .chain(self.legs.stored_rows(group))
            .chain(self.bindings.stored_rows(group))
            .chain(self.credentials.stored_rows(group))
            .chain(self.configuration.stored_rows(group))
            .chain(self.feed_head.stored_rows(group))
    }

    fn rebuild(&mut self) {
        let mut index = Index::default();
        self.nodes.iter().for_each(|node| index.add_node(node));
        self.legs.iter().for_each(|leg| index.add_leg(leg));
        self.bindings.iter().for_each(|binding| index.add_binding(binding));
        index.expiries.extend(self.idempotency.iter().map(Index::idempotency_expiry));
        self.index = index;
    }

    /// True when the indexes are those that the rows give: a check for tests and simulation.
    #[must_use]
    pub fn indexes_are_true(&mut self) -> bool {
        let kept = self.index.clone();
        self.rebuild();
        let fresh = std::mem::replace(&mut self.index, kept);
        self.index == fresh
    }
}

impl PartialEq for Machine {
    /// Two machines are equal when their rows and digests are.
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest && self.stored_rows().eq(other.stored_rows())
    }
}

/// A program never applies commands under rules that it does not know (R7).
fn check_version(version: u16) -> Result<(), BatchError> {
    if version <= MACHINE_VERSION { Ok(()) } else { Err(BatchError::NewerMachine { version }) }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".into())
}

/// Rows from which no machine can be made.
#[derive(Debug, thiserror::Error)]
pub enum LoadError<E> {
    /// Reading them failed.
    #[error("the rows cannot be read: {0}")]
    Source(E),
    /// One of them does not decode.
    #[error(transparent)]
    Row(RowError),
    /// The rows follow rules that this program does not know.
    #[error(
        "the stored state is of machine version {version}, this program knows up to \
         {MACHINE_VERSION}: start the newer Tandem that this node ran before"
    )]
    NewerMachine {
        /// The version in force.
        version: u16,
    },
    /// One of them belongs to no table that this program knows.
    #[error(
        "a stored row belongs to no known table (key {key}): the data was written by a newer \
         Tandem, or the directory holds something else"
    )]
    UnknownRow {
        /// Its key.
        key: String,
    },
}

/// The key of a row in the history: group, then the contact's id.
#[must_use]
pub fn history_key(group: GroupId, contact: crate::ids::ContactId) -> Vec<u8> {
    let id = tandem_routing::entity::contact_bytes(contact);
    row_key(group, TableTag::Contact, crate::ids::TenantId::CLUSTER, &id)
}

impl Machine {
    /// One command; see `apply/`.
    fn run(&mut self, envelope: &Envelope, events: &mut Vec<Event>) -> Outcome {
        let (node, epoch) = (envelope.node, envelope.epoch);
        let proposer = crate::leg::Owner { node, epoch };
        envelope.command.check_version(self.header().machine_version)?;
        match &envelope.command {
            Command::Initialise { cluster, machine_version } => {
                self.initialise(*cluster, *machine_version)
            }
            Command::AdmitNode(admit) => self.admit_node(admit, events),
            Command::RegisterNode(register) => self.register_node(register),
            Command::NodeLost { node, epoch, .. } => self.node_lost(*node, *epoch),
            Command::StopNode => self.stop_node(node),
            Command::RemoveNode { node } => self.remove_node(*node),
            Command::RaiseMachineVersion { to } => self.raise_version(*to),
            Command::ReportDigest { index, digest } => self.report_digest(node, *index, *digest),
            Command::ReserveLegIds { count } => self.reserve_leg_ids(*count),
            Command::ExpireDue => self.expire_due(events),
            Command::ContinueWork => {
                self.run_queue(&tandem_routing::command::Command::ContinueWork, events)
            }
            Command::Queue(command) => self.run_queue(command, events),
            Command::AdmitCall(call) => self.admit_call(proposer, call, envelope.age, events),
            Command::LegRinging(fact) => self.leg_ringing(proposer, fact),
            Command::LegAnswered(fact) => self.leg_answered(proposer, fact, events),
            Command::LegFailed(fact) => self.leg_failed(proposer, fact, events),
            Command::LegReport(fact) => self.leg_report(proposer, fact),
            Command::LegConfirmed(fact) => self.leg_confirmed(proposer, fact, events),
            Command::LegEnded(fact) => self.leg_ended(proposer, fact, events),
            Command::PutBinding(put) => self.put_binding(put, events),
            Command::RemoveBinding { tenant, agent, contact_uri } => {
                self.unbind(*tenant, *agent, contact_uri, events)
            }
            Command::DeviceAlive { agent } => self.device_alive(*agent, events),
            Command::PutCredential { tenant, agent, realm, sealed } => {
                self.put_credential(*tenant, agent, realm, sealed)
            }
            Command::ApplyConfiguration(apply) => self.apply_configuration(apply, events),
        }
        .map(|reply| match reply {
            Reply::Queue(tandem_routing::command::Reply::Done) => Reply::Done,
            other => other,
        })
    }
}
