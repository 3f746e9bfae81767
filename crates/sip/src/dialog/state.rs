//! [`Dialog`]: the shared state of two user agents (RFC 3261 section 12).

use super::cseq::{CseqBlock, CseqExhausted};
use super::record::{AdoptError, DialogRecord};
use super::routing::{push_routes, route};
use crate::limits::MAX_FORWARDS_INITIAL;
use crate::message::{
    CSeq, CallId, HeaderError, HeaderName, Headers, Method, NameAddr, Request, Response, Uri,
};
use crate::text::SipText;
use bytes::Bytes;

/// What a dialog is found by (section 12): Call-ID and both tags, seen from this side.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialogId {
    /// Call-ID.
    pub call_id: CallId,
    /// Our tag.
    pub local_tag: SipText,
    /// The peer's tag.
    pub remote_tag: SipText,
}

impl DialogId {
    /// The dialog that a request from the peer belongs to; `None` outside of dialogs.
    pub fn of_request(request: &Request) -> Option<Self> {
        Some(Self {
            call_id: request.call_id.clone(),
            local_tag: request.to_tag()?.clone(),
            remote_tag: request.from_tag()?.clone(),
        })
    }

    /// The dialog that a response to our request belongs to.
    pub fn of_response(response: &Response) -> Option<Self> {
        Some(Self {
            call_id: response.call_id.clone(),
            local_tag: response.from.tag()?.clone(),
            remote_tag: response.to_tag()?.clone(),
        })
    }
}

/// Which side started the dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum DialogRole {
    /// We sent the first request: the Call-ID is ours.
    Uac,
    /// The peer sent it.
    Uas,
}

/// How far the dialog is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum DialogStage {
    /// A provisional response with a tag made it.
    Early,
    /// A 2xx made or confirmed it.
    Confirmed,
}

/// Whether the first request came by TLS with a `sips:` URI (section 12.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// No.
    Plain,
    /// Yes: all requests of the dialog need secured hops.
    Secured,
}

/// Why no dialog can be made from a message pair.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialogError {
    /// A tag is missing (section 12.1: both are needed; peers of RFC 2543 are not served).
    #[error("the {side} tag is missing: no dialog can be made; answer 400 or end the call")]
    NoTag {
        /// Which side's.
        side: &'static str,
    },
    /// The response does not make a dialog (100, or 300 and above).
    #[error("status {0} makes no dialog: only 101 to 299 do")]
    Status(crate::message::StatusCode),
    /// Contact or Record-Route cannot be used.
    #[error("no dialog can be made: {0}")]
    Header(#[from] HeaderError),
    /// The URI to send to is not one that we can send to.
    #[error("the Contact is neither sip: nor sips:; the peer cannot be reached in the dialog")]
    ContactScheme,
}

/// A request with a CSeq number below one that was seen (section 12.2.2): answered with 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("CSeq {got} is lower than {seen}, which was seen before: answer 500")]
pub struct OutOfOrder {
    /// Number in the request.
    pub got: u32,
    /// Highest number seen.
    pub seen: u32,
}

/// What a request inside a dialog carries beside what the dialog decides.
#[derive(Debug, Clone, Default)]
pub struct RequestParts {
    /// Our Contact; needed in INVITE, UPDATE, REFER, SUBSCRIBE and NOTIFY.
    pub contact: Option<NameAddr>,
    /// Other headers, in order.
    pub headers: Headers,
    /// Content-Type and body.
    pub body: Option<(SipText, Bytes)>,
}

/// A dialog (section 12). Keeps no buffer of the messages that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialog {
    id: DialogId,
    role: DialogRole,
    stage: DialogStage,
    security: Security,
    local_uri: Uri,
    remote_uri: Uri,
    remote_target: Uri,
    route_set: Vec<Uri>,
    local_cseq: CseqBlock,
    remote_cseq: Option<u32>,
}

