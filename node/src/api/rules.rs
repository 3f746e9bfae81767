//! Rules of queues between the wire and the queue.

use tandem_proto::api::v1 as api;
use tandem_routing::{
    ids::QueueId,
    name::Name,
    rules::{
        AfterDecline, BoundQueueRules, LastAgentRule, NamedQueueRules, Overflow, OwnRequirement,
        Step, Target, Trigger, Urgency,
    },
    strategy::Strategy,
    time::Millis,
};
use tonic::Status;

use super::{name, queues::requirement, read::View};

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
        last_agent: queue.last_agent.map(|last| LastAgentRule {
            patience: Millis(last.patience_ms),
            remembered: Millis(last.remembered_ms),
        }),
    })
}

fn overflow(rule: &api::Overflow) -> Result<Overflow<Name>, Status> {
    use api::overflow::When;
    let when = match rule.when {
        Some(When::Length(length)) => Trigger::Length(length),
        Some(When::ExpectedWaitMs(ms)) => Trigger::ExpectedWait(Millis(ms)),
        Some(When::Unstaffed(_)) => Trigger::Unstaffed,
        Some(When::WaitedMs(ms)) => Trigger::Waited(Millis(ms)),
        None => return Err(Status::invalid_argument("an overflow says not when")),
    };
    let to =
        if rule.to.is_empty() { Target::Away } else { Target::Queue(name("overflow", &rule.to)?) };
    Ok(Overflow { when, to })
}

fn show_overflow(view: &View<'_>, rule: &Overflow<QueueId>) -> api::Overflow {
    use api::overflow::When;
    let when = match rule.when {
        Trigger::Length(length) => When::Length(length),
        Trigger::ExpectedWait(ms) => When::ExpectedWaitMs(ms.0),
        Trigger::Unstaffed => When::Unstaffed(true),
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
    queue.answer_within_ms = rules.answer_within.0;
    queue.wrap_up_max_ms = rules.wrap_up_max.0;
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
