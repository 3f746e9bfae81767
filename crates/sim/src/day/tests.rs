//! The day against what it is to be, and the simulator against theory.

use std::collections::{BTreeMap, BTreeSet};

use tandem_routing::{
    command::{Command, MembershipSpec, PlanSpec},
    entity::SiteState,
    ids::TenantId,
    limits::{PLAN_AGENTS_MAX, PLANS_KEPT},
    name::Name,
    state::State,
    time::{ClusterTime, Millis},
};
use tandem_sip::prng::Prng;

use super::{
    BEGINS_UTC, CITIES, Center, CityId, Day, HALF_HOURS, Habits, HalfHour,
    arrangement::{Administrator, Arrangement, Employ},
    calls,
    draw::{Draws, Shape},
    erlang::{must_wait, served_within},
    figures::{Counts, Fate, Figures},
    floor,
    profile::{BUSINESS, WEIGHTS},
    roster::Shift,
};

fn small() -> Center {
    Center::of_seats(10)
}

// Goal: the intended profile has 80 to 90 % of the calls between 9 and 21 h and a peak of 1.5 times the mean of that
// time, and calls that are drawn follow it in every city's own time.
#[test]
fn arrivals_follow_the_profile() {
    assert_eq!(WEIGHTS.iter().sum::<u32>(), 10_000);
    let day = Day::new(&Center::of_seats(500), 1);
    for (index, city) in CITIES.iter().enumerate() {
        let mut drawn = [0_u32; HALF_HOURS];
        for call in day.calls.iter().filter(|call| call.city == CityId(index)) {
            drawn[HalfHour::of(call.arrival).unwrap().local(city)] += 1;
        }
        for counts in [WEIGHTS, drawn] {
            let all: u32 = counts.iter().sum();
            let business: u32 = counts[BUSINESS].iter().sum();
            let share = f64::from(business) / f64::from(all);
            assert!((0.80..=0.90).contains(&share), "{}: {share}", city.title);
            let mean = f64::from(business) / BUSINESS.len() as f64;
            let peak = f64::from(*counts.iter().max().unwrap()) / mean;
            assert!((1.45..1.55).contains(&peak), "{}: {peak}", city.title);
        }
    }
}

// Goal: the day begins at 5:00 UTC, and half hours of a city's time and of the day lead to each other.
#[test]
fn half_hours_are_local() {
    let [london, _, new_york, ..] = CITIES;
    assert_eq!(HalfHour(0).local(&london), BEGINS_UTC);
    assert_eq!(HalfHour::at_local(&new_york, 18), HalfHour(18), "9:00 there is 14:00 UTC");
    for city in &CITIES {
        assert!(HalfHour::all().all(|at| HalfHour::at_local(city, at.local(city)) == at));
    }
    assert_eq!(HalfHour::of(super::DAY), None);
}

// Goal: no call is lost or counted twice, in any cell, whatever the arrangement and whatever happens; and nobody
// is left over when all patience has ended.
#[test]
fn offered_is_answered_and_abandoned_and_waiting() {
    for center in [small(), small().surprised()] {
        let day = Day::new(&center, 3);
        for arrangement in &Arrangement::ALL {
            let figures = day.run(arrangement).unwrap();
            for cell in figures.cells.iter().flatten() {
                assert_eq!(cell.offered, cell.answered + cell.abandoned + cell.waiting);
                assert!(cell.busy_ms <= cell.staffed_ms);
                assert!(cell.own_city <= cell.answered && cell.answered_in_time <= cell.answered);
            }
            let total = figures.total();
            assert_eq!((total.offered, total.waiting), (day.calls.len() as u64, 0));
            assert!(total.offered > 5_000, "{}", total.offered);
        }
    }
}

// Goal: the same seed is the same day to the last row of the queue, and another seed or arrangement another.
#[test]
fn a_seed_is_a_day() {
    let digest = |seed, arrangement: &Arrangement| {
        let day = Day::new(&small().surprised(), seed);
        let rows = floor::live(&day, arrangement).unwrap().1.digest;
        (day.run(arrangement).unwrap().digest, rows)
    };
    let [a, b, c, d] = Arrangement::ALL.map(|arrangement| digest(1, &arrangement));
    assert_eq!(a, digest(1, &Arrangement::SEPARATE));
    assert_eq!(d, digest(1, &Arrangement::REBALANCED));
    assert!(a != b && b != c && a != d && a != digest(2, &Arrangement::SEPARATE));
}

