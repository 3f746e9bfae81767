//! Models: how a subject behaves when one operation happens after the other.
//!
//! Every model knows two things about Tandem's log beyond the plain data type. A reading names the
//! log index that it is based on ([`Log`]). And operations that share an idempotency key take effect
//! once: the later ones get the first one's reply, also when that was a refusal (`Keys`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    hash::Hash,
};

use crate::history::{Action, Answer, Operation, Outcome, Presence, Refusal, Value};

/// A sequential data type.
pub trait Model {
    /// What it holds.
    type State: Clone + Eq + Hash + Debug;

    /// What it holds before anything was done.
    fn initial(&self) -> Self::State;

    /// What it holds after the operation, if this can be its outcome in this state.
    ///
    /// The outcome is given apart, because what returned later than one looks is unknown then. An
    /// unknown outcome fits whatever the operation does; that it may never happen is not the
    /// model's business.
    fn step(
        &self,
        state: &Self::State,
        operation: &Operation,
        outcome: &Outcome,
    ) -> Option<Self::State>;

    /// True when the operation can be left out of every explanation of it and `rest`: what explains
    /// all of them explains the others as well.
    fn is_needless(&self, operation: &Operation, rest: &[&Operation]) -> bool;

    /// True when what the operation leads to can come from nothing in `rest`: then a reading that
    /// [shows](Self::shows) it proves that it has happened. False is always safe.
    fn is_only_cause(&self, _operation: &Operation, _rest: &[&Operation]) -> bool {
        false
    }

    /// True when the reading showed what the operation leads to.
    fn shows(&self, _operation: &Operation, _reading: &Operation) -> bool {
        false
    }

    /// The state in a few words, without what only the checker knows.
    fn describe(&self, state: &Self::State) -> String;
}

/// What readings say about the log.
///
/// A reading at index `i` shows every change up to `i` and none after it. So the indexes of
/// readings never go back, and after a change the next one is larger: the change was not in what
/// the reading before it showed. Two changes may share one entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Log {
    seen: u64,
    least: u64,
}

impl Log {
    fn read(self, index: Option<u64>) -> Option<Self> {
        match index {
            None => Some(self),
            Some(index) if index >= self.least => Some(Self { seen: index, least: index }),
            Some(_) => None,
        }
    }

    fn changed(self) -> Self {
        Self { least: self.seen.saturating_add(1), ..self }
    }
}

/// The idempotency keys that more than one operation uses; the others change nothing.
#[derive(Debug, Clone, Default)]
struct Keys(BTreeMap<String, u32>);

/// The reply that is remembered under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Reply {
    Done,
    RefusedByRule,
}

/// What was carried out under which key, in the order of the keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Remembered(Vec<(u32, Reply)>);

/// What an operation does when it is carried out.
struct Effect<T> {
    reply: Reply,
    /// None: nothing.
    to: Option<T>,
}

impl Keys {
    fn shared(operations: &[&Operation]) -> Self {
        let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
        for key in operations.iter().filter_map(|operation| operation.once.as_deref()) {
            *uses.entry(key).or_default() += 1;
        }
        let shared = uses.into_iter().filter(|(_, uses)| *uses > 1);
        Self(shared.zip(0..).map(|((key, _), number)| (key.to_owned(), number)).collect())
    }

    fn of(&self, operation: &Operation) -> Option<u32> {
        self.0.get(operation.once.as_deref()?).copied()
    }
}

impl Remembered {
    fn reply(&self, key: Option<u32>) -> Option<Reply> {
        let key = key?;
        let at = self.0.binary_search_by_key(&key, |(known, _)| *known).ok()?;
        self.0.get(at).map(|(_, reply)| *reply)
    }

    fn keep(&mut self, key: Option<u32>, reply: Reply) {
        if let Some(key) = key
            && let Err(at) = self.0.binary_search_by_key(&key, |(known, _)| *known)
        {
            self.0.insert(at, (key, reply));
        }
    }
}

/// One row of any model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Row<T> {
    holds: T,
    log: Log,
    remembered: Remembered,
}

impl<T: Clone + PartialEq> Row<T> {
    fn holding(holds: T) -> Self {
        Self { holds, log: Log::default(), remembered: Remembered::default() }
    }

