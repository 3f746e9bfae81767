//! What happened in a run, counted and digested: the same seed has the same digest, on every run.

use xxhash_rust::xxh3::Xxh3;

use super::{Ev, Replied};

/// Counts and the digest of everything that happened, in order.
#[derive(Clone, Default)]
pub struct Trace {
    hash: Xxh3,
    /// Messages delivered, timers fired, entries applied at a node, actions.
    pub events: u64,
    /// Faults injected.
    pub faults: u64,
    /// Entries committed.
    pub entries: u64,
    /// Leaders elected.
    pub leaders: u64,
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} events, {} faults, {:016x}", self.events, self.faults, self.digest())
    }
}

impl Trace {
    /// The digest so far.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.hash.digest()
    }

    /// Something that will be part of the digest.
    pub fn note(&mut self, what: u8, parts: &[u64]) {
        self.hash.update(&[what]);
        for part in parts {
            self.hash.update(&part.to_le_bytes());
        }
    }

    /// A step of a plan was taken, or could not be.
    pub(crate) fn acted(&mut self, done: bool, fault: bool) {
        self.events += u64::from(done);
        self.faults += u64::from(done && fault);
        self.note(4, &[u64::from(done)]);
    }

    /// A timer of a node or user agent fired.
    pub(super) fn fired(&mut self) {
        self.events += 1;
    }

    /// A node applied an entry.
    pub(super) fn applied(&mut self, node: u64, index: u64, digest: u128) {
        self.events += 1;
        self.note(1, &[node, index, low(digest)]);
    }

    /// An entry was committed.
    pub(super) fn committed(&mut self, index: u64, digest: u128) {
        self.entries += 1;
        self.note(2, &[index, low(digest)]);
    }

    /// Somebody leads.
    pub(super) fn led(&mut self, node: u64) {
        self.leaders += 1;
        self.note(3, &[node]);
    }

    /// An event is about to be taken.
    pub(super) fn happened(&mut self, at: u64, event: &Ev) {
        self.note(0, &[at]);
        match event {
            Ev::Datagram { bytes, .. } => self.message(10, 0, bytes),
            Ev::Stream { conn, bytes, .. } => self.message(11, *conn, bytes),
            Ev::StreamClosed { conn, .. } => self.message(12, *conn, &[]),
            Ev::Node { node, process, .. } => self.delivered(13, *node, *process),
            Ev::Leader(proposal) => self.delivered(14, proposal.envelope.node.0, proposal.since),
            Ev::Replied { node, reply, .. } => {
                let index = match reply {
                    Replied::Outcome { index, .. } => *index,
                    Replied::NotLeader => 0,
                };
                self.delivered(15, *node, index);
            }
            Ev::Synced { member, index, .. } => self.delivered(16, *member, *index),
            Ev::Beat { node, sent, .. } => self.delivered(17, *node, sent.local),
            Ev::Relay { node, process, .. } => self.delivered(18, *node, *process),
            Ev::RelayUp { relay } => self.note(19, &[*relay as u64]),
            Ev::Thaw { node, .. } => self.note(20, &[*node]),
            Ev::Lost { node, .. } => self.delivered(21, *node, 0),
            Ev::Wake { node, .. } => self.note(22, &[*node]),
            Ev::UaWake { ua } => self.note(23, &[*ua as u64]),
            Ev::LeaseRefused { node, epoch, .. } => self.delivered(24, *node, epoch.0),
            Ev::Again { .. }
            | Ev::GiveUp { .. }
            | Ev::Append { .. }
            | Ev::Learn { .. }
            | Ev::Lease { .. }
            | Ev::Register { .. }
            | Ev::Media
            | Ev::Judge => {}
        }
    }

    fn message(&mut self, what: u8, who: u64, bytes: &[u8]) {
        self.events += 1;
        self.note(what, &[who]);
        self.hash.update(bytes);
    }

    fn delivered(&mut self, what: u8, who: u64, which: u64) {
        self.events += 1;
        self.note(what, &[who, which]);
    }
}

/// The low half of a digest: enough to tell two apart.
fn low(digest: u128) -> u64 {
    (digest & u128::from(u64::MAX)) as u64
}
