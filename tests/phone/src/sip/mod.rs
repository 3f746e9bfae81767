//! The phone's own small SIP and SDP: parse, write, digest. No sockets, no clock.
//!
//! Shares nothing with the parser of the system under test, so that a common misreading cannot
//! hide. Strict where a strict phone would be: a message that breaks RFC 3261's grammar is refused.
//! Names and numbers in messages are personal data: `Debug` shows them shortened.

mod digest;
mod error;
mod framer;
mod header;
mod message;
mod method;
mod received;
mod sdp;
mod uri;

pub use digest::{Challenge, Credentials, DigestAlgorithm, DigestError, DigestUse, Secret};
pub use error::ParseError;
pub use framer::Framer;
pub use header::{CSeq, Via, header_param, split_list};
pub use message::{Head, Message};
pub use method::Method;
pub use received::Received;
pub use sdp::{
    AudioView, Direction, MediaDescription, Origin, RtpCodec, SdpError, SessionDescription,
};
pub(crate) use sdp::{RtcpMux, own_audio, refused};
pub use uri::{Host, NameAddr, SipUri, Uri};

/// Shortens something personal (a number, a name) for logs: the first and the last two characters.
#[must_use]
pub fn masked(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    match characters.as_slice() {
        [] => String::new(),
        [a, b, .., y, z] if characters.len() > 6 => format!("{a}{b}…{y}{z}"),
        _ => "…".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::masked;

    // Goal: a masked number shows at most four of its characters, a short one none.
    #[test]
    fn masking_hides_numbers() {
        for (given, shown) in [
            ("+442079460958", "+4…58"),
            ("1001", "…"),
            ("123456", "…"),
            ("1234567", "12…67"),
            ("", ""),
        ] {
            assert_eq!(masked(given), shown, "{given}");
        }
    }
}
