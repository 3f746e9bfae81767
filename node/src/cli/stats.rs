//! `tandem stats`.

use clap::Args;
use tandem_proto::api::v1::{IntervalsReply, IntervalsRequest};

use super::{
    CliError, Connection, Reading,
    connect::{Session, block_on},
    output::{self, duration, or_dash},
};
use crate::rpc::statistics_client::StatisticsClient;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Only this queue, and no sites.
    #[arg(long, default_value = "")]
    queue: String,
    /// Only this agent, and neither queues nor sites.
    #[arg(long, default_value = "", conflicts_with = "queue")]
    agent: String,
    /// All agents, and neither queues nor sites.
    #[arg(long, conflicts_with_all = ["queue", "agent"])]
    agents: bool,
    /// How many quarters of an hour, the running one included; they are kept for two days.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=192))]
    last: u32,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(arguments: Arguments) -> Result<(), CliError> {
    let form = arguments.connection.output;
    let session = Session::new(&arguments.connection)?;
    let of_agents = arguments.agents || !arguments.agent.is_empty();
    block_on(async {
        let request = IntervalsRequest {
            consistency: arguments.reading.consistency.into(),
            queue: arguments.queue,
            last: arguments.last,
            tenant: session.tenant(),
            agent: arguments.agent,
            agents: arguments.agents,
        };
        let reply = session
            .look(|channel| {
                let request = request.clone();
                async { StatisticsClient::new(channel).intervals(request).await }
            })
            .await?;
        output::print(form, &reply, if of_agents { agents } else { text })
    })
}

fn text(reply: &IntervalsReply) -> String {
    let now = reply.as_of.map_or(0, |as_of| as_of.cluster_time_ms);
    let ago = |start: u64| duration(now.saturating_sub(start));
    let queues = reply.queues.iter().map(|row| {
        [
            ago(row.start_ms),
            row.queue.clone(),
            row.offered.to_string(),
            row.answered.to_string(),
            row.abandoned.to_string(),
            percent(row.service_level_ppm),
            percent(row.service_level_2_ppm),
            time(row.speed_of_answer_ms),
            duration(row.wait_max_ms),
            time(row.handle_time_ms),
        ]
    });
    let head = [
        "began ago",
        "queue",
        "offered",
        "answered",
        "abandoned",
        "SL",
        "SL2",
        "ASA",
        "longest",
        "AHT",
    ];
    let mut text = output::table(head, queues);
    if !reply.sites.is_empty() {
        let sites = reply.sites.iter().map(|row| {
            [
                ago(row.start_ms),
                row.site.clone(),
                row.answered.to_string(),
                row.from_elsewhere.to_string(),
                percent(row.occupancy_ppm),
                duration(row.talk_ms),
                duration(row.wrap_up_ms),
                duration(row.available_ms),
            ]
        });
        let head = [
            "began ago",
            "site",
            "answered",
            "from elsewhere",
            "occupancy",
            "talk",
            "wrap-up",
            "ready",
        ];
        text = format!("{text}\n\n{}", output::table(head, sites));
    }
    text
}

fn agents(reply: &IntervalsReply) -> String {
    let now = reply.as_of.map_or(0, |as_of| as_of.cluster_time_ms);
    let rows = reply.agents.iter().map(|row| {
        [
            duration(now.saturating_sub(row.start_ms)),
            if row.agent.is_empty() { "(removed)".to_owned() } else { row.agent.clone() },
            or_dash(&row.site),
            row.offers.to_string(),
            row.answered.to_string(),
            row.missed.to_string(),
            percent(row.occupancy_ppm),
            duration(row.talk_ms),
            duration(row.wrap_up_ms),
            duration(row.ringing_ms),
            duration(row.available_ms),
            duration(row.not_ready_ms),
        ]
    });
    let head = [
        "began ago",
        "agent",
        "site",
        "offers",
        "answered",
        "missed",
        "occupancy",
        "talk",
        "wrap-up",
        "ringing",
        "ready",
        "not ready",
    ];
    output::table(head, rows)
}

fn percent(ppm: Option<u64>) -> String {
    ppm.map_or_else(|| "-".to_owned(), |ppm| format!("{}.{} %", ppm / 10_000, ppm / 1_000 % 10))
}

fn time(ms: Option<u64>) -> String {
    ms.map_or_else(|| "-".to_owned(), duration)
}
