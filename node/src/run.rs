//! A node from its settings to its end: `tandem node`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tandem_callcontrol::settings::{Network, Settings, Trunk};
use tandem_cluster::{leg::Endpoint, node::RelayRecord, seal::ClusterKey};
use tandem_media_relay::{sockets, tls::TlsMaterial};
use tandem_sip::{auth::Algorithm, dialog::session_timer::SessionTimerPolicy, identity::Trust};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use crate::{
    api::{Api, DOCUMENTS_MESSAGE_BYTES_MAX},
    cluster::{
        awake::Moment, life, member::Membership, network::MESSAGE_BYTES_MAX,
        peer_service::PeerService, peers::Peers, server::RaftService,
    },
    config::{self, Config, DigestAlgorithm, SipConfig, StartRelay, TrunkIdentity},
    edge::{Driver, Sockets},
    exit::{Exit, port_error},
    keys, relay,
    rpc::{
        agents_server::AgentsServer, attestation_server::AttestationServer,
        calendars_server::CalendarsServer, callers_server::CallersServer,
        cluster_server::ClusterServer, config_server::ConfigServer,
        contacts_server::ContactsServer, events_server::EventsServer, peer_server::PeerServer,
        queues_server::QueuesServer, raft_server::RaftServer, rebalance_server::RebalanceServer,
        sites_server::SitesServer, statistics_server::StatisticsServer,
        tenants_server::TenantsServer,
    },
    telemetry,
    tls::Tls,
};

