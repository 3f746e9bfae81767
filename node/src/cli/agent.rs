//! `tandem agent`.

use std::{collections::BTreeMap, io::Read, path::PathBuf};

use clap::{Args, Subcommand};
use tandem_proto::api::v1::{
    Agent, AgentStateReply, ExtendWrapUpRequest, ListAgentsReply, ListAgentsRequest, LogInRequest,
    LogOutRequest, PutAgentRequest, ReleaseRequest, RemoveAgentRequest, ServiceAbroad,
    SetNotReadyRequest, SetPasswordRequest, SetReadyRequest, Tier,
};

use super::{
    CliError, Connection, Reading,
    connect::{Session, block_on},
    output::{self, duration, or_dash},
    queue::put,
};
use crate::rpc::agents_client::AgentsClient;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Agents and what they are doing.
    #[command(after_help = "Examples:\n  tandem agent list\n  tandem agent list amy --output json")]
    List {
        /// Only this agent.
        #[arg(default_value = "")]
        name: String,
        #[command(flatten)]
        reading: Reading,
    },
    /// Create or change an agent.
    #[command(
        after_help = "Examples:\n  printf %s \"$SECRET\" | tandem agent put amy --site lon --skill spanish=7 --skill billing=3 --queue sales --tier sales=2:1 --password-file -\n  tandem agent put amy --site lon --queue sales --abroad acme:sales --abroad-skill acme:expert=3"
    )]
    Put {
        /// Name; also the user of their phone.
        name: String,
        /// Where they sit.
        #[arg(long)]
        site: String,
        /// A skill with its level, 1-10; may be repeated.
        #[arg(long = "skill", value_name = "SKILL=LEVEL", value_parser = skill)]
        skills: Vec<(String, u32)>,
        /// A queue that they serve; may be repeated.
        #[arg(long = "queue", value_name = "QUEUE")]
        queues: Vec<String>,
        /// Where they stand in a queue with the strategy linear, as level (1-100) and position (1-10000);
        /// may be repeated.
        #[arg(long = "tier", value_name = "QUEUE=LEVEL[:POSITION]", value_parser = tier)]
        tiers: Vec<(String, Tier)>,
        /// Their reserve level (1-5) in a queue, which asks them only when a contact has waited for a while
        /// (`tandem queue put --reserve-after`); may be repeated.
        #[arg(long = "reserve", value_name = "QUEUE=LEVEL", value_parser = skill)]
        reserve: Vec<(String, u32)>,
        /// What else requirements may ask of them; may be repeated.
        #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = attribute)]
        attributes: Vec<(String, String)>,
        /// A queue of another tenant that they serve too; may be repeated.
        #[arg(long, value_name = "TENANT:QUEUE", value_parser = of_tenant)]
        abroad: Vec<(String, String)>,
        /// A skill in another tenant's words, with its level; may be repeated.
        #[arg(long = "abroad-skill", value_name = "TENANT:SKILL=LEVEL", value_parser = abroad_skill)]
        abroad_skills: Vec<(String, (String, u32))>,
        /// File with the password of their phone, "-" for standard input; unchanged when not given.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Give an agent's phone another password; nothing else of them changes.
    #[command(
        after_help = "Example:\n  printf %s \"$SECRET\" | tandem agent password amy --file -"
    )]
    Password {
        /// Who.
        name: String,
        /// File with the password, "-" for standard input.
        #[arg(long)]
        file: PathBuf,
    },
    /// Remove an agent who is logged out.
    #[command(after_help = "Example:\n  tandem agent remove amy")]
    Remove {
        /// Who.
        name: String,
    },
    /// Log an agent in: ready at once, or not ready with a reason.
    #[command(
        after_help = "Examples:\n  tandem agent login amy\n  tandem agent login amy --not-ready training"
    )]
    Login {
        /// Who.
        name: String,
        /// Log in as not ready, for this reason.
        #[arg(long, value_name = "REASON")]
        not_ready: Option<String>,
    },
    /// Log an agent out, after the contact that they have.
    #[command(after_help = "Example:\n  tandem agent logout amy")]
    Logout {
        /// Who.
        name: String,
    },
    /// Make an agent ready; ends after-contact work.
    #[command(after_help = "Example:\n  tandem agent ready amy")]
    Ready {
        /// Who.
        name: String,
    },
    /// Make an agent not ready, after the contact that they have.
    #[command(after_help = "Example:\n  tandem agent not-ready amy --reason break")]
    NotReady {
        /// Who.
        name: String,
        /// The center's reason.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Give an agent more time for after-contact work, up to what the queue allows.
    #[command(after_help = "Example:\n  tandem agent extend amy --by 60")]
    Extend {
        /// Who.
        name: String,
        /// How much more, in seconds.
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86400))]
        by: u64,
    },
    /// Set an agent free from whatever they are in: the last resort when a phone or a person does not
    /// answer any more. An offer is withdrawn, a conversation ends.
    #[command(
        after_help = "Examples:\n  tandem agent release amy\n  tandem agent release amy --not-ready broken-phone"
    )]
    Release {
        /// Who.
        name: String,
        /// Leave them not ready, for this reason; ready when not given.
        #[arg(long, value_name = "REASON")]
        not_ready: Option<String>,
    },
}

