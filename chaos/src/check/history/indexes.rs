//! Readings of all subjects stand in one order, that of the log.
//!
//! A linearizable reading is based on everything that was committed before it was asked for. So one
//! that begins after another has returned is based on the same log index or a later one, at
//! whichever node and about whatever subject. This is weaker than linearizability for one subject
//! and says what that cannot: how subjects stand to each other.

use std::fmt;

use serde::Serialize;

use crate::history::{Answer, Operation, Outcome};

/// A reading that is based on less than one that had returned before it began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepBack {
    /// Number of the earlier operation.
    pub before: u64,
    /// The index that it was based on.
    pub index_before: u64,
    /// Number of the later operation.
    pub after: u64,
    /// The index that it was based on.
    pub index_after: u64,
}

impl fmt::Display for StepBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, index_before, after, index_after } = self;
        write!(
            f,
            "#{after} read the log at index {index_after} after #{before} had read it at index \
             {index_before}: it was stale"
        )
    }
}

/// All readings that are based on less than an earlier one; each is named once, with the earlier
/// one that saw most.
#[must_use]
pub fn steps_back(operations: &[Operation]) -> Vec<StepBack> {
    let mut readings: Vec<(&Operation, u64)> =
        operations.iter().filter_map(|it| Some((it, index(it)?))).collect();
    let mut returned = readings.clone();
    returned.sort_by_key(|(reading, _)| reading.settled_us());
    readings.sort_by_key(|(reading, _)| reading.invoked_us);
    let mut returned = returned.into_iter().peekable();
    let mut most: Option<(&Operation, u64)> = None;
    let mut found = Vec::new();
    for (reading, index_after) in readings {
        while let Some((earlier, index)) =
            returned.next_if(|(it, _)| it.settled_us() < Some(reading.invoked_us))
        {
            if most.is_none_or(|(_, most)| index > most) {
                most = Some((earlier, index));
            }
        }
        if let Some((earlier, index_before)) = most.filter(|(_, most)| *most > index_after) {
            found.push(StepBack {
                before: earlier.id,
                index_before,
                after: reading.id,
                index_after,
            });
        }
    }
    found
}

fn index(operation: &Operation) -> Option<u64> {
    operation.settled_us()?;
    match operation.outcome {
        Outcome::Ok(Answer::Seen { index, .. }) => index,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::script::Script, *};

    // Goal: equal and growing indexes are fine, a smaller one after a larger is found, once.
    #[test]
    fn stale_readings_are_found() {
        let rows = Script::register().sees_at("a", 5).sees_at("a", 5).sees_at("a", 6).rows_owned();
        assert_eq!(steps_back(&rows), []);
        let mut script = Script::register();
        script.sees_at("a", 5).sees_at("a", 9).sees_at("a", 8).sees_at("a", 9);
        let found = steps_back(&script.rows_owned());
        assert_eq!(found, [StepBack { before: 2, index_before: 9, after: 3, index_after: 8 }]);
        assert!(found[0].to_string().contains("stale"));
    }

    // Goal: readings that overlap, or touch, bind each other to nothing.
    #[test]
    fn concurrent_readings_are_free() {
        for (begins_us, found) in [(30, 0), (31, 1)] {
            let mut script = Script::register();
            script.sees_at("a", 9).within(20, 30).sees_at("a", 8).within(begins_us, 50);
            assert_eq!(steps_back(&script.rows_owned()).len(), found, "{begins_us}");
        }
    }
}
