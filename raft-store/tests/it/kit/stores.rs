//! Opening stores in temporary directories, and using them without openraft's core.

use std::ops::RangeBounds;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage, RaftStateMachine};
use openraft::type_config::TypeConfigExt;
use parking_lot::Mutex;
use tandem_raft_store::faults::Faults;
use tandem_raft_store::{
    ApplyObserver, ClusterId, DiskId, Entry, Expected, Fatal, Identity, LogStore, Machine,
    NoObserver, NodeId, OpenError, Options, Payload, Start, StateMachine, Store, StoreHandle,
    TypeConfig, Vote, log_id,
};

use super::{Command, Table};

pub(crate) const CLUSTER: ClusterId = ClusterId(0x00c1_05e7);

/// An open store with its faults and whatever it told its fatal handler.
pub(crate) struct TestStore {
    pub(crate) log: LogStore,
    pub(crate) machine: StateMachine<Table>,
    pub(crate) handle: StoreHandle<Table>,
    pub(crate) faults: Faults,
    pub(crate) fatals: Arc<Mutex<Vec<Fatal>>>,
    /// Closes the store when it is dropped.
    pub(crate) closing: Closing,
}

/// Closes a store that a test leaves open: a database that still works when the process ends would
/// meet RocksDB's static destructors, and abort.
pub(crate) struct Closing(pub(crate) StoreHandle<Table>);

impl Drop for Closing {
    fn drop(&mut self) {
        let close = || {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            // A store that halted says so again: the test has looked at that.
            drop(runtime.expect("a runtime").block_on(self.0.close()));
        };
        std::thread::scope(|scope| drop(scope.spawn(close).join()));
    }
}

pub(crate) fn identity(node: NodeId) -> Identity {
    Identity {
        cluster: CLUSTER,
        node,
        disk: DiskId(u128::from(node) << 64 | 0xd15c),
        created_by: "test".into(),
    }
}

/// Options with small memory, so that small tests reach the disk.
pub(crate) fn options(dir: &Path, start: Start, fatals: &Arc<Mutex<Vec<Fatal>>>) -> Options {
    let fatals = Arc::clone(fatals);
    let mut options = Options::new(dir, start, move |fatal| fatals.lock().push(fatal.clone()));
    options.memory_bytes = 8 * 1024 * 1024;
    options.mark_interval = Duration::from_millis(5);
    options
}

/// Shows openraft's and the store's log on standard error if `TANDEM_LOG` says which of it.
fn log_to_stderr() {
    if let Ok(filter) = std::env::var("TANDEM_LOG") {
        let filter = tracing_subscriber::EnvFilter::new(filter);
        // Only the first test of a process can set it.
        drop(
            tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_writer(std::io::stderr)
                .try_init(),
        );
    }
}

pub(crate) fn open(
    dir: &Path,
    start: Start,
    faults: Faults,
    observer: impl ApplyObserver<u64>,
) -> Result<TestStore, OpenError> {
    let fatals = Arc::new(Mutex::new(Vec::new()));
    let mut options = options(dir, start, &fatals);
    options.faults = faults;
    open_with(&options, fatals, observer)
}

/// Opens with these options, whose handler fills `fatals`.
pub(crate) fn open_with(
    options: &Options,
    fatals: Arc<Mutex<Vec<Fatal>>>,
    observer: impl ApplyObserver<u64>,
) -> Result<TestStore, OpenError> {
    log_to_stderr();
    let faults = options.faults.clone();
    let opened = Store::open::<Table>(options, observer)?;
    let (log, machine, handle) = (opened.log, opened.machine, opened.handle);
    let closing = Closing(handle.clone());
    Ok(TestStore { log, machine, handle, faults, fatals, closing })
}

pub(crate) fn create(dir: &Path) -> TestStore {
    open(dir, Start::Create(identity(1)), Faults::new(), NoObserver).expect("an empty directory")
}

pub(crate) fn try_resume(dir: &Path) -> Result<TestStore, OpenError> {
    let expected = Expected { cluster: CLUSTER, node: 1 };
    open(dir, Start::Resume(expected), Faults::new(), NoObserver)
}

pub(crate) fn resume(dir: &Path) -> TestStore {
    try_resume(dir).expect("a whole directory")
}

pub(crate) fn blank(term: u64, index: u64) -> Entry {
    Entry { log_id: log_id(term, 1, index), payload: Payload::Blank }
}

pub(crate) fn commands(term: u64, index: u64, commands: &[Command]) -> Entry {
    let payload = Payload::Normal(Command::batch(commands));
    Entry { log_id: log_id(term, 1, index), payload }
}

pub(crate) fn vote(term: u64, node: NodeId) -> Vote {
    Vote::new_committed(term, node)
}

/// Appends and waits for the sync.
pub(crate) async fn append(log: &mut LogStore, entries: Vec<Entry>) -> std::io::Result<()> {
    let (sender, done) = TypeConfig::oneshot();
    log.append(entries, IOFlushed::signal(sender)).await?;
    done.await.map_err(std::io::Error::other)?
}

/// Appends `count` entries of one put each, from `first`, in one call.
pub(crate) async fn append_from(
    log: &mut LogStore,
    term: u64,
    first: u64,
    count: u64,
) -> Vec<Entry> {
    let entries: Vec<Entry> = (first..first + count)
        .map(|index| {
            let key = format!("key-{}", index % 50);
            let value = format!("value-{term}-{index}");
            commands(term, index, &[Command::put(key, value)])
        })
        .collect();
    append(log, entries.clone()).await.expect("a healthy disk");
    entries
}

pub(crate) async fn apply(
    machine: &mut StateMachine<Table>,
    entries: Vec<Entry>,
) -> std::io::Result<()> {
    let items = entries.into_iter().map(|entry| Ok((entry, None)));
    machine.apply(futures_util::stream::iter(items)).await
}

/// Applies what the log has behind the machine's position, up to `through`.
pub(crate) async fn apply_log(store: &mut TestStore, through: u64) {
    let (applied, _) = store.machine.applied_state().await.expect("a healthy store");
    let from = applied.map_or(0, |applied| applied.index + 1);
    let entries = read_log(&mut store.log, from..=through).await;
    apply(&mut store.machine, entries).await.expect("a healthy disk");
}

pub(crate) async fn read_log(
    log: &mut LogStore,
    range: impl RangeBounds<u64> + Clone + std::fmt::Debug + Send,
) -> Vec<Entry> {
    let mut reader = log.get_log_reader().await;
    reader.try_get_log_entries(range).await.expect("a healthy log")
}

/// What the machine should be after these entries, and its digest.
pub(crate) fn table_digest(entries: &[Entry]) -> [u8; 16] {
    let mut table = Table::empty();
    for entry in entries {
        if let Payload::Normal(data) = &entry.payload {
            table.apply(entry.log_id, data.bytes());
        }
    }
    table.digest()
}

/// Copies a directory while nobody writes to it.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a writable directory");
    for file in std::fs::read_dir(from).expect("a directory") {
        let file = file.expect("a file");
        let to = to.join(file.file_name());
        if file.file_type().expect("a type").is_dir() {
            copy_dir(&file.path(), &to);
        } else {
            std::fs::copy(file.path(), to).expect("a copy");
        }
    }
}

/// Waits until something is so, checking often. Fails after a time that no healthy run needs: it
/// bounds a hang, it measures nothing.
pub(crate) async fn wait_until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..12_000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain until {what}");
}
