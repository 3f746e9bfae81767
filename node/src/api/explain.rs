//! Explanations in the API's words.

use tandem_cluster::{history::EndedContact, ids::ContactId};
use tandem_proto::api::v1 as api;
use tandem_routing::{
    command::{DeclineCause, OfferEnd, Rejection},
    entity::{Agent, Choice, Contact, ContactState, Decision, Occasion},
    explain::{self, Then, WhyNot},
    name::Name,
    time::ClusterTime,
};

use super::read::{View, reason_name};

/// Agents in one answer, when nothing else is asked for.
pub(super) const LIMIT: usize = 200;
/// Agents in one answer at most.
pub(super) const LIMIT_MAX: usize = 10_000;

/// Explains a contact that is live.
pub(super) fn live(
    view: View<'_>,
    contact: &Contact,
    only: Option<&Name>,
    limit: usize,
) -> Result<api::Explanation, Rejection> {
    let state = view.machine.queue();
    let waits = matches!(contact.state, ContactState::Queued | ContactState::Unconfirmed);
    let ahead = if waits { explain::ahead(state, contact) as u64 } else { 0 };
    let reason = |agent: &Agent| match &contact.decision {
        Some(decision) if !waits => then(view, contact, decision, agent),
        _ => match explain::why_not(state, contact, agent) {
            Some(why) => why_not(view, agent, &why),
            // Its offer was made before decisions were kept.
            None => ("changed-since", "why it went to its agent was not kept".to_owned()),
        },
    };
    let shown = api::Explanation {
        contact: Some(view.contact(contact)),
        ahead,
        ..of_row(view, contact, view.now)
    };
    with_agents(view, contact, only, limit, shown, reason)
}

/// Explains a contact of the history.
pub(super) fn ended(
    view: View<'_>,
    ended: &EndedContact,
    only: Option<&Name>,
    limit: usize,
) -> Result<api::Explanation, Rejection> {
    let contact = &ended.contact;
    let reason = |agent: &Agent| match &contact.decision {
        Some(decision) => then(view, contact, decision, agent),
        None => ("changed-since", "the contact ended before anybody was asked".to_owned()),
    };
    let shown =
        api::Explanation { contact: Some(view.ended(ended)), ..of_row(view, contact, view.now) };
    with_agents(view, contact, only, limit, shown, reason)
}

fn with_agents(
    view: View<'_>,
    contact: &Contact,
    only: Option<&Name>,
    limit: usize,
    mut shown: api::Explanation,
    reason: impl Fn(&Agent) -> (&'static str, String),
) -> Result<api::Explanation, Rejection> {
    let state = view.machine.queue();
    let row = |agent: &Agent| {
        let (why, detail) = reason(agent);
        api::AgentReason {
            name: view.agent_name(agent.id),
            site: view.site_name(agent.site),
            why: why.to_owned(),
            detail,
        }
    };
    if let Some(name) = only {
        let agent = state.agent_named(contact.tenant, name);
        let agent = agent.ok_or_else(|| Rejection::AgentMustExist(name.clone()))?;
        shown.agents.push(row(agent));
        return Ok(shown);
    }
    let serves = |agent: &&Agent| agent.queues.iter().any(|queue| contact.waits_in(*queue));
    let mut serving = state.agents().iter().filter(serves);
    shown.agents = serving.by_ref().take(limit).map(row).collect();
    shown.more_agents = serving.next().is_some();
    Ok(shown)
}

/// What the row itself tells.
fn of_row(view: View<'_>, contact: &Contact, now: ClusterTime) -> api::Explanation {
    let failed_offers = contact.failed_offers.iter().map(|failed| api::FailedOffer {
        offer: failed.offer.0,
        agent: view.agent_name(failed.agent),
        ago_ms: now.since(failed.at).0,
        how: how(failed.how).to_owned(),
    });
    api::Explanation {
        decision: contact.decision.as_ref().map(|decision| of_decision(view, decision, now)),
        failed_offers: failed_offers.collect(),
        ..api::Explanation::default()
    }
}

fn of_decision(view: View<'_>, decision: &Decision, now: ClusterTime) -> api::Decision {
    let next = decision.next;
    api::Decision {
        offer: decision.offer.0,
        ago_ms: now.since(decision.at).0,
        agent: view.agent_name(decision.agent),
        site: view.site_name(decision.site),
        occasion: match decision.occasion {
            Occasion::ContactWanted => "contact-wanted",
            Occasion::AgentReady => "agent-ready",
            Occasion::Sweep => "sweep",
        }
        .to_owned(),
        choice: match decision.choice {
            Choice::Preferred => "preferred",
            Choice::PreferredSite => "preferred-site",
            Choice::Best => "best",
            Choice::LastResort => "last-resort",
        }
        .to_owned(),
        strategy: decision.strategy.as_str().to_owned(),
        rank: decision.standing.rank,
        idle_ms: decision.at.since(decision.standing.idle_since).0,
        next_agent: next.map(|next| view.agent_name(next.agent)).unwrap_or_default(),
        next_rank: next.map_or(0, |next| next.rank),
        next_idle_ms: next.map_or(0, |next| decision.at.since(next.idle_since).0),
        step: u32::from(decision.stage.step),
        reserve_levels: u32::from(decision.stage.reserve),
        queue_len: decision.queue_len,
        queue: view.queue_name(decision.queue),
    }
}

pub(super) fn how(how: OfferEnd) -> &'static str {
    match how {
        OfferEnd::Accepted => "accepted",
        OfferEnd::Declined(DeclineCause::NotAnswered) => "not-answered",
        OfferEnd::Declined(DeclineCause::Refused) => "refused",
        OfferEnd::Declined(DeclineCause::Busy) => "phone-busy",
        OfferEnd::Declined(DeclineCause::DeviceFailed) => "phone-failed",
        OfferEnd::Declined(DeclineCause::NodeFailed) => "node-failed",
        OfferEnd::Expired => "expired",
        OfferEnd::ContactGone | OfferEnd::Withdrawn => "withdrawn",
        OfferEnd::AnsweredElsewhere => "answered-elsewhere",
        OfferEnd::OwnerLost => "node-lost",
    }
}

