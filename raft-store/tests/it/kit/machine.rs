//! A table with a digest: put, delete, and "finish" (move a row to history).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bytes::Bytes;
use parking_lot::Mutex;
use tandem_raft_store::{
    Applied, ApplyObserver, EntryData, LogId, Machine, Row, RowChange, RowsInterrupted,
};
use xxhash_rust::xxh3::xxh3_128;

/// A change of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    Finish(Vec<u8>),
    /// Panics when applied.
    Panic,
}

impl Command {
    pub(crate) fn put(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self::Put(key.into(), value.into())
    }

    /// One entry's data for a batch of commands.
    pub(crate) fn batch(commands: &[Command]) -> EntryData {
        let mut bytes = Vec::new();
        for command in commands {
            let (kind, key, value) = match command {
                Self::Put(key, value) => (1, &key[..], &value[..]),
                Self::Delete(key) => (2, &key[..], &[][..]),
                Self::Finish(key) => (3, &key[..], &[][..]),
                Self::Panic => (4, &[][..], &[][..]),
            };
            bytes.push(kind);
            bytes.extend((key.len() as u32).to_le_bytes());
            bytes.extend((value.len() as u32).to_le_bytes());
            bytes.extend(key);
            bytes.extend(value);
        }
        EntryData::new(bytes).expect("test batches are small")
    }

    fn parse(mut bytes: &[u8]) -> Vec<Command> {
        let mut commands = Vec::new();
        while let Some((&kind, rest)) = bytes.split_first() {
            let length = |at: usize| {
                u32::from_le_bytes(rest[at..at + 4].try_into().expect("four bytes")) as usize
            };
            let (key_length, value_length) = (length(0), length(4));
            let key = rest[8..8 + key_length].to_vec();
            let value = rest[8 + key_length..8 + key_length + value_length].to_vec();
            bytes = &rest[8 + key_length + value_length..];
            commands.push(match kind {
                1 => Self::Put(key, value),
                2 => Self::Delete(key),
                3 => Self::Finish(key),
                _ => Self::Panic,
            });
        }
        commands
    }
}

/// The toy machine.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) rows: BTreeMap<Vec<u8>, Vec<u8>>,
    digest: u128,
}

impl Table {
    fn row_digest(key: &[u8], value: &[u8]) -> u128 {
        xxh3_128(&[&(key.len() as u64).to_le_bytes(), key, value].concat())
    }

    fn set(&mut self, key: &[u8], value: Option<&[u8]>) -> Option<Vec<u8>> {
        let old = match value {
            Some(value) => self.rows.insert(key.to_vec(), value.to_vec()),
            None => self.rows.remove(key),
        };
        if let Some(old) = &old {
            self.digest = self.digest.wrapping_sub(Self::row_digest(key, old));
        }
        if let Some(value) = value {
            self.digest = self.digest.wrapping_add(Self::row_digest(key, value));
        }
        old
    }
}

impl Machine for Table {
    type Effect = u64;
    type LoadError = RowsInterrupted;

    fn empty() -> Self {
        Self::default()
    }

    fn load(
        rows: &mut dyn Iterator<Item = Result<Row, RowsInterrupted>>,
    ) -> Result<Self, RowsInterrupted> {
        let mut table = Self::default();
        for row in rows {
            let (key, value) = row?;
            table.set(&key, Some(&value));
        }
        Ok(table)
    }

    fn apply(&mut self, position: LogId, data: &[u8]) -> Applied<u64> {
        let mut applied = Applied::default();
        for (number, command) in Command::parse(data).into_iter().enumerate() {
            let old = match command {
                Command::Put(key, value) => {
                    let old = self.set(&key, Some(&value));
                    applied.rows.push(RowChange::Put { key, value });
                    old
                }
                Command::Delete(key) => {
                    let old = self.set(&key, None);
                    applied.rows.push(RowChange::Delete { key });
                    old
                }
                Command::Finish(key) => {
                    let old = self.set(&key, None);
                    applied.rows.push(RowChange::Delete { key });
                    let place = [position.index.to_be_bytes(), (number as u64).to_be_bytes()];
                    let value = old.clone().unwrap_or_default();
                    applied.history.push(RowChange::Put { key: place.concat(), value });
                    old
                }
                Command::Panic => panic!("planted panic"),
            };
            applied.reply.replies.push(Bytes::from(old.unwrap_or_default()));
        }
        applied.effects.push(position.index);
        applied
    }

    fn digest(&self) -> [u8; 16] {
        self.digest.to_le_bytes()
    }
}

/// An observer that writes down what it is told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notes {
    pub(crate) applied: Arc<Mutex<Vec<LogId>>>,
    pub(crate) effects: Arc<Mutex<Vec<u64>>>,
    pub(crate) replaced: Arc<Mutex<Vec<LogId>>>,
    pub(crate) was_replaced: Arc<AtomicBool>,
}

impl ApplyObserver<u64> for Notes {
    fn applied(&self, position: LogId, effects: Vec<u64>) {
        self.applied.lock().push(position);
        self.effects.lock().extend(effects);
    }

    fn replaced(&self, position: LogId) {
        self.replaced.lock().push(position);
        self.was_replaced.store(true, Relaxed);
    }
}
