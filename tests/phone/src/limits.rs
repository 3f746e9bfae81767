//! Every limit of the phone, in one place: queues, tables, buffers, message sizes.
//!
//! Relations between limits are asserted at compile time at the end of the file. Protocol timers
//! are settings, not limits, and live in [`crate::SipTimers`].

/// Largest SIP message, bytes: the largest UDP payload, and the same for streams.
pub const SIP_MESSAGE_BYTES_MAX: usize = 65_535;
/// Largest header section of one message, bytes.
pub const SIP_HEAD_BYTES_MAX: usize = 32_768;
/// Header lines in one message.
pub const SIP_HEADERS_MAX: usize = 256;
/// `Record-Route` entries that a dialog keeps.
pub const ROUTE_SET_MAX: usize = 32;
/// Lines in one SDP body.
pub const SDP_LINES_MAX: usize = 512;
/// Media descriptions in one SDP body.
pub const SDP_MEDIA_MAX: usize = 16;

/// SIP transactions alive at once, client and server together. 300 calls at 10/s keep fewer than
/// 5,000: a transaction over UDP lingers 32 s after its end.
pub const TRANSACTIONS_MAX: usize = 65_536;
/// Legs (calls as one phone or caller sees them) alive at once.
pub const LEGS_MAX: usize = 4_096;
/// Phones in one world.
pub const PHONES_MAX: usize = 4_096;
/// Trunk callers in one world.
pub const CALLERS_MAX: usize = 1_024;
/// SIP sockets in one world.
pub const ENDPOINTS_MAX: usize = 4_096;
/// Registrars in one phone's list.
pub const REGISTRARS_MAX: usize = 16;
/// Node addresses in one caller's failover list.
pub const NODES_MAX: usize = 32;
/// Challenges answered for one request before the credentials count as wrong.
pub const CHALLENGES_MAX: u32 = 3;
/// Times that a re-INVITE of ours is tried again after a 491.
pub const GLARE_RETRIES_MAX: u32 = 8;

/// TCP connections of one SIP socket.
pub const CONNECTIONS_MAX: usize = 256;
/// Messages that wait for one TCP connection to take them.
pub const CONNECTION_QUEUE_MAX: usize = 256;
/// Commands that wait for the world's thread.
pub const COMMAND_QUEUE_MAX: usize = 1_024;
/// Largest RTP or RTCP datagram that is looked at, bytes; larger ones are cut and counted.
pub const MEDIA_DATAGRAM_BYTES_MAX: usize = 2_048;
/// Datagrams read from one socket before others get their turn.
pub const READ_BURST_MAX: usize = 32;
/// Packets that one stream sends in one go after its pacing was late; older ones are skipped.
pub const CATCH_UP_PACKETS_MAX: u64 = 3;
/// Delays of the phone's own pacing that are remembered to tell them from gaps of the network.
pub const STALLS_KEPT_MAX: usize = 1_024;

/// Events kept for a slow subscriber before it loses the oldest (and is told how many).
pub const EVENT_QUEUE_MAX: usize = 16_384;
/// Final reports kept in the world until somebody takes them; the oldest goes first.
pub const REPORTS_KEPT_MAX: usize = 8_192;
/// Calls that one phone remembers for [`crate::Phone::calls`]; the oldest goes first.
pub const CALLS_KEPT_PER_PHONE_MAX: usize = 256;

/// Sender tags whose owner's label is remembered, also after the end of the call.
pub const TAG_LABELS_MAX: usize = 4 * LEGS_MAX;
/// Dialogs that stay deaf after their phone vanished; the oldest goes first.
pub const DEAF_DIALOGS_MAX: usize = 4_096;

/// Gaps listed in one report; more are counted only.
pub const GAPS_LISTED_MAX: usize = 512;
/// Spans of the "what was heard when" line listed in one report; more are counted only.
pub const HEARD_SPANS_LISTED_MAX: usize = 512;
/// Sender tags followed in one call.
pub const SENDERS_PER_CALL_MAX: usize = 32;
/// RTP sources (SSRCs) followed in one call.
pub const SSRCS_PER_CALL_MAX: usize = 32;
/// Source addresses listed in one call.
pub const SOURCES_PER_CALL_MAX: usize = 32;
/// Forward jumps listed for one SSRC or sender; more are counted only.
pub const JUMPS_LISTED_MAX: usize = 128;
/// Re-INVITEs and UPDATEs listed in one report; more are counted only.
pub const MODIFICATIONS_LISTED_MAX: usize = 256;
/// Anomalies listed in one report; more are counted only.
pub const ANOMALIES_LISTED_MAX: usize = 128;
/// DTMF digits listed in one report, and digits waiting to be sent in one call.
pub const DTMF_DIGITS_MAX: usize = 128;
/// Packets behind the newest that still count as reordered; older ones are a step back.
/// 128 packets are 2.56 s of audio, far beyond any jitter buffer.
pub const REORDER_WINDOW_PACKETS: usize = 128;
/// Audio kept for a WAV file, samples at 8 kHz: 30 minutes.
pub const WAV_SAMPLES_MAX: usize = 30 * 60 * 8_000;
/// Known sounds (queue music, prompts) that the receiver looks for.
pub const KNOWN_SOUNDS_MAX: usize = 8;
/// Frequencies in one known sound.
pub const KNOWN_SOUND_TONES_MAX: usize = 16;

/// File descriptors that a world asks the system for: two for each leg and some for SIP.
pub const FILES_WANTED: u64 = 2 * LEGS_MAX as u64 + 2 * ENDPOINTS_MAX as u64;

/// Copies of one SIP datagram.
pub const SIP_COPIES_MAX: u32 = 100;

const _: () = {
    assert!(SIP_HEAD_BYTES_MAX < SIP_MESSAGE_BYTES_MAX);
    // A leg keeps up to eight transactions: INVITE, ACK, BYE and what modified the session.
    assert!(TRANSACTIONS_MAX >= 8 * LEGS_MAX);
    assert!(ENDPOINTS_MAX >= CALLERS_MAX);
    assert!(ENDPOINTS_MAX >= PHONES_MAX);
    assert!(REORDER_WINDOW_PACKETS.is_power_of_two());
    assert!(REORDER_WINDOW_PACKETS < u16::MAX as usize / 4);
    assert!(REPORTS_KEPT_MAX >= LEGS_MAX);
    assert!(CATCH_UP_PACKETS_MAX >= 1);
};
