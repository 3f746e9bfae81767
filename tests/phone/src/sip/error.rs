//! Why bytes are refused as SIP.

/// Why bytes are not a SIP message, or a header not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Larger than the phone reads.
    #[error("the message or its head is larger than the limit; look for a runaway header or body")]
    TooLarge,
    /// No empty line after the headers.
    #[error("no empty line ends the headers: the message is cut, or its lines do not end in CRLF")]
    HeadNotEnded,
    /// The head is not UTF-8.
    #[error("the header section is not UTF-8 (RFC 3261 7); the sender must encode it so")]
    NotUtf8,
    /// The first line is neither a request line nor a status line.
    #[error("the first line is neither a request line nor a status line of SIP/2.0")]
    StartLine,
    /// Another version than SIP/2.0.
    #[error("the version is not SIP/2.0; answer 505")]
    Version,
    /// A header line is malformed or there are too many.
    #[error("a header line has no name or no colon, or there are more lines than the limit")]
    HeaderLine,
    /// A header that every message needs is missing.
    #[error("Via, From, To, Call-ID or CSeq is missing")]
    Missing,
    /// A header that may stand once stands twice.
    #[error("From, To, Call-ID or CSeq stands more than once")]
    Repeated,
    /// Content-Length is not a number or larger than what came.
    #[error("Content-Length is malformed, or larger than the bytes that came")]
    ContentLength,
    /// CSeq is malformed, too large, or its method is another than the request's.
    #[error("CSeq is malformed, 2^31 or more, or names another method than the request line")]
    CSeq,
    /// A Via is malformed.
    #[error("a Via is not SIP/2.0/<transport> host[:port][;params]")]
    Via,
    /// A URI is malformed.
    #[error("a URI is malformed")]
    Uri,
    /// A host is malformed.
    #[error("a host is neither an address nor a name")]
    Host,
    /// A port is malformed.
    #[error("a port is not a number up to 65535")]
    Port,
    /// A name-addr is malformed.
    #[error("an address header is neither <uri>;params nor uri;params")]
    NameAddr,
    /// A parameter is malformed.
    #[error("a parameter has no name, or an equals sign without a value")]
    Parameter,
    /// A quote or bracket stays open.
    #[error("a quote or an angle bracket is not closed")]
    Quote,
}
