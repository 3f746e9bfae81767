//! A scenario as it is written: TOML, every key documented here, unknown keys refused.

use serde::{Deserialize, Serialize};
use tandem_phone::limits::SIP_COPIES_MAX;
use thiserror::Error;

use super::action::{Action, Needs};
use crate::{
    check::Allowances,
    cluster::{SITES_MAX, Timing},
    history::{port::BALLAST_SKILLS_MAX, workload::CLIENTS_MAX},
    limits::{AGENTS_MAX, CALLERS_MAX, STEPS_MAX},
};

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
    /// The times that the nodes are set to.
    #[serde(default)]
    pub timing: Times,
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
    /// Every third caller leaves when no agent was heard for so long after they called, milliseconds;
    /// 0: nobody does.
    #[serde(default)]
    pub patience_ms: u64,
    /// Clients who read and change settings and agents over the API meanwhile; what they were told must
    /// be linearizable.
    #[serde(default)]
    pub api_clients: u32,
    /// A client's pause between two operations, milliseconds: up to this.
    #[serde(default = "defaults::api_pause_ms")]
    pub api_pause_ms: u64,
    /// So many operations must have been answered in the end, or the run proved too little.
    #[serde(default)]
    pub api_operations_min: usize,
    /// Skills without a meaning that the clients give the agents whom they change, 67 bytes each: what
    /// is replicated is longer than a packet.
    #[serde(default)]
    pub api_ballast_skills: usize,
}

/// Heartbeats, elections and leases of the nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Times {
    /// What suits the network.
    #[default]
    Usual,
    /// [`Timing::FAR`].
    Far,
}

impl Times {
    /// The timing of nodes whose network suits `usual`.
    #[must_use]
    pub const fn of(self, usual: Timing) -> Timing {
        match self {
            Self::Usual => usual,
            Self::Far => Timing::FAR,
        }
    }
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

    /// True when it cannot run without namespaces, mounts or limits of others' processes.
    pub(super) fn needs_root(&self) -> bool {
        self.center.network == Network::Wan
            || self
                .step
                .iter()
                .any(|step| !matches!(step.fault.needs(), Needs::Processes | Needs::People))
    }

    /// True when a step needs this.
    pub(super) fn needs(&self, needs: Needs) -> bool {
        self.step.iter().any(|step| step.fault.needs() == needs)
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
            (center.api_clients > CLIENTS_MAX, format!("`api_clients` is 0 to {CLIENTS_MAX}")),
            (
                center.api_clients == 0 && center.api_operations_min > 0,
                "`api_operations_min` needs `api_clients`".to_owned(),
            ),
            (
                center.api_clients == 0 && center.api_ballast_skills > 0,
                "`api_ballast_skills` needs `api_clients`".to_owned(),
            ),
            (
                center.api_ballast_skills > BALLAST_SKILLS_MAX,
                format!("`api_ballast_skills` is 0 to {BALLAST_SKILLS_MAX}"),
            ),
            (
                self.step.iter().any(|step| {
                    matches!(step.fault, Action::SipStorm { copies }
                        if !(2..=SIP_COPIES_MAX).contains(&copies))
                }),
                format!("`copies` is 2 to {SIP_COPIES_MAX}"),
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
                center.network == Network::Loopback && self.needs(Needs::Wan),
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
        let added_ms = self.step.iter().map(|step| step.fault.added_round_trip_ms()).max();
        let slowest = Allowances::for_timing(timing, round_trip_ms + added_ms.unwrap_or(0));
        Allowances {
            at_once_ms_max: slowest.at_once_ms_max,
            confirmed_ms_max: slowest.confirmed_ms_max,
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
    pub(super) fn api_pause_ms() -> u64 {
        200
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
            ("kind = \"kill_node\"", "kind = \"sip_storm\", copies = 1", "`copies` is 2"),
            ("agents = 3", "api_clients = 65", "`api_clients` is 0"),
            ("agents = 3", "api_operations_min = 1", "needs `api_clients`"),
            ("agents = 3", "api_ballast_skills = 1", "needs `api_clients`"),
            ("agents = 3", "api_clients = 1\napi_ballast_skills = 91", "`api_ballast_skills` is 0"),
            ("lasts_ms = 2000", "lasts_ms = -1", "lasts_ms"),
            ("lasts_ms = 2000", "[allow]\ngap_ms = 5", "because"),
            ("lasts_ms = 2000", "[[step]]\nat_ms = 5\nfault = { kind = \"kill_node\" }", "order"),
        ];
        for (from, to, says) in rows {
            let error = Scenario::parse(&GOOD.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(says), "{to}: {error}");
        }
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
        let slower = GOOD.replace("[center]", "[center]\nnetwork = \"wan\"").replace(
            r#"fault = { kind = "kill_node" }"#,
            r#"fault = { kind = "impair", delay_ms = 250, jitter_ms = 50 }"#,
        );
        let allowed = Scenario::parse(&slower).unwrap().allowances(Timing::default(), 1);
        let at_once_ms_max = usual.at_once_ms_max + 600;
        let confirmed_ms_max = usual.confirmed_ms_max + 3 * 600;
        assert_eq!(allowed, Allowances { at_once_ms_max, confirmed_ms_max, ..usual });
    }
}
