//! A whole relay: started from its settings, ended by its handle, by a retirement, or by itself when
//! nobody needs it.
//!
//! It runs on threads of its own (media, links, control), inside the program `tandem-relay` as well
//! as inside a test.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tandem_rtp::{ids::RelayId, session::SessionTimes};
use thiserror::Error;
use tokio::{
    net::TcpListener,
    runtime,
    sync::{Notify, watch},
    time::timeout,
};
use tonic::{service::interceptor::InterceptedService, transport::Server};

use crate::{
    background::Background,
    clock::RelayClock,
    config::{InvalidSetting, RelayConfig, Settings},
    control::{Control, NodesOnly, events::EventHub},
    counters::Counters,
    limits::{CALL_BYTES_MAX, CALL_TIMEOUT, CALLS_PER_CONNECTION_MAX, FILES_RESERVED, STOP_GRACE},
    link::{LinkIdentity, LinkSetup, LinkStartError, LinkThread, Links},
    media::{MediaPlane, PlaneSetup, Workers},
    ports::PortPool,
    process::{DataDir, DataDirError},
    stubs::relay_server::RelayServer,
    tls::{TlsError, TlsMaterial},
    witness::Witness,
};

/// What the parts of a relay know of the whole.
pub struct Vitals {
    /// Its name.
    pub relay: RelayId,
    /// Its clock.
    pub clock: RelayClock,
    /// Counts of packets.
    pub counters: Arc<Counters>,
    /// Who listens.
    pub events: Arc<EventHub>,
    /// Links to other relays.
    pub links: Arc<Links>,
    /// Where phones send to.
    pub media_address: IpAddr,
    /// Most sessions.
    pub sessions_max: u32,
    incarnation: u64,
    /// Microseconds on the clock of the last call of a node.
    last_call_us: AtomicU64,
    woken: Notify,
}

/// Why a relay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// It was asked to, by its handle or a signal.
    Stopped,
    /// It was retired, and its last session ended.
    Retired,
    /// It had no session, and no node called for the configured time.
    Orphaned,
    /// Its control port broke.
    ControlFailed,
}

/// Why a relay does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A setting is out of range.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// The data folder is in use or unusable.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Certificates or keys.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Links.
    #[error(transparent)]
    Links(#[from] LinkStartError),
    /// The control port is in use, or may not be used.
    #[error(
        "the control port {address} (TCP) cannot be opened: {error}; another relay or program has \
         it, or [relay] control is no address of this machine"
    )]
    ControlPort {
        /// Which port.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The media address does not belong to this machine.
    #[error("media sockets cannot be opened on {address}: {error}; correct [relay] media_address")]
    MediaAddress {
        /// Which address.
        address: IpAddr,
        /// What the system said.
        error: io::Error,
    },
    /// Too few open files are allowed.
    #[error(
        "{sessions} sessions need {needed} open files and the system allows {allowed}; raise the \
         limit (LimitNOFILE in systemd) or lower [relay] sessions_max"
    )]
    OpenFiles {
        /// Configured sessions.
        sessions: u32,
        /// Files that they need.
        needed: u64,
        /// The hard limit.
        allowed: u64,
    },
    /// The system refuses threads or random numbers.
    #[error("the system refuses what a relay needs: {0}")]
    System(#[from] io::Error),
}

/// A relay that runs.
pub struct Relay {
    vitals: Arc<Vitals>,
    plane: Arc<MediaPlane>,
    control: SocketAddr,
    stop: watch::Sender<Phase>,
    ended: watch::Receiver<Option<EndReason>>,
    // Declared in the order in which they end.
    runtime: Option<Background>,
    workers: Option<Workers>,
    links: Option<LinkThread>,
    _data_dir: DataDir,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Stopping,
}

