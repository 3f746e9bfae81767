//! Lines of a scenario that configure queues, numbers and agents.

use std::collections::BTreeMap;

use tandem_routing::{
    command::{
        AgentRules, AgentSpec, CalendarSpec, Command, ListSpec, MembershipSpec, NumberRules,
        NumberSpec, PlanSpec, QueueSpec, ServiceAbroad,
    },
    entity::{ListUse, Matches, OpenHours, Quotas, SiteChoice, Tier},
    ids::TenantId,
    name::{CallerNumber, Name},
    requirement::NamedRequirement,
    rules::{
        AfterDecline, Also, AtClose, Balance, Hours, LastAgentRule, Load, NamedQueueRules,
        Overflow, OwnRequirement, Step, Target, Trigger, Urgency,
    },
    strategy::Strategy,
    time::{Millis, UtcMillis},
};

use crate::{
    center::TENANT,
    script::{Line, millis, parsed},
};

/// What a line asks for.
///
/// # Errors
/// That it cannot be read.
pub(crate) fn command(line: &mut Line, tenant: TenantId) -> Result<Command, String> {
    let name: Name = line.word("the name").and_then(|word| parsed(&word))?;
    match line.verb.as_str() {
        "queue" => queue(tenant, name, line),
        "remove-queue" => Ok(Command::RemoveQueue { tenant, queue: name }),
        "retire" => {
            let to = line.setting("to", parsed)?.map_or(Target::Away, Target::Queue);
            Ok(Command::RetireQueue { tenant, queue: name, to })
        }
        "remove-agent" => Ok(Command::RemoveAgent { tenant, agent: name }),
        "number" => number(tenant, name, line),
        _ => agent(tenant, name, line),
    }
}

/// A rebalance plan: `plan weights=lon:20,fra:80 agents=amy:+sales,bob:-sales steps=4 every=10s`.
///
/// # Errors
/// That it cannot be read.
pub(crate) fn plan(line: &mut Line) -> Result<Command, String> {
    let moves = |text: &str| {
        let mut agents: BTreeMap<Name, MembershipSpec> = BTreeMap::new();
        for part in text.split(',') {
            let (agent, queue) = pair(part)?;
            let change = agents.entry(parsed(agent)?).or_default();
            match (queue.strip_prefix('+'), queue.strip_prefix('-')) {
                (Some(queue), _) => change.join.insert(parsed(queue)?),
                (_, Some(queue)) => change.leave.insert(parsed(queue)?),
                _ => return Err(format!("{queue:?} begins with neither + nor -")),
            };
        }
        Ok(agents)
    };
    let plan = PlanSpec {
        weights: line.setting("weights", map)?.unwrap_or_default(),
        agents: line.setting("agents", moves)?.unwrap_or_default(),
        steps: line.setting("steps", parsed)?.unwrap_or(1),
        every: line.setting("every", time)?.unwrap_or(Millis(1_000)),
    };
    Ok(Command::ApplyPlan { tenant: TENANT, plan: Box::new(plan) })
}

fn number(tenant: TenantId, number: Name, line: &mut Line) -> Result<Command, String> {
    let number = NumberSpec {
        number,
        queue: line.setting("queue", parsed)?.ok_or("queue= is missing")?,
        requirement: line.setting("requires", parsed)?.unwrap_or_else(NamedRequirement::anybody),
        priority: line.setting("priority", parsed)?.unwrap_or(0),
    };
    let prefers = line.setting("prefers", |text| {
        let (agent, patience) = pair(text)?;
        Ok((parsed(agent)?, time(patience)?))
    })?;
    let lists = line.setting("lists", |text| text.split(',').map(list_rule).collect())?;
    let rules = NumberRules { prefers, lists: lists.unwrap_or_default() };
    Ok(Command::ConfigureNumber { tenant, number, rules })
}

fn agent(tenant: TenantId, name: Name, line: &mut Line) -> Result<Command, String> {
    let agent = AgentSpec {
        name,
        site: line.setting("site", parsed)?.ok_or("site= is missing")?,
        skills: line.setting("skills", map)?.unwrap_or_default(),
        queues: line
            .setting("queues", |text| text.split(',').map(parsed).collect())?
            .unwrap_or_default(),
    };
    let rules = AgentRules {
        tiers: line.setting("tiers", tiers)?.unwrap_or_default(),
        reserves: line.setting("reserve", map)?.unwrap_or_default(),
        attributes: line.setting("attributes", map)?.unwrap_or_default(),
        abroad: line.setting("abroad", abroad)?.unwrap_or_default(),
    };
    Ok(Command::ConfigureAgent { tenant, agent, rules })
}

