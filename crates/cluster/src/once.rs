//! Exactly once (R9): which commands are carried out, which get the reply of an earlier one, and what
//! is remembered for that.

use tandem_routing::{table::Row, time::Millis};

use crate::{
    command::{Command, Envelope, Outcome, Rejection, decode_outcome, encode_outcome},
    ids::{Epoch, NodeId},
    index::Index,
    limits::{IDEMPOTENCY_KEYS_MAX, IDEMPOTENCY_MS, WINDOW_MAX},
    machine::Machine,
    node::{IdempotencyRow, NodeLife, ReplyRow, Window},
};

/// What is to be done with a command.
pub(crate) enum Admission {
    /// It is carried out.
    New,
    /// Its number was carried out: the same reply again.
    Known(Outcome),
    /// Its key decides; the outcome is remembered under its number too, which may come again when the
    /// key is forgotten.
    Settled(Outcome),
    /// It is refused and leaves no trace.
    Refused(Rejection),
}

impl Machine {
    /// R9: a command applies once per (node, epoch, sequence), and only in its node's current life.
    pub(crate) fn admit(&self, envelope: &Envelope) -> Admission {
        let &Envelope { node, epoch, sequence, .. } = envelope;
        if before_a_life(&envelope.command) && epoch == Epoch(0) {
            return Admission::New;
        }
        let Some(row) = self.nodes.get(&node) else {
            return Admission::Refused(Rejection::NodeMustBeMember(node));
        };
        let over = row.epoch != epoch || row.life != NodeLife::Up;
        if over && !planted!(self.queue, LifeFenceIsNotChecked) {
            let current = row.epoch;
            return Admission::Refused(Rejection::Fenced { node, epoch, current });
        }
        let ack_below = self.windows.get(&node).map_or(1, |window| window.ack_below);
        if sequence < ack_below {
            return Admission::Refused(Rejection::TooOld { sequence, ack_below });
        }
        let again = self.replies.get(&(node, epoch, sequence));
        if let Some(reply) = again.filter(|_| !planted!(self.queue, RetryIsApplied)) {
            return Admission::Known(known(&reply.outcome));
        }
        if sequence >= envelope.ack_below.max(ack_below).saturating_add(WINDOW_MAX) {
            return Admission::Refused(Rejection::WindowExceeded { sequence, ack_below });
        }
        self.admit_key(envelope)
    }

    /// The same key applies once while it is remembered, and stands for one command.
    fn admit_key(&self, envelope: &Envelope) -> Admission {
        let Some(key) = &envelope.idempotency else { return Admission::New };
        match self.idempotency.get(key) {
            Some(row) if row.fingerprint == envelope.command.fingerprint() => {
                Admission::Settled(known(&row.outcome))
            }
            Some(_) => Admission::Settled(Err(Rejection::IdempotencyKeyMustFit)),
            None if self.idempotency.len() >= IDEMPOTENCY_KEYS_MAX => {
                let (what, limit) = ("remembered idempotency keys", IDEMPOTENCY_KEYS_MAX as u64);
                Admission::Settled(Err(Rejection::LimitReached { what: what.into(), limit }))
            }
            None => Admission::New,
        }
    }

    /// Keeps the outcome of a command that was carried out under its idempotency key.
    pub(crate) fn remember_key(&mut self, envelope: &Envelope, outcome: &Outcome) {
        let Some(key) = &envelope.idempotency else { return };
        if envelope.epoch == Epoch(0) {
            return;
        }
        let row = IdempotencyRow {
            key: key.clone(),
            fingerprint: envelope.command.fingerprint(),
            outcome: encode_outcome(outcome),
            expires: self.queue.now() + Millis(IDEMPOTENCY_MS),
        };
        self.index.expiries.insert(Index::idempotency_expiry(&row));
        self.idempotency.insert(row);
    }

    /// Keeps the outcome for retries, and forgets those that the proposer has.
    pub(crate) fn remember(&mut self, envelope: &Envelope, outcome: &Outcome) {
        let &Envelope { node, epoch, sequence, ack_below, .. } = envelope;
        if epoch == Epoch(0) {
            return;
        }
        let encoded = encode_outcome(outcome);
        // The command may have ended the very life that proposed it.
        let live = self.nodes.get(&node).is_some_and(|row| row.epoch == epoch);
        if !live {
            return;
        }
        self.replies.insert(ReplyRow { node, epoch, sequence, outcome: encoded });
        let before = self.windows.get(&node).map_or(1, |window| window.ack_below);
        if ack_below > before {
            self.windows.insert(Window { node, epoch, ack_below });
            let forgotten: Vec<_> = self
                .replies
                .iter_from(&(node, epoch, 0))
                .take_while(|row| row.node == node && row.epoch == epoch)
                .take_while(|row| row.sequence < ack_below)
                .map(Row::key)
                .collect();
            for key in forgotten {
                self.replies.remove(&key);
            }
        }
    }

    /// Forgets everything that was remembered for a node's earlier life.
    pub(crate) fn reset_window(&mut self, node: NodeId, epoch: Epoch) {
        let old: Vec<_> = self
            .replies
            .iter_from(&(node, Epoch(0), 0))
            .take_while(|row| row.node == node)
            .map(Row::key)
            .collect();
        for key in old {
            self.replies.remove(&key);
        }
        self.windows.insert(Window { node, epoch, ack_below: 1 });
    }

    pub(crate) fn remove_idempotency(&mut self, key: &String) {
        if let Some(row) = self.idempotency.remove(key) {
            self.index.expiries.remove(&Index::idempotency_expiry(row));
        }
    }
}

/// Commands that a node proposes before it has an epoch. Each is harmless to repeat.
fn before_a_life(command: &Command) -> bool {
    matches!(command, Command::Initialise { .. } | Command::AdmitNode(_) | Command::RegisterNode(_))
}

fn known(outcome: &[u8]) -> Outcome {
    // Written by this machine; a row that does not decode was refused at load.
    decode_outcome(outcome).unwrap_or(Err(Rejection::Malformed("a stored reply".into())))
}
