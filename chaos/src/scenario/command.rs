//! `tandem-chaos list` and `tandem-chaos run`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use tandem_lab::host::isolate_self;

use super::{
    Network, Outcome, Scenario, Set, all,
    judges::Before,
    machine::Machines,
    run::{Ran, run},
    wan,
};
use crate::{
    cluster::{CITIES, LocalCluster, Loopback, Plan},
    demo::Output,
    folder::RunFolder,
    ports,
    report::{self, Ending, Kept, Run},
};

/// Scenarios.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Names the scenarios, what each breaks and what must hold.
    List {
        /// Form on standard output.
        #[arg(long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Runs scenarios, one after the other.
    #[command(
        after_help = "Exit codes: 0 everything held; 1 the laboratory failed; 2 wrong arguments; 3 something was\nviolated.\n\nExamples:\n  tandem-chaos run leader-killed\n  tandem-chaos run --set short --output json > verdicts.json\n  tandem-chaos run ./mine.toml --dir /var/tmp/mine"
    )]
    Run {
        /// Names from `list`, or files of your own.
        #[arg(value_name = "NAME|FILE", required_unless_present = "set")]
        names: Vec<String>,
        /// All scenarios of a set instead: short, long or all.
        #[arg(long, value_name = "SET", value_parser = ["short", "long", "all"], conflicts_with = "names")]
        set: Option<String>,
        /// Form of the verdicts on standard output.
        #[arg(long, value_enum, default_value_t = Output::Table)]
        output: Output,
        /// Folder for the runs; ~/.local/state/tandem/chaos when not given.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// Folder with the programs tandem and tandem-relay; beside this program when not given.
        #[arg(long, value_name = "DIR")]
        programs: Option<PathBuf>,
        /// Second part of the loopback addresses, 127.BLOCK.x.x.
        #[arg(long, default_value_t = 90)]
        block: u8,
    },
}

