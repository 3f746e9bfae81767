//! Tests of the store as a whole. One binary, so that RocksDB is linked once.
//!
//! - `suite`: openraft's own storage suite
//! - `opening`: identity, refusals, locks
//! - `crash`: children killed at random and planted points
//! - `power_loss`: what was not synced is gone; disks that lie
//! - `errors`: failing writes and syncs, a full disk
//! - `damage`: flipped bits everywhere
//! - `snapshots`: build, transfer, install
//! - `cluster`: three nodes in one process
//! - `model`: random use of the log against a model of it
//! - `bounds`: disk space, memory, the queue
//! - `throughput`: figures, printed

#![allow(clippy::panic, reason = "what is not as it should be ends a test, also in a helper")]

mod bounds;
mod cluster;
mod crash;
mod damage;
mod errors;
mod kit;
mod model;
mod opening;
mod power_loss;
mod snapshots;
mod suite;
mod throughput;
