//! Who speaks on the cluster port: every call names cluster, caller, caller's disk, the node that is
//! meant and the disk that it should have.
//!
//! A node id lives and dies with its disk (invariant D1): a node whose disk was emptied must not
//! vote or be counted under its old number. TLS has proved before that the caller is a node at all.

use tandem_cluster::ids::{ClusterId, DiskId, NodeId};
use tonic::{
    Status,
    metadata::{MetadataMap, MetadataValue},
};

const CLUSTER: &str = "tandem-cluster";
const FROM: &str = "tandem-from";
const FROM_DISK: &str = "tandem-disk";
const TO: &str = "tandem-to";
const TO_DISK: &str = "tandem-to-disk";
/// Set on a refusal that names the leader.
const LEADER: &str = "tandem-leader";

/// This node, in one cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// Its disk.
    pub disk: DiskId,
}

/// What a caller says about both ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The cluster that it belongs to.
    pub cluster: ClusterId,
    /// Who it is.
    pub from: NodeId,
    /// On which disk.
    pub from_disk: DiskId,
    /// Whom it means.
    pub to: NodeId,
    /// The disk that it believes is there.
    pub to_disk: DiskId,
}

impl Member {
    /// Writes the claim for a call to `to`.
    pub fn sign(&self, to: NodeId, to_disk: DiskId, metadata: &mut MetadataMap) {
        let pairs = [
            (CLUSTER, self.cluster.to_string()),
            (FROM, self.node.0.to_string()),
            (FROM_DISK, self.disk.to_string()),
            (TO, to.0.to_string()),
            (TO_DISK, to_disk.to_string()),
        ];
        for (key, value) in pairs {
            // Digits, letters and underscores always make a metadata value.
            if let Ok(value) = MetadataValue::try_from(value) {
                metadata.insert(key, value);
            }
        }
    }

    /// Accepts a call that means this very node, from a member of this cluster.
    ///
    /// # Errors
    /// FAILED_PRECONDITION, saying which identity does not fit.
    pub fn accept(&self, claim: &Claim) -> Result<(), Status> {
        if claim.cluster != self.cluster {
            return Err(refusal(format!(
                "{} calls from {}, this node is in {}: two clusters do not mix; correct the \
                 address or the certificates",
                claim.from, claim.cluster, self.cluster
            )));
        }
        if claim.to != self.node {
            let (meant, this) = (claim.to, self.node);
            return Err(refusal(format!("{meant} is meant, this is {this}: correct the address")));
        }
        if claim.to_disk != self.disk {
            return Err(wrong_disk(self.node, claim.to_disk, self.disk));
        }
        Ok(())
    }
}

/// The refusal of a node whose disk is not the one on record.
pub fn wrong_disk(node: NodeId, expected: DiskId, found: DiskId) -> Status {
    refusal(format!(
        "{node} belongs to {expected}, here is {found}: a node that lost its disk has forgotten \
         what it promised and must come back under a new number (tandem cluster join)"
    ))
}

impl Claim {
    /// Reads the claim of a call.
    ///
    /// # Errors
    /// FAILED_PRECONDITION when it is not complete.
    pub fn read(metadata: &MetadataMap) -> Result<Self, Status> {
        let text = |key: &str| metadata.get(key).and_then(|value| value.to_str().ok());
        let node = |key| text(key)?.parse().ok().map(NodeId);
        let read = || {
            Some(Self {
                cluster: text(CLUSTER)?.parse().ok()?,
                from: node(FROM)?,
                from_disk: text(FROM_DISK)?.parse().ok()?,
                to: node(TO)?,
                to_disk: text(TO_DISK)?.parse().ok()?,
            })
        };
        read().ok_or_else(|| {
            refusal("the call does not say which nodes it is between: it is no Tandem node".into())
        })
    }
}

fn refusal(text: String) -> Status {
    Status::failed_precondition(text)
}

/// A refusal because another node leads.
#[must_use]
pub fn not_leader(leader: Option<NodeId>) -> Status {
    let mut status = Status::failed_precondition("another node leads; ask that one");
    let leader = leader.map_or(0, |node| node.0);
    status.metadata_mut().insert(LEADER, MetadataValue::from(leader));
    status
}

/// The leader that a refusal names; `None` when the status is no such refusal. The inner `None`
/// means that the answering node knows no leader either.
#[must_use]
pub fn named_leader(status: &Status) -> Option<Option<NodeId>> {
    let value: u64 = status.metadata().get(LEADER)?.to_str().ok()?.parse().ok()?;
    Some((value != 0).then_some(NodeId(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(cluster: u128, node: u64, disk: u128) -> Member {
        Member { cluster: ClusterId(cluster), node: NodeId(node), disk: DiskId(disk) }
    }

    // Goal: D1 on the wire. Only a call between the right disks of the right nodes is accepted;
    // each other one says what does not fit.
    #[test]
    fn claims_are_checked() {
        let us = member(7, 2, 22);
        let claim = |caller: Member, to: u64, to_disk: u128| {
            let mut metadata = MetadataMap::new();
            caller.sign(NodeId(to), DiskId(to_disk), &mut metadata);
            Claim::read(&metadata).and_then(|claim| us.accept(&claim))
        };
        assert!(claim(member(7, 1, 11), 2, 22).is_ok());
        for (caller, to, disk, part) in [
            (member(8, 1, 11), 2, 22, "two clusters do not mix"),
            (member(7, 1, 11), 3, 22, "node_3 is meant"),
            (member(7, 1, 11), 2, 23, "lost its disk"),
        ] {
            let status = claim(caller, to, disk).unwrap_err();
            assert!(status.message().contains(part), "{status}");
        }
        assert!(Claim::read(&MetadataMap::new()).is_err());
    }

    // Goal: a refusal names the leader, or that none is known, and other errors name nothing.
    #[test]
    fn refusals_name_the_leader() {
        assert_eq!(named_leader(&not_leader(Some(NodeId(3)))), Some(Some(NodeId(3))));
        assert_eq!(named_leader(&not_leader(None)), Some(None));
        assert_eq!(named_leader(&Status::unavailable("down")), None);
    }
}
