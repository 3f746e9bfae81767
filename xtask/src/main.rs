//! `cargo xtask`: what a person or a CI machine does with this repository, in one command each.
//!
//! Uses the standard library only, so that it is built in seconds on a fresh machine.

mod run;
mod setup;
mod test;

use std::{env, path::PathBuf, process::ExitCode};

use run::Failure;

const HELP: &str = "\
cargo xtask COMMAND

  demo [--yes] [--stay]   build, then run a three-site cluster that answers real calls and survives
                          losses; --stay keeps it up afterwards
  test                    everything that CI checks: format, lints, all tests, documentation, live
                          clusters; --only NAME runs one step, --list shows them
  chaos list              scenarios of the laboratory: what each breaks and promises
  chaos run NAME ...      runs them on a real cluster and ends with a verdict and a report
  chaos sim ...           runs of the deterministic simulation; chaos sim --help
  chaos day ...           one simulated day of five cities: five queues, rebalanced or not, against one;
                          chaos day --help
  chaos mutants           plants bugs on purpose and says which judge of the simulation catches each
  bench routing ...       what the queue costs: limits, an SQL peer, growth; --only PART, --out FOLDER
  setup [--yes]           install what building and testing need; also done by demo and test
  fix                     format, and apply the lints' own suggestions
  verify                  the quick part of test: format, lints, tests without live clusters

Options
  --yes                   install missing packages without asking

Environment
  CARGO_TARGET_DIR        where builds go; ~/.cache/tandem/target when it is not set
  TANDEM_SEED             replays random tests with this seed
";

/// What installing missing packages needs first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Consent {
    /// Ask at the terminal, when there is one.
    Ask,
    /// It was given by `--yes`.
    Given,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match dispatch(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { message, code }) => {
            eprintln!("\nxtask: {message}");
            ExitCode::from(code)
        }
    }
}

fn dispatch(words: &[&str]) -> Result<(), Failure> {
    let consent = if words.contains(&"--yes") { Consent::Given } else { Consent::Ask };
    let rest: Vec<&str> = words.iter().copied().skip(1).filter(|word| *word != "--yes").collect();
    match words.first() {
        Some(&"demo") => demo(consent, &rest),
        Some(&"test") => test::run(consent, &rest),
        Some(&"chaos") if !rest.is_empty() => chaos(consent, &rest),
        Some(&"bench") if rest.first() == Some(&"routing") => bench(rest.get(1..).unwrap_or(&[])),
        Some(&"setup") if rest.is_empty() => setup::run(consent, setup::For::Tests),
        Some(&"fix") if rest.is_empty() => fix(consent),
        Some(&"verify") if rest.is_empty() => test::verify(consent),
        None | Some(&"help" | &"--help" | &"-h") => {
            print!("{HELP}");
            Ok(())
        }
        Some(_) => Err(Failure::usage(format!("{} is not understood\n\n{HELP}", words.join(" ")))),
    }
}

/// Builds every program, with one set of features: what one command built, another need not build again.
pub(crate) const PROGRAMS: &[&str] = &["build", "--workspace", "--bins"];

fn demo(consent: Consent, rest: &[&str]) -> Result<(), Failure> {
    setup::run(consent, setup::For::Programs)?;
    run::step("build the programs");
    run::cargo(PROGRAMS)?;
    run::step("run the demo");
    let program = run::target_dir()?.join("debug/tandem-chaos");
    run::exec(&program, &[&["demo"], rest].concat())
}

/// The laboratory's own command line, with programs that are built.
pub(crate) fn chaos(consent: Consent, rest: &[&str]) -> Result<(), Failure> {
    let runs = rest.first() == Some(&"run");
    setup::run(consent, if runs { setup::For::Tests } else { setup::For::Programs })?;
    run::step("build the programs");
    let own = ["build", "--workspace", "--bin", "tandem-chaos"];
    match rest.first() {
        Some(&"run") => run::cargo(PROGRAMS)?,
        // Only they need code with bugs in it.
        Some(&"mutants") => {
            run::cargo(&[&own[..], &["--features", "tandem-chaos/planted"]].concat())?;
        }
        _ => run::cargo(&own)?,
    }
    run::step("chaos");
    run::exec(&run::target_dir()?.join("debug/tandem-chaos"), rest)
}

/// What the queue costs. Needs nothing but Rust and its linker.
fn bench(rest: &[&str]) -> Result<(), Failure> {
    run::step("build and measure; nothing else should run on this machine");
    let mut words: Vec<String> =
        ["bench", "--quiet", "--package", "tandem-bench", "--"].map(str::to_owned).into();
    let mut before = "";
    for word in rest {
        // A benchmark runs in its own folder.
        let is_folder = before == "--out";
        let folder = is_folder.then(|| std::path::absolute(word)).transpose();
        let folder = folder.map_err(|error| Failure::usage(format!("--out {word}: {error}")))?;
        words.push(folder.map_or((*word).to_owned(), |folder| folder.display().to_string()));
        before = word;
    }
    run::cargo(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

fn fix(consent: Consent) -> Result<(), Failure> {
    setup::run(consent, setup::For::Programs)?;
    run::cargo(&["clippy", "--workspace", "--all-targets", "--fix", "--allow-dirty"])?;
    run::cargo(&["fmt", "--all"])
}

/// The workspace's folder: that of the cargo that runs this. The one that this was built in may be another,
/// when several share a target folder.
fn root() -> PathBuf {
    let built = env!("CARGO_MANIFEST_DIR");
    let here = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| built.into(), PathBuf::from);
    here.parent().map(PathBuf::from).unwrap_or(here)
}
