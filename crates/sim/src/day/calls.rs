//! Who calls, when, and what they bring: drawn for each call before anybody serves it, so that every
//! arrangement has the same callers.

use tandem_routing::time::Millis;
use tandem_sip::prng::Prng;

use super::{
    Center, City, CityId, DAY, HALF_HOUR, HALF_HOURS, Habits, HalfHour,
    draw::{Draws, Shape},
    surprise::Surprise,
};

/// One call. Times are since the day's begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Where it comes in.
    pub city: CityId,
    /// When.
    pub arrival: Millis,
    /// How long the agent's phone rings for it.
    pub answer: Millis,
    /// How long the talk is.
    pub talk: Millis,
    /// The caller hangs up when nobody has answered by then; `None`: never.
    pub patience: Option<Millis>,
}

/// All calls of a day, in the order of arrival.
#[must_use]
pub fn of_day(center: &Center, seed: u64) -> Vec<Call> {
    let mut prng = Prng::from_number(seed);
    let mut calls = Vec::new();
    for (index, city) in center.cities.iter().enumerate() {
        let id = CityId(index);
        let rates = rates(center, city, id);
        // What a call brings does not depend on how many came before the surprise.
        let mut arrivals = Draws::new(prng.fork());
        let mut people = Draws::new(prng.fork());
        let at = of_rates(&rates, &mut arrivals);
        calls.extend(at.into_iter().map(|at| call(id, at, &center.habits, &mut people)));
    }
    calls.sort_by_key(|call| (call.arrival, call.city));
    calls
}

/// A call with what its caller brings.
pub fn call(city: CityId, arrival: Millis, habits: &Habits, people: &mut Draws) -> Call {
    let answer = people.between(habits.answer_min, habits.answer_max);
    let talk = people.duration(habits.talk_shape, habits.talk);
    let patience = habits.patience.map(|mean| {
        let more = people.duration(Shape::Exponential, mean);
        Millis(habits.patience_min.0 + more.0)
    });
    Call { city, arrival, answer, talk, patience }
}

/// Calls that are to be expected in each half hour by who knows the surprises.
#[must_use]
pub fn rates(center: &Center, city: &City, id: CityId) -> [f64; HALF_HOURS] {
    let mut rates = center.forecast(city).calls;
    for surprise in &center.surprises {
        let Surprise::Busier { city, from, half_hours, percent } = surprise else { continue };
        if *city == id {
            let hit = rates.iter_mut().skip(from.0).take(*half_hours);
            hit.for_each(|rate| *rate *= 1.0 + f64::from(*percent) / 100.0);
        }
    }
    rates
}

/// Moments of a Poisson process with these rates per half hour: a process of rate 1, with its time stretched.
#[must_use]
pub fn of_rates(rates: &[f64; HALF_HOURS], draws: &mut Draws) -> Vec<Millis> {
    let mut moments = Vec::new();
    let mut left = draws.exponential();
    for (half_hour, rate) in HalfHour::all().zip(rates) {
        let mut passed = 0.0;
        while passed + left < *rate {
            passed += left;
            let within = (passed / rate * HALF_HOUR.0 as f64) as u64;
            let at = half_hour.begins().0 + within.min(HALF_HOUR.0 - 1);
            moments.push(Millis(at.min(DAY.0 - 1)));
            left = draws.exponential();
        }
        left -= rate - passed;
    }
    moments
}
