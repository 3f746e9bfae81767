//! Settings of a node: one TOML file, shared with its relay.
//!
//! Every key is described at its field here and in `docs/operating/configuration.md` (a test keeps
//! the two in step). Unknown keys are refused with line and nearest name. What is decided by the
//! cluster as a whole (sites, queues, agents) is not here: that is replicated.

mod load;

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};
use tandem_callcontrol::settings::Network;
use tandem_media_relay::config::{RelayConfig, TlsConfig};
use tandem_routing::name::Name;

pub use load::{ConfigError, TABLES, load, parse};

/// The whole file.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Config {
    /// Who this node is.
    pub node: NodeConfig,
    /// Raft and the other nodes.
    pub cluster: ClusterConfig,
    /// Operators and applications.
    pub api: ApiConfig,
    /// Phones and trunks.
    pub sip: SipConfig,
    /// Keys of the cluster.
    pub security: SecurityConfig,
    /// The media relay beside this node.
    pub relay: RelayConfig,
    /// Certificates.
    pub tls: TlsConfig,
    /// The log on standard error.
    #[serde(default)]
    pub log: LogConfig,
}

/// `[node]`
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct NodeConfig {
    /// Number of this node, 1-1000; never given to another disk.
    pub id: u64,
    /// Name of this node; its certificate carries `<name>.node.tandem.internal`.
    pub name: String,
    /// Site that this node stands at: a city.
    pub site: String,
    /// Region of the site: a failure domain for replication.
    pub region: String,
    /// Data directory; empty before `tandem cluster init` or `join`.
    pub data_dir: PathBuf,
    /// Whether this node starts the relay of `[relay]` if none answers; a supervisor may do that
    /// instead.
    #[serde(default)]
    pub start_relay: StartRelay,
}

/// Who starts the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StartRelay {
    /// The node, as a process of its own that outlives it.
    #[default]
    Node,
    /// Somebody else: systemd, Kubernetes.
    Supervisor,
}

/// `[cluster]`
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct ClusterConfig {
    /// Where other nodes reach this one (gRPC over TCP, mutual TLS).
    pub listen: SocketAddr,
    /// Time between two heartbeats of the leader, in milliseconds, 10-5000.
    #[serde(default = "defaults::heartbeat_ms")]
    pub heartbeat_ms: u64,
    /// Shortest wait before an election, in milliseconds; more than twice the heartbeat.
    #[serde(default = "defaults::election_min_ms")]
    pub election_min_ms: u64,
    /// Longest wait before an election, in milliseconds. A leader's loss is noticed after this
    /// plus one random wait between the two.
    #[serde(default = "defaults::election_max_ms")]
    pub election_max_ms: u64,
    /// For how long a node may act without hearing from a quorum, in milliseconds, 200-60000.
    #[serde(default = "defaults::lease_ms")]
    pub lease_ms: u64,
    /// Added to the lease before a silent node is declared lost, in milliseconds.
    #[serde(default = "defaults::lease_margin_ms")]
    pub lease_margin_ms: u64,
    /// Log entries between two snapshots.
    #[serde(default = "defaults::snapshot_every")]
    pub snapshot_every: u64,
    /// Log entries that are kept behind a snapshot, for followers that lag.
    #[serde(default = "defaults::log_kept")]
    pub log_kept: u64,
}

/// `[api]`
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct ApiConfig {
    /// Where operators and applications reach this node (gRPC over TCP, mutual TLS).
    pub listen: SocketAddr,
}

/// `[sip]`
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct SipConfig {
    /// UDP sockets, as phones and trunks reach them; the first one is used to call.
    pub udp: Vec<SocketAddr>,
    /// TCP sockets.
    #[serde(default)]
    pub tcp: Vec<SocketAddr>,
    /// Realm of digest authentication; the same on every node.
    #[serde(default = "defaults::realm")]
    pub realm: String,
    /// Digest algorithms that phones are offered; `["md5"]` for phones that look only at the first
    /// offer and know no other.
    #[serde(default = "defaults::digest")]
    pub digest: Vec<DigestAlgorithm>,
    /// Lifetime of registrations that phones are granted, in seconds, at least, 10-3600.
    #[serde(default = "defaults::register_min_s")]
    pub register_min_s: u32,
    /// The same, at most, up to 86400.
    #[serde(default = "defaults::register_max_s")]
    pub register_max_s: u32,
    /// Session timer (RFC 4028) that is asked for, in seconds, 90-86400; 0: none.
    #[serde(default = "defaults::session_expires_s")]
    pub session_expires_s: u32,
    /// Carriers' trunks that may send calls here.
    #[serde(default)]
    pub trunk: Vec<TrunkConfig>,
}

