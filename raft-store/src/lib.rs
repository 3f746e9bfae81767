//! The replicated store of a Tandem node: openraft's log, vote, state and snapshots on RocksDB.
//!
//! ```text
//!  openraft ── LogStore ─────┐                    ┌── log, meta, state, history (RocksDB)
//!           └─ StateMachine ─┤ queue ── writer ───┤
//!  node ────── StoreHandle ──┘          thread    └── MARK (what was certainly synced)
//! ```
//!
//! What it promises:
//! - nothing is reported as saved before the sync that covers it, and a failed sync is never tried
//!   again: the store stops ([`Fatal`]) and the node exits;
//! - whatever crashed, a reopened store has every acknowledged entry and vote, or is refused with
//!   the reason ([`OpenError`]); it never forgets in silence;
//! - the rows on disk are exactly the state after some prefix of the log, with a digest that is
//!   checked at every open;
//! - memory, queues and reads are bounded ([`limits`]).
//!
//! Where to look: [`Store::open`] first; `writer` for how things reach the disk, `mark` and
//! `inspect` for how losses are found, [`snapshot`] for snapshots, [`mod@format`] for every byte.
//!
//! What does not live here: the network between nodes, the machine itself (a [`Machine`] is handed
//! in), and any decision about membership.

mod backup;
mod counters;
mod db;
mod engine_logs;
pub mod error;
#[cfg(feature = "faults")]
pub mod faults;
pub mod format;
mod halt;
mod handle;
mod hooks;
pub mod identity;
mod inspect;
pub mod limits;
mod live;
mod log_read;
mod log_store;
mod log_view;
mod machine;
mod mark;
mod options;
mod queue;
mod recovery;
mod scrub;
pub mod snapshot;
mod state_machine;
mod store;
mod types;
mod writer;

pub use counters::Counters;
pub use error::{
    Damage, DamagedPart, Fatal, FatalCause, FatalHandler, OpenError, SnapshotError, StoreError,
};
pub use format::identity::Identity;
pub use handle::StoreHandle;
pub use identity::{DirectoryState, Expected, survey};
pub use log_store::{LogReader, LogStore};
pub use machine::{Applied, ApplyObserver, Machine, NoObserver, Row, RowChange, RowsInterrupted};
pub use options::{Options, Start};
pub use recovery::RecoveryReport;
pub use scrub::ScrubReport;
pub use snapshot::{SnapshotBuilder, SnapshotFile, SnapshotReceiver};
pub use state_machine::StateMachine;
pub use store::{Opened, Store};
pub use types::{
    ClusterId, DiskId, Entry, EntryData, EntryReply, EntryTooLarge, GroupId, InvalidNodeRecord,
    LeaderId, LogId, Membership, NodeId, NodeRecord, Payload, Snapshot, SnapshotMeta,
    StoredMembership, TypeConfig, Vote, log_id,
};
