//! The configuration as a whole: its versions, and what a change of it would do.
//!
//! What is configured is the queue's rows (sites, queues, numbers, agents); here is what makes a whole of
//! them: a number that rises with every change, the latest versions with who made them and the document
//! that gives them again ([`ConfigurationVersion`]), and the changes that are tried on a copy
//! ([`trial`]). How a change is applied is in `apply/configuration.rs`; what documents look like, a node
//! decides: they are bytes here.

pub mod trial;

use std::fmt;

use serde::{Deserialize, Serialize};
use tandem_routing::{
    command::Command as QueueCommand,
    table::{Row, TableTag},
    time::ClusterTime,
};

use crate::{
    ids::TenantId,
    limits::{
        CONFIGURATION_CHANGES_MAX, CONFIGURATION_DOCUMENT_BYTES_MAX, CONFIGURATION_TEXT_LEN_MAX,
    },
};

/// A version of the configuration that is kept, or a run of versions that were made one command at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationVersion {
    /// The first version of the run; it names the row.
    pub first: u64,
    /// The last one: what the row is about. Equal to `first` where it was applied as a whole.
    pub last: u64,
    /// Whose configuration was changed; [`TenantId::CLUSTER`] for sites.
    pub tenant: TenantId,
    /// When the last one came to be.
    pub at: ClusterTime,
    /// How.
    pub made: Made,
    /// Gives `last` again; none where nobody has exported it, or where it was too large.
    pub document: Option<Document>,
}

/// How a version came to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Made {
    /// By commands that change one thing each.
    Singly {
        /// What the latest of them changed, the last one at the end: `queue sales`.
        latest: Vec<String>,
    },
    /// From documents, as a whole.
    Whole {
        /// Who, as they say.
        author: String,
        /// Why, as they say.
        comment: String,
        /// What was changed, in a few words.
        summary: String,
        /// The version whose document it was, when it went back to one.
        restores: Option<u64>,
    },
    /// Found as it is when the first document was applied.
    Found,
}

/// What gives a configuration again, packed as the node that made it packs documents. The machine does not
/// look into it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Whose configuration it gives.
    pub tenant: TenantId,
    /// What the node packed.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({}, {} bytes)", self.tenant, self.bytes.len())
    }
}

/// See [`crate::command::Command::ApplyConfiguration`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyConfiguration {
    /// Whose configuration.
    pub tenant: TenantId,
    /// The version that the changes were made for; refused when another one is in force.
    pub base: u64,
    /// Tells what was asked for: a repeat under the same idempotency key is known by it, though its changes
    /// differ because the first one was carried out.
    pub request: u128,
    /// What to change, in this order; each must be one that changes configuration ([`subject`]).
    pub changes: Vec<QueueCommand>,
    /// Gives `base` again, if no document of it is kept.
    pub before: Option<Document>,
    /// Gives again what the changes lead to.
    pub after: Option<Document>,
    /// Who, as they say.
    pub author: String,
    /// Why, as they say.
    pub comment: String,
    /// What is changed, in a few words.
    pub summary: String,
    /// The version that it goes back to.
    pub restores: Option<u64>,
}

impl ApplyConfiguration {
    /// The same without what follows from the state it was made for: what a repeat is known by.
    pub(crate) fn asked(&self) -> Self {
        Self {
            tenant: self.tenant,
            base: self.base,
            request: self.request,
            changes: Vec::new(),
            before: None,
            after: None,
            author: self.author.clone(),
            comment: self.comment.clone(),
            summary: String::new(),
            restores: self.restores,
        }
    }

    /// What is wrong with its fields.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.changes.is_empty() {
            return Err("it changes nothing".into());
        }
        if self.changes.len() > CONFIGURATION_CHANGES_MAX {
            return Err(format!(
                "it makes {} changes, more than the {CONFIGURATION_CHANGES_MAX} that are applied at a time: \
                 apply the documents one after the other",
                self.changes.len()
            ));
        }
        if let Some(other) = self.changes.iter().find(|change| subject(change).is_none()) {
            return Err(format!("it holds a command that configures nothing: {other:?}"));
        }
        let own = |change: &QueueCommand| [self.tenant, TenantId::CLUSTER].contains(&owner(change));
        if !self.changes.iter().all(own) {
            return Err("it changes what belongs to another tenant".into());
        }
        for text in [&self.author, &self.comment, &self.summary] {
            if text.len() > CONFIGURATION_TEXT_LEN_MAX {
                return Err(format!(
                    "author, comment and summary have at most {CONFIGURATION_TEXT_LEN_MAX} bytes"
                ));
            }
        }
        let documents = [&self.before, &self.after].into_iter().flatten();
        for document in documents {
            if document.bytes.len() > CONFIGURATION_DOCUMENT_BYTES_MAX {
                return Err(format!(
                    "a packed document has at most {CONFIGURATION_DOCUMENT_BYTES_MAX} bytes"
                ));
            }
        }
        Ok(())
    }
}