    fn read(&self, fits: bool, index: Option<u64>) -> Option<Self> {
        let log = self.log.read(index).filter(|_| fits)?;
        Some(Self { log, ..self.clone() })
    }

    /// A change: what it does is decided by `effect`, once per key.
    fn change(&self, key: Option<u32>, outcome: &Outcome, effect: Effect<T>) -> Option<Self> {
        let known = self.remembered.reply(key);
        let reply = known.unwrap_or(effect.reply);
        let fits = match outcome {
            Outcome::Ok(Answer::Done) => reply == Reply::Done,
            Outcome::Refused(Refusal::Rule) => reply == Reply::RefusedByRule,
            Outcome::Unknown => true,
            Outcome::Ok(Answer::Seen { .. }) | Outcome::Refused(_) => false,
        };
        if !fits {
            return None;
        }
        let mut row = self.clone();
        if known.is_none() {
            row.remembered.keep(key, reply);
            if let Some(to) = effect.to {
                row.holds = to;
                row.log = row.log.changed();
            }
        }
        Some(row)
    }
}

/// A row that holds one text, written as a whole or by compare and set.
#[derive(Debug)]
pub struct Register {
    /// Texts that a reading shows or a change compares with, in order.
    texts: Vec<String>,
    keys: Keys,
}

/// Number of a text.
type TextId = usize;
const NOTHING: TextId = 0;
/// Whatever nobody looked for: no answer tells one such text from another.
const UNSEEN: TextId = 1;
const FIRST: TextId = 2;

impl Register {
    /// The model for these operations of one subject.
    #[must_use]
    pub fn of(operations: &[&Operation]) -> Self {
        let texts: BTreeSet<&str> =
            operations.iter().flat_map(|operation| looked_for(operation)).collect();
        let texts = texts.into_iter().map(str::to_owned).collect();
        Self { texts, keys: Keys::shared(operations) }
    }

    fn id(&self, text: &str) -> TextId {
        let at = self.texts.binary_search_by(|known| known.as_str().cmp(text));
        at.map_or(UNSEEN, |at| at + FIRST)
    }
}

/// The texts that the operation's answer depends on.
fn looked_for(operation: &Operation) -> Option<&str> {
    match (&operation.action, &operation.outcome) {
        (Action::CompareAndSet { from, .. }, _) => Some(from),
        (_, Outcome::Ok(Answer::Seen { value: Value::Text(text), .. })) => Some(text),
        _ => None,
    }
}

impl Model for Register {
    type State = Row<TextId>;

    fn initial(&self) -> Self::State {
        Row::holding(NOTHING)
    }

    fn step(
        &self,
        row: &Self::State,
        operation: &Operation,
        outcome: &Outcome,
    ) -> Option<Self::State> {
        let key = self.keys.of(operation);
        match &operation.action {
            Action::Read => {
                let Outcome::Ok(Answer::Seen { value, index }) = outcome else { return None };
                let shown = match value {
                    Value::Absent => NOTHING,
                    Value::Text(text) => self.id(text),
                    Value::Count(_) | Value::Presence(_) => return None,
                };
                row.read(shown == row.holds, *index)
            }
            Action::Write(text) => {
                row.change(key, outcome, Effect { reply: Reply::Done, to: Some(self.id(text)) })
            }
            Action::CompareAndSet { from, to } => {
                let effect = if row.holds == self.id(from) {
                    Effect { reply: Reply::Done, to: Some(self.id(to)) }
                } else {
                    Effect { reply: Reply::RefusedByRule, to: None }
                };
                row.change(key, outcome, effect)
            }
            _ => None,
        }
    }

    /// A text that is never seen was overwritten before anybody looked.
    fn is_needless(&self, operation: &Operation, rest: &[&Operation]) -> bool {
        let Action::Write(text) = &operation.action else {
            return operation.action == Action::Read;
        };
        let is_seen = |other: &&Operation| {
            looked_for(other) == Some(text)
                || matches!(other.action, Action::CompareAndSet { .. })
                || (operation.once.is_some() && other.once == operation.once)
        };
        !rest.iter().any(is_seen)
    }

    fn is_only_cause(&self, operation: &Operation, rest: &[&Operation]) -> bool {
        let Action::Write(text) = &operation.action else { return false };
        let leads_there = |other: &&Operation| match &other.action {
            Action::Write(to) | Action::CompareAndSet { to, .. } => to == text,
            _ => false,
        };
        !rest.iter().any(leads_there)
    }

