//! `cargo xtask test`: the steps that CI takes, in one order, each with its time.

use std::time::Instant;

use crate::{
    Consent,
    run::{self, Failure},
    setup,
};

/// One step.
struct Step {
    name: &'static str,
    what: &'static str,
    run: fn() -> Result<(), Failure>,
    speed: Speed,
}

/// Whether a step belongs to `verify`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speed {
    Quick,
    Live,
}

const STEPS: &[Step] = &[
    Step {
        name: "format",
        what: "the format of all code",
        run: || run::cargo(&["fmt", "--all", "--check"]),
        speed: Speed::Quick,
    },
    Step {
        name: "lint",
        what: "lints, as errors",
        run: || {
            run::cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--quiet",
                "--",
                "--deny",
                "warnings",
            ])
        },
        speed: Speed::Quick,
    },
    Step {
        name: "build",
        what: "the programs that tests start",
        run: || run::cargo(&[crate::PROGRAMS, &["--quiet"]].concat()),
        speed: Speed::Quick,
    },
    Step {
        name: "unit",
        what: "tests of each room, properties and simulations",
        run: || {
            // The commit decides which runs the simulation plays.
            let commit = run::commit();
            let more = commit.as_deref().map(|commit| ("TANDEM_SIM_COMMIT", commit));
            let arguments = ["test", "--workspace", "--exclude", "tandem-tests", "--quiet"];
            run::cargo_with(&arguments, more.as_slice())
        },
        speed: Speed::Quick,
    },
    Step {
        name: "mutants",
        what: "bugs planted on purpose, each of which the simulation or a scenario must catch",
        run: || {
            let arguments = ["test", "--package", "tandem-routing", "--features", "planted"];
            run::cargo(&[&arguments[..], &["--test", "scenarios", "--quiet"]].concat())?;
            let arguments = ["test", "--package", "tandem-sim", "--features", "planted"];
            run::cargo(&[&arguments[..], &["--test", "runs", "--quiet", "planted::"]].concat())
        },
        speed: Speed::Quick,
    },
    Step {
        name: "house",
        what: "arrows between rooms, purity, licences, deployment files",
        run: || run::cargo(&["test", "--package", "tandem-tests", "--test", "house", "--quiet"]),
        speed: Speed::Quick,
    },
    Step {
        name: "doc",
        what: "documentation, warnings as errors",
        run: || {
            let arguments = ["doc", "--workspace", "--no-deps", "--quiet"];
            run::cargo_with(&arguments, &[("RUSTDOCFLAGS", "--deny warnings")])
        },
        speed: Speed::Quick,
    },
    Step {
        name: "live",
        what: "real clusters, real calls, processes killed",
        run: || {
            // One cluster at a time: they share the machine's cores.
            run::cargo(&[
                "test",
                "--package",
                "tandem-tests",
                "--test",
                "live",
                "--",
                "--test-threads=1",
            ])
        },
        speed: Speed::Live,
    },
    Step {
        name: "chaos",
        what: "the laboratory's short set: nodes, relays, links and a city fail under calls",
        run: || {
            let program = run::target_dir()?.join("debug/tandem-chaos");
            run::exec(&program, &["run", "--set", "short"])
        },
        speed: Speed::Live,
    },
];

/// Runs all steps, or the one that is named.
pub(crate) fn run(consent: Consent, rest: &[&str]) -> Result<(), Failure> {
    match rest {
        [] => all(consent, |_| true),
        ["--list"] => {
            for step in STEPS {
                println!("{:<8} {}", step.name, step.what);
            }
            Ok(())
        }
        ["--only", name] if STEPS.iter().any(|step| step.name == *name) => {
            all(consent, |step| step.name == *name)
        }
        _ => Err(Failure::usage(format!("test {} is not understood", rest.join(" ")))),
    }
}

/// The steps that start no cluster.
pub(crate) fn verify(consent: Consent) -> Result<(), Failure> {
    all(consent, |step| step.speed == Speed::Quick)
}

fn all(consent: Consent, wanted: impl Fn(&Step) -> bool) -> Result<(), Failure> {
    let began = Instant::now();
    setup::run(consent, setup::For::Tests)?;
    let mut times = Vec::new();
    for step in STEPS.iter().filter(|step| wanted(step)) {
        run::step(&format!("{}: {}", step.name, step.what));
        let step_began = Instant::now();
        (step.run)().map_err(|failure| Failure {
            message: format!("step {} failed: {}", step.name, failure.message),
            code: failure.code,
        })?;
        times.push((step.name, step_began.elapsed().as_secs()));
    }
    println!();
    for (name, seconds) in times {
        println!("   {name:<8} ok   {seconds:>5} s");
    }
    println!("\nall tests passed in {} s", began.elapsed().as_secs());
    Ok(())
}
