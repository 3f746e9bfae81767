//! What fits into a command, a group and an entry; what an idempotency key stands for.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use common::{GROUP, Sim, TENANT, admission, dialog, media, name};
use tandem_cluster::{
    command::{AdmitCall, Batch, BatchError, Command, Envelope, NoRoom, Rejection, Reply, Room},
    ids::{Epoch, LegId, NodeId, Ordinal},
    limits::{
        BATCH_BYTES_MAX, BATCH_COMMANDS_MAX, COMMAND_BYTES_MAX, CONFIGURATION_BYTES_MAX,
        DIALOG_TEXT_LEN_MAX, GROUP_BYTES_MAX, IDEMPOTENCY_KEY_LEN_MAX, IDEMPOTENCY_KEYS_MAX,
        IDEMPOTENCY_MS, ROUTE_SET_MAX,
    },
    seal::Sealed,
};
use tandem_routing::{
    name::CallerNumber,
    time::{ClusterTime, Millis},
};

/// An envelope with the largest figures around its command.
fn envelope(command: Command) -> Envelope {
    Envelope {
        node: NodeId(u64::MAX),
        epoch: Epoch(u64::MAX),
        sequence: u64::MAX,
        ack_below: u64::MAX,
        age: Millis(u64::MAX),
        idempotency: Some("k".repeat(IDEMPOTENCY_KEY_LEN_MAX)),
        command,
    }
}

/// A command of exactly so many bytes.
fn sized(bytes: usize) -> Command {
    let put = |len| Command::PutCredential {
        tenant: TENANT,
        agent: name("amy"),
        realm: "tandem".into(),
        sealed: Sealed { key: 0, nonce: [7; 24], bytes: vec![0; len] },
    };
    let rest = put(bytes).encoded_len() - bytes;
    let command = put(bytes - rest);
    let command = if command.encoded_len() < bytes { put(bytes - rest + 1) } else { command };
    assert_eq!(command.encoded_len(), bytes);
    command
}

fn batch(envelopes: Vec<Envelope>) -> Batch {
    let time = ClusterTime(u64::MAX);
    Batch { machine_version: u16::MAX, group: GROUP, time, envelopes }
}

// Goal: a command of COMMAND_BYTES_MAX enters and is forwarded, one byte more is refused at each
// door with its size.
#[test]
fn a_commands_size_is_limited() {
    let largest = sized(COMMAND_BYTES_MAX);
    assert_eq!(largest.check_size(), Ok(()));
    let sent = envelope(largest);
    assert_eq!(Envelope::decode(&sent.encode()), Ok(sent.clone()));
    assert_eq!(Room::of_entry().take(&sent), Ok(()));
    assert_eq!(Room::of_group(256).take(&sent), Ok(()));

    let bytes = COMMAND_BYTES_MAX + 1;
    let larger = envelope(sized(bytes));
    assert_eq!(larger.command.check_size(), Err(BatchError::CommandTooLarge { bytes }));
    assert_eq!(Envelope::decode(&larger.encode()), Err(BatchError::CommandTooLarge { bytes }));
    let mut room = Room::of_entry();
    assert_eq!(room.take(&larger), Err(NoRoom::TooLarge { bytes }));
    assert_eq!(room, Room::of_entry());
    let huge = vec![1; 2 * CONFIGURATION_BYTES_MAX];
    assert!(matches!(Envelope::decode(&huge), Err(BatchError::CommandTooLarge { .. })));
}

// Goal: the size that is counted is the size that is written.
#[test]
fn counted_sizes_are_true() {
    let mut sim = Sim::center();
    for command in [
        Command::StopNode,
        Command::AdmitNode(admission(3, "nyc")),
        Command::ReserveLegIds { count: 200 },
        sized(1_000),
    ] {
        let envelope = sim.envelope(1, command);
        // One byte says the format.
        assert_eq!(envelope.encoded_len() + 1, envelope.encode().len());
    }
}

// Goal: whatever had room in an entry can be encoded; the next one has none, by bytes or by count.
#[test]
fn an_entry_never_exceeds_its_limits() {
    for (command, full_by_bytes) in [(sized(COMMAND_BYTES_MAX), true), (Command::ExpireDue, false)]
    {
        let (mut room, mut taken) = (Room::of_entry(), Vec::new());
        let envelope = envelope(command);
        while room.take(&envelope).is_ok() {
            taken.push(envelope.clone());
        }
        assert_eq!(room.take(&envelope), Err(NoRoom::Full));
        let count = taken.len();
        let bytes = batch(taken.clone()).encode().unwrap().len();
        assert!(bytes <= BATCH_BYTES_MAX);
        assert_eq!(count < BATCH_COMMANDS_MAX, full_by_bytes);
        taken.push(envelope);
        let over = batch(taken).encode();
        assert!(matches!(over, Err(BatchError::TooLarge { .. })), "no room was wasted");
    }
}

// Goal: a group is taken whole or not at all, and every group fits an empty entry.
#[test]
fn a_group_is_taken_whole() {
    let (mut room, mut group) = (Room::of_group(256), Vec::new());
    let large = envelope(sized(COMMAND_BYTES_MAX));
    while room.take(&large).is_ok() {
        group.push(large.clone());
    }
    assert_eq!(group.len(), GROUP_BYTES_MAX / large.encoded_len());
    let mut entry = Room::of_entry();
    let mut groups = 0;
    while entry.take_all(&group).is_ok() {
        groups += 1;
    }
    assert!(groups >= 1);
    let before = entry.clone();
    assert_eq!(entry.take_all(&group), Err(NoRoom::Full));
    assert_eq!(entry, before, "nothing of it was taken");
    let (mut room, small) = (Room::of_group(2), envelope(Command::ExpireDue));
    assert_eq!(room.take_all(&[small.clone(), small.clone()]), Ok(()));
    assert_eq!(room.take(&small), Err(NoRoom::Full));
}

