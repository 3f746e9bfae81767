//! The logical digest of the replicated state.
//!
//! A sum of one 128-bit hash per row, so that it can be kept up to date row by row and does not
//! depend on the order in which rows were written: after the same log index every node has the same
//! digest (invariant R7), also after restart, snapshot and upgrade. It finds divergence and damage,
//! not malice: the hash (xxh3) is not cryptographic.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Digest of a set of rows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Digest(pub u128);

impl Digest {
    /// Counts a row in.
    pub fn add(&mut self, hash: u128) {
        self.0 = self.0.wrapping_add(hash);
    }

    /// Takes a row out.
    pub fn remove(&mut self, hash: u128) {
        self.0 = self.0.wrapping_sub(hash);
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Hash of one stored row. The key's hash seeds the value's, so that swapping the values of two
/// rows changes the sum.
#[must_use]
pub fn row_hash(key: &[u8], value: &[u8]) -> u128 {
    let key_hash = xxh3_128_with_seed(key, 0x7461_6e64_656d);
    #[expect(clippy::cast_possible_truncation, reason = "both halves of the key's hash are used")]
    xxh3_128_with_seed(value, (key_hash >> 64) as u64 ^ key_hash as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: order does not matter, pairing and every byte do, and adding is undone by removing.
    #[test]
    fn a_digest_is_a_set_of_pairs() {
        let of = |rows: &[(&[u8], &[u8])]| {
            let mut digest = Digest::default();
            rows.iter().for_each(|(key, value)| digest.add(row_hash(key, value)));
            digest
        };
        let (a, b) = ((&b"k1"[..], &b"v1"[..]), (&b"k2"[..], &b"v2"[..]));
        assert_eq!(of(&[a, b]), of(&[b, a]));
        assert_ne!(of(&[a, b]), of(&[(b"k1", b"v2"), (b"k2", b"v1")]));
        assert_ne!(of(&[a]), of(&[(b"k1", b"v1\0")]));
        let mut digest = of(&[a, b]);
        digest.remove(row_hash(b.0, b.1));
        assert_eq!(digest, of(&[a]));
    }

    // Goal: the hash is pinned: a library that changes it would make mixed versions diverge.
    #[test]
    fn the_hash_is_pinned() {
        let mut digest = Digest::default();
        digest.add(row_hash(b"key", b"value"));
        assert_eq!(digest.to_string(), "9e2f53836add64dc22d5fdff718da264");
    }
}
