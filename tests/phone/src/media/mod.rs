//! Audio: what is sent, what is heard, and the one pacing loop of all streams.
//!
//! No sockets here: datagrams come in by `MediaPlane::take_rtp` and leave by the `Io` seam.

mod g711;
mod hearing;
mod packet;
mod receiver;
mod rtcp;
mod sender;
mod sequence;
mod stalls;
mod stream;
mod tag;
mod tone;
mod wav;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

pub use g711::{decode as g711_decode, encode as g711_encode, silence as g711_silence};
pub(crate) use hearing::HearingChange;
pub use packet::{RTP_HEADER_BYTES, RtpHeader, TelephoneEvent, digit_code};
pub(crate) use receiver::ReceiveChange;
pub use sender::SentAudio;
pub(crate) use sender::{SendFormat, Talking};
pub(crate) use stream::{Listening, Negotiated, Stream, StreamOptions};
pub use tag::{SenderTag, TAG_BLOCK_BYTES, read_tag, write_tag};
pub use tone::{KnownSound, SAMPLE_RATE_HZ, goertzel_share};

use crate::io::Io;
use crate::limits::CATCH_UP_PACKETS_MAX;
use crate::report::MediaReport;
use crate::time::RunTime;
use crate::ua::LegId;
use stalls::Stalls;

/// The 20 ms of a packet are cut into slots; each stream sends in its own slot, so that hundreds of
/// calls do not send in one burst that no real crowd of phones would make.
const SLOTS: u64 = 10;
/// Length of one slot.
pub(crate) const SLOT_US: u64 = 20_000 / SLOTS;
/// The media loop runs every slot; a pause longer than this means that the process slept.
const STALL_US_MIN: u64 = 15_000;

/// Which RTP sources are heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceCheck {
    /// Only the address in the SDP (invariant M2); others are counted apart.
    #[default]
    SignalledOnly,
    /// All; others are counted, and heard too. For peers behind address translation.
    Any,
}

/// Names a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StreamId(pub(crate) u64);

/// Something heard that the call's record should know at once.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MediaEvent {
    pub(crate) leg: LegId,
    pub(crate) change: ReceiveChange,
}

/// All streams of a world.
#[derive(Debug)]
pub(crate) struct MediaPlane {
    streams: BTreeMap<StreamId, Stream>,
    slots: Vec<Vec<StreamId>>,
    serial: u64,
    /// The last slot, counted from the run's start, that was served.
    served: u64,
    last_alive: RunTime,
    stalls: Stalls,
    events: Vec<MediaEvent>,
    known_sounds: Rc<[KnownSound]>,
}

impl MediaPlane {
    pub(crate) fn new(known_sounds: Vec<KnownSound>) -> Self {
        Self {
            streams: BTreeMap::new(),
            slots: vec![Vec::new(); SLOTS as usize],
            serial: 0,
            served: 0,
            last_alive: RunTime::START,
            stalls: Stalls::default(),
            events: Vec::new(),
            known_sounds: known_sounds.into(),
        }
    }

    /// The name of the next stream; its sockets are opened under it.
    pub(crate) fn next_id(&mut self) -> StreamId {
        self.serial += 1;
        StreamId(self.serial)
    }

    /// Adds a stream to the slot with the fewest.
    pub(crate) fn add(&mut self, id: StreamId, options: StreamOptions) {
        if self.streams.is_empty() {
            self.last_alive = self.last_alive.max(options.opened);
        }
        let stream = Stream::new(options, Rc::clone(&self.known_sounds), self.stalls.total_us());
        self.streams.insert(id, stream);
        if let Some(slot) = self.slots.iter_mut().min_by_key(|slot| slot.len()) {
            slot.push(id);
        }
    }

    pub(crate) fn get(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.streams.get_mut(&id)
    }

    pub(crate) fn len(&self) -> usize {
        self.streams.len()
    }

