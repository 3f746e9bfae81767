//! One simulated day of a center in several cities: what one queue over all of them is worth against a
//! queue in each. The routing core (`tandem_routing::state::State`) is the real one, driven by the same
//! commands as in a cluster; callers, agents and their city are played.
//!
//! What is assumed, and where it is taken from:
//!
//! - **Callers** arrive as a Poisson process whose rate follows the hour of their city ([`profile`]): 85 % of
//!   them between 9 and 21 h, a peak of 1.5 times the mean of that time, busy in the morning and in the
//!   evening. Poisson arrivals with a rate that varies are what call centers see within a day (Brown, Gans,
//!   Mandelbaum, Sakov, Shen, Zeltyn, Zhao: Statistical Analysis of a Telephone Call Center, JASA 100, 2005).
//! - **Talks** last 180 s on average and are lognormal, as measured there; the shape is 1 (half of them are
//!   shorter than 109 s). Phones ring for 2 to 6 s, and 10 s of after-contact work follow, a queue's default.
//! - **Patience** is exponential (the Erlang-A model: Palm; Garnett, Mandelbaum, Reiman: Designing a Call
//!   Center with Impatient Customers, M&SOM 4, 2002), with a mean of 2 minutes as in the example of Mandelbaum and
//!   Zeltyn (The Palm/Erlang-A Queue, with Applications to Call Centers, 2005), of which nobody leaves within the
//!   first 10 s: whoever does is customarily counted as a short abandon and left out.
//! - **Staff** follows the forecast of each city by one rule ([`erlang`], [`roster`]): Erlang C, 80 % within
//!   20 s, half hour by half hour, as is usual (Gans, Koole, Mandelbaum: Telephone Call Centers, M&SOM 5,
//!   2003), and no agent is busy for more than 90 % of the time. The seats are full at the peak.
//! - **Surprises** ([`surprise`]) are what no forecast knew.
//!
//! An [`arrangement`] says who may serve whom. Calls, patience, talks, answers and shifts are drawn before and
//! apart from it ([`Day`]): every arrangement has the same ones, so that what differs is the arrangement
//! (common random numbers). Every number is made of integers and of IEEE additions, multiplications,
//! divisions and square roots in a fixed order ([`draw`]), so that a seed is the same day on every machine.
//!
//! Not here: threads, files, tables and pictures (`chaos/src/day`); SIP, audio, and the time that a log takes to
//! commit (one round trip to a quorum, below 0.2 s between such cities).

pub mod arrangement;
pub mod calls;
pub mod draw;
pub mod erlang;
pub mod figures;
mod floor;
mod ledger;
pub mod profile;
pub mod rebalance;
pub mod roster;
pub mod surprise;

use serde::Serialize;
use tandem_routing::{command::Rejection, time::Millis};

use arrangement::Arrangement;
use calls::Call;
use erlang::Target;
use figures::Figures;
use profile::Forecast;
use roster::Shift;
use surprise::Surprise;

/// Half hours of a day: what forecasts, staff and figures go by.
pub const HALF_HOURS: usize = 48;
/// Length of one.
pub const HALF_HOUR: Millis = Millis(1_800_000);
/// When the day ends.
pub const DAY: Millis = Millis(HALF_HOUR.0 * HALF_HOURS as u64);
/// The day begins at this half hour of UTC, 5:00: between the evening of the west and the morning of the east,
/// so that each city's business day lies in one piece.
pub const BEGINS_UTC: usize = 10;

/// A half hour of the day, counted from its begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HalfHour(pub usize);

impl HalfHour {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..HALF_HOURS).map(Self)
    }

    /// The one in which this moment lies, if it lies in the day.
    #[must_use]
    pub fn of(at: Millis) -> Option<Self> {
        let index = usize::try_from(at.0 / HALF_HOUR.0).ok()?;
        (index < HALF_HOURS).then_some(Self(index))
    }

    /// When it begins, since the day's begin.
    #[must_use]
    pub fn begins(self) -> Millis {
        Millis(self.0 as u64 * HALF_HOUR.0)
    }

    /// The one that begins at this half hour of a city's local time.
    #[must_use]
    pub fn at_local(city: &City, half_hour: usize) -> Self {
        let ahead = BEGINS_UTC as i64 + i64::from(city.utc_offset_h) * 2;
        let index = (half_hour as i64 - ahead).rem_euclid(HALF_HOURS as i64);
        Self(usize::try_from(index).unwrap_or(0))
    }

    /// Which half hour of local time it is.
    #[must_use]
    pub fn local(self, city: &City) -> usize {
        let ahead = BEGINS_UTC as i64 + i64::from(city.utc_offset_h) * 2;
        let index = (self.0 as i64 + ahead).rem_euclid(HALF_HOURS as i64);
        usize::try_from(index).unwrap_or(0)
    }
}

