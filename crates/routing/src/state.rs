//! The queue's replicated state: rows, and indexes derived from them.
//!
//! Every change of an indexed row goes through the methods here, which keep the indexes true. The
//! rules (who is offered what, what a command does) are in `apply` and `matching`.

use std::sync::Arc;

use crate::{
    digest::Digest,
    entity::{
        Agent, AgentInterval, Calendar, Contact, Counters, LastAgent, ListedCaller, LoginState,
        Number, Offer, Plan, Queue, QueueInterval, Reservation, Site, SiteInterval, Skill, Tenant,
        WaitKey, Work, WorkItem, WorkState, interval_of,
    },
    ids::{
        AgentId, CalendarId, ContactId, GroupId, OfferNumber, Ordinal, QueueId, SiteId, TenantId,
    },
    index::Index,
    limits::{AGENT_INTERVALS_MAX, APPLY_WORK_MAX, INTERVALS_KEPT_MS, QUEUE_INTERVALS_MAX},
    name::{CallerNumber, Name},
    table::{Row, RowChange, RowError, Table, TableTag},
    time::{ClusterTime, Millis},
};

/// Rows of the queue and their indexes. Equal rows give equal behaviour on every node.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// A fault on purpose.
    #[cfg(feature = "planted")]
    pub planted: Option<crate::planted::Planted>,
    pub(crate) counters: Counters,
    counters_row: Table<Counters>,
    pub(crate) sites: Table<Site>,
    pub(crate) skills: Table<Skill>,
    pub(crate) queues: Table<Queue>,
    pub(crate) numbers: Table<Number>,
    pub(crate) agents: Table<Agent>,
    pub(crate) contacts: Table<Contact>,
    pub(crate) offers: Table<Offer>,
    pub(crate) reservations: Table<Reservation>,
    pub(crate) last_agents: Table<LastAgent>,
    pub(crate) queue_intervals: Table<QueueInterval>,
    pub(crate) site_intervals: Table<SiteInterval>,
    pub(crate) agent_intervals: Table<AgentInterval>,
    pub(crate) calendars: Table<Calendar>,
    pub(crate) tenants: Table<Tenant>,
    pub(crate) listed: Table<ListedCaller>,
    pub(crate) plans: Table<Plan>,
    pub(crate) work: Table<Work>,
    pub(crate) index: Index,
    /// Steps of bulk work that the running entry may still do.
    steps_left: usize,
}

macro_rules! each_table {
    ($state:expr, |$table:ident| $body:expr) => {{
        {
            let $table = &mut $state.counters_row;
            $body;
        }
        {
            let $table = &mut $state.sites;
            $body;
        }
        {
            let $table = &mut $state.skills;
            $body;
        }
        {
            let $table = &mut $state.queues;
            $body;
        }
        {
            let $table = &mut $state.numbers;
            $body;
        }
        {
            let $table = &mut $state.agents;
            $body;
        }
        {
            let $table = &mut $state.contacts;
            $body;
        }
        {
            let $table = &mut $state.offers;
            $body;
        }
        {
            let $table = &mut $state.reservations;
            $body;
        }
        {
            let $table = &mut $state.last_agents;
            $body;
        }
        {
            let $table = &mut $state.queue_intervals;
            $body;
        }
        {
            let $table = &mut $state.site_intervals;
            $body;
        }
        {
            let $table = &mut $state.agent_intervals;
            $body;
        }
        {
            let $table = &mut $state.calendars;
            $body;
        }
        {
            let $table = &mut $state.tenants;
            $body;
        }
        {
            let $table = &mut $state.listed;
            $body;
        }
        {
            let $table = &mut $state.plans;
            $body;
        }
        {
            let $table = &mut $state.work;
            $body;
        }
    }};
}

// --- reading ------------------------------------------------------------------------------------

impl State {
    /// ClusterTime of the last applied entry.
    #[must_use]
    pub fn now(&self) -> ClusterTime {
        self.counters.now
    }

