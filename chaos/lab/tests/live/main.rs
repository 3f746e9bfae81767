//! The laboratory with a real kernel: namespaces, TUN devices, processes. Needs root; without it,
//! every test fails and says so.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

mod faults;
mod hosts;
mod program;
mod support;
