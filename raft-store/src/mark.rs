//! The synced-through mark: a small file beside RocksDB that says what was certainly on disk.
//!
//! RocksDB cuts its write-ahead log at the first record that is not whole. After a power loss that
//! is right; after rot, or on a disk that lied about a sync, it silently forgets entries and votes
//! that this node had acknowledged, and such a node could help to elect a leader without them. The
//! mark tells the two apart: log, vote and purge position must be at least what it says.
//!
//! Two slots are written alternately, each with a sequence number and a checksum, so that a torn
//! write costs only the newer one. A mark is written after the sync that it speaks of, never
//! before. Votes are rare and precious: they are in the mark before `save_vote` returns. Log
//! positions follow at most [`crate::limits::MARK_INTERVAL_MS`] later by default, from a thread of their own, so
//! that no append waits for them; within that window after the last mark, rot at the very end of
//! the log looks like a torn tail (its entries are still on the other members of the quorum).
//! Before the log is truncated the mark is lowered, durably, else a crash in between would look
//! like a loss.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::error::{Damage, DamagedPart, Fatal, FatalCause, OpenError};
use crate::format::FormatError;
use crate::format::mark::{LogPoint, MarkValue, SLOT_BYTES, decode_mark, encode_mark};
use crate::hooks::{CrashPoint, Hooks};
use crate::identity::sync_dir;
use crate::types::{DiskId, Vote};

/// Distance between the two slots: they never share a page or a disk sector.
const SLOT_DISTANCE: u64 = 4096;
const FILE_BYTES: u64 = 2 * SLOT_DISTANCE;

/// What was read from the mark file at open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MarkFound {
    pub(crate) value: MarkValue,
    sequence: u64,
    /// One of the two slots did not decode: torn by a crash, or rotten.
    pub(crate) slot_lost: bool,
}

/// Reads the newer valid slot.
pub(crate) fn read(dir: &Path, path: &Path, disk: DiskId) -> Result<MarkFound, OpenError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Damage::new(DamagedPart::Mark, "MARK", "the file is missing").into());
        }
        Err(error) => return Err(OpenError::io("read", path, error)),
    };
    let slots = [0, SLOT_DISTANCE].map(|offset| read_slot(&bytes, offset as usize));
    let mut newest: Option<(DiskId, u64, MarkValue)> = None;
    let mut lost = 0;
    for slot in slots {
        match slot {
            Ok(found) if newest.is_none_or(|best| best.1 < found.1) => newest = Some(found),
            Ok(_) => {}
            Err(FormatError::Newer { what, found, known }) => {
                return Err(OpenError::NewerFormat { dir: dir.to_path_buf(), what, found, known });
            }
            Err(_) => lost += 1,
        }
    }
    let Some((owner, sequence, value)) = newest else {
        return Err(Damage::new(DamagedPart::Mark, "MARK", "neither slot can be read").into());
    };
    if owner != disk {
        let detail = format!("it belongs to disk {owner}, this directory to disk {disk}");
        return Err(Damage::new(DamagedPart::Mark, "MARK", detail).into());
    }
    Ok(MarkFound { value, sequence, slot_lost: lost > 0 })
}

fn read_slot(bytes: &[u8], offset: usize) -> Result<(DiskId, u64, MarkValue), FormatError> {
    let slot = bytes
        .get(offset..offset + SLOT_BYTES)
        .ok_or(FormatError::Short { what: "synced-through mark" })?;
    decode_mark(slot)
}

/// Writes the first mark of a new directory.
pub(crate) fn create(path: &Path, disk: DiskId) -> Result<(), OpenError> {
    let write = || -> io::Result<()> {
        let file = File::create_new(path)?;
        file.set_len(FILE_BYTES)?;
        // Both slots are valid from the start, so that a slot that does not decode is always news.
        for (sequence, offset) in [(1, 0), (2, SLOT_DISTANCE)] {
            let slot = encode_mark(disk, sequence, &MarkValue::default());
            file.write_all_at(&slot, offset)?;
        }
        file.sync_all()?;
        sync_dir(path.parent().unwrap_or(Path::new(".")))
    };
    write().map_err(|error| OpenError::io("create", path, error))
}

/// Keeps the mark of a running store.
#[derive(Debug)]
pub(crate) struct Marker {
    /// Taken for as long as a write takes.
    file: Mutex<MarkFile>,
    /// Taken for moments only: the writer thread publishes here after every sync.
    pending: Mutex<Pending>,
    wake: Condvar,
    writes: AtomicU64,
}

#[derive(Debug)]
struct MarkFile {
    file: File,
    path: PathBuf,
    disk: DiskId,
    sequence: u64,
    on_disk: MarkValue,
    hooks: Hooks,
}

#[derive(Debug)]
struct Pending {
    value: MarkValue,
    stopping: bool,
}

