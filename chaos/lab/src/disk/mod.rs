//! Block devices that lose, delay and damage what was written.
//!
//! A [`Disk`] is an ext4 file system on a loop device on a file that this process serves by FUSE.
//! What was written but not synced is kept apart from what is durable, so a power cut can be played
//! exactly: the kernel's own journal and page cache are real, only the medium is ours.
//!
//! ```text
//! program -> ext4 -> /dev/loopN -> FUSE file -> disk::fuse -> disk::image (pure)
//!            fsync    flush          FSYNC        waits         durable + pending blocks
//! ```
//!
//! - [`image`]: the device as a value: durable and pending blocks, faults, crashes. Pure.
//! - [`faults`]: which operation fails, how late, and what a sync is worth. Pure.
//! - [`fuse`]: serves an image as a file, with its delays.
//! - [`mount`]: makes and mounts ext4 on that file; nothing of it outlives this process.
//! - [`device`]: [`Disk`], which joins them and obeys an [`Order`].
//! - [`control`]: the same orders over a Unix socket; [`command`]: and on the command line.
//! - [`extents`]: where on the device a file's byte lies.
//! - [`plain`]: what needs no FUSE: a small disk in memory, a read-only remount.

pub mod command;
pub mod control;
pub mod device;
pub mod error;
pub mod extents;
pub mod faults;
pub mod fuse;
pub mod image;
pub mod limits;
pub mod mount;
pub mod plain;

pub use control::Client;
pub use device::{Answer, Disk, Order, Settings, Status};
pub use error::DiskError;
