//! `tandem-chaos`: the laboratory's command line.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use tandem_chaos::{day, demo, scenario, sim};

/// The laboratory: real clusters on this machine, their faults, and what people hear of them.
#[derive(Debug, Parser)]
#[command(
    name = "tandem-chaos",
    version,
    after_help = "Examples:\n  tandem-chaos demo\n  tandem-chaos demo --stay\n  tandem-chaos demo --quick --callers 24 --agents 6 --output json > result.json\n  tandem-chaos judge ~/.local/state/tandem/demo/evidence.json"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Three sites, one queue, real calls; a leader and a whole site are lost, callers are not.
    Demo(demo::Options),
    /// Judge a run again from its evidence: the same checkers, the same table.
    Judge {
        /// The evidence.json of a run.
        #[arg(value_name = "FILE")]
        evidence: PathBuf,
    },
    #[command(flatten)]
    Scenario(scenario::Command),
    Sim(sim::SimCommand),
    Mutants(sim::Mutants),
    Day(day::DayCommand),
}

fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    match command {
        Command::Demo(options) => demo::main(options),
        Command::Judge { evidence } => demo::judge_again(&evidence),
        Command::Scenario(command) => scenario::main(command),
        Command::Sim(command) => command.run(),
        Command::Mutants(command) => command.run(),
        Command::Day(command) => command.run(),
    }
}
