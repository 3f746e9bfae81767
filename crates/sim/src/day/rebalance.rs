//! Administrators who rebalance: they look at the center now and then and change it by the queue's own plans
//! (`ApplyPlan`; a later plan takes back what an earlier one did, as `UndoPlan` would for all of it at once).
//!
//! They know what an administrator can know: the forecast by which the staff was planned, and what the queue
//! shows (`tandem stats`, `queue list`, `agent list`, `site list`). They do not know the surprises.
//!
//! [`Lender`] lends agents of one city to the line of another, as a careful planner would:
//!
//! 1. The forecast of each line is corrected by the callers of the last minutes, when those differ from it by
//!    more than chance does.
//! 2. All agents at work are shared out by the square-root rule: each line gets those whom its calls keep busy,
//!    and of what is left a part in proportion to the square root of that, which is how much chance needs
//!    (Halfin, Whitt: Heavy-Traffic Limits for Queues with Many Exponential Servers, Operations Research 29,
//!    1981; Borst, Mandelbaum, Reiman: Dimensioning Large Call Centers, Operations Research 52, 2004). When
//!    nothing is left, all lines are short by the same share.
//! 3. Cities that have more lend to lines that have less; who is idle goes first.
//!
//! [`Weigher`] gives sites the weight of their agents at work, for one queue that spreads by weight.
//!
//! Not here: who may serve whom without them ([`super::arrangement`]).

use std::collections::{BTreeMap, BTreeSet};

use tandem_routing::{
    command::{Command, MembershipSpec, PlanSpec},
    entity::{Agent, LoginState, LogoutAfter, Site, interval_of},
    ids::{QueueId, TenantId},
    limits::{INTERVAL_MS, PLAN_AGENTS_MAX, SITE_WEIGHT_MAX},
    name::Name,
    state::State,
    time::{ClusterTime, Millis},
};

use super::{
    Center, City, HALF_HOUR, HALF_HOURS, HalfHour, arrangement::Administrator, ledger::spread,
    roster,
};

/// So many callers tell whether a forecast is right; when fewer were expected in the running quarter of an
/// hour, those of the last one are looked at too.
const TELLING: f64 = 100.0;
/// A forecast is corrected when it is wrong by more than so many standard deviations of chance.
const BEYOND_CHANCE: f64 = 3.0;

/// Carries out at once what a plan says.
fn apply(weights: BTreeMap<Name, u16>, agents: BTreeMap<Name, MembershipSpec>) -> Command {
    let plan = Box::new(PlanSpec { weights, agents, steps: 1, every: Millis(1) });
    Command::ApplyPlan { tenant: TenantId::DEFAULT, plan }
}

/// True when an agent of this site can take calls, now or after the one they have.
fn is_able(site: &Site, agent: &Agent) -> bool {
    agent.site == site.id
        && site.takes_contacts()
        && agent.login != LoginState::LoggedOut
        && agent.logout_after == LogoutAfter::No
}

/// What somebody who is lent does with their own line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loan {
    /// Leaves it for the other one.
    Moved,
    /// Serves both: the oldest caller of either.
    Shared,
}

/// Lends agents between the lines of cities, each named as its city's site.
#[derive(Debug, PartialEq)]
pub struct Lender {
    every: Millis,
    loan: Loan,
    handling: Millis,
    lines: Vec<Line>,
}

/// What was planned for a city.
#[derive(Debug, PartialEq)]
struct Line {
    name: &'static str,
    calls: [f64; HALF_HOURS],
    agents: [u32; HALF_HOURS],
}

/// What is seen of a city and its line.
#[derive(Debug)]
struct Seen {
    id: QueueId,
    name: Name,
    /// Callers in line.
    waiting: u32,
    /// Callers who came, of one who was expected.
    pace: f64,
    /// Agents who can take calls, in the order in which they are lent.
    able: Vec<Helper>,
    /// Others who do not serve their own line, or not it alone.
    astray: Vec<Helper>,
}

/// An agent, and what they serve.
#[derive(Debug, Clone)]
struct Helper {
    name: Name,
    queues: BTreeSet<QueueId>,
}

impl Lender {
    /// Looks so often at this center and lends so. Knows nothing of its surprises.
    #[must_use]
    pub fn new(center: &Center, every: Millis, loan: Loan) -> Self {
        let line = |city: &City| Line {
            name: city.site,
            calls: center.forecast(city).calls,
            agents: roster::hired(center, city),
        };
        let lines = center.cities.iter().map(line).collect();
        Self { every, loan, handling: center.habits.handling(), lines }
    }
}

// --- looking -------------------------------------------------------------------------------------

