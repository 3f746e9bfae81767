//! [`CseqBlock`]: CSeq numbers reserved in the replicated record before they are used.

use crate::limits::{CSEQ_BLOCK, CSEQ_LOW_WATER, CSEQ_MAX};

/// The CSeq numbers that this node may use for its own requests in a dialog.
///
/// The record that other nodes see holds only the end of the block. Invariant: every number that was
/// handed out is at most that end, so a taker that starts behind it is above all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CseqBlock {
    next: u32,
    reserved_until: u32,
}

/// No reserved number is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "all CSeq numbers up to {reserved_until} are used: commit the block that needs_reservation() \
     names, then send the request"
)]
pub struct CseqExhausted {
    /// End of the block.
    pub reserved_until: u32,
}

impl CseqBlock {
    /// The first block of a dialog, 1 to [`CSEQ_BLOCK`]. Its end belongs into the record that makes the
    /// leg, so it counts as reserved.
    pub fn first() -> Self {
        Self { next: 1, reserved_until: CSEQ_BLOCK }
    }

    /// For a taker: behind everything that was reserved, and nothing reserved yet.
    pub fn after(reserved_until: u32) -> Self {
        Self { next: reserved_until.saturating_add(1), reserved_until }
    }

    /// The next number.
    ///
    /// # Errors
    /// [`CseqExhausted`] until another block is reserved.
    pub fn take(&mut self) -> Result<u32, CseqExhausted> {
        if self.next > self.reserved_until || self.next > CSEQ_MAX {
            return Err(CseqExhausted { reserved_until: self.reserved_until });
        }
        let number = self.next;
        self.next += 1;
        Ok(number)
    }

    /// End of the reserved block: what belongs into the record.
    pub fn reserved_until(&self) -> u32 {
        self.reserved_until
    }

    /// How many numbers are left.
    pub fn left(&self) -> u32 {
        (self.reserved_until + 1).saturating_sub(self.next)
    }

    /// The end of the block that should be committed now, when few numbers are left.
    pub fn needs_reservation(&self) -> Option<u32> {
        let next_end = self.reserved_until.saturating_add(CSEQ_BLOCK).min(CSEQ_MAX);
        (self.left() < CSEQ_LOW_WATER && next_end > self.reserved_until).then_some(next_end)
    }

    /// A block up to `until` was committed. Smaller ends change nothing, so that repeated or late
    /// confirmations do no harm.
    pub fn reserve(&mut self, until: u32) {
        self.reserved_until = self.reserved_until.max(until.min(CSEQ_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // Goal: the last number of a block is handed out, the next is not until the block is committed
    // (pair at the edge).
    #[test]
    fn blocks_end() {
        let mut block = CseqBlock::first();
        for expect in 1..=CSEQ_BLOCK {
            assert_eq!(block.take(), Ok(expect));
        }
        assert_eq!(block.take(), Err(CseqExhausted { reserved_until: CSEQ_BLOCK }));
        let end = block.needs_reservation().unwrap();
        block.reserve(end);
        block.reserve(1);
        assert_eq!(block.take(), Ok(CSEQ_BLOCK + 1));
        assert_eq!(block.needs_reservation(), None);
    }

    // Goal: the warning comes at the low-water mark and not before.
    #[test]
    fn reservation_is_asked_for_in_time() {
        let mut block = CseqBlock::first();
        while block.left() > CSEQ_LOW_WATER {
            block.take().unwrap();
        }
        assert_eq!(block.needs_reservation(), None);
        block.take().unwrap();
        assert_eq!(block.needs_reservation(), Some(2 * CSEQ_BLOCK));
    }

    // Goal: numbers never reach 2^31 (RFC 3261 section 8.1.1.5).
    #[test]
    fn numbers_stay_below_two_to_31() {
        let mut block = CseqBlock::after(CSEQ_MAX - 1);
        block.reserve(u32::MAX);
        assert_eq!(block.take(), Ok(CSEQ_MAX));
        assert!(block.take().is_err());
        assert_eq!(block.needs_reservation(), None);
        assert!(CseqBlock::after(u32::MAX).take().is_err());
    }

    proptest! {
        // Goal: however many numbers each owner used, and however often the dialog was taken over
        // (owners before the last may live on unseen), each taker is above all before it.
        #[test]
        fn takers_are_always_higher(uses in prop::collection::vec((0_u32..200, 0_u32..200), 1..8)) {
            let mut record = CSEQ_BLOCK;
            let mut owner = CseqBlock::first();
            let mut highest = 0;
            for (before, after) in uses {
                // The owner uses numbers; blocks are committed into the record before use.
                let mut used = 0;
                for _ in 0..before {
                    if let Some(end) = owner.needs_reservation() {
                        record = end;
                        owner.reserve(end);
                    }
                    used = owner.take().unwrap();
                }
                highest = highest.max(used);
                // A taker adopts the record; the old owner goes on with what it had, unseen.
                let mut taker = CseqBlock::after(record);
                prop_assert!(taker.take().is_err(), "a taker reserves before it sends");
                let mut ghost = owner;
                for _ in 0..after {
                    match ghost.take() {
                        Ok(number) => highest = highest.max(number),
                        Err(_) => break,
                    }
                }
                record = taker.needs_reservation().unwrap();
                taker.reserve(record);
                let first = taker.take().unwrap();
                prop_assert!(first > highest, "{first} {highest}");
                highest = first;
                owner = taker;
            }
        }
    }
}
