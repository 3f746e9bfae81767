//! Hosts on one machine: each an anonymous network namespace with one device, whose other end is
//! the router of [`crate::wan`].
//!
//! ```no_run
//! use std::process::Command;
//!
//! use tandem_lab::host::{HostSpec, Lab};
//! use tandem_lab::wan::{LinkSettings, Party};
//!
//! let lab = Lab::new(
//!     vec![
//!         HostSpec::new("paris", "10.0.0.1".parse()?),
//!         HostSpec::new("milan", "10.0.0.2".parse()?),
//!     ],
//!     42,
//! )?;
//! lab.router().set(&Party::All, &Party::All, &LinkSettings::delayed_us(10_500))?;
//! let mut ping = Command::new("ping");
//! ping.args(["-c", "3", "10.0.0.2"]);
//! lab.host("paris")?.spawn(ping)?.wait()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is left behind
//!
//! Nothing, however the owner ends. A namespace has no name, only a descriptor; a device belongs to
//! the descriptor that opened it, and its addresses and routes to the device. Both go with the
//! process, also by SIGKILL. Programs started in a host do not: they lose their network and run on.
//! A process that starts programs therefore calls [`isolate_self`] first, which ties them to it.
//!
//! # What a host does not have
//!
//! A view of its own on anything but the network: files, `/sys`, `/etc/resolv.conf` and process
//! ids are the owner's. Two addresses of the same host talk through its kernel, not the router.

mod namespace;
mod netlink;
mod room;
mod worker;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

pub use room::{RoomError, isolate_self};
use tun_rs::SyncDevice;

use self::namespace::Namespace;
use self::netlink::{DeviceIndex, LOOPBACK, Netlink};
use self::worker::Worker;
use crate::wan::limits::HOST_QUEUE_PACKETS;
use crate::wan::{Endpoint, HostIndex, Network, NetworkError, Prefix, PrefixError, Router};

/// Size of IP packets that hosts send unless told otherwise: Ethernet's.
pub const MTU_DEFAULT: u16 = 1_500;

/// A host to be made.
#[derive(Clone, Debug)]
pub struct HostSpec {
    name: String,
    place: Place,
    mtu: u16,
    endpoints: Vec<EndpointSpec>,
}

/// A block of addresses of a host.
#[derive(Clone, Debug)]
struct EndpointSpec {
    name: String,
    site: String,
    addresses: Prefix,
}

/// Where a host lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In a namespace of its own.
    Apart,
    /// In the namespace of the process that makes the laboratory.
    Here,
}

/// Hosts, and the router between them. Dropping it stops the router; programs in the hosts run on
/// without a network.
#[derive(Debug)]
pub struct Lab {
    // Before the hosts: it holds their devices.
    router: Router,
    hosts: Vec<Host>,
}

/// A host that runs.
#[derive(Debug)]
pub struct Host {
    name: String,
    address: IpAddr,
    addresses: Vec<Prefix>,
    namespace: Namespace,
    worker: Worker,
}

/// A laboratory that could not be built, or that has no such host. What was begun is undone.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A host without an address.
    #[error("host {0:?} has no addresses: give it an endpoint")]
    NoAddress(String),
    /// Two hosts share a name.
    #[error("two hosts are named {0:?}: rename one")]
    DuplicateHost(String),
    /// No host has that name.
    #[error("no host {name:?}; there are {known}")]
    UnknownHost {
        /// Which was meant.
        name: String,
        /// Which there are.
        known: String,
    },
    /// The endpoints make no network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The kernel refused something.
    #[error("host {host:?} could not be made: {cause}")]
    Host {
        /// Which host.
        host: String,
        /// What the kernel said.
        cause: io::Error,
    },
    /// The router could not start.
    #[error("the router could not start: {0}")]
    Router(io::Error),
}

impl HostSpec {
    /// A host with a namespace of its own and one endpoint, which is named like the host and stands
    /// at a site of its own, also named like the host.
    #[must_use]
    pub fn new(name: &str, address: IpAddr) -> Self {
        Self::empty(name, Place::Apart).endpoint(name, name, address.into())
    }

    /// A host with a namespace of its own, to be given endpoints.
    #[must_use]
    pub fn apart(name: &str) -> Self {
        Self::empty(name, Place::Apart)
    }