/// A digest algorithm (RFC 8760).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DigestAlgorithm {
    /// SHA-256.
    #[serde(rename = "sha-256")]
    Sha256,
    /// MD5, for old phones.
    Md5,
}

/// `[[sip.trunk]]`
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct TrunkConfig {
    /// Name of the trunk.
    pub name: String,
    /// Addresses or networks (`192.0.2.0/24`) that its calls come from.
    pub addresses: Vec<String>,
    /// Calls at once that are admitted from it; more get 503.
    #[serde(default = "defaults::trunk_calls_max")]
    pub calls_max: u32,
    /// Whether P-Asserted-Identity from it is believed.
    #[serde(default)]
    pub identity: TrunkIdentity,
}

/// Whether a trunk's statement about the caller is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrunkIdentity {
    /// P-Asserted-Identity goes before From.
    #[default]
    Trusted,
    /// Only From is looked at.
    Untrusted,
}

/// `[security]`
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct SecurityConfig {
    /// File with the cluster key, 64 hexadecimal digits; the same on every node, readable only by
    /// Tandem. `tandem cluster certs` makes one.
    pub cluster_key: PathBuf,
}

/// `[log]`
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct LogConfig {
    /// Form of the log.
    #[serde(default)]
    pub format: LogFormat,
    /// What is logged: a filter such as `info,tandem_node::edge=debug`.
    #[serde(default = "defaults::level")]
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::default(), level: defaults::level() }
    }
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines, one object per line.
    Json,
}

/// A setting that is out of range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("[{table}] {key}: {problem}; {remedy}")]
pub struct InvalidSetting {
    /// The table.
    pub table: &'static str,
    /// The key.
    pub key: &'static str,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: &'static str,
}

impl Config {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// The first setting that is out of range.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        self.node.check()?;
        self.cluster.check()?;
        self.sip.check()?;
        // What is told to the others must be an address that they can reach.
        reachable("cluster", "listen", self.cluster.listen)?;
        reachable("api", "listen", self.api.listen)?;
        reachable("relay", "control", self.relay.control)?;
        reachable("relay", "link", self.relay.link)?;
        self.relay_name().map(|_| ())
    }

    /// The checked name of the relay beside this node.
    ///
    /// # Errors
    /// When it is no name.
    pub fn relay_name(&self) -> Result<Name, InvalidSetting> {
        name("relay", "id", &self.relay.id)
    }
}

fn reachable(table: &'static str, key: &'static str, at: SocketAddr) -> Result<(), InvalidSetting> {
    if at.ip().is_unspecified() {
        let problem = format!("{at} is no address that a peer can answer to");
        let remedy = "use the address of one interface";
        return Err(InvalidSetting { table, key, problem, remedy });
    }
    Ok(())
}

impl NodeConfig {
    /// The checked name.
    ///
    /// # Errors
    /// When it is no name.
    pub fn checked_name(&self) -> Result<Name, InvalidSetting> {
        name("node", "name", &self.name)
    }

    /// The checked site.
    ///
    /// # Errors
    /// When it is no name.
    pub fn checked_site(&self) -> Result<Name, InvalidSetting> {
        name("node", "site", &self.site)
    }

    /// The checked region.
    ///
    /// # Errors
    /// When it is no name.
    pub fn checked_region(&self) -> Result<Name, InvalidSetting> {
        name("node", "region", &self.region)
    }

    fn check(&self) -> Result<(), InvalidSetting> {
        range("node", "id", self.id, 1, 1_000)?;
        self.checked_name()?;
        self.checked_site()?;
        self.checked_region().map(|_| ())
    }
}

