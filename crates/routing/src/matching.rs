//! Who talks to whom.
//!
//! A match is made in the same log entry as its cause: the entry that admits a contact also makes
//! its offer when an agent is free ([`State::match_contact`]); the entry that frees an agent also
//! takes the next contact ([`State::match_agent`]). Where more than one side became free at once (a
//! site was opened), [`State::rematch`] goes through the waiting in their order.
//!
//! The one rule behind all three, which `naive` judges by: *while some waiting contact and some
//! available agent may be brought together, the contact that goes first (R5) is offered to its best
//! agent.*
//!
//! After the loss of a node its callers are confirmed one by one. For [`CONFIRM_HOLD_MS`] they keep
//! not only their place but also the agents: *an agent is not brought together with a contact
//! while another one that the agent may serve is ahead of it and being confirmed*
//! (`docs/adr/0008-agents-wait-for-callers-being-confirmed.md`). Who is held follows from the rows
//! alone; no agent's row says it. What ends a hold ([`State::let_go`]) sweeps, because both sides
//! may have become free.
//!
//! [`CONFIRM_HOLD_MS`]: crate::limits::CONFIRM_HOLD_MS

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    command::{DeclineCause, Event, OfferEnd},
    entity::{
        Agent, Choice, Contact, ContactState, Decision, FailedOffer, LoginState, LogoutAfter,
        NotReadyReason, Occasion, Offer, Rival, SiteChoice, WaitKey, WorkItem, WorkState,
    },
    ids::{AgentId, ContactId, OfferNumber, QueueId, SiteId},
    index::{
        board::ReadyKey,
        floor::Order,
        hall::{Class, Head, KeptFor, Standing},
    },
    limits::{HELD_AGENTS_SKIPPED_MAX, OFFER_BACKSTOP_MS, RING_ALL_MAX},
    rules::{Overflow, Trigger},
    state::State,
    strategy::Strategy,
    time::{ClusterTime, Millis},
};

impl State {
    /// Offers a waiting contact to its best available agent, if there is one.
    pub(crate) fn match_contact(&mut self, id: ContactId, events: &mut Vec<Event>) {
        let Some(contact) = self.contacts.get(&id) else { return };
        if contact.state != ContactState::Queued || self.rematch_is_due() {
            return;
        }
        if let Some(chosen) = self.best_agent_of_any_queue(contact) {
            self.make_offer(id, chosen, Occasion::ContactWanted, events);
        }
    }

    /// The best available agent for a waiting contact: of the queue where it stands furthest in front, if
    /// there is one.
    fn best_agent_of_any_queue(&self, contact: &Contact) -> Option<Chosen> {
        if contact.also.is_empty() {
            return self.best_agent(contact);
        }
        let mut views = contact.seen_by_all();
        views.sort_by_key(|view| (view.wait_key(), view.queue));
        views.iter().find_map(|view| self.best_agent(view))
    }

    /// Offers the contact that goes first to an agent who became available.
    pub(crate) fn match_agent(&mut self, id: AgentId, events: &mut Vec<Event>) {
        let Some(agent) = self.agents.get(&id) else { return };
        if !self.is_available(agent) || self.rematch_is_due() {
            return;
        }
        if let Some((key, queue)) = self.first_contact(agent) {
            // Nobody else who is ready may serve it, or it would not wait.
            let contact = key.contact();
            let row = self.contacts.get(&contact);
            let alone = row.is_some_and(|row| row.preferred.is_some());
            let choice = if alone { Choice::Preferred } else { Choice::Best };
            let key = self.key_of(agent, queue);
            let chosen = Chosen { key, queue, choice, next: None };
            self.make_offer(contact, chosen, Occasion::AgentReady, events);
        }
    }

    /// True when more than one side became free at once: then the sweep decides, in the order of
    /// the waiting, and nobody is matched past it.
    pub(crate) fn rematch_is_due(&self) -> bool {
        self.work.iter().any(|work| work.item == WorkItem::Rematch)
    }

    /// Brings together what can be brought together, in the order of the waiting; at most `budget`
    /// offers. Returns how many were made.
    ///
    /// An offer only takes an agent away, so that a line whose first finds nobody has nobody for those
    /// behind it either, until something else changes: every line is looked at once, and once more for
    /// each offer out of it. Where fewer agents are ready than there are lines, it is the agents who are
    /// looked at.
    pub(crate) fn rematch(&mut self, budget: usize, events: &mut Vec<Event>) -> usize {
        let (lines, agents) = (self.index.line_count(), self.index.ready_count());
        if agents < lines {
            return self.rematch_by_agents(budget, events);
        }
        self.rematch_by_lines(budget, events)
    }

