//! The small typed values: Call-ID, CSeq, media types, Reason, Retry-After, RAck, Replaces,
//! Session-Expires.

use super::{Method, Params, SyntaxError};
use crate::limits::{CSEQ_MAX, KEY_BYTES_MAX, METHOD_BYTES_MAX};
use crate::scan::{Scanner, is_token_byte, is_word_byte, quote};
use crate::text::SipText;

/// A Call-ID (RFC 3261 section 20.8): compares byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(SipText);

impl CallId {
    /// Reads `word [ "@" word ]`.
    ///
    /// # Errors
    /// [`SyntaxError`].
    pub fn parse(value: &SipText) -> Result<Self, SyntaxError> {
        if value.is_empty() {
            return Err(SyntaxError::Empty);
        }
        if value.len() > KEY_BYTES_MAX {
            return Err(SyntaxError::TooMany { what: "bytes in a Call-ID", max: KEY_BYTES_MAX });
        }
        crate::meter::tick(value.len());
        match value.as_bytes().iter().position(|b| !is_word_byte(*b) && *b != b'@') {
            Some(at) => Err(SyntaxError::TrailingData { at }),
            None => Ok(Self(value.clone())),
        }
    }

    /// A new one of ours, hard to guess.
    pub fn random(prng: &mut crate::prng::Prng) -> Self {
        Self(prng.token())
    }

    /// The text.
    pub fn text(&self) -> &SipText {
        &self.0
    }

    /// A copy with a buffer of its own, see [`SipText::detached`].
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(self.0.detached())
    }
}

/// A CSeq value (RFC 3261 section 20.16).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CSeq {
    /// Number, below 2^31.
    pub number: u32,
    /// Method.
    pub method: Method,
}

impl CSeq {
    /// Reads `1*DIGIT LWS Method`.
    ///
    /// # Errors
    /// [`SyntaxError`], also [`SyntaxError::NumberTooLarge`] from 2^31 up.
    pub fn parse(value: &SipText) -> Result<Self, SyntaxError> {
        let mut scan = Scanner::new(value);
        let number = scan.number(u64::from(CSEQ_MAX))?;
        let at = scan.at();
        scan.skip_blanks();
        if scan.at() == at {
            return Err(SyntaxError::TokenExpected { at });
        }
        let method = scan_method(&mut scan)?;
        scan.expect_end()?;
        let number =
            u32::try_from(number).map_err(|_| SyntaxError::NumberTooLarge { at: 0, max: 0 })?;
        Ok(Self { number, method })
    }

    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.number.to_string().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.method.as_bytes());
    }
}

/// A method token within its limit.
pub(crate) fn scan_method(scan: &mut Scanner<'_>) -> Result<Method, SyntaxError> {
    let name = scan.token()?;
    if name.len() > METHOD_BYTES_MAX {
        return Err(SyntaxError::TooMany { what: "bytes in a method", max: METHOD_BYTES_MAX });
    }
    Ok(Method::recognise(name))
}

/// A media type with its parameters: `application/sdp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaType {
    /// `application`, `multipart`, …
    pub kind: SipText,
    /// `sdp`, `mixed`, …
    pub subtype: SipText,
    /// Parameters such as `boundary`.
    pub params: Params,
}

impl MediaType {
    pub(crate) fn parse(value: &SipText) -> Result<Self, SyntaxError> {
        let mut scan = Scanner::new(value);
        let kind = scan.token()?;
        if !scan.eat_separator(b'/') {
            return Err(SyntaxError::BadValue);
        }
        let subtype = scan.token()?;
        let params = Params::scan_header(&mut scan)?;
        scan.expect_end()?;
        Ok(Self { kind, subtype, params })
    }

    /// Whether it is this type, without case and parameters.
    pub fn is(&self, kind: &str, subtype: &str) -> bool {
        self.kind.eq_ignore_case(kind) && self.subtype.eq_ignore_case(subtype)
    }

