//! `tandem events`.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use serde_json::Value;
use tandem_proto::api::v1::{
    CallerNumbers, Event, EventBatch, EventEnd, EventStart, WatchEventsRequest,
};
use tonic::{Code, Status};

use super::{
    CliError, Connection,
    connect::{Failed, Session, block_on, of_status},
    output::{self, Form, duration},
    queue_log,
};
use crate::rpc::events_client::EventsClient;

/// How long all nodes may keep silent before the command ends, unless the operator said how long.
const USUAL_PATIENCE: Duration = Duration::from_secs(60);
/// Pause after all nodes were tried.
const ROUND_PAUSE: Duration = Duration::from_millis(500);
/// A node that has not heard a leader for so long is left for another one.
const CUT_OFF_MS: u64 = 10_000;
/// A node that says nothing for so long is left: it says something every two seconds.
const SILENT: Duration = Duration::from_secs(15);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Begin with this log index (INDEX, or INDEX:POSITION as an ended command says it), or with the oldest that is kept
    /// [default: what happens from now on; with --until-now: oldest].
    #[arg(long, value_name = "INDEX|oldest", value_parser = place)]
    from: Option<Place>,
    /// Go on with what happens, until interrupted: the default.
    #[arg(long, conflicts_with = "until_now")]
    follow: bool,
    /// End with what has happened up to now.
    #[arg(long)]
    until_now: bool,
    /// Form of the events: a line for people, a JSON document a line, or Asterisk's queue_log [default: as --output].
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Only events that name this queue.
    #[arg(long, default_value = "")]
    queue: String,
    /// Only events that name this agent.
    #[arg(long, default_value = "")]
    agent: String,
    /// Events of all tenants, instead of those of --tenant.
    #[arg(long)]
    all_tenants: bool,
    /// Only events of these kinds, with commas: contact-entered,contact-left (docs/operating/events.md).
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    kind: Vec<String>,
    /// Whether callers' numbers are written in full [default: shown in queue_log, else hidden].
    #[arg(long, value_enum)]
    callers: Option<Callers>,
    #[command(flatten)]
    connection: Connection,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Now,
    Oldest,
    At(u64, u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for people.
    Table,
    /// A JSON document a line.
    Json,
    /// Lines of Asterisk's queue log.
    #[value(name = "queue_log", alias = "queue-log")]
    QueueLog,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Callers {
    /// Their last two digits.
    Hidden,
    /// In full.
    Shown,
}

pub(super) fn run(arguments: Arguments) -> Result<(), CliError> {
    let mut session = Session::new(&arguments.connection)?;
    session.allow(USUAL_PATIENCE);
    let format = arguments.format.unwrap_or(match arguments.connection.output {
        Form::Table => Format::Table,
        Form::Json => Format::Json,
    });
    let callers = arguments.callers.unwrap_or(match format {
        Format::QueueLog => Callers::Shown,
        Format::Table | Format::Json => Callers::Hidden,
    });
    let usual = if arguments.until_now { Place::Oldest } else { Place::Now };
    let end = if arguments.until_now { EventEnd::Now } else { EventEnd::Never };
    let tenant = if arguments.all_tenants { String::new() } else { session.tenant() };
    let request = WatchEventsRequest {
        end: end.into(),
        tenant,
        kinds: arguments.kind,
        queue: arguments.queue,
        agent: arguments.agent,
        caller_numbers: match callers {
            Callers::Hidden => CallerNumbers::Hidden,
            Callers::Shown => CallerNumbers::Shown,
        }
        .into(),
        ..WatchEventsRequest::default()
    };
    let place = arguments.from.unwrap_or(usual);
    let follow = Follow { session, request, format, place, lost: 0 };
    block_on(follow.run())
}

/// Follows the feed from node to node.
struct Follow {
    session: Session,
    request: WatchEventsRequest,
    format: Format,
    /// Where to go on.
    place: Place,
    /// Nodes in a row that do not have it any more.
    lost: usize,
}

/// How the stream of one node ended.
enum Left {
    /// With everything that was asked for, or nobody reads what is written.
    Done,
    /// Another node, or the same one again, may go on.
    Again(CliError),
    /// Nobody can.
    ForGood(CliError),
}

impl Follow {
    async fn run(mut self) -> Result<(), CliError> {
        let nodes = self.session.nodes().to_vec();
        let mut heard = Instant::now();
        for round in 0_usize.. {
            for node in &nodes {
                let mut told = false;
                let error = match self.read(node, &mut told).await {
                    Left::Done => return Ok(()),
                    Left::ForGood(error) => return Err(error),
                    Left::Again(error) => error,
                };
                if told {
                    heard = Instant::now();
                } else if heard.elapsed() >= self.session.patience() || nodes.is_empty() {
                    return Err(self.with_place(error));
                }
                if round == 0 || told {
                    output::say(&format!("tandem: {error}"));
                }
            }
            tokio::time::sleep(ROUND_PAUSE).await;
        }
        Ok(())
    }

    /// Says where to go on, if that is known.
    fn with_place(&self, error: CliError) -> CliError {
        let Place::At(index, position) = self.place else { return error };
        let text = format!("{error}; go on with --from {index}:{position}");
        match error {
            CliError::Refused(_) => CliError::Refused(text),
            CliError::Security(_) => CliError::Security(text),
            CliError::Local(_) => CliError::Local(text),
            CliError::Unavailable(_) | CliError::Unknown(_) => CliError::Unavailable(text),
        }
    }

    /// Reads from one node until its stream ends; `told` is set when it gave anything.
    async fn read(&mut self, node: &str, told: &mut bool) -> Left {
        let channel = match self.session.open(node).await {
            Ok(channel) => channel,
            Err(failed) => return left(failed),
        };
        let (start, index, position) = match self.place {
            Place::Now => (EventStart::Now, 0, 0),
            Place::Oldest => (EventStart::Oldest, 0, 0),
            Place::At(index, position) => (EventStart::At, index, position),
        };
        let request =
            WatchEventsRequest { start: start.into(), index, position, ..self.request.clone() };
        let mut client = EventsClient::new(channel);
        let silent = || {
            Left::Again(CliError::Unavailable(format!(
                "{node} keeps silent: it is frozen or cut off"
            )))
        };
        let mut stream = match tokio::time::timeout(SILENT, client.watch(request)).await {
            Ok(Ok(reply)) => reply.into_inner(),
            Ok(Err(status)) => return self.refused(node, &status),
            Err(_) => return silent(),
        };
        loop {
            let batch = match tokio::time::timeout(SILENT, stream.message()).await {
                Ok(Ok(Some(batch))) => batch,
                Ok(Ok(None)) if self.request.end() == EventEnd::Now => {
                    if let Place::At(index, _) = self.place {
                        output::say(&format!(
                            "tandem: that is all up to now; go on with --from {index}"
                        ));
                    }
                    return Left::Done;
                }
                Ok(Ok(None)) => {
                    return Left::Again(CliError::Unavailable(format!("{node} ended the feed")));
                }
                Ok(Err(status)) => return self.refused(node, &status),
                Err(_) => return silent(),
            };
            (*told, self.lost) = (true, 0);
            match self.write(&batch) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Left::Done,
                Err(error) => {
                    let text = format!("the events cannot be written: {error}");
                    return Left::ForGood(self.with_place(CliError::Local(text)));
                }
            }
            self.place = Place::At(batch.next_index, batch.next_position);
            let silent_ms = batch.as_of.map_or(0, |as_of| as_of.silent_ms);
            if silent_ms > CUT_OFF_MS && self.session.nodes().len() > 1 {
                return Left::Again(CliError::Unavailable(format!(
                    "{node} has heard from no leader for {}: what happens elsewhere does not reach it",
                    duration(silent_ms)
                )));
            }
        }
    }

    fn refused(&mut self, node: &str, status: &Status) -> Left {
        match status.code() {
            // Another node may have what this one has not.
            Code::OutOfRange => {
                self.lost += 1;
                let error = CliError::Refused(format!("{node}: {}", status.message()));
                if self.lost >= self.session.nodes().len() {
                    Left::ForGood(error)
                } else {
                    Left::Again(error)
                }
            }
            Code::ResourceExhausted => {
                Left::Again(CliError::Unavailable(format!("{node}: {}", status.message())))
            }
            _ => left(of_status(node, status)),
        }
    }

    fn write(&self, batch: &EventBatch) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        for event in &batch.events {
            match self.format {
                Format::Table => writeln!(out, "{}", line(event))?,
                Format::Json => writeln!(out, "{}", json(event))?,
                Format::QueueLog => {
                    for line in queue_log::lines(event) {
                        let only = &self.request.queue;
                        if only.is_empty() || line.queue == *only {
                            writeln!(out, "{}", line.text)?;
                        }
                    }
                }
            }
        }
        out.flush()
    }
}

