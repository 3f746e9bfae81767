//! `tandem calendar`.

use std::{io::Read, path::PathBuf};

use clap::{Args, Subcommand};
use tandem_proto::api::v1::{
    Calendar, ListCalendarsReply, ListCalendarsRequest, PutCalendarReply, PutCalendarRequest,
    RemoveCalendarRequest, ShowCalendarRequest,
};

use super::{
    CliError, Connection, Reading,
    connect::{Session, block_on},
    output::{self, or_dash},
};
use crate::rpc::calendars_client::CalendarsClient;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create or change opening hours, from options or from a file with one sentence a line.
    #[command(
        after_help = "Examples:\n  tandem calendar put office --zone Europe/Berlin --hours 'mon-fri 09:00-17:30; sat 10:00-14:00' --except '2026-12-24 09:00-12:00' --except '12-25 closed'\n  tandem calendar put office --file office.txt\n\nA file:\n  zone Europe/Berlin\n  mon-fri 09:00-12:30, 13:30-17:30\n  sat 22:00-02:00                 # until the next morning\n  2026-12-24 09:00-12:00\n  12-25 closed                    # each year\n  2026-12-27..2026-12-31 closed"
    )]
    Put {
        /// Its name.
        name: String,
        #[command(flatten)]
        written: Written,
    },
    /// All opening hours, and when they open and close next.
    #[command(after_help = "Example:\n  tandem calendar list")]
    List {
        #[command(flatten)]
        reading: Reading,
    },
    /// One calendar: its text, whether it is open, when it opens and closes next in its zone.
    #[command(after_help = "Example:\n  tandem calendar show office")]
    Show {
        /// Its name.
        name: String,
        #[command(flatten)]
        reading: Reading,
    },
    /// Remove opening hours that no queue goes by.
    #[command(after_help = "Example:\n  tandem calendar remove office")]
    Remove {
        /// Its name.
        name: String,
    },
}

#[derive(Debug, Args)]
#[group(id = "written", required = true, multiple = true)]
struct Written {
    /// Time zone, a name of the IANA database.
    #[arg(long, value_name = "ZONE", requires = "hours", conflicts_with = "file")]
    zone: Option<String>,
    /// Hours of weekdays; several with semicolons, or repeated.
    #[arg(long, value_name = "DAYS HH:MM-HH:MM", requires = "zone", conflicts_with = "file")]
    hours: Vec<String>,
    /// Another day than weekdays say: a date, a date of each year or a range, and hours or closed; may be
    /// repeated.
    #[arg(
        long = "except",
        value_name = "DATE closed|HH:MM-HH:MM",
        requires = "zone",
        conflicts_with = "file"
    )]
    exceptions: Vec<String>,
    /// A file with all of it, "-" for standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Written {
    /// The text as it is kept: one sentence a line.
    fn into_source(self) -> Result<String, CliError> {
        if let Some(file) = self.file {
            let mut text = String::new();
            let read = if file.as_os_str() == "-" {
                std::io::stdin().read_to_string(&mut text).map(|_| ())
            } else {
                std::fs::read_to_string(&file).map(|read| text = read)
            };
            read.map_err(|error| {
                CliError::Local(format!("the file {} cannot be read: {error}", file.display()))
            })?;
            return Ok(text);
        }
        let zone = self.zone.map(|zone| format!("zone {zone}"));
        let sentences = self.hours.iter().chain(&self.exceptions);
        let sentences = sentences.flat_map(|text| text.split(';')).map(str::trim);
        let sentences = sentences.filter(|text| !text.is_empty()).map(str::to_owned);
        Ok(zone.into_iter().chain(sentences).collect::<Vec<_>>().join("\n"))
    }
}

pub(super) fn run(arguments: Arguments) -> Result<(), CliError> {
    let form = arguments.connection.output;
    let session = Session::new(&arguments.connection)?;
    let (tenant, key) = (session.tenant(), session.key());
    block_on(async {
        match arguments.command {
            Command::Put { name, written } => {
                let source = written.into_source()?;
                let request = PutCalendarRequest { name, source, idempotency_key: key, tenant };
                let reply = session
                    .change(|channel| {
                        let request = request.clone();
                        async { CalendarsClient::new(channel).put(request).await }
                    })
                    .await?;
                output::print(form, &reply, put)
            }
            Command::List { reading } => {
                let request =
                    ListCalendarsRequest { consistency: reading.consistency.into(), tenant };
                let reply = session
                    .look(|channel| {
                        let request = request.clone();
                        async { CalendarsClient::new(channel).list(request).await }
                    })
                    .await?;
                output::print(form, &reply, table)
            }
            Command::Show { name, reading } => {
                let request =
                    ShowCalendarRequest { consistency: reading.consistency.into(), name, tenant };
                let reply = session
                    .look(|channel| {
                        let request = request.clone();
                        async { CalendarsClient::new(channel).show(request).await }
                    })
                    .await?;
                output::print(form, &reply, show)
            }
            Command::Remove { name } => {
                let request = RemoveCalendarRequest { name, idempotency_key: key, tenant };
                let reply = session
                    .change(|channel| {
                        let request = request.clone();
                        async { CalendarsClient::new(channel).remove(request).await }
                    })
                    .await?;
                output::print(form, &reply, |_| "done".to_owned())
            }
        }
    })
}

fn put(reply: &PutCalendarReply) -> String {
    format!(
        "done; {} spans are known until {}, and go on by themselves",
        reply.spans, reply.known_until
    )
}

fn state(calendar: &Calendar) -> String {
    if calendar.open { "open" } else { "closed" }.to_owned()
}

fn table(reply: &ListCalendarsReply) -> String {
    let rows = reply.calendars.iter().map(|calendar| {
        [
            calendar.name.clone(),
            state(calendar),
            or_dash(&calendar.next_opening),
            or_dash(&calendar.next_closing),
            or_dash(&calendar.zone),
            or_dash(&calendar.queues.join(" ")),
        ]
    });
    output::table(["calendar", "state", "opens next", "closes next", "zone", "queues"], rows)
}

fn show(calendar: &Calendar) -> String {
    let facts = [
        ("calendar", calendar.name.clone()),
        ("state", state(calendar)),
        ("opens next", or_dash(&calendar.next_opening)),
        ("closes next", or_dash(&calendar.next_closing)),
        ("known until", or_dash(&calendar.known_until)),
        ("queues", or_dash(&calendar.queues.join(" "))),
    ];
    let rows = facts.map(|(fact, value)| [fact.to_owned(), value]);
    let facts = output::table(["", ""], rows);
    format!("{}\n\n{}", facts.trim_start_matches('\n'), calendar.source.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::Source;

    // Goal: options become a text that is opening hours.
    #[test]
    fn options_become_a_text() {
        let written = Written {
            zone: Some("Europe/Berlin".to_owned()),
            hours: vec!["mon-fri 09:00-17:30; sat 10:00-14:00".to_owned()],
            exceptions: vec!["12-25 closed".to_owned(), "2026-12-24 09:00-12:00".to_owned()],
            file: None,
        };
        let text = written.into_source().expect("a text");
        assert_eq!(
            text,
            "zone Europe/Berlin\nmon-fri 09:00-17:30\nsat 10:00-14:00\n12-25 closed\n2026-12-24 \
             09:00-12:00"
        );
        assert_eq!(Source::parse(&text).expect("hours").zone_name(), "Europe/Berlin");
    }
}