    /// Whether it is `application/sdp`.
    pub fn is_sdp(&self) -> bool {
        self.is("application", "sdp")
    }
}

/// One Reason value (RFC 3326 section 2): why a request was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// `SIP`, `Q.850`, `Preemption`, …
    pub protocol: SipText,
    /// Cause in the protocol's own numbers.
    pub cause: Option<u32>,
    /// Text for people, without quotes.
    pub text: Option<Vec<u8>>,
}

impl Reason {
    /// `SIP;cause=<status>;text="…"`, for instance 200 "Call completed elsewhere" in a CANCEL.
    pub fn sip(status: super::StatusCode, text: &str) -> Self {
        Self {
            protocol: SipText::from_static("SIP"),
            cause: Some(u32::from(status.code())),
            text: Some(text.as_bytes().to_vec()),
        }
    }

    /// `Q.850;cause=<cause>`, the cause value of ISUP, 1 to 127.
    pub fn q850(cause: u8) -> Self {
        Self { protocol: SipText::from_static("Q.850"), cause: Some(u32::from(cause)), text: None }
    }

    pub(crate) fn parse(value: &SipText) -> Result<Self, SyntaxError> {
        let mut scan = Scanner::new(value);
        let protocol = scan.token()?;
        let params = Params::scan_header(&mut scan)?;
        scan.expect_end()?;
        let cause = match params.get("cause") {
            None => None,
            Some(value) => {
                let digits = value.ok_or(SyntaxError::BadValue)?;
                let cause = crate::scan::decimal(digits.as_bytes());
                Some(cause.and_then(|c| u32::try_from(c).ok()).ok_or(SyntaxError::BadValue)?)
            }
        };
        Ok(Self { protocol, cause, text: params.unquoted("text") })
    }

    /// The value as a header text.
    pub fn to_text(&self) -> SipText {
        let mut out = self.protocol.as_bytes().to_vec();
        if let Some(cause) = self.cause {
            out.extend_from_slice(format!(";cause={cause}").as_bytes());
        }
        if let Some(text) = &self.text {
            out.extend_from_slice(b";text=");
            out.extend_from_slice(&quote(text));
        }
        SipText::trusted(out.into())
    }
}

/// Who refreshes a session (RFC 4028 section 4): the side that sent the request or the other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresher {
    /// The sender of the request.
    Uac,
    /// Its receiver.
    Uas,
}

/// A Session-Expires value (RFC 4028 section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionExpires {
    /// Session interval in seconds.
    pub interval_s: u32,
    /// Who refreshes, when said.
    pub refresher: Option<Refresher>,
}

impl SessionExpires {
    pub(crate) fn parse(value: &SipText) -> Result<Self, SyntaxError> {
        let mut scan = Scanner::new(value);
        let interval_s = scan_delta_seconds(&mut scan)?;
        let params = Params::scan_header(&mut scan)?;
        scan.expect_end()?;
        let refresher = match params.value("refresher") {
            None => None,
            Some(who) if who.eq_ignore_case("uac") => Some(Refresher::Uac),
            Some(who) if who.eq_ignore_case("uas") => Some(Refresher::Uas),
            Some(_) => return Err(SyntaxError::BadValue),
        };
        Ok(Self { interval_s, refresher })
    }

    /// The value as a header text.
    pub fn to_text(self) -> SipText {
        let refresher = match self.refresher {
            None => "",
            Some(Refresher::Uac) => ";refresher=uac",
            Some(Refresher::Uas) => ";refresher=uas",
        };
        SipText::composed(format!("{}{refresher}", self.interval_s))
    }
}

/// `delta-seconds`: a number that is cut to 32 bits when it is larger (RFC 3261 section 20.19 allows
/// up to 2^32-1; what a registrar grants is far below).
pub(crate) fn scan_delta_seconds(scan: &mut Scanner<'_>) -> Result<u32, SyntaxError> {
    let at = scan.at();
    let digits = scan.take_while(|b| b.is_ascii_digit());
    if digits.is_empty() {
        return Err(SyntaxError::NumberExpected { at });
    }
    let number = crate::scan::decimal(digits.as_bytes()).unwrap_or(u64::MAX);
    Ok(u32::try_from(number).unwrap_or(u32::MAX))
}

