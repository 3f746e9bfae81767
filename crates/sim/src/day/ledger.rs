//! How agents spent their time, by city and half hour.

use tandem_routing::{
    entity::{Agent, LoginState, WorkState},
    ids::AgentId,
    time::Millis,
};

use super::{CityId, DAY, HALF_HOURS, HalfHour, figures::Counts};

/// What an agent's time counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Away,
    Idle,
    Handling,
}

impl Doing {
    fn of(agent: &Agent) -> Self {
        match (&agent.login, &agent.work) {
            (LoginState::LoggedOut, _) => Self::Away,
            (_, WorkState::Offered(_) | WorkState::Busy(_) | WorkState::WrapUp(_)) => {
                Self::Handling
            }
            (_, WorkState::NotReady(_) | WorkState::Ready | WorkState::Paused { .. }) => Self::Idle,
        }
    }
}

/// Everybody's time so far.
#[derive(Debug)]
pub(super) struct Ledger {
    cells: Vec<[Counts; HALF_HOURS]>,
    /// By the agent's id.
    people: Vec<(CityId, Doing, Millis)>,
}

impl Ledger {
    pub(super) fn new(cities: usize) -> Self {
        Self { cells: vec![[Counts::default(); HALF_HOURS]; cities], people: Vec::new() }
    }

    /// Takes an agent in.
    pub(super) fn enter(&mut self, agent: AgentId, city: CityId) {
        let index = agent.0 as usize;
        if self.people.len() <= index {
            self.people.resize(index + 1, (city, Doing::Away, Millis(0)));
        }
        if let Some(person) = self.people.get_mut(index) {
            *person = (city, Doing::Away, Millis(0));
        }
    }

    /// Where an agent sits.
    pub(super) fn city(&self, agent: AgentId) -> CityId {
        self.people.get(agent.0 as usize).map_or(CityId(0), |person| person.0)
    }

    /// The agent's row has changed.
    pub(super) fn see(&mut self, agent: &Agent, now: Millis) {
        let Some(person) = self.people.get_mut(agent.id.0 as usize) else { return };
        let doing = Doing::of(agent);
        if person.1 != doing {
            let (city, was, since) = *person;
            *person = (city, doing, now);
            self.count(city, was, since, now);
        }
    }

    /// Counts what goes on at the end of the day.
    pub(super) fn close(&mut self) {
        for (city, doing, since) in std::mem::take(&mut self.people) {
            self.count(city, doing, since, DAY);
        }
    }

    pub(super) fn into_cells(self) -> Vec<[Counts; HALF_HOURS]> {
        self.cells
    }

    fn count(&mut self, city: CityId, doing: Doing, from: Millis, to: Millis) {
        let Some(row) = self.cells.get_mut(city.0).filter(|_| doing != Doing::Away) else { return };
        spread(from, to, |at, ms| {
            let Some(cell) = row.get_mut(at.0) else { return };
            cell.staffed_ms += ms;
            if doing == Doing::Handling {
                cell.busy_ms += ms;
            }
        });
    }
}

/// Parts of a time in each half hour of the day, in milliseconds.
pub(super) fn spread(from: Millis, to: Millis, mut part: impl FnMut(HalfHour, u64)) {
    let mut at = from.0;
    while at < to.0 {
        let Some(half_hour) = HalfHour::of(Millis(at)) else { return };
        let end = HalfHour(half_hour.0 + 1).begins().0.min(to.0);
        part(half_hour, end - at);
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a time over several half hours is counted in each for as long as it was there, and not beyond the day.
    #[test]
    fn times_are_spread() {
        let parts = |from, to| {
            let mut parts = Vec::new();
            spread(Millis(from), Millis(to), |at, ms| parts.push((at.0, ms)));
            parts
        };
        assert_eq!(parts(1_799_000, 3_601_000), [(0, 1_000), (1, 1_800_000), (2, 1_000)]);
        assert_eq!(parts(5, 5), []);
        assert_eq!(parts(DAY.0 - 1, DAY.0 + 9), [(47, 1)]);
    }
}
