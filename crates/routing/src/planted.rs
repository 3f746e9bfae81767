//! Faults that are planted on purpose, one at a time, to see that the simulation catches them. Only there
//! with the feature `planted`, which no program switches on; which fault it is travels in the values that
//! carry it, never in a global.

/// A planted fault: what is done wrong, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Planted {
    /// routing: the agent who was idle for the shortest time is asked.
    ShortestIdleIsAsked,
    /// routing: the last in line goes first.
    LastInLineGoesFirst,
    /// routing: a caller who is being confirmed is offered.
    UnconfirmedIsOffered,
    /// routing: no wrap-up after a conversation.
    WrapUpIsSkipped,
    /// routing: who hung up stays busy.
    AgentIsNotReleased,
    /// routing: an agent who did not answer stays ready.
    RonaIsNotReported,
    /// routing: a site that drains is offered contacts.
    DrainIsIgnored,
    /// routing: a caller who lost their agent goes to the end of the line.
    RequeueLosesPlace,
    /// routing: the end of wrap-up never comes.
    WrapUpTimerIsLost,
    /// cluster: a repeated command is carried out again.
    RetryIsApplied,
    /// cluster: a command of a life that is over is carried out.
    LifeFenceIsNotChecked,
    /// cluster: a new start of a node goes on with the old epoch.
    EpochIsNotRaised,
    /// cluster: a leg that is handed over keeps its epoch.
    LegEpochIsNotRaised,
    /// cluster: a taker gets no numbers of its own.
    NumbersAreNotReserved,
    /// cluster: the digest knows no legs.
    DigestSkipsLegs,
    /// cluster: a caller who hangs up stays in the queue.
    AbandonedStays,
    /// cluster: legs of a lost node keep their owner.
    LegOwnerIsStale,
    /// cluster: callers of a lost node are not doubted.
    LostCallersAreNotDoubted,
    /// callcontrol: an unknown outcome counts as done.
    UnknownOutcomeIsForgotten,
    /// callcontrol: no lease is needed to act.
    LeaseIsIgnored,
    /// callcontrol: a phone is not told that its call is over.
    ByeIsNotSent,
    /// callcontrol: sessions at relays are not ended.
    SessionIsNotEnded,
    /// shell: a proposal is acknowledged when it is appended.
    AcknowledgedBeforeCommit,
    /// shell: what may have happened is reported as not done.
    UnknownIsReportedNotDone,
    /// shell: a lease counts from the answer and not from the sending.
    LeaseCountsFromAnswer,
    /// shell: replies to retries are given up too early.
    AckBelowIsTooHigh,
    /// store: an entry is left out after a restart.
    RestartSkipsAnEntry,
    /// store: rows that were not synced are lost, their position is not.
    PositionOutrunsRows,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 28] = [
        Self::ShortestIdleIsAsked,
        Self::LastInLineGoesFirst,
        Self::UnconfirmedIsOffered,
        Self::WrapUpIsSkipped,
        Self::AgentIsNotReleased,
        Self::RonaIsNotReported,
        Self::DrainIsIgnored,
        Self::RequeueLosesPlace,
        Self::WrapUpTimerIsLost,
        Self::RetryIsApplied,
        Self::LifeFenceIsNotChecked,
        Self::EpochIsNotRaised,
        Self::LegEpochIsNotRaised,
        Self::NumbersAreNotReserved,
        Self::DigestSkipsLegs,
        Self::AbandonedStays,
        Self::LegOwnerIsStale,
        Self::LostCallersAreNotDoubted,
        Self::UnknownOutcomeIsForgotten,
        Self::LeaseIsIgnored,
        Self::ByeIsNotSent,
        Self::SessionIsNotEnded,
        Self::AcknowledgedBeforeCommit,
        Self::UnknownIsReportedNotDone,
        Self::LeaseCountsFromAnswer,
        Self::AckBelowIsTooHigh,
        Self::RestartSkipsAnEntry,
        Self::PositionOutrunsRows,
    ];
}
