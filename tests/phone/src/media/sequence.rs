//! Counting packets: extended sequence numbers, loss, duplicates, reordering, steps back
//! (RFC 3550 A.1, A.3, A.8), for one RTP source; and the same for tag counters.

use std::collections::BTreeSet;

use crate::limits::{JUMPS_LISTED_MAX, REORDER_WINDOW_PACKETS};
use crate::media::packet::RtpHeader;
use crate::report::{SsrcReport, StreamBreak};
use crate::time::RunTime;

/// Where a number lies among those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The newest so far; `missing` numbers lie between it and the newest before.
    Newest { missing: u64 },
    /// Older, new within the window.
    Late,
    /// Seen before, with the same content.
    Duplicate,
    /// Seen before, with another content.
    Reused,
    /// Older than the window.
    StepBack,
}

/// The numbers received lately, each with a fingerprint of its content.
#[derive(Debug)]
pub(crate) struct Window {
    /// At `number % size`: (number + 1, fingerprint); 0 is empty.
    slots: Box<[(u64, u64)]>,
    first: u64,
    highest: u64,
    unique: u64,
}

impl Window {
    pub(crate) fn starting_with(number: u64, fingerprint: u64) -> Self {
        let mut window = Self {
            slots: vec![(0, 0); REORDER_WINDOW_PACKETS].into_boxed_slice(),
            first: number,
            highest: number,
            unique: 0,
        };
        window.keep(number, fingerprint);
        window
    }

    pub(crate) fn place(&mut self, number: u64, fingerprint: u64) -> Place {
        if number > self.highest {
            let missing = number - self.highest - 1;
            self.highest = number;
            self.keep(number, fingerprint);
            return Place::Newest { missing };
        }
        if self.highest - number >= REORDER_WINDOW_PACKETS as u64 {
            return Place::StepBack;
        }
        match self.slots[Self::slot(number)] {
            (kept, known) if kept == number + 1 && known == fingerprint => Place::Duplicate,
            (kept, _) if kept == number + 1 => Place::Reused,
            _ => {
                self.first = self.first.min(number);
                self.keep(number, fingerprint);
                Place::Late
            }
        }
    }

    fn keep(&mut self, number: u64, fingerprint: u64) {
        self.slots[Self::slot(number)] = (number + 1, fingerprint);
        self.unique += 1;
    }

    const fn slot(number: u64) -> usize {
        (number % REORDER_WINDOW_PACKETS as u64) as usize
    }

    pub(crate) const fn highest(&self) -> u64 {
        self.highest
    }

    /// How many different numbers came.
    pub(crate) const fn unique(&self) -> u64 {
        self.unique
    }

    /// How many between the first and the newest did not come.
    pub(crate) const fn lost(&self) -> u64 {
        (self.highest - self.first + 1).saturating_sub(self.unique)
    }
}

/// One RTP source.
#[derive(Debug)]
pub(crate) struct SsrcTracker {
    ssrc: u32,
    first_at: RunTime,
    last_at: RunTime,
    window: Window,
    /// Of runs before a confirmed step back.
    lost_before: u64,
    unique_before: u64,
    /// The number that would confirm that the source really went back.
    restart_at: Option<u16>,
    duplicates: u64,
    reused: u64,
    reordered: u64,
    steps_back: u64,
    markers: u64,
    timestamps_back: u64,
    breaks: Vec<StreamBreak>,
    breaks_count: u64,
    payload_types: BTreeSet<u8>,
    newest: Newest,
    jitter_samples: f64,
    /// For the fraction lost of RTCP: (expected, received) at the last report.
    reported: (u64, u64),
}

/// The newest audio packet.
#[derive(Clone, Copy, Debug)]
struct Newest {
    at: RunTime,
    number: u64,
    timestamp: u32,
    samples: u32,
}

/// Extended numbers start here, so that reordering before the first packet stays positive.
const BASE: u64 = 1 << 32;

impl SsrcTracker {
    pub(crate) fn new(now: RunTime, header: RtpHeader, samples: u32, fingerprint: u64) -> Self {
        let number = BASE + u64::from(header.sequence);
        Self {
            ssrc: header.ssrc,
            first_at: now,
            last_at: now,
            window: Window::starting_with(number, fingerprint),
            lost_before: 0,
            unique_before: 0,
            restart_at: None,
            duplicates: 0,
            reused: 0,
            reordered: 0,
            steps_back: 0,
            markers: u64::from(header.marker),
            timestamps_back: 0,
            breaks: Vec::new(),
            breaks_count: 0,
            payload_types: BTreeSet::from([header.payload_type]),
            newest: Newest { at: now, number, timestamp: header.timestamp, samples },
            jitter_samples: 0.0,
            reported: (0, 0),
        }
    }

