//! Limits of scenarios.

use crate::limits::{CALLERS_MAX, TRIES_MAX};

/// Contacts of one run that are asked for in its end; callers may try again.
pub(super) const CONTACTS_MAX: usize = CALLERS_MAX as usize * TRIES_MAX;
