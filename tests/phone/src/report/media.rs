//! A call's audio.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::media::SenderTag;
use crate::time::RunTime;

/// What audio is heard at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Heard {
    /// Tagged audio of this sender.
    Sender {
        /// Its tag.
        tag: SenderTag,
    },
    /// A single tone.
    Tone {
        /// Frequency, rounded to 5 Hz.
        hz: u16,
    },
    /// One of the world's known sounds.
    Known {
        /// Its name.
        name: String,
    },
    /// Other audio: speech, unknown music.
    Other,
    /// Packets without sound.
    Silence,
}

/// Audio of one kind, heard without another kind between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeardSpan {
    /// What.
    #[serde(flatten)]
    pub heard: Heard,
    /// Arrival of its first packet.
    pub from_us: RunTime,
    /// Arrival of its last packet.
    pub to_us: RunTime,
    /// Packets of it.
    pub packets: u64,
}

/// Where a gap lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapKind {
    /// From when media was expected to the first packet.
    AtStart,
    /// Between two packets.
    Between,
    /// From the last packet to when media was no longer expected, or to now in a snapshot.
    AtEnd,
}

/// A pause in what was heard while media was expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Arrival of the last packet before it.
    pub start_us: RunTime,
    /// Length in microseconds.
    pub length_us: u64,
    /// Where it lies.
    pub kind: GapKind,
    /// How much of it this process slept through itself (a busy machine): not the network's fault.
    pub own_stall_us: u64,
}

impl Gap {
    /// Length in milliseconds, rounded down.
    #[must_use]
    pub const fn length_ms(&self) -> u64 {
        self.length_us / 1_000
    }

    /// Length without what this process slept through itself, in milliseconds, rounded down.
    #[must_use]
    pub const fn honest_ms(&self) -> u64 {
        self.length_us.saturating_sub(self.own_stall_us) / 1_000
    }
}

/// A step in a packet counter larger than one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterJump {
    /// Arrival of the packet after it.
    pub at_us: RunTime,
    /// Packets stepped over (some may still have come late).
    pub missing: u64,
}

/// A break in an RTP stream: numbers or timestamps that do not go on as they should.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamBreak {
    /// Arrival of the packet after it.
    pub at_us: RunTime,
    /// Sequence numbers stepped over.
    pub missing: u64,
    /// How far the timestamp is off from where the sequence number puts it, samples.
    pub timestamp_off_samples: i64,
    /// Time between the two arrivals, microseconds.
    pub elapsed_us: u64,
    /// The packet after it carries the marker.
    pub marker: bool,
}

/// One RTP source (RFC 3550).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SsrcReport {
    /// The SSRC.
    pub ssrc: u32,
    /// Arrival of its first packet.
    pub first_us: RunTime,
    /// Arrival of its last packet.
    pub last_us: RunTime,
    /// Packets, each sequence number once.
    pub packets: u64,
    /// Expected by sequence number and not received (RFC 3550 A.3).
    pub lost: u64,
    /// The same packet again.
    pub duplicates: u64,
    /// The same sequence number again with another content (breaks invariant M1).
    pub reused: u64,
    /// Late within the window.
    pub reordered: u64,
    /// Back beyond the window (breaks invariant M1).
    pub steps_back: u64,
    /// Packets with the marker.
    pub markers: u64,
    /// Timestamps that went back while the sequence went on.
    pub timestamps_back: u64,
    /// Steps of more than one, and timestamps that do not fit; the first ones.
    pub breaks: Vec<StreamBreak>,
    /// How many breaks there were.
    pub breaks_count: u64,
    /// Payload types seen, ascending.
    pub payload_types: Vec<u8>,
    /// Interarrival jitter, samples (RFC 3550 A.8).
    pub jitter_samples: u32,
}

/// How a source address stood to the signalling when its packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceStanding {
    /// It is the address in the SDP (or no SDP had come yet).
    Signalled,
    /// It was, until a short while ago; still heard.
    Former,
    /// It is not (breaks invariant M2); counted, not heard.
    Unsignalled,
}

/// One source address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    /// The address.
    pub address: SocketAddr,
    /// Its standing then; one address may be listed once for each standing.
    pub standing: SourceStanding,
    /// First packet.
    pub first_us: RunTime,
    /// Last packet.
    pub last_us: RunTime,
    /// Packets.
    pub packets: u64,
}

