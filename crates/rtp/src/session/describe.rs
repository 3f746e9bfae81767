//! Taking over the owner's wishes: epochs, revisions, and what a change does to the stream.
//!
//! A higher epoch takes a running session over without touching the audio: the same ports, the same
//! stream, the same learned address. A lower one is refused (invariant S2).

use std::sync::Arc;

use thiserror::Error;

use super::{
    Generator, MediaFlow, MediaSession, Reports, SessionDescription, SessionTimes, Source,
    playing::Played,
};
use crate::{
    dtmf::DtmfReceiver,
    ids::{LegEpoch, Revision},
    latch::SourceLatch,
    limits::{PACKETS_BURST_MAX, PACKETS_PER_SECOND_MAX, RTCP_PER_SECOND_MAX},
    rate::TokenBucket,
    sounds::Sounds,
    stats::ReceiveStatistics,
    stream::{OutgoingStream, StreamOrigin},
    time::MonotonicTime,
};

/// Why a description was not applied; nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DescribeRefused {
    /// A higher epoch owns the leg.
    #[error("epoch {offered} is below {known}: another node owns this leg now; stop acting for it")]
    Epoch {
        /// Epoch of the call.
        offered: u64,
        /// Epoch in force.
        known: u64,
    },
    /// A later description is in force.
    #[error("revision {offered} is below {known}, which is in force; nothing changed")]
    StaleRevision {
        /// Revision of the call.
        offered: u64,
        /// Revision in force.
        known: u64,
    },
}

impl MediaSession {
    /// A new session. The description was checked ([`SessionDescription::check`]).
    pub fn new(
        now: MonotonicTime,
        description: SessionDescription,
        times: SessionTimes,
        sounds: Arc<Sounds>,
    ) -> Self {
        let latch = description.remote.map(|remote| SourceLatch::new(remote, description.learning));
        let mut session = Self {
            leg: description.leg,
            epoch: description.epoch,
            revision: description.revision,
            owner: description.owner,
            latch,
            rtcp_mode: description.rtcp_mode,
            format: description.format,
            direction: description.direction,
            source: description.source,
            stream: OutgoingStream::new(now, &description.origin),
            origin_ssrc: description.origin.ssrc,
            generator: Generator {
                next_frame_at: None,
                beep_position: 0,
                peer_heard_at: now,
                plays_on: None,
            },
            flow: MediaFlow::Unasked,
            receive: ReceiveStatistics::default(),
            dtmf: DtmfReceiver::default(),
            reports: Reports::new(now, description.origin.ssrc, description.cname),
            rtp_rate: TokenBucket::new(now, PACKETS_PER_SECOND_MAX, PACKETS_BURST_MAX),
            rtcp_rate: TokenBucket::new(now, RTCP_PER_SECOND_MAX, RTCP_PER_SECOND_MAX),
            times,
            created_at: now,
            alive_at: now,
            sent: 0,
            sounds,
        };
        session.ask_for_media(now);
        session
    }

    /// Whether a call of this epoch and revision may change the session.
    pub fn admit(&self, epoch: LegEpoch, revision: Revision) -> Result<(), DescribeRefused> {
        if epoch < self.epoch {
            return Err(DescribeRefused::Epoch { offered: epoch.0, known: self.epoch.0 });
        }
        if epoch == self.epoch && revision < self.revision {
            let (offered, known) = (revision.0, self.revision.0);
            return Err(DescribeRefused::StaleRevision { offered, known });
        }
        Ok(())
    }

    /// Applies a description to the running session; the same one again changes nothing. The
    /// description was checked ([`SessionDescription::check`]) and is for this leg.
    pub fn describe(
        &mut self,
        now: MonotonicTime,
        description: SessionDescription,
    ) -> Result<(), DescribeRefused> {
        self.admit(description.epoch, description.revision)?;
        let taken_over = description.epoch != self.epoch;
        self.epoch = description.epoch;
        self.revision = description.revision;
        self.owner = description.owner;
        self.owner_seen(now);
        self.follow_origin(now, &description.origin);
        self.reports.set_cname(description.cname);
        if self.format != description.format {
            self.format = description.format;
            self.stream.switch_source();
        }
        self.change_source(now, description.source);
        self.rtcp_mode = description.rtcp_mode;
        let remote_before = self.latch.as_ref().map(SourceLatch::rtp_target);
        let received_before = self.direction.receives();
        self.direction = description.direction;
        self.latch = match (self.latch.take(), description.remote) {
            (Some(mut latch), Some(remote)) => {
                latch.update(remote, description.learning);
                Some(latch)
            }
            (None, Some(remote)) => Some(SourceLatch::new(remote, description.learning)),
            (_, None) => None,
        };
        let remote_now = self.latch.as_ref().map(SourceLatch::rtp_target);
        if remote_now != remote_before || received_before != self.direction.receives() {
            self.ask_for_media(now);
        } else if taken_over {
            // The former owner was told whether media flows; the new one is told anew.
            self.watch_anew(now);
        }
        Ok(())
    }

    /// Goes on with the stream that the owner names. A stream that had to begin a new SSRC by
    /// itself stays with it while the owner, who may not know yet, repeats the old origin.
    fn follow_origin(&mut self, now: MonotonicTime, origin: &StreamOrigin) {
        if origin.ssrc == self.stream.ssrc() {
            self.stream.raise_takeovers(now, origin.takeovers);
        } else if origin.ssrc != self.origin_ssrc {
            self.stream = OutgoingStream::new(now, origin);
            self.generator.next_frame_at = None;
        }
        self.origin_ssrc = origin.ssrc;
    }

    fn change_source(&mut self, now: MonotonicTime, source: Source) {
        if source == self.source {
            return;
        }
        let own = Played::of(&self.source);
        self.source = source;
        self.stream.switch_source();
        // Generated frames keep their grid, so that music follows a beep without a step.
        if self.source == Source::Beep {
            self.generator.beep_position = 0;
        }
        match (own, &self.source) {
            (Some(_), Source::Peer(_)) => {
                self.generator.plays_on = own;
                self.generator.peer_heard_at = now;
            }
            // Of one peer after another, none of them heard, the sound goes on, and no longer for that.
            (None, Source::Peer(_)) if self.generator.plays_on.is_some() => {}
            _ => {
                self.generator.plays_on = None;
                self.generator.peer_heard_at = now;
            }
        }
    }

    fn ask_for_media(&mut self, now: MonotonicTime) {
        self.receive.pause();
        self.watch_anew(now);
    }

    fn watch_anew(&mut self, now: MonotonicTime) {
        let asked = self.latch.is_some() && self.direction.receives();
        self.flow = if asked { MediaFlow::Waiting { since: now } } else { MediaFlow::Unasked };
    }
}
