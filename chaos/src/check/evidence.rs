//! What the checkers read: the phones' reports, who the agents are, and which faults were made.

use std::{collections::BTreeSet, net::SocketAddr};

use serde::{Deserialize, Serialize};
use tandem_phone::{CallReport, CallState, EndCause, RunTime, SenderTag};

use crate::faults::Fault;

/// A caller's side of one call.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CallerLeg {
    /// Who calls: the same for everybody's second try.
    pub person: String,
    /// Callers of one line have the same requirement and priority: first come, first served holds
    /// among them.
    pub line: String,
    /// Where the call comes in by plan.
    pub site: String,
    /// When the person left, where whoever told them to knows it. Without it the report decides.
    pub left_us: Option<RunTime>,
    /// What the caller experienced.
    pub report: CallReport,
}

/// An agent's side of one offer or call.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AgentLeg {
    /// The agent.
    pub agent: String,
    /// The node that sent the INVITE.
    pub invited_by: SocketAddr,
    /// The caller for whom the phone rings, by the tag of the caller's audio; none when the INVITE
    /// did not say.
    pub rings_for: Option<SenderTag>,
    /// What the agent experienced.
    pub report: CallReport,
}

/// An INVITE to a phone that says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IgnoredInvite {
    /// The agent.
    pub agent: String,
    /// The caller for whom the phone would ring, by the tag of the caller's audio.
    pub rings_for: Option<SenderTag>,
    /// When it came.
    pub at_us: RunTime,
    /// Until when the queue waits for the phone, at most.
    pub until_us: RunTime,
}

/// An agent as configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentFacts {
    /// Name, and label of the phone.
    pub name: String,
    /// Site.
    pub site: String,
    /// Lines whose requirement the agent meets.
    pub lines: BTreeSet<String>,
}

/// Everything about one run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// Callers' calls.
    pub callers: Vec<CallerLeg>,
    /// Agents' calls, the ones that only rang included.
    pub legs: Vec<AgentLeg>,
    /// Invitations that a phone will never answer.
    #[serde(default)]
    pub ignored: Vec<IgnoredInvite>,
    /// Agents.
    pub agents: Vec<AgentFacts>,
    /// Faults in the order in which they were made.
    pub faults: Vec<Fault>,
    /// The end of the watch.
    pub ended_us: RunTime,
}

impl CallerLeg {
    /// The first 18x or 200: from then on the caller has a place that must be kept.
    #[must_use]
    pub fn promised_us(&self) -> Option<RunTime> {
        earliest(self.report.ringing_us, self.report.answered_us)
    }

    /// When the person was gone; none while they are there.
    ///
    /// A BYE to a dead node is not confirmed for a long time, so one who hung up is gone from the
    /// moment at which they stopped listening. One whose call had ended before is gone since then,
    /// whenever they put the receiver down.
    #[must_use]
    pub fn gone_us(&self) -> Option<RunTime> {
        let (ended, last) = (self.report.ended_us, self.report.media.last_audio_us);
        if self.left_us.is_some() {
            return earliest(self.left_us, ended);
        }
        match (self.report.state, &self.report.end) {
            (CallState::Ending, _) => last,
            (_, Some(EndCause::HungUpHere)) => earliest(last, ended),
            (_, Some(EndCause::WorldStopped)) => None,
            _ => ended,
        }
    }

    /// True when the caller had a place and had not left at this moment.
    #[must_use]
    pub fn is_there(&self, at: RunTime) -> bool {
        self.promised_us().is_some_and(|since| since <= at)
            && self.gone_us().is_none_or(|gone| gone > at)
    }

    /// The node that owned the leg at this moment: the one reached first, until another one's
    /// re-INVITE was accepted.
    #[must_use]
    pub fn owner(&self, at: RunTime) -> Option<SocketAddr> {
        let reached = self.report.attempts.iter().rfind(|attempt| attempt.at_us <= at)?;
        Some(owner(&self.report, reached.node, at))
    }
}

impl AgentLeg {
    /// The node that owned the leg at this moment.
    #[must_use]
    pub fn owner(&self, at: RunTime) -> SocketAddr {
        owner(&self.report, self.invited_by, at)
    }

    /// When the agent hung up; none when they did not. The BYE may be confirmed much later.
    #[must_use]
    pub fn let_go_us(&self) -> Option<RunTime> {
        let by_choice = self.report.state == CallState::Ending
            || matches!(self.report.end, Some(EndCause::HungUpHere));
        let last = self.report.media.last_audio_us;
        by_choice.then(|| earliest(last, self.report.ended_us)).flatten()
    }

    /// True when the phone was called or talked at this moment.
    #[must_use]
    pub fn is_alive(&self, at: RunTime) -> bool {
        self.report.started_us <= at && self.report.ended_us.is_none_or(|ended| ended > at)
    }
}

impl Evidence {
    /// An agent by name.
    #[must_use]
    pub fn agent(&self, name: &str) -> Option<&AgentFacts> {
        self.agents.iter().find(|agent| agent.name == name)
    }
}

/// The moment of the first accepted re-INVITE or UPDATE after `since` from another address than
/// `before`: another node has taken the leg over.
#[must_use]
pub fn taken_over_us(report: &CallReport, before: SocketAddr, since: RunTime) -> Option<RunTime> {
    let accepted = report.modifications.iter().filter(|change| change.code / 100 == 2);
    accepted
        .filter(|change| change.from != before)
        .map(|change| change.at_us)
        .find(|at| *at > since)
}

/// True for a call that stood (or was ringing) to the end of the watch: neither over, nor hung up by
/// this side and waiting for a confirmation.
#[must_use]
pub fn is_open(report: &CallReport) -> bool {
    match report.state {
        CallState::Ended => report.end == Some(EndCause::WorldStopped),
        CallState::Ending => false,
        _ => true,
    }
}

fn owner(report: &CallReport, first: SocketAddr, at: RunTime) -> SocketAddr {
    let mut accepted = report.modifications.iter().filter(|change| change.code / 100 == 2);
    let last = accepted.rfind(|change| change.at_us <= at);
    last.map_or(first, |change| change.from)
}

/// The earlier of two moments that may not have come.
pub(super) fn earliest(one: Option<RunTime>, other: Option<RunTime>) -> Option<RunTime> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Run;
    use super::*;

    // Goal: who was hung up on is gone from then, not from when the whole run ends their calls.
    #[test]
    fn gone_when_the_call_is_over() {
        let mut run = Run::default();
        let caller = run.caller("sales", 1_000, 9_000);
        let rows = [
            (Some(20_000), Some(9_000), Some(9_000)),
            (Some(5_000), Some(9_000), Some(5_000)),
            (Some(5_000), None, Some(5_000)),
            (None, Some(9_000), Some(9_000)),
        ];
        for (left, ended, gone) in rows {
            let leg = &mut run.evidence.callers[caller];
            leg.left_us = left.map(RunTime::from_ms);
            leg.report.ended_us = ended.map(RunTime::from_ms);
            assert_eq!(leg.gone_us(), gone.map(RunTime::from_ms), "{left:?} {ended:?}");
            let after = leg.is_there(RunTime::from_ms(9_001));
            assert!(!after, "{left:?} {ended:?}");
        }
    }
}
