//! Sockets: SIP over UDP and TCP, RTP and RTCP, and the tasks that read them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Listen;
use super::driver::Shared;
use crate::error::PhoneError;
use crate::event::EventKind;
use crate::io::{EndpointId, Flow, Io, Transport, WavJob};
use crate::limits::{
    CONNECTION_QUEUE_MAX, CONNECTIONS_MAX, MEDIA_DATAGRAM_BYTES_MAX, READ_BURST_MAX,
    SIP_MESSAGE_BYTES_MAX,
};
use crate::media::StreamId;
use crate::sip::Framer;

/// Buffer of a SIP socket: a burst of hundreds of messages must fit.
const SIP_SOCKET_BUFFER_BYTES: usize = 1 << 20;
/// How long a connection may take to open.
const CONNECT_MS_MAX: u64 = 5_000;
/// Pause after a socket said something odd, so that a broken one cannot spin.
const ERROR_PAUSE_MS: u64 = 10;

/// All sockets of a world.
pub(crate) struct Net {
    shared: Weak<Shared>,
    endpoints: RefCell<BTreeMap<EndpointId, EndpointSockets>>,
    streams: RefCell<BTreeMap<StreamId, MediaSockets>>,
    ports: RangeInclusive<u16>,
    next_port: Cell<u16>,
    files_pending: Cell<usize>,
    /// How often each SIP datagram leaves.
    copies: Cell<u32>,
}

struct EndpointSockets {
    udp: Rc<UdpSocket>,
    local: SocketAddr,
    listens_tcp: bool,
    connections: BTreeMap<SocketAddr, Connection>,
    tasks: Vec<JoinHandle<()>>,
}

struct Connection {
    outgoing: mpsc::Sender<Bytes>,
    serial: u64,
}

