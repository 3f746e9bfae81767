//! Every bound of this crate, in one place, with the relations between them checked at compile time.
//!
//! What does not live here: openraft's own limits (entries per message, channel sizes), which the
//! node sets in its `openraft::Config`.

/// One mebibyte, in bytes.
const MIB: usize = 1024 * 1024;

/// Memory that a store may use by default, in bytes: the sum of the parts below stays under it.
pub const MEMORY_BYTES_DEFAULT: usize = 64 * MIB;

/// The least that can be configured, in bytes.
pub const MEMORY_BYTES_LEAST: usize = 8 * MIB;

/// RocksDB's write buffers, all column families together, in bytes.
pub const WRITE_BUFFER_BYTES: usize = 24 * MIB;
/// One column family's write buffer, in bytes.
pub const WRITE_BUFFER_FAMILY_BYTES: usize = 6 * MIB;
/// RocksDB's cache of data, index and filter blocks, in bytes.
pub const BLOCK_CACHE_BYTES: usize = 10 * MIB;
/// Newest log entries kept in memory for replication and apply, in bytes of payload and overhead.
pub const LOG_CACHE_BYTES: usize = 14 * MIB;
/// Newest log entries kept in memory, as a count.
pub const LOG_CACHE_ENTRIES: usize = 65_536;
/// Bytes that may wait for the writer thread. Whoever wants to add more waits (backpressure).
pub const QUEUE_BYTES: usize = 8 * MIB;
/// What one queued operation costs at least, in bytes, so that empty ones are bounded too.
pub const QUEUE_OP_BYTES: usize = 256;
/// Room for the frames of a snapshot being built or installed, in bytes.
pub const SNAPSHOT_WORK_BYTES: usize = 8 * MIB;

/// Write-ahead log of RocksDB before it flushes the oldest column family, in bytes. Bounds the time
/// of recovery and its memory: looking at a directory replays the log into memory.
pub const WAL_BYTES: usize = 32 * MIB;
/// Files that RocksDB keeps open.
pub const OPEN_FILES: i32 = 256;
/// Background threads of RocksDB for flush and compaction.
pub const BACKGROUND_JOBS: i32 = 2;

/// Payload of one log entry, in bytes. [`crate::EntryData::new`] refuses more.
pub const ENTRY_BYTES: usize = 4 * MIB;
/// Fixed cost of a cached entry beside its payload, in bytes (an estimate, used for accounting).
pub const ENTRY_OVERHEAD_BYTES: usize = 128;
/// One group of the writer thread: bytes written before it syncs.
pub const GROUP_BYTES: usize = 4 * MIB;
/// One group of the writer thread: operations taken from the queue before it syncs.
pub const GROUP_OPS: usize = 4_096;
/// Bytes of log entries in one answer to replication (`limited_get_log_entries`).
pub const REPLICATION_READ_BYTES: usize = MIB;
/// Bytes of log entries read ahead for apply.
pub const APPLY_READ_BYTES: usize = MIB;
/// Entries read ahead for apply.
pub const APPLY_READ_ENTRIES: u64 = 1_024;

/// A row's key, in bytes.
pub const ROW_KEY_BYTES: usize = 4 * 1024;
/// A row's value, in bytes.
pub const ROW_VALUE_BYTES: usize = 4 * MIB;
/// Changed rows of applied entries gathered before they go to the writer thread, in bytes.
pub const ROW_BATCH_BYTES: usize = 512 * 1024;
/// Rows of one page of history.
pub const HISTORY_PAGE_ROWS: usize = 10_000;

/// Uncompressed rows in one frame of a snapshot before it is closed, in bytes.
pub const FRAME_BYTES: usize = 256 * 1024;
/// The largest uncompressed frame that a reader accepts, in bytes: one frame of which the last row
/// is as large as a row may be.
pub const FRAME_BYTES_ACCEPTED: usize = FRAME_BYTES + ROW_KEY_BYTES + ROW_VALUE_BYTES + 16;
/// Bytes of a snapshot's header (it holds the membership).
pub const SNAPSHOT_HEADER_BYTES: usize = 16 * MIB;
/// The longest snapshot file that is accepted from a peer, in bytes (64 GiB).
pub const SNAPSHOT_FILE_BYTES: u64 = 64 * 1024 * 1024 * 1024;
/// Bytes that a transport may ask of a snapshot file at once.
pub const SNAPSHOT_CHUNK_BYTES: usize = 4 * MIB;

/// Members (voters and learners) of a cluster. Who adds members keeps to it: a membership beyond it
/// could not be read back.
pub const MEMBERS: usize = 1_024;
/// Voter sets of a membership: one, or two while it changes (joint consensus).
pub const MEMBERSHIP_CONFIGS: usize = 8;
/// Bytes of a text field in a [`crate::NodeRecord`].
pub const NODE_TEXT_BYTES: usize = 256;
/// Labels of a [`crate::NodeRecord`].
pub const NODE_LABELS: usize = 16;
/// Bytes of the program version kept in the identity.
pub const PROGRAM_VERSION_BYTES: usize = 64;

/// Longest time between a sync and the synced-through mark that covers it, in milliseconds.
pub const MARK_INTERVAL_MS: u64 = 50;
/// Longest time that a reader may hold the machine, in milliseconds: apply waits for it. Longer
/// holds are counted and logged, because a blocked apply delays every decision of the node.
pub const READ_HOLD_MS: u64 = 5;
/// Lines of RocksDB's own warnings kept for reports.
pub const ENGINE_WARNINGS: usize = 64;
/// Lines of them in an error message.
pub const ENGINE_WARNINGS_SHOWN: usize = 3;

const _: () = assert!(
    WRITE_BUFFER_BYTES + BLOCK_CACHE_BYTES + LOG_CACHE_BYTES + QUEUE_BYTES + SNAPSHOT_WORK_BYTES
        <= MEMORY_BYTES_DEFAULT
);
// Four column families that are written at once fit in the shared budget.
const _: () = assert!(4 * WRITE_BUFFER_FAMILY_BYTES <= WRITE_BUFFER_BYTES);
// Any single operation fits in the queue, else its caller would wait for ever.
const _: () = assert!(ENTRY_BYTES + QUEUE_OP_BYTES <= QUEUE_BYTES);
const _: () = assert!(ROW_BATCH_BYTES + ROW_KEY_BYTES + ROW_VALUE_BYTES <= QUEUE_BYTES);
// Everything that waits in the queue must stay readable from the cache, plus room for older ones.
const _: () = assert!(QUEUE_BYTES < LOG_CACHE_BYTES);
// Semaphore permits are bytes and counted in 32 bits.
const _: () = assert!(QUEUE_BYTES < u32::MAX as usize);
// A membership of the largest records fits in a snapshot's header, with room for ids and lengths.
const _: () = assert!(
    MEMBERS * (2 + 2 * NODE_LABELS) * (NODE_TEXT_BYTES + 2) + MEMBERS * 256
        <= SNAPSHOT_HEADER_BYTES
);
// A frame's length travels in 32 bits, and building one snapshot stays in its room.
const _: () = assert!(FRAME_BYTES_ACCEPTED < u32::MAX as usize);
const _: () = assert!(FRAME_BYTES * 4 <= SNAPSHOT_WORK_BYTES);
const _: () = assert!(GROUP_BYTES <= QUEUE_BYTES);
// Every family's buffer can fill before the log forces it out, else flushes would be tiny.
const _: () = assert!(WRITE_BUFFER_BYTES <= WAL_BYTES);
const _: () = assert!(MEMORY_BYTES_LEAST <= MEMORY_BYTES_DEFAULT);
