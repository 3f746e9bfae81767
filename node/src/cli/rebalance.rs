//! `tandem rebalance`.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use tandem_proto::api::v1::{
    MembershipChange, Plan, PlanPreview, PlanReply, PlanRequest, PlanStatusReply,
    PlanStatusRequest, UndoPlanRequest,
};

use super::{
    CliError, Connection, Reading,
    connect::{Session, block_on},
    output::{self, duration},
};
use crate::rpc::rebalance_client::RebalanceClient;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What a plan would do: who would move, and the expected waits before and after. Changes nothing.
    #[command(
        after_help = "Examples:\n  tandem rebalance preview --weight lon=20 --weight fra=80\n  tandem rebalance preview --weight lon=50 --agent amy=+sales --agent bob=-sales"
    )]
    Preview(Change),
    /// Carry a plan out, in steps: new contacts, who waits already and agents' queues move together.
    /// Everybody keeps the time of arrival.
    #[command(
        after_help = "Example:\n  tandem rebalance apply --weight lon=20 --weight fra=80 --steps 4 --every 30"
    )]
    Apply(Change),
    /// Plans and how far they are.
    #[command(after_help = "Example:\n  tandem rebalance status")]
    Status {
        #[command(flatten)]
        reading: Reading,
    },
    /// Take a plan back, in the same steps.
    #[command(after_help = "Example:\n  tandem rebalance undo 4711")]
    Undo {
        /// Its number (tandem rebalance status).
        plan: u64,
    },
}

#[derive(Debug, Args)]
struct Change {
    /// A site's new weight, 0-100; may be repeated.
    #[arg(long = "weight", value_name = "SITE=WEIGHT", value_parser = weight)]
    weights: Vec<(String, u32)>,
    /// A queue that an agent is to serve (+) or to serve no more (-); may be repeated.
    #[arg(long = "agent", value_name = "AGENT=+QUEUE|-QUEUE", value_parser = membership)]
    agents: Vec<(String, Membership)>,
    /// In how many steps.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20))]
    steps: u32,
    /// Time between two steps, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
}

#[derive(Debug, Clone)]
enum Membership {
    Join(String),
    Leave(String),
}

pub(super) fn run(arguments: Arguments) -> Result<(), CliError> {
    let form = arguments.connection.output;
    let session = Session::new(&arguments.connection)?;
    block_on(async {
        match arguments.command {
            Command::Preview(change) => {
                let request = change.into_wire(String::new(), session.tenant());
                let reply = session
                    .look(|channel| {
                        let request = request.clone();
                        async { RebalanceClient::new(channel).preview(request).await }
                    })
                    .await?;
                output::print(form, &reply, preview)
            }
            Command::Apply(change) => {
                let request = change.into_wire(session.key(), session.tenant());
                let reply = session
                    .change(|channel| {
                        let request = request.clone();
                        async { RebalanceClient::new(channel).apply(request).await }
                    })
                    .await?;
                output::print(form, &reply, begun)
            }
            Command::Status { reading } => {
                let request = PlanStatusRequest {
                    consistency: reading.consistency.into(),
                    tenant: session.tenant(),
                };
                let reply = session
                    .look(|channel| {
                        let request = request.clone();
                        async { RebalanceClient::new(channel).status(request).await }
                    })
                    .await?;
                output::print(form, &reply, status)
            }
            Command::Undo { plan } => {
                let request = UndoPlanRequest {
                    plan,
                    idempotency_key: session.key(),
                    tenant: session.tenant(),
                };
                let reply = session
                    .change(|channel| {
                        let request = request.clone();
                        async { RebalanceClient::new(channel).undo(request).await }
                    })
                    .await?;
                output::print(form, &reply, begun)
            }
        }
    })
}

impl Change {
    fn into_wire(self, idempotency_key: String, tenant: String) -> PlanRequest {
        let mut agents: BTreeMap<String, MembershipChange> = BTreeMap::new();
        for (agent, change) in self.agents {
            let of_agent = agents.entry(agent.clone()).or_default();
            of_agent.agent = agent;
            match change {
                Membership::Join(queue) => of_agent.join.push(queue),
                Membership::Leave(queue) => of_agent.leave.push(queue),
            }
        }
        PlanRequest {
            weights: self.weights.into_iter().collect(),
            agents: agents.into_values().collect(),
            steps: self.steps,
            every_ms: self.every.saturating_mul(1_000),
            idempotency_key,
            tenant,
        }
    }
}

fn weight(text: &str) -> Result<(String, u32), String> {
    let (site, weight) = text.split_once('=').ok_or("write it as site=weight, such as lon=20")?;
    let weight = weight.parse().map_err(|_| format!("{weight:?} is no weight from 0 to 100"))?;
    Ok((site.to_owned(), weight))
}

fn membership(text: &str) -> Result<(String, Membership), String> {
    let (agent, queue) = text
        .split_once('=')
        .ok_or("write it as agent=+queue or agent=-queue, such as amy=+sales")?;
    let change = match (queue.strip_prefix('+'), queue.strip_prefix('-')) {
        (Some(queue), _) => Membership::Join(queue.to_owned()),
        (_, Some(queue)) => Membership::Leave(queue.to_owned()),
        _ => return Err(format!("{queue:?} begins with neither + nor -")),
    };
    Ok((agent.to_owned(), change))
}

fn preview(reply: &PlanPreview) -> String {
    let wait = |ms: Option<u64>| ms.map_or_else(|| "nobody there".to_owned(), duration);
    let rows = reply.places.iter().map(|place| {
        [
            place.queue.clone(),
            place.site.clone(),
            format!("{} -> {}", place.waiting_before, place.waiting_after),
            format!("{} -> {}", place.agents_before, place.agents_after),
            format!(
                "{} -> {}",
                wait(place.expected_wait_before_ms),
                wait(place.expected_wait_after_ms)
            ),
        ]
    });
    let table = output::table(["queue", "site", "waiting", "agents", "expected wait"], rows);
    format!(
        "{} waiting contacts would move, {} agents would serve other queues; {} contacts would be left with \
         nobody at work\n\n{table}",
        reply.moved, reply.agents, reply.stranded
    )
}

fn begun(reply: &PlanReply) -> String {
    format!("plan {} is under way; tandem rebalance status shows how far it is", reply.plan)
}

fn status(reply: &PlanStatusReply) -> String {
    let rows = reply.plans.iter().map(|plan| {
        [
            plan.id.to_string(),
            plan.state.clone(),
            format!("{} of {}", plan.taken, plan.steps),
            plan.next_in_ms.map_or_else(|| "-".to_owned(), duration),
            duration(plan.began_ago_ms),
            changes(plan),
        ]
    });
    output::table(["plan", "state", "steps", "next in", "began ago", "changes"], rows)
}

fn changes(plan: &Plan) -> String {
    let weights = plan.weights.iter().map(|change| {
        format!("{} {} -> {} (now {})", change.site, change.from, change.to, change.now)
    });
    let agents = plan.agents.iter().map(|change| {
        let join = change.join.iter().map(|queue| format!("+{queue}"));
        let leave = change.leave.iter().map(|queue| format!("-{queue}"));
        format!("{} {}", change.agent, join.chain(leave).collect::<Vec<_>>().join(" "))
    });
    weights.chain(agents).collect::<Vec<_>>().join(", ")
}