    /// The contact that goes first is the first of the first ones of all agents.
    fn rematch_by_agents(&mut self, budget: usize, events: &mut Vec<Event>) -> usize {
        let ready = self.index.ready_agents();
        let first = |state: &Self, agent: AgentId| {
            let row = state.agents.get(&agent).filter(|row| state.is_available(row))?;
            let (key, queue) = state.first_contact(row)?;
            Some((key, queue, agent))
        };
        let mut firsts: BTreeSet<(WaitKey, QueueId, AgentId)> =
            ready.into_iter().filter_map(|agent| first(self, agent)).collect();
        let mut made = 0;
        while made < budget {
            let Some((key, queue, agent)) = firsts.pop_first() else { break };
            let id = key.contact();
            let waits =
                self.contacts.get(&id).filter(|contact| contact.state == ContactState::Queued);
            // Who was first has been offered to another one meanwhile: somebody behind them may be.
            if let Some(chosen) = waits.and_then(|contact| self.best_agent(&contact.seen_in(queue)))
            {
                self.make_offer(id, chosen, Occasion::Sweep, events);
                made += 1;
                if self.rematch_is_due() {
                    break;
                }
            }
            firsts.extend(first(self, agent).filter(|next| (next.0, next.1) != (key, queue)));
        }
        made
    }

    fn rematch_by_lines(&mut self, budget: usize, events: &mut Vec<Event>) -> usize {
        let mut heads: BTreeSet<Head> = self.index.all_heads().copied().collect();
        // Who waits for one agent alone: an own line each, of those who may be served by them.
        for agent in self.index.agents_waited_for() {
            heads.extend(self.first_private(agent, Standing::Waiting));
        }
        let mut made = 0;
        while made < budget {
            let Some(head) = heads.pop_first() else { break };
            let (id, Head { key, queue, class, kept_for }) = (head.key.contact(), head);
            let line = self.index.class(class).map(|class| class.line(Standing::Waiting));
            let Some(contact) = self.contacts.get(&id) else { continue };
            if contact.state != ContactState::Queued {
                // It went by another of its queues.
                let next = line.and_then(|line| line.next(kept_for, key));
                heads.extend(next.map(|key| Head { key, ..head }));
                continue;
            }
            let Some(chosen) = self.best_agent(&contact.seen_in(queue)) else { continue };
            // The agent of a line of one's own is gone with the offer.
            let next = line.filter(|_| !matches!(kept_for, KeptFor::Agent(_)));
            let next = next.and_then(|line| line.next(kept_for, key));
            heads.extend(next.map(|key| Head { key, ..head }));
            self.make_offer(id, chosen, Occasion::Sweep, events);
            made += 1;
            if self.rematch_is_due() {
                break;
            }
        }
        made
    }

    /// The first of those who wait for this agent alone and may be served by them.
    fn first_private(&self, agent: AgentId, standing: Standing) -> Option<Head> {
        let mut waiting = self.index.private(agent, standing);
        waiting
            .find(|(_, class)| {
                self.index.class(*class).is_some_and(|class| self.index.meets(agent, class))
            })
            .and_then(|(key, class)| {
                let queue = self.index.class(class)?.queue;
                Some(Head { key, queue, class, kept_for: KeptFor::Agent(agent) })
            })
    }

    /// Ends what agents were held for: those who are free are matched anew. Takes the contact as it
    /// was while it held them.
    pub(crate) fn let_go(&mut self, held_for: &Contact) {
        if self.rematch_is_due() {
            return;
        }
        let anybody = |class: &Class| {
            let mut sites = self.index.sites_with_agents();
            sites.any(|site| self.index.first_ready(class, site, None, None).is_some())
        };
        let held = |contact: &Contact| self.index.class_of(contact).is_some_and(anybody);
        if held_for.holds_agents()
            && (held(held_for) || held_for.elsewhere().any(|other| held(&other)))
        {
            self.add_work(WorkItem::Rematch);
        }
    }

