//! Indexes over the rows: derived, never stored, rebuilt from the rows at any time.
//!
//! They make the cost of a decision grow with the number of sites and of lines, and with a 64th of the
//! candidates at worst, never with the number of contacts. Ready agents of a site stand in one [`board`] for
//! each order that queues ask for; contacts of a queue with equal requirements form one class, and stand in
//! the lines of its [`hall`]; a requirement is tested against 64 agents at once ([`planes`], [`filter`]).
//! What is decided with them is in `matching`.

pub(crate) mod board;
mod dense;
pub(crate) mod filter;
pub(crate) mod floor;
mod fronts;
pub(crate) mod hall;
mod planes;

use std::collections::{BTreeMap, BTreeSet};

use self::{
    board::{Board, Fit, ReadyKey},
    filter::{Attribute, Columns, Filter, MEMBER},
    floor::{Floor, Order, Seat, Seats},
    fronts::Fronts,
    hall::{Class, ClassId, Hall, Head, KeptFor, Kind, Line, Place, Standing},
    planes::Column,
};
use crate::{
    entity::{
        Agent, Calendar, Contact, LastAgent, LoginState, Offer, Plan, Queue, Reservation, Usage,
        WaitKey, WallAnchor,
    },
    ids::{
        AgentId, CalendarId, ContactId, OfferNumber, Ordinal, QueueId, SiteId, SkillId, TenantId,
    },
    limits::IDLE_CLASSES_KEPT,
    name::{CallerNumber, Name},
    strategy::Strategy,
    time::ClusterTime,
};

/// What a deadline is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deadline {
    Offer(OfferNumber),
    /// The end of a work state that ends by itself.
    Work(AgentId),
    Widen(ContactId),
    WaitMax(ContactId),
    Hold(ContactId),
    Stage(ContactId),
    Preferred(ContactId),
    Reservation(QueueId, CallerNumber),
    LastAgent(QueueId, CallerNumber),
    Plan(Ordinal),
    Calendar(CalendarId),
}

/// What the agents of a site do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SiteLoad {
    /// Logged in.
    pub(crate) at_work: u32,
    /// Being rung, or talking.
    pub(crate) engaged: u32,
}

/// All indexes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    pub(crate) site_by_name: BTreeMap<Name, SiteId>,
    pub(crate) skill_by_name: BTreeMap<(TenantId, Name), SkillId>,
    pub(crate) queue_by_name: BTreeMap<(TenantId, Name), QueueId>,
    pub(crate) agent_by_name: BTreeMap<(TenantId, Name), AgentId>,
    pub(crate) calendar_by_name: BTreeMap<(TenantId, Name), CalendarId>,
    pub(crate) tenant_by_name: BTreeMap<Name, TenantId>,
    /// What agents of each site do. No empty ones are kept.
    loads: BTreeMap<SiteId, SiteLoad>,
    /// What each tenant has.
    pub(crate) usage: BTreeMap<TenantId, Usage>,
    pub(crate) deadlines: BTreeSet<(ClusterTime, Deadline)>,
    columns: Columns,
    floors: BTreeMap<SiteId, Floor>,
    fronts: Fronts,
    seats: Seats,
    halls: BTreeMap<QueueId, Hall>,
    classes: Vec<Option<Class>>,
    free_classes: Vec<ClassId>,
    /// Classes in use.
    class_count: usize,
    /// Classes that nobody uses, kept for the next contact of their kind, the longest unused first.
    idle_classes: BTreeSet<(u64, ClassId)>,
    idle_count: u64,
    /// The class of the contact that was touched last: a command asks for it again and again.
    latest_class: Option<(QueueId, Kind, ClassId)>,
    /// Contacts for which agents are held.
    confirming: usize,
    /// Lines of contacts that wait for one agent alone. No empty sets are kept.
    private: BTreeMap<AgentId, BTreeSet<(Standing, WaitKey, ClassId)>>,
    /// Waiting contacts by queue and the site that they prefer. No zeros are kept.
    waiting_at: BTreeMap<(QueueId, SiteId), u32>,
    /// Live contacts that have a place in a queue beside their own. No zeros are kept.
    joined: BTreeMap<QueueId, u32>,
    /// All contacts that wait for one agent alone, also those who stand in no line.
    waited_for: BTreeSet<(AgentId, ContactId)>,
}

// --- reading --------------------------------------------------------------------------------------

