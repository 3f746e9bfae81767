//! Clocks that step, programs that die at a chosen write, limits that hold, and nothing of it left.
//! Needs root, control groups of version 1, and the Debian packages faketime, strace and e2fsprogs.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends at the first thing that goes wrong"
)]

mod clock;
mod crash_point;
mod group;
mod left_behind;
mod puppet;
mod running;
