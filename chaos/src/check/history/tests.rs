//! The checker itself is checked: against a judge that tries every order, against histories that
//! are right by construction, and by mistakes planted in them.

use std::time::Instant;

use tandem_phone::RunTime;

use super::{
    Judgement, Verdict, judge,
    linearizable::{Bounds, Found, search},
    model::{Attendance, Counter, Model, Register},
    retries::joined,
    script::Script,
};
use crate::history::{
    Action, Answer, History, Operation, Outcome, Presence, Refusal, Subject, Value, dice::Dice,
};

const SEED: u64 = 0x7a_4d_5e_ed;

// --- the judge that tries every order ---------------------------------------------------------------

/// True when some order of these operations explains all answers: tries them all, by the definition.
fn brute_force<M: Model>(model: &M, state: &M::State, left: &[&Operation]) -> bool {
    if left.iter().all(|operation| operation.settled_us().is_none()) {
        return true;
    }
    left.iter().any(|next| {
        let waits = left
            .iter()
            .any(|other| other.settled_us().is_some_and(|returned| returned < next.invoked_us));
        if waits {
            return false;
        }
        let rest: Vec<&Operation> = left.iter().copied().filter(|it| it.id != next.id).collect();
        // Not done for reasons outside: it happened, and nothing follows from it.
        if next.outcome == Outcome::Refused(Refusal::NotDone) {
            return brute_force(model, state, &rest);
        }
        let after = model.step(state, next, &next.outcome);
        after.is_some_and(|after| brute_force(model, &after, &rest))
    })
}

/// A few random operations with random answers; many are right, many are not.
fn random_operations(dice: &mut Dice, draw: fn(&mut Dice) -> (Action, Outcome)) -> Vec<Operation> {
    let count = 2 + dice.below(6);
    let subject = Subject::register("x");
    (1..=count)
        .map(|id| {
            let (action, outcome) = draw(dice);
            let invoked = dice.below(12);
            let once = match dice.below(6) {
                0 if action != Action::Read => Some("k".to_owned()),
                1 if action != Action::Read => Some("l".to_owned()),
                _ => None,
            };
            Operation {
                id,
                client: u32::try_from(id).unwrap(),
                subject: subject.clone(),
                action,
                once,
                invoked_us: RunTime::from_us(invoked),
                returned_us: Some(RunTime::from_us(invoked + dice.below(6))),
                outcome,
            }
        })
        .collect()
}

fn change_outcome(dice: &mut Dice) -> Outcome {
    match dice.below(10) {
        0..6 => Outcome::Ok(Answer::Done),
        6..8 => Outcome::Unknown,
        8 => Outcome::Refused(Refusal::Rule),
        _ => Outcome::Refused(Refusal::NotDone),
    }
}

fn seen(dice: &mut Dice, value: Value) -> Outcome {
    if dice.percent(10) {
        return Outcome::Unknown;
    }
    let index = dice.percent(30).then(|| dice.below(4));
    Outcome::Ok(Answer::Seen { value, index })
}

fn text(dice: &mut Dice) -> String {
    (*dice.pick(&["a", "b", "c"]).unwrap()).to_owned()
}

fn register_operation(dice: &mut Dice) -> (Action, Outcome) {
    match dice.below(10) {
        0..5 => {
            let value = if dice.percent(25) { Value::Absent } else { Value::Text(text(dice)) };
            (Action::Read, seen(dice, value))
        }
        5..8 => {
            let action = Action::Write(text(dice));
            let outcome = change_outcome(dice);
            // The API has no rule that forbids a write.
            let done = Outcome::Ok(Answer::Done);
            (action, if outcome == Outcome::Refused(Refusal::Rule) { done } else { outcome })
        }
        _ => {
            let action = Action::CompareAndSet { from: text(dice), to: text(dice) };
            (action, change_outcome(dice))
        }
    }
}

fn presence(dice: &mut Dice) -> Presence {
    if dice.percent(50) { Presence::Ready } else { Presence::NotReady("tea".to_owned()) }
}

