//! The world: one thread with the sockets, the clock and the pacing loop, and the handles to it.

mod call;
mod driver;
mod net;
mod phone;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, mpsc, oneshot};

pub use call::Call;
pub use phone::{Caller, Phone, PhoneReport};

use crate::error::PhoneError;
use crate::event::Event;
use crate::io::Transport;
use crate::limits::{EVENT_QUEUE_MAX, KNOWN_SOUND_TONES_MAX, KNOWN_SOUNDS_MAX, SIP_COPIES_MAX};
use crate::media::KnownSound;
use crate::report::{CallReport, EndCause};
use crate::time::RunTime;
use crate::transaction::SipTimers;
use crate::ua::{CallerConfig, LegId, PhoneConfig, PhoneId};
use driver::Shared;

/// How a world begins.
#[derive(Clone, Debug)]
pub struct WorldOptions {
    /// SIP timers.
    pub timing: SipTimers,
    /// RTP ports, on each local address; pairs of even and odd are taken in turn.
    pub media_ports: RangeInclusive<u16>,
    /// Pauses longer than this are gaps, ms.
    pub gap_ms_min: u64,
    /// Time between RTCP reports, ms (RFC 3550 6.2: 5 s is the shortest in the field).
    pub rtcp_interval_ms: u64,
    /// Untagged sounds to be recognised: the queue's music.
    pub known_sounds: Vec<KnownSound>,
    /// Addresses of host names in Contact and Record-Route; the phone asks no DNS.
    pub hosts: BTreeMap<String, IpAddr>,
    /// Decides tags, branches, SSRCs; a random one when not given. Two worlds with one seed would
    /// use the same sender tags.
    pub seed: Option<u64>,
    /// Moment that counts as the run's start, so that several worlds share one time line.
    pub started: Option<Instant>,
}

impl Default for WorldOptions {
    fn default() -> Self {
        Self {
            timing: SipTimers::default(),
            media_ports: 20_000..=59_999,
            gap_ms_min: 60,
            rtcp_interval_ms: 5_000,
            known_sounds: Vec::new(),
            hosts: BTreeMap::new(),
            seed: None,
            started: None,
        }
    }
}

impl WorldOptions {
    fn check(&self) -> Result<(), PhoneError> {
        let setting = |what, why| Err(PhoneError::Setting { what, why });
        if self.media_ports.end().saturating_sub(*self.media_ports.start()) < 2 {
            return setting("WorldOptions::media_ports", "must hold at least one pair of ports");
        }
        if *self.media_ports.start() < 1_024 {
            return setting("WorldOptions::media_ports", "must begin at 1024 or above");
        }
        if self.timing.t1_ms == 0 || self.timing.t2_ms < self.timing.t1_ms {
            return setting("WorldOptions::timing", "T1 must be at least 1 ms, T2 at least T1");
        }
        if self.rtcp_interval_ms < 20 {
            return setting("WorldOptions::rtcp_interval_ms", "must be at least 20");
        }
        if self.known_sounds.len() > KNOWN_SOUNDS_MAX {
            return Err(PhoneError::Limit { what: "known sounds", limit: KNOWN_SOUNDS_MAX });
        }
        let mut tones = self.known_sounds.iter().map(|sound| &sound.tones_hz);
        if tones.any(|hz| hz.is_empty() || hz.len() > KNOWN_SOUND_TONES_MAX) {
            return setting("KnownSound::tones_hz", "must hold 1 to 16 frequencies");
        }
        Ok(())
    }
}

/// How busy a world is and was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorldReport {
    /// Phones.
    pub phones: usize,
    /// Calls alive.
    pub calls: usize,
    /// Streams with open sockets.
    pub streams: usize,
    /// SIP transactions alive, the lingering ones included.
    pub transactions: usize,
    /// SIP timers set.
    pub timers: usize,
    /// Final reports that nobody took in time.
    pub reports_dropped: u64,
}

/// A crowd of phones and callers. Cheap to clone; the thread ends with the last handle.
#[derive(Clone, Debug)]
pub struct World {
    link: Link,
}

/// The way to the world's thread.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    commands: mpsc::Sender<driver::Command>,
    /// Weak, so that the stream of events ends with the world and not with the last handle.
    events: broadcast::WeakSender<Arc<Event>>,
    started: Instant,
}

