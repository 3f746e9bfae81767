//! Kept samples: the bytes of version 1, read and written byte for byte.
//!
//! A failing test here means that a node of this build would not understand the disk of an older
//! one. Never change a sample; a new format version adds samples of its own. `UPDATE=1` writes
//! samples that do not exist yet, and never touches one that does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use super::codec::FormatError;
use super::entry::{decode_entry, decode_record, encode_entry, encode_record, seed_chain};
use super::identity::{Identity, IdentityRecord, IdentityStage, decode_identity, encode_identity};
use super::mark::{LogPoint, MarkValue, SLOT_BYTES, decode_mark, encode_mark};
use super::records::{
    PurgeRecord, StateRecord, decode_committed, decode_log_id, decode_membership, decode_node,
    decode_purge, decode_state, decode_stored_membership, decode_vote, encode_committed,
    encode_log_id, encode_membership, encode_node, encode_purge, encode_state,
    encode_stored_membership, encode_vote,
};
use super::snapshot::{
    SnapshotHeader, SnapshotInfo, Trailer, decode_frame_head, decode_header, decode_info,
    decode_trailer, encode_frame, encode_header, encode_info, encode_trailer, push_row, split_rows,
    unpack_frame,
};
use crate::types::{
    ClusterId, DiskId, Entry, EntryData, GroupId, Membership, NodeRecord, Payload,
    StoredMembership, Vote, log_id,
};

fn sample_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("samples").join(format!("{name}-v1.hex"))
}

/// Compares with the kept sample.
fn check_sample(name: &str, bytes: &[u8]) {
    let kept = kept_sample(name, bytes);
    assert_eq!(kept, bytes, "the bytes of {name} changed: older nodes' disks would not be read");
}

/// Reads the kept sample; writes it if there is none and `UPDATE=1` asks for it.
fn kept_sample(name: &str, now: &[u8]) -> Vec<u8> {
    let path = sample_path(name);
    if !path.exists() && std::env::var_os("UPDATE").is_some() {
        let mut hex = String::new();
        for line in now.chunks(32) {
            for byte in line {
                write!(hex, "{byte:02x}").expect("writing to a string");
            }
            hex.push('\n');
        }
        std::fs::write(&path, &hex).expect("a writable samples folder");
    }
    let kept = std::fs::read_to_string(&path)
        .unwrap_or_else(|_| panic!("there is no sample {name}; UPDATE=1 writes it"));
    let digits: Vec<u8> = kept.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).expect("ASCII");
            u8::from_str_radix(pair, 16).expect("hexadecimal")
        })
        .collect()
}

/// Checks that the sample is what is written, that it is read back, and that a version above the
/// known one is refused as newer and not as damaged.
fn check<T: PartialEq + std::fmt::Debug>(
    name: &str,
    value: T,
    encode: impl Fn(&T) -> Vec<u8>,
    decode: impl Fn(&[u8]) -> Result<T, FormatError>,
    version_at: usize,
) {
    let bytes = encode(&value);
    check_sample(name, &bytes);
    assert_eq!(decode(&bytes), Ok(value), "{name} does not survive");
    let mut newer = bytes.clone();
    newer[version_at] += 1;
    let refused = decode(&newer);
    assert!(matches!(refused, Err(FormatError::Newer { .. })), "{name}: {refused:?}");
    let message = refused.expect_err("refused").to_string();
    assert!(message.contains("newer version"), "{name}: unclear refusal: {message}");
    for end in 0..bytes.len() {
        assert!(decode(&bytes[..end]).is_err(), "{name} cut to {end} bytes was accepted");
    }
}

fn membership() -> Membership {
    let node = |id: u64| {
        let (address, name) = (format!("node-{id}.example:7400"), format!("node-{id}"));
        NodeRecord::new(address, DiskId(0x1000 + u128::from(id)), name)
            .and_then(|record| record.with_label("site", format!("site-{id}")))
            .expect("a short record")
    };
    let configs = vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([2, 3, 4])];
    let nodes: BTreeMap<u64, NodeRecord> = (1..=5).map(|id| (id, node(id))).collect();
    Membership::new(configs, nodes).expect("every voter has a record")
}

fn stored_membership() -> StoredMembership {
    StoredMembership::new(Some(log_id(3, 2, 17)), membership())
}

fn entry(payload: Payload) -> Entry {
    Entry { log_id: log_id(7, 3, 1_000_000), payload }
}

fn commands() -> Entry {
    let data = EntryData::new(&b"a batch of commands"[..]).expect("fits");
    entry(Payload::Normal(data))
}

