//! Checks of plain values, the same for all commands.

use std::collections::BTreeMap;

use super::{
    AgentRules, AgentSpec, CalendarSpec, ListSpec, NumberRules, NumberSpec, PlanSpec, QueueSpec,
    Rejection,
};
use crate::{
    entity::{ListUse, Tier},
    limits::{
        ALSO_MAX, ATTRIBUTES_PER_AGENT_MAX, CALENDAR_SOURCE_LEN_MAX, CALENDAR_SPANS_MAX,
        HYSTERESIS_PERCENT_MAX, LEVEL_MAX, LIST_CHANGES_MAX, LISTS_PER_NUMBER_MAX, OVERFLOWS_MAX,
        PLAN_AGENTS_MAX, PLAN_STEPS_MAX, PRIORITY_MAX, QUEUE_LENGTH_MAX, QUEUE_WEIGHT_MAX,
        QUEUES_PER_AGENT_MAX, RESERVE_LEVELS_MAX, RULE_AFTER_MS_MAX, SITE_WEIGHT_MAX,
        SKILLS_PER_AGENT_MAX, STEPS_MAX, TIER_LEVEL_MAX, TIER_POSITION_MAX,
    },
    name::{CallerNumber, Name},
    requirement::NamedRequirement,
    rules::{NamedQueueRules, Trigger},
    time::Millis,
};

fn requirement(requirement: &NamedRequirement) -> Result<(), Rejection> {
    requirement.check().map_err(|e| Rejection::BadRequirement(e.to_string()))
}

pub(crate) fn queue(spec: &QueueSpec) -> Result<(), Rejection> {
    requirement(&spec.requirement)?;
    within("weight", spec.weight, 0, QUEUE_WEIGHT_MAX)?;
    within("length_max", spec.length_max, 1, QUEUE_LENGTH_MAX)?;
    within("ring_ms", spec.ring.0, 1_000, 300_000)?;
    within("wrap_up_ms", spec.wrap_up.0, 0, 3_600_000)?;
    within("widen_after_ms", spec.widen_after.0, 0, 3_600_000)?;
    within("wait_max_ms", spec.wait_max.0, 0, 86_400_000)
}

pub(crate) fn queue_rules(rules: &NamedQueueRules) -> Result<(), Rejection> {
    within("steps", rules.steps.len() as u64, 0, STEPS_MAX as u64)?;
    for step in &rules.steps {
        requirement(&step.requirement)?;
        within("step_after_ms", step.after.0, 1, RULE_AFTER_MS_MAX)?;
    }
    rising("steps", rules.steps.iter().map(|step| step.after))?;
    within("reserve_after", rules.reserve_after.len() as u64, 0, RESERVE_LEVELS_MAX as u64)?;
    for after in &rules.reserve_after {
        within("reserve_after_ms", after.0, 1, RULE_AFTER_MS_MAX)?;
    }
    rising("reserve_after", rules.reserve_after.iter().copied())?;
    if let Some(urgency) = rules.urgency {
        within("urgency_after_ms", urgency.after.0, 1, RULE_AFTER_MS_MAX)?;
        within("urgency_advance_ms", urgency.advance.0, 1, RULE_AFTER_MS_MAX)?;
    }
    let pauses = rules.after_decline;
    for pause in [pauses.not_answered, pauses.refused, pauses.busy, pauses.unreachable] {
        within("after_decline_ms", pause.0, 0, 3_600_000)?;
    }
    within("wrap_up_max_ms", rules.wrap_up_max.0, 0, RULE_AFTER_MS_MAX)?;
    if let Some(last) = rules.last_agent {
        within("last_agent_patience_ms", last.patience.0, 1, 3_600_000)?;
        within("last_agent_remembered_ms", last.remembered.0, 1, 366 * RULE_AFTER_MS_MAX)?;
    }
    within("overflow", rules.overflow.len() as u64, 0, OVERFLOWS_MAX as u64)?;
    for rule in &rules.overflow {
        match rule.when {
            Trigger::Length(length) => within("overflow_length", length, 1, QUEUE_LENGTH_MAX)?,
            Trigger::ExpectedWait(after) | Trigger::Waited(after) => {
                within("overflow_after_ms", after.0, 1, RULE_AFTER_MS_MAX)?;
            }
            Trigger::Unstaffed | Trigger::Closed => {}
        }
    }
    within("also", rules.also.len() as u64, 0, ALSO_MAX as u64)?;
    for also in &rules.also {
        within("also_after_ms", also.after.0, 0, RULE_AFTER_MS_MAX)?;
    }
    within("hysteresis_percent", rules.balance.hysteresis_percent, 0, HYSTERESIS_PERCENT_MAX)?;
    within("answer_within_ms", rules.answer_within.0, 1, RULE_AFTER_MS_MAX)
}

