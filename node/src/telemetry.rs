//! The log on standard error.

use tracing_subscriber::EnvFilter;

use crate::{
    config::{LogConfig, LogFormat},
    exit::Exit,
};

/// Reads a filter: the settings' own, or `TANDEM_LOG`.
///
/// # Errors
/// [`Exit::Config`] for one that cannot be read.
pub fn filter(config: &LogConfig) -> Result<EnvFilter, Exit> {
    let (from, text) = match std::env::var("TANDEM_LOG") {
        Ok(text) => ("TANDEM_LOG", text),
        Err(_) => ("[log] level", config.level.clone()),
    };
    EnvFilter::try_new(&text).map_err(|error| {
        Exit::Config(format!(
            "{from} {text:?} cannot be read ({error}); write for example \"info\" or \
             \"info,tandem_node::edge=debug\""
        ))
    })
}

/// Starts the log as `[log]` says; `TANDEM_LOG` goes before its level.
///
/// # Errors
/// [`Exit::Config`] for a filter that cannot be read.
pub fn start(config: &LogConfig) -> Result<(), Exit> {
    let filter = filter(config)?;
    // A log that cannot be written is no reason to disturb calls.
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .log_internal_errors(false);
    let started = match config.format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    started.map_err(|error| Exit::Config(format!("the log cannot be started: {error}")))
}
