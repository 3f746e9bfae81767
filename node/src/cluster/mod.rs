//! Consensus: the shell around openraft, the store and the replicated machine.
//!
//! ```text
//!  proposer ──▶ (leader's) batcher ──▶ openraft ──▶ store ──▶ machine ──▶ observer ──▶ edge, life
//! ```
//!
//! What a command means is in `crates/cluster`; how entries reach the disk, in `raft-store`.

mod acknowledged;
mod attempt;
pub mod awake;
pub mod batcher;
pub mod clock;
mod codec;
pub mod core;
mod ended;
mod horizon;
pub mod identity;
pub mod leader;
pub mod lease;
pub mod life;
pub mod machine;
pub mod member;
pub mod network;
pub mod observer;
pub mod peer_service;
pub mod peers;
pub mod proposer;
pub mod quorum;
pub(crate) mod removal;
mod retention;
pub mod server;
pub(crate) mod voters;
