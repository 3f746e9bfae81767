//! Log entries: the bytes that travel, and the chained record that is stored.
//!
//! A stored record is `chain ++ entry`, where `chain` is the CRC32C of the previous entry's chain
//! value followed by this entry's bytes (which hold its index, term and leader). So a flipped bit,
//! a missing entry and an entry from another place in the log all break the chain, and the chain
//! value of the last entry stands for the whole log before it.

use bytes::Bytes;
use openraft::EntryPayload;

use super::records::{decode_membership, encode_membership};
use super::{Decoder, Encoder, FormatError};
use crate::types::{Entry, EntryData, LogId};

const WHAT: &str = "log entry";
const VERSION: u8 = 1;

const KIND_BLANK: u8 = 0;
const KIND_COMMANDS: u8 = 1;
const KIND_MEMBERSHIP: u8 = 2;

/// Length of the chain value before the entry's bytes.
const CHAIN_BYTES: usize = 4;

/// Chain value before the first entry of a log that starts at the beginning.
pub const GENESIS_CHAIN: u32 = 0x7461_6e64;

/// Encodes an entry: version, kind, log id, payload.
pub fn encode_entry(entry: &Entry) -> Vec<u8> {
    let mut out = Encoder::with_version(VERSION);
    write_entry(&mut out, entry);
    out.finish()
}

fn write_entry(out: &mut Encoder, entry: &Entry) {
    match &entry.payload {
        EntryPayload::Blank => out.u8(KIND_BLANK).log_id(&entry.log_id),
        EntryPayload::Normal(data) => out.u8(KIND_COMMANDS).log_id(&entry.log_id).raw(data.bytes()),
        EntryPayload::Membership(membership) => {
            out.u8(KIND_MEMBERSHIP).log_id(&entry.log_id).raw(&encode_membership(membership))
        }
    };
}

/// Decodes what [`encode_entry`] wrote. The payload shares the buffer, it is not copied.
///
/// # Errors
/// [`FormatError`] for bytes that are no entry, or one of a newer version.
///
/// ```
/// use tandem_raft_store::format::entry::{decode_entry, encode_entry};
/// use tandem_raft_store::{Entry, EntryData, Payload, log_id};
///
/// let entry = Entry {
///     log_id: log_id(3, 1, 42),
///     payload: Payload::Normal(EntryData::new(&b"commands"[..]).unwrap()),
/// };
/// let bytes = encode_entry(&entry);
/// assert_eq!(decode_entry(bytes.into()).unwrap(), entry);
/// ```
pub fn decode_entry(bytes: Bytes) -> Result<Entry, FormatError> {
    let mut decoder = Decoder::versioned(WHAT, &bytes, VERSION)?;
    let kind = decoder.u8()?;
    let log_id = decoder.log_id()?;
    let invalid = |field| FormatError::Invalid { what: WHAT, field };
    let rest = decoder.rest();
    let payload = match kind {
        KIND_BLANK if rest.is_empty() => EntryPayload::Blank,
        KIND_BLANK => return Err(FormatError::Trailing { what: WHAT, extra: rest.len() }),
        KIND_COMMANDS => {
            let data = EntryData::new(bytes.slice_ref(rest)).map_err(|_| invalid("length"))?;
            EntryPayload::Normal(data)
        }
        KIND_MEMBERSHIP => EntryPayload::Membership(decode_membership(rest)?),
        _ => return Err(invalid("kind")),
    };
    Ok(Entry { log_id, payload })
}

/// Encodes an entry as it is stored after one with chain value `previous`.
/// Returns the record and this entry's chain value.
pub(crate) fn encode_record(previous: u32, entry: &Entry) -> (Vec<u8>, u32) {
    let mut out = Encoder::default();
    out.u32(0).u8(VERSION);
    write_entry(&mut out, entry);
    let mut record = out.finish();
    let (head, body) = record.split_at_mut(CHAIN_BYTES);
    let chain = next_chain(previous, body);
    head.copy_from_slice(&chain.to_le_bytes());
    (record, chain)
}

