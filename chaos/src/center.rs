//! A contact center on a local cluster: queues, numbers, agents and their phones.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use tandem_phone::{
    AnswerPolicy, Caller, CallerConfig, KeepAlive, Phone, PhoneConfig, Server, World,
};
use tandem_proto::api::v1 as api;

use crate::cluster::LocalCluster;

/// How long a phone may take to register.
const REGISTER_MS_MAX: u64 = 20_000;
/// How long a queue lets a phone ring, milliseconds.
pub const RING_MS: u64 = 15_000;
/// All phones have the same password: it is the laboratory's.
pub const PASSWORD: &str = "laboratory";

/// A queue and the number that leads to it.
#[derive(Debug, Clone)]
pub struct QueueSetup {
    /// Everything that is configured.
    pub queue: api::Queue,
    /// The number that is called.
    pub number: String,
}

impl QueueSetup {
    /// A queue with short after-contact work.
    #[must_use]
    pub fn new(name: &str, number: &str, requirement: &str) -> Self {
        Self {
            queue: api::Queue {
                name: name.to_owned(),
                requirement: requirement.to_owned(),
                site_choice: "any".to_owned(),
                ring_ms: RING_MS,
                length_max: 1_000,
                ..api::Queue::default()
            },
            number: number.to_owned(),
        }
    }
}

/// An agent.
#[derive(Debug, Clone)]
pub struct AgentSetup {
    /// Name and user of the phone.
    pub name: String,
    /// Index of the site.
    pub site: usize,
    /// Skills with levels.
    pub skills: Vec<(String, u32)>,
    /// Queues served.
    pub queues: Vec<String>,
}

/// Puts queues, numbers and agents into the cluster; agents are logged out.
///
/// # Errors
/// What the cluster says.
pub async fn configure(
    cluster: &LocalCluster,
    queues: &[QueueSetup],
    agents: &[AgentSetup],
) -> Result<()> {
    let api = cluster.api(0)?;
    for setup in queues {
        api.put_queue(setup.queue.clone()).await?;
        let number = api::Number {
            number: setup.number.clone(),
            queue: setup.queue.name.clone(),
            ..api::Number::default()
        };
        api.put_number(number).await?;
    }
    for agent in agents {
        let site = cluster.plan().sites.get(agent.site).context("no such site")?;
        api.put_agent(api::PutAgentRequest {
            name: agent.name.clone(),
            site: site.name.clone(),
            skills: agent.skills.iter().cloned().collect(),
            queues: agent.queues.clone(),
            password: PASSWORD.to_owned(),
            ..api::PutAgentRequest::default()
        })
        .await?;
    }
    Ok(())
}

/// Registers a phone for each agent at the node of their site, with the other nodes behind it.
///
/// # Errors
/// When a phone does not register in time.
pub async fn phones(
    cluster: &LocalCluster,
    world: &World,
    agents: &[AgentSetup],
    policy: &AnswerPolicy,
) -> Result<Vec<Phone>> {
    let mut phones = Vec::new();
    for (index, agent) in agents.iter().enumerate() {
        let config = PhoneConfig {
            keep_alive: KeepAlive::Options { every_ms: 1_000 },
            failover_after_ms: Some(1_000),
            retry_after_ms: 200,
            domain: Some("tandem".to_owned()),
            ..PhoneConfig::new(&agent.name, &agent.name, phone_address(cluster, agent.site, index))
                .registering(PASSWORD, registrars(cluster, agent.site))
                .with_policy(policy.clone())
        };
        phones.push(world.phone(config).await?);
    }
    for phone in &phones {
        phone
            .wait_registered(REGISTER_MS_MAX)
            .await
            .with_context(|| format!("{} does not register", phone.label()))?;
    }
    Ok(phones)
}

/// Logs the agents in, ready.
///
/// # Errors
/// What the cluster says.
pub async fn log_in(cluster: &LocalCluster, agents: &[AgentSetup]) -> Result<()> {
    let api = cluster.api(0)?;
    for agent in agents {
        api.log_in(&agent.name).await?;
    }
    Ok(())
}

/// A carrier's trunk whose calls come in at one site first, and at the others when that one does
/// not take them.
///
/// # Errors
/// When its socket cannot be opened.
pub async fn trunk(cluster: &LocalCluster, world: &World, site: usize) -> Result<Caller> {
    let address = trunk_address(cluster, site)?;
    let config = CallerConfig {
        failover_after_ms: Some(1_000),
        ..CallerConfig::new(
            &format!("trunk-{}", cluster.plan().sites.get(site).context("no such site")?.name),
            address,
            registrars(cluster, site),
        )
    };
    Ok(world.caller(config).await?)
}

/// The nodes in the order of liking of somebody at this site.
fn registrars(cluster: &LocalCluster, site: usize) -> Vec<Server> {
    let count = cluster.places().len();
    (0..count).map(|step| Server::udp(cluster.sip((site + step) % count))).collect()
}

/// Every phone has its own port at its site's phone address.
fn phone_address(cluster: &LocalCluster, site: usize, index: usize) -> SocketAddr {
    let site = cluster.plan().sites.get(site);
    let address = site.map_or(Ipv4Addr::LOCALHOST, |site| {
        let [a, b, c, _] = site.address.octets();
        Ipv4Addr::new(a, b, c, 100)
    });
    let port = u16::try_from(index).map_or(0, |index| 6_000 + index);
    SocketAddr::new(IpAddr::V4(address), port)
}

fn trunk_address(cluster: &LocalCluster, site: usize) -> Result<SocketAddr> {
    let [a, b, _, _] =
        cluster.plan().sites.first().context("a cluster without sites")?.address.octets();
    let last = u8::try_from(site + 1)?;
    Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, 9, last)), 5060))
}
