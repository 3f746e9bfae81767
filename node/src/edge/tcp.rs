//! SIP over TCP: connections of peers and to peers.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};
use tandem_callcontrol::io::Input;
use tandem_sip::{
    message::{KeepAliveRole, StreamFramer, StreamItem},
    transaction::{ConnectionId, Flow, TransactionId, Transmit, Transport},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::mpsc,
};

use super::Inbox;
use crate::exit::{Exit, port_error};

/// Connections at a time; further ones are closed at once.
const CONNECTIONS_MAX: usize = 10_000;
/// Messages that may wait for a slow peer; its connection is closed beyond that.
const OUTBOX_MAX: usize = 256;
/// How long a connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(4);
/// How long the rest of a message may take.
const REST_WITHIN: Duration = Duration::from_secs(30);
/// A connection without any message for so long is closed: longer than any registration lasts.
const IDLE_MAX: Duration = Duration::from_secs(2 * 86_400);
/// How long one write may take.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
const READ_BYTES: usize = 16 * 1024;

/// Our TCP sockets and connections.
#[derive(Debug, Clone)]
pub struct TcpEdge {
    listeners: Arc<Mutex<Vec<TcpListener>>>,
    table: Arc<Table>,
}

#[derive(Debug, Default)]
struct Table {
    open: Mutex<Open>,
    last: AtomicU64,
}

#[derive(Debug, Default)]
struct Open {
    by_id: HashMap<ConnectionId, Connection>,
    by_remote: HashMap<SocketAddr, ConnectionId>,
}

#[derive(Debug)]
struct Connection {
    remote: SocketAddr,
    outbox: mpsc::Sender<Outgoing>,
}

/// Bytes for a peer, and whose they are.
type Outgoing = (Bytes, Option<TransactionId>);

/// A message cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotSent;

impl TcpEdge {
    /// Opens the listening sockets.
    ///
    /// # Errors
    /// [`Exit::Port`].
    pub fn bind(addresses: &[SocketAddr]) -> Result<Self, Exit> {
        let open =
            |at: &SocketAddr| listen(*at).map_err(|error| port_error("[sip] tcp", *at, &error));
        let listeners = addresses.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { listeners: Arc::new(Mutex::new(listeners)), table: Arc::default() })
    }

    /// Begins to accept connections.
    pub fn start(&self, inbox: &Inbox) {
        for listener in self.listeners.lock().drain(..) {
            tokio::spawn(accept(listener, Arc::clone(&self.table), inbox.clone()));
        }
    }

    /// Queues a message on its connection, on another one to the same peer, or on a new one.
    ///
    /// # Errors
    /// `NotSent` when the peer is too slow or there are too many connections.
    pub fn send(&self, transmit: Transmit, inbox: &Inbox) -> Result<(), NotSent> {
        let flow = transmit.flow;
        let mut open = self.table.open.lock();
        let remote = transmit.reconnect.unwrap_or(flow.remote);
        let id = flow
            .connection
            .filter(|id| open.by_id.contains_key(id))
            .or_else(|| open.by_remote.get(&flow.remote).copied())
            .or_else(|| open.by_remote.get(&remote).copied());
        let outgoing = (transmit.bytes, transmit.transaction);
        if let Some(connection) = id.and_then(|id| open.by_id.get(&id)) {
            return connection.outbox.try_send(outgoing).map_err(|_| NotSent);
        }
        // A response whose connection is gone and that names no address to try has no way left.
        if flow.connection.is_some() && transmit.reconnect.is_none() {
            return Err(NotSent);
        }
        if open.by_id.len() >= CONNECTIONS_MAX {
            return Err(NotSent);
        }
        let (id, outbox, waiting) = self.table.add(&mut open, remote);
        drop(open);
        // An empty queue takes one message.
        outbox.try_send(outgoing).map_err(|_| NotSent)?;
        let way = Way { id, local: flow.local, remote };
        tokio::spawn(connect(way, waiting, Arc::clone(&self.table), inbox.clone()));
        Ok(())
    }
}

