//! Who is at the other end of a connection: roles and names in certificates.
//!
//! A certificate of the cluster's authority carries its role as a DNS name
//! (`node.tandem.internal`, `relay.tandem.internal`, `operator.tandem.internal`) and its own name in
//! front of that (`milan-1.relay.tandem.internal`). What does not live here: checking signatures
//! and dates, which TLS does before.

use std::fmt;

use thiserror::Error;
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

/// What a process of the cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A node.
    Node,
    /// A relay.
    Relay,
    /// A person with the command line.
    Operator,
}

impl Role {
    /// The DNS name that stands for the role in certificates.
    pub const fn dns_name(self) -> &'static str {
        match self {
            Self::Node => "node.tandem.internal",
            Self::Relay => "relay.tandem.internal",
            Self::Operator => "operator.tandem.internal",
        }
    }

    /// The DNS name of one process with this role.
    pub fn dns_name_of(self, name: &str) -> String {
        format!("{name}.{}", self.dns_name())
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.dns_name())
    }
}

/// The names in one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    dns_names: Vec<String>,
}

/// Why a certificate does not do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// No certificate was shown.
    #[error("the other end shows no certificate; give it one of the cluster's authority")]
    Missing,
    /// Not X.509.
    #[error("the certificate cannot be read: {0}; make it anew")]
    Unreadable(String),
    /// Another role.
    #[error("the certificate has the names {found} and not {wanted}; use one with that role")]
    WrongRole {
        /// The role's name.
        wanted: &'static str,
        /// The names that it has.
        found: String,
    },
    /// Another name.
    #[error(
        "the certificate has the names {found} and not {wanted}; use the one made for that name"
    )]
    WrongName {
        /// The name.
        wanted: String,
        /// The names that it has.
        found: String,
    },
}

impl PeerIdentity {
    /// Reads the DNS names of a DER certificate (RFC 5280 section 4.2.1.6).
    pub fn from_der(der: &[u8]) -> Result<Self, IdentityError> {
        let unreadable = |error: String| IdentityError::Unreadable(error);
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|error| unreadable(error.to_string()))?;
        let names = certificate
            .subject_alternative_name()
            .map_err(|error| unreadable(error.to_string()))?;
        let dns_names = names.map_or_else(Vec::new, |extension| {
            let names = extension.value.general_names.iter();
            names
                .filter_map(|name| match name {
                    GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
                    _ => None,
                })
                .collect()
        });
        Ok(Self { dns_names })
    }

    /// Reads the first certificate of a chain.
    pub fn from_chain<C: AsRef<[u8]>>(chain: &[C]) -> Result<Self, IdentityError> {
        Self::from_der(chain.first().ok_or(IdentityError::Missing)?.as_ref())
    }

    /// Demands a role.
    pub fn require_role(&self, role: Role) -> Result<(), IdentityError> {
        if self.has(role.dns_name()) {
            return Ok(());
        }
        Err(IdentityError::WrongRole { wanted: role.dns_name(), found: self.list() })
    }

    /// Demands a role and a name.
    pub fn require_name(&self, role: Role, name: &str) -> Result<(), IdentityError> {
        self.require_role(role)?;
        let wanted = role.dns_name_of(name);
        if self.has(&wanted) {
            return Ok(());
        }
        Err(IdentityError::WrongName { wanted, found: self.list() })
    }

    fn has(&self, name: &str) -> bool {
        self.dns_names.iter().any(|known| known == name)
    }

    fn list(&self) -> String {
        match self.dns_names.len() {
            0 => "(none)".to_owned(),
            _ => self.dns_names.join(", "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(names: &[&str]) -> PeerIdentity {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = rcgen::generate_simple_self_signed(names).expect("a certificate");
        PeerIdentity::from_der(certificate.cert.der()).expect("readable")
    }

    // Goal: role and name are both needed, exactly, and the message shows what is there.
    #[test]
    fn roles_and_names() {
        let relay = identity(&["relay.tandem.internal", "milan-1.relay.tandem.internal"]);
        assert_eq!(relay.require_role(Role::Relay), Ok(()));
        assert_eq!(relay.require_name(Role::Relay, "milan-1"), Ok(()));
        assert!(matches!(relay.require_role(Role::Node), Err(IdentityError::WrongRole { .. })));
        let error = relay.require_name(Role::Relay, "milan-2").expect_err("another name");
        assert!(error.to_string().contains("milan-1.relay.tandem.internal"), "{error}");
        let node = identity(&["milan-1.relay.tandem.internal"]);
        assert!(node.require_name(Role::Relay, "milan-1").is_err(), "a name is not a role");
        assert!(identity(&["10.0.0.1"]).require_role(Role::Node).is_err());
    }

    // Goal: rubbish and nothing are told apart from a wrong role.
    #[test]
    fn unreadable_certificates() {
        assert!(matches!(PeerIdentity::from_der(b"no"), Err(IdentityError::Unreadable(_))));
        assert_eq!(PeerIdentity::from_chain::<Vec<u8>>(&[]), Err(IdentityError::Missing));
    }
}
