//! Why bytes are not a SIP message, and what can still be answered.

use super::{HeaderName, Method, StatusCode, Via};
use crate::text::SipText;

/// Why one element (a URI, a header value) does not fit its grammar. Offsets count bytes from the
/// start of the element.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// A token should stand here.
    #[error("a token is expected at byte {at}")]
    TokenExpected {
        /// Offset.
        at: usize,
    },
    /// A number should stand here.
    #[error("a number is expected at byte {at}")]
    NumberExpected {
        /// Offset.
        at: usize,
    },
    /// A number is over its bound.
    #[error("the number at byte {at} is larger than {max}")]
    NumberTooLarge {
        /// Offset.
        at: usize,
        /// Largest value allowed.
        max: u64,
    },
    /// A quoted string should start here.
    #[error("a quoted string is expected at byte {at}")]
    QuoteExpected {
        /// Offset.
        at: usize,
    },
    /// A quoted string has no end.
    #[error("the quoted string that starts at byte {at} is not closed")]
    QuoteNotClosed {
        /// Offset.
        at: usize,
    },
    /// A control byte stands where text should.
    #[error("control byte at byte {at}")]
    ControlByte {
        /// Offset.
        at: usize,
    },
    /// An angle bracket has no partner.
    #[error("an angle bracket is not closed or not opened")]
    AngleNotClosed,
    /// Something follows a complete element.
    #[error("unexpected data at byte {at} after a complete value")]
    TrailingData {
        /// Offset.
        at: usize,
    },
    /// The value is empty.
    #[error("the value is empty")]
    Empty,
    /// A parameter has no value after its `=` or an unreadable one.
    #[error("the parameter at byte {at} has no readable value")]
    BadParameter {
        /// Offset.
        at: usize,
    },
    /// A parameter stands twice (RFC 3261 section 7.3.1).
    #[error("a parameter appears more than once")]
    RepeatedParameter,
    /// Over a limit of [`crate::limits`].
    #[error("more than {max} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// A URI without a scheme.
    #[error("the URI has no scheme")]
    NoScheme,
    /// A byte that a URI cannot hold.
    #[error("byte {at} cannot stand in a URI")]
    BadUriByte {
        /// Offset.
        at: usize,
    },
    /// `%` without two hexadecimal digits.
    #[error("the escape at byte {at} lacks its two hexadecimal digits")]
    BadEscape {
        /// Offset.
        at: usize,
    },
    /// Not a host name or address.
    #[error("the host is neither a name nor an IPv4 address nor an IPv6 address in brackets")]
    BadHost,
    /// Not a port.
    #[error("the port is not a number from 1 to 65535")]
    BadPort,
    /// A URI with `?`, `,` or `;` outside of angle brackets (RFC 3261 section 20.10).
    #[error("a URI with headers must stand in angle brackets")]
    UriNeedsAngles,
    /// A display name with a byte that needs quotes.
    #[error("the display name holds a byte that needs quotes at byte {at}")]
    BadDisplayName {
        /// Offset.
        at: usize,
    },
    /// Via with a protocol version other than 2.0.
    #[error("the Via is not SIP/2.0")]
    BadVia,
    /// A value that its header does not define.
    #[error("the value is not one that this header defines")]
    BadValue,
}

/// Why a header could not be read: which, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A value does not fit the header's grammar.
    #[error("header {name} cannot be read: {fault}; the request is answered with 400")]
    Syntax {
        /// The header.
        name: HeaderName,
        /// What is wrong with it.
        fault: SyntaxError,
    },
    /// A header that allows one value has more (RFC 4475 section 3.3.8).
    #[error("header {name} appears more than once; the request is answered with 400")]
    Repeated {
        /// The header.
        name: HeaderName,
    },
    /// A header that this use needs is not there.
    #[error("header {name} is missing; the request is answered with 400")]
    Missing {
        /// The header.
        name: HeaderName,
    },
}

