//! Offer and answer of one leg (RFC 3264): its own description, what the other side said, and what
//! follows for the audio.

use std::net::{IpAddr, SocketAddr};

use super::config::{AudioConfig, RtcpOffer};
use crate::dice::Dice;
use crate::media::{Listening, Negotiated, SendFormat, StreamId, Talking};
use crate::report::Anomaly;
use crate::sip::{
    AudioView, Direction, MediaDescription, Origin, RtcpMux, RtpCodec, SdpError,
    SessionDescription, own_audio, refused,
};

/// Payload type that offers give to telephone events.
const EVENT_PAYLOAD_TYPE: u8 = 101;

/// The session of one leg.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) stream: StreamId,
    ip: IpAddr,
    port: u16,
    codecs: Vec<RtpCodec>,
    rtcp: RtcpOffer,
    session_id: u64,
    version: u64,
    /// The last description given, without its version, to raise that only on change (RFC 3264 8).
    last_given: Option<String>,
    /// What the user of the phone wants: hold is `SendOnly` or `Inactive`.
    pub(crate) wanted: Direction,
    remote: Option<Remote>,
    /// The sections of the other side's last offer, whose number and order an answer keeps.
    sections: Vec<MediaDescription>,
}

/// What the other side said last.
#[derive(Debug)]
struct Remote {
    origin: Origin,
    text: String,
    rtp: SocketAddr,
}

/// What a description of the other side means.
#[derive(Debug)]
pub(crate) struct Heeded {
    pub(crate) version: u64,
    pub(crate) media: SocketAddr,
    pub(crate) media_changed: bool,
    pub(crate) direction: Direction,
    pub(crate) anomalies: Vec<Anomaly>,
    view: AudioView,
}

impl Session {
    pub(crate) fn new(
        stream: StreamId,
        ip: IpAddr,
        port: u16,
        audio: &AudioConfig,
        dice: &mut Dice,
    ) -> Self {
        Self {
            stream,
            ip,
            port,
            codecs: audio.codecs.clone(),
            rtcp: audio.rtcp,
            // Fits the 63 bits that every reader of NTP-like ids can hold.
            session_id: dice.u64() >> 2,
            version: dice.below(1 << 31),
            last_given: None,
            wanted: Direction::SendRecv,
            remote: None,
            sections: Vec::new(),
        }
    }

    /// Another peer is called: what the one before said counts no more.
    pub(crate) fn forget_remote(&mut self) {
        self.remote = None;
        self.sections.clear();
    }

    /// The codecs that an offer of this side names.
    pub(crate) fn offered_formats(&self) -> (Vec<(RtpCodec, u8)>, Option<u8>) {
        let codecs = self.codecs.iter().map(|codec| (*codec, codec.payload_type())).collect();
        (codecs, Some(EVENT_PAYLOAD_TYPE))
    }

    /// An offer. Sections that the other side once offered and this side refused stay refused.
    pub(crate) fn offer(&mut self) -> String {
        let (codecs, event) = self.offered_formats();
        let mux = match self.rtcp {
            RtcpOffer::Mux => RtcpMux::Shared,
            RtcpOffer::NextPort => RtcpMux::NextPort,
        };
        let own = own_audio(self.port, &codecs, event, self.wanted, mux);
        let index = self.audio_index();
        let mut media: Vec<MediaDescription> = self.sections.iter().map(refused).collect();
        match media.get_mut(index) {
            Some(section) => *section = own,
            None => media.push(own),
        }
        self.describe(media)
    }

    fn audio_index(&self) -> usize {
        self.sections.iter().position(|m| m.kind == "audio" && m.port != 0).unwrap_or(0)
    }

    /// The answer to what [`Self::heed`] took as an offer, and what it means for the audio.
    pub(crate) fn answer(&mut self, heeded: &Heeded) -> (String, Negotiated) {
        let view = &heeded.view;
        let chosen = view.codecs.first().copied().unwrap_or((RtpCodec::Pcmu, 0));
        let mux = if view.rtcp_mux { RtcpMux::Shared } else { RtcpMux::NextPort };
        let direction = view.direction.answer(self.wanted);
        let own = own_audio(self.port, &[chosen], view.telephone_event, direction, mux);
        let mut media: Vec<MediaDescription> = self.sections.iter().map(refused).collect();
        if let Some(section) = media.get_mut(view.index) {
            *section = own;
        }
        let text = self.describe(media);
        let receive = vec![chosen];
        (text, self.negotiated(view, direction, receive, view.telephone_event))
    }

