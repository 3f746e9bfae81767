//! A center that a scenario drives: the state, its judge beside it, and names for what happened.

use std::collections::{BTreeMap, BTreeSet};

use tandem_routing::{
    AgentPhone, CallerLeg,
    command::{Command, DeclineCause, Enqueue, Event, OfferEnd, PlanSpec, Readiness},
    digest::Digest,
    entity::{DeviceState, EndReason, LoginState, NotReadyReason, SiteState, WorkState},
    ids::{AgentId, ContactId, GroupId, OfferNumber, SiteId, TenantId},
    invariants,
    limits::{CLUSTER_TIME_JUMP_MS_MAX, CONFIRM_HOLD_MS},
    naive::Judge,
    name::{CallerNumber, Name},
    state::State,
    table::table_byte,
    time::{Millis, UtcMillis},
};

use crate::{
    configure,
    script::{Line, millis, parsed},
};

pub(crate) const TENANT: TenantId = TenantId::DEFAULT;
const GROUP: GroupId = GroupId(0);

#[derive(Default)]
pub(crate) struct Center {
    state: State,
    judge: Judge,
    digest: Digest,
    disk: BTreeMap<Vec<u8>, Vec<u8>>,
    contacts: BTreeMap<String, ContactId>,
    /// All offers of each contact, for answers that come late.
    offers: BTreeMap<ContactId, Vec<OfferNumber>>,
    /// Commands between two checks of all invariants, less one.
    unchecked_max: u32,
    unchecked: u32,
}

type Shown = Vec<String>;

impl Center {
    /// A center for long histories: the judge is asked after every command, all invariants (which look at
    /// everything) now and then.
    pub(crate) fn checked_now_and_then() -> Self {
        Self { unchecked_max: 15, ..Self::default() }
    }

    /// A center whose queue has this fault.
    #[cfg(feature = "planted")]
    pub(crate) fn with(fault: tandem_routing::planted::Planted) -> Self {
        let mut center = Self::default();
        center.state.planted = Some(fault);
        center
    }

    /// Does one line; what happened.
    ///
    /// # Errors
    /// A line that cannot be read.
    ///
    /// # Panics
    /// When the judge disagrees or an invariant is broken.
    pub(crate) fn run(&mut self, text: &str) -> Result<Shown, String> {
        let mut line = Line::read(text)?;
        let shown = self.act(&mut line)?;
        line.end()?;
        Ok(shown)
    }

    fn act(&mut self, line: &mut Line) -> Result<Shown, String> {
        match line.verb.as_str() {
            "site" | "open" | "drain" | "close" | "weight" | "cap" => self.site(line),
            "queue" | "number" | "agent" | "remove-queue" | "remove-agent" | "retire" => {
                self.configure(line)
            }
            "login" | "logout" | "ready" | "not-ready" | "phone" | "release" => self.agent(line),
            "extend" => {
                let agent = line.word("the agent").and_then(|word| parsed(&word))?;
                let by = Millis(millis(&line.word("how much")?)?);
                Ok(self.apply(&Command::ExtendWrapUp { tenant: TENANT, agent, by }))
            }
            "call" => self.call(line),
            "answer" | "decline" | "hang-up" | "end" | "lose" | "confirm" | "lose-node"
            | "drop" | "priority" | "place" => self.contact(line),
            "wait" => self.wait(line),
            "restart" => {
                self.restart();
                Ok(Vec::new())
            }
            "plan" => Ok(self.apply(&configure::plan(line)?)),
            "calendar" => Ok(self.apply(&configure::calendar(line)?)),
            "list" => Ok(self.apply(&configure::list(line)?)),
            "tenant" => Ok(self.apply(&configure::tenant(line)?)),
            "clock" => {
                let utc = UtcMillis(millis(&line.word("what it says")?)?);
                Ok(self.apply(&Command::AnchorWall { utc }))
            }
            "remove-calendar" => {
                let calendar = line.word("the calendar").and_then(|word| parsed(&word))?;
                Ok(self.apply(&Command::RemoveCalendar { tenant: TENANT, calendar }))
            }
            "remove-tenant" => {
                let name = line.word("the tenant").and_then(|word| parsed(&word))?;
                Ok(self.apply(&Command::RemoveTenant { name }))
            }
            "undo" => {
                let plan = self.state.plans().iter().next_back().map(|plan| plan.id);
                let plan = plan.unwrap_or_default();
                Ok(self.apply(&Command::UndoPlan { tenant: TENANT, plan }))
            }
            "show" => self.show(line),
            "fail" => panic!("a line that fails"),
            other => Err(format!("{other:?} is nothing that can be done")),
        }
    }

