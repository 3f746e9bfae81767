//! Settings of a relay: the tables `[relay]` and `[tls]` of a TOML file.
//!
//! The file may be the node's own: other tables are none of the relay's business. Inside its two
//! tables an unknown key is refused with its line and the nearest key that exists
//! ([`load`](self::load::load)). The node embeds the two structs in its own configuration.

mod load;

use std::{net::IpAddr, net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};
use tandem_rtp::{ids::RelayId, limits::CLUSTER_ID_LEN_MAX};
use thiserror::Error;

use crate::limits::{LINK_FLOWS_CONFIGURABLE_MAX, SESSIONS_CONFIGURABLE_MAX, WORKERS_MAX};

pub use load::{ConfigError, UnknownKey, check_keys, load, nearest, parse};

/// The table `[relay]`.
///
/// ```
/// let text = r#"
///     [relay]
///     id = "milan-1"
///     cluster = "north"
///     media_address = "192.0.2.10"
///     control = "192.0.2.10:7400"
///     link = "192.0.2.10:7401"
///     data_dir = "/var/lib/tandem/relay"
///
///     [tls]
///     ca = "ca.pem"
///     cert = "relay.pem"
///     key = "relay.key"
/// "#;
/// let settings = tandem_media_relay::config::parse(text)?;
/// assert_eq!(settings.relay.ports()?.pairs(), 1_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct RelayConfig {
    /// Name of this relay: one DNS label; its certificate carries `<id>.relay.tandem.internal`.
    pub id: String,
    /// Name of the cluster; relays of other clusters are refused. At most 128 bytes.
    pub cluster: String,
    /// The IP address to which RTP sockets are bound, and which is written into SDP.
    pub media_address: IpAddr,
    /// Ports for RTP and RTCP, `"first-last"`, first even; each session takes a pair.
    #[serde(default = "defaults::media_ports")]
    pub media_ports: String,
    /// Where nodes call (gRPC over TCP, mutual TLS).
    pub control: SocketAddr,
    /// Where other relays link (QUIC over UDP, mutual TLS).
    pub link: SocketAddr,
    /// Folder for the pid file and the lock; made when it does not exist.
    pub data_dir: PathBuf,
    /// Sessions at once, 1-30000. Each takes two open files.
    #[serde(default = "defaults::sessions_max")]
    pub sessions_max: u32,
    /// Silence of a phone after which its owner is told, in milliseconds.
    #[serde(default = "defaults::media_stopped_after_ms")]
    pub media_stopped_after_ms: u64,
    /// Silence of both phone and owner after which a session ends, in milliseconds.
    #[serde(default = "defaults::session_idle_ms")]
    pub session_idle_ms: u64,
    /// Bridged sessions per link to another relay, 1-10000; sets its rate and window.
    #[serde(default = "defaults::link_flows_max")]
    pub link_flows_max: u32,
    /// Time without any session and without any call of a node after which the relay exits, in
    /// milliseconds; 0: never.
    #[serde(default = "defaults::orphan_exit_ms")]
    pub orphan_exit_ms: u64,
    /// Threads that relay packets, 1-32; 0: one for each two cores, 1 to 4. One carries about 1000
    /// calls; more than needed cost more wake-ups.
    #[serde(default)]
    pub workers: u32,
    /// Form of the log on standard error.
    #[serde(default)]
    pub log_format: LogFormat,
}

/// The table `[tls]`. Paths that are not absolute are looked up beside the file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct TlsConfig {
    /// Certificate of the cluster's authority, PEM.
    pub ca: PathBuf,
    /// Certificate chain of this process, PEM.
    pub cert: PathBuf,
    /// Private key of `cert`, PEM.
    pub key: PathBuf,
    /// Certificate chain of the relay, where `cert` is the node's; with `relay_key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay_cert: Option<PathBuf>,
    /// Private key of `relay_cert`, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay_key: Option<PathBuf>,
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

/// Both tables of a relay.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Settings {
    /// `[relay]`
    pub relay: RelayConfig,
    /// `[tls]`
    pub tls: TlsConfig,
}

