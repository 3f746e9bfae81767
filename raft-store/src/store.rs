//! Opening a store: look, then work; and the threads that it runs on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Receiver;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use rocksdb::{DB, WriteBatch, WriteOptions};
use tokio::sync::Semaphore;

use crate::counters::CounterCells;
use crate::db::{self, Access, Db, EngineWarnings, Keys, META, MetaRecord, STATE, family};
use crate::engine_logs;
use crate::error::{Fatal, FatalCause, OpenError, StoreError};
use crate::format::identity::{IdentityRecord, IdentityStage, encode_identity};
use crate::format::mark::MarkValue;
use crate::format::records::{StateRecord, encode_state, encode_stored_membership};
use crate::halt::Halt;
use crate::handle::{HandleParts, StoreHandle};
use crate::hooks::{CrashPoint, Hooks};
use crate::identity::DataDir;
use crate::inspect::{Found, Inspection, engine_error};
use crate::limits::QUEUE_BYTES;
use crate::live::Live;
use crate::log_read::LogAccess;
use crate::log_store::LogStore;
use crate::log_view::LogView;
use crate::machine::{ApplyObserver, Machine};
use crate::mark::{self, MarkFound, Marker};
use crate::options::{Options, Start};
use crate::queue::{Queue, Queued};
use crate::recovery::RecoveryReport;
use crate::snapshot::build::BuildParts;
use crate::snapshot::shelf::Shelf;
use crate::state_machine::StateMachine;
use crate::types::StoredMembership;
use crate::writer::{Writer, WriterParts};

/// The first generation of rows.
const FIRST_GENERATION: u32 = 1;

/// Opens stores. See [`Store::open`].
#[derive(Debug, Clone, Copy)]
pub struct Store;

/// An open store: two parts for openraft, one for the node.
#[derive(Debug)]
pub struct Opened<M: Machine> {
    /// For `Raft::new`.
    pub log: LogStore,
    /// For `Raft::new`.
    pub machine: StateMachine<M>,
    /// For the node: reads, counters, snapshots from peers, history, closing.
    pub handle: StoreHandle<M>,
}

impl Store {
    /// Opens a data directory, after looking at everything in it without changing a byte. Blocks
    /// on the disk for as long as reading the log and the live rows takes.
    ///
    /// The store runs until [`StoreHandle::close`], or until log, machine and all handles are
    /// dropped; both leave it synced.
    ///
    /// # Errors
    /// [`OpenError`], with what to do. A refused directory is unchanged.
    ///
    /// ```
    /// use tandem_raft_store::{
    ///     Applied, ClusterId, DiskId, Identity, LogId, Machine, NoObserver, Options, Row, RowChange,
    ///     RowsInterrupted, Start, Store,
    /// };
    ///
    /// /// Counts the entries that were applied.
    /// #[derive(Default)]
    /// struct Count(u64);
    ///
    /// impl Machine for Count {
    ///     type Effect = ();
    ///     type LoadError = RowsInterrupted;
    ///
    ///     fn empty() -> Self {
    ///         Self(0)
    ///     }
    ///     fn load(
    ///         rows: &mut dyn Iterator<Item = Result<Row, RowsInterrupted>>,
    ///     ) -> Result<Self, RowsInterrupted> {
    ///         let mut count = 0;
    ///         for row in rows {
    ///             count = row?.1.first().copied().unwrap_or_default().into();
    ///         }
    ///         Ok(Self(count))
    ///     }
    ///     fn apply(&mut self, _position: LogId, _data: &[u8]) -> Applied<()> {
    ///         self.0 += 1;
    ///         let row = RowChange::Put { key: b"count".to_vec(), value: vec![self.0 as u8] };
    ///         Applied { rows: vec![row], ..Applied::default() }
    ///     }
    ///     fn digest(&self) -> [u8; 16] {
    ///         u128::from(self.0).to_le_bytes()
    ///     }
    /// }
    ///
    /// let dir = tempfile::tempdir()?;
    /// let identity = Identity {
    ///     cluster: ClusterId(1),
    ///     node: 1,
    ///     disk: DiskId(2),
    ///     created_by: "example".into(),
    /// };
    /// let options = Options::new(dir.path(), Start::Create(identity), |fatal| {
    ///     eprintln!("{fatal}");
    ///     std::process::exit(70);
    /// });
    /// let opened = Store::open::<Count>(&options, NoObserver)?;
    /// // `opened.log` and `opened.machine` go into `openraft::Raft::new`.
    /// assert_eq!(opened.handle.read(|count, applied| (count.0, applied)), (0, None));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open<M: Machine>(
        options: &Options,
        observer: impl ApplyObserver<M::Effect>,
    ) -> Result<Opened<M>, OpenError> {
        match &options.start {
            Start::Create(identity) => {
                let dir = DataDir::begin(&options.dir, identity.clone())?;
                create::<M>(&dir, options)?;
                open_existing(dir, options, observer)
            }
            Start::Resume(expected) => {
                let dir = DataDir::resume(&options.dir, *expected)?;
                open_existing(dir, options, observer)
            }
        }
    }
}

