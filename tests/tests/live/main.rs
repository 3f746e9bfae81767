//! Real clusters on this machine: processes that are killed, phones and callers that judge.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

mod calls;
mod configuration;
mod disks;
mod documents;
mod doors;
mod events;
mod laboratory;
mod losses;
mod quorum;
mod rebalance;
mod sipp;
mod support;
mod surface;