    fn site(&mut self, line: &mut Line) -> Result<Shown, String> {
        let site = line.word("the site").and_then(|word| parsed::<Name>(&word))?;
        let state = |state| Command::SetSiteState { site: site.clone(), state };
        let command = match line.verb.as_str() {
            "site" => Command::PutSite { name: site.clone(), region: site.clone() },
            "open" => state(SiteState::Open),
            "drain" => state(SiteState::Draining),
            "close" => state(SiteState::Closed),
            "cap" => {
                let most = line.word("how many, or none")?;
                let contacts_max = if most == "none" { None } else { Some(parsed(&most)?) };
                Command::SetSiteCap { site, contacts_max }
            }
            _ => {
                let weight = line.word("the weight").and_then(|word| parsed(&word))?;
                Command::SetSiteWeight { site: site.clone(), weight }
            }
        };
        Ok(self.apply(&command))
    }

    fn configure(&mut self, line: &mut Line) -> Result<Shown, String> {
        let tenant = line.setting("tenant", parsed::<Name>)?;
        let tenant = tenant.map_or(Some(TENANT), |name| self.state.tenant_named(&name));
        let tenant = tenant.ok_or("there is no such tenant")?;
        Ok(self.apply(&configure::command(line, tenant)?))
    }

    fn agent(&mut self, line: &mut Line) -> Result<Shown, String> {
        let mut shown = Vec::new();
        let word = line.word("the agent")?;
        for word in word.split(',') {
            let agent: Name = parsed(word)?;
            let readiness = |reason: Option<String>| -> Result<Readiness, String> {
                Ok(Readiness::NotReady(reason.map(|code| parsed(&code)).transpose()?))
            };
            let command = match line.verb.as_str() {
                "phone" => {
                    let device = match line.word("its state")?.as_str() {
                        "registered" => DeviceState::Registered,
                        "gone" => DeviceState::Unregistered,
                        "recovering" => DeviceState::Recovering,
                        other => return Err(format!("{other:?} is no state of a phone")),
                    };
                    let id = self.agent_id(&agent)?;
                    shown.extend(self.direct(
                        |state, events| state.set_device(id, device, events),
                        |judge| judge.set_device(id, device),
                    ));
                    continue;
                }
                "login" => {
                    let as_state = match line.word_if_any().as_deref() {
                        None | Some("ready") => Readiness::Ready,
                        Some(reason) => readiness(Some(reason.to_owned()))?,
                    };
                    // People log in at a phone that works, unless the scenario says otherwise.
                    let id = self.agent_id(&agent)?;
                    self.direct(
                        |state, events| state.set_device(id, DeviceState::Registered, events),
                        |judge| judge.set_device(id, DeviceState::Registered),
                    );
                    Command::LogIn { tenant: TENANT, agent, as_state }
                }
                "logout" => Command::LogOut { tenant: TENANT, agent },
                "ready" => Command::SetReadiness { tenant: TENANT, agent, to: Readiness::Ready },
                "release" => {
                    let to = match line.word_if_any().as_deref() {
                        Some("ready") => Readiness::Ready,
                        reason => readiness(reason.map(str::to_owned))?,
                    };
                    Command::Release { tenant: TENANT, agent, to }
                }
                _ => {
                    let to = readiness(line.word_if_any())?;
                    Command::SetReadiness { tenant: TENANT, agent, to }
                }
            };
            shown.extend(self.apply(&command));
        }
        Ok(shown)
    }

