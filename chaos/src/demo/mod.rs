//! The demo: three sites, one queue, real calls; a leader and a whole site die, callers do not
//! notice, and their phones say so.
//!
//! `options` is the command line, `pace` the time table, `story` the phases, `frame` and `view` how it is shown, `verdict` how
//! it ends. What is on stage (callers, agents, the board) is in [`crate::scene`].

mod frame;
mod options;
mod pace;
mod story;
mod verdict;
mod view;

use std::{
    env, fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tandem_phone::{AnswerPolicy, World, WorldOptions};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};

pub use options::{Display, Options, Output};
pub use verdict::{figures, sentence};

use crate::{
    center::{self, AgentSetup},
    check::{Allowances, Evidence, Judgement, judge},
    cluster::{LocalCluster, Plan, Timing},
    folder::RunFolder,
    ports,
    record::Recorder,
    report::{self, Run},
    scene::{self, Board, Crowd, LINES, NUMBERS, Note, Watch},
};
use pace::Pace;
use story::{Step, Story};
use verdict::Document;
use view::{Shown, View};

/// Something was lost.
const EXIT_LOST: u8 = 3;
/// How long phones may take to hang up and leave.
const LEAVE_MS_MAX: u64 = 3_000;
/// The user and password of a softphone under `--stay`.
const GUEST: &str = "guest";
/// All loopback traffic stays within a millisecond.
const ROUND_TRIP_MS: u64 = 1;

/// How the demo ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Clean,
    Lost,
    /// By this signal.
    Signal(u8),
}

