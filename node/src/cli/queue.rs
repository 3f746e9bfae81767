//! `tandem queue`.

use clap::{Args, Subcommand, ValueEnum, builder::PossibleValuesParser};
use tandem_proto::api::v1::{
    AfterDecline, Also, Balance, Hours, LastAgent, ListNumbersReply, ListNumbersRequest,
    ListQueuesReply, ListQueuesRequest, ListRule, Number, Overflow, PutNumberRequest,
    PutQueueRequest, PutReply, Queue, RemoveNumberRequest, RemoveQueueRequest, Step, Urgency,
    list_rule::Rule,
};
use tandem_routing::strategy::Strategy;

use super::{
    CliError, Connection, Reading,
    connect::{Session, block_on},
    output::{self, duration, or_dash},
    retire,
};
use crate::rpc::queues_client::QueuesClient;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Queues and how full they are.
    #[command(after_help = "Example:\n  tandem queue list")]
    List {
        #[command(flatten)]
        reading: Reading,
    },
    /// Create or change a queue. What is not given gets its default.
    #[command(
        after_help = "Examples:\n  tandem queue put sales\n  tandem queue put support --requirement 'spanish>=5 and (billing or sales)' --ring 20 --wrap-up 30\n  tandem queue put vip --strategy most-skilled --weight 10\n  tandem queue put support --requirement 'spanish >= 7' --step '20:spanish >= 3' --step '60:anybody' --reserve-after 40\n  tandem queue put sales --overflow expected:300=support --overflow waited:120=support --overflow unstaffed=away\n  tandem queue put sales --also support:60      (after a minute, agents of support are asked too)\n  tandem queue put sales --hours office --overflow closed=night --leave-at-close\n  tandem queue put urgent --strategy ring-all --ring 30"
    )]
    Put(Box<PutArguments>),
    /// Remove an empty queue that no number leads to.
    #[command(after_help = "Example:\n  tandem queue remove sales")]
    Remove {
        /// Which queue.
        name: String,
    },
    /// Remove a queue that is in use: who waits goes elsewhere, numbers follow, agents serve it no more.
    /// Shows what will happen and asks.
    #[command(
        after_help = "Examples:\n  tandem queue retire sales --to support\n  tandem queue retire sales --to support --yes\n  tandem queue retire sales      (who waits is hung up, its numbers are out of service)"
    )]
    Retire(retire::Arguments),
    /// Called numbers and where they lead.
    #[command(after_help = "Example:\n  tandem queue numbers")]
    Numbers {
        #[command(flatten)]
        reading: Reading,
    },
    /// Let a called number lead to a queue.
    #[command(
        after_help = "Examples:\n  tandem queue number 8000 --queue sales\n  tandem queue number +442071838750 --queue support --requirement 'french' --priority 5\n  tandem queue number 8001 --queue sales --prefer amy:20\n  tandem queue number 8002 --queue vip --only members --list-priority gold=5 --refuse annoying"
    )]
    Number {
        /// The number as it is called.
        number: String,
        /// Where its callers wait.
        #[arg(long)]
        queue: String,
        /// What an agent must meet besides the queue's requirement.
        #[arg(long, default_value = "")]
        requirement: String,
        /// 0-10, higher first.
        #[arg(long, default_value_t = 0)]
        priority: u32,
        /// The agent that its callers ask for, and for how long they wait for that one alone.
        #[arg(long, value_name = "AGENT:SECONDS", value_parser = preferred)]
        prefer: Option<(String, u64)>,
        #[command(flatten)]
        lists: ListArguments,
    },
    /// Take a called number out of service.
    #[command(after_help = "Example:\n  tandem queue remove-number 8000")]
    RemoveNumber {
        /// The number.
        number: String,
    },
}

#[derive(Debug, Args)]
struct ListArguments {
    /// A list of callers (`tandem callers`) who are refused (603); may be repeated.
    #[arg(long, value_name = "LIST")]
    refuse: Vec<String>,
    /// A list of callers beside whom everybody is refused, also who withholds the number.
    #[arg(long, value_name = "LIST")]
    only: Vec<String>,
    /// A list of callers who have this priority; may be repeated, the last one that fits counts.
    #[arg(long = "list-priority", value_name = "LIST=PRIORITY", value_parser = list_priority)]
    priorities: Vec<(String, u32)>,
}

