//! `Agents`: who they are, and their states.

use std::time::Duration;

use tandem_callcontrol::{credential_context, credential_secret};
use tandem_cluster::{command::Command, limits::IDEMPOTENCY_KEY_LEN_MAX, seal};
use tandem_proto::api::v1::{
    self as api, AgentStateReply, ExtendWrapUpRequest, ListAgentsReply, ListAgentsRequest,
    LogInRequest, LogOutRequest, PutAgentRequest, PutReply, ReleaseRequest, RemoveAgentRequest,
    SetNotReadyRequest, SetPasswordReply, SetPasswordRequest, SetReadyRequest,
};
use tandem_routing::{
    command::{
        AgentRules, AgentSpec, Command as QueueCommand, Readiness, Rejection as QueueRejection,
        Reply, ServiceAbroad,
    },
    entity::Tier,
    ids::TenantId,
    name::Name,
    time::Millis,
};
use tonic::{Request, Response, Status};

use super::{
    Api, name, narrow,
    queues::put,
    read::View,
    tenancy::{phone_user, refused},
};
use crate::{entropy::random_bytes, rpc::agents_server::Agents};

/// Longest password, in bytes.
const PASSWORD_LEN_MAX: usize = 256;
/// Makes the key of the second of the two commands that setting an agent with a password takes.
const PASSWORD_KEY: &str = "/password";

#[tonic::async_trait]
impl Agents for Api {
    async fn list(
        &self,
        request: Request<ListAgentsRequest>,
    ) -> Result<Response<ListAgentsReply>, Status> {
        let asked = Self::admit(request)?;
        let only = if asked.name.is_empty() { None } else { Some(name("name", &asked.name)?) };
        let (as_of, agents) =
            self.look(&asked.tenant, asked.consistency, |view| agents(view, only)).await?;
        Ok(Response::new(ListAgentsReply { as_of: Some(as_of), agents }))
    }

    async fn put(&self, request: Request<PutAgentRequest>) -> Result<Response<PutReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        check_password(&asked.password)?;
        if asked.idempotency_key.len() + PASSWORD_KEY.len() > IDEMPOTENCY_KEY_LEN_MAX {
            return Err(Status::invalid_argument(format!(
                "idempotency_key is longer than {} bytes",
                IDEMPOTENCY_KEY_LEN_MAX - PASSWORD_KEY.len()
            )));
        }
        let agent = AgentSpec {
            name: name("name", &asked.name)?,
            site: name("site", &asked.site)?,
            skills: asked
                .skills
                .iter()
                .map(|(skill, level)| Ok((name("skills", skill)?, narrow("skills", *level)?)))
                .collect::<Result<_, Status>>()?,
            queues: asked
                .queues
                .iter()
                .map(|queue| name("queues", queue))
                .collect::<Result<_, Status>>()?,
        };
        let who = agent.name.clone();
        let tiers = asked
            .tiers
            .iter()
            .map(|(queue, tier)| {
                let level = narrow("level of a tier", tier.level)?;
                let position = narrow("position in a tier", tier.position)?;
                Ok((name("tiers", queue)?, Tier { level, position }))
            })
            .collect::<Result<_, Status>>()?;
        let reserves = asked
            .reserve
            .iter()
            .map(|(queue, level)| Ok((name("reserve", queue)?, narrow("reserve level", *level)?)))
            .collect::<Result<_, Status>>()?;
        let attributes = asked
            .attributes
            .iter()
            .map(|(key, value)| Ok((name("attributes", key)?, name("attributes", value)?)))
            .collect::<Result<_, Status>>()?;
        let abroad = asked.abroad.iter().map(abroad).collect::<Result<_, Status>>()?;
        let rules = AgentRules { tiers, reserves, attributes, abroad };
        let tenant = self.tenant(&asked.tenant).await?;
        let command = QueueCommand::ConfigureAgent { tenant, agent, rules };
        let reply = self.change(command, asked.idempotency_key.clone(), within).await?;
        if !asked.password.is_empty() {
            let user =
                self.core()?.store.read(|replica, _| phone_user(&replica.0, tenant, &who))?;
            let key = match asked.idempotency_key.as_str() {
                "" => String::new(),
                key => format!("{key}{PASSWORD_KEY}"),
            };
            self.put_password(tenant, &user, &who, &asked.password, key, within).await?;
        }
        Ok(put(reply))
    }

    async fn remove(
        &self,
        request: Request<RemoveAgentRequest>,
    ) -> Result<Response<PutReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let agent = name("name", &asked.name)?;
        let tenant = self.tenant(&asked.tenant).await?;
        let command = QueueCommand::RemoveAgent { tenant, agent };
        self.change(command, asked.idempotency_key, within).await.map(put)
    }

    async fn set_password(
        &self,
        request: Request<SetPasswordRequest>,
    ) -> Result<Response<SetPasswordReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let agent = name("name", &asked.name)?;
        if asked.password.is_empty() {
            return Err(Status::invalid_argument("password is empty"));
        }
        check_password(&asked.password)?;
        let tenant = self.tenant(&asked.tenant).await?;
        let user = self.core()?.store.read(|replica, _| phone_user(&replica.0, tenant, &agent))?;
        let key = asked.idempotency_key;
        self.put_password(tenant, &user, &agent, &asked.password, key, within).await?;
        Ok(Response::new(SetPasswordReply {}))
    }

    async fn log_in(
        &self,
        request: Request<LogInRequest>,
    ) -> Result<Response<AgentStateReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let as_state = if asked.ready {
            Readiness::Ready
        } else {
            Readiness::NotReady(reason(&asked.reason)?)
        };
        let agent = name("name", &asked.name)?;
        let tenant = self.tenant(&asked.tenant).await?;
        let command = QueueCommand::LogIn { tenant, agent, as_state };
        self.change(command, asked.idempotency_key, within).await.map(state)
    }

    async fn log_out(
        &self,
        request: Request<LogOutRequest>,
    ) -> Result<Response<AgentStateReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let agent = name("name", &asked.name)?;
        let tenant = self.tenant(&asked.tenant).await?;
        let command = QueueCommand::LogOut { tenant, agent };
        self.change(command, asked.idempotency_key, within).await.map(state)
    }

    async fn set_ready(
        &self,
        request: Request<SetReadyRequest>,
    ) -> Result<Response<AgentStateReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let tenant = self.tenant(&asked.tenant).await?;
        let to = Readiness::Ready;
        self.set_readiness(tenant, &asked.name, to, asked.idempotency_key, within).await
    }

    async fn set_not_ready(
        &self,
        request: Request<SetNotReadyRequest>,
    ) -> Result<Response<AgentStateReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let to = Readiness::NotReady(reason(&asked.reason)?);
        let tenant = self.tenant(&asked.tenant).await?;
        self.set_readiness(tenant, &asked.name, to, asked.idempotency_key, within).await
    }

    async fn extend_wrap_up(
        &self,
        request: Request<ExtendWrapUpRequest>,
    ) -> Result<Response<AgentStateReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let agent = name("name", &asked.name)?;
        let by = Millis(asked.by_ms);
        let tenant = self.tenant(&asked.tenant).await?;
        let command = QueueCommand::ExtendWrapUp { tenant, agent, by };
        self.change(command, asked.idempotency_key, within).await.map(state)
    }

    async fn release(
        &self,
        request: Request<ReleaseRequest>,
    ) -> Result<Response<AgentStateReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let agent = name("name", &asked.name)?;
        let to = if asked.ready {
            Readiness::Ready
        } else {
            Readiness::NotReady(reason(&asked.reason)?)
        };
        let tenant = self.tenant(&asked.tenant).await?;
        let command = QueueCommand::Release { tenant, agent, to };
        self.change(command, asked.idempotency_key, within).await.map(state)
    }
}

