//! `tandem callers`: lists of callers. Numbers are printed by `show` alone.

use std::{io::Read, path::PathBuf};

use clap::{Args, Subcommand};
use tandem_proto::api::v1::{
    ChangeCallersReply, ChangeCallersRequest, ListCallerListsReply, ListCallerListsRequest,
    ShowCallersReply, ShowCallersRequest,
};
use tandem_routing::limits::LIST_CHANGES_MAX;

use super::{
    CliError, Connection, Reading,
    connect::{Session, block_on},
    output::{self, or_dash},
};
use crate::rpc::callers_client::CallersClient;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Put callers into a list; a list exists as long as somebody is in it. With '*' at the end: all whose
    /// numbers begin so.
    #[command(
        after_help = "Examples:\n  tandem callers add annoying +442079460089 '+4499*'\n  tandem callers add members --file members.txt      (one a line)"
    )]
    Add(Change),
    /// Take callers out of a list.
    #[command(after_help = "Example:\n  tandem callers remove annoying '+4499*'")]
    Remove(Change),
    /// The callers of a list, in clear: personal data.
    #[command(after_help = "Example:\n  tandem callers show annoying")]
    Show {
        /// Which list.
        list: String,
        /// At most so many.
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
        /// Only behind this one: the last one of the page before.
        #[arg(long, value_name = "CALLER", default_value = "")]
        after: String,
        #[command(flatten)]
        reading: Reading,
    },
    /// Lists, how many are in them, and the numbers that go by them.
    #[command(after_help = "Example:\n  tandem callers list")]
    List {
        #[command(flatten)]
        reading: Reading,
    },
}

#[derive(Debug, Args)]
struct Change {
    /// Which list.
    list: String,
    /// Callers' numbers as they show them.
    #[arg(required_unless_present = "file")]
    callers: Vec<String>,
    /// A file with one caller a line, "-" for standard input, so that no number stays in the shell's history.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Change {
    /// Everybody who is named, in parts that one command may have.
    fn read(&mut self) -> Result<Vec<Vec<String>>, CliError> {
        let mut callers = std::mem::take(&mut self.callers);
        if let Some(file) = &self.file {
            let mut text = String::new();
            let read = if file.as_os_str() == "-" {
                std::io::stdin().read_to_string(&mut text).map(|_| ())
            } else {
                std::fs::read_to_string(file).map(|read| text = read)
            };
            read.map_err(|error| {
                CliError::Local(format!("the file {} cannot be read: {error}", file.display()))
            })?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            callers.extend(lines.map(str::to_owned));
        }
        if callers.is_empty() {
            return Err(CliError::Local("no caller is named".to_owned()));
        }
        Ok(callers.chunks(LIST_CHANGES_MAX).map(<[String]>::to_vec).collect())
    }
}

pub(super) fn run(arguments: Arguments) -> Result<(), CliError> {
    let form = arguments.connection.output;
    let session = Session::new(&arguments.connection)?;
    let tenant = session.tenant();
    block_on(async {
        match arguments.command {
            Command::Add(mut change) => {
                for (at, add) in change.read()?.into_iter().enumerate() {
                    let list = change.list.clone();
                    let request = ChangeCallersRequest { list, add, ..part(&session, at) };
                    carry_out(&session, request).await?;
                }
                output::print(form, &ChangeCallersReply {}, |_| "done".to_owned())
            }
            Command::Remove(mut change) => {
                for (at, remove) in change.read()?.into_iter().enumerate() {
                    let list = change.list.clone();
                    let request = ChangeCallersRequest { list, remove, ..part(&session, at) };
                    carry_out(&session, request).await?;
                }
                output::print(form, &ChangeCallersReply {}, |_| "done".to_owned())
            }
            Command::Show { list, limit, after, reading } => {
                let consistency = reading.consistency.into();
                let request = ShowCallersRequest { consistency, list, after, limit, tenant };
                let reply = session
                    .look(|channel| {
                        let request = request.clone();
                        async { CallersClient::new(channel).show(request).await }
                    })
                    .await?;
                output::print(form, &reply, show)
            }
            Command::List { reading } => {
                let request =
                    ListCallerListsRequest { consistency: reading.consistency.into(), tenant };
                let reply = session
                    .look(|channel| {
                        let request = request.clone();
                        async { CallersClient::new(channel).list(request).await }
                    })
                    .await?;
                output::print(form, &reply, table)
            }
        }
    })
}

/// One of the parts of a long change: each has an idempotency key of its own.
fn part(session: &Session, at: usize) -> ChangeCallersRequest {
    ChangeCallersRequest {
        idempotency_key: format!("{}/{at}", session.key()),
        tenant: session.tenant(),
        ..ChangeCallersRequest::default()
    }
}

async fn carry_out(session: &Session, request: ChangeCallersRequest) -> Result<(), CliError> {
    session
        .change(|channel| {
            let request = request.clone();
            async { CallersClient::new(channel).change(request).await }
        })
        .await
        .map(|_| ())
}

fn show(reply: &ShowCallersReply) -> String {
    let mut text = reply.callers.join("\n");
    if reply.more {
        output::say("there are more: raise --limit, or go on with --after");
    }
    text.push('\n');
    text
}

fn table(reply: &ListCallerListsReply) -> String {
    let rows = reply.lists.iter().map(|list| {
        [
            list.name.clone(),
            list.callers.to_string(),
            list.prefixes.to_string(),
            or_dash(&list.numbers.join(" ")),
        ]
    });
    output::table(["list", "callers", "of them prefixes", "numbers"], rows)
}
