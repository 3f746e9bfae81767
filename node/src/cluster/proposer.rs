//! Commands of this node on their way into the log, exactly once.
//!
//! Every command of a life has a number. It is sent to whoever leads, again after every loss, until
//! its outcome is known; the log applies a number once (invariant R9). A caller that waits no longer
//! learns whether nothing was done for certain, or that the outcome is not known. What is done then with
//! the command itself, the caller says beforehand ([`Then`]).

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use openraft::type_config::async_runtime::watch::WatchReceiver;
use parking_lot::Mutex;
use tandem_cluster::{
    command::{Command, Envelope, Outcome, Rejection, Room, decode_outcome},
    ids::{Epoch, NodeId},
    limits::WINDOW_MAX,
};
use tandem_proto::cluster::v1 as wire;
use tandem_raft_store::{StateMachine, TypeConfig};
use tandem_routing::time::Millis;
use tokio::{
    sync::{Notify, oneshot, watch},
    time::Instant,
};
use tonic::{Code, Request, Status};

use super::{
    attempt::{Lost, Stage},
    batcher::{Batcher, NotCommitted},
    identity::{Member, named_leader},
    machine::Replica,
    network::MESSAGE_BYTES_MAX,
    peers::{Peers, Purpose},
};
use crate::rpc::peer_client::PeerClient;

type Raft = openraft::Raft<TypeConfig, StateMachine<Replica>>;

/// Commands of one life that may be on their way at a time; more are refused.
const PENDING_MAX: usize = WINDOW_MAX as usize / 2;
/// Commands that travel to the leader in one message.
const SEND_MAX: usize = super::batcher::GROUP_MAX;
/// Pause after a try that did not reach a leader.
const RETRY_PAUSE: Duration = Duration::from_millis(25);
/// What no log has taken is not tried again so shortly before its caller gives up, nor in the last quarter
/// of a short wait: a try on its way at the end would leave unknown what is known to be not done.
const LAST_TRY: Duration = Duration::from_millis(250);
/// A try that got no answer for so long is given up and made again.
const TRY_MAX: Duration = Duration::from_secs(3);

/// Why a command has no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was done: no leader took it in time.
    #[error("no quorum took the command in time: nothing was done; try again, or at another site")]
    NotDone,
    /// It may or may not have been carried out.
    #[error(
        "the command was sent but its outcome is not known: ask again with the same idempotency \
         key, or look whether it was done"
    )]
    Unknown,
    /// Too many commands are on their way.
    #[error("too many commands are on their way already: nothing was done; try again later")]
    Overloaded,
    /// No log entry takes it.
    #[error(
        "the command is larger than the log takes: nothing was done; shorten its texts or lists"
    )]
    TooLarge,
    /// This node has no life in the log now.
    #[error("this node is not registered with the cluster now: nothing was done; try another node")]
    NoLife,
}

impl From<ProposeError> for Status {
    fn from(error: ProposeError) -> Self {
        let text = error.to_string();
        match error {
            ProposeError::NotDone | ProposeError::NoLife => Self::unavailable(text),
            ProposeError::Unknown => Self::unknown(text),
            ProposeError::TooLarge => Self::invalid_argument(text),
            ProposeError::Overloaded => Self::resource_exhausted(text),
        }
    }
}

/// What becomes of a command without an outcome when its caller waits no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It is sent again until its outcome is known: calls go on, and what was decided for them holds.
    Pursue,
    /// It is sent no more: a person who was told that it failed may have changed their mind. A try that
    /// is on its way may still be carried out.
    Forget,
}

/// Hands commands of this node to the leader.
#[derive(Debug, Clone)]
pub struct Proposer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    member: Member,
    raft: Raft,
    batcher: Batcher,
    peers: Peers,
    state: Mutex<State>,
    work: Notify,
    /// The epoch that the log refused, for whoever renews the life.
    fenced: watch::Sender<Option<Epoch>>,
}

#[derive(Debug, Default)]
struct State {
    life: Option<Life>,
    /// A leader that a refusal named, newer than our own view.
    hint: Option<NodeId>,
}

#[derive(Debug)]
struct Life {
    epoch: Epoch,
    next: u64,
    pending: BTreeMap<u64, Pending>,
}