    /// Ends a stream: says RTCP BYE, closes the last pause, returns what was recorded.
    pub(crate) fn remove(
        &mut self,
        now: RunTime,
        id: StreamId,
        io: &mut dyn Io,
    ) -> Option<(MediaReport, Option<Vec<u8>>)> {
        let mut stream = self.streams.remove(&id)?;
        for slot in &mut self.slots {
            slot.retain(|kept| *kept != id);
        }
        let gap = stream.finish(now, id, io, &self.stalls);
        self.events.extend(gap.map(|gap| MediaEvent {
            leg: stream.leg(),
            change: ReceiveChange::Hearing(HearingChange::Gap(gap)),
        }));
        let report = stream.report(now, &self.stalls);
        Some((report, stream.take_wav()))
    }

    /// Applies a negotiation to a stream.
    pub(crate) fn apply(&mut self, now: RunTime, id: StreamId, negotiated: &Negotiated) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let gap = stream.apply(now, negotiated, &self.stalls);
        self.events.extend(gap.map(|gap| MediaEvent {
            leg: stream.leg(),
            change: ReceiveChange::Hearing(HearingChange::Gap(gap)),
        }));
    }

    /// The other side is gone and another one is called: nothing is sent or expected until it
    /// describes itself.
    pub(crate) fn detach(&mut self, now: RunTime, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let gap = stream.detach(now, &self.stalls);
        self.events.extend(gap.map(|gap| MediaEvent {
            leg: stream.leg(),
            change: ReceiveChange::Hearing(HearingChange::Gap(gap)),
        }));
    }

    /// A report of a stream that goes on.
    pub(crate) fn report(&self, now: RunTime, id: StreamId) -> Option<MediaReport> {
        self.streams.get(&id).map(|stream| stream.report(now, &self.stalls))
    }

    /// A datagram came to a stream's RTP port.
    pub(crate) fn take_rtp(
        &mut self,
        now: RunTime,
        id: StreamId,
        source: SocketAddr,
        bytes: &[u8],
    ) {
        self.stay_alive(now);
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let leg = stream.leg();
        let changes = stream.take_rtp(now, source, bytes, &self.stalls);
        self.events.extend(changes.into_iter().map(|change| MediaEvent { leg, change }));
    }

    /// A datagram came to a stream's RTCP port.
    pub(crate) fn take_rtcp(&mut self, now: RunTime, id: StreamId, bytes: &[u8]) {
        self.stay_alive(now);
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.take_rtcp(now, bytes);
        }
    }

    /// What was heard since the last call.
    pub(crate) fn drain_events(&mut self) -> Vec<MediaEvent> {
        std::mem::take(&mut self.events)
    }

    /// Sends what is due. To be called every [`SLOT_US`]; late calls catch up a little and then
    /// skip, as a sound card would.
    pub(crate) fn tick(&mut self, now: RunTime, io: &mut dyn Io) {
        self.stay_alive(now);
        let due = now.as_us() / SLOT_US;
        let missed_rounds = (due - self.served) / SLOTS;
        if missed_rounds > CATCH_UP_PACKETS_MAX {
            let skipped = missed_rounds - CATCH_UP_PACKETS_MAX;
            self.streams.values_mut().for_each(|stream| stream.skip_packets(skipped));
            self.served += skipped * SLOTS;
        }
        while self.served < due {
            self.served += 1;
            let slot = (self.served % SLOTS) as usize;
            for id in &self.slots[slot] {
                if let Some(stream) = self.streams.get_mut(id) {
                    stream.tick(now, *id, io);
                }
            }
        }
    }

    /// Notes when the process slept; without streams nobody cares.
    fn stay_alive(&mut self, now: RunTime) {
        if !self.streams.is_empty() && now.us_since(self.last_alive) > STALL_US_MIN {
            self.stalls.note(self.last_alive, now);
        }
        self.last_alive = self.last_alive.max(now);
    }
}
