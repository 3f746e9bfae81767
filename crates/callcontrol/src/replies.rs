//! Small parts of messages that many places need: Contact, Allow, refusals.

use std::net::SocketAddr;

use bytes::Bytes;
use tandem_cluster::ids::LegId;
use tandem_sip::{
    dialog::{bad_extension_response, unsupported_options},
    message::{
        HeaderName, Headers, Host, Method, NameAddr, Request, Response, SipUri, StatusCode, Uri,
        allow_value,
    },
    sdp::{RemoteDescription, SdpError, sdp_part},
    text::SipText,
    transaction::{Flow, Hop, ServerTx, Transport},
};

use crate::{
    core::Core,
    io::{Note, Now},
    limits::RETRY_AFTER_S,
};

/// What we do inside and outside of dialogs.
pub(crate) const METHODS: [Method; 7] = [
    Method::Invite,
    Method::Ack,
    Method::Cancel,
    Method::Bye,
    Method::Options,
    Method::Update,
    Method::Register,
];

/// Option tags that we understand when they are required.
pub(crate) const SUPPORTED: [&str; 1] = ["timer"];

pub(crate) const SDP: SipText = SipText::from_static("application/sdp");

impl Core {
    /// Answers a request with a bare status; failing only when the peer has given up.
    pub(crate) fn answer(&mut self, now: Now, server_tx: ServerTx, status: StatusCode) {
        if let Ok(response) = self.sip.response_for(server_tx, status) {
            self.respond(now, server_tx, &response);
        }
    }

    /// Answers with a status and with what we do and understand.
    pub(crate) fn answer_described(&mut self, now: Now, server_tx: ServerTx, status: StatusCode) {
        if let Ok(response) = self.sip.response_for(server_tx, status) {
            self.respond(now, server_tx, &Self::describe_us(response));
        }
    }

    /// 405 for what we know and do not do, 501 for what we do not know (RFC 3261 sections 21.4.6 and
    /// 21.5.2).
    pub(crate) fn answer_not_allowed(&mut self, now: Now, server_tx: ServerTx, method: &Method) {
        let status = match method {
            Method::Other(_) => StatusCode::NOT_IMPLEMENTED,
            _ => StatusCode::METHOD_NOT_ALLOWED,
        };
        self.answer_described(now, server_tx, status);
    }

    /// Answers 420 when the request requires what we do not understand (RFC 3261 section 8.2.2.3), or
    /// 400 when that cannot be read; true when all is well.
    #[must_use]
    pub(crate) fn understands(
        &mut self,
        now: Now,
        server_tx: ServerTx,
        request: &Request,
        to_tag: &SipText,
    ) -> bool {
        match unsupported_options(request, &SUPPORTED) {
            Ok(options) if options.is_empty() => return true,
            Ok(options) => {
                let response = bad_extension_response(request, to_tag, &options);
                self.respond(now, server_tx, &response);
            }
            Err(_) => self.answer(now, server_tx, StatusCode::BAD_REQUEST),
        }
        false
    }

    /// Answers 503 with Retry-After: carriers move on to their next site.
    pub(crate) fn answer_unavailable(&mut self, now: Now, server_tx: ServerTx) {
        if let Ok(response) = self.sip.response_for(server_tx, StatusCode::SERVICE_UNAVAILABLE) {
            let response = response.with_header(HeaderName::RetryAfter, RETRY_AFTER_S.into());
            self.respond(now, server_tx, &response);
        }
    }

    /// Sends a response.
    pub(crate) fn respond(&mut self, now: Now, server_tx: ServerTx, response: &Response) {
        if let Err(error) = self.sip.respond(now.instant, server_tx, response) {
            // The peer has given up, or got its answer by another way: both end in the timers.
            self.note(Note::Unexpected { what: format!("a response was not sent: {error}") });
        }
    }

    /// Our Contact in the dialog of a leg.
    pub(crate) fn contact(&self, leg: LegId, transport: Transport) -> NameAddr {
        let at = match (transport, self.settings.tcp) {
            (Transport::Tcp, Some(tcp)) => tcp,
            _ => self.settings.udp,
        };
        let user = format!("leg-{}-{}", leg.group.0, leg.ordinal.0);
        let mut uri = own_uri(Some(&user), at);
        if transport == Transport::Tcp
            && let Uri::Sip(sip) = &mut uri
        {
            sip.params.set(SipText::from_static("transport"), Some(SipText::from_static("tcp")));
        }
        NameAddr::from_uri(uri)
    }

    /// Adds what every 2xx to an INVITE or OPTIONS says about us.
    pub(crate) fn describe_us(response: Response) -> Response {
        response
            .with_header(HeaderName::Allow, allow_value(&METHODS))
            .with_header(HeaderName::Supported, SipText::from_static("timer"))
    }

    /// The way to a peer, with what our Via says.
    pub(crate) fn hop(
        &self,
        transport: Transport,
        peer: SocketAddr,
        connection: Option<tandem_sip::transaction::ConnectionId>,
    ) -> Hop {
        let local = match (transport, self.settings.tcp) {
            (Transport::Tcp | Transport::Tls, Some(tcp)) => tcp,
            _ => self.settings.udp,
        };
        Hop::from_flow(Flow { transport, local, remote: peer, connection })
    }
}

/// `sip:user@address:port`.
pub(crate) fn own_uri(user: Option<&str>, at: SocketAddr) -> Uri {
    let host = Host::from_address(at.ip());
    match SipUri::new(user, host.clone(), Some(at.port())) {
        Ok(uri) => Uri::Sip(uri),
        // Our own users are letters, digits, '.', '_', '-' and '+'.
        Err(_) => bare_uri(host, Some(at.port())),
    }
}

/// `sip:user@host`, with the user escaped where it must be.
pub(crate) fn uri_of(user: &str, host: &str) -> Uri {
    let host = Host::parse(host).unwrap_or_else(|_| {
        Host::from_address(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST))
    });
    let escaped = tandem_sip::message::escape_user(user.as_bytes());
    match SipUri::new(Some(&escaped), host.clone(), None) {
        Ok(uri) => Uri::Sip(uri),
        Err(_) => bare_uri(host, None),
    }
}

fn bare_uri(host: Host, port: Option<u16>) -> Uri {
    match SipUri::new(None, host, port) {
        Ok(uri) => Uri::Sip(uri),
        Err(_) => unreachable!("a URI without a user part has nothing to escape"),
    }
}

/// Where a URI leads, if it names an address.
pub(crate) fn address_of(uri: &Uri) -> Option<SocketAddr> {
    let sip = uri.as_sip()?;
    Some(SocketAddr::new(sip.host.address()?, sip.port.unwrap_or(5060)))
}

/// What a body says about media.
#[derive(Debug)]
pub(crate) enum Described {
    /// There is no body.
    Nothing,
    /// A session description.
    Session(Box<RemoteDescription>),
    /// A body of another kind: 415 (RFC 3261 section 8.2.3).
    Foreign,
    /// A session description that cannot be read.
    Unreadable(SdpError),
}

/// The session description of a message.
pub(crate) fn described(headers: &Headers, body: &Bytes) -> Described {
    if body.is_empty() {
        return Described::Nothing;
    }
    let Ok(Some(content_type)) = headers.content_type() else { return Described::Foreign };
    match sdp_part(&content_type, body).map(|part| RemoteDescription::parse(&part)) {
        None => Described::Foreign,
        Some(Ok(description)) => Described::Session(Box::new(description)),
        Some(Err(error)) => Described::Unreadable(error),
    }
}
