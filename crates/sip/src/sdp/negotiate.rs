//! Offer and answer for one audio stream (RFC 3264).

use super::audio::{
    AudioMedia, Codec, CryptoLine, Direction, Format, Profile, RtcpMux, TelephoneEvent,
};
use super::description::{RemoteDescription, SdpError, StreamLine};
use super::local::{LocalDescription, VersionsExhausted};
use bytes::Bytes;
use sdp_types::{Attribute, Connection, Media, Session, Time};
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// First payload type of the dynamic range (RFC 3551 section 3).
const DYNAMIC_FIRST: u8 = 96;
/// Payload types that we give to telephone-event: 101 first, as everybody does.
const EVENT_NUMBERS: RangeInclusive<u8> = 101..=104;

/// Whether something is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// Yes.
    Yes,
    /// No.
    No,
}

/// Whose order of codecs counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodecOrder {
    /// The offerer's (RFC 3264 section 6.1 recommends it).
    Offerer,
    /// Ours: when it saves transcoding.
    Ours,
}

/// A codec that we take, and what an offer of ours says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupportedCodec {
    /// The codec.
    pub codec: Codec,
    /// Value of `fmtp` in our offers, for instance `annexb=no`.
    pub parameters: Option<String>,
}

impl From<Codec> for SupportedCodec {
    fn from(codec: Codec) -> Self {
        Self { codec, parameters: None }
    }
}

/// What we can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Codecs in our order of preference.
    pub codecs: Vec<SupportedCodec>,
    /// Whose order counts in an answer.
    pub order: CodecOrder,
    /// DTMF by RFC 4733.
    pub telephone_event: Support,
    /// RTP and RTCP on one port.
    pub rtcp_mux: Support,
    /// SRTP suites by RFC 4568 in our order; empty means RTP without encryption only.
    pub srtp_suites: Vec<String>,
    /// Whether plain RTP is taken.
    pub plain_rtp: Support,
    /// Packet length that we ask for, in ms.
    pub ptime_ms: Option<u32>,
}

impl Default for Capabilities {
    /// G.711 in both forms, DTMF, plain RTP, 20 ms.
    fn default() -> Self {
        Self {
            codecs: vec![Codec::new("PCMU", 8_000).into(), Codec::new("PCMA", 8_000).into()],
            order: CodecOrder::Offerer,
            telephone_event: Support::Yes,
            rtcp_mux: Support::Yes,
            srtp_suites: Vec::new(),
            plain_rtp: Support::Yes,
            ptime_ms: Some(20),
        }
    }
}

/// Our end of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalMedia {
    /// Where we receive.
    pub address: IpAddr,
    /// RTP port.
    pub port: u16,
    /// RTCP port when it is neither shared nor the next one.
    pub rtcp_port: Option<u16>,
    /// Our key, for SRTP: in an answer with the tag and suite of the line that was chosen.
    pub crypto: Vec<CryptoLine>,
    /// What we want to do: sendrecv in talk, sendonly or inactive to hold.
    pub direction: Direction,
}

/// What both sides have agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// The peer's end.
    pub remote: AudioMedia,
    /// Codec and payload type of what we send.
    pub send: Format,
    /// Codec and payload type of what we receive.
    pub receive: Format,
    /// Payload type of the DTMF that we send.
    pub send_events: Option<TelephoneEvent>,
    /// Payload type of the DTMF that we receive.
    pub receive_events: Option<TelephoneEvent>,
    /// Seen from us.
    pub direction: Direction,
    /// Agreed.
    pub rtcp_mux: RtcpMux,
    /// Packet length to send, in ms.
    pub ptime_ms: Option<u32>,
    /// The peer's key, chosen by suite; `None` for plain RTP.
    pub remote_crypto: Option<CryptoLine>,
    /// All streams of the peer's description, for the answer.
    streams: Vec<StreamLine>,
}

