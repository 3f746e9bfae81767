//! Every bound of the relay that is not a setting, and how they hang together.
//!
//! Bounds of a single packet or stream stand in `tandem_rtp::limits`.

use std::time::Duration;

use tandem_rtp::limits::{DATAGRAM_MAX, RTP_PACKET_MAX};

/// Most sessions that may be configured: two sockets each must fit the ports of one address.
pub const SESSIONS_CONFIGURABLE_MAX: u32 = 30_000;
/// Open files that the relay needs beside its sessions.
pub const FILES_RESERVED: u64 = 256;
/// Most media threads that may be configured.
pub const WORKERS_MAX: u32 = 32;

/// Memory of one session, in bytes, without what it owns on the heap (its canonical name).
pub const SLOT_BYTES_MAX: usize = 1_536;
/// Time between two ticks of all sessions.
pub const TICK: Duration = Duration::from_millis(20);
/// Lateness of a tick beyond which the missed ones are skipped.
pub const TICK_LATE_MAX: Duration = Duration::from_millis(100);
/// Ticks between two looks at which owners listen.
pub const OWNER_CHECK_TICKS: u64 = 50;
/// Socket events taken from the system at once.
pub const POLL_EVENTS_MAX: usize = 256;
/// Time to wait for a media thread to let go of a session that was ended.
pub const LET_GO_MAX: Duration = Duration::from_millis(250);
/// Ports tried before a session is refused for want of one.
pub const PORT_TRIES_MAX: usize = 16;

/// Bytes in one segment of a TCP connection between nodes, relays and operators. Every path bears
/// packets of 1,280 bytes (RFC 8200 section 5); 60 of them are headers. A tunnel that swallows longer
/// ones without a word would stop a connection for ever: the kernel sends the same one again.
pub const SEGMENT_BYTES_MAX: u32 = 1_220;
/// Sessions in one call.
pub const SESSIONS_PER_CALL_MAX: usize = 256;
/// Calls that one connection may have open at once.
pub const CALLS_PER_CONNECTION_MAX: u32 = 256;
/// Largest call, in bytes (256 sessions of well below 1 kB).
pub const CALL_BYTES_MAX: usize = 512 * 1024;
/// Events that wait for one listener before it is cut off.
pub const EVENTS_QUEUED_MAX: usize = 4_096;
/// Nodes that may listen.
pub const LISTENERS_MAX: usize = 64;
/// Time that one call may take.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a TLS handshake of a caller.
pub const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Other relays that a relay may be linked with.
pub const LINKS_MAX: usize = 64;
/// Handshakes of links that may be under way.
pub const LINK_HANDSHAKES_MAX: usize = 64;
/// Time for a link's handshake and hello.
pub const LINK_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// Silence after which a link counts as lost.
pub const LINK_IDLE_TIMEOUT: Duration = Duration::from_secs(2);
/// Time between two signs of life on an idle link.
pub const LINK_KEEP_ALIVE: Duration = Duration::from_millis(500);
/// Time between two pings.
pub const LINK_PING_INTERVAL: Duration = Duration::from_secs(1);
/// First wait before a link is dialled again.
pub const LINK_BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Longest wait before a link is dialled again.
pub const LINK_BACKOFF_MAX: Duration = Duration::from_secs(1);
/// Time that a link without flows stays open.
pub const LINK_LINGER: Duration = Duration::from_secs(30);
/// Time after which the same refusal of a link is told again in the log.
pub const REFUSAL_TOLD_EVERY: Duration = Duration::from_secs(60);
/// Time that packets are collected, so that several share a datagram.
pub const LINK_AGGREGATION: Duration = Duration::from_millis(1);
/// Age beyond which a packet is not sent over a link any more: three packets late is past a usual
/// jitter buffer.
pub const LINK_PACKET_AGE_MAX: Duration = Duration::from_millis(60);
/// Packets that wait for a link.
pub const LINK_QUEUE_MAX: usize = 8_192;
/// Bytes that wait inside QUIC.
pub const LINK_SEND_BUFFER: usize = 32 * 1024;
/// Bytes of received datagrams that wait for us.
pub const LINK_RECEIVE_BUFFER: usize = 4 * 1024 * 1024;
/// Buffers of a link's UDP socket; the system may grant less.
pub const LINK_SOCKET_BUFFER: usize = 4 * 1024 * 1024;
/// Packets per second for each admitted flow: 10 ms audio and telephone-events beside it.
pub const LINK_PACKETS_PER_FLOW: u64 = 150;
/// Bytes per second for each admitted flow, with QUIC's overhead; sets the fixed window.
pub const LINK_BYTES_PER_FLOW: u64 = 12_500;
/// Round trip that the fixed window is laid out for, in milliseconds.
pub const LINK_ROUND_TRIP_MS: u64 = 500;
/// Smallest fixed window, in bytes.
pub const LINK_WINDOW_MIN: u64 = 256 * 1024;
/// Most flows per link that may be configured.
pub const LINK_FLOWS_CONFIGURABLE_MAX: u32 = 10_000;
/// Room of one chunk from which queued packets are cut, in bytes.
pub const LINK_CHUNK: usize = 64 * 1024;

/// Nodes that one witness call may name.
pub const ATTEST_TO_MAX: usize = 16;
/// Time for one attestation.
pub const ATTEST_TIMEOUT: Duration = Duration::from_millis(1_000);
/// First wait between two rounds of attestations.
pub const ATTEST_BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Longest wait between two rounds of attestations.
pub const ATTEST_BACKOFF_MAX: Duration = Duration::from_secs(2);
/// Time after which nobody is told any more.
pub const ATTEST_FOR: Duration = Duration::from_secs(600);

/// Time for callers to finish when the relay ends.
pub const STOP_GRACE: Duration = Duration::from_millis(500);

const _: () = assert!(RTP_PACKET_MAX < DATAGRAM_MAX);
const _: () = assert!(
    RTP_PACKET_MAX + 8 < 1_150,
    "a packet and its flow id fit the smallest datagram that QUIC allows (1200 bytes of UDP)"
);
const _: () = assert!(LINK_KEEP_ALIVE.as_millis() * 3 < LINK_IDLE_TIMEOUT.as_millis());
const _: () = assert!(LINK_BACKOFF_MIN.as_millis() < LINK_BACKOFF_MAX.as_millis());
const _: () = assert!(LINK_SEND_BUFFER > 16 * 1_200, "one batch of a busy millisecond fits");
const _: () = assert!(LINK_CHUNK > 8 * (RTP_PACKET_MAX + 8));
