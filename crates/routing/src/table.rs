//! Tables of the replicated state: ordered rows with stable encodings, undo and change tracking.
//!
//! Every entity is one row. A [`Table`] remembers what a command touched, so that a command that
//! panicked can be undone ([`Table::undo`]), and what an entry touched, so that just those rows are
//! written to disk and enter the digest ([`Table::take_changes`]). Indexes over rows are not here:
//! they are derived, never stored, and rebuilt after an undo or a load.

use std::collections::BTreeMap;

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    digest::{Digest, row_hash},
    ids::{GroupId, TenantId},
};

/// An entity of the replicated state that is kept as one row.
///
/// The value is stored as one version byte and the postcard form of the fields in order. Changing
/// the fields of a row type means a new version, a conversion from the old one in `decode`, and a
/// new kept sample; rows of a newer version than ours are refused.
pub trait Row: Clone + PartialEq + Serialize + DeserializeOwned {
    /// Identifies the entity within its table.
    type Key: Clone + Ord;

    /// Which table; part of every row key. Never reused for another meaning.
    const TABLE: TableTag;
    /// Version of the encoding that this program writes.
    const VERSION: u8;

    /// The entity's key in memory.
    fn key(&self) -> Self::Key;
    /// The tenant that owns the row, [`TenantId::CLUSTER`] for rows of the cluster itself.
    fn tenant(&self) -> TenantId;
    /// The id part of the row key on disk: big-endian integers, so that order is kept.
    fn key_bytes(key: &Self::Key) -> Vec<u8>;

    /// Reads a row of an older version; the newest is handled by the table.
    ///
    /// # Errors
    /// `None` when this program does not know the version.
    fn decode_older(_version: u8, _body: &[u8]) -> Option<Self> {
        None
    }
}

/// Number of a table, the third byte of every row key on disk. Append only; a retired number stays
/// retired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is the table of the row type of that name")]
pub enum TableTag {
    // crates/routing
    Counters = 1,
    Site = 2,
    Skill = 3,
    Queue = 4,
    Number = 5,
    Agent = 6,
    Contact = 7,
    Offer = 8,
    Reservation = 9,
    Work = 10,
    LastAgent = 11,
    QueueInterval = 12,
    SiteInterval = 13,
    Plan = 14,
    AgentInterval = 15,
    Calendar = 16,
    Tenant = 17,
    ListedCaller = 18,
    // crates/cluster
    Header = 32,
    Node = 33,
    Leg = 34,
    Binding = 35,
    Credential = 36,
    Reply = 37,
    Idempotency = 38,
    Checkpoint = 39,
    Window = 40,
    Configuration = 41,
    FeedHead = 42,
    /// Rows of the history, never of the state.
    Feed = 43,
}

/// A row as it is stored: key and, unless it was deleted, value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    /// See [`row_key`].
    pub key: Vec<u8>,
    /// `None`: the row is deleted.
    pub value: Option<Vec<u8>>,
}

/// A stored row that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// The version byte is not known to this program.
    #[error(
        "a row of table {table:?} has format version {version}, this program knows up to {known}: \
         the data was written by a newer Tandem; start that version, or let this node join anew"
    )]
    NewerVersion {
        /// Whose row.
        table: TableTag,
        /// What was found.
        version: u8,
        /// The newest that we know.
        known: u8,
    },
    /// The bytes do not decode.
    #[error(
        "a row of table {table:?} is damaged ({detail}): the disk or a copy of it is faulty; \
         remove this node at another member (tandem cluster remove NODE) and let it join anew from its \
         peers"
    )]
    Damaged {
        /// Whose row.
        table: TableTag,
        /// What the decoder said.
        detail: String,
    },
}

/// The key of a row on disk: group (2 bytes), table (1), tenant (4), id, all big-endian.
#[must_use]
pub fn row_key(group: GroupId, table: TableTag, tenant: TenantId, id: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(7 + id.len());
    key.extend_from_slice(&group.0.to_be_bytes());
    key.push(table as u8);
    key.extend_from_slice(&tenant.0.to_be_bytes());
    key.extend_from_slice(id);
    key
}

/// The table number of a stored key; `None` if the key is too short to have one.
#[must_use]
pub fn table_byte(key: &[u8]) -> Option<u8> {
    key.get(2).copied()
}

/// Encodes a row: version byte, then the fields.
#[must_use]
pub fn encode_row<R: Row>(row: &R) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_into(row, &mut bytes);
    bytes
}

