//! Every bound of this crate, and how they hang together.
//!
//! The relations that other code relies on are asserted at compile time at the end of the file.

/// Samples per second of every codec that Tandem relays (G.711, RFC 3551).
pub const SAMPLE_RATE_HZ: u32 = 8_000;
/// Samples per millisecond.
pub const SAMPLES_PER_MS: u32 = SAMPLE_RATE_HZ / 1_000;
/// Length of one outgoing packet, in milliseconds.
pub const FRAME_MS: u32 = 20;
/// Length of one outgoing packet, in microseconds.
pub const FRAME_US: u64 = FRAME_MS as u64 * 1_000;
/// Samples in one outgoing packet; with G.711 also its payload in bytes.
pub const FRAME_SAMPLES: usize = (SAMPLES_PER_MS * FRAME_MS) as usize;

/// Largest audio payload that is taken from a phone or a peer, in bytes (120 ms of G.711).
pub const AUDIO_PAYLOAD_MAX: usize = 960;
/// Largest RTP packet that this crate writes, in bytes: header, one contributing source, payload.
pub const RTP_PACKET_MAX: usize = 12 + 4 + AUDIO_PAYLOAD_MAX;
/// Largest RTCP compound packet that this crate writes, in bytes.
pub const RTCP_PACKET_MAX: usize = 512;
/// Largest datagram worth reading from a socket, in bytes. What is longer is cut by the system and
/// then refused, because no packet that is relayed is longer.
pub const DATAGRAM_MAX: usize = 2_048;
/// Largest canonical name, in bytes (RFC 3550 section 6.5: an item's length is one byte).
pub const CNAME_LEN_MAX: usize = 255;
/// Packets looked at inside one RTCP compound packet.
pub const RTCP_COMPOUND_MAX: usize = 32;

/// Forward step of the sequence number that RFC 3550 (appendix A.1) takes as loss and not as a
/// new source.
pub const MAX_DROPOUT: u64 = 3_000;
/// Backward step that RFC 3550 (appendix A.1) takes as reordering.
pub const MAX_MISORDER: u64 = 100;
/// Packets in order before a source counts as valid (RFC 3550 appendix A.1).
pub const MIN_SEQUENTIAL: u32 = 2;

/// How far behind the newest sent number a late packet may still be sent, in packets.
pub const REORDER_WINDOW: u64 = 64;
/// How many numbers a stream may have used beyond its projection (invariant M1).
pub const SEQUENCE_AHEAD_MAX: u64 = 300;
/// How many numbers a stream that is being sent may lag behind its projection.
pub const SEQUENCE_BEHIND_MAX: u64 = 250;
/// How many numbers one takeover jumps ahead: beyond everything that the lost relay can have used,
/// with 4 s to spare for clocks that differ.
pub const TAKEOVER_JUMP: u64 = 500;
/// How long a stream may have been silent before a takeover, and then once more on the new relay,
/// and still go on under its SSRC, in packets (6 s). The owner keeps the first part.
pub const TAKEOVER_SILENCE_MAX: u64 = 300;
/// How often a stream may be taken over within [`TAKEOVERS_WINDOW_MS`]; kept by the owner.
pub const TAKEOVERS_MAX: u64 = 2;
/// The time for [`TAKEOVERS_MAX`], in milliseconds.
pub const TAKEOVERS_WINDOW_MS: u64 = 40_000;
/// Largest forward step that a stream makes by itself under one SSRC; beyond it a new one begins.
pub const SEQUENCE_SKIP_MAX: u64 = 2_900;
/// How far a peer's audio may be ahead of elapsed time, in samples (300 ms): the most delay that a
/// burst after a stall can leave behind.
pub const TIMESTAMP_AHEAD_MAX: i64 = 300 * SAMPLES_PER_MS as i64;
/// How far a peer's audio may lag behind elapsed time before it is placed anew, in samples (2 s).
pub const TIMESTAMP_BEHIND_MAX: i64 = 2_000 * SAMPLES_PER_MS as i64;
/// How far a generated frame may be from elapsed time and still follow the frame before it without
/// a step, in samples (120 ms).
pub const TIMESTAMP_SLACK: i64 = 120 * SAMPLES_PER_MS as i64;
/// Generated frames that one late tick makes up for; what is older is skipped.
pub const CATCH_UP_FRAMES_MAX: u32 = 5;
/// Silence of a bridged peer after which the relay fills in, in microseconds. Long enough for a
/// network or machine that stalls: what comes late after a filled-in frame is dropped. Nobody
/// hears the difference between silence and nothing, only media timers do.
pub const FILL_AFTER_US: u64 = 1_000_000;
/// How long music, beep or silence goes on towards a phone that was given a peer of whom nothing has
/// come yet, in microseconds: longer than a cluster is without a leader.
pub const PLAY_ON_US: u64 = 2_000_000;

