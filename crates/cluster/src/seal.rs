//! Sealing of secrets that enter the log.
//!
//! The log, the rows and every snapshot and backup hold only sealed secrets; the cluster key stays
//! in a file on each node. XChaCha20-Poly1305, so that random nonces never clash; the context (whose
//! secret it is) is authenticated, so that a sealed secret cannot be moved to another row.

use std::fmt;

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use serde::{Deserialize, Serialize};

/// The cluster's 32-byte key. Never shown, never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterKey([u8; 32]);

impl ClusterKey {
    /// Takes the bytes of the key file.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw key, to derive others from.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(…)")
    }
}

/// A sealed secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Which key; 0 is the first. A rotation adds numbers.
    pub key: u32,
    /// Drawn at random for each sealing.
    pub nonce: [u8; 24],
    /// Ciphertext and tag.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed(key {}, {} bytes)", self.key, self.bytes.len())
    }
}

/// A sealed secret that cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a sealed secret cannot be opened: this node's cluster key is not the one it was sealed with, \
     or it was sealed for something else; every node needs the same key file ([security] cluster_key)"
)]
pub struct SealError;

/// Seals `secret` for `context`; `nonce` must be drawn at random for every call.
///
/// # Errors
/// [`SealError`] only for a secret of many gigabytes.
pub fn seal(
    key: &ClusterKey,
    nonce: [u8; 24],
    context: &[u8],
    secret: &[u8],
) -> Result<Sealed, SealError> {
    let payload = Payload { msg: secret, aad: context };
    let bytes = cipher(key).encrypt(&XNonce::from(nonce), payload).map_err(|_| SealError)?;
    Ok(Sealed { key: 0, nonce, bytes })
}

/// Opens what [`seal`] sealed with the same key and context.
///
/// # Errors
/// [`SealError`] for another key, another context, or changed bytes.
pub fn open(key: &ClusterKey, context: &[u8], sealed: &Sealed) -> Result<Vec<u8>, SealError> {
    let payload = Payload { msg: &sealed.bytes, aad: context };
    cipher(key).decrypt(&XNonce::from(sealed.nonce), payload).map_err(|_| SealError)
}

fn cipher(key: &ClusterKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&key.0.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a secret opens with its key and context only, and shows nothing in Debug.
    #[test]
    fn secrets_open_only_where_they_belong() {
        let (key, other) = (ClusterKey::new([7; 32]), ClusterKey::new([8; 32]));
        let sealed = seal(&key, [1; 24], b"agent_1", b"secret").unwrap();
        assert_eq!(open(&key, b"agent_1", &sealed), Ok(b"secret".to_vec()));
        assert_eq!(open(&key, b"agent_2", &sealed), Err(SealError));
        assert_eq!(open(&other, b"agent_1", &sealed), Err(SealError));
        for i in 0..sealed.bytes.len() {
            let mut changed = sealed.clone();
            changed.bytes[i] ^= 1;
            assert_eq!(open(&key, b"agent_1", &changed), Err(SealError), "byte {i}");
        }
        assert!(!sealed.bytes.windows(6).any(|part| part == b"secret"));
        assert_eq!(format!("{key:?} {sealed:?}"), "ClusterKey(…) Sealed(key 0, 22 bytes)");
    }
}
