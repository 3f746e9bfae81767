//! Chance from a seed.

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same everywhere for the same seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// Below the limit.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit.max(1)
    }
}
