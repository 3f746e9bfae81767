//! Contacts: admission, offers taken or not, ends, and the loss of an owner.

use crate::{
    command::{DeclineCause, Enqueue, Event, OfferEnd, Rejection, Reply, check},
    entity::{
        AfterContact, Agent, Contact, ContactState, DeviceState, EndReason, LastAgent, LoginState,
        Moves, NotReadyReason, Number, Preferred, Queue, Reservation, SiteChoice, SiteState,
        WorkItem, WorkState,
    },
    ids::{AgentId, ContactId, GroupId, OfferNumber, QueueId, SiteId},
    limits::{
        CLASSES_MAX, CLASSES_PER_QUEUE_MAX, CONFIRM_HOLD_MS, CONTACTS_MAX, LAST_AGENTS_MAX,
        RESERVATION_MS, RESERVATIONS_MAX,
    },
    matching::Idle,
    rules::{Load, Stage},
    state::State,
    time::{ClusterTime, Millis},
};

impl State {
    pub(super) fn enqueue(
        &mut self,
        group: GroupId,
        enqueue: &Enqueue,
        events: &mut Vec<Event>,
    ) -> Result<Reply, Rejection> {
        let number = self
            .numbers
            .get(&enqueue.called)
            .ok_or_else(|| Rejection::NumberMustExist(enqueue.called.clone()))?
            .clone();
        let site = self
            .site_named(&enqueue.ingress)
            .ok_or_else(|| Rejection::SiteMustExist(enqueue.ingress.clone()))?;
        if site.state == SiteState::Closed && !planted!(self, ClosedSiteTakesCallers) {
            return Err(Rejection::SiteMustBeOpen(site.name.clone()));
        }
        let ingress = site.id;
        check::room("contacts", self.contacts.len(), CONTACTS_MAX)?;
        let tenant = number.tenant;
        self.quota(tenant, "contacts", |usage| usage.contacts, |quotas| quotas.contacts)?;
        let priority = self.priority_of(&number, &enqueue.caller)?;

        let id = ContactId { group, ordinal: self.counters.ordinal };
        let mut contact = self.new_contact(id, enqueue, &number, ingress);
        contact.priority = if planted!(self, PriorityIsIgnored) { 0 } else { priority };
        let queue = self.queue_for(&mut contact, &enqueue.called)?;
        self.check_class(&contact)?;
        if let Some(place) = self.remove_reservation(&(queue.id, contact.caller.clone())) {
            if !planted!(self, ReservedPlaceIsForgotten) {
                contact.arrival = place.arrival;
            }
            contact.follow(&queue, self.counters.now);
            self.follow_also(&mut contact, &queue);
        }
        contact.preferred = self.preferred(&contact, &number, &queue);
        contact.serving = self.assign_site(&contact, &queue);
        contact.widen_at = widen_at(&contact, &queue, self.counters.now);
        contact.came_as = self.queue_len(queue.id).saturating_add(1);
        self.insert_contact(contact);
        events.push(Event::ContactEnqueued(id));
        self.count(number.queue, |row, _| row.offered += 1);
        self.count_overflows(id, events);
        self.match_contact(id, events);
        Ok(Reply::Enqueued { contact: id, queue_len: self.queue_len(queue.id) })
    }

    fn new_contact(
        &self,
        id: ContactId,
        enqueue: &Enqueue,
        number: &Number,
        ingress: SiteId,
    ) -> Contact {
        Contact {
            id,
            tenant: number.tenant,
            queue: number.queue,
            requirement: number.requirement.clone(),
            own_requirement: number.requirement.clone(),
            priority: 0,
            effective_arrival_ms: 0,
            arrival: self.counters.now - enqueue.waited,
            admitted: self.counters.now,
            ingress,
            serving: ingress,
            widen_at: None,
            wait_until: None,
            hold_until: None,
            left_by: None,
            caller: enqueue.caller.clone(),
            called: enqueue.called.clone(),
            state: ContactState::Queued,
            last_offer: None,
            offers: 0,
            stage: Stage::default(),
            stage_at: None,
            placed: None,
            preferred: None,
            decision: None,
            entered: self.counters.now,
            visited: Vec::new(),
            failed_offers: Vec::new(),
            ringing: Vec::new(),
            came_as: 0,
            also: Vec::new(),
            via: None,
        }
    }

