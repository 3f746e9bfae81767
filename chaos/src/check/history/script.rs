//! Histories in a few words, for the tests. Operations happen one after the other, each 10 us long,
//! 10 us apart, unless they are moved.

use tandem_phone::RunTime;

use crate::history::{Action, Answer, Operation, Outcome, Presence, Refusal, Subject, Value};

/// A history of one subject under construction; each word changes the last operation or adds one.
#[derive(Debug, Clone)]
pub(super) struct Script {
    subject: Subject,
    operations: Vec<Operation>,
}

impl Script {
    fn of(subject: Subject) -> Self {
        Self { subject, operations: Vec::new() }
    }

    pub(super) fn register() -> Self {
        Self::of(Subject::register("queue/sales"))
    }

    pub(super) fn presence() -> Self {
        Self::of(Subject::presence("agent/ann"))
    }

    pub(super) fn counter() -> Self {
        Self::of(Subject::counter("numbers"))
    }

    pub(super) fn rows(&self) -> Vec<&Operation> {
        self.operations.iter().collect()
    }

    pub(super) fn rows_owned(&self) -> Vec<Operation> {
        self.operations.clone()
    }

    fn add_row(&mut self, action: Action, outcome: Outcome) -> &mut Self {
        let id = self.operations.len() as u64 + 1;
        self.operations.push(Operation {
            id,
            client: 1,
            subject: self.subject.clone(),
            action,
            once: None,
            invoked_us: RunTime::from_us(id * 20),
            returned_us: Some(RunTime::from_us(id * 20 + 10)),
            outcome,
        });
        self
    }

    fn done(&mut self, action: Action) -> &mut Self {
        self.add_row(action, Outcome::Ok(Answer::Done))
    }

    fn seen(&mut self, value: Value, index: Option<u64>) -> &mut Self {
        self.add_row(Action::Read, Outcome::Ok(Answer::Seen { value, index }))
    }

    pub(super) fn write(&mut self, text: &str) -> &mut Self {
        self.done(Action::Write(text.to_owned()))
    }

    pub(super) fn absent(&mut self) -> &mut Self {
        self.seen(Value::Absent, None)
    }

    pub(super) fn sees(&mut self, text: &str) -> &mut Self {
        self.seen(Value::Text(text.to_owned()), None)
    }

    pub(super) fn sees_at(&mut self, text: &str, index: u64) -> &mut Self {
        self.seen(Value::Text(text.to_owned()), Some(index))
    }

    pub(super) fn swaps(&mut self, from: &str, to: &str) -> &mut Self {
        self.done(Action::CompareAndSet { from: from.to_owned(), to: to.to_owned() })
    }

    pub(super) fn swap_refused(&mut self, from: &str, to: &str) -> &mut Self {
        let action = Action::CompareAndSet { from: from.to_owned(), to: to.to_owned() };
        self.add_row(action, Outcome::Refused(Refusal::Rule))
    }

    pub(super) fn log_in(&mut self, to: Presence) -> &mut Self {
        self.done(Action::LogIn(to))
    }

    pub(super) fn log_out(&mut self) -> &mut Self {
        self.done(Action::LogOut)
    }

    pub(super) fn enter(&mut self, to: Presence) -> &mut Self {
        self.done(Action::SetPresence(to))
    }

    pub(super) fn enter_refused(&mut self, to: Presence) -> &mut Self {
        self.add_row(Action::SetPresence(to), Outcome::Refused(Refusal::Rule))
    }

    pub(super) fn is(&mut self, presence: Presence) -> &mut Self {
        self.seen(Value::Presence(presence), None)
    }

    pub(super) fn add(&mut self, amount: u64) -> &mut Self {
        self.done(Action::Add(amount))
    }

    pub(super) fn counts(&mut self, count: u64) -> &mut Self {
        self.seen(Value::Count(count), None)
    }

    /// The last one under this idempotency key.
    pub(super) fn once(&mut self, key: &str) -> &mut Self {
        if let Some(last) = self.operations.last_mut() {
            last.once = Some(key.to_owned());
        }
        self
    }

    /// The last one with this outcome instead.
    pub(super) fn but(&mut self, outcome: Outcome) -> &mut Self {
        if let Some(last) = self.operations.last_mut() {
            last.outcome = outcome;
        }
        self
    }

    /// The last one in this span instead.
    pub(super) fn within(&mut self, invoked_us: u64, returned_us: u64) -> &mut Self {
        if let Some(last) = self.operations.last_mut() {
            last.invoked_us = RunTime::from_us(invoked_us);
            last.returned_us = Some(RunTime::from_us(returned_us));
        }
        self
    }
}
