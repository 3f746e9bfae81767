//! What the queue costs: throughput, the choice, a peer, single decisions, growth. `cargo xtask bench
//! routing` runs it; `docs/performance.md` says what came out.
//!
//! Times are those of the thread on its core; the least of several blocks counts, because whatever else a
//! machine does only adds. They decide nothing: the last table says how each figure stands to its limit.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a benchmark")]

mod choice;
mod decisions;
mod growth;
mod pairs;
mod peer;
mod regime;

use std::process::ExitCode;

use tandem_bench::{
    arguments::Arguments,
    report::{Report, machine},
};

/// A name for `--only`, and what it does.
type Part = (&'static str, fn(&mut Report));

fn main() -> ExitCode {
    let arguments = match Arguments::read(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(said) => {
            eprintln!("{said}");
            return ExitCode::from(2);
        }
    };
    let parts: [Part; 5] = [
        ("pairs", pairs::run),
        ("choice", choice::run),
        ("peer", peer::run),
        ("decisions", decisions::run),
        ("growth", growth::run),
    ];
    let wanted: Vec<Part> = parts.into_iter().filter(|(name, _)| arguments.wants(name)).collect();
    if wanted.is_empty() {
        return ExitCode::SUCCESS;
    }
    let mut report = Report::default();
    report.say(&machine());
    wanted.iter().for_each(|(_, run)| run(&mut report));
    match report.end(arguments.out.as_deref(), "routing.md") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the tables and pictures cannot be written: {error}");
            ExitCode::FAILURE
        }
    }
}