impl Link {
    /// Runs something on the world's thread.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Shared) -> T + Send + 'static,
    ) -> Result<T, PhoneError> {
        let (answer, result) = oneshot::channel();
        let command: driver::Command = Box::new(move |shared| {
            // Whoever asked may be gone; then nobody misses the answer.
            drop(answer.send(act(shared)));
        });
        self.commands.send(command).await.map_err(|_| PhoneError::WorldStopped)?;
        result.await.map_err(|_| PhoneError::WorldStopped)
    }
}

impl World {
    /// Starts the thread.
    ///
    /// # Errors
    /// `Setting`, `Limit` or `Start`.
    pub async fn start(options: WorldOptions) -> Result<Self, PhoneError> {
        options.check()?;
        let started = options.started.unwrap_or_else(Instant::now);
        let (events, _) = broadcast::channel(EVENT_QUEUE_MAX);
        let weak = events.downgrade();
        let commands = driver::spawn(options, started, events).await?;
        Ok(Self { link: Link { commands, events: weak, started } })
    }

    /// The moment now on the run's clock.
    #[must_use]
    pub fn now(&self) -> RunTime {
        driver::run_time(self.link.started)
    }

    /// Everything that happens from now on. A reader that falls behind by more than
    /// [`crate::limits::EVENT_QUEUE_MAX`] loses the oldest, and is told how many.
    #[must_use]
    pub fn events(&self) -> EventStream {
        let receiver = match self.link.events.upgrade() {
            Some(events) => events.subscribe(),
            // The world has stopped: a stream that is at its end.
            None => broadcast::channel(1).1,
        };
        EventStream { receiver, lost: 0 }
    }

    /// Sends every SIP datagram so many times from now on, as networks and impatient senders do; 1 is
    /// usual, [`SIP_COPIES_MAX`] the most.
    ///
    /// # Errors
    /// `Setting`, `WorldStopped`.
    pub async fn send_sip_times(&self, copies: u32) -> Result<(), PhoneError> {
        if !(1..=SIP_COPIES_MAX).contains(&copies) {
            let why = "must be 1 to SIP_COPIES_MAX";
            return Err(PhoneError::Setting { what: "copies of a SIP datagram", why });
        }
        self.link.run(move |shared| shared.net.set_copies(copies)).await
    }

    /// Adds a phone; it begins to register at once.
    ///
    /// # Errors
    /// `Listen`, `Setting`, `Limit`, `WorldStopped`.
    pub async fn phone(&self, config: PhoneConfig) -> Result<Phone, PhoneError> {
        Phone::add(&self.link, config).await
    }

    /// Adds a trunk.
    ///
    /// # Errors
    /// `Listen`, `Setting`, `Limit`, `WorldStopped`.
    pub async fn caller(&self, config: CallerConfig) -> Result<Caller, PhoneError> {
        Caller::add(&self.link, config).await
    }

    /// How busy the world is.
    ///
    /// # Errors
    /// `WorldStopped`.
    pub async fn report(&self) -> Result<WorldReport, PhoneError> {
        self.link.run(|shared| shared.report()).await
    }

    /// Takes the final reports that gathered since the last call.
    ///
    /// # Errors
    /// `WorldStopped`.
    pub async fn take_reports(&self) -> Result<Vec<Arc<CallReport>>, PhoneError> {
        self.link.run(|shared| shared.with(|core| core.reports.drain(..).collect())).await
    }

