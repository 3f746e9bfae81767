//! Same log index, same state (invariant R7): what the nodes' own `cluster status` says.
//!
//! A digest is read together with its index, so samples that nodes give at different moments can
//! be compared wherever their indexes meet. How often they met is part of the verdict: samples that
//! never meet prove nothing.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use tandem_proto::api::v1 as api;

/// What a node said of its state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DigestSeen {
    /// Which node.
    pub node: u64,
    /// The log index that it had applied.
    pub index: u64,
    /// The digest of its state.
    pub digest: String,
    /// The version of its rules: digests of two versions cannot be compared.
    pub machine_version: u32,
}

impl DigestSeen {
    /// What a status says; none while the node's disk is new.
    #[must_use]
    pub fn of(status: &api::StatusReply) -> Option<Self> {
        let as_of = status.as_of.as_ref().filter(|_| !status.digest.is_empty())?;
        Some(Self {
            node: as_of.node,
            index: as_of.index,
            digest: status.digest.clone(),
            machine_version: status.machine_version,
        })
    }
}

/// Two states at one index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Divergence {
    /// The index.
    pub index: u64,
    /// What was seen there, each digest with the nodes that showed it.
    pub states: BTreeMap<String, Vec<u64>>,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at index {} the states differ:", self.index)?;
        self.states.iter().try_for_each(|(digest, nodes)| write!(f, " {digest} at nodes {nodes:?}"))
    }
}

/// The verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// Indexes at which two or more nodes were seen.
    pub indexes_compared: usize,
    /// Nodes that were compared with another one at least once, ascending.
    pub nodes_compared: Vec<u64>,
    /// Where they differ.
    pub divergences: Vec<Divergence>,
}

impl Compared {
    /// True when all of these nodes were compared and nothing differed.
    #[must_use]
    pub fn proves(&self, nodes: &[u64]) -> bool {
        self.divergences.is_empty()
            && !nodes.is_empty()
            && nodes.iter().all(|node| self.nodes_compared.contains(node))
    }
}

/// Compares samples, in any order. One node that shows two states at one index counts as well.
#[must_use]
pub fn compare(samples: &[DigestSeen]) -> Compared {
    let mut by_place: BTreeMap<(u64, u32), BTreeMap<String, Vec<u64>>> = BTreeMap::new();
    for sample in samples {
        let states = by_place.entry((sample.index, sample.machine_version)).or_default();
        let nodes = states.entry(sample.digest.clone()).or_default();
        if !nodes.contains(&sample.node) {
            nodes.push(sample.node);
        }
    }
    let mut compared = Compared::default();
    for ((index, _), mut states) in by_place {
        states.values_mut().for_each(|nodes| nodes.sort_unstable());
        let mut nodes: Vec<u64> = states.values().flatten().copied().collect();
        nodes.sort_unstable();
        nodes.dedup();
        if nodes.len() > 1 {
            compared.indexes_compared += 1;
            compared.nodes_compared.extend(nodes);
        }
        if states.len() > 1 {
            compared.divergences.push(Divergence { index, states });
        }
    }
    compared.nodes_compared.sort_unstable();
    compared.nodes_compared.dedup();
    compared
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(node: u64, index: u64, digest: &str) -> DigestSeen {
        DigestSeen { node, index, digest: digest.to_owned(), machine_version: 1 }
    }

    // Goal: equal digests at one index prove; another one, even of the same node, is found with the
    // nodes' names; different indexes and versions say nothing.
    #[test]
    fn differing_states_are_found() {
        let good = [seen(1, 5, "a"), seen(2, 5, "a"), seen(3, 5, "a"), seen(3, 6, "b")];
        let compared = compare(&good);
        assert!(compared.proves(&[1, 2, 3]));
        assert_eq!(compared.indexes_compared, 1);

        let compared = compare(&[seen(1, 5, "a"), seen(2, 5, "a"), seen(3, 5, "x")]);
        assert!(!compared.proves(&[1, 2]));
        let text = compared.divergences[0].to_string();
        assert!(text.contains("index 5") && text.contains("x at nodes [3]"), "{text}");

        assert_eq!(compare(&[seen(1, 5, "a"), seen(1, 5, "b")]).divergences.len(), 1);

        let other_version = DigestSeen { machine_version: 2, ..seen(2, 5, "b") };
        assert_eq!(compare(&[seen(1, 5, "a"), other_version]).divergences, []);
    }

    // Goal: samples that never meet prove nothing, nor does a node that was never met.
    #[test]
    fn what_never_met_is_not_proven() {
        assert!(!compare(&[]).proves(&[]));
        assert!(!compare(&[seen(1, 5, "a"), seen(2, 6, "b")]).proves(&[1, 2]));
        let two = compare(&[seen(1, 5, "a"), seen(2, 5, "a"), seen(3, 4, "c")]);
        assert!(two.proves(&[1, 2]) && !two.proves(&[1, 2, 3]));
    }

    // Goal: a status becomes a sample with the index that belongs to its digest; that of a node with
    // a new disk none.
    #[test]
    fn statuses_become_samples() {
        let as_of = Some(api::AsOf { node: 2, index: 9, ..api::AsOf::default() });
        let status = api::StatusReply {
            as_of,
            digest: "d".to_owned(),
            machine_version: 3,
            last_log_index: 11,
            ..api::StatusReply::default()
        };
        let expected = DigestSeen { machine_version: 3, ..seen(2, 9, "d") };
        assert_eq!(DigestSeen::of(&status), Some(expected));
        assert_eq!(DigestSeen::of(&api::StatusReply::default()), None);
    }
}
