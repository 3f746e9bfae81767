//! Copies a running store, and checks the copy.
//!
//! The copy's marker says that it is a backup, so that nobody can start it as the node that it was
//! taken from: that node's later promises are not in it (fault "old disk image restored").

use std::path::Path;

use rocksdb::checkpoint::Checkpoint;

use crate::db::{self, Access, Db, EngineMemory, EngineWarnings, Keys};
use crate::error::{OpenError, StoreError};
use crate::format::identity::{Identity, IdentityRecord, IdentityStage};
use crate::format::mark::MarkValue;
use crate::identity::{
    DirectoryState, create_dir_durably, engine_dir, survey, sync_dir, write_marker,
};
use crate::inspect::{Inspection, engine_error};
use crate::log_view::{CacheLimits, LogView};
use crate::machine::Machine;
use crate::recovery::RecoveryReport;

/// What is backed up.
pub(crate) struct Source<'a> {
    pub(crate) db: &'a Db,
    pub(crate) keys: Keys,
    pub(crate) identity: &'a Identity,
    pub(crate) memory: EngineMemory,
    /// What was certainly on disk when the backup began: the copy must have at least that.
    pub(crate) mark: MarkValue,
}

/// Copies to `to`, which must be missing or empty.
pub(crate) fn take<M: Machine>(
    source: &Source<'_>,
    to: &Path,
) -> Result<RecoveryReport, OpenError> {
    let dir = || to.to_path_buf();
    match survey(to)? {
        DirectoryState::Empty => {}
        DirectoryState::Foreign { example } => {
            return Err(OpenError::ForeignFiles { dir: dir(), example });
        }
        DirectoryState::Node(IdentityRecord { identity, .. }) => {
            let Identity { node, cluster, .. } = identity;
            return Err(OpenError::AlreadyCreated { dir: dir(), node, cluster });
        }
    }
    create_dir_durably(to)?;
    let record = |stage| IdentityRecord { identity: source.identity.clone(), stage };
    write_marker(to, &record(IdentityStage::Preparing))?;
    let copy = engine_dir(to);
    source.db.with(|db| {
        let checkpoint = Checkpoint::new(db).map_err(|error| engine_error(to, &error))?;
        checkpoint.create_checkpoint(&copy).map_err(|error| engine_error(to, &error))
    })?;
    sync_dir(to).map_err(|error| OpenError::io("sync", to, error))?;
    let report = check::<M>(source, to, &copy)?;
    write_marker(to, &record(IdentityStage::Backup))?;
    Ok(report)
}

fn check<M: Machine>(
    source: &Source<'_>,
    to: &Path,
    copy: &Path,
) -> Result<RecoveryReport, OpenError> {
    let warnings = EngineWarnings::default();
    let db = db::open(copy, Access::Look, source.memory, &warnings)
        .map_err(|error| engine_error(to, &error))?;
    let inspection = Inspection {
        dir: to,
        db: &db,
        keys: source.keys,
        identity: source.identity,
        mark: source.mark,
    };
    // Only the checks are wanted, so the view keeps one entry.
    let view = LogView::new(CacheLimits { bytes: 0, entries: 1 });
    let found = inspection.run::<M>(&view)?;
    Ok(RecoveryReport::of_copy(&found))
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        Self::io("back up", Path::new("the running store"), error.into())
    }
}
