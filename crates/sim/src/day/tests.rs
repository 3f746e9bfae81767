//! The day against what it is to be, and the simulator against theory.

use tandem_routing::{
    command::Command,
    entity::SiteState,
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
    figures::{Fate, Figures},
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
    let [a, b, c] = Arrangement::ALL.map(|arrangement| digest(1, &arrangement));
    assert_eq!(a, digest(1, &Arrangement::SEPARATE));
    assert!(a != b && b != c && a != digest(2, &Arrangement::SEPARATE));
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
    let [a, b, c] = Arrangement::ALL.map(|arrangement| day.run(&arrangement).unwrap().total());
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
            assert_eq!(now.0 % 900_000, 0);
            let site = state.sites().iter().next().unwrap().name.clone();
            vec![Command::SetSiteState { site, state: SiteState::Draining }]
        }
    }
    let administrator: Employ = |_| Box::new(Closes);
    let drained = Arrangement { administrator: Some(administrator), ..Arrangement::SEPARATE };
    let day = Day::new(&small(), 1);
    let london = day.run(&drained).unwrap().cells[0];
    let answered: Vec<usize> = (0..HALF_HOURS).filter(|at| london[*at].answered > 0).collect();
    assert_eq!(answered, [0], "nobody there after a quarter of an hour");
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