    /// The process itself as a host: its own sockets reach the laboratory. It gets routes to the
    /// other hosts only, so its network stays what it was, and loses them with the process.
    #[must_use]
    pub fn here(name: &str) -> Self {
        Self::empty(name, Place::Here)
    }

    /// Adds a block of addresses. Sockets of the host can be bound to every address of it; those of
    /// an IPv6 block of [`HostSpec::here`] need `IP_FREEBIND` for all but its second address,
    /// because a setting for the whole process is not the laboratory's to change.
    #[must_use]
    pub fn endpoint(mut self, name: &str, site: &str, addresses: Prefix) -> Self {
        self.endpoints.push(EndpointSpec {
            name: name.to_owned(),
            site: site.to_owned(),
            addresses,
        });
        self
    }

    /// Moves every endpoint to a site.
    #[must_use]
    pub fn at_site(mut self, site: &str) -> Self {
        for endpoint in &mut self.endpoints {
            site.clone_into(&mut endpoint.site);
        }
        self
    }

    /// Sets the size of the largest IP packet that the host sends.
    #[must_use]
    pub fn mtu(mut self, mtu: u16) -> Self {
        self.mtu = mtu;
        self
    }

    fn empty(name: &str, place: Place) -> Self {
        Self { name: name.to_owned(), place, mtu: MTU_DEFAULT, endpoints: Vec::new() }
    }

    /// The address that packets leave from unless a socket is bound to another: the only one of the
    /// first block, or the one after the first (which may mean the whole block).
    fn address(&self) -> Option<IpAddr> {
        let block = self.endpoints.first()?.addresses;
        block.nth(u32::from(!block.is_single()))
    }
}

impl Lab {
    /// Makes the hosts and starts the router; every link passes everything at once. The seed
    /// decides the draws of every link. Needs root.
    ///
    /// # Errors
    /// Specifications that fit no network, or what the kernel refuses.
    pub fn new(specs: Vec<HostSpec>, seed: u64) -> Result<Self, LabError> {
        check_host_names(&specs)?;
        let endpoints = endpoints_of(&specs);
        let network = Network::new(endpoints.clone(), seed)?;
        let (mut hosts, mut devices) = (Vec::new(), Vec::new());
        for (index, spec) in specs.into_iter().enumerate() {
            let others = endpoints
                .iter()
                .filter(|endpoint| endpoint.host != HostIndex(index))
                .map(|endpoint| endpoint.addresses)
                .collect();
            let (host, device) = Host::make(spec, others)?;
            hosts.push(host);
            devices.push(device);
        }
        let router = Router::start(network, devices).map_err(LabError::Router)?;
        Ok(Self { router, hosts })
    }

    /// The links between the hosts. Clones control the same router.
    #[must_use]
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// All hosts, as they were given.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The host of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn host(&self, name: &str) -> Result<&Host, LabError> {
        self.hosts.iter().find(|host| host.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.hosts.iter().map(Host::name).collect();
            LabError::UnknownHost { name: name.to_owned(), known: known.join(", ") }
        })
    }
}

impl Host {
    /// The host's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address that packets leave from unless a socket is bound to another.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// All its blocks of addresses.
    #[must_use]
    pub fn addresses(&self) -> &[Prefix] {
        &self.addresses
    }

    /// Starts a program in the host.
    ///
    /// The thread that starts it lives as long as the host, so a program that asks for a signal at
    /// its parent's death gets it when the host or its process ends, and not before.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn spawn(&self, command: Command) -> io::Result<Child> {
        self.worker.spawn(command)
    }

    /// Runs `work` on a thread in the host and waits for it; sockets that it opens stay in the
    /// host, whichever thread uses them later.
    ///
    /// # Errors
    /// No thread, or the namespace cannot be entered.
    ///
    /// # Panics
    /// If `work` does.
    pub fn run_in<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        run_in(&self.namespace, work)
    }

    /// The number that `/proc/PID/ns/net` shows for processes in the host.
    ///
    /// # Errors
    /// `/proc` does not answer.
    pub fn namespace_inode(&self) -> io::Result<u64> {
        self.namespace.inode()
    }

    /// Where other processes can open the host's namespace while this process lives.
    #[must_use]
    pub fn namespace_path(&self) -> PathBuf {
        self.namespace.path()
    }

    fn make(spec: HostSpec, others: Vec<Prefix>) -> Result<(Self, SyncDevice), LabError> {
        let address = spec.address().ok_or_else(|| LabError::NoAddress(spec.name.clone()))?;
        let name = spec.name.clone();
        let addresses = spec.endpoints.iter().map(|endpoint| endpoint.addresses).collect();
        let failed = |cause| LabError::Host { host: name.clone(), cause };
        let (worker, (namespace, device)) =
            Worker::start(move || furnish(&spec, &others)).map_err(failed)?;
        Ok((Self { name, address, addresses, namespace, worker }, device))
    }
}

