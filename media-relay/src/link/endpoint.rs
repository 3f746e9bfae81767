//! The UDP port of all links, and how QUIC is set up on it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hmac::{Hmac, KeyInit, Mac};
use quinn::{
    ClientConfig, Connecting, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig,
    IdleTimeout, Incoming, ServerConfig, TokioRuntime, TransportConfig, VarInt,
    crypto::{CryptoError, HmacKey},
};
use sha2::Sha256;

use super::{LinkStartError, congestion::FixedWindow, connection};
use crate::{
    identity::Role,
    limits::{
        LINK_HANDSHAKES_MAX, LINK_IDLE_TIMEOUT, LINK_KEEP_ALIVE, LINK_RECEIVE_BUFFER,
        LINK_SEND_BUFFER, LINK_SOCKET_BUFFER,
    },
    sockets::bind_link,
    tls::TlsMaterial,
};

/// The port.
pub(super) struct LinkEndpoint {
    endpoint: Endpoint,
    client: ClientConfig,
    address: SocketAddr,
}

impl LinkEndpoint {
    /// Opens the port. Must be called inside the runtime that will run it.
    pub(super) fn open(
        address: SocketAddr,
        flows_max: u32,
        tls: &TlsMaterial,
        incarnation: u64,
    ) -> Result<Self, LinkStartError> {
        let transport = Arc::new(transport(flows_max));
        let mut server = ServerConfig::with_crypto(Arc::new(tls.link_server()?));
        server.transport_config(Arc::clone(&transport)).max_incoming(LINK_HANDSHAKES_MAX);
        let mut client = ClientConfig::new(Arc::new(tls.link_client()?));
        client.transport_config(transport);
        let port = |error| LinkStartError::Port { address, error };
        let socket = bind_link(address, LINK_SOCKET_BUFFER).map_err(port)?;
        let bound = socket.local_addr().map_err(port)?;
        let config = endpoint_config(tls, incarnation);
        let runtime = Arc::new(TokioRuntime);
        let endpoint = Endpoint::new(config, Some(server), socket, runtime).map_err(port)?;
        Ok(Self { endpoint, client, address: bound })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn connect(&self, to: SocketAddr) -> Result<Connecting, quinn::ConnectError> {
        self.endpoint.connect_with(self.client.clone(), to, Role::Relay.dns_name())
    }

    pub(super) async fn accept(&self) -> Option<Incoming> {
        self.endpoint.accept().await
    }

    /// Closes all connections and lets the last packets leave.
    pub(super) async fn close_all(&self) {
        self.endpoint.close(connection::CLOSE_DONE, b"the relay ends");
        let idle = self.endpoint.wait_idle();
        // What is not told by then finds out by its own timeout.
        if tokio::time::timeout(crate::limits::STOP_GRACE, idle).await.is_err() {
            tracing::debug!("a link was not closed in time");
        }
    }
}

fn transport(flows_max: u32) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let idle = VarInt::from_u32(LINK_IDLE_TIMEOUT.as_millis() as u32);
    transport
        .max_idle_timeout(Some(IdleTimeout::from(idle)))
        .keep_alive_interval(Some(LINK_KEEP_ALIVE))
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_send_buffer_size(LINK_SEND_BUFFER)
        .datagram_receive_buffer_size(Some(LINK_RECEIVE_BUFFER))
        .congestion_controller_factory(Arc::new(FixedWindow::for_flows(flows_max)));
    transport
}

/// Any connection id is looked at and the reset key outlives the process, so that a relay that was
/// restarted answers the packets of its last life with a reset (RFC 9000 section 10.3), and the
/// other side dials again at once instead of after the idle timeout.
fn endpoint_config(tls: &TlsMaterial, incarnation: u64) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(ResetKey::derive(tls.stable_secret())));
    let life = RandomIds::new(tls.stable_secret(), incarnation);
    config.cid_generator(move || Box::new(life.clone()));
    config
}

/// Connection ids that nobody else can connect or foretell: a keyed hash over a count, under a key
/// of this life of the process. The usual generator would not do: it drops packets of an earlier
/// life, which here are to be answered with a reset.
#[derive(Clone)]
struct RandomIds {
    key: Hmac<Sha256>,
    count: u64,
}

impl RandomIds {
    fn new(secret: &[u8], incarnation: u64) -> Self {
        let mut key = keyed(secret);
        key.update(b"tandem link connection ids 1");
        key.update(&incarnation.to_be_bytes());
        Self { key: keyed(&key.finalize().into_bytes()), count: 0 }
    }
}

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        self.count += 1;
        let mut mac = self.key.clone();
        mac.update(&self.count.to_be_bytes());
        let bytes = mac.finalize().into_bytes();
        ConnectionId::new(bytes.get(..CONNECTION_ID_LEN).unwrap_or(&bytes))
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

const CONNECTION_ID_LEN: usize = 8;

/// Key of stateless resets.
struct ResetKey(Hmac<Sha256>);

impl ResetKey {
    fn derive(secret: &[u8]) -> Self {
        let mut key = keyed(secret);
        key.update(b"tandem link reset key 1");
        Self(keyed(&key.finalize().into_bytes()))
    }
}

fn keyed(secret: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of any length (RFC 2104 section 2); the error type is of the general trait.
    Hmac::new_from_slice(secret).unwrap_or_else(|_| Hmac::new(&Default::default()))
}

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        let mut mac = self.0.clone();
        mac.update(data);
        let signature = mac.finalize().into_bytes();
        for (out, byte) in signature_out.iter_mut().zip(signature) {
            *out = byte;
        }
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let mut mac = self.0.clone();
        mac.update(data);
        mac.verify_slice(signature).map_err(|_| CryptoError)
    }
}

impl From<quinn::ConnectError> for connection::LinkRefused {
    fn from(error: quinn::ConnectError) -> Self {
        Self::Dial(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: the reset key is the same for the same secret, so that a restarted relay can reset the
    // links of its last life, and another for another secret.
    #[test]
    fn reset_key_outlives_the_process() {
        let sign = |secret: &[u8]| {
            let mut signature = [0; 32];
            ResetKey::derive(secret).sign(b"a connection id", &mut signature);
            signature
        };
        let signature = sign(b"secret");
        assert_eq!(signature, sign(b"secret"));
        assert_ne!(signature, sign(b"other"));
        let key = ResetKey::derive(b"secret");
        assert!(key.verify(b"a connection id", &signature).is_ok());
        assert!(key.verify(b"another", &signature).is_err());
    }
}