impl Table {
    fn add(
        &self,
        open: &mut Open,
        remote: SocketAddr,
    ) -> (ConnectionId, mpsc::Sender<Outgoing>, mpsc::Receiver<Outgoing>) {
        let id = ConnectionId(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        let (outbox, waiting) = mpsc::channel(OUTBOX_MAX);
        open.by_id.insert(id, Connection { remote, outbox: outbox.clone() });
        open.by_remote.insert(remote, id);
        (id, outbox, waiting)
    }

    fn remove(&self, id: ConnectionId) {
        let mut open = self.open.lock();
        if let Some(connection) = open.by_id.remove(&id)
            && open.by_remote.get(&connection.remote) == Some(&id)
        {
            open.by_remote.remove(&connection.remote);
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Way {
    id: ConnectionId,
    local: SocketAddr,
    remote: SocketAddr,
}

impl Way {
    fn flow(self) -> Flow {
        let connection = Some(self.id);
        Flow { transport: Transport::Tcp, local: self.local, remote: self.remote, connection }
    }
}

fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Connections of an earlier life of this node, still in TIME-WAIT, are no reason to refuse.
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(1_024)
}

async fn accept(listener: TcpListener, table: Arc<Table>, inbox: Inbox) {
    let Ok(local) = listener.local_addr() else { return };
    loop {
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, or the peer was gone already.
                tracing::warn!(at = %local, %error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let mut open = table.open.lock();
        if open.by_id.len() >= CONNECTIONS_MAX {
            continue;
        }
        let (id, _, waiting) = table.add(&mut open, remote);
        drop(open);
        let way = Way { id, local, remote };
        tokio::spawn(run(stream, way, waiting, Arc::clone(&table), inbox.clone()));
    }
}

async fn connect(way: Way, mut waiting: mpsc::Receiver<Outgoing>, table: Arc<Table>, inbox: Inbox) {
    let made = tokio::time::timeout(CONNECT_WITHIN, open_to(way)).await;
    match made {
        Ok(Ok(stream)) => run(stream, way, waiting, table, inbox).await,
        Ok(Err(_)) | Err(_) => {
            table.remove(way.id);
            waiting.close();
            fail(&mut waiting, None, &inbox).await;
            inbox.send(Input::ConnectionClosed(way.id)).await.ok();
        }
    }
}

async fn open_to(way: Way) -> io::Result<TcpStream> {
    let socket = if way.remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // The peer sees the address that our Via and Contact name.
    socket.bind(SocketAddr::new(way.local.ip(), 0))?;
    socket.connect(way.remote).await
}

/// Tells call control about messages that were not sent.
async fn fail(
    waiting: &mut mpsc::Receiver<Outgoing>,
    current: Option<TransactionId>,
    inbox: &Inbox,
) {
    let mut lost: Vec<TransactionId> = current.into_iter().collect();
    while let Ok((_, transaction)) = waiting.try_recv() {
        lost.extend(transaction);
    }
    for transaction in lost {
        inbox.send(Input::TransmitFailed(transaction)).await.ok();
    }
}

async fn run(
    stream: TcpStream,
    way: Way,
    waiting: mpsc::Receiver<Outgoing>,
    table: Arc<Table>,
    inbox: Inbox,
) {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(10));
    // Only comfort: without them a dead peer is noticed later.
    SockRef::from(&stream).set_tcp_keepalive(&keepalive).ok();
    stream.set_nodelay(true).ok();
    let (reading, writing) = stream.into_split();
    let (pongs, pong) = mpsc::channel(1);
    tokio::select! {
        () = read(reading, way, &inbox, pongs) => {}
        () = write(writing, waiting, pong, &inbox) => {}
    }
    table.remove(way.id);
    inbox.send(Input::ConnectionClosed(way.id)).await.ok();
}

/// Reads until the connection or its framing ends.
async fn read(mut stream: OwnedReadHalf, way: Way, inbox: &Inbox, pongs: mpsc::Sender<()>) {
    let mut framer = StreamFramer::new(KeepAliveRole::AnswersPings);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let patience = if framer.pending_bytes() > 0 { REST_WITHIN } else { IDLE_MAX };
        let len = match tokio::time::timeout(patience, stream.read(&mut buffer)).await {
            Ok(Ok(len)) if len > 0 => len,
            _ => return,
        };
        framer.push(buffer.get(..len).unwrap_or_default());
        loop {
            let source = way.flow();
            let (input, goes_on) = match framer.next_item() {
                Ok(None) => break,
                Ok(Some(StreamItem::Message(message))) => {
                    (Input::Received { source, message }, true)
                }
                Ok(Some(StreamItem::Malformed(failure))) => {
                    (Input::Malformed { source, failure: Box::new(failure) }, true)
                }
                Ok(Some(StreamItem::Ping)) => {
                    // One answer that waits already will do.
                    pongs.try_send(()).ok();
                    continue;
                }
                Ok(Some(StreamItem::Pong)) => continue,
                Err(error) => {
                    (Input::Malformed { source, failure: Box::new(error.failure) }, false)
                }
            };
            if inbox.send(input).await.is_err() {
                return;
            }
            if !goes_on {
                // The refusal gets a moment to leave before the connection is closed.
                tokio::time::sleep(Duration::from_millis(100)).await;
                return;
            }
        }
    }
}

async fn write(
    mut stream: OwnedWriteHalf,
    mut waiting: mpsc::Receiver<Outgoing>,
    mut pong: mpsc::Receiver<()>,
    inbox: &Inbox,
) {
    loop {
        let (bytes, transaction) = tokio::select! {
            outgoing = waiting.recv() => match outgoing {
                Some(outgoing) => outgoing,
                None => return,
            },
            Some(()) = pong.recv() => (Bytes::from_static(b"\r\n"), None),
        };
        match tokio::time::timeout(WRITE_WITHIN, stream.write_all(&bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => {
                waiting.close();
                return fail(&mut waiting, transaction, inbox).await;
            }
        }
    }
}
