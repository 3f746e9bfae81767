//! [`LocalDescription`]: our own side of a session, with the `o=` line that other nodes can continue.

use crate::limits::{SDP_VERSION_BLOCK, SDP_VERSION_LOW_WATER};
use crate::prng::Prng;
use bytes::Bytes;
use sdp_types::Session;
use std::net::IpAddr;

/// Our `o=` line without its version. Stays the same for the whole life of the session, whatever node
/// speaks for it (RFC 3264 section 8: only the version may change).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Origin {
    /// User name; `-` for none.
    pub username: String,
    /// Session id.
    pub session_id: u64,
    /// Address of the node that began the session; only a name by then.
    pub address: IpAddr,
}

impl Origin {
    /// For a new session: no user name, a random id below 2^62 (RFC 3264 section 5).
    pub fn new(address: IpAddr, prng: &mut Prng) -> Self {
        Self { username: "-".to_owned(), session_id: prng.next_u64() >> 2, address }
    }
}

/// SDP versions reserved in the replicated record before use, as [`crate::dialog::CseqBlock`] does for
/// CSeq numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SdpVersionBlock {
    next: u64,
    reserved_until: u64,
}

/// No reserved version is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "all SDP versions up to {reserved_until} are used: commit the block that needs_reservation() \
     names, then send the description"
)]
pub struct VersionsExhausted {
    /// End of the block.
    pub reserved_until: u64,
}

impl SdpVersionBlock {
    /// The first block, 1 to [`SDP_VERSION_BLOCK`]; its end belongs into the record that makes the leg.
    pub fn first() -> Self {
        Self { next: 1, reserved_until: SDP_VERSION_BLOCK }
    }

    /// For a taker: behind everything that was reserved, and nothing reserved yet.
    pub fn after(reserved_until: u64) -> Self {
        Self { next: reserved_until.saturating_add(1), reserved_until }
    }

    /// The next version.
    ///
    /// # Errors
    /// [`VersionsExhausted`] until another block is reserved.
    pub fn take(&mut self) -> Result<u64, VersionsExhausted> {
        if self.next > self.reserved_until {
            return Err(VersionsExhausted { reserved_until: self.reserved_until });
        }
        let version = self.next;
        self.next += 1;
        Ok(version)
    }

    /// End of the reserved block: what belongs into the record.
    pub fn reserved_until(&self) -> u64 {
        self.reserved_until
    }

    /// The end of the block that should be committed now, when few versions are left.
    pub fn needs_reservation(&self) -> Option<u64> {
        let left = self.reserved_until.saturating_add(1).saturating_sub(self.next);
        let end = self.reserved_until.saturating_add(SDP_VERSION_BLOCK);
        (left < SDP_VERSION_LOW_WATER && end > self.reserved_until).then_some(end)
    }

    /// A block up to `until` was committed; smaller ends change nothing.
    pub fn reserve(&mut self, until: u64) {
        self.reserved_until = self.reserved_until.max(until);
    }
}

/// What we have said about our media in one dialog. May hold keys: `Debug` shows origin and versions only.
#[derive(Clone)]
pub struct LocalDescription {
    origin: Origin,
    versions: SdpVersionBlock,
    last: Option<(Session, Bytes)>,
}

impl LocalDescription {
    /// Nothing said yet. With [`SdpVersionBlock::first`] for a new session, with
    /// [`SdpVersionBlock::after`] for one that is taken over: the first description then has a version
    /// above all of the former owner's, even if it says the same.
    pub fn new(origin: Origin, versions: SdpVersionBlock) -> Self {
        Self { origin, versions, last: None }
    }

    /// The `o=` line's constant part, for the record.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The versions, for the record and for reservations.
    pub fn versions(&self) -> &SdpVersionBlock {
        &self.versions
    }

    /// A block was committed, see [`SdpVersionBlock::reserve`].
    pub fn reserve(&mut self, until: u64) {
        self.versions.reserve(until);
    }

    /// The bytes that were said last.
    pub fn last(&self) -> Option<&Bytes> {
        self.last.as_ref().map(|(_, bytes)| bytes)
    }

    /// Stamps a description with the `o=` line: the same bytes again when nothing changed, the next
    /// version when something did (RFC 3264 section 8).
    pub(super) fn stamp(&mut self, mut session: Session) -> Result<Bytes, VersionsExhausted> {
        if let Some((last, bytes)) = &self.last
            && *last == session
        {
            return Ok(bytes.clone());
        }
        let unstamped = session.clone();
        session.origin = sdp_types::Origin::with_ip_addr(
            self.origin.session_id,
            self.versions.take()?,
            self.origin.address,
        );
        session.origin.username =
            Some(self.origin.username.clone()).filter(|name| !name.is_empty() && name != "-");
        let bytes = write(&session);
        self.last = Some((unstamped, bytes.clone()));
        Ok(bytes)
    }
}

impl std::fmt::Debug for LocalDescription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalDescription")
            .field("origin", &self.origin)
            .field("versions", &self.versions)
            .finish_non_exhaustive()
    }
}

fn write(session: &Session) -> Bytes {
    let mut out = Vec::new();
    let written = session.write(&mut out);
    debug_assert!(written.is_ok(), "writing into memory does not fail");
    out.into()
}