    /// Counters and clock.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// All sites.
    #[must_use]
    pub fn sites(&self) -> &Table<Site> {
        &self.sites
    }

    /// All skills.
    #[must_use]
    pub fn skills(&self) -> &Table<Skill> {
        &self.skills
    }

    /// All queues.
    #[must_use]
    pub fn queues(&self) -> &Table<Queue> {
        &self.queues
    }

    /// All called numbers.
    #[must_use]
    pub fn numbers(&self) -> &Table<Number> {
        &self.numbers
    }

    /// All agents.
    #[must_use]
    pub fn agents(&self) -> &Table<Agent> {
        &self.agents
    }

    /// All live contacts.
    #[must_use]
    pub fn contacts(&self) -> &Table<Contact> {
        &self.contacts
    }

    /// All current offers.
    #[must_use]
    pub fn offers(&self) -> &Table<Offer> {
        &self.offers
    }

    /// All reserved places.
    #[must_use]
    pub fn reservations(&self) -> &Table<Reservation> {
        &self.reservations
    }

    /// Conversations that are remembered for callers who come back.
    #[must_use]
    pub fn last_agents(&self) -> &Table<LastAgent> {
        &self.last_agents
    }

    /// What was counted of each queue, by intervals.
    #[must_use]
    pub fn queue_intervals(&self) -> &Table<QueueInterval> {
        &self.queue_intervals
    }

    /// What was counted of each site's agents, by intervals.
    #[must_use]
    pub fn site_intervals(&self) -> &Table<SiteInterval> {
        &self.site_intervals
    }

    /// What was counted of each agent, by intervals; the running one is in the agent's row.
    #[must_use]
    pub fn agent_intervals(&self) -> &Table<AgentInterval> {
        &self.agent_intervals
    }

    /// All opening hours.
    #[must_use]
    pub fn calendars(&self) -> &Table<Calendar> {
        &self.calendars
    }

    /// All tenants that have a row.
    #[must_use]
    pub fn tenants(&self) -> &Table<Tenant> {
        &self.tenants
    }

    /// All callers in lists.
    #[must_use]
    pub fn listed(&self) -> &Table<ListedCaller> {
        &self.listed
    }

    /// Rebalance plans, the oldest first.
    #[must_use]
    pub fn plans(&self) -> &Table<Plan> {
        &self.plans
    }

    /// The site of this name.
    #[must_use]
    pub fn site_named(&self, name: &Name) -> Option<&Site> {
        self.index.site_by_name.get(name).and_then(|id| self.sites.get(id))
    }

    /// The queue of this name.
    #[must_use]
    pub fn queue_named(&self, tenant: TenantId, name: &Name) -> Option<&Queue> {
        let id = self.index.queue_by_name.get(&(tenant, name.clone()))?;
        self.queues.get(id)
    }

    /// The agent of this name.
    #[must_use]
    pub fn agent_named(&self, tenant: TenantId, name: &Name) -> Option<&Agent> {
        let id = self.index.agent_by_name.get(&(tenant, name.clone()))?;
        self.agents.get(id)
    }

    /// Contacts with a place in the line of this queue.
    #[must_use]
    pub fn queue_len(&self, queue: QueueId) -> u32 {
        self.index.queue_len(queue)
    }

    /// How many wait in a queue before a place, counted up to `most`: callers whose agent's phone rings, and
    /// those who wait for one agent alone, are not among them.
    #[must_use]
    pub fn waiting_before(&self, queue: QueueId, place: WaitKey, most: usize) -> usize {
        self.index.waiting_before(queue, place, most)
    }

    /// When the next deadline is due, if there is one.
    #[must_use]
    pub fn next_deadline(&self) -> Option<ClusterTime> {
        self.index.deadlines.first().map(|(at, _)| *at)
    }