// Goal: random numbers are common: with agents in plenty nobody waits for one, and then every call waits and
// talks for exactly as long in every arrangement.
#[test]
fn arrangements_have_the_same_calls() {
    let center = Center { hired_per_mille: 3_000, ..small() };
    let day = Day::new(&center, 1);
    for arrangement in &Arrangement::ALL {
        let (outcomes, _) = floor::live(&day, arrangement).unwrap();
        for (call, outcome) in day.calls.iter().zip(outcomes) {
            assert!(matches!(outcome.fate, Fate::Answered(_)), "{call:?}: {outcome:?}");
            assert_eq!(outcome.wait, call.answer, "{call:?}");
        }
    }
}

// Goal: on a day with surprises one queue loses fewer callers than five, and preferring the own city keeps most
// calls there; five queues carry none.
#[test]
fn one_queue_is_better() {
    let day = Day::new(&Center::of_seats(50).surprised(), 1);
    let [a, b, c, _] = Arrangement::ALL.map(|arrangement| day.run(&arrangement).unwrap().total());
    assert_eq!((a.carried(), a.carried_ms), (0, 0));
    for one in [b, c] {
        assert!(one.abandoned * 2 < a.abandoned, "{} and {}", one.abandoned, a.abandoned);
        assert!(one.service_level_2() > a.service_level_2());
    }
    assert!(c.own_share() > 0.7 && b.own_share() < 0.5, "{} {}", c.own_share(), b.own_share());
}

// Goal: who sits at a site that drains takes nothing new, and works again when it opens.
#[test]
fn a_site_drains() {
    let center = Center::of_seats(50).surprised();
    let day = Day::new(&center, 2);
    let from = HalfHour::at_local(&CITIES[1], 36).0;
    for arrangement in &Arrangement::ALL {
        let figures = day.run(arrangement).unwrap();
        let occupancy = |at: usize| figures.cells[1][at].occupancy();
        let (before, during, after) =
            (occupancy(from - 1), occupancy(from + 1), occupancy(from + 3));
        assert!(before > 0.6 && during < 0.05 && after > 0.6, "{before} {during} {after}");
    }
}

// Goal: an administrator comes as often as they say, sees the queue, and what they order is done.
#[test]
fn an_administrator_acts() {
    struct Closes;
    impl Administrator for Closes {
        fn every(&self) -> Millis {
            Millis(900_000)
        }
        fn round(&mut self, now: ClusterTime, state: &State) -> Vec<Command> {
            assert_eq!(now.0 % 900_000, 450_000);
            let site = state.sites().iter().next().unwrap().name.clone();
            vec![Command::SetSiteState { site, state: SiteState::Draining }]
        }
    }
    let administrator: Employ = |_| Box::new(Closes);
    let drained = Arrangement { administrator: Some(administrator), ..Arrangement::SEPARATE };
    let day = Day::new(&small(), 1);
    let london = day.run(&drained).unwrap().cells[0];
    let answered: Vec<usize> = (0..HALF_HOURS).filter(|at| london[*at].answered > 0).collect();
    assert_eq!(answered, [0], "nobody there after half a quarter of an hour");
}

// Goal: who rebalances separate lines acts by plans of the queue: every plan is carried out whole and counted, and
// agents of other cities serve a line that lacks them; without them there is no plan.
#[test]
fn plans_are_carried_out() {
    let day = Day::new(&Center::of_seats(50).surprised(), 1);
    let (_, idle) = floor::live(&day, &Arrangement::SEPARATE).unwrap();
    assert!(idle.state.plans().is_empty());
    let (_, floor) = floor::live(&day, &Arrangement::REBALANCED).unwrap();
    let plans = floor.state.plans();
    for plan in plans.iter() {
        assert!(!plan.is_running() && plan.agents_moved() == plan.agents.len());
        assert!(plan.agents.iter().all(|it| it.join.len() == 1 && it.leave.len() == 1));
    }
    assert!(floor.state.agents().iter().all(|row| row.queues.len() == 1), "one line for another");

    let figures = day.run(&Arrangement::REBALANCED).unwrap();
    let moved: usize = plans.iter().map(|plan| plan.agents.len()).sum();
    assert!(plans.len() > 20 && plans.len() < PLANS_KEPT, "{}", plans.len());
    assert_eq!((figures.plans, figures.moved), (plans.len() as u64, moved as u64));
    let helped = |city: usize, at: HalfHour| {
        let cell = figures.cells[city][at.0];
        cell.answered - cell.own_city
    };
    let (busy, drained) = (HalfHour::at_local(&CITIES[2], 22), HalfHour::at_local(&CITIES[1], 37));
    assert!(helped(2, busy) > 10, "New York is helped: {}", helped(2, busy));
    assert!(helped(1, drained) > 100, "Frankfurt has nobody else: {}", helped(1, drained));
}