#[derive(Debug)]
struct Pending {
    command: Command,
    idempotency: Option<String>,
    since: Instant,
    /// The next try.
    not_before: Instant,
    /// From then on none is begun anew, unless an earlier one may have been carried out.
    tries_end: Instant,
    stage: Stage,
    then: Then,
    reply: Option<oneshot::Sender<Result<Outcome, ProposeError>>>,
}

impl Proposer {
    /// Starts the task that sends; it ends when Raft does.
    #[must_use]
    pub fn start(member: Member, raft: Raft, batcher: Batcher, peers: Peers) -> Self {
        let inner = Arc::new(Inner {
            member,
            raft,
            batcher,
            peers,
            state: Mutex::default(),
            work: Notify::new(),
            fenced: watch::Sender::new(None),
        });
        tokio::spawn(Arc::clone(&inner).run());
        Self { inner }
    }

    /// Begins a life: commands from here on carry its epoch. Those of an earlier life have no
    /// outcome any more.
    pub fn begin_life(&self, epoch: Epoch) {
        self.end_life();
        self.inner.state.lock().life = Some(Life { epoch, next: 1, pending: BTreeMap::new() });
    }

    /// Ends the life: its commands are unknown, new ones are refused.
    pub fn end_life(&self) {
        let life = self.inner.state.lock().life.take();
        for (_, pending) in life.into_iter().flat_map(|life| life.pending) {
            let error = match pending.stage {
                Stage::New => ProposeError::NotDone,
                Stage::Sent | Stage::Again | Stage::Resent => ProposeError::Unknown,
            };
            // Whoever asked may have given up.
            pending.reply.map(|reply| reply.send(Err(error)));
        }
    }

    /// Tells when the log refused a life of this node.
    #[must_use]
    pub fn fenced(&self) -> watch::Receiver<Option<Epoch>> {
        self.inner.fenced.subscribe()
    }

    /// The current life.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.inner.state.lock().life.as_ref().map(|life| life.epoch)
    }

    /// Proposes a command under the current life and waits for its outcome, at most `within`. Whoever
    /// drops the future waits no longer either.
    ///
    /// # Errors
    /// [`ProposeError`]; the outcome itself may be a rejection.
    pub async fn propose(
        &self,
        command: Command,
        idempotency: Option<String>,
        within: Duration,
        then: Then,
    ) -> Result<Outcome, ProposeError> {
        let (reply, outcome) = oneshot::channel();
        let sequence = self.enqueue(command, idempotency, within, then, reply)?;
        let asked = Asked { proposer: self, sequence };
        self.inner.work.notify_one();
        match tokio::time::timeout(within, outcome).await {
            Ok(result) => result.unwrap_or(Err(ProposeError::Unknown)),
            Err(_) => Err(asked.give_up()),
        }
    }

    fn enqueue(
        &self,
        command: Command,
        idempotency: Option<String>,
        within: Duration,
        then: Then,
        reply: oneshot::Sender<Result<Outcome, ProposeError>>,
    ) -> Result<u64, ProposeError> {
        // Before it has a number: a number that can never be carried out would hold up all others.
        command.check_size().map_err(|_| ProposeError::TooLarge)?;
        let mut state = self.inner.state.lock();
        let life = state.life.as_mut().ok_or(ProposeError::NoLife)?;
        if life.pending.len() >= PENDING_MAX {
            return Err(ProposeError::Overloaded);
        }
        let sequence = life.next;
        life.next += 1;
        let now = Instant::now();
        let pending = Pending {
            command,
            idempotency,
            since: now,
            not_before: now,
            tries_end: now + within.saturating_sub(LAST_TRY.min(within / 4)),
            stage: Stage::New,
            then,
            reply: Some(reply),
        };
        life.pending.insert(sequence, pending);
        Ok(sequence)
    }

    /// The caller waits no longer: a command that nobody can have carried out is taken back.
    fn give_up(&self, sequence: u64) -> ProposeError {
        let mut state = self.inner.state.lock();
        let Some(life) = state.life.as_mut() else { return ProposeError::Unknown };
        let pending = life.pending.get(&sequence).map(|pending| (pending.stage, pending.then));
        match pending {
            Some((Stage::New, _)) => {
                life.pending.remove(&sequence);
                ProposeError::NotDone
            }
            Some((_, Then::Forget)) => {
                life.pending.remove(&sequence);
                ProposeError::Unknown
            }
            Some((_, Then::Pursue)) | None => ProposeError::Unknown,
        }
    }

    /// Proposes a command that comes before a life (admission, registration): harmless to repeat,
    /// so it is simply sent until somebody answers.
    ///
    /// # Errors
    /// [`ProposeError::NotDone`] or `Unknown` when nobody answered in time.
    pub async fn propose_before_life(
        &self,
        command: Command,
        within: Duration,
    ) -> Result<Outcome, ProposeError> {
        let envelope = Envelope {
            node: self.inner.member.node,
            epoch: Epoch(0),
            sequence: 0,
            ack_below: 0,
            age: Millis(0),
            idempotency: None,
            command,
        };
        let deadline = Instant::now() + within;
        loop {
            let sent = tokio::time::timeout_at(deadline, self.inner.send(vec![envelope.clone()]));
            match sent.await {
                Ok(Ok(outcomes)) => {
                    return outcomes.into_iter().next().ok_or(ProposeError::Unknown);
                }
                Ok(Err(Lost::NotDone | Lost::Unknown)) => tokio::time::sleep(RETRY_PAUSE).await,
                Err(_) => return Err(ProposeError::Unknown),
            }
            if Instant::now() >= deadline {
                return Err(ProposeError::NotDone);
            }
        }
    }
}

