//! Why a history is not linearizable, in words and as short as it can be.
//!
//! First the smallest prefix: the earliest moment at which what had been answered so far cannot be
//! explained. Then the smallest window: everything is left out that the contradiction does not need.
//! Readings can always be left out, and changes where [`Model::is_needless`] says so; what stays is
//! wrong by itself.

use std::{collections::BTreeSet, fmt};

use serde::Serialize;
use tandem_phone::RunTime;

use super::{
    linearizable::{Bounds, Found, Item, Search, items, search_items},
    model::{Model, presence_in_words},
};
use crate::history::{Action, Answer, FaultSpan, Operation, Outcome, Presence, Refusal, Value};

/// Searches that may be made to shorten one history.
const SEARCHES_MAX: usize = 600;
/// Steps of each of them.
const STEPS_MAX: u64 = 500_000;
/// Lines of an explanation.
const LINES_MAX: usize = 40;

/// A contradiction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// What cannot be, in one sentence.
    pub sentence: String,
    /// What it could have been at that moment, by everything else that was answered.
    pub possible: Vec<String>,
    /// What kind of mistake it looks like, where that can be told.
    pub hint: Option<String>,
    /// The operations that contradict each other, in the order of their invocation.
    pub window: Vec<String>,
    /// How many they are.
    pub window_operations: usize,
    /// Operations that had begun when the contradiction was there.
    pub prefix_operations: usize,
    /// The faults that lasted into the window.
    pub faults: Vec<String>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.sentence)?;
        if !self.possible.is_empty() {
            write!(f, " It can have been: {}.", self.possible.join(", or "))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, " {hint}")?;
        }
        for line in &self.window {
            write!(f, "\n  {line}")?;
        }
        if self.window_operations > self.window.len() {
            write!(f, "\n  and {} more", self.window_operations - self.window.len())?;
        }
        for fault in &self.faults {
            write!(f, "\n  meanwhile: {fault}")?;
        }
        Ok(())
    }
}

/// Explains a violation that [`super::linearizable::search`] found in these operations of one
/// subject.
#[must_use]
pub fn explain<M: Model>(
    model: &M,
    operations: &[&Operation],
    faults: &[FaultSpan],
    bounds: &Bounds,
) -> Explanation {
    let bounds = Bounds { steps_max: bounds.steps_max.min(STEPS_MAX), ..*bounds };
    let until = first_contradiction(model, operations, &bounds);
    let begun = operations.iter().filter(|it| until.is_none_or(|until| it.invoked_us <= until));
    let prefix_operations = begun.count();
    let prefix: Vec<&Operation> =
        items(model, operations, until).iter().map(|item| item.operation).collect();
    let culprit = prefix.iter().copied().filter(|it| it.settled_us().is_some());
    let culprit = culprit.filter(|it| it.settled_us() <= until.or(it.settled_us()));
    let culprit = culprit.max_by_key(|it| (it.settled_us(), it.id));
    let window = shortened(model, prefix, culprit, until, &bounds);
    let possible = states_at(model, &window, culprit, until, &bounds);
    let hint = culprit.and_then(|culprit| hint(culprit, operations, &possible));
    let began = window.iter().map(|it| it.invoked_us).min().unwrap_or(RunTime::START);
    let ended = until.unwrap_or(RunTime::from_us(u64::MAX));
    let lasting = faults
        .iter()
        .filter(|fault| fault.began_us <= ended && fault.ended_us.is_none_or(|at| at >= began));
    let sentence = match culprit {
        Some(culprit) => format!(
            "{}: the answer to client {} ({}) cannot be.",
            culprit.subject,
            culprit.client,
            deed(culprit, &culprit.outcome)
        ),
        None => "The answers contradict each other.".to_owned(),
    };
    let lines = window.iter().take(LINES_MAX).map(|operation| line(operation, until));
    Explanation {
        sentence,
        possible: possible.into_iter().collect(),
        hint,
        window: lines.collect(),
        window_operations: window.len(),
        prefix_operations,
        faults: lasting.map(fault_line).collect(),
    }
}

