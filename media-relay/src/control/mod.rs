//! The control port: gRPC for the cluster's nodes.
//!
//! Every call is checked for the node role ([`NodesOnly`]); the rest is conversion ([`convert`]) and
//! hand-over to the packet path, which works in threads that may block for a moment.

pub mod convert;
pub mod events;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tandem_proto::relay::v1::{
    DescribeReply, DescribeRequest, EventsRequest, PutOutcome, PutResult, PutSessionsReply,
    PutSessionsRequest, RelayEvent, RemoveResult, RemoveSessionsReply, RemoveSessionsRequest,
    RetireReply, RetireRequest, Session, WitnessReply, WitnessRequest,
};
use tandem_rtp::ids::NodeId;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, service::Interceptor};

use crate::{
    identity::{PeerIdentity, Role},
    limits::SESSIONS_PER_CALL_MAX,
    link::endpoint_proto,
    media::{MediaPlane, PutRefused, Removed},
    relay::Vitals,
    stubs::relay_server::Relay,
    witness::Witness,
};
use convert::{leg_from, leg_to};
use events::EventStream;

/// Lets only nodes in.
#[derive(Clone)]
pub struct NodesOnly {
    vitals: Arc<Vitals>,
}

impl NodesOnly {
    /// The check; calls that pass count as signs of life from a node.
    pub fn new(vitals: Arc<Vitals>) -> Self {
        Self { vitals }
    }
}

impl Interceptor for NodesOnly {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let chain = request.peer_certs();
        let identity = PeerIdentity::from_chain(chain.as_deref().map_or(&[], Vec::as_slice));
        identity.and_then(|identity| identity.require_role(Role::Node)).map_err(|error| {
            tracing::warn!(%error, "a call was refused");
            Status::permission_denied(format!("only nodes may call a relay: {error}"))
        })?;
        self.vitals.note_call();
        Ok(request)
    }
}

/// The service.
pub struct Control {
    /// What the relay is.
    pub vitals: Arc<Vitals>,
    /// The packet path.
    pub plane: Arc<MediaPlane>,
    /// The watch over a node.
    pub witness: Arc<Witness>,
}

