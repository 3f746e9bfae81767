//! Who is heard when, and the pauses between.
//!
//! Fed with each packet that a listener would hear. Knows nothing of RTP numbers: a packet that
//! arrives late in a burst is heard when it arrives.

use crate::limits::{
    GAPS_LISTED_MAX, HEARD_SPANS_LISTED_MAX, JUMPS_LISTED_MAX, SENDERS_PER_CALL_MAX,
};
use crate::media::SenderTag;
use crate::media::sequence::{Place, Window};
use crate::media::stalls::Stalls;
use crate::report::{CounterJump, Gap, GapKind, Heard, HeardSpan, SenderReport};
use crate::time::RunTime;

/// Packets in a row that make another untagged sound: shorter flickers (the edge of a word, a
/// click) belong to what was heard before.
const OTHER_SOUND_PACKETS_MIN: u64 = 3;

/// What a packet changed, to be told at once.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum HearingChange {
    First(Heard),
    Hears(Heard),
    Gap(Gap),
}

/// What one side of a call hears.
#[derive(Debug)]
pub(crate) struct Hearing {
    threshold_us: u64,
    /// Media is expected since then.
    expected_since: Option<RunTime>,
    /// Last packet since then.
    last_heard: Option<RunTime>,
    first_audio: Option<RunTime>,
    last_audio: Option<RunTime>,
    gaps: Vec<Gap>,
    gaps_count: u64,
    senders: Vec<Sender>,
    spans: Vec<HeardSpan>,
    spans_count: u64,
    current: Option<HeardSpan>,
    /// Another untagged sound that has not lasted long enough.
    candidate: Option<HeardSpan>,
}

#[derive(Debug)]
struct Sender {
    tag: SenderTag,
    first_at: RunTime,
    last_at: RunTime,
    window: Window,
    duplicates: u64,
    jumps: Vec<CounterJump>,
    jumps_count: u64,
    gaps: Vec<Gap>,
    gaps_count: u64,
}

impl Hearing {
    pub(crate) fn new(threshold_ms: u64) -> Self {
        Self {
            threshold_us: threshold_ms.saturating_mul(1_000),
            expected_since: None,
            last_heard: None,
            first_audio: None,
            last_audio: None,
            gaps: Vec::new(),
            gaps_count: 0,
            senders: Vec::new(),
            spans: Vec::new(),
            spans_count: 0,
            current: None,
            candidate: None,
        }
    }

    /// Whether media is expected.
    pub(crate) const fn is_expecting(&self) -> bool {
        self.expected_since.is_some()
    }

    pub(crate) const fn first_audio(&self) -> Option<RunTime> {
        self.first_audio
    }

    pub(crate) const fn last_audio(&self) -> Option<RunTime> {
        self.last_audio
    }

    /// From now on audio should come.
    pub(crate) fn expect_from(&mut self, now: RunTime) {
        if self.expected_since.is_none() {
            self.expected_since = Some(now);
            self.last_heard = None;
        }
    }

    /// From now on silence is right (held, or over). A pause that lasts until now is a gap.
    pub(crate) fn expect_nothing(&mut self, now: RunTime, stalls: &Stalls) -> Option<Gap> {
        let gap = self.open_gap(now, stalls);
        self.expected_since = None;
        self.last_heard = None;
        let gap = gap?;
        self.list_gap(gap.clone());
        Some(gap)
    }

    /// The pause that lasts until now, if it is longer than the threshold.
    fn open_gap(&self, now: RunTime, stalls: &Stalls) -> Option<Gap> {
        let since = self.last_heard.or(self.expected_since)?;
        gap_between(since, now, GapKind::AtEnd, self.threshold_us, stalls)
    }

    fn list_gap(&mut self, gap: Gap) {
        self.gaps_count += 1;
        if self.gaps.len() < GAPS_LISTED_MAX {
            self.gaps.push(gap);
        }
    }