/// What a command changes of the configuration, as `queue sales`; `None`: nothing. A site's state is no
/// configuration, as little as an agent's: both are levers for the moment.
#[must_use]
pub fn subject(command: &QueueCommand) -> Option<String> {
    Some(match command {
        QueueCommand::PutSite { name: site, .. }
        | QueueCommand::SetSiteWeight { site, .. }
        | QueueCommand::SetSiteCap { site, .. } => {
            format!("site {site}")
        }
        QueueCommand::PutQueue { queue, .. } | QueueCommand::ConfigureQueue { queue, .. } => {
            format!("queue {}", queue.name)
        }
        QueueCommand::RemoveQueue { queue, .. } | QueueCommand::RetireQueue { queue, .. } => {
            format!("queue {queue} removed")
        }
        QueueCommand::PutNumber { number, .. } | QueueCommand::ConfigureNumber { number, .. } => {
            format!("number {}", number.number)
        }
        QueueCommand::RemoveNumber { number, .. } => format!("number {number} removed"),
        QueueCommand::PutAgent { agent, .. } | QueueCommand::ConfigureAgent { agent, .. } => {
            format!("agent {}", agent.name)
        }
        QueueCommand::RemoveAgent { agent, .. } => format!("agent {agent} removed"),
        // Its steps are counted when they are taken.
        QueueCommand::ApplyPlan { .. } | QueueCommand::UndoPlan { .. } => return None,
        QueueCommand::SetSiteState { .. }
        | QueueCommand::LogIn { .. }
        | QueueCommand::LogOut { .. }
        | QueueCommand::SetReadiness { .. }
        | QueueCommand::Enqueue(_)
        | QueueCommand::Accept { .. }
        | QueueCommand::Decline { .. }
        | QueueCommand::End { .. }
        | QueueCommand::ExpireDue
        | QueueCommand::ContinueWork
        | QueueCommand::AnchorWall { .. }
        | QueueCommand::PutCalendar { .. }
        | QueueCommand::RemoveCalendar { .. }
        | QueueCommand::PutTenant { .. }
        | QueueCommand::RemoveTenant { .. }
        | QueueCommand::ChangeList { .. }
        | QueueCommand::SetPriority { .. }
        | QueueCommand::Place { .. }
        | QueueCommand::ExtendWrapUp { .. }
        | QueueCommand::Release { .. } => return None,
    })
}

/// Whose configuration a command changes.
pub(crate) fn owner(command: &QueueCommand) -> TenantId {
    match command {
        QueueCommand::PutQueue { tenant, .. }
        | QueueCommand::RemoveQueue { tenant, .. }
        | QueueCommand::RetireQueue { tenant, .. }
        | QueueCommand::PutCalendar { tenant, .. }
        | QueueCommand::RemoveCalendar { tenant, .. }
        | QueueCommand::ChangeList { tenant, .. }
        | QueueCommand::PutNumber { tenant, .. }
        | QueueCommand::RemoveNumber { tenant, .. }
        | QueueCommand::PutAgent { tenant, .. }
        | QueueCommand::RemoveAgent { tenant, .. }
        | QueueCommand::ConfigureQueue { tenant, .. }
        | QueueCommand::ConfigureAgent { tenant, .. }
        | QueueCommand::ConfigureNumber { tenant, .. } => *tenant,
        _ => TenantId::CLUSTER,
    }
}

impl Row for ConfigurationVersion {
    type Key = u64;
    const TABLE: TableTag = TableTag::Configuration;
    const VERSION: u8 = 1;

    fn key(&self) -> u64 {
        self.first
    }
    fn tenant(&self) -> TenantId {
        // One number for all tenants: sites are theirs together.
        TenantId::CLUSTER
    }
    fn key_bytes(key: &u64) -> Vec<u8> {
        key.to_be_bytes().to_vec()
    }
}
