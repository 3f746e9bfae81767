//! One connection of a link: who is there, datagrams in, and the small conversation beside them.

use std::{sync::Weak, time::Duration};

use quinn::{Connecting, Connection, Incoming, RecvStream, SendStream, VarInt};
use rustls::pki_types::CertificateDer;
use tandem_rtp::{
    ids::RelayId,
    limits::LINK_MESSAGE_MAX,
    link::{ControlMessage, Hello, LinkError, VERSIONS, dials},
};
use thiserror::Error;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{LinkIdentity, LinkPeer};
use crate::{
    identity::{IdentityError, PeerIdentity, Role},
    limits::{LINK_HANDSHAKE_TIMEOUT, LINK_PING_INTERVAL},
    media::{GROUP, MediaPlane},
};

/// Nothing is wrong.
pub(super) const CLOSE_DONE: VarInt = VarInt::from_u32(0);
/// A newer connection of the same two relays took over.
pub(super) const CLOSE_REPLACED: VarInt = VarInt::from_u32(1);
/// The hello or certificate was refused.
pub(super) const CLOSE_REFUSED: VarInt = VarInt::from_u32(2);
/// Too many links.
pub(super) const CLOSE_FULL: VarInt = VarInt::from_u32(3);

/// A connection that both sides agreed on.
pub(super) struct Established {
    pub(super) connection: Connection,
    pub(super) who: Who,
    pub(super) control: Control,
}

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) relay: RelayId,
    pub(super) incarnation: u64,
    pub(super) version: u16,
}

/// The control stream, after the hello.
pub(super) struct Control {
    send: SendStream,
    receive: RecvStream,
    /// Bytes that came and are not read yet.
    pending: Vec<u8>,
}