/// The earliest moment at which the answers so far cannot be explained. It is always the return of
/// an operation, and from then on it stays so: halving finds it.
fn first_contradiction<M: Model>(
    model: &M,
    operations: &[&Operation],
    bounds: &Bounds,
) -> Option<RunTime> {
    let mut moments: Vec<RunTime> =
        operations.iter().filter_map(|operation| operation.settled_us()).collect();
    moments.sort_unstable();
    moments.dedup();
    let is_wrong = |until: RunTime| {
        search_items(model, &items(model, operations, Some(until)), bounds) == Found::Violation
    };
    let at = moments.partition_point(|until| !is_wrong(*until));
    moments.get(at).copied()
}

/// Leaves out whatever the contradiction does not need, in ever smaller pieces (Zeller, Hildebrandt:
/// Simplifying and Isolating Failure-Inducing Input, TSE 2002).
fn shortened<'a, M: Model>(
    model: &M,
    mut kept: Vec<&'a Operation>,
    culprit: Option<&Operation>,
    until: Option<RunTime>,
    bounds: &Bounds,
) -> Vec<&'a Operation> {
    kept.sort_by_key(|operation| (operation.invoked_us, operation.id));
    let mut searches = 0;
    let mut size = kept.len().div_ceil(2).max(1);
    loop {
        let before = kept.len();
        let mut from = 0;
        while from < kept.len() && searches < SEARCHES_MAX {
            let rest = without(model, &kept, from..from + size, culprit);
            searches += 1;
            let is_wrong = rest.len() < kept.len()
                && search_items(model, &items(model, &rest, until), bounds) == Found::Violation;
            if is_wrong {
                kept = rest;
            } else {
                from += size;
            }
        }
        let stuck = size == 1 && kept.len() == before;
        if stuck || searches >= SEARCHES_MAX {
            return kept;
        }
        size = size.div_ceil(2);
    }
}

/// These operations without those of a piece that may be left out: one after the other, because what
/// one needed may be needless without it.
fn without<'a, M: Model>(
    model: &M,
    kept: &[&'a Operation],
    piece: std::ops::Range<usize>,
    culprit: Option<&Operation>,
) -> Vec<&'a Operation> {
    let ids = |operations: &[&Operation]| operations.iter().map(|it| it.id).collect::<Vec<_>>();
    let piece = ids(kept.get(piece.start..piece.end.min(kept.len())).unwrap_or(&[]));
    let mut rest: Vec<&Operation> = kept.to_vec();
    // Readings first: they hold the changes.
    for readings in [true, false] {
        for id in &piece {
            let Some(at) = rest.iter().position(|it| it.id == *id) else { continue };
            let operation = rest[at];
            let is_reading = operation.action == Action::Read;
            if is_reading != readings || culprit.is_some_and(|culprit| culprit.id == *id) {
                continue;
            }
            let others: Vec<&Operation> = rest.iter().copied().filter(|it| it.id != *id).collect();
            if model.is_needless(operation, &others) {
                rest = others;
            }
        }
    }
    rest
}

/// What the state could have been when the culprit did not fit.
fn states_at<M: Model>(
    model: &M,
    window: &[&Operation],
    culprit: Option<&Operation>,
    until: Option<RunTime>,
    bounds: &Bounds,
) -> BTreeSet<String> {
    let items: Vec<Item<'_>> = items(model, window, until);
    let watched =
        culprit.and_then(|culprit| items.iter().position(|item| item.operation.id == culprit.id));
    Search::new(model, &items, bounds, watched).run().states
}

/// What the contradiction looks like.
fn hint(
    culprit: &Operation,
    operations: &[&Operation],
    possible: &BTreeSet<String>,
) -> Option<String> {
    let Outcome::Ok(Answer::Seen { value, index }) = &culprit.outcome else { return None };
    if possible.contains(&in_words(value)) {
        let index = (*index)?;
        return Some(format!(
            "The value fits, the log index {index} does not: a reading that came before was based \
             on a later one, or a change between the two is not counted."
        ));
    }
    match value {
        Value::Text(text) => text_hint(culprit, text, operations),
        Value::Count(shown) => {
            let counts = || possible.iter().filter_map(|count| count.parse::<u64>().ok());
            let (least, most) = (counts().min()?, counts().max()?);
            match *shown {
                shown if shown < least => Some("It is too small: lost, or stale.".to_owned()),
                shown if shown > most => Some("It is too large: counted twice.".to_owned()),
                _ => None,
            }
        }
        Value::Absent | Value::Presence(_) => None,
    }
}