fn queue(tenant: TenantId, name: Name, line: &mut Line) -> Result<Command, String> {
    let default = QueueSpec { wrap_up: Millis(0), ..QueueSpec::named(name) };
    let queue = QueueSpec {
        requirement: line
            .setting("requires", parsed)?
            .unwrap_or_else(|| default.requirement.clone()),
        weight: line.setting("weight", parsed)?.unwrap_or(0),
        site_choice: match line.setting("sites", |t| Ok(t.to_owned()))?.as_deref() {
            None | Some("any") => SiteChoice::Any,
            Some("nearest") => SiteChoice::Nearest,
            Some("weighted") => SiteChoice::Weighted,
            Some("balanced") => SiteChoice::Balanced,
            Some(other) => return Err(format!("{other:?} is no choice of sites")),
        },
        widen_after: line.setting("widen", time)?.unwrap_or(default.widen_after),
        ring: line.setting("ring", time)?.unwrap_or(default.ring),
        wrap_up: line.setting("wrap-up", time)?.unwrap_or(default.wrap_up),
        length_max: line.setting("length", parsed)?.unwrap_or(default.length_max),
        wait_max: line.setting("wait-max", time)?.unwrap_or(default.wait_max),
        ..default
    };
    let strategy =
        |text: &str| Strategy::named(text).ok_or_else(|| format!("{text:?} is no strategy"));
    let rules = NamedQueueRules {
        strategy: line.setting("strategy", strategy)?.unwrap_or_default(),
        steps: line
            .setting("steps", |text| text.split(';').map(step).collect())?
            .unwrap_or_default(),
        reserve_after: line
            .setting("reserve-after", |text| text.split(',').map(time).collect())?
            .unwrap_or_default(),
        urgency: line.setting("urgent", |text| {
            let (after, advance) = pair(text)?;
            Ok(Urgency { after: time(after)?, advance: time(advance)? })
        })?,
        after_decline: AfterDecline {
            not_answered: line.setting("after-rona", time)?.unwrap_or_default(),
            refused: line.setting("after-refused", time)?.unwrap_or_default(),
            busy: line.setting("after-busy", time)?.unwrap_or_default(),
            unreachable: line.setting("after-unreachable", time)?.unwrap_or_default(),
        },
        wrap_up_max: line.setting("wrap-up-max", time)?.unwrap_or_default(),
        last_agent: line.setting("last-agent", |text| {
            let (patience, remembered) = pair(text)?;
            Ok(LastAgentRule { patience: time(patience)?, remembered: time(remembered)? })
        })?,
        overflow: line
            .setting("overflow", |text| text.split(',').map(overflow).collect())?
            .unwrap_or_default(),
        also: line.setting("also", |text| text.split(',').map(also).collect())?.unwrap_or_default(),
        hours: line.setting("hours", hours)?,
        balance: line.setting("balance", balance)?.unwrap_or_default(),
        answer_within: line.setting("answer-within", time)?.unwrap_or(Millis(20_000)),
    };
    Ok(Command::ConfigureQueue { tenant, queue, rules: Box::new(rules) })
}

/// `20s>other`, `length:5>other`, `expected:60s>away`, `unstaffed>other`.
fn overflow(text: &str) -> Result<Overflow<Name>, String> {
    let (when, to) = text.split_once('>').ok_or("write an overflow as 20s>queue")?;
    let when = match when.split_once(':') {
        Some(("length", length)) => Trigger::Length(parsed(length)?),
        Some(("expected", after)) => Trigger::ExpectedWait(time(after)?),
        None if when == "unstaffed" => Trigger::Unstaffed,
        None if when == "closed" => Trigger::Closed,
        _ => Trigger::Waited(time(when)?),
    };
    let to = if to == "away" { Target::Away } else { Target::Queue(parsed(to)?) };
    Ok(Overflow { when, to })
}

/// `20s>other`: from then on it waits there too.
fn also(text: &str) -> Result<Also<Name>, String> {
    let (after, queue) = text.split_once('>').ok_or("write a further queue as 20s>queue")?;
    Ok(Also { after: time(after)?, queue: parsed(queue)? })
}

/// `wait:20`, `occupancy:10:5`: what is equal, hysteresis in percent, moves a minute.
fn balance(text: &str) -> Result<Balance, String> {
    let mut parts = text.split(':');
    let by = match parts.next() {
        Some("wait") => Load::ExpectedWait,
        Some("occupancy") => Load::Occupancy,
        other => return Err(format!("{other:?} is nothing that is balanced")),
    };
    let hysteresis_percent = parts.next().map_or(Ok(20), parsed)?;
    let moves_per_minute_max = parts.next().map_or(Ok(0), parsed)?;
    Ok(Balance { by, hysteresis_percent, moves_per_minute_max })
}

/// `office`; with `!` at the end those who wait leave when it closes.
fn hours(text: &str) -> Result<Hours<Name>, String> {
    let (calendar, at_close) = match text.strip_suffix('!') {
        Some(calendar) => (calendar, AtClose::Leave),
        None => (text, AtClose::Stay),
    };
    Ok(Hours { calendar: parsed(calendar)?, at_close })
}