impl Index {
    pub(crate) fn class(&self, id: ClassId) -> Option<&Class> {
        self.classes.get(id.0 as usize)?.as_ref()
    }

    fn class_id(&self, contact: &Contact) -> Option<ClassId> {
        if let Some((queue, (reserve, requirement), id)) = &self.latest_class
            && *queue == contact.queue
            && *reserve == contact.stage.reserve
            && requirement.is_same(&contact.requirement)
        {
            return Some(*id);
        }
        self.halls.get(&contact.queue)?.classes.get(&kind_of(contact)).copied()
    }

    pub(crate) fn class_of(&self, contact: &Contact) -> Option<&Class> {
        self.class(self.class_id(contact)?)
    }

    pub(crate) fn class_count(&self) -> usize {
        self.class_count
    }

    /// Classes of a queue that are in use.
    pub(crate) fn class_count_of(&self, queue: QueueId) -> usize {
        let classes = self.halls.get(&queue).into_iter().flat_map(|hall| hall.classes.values());
        classes.filter_map(|id| self.class(*id)).filter(|class| class.uses > 0).count()
    }

    pub(crate) fn has_class_of(&self, contact: &Contact) -> bool {
        self.class_of(contact).is_some_and(|class| class.uses > 0)
    }

    pub(crate) fn queue_len(&self, queue: QueueId) -> u32 {
        self.halls.get(&queue).map_or(0, |hall| hall.len)
    }

    /// Contacts with a place in the line of a queue that prefer a site.
    pub(crate) fn waiting_at(&self, queue: QueueId, site: SiteId) -> u32 {
        self.waiting_at.get(&(queue, site)).copied().unwrap_or(0)
    }

    /// Agents at work who serve a queue.
    pub(crate) fn staff_of(&self, queue: QueueId) -> u32 {
        let Some(column) = self.columns.find(Attribute::Queue(queue)) else { return 0 };
        self.floors.values().map(|floor| floor.staff_of(column)).sum()
    }

    /// True when somebody who may serve a contact, in any of its queues, is logged in somewhere.
    pub(crate) fn is_anybody_there_for(&self, contact: &Contact) -> bool {
        let here = |contact: &Contact| {
            let class = self.class_of(contact);
            class.is_some_and(|class| self.floors.keys().any(|site| self.is_staffed(class, *site)))
        };
        here(contact) || contact.elsewhere().any(|other| here(&other))
    }

    /// True when somebody who may serve a contact in its first queue is logged in at a site.
    pub(crate) fn is_staffed_for(&self, contact: &Contact, site: SiteId) -> bool {
        self.class_of(contact).is_some_and(|class| self.is_staffed(class, site))
    }

    pub(crate) fn load_of(&self, site: SiteId) -> SiteLoad {
        self.loads.get(&site).copied().unwrap_or_default()
    }

    /// Agents at work at a site who serve a queue.
    pub(crate) fn staff_at(&self, queue: QueueId, site: SiteId) -> u32 {
        let column = self.columns.find(Attribute::Queue(queue));
        column.and_then(|column| Some(self.floors.get(&site)?.staff_of(column))).unwrap_or(0)
    }

    fn change_load(&mut self, before: Option<&Agent>, after: Option<&Agent>) {
        let share = |agent: Option<&Agent>| {
            let agent = agent?;
            let at_work = u32::from(agent.login != LoginState::LoggedOut);
            Some((agent.site, SiteLoad { at_work, engaged: u32::from(agent.is_engaged()) }))
        };
        let (was, is) = (share(before), share(after));
        if was == is {
            return;
        }
        if let Some((site, was)) = was
            && let Some(load) = self.loads.get_mut(&site)
        {
            load.at_work -= was.at_work;
            load.engaged -= was.engaged;
            if *load == SiteLoad::default() {
                self.loads.remove(&site);
            }
        }
        if let Some((site, is)) = is.filter(|(_, is)| *is != SiteLoad::default()) {
            let load = self.loads.entry(site).or_default();
            load.at_work += is.at_work;
            load.engaged += is.engaged;
        }
    }

    pub(crate) fn sites_with_agents(&self) -> impl Iterator<Item = SiteId> {
        self.floors.keys().copied()
    }

    /// The first of every line of a queue, in their order.
    pub(crate) fn heads(&self, queue: QueueId, standing: Standing) -> impl Iterator<Item = &Head> {
        self.halls.get(&queue).into_iter().flat_map(move |hall| hall.heads(standing))
    }

