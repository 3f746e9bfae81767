//! What no forecast knew.

use tandem_routing::time::Millis;

use super::{City, CityId, HALF_HOUR, HalfHour};

/// One thing that comes differently than planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surprise {
    /// More callers than forecast.
    Busier {
        /// Where.
        city: CityId,
        /// From when.
        from: HalfHour,
        /// For how long.
        half_hours: usize,
        /// How many more, of a hundred.
        percent: u32,
    },
    /// A site drains: its agents finish their talks and take nothing new. Its trunks still take callers.
    Drains {
        /// Where.
        city: CityId,
        /// From when.
        from: HalfHour,
        /// For how long.
        half_hours: usize,
    },
    /// Agents who were planned do not come.
    Sick {
        /// Where.
        city: CityId,
        /// Of a hundred, how many.
        percent: u32,
    },
}

impl Surprise {
    /// When it begins and ends; all day long for sick leave.
    #[must_use]
    pub fn when(&self) -> Option<(Millis, Millis)> {
        match self {
            Self::Busier { from, half_hours, .. } | Self::Drains { from, half_hours, .. } => {
                let begins = from.begins();
                Some((begins, Millis(begins.0 + *half_hours as u64 * HALF_HOUR.0)))
            }
            Self::Sick { .. } => None,
        }
    }
}

/// The day that `docs/one-queue.md` tells of: New York has 30 % more callers than forecast for two hours,
/// Frankfurt's agents leave the building for one, and 10 % of Chicago's are sick.
#[must_use]
pub fn usual(cities: &[City]) -> Vec<Surprise> {
    let find = |site: &str| {
        let index = cities.iter().position(|city| city.site == site)?;
        cities.get(index).map(|city| (CityId(index), city))
    };
    let busier = find("nyc").map(|(id, city)| Surprise::Busier {
        city: id,
        from: HalfHour::at_local(city, 20),
        half_hours: 4,
        percent: 30,
    });
    let drains = find("fra").map(|(id, city)| Surprise::Drains {
        city: id,
        from: HalfHour::at_local(city, 36),
        half_hours: 2,
    });
    let sick = find("chi").map(|(id, _)| Surprise::Sick { city: id, percent: 10 });
    [busier, drains, sick].into_iter().flatten().collect()
}
