//! The threads that wait for packets and ticks.
//!
//! Each worker has its own set of sockets (epoll, level-triggered) and its own list of slots. Making
//! and ending sessions reaches it as commands, and a bell (an eventfd) wakes it. The tick of 20 ms
//! follows a fixed grid, so that music never drifts; without sessions a worker sleeps.

use std::{
    collections::HashMap,
    io,
    net::UdpSocket,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Instant,
};

use parking_lot::Mutex;
use rustix::{
    buffer::spare_capacity,
    event::{EventfdFlags, Timespec, epoll, eventfd},
    fd::OwnedFd,
};
use tandem_rtp::{limits::DATAGRAM_MAX, session::Channel};

use super::{
    MediaPlane,
    slot::{Life, Scratch, Slot},
};
use crate::limits::{LET_GO_MAX, OWNER_CHECK_TICKS, POLL_EVENTS_MAX, TICK, TICK_LATE_MAX};

const BELL: u64 = u64::MAX;

/// The part of a worker that others reach.
pub(super) struct WorkerHandle {
    poll: OwnedFd,
    bell: OwnedFd,
    commands: Mutex<Vec<Command>>,
    stop: AtomicBool,
}

enum Command {
    Add(Arc<Slot>),
    /// The sender is dropped once the slot is.
    Remove(u64, Option<SyncSender<()>>),
}

/// Whether to wait until a thread has let go of a slot, so that its ports are free. Never on a
/// media thread itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    No,
    UntilGone,
}

/// The threads; they end when this is stopped or dropped.
pub struct Workers {
    plane: Arc<MediaPlane>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Workers {
    pub(super) fn spawn(plane: &Arc<MediaPlane>) -> io::Result<Self> {
        let mut workers = Self { plane: Arc::clone(plane), threads: Vec::new() };
        for index in 0..plane.workers.len() {
            let plane = Arc::clone(plane);
            let name = format!("media-{index}");
            let thread = thread::Builder::new().name(name).spawn(move || {
                if let Some(handle) = plane.workers.get(index) {
                    Worker::new(&plane, handle).run();
                }
            })?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// Ends the threads and waits for them.
    pub fn stop(mut self) {
        self.ring();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a media thread ended by a panic; this is a bug");
            }
        }
    }

    fn ring(&self) {
        for handle in &self.plane.workers {
            handle.stop.store(true, Ordering::Release);
            handle.ring();
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.ring();
    }
}

impl WorkerHandle {
    pub(super) fn new() -> io::Result<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&poll, &bell, epoll::EventData::new_u64(BELL), epoll::EventFlags::IN)?;
        Ok(Self { poll, bell, commands: Mutex::new(Vec::new()), stop: AtomicBool::new(false) })
    }

    /// Gives the worker a slot. The command stands before the sockets can report anything.
    pub(super) fn add(&self, slot: &Arc<Slot>) -> io::Result<()> {
        self.command(Command::Add(Arc::clone(slot)));
        let watched = self.watch(slot, Channel::Rtp, &slot.rtp).and_then(|()| {
            slot.rtcp.get().map_or(Ok(()), |rtcp| self.watch(slot, Channel::Rtcp, rtcp))
        });
        if watched.is_err() {
            self.command(Command::Remove(slot.key, None));
        }
        watched
    }

    /// Waits for packets on one more socket of a slot.
    pub(super) fn watch(
        &self,
        slot: &Slot,
        channel: Channel,
        socket: &UdpSocket,
    ) -> io::Result<()> {
        let data = epoll::EventData::new_u64(slot.key << 1 | u64::from(channel == Channel::Rtcp));
        Ok(epoll::add(&self.poll, socket, data, epoll::EventFlags::IN)?)
    }

    /// Takes a slot away.
    pub(super) fn remove(&self, slot: &Slot, wait: Wait) {
        for socket in [Some(&slot.rtp), slot.rtcp.get()].into_iter().flatten() {
            if let Err(error) = epoll::delete(&self.poll, socket) {
                tracing::debug!(leg = %slot.leg, %error, "a socket was not watched");
            }
        }
        let (held, gone) = sync_channel::<()>(0);
        self.command(Command::Remove(slot.key, Some(held)));
        // Ends at once when the sender is dropped; the bound is for a thread that has died.
        if wait == Wait::UntilGone
            && gone.recv_timeout(LET_GO_MAX) == Err(RecvTimeoutError::Timeout)
        {
            tracing::warn!(leg = %slot.leg, "a media thread is late; the ports are free later");
        }
    }

    fn command(&self, command: Command) {
        self.commands.lock().push(command);
        self.ring();
    }