/// Someone who waits for an outcome; the end of the wait, however it comes, gives up.
struct Asked<'a> {
    proposer: &'a Proposer,
    sequence: u64,
}

impl Asked<'_> {
    fn give_up(&self) -> ProposeError {
        self.proposer.give_up(self.sequence)
    }
}

impl Drop for Asked<'_> {
    /// Nothing is pending any more when the outcome is known.
    fn drop(&mut self) {
        self.give_up();
    }
}

impl Inner {
    async fn run(self: Arc<Self>) {
        loop {
            self.work.notified().await;
            while let Some((epoch, envelopes)) = self.take() {
                let inner = Arc::clone(&self);
                tokio::spawn(async move { inner.try_once(epoch, envelopes).await });
            }
        }
    }

    /// The next commands to send, marked as sent.
    fn take(&self) -> Option<(Epoch, Vec<Envelope>)> {
        let mut state = self.state.lock();
        let life = state.life.as_mut()?;
        let ack_below = life.pending.keys().next().copied().unwrap_or(life.next);
        let node = self.member.node;
        let epoch = life.epoch;
        let now = Instant::now();
        let mut room = Room::of_group(SEND_MAX);
        let mut envelopes = Vec::new();
        for (sequence, pending) in &mut life.pending {
            let Some(sent) = pending.stage.sent().filter(|_| pending.not_before <= now) else {
                continue;
            };
            let age = pending.since.elapsed().as_millis();
            let envelope = Envelope {
                node,
                epoch,
                sequence: *sequence,
                ack_below,
                age: Millis(u64::try_from(age).unwrap_or(u64::MAX)),
                idempotency: pending.idempotency.clone(),
                command: pending.command.clone(),
            };
            // What does not fit goes with the next group; each fits one by itself.
            if room.take(&envelope).is_err() {
                break;
            }
            pending.stage = sent;
            envelopes.push(envelope);
        }
        (!envelopes.is_empty()).then_some((epoch, envelopes))
    }