fn left(failed: Failed) -> Left {
    match failed {
        Failed::ForGood(error) => Left::ForGood(error),
        Failed::NotDone(text) | Failed::Lost(text) => Left::Again(CliError::Unavailable(text)),
    }
}

/// `INDEX`, `INDEX:POSITION` or `oldest`.
fn place(text: &str) -> Result<Place, String> {
    if text == "oldest" {
        return Ok(Place::Oldest);
    }
    let (index, position) = text.split_once(':').unwrap_or((text, "0"));
    match (index.parse(), position.parse()) {
        (Ok(index), Ok(position)) => Ok(Place::At(index, position)),
        _ => Err("write a log index (48211), one with a position (48211:3), or oldest".to_owned()),
    }
}

/// A JSON document without what the kind does not have.
fn json(event: &Event) -> Value {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(event) else { return Value::Null };
    let stays = ["index", "position", "number"];
    fields.retain(|name, value| {
        stays.contains(&name.as_str())
            || !(value.as_u64() == Some(0)
                || value.as_str() == Some("")
                || value.as_array().is_some_and(Vec::is_empty))
    });
    Value::Object(fields)
}

/// A line for people.
fn line(event: &Event) -> String {
    let time = match event.utc_ms {
        0 => format!("+{}", duration(event.cluster_time_ms)),
        utc => clock(utc),
    };
    let mut words = vec![format!("{time:<20} {:>9}  {:<19}", event.index, event.kind)];
    for text in [&event.contact, &event.queue, &event.agent, &event.site] {
        words.extend((!text.is_empty()).then(|| text.clone()));
    }
    for (what, to) in [("to", &event.to_queue), ("to", &event.to_site), ("now", &event.to)] {
        words.extend((!to.is_empty()).then(|| format!("{what} {to}")));
    }
    words.extend((!event.reason.is_empty()).then(|| format!("({})", event.reason)));
    for (what, text) in [("from", &event.caller), (&event.thing[..], &event.name)] {
        words.extend((!text.is_empty()).then(|| format!("{what} {text}")));
    }
    for (what, queues) in [("serves", &event.queues), ("leaves", &event.left_queues)] {
        words.extend((!queues.is_empty()).then(|| format!("{what} {}", queues.join(","))));
    }
    for (what, ms) in [
        ("waited", event.waited_ms),
        ("rang", event.ring_ms),
        ("talked", event.talk_ms),
        ("after", event.lasted_ms),
    ] {
        words.extend((ms > 0).then(|| format!("{what} {}", duration(ms))));
    }
    words.extend((event.place > 0).then(|| format!("place {}", event.place)));
    words.extend((event.plan > 0).then(|| format!("plan {}", event.plan)));
    words.join(" ")
}

