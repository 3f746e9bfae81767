//! [`AudioMedia`]: what matters of an audio stream.

use crate::limits::{SDP_CRYPTO_MAX, SDP_FORMATS_MAX};
use crate::meter::tick;
use sdp_types::{Attribute, Connection, Media, Session};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Where media goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaAddress {
    /// An address.
    Ip(IpAddr),
    /// A name, to be resolved by the shell (RFC 8866 section 5.7 allows it; rare).
    Name(String),
}

/// Who may send, seen from the side that wrote the description (RFC 8866 section 6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Direction {
    /// Both.
    SendRecv,
    /// Only the writer: the other side is on hold.
    SendOnly,
    /// Only the other side.
    RecvOnly,
    /// Nobody.
    Inactive,
}

impl Direction {
    /// The same stream seen from the other side.
    #[must_use]
    pub fn reversed(self) -> Self {
        match self {
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            both => both,
        }
    }

    /// What is left when both are wanted: each way only if both allow it.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::from_ways(self.sends() && other.sends(), self.receives() && other.receives())
    }

    /// Whether the writer sends.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the writer receives.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The attribute's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    fn from_ways(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }
}

/// A codec.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Codec {
    /// Encoding name as in `rtpmap`: `PCMU`, `opus`, …
    pub name: String,
    /// RTP clock rate in Hz.
    pub clock_rate_hz: u32,
    /// Channels, 1 unless written.
    pub channels: u8,
}

impl Codec {
    /// One channel.
    pub fn new(name: &str, clock_rate_hz: u32) -> Self {
        Self { name: name.to_owned(), clock_rate_hz, channels: 1 }
    }

    /// Names compare without case (RFC 8866 section 6.6).
    pub fn is_same(&self, other: &Self) -> bool {
        self.name.eq_ignore_ascii_case(&other.name)
            && self.clock_rate_hz == other.clock_rate_hz
            && self.channels == other.channels
    }

    /// The codec of a payload type that needs no `rtpmap` (RFC 3551 table 4).
    pub fn of_static(payload_type: u8) -> Option<Self> {
        let (name, clock_rate_hz) = match payload_type {
            0 => ("PCMU", 8_000),
            3 => ("GSM", 8_000),
            4 => ("G723", 8_000),
            8 => ("PCMA", 8_000),
            9 => ("G722", 8_000),
            13 => ("CN", 8_000),
            18 => ("G729", 8_000),
            _ => return None,
        };
        Some(Self::new(name, clock_rate_hz))
    }

    /// The static payload type of a codec, if it has one.
    pub fn static_payload_type(&self) -> Option<u8> {
        [0, 3, 4, 8, 9, 13, 18].into_iter().find(|payload_type| {
            Self::of_static(*payload_type).is_some_and(|codec| codec.is_same(self))
        })
    }

    /// Whether this is RFC 4733's telephone-event and not audio.
    pub fn is_telephone_event(&self) -> bool {
        self.name.eq_ignore_ascii_case("telephone-event")
    }
}

/// A payload type with its codec.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Format {
    /// RTP payload type, 0 to 127.
    pub payload_type: u8,
    /// Codec.
    pub codec: Codec,
    /// Value of `fmtp` behind the payload type.
    pub parameters: Option<String>,
}

/// A payload type for DTMF (RFC 4733).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TelephoneEvent {
    /// RTP payload type.
    pub payload_type: u8,
    /// Clock rate in Hz: that of the audio codec beside it.
    pub clock_rate_hz: u32,
    /// Events, `0-15` or `0-16`; `None` means 0-15 (RFC 4733 section 2.5.1.1).
    pub events: Option<String>,
}

/// RTP profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Profile {
    /// `RTP/AVP`.
    Avp,
    /// `RTP/AVPF`.
    Avpf,
    /// `RTP/SAVP`: SRTP with keys in `a=crypto` (RFC 4568).
    Savp,
    /// `RTP/SAVPF`.
    Savpf,
    /// Anything else: not usable here.
    Other,
}

impl Profile {
    fn from_proto(proto: &str) -> Self {
        let known = [Self::Avp, Self::Avpf, Self::Savp, Self::Savpf];
        let found = known.into_iter().find(|profile| proto.eq_ignore_ascii_case(profile.proto()));
        found.unwrap_or(Self::Other)
    }

    /// The token of the `m=` line.
    pub fn proto(self) -> &'static str {
        match self {
            Self::Avp => "RTP/AVP",
            Self::Avpf => "RTP/AVPF",
            Self::Savp => "RTP/SAVP",
            Self::Savpf => "RTP/SAVPF",
            Self::Other => "",
        }
    }

    /// Whether media is SRTP.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Savp | Self::Savpf)
    }
}