/// An inclusive range of ports that begins even and holds whole pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// A setting that is out of range.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("[relay] {key}: {problem}; {remedy}")]
pub struct InvalidSetting {
    /// The key.
    pub key: &'static str,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: &'static str,
}

impl RelayConfig {
    /// Every key of the table, for the check of unknown ones.
    pub const KEYS: &'static [&'static str] = &[
        "id",
        "cluster",
        "media_address",
        "media_ports",
        "control",
        "link",
        "data_dir",
        "sessions_max",
        "media_stopped_after_ms",
        "session_idle_ms",
        "link_flows_max",
        "orphan_exit_ms",
        "workers",
        "log_format",
    ];

    /// Checks what the types cannot.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        self.relay_id()?;
        let ports = self.ports()?;
        let invalid = |key, problem: String, remedy| Err(InvalidSetting { key, problem, remedy });
        if self.cluster.is_empty() || self.cluster.len() > CLUSTER_ID_LEN_MAX {
            let problem = format!("the name has {} bytes", self.cluster.len());
            return invalid("cluster", problem, "use 1 to 128 bytes");
        }
        if self.media_address.is_unspecified() || self.media_address.is_multicast() {
            let problem = format!("{} is no address that phones can send to", self.media_address);
            return invalid("media_address", problem, "use the address of one interface");
        }
        if !(1..=SESSIONS_CONFIGURABLE_MAX).contains(&self.sessions_max) {
            let problem = format!("{} sessions", self.sessions_max);
            return invalid("sessions_max", problem, "use 1 to 30000");
        }
        if self.sessions_max > ports.pairs() {
            let problem = format!(
                "{} sessions need as many port pairs, media_ports has {}",
                self.sessions_max,
                ports.pairs()
            );
            return invalid("sessions_max", problem, "widen media_ports or lower sessions_max");
        }
        if !(1..=LINK_FLOWS_CONFIGURABLE_MAX).contains(&self.link_flows_max) {
            let problem = format!("{} flows", self.link_flows_max);
            return invalid("link_flows_max", problem, "use 1 to 10000");
        }
        if self.workers > WORKERS_MAX {
            let problem = format!("{} threads", self.workers);
            return invalid("workers", problem, "use 0 to 32");
        }
        for (key, value) in [
            ("media_stopped_after_ms", self.media_stopped_after_ms),
            ("session_idle_ms", self.session_idle_ms),
        ] {
            if !(100..=86_400_000).contains(&value) {
                return invalid(key, format!("{value} ms"), "use 100 ms to one day");
            }
        }
        Ok(())
    }

    /// The relay's name, checked.
    pub fn relay_id(&self) -> Result<RelayId, InvalidSetting> {
        RelayId::new(&self.id).map_err(|error| InvalidSetting {
            key: "id",
            problem: error.to_string(),
            remedy: "rename the relay",
        })
    }

    /// The range of media ports, checked.
    pub fn ports(&self) -> Result<PortRange, InvalidSetting> {
        let invalid = |problem: &str| InvalidSetting {
            key: "media_ports",
            problem: format!("{:?} {problem}", self.media_ports),
            remedy: "write \"first-last\" with an even first port, such as \"20000-21999\"",
        };
        let (first, last) =
            self.media_ports.split_once('-').ok_or_else(|| invalid("is no range"))?;
        let port = |text: &str| text.trim().parse::<u16>().map_err(|_| invalid("is no range"));
        let (first, last) = (port(first)?, port(last)?);
        if first < 1_024 || !first.is_multiple_of(2) {
            return Err(invalid("does not begin at an even port from 1024 on"));
        }
        if last <= first {
            return Err(invalid("holds no pair"));
        }
        Ok(PortRange { first, last })
    }

    /// Threads that relay packets.
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => {
                let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
                (cores / 2).clamp(1, 4)
            }
            count => count as usize,
        }
    }
}

impl TlsConfig {
    /// Every key of the table, for the check of unknown ones.
    pub const KEYS: &'static [&'static str] = &["ca", "cert", "key", "relay_cert", "relay_key"];
}

impl PortRange {
    /// Pairs of an even port and the one above it.
    pub fn pairs(self) -> u32 {
        (u32::from(self.last) + 1 - u32::from(self.first)) / 2
    }

