//! What the relay plays to a phone by itself: music, beep, silence, and the silence that fills in
//! for a peer that is not heard.

use std::net::SocketAddr;

use super::{Channel, MediaSession, Output, Sink, Source};
use crate::{
    limits::{CATCH_UP_FRAMES_MAX, FILL_AFTER_US, FRAME_US},
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
}

#[derive(Debug, Clone, Copy)]
enum Played {
    Music(Music),
    Beep,
    Silence,
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
        match &self.source {
            Source::Music(music) => Some(Played::Music(*music)),
            Source::Beep => Some(Played::Beep),
            Source::Silence => Some(Played::Silence),
            Source::Peer(_) => {
                let silent_us = now.micros_since(self.generator.peer_heard_at);
                (silent_us >= FILL_AFTER_US).then_some(Played::Silence)
            }
        }
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
