//! `tandem queue retire`: shows what taking a queue out does, asks, and does it.

use std::io::{BufRead, IsTerminal};

use clap::Args;
use tandem_proto::api::v1::{RetirePreview, RetireQueueRequest};

use super::{
    CliError, Form,
    connect::Session,
    output::{self, or_dash},
};
use crate::rpc::queues_client::QueuesClient;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Which queue.
    name: String,
    /// Where those who wait go, with their times of arrival, and where its numbers lead then; without it they
    /// are hung up, and the numbers are out of service.
    #[arg(long, value_name = "QUEUE")]
    to: Option<String>,
    /// Do it without asking.
    #[arg(long)]
    yes: bool,
}

pub(super) async fn run(
    session: &Session,
    form: Form,
    arguments: Arguments,
) -> Result<(), CliError> {
    let request = RetireQueueRequest {
        name: arguments.name,
        to: arguments.to.unwrap_or_default(),
        idempotency_key: session.key(),
        tenant: session.tenant(),
    };
    let preview = session
        .look(|channel| {
            let request = request.clone();
            async { QueuesClient::new(channel).preview_retire(request).await }
        })
        .await?;
    output::say(&effects(&request, &preview));
    if !arguments.yes && !is_confirmed(&request.name)? {
        return Err(CliError::Refused("nothing was changed".to_owned()));
    }
    let reply = session
        .change(|channel| {
            let request = request.clone();
            async { QueuesClient::new(channel).retire(request).await }
        })
        .await?;
    output::print(form, &reply, |_| {
        format!("{} is being removed; tandem queue list shows it until it is gone", request.name)
    })
}

/// Asks the person; without one, `--yes` is needed.
fn is_confirmed(queue: &str) -> Result<bool, CliError> {
    if !std::io::stdin().is_terminal() {
        return Err(CliError::Refused("nobody can be asked here: give --yes to do it".to_owned()));
    }
    output::say(&format!("type the queue's name to remove {queue}, anything else to leave it:"));
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.map_err(|error| CliError::Local(format!("the answer cannot be read: {error}")))?;
    Ok(line.trim() == queue)
}

fn effects(request: &RetireQueueRequest, preview: &RetirePreview) -> String {
    let (waiting, numbers) = match request.to.as_str() {
        "" => ("are hung up".to_owned(), "are out of service".to_owned()),
        to => (format!("go to {to} with their times of arrival"), format!("lead to {to}")),
    };
    let abroad = match preview.agents_abroad {
        0 => String::new(),
        abroad => format!(" ({abroad} of other tenants)"),
    };
    format!(
        "removing {}:\n  {} contacts that wait {waiting}; {} conversations go on to their end\n  its numbers \
         {numbers}: {}\n  overflow rules that lead to it are dropped, of: {}\n  {} agents serve it no \
         more{abroad}",
        request.name,
        preview.waiting,
        preview.connected,
        or_dash(&preview.numbers.join(" ")),
        or_dash(&preview.overflows.join(" ")),
        preview.agents,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a person reads what becomes of callers and numbers, with a destination and without.
    #[test]
    fn effects_are_told() {
        let preview = RetirePreview {
            waiting: 3,
            connected: 1,
            numbers: vec!["8000".to_owned(), "8001".to_owned()],
            agents: 7,
            agents_abroad: 2,
            ..RetirePreview::default()
        };
        let name = "sales".to_owned();
        let away = RetireQueueRequest { name, ..RetireQueueRequest::default() };
        let moved = RetireQueueRequest { to: "support".to_owned(), ..away.clone() };
        let text = effects(&moved, &preview);
        for part in
            ["3 contacts that wait go to support", "lead to support: 8000 8001", "(2 of other"]
        {
            assert!(text.contains(part), "{text}");
        }
        let text = effects(&away, &preview);
        assert!(text.contains("are hung up") && text.contains("out of service"), "{text}");
    }
}
