//! Sans-IO SIP for a B2BUA and registrar: messages, transactions, dialogs, digest authentication,
//! SDP offer/answer and number extraction, all as plain values.
//!
//! **What lives here.** Bytes become typed messages ([`message`]), messages become transactions
//! with their timers ([`transaction`]), request/response pairs become dialogs that another node can
//! adopt from a small record ([`dialog`]), credentials are challenged and checked ([`auth`]), session
//! descriptions are negotiated ([`sdp`]), and callers' and called numbers are found ([`identity`]).
//!
//! **What does not.** No socket, clock, thread or source of randomness: `now` is an argument, random
//! values come from a [`prng::Prng`] that the owner seeds, and everything to be done in the world
//! leaves as an output value. Registrar and call logic live above this crate.
//!
//! **Contract.** Call one `handle_*` or command method, then drain `poll_output()` until it returns
//! `None`, then ask `poll_timeout()` when to come back. Nothing blocks and nothing panics on input.
//!
//! Numbers and names of callers are personal data: no `Debug` output of this crate shows them in
//! clear; methods that hand them out say so in their names or documentation.

pub mod auth;
pub mod dialog;
pub mod identity;
pub mod limits;
pub mod message;
pub mod prng;
pub mod redact;
pub mod sdp;
pub mod text;
pub mod transaction;

mod meter;
mod scan;

#[cfg(test)]
mod corpus_tests;

#[cfg(test)]
mod test_clock {
    //! Where virtual time starts in tests; from there on they only add.

    /// Some instant. What it is does not matter to any test.
    #[expect(clippy::disallowed_methods, reason = "an Instant has no other beginning")]
    pub(crate) fn start() -> std::time::Instant {
        std::time::Instant::now()
    }
}
