//! Randomness: tags, branches, Call-IDs, SSRCs, from one generator that a seed decides.

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};

/// A seeded generator and the tokens made from it.
#[derive(Debug)]
pub(crate) struct Dice(ChaCha12Rng);

impl Dice {
    pub(crate) fn from_seed(seed: u64) -> Self {
        Self(ChaCha12Rng::seed_from_u64(seed))
    }

    pub(crate) fn u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    pub(crate) fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in `0..below`; 0 when `below` is 0.
    pub(crate) fn below(&mut self, below: u64) -> u64 {
        if below == 0 { 0 } else { self.u64() % below }
    }

    /// 16 hexadecimal digits: good for tags, branches and cnonces (RFC 3261 19.3 asks for at least
    /// 32 bits of randomness in a tag).
    pub(crate) fn token(&mut self) -> String {
        format!("{:016x}", self.u64())
    }
}
