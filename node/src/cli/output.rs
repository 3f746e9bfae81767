//! What commands print.

use std::io::Write;

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use serde::Serialize;

use super::CliError;

/// Form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Form {
    /// For people.
    #[default]
    Table,
    /// For programs: one JSON document.
    Json,
}

/// Prints a reply: as JSON, or as `table` says.
pub(super) fn print<T: Serialize>(
    form: Form,
    reply: &T,
    table: impl FnOnce(&T) -> String,
) -> Result<(), CliError> {
    let text = match form {
        Form::Table => table(reply),
        Form::Json => serde_json::to_string_pretty(reply)
            .map_err(|error| CliError::Local(format!("the reply cannot be written: {error}")))?,
    };
    if text.is_empty() {
        return Ok(());
    }
    match writeln!(std::io::stdout(), "{}", text.trim_end()) {
        Ok(()) => Ok(()),
        // `tandem … | head` has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(CliError::Local(format!("the answer cannot be written: {error}"))),
    }
}

/// Tells a person something beside the data.
pub(super) fn say(text: &str) {
    // Nobody reads it: then there is nobody to tell.
    writeln!(std::io::stderr(), "{text}").ok();
}

/// A table with a head, without lines.
pub(super) fn table<const N: usize>(
    head: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head.map(str::to_uppercase));
    for row in rows {
        table.add_row(row);
    }
    let text = table.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

/// A duration in a short form.
pub(super) fn duration(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0..60 => format!("{s}s"),
        60..3_600 => format!("{}m{:02}s", s / 60, s % 60),
        _ => format!("{}h{:02}m", s / 3_600, s / 60 % 60),
    }
}

/// A dash instead of nothing.
pub(super) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: durations are short and their units change at the right places.
    #[test]
    fn durations() {
        for (ms, text) in [
            (0, "0s"),
            (59_999, "59s"),
            (60_000, "1m00s"),
            (3_599_000, "59m59s"),
            (3_600_000, "1h00m"),
            (90_000_000, "25h00m"),
        ] {
            assert_eq!(duration(ms), text);
        }
    }
}
