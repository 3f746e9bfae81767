//! The thread that moves packets between the hosts' devices, as the model says and when it says.

use std::collections::BinaryHeap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use thread_priority::{RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};

use super::lateness::{Lateness, LatenessSummary};
use super::limits::{
    IN_FLIGHT_BYTES_MAX, IN_FLIGHT_PACKETS_MAX, PACKET_BYTES_MAX, READ_BATCH, WRITE_BATCH,
};
use super::model::{
    DropReason, Endpoint, HostIndex, LinkCounters, LinkSettings, Network, NetworkError, Party,
    Passage, SettingsError, StrayCounters,
};
use super::presets::{Preset, PresetError};

/// Name of the router's thread, by which its processor time can be found.
const THREAD_NAME: &str = "wan router";

/// The end of a sleep that is slept by itself, see [`approach`].
const LAST_STEP: Duration = Duration::from_millis(1);

/// A running router. Clones control the same one; it stops when the last is dropped.
#[derive(Clone, Debug)]
pub struct Router(Arc<Running>);

/// The counters of a link.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PairCounters {
    /// Sending endpoint.
    pub from: String,
    /// Receiving endpoint.
    pub to: String,
    /// What the link did.
    #[serde(flatten)]
    pub counters: LinkCounters,
}

/// The settings of a link.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct PairSettings {
    /// Sending endpoint.
    pub from: String,
    /// Receiving endpoint.
    pub to: String,
    /// What the link does.
    pub settings: LinkSettings,
}

/// What the thread and the handles both look at.
#[derive(Debug)]
struct Shared {
    network: Network,
    lateness: Lateness,
}

#[derive(Debug)]
struct Running {
    shared: Arc<Mutex<Shared>>,
    /// Written to once, to stop the thread.
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    thread_id: u32,
}

impl Router {
    /// Starts a router over the hosts' devices, in the order of [`HostIndex`]. A device is anything
    /// that gives one IP packet at each read and takes one at each write, and does not block.
    ///
    /// # Errors
    /// No thread, or no descriptor for it.
    pub fn start<D: AsFd + Send + 'static>(network: Network, devices: Vec<D>) -> io::Result<Self> {
        let shared = Arc::new(Mutex::new(Shared { network, lateness: Lateness::default() }));
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let mut engine = Engine::new(shared.clone(), devices, stop.clone());
        let (named, id) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name(THREAD_NAME.to_owned()).spawn(move || {
            let id = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
            if named.send(id).is_ok() {
                engine.run();
            }
        })?;
        let thread_id = id.recv().map_err(io::Error::other)?;
        Ok(Self(Arc::new(Running { shared, stop, thread: Some(thread), thread_id })))
    }

    /// Sets every link from one party to the other, in this direction only. Packets under way keep
    /// their departures; a link that goes down loses them.
    ///
    /// # Errors
    /// Nobody has that name, or a value is out of range. Then nothing has changed.
    pub fn set(
        &self,
        from: &Party,
        to: &Party,
        settings: &LinkSettings,
    ) -> Result<(), NetworkError> {
        self.shared().network.set(from, to, settings)
    }

    /// Sets every link between two parties, both ways.
    ///
    /// # Errors
    /// As [`Router::set`].
    pub fn set_pair(
        &self,
        one: &Party,
        other: &Party,
        settings: &LinkSettings,
    ) -> Result<(), NetworkError> {
        self.update_pair(one, other, |_| Ok(settings.clone()))
    }

    /// Changes every link from one party to the other, each from the settings it has.
    ///
    /// # Errors
    /// Nobody has that name, or `change` refuses. Then nothing has changed.
    pub fn update(
        &self,
        from: &Party,
        to: &Party,
        change: impl Fn(&LinkSettings) -> Result<LinkSettings, SettingsError>,
    ) -> Result<(), NetworkError> {
        self.shared().network.update(from, to, change)
    }

    /// Like [`Router::update`] for both directions at once: all links change, or none.
    ///
    /// # Errors
    /// As [`Router::update`].
    pub fn update_pair(
        &self,
        one: &Party,
        other: &Party,
        change: impl Fn(&LinkSettings) -> Result<LinkSettings, SettingsError>,
    ) -> Result<(), NetworkError> {
        self.shared().network.update_pair(one, other, change)
    }

    /// Gives the links between sites the delays of a preset.
    ///
    /// # Errors
    /// A site is not one of its places. Then nothing has changed.
    pub fn apply_preset(&self, preset: &Preset) -> Result<(), PresetError> {
        preset.apply(&mut self.shared().network)
    }

    /// Cuts a party off from everybody else, both ways. When this returns, nothing crosses its
    /// border any more, not even what was under way.
    ///
    /// # Errors
    /// Nobody has that name.
    pub fn isolate(&self, party: &Party) -> Result<(), NetworkError> {
        self.shared().network.isolate(party)
    }

    /// Lets a party reach everybody else again.
    ///
    /// # Errors
    /// Nobody has that name.
    pub fn rejoin(&self, party: &Party) -> Result<(), NetworkError> {
        self.shared().network.rejoin(party)
    }

    /// Brings every link up; delays, losses and filters stay.
    pub fn heal(&self) {
        self.shared().network.heal();
    }

    /// The settings of the links from one party to the other.
    ///
    /// # Errors
    /// Nobody has that name.
    pub fn settings(&self, from: &Party, to: &Party) -> Result<Vec<PairSettings>, NetworkError> {
        let network = &self.shared().network;
        let pairs =
            network.links_between(from, to)?.into_iter().map(|(from, to, link)| PairSettings {
                from: from.name.clone(),
                to: to.name.clone(),
                settings: link.settings().clone(),
            });
        Ok(pairs.collect())
    }

    /// The counters of the links from one party to the other, since the router began.
    ///
    /// # Errors
    /// Nobody has that name.
    pub fn counters(&self, from: &Party, to: &Party) -> Result<Vec<PairCounters>, NetworkError> {
        let network = &self.shared().network;
        let pairs =
            network.links_between(from, to)?.into_iter().map(|(from, to, link)| PairCounters {
                from: from.name.clone(),
                to: to.name.clone(),
                counters: *link.counters(),
            });
        Ok(pairs.collect())
    }

    /// Packets that belong to no link.
    #[must_use]
    pub fn stray(&self) -> StrayCounters {
        self.shared().network.stray()
    }

    /// The endpoints between which there are links.
    #[must_use]
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.shared().network.endpoints().to_vec()
    }

    /// How late packets left, against their links' times: whether this machine kept up.
    #[must_use]
    pub fn lateness(&self) -> LatenessSummary {
        self.shared().lateness.summary()
    }

    /// Processor time that the router's thread has used.
    ///
    /// # Errors
    /// `/proc` does not answer.
    pub fn cpu_time(&self) -> io::Result<Duration> {
        let path = format!("/proc/self/task/{}/schedstat", self.0.thread_id);
        let text = std::fs::read_to_string(path)?;
        let ns = text.split(' ').next().and_then(|field| field.parse().ok());
        ns.map(Duration::from_nanos).ok_or_else(|| io::Error::other("no time in schedstat"))
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        lock(&self.0.shared)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(errno) = rustix::io::write(&self.stop, &1_u64.to_ne_bytes()) {
            tracing::warn!("the router was not told to stop: {errno}");
            return;
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!("the router panicked");
        }
    }
}