/// Fills a directory whose marker says "preparing", and makes it ready.
fn create<M: Machine>(dir: &DataDir, options: &Options) -> Result<(), OpenError> {
    let hooks = options.hooks();
    hooks.reached(CrashPoint::CreateAfterPreparing);
    let keys = Keys::new(options.group);
    let engine = dir.engine();
    let warnings = EngineWarnings::default();
    let create = || -> Result<(), rocksdb::Error> {
        let db = db::open(&engine, Access::Create, options.engine_memory(), &warnings)?;
        let identity =
            IdentityRecord { identity: dir.identity().clone(), stage: IdentityStage::Ready };
        let state = StateRecord {
            generation: FIRST_GENERATION,
            applied: None,
            digest: M::empty().digest(),
        };
        let membership = StoredMembership::default();
        let mut batch = WriteBatch::default();
        for (record, bytes) in [
            (MetaRecord::Identity, encode_identity(&identity)),
            (MetaRecord::State, encode_state(&state)),
            (MetaRecord::Membership, encode_stored_membership(&membership)),
        ] {
            batch.put_cf(family(&db, META), keys.meta(record), bytes);
        }
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        db.write_opt(batch, &synced)
    };
    create()
        .map_err(|error| OpenError::Engine { path: engine.clone(), message: error.to_string() })?;
    mark::create(&dir.mark(), dir.identity().disk)?;
    hooks.reached(CrashPoint::CreateBeforeReady);
    dir.finish()
}

/// What looking found: the state, and where the mark stands.
struct Looked<M> {
    found: Found<M>,
    mark: MarkFound,
    view: LogView,
    warnings: EngineWarnings,
}

/// Opens the database for reading only, and checks everything.
fn look<M: Machine>(dir: &DataDir, options: &Options) -> Result<Looked<M>, OpenError> {
    let mark = mark::read(dir.root(), &dir.mark(), dir.identity().disk)?;
    engine_logs::check(&dir.engine())?;
    let warnings = EngineWarnings::default();
    let db = db::open(&dir.engine(), Access::Look, options.engine_memory(), &warnings)
        .map_err(|error| engine_error(dir.root(), &error))?;
    let view = LogView::new(options.cache_limits());
    let inspection = Inspection {
        dir: dir.root(),
        db: &db,
        keys: Keys::new(options.group),
        identity: dir.identity(),
        mark: mark.value,
    };
    let found = inspection.run::<M>(&view)?;
    drop(db);
    Ok(Looked { found, mark, view, warnings })
}