    /// One try; what got no outcome goes back to be sent again.
    async fn try_once(self: Arc<Self>, epoch: Epoch, envelopes: Vec<Envelope>) {
        let sequences: Vec<u64> = envelopes.iter().map(|envelope| envelope.sequence).collect();
        match self.send(envelopes).await {
            Ok(outcomes) => self.settle(epoch, sequences.into_iter().zip(outcomes)),
            Err(lost) => {
                self.lose(epoch, &sequences, lost);
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
        self.work.notify_one();
    }

    /// A try has ended: whoever gives up now hears what it was worth.
    fn lose(&self, epoch: Epoch, sequences: &[u64], lost: Lost) {
        let mut state = self.state.lock();
        let Some(life) = state.life.as_mut().filter(|life| life.epoch == epoch) else { return };
        let not_before = Instant::now() + RETRY_PAUSE;
        for sequence in sequences {
            let Entry::Occupied(mut entry) = life.pending.entry(*sequence) else { continue };
            let pending = entry.get_mut();
            pending.stage = pending.stage.lost(lost);
            pending.not_before = not_before;
            if pending.stage == Stage::New && not_before >= pending.tries_end {
                let reply = entry.remove().reply;
                // Whoever asked may have given up.
                reply.map(|reply| reply.send(Err(ProposeError::NotDone)));
            }
        }
    }

    fn settle(&self, epoch: Epoch, outcomes: impl Iterator<Item = (u64, Outcome)>) {
        let mut over = false;
        {
            let mut state = self.state.lock();
            let Some(life) = state.life.as_mut().filter(|life| life.epoch == epoch) else { return };
            for (sequence, outcome) in outcomes {
                over |= matches!(outcome, Err(Rejection::Fenced { .. }));
                let Some(pending) = life.pending.remove(&sequence) else { continue };
                let heard = pending.stage.heard(outcome);
                // Whoever asked may have given up.
                pending.reply.map(|reply| reply.send(heard));
            }
        }
        if over {
            self.fenced.send_replace(Some(epoch));
        }
    }

    /// Sends commands to whoever leads, and gives up when another one does.
    async fn send(&self, envelopes: Vec<Envelope>) -> Result<Vec<Outcome>, Lost> {
        let leader = self.leader().await.ok_or(Lost::NotDone)?;
        let outcomes = tokio::select! {
            outcomes = self.send_to(leader, envelopes) => outcomes,
            () = self.leader_is_not(leader) => Err(Lost::Unknown),
            () = tokio::time::sleep(TRY_MAX) => Err(Lost::Unknown),
        }?;
        outcomes.iter().map(|bytes| decode_outcome(bytes).map_err(|_| Lost::Unknown)).collect()
    }

    async fn send_to(&self, leader: NodeId, envelopes: Vec<Envelope>) -> Result<Vec<Bytes>, Lost> {
        if leader == self.member.node {
            return self.batcher.commit(envelopes).await.map_err(|error| match error {
                NotCommitted::NotLeader(hint) => {
                    self.state.lock().hint = hint.filter(|hint| *hint != self.member.node);
                    Lost::NotDone
                }
                NotCommitted::NoQuorum | NotCommitted::Overloaded => Lost::NotDone,
                NotCommitted::Unknown | NotCommitted::Stopped => Lost::Unknown,
            });
        }
        let (address, disk) = self.member_record(leader).ok_or(Lost::NotDone)?;
        let channel = self.peers.channel(&address, Purpose::Command).map_err(|_| Lost::NotDone)?;
        let mut client = PeerClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let envelopes = envelopes.iter().map(|envelope| envelope.encode().into()).collect();
        let mut request = Request::new(wire::ProposeRequest { envelopes });
        self.member.sign(leader, disk, request.metadata_mut());
        match client.propose(request).await {
            Ok(reply) => Ok(reply.into_inner().outcomes),
            Err(status) => {
                let named = named_leader(&status);
                self.state.lock().hint = named.flatten();
                tracing::debug!(%leader, %status, "commands did not reach the leader");
                // The first two come from a door that took nothing in.
                let kept_out = named.is_some()
                    || status.code() == Code::ResourceExhausted
                    || never_connected(&status);
                Err(if kept_out { Lost::NotDone } else { Lost::Unknown })
            }
        }
    }

    async fn leader(&self) -> Option<NodeId> {
        let hint = self.state.lock().hint.take();
        match hint {
            Some(leader) => Some(leader),
            None => self.raft.current_leader().await.map(NodeId),
        }
    }

    /// Waits until this node believes that somebody else leads.
    async fn leader_is_not(&self, leader: NodeId) {
        let mut metrics = self.raft.server_metrics();
        loop {
            let now = metrics.borrow_watched().current_leader;
            if now.is_some_and(|now| now != leader.0) {
                return;
            }
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    fn member_record(&self, node: NodeId) -> Option<(String, tandem_cluster::ids::DiskId)> {
        let metrics = self.raft.server_metrics();
        let view = metrics.borrow_watched();
        let record = view.membership_config.membership().get_node(&node.0)?;
        Some((record.raft_address().to_owned(), tandem_cluster::ids::DiskId(record.disk().0)))
    }
}

/// True when no connection came about, over which the call could have been made.
fn never_connected(status: &Status) -> bool {
    std::iter::successors(std::error::Error::source(status), |cause| cause.source())
        .any(|cause| cause.is::<tonic::ConnectError>())
}
