//! The program `tandem-lab`: hosts, links and rooms as processes of their own. One module for each
//! command.

mod command;

use clap::{Parser, Subcommand, ValueEnum};

/// Hosts, wide-area links and rooms that fail on command, on one Linux machine. Needs root.
#[derive(Debug, Parser)]
#[command(name = "tandem-lab", version, after_help = command::EXAMPLES)]
struct Arguments {
    /// How results are printed
    #[arg(long, global = true, value_enum, default_value = "text")]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Text,
    /// One line of JSON for each result
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Hosts, and the links between them
    #[command(subcommand)]
    Wan(command::wan::Command),
    /// A disk that fails on command, and orders to it
    #[command(subcommand)]
    Disk(tandem_lab::disk::command::DiskCommand),
    /// Run a program in a room: what it starts, mounts and configures ends with it
    Init(command::init::Arguments),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match arguments.command {
        Command::Wan(command) => command::wan::run(command, arguments.output),
        Command::Disk(command) => Ok(tandem_lab::disk::command::run(command)?),
        Command::Init(init) => command::init::run(init),
    }
}