/// Whether RTP and RTCP share a port (RFC 5761).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum RtcpMux {
    /// Offered or agreed.
    Mux,
    /// RTCP has a port of its own.
    Separate,
}

/// An `a=crypto` line (RFC 4568 section 4). Holds a key: `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct CryptoLine {
    /// Tag, by which answer and offer match.
    pub tag: u32,
    /// Suite: `AES_CM_128_HMAC_SHA1_80`, …
    pub suite: String,
    /// Key parameters and session parameters, raw.
    pub key_params: String,
}

impl fmt::Debug for CryptoLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CryptoLine({} {} …)", self.tag, self.suite)
    }
}

impl CryptoLine {
    pub(super) fn parse(value: &str) -> Option<Self> {
        let mut words = value.splitn(3, ' ');
        let (tag, suite, key_params) = (words.next()?, words.next()?, words.next()?);
        let (suite, key_params) = (suite.to_owned(), key_params.trim().to_owned());
        Some(Self { tag: tag.parse().ok()?, suite, key_params })
    }

    pub(super) fn value(&self) -> String {
        format!("{} {} {}", self.tag, self.suite, self.key_params)
    }
}

/// An audio stream of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioMedia {
    /// Place among the `m=` lines.
    pub index: usize,
    /// Where the peer receives RTP.
    pub address: MediaAddress,
    /// Its port, not 0.
    pub port: u16,
    /// Profile.
    pub profile: Profile,
    /// Audio formats in the peer's order of preference, without telephone-event.
    pub formats: Vec<Format>,
    /// Payload types for DTMF.
    pub telephone_events: Vec<TelephoneEvent>,
    /// Packet length that the peer wants to receive, in ms.
    pub ptime_ms: Option<u32>,
    /// Longest packet that the peer takes, in ms.
    pub ptime_ms_max: Option<u32>,
    /// As written; the old hold by address 0.0.0.0 is included (see [`AudioMedia::direction`]).
    direction: Direction,
    /// Where the peer receives RTCP, when not on the next port (RFC 3605).
    pub rtcp_port: Option<u16>,
    /// RTP and RTCP on one port.
    pub rtcp_mux: RtcpMux,
    /// Keys for SRTP.
    pub crypto: Vec<CryptoLine>,
}

impl AudioMedia {
    pub(super) fn from_session(session: &Session, index: usize) -> Option<Self> {
        let media = session.medias.get(index)?;
        if !media.media.eq_ignore_ascii_case("audio") || media.port == 0 {
            return None;
        }
        let connection = media.connections.first().or(session.connection.as_ref())?;
        let address = read_address(connection)?;
        let (formats, telephone_events) = read_formats(media);
        if formats.is_empty() {
            return None;
        }
        let number = |name| value(media, name).and_then(|v| v.trim().parse::<u32>().ok());
        let mux = has(media, "rtcp-mux");
        Some(Self {
            index,
            address,
            port: media.port,
            profile: Profile::from_proto(&media.proto),
            formats,
            telephone_events,
            ptime_ms: number("ptime").filter(|ms| *ms > 0),
            ptime_ms_max: number("maxptime").filter(|ms| *ms > 0),
            direction: read_direction(media, session),
            rtcp_port: read_rtcp_port(media),
            rtcp_mux: if mux { RtcpMux::Mux } else { RtcpMux::Separate },
            crypto: read_crypto(media),
        })
    }

    /// Who may send, seen from the peer. The hold of RFC 2543, an address of 0.0.0.0 (RFC 3264 section
    /// 8.4; `::` likewise), means that the peer receives nothing.
    pub fn direction(&self) -> Direction {
        match &self.address {
            MediaAddress::Ip(address) if address.is_unspecified() => {
                Direction::from_ways(self.direction.sends(), false)
            }
            _ => self.direction,
        }
    }

    /// Where RTP to the peer goes; `None` for a name or the hold address.
    pub fn rtp_address(&self) -> Option<SocketAddr> {
        match &self.address {
            MediaAddress::Ip(address) if !address.is_unspecified() => {
                Some(SocketAddr::new(*address, self.port))
            }
            _ => None,
        }
    }
}

