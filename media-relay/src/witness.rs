//! The relay as witness: it watches a node's process and attests its exit to other nodes at once.
//!
//! The process is watched through a pidfd (`pidfd_open(2)`), taken while the node is alive and asks
//! for it, so that a reused process id cannot be mistaken. After the exit the nodes are told in
//! turn, again and again with growing waits, until one has it on record.

use std::{io, sync::Arc, thread, time::Duration};

use parking_lot::Mutex;
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::OwnedFd,
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};
use tandem_proto::{
    cluster::v1::NodeExitedRequest,
    relay::v1::{WitnessReply, WitnessRequest},
};
use tandem_rtp::ids::RelayId;
use tokio::{
    runtime,
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use crate::{
    control::convert::endpoint_from,
    limits::{ATTEST_BACKOFF_MAX, ATTEST_BACKOFF_MIN, ATTEST_FOR, ATTEST_TIMEOUT, ATTEST_TO_MAX},
    stubs::attestation_client::AttestationClient,
};

/// The watch over at most one node; the newest request replaces the earlier ones.
pub struct Witness {
    relay: RelayId,
    tls: ClientTlsConfig,
    runtime: runtime::Handle,
    watch: Mutex<Option<Watch>>,
}

/// A process under watch. Dropping it ends the watch, and the telling.
struct Watch {
    telling: Arc<Mutex<Telling>>,
    /// The thread that waits for the process sees the other end closed.
    _hold: io::PipeWriter,
}

enum Telling {
    NotYet,
    Begun(AbortHandle),
    Over,
}

/// What is attested, and to whom.
struct Attestation {
    request: NodeExitedRequest,
    to: Vec<Channel>,
}

impl Witness {
    /// A witness that watches nobody yet; its work runs on `runtime`.
    pub fn new(relay: RelayId, tls: ClientTlsConfig, runtime: runtime::Handle) -> Arc<Self> {
        Arc::new(Self { relay, tls, runtime, watch: Mutex::new(None) })
    }

    /// Watches a process from now on, instead of the one before. `Err`: the request makes no sense.
    pub fn watch(&self, request: WitnessRequest) -> Result<WitnessReply, String> {
        let pid = i32::try_from(request.pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| format!("pid {} is no process id", request.pid))?;
        let attestation = self.attestation(&request)?;
        let watched = pidfd_open(pid, PidfdFlags::empty())
            .map_err(io::Error::from)
            .and_then(|process| self.start_watch(process, attestation));
        match watched {
            Ok(watch) => {
                // The watch before ends when it is dropped.
                drop(self.watch.lock().replace(watch));
                Ok(WitnessReply { watching: true, detail: String::new() })
            }
            Err(error) => {
                tracing::warn!(node = request.node, %error, "this node's process is not watched");
                let detail = format!("process {} cannot be watched: {error}", request.pid);
                Ok(WitnessReply { watching: false, detail })
            }
        }
    }

    fn start_watch(&self, process: OwnedFd, attestation: Attestation) -> io::Result<Watch> {
        let (given_up, hold) = io::pipe()?;
        let telling = Arc::new(Mutex::new(Telling::NotYet));
        let (runtime, task) = (self.runtime.clone(), Arc::clone(&telling));
        thread::Builder::new().name("witness".to_owned()).spawn(move || {
            let node = attestation.request.node;
            match wait_for_exit(&process, &given_up) {
                Ok(Ending::Exited) => {
                    tracing::warn!(node, "the watched node's process has exited");
                    let mut telling = task.lock();
                    if matches!(*telling, Telling::NotYet) {
                        *telling =
                            Telling::Begun(runtime.spawn(attest(attestation)).abort_handle());
                    }
                }
                Ok(Ending::GivenUp) => {}
                Err(error) => tracing::error!(node, %error, "the watch over a node broke"),
            }
        })?;
        Ok(Watch { telling, _hold: hold })
    }

    fn attestation(&self, request: &WitnessRequest) -> Result<Attestation, String> {
        if request.attest_to.is_empty() || request.attest_to.len() > ATTEST_TO_MAX {
            let count = request.attest_to.len();
            return Err(format!("attest_to names {count} nodes; name 1 to {ATTEST_TO_MAX}"));
        }
        let mut to = Vec::new();
        for endpoint in &request.attest_to {
            let address = endpoint_from("attest_to", endpoint)?;
            let channel = Endpoint::from_shared(format!("https://{address}"))
                .and_then(|endpoint| endpoint.tls_config(self.tls.clone()))
                .map_err(|error| format!("attest_to: {error}"))?;
            let channel = channel.connect_timeout(ATTEST_TIMEOUT).timeout(ATTEST_TIMEOUT);
            let _inside = self.runtime.enter();
            to.push(channel.connect_lazy());
        }
        let request = NodeExitedRequest {
            node: request.node,
            node_epoch: request.node_epoch,
            pid: request.pid,
            relay_id: self.relay.to_string(),
        };
        Ok(Attestation { request, to })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Telling::Begun(task) = std::mem::replace(&mut *self.telling.lock(), Telling::Over) {
            task.abort();
        }
    }
}

enum Ending {
    Exited,
    GivenUp,
}

/// Waits until the process has exited, or until the other end of the pipe is closed.
fn wait_for_exit(process: &OwnedFd, given_up: &io::PipeReader) -> io::Result<Ending> {
    loop {
        let mut waited =
            [PollFd::new(process, PollFlags::IN), PollFd::new(given_up, PollFlags::IN)];
        match poll(&mut waited, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let [process, given_up] = waited.map(|waited| !waited.revents().is_empty());
        if given_up {
            return Ok(Ending::GivenUp);
        }
        if process {
            return Ok(Ending::Exited);
        }
    }
}

/// Tells the nodes in turn until one has it on record.
async fn attest(attestation: Attestation) {
    let node = attestation.request.node;
    let began = Instant::now();
    let mut backoff = ATTEST_BACKOFF_MIN;
    while began.elapsed() < ATTEST_FOR {
        for channel in &attestation.to {
            match tell(channel.clone(), attestation.request.clone()).await {
                Ok(true) => {
                    tracing::info!(node, "the exit of the node is on record");
                    return;
                }
                Ok(false) => tracing::debug!(node, "the exit is noted, not yet on record"),
                Err(error) => tracing::debug!(node, %error, "a node was not told of the exit"),
            }
        }
        sleep(backoff).await;
        backoff = (backoff * 2).min(ATTEST_BACKOFF_MAX);
    }
    tracing::error!(
        node,
        "no node took the attestation of this exit for 10 minutes; its lease decides alone"
    );
}

async fn tell(channel: Channel, request: NodeExitedRequest) -> Result<bool, tonic::Status> {
    // Beside the channel's own bounds, because a connection that hangs in TLS has none.
    let told = timeout(ATTEST_TIMEOUT + Duration::from_millis(200), async {
        AttestationClient::new(channel).node_exited(request).await
    });
    match told.await {
        Ok(reply) => Ok(reply?.into_inner().recorded),
        Err(_) => Err(tonic::Status::deadline_exceeded("no answer in time")),
    }
}
