//! Builds a snapshot from a consistent view of the database, while entries go on being applied.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use openraft::storage::RaftSnapshotBuilder;
use parking_lot::Mutex;
use rocksdb::{DB, ReadOptions};
use xxhash_rust::xxh3::Xxh3;

use super::file::SnapshotFile;
use super::read::PREFIX_BYTES;
use super::shelf::Shelf;
use crate::counters::{CounterCells, add};
use crate::db::{Db, Keys, META, MetaRecord, STATE, family, range_options, read_fatal};
use crate::error::{Fatal, FatalCause, StoreError};
use crate::format::FormatError;
use crate::format::records::{StateRecord, decode_state, decode_stored_membership};
use crate::format::snapshot::{
    MAGIC, SnapshotHeader, SnapshotInfo, Trailer, encode_frame, encode_header, encode_trailer,
    push_row,
};
use crate::halt::Halt;
use crate::hooks::{CrashPoint, Hooks};
use crate::limits::FRAME_BYTES;
use crate::queue::{Op, Queue};
use crate::types::{GroupId, Snapshot, StoredMembership, TypeConfig};

/// What building needs. Shared by every builder of a store.
#[derive(Debug)]
pub(crate) struct BuildParts {
    pub(crate) db: Arc<Db>,
    pub(crate) keys: Keys,
    pub(crate) group: GroupId,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) halt: Arc<Halt>,
    pub(crate) counters: Arc<CounterCells>,
    pub(crate) hooks: Hooks,
    /// Set when the store closes: a build under way gives up.
    pub(crate) closing: Arc<AtomicBool>,
    /// One build at a time.
    pub(crate) building: Mutex<()>,
}

/// Builds one snapshot. openraft makes it and runs it beside apply.
#[derive(Debug, Clone)]
pub struct SnapshotBuilder {
    pub(crate) parts: Arc<BuildParts>,
    pub(crate) queue: Queue,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        // Whatever was applied before this builder was made is in the database behind this fence.
        self.queue.call(0, |done| Op::Fence { done }).await?;
        let parts = Arc::clone(&self.parts);
        let building = tokio::task::spawn_blocking(move || parts.build());
        let built = building.await.unwrap_or_else(|_| Err(self.parts.halt.closed()));
        Ok(built?.to_snapshot())
    }
}

impl BuildParts {
    fn build(&self) -> Result<SnapshotFile, StoreError> {
        let _one_at_a_time = self.building.lock();
        self.db.with(|db| {
            self.build_from(db).map_err(|failure| match failure {
                Failure::Closing => StoreError::Closed,
                Failure::Fatal(fatal) => self.halt.stop(fatal),
            })
        })
    }

    fn build_from(&self, db: &DB) -> Result<SnapshotFile, Failure> {
        let view = db.snapshot();
        let (state, membership) = self.position(db, &view)?;
        // Two snapshots at one position hold the same state.
        if let Some(current) = self.shelf.current()
            && current.info().header.log_id == state.applied
        {
            return Ok(current);
        }
        let header = SnapshotHeader {
            cluster: self.shelf.cluster(),
            group: self.group,
            built_by: self.shelf.node(),
            log_id: state.applied,
            membership,
            digest: state.digest,
            rows: 0,
        };
        let path = self.shelf.building_path();
        let written = File::create(&path)
            .map_err(Failure::from)
            .and_then(|file| self.write_file(db, &view, state.generation, header, file));
        let info = match written {
            Ok(info) => info,
            Err(failure) => {
                // The error that is reported is the first one; a leftover is removed at open.
                drop(fs::remove_file(&path));
                return Err(failure);
            }
        };
        self.hooks.reached(CrashPoint::SnapshotBeforeRename);
        let snapshot = self.shelf.put(&path, info)?;
        add(&self.counters.snapshots_built, 1);
        tracing::info!(snapshot = ?snapshot, "snapshot built");
        Ok(snapshot)
    }

