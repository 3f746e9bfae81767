//! What a receiver knows about a stream: loss and jitter (RFC 3550 appendices A.1, A.3, A.8), gaps,
//! and the round trip from reports (section 6.4.1).
//!
//! What does not live here: whether a packet is accepted at all ([`crate::latch`]).

use crate::{
    ids::Ssrc,
    limits::{MAX_DROPOUT, MAX_MISORDER, MIN_SEQUENTIAL},
    rtcp::{NtpTime, ReportBlock},
    time::{MonotonicTime, RtpTime, micros_of_samples, samples_in_micros},
};

const SEQUENCE_MOD: u32 = 1 << 16;

/// Statistics of everything that one phone sent, over all its SSRCs.
#[derive(Debug, Clone, Default)]
pub struct ReceiveStatistics {
    current: Option<SourceStatistics>,
    finished_received: u64,
    finished_lost: u64,
    last_arrival: Option<MonotonicTime>,
    largest_gap_us: u64,
}

/// The totals, as they enter a contact's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReceiveTotals {
    /// Packets received.
    pub received: u64,
    /// Packets expected and not received; duplicates of others may hide some.
    pub lost: u64,
    /// Interarrival jitter of the current source, in microseconds.
    pub jitter_us: u32,
    /// Longest time between two packets, in microseconds.
    pub largest_gap_us: u64,
}

impl ReceiveStatistics {
    /// Counts a packet that was accepted at `now`.
    pub fn record(&mut self, now: MonotonicTime, ssrc: Ssrc, sequence: u16, timestamp: RtpTime) {
        if let Some(last) = self.last_arrival {
            self.largest_gap_us = self.largest_gap_us.max(now.micros_since(last));
        }
        self.last_arrival = Some(now);
        match &mut self.current {
            Some(source) if source.ssrc == ssrc => source.record(now, sequence, timestamp),
            _ => {
                self.finish_current();
                self.current = Some(SourceStatistics::new(now, ssrc, sequence, timestamp));
            }
        }
    }

    /// Forgets the time of the last packet: a pause that was agreed on (hold) is no gap.
    pub fn pause(&mut self) {
        self.last_arrival = None;
    }

    /// The source that packets come from now.
    pub fn source(&self) -> Option<Ssrc> {
        self.current.as_ref().map(|source| source.ssrc)
    }

    /// Totals over all sources.
    pub fn totals(&self) -> ReceiveTotals {
        let (received, lost, jitter) = self.current.as_ref().map_or((0, 0, 0), |source| {
            (source.received(), source.lost().max(0) as u64, source.jitter())
        });
        ReceiveTotals {
            received: self.finished_received + received,
            lost: self.finished_lost + lost,
            jitter_us: u32::try_from(micros_of_samples(u64::from(jitter))).unwrap_or(u32::MAX),
            largest_gap_us: self.largest_gap_us,
        }
    }

    /// The report block about the current source; resets the interval that `fraction_lost` covers.
    pub fn take_report(
        &mut self,
        last_report: Option<&HeardReport>,
        now: MonotonicTime,
    ) -> Option<ReportBlock> {
        let source = self.current.as_mut()?;
        let heard = last_report.filter(|heard| heard.source == source.ssrc);
        let (fraction_lost, cumulative_lost) = source.take_interval();
        Some(ReportBlock {
            source: source.ssrc,
            fraction_lost,
            cumulative_lost,
            highest_sequence: source.extended_highest(),
            jitter: source.jitter(),
            last_sender_report: heard.map_or(0, |heard| heard.ntp.middle()),
            delay_since_last: heard.map_or(0, |heard| delay_units(now.micros_since(heard.at))),
        })
    }

    fn finish_current(&mut self) {
        if let Some(source) = self.current.take() {
            self.finished_received += source.received();
            self.finished_lost += source.lost().max(0) as u64;
        }
    }
}

/// The last sender report that was heard from a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeardReport {
    /// Whose report it was.
    pub source: Ssrc,
    /// Its time, by the sender's clock.
    pub ntp: NtpTime,
    /// When it arrived, by ours.
    pub at: MonotonicTime,
}