    fn ring(&self) {
        // A bell that rings already is full, which is as good.
        if let Err(error) = rustix::io::write(&self.bell, &1u64.to_ne_bytes())
            && error != rustix::io::Errno::WOULDBLOCK
        {
            tracing::error!(%error, "a media thread cannot be woken; it wakes by its next tick");
        }
    }
}

struct Worker<'a> {
    plane: &'a MediaPlane,
    handle: &'a WorkerHandle,
    slots: HashMap<u64, Arc<Slot>>,
    scratch: Scratch,
    datagram: Box<[u8; DATAGRAM_MAX]>,
    next_tick: Instant,
    ticks: u64,
}

impl<'a> Worker<'a> {
    fn new(plane: &'a MediaPlane, handle: &'a WorkerHandle) -> Self {
        Self {
            plane,
            handle,
            slots: HashMap::new(),
            scratch: Scratch::new(),
            datagram: Box::new([0; DATAGRAM_MAX]),
            next_tick: Instant::now(),
            ticks: 0,
        }
    }

    fn run(mut self) {
        let mut events = Vec::with_capacity(POLL_EVENTS_MAX);
        while !self.handle.stop.load(Ordering::Acquire) {
            let timeout = self.time_to_tick();
            match epoll::wait(&self.handle.poll, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "waiting for packets failed; this thread pauses a tick");
                    thread::sleep(TICK);
                }
            }
            self.obey();
            for event in events.drain(..) {
                let data = event.data.u64();
                if data == BELL {
                    self.silence_bell();
                } else {
                    self.receive(data);
                }
            }
            self.tick_when_due();
        }
    }

    /// Time until the next tick; `None` while there is nothing to tick for.
    fn time_to_tick(&self) -> Option<Timespec> {
        if self.slots.is_empty() {
            return None;
        }
        let left = self.next_tick.saturating_duration_since(Instant::now());
        // At most one tick away, so it always fits.
        Timespec::try_from(left).ok()
    }

    fn obey(&mut self) {
        let commands = std::mem::take(&mut *self.handle.commands.lock());
        if commands.is_empty() {
            return;
        }
        let was_empty = self.slots.is_empty();
        for command in commands {
            match command {
                Command::Add(slot) => drop(self.slots.insert(slot.key, slot)),
                Command::Remove(key, held) => {
                    drop(self.slots.remove(&key));
                    drop(held);
                }
            }
        }
        if was_empty {
            self.next_tick = Instant::now();
        }
    }

    fn silence_bell(&self) {
        let mut count = [0; 8];
        if let Err(error) = rustix::io::read(&self.handle.bell, &mut count)
            && error != rustix::io::Errno::WOULDBLOCK
        {
            tracing::error!(%error, "the bell of a media thread is broken");
        }
    }

    fn receive(&mut self, data: u64) {
        let Some(slot) = self.slots.get(&(data >> 1)) else { return };
        let slot = Arc::clone(slot);
        let (channel, socket) = match data & 1 {
            0 => (Channel::Rtp, Some(&slot.rtp)),
            _ => (Channel::Rtcp, slot.rtcp.get()),
        };
        let Some(socket) = socket else { return };
        // One packet each turn: a second look would mostly find nothing and cost a system call, and
        // where there is more the next wait returns at once.
        let contained = catch_unwind(AssertUnwindSafe(|| {
            let Ok((len, from)) = socket.recv_from(&mut self.datagram[..]) else { return };
            let Some(bytes) = self.datagram.get(..len) else { return };
            self.plane.handle_phone_packet(&slot, channel, from, bytes, &mut self.scratch);
        }));
        if contained.is_err() {
            self.plane.drop_broken(&slot);
        }
    }

    fn tick_when_due(&mut self) {
        let now = Instant::now();
        if self.slots.is_empty() || now < self.next_tick {
            return;
        }
        self.next_tick += TICK;
        if now > self.next_tick + TICK_LATE_MAX {
            self.next_tick = now + TICK;
        }
        self.ticks += 1;
        let listening = self.ticks.is_multiple_of(OWNER_CHECK_TICKS);
        let owners = listening.then(|| self.plane.events.listening_nodes());
        let mut ended = Vec::new();
        for slot in self.slots.values() {
            if let Some(owners) = &owners {
                slot.note_owner(self.plane.clock.now(), owners);
            }
            let ticked = catch_unwind(AssertUnwindSafe(|| {
                slot.handle_tick(self.plane, self.plane.clock.now())
            }));
            match ticked {
                Ok(Life::Alive) => {}
                Ok(Life::Ended) => ended.push((Arc::clone(slot), Broken::No)),
                Err(_) => ended.push((Arc::clone(slot), Broken::Yes)),
            }
        }
        for (slot, broken) in ended {
            match broken {
                Broken::No => self.plane.forget(&slot, Wait::No),
                Broken::Yes => self.plane.drop_broken(&slot),
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Broken {
    No,
    Yes,
}
