//! `tandem config`.

mod files;
mod show;

use std::{
    io::{BufRead, IsTerminal},
    path::PathBuf,
};

use clap::{Args, Subcommand};
use tandem_proto::api::v1::{
    ConfigApplied, ConfigApplyRequest, ConfigExport, ConfigExportRequest, ConfigHistoryRequest,
    ConfigPlan, ConfigPlanRequest, ConfigRollbackRequest,
};

use super::{
    CliError, Connection, Reading,
    connect::{Session, Way, block_on},
    output,
};
use crate::{configuration::UNPACKED_BYTES_MAX, rpc::config_client::ConfigClient};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what files would change, and what that would do to those who wait. Changes nothing.
    #[command(
        after_help = "Examples:\n  tandem config plan center.toml\n  tandem config plan sites.toml queues/ --prune --output json\n  tandem config plan acme/ --tenant acme\n\nWhat may stand in files: docs/operating/configuration-as-files.md"
    )]
    Plan {
        #[command(flatten)]
        documents: Documents,
    },
    /// Make everything so that files ask for, or nothing. Shows the plan, and asks before.
    #[command(
        after_help = "Examples:\n  tandem config apply center.toml --comment 'summer hours'\n  tandem config apply queues/ --prune --base 12 --yes      (only if version 12 is still in force)"
    )]
    Apply {
        #[command(flatten)]
        documents: Documents,
        #[command(flatten)]
        meant: Meant,
    },
    /// Show the versions that are kept, or what one of them changed.
    #[command(after_help = "Examples:\n  tandem config history\n  tandem config history 12")]
    History {
        /// Only this one, with what it changed.
        #[arg(value_name = "VERSION")]
        of: Option<u64>,
        #[command(flatten)]
        reading: Reading,
    },
    /// Make everything as it was in a version that is kept, or nothing. Shows the plan, and asks before.
    #[command(
        after_help = "Examples:\n  tandem config rollback 12\n  tandem config rollback 12 --keep-new --comment 'too early' --yes"
    )]
    Rollback {
        /// Which.
        #[arg(value_name = "VERSION")]
        to: u64,
        /// Leave queues, numbers and agents that this version did not have; otherwise they are removed.
        #[arg(long)]
        keep_new: bool,
        #[command(flatten)]
        meant: Meant,
    },
    /// Print the whole configuration as one file. Passwords of phones are not in it.
    #[command(
        after_help = "Examples:\n  tandem config export > center.toml\n  tandem config export --of 12"
    )]
    Export {
        /// Of this version; what is in force when not given.
        #[arg(long, value_name = "VERSION")]
        of: Option<u64>,
        #[command(flatten)]
        reading: Reading,
    },
}

#[derive(Debug, Args)]
struct Documents {
    /// TOML files, folders of them (*.toml), or "-" for standard input.
    #[arg(required = true, value_name = "FILE|FOLDER")]
    paths: Vec<PathBuf>,
    /// Remove queues, numbers and agents that no file speaks of.
    #[arg(long)]
    prune: bool,
}