fn presence_operation(dice: &mut Dice) -> (Action, Outcome) {
    match dice.below(8) {
        0..4 => {
            let shown = if dice.percent(40) { Presence::LoggedOut } else { presence(dice) };
            (Action::Read, seen(dice, Value::Presence(shown)))
        }
        4 => (Action::LogIn(presence(dice)), change_outcome(dice)),
        5 => (Action::LogOut, change_outcome(dice)),
        _ => (Action::SetPresence(presence(dice)), change_outcome(dice)),
    }
}

fn counter_operation(dice: &mut Dice) -> (Action, Outcome) {
    if dice.percent(50) {
        let count = Value::Count(dice.below(4));
        (Action::Read, seen(dice, count))
    } else {
        (Action::Add(1 + dice.below(2)), change_outcome(dice))
    }
}

/// Compares the two judges; returns how many histories were right.
fn agree<M: Model>(
    count: u64,
    draw: fn(&mut Dice) -> (Action, Outcome),
    model: impl Fn(&[&Operation]) -> M,
) -> u64 {
    let mut right = 0;
    for nth in 0..count {
        let seed = SEED + nth;
        let operations = random_operations(&mut Dice::from_seed(seed), draw);
        let rows: Vec<&Operation> = operations.iter().collect();
        let model = model(&rows);
        let expected = brute_force(&model, &model.initial(), &rows);
        let wanted = if expected { Found::Linearizable } else { Found::Violation };
        let joined = joined(&rows);
        for rows in [rows, joined.iter().collect()] {
            let (found, _) = search(&model, &rows, &Bounds::default());
            assert_eq!(found, wanted, "seed {seed:#x}: {operations:#?}");
        }
        right += u64::from(expected);
    }
    right
}

// Goal: on 10,000 small random histories of each model the search agrees with the judge that tries
// every order, with tries under one key joined and apart; and both verdicts are common, so that agreeing means something.
#[test]
fn the_judges_agree() {
    const COUNT: u64 = 10_000;
    println!("seeds {SEED:#x} and the {COUNT} after it");
    let rights = [
        agree(COUNT, register_operation, Register::of),
        agree(COUNT, presence_operation, Attendance::of),
        agree(COUNT, counter_operation, Counter::of),
    ];
    println!("of {COUNT} each were right: {rights:?}");
    for right in rights {
        assert!((COUNT / 10..COUNT * 9 / 10).contains(&right), "{rights:?}");
    }
}

// --- histories that are right by construction -------------------------------------------------------

/// What happens between asking and answering, for [`simulated`].
#[derive(Debug, Clone, Copy)]
struct Weather {
    /// Percent of the changes whose answer is lost; half of those take effect.
    lost_percent: u64,
    /// Percent of those that are tried again with the same key.
    again_percent: u64,
}

