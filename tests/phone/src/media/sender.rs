//! One outgoing RTP stream: same SSRC, sequence and timestamp line for the life of a call, whatever
//! happens to the signalling.

use std::collections::VecDeque;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::SenderTag;
use super::packet::{RTP_HEADER_BYTES, RtpHeader, TelephoneEvent, digit_code};
use super::tag::write_tag;
use super::{g711, tone};
use crate::dice::Dice;
use crate::limits::DTMF_DIGITS_MAX;
use crate::sip::RtpCodec;

/// Samples of one packet: 20 ms at 8 kHz.
pub(crate) const PACKET_SAMPLES: u32 = 160;
/// Bytes of the largest packet that is sent.
pub(crate) const PACKET_BYTES_MAX: usize = RTP_HEADER_BYTES + PACKET_SAMPLES as usize;
/// Packets of a digit before its end: 100 ms, above the 40 ms that every receiver must take.
const DIGIT_PACKETS: u16 = 5;
/// The last packet of an event is sent three times (RFC 4733 2.5.1.4).
const DIGIT_END_PACKETS: u8 = 3;
/// Audio packets between two digits: 100 ms.
const DIGIT_PAUSE_PACKETS: u8 = 5;

/// What a phone or caller sends as audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SentAudio {
    /// Bytes that name the sender and count packets: exact as long as nobody transcodes.
    Tagged,
    /// A sine, 50 to 3,900 Hz: survives transcoding, mixing and WAV files.
    Tone {
        /// Frequency.
        hz: u16,
    },
    /// Silence.
    Silence,
}

/// Whether audio is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Talking {
    On,
    Off,
}

/// What the negotiation says about sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SendFormat {
    pub(crate) codec: RtpCodec,
    pub(crate) payload_type: u8,
    pub(crate) telephone_event: Option<u8>,
}

#[derive(Debug)]
pub(crate) struct RtpSender {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    tag: SenderTag,
    counter: u32,
    audio: SentAudio,
    format: SendFormat,
    talking: Talking,
    /// The next audio packet begins a talkspurt.
    marker: bool,
    tone: Option<(RtpCodec, u16, Rc<[u8]>)>,
    tone_at: usize,
    digits: VecDeque<u8>,
    digit: Option<Digit>,
    pause_packets: u8,
    sent_packets: u32,
    sent_octets: u32,
}

/// A telephone event on its way.
#[derive(Debug)]
struct Digit {
    code: u8,
    timestamp: u32,
    packets: u16,
    ends: u8,
}

impl RtpSender {
    pub(crate) fn new(dice: &mut Dice, tag: SenderTag, audio: SentAudio) -> Self {
        Self {
            ssrc: dice.u32(),
            sequence: dice.u32() as u16,
            timestamp: dice.u32(),
            tag,
            counter: 0,
            audio,
            format: SendFormat { codec: RtpCodec::Pcmu, payload_type: 0, telephone_event: None },
            talking: Talking::Off,
            marker: true,
            tone: None,
            tone_at: 0,
            digits: VecDeque::new(),
            digit: None,
            pause_packets: 0,
            sent_packets: 0,
            sent_octets: 0,
        }
    }

    pub(crate) const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    pub(crate) const fn timestamp(&self) -> u32 {
        self.timestamp
    }

    pub(crate) const fn sent_packets(&self) -> u32 {
        self.sent_packets
    }

    pub(crate) const fn sent_octets(&self) -> u32 {
        self.sent_octets
    }

    /// Takes over a new negotiation; the stream itself goes on.
    pub(crate) fn set(&mut self, format: SendFormat, talking: Talking) {
        self.format = format;
        if self.talking == Talking::Off && talking == Talking::On {
            self.marker = true;
        }
        self.talking = talking;
    }

    /// Sends other audio from the next packet on.
    pub(crate) fn set_audio(&mut self, audio: SentAudio) {
        self.audio = audio;
    }

    /// Queues digits. False when the other side takes no telephone events, a character is no digit,
    /// or too many wait; then none is queued.
    pub(crate) fn queue_digits(&mut self, digits: &str) -> bool {
        let codes: Option<Vec<u8>> = digits.chars().map(digit_code).collect();
        match (codes, self.format.telephone_event) {
            (Some(codes), Some(_)) if self.digits.len() + codes.len() <= DTMF_DIGITS_MAX => {
                self.digits.extend(codes);
                true
            }
            _ => false,
        }
    }