    /// True when the work list is not empty: the leader should propose `ContinueWork`.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.work.is_empty()
    }

    /// True when an agent can be offered a contact now.
    #[must_use]
    pub fn is_available(&self, agent: &Agent) -> bool {
        agent.is_waiting() && self.site_takes_contacts(agent.site)
    }

    /// True when a site's agents may be offered contacts now.
    #[must_use]
    pub fn site_takes_contacts(&self, site: SiteId) -> bool {
        self.site_is_in_service(site) && !self.site_is_full(site)
    }

    /// True when a site is open and has a weight.
    pub(crate) fn site_is_in_service(&self, site: SiteId) -> bool {
        planted!(self, DrainIsIgnored) || self.sites.get(&site).is_some_and(Site::takes_contacts)
    }

    /// True when a site's agents have as many contacts as its cap allows.
    #[must_use]
    pub fn site_is_full(&self, site: SiteId) -> bool {
        let cap = self.sites.get(&site).and_then(|row| row.contacts_max);
        let cap = cap.filter(|_| !planted!(self, CapIsIgnored));
        cap.is_some_and(|cap| self.index.load_of(site).engaged >= cap)
    }
}

/// Drops the two oldest intervals if they are not kept any more: as many as come, and more.
fn drop_old<R: Row>(
    rows: &mut Table<R>,
    now: ClusterTime,
    max: usize,
    start: impl Fn(&R) -> ClusterTime,
) {
    for _ in 0..2 {
        let Some(oldest) = rows.iter().next() else { return };
        if now.since(start(oldest)).0 < INTERVALS_KEPT_MS && rows.len() < max {
            return;
        }
        let key = oldest.key();
        rows.remove(&key);
    }
}

// --- writing: keeps the indexes true -------------------------------------------------------------

impl State {
    /// Changes an agent's states or configuration. The closure must not change id or tenant.
    pub(crate) fn update_agent(&mut self, id: AgentId, change: impl FnOnce(&mut Agent)) {
        let was_full = self.agents.get(&id).map(|row| (row.site, self.site_is_full(row.site)));
        let Some((before, after)) = self.agents.change(&id, change) else { return };
        let spent = after.work_since.since(before.work_since);
        let counted = (before.counted.start != after.counted.start && !before.counted.is_empty())
            .then_some(before.counted);
        let was = (spent.0 > 0 && before.login != LoginState::LoggedOut)
            .then(|| (before.site, before.work.clone(), before.after));
        let same = |a: &Agent, b: &Agent| {
            let skills = Arc::ptr_eq(&a.skills, &b.skills) || a.skills == b.skills;
            let queues = Arc::ptr_eq(&a.queues, &b.queues) || a.queues == b.queues;
            let tiers = Arc::ptr_eq(&a.tiers, &b.tiers) || a.tiers == b.tiers;
            let reserves = Arc::ptr_eq(&a.reserves, &b.reserves) || a.reserves == b.reserves;
            let attributes =
                Arc::ptr_eq(&a.attributes, &b.attributes) || a.attributes == b.attributes;
            skills && queues && tiers && reserves && attributes && a.site == b.site
        };
        if same(before, after) {
            self.index.change_agent(before, after);
        } else {
            self.index.remove_agent(before);
            self.index.add_agent(after);
        }
        if let Some((site, was_full)) = was_full
            && was_full != self.site_is_full(site)
        {
            // Its agents may be asked again, or those of other sites instead of them.
            self.add_work(WorkItem::Rematch);
        }
        self.keep_counted(counted);
        if let Some((site, work, after)) = was {
            self.count_at_site(site, |row| row.count_time(&work, spent));
            if let (WorkState::WrapUp(_), Some(after)) = (&work, after) {
                self.count(after.queue, |row, _| row.wrap_up += spent);
            }
        }
    }

