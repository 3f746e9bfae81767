//! Faults that are planted on purpose, one at a time, to see that the simulation catches them. Only there
//! with the feature `planted`, which no program of the product switches on; which fault it is travels in
//! the values that carry it, never in a global.

/// The room of the code that a fault is planted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// `crates/routing`.
    Routing,
    /// `crates/routing`: rules that the simulated center does not use; scenarios show them
    /// (`crates/routing/tests/scenarios`).
    Rules,
    /// `crates/cluster`.
    Cluster,
    /// `crates/callcontrol`.
    Callcontrol,
    /// What surrounds the pure rooms: the node's proposer and lease.
    Shell,
    /// The log and rows on disk.
    Store,
}

macro_rules! planted_faults {
    ($($name:ident: $room:ident, $what:literal;)*) => {
        /// A planted fault: what is done wrong, and where.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Planted {
            $(#[doc = concat!(stringify!($room), ": ", $what, ".")] $name,)*
        }

        impl Planted {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Those that the simulation must catch: all but [`Room::Rules`].
            pub fn simulated() -> impl Iterator<Item = Self> {
                Self::ALL.iter().copied().filter(|fault| fault.room() != Room::Rules)
            }

            /// Where it is planted.
            #[must_use]
            pub const fn room(self) -> Room {
                match self {
                    $(Self::$name => Room::$room,)*
                }
            }

            /// What is done wrong, in a few words.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self {
                    $(Self::$name => $what,)*
                }
            }
        }
    };
}

planted_faults! {
    ShortestIdleIsAsked: Routing, "the agent who was idle for the shortest time is asked";
    LastInLineGoesFirst: Routing, "the last in line goes first";
    UnconfirmedIsOffered: Routing, "a caller who is being confirmed is offered";
    WrapUpIsSkipped: Routing, "no wrap-up after a conversation";
    AgentIsNotReleased: Routing, "who hung up stays busy";
    RonaIsNotReported: Routing, "an agent who did not answer stays ready";
    DrainIsIgnored: Routing, "a site that drains is offered contacts";
    RequeueLosesPlace: Routing, "a caller who lost their agent goes to the end of the line";
    WrapUpTimerIsLost: Routing, "the end of wrap-up never comes";
    TurnIsForgotten: Rules, "a queue that goes in turns does not remember whom it asked";
    TallyGoesOn: Rules, "what an agent did before they logged in counts still";
    ContactsAreNotCounted: Rules, "contacts of an agent are not counted";
    PriorityIsIgnored: Rules, "a number's priority is ignored";
    ReservedPlaceIsForgotten: Rules, "who calls again after we lost them has a new place";
    StrategyStays: Rules, "a changed strategy is not taken over";
    TiersAreForgotten: Rules, "tiers are lost when an agent is configured";
    PauseNeverEnds: Rules, "an agent who was spared is spared for ever";
    LateAnswerAlwaysCounts: Rules, "an answer connects although somebody else was asked";
    FullQueueTakesMore: Rules, "a full queue takes callers";
    SiteIsKeptForEver: Rules, "a caller's own site is never widened";
    EditsDoNotReachTheWaiting: Rules, "an edited requirement counts for new callers only";
    DropperIsAskedAgain: Rules, "who dropped a caller gets them back although others are free";
    RingingEndsByWaiting: Rules, "a caller is sent away while a phone rings for them";
    ClosedSiteTakesCallers: Rules, "a closed site takes callers";
    NodeFailureIsBlamed: Rules, "an agent whose phone a node could not make ring is not ready";
    StepsNeverCome: Rules, "a queue's timed rules never take effect";
    ReserveIsAskedAtOnce: Rules, "reserve agents are asked like all others";
    UrgencyIsIgnored: Rules, "a contact that is urgent is not brought forward";
    PriorityStays: Rules, "a changed priority does not move the contact";
    PlaceIsTakenBehind: Rules, "who is put before another stands behind them";
    DeclineIsNotForgiven: Rules, "who was to be spared for a while stays not ready";
    WrapUpHasNoEnd: Rules, "after-contact work can be extended without limit";
    PreferredIsWaitedForEver: Rules, "a caller waits for one agent without end";
    LeaverIsWaitedFor: Rules, "callers wait for an agent who has left";
    LastAgentIsForgotten: Rules, "nobody remembers whom a caller talked with";
    UndoIsForgotten: Rules, "the last step of an undone plan is not taken back";
    WaitingDoNotMove: Rules, "changed weights do not move who waits";
    OneQueueIsEnough: Rules, "a contact does not wait in the further queues of its own";
    OverflowComesBack: Rules, "a contact overflows to a queue that it has left";
    OverflowLosesPlace: Rules, "a contact that overflows loses its time of arrival";
    OnlyOneIsRung: Rules, "a queue that rings all rings one";
    LosersGoOnRinging: Rules, "phones go on ringing for a contact that somebody took";
    RetiredKeepTheirWaiting: Rules, "who waits in a queue that is taken out goes on waiting there";
    StrandedByAnEdit: Rules, "nobody looks who is stranded when an agent is changed";
    ClosedTakesCallers: Rules, "a closed queue takes callers";
    QuotasAreIgnored: Rules, "a tenant may have more than its quota";
    RefusedGetThrough: Rules, "callers in a list of the refused get through";
    CapIsIgnored: Rules, "a site's agents get more contacts than its cap allows";
    HysteresisIsIgnored: Rules, "the least difference sends a contact to another site";
    ReleasedStaysReady: Rules, "who is set free is ready, whatever was asked";
    RetryIsApplied: Cluster, "a repeated command is carried out again";
    LifeFenceIsNotChecked: Cluster, "a command of a life that is over is carried out";
    EpochIsNotRaised: Cluster, "a new start of a node goes on with the old epoch";
    LegEpochIsNotRaised: Cluster, "a leg that is handed over keeps its epoch";
    NumbersAreNotReserved: Cluster, "a taker gets no numbers of its own";
    DigestSkipsLegs: Cluster, "the digest knows no legs";
    AbandonedStays: Cluster, "a caller who hangs up stays in the queue";
    LegOwnerIsStale: Cluster, "legs of a lost node keep their owner";
    LostCallersAreNotDoubted: Cluster, "callers of a lost node are not doubted";
    UnknownOutcomeIsForgotten: Callcontrol, "an unknown outcome counts as done";
    LeaseIsIgnored: Callcontrol, "no lease is needed to act";
    ByeIsNotSent: Callcontrol, "a phone is not told that its call is over";
    SessionIsNotEnded: Callcontrol, "sessions at relays are not ended";
    AcknowledgedBeforeCommit: Shell, "a proposal is acknowledged when it is appended";
    UnknownIsReportedNotDone: Shell, "what may have happened is reported as not done";
    LeaseCountsFromAnswer: Shell, "a lease counts from the answer and not from the sending";
    AckBelowIsTooHigh: Shell, "replies to retries are given up too early";
    RestartSkipsAnEntry: Store, "an entry is left out after a restart";
    PositionOutrunsRows: Store, "rows that were not synced are lost, their position is not";
}