/// Round trip by RFC 3550 section 6.4.1 from a report block about our own stream, in microseconds.
/// `now` is the time on the clock that our sender reports carry. `None` when the receiver has not
/// heard a report of ours, or when its figures contradict the clock.
pub fn round_trip_us(now: NtpTime, block: &ReportBlock) -> Option<u32> {
    if block.last_sender_report == 0 {
        return None;
    }
    let units =
        now.middle().wrapping_sub(block.last_sender_report).wrapping_sub(block.delay_since_last);
    // A receiver with a coarse clock may claim to have waited a little longer than it did; what
    // lies above half of the range is such a small negative number, and no round trip of hours.
    if units > u32::MAX / 2 {
        return None;
    }
    u32::try_from((u64::from(units) * 1_000_000) >> 16).ok()
}

fn delay_units(micros: u64) -> u32 {
    u32::try_from((u128::from(micros) << 16) / 1_000_000).unwrap_or(u32::MAX)
}

/// One source: RFC 3550 appendix A.1 with wraps counted in 64 bits, A.3 and A.8.
#[derive(Debug, Clone)]
struct SourceStatistics {
    ssrc: Ssrc,
    base: u64,
    highest: u64,
    bad_sequence: Option<u16>,
    probation: u32,
    received: u64,
    /// Kept over a restart of the numbers within one source.
    before_restart: (u64, i64),
    prior_expected: u64,
    prior_received: u64,
    last_transit: i64,
    /// Sixteen times the jitter, so that integer arithmetic rounds (appendix A.8).
    jitter_16: u64,
    first_at: MonotonicTime,
}

impl SourceStatistics {
    fn new(now: MonotonicTime, ssrc: Ssrc, sequence: u16, timestamp: RtpTime) -> Self {
        let mut source = Self {
            ssrc,
            base: 0,
            highest: 0,
            bad_sequence: None,
            probation: MIN_SEQUENTIAL - 1,
            received: 1,
            before_restart: (0, 0),
            prior_expected: 0,
            prior_received: 0,
            last_transit: 0,
            jitter_16: 0,
            first_at: now,
        };
        source.restart(sequence);
        source.received = 1;
        source.last_transit = source.transit(now, timestamp);
        source
    }

    fn record(&mut self, now: MonotonicTime, sequence: u16, timestamp: RtpTime) {
        if self.record_sequence(sequence) {
            self.received += 1;
            self.record_jitter(now, timestamp);
        }
    }

    /// Appendix A.1; false when the packet is set aside as the possible start of new numbers.
    fn record_sequence(&mut self, sequence: u16) -> bool {
        let step = u64::from(sequence.wrapping_sub(self.highest as u16));
        if self.probation > 0 {
            // Not yet valid: the count begins anew at every break.
            if step == 1 {
                self.probation -= 1;
                self.highest += 1;
            } else {
                self.probation = MIN_SEQUENTIAL - 1;
                self.restart(sequence);
            }
            return true;
        }
        if step < MAX_DROPOUT {
            self.highest += step;
            true
        } else if step <= u64::from(SEQUENCE_MOD) - MAX_MISORDER {
            // A very large jump: believed when the next packet follows it.
            if self.bad_sequence == Some(sequence) {
                self.before_restart = (self.received(), self.lost());
                self.restart(sequence);
                true
            } else {
                self.bad_sequence = Some(sequence.wrapping_add(1));
                false
            }
        } else {
            true // late or duplicate
        }
    }

    fn restart(&mut self, sequence: u16) {
        self.base = u64::from(SEQUENCE_MOD) + u64::from(sequence);
        self.highest = self.base;
        self.bad_sequence = None;
        self.received = 0;
        self.prior_expected = 0;
        self.prior_received = 0;
    }

