//! RTP as a value: everything a media relay decides about a packet, without a socket or a clock.
//!
//! Start at [`session::MediaSession`], one leg's media: packets, ticks and descriptions go in,
//! [`session::Output`]s come out. Below it, one concern per module:
//!
//! - [`stream`]: the stream towards one phone, continuous over every change of source (invariant
//!   M1); [`continuity`] is the judge of that invariant, which shares no code with it.
//! - [`latch`]: from whom packets are taken (invariant M2).
//! - [`packet`], [`rtcp`], [`stats`], [`dtmf`]: RFC 3550, RFC 5761, RFC 4733.
//! - [`g711`], [`tune`], [`sounds`]: samples: companding, the music on hold, the beep.
//! - [`link`]: framing on the QUIC link between two relays.
//! - [`fence`]: the ownership epochs that outlive a removed session (invariant S2).
//!
//! What does not live here: sockets, QUIC, gRPC, ports (`media-relay`), SDP (`tandem-sip`), and
//! the decision who talks to whom (`tandem-routing`, `tandem-callcontrol`).
//!
//! Outputs leave through a [`session::Sink`] while a packet is handled, not through a queue that
//! is polled afterwards: no packet is copied or stored on its way, and nothing can be forgotten in
//! a queue.

pub mod continuity;
pub mod dtmf;
pub mod fence;
pub mod g711;
pub mod ids;
pub mod latch;
pub mod limits;
pub mod link;
pub mod packet;
pub mod rate;
pub mod rtcp;
pub mod session;
pub mod sounds;
pub mod stats;
pub mod stream;
pub mod time;
pub mod tune;