/// Enters a namespace that [`Host::namespace_path`] of another process names, for good, with the
/// calling thread. A program started by this thread afterwards runs in that host.
///
/// # Errors
/// Nothing is there, or it cannot be entered.
pub fn enter_namespace(path: &Path) -> io::Result<()> {
    Namespace::open(path)?.enter()
}

fn run_in<T: Send>(namespace: &Namespace, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let in_host = || -> io::Result<T> {
        namespace.enter()?;
        Ok(work())
    };
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().name("in host".to_owned()).spawn_scoped(scope, in_host)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Makes the host's namespace, device, addresses and routes, on the thread that stays in it.
fn furnish(spec: &HostSpec, others: &[Prefix]) -> io::Result<(Namespace, SyncDevice)> {
    let namespace = match spec.place {
        Place::Apart => Namespace::enter_new()?,
        Place::Here => Namespace::of_this_thread()?,
    };
    let device = open_device()?;
    let index = DeviceIndex(device.if_index()?);
    let netlink = Netlink::open()?;
    netlink.bring_up(LOOPBACK)?;
    netlink.bring_up_with(index, spec.mtu.into(), HOST_QUEUE_PACKETS)?;
    for endpoint in &spec.endpoints {
        let block = endpoint.addresses;
        if let Some(address) = block.nth(u32::from(!block.is_single())) {
            netlink.add_address(index, address)?;
        }
        if !block.is_single() {
            netlink.own_block(index, block)?;
            if block.first().is_ipv6() && spec.place == Place::Apart {
                // IPv4 lets sockets be bound within an own block, IPv6 only with this.
                std::fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1")?;
            }
        }
    }
    for target in routes(spec, others)? {
        netlink.add_route(index, target)?;
    }
    Ok((namespace, device))
}

/// A host apart sends everything to the router, this process only what is for other hosts.
fn routes(spec: &HostSpec, others: &[Prefix]) -> io::Result<Vec<Prefix>> {
    match spec.place {
        Place::Here => Ok(others.to_vec()),
        Place::Apart => ["0.0.0.0/0", "::/0"]
            .into_iter()
            .map(|all| all.parse().map_err(|error: PrefixError| io::Error::other(error)))
            .collect(),
    }
}

fn open_device() -> io::Result<SyncDevice> {
    let device = tun_rs::DeviceBuilder::new().name("wan%d").build_sync().map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("no TUN device: {error}; needs root (CAP_NET_ADMIN) and /dev/net/tun"),
        )
    })?;
    device.set_nonblocking(true)?;
    Ok(device)
}

fn check_host_names(specs: &[HostSpec]) -> Result<(), LabError> {
    for (index, spec) in specs.iter().enumerate() {
        if specs.iter().take(index).any(|earlier| earlier.name == spec.name) {
            return Err(LabError::DuplicateHost(spec.name.clone()));
        }
    }
    Ok(())
}

fn endpoints_of(specs: &[HostSpec]) -> Vec<Endpoint> {
    let of_host = |(index, spec): (usize, &HostSpec)| {
        spec.endpoints
            .iter()
            .map(|endpoint| Endpoint {
                name: endpoint.name.clone(),
                site: endpoint.site.clone(),
                addresses: endpoint.addresses,
                host: HostIndex(index),
            })
            .collect::<Vec<_>>()
    };
    specs.iter().enumerate().flat_map(of_host).collect()
}