// Goal: with the same callers and agents, fewer hang up and more are answered in time when separate lines are
// rebalanced than when not, on days with surprises and without; and one queue is better than either.
#[test]
fn rebalancing_helps_and_one_queue_more() {
    for (center, days) in [(Center::of_seats(50).surprised(), 1), (Center::of_seats(50), 3)] {
        let (mut separate, mut rebalanced, mut one) =
            (Counts::default(), Counts::default(), Counts::default());
        for seed in 1..=days {
            let day = Day::new(&center, seed);
            separate += day.run(&Arrangement::SEPARATE).unwrap().total();
            rebalanced += day.run(&Arrangement::REBALANCED).unwrap().total();
            one += day.run(&Arrangement::ONE).unwrap().total();
        }
        let in_time = |counts: &Counts| counts.answered_in_time;
        let lost = [one.abandoned, rebalanced.abandoned, separate.abandoned];
        assert!(lost.is_sorted_by(|a, b| a < b), "{lost:?}");
        let in_time = [&separate, &rebalanced, &one].map(in_time);
        assert!(in_time.is_sorted_by(|a, b| a < b), "{in_time:?}");
    }
}

// Goal: plans that have everybody serve every line make one queue of five, to the last call: what rebalancing
// tends to when it is done often and generously enough.
#[test]
fn everybody_everywhere_is_one_queue() {
    struct Joins;
    impl Administrator for Joins {
        fn every(&self) -> Millis {
            super::DAY
        }
        fn first(&self) -> Millis {
            Millis(0)
        }
        fn round(&mut self, _: ClusterTime, state: &State) -> Vec<Command> {
            let lines: BTreeSet<_> = state.queues().iter().map(|row| row.name.clone()).collect();
            let join = || MembershipSpec { join: lines.clone(), leave: BTreeSet::new() };
            let names: Vec<_> = state.agents().iter().map(|row| row.name.clone()).collect();
            let plan = |names: &[Name]| {
                let agents = names.iter().map(|name| (name.clone(), join())).collect();
                let weights = BTreeMap::new();
                let plan = Box::new(PlanSpec { weights, agents, steps: 1, every: Millis(1) });
                Command::ApplyPlan { tenant: TenantId::DEFAULT, plan }
            };
            names.chunks(PLAN_AGENTS_MAX).map(plan).collect()
        }
    }
    let administrator: Employ = |_| Box::new(Joins);
    let joined = Arrangement { administrator: Some(administrator), ..Arrangement::SEPARATE };
    let day = Day::new(&Center::of_seats(50).surprised(), 1);
    let (joined, one) = (day.run(&joined).unwrap(), day.run(&Arrangement::ONE).unwrap());
    assert_eq!((joined.digest, joined.total()), (one.digest, one.total()));
}

// Goal: in one queue that spreads by weight, weights that follow the staff spare callers a wait, as counted on the
// same day with equal weights.
#[test]
fn weights_follow_the_staff() {
    let day = Day::new(&Center::of_seats(50).surprised(), 1);
    let [equal, follow] = [Arrangement::WEIGHTED, Arrangement::WEIGHED]
        .map(|arrangement| day.run(&arrangement).unwrap());
    assert!(equal.plans == 0 && follow.plans > 20, "{}", follow.plans);
    assert_eq!(follow.moved, 0, "agents stay where they are");
    let (equal, follow) = (equal.total(), follow.total());
    assert!(follow.wait_ms < equal.wait_ms && follow.abandoned < equal.abandoned);
}

// --- theory --------------------------------------------------------------------------------------

const SERVICE: Millis = Millis(60_000);

/// Days of a queue with so many agents all day long, a steady load in erlangs, and service without memory.
fn stationary(agents: usize, load: f64, patience: Option<Millis>, days: u64) -> Vec<Figures> {
    let habits = Habits {
        talk: SERVICE,
        talk_shape: Shape::Exponential,
        answer_min: Millis(0),
        answer_max: Millis(0),
        wrap_up: Millis(0),
        patience_min: Millis(0),
        patience,
    };
    let center = Center { cities: vec![CITIES[0].clone()], habits, ..small() };
    let day = |seed| {
        let mut prng = Prng::from_number(seed);
        let (mut arrivals, mut people) = (Draws::new(prng.fork()), Draws::new(prng.fork()));
        let moments = calls::of_rates(&[load * 30.0; HALF_HOURS], &mut arrivals);
        let call = |at| calls::call(CityId(0), at, &habits, &mut people);
        let calls = moments.into_iter().map(call).collect();
        let shift = Shift { city: CityId(0), from: Millis(0), to: None };
        let day = Day { center: center.clone(), calls, shifts: vec![shift; agents] };
        day.run(&Arrangement::ONE).unwrap()
    };
    (0..days).map(day).collect()
}

