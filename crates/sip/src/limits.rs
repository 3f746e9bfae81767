//! Every limit of this crate, with the relations between them checked when it compiles.
//!
//! A message over a limit is refused with a reason ([`crate::message::ParseError`]); a table at its
//! limit refuses the next entry. Nothing here grows without a bound.

use std::time::Duration;

// --- messages ------------------------------------------------------------------------------------

/// Largest message, start line to end of body, in bytes: what a UDP datagram can carry.
pub const MESSAGE_BYTES_MAX: usize = 65_535;
/// Largest header part (start line, headers, empty line) of a message, in bytes.
pub const HEAD_BYTES_MAX: usize = 48 * 1024;
/// Longest header line after unfolding, in bytes.
pub const HEADER_LINE_BYTES_MAX: usize = 8 * 1024;
/// Longest header name, in bytes.
pub const HEADER_NAME_BYTES_MAX: usize = 64;
/// Longest method name, in bytes.
pub const METHOD_BYTES_MAX: usize = 64;
/// Most header lines in one message.
pub const HEADERS_MAX: usize = 256;
/// Most Via values: one more than the most hops that Max-Forwards 70 allows.
pub const VIAS_MAX: usize = 71;
/// Most values over all Route or all Record-Route lines of one message.
pub const ROUTES_MAX: usize = 32;
/// Most values over all Contact lines of one message.
pub const CONTACTS_MAX: usize = 32;
/// Most values in any other list header.
pub const LIST_VALUES_MAX: usize = 64;
/// Most parameters of one URI or one header value.
pub const PARAMS_MAX: usize = 48;
/// Longest URI, in bytes.
pub const URI_BYTES_MAX: usize = 2 * 1024;
/// Longest host name, in bytes (RFC 1035 section 2.3.4).
pub const HOST_BYTES_MAX: usize = 255;
/// Longest Call-ID, tag or branch, in bytes: they are keys of tables and replicated.
pub const KEY_BYTES_MAX: usize = 256;
/// Most leading line breaks before a message that are passed over.
pub const LEADING_CRLF_MAX: usize = 64;
/// Largest CSeq number: below 2^31 (RFC 3261 section 8.1.1.5).
pub const CSEQ_MAX: u32 = (1 << 31) - 1;
/// Largest request over UDP when the path's MTU is unknown (RFC 3261 section 18.1.1); a larger one
/// goes over a stream.
pub const UDP_REQUEST_BYTES_MAX: usize = 1_300;

// --- transactions --------------------------------------------------------------------------------

/// Most client transactions alive at once, unless the owner sets less.
pub const CLIENT_TRANSACTIONS_MAX: usize = 200_000;
/// Most server transactions alive at once, unless the owner sets less.
pub const SERVER_TRANSACTIONS_MAX: usize = 200_000;
/// Most timers that one `handle_timeout` call fires; the rest fires in the next call.
pub const TIMERS_PER_CALL_MAX: usize = 1_024;
/// Most timers that one transaction runs at a time.
pub const TIMERS_PER_TRANSACTION_MAX: usize = 4;

// --- dialogs -------------------------------------------------------------------------------------

/// Size of a block of CSeq numbers that is reserved in the replicated record before use.
pub const CSEQ_BLOCK: u32 = 64;
/// When fewer numbers than this are left, the owner is told to reserve the next block.
pub const CSEQ_LOW_WATER: u32 = 16;
/// Size of a block of SDP versions, see [`crate::sdp::SdpVersionBlock`].
pub const SDP_VERSION_BLOCK: u64 = 64;
/// When fewer versions than this are left, the owner is told to reserve the next block.
pub const SDP_VERSION_LOW_WATER: u64 = 16;
/// Most hops that a request of ours may take (RFC 3261 section 8.1.1.6).
pub const MAX_FORWARDS_INITIAL: u8 = 70;
/// Smallest session interval that RFC 4028 section 5 allows, in seconds.
pub const SESSION_INTERVAL_S_MIN: u32 = 90;

// --- authentication ------------------------------------------------------------------------------

/// Most challenges in one response that a client looks at.
pub const CHALLENGES_MAX: usize = 8;
/// Longest user name, realm, nonce or opaque value, in bytes.
pub const AUTH_VALUE_BYTES_MAX: usize = 512;
/// Most nonces that a [`crate::auth::NonceCounts`] remembers, unless the owner sets less.
pub const NONCES_REMEMBERED_MAX: usize = 100_000;
/// Longest life of a nonce.
pub const NONCE_LIFE_MAX: Duration = Duration::from_secs(24 * 3600);

// --- session descriptions ------------------------------------------------------------------------

/// Largest session description, in bytes.
pub const SDP_BYTES_MAX: usize = 16 * 1024;
/// Most lines in a session description.
pub const SDP_LINES_MAX: usize = 512;
/// Most `m=` lines in a session description.
pub const SDP_MEDIA_MAX: usize = 16;
/// Most payload types on one `m=` line (there are 128).
pub const SDP_FORMATS_MAX: usize = 128;
/// Most `a=crypto` lines that are kept for one stream.
pub const SDP_CRYPTO_MAX: usize = 16;

// --- identity ------------------------------------------------------------------------------------

/// Most digits and letters of a normalised number; E.164 has 15, service codes are longer.
pub const PHONE_NUMBER_BYTES_MAX: usize = 64;

const _: () = {
    assert!(HEAD_BYTES_MAX < MESSAGE_BYTES_MAX, "a message with a full head has room for a body");
    assert!(HEADER_LINE_BYTES_MAX < HEAD_BYTES_MAX, "one header line fits into the head");
    assert!(URI_BYTES_MAX < HEADER_LINE_BYTES_MAX, "a URI fits into a header line");
    assert!(KEY_BYTES_MAX < HEADER_LINE_BYTES_MAX, "a Call-ID fits into a header line");
    assert!(HOST_BYTES_MAX < URI_BYTES_MAX, "a host fits into a URI");
    assert!(METHOD_BYTES_MAX + URI_BYTES_MAX + 16 < HEADER_LINE_BYTES_MAX, "a request line fits");
    assert!(VIAS_MAX == MAX_FORWARDS_INITIAL as usize + 1, "a request at its last hop is readable");
    assert!(SDP_BYTES_MAX < MESSAGE_BYTES_MAX - HEADER_LINE_BYTES_MAX, "SDP fits into a message");
    assert!(CSEQ_LOW_WATER < CSEQ_BLOCK, "a block lasts longer than its warning");
    assert!(CSEQ_BLOCK < CSEQ_MAX / 1_000_000, "a dialog never runs out of blocks in its life");
    assert!(SDP_VERSION_LOW_WATER < SDP_VERSION_BLOCK, "a block lasts longer than its warning");
    assert!(UDP_REQUEST_BYTES_MAX < MESSAGE_BYTES_MAX, "a UDP request is a message");
    assert!(TIMERS_PER_CALL_MAX > TIMERS_PER_TRANSACTION_MAX, "one call can end a transaction");
};
