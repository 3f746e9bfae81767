//! Finished contacts, as they enter the history.
//!
//! History rows are appended, never changed; they are no part of the live state, its digest or its
//! snapshots.

use serde::{Deserialize, Serialize};
use tandem_routing::{
    entity::{Contact, ContactV1, EndReason},
    table::RowChange,
    time::ClusterTime,
};

use crate::{ids::GroupId, machine::history_key};

/// Format of [`EndedContact`] that this program writes.
const FORMAT: u8 = 2;

/// A contact that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedContact {
    /// Its row when it ended.
    pub contact: Contact,
    /// Why.
    pub reason: EndReason,
    /// When.
    pub ended: ClusterTime,
}

impl EndedContact {
    pub(crate) fn stored(&self, group: GroupId) -> RowChange {
        let value = match postcard::to_extend(self, vec![FORMAT]) {
            Ok(bytes) => bytes,
            Err(error) => unreachable!("postcard into a Vec cannot fail: {error}"),
        };
        RowChange { key: history_key(group, self.contact.id), value: Some(value) }
    }

    /// Reads a stored row; `None` if it is of a format that this program does not know, or damaged.
    #[must_use]
    pub fn read(value: &[u8]) -> Option<Self> {
        match value.split_first()? {
            (&FORMAT, body) => whole(body),
            (1, body) => whole::<EndedContactV1>(body).map(Self::from),
            _ => None,
        }
    }
}

fn whole<T: for<'a> Deserialize<'a>>(body: &[u8]) -> Option<T> {
    match postcard::take_from_bytes(body) {
        Ok((row, [])) => Some(row),
        _ => None,
    }
}

/// As format 1 had it.
#[derive(Deserialize)]
struct EndedContactV1 {
    contact: ContactV1,
    reason: EndReason,
    ended: ClusterTime,
}

impl From<EndedContactV1> for EndedContact {
    fn from(old: EndedContactV1) -> Self {
        Self { contact: old.contact.into(), reason: old.reason, ended: old.ended }
    }
}
