//! The relay as witness of a node's process.

use std::{
    net::SocketAddr,
    process::{Child, Command},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use tandem_media_relay::{
    identity::{PeerIdentity, Role},
    stubs::attestation_server::{Attestation, AttestationServer},
};
use tandem_proto::{
    cluster::v1::{NodeExitedReply, NodeExitedRequest},
    relay::v1::{Endpoint, WitnessRequest},
};
use tonic::{
    Request, Response, Status,
    transport::{Certificate, Identity, Server, ServerTlsConfig},
};

use crate::support::{
    relays::{Lab, Node, endpoint},
    until_now,
};

/// A node that is told of exits; it has one on record only at the given call.
struct Told {
    calls: AtomicU32,
    recorded_at: u32,
    requests: Mutex<Vec<NodeExitedRequest>>,
}

struct Service(Arc<Told>);

#[tonic::async_trait]
impl Attestation for Service {
    async fn node_exited(
        &self,
        request: Request<NodeExitedRequest>,
    ) -> Result<Response<NodeExitedReply>, Status> {
        let chain = request.peer_certs().expect("mutual TLS");
        let identity = PeerIdentity::from_chain(&chain).expect("readable");
        identity
            .require_role(Role::Relay)
            .map_err(|error| Status::permission_denied(error.to_string()))?;
        self.0.requests.lock().expect("unpoisoned").push(request.into_inner());
        let call = self.0.calls.fetch_add(1, Ordering::AcqRel) + 1;
        Ok(Response::new(NodeExitedReply { recorded: call >= self.0.recorded_at }))
    }
}

async fn told(lab: &Lab, recorded_at: u32) -> (SocketAddr, Arc<Told>) {
    let told = Arc::new(Told { calls: AtomicU32::new(0), recorded_at, requests: Mutex::default() });
    let certificate = lab.authority.issue(Role::Node, "told");
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(certificate.cert, certificate.key))
        .client_ca_root(Certificate::from_pem(lab.authority.pem()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let service = AttestationServer::new(Service(Arc::clone(&told)));
    let server = Server::builder().tls_config(tls).expect("TLS settings");
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    tokio::spawn(server.serve_with_incoming(service, incoming));
    (address, told)
}

fn dummy() -> Child {
    Command::new("sleep").arg("600").spawn().expect("a process")
}

fn end(mut process: Child) {
    process.kill().expect("alive");
    process.wait().expect("reaped");
}

async fn watch(node: &mut Node, pid: u32, epoch: u64, attest_to: Vec<Endpoint>) -> bool {
    let request = WitnessRequest { node: 7, node_epoch: epoch, pid, attest_to };
    node.client.witness(request).await.expect("an answer").into_inner().watching
}

fn nobody() -> Endpoint {
    endpoint("127.0.0.1:9".parse().expect("an address"))
}

// Goal: the exit of a watched process is told to the nodes in turn, again until one has it on
// record, and then no more; a dead node in the list does no harm.
#[tokio::test(flavor = "multi_thread")]
async fn exit_is_attested_until_recorded() {
    let lab = Lab::new();
    let relay = lab.start("witness");
    let mut node = lab.node(relay.control_address()).await;
    let (first, first_told) = told(&lab, u32::MAX).await;
    let (second, second_told) = told(&lab, 3).await;
    let process = dummy();
    let pid = process.id();
    let to = vec![nobody(), endpoint(first), endpoint(second)];
    assert!(watch(&mut node, pid, 41, to).await);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(first_told.calls.load(Ordering::Acquire), 0, "told before the exit");
    end(process);
    let calls = |told: &Told| told.calls.load(Ordering::Acquire);
    until_now("it is on record", || calls(&second_told) == 3).await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!((calls(&first_told), calls(&second_told)), (3, 3), "no more after the record");
    let expected =
        NodeExitedRequest { node: 7, node_epoch: 41, pid, relay_id: "witness".to_owned() };
    assert_eq!(second_told.requests.lock().expect("unpoisoned")[0], expected);
}

// Goal: the newest request replaces the earlier ones: the exit of the process before is no longer
// told, and one that is being told is not told on.
#[tokio::test(flavor = "multi_thread")]
async fn newest_watch_replaces() {
    let lab = Lab::new();
    let relay = lab.start("witness");
    let mut node = lab.node(relay.control_address()).await;
    let (address, told) = told(&lab, u32::MAX).await;
    let (before, telling, after) = (dummy(), dummy(), dummy());
    assert!(watch(&mut node, before.id(), 1, vec![endpoint(address)]).await);
    assert!(watch(&mut node, telling.id(), 2, vec![endpoint(address)]).await);
    end(before);
    end(telling);
    until_now("the second exit is told", || told.calls.load(Ordering::Acquire) > 1).await;
    assert!(watch(&mut node, after.id(), 3, vec![endpoint(address)]).await);
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    let calls = told.calls.load(Ordering::Acquire);
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    assert_eq!(told.calls.load(Ordering::Acquire), calls, "the replaced one is told on");
    let requests = told.requests.lock().expect("unpoisoned").clone();
    assert!(requests.iter().all(|request| request.node_epoch == 2), "{requests:?}");
    end(after);
    until_now("the third exit is told", || {
        told.requests.lock().expect("unpoisoned").iter().any(|request| request.node_epoch == 3)
    })
    .await;
}

// Goal: a process that is not there is told as not watched, and nonsense is refused.
#[tokio::test(flavor = "multi_thread")]
async fn absent_processes_are_told() {
    let lab = Lab::new();
    let relay = lab.start("witness");
    let mut node = lab.node(relay.control_address()).await;
    let process = dummy();
    let pid = process.id();
    end(process);
    assert!(!watch(&mut node, pid, 1, vec![nobody()]).await);
    for (pid, attest_to) in [(0, vec![nobody()]), (u32::MAX, vec![nobody()]), (1, vec![])] {
        let request = WitnessRequest { node: 7, node_epoch: 1, pid, attest_to };
        let status = node.client.witness(request).await.expect_err("refused");
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status}");
    }
}