    /// Lines that somebody stands in, those of one's own included.
    pub(crate) fn line_count(&self) -> usize {
        let lines: usize =
            self.halls.values().map(|hall| hall.heads(Standing::Waiting).len()).sum();
        lines + self.private.len()
    }

    /// Ready agents; who stands in several orders is counted for each.
    pub(crate) fn ready_count(&self) -> usize {
        let boards = self.floors.values().flat_map(Floor::boards);
        boards.map(|(_, board)| board.len()).sum()
    }

    /// Ready agents.
    pub(crate) fn ready_agents(&self) -> BTreeSet<AgentId> {
        let boards = self.floors.values().flat_map(Floor::boards);
        boards.flat_map(|(_, board)| board.iter()).map(|(.., agent)| agent).collect()
    }

    /// The first of every line of all queues, in no order.
    pub(crate) fn all_heads(&self) -> impl Iterator<Item = &Head> {
        self.halls.values().flat_map(|hall| hall.heads(Standing::Waiting))
    }

    /// Contacts that wait for this agent alone, in their order.
    pub(crate) fn private(
        &self,
        agent: AgentId,
        standing: Standing,
    ) -> impl Iterator<Item = (WaitKey, ClassId)> {
        let all = self.private.get(&agent).into_iter().flatten();
        all.filter(move |(at, ..)| *at == standing).map(|(_, key, class)| (*key, *class))
    }

    /// Contacts that wait for this agent alone.
    pub(crate) fn waiting_for(&self, agent: AgentId) -> impl Iterator<Item = ContactId> {
        let from = (agent, ContactId::default());
        let all = self.waited_for.range(from..).take_while(move |(other, _)| *other == agent);
        all.map(|(_, contact)| *contact)
    }

    /// The first of a queue who waits or is being confirmed, whoever may serve them. Looks at every line.
    pub(crate) fn first_of_queue(&self, queue: QueueId) -> Option<WaitKey> {
        let hall = self.halls.get(&queue)?;
        let both = [Standing::Waiting, Standing::Confirming];
        let heads = both.into_iter().filter_map(|standing| hall.heads(standing).first());
        let private = self.private.values().flatten();
        let private = private.filter(|(.., id)| self.class(*id).is_some_and(|c| c.queue == queue));
        heads.map(|head| head.key).chain(private.map(|(_, key, _)| *key)).min()
    }

    /// How many stand in the lines of a queue before a place, counted up to `most`. Those who wait for one
    /// agent alone stand in no line of the queue.
    pub(crate) fn waiting_before(&self, queue: QueueId, key: WaitKey, most: usize) -> usize {
        let classes = self.halls.get(&queue).into_iter().flat_map(|hall| hall.classes.values());
        let classes = classes.filter_map(|id| self.class(*id));
        let lines = classes.flat_map(|class| [&class.waiting, &class.confirming]);
        lines.flat_map(|line| line.before(key)).take(most).count()
    }

    /// True when contacts of other queues have a place in this one as well.
    pub(crate) fn is_joined(&self, queue: QueueId) -> bool {
        self.joined.contains_key(&queue)
    }

    /// Agents for whom alone contacts stand in a line.
    pub(crate) fn agents_waited_for(&self) -> impl Iterator<Item = AgentId> {
        self.private.keys().copied()
    }

    /// True while agents are held for some contact.
    pub(crate) fn is_confirming(&self) -> bool {
        self.confirming > 0
    }

    /// True when this agent serves the queue of a class and meets its requirement.
    pub(crate) fn meets(&self, agent: AgentId, class: &Class) -> bool {
        let Some(seat) = self.seats.get(agent.0) else { return false };
        self.floors.get(&seat.site).is_some_and(|floor| floor.passes(&class.filter, seat))
    }

    /// True when somebody who serves a class is logged in at a site.
    pub(crate) fn is_staffed(&self, class: &Class, site: SiteId) -> bool {
        self.floors.get(&site).is_some_and(|floor| floor.is_staffed(&class.filter, site))
    }

