//! The limits of the router and of its control socket, each with the reason for its value.

use std::time::Duration;

/// Named addresses that one router serves. Links are kept per directed pair, so memory grows with
/// the square: 64 endpoints are 4,096 links of less than a kilobyte.
pub const ENDPOINTS_MAX: usize = 64;

/// Longest name of an endpoint or a site.
pub const NAME_BYTES_MAX: usize = 64;

/// Longest delay, jitter and hold of a link. A geostationary hop is 0.3 s; a minute is enough to
/// call a link broken.
pub const DELAY_US_MAX: u64 = 60_000_000;

/// Slowest line: one full packet takes 12 s at this rate.
pub const RATE_BITS_PER_S_MIN: u64 = 1_000;

/// Fastest line, more than a TUN device carries.
pub const RATE_BITS_PER_S_MAX: u64 = 1_000_000_000_000;

/// Longest queue in front of a limited line.
pub const QUEUE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Filters on one link; each packet is compared with all of them.
pub const FILTERS_MAX: usize = 16;

/// Packets under way in the router: 100,000 packets/s for two and a half seconds.
pub const IN_FLIGHT_PACKETS_MAX: usize = 262_144;

/// Bytes under way in the router.
pub const IN_FLIGHT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Longest packet that a TUN device hands over: the length field of IPv4 has 16 bits.
pub const PACKET_BYTES_MAX: usize = 65_535;

/// Packets read from one host before the others and the departures get their turn.
pub const READ_BATCH: usize = 64;

/// Packets delivered before the hosts are read again.
pub const WRITE_BATCH: usize = 256;

/// Packets that a host's device holds for the router (`txqueuelen`): 50 ms at 100,000 packets/s.
pub const HOST_QUEUE_PACKETS: u32 = 5_000;

/// Length of a request on the control socket.
pub const REQUEST_BYTES_MAX: u64 = 64 * 1024;

/// Clients that the control socket serves at a time.
pub const CONTROL_CLIENTS_MAX: usize = 16;

/// A client of the control socket that says nothing for so long is let go.
pub const CONTROL_IDLE_MAX: Duration = Duration::from_secs(600);

/// Length of a configuration file.
pub const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

const _: () = assert!(READ_BATCH < IN_FLIGHT_PACKETS_MAX);
const _: () = assert!(PACKET_BYTES_MAX < IN_FLIGHT_BYTES_MAX);
const _: () = assert!(PACKET_BYTES_MAX < QUEUE_BYTES_MAX as usize);
