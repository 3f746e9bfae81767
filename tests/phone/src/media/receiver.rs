//! One incoming RTP stream: from where, which numbers, what is heard.

use std::net::SocketAddr;
use std::rc::Rc;

use super::hearing::{Hearing, HearingChange};
use super::packet::{RtpHeader, TelephoneEvent};
use super::sequence::{Place, SsrcTracker, fingerprint};
use super::stalls::Stalls;
use super::tag::read_tag;
use super::tone::{KnownSound, Timbre, timbre};
use super::wav::WavRecorder;
use super::{SourceCheck, g711};
use crate::limits::{DTMF_DIGITS_MAX, SOURCES_PER_CALL_MAX, SSRCS_PER_CALL_MAX};
use crate::report::{Heard, MediaReport, SourceReport, SourceStanding};
use crate::sip::RtpCodec;
use crate::time::RunTime;

/// How long a source is still heard after the signalling replaced it: what was on its way.
const FORMER_SOURCE_MS_MAX: u64 = 1_000;
/// Samples of one packet that are decoded; longer packets are judged by their beginning.
const DECODED_SAMPLES_MAX: usize = 480;

/// What a datagram changed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ReceiveChange {
    Hearing(HearingChange),
    Digit(char),
}

#[derive(Debug)]
pub(crate) struct RtpReceiver {
    check: SourceCheck,
    known_sounds: Rc<[KnownSound]>,
    signalled: Option<SocketAddr>,
    former: Option<(SocketAddr, RunTime)>,
    sources: Vec<SourceReport>,
    codecs: Vec<(RtpCodec, u8)>,
    telephone_event: Option<u8>,
    ssrcs: Vec<SsrcTracker>,
    current_ssrc: Option<u32>,
    ssrc_changes: u64,
    hearing: Hearing,
    /// Timestamp of the last telephone event told.
    last_event: Option<u32>,
    digits: String,
    wav: Option<WavRecorder>,
    received: u64,
    unsignalled: u64,
    malformed: u64,
    unknown_payload: u64,
    unexpected: u64,
}

impl RtpReceiver {
    pub(crate) fn new(gap_ms_min: u64, check: SourceCheck, known_sounds: Rc<[KnownSound]>) -> Self {
        Self {
            check,
            known_sounds,
            signalled: None,
            former: None,
            sources: Vec::new(),
            codecs: Vec::new(),
            telephone_event: None,
            ssrcs: Vec::new(),
            current_ssrc: None,
            ssrc_changes: 0,
            hearing: Hearing::new(gap_ms_min),
            last_event: None,
            digits: String::new(),
            wav: None,
            received: 0,
            unsignalled: 0,
            malformed: 0,
            unknown_payload: 0,
            unexpected: 0,
        }
    }

    pub(crate) fn set_formats(&mut self, codecs: &[(RtpCodec, u8)], event: Option<u8>) {
        self.codecs = codecs.to_vec();
        self.telephone_event = event;
    }

    /// No SDP counts any more.
    pub(crate) fn forget_signalled(&mut self) {
        self.signalled = None;
        self.former = None;
    }

    /// The SDP names this source now; the one before is heard for a little while.
    pub(crate) fn set_signalled(&mut self, now: RunTime, source: SocketAddr) {
        if let Some(before) = self.signalled.filter(|before| *before != source) {
            self.former = Some((before, now.plus_ms(FORMER_SOURCE_MS_MAX)));
        }
        self.signalled = Some(source);
    }

    pub(crate) fn hearing(&mut self) -> &mut Hearing {
        &mut self.hearing
    }

    /// Begins to keep what is heard for a WAV file.
    pub(crate) fn record(&mut self, now: RunTime) {
        self.wav.get_or_insert_with(|| WavRecorder::new(now));
    }

    pub(crate) fn take_wav(&mut self) -> Option<Vec<u8>> {
        self.wav.take().map(|wav| wav.to_bytes())
    }

