//! Hosts, wide-area links, disks, clocks and process limits that fail on command, all on one Linux
//! machine. Nothing here knows Tandem: a host runs whatever program it is given.
//!
//! - [`wan`]: the router between hosts.
//! - [`host`]: network namespaces, and programs started in them.
//! - [`disk`]: block devices that lose, delay and damage what was written.
//! - [`machine`]: clocks, processes, and their limits.

pub mod disk;
pub mod host;
pub mod machine;
pub mod wan;