fn then(
    view: View<'_>,
    contact: &Contact,
    decision: &Decision,
    agent: &Agent,
) -> (&'static str, String) {
    match explain::then(view.machine.queue(), contact, decision, agent) {
        Then::Chosen => ("chosen", String::new()),
        Then::Next => ("next", "would have been asked next".to_owned()),
        Then::Not(why) => why_not(view, agent, &why),
        Then::StoodBehind => ("stood-behind", "was ready, and stood behind".to_owned()),
        Then::ChangedSince => {
            ("changed-since", "was not ready at that moment, or stood behind".to_owned())
        }
    }
}

/// Another tenant's agent is shown with what the contact asks of them, and not with what they do otherwise.
fn why_not(view: View<'_>, agent: &Agent, why: &WhyNot) -> (&'static str, String) {
    let (word, detail) = in_words(view, why);
    let of_contact = matches!(
        why,
        WhyNot::Lacks(_)
            | WhyNot::InReserve(_)
            | WhyNot::SiteTakesNone(_)
            | WhyNot::WaitsFor(..)
            | WhyNot::KeptForSite(..)
            | WhyNot::BeingConfirmed
            | WhyNot::UnderWay
    );
    if agent.tenant == view.tenant || of_contact { (word, detail) } else { (word, String::new()) }
}

fn in_words(view: View<'_>, why: &WhyNot) -> (&'static str, String) {
    let named = |id: &ContactId| {
        let own = view.own_contact_id(*id);
        own.map_or_else(|| "a contact of another tenant".to_owned(), |id| id.to_string())
    };
    let until =
        |until: &ClusterTime| format!("for {} s more", until.since(view.now).0.div_ceil(1_000));
    match why {
        WhyNot::ServesOtherQueues => ("serves-other-queues", String::new()),
        WhyNot::Lacks(terms) => {
            let terms: Vec<String> = terms.iter().map(|term| view.requirement(term)).collect();
            ("lacks", format!("does not meet {}", terms.join(" and ")))
        }
        WhyNot::InReserve(level) => {
            ("in-reserve", format!("of reserve level {level}, which is not asked yet"))
        }
        WhyNot::LoggedOut => ("logged-out", String::new()),
        WhyNot::NotReady(why) => ("not-ready", reason_name(why)),
        WhyNot::Paused { why, until: end } => {
            ("paused", format!("{}, {}", reason_name(why), until(end)))
        }
        WhyNot::Ringing(contact) => {
            let contact = contact.map(|contact| format!("for {}", named(&contact)));
            ("ringing", contact.unwrap_or_default())
        }
        WhyNot::Talking(contact) => ("talking", format!("with {}", named(contact))),
        WhyNot::WrapUp(end) => ("wrap-up", until(end)),
        WhyNot::NoPhone(_) => ("no-phone", "the phone cannot be reached".to_owned()),
        WhyNot::SiteIsFull(site) => (
            "site-is-full",
            format!("agents of {} have as many contacts as its cap allows", view.site_name(*site)),
        ),
        WhyNot::SiteTakesNone(site) => (
            "site-takes-none",
            format!("site {} drains, is closed or has no weight", view.site_name(*site)),
        ),
        WhyNot::WaitsFor(agent, end) => (
            "waits-for-another",
            format!("it waits for {} alone, {}", view.agent_name(*agent), until(end)),
        ),
        WhyNot::KeptForSite(site, end) => {
            ("kept-for-site", format!("it is kept for {}, {}", view.site_name(*site), until(end)))
        }
        WhyNot::HeldFor(contact) => {
            ("held", format!("for {}, which is ahead and being confirmed", named(contact)))
        }
        WhyNot::BeingConfirmed => {
            ("being-confirmed", "its node was lost; the caller is being asked".to_owned())
        }
        WhyNot::UnderWay => {
            ("under-way", "both are free; the next entries bring them together".to_owned())
        }
    }
}
