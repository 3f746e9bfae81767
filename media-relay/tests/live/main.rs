//! The relay alive: real sockets, real QUIC and gRPC, in one process or as several.
//!
//! Every relay of a test has a loopback address of its own, so that tests run side by side. Nothing
//! here decides by absolute times: counts and ratios only; a wait has a long bound that only a
//! broken relay reaches.

mod bridge;
mod control;
mod links;
mod load;
mod processes;
mod support;
mod witnesses;
