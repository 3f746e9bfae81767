//! The one source of random values: a generator that the owner seeds and hands in.
//!
//! Branches, tags, Call-IDs and nonces must be hard to guess (RFC 3261 sections 8.1.1.7, 19.3), so
//! the generator is a cipher; a test or simulation seeds it with a constant and gets the same run.

use crate::text::SipText;
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use std::fmt;
use std::time::Duration;

/// A seeded ChaCha12 generator. Not `Clone`: two owners of one stream would repeat each other.
pub struct Prng(ChaCha12Rng);

impl Prng {
    /// Starts the stream that belongs to `seed`. The shell takes the seed from the system's entropy.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    /// Starts a stream from a small number, for tests and simulations.
    pub fn from_number(seed: u64) -> Self {
        Self(ChaCha12Rng::seed_from_u64(seed))
    }

    /// A new generator whose stream is decided by, but not guessable from, this one.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        let mut seed = [0; 32];
        self.0.fill_bytes(&mut seed);
        Self::from_seed(seed)
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// A number from `0..bound`; zero when `bound` is zero. The bias is below 2^-32 for any bound
    /// used here.
    pub fn below(&mut self, bound: u32) -> u32 {
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u32
    }

    /// A duration from `low..high` in whole steps of 10 ms, as RFC 3261 section 14.1 draws the wait
    /// after a 491.
    pub fn duration_in_10_ms_steps(&mut self, low_ms: u32, high_ms: u32) -> Duration {
        let steps = high_ms.saturating_sub(low_ms) / 10;
        Duration::from_millis(u64::from(low_ms) + 10 * u64::from(self.below(steps.max(1))))
    }

    /// 16 random bytes as 32 hexadecimal digits: for tags, branches and Call-IDs (RFC 3261 section
    /// 19.3 asks for at least 32 random bits in a tag).
    pub fn token(&mut self) -> SipText {
        let mut bytes = [0_u8; 16];
        self.0.fill_bytes(&mut bytes);
        SipText::composed(hex(&bytes))
    }
}

impl fmt::Debug for Prng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prng(…)")
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]).collect()
}

/// The reverse of [`hex`]; `None` for anything but pairs of hexadecimal digits.
pub(crate) fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut pairs = text.chunks_exact(2);
    for pair in &mut pairs {
        let [high, low] = pair else { return None };
        let high = char::from(*high).to_digit(16)?;
        let low = char::from(*low).to_digit(16)?;
        bytes.push((high * 16 + low) as u8);
    }
    pairs.remainder().is_empty().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: one seed decides the whole stream, and a fork goes its own way.
    #[test]
    fn one_seed_one_stream() {
        let (mut a, mut b) = (Prng::from_number(7), Prng::from_number(7));
        assert_eq!(a.token(), b.token());
        let (mut fa, mut fb) = (a.fork(), b.fork());
        assert_eq!(fa.token(), fb.token());
        assert_ne!(fa.token(), a.token());
    }

    // Goal: the waits after a 491 stay inside their bounds and are whole steps of 10 ms.
    #[test]
    fn durations_stay_in_bounds() {
        let mut prng = Prng::from_number(1);
        for _ in 0..10_000 {
            let wait_ms = prng.duration_in_10_ms_steps(2_100, 4_000).as_millis();
            assert!((2_100..4_000).contains(&wait_ms) && wait_ms.is_multiple_of(10), "{wait_ms}");
        }
        assert_eq!(prng.below(0), 0);
    }

    // Goal: hexadecimal text goes there and back, and odd or foreign digits are refused.
    #[test]
    fn hex_round_trip() {
        assert_eq!(unhex(hex(&[0, 15, 255]).as_bytes()), Some(vec![0, 15, 255]));
        assert_eq!(unhex(b"abc"), None);
        assert_eq!(unhex(b"zz"), None);
    }
}
