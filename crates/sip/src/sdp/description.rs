//! [`RemoteDescription`]: bytes of a peer to its streams.
//!
//! What `sdp-types` 0.3.1 refuses as a whole although only a line that we never read is odd, is taken
//! out before: every line but `v=`, `c=`, `m=` and `a=`, and attributes that are not UTF-8. Runs of
//! blanks in `m=` lines become one. Line breaks may be CRLF or LF (RFC 8866 section 5 asks readers to
//! accept both).

use super::audio::AudioMedia;
use crate::limits::{SDP_BYTES_MAX, SDP_LINES_MAX, SDP_MEDIA_MAX};
use crate::meter::tick;
use sdp_types::Session;

/// Why a body is no session description for us. Answered with 400 when the grammar is broken, 488 when
/// there is nothing that we can take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Over [`SDP_BYTES_MAX`].
    #[error("the session description is {len} bytes long, more than {max}: answer 413")]
    TooLong {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// Over a limit of lines or streams.
    #[error("the session description has more than {max} {what}: answer 413")]
    TooMany {
        /// What.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// A line that is not `x=…`.
    #[error("line {line} of the session description is not of the form x=value: answer 400")]
    BadLine {
        /// Number of the line, from 1.
        line: usize,
    },
    /// A line that breaks its own grammar.
    #[error("the session description cannot be read ({0}): answer 400")]
    Grammar(String),
    /// No `m=` line.
    #[error("the session description has no stream: answer 488")]
    NoStream,
}

/// One `m=` line, as much of it as an answer repeats when it refuses the stream (RFC 3264 section 6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamLine {
    /// `audio`, `video`, …
    pub media: String,
    /// Port; 0 for a stream that is refused or switched off.
    pub port: u16,
    /// Transport: `RTP/AVP`, …
    pub proto: String,
    /// Formats.
    pub formats: String,
}

/// A peer's session description, offer or answer. May hold keys: `Debug` shows its streams only.
#[derive(Clone)]
pub struct RemoteDescription {
    session: Session,
    origin_line: Option<Vec<u8>>,
}

impl RemoteDescription {
    /// Reads a body of type `application/sdp`.
    ///
    /// # Errors
    /// [`SdpError`].
    pub fn parse(body: &[u8]) -> Result<Self, SdpError> {
        if body.len() > SDP_BYTES_MAX {
            return Err(SdpError::TooLong { len: body.len(), max: SDP_BYTES_MAX });
        }
        let Filtered { text, origin_line } = filter(body)?;
        // The library reads each line once.
        tick(text.len());
        let session =
            Session::parse(&text).map_err(|fault| SdpError::Grammar(fault.to_string()))?;
        if session.medias.is_empty() {
            return Err(SdpError::NoStream);
        }
        Ok(Self { session, origin_line })
    }

    /// The value of the `o=` line as it came: unchanged, it says that nothing changed (RFC 3264 section
    /// 8).
    pub fn origin_line(&self) -> Option<&[u8]> {
        self.origin_line.as_deref()
    }

    /// All streams in order.
    pub fn streams(&self) -> Vec<StreamLine> {
        let line = |media: &sdp_types::Media| StreamLine {
            media: media.media.clone(),
            port: media.port,
            proto: media.proto.clone(),
            formats: media.fmt.clone(),
        };
        self.session.medias.iter().map(line).collect()
    }

    /// The audio view of a stream; `None` when it is not audio, has port 0, no readable address, or no
    /// usable format.
    pub fn audio(&self, index: usize) -> Option<AudioMedia> {
        AudioMedia::from_session(&self.session, index)
    }
}

impl std::fmt::Debug for RemoteDescription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteDescription")
            .field("streams", &self.streams())
            .finish_non_exhaustive()
    }
}

struct Filtered {
    text: Vec<u8>,
    origin_line: Option<Vec<u8>>,
}

fn filter(body: &[u8]) -> Result<Filtered, SdpError> {
    let mut filtered = Filtered { text: Vec::with_capacity(body.len()), origin_line: None };
    let (mut lines, mut streams) = (0, 0);
    for (index, line) in body.split(|b| *b == b'\n').enumerate() {
        tick(line.len() + 1);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        lines += 1;
        if lines > SDP_LINES_MAX {
            return Err(SdpError::TooMany { what: "lines", max: SDP_LINES_MAX });
        }
        let [key, b'=', value @ ..] = line else {
            return Err(SdpError::BadLine { line: index + 1 });
        };
        match key {
            b'v' | b'c' => push_line(&mut filtered.text, line),
            b'm' => {
                streams += 1;
                if streams > SDP_MEDIA_MAX {
                    return Err(SdpError::TooMany { what: "streams", max: SDP_MEDIA_MAX });
                }
                push_line(&mut filtered.text, &single_blanks(line));
            }
            b'a' if is_clean(value) => push_line(&mut filtered.text, line),
            b'o' => filtered.origin_line = filtered.origin_line.or(Some(value.to_vec())),
            _ => {}
        }
    }
    Ok(filtered)
}

fn push_line(text: &mut Vec<u8>, line: &[u8]) {
    text.extend_from_slice(line);
    text.extend_from_slice(b"\r\n");
}

/// Attributes that the library would refuse the whole description for.
fn is_clean(value: &[u8]) -> bool {
    std::str::from_utf8(value).is_ok() && !value.iter().any(|b| matches!(b, 0 | b'\r'))
}

fn single_blanks(line: &[u8]) -> Vec<u8> {
    let words: Vec<&[u8]> = line.split(|b| *b == b' ').filter(|word| !word.is_empty()).collect();
    words.join(&b' ')
}