    /// Of the ready agents of a site who may serve a class, the first in the order of its queue: after
    /// `after`, before `before`. Whether the site takes contacts is not asked here.
    pub(crate) fn first_ready(
        &self,
        class: &Class,
        site: SiteId,
        after: Option<ReadyKey>,
        before: Option<ReadyKey>,
    ) -> Option<ReadyKey> {
        let strategy = self.halls.get(&class.queue)?.strategy;
        let board = self.floors.get(&site)?.board(Order::of(strategy, class.queue))?;
        let fit = match strategy {
            Strategy::MostSkilled => Fit::Highest,
            Strategy::LeastSkilled => Fit::Lowest,
            _ => return board.first_to_pass(&class.filter, site, after, before),
        };
        let best = board.best_fit(&class.filter, site, fit, after)?;
        before.is_none_or(|before| best < before).then_some(best)
    }

    /// Sites that may have the first agent of a class, the likeliest first: who is found at one of them before
    /// the given first agent of the next comes before all agents there. `None`: they have to be asked all.
    pub(crate) fn sites_in_order(
        &self,
        class: &Class,
    ) -> Option<impl Iterator<Item = (ReadyKey, SiteId)>> {
        let strategy = self.halls.get(&class.queue)?.strategy;
        let by_fit = matches!(strategy, Strategy::MostSkilled | Strategy::LeastSkilled);
        (!by_fit).then(|| self.fronts.sites(Order::of(strategy, class.queue)))
    }

    /// Who serves a queue; looks at all agents.
    pub(crate) fn agents_of_queue(&self, queue: QueueId) -> impl Iterator<Item = AgentId> {
        let column = self.columns.find(Attribute::Queue(queue));
        let serves = move |seat: &Seat| seat.levels.iter().any(|(at, _)| Some(*at) == column);
        self.seats.iter().filter(move |(_, seat)| serves(seat)).map(|(agent, _)| AgentId(agent))
    }
}

// --- queues and classes ---------------------------------------------------------------------------

impl Index {
    pub(crate) fn add_queue<'a>(
        &mut self,
        queue: &Queue,
        agent: impl Fn(AgentId) -> Option<&'a Agent>,
    ) {
        if self.queue_by_name.insert((queue.tenant, queue.name.clone()), queue.id).is_none() {
            self.use_of(queue.tenant).queues += 1;
        }
        let hall = self.halls.entry(queue.id).or_default();
        if hall.strategy == queue.rules.strategy {
            return;
        }
        hall.strategy = queue.rules.strategy;
        // Its agents stand in another order now.
        let agents: Vec<&Agent> = self.agents_of_queue(queue.id).filter_map(agent).collect();
        for agent in agents {
            let orders = self.orders_of(agent);
            let mut before = Vec::new();
            self.with_seat(agent.id, |seat, floor, seats| {
                if agent.is_waiting() {
                    floor.hide(agent, seat, seats);
                }
                before = std::mem::replace(&mut seat.orders, orders);
                if agent.is_waiting() {
                    floor.show(agent, seat);
                }
            });
            self.note_fronts(agent.site, &before);
        }
    }

    /// Notes who is first now in these orders of a site.
    fn note_fronts(&mut self, site: SiteId, orders: &[Order]) {
        let Some(floor) = self.floors.get(&site) else { return };
        for order in orders {
            self.fronts.set(*order, site, floor.board(*order).and_then(Board::first));
        }
    }

    pub(crate) fn remove_queue(&mut self, queue: &Queue) {
        self.queue_by_name.remove(&(queue.tenant, queue.name.clone()));
        self.use_of(queue.tenant).queues -= 1;
        self.latest_class = None;
        let Some(hall) = self.halls.remove(&queue.id) else { return };
        for id in hall.classes.into_values() {
            if let Some(class) = self.classes.get_mut(id.0 as usize).and_then(Option::take) {
                debug_assert!(class.uses == 0, "a queue with contacts was removed");
                self.idle_classes.remove(&(class.idle, id));
                self.free_classes.push(id);
            }
        }
    }

    pub(crate) fn use_of(&mut self, tenant: TenantId) -> &mut Usage {
        self.usage.entry(tenant).or_default()
    }

    /// The class of a contact, which has one more user now; made when there is none.
    fn use_class(&mut self, contact: &Contact) -> ClassId {
        if let Some(id) = self.class_id(contact)
            && let Some(Some(class)) = self.classes.get_mut(id.0 as usize)
        {
            if class.uses == 0 {
                self.idle_classes.remove(&(class.idle, id));
                self.class_count += 1;
            }
            class.uses += 1;
            self.latest_class = Some((contact.queue, kind_of(contact), id));
            return id;
        }
        let (queue, kind) = (contact.queue, kind_of(contact));
        let class = Class {
            queue,
            filter: Filter::new(queue, kind.0, &kind.1, &mut self.columns),
            kind: kind.clone(),
            waiting: Line::default(),
            confirming: Line::default(),
            uses: 1,
            idle: 0,
        };
        self.class_count += 1;
        let id = self.free_classes.pop().unwrap_or_else(|| {
            self.classes.push(None);
            ClassId(u32::try_from(self.classes.len() - 1).unwrap_or(u32::MAX))
        });
        if let Some(slot) = self.classes.get_mut(id.0 as usize) {
            *slot = Some(class);
        }
        self.halls.entry(queue).or_default().classes.insert(kind, id);
        id
    }

    /// Makes the class of a contact that is on its way in, so that it can be asked who may serve it.
    pub(crate) fn prepare_class(&mut self, contact: &Contact) {
        self.use_class(contact);
        self.release_class(contact);
        for other in contact.elsewhere() {
            self.use_class(&other);
            self.release_class(&other);
        }
    }

    fn release_class(&mut self, contact: &Contact) {
        let Some(id) = self.class_id(contact) else { return };
        let Some(Some(class)) = self.classes.get_mut(id.0 as usize) else { return };
        class.uses -= 1;
        if class.uses > 0 {
            return;
        }
        self.class_count -= 1;
        self.idle_count += 1;
        class.idle = self.idle_count;
        self.idle_classes.insert((class.idle, id));
        if self.idle_classes.len() > IDLE_CLASSES_KEPT {
            self.drop_oldest_class();
        }
    }

    fn drop_oldest_class(&mut self) {
        self.latest_class = None;
        let Some((_, id)) = self.idle_classes.pop_first() else { return };
        let Some(class) = self.classes.get_mut(id.0 as usize).and_then(Option::take) else {
            return;
        };
        if let Some(hall) = self.halls.get_mut(&class.queue) {
            hall.classes.remove(&class.kind);
        }
        self.free_classes.push(id);
    }
}

