//! When callers call: the shape of a day in local time, and what a city expects of it.

use super::{
    City, HALF_HOUR, HALF_HOURS, Habits, HalfHour,
    erlang::{Target, agents_for, load_of},
};

/// Of ten thousand callers, how many call in each half hour of local time, from midnight on: 85 % between 9 and
/// 21 h, busiest at 11 h and again at 18 h, with a peak of 1.5 times the mean of 9 to 21 h.
pub const WEIGHTS: [u32; HALF_HOURS] = [
    40, 30, 25, 22, 20, 18, 18, 18, 20, 22, 28, 36, // 0 to 6 h
    48, 64, 90, 120, 150, 166, // 6 to 9 h
    262, 345, 435, 510, 531, 505, // 9 to 12 h
    438, 372, 328, 300, 284, 280, 284, 294, 312, 340, 380, 420, // 12 to 18 h
    440, 415, 350, 282, 222, 171, // 18 to 21 h
    150, 120, 100, 80, 65, 50, // 21 to 24 h
];
/// The half hours of local time from 9 to 21 h.
pub const BUSINESS: std::ops::Range<usize> = 18..42;

/// What a city expects.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// Calls in each half hour of the day.
    pub calls: [f64; HALF_HOURS],
    /// Agents who are to be there, by the rule of the center.
    pub agents: [u32; HALF_HOURS],
}

impl Forecast {
    /// As many calls as fill the seats at the peak, over the city's day.
    #[must_use]
    pub fn of(city: &City, seats: u32, habits: &Habits, target: &Target) -> Self {
        let peak = WEIGHTS.iter().copied().max().unwrap_or(1);
        let peak_load = load_of(seats, habits, target);
        let mut forecast = Self { calls: [0.0; HALF_HOURS], agents: [0; HALF_HOURS] };
        let all = forecast.calls.iter_mut().zip(&mut forecast.agents).zip(HalfHour::all());
        for ((calls, agents), half_hour) in all {
            let weight = WEIGHTS.get(half_hour.local(city)).copied().unwrap_or(0);
            let load = peak_load * f64::from(weight) / f64::from(peak);
            *calls = load * HALF_HOUR.0 as f64 / habits.handling().0 as f64;
            *agents = agents_for(load, habits, target);
        }
        forecast
    }
}