    fn call(&mut self, line: &mut Line) -> Result<Shown, String> {
        let caller = line.word("the caller")?;
        let called: Name = line.word("the number").and_then(|word| parsed(&word))?;
        let first = self.state.sites().iter().next().map(|site| site.name.clone());
        let enqueue = Enqueue {
            called,
            caller: CallerNumber::new(
                &line.setting("from", |t| Ok(t.to_owned()))?.unwrap_or_default(),
            ),
            ingress: line.setting("at", parsed)?.or(first).ok_or("there is no site")?,
            waited: Millis(line.setting("waited", millis)?.unwrap_or(0)),
        };
        let id = ContactId { group: GROUP, ordinal: self.state.counters().ordinal.next() };
        self.contacts.insert(caller, id);
        Ok(self.apply(&Command::Enqueue(enqueue)))
    }

    fn contact(&mut self, line: &mut Line) -> Result<Shown, String> {
        let caller = line.word("the caller")?;
        let contact =
            *self.contacts.get(&caller).ok_or_else(|| format!("{caller} has not called"))?;
        let row = self.state.contacts().get(&contact);
        // `offer=1`: the first that was made for this contact, current or not.
        let made = self.offers.get(&contact).cloned().unwrap_or_default();
        let by = line.setting("by", parsed::<Name>)?.map(|agent| self.agent_id(&agent));
        let by = by.transpose()?.and_then(|agent| {
            let mut current = row?.current_offers();
            current.find(|(_, to)| *to == agent).map(|(offer, _)| offer)
        });
        let nth = line.setting("offer", parsed::<usize>)?.unwrap_or(made.len());
        let offer = made.get(nth.wrapping_sub(1)).copied().unwrap_or_default();
        let offer = by.unwrap_or(offer);
        Ok(match line.verb.as_str() {
            "answer" => self.apply(&Command::Accept { offer, contact }),
            "decline" => {
                let cause = match line.word("the cause")?.as_str() {
                    "not-answered" => DeclineCause::NotAnswered,
                    "refused" => DeclineCause::Refused,
                    "busy" => DeclineCause::Busy,
                    "phone-failed" => DeclineCause::DeviceFailed,
                    "node-failed" => DeclineCause::NodeFailed,
                    other => return Err(format!("{other:?} is no cause")),
                };
                self.apply(&Command::Decline { offer, contact, cause })
            }
            "hang-up" => {
                let talks = row.is_some_and(|row| !row.is_waiting());
                let reason = if talks { EndReason::CallerHungUp } else { EndReason::Abandoned };
                self.apply(&Command::End { contact, reason })
            }
            "end" => {
                let reason = match line.word("the reason")?.as_str() {
                    "agent-hung-up" => EndReason::AgentHungUp,
                    "operator" => EndReason::Operator,
                    "leg-lost" => EndReason::LegLost,
                    "caller-gone" => EndReason::CallerGone,
                    "turned-away" => EndReason::TurnedAway,
                    other => return Err(format!("{other:?} is no reason")),
                };
                self.apply(&Command::End { contact, reason })
            }
            "lose" => self.direct(
                |state, events| state.unconfirm(contact, events),
                |judge| judge.unconfirm(contact),
            ),
            "confirm" => self.direct(
                |state, events| state.confirm(contact, events),
                |judge| judge.confirm(contact),
            ),
            "lose-node" => self.direct(
                |state, events| state.offer_owner_lost(offer, events),
                |judge| judge.offer_owner_lost(offer),
            ),
            "priority" => {
                let priority = line.word("the priority").and_then(|word| parsed(&word))?;
                self.apply(&Command::SetPriority { contact, priority })
            }
            "place" => {
                let before = match line.word("before whom, or front")?.as_str() {
                    "front" => None,
                    other => {
                        let known = self.contacts.get(other);
                        Some(*known.ok_or_else(|| format!("{other} has not called"))?)
                    }
                };
                self.apply(&Command::Place { contact, before })
            }
            _ => {
                let phone = match line.word("what the phone says")?.as_str() {
                    "hung-up" => AgentPhone::Answers,
                    "phone-failed" => AgentPhone::Failed,
                    other => return Err(format!("{other:?} is nothing that a phone says")),
                };
                let leg = match line.word_if_any().as_deref() {
                    None => CallerLeg::Held,
                    Some("in-doubt") => CallerLeg::InDoubt,
                    Some(other) => return Err(format!("{other:?} is nothing about a leg")),
                };
                self.direct(
                    |state, events| state.requeue(contact, leg, phone, events),
                    |judge| judge.requeue(contact, leg, phone),
                )
            }
        })
    }

