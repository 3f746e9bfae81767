//! `tandem contact`.

use clap::{Args, Subcommand};
use tandem_proto::api::v1::{
    Contact, EndContactRequest, ListContactsReply, ListContactsRequest, PlaceContactRequest,
    SetPriorityRequest, ShowContactRequest,
};

use super::{
    CliError, Connection, Reading,
    connect::{Session, block_on},
    output::{self, duration, or_dash},
};
use crate::rpc::contacts_client::ContactsClient;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Live contacts in the order of their queue. Callers' numbers are shown in part only.
    #[command(after_help = "Example:\n  tandem contact list --queue sales")]
    List {
        /// Only this queue.
        #[arg(long, default_value = "")]
        queue: String,
        /// At most so many.
        #[arg(long, default_value_t = 1_000)]
        limit: u32,
        #[command(flatten)]
        reading: Reading,
    },
    /// One contact, live or ended, with its legs.
    #[command(after_help = "Example:\n  tandem contact show contact_0_123")]
    Show {
        /// Its id.
        id: String,
        #[command(flatten)]
        reading: Reading,
    },
    /// Change the priority of a waiting contact; a place that it was given is given up.
    #[command(after_help = "Example:\n  tandem contact priority contact_0_123 5")]
    Priority {
        /// Its id.
        id: String,
        /// 0-10, higher first.
        priority: u32,
    },
    /// Put a waiting contact before another one of its queue, or to the front.
    #[command(
        after_help = "Examples:\n  tandem contact place contact_0_123 --before contact_0_120\n  tandem contact place contact_0_123 --front"
    )]
    Place {
        /// Its id.
        id: String,
        #[command(flatten)]
        place: Place,
    },
    /// End a contact: both sides are hung up.
    #[command(after_help = "Example:\n  tandem contact end contact_0_123")]
    End {
        /// Its id.
        id: String,
    },
}

#[derive(Debug, Args)]
#[group(id = "where", required = true, multiple = false)]
struct Place {
    /// Before this contact.
    #[arg(long, value_name = "ID")]
    before: Option<String>,
    /// Before everybody in its queue.
    #[arg(long)]
    front: bool,
}

pub(super) fn run(arguments: Arguments) -> Result<(), CliError> {
    let form = arguments.connection.output;
    let session = Session::new(&arguments.connection)?;
    block_on(async {
        match arguments.command {
            Command::List { queue, limit, reading } => {
                let request = ListContactsRequest {
                    consistency: reading.consistency.into(),
                    queue,
                    limit,
                    tenant: session.tenant(),
                };
                let reply = session
                    .look(|channel| {
                        let request = request.clone();
                        async { ContactsClient::new(channel).list(request).await }
                    })
                    .await?;
                output::print(form, &reply, table)
            }
            Command::Show { id, reading } => {
                let request = ShowContactRequest {
                    consistency: reading.consistency.into(),
                    id,
                    tenant: session.tenant(),
                };
                let reply = session
                    .look(|channel| {
                        let request = request.clone();
                        async { ContactsClient::new(channel).show(request).await }
                    })
                    .await?;
                output::print(form, &reply, show)
            }
            Command::Priority { id, priority } => {
                let request = SetPriorityRequest {
                    id,
                    priority,
                    idempotency_key: session.key(),
                    tenant: session.tenant(),
                };
                let reply = session
                    .change(|channel| {
                        let request = request.clone();
                        async { ContactsClient::new(channel).set_priority(request).await }
                    })
                    .await?;
                output::print(form, &reply, |_| "done".to_owned())
            }
            Command::Place { id, place } => {
                let before = place.before.unwrap_or_default();
                let request = PlaceContactRequest {
                    id,
                    before,
                    idempotency_key: session.key(),
                    tenant: session.tenant(),
                };
                let reply = session
                    .change(|channel| {
                        let request = request.clone();
                        async { ContactsClient::new(channel).place(request).await }
                    })
                    .await?;
                output::print(form, &reply, |_| "done".to_owned())
            }
            Command::End { id } => {
                let request = EndContactRequest {
                    id,
                    idempotency_key: session.key(),
                    tenant: session.tenant(),
                };
                let reply = session
                    .change(|channel| {
                        let request = request.clone();
                        async { ContactsClient::new(channel).end(request).await }
                    })
                    .await?;
                output::print(form, &reply, |_| "done".to_owned())
            }
        }
    })
}

fn table(reply: &ListContactsReply) -> String {
    let head =
        ["contact", "queue", "state", "agent", "waited", "talked", "in at", "prefers", "caller"];
    let rows = reply.contacts.iter().map(|contact| {
        [
            contact.id.clone(),
            contact.queue.clone(),
            contact.state.clone(),
            or_dash(&contact.agent),
            duration(contact.waited_ms),
            duration(contact.talked_ms),
            contact.ingress_site.clone(),
            contact.serving_site.clone(),
            contact.caller.clone(),
        ]
    });
    let mut text = output::table(head, rows);
    if reply.more {
        text.push_str("\nthere are more: raise --limit");
    }
    text
}

fn show(contact: &Contact) -> String {
    let facts = [
        ("contact", contact.id.clone()),
        ("queue", contact.queue.clone()),
        ("state", contact.state.clone()),
        ("ended because", contact.end_reason.clone()),
        ("agent", contact.agent.clone()),
        ("caller", contact.caller.clone()),
        ("called", contact.called.clone()),
        ("requirement", contact.requirement.clone()),
        ("priority", contact.priority.to_string()),
        ("waited", duration(contact.waited_ms)),
        ("talked", duration(contact.talked_ms)),
        ("came in at", contact.ingress_site.clone()),
        ("prefers", contact.serving_site.clone()),
        ("offers", contact.offers.to_string()),
        ("step", number(contact.step)),
        ("reserve levels", number(contact.reserve_levels)),
        ("urgent", yes(contact.urgent)),
        ("waits for", contact.waits_for.clone()),
        ("placed by hand", yes(contact.placed)),
        ("left", contact.visited.join(", ")),
        ("waits in too", contact.also.join(", ")),
    ];
    let rows = facts
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(fact, value)| [fact.to_owned(), value]);
    let mut text = output::table(["", ""], rows);
    if !contact.legs.is_empty() {
        let legs = contact.legs.iter().map(|leg| {
            [
                leg.id.clone(),
                leg.role.clone(),
                leg.phase.clone(),
                leg.control.clone(),
                format!("node {}", leg.owner),
                leg.epoch.to_string(),
                or_dash(&leg.relay),
                or_dash(&leg.codec),
            ]
        });
        let head = ["leg", "role", "phase", "control", "owner", "epoch", "relay", "codec"];
        text = format!("{text}\n\n{}", output::table(head, legs));
    }
    text
}

/// A number that is worth showing.
fn number(number: u32) -> String {
    if number == 0 { String::new() } else { number.to_string() }
}

fn yes(is: bool) -> String {
    if is { "yes".to_owned() } else { String::new() }
}
