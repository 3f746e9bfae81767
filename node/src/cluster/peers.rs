//! Connections to the other nodes: one HTTP/2 connection per address and purpose, made when first
//! used and again after a loss.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tandem_media_relay::identity::Role;
use tonic::transport::{Channel, Endpoint, Error};

use crate::tls::Tls;

/// Connections that are kept at a time; beyond that the oldest are dropped.
const CONNECTIONS_MAX: usize = 1_024;

/// What a connection is for: heavy traffic must not hold up heartbeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Log entries.
    Replication,
    /// Heartbeats and votes.
    Heartbeat,
    /// Snapshots.
    Snapshot,
    /// Forwarded commands, leases, joining.
    Command,
    /// Control of relays.
    Relay,
}

/// The pool.
#[derive(Clone)]
pub struct Peers {
    tls: Tls,
    channels: Arc<Mutex<BTreeMap<(String, Purpose), Channel>>>,
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Peers({})", self.channels.lock().len())
    }
}

impl Peers {
    /// A pool that presents this certificate.
    #[must_use]
    pub fn new(tls: Tls) -> Self {
        Self { tls, channels: Arc::default() }
    }

    /// A connection to `address` (host:port) for this purpose; not made before it is used.
    ///
    /// # Errors
    /// When the address cannot be one.
    pub fn channel(&self, address: &str, purpose: Purpose) -> Result<Channel, Error> {
        let key = (address.to_owned(), purpose);
        if let Some(channel) = self.channels.lock().get(&key) {
            return Ok(channel.clone());
        }
        let role = if purpose == Purpose::Relay { Role::Relay } else { Role::Node };
        let channel = Endpoint::from_shared(format!("https://{address}"))?
            .tls_config(self.tls.client(role))?
            .connect_timeout(Duration::from_secs(1))
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(2))
            .keep_alive_timeout(Duration::from_secs(4))
            .keep_alive_while_idle(true)
            .initial_stream_window_size(8 * 1024 * 1024)
            .initial_connection_window_size(16 * 1024 * 1024)
            .connect_lazy();
        let mut channels = self.channels.lock();
        if channels.len() >= CONNECTIONS_MAX {
            channels.pop_first();
        }
        channels.insert(key, channel.clone());
        Ok(channel)
    }
}
