//! The world's thread: a single-threaded runtime, so that nothing a test does with its own runtime
//! delays a packet, and the loop that paces all streams.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Notify, broadcast, mpsc, oneshot};

use super::net::{MediaKind, Net};
use super::{WorldOptions, WorldReport};
use crate::error::PhoneError;
use crate::event::Event;
use crate::limits::{COMMAND_QUEUE_MAX, FILES_WANTED};
use crate::media::{SLOT_US, StreamId};
use crate::time::RunTime;
use crate::ua::{Core, CoreOptions};

/// Something to be done on the world's thread.
pub(crate) type Command = Box<dyn FnOnce(&Shared) + Send>;

/// Without streams the loop looks at its timers this often, ms.
const IDLE_TICK_MS: u64 = 10;
/// Seconds from 1900 (NTP) to 1970 (Unix).
const NTP_UNIX_OFFSET_S: u64 = 2_208_988_800;

/// What the thread's tasks share.
pub(crate) struct Shared {
    core: RefCell<Core>,
    pub(crate) net: Rc<Net>,
    started: Instant,
    stopping: Cell<Stopping>,
    /// When the loop will look at the timers by itself.
    planned: Cell<RunTime>,
    /// Something is due earlier than planned.
    earlier: Notify,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stopping {
    No,
    Yes,
}

impl Shared {
    pub(crate) fn now(&self) -> RunTime {
        run_time(self.started)
    }

    /// Does something with the core at the present moment, and sends what came of it.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Core) -> T) -> T {
        let mut core = self.core.borrow_mut();
        core.begin(self.now());
        let result = act(&mut core);
        core.flush();
        if core.next_due().is_some_and(|due| due < self.planned.get()) {
            self.earlier.notify_one();
        }
        result
    }

    pub(crate) fn report(&self) -> WorldReport {
        let core = self.core.borrow();
        WorldReport {
            phones: core.phones.len(),
            calls: core.legs.len(),
            streams: core.media.len(),
            transactions: core.transactions.len(),
            timers: core.timers.len(),
            reports_dropped: core.reports_dropped,
        }
    }

    /// A datagram of a media socket.
    pub(crate) fn take_media(
        &self,
        id: StreamId,
        source: SocketAddr,
        bytes: &[u8],
        kind: MediaKind,
    ) {
        let now = self.now();
        let mut core = self.core.borrow_mut();
        match kind {
            MediaKind::Rtp => core.on_rtp(now, id, source, bytes),
            MediaKind::Rtcp => core.on_rtcp(now, id, bytes),
        }
    }

    pub(crate) fn files_pending(&self) -> usize {
        self.net.files_pending()
    }

    pub(crate) fn stop(&self) {
        self.stopping.set(Stopping::Yes);
    }
}

/// Microseconds since the run's start.
pub(crate) fn run_time(started: Instant) -> RunTime {
    RunTime::from_us(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX))
}

/// Starts the thread; returns the way to it once it runs.
pub(crate) async fn spawn(
    options: WorldOptions,
    started: Instant,
    events: broadcast::Sender<Arc<Event>>,
) -> Result<mpsc::Sender<Command>, PhoneError> {
    raise_file_limit();
    let seed = match options.seed {
        Some(seed) => seed,
        None => {
            getrandom::u64().map_err(|error| PhoneError::Start(std::io::Error::other(error)))?
        }
    };
    let (commands, queue) = mpsc::channel(COMMAND_QUEUE_MAX);
    let (ready, is_ready) = oneshot::channel();
    let body = move || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            // Whoever started it may be gone already; the loop then ends at once.
            drop(ready.send(Ok(())));
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, run(options, seed, started, events, queue));
        }
        Err(error) => drop(ready.send(Err(error))),
    };
    std::thread::Builder::new().name("phones".to_owned()).spawn(body).map_err(PhoneError::Start)?;
    is_ready.await.map_err(|_| PhoneError::WorldStopped)?.map_err(PhoneError::Start)?;
    Ok(commands)
}

async fn run(
    options: WorldOptions,
    seed: u64,
    started: Instant,
    events: broadcast::Sender<Arc<Event>>,
    mut queue: mpsc::Receiver<Command>,
) {
    let core_options = CoreOptions {
        timing: options.timing,
        gap_ms_min: options.gap_ms_min,
        rtcp_interval_ms: options.rtcp_interval_ms,
        known_sounds: options.known_sounds,
        hosts: options.hosts,
        seed,
        ntp_start: ntp_of(SystemTime::now(), started.elapsed()),
        events,
    };
    let shared = Rc::new_cyclic(|weak| {
        let net = Rc::new(Net::new(weak.clone(), options.media_ports));
        let core = RefCell::new(Core::new(core_options, Net::io(&net)));
        Shared {
            core,
            net,
            started,
            stopping: Cell::new(Stopping::No),
            planned: Cell::default(),
            earlier: Notify::new(),
        }
    });
    while shared.stopping.get() == Stopping::No {
        let planned = next_wake(&shared);
        shared.planned.set(planned);
        let wake = started + Duration::from_micros(planned.as_us());
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(wake.into()) => {
                let now = shared.now();
                shared.core.borrow_mut().on_time(now);
            }
            () = shared.earlier.notified() => {}
            command = queue.recv() => match command {
                Some(command) => {
                    command(&shared);
                    // Tasks of sockets that the command closed end now, and free their ports.
                    tokio::task::yield_now().await;
                }
                None => break,
            },
        }
    }
}

/// The next slot while audio flows; else the next timer, but not later than an idle tick.
fn next_wake(shared: &Shared) -> RunTime {
    let now = shared.now();
    let core = shared.core.borrow();
    if core.media.len() > 0 {
        return RunTime::from_us((now.as_us() / SLOT_US + 1) * SLOT_US);
    }
    let idle = now.plus_ms(IDLE_TICK_MS);
    core.next_due().map_or(idle, |due| due.min(idle))
}

/// NTP time of the run's start, 32.32 fixed point.
fn ntp_of(wall: SystemTime, since_start: Duration) -> u64 {
    let since_epoch = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let at_start = since_epoch.saturating_sub(since_start);
    let seconds = at_start.as_secs().wrapping_add(NTP_UNIX_OFFSET_S);
    let fraction = (u64::from(at_start.subsec_nanos()) << 32) / 1_000_000_000;
    (seconds << 32) | fraction
}

/// Hundreds of calls need two sockets each; the soft limit of 1024 files is often too low.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(FILES_WANTED, |maximum| maximum.min(FILES_WANTED));
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files stays low: many calls may fail to open sockets");
        }
    }
}