    /// To be called when agents of a site may have come to work there: contacts that are kept for
    /// that site hold nobody elsewhere any more.
    pub(crate) fn site_is_staffed(&mut self) {
        if self.index.is_confirming() {
            self.add_work(WorkItem::Rematch);
        }
    }

    /// The best available agent for a waiting contact as a queue sees it, by its queue's choice of site, then its strategy,
    /// then the longest idle, then the lower id. Not the one whose phone dropped it, if there is another.
    fn best_agent(&self, contact: &Contact) -> Option<Chosen> {
        if let Some(preferred) = contact.preferred {
            let row = self.agents.get(&preferred.agent)?;
            let free = self.is_available(row)
                && self
                    .index
                    .class_of(contact)
                    .is_some_and(|class| self.index.meets(row.id, class))
                && self.held_for(row, contact.wait_key()).is_none();
            let (key, queue) = (self.key_of(row, contact.queue), contact.queue);
            return free.then_some(Chosen { key, queue, choice: Choice::Preferred, next: None });
        }
        let asks_all = planted!(self, DropperIsAskedAgain);
        let another = |agent: AgentId| asks_all || contact.left_by != Some(agent);
        if let Some((key, choice)) = self.best_agent_of(contact, another) {
            let others = |agent| agent != key.2 && another(agent);
            let next = self.best_agent_of(contact, others).map(|(key, _)| key);
            return Some(Chosen { key, queue: contact.queue, choice, next });
        }
        contact.left_by?;
        let (key, _) = self.best_agent_of(contact, |_| true)?;
        Some(Chosen { key, queue: contact.queue, choice: Choice::LastResort, next: None })
    }

    fn best_agent_of(
        &self,
        contact: &Contact,
        wanted: impl Fn(AgentId) -> bool,
    ) -> Option<(ReadyKey, Choice)> {
        let class = self.index.class_of(contact)?;
        let queue = self.queues.get(&contact.queue)?;
        let key = contact.wait_key();
        let first_ready = |site, before| self.first_ready(class, site, key, before, &wanted);
        let preferred = match queue.site_choice {
            SiteChoice::Any => None,
            SiteChoice::Nearest | SiteChoice::Weighted | SiteChoice::Balanced => {
                Some(contact.serving)
            }
        };
        if let Some(site) = preferred
            && self.site_takes_contacts(site)
            && let Some(first) = first_ready(site, None)
        {
            return Some((first, Choice::PreferredSite));
        }
        let mut best = None;
        let Some(sites) = self.index.sites_in_order(class) else {
            for site in self.index.sites_with_agents() {
                if self.may_be_served_at(class, contact, site) {
                    best = first_ready(site, best).or(best);
                }
            }
            return best.map(|best| (best, Choice::Best));
        };
        for (first, site) in sites {
            if best.is_some_and(|best| best < first) && !planted!(self, ShortestIdleIsAsked) {
                break;
            }
            if self.may_be_served_at(class, contact, site) {
                best = first_ready(site, best).or(best);
            }
        }
        best.map(|best| (best, Choice::Best))
    }

    /// Where an agent stands among the ready by the strategy of a queue.
    fn key_of(&self, agent: &Agent, queue: QueueId) -> ReadyKey {
        let strategy = self.queues.get(&queue).map(|queue| queue.rules.strategy);
        Order::of(strategy.unwrap_or_default(), queue).key(agent)
    }

    /// The agent of a class at a site who is asked first, of those who are not held against the contact
    /// with this key, if they come before `before`.
    fn first_ready(
        &self,
        class: &Class,
        site: SiteId,
        key: WaitKey,
        before: Option<ReadyKey>,
        wanted: impl Fn(AgentId) -> bool,
    ) -> Option<ReadyKey> {
        let mut after = None;
        let mut ready = std::iter::from_fn(|| {
            after = Some(self.index.first_ready(class, site, after, before)?);
            after
        });
        if planted!(self, ShortestIdleIsAsked) {
            return ready.filter(|(.., agent)| wanted(*agent)).last();
        }
        if !self.index.is_confirming() {
            return ready.find(|(.., agent)| wanted(*agent));
        }
        // Whoever holds one of them by this class holds all of them: the common case.
        if self.first_of(class, Standing::Confirming, site).is_some_and(|ahead| ahead < key) {
            return None;
        }
        ready
            .take(HELD_AGENTS_SKIPPED_MAX)
            .find(|(.., agent)| wanted(*agent) && !self.is_held(*agent, key))
    }

