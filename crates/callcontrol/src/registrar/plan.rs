//! What a REGISTER changes, and what it is granted (RFC 3261 section 10.3): all of it or nothing.

use std::{collections::BTreeSet, time::Duration};

use tandem_cluster::{
    binding::{Binding, PhoneTarget},
    command::{Command, PutBinding},
    leg::Owner,
};
use tandem_routing::time::Millis;
use tandem_sip::message::{NameAddr, RegisterAction, RequestedBinding, StatusCode, Uri};

use super::{Granted, Open, Phone, Registrar, Watched};
use crate::{
    core::Core,
    io::{AgentEntry, Now},
    leg::admission::leg_transport,
    limits::{
        BINDING_LIFETIME_MS_MIN, CONTACTS_PER_REGISTER_MAX, REGISTRATION_GRACE, REGISTRATIONS_MAX,
    },
};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// For the log; nothing else happens before it has taken them.
    pub(super) commands: Vec<Command>,
    pub(super) granted: Vec<Granted>,
    pub(super) watch: Vec<(Phone, Watched)>,
    pub(super) unwatch: Vec<Phone>,
}

/// Why a REGISTER is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It cannot be read.
    Malformed,
    /// Too many contacts.
    TooMany,
    /// It asks for too short a time.
    TooBrief,
    /// It is older than the one in force.
    Older,
    /// No room, or no quorum.
    Full,
}

