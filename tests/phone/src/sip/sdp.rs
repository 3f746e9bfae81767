//! SDP (RFC 8866) as far as a phone with one audio stream needs it, and its part of the
//! offer/answer rules (RFC 3264).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::limits::{SDP_LINES_MAX, SDP_MEDIA_MAX};

/// Why a session description is refused; answer 488 or end the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SdpError {
    /// Not UTF-8, a line without `=`, too many lines or media.
    #[error("not SDP: the text is not UTF-8, a line is not `x=…`, or there are too many")]
    Malformed,
    /// The `o=` line is missing or malformed.
    #[error("the o= line is missing, or is not `user id version IN IP4|IP6 address`")]
    Origin,
    /// An `m=` line is malformed.
    #[error("an m= line is not `media port proto formats`")]
    Media,
    /// A `c=` line is missing for the audio, or holds no address.
    #[error("the audio has no c= line with an IP address")]
    Connection,
    /// No audio stream in RTP/AVP.
    #[error("no audio stream with RTP/AVP is offered: the phone has nothing to say")]
    NoAudio,
    /// No codec in common.
    #[error("neither PCMU nor PCMA is offered (or what the phone was told to use): no codec fits")]
    NoCodec,
}

/// The `o=` line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// User name, often `-`.
    pub username: String,
    /// Session id: stays for the life of the session.
    pub session_id: u64,
    /// Version: rises with each change (RFC 3264 8).
    pub version: u64,
    /// Address of its creator.
    pub address: String,
}

/// Which way audio flows, from the writer's view (RFC 3264 5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Both ways.
    #[default]
    SendRecv,
    /// The writer only sends.
    SendOnly,
    /// The writer only receives.
    RecvOnly,
    /// Nothing flows.
    Inactive,
}

impl Direction {
    /// The attribute's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// Whether its writer sends.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether its writer receives.
    #[must_use]
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// What an answer says to this offer when the answerer would like `own` (RFC 3264 6.1).
    #[must_use]
    pub const fn answer(self, own: Self) -> Self {
        match (self.receives() && own.sends(), self.sends() && own.receives()) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }
}

/// A G.711 law.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RtpCodec {
    /// G.711 mu-law, static payload type 0.
    Pcmu,
    /// G.711 A-law, static payload type 8.
    Pcma,
}

impl RtpCodec {
    /// The static payload type (RFC 3551).
    #[must_use]
    pub const fn payload_type(self) -> u8 {
        match self {
            Self::Pcmu => 0,
            Self::Pcma => 8,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
        }
    }
}

/// One `m=` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaDescription {
    /// `audio`, `video`, …
    pub kind: String,
    /// Port; 0 refuses the stream.
    pub port: u16,
    /// `RTP/AVP` …
    pub protocol: String,
    /// Formats, verbatim.
    pub formats: Vec<String>,
    /// Address of its own `c=` line.
    pub connection: Option<IpAddr>,
    /// Attributes.
    pub attributes: Vec<(String, Option<String>)>,
}

impl MediaDescription {
    fn attribute_values<'m>(&'m self, name: &'m str) -> impl Iterator<Item = &'m str> {
        self.attributes.iter().filter(move |(n, _)| n == name).filter_map(|(_, v)| v.as_deref())
    }

    fn has_attribute(&self, name: &str) -> bool {
        self.attributes.iter().any(|(n, _)| n == name)
    }
}

/// A session description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionDescription {
    /// The `o=` line.
    pub origin: Origin,
    /// Address of the session's `c=` line.
    pub connection: Option<IpAddr>,
    /// Attributes of the session.
    pub attributes: Vec<(String, Option<String>)>,
    /// The streams, in order.
    pub media: Vec<MediaDescription>,
}

/// What the phone understands of the audio stream that the other side described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioView {
    /// Which `m=` section it is.
    pub index: usize,
    /// Where the other side wants RTP; port 9 or address 0.0.0.0 when it wants none.
    pub rtp: SocketAddr,
    /// Where it wants RTCP.
    pub rtcp: SocketAddr,
    /// RTP and RTCP share a port (RFC 5761).
    pub rtcp_mux: bool,
    /// Codecs that the phone speaks, in the other side's order, with their payload types.
    pub codecs: Vec<(RtpCodec, u8)>,
    /// Payload type of telephone-event/8000 (RFC 4733).
    pub telephone_event: Option<u8>,
    /// The other side's direction.
    pub direction: Direction,
}

