//! Cuts a TCP byte stream into SIP messages (RFC 3261 18.3, RFC 5626 3.5.1 keep-alives).

use bytes::{Bytes, BytesMut};

use super::error::ParseError;
use super::message::Message;
use crate::limits::{SIP_HEAD_BYTES_MAX, SIP_MESSAGE_BYTES_MAX};

/// Collects bytes of one connection and yields whole messages.
///
/// After an error the stream cannot be trusted any more: close the connection.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: BytesMut,
}

impl Framer {
    /// Adds bytes that came in.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message. CRLFs between messages (keep-alives) are skipped.
    ///
    /// # Errors
    /// What breaks the framing; Content-Length is mandatory on streams.
    pub fn next_message(&mut self) -> Result<Option<Message>, ParseError> {
        let blank = self.buffer.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        drop(self.buffer.split_to(blank));
        let (mut message, head_length) = match Message::parse_head(&self.buffer) {
            Ok(parsed) => parsed,
            Err(ParseError::HeadNotEnded) if self.buffer.len() < SIP_HEAD_BYTES_MAX => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let length = message.content_length()?.ok_or(ParseError::ContentLength)?;
        if length > SIP_MESSAGE_BYTES_MAX - head_length {
            return Err(ParseError::TooLarge);
        }
        if self.buffer.len() < head_length + length {
            return Ok(None);
        }
        let whole: Bytes = self.buffer.split_to(head_length + length).freeze();
        message.body = whole.slice(head_length..);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[u8] = b"\r\n\r\nOPTIONS sip:h SIP/2.0\r\nContent-Length: 3\r\n\r\nabc\
        SIP/2.0 200 OK\r\nl: 0\r\n\r\n";

    // Goal: messages come out whole however the bytes are cut.
    #[test]
    fn any_cut_gives_the_same_messages() {
        for step in 1..TWO.len() {
            let mut framer = Framer::default();
            let mut found = Vec::new();
            for chunk in TWO.chunks(step) {
                framer.feed(chunk);
                while let Some(message) = framer.next_message().expect("valid stream") {
                    found.push((message.code(), message.body.len()));
                }
            }
            assert_eq!(found, [(None, 3), (Some(200), 0)], "chunks of {step}");
        }
    }

    // Goal: a stream without Content-Length, or one that never ends its head, is refused.
    #[test]
    fn broken_streams_are_refused() {
        let mut framer = Framer::default();
        framer.feed(b"OPTIONS sip:h SIP/2.0\r\nA: b\r\n\r\n");
        assert_eq!(framer.next_message(), Err(ParseError::ContentLength));

        let mut framer = Framer::default();
        framer.feed(&vec![b'x'; SIP_HEAD_BYTES_MAX - 1]);
        assert_eq!(framer.next_message(), Ok(None));
        framer.feed(b"xxxxxx");
        assert_eq!(framer.next_message(), Err(ParseError::HeadNotEnded));

        let mut framer = Framer::default();
        framer.feed(b"OPTIONS sip:h SIP/2.0\r\nContent-Length: 65535\r\n\r\n");
        assert_eq!(framer.next_message(), Err(ParseError::TooLarge));
    }
}
