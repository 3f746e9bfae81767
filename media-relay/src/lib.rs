//! A media relay of Tandem: RTP sockets towards phones and trunks on one side, QUIC links towards
//! other relays on the other.
//!
//! Start at [`Relay::start`]. It is a process of its own ([`process`]), which outlives the node that
//! started it; nodes control it over gRPC ([`control`]), packets take the short way through
//! [`media`] and [`link`], and [`witness`] tells the cluster when the node on this host is gone.
//!
//! What does not live here: what becomes of a packet (`tandem-rtp`, pure), and who talks to whom
//! (the nodes).

mod background;
pub mod clock;
pub mod config;
pub mod control;
pub mod counters;
pub mod identity;
pub mod limits;
pub mod link;
pub mod media;
pub mod ports;
pub mod process;
pub mod relay;
pub mod sockets;
pub mod tls;
pub mod witness;

pub use config::{LogFormat, RelayConfig, Settings, TlsConfig};
pub use relay::{EndReason, Relay, StartError};

/// gRPC stubs, generated: the relay's own service and the attestations that it gives.
#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    unreachable_pub,
    unused_qualifications,
    reason = "generated code"
)]
pub mod stubs {
    mod relay {
        tonic::include_proto!("tandem.relay.v1");
    }
    mod cluster {
        tonic::include_proto!("tandem.cluster.v1");
    }
    pub use cluster::{attestation_client, attestation_server};
    pub use relay::{relay_client, relay_server};
}