    /// The even port of each pair.
    pub fn even_ports(self) -> impl Iterator<Item = u16> {
        (self.first..self.last).step_by(2)
    }

    /// True for the even port of a pair of this range.
    pub fn has_pair_at(self, port: u16) -> bool {
        port.is_multiple_of(2) && port >= self.first && port < self.last
    }
}

mod defaults {
    pub(super) fn media_ports() -> String {
        "20000-21999".to_owned()
    }
    pub(super) fn sessions_max() -> u32 {
        1_000
    }
    pub(super) fn media_stopped_after_ms() -> u64 {
        5_000
    }
    pub(super) fn session_idle_ms() -> u64 {
        120_000
    }
    pub(super) fn link_flows_max() -> u32 {
        2_000
    }
    pub(super) fn orphan_exit_ms() -> u64 {
        600_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const GOOD: &str = r#"
[node]
unknown = "is the node's business"

[relay]
id = "milan-1"
cluster = "north"
media_address = "192.0.2.10"
control = "192.0.2.10:7400"
link = "192.0.2.10:7401"
data_dir = "relay"

[tls]
ca = "ca.pem"
cert = "node.pem"
key = "node.key"
"#;

    // Goal: the lists of keys are those of the structs, so that no valid key is called unknown.
    #[test]
    fn key_lists_are_complete() {
        let mut settings = parse(GOOD).expect("good settings");
        settings.tls.relay_cert = Some("r.pem".into());
        settings.tls.relay_key = Some("r.key".into());
        let text = toml::to_string(&settings).expect("plain values");
        let table: toml::Table = text.parse().expect("own text");
        for (name, keys) in [("relay", RelayConfig::KEYS), ("tls", TlsConfig::KEYS)] {
            let mut found: Vec<_> =
                table[name].as_table().expect("a table").keys().map(String::as_str).collect();
            let mut listed = keys.to_vec();
            found.sort_unstable();
            listed.sort_unstable();
            assert_eq!(found, listed);
        }
        assert_eq!(parse(&text).expect("own text"), settings);
    }

    // Goal: each setting is held to its range, and the message names the key.
    #[test]
    fn ranges() {
        let good = parse(GOOD).expect("good settings").relay;
        assert_eq!(good.check(), Ok(()));
        type Change = (&'static str, fn(&mut RelayConfig));
        let changes: [Change; 13] = [
            ("id", |c| c.id = "Milan".to_owned()),
            ("cluster", |c| c.cluster = String::new()),
            ("media_address", |c| c.media_address = [0, 0, 0, 0].into()),
            ("media_ports", |c| c.media_ports = "20001-20010".to_owned()),
            ("media_ports", |c| c.media_ports = "20000".to_owned()),
            ("media_ports", |c| c.media_ports = "20000-20000".to_owned()),
            ("media_ports", |c| c.media_ports = "20000-70000".to_owned()),
            ("sessions_max", |c| c.sessions_max = 0),
            ("sessions_max", |c| c.sessions_max = 1_001),
            ("link_flows_max", |c| c.link_flows_max = 10_001),
            ("workers", |c| c.workers = 33),
            ("media_stopped_after_ms", |c| c.media_stopped_after_ms = 99),
            ("session_idle_ms", |c| c.session_idle_ms = 99),
        ];
        for (i, (key, change)) in changes.into_iter().enumerate() {
            let mut config = good.clone();
            change(&mut config);
            assert_eq!(config.check().expect_err("out of range").key, key, "change {i}");
        }
    }

    // Goal: port ranges count whole pairs only.
    #[test]
    fn port_pairs() {
        for (text, pairs) in [("20000-20001", 1), ("20000-20002", 1), ("20000-20003", 2)] {
            let mut config = parse(GOOD).expect("good settings").relay;
            config.media_ports = text.to_owned();
            let ports = config.ports().expect("a range");
            assert_eq!(ports.pairs(), pairs, "{text}");
            assert_eq!(ports.even_ports().count() as u32, pairs, "{text}");
            assert!(ports.even_ports().all(|port| ports.has_pair_at(port)), "{text}");
        }
    }
}
