//! The network between user agents and nodes, and the seed that decides everything.

use tandem_sip::prng::Prng;

/// How datagrams fare.
#[derive(Debug, Clone, Copy)]
pub struct Net {
    /// Shortest delay in ms.
    pub delay: u64,
    /// Further delay, drawn for each datagram: larger than the time between two, it reorders.
    pub jitter: u64,
    /// Of a thousand, how many are lost.
    pub loss: u32,
    /// Of a thousand, how many come twice.
    pub doubled: u32,
}

impl Net {
    /// Every datagram arrives, in order.
    pub fn clean() -> Self {
        Self { delay: 5, jitter: 0, loss: 0, doubled: 0 }
    }

    /// Datagrams overtake each other and come twice.
    pub fn jittery() -> Self {
        Self { delay: 2, jitter: 30, loss: 0, doubled: 20 }
    }

    /// One in ten is lost besides.
    pub fn lossy() -> Self {
        Self { delay: 5, jitter: 40, loss: 100, doubled: 30 }
    }
}

/// The one source of chance in a test.
pub struct Chance(Prng);

impl Chance {
    /// All that follows from this seed.
    pub fn new(seed: u64) -> Self {
        Self(Prng::from_number(seed))
    }

    /// A number below the bound; 0 for the bound 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        u64::from(self.0.below(u32::try_from(bound).unwrap_or(u32::MAX)))
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True for so many of a thousand.
    pub fn per_mille(&mut self, share: u32) -> bool {
        self.0.below(1_000) < share
    }

    /// A generator of its own for somebody.
    pub fn fork(&mut self) -> Prng {
        self.0.fork()
    }
}