/// `pests:refuse`, `friends:only`, `vip:5`.
fn list_rule(text: &str) -> Result<(Name, ListUse), String> {
    let (list, rule) = pair(text)?;
    let rule = match rule {
        "refuse" => ListUse::Refuse,
        "only" => ListUse::Only,
        priority => ListUse::Priority(parsed(priority)?),
    };
    Ok((parsed(list)?, rule))
}

/// `acme:sales:spanish=3,other:help`.
fn abroad(text: &str) -> Result<BTreeMap<Name, ServiceAbroad>, String> {
    let mut all: BTreeMap<Name, ServiceAbroad> = BTreeMap::new();
    for part in text.split(',') {
        let (tenant, rest) = pair(part)?;
        let (queue, skill) = rest.split_once(':').map_or((rest, None), |(q, s)| (q, Some(s)));
        let service = all.entry(parsed(tenant)?).or_default();
        service.queues.insert(parsed(queue)?);
        if let Some((skill, level)) = skill.and_then(|skill| skill.split_once('=')) {
            service.skills.insert(parsed(skill)?, parsed(level)?);
        }
    }
    Ok(all)
}

/// Opening hours: `calendar office open=9h-17h,33h-41h until=48h`.
///
/// # Errors
/// That it cannot be read.
pub(crate) fn calendar(line: &mut Line) -> Result<Command, String> {
    let span = |text: &str| {
        let (from, to) = text.split_once('-').ok_or("write a span as 9h-17h")?;
        Ok(OpenHours { from: UtcMillis(millis(from)?), to: UtcMillis(millis(to)?) })
    };
    let calendar = CalendarSpec {
        name: line.word("the name").and_then(|word| parsed(&word))?,
        source: String::new(),
        open: line.setting("open", |text| text.split(',').map(span).collect())?.unwrap_or_default(),
        until: UtcMillis(line.setting("until", millis)?.ok_or("until= is missing")?),
    };
    Ok(Command::PutCalendar { tenant: TENANT, calendar })
}

/// Callers in a list: `list pests add=+441,+442* remove=+443`.
///
/// # Errors
/// That it cannot be read.
pub(crate) fn list(line: &mut Line) -> Result<Command, String> {
    let list = line.word("the list").and_then(|word| parsed(&word))?;
    let entry = |text: &str| {
        Ok(match text.strip_suffix('*') {
            Some(start) => (CallerNumber::new(start), Matches::Prefix),
            None => (CallerNumber::new(text), Matches::Exactly),
        })
    };
    let add = line.setting("add", |text| text.split(',').map(entry).collect())?;
    let remove =
        line.setting("remove", |text| Ok(text.split(',').map(CallerNumber::new).collect()))?;
    let (add, remove) = (add.unwrap_or_default(), remove.unwrap_or_default());
    Ok(Command::ChangeList { tenant: TENANT, change: ListSpec { list, add, remove } })
}

/// `tenant acme queues=1 contacts=5`.
///
/// # Errors
/// That it cannot be read.
pub(crate) fn tenant(line: &mut Line) -> Result<Command, String> {
    let name = line.word("the name").and_then(|word| parsed(&word))?;
    let quotas = Quotas {
        queues: line.setting("queues", parsed)?,
        numbers: line.setting("numbers", parsed)?,
        agents: line.setting("agents", parsed)?,
        contacts: line.setting("contacts", parsed)?,
    };
    Ok(Command::PutTenant { name, quotas })
}

/// `20s:spanish>=3`; with `!` at the end the number's own requirement counts no more.
fn step(text: &str) -> Result<Step<NamedRequirement>, String> {
    let (after, requirement) = pair(text)?;
    let (requirement, own) = match requirement.strip_suffix('!') {
        Some(requirement) => (requirement, OwnRequirement::Dropped),
        None => (requirement, OwnRequirement::Kept),
    };
    Ok(Step { after: time(after)?, requirement: parsed(requirement)?, own })
}

fn time(text: &str) -> Result<Millis, String> {
    millis(text).map(Millis)
}

fn pair(text: &str) -> Result<(&str, &str), String> {
    text.split_once(':').ok_or_else(|| format!("{text:?} has no ':' between its two parts"))
}

/// `spanish:7,billing:2`.
fn map<T: std::str::FromStr>(text: &str) -> Result<BTreeMap<Name, T>, String>
where
    T::Err: std::fmt::Display,
{
    let entry = |text: &str| {
        let (key, value) = pair(text)?;
        Ok((parsed(key)?, parsed(value)?))
    };
    text.split(',').map(entry).collect()
}

/// `sales:2:1,support:1:3`.
fn tiers(text: &str) -> Result<BTreeMap<Name, Tier>, String> {
    let tier = |text: &str| {
        let mut parts = text.split(':');
        let mut next = |what: &str| parts.next().ok_or(format!("{what} of a tier is missing"));
        let queue = parsed(next("the queue")?)?;
        Ok((
            queue,
            Tier { level: parsed(next("the level")?)?, position: parsed(next("the position")?)? },
        ))
    };
    text.split(',').map(tier).collect()
}
