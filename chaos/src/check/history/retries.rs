//! Tries under one idempotency key, seen as the one operation that they are.
//!
//! The tries of a change that is never refused by rule share one effect: the first that is carried
//! out makes it, the others get its reply. So it happens not before the first was asked for, and
//! not after the first answer; every other try can be put behind it within its own span. One
//! operation from the first asking to the first answer says exactly the same, and is far easier to
//! search. Tries that can be refused by rule stay apart: the model remembers their replies.

use std::collections::BTreeMap;

use crate::history::{Action, Answer, Operation, Outcome, Refusal};

/// The operations of one subject with all such tries joined, in the order of their invocation.
#[must_use]
pub fn joined(operations: &[&Operation]) -> Vec<Operation> {
    let mut tries: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    let mut kept: Vec<Operation> = Vec::new();
    for operation in operations {
        match operation.once.as_deref() {
            Some(key) => tries.entry(key).or_default().push(operation),
            None => kept.push((*operation).clone()),
        }
    }
    for mut group in tries.into_values() {
        group.sort_by_key(|operation| (operation.invoked_us, operation.id));
        match join(&group) {
            Some(operation) => kept.push(operation),
            None => kept.extend(group.into_iter().cloned()),
        }
    }
    kept.sort_by_key(|operation| (operation.invoked_us, operation.id));
    kept
}

/// One operation for these tries; none when they have to stay apart.
fn join(tries: &[&Operation]) -> Option<Operation> {
    let not_done = Outcome::Refused(Refusal::NotDone);
    let mut possible = tries.iter().filter(|it| it.outcome != not_done);
    let first = possible.next()?;
    let done = Outcome::Ok(Answer::Done);
    let all_alike = possible.all(|other| other.action == first.action);
    let never_refused = matches!(
        first.action,
        Action::Write(_) | Action::Add(_) | Action::LogIn(_) | Action::LogOut
    );
    let outcomes_fit =
        tries.iter().all(|it| [&done, &Outcome::Unknown, &not_done].contains(&&it.outcome));
    if !(all_alike && never_refused && outcomes_fit) {
        return None;
    }
    let answered = tries.iter().filter(|it| it.outcome == done);
    let returned_us = answered.filter_map(|it| it.settled_us()).min();
    let outcome = if returned_us.is_some() { done } else { Outcome::Unknown };
    Some(Operation { returned_us, outcome, ..(*first).clone() })
}

#[cfg(test)]
mod tests {
    use super::{super::script::Script, *};

    fn spans(script: &Script) -> Vec<(u64, Option<u64>)> {
        let joined = joined(&script.rows());
        let span = |it: &Operation| (it.invoked_us.as_us(), it.settled_us().map(|at| at.as_us()));
        joined.iter().map(span).collect()
    }

    // Goal: tries become one operation, from the first asking to the first answer; a try that was
    // certainly not done does not count.
    #[test]
    fn tries_are_joined() {
        let mut script = Script::register();
        script.write("a").once("k").but(Outcome::Unknown).write("b");
        script.write("a").once("k").write("a").once("k");
        assert_eq!(spans(&script), [(20, Some(70)), (40, Some(50))]);
        let mut script = Script::register();
        script.write("a").once("k").but(Outcome::Refused(Refusal::NotDone));
        script.write("a").once("k").write("a").once("k").but(Outcome::Unknown);
        assert_eq!(spans(&script), [(40, Some(50))]);
        let mut script = Script::register();
        script.write("a").once("k").but(Outcome::Unknown);
        script.write("a").once("k").but(Outcome::Unknown);
        assert_eq!(spans(&script), [(20, None)]);
    }

    // Goal: what may be refused by rule, differs, or has another key stays apart.
    #[test]
    fn others_stay_apart() {
        for script in [
            Script::register().swaps("a", "b").once("k").swaps("a", "b").once("k"),
            Script::register().write("a").once("k").write("b").once("k"),
            Script::register().write("a").once("k").write("a").once("l"),
            Script::register().write("a").write("a"),
        ] {
            assert_eq!(joined(&script.rows()), script.rows_owned());
        }
    }
}
