//! The replicated machine of Tandem.
//!
//! What every replicated command shares lives here: the envelope with exactly-once numbers
//! ([`command`]), ClusterTime and ordinals (from the queue's crate), node lives and epochs
//! ([`node`]), legs and what of them is replicated ([`leg`]), registrations ([`binding`]), sealed
//! secrets ([`seal`]), the configuration as a whole with its versions ([`configuration`]), and their composition with the queue into one value ([`machine::Machine`]).
//! It knows no SIP and no media beyond these records, and nothing of Raft: the log hands it entries.
//!
//! Where to look: what a command does, `apply/`; what the owner of a leg should make true,
//! [`view`].

// Its macro says where a fault may be planted.
#[macro_use]
extern crate tandem_routing;

mod batch;
pub mod binding;
pub mod command;
pub mod configuration;
pub mod feed;
pub mod history;
pub mod ids;
pub mod leg;
pub mod limits;
pub mod machine;
pub mod node;
pub mod seal;
pub mod view;

mod apply;
mod index;
mod once;