    /// Counts something of a queue in the running interval; its target of answering is handed in.
    pub(crate) fn count(&mut self, id: QueueId, count: impl FnOnce(&mut QueueInterval, Millis)) {
        let Some(queue) = self.queues.get(&id) else { return };
        let (start, target) = (interval_of(self.counters.now), queue.rules.answer_within);
        let mut count = Some(count);
        let counted = self
            .queue_intervals
            .update(&(start, id), |row| count.take().map(|count| count(row, target)));
        if counted.is_none() {
            let tenant = queue.tenant;
            let mut row = QueueInterval { start, queue: id, tenant, ..<_>::default() };
            if let Some(count) = count.take() {
                count(&mut row, target);
            }
            drop_old(&mut self.queue_intervals, start, QUEUE_INTERVALS_MAX, |row| row.start);
            self.queue_intervals.insert(row);
        }
    }

    /// Counts something of a site's agents in the running interval.
    pub(crate) fn count_at_site(&mut self, site: SiteId, count: impl FnOnce(&mut SiteInterval)) {
        let start = interval_of(self.counters.now);
        let mut count = Some(count);
        let counted =
            self.site_intervals.update(&(start, site), |row| count.take().map(|count| count(row)));
        if counted.is_none() {
            let mut row = SiteInterval { start, site, ..<_>::default() };
            if let Some(count) = count.take() {
                count(&mut row);
            }
            drop_old(&mut self.site_intervals, start, usize::MAX, |row| row.start);
            self.site_intervals.insert(row);
        }
    }

    /// Keeps what was counted of an agent in an interval that is over for them.
    fn keep_counted(&mut self, counted: Option<AgentInterval>) {
        let Some(counted) = counted else { return };
        let start = interval_of(self.counters.now);
        drop_old(&mut self.agent_intervals, start, AGENT_INTERVALS_MAX, |row| row.start);
        self.agent_intervals.insert(counted);
    }

    pub(crate) fn insert_agent(&mut self, agent: Agent) {
        self.index.use_of(agent.tenant).agents += 1;
        self.index.add_agent(&agent);
        self.agents.insert(agent);
    }

    pub(crate) fn remove_agent(&mut self, id: AgentId) {
        if let Some(agent) = self.agents.remove(&id) {
            self.index.remove_agent(agent);
            self.index.use_of(agent.tenant).agents -= 1;
            let counted = (!agent.counted.is_empty()).then_some(agent.counted);
            self.keep_counted(counted);
        }
    }

    /// Changes a contact. The closure must not change id or tenant.
    pub(crate) fn update_contact(&mut self, id: ContactId, change: impl FnOnce(&mut Contact)) {
        if let Some((before, after)) = self.contacts.change(&id, change) {
            self.index.change_contact(before, after);
        }
    }

    pub(crate) fn insert_contact(&mut self, contact: Contact) {
        self.index.add_contact(&contact);
        self.contacts.insert(contact);
    }

    pub(crate) fn remove_contact(&mut self, id: ContactId) -> Option<Contact> {
        let contact = self.contacts.remove(&id)?;
        self.index.remove_contact(contact);
        Some(contact.clone())
    }

    /// Adds or replaces a queue. Its contacts follow by the work list.
    pub(crate) fn put_queue(&mut self, queue: Queue) {
        let agents = &self.agents;
        self.index.add_queue(&queue, |id| agents.get(&id));
        self.queues.insert(queue);
    }

    pub(crate) fn remove_queue(&mut self, id: QueueId) {
        if let Some(queue) = self.queues.remove(&id) {
            self.index.remove_queue(queue);
        }
    }

    pub(crate) fn insert_site(&mut self, site: Site) {
        self.index.site_by_name.insert(site.name.clone(), site.id);
        self.sites.insert(site);
    }

    pub(crate) fn insert_skill(&mut self, skill: Skill) {
        self.index.skill_by_name.insert((skill.tenant, skill.name.clone()), skill.id);
        self.skills.insert(skill);
    }

