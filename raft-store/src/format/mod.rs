//! Our own encodings, version 1: what is on disk and what a transport may send.
//!
//! Nothing here depends on how openraft or serde lay out a type: each record is explicit bytes that
//! begin with a format version. Integers are little-endian; keys (see `db`) are big-endian so that
//! they sort. Records that decide about votes or state end with their own CRC32C.
//!
//! - [`entry`]: log entries, on the wire and chained on disk
//! - [`records`]: vote, log id, membership, node, purge, state, committed
//! - [`identity`]: whose directory this is
//! - [`mark`]: the synced-through mark
//! - [`snapshot`]: a snapshot's information, header, frames and trailer
//!
//! Samples of version 1 are kept in `samples/` and read by tests byte for byte; a newer version
//! adds samples and keeps reading the old ones.
//!
//! What does not live here: any file or database access.

mod codec;
pub mod entry;
pub mod identity;
pub mod mark;
pub mod records;
#[cfg(test)]
mod samples;
pub mod snapshot;

pub use codec::FormatError;
pub(crate) use codec::{Decoder, Encoder};

/// Format version of the whole data directory, kept in the identity.
pub const STORE_FORMAT: u16 = 1;