impl Dialog {
    /// Our request was answered by 101 to 299 with a To tag (section 12.1.2). `cseqs` is the block from
    /// which the request's number came; each tag of a forked call makes a dialog of its own with a copy.
    ///
    /// # Errors
    /// [`DialogError`].
    pub fn uac(
        request: &Request,
        response: &Response,
        cseqs: CseqBlock,
        security: Security,
    ) -> Result<Self, DialogError> {
        let stage = stage_of(response)?;
        let mut dialog = Self {
            id: DialogId {
                call_id: response.call_id.detached(),
                local_tag: tag(&request.from, "From")?,
                remote_tag: tag(&response.to, "To")?,
            },
            role: DialogRole::Uac,
            stage,
            security,
            local_uri: request.from.uri.detached(),
            remote_uri: request.to.uri.detached(),
            remote_target: request.uri.detached(),
            route_set: Vec::new(),
            local_cseq: cseqs,
            remote_cseq: None,
        };
        dialog.learn_route(response)?;
        Ok(dialog)
    }

    /// A request of the peer that we answer with `local_tag` (section 12.1.1). Early until
    /// [`Dialog::confirm`].
    ///
    /// # Errors
    /// [`DialogError`]: then the request is answered with 400.
    pub fn uas(
        request: &Request,
        local_tag: &SipText,
        security: Security,
    ) -> Result<Self, DialogError> {
        let contact = request.headers.dialog_contact()?;
        Ok(Self {
            id: DialogId {
                call_id: request.call_id.detached(),
                local_tag: local_tag.detached(),
                remote_tag: tag(&request.from, "From")?,
            },
            role: DialogRole::Uas,
            stage: DialogStage::Early,
            security,
            local_uri: request.to.uri.detached(),
            remote_uri: request.from.uri.detached(),
            remote_target: reachable(contact.uri)?,
            route_set: route_set(&request.headers, Order::AsWritten)?,
            local_cseq: CseqBlock::first(),
            remote_cseq: Some(request.cseq.number),
        })
    }

    /// Rebuilds a dialog of another node from its record. The result can send nothing until a new block
    /// of CSeq numbers is committed: [`Dialog::needs_reservation`] names it.
    ///
    /// # Errors
    /// [`AdoptError`] when a text of the record cannot be read.
    pub fn adopt(record: &DialogRecord) -> Result<Self, AdoptError> {
        let parts = record.parse()?;
        Ok(Self {
            id: parts.id,
            role: record.role,
            stage: record.stage,
            security: if record.secure { Security::Secured } else { Security::Plain },
            local_uri: parts.local_uri,
            remote_uri: parts.remote_uri,
            remote_target: parts.remote_target,
            route_set: parts.route_set,
            local_cseq: CseqBlock::after(record.cseq_reserved_until),
            remote_cseq: record.remote_cseq,
        })
    }

    /// What another node needs to go on with this dialog.
    pub fn to_record(&self) -> DialogRecord {
        let text = |t: &SipText| t.to_str().unwrap_or_default().to_owned();
        DialogRecord {
            call_id: text(self.id.call_id.text()),
            local_tag: text(&self.id.local_tag),
            remote_tag: text(&self.id.remote_tag),
            local_uri: self.local_uri.expose(),
            remote_uri: self.remote_uri.expose(),
            remote_target: self.remote_target.expose(),
            route_set: self.route_set.iter().map(Uri::expose).collect(),
            cseq_reserved_until: self.local_cseq.reserved_until(),
            remote_cseq: self.remote_cseq,
            role: self.role,
            stage: self.stage,
            secure: self.security == Security::Secured,
        }
    }