#[derive(Debug, Args)]
struct Meant {
    /// Refuse when another version than this is in force: what `plan` said.
    #[arg(long, value_name = "VERSION")]
    base: Option<u64>,
    /// Why, for the history.
    #[arg(long, default_value = "")]
    comment: String,
    /// Who, for the history.
    #[arg(long, env = "USER", default_value = "")]
    author: String,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

pub(super) fn run(arguments: Arguments) -> Result<(), CliError> {
    let form = arguments.connection.output;
    let session = Session::new(&arguments.connection)?;
    block_on(async {
        match arguments.command {
            Command::Plan { documents } => {
                let plan = plan(&session, documents.request(&session)?).await?;
                output::print(form, &plan, show::plan)?;
                sound(&plan)
            }
            Command::Apply { documents, meant } => {
                let request = documents.request(&session)?;
                let reply = apply(&session, request, meant).await?;
                output::print(form, &reply, applied)
            }
            Command::Rollback { to, keep_new, meant } => {
                let (tenant, version) = (session.tenant(), Some(to));
                let request =
                    ConfigPlanRequest { prune: !keep_new, version, tenant, documents: Vec::new() };
                let reply = apply(&session, request, meant).await?;
                output::print(form, &reply, applied)
            }
            Command::History { of, reading } => {
                let (consistency, tenant) = (reading.consistency.into(), session.tenant());
                let request = ConfigHistoryRequest { consistency, version: of, tenant };
                let reply = session
                    .look(|channel| {
                        let request = request.clone();
                        async { client(channel).history(request).await }
                    })
                    .await?;
                output::print(form, &reply, |reply| match of {
                    None => show::history(reply),
                    Some(_) => show::version(reply),
                })
            }
            Command::Export { of, reading } => {
                let (consistency, tenant) = (reading.consistency.into(), session.tenant());
                let request = ConfigExportRequest { consistency, version: of, tenant };
                let reply = session
                    .look(|channel| {
                        let request = request.clone();
                        async { client(channel).export(request).await }
                    })
                    .await?;
                output::print(form, &reply, |reply: &ConfigExport| reply.document.clone())
            }
        }
    })
}

impl Documents {
    fn request(&self, session: &Session) -> Result<ConfigPlanRequest, CliError> {
        let documents = files::read(&self.paths)?;
        let tenant = session.tenant();
        Ok(ConfigPlanRequest { documents, prune: self.prune, version: None, tenant })
    }
}

fn client(channel: Way) -> ConfigClient<Way> {
    // A history or an export may be larger than what a message usually is.
    ConfigClient::new(channel).max_decoding_message_size(2 * UNPACKED_BYTES_MAX)
}

async fn plan(session: &Session, request: ConfigPlanRequest) -> Result<ConfigPlan, CliError> {
    session
        .look(|channel| {
            let request = request.clone();
            async { client(channel).plan(request).await }
        })
        .await
}

/// Refuses a plan with problems, which were told.
fn sound(plan: &ConfigPlan) -> Result<(), CliError> {
    match plan.problems.len() {
        0 => Ok(()),
        1 => Err(CliError::Refused("this must be corrected first; nothing was changed".to_owned())),
        _ => {
            Err(CliError::Refused("these must be corrected first; nothing was changed".to_owned()))
        }
    }
}

/// Plans, shows, asks, and applies for the version that was planned for.
async fn apply(
    session: &Session,
    request: ConfigPlanRequest,
    meant: Meant,
) -> Result<ConfigApplied, CliError> {
    let plan = plan(session, request.clone()).await?;
    output::say(&show::plan(&plan));
    sound(&plan)?;
    if plan.changes.is_empty() {
        return Ok(ConfigApplied { version: plan.base_version, changes: 0 });
    }
    if !meant.yes {
        confirm()?;
    }
    let base_version = Some(meant.base.unwrap_or(plan.base_version));
    let (author, comment, idempotency_key) = (meant.author, meant.comment, session.key());
    match request.version {
        Some(version) => {
            let (keep_new, tenant) = (!request.prune, request.tenant);
            let request = ConfigRollbackRequest {
                version,
                keep_new,
                base_version,
                author,
                comment,
                idempotency_key,
                tenant,
            };
            session
                .change(|channel| {
                    let request = request.clone();
                    async { client(channel).rollback(request).await }
                })
                .await
        }
        None => {
            let ConfigPlanRequest { documents, prune, tenant, .. } = request;
            let request = ConfigApplyRequest {
                documents,
                prune,
                base_version,
                author,
                comment,
                idempotency_key,
                tenant,
            };
            session
                .change(|channel| {
                    let request = request.clone();
                    async { client(channel).apply(request).await }
                })
                .await
        }
    }
}

/// Asks the person at the terminal; refuses when there is none.
fn confirm() -> Result<(), CliError> {
    let refused = |text: &str| Err(CliError::Refused(text.to_owned()));
    if !std::io::stdin().is_terminal() {
        return refused("nothing was changed: this is the plan only; add --yes to carry it out");
    }
    output::say("Carry this out? [y/N]");
    let mut answer = String::new();
    // What cannot be read is no yes.
    std::io::stdin().lock().read_line(&mut answer).ok();
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => refused("nothing was changed"),
    }
}

fn applied(reply: &ConfigApplied) -> String {
    match reply.changes {
        0 => format!("nothing to change: version {} is what is asked for", reply.version),
        _ => format!(
            "done: version {} is in force; tandem config history shows the way back",
            reply.version
        ),
    }
}
