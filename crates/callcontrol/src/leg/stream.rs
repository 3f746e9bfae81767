//! The stream that relays send to a leg's peer, across relays (invariant M1).
//!
//! A relay computes its sequence numbers from the stream's origin and from how many relay processes
//! were asked to send it before; each jumps ahead of all numbers that the one before can have used.
//! The owner counts, and begins a new stream (another SSRC) where a receiver would take the jump for
//! an error: after a longer silence, and when too many come in a row.

use std::time::{Duration, Instant};

use tandem_cluster::{
    ids::LegEpoch,
    leg::{MediaDirection, StreamOrigin},
};
use tandem_routing::time::ClusterTime;
use tandem_sip::prng::Prng;

use super::MediaSide;
use crate::{
    io::Now,
    limits::{LOSS_NOTICED_WITHIN, STREAM_SILENCE_MAX, STREAM_TAKEOVER_EVERY_MS_MIN},
};

/// What this owner knows of a stream beside its origin.
#[derive(Debug, Default)]
pub(crate) struct StreamState {
    /// Since when no relay is known to send it.
    silent_since: Option<Instant>,
    /// Since when the direction forbids to send it.
    paused_since: Option<Instant>,
}

impl MediaSide {
    /// The stream of a lost node, handed over at `since`.
    pub(crate) fn adopt_stream(&mut self, now: Now, origin: StreamOrigin, since: ClusterTime) {
        self.origin = origin;
        let known = Duration::from_millis(now.cluster.since(since).0);
        let ago = |wait| now.instant.checked_sub(wait).unwrap_or(now.instant);
        self.stream.silent_since = Some(ago(known + LOSS_NOTICED_WITHIN));
        if !sends(self.direction) {
            // For how long is not known.
            self.stream.paused_since = Some(ago(STREAM_SILENCE_MAX * 2));
        }
    }

    /// The relay has the session: the stream is sent.
    pub(crate) fn stream_is_sent(&mut self) {
        self.stream.silent_since = None;
    }

    /// The relay does not answer, or its session is gone: nobody may be sending.
    pub(crate) fn stream_is_silent(&mut self, now: Now) {
        self.stream.silent_since.get_or_insert(now.instant);
    }

    /// Another relay process is asked to go on with the stream: see [`StreamOrigin`]. `told_by` stays
    /// that of a former owner until this one raises the count, because the former may have raised it
    /// once more than the log knows, whatever is reported meanwhile. For the same reason a count that is
    /// not in the log yet (`logged`) is not raised again.
    pub(crate) fn hand_stream_over(
        &mut self,
        now: Now,
        epoch: LegEpoch,
        logged: Option<StreamOrigin>,
        prng: &mut Prng,
    ) {
        self.stream_is_silent(now);
        let silent = over(now, self.stream.silent_since);
        let unreported = self.origin.takeovers > 0 && logged != Some(self.origin);
        let origin = &mut self.origin;
        let since_last_ms = now.cluster.since(origin.taken_over).0;
        let too_soon = origin.takeovers > 0 && since_last_ms < STREAM_TAKEOVER_EVERY_MS_MIN;
        let (ours, last_ones) = (origin.told_by == epoch, origin.told_by.0 + 1 == epoch.0);
        if silent || too_soon || unreported || !(ours || last_ones) {
            self.origin = fresh_origin(now, epoch, prng);
            return;
        }
        origin.takeovers += if ours { 1 } else { 2 };
        origin.taken_over = now.cluster;
        origin.told_by = epoch;
    }

    /// Takes over a direction that offer and answer have settled.
    pub(crate) fn turn(
        &mut self,
        now: Now,
        epoch: LegEpoch,
        direction: MediaDirection,
        prng: &mut Prng,
    ) {
        self.direction = direction;
        if !sends(direction) {
            self.stream.paused_since.get_or_insert(now.instant);
        } else {
            let paused_since = self.stream.paused_since.take();
            if over(now, paused_since) {
                self.origin = fresh_origin(now, epoch, prng);
            }
        }
    }

    /// The relay had to begin the stream anew.
    pub(crate) fn stream_restarted(
        &mut self,
        now: Now,
        epoch: LegEpoch,
        ssrc: u32,
        first_sequence: u16,
        first_timestamp: u32,
    ) {
        let (began, taken_over, told_by) = (now.cluster, now.cluster, epoch);
        let takeovers = 0;
        self.origin = StreamOrigin {
            ssrc,
            first_sequence,
            first_timestamp,
            began,
            takeovers,
            taken_over,
            told_by,
        };
    }
}

/// True when that began longer ago than a stream may be silent.
fn over(now: Now, since: Option<Instant>) -> bool {
    since.is_some_and(|at| now.instant.saturating_duration_since(at) > STREAM_SILENCE_MAX)
}

/// A stream that nobody has sent yet. RFC 3550 section 5.1: SSRC, first sequence number and timestamp
/// are random.
pub(crate) fn fresh_origin(now: Now, epoch: LegEpoch, prng: &mut Prng) -> StreamOrigin {
    let random = prng.next_u64();
    StreamOrigin {
        ssrc: (random >> 32) as u32,
        first_sequence: (random >> 16) as u16,
        first_timestamp: prng.next_u64() as u32,
        began: now.cluster,
        takeovers: 0,
        taken_over: now.cluster,
        told_by: epoch,
    }
}

fn sends(direction: MediaDirection) -> bool {
    matches!(direction, MediaDirection::SendReceive | MediaDirection::SendOnly)
}
