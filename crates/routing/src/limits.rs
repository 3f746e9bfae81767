//! Every limit of the routing core, in one place. Relations between them are asserted at compile
//! time. `docs/limits.md` lists them for operators.

/// Longest jump of ClusterTime that one entry may make.
pub const CLUSTER_TIME_JUMP_MS_MAX: u64 = 3_600_000;

/// Longest name of anything that has a name, in bytes.
pub const NAME_LEN_MAX: usize = 64;

/// Sites in one cluster. The cost of one decision grows with it.
pub const SITES_MAX: usize = 64;
/// Skills of one tenant set.
pub const SKILLS_MAX: usize = 10_000;
/// Queues of all tenants.
pub const QUEUES_MAX: usize = 10_000;
/// Agents of all tenants.
pub const AGENTS_MAX: usize = 200_000;
/// Called numbers of all tenants.
pub const NUMBERS_MAX: usize = 100_000;
/// Tenants.
pub const TENANTS_MAX: usize = 1_000;
/// Calendars of all tenants.
pub const CALENDARS_MAX: usize = 500;
/// Spans of opening hours of one calendar: two a day for more than a year.
pub const CALENDAR_SPANS_MAX: usize = 1_000;
/// Text that a calendar was compiled from, in bytes.
pub const CALENDAR_SOURCE_LEN_MAX: usize = 16_384;
/// Callers in lists, of all tenants.
pub const LISTED_CALLERS_MAX: usize = 200_000;
/// Callers that one command puts into a list or takes out of it.
pub const LIST_CHANGES_MAX: usize = 1_000;
/// Lists that one called number goes by.
pub const LISTS_PER_NUMBER_MAX: usize = 8;
/// Live contacts.
pub const CONTACTS_MAX: usize = 1_000_000;

/// Skills that one agent has.
pub const SKILLS_PER_AGENT_MAX: usize = 100;
/// Queues that one agent serves.
pub const QUEUES_PER_AGENT_MAX: usize = 100;
/// Requirement classes alive: distinct pairs of queue and requirement.
pub const CLASSES_MAX: usize = 20_000;
/// Requirement classes alive in one queue: an agent who becomes ready looks at the first contact of each.
/// Whatever would give a queue more is refused: a caller, or the queue's configuration.
pub const CLASSES_PER_QUEUE_MAX: usize = 1_000;
/// Classes without contacts that a node keeps prepared. Decides nothing.
pub const IDLE_CLASSES_KEPT: usize = 1_024;

/// Terms of one requirement.
pub const REQUIREMENT_TERMS_MAX: usize = 32;
/// Depth of one requirement.
pub const REQUIREMENT_DEPTH_MAX: usize = 8;

/// Agents whose phones ring at once for one contact (strategy `ring-all`).
pub const RING_ALL_MAX: usize = 16;

/// Steps of one queue.
pub const STEPS_MAX: usize = 10;
/// Reserve levels of one queue.
pub const RESERVE_LEVELS_MAX: usize = 5;
/// Offers that came to nothing and are remembered of one contact.
pub const FAILED_OFFERS_KEPT: usize = 8;
/// Length of an interval of the statistics: a quarter of an hour.
pub const INTERVAL_MS: u64 = 900_000;
/// For how long intervals are kept: two days.
pub const INTERVALS_KEPT_MS: u64 = 172_800_000;
/// Intervals of agents that are kept; beyond them the oldest go first.
pub const AGENT_INTERVALS_MAX: usize = 500_000;
/// Intervals of queues that are kept; beyond them the oldest go first.
pub const QUEUE_INTERVALS_MAX: usize = 500_000;
/// A caller who hangs up within this time counts as a short abandon too.
pub const SHORT_ABANDON_MS: u64 = 5_000;
/// Expected waits are made from what was counted in so long a time.
pub const EXPECTED_FROM_MS: u64 = 3_600_000;
/// How long an agent takes for a contact, as long as nothing was counted.
pub const EXPECTED_HANDLE_MS: u64 = 180_000;
/// Rebalance plans that are kept, the running one included.
pub const PLANS_KEPT: usize = 100;
/// Steps of one rebalance plan.
pub const PLAN_STEPS_MAX: u8 = 20;
/// Agents that one rebalance plan moves.
pub const PLAN_AGENTS_MAX: usize = 1_000;
/// Further queues in which contacts of one queue wait as well.
pub const ALSO_MAX: usize = 3;
/// Overflow rules of one queue.
pub const OVERFLOWS_MAX: usize = 8;
/// Queues that one contact may leave.
pub const VISITED_MAX: usize = 8;
/// Attributes of one agent.
pub const ATTRIBUTES_PER_AGENT_MAX: usize = 20;
/// Conversations that are remembered for callers who come back, all queues together.
pub const LAST_AGENTS_MAX: usize = 200_000;
/// Latest that a timed rule may be due, counted from a contact's arrival: a day.
pub const RULE_AFTER_MS_MAX: u64 = 86_400_000;