impl Api {
    async fn set_readiness(
        &self,
        tenant: TenantId,
        agent: &str,
        to: Readiness,
        idempotency_key: String,
        within: Duration,
    ) -> Result<Response<AgentStateReply>, Status> {
        let agent = name("name", agent)?;
        let command = QueueCommand::SetReadiness { tenant, agent, to };
        self.change(command, idempotency_key, within).await.map(state)
    }

    /// Only digests of the password leave this function, sealed.
    async fn put_password(
        &self,
        tenant: TenantId,
        user: &Name,
        agent: &Name,
        password: &str,
        idempotency_key: String,
        within: Duration,
    ) -> Result<(), Status> {
        let secret = credential_secret(user.as_str(), &self.realm, password);
        let context = credential_context(user.as_str(), &self.realm);
        let sealed = seal::seal(&self.key, random_bytes(), &context, &secret)
            .map_err(|error| Status::internal(error.to_string()))?;
        let command = Command::PutCredential {
            tenant,
            agent: agent.clone(),
            realm: self.realm.clone(),
            sealed,
        };
        self.propose(command, idempotency_key, within).await.map(|_| ())
    }
}

/// A tenant's agents, or the one of this name.
pub(super) fn agents(view: View<'_>, only: Option<Name>) -> Result<Vec<api::Agent>, Status> {
    let own = view.machine.queue().agents().iter().filter(|agent| agent.tenant == view.tenant);
    let asked = own.filter(|agent| only.as_ref().is_none_or(|name| *name == agent.name));
    let agents: Vec<api::Agent> = asked.map(|agent| view.agent(agent)).collect();
    match only {
        Some(name) if agents.is_empty() => Err(refused(QueueRejection::AgentMustExist(name))),
        _ => Ok(agents),
    }
}

/// What an agent does for another tenant.
fn abroad(
    (tenant, service): (&String, &api::ServiceAbroad),
) -> Result<(Name, ServiceAbroad), Status> {
    let skill = |(skill, level): (&String, &u32)| {
        Ok::<_, Status>((name("skills abroad", skill)?, narrow("skills abroad", *level)?))
    };
    let service = ServiceAbroad {
        queues: service
            .queues
            .iter()
            .map(|queue| name("queues abroad", queue))
            .collect::<Result<_, Status>>()?,
        skills: service.skills.iter().map(skill).collect::<Result<_, Status>>()?,
    };
    Ok((name("abroad", tenant)?, service))
}

fn check_password(password: &str) -> Result<(), Status> {
    if password.len() <= PASSWORD_LEN_MAX {
        return Ok(());
    }
    Err(Status::invalid_argument(format!("password is longer than {PASSWORD_LEN_MAX} bytes")))
}

fn reason(text: &str) -> Result<Option<Name>, Status> {
    if text.is_empty() { Ok(None) } else { name("reason", text).map(Some) }
}

fn state(reply: Reply) -> Response<AgentStateReply> {
    Response::new(AgentStateReply { after_contact: reply == Reply::AfterContact })
}