/// What the router's thread works with.
struct Engine<D> {
    shared: Arc<Mutex<Shared>>,
    /// None once a device is gone.
    devices: Vec<Option<D>>,
    stop: Arc<OwnedFd>,
    clock: Clock,
    departures: BinaryHeap<Departure>,
    in_flight_bytes: usize,
    /// Keeps packets of the same departure time in the order they came.
    next_ordinal: u64,
    buffer: Vec<u8>,
}

/// Microseconds since the router began. A packet enters at the time rounded up and leaves at the
/// time rounded down, so that none is early.
#[derive(Clone, Copy)]
struct Clock(Instant);

/// A packet under way. Orders by departure, earliest first in a heap.
struct Departure {
    at_us: u64,
    ordinal: u64,
    passage: Passage,
    packet: Box<[u8]>,
}

/// Whether anything is left to do at once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pending {
    Nothing,
    More,
}

impl<D: AsFd> Engine<D> {
    fn new(shared: Arc<Mutex<Shared>>, devices: Vec<D>, stop: Arc<OwnedFd>) -> Self {
        Self {
            shared,
            devices: devices.into_iter().map(Some).collect(),
            stop,
            clock: Clock(Instant::now()),
            departures: BinaryHeap::new(),
            in_flight_bytes: 0,
            next_ordinal: 0,
            buffer: vec![0; PACKET_BYTES_MAX],
        }
    }

    fn run(&mut self) {
        prepare_thread();
        let mut pending = Pending::Nothing;
        loop {
            let ready = match self.wait(pending) {
                Ok(Some(ready)) => ready,
                Ok(None) => return,
                Err(errno) => {
                    tracing::error!("the router cannot wait for packets and stops: {errno}");
                    return;
                }
            };
            for host in ready {
                self.read(host);
                // Between hosts, so that a flood from one does not delay what is due.
                self.deliver();
            }
            pending = self.deliver();
        }
    }