// --- contacts -------------------------------------------------------------------------------------

impl Index {
    pub(crate) fn add_contact(&mut self, contact: &Contact) {
        self.use_of(contact.tenant).contacts += 1;
        self.waited_for.extend(alone(contact));
        self.deadlines.extend(contact_deadlines(contact));
        self.enter(contact, Place::of(contact));
        for other in contact.elsewhere() {
            self.enter(&other, Place::elsewhere(&other));
            *self.joined.entry(other.queue).or_default() += 1;
        }
    }

    /// Takes a contact into its queue.
    fn enter(&mut self, contact: &Contact, place: Option<Place>) {
        let id = self.use_class(contact);
        self.count(contact, 1);
        if let Some(place) = place {
            self.stand(contact.queue, id, place);
        }
    }

    /// Reverses [`Index::enter`].
    fn exit(&mut self, contact: &Contact, place: Option<Place>) {
        self.count(contact, -1);
        if let (Some(place), Some(id)) = (place, self.class_id(contact)) {
            self.leave(contact.queue, id, place);
        }
        self.release_class(contact);
    }

    pub(crate) fn remove_contact(&mut self, contact: &Contact) {
        self.use_of(contact.tenant).contacts -= 1;
        if let Some(alone) = alone(contact) {
            self.waited_for.remove(&alone);
        }
        for deadline in contact_deadlines(contact) {
            self.deadlines.remove(&deadline);
        }
        for other in contact.elsewhere() {
            self.exit(&other, Place::elsewhere(&other));
            let joined = self.joined.entry(other.queue).or_default();
            *joined -= 1;
            if *joined == 0 {
                self.joined.remove(&other.queue);
            }
        }
        self.exit(contact, Place::of(contact));
    }

    /// Follows a change of a contact.
    pub(crate) fn change_contact(&mut self, before: &Contact, after: &Contact) {
        let same = before.queue == after.queue && before.requirement == after.requirement;
        let alone_in_one = before.also.is_empty() && after.also.is_empty();
        if !same || !alone_in_one || before.stage.reserve != after.stage.reserve {
            self.remove_contact(before);
            self.add_contact(after);
            return;
        }
        if before.is_waiting() != after.is_waiting() || before.serving != after.serving {
            self.count(before, -1);
            self.count(after, 1);
        }
        if alone(before) != alone(after) {
            if let Some(alone) = alone(before) {
                self.waited_for.remove(&alone);
            }
            self.waited_for.extend(alone(after));
        }
        if !contact_deadlines(before).eq(contact_deadlines(after)) {
            for deadline in contact_deadlines(before) {
                self.deadlines.remove(&deadline);
            }
            self.deadlines.extend(contact_deadlines(after));
        }
        let (was, is) = (Place::of(before), Place::of(after));
        if was != is
            && let Some(id) = self.class_id(after)
        {
            if let Some(was) = was {
                self.leave(after.queue, id, was);
            }
            if let Some(is) = is {
                self.stand(after.queue, id, is);
            }
        }
    }