impl Marker {
    /// Opens the file for writing and brings both slots to what was found at open, so that a lost
    /// slot is whole again.
    pub(crate) fn open(
        path: &Path,
        disk: DiskId,
        found: &MarkFound,
        now: MarkValue,
        hooks: Hooks,
    ) -> Result<Self, OpenError> {
        let io_error = |error| OpenError::io("open", path, error);
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(io_error)?;
        if file.metadata().map_err(io_error)?.len() < FILE_BYTES {
            file.set_len(FILE_BYTES).map_err(io_error)?;
            file.sync_all().map_err(io_error)?;
        }
        let mut file = MarkFile {
            file,
            path: path.to_path_buf(),
            disk,
            sequence: found.sequence,
            on_disk: found.value,
            hooks,
        };
        for _ in 0..2 {
            file.write(&now)
                .map_err(|message| OpenError::io("write", path, io::Error::other(message)))?;
        }
        let pending = Mutex::new(Pending { value: now, stopping: false });
        Ok(Self {
            file: Mutex::new(file),
            pending,
            wake: Condvar::new(),
            writes: AtomicU64::new(0),
        })
    }

    /// Notes what a sync made certain; it reaches the file later.
    pub(crate) fn publish(&self, change: impl FnOnce(&mut MarkValue)) {
        change(&mut self.pending.lock().value);
    }

    /// Writes the mark now, with this vote.
    pub(crate) fn write_vote(&self, vote: Vote) -> Result<(), Fatal> {
        self.publish(|value| value.vote = Some(vote));
        self.write_pending()
    }

    /// Lowers the log position, durably, before the log is truncated to `point`. Does nothing if
    /// no mark speaks of more.
    pub(crate) fn lower(&self, point: Option<LogPoint>) -> Result<(), Fatal> {
        // The file first: its holder may be about to write the value that is lowered here.
        let mut file = self.file.lock();
        let value = {
            let mut pending = self.pending.lock();
            let above = |mark: &MarkValue| {
                mark.last.map(|last| last.log_id.index) > point.map(|point| point.log_id.index)
            };
            if above(&pending.value) {
                pending.value.last = point;
            } else if !above(&file.on_disk) {
                return Ok(());
            }
            pending.value
        };
        self.write(&mut file, &value)
    }

    /// Writes the mark now if it has news.
    pub(crate) fn write_pending(&self) -> Result<(), Fatal> {
        let mut file = self.file.lock();
        let value = self.pending.lock().value;
        if value == file.on_disk {
            return Ok(());
        }
        self.write(&mut file, &value)
    }

    fn write(&self, file: &mut MarkFile, value: &MarkValue) -> Result<(), Fatal> {
        self.writes.fetch_add(1, Relaxed);
        file.write(value).map_err(|message| Fatal::new(FatalCause::Mark, message))
    }

    /// The loop of the mark's thread: writes when there is news, at most once per `interval`.
    /// `tick` runs once per round; an error ends the loop.
    pub(crate) fn run(
        &self,
        interval: Duration,
        mut tick: impl FnMut() -> Result<(), Fatal>,
    ) -> Result<(), Fatal> {
        while !self.pause(interval.max(Duration::from_millis(1))) {
            self.write_pending()?;
            tick()?;
        }
        Ok(())
    }

    /// Sleeps one interval; returns whether the store is stopping.
    fn pause(&self, interval: Duration) -> bool {
        let mut pending = self.pending.lock();
        let deadline = std::time::Instant::now() + interval;
        while !pending.stopping {
            if self.wake.wait_until(&mut pending, deadline).timed_out() {
                break;
            }
        }
        pending.stopping
    }

    /// Ends [`Marker::run`].
    pub(crate) fn stop(&self) {
        self.pending.lock().stopping = true;
        self.wake.notify_all();
    }

    /// What the last sync made certain.
    pub(crate) fn synced(&self) -> MarkValue {
        self.pending.lock().value
    }

    /// How often the mark was written.
    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Relaxed)
    }
}

impl MarkFile {
    fn write(&mut self, value: &MarkValue) -> Result<(), String> {
        let explain = |error: io::Error| format!("{}: {error}", self.path.display());
        self.hooks.before_mark()?;
        let sequence = self.sequence + 1;
        let offset = if sequence.is_multiple_of(2) { SLOT_DISTANCE } else { 0 };
        let slot = encode_mark(self.disk, sequence, value);
        self.hooks.torn_at(CrashPoint::MarkHalfWritten, || {
            let half = slot.get(..SLOT_BYTES / 8).unwrap_or_default();
            self.file.write_all_at(half, offset).map_err(explain)
        })?;
        self.file.write_all_at(&slot, offset).map_err(explain)?;
        self.file.sync_data().map_err(explain)?;
        self.sequence = sequence;
        self.on_disk = *value;
        Ok(())
    }
}