pub(super) fn run(arguments: Arguments) -> Result<(), CliError> {
    let form = arguments.connection.output;
    let session = Session::new(&arguments.connection)?;
    block_on(async {
        match arguments.command {
            Command::List { name, reading } => {
                let request = ListAgentsRequest {
                    consistency: reading.consistency.into(),
                    name,
                    tenant: session.tenant(),
                };
                let reply = session
                    .look(|channel| {
                        let request = request.clone();
                        async { AgentsClient::new(channel).list(request).await }
                    })
                    .await?;
                output::print(form, &reply, table)
            }
            Command::Put {
                name,
                site,
                skills,
                queues,
                tiers,
                reserve,
                attributes,
                abroad,
                abroad_skills,
                password_file,
            } => {
                let request = PutAgentRequest {
                    abroad: abroad_of(abroad, abroad_skills),
                    tenant: session.tenant(),
                    name,
                    site,
                    skills: skills.into_iter().collect::<BTreeMap<_, _>>(),
                    queues,
                    tiers: tiers.into_iter().collect(),
                    reserve: reserve.into_iter().collect(),
                    attributes: attributes.into_iter().collect(),
                    password: password_file.map(password).transpose()?.unwrap_or_default(),
                    idempotency_key: session.key(),
                };
                let reply = session
                    .change(|channel| {
                        let request = request.clone();
                        async { AgentsClient::new(channel).put(request).await }
                    })
                    .await?;
                output::print(form, &reply, put)
            }
            Command::Password { name, file } => {
                let (password, idempotency_key) = (password(file)?, session.key());
                let tenant = session.tenant();
                let request = SetPasswordRequest { name, password, idempotency_key, tenant };
                let reply = session
                    .change(|channel| {
                        let request = request.clone();
                        async { AgentsClient::new(channel).set_password(request).await }
                    })
                    .await?;
                output::print(form, &reply, |_| "done".to_owned())
            }
            Command::Remove { name } => {
                let request = RemoveAgentRequest {
                    name,
                    idempotency_key: session.key(),
                    tenant: session.tenant(),
                };
                let reply = session
                    .change(|channel| {
                        let request = request.clone();
                        async { AgentsClient::new(channel).remove(request).await }
                    })
                    .await?;
                output::print(form, &reply, put)
            }
            change => {
                let reply = set_state(&session, change).await?;
                output::print(form, &reply, state)
            }
        }
    })
}

async fn set_state(session: &Session, change: Command) -> Result<AgentStateReply, CliError> {
    let change = &change;
    session
        .change(|channel| async move {
            let mut client = AgentsClient::new(channel);
            let (idempotency_key, tenant) = (session.key(), session.tenant());
            match change {
                Command::Login { name, not_ready } => {
                    let request = LogInRequest {
                        name: name.clone(),
                        ready: not_ready.is_none(),
                        reason: not_ready.clone().unwrap_or_default(),
                        idempotency_key,
                        tenant,
                    };
                    client.log_in(request).await
                }
                Command::Logout { name } => {
                    let name = name.clone();
                    client.log_out(LogOutRequest { name, idempotency_key, tenant }).await
                }
                Command::NotReady { name, reason } => {
                    let (name, reason) = (name.clone(), reason.clone());
                    let request = SetNotReadyRequest { name, reason, idempotency_key, tenant };
                    client.set_not_ready(request).await
                }
                Command::Ready { name } => {
                    let name = name.clone();
                    client.set_ready(SetReadyRequest { name, idempotency_key, tenant }).await
                }
                Command::Extend { name, by } => {
                    let (name, by_ms) = (name.clone(), by.saturating_mul(1_000));
                    let request = ExtendWrapUpRequest { name, by_ms, idempotency_key, tenant };
                    client.extend_wrap_up(request).await
                }
                Command::Release { name, not_ready } => {
                    let request = ReleaseRequest {
                        name: name.clone(),
                        ready: not_ready.is_none(),
                        reason: not_ready.clone().unwrap_or_default(),
                        idempotency_key,
                        tenant,
                    };
                    client.release(request).await
                }
                Command::List { .. }
                | Command::Put { .. }
                | Command::Password { .. }
                | Command::Remove { .. } => Err(tonic::Status::internal("not a change of state")),
            }
        })
        .await
}