fn text_hint(culprit: &Operation, text: &str, operations: &[&Operation]) -> Option<String> {
    let leads_to = |operation: &Operation| match &operation.action {
        Action::Write(to) | Action::CompareAndSet { to, .. } => to == text,
        _ => false,
    };
    let writes: Vec<&&Operation> = operations.iter().filter(|it| leads_to(it)).collect();
    let refused = |it: &&&Operation| matches!(it.outcome, Outcome::Refused(_));
    if writes.iter().all(refused) {
        return Some(match writes.first() {
            None => "Nobody ever wrote that.".to_owned(),
            Some(write) => format!(
                "Client {} was told that this change was not done, and it was.",
                write.client
            ),
        });
    }
    if writes.iter().all(|write| write.invoked_us > culprit.settled_us().unwrap_or_default()) {
        return Some("It was written only later.".to_owned());
    }
    // The last moment at which one of the writes can have taken effect.
    let last = writes
        .iter()
        .map(|it| it.settled_us())
        .try_fold(RunTime::START, |last, at| at.map(|at| last.max(at)));
    let overwritten = operations.iter().find(|other| {
        matches!(&other.action, Action::Write(to) if to != text)
            && other.outcome == Outcome::Ok(Answer::Done)
            && last.is_some_and(|last| other.invoked_us > last)
            && other.settled_us().is_some_and(|at| at < culprit.invoked_us)
    });
    match (overwritten, last) {
        (Some(other), _) => Some(format!(
            "It was stale, or came back: client {} had overwritten it before the reading began.",
            other.client
        )),
        (None, Some(last)) if last < culprit.invoked_us => {
            Some("Another change was lost, or this one was made twice.".to_owned())
        }
        _ => None,
    }
}

/// One operation as a line of the window.
fn line(operation: &Operation, until: Option<RunTime>) -> String {
    let settled = operation.settled_us().filter(|at| until.is_none_or(|until| *at <= until));
    let outcome = if settled.is_some() { &operation.outcome } else { &Outcome::Unknown };
    let span = match (settled, operation.returned_us) {
        (Some(at), _) => format!("{} to {}", Seconds(operation.invoked_us), Seconds(at)),
        (None, _) => format!("from {}", Seconds(operation.invoked_us)),
    };
    format!("#{} client {}, {span}: {}", operation.id, operation.client, deed(operation, outcome))
}

fn deed(operation: &Operation, outcome: &Outcome) -> String {
    let key = operation.once.as_ref().map(|key| format!(" under key {key}")).unwrap_or_default();
    let asked = match &operation.action {
        Action::Read => "read".to_owned(),
        Action::Write(text) => format!("wrote {text:?}{key}"),
        Action::CompareAndSet { from, to } => format!("changed {from:?} to {to:?}{key}"),
        Action::Add(amount) => format!("added {amount}{key}"),
        Action::LogIn(Presence::Ready) => format!("logged in, ready{key}"),
        Action::LogIn(to) => format!("logged in, {}{key}", presence_in_words(to)),
        Action::LogOut => format!("logged out{key}"),
        Action::SetPresence(to) => format!("set {}{key}", presence_in_words(to)),
    };
    match outcome {
        Outcome::Ok(Answer::Done) => asked,
        Outcome::Ok(Answer::Seen { value, index }) => {
            let index = index.map(|index| format!(" at index {index}")).unwrap_or_default();
            format!("{asked} {}{index}", in_words(value))
        }
        Outcome::Refused(Refusal::NotDone) => format!("{asked}: not done"),
        Outcome::Refused(Refusal::Absent) => format!("{asked}: no such row"),
        Outcome::Refused(Refusal::Rule) => format!("{asked}: refused by a rule"),
        Outcome::Unknown => format!("{asked}: no answer yet, or never"),
    }
}