/// A service that is linearizable by construction: every operation takes effect at one moment within
/// its span, in one log with one index per change. Clients ask one thing after the other.
fn simulated(
    seed: u64,
    clients: u32,
    subjects: u64,
    operations: usize,
    weather: Weather,
) -> History {
    struct Plan {
        operation: Operation,
        effect_us: Option<u64>,
    }
    let mut dice = Dice::from_seed(seed);
    let mut free = vec![0_u64; clients as usize];
    let mut plans: Vec<Plan> = Vec::new();
    let mut again: Vec<(usize, Subject, Action, String)> = Vec::new();
    let mut fresh = 0;
    while plans.len() < operations {
        let client = usize::try_from(dice.below(u64::from(clients))).unwrap();
        let retry = again.iter().position(|it| it.0 == client).map(|at| again.swap_remove(at));
        let (subject, action, once) = retry.map_or_else(
            || {
                let subject = Subject::register(&format!("queue/{}", dice.below(subjects)));
                fresh += 1;
                let write = Action::Write(format!("v{fresh}"));
                let action = if dice.percent(50) { Action::Read } else { write };
                (subject, action, format!("k{fresh}"))
            },
            |(_, subject, action, once)| (subject, action, once),
        );
        let invoked = free[client] + dice.below(50);
        let effect = invoked + dice.below(100);
        let returned = effect + dice.below(100);
        free[client] = returned;
        let is_change = action != Action::Read;
        let is_lost = is_change && dice.percent(weather.lost_percent);
        if is_lost && dice.percent(weather.again_percent) {
            again.push((client, subject.clone(), action.clone(), once.clone()));
        }
        // Lost: never, or at some later time.
        let late = dice.below(3_000);
        let effect_us = match is_lost {
            false => Some(effect),
            true => dice.percent(50).then_some(invoked + late),
        };
        let outcome = if is_lost { Outcome::Unknown } else { Outcome::Ok(Answer::Done) };
        let operation = Operation {
            id: plans.len() as u64 + 1,
            client: u32::try_from(client).unwrap(),
            subject,
            action,
            once: is_change.then_some(once),
            invoked_us: RunTime::from_us(invoked),
            returned_us: Some(RunTime::from_us(returned)),
            outcome,
        };
        plans.push(Plan { operation, effect_us });
    }
    let mut order: Vec<usize> = (0..plans.len()).collect();
    order.sort_by_key(|at| plans[*at].effect_us);
    let mut texts: std::collections::BTreeMap<Subject, String> = std::collections::BTreeMap::new();
    let mut keys = std::collections::BTreeSet::new();
    let mut index = 0;
    for at in order {
        let Plan { operation, effect_us } = &mut plans[at];
        if effect_us.is_none() {
            continue;
        }
        match &operation.action {
            Action::Write(text) => {
                if keys.insert(operation.once.clone()) {
                    index += 1;
                    texts.insert(operation.subject.clone(), text.clone());
                }
            }
            _ => {
                let text = texts.get(&operation.subject).cloned();
                let value = text.map_or(Value::Absent, Value::Text);
                operation.outcome = Outcome::Ok(Answer::Seen { value, index: Some(index) });
            }
        }
    }
    let mut operations: Vec<Operation> = plans.into_iter().map(|plan| plan.operation).collect();
    operations.sort_by_key(|operation| (operation.invoked_us, operation.id));
    History { operations, faults: Vec::new() }
}

const FAIR: Weather = Weather { lost_percent: 0, again_percent: 0 };
const STORM: Weather = Weather { lost_percent: 20, again_percent: 50 };

fn judged(history: &History) -> Judgement {
    judge(history, &Bounds::default())
}

// Goal: what is right by construction is never accused, in fair weather and when a fifth of the
// answers is lost and clients try again.
#[test]
fn nobody_is_accused_wrongly() {
    for nth in 0..60 {
        for weather in [FAIR, STORM] {
            let seed = SEED + nth;
            let history = simulated(seed, 5, 3, 200, weather);
            let judgement = judged(&history);
            assert!(judgement.is_clean(), "seed {seed:#x} {weather:?}: {judgement}");
        }
    }
}

// Goal: 10,000 operations over many subjects are proven in about as many steps, also in a storm; and
// on one subject, which is the worst case, within half of the bounds. The wall clock is printed and
// decides nothing.
#[test]
fn ten_thousand_operations() {
    let bounds = Bounds::default();
    for (subjects, weather, steps_max) in [
        (100, FAIR, 20_000),
        (100, STORM, 20_000),
        (1, FAIR, bounds.steps_max / 20),
        (1, STORM, bounds.steps_max / 2),
    ] {
        let history = simulated(SEED, 8, subjects, 10_000, weather);
        let start = Instant::now();
        let judgement = judged(&history);
        let steps: u64 = judgement.subjects.iter().map(|it| it.steps).sum();
        println!("{subjects} subjects, {weather:?}: {steps} steps, {:?}", start.elapsed());
        assert!(judgement.is_clean(), "{judgement}");
        assert_eq!(judgement.subjects.len() as u64, subjects);
        assert!(steps < steps_max, "{steps} steps");
    }
}

// --- planted mistakes -------------------------------------------------------------------------------

/// Plants a mistake in a simulated history; none when there is no place for it.
type Plant = fn(&mut History, &mut Dice) -> Option<()>;

