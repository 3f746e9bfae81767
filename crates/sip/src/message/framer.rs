//! [`StreamFramer`]: finds messages in the bytes of a TCP or TLS connection (RFC 3261 section 18.3,
//! RFC 5626 section 3.5.1).
//!
//! A stream has no way to find the next message behind a broken one whose length is unknown, so such
//! a fault ends the connection. A message whose length is known but whose content is broken is
//! answered, and the stream goes on.

use super::head::{cut_head, find_head_end};
use super::parser::{BodyEnd, parse_message, read_content_length};
use super::{HeaderError, HeaderName, Message, ParseError, ParseFailure};
use crate::limits::{HEAD_BYTES_MAX, LEADING_CRLF_MAX, MESSAGE_BYTES_MAX};
use bytes::{Buf, Bytes, BytesMut};

/// What a lone CRLF between messages means (RFC 5626 section 4.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepAliveRole {
    /// The peer sends pings (CRLF CRLF); a lone CRLF is passed over.
    AnswersPings,
    /// We send pings; a lone CRLF is the peer's pong.
    SendsPings,
}

/// What came out of a stream.
#[derive(Debug)]
pub enum StreamItem {
    /// A message.
    Message(Message),
    /// A message with a fault inside its known length: answer it (if its salvage allows) and go on.
    Malformed(ParseFailure),
    /// The peer's keep-alive: answer with one CRLF.
    Ping,
    /// The peer's answer to our keep-alive.
    Pong,
}

/// A fault after which the next message cannot be found. Answer if `failure.salvage` allows, then close
/// the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the end of a message on a stream cannot be found ({failure}): close the connection")]
pub struct FramingError {
    /// The fault.
    pub failure: ParseFailure,
}

/// Finds messages in a stream. Holds at most one message and what came with its last piece.
pub struct StreamFramer {
    role: KeepAliveRole,
    buffer: BytesMut,
    /// How far the head's end was already looked for.
    searched: usize,
    /// Length of the message at the front, once its head is there.
    expected: Option<usize>,
    /// Line breaks passed over since the last message.
    breaks: usize,
    failed: Option<FramingError>,
}

impl StreamFramer {
    /// For a new connection.
    pub fn new(role: KeepAliveRole) -> Self {
        Self { role, buffer: BytesMut::new(), searched: 0, expected: None, breaks: 0, failed: None }
    }

