//! Small invented runs for the checkers' tests. Sites 0 to 2 have their nodes at 127.0.1.1 to
//! 127.0.3.1; everybody calls in at site 0 and every agent's phone is called by site 0.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tandem_phone::{
    Attempt, CallKey, CallReport, CallState, EndCause, Gap, GapKind, MediaReport, Modification,
    Role, RunTime, SenderReport, SenderTag, SourceReport, SourceStanding, SsrcReport,
};

use super::{AgentFacts, AgentLeg, CallerLeg, Evidence};
use crate::faults::{Fault, FaultKind, Standing};

const MS: fn(u64) -> RunTime = RunTime::from_ms;

/// A run under construction.
pub(crate) struct Run {
    pub(crate) evidence: Evidence,
}

impl Default for Run {
    fn default() -> Self {
        let agent = |name: &str| AgentFacts {
            name: name.to_owned(),
            site: "lon".to_owned(),
            lines: ["sales".to_owned()].into(),
        };
        let agents = vec![agent("ann"), agent("bob"), agent("cat")];
        Self { evidence: Evidence { agents, ended_us: MS(60_000), ..Evidence::default() } }
    }
}

impl Run {
    /// A caller who calls, has a place 100 ms later, and hangs up at `until_ms`.
    pub(crate) fn caller(&mut self, line: &str, at_ms: u64, until_ms: u64) -> usize {
        let index = self.evidence.callers.len();
        let mut report = report(&format!("caller#{}", index + 1), Role::Caller, at_ms);
        report.sender_tag = SenderTag(1_000 + index as u64);
        report.answered_us = Some(MS(at_ms + 100));
        report.established_us = report.answered_us;
        report.media.first_audio_us = report.answered_us;
        report.attempts = vec![Attempt { at_us: MS(at_ms), node: sip(0), outcome: None }];
        self.evidence.callers.push(CallerLeg {
            person: format!("person-{index}"),
            line: line.to_owned(),
            site: "lon".to_owned(),
            left_us: None,
            report,
        });
        self.hang_up(index, until_ms);
        index
    }

    /// The caller hangs up then (instead).
    pub(crate) fn hang_up(&mut self, caller: usize, at_ms: u64) {
        let report = &mut self.evidence.callers[caller].report;
        report.state = CallState::Ended;
        report.end = Some(EndCause::HungUpHere);
        report.ended_us = Some(MS(at_ms));
        report.media.last_audio_us = report.ended_us;
        report.media.sources[0].last_us = MS(at_ms);
    }

    /// The caller's call breaks then (instead).
    pub(crate) fn breaks(&mut self, caller: usize, at_ms: u64) {
        self.hang_up(caller, at_ms);
        self.evidence.callers[caller].report.end = Some(EndCause::DialogLost { code: None });
    }

    /// The caller stays to the end of the watch.
    pub(crate) fn stays(&mut self, caller: usize) {
        let report = &mut self.evidence.callers[caller].report;
        report.state = CallState::Established;
        (report.end, report.ended_us) = (None, None);
    }

    /// An agent's phone rings for a caller and is cancelled.
    pub(crate) fn ring(&mut self, caller: usize, agent: &str, from_ms: u64, to_ms: u64) -> usize {
        let index = self.evidence.legs.len();
        let mut report = report(agent, Role::Callee, from_ms);
        report.sender_tag = SenderTag(2_000 + index as u64);
        report.ended_us = Some(MS(to_ms));
        report.end = Some(EndCause::CancelledThere { reason: None });
        let rings_for = Some(self.evidence.callers[caller].report.sender_tag);
        let agent = agent.to_owned();
        self.evidence.legs.push(AgentLeg { agent, invited_by: sip(0), rings_for, report });
        index
    }

    /// An agent is offered a caller, answers, and both hear each other until then; the agent hears
    /// of the caller's end, or hangs up when the caller stays longer.
    pub(crate) fn talk(
        &mut self,
        caller: usize,
        agent: &str,
        offered_ms: u64,
        from_ms: u64,
        to_ms: u64,
    ) -> usize {
        let index = self.ring(caller, agent, offered_ms, to_ms);
        let one = &mut self.evidence.callers[caller].report;
        let other = &mut self.evidence.legs[index].report;
        one.media.senders.push(sender(other.sender_tag, from_ms, to_ms));
        other.media.senders.push(sender(one.sender_tag, from_ms, to_ms));
        other.answered_us = Some(MS(from_ms));
        other.established_us = Some(MS(from_ms));
        other.media.first_audio_us = Some(MS(from_ms));
        other.media.last_audio_us = Some(MS(to_ms));
        let stays = one.ended_us.is_none_or(|ended| ended > MS(to_ms));
        other.end =
            Some(if stays { EndCause::HungUpHere } else { EndCause::HungUpThere { reason: None } });
        index
    }

