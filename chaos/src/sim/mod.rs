//! `tandem-chaos sim`: runs of the deterministic simulation (`crates/sim`). What is here touches the
//! world: arguments, clock, threads, files; everything that a run is stands in that crate.

mod mutants;
mod output;

use std::{
    fs,
    num::NonZeroU64,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use tandem_sim::plan::{Plan, Report, run, shrink};

pub use mutants::Mutants;
use output::Totals;

/// Runs of a plan that `shrink` may take.
const SHRINK_RUNS_MAX: usize = 2_000;
/// Between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// Simulated clusters: one seed decides a run, and the same seed is the same run.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tandem-chaos sim run --seeds 0..200\n  tandem-chaos sim run --events 10000000 --output json\n  tandem-chaos sim replay 1400\n  tandem-chaos sim shrink 1400 --to plan.json\n  tandem-chaos sim replay plan.json --twice\n\nExit codes: 0 nothing broke, 1 an invariant broke, 2 the command was wrong."
)]
pub struct SimCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Run many seeds and count.
    Run {
        /// Seeds A..B, B not included.
        #[arg(long, value_name = "A..B", value_parser = seeds, conflicts_with = "events")]
        seeds: Option<(u64, u64)>,
        /// Run seeds from --from on until so many events have happened.
        #[arg(long, value_name = "N")]
        events: Option<NonZeroU64>,
        /// First seed for --events.
        #[arg(long, value_name = "SEED", default_value_t = 0)]
        from: u64,
        /// Run each seed twice and compare the digests.
        #[arg(long)]
        twice: bool,
        /// Threads; 0: one for each processor.
        #[arg(long, default_value_t = 0)]
        threads: usize,
        /// How the result is written.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
    /// Run one seed or plan again and tell what happened.
    Replay {
        /// A plan file, or a seed.
        #[arg(value_name = "PLAN|SEED")]
        plan: String,
        /// Run it twice and compare the digests.
        #[arg(long)]
        twice: bool,
        /// How the result is written.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
    /// Cut a failing plan down to what matters.
    Shrink {
        /// A plan file, or a seed.
        #[arg(value_name = "PLAN|SEED")]
        plan: String,
        /// Where the short plan is written; without it, to standard output.
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
}

/// How a result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One JSON value.
    Json,
}

/// How often a plan is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Times {
    Once,
    /// And the digests must be the same.
    Twice,
}

impl Times {
    const fn of(twice: bool) -> Self {
        if twice { Self::Twice } else { Self::Once }
    }
}

impl SimCommand {
    /// Runs it; the exit code says whether an invariant broke.
    #[must_use]
    pub fn run(self) -> ExitCode {
        exit_code(self.carry_out())
    }

    /// Whether nothing broke.
    fn carry_out(self) -> anyhow::Result<bool> {
        match self.what {
            What::Run { seeds, events, from, twice, threads, output } => {
                let goal = match (seeds, events) {
                    (Some((from, to)), _) => Goal::Seeds { from, to },
                    (None, Some(events)) => Goal::Events { from, events: events.get() },
                    (None, None) => bail!("say how much: --seeds A..B or --events N"),
                };
                let totals = run_many(goal, Times::of(twice), threads);
                totals.print(output)?;
                Ok(totals.is_clean())
            }
            What::Replay { plan, twice, output } => {
                let plan = read_plan(&plan)?;
                let report = runs(&plan, Times::of(twice));
                output::print_report(&report, output)?;
                Ok(report.is_clean())
            }
            What::Shrink { plan, to } => shrink_plan(&plan, to.as_deref()),
        }
    }
}