/// Encodes a row into a buffer, in the place of what it held: one that is used again need not grow.
fn encode_into<R: Row>(row: &R, buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.push(R::VERSION);
    // Row types hold integers, strings and collections of them; postcard's only error for those is
    // a full buffer, and a Vec has no such limit.
    match postcard::to_extend(row, std::mem::take(buffer)) {
        Ok(bytes) => *buffer = bytes,
        Err(error) => unreachable!("postcard into a Vec cannot fail: {error}"),
    }
}

/// Reads a row of any version that this program knows.
///
/// # Errors
/// [`RowError`]: a newer version, or damage (also trailing bytes).
pub fn decode_row<R: Row>(value: &[u8]) -> Result<R, RowError> {
    let damaged = |detail: &str| RowError::Damaged { table: R::TABLE, detail: detail.to_owned() };
    let (&version, body) = value.split_first().ok_or_else(|| damaged("empty value"))?;
    if version == R::VERSION {
        match postcard::take_from_bytes(body) {
            Ok((row, [])) => Ok(row),
            Ok(_) => Err(damaged("trailing bytes")),
            Err(error) => Err(damaged(&error.to_string())),
        }
    } else {
        let newer = RowError::NewerVersion { table: R::TABLE, version, known: R::VERSION };
        R::decode_older(version, body).ok_or(newer)
    }
}

/// An ordered table of rows with an undo journal.
///
/// Reads are plain; every write goes through [`Table::insert`], [`Table::update`] or
/// [`Table::remove`], which remember what was there before. The caller ends each command with
/// [`Table::commit`] or [`Table::undo`], and each log entry with [`Table::take_changes`].
#[derive(Debug, Clone)]
pub struct Table<R: Row> {
    rows: BTreeMap<R::Key, Kept<R>>,
    /// What the running command changed, in order: what was there before.
    command: Vec<(R::Key, Option<Kept<R>>)>,
    /// What the running entry changed: how the row counted in the digest before. The first of a key
    /// tells how the entry began.
    entry: Vec<(R::Key, Option<Counted>)>,
    /// Where rows are encoded.
    buffer: Vec<u8>,
}

/// How a row counts in the digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counted {
    hash: u128,
    tenant: TenantId,
}

/// Changes of the running command that are looked at for an older image of the same row.
const JOURNAL_LOOKED_BACK: usize = 4;

/// A row, and its hash in the digest once an entry that wrote it has ended.
#[derive(Debug, Clone)]
struct Kept<R> {
    row: R,
    counted: Option<u128>,
}

impl<R: Row> Default for Table<R> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), command: Vec::new(), entry: Vec::new(), buffer: Vec::new() }
    }
}

impl<R: Row> Table<R> {
    /// The row with this key.
    #[must_use]
    pub fn get(&self, key: &R::Key) -> Option<&R> {
        self.rows.get(key).map(|kept| &kept.row)
    }

    /// True when there is such a row.
    #[must_use]
    pub fn contains(&self, key: &R::Key) -> bool {
        self.rows.contains_key(key)
    }