/// Why an offer is refused: the 488, in words for its Warning or Reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NegotiationError {
    /// The body cannot be read.
    #[error(transparent)]
    Unreadable(#[from] SdpError),
    /// No audio stream that is switched on and has a usable address.
    #[error("the offer has no usable audio stream: answer 488")]
    NoAudio,
    /// Only profiles that we do not take.
    #[error("the offer's transport ({0}) is not supported or not allowed: answer 488")]
    Profile(String),
    /// No common codec.
    #[error("no codec of the offer is supported: answer 488")]
    NoCodec,
    /// SRTP without a suite that we know.
    #[error("no SRTP suite of the offer is supported: answer 488")]
    NoCrypto,
}

/// Why an answer to our offer ends the call: acknowledge, then BYE (RFC 3261 section 13.2.2.4).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The body cannot be read.
    #[error(transparent)]
    Unreadable(#[from] SdpError),
    /// The peer refused the stream (port 0) or answered with something else.
    #[error("the answer refuses the audio stream: acknowledge and end the call")]
    Refused,
    /// A codec that was not offered.
    #[error("the answer names no codec that was offered: acknowledge and end the call")]
    NoCodec,
    /// Another profile than offered, or no key.
    #[error("the answer changes transport or encryption: acknowledge and end the call")]
    Profile,
}

/// Why no description of ours can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DescribeError {
    /// No SDP version is reserved.
    #[error(transparent)]
    Versions(#[from] VersionsExhausted),
    /// SRTP was agreed on, but our end has no key.
    #[error("SRTP was agreed on but no key of ours is given: set LocalMedia::crypto")]
    NoKey,
}

/// What we have offered: needed to read the answer, and part of the replicated leg while it is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedMedia {
    /// Formats with our payload types.
    pub formats: Vec<Format>,
    /// DTMF with our payload types, one for each clock rate among the formats.
    pub telephone_events: Vec<TelephoneEvent>,
    /// Profile.
    pub profile: Profile,
    /// Whether rtcp-mux was offered.
    pub rtcp_mux: RtcpMux,
    /// Our wish.
    pub direction: Direction,
    /// Packet length asked for, in ms.
    pub ptime_ms: Option<u32>,
}

/// Chooses from an offer (RFC 3264 section 6): the first audio stream that fits, one codec, DTMF, key.
///
/// # Errors
/// [`NegotiationError`].
///
/// ```
/// use tandem_sip::sdp::{Capabilities, Direction, RemoteDescription, negotiate};
/// let sdp = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
///             m=audio 4000 RTP/AVP 8 0\r\na=sendonly\r\n";
/// let offer = RemoteDescription::parse(sdp).unwrap();
/// let agreed = negotiate(&offer, &Capabilities::default(), Direction::SendRecv).unwrap();
/// assert_eq!((agreed.send.codec.name.as_str(), agreed.direction), ("PCMA", Direction::RecvOnly));
/// ```
pub fn negotiate(
    offer: &RemoteDescription,
    capabilities: &Capabilities,
    wanted: Direction,
) -> Result<Negotiated, NegotiationError> {
    let streams = offer.streams();
    let mut reason = NegotiationError::NoAudio;
    for index in 0..streams.len() {
        let Some(audio) = offer.audio(index) else { continue };
        match choose(audio, capabilities, wanted) {
            Ok(mut agreed) => {
                agreed.streams = streams;
                return Ok(agreed);
            }
            Err(fault) => reason = fault,
        }
    }
    Err(reason)
}

/// Writes the answer: our stream in its place, every other one refused with port 0, in the offer's order
/// (RFC 3264 section 6).
///
/// # Errors
/// [`DescribeError`].
pub fn answer(
    agreed: &Negotiated,
    local: &LocalMedia,
    description: &mut LocalDescription,
) -> Result<Bytes, DescribeError> {
    check_key(agreed.remote.profile, local)?;
    let mut session = empty_session(local.address);
    for (index, stream) in agreed.streams.iter().enumerate() {
        session.medias.push(if index == agreed.remote.index {
            let formats = std::slice::from_ref(&agreed.receive);
            let events = agreed.receive_events.as_slice();
            let mut media = stream_media(agreed.remote.profile, local, formats, events);
            push_flags(&mut media, agreed.direction, agreed.rtcp_mux, local);
            push_ptime(&mut media, agreed.ptime_ms);
            media
        } else {
            refused(stream)
        });
    }
    Ok(description.stamp(session)?)
}

