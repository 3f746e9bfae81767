//! Records of the feed as the API says them.

use tandem_cluster::feed::{FeedRow, OverflowCause, Record, Standing, Thing, What};
use tandem_proto::api::v1::{CallerNumbers, Event};
use tandem_routing::{
    entity::{DeviceState, SiteState},
    ids::TenantId,
    name::{CallerNumber, Name},
};

use super::{
    explain::how as how_ended,
    read::{end_reason, reason_name},
};

/// The name of each kind.
pub(super) const KINDS: [&str; 19] = [
    "contact-entered",
    "contact-overflowed",
    "contact-moved",
    "offer-made",
    "offer-ended",
    "contact-connected",
    "contact-requeued",
    "contact-unconfirmed",
    "contact-confirmed",
    "contact-left",
    "contact-completed",
    "agent-logged-in",
    "agent-logged-out",
    "agent-changed",
    "agent-serves",
    "phone-changed",
    "plan-stepped",
    "site-changed",
    "configured",
];

/// The events of a stored row.
pub(super) fn events(row: FeedRow, numbers: CallerNumbers) -> impl Iterator<Item = Event> {
    let (index, position, head) = (row.index, row.position, row.head);
    row.records.into_iter().zip(0_u32..).map(move |(record, at)| {
        let Record { tenant, tenant_name, what } = record;
        let tenant = match (tenant, tenant_name) {
            (TenantId::CLUSTER, _) => String::new(),
            (TenantId::DEFAULT, _) => TenantId::DEFAULT_NAME.to_owned(),
            (_, Some(name)) => name.to_string(),
            (id, None) => id.to_string(),
        };
        Event {
            index,
            position: position + at,
            number: head.first + u64::from(at),
            cluster_time_ms: head.time.0,
            utc_ms: head.utc.map_or(0, |utc| utc.0),
            tenant,
            ..said(what, numbers)
        }
    })
}

