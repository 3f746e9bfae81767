//! Rules of queues between the wire and the queue.

use tandem_proto::api::v1 as api;
use tandem_routing::{
    entity::ListUse,
    ids::QueueId,
    name::Name,
    rules::{
        AfterDecline, Also, AtClose, Balance, BoundQueueRules, Hours, LastAgentRule, Load,
        NamedQueueRules, Overflow, OwnRequirement, Step, Target, Trigger, Urgency,
    },
    strategy::Strategy,
    time::Millis,
};
use tonic::Status;

use super::{name, narrow, queues::requirement, read::View};

/// The rules of a queue as it is asked for.
pub(super) fn queue(queue: &api::Queue) -> Result<NamedQueueRules, Status> {
    let after = queue.after_decline.unwrap_or_default();
    let step = |step: &api::Step| {
        Ok::<_, Status>(Step {
            after: Millis(step.after_ms),
            requirement: requirement(&step.requirement)?,
            own: if step.drop_own { OwnRequirement::Dropped } else { OwnRequirement::Kept },
        })
    };
    Ok(NamedQueueRules {
        strategy: strategy(&queue.strategy)?,
        steps: queue.steps.iter().map(step).collect::<Result<_, _>>()?,
        reserve_after: queue.reserve_after_ms.iter().copied().map(Millis).collect(),
        urgency: queue.urgency.map(|urgency| Urgency {
            after: Millis(urgency.after_ms),
            advance: Millis(urgency.advance_ms),
        }),
        after_decline: AfterDecline {
            not_answered: Millis(after.not_answered_ms),
            refused: Millis(after.refused_ms),
            busy: Millis(after.busy_ms),
            unreachable: Millis(after.unreachable_ms),
        },
        wrap_up_max: Millis(queue.wrap_up_max_ms),
        answer_within: match queue.answer_within_ms {
            0 => NamedQueueRules::default().answer_within,
            within => Millis(within),
        },
        overflow: queue.overflow.iter().map(overflow).collect::<Result<_, _>>()?,
        also: queue.also.iter().map(also).collect::<Result<_, _>>()?,
        hours: queue.hours.as_ref().map(hours).transpose()?,
        balance: queue.balance.as_ref().map(balance).transpose()?.unwrap_or_default(),
        last_agent: queue.last_agent.map(|last| LastAgentRule {
            patience: Millis(last.patience_ms),
            remembered: Millis(last.remembered_ms),
        }),
    })
}

fn balance(balance: &api::Balance) -> Result<Balance, Status> {
    Ok(Balance {
        by: match balance.by.as_str() {
            "expected-wait" | "" => Load::ExpectedWait,
            "occupancy" => Load::Occupancy,
            other => {
                return Err(Status::invalid_argument(format!(
                    "balance by {other:?} is none of expected-wait, occupancy"
                )));
            }
        },
        hysteresis_percent: narrow("hysteresis_percent", balance.hysteresis_percent)?,
        moves_per_minute_max: balance.moves_per_minute_max,
    })
}

fn show_balance(balance: Balance) -> api::Balance {
    let by = match balance.by {
        Load::ExpectedWait => "expected-wait",
        Load::Occupancy => "occupancy",
    };
    api::Balance {
        by: by.to_owned(),
        hysteresis_percent: balance.hysteresis_percent.into(),
        moves_per_minute_max: balance.moves_per_minute_max,
    }
}

fn hours(hours: &api::Hours) -> Result<Hours<Name>, Status> {
    let at_close = if hours.leave_at_close { AtClose::Leave } else { AtClose::Stay };
    Ok(Hours { calendar: name("calendar", &hours.calendar)?, at_close })
}

/// What becomes of callers who are in a list.
pub(super) fn list_rule(rule: &api::ListRule) -> Result<(Name, ListUse), Status> {
    use api::list_rule::Rule;
    let list = name("list", &rule.list)?;
    let rule = match rule.rule {
        Some(Rule::Refuse(_)) => ListUse::Refuse,
        Some(Rule::Only(_)) => ListUse::Only,
        Some(Rule::Priority(priority)) => ListUse::Priority(narrow("priority", priority)?),
        None => {
            return Err(Status::invalid_argument(format!(
                "the rule for list {list} says nothing: refuse, only or a priority"
            )));
        }
    };
    Ok((list, rule))
}

