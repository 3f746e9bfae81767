//! Every limit of the laboratory, and how they depend on each other.

use tandem_phone::limits::{CALLS_KEPT_PER_PHONE_MAX, LEGS_MAX, PHONES_MAX};

/// Most callers of one demo.
pub const CALLERS_MAX: u32 = 400;
/// Most agents of one demo.
pub const AGENTS_MAX: u32 = 90;
/// Calls of one person of the demo, the first one included.
pub const TRIES_MAX: usize = 4;
/// Steps of one scenario.
pub const STEPS_MAX: usize = 64;
/// Samples of the cluster kept for the report; at four a second more than an hour.
pub const SAMPLES_MAX: usize = 16_384;
/// Notes kept on the demo's board.
pub const NOTES_MAX: usize = 256;
/// Problems that the result names in the terminal; the rest is counted, and all are in the JSON.
pub const PROBLEMS_SHOWN_MAX: usize = 12;
/// Contacts of one run that are asked for in its end; callers may try again.
pub const CONTACTS_MAX: usize = CALLERS_MAX as usize * TRIES_MAX;
/// Problems that a verdict keeps.
pub const PROBLEMS_KEPT_MAX: usize = 10_000;
/// Problems that the report names.
pub const PROBLEMS_REPORTED_MAX: usize = 50;

const _: () = {
    // A person's calls come one after the other: each caller and each agent has a leg at a time.
    assert!((CALLERS_MAX + 2 * AGENTS_MAX) as usize <= LEGS_MAX);
    assert!(AGENTS_MAX as usize <= PHONES_MAX);
    // Three agents share the callers at worst, and a phone must remember all of its calls.
    assert!(CALLERS_MAX as usize / 3 + TRIES_MAX <= CALLS_KEPT_PER_PHONE_MAX);
    assert!(PROBLEMS_SHOWN_MAX <= PROBLEMS_REPORTED_MAX);
};
