//! The stream that relays send to a leg's peer, across relays (invariant M1).
//!
//! A relay computes its sequence numbers from the stream's origin and from how many of its processes
//! were asked to send it before; each jumps ahead of all numbers that the one before can have used.
//! The owner counts, and begins a new stream (another SSRC) where a receiver would take the jump for
//! an error: after a longer silence, and when too many come in a row. Another relay always begins one
//! (`docs/adr/0010-a-moved-stream-begins-anew.md`).

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

    /// Begins another stream, whatever sent the one before.
    pub(crate) fn begin_stream(&mut self, now: Now, epoch: LegEpoch, prng: &mut Prng) {
        self.stream_is_silent(now);
        self.origin = fresh_origin(now, epoch, prng);
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

#[cfg(test)]
mod tests {
    use tandem_cluster::{leg::Codec, node::RelayRecord};
    use tandem_sip::auth::WallSeconds;

    use super::*;

    fn at(start: Instant, ms: u64) -> Now {
        let instant = start + Duration::from_millis(ms);
        Now { instant, cluster: ClusterTime(1_000_000 + ms), wall: WallSeconds(0) }
    }

    fn relay() -> RelayRecord {
        let at = tandem_cluster::leg::Endpoint { address: "192.0.2.1".into(), port: 1 };
        RelayRecord { id: "r1".parse().unwrap(), control: at.clone(), link: at }
    }

    /// Which of the rules applies.
    #[derive(Debug, PartialEq, Eq)]
    enum Next {
        Raised(u32),
        Fresh,
    }

    // Goal: each rule of `StreamOrigin` at its edge: by how much the count is raised, and when a stream
    // begins anew instead.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "an Instant has no other beginning")]
    fn handing_a_stream_over() {
        let start = Instant::now();
        let mut prng = Prng::from_number(1);
        // Takeovers so far and how long ago the last was; who told of it, who owns it now; for how long
        // nobody has sent it; whether the log has it as it is.
        let rows = [
            // A relay of our own that runs anew.
            (0, 0, 3, 3, 0, true, Next::Raised(1)),
            (0, 0, 3, 3, 0, false, Next::Raised(1)),
            (1, 40_000, 3, 3, 0, true, Next::Raised(2)),
            (1, 39_999, 3, 3, 0, true, Next::Fresh),
            // Taken over from the owner right before: they may have raised it without being heard.
            (0, 0, 2, 3, 0, true, Next::Raised(2)),
            (2, 40_000, 2, 3, 0, true, Next::Raised(4)),
            (0, 0, 1, 3, 0, true, Next::Fresh),
            // More than one raise that the log does not know of would be one too many for the next owner.
            (1, 40_000, 3, 3, 0, false, Next::Fresh),
            // Silence.
            (0, 0, 3, 3, 6_000, true, Next::Raised(1)),
            (0, 0, 3, 3, 6_001, true, Next::Fresh),
        ];
        for (takeovers, ago, told_by, owner, silent, logged, next) in rows {
            let now = at(start, 100_000);
            let mut media = MediaSide::new(relay(), Codec::Pcmu, now, LegEpoch(told_by), &mut prng);
            media.origin.takeovers = takeovers;
            media.origin.taken_over = at(start, 100_000 - ago).cluster;
            media.stream_is_silent(at(start, 100_000 - silent));
            let before = media.origin;
            let log = logged.then_some(before);
            media.hand_stream_over(now, LegEpoch(owner), log, &mut prng);
            let seen = if media.origin.ssrc == before.ssrc {
                Next::Raised(media.origin.takeovers)
            } else {
                assert_eq!(media.origin.takeovers, 0);
                Next::Fresh
            };
            assert_eq!(seen, next, "{takeovers} {ago} {told_by} {owner} {silent} {logged}");
            assert_eq!(media.origin.told_by, LegEpoch(owner));
        }
    }

    // Goal: a pause of more than 6 s by hold begins a new stream when it ends; a shorter one does not.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "an Instant has no other beginning")]
    fn a_long_hold_begins_a_new_stream() {
        for (paused, same) in [(6_000, true), (6_001, false)] {
            let (start, mut prng, epoch) = (Instant::now(), Prng::from_number(1), LegEpoch(1));
            let mut media = MediaSide::new(relay(), Codec::Pcmu, at(start, 0), epoch, &mut prng);
            let ssrc = media.origin.ssrc;
            media.turn(at(start, 0), epoch, MediaDirection::ReceiveOnly, &mut prng);
            media.turn(at(start, 10), epoch, MediaDirection::Inactive, &mut prng);
            media.turn(at(start, paused), epoch, MediaDirection::SendReceive, &mut prng);
            assert_eq!(media.origin.ssrc == ssrc, same, "{paused}");
        }
    }
}