    /// The 2xx that confirms an early dialog of ours: route set and target are learned again from it
    /// (section 13.2.2.4). Also for a 2xx to a target refresh request of ours (section 12.2.1.2), which
    /// changes the target only.
    ///
    /// # Errors
    /// [`DialogError`]; the dialog is unchanged then.
    pub fn answered(&mut self, response: &Response) -> Result<(), DialogError> {
        let stage = stage_of(response)?;
        let method = &response.cseq.method;
        // A 2xx to an UPDATE or PRACK inside an early dialog has no route set to learn.
        let makes_dialog = self.stage == DialogStage::Early
            && self.role == DialogRole::Uac
            && method.creates_dialog();
        if makes_dialog {
            self.learn_route(response)?;
            self.stage = stage;
        } else if method.is_target_refresh() {
            self.learn_target(&response.headers)?;
        }
        Ok(())
    }

    /// We send the 2xx that confirms the dialog.
    pub fn confirm(&mut self) {
        self.stage = DialogStage::Confirmed;
    }

    /// Checks the order of a request of the peer (section 12.2.2) and notes its number. The same number
    /// as before is taken: a node that took the dialog over may be the one that has to answer a request
    /// which the dead node has seen. ACK and CANCEL carry their INVITE's number and are not checked.
    ///
    /// # Errors
    /// [`OutOfOrder`].
    pub fn receive(&mut self, request: &Request) -> Result<(), OutOfOrder> {
        if matches!(request.method, Method::Ack | Method::Cancel) {
            return Ok(());
        }
        let got = request.cseq.number;
        match self.remote_cseq {
            Some(seen) if got < seen => Err(OutOfOrder { got, seen }),
            _ => {
                self.remote_cseq = Some(got);
                Ok(())
            }
        }
    }

    /// Takes the peer's new address from a target refresh request (section 12.2.2). Call it when the
    /// request is accepted: a refused re-INVITE leaves the target as it was (RFC 6141 section 4.4).
    ///
    /// # Errors
    /// [`DialogError`] when its Contact cannot be used; the target is unchanged then.
    pub fn refresh_target(&mut self, request: &Request) -> Result<(), DialogError> {
        if request.method.is_target_refresh() {
            self.learn_target(&request.headers)?;
        }
        Ok(())
    }

    /// A request inside the dialog (section 12.2.1.1), without Via: the transaction layer adds it. For
    /// ACK see [`Dialog::ack`]; CANCEL comes from the transaction layer.
    ///
    /// # Errors
    /// [`CseqExhausted`] when the next block of numbers is not committed yet.
    pub fn request(
        &mut self,
        method: Method,
        parts: RequestParts,
    ) -> Result<Request, CseqExhausted> {
        debug_assert!(!matches!(method, Method::Ack | Method::Cancel), "{method} has its own way");
        let number = self.local_cseq.take()?;
        Ok(self.compose(method, number, parts))
    }

    /// The ACK to a 2xx of ours with this CSeq number (section 13.2.2.4). `credentials` are the
    /// Authorization and Proxy-Authorization headers of the INVITE, which it repeats; `body` is the
    /// answer when the 2xx brought the offer.
    pub fn ack(
        &self,
        invite_cseq: u32,
        credentials: &Headers,
        body: Option<(SipText, Bytes)>,
    ) -> Request {
        let mut headers = Headers::new();
        for name in [HeaderName::Authorization, HeaderName::ProxyAuthorization] {
            for value in credentials.all(&name) {
                headers.push(name.clone(), value.clone());
            }
        }
        self.compose(Method::Ack, invite_cseq, RequestParts { contact: None, headers, body })
    }

    fn compose(&self, method: Method, number: u32, parts: RequestParts) -> Request {
        let route = route(&self.remote_target, &self.route_set);
        let mut headers = Headers::new();
        push_routes(&mut headers, route.routes);
        if let Some(contact) = &parts.contact {
            headers.push_address(HeaderName::Contact, contact);
        }
        for header in parts.headers.iter() {
            headers.push(header.name.clone(), header.value.clone());
        }
        let request = Request {
            cseq: CSeq { number, method: method.clone() },
            method,
            uri: route.uri,
            vias: Vec::new(),
            from: party(&self.local_uri, &self.id.local_tag),
            to: party(&self.remote_uri, &self.id.remote_tag),
            call_id: self.id.call_id.clone(),
            max_forwards: Some(MAX_FORWARDS_INITIAL),
            headers,
            body: Bytes::new(),
        };
        match parts.body {
            Some((content_type, body)) => request.with_body(content_type, body),
            None => request,
        }
    }