/// Writes an offer of ours and remembers what it says. With `agreed` the offer repeats what holds already
/// (hold, takeover, another relay); without, it names all capabilities.
///
/// # Errors
/// [`DescribeError`].
pub fn offer(
    capabilities: &Capabilities,
    agreed: Option<&Negotiated>,
    local: &LocalMedia,
    description: &mut LocalDescription,
) -> Result<(Bytes, OfferedMedia), DescribeError> {
    let offered = match agreed {
        Some(agreed) => OfferedMedia {
            formats: vec![agreed.receive.clone()],
            telephone_events: agreed.receive_events.iter().cloned().collect(),
            profile: agreed.remote.profile,
            rtcp_mux: agreed.rtcp_mux,
            direction: local.direction,
            ptime_ms: agreed.ptime_ms,
        },
        None => fresh_offer(capabilities, local),
    };
    check_key(offered.profile, local)?;
    let mut media =
        stream_media(offered.profile, local, &offered.formats, &offered.telephone_events);
    push_flags(&mut media, offered.direction, offered.rtcp_mux, local);
    push_ptime(&mut media, offered.ptime_ms);
    let mut session = empty_session(local.address);
    // RFC 3264 section 8: the number of streams never shrinks; those once refused stay refused.
    let index = agreed.map_or(0, |agreed| agreed.remote.index);
    let streams = agreed.map(|agreed| agreed.streams.as_slice()).unwrap_or_default();
    for stream in streams.iter().take(index) {
        session.medias.push(refused(stream));
    }
    session.medias.push(media);
    for stream in streams.iter().skip(index + 1) {
        session.medias.push(refused(stream));
    }
    Ok((description.stamp(session)?, offered))
}

/// Reads the answer to an offer of ours (RFC 3264 section 7).
///
/// # Errors
/// [`AnswerError`].
pub fn accept_answer(
    offered: &OfferedMedia,
    answer: &RemoteDescription,
    capabilities: &Capabilities,
) -> Result<Negotiated, AnswerError> {
    let streams = answer.streams();
    // Ours is the only one that is not refused, wherever it stands.
    let audio = (0..streams.len()).find_map(|index| answer.audio(index));
    let audio = audio.ok_or(AnswerError::Refused)?;
    if audio.profile != offered.profile {
        return Err(AnswerError::Profile);
    }
    let pair = audio.formats.iter().find_map(|theirs| {
        let ours = offered.formats.iter().find(|ours| ours.codec.is_same(&theirs.codec))?;
        Some((theirs.clone(), ours.clone()))
    });
    let (send, receive) = pair.ok_or(AnswerError::NoCodec)?;
    let send_events = matching_event(&audio.telephone_events, &send.codec);
    let receive_events =
        matching_event(&offered.telephone_events, &receive.codec).filter(|_| send_events.is_some());
    let remote_crypto = if offered.profile.is_encrypted() {
        Some(choose_crypto(&audio, capabilities).ok_or(AnswerError::Profile)?)
    } else {
        None
    };
    let both_mux = offered.rtcp_mux == RtcpMux::Mux && audio.rtcp_mux == RtcpMux::Mux;
    Ok(Negotiated {
        direction: offered.direction.and(audio.direction().reversed()),
        rtcp_mux: if both_mux { RtcpMux::Mux } else { RtcpMux::Separate },
        ptime_ms: audio.ptime_ms.or(offered.ptime_ms),
        send,
        receive,
        send_events,
        receive_events,
        remote_crypto,
        remote: audio,
        streams,
    })
}

