//! Faults on purpose, for tests: errors of the Nth write or sync, slow syncs, syncs that lie, a
//! death at a planted point, and what a power loss would leave.
//!
//! Behind the cargo feature `faults`; a shipped node is built without it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

pub use crate::hooks::CrashPoint;

/// A plan of faults, shared between a test and the store that it opened with it.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    plan: Arc<Mutex<Plan>>,
    released: Arc<Condvar>,
}

#[derive(Debug, Default)]
struct Plan {
    fail_write_in: Option<u64>,
    fail_sync_in: Option<u64>,
    fail_mark_in: Option<u64>,
    lie_on_sync: bool,
    hold_syncs: bool,
    sync_delay: Duration,
    crash: Option<(CrashPoint, u64)>,
    /// Length of each write-ahead log file that the last honest sync covered.
    durable: BTreeMap<String, u64>,
}

/// What a power loss does to bytes that were written and not synced.
#[derive(Debug, Clone, Copy)]
pub enum Unsynced {
    /// They are gone.
    Lost,
    /// This many of them reached the disk: the last record is torn.
    Torn {
        /// How many bytes behind the synced part survive, per file.
        bytes: u64,
    },
    /// The file has its length, but these bytes read as zero (metadata came first).
    Zeroed,
}

impl Faults {
    /// No faults yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The `nth` write from now on fails (1 is the next one).
    pub fn fail_write(&self, nth: u64) {
        self.plan.lock().fail_write_in = Some(nth);
    }

    /// The `nth` sync from now on fails (1 is the next one).
    pub fn fail_sync(&self, nth: u64) {
        self.plan.lock().fail_sync_in = Some(nth);
    }

    /// The `nth` write of the mark from now on fails (1 is the next one).
    pub fn fail_mark(&self, nth: u64) {
        self.plan.lock().fail_mark_in = Some(nth);
    }

    /// From now on syncs report success and do nothing.
    pub fn lie_on_sync(&self) {
        self.plan.lock().lie_on_sync = true;
    }

    /// Syncs hang from now on, until [`Faults::release_syncs`].
    pub fn hold_syncs(&self) {
        self.plan.lock().hold_syncs = true;
    }

    /// Lets hanging syncs go on.
    pub fn release_syncs(&self) {
        self.plan.lock().hold_syncs = false;
        self.released.notify_all();
    }

    /// Every sync takes this long in addition.
    pub fn delay_sync(&self, delay: Duration) {
        self.plan.lock().sync_delay = delay;
    }

    /// The process aborts when it reaches `point` for the `nth` time (1 is the next one).
    pub fn crash_at(&self, point: CrashPoint, nth: u64) {
        self.plan.lock().crash = Some((point, nth));
    }

    /// Copies a data directory to `to` as a power loss at this moment would leave it: whole files
    /// for what RocksDB synced itself (tables, manifest), the mark as it is, and write-ahead logs
    /// only as far as our last honest sync went. Call it while nothing is being written.
    ///
    /// # Errors
    /// Any error of reading or writing the files.
    pub fn power_loss_image(&self, from: &Path, to: &Path, unsynced: Unsynced) -> io::Result<()> {
        let durable = self.plan.lock().durable.clone();
        copy_tree(from, to, &|name, bytes| {
            if !name.ends_with(".log") {
                return bytes;
            }
            let keep = durable.get(name).copied().unwrap_or(0);
            cut(bytes, usize::try_from(keep).unwrap_or(usize::MAX), unsynced)
        })
    }

    pub(crate) fn reached(&self, point: CrashPoint) {
        let mut plan = self.plan.lock();
        if let Some((planned, left)) = &mut plan.crash
            && *planned == point
        {
            *left -= 1;
            if *left == 0 {
                std::process::abort();
            }
        }
    }

    pub(crate) fn before_write(&self) -> Result<(), String> {
        due(&mut self.plan.lock().fail_write_in, "injected write error: Input/output error")
    }

    pub(crate) fn before_mark(&self) -> Result<(), String> {
        due(&mut self.plan.lock().fail_mark_in, "injected mark error: Input/output error")
    }

    pub(crate) fn around_sync(
        &self,
        engine_dir: &Path,
        sync: impl FnOnce() -> Result<(), String>,
    ) -> Result<(), String> {
        let (delay, lie) = {
            let mut plan = self.plan.lock();
            self.released.wait_while(&mut plan, |plan| plan.hold_syncs);
            due(&mut plan.fail_sync_in, "injected sync error: Input/output error")?;
            (plan.sync_delay, plan.lie_on_sync)
        };
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        if lie {
            return Ok(());
        }
        let covered = log_file_lengths(engine_dir).map_err(|error| error.to_string())?;
        sync()?;
        self.plan.lock().durable = covered;
        Ok(())
    }
}

fn due(counter: &mut Option<u64>, message: &str) -> Result<(), String> {
    let Some(left) = counter else { return Ok(()) };
    *left -= 1;
    if *left > 0 {
        return Ok(());
    }
    *counter = None;
    Err(message.to_owned())
}

fn log_file_lengths(engine_dir: &Path) -> io::Result<BTreeMap<String, u64>> {
    let mut lengths = BTreeMap::new();
    for file in fs::read_dir(engine_dir)? {
        let file = file?;
        let name = file.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".log") {
            continue;
        }
        match file.metadata() {
            Ok(metadata) => drop(lengths.insert(name, metadata.len())),
            // RocksDB removed a log that it no longer needs, meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(lengths)
}

fn copy_tree(from: &Path, to: &Path, change: &dyn Fn(&str, Vec<u8>) -> Vec<u8>) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        let name = file.file_name();
        if file.file_type()?.is_dir() {
            copy_tree(&file.path(), &to.join(&name), change)?;
        } else {
            let bytes = match fs::read(file.path()) {
                // The store removed it since it was listed: the power went after that.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                read => read?,
            };
            fs::write(to.join(&name), change(&name.to_string_lossy(), bytes))?;
        }
    }
    Ok(())
}

fn cut(mut bytes: Vec<u8>, keep: usize, unsynced: Unsynced) -> Vec<u8> {
    let keep = keep.min(bytes.len());
    match unsynced {
        Unsynced::Lost => bytes.truncate(keep),
        Unsynced::Torn { bytes: more } => {
            let more = usize::try_from(more).unwrap_or(usize::MAX);
            bytes.truncate(keep.saturating_add(more));
        }
        Unsynced::Zeroed => {
            if let Some(tail) = bytes.get_mut(keep..) {
                tail.fill(0);
            }
        }
    }
    bytes
}
