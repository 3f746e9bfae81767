//! A dialog (RFC 3261 section 12): names, numbers, and the way to the other side.

use crate::io::{EndpointId, Flow, Transport};
use crate::limits::ROUTE_SET_MAX;
use crate::sip::{Message, Method, NameAddr, Received, Uri};

/// What names a dialog from this side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DialogId {
    pub(crate) call_id: String,
    pub(crate) local_tag: String,
    pub(crate) remote_tag: String,
}

/// A dialog, early or confirmed.
#[derive(Clone, Debug)]
pub(crate) struct Dialog {
    pub(crate) id: DialogId,
    /// Value of From in requests of this side, with the tag.
    local_party: String,
    /// Value of To in requests of this side, with the tag.
    remote_party: String,
    pub(crate) local_cseq: u32,
    /// Highest CSeq that came in.
    pub(crate) remote_cseq: Option<u32>,
    /// The other side's Contact.
    pub(crate) remote_target: String,
    route_set: Vec<String>,
    /// Where the message that made the dialog came from, for targets that are names.
    pub(crate) peer: Flow,
}

impl Dialog {
    /// As the callee, from the INVITE (RFC 3261 12.1.1). `None` without a Contact to answer to.
    pub(crate) fn of_request(request: &Received, local_tag: &str, peer: Flow) -> Option<Self> {
        let route_set = route_set(&request.message)?;
        let mut local_party = request.message.header("To")?.to_owned();
        local_party.push_str(&format!(";tag={local_tag}"));
        Some(Self {
            id: DialogId {
                call_id: request.call_id.clone(),
                local_tag: local_tag.to_owned(),
                remote_tag: request.from.tag()?.to_owned(),
            },
            local_party,
            remote_party: request.message.header("From")?.to_owned(),
            local_cseq: 0,
            remote_cseq: Some(request.cseq.number),
            remote_target: contact_uri(&request.message)?,
            route_set,
            peer,
        })
    }

    /// As the caller, from a response with a To tag (RFC 3261 12.1.2).
    pub(crate) fn of_response(response: &Received, peer: Flow) -> Option<Self> {
        let mut route_set = route_set(&response.message)?;
        route_set.reverse();
        Some(Self {
            id: DialogId {
                call_id: response.call_id.clone(),
                local_tag: response.from.tag()?.to_owned(),
                remote_tag: response.to.tag()?.to_owned(),
            },
            local_party: response.message.header("From")?.to_owned(),
            remote_party: response.message.header("To")?.to_owned(),
            local_cseq: response.cseq.number,
            remote_cseq: None,
            remote_target: contact_uri(&response.message)?,
            route_set,
            peer,
        })
    }

    /// Whether a request belongs here: Call-ID and both tags, whatever address it came from.
    pub(crate) fn owns(&self, request: &Received) -> bool {
        request.call_id == self.id.call_id
            && request.to.tag() == Some(self.id.local_tag.as_str())
            && request.from.tag() == Some(self.id.remote_tag.as_str())
    }

    /// Takes the Contact of a target refresh (RFC 3261 12.2); the route set stays.
    pub(crate) fn refresh_target(&mut self, message: &Message) {
        if let Some(target) = contact_uri(message) {
            self.remote_target = target;
        }
    }

    /// A request within the dialog, without Via and Contact. Its CSeq is the next one, except for
    /// ACK, which repeats the number given (RFC 3261 13.2.2.4).
    pub(crate) fn request(&mut self, method: Method, ack_of: Option<u32>) -> Message {
        let number = ack_of.unwrap_or(self.local_cseq + 1);
        self.local_cseq = self.local_cseq.max(number);
        let (uri, routes) = self.path();
        let mut message = Message::request(method.clone(), uri)
            .with("Max-Forwards", "70")
            .with("From", self.local_party.clone())
            .with("To", self.remote_party.clone())
            .with("Call-ID", self.id.call_id.clone())
            .with("CSeq", format!("{number} {method}"));
        for route in routes {
            message.push("Route", route);
        }
        message
    }

