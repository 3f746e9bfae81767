//! openraft's own storage suite.

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tandem_raft_store::{LogStore, StateMachine, TypeConfig};
use tempfile::TempDir;

use crate::kit::{Closing, Table, create};

struct Builder;

/// Keeps directory and store alive for one test of the suite.
struct Guard {
    _closing: Closing,
    _dir: TempDir,
}

impl StoreBuilder<TypeConfig, LogStore, StateMachine<Table>, Guard> for Builder {
    async fn build(
        &self,
    ) -> Result<(Guard, LogStore, StateMachine<Table>), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = create(dir.path());
        Ok((Guard { _closing: store.closing, _dir: dir }, store.log, store.machine))
    }
}

// Goal: openraft's contract for log, vote, state machine and snapshots holds on this store.
#[tokio::test]
async fn openraft_storage_suite() {
    Suite::test_all(Builder).await.expect("the suite passes");
}