/// A stored entry, decoded but not yet checked against its predecessor.
#[derive(Debug)]
pub(crate) struct StoredEntry {
    pub(crate) entry: Entry,
    /// The chain value stored with it.
    pub(crate) chain: u32,
    body: Bytes,
}

impl StoredEntry {
    /// Whether this entry follows one with chain value `previous`.
    pub(crate) fn follows(&self, previous: u32) -> bool {
        next_chain(previous, &self.body) == self.chain
    }
}

/// Splits and decodes a stored record.
pub(crate) fn decode_record(record: Bytes) -> Result<StoredEntry, FormatError> {
    if record.len() < CHAIN_BYTES {
        return Err(FormatError::Short { what: WHAT });
    }
    let chain = Decoder::plain(WHAT, &record).u32()?;
    let body = record.slice(CHAIN_BYTES..);
    let entry = decode_entry(body.clone())?;
    Ok(StoredEntry { entry, chain, body })
}

/// The chain value from which a log goes on that was cut beyond its own end (after a snapshot was
/// installed): it depends on the position alone, since the entries before are not here.
pub(crate) fn seed_chain(position: &LogId) -> u32 {
    let mut out = Encoder::default();
    out.log_id(position);
    next_chain(GENESIS_CHAIN, &out.finish())
}

fn next_chain(previous: u32, body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&previous.to_le_bytes()), body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Payload, log_id};
    use proptest::prelude::*;

    fn commands(index: u64, data: &[u8]) -> Entry {
        let data = EntryData::new(data.to_vec()).expect("fits");
        Entry { log_id: log_id(2, 1, index), payload: Payload::Normal(data) }
    }

    proptest! {
        // Goal: any entry survives encoding, and any single flipped bit of its record breaks the chain.
        #[test]
        fn record_round_trips_and_notices_a_flipped_bit(
            data in proptest::collection::vec(any::<u8>(), 0..200),
            previous in any::<u32>(),
            index in any::<u64>(),
            flip in any::<prop::sample::Index>(),
        ) {
            let entry = commands(index, &data);
            let (record, chain) = encode_record(previous, &entry);
            let stored = decode_record(record.clone().into()).expect("own record");
            prop_assert_eq!(&stored.entry, &entry);
            prop_assert_eq!(stored.chain, chain);
            prop_assert!(stored.follows(previous));

            let mut damaged = record;
            let bit = flip.index(damaged.len() * 8);
            damaged[bit / 8] ^= 1 << (bit % 8);
            if let Ok(stored) = decode_record(damaged.into()) {
                prop_assert!(!stored.follows(previous), "flip of bit {bit} went unnoticed");
            }
        }

        // Goal: arbitrary bytes never panic the decoder.
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let answer = decode_record(bytes.clone().into());
            if let Ok(stored) = answer {
                prop_assert_eq!(encode_entry(&stored.entry), bytes[CHAIN_BYTES..].to_vec());
            }
        }
    }

    // Goal: an entry that takes another's place (same bytes, other predecessor) does not fit the chain.
    #[test]
    fn swapped_or_missing_entries_break_the_chain() {
        let (first, chain_1) = encode_record(GENESIS_CHAIN, &commands(1, b"a"));
        let (second, chain_2) = encode_record(chain_1, &commands(2, b"b"));
        let (third, _) = encode_record(chain_2, &commands(3, b"c"));
        let third = decode_record(third.into()).expect("own record");
        assert!(third.follows(chain_2));
        assert!(!third.follows(chain_1), "a missing second entry went unnoticed");
        let first_again = decode_record(first.into()).expect("own record");
        assert!(!first_again.follows(chain_2), "an old entry in a new place went unnoticed");
        let second = decode_record(second.into()).expect("own record");
        assert!(!second.follows(GENESIS_CHAIN), "a missing first entry went unnoticed");
    }
}