/// Reads a password without the line break behind it.
fn password(file: PathBuf) -> Result<String, CliError> {
    let mut text = String::new();
    let read = if file.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text).map(|_| ())
    } else {
        std::fs::read_to_string(&file).map(|read| text = read)
    };
    read.map_err(|error| {
        CliError::Local(format!("the password file {} cannot be read: {error}", file.display()))
    })?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(CliError::Local("the password is empty".to_owned()));
    }
    Ok(password.to_owned())
}

fn skill(text: &str) -> Result<(String, u32), String> {
    let (name, level) = text.split_once('=').ok_or("write it as skill=level, such as spanish=7")?;
    let level = level.parse().map_err(|_| format!("{level:?} is no level from 1 to 10"))?;
    Ok((name.to_owned(), level))
}

/// What stands before a colon, and behind it.
fn of_tenant(text: &str) -> Result<(String, String), String> {
    let (tenant, name) =
        text.split_once(':').ok_or("write it as tenant:name, such as acme:sales")?;
    Ok((tenant.to_owned(), name.to_owned()))
}

fn abroad_skill(text: &str) -> Result<(String, (String, u32)), String> {
    let (tenant, rest) = of_tenant(text)?;
    Ok((tenant, skill(&rest)?))
}

/// What an agent does for other tenants, by their names.
fn abroad_of(
    queues: Vec<(String, String)>,
    skills: Vec<(String, (String, u32))>,
) -> BTreeMap<String, ServiceAbroad> {
    let mut abroad: BTreeMap<String, ServiceAbroad> = BTreeMap::new();
    for (tenant, queue) in queues {
        abroad.entry(tenant).or_default().queues.push(queue);
    }
    for (tenant, (skill, level)) in skills {
        abroad.entry(tenant).or_default().skills.insert(skill, level);
    }
    abroad
}

fn attribute(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as name=value, such as team=red")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn tier(text: &str) -> Result<(String, Tier), String> {
    let (queue, tier) =
        text.split_once('=').ok_or("write it as queue=level[:position], such as sales=2:1")?;
    let (level, position) = tier.split_once(':').unwrap_or((tier, "1"));
    let number = |text: &str, what: &str| {
        text.parse::<u32>().map_err(|_| format!("{text:?} is no {what} of a tier"))
    };
    let tier = Tier { level: number(level, "level")?, position: number(position, "position")? };
    Ok((queue.to_owned(), tier))
}

fn state(reply: &AgentStateReply) -> String {
    if reply.after_contact {
        "done; takes effect when their contact has ended".to_owned()
    } else {
        "done".to_owned()
    }
}

/// Queues that an agent serves; other tenants' with the tenant.
fn served(agent: &Agent) -> String {
    let abroad = agent.abroad.iter().flat_map(|(tenant, service)| {
        service.queues.iter().map(move |queue| format!("{tenant}:{queue}"))
    });
    agent.queues.iter().cloned().chain(abroad).collect::<Vec<_>>().join(" ")
}

fn table(reply: &ListAgentsReply) -> String {
    let head = ["agent", "site", "login", "work", "for", "phone", "contact", "skills", "queues"];
    let rows = reply.agents.iter().map(|agent| {
        let work = match agent.reason.as_str() {
            "" => agent.work.clone(),
            reason => format!("{} ({reason})", agent.work),
        };
        let skills: Vec<String> =
            agent.skills.iter().map(|(skill, level)| format!("{skill}={level}")).collect();
        [
            agent.name.clone(),
            agent.site.clone(),
            agent.login.clone(),
            work,
            duration(agent.in_state_ms),
            agent.device.clone(),
            or_dash(&agent.contact),
            or_dash(&skills.join(" ")),
            or_dash(&served(agent)),
        ]
    });
    output::table(head, rows)
}
