//! `tandem site`.

use std::time::Duration;

use clap::{Args, Subcommand};
use tandem_proto::api::v1::{
    ListSitesReply, ListSitesRequest, SetSiteCapRequest, SetSiteStateRequest, SetSiteWeightRequest,
    Site, SiteChangedReply,
};

use super::{
    CliError, Connection, Consistency, Form, Reading,
    connect::{Session, block_on},
    output,
};
use crate::rpc::sites_client::SitesClient;

/// How often a drain is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sites and their load.
    #[command(after_help = "Example:\n  tandem site list --output json")]
    List {
        #[command(flatten)]
        reading: Reading,
    },
    /// Give a site's agents new contacts, and its trunks new callers, again.
    #[command(after_help = "Example:\n  tandem site open lon")]
    Open {
        /// Which site.
        site: String,
    },
    /// Give a site's agents nothing new; who waits is served elsewhere, who talks goes on.
    #[command(
        after_help = "Examples:\n  tandem site drain lon\n  tandem site drain lon --wait      (until nobody rings or talks there)"
    )]
    Drain {
        /// Which site.
        site: String,
        /// Wait until its agents have finished what they had, and show how many are left.
        #[arg(long)]
        wait: bool,
    },
    /// As drain, and its trunks refuse new callers with 503, so that carriers send them elsewhere.
    #[command(after_help = "Example:\n  tandem site close lon")]
    Close {
        /// Which site.
        site: String,
    },
    /// Limit how many contacts a site's agents have at once, ringing or talking: a smaller trunk, a line
    /// between sites. Who is kept for a full site is served elsewhere.
    #[command(after_help = "Examples:\n  tandem site cap lon 200\n  tandem site cap lon none")]
    Cap {
        /// Which site.
        site: String,
        /// How many, or none for no cap.
        #[arg(value_name = "CONTACTS|none", value_parser = cap)]
        contacts_max: Cap,
    },
    /// Set the share of a site for queues with --site-choice weighted; 0 takes no contact.
    #[command(after_help = "Example:\n  tandem site weight lon 50")]
    Weight {
        /// Which site.
        site: String,
        /// 0-100.
        weight: u32,
    },
}

/// How many contacts at once; `None`: no cap.
#[derive(Debug, Clone, Copy)]
struct Cap(Option<u32>);

fn cap(text: &str) -> Result<Cap, String> {
    if text == "none" {
        return Ok(Cap(None));
    }
    let most = text.parse().map_err(|_| format!("{text:?} is neither a number nor none"))?;
    Ok(Cap(Some(most)))
}

pub(super) fn run(arguments: Arguments) -> Result<(), CliError> {
    let form = arguments.connection.output;
    let session = Session::new(&arguments.connection)?;
    block_on(async {
        match arguments.command {
            Command::List { reading } => {
                let reply = list(&session, reading.consistency).await?;
                output::print(form, &reply, table)
            }
            Command::Open { site } => set_state(&session, form, site, "open").await,
            Command::Close { site } => set_state(&session, form, site, "closed").await,
            Command::Drain { site, wait: false } => {
                set_state(&session, form, site, "draining").await
            }
            Command::Drain { site, wait: true } => {
                set_state(&session, form, site.clone(), "draining").await?;
                until_drained(&session, &site).await
            }
            Command::Cap { site, contacts_max: Cap(contacts_max) } => {
                let request =
                    SetSiteCapRequest { site, contacts_max, idempotency_key: session.key() };
                let reply = session
                    .change(|channel| {
                        let request = request.clone();
                        async { SitesClient::new(channel).set_cap(request).await }
                    })
                    .await?;
                output::print(form, &reply, |_| "done".to_owned())
            }
            Command::Weight { site, weight } => {
                let request = SetSiteWeightRequest { site, weight, idempotency_key: session.key() };
                let reply = session
                    .change(|channel| {
                        let request = request.clone();
                        async { SitesClient::new(channel).set_weight(request).await }
                    })
                    .await?;
                output::print(form, &reply, changed)
            }
        }
    })
}

async fn list(session: &Session, consistency: Consistency) -> Result<ListSitesReply, CliError> {
    let request = ListSitesRequest { consistency: consistency.into() };
    session.look(|channel| async move { SitesClient::new(channel).list(request).await }).await
}

async fn set_state(
    session: &Session,
    form: Form,
    site: String,
    state: &str,
) -> Result<(), CliError> {
    let request =
        SetSiteStateRequest { site, state: state.to_owned(), idempotency_key: session.key() };
    let reply = session
        .change(|channel| {
            let request = request.clone();
            async { SitesClient::new(channel).set_state(request).await }
        })
        .await?;
    output::print(form, &reply, changed)
}

async fn until_drained(session: &Session, name: &str) -> Result<(), CliError> {
    let mut before = None;
    loop {
        let sites = list(session, Consistency::Linearizable).await?.sites;
        let site = sites.into_iter().find(|site| site.name == name);
        let Some(Site { talking, ringing, .. }) = site else {
            return Err(CliError::Refused(format!("there is no site {name} any more")));
        };
        if before != Some((talking, ringing)) {
            output::say(&format!("{name}: {talking} talk, {ringing} ring"));
            before = Some((talking, ringing));
        }
        if talking + ringing == 0 {
            output::say(&format!("{name} is drained"));
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn changed(reply: &SiteChangedReply) -> String {
    let follow = if reply.more_follow { ", more follow" } else { "" };
    format!("done; {} waiting contacts prefer another site now{follow}", reply.moved)
}

fn table(reply: &ListSitesReply) -> String {
    let head = [
        "site",
        "region",
        "state",
        "weight",
        "cap",
        "logged in",
        "ready",
        "ringing",
        "talking",
        "waiting",
        "callers",
        "nodes",
    ];
    let rows = reply.sites.iter().map(|site| {
        [
            site.name.clone(),
            site.region.clone(),
            site.state.clone(),
            site.weight.to_string(),
            site.contacts_max.map_or_else(|| "-".to_owned(), |most| most.to_string()),
            site.agents_logged_in.to_string(),
            site.agents_ready.to_string(),
            site.ringing.to_string(),
            site.talking.to_string(),
            site.waiting.to_string(),
            site.callers.to_string(),
            site.nodes.join(" "),
        ]
    });
    output::table(head, rows)
}