    /// Media that says nothing about who is heard (telephone events): ends a pause only.
    pub(crate) fn hear_something(
        &mut self,
        now: RunTime,
        stalls: &Stalls,
    ) -> Option<HearingChange> {
        let expected_since = self.expected_since?;
        let (since, kind) = match self.last_heard {
            Some(last) => (last, GapKind::Between),
            None => (expected_since, GapKind::AtStart),
        };
        self.last_heard = Some(now);
        let gap = gap_between(since, now, kind, self.threshold_us, stalls)?;
        self.list_gap(gap.clone());
        Some(HearingChange::Gap(gap))
    }

    /// A packet of audio. `counter` is the tag's packet counter.
    pub(crate) fn hear(
        &mut self,
        now: RunTime,
        heard: Heard,
        counter: Option<u32>,
        stalls: &Stalls,
    ) -> Vec<HearingChange> {
        let mut changes: Vec<HearingChange> =
            self.hear_something(now, stalls).into_iter().collect();
        if self.first_audio.is_none() {
            self.first_audio = Some(now);
            changes.push(HearingChange::First(heard.clone()));
        }
        self.last_audio = Some(now);
        if let (Heard::Sender { tag }, Some(counter)) = (&heard, counter) {
            self.note_sender(now, *tag, counter, stalls);
        }
        changes.extend(self.note_span(now, heard));
        changes
    }

    fn note_sender(&mut self, now: RunTime, tag: SenderTag, counter: u32, stalls: &Stalls) {
        let number = u64::from(counter);
        let threshold_us = self.threshold_us;
        let Some(sender) = self.senders.iter_mut().find(|sender| sender.tag == tag) else {
            if self.senders.len() < SENDERS_PER_CALL_MAX {
                self.senders.push(Sender {
                    tag,
                    first_at: now,
                    last_at: now,
                    window: Window::starting_with(number, 0),
                    duplicates: 0,
                    jumps: Vec::new(),
                    jumps_count: 0,
                    gaps: Vec::new(),
                    gaps_count: 0,
                });
            }
            return;
        };
        match sender.window.place(number, 0) {
            Place::Newest { missing: 0 } | Place::Late => {}
            Place::Newest { missing } => {
                sender.jumps_count += 1;
                if sender.jumps.len() < JUMPS_LISTED_MAX {
                    sender.jumps.push(CounterJump { at_us: now, missing });
                }
            }
            Place::Duplicate | Place::Reused | Place::StepBack => sender.duplicates += 1,
        }
        if let Some(gap) = gap_between(sender.last_at, now, GapKind::Between, threshold_us, stalls)
        {
            sender.gaps_count += 1;
            if sender.gaps.len() < GAPS_LISTED_MAX {
                sender.gaps.push(gap);
            }
        }
        sender.last_at = now;
    }

    fn note_span(&mut self, now: RunTime, heard: Heard) -> Option<HearingChange> {
        if self.current.as_ref().is_some_and(|span| span.heard == heard) {
            self.absorb_candidate();
            extend(self.current.as_mut(), now);
            return None;
        }
        if self.candidate.as_ref().is_some_and(|span| span.heard == heard) {
            extend(self.candidate.as_mut(), now);
        } else {
            self.absorb_candidate();
            self.candidate =
                Some(HeardSpan { heard: heard.clone(), from_us: now, to_us: now, packets: 1 });
        }
        // A tag is certain from its first packet; the first sound of a call needs no proof either.
        let is_certain = matches!(heard, Heard::Sender { .. }) || self.current.is_none();
        let lasts = self.candidate.as_ref().is_some_and(|c| c.packets >= OTHER_SOUND_PACKETS_MIN);
        if !is_certain && !lasts {
            return None;
        }
        let next = self.candidate.take();
        self.close_span();
        self.current = next;
        Some(HearingChange::Hears(heard))
    }

    /// A sound that did not last belongs to what was heard before it.
    fn absorb_candidate(&mut self) {
        if let (Some(flicker), Some(span)) = (self.candidate.take(), self.current.as_mut()) {
            span.to_us = flicker.to_us;
            span.packets += flicker.packets;
        }
    }