impl SessionDescription {
    /// Reads a body.
    ///
    /// # Errors
    /// What is malformed.
    pub fn parse(body: &[u8]) -> Result<Self, SdpError> {
        let text = std::str::from_utf8(body).map_err(|_| SdpError::Malformed)?;
        let mut origin = None;
        let mut connection = None;
        let mut attributes = Vec::new();
        let mut media: Vec<MediaDescription> = Vec::new();
        for (number, line) in text.lines().filter(|line| !line.is_empty()).enumerate() {
            if number == SDP_LINES_MAX {
                return Err(SdpError::Malformed);
            }
            let (kind, value) = line.split_once('=').ok_or(SdpError::Malformed)?;
            match kind {
                "o" => origin = Some(parse_origin(value)?),
                "m" if media.len() == SDP_MEDIA_MAX => return Err(SdpError::Malformed),
                "m" => media.push(parse_media(value)?),
                "c" => match media.last_mut() {
                    Some(section) => section.connection = Some(parse_connection(value)?),
                    None => connection = Some(parse_connection(value)?),
                },
                "a" => {
                    let attribute = match value.split_once(':') {
                        Some((name, value)) => (name.to_owned(), Some(value.trim().to_owned())),
                        None => (value.trim().to_owned(), None),
                    };
                    let section = media.last_mut().map(|section| &mut section.attributes);
                    section.unwrap_or(&mut attributes).push(attribute);
                }
                other if other.len() == 1 => {}
                _ => return Err(SdpError::Malformed),
            }
        }
        Ok(Self { origin: origin.ok_or(SdpError::Origin)?, connection, attributes, media })
    }

    /// The first audio stream in RTP/AVP that is not refused (port 0).
    ///
    /// # Errors
    /// `NoAudio`, `Connection`, or `NoCodec` when none of `allowed` is there.
    pub fn audio(&self, allowed: &[RtpCodec]) -> Result<AudioView, SdpError> {
        let (index, section) = self
            .media
            .iter()
            .enumerate()
            .find(|(_, m)| m.kind == "audio" && m.protocol == "RTP/AVP" && m.port != 0)
            .ok_or(SdpError::NoAudio)?;
        let ip = section.connection.or(self.connection).ok_or(SdpError::Connection)?;
        let mut codecs = Vec::new();
        let mut telephone_event = None;
        for payload_type in section.formats.iter().filter_map(|format| format.parse::<u8>().ok()) {
            match encoding_of(section, payload_type).as_str() {
                "PCMU/8000" => codecs.push((RtpCodec::Pcmu, payload_type)),
                "PCMA/8000" => codecs.push((RtpCodec::Pcma, payload_type)),
                "TELEPHONE-EVENT/8000" => telephone_event = Some(payload_type),
                _ => {}
            }
        }
        codecs.retain(|(codec, _)| allowed.contains(codec));
        if codecs.is_empty() {
            return Err(SdpError::NoCodec);
        }
        let rtcp_mux = section.has_attribute("rtcp-mux");
        Ok(AudioView {
            index,
            rtp: SocketAddr::new(ip, section.port),
            rtcp: rtcp_address(section, ip, rtcp_mux),
            rtcp_mux,
            codecs,
            telephone_event,
            direction: self.direction_of(section),
        })
    }

    fn direction_of(&self, section: &MediaDescription) -> Direction {
        let all =
            [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive];
        let written = all.into_iter().find(|direction| section.has_attribute(direction.name()));
        let of_session = || {
            let has = |direction: &Direction| {
                self.attributes.iter().any(|(name, _)| name == direction.name())
            };
            all.into_iter().find(has)
        };
        written.or_else(of_session).unwrap_or_default()
    }
}

/// `NAME/RATE` of a payload type, upper-cased; the static ones need no rtpmap (RFC 3551 6).
fn encoding_of(section: &MediaDescription, payload_type: u8) -> String {
    let mapped = section.attribute_values("rtpmap").find_map(|value| {
        let (number, encoding) = value.split_once(char::is_whitespace)?;
        (number.parse() == Ok(payload_type)).then(|| encoding.trim().to_ascii_uppercase())
    });
    match (mapped, payload_type) {
        // "PCMU/8000/1" says one channel, which is the default.
        (Some(encoding), _) => encoding.strip_suffix("/1").unwrap_or(&encoding).to_owned(),
        (None, 0) => "PCMU/8000".to_owned(),
        (None, 8) => "PCMA/8000".to_owned(),
        (None, _) => String::new(),
    }
}

