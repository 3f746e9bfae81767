//! Linearizability: is there an order of the operations, in which each takes effect at one moment
//! between its invocation and its return, that explains every answer? (Herlihy, Wing:
//! Linearizability, TOPLAS 1990.)
//!
//! The search is that of Wing and Gong (JPDC 1993) with Lowe's memory of what was tried (Testing for
//! linearizability, CCPE 2017): a set of operations done so far, together with the state that they
//! left, is looked into once. An operation with an unknown outcome may take effect at any moment
//! after its invocation, or never. Some things keep them cheap, each of which leaves the verdict as
//! it is: those on which nothing depends are left out; those that a reading proves to have happened
//! are known to have happened before it returned; of those that do the same, the one that was
//! invoked first goes first. A reading that changes nothing is taken at once. And the search ends as soon as everything that returned is explained.
//!
//! The problem is NP-complete, so the search is bounded; [`Found::Undecided`] says so when it was
//! not enough, and never guesses.

use std::collections::{BTreeSet, HashMap, HashSet};

use tandem_phone::RunTime;

use super::model::Model;
use crate::history::{Action, Operation, Outcome, Refusal};

/// How much may be tried for one subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Steps of the search: operations tried or taken back.
    pub steps_max: u64,
    /// Pairs of operations done and state that are remembered: what the memory goes into.
    pub configurations_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { steps_max: 20_000_000, configurations_max: 1_000_000 }
    }
}

/// What the search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// There is such an order.
    Linearizable,
    /// There is none.
    Violation,
    /// The bounds were reached before it was known.
    Undecided,
}

/// An operation as the search sees it: what returned too late to be counted is unknown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item<'a> {
    pub(super) operation: &'a Operation,
    pub(super) outcome: &'a Outcome,
    settled_us: Option<RunTime>,
}

/// A search and what it cost.
#[derive(Debug)]
pub(super) struct Searched {
    pub(super) found: Found,
    pub(super) steps: u64,
    /// What the state could have been whenever `watched` did not fit.
    pub(super) states: BTreeSet<String>,
}

/// States that are kept for a watched operation.
const STATES_MAX: usize = 6;

/// Judges the operations of one subject, in any order.
#[must_use]
pub fn search<M: Model>(model: &M, operations: &[&Operation], bounds: &Bounds) -> (Found, u64) {
    let items = items(model, operations, None);
    let searched = Search::new(model, &items, bounds, None).run();
    (searched.found, searched.steps)
}

/// Judges what [`items`] gave.
pub(super) fn search_items<M: Model>(model: &M, items: &[Item<'_>], bounds: &Bounds) -> Found {
    Search::new(model, items, bounds, None).run().found
}

/// What has to be explained of these operations, seen at a moment (`None`: at the end).
pub(super) fn items<'a, M: Model>(
    model: &M,
    operations: &[&'a Operation],
    until: Option<RunTime>,
) -> Vec<Item<'a>> {
    let begun = operations.iter().filter(|it| until.is_none_or(|until| it.invoked_us <= until));
    let seen = begun.map(|operation| {
        let settled_us = operation.settled_us().filter(|at| until.is_none_or(|until| *at <= until));
        let outcome = if settled_us.is_some() { &operation.outcome } else { &Outcome::Unknown };
        Item { operation, outcome, settled_us }
    });
    let seen: Vec<Item<'a>> = seen.filter(|item| says_something(item)).collect();
    let others = |item: &Item<'a>| -> Vec<&'a Operation> {
        let id = item.operation.id;
        seen.iter().map(|other| other.operation).filter(|other| other.id != id).collect()
    };
    let answered = |item: &Item<'a>| -> Vec<&'a Operation> {
        let id = item.operation.id;
        let settled = seen.iter().filter(|other| other.settled_us.is_some());
        settled.map(|other| other.operation).filter(|other| other.id != id).collect()
    };
    let weighed = seen.iter().filter_map(|item| {
        if item.settled_us.is_some() {
            return Some(*item);
        }
        let others = others(item);
        if model.is_needless(item.operation, &others) {
            return None;
        }
        let settled_us = if model.is_only_cause(item.operation, &others) {
            let proofs = answered(item).into_iter().filter(|it| model.shows(item.operation, it));
            proofs.filter_map(Operation::settled_us).min()
        } else {
            None
        };
        Some(Item { settled_us, ..*item })
    });
    weighed.collect()
}

/// False for what binds nobody: readings without an answer, and what was not done for reasons
/// outside of the subject.
fn says_something(item: &Item<'_>) -> bool {
    match item.outcome {
        Outcome::Ok(_) => true,
        Outcome::Refused(refusal) => {
            *refusal != Refusal::NotDone && item.operation.action != Action::Read
        }
        // One that was refused in the end had no effect before either.
        Outcome::Unknown => {
            item.operation.action != Action::Read
                && !matches!(item.operation.outcome, Outcome::Refused(Refusal::NotDone))
        }
    }
}

/// One end of an operation in the list.
#[derive(Debug, Clone, Copy)]
enum End {
    Head,
    Call(usize),
    Return(usize),
}