impl ListArguments {
    fn into_wire(self) -> Vec<ListRule> {
        let rule = |list, rule| ListRule { list, rule: Some(rule) };
        let refuse = self.refuse.into_iter().map(|list| rule(list, Rule::Refuse(true)));
        let only = self.only.into_iter().map(|list| rule(list, Rule::Only(true)));
        let priorities = self.priorities.into_iter();
        let priorities = priorities.map(|(list, priority)| rule(list, Rule::Priority(priority)));
        refuse.chain(only).chain(priorities).collect()
    }
}

#[derive(Debug, Args)]
struct PutArguments {
    /// Name of the queue.
    name: String,
    /// What an agent must meet, as an expression over skills and sites; empty: anybody.
    #[arg(long, default_value = "")]
    requirement: String,
    /// Importance against other queues that share agents, 0-100.
    #[arg(long, default_value_t = 0)]
    weight: u32,
    /// Which site's agents are preferred.
    #[arg(long, value_enum, default_value_t = SiteChoice::Any)]
    site_choice: SiteChoice,
    /// For how long after arrival only they are asked, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=3600))]
    widen_after: u64,
    /// How long a phone rings, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=300))]
    ring: u64,
    /// After-contact work, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=3600))]
    wrap_up: u64,
    /// Waiting contacts at most; more callers hear busy.
    #[arg(long, default_value_t = 1_000)]
    length_max: u32,
    /// Longest wait in seconds; 0: no limit.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=86400))]
    wait_max: u64,
    /// Who is asked among those who may take a contact.
    #[arg(long, default_value = "longest-idle", value_parser = strategies())]
    strategy: String,
    #[command(flatten)]
    timed: TimedArguments,
}

#[derive(Debug, Args)]
struct TimedArguments {
    /// What is asked of agents instead, once a contact has waited for so long; may be repeated, in the order
    /// of the times. With '!' at the end, what the called number asks besides counts no more.
    #[arg(long = "step", value_name = "SECONDS:REQUIREMENT", value_parser = step)]
    steps: Vec<Step>,
    /// Agents of the next reserve level are asked too, once a contact has waited for so long; may be
    /// repeated, rising.
    #[arg(long, value_name = "SECONDS")]
    reserve_after: Vec<u64>,
    /// A contact that has waited for so long counts as if it had arrived so much earlier.
    #[arg(long, value_name = "SECONDS:SECONDS", value_parser = two_times)]
    urgent: Option<(u64, u64)>,
    /// For how long an agent is spared who did not answer; 0: until they say that they are ready.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    after_rona: u64,
    /// The same for who refused.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    after_refused: u64,
    /// The same for whose phone was busy.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    after_busy: u64,
    /// The same for whose phone could not be reached.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    after_unreachable: u64,
    /// After-contact work with all its extensions (`tandem agent extend`); 0: it cannot be extended.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wrap_up_max: u64,
    /// When a contact leaves for another queue, or away: waited:SECONDS, length:N, expected:SECONDS, unstaffed
    /// or closed; may be repeated, the first that applies counts.
    #[arg(long, value_name = "WHEN=QUEUE|away", value_parser = overflow)]
    overflow: Vec<Overflow>,
    /// A further queue in which contacts wait as well, at once or after so many seconds in this one; may be
    /// repeated. They keep their place, and go to the first agent of either.
    #[arg(long, value_name = "QUEUE[:SECONDS]", value_parser = also)]
    also: Vec<Also>,
    /// How --site-choice balanced spreads load: expected-wait:20 or occupancy:10:60 (what is equal; by how
    /// many percent a site's load must exceed another's; how many contacts go elsewhere in a minute).
    #[arg(long, value_name = "BY[:PERCENT[:MOVES]]", value_parser = balance)]
    balance: Option<Balance>,
    /// The opening hours that it goes by (`tandem calendar`); always open when not given. Who comes when it is
    /// closed goes by --overflow closed=QUEUE, or is refused (480).
    #[arg(long, value_name = "CALENDAR")]
    hours: Option<String>,
    /// Those who wait when it closes leave as those who come later; otherwise they are served.
    #[arg(long, requires = "hours")]
    leave_at_close: bool,
    /// Within which time a contact should be answered: for the service level (`tandem stats`).
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=86400))]
    answer_within: u64,
    /// A caller who comes back waits for the agent they talked with last: for how long, and how long that
    /// is remembered.
    #[arg(long, value_name = "SECONDS:SECONDS", value_parser = two_times)]
    last_agent: Option<(u64, u64)>,
}

