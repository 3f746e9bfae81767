//! `tandem-chaos mutants`: bugs planted on purpose, one at a time, and the judges that catch them.

use std::process::ExitCode;

use clap::Args;

use super::Format;

/// Bugs planted on purpose, and which judge of the simulation catches each.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask chaos mutants\n  tandem-chaos mutants --runs 20 --output json\n\nExit codes: 0 each was caught, 1 one was not, 2 the command was wrong.\nOnly a program that was built with the feature `planted` has them; cargo xtask builds one."
)]
pub struct Mutants {
    /// Runs within which each must be caught.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    runs: u64,
    /// How the result is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

impl Mutants {
    /// Runs them; the exit code says whether each was caught.
    #[must_use]
    pub fn run(self) -> ExitCode {
        super::exit_code(self.carry_out())
    }

    #[cfg(not(feature = "planted"))]
    fn carry_out(self) -> anyhow::Result<bool> {
        let Self { runs: _, output: _ } = self;
        anyhow::bail!(
            "no bugs are planted in this program: `cargo xtask chaos mutants` builds and runs one that has them"
        )
    }

    #[cfg(feature = "planted")]
    fn carry_out(self) -> anyhow::Result<bool> {
        let table = table::Table::of(self.runs);
        table.print(self.output)?;
        Ok(table.missed() == 0)
    }
}

#[cfg(feature = "planted")]
mod table {
    use std::{
        io::{self, Write},
        sync::{
            Mutex, PoisonError,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use serde::Serialize;
    use tandem_sim::mutants::{Planted, first_catch};

    use super::Format;

    /// Of what a judge said, this much is in the table.
    const WORDS_MAX: usize = 80;

    /// What became of each planted bug.
    #[derive(Debug, Serialize)]
    pub(super) struct Table {
        runs_max: u64,
        bugs: Vec<Bug>,
    }

    #[derive(Debug, Clone, Serialize)]
    struct Bug {
        name: String,
        room: String,
        what: &'static str,
        /// Runs until it was caught; nothing when it was not.
        runs: Option<u64>,
        /// The judge's words.
        judged: Option<String>,
    }

    impl Table {
        pub(super) fn of(runs_max: u64) -> Self {
            let all: Vec<Planted> = Planted::simulated().collect();
            let (next, bugs) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
            let work = || {
                while let Some(&planted) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let bug = Bug::of(planted, runs_max);
                    let mut bugs = bugs.lock().unwrap_or_else(PoisonError::into_inner);
                    bugs.push((planted, bug));
                    eprintln!("{} of {}: {planted:?}", bugs.len(), all.len());
                }
            };
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(work);
                }
            });
            let mut bugs = bugs.into_inner().unwrap_or_else(PoisonError::into_inner);
            bugs.sort_by_key(|(planted, _)| *planted);
            Self { runs_max, bugs: bugs.into_iter().map(|(_, bug)| bug).collect() }
        }

        pub(super) fn missed(&self) -> usize {
            self.bugs.iter().filter(|bug| bug.runs.is_none()).count()
        }

        pub(super) fn print(&self, format: Format) -> io::Result<()> {
            let mut out = io::stdout().lock();
            if format == Format::Json {
                return writeln!(out, "{}", serde_json::to_string_pretty(self)?);
            }
            writeln!(out, "{:<12} {:<60} {:>5}  judged", "room", "planted", "runs")?;
            for bug in &self.bugs {
                let runs = bug.runs.map_or_else(|| "never".to_owned(), |runs| runs.to_string());
                let judged = bug.judged.as_deref().and_then(|words| words.lines().next());
                let judged: String = judged.unwrap_or_default().chars().take(WORDS_MAX).collect();
                writeln!(out, "{:<12} {:<60} {runs:>5}  {judged}", bug.room, bug.what)?;
            }
            let (missed, all) = (self.missed(), self.bugs.len());
            writeln!(out, "{} of {all} caught within {} runs each", all - missed, self.runs_max)
        }
    }

    impl Bug {
        fn of(planted: Planted, runs_max: u64) -> Self {
            let caught = first_catch(planted, runs_max);
            Self {
                name: format!("{planted:?}"),
                room: format!("{:?}", planted.room()).to_lowercase(),
                what: planted.what(),
                runs: caught.as_ref().map(|catch| catch.runs),
                judged: caught.and_then(|catch| catch.report.violations.into_iter().next()),
            }
        }
    }
}