/// What a record says, without where it stands.
fn said(what: What, numbers: CallerNumbers) -> Event {
    let kind = kind(&what).to_owned();
    let number = |caller: &CallerNumber| match numbers {
        CallerNumbers::Hidden => caller.to_string(),
        CallerNumbers::Shown => caller.expose().to_owned(),
    };
    let names = |names: &[Name]| names.iter().map(ToString::to_string).collect();
    let event = Event { kind, ..Event::default() };
    match what {
        What::ContactEntered {
            contact,
            queue,
            caller,
            called,
            site,
            priority,
            came_as,
            waited,
        } => Event {
            contact: contact.to_string(),
            queue: queue.to_string(),
            caller: number(&caller),
            called: called.to_string(),
            site: site.to_string(),
            priority: u32::from(priority),
            came_as,
            waited_ms: waited.0,
            ..event
        },
        What::ContactOverflowed {
            contact,
            from,
            to,
            caller,
            why,
            waited,
            in_queue,
            position,
            came_as,
            came_as_to,
        } => Event {
            contact: contact.to_string(),
            queue: from.to_string(),
            to_queue: to.to_string(),
            caller: number(&caller),
            reason: overflow(why).to_owned(),
            waited_ms: waited.0,
            in_queue_ms: in_queue.0,
            place: position,
            came_as,
            came_as_to,
            ..event
        },
        What::ContactMoved { contact, queue, from, to } => Event {
            contact: contact.to_string(),
            queue: queue.to_string(),
            site: from.to_string(),
            to_site: to.to_string(),
            ..event
        },
        What::OfferMade { contact, queue, offer, agent, site, waited } => Event {
            contact: contact.to_string(),
            queue: queue.to_string(),
            offer: offer.0,
            agent: agent.to_string(),
            site: site.to_string(),
            waited_ms: waited.0,
            ..event
        },
        What::OfferEnded { contact, queue, offer, agent, how, ring } => Event {
            contact: contact.to_string(),
            queue: queue.to_string(),
            offer: offer.0,
            agent: agent.to_string(),
            reason: how_ended(how).to_owned(),
            ring_ms: ring.0,
            ..event
        },
        What::ContactConnected { contact, queue, offer, agent, site, waited, in_queue, ring } => {
            Event {
                contact: contact.to_string(),
                queue: queue.to_string(),
                offer: offer.0,
                agent: agent.to_string(),
                site: site.to_string(),
                waited_ms: waited.0,
                in_queue_ms: in_queue.0,
                ring_ms: ring.0,
                ..event
            }
        }
        What::ContactRequeued {
            contact,
            queue,
            agent,
            caller,
            waited,
            in_queue,
            talk,
            came_as,
            position,
        } => Event {
            contact: contact.to_string(),
            queue: queue.to_string(),
            agent: agent.to_string(),
            caller: number(&caller),
            waited_ms: waited.0,
            in_queue_ms: in_queue.0,
            talk_ms: talk.0,
            came_as,
            place: position,
            ..event
        },
        What::ContactUnconfirmed { contact, queue } | What::ContactConfirmed { contact, queue } => {
            Event { contact: contact.to_string(), queue: queue.to_string(), ..event }
        }
        What::ContactLeft {
            contact,
            queue,
            reason,
            overflow: rule,
            waited,
            in_queue,
            position,
            came_as,
        } => Event {
            contact: contact.to_string(),
            queue: queue.to_string(),
            reason: rule.map_or(end_reason(reason), overflow).to_owned(),
            waited_ms: waited.0,
            in_queue_ms: in_queue.0,
            place: position,
            came_as,
            ..event
        },
        What::ContactCompleted {
            contact,
            queue,
            agent,
            reason,
            waited,
            in_queue,
            talk,
            came_as,
        } => Event {
            contact: contact.to_string(),
            queue: queue.to_string(),
            agent: agent.to_string(),
            reason: end_reason(reason).to_owned(),
            waited_ms: waited.0,
            in_queue_ms: in_queue.0,
            talk_ms: talk.0,
            came_as,
            ..event
        },
        What::AgentLoggedIn { agent, site, queues, standing } => {
            let (to, reason) = stands(&standing);
            let (agent, site, queues) = (agent.to_string(), site.to_string(), names(&queues));
            Event { agent, site, queues, to, reason, ..event }
        }
        What::AgentLoggedOut { agent, site, queues, logged_in } => Event {
            agent: agent.to_string(),
            site: site.to_string(),
            left_queues: names(&queues),
            lasted_ms: logged_in.0,
            ..event
        },
        What::AgentChanged { agent, site, from, to, lasted } => {
            let ((from, _), (to, reason)) = (stands(&from), stands(&to));
            let (agent, site, lasted_ms) = (agent.to_string(), site.to_string(), lasted.0);
            Event { agent, site, from, to, reason, lasted_ms, ..event }
        }
        What::AgentServes { agent, joined, left } => Event {
            agent: agent.to_string(),
            queues: names(&joined),
            left_queues: names(&left),
            ..event
        },
        What::DeviceChanged { agent, site, to } => Event {
            agent: agent.to_string(),
            site: site.to_string(),
            to: match to {
                DeviceState::Unregistered => "unregistered",
                DeviceState::Registered => "registered",
                DeviceState::Recovering => "recovering",
            }
            .to_owned(),
            ..event
        },
        What::PlanStepped { plan } => Event { plan: plan.0, ..event },
        What::SiteChanged { site, to } => Event {
            site: site.to_string(),
            to: match to {
                SiteState::Open => "open",
                SiteState::Draining => "draining",
                SiteState::Closed => "closed",
            }
            .to_owned(),
            ..event
        },
        What::Configured { thing, name } => {
            Event { thing: thing_name(thing).to_owned(), name: name.to_string(), ..event }
        }
    }
}

