//! Session timers: RFC 4028. A session that nobody refreshes ends, so that a lost BYE leaves no call
//! open for ever.
//!
//! Negotiation as values: what came in and our wishes give the headers to send and the [`SessionTimer`]
//! that holds from then on. Roles are those of one request: who sends the next refresh is the UAC of it.

use crate::limits::SESSION_INTERVAL_S_MIN;
use crate::message::{
    HeaderError, HeaderName, Headers, Refresher, Request, Response, SessionExpires, StatusCode,
};
use crate::text::SipText;
use crate::transaction::later;
use std::time::{Duration, Instant};

/// Our wishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTimerPolicy {
    /// Interval that we ask for, in seconds.
    pub interval_s: u32,
    /// Smallest interval that we accept, in seconds; never below 90 (section 5).
    pub min_se_s: u32,
    /// Who should refresh when the other side leaves it to us.
    pub prefer: Side,
}

impl Default for SessionTimerPolicy {
    /// Half an hour (section 4 recommends it), refreshed by us: we know that we are alive.
    fn default() -> Self {
        Self { interval_s: 1_800, min_se_s: SESSION_INTERVAL_S_MIN, prefer: Side::Local }
    }
}

/// A side of the dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Side {
    /// We.
    Local,
    /// The peer.
    Remote,
}

/// A negotiated timer. Plain data: it is part of the replicated leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SessionTimer {
    /// Session interval in seconds, 90 or more.
    pub interval_s: u32,
    /// Who refreshes.
    pub refresher: Side,
}

impl SessionTimer {
    /// When to act, counted from the last 2xx to a refresh: the refresher sends its request at half of
    /// the interval (section 10), the other side ends the call shortly before the whole has passed.
    pub fn due(&self, refreshed: Instant) -> TimerDue {
        match self.refresher {
            Side::Local => {
                let half = Duration::from_secs(u64::from(self.interval_s) / 2);
                TimerDue::Refresh(later(refreshed, half))
            }
            Side::Remote => TimerDue::EndCall(self.ends(refreshed)),
        }
    }

    /// When the session counts as dead on this side whoever refreshes: 32 s or a third of the interval
    /// before it expires, whichever is less (section 10).
    pub fn ends(&self, refreshed: Instant) -> Instant {
        let margin_s = 32.min(self.interval_s / 3);
        later(refreshed, Duration::from_secs(u64::from(self.interval_s - margin_s)))
    }
}

/// What is to be done at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimerDue {
    /// Send a re-INVITE or UPDATE.
    Refresh(Instant),
    /// Send a BYE: the peer did not refresh.
    EndCall(Instant),
}

/// Adds what an INVITE or UPDATE of ours says about session timers (section 7.1). `current` is the timer
/// that holds in the dialog; its refresher is kept (section 7.4).
pub fn offer(headers: &mut Headers, policy: &SessionTimerPolicy, current: Option<&SessionTimer>) {
    let refresher = current.map(|timer| match timer.refresher {
        Side::Local => Refresher::Uac,
        Side::Remote => Refresher::Uas,
    });
    let interval_s = policy.interval_s.max(min_se(policy));
    if !headers.lists(&HeaderName::Supported, "timer") {
        headers.push(HeaderName::Supported, SipText::from_static("timer"));
    }
    headers.set(HeaderName::SessionExpires, SessionExpires { interval_s, refresher }.to_text());
    headers.set(HeaderName::MinSe, min_se(policy).into());
}

/// What a UAS answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UasVerdict {
    /// Accept; put these headers into the 2xx. `None`: no session timer.
    Accept(Option<SessionTimer>),
    /// Answer 422 with this Min-SE (section 9).
    TooSmall {
        /// Min-SE in seconds.
        min_se_s: u32,
    },
}

