//! Tenants with their quotas, and the lists of callers that they keep.

use crate::{
    command::{ListSpec, Rejection, Reply, check},
    entity::{ListUse, ListedCaller, Matches, Number, Quotas, Tenant, Usage},
    ids::TenantId,
    limits::{LISTED_CALLERS_MAX, TENANTS_MAX},
    name::{CallerNumber, Name},
    state::State,
};

impl State {
    /// The tenant of this name.
    #[must_use]
    pub fn tenant_named(&self, name: &Name) -> Option<TenantId> {
        let known = self.index.tenant_by_name.get(name).copied();
        known.or_else(|| (name.as_str() == TenantId::DEFAULT_NAME).then_some(TenantId::DEFAULT))
    }

    /// What a tenant has.
    #[must_use]
    pub fn usage(&self, tenant: TenantId) -> Usage {
        self.index.usage.get(&tenant).copied().unwrap_or_default()
    }

    pub(super) fn put_tenant(&mut self, name: &Name, quotas: Quotas) -> Result<Reply, Rejection> {
        let id = match self.tenant_named(name) {
            Some(id) => id,
            None => {
                check::room("tenants", self.tenants.len(), TENANTS_MAX)?;
                self.counters.tenant = self.counters.tenant.max(TenantId::DEFAULT.0) + 1;
                TenantId(self.counters.tenant)
            }
        };
        self.index.tenant_by_name.insert(name.clone(), id);
        self.tenants.insert(Tenant { id, name: name.clone(), quotas });
        Ok(Reply::Done)
    }

    pub(super) fn remove_tenant(&mut self, name: &Name) -> Result<Reply, Rejection> {
        let id = self.tenant_id(name)?;
        let usage = self.usage(id);
        let owns = [
            ("queues", usage.queues),
            ("numbers", usage.numbers),
            ("agents", usage.agents),
            ("contacts", usage.contacts),
        ];
        if let Some((what, count)) = owns.into_iter().find(|(_, count)| *count > 0) {
            return Err(Rejection::TenantMustOwnNothing(name.clone(), count, what.to_owned()));
        }
        self.index.tenant_by_name.remove(name);
        self.tenants.remove(&id);
        Ok(Reply::Done)
    }

    pub(super) fn tenant_id(&self, name: &Name) -> Result<TenantId, Rejection> {
        self.tenant_named(name).ok_or_else(|| Rejection::TenantMustExist(name.clone()))
    }

    /// Room for one more of what a tenant has.
    pub(super) fn quota(
        &self,
        tenant: TenantId,
        what: &str,
        has: impl FnOnce(&Usage) -> u32,
        may: impl FnOnce(&Quotas) -> Option<u32>,
    ) -> Result<(), Rejection> {
        let Some(row) = self.tenants.get(&tenant) else { return Ok(()) };
        let has = has(&self.usage(tenant));
        let quota = may(&row.quotas).filter(|_| !planted!(self, QuotasAreIgnored));
        match quota.filter(|most| has >= *most) {
            None => Ok(()),
            Some(most) => {
                Err(Rejection::QuotaMustHaveRoom(row.name.clone(), what.to_owned(), most))
            }
        }
    }

    /// Puts callers into a list of a tenant, and takes others out.
    pub(super) fn change_list(
        &mut self,
        tenant: TenantId,
        spec: &ListSpec,
    ) -> Result<Reply, Rejection> {
        check::list(spec)?;
        let known = |caller: &CallerNumber| {
            self.listed.contains(&(tenant, spec.list.clone(), caller.clone()))
        };
        let new = spec.add.keys().filter(|caller| !known(caller)).count();
        let room = LISTED_CALLERS_MAX.saturating_sub(self.listed.len());
        if new > room {
            return Err(Rejection::limit("listed callers", LISTED_CALLERS_MAX));
        }
        for caller in &spec.remove {
            self.listed.remove(&(tenant, spec.list.clone(), caller.clone()));
        }
        for (caller, matches) in &spec.add {
            self.listed.insert(ListedCaller {
                tenant,
                list: spec.list.clone(),
                caller: caller.clone(),
                matches: *matches,
            });
        }
        Ok(Reply::Done)
    }

    /// A list that numbers may go by: one with callers in it.
    pub(super) fn check_list(&self, tenant: TenantId, list: &Name) -> Result<(), Rejection> {
        let from = (tenant, list.clone(), CallerNumber::default());
        let first = self.listed.iter_from(&from).next();
        let there = first.is_some_and(|row| row.tenant == tenant && row.list == *list);
        if there { Ok(()) } else { Err(Rejection::ListMustExist(list.clone())) }
    }

    /// True when a caller is in a list.
    #[must_use]
    pub fn is_listed(&self, tenant: TenantId, list: &Name, caller: &CallerNumber) -> bool {
        let number = caller.expose();
        let ends = number.char_indices().map(|(at, _)| at).skip(1).chain([number.len()]);
        let found = |end: usize| {
            let start = CallerNumber::new(number.get(..end).unwrap_or_default());
            let row = self.listed.get(&(tenant, list.clone(), start));
            row.is_some_and(|row| end == number.len() || row.matches == Matches::Prefix)
        };
        !caller.is_withheld() && ends.into_iter().any(found)
    }

    /// What the lists of a called number make of a caller: the priority, or that they are refused.
    pub(super) fn priority_of(
        &self,
        number: &Number,
        caller: &CallerNumber,
    ) -> Result<u8, Rejection> {
        let mut priority = number.priority;
        for (list, rule) in number.lists.iter() {
            let listed = self.is_listed(number.tenant, list, caller);
            match rule {
                ListUse::Refuse if listed && !planted!(self, RefusedGetThrough) => {
                    return Err(Rejection::CallerMustBeWelcome(number.number.clone()));
                }
                ListUse::Only if !listed => {
                    return Err(Rejection::CallerMustBeWelcome(number.number.clone()));
                }
                ListUse::Priority(of_list) if listed => priority = *of_list,
                ListUse::Refuse | ListUse::Only | ListUse::Priority(_) => {}
            }
        }
        Ok(priority)
    }
}