/// Opens the database for work. RocksDB replays its log again and must come to the same end.
fn open_for_work<M>(
    dir: &DataDir,
    options: &Options,
    found: &Found<M>,
    warnings: &EngineWarnings,
) -> Result<DB, OpenError> {
    let db = db::open(&dir.engine(), Access::Work, options.engine_memory(), warnings)
        .map_err(|error| engine_error(dir.root(), &error))?;
    if found.stray_generations {
        remove_strays(&db, Keys::new(options.group), found.state.generation)
            .map_err(|error| engine_error(dir.root(), &error))?;
    }
    Ok(db)
}

/// Removes rows that belong to no state: what an interrupted installation left.
fn remove_strays(db: &DB, keys: Keys, generation: u32) -> Result<(), rocksdb::Error> {
    tracing::info!("an interrupted snapshot installation left rows behind; they are removed");
    let (from, to) = keys.generation(generation);
    let mut batch = WriteBatch::default();
    batch.delete_range_cf(family(db, STATE), keys.row(0, &[]), from);
    batch.delete_range_cf(family(db, STATE), to, keys.group_end());
    db.write(batch)
}

fn open_existing<M: Machine>(
    dir: DataDir,
    options: &Options,
    observer: impl ApplyObserver<M::Effect>,
) -> Result<Opened<M>, OpenError> {
    let identity = dir.identity().clone();
    let Looked { found, mark, view, warnings } = look::<M>(&dir, options)?;
    let shelf = Arc::new(Shelf::open(dir.snapshots(), identity.cluster, identity.node)?);
    let engine_warnings = EngineWarnings::default();
    let engine = open_for_work(&dir, options, &found, &engine_warnings)?;
    let hooks = options.hooks();
    let now = MarkValue {
        last: found.tail,
        purged: found.purged.map(|purged| purged.log_id),
        vote: found.vote,
    };
    // What was found is as certain as a sync can make it only after one.
    engine.flush_wal(true).map_err(|error| engine_error(dir.root(), &error))?;
    let marker = Marker::open(&dir.mark(), identity.disk, &mark, now, hooks.clone())?;
    let report = RecoveryReport::new(&found, &mark, &shelf, &warnings);
    report.log(dir.root());

    let room = Arc::new(Semaphore::new(QUEUE_BYTES));
    let shared = Shared {
        db: Arc::new(Db::new(engine)),
        keys: Keys::new(options.group),
        view: Arc::new(view),
        marker: Arc::new(marker),
        counters: Arc::new(CounterCells::new()),
        halt: Arc::new(Halt::new(Arc::clone(&options.on_fatal), Arc::clone(&room))),
        hooks,
        engine_warnings,
    };
    let (queue, receiver) = Queue::new(room, Arc::clone(&shared.halt));
    let closing = Arc::new(AtomicBool::new(false));
    let writer = Writer::new(shared.writer_parts(&dir), found.tail, found.purged);
    let thread = start_threads(&shared, writer, receiver, dir, options.mark_interval)?;

    let live = Arc::new(Live::new(
        found.machine,
        &found.state,
        found.membership,
        Arc::clone(&shared.counters),
    ));
    let build = Arc::new(BuildParts {
        db: Arc::clone(&shared.db),
        keys: shared.keys,
        group: options.group,
        shelf: Arc::clone(&shelf),
        halt: Arc::clone(&shared.halt),
        counters: Arc::clone(&shared.counters),
        hooks: shared.hooks.clone(),
        closing: Arc::clone(&closing),
        building: Mutex::new(()),
    });
    let handle = StoreHandle::new(HandleParts {
        db: Arc::clone(&shared.db),
        keys: shared.keys,
        identity,
        live: Arc::clone(&live),
        queue: queue.clone(),
        marker: Arc::clone(&shared.marker),
        counters: Arc::clone(&shared.counters),
        halt: Arc::clone(&shared.halt),
        shelf,
        report,
        closing,
        thread: Mutex::new(Some(thread)),
        engine_memory: options.engine_memory(),
    });
    let log = LogStore { access: shared.log_access(), queue: queue.clone() };
    let machine = StateMachine { live, queue, build, observer: Box::new(observer) };
    Ok(Opened { log, machine, handle })
}