/// Judges a request with our wishes (section 9, table 2).
///
/// # Errors
/// [`HeaderError`] when Session-Expires or Min-SE cannot be read: 400.
pub fn judge_request(
    request: &Request,
    policy: &SessionTimerPolicy,
) -> Result<UasVerdict, HeaderError> {
    let headers = &request.headers;
    let peer_supports = headers.lists(&HeaderName::Supported, "timer");
    let peer_min_s = headers.min_se_s()?.unwrap_or(SESSION_INTERVAL_S_MIN);
    let verdict = match headers.session_expires()? {
        // A request without it may still get one; a peer without the extension does not refresh.
        None => SessionTimer {
            interval_s: policy.interval_s.max(min_se(policy)).max(peer_min_s),
            refresher: if peer_supports { policy.prefer } else { Side::Local },
        },
        // 422 only to peers that understand it.
        Some(asked) if asked.interval_s < min_se(policy) && peer_supports => {
            return Ok(UasVerdict::TooSmall { min_se_s: min_se(policy) });
        }
        // The interval may be lowered down to the peer's Min-SE, and is raised only to the smallest that
        // the RFC allows at all.
        Some(asked) => SessionTimer {
            interval_s: asked
                .interval_s
                .min(policy.interval_s.max(peer_min_s))
                .max(SESSION_INTERVAL_S_MIN),
            refresher: match asked.refresher {
                Some(Refresher::Uac) if peer_supports => Side::Remote,
                Some(Refresher::Uas) => Side::Local,
                _ if peer_supports => policy.prefer,
                _ => Side::Local,
            },
        },
    };
    Ok(UasVerdict::Accept(Some(verdict)))
}

/// Adds what a 2xx of ours says about the timer that [`judge_request`] gave (section 9).
pub fn accept(response: &mut Response, request: &Request, timer: &SessionTimer) {
    let refresher = Some(match timer.refresher {
        Side::Local => Refresher::Uas,
        Side::Remote => Refresher::Uac,
    });
    let value = SessionExpires { interval_s: timer.interval_s, refresher };
    response.headers.set(HeaderName::SessionExpires, value.to_text());
    if request.headers.lists(&HeaderName::Supported, "timer") {
        response.headers.push(HeaderName::Require, SipText::from_static("timer"));
    }
}

/// The 422 (section 6).
pub fn too_small_response(request: &Request, to_tag: &SipText, min_se_s: u32) -> Response {
    Response::to_request(request, StatusCode::SESSION_INTERVAL_TOO_SMALL, to_tag)
        .with_header(HeaderName::MinSe, min_se_s.into())
}

/// What a 2xx to our request means (section 7.2): `None` is a session without timer.
///
/// # Errors
/// [`HeaderError`] when Session-Expires cannot be read; the call goes on without timer.
pub fn judge_response(response: &Response) -> Result<Option<SessionTimer>, HeaderError> {
    let Some(answer) = response.headers.session_expires()? else { return Ok(None) };
    Ok(Some(SessionTimer {
        interval_s: answer.interval_s.max(SESSION_INTERVAL_S_MIN),
        // A response must name the refresher; when it does not, refreshing ourselves is harmless.
        refresher: match answer.refresher {
            Some(Refresher::Uas) => Side::Remote,
            Some(Refresher::Uac) | None => Side::Local,
        },
    }))
}

/// The policy with which to try again after a 422 (section 7.3); `None` when its Min-SE asks for nothing
/// that we did not offer already.
pub fn after_too_small(
    response: &Response,
    policy: &SessionTimerPolicy,
) -> Option<SessionTimerPolicy> {
    let min_se_s = response.headers.min_se_s().ok().flatten()?;
    let interval_s = policy.interval_s.max(min_se_s);
    (min_se_s > min_se(policy)).then_some(SessionTimerPolicy { interval_s, min_se_s, ..*policy })
}

fn min_se(policy: &SessionTimerPolicy) -> u32 {
    policy.min_se_s.max(SESSION_INTERVAL_S_MIN)
}