    pub(crate) const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Counts one packet. `samples` is how much audio it carries; 0 for telephone events, whose
    /// timestamps stand still.
    pub(crate) fn note(
        &mut self,
        now: RunTime,
        header: RtpHeader,
        samples: u32,
        fingerprint: u64,
    ) -> Place {
        self.last_at = now;
        self.markers += u64::from(header.marker);
        self.payload_types.insert(header.payload_type);
        let number = self.extended(header.sequence);
        let place = self.window.place(number, fingerprint);
        match place {
            Place::Newest { missing } => {
                self.restart_at = None;
                self.note_newest(now, header, samples, number, missing);
            }
            Place::Late => self.reordered += 1,
            Place::Duplicate => self.duplicates += 1,
            Place::Reused => self.reused += 1,
            Place::StepBack if self.restart_at == Some(header.sequence) => {
                self.restart(now, header, samples, fingerprint);
                return Place::Newest { missing: 0 };
            }
            Place::StepBack => {
                self.steps_back += 1;
                self.restart_at = Some(header.sequence.wrapping_add(1));
            }
        }
        place
    }

    /// The extended number nearest to the newest one.
    fn extended(&self, sequence: u16) -> u64 {
        let step = sequence.wrapping_sub(self.window.highest() as u16) as i16;
        self.window.highest().saturating_add_signed(step.into())
    }

    /// Two packets in order after a step back: the source did restart (RFC 3550 A.1).
    fn restart(&mut self, now: RunTime, header: RtpHeader, samples: u32, fingerprint: u64) {
        self.lost_before += self.window.lost();
        self.unique_before += self.window.unique();
        let number = BASE + u64::from(header.sequence);
        self.window = Window::starting_with(number, fingerprint);
        self.newest = Newest { at: now, number, timestamp: header.timestamp, samples };
        self.restart_at = None;
    }

    fn note_newest(
        &mut self,
        now: RunTime,
        header: RtpHeader,
        samples: u32,
        number: u64,
        missing: u64,
    ) {
        if samples == 0 {
            self.note_break(now, header, missing, 0);
            return;
        }
        let before = self.newest;
        let step = header.timestamp.wrapping_sub(before.timestamp) as i32;
        let by_number = (number - before.number).saturating_mul(before.samples.max(samples).into());
        let off = i64::from(step) - i64::try_from(by_number).unwrap_or(i64::MAX);
        self.timestamps_back += u64::from(step < 0);
        self.note_break(now, header, missing, off);

        // RFC 3550 A.8, in samples of 125 us; the talkspurt's start says nothing about jitter.
        if !header.marker {
            let transit = now.us_since(before.at) as f64 / 125.0 - f64::from(step);
            self.jitter_samples += (transit.abs() - self.jitter_samples) / 16.0;
        }
        self.newest = Newest { at: now, number, timestamp: header.timestamp, samples };
    }

    fn note_break(&mut self, now: RunTime, header: RtpHeader, missing: u64, off: i64) {
        if missing == 0 && off == 0 {
            return;
        }
        self.breaks_count += 1;
        if self.breaks.len() < JUMPS_LISTED_MAX {
            self.breaks.push(StreamBreak {
                at_us: now,
                missing,
                timestamp_off_samples: off,
                elapsed_us: now.us_since(self.newest.at),
                marker: header.marker,
            });
        }
    }

    fn unique(&self) -> u64 {
        self.unique_before + self.window.unique()
    }

    fn lost(&self) -> u64 {
        self.lost_before + self.window.lost()
    }

    /// (fraction lost since the last call in 1/256, lost altogether, highest extended number,
    /// jitter) for a report block (RFC 3550 A.3).
    pub(crate) fn reception(&mut self) -> (u8, i32, u32, u32) {
        let received = self.unique() + self.duplicates;
        let expected = self.unique() + self.lost();
        let (expected_before, received_before) = self.reported;
        self.reported = (expected, received);
        let expected_now = expected.saturating_sub(expected_before);
        let lost_now = expected_now.saturating_sub(received.saturating_sub(received_before));
        let fraction = (lost_now * 256).checked_div(expected_now).unwrap_or(0).min(255) as u8;
        let lost = self.lost().min(0x007f_ffff) as i32;
        (fraction, lost, self.window.highest() as u32, self.jitter_samples as u32)
    }

    pub(crate) fn report(&self) -> SsrcReport {
        SsrcReport {
            ssrc: self.ssrc,
            first_us: self.first_at,
            last_us: self.last_at,
            packets: self.unique(),
            lost: self.lost(),
            duplicates: self.duplicates,
            reused: self.reused,
            reordered: self.reordered,
            steps_back: self.steps_back,
            markers: self.markers,
            timestamps_back: self.timestamps_back,
            breaks: self.breaks.clone(),
            breaks_count: self.breaks_count,
            payload_types: self.payload_types.iter().copied().collect(),
            jitter_samples: self.jitter_samples as u32,
        }
    }
}