    /// The source heard last, for RTCP.
    pub(crate) fn current(&mut self) -> Option<&mut SsrcTracker> {
        let wanted = self.current_ssrc?;
        self.ssrcs.iter_mut().find(|tracker| tracker.ssrc() == wanted)
    }

    /// Takes one datagram of the RTP port.
    pub(crate) fn take(
        &mut self,
        now: RunTime,
        source: SocketAddr,
        bytes: &[u8],
        stalls: &Stalls,
    ) -> Vec<ReceiveChange> {
        let Some((header, payload)) = RtpHeader::parse(bytes) else {
            self.malformed += 1;
            return Vec::new();
        };
        let standing = self.standing(now, source);
        self.note_source(now, source, standing);
        if standing == SourceStanding::Unsignalled {
            self.unsignalled += 1;
            if self.check == SourceCheck::SignalledOnly {
                return Vec::new();
            }
        }
        if self.telephone_event == Some(header.payload_type) {
            return self.take_event(now, header, payload, stalls);
        }
        let known = self.codecs.iter().find(|(_, number)| *number == header.payload_type);
        match known.map(|(codec, _)| *codec) {
            Some(codec) => self.take_audio(now, header, payload, codec, stalls),
            None => {
                self.unknown_payload += 1;
                Vec::new()
            }
        }
    }

    /// Without any SDP from the other side, everything must be taken (RFC 3264 5.1).
    fn standing(&self, now: RunTime, source: SocketAddr) -> SourceStanding {
        match (self.signalled, self.former) {
            (None, _) => SourceStanding::Signalled,
            (Some(signalled), _) if signalled == source => SourceStanding::Signalled,
            (_, Some((former, until))) if former == source && now <= until => {
                SourceStanding::Former
            }
            _ => SourceStanding::Unsignalled,
        }
    }

    fn note_source(&mut self, now: RunTime, address: SocketAddr, standing: SourceStanding) {
        let known =
            self.sources.iter_mut().find(|s| s.address == address && s.standing == standing);
        if let Some(source) = known {
            source.last_us = now;
            source.packets += 1;
        } else if self.sources.len() < SOURCES_PER_CALL_MAX {
            let (first_us, last_us) = (now, now);
            self.sources.push(SourceReport { address, standing, first_us, last_us, packets: 1 });
        }
    }

    /// Counts the packet among its SSRC's numbers; `None` when too many SSRCs came.
    fn place(
        &mut self,
        now: RunTime,
        header: RtpHeader,
        samples: u32,
        payload: &[u8],
    ) -> Option<Place> {
        self.received += 1;
        if !self.hearing.is_expecting() {
            self.unexpected += 1;
        }
        if self.current_ssrc != Some(header.ssrc) {
            self.ssrc_changes += u64::from(self.current_ssrc.is_some());
            self.current_ssrc = Some(header.ssrc);
        }
        let print = fingerprint(payload);
        if let Some(tracker) = self.ssrcs.iter_mut().find(|known| known.ssrc() == header.ssrc) {
            return Some(tracker.note(now, header, samples, print));
        }
        if self.ssrcs.len() == SSRCS_PER_CALL_MAX {
            return None;
        }
        self.ssrcs.push(SsrcTracker::new(now, header, samples, print));
        Some(Place::Newest { missing: 0 })
    }

    fn take_event(
        &mut self,
        now: RunTime,
        header: RtpHeader,
        payload: &[u8],
        stalls: &Stalls,
    ) -> Vec<ReceiveChange> {
        let Some(event) = TelephoneEvent::parse(payload) else {
            self.malformed += 1;
            return Vec::new();
        };
        self.place(now, header, 0, payload);
        let pause = self.hearing.hear_something(now, stalls).map(ReceiveChange::Hearing);
        let is_new = self.last_event != Some(header.timestamp);
        self.last_event = Some(header.timestamp);
        let digit = event.digit().filter(|_| is_new && self.digits.len() < DTMF_DIGITS_MAX);
        self.digits.extend(digit);
        pause.into_iter().chain(digit.map(ReceiveChange::Digit)).collect()
    }