    /// Request-URI and Route headers (RFC 3261 12.2.1.1): loose routing unless the first route is a
    /// strict router.
    fn path(&self) -> (String, Vec<String>) {
        let is_strict = |route: &String| {
            let uri = NameAddr::parse(route).map(|address| address.uri);
            !matches!(uri, Ok(Uri::Sip(uri)) if uri.param("lr").is_some())
        };
        match self.route_set.split_first() {
            Some((first, rest)) if is_strict(first) => {
                let uri = NameAddr::parse(first)
                    .map_or_else(|_| self.remote_target.clone(), |address| address.uri.to_string());
                let target = format!("<{}>", self.remote_target);
                (uri, rest.iter().cloned().chain([target]).collect())
            }
            _ => (self.remote_target.clone(), self.route_set.clone()),
        }
    }

    /// Where the next request goes: the first route, else the remote target.
    pub(crate) fn next_hop(&self) -> String {
        let first = self.route_set.first();
        let route = first.and_then(|route| NameAddr::parse(route).ok());
        route.map_or_else(|| self.remote_target.clone(), |address| address.uri.to_string())
    }
}

/// The flow towards a URI: its address and transport; `None` when its host is a name.
pub(crate) fn flow_to(uri: &str, endpoint: EndpointId) -> Option<Flow> {
    let uri = Uri::parse(uri).ok()?;
    let sip = uri.as_sip()?;
    let is_tcp = sip
        .param("transport")
        .flatten()
        .is_some_and(|transport| transport.eq_ignore_ascii_case("tcp"));
    let transport = if is_tcp { Transport::Tcp } else { Transport::Udp };
    Some(Flow { endpoint, transport, remote: sip.socket_addr()? })
}

/// Record-Route in its order; `None` when there are too many.
fn route_set(message: &Message) -> Option<Vec<String>> {
    let routes: Vec<String> =
        message.values("Record-Route").into_iter().map(str::to_owned).collect();
    (routes.len() <= ROUTE_SET_MAX).then_some(routes)
}

