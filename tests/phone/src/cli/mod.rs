//! The command line: `register` is an agent's phone, `call` a caller. Data goes to stdout, talk to
//! stderr.

mod args;
mod print;

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use tandem_phone::sip::Credentials;
use tandem_phone::{
    AnswerPolicy, AudioConfig, CallPlan, CallReport, CallState, CallerConfig, EndCause, Event,
    EventKind, EventStream, HangUp, PhoneConfig, PhoneError, SentAudio, Server, Transport, World,
    WorldOptions,
};
use tokio::task::JoinHandle;

use args::{Args, AudioArgs, CallArgs, Command, RegisterArgs, SentKind};
use print::Printer;

/// Everything was as wanted.
const EXIT_OK: u8 = 0;
/// The call was not answered, or the phone never registered.
const EXIT_NOT_ANSWERED: u8 = 1;
/// The call was answered and nothing was heard.
const EXIT_NOTHING_HEARD: u8 = 3;
/// A pause in the audio was longer than allowed.
const EXIT_GAP: u8 = 4;
/// Sockets, files or settings.
const EXIT_FAILED: u8 = 5;

/// How long leaving may take, ms.
const LEAVING_MS_MAX: u64 = 2_000;

/// Why the program ends.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Phone(#[from] PhoneError),
    #[error("cannot resolve {name}: {source}; write it as ADDRESS:PORT, HOST or HOST:PORT")]
    Resolve {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot find out the own address towards {to}: {source}; name one with --listen")]
    OwnAddress {
        to: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("cannot read the password from {file}: {source}")]
    Password {
        file: String,
        #[source]
        source: io::Error,
    },
    #[error("the runtime could not be started: {0}")]
    Runtime(#[source] io::Error),
    #[error("the output could not be written: {0}")]
    Output(#[from] io::Error),
}

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(io::stderr)
        .init();
    match run(args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("tandem-phone: {error}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn run(args: Args) -> Result<u8, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    runtime.block_on(async {
        let printer = Printer::new(args.output);
        match args.command {
            Command::Register(register) => run_register(register, printer).await,
            Command::Call(call) => run_call(call, printer).await,
        }
    })
}

async fn run_register(args: RegisterArgs, printer: Printer) -> Result<u8, CliError> {
    let transport = if args.tcp { Transport::Tcp } else { Transport::Udp };
    let registrars = resolve_all(&args.registrar, transport)?;
    let listen = listen_address(args.listen, registrars.first())?;
    let label = args.label.clone().unwrap_or_else(|| "phone".to_owned());
    let mut config = PhoneConfig::new(&label, &args.user, listen);
    config.transport = transport;
    config.registrars = registrars;
    config.credentials = password(&args)?.map(|password| Credentials::new(&args.user, &password));
    config.domain.clone_from(&args.domain);
    config.expires_s = args.expires_s;
    config.failover_after_ms = args.failover_after_ms;
    config.policy = policy(&args);
    config.audio = audio(&args.audio);
    config.wav_folder.clone_from(&args.wav_folder);
    let world = World::start(WorldOptions::default()).await?;
    let printing = tokio::spawn(print_all(world.events(), printer));
    let phone = world.phone(config).await?;
    eprintln!("{label} listens on {}; Ctrl-C or SIGTERM ends it", phone.address());
    let limit = async {
        match args.duration_s {
            Some(s) => tokio::time::sleep(Duration::from_secs(s)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = limit => {}
        stopped = told_to_stop() => stopped?,
    }
    let registrations = phone.report().await?.registrations;
    world.stop(LEAVING_MS_MAX).await?;
    finish_printing(printing).await?;
    let wanted = !args.registrar.is_empty();
    Ok(if wanted && registrations == 0 { EXIT_NOT_ANSWERED } else { EXIT_OK })
}

async fn run_call(args: CallArgs, printer: Printer) -> Result<u8, CliError> {
    let transport = if args.tcp { Transport::Tcp } else { Transport::Udp };
    let nodes = resolve_all(&args.via, transport)?;
    let listen = listen_address(args.listen, nodes.first())?;
    let mut config = CallerConfig::new("caller", listen, nodes);
    config.failover_after_ms = args.failover_after_ms;
    config.audio = audio(&args.audio);
    let world = World::start(WorldOptions::default()).await?;
    let printing = tokio::spawn(print_all(world.events(), printer));
    let caller = world.caller(config).await?;
    let mut plan = CallPlan::to(&args.number).from(&args.from);
    plan.from_name.clone_from(&args.from_name);
    plan.wav.clone_from(&args.wav);
    if let Some(ms) = args.talk_ms {
        plan.hang_up = HangUp::AfterAgentHeard { ms };
    }
    let call = caller.call(plan).await?;
    let report = tokio::select! {
        report = wait_end(&call, &args) => report?,
        stopped = told_to_stop() => {
            stopped?;
            end_call(&call).await?
        }
    };
    world.stop(LEAVING_MS_MAX).await?;
    finish_printing(printing).await?;
    Ok(exit_code(&report, args.fail_on_gap_ms))
}

/// Ctrl-C or SIGTERM: both end the program in order.
async fn told_to_stop() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

/// The stream of events ends with the world; everything is printed then.
async fn finish_printing(printing: JoinHandle<Result<(), CliError>>) -> Result<(), CliError> {
    printing.await.map_err(|error| CliError::Output(io::Error::other(error)))?
}

async fn print_all(mut events: EventStream, printer: Printer) -> Result<(), CliError> {
    while let Some(event) = events.next().await {
        printer.event(&event)?;
    }
    Ok(())
}

/// Waits for the call's end, hanging up when its time is over.
async fn wait_end(call: &tandem_phone::Call, args: &CallArgs) -> Result<CallReport, CliError> {
    if !args.digits.is_empty() {
        call.wait_established(u64::from(u32::MAX)).await?;
        call.send_digits(&args.digits).await?;
    }
    let limit_ms = args.duration_s.map_or(u64::from(u32::MAX), |s| s.saturating_mul(1_000));
    match call.wait_ended(limit_ms).await {
        Ok(report) => Ok(report),
        Err(PhoneError::Deadline { .. }) => end_call(call).await,
        Err(error) => Err(error.into()),
    }
}

async fn end_call(call: &tandem_phone::Call) -> Result<CallReport, CliError> {
    call.hang_up().await?;
    match call.wait_ended(LEAVING_MS_MAX).await {
        Ok(report) => Ok(report),
        // Nobody answers the BYE: what was experienced counts all the same.
        Err(PhoneError::Deadline { report: Some(report), .. }) => Ok(*report),
        Err(error) => Err(error.into()),
    }
}

fn exit_code(report: &CallReport, fail_on_gap_ms: Option<u64>) -> u8 {
    if report.answered_us.is_none() {
        EXIT_NOT_ANSWERED
    } else if report.media.first_audio_us.is_none() {
        EXIT_NOTHING_HEARD
    } else if fail_on_gap_ms.is_some_and(|allowed| report.media.gap_ms_max() > allowed) {
        EXIT_GAP
    } else {
        EXIT_OK
    }
}

fn resolve_all(names: &[String], transport: Transport) -> Result<Vec<Server>, CliError> {
    names.iter().map(|name| Ok(Server { address: resolve(name)?, transport })).collect()
}

/// `ADDRESS:PORT`, `ADDRESS`, `HOST:PORT` or `HOST`; port 5060 when none is written.
fn resolve(name: &str) -> Result<SocketAddr, CliError> {
    if let Ok(address) = name.parse::<SocketAddr>() {
        return Ok(address);
    }
    if let Ok(ip) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, 5060));
    }
    let with_port = if name.contains(':') { name.to_owned() } else { format!("{name}:5060") };
    let failed = |source| CliError::Resolve { name: name.to_owned(), source };
    let mut found = with_port.to_socket_addrs().map_err(failed)?;
    found.next().ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
}