    /// The agent whom a new contact waits for alone: the one that its number asks for, else the one that
    /// the caller talked with last; if that agent is at work and may serve it.
    fn preferred(&self, contact: &Contact, number: &Number, queue: &Queue) -> Option<Preferred> {
        let last = queue.rules.last_agent.filter(|_| !contact.caller.is_withheld());
        let last = last.and_then(|rule| {
            let row = self.last_agents.get(&(queue.id, contact.caller.clone()))?;
            Some((row.agent, rule.patience))
        });
        let serves = |agent: &AgentId| {
            let row = self.agents.get(agent);
            row.is_some_and(|row| row.login != LoginState::LoggedOut && row.serves(contact))
        };
        let mut wanted = number.prefers.into_iter().chain(last);
        let (agent, patience) = wanted.find(|(agent, _)| serves(agent))?;
        Some(Preferred { agent, until: self.counters.now + patience })
    }

    /// Remembers whom a caller talks with, if the queue does.
    fn remember(&mut self, id: ContactId, agent: AgentId) {
        let Some(contact) = self.contacts.get(&id) else { return };
        let Some(rule) = self.queues.get(&contact.queue).and_then(|row| row.rules.last_agent)
        else {
            return;
        };
        let full = self.last_agents.len() >= LAST_AGENTS_MAX;
        if contact.caller.is_withheld() || full || planted!(self, LastAgentIsForgotten) {
            return;
        }
        let (tenant, queue, caller) = (contact.tenant, contact.queue, contact.caller.clone());
        let expires = self.counters.now + rule.remembered;
        self.put_last_agent(LastAgent { tenant, queue, caller, agent, expires });
    }

    pub(super) fn set_priority(&mut self, id: ContactId, priority: u8) -> Result<Reply, Rejection> {
        check::priority(priority)?;
        let stays = planted!(self, PriorityStays);
        self.reorder(id, |row| {
            if !stays {
                row.priority = priority;
            }
            row.placed = None;
        })
    }

    pub(super) fn place(
        &mut self,
        id: ContactId,
        before: Option<ContactId>,
    ) -> Result<Reply, Rejection> {
        let queue = self.waiting(id)?.queue;
        let next = match before {
            None => self.index.first_of_queue(queue),
            Some(other) => {
                let row = self.waiting(other)?;
                if row.queue != queue {
                    return Err(Rejection::ContactsMustBeInOneQueue(id, other));
                }
                Some(row.wait_key())
            }
        };
        // Before itself is where it is.
        let Some(next) = next.filter(|next| next.contact() != id) else { return Ok(Reply::Done) };
        let step = if planted!(self, PlaceIsTakenBehind) { -1 } else { 1 };
        let place = next.effective_arrival_ms.saturating_sub(step);
        self.reorder(id, |row| row.placed = Some(place))
    }

    fn waiting(&self, id: ContactId) -> Result<&Contact, Rejection> {
        let contact = self.contacts.get(&id).ok_or(Rejection::ContactMustBeLive(id))?;
        if contact.is_waiting() { Ok(contact) } else { Err(Rejection::ContactMustBeWaiting(id)) }
    }

    /// Changes what a waiting contact's place follows from.
    fn reorder(
        &mut self,
        id: ContactId,
        change: impl FnOnce(&mut Contact),
    ) -> Result<Reply, Rejection> {
        let queue = self.waiting(id)?.queue;
        self.change_waiting(id, queue, |row, queue| {
            change(row);
            row.stand(queue);
        });
        if self.index.is_confirming() {
            // Agents may be held for others now.
            self.add_work(WorkItem::Rematch);
        }
        Ok(Reply::Done)
    }

    /// A contact that is like no other may not make too many classes.
    pub(super) fn check_class(&self, contact: &Contact) -> Result<(), Rejection> {
        if self.index.has_class_of(contact) {
            return Ok(());
        }
        check::room("requirement classes", self.index.class_count(), CLASSES_MAX)?;
        let classes = self.index.class_count_of(contact.queue);
        check::room("requirement classes of one queue", classes, CLASSES_PER_QUEUE_MAX)
    }

