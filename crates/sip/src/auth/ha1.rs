//! [`Ha1`]: what is kept of a password.

use super::Algorithm;
use crate::prng::{hex, unhex};
use std::fmt;

/// `H(user:realm:password)` (RFC 7616 section 3.4.2): enough to authenticate in its realm, so a secret.
/// Neither `Debug` nor any other trait shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Ha1 {
    algorithm: Algorithm,
    hash: [u8; 32],
}

/// Text that is no hash of its algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an HA1 for {algorithm:?} has {digits} hexadecimal digits: hash user:realm:password again")]
pub struct BadHa1 {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// How many digits it has.
    pub digits: usize,
}

impl Ha1 {
    /// Reads the hexadecimal digits in which provisioning systems keep it.
    ///
    /// # Errors
    /// [`BadHa1`].
    pub fn from_hex(algorithm: Algorithm, digits: &str) -> Result<Self, BadHa1> {
        let bad = BadHa1 { algorithm, digits: 2 * algorithm.hash_len() };
        let bytes = unhex(digits.as_bytes()).ok_or(bad)?;
        if bytes.len() != algorithm.hash_len() {
            return Err(bad);
        }
        let mut hash = [0; 32];
        for (to, from) in hash.iter_mut().zip(bytes) {
            *to = from;
        }
        Ok(Self { algorithm, hash })
    }

    /// Hashes a password, for provisioning and for clients whose password is configured.
    pub fn compute(algorithm: Algorithm, user: &[u8], realm: &[u8], password: &[u8]) -> Self {
        let digits = algorithm.hash_joined(&[user, realm, password]);
        Self::from_digest(algorithm, &digits)
    }

    /// A hash that no password gives, for users that do not exist.
    pub(super) fn decoy(algorithm: Algorithm, seed: &[u8; 32]) -> Self {
        Self { algorithm, hash: *seed }
    }

    fn from_digest(algorithm: Algorithm, digits: &str) -> Self {
        let mut hash = [0; 32];
        for (to, from) in hash.iter_mut().zip(unhex(digits.as_bytes()).unwrap_or_default()) {
            *to = from;
        }
        Self { algorithm, hash }
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The digits that go into a response.
    pub(super) fn hex(&self) -> String {
        hex(self.hash.get(..self.algorithm.hash_len()).unwrap_or_default())
    }

    /// The digits, for storage. They are a secret.
    pub fn expose_hex(&self) -> String {
        self.hex()
    }
}

impl fmt::Debug for Ha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ha1({:?}, …)", self.algorithm)
    }
}
