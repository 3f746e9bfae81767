//! What the relay plays to a phone by itself: music, beep, silence, what it goes on with until a new
//! peer is heard, and the silence that fills in for a peer that is not heard.

use std::net::SocketAddr;

use super::{Channel, MediaSession, Output, Sink, Source};
use crate::{
    limits::{CATCH_UP_FRAMES_MAX, FILL_AFTER_US, FRAME_US, PLAY_ON_US},
    sounds::Music,
    time::MonotonicTime,
};

/// What this relay plays by itself, and when its next frame is due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Generator {
    pub(super) next_frame_at: Option<MonotonicTime>,
    pub(super) beep_position: u64,
    /// When the peer, or the change to it, was heard last.
    pub(super) peer_heard_at: MonotonicTime,
    /// What was played when the peer took its place, while nothing of the peer has come.
    pub(super) plays_on: Option<Played>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Played {
    Music(Music),
    Beep,
    Silence,
}

impl Played {
    /// What the relay plays for this source by itself.
    pub(super) const fn of(source: &Source) -> Option<Self> {
        match source {
            Source::Music(music) => Some(Self::Music(*music)),
            Source::Beep => Some(Self::Beep),
            Source::Silence => Some(Self::Silence),
            Source::Peer(_) => None,
        }
    }
}

impl MediaSession {
    pub(super) fn play(&mut self, now: MonotonicTime, sink: &mut impl Sink) {
        let (Some(to), Some(played)) = (self.target(), self.played(now)) else {
            self.generator.next_frame_at = None;
            return;
        };
        let mut due = self.generator.next_frame_at.unwrap_or(now);
        // Ticks swing around their grid: a frame that is due before the next tick is sent now.
        let horizon = now.plus_micros(FRAME_US / 2);
        let mut frames = 0;
        while due <= horizon && frames < CATCH_UP_FRAMES_MAX {
            self.send_frame(now, to, played, sink);
            due = due.plus_micros(FRAME_US);
            frames += 1;
        }
        // What could not be made up for is skipped.
        let resumed = if due <= horizon { now.plus_micros(FRAME_US) } else { due };
        self.generator.next_frame_at = Some(resumed);
    }

    /// What the relay itself has to play now; `None` while the peer is heard.
    fn played(&self, now: MonotonicTime) -> Option<Played> {
        if let Some(played) = Played::of(&self.source) {
            return Some(played);
        }
        let Generator { peer_heard_at, plays_on, .. } = self.generator;
        let silent_us = now.micros_since(peer_heard_at);
        // The other leg's owner may learn of the bridge later than ours: when the leader that told
        // ours has died, only from the next one.
        plays_on
            .filter(|_| silent_us < PLAY_ON_US)
            .or((silent_us >= FILL_AFTER_US).then_some(Played::Silence))
    }

    fn send_frame(
        &mut self,
        now: MonotonicTime,
        to: SocketAddr,
        played: Played,
        sink: &mut impl Sink,
    ) {
        let codec = self.format.codec;
        let frame = match played {
            Played::Music(music) => {
                self.sounds.music(music, codec, self.stream.frame_position(now))
            }
            Played::Beep => {
                let position = self.generator.beep_position;
                self.generator.beep_position += 1;
                self.sounds.beep(codec, position).unwrap_or_else(|| self.sounds.silence(codec))
            }
            Played::Silence => self.sounds.silence(codec),
        };
        let sent = &mut self.sent;
        self.stream.push_frame(now, self.format.payload_type, frame, &mut |packet: &[u8]| {
            *sent += 1;
            sink.put(Output::Transmit { channel: Channel::Rtp, to, packet });
        });
    }
}