    fn take_audio(
        &mut self,
        now: RunTime,
        header: RtpHeader,
        payload: &[u8],
        codec: RtpCodec,
        stalls: &Stalls,
    ) -> Vec<ReceiveChange> {
        let place = self.place(now, header, payload.len() as u32, payload);
        if !matches!(place, Some(Place::Newest { .. } | Place::Late)) {
            // A copy, or too old to be played: nobody hears it.
            return Vec::new();
        }
        let tag = read_tag(payload);
        let (heard, counter) = match tag {
            Some((tag, counter)) if self.wav.is_none() => (Heard::Sender { tag }, Some(counter)),
            _ => {
                let mut linear = [0; DECODED_SAMPLES_MAX];
                let length = payload.len().min(DECODED_SAMPLES_MAX);
                g711::decode_into(codec, payload, &mut linear);
                if let Some(wav) = &mut self.wav {
                    wav.add(now, header.ssrc, header.timestamp, &linear[..length]);
                }
                match tag {
                    Some((tag, counter)) => (Heard::Sender { tag }, Some(counter)),
                    None => (self.name(timbre(&linear[..length], &self.known_sounds)), None),
                }
            }
        };
        let changes = self.hearing.hear(now, heard, counter, stalls);
        changes.into_iter().map(ReceiveChange::Hearing).collect()
    }

    fn name(&self, timbre: Timbre) -> Heard {
        match timbre {
            Timbre::Silence => Heard::Silence,
            Timbre::Tone(hz) => Heard::Tone { hz },
            Timbre::Other => Heard::Other,
            Timbre::Known(index) => match self.known_sounds.get(index) {
                Some(sound) => Heard::Known { name: sound.name.clone() },
                None => Heard::Other,
            },
        }
    }

