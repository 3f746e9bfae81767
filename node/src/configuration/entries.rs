//! What is configured, as documents say it: one table each for sites, queues, numbers and agents.
//!
//! **A new field of a rule is a line in its list here** (with its range, if it has one); reading it with its
//! errors, writing it, comparing it and showing the difference follow. Words and units are those of the API
//! (`api.proto`), which are those of the command line with the unit behind them. Times that are not said,
//! and everything else, have the defaults of the core's own types. A test holds the ranges here against
//! those of the core; another makes configurations up with every field there is, so that one without a line
//! is found.

use std::collections::{BTreeMap, BTreeSet};

use tandem_routing::{
    command::{AgentRules, AgentSpec, NumberRules, NumberSpec, QueueSpec, ServiceAbroad},
    entity::{ListUse, Tier},
    limits::{
        HYSTERESIS_PERCENT_MAX, LEVEL_MAX, PRIORITY_MAX, QUEUE_LENGTH_MAX, QUEUE_WEIGHT_MAX,
        RESERVE_LEVELS_MAX, RULE_AFTER_MS_MAX, SITE_WEIGHT_MAX, TIER_LEVEL_MAX, TIER_POSITION_MAX,
    },
    name::Name,
    requirement::NamedRequirement,
    rules::{
        AfterDecline, Also, AtClose, Balance, Hours, LastAgentRule, NamedQueueRules, Overflow,
        OwnRequirement, Step, Target, Trigger, Urgency,
    },
    time::Millis,
};

use super::{
    form::{Fields, Form, fields},
    reader::{Kind, Reader, Rule, Value, refers, within},
};

/// An hour in milliseconds.
const HOUR_MS: u64 = 3_600_000;
/// For how long a conversation may be remembered: a year.
const REMEMBERED_MS_MAX: u64 = 366 * RULE_AFTER_MS_MAX;

/// One thing that is configured.
pub(super) trait Entry: Fields + Clone + PartialEq {
    /// Which of the tables.
    const KIND: Kind;
    /// The key that names it.
    const NAMED_BY: &'static str = "name";

    fn name(&self) -> &Name;
}

/// A name for what has none yet; whoever reads a row without a name has noted that.
fn unnamed() -> Name {
    "-".parse().expect("a name of one character")
}

// --- sites ----------------------------------------------------------------------------------------

/// `[[site]]`. What is not said of a site stays as it is: nodes bring its region, rebalance plans change
/// its weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SiteEntry {
    pub(super) name: Name,
    pub(super) region: Option<Name>,
    pub(super) weight: Option<u16>,
}

impl SiteEntry {
    /// Of a new site.
    pub(super) const WEIGHT: u16 = SITE_WEIGHT_MAX;
}

fields! {
    SiteEntry,
    blank SiteEntry { name: unnamed(), region: None, weight: None },
    needed ["name"],
    elsewhere [
        "state": "a site's state is no configuration but a lever (tandem site open, drain, close)"
    ],
    {
        "name" => name;
        "region" => region;
        "weight" => weight, within(0_u16, SITE_WEIGHT_MAX);
    }
}

// --- queues ---------------------------------------------------------------------------------------

/// `[[queue]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QueueEntry {
    pub(super) spec: QueueSpec,
    pub(super) rules: NamedQueueRules,
}

fields! {
    QueueEntry,
    blank QueueEntry { spec: QueueSpec::named(unnamed()), rules: NamedQueueRules::default() },
    needed ["name"],
    {
        "name" => spec.name;
        "requirement" => spec.requirement;
        "strategy" => rules.strategy;
        "weight" => spec.weight, within(0_u8, QUEUE_WEIGHT_MAX);
        "site_choice" => spec.site_choice;
        "widen_after_ms" => spec.widen_after, within(0_u64, HOUR_MS);
        "ring_ms" => spec.ring, within(1_000_u64, 300_000_u64);
        "wrap_up_ms" => spec.wrap_up, within(0_u64, HOUR_MS);
        "wrap_up_max_ms" => rules.wrap_up_max, within(0_u64, RULE_AFTER_MS_MAX);
        "length_max" => spec.length_max, within(1_u32, QUEUE_LENGTH_MAX);
        "wait_max_ms" => spec.wait_max, within(0_u64, 24 * HOUR_MS);
        "answer_within_ms" => rules.answer_within, within(1_u64, RULE_AFTER_MS_MAX);
        "after_decline" => rules.after_decline;
        "reserve_after_ms" => rules.reserve_after, within(1_u64, RULE_AFTER_MS_MAX);
        "urgency" => rules.urgency;
        "last_agent" => rules.last_agent;
        "step" => rules.steps;
        "overflow" => rules.overflow;
        "hours" => rules.hours;
        "balance" => rules.balance;
        "also" => rules.also;
    }
}

fields! {
    Hours<Name>,
    blank Hours { calendar: unnamed(), at_close: AtClose::Stay },
    needed ["calendar"],
    {
        "calendar" => calendar;
        "leave_at_close" => at_close;
    }
}