impl Refusal {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::TooMany => StatusCode::FORBIDDEN,
            Self::TooBrief => StatusCode::INTERVAL_TOO_BRIEF,
            Self::Older => StatusCode::SERVER_INTERNAL_ERROR,
            Self::Full => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl Registrar {
    pub(super) fn plan(
        &self,
        core: &Core,
        now: Now,
        open: &Open,
        agent: &AgentEntry,
    ) -> Result<Plan, Refusal> {
        let action = RegisterAction::from_request(&open.request).map_err(|_| Refusal::Malformed)?;
        let mut plan = Plan::default();
        match action {
            RegisterAction::Query => {}
            RegisterAction::RemoveAll => {
                for row in &agent.bindings {
                    self.check_order(open, agent, &row.target.contact_uri)?;
                }
                plan.commands.push(remove(agent, String::new()));
                plan.unwatch = self.watch.of(agent.agent);
                return Ok(plan);
            }
            RegisterAction::Update(bindings) => {
                if bindings.len() > CONTACTS_PER_REGISTER_MAX {
                    return Err(Refusal::TooMany);
                }
                for wanted in &bindings {
                    self.plan_contact(core, now, open, agent, wanted, &mut plan)?;
                }
            }
        }
        self.list_others(now, agent, &mut plan);
        Ok(plan)
    }

    fn plan_contact(
        &self,
        core: &Core,
        now: Now,
        open: &Open,
        agent: &AgentEntry,
        wanted: &RequestedBinding,
        plan: &mut Plan,
    ) -> Result<(), Refusal> {
        let uri = wanted.contact.uri.expose();
        self.check_order(open, agent, &uri)?;
        let phone = (agent.agent, uri.clone());
        if wanted.expires_s == Some(0) {
            if agent.bindings.iter().any(|row| row.target.contact_uri == uri) {
                plan.commands.push(remove(agent, uri));
            }
            plan.unwatch.push(phone);
            return Ok(());
        }
        let granted_s = grant_s(core, wanted.expires_s).ok_or(Refusal::TooBrief)?;
        // A refresh takes no new row.
        let is_new = |phone: &Phone| self.watch.get(phone).is_none();
        let coming = plan.watch.iter().filter(|(phone, _)| is_new(phone)).count();
        if is_new(&phone) && self.watch.len() + coming >= REGISTRATIONS_MAX {
            return Err(Refusal::Full);
        }
        let put = put_binding(core, open, agent, &uri, granted_s).ok_or(Refusal::Full)?;
        let watched = Watched {
            tenant: agent.tenant,
            user: open.user.clone(),
            until: now.instant + Duration::from_secs(u64::from(granted_s)) + REGISTRATION_GRACE,
            connection: open.source.connection,
            call_id: put.call_id.clone(),
            cseq: put.cseq,
        };
        if agent.bindings.iter().all(|row| is_due(row, &put, now)) {
            plan.commands.push(Command::PutBinding(put));
        }
        plan.watch.push((phone, watched));
        plan.granted.push((wanted.contact.detached(), granted_s));
        Ok(())
    }

    /// Step 7: within one Call-ID the CSeq must not fall. What was refreshed here without an entry is
    /// known here only.
    fn check_order(&self, open: &Open, agent: &AgentEntry, uri: &str) -> Result<(), Refusal> {
        let (call_id, cseq) = order_of(open);
        let here = self.watch.get(&(agent.agent, uri.to_owned()));
        let here = here.map(|watched| (watched.call_id.as_str(), watched.cseq));
        let row = agent.bindings.iter().find(|row| row.target.contact_uri == uri);
        let row = row.map(|row| (row.call_id.as_str(), row.cseq));
        let older = here.into_iter().chain(row).any(|(of, seen)| of == call_id && cseq < seen);
        if older { Err(Refusal::Older) } else { Ok(()) }
    }

    /// Step 8: a 200 lists all bindings, also those that this REGISTER did not name.
    fn list_others(&self, now: Now, agent: &AgentEntry, plan: &mut Plan) {
        let named: BTreeSet<&Phone> =
            plan.watch.iter().map(|(phone, _)| phone).chain(&plan.unwatch).collect();
        let mut others = Vec::new();
        for row in &agent.bindings {
            let phone = (agent.agent, row.target.contact_uri.clone());
            let Ok(contact) = Uri::parse(&phone.1) else { continue };
            if named.contains(&phone) {
                continue;
            }
            let left_s = match self.watch.get(&phone) {
                Some(here) => here.until.saturating_duration_since(now.instant).as_secs(),
                None => row.expires.since(now.cluster).0 / 1000,
            };
            let left_s = u32::try_from(left_s).unwrap_or(u32::MAX);
            others.push((NameAddr::from_uri(contact), left_s));
        }
        plan.granted.extend(others);
    }
}

fn remove(agent: &AgentEntry, contact_uri: String) -> Command {
    Command::RemoveBinding { tenant: agent.tenant, agent: agent.agent, contact_uri }
}

/// The lifetime that a phone gets; `None`: it asked for less than is allowed.
fn grant_s(core: &Core, wanted: Option<u32>) -> Option<u32> {
    let (least, most) = (core.settings.register_s_min, core.settings.register_s_max);
    match wanted {
        None => Some(most),
        Some(wanted) if wanted < least => None,
        Some(wanted) => Some(wanted.min(most)),
    }
}

fn put_binding(
    core: &Core,
    open: &Open,
    agent: &AgentEntry,
    uri: &str,
    granted_s: u32,
) -> Option<PutBinding> {
    let edge: Owner = core.life?.owner;
    let (call_id, cseq) = order_of(open);
    let lifetime = (u64::from(granted_s) * 1000).max(BINDING_LIFETIME_MS_MIN);
    Some(PutBinding {
        tenant: agent.tenant,
        agent: agent.agent,
        target: PhoneTarget {
            contact_uri: uri.to_owned(),
            transport: leg_transport(open.source.transport),
            source: open.source.remote.to_string(),
            edge,
        },
        call_id: call_id.to_owned(),
        cseq,
        lifetime: Millis(lifetime),
    })
}

fn order_of(open: &Open) -> (&str, u32) {
    let call_id = open.request.call_id.text().to_str().unwrap_or_default();
    (call_id, open.request.cseq.number)
}

/// True unless this binding is that contact as the log has it, with more than half of its replicated
/// lifetime left.
fn is_due(row: &Binding, put: &PutBinding, now: Now) -> bool {
    let same = row.target == put.target;
    let left = row.expires.since(now.cluster).0;
    !(same && left * 2 > put.lifetime.0)
}