/// An operation on the way to where the search is.
struct Taken<S> {
    index: usize,
    before: S,
    choice: Choice,
}

/// Whether anything else could have been taken instead.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Choice {
    Others,
    None,
}

pub(super) struct Search<'a, M: Model> {
    model: &'a M,
    items: &'a [Item<'a>],
    bounds: &'a Bounds,
    /// Index of the item whose misfits are written down.
    watched: Option<usize>,
    ends: Vec<End>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Positions of an item's call and return in the list.
    places: Vec<(usize, Option<usize>)>,
    /// The item before it that does the same and is unknown as well.
    twins: Vec<Option<usize>>,
    done: Done,
}

impl<'a, M: Model> Search<'a, M> {
    pub(super) fn new(
        model: &'a M,
        items: &'a [Item<'a>],
        bounds: &'a Bounds,
        watched: Option<usize>,
    ) -> Self {
        let mut moments: Vec<(RunTime, u8, usize)> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            moments.push((item.operation.invoked_us, 0, index));
            moments.extend(item.settled_us.map(|at| (at, 1, index)));
        }
        // At the same moment calls come first: then the two are concurrent.
        moments.sort_unstable();
        let mut ends = vec![End::Head];
        let mut places = vec![(0, None); items.len()];
        for (_, end, index) in moments {
            let at = ends.len();
            if let Some(place) = places.get_mut(index) {
                if end == 0 { place.0 = at } else { place.1 = Some(at) }
            }
            ends.push(if end == 0 { End::Call(index) } else { End::Return(index) });
        }
        let count = ends.len();
        let next = (1..=count).map(|at| at % count).collect();
        let previous = (0..count).map(|at| (at + count - 1) % count).collect();
        let twins = twins(items);
        let done = Done::of(items);
        Self { model, items, bounds, watched, ends, next, previous, places, twins, done }
    }

    pub(super) fn run(mut self) -> Searched {
        let mut searched =
            Searched { found: Found::Linearizable, steps: 0, states: BTreeSet::new() };
        let mut unexplained = self.items.iter().filter(|item| item.settled_us.is_some()).count();
        let mut state = self.model.initial();
        let mut tried: HashSet<(Box<[u64]>, M::State)> = HashSet::new();
        let mut path: Vec<Taken<M::State>> = Vec::new();
        let mut at = self.after(0);
        let mut is_new = true;
        while unexplained > 0 {
            searched.steps += 1;
            if searched.steps > self.bounds.steps_max
                || tried.len() >= self.bounds.configurations_max
            {
                searched.found = Found::Undecided;
                break;
            }
            if std::mem::take(&mut is_new)
                && let Some(index) = self.free_reading(&state)
            {
                self.take(index);
                unexplained -= 1;
                path.push(Taken { index, before: state.clone(), choice: Choice::None });
                (at, is_new) = (self.after(0), true);
                continue;
            }
            match self.ends.get(at).copied().unwrap_or(End::Head) {
                End::Call(index) => match self.taken(index, &state) {
                    Some(after) if tried.insert((self.done.key_with(index), after.clone())) => {
                        self.take(index);
                        unexplained -= usize::from(self.is_settled(index));
                        let before = std::mem::replace(&mut state, after);
                        path.push(Taken { index, before, choice: Choice::Others });
                        (at, is_new) = (self.after(0), true);
                    }
                    _ => at = self.after(at),
                },
                // It returned before anything else could be taken: the way here was wrong. Whatever
                // is unexplained has its return in the list, so the list's end is never reached.
                End::Return(_) | End::Head => {
                    self.note(at, &state, &mut searched.states);
                    let Some((back_at, before)) = self.back(&mut path, &mut unexplained) else {
                        searched.found = Found::Violation;
                        break;
                    };
                    (at, state) = (back_at, before);
                }
            }
        }
        searched
    }

    /// A reading that could be taken now and changes nothing: whatever explains the rest with it
    /// taken later does so with it taken now.
    fn free_reading(&self, state: &M::State) -> Option<usize> {
        let mut at = self.after(0);
        while let Some(End::Call(index)) = self.ends.get(at).copied() {
            let item = self.items.get(index)?;
            if item.operation.action == Action::Read
                && self.model.step(state, item.operation, item.outcome).as_ref() == Some(state)
            {
                return Some(index);
            }
            at = self.after(at);
        }
        None
    }

    /// Takes back up to and with the last choice; where to go on from there, and the state there.
    fn back(
        &mut self,
        path: &mut Vec<Taken<M::State>>,
        unexplained: &mut usize,
    ) -> Option<(usize, M::State)> {
        loop {
            let Taken { index, before, choice } = path.pop()?;
            self.done.clear(index);
            self.put_back(index);
            *unexplained += usize::from(self.is_settled(index));
            if choice == Choice::Others {
                let call = self.places.get(index).map_or(0, |place| place.0);
                return Some((self.after(call), before));
            }
        }
    }

    fn take(&mut self, index: usize) {
        self.done.set(index);
        self.lift(index);
    }

    fn note(&self, at: usize, state: &M::State, states: &mut BTreeSet<String>) {
        let Some(End::Return(index)) = self.ends.get(at).copied() else { return };
        if self.watched == Some(index) && states.len() < STATES_MAX {
            states.insert(self.model.describe(state));
        }
    }

    /// The state after this item, if it may be the next.
    fn taken(&self, index: usize, state: &M::State) -> Option<M::State> {
        let twin = self.twins.get(index).copied().flatten();
        if twin.is_some_and(|twin| !self.done.has(twin)) {
            return None;
        }
        let item = self.items.get(index)?;
        self.model.step(state, item.operation, item.outcome)
    }

    fn is_settled(&self, index: usize) -> bool {
        self.items.get(index).is_some_and(|item| item.settled_us.is_some())
    }

    fn after(&self, at: usize) -> usize {
        self.next.get(at).copied().unwrap_or(0)
    }

    fn lift(&mut self, index: usize) {
        let Some((call, back)) = self.places.get(index).copied() else { return };
        self.unlink(call);
        if let Some(back) = back {
            self.unlink(back);
        }
    }

    fn put_back(&mut self, index: usize) {
        let Some((call, back)) = self.places.get(index).copied() else { return };
        if let Some(back) = back {
            self.relink(back);
        }
        self.relink(call);
    }

    fn unlink(&mut self, at: usize) {
        let (before, after) = (self.previous[at], self.next[at]);
        self.next[before] = after;
        self.previous[after] = before;
    }

    /// Undoes the last [`Self::unlink`] of this place.
    fn relink(&mut self, at: usize) {
        let (before, after) = (self.previous[at], self.next[at]);
        self.next[before] = at;
        self.previous[after] = at;
    }
}

