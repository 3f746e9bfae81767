//! What is counted per quarter of an hour: exactly once, because it is counted where it is decided
//! (invariant T1).
//!
//! A fact counts in the interval in which it was decided; a time counts where it ended. Rates and means
//! are made from these sums when somebody asks ([`QueueInterval::service_level_ppm`] and its neighbours),
//! so that intervals can be added up.

use serde::{Deserialize, Serialize};

use super::{EndReason, WorkState};
use crate::{
    ids::{AgentId, QueueId, SiteId, TenantId},
    limits::{INTERVAL_MS, SHORT_ABANDON_MS},
    time::{ClusterTime, Millis},
};

/// The beginning of the interval that a time is in.
#[must_use]
pub fn interval_of(now: ClusterTime) -> ClusterTime {
    ClusterTime(now.0 - now.0 % INTERVAL_MS)
}

/// One queue in one interval.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct QueueInterval {
    /// When it began.
    pub start: ClusterTime,
    /// Which queue.
    pub queue: QueueId,
    /// Owner.
    pub tenant: TenantId,
    /// Contacts that came into the queue.
    pub offered: u32,
    /// Contacts that an agent took.
    pub answered: u32,
    /// Of those, within the queue's target.
    pub answered_in_time: u32,
    /// Callers who hung up while they waited.
    pub abandoned: u32,
    /// Of those, within the queue's target.
    pub abandoned_in_time: u32,
    /// Of those, within five seconds.
    pub abandoned_short: u32,
    /// Contacts that ended while they waited for another reason: the longest wait, an operator, a loss.
    pub ended_waiting: u32,
    /// Callers whom the log took in too late: they had left. They count as offered too.
    pub turned_away: u32,
    /// Waits of those who were answered, added up.
    pub wait_answered: Millis,
    /// Waits of those who abandoned, added up.
    pub wait_abandoned: Millis,
    /// The longest wait of those who were answered.
    pub wait_max: Millis,
    /// Conversations that ended.
    pub handled: u32,
    /// Their talking, added up; holding included.
    pub talk: Millis,
    /// After-contact work that ended, added up.
    pub wrap_up: Millis,
    /// Offers made.
    pub offers: u32,
    /// Offers that came to nothing by the agent's doing, or that of their phone.
    pub offers_failed: u32,
    /// Contacts that came from another queue by a rule.
    pub overflowed_in: u32,
    /// Contacts that left for another queue by a rule, or were sent away while they waited.
    pub overflowed_out: u32,
    /// Conversations that broke off, whose caller is back in the line.
    pub requeued: u32,
}

/// One site's agents in one interval.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SiteInterval {
    /// When it began.
    pub start: ClusterTime,
    /// Which site.
    pub site: SiteId,
    /// Contacts that its agents took.
    pub answered: u32,
    /// Of those, callers who had come in at another site.
    pub from_elsewhere: u32,
    /// Its agents' time, by what they did, where that ended in this interval.
    pub talk: Millis,
    /// See `talk`.
    pub wrap_up: Millis,
    /// See `talk`: their phone rang.
    pub ringing: Millis,
    /// See `talk`: ready.
    pub available: Millis,
    /// See `talk`: not ready, or spared.
    pub not_ready: Millis,
}

/// One agent in one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AgentInterval {
    /// When it began.
    pub start: ClusterTime,
    /// Who.
    pub agent: AgentId,
    /// Owner.
    pub tenant: TenantId,
    /// Offers made to them.
    pub offers: u32,
    /// Contacts that they took.
    pub answered: u32,
    /// Offers that they or their phone did not take, and that made them not ready or spared.
    pub missed: u32,
    /// Their time, by what they did, where that ended in this interval.
    pub talk: Millis,
    /// See `talk`.
    pub wrap_up: Millis,
    /// See `talk`: their phone rang.
    pub ringing: Millis,
    /// See `talk`: ready.
    pub available: Millis,
    /// See `talk`: not ready, or spared.
    pub not_ready: Millis,
}