    /// The first contact that this agent may serve and that is being confirmed ahead of the one with this
    /// key: the agent is held for it.
    pub(crate) fn held_for(&self, agent: &Agent, key: WaitKey) -> Option<ContactId> {
        if !self.index.is_confirming() {
            return None;
        }
        self.first_head(agent, Standing::Confirming, Some(key)).map(|(first, _)| first.contact())
    }

    fn is_held(&self, agent: AgentId, key: WaitKey) -> bool {
        self.agents.get(&agent).is_some_and(|row| self.held_for(row, key).is_some())
    }

    /// True while a contact is kept for agents of another site than this one.
    pub(crate) fn is_kept_from(&self, contact: &Contact, site: SiteId) -> bool {
        let class = self.index.class_of(contact);
        contact.preferred.is_none()
            && contact.widen_at.is_some()
            && class.is_some_and(|class| !self.may_serve(class, site, contact.serving))
    }

    /// The contact that goes first among those an agent may serve (R5), and by which of its queues; none
    /// while the agent is held for one that is ahead of it.
    fn first_contact(&self, agent: &Agent) -> Option<(WaitKey, QueueId)> {
        if planted!(self, LastInLineGoesFirst) {
            let fits = |row: &&Contact| row.state == ContactState::Queued && agent.serves(row);
            let last = self.contacts.iter().rfind(fits);
            return last.map(|row| (row.wait_key(), row.queue));
        }
        if planted!(self, UnconfirmedIsOffered) {
            let doubted = |row: &&Contact| row.state == ContactState::Unconfirmed;
            if let Some(row) = self.contacts.iter().find(doubted) {
                return Some((row.wait_key(), row.queue));
            }
        }
        self.first_head(agent, Standing::Waiting, None)
            .filter(|(key, _)| self.held_for(agent, *key).is_none())
    }

    /// The first in the lines of all queues that an agent serves who may be served by them, and comes
    /// before `before`.
    fn first_head(
        &self,
        agent: &Agent,
        standing: Standing,
        before: Option<WaitKey>,
    ) -> Option<(WaitKey, QueueId)> {
        let (mut best, mut found) = (before, None);
        if let Some(head) = self.first_private(agent.id, standing)
            && best.is_none_or(|best| head.key < best)
        {
            best = Some(head.key);
            found = Some((head.key, head.queue));
        }
        for queue in agent.queues.iter() {
            for head in self.index.heads(*queue, standing) {
                if best.is_some_and(|best| best <= head.key) {
                    break;
                }
                let Some(class) = self.index.class(head.class) else { continue };
                let may_be_served_here = match head.kept_for {
                    KeptFor::Site(site) => self.may_serve(class, agent.site, site),
                    KeptFor::Anybody | KeptFor::Agent(_) => true,
                };
                if may_be_served_here && self.index.meets(agent.id, class) {
                    best = Some(head.key);
                    found = Some((head.key, head.queue));
                    break;
                }
            }
        }
        found
    }

    /// The first contact in a line of a class that agents of this site may serve.
    fn first_of(&self, class: &Class, standing: Standing, site: SiteId) -> Option<WaitKey> {
        class.line(standing).first(|restricted| self.may_serve(class, site, restricted))
    }

    /// True when agents at `site` may be offered contacts that are restricted to `restricted` for now: their
    /// own site's, and those of a site that nobody serves or that takes no contacts (a contact never waits
    /// for agents who are not there).
    fn may_serve(&self, class: &Class, site: SiteId, restricted: SiteId) -> bool {
        site == restricted
            || !self.site_takes_contacts(restricted)
            || !self.index.is_staffed(class, restricted)
    }

    fn may_be_served_at(&self, class: &Class, contact: &Contact, site: SiteId) -> bool {
        self.site_takes_contacts(site)
            && (contact.widen_at.is_none() || self.may_serve(class, site, contact.serving))
    }

