//! The command line of `tandem`: arguments here, one file per group of commands.
//!
//! Data goes to standard output, everything else to standard error. Commands that change something
//! carry an idempotency key, so that they can be repeated at another node when the outcome of the
//! first try is not known.

mod agent;
mod calendar;
mod callers;
mod certs;
mod cluster;
mod config;
mod connect;
mod contact;
mod events;
mod explain;
mod output;
mod queue;
mod queue_log;
mod rebalance;
mod retire;
mod site;
mod stats;
mod tenant;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::exit::Exit;

use connect::CliError;
use output::Form;

/// A routing cluster for contact centers in several cities.
#[derive(Debug, Parser)]
#[command(
    name = "tandem",
    version,
    propagate_version = true,
    after_help = "Exit codes: docs/errors/exit-codes.md\n\nExamples:\n  tandem cluster certs --dir certs --node lon-1 --node par-1 --node ber-1\n  tandem node --config lon-1.toml\n  tandem cluster status --node 192.0.2.10:7200\n  tandem site drain lon --wait"
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node in the foreground.
    Node(NodeArguments),
    /// Found a cluster, let nodes join, see who is there.
    Cluster(cluster::Arguments),
    /// Sites: see and move load.
    Site(site::Arguments),
    /// Queues, and the numbers that lead to them.
    Queue(queue::Arguments),
    /// Opening hours that queues go by.
    Calendar(calendar::Arguments),
    /// Lists of callers: who is refused, let in, or goes first.
    Callers(callers::Arguments),
    /// Tenants, their quotas and what they have.
    Tenant(tenant::Arguments),
    /// Agents and their states.
    Agent(agent::Arguments),
    /// Contacts: who waits and who talks.
    Contact(contact::Arguments),
    /// Why a contact went to whom it went, why it still waits, and why not to somebody else.
    #[command(
        after_help = "Examples:\n  tandem explain contact_0_123\n  tandem explain contact_0_123 --agent amy --output json"
    )]
    Explain(explain::Arguments),
    /// Move load between sites: preview a plan, carry it out in steps, take it back.
    Rebalance(rebalance::Arguments),
    /// Sites, queues, numbers and agents as files: see what they would change, apply them, go back.
    Config(config::Arguments),
    /// What was counted of queues, sites and agents, by quarters of an hour: service level, waits, handling.
    #[command(
        after_help = "Examples:\n  tandem stats\n  tandem stats --queue sales --last 96 --output json\n  tandem stats --agent amy --last 32\n  tandem stats --agents"
    )]
    Stats(stats::Arguments),
    /// What happens in the queue, event by event: follow it, take it up again, or write Asterisk's queue_log.
    #[command(
        after_help = "Examples:\n  tandem events\n  tandem events --queue sales --output json\n  tandem events --from 48211 --format queue_log >> queue_log\n  tandem events --until-now --format json > events.jsonl"
    )]
    Events(events::Arguments),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tandem node --config /etc/tandem/node.toml")]
struct NodeArguments {
    /// Settings file; every key is described in docs/operating/configuration.md.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Check the settings, certificates and keys, say so, then exit.
    #[arg(long)]
    check: bool,
}

/// How to reach the cluster, and how to answer.
#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// API address of a node, or several with commas: the first that answers is used.
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "TANDEM_NODE",
        default_value = "127.0.0.1:7200",
        value_delimiter = ',',
        value_parser = connect::host_and_port,
        global = true
    )]
    node: Vec<String>,
    /// Folder with ca.pem, operator.pem and operator.key.
    #[arg(
        long,
        value_name = "DIR",
        env = "TANDEM_CERTS",
        default_value = "/etc/tandem/certs",
        global = true
    )]
    certs: PathBuf,
    /// Whose queues, numbers, agents, contacts, calendars and lists; sites and nodes are everybody's.
    #[arg(
        long,
        value_name = "NAME",
        env = "TANDEM_TENANT",
        default_value = "default",
        global = true
    )]
    tenant: String,
    /// Form of the answer on standard output.
    #[arg(long, value_enum, default_value_t = Form::Table, global = true)]
    output: Form,
    /// How long to try, in seconds [default: 15; `cluster join`: 330].
    #[arg(long, value_name = "SECONDS", global = true, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: Option<u64>,
}

/// How fresh a reading must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Consistency {
    /// Everything that was committed before the question; needs a quorum.
    #[default]
    Linearizable,
    /// What the asked node knows; works also when it is cut off.
    Local,
}

impl From<Consistency> for i32 {
    fn from(consistency: Consistency) -> Self {
        use tandem_proto::api::v1::Consistency as Wire;
        match consistency {
            Consistency::Linearizable => Wire::Linearizable,
            Consistency::Local => Wire::Local,
        }
        .into()
    }
}

/// For commands that only look.
#[derive(Debug, Args)]
pub(crate) struct Reading {
    /// How fresh the answer must be.
    #[arg(long, value_enum, default_value_t)]
    consistency: Consistency,
}

/// Runs what the arguments say; returns the exit code.
#[must_use]
pub fn run(arguments: Arguments) -> u8 {
    let result = match arguments.command {
        Command::Node(node) => {
            return report(node_command(&node).map_err(|exit| (exit.code(), exit)));
        }
        Command::Cluster(arguments) => cluster::run(arguments),
        Command::Site(arguments) => site::run(arguments),
        Command::Queue(arguments) => queue::run(arguments),
        Command::Calendar(arguments) => calendar::run(arguments),
        Command::Callers(arguments) => callers::run(arguments),
        Command::Tenant(arguments) => tenant::run(arguments),
        Command::Agent(arguments) => agent::run(arguments),
        Command::Contact(arguments) => contact::run(arguments),
        Command::Explain(arguments) => explain::run(arguments),
        Command::Rebalance(arguments) => rebalance::run(arguments),
        Command::Config(arguments) => config::run(arguments),
        Command::Stats(arguments) => stats::run(arguments),
        Command::Events(arguments) => events::run(arguments),
    };
    report(result.map_err(|error| (error.code(), error)))
}

fn node_command(arguments: &NodeArguments) -> Result<(), Exit> {
    if arguments.check {
        crate::run::check(&arguments.config)?;
        output::say(&format!(
            "{} can be used: settings, certificates and keys are in order",
            arguments.config.display()
        ));
        Ok(())
    } else {
        crate::run::run(&arguments.config)
    }
}

fn report<E: std::fmt::Display>(result: Result<(), (u8, E)>) -> u8 {
    match result {
        Ok(()) => 0,
        Err((code, error)) => {
            output::say(&format!("tandem: {error}"));
            code
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    // Goal: clap's own checks of all arguments hold, and every command that a person types has an
    // example in its help.
    #[test]
    fn arguments_are_sound_and_have_examples() {
        Arguments::command().debug_assert();
        fn walk(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            if command.get_subcommands().next().is_none() {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Example"), "{path} has no example");
            }
            command.get_subcommands().for_each(|inner| walk(inner, &path));
        }
        walk(&Arguments::command(), "");
    }
}
