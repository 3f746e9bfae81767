//! Whether a cluster's addresses are free, and who has them when not.

use std::{
    fs,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
};

use anyhow::{Result, bail};

use crate::cluster::{API_PORT, CLUSTER_PORT, CONTROL_PORT, LINK_PORT, Plan, SIP_PORT};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Udp,
    Tcp,
}

/// Every port that a node or a relay will open.
const PORTS: [(Protocol, u16); 6] = [
    (Protocol::Udp, SIP_PORT),
    (Protocol::Tcp, SIP_PORT),
    (Protocol::Tcp, CLUSTER_PORT),
    (Protocol::Tcp, API_PORT),
    (Protocol::Tcp, CONTROL_PORT),
    (Protocol::Udp, LINK_PORT),
];

/// Checks that every port of the plan can be opened.
///
/// # Errors
/// Names the first one that cannot, who has it, and what to do.
pub(crate) fn check(plan: &Plan) -> Result<()> {
    for site in &plan.sites {
        for (protocol, port) in PORTS {
            let address = SocketAddr::new(IpAddr::V4(site.address), port);
            let opened = match protocol {
                Protocol::Udp => UdpSocket::bind(address).map(drop),
                Protocol::Tcp => TcpListener::bind(address).map(drop),
            };
            let Err(error) = opened else { continue };
            let name = match protocol {
                Protocol::Udp => "UDP",
                Protocol::Tcp => "TCP",
            };
            let who = holder(protocol, address).unwrap_or_else(|| "another program".to_owned());
            bail!(
                "{name} {address} of site {} cannot be opened ({error}): {who} has it.\nThe demo \
                 needs it for itself. End that program, or use other addresses: --block 77",
                site.name
            );
        }
    }
    Ok(())
}

/// Name and id of the process that holds a port; none when it belongs to another user.
fn holder(protocol: Protocol, address: SocketAddr) -> Option<String> {
    let table = match protocol {
        Protocol::Udp => "/proc/net/udp",
        Protocol::Tcp => "/proc/net/tcp",
    };
    let inode = inode(&fs::read_to_string(table).ok()?, address)?;
    let wanted = format!("socket:[{inode}]");
    for process in fs::read_dir("/proc").ok()?.flatten() {
        // Not `self`, which is listed too.
        let name = process.file_name();
        let Some(pid) = name.to_str().filter(|name| name.bytes().all(|it| it.is_ascii_digit()))
        else {
            continue;
        };
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        let mut links = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
        if links.any(|link| link.as_os_str() == wanted.as_str()) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (process {pid})", name.trim()));
        }
    }
    None
}

/// The inode of the socket bound to an address or to all addresses, from a table of `/proc/net`.
fn inode(table: &str, address: SocketAddr) -> Option<u64> {
    let IpAddr::V4(ip) = address.ip() else { return None };
    let port = address.port();
    // The kernel prints the address as one number in the machine's byte order.
    let exact = format!("{:08X}:{port:04X}", u32::from_ne_bytes(ip.octets()));
    let any = format!("00000000:{port:04X}");
    const LISTENS: &str = "0A";
    const UNCONNECTED: &str = "07";
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let local = *fields.get(1)?;
        let waits = matches!(*fields.get(3)?, LISTENS | UNCONNECTED);
        (waits && (local == exact || local == any)).then(|| fields.get(9)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a taken port is named with its holder: this very test.
    #[test]
    fn a_taken_port_is_named() {
        let taken = UdpSocket::bind("127.66.2.1:5060").unwrap();
        let plan = Plan::three_sites("/nowhere".as_ref(), "/nowhere".as_ref(), 66);
        let message = check(&plan).unwrap_err().to_string();
        let own = format!("process {}", std::process::id());
        for part in ["UDP 127.66.2.1:5060", "site fra", own.as_str(), "--block"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        drop(taken);
        check(&plan).unwrap();
    }

    // Goal: a socket on all addresses is found too, a connection from that port is not.
    #[test]
    fn tables_of_the_kernel() {
        let address: SocketAddr = "127.0.1.1:5060".parse().unwrap();
        let local = format!("{:08X}:13C4", u32::from_ne_bytes([127, 0, 1, 1]));
        let line = |local: &str, state: &str| {
            format!("head\n 1: {local} 00000000:0000 {state} 0:0 0:0 0 0 0 4711 1\n")
        };
        assert_eq!(inode(&line(&local, "0A"), address), Some(4_711));
        assert_eq!(inode(&line("00000000:13C4", "07"), address), Some(4_711));
        assert_eq!(inode(&line(&local, "01"), address), None);
        assert_eq!(inode(&line("0100007F:13C4", "0A"), address), None);
    }
}
