//! Telephone events (RFC 4733): reading a key press out of its many packets.
//!
//! A press is a run of packets with one timestamp; its end comes three times. [`DtmfReceiver`]
//! reports each press once: from its end, or, when all ends are lost, from the next press or from
//! silence. What does not live here: how events travel on to the peer ([`crate::stream`]).

use std::fmt;

use crate::{
    ids::Ssrc,
    limits::DTMF_LOST_END_US,
    time::{MonotonicTime, RtpTime, micros_of_samples},
};

/// A key of a phone. Its `Debug` form hides which one: keys are card numbers and PINs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digit(u8);

impl Digit {
    /// The key of a telephone-event code, 0-15 (RFC 4733 table 3); others are not keys.
    pub const fn from_event(event: u8) -> Option<Self> {
        if event < 16 { Some(Self(event)) } else { None }
    }

    /// The key as a caller knows it: `0`-`9`, `*`, `#`, `A`-`D`.
    pub const fn as_char(self) -> char {
        b"0123456789*#ABCD"[(self.0 & 0x0f) as usize] as char
    }
}

impl fmt::Debug for Digit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digit(hidden)")
    }
}

/// One key press.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DtmfEvent {
    /// Which key.
    pub digit: Digit,
    /// How long it was held, in milliseconds, as far as it was heard.
    pub duration_ms: u32,
}

/// The four bytes of an event packet (RFC 4733 section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPayload {
    /// Event code.
    pub event: u8,
    /// True in the last packets of an event.
    pub end: bool,
    /// Level, 0-63, in -dBm0.
    pub volume: u8,
    /// Samples since the timestamp of the packet.
    pub duration: u16,
}

impl EventPayload {
    /// Reads the first event of a payload; `None` when it is too short.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let [event, flags, high, low] = *payload.first_chunk::<4>()?;
        Some(Self {
            event,
            end: flags & 0x80 != 0,
            volume: flags & 0x3f,
            duration: u16::from_be_bytes([high, low]),
        })
    }

    /// The bytes for a packet.
    pub const fn encode(self) -> [u8; 4] {
        let [high, low] = self.duration.to_be_bytes();
        let end = if self.end { 0x80 } else { 0 };
        [self.event, end | (self.volume & 0x3f), high, low]
    }
}

/// Reads key presses out of one phone's event packets.
#[derive(Debug, Default)]
pub struct DtmfReceiver {
    pressed: Option<Press>,
}

#[derive(Debug, Clone, Copy)]
struct Press {
    ssrc: Ssrc,
    /// Where the current segment begins.
    timestamp: RtpTime,
    event: u8,
    duration: u16,
    /// Samples of finished segments before this one (RFC 4733 section 2.5.1.3).
    before: u64,
    reported: Reported,
    heard_at: MonotonicTime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reported {
    No,
    Yes,
}

impl DtmfReceiver {
    /// Takes one event packet. Returns the press that it ends: its own at the first end packet, or
    /// the one before when that lost all its ends.
    pub fn handle(
        &mut self,
        now: MonotonicTime,
        ssrc: Ssrc,
        timestamp: RtpTime,
        payload: EventPayload,
    ) -> Option<DtmfEvent> {
        let (press, lost) = match self.pressed {
            Some(press) if press.is_continued_by(ssrc, timestamp, payload) => {
                (press.advance(now, timestamp, payload), None)
            }
            Some(press) if press.is_later_than(ssrc, timestamp) => return None,
            earlier => {
                (Press::start(now, ssrc, timestamp, payload), earlier.and_then(Press::report))
            }
        };
        if lost.is_some() || !payload.end {
            // A press that begins with its end waits behind the lost one: its other ends, or
            // silence, report it.
            self.pressed = Some(press);
            return lost;
        }
        self.pressed = Some(Press { reported: Reported::Yes, ..press });
        press.report()
    }

    /// Returns the press whose ends never came, once it has been silent for long enough.
    pub fn handle_tick(&mut self, now: MonotonicTime) -> Option<DtmfEvent> {
        let press = self.pressed?;
        if now.micros_since(press.heard_at) < DTMF_LOST_END_US {
            return None;
        }
        let ended = press.report();
        self.pressed = Some(Press { reported: Reported::Yes, ..press });
        ended
    }
}

impl Press {
    fn start(now: MonotonicTime, ssrc: Ssrc, timestamp: RtpTime, payload: EventPayload) -> Self {
        Self {
            ssrc,
            timestamp,
            event: payload.event,
            duration: payload.duration,
            before: 0,
            reported: Reported::No,
            heard_at: now,
        }
    }

    /// True for another packet of the same press: the same timestamp, or the segment that follows
    /// a full one (a key held for more than 8 s).
    fn is_continued_by(&self, ssrc: Ssrc, timestamp: RtpTime, payload: EventPayload) -> bool {
        let step = timestamp.samples_since(self.timestamp);
        let next_segment = step > 0
            && step == i32::from(self.duration)
            && self.duration >= LONG_SEGMENT
            && self.reported == Reported::No;
        self.ssrc == ssrc && self.event == payload.event && (step == 0 || next_segment)
    }

