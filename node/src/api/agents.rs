//! `Agents`: who they are, and their states.

use std::time::Duration;

use tandem_callcontrol::{credential_context, credential_secret};
use tandem_cluster::{command::Command, limits::IDEMPOTENCY_KEY_LEN_MAX, seal};
use tandem_proto::api::v1::{
    AgentStateReply, ExtendWrapUpRequest, ListAgentsReply, ListAgentsRequest, LogInRequest,
    LogOutRequest, PutAgentRequest, PutReply, ReleaseRequest, RemoveAgentRequest,
    SetNotReadyRequest, SetPasswordReply, SetPasswordRequest, SetReadyRequest,
};
use tandem_routing::{
    command::{AgentRules, AgentSpec, Command as QueueCommand, Readiness, Reply},
    entity::Tier,
    ids::TenantId,
    name::Name,
    time::Millis,
};
use tonic::{Request, Response, Status};

use super::{Api, name, narrow, queues::put, read::View};
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
        let now = self.core()?.clock.now();
        let (as_of, agents) = self
            .read(asked.consistency, |machine| {
                let view = View { machine, now };
                let agents = machine.queue().agents().iter();
                agents
                    .filter(|agent| only.as_ref().is_none_or(|name| *name == agent.name))
                    .map(|agent| view.agent(agent))
                    .collect::<Vec<_>>()
            })
            .await?;
        if let (Some(name), true) = (only, agents.is_empty()) {
            return Err(Status::not_found(format!("there is no agent {name}")));
        }
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
        let rules = AgentRules { tiers, reserves, attributes };
        let command = QueueCommand::ConfigureAgent { tenant: TenantId::DEFAULT, agent, rules };
        let reply = self.change(command, asked.idempotency_key.clone(), within).await?;
        if !asked.password.is_empty() {
            let key = match asked.idempotency_key.as_str() {
                "" => String::new(),
                key => format!("{key}{PASSWORD_KEY}"),
            };
            self.put_password(&who, &asked.password, key, within).await?;
        }
        Ok(put(reply))
    }

    async fn remove(
        &self,
        request: Request<RemoveAgentRequest>,
    ) -> Result<Response<PutReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let agent = name("name", &asked.name)?;
        let command = QueueCommand::RemoveAgent { tenant: TenantId::DEFAULT, agent };
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
        self.put_password(&agent, &asked.password, asked.idempotency_key, within).await?;
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
        let command = QueueCommand::LogIn { tenant: TenantId::DEFAULT, agent, as_state };
        self.change(command, asked.idempotency_key, within).await.map(state)
    }

    async fn log_out(
        &self,
        request: Request<LogOutRequest>,
    ) -> Result<Response<AgentStateReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let agent = name("name", &asked.name)?;
        let command = QueueCommand::LogOut { tenant: TenantId::DEFAULT, agent };
        self.change(command, asked.idempotency_key, within).await.map(state)
    }

    async fn set_ready(
        &self,
        request: Request<SetReadyRequest>,
    ) -> Result<Response<AgentStateReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        self.set_readiness(&asked.name, Readiness::Ready, asked.idempotency_key, within).await
    }

    async fn set_not_ready(
        &self,
        request: Request<SetNotReadyRequest>,
    ) -> Result<Response<AgentStateReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let to = Readiness::NotReady(reason(&asked.reason)?);
        self.set_readiness(&asked.name, to, asked.idempotency_key, within).await
    }

    async fn extend_wrap_up(
        &self,
        request: Request<ExtendWrapUpRequest>,
    ) -> Result<Response<AgentStateReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let agent = name("name", &asked.name)?;
        let by = Millis(asked.by_ms);
        let command = QueueCommand::ExtendWrapUp { tenant: TenantId::DEFAULT, agent, by };
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
        let command = QueueCommand::Release { tenant: TenantId::DEFAULT, agent, to };
        self.change(command, asked.idempotency_key, within).await.map(state)
    }
}

impl Api {
    async fn set_readiness(
        &self,
        agent: &str,
        to: Readiness,
        idempotency_key: String,
        within: Duration,
    ) -> Result<Response<AgentStateReply>, Status> {
        let agent = name("name", agent)?;
        let command = QueueCommand::SetReadiness { tenant: TenantId::DEFAULT, agent, to };
        self.change(command, idempotency_key, within).await.map(state)
    }

    /// Only digests of the password leave this function, sealed.
    async fn put_password(
        &self,
        agent: &Name,
        password: &str,
        idempotency_key: String,
        within: Duration,
    ) -> Result<(), Status> {
        let secret = credential_secret(agent.as_str(), &self.realm, password);
        let context = credential_context(agent.as_str(), &self.realm);
        let sealed = seal::seal(&self.key, random_bytes(), &context, &secret)
            .map_err(|error| Status::internal(error.to_string()))?;
        let command = Command::PutCredential {
            tenant: TenantId::DEFAULT,
            agent: agent.clone(),
            realm: self.realm.clone(),
            sealed,
        };
        self.propose(command, idempotency_key, within).await.map(|_| ())
    }
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