impl Relay {
    /// Starts a relay: takes its data folder, opens its ports, begins to serve. Either everything
    /// stands afterwards, or nothing.
    pub fn start(settings: &Settings) -> Result<Self, StartError> {
        let config = &settings.relay;
        config.check()?;
        let relay = config.relay_id()?;
        allow_open_files(config)?;
        let tls = TlsMaterial::load(&settings.tls, &relay)?;
        tls.install_provider();
        let data_dir = DataDir::acquire(&config.data_dir)?;
        let incarnation = random_incarnation()?;
        let clock = RelayClock::start();
        let counters = Arc::new(Counters::default());
        let events = Arc::new(EventHub::default());
        check_media_address(config.media_address)?;
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("control")
            .enable_all()
            .build()
            .map(Background::new)?;
        let listener = listen(runtime.handle(), config.control)?;
        let control = listener.local_addr()?;
        let (plane, workers) = MediaPlane::start(PlaneSetup {
            clock,
            address: config.media_address,
            sessions_max: config.sessions_max as usize,
            times: SessionTimes {
                media_stopped_after_us: config.media_stopped_after_ms * 1_000,
                idle_us: config.session_idle_ms * 1_000,
            },
            ports: PortPool::new(config.ports()?, incarnation),
            counters: Arc::clone(&counters),
            events: Arc::clone(&events),
            workers: config.worker_count(),
        })?;
        let cluster = config.cluster.clone();
        let (links, link_thread) = Links::start(LinkSetup {
            identity: LinkIdentity { relay: relay.clone(), cluster, incarnation },
            address: config.link,
            flows_max: config.link_flows_max,
            clock,
            counters: Arc::clone(&counters),
            plane: &plane,
            tls: &tls,
        })?;
        plane.set_links(Arc::clone(&links));
        let vitals = Arc::new(Vitals {
            relay: relay.clone(),
            clock,
            counters,
            events,
            links,
            media_address: config.media_address,
            sessions_max: config.sessions_max,
            incarnation,
            last_call_us: AtomicU64::new(clock.now().as_micros()),
            woken: Notify::new(),
        });
        let (stop, phase) = watch::channel(Phase::Running);
        let (end, ended) = watch::channel(None);
        let witness = Witness::new(relay, tls.node_client(), runtime.handle().clone());
        let service = Control { vitals: Arc::clone(&vitals), plane: Arc::clone(&plane), witness };
        let server = build_server(&tls, service, Arc::clone(&vitals))?;
        runtime.handle().spawn(serve(server, listener, phase.clone(), end.clone()));
        let life = Life {
            vitals: Arc::clone(&vitals),
            plane: Arc::clone(&plane),
            orphan_exit: Duration::from_millis(config.orphan_exit_ms),
        };
        runtime.handle().spawn(life.watch(phase, end));
        data_dir.write_pid_file(&vitals.incarnation(), control, vitals.links.address())?;
        tracing::info!(
            relay = %vitals.relay,
            incarnation = vitals.incarnation(),
            %control,
            link = %vitals.links.address(),
            media = %vitals.media_address,
            "relay up"
        );
        Ok(Self {
            vitals,
            plane,
            control,
            stop,
            ended,
            runtime: Some(runtime),
            workers: Some(workers),
            links: Some(link_thread),
            _data_dir: data_dir,
        })
    }

    /// Where nodes call; differs from the setting when that had port 0.
    pub fn control_address(&self) -> SocketAddr {
        self.control
    }

    /// Where other relays link; differs from the setting when that had port 0.
    pub fn link_address(&self) -> SocketAddr {
        self.vitals.links.address()
    }

    /// What the parts know of the whole: name, counts, links.
    pub fn vitals(&self) -> &Vitals {
        &self.vitals
    }

    /// Waits until the relay wants to end by itself, or was stopped; then [`stop`](Self::stop) it.
    pub async fn ended(&self) -> EndReason {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(reason) => reason.unwrap_or(EndReason::Stopped),
            Err(_) => EndReason::ControlFailed,
        }
    }

    /// Ends the relay in order: no more calls, goodbye to every phone and every link, then the
    /// threads. Blocks for less than two seconds; not to be called on an async thread.
    pub fn stop(mut self) {
        self.wind_down();
    }

    fn wind_down(&mut self) {
        self.stop.send_replace(Phase::Stopping);
        if let Some(runtime) = self.runtime.take() {
            runtime.stop(STOP_GRACE);
        }
        self.plane.remove_all();
        if let Some(links) = self.links.take() {
            links.stop();
        }
        if let Some(workers) = self.workers.take() {
            workers.stop();
        }
        tracing::info!(relay = %self.vitals.relay, "relay down");
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if self.runtime.is_none() {
            return;
        }
        // Dropped without `stop`, perhaps on an async thread, where blocking would panic.
        self.stop.send_replace(Phase::Stopping);
        drop(self.runtime.take());
        self.plane.remove_all();
    }
}

impl Vitals {
    /// This life of the relay's process, as text.
    pub fn incarnation(&self) -> String {
        format!("{:016x}", self.incarnation)
    }

    /// Notes that a node called.
    pub fn note_call(&self) {
        self.last_call_us.store(self.clock.now().as_micros(), Ordering::Relaxed);
    }

    /// Makes the relay look at once whether it should end.
    pub fn wake(&self) {
        self.woken.notify_one();
    }