/// Runs the command and ends with its exit code.
#[must_use]
pub fn main(command: Command) -> ExitCode {
    let done = match command {
        Command::List { output } => list(output).map(|()| 0),
        Command::Run { names, set, output, dir, programs, block } => {
            let work = || -> Result<u8> {
                let scenarios = chosen(&names, set.as_deref())?;
                let base = dir.map_or_else(|| RunFolder::usual("chaos"), Ok)?;
                // Mounts, settings and command lines name it, each from its own place.
                let base = std::path::absolute(base)?;
                let programs = programs.map_or_else(beside, Ok)?;
                super::run::check_programs(&programs)?;
                enter_room(&scenarios)?;
                run_all(&scenarios, &Where { base, programs, block }, output)
            };
            work()
        }
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("tandem-chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

struct Where {
    base: PathBuf,
    programs: PathBuf,
    block: u8,
}

fn list(output: Output) -> Result<()> {
    let scenarios = all()?;
    if output == Output::Json {
        println!("{}", serde_json::to_string_pretty(&scenarios)?);
        return Ok(());
    }
    for scenario in scenarios {
        let set = if scenario.set == Set::Short { "short" } else { "long" };
        println!("{}  ({set}; {})", scenario.name, scenario.faults.join(" "));
        println!("    breaks    {}", scenario.breaks);
        println!("    promises  {}", scenario.promises);
        if let Some(cause) = scenario.open_violation {
            println!("    OPEN      {cause}");
        }
    }
    Ok(())
}

fn chosen(names: &[String], set: Option<&str>) -> Result<Vec<Scenario>> {
    let known = all()?;
    if let Some(set) = set {
        let fits = |scenario: &Scenario| match set {
            "short" => scenario.set == Set::Short,
            "long" => scenario.set == Set::Long,
            _ => true,
        };
        return Ok(known.into_iter().filter(fits).collect());
    }
    names
        .iter()
        .map(|name| match known.iter().find(|scenario| scenario.name == *name) {
            Some(scenario) => Ok(scenario.clone()),
            None if Path::new(name).is_file() => {
                let text = fs::read_to_string(name).with_context(|| name.clone())?;
                Scenario::parse(&text).with_context(|| name.clone())
            }
            None => {
                bail!("there is no scenario and no file {name}; `tandem-chaos list` names them")
            }
        })
        .collect()
}

/// As root, everything runs in namespaces that end with this program, however it ends.
fn enter_room(scenarios: &[Scenario]) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(isolate_self()?);
    }
    match scenarios.iter().find(|scenario| scenario.needs_root()) {
        None => Ok(()),
        Some(scenario) => bail!(
            "{} needs root: network namespaces, disks, clocks or limits of its own. Run it as root, or \
             choose scenarios that break processes only",
            scenario.name
        ),
    }
}

fn beside() -> Result<PathBuf> {
    let own = env::current_exe().context("the path of this program")?;
    Ok(own.parent().map(Path::to_owned).unwrap_or_default())
}

fn run_all(scenarios: &[Scenario], at: &Where, output: Output) -> Result<u8> {
    let (mut verdicts, mut broken) = (Vec::new(), 0);
    for (index, scenario) in scenarios.iter().enumerate() {
        eprintln!("[{} of {}] {}: {}", index + 1, scenarios.len(), scenario.name, scenario.title);
        let (ran, report) = match one(scenario, at) {
            Ok(done) => done,
            // The next one may fare better; this one is never a pass.
            Err(error) => {
                eprintln!("  harness failed: {error:#}");
                broken += 1;
                continue;
            }
        };
        if output == Output::Table {
            println!("{}\n  report  {}\n", ran.verdict.text(), report.display());
        } else {
            eprintln!("  {}", ran.verdict.outcome);
        }
        verdicts.push(ran.verdict);
    }
    if output == Output::Json {
        println!("{}", serde_json::to_string_pretty(&verdicts)?);
    }
    if scenarios.len() > 1 {
        let held = verdicts.iter().filter(|it| it.outcome == Outcome::Held).count();
        eprintln!("{held} of {} held", scenarios.len());
    }
    let violated = verdicts.iter().map(|verdict| verdict.outcome.exit_code()).max().unwrap_or(0);
    Ok(violated.max(u8::from(broken > 0)))
}

/// One run with its folder: verdict.json, evidence.json, report.html, and the cluster's own files under
/// run/.
fn one(scenario: &Scenario, at: &Where) -> Result<(Ran, PathBuf)> {
    let folder = RunFolder::take(&at.base.join(&scenario.name))?;
    // The group of a process's limits is named after it.
    let groups = format!("tandem-lab-{}-", std::process::id());
    let before = Before::look(vec![folder.file("").display().to_string(), groups]);
    let (mut plan, wan) = match scenario.center.network {
        Network::Wan => {
            let (plan, wan) = wan::build(&folder.run(), &at.programs, scenario.center.sites)?;
            (plan, Some(wan))
        }
        Network::Loopback => {
            let sites = CITIES.get(..scenario.center.sites).unwrap_or_default();
            let net = [127, at.block];
            let plan = Plan::sites(&folder.run(), &at.programs, net, sites, Arc::new(Loopback));
            ports::check(&plan)?;
            (plan, None)
        }
    };
    plan.timing = scenario.center.timing.of(plan.timing);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut ran = runtime.block_on(async {
        let machines = Machines::build(scenario, &folder.file("machines"), &mut plan)?;
        let mut cluster = LocalCluster::prepare(plan)?;
        machines.dress(&mut cluster)?;
        anyhow::Ok(run(scenario, cluster, wan, machines).await)
    })?;
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    ran.verdict.left_behind = before.left();
    ran.verdict.settle();
    let write = |name: &str, text: String| {
        let file = folder.file(name);
        fs::write(&file, text).with_context(|| format!("{} cannot be written", file.display()))
    };
    write("verdict.json", serde_json::to_string_pretty(&ran.verdict)?)?;
    let report = folder.file("report.html");
    if let (Some(evidence), Some(judgement)) = (&ran.evidence, &ran.verdict.judgement) {
        write("evidence.json", serde_json::to_string(evidence)?)?;
        let about = format!("What is done: {}. Promised: {}.", scenario.breaks, scenario.promises);
        let page = report::html(&Run {
            judgement,
            evidence,
            samples: &ran.board.samples(),
            title: &scenario.title,
            about: &about,
            ending: Some(Ending {
                word: &ran.verdict.outcome.to_string(),
                kept: if ran.verdict.outcome == Outcome::Held { Kept::Yes } else { Kept::No },
                findings: &ran.verdict.findings(),
            }),
        });
        write("report.html", page)?;
    }
    Ok((ran, report))
}