impl Line {
    fn see(&self, now: ClusterTime, state: &State) -> Option<Seen> {
        let queue = state.queues().iter().find(|row| row.name.as_str() == self.name)?;
        let site = state.sites().iter().find(|row| row.name.as_str() == self.name)?;
        let own = BTreeSet::from([queue.id]);
        let (mut able, mut astray) = (Vec::new(), Vec::new());
        for row in state.agents().iter().filter(|row| row.site == site.id) {
            let helper = || Helper { name: row.name.clone(), queues: (*row.queues).clone() };
            if is_able(site, row) {
                // Who is idle first, and the longest idle first of them.
                able.push(((!row.is_waiting(), row.idle_since, row.id), helper()));
            } else if *row.queues != own {
                astray.push(helper());
            }
        }
        able.sort_by_key(|(order, _)| *order);
        let able = able.into_iter().map(|(_, helper)| helper).collect();
        let (came, expected) = self.lately(now, queue.id, state);
        let (pace, waiting) = (pace(came, expected), state.queue_len(queue.id));
        Some(Seen { id: queue.id, name: queue.name.clone(), waiting, pace, able, astray })
    }

    /// Callers who came in the last minutes, and how many were expected.
    fn lately(&self, now: ClusterTime, queue: QueueId, state: &State) -> (f64, f64) {
        let running = interval_of(now);
        let last = ClusterTime(running.0.saturating_sub(INTERVAL_MS));
        let enough = self.expected(running, now) >= TELLING;
        let from = if enough { running } else { last };
        let rows = [last, running].into_iter().filter(|start| *start >= from);
        let rows: BTreeSet<ClusterTime> = rows.collect();
        let offered =
            |start: &ClusterTime| Some(state.queue_intervals().get(&(*start, queue))?.offered);
        let came: u32 = rows.iter().filter_map(offered).sum();
        (f64::from(came), self.expected(from, now))
    }

    fn expected(&self, from: ClusterTime, to: ClusterTime) -> f64 {
        let mut calls = 0.0;
        spread(Millis(from.0), Millis(to.0), |at, ms| {
            let of_half_hour = self.calls.get(at.0).copied().unwrap_or(0.0);
            calls += of_half_hour * ms as f64 / HALF_HOUR.0 as f64;
        });
        calls
    }

    /// Agents of the city in a half hour: those of now, and as many more or fewer as was planned.
    fn staff(&self, now: ClusterTime, at: HalfHour, seen: &Seen) -> f64 {
        let planned = |at: HalfHour| f64::from(self.agents.get(at.0).copied().unwrap_or(1).max(1));
        let here = HalfHour::of(Millis(now.0)).map_or(1.0, planned);
        seen.able.len() as f64 * planned(at) / here
    }
}

/// By what a forecast is to be multiplied; 1 as long as the difference can be chance (of a Poisson process).
fn pace(came: f64, expected: f64) -> f64 {
    let by_chance = BEYOND_CHANCE * expected.sqrt();
    if (came - expected).abs() <= by_chance { 1.0 } else { came / expected.max(1.0) }
}

// --- deciding ------------------------------------------------------------------------------------

impl Lender {
    /// Half hours until the next look.
    fn ahead(&self, now: ClusterTime) -> impl Iterator<Item = HalfHour> + use<> {
        let until = now.0 + self.every.0.max(1) - 1;
        let halves = now.0 / HALF_HOUR.0..=until / HALF_HOUR.0;
        halves.filter_map(|at| HalfHour::of(Millis(at * HALF_HOUR.0)))
    }

    /// How many agents each city can spare until the next look; below 0: how many it lacks.
    fn spare(&self, now: ClusterTime, seen: &[Seen]) -> Vec<f64> {
        let cities = || self.lines.iter().zip(seen);
        let mut spare = vec![f64::INFINITY; seen.len()];
        for at in self.ahead(now) {
            let loads: Vec<f64> = cities().map(|(line, seen)| self.load(at, line, seen)).collect();
            let staff: Vec<f64> = cities().map(|(line, seen)| line.staff(now, at, seen)).collect();
            let fair = shared_out(&loads, staff.iter().sum());
            for (spare, (staff, fair)) in spare.iter_mut().zip(staff.iter().zip(fair)) {
                // Nobody is lent who will be needed before the next look.
                *spare = spare.min(staff - fair);
            }
        }
        spare
    }

    /// Agents whom a line keeps busy: who comes, and who waits already, to be served until the next look.
    fn load(&self, at: HalfHour, line: &Line, seen: &Seen) -> f64 {
        let handling = self.handling.0.max(1);
        let calls = line.calls.get(at.0).copied().unwrap_or(0.0) * seen.pace;
        let coming = calls * handling as f64 / HALF_HOUR.0 as f64;
        // An agent serves nobody in less than the time of a call.
        coming + f64::from(seen.waiting) * handling as f64 / self.every.0.max(handling) as f64
    }

