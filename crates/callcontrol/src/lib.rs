//! What a node does with its legs.
//!
//! A B2BUA as reconciliation: the replicated state says what should be (this caller waits, that phone
//! rings, these two talk); the owner node makes its legs so, by SIP and by its relay, and repairs
//! after any interruption. One value, [`CallControl`], with closed input and output enums ([`io`]);
//! no socket, clock or task is here.
//!
//! Where to look: `control` takes the inputs and finds the leg, `events` does so for SIP messages;
//! `life` has the lease and what it allows; `leg/` has one file per part of a leg's life (admission,
//! ring, within, reinvite, session_timer, ending, takeover) and of what belongs to one (media, stream,
//! facts, record); `turns` paces takeovers, `removals` ends relay sessions, `former` has
//! what is left of legs that went, `unowned` ends phones' calls that nobody has; `registrar` has the phones.

// Its macro says where a fault may be planted.
#[macro_use]
extern crate tandem_routing;

mod control;
mod core;
mod derive;
mod events;
mod former;
pub mod io;
mod leg;
mod life;
pub mod limits;
mod registrar;
mod removals;
mod replies;
pub mod settings;
mod timers;
mod turns;
mod unowned;

pub use control::CallControl;
pub use registrar::{credential_context, credential_secret};