    /// Takes bytes from the connection. Call [`StreamFramer::next_item`] until it returns `None` before
    /// reading more: that keeps the buffer within one message and one read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Bytes that wait for the rest of their message: a shell closes connections that keep it waiting.
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The next complete item.
    ///
    /// # Errors
    /// [`FramingError`]: from then on the same error for ever.
    pub fn next_item(&mut self) -> Result<Option<StreamItem>, FramingError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let item = self.try_next();
        if let Err(error) = &item {
            self.failed = Some(error.clone());
            self.buffer = BytesMut::new();
        }
        item
    }

    fn try_next(&mut self) -> Result<Option<StreamItem>, FramingError> {
        if self.expected.is_none() {
            if let Some(keep_alive) = self.take_line_breaks()? {
                return Ok(Some(keep_alive));
            }
            self.expected = self.find_length()?;
        }
        let Some(len) = self.expected.filter(|len| *len <= self.buffer.len()) else {
            return Ok(None);
        };
        let bytes = self.buffer.split_to(len).freeze();
        (self.expected, self.searched, self.breaks) = (None, 0, 0);
        match parse_message(bytes, BodyEnd::Stream) {
            Ok(message) => Ok(Some(StreamItem::Message(message))),
            Err(failure) => Ok(Some(StreamItem::Malformed(failure))),
        }
    }

    /// Takes CRLFs off the front: two in a row are a ping.
    fn take_line_breaks(&mut self) -> Result<Option<StreamItem>, FramingError> {
        if self.buffer.starts_with(b"\r\n\r\n") {
            self.buffer.advance(4);
            return self.count_breaks(2).map(|()| Some(StreamItem::Ping));
        }
        let lone = self.buffer.starts_with(b"\r\n");
        match (self.role, self.buffer.get(2)) {
            (KeepAliveRole::SendsPings, _) if lone => {
                self.buffer.advance(2);
                self.count_breaks(1).map(|()| Some(StreamItem::Pong))
            }
            // Half a ping, perhaps: wait for what follows.
            (KeepAliveRole::AnswersPings, None | Some(b'\r')) if lone => Ok(None),
            (KeepAliveRole::AnswersPings, Some(_)) if lone => {
                self.buffer.advance(2);
                self.count_breaks(1).map(|()| None)
            }
            _ => Ok(None),
        }
    }

    /// Keep-alives are no reason to close, so the count starts again with each; only line breaks that
    /// nobody asked for are counted out.
    fn count_breaks(&mut self, breaks: usize) -> Result<(), FramingError> {
        self.breaks = if breaks == 2 { 0 } else { self.breaks + breaks };
        if self.role == KeepAliveRole::AnswersPings && self.breaks > LEADING_CRLF_MAX {
            return Err(framing_error(ParseError::BadStartLine));
        }
        Ok(())
    }

    /// Length of the message at the front, when its head is complete.
    fn find_length(&mut self) -> Result<Option<usize>, FramingError> {
        if self.buffer.starts_with(b"\r") {
            return self.half_line_break();
        }
        let Some(head_len) = find_head_end(&self.buffer, self.searched) else {
            self.searched = self.buffer.len();
            if self.buffer.len() > HEAD_BYTES_MAX {
                let fault = ParseError::TooLarge { len: self.buffer.len(), max: HEAD_BYTES_MAX };
                return Err(framing_error(fault));
            }
            return Ok(None);
        };
        let head_bytes = Bytes::copy_from_slice(self.buffer.get(..head_len).unwrap_or_default());
        match declared_length(&head_bytes) {
            Ok(body_len)
                if body_len <= (MESSAGE_BYTES_MAX - head_len.min(MESSAGE_BYTES_MAX)) as u64 =>
            {
                Ok(Some(head_len + body_len as usize))
            }
            Ok(body_len) => {
                let len = usize::try_from(body_len).unwrap_or(usize::MAX).saturating_add(head_len);
                Err(answerable(head_bytes, ParseError::TooLarge { len, max: MESSAGE_BYTES_MAX }))
            }
            Err(fault) => Err(answerable(head_bytes, fault)),
        }
    }

    /// A CR (or CRLF CR) at the front that is not a keep-alive yet.
    fn half_line_break(&self) -> Result<Option<usize>, FramingError> {
        match self.buffer.as_ref() {
            b"\r" | b"\r\n" | b"\r\n\r" => Ok(None),
            _ => Err(framing_error(ParseError::BadStartLine)),
        }
    }
}

impl std::fmt::Debug for StreamFramer {
    /// Without the bytes: they hold numbers and names.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamFramer")
            .field("role", &self.role)
            .field("pending_bytes", &self.buffer.len())
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}

/// Body length that a head declares.
fn declared_length(head_bytes: &Bytes) -> Result<u64, ParseError> {
    let head = cut_head(head_bytes)?;
    let name = HeaderName::ContentLength;
    let mut values = head.headers.iter().filter(|h| h.name == name);
    match (values.next(), values.next()) {
        (None, _) => Err(ParseError::ContentLengthMissing),
        (Some(one), None) => read_content_length(&one.value)
            .map_err(|fault| HeaderError::Syntax { name, fault }.into()),
        (Some(_), Some(_)) => Err(HeaderError::Repeated { name }.into()),
    }
}

fn framing_error(error: ParseError) -> FramingError {
    FramingError { failure: ParseFailure::silent(error) }
}