    fn shows(&self, operation: &Operation, reading: &Operation) -> bool {
        let Action::Write(text) = &operation.action else { return false };
        reading.action == Action::Read && looked_for(reading) == Some(text)
    }

    fn describe(&self, row: &Self::State) -> String {
        let text = row.holds.checked_sub(FIRST).and_then(|at| self.texts.get(at));
        match (text, row.holds) {
            (Some(text), _) => format!("{text:?}"),
            (None, NOTHING) => "nothing".to_owned(),
            (None, _) => "a text that nobody read".to_owned(),
        }
    }
}

/// An agent without contacts, who exists from the beginning, logged out.
#[derive(Debug)]
pub struct Attendance {
    keys: Keys,
}

impl Attendance {
    /// The model for these operations of one subject.
    #[must_use]
    pub fn of(operations: &[&Operation]) -> Self {
        Self { keys: Keys::shared(operations) }
    }
}

impl Model for Attendance {
    type State = Row<Presence>;

    fn initial(&self) -> Self::State {
        Row::holding(Presence::LoggedOut)
    }

    fn step(
        &self,
        row: &Self::State,
        operation: &Operation,
        outcome: &Outcome,
    ) -> Option<Self::State> {
        let done = |to: Presence| Effect { reply: Reply::Done, to: Some(to) };
        let effect = match &operation.action {
            Action::Read => {
                let Outcome::Ok(Answer::Seen { value: Value::Presence(shown), index }) = outcome
                else {
                    return None;
                };
                return row.read(*shown == row.holds, *index);
            }
            Action::LogIn(to) => done(to.clone()),
            Action::LogOut => done(Presence::LoggedOut),
            Action::SetPresence(_) if row.holds == Presence::LoggedOut => {
                Effect { reply: Reply::RefusedByRule, to: None }
            }
            Action::SetPresence(to) => done(to.clone()),
            Action::Write(_) | Action::CompareAndSet { .. } | Action::Add(_) => return None,
        };
        row.change(self.keys.of(operation), outcome, effect)
    }

    fn is_needless(&self, operation: &Operation, _rest: &[&Operation]) -> bool {
        operation.action == Action::Read
    }

    fn describe(&self, row: &Self::State) -> String {
        presence_in_words(&row.holds)
    }
}

/// `ready`, `logged out`, `not ready (lunch)`.
pub(super) fn presence_in_words(presence: &Presence) -> String {
    match presence {
        Presence::LoggedOut => "logged out".to_owned(),
        Presence::Ready => "ready".to_owned(),
        Presence::NotReady(reason) if reason.is_empty() => "not ready".to_owned(),
        Presence::NotReady(reason) => format!("not ready ({reason})"),
    }
}

/// A number that begins at 0 and is added to.
#[derive(Debug)]
pub struct Counter {
    keys: Keys,
}

impl Counter {
    /// The model for these operations of one subject.
    #[must_use]
    pub fn of(operations: &[&Operation]) -> Self {
        Self { keys: Keys::shared(operations) }
    }
}

impl Model for Counter {
    type State = Row<u64>;

    fn initial(&self) -> Self::State {
        Row::holding(0)
    }

    fn step(
        &self,
        row: &Self::State,
        operation: &Operation,
        outcome: &Outcome,
    ) -> Option<Self::State> {
        match &operation.action {
            Action::Read => {
                let Outcome::Ok(Answer::Seen { value: Value::Count(shown), index }) = outcome
                else {
                    return None;
                };
                row.read(*shown == row.holds, *index)
            }
            Action::Add(amount) => {
                let to = Some(row.holds.saturating_add(*amount));
                row.change(self.keys.of(operation), outcome, Effect { reply: Reply::Done, to })
            }
            _ => None,
        }
    }

    fn is_needless(&self, operation: &Operation, _rest: &[&Operation]) -> bool {
        operation.action == Action::Read
    }

    fn describe(&self, row: &Self::State) -> String {
        row.holds.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::script::Script, *};

    /// Applies all operations one after the other with their outcomes; the number of those that fit.
    fn fitting<M: Model>(model: &M, operations: &[&Operation]) -> usize {
        let mut state = model.initial();
        for (nth, operation) in operations.iter().enumerate() {
            match model.step(&state, operation, &operation.outcome) {
                Some(next) => state = next,
                None => return nth,
            }
        }
        operations.len()
    }