fn choose(
    audio: AudioMedia,
    capabilities: &Capabilities,
    wanted: Direction,
) -> Result<Negotiated, NegotiationError> {
    let allowed = match audio.profile {
        Profile::Avp | Profile::Avpf => capabilities.plain_rtp == Support::Yes,
        Profile::Savp | Profile::Savpf => !capabilities.srtp_suites.is_empty(),
        Profile::Other => false,
    };
    if !allowed {
        return Err(NegotiationError::Profile(audio.profile.proto().to_owned()));
    }
    let remote_crypto = if audio.profile.is_encrypted() {
        Some(choose_crypto(&audio, capabilities).ok_or(NegotiationError::NoCrypto)?)
    } else {
        None
    };
    let format = choose_format(&audio, capabilities).ok_or(NegotiationError::NoCodec)?;
    let events = match capabilities.telephone_event {
        Support::Yes => matching_event(&audio.telephone_events, &format.codec),
        Support::No => None,
    };
    let mux = audio.rtcp_mux == RtcpMux::Mux && capabilities.rtcp_mux == Support::Yes;
    Ok(Negotiated {
        direction: wanted.and(audio.direction().reversed()),
        rtcp_mux: if mux { RtcpMux::Mux } else { RtcpMux::Separate },
        ptime_ms: choose_ptime(&audio, capabilities),
        send: format.clone(),
        // RFC 3264 section 6.1: the same payload type for the same codec both ways.
        receive: format,
        send_events: events.clone(),
        receive_events: events,
        remote_crypto,
        remote: audio,
        streams: Vec::new(),
    })
}

fn choose_format(audio: &AudioMedia, capabilities: &Capabilities) -> Option<Format> {
    let ours =
        |format: &&Format| capabilities.codecs.iter().any(|c| c.codec.is_same(&format.codec));
    let found = match capabilities.order {
        CodecOrder::Offerer => audio.formats.iter().find(ours),
        CodecOrder::Ours => capabilities
            .codecs
            .iter()
            .find_map(|ours| audio.formats.iter().find(|f| f.codec.is_same(&ours.codec))),
    };
    found.cloned()
}

/// The DTMF payload type with the clock rate of the codec (RFC 4733 section 2.1 needs the same).
fn matching_event(events: &[TelephoneEvent], codec: &Codec) -> Option<TelephoneEvent> {
    events.iter().find(|event| event.clock_rate_hz == codec.clock_rate_hz).cloned()
}

fn choose_crypto(audio: &AudioMedia, capabilities: &Capabilities) -> Option<CryptoLine> {
    let known = |line: &&CryptoLine| {
        capabilities.srtp_suites.iter().any(|suite| suite.eq_ignore_ascii_case(&line.suite))
    };
    audio.crypto.iter().find(known).cloned()
}

/// The peer's wish, cut to its own maximum; else ours.
fn choose_ptime(audio: &AudioMedia, capabilities: &Capabilities) -> Option<u32> {
    let wish = audio.ptime_ms.or(capabilities.ptime_ms);
    match (wish, audio.ptime_ms_max) {
        (Some(wish), Some(max)) => Some(wish.min(max)),
        (wish, _) => wish,
    }
}

fn check_key(profile: Profile, local: &LocalMedia) -> Result<(), DescribeError> {
    if profile.is_encrypted() && local.crypto.is_empty() {
        return Err(DescribeError::NoKey);
    }
    Ok(())
}

fn fresh_offer(capabilities: &Capabilities, local: &LocalMedia) -> OfferedMedia {
    // Dynamic payload types from 96 on, jumping over those of DTMF.
    let mut dynamic = (DYNAMIC_FIRST..=127).filter(|number| !EVENT_NUMBERS.contains(number));
    let formats = capabilities.codecs.iter().filter_map(|ours| {
        let payload_type = ours.codec.static_payload_type().or_else(|| dynamic.next())?;
        let (codec, parameters) = (ours.codec.clone(), ours.parameters.clone());
        Some(Format { payload_type, codec, parameters })
    });
    let formats: Vec<Format> = formats.collect();
    let encrypted = !capabilities.srtp_suites.is_empty() && !local.crypto.is_empty();
    let mux = capabilities.rtcp_mux == Support::Yes;
    OfferedMedia {
        telephone_events: match capabilities.telephone_event {
            Support::Yes => fresh_events(&formats),
            Support::No => Vec::new(),
        },
        formats,
        profile: if encrypted { Profile::Savp } else { Profile::Avp },
        rtcp_mux: if mux { RtcpMux::Mux } else { RtcpMux::Separate },
        direction: local.direction,
        ptime_ms: capabilities.ptime_ms,
    }
}

