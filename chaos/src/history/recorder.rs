//! Records what concurrent clients do, each by its own handle.

use std::{
    fs::File,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::Result;
use tandem_phone::{RunTime, World};

use super::{
    Action, Outcome, Subject,
    file::{Line, Writer},
};

/// The clock of a history: monotonic, microseconds since its start.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    Own(Instant),
    World(World),
}

impl Clock {
    /// A clock of its own.
    #[must_use]
    pub fn starting_now() -> Self {
        Self(Source::Own(Instant::now()))
    }

    /// The phones' clock, so that the history, the faults and what people heard stand on one time
    /// line.
    #[must_use]
    pub fn of_world(world: &World) -> Self {
        Self(Source::World(world.clone()))
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> RunTime {
        match &self.0 {
            Source::Own(start) => {
                let us = u64::try_from(start.elapsed().as_micros());
                RunTime::from_us(us.unwrap_or(u64::MAX))
            }
            Source::World(world) => world.now(),
        }
    }
}

/// Writes one history. Clones write the same one.
#[derive(Debug, Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    next: AtomicU64,
    writer: Mutex<Writer<File>>,
}

impl Recorder {
    /// Begins a history in a new file.
    ///
    /// # Errors
    /// When the file exists or cannot be made: a history is never written over.
    pub fn create(file: &Path, clock: Clock) -> Result<Self> {
        let writer = Mutex::new(Writer::create(file)?);
        Ok(Self { shared: Arc::new(Shared { clock, next: AtomicU64::new(1), writer }) })
    }

    /// A handle for one client, which asks one thing after the other.
    #[must_use]
    pub fn client(&self, client: u32) -> Client {
        Client { shared: Arc::clone(&self.shared), client }
    }

    /// Notes that a fault is made now; returns its number, for [`Recorder::healed`].
    ///
    /// # Errors
    /// When the history is full or cannot be written.
    pub fn fault(&self, what: &str) -> Result<u64> {
        let id = self.shared.number();
        let at_us = self.shared.clock.now();
        self.shared.writer().write(&Line::Fault { id, at_us, what: what.to_owned() })?;
        Ok(id)
    }

    /// Notes that a fault is undone now.
    ///
    /// # Errors
    /// When the history is full or cannot be written.
    pub fn healed(&self, fault: u64) -> Result<()> {
        let at_us = self.shared.clock.now();
        self.shared.writer().write(&Line::Healed { id: fault, at_us })
    }
}

impl Shared {
    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn writer(&self) -> MutexGuard<'_, Writer<File>> {
        // A panic elsewhere leaves whole lines behind.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One client's handle.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
    client: u32,
}

impl Client {
    /// Notes what is about to be asked. Call it before the request leaves.
    ///
    /// # Errors
    /// When the history is full or cannot be written: then ask nothing.
    pub fn invoke(&self, subject: &Subject, action: Action, once: Option<&str>) -> Result<Asked> {
        let id = self.shared.number();
        let line = Line::Invoke {
            id,
            at_us: self.shared.clock.now(),
            client: self.client,
            subject: subject.clone(),
            action,
            once: once.map(str::to_owned),
        };
        self.shared.writer().write(&line)?;
        Ok(Asked { shared: Arc::clone(&self.shared), id })
    }
}

/// An operation under way. One that is dropped has an unknown outcome.
#[derive(Debug)]
pub struct Asked {
    shared: Arc<Shared>,
    id: u64,
}

impl Asked {
    /// Notes the answer. Call it after it came.
    ///
    /// # Errors
    /// When the history cannot be written.
    pub fn returned(self, outcome: Outcome) -> Result<()> {
        let line = Line::Return { id: self.id, at_us: self.shared.clock.now(), outcome };
        self.shared.writer().write(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::*, *};

    // Goal: clients that write at the same time spoil nothing: every operation is there with its own
    // outcome, in the order of asking, and who never heard an answer has none.
    #[test]
    fn concurrent_clients() {
        const EACH: u64 = 200;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("history.jsonl");
        let recorder = Recorder::create(&file, Clock::starting_now()).unwrap();
        std::thread::scope(|scope| {
            for number in 1..=4_u32 {
                let client = recorder.client(number);
                scope.spawn(move || {
                    for nth in 0..EACH {
                        let subject = Subject::register(&format!("queue/{number}"));
                        let value = format!("{number}-{nth}");
                        let asked = client.invoke(&subject, Action::Write(value), None).unwrap();
                        if nth % 10 != 0 {
                            asked.returned(Outcome::Ok(Answer::Done)).unwrap();
                        }
                    }
                });
            }
        });
        let fault = recorder.fault("kill lon").unwrap();
        recorder.healed(fault).unwrap();
        let history = History::read(&file).unwrap();
        assert_eq!(history.operations.len() as u64, 4 * EACH);
        assert!(history.operations.is_sorted_by_key(|operation| operation.invoked_us));
        let unknown = history.operations.iter().filter(|it| it.outcome == Outcome::Unknown);
        assert_eq!(unknown.count() as u64, 4 * EACH / 10);
        for operation in &history.operations {
            let Action::Write(value) = &operation.action else { panic!("{operation:?}") };
            assert!(value.starts_with(&format!("{}-", operation.client)), "{operation:?}");
            assert!(operation.returned_us.is_none_or(|at| at >= operation.invoked_us));
        }
        assert_eq!(history.faults.len(), 1);
        assert!(history.faults[0].ended_us.is_some());
    }

    // Goal: a history is never written over.
    #[test]
    fn a_history_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("history.jsonl");
        Recorder::create(&file, Clock::starting_now()).unwrap();
        assert!(Recorder::create(&file, Clock::starting_now()).is_err());
    }
}