/// Why two relays do not link.
#[derive(Debug, Error)]
pub(super) enum LinkRefused {
    /// The certificate is not a relay's, or another relay's.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Another cluster.
    #[error(
        "the relay belongs to cluster {theirs:?} and this one to {ours:?}; correct [relay] cluster"
    )]
    Cluster {
        /// Its cluster.
        theirs: String,
        /// Ours.
        ours: String,
    },
    /// Another group.
    #[error(
        "the relay serves group {theirs} and this one group {GROUP}; link it with its own kind"
    )]
    Group {
        /// Its group.
        theirs: u32,
    },
    /// No version in common.
    #[error(
        "the relay speaks link versions {lowest} to {highest}, this one others; upgrade one of them"
    )]
    Version {
        /// Its oldest.
        lowest: u16,
        /// Its newest.
        highest: u16,
    },
    /// Another relay than the one that was dialled.
    #[error("relay {found} answered instead of {wanted}; correct its link address")]
    OtherRelay {
        /// Who was dialled.
        wanted: RelayId,
        /// Who answered.
        found: RelayId,
    },
    /// It dialled although that is our part, or has our own name.
    #[error(
        "relay {relay} dialled, but the one with the smaller id dials; are two relays named alike?"
    )]
    WrongDirection {
        /// Who dialled.
        relay: RelayId,
    },
    /// Nonsense on the control stream.
    #[error(transparent)]
    Protocol(#[from] LinkError),
    /// Something else than a hello came first.
    #[error("the relay did not begin with a hello; it runs another protocol")]
    NoHello,
    /// The connection ended meanwhile, or was never made (a wrong authority ends here).
    #[error("the connection was not made: {0}")]
    Connection(#[from] quinn::ConnectionError),
    /// A stream ended meanwhile.
    #[error("the control stream broke: {0}")]
    Stream(String),
    /// It was never begun.
    #[error("the relay cannot be dialled: {0}")]
    Dial(String),
    /// It took too long.
    #[error("the relay did not answer in time")]
    Timeout,
}

impl LinkRefused {
    /// True for what will not pass by itself: a person should know.
    pub(super) fn is_lasting(&self) -> bool {
        match self {
            Self::Identity(_)
            | Self::Cluster { .. }
            | Self::Group { .. }
            | Self::Version { .. }
            | Self::OtherRelay { .. }
            | Self::WrongDirection { .. }
            | Self::Protocol(_)
            | Self::NoHello => true,
            // TLS alerts: certificates that the other side, or we, do not trust (RFC 9001
            // section 4.8); and a hello that the other side refused.
            Self::Connection(quinn::ConnectionError::TransportError(error)) => {
                u64::from(error.code) & !0xff == 0x100
            }
            Self::Connection(quinn::ConnectionError::ConnectionClosed(closed)) => {
                u64::from(closed.error_code) & !0xff == 0x100
            }
            Self::Connection(quinn::ConnectionError::ApplicationClosed(closed)) => {
                closed.error_code == CLOSE_REFUSED
            }
            Self::Connection(_) | Self::Stream(_) | Self::Dial(_) | Self::Timeout => false,
        }
    }
}

/// Dials: handshake, then hello both ways.
pub(super) async fn open(
    connecting: Connecting,
    own: &LinkIdentity,
    wanted: &RelayId,
) -> Result<Established, LinkRefused> {
    let shake = async {
        let connection = connecting.await?;
        let (send, receive) = connection.open_bi().await?;
        greet(connection, send, receive, own, |found| {
            if found == wanted {
                return Ok(());
            }
            Err(LinkRefused::OtherRelay { wanted: wanted.clone(), found: found.clone() })
        })
        .await
    };
    timeout(LINK_HANDSHAKE_TIMEOUT, shake).await.map_err(|_| LinkRefused::Timeout)?
}

/// Takes a dialled connection: handshake, then hello both ways. The caller bounds the time.
pub(super) async fn take(
    incoming: Incoming,
    own: &LinkIdentity,
) -> Result<Established, LinkRefused> {
    let connection = incoming.await?;
    let (send, receive) = connection.accept_bi().await?;
    greet(connection, send, receive, own, |found| {
        if dials(found, &own.relay) {
            return Ok(());
        }
        Err(LinkRefused::WrongDirection { relay: found.clone() })
    })
    .await
}

async fn greet(
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
    own: &LinkIdentity,
    check_name: impl Fn(&RelayId) -> Result<(), LinkRefused>,
) -> Result<Established, LinkRefused> {
    let mut control = Control { send, receive, pending: Vec::new() };
    let theirs = match control.exchange_hellos(own).await {
        Ok(theirs) => theirs,
        // Why the other side closed says more than that the stream broke.
        Err(LinkRefused::Stream(_)) if connection.close_reason().is_some() => {
            return Err(LinkRefused::Connection(connection.closed().await));
        }
        Err(refused) => return Err(refuse(&connection, refused)),
    };
    let judged = judge(&connection, own, &theirs);
    let judged = judged.and_then(|who| check_name(&who.relay).map(|()| who));
    match judged {
        Ok(who) => Ok(Established { connection, who, control }),
        Err(refused) => Err(refuse(&connection, refused)),
    }
}

/// Closes a connection with the reason, so that the other side's log has it as well.
fn refuse(connection: &Connection, refused: LinkRefused) -> LinkRefused {
    connection.close(CLOSE_REFUSED, refused.to_string().as_bytes());
    refused
}

impl Control {
    async fn exchange_hellos(&mut self, own: &LinkIdentity) -> Result<Hello, LinkRefused> {
        let hello = ControlMessage::Hello(Hello {
            versions: VERSIONS,
            cluster: own.cluster.clone(),
            group: GROUP,
            relay: own.relay.clone(),
            incarnation: own.incarnation,
        });
        write_message(&mut self.send, &hello).await?;
        match read_message(&mut self.receive, &mut self.pending).await? {
            ControlMessage::Hello(theirs) => Ok(theirs),
            _ => Err(LinkRefused::NoHello),
        }
    }
}

/// Checks a hello against our own cluster and against the certificate that was shown.
fn judge(connection: &Connection, own: &LinkIdentity, theirs: &Hello) -> Result<Who, LinkRefused> {
    let chain = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .ok_or(IdentityError::Missing)?;
    PeerIdentity::from_chain(&chain)?.require_name(Role::Relay, theirs.relay.as_str())?;
    if theirs.cluster != own.cluster {
        let (theirs, ours) = (theirs.cluster.clone(), own.cluster.clone());
        return Err(LinkRefused::Cluster { theirs, ours });
    }
    if theirs.group != GROUP {
        return Err(LinkRefused::Group { theirs: theirs.group });
    }
    let version = VERSIONS.agree(theirs.versions).ok_or(LinkRefused::Version {
        lowest: theirs.versions.lowest,
        highest: theirs.versions.highest,
    })?;
    Ok(Who { relay: theirs.relay.clone(), incarnation: theirs.incarnation, version })
}

/// Hands every datagram to the packet path, until the connection ends.
pub(super) async fn receive(connection: &Connection, peer: &LinkPeer, plane: Weak<MediaPlane>) {
    while let Ok(datagram) = connection.read_datagram().await {
        let Some(plane) = plane.upgrade() else { return };
        peer.outbox.counts().received.increment();
        plane.handle_link_datagram(&peer.relay, &datagram);
    }
}

/// Pings and answers pings, until the stream ends.
pub(super) async fn converse(control: Control) -> LinkRefused {
    let Control { mut send, mut receive, mut pending } = control;
    let mut ping = interval(LINK_PING_INTERVAL);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0;
    loop {
        let reply = tokio::select! {
            _ = ping.tick() => {
                number += 1;
                Some(ControlMessage::Ping(number))
            }
            message = read_message(&mut receive, &mut pending) => match message {
                Ok(ControlMessage::Ping(number)) => Some(ControlMessage::Pong(number)),
                Ok(ControlMessage::Hello(_)) => return LinkRefused::NoHello,
                Ok(ControlMessage::Pong(_) | ControlMessage::Unknown(_)) => None,
                Err(error) => return error,
            },
        };
        if let Some(reply) = reply {
            let written = timeout(Duration::from_secs(2), write_message(&mut send, &reply));
            match written.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error,
                Err(_) => return LinkRefused::Timeout,
            }
        }
    }
}

async fn write_message(send: &mut SendStream, message: &ControlMessage) -> Result<(), LinkRefused> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    send.write_all(&bytes).await.map_err(|error| LinkRefused::Stream(error.to_string()))
}

/// Reads the next message. Safe to be dropped at its only wait: what came stays in `pending`.
async fn read_message(
    receive: &mut RecvStream,
    pending: &mut Vec<u8>,
) -> Result<ControlMessage, LinkRefused> {
    loop {
        if let Some((message, len)) = ControlMessage::decode(pending)? {
            pending.drain(..len);
            return Ok(message);
        }
        let mut chunk = [0; LINK_MESSAGE_MAX];
        let read = receive.read(&mut chunk).await;
        match read.map_err(|error| LinkRefused::Stream(error.to_string()))? {
            Some(len) => pending.extend_from_slice(chunk.get(..len).unwrap_or(&[])),
            None => return Err(LinkRefused::Stream("it was closed".to_owned())),
        }
    }
}