    // Goal: the register at its edges: absence, texts, the wrong text, compare and set both ways.
    #[test]
    fn registers() {
        let mut script = Script::register();
        script.absent().write("a").sees("a").swaps("a", "b").sees("b").swap_refused("a", "c");
        script.sees("b");
        let rows = script.rows();
        assert_eq!(fitting(&Register::of(&rows), &rows), 7);
        for wrong in [
            Script::register().write("a").absent(),
            Script::register().write("a").sees("b"),
            Script::register().write("a").swaps("b", "c"),
            Script::register().write("a").swap_refused("a", "c"),
        ] {
            let rows = wrong.rows();
            assert_eq!(fitting(&Register::of(&rows), &rows), 1);
        }
    }

    // Goal: under one key the second write changes nothing; under two it does.
    #[test]
    fn keys_take_effect_once() {
        for (second, shown) in [("k1", "b"), ("k2", "a")] {
            let mut script = Script::register();
            script.write("a").once("k1").write("b").write("a").once(second).sees(shown);
            let rows = script.rows();
            assert_eq!(fitting(&Register::of(&rows), &rows), 4, "{second}");
        }
        // A refusal is remembered as well.
        let mut script = Script::register();
        script.write("a").swap_refused("b", "c").once("k").write("b");
        script.swap_refused("b", "c").once("k").sees("b");
        let rows = script.rows();
        assert_eq!(fitting(&Register::of(&rows), &rows), 5);
    }

    // Goal: readings' indexes never go back, and a change needs a larger one; equal ones are fine
    // without a change.
    #[test]
    fn indexes_grow() {
        for (before, after, changed, fits) in
            [(5, 5, false, true), (5, 4, false, false), (5, 5, true, false), (5, 6, true, true)]
        {
            let mut script = Script::register();
            script.write("a").sees_at("a", before);
            if changed {
                script.write("a");
            }
            script.sees_at("a", after);
            let rows = script.rows();
            let all = fitting(&Register::of(&rows), &rows) == rows.len();
            assert_eq!(all, fits, "{before} {after} {changed}");
        }
    }

    // Goal: presence by its table: who is logged out cannot be made ready, and is told so.
    #[test]
    fn presence() {
        let lunch = || Presence::NotReady("lunch".to_owned());
        let mut script = Script::presence();
        script.enter_refused(Presence::Ready).log_in(lunch()).is(lunch()).enter(Presence::Ready);
        script.is(Presence::Ready).log_out().is(Presence::LoggedOut).enter_refused(lunch());
        let rows = script.rows();
        assert_eq!(fitting(&Attendance::of(&rows), &rows), 8);
        for wrong in [
            Script::presence().log_in(lunch()).enter_refused(Presence::Ready),
            Script::presence().log_out().enter(Presence::Ready),
            Script::presence().log_in(lunch()).is(Presence::Ready),
        ] {
            let rows = wrong.rows();
            assert_eq!(fitting(&Attendance::of(&rows), &rows), 1);
        }
    }

    // Goal: a counter adds, once per key.
    #[test]
    fn counters() {
        let mut script = Script::counter();
        script.counts(0).add(2).add(1).once("k").counts(3).add(1).once("k").counts(3);
        let rows = script.rows();
        assert_eq!(fitting(&Counter::of(&rows), &rows), 6);
        let wrong = Script::counter().add(1).counts(2).rows_owned();
        let rows: Vec<&Operation> = wrong.iter().collect();
        assert_eq!(fitting(&Counter::of(&rows), &rows), 1);
    }

    // Goal: only a write that nobody saw, compared with or repeated is needless.
    #[test]
    fn needless_writes() {
        for (script, needless) in [
            (Script::register().write("a").write("b").sees("b"), true),
            (Script::register().write("a").sees("a"), false),
            (Script::register().write("a").swap_refused("x", "y"), false),
            (Script::register().write("a").once("k").write("b").once("k"), false),
        ] {
            let rows = script.rows();
            let (first, rest) = rows.split_first().unwrap();
            assert_eq!(Register::of(&rows).is_needless(first, rest), needless, "{rows:?}");
        }
    }
}