    fn close_span(&mut self) {
        if let Some(span) = self.current.take() {
            self.spans_count += 1;
            if self.spans.len() < HEARD_SPANS_LISTED_MAX {
                self.spans.push(span);
            }
        }
    }

    /// Spans so far, the current one included, and how many there were.
    pub(crate) fn spans(&self) -> (Vec<HeardSpan>, u64) {
        let mut spans = self.spans.clone();
        spans.extend(self.current.clone());
        (spans, self.spans_count + u64::from(self.current.is_some()))
    }

    /// Gaps so far, one that is still open included, and how many there were.
    pub(crate) fn gaps(&self, now: RunTime, stalls: &Stalls) -> (Vec<Gap>, u64) {
        let open = self.open_gap(now, stalls);
        let count = self.gaps_count + u64::from(open.is_some());
        (self.gaps.iter().cloned().chain(open).collect(), count)
    }

    pub(crate) fn senders(&self) -> Vec<SenderReport> {
        self.senders
            .iter()
            .map(|sender| SenderReport {
                tag: sender.tag,
                label: None,
                first_us: sender.first_at,
                last_us: sender.last_at,
                packets: sender.window.unique(),
                lost: sender.window.lost(),
                duplicates: sender.duplicates,
                jumps: sender.jumps.clone(),
                jumps_count: sender.jumps_count,
                gaps: sender.gaps.clone(),
                gaps_count: sender.gaps_count,
            })
            .collect()
    }
}

fn extend(span: Option<&mut HeardSpan>, now: RunTime) {
    if let Some(span) = span {
        span.to_us = now;
        span.packets += 1;
    }
}

