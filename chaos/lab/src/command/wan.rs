//! `tandem-lab wan`: hosts and links.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use nix::sys::signal::{SigSet, Signal};
use serde_json::{Value, json};
use tandem_lab::host::enter_namespace;
use tandem_lab::wan::Party;
use tandem_lab::wan::config::{Config, Direction};
use tandem_lab::wan::control::{ControlServer, Controller, Request, ask};
use tandem_lab::wan::presets::PRESETS;
use tandem_lab::wan::text::{CHANGES_HELP, parse_changes};

use super::wan_bench;
use crate::Output;

const EXAMPLE: &str = include_str!("../wan/example.toml");

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make hosts and links as a file says, until SIGTERM or Ctrl-C
    #[command(after_help = "\
Examples:
  tandem-lab wan example > lab.toml
  tandem-lab wan run --config lab.toml
  tandem-lab wan exec node-1 -- ping 10.0.0.2     (from another terminal)
  tandem-lab wan ctl set site:paris site:milan delay=90ms loss=5%

After `tandem-lab init -- bash`, all of it happens in a room, and programs in the hosts end with it.")]
    Run(Run),
    /// Print an example of a configuration
    Example,
    /// Run a program in a host of a running laboratory
    #[command(after_help = "\
Examples:
  tandem-lab wan exec node-1 -- ping -c 3 10.0.0.2
  tandem-lab wan exec node-1 -- bash")]
    Exec(Exec),
    /// See and change the links of a running laboratory
    Ctl(Ctl),
    /// List the matrices of measured round trips
    Presets,
    /// Measure how exact and how fast the router is on this machine
    #[command(after_help = "\
Examples:
  tandem-lab wan bench
  tandem-lab wan bench --delay 40ms --packets-per-second 150000 --seconds 10 --output json")]
    Bench(wan_bench::Arguments),
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The configuration, in TOML
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    lab: LabName,
}

#[derive(Debug, Args)]
pub(crate) struct Exec {
    #[command(flatten)]
    lab: LabName,
    /// The host
    host: String,
    /// The program and its arguments, after `--`
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
FROM, TO and PARTY are an endpoint, site:NAME, or all.

Examples:
  tandem-lab wan ctl set site:paris site:milan delay=90ms loss=5% --both-ways
  tandem-lab wan ctl set node-1 all filter=longer=1300
  tandem-lab wan ctl isolate site:zurich
  tandem-lab wan ctl heal
  tandem-lab wan ctl counters --output json")]
pub(crate) struct Ctl {
    #[command(flatten)]
    lab: LabName,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Args)]
struct LabName {
    /// Tells laboratories apart that run at a time
    #[arg(long, default_value = "default")]
    name: String,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show hosts, endpoints and namespaces
    Hosts,
    /// Show what links do
    Get {
        /// Sending side
        #[arg(default_value = "all")]
        from: Party,
        /// Receiving side
        #[arg(default_value = "all")]
        to: Party,
    },
    /// Change what links do
    #[command(after_help = CHANGES_HELP)]
    Set {
        /// Sending side
        from: Party,
        /// Receiving side
        to: Party,
        /// What to change; the rest stays
        #[arg(required = true, value_name = "CHANGE")]
        changes: Vec<String>,
        /// Change the other direction too
        #[arg(long)]
        both_ways: bool,
    },
    /// Give links between sites the delays of a matrix of measured round trips
    Preset {
        /// Which one
        preset: String,
    },
    /// Cut a party off from everybody else, both ways
    Isolate {
        /// Who
        party: Party,
    },
    /// End such a cut
    Rejoin {
        /// Who
        party: Party,
    },
    /// End every cut
    Heal,
    /// Show what links did so far
    Counters {
        /// Sending side
        #[arg(default_value = "all")]
        from: Party,
        /// Receiving side
        #[arg(default_value = "all")]
        to: Party,
    },
}

pub(crate) fn run(command: Command, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Run(arguments) => run_lab(&arguments, output),
        Command::Example => {
            print!("{EXAMPLE}");
            Ok(())
        }
        Command::Exec(arguments) => exec(arguments),
        Command::Ctl(arguments) => control(arguments, output),
        Command::Presets => {
            list_presets(output);
            Ok(())
        }
        Command::Bench(arguments) => wan_bench::run(&arguments, output),
    }
}

