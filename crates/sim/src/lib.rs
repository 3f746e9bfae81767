//! Deterministic simulation of Tandem: nodes, phones, callers, relays, network, disks and clocks as
//! one value, driven by one seed in virtual time. No thread, clock or file is here.
//!
//! Where to look: [`world`] is what there is, and how it moves.

pub mod raft;
pub mod world;
