//! To and from the types of `rsip`, for tools and tests that speak them.
//!
//! rsip names the standard's methods and status codes, and those names convert both ways without
//! loss. Whole messages go through bytes: our writer produces the plain form (long names, one value
//! per line, no folds) that rsip's reader understands. What rsip cannot express is an error here and
//! never a changed message: unknown methods, hosts that it mis-reads, bodies with bytes that it would
//! replace.

use super::{Message, Method, ParseFailure, StatusCode, parse_datagram};

/// Why a message has no counterpart on the other side.
#[derive(Debug, thiserror::Error)]
pub enum InteropError {
    /// rsip cannot read what we wrote.
    #[error("rsip has no form for this {0}; keep it in our own types")]
    NotInRsip(&'static str),
    /// rsip reads the message but would lose part of it.
    #[error("rsip would change this message: {0}; keep it in our own types")]
    Lossy(&'static str),
    /// rsip's message does not follow the standard.
    #[error("the rsip message is refused: {0}")]
    Refused(#[from] ParseFailure),
    /// rsip allows any number as a status code.
    #[error("{0} is no SIP status code: it is not within 100 and 699")]
    StatusCode(u16),
}

impl From<rsip::Method> for Method {
    fn from(method: rsip::Method) -> Self {
        match method {
            rsip::Method::Ack => Self::Ack,
            rsip::Method::Bye => Self::Bye,
            rsip::Method::Cancel => Self::Cancel,
            rsip::Method::Info => Self::Info,
            rsip::Method::Invite => Self::Invite,
            rsip::Method::Message => Self::Message,
            rsip::Method::Notify => Self::Notify,
            rsip::Method::Options => Self::Options,
            rsip::Method::PRack => Self::Prack,
            rsip::Method::Publish => Self::Publish,
            rsip::Method::Refer => Self::Refer,
            rsip::Method::Register => Self::Register,
            rsip::Method::Subscribe => Self::Subscribe,
            rsip::Method::Update => Self::Update,
        }
    }
}

impl TryFrom<&Method> for rsip::Method {
    type Error = InteropError;

    fn try_from(method: &Method) -> Result<Self, InteropError> {
        Ok(match method {
            Method::Ack => Self::Ack,
            Method::Bye => Self::Bye,
            Method::Cancel => Self::Cancel,
            Method::Info => Self::Info,
            Method::Invite => Self::Invite,
            Method::Message => Self::Message,
            Method::Notify => Self::Notify,
            Method::Options => Self::Options,
            Method::Prack => Self::PRack,
            Method::Publish => Self::Publish,
            Method::Refer => Self::Refer,
            Method::Register => Self::Register,
            Method::Subscribe => Self::Subscribe,
            Method::Update => Self::Update,
            Method::Other(_) => return Err(InteropError::NotInRsip("method")),
        })
    }
}

impl TryFrom<rsip::StatusCode> for StatusCode {
    type Error = InteropError;

    fn try_from(status: rsip::StatusCode) -> Result<Self, InteropError> {
        Self::new(status.code()).ok_or(InteropError::StatusCode(status.code()))
    }
}

impl From<StatusCode> for rsip::StatusCode {
    /// Codes that rsip has no name for become its `Other` with our reason phrase.
    fn from(status: StatusCode) -> Self {
        match Self::from(status.code()) {
            Self::Other(code, _) => Self::Other(code, status.reason().to_owned()),
            named => named,
        }
    }
}

impl TryFrom<&Message> for rsip::SipMessage {
    type Error = InteropError;

    fn try_from(message: &Message) -> Result<Self, InteropError> {
        let bytes = message.to_bytes();
        if std::str::from_utf8(&bytes).is_err() {
            return Err(InteropError::Lossy("it holds bytes that are not UTF-8"));
        }
        let other = rsip::SipMessage::try_from(bytes.as_ref())
            .map_err(|_| InteropError::NotInRsip("message"))?;
        let written = other.to_string();
        match parse_datagram(written.into_bytes()) {
            Ok(again) if same_content(&again, message) => Ok(other),
            _ => Err(InteropError::Lossy("it comes back different")),
        }
    }
}

impl TryFrom<&rsip::SipMessage> for Message {
    type Error = InteropError;

    fn try_from(message: &rsip::SipMessage) -> Result<Self, InteropError> {
        if std::str::from_utf8(message.body()).is_err() {
            return Err(InteropError::Lossy("rsip writes bodies that are not UTF-8 changed"));
        }
        Ok(parse_datagram(message.to_string().into_bytes())?)
    }
}

/// Equal but for the reason phrase, which rsip replaces by the name of its enum variant.
fn same_content(a: &Message, b: &Message) -> bool {
    match (a, b) {
        (Message::Request(a), Message::Request(b)) => a == b,
        (Message::Response(a), Message::Response(b)) => {
            let mut a = a.clone();
            a.reason = b.reason.clone();
            a == *b
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: every method of rsip has its counterpart here and comes back the same.
    #[test]
    fn methods_map_both_ways() {
        for method in rsip::Method::all() {
            let ours = Method::from(method);
            assert_eq!(ours.to_string(), method.to_string());
            assert_eq!(rsip::Method::try_from(&ours).unwrap(), method);
        }
        let missing = Method::KNOWN.iter().filter(|m| rsip::Method::try_from(*m).is_err()).count();
        assert_eq!(missing, 0, "we know no method that rsip lacks");
    }

    // Goal: every code from 100 to 699 maps both ways, and none outside.
    #[test]
    fn status_codes_map_both_ways() {
        for code in 0..=999_u16 {
            let theirs = rsip::StatusCode::from(code);
            match StatusCode::new(code) {
                Some(ours) => {
                    assert_eq!(StatusCode::try_from(theirs).unwrap(), ours);
                    assert_eq!(rsip::StatusCode::from(ours).code(), code);
                }
                None => assert!(StatusCode::try_from(theirs).is_err()),
            }
        }
    }

    // Goal: a plain message goes to rsip and back; what rsip would change is refused.
    #[test]
    fn messages() {
        let text = "INVITE sip:b@example.com SIP/2.0\r\nVia: SIP/2.0/UDP a.example;branch=z9hG4bK1\r\n\
                    From: <sip:a@example.com>;tag=1\r\nTo: <sip:b@example.com>\r\nCall-ID: c\r\n\
                    CSeq: 1 INVITE\r\nSubject: x\r\nContent-Length: 2\r\n\r\nhi";
        let ours = parse_datagram(text.as_bytes()).unwrap();
        let theirs = rsip::SipMessage::try_from(&ours).unwrap();
        assert_eq!(Message::try_from(&theirs).unwrap(), ours);

        let binary = text.replace("hi", "\u{1}").into_bytes();
        let mut binary = binary;
        binary.pop();
        binary.extend_from_slice(b"\xff\xfe");
        let ours = parse_datagram(binary).unwrap();
        assert!(matches!(rsip::SipMessage::try_from(&ours), Err(InteropError::Lossy(_))));

        let odd = text.replace("INVITE", "FROB");
        let ours = parse_datagram(odd.into_bytes()).unwrap();
        assert!(matches!(rsip::SipMessage::try_from(&ours), Err(InteropError::NotInRsip(_))));
    }
}