fields! {
    Balance,
    blank Balance::default(),
    needed [],
    {
        "by" => by;
        "hysteresis_percent" => hysteresis_percent, within(0_u16, HYSTERESIS_PERCENT_MAX);
        "moves_per_minute_max" => moves_per_minute_max;
    }
}

fields! {
    AfterDecline,
    blank AfterDecline::default(),
    needed [],
    {
        "not_answered_ms" => not_answered, within(0_u64, HOUR_MS);
        "refused_ms" => refused, within(0_u64, HOUR_MS);
        "busy_ms" => busy, within(0_u64, HOUR_MS);
        "unreachable_ms" => unreachable, within(0_u64, HOUR_MS);
    }
}

fields! {
    Urgency,
    blank Urgency { after: Millis(1), advance: Millis(1) },
    needed ["after_ms", "advance_ms"],
    {
        "after_ms" => after, within(1_u64, RULE_AFTER_MS_MAX);
        "advance_ms" => advance, within(1_u64, RULE_AFTER_MS_MAX);
    }
}

fields! {
    LastAgentRule,
    blank LastAgentRule { patience: Millis(1), remembered: Millis(1) },
    needed ["patience_ms", "remembered_ms"],
    {
        "patience_ms" => patience, within(1_u64, HOUR_MS);
        "remembered_ms" => remembered, within(1_u64, REMEMBERED_MS_MAX);
    }
}

fields! {
    Step<NamedRequirement>,
    blank Step {
        after: Millis(1),
        requirement: NamedRequirement::anybody(),
        own: OwnRequirement::Kept,
    },
    needed ["after_ms", "requirement"],
    {
        "after_ms" => after, within(1_u64, RULE_AFTER_MS_MAX);
        "requirement" => requirement;
        "drop_own" => own;
    }
}

fields! {
    Also<Name>,
    blank Also { queue: unnamed(), after: Millis(0) },
    needed ["queue"],
    {
        "queue" => queue, refers(Kind::Queue);
        "after_ms" => after, within(0_u64, RULE_AFTER_MS_MAX);
    }
}

/// An overflow rule as it is said: one of the first five, and one of the last two.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct SaidOverflow {
    waited: Option<Millis>,
    length: Option<u32>,
    expected: Option<Millis>,
    unstaffed: bool,
    closed: bool,
    to: Option<Name>,
    away: bool,
}

fields! {
    SaidOverflow,
    blank SaidOverflow::default(),
    needed [],
    {
        "waited_ms" => waited, within(1_u64, RULE_AFTER_MS_MAX);
        "length" => length, within(1_u32, QUEUE_LENGTH_MAX);
        "expected_wait_ms" => expected, within(1_u64, RULE_AFTER_MS_MAX);
        "unstaffed" => unstaffed;
        "closed" => closed;
        "to" => to, refers(Kind::Queue);
        "away" => away;
    }
}

impl Form for Overflow<Name> {
    fn read(value: &Value<'_>, rule: Rule, reader: &mut Reader<'_>) -> Option<Self> {
        let before = reader.problems.len();
        let said = SaidOverflow::read(value, rule, reader)?;
        let when = [
            said.waited.map(Trigger::Waited),
            said.length.map(Trigger::Length),
            said.expected.map(Trigger::ExpectedWait),
            said.unstaffed.then_some(Trigger::Unstaffed),
            said.closed.then_some(Trigger::Closed),
        ];
        let to = [said.to.map(Target::Queue), said.away.then_some(Target::Away)];
        let mut when = when.into_iter().flatten();
        let mut to = to.into_iter().flatten();
        let both = (when.next(), when.next(), to.next(), to.next());
        let (Some(when), None, Some(to), None) = both else {
            if reader.problems.len() == before {
                let text = "an overflow says one thing of waited_ms, length, expected_wait_ms, \
                            unstaffed = true or closed = true, and one of to = \"QUEUE\" or away = true";
                reader.problem(reader.start(value), text);
            }
            return None;
        };
        Some(Self { when, to })
    }

    fn show(&self) -> Option<toml::Value> {
        let mut said = SaidOverflow::default();
        match self.when {
            Trigger::Waited(after) => said.waited = Some(after),
            Trigger::Length(length) => said.length = Some(length),
            Trigger::ExpectedWait(wait) => said.expected = Some(wait),
            Trigger::Unstaffed => said.unstaffed = true,
            Trigger::Closed => said.closed = true,
        }
        match &self.to {
            Target::Queue(to) => said.to = Some(to.clone()),
            Target::Away => said.away = true,
        }
        said.show()
    }
}

// --- numbers --------------------------------------------------------------------------------------

/// `[[number]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NumberEntry {
    pub(super) spec: NumberSpec,
    pub(super) rules: NumberRules,
}