/// RFC 3605, RFC 5761, else the next port.
fn rtcp_address(section: &MediaDescription, ip: IpAddr, mux: bool) -> SocketAddr {
    if mux {
        return SocketAddr::new(ip, section.port);
    }
    let written = section.attribute_values("rtcp").next().and_then(|value| {
        let mut words = value.split_ascii_whitespace();
        let port = words.next()?.parse().ok()?;
        let ip = words.nth(2).and_then(|text| text.parse().ok()).unwrap_or(ip);
        Some(SocketAddr::new(ip, port))
    });
    written.unwrap_or_else(|| SocketAddr::new(ip, section.port.saturating_add(1)))
}

fn parse_origin(value: &str) -> Result<Origin, SdpError> {
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    let [username, session_id, version, "IN", "IP4" | "IP6", address] = words.as_slice() else {
        return Err(SdpError::Origin);
    };
    Ok(Origin {
        username: (*username).to_owned(),
        session_id: session_id.parse().map_err(|_| SdpError::Origin)?,
        version: version.parse().map_err(|_| SdpError::Origin)?,
        address: (*address).to_owned(),
    })
}

fn parse_connection(value: &str) -> Result<IpAddr, SdpError> {
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    match words.as_slice() {
        ["IN", "IP4" | "IP6", address] => address.parse().map_err(|_| SdpError::Connection),
        _ => Err(SdpError::Connection),
    }
}

fn parse_media(value: &str) -> Result<MediaDescription, SdpError> {
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    let [kind, port, protocol, formats @ ..] = words.as_slice() else {
        return Err(SdpError::Media);
    };
    // "49170/2" asks for two ports; the first is the one that counts here.
    let port = port.split('/').next().unwrap_or_default();
    Ok(MediaDescription {
        kind: (*kind).to_owned(),
        port: port.parse().map_err(|_| SdpError::Media)?,
        protocol: (*protocol).to_owned(),
        formats: formats.iter().map(|format| (*format).to_owned()).collect(),
        connection: None,
        attributes: Vec::new(),
    })
}

impl fmt::Display for SessionDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin { username, session_id, version, address } = &self.origin;
        let kind = ip_kind(address.contains(':'));
        write!(f, "v=0\r\no={username} {session_id} {version} IN {kind} {address}\r\ns=-\r\n")?;
        if let Some(ip) = self.connection {
            write!(f, "c=IN {} {ip}\r\n", ip_kind(ip.is_ipv6()))?;
        }
        f.write_str("t=0 0\r\n")?;
        write_attributes(f, &self.attributes)?;
        for section in &self.media {
            let formats = section.formats.join(" ");
            write!(f, "m={} {} {} {formats}\r\n", section.kind, section.port, section.protocol)?;
            if let Some(ip) = section.connection {
                write!(f, "c=IN {} {ip}\r\n", ip_kind(ip.is_ipv6()))?;
            }
            write_attributes(f, &section.attributes)?;
        }
        Ok(())
    }
}

const fn ip_kind(is_v6: bool) -> &'static str {
    if is_v6 { "IP6" } else { "IP4" }
}

fn write_attributes(
    f: &mut fmt::Formatter<'_>,
    attributes: &[(String, Option<String>)],
) -> fmt::Result {
    attributes.iter().try_for_each(|(name, value)| match value {
        Some(value) => write!(f, "a={name}:{value}\r\n"),
        None => write!(f, "a={name}\r\n"),
    })
}

/// The audio section that the phone writes.
pub(crate) fn own_audio(
    port: u16,
    codecs: &[(RtpCodec, u8)],
    telephone_event: Option<u8>,
    direction: Direction,
    rtcp_mux: RtcpMux,
) -> MediaDescription {
    let mut formats: Vec<String> = codecs.iter().map(|(_, number)| number.to_string()).collect();
    let mut attributes: Vec<(String, Option<String>)> = Vec::new();
    for (codec, number) in codecs {
        attributes.push(("rtpmap".into(), Some(format!("{number} {}/8000", codec.name()))));
    }
    if let Some(number) = telephone_event {
        formats.push(number.to_string());
        attributes.push(("rtpmap".into(), Some(format!("{number} telephone-event/8000"))));
        attributes.push(("fmtp".into(), Some(format!("{number} 0-15"))));
    }
    attributes.push(("ptime".into(), Some("20".into())));
    if rtcp_mux == RtcpMux::Shared {
        attributes.push(("rtcp-mux".into(), None));
    }
    attributes.push((direction.name().into(), None));
    MediaDescription {
        kind: "audio".into(),
        port,
        protocol: "RTP/AVP".into(),
        formats,
        connection: None,
        attributes,
    }
}

/// The same section, refused (RFC 3264 6).
pub(crate) fn refused(section: &MediaDescription) -> MediaDescription {
    MediaDescription { port: 0, connection: None, attributes: Vec::new(), ..section.clone() }
}