/// A city, by its place in [`Center::cities`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CityId(pub usize);

/// A city with its own callers and agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct City {
    /// As people write it.
    pub title: &'static str,
    /// Name of its site.
    pub site: &'static str,
    /// Hours that its clocks are ahead of UTC.
    pub utc_offset_h: i8,
}

/// London, Frankfurt, New York, Chicago and San Francisco, in winter.
pub const CITIES: [City; 5] = [
    City { title: "London", site: "lon", utc_offset_h: 0 },
    City { title: "Frankfurt", site: "fra", utc_offset_h: 1 },
    City { title: "New York", site: "nyc", utc_offset_h: -5 },
    City { title: "Chicago", site: "chi", utc_offset_h: -6 },
    City { title: "San Francisco", site: "sfo", utc_offset_h: -8 },
];

/// How callers and agents behave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Habits {
    /// Mean of the talks.
    pub talk: Millis,
    /// Shape of their distribution.
    pub talk_shape: draw::Shape,
    /// A phone rings for at least so long before the agent answers.
    pub answer_min: Millis,
    /// And at most so long.
    pub answer_max: Millis,
    /// After-contact work.
    pub wrap_up: Millis,
    /// Nobody hangs up earlier.
    pub patience_min: Millis,
    /// Mean of the patience beyond that; `None`: nobody ever hangs up.
    pub patience: Option<Millis>,
}

impl Habits {
    /// What the module's head says.
    pub const USUAL: Self = Self {
        talk: Millis(180_000),
        talk_shape: draw::Shape::Lognormal,
        answer_min: Millis(2_000),
        answer_max: Millis(6_000),
        wrap_up: Millis(10_000),
        patience_min: Millis(10_000),
        patience: Some(Millis(110_000)),
    };

    /// How long phones ring on average.
    #[must_use]
    pub fn answer(&self) -> Millis {
        Millis((self.answer_min.0 + self.answer_max.0) / 2)
    }

    /// For how long a call keeps an agent on average: ringing, talk and after-contact work.
    #[must_use]
    pub fn handling(&self) -> Millis {
        Millis(self.answer().0 + self.talk.0 + self.wrap_up.0)
    }
}

/// A center and what is to happen to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Center {
    /// Its cities.
    pub cities: Vec<City>,
    /// Agents who can work at once in each: as many as the peak needs.
    pub seats: u32,
    /// Callers and agents.
    pub habits: Habits,
    /// What the staff is planned for.
    pub target: Target,
    /// Of a thousand agents whom the plan asks for, how many are hired.
    pub hired_per_mille: u32,
    /// What the plan does not know.
    pub surprises: Vec<Surprise>,
}

impl Center {
    /// The five cities with so many seats in each, on a day without surprises.
    #[must_use]
    pub fn of_seats(seats: u32) -> Self {
        Self {
            cities: CITIES.to_vec(),
            seats,
            habits: Habits::USUAL,
            target: Target::USUAL,
            hired_per_mille: 1_000,
            surprises: Vec::new(),
        }
    }

    /// The same center on a day with the usual surprises.
    #[must_use]
    pub fn surprised(self) -> Self {
        Self { surprises: surprise::usual(&self.cities), ..self }
    }

    /// What is expected of a city.
    #[must_use]
    pub fn forecast(&self, city: &City) -> Forecast {
        Forecast::of(city, self.seats, &self.habits, &self.target)
    }
}

/// All that happens in a day, whatever the arrangement.
#[derive(Debug, Clone)]
pub struct Day {
    /// Where.
    pub center: Center,
    /// Who calls, in the order of arrival.
    pub calls: Vec<Call>,
    /// Who works when.
    pub shifts: Vec<Shift>,
}

impl Day {
    /// The day of this seed.
    #[must_use]
    pub fn new(center: &Center, seed: u64) -> Self {
        let calls = calls::of_day(center, seed);
        let shifts = roster::of_day(center, seed);
        Self { center: center.clone(), calls, shifts }
    }

    /// Lives it under an arrangement.
    ///
    /// # Errors
    /// [`DayError`]: a fault in the simulation or in the queue; there is no day without result.
    pub fn run(&self, arrangement: &Arrangement) -> Result<Figures, DayError> {
        floor::run(self, arrangement)
    }
}

/// Why a day could not be lived to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DayError {
    /// The queue refused a command that the day needs.
    #[error("the queue refused {command}: {rejection}")]
    Refused {
        /// Which one.
        command: String,
        /// Why.
        rejection: Rejection,
    },
    /// A name that the queue does not take.
    #[error("{0:?} is no name")]
    BadName(String),
    /// The queue has work to do at one moment without end.
    #[error("the queue does not come to rest at {0}")]
    Restless(Millis),
}

#[cfg(test)]
mod tests;
