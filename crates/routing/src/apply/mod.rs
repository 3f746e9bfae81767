//! What each command does. One file per family: configuration, agents, contacts, time and bulk
//! work. Each function checks everything before it changes anything, so that a rejection leaves no
//! trace.

mod agents;
mod also;
mod bind;
mod calendar;
mod config;
mod contacts;
mod overflow;
mod rebalance;
mod retire;
mod tenants;
mod work;

pub use contacts::{AgentPhone, CallerLeg};

use crate::{
    command::{Command, Event, Rejection, Reply, Unfinished},
    ids::GroupId,
    state::State,
};

impl State {
    /// Carries one command out at the entry's time ([`State::begin_entry`]) under the command's
    /// ordinal ([`State::begin_command`]); `group` is where new contacts are born. Cannot fail,
    /// wait, read a clock or draw a number. Appends what happened to `events`.
    ///
    /// # Errors
    /// A [`Rejection`] names the rule that the command broke; nothing has changed then.
    pub fn apply(
        &mut self,
        group: GroupId,
        command: &Command,
        events: &mut Vec<Event>,
    ) -> Result<Reply, Rejection> {
        let before = events.len();
        let reply = self.carry_out(group, command, events)?;
        self.run_work(events);
        Ok(match reply {
            Reply::SiteChanged { .. } => {
                let moved = events[before..]
                    .iter()
                    .filter(|event| matches!(event, Event::ContactMoved { .. }))
                    .count();
                let unfinished = if self.has_work() { Unfinished::Yes } else { Unfinished::No };
                Reply::SiteChanged { moved: u32::try_from(moved).unwrap_or(u32::MAX), unfinished }
            }
            other => other,
        })
    }

    /// Carries several commands out as one, under one ordinal: contacts and agents are brought together
    /// when all are done, never by what holds only between two of them.
    ///
    /// # Errors
    /// The first that is refused, counted from 0, with its [`Rejection`]. Those before it *have* changed the
    /// state then: the caller undoes the command ([`State::undo`]).
    pub fn apply_all(
        &mut self,
        group: GroupId,
        commands: &[Command],
        events: &mut Vec<Event>,
    ) -> Result<Vec<Reply>, (usize, Rejection)> {
        let mut replies = Vec::with_capacity(commands.len());
        for (at, command) in commands.iter().enumerate() {
            let reply = self.carry_out(group, command, events);
            replies.push(reply.map_err(|rejection| (at, rejection))?);
            // A queue that was removed is gone for those behind it.
            self.finish_retiring(events);
        }
        self.run_work(events);
        Ok(replies)
    }

    /// One command without the work that follows from it.
    fn carry_out(
        &mut self,
        group: GroupId,
        command: &Command,
        events: &mut Vec<Event>,
    ) -> Result<Reply, Rejection> {
        match command {
            Command::PutSite { name, region } => self.put_site(name, region),
            Command::SetSiteState { site, state } => self.set_site_state(site, *state),
            Command::SetSiteCap { site, contacts_max } => self.set_site_cap(site, *contacts_max),
            Command::SetSiteWeight { site, weight } => self.set_site_weight(site, *weight),
            Command::PutQueue { tenant, queue } => self.put_queue_spec(*tenant, queue, None),
            Command::RemoveQueue { tenant, queue } => self.remove_queue_named(*tenant, queue),
            Command::PutNumber { tenant, number } => self.put_number_spec(*tenant, number, None),
            Command::RemoveNumber { tenant, number } => self.remove_number_named(*tenant, number),
            Command::PutAgent { tenant, agent } => self.put_agent_spec(*tenant, agent, None),
            Command::RemoveAgent { tenant, agent } => self.remove_agent_named(*tenant, agent),
            Command::LogIn { tenant, agent, as_state } => {
                self.log_in(*tenant, agent, as_state, events)
            }
            Command::LogOut { tenant, agent } => self.log_out(*tenant, agent, events),
            Command::SetReadiness { tenant, agent, to } => {
                self.set_readiness(*tenant, agent, to, events)
            }
            Command::Enqueue(enqueue) => self.enqueue(group, enqueue, events),
            Command::Accept { offer, contact } => self.accept(*offer, *contact, events),
            Command::Decline { offer, contact, cause } => {
                self.decline(*offer, *contact, *cause, events)
            }
            Command::End { contact, reason } => self.end(*contact, *reason, events),
            Command::ExpireDue => self.expire_due(events),
            Command::ContinueWork => Ok(Reply::Done),
            Command::ConfigureQueue { tenant, queue, rules } => {
                self.put_queue_spec(*tenant, queue, Some(rules))
            }
            Command::ConfigureAgent { tenant, agent, rules } => {
                self.put_agent_spec(*tenant, agent, Some(rules))
            }
            Command::ConfigureNumber { tenant, number, rules } => {
                self.put_number_spec(*tenant, number, Some(rules))
            }
            Command::SetPriority { contact, priority } => self.set_priority(*contact, *priority),
            Command::Place { contact, before } => self.place(*contact, *before),
            Command::ExtendWrapUp { tenant, agent, by } => {
                self.extend_wrap_up(*tenant, agent, *by, events)
            }
            Command::ApplyPlan { tenant, plan } => self.apply_plan(*tenant, plan, events),
            Command::AnchorWall { utc } => Ok(self.anchor_wall(*utc)),
            Command::PutCalendar { tenant, calendar } => self.put_calendar_spec(*tenant, calendar),
            Command::RemoveCalendar { tenant, calendar } => {
                self.remove_calendar_named(*tenant, calendar)
            }
            Command::PutTenant { name, quotas } => self.put_tenant(name, *quotas),
            Command::RemoveTenant { name } => self.remove_tenant(name),
            Command::ChangeList { tenant, change } => self.change_list(*tenant, change),
            Command::RetireQueue { tenant, queue, to } => self.retire_queue(*tenant, queue, to),
            Command::UndoPlan { tenant, plan } => self.undo_plan(*tenant, *plan, events),
            Command::Release { tenant, agent, to } => self.release(*tenant, agent, to, events),
        }
    }
}
