//! A scenario as it is written: TOML, every key documented here, unknown keys refused.

use serde::{Deserialize, Serialize};
use tandem_lab::wan::{Filter, LinkSettings, Loss, Reorder, Share};
use thiserror::Error;

use crate::{
    check::Allowances,
    cluster::{SITES_MAX, Timing},
    limits::{AGENTS_MAX, CALLERS_MAX, STEPS_MAX},
};

/// How long a packet is held back so that others overtake it, microseconds: one packet's time.
const HELD_BACK_US: u64 = 25_000;

/// What is broken, how, and what must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name on the command line: lower case words with hyphens.
    pub name: String,
    /// In one line.
    pub title: String,
    /// What is broken.
    pub breaks: String,
    /// What must hold all the same.
    pub promises: String,
    /// Faults of the catalogue that it injects: `F1`.
    pub faults: Vec<String>,
    /// When it runs.
    #[serde(default)]
    pub set: Set,
    /// Why it does not hold yet: shown in every list and verdict until it is mended.
    #[serde(default)]
    pub open_violation: Option<String>,
    /// The contact center.
    pub center: Center,
    /// What is done, in order.
    pub step: Vec<Step>,
    /// What is allowed beyond the usual.
    #[serde(default)]
    pub allow: Allow,
}

/// When a scenario runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Set {
    /// With all tests.
    Short,
    /// When it is asked for.
    #[default]
    Long,
}

/// The contact center of a scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Center {
    /// Sites, each with a node and a relay: three or five.
    #[serde(default = "defaults::sites")]
    pub sites: usize,
    /// What is between them.
    #[serde(default)]
    pub network: Network,
    /// Agents, spread over the sites.
    #[serde(default = "defaults::agents")]
    pub agents: usize,
    /// Callers, over the sites in turn.
    #[serde(default = "defaults::callers")]
    pub callers: usize,
    /// Time in which they call, evenly, milliseconds.
    #[serde(default = "defaults::arrive_ms")]
    pub arrive_ms: u64,
    /// How long each talks, milliseconds.
    #[serde(default = "defaults::talk_ms")]
    pub talk_ms: u64,
}

/// What is between the sites.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// This machine's loopback: needs no root.
    #[default]
    Loopback,
    /// Namespaces with the router between them: real round trips between cities, and whatever a step
    /// makes of them. Needs root.
    Wan,
}

/// One thing that is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Not before this time after the first call, milliseconds.
    pub at_ms: u64,
    /// Where.
    #[serde(default)]
    pub target: Target,
    /// What.
    pub fault: Action,
    /// How long it stays, once it shows, before it is mended, milliseconds.
    #[serde(default)]
    pub lasts_ms: u64,
}

/// Which site.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The one whose node leads at that moment.
    #[default]
    Leader,
    /// The first one whose node does not lead.
    Follower,
    /// All of them at once.
    All,
}

/// What is done to a site. Every one is mended after its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// The node is killed (SIGKILL), and started again.
    KillNode,
    /// The relay is killed (SIGKILL); its node starts it again.
    KillRelay,
    /// Node and relay are killed at once, and started again.
    KillSite,
    /// The node is frozen (SIGSTOP), and goes on.
    FreezeNode,
    /// The site takes no new work, and takes work again.
    DrainSite,
    /// The city is cut off with everybody in it, and joined again.
    CutSite,
    /// Its host (node and relay) is cut off from the other hosts, and joined again; people still reach all
    /// of them.
    CutNode,
    /// Its host hears nothing from the other hosts, or is not heard by them, for a time.
    CutOneWay {
        /// What stays open.
        open: Open,
    },
    /// The link between its host and that of the next city is cut; both reach everybody else.
    CutLink,
    /// Its host is cut off and joined again, so many times.
    Flap {
        /// How often.
        times: u32,
        /// How long each cut and each pause is, milliseconds.
        period_ms: u64,
    },
    /// The city's links to the other cities become worse, and well again.
    Impair(Impairment),
}

impl Action {
    /// True when only the router can tell that it works.
    pub(super) const fn shows_on_the_router(&self) -> bool {
        matches!(self, Self::CutOneWay { .. } | Self::CutLink | Self::Flap { .. } | Self::Impair(_))
    }
}

/// What stays open of a one-way cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Open {
    /// The host hears the others, and is not heard.
    In,
    /// The host is heard, and hears nobody.
    Out,
}

/// What becomes worse of links between cities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Impairment {
    /// One-way delay on top of the measured one, milliseconds.
    pub delay_ms: u64,
    /// Further delay, even between nothing and this, milliseconds.
    pub jitter_ms: u64,
    /// Share of packets that others overtake.
    pub reorder: Share,
    /// Share of packets that arrive twice.
    pub duplicate: Share,
    /// Share of packets that are lost, each by itself.
    pub loss: Share,
    /// Packets that a burst of losses lasts in the mean; none for single losses. The share lost stays.
    pub burst_packets: Option<u32>,
    /// Longer IP packets disappear without a word.
    pub longer_than: Option<u16>,
}

