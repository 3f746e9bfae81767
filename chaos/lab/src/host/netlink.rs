//! The four things that a host needs from the kernel's rtnetlink (`man 7 rtnetlink`): a device that
//! is up, an address, a route into the device, and a block of addresses that are its own. Spoken
//! directly, so that the laboratory needs no `ip` program; always in the calling thread's
//! namespace.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

use crate::wan::Prefix;

/// Index of a network device within its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeviceIndex(pub(super) u32);

/// The loopback device has this index in every namespace.
pub(super) const LOOPBACK: DeviceIndex = DeviceIndex(1);

/// A socket to the kernel's network configuration.
#[derive(Debug)]
pub(super) struct Netlink(OwnedFd);

// Numbers from the kernel's uapi headers: netlink.h, rtnetlink.h, if_link.h, if_addr.h, if.h.
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST_ACK: u16 = 0x1 | 0x4;
const NLM_F_EXCL_CREATE: u16 = 0x200 | 0x400;
const IFF_UP: u32 = 1;
const IFLA_MTU: u16 = 4;
const IFLA_TXQLEN: u16 = 13;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_F_NODAD: u8 = 0x02;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RT_TABLE_MAIN: u8 = 254;
const RT_TABLE_LOCAL: u8 = 255;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RT_SCOPE_HOST: u8 = 254;
const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;

const HEADER_BYTES: usize = 16;

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        // NETLINK_ROUTE is protocol 0, the family's default.
        let socket =
            socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Self(socket))
    }

    /// Brings a device up.
    pub(super) fn bring_up(&self, device: DeviceIndex) -> io::Result<()> {
        self.request(link_message(device), "bring a device up")
    }

    /// Brings a device up with this packet size and queue length.
    pub(super) fn bring_up_with(
        &self,
        device: DeviceIndex,
        mtu: u32,
        queue_packets: u32,
    ) -> io::Result<()> {
        let mut message = link_message(device);
        message.attribute(IFLA_MTU, &mtu.to_ne_bytes());
        message.attribute(IFLA_TXQLEN, &queue_packets.to_ne_bytes());
        self.request(message, "bring the host's device up")
    }

    /// Gives a device an address of its own, without neighbours.
    pub(super) fn add_address(&self, device: DeviceIndex, address: IpAddr) -> io::Result<()> {
        let bytes = octets(address);
        let mut message = Message::new(RTM_NEWADDR, NLM_F_EXCL_CREATE);
        let no_duplicate_detection = if address.is_ipv6() { IFA_F_NODAD } else { 0 };
        let all_bits = if address.is_ipv6() { 128 } else { 32 };
        message.bytes(&[family(address), all_bits, no_duplicate_detection, RT_SCOPE_UNIVERSE]);
        message.bytes(&device.0.to_ne_bytes());
        message.attribute(IFA_LOCAL, &bytes);
        message.attribute(IFA_ADDRESS, &bytes);
        self.request(message, "add an address")
    }

    /// Sends packets to these addresses into the device.
    pub(super) fn add_route(&self, device: DeviceIndex, target: Prefix) -> io::Result<()> {
        let v6 = target.first().is_ipv6();
        let scope = if v6 { RT_SCOPE_UNIVERSE } else { RT_SCOPE_LINK };
        let message = route_message(device, target, [RT_TABLE_MAIN, scope, RTN_UNICAST]);
        self.request(message, "add a route")
    }

    /// Makes every address of the block the host's own, without naming each one.
    pub(super) fn own_block(&self, device: DeviceIndex, block: Prefix) -> io::Result<()> {
        let v6 = block.first().is_ipv6();
        let scope = if v6 { RT_SCOPE_UNIVERSE } else { RT_SCOPE_HOST };
        let message = route_message(device, block, [RT_TABLE_LOCAL, scope, RTN_LOCAL]);
        self.request(message, "own a block of addresses")
    }

    fn request(&self, message: Message, what: &str) -> io::Result<()> {
        let failed = |error: io::Error| {
            io::Error::new(error.kind(), format!("the kernel refused to {what}: {error}"))
        };
        send(&self.0, &message.finish(), SendFlags::empty())
            .map_err(|errno| failed(errno.into()))?;
        let mut answer = [0_u8; 1024];
        let (_, len) = recv(&self.0, &mut answer[..], RecvFlags::empty())
            .map_err(|errno| failed(errno.into()))?;
        match acknowledged(answer.get(..len).unwrap_or(&[])) {
            Some(0) => Ok(()),
            Some(errno) => Err(failed(io::Error::from_raw_os_error(errno))),
            None => Err(failed(io::Error::other("its answer is none"))),
        }
    }
}

/// The error number of an acknowledgement, 0 for success; none if it is something else.
fn acknowledged(answer: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let errno = i32::from_ne_bytes(answer.get(HEADER_BYTES..HEADER_BYTES + 4)?.try_into().ok()?);
    (kind == NLMSG_ERROR).then_some(errno.saturating_neg())
}

fn link_message(device: DeviceIndex) -> Message {
    let mut message = Message::new(RTM_NEWLINK, 0);
    message.bytes(&[0; 4]);
    message.bytes(&device.0.to_ne_bytes());
    message.bytes(&IFF_UP.to_ne_bytes());
    message.bytes(&IFF_UP.to_ne_bytes());
    message
}

fn route_message(device: DeviceIndex, target: Prefix, how: [u8; 3]) -> Message {
    let [table, scope, kind] = how;
    let mut message = Message::new(RTM_NEWROUTE, NLM_F_EXCL_CREATE);
    let (any_source_bits, any_service) = (0, 0);
    message.bytes(&[family(target.first()), target.bits(), any_source_bits, any_service]);
    message.bytes(&[table, RTPROT_STATIC, scope, kind]);
    message.bytes(&[0; 4]);
    if target.bits() > 0 {
        message.attribute(RTA_DST, &octets(target.first()));
    }
    message.attribute(RTA_OIF, &device.0.to_ne_bytes());
    message
}

fn family(address: IpAddr) -> u8 {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    // Both families are small numbers.
    family.as_raw() as u8
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// A message under construction: header, fixed part, attributes, all in multiples of four bytes.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16) -> Self {
        let mut message = Self(vec![0; 4]);
        message.bytes(&kind.to_ne_bytes());
        message.bytes(&(NLM_F_REQUEST_ACK | flags).to_ne_bytes());
        message.bytes(&[0; 8]);
        message
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let len = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.bytes(&len.to_ne_bytes());
        self.bytes(&kind.to_ne_bytes());
        self.bytes(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        let len = u32::try_from(self.0.len()).unwrap_or(u32::MAX).to_ne_bytes();
        self.0.splice(..4, len);
        self.0
    }
}
