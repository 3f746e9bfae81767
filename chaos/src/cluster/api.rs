//! The operators' API of one node.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, Result};
use tandem_proto::api::v1 as api;
use tonic::{
    Response, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use crate::rpc::{
    agents_client::AgentsClient, cluster_client::ClusterClient, contacts_client::ContactsClient,
    queues_client::QueuesClient, sites_client::SitesClient,
};

/// Role name of nodes in certificates.
const NODE: &str = "node.tandem.internal";
/// More than any step of the cluster takes by itself; whoever can ask another node waits less.
const WITHIN: Duration = Duration::from_secs(30);

/// A client; connects when first used.
#[derive(Debug, Clone)]
pub struct Api {
    channel: Channel,
}

/// Consistencies as they travel.
const LOCAL: i32 = api::Consistency::Local as i32;
const LINEARIZABLE: i32 = api::Consistency::Linearizable as i32;

impl Api {
    /// A client for the node at `address`, with the operator's certificate of `certs`.
    ///
    /// # Errors
    /// When the certificates cannot be read.
    pub fn new(address: SocketAddr, certs: &Path) -> Result<Self> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Another thread may be first, with the same provider.
            drop(rustls::crypto::ring::default_provider().install_default());
        }
        let read = |file: &str| fs::read(certs.join(file)).with_context(|| file.to_owned());
        let tls = ClientTlsConfig::new()
            .domain_name(NODE)
            .identity(Identity::from_pem(read("operator.pem")?, read("operator.key")?))
            .ca_certificate(Certificate::from_pem(read("ca.pem")?));
        let channel = Endpoint::from_shared(format!("https://{address}"))?
            .tls_config(tls)?
            .connect_timeout(Duration::from_secs(2))
            .timeout(WITHIN)
            .connect_lazy();
        Ok(Self { channel })
    }

    /// The connection, for calls whose gRPC status matters.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Founds a cluster there.
    ///
    /// # Errors
    /// What the node says.
    pub async fn init(&self) -> Result<()> {
        done(ClusterClient::new(self.channel.clone()).init(api::InitRequest {})).await.map(|_| ())
    }

    /// Lets the node at this cluster address join.
    ///
    /// # Errors
    /// What the node says.
    pub async fn join(&self, address: &str) -> Result<()> {
        let request = api::JoinRequest { address: address.to_owned() };
        done(ClusterClient::new(self.channel.clone()).join(request)).await.map(|_| ())
    }

    /// The cluster's status, linearizable.
    ///
    /// # Errors
    /// What the node says.
    pub async fn status(&self) -> Result<api::StatusReply> {
        self.status_as(LINEARIZABLE).await
    }

    /// The status as this node knows it.
    ///
    /// # Errors
    /// What the node says.
    pub async fn status_local(&self) -> Result<api::StatusReply> {
        self.status_as(LOCAL).await
    }

    async fn status_as(&self, consistency: i32) -> Result<api::StatusReply> {
        let request = api::StatusRequest { consistency };
        done(ClusterClient::new(self.channel.clone()).status(request)).await
    }

    /// Hands leadership to a node.
    ///
    /// # Errors
    /// What the node says.
    pub async fn transfer_leader(&self, to: u64) -> Result<()> {
        let request = api::TransferLeaderRequest { to };
        done(ClusterClient::new(self.channel.clone()).transfer_leader(request)).await.map(|_| ())
    }

    /// Removes a node that is lost or stopped.
    ///
    /// # Errors
    /// What the node says.
    pub async fn remove_node(&self, node: u64) -> Result<()> {
        let request = api::RemoveNodeRequest { node };
        done(ClusterClient::new(self.channel.clone()).remove(request)).await.map(|_| ())
    }

    /// The sites, as this node knows them.
    ///
    /// # Errors
    /// What the node says.
    pub async fn sites(&self) -> Result<Vec<api::Site>> {
        let request = api::ListSitesRequest { consistency: LOCAL };
        Ok(done(SitesClient::new(self.channel.clone()).list(request)).await?.sites)
    }

    /// Opens, drains or closes a site; returns how many waiting contacts moved.
    ///
    /// # Errors
    /// What the node says.
    pub async fn set_site(&self, site: &str, state: &str) -> Result<u32> {
        let request = api::SetSiteStateRequest {
            site: site.to_owned(),
            state: state.to_owned(),
            idempotency_key: String::new(),
        };
        Ok(done(SitesClient::new(self.channel.clone()).set_state(request)).await?.moved)
    }

    /// Creates or changes a queue.
    ///
    /// # Errors
    /// What the node says.
    pub async fn put_queue(&self, queue: api::Queue) -> Result<()> {
        let request = api::PutQueueRequest { queue: Some(queue), ..<_>::default() };
        done(QueuesClient::new(self.channel.clone()).put(request)).await.map(|_| ())
    }

    /// Lets a number lead to a queue.
    ///
    /// # Errors
    /// What the node says.
    pub async fn put_number(&self, number: api::Number) -> Result<()> {
        let request = api::PutNumberRequest { number: Some(number), ..<_>::default() };
        done(QueuesClient::new(self.channel.clone()).put_number(request)).await.map(|_| ())
    }

    /// The queues, as this node knows them.
    ///
    /// # Errors
    /// What the node says.
    pub async fn queues(&self) -> Result<Vec<api::QueueStatus>> {
        let request = api::ListQueuesRequest { consistency: LOCAL, ..<_>::default() };
        Ok(done(QueuesClient::new(self.channel.clone()).list(request)).await?.queues)
    }

    /// Creates or changes an agent.
    ///
    /// # Errors
    /// What the node says.
    pub async fn put_agent(&self, request: api::PutAgentRequest) -> Result<()> {
        done(AgentsClient::new(self.channel.clone()).put(request)).await.map(|_| ())
    }

    /// Logs an agent in, ready.
    ///
    /// # Errors
    /// What the node says.
    pub async fn log_in(&self, agent: &str) -> Result<()> {
        let request = api::LogInRequest {
            name: agent.to_owned(),
            ready: true,
            ..api::LogInRequest::default()
        };
        done(AgentsClient::new(self.channel.clone()).log_in(request)).await.map(|_| ())
    }

    /// Makes an agent ready.
    ///
    /// # Errors
    /// What the node says.
    pub async fn set_ready(&self, agent: &str) -> Result<()> {
        let request = api::SetReadyRequest { name: agent.to_owned(), ..<_>::default() };
        done(AgentsClient::new(self.channel.clone()).set_ready(request)).await.map(|_| ())
    }

    /// The agents, as this node knows them.
    ///
    /// # Errors
    /// What the node says.
    pub async fn agents(&self) -> Result<Vec<api::Agent>> {
        let request = api::ListAgentsRequest { consistency: LOCAL, ..<_>::default() };
        Ok(done(AgentsClient::new(self.channel.clone()).list(request)).await?.agents)
    }

    /// Live contacts in the order of their queue, as this node knows them.
    ///
    /// # Errors
    /// What the node says.
    pub async fn contacts(&self) -> Result<Vec<api::Contact>> {
        let request =
            api::ListContactsRequest { consistency: LOCAL, limit: 10_000, ..<_>::default() };
        Ok(done(ContactsClient::new(self.channel.clone()).list(request)).await?.contacts)
    }

    /// One contact, live or ended.
    ///
    /// # Errors
    /// What the node says.
    pub async fn contact(&self, id: &str) -> Result<api::Contact> {
        let request = api::ShowContactRequest {
            consistency: LINEARIZABLE,
            id: id.to_owned(),
            ..<_>::default()
        };
        done(ContactsClient::new(self.channel.clone()).show(request)).await
    }
}

/// The reply, within the time. The channel's own limits begin when it is connected, and a frozen node's
/// kernel takes connections in whose TLS never begins.
async fn done<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T> {
    let reply = tokio::time::timeout(WITHIN, call)
        .await
        .with_context(|| format!("the node did not answer within {WITHIN:?}"))?;
    Ok(reply.map_err(|status| anyhow::anyhow!("{}", status.message()))?.into_inner())
}
