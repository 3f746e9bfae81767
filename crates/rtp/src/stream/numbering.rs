//! Which sequence numbers a stream may use, and when: the heart of invariant M1.
//!
//! A number is an index that counts on from the stream's first packet; only its low 16 bits travel.
//! The *line* is where the index would be if one packet had left every 20 ms, plus one jump for
//! every takeover. A running stream stays near its line, at most [`SEQUENCE_AHEAD_MAX`] above it,
//! so that a relay that takes over begins one [`TAKEOVER_JUMP`] higher and meets no used number.

use super::StreamOrigin;
use crate::{
    limits::{
        FRAME_US, REORDER_WINDOW, SEQUENCE_AHEAD_MAX, SEQUENCE_BEHIND_MAX, SEQUENCE_SKIP_MAX,
        TAKEOVER_JUMP, TAKEOVER_SILENCE_MAX,
    },
    time::{MonotonicTime, samples_in_micros},
};

/// The projection of a stream: where it would be by elapsed time alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    start: MonotonicTime,
    elapsed_at_start_us: u64,
    takeovers: u32,
}

impl Line {
    pub(super) fn new(now: MonotonicTime, origin: &StreamOrigin) -> Self {
        let takeovers = origin.takeovers;
        Self { start: now, elapsed_at_start_us: origin.elapsed_us, takeovers }
    }

    pub(super) fn elapsed_us(&self, now: MonotonicTime) -> u64 {
        self.elapsed_at_start_us.saturating_add(now.micros_since(self.start))
    }

    pub(super) fn index(&self, now: MonotonicTime) -> u64 {
        self.elapsed_us(now) / FRAME_US + u64::from(self.takeovers) * TAKEOVER_JUMP
    }

    /// Samples since the stream began.
    pub(super) fn samples(&self, now: MonotonicTime) -> i64 {
        samples_in_micros(self.elapsed_us(now))
    }
}

/// Why a number may not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NumberRefused {
    /// It was used.
    Duplicate,
    /// It lies before the last change of source, or too far behind the newest.
    Late,
    /// The line is too far away: the stream must begin anew under another SSRC.
    OffTheLine,
}

/// Whether a stream has other takeovers behind it than it knew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Raised {
    No,
    Yes,
}

/// The numbers of one SSRC.
#[derive(Debug, Clone)]
pub(super) struct Numbering {
    line: Line,
    highest: Option<u64>,
    /// Bit n: `highest - n` was used.
    used: u64,
    /// Numbers below it belong to the time before the last change of source.
    open_from: u64,
    /// Where the line was when this relay began to send the stream.
    line_at_start: u64,
}

impl Numbering {
    pub(super) fn new(line: Line) -> Self {
        let line_at_start = line.index(line.start);
        Self { line, highest: None, used: 0, open_from: 0, line_at_start }
    }

    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    /// Notes that other relays have sent this stream meanwhile: it goes on at its new line, beyond
    /// whatever they used. Takeovers only add up; an older description changes nothing.
    pub(super) fn raise_takeovers(&mut self, now: MonotonicTime, takeovers: u32) -> Raised {
        if takeovers <= self.line.takeovers {
            return Raised::No;
        }
        self.line.takeovers = takeovers;
        self.highest = None;
        self.used = 0;
        self.open_from = 0;
        self.line_at_start = self.line.index(now);
        Raised::Yes
    }

    /// Closes everything that was not sent so far.
    pub(super) fn close(&mut self) {
        if let Some(highest) = self.highest {
            self.open_from = highest + 1;
        }
    }

    /// The number of the next packet in line, without using it: the one after the newest, or
    /// higher when the stream lagged (or is taken over).
    pub(super) fn next(&self, now: MonotonicTime) -> Result<u64, NumberRefused> {
        let line = self.line.index(now);
        let Some(highest) = self.highest else {
            // A receiver that heard the stream elsewhere would take a longer silence for a jump.
            // Threads may hand in their moments a little out of order.
            let silent = line.saturating_sub(self.line_at_start);
            let heard_elsewhere = self.line.takeovers > 0;
            return if heard_elsewhere && silent > TAKEOVER_SILENCE_MAX {
                Err(NumberRefused::OffTheLine)
            } else {
                Ok(line)
            };
        };
        let lowest = line.saturating_sub(SEQUENCE_BEHIND_MAX);
        let next = lowest.max(highest + 1).max(self.open_from);
        if next - highest > SEQUENCE_SKIP_MAX || next > line + SEQUENCE_AHEAD_MAX {
            return Err(NumberRefused::OffTheLine);
        }
        Ok(next)
    }

    /// Begins a run of numbers at `first`; earlier ones are closed.
    pub(super) fn open(&mut self, first: u64) {
        self.open_from = self.open_from.max(first);
    }

    /// Uses `index`.
    pub(super) fn claim(&mut self, now: MonotonicTime, index: u64) -> Result<(), NumberRefused> {
        if index < self.open_from {
            return Err(NumberRefused::Late);
        }
        match self.highest {
            Some(highest) if index <= highest => self.claim_late(highest - index),
            highest => self.claim_new(now, highest, index),
        }
    }

    fn claim_late(&mut self, behind: u64) -> Result<(), NumberRefused> {
        if behind >= REORDER_WINDOW {
            return Err(NumberRefused::Late);
        }
        let bit = 1 << behind;
        if self.used & bit != 0 {
            return Err(NumberRefused::Duplicate);
        }
        self.used |= bit;
        Ok(())
    }