    /// The site whose agents a contact prefers.
    pub(super) fn assign_site(&mut self, contact: &Contact, queue: &Queue) -> SiteId {
        let in_service = self.site_is_in_service(contact.ingress);
        match queue.site_choice {
            SiteChoice::Any | SiteChoice::Nearest if in_service => return contact.ingress,
            SiteChoice::Balanced if in_service => return self.balanced(contact, queue),
            SiteChoice::Any | SiteChoice::Nearest | SiteChoice::Balanced | SiteChoice::Weighted => {
            }
        }
        self.index.prepare_class(contact);
        let Some(site) = self.share(contact) else { return contact.ingress };
        self.queues.update(&queue.id, |queue| *queue.assigned.entry(site).or_default() += 1);
        site
    }

    /// The contact's own site, unless another one has so much less load that it is worth the way.
    fn balanced(&mut self, contact: &Contact, queue: &Queue) -> SiteId {
        self.index.prepare_class(contact);
        let home = contact.ingress;
        let balance = queue.rules.balance;
        let load = |site: SiteId| {
            let (part, whole) = match balance.by {
                Load::ExpectedWait => {
                    (self.index.waiting_at(queue.id, site), self.index.staff_at(queue.id, site))
                }
                Load::Occupancy => {
                    let load = self.index.load_of(site);
                    (load.engaged, load.at_work)
                }
            };
            (u64::from(part) + 1, u64::from(whole))
        };
        let less =
            |(part, whole): (u64, u64), (other, of): (u64, u64)| (part * of).cmp(&(other * whole));
        let mut sites = self.sites_for(contact);
        // Somebody is at work at all of them, or at none.
        sites.retain(|(site, _)| load(*site).1 > 0);
        let best = sites.iter().map(|(site, _)| *site);
        let best = best.min_by(|a, b| less(load(*a), load(*b)).then(a.cmp(b)));
        let Some(best) = best.filter(|best| *best != home) else { return home };
        let ((here, at_home), (there, away)) = (load(home), load(best));
        let margin = 100 + u64::from(balance.hysteresis_percent);
        let margin = if planted!(self, HysteresisIsIgnored) { 100 } else { margin };
        if at_home > 0 && here * away * 100 <= there * at_home * margin {
            return home;
        }
        let minute = self.counters.now.0 / 60_000;
        let moves = if queue.moves.minute == minute { queue.moves.count } else { 0 };
        if at_home > 0 && balance.moves_per_minute_max > 0 && moves >= balance.moves_per_minute_max
        {
            return home;
        }
        let count = moves + 1;
        self.queues.update(&queue.id, |row| row.moves = Moves { minute, count });
        best
    }

    /// The site that is furthest below its share of the contacts of this one's queue; the lower id among
    /// equals. Shares follow the weights of the sites that may be chosen for it.
    fn share(&self, contact: &Contact) -> Option<SiteId> {
        let queue = self.queues.get(&contact.queue)?;
        let load = |site: SiteId| u128::from(queue.assigned.get(&site).copied().unwrap_or(0)) + 1;
        self.sites_for(contact)
            .into_iter()
            .min_by(|(a, by_a), (b, by_b)| {
                let left = load(*a) * u128::from(*by_b);
                let right = load(*b) * u128::from(*by_a);
                left.cmp(&right).then(a.cmp(b))
            })
            .map(|(site, _)| site)
    }