/// A quick fingerprint of a payload, to tell a packet sent twice from a number used twice.
pub(crate) fn fingerprint(payload: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ payload.len() as u64;
    for chunk in payload.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash =
            (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(sequence: u16) -> RtpHeader {
        let timestamp = u32::from(sequence) * 160;
        RtpHeader { marker: false, payload_type: 0, sequence, timestamp, ssrc: 1 }
    }

    /// Sends sequence numbers, 20 ms apart, contents all different unless the number repeats.
    fn report_of(numbers: &[u16]) -> SsrcReport {
        let first = numbers[0];
        let mut tracker = SsrcTracker::new(RunTime::START, header(first), 160, u64::from(first));
        for (at, number) in numbers.iter().enumerate().skip(1) {
            let now = RunTime::from_ms(at as u64 * 20);
            tracker.note(now, header(*number), 160, u64::from(*number));
        }
        tracker.report()
    }

    // Goal: loss, duplicates, reordering and the wrap of sequence numbers are counted exactly.
    #[test]
    fn sequences_are_counted() {
        type Row = (&'static [u16], u64, u64, u64, u64, u64);
        // numbers, packets, lost, duplicates, reordered, breaks
        let table: [Row; 7] = [
            (&[10, 11, 12], 3, 0, 0, 0, 0),
            (&[10, 12, 13], 3, 1, 0, 0, 1),
            (&[10, 12, 11, 13], 4, 0, 0, 1, 1),
            (&[10, 11, 11, 12], 3, 0, 1, 0, 0),
            (&[65_534, 65_535, 0, 1], 4, 0, 0, 0, 0),
            (&[65_535, 1, 0], 3, 0, 0, 1, 1),
            (&[10, 9, 11], 3, 0, 0, 1, 0),
        ];
        for (numbers, packets, lost, duplicates, reordered, _) in table {
            let report = report_of(numbers);
            let counted = (report.packets, report.lost, report.duplicates, report.reordered);
            assert_eq!(counted, (packets, lost, duplicates, reordered), "{numbers:?}");
            assert_eq!((report.reused, report.steps_back), (0, 0), "{numbers:?}");
        }
        // The break list: one entry for a jump, with how many numbers were stepped over.
        let report = report_of(&[10, 14, 15]);
        assert_eq!((report.breaks_count, report.breaks[0].missing), (1, 3));
    }

    // Goal: the last number inside the window is reordering, the next one a step back (M1), and a
    // source that really restarts is counted once and followed.
    #[test]
    fn step_back_at_the_window_edge() {
        let window = REORDER_WINDOW_PACKETS as u16;
        let inside = report_of(&[1_000, 1_000 + window, 1_001]);
        assert_eq!((inside.reordered, inside.steps_back), (1, 0));
        let outside = report_of(&[1_001, 1_001 + window, 1_001]);
        assert_eq!((outside.reordered, outside.steps_back), (0, 1));

        let restarted = report_of(&[1_000, 1_001, 500, 501, 502, 503]);
        assert_eq!((restarted.steps_back, restarted.lost, restarted.packets), (1, 0, 5));
    }

    // Goal: a number used again with another content is told from a duplicate (M1).
    #[test]
    fn reuse_is_no_duplicate() {
        let mut tracker = SsrcTracker::new(RunTime::START, header(5), 160, 1);
        assert_eq!(tracker.note(RunTime::START, header(5), 160, 1), Place::Duplicate);
        assert_eq!(tracker.note(RunTime::START, header(5), 160, 2), Place::Reused);
        let report = tracker.report();
        assert_eq!((report.duplicates, report.reused), (1, 1));
        assert_ne!(fingerprint(b"abc"), fingerprint(b"abd"));
        assert_ne!(fingerprint(b"abc"), fingerprint(b"abc\0"));
    }

    // Goal: timestamps that do not fit the sequence are breaks, backward ones are counted apart, and
    // a telephone event in between is none.
    #[test]
    fn timestamp_continuity() {
        let mut tracker = SsrcTracker::new(RunTime::START, header(1), 160, 1);
        let mut jump = header(2);
        jump.timestamp += 800;
        jump.marker = true;
        tracker.note(RunTime::from_ms(120), jump, 160, 2);
        let mut event = header(3);
        event.payload_type = 101;
        tracker.note(RunTime::from_ms(140), event, 0, 3);
        let mut back = header(4);
        back.timestamp = 100;
        tracker.note(RunTime::from_ms(160), back, 160, 4);
        let report = tracker.report();
        assert_eq!((report.breaks_count, report.timestamps_back), (2, 1));
        let found = &report.breaks[0];
        assert_eq!((found.timestamp_off_samples, found.marker), (800, true));
        assert_eq!(found.elapsed_us, 120_000);
        assert_eq!(report.payload_types, [0, 101]);
    }

    // Goal: even arrivals have no jitter; the fraction lost covers only the time since the last report.
    #[test]
    fn reception_report() {
        let mut tracker = SsrcTracker::new(RunTime::START, header(0), 160, 0);
        for n in [1_u16, 2, 3] {
            tracker.note(RunTime::from_ms(u64::from(n) * 20), header(n), 160, n.into());
        }
        assert_eq!(tracker.reception(), (0, 0, (BASE + 3) as u32, 0));
        tracker.note(RunTime::from_ms(140), header(7), 160, 7);
        assert_eq!(tracker.reception(), (192, 3, (BASE + 7) as u32, 0));
        assert_eq!(tracker.reception().0, 0, "nothing came since");
    }
}