/// Waiting contacts that a queue may be configured to hold.
pub const QUEUE_LENGTH_MAX: u32 = 100_000;
/// Highest proficiency; the lowest is 1.
pub const LEVEL_MAX: u8 = 10;
/// Highest contact priority; the lowest is 0.
pub const PRIORITY_MAX: u8 = 10;
/// Highest queue weight; 0 is neutral.
pub const QUEUE_WEIGHT_MAX: u8 = 100;
/// Highest level of a tier; the lowest is 1.
pub const TIER_LEVEL_MAX: u8 = 100;
/// Highest position in a tier; the lowest is 1.
pub const TIER_POSITION_MAX: u16 = 10_000;
/// Highest hysteresis between sites that are balanced.
pub const HYSTERESIS_PERCENT_MAX: u16 = 1_000;
/// Highest site weight; 0 takes no contact.
pub const SITE_WEIGHT_MAX: u16 = 100;

/// One step of contact priority counts as this much earlier arrival: within an hour the more
/// important contact always goes first, and nobody starves behind them for longer.
pub const PRIORITY_STEP_MS: u64 = 3_600_000;
/// One step of queue weight counts as this much earlier arrival.
pub const QUEUE_WEIGHT_STEP_MS: u64 = 10_000;

/// Steps of bulk work (moves, rematches, expiries) that one entry may do, all its commands together;
/// the rest stays due or on the replicated work list and goes on in the next entry.
pub const APPLY_WORK_MAX: usize = 256;

/// The log's expiry of an offer comes this much after the ringing time: the owner of the agent's
/// leg times the ringing and reports; the log is the backstop.
pub const OFFER_BACKSTOP_MS: u64 = 5_000;

/// For how long an agent is spared whose phone a node could not make ring. Others are asked meanwhile;
/// long enough that a node without sockets is not asked over and over, short enough for the caller who
/// has nobody else.
pub const NODE_FAILED_PAUSE_MS: u64 = 2_000;

/// For how long agents are held for a contact that is being confirmed, from the loss of its owner
/// (`docs/adr/0008-agents-wait-for-callers-being-confirmed.md`). Peers that can be reached answer a
/// re-INVITE within one to three round trips and RFC 3261's first retransmission (T1, 500 ms).
pub const CONFIRM_HOLD_MS: u64 = 1_000;
/// While agents are held: ready agents of one requirement class and site that are looked at to find
/// one who is not. A contact that needs one further down the line waits until the hold is over.
pub const HELD_AGENTS_SKIPPED_MAX: usize = 64;

/// A caller's or called number, in bytes.
pub const NUMBER_LEN_MAX: usize = 64;
/// Reserved places (callers whose leg was lost by us) that are remembered.
pub const RESERVATIONS_MAX: usize = 100_000;
/// For how long a reserved place is remembered.
pub const RESERVATION_MS: u64 = 600_000;

const _: () = {
    assert!(CLASSES_MAX >= CLASSES_PER_QUEUE_MAX);
    assert!(APPLY_WORK_MAX >= SITES_MAX);
    assert!(CALENDAR_SPANS_MAX * 14 + CALENDAR_SOURCE_LEN_MAX < 60_000, "fits one command");
    assert!(RING_ALL_MAX > 1 && RING_ALL_MAX <= APPLY_WORK_MAX);
    assert!(CLUSTER_TIME_JUMP_MS_MAX >= RESERVATION_MS);
    assert!(
        CONFIRM_HOLD_MS < OFFER_BACKSTOP_MS,
        "no offer is longer on the way than an agent idle"
    );
    // Effective arrivals are i64: the largest shift must fit well inside.
    assert!(PRIORITY_STEP_MS * (PRIORITY_MAX as u64) < i64::MAX as u64 / 4);
};