/// Why bytes were refused as a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Nothing but line breaks: a keep-alive, not an error of the peer. Drop it.
    #[error("nothing but line breaks: a keep-alive, drop it")]
    KeepAlive,
    /// Over [`crate::limits::MESSAGE_BYTES_MAX`] or [`crate::limits::HEAD_BYTES_MAX`].
    #[error("the message or its head is {len} bytes long, more than {max}")]
    TooLarge {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A CR without LF or a LF without CR in the head.
    #[error("a line of the head ends with CR or LF alone at byte {at}; SIP needs CRLF")]
    BareLineBreak {
        /// Offset in the message.
        at: usize,
    },
    /// The head has no empty line at its end.
    #[error("the head does not end with an empty line: the message is cut off")]
    HeadNotEnded,
    /// Neither a request line nor a status line.
    #[error("the first line is neither a request line nor a status line")]
    BadStartLine,
    /// A request line whose URI cannot be read.
    #[error("the Request-URI cannot be read: {0}")]
    BadRequestUri(SyntaxError),
    /// A request line with a URI over [`crate::limits::URI_BYTES_MAX`] (414).
    #[error("the Request-URI is too long")]
    RequestUriTooLong,
    /// A protocol version other than 2.0 (505).
    #[error("the protocol version is not SIP/2.0")]
    UnsupportedVersion,
    /// A status code outside of 100 to 699.
    #[error("the status code is not within 100 and 699")]
    BadStatusCode,
    /// A header line without a colon or with an unreadable name.
    #[error("header line {line} has no readable name before a colon")]
    BadHeaderLine {
        /// Number of the line, the start line being 1.
        line: usize,
    },
    /// A header line over [`crate::limits::HEADER_LINE_BYTES_MAX`].
    #[error("header line {line} is longer than {max} bytes")]
    HeaderLineTooLong {
        /// Number of the line.
        line: usize,
        /// The limit.
        max: usize,
    },
    /// Over [`crate::limits::HEADERS_MAX`].
    #[error("more than {max} header lines")]
    TooManyHeaders {
        /// The limit.
        max: usize,
    },
    /// A mandatory header is missing, repeated or unreadable.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The method in CSeq is not the method of the request line (RFC 3261 section 8.1.1.5).
    #[error("the method in CSeq differs from the method of the request line")]
    CseqMethodMismatch,
    /// Content-Length says more than the datagram holds (RFC 3261 section 18.3).
    #[error("Content-Length is {declared} but {present} bytes of body are there")]
    BodyTruncated {
        /// What the header says.
        declared: u64,
        /// What came.
        present: usize,
    },
    /// A message on a stream without Content-Length (RFC 3261 section 18.3): the next message cannot
    /// be found, the connection must be closed.
    #[error("a message on a stream has no Content-Length; close the connection")]
    ContentLengthMissing,
}

impl ParseError {
    /// The status that answers a request with this fault (RFC 3261 sections 18.3, 21.4.1, 21.4.11,
    /// 21.5.6, 21.5.7).
    pub fn status(&self) -> StatusCode {
        match self {
            Self::UnsupportedVersion => StatusCode::VERSION_NOT_SUPPORTED,
            Self::RequestUriTooLong => StatusCode::REQUEST_URI_TOO_LONG,
            Self::TooLarge { .. } => StatusCode::MESSAGE_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// A refused message, with what is needed to answer it, if that much could be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct ParseFailure {
    /// What is wrong.
    pub error: ParseError,
    /// What can be echoed in an answer; `None` when the bytes are a response, an ACK, or too broken:
    /// then the message is dropped.
    pub salvage: Option<Box<Salvage>>,
}

impl ParseFailure {
    /// A failure that cannot be answered.
    pub(crate) fn silent(error: ParseError) -> Self {
        Self { error, salvage: None }
    }
}

/// The headers that a response to a broken request echoes (RFC 3261 section 8.2.6.2), as raw values.
#[derive(Clone, PartialEq, Eq)]
pub struct Salvage {
    /// The request's method, when its token could be read.
    pub method: Option<Method>,
    /// The Via that the response follows.
    pub top_via: Via,
    /// All Via lines in order, raw.
    pub vias: Vec<SipText>,
    /// From, raw.
    pub from: SipText,
    /// To, raw.
    pub to: SipText,
    /// Call-ID, raw.
    pub call_id: SipText,
    /// CSeq, raw.
    pub cseq: SipText,
}

impl std::fmt::Debug for Salvage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Salvage")
            .field("method", &self.method)
            .field("top_via", &self.top_via)
            .field("vias", &self.vias.len())
            .field("call_id", &self.call_id)
            .finish_non_exhaustive()
    }
}
