//! What does not change while a node runs: who it is, where it listens, whom it admits.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use tandem_cluster::{ids::NodeId, node::RelayRecord, seal::ClusterKey};
use tandem_routing::name::Name;
use tandem_sip::{auth::Algorithm, dialog::session_timer::SessionTimerPolicy, identity::Trust};

/// Settings of one node's call control.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which node.
    pub node: NodeId,
    /// Its site: where callers come in.
    pub site: Name,
    /// Our UDP socket, as it stands in Via and Contact.
    pub udp: SocketAddr,
    /// Our TCP socket.
    pub tcp: Option<SocketAddr>,
    /// Realm of digest authentication and host of our URIs.
    pub realm: String,
    /// Digest algorithms that phones are offered, strongest first whatever their order here.
    pub digest: Vec<Algorithm>,
    /// The cluster's key.
    pub cluster_key: ClusterKey,
    /// The relay beside this node.
    pub relay: RelayRecord,
    /// Whose calls are admitted.
    pub trunks: Vec<Trunk>,
    /// Session timers; `None`: not asked for.
    pub session_timer: Option<SessionTimerPolicy>,
    /// Shortest lifetime of a registration that is granted, in seconds.
    pub register_s_min: u32,
    /// Longest lifetime of a registration that is granted, in seconds.
    pub register_s_max: u32,
}

/// A carrier's trunk.
#[derive(Debug, Clone)]
pub struct Trunk {
    /// Its name.
    pub name: String,
    /// Where its calls come from.
    pub networks: Vec<Network>,
    /// Calls at once.
    pub calls_max: u32,
    /// Whether its statement about the caller is believed.
    pub trust: Trust,
}

/// Index of a trunk in the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrunkId(pub usize);

impl Settings {
    /// The trunk that a call from this address comes by.
    #[must_use]
    pub fn trunk_of(&self, address: IpAddr) -> Option<(TrunkId, &Trunk)> {
        self.trunks
            .iter()
            .enumerate()
            .find(|(_, trunk)| trunk.networks.iter().any(|network| network.contains(address)))
            .map(|(index, trunk)| (TrunkId(index), trunk))
    }
}

/// An address or a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A text that is neither an address nor a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an address nor a network; write 192.0.2.7 or 192.0.2.0/24")]
pub struct NetworkError(String);

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let wrong = || NetworkError(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(prefix) => {
                prefix.parse().ok().filter(|prefix| *prefix <= longest).ok_or_else(wrong)?
            }
        };
        Ok(Self { address, prefix })
    }
}

impl Network {
    /// True when the address lies in the network. An IPv4 address in IPv6 form counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = |address: IpAddr| match address.to_canonical() {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 4),
            IpAddr::V6(v6) => (v6.to_bits(), 6),
        };
        let ((ours, kind), (theirs, other)) = (bits(self.address), bits(address));
        let shift = 128 - u32::from(self.prefix);
        kind == other && (shift == 128 || ours >> shift == theirs >> shift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a trunk is admitted by exactly its networks; the edges of a prefix hold and break.
    #[test]
    fn networks() {
        for (network, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("192.0.2.0/25", "192.0.2.127", "192.0.2.128"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("192.0.2.7", "::ffff:192.0.2.7", "::c000:207"),
        ] {
            let network: Network = network.parse().unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{network:?} {inside}");
            assert!(!network.contains(outside.parse().unwrap()), "{network:?} {outside}");
        }
        for bad in ["", "trunk.example", "192.0.2.0/33", "192.0.2.0/", "::/129", "192.0.2/24"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
