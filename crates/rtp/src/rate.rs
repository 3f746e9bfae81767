//! Token bucket: how many packets a source may send.
//!
//! What does not live here: which source it is and what it may send ([`crate::latch`]).

use crate::time::MonotonicTime;

/// Allows `per_second` for long and `burst` at once.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    per_second: u64,
    burst: u64,
    /// Millionths of a packet.
    tokens: u64,
    filled_at: MonotonicTime,
}

/// Answer of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Within the rate.
    Admitted,
    /// Over the rate.
    Refused,
}

const PACKET: u64 = 1_000_000;

impl TokenBucket {
    /// A full bucket.
    pub const fn new(now: MonotonicTime, per_second: u64, burst: u64) -> Self {
        Self { per_second, burst, tokens: burst.saturating_mul(PACKET), filled_at: now }
    }

    /// Takes one packet out, if there is one.
    pub fn admit(&mut self, now: MonotonicTime) -> Admission {
        let gained = now.micros_since(self.filled_at).saturating_mul(self.per_second);
        self.tokens = self.tokens.saturating_add(gained).min(self.burst.saturating_mul(PACKET));
        self.filled_at = self.filled_at.max(now);
        match self.tokens.checked_sub(PACKET) {
            Some(left) => {
                self.tokens = left;
                Admission::Admitted
            }
            None => Admission::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: the burst just passes and one more just fails; afterwards the rate holds exactly.
    #[test]
    fn burst_then_rate() {
        let start = MonotonicTime::from_millis(10);
        let mut bucket = TokenBucket::new(start, 50, 5);
        let admitted = |bucket: &mut TokenBucket, now| {
            (0..100).filter(|_| bucket.admit(now) == Admission::Admitted).count()
        };
        assert_eq!(admitted(&mut bucket, start), 5);
        assert_eq!(admitted(&mut bucket, start.plus_micros(19_999)), 0);
        assert_eq!(admitted(&mut bucket, start.plus_micros(20_000)), 1);
        assert_eq!(admitted(&mut bucket, start.plus_micros(60_000_000)), 5);
        let mut passed = 0;
        for ms in 0..10_000 {
            passed += admitted(&mut bucket, start.plus_micros(60_000_000 + ms * 1_000));
        }
        assert_eq!(passed, 499); // 9.999 s at 50 per second
    }
}