/// A measure over days is what theory says: within four standard errors, which are small enough to tell.
fn agrees(days: &[Figures], what: &str, expected: f64, measure: impl Fn(&Figures) -> f64) {
    let values: Vec<f64> = days.iter().map(measure).collect();
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let error = (variance / n).sqrt();
    assert!(error < 0.05 * expected, "{what}: {mean} ± {error} tells little");
    let distance = (mean - expected).abs() / error;
    assert!(distance < 4.0, "{what}: {mean} ± {error}, by theory {expected}");
}

// Goal: a queue without impatience is M/M/n: waiting probability, mean wait, service level and occupancy are
// those of Erlang C within four standard errors of at most 5 %, at a moderate and at a high load.
#[test]
fn a_patient_queue_is_erlang_c() {
    for (agents, load, days) in [(5, 3.5, 40), (10, 8.0, 30)] {
        let days = stationary(agents, load, None, days);
        let n = u32::try_from(agents).unwrap();
        let (waits, free) = (must_wait(n, load), agents as f64 - load);
        // Waits of less than a class of 0.1 s count as none.
        let must = 1.0 - served_within(n, load, SERVICE, Millis(100));
        agrees(&days, "must wait", must, |day| day.answered.longer_than(1));
        agrees(&days, "mean wait", waits / free * 60.0, |day| day.total().answer_s());
        let in_time = served_within(n, load, SERVICE, Millis(20_000));
        agrees(&days, "service level", in_time, |day| day.total().service_level());
        let busy = load / agents as f64;
        agrees(&days, "occupancy", busy, |day| day.total().occupancy());
        assert!(days.iter().all(|day| day.total().offered == day.total().answered));
    }
}

/// Share who abandon and mean wait of all (in units of the mean service) in M/M/n+M, from the balance of births
/// and deaths (Palm; Garnett, Mandelbaum, Reiman 2002); `theta`: mean service by mean patience.
fn erlang_a(agents: usize, load: f64, theta: f64) -> (f64, f64) {
    let (mut weight, mut all, mut queue) = (1.0_f64, 0.0, 0.0);
    for there in 0..agents * 10 + 200 {
        let waiting = there.saturating_sub(agents) as f64;
        all += weight;
        queue += weight * waiting;
        let leaving =
            (there + 1).min(agents) as f64 + (there + 1).saturating_sub(agents) as f64 * theta;
        weight *= load / leaving;
    }
    let length = queue / all;
    (theta * length / load, length / load)
}

// Goal: a queue with impatience is M/M/n+M: how many abandon, how long all wait and how busy agents are is Erlang A's,
// with the same tolerance, below and above the load that agents could carry; the first is a published example (50
// agents, 48 calls a minute, a minute of service, two of patience: 3.1 % abandon, 3.7 s wait; Mandelbaum, Zeltyn).
#[test]
fn an_impatient_queue_is_erlang_a() {
    let (abandoned, wait) = erlang_a(50, 48.0, 0.5);
    assert!((abandoned - 0.031).abs() < 0.000_5 && (wait * 60.0 - 3.7).abs() < 0.05);
    for (agents, load, days) in [(50, 48.0, 4), (10, 12.0, 12)] {
        let (abandoned, wait) = erlang_a(agents, load, 0.5);
        let days = stationary(agents, load, Some(Millis(120_000)), days);
        agrees(&days, "abandoned", abandoned, |day| day.total().abandoned_share());
        let busy = load * (1.0 - abandoned) / agents as f64;
        agrees(&days, "occupancy", busy, |day| day.total().occupancy());
        // The mean of waits from their tails; a class of 0.1 s is left by its middle on average.
        let mean = |day: &Figures| (1..36_000).map(|n| day.everybody.longer_than(n)).sum::<f64>();
        let must = |day: &Figures| day.everybody.longer_than(1);
        agrees(&days, "mean wait of all", wait * 60.0, |day| mean(day) * 0.1 + must(day) * 0.05);
    }
}