/// The address asked for; else any port on the address that leads to the server.
fn listen_address(
    wanted: Option<SocketAddr>,
    server: Option<&Server>,
) -> Result<SocketAddr, CliError> {
    match (wanted, server) {
        (Some(wanted), _) => Ok(wanted),
        (None, None) => Ok(SocketAddr::from(([127, 0, 0, 1], 0))),
        (None, Some(server)) => {
            let to = server.address;
            let any: IpAddr = match to {
                SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
            };
            // Connecting a UDP socket sends nothing; it only asks for the route.
            let own = UdpSocket::bind((any, 0))
                .and_then(|socket| socket.connect(to).and_then(|()| socket.local_addr()))
                .map_err(|source| CliError::OwnAddress { to, source })?;
            Ok(SocketAddr::new(own.ip(), 0))
        }
    }
}

fn password(args: &RegisterArgs) -> Result<Option<String>, CliError> {
    match (&args.password, &args.password_file) {
        (Some(password), _) => Ok(Some(password.clone())),
        (None, Some(file)) => {
            let text = std::fs::read_to_string(file).map_err(|source| CliError::Password {
                file: file.display().to_string(),
                source,
            })?;
            Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
        }
        (None, None) => Ok(None),
    }
}

fn policy(args: &RegisterArgs) -> AnswerPolicy {
    if args.busy {
        AnswerPolicy::busy()
    } else if args.decline {
        AnswerPolicy::decline()
    } else if args.never_answer {
        AnswerPolicy::ring()
    } else {
        match args.talk_ms {
            Some(talk_ms) => AnswerPolicy::answer_and_hang_up(args.answer_after_ms, talk_ms),
            None => AnswerPolicy::answer_after(args.answer_after_ms),
        }
    }
}

fn audio(args: &AudioArgs) -> AudioConfig {
    let sent = match args.send {
        SentKind::Tagged => SentAudio::Tagged,
        SentKind::Tone => SentAudio::Tone { hz: args.tone_hz },
        SentKind::Silence => SentAudio::Silence,
    };
    AudioConfig { sent, ..AudioConfig::default() }
}

/// How an end reads in one line.
fn end_line(end: Option<&EndCause>, state: CallState) -> String {
    match end {
        Some(cause) => serde_json::to_string(cause).unwrap_or_else(|_| format!("{cause:?}")),
        None => format!("{state:?}"),
    }
}

/// One line about an event for people.
fn event_line(event: &Event) -> String {
    let at_s = event.at_us.as_us() as f64 / 1e6;
    let what = match &event.kind {
        EventKind::Ended { report } => {
            let media = &report.media;
            format!(
                "ended: {}; heard {} packets, lost {}, longest gap {} ms, sent {}",
                end_line(report.end.as_ref(), report.state),
                media.received_packets,
                media.lost(),
                media.gap_ms_max(),
                media.sent_packets
            )
        }
        kind => serde_json::to_string(kind).unwrap_or_else(|_| format!("{kind:?}")),
    };
    format!("{at_s:10.3} {} {what}", event.phone)
}
