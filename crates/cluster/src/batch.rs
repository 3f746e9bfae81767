//! The envelope and the log entry: their encodings, and how much fits into one.

use serde::{Deserialize, Serialize};
use tandem_routing::{
    digest::row_hash,
    time::{ClusterTime, Millis},
};

use crate::{
    command::{Command, Outcome},
    ids::{Epoch, GroupId, NodeId},
    limits::{
        BATCH_BYTES_MAX, BATCH_COMMANDS_MAX, BATCH_HEAD_BYTES_MAX, COMMAND_BYTES_MAX,
        CONFIGURATION_BYTES_MAX, ENVELOPE_BYTES_MAX, GROUP_BYTES_MAX, IDEMPOTENCY_KEY_LEN_MAX,
    },
    seal::Sealed,
};

/// Format of [`Batch`] that this program writes and reads.
pub const BATCH_FORMAT: u8 = 1;

/// One log entry's worth of commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The machine version in force as the leader knew it. A program that does not know it refuses the
    /// entry and stops.
    pub machine_version: u16,
    /// The Raft group.
    pub group: GroupId,
    /// The leader's stamp: its last applied time plus its own monotonic elapsed time.
    pub time: ClusterTime,
    /// In the order in which they apply.
    pub envelopes: Vec<Envelope>,
}

/// One command and who proposes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The proposing node.
    pub node: NodeId,
    /// Its life; 0 for commands that come before one (admission, registration).
    pub epoch: Epoch,
    /// Number of the command in that life, from 1. The same number applies once.
    pub sequence: u64,
    /// The proposer has the replies of all numbers below this one.
    pub ack_below: u64,
    /// How long ago the fact happened, measured by the proposer when it (re)sends.
    pub age: Millis,
    /// An application's key: the same key applies once while it is remembered.
    pub idempotency: Option<String>,
    /// What is to be done.
    pub command: Command,
}

/// What still fits into one log entry, or into one group of commands on its way to the leader.
///
/// Whoever builds either takes room for each command before adding it; what was taken for an entry
/// always passes [`Batch::encode`], and a group always fits an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    commands: usize,
    bytes: usize,
}

/// Why a command was given no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// What is there already fills it: the command belongs into the next one.
    #[error("this log entry or group is full: the command goes into the next one")]
    Full,
    /// The command is larger than any entry takes: it must be refused.
    #[error(
        "a command of {bytes} bytes is larger than the log takes ({COMMAND_BYTES_MAX}, a change of the \
         configuration {CONFIGURATION_BYTES_MAX}): nothing was done; shorten its texts or lists"
    )]
    TooLarge {
        /// Its encoded size.
        bytes: usize,
    },
}

impl Room {
    /// The room of an empty log entry.
    #[must_use]
    pub fn of_entry() -> Self {
        Self { commands: BATCH_COMMANDS_MAX, bytes: BATCH_BYTES_MAX - BATCH_HEAD_BYTES_MAX }
    }

    /// The room of an empty group of at most `commands_max` commands, which is never more than an
    /// entry takes.
    #[must_use]
    pub fn of_group(commands_max: usize) -> Self {
        Self { commands: commands_max.min(BATCH_COMMANDS_MAX), bytes: GROUP_BYTES_MAX }
    }

    /// Takes room for one command.
    ///
    /// # Errors
    /// [`NoRoom`]; nothing is taken then.
    pub fn take(&mut self, envelope: &Envelope) -> Result<(), NoRoom> {
        self.take_all(std::slice::from_ref(envelope))
    }

    /// Takes room for all of these commands, or for none.
    ///
    /// # Errors
    /// [`NoRoom`]; nothing is taken then.
    pub fn take_all(&mut self, envelopes: &[Envelope]) -> Result<(), NoRoom> {
        let mut bytes = 0;
        for envelope in envelopes {
            let len = envelope.encoded_len();
            if len > COMMAND_BYTES_MAX
                && let Err(BatchError::CommandTooLarge { bytes }) = envelope.command.check_size()
            {
                return Err(NoRoom::TooLarge { bytes });
            }
            bytes += len;
        }
        if envelopes.len() > self.commands || bytes > self.bytes {
            return Err(NoRoom::Full);
        }
        self.commands -= envelopes.len();
        self.bytes -= bytes;
        Ok(())
    }
}

/// A batch that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Written by a newer program.
    #[error(
        "a log entry has format {format}, this program reads {BATCH_FORMAT}: it was written by a \
         newer Tandem; start that version on this node"
    )]
    NewerFormat {
        /// What was found.
        format: u8,
    },
    /// A machine version is in force that this program does not know.
    #[error(
        "machine version {version} is in force, this program knows up to {}: start a newer Tandem on \
         this node",
        crate::machine::MACHINE_VERSION
    )]
    NewerMachine {
        /// The version.
        version: u16,
    },
    /// One command is larger than [`Command::bytes_max`].
    #[error(
        "a command of {bytes} bytes is larger than the log takes ({COMMAND_BYTES_MAX}, a change of the \
         configuration {CONFIGURATION_BYTES_MAX}): nothing was done; shorten its texts or lists"
    )]
    CommandTooLarge {
        /// Its encoded size.
        bytes: usize,
    },
    /// The bytes do not decode.
    #[error("a log entry cannot be decoded: {0}")]
    Damaged(String),
    /// Larger than the limits.
    #[error("a batch of {commands} commands and {bytes} bytes is over the limits")]
    TooLarge {
        /// How many commands.
        commands: usize,
        /// How many bytes.
        bytes: usize,
    },
}

