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

use super::{
    Center, City,
    rebalance::{Lender, Loan, Weigher},
};

/// How often somebody looks: the queue's figures are of quarters of an hour, and it is what a person can do
/// all day long.
const QUARTER: Millis = Millis(900_000);

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
    /// When they come first. What begins with an hour, as surprises do, is then seen after half of the time for
    /// which they look away: no sooner and no later than is to be expected of somebody who knows of nothing.
    fn first(&self) -> Millis {
        Millis(self.every().0 / 2)
    }
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
    /// Five queues, and somebody who lends agents of one city to the line of another.
    pub const REBALANCED: Self = Self {
        letter: 'D',
        name: "five queues, rebalanced",
        administrator: Some(|center| lender(center, QUARTER, Loan::Moved)),
        ..Self::SEPARATE
    };
    /// Those that are compared.
    pub const ALL: [Self; 4] = [Self::SEPARATE, Self::ONE, Self::NEAREST, Self::REBALANCED];

    /// One queue that spreads callers over the sites by weights, which are all the same.
    pub const WEIGHTED: Self = Self {
        letter: 'E',
        name: "one queue, by equal weights",
        site_choice: SiteChoice::Weighted,
        ..Self::NEAREST
    };
    /// The same, and somebody who changes the weights.
    pub const WEIGHED: Self = Self {
        letter: 'F',
        name: "one queue, by weights that follow the staff",
        administrator: Some(|_| Box::new(Weigher::new(QUARTER))),
        ..Self::WEIGHTED
    };
    /// What else is asked of rebalancing: how often somebody looks, how they lend, and plans of weights.
    pub const OTHERS: [Self; 6] = [
        Self {
            name: "rebalanced every hour",
            administrator: Some(|center| lender(center, Millis(3_600_000), Loan::Moved)),
            ..Self::REBALANCED
        },
        Self {
            name: "rebalanced every five minutes",
            administrator: Some(|center| lender(center, Millis(300_000), Loan::Moved)),
            ..Self::REBALANCED
        },
        Self {
            name: "rebalanced every minute",
            administrator: Some(|center| lender(center, Millis(60_000), Loan::Moved)),
            ..Self::REBALANCED
        },
        Self {
            name: "rebalanced, and who is lent serves both lines",
            administrator: Some(|center| lender(center, QUARTER, Loan::Shared)),
            ..Self::REBALANCED
        },
        Self::WEIGHTED,
        Self::WEIGHED,
    ];

    /// The line of a city's callers, which its agents serve.
    #[must_use]
    pub fn line<'a>(&self, city: &'a City) -> &'a str {
        match self.lines {
            Lines::OfEachCity => city.site,
            Lines::One => "all",
        }
    }
}

fn lender(center: &Center, every: Millis, loan: Loan) -> Box<dyn Administrator> {
    Box::new(Lender::new(center, every, loan))
}