fn twins(items: &[Item<'_>]) -> Vec<Option<usize>> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|index| items.get(*index).map(|item| item.operation.invoked_us));
    let mut last: HashMap<&Action, usize> = HashMap::new();
    let mut twins = vec![None; items.len()];
    for index in order {
        let Some(item) = items.get(index) else { continue };
        if item.settled_us.is_none() && item.operation.once.is_none() {
            let before = last.insert(&item.operation.action, index);
            if let Some(twin) = twins.get_mut(index) {
                *twin = before;
            }
        }
    }
    twins
}

/// Which items are done. Settled ones are numbered by their invocation, so that in every long history
/// almost all of them lie in one full block at the beginning, of which a key holds the length only.
struct Done {
    /// Number of each item within its group.
    numbers: Vec<(Group, usize)>,
    settled: Vec<u64>,
    unknown: Vec<u64>,
}

#[derive(Clone, Copy)]
enum Group {
    Settled,
    Unknown,
}

impl Done {
    fn of(items: &[Item<'_>]) -> Self {
        let mut order: Vec<usize> = (0..items.len()).collect();
        order.sort_by_key(|index| items.get(*index).map(|item| item.operation.invoked_us));
        let mut numbers = vec![(Group::Settled, 0); items.len()];
        let (mut settled, mut unknown) = (0, 0);
        for index in order {
            let is_settled = items.get(index).is_some_and(|item| item.settled_us.is_some());
            let (group, count) = if is_settled {
                (Group::Settled, &mut settled)
            } else {
                (Group::Unknown, &mut unknown)
            };
            if let Some(number) = numbers.get_mut(index) {
                *number = (group, *count);
            }
            *count += 1;
        }
        let words = |count: usize| vec![0; count.div_ceil(64)];
        Self { numbers, settled: words(settled), unknown: words(unknown) }
    }

    fn word(&mut self, index: usize) -> (&mut u64, u64) {
        let (group, number) = self.numbers[index];
        let words = match group {
            Group::Settled => &mut self.settled,
            Group::Unknown => &mut self.unknown,
        };
        (&mut words[number / 64], 1 << (number % 64))
    }

    fn set(&mut self, index: usize) {
        let (word, bit) = self.word(index);
        *word |= bit;
    }

    fn clear(&mut self, index: usize) {
        let (word, bit) = self.word(index);
        *word &= !bit;
    }

    fn has(&self, index: usize) -> bool {
        let (group, number) = self.numbers[index];
        let words = match group {
            Group::Settled => &self.settled,
            Group::Unknown => &self.unknown,
        };
        words[number / 64] & (1 << (number % 64)) != 0
    }

    /// The set with this item in it, as short as it can be said without loss: how many full words
    /// lead, how many follow, these, and the words of the unknown ones.
    fn key_with(&mut self, index: usize) -> Box<[u64]> {
        self.set(index);
        let full = self.settled.iter().take_while(|word| **word == u64::MAX).count();
        let tail = |words: &[u64]| words.iter().rposition(|word| *word != 0).map_or(0, |at| at + 1);
        let settled = &self.settled[full..tail(&self.settled).max(full)];
        let unknown = &self.unknown[..tail(&self.unknown)];
        let head = [full as u64, settled.len() as u64];
        let key = head.iter().chain(settled).chain(unknown).copied().collect();
        self.clear(index);
        key
    }
}
