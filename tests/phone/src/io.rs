//! The seam between the phone's logic and the sockets: what the logic asks the outside to do.
//!
//! The world's thread implements [`Io`] with real sockets; tests of timers implement it with a list.

use std::io;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::media::StreamId;
use crate::report::CallKey;

/// How SIP travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Datagrams.
    #[default]
    Udp,
    /// Connections.
    Tcp,
}

impl Transport {
    /// As in a Via.
    pub(crate) const fn via_name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }
}

/// Names a SIP socket of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EndpointId(pub(crate) u32);

/// From which socket to whom. A TCP connection is named by its remote address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Flow {
    pub(crate) endpoint: EndpointId,
    pub(crate) transport: Transport,
    pub(crate) remote: SocketAddr,
}

/// Audio to be written to a file.
#[derive(Debug)]
pub(crate) struct WavJob {
    pub(crate) phone: String,
    pub(crate) call: CallKey,
    pub(crate) path: std::path::PathBuf,
    pub(crate) bytes: Vec<u8>,
}

/// What the logic asks of the outside. Nothing here blocks.
pub(crate) trait Io {
    /// Sends a SIP message. A failure to deliver comes back later as a transport failure.
    fn send_sip(&mut self, flow: Flow, bytes: Bytes);

    /// Opens RTP and RTCP sockets for a stream; returns the RTP port (RTCP is the next one).
    ///
    /// # Errors
    /// When the range has no free pair, or the system has no descriptors left.
    fn open_media(&mut self, stream: StreamId, ip: IpAddr) -> io::Result<u16>;

    /// Closes a stream's sockets.
    fn close_media(&mut self, stream: StreamId);

    /// Sends RTP.
    ///
    /// # Errors
    /// What the socket says; the packet is lost then.
    fn send_rtp(&mut self, stream: StreamId, to: SocketAddr, bytes: &[u8]) -> io::Result<()>;

    /// Sends RTCP from its own port.
    ///
    /// # Errors
    /// What the socket says; the packet is lost then.
    fn send_rtcp(&mut self, stream: StreamId, to: SocketAddr, bytes: &[u8]) -> io::Result<()>;

    /// Writes a file in the background.
    fn write_wav(&mut self, job: WavJob);
}
