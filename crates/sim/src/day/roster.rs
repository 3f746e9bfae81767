//! Who works when: agents come and go with the forecast of their city.

use std::collections::VecDeque;

use tandem_routing::time::Millis;
use tandem_sip::prng::Prng;

use super::{Center, City, CityId, HALF_HOURS, HalfHour, draw::Draws, surprise::Surprise};

/// Half hours that nobody works longer than.
pub const SHIFT_MAX: usize = 16;
/// Told apart from what draws calls.
const SICK_SEED: u64 = 0x51c4_1ea7e;

/// One person at work, once a day. Times are since the day's begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shift {
    /// Where.
    pub city: CityId,
    /// From when.
    pub from: Millis,
    /// Until when, and to the end of a contact that they have then; `None`: beyond the day.
    pub to: Option<Millis>,
}

/// The shifts of a day, of those who came.
#[must_use]
pub fn of_day(center: &Center, seed: u64) -> Vec<Shift> {
    let mut prng = Prng::from_number(seed ^ SICK_SEED);
    let mut shifts = Vec::new();
    for (index, city) in center.cities.iter().enumerate() {
        let id = CityId(index);
        let mut draws = Draws::new(prng.fork());
        let sick = sick_percent(&center.surprises, id);
        let planned = plan(id, &hired(center, city));
        shifts.extend(planned.into_iter().filter(|_| !draws.percent(sick)));
    }
    shifts
}

/// Agents who are to be there in each half hour.
#[must_use]
pub fn hired(center: &Center, city: &City) -> [u32; HALF_HOURS] {
    let asked = center.forecast(city).agents;
    asked.map(|agents| ((agents * center.hired_per_mille + 500) / 1_000).max(1))
}

fn sick_percent(surprises: &[Surprise], id: CityId) -> u32 {
    let of = |surprise: &Surprise| match surprise {
        Surprise::Sick { city, percent } if *city == id => Some(*percent),
        _ => None,
    };
    surprises.iter().find_map(of).unwrap_or(0)
}

/// Exactly as many as are to be there: who has been there longest leaves first, and after eight hours at the
/// latest. Those who are there when the day begins came one after the other before it.
fn plan(city: CityId, agents: &[u32; HALF_HOURS]) -> Vec<Shift> {
    let mut shifts: Vec<Shift> = Vec::new();
    // Who is there: the half hour at whose begin they leave at the latest, and their shift.
    let mut there: VecDeque<(usize, usize)> = VecDeque::new();
    for (half_hour, wanted) in HalfHour::all().zip(agents) {
        let wanted = *wanted as usize;
        let leave_at = |shifts: &mut Vec<Shift>, index: usize| {
            if let Some(shift) = shifts.get_mut(index) {
                shift.to = Some(half_hour.begins());
            }
        };
        while there.front().is_some_and(|(last, _)| *last <= half_hour.0) || there.len() > wanted {
            let Some((_, index)) = there.pop_front() else { break };
            leave_at(&mut shifts, index);
        }
        let missing = wanted.saturating_sub(there.len());
        for new in 0..missing {
            let last = match half_hour {
                HalfHour(0) => 1 + new * SHIFT_MAX / missing,
                HalfHour(now) => now + SHIFT_MAX,
            };
            there.push_back((last, shifts.len()));
            shifts.push(Shift { city, from: half_hour.begins(), to: None });
        }
    }
    shifts
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: in every half hour as many are there as the plan asks for, and nobody for more than eight hours.
    #[test]
    fn as_many_as_planned() {
        let center = Center::of_seats(100);
        for city in &center.cities {
            let asked = hired(&center, city);
            assert_eq!(asked.iter().max(), Some(&100), "the seats are full at the peak");
            let shifts = plan(CityId(0), &asked);
            for (half_hour, asked) in HalfHour::all().zip(asked) {
                let at = half_hour.begins();
                let there = |shift: &&Shift| shift.from <= at && shift.to.is_none_or(|to| at < to);
                assert_eq!(shifts.iter().filter(there).count(), asked as usize);
            }
            let longest = shifts.iter().filter_map(|shift| Some(shift.to?.0 - shift.from.0)).max();
            assert!(longest <= Some(SHIFT_MAX as u64 * super::super::HALF_HOUR.0));
        }
    }

    // Goal: of a city with sick leave about so many do not come, and nobody is missing elsewhere.
    #[test]
    fn the_sick_do_not_come() {
        let center = Center::of_seats(500);
        let count = |center: &Center, id| {
            of_day(center, 1).iter().filter(|shift| shift.city == CityId(id)).count() as f64
        };
        let surprised = center.clone().surprised();
        let share = count(&surprised, 3) / count(&center, 3);
        assert!((0.87..0.93).contains(&share), "{share}");
        assert_eq!(count(&surprised, 0), count(&center, 0));
    }
}