// Goal: the largest dialog that the rules allow fits a command.
#[test]
fn the_largest_dialog_fits_a_command() {
    let text = || "x".repeat(DIALOG_TEXT_LEN_MAX);
    let mut record = dialog("call");
    for field in [
        &mut record.call_id,
        &mut record.local_uri,
        &mut record.local_tag,
        &mut record.remote_uri,
        &mut record.remote_tag,
        &mut record.remote_target,
        &mut record.peer_address,
        &mut record.sdp_origin.username,
        &mut record.sdp_origin.address,
    ] {
        *field = text();
    }
    record.route_set = vec![text(); ROUTE_SET_MAX];
    let mut sim = Sim::center();
    let leg = LegId { group: GROUP, ordinal: Ordinal(sim.leg_ids[&1]) };
    let call = AdmitCall {
        leg,
        called: name("100"),
        caller: CallerNumber::new("+442079460000"),
        ingress: name("lon"),
        dialog: record,
        media: media(1, 20_000),
    };
    let command = Command::AdmitCall(Box::new(call));
    assert!(command.encoded_len() > 48 * 1024, "it is as large as it seems");
    assert_eq!(command.check_size(), Ok(()));
    sim.propose(1, command).unwrap();
}

fn keyed(sim: &mut Sim, key: &str, command: Command) -> Envelope {
    let mut envelope = sim.envelope(1, command);
    envelope.idempotency = Some(key.into());
    envelope
}

// Goal: R9. A key stands for one command: with another one it is refused and does nothing; a secret
// that was sealed again is the same command.
#[test]
fn a_key_stands_for_one_command() {
    let mut sim = Sim::center();
    let reserve = |count| Command::ReserveLegIds { count };
    let first = keyed(&mut sim, "order-7", reserve(1));
    let first = sim.apply(vec![first]).remove(0);
    assert!(matches!(first, Ok(Reply::LegIds { .. })));
    let before = sim.machine.queue().counters().ordinal;
    let other = keyed(&mut sim, "order-7", reserve(2));
    for _ in 0..2 {
        let reply = sim.apply(vec![other.clone()]).remove(0);
        assert_eq!(reply, Err(Rejection::IdempotencyKeyMustFit));
    }
    assert_eq!(sim.machine.queue().counters().ordinal, before);
    let same = keyed(&mut sim, "order-7", reserve(1));
    assert_eq!(sim.apply(vec![same]).remove(0), first);

    let secret = |agent, nonce| Command::PutCredential {
        tenant: TENANT,
        agent: name(agent),
        realm: "tandem".into(),
        sealed: Sealed { key: 0, nonce: [nonce; 24], bytes: vec![nonce] },
    };
    for (command, fits) in
        [(secret("amy", 1), true), (secret("amy", 2), true), (secret("bob", 1), false)]
    {
        let envelope = keyed(&mut sim, "password", command);
        let reply = sim.apply(vec![envelope]).remove(0);
        assert_eq!(reply.is_ok(), fits, "{reply:?}");
    }
}

// Goal: R9. A command that got its reply by its key keeps it by its number, also when the key is
// forgotten before the retry comes.
#[test]
fn a_number_outlives_its_key() {
    let mut sim = Sim::center();
    let first = keyed(&mut sim, "order-7", Command::ReserveLegIds { count: 1 });
    let repeat = keyed(&mut sim, "order-7", Command::ReserveLegIds { count: 1 });
    let reply = sim.apply(vec![first]).remove(0);
    assert_eq!(sim.apply(vec![repeat.clone()]).remove(0), reply);
    sim.time += IDEMPOTENCY_MS;
    sim.propose(2, Command::ExpireDue).unwrap();
    assert_eq!(sim.apply(vec![repeat]).remove(0), reply, "it applied once");
}

// Goal: R9. A cluster that remembers as many keys as it may refuses further ones instead of not
// keeping their promise; calls without a key go on (pair at the edge).
#[test]
fn keys_beyond_the_limit_are_refused() {
    let mut sim = Sim::center();
    let mut left = IDEMPOTENCY_KEYS_MAX;
    while left > 0 {
        let count = left.min(BATCH_COMMANDS_MAX);
        let envelopes = (0..count)
            .map(|n| {
                let command = Command::ReserveLegIds { count: 1 };
                keyed(&mut sim, &format!("k{}", left - n), command)
            })
            .collect();
        assert!(sim.apply(envelopes).iter().all(Result::is_ok));
        left -= count;
    }
    let one_more = keyed(&mut sim, "one-more", Command::ReserveLegIds { count: 1 });
    let reply = sim.apply(vec![one_more]).remove(0);
    assert!(matches!(reply, Err(Rejection::LimitReached { .. })), "{reply:?}");
    sim.propose(1, Command::ReserveLegIds { count: 1 }).unwrap();
}

// Goal: no figure in an envelope, however wild, panics the machine outside of a command.
#[test]
fn wild_envelopes_are_refused() {
    let mut sim = Sim::center();
    let mut wild = sim.envelope(1, Command::ReserveLegIds { count: 1 });
    (wild.sequence, wild.ack_below) = (u64::MAX, u64::MAX);
    let reply = sim.apply(vec![wild]).remove(0);
    assert!(matches!(reply, Err(Rejection::WindowExceeded { .. })), "{reply:?}");
    sim.propose(1, Command::ReserveLegIds { count: 1 }).unwrap();
}
