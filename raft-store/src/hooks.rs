//! Places where a test may make the disk fail or the process die.
//!
//! Without the cargo feature `faults` a [`Hooks`] is empty and every call here does nothing; with
//! it, `Faults` is the other end.

/// A place in the code where a crash is interesting: between two steps that recovery must tell
/// apart.
#[cfg_attr(not(feature = "faults"), allow(unreachable_pub))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CrashPoint {
    /// Operations were taken from the queue, nothing is written.
    GroupBeforeWrite,
    /// The group is written, not synced.
    GroupBeforeSync,
    /// The group is synced, nobody was told.
    GroupBeforeReport,
    /// The vote is synced, the mark does not have it yet.
    VoteBeforeMark,
    /// Half of a mark's slot is written.
    MarkHalfWritten,
    /// The mark was lowered, the log is not truncated yet.
    TruncateAfterMark,
    /// Some rows of a snapshot are in their new generation.
    InstallHalfway,
    /// All rows are there and synced, the old generation is still the state.
    InstallBeforeFlip,
    /// The new generation is the state, the old rows are still there.
    InstallAfterFlip,
    /// Part of a snapshot file is written.
    SnapshotHalfBuilt,
    /// The file is whole and synced, under its temporary name.
    SnapshotBeforeRename,
    /// The identity says "preparing", nothing else is there.
    CreateAfterPreparing,
    /// Database and mark are there, the identity does not say "ready" yet.
    CreateBeforeReady,
    /// Everything is synced at an orderly stop, the last mark is not written.
    CloseBeforeMark,
}

#[cfg(feature = "faults")]
pub(crate) use with_faults::Hooks;
#[cfg(not(feature = "faults"))]
pub(crate) use without_faults::Hooks;

#[cfg(not(feature = "faults"))]
mod without_faults {
    use std::path::Path;

    use super::CrashPoint;

    /// No faults: nothing here costs anything.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Hooks;

    impl Hooks {
        pub(crate) fn reached(&self, _point: CrashPoint) {}

        pub(crate) fn torn_at(
            &self,
            _point: CrashPoint,
            _write_half: impl FnOnce() -> Result<(), String>,
        ) -> Result<(), String> {
            Ok(())
        }

        pub(crate) fn before_write(&self) -> Result<(), String> {
            Ok(())
        }

        pub(crate) fn before_mark(&self) -> Result<(), String> {
            Ok(())
        }

        pub(crate) fn around_sync(
            &self,
            _engine_dir: &Path,
            sync: impl FnOnce() -> Result<(), String>,
        ) -> Result<(), String> {
            sync()
        }
    }
}

#[cfg(feature = "faults")]
mod with_faults {
    use std::path::Path;

    use super::CrashPoint;
    use crate::faults::Faults;

    /// Asks a test's [`Faults`] at every place.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Hooks(pub(crate) Faults);

    impl Hooks {
        pub(crate) fn reached(&self, point: CrashPoint) {
            self.0.reached(point);
        }

        /// Writes half of something before a planned crash, so that it is torn.
        pub(crate) fn torn_at(
            &self,
            point: CrashPoint,
            write_half: impl FnOnce() -> Result<(), String>,
        ) -> Result<(), String> {
            write_half()?;
            self.0.reached(point);
            Ok(())
        }

        pub(crate) fn before_write(&self) -> Result<(), String> {
            self.0.before_write()
        }

        pub(crate) fn before_mark(&self) -> Result<(), String> {
            self.0.before_mark()
        }

        pub(crate) fn around_sync(
            &self,
            engine_dir: &Path,
            sync: impl FnOnce() -> Result<(), String>,
        ) -> Result<(), String> {
            self.0.around_sync(engine_dir, sync)
        }
    }
}
