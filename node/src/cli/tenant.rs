//! `tandem tenant`.

use clap::{Args, Subcommand};
use tandem_proto::api::v1::{
    ListTenantsReply, ListTenantsRequest, PutTenantRequest, Quotas, RemoveTenantRequest,
};

use super::{
    CliError, Connection, Reading,
    connect::{Session, block_on},
    output,
};
use crate::rpc::tenants_client::TenantsClient;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a tenant or change its quotas; what is not given has none.
    #[command(
        after_help = "Examples:\n  tandem tenant put acme --queues 20 --numbers 50 --agents 200 --contacts 500\n  tandem queue list --tenant acme      (everything else takes --tenant, or TANDEM_TENANT)"
    )]
    Put {
        /// Its name.
        name: String,
        /// Queues at most.
        #[arg(long, value_name = "N")]
        queues: Option<u32>,
        /// Called numbers at most.
        #[arg(long, value_name = "N")]
        numbers: Option<u32>,
        /// Agents of its own at most.
        #[arg(long, value_name = "N")]
        agents: Option<u32>,
        /// Contacts at once at most, waiting or talking; further callers hear busy (486).
        #[arg(long, value_name = "N")]
        contacts: Option<u32>,
    },
    /// Tenants, what they have, and what they may have.
    #[command(after_help = "Example:\n  tandem tenant list")]
    List {
        #[command(flatten)]
        reading: Reading,
    },
    /// Remove a tenant that owns nothing.
    #[command(after_help = "Example:\n  tandem tenant remove acme")]
    Remove {
        /// Its name.
        name: String,
    },
}

pub(super) fn run(arguments: Arguments) -> Result<(), CliError> {
    let form = arguments.connection.output;
    let session = Session::new(&arguments.connection)?;
    let key = session.key();
    block_on(async {
        match arguments.command {
            Command::Put { name, queues, numbers, agents, contacts } => {
                let quotas = Some(Quotas { queues, numbers, agents, contacts });
                let request = PutTenantRequest { name, quotas, idempotency_key: key };
                let reply = session
                    .change(|channel| {
                        let request = request.clone();
                        async { TenantsClient::new(channel).put(request).await }
                    })
                    .await?;
                output::print(form, &reply, |_| "done".to_owned())
            }
            Command::List { reading } => {
                let request = ListTenantsRequest { consistency: reading.consistency.into() };
                let reply = session
                    .look(|channel| async move { TenantsClient::new(channel).list(request).await })
                    .await?;
                output::print(form, &reply, table)
            }
            Command::Remove { name } => {
                let request = RemoveTenantRequest { name, idempotency_key: key };
                let reply = session
                    .change(|channel| {
                        let request = request.clone();
                        async { TenantsClient::new(channel).remove(request).await }
                    })
                    .await?;
                output::print(form, &reply, |_| "done".to_owned())
            }
        }
    })
}

fn table(reply: &ListTenantsReply) -> String {
    let of = |has: u32, may: Option<u32>| match may {
        Some(may) => format!("{has} of {may}"),
        None => has.to_string(),
    };
    let rows = reply.tenants.iter().map(|tenant| {
        let quotas = tenant.quotas.unwrap_or_default();
        [
            tenant.name.clone(),
            of(tenant.queues, quotas.queues),
            of(tenant.numbers, quotas.numbers),
            of(tenant.agents, quotas.agents),
            of(tenant.contacts, quotas.contacts),
        ]
    });
    output::table(["tenant", "queues", "numbers", "agents", "contacts"], rows)
}