    pub(super) fn accept(
        &mut self,
        number: OfferNumber,
        id: ContactId,
        events: &mut Vec<Event>,
    ) -> Result<Reply, Rejection> {
        let stale = Rejection::OfferMustBeCurrent(number);
        let contact = self.contacts.get(&id).ok_or(stale.clone())?;
        let agent = match contact.state {
            ContactState::Offered { agent, .. } if planted!(self, LateAnswerAlwaysCounts) => agent,
            ContactState::Offered { .. } => {
                let mut offers = contact.current_offers();
                offers.find(|(offer, _)| *offer == number).map(|(_, agent)| agent).ok_or(stale)?
            }
            // Too late, but nobody else was asked and the agent is free: better than ringing again.
            ContactState::Queued => match contact.last_offer {
                Some((offer, agent)) if offer == number && self.can_take_late(agent) => agent,
                _ => return Err(stale),
            },
            _ => return Err(stale),
        };
        let others: Vec<OfferNumber> = contact.current_offers().map(|(offer, _)| offer).collect();
        let now = self.counters.now;
        let (from, to) = (contact.queue, contact.offered_in());
        let left = (!contact.also.is_empty()).then(|| contact.clone());
        self.remove_offer(number);
        self.update_contact(id, |row| {
            row.ringing.clear();
            row.state = ContactState::Connected { agent, offer: number, since: now };
            row.widen_at = None;
            row.also.clear();
            row.via = None;
        });
        if to != from {
            self.answer_elsewhere(id, from, to, events);
        }
        left.iter().for_each(|before| self.remove_when_left(before));
        let turn = self.counters.ordinal;
        let counts = !planted!(self, ContactsAreNotCounted);
        self.update_agent(agent, |row| {
            row.enter(WorkState::Busy(id), now, turn);
            row.tally.contacts -= u32::from(!counts);
        });
        self.remember(id, agent);
        self.count_answer(id, agent);
        let how = OfferEnd::Accepted;
        events.push(Event::OfferEnded { offer: number, contact: id, agent, how });
        events.push(Event::ContactConnected { contact: id, agent, offer: number });
        events.push(Event::AgentChanged(agent));
        // Whose phones rang beside theirs is free again.
        let others = others.into_iter().filter(|other| *other != number);
        let still_rings = planted!(self, LosersGoOnRinging);
        let mut freed = false;
        for other in others.filter(|_| !still_rings) {
            freed |= self.end_offer(other, OfferEnd::AnsweredElsewhere, events).is_some();
        }
        if freed {
            self.add_work(WorkItem::Rematch);
        }
        Ok(Reply::Connected { agent })
    }

    fn count_answer(&mut self, id: ContactId, agent: AgentId) {
        let (Some(contact), Some(agent)) = (self.contacts.get(&id), self.agents.get(&agent)) else {
            return;
        };
        let (queue, site) = (contact.queue, agent.site);
        let waited = self.counters.now.since(contact.arrival);
        let elsewhere = u32::from(contact.ingress != site);
        self.count(queue, |row, target| row.count_answer(waited, target));
        self.count_at_site(site, |row| {
            row.answered += 1;
            row.from_elsewhere += elsewhere;
        });
    }

    fn can_take_late(&self, agent: AgentId) -> bool {
        self.agents
            .get(&agent)
            .is_some_and(|row| row.login != LoginState::LoggedOut && !row.is_engaged())
    }

    pub(super) fn decline(
        &mut self,
        number: OfferNumber,
        id: ContactId,
        cause: DeclineCause,
        events: &mut Vec<Event>,
    ) -> Result<Reply, Rejection> {
        match self.offers.get(&number) {
            Some(offer) if offer.contact == id => {}
            _ => return Err(Rejection::OfferMustBeCurrent(number)),
        }
        self.end_offer(number, OfferEnd::Declined(cause), events);
        self.match_contact(id, events);
        Ok(Reply::Done)
    }

    pub(super) fn end(
        &mut self,
        id: ContactId,
        reason: EndReason,
        events: &mut Vec<Event>,
    ) -> Result<Reply, Rejection> {
        if let Some(agent) = self.end_without_match(id, reason, events)? {
            self.match_agent(agent, events);
        }
        Ok(Reply::Done)
    }

    /// Ends a contact; the agent that it had, who is not given another one yet.
    pub(super) fn end_without_match(
        &mut self,
        id: ContactId,
        reason: EndReason,
        events: &mut Vec<Event>,
    ) -> Result<Option<AgentId>, Rejection> {
        let contact = self.contacts.get(&id).ok_or(Rejection::ContactMustBeLive(id))?;
        let queue_id = contact.queue;
        let queue = self.queues.get(&queue_id);
        let wrap_up = queue.map_or(Millis(0), |queue| queue.wrap_up);
        let wrap_up_max = queue.map_or(Millis(0), |queue| queue.rules.wrap_up_max);
        let now = self.counters.now;
        let freed = match contact.state {
            ContactState::Queued | ContactState::Unconfirmed => None,
            ContactState::Offered { .. } => self.end_offers(id, events),
            ContactState::Connected { agent, .. } => {
                let rests = wrap_up.0 > 0 && !planted!(self, WrapUpIsSkipped);
                let then = rests.then(|| WorkState::WrapUp(now + wrap_up));
                if !planted!(self, AgentIsNotReleased) {
                    self.free_agent(agent, now, then, Idle::BeginsNow);
                    self.note_wrap_up(agent, queue_id, wrap_up_max);
                }
                events.push(Event::AgentChanged(agent));
                Some(agent)
            }
        };
        if self.contacts.get(&id).is_some_and(Contact::holds_agents)
            && let Some(contact) = self.contacts.get(&id).cloned()
        {
            self.let_go(&contact);
        }
        if let Some(contact) = self.remove_contact(id) {
            match contact.state {
                ContactState::Connected { since, .. } => self.count(contact.queue, |row, _| {
                    row.handled += 1;
                    row.talk += now.since(since);
                }),
                _ => {
                    let waited = now.since(contact.arrival);
                    self.count(contact.queue, |row, target| {
                        row.count_end_of_wait(reason, waited, target);
                    });
                }
            }
            if reason.may_have_cost_a_place() {
                self.reserve_place(&contact);
            }
            self.remove_when_empty(queue_id);
            self.remove_when_left(&contact);
            events.push(Event::ContactEnded { contact: Box::new(contact), reason });
        }
        Ok(freed)
    }