    fn make_offer(
        &mut self,
        contact: ContactId,
        chosen: Chosen,
        occasion: Occasion,
        events: &mut Vec<Event>,
    ) {
        let now = self.counters.now;
        let (.., agent) = chosen.key;
        let Some(row) = self.contacts.get(&contact) else { return };
        let queue = chosen.queue;
        let Some(rules) = self.queues.get(&queue) else { return };
        let Some(site) = self.agents.get(&agent).map(|agent| agent.site) else { return };
        let strategy = rules.rules.strategy;
        let via = Some(queue).filter(|queue| *queue != row.queue);
        let stage = row.seen_in(queue).stage;
        let dropped_by = row.left_by;
        let number = OfferNumber(self.counters.offer.0 + 1);
        let rival = |(rank, idle_since, agent): ReadyKey| Rival { agent, rank, idle_since };
        let decision = Arc::new(Decision {
            offer: number,
            at: now,
            agent,
            site,
            queue,
            occasion,
            choice: chosen.choice,
            strategy,
            standing: rival(chosen.key),
            next: chosen.next.map(rival),
            stage,
            queue_len: self.queue_len(queue),
        });
        self.update_contact(contact, |row| {
            row.left_by = None;
            row.preferred = None;
            row.via = via;
            row.decision = Some(decision);
        });
        self.offer_to(contact, agent, events);
        if strategy == Strategy::RingAll && chosen.choice != Choice::Preferred {
            self.ring_others(contact, dropped_by, events);
        }
    }

    /// Makes further offers of a contact, to whoever would be asked next, one after the other.
    fn ring_others(&mut self, id: ContactId, dropped_by: Option<AgentId>, events: &mut Vec<Event>) {
        for _ in 1..RING_ALL_MAX {
            let Some(contact) = self.contacts.get(&id) else { return };
            let wanted = |agent: AgentId| dropped_by != Some(agent);
            let seen = contact.seen_in(contact.offered_in());
            let Some((key, _)) = self.best_agent_of(&seen, wanted) else { return };
            if planted!(self, OnlyOneIsRung) {
                return;
            }
            self.offer_to(id, key.2, events);
        }
    }

    /// Makes an offer; who has it is not ready any more.
    fn offer_to(&mut self, contact: ContactId, agent: AgentId, events: &mut Vec<Event>) {
        let (now, turn) = (self.counters.now, self.counters.ordinal);
        let Some(row) = self.contacts.get(&contact) else { return };
        let queue = row.offered_in();
        let Some(rules) = self.queues.get(&queue) else { return };
        let (tenant, ring) = (row.tenant, rules.ring);
        let remembers_turns = rules.rules.strategy == Strategy::RoundRobin;
        let remembers_turns = remembers_turns && !planted!(self, TurnIsForgotten);
        let number = OfferNumber(self.counters.offer.0 + 1);
        self.counters.offer = number;
        self.count(queue, |row, _| row.offers += 1);
        let expires = now + ring + Millis(OFFER_BACKSTOP_MS);
        self.insert_offer(Offer { number, tenant, contact, agent, made: now, expires });
        self.update_contact(contact, |row| {
            row.offers = row.offers.saturating_add(1);
            match row.state {
                ContactState::Offered { .. } => row.ringing.push((number, agent)),
                _ => row.state = ContactState::Offered { offer: number, agent },
            }
        });
        self.update_agent(agent, |row| {
            row.enter(WorkState::Offered(number), now, turn);
            if remembers_turns {
                row.asked.insert(queue, turn);
            }
        });
        events.push(Event::OfferMade { offer: number, contact, agent });
        events.push(Event::AgentChanged(agent));
    }