    /// What the answer to this side's offer means for the audio.
    pub(crate) fn conclude(&self, heeded: &Heeded) -> Negotiated {
        let (receive, event) = self.offered_formats();
        // What the other side's answer allows, within what was offered.
        let direction = heeded.view.direction.answer(self.wanted);
        self.negotiated(&heeded.view, direction, receive, event)
    }

    fn negotiated(
        &self,
        view: &AudioView,
        direction: Direction,
        receive: Vec<(RtpCodec, u8)>,
        receive_event: Option<u8>,
    ) -> Negotiated {
        let (codec, payload_type) = view.codecs.first().copied().unwrap_or((RtpCodec::Pcmu, 0));
        // RFC 3264 8.4: the address 0.0.0.0 is the old way to say "hold".
        let old_hold = view.rtp.ip().is_unspecified();
        let talking = if direction.sends() && !old_hold { Talking::On } else { Talking::Off };
        let listening = if direction.receives() && !old_hold {
            Listening::Expected
        } else {
            Listening::NotExpected
        };
        Negotiated {
            remote_rtp: view.rtp,
            remote_rtcp: view.rtcp,
            send: SendFormat { codec, payload_type, telephone_event: view.telephone_event },
            receive,
            receive_event,
            talking,
            listening,
        }
    }

    /// Reads the other side's description, and notes what is strange about it.
    pub(crate) fn heed(&mut self, body: &[u8]) -> Result<Heeded, SdpError> {
        let description = SessionDescription::parse(body)?;
        let view = description.audio(&self.codecs)?;
        let mut anomalies = Vec::new();
        let version = description.origin.version;
        let text = without_version(&description);
        let before = self.remote.as_ref();
        if let Some(before) = before {
            if description.origin.session_id != before.origin.session_id
                || description.origin.username != before.origin.username
            {
                anomalies.push(Anomaly::SdpOriginChanged);
            } else if text != before.text && version <= before.origin.version {
                let before = before.origin.version;
                anomalies.push(Anomaly::SdpVersionNotHigher { version, before });
            }
        }
        let media_changed = before.is_some_and(|before| before.rtp != view.rtp);
        self.remote = Some(Remote { origin: description.origin, text, rtp: view.rtp });
        self.sections = description.media;
        let (media, direction) = (view.rtp, view.direction);
        Ok(Heeded { version, media, media_changed, direction, anomalies, view })
    }

    fn describe(&mut self, media: Vec<MediaDescription>) -> String {
        let mut description = SessionDescription {
            origin: Origin {
                username: "phone".into(),
                session_id: self.session_id,
                version: self.version,
                address: self.ip.to_string(),
            },
            connection: Some(self.ip),
            attributes: Vec::new(),
            media,
        };
        let text = without_version(&description);
        if self.last_given.as_ref().is_some_and(|last| *last != text) {
            self.version += 1;
            description.origin.version = self.version;
        }
        self.last_given = Some(text);
        description.to_string()
    }
}