/// A framing error with what its head allows to answer.
fn answerable(head_bytes: Bytes, error: ParseError) -> FramingError {
    // The head alone has too short a body for any Content-Length but a missing one, so the parse
    // fails and brings its salvage; the framing fault is the one to report.
    let salvage = parse_message(head_bytes, BodyEnd::Stream).err().and_then(|f| f.salvage);
    FramingError { failure: ParseFailure { error, salvage } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &str) -> String {
        format!(
            "INVITE sip:b@h SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n\
             To: <sip:b@h>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn drain(framer: &mut StreamFramer) -> Result<Vec<String>, FramingError> {
        let mut items = Vec::new();
        while let Some(item) = framer.next_item()? {
            items.push(match item {
                StreamItem::Message(Message::Request(r)) => format!("request {}", r.body.len()),
                StreamItem::Message(Message::Response(_)) => "response".to_owned(),
                StreamItem::Malformed(failure) => format!("malformed {}", failure.error.status()),
                StreamItem::Ping => "ping".to_owned(),
                StreamItem::Pong => "pong".to_owned(),
            });
        }
        Ok(items)
    }

    // Goal: the same items come out however the bytes are cut.
    #[test]
    fn any_cut_gives_the_same_items() {
        let stream =
            format!("\r\n{}\r\n\r\n{}{}", message("abc"), message(""), message("\r\n\r\n"));
        let expect = ["request 3", "ping", "request 0", "request 4"];
        for piece in 1..stream.len() {
            let mut framer = StreamFramer::new(KeepAliveRole::AnswersPings);
            let mut items = Vec::new();
            for chunk in stream.as_bytes().chunks(piece) {
                framer.push(chunk);
                items.extend(drain(&mut framer).unwrap());
            }
            assert_eq!(items, expect, "pieces of {piece}");
            assert_eq!(framer.pending_bytes(), 0);
        }
    }

    // Goal: a lone CRLF is a pong only for the side that pings.
    #[test]
    fn pongs() {
        let mut framer = StreamFramer::new(KeepAliveRole::SendsPings);
        framer.push(b"\r\n");
        assert_eq!(drain(&mut framer).unwrap(), ["pong"]);
        let mut framer = StreamFramer::new(KeepAliveRole::AnswersPings);
        framer.push(b"\r\n");
        assert!(drain(&mut framer).unwrap().is_empty());
        framer.push(b"\r\n");
        assert_eq!(drain(&mut framer).unwrap(), ["ping"]);
    }

    // Goal: content faults leave the stream usable, length faults end it.
    #[test]
    fn which_faults_end_the_stream() {
        let mut framer = StreamFramer::new(KeepAliveRole::AnswersPings);
        let broken = message("abc").replace("To: <sip:b@h>", "To: <sip:b@h");
        framer.push(format!("{broken}{}", message("x")).as_bytes());
        assert_eq!(drain(&mut framer).unwrap(), ["malformed 400", "request 1"]);

        let fatal = [
            (message("").replace("Content-Length: 0\r\n", ""), true),
            (message("").replace("Content-Length: 0", "Content-Length: 0\r\nl: 0"), true),
            (message("").replace("Content-Length: 0", "Content-Length: -1"), true),
            (message("").replace("Content-Length: 0", "Content-Length: 99999999"), true),
            (message("").replace("Content-Length: 0", "Content-Length: 0\nX: y"), false),
            ("\rX\r\n\r\n".to_owned(), false),
        ];
        for (text, answer) in fatal {
            let mut framer = StreamFramer::new(KeepAliveRole::AnswersPings);
            framer.push(text.as_bytes());
            let error = drain(&mut framer).unwrap_err();
            assert_eq!(error.failure.salvage.is_some(), answer, "{text}");
            framer.push(message("").as_bytes());
            assert_eq!(drain(&mut framer).unwrap_err(), error, "the stream stays closed");
        }
    }

    // Goal: debug output of a framer that holds half a message shows none of it.
    #[test]
    fn debug_is_private() {
        let mut framer = StreamFramer::new(KeepAliveRole::AnswersPings);
        framer.push(b"INVITE sip:+442079460001@h SIP/2.0\r\n");
        assert!(drain(&mut framer).unwrap().is_empty());
        assert!(!format!("{framer:?}").contains("2079"));
    }

    // Goal: a head that never ends is cut off at its limit and not before (pair at the edge).
    #[test]
    fn endless_heads() {
        let mut framer = StreamFramer::new(KeepAliveRole::AnswersPings);
        framer.push(&vec![b'A'; HEAD_BYTES_MAX]);
        assert!(drain(&mut framer).unwrap().is_empty());
        framer.push(b"A");
        assert!(drain(&mut framer).is_err());
    }

    // Goal: looking for the end of a head that arrives byte by byte takes linear work.
    #[test]
    fn slow_heads_take_linear_work() {
        let steps = |len: usize| {
            let mut framer = StreamFramer::new(KeepAliveRole::AnswersPings);
            crate::meter::counter::take();
            for _ in 0..len {
                framer.push(b"A");
                drain(&mut framer).unwrap();
            }
            crate::meter::counter::take()
        };
        assert!(steps(20_000) < 3 * steps(10_000));
    }
}