    /// Fills in what was received.
    pub(crate) fn report(&self, now: RunTime, stalls: &Stalls, report: &mut MediaReport) {
        report.received_packets = self.received;
        report.unsignalled_packets = self.unsignalled;
        report.malformed_packets = self.malformed;
        report.unknown_payload_packets = self.unknown_payload;
        report.unexpected_packets = self.unexpected;
        report.ssrcs = self.ssrcs.iter().map(SsrcTracker::report).collect();
        report.ssrc_changes = self.ssrc_changes;
        report.sources.clone_from(&self.sources);
        report.first_audio_us = self.hearing.first_audio();
        report.last_audio_us = self.hearing.last_audio();
        (report.gaps, report.gaps_count) = self.hearing.gaps(now, stalls);
        report.senders = self.hearing.senders();
        (report.heard, report.heard_count) = self.hearing.spans();
        report.digits.clone_from(&self.digits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::SenderTag;
    use crate::media::tag::write_tag;
    use crate::media::tone::tone_second;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 9], port))
    }

    fn receiver(check: SourceCheck) -> RtpReceiver {
        let mut receiver = RtpReceiver::new(60, check, Rc::from(Vec::new()));
        receiver.set_formats(&[(RtpCodec::Pcmu, 0)], Some(101));
        receiver.set_signalled(RunTime::START, at(4_000));
        receiver.hearing().expect_from(RunTime::START);
        receiver
    }

    fn packet(ssrc: u32, sequence: u16, payload_type: u8, payload: &[u8]) -> Vec<u8> {
        let timestamp = u32::from(sequence) * 160;
        let header = RtpHeader { marker: false, payload_type, sequence, timestamp, ssrc };
        [&header.to_bytes()[..], payload].concat()
    }

    fn tagged(sequence: u16) -> Vec<u8> {
        let mut payload = [0; 160];
        write_tag(&mut payload, SenderTag(7), sequence.into());
        packet(1, sequence, 0, &payload)
    }

    fn report(receiver: &RtpReceiver, now: RunTime) -> MediaReport {
        let mut report = MediaReport::default();
        receiver.report(now, &Stalls::default(), &mut report);
        report
    }

    // Goal: M2: a source that is not signalled is counted apart and not heard, unless all are taken.
    #[test]
    fn unsignalled_sources() {
        for (check, heard) in [(SourceCheck::SignalledOnly, 1), (SourceCheck::Any, 2)] {
            let mut receiver = receiver(check);
            let stalls = Stalls::default();
            receiver.take(RunTime::from_ms(20), at(4_000), &tagged(1), &stalls);
            receiver.take(RunTime::from_ms(40), at(4_001), &tagged(2), &stalls);
            let report = report(&receiver, RunTime::from_ms(40));
            assert_eq!(report.unsignalled_packets, 1);
            assert_eq!(report.senders[0].packets, heard, "{check:?}");
            assert_eq!(report.sources[1].standing, SourceStanding::Unsignalled);
        }
    }

    // Goal: after a new SDP the old source is heard for one second, not a microsecond more.
    #[test]
    fn former_source_at_the_edge() {
        let mut receiver = receiver(SourceCheck::SignalledOnly);
        let stalls = Stalls::default();
        receiver.set_signalled(RunTime::from_ms(100), at(5_000));
        receiver.take(RunTime::from_ms(1_100), at(4_000), &tagged(1), &stalls);
        receiver.take(RunTime::from_us(1_100_001), at(4_000), &tagged(2), &stalls);
        let report = report(&receiver, RunTime::from_ms(1_200));
        let seen: Vec<_> = report.sources.iter().map(|s| (s.standing, s.packets)).collect();
        assert_eq!(seen, [(SourceStanding::Former, 1), (SourceStanding::Unsignalled, 1)]);
        assert_eq!((report.received_packets, report.unsignalled_packets), (1, 1));
    }

    // Goal: copies are not heard twice, unknown payload types and non-RTP are counted apart.
    #[test]
    fn what_is_not_heard() {
        let mut receiver = receiver(SourceCheck::SignalledOnly);
        let stalls = Stalls::default();
        let now = RunTime::from_ms(20);
        for bytes in [tagged(1), tagged(1), packet(1, 2, 18, &[0; 20]), b"nonsense".to_vec()] {
            receiver.take(now, at(4_000), &bytes, &stalls);
        }
        let report = report(&receiver, now);
        assert_eq!(report.senders[0].packets, 1);
        assert_eq!(report.ssrcs[0].duplicates, 1);
        assert_eq!((report.unknown_payload_packets, report.malformed_packets), (1, 1));
    }

    // Goal: another SSRC is a change; a tone is named; each digit is told once however often sent.
    #[test]
    fn ssrcs_tones_and_digits() {
        let mut receiver = receiver(SourceCheck::SignalledOnly);
        let stalls = Stalls::default();
        let tone = tone_second(RtpCodec::Pcmu, 425);
        receiver.take(RunTime::from_ms(20), at(4_000), &packet(1, 1, 0, &tone[..160]), &stalls);
        receiver.take(RunTime::from_ms(40), at(4_000), &packet(2, 90, 0, &tone[160..320]), &stalls);
        let mut told = Vec::new();
        for (sequence, timestamp, code, end) in
            [(91, 5, 1, false), (92, 5, 1, true), (93, 5, 1, true), (94, 9, 11, false)]
        {
            let event = TelephoneEvent { code, end, volume_db: 10, duration_samples: 160 };
            let header =
                RtpHeader { marker: false, payload_type: 101, sequence, timestamp, ssrc: 2 };
            let bytes = [&header.to_bytes()[..], &event.to_bytes()].concat();
            told.extend(receiver.take(RunTime::from_ms(60), at(4_000), &bytes, &stalls));
        }
        assert_eq!(told, [ReceiveChange::Digit('1'), ReceiveChange::Digit('#')]);
        let report = report(&receiver, RunTime::from_ms(60));
        assert_eq!((report.ssrc_changes, report.ssrcs.len()), (1, 2));
        assert_eq!(report.heard[0].heard, Heard::Tone { hz: 425 });
        assert_eq!(report.digits, "1#");
    }
}
