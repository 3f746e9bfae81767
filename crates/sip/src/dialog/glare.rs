//! Colliding offers: both sides change the session at once (RFC 3261 sections 14.1 and 14.2, RFC 3311
//! section 5.2).

use super::state::DialogRole;
use crate::prng::Prng;
use std::time::Duration;

/// Which exchanges are under way in one dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Glare {
    ours: Exchange,
    theirs: Exchange,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Exchange {
    #[default]
    None,
    Open,
}

/// What came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncomingOffer {
    /// INVITE inside the dialog, with or without an offer.
    Reinvite,
    /// UPDATE with an offer.
    UpdateWithOffer,
    /// UPDATE that only refreshes the session timer or the target.
    UpdateWithoutOffer,
}

/// What to do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GlareVerdict {
    /// Handle it.
    Proceed,
    /// Our own exchange is open: answer 491.
    RequestPending,
    /// Theirs is still open: answer 500 with this Retry-After, 0 to 10 s.
    ServerError {
        /// Retry-After in seconds.
        retry_after_s: u32,
    },
}

impl Glare {
    /// Judges a request of the peer (section 14.2: 500 before 491, since the first exchange of theirs has
    /// no final response yet).
    pub fn judge(&self, offer: IncomingOffer, prng: &mut Prng) -> GlareVerdict {
        match (self.theirs, self.ours) {
            _ if offer == IncomingOffer::UpdateWithoutOffer => GlareVerdict::Proceed,
            (Exchange::Open, _) => GlareVerdict::ServerError { retry_after_s: prng.below(11) },
            (Exchange::None, Exchange::Open) => GlareVerdict::RequestPending,
            (Exchange::None, Exchange::None) => GlareVerdict::Proceed,
        }
    }

    /// Whether we may send a re-INVITE or an UPDATE with an offer (section 14.1).
    pub fn may_offer(&self) -> bool {
        self.ours == Exchange::None && self.theirs == Exchange::None
    }

    /// We sent an INVITE or an offer.
    pub fn ours_began(&mut self) {
        self.ours = Exchange::Open;
    }

    /// It has its final response, and for an INVITE with a 2xx the ACK was sent.
    pub fn ours_ended(&mut self) {
        self.ours = Exchange::None;
    }

    /// A request of theirs was taken on.
    pub fn theirs_began(&mut self) {
        self.theirs = Exchange::Open;
    }

    /// It is answered, and for an INVITE acknowledged.
    pub fn theirs_ended(&mut self) {
        self.theirs = Exchange::None;
    }
}

/// How long to wait after a 491 before trying again (section 14.1): 2.1 to 4 s for the side that chose
/// the Call-ID, 0 to 2 s for the other, in steps of 10 ms, so that one side wins.
pub fn glare_retry_wait(role: DialogRole, prng: &mut Prng) -> Duration {
    match role {
        DialogRole::Uac => prng.duration_in_10_ms_steps(2_100, 4_001),
        DialogRole::Uas => prng.duration_in_10_ms_steps(0, 2_001),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: the four combinations of open exchanges.
    #[test]
    fn verdicts() {
        let mut prng = Prng::from_number(3);
        let mut glare = Glare::default();
        assert!(glare.may_offer());
        assert_eq!(glare.judge(IncomingOffer::Reinvite, &mut prng), GlareVerdict::Proceed);
        glare.ours_began();
        assert!(!glare.may_offer());
        assert_eq!(
            glare.judge(IncomingOffer::UpdateWithOffer, &mut prng),
            GlareVerdict::RequestPending
        );
        let refresh = IncomingOffer::UpdateWithoutOffer;
        assert_eq!(glare.judge(refresh, &mut prng), GlareVerdict::Proceed);
        glare.theirs_began();
        for _ in 0..100 {
            match glare.judge(IncomingOffer::Reinvite, &mut prng) {
                GlareVerdict::ServerError { retry_after_s } => assert!(retry_after_s <= 10),
                other => unreachable!("{other:?}"),
            }
        }
        glare.ours_ended();
        assert!(!glare.may_offer());
        glare.theirs_ended();
        assert!(glare.may_offer());
    }

    // Goal: the two sides' waits do not overlap, so that a second collision is unlikely.
    #[test]
    fn waits_tell_the_sides_apart() {
        let mut prng = Prng::from_number(4);
        for _ in 0..10_000 {
            let ours = glare_retry_wait(DialogRole::Uac, &mut prng).as_millis();
            let theirs = glare_retry_wait(DialogRole::Uas, &mut prng).as_millis();
            assert!((2_100..=4_000).contains(&ours) && theirs <= 2_000, "{ours} {theirs}");
        }
    }
}