/// Packets per second that one phone may send for long; four times what a call needs (audio of
/// 20 ms: 50; of 10 ms with telephone-events between: 200).
pub const PACKETS_PER_SECOND_MAX: u64 = 400;
/// Packets that one phone may send at once, after a stalled network.
pub const PACKETS_BURST_MAX: u64 = 400;
/// RTCP packets per second and at once that one phone may send.
pub const RTCP_PER_SECOND_MAX: u64 = 20;

/// Mean time between two RTCP reports of a leg, in microseconds (RFC 3550 section 6.2: 5 s).
pub const RTCP_INTERVAL_US: u64 = 5_000_000;

/// Telephone-event without an end for this long has ended, in microseconds: four missed updates at
/// the slowest usual spacing of 50 ms, and then as many again.
pub const DTMF_LOST_END_US: u64 = 400_000;

/// Largest leg ordinal plus one: it travels in a QUIC varint beside one bit (RFC 9000 section 16).
pub const LEG_ORDINAL_END: u64 = 1 << 61;
/// Longest relay id, in bytes: one DNS label (RFC 1035), because certificates carry it.
pub const RELAY_ID_LEN_MAX: usize = 63;
/// Longest cluster id, in bytes.
pub const CLUSTER_ID_LEN_MAX: usize = 128;
/// Largest control message of a link, in bytes, without its length prefix.
pub const LINK_MESSAGE_MAX: usize = 512;

/// Legs without a session whose highest epoch is remembered.
pub const FENCES_MAX: usize = 65_536;

const _: () = assert!(
    TAKEOVER_JUMP > SEQUENCE_AHEAD_MAX,
    "a takeover starts beyond every number that the lost relay can have used"
);
const _: () = assert!(
    TAKEOVERS_MAX * (TAKEOVER_JUMP + 2 * TAKEOVER_SILENCE_MAX) + SEQUENCE_BEHIND_MAX < MAX_DROPOUT,
    "even two takeovers in a row are a forward step that receivers take as loss"
);
const _: () = assert!(
    TAKEOVERS_WINDOW_MS > TAKEOVERS_MAX * 2 * TAKEOVER_SILENCE_MAX * FRAME_MS as u64,
    "within the window of takeovers something was sent"
);
const _: () = assert!(SEQUENCE_SKIP_MAX < MAX_DROPOUT);
const _: () = assert!(REORDER_WINDOW <= 64, "the window is one u64 of bits");
const _: () = assert!(REORDER_WINDOW <= MAX_MISORDER);
const _: () = assert!(
    (TIMESTAMP_AHEAD_MAX + TIMESTAMP_BEHIND_MAX) / FRAME_SAMPLES as i64 + 10
        < SEQUENCE_SKIP_MAX as i64,
    "a step inside a peer's stream stays below the largest own step"
);
const _: () = assert!(FILL_AFTER_US < PLAY_ON_US, "silence follows at once upon what played on");
const _: () = assert!(
    FILL_AFTER_US / FRAME_US < SEQUENCE_BEHIND_MAX,
    "a silent peer's stream is filled in before it lags too far"
);
const _: () = assert!(FRAME_SAMPLES <= AUDIO_PAYLOAD_MAX);
const _: () = assert!(RTP_PACKET_MAX <= DATAGRAM_MAX);
const _: () = assert!(RTCP_PACKET_MAX > 28 + 24 + 8 + 2 + CNAME_LEN_MAX + 4 + 8);
const _: () = assert!(LINK_MESSAGE_MAX > CLUSTER_ID_LEN_MAX + RELAY_ID_LEN_MAX + 64);