fn run_lab(arguments: &Run, output: Output) -> anyhow::Result<()> {
    // Before any thread exists, so that no other one takes the signal and ends the process early.
    let mut ends = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        ends.add(signal);
    }
    ends.thread_block().context("signals cannot be waited for")?;

    let lab = Config::read(&arguments.config)?.build()?;
    let server = ControlServer::start(&arguments.lab.name, Controller::new(&lab))?;
    match output {
        Output::Text => {
            for host in lab.hosts() {
                println!("{:<20} {}", host.name(), host.address());
            }
            println!("running; Ctrl-C ends it");
        }
        Output::Json => {
            let hosts = ask(&arguments.lab.name, &Request::Hosts)?;
            println!("{}", json!({ "running": arguments.lab.name, "hosts": hosts }));
        }
    }
    ends.wait().context("signals cannot be waited for")?;
    drop(server);
    Ok(())
}

fn exec(arguments: Exec) -> anyhow::Result<()> {
    let hosts = ask(&arguments.lab.name, &Request::Hosts)?;
    let hosts = hosts.as_array().map(Vec::as_slice).unwrap_or_default();
    let named = hosts.iter().find(|host| host["name"] == arguments.host.as_str());
    let namespace = named.and_then(|host| host["namespace"].as_str()).with_context(|| {
        let known: Vec<&str> = hosts.iter().filter_map(|host| host["name"].as_str()).collect();
        format!("no host {:?}; there are {}", arguments.host, known.join(", "))
    })?;
    enter_namespace(namespace.as_ref())?;
    let mut words = arguments.program.into_iter();
    let program = words.next().context("no program given")?;
    let refused = std::process::Command::new(&program).args(words).exec();
    Err(refused).with_context(|| format!("{} did not start", program.display()))
}

fn control(arguments: Ctl, output: Output) -> anyhow::Result<()> {
    let request = match arguments.action {
        Action::Hosts => Request::Hosts,
        Action::Get { from, to } => Request::Get { from, to },
        Action::Set { from, to, changes, both_ways } => Request::Set {
            from,
            to,
            direction: if both_ways { Direction::BothWays } else { Direction::OneWay },
            change: parse_changes(&changes)?,
        },
        Action::Preset { preset } => Request::Preset { name: preset },
        Action::Isolate { party } => Request::Isolate { party },
        Action::Rejoin { party } => Request::Rejoin { party },
        Action::Heal => Request::Heal,
        Action::Counters { from, to } => Request::Counters { from, to },
    };
    let answer = ask(&arguments.lab.name, &request)?;
    match output {
        Output::Json => println!("{answer}"),
        Output::Text => print_answer(&request, &answer),
    }
    Ok(())
}

fn print_answer(request: &Request, answer: &Value) {
    let rows = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let word = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    match request {
        Request::Hosts => {
            for host in rows(answer) {
                println!("{}  {}", word(&host, "name"), word(&host, "namespace"));
                for endpoint in rows(&host["endpoints"]) {
                    let (name, site) = (word(&endpoint, "name"), word(&endpoint, "site"));
                    println!("  {name} at site {site}: {}", word(&endpoint, "addresses"));
                }
            }
        }
        Request::Get { .. } => {
            for link in rows(answer) {
                println!("{} -> {}  {}", word(&link, "from"), word(&link, "to"), link["settings"]);
            }
        }
        Request::Counters { .. } => {
            for link in rows(&answer["links"]) {
                let dropped = link["dropped"].as_object().into_iter().flatten();
                let dropped: Vec<String> = dropped
                    .filter(|(_, count)| count.as_u64() != Some(0))
                    .map(|(reason, count)| format!("{reason} {count}"))
                    .collect();
                println!(
                    "{} -> {}  offered {}, delivered {}, dropped: {}",
                    word(&link, "from"),
                    word(&link, "to"),
                    link["offered"],
                    link["delivered"],
                    if dropped.is_empty() { "none".to_owned() } else { dropped.join(", ") },
                );
            }
            println!("of no link: {}", answer["stray"]);
            println!("late by the router's own doing: {}", answer["lateness"]);
        }
        _ => println!("done"),
    }
}

fn list_presets(output: Output) {
    for preset in PRESETS {
        match output {
            Output::Text => {
                println!("{}: {}", preset.name, preset.places.join(", "));
                println!("  {}", preset.source);
            }
            Output::Json => println!(
                "{}",
                json!({ "name": preset.name, "source": preset.source, "places": preset.places })
            ),
        }
    }
}