    /// Leaves in order: hangs up, removes registrations, waits at most that long, and ends the rest
    /// without a word. Returns the final reports that nobody took before.
    ///
    /// # Errors
    /// `WorldStopped` when it had stopped before.
    pub async fn stop(self, wait_ms_max: u64) -> Result<Vec<Arc<CallReport>>, PhoneError> {
        self.link.run(|shared| shared.with(hang_up_all)).await?;
        let deadline = tokio::time::Instant::now() + Duration::from_millis(wait_ms_max);
        let mut leaving = self.link.run(|shared| shared.with(unregister_all)).await?;
        loop {
            leaving.retain_mut(|left| {
                matches!(left.try_recv(), Err(oneshot::error::TryRecvError::Empty))
            });
            let calls = self.report().await?.calls;
            if (leaving.is_empty() && calls == 0) || tokio::time::Instant::now() >= deadline {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let reports = self
            .link
            .run(|shared| {
                shared.with(|core| {
                    let legs: Vec<LegId> = core.legs.keys().copied().collect();
                    legs.into_iter().for_each(|leg| core.finish(leg, EndCause::WorldStopped));
                    core.reports.drain(..).collect()
                })
            })
            .await?;
        while self.link.run(|shared| shared.files_pending()).await? > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.link.run(Shared::stop).await?;
        Ok(reports)
    }
}

fn hang_up_all(core: &mut crate::ua::Core) {
    let legs: Vec<LegId> = core.legs.keys().copied().collect();
    legs.into_iter().for_each(|leg| core.hang_up(leg));
}

fn unregister_all(core: &mut crate::ua::Core) -> Vec<oneshot::Receiver<Infallible>> {
    let phones: Vec<PhoneId> = core.phones.keys().copied().collect();
    phones
        .into_iter()
        .map(|phone| {
            let (left, leaving) = oneshot::channel();
            core.unregister(phone, left);
            leaving
        })
        .collect()
}

/// Events as they happen.
#[derive(Debug)]
pub struct EventStream {
    receiver: broadcast::Receiver<Arc<Event>>,
    lost: u64,
}

impl EventStream {
    /// The next event; `None` when the world has stopped.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(count)) => self.lost += count,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// Waits for an event that fits.
    ///
    /// # Errors
    /// `Deadline`, or `WorldStopped`.
    pub async fn wait_for(
        &mut self,
        wait_ms_max: u64,
        what: &str,
        fits: impl Fn(&Event) -> bool,
    ) -> Result<Arc<Event>, PhoneError> {
        let search = async {
            while let Some(event) = self.next().await {
                if fits(&event) {
                    return Ok(event);
                }
            }
            Err(PhoneError::WorldStopped)
        };
        match tokio::time::timeout(Duration::from_millis(wait_ms_max), search).await {
            Ok(found) => found,
            Err(_) => Err(PhoneError::Deadline {
                what: what.to_owned(),
                waited_ms: wait_ms_max,
                report: None,
            }),
        }
    }

    /// Events that this reader missed because it was slow.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }
}

/// A SIP socket to be opened or shared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listen {
    pub(crate) address: SocketAddr,
    pub(crate) transport: Transport,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventKind;

    // Goal: a reader that falls behind loses the oldest events, goes on with the rest, and knows how
    // many it lost.
    #[tokio::test]
    async fn slow_readers_know_what_they_lost() {
        let (sender, receiver) = broadcast::channel(2);
        let mut events = EventStream { receiver, lost: 0 };
        for n in 0..5 {
            let kind = EventKind::Answered;
            let event =
                Event { at_us: RunTime::from_us(n), phone: String::new(), call: None, kind };
            assert!(sender.send(Arc::new(event)).is_ok());
        }
        drop(sender);
        let mut times = Vec::new();
        while let Some(event) = events.next().await {
            times.push(event.at_us.as_us());
        }
        assert_eq!((times, events.lost()), (vec![3, 4], 3));
    }

    // Goal: options that cannot work are refused with what to write instead.
    #[tokio::test]
    async fn options_are_checked() {
        let sound = |tones_hz| vec![KnownSound { name: "x".into(), tones_hz }];
        let base = WorldOptions::default;
        let table = [
            WorldOptions { media_ports: 4_000..=4_000, ..base() },
            WorldOptions { media_ports: 80..=4_000, ..base() },
            WorldOptions { timing: SipTimers { t1_ms: 0, ..SipTimers::default() }, ..base() },
            WorldOptions { rtcp_interval_ms: 19, ..base() },
            WorldOptions { known_sounds: sound(vec![]), ..base() },
            WorldOptions { known_sounds: sound(vec![440.0; KNOWN_SOUND_TONES_MAX + 1]), ..base() },
        ];
        for options in table {
            let refused = World::start(options.clone()).await;
            assert!(matches!(refused, Err(PhoneError::Setting { .. })), "{options:?}");
        }
    }
}