    fn count(&mut self, contact: &Contact, change: i32) {
        if !contact.is_waiting() {
            return;
        }
        if let Some(hall) = self.halls.get_mut(&contact.queue) {
            hall.len = hall.len.saturating_add_signed(change);
        }
        let key = (contact.queue, contact.serving);
        let count = self.waiting_at.entry(key).or_default();
        *count = count.saturating_add_signed(change);
        if *count == 0 {
            self.waiting_at.remove(&key);
        }
    }

    fn stand(&mut self, queue: QueueId, id: ClassId, place: Place) {
        self.confirming += usize::from(place.standing == Standing::Confirming);
        if let KeptFor::Agent(agent) = place.kept_for {
            self.private.entry(agent).or_default().insert((place.standing, place.key, id));
            return;
        }
        if let (Some(hall), Some(Some(class))) =
            (self.halls.get_mut(&queue), self.classes.get_mut(id.0 as usize))
        {
            hall.insert(class, id, place);
        }
    }

    fn leave(&mut self, queue: QueueId, id: ClassId, place: Place) {
        self.confirming -= usize::from(place.standing == Standing::Confirming);
        if let KeptFor::Agent(agent) = place.kept_for {
            if let Some(set) = self.private.get_mut(&agent) {
                set.remove(&(place.standing, place.key, id));
                if set.is_empty() {
                    self.private.remove(&agent);
                }
            }
            return;
        }
        if let (Some(hall), Some(Some(class))) =
            (self.halls.get_mut(&queue), self.classes.get_mut(id.0 as usize))
        {
            hall.remove(class, id, place);
        }
    }
}

// --- agents ---------------------------------------------------------------------------------------

impl Index {
    /// Takes an agent in.
    pub(crate) fn add_agent(&mut self, agent: &Agent) {
        self.change_load(None, Some(agent));
        self.agent_by_name.insert((agent.tenant, agent.name.clone()), agent.id);
        let queues = agent.queues.iter().map(|queue| {
            let reserve = agent.reserves.get(queue).copied().unwrap_or(0);
            (Attribute::Queue(*queue), MEMBER.saturating_sub(reserve).max(1))
        });
        let skills = agent.skills.iter().map(|(skill, level)| (Attribute::Skill(*skill), *level));
        let pairs = agent.attributes.iter();
        let pairs = pairs.map(|(key, value)| (Attribute::Pair(key.clone(), value.clone()), 1));
        let levels: Box<[(Column, u8)]> = queues
            .chain(skills)
            .chain(pairs)
            .map(|(what, level)| (self.columns.of(what), level))
            .collect();
        let orders = self.orders_of(agent);
        let floor = self.floors.entry(agent.site).or_default();
        let seat = floor.seat(agent, levels, orders);
        floor.staff(&seat, agent);
        if agent.is_waiting() {
            floor.show(agent, &seat);
        }
        self.note_fronts(agent.site, &seat.orders);
        self.seats.insert(agent.id.0, seat);
        self.deadlines.extend(work_deadline(agent));
    }

    pub(crate) fn remove_agent(&mut self, agent: &Agent) {
        self.change_load(Some(agent), None);
        self.agent_by_name.remove(&(agent.tenant, agent.name.clone()));
        self.with_seat(agent.id, |seat, floor, seats| {
            if agent.is_waiting() {
                floor.hide(agent, seat, seats);
            }
            floor.clear(seat);
        });
        self.seats.remove(agent.id.0);
        if let Some(deadline) = work_deadline(agent) {
            self.deadlines.remove(&deadline);
        }
    }

