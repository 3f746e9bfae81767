//! Deterministic simulation of Tandem: nodes, phones, callers, relays, network, disks and clocks as
//! one value, driven by one seed in virtual time. No thread, clock or file is here.
//!
//! Where to look: [`world`] is what there is, and how it moves; [`raft`] what a log may do; [`judge`]
//! what must hold behind every entry; [`plan`] what happens in a run, from a seed or a file, its
//! liveness phase and its report; `mutants`
//! (feature `planted`) which judge catches a fault that is planted on purpose. Apart from them, [`day`]: one day of
//! a center in several cities, for the worth of one queue.

// Its macro says where a fault may be planted.
#[macro_use]
extern crate tandem_routing;

pub mod day;
pub mod judge;
#[cfg(feature = "planted")]
pub mod mutants;
pub mod plan;
pub mod raft;
pub mod world;
