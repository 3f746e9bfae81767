//! The API for operators and applications: gRPC with mutual TLS on its own port.
//!
//! Any node answers any call: readings come from its own copy of the state (with how old that is,
//! or after a proof that it is current), changes go to the leader. One file per service; what they
//! share is in `read` and `change`.

mod agents;
mod calendars;
mod callers;
mod change;
mod cluster;
mod configuration;
mod contacts;
mod events;
mod explain;
mod queues;
mod read;
mod rebalance;
mod records;
mod retire;
mod rules;
mod sites;
mod statistics;
mod tenancy;
mod tenants;
#[cfg(test)]
mod tenants_apart;

pub(crate) use configuration::{DOCUMENTS_BYTES_MAX, DOCUMENTS_MESSAGE_BYTES_MAX};

use std::{sync::Arc, time::Duration};

use tandem_cluster::{machine::Machine, seal::ClusterKey};
use tandem_media_relay::identity::Role;
use tandem_proto::api::v1::{AsOf, Consistency};
use tandem_routing::name::Name;
use tokio::sync::Semaphore;
use tonic::{Request, Status};

use crate::{
    cluster::{
        core::{Core, ReadError},
        member::{Membership, no_member},
    },
    tls::require_role,
};

/// How long a change may take.
const CHANGE_WITHIN: Duration = Duration::from_secs(5);
/// The part of a caller's patience after which it gets its answer.
const ANSWER_IN_PERCENT: u32 = 70;

/// All services of one node.
#[derive(Debug, Clone)]
pub struct Api {
    membership: Arc<Membership>,
    key: ClusterKey,
    realm: String,
    /// Places for consumers of events.
    consumers: Arc<Semaphore>,
}

impl Api {
    /// The services of this node; `key` seals and `realm` names phones' passwords.
    #[must_use]
    pub fn new(membership: Arc<Membership>, key: ClusterKey, realm: String) -> Self {
        let consumers = Arc::new(Semaphore::new(events::CONSUMERS_MAX));
        Self { membership, key, realm, consumers }
    }

    /// Lets operators in. A node's certificate lies on its host, where no operator's key need be.
    fn admit<T>(request: Request<T>) -> Result<T, Status> {
        require_role(&request, &[Role::Operator])?;
        Ok(request.into_inner())
    }

    /// Lets operators change something, and says how long that may take: a caller who set a deadline
    /// hears before it what became of the change.
    fn admit_change<T>(request: Request<T>) -> Result<(T, Duration), Status> {
        let within = patience(&request).map_or(CHANGE_WITHIN, |patience| {
            CHANGE_WITHIN.min(patience * ANSWER_IN_PERCENT / 100)
        });
        Ok((Self::admit(request)?, within))
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

/// How long the caller waits, as gRPC's own header says it: up to eight digits and a unit
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>, "Timeout").
fn patience<T>(request: &Request<T>) -> Option<Duration> {
    let text = request.metadata().get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3_600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a caller's patience is read as the protocol writes it; what is no patience counts as none.
    #[test]
    fn a_callers_patience() {
        for (text, expected) in [
            ("2S", Some(2_000)),
            ("1500m", Some(1_500)),
            ("3000000u", Some(3_000)),
            ("99999999n", Some(99)),
            ("1M", Some(60_000)),
            ("1H", Some(3_600_000)),
            ("", None),
            ("S", None),
            ("5", None),
            ("-1S", None),
            ("123456789S", None),
            ("1 S", None),
        ] {
            let mut request = Request::new(());
            request.metadata_mut().insert("grpc-timeout", text.parse().expect("ASCII"));
            let read = patience(&request).map(|patience| patience.as_millis());
            assert_eq!(read, expected, "{text:?}");
        }
        assert_eq!(patience(&Request::new(())), None);
    }
}