impl AgentInterval {
    /// Counts what they did until now, and what they begin.
    pub(crate) fn count(&mut self, was: &WorkState, spent: Millis, is: &WorkState) {
        let sum = match was {
            WorkState::Busy(_) => &mut self.talk,
            WorkState::WrapUp(_) => &mut self.wrap_up,
            WorkState::Offered(_) => &mut self.ringing,
            WorkState::Ready => &mut self.available,
            WorkState::NotReady(_) | WorkState::Paused { .. } => &mut self.not_ready,
        };
        *sum += spent;
        match (was, is) {
            (_, WorkState::Offered(_)) => self.offers += 1,
            (_, WorkState::Busy(_)) => self.answered += 1,
            (WorkState::Offered(_), WorkState::NotReady(why) | WorkState::Paused { why, .. }) => {
                self.missed += u32::from(why.is_of_an_offer())
            }
            _ => {}
        }
    }

    /// True when nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { start, agent, tenant, .. } = *self;
        *self == Self { start, agent, tenant, ..Self::default() }
    }

    /// Adds another interval's sums.
    pub fn add(&mut self, other: &Self) {
        self.offers += other.offers;
        self.answered += other.answered;
        self.missed += other.missed;
        self.talk += other.talk;
        self.wrap_up += other.wrap_up;
        self.ringing += other.ringing;
        self.available += other.available;
        self.not_ready += other.not_ready;
    }

    /// Occupancy, per million: talk and after-contact work, of that and of being ready.
    #[must_use]
    pub fn occupancy_ppm(&self) -> Option<u64> {
        let handling = self.talk.0 + self.wrap_up.0;
        ppm(handling, handling + self.available.0)
    }
}

impl QueueInterval {
    pub(crate) fn count_answer(&mut self, waited: Millis, target: Millis) {
        self.answered += 1;
        self.answered_in_time += u32::from(waited <= target);
        self.wait_answered += waited;
        self.wait_max = self.wait_max.max(waited);
    }

    pub(crate) fn count_end_of_wait(&mut self, reason: EndReason, waited: Millis, target: Millis) {
        match reason {
            EndReason::Abandoned | EndReason::CallerGone => {
                self.abandoned += 1;
                self.abandoned_in_time += u32::from(waited <= target);
                self.abandoned_short += u32::from(waited.0 <= SHORT_ABANDON_MS);
                self.wait_abandoned += waited;
            }
            EndReason::TurnedAway => self.turned_away += 1,
            EndReason::Overflowed => self.overflowed_out += 1,
            EndReason::WaitedTooLong
            | EndReason::Operator
            | EndReason::LegLost
            | EndReason::Failed
            | EndReason::CallerHungUp
            | EndReason::AgentHungUp => self.ended_waiting += 1,
        }
    }

    /// Adds another interval's sums.
    pub fn add(&mut self, other: &Self) {
        self.offered += other.offered;
        self.answered += other.answered;
        self.answered_in_time += other.answered_in_time;
        self.abandoned += other.abandoned;
        self.abandoned_in_time += other.abandoned_in_time;
        self.abandoned_short += other.abandoned_short;
        self.ended_waiting += other.ended_waiting;
        self.turned_away += other.turned_away;
        self.wait_answered += other.wait_answered;
        self.wait_abandoned += other.wait_abandoned;
        self.wait_max = self.wait_max.max(other.wait_max);
        self.handled += other.handled;
        self.talk += other.talk;
        self.wrap_up += other.wrap_up;
        self.offers += other.offers;
        self.offers_failed += other.offers_failed;
        self.requeued += other.requeued;
        self.overflowed_in += other.overflowed_in;
        self.overflowed_out += other.overflowed_out;
    }

    /// SL, per million: answered in time of those who were answered; `None` when nobody was.
    #[must_use]
    pub fn service_level_ppm(&self) -> Option<u64> {
        ppm(u64::from(self.answered_in_time), u64::from(self.answered))
    }