impl Impairment {
    /// True when every packet arrives, once, in its order.
    pub(super) fn only_delays(&self) -> bool {
        *self == Self { delay_ms: self.delay_ms, jitter_ms: self.jitter_ms, ..Self::default() }
    }

    pub(super) fn on(&self, base: &LinkSettings) -> LinkSettings {
        LinkSettings {
            delay_us: base.delay_us + self.delay_ms * 1_000,
            jitter_us: self.jitter_ms * 1_000,
            loss: self.losses(),
            duplicate: self.duplicate,
            reorder: Reorder { share: self.reorder, hold_us: HELD_BACK_US },
            filters: self
                .longer_than
                .map(|longer_than| Filter { longer_than: Some(longer_than), ..Filter::default() })
                .into_iter()
                .collect(),
            ..base.clone()
        }
    }

    pub(super) fn off(&self, worse: &LinkSettings) -> LinkSettings {
        let delay_us = worse.delay_us.saturating_sub(self.delay_ms * 1_000);
        LinkSettings { state: worse.state, ..LinkSettings::delayed_us(delay_us) }
    }

    /// A chain that loses everything in its bad state loses the share `good_to_bad / (good_to_bad +
    /// bad_to_good)`, in bursts of `1 / bad_to_good` in the mean.
    fn losses(&self) -> Loss {
        let share = f64::from(self.loss);
        let all = Share::new(1.0).unwrap_or_default();
        match self.burst_packets.filter(|packets| *packets > 1 && share > 0.0 && share < 1.0) {
            None => Loss::Random { share: self.loss },
            Some(packets) => {
                let recovers = 1.0 / f64::from(packets);
                let turns = (recovers * share / (1.0 - share)).min(1.0);
                Loss::GilbertElliott {
                    good_to_bad: Share::new(turns).unwrap_or_default(),
                    bad_to_good: Share::new(recovers).unwrap_or_default(),
                    loss_good: Share::default(),
                    loss_bad: all,
                }
            }
        }
    }
}

impl Action {
    /// True when it needs namespaces.
    #[must_use]
    pub const fn needs_wan(&self) -> bool {
        match self {
            Self::KillNode
            | Self::KillRelay
            | Self::KillSite
            | Self::FreezeNode
            | Self::DrainSite => false,
            Self::CutSite
            | Self::CutNode
            | Self::CutOneWay { .. }
            | Self::CutLink
            | Self::Flap { .. }
            | Self::Impair(_) => true,
        }
    }
}

/// What is allowed beyond the usual, and why the usual cannot be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    /// Longest pause in the audio where the relay lives, milliseconds.
    pub gap_ms: Option<u64>,
    /// Longest pause where the relay was lost or out of reach, milliseconds.
    pub relay_loss_gap_ms: Option<u64>,
    /// From the loss of a node to the last re-INVITE of a talking leg, milliseconds.
    pub takeover_ms: Option<u64>,
    /// Why.
    #[serde(default)]
    pub because: String,
}

/// Why a scenario cannot be run as it is written.
#[derive(Debug, Error)]
pub enum PlanError {
    /// Not TOML, an unknown key, a wrong type.
    #[error("the scenario cannot be read: {0}; chaos/scenarios/README.md names every key")]
    Unreadable(#[from] toml::de::Error),
    /// A value that makes no sense.
    #[error("scenario {name}: {what}")]
    Senseless {
        /// Its name.
        name: String,
        /// What is wrong, and what would be right.
        what: String,
    },
}

impl Scenario {
    /// Reads and checks a scenario.
    ///
    /// # Errors
    /// When it cannot be run as it is written.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let scenario: Self = toml::from_str(text)?;
        match scenario.fault() {
            Some(what) => Err(PlanError::Senseless { name: scenario.name, what }),
            None => Ok(scenario),
        }
    }