/// Runs the demo and ends with its exit code.
#[must_use]
pub fn main(options: Options) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("tandem-chaos demo: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(until_signal(&options));
    // Callers' tasks may sleep; they have nothing left to do.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match ended {
        Ok(Ending::Clean) => ExitCode::SUCCESS,
        Ok(Ending::Lost) => ExitCode::from(EXIT_LOST),
        Ok(Ending::Signal(number)) => {
            eprintln!("ended by a signal; every process of the demo has ended");
            ExitCode::from(128_u8.saturating_add(number))
        }
        Err(error) => {
            eprintln!("tandem-chaos demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Judges a run again from its evidence and says the result.
#[must_use]
pub fn judge_again(file: &Path) -> ExitCode {
    let evidence = fs::read(file)
        .with_context(|| format!("{} cannot be read", file.display()))
        .and_then(|bytes| {
            let what = || format!("{} is no evidence of a run", file.display());
            serde_json::from_slice::<Evidence>(&bytes).with_context(what)
        });
    match evidence {
        Ok(evidence) => {
            let allowances = Allowances::for_timing(Timing::default(), ROUND_TRIP_MS);
            let judgement = judge(&evidence, &allowances);
            println!("{}", verdict::table(&judgement));
            if judgement.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_LOST) }
        }
        Err(error) => {
            eprintln!("tandem-chaos judge: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A signal drops the run, and with it the cluster's processes and the screen.
async fn until_signal(options: &Options) -> Result<Ending> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        ended = run(options) => ended,
        _ = interrupt.recv() => Ok(Ending::Signal(2)),
        _ = terminate.recv() => Ok(Ending::Signal(15)),
        _ = hangup.recv() => Ok(Ending::Signal(1)),
    }
}

async fn run(options: &Options) -> Result<Ending> {
    let path = options.dir.clone().map_or_else(|| RunFolder::usual("demo"), Ok)?;
    let folder = RunFolder::take(&path)?;
    let plan = plan(options, &folder)?;
    ports::check(&plan)?;
    let pace = Pace::new(options);
    let board = Arc::new(Board::new(story::PHASES, u64::from(options.callers)));
    let view = View::start(&board, options);
    for process in folder.cleared() {
        board.note(format!("an earlier demo had left {process}: ended"));
    }
    let mut cluster = LocalCluster::prepare(plan)?;
    let world = World::start(WorldOptions::default()).await?;
    let watched = watched(options, &mut cluster, &world, &pace, &board).await;
    let shown = view.end().await;
    let evidence = watched?;
    let ending = conclude(options, &folder, &cluster, &board, &evidence, shown)?;
    if options.stay {
        stay(&cluster, &folder).await?;
    }
    world.stop(LEAVE_MS_MAX).await?;
    for name in cluster.end() {
        eprintln!("{name} did not end in time and was killed");
    }
    Ok(ending)
}

fn plan(options: &Options, folder: &RunFolder) -> Result<Plan> {
    let programs = match &options.programs {
        Some(programs) => programs.clone(),
        None => beside()?,
    };
    for program in ["tandem", "tandem-relay"] {
        ensure!(
            programs.join(program).is_file(),
            "{program} is not in {}; build it with `cargo build -p tandem-node -p \
             tandem-media-relay`, or name its folder with --programs",
            programs.display()
        );
    }
    Ok(Plan::three_sites(&folder.run(), &programs, options.block).with_softphone())
}

fn beside() -> Result<PathBuf> {
    let own = env::current_exe().context("the path of this program")?;
    Ok(own.parent().map(Path::to_owned).unwrap_or_default())
}

/// Everything from the first process to the last caller.
async fn watched(
    options: &Options,
    cluster: &mut LocalCluster,
    world: &World,
    pace: &Pace,
    board: &Arc<Board>,
) -> Result<Evidence> {
    let (title, watch) = Step::Start.words("");
    board.phase(&title, watch);
    cluster.found().await?;
    board.note("three nodes are one cluster");
    let agents = scene::agents(options.agents as usize, cluster);
    center::configure(cluster, &scene::queues(), &agents).await?;
    let policy = AnswerPolicy::answer_after(millis(pace.ring));
    let phones = center::phones(cluster, world, &agents, &policy).await?;
    scene::answer_as(&phones, pace.ring, pace.agent_talk).await?;
    center::log_in(cluster, &agents).await?;
    board.note(format!("{} phones are registered, their agents ready", phones.len()));
    let recorder = Arc::new(Recorder::start(world, &phones, scene::facts(cluster, &agents)));
    let apis = (0..cluster.places().len()).map(|site| cluster.api(site));
    let _watch = Watch::start(world, apis.collect::<Result<_>>()?, board);
    let mut trunks = Vec::new();
    for site in 0..cluster.places().len() {
        trunks.push(center::trunk(cluster, world, site).await?);
    }
    let sites = cluster.plan().sites.iter().map(|site| site.name.clone()).collect();
    let began = Instant::now();
    let mut crowd = Crowd::start(&pace.callers, trunks, sites, &recorder, board);
    let crowd = &mut crowd;
    Story { cluster, world, recorder: &recorder, board, pace, crowd, began }.tell().await?;
    recorder.evidence().await
}

/// Judges, writes evidence and report, and says the result.
fn conclude(
    options: &Options,
    folder: &RunFolder,
    cluster: &LocalCluster,
    board: &Board,
    evidence: &Evidence,
    shown: Shown,
) -> Result<Ending> {
    let allowances = Allowances::for_timing(cluster.plan().timing, ROUND_TRIP_MS);
    let judgement = judge(evidence, &allowances);
    let evidence_file = folder.file("evidence.json");
    write(&evidence_file, &serde_json::to_string(evidence)?)?;
    let report_file = options.report.clone().unwrap_or_else(|| folder.file("report.html"));
    let seen = board.snapshot();
    let page = report::html(&Run {
        judgement: &judgement,
        evidence,
        samples: &board.samples(),
        title: "Tandem demo",
        about: &format!(
            "Three sites, one queue, {} agents, seed {}.",
            options.agents, options.seed
        ),
        ending: None,
    });
    write(&report_file, &page)?;
    let took_ms = millis(seen.elapsed);
    match options.output {
        Output::Table => {
            {
                // The table is gone with its screen; lines have said them.
                let notes = if shown == Shown::Table { seen.notes.as_slice() } else { &[] };
                print_table(&judgement, notes, &report_file, &evidence_file, took_ms);
            }
        }
        Output::Json => {
            let document =
                Document::new(&judgement, options, took_ms, &report_file, &evidence_file);
            println!("{}", serde_json::to_string_pretty(&document)?);
        }
    }
    Ok(if judgement.is_clean() { Ending::Clean } else { Ending::Lost })
}

fn print_table(
    judgement: &Judgement,
    notes: &[Note],
    report: &Path,
    evidence: &Path,
    took_ms: u64,
) {
    for note in notes {
        println!("  {} {}", frame::clock(note.at), note.text);
    }
    println!("\n{}\n", verdict::table(judgement));
    println!("  took      {} s", took_ms / 1_000);
    println!("  report    {}", report.display());
    println!("  evidence  {}", evidence.display());
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("{} cannot be written", file.display()))
}

/// Keeps everything up until a signal, and says how to use it.
async fn stay(cluster: &LocalCluster, folder: &RunFolder) -> Result<()> {
    // A guest for a softphone: both skills, at the first site.
    let guest = AgentSetup {
        name: GUEST.to_owned(),
        site: 0,
        skills: LINES.iter().map(|line| ((*line).to_owned(), 5)).collect(),
        queues: LINES.iter().map(|line| (*line).to_owned()).collect(),
    };
    center::configure(cluster, &[], &[guest]).await?;
    eprintln!("{}", invitation(cluster, &folder.run()));
    std::future::pending().await
}

fn invitation(cluster: &LocalCluster, run: &Path) -> String {
    let sip: Vec<SocketAddr> = (0..cluster.places().len()).map(|site| cluster.sip(site)).collect();
    let first = sip.first().map_or(IpAddr::from([127, 0, 1, 1]), SocketAddr::ip);
    let nodes: Vec<String> =
        sip.iter().map(|sip| format!("{}:{}", sip.ip(), crate::cluster::API_PORT)).collect();
    let tandem = cluster.plan().programs.join("tandem").display().to_string();
    let certs = run.join("certs").display().to_string();
    format!(
        "\nThe cluster stays up; Ctrl-C ends it.\n\n\
         Call in with any softphone on this machine (no account, UDP, G.711):\n  \
         sip:{}@{first}   {}\n  sip:{}@{first}   {}\n\n\
         Look, in another terminal:\n  \
         export TANDEM_NODE={}\n  export TANDEM_CERTS={certs}\n  \
         {tandem} cluster status\n  {tandem} queue list\n\n\
         Be an agent: register a phone as user {GUEST}, password {}, server {first}; then\n  \
         {tandem} agent login {GUEST}\n",
        NUMBERS[0],
        LINES[0],
        NUMBERS[1],
        LINES[1],
        nodes.join(","),
        center::PASSWORD,
    )
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
