//! Transactions: RFC 3261 section 17 with RFC 6026 and RFC 4320, as values.
//!
//! The four machines stand in four files and know nothing of messages, tables or sockets: an input
//! gives a list of [`machine::Action`]s. [`TransactionLayer`] holds them all, finds the one that a
//! message belongs to, runs the timers and performs the actions as outputs.
//!
//! Decisions beside the RFCs:
//! - transactions of RFC 2543 (no `z9hG4bK` branch) are answered with 400;
//! - `maddr` in a Via is not followed (see `flow`);
//! - CANCEL is answered by the layer, and the core hears of it only while the INVITE is open;
//! - an INVITE that rings or waits without end is ended ([`TimerConfig::timer_c`],
//!   [`TimerConfig::server_invite_max`]);
//! - a node that may be fenced holds the gate ([`TransactionLayer::originate_gate`]), and a leg that was
//!   taken over is dropped in silence by its [`Owner`].

pub mod client;
pub mod invite_client;
pub mod invite_server;
pub mod machine;
pub mod server;

mod build;
mod client_side;
mod flow;
mod key;
mod layer;
mod malformed;
mod output;
mod server_side;
#[cfg(test)]
mod tests;
mod timers;

pub use build::build_cancel;
pub use flow::{
    ConnectionId, Flow, Hop, ReplyRoute, SymmetricResponses, Transport, fits_datagram, fresh_branch,
};
pub use layer::{LayerConfig, TransactionLayer};
pub use output::{
    CancelError, CancelOutcome, ClientTx, Counters, Event, Gate, Output, Owner, RespondError,
    SendError, Sent, ServerTx, TransactionId, Transmit,
};
pub use timers::{Timer, TimerConfig};

pub(crate) use timers::later;