    pub(crate) fn insert_offer(&mut self, offer: Offer) {
        self.index.deadlines.insert(Index::offer_deadline(&offer));
        self.offers.insert(offer);
    }

    pub(crate) fn remove_offer(&mut self, number: OfferNumber) -> Option<Offer> {
        let offer = self.offers.remove(&number)?.clone();
        self.index.deadlines.remove(&Index::offer_deadline(&offer));
        Some(offer)
    }

    pub(crate) fn put_reservation(&mut self, row: Reservation) {
        self.remove_reservation(&(row.queue, row.caller.clone()));
        self.index.deadlines.insert(Index::reservation_deadline(&row));
        self.reservations.insert(row);
    }

    pub(crate) fn remove_reservation(
        &mut self,
        key: &(QueueId, CallerNumber),
    ) -> Option<Reservation> {
        let row = self.reservations.remove(key)?.clone();
        self.index.deadlines.remove(&Index::reservation_deadline(&row));
        Some(row)
    }

    pub(crate) fn put_last_agent(&mut self, row: LastAgent) {
        self.remove_last_agent(&(row.queue, row.caller.clone()));
        self.index.deadlines.insert(Index::last_agent_deadline(&row));
        self.last_agents.insert(row);
    }

    pub(crate) fn remove_last_agent(&mut self, key: &(QueueId, CallerNumber)) {
        if let Some(row) = self.last_agents.remove(key) {
            self.index.deadlines.remove(&Index::last_agent_deadline(row));
        }
    }

    pub(crate) fn put_number(&mut self, number: Number) {
        if !self.numbers.contains(&number.number) {
            self.index.use_of(number.tenant).numbers += 1;
        }
        self.numbers.insert(number);
    }

    pub(crate) fn remove_number(&mut self, number: &Name) {
        if let Some(number) = self.numbers.remove(number) {
            self.index.use_of(number.tenant).numbers -= 1;
        }
    }

    pub(crate) fn put_calendar(&mut self, calendar: Calendar) {
        let wall = self.counters.wall;
        let before = self.calendars.get(&calendar.id);
        if let Some(before) = before.and_then(|row| Index::calendar_deadline(row, wall)) {
            self.index.deadlines.remove(&before);
        }
        self.index.deadlines.extend(Index::calendar_deadline(&calendar, wall));
        let name = (calendar.tenant, calendar.name.clone());
        self.index.calendar_by_name.insert(name, calendar.id);
        self.calendars.insert(calendar);
    }

    pub(crate) fn remove_calendar(&mut self, id: CalendarId) {
        if let Some(calendar) = self.calendars.remove(&id) {
            if let Some(deadline) = Index::calendar_deadline(calendar, self.counters.wall) {
                self.index.deadlines.remove(&deadline);
            }
            self.index.calendar_by_name.remove(&(calendar.tenant, calendar.name.clone()));
        }
    }

    pub(crate) fn put_plan(&mut self, plan: Plan) {
        if let Some(before) = self.plans.get(&plan.id).and_then(Index::plan_deadline) {
            self.index.deadlines.remove(&before);
        }
        self.index.deadlines.extend(Index::plan_deadline(&plan));
        self.plans.insert(plan);
    }

    /// Puts an item at the end of the work list; one that is there already is not added twice.
    pub(crate) fn add_work(&mut self, item: WorkItem) {
        if self.work.iter().any(|work| work.item == item) {
            return;
        }
        self.counters.work += 1;
        self.work.insert(Work { number: self.counters.work, item });
    }
}

// --- the log's side -----------------------------------------------------------------------------

impl State {
    /// Begins an entry: its time, clamped (R8), and its share of bulk work, `APPLY_WORK_MAX` steps.
    pub fn begin_entry(&mut self, stamp: ClusterTime) {
        self.counters.now = self.counters.now.clamp(stamp);
        self.steps_left = APPLY_WORK_MAX;
    }