    fn fault(&self) -> Option<String> {
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let center = &self.center;
        let rows = [
            (
                self.name.is_empty() || !self.name.chars().all(is_word),
                "`name` is lower case letters, digits and hyphens".to_owned(),
            ),
            (
                !matches!(center.sites, 3 | SITES_MAX),
                format!("`sites` is 3 or {SITES_MAX}: an even number of votes is worth no more"),
            ),
            (
                !(1..=AGENTS_MAX as usize).contains(&center.agents),
                format!("`agents` is 1 to {AGENTS_MAX}"),
            ),
            (
                !(1..=CALLERS_MAX as usize).contains(&center.callers),
                format!("`callers` is 1 to {CALLERS_MAX}"),
            ),
            (
                self.step.is_empty() || self.step.len() > STEPS_MAX,
                format!("there are 1 to {STEPS_MAX} steps"),
            ),
            (
                !self.step.is_sorted_by_key(|step| step.at_ms),
                "steps stand in the order of their `at_ms`".to_owned(),
            ),
            (
                center.network == Network::Loopback
                    && self.step.iter().any(|step| step.fault.needs_wan()),
                "a step needs `network = \"wan\"`".to_owned(),
            ),
            (
                self.allow != Allow::default() && self.allow.because.is_empty(),
                "`allow` says why: `because = \"...\"`".to_owned(),
            ),
        ];
        rows.into_iter().find_map(|(wrong, what)| wrong.then_some(what))
    }

    /// What its checkers allow.
    #[must_use]
    pub fn allowances(&self, timing: Timing, round_trip_ms: u64) -> Allowances {
        let usual = Allowances::for_timing(timing, round_trip_ms);
        Allowances {
            gap_ms_max: self.allow.gap_ms.unwrap_or(usual.gap_ms_max),
            relay_loss_gap_ms_max: self
                .allow
                .relay_loss_gap_ms
                .unwrap_or(usual.relay_loss_gap_ms_max),
            takeover_ms_max: self.allow.takeover_ms.unwrap_or(usual.takeover_ms_max),
            ..usual
        }
    }
}

mod defaults {
    pub(super) fn sites() -> usize {
        3
    }
    pub(super) fn agents() -> usize {
        6
    }
    pub(super) fn callers() -> usize {
        24
    }
    pub(super) fn arrive_ms() -> u64 {
        12_000
    }
    pub(super) fn talk_ms() -> u64 {
        4_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
name = "leader-killed"
title = "The leader's node is killed"
breaks = "kill -9"
promises = "nobody is lost"
faults = ["F1"]
[center]
agents = 3
[[step]]
at_ms = 1000
target = "leader"
fault = { kind = "kill_node" }
lasts_ms = 2000
"#;

    // Goal: a good scenario is read with its defaults; each wrong one says what is wrong.
    #[test]
    fn reading() {
        let good = Scenario::parse(GOOD).unwrap();
        assert_eq!((good.center.sites, good.center.agents, good.set), (3, 3, Set::Long));
        assert_eq!(good.step[0].fault, Action::KillNode);
        let rows = [
            ("agents = 3", "agents = 0", "`agents` is 1"),
            ("agents = 3", "sites = 4", "`sites` is 3"),
            ("agents = 3", "agnets = 3", "agnets"),
            ("leader-killed", "Leader killed", "`name`"),
            ("kill_node", "kill_nod", "kill_nod"),
            ("lasts_ms = 2000", "lasts_ms = -1", "lasts_ms"),
            ("lasts_ms = 2000", "[allow]\ngap_ms = 5", "because"),
            ("lasts_ms = 2000", "[[step]]\nat_ms = 5\nfault = { kind = \"kill_node\" }", "order"),
        ];
        for (from, to, says) in rows {
            let error = Scenario::parse(&GOOD.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(says), "{to}: {error}");
        }
    }

    // Goal: what is made worse is as bad as it says, and taken back whole.
    #[test]
    fn impairments() {
        let share = |share| Share::new(share).unwrap();
        let base = LinkSettings::delayed_us(10_000);
        let worse = Impairment {
            delay_ms: 90,
            loss: share(0.2),
            burst_packets: Some(5),
            ..Impairment::default()
        };
        let on = worse.on(&base);
        assert_eq!(on.delay_us, 100_000);
        let Loss::GilbertElliott { good_to_bad, bad_to_good, .. } = on.loss else {
            panic!("{on:?}")
        };
        let (bad, good) = (f64::from(good_to_bad), f64::from(bad_to_good));
        assert!((bad / (bad + good) - 0.2).abs() < 1e-9, "{bad} {good}");
        assert_eq!(worse.off(&on), base);
        let hole = Impairment { longer_than: Some(1_300), ..Impairment::default() };
        assert_eq!(hole.on(&base).filters.len(), 1);
        assert_eq!(hole.off(&hole.on(&base)), base);
    }

    // Goal: what a scenario allows replaces the usual, and nothing else does.
    #[test]
    fn allowances() {
        let usual = Allowances::for_timing(Timing::default(), 1);
        let scenario = Scenario::parse(GOOD).unwrap();
        assert_eq!(scenario.allowances(Timing::default(), 1), usual);
        let text = format!("{GOOD}[allow]\ngap_ms = 900\nbecause = \"it is far\"\n");
        let scenario = Scenario::parse(&text).unwrap();
        let allowed = scenario.allowances(Timing::default(), 1);
        assert_eq!(allowed, Allowances { gap_ms_max: 900, ..usual });
    }
}