fn gap_between(
    start: RunTime,
    end: RunTime,
    kind: GapKind,
    threshold_us: u64,
    stalls: &Stalls,
) -> Option<Gap> {
    let length_us = end.us_since(start);
    (length_us > threshold_us).then(|| Gap {
        start_us: start,
        length_us,
        kind,
        own_stall_us: stalls.overlap_us(start, end),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Heard = Heard::Sender { tag: SenderTag(1) };
    const B: Heard = Heard::Sender { tag: SenderTag(2) };

    fn us(us: u64) -> RunTime {
        RunTime::from_us(us)
    }

    fn expecting() -> Hearing {
        let mut hearing = Hearing::new(60);
        hearing.expect_from(us(0));
        hearing
    }

    // Goal: a pause of exactly the threshold is none, one microsecond more is a gap of that length.
    #[test]
    fn gap_at_the_threshold() {
        for (pause_us, gaps) in [(60_000, 0), (60_001, 1)] {
            let mut hearing = expecting();
            hearing.hear(us(10), A, Some(1), &Stalls::default());
            let changes = hearing.hear(us(10 + pause_us), A, Some(2), &Stalls::default());
            let (listed, count) = hearing.gaps(us(10 + pause_us), &Stalls::default());
            assert_eq!(
                (listed.len(), count, changes.len()),
                (gaps, gaps as u64, gaps),
                "{pause_us}"
            );
            if let [gap] = listed.as_slice() {
                assert_eq!((gap.start_us, gap.length_us), (us(10), pause_us));
                assert_eq!((gap.kind, gap.own_stall_us), (GapKind::Between, 0));
            }
        }
    }

    // Goal: waiting for the first packet, and silence until the end, are gaps of their own kinds; on
    // hold nothing is.
    #[test]
    fn gaps_at_start_end_and_on_hold() {
        let stalls = Stalls::default();
        let mut hearing = expecting();
        hearing.hear(us(100_000), A, Some(1), &stalls);
        let kinds = |hearing: &Hearing, now| -> Vec<(GapKind, u64)> {
            hearing.gaps(us(now), &stalls).0.iter().map(|g| (g.kind, g.length_us)).collect()
        };
        assert_eq!(kinds(&hearing, 110_000), [(GapKind::AtStart, 100_000)]);
        assert_eq!(kinds(&hearing, 170_000).last(), Some(&(GapKind::AtEnd, 70_000)), "open");

        assert_eq!(hearing.expect_nothing(us(150_000), &stalls), None, "50 ms is no gap");
        hearing.expect_from(us(900_000));
        hearing.hear(us(920_000), A, Some(2), &stalls);
        assert_eq!(kinds(&hearing, 930_000).len(), 1, "the hold is none");
        let end = hearing.expect_nothing(us(1_000_000), &stalls).expect("80 ms without audio");
        assert_eq!((end.kind, end.length_us), (GapKind::AtEnd, 80_000));
        assert_eq!(kinds(&hearing, 9_000_000).len(), 2, "nothing is open after the end");
    }

    // Goal: what this process slept through is told apart from the network's pause.
    #[test]
    fn own_stalls_are_subtracted() {
        let mut stalls = Stalls::default();
        stalls.note(us(30_000), us(80_000));
        let mut hearing = expecting();
        hearing.hear(us(20_000), A, Some(1), &stalls);
        hearing.hear(us(120_000), A, Some(2), &stalls);
        let (gaps, _) = hearing.gaps(us(120_000), &stalls);
        assert_eq!((gaps[0].length_ms(), gaps[0].honest_ms()), (100, 50));
    }

    // Goal: per sender: loss by counter, duplicates, jumps and pauses, also while another sender or
    // music is heard in between.
    #[test]
    fn senders_are_followed_apart() {
        let stalls = Stalls::default();
        let mut hearing = expecting();
        for (at_ms, heard, counter) in [
            (20, A, 5),
            (40, A, 6),
            (60, B, 90),
            (80, B, 91),
            (100, A, 9),
            (120, A, 9),
            (140, A, 8),
        ] {
            hearing.hear(RunTime::from_ms(at_ms), heard, Some(counter), &stalls);
        }
        let senders = hearing.senders();
        assert_eq!((senders[0].packets, senders[0].lost, senders[0].duplicates), (4, 1, 1));
        assert_eq!((senders[0].jumps_count, senders[0].jumps[0].missing), (1, 2));
        assert_eq!((senders[0].gaps_count, senders[0].gaps.len()), (0, 0), "60 ms is no gap");
        assert_eq!((senders[1].packets, senders[1].lost, senders[1].jumps_count), (2, 0, 0));
        let (spans, count) = hearing.spans();
        let line: Vec<_> = spans.iter().map(|span| (span.heard.clone(), span.packets)).collect();
        assert_eq!((line, count), (vec![(A, 2), (B, 2), (A, 3)], 3));
    }

    // Goal: two packets of another untagged sound are a flicker, three are a new span from the first.
    #[test]
    fn flickers_are_no_spans() {
        let stalls = Stalls::default();
        for (packets, spans) in [(2_u64, 1), (3, 2)] {
            let mut hearing = expecting();
            hearing.hear(us(0), A, Some(1), &stalls);
            for n in 1..=packets {
                hearing.hear(RunTime::from_ms(20 * n), Heard::Silence, None, &stalls);
            }
            assert_eq!(hearing.spans().0.len(), spans, "{packets} packets");
            if spans == 2 {
                let span = hearing.spans().0.remove(1);
                assert_eq!((span.from_us, span.packets), (RunTime::from_ms(20), 3));
            }
        }
    }

    // Goal: the first audio is told once, a change of what is heard each time.
    #[test]
    fn changes_are_told() {
        let stalls = Stalls::default();
        let mut hearing = expecting();
        let first = hearing.hear(us(1), A, Some(1), &stalls);
        assert_eq!(first, [HearingChange::First(A), HearingChange::Hears(A)]);
        assert_eq!(hearing.hear(us(2), A, Some(2), &stalls), []);
        assert_eq!(hearing.hear(us(3), B, Some(1), &stalls), [HearingChange::Hears(B)]);
    }
}
