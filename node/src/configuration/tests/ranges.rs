//! The ranges of documents are those of the core.

use tandem_routing::{command::Command, state::State};

use super::{CENTER, TENANT, apply, center, problems, sources};
use crate::configuration::{Prune, plan};

/// A number in a document: what stands before it, what behind it, and its range.
const RANGES: &[(&str, &str, u64, u64)] = &[
    ("[[site]]\nname='lon'\nweight=", "", 0, 100),
    ("[[queue]]\nname='sales'\nweight=", "", 0, 100),
    ("[[queue]]\nname='sales'\nwiden_after_ms=", "", 0, 3_600_000),
    ("[[queue]]\nname='sales'\nring_ms=", "", 1_000, 300_000),
    ("[[queue]]\nname='sales'\nwrap_up_ms=", "", 0, 3_600_000),
    ("[[queue]]\nname='sales'\nwrap_up_max_ms=", "", 0, 86_400_000),
    ("[[queue]]\nname='sales'\nlength_max=", "", 1, 100_000),
    ("[[queue]]\nname='sales'\nwait_max_ms=", "", 0, 86_400_000),
    ("[[queue]]\nname='sales'\nanswer_within_ms=", "", 1, 86_400_000),
    ("[[queue]]\nname='sales'\nreserve_after_ms=[", "]", 1, 86_400_000),
    ("[[queue]]\nname='sales'\nafter_decline.not_answered_ms=", "", 0, 3_600_000),
    ("[[queue]]\nname='sales'\nafter_decline.refused_ms=", "", 0, 3_600_000),
    ("[[queue]]\nname='sales'\nafter_decline.busy_ms=", "", 0, 3_600_000),
    ("[[queue]]\nname='sales'\nafter_decline.unreachable_ms=", "", 0, 3_600_000),
    ("[[queue]]\nname='sales'\nurgency={advance_ms=1,after_ms=", "}", 1, 86_400_000),
    ("[[queue]]\nname='sales'\nurgency={after_ms=1,advance_ms=", "}", 1, 86_400_000),
    ("[[queue]]\nname='sales'\nlast_agent={remembered_ms=1,patience_ms=", "}", 1, 3_600_000),
    ("[[queue]]\nname='sales'\nlast_agent={patience_ms=1,remembered_ms=", "}", 1, 31_622_400_000),
    ("[[queue]]\nname='sales'\nstep=[{requirement='x',after_ms=", "}]", 1, 86_400_000),
    ("[[queue]]\nname='sales'\nalso=[{queue='support',after_ms=", "}]", 0, 86_400_000),
    ("[[queue]]\nname='sales'\noverflow=[{away=true,length=", "}]", 1, 100_000),
    ("[[queue]]\nname='sales'\noverflow=[{away=true,waited_ms=", "}]", 1, 86_400_000),
    ("[[queue]]\nname='sales'\noverflow=[{away=true,expected_wait_ms=", "}]", 1, 86_400_000),
    ("[[number]]\nnumber='8000'\nqueue='sales'\npriority=", "", 0, 10),
    (
        "[[number]]\nnumber='8000'\nqueue='sales'\nprefer={agent='amy',patience_ms=",
        "}",
        1,
        3_600_000,
    ),
    ("[[agent]]\nname='amy'\nsite='lon'\nskills.english=", "", 1, 10),
    ("[[agent]]\nname='amy'\nsite='lon'\nqueues=['sales']\nreserve.sales=", "", 1, 5),
    ("[[agent]]\nname='amy'\nsite='lon'\nqueues=['sales']\ntiers.sales.level=", "", 1, 100),
    ("[[agent]]\nname='amy'\nsite='lon'\nqueues=['sales']\ntiers.sales.position=", "", 1, 10_000),
];

/// The command that a good document leads to, with one number in it replaced by another: by its encoding,
/// so that no field is forgotten.
fn with_number(command: &Command, from: u64, to: u64) -> Option<Command> {
    let mut json = serde_json::to_value(command).ok()?;
    fn replace(value: &mut serde_json::Value, from: u64, to: u64) {
        match value {
            serde_json::Value::Number(number) if number.as_u64() == Some(from) => {
                *value = to.into()
            }
            serde_json::Value::Array(values) => {
                values.iter_mut().for_each(|v| replace(v, from, to))
            }
            serde_json::Value::Object(map) => map.values_mut().for_each(|v| replace(v, from, to)),
            _ => {}
        }
    }
    replace(&mut json, from, to);
    serde_json::from_value(json).ok()
}

fn refused(state: &State, command: &Command) -> bool {
    let mut state = state.clone();
    state.begin_entry(state.now());
    state.begin_command();
    state.apply(tandem_cluster::ids::GroupId(0), command, &mut Vec::new()).is_err()
}

// Goal: each number is taken from its lowest to its highest value, here and by the core; one beyond is
// refused at its place here, and would be by the core.
#[test]
fn ranges_are_those_of_the_core() {
    let state = center();
    for (before, behind, min, max) in RANGES {
        let text = |number: i128| format!("{before}{number}{behind}\n");
        for edge in [min, max] {
            apply(&mut state.clone(), &[&text(i128::from(*edge))], Prune::No);
        }
        let number_at = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
        for beyond in [i128::from(*min) - 1, i128::from(*max) + 1] {
            let found = problems(&state, &[&text(beyond)], Prune::No);
            let lines = before.matches('\n').count() + 1;
            let expected =
                format!("a.toml:{lines}:{number_at}: this must be {min} to {max}, not {beyond}");
            assert_eq!(found, [expected], "{before}");
        }
        // An odd number is found again in the command.
        let odd = (*min).max(max / 2) | 1;
        let plan =
            plan(&state, TENANT, &sources(&[&text(i128::from(odd))]), Prune::No).expect("good");
        let command = plan.commands.last().cloned();
        let Some(command) = command else { continue };
        for beyond in [min.checked_sub(1), max.checked_add(1)].into_iter().flatten() {
            // One that does not even fit its type needs no refusal.
            if let Some(command) =
                with_number(&command, odd, beyond).filter(|other| *other != command)
            {
                assert!(refused(&state, &command), "the core takes {beyond}: {before}");
            }
        }
    }
    assert!(!problems(&state, &["[[queue]]\nname='sales'\nweight=101\n"], Prune::No).is_empty());
    assert!(CENTER.contains("weight = 50"), "the center is as the ranges need it");
}