    /// The block of CSeq numbers that should be committed now: its end.
    pub fn needs_reservation(&self) -> Option<u32> {
        self.local_cseq.needs_reservation()
    }

    /// A block was committed, see [`CseqBlock::reserve`].
    pub fn reserve(&mut self, until: u32) {
        self.local_cseq.reserve(until);
    }

    /// End of the committed block.
    pub fn cseq_reserved_until(&self) -> u32 {
        self.local_cseq.reserved_until()
    }

    /// What the dialog is found by.
    pub fn id(&self) -> &DialogId {
        &self.id
    }

    /// Who started it.
    pub fn role(&self) -> DialogRole {
        self.role
    }

    /// How far it is.
    pub fn stage(&self) -> DialogStage {
        self.stage
    }

    /// Whether it needs secured hops.
    pub fn security(&self) -> Security {
        self.security
    }

    /// Where the peer wants requests.
    pub fn remote_target(&self) -> &Uri {
        &self.remote_target
    }

    /// The URI that the next request goes to: the first Route, or the Request-URI (section 8.1.2).
    pub fn next_hop(&self) -> &Uri {
        self.route_set.first().unwrap_or(&self.remote_target)
    }

    /// The peer's URI, for display and look-ups.
    pub fn remote_uri(&self) -> &Uri {
        &self.remote_uri
    }

    /// Highest CSeq number seen from the peer.
    pub fn remote_cseq(&self) -> Option<u32> {
        self.remote_cseq
    }

    /// Route set and target from a response that makes or confirms a dialog of ours.
    fn learn_route(&mut self, response: &Response) -> Result<(), DialogError> {
        // 12.1.2: Record-Route in reverse order.
        let routes = route_set(&response.headers, Order::Reversed)?;
        // A provisional response may lack a Contact; then the target stays as it was.
        if response.status.is_success() || response.headers.has(&HeaderName::Contact) {
            let contact = response.headers.dialog_contact()?;
            self.remote_target = reachable(contact.uri)?;
        }
        self.route_set = routes;
        Ok(())
    }

    fn learn_target(&mut self, headers: &Headers) -> Result<(), DialogError> {
        if headers.has(&HeaderName::Contact) {
            self.remote_target = reachable(headers.dialog_contact()?.uri)?;
        }
        Ok(())
    }
}

/// Order of the route set against the Record-Route headers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    AsWritten,
    Reversed,
}

fn route_set(headers: &Headers, order: Order) -> Result<Vec<Uri>, HeaderError> {
    let routes = headers.routes(&HeaderName::RecordRoute)?;
    let mut set: Vec<Uri> = routes.into_iter().map(|address| address.uri.detached()).collect();
    if order == Order::Reversed {
        set.reverse();
    }
    Ok(set)
}

fn stage_of(response: &Response) -> Result<DialogStage, DialogError> {
    match response.status.code() {
        101..=199 => Ok(DialogStage::Early),
        200..=299 => Ok(DialogStage::Confirmed),
        _ => Err(DialogError::Status(response.status)),
    }
}

fn reachable(uri: Uri) -> Result<Uri, DialogError> {
    if uri.as_sip().is_some() { Ok(uri.detached()) } else { Err(DialogError::ContactScheme) }
}

fn tag(address: &NameAddr, side: &'static str) -> Result<SipText, DialogError> {
    address.tag().map(SipText::detached).ok_or(DialogError::NoTag { side })
}

fn party(uri: &Uri, tag: &SipText) -> NameAddr {
    let mut address = NameAddr::from_uri(uri.clone());
    address.set_tag(tag.clone());
    address
}