impl TimedArguments {
    fn into_wire(self, queue: &mut Queue) {
        let ms = |s: u64| s.saturating_mul(1_000);
        queue.steps = self.steps;
        queue.reserve_after_ms = self.reserve_after.into_iter().map(ms).collect();
        queue.urgency = self.urgent.map(|(after_ms, advance_ms)| Urgency { after_ms, advance_ms });
        queue.after_decline = Some(AfterDecline {
            not_answered_ms: ms(self.after_rona),
            refused_ms: ms(self.after_refused),
            busy_ms: ms(self.after_busy),
            unreachable_ms: ms(self.after_unreachable),
        });
        queue.overflow = self.overflow;
        queue.also = self.also;
        let leave_at_close = self.leave_at_close;
        queue.balance = self.balance;
        queue.hours = self.hours.map(|calendar| Hours { calendar, leave_at_close });
        queue.wrap_up_max_ms = ms(self.wrap_up_max);
        queue.answer_within_ms = ms(self.answer_within);
        queue.last_agent = self
            .last_agent
            .map(|(patience_ms, remembered_ms)| LastAgent { patience_ms, remembered_ms });
    }
}

/// Seconds before a colon, and what is behind it.
fn timed(text: &str) -> Result<(u64, &str), String> {
    let (seconds, rest) = text.split_once(':').ok_or("write it as SECONDS:…, such as 20:…")?;
    let seconds: u64 =
        seconds.parse().map_err(|_| format!("{seconds:?} is no number of seconds"))?;
    Ok((seconds.saturating_mul(1_000), rest))
}

fn step(text: &str) -> Result<Step, String> {
    let (after_ms, requirement) = timed(text)?;
    let (requirement, drop_own) =
        requirement.strip_suffix('!').map_or((requirement, false), |asked| (asked, true));
    Ok(Step { after_ms, requirement: requirement.to_owned(), drop_own })
}

/// Two times in milliseconds.
fn two_times(text: &str) -> Result<(u64, u64), String> {
    let (first, rest) = timed(text)?;
    let second: u64 = rest.parse().map_err(|_| format!("{rest:?} is no number of seconds"))?;
    Ok((first, second.saturating_mul(1_000)))
}

fn overflow(text: &str) -> Result<Overflow, String> {
    use tandem_proto::api::v1::overflow::When;
    let form = "write it as waited:20=other, length:50=other, expected:300=other, closed=other or \
                unstaffed=away";
    let (when, to) = text.split_once('=').ok_or(form)?;
    let number =
        |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is no number; {form}"));
    let ms = |text: &str| number(text).map(|seconds| seconds.saturating_mul(1_000));
    let when = match when.split_once(':') {
        Some(("waited", seconds)) => When::WaitedMs(ms(seconds)?),
        Some(("expected", seconds)) => When::ExpectedWaitMs(ms(seconds)?),
        Some(("length", length)) => {
            When::Length(u32::try_from(number(length)?).map_err(|_| form.to_owned())?)
        }
        None if when == "unstaffed" => When::Unstaffed(true),
        None if when == "closed" => When::Closed(true),
        _ => return Err(form.to_owned()),
    };
    let to = if to == "away" { String::new() } else { to.to_owned() };
    Ok(Overflow { when: Some(when), to })
}

