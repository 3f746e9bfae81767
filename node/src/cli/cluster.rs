//! `tandem cluster`.

use std::time::Duration;

use clap::{Args, Subcommand};
use tandem_proto::api::v1::{
    InitRequest, JoinRequest, RemoveNodeRequest, StatusReply, StatusRequest, TransferLeaderRequest,
};

use super::{
    CliError, Connection, Reading, certs,
    connect::{Session, block_on, host_and_port},
    output::{self, duration, or_dash},
};
use crate::rpc::cluster_client::ClusterClient;

/// A newcomer may have a long log to catch up with.
const CATCH_UP: Duration = Duration::from_secs(330);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum Command {
    Certs(certs::Arguments),
    /// Found a cluster on a running node whose disk is new.
    #[command(after_help = "Example:\n  tandem cluster init --node 192.0.2.10:7200")]
    Init,
    /// Let another running node, whose disk is new, join.
    #[command(
        after_help = "Example:\n  tandem cluster join 192.0.2.20:7100 --node 192.0.2.10:7200\n\nThe address is the newcomer's [cluster] listen; --node names a member."
    )]
    Join {
        /// Cluster address of the newcomer.
        #[arg(value_name = "HOST:PORT", value_parser = host_and_port)]
        address: String,
    },
    /// Remove a node that is lost or stopped, for ever.
    #[command(
        after_help = "Example:\n  tandem cluster remove 3\n\nIts number and its disk are never taken again; a new machine, or the same one with an empty data directory, joins under a new number."
    )]
    Remove {
        /// Number of the node.
        #[arg(value_name = "NODE")]
        number: u64,
    },
    /// Who is there, who leads, how much there is to do.
    #[command(
        after_help = "Examples:\n  tandem cluster status\n  tandem cluster status --consistency local   (works also on a node that is cut off)\n  tandem cluster status --output json"
    )]
    Status {
        #[command(flatten)]
        reading: Reading,
    },
    /// Hand leadership to another node, without a pause in service.
    #[command(after_help = "Example:\n  tandem cluster transfer 2")]
    Transfer {
        /// Number of the node that shall lead.
        #[arg(value_name = "NODE")]
        to: u64,
    },
}

pub(super) fn run(arguments: Arguments) -> Result<(), CliError> {
    let connection = arguments.connection;
    if let Command::Certs(arguments) = arguments.command {
        return certs::run(&arguments);
    }
    let form = connection.output;
    let mut session = Session::new(&connection)?;
    if matches!(arguments.command, Command::Join { .. }) {
        session.allow(CATCH_UP);
    }
    block_on(async {
        match arguments.command {
            Command::Certs(_) => Ok(()),
            Command::Init => {
                let reply = session
                    .change_once(|channel| async {
                        ClusterClient::new(channel).init(InitRequest {}).await
                    })
                    .await?;
                output::print(form, &reply, |reply| {
                    format!("founded {} on node {}", reply.cluster, reply.node)
                })
            }
            Command::Join { address } => {
                output::say(&format!(
                    "asking {address} to join: it catches up, which may take minutes, then it votes"
                ));
                let request = JoinRequest { address };
                let reply = session
                    .change_once(|channel| {
                        let request = request.clone();
                        async { ClusterClient::new(channel).join(request).await }
                    })
                    .await?;
                output::print(form, &reply, |reply| {
                    format!(
                        "node {} ({}) joined; {} nodes vote",
                        reply.node, reply.name, reply.voters
                    )
                })
            }
            Command::Remove { number } => {
                let request = RemoveNodeRequest { node: number };
                let reply = session
                    .change(
                        |channel| async move { ClusterClient::new(channel).remove(request).await },
                    )
                    .await?;
                output::print(form, &reply, |reply| {
                    format!("node {} is removed; {} nodes vote", reply.node, reply.voters)
                })
            }
            Command::Status { reading } => {
                let request = StatusRequest { consistency: reading.consistency.into() };
                let reply = session
                    .look(
                        |channel| async move { ClusterClient::new(channel).status(request).await },
                    )
                    .await?;
                output::print(form, &reply, status)
            }
            Command::Transfer { to } => {
                let request = TransferLeaderRequest { to };
                let reply = session
                    .change(|channel| async move {
                        ClusterClient::new(channel).transfer_leader(request).await
                    })
                    .await?;
                output::print(form, &reply, |reply| format!("node {} leads", reply.leader))
            }
        }
    })
}

fn status(reply: &StatusReply) -> String {
    if reply.cluster.is_empty() {
        return "this node's disk is new: it is no member of a cluster yet (tandem cluster init, or \
                tandem cluster join at a member)"
            .to_owned();
    }
    let as_of = reply.as_of.unwrap_or_default();
    let totals = reply.totals.unwrap_or_default();
    let nodes = reply.nodes.iter().map(|node| {
        [
            node.id.to_string(),
            node.name.clone(),
            node.site.clone(),
            node.life.clone(),
            node.role.clone(),
            node.epoch.to_string(),
            node.legs.to_string(),
            or_dash(&node.relay),
            node.api_address.clone(),
        ]
    });
    let head = ["node", "name", "site", "life", "role", "epoch", "legs", "relay", "api"];
    let leader = match as_of.leader {
        0 => "no leader is known".to_owned(),
        leader => format!("node {leader} leads"),
    };
    format!(
        "{}\n{leader}, term {}, log at {}, digest {} (as of node {}, index {}, a leader heard {} ms \
         ago)\n\n{}\n\nwaiting {} (unconfirmed {})  ringing {}  talking {}  longest wait {}  agents \
         ready {} of {}",
        reply.cluster,
        reply.term,
        reply.last_log_index,
        reply.digest,
        as_of.node,
        as_of.index,
        as_of.silent_ms,
        output::table(head, nodes),
        totals.waiting,
        totals.unconfirmed,
        totals.offered,
        totals.connected,
        duration(totals.longest_wait_ms),
        totals.agents_ready,
        totals.agents_logged_in,
    )
}
