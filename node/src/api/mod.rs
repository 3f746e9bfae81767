//! The API for operators and applications: gRPC with mutual TLS on its own port.
//!
//! Any node answers any call: readings come from its own copy of the state (with how old that is,
//! or after a proof that it is current), changes go to the leader. One file per service; what they
//! share is in `read` and `change`.

mod agents;
mod change;
mod cluster;
mod contacts;
mod queues;
mod read;
mod sites;

use std::sync::Arc;

use tandem_cluster::{machine::Machine, seal::ClusterKey};
use tandem_media_relay::identity::Role;
use tandem_proto::api::v1::{AsOf, Consistency};
use tandem_routing::name::Name;
use tonic::{Request, Status};

use crate::{
    cluster::{
        core::{Core, ReadError},
        member::{Membership, no_member},
    },
    tls::require_role,
};

/// All services of one node.
#[derive(Debug, Clone)]
pub struct Api {
    membership: Arc<Membership>,
    key: ClusterKey,
    realm: String,
}

impl Api {
    /// The services of this node; `key` seals and `realm` names phones' passwords.
    #[must_use]
    pub fn new(membership: Arc<Membership>, key: ClusterKey, realm: String) -> Self {
        Self { membership, key, realm }
    }

    /// Lets operators and nodes in.
    fn admit<T>(request: Request<T>) -> Result<T, Status> {
        require_role(&request, &[Role::Operator, Role::Node])?;
        Ok(request.into_inner())
    }

    fn core(&self) -> Result<Arc<Core>, Status> {
        self.membership.core().ok_or_else(no_member)
    }

    /// Looks at the state, as fresh as it is asked for.
    async fn read<R>(
        &self,
        consistency: i32,
        look: impl FnOnce(&Machine) -> R,
    ) -> Result<(AsOf, R), Status> {
        let core = self.core()?;
        if Consistency::try_from(consistency) == Ok(Consistency::Linearizable) {
            core.linearize().await.map_err(|error| match error {
                ReadError::NoQuorum | ReadError::Behind => Status::unavailable(error.to_string()),
            })?;
        }
        let (index, time, seen) = core.store.read(|replica, applied| {
            let index = applied.map_or(0, |applied| applied.index);
            (index, replica.0.now().0, look(&replica.0))
        });
        let as_of = AsOf {
            node: core.member.node.0,
            index,
            cluster_time_ms: time,
            leader: core.leader().map_or(0, |leader| leader.0),
            silent_ms: core.leader_silent_ms(),
        };
        Ok((as_of, seen))
    }
}

/// A name in a request.
fn name(field: &str, text: &str) -> Result<Name, Status> {
    text.parse().map_err(|error: tandem_routing::name::NameError| {
        Status::invalid_argument(format!("{field}: {error}"))
    })
}

/// A value of a smaller type in a request.
fn narrow<T: TryFrom<u64>>(field: &str, value: impl Into<u64>) -> Result<T, Status> {
    let value = value.into();
    T::try_from(value)
        .map_err(|_| Status::invalid_argument(format!("{field} {value} is out of range")))
}