    /// Follows a change of an agent's states; what they are able to do has not changed.
    pub(crate) fn change_agent(&mut self, before: &Agent, after: &Agent) {
        self.change_load(Some(before), Some(after));
        let logged_in = |agent: &Agent| agent.login != LoginState::LoggedOut;
        if before.is_waiting() || after.is_waiting() || logged_in(before) != logged_in(after) {
            self.with_seat(after.id, |seat, floor, seats| {
                if before.is_waiting() {
                    floor.hide(before, seat, seats);
                }
                if after.is_waiting() {
                    floor.show(after, seat);
                }
                floor.staff(seat, after);
            });
        }
        let (was, is) = (work_deadline(before), work_deadline(after));
        if was != is {
            was.map(|was| self.deadlines.remove(&was));
            is.map(|is| self.deadlines.insert(is));
        }
    }

    /// Hands an agent's seat and the floor that it is on to a change.
    fn with_seat(&mut self, agent: AgentId, change: impl FnOnce(&mut Seat, &mut Floor, &Seats)) {
        let Some(slot) = self.seats.get_mut(agent.0) else { return };
        let mut seat = std::mem::take(slot);
        if let Some(floor) = self.floors.get_mut(&seat.site) {
            change(&mut seat, floor, &self.seats);
        }
        self.note_fronts(seat.site, &seat.orders);
        if let Some(slot) = self.seats.get_mut(agent.0) {
            *slot = seat;
        }
    }

    /// The orders that the queues of an agent ask for, each once.
    fn orders_of(&self, agent: &Agent) -> Vec<Order> {
        let strategy = |queue: &QueueId| {
            self.halls.get(queue).map_or(Strategy::default(), |hall| hall.strategy)
        };
        let orders: BTreeSet<Order> =
            agent.queues.iter().map(|queue| Order::of(strategy(queue), *queue)).collect();
        orders.into_iter().collect()
    }
}

// --- deadlines ------------------------------------------------------------------------------------

impl Index {
    pub(crate) fn offer_deadline(offer: &Offer) -> (ClusterTime, Deadline) {
        (offer.expires, Deadline::Offer(offer.number))
    }

    pub(crate) fn reservation_deadline(row: &Reservation) -> (ClusterTime, Deadline) {
        (row.expires, Deadline::Reservation(row.queue, row.caller.clone()))
    }

    pub(crate) fn plan_deadline(plan: &Plan) -> Option<(ClusterTime, Deadline)> {
        plan.next_at.map(|at| (at, Deadline::Plan(plan.id)))
    }

    /// When a calendar closes, as far as anybody has said what time it is.
    pub(crate) fn calendar_deadline(
        calendar: &Calendar,
        wall: Option<WallAnchor>,
    ) -> Option<(ClusterTime, Deadline)> {
        Some((wall?.moment_of(calendar.closes?), Deadline::Calendar(calendar.id)))
    }

    pub(crate) fn last_agent_deadline(row: &LastAgent) -> (ClusterTime, Deadline) {
        (row.expires, Deadline::LastAgent(row.queue, row.caller.clone()))
    }
}

/// The agent for whom alone a contact waits.
fn alone(contact: &Contact) -> Option<(AgentId, ContactId)> {
    let preferred = contact.preferred.filter(|_| contact.is_waiting());
    preferred.map(|preferred| (preferred.agent, contact.id))
}

fn kind_of(contact: &Contact) -> Kind {
    (contact.stage.reserve, contact.requirement.clone())
}

fn work_deadline(agent: &Agent) -> Option<(ClusterTime, Deadline)> {
    agent.work.ends_at().map(|until| (until, Deadline::Work(agent.id)))
}

fn contact_deadlines(contact: &Contact) -> impl Iterator<Item = (ClusterTime, Deadline)> {
    let waits = contact.is_waiting();
    let widen = contact.widen_at.map(|at| (at, Deadline::Widen(contact.id)));
    let wait_max = contact.wait_until.map(|at| (at, Deadline::WaitMax(contact.id)));
    let hold = contact.hold_until.map(|at| (at, Deadline::Hold(contact.id)));
    let stage = contact.stage_at.map(|at| (at, Deadline::Stage(contact.id)));
    let preferred = contact.preferred.map(|row| (row.until, Deadline::Preferred(contact.id)));
    let all = widen.into_iter().chain(wait_max).chain(hold).chain(stage).chain(preferred);
    all.filter(move |_| waits)
}

// --- comparing ------------------------------------------------------------------------------------