fn without_version(description: &SessionDescription) -> String {
    let mut same = description.clone();
    same.origin.version = 0;
    // Who writes the description may change (a takeover); what it describes is the rest.
    same.origin.address = String::from("0.0.0.0");
    same.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        let ip = "127.0.0.2".parse().expect("address");
        Session::new(StreamId(1), ip, 40_000, &AudioConfig::default(), &mut Dice::from_seed(1))
    }

    fn offer(version: u64, port: u16, tail: &str) -> String {
        format!(
            "v=0\r\no=- 5 {version} IN IP4 127.0.0.9\r\ns=-\r\nc=IN IP4 127.0.0.9\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 8 0 96\r\na=rtpmap:96 telephone-event/8000\r\n{tail}"
        )
    }

    fn version_of(text: &str) -> u64 {
        SessionDescription::parse(text.as_bytes()).expect("own output").origin.version
    }

    // Goal: the answer keeps the offer's streams in order, takes its first codec and its event type;
    // the version rises only when the answer changes.
    #[test]
    fn answers_follow_offers() {
        let mut session = session();
        let with_video = offer(1, 6_000, "m=video 6002 RTP/AVP 96\r\n");
        let heeded = session.heed(with_video.as_bytes()).expect("audio");
        let (text, negotiated) = session.answer(&heeded);
        assert!(text.contains("m=audio 40000 RTP/AVP 8 96\r\n"), "{text}");
        assert!(text.contains("m=video 0 RTP/AVP 96\r\n"), "{text}");
        assert_eq!(negotiated.send.payload_type, 8);
        assert_eq!(negotiated.send.telephone_event, Some(96));
        let first = version_of(&text);

        // A taker's offer with another address: same answer, same version.
        let heeded =
            session.heed(offer(2, 7_000, "m=video 6002 RTP/AVP 96\r\n").as_bytes()).expect("audio");
        assert!(heeded.media_changed && heeded.anomalies.is_empty());
        let (text, negotiated) = session.answer(&heeded);
        assert_eq!(version_of(&text), first);
        assert_eq!(negotiated.remote_rtp.port(), 7_000);

        // Hold: the answer changes, and its version rises by one.
        let held = offer(3, 7_000, "a=sendonly\r\nm=video 6002 RTP/AVP 96\r\n");
        let heeded = session.heed(held.as_bytes()).expect("audio");
        let (text, negotiated) = session.answer(&heeded);
        assert!(text.contains("a=recvonly"), "{text}");
        assert_eq!(version_of(&text), first + 1);
        assert_eq!((negotiated.talking, negotiated.listening), (Talking::Off, Listening::Expected));
    }

    // Goal: a changed description without a higher version is noted, an unchanged one is not, nor a
    // version that jumps (a taker continues after a reserved block).
    #[test]
    fn version_anomalies() {
        let table = [
            (2, 6_000, None),
            (900, 6_000, None),
            (1, 6_000, None),
            (900, 7_000, None),
            (1, 7_000, Some(Anomaly::SdpVersionNotHigher { version: 1, before: 1 })),
            (0, 7_000, Some(Anomaly::SdpVersionNotHigher { version: 0, before: 1 })),
        ];
        for (version, port, wanted) in table {
            let mut session = session();
            session.heed(offer(1, 6_000, "").as_bytes()).expect("audio");
            let heeded = session.heed(offer(version, port, "").as_bytes()).expect("audio");
            assert_eq!(heeded.anomalies.first(), wanted.as_ref(), "{version} {port}");
        }
        let mut session = session();
        session.heed(offer(1, 6_000, "").as_bytes()).expect("audio");
        let other = offer(2, 6_000, "").replace("o=- 5 ", "o=- 6 ");
        let heeded = session.heed(other.as_bytes()).expect("audio");
        assert_eq!(heeded.anomalies, [Anomaly::SdpOriginChanged]);
    }

    // Goal: directions decide who talks and who listens; 0.0.0.0 is a hold too.
    #[test]
    fn directions_and_old_hold() {
        use Listening::{Expected, NotExpected};
        use Talking::{Off, On};
        for (tail, wanted, talking, listening) in [
            ("", Direction::SendRecv, On, Expected),
            ("a=recvonly\r\n", Direction::SendRecv, On, NotExpected),
            ("a=inactive\r\n", Direction::SendRecv, Off, NotExpected),
            ("", Direction::SendOnly, On, NotExpected),
            ("c=IN IP4 0.0.0.0\r\n", Direction::SendRecv, Off, NotExpected),
        ] {
            let mut session = session();
            session.wanted = wanted;
            let heeded = session.heed(offer(1, 6_000, tail).as_bytes()).expect("audio");
            let (_, negotiated) = session.answer(&heeded);
            assert_eq!((negotiated.talking, negotiated.listening), (talking, listening), "{tail}");
        }
    }

    // Goal: after an offer of this side, both codecs may come, and the answer's first is sent.
    #[test]
    fn own_offers() {
        let mut session = session();
        let text = session.offer();
        assert!(text.contains("m=audio 40000 RTP/AVP 0 8 101\r\n"), "{text}");
        assert_eq!(version_of(&text), version_of(&session.offer()), "unchanged");
        let heeded = session.heed(offer(1, 6_000, "").as_bytes()).expect("audio");
        let negotiated = session.conclude(&heeded);
        assert_eq!(negotiated.send.codec, RtpCodec::Pcma);
        assert_eq!(negotiated.receive.len(), 2);
        assert_eq!(
            (negotiated.receive_event, negotiated.send.telephone_event),
            (Some(101), Some(96))
        );
    }
}