    /// Takes one step of the running entry's bulk work; false when none is left and the caller must
    /// leave the rest to the next entry.
    #[must_use]
    pub fn take_step(&mut self) -> bool {
        let may = self.steps_left > 0;
        self.steps_left = self.steps_left.saturating_sub(1);
        may
    }

    pub(crate) fn steps_left(&self) -> usize {
        self.steps_left
    }

    pub(crate) fn take_steps(&mut self, steps: usize) {
        self.steps_left = self.steps_left.saturating_sub(steps);
    }

    /// Begins a command: one ordinal each.
    pub fn begin_command(&mut self) {
        self.counters.ordinal = self.counters.ordinal.next();
    }

    /// Takes `count` further ordinals out of the counter and returns the first: ids that are given
    /// out within the running command, or reserved for later.
    pub fn reserve_ordinals(&mut self, count: u32) -> Ordinal {
        let first = self.counters.ordinal.next();
        self.counters.ordinal = Ordinal(self.counters.ordinal.0 + u64::from(count));
        first
    }

    /// Contacts that the running entry has touched so far.
    pub fn touched_contacts(&self) -> impl Iterator<Item = ContactId> {
        self.contacts.touched().copied()
    }

    /// Ends a command: what it did is part of the entry.
    pub fn commit(&mut self) {
        if self.counters_row.get(&()) != Some(&self.counters) {
            self.counters_row.insert(self.counters.clone());
        }
        each_table!(self, |table| table.commit());
    }

    /// Undoes the running command, which panicked, and rebuilds the indexes from the rows. The
    /// ordinal stays used; the clock stays.
    pub fn undo(&mut self) {
        let (now, ordinal) = (self.counters.now, self.counters.ordinal);
        each_table!(self, |table| table.undo());
        let row = self.counters_row.get(&()).cloned().unwrap_or_default();
        self.counters = Counters { now, ordinal, ..row };
        self.rebuild();
    }

    /// Ends an entry: what changed in the rows, and the digest.
    pub fn take_changes(
        &mut self,
        group: GroupId,
        digest: &mut Digest,
        changes: &mut Vec<RowChange>,
    ) {
        each_table!(self, |table| table.take_changes(group, digest, changes));
    }

    /// Takes a stored row in; `None` when it belongs to no table of the queue.
    ///
    /// # Errors
    /// [`RowError`] when it belongs to one and cannot be read.
    pub fn load_row(
        &mut self,
        tag: u8,
        key: &[u8],
        value: &[u8],
        digest: &mut Digest,
    ) -> Option<Result<(), RowError>> {
        const COUNTERS: u8 = TableTag::Counters as u8;
        const SITE: u8 = TableTag::Site as u8;
        const SKILL: u8 = TableTag::Skill as u8;
        const QUEUE: u8 = TableTag::Queue as u8;
        const NUMBER: u8 = TableTag::Number as u8;
        const AGENT: u8 = TableTag::Agent as u8;
        const CONTACT: u8 = TableTag::Contact as u8;
        const OFFER: u8 = TableTag::Offer as u8;
        const RESERVATION: u8 = TableTag::Reservation as u8;
        const WORK: u8 = TableTag::Work as u8;
        const LAST_AGENT: u8 = TableTag::LastAgent as u8;
        const QUEUE_INTERVAL: u8 = TableTag::QueueInterval as u8;
        const SITE_INTERVAL: u8 = TableTag::SiteInterval as u8;
        const PLAN: u8 = TableTag::Plan as u8;
        const AGENT_INTERVAL: u8 = TableTag::AgentInterval as u8;
        const CALENDAR: u8 = TableTag::Calendar as u8;
        const TENANT: u8 = TableTag::Tenant as u8;
        const LISTED_CALLER: u8 = TableTag::ListedCaller as u8;
        Some(match tag {
            COUNTERS => self.counters_row.load(key, value, digest),
            SITE => self.sites.load(key, value, digest),
            SKILL => self.skills.load(key, value, digest),
            QUEUE => self.queues.load(key, value, digest),
            NUMBER => self.numbers.load(key, value, digest),
            AGENT => self.agents.load(key, value, digest),
            CONTACT => self.contacts.load(key, value, digest),
            OFFER => self.offers.load(key, value, digest),
            RESERVATION => self.reservations.load(key, value, digest),
            WORK => self.work.load(key, value, digest),
            LAST_AGENT => self.last_agents.load(key, value, digest),
            QUEUE_INTERVAL => self.queue_intervals.load(key, value, digest),
            SITE_INTERVAL => self.site_intervals.load(key, value, digest),
            PLAN => self.plans.load(key, value, digest),
            AGENT_INTERVAL => self.agent_intervals.load(key, value, digest),
            CALENDAR => self.calendars.load(key, value, digest),
            TENANT => self.tenants.load(key, value, digest),
            LISTED_CALLER => self.listed.load(key, value, digest),
            _ => return None,
        })
    }

