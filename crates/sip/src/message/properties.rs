//! Properties of whole messages: what is built, whatever its parts, is written and read back the same.

use super::{
    CallId, DisplayName, Header, HeaderName, Message, Method, NameAddr, Reason, Request, Response,
    StatusCode, Uri, Via, escape_user, parse_datagram,
};
use crate::prng::Prng;
use crate::text::SipText;
use bytes::Bytes;
use proptest::prelude::*;

/// Text that can stand in a header: no line breaks, no blanks around it.
fn header_text() -> impl Strategy<Value = SipText> {
    "\\PC{0,60}".prop_map(|text| {
        SipText::copy_of(text.replace(['\r', '\n'], "").trim_matches([' ', '\t'])).unwrap()
    })
}

fn token() -> impl Strategy<Value = SipText> {
    "[A-Za-z0-9.!%*_+`'~-]{1,20}".prop_map(|text| SipText::copy_of(&text).unwrap())
}

fn uri() -> impl Strategy<Value = Uri> {
    (
        prop::collection::vec(any::<u8>(), 1..20),
        "[a-z][a-z0-9-]{0,8}",
        prop::option::of(1..u16::MAX),
    )
        .prop_map(|(user, host, port)| {
            let port = port.map_or(String::new(), |p| format!(":{p}"));
            Uri::parse(&format!("sip:{}@{host}.example{port};lr", escape_user(&user))).unwrap()
        })
}

fn address() -> impl Strategy<Value = NameAddr> {
    (prop::option::of("\\PC{0,30}"), uri(), token()).prop_map(|(name, uri, tag)| {
        let mut address = NameAddr::from_uri(uri);
        address.display = name.as_deref().map(DisplayName::new);
        address.set_tag(tag);
        address
    })
}

fn header() -> impl Strategy<Value = Header> {
    let name = prop_oneof![
        Just(HeaderName::Subject),
        Just(HeaderName::Contact),
        Just(HeaderName::Route),
        token().prop_map(|name| HeaderName::recognise(
            SipText::copy_of(&format!("X-{}", name.to_str().unwrap())).unwrap()
        )),
    ];
    (name, header_text()).prop_map(|(name, value)| Header { name, value })
}

prop_compose! {
    fn request()(
        method in prop_oneof![Just(Method::Invite), Just(Method::Bye), token().prop_map(Method::recognise)],
        uri in uri(),
        from in address(),
        to in address(),
        call_id in token(),
        cseq in 0..=crate::limits::CSEQ_MAX,
        headers in prop::collection::vec(header(), 0..12),
        body in prop::collection::vec(any::<u8>(), 0..200),
        seed in any::<u64>(),
    ) -> Request {
        let mut request = Request::new(method, uri, from, to, CallId::parse(&call_id).unwrap(), cseq);
        let branch = crate::transaction::fresh_branch(&mut Prng::from_number(seed));
        let host = super::Host::parse("node.example").unwrap();
        request.vias.push(Via::new(SipText::from_static("UDP"), host, Some(5060), branch));
        for header in headers {
            request.headers.push(header.name, header.value);
        }
        request.body = Bytes::from(body);
        request
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    // Goal: any request that can be built comes back from its bytes unchanged.
    #[test]
    fn requests_round_trip(request in request()) {
        let message = Message::Request(Box::new(request));
        let read = parse_datagram(message.to_bytes());
        prop_assert_eq!(read.as_ref(), Ok(&message));
    }

    // Goal: any response to it comes back unchanged, with the request's Via, From, Call-ID and CSeq.
    #[test]
    fn responses_round_trip(request in request(), code in 100_u16..700, tag in token()) {
        let response = Response::to_request(&request, StatusCode::new(code).unwrap(), &tag);
        prop_assert_eq!(&response.vias, &request.vias);
        prop_assert_eq!(&response.from, &request.from);
        let message = Message::Response(Box::new(response));
        let read = parse_datagram(message.to_bytes());
        prop_assert_eq!(read.as_ref(), Ok(&message));
    }

    // Goal: the skeleton of a request comes back from its bytes, and again gives itself.
    #[test]
    fn skeletons_round_trip(request in request()) {
        let skeleton = request.skeleton();
        let read = parse_datagram(skeleton.to_bytes());
        prop_assert_eq!(read, Ok(Message::Request(Box::new(skeleton.clone()))));
        prop_assert_eq!(skeleton.skeleton(), skeleton);
    }

    // Goal: no display name or reason text can break out of its quotes.
    #[test]
    fn free_text_stays_inside(name in any::<String>(), text in any::<String>()) {
        let mut address = NameAddr::from_uri(Uri::parse("sip:a@h").unwrap());
        address.display = Some(DisplayName::new(&name));
        let mut out = Vec::new();
        address.write_to(&mut out);
        let written = SipText::new(out);
        prop_assert!(written.is_ok(), "no line break gets in");
        let read = NameAddr::parse(&written.unwrap());
        prop_assert_eq!(read.map(|a| a.uri), Ok(address.uri));
        let reason = Reason::sip(StatusCode::OK, &text);
        let again = Reason::parse(&reason.to_text());
        prop_assert_eq!(again.map(|r| (r.protocol, r.cause)), Ok((reason.protocol, reason.cause)));
    }
}