    /// Lets time pass, deadline by deadline, as the leader does.
    fn wait(&mut self, line: &mut Line) -> Result<Shown, String> {
        let until = self.state.now() + Millis(millis(&line.word("how long")?)?);
        let mut shown = Vec::new();
        loop {
            // An entry may be so much later than the one before, and no more.
            let next = self.state.now() + Millis(CLUSTER_TIME_JUMP_MS_MAX);
            let due = self.state.next_deadline().filter(|at| *at <= until);
            let is_last = due.is_none() && until <= next;
            self.begin(due.unwrap_or(until).max(self.state.now()).min(next));
            shown.extend(self.apply(&Command::ExpireDue));
            if is_last {
                break;
            }
        }
        Ok(shown)
    }

    fn show(&mut self, line: &mut Line) -> Result<Shown, String> {
        let what = line.word("what to show")?;
        if what == "waiting" {
            let mut waiting: Vec<_> =
                self.state.contacts().iter().filter(|row| row.is_waiting()).collect();
            waiting.sort_by_key(|row| row.wait_key());
            let names: Vec<String> = waiting.iter().map(|row| self.caller(row.id)).collect();
            return Ok(vec![if names.is_empty() {
                "nobody waits".into()
            } else {
                names.join(", ")
            }]);
        }
        if what == "sites" {
            return Ok(self.state.sites().iter().map(|site| self.site_line(site.id)).collect());
        }
        let id = self.agent_id(&parsed(&what)?)?;
        Ok(vec![self.agent_line(id)])
    }

    // --- the state and the judge, side by side -------------------------------------------------------

    fn begin(&mut self, at: tandem_routing::time::ClusterTime) {
        self.state.begin_entry(at);
        self.judge.begin_entry(self.state.now());
    }

    fn apply(&mut self, command: &Command) -> Shown {
        self.state.begin_entry(self.state.now());
        self.state.begin_command();
        self.judge.begin_command(self.state.counters().ordinal);
        let mut events = Vec::new();
        let result = self.state.apply(GROUP, command, &mut events);
        let changes = self.end_entry();
        match result {
            Ok(_) => {
                self.judge.follow(GROUP, command, &self.state);
                self.agreed(&events)
            }
            Err(rejection) => {
                assert_eq!(changes, 1, "a rejection changes nothing but the ordinal: {rejection}");
                assert!(events.is_empty(), "{events:?}");
                vec![format!("refused: {rejection}")]
            }
        }
    }

    fn direct(
        &mut self,
        act: impl FnOnce(&mut State, &mut Vec<Event>),
        judge: impl FnOnce(&mut Judge),
    ) -> Shown {
        self.state.begin_entry(self.state.now());
        self.state.begin_command();
        self.judge.begin_command(self.state.counters().ordinal);
        let mut events = Vec::new();
        act(&mut self.state, &mut events);
        self.end_entry();
        judge(&mut self.judge);
        self.agreed(&events)
    }

    /// Writes the changed rows to "disk"; how many there were.
    fn end_entry(&mut self) -> usize {
        self.state.commit();
        let mut changes = Vec::new();
        self.state.take_changes(GROUP, &mut self.digest, &mut changes);
        let count = changes.len();
        for change in changes {
            match change.value {
                Some(value) => self.disk.insert(change.key, value),
                None => self.disk.remove(&change.key),
            };
        }
        count
    }

    fn agreed(&mut self, events: &[Event]) -> Shown {
        if let Err(difference) = self.judge.agree(&self.state) {
            panic!("{difference}");
        }
        if self.unchecked >= self.unchecked_max {
            self.checked();
            self.unchecked = 0;
        } else {
            self.unchecked += 1;
        }
        let mut shown: Shown = events.iter().filter_map(|event| self.line(event)).collect();
        let changed: BTreeSet<AgentId> = events
            .iter()
            .filter_map(|event| match event {
                Event::AgentChanged(agent) => Some(*agent),
                _ => None,
            })
            .collect();
        let quiet = |agent: &AgentId| {
            let row = self.state.agents().get(agent);
            // Said by the offer or the conversation already.
            row.is_none_or(|row| matches!(row.work, WorkState::Offered(_) | WorkState::Busy(_)))
        };
        shown.extend(changed.iter().filter(|a| !quiet(a)).map(|agent| self.agent_line(*agent)));
        for event in events {
            if let Event::OfferMade { offer, contact, .. } = event {
                self.offers.entry(*contact).or_default().push(*offer);
            }
        }
        shown
    }