    /// Waits for packets or the next departure. The hosts that sent something; none to stop.
    fn wait(&self, pending: Pending) -> Result<Option<Vec<HostIndex>>, Errno> {
        let timeout = match (pending, self.departures.peek()) {
            (Pending::More, _) => Some(Duration::ZERO),
            (Pending::Nothing, Some(next)) => Some(approach(self.clock.until(next.at_us))),
            (Pending::Nothing, None) => None,
        };
        let timeout = timeout.map(|it| Timespec {
            tv_sec: i64::try_from(it.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: it.subsec_nanos().into(),
        });
        let mut hosts = Vec::with_capacity(self.devices.len());
        let mut polled = vec![PollFd::new(&self.stop, PollFlags::IN)];
        for (index, device) in self.devices.iter().enumerate() {
            if let Some(device) = device {
                hosts.push(HostIndex(index));
                polled.push(PollFd::new(device, PollFlags::IN));
            }
        }
        match poll(&mut polled, timeout.as_ref()) {
            Err(Errno::INTR) => return Ok(Some(Vec::new())),
            other => other?,
        };
        let mut states = polled.iter().map(|it| !it.revents().is_empty());
        if states.next() == Some(true) {
            return Ok(None);
        }
        Ok(Some(hosts.into_iter().zip(states).filter(|(_, ready)| *ready).map(|it| it.0).collect()))
    }

    /// Takes the packets that a host has sent, up to a batch.
    fn read(&mut self, host: HostIndex) {
        for _ in 0..READ_BATCH {
            let Some(Some(device)) = self.devices.get(host.0) else { return };
            match rustix::io::read(device, &mut self.buffer[..]) {
                Ok(0) => return self.lose_device(host, Errno::PIPE),
                Ok(len) => self.accept(host, len),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(errno) => return self.lose_device(host, errno),
            }
        }
    }

    fn accept(&mut self, host: HostIndex, len: usize) {
        let packet = self.buffer.get(..len).unwrap_or(&[]);
        let network = &mut lock(&self.shared).network;
        let Some(passage) = network.offer(self.clock.now_us_up(), host, packet) else { return };
        for at_us in [Some(passage.at_us), passage.copy_at_us].into_iter().flatten() {
            if self.departures.len() >= IN_FLIGHT_PACKETS_MAX
                || self.in_flight_bytes + len > IN_FLIGHT_BYTES_MAX
            {
                network.count_dropped(passage.link, DropReason::RouterFull);
                continue;
            }
            self.in_flight_bytes += len;
            self.next_ordinal += 1;
            let ordinal = self.next_ordinal;
            self.departures.push(Departure { at_us, ordinal, passage, packet: packet.into() });
        }
    }

    /// Hands over the packets whose time has come, up to a batch.
    fn deliver(&mut self) -> Pending {
        for _ in 0..WRITE_BATCH {
            let now_us = self.clock.now_us_down();
            let Some(departure) = self.departures.peek_mut() else { return Pending::Nothing };
            if departure.at_us > now_us {
                return Pending::Nothing;
            }
            let departure = std::collections::binary_heap::PeekMut::pop(departure);
            self.in_flight_bytes -= departure.packet.len();
            self.hand_over(&departure, now_us - departure.at_us);
        }
        Pending::More
    }

    fn hand_over(&mut self, departure: &Departure, late_us: u64) {
        // Locked during the write: once a cut has returned, nothing passes.
        let Shared { network, lateness } = &mut *lock(&self.shared);
        lateness.count(late_us);
        if !network.still_carries(&departure.passage) {
            return;
        }
        let link = departure.passage.link;
        let device = self.devices.get(departure.passage.host.0).and_then(Option::as_ref);
        let written = device.map(|device| rustix::io::write(device, &departure.packet));
        match written {
            Some(Ok(_)) => network.count_delivered(link, departure.packet.len()),
            _ => network.count_dropped(link, DropReason::Refused),
        }
    }

    fn lose_device(&mut self, host: HostIndex, errno: Errno) {
        tracing::warn!("host {} has no device any more, it is left out: {errno}", host.0);
        if let Some(device) = self.devices.get_mut(host.0) {
            *device = None;
        }
    }
}

impl Clock {
    fn now_us_up(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX)
    }

    fn now_us_down(self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn until(self, at_us: u64) -> Duration {
        Duration::from_micros(at_us).saturating_sub(self.0.elapsed())
    }
}

impl Ord for Departure {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at_us, other.ordinal).cmp(&(self.at_us, self.ordinal))
    }
}

impl PartialOrd for Departure {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Departure {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Departure {}

/// How long to sleep towards a departure. The kernel lets `ppoll` oversleep by a thousandth of its
/// timeout, whatever the timer slack (`select_estimate_accuracy` in fs/select.c), and a processor
/// that has slept long wakes slowly; so the last millisecond is slept by itself.
fn approach(remaining: Duration) -> Duration {
    let early = remaining.saturating_sub(LAST_STEP);
    if early > LAST_STEP { early } else { remaining }
}

/// Wakes up on time and before others: a busy machine should not change what the links do. A nice
/// value would not do, because it counts only among the processes of one session
/// (`man 7 sched`, autogroups). Without the rights for it, [`Router::lateness`] tells.
fn prepare_thread() {
    let finest = std::num::NonZeroU64::MIN;
    if let Err(errno) = rustix::thread::set_current_timer_slack(Some(finest)) {
        tracing::debug!("timers stay coarse: {errno}");
    }
    let real_time = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let thread = thread_priority::thread_native_id();
    if let Err(error) =
        thread_priority::set_thread_priority_and_policy(thread, ThreadPriority::Min, real_time)
    {
        tracing::warn!("the router has no real-time priority, links may be late: {error:?}");
    }
}

/// A panic elsewhere while it was locked cannot have left it half changed: counters and
/// settings are plain values.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "router_tests.rs"]
mod tests;
