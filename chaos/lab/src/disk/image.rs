//! The device as a value: what is durable, what is pending, and what a power cut leaves of it.
//! Pure.
//!
//! Blocks that were written since the last sync that kept its promise are *pending*: reads see
//! them, a crash loses them. Of a block written twice without a sync only the newer content can
//! survive.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use super::faults::{Faults, Operation, Refusal, SyncPromise};
use super::limits::{BLOCK_BYTES, SECTOR_BYTES, SECTORS_PER_BLOCK};

type Block = Box<[u8; BLOCK_BYTES]>;

/// A block device in memory. Blocks that were never written read as zeros and take no room.
#[derive(Debug)]
pub struct Image {
    blocks: u64,
    durable: BTreeMap<u64, Block>,
    pending: BTreeMap<u64, Block>,
    /// The pending block that was written last: the one that a power cut tears.
    last_written: Option<u64>,
    /// What is wrong with the device now.
    pub faults: Faults,
    counts: Counts,
}

/// Operations since the device was made, refused ones included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Reads asked for.
    pub reads: u64,
    /// Writes asked for.
    pub writes: u64,
    /// Syncs asked for.
    pub syncs: u64,
    /// Operations refused.
    pub refused: u64,
    /// Syncs acknowledged that did nothing.
    pub lies: u64,
}

/// What a power cut leaves of the pending blocks. The same seed leaves the same on equal devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Crash {
    /// Nothing.
    Clean,
    /// Of the block written last its first sectors, from one to all but one; of the others nothing.
    TornLast {
        /// Chooses the number of sectors.
        seed: u64,
    },
    /// Each block, whole, with one chance in two: a cache that was written back in any order.
    SomeBlocks {
        /// Chooses the blocks.
        seed: u64,
    },
}

/// What a power cut did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashReport {
    /// Pending blocks that were lost.
    pub blocks_lost: u64,
    /// Pending blocks that reached the medium whole.
    pub blocks_kept: u64,
    /// The block that was torn, and how many of its bytes are new.
    pub torn: Option<Torn>,
}

/// A block of which only the beginning reached the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Torn {
    /// Where the block begins on the device.
    pub offset: u64,
    /// Bytes from there that are new; a multiple of the sector size, less than a block.
    pub bytes_new: usize,
}

/// An offset at or past the end of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset} is not on the device, which has {bytes}: choose one below that")]
pub struct PastEnd {
    /// The byte asked for.
    pub offset: u64,
    /// Size of the device in bytes.
    pub bytes: u64,
}

impl Image {
    /// An empty device of `bytes`, rounded down to whole blocks.
    pub fn new(bytes: u64) -> Self {
        Self {
            blocks: bytes / BLOCK_BYTES as u64,
            durable: BTreeMap::new(),
            pending: BTreeMap::new(),
            last_written: None,
            faults: Faults::default(),
            counts: Counts::default(),
        }
    }

    /// Size of the device in bytes.
    pub fn bytes(&self) -> u64 {
        self.blocks * BLOCK_BYTES as u64
    }

    /// What was asked of the device until now.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Blocks that a power cut would lose now.
    pub fn pending_blocks(&self) -> u64 {
        self.pending.len() as u64
    }

    /// Reads up to `length` bytes from `offset`; fewer at the end of the device.
    pub fn read(&mut self, offset: u64, length: usize) -> Result<Vec<u8>, Refusal> {
        self.counts.reads += 1;
        self.meet(Operation::Read)?;
        let length = self.bytes().saturating_sub(offset).min(length as u64) as usize;
        let mut bytes = vec![0; length];
        for piece in pieces(offset, length) {
            if let Some(block) = self.block(piece.block) {
                bytes[piece.in_data].copy_from_slice(&block[piece.in_block]);
            }
        }
        Ok(bytes)
    }

