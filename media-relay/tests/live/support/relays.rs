//! Relays, in this process or as processes of their own, and a node that calls them.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use tandem_media_relay::{
    LogFormat, Relay, RelayConfig, Settings, identity::Role, process::PidFile,
    stubs::relay_client::RelayClient,
};
use tandem_proto::relay::v1::{
    Codec, DescribeReply, DescribeRequest, Direction, Endpoint, EventsRequest, LegRef,
    LegStatistics, Music, Peer, PutOutcome, PutResult, PutSessionsRequest, RelayEvent,
    RemoveSession, RemoveSessionsRequest, Session, StreamOrigin, session::Source,
};
use tempfile::TempDir;
use tonic::{
    Status, Streaming,
    transport::{Certificate, Channel, ClientTlsConfig, Identity},
};

use super::{certificates::Authority, phone::Phone, until_now};

/// A cluster for one test: an authority and a folder.
pub(crate) struct Lab {
    pub(crate) authority: Authority,
    pub(crate) folder: TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self { authority: Authority::new(), folder: tempfile::tempdir().expect("a folder") }
    }

    /// Settings of a relay with an address of its own and free ports.
    pub(crate) fn settings(&self, id: &str) -> Settings {
        let address = own_address();
        let folder = self.folder.path();
        Settings {
            relay: RelayConfig {
                id: id.to_owned(),
                cluster: "test".to_owned(),
                media_address: address,
                media_ports: "20000-21999".to_owned(),
                control: SocketAddr::new(address, 0),
                link: SocketAddr::new(address, 0),
                data_dir: folder.join(format!("{id}-data")),
                sessions_max: 500,
                media_stopped_after_ms: 600,
                session_idle_ms: 600_000,
                link_flows_max: 500,
                orphan_exit_ms: 600_000,
                workers: 2,
                log_format: LogFormat::Text,
            },
            tls: self.authority.write(folder, Role::Relay, id),
        }
    }

    pub(crate) fn start(&self, id: &str) -> Relay {
        Relay::start(&self.settings(id)).expect("a relay")
    }

    /// A node that calls the relay at `control`.
    pub(crate) async fn node(&self, control: SocketAddr) -> Node {
        self.caller(control, Role::Node).await.expect("a node may call")
    }

    pub(crate) async fn caller(&self, control: SocketAddr, role: Role) -> Result<Node, String> {
        let certificate = self.authority.issue(role, "caller");
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.authority.pem()))
            .identity(Identity::from_pem(certificate.cert, certificate.key))
            .domain_name(Role::Relay.dns_name());
        connect(control, tls).await
    }
}

pub(crate) async fn connect(control: SocketAddr, tls: ClientTlsConfig) -> Result<Node, String> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("https://{control}"));
    let endpoint = endpoint.expect("an address").tls_config(tls).expect("TLS settings");
    let channel = endpoint.connect().await.map_err(|error| format!("{error:?}"))?;
    Ok(Node { client: RelayClient::new(channel), revision: 0, epoch: 1, number: 1 })
}

/// A loopback address that no other test has.
pub(crate) fn own_address() -> IpAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed) + 1;
    // Test programs that run at the same time differ in their process id.
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 1 + (high & 0x3f), low, number as u8).into()
}

/// A node, as far as a relay sees one.
pub(crate) struct Node {
    pub(crate) client: RelayClient<Channel>,
    pub(crate) revision: u64,
    pub(crate) epoch: u64,
    pub(crate) number: u64,
}

impl Node {
    pub(crate) async fn put_all(&mut self, sessions: Vec<Session>) -> Vec<PutResult> {
        let request = PutSessionsRequest { sessions };
        self.client.put_sessions(request).await.expect("an answer").into_inner().results
    }

    pub(crate) async fn put(&mut self, session: Session) -> PutResult {
        self.put_all(vec![session]).await.pop().expect("one result")
    }

    /// Puts a session that must be taken; returns its address.
    pub(crate) async fn put_done(&mut self, session: Session) -> SocketAddr {
        let result = self.put(session).await;
        assert_eq!(result.outcome(), PutOutcome::Done, "{}", result.detail);
        address_of(&result.local_rtp.expect("an address"))
    }