struct MediaSockets {
    rtp: Rc<UdpSocket>,
    rtcp: Rc<UdpSocket>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for MediaSockets {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Drop for EndpointSockets {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Net {
    pub(crate) fn new(shared: Weak<Shared>, ports: RangeInclusive<u16>) -> Self {
        Self {
            shared,
            endpoints: RefCell::default(),
            streams: RefCell::default(),
            next_port: Cell::new(*ports.start()),
            ports,
            files_pending: Cell::new(0),
            copies: Cell::new(1),
        }
    }

    /// The seam for the core.
    pub(crate) fn io(net: &Rc<Self>) -> Box<dyn Io> {
        Box::new(NetIo(Rc::clone(net)))
    }

    pub(crate) fn set_copies(&self, copies: u32) {
        self.copies.set(copies);
    }

    pub(crate) fn files_pending(&self) -> usize {
        self.files_pending.get()
    }

    /// A socket that already listens there.
    pub(crate) fn find_endpoint(&self, address: SocketAddr) -> Option<EndpointId> {
        let endpoints = self.endpoints.borrow();
        endpoints.iter().find(|(_, sockets)| sockets.local == address).map(|(id, _)| *id)
    }

    /// Binds UDP, and TCP when asked for, to one port.
    pub(crate) fn bind(&self, listen: Listen) -> Result<BoundEndpoint, PhoneError> {
        let failed = |source| PhoneError::Listen { address: listen.address, source };
        if listen.address.ip().is_unspecified() {
            return Err(failed(io::ErrorKind::AddrNotAvailable.into()));
        }
        let udp = bind_udp(listen.address, SIP_SOCKET_BUFFER_BYTES).map_err(failed)?;
        let local = udp.local_addr().map_err(failed)?;
        let tcp = match listen.transport {
            Transport::Udp => None,
            Transport::Tcp => Some(listen_tcp(local).map_err(failed)?),
        };
        Ok(BoundEndpoint { udp, tcp, local })
    }

    /// Begins to read from what was bound.
    pub(crate) fn add_endpoint(&self, id: EndpointId, bound: BoundEndpoint) {
        let udp = Rc::new(bound.udp);
        let reader = read_sip(self.shared.clone(), id, Rc::clone(&udp));
        let mut tasks = vec![tokio::task::spawn_local(reader)];
        let listens_tcp = bound.tcp.is_some();
        tasks.extend(
            bound.tcp.map(|tcp| tokio::task::spawn_local(accept(self.shared.clone(), id, tcp))),
        );
        let (local, connections) = (bound.local, BTreeMap::new());
        let sockets = EndpointSockets { udp, local, listens_tcp, connections, tasks };
        self.endpoints.borrow_mut().insert(id, sockets);
    }

    /// Listens for TCP too at a socket that only spoke UDP.
    pub(crate) fn add_tcp(&self, id: EndpointId) -> Result<(), PhoneError> {
        let mut endpoints = self.endpoints.borrow_mut();
        let Some(sockets) = endpoints.get_mut(&id).filter(|sockets| !sockets.listens_tcp) else {
            return Ok(());
        };
        let address = sockets.local;
        let tcp = listen_tcp(address).map_err(|source| PhoneError::Listen { address, source })?;
        sockets.listens_tcp = true;
        sockets.tasks.push(tokio::task::spawn_local(accept(self.shared.clone(), id, tcp)));
        Ok(())
    }

    /// Closes a SIP socket and its connections.
    pub(crate) fn close_endpoint(&self, id: EndpointId) {
        self.endpoints.borrow_mut().remove(&id);
    }

    /// A pair of sockets on an even port and the next one. Ports are taken in turn, so that late
    /// packets of an old call do not reach a new one.
    fn bind_pair(&self, ip: IpAddr) -> io::Result<(UdpSocket, UdpSocket, u16)> {
        let (first, last) = (self.ports.start().next_multiple_of(2), *self.ports.end());
        let pairs = (u32::from(last) + 1 - u32::from(first)) / 2;
        let mut port = self.next_port.get().next_multiple_of(2);
        let mut refused: io::Error = io::ErrorKind::AddrInUse.into();
        for _ in 0..pairs {
            if port < first || u32::from(port) + 1 > u32::from(last) {
                port = first;
            }
            let rtp = bind_media(SocketAddr::new(ip, port));
            let rtcp = bind_media(SocketAddr::new(ip, port + 1));
            match (rtp, rtcp) {
                (Ok(rtp), Ok(rtcp)) => {
                    self.next_port.set(port.saturating_add(2));
                    return Ok((rtp, rtcp, port));
                }
                (Err(error), _) | (_, Err(error)) if error.kind() != io::ErrorKind::AddrInUse => {
                    return Err(error);
                }
                (Err(error), _) | (_, Err(error)) => refused = error,
            }
            port = port.saturating_add(2);
        }
        Err(refused)
    }

    fn send_stream(&self, flow: Flow, bytes: Bytes) {
        let mut endpoints = self.endpoints.borrow_mut();
        let Some(sockets) = endpoints.get_mut(&flow.endpoint) else { return };
        if let Some(connection) = sockets.connections.get(&flow.remote) {
            if connection.outgoing.try_send(bytes).is_err() {
                tracing::warn!(to = %flow.remote, "a SIP connection takes no more: message dropped");
            }
            return;
        }
        if sockets.connections.len() >= CONNECTIONS_MAX {
            tracing::warn!(to = %flow.remote, "too many SIP connections: message dropped");
            return;
        }
        let (outgoing, queue) = mpsc::channel(CONNECTION_QUEUE_MAX);
        if outgoing.try_send(bytes).is_err() {
            return;
        }
        let serial = next_serial();
        sockets.connections.insert(flow.remote, Connection { outgoing, serial });
        let ip = sockets.local.ip();
        tokio::task::spawn_local(open_connection(self.shared.clone(), flow, ip, queue, serial));
    }

    fn add_connection(&self, flow: Flow, outgoing: mpsc::Sender<Bytes>, serial: u64) -> bool {
        let mut endpoints = self.endpoints.borrow_mut();
        let Some(sockets) = endpoints.get_mut(&flow.endpoint) else { return false };
        if sockets.connections.len() >= CONNECTIONS_MAX {
            return false;
        }
        sockets.connections.insert(flow.remote, Connection { outgoing, serial });
        true
    }

    fn remove_connection(&self, flow: Flow, serial: u64) {
        let mut endpoints = self.endpoints.borrow_mut();
        let Some(sockets) = endpoints.get_mut(&flow.endpoint) else { return };
        if sockets.connections.get(&flow.remote).is_some_and(|known| known.serial == serial) {
            sockets.connections.remove(&flow.remote);
        }
    }
}

/// Sockets that are bound and not read yet.
pub(crate) struct BoundEndpoint {
    udp: UdpSocket,
    tcp: Option<TcpListener>,
    pub(crate) local: SocketAddr,
}

thread_local! {
    static SERIAL: Cell<u64> = const { Cell::new(0) };
}

/// Tells two connections to one address apart.
fn next_serial() -> u64 {
    SERIAL.with(|serial| {
        serial.set(serial.get() + 1);
        serial.get()
    })
}

fn bind_udp(address: SocketAddr, buffer_bytes: usize) -> io::Result<UdpSocket> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // A smaller buffer than asked for is no failure: the system caps it.
    if let Err(error) = socket.set_recv_buffer_size(buffer_bytes) {
        tracing::debug!(%error, "the SIP socket keeps its receive buffer");
    }
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// Sends a datagram by the system call itself: tokio's `try_send_to` refuses until it has seen the
/// socket writable once, which would lose the first packet of each socket.
fn send_now(socket: &UdpSocket, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
    socket2::SockRef::from(socket).send_to(bytes, &to.into()).map(drop)
}

fn bind_media(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

fn listen_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

async fn read_sip(shared: Weak<Shared>, endpoint: EndpointId, socket: Rc<UdpSocket>) {
    let mut buffer = vec![0; SIP_MESSAGE_BYTES_MAX];
    loop {
        let received = socket.recv_from(&mut buffer).await;
        let Some(shared) = shared.upgrade() else { return };
        match received {
            Ok((length, from)) => {
                let now = shared.now();
                shared.with(|core| core.on_datagram(now, endpoint, from, &buffer[..length]));
            }
            Err(error) => {
                tracing::debug!(%error, "a SIP socket could not read");
                drop(shared);
                tokio::time::sleep(Duration::from_millis(ERROR_PAUSE_MS)).await;
            }
        }
    }
}

/// Which of a stream's two sockets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum MediaKind {
    Rtp,
    Rtcp,
}

async fn read_media(shared: Weak<Shared>, id: StreamId, socket: Rc<UdpSocket>, kind: MediaKind) {
    let mut buffer = [0; MEDIA_DATAGRAM_BYTES_MAX];
    loop {
        let readable = socket.readable().await;
        let Some(shared) = shared.upgrade() else { return };
        let mut failed = readable.is_err();
        for _ in 0..READ_BURST_MAX {
            match socket.try_recv_from(&mut buffer) {
                Ok((length, from)) => {
                    shared.take_media(id, from, &buffer[..length], kind);
                }
                Err(error) => {
                    failed |= error.kind() != io::ErrorKind::WouldBlock;
                    break;
                }
            }
        }
        drop(shared);
        if failed {
            tokio::time::sleep(Duration::from_millis(ERROR_PAUSE_MS)).await;
        }
    }
}

async fn accept(shared: Weak<Shared>, endpoint: EndpointId, listener: TcpListener) {
    loop {
        let accepted = listener.accept().await;
        let Some(strong) = shared.upgrade() else { return };
        match accepted {
            Ok((stream, remote)) => {
                let flow = Flow { endpoint, transport: Transport::Tcp, remote };
                let (outgoing, queue) = mpsc::channel(CONNECTION_QUEUE_MAX);
                let serial = next_serial();
                if strong.net.add_connection(flow, outgoing, serial) {
                    let task = run_connection(shared.clone(), flow, stream, queue, serial);
                    tokio::task::spawn_local(task);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a SIP connection could not be accepted");
                drop(strong);
                tokio::time::sleep(Duration::from_millis(ERROR_PAUSE_MS)).await;
            }
        }
    }
}

async fn open_connection(
    shared: Weak<Shared>,
    flow: Flow,
    local: IpAddr,
    queue: mpsc::Receiver<Bytes>,
    serial: u64,
) {
    let limit = Duration::from_millis(CONNECT_MS_MAX);
    match tokio::time::timeout(limit, connect(local, flow.remote)).await {
        Ok(Ok(stream)) => run_connection(shared, flow, stream, queue, serial).await,
        refused => {
            tracing::debug!(to = %flow.remote, ?refused, "a SIP connection could not be opened");
            connection_over(&shared, flow, serial);
        }
    }
}

async fn connect(local: IpAddr, remote: SocketAddr) -> io::Result<TcpStream> {
    let socket = if remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(local, 0))?;
    let stream = socket.connect(remote).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn run_connection(
    shared: Weak<Shared>,
    flow: Flow,
    mut stream: TcpStream,
    mut queue: mpsc::Receiver<Bytes>,
    serial: u64,
) {
    let (mut reader, mut writer) = stream.split();
    let mut framer = Framer::default();
    let mut buffer = vec![0; 8_192];
    loop {
        tokio::select! {
            read = reader.read(&mut buffer) => match read {
                Ok(length @ 1..) => {
                    framer.feed(&buffer[..length]);
                    if !take_messages(&shared, flow, &mut framer) {
                        break;
                    }
                }
                Ok(0) | Err(_) => break,
            },
            bytes = queue.recv() => match bytes {
                Some(bytes) if writer.write_all(&bytes).await.is_ok() => {}
                _ => break,
            },
        }
    }
    connection_over(&shared, flow, serial);
}

/// Hands whole messages to the core; false when the stream cannot be trusted any more.
fn take_messages(shared: &Weak<Shared>, flow: Flow, framer: &mut Framer) -> bool {
    let Some(shared) = shared.upgrade() else { return false };
    loop {
        match framer.next_message() {
            Ok(Some(message)) => {
                let now = shared.now();
                shared.with(|core| core.on_sip(now, flow, message));
            }
            Ok(None) => return true,
            Err(error) => {
                let now = shared.now();
                shared.with(|core| core.on_malformed(now, flow, error));
                return false;
            }
        }
    }
}

fn connection_over(shared: &Weak<Shared>, flow: Flow, serial: u64) {
    let Some(shared) = shared.upgrade() else { return };
    shared.net.remove_connection(flow, serial);
    let now = shared.now();
    shared.with(|core| core.on_transport_failure(now, flow));
}

/// The core's view of the sockets.
struct NetIo(Rc<Net>);

impl Io for NetIo {
    fn send_sip(&mut self, flow: Flow, bytes: Bytes) {
        if flow.transport == Transport::Tcp {
            return self.0.send_stream(flow, bytes);
        }
        let endpoints = self.0.endpoints.borrow();
        let Some(sockets) = endpoints.get(&flow.endpoint) else { return };
        for _ in 0..self.0.copies.get() {
            if let Err(error) = send_now(&sockets.udp, &bytes, flow.remote) {
                // A lost datagram: the transaction's timers repeat it.
                tracing::debug!(to = %flow.remote, %error, "a SIP datagram was not sent");
            }
        }
    }

    fn open_media(&mut self, stream: StreamId, ip: IpAddr) -> io::Result<u16> {
        let (rtp, rtcp, port) = self.0.bind_pair(ip)?;
        let (rtp, rtcp) = (Rc::new(rtp), Rc::new(rtcp));
        let read = |socket: &Rc<UdpSocket>, kind| {
            let socket = Rc::clone(socket);
            tokio::task::spawn_local(read_media(self.0.shared.clone(), stream, socket, kind))
        };
        let tasks = [read(&rtp, MediaKind::Rtp), read(&rtcp, MediaKind::Rtcp)];
        self.0.streams.borrow_mut().insert(stream, MediaSockets { rtp, rtcp, tasks });
        Ok(port)
    }

    fn close_media(&mut self, stream: StreamId) {
        self.0.streams.borrow_mut().remove(&stream);
    }

    fn send_rtp(&mut self, stream: StreamId, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        let streams = self.0.streams.borrow();
        let sockets = streams.get(&stream).ok_or(io::ErrorKind::NotConnected)?;
        send_now(&sockets.rtp, bytes, to)
    }

    fn send_rtcp(&mut self, stream: StreamId, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        let streams = self.0.streams.borrow();
        let sockets = streams.get(&stream).ok_or(io::ErrorKind::NotConnected)?;
        send_now(&sockets.rtcp, bytes, to)
    }

    fn write_wav(&mut self, job: WavJob) {
        let net = Rc::clone(&self.0);
        net.files_pending.set(net.files_pending.get() + 1);
        tokio::task::spawn_local(async move {
            let WavJob { phone, call, path, bytes } = job;
            let shown = path.display().to_string();
            let written = tokio::task::spawn_blocking(move || write_file(&path, &bytes)).await;
            net.files_pending.set(net.files_pending.get() - 1);
            let failure = match written {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            let kind = match failure {
                None => EventKind::WavWritten { path: shown },
                Some(why) => EventKind::WavFailed { path: shown, why },
            };
            if let Some(shared) = net.shared.upgrade() {
                let now = shared.now();
                shared.with(|core| core.on_wav(now, phone, call, kind));
            }
        });
    }
}

fn write_file(path: &std::path::Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, bytes)
}
