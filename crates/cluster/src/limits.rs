//! Limits of what every replicated command shares. The queue's own are in
//! `tandem_routing::limits`; `docs/limits.md` lists both for operators.

/// Nodes that were ever admitted to one cluster.
pub const NODES_MAX: usize = 1_000;
/// Commands of one node that may be unacknowledged at a time: the replies that are remembered.
pub const WINDOW_MAX: u64 = 4_096;
/// Commands in one log entry.
pub const BATCH_COMMANDS_MAX: usize = 1_024;
/// Encoded size of one log entry.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Encoded size of one command, but for [`CONFIGURATION_BYTES_MAX`]. Checked where a command enters (`Command::check_size`) and where a
/// forwarded one arrives (`Envelope::decode`).
pub const COMMAND_BYTES_MAX: usize = 64 * 1024;
/// Encoded size of a change of the configuration as a whole: the one command that is larger, because it
/// applies as one.
pub const CONFIGURATION_BYTES_MAX: usize = 960 * 1024;
/// Changes of one such command.
pub const CONFIGURATION_CHANGES_MAX: usize = 10_000;
/// A document of the configuration as it is kept with a version, packed.
pub const CONFIGURATION_DOCUMENT_BYTES_MAX: usize = 256 * 1024;
/// Author, comment and summary of a version, each in bytes.
pub const CONFIGURATION_TEXT_LEN_MAX: usize = 512;
/// Versions of the configuration that are kept; a run of single changes counts as one.
pub const CONFIGURATION_VERSIONS_KEPT: usize = 50;
/// What a run of single changes tells of: the latest names.
pub const CONFIGURATION_NAMES_KEPT: usize = 8;
/// Entries of bulk work that are tried to see what a change does; what follows later is not shown.
pub const TRIAL_ENTRIES_MAX: usize = 4_096;
/// Encoded size of the commands that travel to the leader together.
pub const GROUP_BYTES_MAX: usize = 1024 * 1024;
/// What an envelope adds to its command at most: numbers and an idempotency key.
pub const ENVELOPE_BYTES_MAX: usize = 64 + IDEMPOTENCY_KEY_LEN_MAX;
/// What a batch adds to its envelopes at most: format, version, group, time, count.
pub const BATCH_HEAD_BYTES_MAX: usize = 32;
/// Live legs: a caller, an agent, and one that still ends for each contact.
pub const LEGS_MAX: usize = 3_000_000;
/// Leg ids that one reservation gives a node.
pub const LEG_IDS_PER_RESERVATION_MAX: u32 = 65_536;
/// Bindings of one agent.
pub const BINDINGS_PER_AGENT_MAX: usize = 4;
/// Remembered idempotency keys of API calls; further calls with a key are refused until some are
/// forgotten.
pub const IDEMPOTENCY_KEYS_MAX: usize = 100_000;
/// For how long an idempotency key is remembered.
pub const IDEMPOTENCY_MS: u64 = 600_000;
/// Length of an idempotency key in bytes.
pub const IDEMPOTENCY_KEY_LEN_MAX: usize = 128;
/// Entries between two comparisons of the nodes' digests.
pub const DIGEST_EVERY: u64 = 512;
/// Comparisons that are remembered.
pub const CHECKPOINTS_MAX: usize = 8;
/// Text fields of a dialog record (URIs, tags, Call-ID), each in bytes.
pub const DIALOG_TEXT_LEN_MAX: usize = 2_048;
/// Routes of one dialog.
pub const ROUTE_SET_MAX: usize = 16;
/// SIP endpoints of one node.
pub const ENDPOINTS_MAX: usize = 16;

/// How many steps of taking over a lost node's legs one entry does, all its commands together. Beside
/// the queue's steps, so that bulk work never delays a takeover.
pub const TAKEOVER_WORK_MAX: usize = tandem_routing::limits::APPLY_WORK_MAX;

/// Records of the feed in one stored row; what an entry has more goes into further rows.
pub const FEED_ROW_RECORDS_MAX: usize = 256;
/// Encoded records of the feed in one stored row, unless one record is larger.
pub const FEED_ROW_BYTES_MAX: usize = 128 * 1024;
/// Contacts that are counted for a contact's position when it leaves a queue.
pub const POSITION_COUNTED_MAX: usize = 1_000;

/// CSeq numbers that come with the ownership of a leg: a taker uses the last so many of the reserved
/// ones. `crates/sip` reserves in blocks of the same size (`callcontrol` asserts it).
pub const CSEQ_BLOCK: u32 = 64;
/// SDP versions that come with the ownership of a leg.
pub const SDP_VERSION_BLOCK: u64 = 64;

const _: () = {
    assert!(COMMAND_BYTES_MAX <= CONFIGURATION_BYTES_MAX, "the largest command");
    assert!(
        CONFIGURATION_BYTES_MAX + ENVELOPE_BYTES_MAX <= GROUP_BYTES_MAX,
        "any command fits a group"
    );
    assert!(
        2 * CONFIGURATION_DOCUMENT_BYTES_MAX + COMMAND_BYTES_MAX <= CONFIGURATION_BYTES_MAX,
        "there is room for changes beside the documents"
    );
    assert!(GROUP_BYTES_MAX + BATCH_HEAD_BYTES_MAX <= BATCH_BYTES_MAX, "any group fits an entry");
    assert!(BATCH_COMMANDS_MAX as u64 <= WINDOW_MAX, "one node can fill a batch");
    assert!(
        (DIALOG_TEXT_LEN_MAX + 2) * (ROUTE_SET_MAX + 9) + 4_096 <= COMMAND_BYTES_MAX,
        "the largest dialog that is taken fits a command, with its media"
    );
    assert!(IDEMPOTENCY_MS <= tandem_routing::limits::CLUSTER_TIME_JUMP_MS_MAX);
};