/// Whether RTP and RTCP share the port in a description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RtcpMux {
    /// RTCP goes by the RTP port (RFC 5761).
    Shared,
    /// RTCP has the next port.
    NextPort,
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=- 77 5 IN IP4 127.0.0.9\r\ns=-\r\nc=IN IP4 127.0.0.9\r\nt=0 0\r\n\
        a=sendonly\r\nm=video 4000 RTP/AVP 96\r\nm=audio 0 RTP/AVP 0\r\n\
        m=audio 5004/2 RTP/AVP 18 8 0 96 97\r\nc=IN IP4 127.0.0.10\r\na=rtpmap:8 PCMA/8000/1\r\n\
        a=rtpmap:96 telephone-event/8000\r\na=rtpmap:97 telephone-event/48000\r\n\
        a=rtcp:6000 IN IP4 127.0.0.11\r\n";
    const BOTH: [RtpCodec; 2] = [RtpCodec::Pcmu, RtpCodec::Pcma];

    // Goal: the audio among other streams is found, with its address, codecs in the offer's order,
    // events, RTCP address and inherited direction.
    #[test]
    fn audio_view_of_an_offer() {
        let sdp = SessionDescription::parse(OFFER.as_bytes()).expect("valid");
        let audio = sdp.audio(&BOTH).expect("audio");
        assert_eq!(audio.index, 2);
        assert_eq!(audio.rtp, "127.0.0.10:5004".parse().expect("address"));
        assert_eq!(audio.rtcp, "127.0.0.11:6000".parse().expect("address"));
        assert_eq!(audio.codecs, [(RtpCodec::Pcma, 8), (RtpCodec::Pcmu, 0)]);
        assert_eq!((audio.telephone_event, audio.direction), (Some(96), Direction::SendOnly));
        assert_eq!(sdp.audio(&[RtpCodec::Pcmu]).map(|a| a.codecs), Ok(vec![(RtpCodec::Pcmu, 0)]));
        assert_eq!(sdp.audio(&[]), Err(SdpError::NoCodec));
    }

    // Goal: what is printed reads back the same.
    #[test]
    fn print_and_parse() {
        let sdp = SessionDescription::parse(OFFER.as_bytes()).expect("valid");
        let again = SessionDescription::parse(sdp.to_string().as_bytes()).expect("own output");
        assert_eq!(SessionDescription::parse(again.to_string().as_bytes()), Ok(again));
    }

    // Goal: each breach is refused by name.
    #[test]
    fn breaches() {
        let table = [
            ("o=- 77 5 IN IP4 127.0.0.9\r\n", "", SdpError::Origin),
            ("o=- 77 5", "o=- 77 x", SdpError::Origin),
            ("m=video 4000", "m=video", SdpError::Media),
            ("m=video 4000", "m=video 70000", SdpError::Media),
            ("s=-", "nonsense", SdpError::Malformed),
            ("c=IN IP4 127.0.0.10", "c=IN IP4 host", SdpError::Connection),
        ];
        for (from, to, error) in table {
            let text = OFFER.replacen(from, to, 1);
            assert_eq!(SessionDescription::parse(text.as_bytes()), Err(error), "{from}");
        }
        let no_audio = OFFER.replace("m=audio 5004", "m=audio 0");
        let parsed = SessionDescription::parse(no_audio.as_bytes()).expect("syntax is right");
        assert_eq!(parsed.audio(&BOTH), Err(SdpError::NoAudio));
    }

    // Goal: the answer's direction mirrors the offer's within what the answerer wants (RFC 3264 6.1).
    #[test]
    fn answer_directions() {
        use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
        let table = [
            (SendRecv, SendRecv, SendRecv),
            (SendOnly, SendRecv, RecvOnly),
            (RecvOnly, SendRecv, SendOnly),
            (Inactive, SendRecv, Inactive),
            (SendRecv, SendOnly, SendOnly),
            (SendOnly, SendOnly, Inactive),
            (RecvOnly, SendOnly, SendOnly),
            (SendRecv, Inactive, Inactive),
        ];
        for (offer, own, answer) in table {
            assert_eq!(offer.answer(own), answer, "{offer:?} with {own:?}");
        }
    }

    proptest::proptest! {
        // Goal: no body makes the parser panic.
        #[test]
        fn mutated_sdp_never_panics(edits in proptest::collection::vec((0usize..400, 0u8..=255), 0..10)) {
            let mut bytes = OFFER.as_bytes().to_vec();
            for (at, byte) in edits {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            if let Ok(sdp) = SessionDescription::parse(&bytes) {
                let _view = sdp.audio(&BOTH);
            }
        }
    }
}
