//! Deterministic simulation of Tandem: nodes, phones, callers, relays, network, disks and clocks as
//! one value, driven by one seed in virtual time. No thread, clock or file is here.
//!
//! Where to look: [`world`] is what there is, and how it moves; [`raft`] what a log may do; [`judge`]
//! what must hold behind every entry; [`plan`] what happens in a run, from a seed or a file, its
//! liveness phase and its report.

/// True when this fault is planted in this value; never without the feature `planted`.
macro_rules! planted {
    ($at:expr, $fault:ident) => {{
        #[cfg(feature = "planted")]
        let planted = $at.planted == Some(tandem_routing::planted::Planted::$fault);
        #[cfg(not(feature = "planted"))]
        let planted = false;
        planted
    }};
}

pub mod judge;
pub mod plan;
pub mod raft;
pub mod world;
