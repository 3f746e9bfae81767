//! Session descriptions and offer/answer for one audio stream: RFC 8866, RFC 3264, RFC 4566 peers.
//!
//! `sdp-types` reads and writes the lines; before it stands a filter (in `description`) that keeps one
//! bad line which nobody needs (a session name in Latin-1, an `o=` with a blank in the user name) from
//! costing the call, and bounds the work. On top stand our view of an audio stream ([`AudioMedia`]), the
//! negotiation ([`negotiate`], [`answer`], [`offer`], [`accept_answer`]), and the `o=` line
//! ([`LocalDescription`]), whose version grows only when the description changes and whose versions are
//! reserved in blocks, so that a node that takes a leg over is newer than the one it follows.
//!
//! A delayed offer (an INVITE without a description) is [`offer`] in the 200 and [`accept_answer`] on
//! the ACK.

mod audio;
mod description;
mod local;
mod multipart;
mod negotiate;
#[cfg(test)]
mod tests;

pub use audio::{
    AudioMedia, Codec, CryptoLine, Direction, Format, MediaAddress, Profile, RtcpMux,
    TelephoneEvent,
};
pub use description::{RemoteDescription, SdpError, StreamLine};
pub use local::{LocalDescription, Origin, SdpVersionBlock, VersionsExhausted};
pub use multipart::sdp_part;
pub use negotiate::{
    AnswerError, Capabilities, CodecOrder, DescribeError, LocalMedia, Negotiated, NegotiationError,
    OfferedMedia, Support, SupportedCodec, accept_answer, answer, negotiate, offer,
};
