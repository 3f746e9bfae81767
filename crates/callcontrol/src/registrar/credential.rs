//! What an agent's phone proves itself with, sealed under the cluster's key.

use hmac::{Hmac, KeyInit, Mac};
use tandem_cluster::{
    binding::Credential,
    seal::{ClusterKey, open},
};
use tandem_routing::name::Name;
use tandem_sip::auth::{Algorithm, ClusterKey as NonceKey, Ha1};

/// Bytes of the MD5 digest at the beginning of a credential.
const MD5_BYTES: usize = 16;

/// The context under which a credential is sealed: whose it is.
#[must_use]
pub fn credential_context(agent: &str, realm: &str) -> Vec<u8> {
    format!("tandem/credential/1/{realm}/{agent}").into_bytes()
}

/// The plain form of a credential before it is sealed: both digests of the password.
#[must_use]
pub fn credential_secret(user: &str, realm: &str, password: &str) -> Vec<u8> {
    let digest = |algorithm| {
        let ha1 = Ha1::compute(algorithm, user.as_bytes(), realm.as_bytes(), password.as_bytes());
        unhex(&ha1.expose_hex())
    };
    [digest(Algorithm::Md5), digest(Algorithm::Sha256)].concat()
}

/// The digest of an agent's password by this algorithm; `None` when there is none that can be used.
pub(super) fn unseal(
    key: &ClusterKey,
    user: &Name,
    credential: &Credential,
    algorithm: Algorithm,
) -> Option<Ha1> {
    let context = credential_context(user.as_str(), &credential.realm);
    let secret = open(key, &context, &credential.sealed).ok()?;
    let part = match algorithm {
        Algorithm::Md5 => secret.get(..MD5_BYTES)?,
        Algorithm::Sha256 => secret.get(MD5_BYTES..)?,
    };
    let digits: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
    Ha1::from_hex(algorithm, &digits).ok()
}

/// The nonce key: derived, so that the cluster key itself is used for sealing only.
pub(super) fn nonce_key(key: &ClusterKey) -> NonceKey {
    let mut bytes = [0_u8; 32];
    if let Ok(mut mac) = Hmac::<sha2::Sha256>::new_from_slice(key.expose()) {
        mac.update(b"tandem/nonce/1");
        bytes.copy_from_slice(&mac.finalize().into_bytes());
    }
    NonceKey::new(bytes)
}

fn unhex(digits: &str) -> Vec<u8> {
    digits
        .as_bytes()
        .chunks(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use tandem_cluster::{ids::AgentId, ids::TenantId, seal::seal};

    use super::*;

    // Goal: a credential opens for its agent and realm only, and gives both digests of RFC 7616.
    #[test]
    fn credentials_open_for_their_agent() {
        let key = ClusterKey::new([3; 32]);
        let secret = credential_secret("amy", "tandem.example", "pw");
        assert_eq!(secret.len(), MD5_BYTES + 32);
        let context = credential_context("amy", "tandem.example");
        let credential = Credential {
            tenant: TenantId::DEFAULT,
            agent: AgentId::default(),
            realm: "tandem.example".into(),
            sealed: seal(&key, [1; 24], &context, &secret).unwrap(),
        };
        for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
            let expected = Ha1::compute(algorithm, b"amy", b"tandem.example", b"pw");
            let opened = unseal(&key, &"amy".parse().unwrap(), &credential, algorithm).unwrap();
            assert_eq!(opened.expose_hex(), expected.expose_hex());
        }
        assert!(unseal(&key, &"bob".parse().unwrap(), &credential, Algorithm::Md5).is_none());
        let other = ClusterKey::new([4; 32]);
        assert!(unseal(&other, &"amy".parse().unwrap(), &credential, Algorithm::Md5).is_none());
    }
}
