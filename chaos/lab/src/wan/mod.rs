//! The router between hosts: delay, loss and cuts per directed pair.
//!
//! - [`model`]: what becomes of each packet; a value that reads no clock and does no I/O.
//! - [`Router`]: the thread that moves packets between the hosts' devices, as the model says.

pub mod limits;
pub mod model;
mod router;

pub use model::{
    Endpoint, Filter, HostIndex, LinkCounters, LinkSettings, LinkState, Loss, Network,
    NetworkError, Order, Party, Prefix, PrefixError, Protocol, Rate, Reorder, SettingsError, Share,
    StrayCounters,
};
pub use router::{PairCounters, PairSettings, Router};
