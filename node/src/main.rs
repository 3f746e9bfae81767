//! The program `tandem`: a node, and the command line of its operators.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    ExitCode::from(tandem_node::cli::run(tandem_node::cli::Arguments::parse()))
}