    /// Another site's node called the agent.
    pub(crate) fn invited_by(&mut self, leg: usize, site: u8) {
        self.evidence.legs[leg].invited_by = sip(site);
    }

    /// A fault.
    pub(crate) fn fault(&mut self, kind: FaultKind, site: u8, at_ms: u64) {
        self.evidence.faults.push(Fault {
            kind,
            site: format!("site{site}"),
            sip: sip(site),
            standing: Standing::Follower,
            made_us: MS(at_ms),
            seen_us: None,
        });
    }

    /// Another node's re-INVITE reaches the caller.
    pub(crate) fn reinvite_caller(&mut self, caller: usize, by: u8, at_ms: u64) {
        self.evidence.callers[caller].report.modifications.push(reinvite(by, at_ms));
    }

    /// Another node's re-INVITE reaches the agent.
    pub(crate) fn reinvite_agent(&mut self, leg: usize, by: u8, at_ms: u64) {
        self.evidence.legs[leg].report.modifications.push(reinvite(by, at_ms));
    }

    /// The caller hears a pause.
    pub(crate) fn gap(&mut self, caller: usize, at_ms: u64, ms: u64, stall: u64, kind: GapKind) {
        self.evidence.callers[caller].report.media.gaps.push(gap(at_ms, ms, stall, kind));
    }

    /// The agent hears a pause.
    pub(crate) fn agent_gap(&mut self, leg: usize, at_ms: u64, ms: u64, stall: u64, kind: GapKind) {
        self.evidence.legs[leg].report.media.gaps.push(gap(at_ms, ms, stall, kind));
    }

    /// The caller receives a sequence number twice.
    pub(crate) fn source_fault(&mut self, caller: usize) {
        let at = MS(4_000);
        self.evidence.callers[caller].report.media.ssrcs.push(SsrcReport {
            ssrc: 1,
            first_us: at,
            last_us: at,
            packets: 2,
            lost: 0,
            duplicates: 0,
            reused: 1,
            reordered: 0,
            steps_back: 0,
            markers: 0,
            timestamps_back: 0,
            breaks: Vec::new(),
            breaks_count: 0,
            payload_types: vec![0],
            jitter_samples: 0,
        });
    }
}

fn sip(site: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, site + 1, 1)), 5060)
}

fn reinvite(by: u8, at_ms: u64) -> Modification {
    Modification {
        at_us: MS(at_ms),
        method: "INVITE".to_owned(),
        from: sip(by),
        source_changed: true,
        cseq: 2,
        sdp_version: None,
        contact: None,
        media: None,
        media_changed: false,
        direction: None,
        code: 200,
    }
}

fn gap(at_ms: u64, ms: u64, stall: u64, kind: GapKind) -> Gap {
    Gap { start_us: MS(at_ms), length_us: ms * 1_000, kind, own_stall_us: stall * 1_000 }
}

fn sender(tag: SenderTag, from_ms: u64, to_ms: u64) -> SenderReport {
    SenderReport {
        tag,
        label: None,
        first_us: MS(from_ms),
        last_us: MS(to_ms),
        packets: 100,
        lost: 0,
        duplicates: 0,
        jumps: Vec::new(),
        jumps_count: 0,
        gaps: Vec::new(),
        gaps_count: 0,
    }
}

fn report(label: &str, role: Role, at_ms: u64) -> CallReport {
    let source = SourceReport {
        address: SocketAddr::new(sip(0).ip(), 20_000),
        standing: SourceStanding::Signalled,
        first_us: MS(at_ms),
        last_us: MS(at_ms + 60_000),
        packets: 100,
    };
    CallReport {
        phone: label.to_owned(),
        role,
        call: CallKey(label.to_owned()),
        sender_tag: SenderTag(0),
        state: CallState::Ended,
        started_us: MS(at_ms),
        ringing_us: None,
        early_media_us: None,
        answered_us: None,
        established_us: None,
        ended_us: None,
        end: None,
        attempts: Vec::new(),
        modifications: Vec::new(),
        modifications_count: 0,
        takeovers: 0,
        remote_target: None,
        anomalies: Vec::new(),
        anomalies_count: 0,
        ok_retransmissions: 0,
        ok_repeats_received: 0,
        media: MediaReport { sources: vec![source], ..MediaReport::default() },
    }
}