/// One tagged sender as heard in this call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SenderReport {
    /// Who.
    pub tag: SenderTag,
    /// The label of that phone or caller, when it lives in this world.
    pub label: Option<String>,
    /// First heard.
    pub first_us: RunTime,
    /// Last heard.
    pub last_us: RunTime,
    /// Packets, each counter once.
    pub packets: u64,
    /// Between the first and the last counter heard and never received: end to end.
    pub lost: u64,
    /// The same counter again.
    pub duplicates: u64,
    /// Steps of more than one; the first ones.
    pub jumps: Vec<CounterJump>,
    /// How many steps of more than one there were.
    pub jumps_count: u64,
    /// Pauses in hearing this sender, between its packets; the first ones.
    pub gaps: Vec<Gap>,
    /// How many pauses there were.
    pub gaps_count: u64,
}

/// RTCP as seen by this side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RtcpReport {
    /// Compounds sent.
    pub sent: u64,
    /// Sender reports received.
    pub sender_reports: u64,
    /// Receiver reports received.
    pub receiver_reports: u64,
    /// BYEs received.
    pub byes: u64,
    /// CNAMEs seen.
    pub cnames: Vec<String>,
    /// Datagrams that were no RTCP.
    pub malformed: u64,
    /// Round trip by the last report block about this side, microseconds.
    pub round_trip_us: Option<u64>,
    /// Lost on the way to the other side, as it says in its last report block.
    pub peer_reports_lost: Option<i32>,
}

/// Everything about a call's audio.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaReport {
    /// RTP packets sent.
    pub sent_packets: u64,
    /// RTP packets sent that the socket refused.
    pub send_failures: u64,
    /// RTP packets received and heard (signalled or former source), duplicates included.
    pub received_packets: u64,
    /// Packets from a source that was not signalled.
    pub unsignalled_packets: u64,
    /// Datagrams that were no RTP.
    pub malformed_packets: u64,
    /// RTP with a payload type that was not negotiated; counted, not heard.
    pub unknown_payload_packets: u64,
    /// RTP while nothing was expected (held, or before the session).
    pub unexpected_packets: u64,
    /// RTP sources in the order of their appearance.
    pub ssrcs: Vec<SsrcReport>,
    /// Changes from one SSRC to another.
    pub ssrc_changes: u64,
    /// Source addresses.
    pub sources: Vec<SourceReport>,
    /// First audio heard.
    pub first_audio_us: Option<RunTime>,
    /// Last audio heard.
    pub last_audio_us: Option<RunTime>,
    /// Pauses while media was expected; the first ones.
    pub gaps: Vec<Gap>,
    /// How many pauses there were.
    pub gaps_count: u64,
    /// Tagged senders heard.
    pub senders: Vec<SenderReport>,
    /// What was heard when; the first ones.
    pub heard: Vec<HeardSpan>,
    /// How many spans there were.
    pub heard_count: u64,
    /// DTMF digits received (RFC 4733).
    pub digits: String,
    /// RTCP.
    pub rtcp: RtcpReport,
    /// Time that this process slept through during the call, microseconds.
    pub own_stall_us: u64,
}

impl MediaReport {
    /// What was heard of a tagged sender.
    #[must_use]
    pub fn sender(&self, tag: SenderTag) -> Option<&SenderReport> {
        self.senders.iter().find(|sender| sender.tag == tag)
    }

    /// The longest pause between two packets (or still open) that is not this process's own, ms.
    #[must_use]
    pub fn gap_ms_max(&self) -> u64 {
        let real = self.gaps.iter().filter(|gap| gap.kind != GapKind::AtStart);
        real.map(Gap::honest_ms).max().unwrap_or(0)
    }

    /// Packets lost by sequence number, over all sources.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.ssrcs.iter().map(|ssrc| ssrc.lost).sum()
    }

    /// Sequence numbers reused or gone back: must be 0 by invariant M1.
    #[must_use]
    pub fn sequence_faults(&self) -> u64 {
        self.ssrcs.iter().map(|ssrc| ssrc.reused + ssrc.steps_back).sum()
    }
}
