//! TLS of a node: one authority, roles in certificates, ring as the only provider.
//!
//! The roles and how they stand in certificates are in `tandem_media_relay::identity`; making
//! certificates is in `cli::certs`.

use std::{fs, path::Path, path::PathBuf};

use rustls::pki_types::{CertificateDer, pem::PemObject};
use tandem_media_relay::{
    config::TlsConfig,
    identity::{IdentityError, PeerIdentity, Role},
};
use tonic::{
    Request, Status,
    transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig},
};

/// Why the TLS files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {error}; check [tls] and the file's permissions")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A file holds no certificate.
    #[error("{path} holds no usable certificate: {error}; write it anew as PEM")]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What the parser said.
        error: String,
    },
    /// The certificate is for something else.
    #[error("{path}: {error}")]
    NotThisRole {
        /// The certificate's file.
        path: PathBuf,
        /// What it lacks.
        error: IdentityError,
    },
}

/// Certificates and key of a process, read and checked.
#[derive(Clone)]
pub struct Tls {
    ca: Vec<u8>,
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls(…)")
    }
}

impl Tls {
    /// Reads a node's files; the certificate must have the node role and the node's name.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn of_node(config: &TlsConfig, name: &str) -> Result<Self, TlsError> {
        let tls = Self::read(&config.ca, &config.cert, &config.key)?;
        tls.identity(&config.cert)?
            .require_name(Role::Node, name)
            .map_err(|error| TlsError::NotThisRole { path: config.cert.clone(), error })?;
        Ok(tls)
    }

    /// Reads three PEM files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn read(ca: &Path, cert: &Path, key: &Path) -> Result<Self, TlsError> {
        install_provider();
        let read = |path: &Path| {
            fs::read(path).map_err(|error| TlsError::Unreadable { path: path.to_owned(), error })
        };
        Ok(Self { ca: read(ca)?, cert: read(cert)?, key: read(key)? })
    }

    fn identity(&self, path: &Path) -> Result<PeerIdentity, TlsError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.cert).collect();
        let unusable = |error: String| TlsError::Unusable { path: path.to_owned(), error };
        let chain = chain.map_err(|error| unusable(error.to_string()))?;
        PeerIdentity::from_chain(&chain).map_err(|error| unusable(error.to_string()))
    }

    /// For a port of ours: callers must show a certificate of the cluster.
    #[must_use]
    pub fn server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(Identity::from_pem(&self.cert, &self.key))
            .client_ca_root(Certificate::from_pem(&self.ca))
    }

    /// Towards a process with this role.
    #[must_use]
    pub fn client(&self, to: Role) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .domain_name(to.dns_name())
            .identity(Identity::from_pem(&self.cert, &self.key))
            .ca_certificate(Certificate::from_pem(&self.ca))
    }
}

/// Makes ring the provider of this process, for libraries that ask for a default.
pub fn install_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Another thread may be first; then its ring is as good as ours.
        drop(rustls::crypto::ring::default_provider().install_default());
    }
}

/// Refuses a call whose certificate has not this role and name: a certificate of one process must not
/// speak for another one.
///
/// # Errors
/// PERMISSION_DENIED, with what the certificate has.
pub fn require_name<T>(request: &Request<T>, role: Role, name: &str) -> Result<(), Status> {
    let refused = |error: IdentityError| Status::permission_denied(error.to_string());
    let chain = request.peer_certs().ok_or_else(|| refused(IdentityError::Missing))?;
    PeerIdentity::from_chain(&chain)
        .and_then(|identity| identity.require_name(role, name))
        .map_err(refused)
}

/// Refuses a call whose certificate has none of these roles.
///
/// # Errors
/// PERMISSION_DENIED, with what the certificate has.
pub fn require_role<T>(request: &Request<T>, roles: &[Role]) -> Result<(), Status> {
    let refused = |error: IdentityError| Status::permission_denied(error.to_string());
    let chain = request.peer_certs().ok_or_else(|| refused(IdentityError::Missing))?;
    let identity = PeerIdentity::from_chain(&chain).map_err(refused)?;
    let mut last = Ok(());
    for role in roles {
        last = identity.require_role(*role);
        if last.is_ok() {
            return Ok(());
        }
    }
    last.map_err(refused)
}
