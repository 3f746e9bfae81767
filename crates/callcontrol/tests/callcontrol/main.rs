//! Call control in a deterministic world: real replicated machine, real SIP bytes, scripted user
//! agents and relays, virtual time. Each file is one part of a leg's life; `simulation` draws
//! everything by chance.
#![allow(missing_docs, unreachable_pub, reason = "tests")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod calls;
mod changes;
mod connections;
mod door;
mod facts;
mod phones;
mod registrar;
mod simulation;
mod takeover;

use tandem_sim::world;
