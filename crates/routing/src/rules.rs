//! What is configured of a queue beside its requirement, weight, sites and times: how it chooses.

use serde::{Deserialize, Serialize};

use crate::strategy::Strategy;

/// Rules of a queue. Fields are appended under a new version of the row only.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct QueueRules {
    /// Who is asked among those who may take a contact.
    pub strategy: Strategy,
}