    /// Takes all offers of a contact back; the agent that it had, unless there were several: then the
    /// sweep gives each what goes first.
    fn end_offers(&mut self, id: ContactId, events: &mut Vec<Event>) -> Option<AgentId> {
        let offers: Vec<_> = self.contacts.get(&id)?.current_offers().collect();
        for (offer, _) in &offers {
            self.end_offer(*offer, OfferEnd::ContactGone, events);
        }
        match *offers {
            [(_, agent)] => Some(agent),
            _ => {
                self.add_work(WorkItem::Rematch);
                None
            }
        }
    }

    /// Says what the wrap-up that just began follows, and until when it may be extended.
    fn note_wrap_up(&mut self, agent: AgentId, queue: QueueId, wrap_up_max: Millis) {
        let ends_by = (wrap_up_max.0 > 0).then(|| self.counters.now + wrap_up_max);
        let wraps_up = |row: &Agent| matches!(row.work, WorkState::WrapUp(_));
        if self.agents.get(&agent).is_some_and(wraps_up) {
            self.update_agent(agent, |row| row.after = Some(AfterContact { queue, ends_by }));
        }
    }

    /// Remembers since when a caller had waited whose leg was lost by us.
    fn reserve_place(&mut self, contact: &Contact) {
        if contact.caller.is_withheld()
            || !contact.is_waiting()
            || self.reservations.len() >= RESERVATIONS_MAX
        {
            return;
        }
        self.put_reservation(Reservation {
            tenant: contact.tenant,
            queue: contact.queue,
            caller: contact.caller.clone(),
            arrival: contact.arrival,
            expires: self.counters.now + Millis(RESERVATION_MS),
        });
    }

    // --- loss of owners: called by the composition in crates/cluster ------------------------------

    /// The owner of a contact's caller leg was lost: a waiting contact keeps its place and is not
    /// offered until it is confirmed; an offer of it is withdrawn without blame. Agents who could serve
    /// it are held for it for [`CONFIRM_HOLD_MS`]; a contact that is unconfirmed already holds nobody
    /// for longer. A conversation goes on.
    pub fn unconfirm(&mut self, id: ContactId, events: &mut Vec<Event>) {
        let Some(contact) = self.contacts.get(&id) else { return };
        let freed = match contact.state {
            ContactState::Queued => None,
            ContactState::Offered { .. } => self.end_offers(id, events),
            ContactState::Unconfirmed | ContactState::Connected { .. } => return,
        };
        let hold_until = self.counters.now + Millis(CONFIRM_HOLD_MS);
        self.update_contact(id, |row| {
            row.state = ContactState::Unconfirmed;
            row.hold_until = Some(hold_until);
        });
        events.push(Event::ContactUnconfirmed(id));
        if let Some(agent) = freed {
            self.match_agent(agent, events);
        }
        self.run_work(events);
    }

    /// The caller's leg answered its new owner, or media flows: the contact may be offered again.
    pub fn confirm(&mut self, id: ContactId, events: &mut Vec<Event>) {
        let Some(unconfirmed) = self.contacts.get(&id).cloned() else { return };
        if unconfirmed.state != ContactState::Unconfirmed {
            return;
        }
        self.update_contact(id, |row| {
            row.state = ContactState::Queued;
            row.hold_until = None;
        });
        events.push(Event::ContactConfirmed(id));
        // It may be behind another one that is being confirmed, and others behind it.
        self.let_go(&unconfirmed);
        self.match_contact(id, events);
        self.run_work(events);
    }

