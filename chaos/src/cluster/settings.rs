//! The settings files of a local cluster's nodes.

use std::path::Path;

use super::{API_PORT, CLUSTER_PORT, CONTROL_PORT, LINK_PORT, Plan, SIP_PORT, Site};

/// Heartbeats, elections and leases, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Between two heartbeats of the leader.
    pub heartbeat_ms: u64,
    /// Shortest wait before an election.
    pub election_min_ms: u64,
    /// Longest wait before an election.
    pub election_max_ms: u64,
    /// For how long a node may act without hearing from a quorum.
    pub lease_ms: u64,
    /// Added before a silent node is declared lost.
    pub lease_margin_ms: u64,
}

impl Timing {
    /// For nodes in different cities: what a node does when nothing is set.
    pub const BETWEEN_CITIES: Self = Self {
        heartbeat_ms: 100,
        election_min_ms: 300,
        election_max_ms: 600,
        lease_ms: 2_000,
        lease_margin_ms: 200,
    };

    /// For nodes as far from each other as the world allows, or behind bad links.
    pub const FAR: Self = Self {
        heartbeat_ms: 100,
        election_min_ms: 1_000,
        election_max_ms: 2_000,
        lease_ms: 6_000,
        lease_margin_ms: 600,
    };
}

impl Default for Timing {
    /// For nodes that hear each other within a few milliseconds.
    fn default() -> Self {
        Self {
            heartbeat_ms: 50,
            election_min_ms: 150,
            election_max_ms: 300,
            lease_ms: 1_000,
            lease_margin_ms: 100,
        }
    }
}

/// A carrier's trunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trunk {
    /// Its name.
    pub name: String,
    /// Where its calls come from.
    pub network: String,
    /// Calls at once.
    pub calls_max: u32,
}

/// The settings of one node.
pub(super) fn node(plan: &Plan, id: u64, site: &Site, certs: &Path) -> String {
    let (address, name) = (site.address, super::node_name(site));
    let file = |file: String| toml::Value::String(certs.join(file).display().to_string());
    let (ca, key) = (file("ca.pem".into()), file("cluster.key".into()));
    let data_dir = toml::Value::String(site.data_dir.display().to_string());
    let node_cert = file(format!("{name}.pem"));
    let node_key = file(format!("{name}.key"));
    let relay_cert = file(format!("{name}.relay.pem"));
    let relay_key = file(format!("{name}.relay.key"));
    let Timing { heartbeat_ms, election_min_ms, election_max_ms, lease_ms, lease_margin_ms } =
        plan.timing;
    let trunks: String = plan
        .trunks
        .iter()
        .map(|trunk| {
            format!(
                "\n[[sip.trunk]]\nname = {:?}\naddresses = [{:?}]\ncalls_max = {}\n",
                trunk.name, trunk.network, trunk.calls_max
            )
        })
        .collect();
    format!(
        r#"[node]
id = {id}
name = "{name}"
site = "{site}"
region = "{region}"
data_dir = {data_dir}

[cluster]
listen = "{address}:{CLUSTER_PORT}"
heartbeat_ms = {heartbeat_ms}
election_min_ms = {election_min_ms}
election_max_ms = {election_max_ms}
lease_ms = {lease_ms}
lease_margin_ms = {lease_margin_ms}

[api]
listen = "{address}:{API_PORT}"

[sip]
udp = ["{address}:{SIP_PORT}"]
tcp = ["{address}:{SIP_PORT}"]
register_min_s = 10
{trunks}
[security]
cluster_key = {key}

[relay]
id = "{name}"
cluster = "local"
media_address = "{address}"
media_ports = "20000-29999"
control = "{address}:{CONTROL_PORT}"
link = "{address}:{LINK_PORT}"
data_dir = "relay"
orphan_exit_ms = 60000

[tls]
ca = {ca}
cert = {node_cert}
key = {node_key}
relay_cert = {relay_cert}
relay_key = {relay_key}

[log]
level = "{log}"
"#,
        site = site.name,
        region = site.region,
        log = plan.log,
    )
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::PathBuf};

    use super::*;

    const HEAD: &str = "\
# One of the demo's three nodes; deploy/demo/README.md says how to start them by hand.
# Every key is described in docs/operating/configuration.md. Paths are relative to this file.
# Kept in step with the demo by a test: `UPDATE=1 cargo test -p tandem-chaos settings` rewrites it.

";

    // Goal: the settings under deploy/demo are those that the demo runs with; with UPDATE=1 they
    // are rewritten.
    #[test]
    fn settings_of_the_demo_are_in_step() {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/demo");
        let plan = Plan::three_sites("run".as_ref(), "bin".as_ref(), 0).with_softphone();
        for (index, site) in plan.sites.iter().enumerate() {
            let file = root.join(&site.name).join("node.toml");
            let wanted =
                format!("{HEAD}{}", node(&plan, index as u64 + 1, site, Path::new("../certs")));
            wanted.parse::<toml::Table>().unwrap();
            if env::var_os("UPDATE").is_some() {
                fs::create_dir_all(root.join(&site.name)).unwrap();
                fs::write(&file, &wanted).unwrap();
            }
            let found = fs::read_to_string(&file).unwrap_or_default();
            assert_eq!(found, wanted, "{}: run with UPDATE=1", file.display());
        }
    }
}
