//! The users of agents' phones: an agent's name; of an agent of a tenant that is not the one which every
//! cluster has, with the tenant's name and a plus sign before it.

use tandem_routing::{
    entity::Agent,
    ids::TenantId,
    name::{Name, NameError},
    state::State,
};

/// The user by which an agent's phone registers.
///
/// # Errors
/// Both names together are too long for one.
pub fn user_of(state: &State, tenant: TenantId, agent: &Name) -> Result<Name, NameError> {
    match state.tenants().get(&tenant) {
        Some(row) if tenant != TenantId::DEFAULT => format!("{}+{agent}", row.name).parse(),
        _ => Ok(agent.clone()),
    }
}

/// The agent whose phone registers by this user.
#[must_use]
pub fn agent_of<'a>(state: &'a State, user: &Name) -> Option<&'a Agent> {
    let of_tenant = |(at, _): (usize, &str)| {
        let (tenant, agent) = user.as_str().split_at_checked(at)?;
        let tenant = state.tenant_named(&tenant.parse().ok()?)?;
        state.agent_named(tenant, &agent.strip_prefix('+')?.parse().ok()?)
    };
    let known = state.agent_named(TenantId::DEFAULT, user);
    known.or_else(|| user.as_str().match_indices('+').find_map(of_tenant))
}
