//! `tandem agent`.

use std::{collections::BTreeMap, io::Read, path::PathBuf};

use clap::{Args, Subcommand};
use tandem_proto::api::v1::{
    AgentStateReply, ListAgentsReply, ListAgentsRequest, LogInRequest, LogOutRequest,
    PutAgentRequest, RemoveAgentRequest, SetNotReadyRequest, SetReadyRequest, Tier,
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
        after_help = "Example:\n  printf %s \"$SECRET\" | tandem agent put amy --site lon --skill spanish=7 --skill billing=3 --queue sales --tier sales=2:1 --password-file -"
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
        /// File with the password of their phone, "-" for standard input; unchanged when not given.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
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
}

pub(super) fn run(arguments: Arguments) -> Result<(), CliError> {
    let form = arguments.connection.output;
    let session = Session::new(&arguments.connection)?;
    block_on(async {
        match arguments.command {
            Command::List { name, reading } => {
                let request = ListAgentsRequest { consistency: reading.consistency.into(), name };
                let reply = session
                    .look(|channel| {
                        let request = request.clone();
                        async { AgentsClient::new(channel).list(request).await }
                    })
                    .await?;
                output::print(form, &reply, table)
            }
            Command::Put { name, site, skills, queues, tiers, password_file } => {
                let request = PutAgentRequest {
                    name,
                    site,
                    skills: skills.into_iter().collect::<BTreeMap<_, _>>(),
                    queues,
                    tiers: tiers.into_iter().collect(),
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
            Command::Remove { name } => {
                let request = RemoveAgentRequest { name, idempotency_key: session.key() };
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
            let idempotency_key = session.key();
            match change {
                Command::Login { name, not_ready } => {
                    let request = LogInRequest {
                        name: name.clone(),
                        ready: not_ready.is_none(),
                        reason: not_ready.clone().unwrap_or_default(),
                        idempotency_key,
                    };
                    client.log_in(request).await
                }
                Command::Logout { name } => {
                    client.log_out(LogOutRequest { name: name.clone(), idempotency_key }).await
                }
                Command::NotReady { name, reason } => {
                    let (name, reason) = (name.clone(), reason.clone());
                    client.set_not_ready(SetNotReadyRequest { name, reason, idempotency_key }).await
                }
                Command::Ready { name } => {
                    client.set_ready(SetReadyRequest { name: name.clone(), idempotency_key }).await
                }
                Command::List { .. } | Command::Put { .. } | Command::Remove { .. } => {
                    Err(tonic::Status::internal("not a change of state"))
                }
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
            or_dash(&agent.queues.join(" ")),
        ]
    });
    output::table(head, rows)
}