/// Address of a `c=` line; a multicast suffix or address is not for calls.
fn read_address(connection: &Connection) -> Option<MediaAddress> {
    let text = connection.connection_address.trim();
    if text.is_empty() || text.contains('/') {
        return None;
    }
    match text.parse::<IpAddr>() {
        Ok(address) if address.is_multicast() => None,
        Ok(address) => Some(MediaAddress::Ip(address)),
        Err(_) => Some(MediaAddress::Name(text.to_owned())),
    }
}

/// Formats of the `m=` line with their `rtpmap` and `fmtp`; payload types that cannot be understood are
/// left out.
fn read_formats(media: &Media) -> (Vec<Format>, Vec<TelephoneEvent>) {
    let (mut formats, mut events) = (Vec::new(), Vec::new());
    let numbers = media.fmt.split(' ').filter_map(|word| word.parse::<u8>().ok());
    // One pass over the attributes, so that many formats with many attributes stay linear.
    let maps = by_payload_type(media, "rtpmap");
    let parameters = by_payload_type(media, "fmtp");
    let mut seen = [false; SDP_FORMATS_MAX];
    for payload_type in numbers {
        tick(1);
        let Some(first) = seen.get_mut(usize::from(payload_type)).filter(|seen| !**seen) else {
            continue;
        };
        *first = true;
        let slot = usize::from(payload_type);
        let map = maps.get(slot).copied().flatten();
        let codec = match map {
            Some(map) => read_codec(map),
            None => Codec::of_static(payload_type),
        };
        let Some(codec) = codec else { continue };
        let parameters = parameters.get(slot).copied().flatten().map(str::to_owned);
        if codec.is_telephone_event() {
            let clock_rate_hz = codec.clock_rate_hz;
            events.push(TelephoneEvent { payload_type, clock_rate_hz, events: parameters });
        } else {
            formats.push(Format { payload_type, codec, parameters });
        }
    }
    (formats, events)
}

/// The first value of an attribute for each payload type.
fn by_payload_type<'a>(media: &'a Media, name: &str) -> [Option<&'a str>; SDP_FORMATS_MAX] {
    let mut table = [None; SDP_FORMATS_MAX];
    tick(media.attributes.len());
    for attribute in media.attributes.iter().filter(|a| is_named(a, name)) {
        let Some((number, rest)) = attribute.value.as_deref().and_then(|v| v.split_once(' '))
        else {
            continue;
        };
        let slot = number.parse::<u8>().ok().and_then(|n| table.get_mut(usize::from(n)));
        if let Some(slot) = slot {
            *slot = slot.or(Some(rest.trim()));
        }
    }
    table
}

/// `name/rate[/channels]`.
fn read_codec(map: &str) -> Option<Codec> {
    let mut parts = map.split('/');
    let name = parts.next().filter(|name| !name.is_empty())?.to_owned();
    let clock_rate_hz = parts.next()?.parse().ok().filter(|rate| *rate > 0)?;
    let channels = match parts.next() {
        None => 1,
        Some(channels) => channels.parse().ok().filter(|count| *count > 0)?,
    };
    Some(Codec { name, clock_rate_hz, channels })
}

/// The stream's own attribute, else the session's, else both ways.
fn read_direction(media: &Media, session: &Session) -> Direction {
    let of = |attributes: &[Attribute]| {
        tick(attributes.len());
        attributes.iter().find_map(|attribute| {
            [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive]
                .into_iter()
                .find(|direction| is_named(attribute, direction.name()))
        })
    };
    of(&media.attributes).or_else(|| of(&session.attributes)).unwrap_or(Direction::SendRecv)
}

fn read_rtcp_port(media: &Media) -> Option<u16> {
    let port = value(media, "rtcp")?.split(' ').next()?;
    port.parse().ok().filter(|port| *port != 0)
}

fn read_crypto(media: &Media) -> Vec<CryptoLine> {
    let lines = media.attributes.iter().filter(|a| is_named(a, "crypto"));
    lines.filter_map(|a| CryptoLine::parse(a.value.as_deref()?)).take(SDP_CRYPTO_MAX).collect()
}

fn value<'a>(media: &'a Media, name: &str) -> Option<&'a str> {
    tick(media.attributes.len());
    media.attributes.iter().find(|a| is_named(a, name))?.value.as_deref()
}

fn has(media: &Media, name: &str) -> bool {
    tick(media.attributes.len());
    media.attributes.iter().any(|a| is_named(a, name))
}

/// Attribute names compare with case (RFC 8866 section 5.13); old phones write `SendRecv`.
fn is_named(attribute: &Attribute, name: &str) -> bool {
    attribute.attribute.eq_ignore_ascii_case(name)
}