/// Of a command that found nothing broken, or something, or could not look.
fn exit_code(is_clean: anyhow::Result<bool>) -> ExitCode {
    match is_clean {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn shrink_plan(plan: &str, to: Option<&Path>) -> anyhow::Result<bool> {
    let plan = read_plan(plan)?;
    let (short, report) = shrink::shrink(&plan, SHRINK_RUNS_MAX, run);
    if report.is_clean() {
        bail!("this plan breaks nothing: there is nothing to shrink");
    }
    let (before, after) = (plan.steps.len(), short.steps.len());
    eprintln!("{before} steps became {after}: {}", report.violations.join("; "));
    match to {
        Some(path) => fs::write(path, short.to_json())
            .with_context(|| format!("the plan was not written to {}", path.display()))?,
        None => print!("{}", short.to_json()),
    }
    Ok(false)
}

/// A plan from a file, or the plan of a seed.
fn read_plan(text: &str) -> anyhow::Result<Plan> {
    if let Ok(seed) = text.parse() {
        return Ok(Plan::from_seed(seed));
    }
    let json = fs::read_to_string(text)
        .with_context(|| format!("{text} is neither a seed nor a file that can be read"))?;
    Plan::from_json(&json).with_context(|| format!("in {text}"))
}

fn seeds(text: &str) -> Result<(u64, u64), String> {
    let wrong = || format!("{text:?} is no range of seeds like 0..200");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let (from, to) = (from.parse().map_err(|_| wrong())?, to.parse().map_err(|_| wrong())?);
    if from < to { Ok((from, to)) } else { Err(format!("{text:?} is empty")) }
}

/// Runs a plan; twice, a digest that differs is a violation.
fn runs(plan: &Plan, times: Times) -> Report {
    let mut report = run(plan);
    if times == Times::Twice {
        let again = run(plan);
        if again.digest != report.digest {
            let (a, b) = (report.digest, again.digest);
            report.violations.push(format!("determinism: digests {a:016x} and {b:016x}"));
        }
    }
    report
}

/// How much is run.
#[derive(Debug, Clone, Copy)]
enum Goal {
    Seeds { from: u64, to: u64 },
    Events { from: u64, events: u64 },
}

/// Runs seeds on threads. Which seeds run does not depend on how many threads there are, except that a
/// goal in events is passed by what is under way.
fn run_many(goal: Goal, times: Times, threads: usize) -> Totals {
    let started = Instant::now();
    let (first, last) = match goal {
        Goal::Seeds { from, to } => (from, to),
        Goal::Events { from, .. } => (from, u64::MAX),
    };
    let (next, done) = (AtomicU64::new(first), AtomicBool::new(false));
    let totals = Mutex::new(Totals::default());
    let last_line = Mutex::new(started);
    let work = || {
        while !done.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= last {
                return;
            }
            let report = runs(&Plan::from_seed(seed), times);
            let Ok(mut totals) = totals.lock() else { return };
            totals.add(report);
            if matches!(goal, Goal::Events { events, .. } if totals.events >= events) {
                done.store(true, Ordering::Relaxed);
            }
            let Ok(mut line) = last_line.lock() else { return };
            if line.elapsed() >= PROGRESS_EVERY {
                *line = Instant::now();
                totals.progress(started.elapsed());
            }
        }
    };
    let threads = match threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let mut totals = totals.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    totals.finish(started.elapsed());
    totals
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: what is counted does not depend on the number of threads; the same seeds, twice, agree.
    #[test]
    fn threads_change_nothing() {
        let goal = Goal::Seeds { from: 0, to: 6 };
        let (one, two) = (run_many(goal, Times::Twice, 1), run_many(goal, Times::Once, 2));
        assert!(one.is_clean() && two.is_clean());
        assert_eq!((one.runs, one.events, one.digest), (two.runs, two.events, two.digest));
        assert_eq!(one.runs, 6);
    }

    // Goal: ranges and plans that are none are refused with words.
    #[test]
    fn wrong_arguments() {
        assert_eq!(seeds("3..9"), Ok((3, 9)));
        assert!(seeds("9..3").is_err() && seeds("x").is_err() && seeds("1..y").is_err());
        assert!(read_plan("no such file").is_err());
        assert_eq!(read_plan("7").unwrap(), Plan::from_seed(7));
    }
}
