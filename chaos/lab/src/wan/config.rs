//! Hosts and links from a TOML file.

use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::limits::CONFIG_BYTES_MAX;
use super::model::{NetworkError, Party, Prefix};
use super::presets::{Preset, PresetError};
use super::router::Router;
use crate::host::{HostSpec, Lab, LabError, MTU_DEFAULT};

/// A whole laboratory, as a file describes it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Decides every random draw of every link.
    #[serde(default)]
    pub seed: u64,
    /// A matrix of measured round trips ([`Preset`]), applied before the links.
    pub preset: Option<String>,
    /// The hosts.
    #[serde(rename = "host")]
    pub hosts: Vec<HostConfig>,
    /// What links do, applied in order.
    #[serde(default, rename = "link")]
    pub links: Vec<LinkConfig>,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostConfig {
    /// Its name.
    pub name: String,
    /// The process that runs the router is this host itself.
    #[serde(default)]
    pub here: bool,
    /// Size of its largest IP packet.
    #[serde(default = "mtu_default")]
    pub mtu: u16,
    /// Its addresses.
    #[serde(rename = "endpoint")]
    pub endpoints: Vec<EndpointConfig>,
}

/// A block of addresses of a host.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointConfig {
    /// Its name; the host's if not given.
    pub name: Option<String>,
    /// Where it stands; a site named like the endpoint if not given.
    pub site: Option<String>,
    /// One address or a block.
    pub addresses: Prefix,
}

/// What the links from one party to the other do.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkConfig {
    /// The sending side.
    pub from: Party,
    /// The receiving side.
    pub to: Party,
    /// Whether the other direction does the same.
    #[serde(default)]
    pub direction: Direction,
    /// Fields of [`LinkSettings`](super::LinkSettings); what is not named stays.
    pub change: Map<String, Value>,
}

/// Which directions between two parties are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the first to the second.
    #[default]
    OneWay,
    /// From each to the other.
    BothWays,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration {path} cannot be read: {cause}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        cause: std::io::Error,
    },
    /// The file is too long to be one.
    #[error("configuration {0} is longer than {CONFIG_BYTES_MAX} bytes")]
    TooLong(String),
    /// The file is no configuration.
    #[error("no configuration of a laboratory: {0}")]
    Shape(#[from] toml::de::Error),
    /// The hosts cannot be made.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The preset does not fit.
    #[error(transparent)]
    Preset(#[from] PresetError),
    /// A link cannot be set.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or is no configuration.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let failed = |cause| ConfigError::Read { path: name.clone(), cause };
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(CONFIG_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
        if text.len() as u64 > CONFIG_BYTES_MAX {
            return Err(ConfigError::TooLong(name));
        }
        Self::parse(&text)
    }

    /// Reads a text.
    ///
    /// # Errors
    /// It is no configuration.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Ok(toml::from_str(text)?)
    }

    /// Makes the hosts and their links.
    ///
    /// # Errors
    /// The kernel refuses, or names and values do not fit. Then everything is undone.
    pub fn build(self) -> Result<Lab, ConfigError> {
        let lab = Lab::new(self.hosts.into_iter().map(HostConfig::spec).collect(), self.seed)?;
        if let Some(preset) = &self.preset {
            lab.router().apply_preset(Preset::named(preset)?)?;
        }
        for link in &self.links {
            change_links(lab.router(), &link.from, &link.to, link.direction, &link.change)?;
        }
        Ok(lab)
    }
}

/// Changes the links between two parties in the directions that are meant: all or none.
///
/// # Errors
/// Nobody has that name, or the change is refused.
pub(super) fn change_links(
    router: &Router,
    from: &Party,
    to: &Party,
    direction: Direction,
    change: &Map<String, Value>,
) -> Result<(), NetworkError> {
    match direction {
        Direction::OneWay => router.update(from, to, |it| it.with_changes(change)),
        Direction::BothWays => router.update_pair(from, to, |it| it.with_changes(change)),
    }
}

impl HostConfig {
    fn spec(self) -> HostSpec {
        let empty =
            if self.here { HostSpec::here(&self.name) } else { HostSpec::apart(&self.name) };
        self.endpoints.into_iter().fold(empty.mtu(self.mtu), |spec, endpoint| {
            let name = endpoint.name.unwrap_or_else(|| self.name.clone());
            let site = endpoint.site.unwrap_or_else(|| name.clone());
            spec.endpoint(&name, &site, endpoint.addresses)
        })
    }
}

fn mtu_default() -> u16 {
    MTU_DEFAULT
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("example.toml");

    /// The example that the help prints is a configuration, and says what it means to.
    #[test]
    fn the_example_is_read() {
        let config = Config::parse(EXAMPLE).unwrap();
        assert_eq!(config.hosts.len(), 4);
        assert!(config.hosts[3].here);
        assert_eq!(config.links[0].direction, Direction::BothWays);
        assert_eq!(config.links[0].change["jitter_us"], 500);
    }

    /// A wrong word is refused, and the message names it.
    #[test]
    fn wrong_words_are_refused() {
        for (text, word) in [
            ("sed = 1\nhost = []", "sed"),
            ("[[host]]\nname = \"a\"\nendpoint = [{ addresses = \"10.0.0.300\" }]", "10.0.0.300"),
            ("host = []\n[[link]]\nfrom = \"a b\"\nto = \"all\"\nchange = {}", "a b"),
        ] {
            let error = Config::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