/// The URI of the first Contact.
fn contact_uri(message: &Message) -> Option<String> {
    let contacts = message.values("Contact");
    NameAddr::parse(contacts.first()?).ok().map(|address| address.uri.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Received {
        let text = text.replace('\n', "\r\n") + "\r\n";
        Received::check(Message::parse(text.as_bytes()).expect("parses")).expect("checks")
    }

    fn invite() -> Received {
        message(
            "INVITE sip:1001@127.0.0.2 SIP/2.0\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKa\n\
             From: <sip:a@h>;tag=f\nTo: <sip:1001@h>\nCall-ID: c\nCSeq: 8 INVITE\n\
             Contact: <sip:node@127.0.0.1:5070>\n\
             Record-Route: <sip:127.0.0.5;lr>, <sip:127.0.0.6:5080;lr>\n",
        )
    }

    fn flow() -> Flow {
        let remote = "127.0.0.1:5060".parse().expect("address");
        Flow { endpoint: EndpointId(0), transport: Transport::Udp, remote }
    }

    // Goal: the callee's requests go through the routes in order to the Contact, CSeq counts up, and
    // a refreshed target is followed while the routes stay.
    #[test]
    fn requests_of_the_callee() {
        let mut dialog = Dialog::of_request(&invite(), "mine", flow()).expect("dialog");
        assert_eq!(dialog.next_hop(), "sip:127.0.0.5;lr");
        let bye = dialog.request(Method::Bye, None);
        assert_eq!(bye.header("CSeq"), Some("1 BYE"));
        assert_eq!(bye.header("From"), Some("<sip:1001@h>;tag=mine"));
        assert_eq!(bye.header("To"), Some("<sip:a@h>;tag=f"));
        let routes: Vec<_> = bye.lines("Route").collect();
        assert_eq!(routes, ["<sip:127.0.0.5;lr>", "<sip:127.0.0.6:5080;lr>"]);

        let mut refresh = invite();
        refresh.message = Message::request(Method::Invite, "sip:x@h")
            .with("Contact", "\"B\" <sip:taker@127.0.0.9:5090>;x=1");
        dialog.refresh_target(&refresh.message);
        assert_eq!(dialog.remote_target, "sip:taker@127.0.0.9:5090");
        assert_eq!(dialog.next_hop(), "sip:127.0.0.5;lr");
        assert_eq!(dialog.request(Method::Bye, None).header("CSeq"), Some("2 BYE"));
    }

    // Goal: the caller's routes are reversed, and its ACK repeats the INVITE's number.
    #[test]
    fn requests_of_the_caller() {
        let response = message(
            "SIP/2.0 200 OK\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKa\nFrom: <sip:a@h>;tag=f\n\
             To: <sip:1001@h>;tag=t\nCall-ID: c\nCSeq: 8 INVITE\nContact: <sip:n@127.0.0.1:5070>\n\
             Record-Route: <sip:127.0.0.5;lr>, <sip:127.0.0.6;lr>\n",
        );
        let mut dialog = Dialog::of_response(&response, flow()).expect("dialog");
        assert_eq!(dialog.next_hop(), "sip:127.0.0.6;lr");
        assert_eq!(dialog.request(Method::Ack, Some(8)).header("CSeq"), Some("8 ACK"));
        assert_eq!(dialog.request(Method::Bye, None).header("CSeq"), Some("9 BYE"));
    }

    // Goal: a strict router gets the request in its URI, and the target moves to the end.
    #[test]
    fn strict_routing() {
        let mut request = invite();
        let text = "<sip:127.0.0.5>";
        request.message = Message::request(Method::Invite, "sip:x@h")
            .with("From", "<sip:a@h>;tag=f")
            .with("To", "<sip:b@h>")
            .with("Contact", "<sip:n@127.0.0.1:5070>")
            .with("Record-Route", text);
        let mut dialog = Dialog::of_request(&request, "mine", flow()).expect("dialog");
        let bye = dialog.request(Method::Bye, None);
        assert!(String::from_utf8_lossy(&bye.to_bytes()).starts_with("BYE sip:127.0.0.5 SIP/2.0"));
        assert_eq!(bye.header("Route"), Some("<sip:n@127.0.0.1:5070>"));
    }

    // Goal: a dialog is known by Call-ID and both tags only.
    #[test]
    fn ownership() {
        let dialog = Dialog::of_request(&invite(), "mine", flow()).expect("dialog");
        let base = "BYE sip:x@127.0.0.2 SIP/2.0\nVia: SIP/2.0/UDP 127.9.9.9;branch=z9hG4bKb\n\
                    From: <sip:other@h>;tag=f\nTo: <sip:y@h>;tag=mine\nCall-ID: c\nCSeq: 9 BYE\n";
        assert!(dialog.owns(&message(base)));
        for (from, to) in
            [("tag=f", "tag=g"), ("tag=mine", "tag=other"), ("Call-ID: c", "Call-ID: d")]
        {
            assert!(!dialog.owns(&message(&base.replace(from, to))), "{to}");
        }
    }

    // Goal: a URI names its flow: default port, transport parameter; a name gives none.
    #[test]
    fn flows_of_uris() {
        let to = |uri| flow_to(uri, EndpointId(0)).map(|f| (f.transport, f.remote.to_string()));
        assert_eq!(to("sip:a@127.0.0.1"), Some((Transport::Udp, "127.0.0.1:5060".into())));
        assert_eq!(
            to("sip:127.0.0.1:9;transport=TCP"),
            Some((Transport::Tcp, "127.0.0.1:9".into()))
        );
        assert_eq!(to("sip:a@node.example"), None);
        assert_eq!(to("tel:+1"), None);
    }
}
