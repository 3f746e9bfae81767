//! The SIP edge: sockets, relays and the task that runs call control.
//!
//! ```text
//!  udp, tcp ──▶ inbox ──▶ driver (owns CallControl) ──▶ udp, tcp, relays, proposer
//!                 ▲                                          │
//!                 └────────────── results, events ───────────┘
//! ```
//!
//! What a message means is decided in `crates/callcontrol`; here bytes become inputs and outputs
//! become bytes, calls and commands.

mod convert;
mod driver;
mod notes;
mod relays;
mod tcp;
mod udp;

use tandem_callcontrol::io::Input;
use tokio::sync::mpsc;

pub use driver::Driver;
pub use tcp::TcpEdge;
pub use udp::UdpEdge;

/// Inputs that may wait for call control. Datagrams beyond it are dropped, as a network would;
/// everything else waits.
pub const INBOX_MAX: usize = 16_384;

/// The way into call control.
pub type Inbox = mpsc::Sender<Input>;

/// The sockets for phones and trunks, open and silent.
#[derive(Debug)]
pub struct Sockets {
    /// Datagrams.
    pub udp: UdpEdge,
    /// Streams.
    pub tcp: TcpEdge,
}

impl Sockets {
    /// Opens the sockets of `[sip]`.
    ///
    /// # Errors
    /// [`crate::exit::Exit::Port`] names the setting.
    pub fn bind(config: &crate::config::SipConfig) -> Result<Self, crate::exit::Exit> {
        Ok(Self { udp: UdpEdge::bind(&config.udp)?, tcp: TcpEdge::bind(&config.tcp)? })
    }
}
