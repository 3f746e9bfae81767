//! Certificates and keys of this relay, and the TLS settings made from them: ring as the only
//! provider, named everywhere, so that no process default can be ambiguous.
//!
//! What does not live here: what a certificate allows ([`crate::identity`]).

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use rustls::{
    RootCertStore,
    client::WebPkiServerVerifier,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{VerifierBuilderError, WebPkiClientVerifier},
};
use tandem_rtp::{ids::RelayId, link::ALPN};
use thiserror::Error;
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

use crate::{
    config::TlsConfig,
    identity::{IdentityError, PeerIdentity, Role},
    limits::TLS_HANDSHAKE_TIMEOUT,
};

/// Why the TLS files cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {error}; check [tls] and the file's permissions")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} holds no usable {what}: {error}; write it anew as PEM")]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// Certificate or key.
        what: &'static str,
        /// What the parser said.
        error: String,
    },
    /// The certificate is not this relay's.
    #[error("{path}: {error}")]
    NotThisRelay {
        /// The certificate's file.
        path: PathBuf,
        /// What it lacks.
        error: IdentityError,
    },
    /// Certificate and key do not belong together, or TLS refuses them.
    #[error("TLS refuses certificate and key of the relay: {0}; make a new pair")]
    Refused(#[from] rustls::Error),
    /// The authority cannot be used.
    #[error("TLS refuses the certificate authority: {0}; give the cluster's own in [tls] ca")]
    Authority(#[from] VerifierBuilderError),
    /// QUIC needs a cipher suite that TLS lacks.
    #[error("TLS has no cipher suite for QUIC: {0}; this build is broken")]
    Quic(#[from] NoInitialCipherSuite),
}

/// Certificates and key of a relay, read and checked.
pub struct TlsMaterial {
    ca_pem: Vec<u8>,
    cert_pem: Vec<u8>,
    key_pem: Vec<u8>,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl TlsMaterial {
    /// Reads the files; the certificate must have the relay role and the relay's name.
    pub fn load(config: &TlsConfig, relay: &RelayId) -> Result<Self, TlsError> {
        let cert_path = config.relay_cert.as_ref().unwrap_or(&config.cert);
        let key_path = config.relay_key.as_ref().unwrap_or(&config.key);
        let ca_pem = read(&config.ca)?;
        let cert_pem = read(cert_path)?;
        let key_pem = read(key_path)?;
        let chain = certificates(cert_path, &cert_pem)?;
        let key = PrivateKeyDer::from_pem_slice(&key_pem)
            .map_err(|error| unusable(key_path, "private key", error))?;
        PeerIdentity::from_chain(&chain)
            .and_then(|identity| identity.require_name(Role::Relay, relay.as_str()))
            .map_err(|error| TlsError::NotThisRelay { path: cert_path.clone(), error })?;
        let mut roots = RootCertStore::empty();
        for root in certificates(&config.ca, &ca_pem)? {
            roots.add(root).map_err(|error| unusable(&config.ca, "authority", error))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Ok(Self { ca_pem, cert_pem, key_pem, roots: Arc::new(roots), chain, key, provider })
    }

    /// Makes ring the provider of this process, for libraries that ask for a default. The first
    /// caller in a process wins; everything in Tandem calls with ring.
    pub fn install_provider(&self) {
        if CryptoProvider::get_default().is_none() {
            // Another thread may be first; then its ring is as good as ours.
            drop(self.provider.as_ref().clone().install_default());
        }
    }

    /// TLS of the control port: callers must show a certificate of the cluster.
    pub fn control_server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(Identity::from_pem(&self.cert_pem, &self.key_pem))
            .client_ca_root(Certificate::from_pem(&self.ca_pem))
            .timeout(TLS_HANDSHAKE_TIMEOUT)
    }

    /// TLS towards nodes.
    pub fn node_client(&self) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .domain_name(Role::Node.dns_name())
            .identity(Identity::from_pem(&self.cert_pem, &self.key_pem))
            .ca_certificate(Certificate::from_pem(&self.ca_pem))
    }

    /// TLS of accepted links.
    pub fn link_server(&self) -> Result<QuicServerConfig, TlsError> {
        let verifier = WebPkiClientVerifier::builder_with_provider(
            Arc::clone(&self.roots),
            Arc::clone(&self.provider),
        )
        .build()?;
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(QuicServerConfig::try_from(config)?)
    }

    /// TLS of dialled links.
    pub fn link_client(&self) -> Result<QuicClientConfig, TlsError> {
        let verifier = WebPkiServerVerifier::builder_with_provider(
            Arc::clone(&self.roots),
            Arc::clone(&self.provider),
        )
        .build()?;
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_webpki_verifier(verifier)
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(QuicClientConfig::try_from(config)?)
    }

    /// A secret that stays the same over restarts of this relay and that nobody else has: its
    /// private key's bytes, to be hashed.
    pub(crate) fn stable_secret(&self) -> &[u8] {
        self.key.secret_der()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsError::Unreadable { path: path.to_owned(), error })
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.map_err(|error| unusable(path, "certificate", error))?;
    if chain.is_empty() {
        return Err(unusable(path, "certificate", "the file has none"));
    }
    Ok(chain)
}

fn unusable(path: &Path, what: &'static str, error: impl ToString) -> TlsError {
    TlsError::Unusable { path: path.to_owned(), what, error: error.to_string() }
}
