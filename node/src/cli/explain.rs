//! `tandem explain`.

use clap::Args;
use tandem_proto::api::v1::{Contact, Decision, ExplainRequest, Explanation};

use super::{
    CliError, Connection, Reading,
    connect::{Session, block_on},
    output::{self, duration, or_dash},
};
use crate::rpc::contacts_client::ContactsClient;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The contact: contact_0_123 (`tandem contact list`).
    id: String,
    /// Only why this agent has it, or has it not.
    #[arg(long, default_value = "")]
    agent: String,
    /// Agents at most.
    #[arg(long, default_value_t = 200)]
    limit: u32,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(arguments: Arguments) -> Result<(), CliError> {
    let form = arguments.connection.output;
    let session = Session::new(&arguments.connection)?;
    block_on(async {
        let request = ExplainRequest {
            consistency: arguments.reading.consistency.into(),
            id: arguments.id,
            agent: arguments.agent,
            limit: arguments.limit,
            tenant: session.tenant(),
        };
        let reply = session
            .look(|channel| {
                let request = request.clone();
                async { ContactsClient::new(channel).explain(request).await }
            })
            .await?;
        output::print(form, &reply, text)
    })
}

fn text(reply: &Explanation) -> String {
    let contact = reply.contact.clone().unwrap_or_default();
    let mut lines = vec![standing(&contact, reply.ahead)];
    lines.push(asks(&contact));
    if let Some(decision) = &reply.decision {
        lines.extend(chosen(decision));
    }
    for failed in &reply.failed_offers {
        lines.push(format!(
            "offer {} to {} came to nothing {} ago: {}",
            failed.offer,
            failed.agent,
            duration(failed.ago_ms),
            failed.how
        ));
    }
    let rows = reply.agents.iter().map(|agent| {
        [agent.name.clone(), agent.site.clone(), agent.why.clone(), or_dash(&agent.detail)]
    });
    let mut text = lines.join("\n");
    if !reply.agents.is_empty() {
        text = format!("{text}\n\n{}", output::table(["agent", "site", "why", "detail"], rows));
    }
    if reply.more_agents {
        text.push_str("\nthere are more: raise --limit");
    }
    text
}

fn standing(contact: &Contact, ahead: u64) -> String {
    let waited = duration(contact.waited_ms);
    match contact.state.as_str() {
        "queued" | "unconfirmed" => format!(
            "{} is {} in {} and has waited for {waited}; {ahead} go before it",
            contact.id, contact.state, contact.queue
        ),
        "offered" => format!(
            "{} rings at {}; it has waited in {} for {waited}",
            contact.id, contact.agent, contact.queue
        ),
        "connected" => format!(
            "{} talks with {} for {}; it waited in {} for {waited}",
            contact.id,
            contact.agent,
            duration(contact.talked_ms),
            contact.queue
        ),
        _ => format!(
            "{} is over ({}); it waited in {} for {waited}{}",
            contact.id,
            contact.end_reason,
            contact.queue,
            match contact.agent.as_str() {
                "" => String::new(),
                agent => format!(" and talked with {agent} for {}", duration(contact.talked_ms)),
            }
        ),
    }
}

fn asks(contact: &Contact) -> String {
    let mut parts = vec![format!("it asks for {}", contact.requirement)];
    if contact.step > 0 {
        parts.push(format!("step {} of its queue", contact.step));
    }
    if contact.reserve_levels > 0 {
        parts.push(format!("reserve agents up to level {}", contact.reserve_levels));
    }
    if contact.priority > 0 {
        parts.push(format!("priority {}", contact.priority));
    }
    if contact.urgent {
        parts.push("urgent".to_owned());
    }
    if contact.placed {
        parts.push("placed by hand".to_owned());
    }
    if !contact.waits_for.is_empty() {
        parts.push(format!("waits for {} alone", contact.waits_for));
    }
    parts.join(", ")
}

/// Why the latest offer went to whom it went.
fn chosen(decision: &Decision) -> Vec<String> {
    let why = match decision.choice.as_str() {
        "preferred" => "whom it waited for".to_owned(),
        "preferred-site" => format!("the first by {} of the preferred site", decision.strategy),
        "last-resort" => "who had dropped it before; nobody else was free".to_owned(),
        _ => format!("the first by {}", decision.strategy),
    };
    let occasion = match decision.occasion.as_str() {
        "agent-ready" => "when the agent became ready, as the first they may serve",
        "sweep" => "when several became free at once",
        _ => "when it came, or came back",
    };
    let mut lines = vec![format!(
        "offer {} went to {} at {} {} ago, {occasion}: {why}, idle for {}; {} in the line of {}",
        decision.offer,
        decision.agent,
        decision.site,
        duration(decision.ago_ms),
        duration(decision.idle_ms),
        decision.queue_len,
        decision.queue
    )];
    if !decision.next_agent.is_empty() {
        lines.push(format!(
            "next would have been {}, idle for {}{}",
            decision.next_agent,
            duration(decision.next_idle_ms),
            match (
                by_strategy(&decision.strategy, decision.rank),
                by_strategy(&decision.strategy, decision.next_rank),
            ) {
                (Some(ours), Some(theirs)) => format!(" ({theirs}, against {ours})"),
                _ => String::new(),
            }
        ));
    }
    lines
}

/// What a rank says to people; `None` where it is the idle time alone, or chance.
fn by_strategy(strategy: &str, rank: u64) -> Option<String> {
    match strategy {
        "most-skilled" => Some(format!("levels {}", u64::MAX - rank)),
        "least-skilled" => Some(format!("levels {rank}")),
        "fewest-contacts" => Some(format!("{rank} contacts")),
        "least-talk-time" => Some(format!("talked for {}", duration(rank))),
        "lowest-occupancy" => Some(format!("occupied {}.{} %", rank / 10_000, rank / 1_000 % 10)),
        "linear" => Some(format!("tier {}:{}", rank >> 16, rank & 0xffff)),
        "round-robin" if rank == 0 => Some("never asked".to_owned()),
        "round-robin" => Some(format!("last asked at {rank}")),
        _ => None,
    }
}