/// A Replaces, Join or Target-Dialog value: names a dialog (RFC 3891 section 6.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaces {
    /// Call-ID of the dialog.
    pub call_id: CallId,
    /// The receiver's own tag.
    pub to_tag: SipText,
    /// The other side's tag.
    pub from_tag: SipText,
    /// Only if the dialog is still early.
    pub early_only: bool,
}

impl Replaces {
    pub(crate) fn parse(value: &SipText) -> Result<Self, SyntaxError> {
        let mut scan = Scanner::new(value);
        let call_id = scan.take_while(|b| is_word_byte(b) || b == b'@');
        let params = Params::scan_header(&mut scan)?;
        scan.expect_end()?;
        let tag = |name: &str| {
            let tag = params.value(name).filter(|t| t.len() <= KEY_BYTES_MAX);
            tag.filter(|t| t.as_bytes().iter().all(|b| is_token_byte(*b)))
                .cloned()
                .ok_or(SyntaxError::BadValue)
        };
        Ok(Self {
            call_id: CallId::parse(&call_id)?,
            to_tag: tag("to-tag")?,
            from_tag: tag("from-tag")?,
            early_only: params.has("early-only"),
        })
    }

    /// The value as a header text.
    pub fn to_text(&self) -> SipText {
        let mut out = self.call_id.text().as_bytes().to_vec();
        for (name, tag) in [(";to-tag=", &self.to_tag), (";from-tag=", &self.from_tag)] {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(tag.as_bytes());
        }
        if self.early_only {
            out.extend_from_slice(b";early-only");
        }
        SipText::trusted(out.into())
    }
}

/// A RAck value (RFC 3262 section 7.2): which reliable provisional response a PRACK acknowledges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RAck {
    /// RSeq of the response.
    pub response_number: u32,
    /// CSeq of the response.
    pub cseq: CSeq,
}

impl RAck {
    pub(crate) fn parse(value: &SipText) -> Result<Self, SyntaxError> {
        let mut scan = Scanner::new(value);
        let number = scan.number(u64::from(u32::MAX))?;
        let at = scan.at();
        scan.skip_blanks();
        if scan.at() == at {
            return Err(SyntaxError::NumberExpected { at });
        }
        let response_number =
            u32::try_from(number).map_err(|_| SyntaxError::NumberTooLarge { at: 0, max: 0 })?;
        let cseq = CSeq::parse(&value.slice(scan.at(), value.len()))?;
        Ok(Self { response_number, cseq })
    }
}

/// A Retry-After value (RFC 3261 section 20.33).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryAfter {
    /// Seconds to wait.
    pub delay_s: u32,
    /// For how long the callee will then be reachable.
    pub duration_s: Option<u32>,
}

impl RetryAfter {
    pub(crate) fn parse(value: &SipText) -> Result<Self, SyntaxError> {
        let mut scan = Scanner::new(value);
        let delay_s = scan_delta_seconds(&mut scan)?;
        scan.skip_blanks();
        skip_comment(&mut scan)?;
        let params = Params::scan_header(&mut scan)?;
        scan.expect_end()?;
        let duration_s = params
            .value("duration")
            .and_then(|v| crate::scan::decimal(v.as_bytes()))
            .and_then(|v| u32::try_from(v).ok());
        Ok(Self { delay_s, duration_s })
    }
}

