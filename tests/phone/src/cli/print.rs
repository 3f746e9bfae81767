//! Writing events to stdout.

use std::io::{self, Write as _};

use tandem_phone::Event;

use super::args::Output;
use super::event_line;

/// Writes events in one form.
#[derive(Clone, Copy)]
pub(crate) struct Printer(Output);

impl Printer {
    pub(crate) const fn new(output: Output) -> Self {
        Self(output)
    }

    /// One event.
    pub(crate) fn event(self, event: &Event) -> io::Result<()> {
        let line = match self.0 {
            Output::Text => event_line(event),
            Output::Json => serde_json::to_string(event)?,
        };
        write_line(&line)
    }
}

/// Flushes each line, so that a reader of a pipe sees it at once.
fn write_line(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