    /// The node that made an agent's phone ring was lost: the offer ends without blame, the phone
    /// must show a sign of life before it is used again, and the contact goes to another agent at
    /// once.
    pub fn offer_owner_lost(&mut self, number: OfferNumber, events: &mut Vec<Event>) {
        let Some(offer) = self.end_offer(number, OfferEnd::OwnerLost, events) else { return };
        self.update_agent(offer.agent, |row| row.device = DeviceState::Recovering);
        if self.take_step() {
            self.match_contact(offer.contact, events);
        } else {
            // One after another may turn out to be out of reach; the sweep goes on from here.
            self.add_work(WorkItem::Rematch);
        }
        self.run_work(events);
    }

    /// The leg of the agent who talked with a contact is lost for good: the caller goes back to
    /// their place in the line (R11). A caller whose own leg is in doubt is not offered until it is
    /// confirmed. An agent whose phone does not answer is not ready because their device failed; one
    /// whose phone says that the call is over has after-contact work as after any contact, and gets
    /// this caller again only if nobody else is free.
    pub fn requeue(
        &mut self,
        id: ContactId,
        caller: CallerLeg,
        phone: AgentPhone,
        events: &mut Vec<Event>,
    ) {
        let Some(contact) = self.contacts.get(&id) else { return };
        let ContactState::Connected { agent, since, .. } = contact.state else { return };
        let now = self.counters.now;
        let queue_id = contact.queue;
        let queue = self.queues.get(&queue_id);
        let wait_max = queue.map_or(Millis(0), |queue| queue.wait_max);
        let wrap_up = queue.map_or(Millis(0), |queue| queue.wrap_up);
        let wrap_up_max = queue.map_or(Millis(0), |queue| queue.rules.wrap_up_max);
        let then = match phone {
            AgentPhone::Answers => (wrap_up.0 > 0).then(|| WorkState::WrapUp(now + wrap_up)),
            AgentPhone::Failed => Some(WorkState::NotReady(NotReadyReason::DeviceFailed)),
        };
        let forgets = planted!(self, RequeueLosesPlace);
        self.update_contact(id, |row| {
            if forgets {
                row.arrival = now;
            }
            (row.state, row.hold_until) = match caller {
                CallerLeg::Held => (ContactState::Queued, None),
                CallerLeg::InDoubt => {
                    (ContactState::Unconfirmed, Some(now + Millis(CONFIRM_HOLD_MS)))
                }
            };
            row.last_offer = None;
            row.left_by = (phone == AgentPhone::Answers).then_some(agent);
            // The conversation was not waiting.
            row.wait_until = (wait_max.0 > 0).then(|| now + wait_max);
        });
        self.follow_also_of(id);
        self.free_agent(agent, now, then, Idle::BeginsNow);
        self.note_wrap_up(agent, queue_id, wrap_up_max);
        self.count(queue_id, |row, _| {
            row.requeued += 1;
            row.talk += now.since(since);
        });
        events.push(Event::ContactRequeued { contact: id, agent });
        events.push(Event::AgentChanged(agent));
        if self.queues.get(&queue_id).is_some_and(|row| row.retiring.is_some()) {
            self.overflow_if_due(id, events);
        }
        if self.agents.get(&agent).is_some_and(|row| self.is_available(row)) {
            // Both are free: somebody may be ahead of the caller.
            self.add_work(WorkItem::Rematch);
        }
        self.match_contact(id, events);
        self.run_work(events);
    }
}

/// Whether a caller's leg is known to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerLeg {
    /// Its owner has the caller's word.
    Held,
    /// It was taken over and has not answered yet.
    InDoubt,
}

/// What an agent's phone shows after it lost a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentPhone {
    /// It answered that it knows no such call: the agent hung up unheard.
    Answers,
    /// It does not answer, or signalling or media failed.
    Failed,
}

/// Until when a contact is kept for its preferred site.
pub(super) fn widen_at(contact: &Contact, queue: &Queue, now: ClusterTime) -> Option<ClusterTime> {
    let at = contact.arrival + queue.widen_after;
    (queue.site_choice != SiteChoice::Any && queue.widen_after.0 > 0 && at > now).then_some(at)
}