/// One telephone-event for each clock rate (RFC 4733 section 2.1).
fn fresh_events(formats: &[Format]) -> Vec<TelephoneEvent> {
    let mut rates: Vec<u32> = Vec::new();
    for format in formats {
        if !rates.contains(&format.codec.clock_rate_hz) {
            rates.push(format.codec.clock_rate_hz);
        }
    }
    let event = |(payload_type, clock_rate_hz)| TelephoneEvent {
        payload_type,
        clock_rate_hz,
        events: Some("0-16".to_owned()),
    };
    EVENT_NUMBERS.zip(rates).map(event).collect()
}

/// A description without streams; its `o=` line is stamped later.
fn empty_session(address: IpAddr) -> Session {
    let origin = sdp_types::Origin::with_ip_addr(0, 0, address);
    let mut session = Session::new(origin, "-");
    session.connection = Some(Connection::from_ip_addr(address));
    session.times = vec![Time { start_time: 0, stop_time: 0, repeats: Vec::new() }];
    session
}

fn stream_media(
    profile: Profile,
    local: &LocalMedia,
    formats: &[Format],
    events: &[TelephoneEvent],
) -> Media {
    let numbers =
        formats.iter().map(|f| f.payload_type).chain(events.iter().map(|e| e.payload_type));
    let fmt = numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(" ");
    let mut media = plain_media("audio", local.port, profile.proto(), &fmt);
    for format in formats {
        let codec = &format.codec;
        let channels =
            if codec.channels == 1 { String::new() } else { format!("/{}", codec.channels) };
        let map =
            format!("{} {}/{}{channels}", format.payload_type, codec.name, codec.clock_rate_hz);
        push(&mut media, "rtpmap", Some(map));
        if let Some(parameters) = &format.parameters {
            push(&mut media, "fmtp", Some(format!("{} {parameters}", format.payload_type)));
        }
    }
    for event in events {
        let number = event.payload_type;
        push(
            &mut media,
            "rtpmap",
            Some(format!("{number} telephone-event/{}", event.clock_rate_hz)),
        );
        let range = event.events.as_deref().unwrap_or("0-15");
        push(&mut media, "fmtp", Some(format!("{number} {range}")));
    }
    for line in &local.crypto {
        if profile.is_encrypted() {
            push(&mut media, "crypto", Some(line.value()));
        }
    }
    media
}

fn push_flags(media: &mut Media, direction: Direction, mux: RtcpMux, local: &LocalMedia) {
    push(media, direction.name(), None);
    match (mux, local.rtcp_port) {
        (RtcpMux::Mux, _) => push(media, "rtcp-mux", None),
        (RtcpMux::Separate, Some(port)) => push(media, "rtcp", Some(port.to_string())),
        (RtcpMux::Separate, None) => {}
    }
}

fn push_ptime(media: &mut Media, ptime_ms: Option<u32>) {
    if let Some(ms) = ptime_ms {
        push(media, "ptime", Some(ms.to_string()));
    }
}

fn push(media: &mut Media, name: &str, value: Option<String>) {
    media.attributes.push(Attribute { attribute: name.to_owned(), value });
}

/// A stream that we do not take: its line with port 0.
fn refused(stream: &StreamLine) -> Media {
    plain_media(&stream.media, 0, &stream.proto, &stream.formats)
}

fn plain_media(media: &str, port: u16, proto: &str, fmt: &str) -> Media {
    Media {
        media: media.to_owned(),
        port,
        num_ports: None,
        proto: proto.to_owned(),
        fmt: fmt.to_owned(),
        media_title: None,
        connections: Vec::new(),
        bandwidths: Vec::new(),
        key: None,
        attributes: Vec::new(),
    }
}