    fn position(
        &self,
        db: &DB,
        view: &rocksdb::Snapshot<'_>,
    ) -> Result<(StateRecord, StoredMembership), Failure> {
        let read = |record, what: &'static str| {
            let found = view.get_cf(family(db, META), self.keys.meta(record));
            let found = found.map_err(|error| read_fatal(what, &error))?;
            found.ok_or_else(|| Fatal::new(FatalCause::Damage, format!("there is no {what}")))
        };
        let state = decode_state(&read(MetaRecord::State, "state position")?)?;
        let membership =
            decode_stored_membership(&read(MetaRecord::Membership, "stored membership")?)?;
        Ok((state, membership))
    }

    fn write_file(
        &self,
        db: &DB,
        view: &rocksdb::Snapshot<'_>,
        generation: u32,
        mut header: SnapshotHeader,
        file: File,
    ) -> Result<SnapshotInfo, Failure> {
        let mut output = Output::begin(file, &header)?;
        let (from, to) = self.keys.generation(generation);
        let mut options: ReadOptions = range_options(from, to);
        options.fill_cache(false);
        let mut rows = view.raw_iterator_cf_opt(family(db, STATE), options);
        rows.seek_to_first();
        while let Some((key, value)) = rows.item() {
            let key = self
                .keys
                .row_key(key)
                .ok_or_else(|| Fatal::new(FatalCause::Damage, "a row's key has no generation"))?;
            if output.push(key, value)? {
                self.hooks.reached(CrashPoint::SnapshotHalfBuilt);
                if self.closing.load(Relaxed) {
                    return Err(Failure::Closing);
                }
            }
            rows.next();
        }
        rows.status().map_err(|error| read_fatal("rows for a snapshot", &error))?;
        header.rows = output.rows();
        Ok(output.end(header)?)
    }
}

/// Why a build ended.
enum Failure {
    Closing,
    Fatal(Fatal),
}

impl From<Fatal> for Failure {
    fn from(fatal: Fatal) -> Self {
        Self::Fatal(fatal)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Fatal(Fatal::new(FatalCause::Snapshot, error.to_string()))
    }
}

impl From<FormatError> for Failure {
    fn from(error: FormatError) -> Self {
        Self::Fatal(Fatal::new(FatalCause::Damage, error.to_string()))
    }
}

/// A snapshot file being written.
struct Output {
    file: BufWriter<File>,
    hasher: Box<Xxh3>,
    header_length: usize,
    frame: Vec<u8>,
    frame_rows: u32,
    totals: Trailer,
    file_bytes: u64,
}

impl Output {
    /// Writes the prefix and a header with no rows yet; it is written again at the end.
    fn begin(file: File, header: &SnapshotHeader) -> io::Result<Self> {
        let header_bytes = encode_header(header);
        let length = u32::try_from(header_bytes.len()).unwrap_or(u32::MAX);
        let mut file = BufWriter::new(file);
        file.write_all(&MAGIC)?;
        file.write_all(&length.to_le_bytes())?;
        file.write_all(&header_bytes)?;
        Ok(Self {
            file,
            hasher: Box::new(Xxh3::new()),
            header_length: header_bytes.len(),
            frame: Vec::with_capacity(FRAME_BYTES + FRAME_BYTES / 4),
            frame_rows: 0,
            totals: Trailer { frames: 0, rows: 0, raw_bytes: 0, hash: 0 },
            file_bytes: (PREFIX_BYTES + header_bytes.len()) as u64,
        })
    }

    /// Adds a row; returns whether it filled a frame.
    fn push(&mut self, key: &[u8], value: &[u8]) -> io::Result<bool> {
        push_row(&mut self.frame, key, value);
        self.frame_rows += 1;
        let full = self.frame.len() >= FRAME_BYTES;
        if full {
            self.end_frame()?;
        }
        Ok(full)
    }

    fn end_frame(&mut self) -> io::Result<()> {
        if self.frame_rows == 0 {
            return Ok(());
        }
        let packed = lz4_flex::block::compress(&self.frame);
        let raw_bytes = u32::try_from(self.frame.len()).unwrap_or(u32::MAX);
        let bytes = encode_frame(raw_bytes, self.frame_rows, &packed);
        self.file.write_all(&bytes)?;
        self.hasher.update(&bytes);
        self.file_bytes += bytes.len() as u64;
        self.totals.frames += 1;
        self.totals.rows += u64::from(self.frame_rows);
        self.totals.raw_bytes += self.frame.len() as u64;
        self.frame.clear();
        self.frame_rows = 0;
        Ok(())
    }

    fn rows(&self) -> u64 {
        self.totals.rows + u64::from(self.frame_rows)
    }

    /// Writes the last frame, the trailer and the final header, and syncs.
    fn end(mut self, header: SnapshotHeader) -> io::Result<SnapshotInfo> {
        self.end_frame()?;
        let header_bytes = encode_header(&header);
        if header_bytes.len() != self.header_length {
            return Err(io::Error::other("the header changed its length"));
        }
        self.hasher.update(&header_bytes);
        let hash = self.hasher.digest128();
        let trailer = encode_trailer(&Trailer { hash, ..self.totals });
        self.file.write_all(&trailer)?;
        let file_bytes = self.file_bytes + trailer.len() as u64;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.write_all_at(&header_bytes, PREFIX_BYTES as u64)?;
        file.sync_all()?;
        Ok(SnapshotInfo { header, file_bytes, hash })
    }
}

/// Opens a finished file for reading.
pub(crate) fn open_for_reading(path: &std::path::Path) -> io::Result<File> {
    OpenOptions::new().read(true).open(path)
}
