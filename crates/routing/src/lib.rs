//! The queue of Tandem: who talks to whom.
//!
//! One value, [`state::State`], holds sites, queues, agents, contacts and offers as rows;
//! [`state::State::apply`] carries one command out. It cannot fail, wait, read a clock or draw a
//! number, so that every node that applies the same log has the same state. This crate knows
//! neither SIP nor Raft nor media: legs, bindings and nodes are put beside it by `tandem-cluster`.
//!
//! Where to look: rules of matching in `matching`; what a command does in `apply/`; the entities
//! and their states in [`entity`]; the invariants in [`invariants`]; the slow, obvious judge that
//! must agree on every history in [`naive`].

/// True when this fault is planted in this value; never without the feature `planted` of the crate that
/// asks. For the rooms that the simulation runs.
#[doc(hidden)]
#[macro_export]
macro_rules! planted {
    ($at:expr, $fault:ident) => {{
        #[cfg(feature = "planted")]
        let planted = $at.planted == Some($crate::planted::Planted::$fault);
        #[cfg(not(feature = "planted"))]
        let planted = false;
        planted
    }};
}

pub mod command;
pub mod digest;
pub mod entity;
pub mod explain;
pub mod ids;
pub mod invariants;
pub mod limits;
pub mod naive;
pub mod name;
#[cfg(feature = "planted")]
pub mod planted;
pub mod preview;
pub mod requirement;
pub mod rules;
pub mod state;
pub mod strategy;
pub mod table;
pub mod time;

mod apply;
mod index;
mod matching;

pub use apply::{AgentPhone, CallerLeg};
