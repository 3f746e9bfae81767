//! Where a request inside a dialog goes: Request-URI and Route from the remote target and the route set
//! (RFC 3261 section 12.2.1.1).

use crate::message::{HeaderName, Headers, NameAddr, SipUri, Uri};

/// Request-URI and Route values.
pub(super) struct RequestRoute {
    pub(super) uri: Uri,
    pub(super) routes: Vec<Uri>,
}

/// Loose routing (first route has `lr`): target in the Request-URI, the set in Route. Strict routing of
/// RFC 2543: the first route in the Request-URI, the rest and the target in Route.
pub(super) fn route(remote_target: &Uri, route_set: &[Uri]) -> RequestRoute {
    match route_set.split_first() {
        None => RequestRoute { uri: remote_target.clone(), routes: Vec::new() },
        Some((first, _)) if is_loose(first) => {
            RequestRoute { uri: remote_target.clone(), routes: route_set.to_vec() }
        }
        Some((first, rest)) => {
            let mut routes = rest.to_vec();
            routes.push(remote_target.clone());
            RequestRoute { uri: as_request_uri(first), routes }
        }
    }
}

/// Adds the Route headers of a route.
pub(super) fn push_routes(headers: &mut Headers, routes: Vec<Uri>) {
    for uri in routes {
        headers.push_address(HeaderName::Route, &NameAddr::from_uri(uri));
    }
}

fn is_loose(uri: &Uri) -> bool {
    uri.as_sip().is_some_and(SipUri::is_loose_router)
}

/// 12.2.1.1: parameters not allowed in a Request-URI are stripped: headers and the `method` parameter
/// (section 19.1.1, table 1).
fn as_request_uri(uri: &Uri) -> Uri {
    match uri {
        Uri::Sip(sip) => {
            let mut sip = sip.clone();
            sip.headers = None;
            sip.params.remove("method");
            Uri::Sip(sip)
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routed(set: &[&str]) -> (String, Vec<String>) {
        let target = Uri::parse("sip:bob@192.0.2.4").unwrap();
        let set: Vec<Uri> = set.iter().map(|u| Uri::parse(u).unwrap()).collect();
        let route = route(&target, &set);
        (route.uri.expose(), route.routes.iter().map(Uri::expose).collect())
    }

    // Goal: the three cases of section 12.2.1.1.
    #[test]
    fn request_uri_and_route() {
        assert_eq!(routed(&[]), ("sip:bob@192.0.2.4".into(), vec![]));
        assert_eq!(
            routed(&["sip:p1;lr", "sip:p2"]),
            ("sip:bob@192.0.2.4".into(), vec!["sip:p1;lr".into(), "sip:p2".into()])
        );
        assert_eq!(
            routed(&["sip:p1;method=INVITE?x=1", "sip:p2;lr"]),
            ("sip:p1".into(), vec!["sip:p2;lr".into(), "sip:bob@192.0.2.4".into()])
        );
    }
}
