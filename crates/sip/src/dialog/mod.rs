//! Dialogs: RFC 3261 section 12, with what a B2BUA needs around them, as values.
//!
//! A [`Dialog`] can be rebuilt on another node from a [`DialogRecord`], the few strings and numbers that
//! are replicated. For that the numbers that only go up are reserved in blocks before use
//! ([`CseqBlock`]): the taker starts behind the block, so its requests are newer than any that the dead
//! owner can have sent.
//!
//! Beside the dialog itself: the 2xx and ACK that section 13 leaves to the core
//! ([`OkRetransmission`], [`AckKeeper`]), colliding offers ([`Glare`]), session timers of RFC 4028
//! ([`session_timer`]), and the checks on Require and Max-Forwards ([`unsupported_options`],
//! [`next_max_forwards`]).

mod acknowledge;
mod cseq;
mod glare;
mod options;
mod record;
mod routing;
pub mod session_timer;
mod state;
#[cfg(test)]
mod tests;

pub use acknowledge::{AckKeeper, OkRetransmission, OkStep, TwoXx};
pub use cseq::{CseqBlock, CseqExhausted};
pub use glare::{Glare, GlareVerdict, IncomingOffer, glare_retry_wait};
pub use options::{Hops, bad_extension_response, next_max_forwards, unsupported_options};
pub use record::{AdoptError, DialogRecord};
pub use state::{
    Dialog, DialogError, DialogId, DialogRole, DialogStage, OutOfOrder, RequestParts, Security,
};
