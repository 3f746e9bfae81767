//! The router between hosts: delay, loss and cuts per directed pair.
//!
//! - [`model`]: what becomes of each packet; a value that reads no clock and does no I/O.
//! - [`Router`]: the thread that moves packets between the hosts' devices, as the model says.
//! - [`control`]: changes while it runs, by JSON lines on a Unix socket.
//! - [`config`]: hosts and links from a TOML file.
//! - [`presets`]: round trips that were measured between real places.
//! - [`text`]: changes as people type them.

pub mod config;
pub mod control;
mod lateness;
pub mod limits;
pub mod model;
pub mod presets;
mod router;
pub mod text;

pub use lateness::{Lateness, LatenessSummary};
pub use model::{
    Endpoint, Filter, HostIndex, LinkCounters, LinkSettings, LinkState, Loss, Network,
    NetworkError, Order, Party, Prefix, PrefixError, Protocol, Rate, Reorder, SettingsError, Share,
    StrayCounters,
};
pub use router::{PairCounters, PairSettings, Router};