fields! {
    NumberEntry,
    blank NumberEntry {
        spec: NumberSpec {
            number: unnamed(),
            queue: unnamed(),
            requirement: NamedRequirement::anybody(),
            priority: 0,
        },
        rules: NumberRules::default(),
    },
    needed ["number", "queue"],
    {
        "number" => spec.number;
        "queue" => spec.queue, refers(Kind::Queue);
        "requirement" => spec.requirement;
        "priority" => spec.priority, within(0_u8, PRIORITY_MAX);
        "prefer" => rules.prefers;
        "list" => rules.lists;
    }
}

/// What becomes of callers in a list, as it is said: one of the last three.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SaidList {
    list: Name,
    refuse: bool,
    only: bool,
    priority: Option<u8>,
}

fields! {
    SaidList,
    blank SaidList { list: unnamed(), refuse: false, only: false, priority: None },
    needed ["list"],
    {
        "list" => list;
        "refuse" => refuse;
        "only" => only;
        "priority" => priority, within(0_u8, PRIORITY_MAX);
    }
}

impl Form for (Name, ListUse) {
    fn read(value: &Value<'_>, rule: Rule, reader: &mut Reader<'_>) -> Option<Self> {
        let said = SaidList::read(value, rule, reader)?;
        let rules = [
            said.refuse.then_some(ListUse::Refuse),
            said.only.then_some(ListUse::Only),
            said.priority.map(ListUse::Priority),
        ];
        let mut rules = rules.into_iter().flatten();
        let (Some(rule), None) = (rules.next(), rules.next()) else {
            let text = "a list is for one thing of refuse = true, only = true or priority = 5";
            reader.problem(reader.start(value), text);
            return None;
        };
        Some((said.list, rule))
    }

    fn show(&self) -> Option<toml::Value> {
        let (list, rule) = self;
        let mut said = SaidList { list: list.clone(), ..SaidList::blank() };
        match rule {
            ListUse::Refuse => said.refuse = true,
            ListUse::Only => said.only = true,
            ListUse::Priority(priority) => said.priority = Some(*priority),
        }
        said.show()
    }
}

/// Whom callers ask for, as it is said.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SaidPrefer {
    agent: Name,
    patience: Millis,
}

fields! {
    SaidPrefer,
    blank SaidPrefer { agent: unnamed(), patience: Millis(1) },
    needed ["agent", "patience_ms"],
    {
        "agent" => agent, refers(Kind::Agent);
        "patience_ms" => patience, within(1_u64, HOUR_MS);
    }
}

impl Form for (Name, Millis) {
    fn read(value: &Value<'_>, rule: Rule, reader: &mut Reader<'_>) -> Option<Self> {
        SaidPrefer::read(value, rule, reader).map(|said| (said.agent, said.patience))
    }

    fn show(&self) -> Option<toml::Value> {
        SaidPrefer { agent: self.0.clone(), patience: self.1 }.show()
    }
}

// --- agents ---------------------------------------------------------------------------------------

/// `[[agent]]`. The password of their phone is no part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AgentEntry {
    pub(super) spec: AgentSpec,
    pub(super) rules: AgentRules,
}

fields! {
    AgentEntry,
    blank AgentEntry {
        spec: AgentSpec {
            name: unnamed(),
            site: unnamed(),
            skills: BTreeMap::new(),
            queues: BTreeSet::new(),
        },
        rules: AgentRules::default(),
    },
    needed ["name", "site"],
    elsewhere [
        "password": "secrets do not belong into documents (tandem agent password NAME --file FILE)",
        "skill": "say skills = { spanish = 7 }",
        "queue": "say queues = [\"sales\"]",
        "tier": "say tiers = { sales = { level = 2, position = 1 } }"
    ],
    {
        "name" => spec.name;
        "site" => spec.site, refers(Kind::Site);
        "queues" => spec.queues, refers(Kind::Queue);
        "skills" => spec.skills, within(1_u8, LEVEL_MAX);
        "tiers" => rules.tiers, refers(Kind::Queue);
        "reserve" => rules.reserves, refers(Kind::Queue).within(1_u64, RESERVE_LEVELS_MAX as u64);
        "attributes" => rules.attributes;
        "abroad" => rules.abroad;
    }
}

fields! {
    ServiceAbroad,
    blank ServiceAbroad::default(),
    needed [],
    {
        "queues" => queues;
        "skills" => skills, within(1_u8, LEVEL_MAX);
    }
}

fields! {
    Tier,
    blank Tier::default(),
    needed [],
    {
        "level" => level, within(1_u8, TIER_LEVEL_MAX);
        "position" => position, within(1_u16, TIER_POSITION_MAX);
    }
}

macro_rules! entry {
    ($type:ty, $kind:ident, $($name:ident).+ $(, $key:literal)?) => {
        impl Entry for $type {
            const KIND: Kind = Kind::$kind;
            $(const NAMED_BY: &'static str = $key;)?

            fn name(&self) -> &Name {
                &self.$($name).+
            }
        }
    };
}
entry!(SiteEntry, Site, name);
entry!(QueueEntry, Queue, spec.name);
entry!(NumberEntry, Number, spec.number, "number");
entry!(AgentEntry, Agent, spec.name);
