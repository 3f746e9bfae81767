//! RTP continuity per SSRC, from the phones' reports (RFC 3550).
//!
//! [`super::audio::sequence_faults`] sees numbers that were used again or went back. Here are the
//! other ways in which a stream can break for a receiver that plays it: a timestamp that goes back
//! or leaves the time line that arrival times show, a jump so wide that a receiver starts anew, and
//! a new SSRC out of the blue.

use tandem_phone::{CallReport, RunTime, StreamBreak};

use super::{Evidence, Problem};

/// A receiver takes a wider step forward for a restart of the source: MAX_DROPOUT of RFC 3550 A.1.
pub const SEQUENCE_JUMP_MAX: u64 = 3_000;
/// How far a timestamp may be from where the time between the arrivals puts it, milliseconds: jitter
/// buffers hold less, and queues in the network and in this machine are below it.
pub const TIMESTAMP_OFF_MS_MAX: u64 = 500;
/// Samples per millisecond of the telephone's codecs.
const SAMPLES_PER_MS: i64 = 8;
/// Samples of one packet: 20 ms.
const PACKET_SAMPLES: i64 = 160;

/// Streams that a receiver could not go on playing.
#[must_use]
pub fn breaks(evidence: &Evidence) -> Vec<Problem> {
    let callers = evidence.callers.iter().map(|caller| &caller.report);
    let reports = callers.chain(evidence.legs.iter().map(|leg| &leg.report));
    reports.flat_map(breaks_of).collect()
}

fn breaks_of(report: &CallReport) -> Vec<Problem> {
    let slept_ms = report.media.own_stall_us / 1_000;
    let mut problems = Vec::new();
    let mut add = |at_us: RunTime, what: String| {
        problems.push(Problem::StreamBroken { who: report.phone.clone(), at_us, what });
    };
    for stream in &report.media.ssrcs {
        if stream.timestamps_back > 0 {
            let count = stream.timestamps_back;
            add(stream.last_us, format!("timestamps went back {count} times"));
        }
        for found in &stream.breaks {
            if found.missing > SEQUENCE_JUMP_MAX {
                add(found.at_us, format!("a jump over {} sequence numbers", found.missing));
            } else if let Some(off_ms) = off_ms(found, slept_ms) {
                add(found.at_us, format!("the timestamp is {off_ms} ms off the time that passed"));
            }
        }
    }
    problems
}

/// How far a timestamp is off the time between the arrivals, if too far. A phone that slept takes what
/// came meanwhile all at once: so much more is nobody's fault.
fn off_ms(found: &StreamBreak, slept_ms: u64) -> Option<i64> {
    let packets = i64::try_from(found.missing).ok()?.saturating_add(1);
    let step = packets.saturating_mul(PACKET_SAMPLES).saturating_add(found.timestamp_off_samples);
    let elapsed_ms = i64::try_from(found.elapsed_us / 1_000).ok()?;
    let off_ms = (step / SAMPLES_PER_MS).saturating_sub(elapsed_ms);
    (off_ms.unsigned_abs() > TIMESTAMP_OFF_MS_MAX + slept_ms).then_some(off_ms)
}

/// SSRCs that began where no fault explains a new source: within a call the cluster keeps one, also
/// when another relay takes over.
#[must_use]
pub fn new_sources(evidence: &Evidence, explained_within_ms: u64) -> Vec<Problem> {
    let callers = evidence.callers.iter().map(|caller| &caller.report);
    let reports = callers.chain(evidence.legs.iter().map(|leg| &leg.report));
    let mut problems = Vec::new();
    for report in reports {
        let mut streams: Vec<_> = report.media.ssrcs.iter().collect();
        streams.sort_by_key(|stream| stream.first_us);
        for stream in streams.into_iter().skip(1) {
            let at = stream.first_us;
            let is_explained = evidence.faults.iter().any(|fault| {
                fault.made_us <= at && at <= fault.made_us.plus_ms(explained_within_ms)
            });
            if !is_explained {
                problems.push(Problem::StreamBroken {
                    who: report.phone.clone(),
                    at_us: at,
                    what: "a new source began without any fault".to_owned(),
                });
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Run;
    use super::*;
    use crate::faults::FaultKind;

    fn with_break(missing: u64, timestamp_off_samples: i64, elapsed_ms: u64) -> Run {
        let mut run = Run::default();
        let caller = run.caller("sales", 1_000, 9_000);
        run.source_fault(caller);
        run.evidence.callers[caller].report.media.ssrcs[0].breaks.push(StreamBreak {
            at_us: RunTime::from_ms(4_000),
            missing,
            timestamp_off_samples,
            elapsed_us: elapsed_ms * 1_000,
            marker: false,
        });
        run
    }

    // Goal: lost packets and a takeover whose timestamps follow the clock are fine; timestamps that
    // leave it by more than half a second, either way, are found.
    #[test]
    fn timestamps_follow_the_clock() {
        let limit = TIMESTAMP_OFF_MS_MAX;
        for (missing, off_samples, elapsed_ms, found) in [
            (10, 0, 220, 0),
            // 500 numbers are skipped at a takeover; the timestamp follows the second that passed.
            (500, 8_000 - 501 * 160, 1_000, 0),
            (0, 0, 20 + limit, 0),
            (0, 0, 21 + limit, 1),
            (0, 8 * 500, 20, 0),
            (0, 8 * 501, 20, 1),
            (500, 0, 1_000, 1),
        ] {
            let run = with_break(missing, off_samples, elapsed_ms);
            let count = breaks(&run.evidence).len();
            assert_eq!(count, found, "{missing} {off_samples} {elapsed_ms}");
        }
    }

    // Goal: what the measuring process slept through is not held against the stream.
    #[test]
    fn own_sleep_is_nobodys_fault() {
        for (slept_ms, found) in [(1_480, 0), (1_479, 1)] {
            // 99 packets overflowed while the phone slept: 2 s of the stream in 20 ms.
            let mut run = with_break(99, 0, 20);
            run.evidence.callers[0].report.media.own_stall_us = slept_ms * 1_000;
            assert_eq!(breaks(&run.evidence).len(), found, "{slept_ms}");
        }
    }

    // Goal: the widest step that a receiver follows is fine, one more is found.
    #[test]
    fn wide_jumps_are_found() {
        for (missing, found) in [(SEQUENCE_JUMP_MAX, 0), (SEQUENCE_JUMP_MAX + 1, 1)] {
            let run = with_break(missing, 0, (missing + 1) * 20);
            assert_eq!(breaks(&run.evidence).len(), found, "{missing}");
        }
    }

    // Goal: one timestamp that goes back is found.
    #[test]
    fn timestamps_back_are_found() {
        let mut run = with_break(0, 0, 20);
        assert_eq!(breaks(&run.evidence), []);
        run.evidence.callers[0].report.media.ssrcs[0].timestamps_back = 1;
        assert_eq!(breaks(&run.evidence).len(), 1);
    }

    // Goal: a second source after a fault is explained, long after it and without one it is not.
    #[test]
    fn new_sources_are_found() {
        let mut run = with_break(0, 0, 20);
        let found = |run: &Run| new_sources(&run.evidence, 1_000).len();
        assert_eq!(found(&run), 0, "the first source");
        run.source_fault(0);
        run.evidence.callers[0].report.media.ssrcs[1].first_us = RunTime::from_ms(6_000);
        assert_eq!(found(&run), 1);
        run.fault(FaultKind::KillRelay, 0, 4_999);
        assert_eq!(found(&run), 1, "long after");
        run.fault(FaultKind::KillRelay, 0, 5_000);
        assert_eq!(found(&run), 0);
    }
}
