//! Where agents' phones are (registrations, RFC 3261 section 10) and the secrets that they
//! register with, sealed.

use serde::{Deserialize, Serialize};
use tandem_routing::{
    table::{Row, TableTag},
    time::ClusterTime,
};

use crate::{
    ids::{AgentId, TenantId},
    leg::{Owner, Transport},
    seal::Sealed,
};

/// Where a phone is reached.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PhoneTarget {
    /// Its Contact URI.
    pub contact_uri: String,
    /// How.
    pub transport: Transport,
    /// Source of its REGISTER: where packets go when the Contact is behind NAT.
    pub source: String,
    /// The node that the phone registered through; only it can use a connection.
    pub edge: Owner,
}

impl std::fmt::Debug for PhoneTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PhoneTarget({:?} {} by {:?})", self.transport, self.source, self.edge)
    }
}

/// One registered contact of an agent's phone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Owner.
    pub tenant: TenantId,
    /// Whose phone.
    pub agent: AgentId,
    /// Where it is.
    pub target: PhoneTarget,
    /// Call-ID and CSeq of the REGISTER: an older one never undoes a newer one.
    pub call_id: String,
    /// See `call_id`.
    pub cseq: u32,
    /// When the binding was last written here; the newest is called first.
    pub written: ClusterTime,
    /// The replicated lifetime; the edge writes again after half of it, whatever the phone does in
    /// between.
    pub expires: ClusterTime,
}

impl Row for Binding {
    type Key = (AgentId, String);
    const TABLE: TableTag = TableTag::Binding;
    const VERSION: u8 = 1;

    fn key(&self) -> (AgentId, String) {
        (self.agent, self.target.contact_uri.clone())
    }
    fn tenant(&self) -> TenantId {
        self.tenant
    }
    fn key_bytes(key: &(AgentId, String)) -> Vec<u8> {
        [&key.0.0.to_be_bytes()[..], key.1.as_bytes()].concat()
    }
}

/// What an agent's phone proves itself with: digests of the password (RFC 7616 A1), sealed before
/// they are proposed. The password itself is nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// Owner.
    pub tenant: TenantId,
    /// Whose.
    pub agent: AgentId,
    /// The realm that the digests were made for.
    pub realm: String,
    /// MD5 (16 bytes), then SHA-256 (32 bytes), sealed.
    pub sealed: Sealed,
}

impl Row for Credential {
    type Key = AgentId;
    const TABLE: TableTag = TableTag::Credential;
    const VERSION: u8 = 1;

    fn key(&self) -> AgentId {
        self.agent
    }
    fn tenant(&self) -> TenantId {
        self.tenant
    }
    fn key_bytes(key: &AgentId) -> Vec<u8> {
        key.0.to_be_bytes().to_vec()
    }
}