fn also(text: &str) -> Result<Also, String> {
    let (queue, seconds) = text.split_once(':').unwrap_or((text, "0"));
    let seconds: u64 =
        seconds.parse().map_err(|_| format!("{seconds:?} is no number of seconds"))?;
    Ok(Also { queue: queue.to_owned(), after_ms: seconds.saturating_mul(1_000) })
}

fn preferred(text: &str) -> Result<(String, u64), String> {
    let (agent, seconds) =
        text.split_once(':').ok_or("write it as AGENT:SECONDS, such as amy:20")?;
    let seconds: u64 =
        seconds.parse().map_err(|_| format!("{seconds:?} is no number of seconds"))?;
    Ok((agent.to_owned(), seconds.saturating_mul(1_000)))
}

fn list_priority(text: &str) -> Result<(String, u32), String> {
    let (list, priority) =
        text.split_once('=').ok_or("write it as list=priority, such as gold=5")?;
    let priority =
        priority.parse().map_err(|_| format!("{priority:?} is no priority from 0 to 10"))?;
    Ok((list.to_owned(), priority))
}

fn strategies() -> PossibleValuesParser {
    PossibleValuesParser::new(Strategy::ALL.iter().map(|(_, name)| *name))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SiteChoice {
    /// Whoever has been idle longest, wherever they sit.
    Any,
    /// Agents of the site where the caller came in, if one is ready.
    Nearest,
    /// Sites in proportion to their weights.
    Weighted,
    /// The caller's own site, unless another has so much less load (--balance).
    Balanced,
}

/// `expected-wait:20`, `occupancy:10:60`.
fn balance(text: &str) -> Result<Balance, String> {
    let form = "write it as expected-wait:20 or occupancy:10:60: what is equal, by how many percent a \
                site's load must exceed another's, and how many contacts go elsewhere in a minute";
    let mut parts = text.split(':');
    let by = parts.next().unwrap_or_default().to_owned();
    let number = |part: Option<&str>, default| {
        part.map_or(Ok(default), |text| text.parse::<u32>().map_err(|_| form.to_owned()))
    };
    let hysteresis_percent = number(parts.next(), 20)?;
    let moves_per_minute_max = number(parts.next(), 0)?;
    let known = matches!(by.as_str(), "expected-wait" | "occupancy");
    if !known || parts.next().is_some() {
        return Err(form.to_owned());
    }
    Ok(Balance { by, hysteresis_percent, moves_per_minute_max })
}

pub(super) fn run(arguments: Arguments) -> Result<(), CliError> {
    let form = arguments.connection.output;
    let session = Session::new(&arguments.connection)?;
    let key = session.key();
    block_on(async {
        match arguments.command {
            Command::List { reading } => {
                let request = ListQueuesRequest {
                    consistency: reading.consistency.into(),
                    tenant: session.tenant(),
                };
                let reply = session
                    .look(|channel| {
                        let request = request.clone();
                        async { QueuesClient::new(channel).list(request).await }
                    })
                    .await?;
                output::print(form, &reply, table)
            }
            Command::Numbers { reading } => {
                let request = ListNumbersRequest {
                    consistency: reading.consistency.into(),
                    tenant: session.tenant(),
                };
                let reply = session
                    .look(|channel| {
                        let request = request.clone();
                        async { QueuesClient::new(channel).list_numbers(request).await }
                    })
                    .await?;
                output::print(form, &reply, numbers)
            }
            Command::Put(queue) => {
                let request = PutQueueRequest {
                    queue: Some(queue.into_wire()),
                    idempotency_key: key,
                    tenant: session.tenant(),
                };
                let reply = session
                    .change(|channel| {
                        let request = request.clone();
                        async { QueuesClient::new(channel).put(request).await }
                    })
                    .await?;
                output::print(form, &reply, put)
            }
            Command::Remove { name } => {
                let request =
                    RemoveQueueRequest { name, idempotency_key: key, tenant: session.tenant() };
                let reply = session
                    .change(|channel| {
                        let request = request.clone();
                        async { QueuesClient::new(channel).remove(request).await }
                    })
                    .await?;
                output::print(form, &reply, put)
            }
            Command::Retire(arguments) => retire::run(&session, form, arguments).await,
            Command::Number { number, queue, requirement, priority, prefer, lists } => {
                let (prefers_agent, prefers_patience_ms) = prefer.unwrap_or_default();
                let number = Some(Number {
                    lists: lists.into_wire(),
                    number,
                    queue,
                    requirement,
                    priority,
                    prefers_agent,
                    prefers_patience_ms,
                });
                let request =
                    PutNumberRequest { number, idempotency_key: key, tenant: session.tenant() };
                let reply = session
                    .change(|channel| {
                        let request = request.clone();
                        async { QueuesClient::new(channel).put_number(request).await }
                    })
                    .await?;
                output::print(form, &reply, put)
            }
            Command::RemoveNumber { number } => {
                let request =
                    RemoveNumberRequest { number, idempotency_key: key, tenant: session.tenant() };
                let reply = session
                    .change(|channel| {
                        let request = request.clone();
                        async { QueuesClient::new(channel).remove_number(request).await }
                    })
                    .await?;
                output::print(form, &reply, put)
            }
        }
    })
}

impl PutArguments {
    fn into_wire(self) -> Queue {
        let ms = |s: u64| s.saturating_mul(1_000);
        let mut queue = Queue {
            name: self.name,
            requirement: self.requirement,
            weight: self.weight,
            site_choice: match self.site_choice {
                SiteChoice::Any => "any",
                SiteChoice::Nearest => "nearest",
                SiteChoice::Weighted => "weighted",
                SiteChoice::Balanced => "balanced",
            }
            .to_owned(),
            widen_after_ms: ms(self.widen_after),
            ring_ms: ms(self.ring),
            wrap_up_ms: ms(self.wrap_up),
            length_max: self.length_max,
            wait_max_ms: ms(self.wait_max),
            strategy: self.strategy,
            ..Queue::default()
        };
        self.timed.into_wire(&mut queue);
        queue
    }
}

/// What a change of configuration answers.
pub(super) fn put(reply: &PutReply) -> String {
    if reply.new_skills.is_empty() {
        return "done".to_owned();
    }
    format!("done; named here for the first time: {}", reply.new_skills.join(", "))
}

fn table(reply: &ListQueuesReply) -> String {
    let head = [
        "queue",
        "state",
        "waiting",
        "ringing",
        "talking",
        "longest wait",
        "expected wait",
        "ready",
        "logged in",
        "strategy",
        "requirement",
    ];
    let rows = reply.queues.iter().map(|status| {
        let queue = status.queue.clone().unwrap_or_default();
        [
            queue.name,
            match status.retires_to.as_str() {
                "" => status.state.clone(),
                to => format!("{} (to {to})", status.state),
            },
            status.waiting.to_string(),
            status.offered.to_string(),
            status.connected.to_string(),
            duration(status.longest_wait_ms),
            status.expected_wait_ms.map_or_else(|| "nobody there".to_owned(), duration),
            status.agents_ready.to_string(),
            status.agents_logged_in.to_string(),
            queue.strategy,
            or_dash(&queue.requirement),
        ]
    });
    output::table(head, rows)
}

fn numbers(reply: &ListNumbersReply) -> String {
    let rows = reply.numbers.iter().map(|number| {
        [
            number.number.clone(),
            number.queue.clone(),
            number.priority.to_string(),
            or_dash(&number.requirement),
            or_dash(&number.lists.iter().map(list_rule).collect::<Vec<_>>().join(" ")),
        ]
    });
    output::table(["number", "queue", "priority", "requirement", "lists"], rows)
}

/// A rule for callers in a list, as its option says it.
fn list_rule(rule: &ListRule) -> String {
    let list = &rule.list;
    match rule.rule {
        Some(Rule::Refuse(_)) => format!("refuse:{list}"),
        Some(Rule::Only(_)) => format!("only:{list}"),
        Some(Rule::Priority(priority)) => format!("{list}={priority}"),
        None => list.clone(),
    }
}