    /// A command that is undone (it panicked) leaves rows and indexes as they were, all but the counters.
    ///
    /// # Panics
    /// When it does not.
    pub(crate) fn undoes(&self) {
        let mut twin = self.state.clone();
        twin.begin_entry(twin.now() + Millis(1));
        twin.begin_command();
        let mut events = Vec::new();
        let site = |n: usize| twin.sites().iter().nth(n).map(|site| site.name.clone());
        let weights = site(0).into_iter().chain(site(1)).map(|site| (site, 7)).collect();
        let plan = PlanSpec { weights, agents: BTreeMap::new(), steps: 1, every: Millis(1) };
        let contacts: Vec<ContactId> = twin.contacts().iter().map(|row| row.id).take(2).collect();
        for (at, contact) in contacts.into_iter().enumerate() {
            if at == 0 {
                twin.requeue(contact, CallerLeg::Held, AgentPhone::Answers, &mut events);
                twin.unconfirm(contact, &mut events);
            } else {
                let end = Command::End { contact, reason: EndReason::LegLost };
                twin.apply(GROUP, &end, &mut events).ok();
            }
        }
        let plan = Command::ApplyPlan { tenant: TENANT, plan: Box::new(plan) };
        twin.apply(GROUP, &plan, &mut events).ok();
        twin.apply(GROUP, &Command::ExpireDue, &mut events).ok();
        twin.undo();
        twin.begin_command();
        twin.commit();
        let (mut changes, mut digest) = (Vec::new(), self.digest);
        twin.take_changes(GROUP, &mut digest, &mut changes);
        assert_eq!(changes.len(), 1, "only the counters, for the used ordinals");
        let violations = invariants::check(&twin);
        assert!(violations.is_empty(), "{}", violations[0]);
    }

    fn checked(&self) {
        let violations = invariants::check(&self.state);
        assert!(violations.is_empty(), "{}", violations[0]);
    }

    /// Nothing is held for longer than it may be: once that time is over and the work is done, whoever can be
    /// brought together has been. Asks every pair.
    ///
    /// # Panics
    /// When somebody still waits beside somebody who is ready.
    pub(crate) fn settle(&mut self) {
        self.begin(self.state.now() + Millis(CONFIRM_HOLD_MS));
        self.apply(&Command::ExpireDue);
        while self.state.has_work() {
            self.apply(&Command::ContinueWork);
        }
        assert!(self.state.contacts().iter().all(|row| row.hold_until.is_none()));
        self.checked();
    }

    /// R7: a state loaded from its rows goes on as the one before.
    fn restart(&mut self) {
        let (mut loaded, mut digest) = (State::default(), Digest::default());
        for (key, value) in &self.disk {
            let tag = table_byte(key).unwrap();
            loaded.load_row(tag, key, value, &mut digest).unwrap().unwrap();
        }
        loaded.finish_load();
        assert_eq!(digest, self.digest);
        assert!(loaded.stored_rows(GROUP).eq(self.disk.clone()), "rows are not kept as written");
        #[cfg(feature = "planted")]
        {
            loaded.planted = self.state.planted;
        }
        self.state = loaded;
    }

    // --- names -----------------------------------------------------------------------------------------