    /// Writes `data` at `offset`, all of it or nothing. Refused past the end of the device.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Refusal> {
        self.counts.writes += 1;
        self.meet(Operation::Write)?;
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > self.bytes()) {
            self.counts.refused += 1;
            return Err(Refusal::NoSpace);
        }
        for piece in pieces(offset, data.len()) {
            let durable = &self.durable;
            let block = self.pending.entry(piece.block).or_insert_with(|| {
                durable.get(&piece.block).cloned().unwrap_or_else(|| Box::new([0; BLOCK_BYTES]))
            });
            block[piece.in_block].copy_from_slice(&data[piece.in_data]);
            self.last_written = Some(piece.block);
        }
        Ok(())
    }

    /// Makes every pending block durable, unless the device lies. A refused sync keeps nothing and
    /// loses nothing: the blocks stay pending, and the next sync may keep them.
    pub fn sync(&mut self) -> Result<(), Refusal> {
        self.counts.syncs += 1;
        self.meet(Operation::Sync)?;
        match self.faults.sync_promise {
            SyncPromise::Kept => self.settle(),
            SyncPromise::Lied => self.counts.lies += 1,
        }
        Ok(())
    }

    /// The power cut: pending blocks are gone, but for what `crash` leaves. Says what happened.
    pub fn crash(&mut self, crash: Crash) -> CrashReport {
        let pending = std::mem::take(&mut self.pending);
        let last_written = self.last_written.take();
        let mut report = CrashReport { blocks_lost: pending.len() as u64, ..Default::default() };
        match crash {
            Crash::Clean => {}
            Crash::TornLast { seed } => {
                let last = last_written.and_then(|number| Some((number, pending.get(&number)?)));
                if let Some((number, block)) = last {
                    report.torn = Some(self.tear(number, block, seed));
                    report.blocks_lost -= 1;
                }
            }
            Crash::SomeBlocks { seed } => {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                for (number, block) in pending {
                    if rng.next_u32() & 1 == 1 {
                        self.durable.insert(number, block);
                        report.blocks_kept += 1;
                        report.blocks_lost -= 1;
                    }
                }
            }
        }
        report
    }

    /// Changes the bits of `mask` in one byte of the medium, as rot does: neither the file system
    /// nor a checksum on the way hears of it.
    pub fn flip(&mut self, offset: u64, mask: u8) -> Result<(), PastEnd> {
        if offset >= self.bytes() {
            return Err(PastEnd { offset, bytes: self.bytes() });
        }
        let number = offset / BLOCK_BYTES as u64;
        let byte = (offset % BLOCK_BYTES as u64) as usize;
        self.durable.entry(number).or_insert_with(|| Box::new([0; BLOCK_BYTES]))[byte] ^= mask;
        if let Some(block) = self.pending.get_mut(&number) {
            block[byte] ^= mask;
        }
        Ok(())
    }

    fn meet(&mut self, operation: Operation) -> Result<(), Refusal> {
        self.faults.meet(operation).inspect_err(|_| self.counts.refused += 1)
    }

    fn block(&self, number: u64) -> Option<&Block> {
        self.pending.get(&number).or_else(|| self.durable.get(&number))
    }

    fn settle(&mut self) {
        self.durable.append(&mut self.pending);
        self.last_written = None;
    }

    fn tear(&mut self, number: u64, block: &Block, seed: u64) -> Torn {
        let choices = SECTORS_PER_BLOCK as u32 - 1;
        let sectors = 1 + ChaCha8Rng::seed_from_u64(seed).next_u32() % choices;
        let bytes_new = sectors as usize * SECTOR_BYTES;
        let durable = self.durable.entry(number).or_insert_with(|| Box::new([0; BLOCK_BYTES]));
        durable[..bytes_new].copy_from_slice(&block[..bytes_new]);
        Torn { offset: number * BLOCK_BYTES as u64, bytes_new }
    }
}

/// The part of a read or write that lies in one block.
struct Piece {
    block: u64,
    in_block: std::ops::Range<usize>,
    in_data: std::ops::Range<usize>,
}