/// Each is later than the one before.
fn rising(field: &str, times: impl Iterator<Item = Millis>) -> Result<(), Rejection> {
    let mut last = Millis(0);
    for time in times {
        if time <= last {
            return Err(Rejection::range(field, format_args!("after {last}, rising"), time.0));
        }
        last = time;
    }
    Ok(())
}

pub(crate) fn number(spec: &NumberSpec) -> Result<(), Rejection> {
    requirement(&spec.requirement)?;
    priority(spec.priority)
}

pub(crate) fn priority(priority: u8) -> Result<(), Rejection> {
    within("priority", priority, 0, PRIORITY_MAX)
}

pub(crate) fn number_rules(rules: &NumberRules) -> Result<(), Rejection> {
    if let Some((_, patience)) = &rules.prefers {
        within("patience_ms", patience.0, 1, 3_600_000)?;
    }
    within("lists", rules.lists.len() as u64, 0, LISTS_PER_NUMBER_MAX as u64)?;
    rules.lists.iter().try_for_each(|(_, rule)| match rule {
        ListUse::Priority(of_list) => priority(*of_list),
        ListUse::Refuse | ListUse::Only => Ok(()),
    })
}

pub(crate) fn calendar(spec: &CalendarSpec) -> Result<(), Rejection> {
    within("spans of opening hours", spec.open.len() as u64, 0, CALENDAR_SPANS_MAX as u64)?;
    let source = spec.source.len() as u64;
    within("length of the source", source, 0, CALENDAR_SOURCE_LEN_MAX as u64)?;
    let mut last = 0;
    for hours in &spec.open {
        if hours.from.0 < last || hours.to <= hours.from || hours.to > spec.until {
            let allowed = "rising spans that end before the calendar does";
            return Err(Rejection::range("opening hours", allowed, hours.from.0));
        }
        last = hours.to.0;
    }
    Ok(())
}

pub(crate) fn list(spec: &ListSpec) -> Result<(), Rejection> {
    let changes = spec.add.len() + spec.remove.len();
    within("callers of one change", changes as u64, 1, LIST_CHANGES_MAX as u64)?;
    if spec.add.keys().any(CallerNumber::is_withheld) {
        return Err(Rejection::range("length of a listed number", "at least 1", 0_u64));
    }
    Ok(())
}

pub(crate) fn agent_rules(rules: &AgentRules) -> Result<(), Rejection> {
    rules.tiers.values().try_for_each(|tier_of_queue| tier(*tier_of_queue))?;
    for level in rules.reserves.values() {
        within("reserve level", u64::from(*level), 1, RESERVE_LEVELS_MAX as u64)?;
    }
    for abroad in rules.abroad.values() {
        levels(&abroad.skills)?;
    }
    within("attributes", rules.attributes.len() as u64, 0, ATTRIBUTES_PER_AGENT_MAX as u64)
}

fn levels(skills: &BTreeMap<Name, u8>) -> Result<(), Rejection> {
    skills.values().try_for_each(|level| within("level", *level, 1, LEVEL_MAX))
}

pub(crate) fn agent(spec: &AgentSpec) -> Result<(), Rejection> {
    levels(&spec.skills)?;
    skills_of_agent(spec.skills.len())?;
    queues_of_agent(spec.queues.len())
}

pub(crate) fn skills_of_agent(count: usize) -> Result<(), Rejection> {
    within("skills", count as u64, 0, SKILLS_PER_AGENT_MAX as u64)
}

fn tier(tier: Tier) -> Result<(), Rejection> {
    within("level of a tier", tier.level, 1, TIER_LEVEL_MAX)?;
    within("position in a tier", tier.position, 1, TIER_POSITION_MAX)
}

pub(crate) fn queues_of_agent(count: usize) -> Result<(), Rejection> {
    within("queues", count as u64, 0, QUEUES_PER_AGENT_MAX as u64)
}

pub(crate) fn plan(plan: &PlanSpec) -> Result<(), Rejection> {
    plan.weights.values().try_for_each(|weight| site_weight(*weight))?;
    within("agents of a plan", plan.agents.len() as u64, 0, PLAN_AGENTS_MAX as u64)?;
    within("steps", plan.steps, 1, PLAN_STEPS_MAX)?;
    within("every_ms", plan.every.0, 1, 3_600_000)
}

pub(crate) fn site_weight(weight: u16) -> Result<(), Rejection> {
    within("weight", weight, 0, SITE_WEIGHT_MAX)
}

/// Room for one more of `what`.
pub(crate) fn room(what: &str, len: usize, limit: usize) -> Result<(), Rejection> {
    if len < limit { Ok(()) } else { Err(Rejection::limit(what, limit)) }
}

fn within<T: Into<u64>>(field: &str, given: T, min: T, max: T) -> Result<(), Rejection> {
    let (given, min, max) = (given.into(), min.into(), max.into());
    if (min..=max).contains(&given) {
        Ok(())
    } else {
        Err(Rejection::range(field, format_args!("{min} to {max}"), given))
    }
}