    /// Ends an offer that was not accepted: the contact keeps its place (and waits again, unless other
    /// phones ring for it still), the agent becomes ready
    /// again or not ready with a reason. Does not match either of them again.
    pub(crate) fn end_offer(
        &mut self,
        number: OfferNumber,
        how: OfferEnd,
        events: &mut Vec<Event>,
    ) -> Option<Offer> {
        let now = self.counters.now;
        let offer = self.remove_offer(number)?;
        self.update_contact(offer.contact, |row| {
            row.withdraw(number);
            if row.is_waiting() {
                row.last_offer = Some((number, offer.agent));
                row.note_failed(FailedOffer { offer: number, agent: offer.agent, at: now, how });
            }
        });
        let queue = self.contacts.get(&offer.contact).map(Contact::offered_in);
        if let (Some(queue), OfferEnd::Declined(_) | OfferEnd::Expired) = (queue, how) {
            self.count(queue, |row, _| row.offers_failed += 1);
        }
        let after = queue.and_then(|queue| self.queues.get(&queue));
        let after = after.filter(|_| !planted!(self, DeclineIsNotForgiven));
        let after = after.map(|queue| queue.rules.after_decline).unwrap_or_default();
        let then = match how {
            OfferEnd::Declined(_) if planted!(self, RonaIsNotReported) => None,
            OfferEnd::Declined(cause) if planted!(self, NodeFailureIsBlamed) => {
                Some(WorkState::NotReady(cause.into()))
            }
            OfferEnd::Declined(cause) => Some(cause.leaves_agent(now, after)),
            OfferEnd::Expired => Some(DeclineCause::NotAnswered.leaves_agent(now, after)),
            OfferEnd::Accepted
            | OfferEnd::ContactGone
            | OfferEnd::OwnerLost
            | OfferEnd::Withdrawn
            | OfferEnd::AnsweredElsewhere => None,
        };
        self.free_agent(offer.agent, now, then, Idle::GoesOn);
        let Offer { contact, agent, .. } = offer;
        events.push(Event::OfferEnded { offer: number, contact, agent, how });
        events.push(Event::AgentChanged(agent));
        Some(offer)
    }

    /// To be called when an agent leaves: contacts that wait for them alone wait for anybody, and those that
    /// were kept for their site may go elsewhere.
    pub(crate) fn agent_leaves(&mut self, id: AgentId) {
        if self.index.waiting_for(id).next().is_some() && !planted!(self, LeaverIsWaitedFor) {
            self.add_work(WorkItem::SetFree { agent: id });
        }
        let queues = self.agents.get(&id).map(|row| row.queues.clone()).unwrap_or_default();
        self.check_staff_of(queues.iter().copied());
        self.add_work(WorkItem::Rematch);
    }

    /// To be called when somebody may serve less than before: contacts of these queues leave that have a
    /// rule for it, if nobody is left who could serve them.
    pub(crate) fn check_staff_of(&mut self, queues: impl IntoIterator<Item = QueueId>) {
        let unstaffed = |rule: &Overflow<_>| rule.when == Trigger::Unstaffed;
        for queue in queues {
            let row = self.queues.get(&queue);
            if row.is_some_and(|row| row.rules.overflow.iter().any(unstaffed))
                || self.index.is_joined(queue)
            {
                self.add_work(WorkItem::Unstaffed { queue, next: ContactId::default() });
            }
        }
    }

    /// Puts an agent whose offer or contact is over into their next state: what they asked for in
    /// the meantime, else `then`, else ready.
    pub(crate) fn free_agent(
        &mut self,
        id: AgentId,
        now: ClusterTime,
        then: Option<WorkState>,
        idle: Idle,
    ) {
        if self.agents.get(&id).is_some_and(|row| row.logout_after == LogoutAfter::Contact) {
            self.agent_leaves(id);
        }
        let turn = self.counters.ordinal;
        self.update_agent(id, |row| {
            let asked = row.next_not_ready.take().map(WorkState::NotReady);
            let work = match (then, asked) {
                // Wrap-up comes first; what they asked for follows it.
                (Some(WorkState::WrapUp(until)), asked) => {
                    row.next_not_ready = match asked {
                        Some(WorkState::NotReady(reason)) => Some(reason),
                        _ => None,
                    };
                    WorkState::WrapUp(until)
                }
                (_, Some(asked)) => asked,
                (Some(then), None) => then,
                (None, None) => WorkState::Ready,
            };
            row.enter(work, now, turn);
            if idle == Idle::BeginsNow {
                row.idle_since = now;
            }
            if row.logout_after == LogoutAfter::Contact {
                row.logout_after = LogoutAfter::No;
                row.login = LoginState::LoggedOut;
                row.work = WorkState::NotReady(NotReadyReason::Unspecified);
                row.next_not_ready = None;
            }
        });
    }
}

/// An agent for a contact.
struct Chosen {
    key: ReadyKey,
    /// By which of the contact's queues.
    queue: QueueId,
    choice: Choice,
    /// Who would have been chosen without them.
    next: Option<ReadyKey>,
}

/// Whether an agent's idle time begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Idle {
    /// They talked.
    BeginsNow,
    /// Their phone only rang.
    GoesOn,
}

#[cfg(test)]
#[path = "hold_tests.rs"]
mod hold_tests;