/// Shows what becomes of callers who are in a list.
pub(super) fn show_list_rule((list, rule): &(Name, ListUse)) -> api::ListRule {
    use api::list_rule::Rule;
    let rule = match rule {
        ListUse::Refuse => Rule::Refuse(true),
        ListUse::Only => Rule::Only(true),
        ListUse::Priority(priority) => Rule::Priority((*priority).into()),
    };
    api::ListRule { list: list.to_string(), rule: Some(rule) }
}

fn overflow(rule: &api::Overflow) -> Result<Overflow<Name>, Status> {
    use api::overflow::When;
    let when = match rule.when {
        Some(When::Length(length)) => Trigger::Length(length),
        Some(When::ExpectedWaitMs(ms)) => Trigger::ExpectedWait(Millis(ms)),
        Some(When::Unstaffed(_)) => Trigger::Unstaffed,
        Some(When::Closed(_)) => Trigger::Closed,
        Some(When::WaitedMs(ms)) => Trigger::Waited(Millis(ms)),
        None => return Err(Status::invalid_argument("an overflow says not when")),
    };
    let to =
        if rule.to.is_empty() { Target::Away } else { Target::Queue(name("overflow", &rule.to)?) };
    Ok(Overflow { when, to })
}

fn also(rule: &api::Also) -> Result<Also<Name>, Status> {
    Ok(Also { after: Millis(rule.after_ms), queue: name("also", &rule.queue)? })
}

fn show_overflow(view: &View<'_>, rule: &Overflow<QueueId>) -> api::Overflow {
    use api::overflow::When;
    let when = match rule.when {
        Trigger::Length(length) => When::Length(length),
        Trigger::ExpectedWait(ms) => When::ExpectedWaitMs(ms.0),
        Trigger::Unstaffed => When::Unstaffed(true),
        Trigger::Closed => When::Closed(true),
        Trigger::Waited(ms) => When::WaitedMs(ms.0),
    };
    let to = match rule.to {
        Target::Queue(to) => view.queue_name(to),
        Target::Away => String::new(),
    };
    api::Overflow { when: Some(when), to }
}

/// Shows the rules of a queue.
pub(super) fn show(view: &View<'_>, rules: &BoundQueueRules, queue: &mut api::Queue) {
    let after = rules.after_decline;
    queue.strategy = rules.strategy.as_str().to_owned();
    queue.steps = rules
        .steps
        .iter()
        .map(|step| api::Step {
            after_ms: step.after.0,
            requirement: view.requirement(&step.requirement),
            drop_own: step.own == OwnRequirement::Dropped,
        })
        .collect();
    queue.reserve_after_ms = rules.reserve_after.iter().map(|after| after.0).collect();
    queue.urgency = rules
        .urgency
        .map(|urgency| api::Urgency { after_ms: urgency.after.0, advance_ms: urgency.advance.0 });
    queue.after_decline = Some(api::AfterDecline {
        not_answered_ms: after.not_answered.0,
        refused_ms: after.refused.0,
        busy_ms: after.busy.0,
        unreachable_ms: after.unreachable.0,
    });
    queue.overflow = rules.overflow.iter().map(|rule| show_overflow(view, rule)).collect();
    let also = |also: &Also<QueueId>| api::Also {
        queue: view.queue_name(also.queue),
        after_ms: also.after.0,
    };
    queue.also = rules.also.iter().map(also).collect();
    queue.answer_within_ms = rules.answer_within.0;
    queue.wrap_up_max_ms = rules.wrap_up_max.0;
    queue.balance = Some(show_balance(rules.balance));
    queue.hours = rules.hours.as_ref().map(|hours| api::Hours {
        calendar: view.calendar_name(hours.calendar),
        leave_at_close: hours.at_close == AtClose::Leave,
    });
    queue.last_agent = rules.last_agent.map(|last| api::LastAgent {
        patience_ms: last.patience.0,
        remembered_ms: last.remembered.0,
    });
}

fn strategy(text: &str) -> Result<Strategy, Status> {
    if text.is_empty() {
        return Ok(Strategy::default());
    }
    Strategy::named(text).ok_or_else(|| {
        let known: Vec<&str> = Strategy::ALL.iter().map(|(_, name)| *name).collect();
        Status::invalid_argument(format!("strategy {text:?} is none of {}", known.join(", ")))
    })
}