    fn is_later_than(&self, ssrc: Ssrc, timestamp: RtpTime) -> bool {
        self.ssrc == ssrc && timestamp.samples_since(self.timestamp) < 0
    }

    fn advance(self, now: MonotonicTime, timestamp: RtpTime, payload: EventPayload) -> Self {
        if timestamp == self.timestamp {
            let duration = self.duration.max(payload.duration);
            return Self { duration, heard_at: now, ..self };
        }
        let before = self.before + u64::from(self.duration);
        Self { timestamp, duration: payload.duration, before, heard_at: now, ..self }
    }

    fn report(self) -> Option<DtmfEvent> {
        let digit = Digit::from_event(self.event).filter(|_| self.reported == Reported::No)?;
        let micros = micros_of_samples(self.before + u64::from(self.duration));
        Some(DtmfEvent { digit, duration_ms: u32::try_from(micros / 1_000).unwrap_or(u32::MAX) })
    }
}

/// A segment is only followed by another when its 16-bit duration is nearly used up: 7 s.
const LONG_SEGMENT: u16 = 56_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet of a test: milliseconds, timestamp, key, duration in samples, end.
    type Row = (u64, u32, u8, u16, bool);
    /// Name, packets, presses that come out of them.
    type Case = (&'static str, &'static [Row], &'static [(char, u32)]);

    fn presses(packets: &[Row]) -> Vec<(char, u32)> {
        let mut receiver = DtmfReceiver::default();
        let mut presses = Vec::new();
        for &(at_ms, timestamp, event, duration, end) in packets {
            let now = MonotonicTime::from_millis(at_ms);
            presses.extend(receiver.handle_tick(now));
            let payload = EventPayload { event, end, volume: 10, duration };
            presses.extend(receiver.handle(now, Ssrc(1), RtpTime::new(timestamp), payload));
        }
        presses.extend(receiver.handle_tick(MonotonicTime::from_millis(1_000_000)));
        presses.extend(receiver.handle_tick(MonotonicTime::from_millis(2_000_000)));
        presses.iter().map(|press| (press.digit.as_char(), press.duration_ms)).collect()
    }

    // Goal: one press is reported once, whichever of its packets are lost, repeated or late.
    #[test]
    fn each_press_once() {
        let table: [Case; 9] = [
            (
                "whole, three ends",
                &[
                    (0, 0, 5, 160, false),
                    (20, 0, 5, 320, false),
                    (40, 0, 5, 480, true),
                    (40, 0, 5, 480, true),
                    (40, 0, 5, 480, true),
                ],
                &[('5', 60)],
            ),
            ("only the last end", &[(40, 0, 11, 480, true)], &[('#', 60)]),
            ("start lost", &[(20, 0, 10, 320, false), (40, 0, 10, 480, true)], &[('*', 60)]),
            ("all ends lost", &[(0, 0, 1, 160, false), (20, 0, 1, 320, false)], &[('1', 40)]),
            (
                "ends lost, next press",
                &[(0, 0, 1, 160, false), (300, 2_400, 2, 160, false), (320, 2_400, 2, 320, true)],
                &[('1', 20), ('2', 40)],
            ),
            (
                "ends lost, next press is one end packet",
                &[(0, 0, 1, 160, false), (300, 2_400, 2, 160, true)],
                &[('1', 20), ('2', 20)],
            ),
            (
                "a late packet of the press before",
                &[
                    (0, 0, 1, 160, true),
                    (100, 800, 2, 160, false),
                    (105, 0, 1, 160, true),
                    (120, 800, 2, 320, true),
                ],
                &[('1', 20), ('2', 40)],
            ),
            (
                "the same key twice",
                &[(0, 0, 7, 160, true), (200, 1_600, 7, 160, true)],
                &[('7', 20), ('7', 20)],
            ),
            ("flash is no key", &[(0, 0, 16, 160, true)], &[]),
        ];
        for (name, packets, expected) in table {
            assert_eq!(presses(packets), expected, "{name}");
        }
    }

    // Goal: a key held beyond the 16-bit duration is one press with the whole duration.
    #[test]
    fn long_press_spans_segments() {
        let packets = [
            (8_000, 0, 3, 65_535, false),
            (8_020, 65_535, 3, 160, false),
            (8_040, 65_535, 3, 320, true),
        ];
        assert_eq!(presses(&packets), [('3', (65_535 + 320) / 8)]);
    }

    // Goal: which key was pressed never shows in debug output.
    #[test]
    fn debug_hides_the_key() {
        let shown: Vec<_> =
            (0..16).map(|e| format!("{:?}", Digit::from_event(e).expect("a key"))).collect();
        assert!(shown.iter().all(|text| text == &shown[0]));
    }

    // Goal: the payload stands bit for bit as RFC 4733 section 2.3 draws it.
    #[test]
    fn payload_layout() {
        let payload = EventPayload { event: 9, end: true, volume: 10, duration: 0x0320 };
        assert_eq!(payload.encode(), [9, 0x8a, 3, 0x20]);
        assert_eq!(EventPayload::parse(&payload.encode()), Some(payload));
        assert_eq!(EventPayload::parse(&[9, 0, 0]), None);
    }
}