    /// A session of this node with the next revision.
    pub(crate) fn session(&mut self, ordinal: u64, phone: &Phone, source: Source) -> Session {
        self.revision += 1;
        Session {
            leg: Some(LegRef { group: 0, ordinal }),
            leg_epoch: self.epoch,
            revision: self.revision,
            owner_node: self.number,
            local_port: 0,
            remote_rtp: Some(endpoint(phone.address())),
            remote_rtcp: None,
            rtcp_mux: false,
            codec: Codec::Pcmu.into(),
            payload_type: 0,
            dtmf_payload_type: 101,
            direction: Direction::SendReceive.into(),
            latching: None,
            origin: Some(StreamOrigin {
                ssrc: 0xabc0_0000 + ordinal as u32,
                first_sequence: 65_400,
                first_timestamp: u32::MAX - 8_000,
                elapsed_ms: 0,
                takeovers: 0,
                cname: "relay@test".to_owned(),
            }),
            source: Some(source),
        }
    }

    pub(crate) async fn describe(&mut self) -> DescribeReply {
        self.client.describe(DescribeRequest {}).await.expect("an answer").into_inner()
    }

    pub(crate) async fn remove(&mut self, ordinal: u64) -> (bool, Option<LegStatistics>) {
        let leg = Some(LegRef { group: 0, ordinal });
        let request =
            RemoveSessionsRequest { sessions: vec![RemoveSession { leg, leg_epoch: self.epoch }] };
        let reply = self.client.remove_sessions(request).await.expect("an answer").into_inner();
        let result = reply.results.into_iter().next().expect("one result");
        (result.removed, result.statistics)
    }

    pub(crate) async fn events(&mut self) -> Result<Streaming<RelayEvent>, Status> {
        let request = EventsRequest { node: self.number };
        Ok(self.client.events(request).await?.into_inner())
    }
}

pub(crate) fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint { address: address.ip().to_string(), port: address.port().into() }
}

pub(crate) fn address_of(endpoint: &Endpoint) -> SocketAddr {
    let ip = endpoint.address.parse().expect("an address");
    SocketAddr::new(ip, endpoint.port.try_into().expect("a port"))
}

pub(crate) fn music() -> Source {
    Source::Music(Music { name: "default".to_owned() })
}

/// A peer on the same relay.
pub(crate) fn local_peer(ordinal: u64) -> Source {
    let leg = Some(LegRef { group: 0, ordinal });
    Source::Peer(Peer { leg, relay_id: String::new(), link: None })
}

/// A peer on another relay.
pub(crate) fn remote_peer(ordinal: u64, relay: &str, link: SocketAddr) -> Source {
    let leg = Some(LegRef { group: 0, ordinal });
    Source::Peer(Peer { leg, relay_id: relay.to_owned(), link: Some(endpoint(link)) })
}

/// A relay as a process of its own.
pub(crate) struct RelayProcess {
    pub(crate) child: Child,
    pub(crate) file: PidFile,
}

impl RelayProcess {
    /// Starts the program and waits until it serves.
    pub(crate) async fn start(lab: &Lab, settings: &Settings) -> Self {
        let config = write_config(lab, settings);
        let child = command(&config).spawn().expect("the program starts");
        let pid = child.id();
        let mut found = None;
        until_now("the relay's pid file", || {
            let file = PidFile::read(&settings.relay.data_dir).ok().flatten();
            found = file.filter(|file| file.pid == pid);
            found.is_some()
        })
        .await;
        Self { child, file: found.expect("just found") }
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("alive");
        self.child.wait().expect("reaped");
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        // Already gone where the test ended it.
        if let Ok(None) = self.child.try_wait() {
            self.child.kill().expect("alive");
            self.child.wait().expect("reaped");
        }
    }
}

pub(crate) fn write_config(lab: &Lab, settings: &Settings) -> PathBuf {
    let path = lab.folder.path().join(format!("{}.toml", settings.relay.id));
    let text = toml::to_string(settings).expect("plain values");
    std::fs::write(&path, text).expect("written");
    path
}

pub(crate) fn command(config: &PathBuf) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem-relay"));
    command.arg("--config").arg(config).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null());
    command
}