impl Batch {
    /// Format byte, then the fields.
    ///
    /// # Errors
    /// [`BatchError::TooLarge`].
    pub fn encode(&self) -> Result<Vec<u8>, BatchError> {
        let too_large = |bytes| BatchError::TooLarge { commands: self.envelopes.len(), bytes };
        if self.envelopes.len() > BATCH_COMMANDS_MAX {
            return Err(too_large(0));
        }
        let bytes = postcard::to_extend(self, vec![BATCH_FORMAT])
            .map_err(|error| BatchError::Damaged(error.to_string()))?;
        if bytes.len() > BATCH_BYTES_MAX { Err(too_large(bytes.len())) } else { Ok(bytes) }
    }

    /// Reads what [`Batch::encode`] wrote, in any format this program knows.
    ///
    /// # Errors
    /// [`BatchError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BatchError> {
        match bytes.split_first() {
            None => Err(BatchError::Damaged("it is empty".into())),
            Some((&BATCH_FORMAT, body)) => match postcard::take_from_bytes(body) {
                Ok((batch, [])) => Ok(batch),
                Ok(_) => Err(BatchError::Damaged("trailing bytes".into())),
                Err(error) => Err(BatchError::Damaged(error.to_string())),
            },
            Some((&format, _)) => Err(BatchError::NewerFormat { format }),
        }
    }
}

impl Envelope {
    /// How many bytes it takes in an entry.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        encoded_len(self)
    }

    /// The same as [`Envelope::encoded_len`].
    #[must_use]
    pub fn size_hint(&self) -> usize {
        self.encoded_len()
    }

    /// Encoded alone, as it is forwarded to the leader.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads what [`Envelope::encode`] wrote.
    ///
    /// # Errors
    /// [`BatchError`]; also when the command is larger than [`Command::bytes_max`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BatchError> {
        if bytes.len() > CONFIGURATION_BYTES_MAX + ENVELOPE_BYTES_MAX {
            return Err(BatchError::CommandTooLarge { bytes: bytes.len() });
        }
        let envelope: Self = decode(bytes)?;
        let key = envelope.idempotency.as_deref().unwrap_or("");
        if key.len() > IDEMPOTENCY_KEY_LEN_MAX {
            return Err(BatchError::Damaged("the idempotency key is too long".into()));
        }
        envelope.command.check_size()?;
        Ok(envelope)
    }
}

impl Command {
    /// Its encoded size in bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        encoded_len(self)
    }

    /// How large it may be, encoded: a change of the configuration applies as one and is larger than others.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        match self {
            Self::ApplyConfiguration(_) => CONFIGURATION_BYTES_MAX,
            _ => COMMAND_BYTES_MAX,
        }
    }

    /// To be asked before a command is given a number: one that is too large can never enter the log.
    ///
    /// # Errors
    /// [`BatchError::CommandTooLarge`].
    pub fn check_size(&self) -> Result<(), BatchError> {
        match self.encoded_len() {
            bytes if bytes > self.bytes_max() => Err(BatchError::CommandTooLarge { bytes }),
            _ => Ok(()),
        }
    }

    /// Tells two commands apart that came under one idempotency key. Sealing draws a nonce each time,
    /// so a repeat of the same secret looks different: whose it is counts, not the sealed bytes. The changes of
    /// a configuration follow from the state, which the first of two tries has changed: what was asked for
    /// counts.
    #[must_use]
    pub fn fingerprint(&self) -> u128 {
        let encoded = match self {
            Self::PutCredential { tenant, agent, realm, sealed } => encode(&Self::PutCredential {
                tenant: *tenant,
                agent: agent.clone(),
                realm: realm.clone(),
                sealed: Sealed { key: sealed.key, nonce: [0; 24], bytes: Vec::new() },
            }),
            Self::ApplyConfiguration(apply) => {
                encode(&Self::ApplyConfiguration(Box::new(apply.asked())))
            }
            other => encode(other),
        };
        row_hash(&[], &encoded)
    }
}

/// Encodes an outcome as it is stored and sent.
#[must_use]
pub fn encode_outcome(outcome: &Outcome) -> Vec<u8> {
    encode(outcome)
}

/// Reads an outcome.
///
/// # Errors
/// [`BatchError`].
pub fn decode_outcome(bytes: &[u8]) -> Result<Outcome, BatchError> {
    decode(bytes)
}

fn encoded_len<T: Serialize>(value: &T) -> usize {
    match postcard::serialize_with_flavor(value, postcard::ser_flavors::Size::default()) {
        Ok(bytes) => bytes,
        Err(error) => unreachable!("counting bytes cannot fail: {error}"),
    }
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    match postcard::to_extend(value, vec![BATCH_FORMAT]) {
        Ok(bytes) => bytes,
        Err(error) => unreachable!("postcard into a Vec cannot fail: {error}"),
    }
}

fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, BatchError> {
    match bytes.split_first() {
        None => Err(BatchError::Damaged("it is empty".into())),
        Some((&BATCH_FORMAT, body)) => match postcard::take_from_bytes(body) {
            Ok((value, [])) => Ok(value),
            Ok(_) => Err(BatchError::Damaged("trailing bytes".into())),
            Err(error) => Err(BatchError::Damaged(error.to_string())),
        },
        Some((&format, _)) => Err(BatchError::NewerFormat { format }),
    }
}
