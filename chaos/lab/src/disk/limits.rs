//! Every limit of the disks, in one place.

use std::time::Duration;

/// Bytes of one block: what a sync keeps or a power cut loses as a whole. ext4's block size here.
pub const BLOCK_BYTES: usize = 4096;

/// Bytes that a disk writes all or nothing. A torn block keeps a whole number of them.
pub const SECTOR_BYTES: usize = 512;

/// Sectors of a block.
pub const SECTORS_PER_BLOCK: usize = BLOCK_BYTES / SECTOR_BYTES;

/// Smallest disk: ext4 needs room for its journal.
pub const DISK_BYTES_MIN: u64 = 16 << 20;

/// Largest disk. Only written blocks take memory, twice while they are pending.
pub const DISK_BYTES_MAX: u64 = 16 << 30;

/// Failures armed at a time.
pub const FAILURES_MAX: usize = 16;

/// Longest delay of one operation. The kernel calls a task hung after 120 s.
pub const DELAY_MAX: Duration = Duration::from_secs(30);

/// Threads that serve a disk, so that a delayed sync does not hold up a read.
pub const SERVER_THREADS: usize = 4;

/// Longest line of an order or of its answer on the control socket.
pub const CONTROL_LINE_BYTES_MAX: u64 = 64 << 10;

/// How long a peer on the control socket may take for its line.
pub const CONTROL_LINE_WAIT_MAX: Duration = Duration::from_secs(10);

/// How long a client waits for an answer: a power cycle with a journal replay through a slow disk.
pub const CONTROL_ANSWER_WAIT_MAX: Duration = Duration::from_secs(120);

/// How long the kernel may take to let go of a loop device after the last user has gone.
pub const RELEASE_WAIT_MAX: Duration = Duration::from_secs(10);

/// How long between two looks whether it has.
pub const RELEASE_POLL: Duration = Duration::from_millis(5);

/// Programs named in an error that says who still uses a disk.
pub const HOLDERS_NAMED_MAX: usize = 8;

const _: () = assert!(BLOCK_BYTES.is_multiple_of(SECTOR_BYTES) && SECTORS_PER_BLOCK > 1);
const _: () = assert!(DISK_BYTES_MIN.is_multiple_of(BLOCK_BYTES as u64));
const _: () = assert!(DISK_BYTES_MIN < DISK_BYTES_MAX);
const _: () = assert!(DELAY_MAX.as_secs() < 120);
const _: () = assert!(RELEASE_WAIT_MAX.as_secs() < CONTROL_ANSWER_WAIT_MAX.as_secs());
