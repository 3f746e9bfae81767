//! Two hosts with an endpoint each, for tests of what moves packets.

pub(crate) use super::packet::tests::udp;
use super::{Endpoint, HostIndex, Network};

pub(crate) const A: [u8; 4] = [10, 0, 0, 1];
pub(crate) const B: [u8; 4] = [10, 0, 0, 2];

/// Hosts `a` and `b`, each at a site of its own.
pub(crate) fn network_of_two() -> Network {
    let endpoint = |name: &str, address: [u8; 4], host| Endpoint {
        name: name.to_owned(),
        site: format!("{name}-town"),
        addresses: std::net::IpAddr::from(address).into(),
        host: HostIndex(host),
    };
    Network::new(vec![endpoint("a", A, 0), endpoint("b", B, 1)], 42).unwrap()
}