    /// Ends loading: counters and indexes follow from the rows.
    pub fn finish_load(&mut self) {
        each_table!(self, |table| table.forget_journal());
        self.counters = self.counters_row.get(&()).cloned().unwrap_or_default();
        self.rebuild();
    }

    /// Every row as it is stored.
    pub fn stored_rows(&self, group: GroupId) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        self.counters_row
            .stored_rows(group)
            .chain(self.sites.stored_rows(group))
            .chain(self.skills.stored_rows(group))
            .chain(self.queues.stored_rows(group))
            .chain(self.numbers.stored_rows(group))
            .chain(self.agents.stored_rows(group))
            .chain(self.contacts.stored_rows(group))
            .chain(self.offers.stored_rows(group))
            .chain(self.reservations.stored_rows(group))
            .chain(self.work.stored_rows(group))
            .chain(self.last_agents.stored_rows(group))
            .chain(self.queue_intervals.stored_rows(group))
            .chain(self.site_intervals.stored_rows(group))
            .chain(self.plans.stored_rows(group))
            .chain(self.agent_intervals.stored_rows(group))
            .chain(self.calendars.stored_rows(group))
            .chain(self.tenants.stored_rows(group))
            .chain(self.listed.stored_rows(group))
    }

    /// Indexes built from the rows alone.
    pub(crate) fn rebuild(&mut self) {
        let mut index = Index::default();
        for site in self.sites.iter() {
            index.site_by_name.insert(site.name.clone(), site.id);
        }
        for skill in self.skills.iter() {
            index.skill_by_name.insert((skill.tenant, skill.name.clone()), skill.id);
        }
        let agent = |id| self.agents.get(&id);
        self.queues.iter().for_each(|queue| index.add_queue(queue, agent));
        for agent in self.agents.iter() {
            index.use_of(agent.tenant).agents += 1;
            index.add_agent(agent);
        }
        self.contacts.iter().for_each(|contact| index.add_contact(contact));
        index.deadlines.extend(self.offers.iter().map(Index::offer_deadline));
        index.deadlines.extend(self.reservations.iter().map(Index::reservation_deadline));
        index.deadlines.extend(self.last_agents.iter().map(Index::last_agent_deadline));
        index.deadlines.extend(self.plans.iter().filter_map(Index::plan_deadline));
        for calendar in self.calendars.iter() {
            index.calendar_by_name.insert((calendar.tenant, calendar.name.clone()), calendar.id);
            index.deadlines.extend(Index::calendar_deadline(calendar, self.counters.wall));
        }
        for tenant in self.tenants.iter() {
            index.tenant_by_name.insert(tenant.name.clone(), tenant.id);
        }
        self.numbers.iter().for_each(|number| index.use_of(number.tenant).numbers += 1);
        self.index = index;
    }
}
