//! What there is to see: filled by the story, the callers and the watch; read by the screen, the
//! lines and the report.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::watch::Sample;
use crate::limits::{NOTES_MAX, SAMPLES_MAX};

/// A phase of the demo.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Phase {
    /// From 1.
    pub number: usize,
    /// What happens.
    pub title: String,
    /// What to watch.
    pub watch: String,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Counts from 0.
    pub serial: u64,
    /// Since the demo's start.
    pub at: Duration,
    /// In one line.
    pub text: String,
}

/// What phones and callers did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pulse {
    /// Calls placed.
    pub placed: u64,
    /// Callers who heard an agent.
    pub answered: u64,
    /// Callers whose call is over.
    pub over: u64,
    /// Re-INVITEs from another node that phones accepted.
    pub takeovers: u64,
    /// Longest pause in the audio that a phone heard, milliseconds.
    pub gap_ms_max: u64,
}

/// Everything on the board at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Since the demo's start.
    pub elapsed: Duration,
    /// The phase, once there is one.
    pub phase: Phase,
    /// How many phases there are.
    pub phases: usize,
    /// Callers in all.
    pub callers: u64,
    /// The newest sample.
    pub sample: Option<Sample>,
    /// Callers in the queue, one value a second, the newest last.
    pub queue: Vec<u64>,
    /// Counters.
    pub pulse: Pulse,
    /// Notes, the newest last.
    pub notes: Vec<Note>,
}

/// See the module.
#[derive(Debug)]
pub struct Board {
    began: Instant,
    phases: usize,
    callers: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    samples: Vec<Sample>,
    notes: VecDeque<Note>,
    next_note: u64,
    pulse: Pulse,
}

impl Board {
    /// An empty board.
    #[must_use]
    pub fn new(phases: usize, callers: u64) -> Self {
        Self { began: Instant::now(), phases, callers, state: Mutex::default() }
    }

    /// The next phase begins.
    pub fn phase(&self, title: &str, watch: &str) {
        let mut state = self.state();
        let number = state.phase.number + 1;
        state.phase = Phase { number, title: title.to_owned(), watch: watch.to_owned() };
    }

    /// Something happened.
    pub fn note(&self, text: impl Into<String>) {
        let at = self.began.elapsed();
        let mut state = self.state();
        let serial = state.next_note;
        state.next_note += 1;
        if state.notes.len() == NOTES_MAX {
            state.notes.pop_front();
        }
        state.notes.push_back(Note { serial, at, text: text.into() });
    }

    /// The cluster was looked at.
    pub fn sample(&self, sample: Sample) {
        let mut state = self.state();
        if state.samples.len() < SAMPLES_MAX {
            state.samples.push(sample);
        }
    }

    /// Changes the counters.
    pub fn pulse(&self, change: impl FnOnce(&mut Pulse)) {
        change(&mut self.state().pulse);
    }

    /// All samples so far.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        self.state().samples.clone()
    }

    /// Everything now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let state = self.state();
        let mut queue: Vec<u64> = Vec::new();
        let mut second = None;
        for sample in &state.samples {
            let own = sample.at_us.as_ms() / 1_000;
            if second != Some(own) {
                queue.push(sample.waiting);
                second = Some(own);
            }
        }
        Snapshot {
            elapsed: self.began.elapsed(),
            phase: state.phase.clone(),
            phases: self.phases,
            callers: self.callers,
            sample: state.samples.last().cloned(),
            queue,
            pulse: state.pulse,
            notes: state.notes.iter().cloned().collect(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves complete values behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: the board keeps the newest notes, and their numbers go on.
    #[test]
    fn notes_are_bounded() {
        let board = Board::new(1, 1);
        for index in 0..NOTES_MAX + 5 {
            board.note(index.to_string());
        }
        let notes = board.snapshot().notes;
        assert_eq!((notes.len(), notes[0].serial), (NOTES_MAX, 5));
        assert_eq!(notes[NOTES_MAX - 1].text, (NOTES_MAX + 4).to_string());
    }
}
