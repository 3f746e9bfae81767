//! Digest authentication: RFC 3261 section 22 with RFC 7616 and RFC 8760.
//!
//! The server side ([`DigestServer`]) challenges with one header per algorithm, strongest first, and with
//! nonces that any node of the cluster can check under a shared key without having seen them before. It
//! takes [`Ha1`] values, never passwords, compares in constant time, and does the same work for a user
//! that does not exist. Replays are caught by [`NonceCounts`], where the caller wants that.
//!
//! The client side ([`DigestClient`]) answers challenges of trunks.
//!
//! Left out: `auth-int` (its hash over the body breaks with any B2BUA on the way), `userhash` and
//! `-sess` algorithms (no SIP peer is known to need them), and Authentication-Info.

mod algorithm;
mod client;
mod counts;
mod ha1;
mod header;
mod nonce;
mod server;
#[cfg(test)]
mod tests;

pub use algorithm::Algorithm;
pub use client::{ChallengeError, DigestClient};
pub use counts::{CountVerdict, NonceCounts};
pub use ha1::{BadHa1, Ha1};
pub use header::{Challenge, Credentials, Qop};
pub use nonce::{ClusterKey, NonceId, NonceKeys, WallSeconds};
pub use server::{ChallengeKind, DigestServer, NoCredentials, Rejection, Staleness, Verdict};
