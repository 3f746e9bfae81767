//! A node's own copy of the replicated machine, and what of it is on its disk.
//!
//! The store writes the rows of an entry behind its apply without a sync, so a process that dies loses
//! nothing, and a host that loses power falls back to the last sync; either way the node goes on from
//! the position that stands beside the rows, and replays the log from there.

use std::{collections::BTreeMap, convert::Infallible};

use tandem_cluster::machine::{Applied, Machine};
use tandem_routing::table::RowChange;

use super::log::GROUP;

/// Entries between two syncs of the rows.
const SYNC_EVERY: u64 = 16;

/// What is on a node's disk.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    /// A fault on purpose.
    #[cfg(feature = "planted")]
    pub planted: Option<tandem_routing::planted::Planted>,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The entry after which the rows stand so.
    at: u64,
    /// Written, not synced.
    behind: Vec<(u64, Vec<RowChange>)>,
}

/// What a host's death does to its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// The process died: everything that was written is there.
    Process,
    /// Power was lost: what was not synced is gone.
    Power,
}

impl Disk {
    fn write(&mut self, index: u64, changes: Vec<RowChange>) {
        self.behind.push((index, changes));
        if index.is_multiple_of(SYNC_EVERY) {
            self.sync();
        }
    }

    fn sync(&mut self) {
        for (index, changes) in std::mem::take(&mut self.behind) {
            for change in changes {
                match change.value {
                    Some(value) => self.rows.insert(change.key, value),
                    None => self.rows.remove(&change.key),
                };
            }
            self.at = index;
        }
    }

    /// Its host dies.
    pub fn dies(&mut self, how: Death) {
        match how {
            Death::Process => self.sync(),
            Death::Power if planted!(self, PositionOutrunsRows) => {
                self.at = self.behind.last().map_or(self.at, |(index, _)| *index);
                self.behind.clear();
            }
            Death::Power => self.behind.clear(),
        }
    }

    /// A copy with everything that was written: what a snapshot carries.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        let mut copy = self.clone();
        copy.sync();
        copy
    }

    /// The entry after which its rows stand.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.at
    }
}

/// A node's machine.
#[derive(Debug)]
pub struct Replica {
    /// The state after the last applied entry.
    pub machine: Machine,
    /// Its index.
    pub applied: u64,
    /// When it was applied, by the node's clock, in ms.
    pub applied_at: u64,
}

impl Replica {
    /// Opens what a disk holds.
    ///
    /// # Errors
    /// Why a row could not be loaded: a fault of the machine, because it wrote all of them.
    pub fn open(disk: &Disk, local: u64) -> Result<Self, String> {
        let rows =
            disk.rows.iter().map(|(key, value)| Ok::<_, Infallible>((key.clone(), value.clone())));
        let machine = Machine::load(GROUP, rows).map_err(|error| error.to_string())?;
        #[cfg(feature = "planted")]
        let machine = machine.with_planted(disk.planted);
        let skipped = u64::from(planted!(disk, RestartSkipsAnEntry) && disk.at > 0);
        Ok(Self { machine, applied: disk.at + skipped, applied_at: local })
    }

    /// Applies the next entry; a blank one (`None`) only moves the position.
    ///
    /// # Errors
    /// Why the machine refused an entry that the log holds.
    pub fn apply(
        &mut self,
        entry: Option<&[u8]>,
        local: u64,
        disk: &mut Disk,
    ) -> Result<Applied, String> {
        self.applied += 1;
        self.applied_at = local;
        let mut applied = match entry {
            Some(bytes) => self.machine.apply(self.applied, bytes).map_err(|e| e.to_string())?,
            None => Applied::default(),
        };
        disk.write(self.applied, std::mem::take(&mut applied.changes));
        Ok(applied)
    }
}
