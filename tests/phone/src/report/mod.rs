//! What a human or a carrier would have experienced, call by call. Plain data, JSON by serde.
//!
//! All times are microseconds since the run's start on one monotonic clock; lengths carry their
//! unit. Numbers dialled and callers' numbers are not in here.

mod call;
mod media;

pub use call::{
    Anomaly, AnomalySeen, Attempt, CallKey, CallReport, CallState, EndCause, Modification, Role,
};
pub use media::{
    CounterJump, Gap, GapKind, Heard, HeardSpan, MediaReport, RtcpReport, SenderReport,
    SourceReport, SourceStanding, SsrcReport, StreamBreak,
};