/// What most parts of an open store share.
struct Shared {
    db: Arc<Db>,
    keys: Keys,
    view: Arc<LogView>,
    marker: Arc<Marker>,
    counters: Arc<CounterCells>,
    halt: Arc<Halt>,
    hooks: Hooks,
    engine_warnings: EngineWarnings,
}

impl Shared {
    fn writer_parts(&self, dir: &DataDir) -> WriterParts {
        WriterParts {
            db: Arc::clone(&self.db),
            engine_dir: dir.engine(),
            keys: self.keys,
            view: Arc::clone(&self.view),
            marker: Arc::clone(&self.marker),
            counters: Arc::clone(&self.counters),
            halt: Arc::clone(&self.halt),
            hooks: self.hooks.clone(),
        }
    }

    fn log_access(&self) -> LogAccess {
        LogAccess {
            db: Arc::clone(&self.db),
            keys: self.keys,
            view: Arc::clone(&self.view),
            counters: Arc::clone(&self.counters),
            halt: Arc::clone(&self.halt),
        }
    }
}

/// Starts the mark's thread and the writer's. The writer's thread owns the directory: when it ends,
/// the database is closed and the lock released.
fn start_threads(
    shared: &Shared,
    writer: Writer,
    queue: Receiver<Queued>,
    dir: DataDir,
    mark_interval: Duration,
) -> Result<JoinHandle<()>, OpenError> {
    let spawn_error = |error| OpenError::io("start a thread for", dir.root(), error);
    let (marker, db, halt) =
        (Arc::clone(&shared.marker), Arc::clone(&shared.db), Arc::clone(&shared.halt));
    let warnings = shared.engine_warnings.clone();
    let mark_thread = thread::Builder::new()
        .name("store-mark".into())
        .spawn(move || {
            if let Err(fatal) = marker.run(mark_interval, || check_background(&db, &warnings)) {
                halt.stop(fatal);
                db.release_writers();
            }
        })
        .map_err(spawn_error)?;
    let (marker, db, halt) =
        (Arc::clone(&shared.marker), Arc::clone(&shared.db), Arc::clone(&shared.halt));
    let root = dir.root().to_path_buf();
    thread::Builder::new()
        .name("store-writer".into())
        .spawn(move || {
            if catch_unwind(AssertUnwindSafe(|| writer.run(&queue))).is_err() {
                halt.stop(Fatal::new(FatalCause::Writer, "it panicked"));
            }
            marker.stop();
            if mark_thread.join().is_err() {
                halt.stop(Fatal::new(FatalCause::Mark, "its thread panicked"));
            }
            db.close();
            drop(dir);
        })
        .map_err(|error| OpenError::io("start a thread for", &root, error))
}

/// RocksDB keeps errors of its background work to itself until the next write; an idle node would
/// never learn of them.
fn check_background(db: &Db, warnings: &EngineWarnings) -> Result<(), Fatal> {
    let errors: Result<Option<u64>, StoreError> =
        db.with(|db| Ok(db.property_int_value("rocksdb.background-errors").ok().flatten()));
    match errors {
        Ok(Some(count)) if count > 0 => {
            if let Some(reason) = warnings.compaction_damage() {
                return Err(db::background_damage(&reason));
            }
            // What came of a full disk can push the line that names it out of the latest ones.
            let latest = warnings.latest();
            let cause = warnings.find("No space left").filter(|line| !latest.contains(line));
            let cause = cause.map(|line| format!("{line}; ")).unwrap_or_default();
            let detail = format!("{count} failed flushes or compactions ({cause}{latest})");
            Err(Fatal::new(FatalCause::Background, detail))
        }
        _ => Ok(()),
    }
}
