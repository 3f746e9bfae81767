//! Histories: what concurrent clients asked of a cluster, what they were told, and when.
//!
//! A [`History`] is plain data. Clients write it through a [`Recorder`] while faults are made,
//! `file` keeps it as JSON lines, and `check::history` judges it afterwards. What lives here knows
//! no rule of the cluster: whether an answer was right is the checkers' business.
//!
//! ```
//! use tandem_chaos::history::{Action, Answer, Clock, History, Outcome, Recorder, Subject};
//!
//! # fn main() -> anyhow::Result<()> {
//! let folder = tempfile::tempdir()?;
//! let file = folder.path().join("history.jsonl");
//! let recorder = Recorder::create(&file, Clock::starting_now())?;
//! let client = recorder.client(1);
//! let asked = client.invoke(&Subject::register("queue/sales"), Action::Write("a".into()), None)?;
//! asked.returned(Outcome::Ok(Answer::Done))?;
//! let history = History::read(&file)?;
//! assert_eq!(history.operations.len(), 1);
//! # Ok(())
//! # }
//! ```

pub(crate) mod dice;
pub mod file;
pub mod port;
mod recorder;
pub mod workload;

use std::fmt;

use serde::{Deserialize, Serialize};
use tandem_phone::RunTime;

pub use recorder::{Asked, Client, Clock, Recorder};

/// Operations of one history. At some hundred a second this is more than an hour.
pub const OPERATIONS_MAX: usize = 1_000_000;
/// Faults of one history.
pub const FAULTS_MAX: usize = 10_000;
/// Length of one line of the file, in bytes.
pub const LINE_BYTES_MAX: usize = 8_192;

/// Everything that clients saw in one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// In the order in which they were invoked.
    pub operations: Vec<Operation>,
    /// In the order in which they began.
    pub faults: Vec<FaultSpan>,
}

/// One request of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its number in the history.
    pub id: u64,
    /// Who asked.
    pub client: u32,
    /// What it is about. Subjects are judged each for itself.
    pub subject: Subject,
    /// What was asked.
    pub action: Action,
    /// The idempotency key: operations of one subject with the same key may take effect once.
    pub once: Option<String>,
    /// Not later than the moment at which the request left.
    pub invoked_us: RunTime,
    /// Not earlier than the moment at which the answer came; none when none did.
    pub returned_us: Option<RunTime>,
    /// What the client was told.
    pub outcome: Outcome,
}

impl Operation {
    /// The moment by which it must have taken effect; none when nobody knows whether it did.
    #[must_use]
    pub fn settled_us(&self) -> Option<RunTime> {
        if self.outcome == Outcome::Unknown { None } else { self.returned_us }
    }
}

/// What an operation is about, and so the model that judges it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// The model.
    pub kind: Kind,
    /// The row: `queue/sales`, `site/lon`, `agent/ann`.
    pub name: String,
}

/// What a subject behaves like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Holds one text.
    Register,
    /// An agent's login and work state.
    Presence,
    /// A number that is added to.
    Counter,
}

impl Subject {
    /// A row whose settings are written and read as a whole.
    #[must_use]
    pub fn register(name: &str) -> Self {
        Self { kind: Kind::Register, name: name.to_owned() }
    }

    /// An agent's presence.
    #[must_use]
    pub fn presence(name: &str) -> Self {
        Self { kind: Kind::Presence, name: name.to_owned() }
    }

    /// Something that is counted.
    #[must_use]
    pub fn counter(name: &str) -> Self {
        Self { kind: Kind::Counter, name: name.to_owned() }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Register => f.write_str(&self.name),
            Kind::Presence => write!(f, "{} (presence)", self.name),
            Kind::Counter => write!(f, "{} (count)", self.name),
        }
    }
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Of any subject, linearizable.
    Read,
    /// Of a register: this text from now on.
    Write(String),
    /// Of a register: `to` if it holds `from`, otherwise refused by rule.
    CompareAndSet {
        /// What it must hold.
        from: String,
        /// What it holds then.
        to: String,
    },
    /// Of a counter.
    Add(u64),
    /// Of an agent: logged in in this state, whatever was before.
    LogIn(Presence),
    /// Of an agent.
    LogOut,
    /// Of an agent who is logged in; refused by rule when they are not.
    SetPresence(Presence),
}

/// An agent who has no contact.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// Not logged in.
    LoggedOut,
    /// Ready.
    Ready,
    /// Not ready, with this reason.
    NotReady(String),
}

/// What a read shows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// There is no such row.
    Absent,
    /// Of a register.
    Text(String),
    /// Of a counter.
    Count(u64),
    /// Of an agent.
    Presence(Presence),
}

/// What the client was told.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Ok(Answer),
    /// It was not done, and never will be.
    Refused(Refusal),
    /// Nobody knows: it may take effect at any later time, or never.
    Unknown,
}

/// The answer to what was done.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The change is made.
    Done,
    /// What a read showed.
    Seen {
        /// The value.
        value: Value,
        /// The log index that the reading is based on, where the answer names it.
        index: Option<u64>,
    },
}

/// Why nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// For a reason outside of the subject: no quorum, a limit. Says nothing about its state.
    NotDone,
    /// There is no such row.
    Absent,
    /// The subject's state at that moment forbids it.
    Rule,
}

/// A fault and how long it lasted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultSpan {
    /// Its number in the history.
    pub id: u64,
    /// In words.
    pub what: String,
    /// When it was made.
    pub began_us: RunTime,
    /// When it was undone; none when it never was.
    pub ended_us: Option<RunTime>,
}