    /// Time went by without packets (the process slept): timestamps follow the clock.
    pub(crate) fn skip_packets(&mut self, packets: u64) {
        self.timestamp = self.timestamp.wrapping_add(PACKET_SAMPLES.wrapping_mul(packets as u32));
    }

    /// Writes the packet of the next 20 ms; `None` when nothing is to be sent.
    pub(crate) fn next_packet<'b>(
        &mut self,
        buffer: &'b mut [u8; PACKET_BYTES_MAX],
    ) -> Option<&'b [u8]> {
        let timestamp = self.timestamp;
        self.timestamp = timestamp.wrapping_add(PACKET_SAMPLES);
        if self.talking == Talking::Off {
            return None;
        }
        let length = match self.next_event(timestamp) {
            Some((header, event)) => {
                buffer[..RTP_HEADER_BYTES].copy_from_slice(&header.to_bytes());
                buffer[RTP_HEADER_BYTES..RTP_HEADER_BYTES + 4].copy_from_slice(&event.to_bytes());
                RTP_HEADER_BYTES + 4
            }
            None => {
                let marker = std::mem::take(&mut self.marker);
                let header = self.header(self.format.payload_type, marker, timestamp);
                buffer[..RTP_HEADER_BYTES].copy_from_slice(&header.to_bytes());
                self.fill_audio(&mut buffer[RTP_HEADER_BYTES..]);
                PACKET_BYTES_MAX
            }
        };
        self.sequence = self.sequence.wrapping_add(1);
        self.sent_packets = self.sent_packets.wrapping_add(1);
        self.sent_octets = self.sent_octets.wrapping_add((length - RTP_HEADER_BYTES) as u32);
        Some(&buffer[..length])
    }

    const fn header(&self, payload_type: u8, marker: bool, timestamp: u32) -> RtpHeader {
        RtpHeader { marker, payload_type, sequence: self.sequence, timestamp, ssrc: self.ssrc }
    }

    /// The event packet of these 20 ms, when a digit is on its way.
    fn next_event(&mut self, timestamp: u32) -> Option<(RtpHeader, TelephoneEvent)> {
        let payload_type = self.format.telephone_event?;
        if self.digit.is_none() {
            if self.pause_packets > 0 {
                self.pause_packets -= 1;
                return None;
            }
            let code = self.digits.pop_front()?;
            self.digit = Some(Digit { code, timestamp, packets: 0, ends: 0 });
        }
        let digit = self.digit.as_mut()?;
        let marker = digit.packets == 0;
        if digit.packets < DIGIT_PACKETS {
            digit.packets += 1;
        } else {
            digit.ends += 1;
        }
        let event = TelephoneEvent {
            code: digit.code,
            end: digit.ends > 0,
            volume_db: 10,
            duration_samples: digit.packets * PACKET_SAMPLES as u16,
        };
        let (start, is_over) = (digit.timestamp, digit.ends == DIGIT_END_PACKETS);
        if is_over {
            self.digit = None;
            self.pause_packets = DIGIT_PAUSE_PACKETS;
        }
        Some((self.header(payload_type, marker, start), event))
    }

    fn fill_audio(&mut self, payload: &mut [u8]) {
        match self.audio {
            SentAudio::Tagged => {
                write_tag(payload, self.tag, self.counter);
                self.counter = self.counter.wrapping_add(1);
            }
            SentAudio::Silence => payload.fill(g711::silence(self.format.codec)),
            SentAudio::Tone { hz } => self.fill_tone(payload, hz),
        }
    }

    fn fill_tone(&mut self, payload: &mut [u8], hz: u16) {
        let codec = self.format.codec;
        let is_current =
            self.tone.as_ref().is_some_and(|(law, tone, _)| (*law, *tone) == (codec, hz));
        if !is_current {
            self.tone = Some((codec, hz, tone::tone_second(codec, hz).into()));
        }
        let Some((_, _, second)) = &self.tone else { return };
        for (code, at) in payload.iter_mut().zip(self.tone_at..) {
            *code = second[at % second.len()];
        }
        self.tone_at = (self.tone_at + payload.len()) % second.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::tag::read_tag;

    const FORMAT: SendFormat =
        SendFormat { codec: RtpCodec::Pcmu, payload_type: 0, telephone_event: Some(101) };

    fn sender(audio: SentAudio) -> RtpSender {
        let mut sender = RtpSender::new(&mut Dice::from_seed(3), SenderTag(9), audio);
        sender.set(FORMAT, Talking::On);
        sender
    }

    fn packet(sender: &mut RtpSender) -> Option<(RtpHeader, Vec<u8>)> {
        let mut buffer = [0; PACKET_BYTES_MAX];
        let bytes = sender.next_packet(&mut buffer)?;
        RtpHeader::parse(bytes).map(|(header, payload)| (header, payload.to_vec()))
    }

    // Goal: a renegotiation changes neither SSRC nor sequence nor timestamp line; a pause advances
    // the timestamp only, and the next packet carries the marker.
    #[test]
    fn the_stream_goes_on() {
        let mut sender = sender(SentAudio::Tagged);
        let (first, payload) = packet(&mut sender).expect("sends");
        assert!(first.marker);
        assert_eq!(read_tag(&payload), Some((SenderTag(9), 0)));

        sender.set(SendFormat { payload_type: 8, codec: RtpCodec::Pcma, ..FORMAT }, Talking::On);
        let (second, payload) = packet(&mut sender).expect("sends");
        assert_eq!(second.ssrc, first.ssrc);
        assert_eq!(second.sequence, first.sequence.wrapping_add(1));
        assert_eq!(second.timestamp, first.timestamp.wrapping_add(160));
        assert_eq!((second.marker, second.payload_type), (false, 8));
        assert_eq!(read_tag(&payload), Some((SenderTag(9), 1)));

        sender.set(FORMAT, Talking::Off);
        assert_eq!(packet(&mut sender), None);
        sender.set(FORMAT, Talking::On);
        sender.skip_packets(2);
        let (third, _) = packet(&mut sender).expect("sends");
        assert_eq!(third.sequence, first.sequence.wrapping_add(2));
        assert_eq!(third.timestamp, first.timestamp.wrapping_add(160 * 5));
        assert!(third.marker);
    }

    // Goal: a digit is one event with one timestamp, growing duration, and three end packets; then
    // audio for 100 ms before the next digit; sequence numbers have no hole.
    #[test]
    fn digits_follow_rfc_4733() {
        let mut sender = sender(SentAudio::Silence);
        assert!(sender.queue_digits("5#"));
        let packets: Vec<_> = (0..21).filter_map(|_| packet(&mut sender)).collect();
        let first = packets[0].0.sequence;
        for (n, (header, payload)) in packets.iter().enumerate() {
            assert_eq!(header.sequence, first.wrapping_add(n as u16));
            let is_event = !(8..13).contains(&n);
            assert_eq!(header.payload_type == 101, is_event, "{n}");
            if let (true, Some(event)) = (n < 8, TelephoneEvent::parse(payload)) {
                assert_eq!(header.timestamp, packets[0].0.timestamp);
                assert_eq!(event.duration_samples, 160 * (n as u16 + 1).min(5));
                assert_eq!((event.end, header.marker), (n >= 5, n == 0), "{n}");
                assert_eq!(event.digit(), Some('5'));
            }
        }
        assert!(!sender.queue_digits("5x"), "no digit");
        sender.set(SendFormat { telephone_event: None, ..FORMAT }, Talking::On);
        assert!(!sender.queue_digits("5"), "no events negotiated");
    }

    // Goal: a tone goes on over packets without a jump in its phase.
    #[test]
    fn tones_are_continuous() {
        let mut sender = sender(SentAudio::Tone { hz: 440 });
        let sent: Vec<u8> =
            (0..60).filter_map(|_| packet(&mut sender)).flat_map(|(_, payload)| payload).collect();
        let second = tone::tone_second(RtpCodec::Pcmu, 440);
        let wanted: Vec<u8> = second.iter().chain(&second).copied().take(60 * 160).collect();
        assert_eq!(sent, wanted);

        sender.set_audio(SentAudio::Tone { hz: 620 });
        let (_, payload) = packet(&mut sender).expect("sends");
        let other = tone::tone_second(RtpCodec::Pcmu, 620);
        assert!(other.windows(160).any(|window| window == payload), "another tone when asked for");
    }
}