    /// How many rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True when there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All rows in key order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &R> {
        self.rows.values().map(|kept| &kept.row)
    }

    /// Rows whose key is `start` or later, in key order.
    pub fn iter_from(&self, start: &R::Key) -> impl DoubleEndedIterator<Item = &R> {
        self.rows.range(start..).map(|(_, kept)| &kept.row)
    }

    /// Adds a row or replaces the one with its key.
    pub fn insert(&mut self, row: R) {
        let key = row.key();
        let before = self.rows.insert(key.clone(), Kept { row, counted: None });
        if let (Some(before), Some(after)) = (&before, self.rows.get_mut(&key)) {
            after.counted = before.counted;
        }
        self.command.push((key, before));
    }

    /// Changes a row in place; `None` when there is no such row.
    ///
    /// The closure must not change the row's key or tenant.
    pub fn update<T>(&mut self, key: &R::Key, change: impl FnOnce(&mut R) -> T) -> Option<T> {
        let kept = self.rows.get_mut(key)?;
        // What was there before the command is known already if it was changed a moment ago.
        let mut latest = self.command.iter().rev().take(JOURNAL_LOOKED_BACK);
        if !latest.any(|(other, _)| other == key) {
            self.command.push((key.clone(), Some(kept.clone())));
        }
        Some(change(&mut kept.row))
    }

    /// Changes a row in place and shows it as it was and as it is; `None` when there is no such row.
    ///
    /// The closure must not change the row's key or tenant.
    pub fn change(&mut self, key: &R::Key, change: impl FnOnce(&mut R)) -> Option<(&R, &R)> {
        let kept = self.rows.get_mut(key)?;
        self.command.push((key.clone(), Some(kept.clone())));
        change(&mut kept.row);
        let (_, before) = self.command.last()?;
        Some((&before.as_ref()?.row, &kept.row))
    }

    /// Removes a row and shows it.
    pub fn remove(&mut self, key: &R::Key) -> Option<&R> {
        let kept = self.rows.remove(key)?;
        self.command.push((key.clone(), Some(kept)));
        self.command.last().and_then(|(_, before)| before.as_ref()).map(|kept| &kept.row)
    }

    /// Puts everything back as it was before the running command.
    pub fn undo(&mut self) {
        for (key, before) in self.command.drain(..).rev() {
            match before {
                Some(kept) => self.rows.insert(key, kept),
                None => self.rows.remove(&key),
            };
        }
    }

    /// Ends the running command: its changes are part of the entry.
    pub fn commit(&mut self) {
        if self.command.is_empty() {
            return;
        }
        let counted =
            |kept: Kept<R>| kept.counted.map(|hash| Counted { hash, tenant: kept.row.tenant() });
        let changed = self.command.drain(..);
        self.entry.extend(changed.map(|(key, before)| (key, before.and_then(counted))));
    }

    /// Keys that the running entry has touched so far, in committed commands; some more than once.
    pub fn touched(&self) -> impl Iterator<Item = &R::Key> {
        self.entry.iter().map(|(key, _)| key)
    }

    /// What the running command changed so far, the oldest change first: keys, and each row before that change.
    /// A key that was changed more than once may come more than once.
    pub fn changed(&self) -> impl Iterator<Item = (&R::Key, Option<&R>)> {
        self.command.iter().map(|(key, before)| (key, before.as_ref().map(|kept| &kept.row)))
    }

    /// Ends the running entry: appends what changed to `changes` in key order and brings `digest`
    /// up to date. A row that ended as it began is not a change.
    pub fn take_changes(
        &mut self,
        group: GroupId,
        digest: &mut Digest,
        changes: &mut Vec<RowChange>,
    ) {
        debug_assert!(self.command.is_empty(), "a command was neither committed nor undone");
        if self.entry.is_empty() {
            return;
        }
        // Stable: the first of each key stays the first.
        self.entry.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.entry.dedup_by(|(later, _), (first, _)| later == first);
        for (id, before) in self.entry.drain(..) {
            let key = |tenant| row_key(group, R::TABLE, tenant, &R::key_bytes(&id));
            let buffer = &mut self.buffer;
            let after = self.rows.get_mut(&id).map(|kept| {
                let tenant = kept.row.tenant();
                let key = key(tenant);
                encode_into(&kept.row, buffer);
                let hash = row_hash(&key, buffer);
                kept.counted = Some(hash);
                (Counted { hash, tenant }, key)
            });
            let counted = after.as_ref().map(|(counted, _)| *counted);
            if before == counted {
                continue;
            }
            if let Some(before) = before {
                digest.remove(before.hash);
                // A row of another tenant stands under another key on disk.
                if counted.is_none_or(|counted| counted.tenant != before.tenant) {
                    changes.push(RowChange { key: key(before.tenant), value: None });
                }
            }
            if let Some((counted, key)) = after {
                digest.add(counted.hash);
                changes.push(RowChange { key, value: Some(self.buffer.clone()) });
            }
        }
    }

    /// Takes a stored row in, outside any entry, and adds it to `digest`.
    ///
    /// # Errors
    /// [`RowError`] when it cannot be read.
    pub fn load(&mut self, key: &[u8], value: &[u8], digest: &mut Digest) -> Result<(), RowError> {
        let row: R = decode_row(value)?;
        // The digest is that of the rows as this program writes them, of whatever version they were read.
        let hash = match value.first() {
            Some(version) if *version != R::VERSION => row_hash(key, &encode_row(&row)),
            _ => row_hash(key, value),
        };
        digest.add(hash);
        self.rows.insert(row.key(), Kept { row, counted: Some(hash) });
        Ok(())
    }

    /// Ends loading: rows that were taken in are not changes.
    pub fn forget_journal(&mut self) {
        self.command.clear();
        self.entry.clear();
    }

    /// Every row as it is stored, in key order.
    pub fn stored_rows(&self, group: GroupId) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        self.rows.iter().map(move |(id, Kept { row, .. })| {
            (row_key(group, R::TABLE, row.tenant(), &R::key_bytes(id)), encode_row(row))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Account {
        id: u32,
        amount: u64,
    }

    impl Table<Account> {
        fn plain(&self) -> Vec<Account> {
            self.iter().cloned().collect()
        }
    }

    impl Row for Account {
        type Key = u32;
        const TABLE: TableTag = TableTag::Counters;
        const VERSION: u8 = 2;

        fn key(&self) -> u32 {
            self.id
        }
        fn tenant(&self) -> TenantId {
            // An amount of 77 is another tenant's.
            TenantId(if self.amount == 77 { 8 } else { 7 })
        }
        fn key_bytes(key: &u32) -> Vec<u8> {
            key.to_be_bytes().to_vec()
        }
        fn decode_older(version: u8, body: &[u8]) -> Option<Self> {
            // Version 1 had no amount.
            (version == 1).then_some(())?;
            let (id, []) = postcard::take_from_bytes::<u32>(body).ok()? else { return None };
            Some(Self { id, amount: 0 })
        }
    }

    fn changes(table: &mut Table<Account>, digest: &mut Digest) -> Vec<RowChange> {
        let mut out = Vec::new();
        table.take_changes(GroupId(1), digest, &mut out);
        out
    }

    // Goal: undo restores inserted, changed and removed rows, and leaves no change behind.
    #[test]
    fn an_undone_command_never_happened() {
        let (mut table, mut digest) = (Table::default(), Digest::default());
        table.insert(Account { id: 1, amount: 10 });
        table.insert(Account { id: 2, amount: 20 });
        table.commit();
        assert_eq!(changes(&mut table, &mut digest).len(), 2);
        let before = (table.plain(), digest);

        table.insert(Account { id: 3, amount: 30 });
        table.update(&1, |row| row.amount = 11);
        table.update(&1, |row| row.amount = 12);
        assert_eq!(table.remove(&2).map(|row| row.amount), Some(20));
        table.remove(&3);
        table.undo();
        assert_eq!(changes(&mut table, &mut digest), vec![]);
        assert_eq!((table.plain(), digest), before);
    }

    // Goal: an entry of several commands writes each row once, with its last value; the digest
    // equals that of a table loaded from the written rows.
    #[test]
    fn an_entry_writes_last_values_and_the_digest_follows() {
        let (mut table, mut digest) = (Table::default(), Digest::default());
        let mut disk = BTreeMap::new();
        let mut step = |table: &mut Table<Account>, digest: &mut Digest, count: usize| {
            let out = changes(table, digest);
            assert_eq!(out.len(), count);
            for RowChange { key, value } in out {
                match value {
                    Some(value) => disk.insert(key, value),
                    None => disk.remove(&key),
                };
            }
            let (mut loaded, mut fresh) = (Table::<Account>::default(), Digest::default());
            for (key, value) in &disk {
                loaded.load(key, value, &mut fresh).unwrap();
            }
            assert_eq!((loaded.plain(), fresh), (table.plain(), *digest));
        };
        for id in 0..4 {
            table.insert(Account { id, amount: 1 });
            table.commit();
        }
        step(&mut table, &mut digest, 4);
        table.update(&0, |row| row.amount = 5);
        table.commit();
        table.update(&0, |row| row.amount = 1); // back again: no change
        table.commit();
        table.update(&1, |row| row.amount = 6);
        table.commit();
        table.remove(&2);
        table.commit();
        table.insert(Account { id: 9, amount: 1 });
        table.commit();
        table.remove(&9); // came and went within the entry
        table.commit();
        step(&mut table, &mut digest, 2);
        table.remove(&3);
        table.commit();
        table.insert(Account { id: 3, amount: 77 }); // belongs to another tenant now: two keys change
        table.commit();
        step(&mut table, &mut digest, 2);
    }

    // Goal: older versions are converted, newer ones and damage are refused with their reason.
    #[test]
    fn versions_and_damage() {
        assert_eq!(decode_row::<Account>(&[1, 5]), Ok(Account { id: 5, amount: 0 }));
        assert_eq!(decode_row::<Account>(&[2, 5, 6]), Ok(Account { id: 5, amount: 6 }));
        assert!(matches!(
            decode_row::<Account>(&[3, 5, 6]),
            Err(RowError::NewerVersion { version: 3, known: 2, .. })
        ));
        for bad in [&[][..], &[2], &[2, 5], &[2, 5, 6, 7]] {
            assert!(matches!(decode_row::<Account>(bad), Err(RowError::Damaged { .. })), "{bad:?}");
        }
    }
}