/// A reading shows, without an index, the text before the last one that was settled when it began.
fn stale_read(history: &mut History, dice: &mut Dice) -> Option<()> {
    let reads: Vec<usize> = readings(history);
    let at = *dice.pick(&reads)?;
    let reading = &history.operations[at];
    let is_before = |it: &&Operation| {
        it.subject == reading.subject
            && matches!(it.action, Action::Write(_))
            && it.settled_us() < Some(reading.invoked_us)
    };
    let mut settled: Vec<&Operation> = history
        .operations
        .iter()
        .filter(|it| it.settled_us().is_some())
        .filter(is_before)
        .collect();
    settled.sort_by_key(|it| it.settled_us());
    let last = settled.pop()?;
    let old = settled.iter().find(|it| it.settled_us() < Some(last.invoked_us))?;
    // Nobody tried to write it again.
    let again = history.operations.iter().any(|it| it.id != old.id && it.once == old.once);
    let Action::Write(text) = &old.action else { return None };
    if again {
        return None;
    }
    let value = Value::Text(text.clone());
    history.operations[at].outcome = Outcome::Ok(Answer::Seen { value, index: None });
    Some(())
}

/// A write that was seen later is said to have never been done.
fn refused_and_done(history: &mut History, dice: &mut Dice) -> Option<()> {
    let texts: Vec<String> = history.operations.iter().filter_map(text_seen).collect();
    let text = dice.pick(&texts)?.clone();
    let write = Action::Write(text);
    let refused = Outcome::Refused(Refusal::NotDone);
    history.operations.iter_mut().filter(|it| it.action == write).for_each(|it| {
        it.outcome = refused.clone();
    });
    Some(())
}

/// A reading's index is one less than that of a reading that was over before.
fn index_steps_back(history: &mut History, dice: &mut Dice) -> Option<()> {
    let reads: Vec<usize> = readings(history);
    let at = *dice.pick(&reads)?;
    let began = history.operations[at].invoked_us;
    let earlier = history.operations.iter().filter(|it| it.settled_us() < Some(began));
    let most = earlier.filter(|it| it.settled_us().is_some()).filter_map(index_of).max()?;
    let Outcome::Ok(Answer::Seen { index, .. }) = &mut history.operations[at].outcome else {
        return None;
    };
    *index = Some(most.checked_sub(1)?);
    Some(())
}

fn readings(history: &History) -> Vec<usize> {
    let all = history.operations.iter().enumerate();
    all.filter(|(_, it)| it.action == Action::Read).map(|(at, _)| at).collect()
}

fn text_seen(operation: &Operation) -> Option<String> {
    match &operation.outcome {
        Outcome::Ok(Answer::Seen { value: Value::Text(text), .. }) => Some(text.clone()),
        _ => None,
    }
}

fn index_of(operation: &Operation) -> Option<u64> {
    match operation.outcome {
        Outcome::Ok(Answer::Seen { index, .. }) => index,
        _ => None,
    }
}

// Goal: one mistake among hundreds of right answers is found each time, and explained by a few
// operations.
#[test]
fn planted_mistakes_are_found() {
    let plants: [(&str, Plant); 3] = [
        ("stale read", stale_read),
        ("refused and done", refused_and_done),
        ("index steps back", index_steps_back),
    ];
    for (name, plant) in plants {
        let mut planted = 0;
        for nth in 0..40 {
            let seed = SEED + nth;
            let mut history = simulated(seed, 5, 3, 300, STORM);
            if plant(&mut history, &mut Dice::from_seed(seed)).is_none() {
                continue;
            }
            planted += 1;
            let judgement = judged(&history);
            assert!(!judgement.is_clean(), "{name}, seed {seed:#x}");
            assert_eq!(judgement.undecided().count(), 0, "{name}, seed {seed:#x}");
            for explanation in judgement.violations() {
                assert!(explanation.window_operations <= 12, "{name} {seed:#x}: {explanation}");
            }
        }
        assert!(planted >= 20, "{name}: {planted}");
    }
}