    fn since_last_call(&self) -> Duration {
        let last = self.last_call_us.load(Ordering::Relaxed);
        Duration::from_micros(self.clock.now().as_micros().saturating_sub(last))
    }
}

/// Decides when a relay ends by itself.
struct Life {
    vitals: Arc<Vitals>,
    plane: Arc<MediaPlane>,
    orphan_exit: Duration,
}

impl Life {
    async fn watch(self, mut phase: watch::Receiver<Phase>, end: watch::Sender<Option<EndReason>>) {
        let look_every = (self.orphan_exit / 4).clamp(MIN_LOOK, MAX_LOOK);
        loop {
            let reason = tokio::select! {
                _ = phase.wait_for(|phase| *phase == Phase::Stopping) => Some(EndReason::Stopped),
                _ = timeout(look_every, self.vitals.woken.notified()) => self.reason_to_end(),
            };
            if let Some(reason) = reason {
                end.send_if_modified(|known| {
                    let first = known.is_none();
                    known.get_or_insert(reason);
                    first
                });
                return;
            }
        }
    }

    fn reason_to_end(&self) -> Option<EndReason> {
        if self.plane.session_count() > 0 {
            return None;
        }
        if self.plane.is_retiring() {
            return Some(EndReason::Retired);
        }
        let alone = self.vitals.events.listening_nodes().is_empty()
            && self.vitals.since_last_call() >= self.orphan_exit;
        (alone && !self.orphan_exit.is_zero()).then_some(EndReason::Orphaned)
    }
}

/// Bounds of how often a relay asks itself whether it should end.
const MIN_LOOK: Duration = Duration::from_millis(50);
const MAX_LOOK: Duration = Duration::from_secs(1);

type ControlService = InterceptedService<RelayServer<Control>, NodesOnly>;

fn build_server(
    tls: &TlsMaterial,
    service: Control,
    vitals: Arc<Vitals>,
) -> Result<(Server, ControlService), StartError> {
    let service = RelayServer::new(service)
        .max_decoding_message_size(CALL_BYTES_MAX)
        .max_encoding_message_size(CALL_BYTES_MAX);
    let service = InterceptedService::new(service, NodesOnly::new(vitals));
    let server = Server::builder()
        .tls_config(tls.control_server())
        .map_err(|error| io::Error::other(error.to_string()))?
        .timeout(CALL_TIMEOUT)
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION_MAX as usize)
        .max_concurrent_streams(CALLS_PER_CONNECTION_MAX)
        .http2_keepalive_interval(Some(Duration::from_secs(5)))
        .http2_keepalive_timeout(Some(Duration::from_secs(5)));
    Ok((server, service))
}

async fn serve(
    (server, service): (Server, ControlService),
    listener: TcpListener,
    mut phase: watch::Receiver<Phase>,
    end: watch::Sender<Option<EndReason>>,
) {
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let stopping = async move {
        // An error means that the relay is gone, which is a stop as well.
        if phase.wait_for(|phase| *phase == Phase::Stopping).await.is_err() {
            tracing::debug!("the relay was dropped");
        }
    };
    if let Err(error) = server.serve_with_incoming_shutdown(service, incoming, stopping).await {
        tracing::error!(%error, "the control port broke; the relay ends");
        end.send_replace(Some(EndReason::ControlFailed));
    }
}

fn listen(runtime: &runtime::Handle, address: SocketAddr) -> Result<TcpListener, StartError> {
    let bind = || {
        let _inside = runtime.enter();
        TcpListener::from_std(crate::sockets::listen_stream(address)?)
    };
    bind().map_err(|error| StartError::ControlPort { address, error })
}

fn check_media_address(address: IpAddr) -> Result<(), StartError> {
    match crate::sockets::bind_media(address, 0) {
        Ok(_) => Ok(()),
        Err(error) => Err(StartError::MediaAddress { address, error }),
    }
}

/// Raises the limit of open files to what the sessions need.
fn allow_open_files(config: &RelayConfig) -> Result<(), StartError> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let needed = u64::from(config.sessions_max) * 2 + FILES_RESERVED;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if let Some(allowed) = limit.maximum.filter(|maximum| *maximum < needed) {
        let sessions = config.sessions_max;
        return Err(StartError::OpenFiles { sessions, needed, allowed });
    }
    let raised = Rlimit { current: Some(needed), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).map_err(|error| StartError::System(error.into()))
}

fn random_incarnation() -> Result<u64, StartError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(u64::from_be_bytes(bytes))
}