impl ClusterConfig {
    fn check(&self) -> Result<(), InvalidSetting> {
        range("cluster", "heartbeat_ms", self.heartbeat_ms, 10, 5_000)?;
        let least = self.heartbeat_ms * 2 + 1;
        range("cluster", "election_min_ms", self.election_min_ms, least, 60_000)?;
        let least = self.election_min_ms + 1;
        range("cluster", "election_max_ms", self.election_max_ms, least, 60_000)?;
        range("cluster", "lease_ms", self.lease_ms, 200, 60_000)?;
        range("cluster", "lease_margin_ms", self.lease_margin_ms, 10, 60_000)?;
        range("cluster", "snapshot_every", self.snapshot_every, 100, 100_000_000)?;
        range("cluster", "log_kept", self.log_kept, 10, 100_000_000)
    }
}

impl SipConfig {
    fn check(&self) -> Result<(), InvalidSetting> {
        let invalid = |key, problem: String, remedy| {
            Err(InvalidSetting { table: "sip", key, problem, remedy })
        };
        if self.udp.is_empty() {
            return invalid("udp", "no socket".into(), "give at least one, \"192.0.2.10:5060\"");
        }
        if self.digest.is_empty() {
            return invalid("digest", "no algorithm".into(), "write [\"sha-256\", \"md5\"]");
        }
        for at in &self.udp {
            reachable("sip", "udp", *at)?;
        }
        for at in &self.tcp {
            reachable("sip", "tcp", *at)?;
        }
        range("sip", "register_min_s", u64::from(self.register_min_s), 10, 3_600)?;
        let least = u64::from(self.register_min_s);
        range("sip", "register_max_s", u64::from(self.register_max_s), least, 86_400)?;
        if self.session_expires_s != 0 {
            range("sip", "session_expires_s", u64::from(self.session_expires_s), 90, 86_400)?;
        }
        for trunk in &self.trunk {
            for network in &trunk.addresses {
                if let Err(problem) = network.parse::<Network>() {
                    let remedy = "correct `addresses` of that trunk";
                    return invalid("trunk", format!("{}: {problem}", trunk.name), remedy);
                }
            }
        }
        Ok(())
    }
}

fn name(table: &'static str, key: &'static str, text: &str) -> Result<Name, InvalidSetting> {
    text.parse().map_err(|error: tandem_routing::name::NameError| InvalidSetting {
        table,
        key,
        problem: error.to_string(),
        remedy: "rename it",
    })
}

fn range(
    table: &'static str,
    key: &'static str,
    given: u64,
    least: u64,
    most: u64,
) -> Result<(), InvalidSetting> {
    if (least..=most).contains(&given) {
        return Ok(());
    }
    let problem = format!("{given} is not within {least} and {most}");
    Err(InvalidSetting { table, key, problem, remedy: "change it" })
}

mod defaults {
    use super::DigestAlgorithm;

    pub(super) fn heartbeat_ms() -> u64 {
        100
    }
    pub(super) fn election_min_ms() -> u64 {
        300
    }
    pub(super) fn election_max_ms() -> u64 {
        600
    }
    pub(super) fn lease_ms() -> u64 {
        2_000
    }
    pub(super) fn lease_margin_ms() -> u64 {
        200
    }
    pub(super) fn snapshot_every() -> u64 {
        50_000
    }
    pub(super) fn log_kept() -> u64 {
        50_000
    }
    pub(super) fn realm() -> String {
        "tandem".into()
    }
    pub(super) fn register_min_s() -> u32 {
        30
    }
    pub(super) fn digest() -> Vec<DigestAlgorithm> {
        vec![DigestAlgorithm::Sha256, DigestAlgorithm::Md5]
    }
    pub(super) fn register_max_s() -> u32 {
        3_600
    }
    pub(super) fn session_expires_s() -> u32 {
        1_800
    }
    pub(super) fn trunk_calls_max() -> u32 {
        1_000
    }
    pub(super) fn level() -> String {
        // An election has a dozen lines of openraft's own; ours say who leads.
        "info,openraft=warn".into()
    }
}