/// What two indexes of the same rows must agree on, whatever history they have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Comparable<'a> {
    sites: &'a BTreeMap<Name, SiteId>,
    skills: &'a BTreeMap<(TenantId, Name), SkillId>,
    queues: &'a BTreeMap<(TenantId, Name), QueueId>,
    agents: &'a BTreeMap<(TenantId, Name), AgentId>,
    calendars: &'a BTreeMap<(TenantId, Name), CalendarId>,
    tenants: &'a BTreeMap<Name, TenantId>,
    usage: BTreeMap<TenantId, Usage>,
    loads: &'a BTreeMap<SiteId, SiteLoad>,
    deadlines: &'a BTreeSet<(ClusterTime, Deadline)>,
    confirming: usize,
    class_count: usize,
    halls: BTreeMap<QueueId, ComparableHall>,
    classes: BTreeMap<(QueueId, &'a Kind), (u32, &'a Line, &'a Line)>,
    private: BTreeMap<AgentId, Vec<(Standing, WaitKey, &'a Kind)>>,
    waited_for: &'a BTreeSet<(AgentId, ContactId)>,
    waiting_at: &'a BTreeMap<(QueueId, SiteId), u32>,
    joined: &'a BTreeMap<QueueId, u32>,
    boards: BTreeMap<(SiteId, Order), Vec<ReadyKey>>,
    fronts: &'a Fronts,
    seats: BTreeMap<AgentId, ComparableSeat<'a>>,
}

#[derive(Debug, PartialEq, Eq)]
struct ComparableHall {
    strategy: Strategy,
    len: u32,
    heads: [Vec<(WaitKey, KeptFor)>; 2],
}

#[derive(Debug, PartialEq, Eq)]
struct ComparableSeat<'a> {
    site: SiteId,
    is_staffed: bool,
    levels: BTreeMap<Attribute, u8>,
    orders: &'a [Order],
}

impl Index {
    pub(crate) fn comparable(&self) -> Comparable<'_> {
        let heads = |hall: &Hall, standing| {
            hall.heads(standing).iter().map(|head| (head.key, head.kept_for)).collect()
        };
        let hall = |hall: &Hall| ComparableHall {
            strategy: hall.strategy,
            len: hall.len,
            heads: [heads(hall, Standing::Waiting), heads(hall, Standing::Confirming)],
        };
        let seat = |seat: &'_ Seat| {
            let floor = self.floors.get(&seat.site);
            (seat.site, floor.is_some_and(|floor| floor.has_staff_at(seat)))
        };
        Comparable {
            sites: &self.site_by_name,
            skills: &self.skill_by_name,
            queues: &self.queue_by_name,
            agents: &self.agent_by_name,
            calendars: &self.calendar_by_name,
            tenants: &self.tenant_by_name,
            loads: &self.loads,
            usage: self
                .usage
                .iter()
                .filter(|(_, usage)| **usage != Usage::default())
                .map(|(tenant, usage)| (*tenant, *usage))
                .collect(),
            deadlines: &self.deadlines,
            confirming: self.confirming,
            class_count: self.class_count,
            halls: self.halls.iter().map(|(id, row)| (*id, hall(row))).collect(),
            classes: self
                .classes
                .iter()
                .flatten()
                .filter(|class| class.uses > 0)
                .map(|class| {
                    let key = (class.queue, &class.kind);
                    (key, (class.uses, &class.waiting, &class.confirming))
                })
                .collect(),
            waited_for: &self.waited_for,
            waiting_at: &self.waiting_at,
            joined: &self.joined,
            private: self
                .private
                .iter()
                .map(|(agent, set)| {
                    let place = |(standing, key, id): &(Standing, WaitKey, ClassId)| {
                        Some((*standing, *key, &self.class(*id)?.kind))
                    };
                    (*agent, set.iter().filter_map(place).collect())
                })
                .collect(),
            fronts: &self.fronts,
            boards: self
                .floors
                .iter()
                .flat_map(|(site, floor)| {
                    floor.boards().map(|(order, board)| ((*site, order), board.iter().collect()))
                })
                .collect(),
            seats: self
                .seats
                .iter()
                .map(|(agent, row)| {
                    let (site, is_staffed) = seat(row);
                    let levels = row
                        .levels
                        .iter()
                        .filter_map(|(column, level)| Some((self.columns.what(*column)?, *level)))
                        .collect();
                    (
                        AgentId(agent),
                        ComparableSeat { site, is_staffed, levels, orders: &row.orders },
                    )
                })
                .collect(),
        }
    }
}
