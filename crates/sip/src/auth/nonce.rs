//! Nonces that need no memory: time and random bytes under a key of the cluster (RFC 7616 section 5.4
//! describes the idea). Any node checks the nonces of any other, so a phone that moves to another node
//! keeps its nonce.

use crate::prng::{Prng, hex, unhex};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;
use std::time::Duration;
use subtle::ConstantTimeEq;

/// Wall time in seconds since 1970, handed in by the shell. Nodes may differ by seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallSeconds(pub u64);

/// The secret under which nonces are made; shared by all nodes. Never shown.
#[derive(Clone)]
pub struct ClusterKey([u8; 32]);

impl ClusterKey {
    /// Takes the key bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A value that only holders of the key can compute: HMAC-SHA-256 over labelled parts.
    pub(super) fn mac(&self, label: &str, parts: &[&[u8]]) -> [u8; 32] {
        // HMAC takes keys of any length, so this cannot fail; an all-zero MAC would match nothing.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return [0; 32] };
        mac.update(label.as_bytes());
        for part in parts {
            // Lengths keep ("ab", "c") apart from ("a", "bc").
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(…)")
    }
}

/// The key in use, and those that it replaced and whose nonces still live.
#[derive(Debug, Clone)]
pub struct NonceKeys {
    current: ClusterKey,
    former: Vec<ClusterKey>,
}

/// Most former keys that are tried.
const FORMER_KEYS_MAX: usize = 2;

/// What tells one nonce from another: when it was made, and its random part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NonceId {
    /// When.
    pub made: WallSeconds,
    /// Random part.
    pub random: [u8; 8],
}

/// How old a nonce of ours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NonceAge {
    Fresh(NonceId),
    Expired,
    /// Not one of ours, or changed on the way.
    Foreign,
}

/// How far the clock of the node that made a nonce may be ahead of ours.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(60);
const MAC_LEN: usize = 16;
const NONCE_LEN: usize = 8 + 8 + MAC_LEN;

impl NonceKeys {
    /// One key.
    pub fn new(current: ClusterKey) -> Self {
        Self { current, former: Vec::new() }
    }

    /// Puts another key in use; nonces under the last two still count.
    pub fn rotate(&mut self, next: ClusterKey) {
        self.former.insert(0, std::mem::replace(&mut self.current, next));
        self.former.truncate(FORMER_KEYS_MAX);
    }

    /// A new nonce for a realm: time, 64 random bits and 128 bits of HMAC-SHA-256, in hexadecimal.
    pub(super) fn issue(&self, now: WallSeconds, realm: &[u8], prng: &mut Prng) -> String {
        let mut random = [0; 8];
        prng.fill(&mut random);
        let id = NonceId { made: now, random };
        let mut bytes = now.0.to_be_bytes().to_vec();
        bytes.extend_from_slice(&random);
        bytes.extend_from_slice(&truncated_mac(&self.current, realm, &id));
        hex(&bytes)
    }

    /// Checks a nonce that a client sent.
    pub(super) fn check(
        &self,
        nonce: &[u8],
        realm: &[u8],
        now: WallSeconds,
        life: Duration,
    ) -> NonceAge {
        let Some((id, mac)) = split(nonce) else { return NonceAge::Foreign };
        let keys = std::iter::once(&self.current).chain(&self.former);
        let genuine = keys.fold(subtle::Choice::from(0), |found, key| {
            found | truncated_mac(key, realm, &id).ct_eq(&mac)
        });
        if !bool::from(genuine) {
            return NonceAge::Foreign;
        }
        let age_s = now.0.saturating_sub(id.made.0);
        let ahead_s = id.made.0.saturating_sub(now.0);
        if age_s > life.as_secs() || ahead_s > CLOCK_SKEW_MAX.as_secs() {
            NonceAge::Expired
        } else {
            NonceAge::Fresh(id)
        }
    }

    /// A value that stands for the HA1 of a user that does not exist.
    pub(super) fn decoy_seed(&self, user: &[u8], realm: &[u8]) -> [u8; 32] {
        self.current.mac("tandem digest decoy 1", &[user, realm])
    }
}

fn truncated_mac(key: &ClusterKey, realm: &[u8], id: &NonceId) -> [u8; MAC_LEN] {
    let mac = key.mac("tandem digest nonce 1", &[realm, &id.made.0.to_be_bytes(), &id.random]);
    let mut short = [0; MAC_LEN];
    for (to, from) in short.iter_mut().zip(mac) {
        *to = from;
    }
    short
}

fn split(nonce: &[u8]) -> Option<(NonceId, [u8; MAC_LEN])> {
    if nonce.len() != 2 * NONCE_LEN {
        return None;
    }
    let bytes = unhex(nonce)?;
    let (time, rest) = bytes.split_first_chunk::<8>()?;
    let (random, mac) = rest.split_first_chunk::<8>()?;
    let made = WallSeconds(u64::from_be_bytes(*time));
    Some((NonceId { made, random: *random }, *mac.first_chunk::<MAC_LEN>()?))
}
