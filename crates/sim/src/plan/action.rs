//! What can happen in a plan: what people do, what operators do, what fails.

use serde::{Deserialize, Serialize};

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each field is what its name says; times in ms")]
pub enum Action {
    /// Somebody calls a number at a node.
    Call { who: String, number: String, node: u64 },
    /// A caller or agent ends all their calls.
    HangUp { who: String },
    /// Both ends of whatever call they are in, as far as named, hold or resume.
    Hold { who: String, held: bool },
    /// An agent's phone behaves so from now on.
    Phone { who: String, manner: Manner },
    /// How somebody answers re-INVITEs from now on: a status, 200, or 0 for silence.
    Reinvited { who: String, status: u16 },
    /// An agent asks to be ready or not.
    Ready { who: String, ready: bool, node: u64 },
    /// An agent logs in or out.
    Login { who: String, login: bool, node: u64 },
    /// An operator opens, drains or closes a node's site.
    Site { site: u64, state: SiteIs, node: u64 },
    /// A node's process dies; a witness says so, or nobody does.
    Crash { node: u64, witness: bool },
    /// A node's host loses power: what its disk had not synced is gone.
    PowerLoss { node: u64 },
    /// A dead node starts again.
    Start { node: u64 },
    /// A node starts again from another one's snapshot.
    StartFromSnapshot { node: u64, of: u64 },
    /// A node stands still.
    Freeze { node: u64, ms: u64 },
    /// A node's machine sleeps: its clock stands too.
    Suspend { node: u64, ms: u64 },
    /// A node is cut off from the others; its callers and phones reach it.
    Isolate { node: u64 },
    /// One node's messages to another are lost.
    Cut { from: u64, to: u64 },
    /// There is no quorum for anything.
    NoQuorum,
    /// Nodes reach each other again.
    Heal,
    /// The leader loses its office.
    Depose,
    /// The log takes so much longer.
    LogSlow { ms: u64 },
    /// A node's clock runs so much faster, or slower.
    Drift { node: u64, ppm: i64 },
    /// A node's clock jumps ahead.
    Jump { node: u64, ms: u64 },
    /// The relay beside a node dies and comes back as another process.
    RelayCrash { relay: u64, back_after: u64 },
    /// A node cannot reach a relay.
    RelayCut { relay: u64, node: u64 },
    /// All nodes reach it again.
    RelayUncut { relay: u64 },
    /// A relay has no socket for another session.
    RelayFull { relay: u64 },
    /// It has again.
    RelayRoomy { relay: u64 },
    /// Somebody's line is dead, until they come back.
    Vanish { who: String },
    /// They do.
    Return { who: String },
}

/// What an agent's phone does with an INVITE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each field is what its name says; times in ms")]
pub enum Manner {
    /// Rings and is answered; may answer a CANCEL that crosses; a second device may answer too.
    Answers { rings_after: u64, answers_after: u64, on_cancel: bool, fork_after: Option<u64> },
    /// Rings for ever.
    Rings { after: u64 },
    /// Refuses.
    Rejects { after: u64, status: u16 },
    /// Says nothing.
    Silent,
}

/// What a site is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SiteIs {
    /// Take contacts.
    Open,
    /// Take no new ones.
    Draining,
    /// Refuse.
    Closed,
}

impl Action {
    /// True when something fails by it, and nobody wanted it.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        !matches!(
            self,
            Self::Call { .. }
                | Self::HangUp { .. }
                | Self::Hold { .. }
                | Self::Phone { .. }
                | Self::Ready { .. }
                | Self::Login { .. }
                | Self::Site { .. }
                | Self::Start { .. }
                | Self::StartFromSnapshot { .. }
                | Self::Heal
                | Self::RelayUncut { .. }
                | Self::RelayRoomy { .. }
                | Self::Return { .. }
        )
    }

    /// Nodes that it names.
    pub(super) fn nodes(&self) -> Vec<u64> {
        match self {
            Self::Call { node, .. }
            | Self::Ready { node, .. }
            | Self::Login { node, .. }
            | Self::Crash { node, .. }
            | Self::PowerLoss { node }
            | Self::Start { node }
            | Self::Freeze { node, .. }
            | Self::Suspend { node, .. }
            | Self::Isolate { node }
            | Self::Drift { node, .. }
            | Self::Jump { node, .. } => vec![*node],
            Self::Site { site: a, node: b, .. }
            | Self::StartFromSnapshot { node: a, of: b }
            | Self::Cut { from: a, to: b }
            | Self::RelayCut { relay: a, node: b } => vec![*a, *b],
            Self::RelayCrash { relay, .. }
            | Self::RelayUncut { relay }
            | Self::RelayFull { relay }
            | Self::RelayRoomy { relay } => vec![*relay],
            Self::HangUp { .. }
            | Self::Hold { .. }
            | Self::Phone { .. }
            | Self::Reinvited { .. }
            | Self::NoQuorum
            | Self::Heal
            | Self::Depose
            | Self::LogSlow { .. }
            | Self::Vanish { .. }
            | Self::Return { .. } => Vec::new(),
        }
    }

    /// People that it names.
    pub(super) fn people(&self) -> Vec<&str> {
        match self {
            Self::Call { who, .. }
            | Self::HangUp { who }
            | Self::Hold { who, .. }
            | Self::Phone { who, .. }
            | Self::Reinvited { who, .. }
            | Self::Ready { who, .. }
            | Self::Login { who, .. }
            | Self::Vanish { who }
            | Self::Return { who } => vec![who],
            _ => Vec::new(),
        }
    }
}