    /// SL2, per million: answered or abandoned in time, of those who were offered and did not overflow to
    /// another queue, with those who came from one; `None` when nobody was.
    #[must_use]
    pub fn service_level_2_ppm(&self) -> Option<u64> {
        let in_time = u64::from(self.answered_in_time) + u64::from(self.abandoned_in_time);
        let all = u64::from(self.offered) + u64::from(self.overflowed_in);
        ppm(in_time, all.saturating_sub(u64::from(self.overflowed_out)))
    }

    /// ASA: the mean wait of those who were answered.
    #[must_use]
    pub fn speed_of_answer(&self) -> Option<Millis> {
        self.wait_answered.0.checked_div(u64::from(self.answered)).map(Millis)
    }

    /// AHT: the mean of talk and after-contact work.
    #[must_use]
    pub fn handle_time(&self) -> Option<Millis> {
        (self.talk.0 + self.wrap_up.0).checked_div(u64::from(self.handled)).map(Millis)
    }

    /// Abandoned of those who were offered, per million.
    #[must_use]
    pub fn abandoned_ppm(&self) -> Option<u64> {
        ppm(u64::from(self.abandoned), u64::from(self.offered))
    }
}

impl SiteInterval {
    pub(crate) fn count_time(&mut self, work: &WorkState, spent: Millis) {
        let sum = match work {
            WorkState::Busy(_) => &mut self.talk,
            WorkState::WrapUp(_) => &mut self.wrap_up,
            WorkState::Offered(_) => &mut self.ringing,
            WorkState::Ready => &mut self.available,
            WorkState::NotReady(_) | WorkState::Paused { .. } => &mut self.not_ready,
        };
        *sum += spent;
    }

    /// Adds another interval's sums.
    pub fn add(&mut self, other: &Self) {
        self.answered += other.answered;
        self.from_elsewhere += other.from_elsewhere;
        self.talk += other.talk;
        self.wrap_up += other.wrap_up;
        self.ringing += other.ringing;
        self.available += other.available;
        self.not_ready += other.not_ready;
    }

    /// Occupancy, per million: talk and after-contact work, of that and of being ready.
    #[must_use]
    pub fn occupancy_ppm(&self) -> Option<u64> {
        let handling = self.talk.0 + self.wrap_up.0;
        ppm(handling, handling + self.available.0)
    }
}

fn ppm(part: u64, whole: u64) -> Option<u64> {
    part.saturating_mul(1_000_000).checked_div(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: the trade's figures follow from the sums by their formulas; nothing is divided by nothing.
    #[test]
    fn figures() {
        let mut row = QueueInterval::default();
        assert_eq!((row.service_level_ppm(), row.speed_of_answer()), (None, None));
        assert_eq!((row.service_level_2_ppm(), row.handle_time()), (None, None));
        let target = Millis(20_000);
        row.offered = 5;
        for waited in [0, 20_000, 20_001] {
            row.count_answer(Millis(waited), target);
        }
        row.count_end_of_wait(EndReason::Abandoned, Millis(5_000), target);
        row.count_end_of_wait(EndReason::WaitedTooLong, Millis(60_000), target);
        (row.handled, row.talk, row.wrap_up) = (2, Millis(100), Millis(20));
        assert_eq!(row.service_level_ppm(), Some(666_666));
        assert_eq!(row.service_level_2_ppm(), Some(600_000));
        assert_eq!(row.speed_of_answer(), Some(Millis(13_333)));
        assert_eq!(row.handle_time(), Some(Millis(60)));
        assert_eq!(row.abandoned_ppm(), Some(200_000));
        assert_eq!((row.abandoned_short, row.ended_waiting, row.wait_max), (1, 1, Millis(20_001)));
        let mut twice = row.clone();
        twice.add(&row);
        assert_eq!(twice.service_level_ppm(), row.service_level_ppm());
        assert_eq!(twice.offered, 10);

        let mut site = SiteInterval::default();
        assert_eq!(site.occupancy_ppm(), None);
        site.count_time(&WorkState::Ready, Millis(25));
        site.count_time(&WorkState::WrapUp(ClusterTime(9)), Millis(75));
        assert_eq!(site.occupancy_ppm(), Some(750_000));
    }
}
