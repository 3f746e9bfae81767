//! The 2xx of an INVITE and its ACK, which RFC 3261 leaves to the core: sending the 2xx again until it is
//! acknowledged (section 13.3.1.4), and acknowledging each copy (section 13.2.2.4).

use crate::limits::LIST_VALUES_MAX;
use crate::message::{Request, Response};
use crate::text::SipText;
use crate::transaction::{TimerConfig, later};
use std::time::{Duration, Instant};

/// Decides when a 2xx to an INVITE is sent again: after T1, then doubling up to T2, for 64*T1, on every
/// transport. Drop it when the ACK comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OkRetransmission {
    next: Instant,
    wait: Duration,
    wait_max: Duration,
    give_up: Instant,
}

/// What to do about an unacknowledged 2xx.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OkStep {
    /// Nothing yet.
    Wait,
    /// Send the 2xx again.
    SendAgain,
    /// No ACK came in 64*T1: end the dialog with a BYE (section 13.3.1.4).
    GiveUp,
}

impl OkRetransmission {
    /// The 2xx was just sent.
    pub fn new(now: Instant, config: &TimerConfig) -> Self {
        Self {
            next: later(now, config.t1),
            wait: config.t1,
            wait_max: config.t2,
            give_up: later(now, config.t1x64()),
        }
    }

    /// When to ask again.
    pub fn poll_timeout(&self) -> Instant {
        self.next.min(self.give_up)
    }

    /// Time has come.
    pub fn handle_timeout(&mut self, now: Instant) -> OkStep {
        if now >= self.give_up {
            return OkStep::GiveUp;
        }
        if now < self.next {
            return OkStep::Wait;
        }
        self.wait = (self.wait * 2).min(self.wait_max);
        self.next = later(now, self.wait);
        OkStep::SendAgain
    }
}

/// The ACKs to the 2xx of one INVITE of ours, one per dialog that it made. Lives as long as the INVITE's
/// transaction (RFC 6026: 64*T1 after the first 2xx).
#[derive(Debug, Default)]
pub struct AckKeeper {
    acks: Vec<(SipText, Request)>,
}

/// What a 2xx is.
#[derive(Debug)]
pub enum TwoXx<'a> {
    /// The first of its dialog: make an ACK and keep it with [`AckKeeper::keep`].
    New,
    /// A copy: send this ACK again.
    Repeated(&'a mut Request),
    /// More dialogs than any fork can make: ignore it.
    Ignored,
}

impl AckKeeper {
    /// Nothing acknowledged yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks a 2xx up by its To tag.
    pub fn on_2xx(&mut self, response: &Response) -> TwoXx<'_> {
        let tag = response.to_tag().cloned().unwrap_or_default();
        let full = self.is_full();
        match self.acks.iter_mut().find(|(known, _)| *known == tag) {
            Some((_, ack)) => TwoXx::Repeated(ack),
            None if full => TwoXx::Ignored,
            None => TwoXx::New,
        }
    }

    /// Keeps the ACK that was sent (with its Via, so that copies are equal).
    pub fn keep(&mut self, response: &Response, ack: Request) {
        if !self.is_full() {
            self.acks.push((response.to_tag().cloned().unwrap_or_default(), ack));
        }
    }

    fn is_full(&self) -> bool {
        self.acks.len() >= LIST_VALUES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: copies after 0.5, 1, 2, 4, 4, … s and the end after exactly 32 s (section 13.3.1.4).
    #[test]
    fn intervals() {
        let start = crate::test_clock::start();
        let mut ok = OkRetransmission::new(start, &TimerConfig::default());
        let mut at_ms = Vec::new();
        loop {
            let now = ok.poll_timeout();
            assert_eq!(ok.clone().handle_timeout(now - Duration::from_millis(1)), OkStep::Wait);
            match ok.handle_timeout(now) {
                OkStep::SendAgain => at_ms.push((now - start).as_millis()),
                OkStep::GiveUp => {
                    assert_eq!(now - start, Duration::from_secs(32));
                    break;
                }
                OkStep::Wait => unreachable!("the instant has come"),
            }
        }
        assert_eq!(
            at_ms,
            [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]
        );
    }
}