/// As [`Model::describe`] says it.
fn in_words(value: &Value) -> String {
    match value {
        Value::Absent => "nothing".to_owned(),
        Value::Text(text) => format!("{text:?}"),
        Value::Count(count) => count.to_string(),
        Value::Presence(presence) => presence_in_words(presence),
    }
}

fn fault_line(fault: &FaultSpan) -> String {
    let ended = fault.ended_us.map(|at| format!(" to {}", Seconds(at))).unwrap_or_default();
    format!("{}, {}{ended}", fault.what, Seconds(fault.began_us))
}

/// A moment as seconds since the history's start.
struct Seconds(RunTime);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = self.0.as_us();
        write!(f, "{}.{:06} s", us / 1_000_000, us % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            linearizable::search,
            model::{Attendance, Counter, Register},
            script::Script,
        },
        *,
    };

    fn explained(script: &Script) -> Explanation {
        let rows = script.rows();
        let model = Register::of(&rows);
        assert_eq!(search(&model, &rows, &Bounds::default()).0, Found::Violation);
        explain(&model, &rows, &[], &Bounds::default())
    }

    // Goal: a stale reading deep in a long history is explained by the two or three operations that
    // contradict each other, and by nothing that came later.
    #[test]
    fn a_long_history_becomes_a_short_window() {
        let mut script = Script::register();
        for nth in 0..60 {
            script.write(&format!("v{nth}")).sees(&format!("v{nth}"));
        }
        script.sees("v58");
        for nth in 60..90 {
            script.write(&format!("v{nth}")).sees(&format!("v{nth}"));
        }
        let explanation = explained(&script);
        assert_eq!(explanation.prefix_operations, 121, "{explanation}");
        assert!(explanation.window_operations <= 3, "{explanation}");
        assert_eq!(explanation.possible, ["\"v59\""], "{explanation}");
        assert!(explanation.sentence.contains("read \"v58\""), "{explanation}");
        assert!(explanation.hint.as_ref().unwrap().contains("stale"), "{explanation}");
        assert!(!explanation.to_string().contains("v61"), "{explanation}");
    }

    // Goal: each kind of mistake is called by its name.
    #[test]
    fn kinds_of_mistakes() {
        let refused = Outcome::Refused(Refusal::NotDone);
        for (script, words) in [
            (Script::register().write("a").sees("z").clone(), "Nobody ever wrote"),
            (Script::register().write("a").write("b").but(refused).sees("b").clone(), "not done"),
            (Script::register().write("a").write("b").sees("a").clone(), "stale"),
            (Script::register().write("a").sees("b").write("b").clone(), "only later"),
            (Script::register().write("a").sees_at("a", 9).sees_at("a", 8).clone(), "index 8"),
            (
                Script::register().write("a").sees_at("a", 9).write("a").sees_at("a", 9).clone(),
                "index 9",
            ),
        ] {
            let explanation = explained(&script);
            assert!(explanation.to_string().contains(words), "{words}: {explanation}");
        }
        for (count, words) in [(1, "lost"), (3, "twice")] {
            let mut script = Script::counter();
            script.add(1).add(1).counts(count);
            let rows = script.rows();
            let text = explain(&Counter::of(&rows), &rows, &[], &Bounds::default()).to_string();
            assert!(text.contains(words), "{text}");
        }
    }

    // Goal: an answer to a change can be the contradiction, and the fault of that time is named.
    #[test]
    fn a_wrong_refusal_amid_a_fault() {
        let mut script = Script::presence();
        script.log_in(Presence::Ready).enter_refused(Presence::NotReady("tea".to_owned()));
        let rows = script.rows();
        let fault = |what: &str, began, ended: Option<u64>| FaultSpan {
            id: 9,
            what: what.to_owned(),
            began_us: RunTime::from_us(began),
            ended_us: ended.map(RunTime::from_us),
        };
        let faults =
            [fault("kill lon", 1, Some(19)), fault("kill fra", 25, None), fault("later", 51, None)];
        let found = explain(&Attendance::of(&rows), &rows, &faults, &Bounds::default());
        assert!(found.sentence.contains("refused by a rule"), "{found}");
        assert_eq!(found.possible, ["ready"]);
        assert_eq!(found.faults.len(), 1, "{found}");
        assert!(found.faults[0].starts_with("kill fra"), "{found}");
    }
}
