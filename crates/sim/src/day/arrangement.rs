//! Who may serve whom: the same center with a queue in each city, or with one over all.
//!
//! Another arrangement is another value of [`Arrangement`]; one that changes during the day brings an
//! [`Administrator`].

use tandem_routing::{
    command::Command,
    entity::SiteChoice,
    state::State,
    time::{ClusterTime, Millis},
};

use super::{Center, City};

/// How lines and agents belong together.
#[derive(Debug, Clone, Copy)]
pub struct Arrangement {
    /// What pictures and tables call it.
    pub letter: char,
    /// In a few words.
    pub name: &'static str,
    /// Which lines there are.
    pub lines: Lines,
    /// Whose agents are preferred.
    pub site_choice: SiteChoice,
    /// For how long only they are asked.
    pub widen_after: Millis,
    /// Who changes it during the day; `None`: nobody.
    pub administrator: Option<Employ>,
}

/// Which lines there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// One in each city, for its callers and agents.
    OfEachCity,
    /// One over all.
    One,
}

/// Brings an administrator for a day in this center.
pub type Employ = fn(&Center) -> Box<dyn Administrator>;

/// Somebody who looks at the center now and then and changes something.
pub trait Administrator {
    /// How often.
    fn every(&self) -> Millis;
    /// What they do at this moment.
    fn round(&mut self, now: ClusterTime, state: &State) -> Vec<Command>;
}

impl Arrangement {
    /// Five queues: a city's callers reach that city's agents.
    pub const SEPARATE: Self = Self {
        letter: 'A',
        name: "five separate queues",
        lines: Lines::OfEachCity,
        site_choice: SiteChoice::Any,
        widen_after: Millis(0),
        administrator: None,
    };
    /// One queue: whoever has been idle longest, anywhere.
    pub const ONE: Self =
        Self { letter: 'B', name: "one queue, any city", lines: Lines::One, ..Self::SEPARATE };
    /// One queue that asks the agents of the caller's city for ten seconds before it asks all.
    pub const NEAREST: Self = Self {
        letter: 'C',
        name: "one queue, own city first",
        site_choice: SiteChoice::Nearest,
        widen_after: Millis(10_000),
        ..Self::ONE
    };
    /// Those that are compared.
    pub const ALL: [Self; 3] = [Self::SEPARATE, Self::ONE, Self::NEAREST];

    /// The line of a city's callers, which its agents serve.
    #[must_use]
    pub fn line<'a>(&self, city: &'a City) -> &'a str {
        match self.lines {
            Lines::OfEachCity => city.site,
            Lines::One => "all",
        }
    }
}