#[tonic::async_trait]
impl Relay for Control {
    async fn describe(
        &self,
        _request: Request<DescribeRequest>,
    ) -> Result<Response<DescribeReply>, Status> {
        let vitals = &self.vitals;
        Ok(Response::new(DescribeReply {
            relay_id: vitals.relay.to_string(),
            incarnation: vitals.incarnation(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sessions: self.plane.session_count() as u32,
            sessions_max: vitals.sessions_max,
            link: Some(endpoint_proto(vitals.links.address())),
            media_address: vitals.media_address.to_string(),
            uptime_ms: vitals.clock.uptime().as_millis() as u64,
            links: vitals.links.status(),
            counters: Some(vitals.counters.to_proto()),
            retiring: self.plane.is_retiring(),
        }))
    }

    async fn put_sessions(
        &self,
        request: Request<PutSessionsRequest>,
    ) -> Result<Response<PutSessionsReply>, Status> {
        let sessions = request.into_inner().sessions;
        check_count(sessions.len())?;
        let (plane, relay) = (Arc::clone(&self.plane), self.vitals.relay.clone());
        let results = on_thread(move || {
            sessions.into_iter().map(|session| put(&plane, &relay, session)).collect()
        });
        let incarnation = self.vitals.incarnation();
        Ok(Response::new(PutSessionsReply { incarnation, results: results.await? }))
    }

    async fn remove_sessions(
        &self,
        request: Request<RemoveSessionsRequest>,
    ) -> Result<Response<RemoveSessionsReply>, Status> {
        let sessions = request.into_inner().sessions;
        check_count(sessions.len())?;
        let mut legs = Vec::with_capacity(sessions.len());
        for session in sessions {
            let leg = leg_from(session.leg).map_err(Status::invalid_argument)?;
            legs.push((leg, convert::epoch(session.leg_epoch)));
        }
        let plane = Arc::clone(&self.plane);
        let results = on_thread(move || {
            let remove = |(leg, epoch)| {
                let (removed, statistics) = match plane.remove(leg, epoch) {
                    Removed::Done(statistics) => (true, statistics.map(convert::statistics)),
                    Removed::Fenced => (false, None),
                };
                RemoveResult { leg: Some(leg_to(leg)), removed, statistics }
            };
            legs.into_iter().map(remove).collect()
        });
        Ok(Response::new(RemoveSessionsReply { results: results.await? }))
    }

    type EventsStream = Events;

    async fn events(
        &self,
        request: Request<EventsRequest>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        let node = NodeId(request.into_inner().node);
        let listener = self.vitals.events.listen(node).map_err(Status::resource_exhausted)?;
        let plane = Arc::clone(&self.plane);
        let opening = on_thread(move || plane.opening_events(node)).await?;
        let stream = listener.open(opening, self.vitals.incarnation());
        tracing::info!(node = node.0, "a node listens");
        Ok(Response::new(Events { stream, vitals: Arc::clone(&self.vitals) }))
    }

    async fn witness(
        &self,
        request: Request<WitnessRequest>,
    ) -> Result<Response<WitnessReply>, Status> {
        let reply = self.witness.watch(request.into_inner()).map_err(Status::invalid_argument)?;
        Ok(Response::new(reply))
    }

    async fn retire(
        &self,
        _request: Request<RetireRequest>,
    ) -> Result<Response<RetireReply>, Status> {
        self.plane.retire();
        self.vitals.wake();
        tracing::info!("this relay retires: it exits once its last session has ended");
        Ok(Response::new(RetireReply { sessions_left: self.plane.session_count() as u32 }))
    }
}

/// A node's stream of events; while it is open, the node counts as present.
pub struct Events {
    stream: EventStream,
    vitals: Arc<Vitals>,
}

impl Stream for Events {
    type Item = Result<RelayEvent, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.stream).poll_next(context)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.vitals.note_call();
    }
}

fn check_count(count: usize) -> Result<(), Status> {
    if count <= SESSIONS_PER_CALL_MAX {
        return Ok(());
    }
    Err(Status::invalid_argument(format!(
        "{count} sessions in one call, at most {SESSIONS_PER_CALL_MAX} are allowed; split the call"
    )))
}

/// Runs what takes locks and system calls beside the calls of others.
async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Status> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Status::internal("a bug ended this call; see the relay's log"))
}

fn put(plane: &MediaPlane, own: &tandem_rtp::ids::RelayId, session: Session) -> PutResult {
    let leg = session.leg;
    let refused = |outcome: PutOutcome, detail: String| PutResult {
        leg,
        outcome: outcome.into(),
        detail,
        local_rtp: None,
    };
    let wanted = match convert::session(own, session) {
        Ok(wanted) => wanted,
        Err(error) => return refused(PutOutcome::Invalid, error),
    };
    match plane.put(wanted) {
        Ok(local) => PutResult {
            leg,
            outcome: PutOutcome::Done.into(),
            detail: String::new(),
            local_rtp: Some(endpoint_proto(local)),
        },
        Err(error) => refused(outcome_of(&error), error.to_string()),
    }
}

fn outcome_of(refused: &PutRefused) -> PutOutcome {
    use tandem_rtp::session::DescribeRefused;
    match refused {
        PutRefused::Describe(DescribeRefused::Epoch { .. }) | PutRefused::Fenced => {
            PutOutcome::RefusedEpoch
        }
        PutRefused::Describe(DescribeRefused::StaleRevision { .. }) => PutOutcome::StaleRevision,
        PutRefused::PortTaken { .. } => PutOutcome::PortTaken,
        PutRefused::NoPortFree | PutRefused::Socket(_) => PutOutcome::NoPortFree,
        PutRefused::Full { .. } | PutRefused::LinkFull(_) => PutOutcome::Full,
        PutRefused::Contradiction(_) | PutRefused::Invalid(_) => PutOutcome::Invalid,
        PutRefused::Retiring => PutOutcome::Retiring,
    }
}
