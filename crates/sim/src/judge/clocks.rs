//! R8 and R11: ClusterTime never goes back; a contact keeps the time at which it came, and so its wait.

use super::Entry;

/// Compares the clocks before and behind the entry.
pub fn check(entry: &Entry, found: &mut Vec<String>) {
    let (before, after) = (entry.before.now, entry.after.now);
    if after < before {
        found.push(format!("R8: ClusterTime went back from {before:?} to {after:?}"));
    }
    for contact in entry.after.contacts.values() {
        let Some(known) = entry.before.contacts.get(&contact.id) else { continue };
        if known.arrival != contact.arrival {
            let (id, was, is) = (contact.id, known.arrival, contact.arrival);
            found.push(format!("R11: the arrival of {id} was {was:?} and is {is:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use tandem_routing::time::ClusterTime;

    use super::*;
    use crate::judge::samples::{Small, found};

    // Goal: a clock that goes back and an arrival that changes are seen.
    #[test]
    fn a_clock_that_goes_back_is_seen() {
        let mut small = Small::new();
        small.call();
        let good = small.ready("amy");
        assert_eq!(found(check, &good), Vec::<String>::new());
        let mut bad = good.clone();
        bad.after.now = ClusterTime(bad.before.now.0 - 1);
        assert!(found(check, &bad)[0].starts_with("R8"));
        let mut bad = good;
        bad.after.contacts.values_mut().next().unwrap().arrival = ClusterTime(5);
        assert!(found(check, &bad)[0].starts_with("R11"));
    }
}
