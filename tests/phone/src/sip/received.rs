//! Messages whose mandatory headers are known to be right.

use super::error::ParseError;
use super::header::{CSeq, Via};
use super::message::Message;
use super::method::Method;
use super::uri::NameAddr;

/// A message whose mandatory headers are there, once, and well formed.
#[derive(Clone, Debug)]
pub struct Received {
    /// The message.
    pub message: Message,
    /// The topmost Via.
    pub via: Via,
    /// From.
    pub from: NameAddr,
    /// To.
    pub to: NameAddr,
    /// Call-ID.
    pub call_id: String,
    /// CSeq.
    pub cseq: CSeq,
}

impl Received {
    /// Checks the headers that every message needs (RFC 3261 8.1.1).
    ///
    /// # Errors
    /// Which header is missing, repeated or malformed.
    pub fn check(message: Message) -> Result<Self, ParseError> {
        let once = |name| {
            let mut lines = message.lines(name);
            match (lines.next(), lines.next()) {
                (Some(value), None) => Ok(value),
                (None, _) => Err(ParseError::Missing),
                (Some(_), Some(_)) => Err(ParseError::Repeated),
            }
        };
        let from = NameAddr::parse(once("From")?)?;
        let to = NameAddr::parse(once("To")?)?;
        let call_id = once("Call-ID")?.to_owned();
        let cseq = CSeq::parse(once("CSeq")?)?;
        let vias = message.values("Via");
        let via = Via::parse(vias.first().ok_or(ParseError::Missing)?)?;
        if call_id.is_empty() {
            return Err(ParseError::Missing);
        }
        if message.method().is_some_and(|method| *method != cseq.method) {
            return Err(ParseError::CSeq);
        }
        Ok(Self { via, from, to, call_id, cseq, message })
    }

    /// The method, when it is a request.
    #[must_use]
    pub fn method(&self) -> Option<&Method> {
        self.message.method()
    }
}
