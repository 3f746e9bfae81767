//! How a store is opened.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::db::EngineMemory;
use crate::error::{Fatal, FatalHandler};
use crate::format::identity::Identity;
use crate::identity::Expected;
use crate::limits;
use crate::log_view::CacheLimits;
use crate::types::GroupId;

/// Whether a node is created or goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// Create the directory for this node: init or join. It must be missing or empty.
    Create(Identity),
    /// Go on with what is there; it must belong to this node.
    Resume(Expected),
}

/// Options of [`crate::Store::open`].
#[derive(Clone)]
pub struct Options {
    /// The data directory.
    pub dir: PathBuf,
    /// Create or go on.
    pub start: Start,
    /// The Raft group; 0 today.
    pub group: GroupId,
    /// Memory for buffers and caches, in bytes: at least 8 MiB, by default
    /// [`limits::MEMORY_BYTES_DEFAULT`]. The machine itself comes on top, twice while a snapshot is
    /// received or installed.
    pub memory_bytes: usize,
    /// How long the synced-through mark may lag behind a sync. Shorter makes the window smaller in
    /// which rot looks like a torn tail, and costs one small write per interval.
    pub mark_interval: Duration,
    /// Called once if the store has to stop. The node ends the process there.
    pub on_fatal: FatalHandler,
    /// Faults on purpose.
    #[cfg(feature = "faults")]
    pub faults: crate::faults::Faults,
}

impl Options {
    /// Options with defaults. `on_fatal` has none: a node that went on after a failed sync would
    /// break its promises, so every caller has to say how it ends.
    pub fn new(
        dir: impl Into<PathBuf>,
        start: Start,
        on_fatal: impl Fn(&Fatal) + Send + Sync + 'static,
    ) -> Self {
        Self {
            dir: dir.into(),
            start,
            group: GroupId::default(),
            memory_bytes: limits::MEMORY_BYTES_DEFAULT,
            mark_interval: Duration::from_millis(limits::MARK_INTERVAL_MS),
            on_fatal: Arc::new(on_fatal),
            #[cfg(feature = "faults")]
            faults: crate::faults::Faults::new(),
        }
    }

    /// A part of the memory, in the proportion of the defaults.
    fn share(&self, default_bytes: usize) -> usize {
        let total = self.memory_bytes.max(limits::MEMORY_BYTES_LEAST) as u128;
        let share = default_bytes as u128 * total / limits::MEMORY_BYTES_DEFAULT as u128;
        usize::try_from(share).unwrap_or(usize::MAX)
    }

    pub(crate) fn engine_memory(&self) -> EngineMemory {
        EngineMemory {
            write_buffer_bytes: self.share(limits::WRITE_BUFFER_BYTES),
            block_cache_bytes: self.share(limits::BLOCK_CACHE_BYTES),
        }
    }

    pub(crate) fn cache_limits(&self) -> CacheLimits {
        CacheLimits {
            bytes: self.share(limits::LOG_CACHE_BYTES),
            entries: limits::LOG_CACHE_ENTRIES,
        }
    }

    #[cfg(feature = "faults")]
    pub(crate) fn hooks(&self) -> crate::hooks::Hooks {
        crate::hooks::Hooks(self.faults.clone())
    }

    #[cfg(not(feature = "faults"))]
    pub(crate) fn hooks(&self) -> crate::hooks::Hooks {
        crate::hooks::Hooks
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("dir", &self.dir)
            .field("start", &self.start)
            .field("group", &self.group)
            .field("memory_bytes", &self.memory_bytes)
            .field("mark_interval", &self.mark_interval)
            .finish_non_exhaustive()
    }
}
