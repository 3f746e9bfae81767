//! The network between user agents and nodes, as it happens to the world: datagrams and streams.

use std::net::SocketAddr;

use tandem_callcontrol::io::Input;
use tandem_sip::transaction::{ConnectionId, Flow, TransactionId, Transmit, Transport};

use super::{Conn, Ev, NodeInput, World, checks, node};

impl World {
    /// Sends what user agents want sent.
    pub(super) fn flush_uas(&mut self) {
        for index in 0..self.uas.len() {
            let now = self.now;
            let ua = &mut self.uas[index];
            ua.now = now;
            let out = std::mem::take(&mut ua.out);
            let (alive, from, conn) = (ua.alive, ua.addr, ua.conn);
            self.checks.violations.append(&mut ua.violations);
            if alive {
                for (to, bytes) in out {
                    match conn {
                        Some(conn) if self.conns[&conn].open => {
                            self.at(3, Ev::Stream { conn, to_node: true, bytes });
                        }
                        Some(_) => {}
                        None => self.send_datagram(from, to, bytes),
                    }
                }
            }
            if let Some(at) = self.uas[index].next_timer()
                && self.ua_wakes.get(&index).is_none_or(|known| *known > at)
            {
                self.ua_wakes.insert(index, at);
                let after = at.saturating_sub(self.now);
                self.at(after, Ev::UaWake { ua: index });
            }
        }
    }

    pub(super) fn send_datagram(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        let net = self.net;
        if self.chance.per_mille(net.loss) {
            return;
        }
        let copies = if self.chance.per_mille(net.doubled) { 2 } else { 1 };
        for _ in 0..copies {
            let delay = net.delay + self.chance.below(net.jitter + 1);
            self.at(delay, Ev::Datagram { from, to, bytes: bytes.clone() });
        }
    }

    pub(super) fn datagram(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        if let Some(ua) = self.uas.iter_mut().find(|ua| ua.addr == to && !ua.tcp) {
            if ua.alive {
                ua.now = self.now;
                ua.receive(from, &bytes);
            }
            return;
        }
        let Some(node) = self.nodes.values().find(|node| node.udp == to) else { return };
        let (id, local) = (node.id, node.udp);
        let Some(process) = node.process.as_ref().map(|process| process.number) else { return };
        let source = Flow::udp(local, from);
        self.input(id, process, NodeInput::Plain(node::received(source, &bytes)));
    }

    /// Opens a stream from a user agent to a node.
    pub fn connect(&mut self, ua: usize, node: u64) -> u64 {
        let conn = self.next_conn;
        self.next_conn += 1;
        self.conns.insert(conn, Conn { node, ua, open: true });
        self.uas[ua].conn = Some(conn);
        self.uas[ua].tcp = true;
        conn
    }

    /// Closes a stream.
    pub fn disconnect(&mut self, conn: u64) {
        if let Some(known) = self.conns.get_mut(&conn).filter(|known| known.open) {
            known.open = false;
            self.at(3, Ev::StreamClosed { conn, to_node: true });
            self.at(3, Ev::StreamClosed { conn, to_node: false });
        }
    }

    pub(super) fn stream(&mut self, conn: u64, to_node: bool, bytes: Vec<u8>) {
        let Some(known) = self.conns.get(&conn).copied().filter(|known| known.open) else { return };
        let remote = self.uas[known.ua].addr;
        let local = self.nodes[&known.node].udp;
        if !to_node {
            let ua = &mut self.uas[known.ua];
            if ua.alive {
                ua.now = self.now;
                ua.receive(local, &bytes);
            }
            return;
        }
        let process = self.nodes[&known.node].process.as_ref().map(|process| process.number);
        if let Some(process) = process {
            let connection = Some(ConnectionId(conn));
            let source = Flow { transport: Transport::Tcp, local, remote, connection };
            let input = NodeInput::Plain(node::received(source, &bytes));
            self.input(known.node, process, input);
        }
    }

    pub(super) fn stream_closed(&mut self, conn: u64, to_node: bool) {
        let known = self.conns[&conn];
        if !to_node {
            if self.uas[known.ua].conn == Some(conn) {
                self.uas[known.ua].conn = None;
            }
            return;
        }
        let process = self.nodes[&known.node].process.as_ref().map(|process| process.number);
        if let Some(process) = process {
            let input = NodeInput::Plain(Input::ConnectionClosed(ConnectionId(conn)));
            self.input(known.node, process, input);
        }
    }

    pub(super) fn transmit(&mut self, node: u64, transmit: Transmit) -> Option<Input> {
        checks::sent(self, node, &transmit);
        let flow = transmit.flow;
        if flow.transport == Transport::Udp {
            self.send_datagram(flow.local, flow.remote, transmit.bytes.to_vec());
            return None;
        }
        let wanted = flow.connection.map(|ConnectionId(id)| id);
        let by_id = wanted.filter(|id| self.conns.get(id).is_some_and(|conn| conn.open));
        let remote = flow.remote;
        let by_remote = self
            .conns
            .iter()
            .find(|(_, conn)| conn.open && conn.node == node && self.uas[conn.ua].addr == remote)
            .map(|(id, _)| *id);
        match by_id.or(by_remote) {
            Some(conn) => {
                let bytes = transmit.bytes.to_vec();
                self.at(3, Ev::Stream { conn, to_node: false, bytes });
                None
            }
            None => transmit.transaction.map(fail),
        }
    }
}

fn fail(transaction: TransactionId) -> Input {
    Input::TransmitFailed(transaction)
}