fn kind(what: &What) -> &'static str {
    match what {
        What::ContactEntered { .. } => "contact-entered",
        What::ContactOverflowed { .. } => "contact-overflowed",
        What::ContactMoved { .. } => "contact-moved",
        What::OfferMade { .. } => "offer-made",
        What::OfferEnded { .. } => "offer-ended",
        What::ContactConnected { .. } => "contact-connected",
        What::ContactRequeued { .. } => "contact-requeued",
        What::ContactUnconfirmed { .. } => "contact-unconfirmed",
        What::ContactConfirmed { .. } => "contact-confirmed",
        What::ContactLeft { .. } => "contact-left",
        What::ContactCompleted { .. } => "contact-completed",
        What::AgentLoggedIn { .. } => "agent-logged-in",
        What::AgentLoggedOut { .. } => "agent-logged-out",
        What::AgentChanged { .. } => "agent-changed",
        What::AgentServes { .. } => "agent-serves",
        What::DeviceChanged { .. } => "phone-changed",
        What::PlanStepped { .. } => "plan-stepped",
        What::SiteChanged { .. } => "site-changed",
        What::Configured { .. } => "configured",
    }
}

/// A state in a word, with its reason.
fn stands(standing: &Standing) -> (String, String) {
    match standing {
        Standing::Serving => ("serving".to_owned(), String::new()),
        Standing::WrapUp => ("wrap-up".to_owned(), String::new()),
        Standing::NotReady(why) => ("not-ready".to_owned(), reason_name(why)),
    }
}

fn overflow(why: OverflowCause) -> &'static str {
    match why {
        OverflowCause::Waited => "waited",
        OverflowCause::Arrival => "on-arrival",
        OverflowCause::Unstaffed => "unstaffed",
        OverflowCause::Closed => "closed",
        OverflowCause::Retired => "retired",
    }
}

fn thing_name(thing: Thing) -> &'static str {
    match thing {
        Thing::Site => "site",
        Thing::Queue => "queue",
        Thing::Number => "number",
        Thing::Agent => "agent",
        Thing::Calendar => "calendar",
        Thing::Tenant => "tenant",
        Thing::List => "list",
    }
}

#[cfg(test)]
mod tests {
    use tandem_routing::{
        ids::Ordinal,
        time::{ClusterTime, UtcMillis},
    };

    use super::*;

    // Goal: events stand where their row says, with its tenant's name; a caller's number is shown to those
    // only who asked for it, and each kind has a name that can be asked for.
    #[test]
    fn rows_become_events() {
        let entered = What::ContactEntered {
            contact: tandem_cluster::ids::ContactId::default(),
            queue: "sales".parse().unwrap(),
            caller: CallerNumber::new("+442071838750"),
            called: "100".parse().unwrap(),
            site: "lon".parse().unwrap(),
            priority: 0,
            came_as: 1,
            waited: tandem_routing::time::Millis(0),
        };
        let plan = What::PlanStepped { plan: Ordinal(5) };
        let record =
            |what| Record { tenant: TenantId(7), tenant_name: Some("acme".parse().unwrap()), what };
        let row = FeedRow {
            index: 40,
            position: 3,
            head: tandem_cluster::feed::RowHead {
                first: 900,
                previous: 39,
                time: ClusterTime(5),
                utc: Some(UtcMillis(8)),
                count: 2,
            },
            records: vec![record(entered), record(plan)],
        };
        for (numbers, shown) in
            [(CallerNumbers::Hidden, "…50"), (CallerNumbers::Shown, "+442071838750")]
        {
            let made: Vec<Event> = events(row.clone(), numbers).collect();
            let at: Vec<_> = made
                .iter()
                .map(|event| (event.index, event.position, event.number, event.utc_ms))
                .collect();
            assert_eq!(at, [(40, 3, 900, 8), (40, 4, 901, 8)]);
            assert_eq!((made[0].caller.as_str(), made[0].tenant.as_str()), (shown, "acme"));
            assert!(made.iter().all(|event| KINDS.contains(&event.kind.as_str())));
        }
    }
}