// Goal: the mistakes that databases are known for, each in its smallest form, next to the form that
// is just right.
#[test]
fn the_classic_mistakes() {
    let verdict = |script: &Script| {
        let history = History { operations: script.rows_owned(), faults: Vec::new() };
        matches!(judged(&history).subjects[0].verdict, Verdict::Linearizable)
    };
    let rows = [
        ("stale read", Script::register().write("a").write("b").sees("a").clone(), false),
        (
            "a read during the write may show either",
            Script::register()
                .write("a")
                .write("b")
                .within(40, 90)
                .sees("a")
                .within(60, 70)
                .clone(),
            true,
        ),
        (
            "but not the new one and then the old one",
            Script::register()
                .write("a")
                .write("b")
                .within(40, 90)
                .sees("b")
                .within(60, 70)
                .sees("a")
                .within(71, 80)
                .clone(),
            false,
        ),
        ("lost write", Script::register().write("a").write("b").sees("a").sees("a").clone(), false),
        (
            "an unknown write may be lost",
            Script::register().write("a").write("b").but(Outcome::Unknown).sees("a").clone(),
            true,
        ),
        (
            "and may come much later",
            Script::register()
                .write("a")
                .write("b")
                .but(Outcome::Unknown)
                .sees("a")
                .write("c")
                .sees("b")
                .clone(),
            true,
        ),
        (
            "but once",
            Script::register()
                .write("a")
                .write("b")
                .but(Outcome::Unknown)
                .sees("b")
                .write("c")
                .sees("b")
                .clone(),
            false,
        ),
        (
            "a repeated write with its key is the first one",
            Script::register()
                .write("a")
                .once("k")
                .but(Outcome::Unknown)
                .write("b")
                .write("a")
                .once("k")
                .sees("b")
                .clone(),
            true,
        ),
        (
            "duplicated write: it was seen, overwritten, and came back under its key",
            Script::register()
                .write("a")
                .once("k")
                .but(Outcome::Unknown)
                .sees("a")
                .write("b")
                .write("a")
                .once("k")
                .sees("a")
                .clone(),
            false,
        ),
        (
            "two who both won the same compare and set",
            Script::register().write("a").swaps("a", "b").swaps("a", "c").clone(),
            false,
        ),
        ("lost count", Script::counter().add(1).add(1).counts(1).clone(), false),
        (
            "counted twice",
            Script::counter()
                .add(1)
                .once("k")
                .but(Outcome::Unknown)
                .add(1)
                .once("k")
                .counts(2)
                .clone(),
            false,
        ),
        (
            "without a key it may count twice",
            Script::counter().add(1).but(Outcome::Unknown).add(1).counts(2).clone(),
            true,
        ),
        (
            "logged out, and ready nevertheless",
            Script::presence().log_in(Presence::Ready).log_out().is(Presence::Ready).clone(),
            false,
        ),
    ];
    for (name, script, right) in rows {
        assert_eq!(verdict(&script), right, "{name}");
    }
}

// Goal: a search that is given up says so, and is no pass; unknown operations that do the same do
// not multiply the work.
#[test]
fn giving_up_is_honest() {
    let mut script = Script::counter();
    for _ in 0..40 {
        script.add(1).but(Outcome::Unknown);
    }
    script.counts(41);
    let history = History { operations: script.rows_owned(), faults: Vec::new() };
    let judgement = judged(&history);
    assert_eq!(judgement.violations().count(), 1, "one more than was ever asked for");
    assert!(judgement.subjects[0].steps < 10_000, "{}", judgement.subjects[0].steps);

    for bounds in [
        Bounds { steps_max: 20, ..Bounds::default() },
        Bounds { configurations_max: 20, ..Bounds::default() },
    ] {
        let judgement = judge(&history, &bounds);
        assert_eq!(judgement.undecided().count(), 1);
        assert_eq!(judgement.violations().count(), 0);
        assert!(!judgement.is_clean());
        assert!(judgement.to_string().contains("undecided"), "{judgement}");
    }
}

// Goal: nothing proves nothing.
#[test]
fn an_empty_history_is_not_clean() {
    assert!(!judged(&History::default()).is_clean());
}