/// Passes over `( … )` with nested parentheses and escapes.
fn skip_comment(scan: &mut Scanner<'_>) -> Result<(), SyntaxError> {
    if scan.peek() != Some(b'(') {
        return Ok(());
    }
    let (mut depth, mut escaped) = (0_usize, false);
    let end = scan.rest().iter().position(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    let len = end.ok_or(SyntaxError::TrailingData { at: scan.at() })? + 1;
    crate::meter::tick(len);
    scan.take(len);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(s: &str) -> SipText {
        SipText::copy_of(s).unwrap()
    }

    // Goal: the largest CSeq number is read, the next refused; blanks are needed (pairs at the edge).
    #[test]
    fn cseq() {
        let max = CSeq::parse(&text("2147483647  INVITE")).unwrap();
        assert_eq!((max.number, max.method), (CSEQ_MAX, Method::Invite));
        assert_eq!(CSeq::parse(&text("0009\tFROB")).unwrap().number, 9);
        for bad in ["2147483648 INVITE", "1INVITE", "INVITE", "1", "-1 BYE", "1 BYE x", ""] {
            assert!(CSeq::parse(&text(bad)).is_err(), "{bad}");
        }
    }

    // Goal: Call-IDs with the odd bytes of `word` pass, blanks and long ones do not.
    #[test]
    fn call_ids() {
        for good in [
            "a",
            "f81d4fae@192.0.2.1",
            "x@[2001:db8::1]",
            "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{",
        ] {
            assert!(CallId::parse(&text(good)).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a,b", "a;b"] {
            assert!(CallId::parse(&text(bad)).is_err(), "{bad}");
        }
        assert!(CallId::parse(&text(&"x".repeat(KEY_BYTES_MAX))).is_ok());
        assert!(CallId::parse(&text(&"x".repeat(KEY_BYTES_MAX + 1))).is_err());
    }

    // Goal: Reason goes there and back, quotes included.
    #[test]
    fn reasons() {
        let reason =
            Reason::parse(&text("SIP ;cause=200 ;text=\"Call \\\"done\\\" elsewhere\"")).unwrap();
        assert_eq!(reason.cause, Some(200));
        assert_eq!(reason.text.as_deref(), Some(&b"Call \"done\" elsewhere"[..]));
        assert_eq!(Reason::parse(&reason.to_text()).unwrap(), reason);
        assert_eq!(Reason::q850(16).to_text(), "Q.850;cause=16");
        assert!(Reason::parse(&text("SIP;cause=x")).is_err());
    }

    // Goal: session intervals, refreshers, and what is neither.
    #[test]
    fn session_expires() {
        let got = SessionExpires::parse(&text("1800;refresher=UAS")).unwrap();
        assert_eq!(got, SessionExpires { interval_s: 1800, refresher: Some(Refresher::Uas) });
        assert_eq!(got.to_text(), "1800;refresher=uas");
        assert!(SessionExpires::parse(&text("1800;refresher=me")).is_err());
        assert_eq!(SessionExpires::parse(&text("99999999999")).unwrap().interval_s, u32::MAX);
    }

    // Goal: Replaces needs both tags; RAck its three parts; Retry-After may carry a comment.
    #[test]
    fn small_values() {
        let replaces = Replaces::parse(&text("a@b;from-tag=f;to-tag=t;early-only")).unwrap();
        assert_eq!(replaces.to_text(), "a@b;to-tag=t;from-tag=f;early-only");
        assert!(Replaces::parse(&text("a@b;from-tag=f")).is_err());
        assert_eq!(RAck::parse(&text("776656 1 INVITE")).unwrap().cseq.number, 1);
        assert!(RAck::parse(&text("776656 INVITE")).is_err());
        let retry = RetryAfter::parse(&text("18000 (back (at) 5\\)) ;duration=3600")).unwrap();
        assert_eq!(retry, RetryAfter { delay_s: 18_000, duration_s: Some(3_600) });
        assert!(RetryAfter::parse(&text("5 (open")).is_err());
        assert!(RetryAfter::parse(&text("soon")).is_err());
        assert!(MediaType::parse(&text("Application/SDP;charset=utf-8")).unwrap().is_sdp());
        assert!(MediaType::parse(&text("sdp")).is_err());
    }
}
