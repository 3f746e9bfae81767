//! The program `tandem-relay`: one media relay, as a process of its own.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Parser;
use tandem_media_relay::{EndReason, LogFormat, Relay, config};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Relays RTP between phones, trunks and other relays; controlled by the cluster's nodes.
///
/// Exit codes: 0 ended in order (asked to, retired, or no longer needed), 1 not started or broken, 2
/// wrong arguments.
#[derive(Parser)]
#[command(name = "tandem-relay", version)]
struct Arguments {
    /// Settings file with the tables `[relay]` and `[tls]`; a node's own file will do.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Check the settings and certificates, then exit.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be gone together with the node that gave it: then nobody reads it.
            if let Err(unheard) = report(&error) {
                drop(unheard);
            }
            ExitCode::FAILURE
        }
    }
}

fn report(error: &anyhow::Error) -> std::io::Result<()> {
    use std::io::Write;
    writeln!(std::io::stderr(), "tandem-relay: {error:#}")
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let settings = config::load(&arguments.config)?;
    if arguments.check {
        tandem_media_relay::tls::TlsMaterial::load(&settings.tls, &settings.relay.relay_id()?)?;
        return Ok(());
    }
    start_log(settings.relay.log_format);
    let waiting = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before the ports are open, so that no signal finds the default action.
    let (mut terminate, mut interrupt, mut hangup) = {
        let _inside = waiting.enter();
        let listen = |kind| signal(kind).context("signals cannot be handled");
        (
            listen(SignalKind::terminate())?,
            listen(SignalKind::interrupt())?,
            listen(SignalKind::hangup())?,
        )
    };
    let relay = Relay::start(&settings)?;
    let reason = waiting.block_on(async {
        loop {
            tokio::select! {
                reason = relay.ended() => return reason,
                _ = terminate.recv() => return EndReason::Stopped,
                _ = interrupt.recv() => return EndReason::Stopped,
                // The terminal or session that started it is gone: the calls are not.
                _ = hangup.recv() => tracing::info!("hang-up ignored"),
            }
        }
    });
    tracing::info!(?reason, "the relay ends");
    relay.stop();
    anyhow::ensure!(reason != EndReason::ControlFailed, "the control port broke; see the log");
    Ok(())
}

/// Logs to standard error. `TANDEM_LOG` sets what is told (such as `debug`). A log that cannot be
/// written is no reason to disturb calls: errors in writing it are not reported.
fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_env("TANDEM_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .log_internal_errors(false);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}