// Goal: the small records of version 1 are read and written byte for byte.
#[test]
fn records() {
    check("vote", Vote::new_committed(9, 2), encode_vote, decode_vote, 0);
    check("log-id", log_id(9, 2, 77), encode_log_id, decode_log_id, 0);
    let node = membership().get_node(&3).cloned().expect("node 3");
    check("node", node, encode_node, decode_node, 0);
    check("membership", membership(), encode_membership, decode_membership, 0);
    check(
        "stored-membership",
        stored_membership(),
        encode_stored_membership,
        decode_stored_membership,
        0,
    );
    let purge = PurgeRecord { log_id: log_id(4, 1, 40), chain: 0xdead_beef };
    check("purge", purge, encode_purge, decode_purge, 0);
    let state = StateRecord { generation: 3, applied: Some(log_id(4, 1, 50)), digest: [0x5a; 16] };
    check("state", state, encode_state, decode_state, 0);
    let committed = Some(log_id(4, 1, 60));
    check("committed", committed, |value| encode_committed(value.as_ref()), decode_committed, 0);
}

// Goal: log entries of version 1, alone and chained, are read and written byte for byte.
#[test]
fn entries() {
    let decode = |bytes: &[u8]| decode_entry(bytes.to_vec().into());
    let cut_is_refused = |name: &str, entry: Entry| {
        let bytes = encode_entry(&entry);
        check_sample(name, &bytes);
        assert_eq!(decode(&bytes), Ok(entry));
        let mut newer = bytes;
        newer[0] += 1;
        assert!(matches!(decode(&newer), Err(FormatError::Newer { .. })));
    };
    cut_is_refused("entry-blank", entry(Payload::Blank));
    cut_is_refused("entry-commands", commands());
    cut_is_refused("entry-membership", entry(Payload::Membership(membership())));

    let (record, chain) = encode_record(seed_chain(&log_id(6, 3, 999_999)), &commands());
    check_sample("log-record", &record);
    let stored = decode_record(record.into()).expect("own record");
    assert_eq!((stored.entry, stored.chain), (commands(), chain));
}

// Goal: identity and mark of version 1 are read and written byte for byte.
#[test]
fn directory() {
    let identity = Identity {
        cluster: ClusterId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
        node: 3,
        disk: DiskId(0xf0e0_d0c0_b0a0_9080_7060_5040_3020_1000),
        created_by: "0.1.0".into(),
    };
    let record = IdentityRecord { identity, stage: IdentityStage::Ready };
    check("identity", record, encode_identity, decode_identity, 8);

    let point = LogPoint { log_id: log_id(7, 3, 99), chain: 0x0bad_cafe };
    let value = MarkValue {
        last: Some(point),
        purged: Some(log_id(2, 1, 50)),
        vote: Some(Vote::new(8, 1)),
    };
    let slot = encode_mark(DiskId(5), 12, &value);
    check_sample("mark", &slot);
    assert_eq!(slot.len(), SLOT_BYTES);
    assert_eq!(decode_mark(&slot), Ok((DiskId(5), 12, value)));
    let mut newer = slot.clone();
    newer[8] += 1;
    assert!(matches!(decode_mark(&newer), Err(FormatError::Newer { .. })));
    for position in 0..slot.len() {
        let mut damaged = slot.clone();
        damaged[position] ^= 0x10;
        assert!(decode_mark(&damaged).is_err(), "a changed byte {position} went unnoticed");
    }
}

// Goal: the parts of a snapshot file of version 1 are read and written byte for byte.
#[test]
fn snapshot_parts() {
    let header = SnapshotHeader {
        cluster: ClusterId(77),
        group: GroupId(0),
        built_by: 2,
        log_id: Some(log_id(7, 3, 99)),
        membership: stored_membership(),
        digest: [0x11; 16],
        rows: 2,
    };
    check("snapshot-header", header.clone(), encode_header, decode_header, 0);
    let info = SnapshotInfo { header, file_bytes: 4096, hash: 0x1234_5678 };
    check("snapshot-info", info, encode_info, decode_info, 0);

    let mut raw = Vec::new();
    push_row(&mut raw, b"agent-1", b"ready");
    push_row(&mut raw, b"agent-2", b"");
    let packed = lz4_flex::block::compress(&raw);
    // How well a frame is packed may change with the packer; what was packed must stay readable.
    let frame = kept_sample("snapshot-frame", &encode_frame(raw.len() as u32, 2, &packed));
    let (head_bytes, body) = frame.split_at(super::snapshot::FRAME_HEAD_BYTES);
    let head = decode_frame_head(head_bytes).expect("own frame");
    let unpacked = unpack_frame(head_bytes, &head, body).expect("own frame");
    let rows = split_rows(&unpacked).expect("own rows");
    let expected = [(&b"agent-1"[..], &b"ready"[..]), (b"agent-2", b"")];
    assert_eq!(rows, expected.map(|(key, value)| (key.to_vec(), value.to_vec())));

    let trailer = Trailer { frames: 1, rows: 2, raw_bytes: raw.len() as u64, hash: 0xabcd };
    let bytes = encode_trailer(&trailer);
    check_sample("snapshot-trailer", &bytes);
    assert_eq!(decode_trailer(&bytes), Ok(trailer));
}