/// UTC to the second; empty for what no calendar has.
fn clock(utc_ms: u64) -> String {
    let seconds = i64::try_from(utc_ms / 1_000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map(|moment| moment.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: moments are written as people read them, over leap years and ends of months.
    #[test]
    fn moments() {
        for (ms, text) in [
            (999, "1970-01-01T00:00:00Z"),
            (951_782_399_000, "2000-02-28T23:59:59Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (951_868_800_000, "2000-03-01T00:00:00Z"),
            (1_735_689_599_000, "2024-12-31T23:59:59Z"),
            (1_800_000_000_000, "2027-01-15T08:00:00Z"),
            (u64::MAX, ""),
        ] {
            assert_eq!(clock(ms), text);
        }
    }

    // Goal: a place in the feed is read as ended commands write it; anything else is refused with a hint.
    #[test]
    fn places() {
        assert_eq!(place("oldest"), Ok(Place::Oldest));
        assert_eq!(place("48211"), Ok(Place::At(48_211, 0)));
        assert_eq!(place("48211:3"), Ok(Place::At(48_211, 3)));
        for wrong in ["", "newest", "1:", ":1", "1:2:3", "-1"] {
            assert!(place(wrong).is_err_and(|hint| hint.contains("48211:3")), "{wrong}");
        }
    }

    // Goal: JSON has what the kind has and no more, and always says where the event stands; the line for
    // people says it in words.
    #[test]
    fn forms() {
        let event = Event {
            index: 7,
            number: 0,
            kind: "contact-left".to_owned(),
            contact: "contact_0_7".to_owned(),
            queue: "sales".to_owned(),
            reason: "abandoned".to_owned(),
            waited_ms: 61_000,
            place: 2,
            utc_ms: 1_800_000_000_000,
            ..Event::default()
        };
        let fields = [
            r#""contact":"contact_0_7""#,
            r#""index":7"#,
            r#""kind":"contact-left""#,
            r#""number":0"#,
            r#""place":2"#,
            r#""position":0"#,
            r#""queue":"sales""#,
            r#""reason":"abandoned""#,
            r#""utc_ms":1800000000000"#,
            r#""waited_ms":61000"#,
        ];
        assert_eq!(json(&event).to_string(), format!("{{{}}}", fields.join(",")));
        assert_eq!(
            line(&event),
            "2027-01-15T08:00:00Z         7  contact-left        contact_0_7 sales (abandoned) waited \
             1m01s place 2"
        );
    }
}
