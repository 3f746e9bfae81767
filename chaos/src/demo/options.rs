//! The demo's command line.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::limits::{AGENTS_MAX, CALLERS_MAX};

/// What the demo is asked for.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Exit codes: 0 nothing was lost; 1 the demo could not be run; 2 wrong arguments;\n3 something was lost that must be kept; 129, 130, 143 ended by SIGHUP, Ctrl-C, SIGTERM.\n\nExamples:\n  tandem-chaos demo                 under three minutes, with a live table\n  tandem-chaos demo --stay          keeps the cluster up, to call in with a softphone\n  tandem-chaos demo --quick --callers 24 --agents 6\n  tandem-chaos demo --output json > result.json"
)]
pub struct Options {
    /// Callers in all.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(6..=CALLERS_MAX as i64))]
    pub callers: u32,
    /// Agents in all, spread over the three sites.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(3..=AGENTS_MAX as i64))]
    pub agents: u32,
    /// Short talks and short pauses: about one minute.
    #[arg(long)]
    pub quick: bool,
    /// Keep the cluster and the agents' phones up after the result.
    #[arg(long)]
    pub stay: bool,
    /// Form of the result on standard output.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// Where the HTML report goes; report.html in the run folder when not given.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Run folder; ~/.local/state/tandem/demo when not given.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Decides who calls when and talks for how long.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Folder with the programs tandem and tandem-relay; beside this program when not given.
    #[arg(long, value_name = "DIR")]
    pub programs: Option<PathBuf>,
    /// Second part of the loopback addresses, 127.BLOCK.x.x: another one runs beside a cluster that
    /// uses the default.
    #[arg(long, default_value_t = 0)]
    pub block: u8,
    /// The live table or plain lines; by default the table when standard output is a terminal.
    /// With --output json always lines, on standard error.
    #[arg(long, value_enum, default_value_t = Display::Auto)]
    pub display: Display,
}

/// Form of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs: one JSON document on standard output, everything else on standard error.
    Json,
}

/// How the run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Display {
    /// By what standard output is.
    Auto,
    /// A table that redraws.
    Table,
    /// Lines without escape codes.
    Lines,
}