fn pieces(offset: u64, length: usize) -> impl Iterator<Item = Piece> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let at = offset + done as u64;
        let start = (at % BLOCK_BYTES as u64) as usize;
        let take = (BLOCK_BYTES - start).min(length - done);
        let piece = Piece {
            block: at / BLOCK_BYTES as u64,
            in_block: start..start + take,
            in_data: done..done + take,
        };
        done += take;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::faults::{Failure, Power, Which};
    use super::*;

    const BLOCKS: usize = 6;
    const BYTES: usize = BLOCKS * BLOCK_BYTES;

    /// The judge: two plain byte arrays and a list of blocks, as slow and obvious as can be.
    struct Naive {
        seen: Vec<u8>,
        durable: Vec<u8>,
        dirty: Vec<usize>,
    }

    impl Naive {
        fn new() -> Self {
            Self { seen: vec![0; BYTES], durable: vec![0; BYTES], dirty: Vec::new() }
        }

        fn write(&mut self, offset: usize, data: &[u8]) {
            for (index, byte) in data.iter().enumerate() {
                self.seen[offset + index] = *byte;
                let block = (offset + index) / BLOCK_BYTES;
                self.dirty.retain(|b| *b != block);
                self.dirty.push(block);
            }
        }

        fn sync(&mut self) {
            self.durable = self.seen.clone();
            self.dirty.clear();
        }

        fn crash(&mut self, report: &CrashReport) {
            if let Some(torn) = report.torn {
                let at = torn.offset as usize;
                assert_eq!(self.dirty.last(), Some(&(at / BLOCK_BYTES)), "the last block tears");
                let new = at..at + torn.bytes_new;
                self.durable[new.clone()].copy_from_slice(&self.seen[new]);
            }
            self.seen = self.durable.clone();
            self.dirty.clear();
        }

        fn flip(&mut self, offset: usize, mask: u8) {
            self.seen[offset] ^= mask;
            self.durable[offset] ^= mask;
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Write(usize, Vec<u8>),
        Sync,
        Lie,
        Crash,
        Tear(u64),
        Flip(usize, u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            5 => (0..BYTES, 1..3 * BLOCK_BYTES, any::<u8>()).prop_map(|(at, length, byte)| {
                Step::Write(at, vec![byte; length.min(BYTES - at)])
            }),
            2 => Just(Step::Sync),
            1 => Just(Step::Lie),
            1 => Just(Step::Crash),
            1 => any::<u64>().prop_map(Step::Tear),
            1 => (0..BYTES, 1..=u8::MAX).prop_map(|(at, mask)| Step::Flip(at, mask)),
        ]
    }

    proptest! {
        // Goal: over any history the device holds byte for byte what two plain arrays hold.
        #[test]
        fn agrees_with_the_naive_device(steps in proptest::collection::vec(step(), 1..40)) {
            let mut image = Image::new(BYTES as u64);
            let mut naive = Naive::new();
            for step in steps {
                match step {
                    Step::Write(at, data) => {
                        image.write(at as u64, &data).unwrap();
                        naive.write(at, &data);
                    }
                    Step::Sync => {
                        image.sync().unwrap();
                        naive.sync();
                    }
                    Step::Lie => {
                        image.faults.sync_promise = SyncPromise::Lied;
                        image.sync().unwrap();
                        image.faults.sync_promise = SyncPromise::Kept;
                    }
                    Step::Crash => naive.crash(&image.crash(Crash::Clean)),
                    Step::Tear(seed) => naive.crash(&image.crash(Crash::TornLast { seed })),
                    Step::Flip(at, mask) => {
                        image.flip(at as u64, mask).unwrap();
                        naive.flip(at, mask);
                    }
                }
                prop_assert_eq!(image.pending_blocks(), naive.dirty.len() as u64);
                prop_assert!(image.read(0, BYTES).unwrap() == naive.seen, "device and judge differ");
            }
        }

        // Goal: when some blocks survive, each one is whole: all new or all old, and the report
        // counts them.
        #[test]
        fn surviving_blocks_are_whole(seed in any::<u64>(), written in 1..=BLOCKS) {
            let mut image = Image::new(BYTES as u64);
            image.write(0, &vec![1; BYTES]).unwrap();
            image.sync().unwrap();
            image.write(0, &vec![2; written * BLOCK_BYTES]).unwrap();
            let report = image.crash(Crash::SomeBlocks { seed });
            let left = image.read(0, BYTES).unwrap();
            let new = left.chunks(BLOCK_BYTES).filter(|block| block.iter().all(|b| *b == 2)).count();
            let old = left.chunks(BLOCK_BYTES).filter(|block| block.iter().all(|b| *b == 1)).count();
            prop_assert_eq!(new + old, BLOCKS);
            prop_assert_eq!(new as u64, report.blocks_kept);
            prop_assert_eq!((written - new) as u64, report.blocks_lost);
        }
    }

    // Goal: seeds reach every torn length and both fates of a block, and the same seed the same
    // one.
    #[test]
    fn seeds_choose_and_repeat() {
        let run = |crash| {
            let mut image = Image::new(BYTES as u64);
            image.write(0, &[7; 2 * BLOCK_BYTES]).unwrap();
            image.crash(crash)
        };
        let torn: std::collections::BTreeSet<_> = (0..200)
            .map(|seed| run(Crash::TornLast { seed }).torn.expect("a pending block").bytes_new)
            .collect();
        let expected: Vec<_> = (1..SECTORS_PER_BLOCK).map(|n| n * SECTOR_BYTES).collect();
        assert_eq!(torn.into_iter().collect::<Vec<_>>(), expected);
        let kept: std::collections::BTreeSet<_> =
            (0..50).map(|seed| run(Crash::SomeBlocks { seed }).blocks_kept).collect();
        assert_eq!(kept.into_iter().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(run(Crash::TornLast { seed: 9 }), run(Crash::TornLast { seed: 9 }));
    }

    // Goal: a crash with nothing pending, of any kind, changes nothing.
    #[test]
    fn a_crash_after_a_sync_loses_nothing() {
        for crash in [Crash::Clean, Crash::TornLast { seed: 1 }, Crash::SomeBlocks { seed: 1 }] {
            let mut image = Image::new(BYTES as u64);
            image.write(100, b"kept").unwrap();
            image.sync().unwrap();
            assert_eq!(image.crash(crash), CrashReport::default());
            assert_eq!(image.read(100, 4).unwrap(), b"kept");
        }
    }

    // Goal: a refused sync loses nothing, and the next good one keeps what it did not.
    #[test]
    fn a_refused_sync_leaves_the_blocks_pending() {
        let mut image = Image::new(BYTES as u64);
        let failure =
            Failure { operation: Operation::Sync, which: Which::Nth(1), refusal: Refusal::Io };
        image.faults.arm(failure).unwrap();
        image.write(0, b"late").unwrap();
        assert_eq!(image.sync(), Err(Refusal::Io));
        assert_eq!(image.pending_blocks(), 1);
        image.sync().unwrap();
        image.crash(Crash::Clean);
        assert_eq!(image.read(0, 4).unwrap(), b"late");
    }

    // Goal: a refused write leaves no byte behind, whatever refused it.
    #[test]
    fn a_refused_write_changes_nothing() {
        let mut image = Image::new(BYTES as u64);
        let failure = Failure {
            operation: Operation::Write,
            which: Which::Nth(1),
            refusal: Refusal::NoSpace,
        };
        image.faults.arm(failure).unwrap();
        assert_eq!(image.write(0, b"x"), Err(Refusal::NoSpace));
        image.faults.power = Power::Cut;
        assert_eq!(image.write(0, b"x"), Err(Refusal::Io));
        assert_eq!(image.sync(), Err(Refusal::Io));
        assert_eq!(image.read(0, 1), Err(Refusal::Io));
        image.faults.power = Power::On;
        assert_eq!(image.write(BYTES as u64 - 1, b"xy"), Err(Refusal::NoSpace));
        assert_eq!(image.write(u64::MAX, b"xy"), Err(Refusal::NoSpace));
        assert_eq!(image.pending_blocks(), 0);
        assert_eq!(image.read(0, BYTES).unwrap(), vec![0; BYTES]);
        let counts = Counts { reads: 2, writes: 4, syncs: 1, refused: 6, lies: 0 };
        assert_eq!(image.counts(), counts);
    }

    // Goal: the last byte of the device can be written, read and flipped; the next one does not
    // exist.
    #[test]
    fn the_end_is_exact() {
        let end = BYTES as u64;
        let mut image = Image::new(end + 17);
        assert_eq!(image.bytes(), end, "whole blocks only");
        image.write(end - 1, b"z").unwrap();
        image.flip(end - 1, 0b1000_0000).unwrap();
        assert_eq!(image.flip(end, 1), Err(PastEnd { offset: end, bytes: end }));
        assert_eq!(image.read(end - 1, 10).unwrap(), [b'z' ^ 0b1000_0000]);
        assert_eq!(image.read(end, 10).unwrap(), [0u8; 0]);
        assert_eq!(image.read(end + 5, 10).unwrap(), [0u8; 0]);
    }
}
