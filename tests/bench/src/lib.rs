//! What benchmarks of the queue share: a center to measure, a clock, tables, a picture.
//!
//! The benchmarks themselves stand in `benches/`: `routing` (throughput, the peer, single decisions, growth)
//! and `memory`, apart because it counts every allocation. `cargo xtask bench routing` runs both; what came
//! out last is in `docs/performance.md`. Nothing here decides a test: a benchmark prints its ratio to a limit
//! or a peer of the same run.

pub mod arguments;
pub mod center;
pub mod clock;
pub mod plan;
pub mod plot;
pub mod report;