/// How often a connection of a peer or operator is tested.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Runs a node until it is told to stop.
///
/// # Errors
/// [`Exit`] says why it did not start or could not go on.
pub fn run(file: &Path) -> Result<(), Exit> {
    let config = config::load(file).map_err(|error| Exit::Config(error.to_string()))?;
    telemetry::start(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Exit::Config(format!("threads cannot be started: {error}")))?;
    let ended = runtime.block_on(serve(Arc::new(config), file.to_owned()));
    // Whatever still waits for a network must not hold the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// Checks settings, certificates and keys without starting anything.
///
/// # Errors
/// The [`Exit`] that the node would end with.
pub fn check(file: &Path) -> Result<(), Exit> {
    let config = config::load(file).map_err(|error| Exit::Config(error.to_string()))?;
    let tls = Tls::of_node(&config.tls, &config.node.name)
        .map_err(|error| Exit::Security(error.to_string()))?;
    server(&tls)?;
    if config.node.start_relay == StartRelay::Node {
        let relay = config.relay.relay_id().map_err(|error| Exit::Config(error.to_string()))?;
        TlsMaterial::load(&config.tls, &relay)
            .map_err(|error| Exit::Security(error.to_string()))?;
    }
    telemetry::filter(&config.log)?;
    let key = keys::read(&config.security.cluster_key)?;
    settings(&config, &key).map(|_| ())
}

async fn serve(config: Arc<Config>, file: PathBuf) -> Result<(), Exit> {
    let mut stop = Stop::listen()?;
    let security = |error: crate::tls::TlsError| Exit::Security(error.to_string());
    let tls = Tls::of_node(&config.tls, &config.node.name).map_err(security)?;
    let key = keys::read(&config.security.cluster_key)?;
    let cluster = listen("[cluster] listen", config.cluster.listen)?;
    let api = listen("[api] listen", config.api.listen)?;
    let sockets = Sockets::bind(&config.sip)?;
    let settings = settings(&config, &key)?;

    let peers = Peers::new(tls.clone());
    relay::start(Arc::clone(&config), file, &peers).await?;
    let membership = Membership::begin(Arc::clone(&config), peers).await?;
    let failed = watch::Sender::new(None);
    serve_peers(&membership, &tls, cluster, &failed)?;
    serve_operators(&membership, &tls, api, &settings, &failed)?;
    tracing::info!(
        node = config.node.name,
        cluster = %config.cluster.listen,
        api = %config.api.listen,
        "the node runs"
    );
    tokio::spawn(serve_calls(Arc::clone(&membership), Arc::clone(&config), settings, sockets));

    let mut exits = membership.exits();
    let mut failed = failed.subscribe();
    let ended = tokio::select! {
        () = stop.asked() => {
            if let Some(core) = membership.core() {
                life::stop(&core).await;
            }
            Ok(())
        }
        exit = first(&mut exits) => Err(exit),
        exit = first(&mut failed) => Err(exit),
    };
    if let Some(core) = membership.core() {
        life::close(&core).await;
    }
    ended
}

async fn first(exits: &mut watch::Receiver<Option<Exit>>) -> Exit {
    match exits.wait_for(Option::is_some).await.map(|exit| exit.clone()) {
        Ok(Some(exit)) => exit,
        // The sender lives as long as the node.
        Ok(None) | Err(_) => std::future::pending().await,
    }
}

/// Calls are served once this node is a member.
async fn serve_calls(
    membership: Arc<Membership>,
    config: Arc<Config>,
    settings: Settings,
    sockets: Sockets,
) {
    let core = membership.until_member().await;
    let witness = relay::keep_witness(Arc::clone(&core), config, membership.lives());
    tokio::spawn(witness);
    Driver::new(core, settings, sockets).run(membership.lives()).await;
}

fn serve_peers(
    membership: &Arc<Membership>,
    tls: &Tls,
    listener: TcpListener,
    failed: &watch::Sender<Option<Exit>>,
) -> Result<(), Exit> {
    let raft = RaftService::new(Arc::clone(membership));
    let peer = PeerService::new(Arc::clone(membership));
    let mut server = server(tls)?;
    let server = server
        .add_service(
            RaftServer::new(raft)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
        )
        .add_service(
            PeerServer::new(peer.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
        )
        .add_service(AttestationServer::new(peer));
    let failed = failed.clone();
    tokio::spawn(async move {
        if let Err(error) = server.serve_with_incoming(TcpListenerStream::new(listener)).await {
            failed.send_replace(Some(Exit::Port(format!("[cluster] listen broke: {error}"))));
        }
    });
    Ok(())
}

fn serve_operators(
    membership: &Arc<Membership>,
    tls: &Tls,
    listener: TcpListener,
    settings: &Settings,
    failed: &watch::Sender<Option<Exit>>,
) -> Result<(), Exit> {
    let api =
        Api::new(Arc::clone(membership), settings.cluster_key.clone(), settings.realm.clone());
    let (health, health_service) = tonic_health::server::health_reporter();
    let mut server = server(tls)?;
    let server = server
        .add_service(health_service)
        .add_service(ClusterServer::new(api.clone()))
        .add_service(SitesServer::new(api.clone()))
        .add_service(QueuesServer::new(api.clone()))
        .add_service(AgentsServer::new(api.clone()))
        .add_service(ContactsServer::new(api.clone()))
        .add_service(RebalanceServer::new(api.clone()))
        .add_service(CalendarsServer::new(api.clone()))
        .add_service(CallersServer::new(api.clone()))
        .add_service(TenantsServer::new(api.clone()))
        .add_service(
            ConfigServer::new(api.clone()).max_decoding_message_size(DOCUMENTS_MESSAGE_BYTES_MAX),
        )
        .add_service(StatisticsServer::new(api.clone()))
        .add_service(EventsServer::new(api));
    let failed = failed.clone();
    tokio::spawn(keep_health(Arc::clone(membership), health));
    tokio::spawn(async move {
        if let Err(error) = server.serve_with_incoming(TcpListenerStream::new(listener)).await {
            failed.send_replace(Some(Exit::Port(format!("[api] listen broke: {error}"))));
        }
    });
    Ok(())
}

/// Says SERVING while this node holds a lease: the standard health service, for load balancers.
async fn keep_health(membership: Arc<Membership>, health: tonic_health::server::HealthReporter) {
    use tonic_health::ServingStatus;
    health.set_service_status("", ServingStatus::NotServing).await;
    let core = membership.until_member().await;
    let mut looks = tokio::time::interval(Duration::from_millis(200));
    let mut before = ServingStatus::NotServing;
    loop {
        looks.tick().await;
        let holds = core.lease.current().is_some_and(|lease| lease.is_valid(Moment::now()));
        let now = if holds { ServingStatus::Serving } else { ServingStatus::NotServing };
        if std::mem::discriminant(&now) != std::mem::discriminant(&before) {
            health.set_service_status("", now).await;
            before = now;
        }
    }
}

fn server(tls: &Tls) -> Result<Server, Exit> {
    Server::builder()
        .tls_config(tls.server())
        .map(|server| {
            server
                .tcp_nodelay(true)
                .http2_keepalive_interval(Some(KEEP_ALIVE))
                .http2_keepalive_timeout(Some(KEEP_ALIVE))
                .initial_stream_window_size(8 * 1024 * 1024)
                .initial_connection_window_size(16 * 1024 * 1024)
        })
        .map_err(|error| {
            Exit::Security(format!(
                "[tls]: the certificate and the key cannot be used together ({error}); they must \
                 belong to each other and be PEM"
            ))
        })
}

fn listen(setting: &str, at: SocketAddr) -> Result<TcpListener, Exit> {
    let listener = sockets::listen_stream(at).and_then(TcpListener::from_std);
    listener.map_err(|error| port_error(setting, at, &error))
}

/// SIGTERM and SIGINT.
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    fn listen() -> Result<Self, Exit> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Exit::Config(format!("signals cannot be handled: {error}")))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Call control's settings.
fn settings(config: &Config, key: &ClusterKey) -> Result<Settings, Exit> {
    let invalid = |error: config::InvalidSetting| Exit::Config(error.to_string());
    let endpoint = |at: SocketAddr| Endpoint { address: at.ip().to_string(), port: at.port() };
    let sip = &config.sip;
    let udp = *sip.udp.first().ok_or_else(|| Exit::Config("[sip] udp has no socket".into()))?;
    let relay = RelayRecord {
        id: config.relay_name().map_err(invalid)?,
        control: endpoint(config.relay.control),
        link: endpoint(config.relay.link),
    };
    Ok(Settings {
        node: tandem_cluster::ids::NodeId(config.node.id),
        site: config.node.checked_site().map_err(invalid)?,
        udp,
        tcp: sip.tcp.first().copied(),
        realm: sip.realm.clone(),
        digest: sip.digest.iter().map(algorithm).collect(),
        cluster_key: key.clone(),
        relay,
        trunks: trunks(sip)?,
        session_timer: session_timer(sip),
        register_s_min: sip.register_min_s,
        register_s_max: sip.register_max_s,
    })
}

fn algorithm(algorithm: &DigestAlgorithm) -> Algorithm {
    match algorithm {
        DigestAlgorithm::Sha256 => Algorithm::Sha256,
        DigestAlgorithm::Md5 => Algorithm::Md5,
    }
}

fn session_timer(sip: &SipConfig) -> Option<SessionTimerPolicy> {
    (sip.session_expires_s > 0).then(|| SessionTimerPolicy {
        interval_s: sip.session_expires_s,
        ..SessionTimerPolicy::default()
    })
}

fn trunks(sip: &SipConfig) -> Result<Vec<Trunk>, Exit> {
    let trunk = |trunk: &config::TrunkConfig| {
        let networks: Result<Vec<Network>, _> =
            trunk.addresses.iter().map(|network| network.parse()).collect();
        Ok(Trunk {
            name: trunk.name.clone(),
            networks: networks
                .map_err(|error| Exit::Config(format!("[sip] trunk {}: {error}", trunk.name)))?,
            calls_max: trunk.calls_max,
            trust: match trunk.identity {
                TrunkIdentity::Trusted => Trust::Trusted,
                TrunkIdentity::Untrusted => Trust::Untrusted,
            },
        })
    };
    sip.trunk.iter().map(trunk).collect()
}