    /// Appendix A.8 with the rounding it proposes.
    fn record_jitter(&mut self, now: MonotonicTime, timestamp: RtpTime) {
        let transit = self.transit(now, timestamp);
        let difference = (transit - self.last_transit).unsigned_abs();
        self.last_transit = transit;
        // A jump of the sender's clock is no jitter.
        if difference < u64::from(crate::limits::SAMPLE_RATE_HZ) * 10 {
            self.jitter_16 = self.jitter_16 + difference - ((self.jitter_16 + 8) >> 4);
        }
    }

    /// Difference of both clocks in samples; only its changes mean something.
    fn transit(&self, now: MonotonicTime, timestamp: RtpTime) -> i64 {
        let arrival = samples_in_micros(now.micros_since(self.first_at)) as u32;
        i64::from(arrival.wrapping_sub(timestamp.value()) as i32)
    }

    fn expected(&self) -> u64 {
        self.highest - self.base + 1
    }

    fn received(&self) -> u64 {
        self.before_restart.0 + self.received
    }

    fn lost(&self) -> i64 {
        self.before_restart.1 + self.expected() as i64 - self.received as i64
    }

    fn jitter(&self) -> u32 {
        u32::try_from(self.jitter_16 >> 4).unwrap_or(u32::MAX)
    }

    fn extended_highest(&self) -> u32 {
        // The first cycle is 0 in reports; it is 1 here so that late packets stay above zero.
        (self.highest - u64::from(SEQUENCE_MOD)) as u32
    }