    /// Which agents are to serve something else than they do: as many as one plan takes.
    fn changes(&self, seen: &[Seen], spare: &[f64]) -> BTreeMap<Name, MembershipSpec> {
        let loans = loans(spare);
        let mut changes = BTreeMap::new();
        for (from, city) in seen.iter().enumerate() {
            let of_line = |(to, line): (usize, &Seen)| Some((line.id, *loans.get(&(from, to))?));
            let mut lent: Vec<(QueueId, usize)> =
                seen.iter().enumerate().filter_map(of_line).collect();
            // Who helps already goes on, as long as they are needed there.
            let mut others = Vec::new();
            for helper in &city.able {
                let helps = |(line, left): &&mut (QueueId, usize)| {
                    *left > 0 && helper.queues.contains(line)
                };
                match lent.iter_mut().find(helps) {
                    Some((_, left)) => *left -= 1,
                    None => others.push(helper),
                }
            }
            let mut places = lent.into_iter().flat_map(|(line, left)| vec![line; left]);
            let with_places = others.into_iter().map(|helper| (helper, places.next()));
            // Who has gone home, or sits at a site that drains, has their own line again.
            let all = with_places.chain(city.astray.iter().map(|helper| (helper, None)));
            for (helper, place) in all {
                let serves = match (place, self.loan) {
                    (None, _) => BTreeSet::from([city.id]),
                    (Some(line), Loan::Moved) => BTreeSet::from([line]),
                    (Some(line), Loan::Shared) => BTreeSet::from([city.id, line]),
                };
                if serves != helper.queues && changes.len() < PLAN_AGENTS_MAX {
                    changes.insert(helper.name.clone(), change(helper, &serves, seen));
                }
            }
        }
        changes
    }
}

fn change(helper: &Helper, serves: &BTreeSet<QueueId>, seen: &[Seen]) -> MembershipSpec {
    let named =
        |id: &QueueId| seen.iter().find(|line| line.id == *id).map(|line| line.name.clone());
    MembershipSpec {
        join: serves.difference(&helper.queues).filter_map(named).collect(),
        leave: helper.queues.difference(serves).filter_map(named).collect(),
    }
}

/// Agents for each line by the square-root rule.
fn shared_out(loads: &[f64], agents: f64) -> Vec<f64> {
    let load: f64 = loads.iter().sum();
    let roots: f64 = loads.iter().map(|line| line.sqrt()).sum();
    let left = agents - load;
    if left < 0.0 || roots <= 0.0 {
        return loads.iter().map(|line| agents * line / load.max(f64::MIN_POSITIVE)).collect();
    }
    loads.iter().map(|line| line + left * line.sqrt() / roots).collect()
}

/// Which city lends how many to which line: who can spare the most to who lacks the most.
fn loans(spare: &[f64]) -> BTreeMap<(usize, usize), usize> {
    let mut left: Vec<i64> = spare.iter().map(|spare| spare.trunc() as i64).collect();
    let mut loans = BTreeMap::new();
    loop {
        let most = left.iter().copied().enumerate().max_by_key(|(_, left)| *left);
        let least = left.iter().copied().enumerate().min_by_key(|(_, left)| *left);
        let (Some((from, most)), Some((to, least))) = (most, least) else { return loans };
        if most <= 0 || least >= 0 {
            return loans;
        }
        let count = most.min(least.saturating_neg());
        *loans.entry((from, to)).or_default() += usize::try_from(count).unwrap_or(0);
        // One of the two is done with, so that this ends.
        for (city, by) in [(from, -count), (to, count)] {
            if let Some(left) = left.get_mut(city) {
                *left += by;
            }
        }
    }
}

impl Administrator for Lender {
    fn every(&self) -> Millis {
        self.every
    }

    fn round(&mut self, now: ClusterTime, state: &State) -> Vec<Command> {
        let seen = self.lines.iter().map(|line| line.see(now, state));
        let Some(seen) = seen.collect::<Option<Vec<Seen>>>() else { return Vec::new() };
        let agents = self.changes(&seen, &self.spare(now, &seen));
        if agents.is_empty() { Vec::new() } else { vec![apply(BTreeMap::new(), agents)] }
    }
}

// --- weights -------------------------------------------------------------------------------------

/// Gives each site the weight of its agents at work: the most get the largest weight.
#[derive(Debug)]
pub struct Weigher {
    every: Millis,
}

impl Weigher {
    /// Looks so often.
    #[must_use]
    pub fn new(every: Millis) -> Self {
        Self { every }
    }
}

impl Administrator for Weigher {
    fn every(&self) -> Millis {
        self.every
    }

    fn round(&mut self, _: ClusterTime, state: &State) -> Vec<Command> {
        // The weight of a site that takes nothing does not matter.
        let open: Vec<&Site> = state.sites().iter().filter(|site| site.takes_contacts()).collect();
        let able = |site: &&Site| state.agents().iter().filter(|row| is_able(site, row)).count();
        let able: Vec<usize> = open.iter().map(able).collect();
        let most = able.iter().copied().max().unwrap_or(0);
        let weight = |able: usize| {
            let share = able.saturating_mul(usize::from(SITE_WEIGHT_MAX)) + most / 2;
            let share = share.checked_div(most).unwrap_or(0);
            u16::try_from(share).unwrap_or(SITE_WEIGHT_MAX).max(1)
        };
        let wanted = open.iter().zip(able).map(|(site, able)| (site, weight(able)));
        let changed = wanted.filter(|(site, weight)| site.weight != *weight);
        let weights: BTreeMap<Name, u16> =
            changed.map(|(site, weight)| (site.name.clone(), weight)).collect();
        if weights.is_empty() { Vec::new() } else { vec![apply(weights, BTreeMap::new())] }
    }
}

#[cfg(test)]
#[path = "rebalance_tests.rs"]
mod tests;
