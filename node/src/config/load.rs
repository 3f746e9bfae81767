//! Reading of the settings file, with errors that say where and what instead.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tandem_media_relay::config::{RelayConfig, TlsConfig, UnknownKey, check_keys};
use toml::de::{DeTable, DeValue};

use super::{Config, InvalidSetting};

/// Tables of the file and their keys, for the check of unknown ones.
pub const TABLES: &[(&str, &[&str])] = &[
    ("node", &["id", "name", "site", "region", "data_dir", "start_relay"]),
    (
        "cluster",
        &[
            "listen",
            "heartbeat_ms",
            "election_min_ms",
            "election_max_ms",
            "lease_ms",
            "lease_margin_ms",
            "snapshot_every",
            "log_kept",
        ],
    ),
    ("api", &["listen"]),
    (
        "sip",
        &[
            "udp",
            "tcp",
            "realm",
            "digest",
            "register_min_s",
            "register_max_s",
            "session_expires_s",
            "trunk",
        ],
    ),
    ("sip.trunk", &["name", "addresses", "calls_max", "identity"]),
    ("security", &["cluster_key"]),
    ("relay", RelayConfig::KEYS),
    ("tls", TlsConfig::KEYS),
    ("log", &["format", "level"]),
];

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the settings file {path} cannot be read: {error}; check the path and its permissions")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Not TOML, a key is missing, or a value has the wrong form.
    #[error("the settings do not fit:\n{0}")]
    Form(#[from] toml::de::Error),
    /// A key or table that does not exist.
    #[error(transparent)]
    UnknownKey(#[from] UnknownKey),
    /// A value out of range.
    #[error(transparent)]
    Invalid(#[from] InvalidSetting),
    /// A value of the relay out of range.
    #[error(transparent)]
    InvalidRelay(#[from] tandem_media_relay::config::InvalidSetting),
}

/// Reads and checks a node's settings; relative paths are looked up beside the file.
///
/// # Errors
/// [`ConfigError`] says line, key and what to do.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = fs::read_to_string(path)
        .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
    let mut config = parse(&text)?;
    let beside = path.parent().unwrap_or(Path::new(""));
    let paths = [
        &mut config.node.data_dir,
        &mut config.relay.data_dir,
        &mut config.security.cluster_key,
        &mut config.tls.ca,
        &mut config.tls.cert,
        &mut config.tls.key,
    ];
    let optional = [&mut config.tls.relay_cert, &mut config.tls.relay_key];
    for file in paths.into_iter().chain(optional.into_iter().flatten()) {
        *file = beside.join(&file);
    }
    Ok(config)
}

/// Reads and checks settings from text; paths stay as they are.
///
/// # Errors
/// [`ConfigError`].
pub fn parse(text: &str) -> Result<Config, ConfigError> {
    let document = DeTable::parse(text)?;
    let tables: Vec<&str> = TABLES.iter().map(|(table, _)| *table).collect();
    check_keys(text, document.get_ref(), "", &tables)?;
    for (table, keys) in TABLES {
        match table.split_once('.') {
            None => {
                if let Some(DeValue::Table(entries)) =
                    document.get_ref().get(*table).map(|value| value.get_ref())
                {
                    check_keys(text, entries, table, keys)?;
                }
            }
            Some((outer, inner)) => check_each(text, document.get_ref(), (outer, inner), keys)?,
        }
    }
    let config: Config = toml::from_str(text)?;
    config.check()?;
    config.relay.check()?;
    Ok(config)
}

/// Checks the entries of an array of tables.
fn check_each(
    text: &str,
    document: &DeTable<'_>,
    (outer, inner): (&str, &str),
    keys: &[&str],
) -> Result<(), UnknownKey> {
    let Some(DeValue::Table(outer_table)) = document.get(outer).map(|v| v.get_ref()) else {
        return Ok(());
    };
    let Some(DeValue::Array(entries)) = outer_table.get(inner).map(|v| v.get_ref()) else {
        return Ok(());
    };
    for entry in entries.iter() {
        if let DeValue::Table(entry) = entry.get_ref() {
            check_keys(text, entry, &format!("{outer}.{inner}"), keys)?;
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::config::LogFormat;

    /// A file with every key.
    pub(crate) const FULL: &str = r#"
[node]
id = 1
name = "lon-1"
site = "lon"
region = "eu-west"
data_dir = "data"
start_relay = "node"

[cluster]
listen = "127.0.1.1:7100"
heartbeat_ms = 50
election_min_ms = 150
election_max_ms = 300
lease_ms = 1000
lease_margin_ms = 100
snapshot_every = 1000
log_kept = 1000

[api]
listen = "127.0.1.1:7200"

[sip]
udp = ["127.0.1.1:5060"]
tcp = ["127.0.1.1:5060"]
realm = "tandem"
digest = ["sha-256", "md5"]
register_min_s = 30
register_max_s = 600
session_expires_s = 1800

[[sip.trunk]]
name = "carrier"
addresses = ["127.0.9.0/24"]
calls_max = 100
identity = "trusted"

[security]
cluster_key = "cluster.key"

[relay]
id = "lon-1"
cluster = "demo"
media_address = "127.0.1.1"
media_ports = "20000-21999"
control = "127.0.1.1:7300"
link = "127.0.1.1:7301"
data_dir = "relay"
sessions_max = 1000
media_stopped_after_ms = 5000
session_idle_ms = 120000
link_flows_max = 2000
orphan_exit_ms = 600000
workers = 0
log_format = "text"

[tls]
ca = "ca.pem"
cert = "node.pem"
key = "node.key"
relay_cert = "relay.pem"
relay_key = "relay.key"

[log]
format = "text"
level = "info"
"#;

    fn error(text: &str) -> String {
        parse(text).expect_err("refused").to_string()
    }

    // Goal: the lists of keys are those of the structs, so that no valid key is called unknown and
    // no key is left out of the list.
    #[test]
    fn key_lists_are_complete() {
        let config = parse(FULL).expect("good settings");
        let written: toml::Table = toml::to_string(&config).expect("text").parse().expect("TOML");
        for (table, keys) in TABLES {
            let found: Vec<String> = match table.split_once('.') {
                None => written[*table].as_table().expect("a table").keys().cloned().collect(),
                Some((outer, inner)) => {
                    written[outer][inner][0].as_table().expect("a table").keys().cloned().collect()
                }
            };
            let mut listed: Vec<&str> = keys.to_vec();
            let mut found: Vec<&str> = found.iter().map(String::as_str).collect();
            listed.sort_unstable();
            found.sort_unstable();
            assert_eq!(listed, found, "[{table}]");
        }
    }

    // Goal: a file that leaves out what may be left out means what the documentation says.
    #[test]
    fn defaults_stand_for_missing_tables() {
        let (before, _) = FULL.split_once("[log]").expect("the last table");
        let config = parse(before).expect("[log] may be missing");
        assert_eq!(
            (config.log.level.as_str(), config.log.format),
            ("info,openraft=warn", LogFormat::Text)
        );
    }

    // Goal: an unknown key or table is refused with its line and what was probably meant.
    #[test]
    fn unknown_keys_are_named() {
        for (from, to, parts) in [
            ("lease_ms =", "leese_ms =", ["line 15", "[cluster]", "nearest is \"lease_ms\""]),
            ("[api]", "[apy]", ["line 20", "apy", "nearest is \"api\""]),
            ("calls_max", "call_max", ["line 35", "[sip.trunk]", "nearest is \"calls_max\""]),
            ("workers =", "wokers =", ["line 54", "[relay]", "nearest is \"workers\""]),
        ] {
            let message = error(&FULL.replacen(from, to, 1));
            for part in parts {
                assert!(message.contains(part), "{part}: {message}");
            }
        }
    }

    // Goal: values out of range and wrong forms name the key.
    #[test]
    fn ranges_are_checked() {
        for (from, to, part) in [
            ("id = 1\n", "id = 0\n", "[node] id"),
            ("site = \"lon\"", "site = \"lon don\"", "[node] site"),
            ("election_min_ms = 150", "election_min_ms = 100", "election_min_ms"),
            ("lease_ms = 1000", "lease_ms = 100", "[cluster] lease_ms"),
            ("udp = [\"127.0.1.1:5060\"]", "udp = []", "[sip] udp"),
            ("udp = [\"127.0.1.1:5060\"]", "udp = [\"0.0.0.0:5060\"]", "[sip] udp"),
            ("digest = [\"sha-256\", \"md5\"]", "digest = []", "[sip] digest"),
            ("digest = [\"sha-256\", \"md5\"]", "digest = [\"sha1\"]", "sha1"),
            ("127.0.9.0/24", "127.0.9.0/40", "[sip] trunk"),
            ("start_relay = \"node\"", "start_relay = \"me\"", "start_relay"),
            ("media_ports = \"20000-21999\"", "media_ports = \"1\"", "media_ports"),
            ("listen = \"127.0.1.1:7200\"", "listen = \"api\"", "listen"),
            ("listen = \"127.0.1.1:7200\"", "listen = \"0.0.0.0:7200\"", "[api] listen"),
            ("listen = \"127.0.1.1:7100\"", "listen = \"[::]:7100\"", "[cluster] listen"),
            ("control = \"127.0.1.1:7300\"", "control = \"0.0.0.0:7300\"", "[relay] control"),
        ] {
            let message = error(&FULL.replacen(from, to, 1));
            assert!(message.contains(part), "{to}: {message}");
        }
        assert!(parse(FULL).is_ok());
    }
}