    /// Appendix A.3: loss since the last call in 1/256, and in all.
    fn take_interval(&mut self) -> (u8, i32) {
        let expected = self.expected() - self.prior_expected;
        let received = self.received.saturating_sub(self.prior_received);
        self.prior_expected = self.expected();
        self.prior_received = self.received;
        let lost = expected.saturating_sub(received);
        let fraction =
            lost.saturating_mul(256).checked_div(expected).map_or(0, |share| share.min(255) as u8);
        (fraction, self.lost().clamp(-0x80_0000, 0x7f_ffff) as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(statistics: &mut ReceiveStatistics, packets: &[(u64, u16)]) {
        for &(at_ms, sequence) in packets {
            let timestamp = RtpTime::new(u32::from(sequence).wrapping_mul(160));
            statistics.record(MonotonicTime::from_millis(at_ms), Ssrc(1), sequence, timestamp);
        }
    }

    // Goal: loss counts what is missing, over the wrap, and late packets repair it.
    #[test]
    fn loss_table() {
        let table: [(&[u16], u64, u64); 6] = [
            (&[1, 2, 3, 4], 4, 0),
            (&[1, 2, 4, 5], 4, 1),
            (&[1, 2, 4, 3, 5], 5, 0),
            (&[65_534, 65_535, 0, 1], 4, 0),
            (&[65_534, 65_535, 2], 3, 2),
            (&[1, 2, 2, 4], 4, 0), // a duplicate hides one loss (RFC 3550 appendix A.3)
        ];
        for (sequences, received, lost) in table {
            let mut statistics = ReceiveStatistics::default();
            let packets: Vec<_> = (0..).map(|i| i * 20).zip(sequences.iter().copied()).collect();
            feed(&mut statistics, &packets);
            let totals = statistics.totals();
            assert_eq!((totals.received, totals.lost), (received, lost), "{sequences:?}");
        }
    }

    // Goal: a single stray number is not believed, two in a row are, and nothing is lost by it.
    #[test]
    fn jump_is_believed_when_repeated() {
        let mut statistics = ReceiveStatistics::default();
        feed(&mut statistics, &[(0, 1), (20, 2), (40, 30_000), (60, 3)]);
        assert_eq!(statistics.totals().lost, 0);
        feed(&mut statistics, &[(80, 40_000), (100, 40_001), (120, 40_002)]);
        let totals = statistics.totals();
        assert_eq!((totals.received, totals.lost), (5, 0));
    }

    // Goal: the step that is just loss and the step that is just a jump are told apart.
    #[test]
    fn dropout_edge() {
        for (step, lost) in [(MAX_DROPOUT as u16 - 1, MAX_DROPOUT - 2), (MAX_DROPOUT as u16, 0)] {
            let mut statistics = ReceiveStatistics::default();
            feed(&mut statistics, &[(0, 1), (20, 2), (40, 2 + step)]);
            assert_eq!(statistics.totals().lost, lost, "{step}");
        }
    }

    // Goal: even packets have no jitter; packets that swing by 5 ms come near the 10 ms between
    // them (RFC 3550 section 6.4.1), and gaps are the longest silence.
    #[test]
    fn jitter_and_gaps() {
        let mut even = ReceiveStatistics::default();
        let mut swinging = ReceiveStatistics::default();
        for i in 0..500u16 {
            let at = u64::from(i) * 20 + 100;
            feed(&mut even, &[(at, i)]);
            feed(&mut swinging, &[(if i % 2 == 0 { at - 5 } else { at + 5 }, i)]);
        }
        assert_eq!(even.totals().jitter_us, 0);
        let jitter_us = swinging.totals().jitter_us;
        assert!((9_000..=10_000).contains(&jitter_us), "{jitter_us}");
        feed(&mut even, &[(100 + 499 * 20 + 250, 500)]);
        assert_eq!(even.totals().largest_gap_us, 250_000);
        even.pause();
        feed(&mut even, &[(1_000_000, 501)]);
        assert_eq!(even.totals().largest_gap_us, 250_000);
    }

    // Goal: a report covers its interval only, names the right stream and echoes our peer's report.
    #[test]
    fn report_covers_its_interval() {
        let mut statistics = ReceiveStatistics::default();
        feed(&mut statistics, &[(0, 1), (20, 2), (40, 4), (60, 5)]);
        let heard = HeardReport {
            source: Ssrc(1),
            ntp: NtpTime::from_micros(3_000_000),
            at: MonotonicTime::from_millis(60),
        };
        let now = MonotonicTime::from_millis(560);
        let first = statistics.take_report(Some(&heard), now).expect("a source");
        assert_eq!((first.fraction_lost, first.cumulative_lost), (51, 1)); // 1 of 5 in 1/256
        assert_eq!((first.highest_sequence, first.last_sender_report), (5, 3 << 16));
        assert_eq!(first.delay_since_last, 1 << 15);
        feed(&mut statistics, &[(80, 6)]);
        let foreign = HeardReport { source: Ssrc(2), ..heard };
        let second = statistics.take_report(Some(&foreign), now).expect("a source");
        assert_eq!((second.fraction_lost, second.cumulative_lost), (0, 1));
        assert_eq!((second.last_sender_report, second.delay_since_last), (0, 0));
    }

    // Goal: a change of SSRC begins anew and keeps the totals.
    #[test]
    fn totals_span_sources() {
        let mut statistics = ReceiveStatistics::default();
        feed(&mut statistics, &[(0, 1), (20, 2), (40, 4)]);
        statistics.record(MonotonicTime::from_millis(60), Ssrc(2), 9_000, RtpTime::new(0));
        let totals = statistics.totals();
        assert_eq!((totals.received, totals.lost), (4, 1));
        assert_eq!(statistics.source(), Some(Ssrc(2)));
    }

    // Goal: round trip = now - last report - delay; nonsense yields none.
    #[test]
    fn round_trip_table() {
        let block = |last: u32, delay: u32| ReportBlock {
            source: Ssrc(1),
            fraction_lost: 0,
            cumulative_lost: 0,
            highest_sequence: 0,
            jitter: 0,
            last_sender_report: last,
            delay_since_last: delay,
        };
        let now = NtpTime::from_micros(10_000_000);
        let table = [
            (block(0, 0), None),
            (block(9 << 16, 1 << 15), Some(500_000)),
            (block(10 << 16, 0), Some(0)),
            (block(10 << 16, 1), None),
            (block(11 << 16, 0), None),
        ];
        for (block, expected) in table {
            assert_eq!(round_trip_us(now, &block), expected, "{block:?}");
        }
    }
}