    fn claim_new(
        &mut self,
        now: MonotonicTime,
        highest: Option<u64>,
        index: u64,
    ) -> Result<(), NumberRefused> {
        let step = highest.map_or(1, |highest| index - highest);
        if step > SEQUENCE_SKIP_MAX || index > self.line.index(now) + SEQUENCE_AHEAD_MAX {
            return Err(NumberRefused::OffTheLine);
        }
        let shifted = u32::try_from(step).ok().and_then(|step| self.used.checked_shl(step));
        self.used = shifted.unwrap_or(0) | 1;
        self.highest = Some(index);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{NumberRefused::*, *};
    use crate::ids::Ssrc;

    fn numbering(elapsed_ms: u64, takeovers: u32) -> Numbering {
        let origin = StreamOrigin {
            ssrc: Ssrc(1),
            first_sequence: 0,
            first_timestamp: crate::time::RtpTime::new(0),
            elapsed_us: elapsed_ms * 1_000,
            takeovers,
        };
        Numbering::new(Line::new(MonotonicTime::from_millis(0), &origin))
    }

    fn at(ms: u64) -> MonotonicTime {
        MonotonicTime::from_millis(ms)
    }

    // Goal: each number is used once, late ones inside the window only, none from before a switch.
    #[test]
    fn claims_table() {
        let mut numbers = numbering(0, 0);
        let table = [
            (0, Ok(())),
            (0, Err(Duplicate)),
            (70, Ok(())),
            (69, Ok(())),
            (69, Err(Duplicate)),
            (70 - 63, Ok(())),
            (70 - 64, Err(Late)),
            (71, Ok(())),
            (70 - 63, Err(Late)),
        ];
        for (index, expected) in table {
            assert_eq!(numbers.claim(at(0), index), expected, "{index}");
        }
        numbers.close();
        assert_eq!(numbers.claim(at(0), 68), Err(Late));
        assert_eq!(numbers.claim(at(0), 72), Ok(()));
    }

    // Goal: the next number follows the last one, and lags the line by a bound at most.
    #[test]
    fn next_stays_near_the_line() {
        let mut numbers = numbering(0, 0);
        assert_eq!(numbers.claim(at(0), 0), Ok(()));
        assert_eq!(numbers.next(at(SEQUENCE_BEHIND_MAX * 20)), Ok(1));
        assert_eq!(numbers.next(at((SEQUENCE_BEHIND_MAX + 50) * 20)), Ok(50));
        let longest = SEQUENCE_BEHIND_MAX + SEQUENCE_SKIP_MAX;
        assert_eq!(numbers.next(at(longest * 20)), Ok(SEQUENCE_SKIP_MAX));
        assert_eq!(numbers.next(at((longest + 1) * 20)), Err(OffTheLine));
    }

    // Goal: the bound above the line just holds, and one more breaks.
    #[test]
    fn ahead_is_bounded() {
        let mut numbers = numbering(0, 0);
        for index in 0..=SEQUENCE_AHEAD_MAX {
            assert_eq!(numbers.next(at(0)), Ok(index));
            assert_eq!(numbers.claim(at(0), index), Ok(()));
        }
        assert_eq!(numbers.next(at(0)), Err(OffTheLine));
        assert_eq!(numbers.claim(at(0), SEQUENCE_AHEAD_MAX + 1), Err(OffTheLine));
        assert_eq!(numbers.claim(at(20), SEQUENCE_AHEAD_MAX + 1), Ok(()));
    }

    // Goal: whatever a stream used at any moment, the relay that takes over begins above it, by
    // less than receivers take for a new source; also twice in a row.
    #[test]
    fn takeover_begins_above_everything_used() {
        for elapsed_ms in [0, 19, 20, 5_000, 3_600_000] {
            let highest_possible = elapsed_ms / 20 + SEQUENCE_AHEAD_MAX;
            let lowest_possible = (elapsed_ms / 20).saturating_sub(SEQUENCE_BEHIND_MAX);
            for takeovers in 1..=2 {
                let first = numbering(elapsed_ms, takeovers).next(at(0)).expect("a first number");
                assert!(first > highest_possible);
                assert!(first - lowest_possible < crate::limits::MAX_DROPOUT);
            }
        }
    }

    // Goal: a relay that took a stream over and could not send it for a while goes on up to the
    // bound, and begins a new one beyond it.
    #[test]
    fn silence_after_a_takeover_is_bounded() {
        let edge_ms = TAKEOVER_SILENCE_MAX * 20;
        for (takeovers, later_ms, holds) in
            [(1, edge_ms, true), (1, edge_ms + 20, false), (0, edge_ms * 100, true)]
        {
            let next = numbering(500, takeovers).next(at(later_ms));
            assert_eq!(next.is_ok(), holds, "{takeovers} takeovers, {later_ms} ms: {next:?}");
        }
    }

    // Goal: a session that gets its stream back (relay A, B, A) goes on above what B used, however
    // long B had it, and an older description does not take it back.
    #[test]
    fn raised_takeovers_lift_a_running_stream() {
        for away_ms in [0, 3_600_000] {
            let mut numbers = numbering(0, 0);
            assert_eq!(numbers.claim(at(0), 0), Ok(()));
            assert_eq!(numbers.raise_takeovers(at(away_ms), 2), Raised::Yes);
            let first = away_ms / 20 + 2 * TAKEOVER_JUMP;
            assert_eq!(numbers.next(at(away_ms)), Ok(first));
            assert_eq!(numbers.claim(at(away_ms), first), Ok(()));
            assert_eq!(numbers.raise_takeovers(at(away_ms), 1), Raised::No);
            assert_eq!(numbers.next(at(away_ms)), Ok(first + 1));
        }
    }
}