    fn line(&self, event: &Event) -> Option<String> {
        Some(match event {
            Event::ContactEnqueued(contact) => format!("{} is in the queue", self.caller(*contact)),
            Event::ContactMoved { contact, from, to } => {
                format!(
                    "{} moves from {} to {}",
                    self.caller(*contact),
                    self.site_name(*from),
                    self.site_name(*to)
                )
            }
            Event::ContactOverflowed { contact, from, to } => {
                let name = |queue| self.state.queues().get(queue).map(|row| row.name.to_string());
                let (from, to) = (name(from)?, name(to)?);
                format!("{} overflows from {from} to {to}", self.caller(*contact))
            }
            Event::OfferMade { contact, agent, .. } => {
                format!("{} is offered to {}", self.caller(*contact), self.agent_name(*agent))
            }
            Event::OfferEnded { contact, agent, how, .. } => {
                let how = match how {
                    OfferEnd::Accepted => return None,
                    OfferEnd::Declined(cause) => format!("declined ({cause:?})"),
                    OfferEnd::Expired => "expired".to_owned(),
                    OfferEnd::ContactGone => "withdrawn".to_owned(),
                    OfferEnd::Withdrawn => "withdrawn (the agent was set free)".to_owned(),
                    OfferEnd::AnsweredElsewhere => "over (somebody else answered)".to_owned(),
                    OfferEnd::OwnerLost => "withdrawn (its node was lost)".to_owned(),
                };
                format!("{}'s offer to {} is {how}", self.caller(*contact), self.agent_name(*agent))
            }
            Event::ContactConnected { contact, agent, .. } => {
                format!("{} talks with {}", self.caller(*contact), self.agent_name(*agent))
            }
            Event::ContactRequeued { contact, agent } => {
                format!(
                    "{} is back in the line, {} is gone",
                    self.caller(*contact),
                    self.agent_name(*agent)
                )
            }
            Event::ContactUnconfirmed(contact) => {
                format!("{} is being confirmed", self.caller(*contact))
            }
            Event::ContactConfirmed(contact) => format!("{} is confirmed", self.caller(*contact)),
            Event::ContactEnded { contact, reason } => {
                format!("{} is over: {reason:?}", self.caller(contact.id))
            }
            Event::PlanStepped(plan) => {
                let plan = self.state.plans().get(plan)?;
                let still = if plan.is_running() { ", more to come" } else { "" };
                format!("the plan is at step {} of {}{still}", plan.taken, plan.steps)
            }
            Event::AgentChanged(_) => return None,
        })
    }

    fn agent_line(&self, agent: AgentId) -> String {
        let row = self.state.agents().get(&agent).unwrap();
        let reason = |why: &NotReadyReason| match why {
            NotReadyReason::Code(code) => code.to_string(),
            other => format!("{other:?}"),
        };
        let work = match &row.work {
            _ if row.login == LoginState::LoggedOut => "logged out".to_owned(),
            WorkState::NotReady(why) => format!("not ready ({})", reason(why)),
            WorkState::Ready => "ready".to_owned(),
            WorkState::Offered(_) => "being rung".to_owned(),
            WorkState::Busy(contact) => format!("talking with {}", self.caller(*contact)),
            WorkState::WrapUp(until) => format!("in wrap-up until {until}"),
            WorkState::Paused { why, until } => format!("paused ({}) until {until}", reason(why)),
        };
        let phone = match row.device {
            DeviceState::Registered => "",
            DeviceState::Unregistered => ", without a phone",
            DeviceState::Recovering => ", phone to be found again",
        };
        format!("{} is {work}{phone}", row.name)
    }

    fn site_line(&self, site: SiteId) -> String {
        let waiting: Vec<String> = self
            .state
            .contacts()
            .iter()
            .filter(|row| row.is_waiting() && row.serving == site)
            .map(|row| self.caller(row.id))
            .collect();
        let row = self.state.sites().get(&site).unwrap();
        format!(
            "{} has weight {} and {} waiting: {}",
            row.name,
            row.weight,
            waiting.len(),
            waiting.join(", ")
        )
    }

    fn caller(&self, contact: ContactId) -> String {
        let known = self.contacts.iter().find(|(_, id)| **id == contact);
        known.map_or_else(|| contact.to_string(), |(name, _)| name.clone())
    }

    fn agent_name(&self, agent: AgentId) -> String {
        self.state.agents().get(&agent).map_or_else(String::new, |row| row.name.to_string())
    }

    fn site_name(&self, site: SiteId) -> String {
        self.state.sites().get(&site).map_or_else(String::new, |row| row.name.to_string())
    }

    fn agent_id(&self, name: &Name) -> Result<AgentId, String> {
        let agent = self.state.agent_named(TENANT, name);
        agent.map(|agent| agent.id).ok_or_else(|| format!("there is no agent {name}"))
    }
}
