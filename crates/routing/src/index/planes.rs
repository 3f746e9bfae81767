//! Levels of 64 agents as bits, so that one requirement is tested against all of them at once.
//!
//! A *column* is one thing that agents have at a level (a skill, a place in a queue); the level of each of
//! 64 slots stands in four words, one per binary digit (bit-slicing: O'Neil and Quass, SIGMOD 1997). Level
//! 0 is "has it not". Which agent has which slot is the caller's business.

/// Number of a column within this process; never leaves it and never breaks a tie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Column(pub(crate) u32);

/// Columns of one page: a page is there only if one of its columns was ever set.
const PAGE: usize = 8;

type Digits = [u64; 4];

/// The columns of 64 slots.
#[derive(Debug, Clone, Default)]
pub(crate) struct Planes {
    pages: Vec<Option<Box<[Digits; PAGE]>>>,
}

impl Planes {
    /// Gives a slot (0-63) a level (1-15) in a column; the slot must have none there.
    pub(crate) fn set(&mut self, column: Column, slot: u32, level: u8) {
        let (page, at) = place(column);
        if self.pages.len() <= page {
            self.pages.resize_with(page + 1, || None);
        }
        let Some(slots) = self.pages.get_mut(page) else { return };
        let digits = slots.get_or_insert_with(Box::default);
        for (digit, word) in digits[at].iter_mut().enumerate() {
            *word |= u64::from(level >> digit & 1) << slot;
        }
    }

    /// Takes a slot's level in a column away.
    pub(crate) fn clear(&mut self, column: Column, slot: u32) {
        let (page, at) = place(column);
        if let Some(Some(digits)) = self.pages.get_mut(page) {
            digits[at].iter_mut().for_each(|word| *word &= !(1 << slot));
        }
    }

    /// The binary digits of a column's levels, the lowest first.
    pub(crate) fn digits(&self, column: Column) -> Digits {
        let (page, at) = place(column);
        match self.pages.get(page) {
            Some(Some(digits)) => digits[at],
            _ => [0; 4],
        }
    }

    /// The slots whose level in a column is `level_min` (1-15) or higher.
    pub(crate) fn at_least(&self, column: Column, level_min: u8) -> u64 {
        let mut reached = !0;
        for (digit, word) in self.digits(column).into_iter().enumerate() {
            reached = if level_min >> digit & 1 == 1 { reached & word } else { reached | word };
        }
        reached
    }

    /// Moves the slots `from..to` up by one; slot `to` must be empty, slot `from` is afterwards.
    pub(crate) fn move_up(&mut self, from: u32, to: u32) {
        let moved = span(from, to);
        let kept = !(moved | 1 << to);
        self.each_word(|word| *word = *word & kept | (*word & moved) << 1);
    }

    /// Moves the slots `from + 1..=to` down by one; slot `from` must be empty, slot `to` is afterwards.
    pub(crate) fn move_down(&mut self, from: u32, to: u32) {
        let moved = span(from, to) << 1;
        let kept = !(moved | 1 << from);
        self.each_word(|word| *word = *word & kept | (*word & moved) >> 1);
    }

    /// Takes the upper 32 slots out, as the lower 32 of another value.
    pub(crate) fn split_off(&mut self) -> Self {
        let mut upper = self.clone();
        upper.each_word(|word| *word >>= 32);
        self.each_word(|word| *word &= u64::from(u32::MAX));
        upper
    }

    fn each_word(&mut self, change: impl Fn(&mut u64)) {
        self.pages.iter_mut().flatten().flat_map(|page| page.iter_mut().flatten()).for_each(change);
    }
}

fn place(column: Column) -> (usize, usize) {
    let column = column.0 as usize;
    (column / PAGE, column % PAGE)
}

/// Bits `from..to`, both at most 63.
fn span(from: u32, to: u32) -> u64 {
    (1_u64 << to) - (1 << from)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: levels are kept per slot and column, compared as numbers, and taken away.
    #[test]
    fn levels_are_compared() {
        let mut planes = Planes::default();
        for slot in 0..64 {
            let level = u8::try_from(slot % 16).unwrap();
            if level > 0 {
                planes.set(Column(9), slot, level);
            }
        }
        for least in 1..16_u8 {
            let expected = (0..64_u64).filter(|slot| slot % 16 >= u64::from(least));
            let expected = expected.fold(0, |mask, slot| mask | 1 << slot);
            assert_eq!(planes.at_least(Column(9), least), expected, "{least}");
        }
        assert_eq!(planes.at_least(Column(8), 1), 0);
        assert_eq!(planes.at_least(Column(1_000), 1), 0);
        (0..64).for_each(|slot| planes.clear(Column(9), slot));
        assert_eq!(planes.at_least(Column(9), 1), 0);
    }

    // Goal: moving and splitting slots keeps every level with its slot, at the edges too.
    #[test]
    fn slots_move_with_their_levels() {
        for (from, to) in [(0, 63), (5, 9), (62, 63), (7, 7), (0, 1)] {
            let mut planes = Planes::default();
            let level = |slot: u32| u8::try_from(slot % 15 + 1).unwrap();
            (0..64).filter(|slot| *slot != to).for_each(|slot| {
                planes.set(Column(0), slot, level(slot));
            });
            let before = planes.digits(Column(0));
            planes.move_up(from, to);
            for slot in 0..64_u32 {
                let expected = match slot {
                    _ if slot == from => 0,
                    _ if slot > from && slot <= to => level(slot - 1),
                    _ => level(slot),
                };
                assert_eq!(level_of(&planes, slot), expected, "{from} {to} {slot}");
            }
            planes.move_down(from, to);
            assert_eq!(planes.digits(Column(0)), before, "{from} {to}");
            let upper = planes.split_off();
            for slot in 0..32 {
                assert_eq!(level_of(&upper, slot) == 0, slot + 32 == to);
                assert_eq!(level_of(&upper, slot + 32), 0);
                assert_eq!(level_of(&planes, slot + 32), 0);
            }
        }
    }

    fn level_of(planes: &Planes, slot: u32) -> u8 {
        (1..16).rev().find(|level| planes.at_least(Column(0), *level) >> slot & 1 == 1).unwrap_or(0)
    }
}
