//! REGISTER: digest, refresh, and the way to the next registrar when one fails (RFC 3261 10).

use std::convert::Infallible;
use std::net::SocketAddr;

use tokio::sync::oneshot;

use super::config::{KeepAlive, Server};
use super::phones::PhoneState;
use super::{ALLOW, Core, PhoneId, PhoneTimer, Timer, TxUser};
use crate::dice::Dice;
use crate::event::EventKind;
use crate::io::{Flow, Transport};
use crate::limits::CHALLENGES_MAX;
use crate::sip::{Challenge, DigestUse, Host, Message, Method, NameAddr, Received, SipUri};
use crate::time::TimerId;
use crate::transaction::Outgoing;

/// Where a registration stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RegistrationPhase {
    /// Nothing is under way.
    Idle,
    /// A REGISTER is on its way.
    Asking,
    /// A registrar accepted.
    Registered,
    /// A REGISTER with lifetime 0 is on its way.
    Leaving,
}

/// One phone's registration.
pub(crate) struct Registration {
    pub(crate) phase: RegistrationPhase,
    /// Index of the registrar that is used or tried.
    at: usize,
    /// How many failed in a row.
    failed: usize,
    call_id: String,
    tag: String,
    cseq: u32,
    /// Branch of the REGISTER that counts; answers to others are late.
    branch: String,
    auth: Option<DigestUse>,
    /// `Authorization` or `Proxy-Authorization`.
    auth_header: &'static str,
    challenges: u32,
    /// Lifetime to ask for, s; a 423 raises it.
    expires_s: Option<u32>,
    timer: Option<TimerId>,
    keep_alive: Option<TimerId>,
    left: Vec<oneshot::Sender<Infallible>>,
}

impl Registration {
    pub(crate) fn new(dice: &mut Dice) -> Self {
        Self {
            phase: RegistrationPhase::Idle,
            at: 0,
            failed: 0,
            call_id: format!("{}{}", dice.token(), dice.token()),
            tag: dice.token(),
            cseq: 0,
            branch: String::new(),
            auth: None,
            auth_header: "Authorization",
            challenges: 0,
            expires_s: None,
            timer: None,
            keep_alive: None,
            left: Vec::new(),
        }
    }
}

impl Core {
    pub(crate) fn start_registering(&mut self, id: PhoneId) {
        if self.phones.get(&id).is_some_and(|phone| !phone.config.registrars.is_empty()) {
            self.send_register(id);
        }
    }

    /// Forgets the registration without a word to the registrar.
    pub(crate) fn stop_registering(&mut self, id: PhoneId) {
        let Some(phone) = self.phones.get_mut(&id) else { return };
        let registration = &mut phone.registration;
        let timers = [registration.timer.take(), registration.keep_alive.take()];
        registration.phase = RegistrationPhase::Idle;
        let branch = std::mem::take(&mut registration.branch);
        phone.view.send_modify(|view| view.registered_at = None);
        // Whoever waits for the leave wakes by this: everything else must be done.
        phone.registration.left.clear();
        timers.into_iter().flatten().for_each(|timer| self.timers.cancel(timer));
        self.transactions.forget_client(&branch, Method::Register);
    }

    /// Removes the binding; `left` is dropped when the registrar said so, or did not answer.
    pub(crate) fn unregister(&mut self, id: PhoneId, left: oneshot::Sender<Infallible>) {
        let Some(phone) = self.phones.get_mut(&id) else { return };
        // A refresh may be under way: the binding stands all the same.
        if phone.view.borrow().registered_at.is_none() {
            return self.stop_registering(id);
        }
        let registration = &mut phone.registration;
        registration.left.push(left);
        registration.phase = RegistrationPhase::Leaving;
        let timers = [registration.timer.take(), registration.keep_alive.take()];
        timers.into_iter().flatten().for_each(|timer| self.timers.cancel(timer));
        self.send_register(id);
    }

    fn registrar_of(phone: &PhoneState) -> Option<Server> {
        phone.config.registrars.get(phone.registration.at).copied()
    }

    fn send_register(&mut self, id: PhoneId) {
        let cnonce = self.dice.token();
        let Some((endpoint, server)) =
            self.phones.get(&id).and_then(|p| Some((p.endpoint, Self::registrar_of(p)?)))
        else {
            return;
        };
        let flow = Flow { endpoint, transport: server.transport, remote: server.address };
        let via = self.new_via(flow);
        let Some(address) = self.endpoints.get(&endpoint).map(|known| known.address) else {
            return;
        };
        let Some(phone) = self.phones.get_mut(&id) else { return };
        let message = register_of(phone, server, via, address, &cnonce);
        let give_up_ms = phone.config.failover_after_ms;
        if phone.registration.phase != RegistrationPhase::Leaving {
            phone.registration.phase = RegistrationPhase::Asking;
        }
        let before = std::mem::take(&mut phone.registration.branch);
        self.transactions.forget_client(&before, Method::Register);
        let branch = self.start(Outgoing { message, flow }, TxUser::Register(id), give_up_ms);
        if let Some(phone) = self.phones.get_mut(&id) {
            phone.registration.branch = branch;
        }
    }

    pub(crate) fn on_register_response(&mut self, id: PhoneId, response: &Received) {
        let code = response.message.code().unwrap_or_default();
        let Some(phone) = self.phones.get_mut(&id) else { return };
        match code {
            100..=199 => {}
            200..=299 if phone.registration.phase == RegistrationPhase::Leaving => {
                self.on_unregistered(id);
            }
            200..=299 => self.on_registered(id, response),
            401 | 407 => {
                if !self.answer_register_challenge(id, response, code) {
                    self.on_registrar_lost(id, "credentials");
                }
            }
            423 => self.on_interval_too_brief(id, response),
            _ => self.on_registrar_lost(id, &code.to_string()),
        }
    }

    fn on_registered(&mut self, id: PhoneId, response: &Received) {
        let now = self.now;
        let Some(phone) = self.phones.get_mut(&id) else { return };
        let Some(address) = self.endpoints.get(&phone.endpoint).map(|known| known.address) else {
            return;
        };
        let Some(server) = Self::registrar_of(phone) else { return };
        let asked_s = phone.registration.expires_s.unwrap_or(phone.config.expires_s);
        let granted_s = granted_s(&response.message, &phone.contact(address), asked_s);
        phone.registration.phase = RegistrationPhase::Registered;
        phone.registration.failed = 0;
        phone.registration.challenges = 0;
        let refresh_ms = u64::from(granted_s) * 10 * u64::from(phone.config.refresh_percent);
        let timer = Timer::Phone(id, PhoneTimer::Register);
        let refresh = self.timers.set(now.plus_ms(refresh_ms.max(100)), timer);
        if let Some(before) = phone.registration.timer.replace(refresh) {
            self.timers.cancel(before);
        }
        phone.view.send_modify(|view| {
            view.registered_at = Some(server.address);
            view.registrations += 1;
        });
        let label = phone.config.label.clone();
        self.set_keep_alive(id);
        let kind = EventKind::Registered { at: server.address, expires_s: granted_s };
        self.tell(label, None, kind);
    }

    fn on_unregistered(&mut self, id: PhoneId) {
        let Some(phone) = self.phones.get(&id) else { return };
        let server = Self::registrar_of(phone).map(|server| server.address);
        let label = phone.config.label.clone();
        self.stop_registering(id);
        if let Some(at) = server {
            self.tell(label, None, EventKind::Unregistered { at });
        }
    }

    /// Asks again with credentials. False when the credentials are wrong, or no challenge fits.
    fn answer_register_challenge(&mut self, id: PhoneId, response: &Received, code: u16) -> bool {
        let Some(phone) = self.phones.get_mut(&id) else { return false };
        let Some(credentials) = &phone.config.credentials else { return false };
        let (header, answer_header) = match code {
            401 => ("WWW-Authenticate", "Authorization"),
            _ => ("Proxy-Authenticate", "Proxy-Authorization"),
        };
        let chosen = Challenge::choose(response.message.lines(header), credentials.algorithm);
        let Ok(challenge) = chosen else { return false };
        let registration = &mut phone.registration;
        registration.auth_header = answer_header;
        registration.challenges += 1;
        // A stale nonce says nothing about the password: twice as many are taken.
        let challenges_max = if challenge.stale { 2 * CHALLENGES_MAX } else { CHALLENGES_MAX };
        let had_same_nonce = registration
            .auth
            .as_ref()
            .is_some_and(|auth| auth.challenge().nonce == challenge.nonce);
        if registration.challenges >= challenges_max || had_same_nonce {
            registration.auth = None;
            return false;
        }
        registration.auth = Some(DigestUse::new(challenge));
        self.send_register(id);
        true
    }

    /// 423: ask for the lifetime that the registrar wants at least (RFC 3261 10.2.8).
    fn on_interval_too_brief(&mut self, id: PhoneId, response: &Received) {
        let Some(phone) = self.phones.get_mut(&id) else { return };
        let wanted: Option<u32> =
            response.message.header("Min-Expires").and_then(|text| text.parse().ok());
        let asked = phone.registration.expires_s.unwrap_or(phone.config.expires_s);
        match wanted.filter(|wanted| *wanted > asked) {
            Some(wanted) => {
                phone.registration.expires_s = Some(wanted);
                self.send_register(id);
            }
            None => self.on_registrar_lost(id, "423"),
        }
    }

    /// A registrar failed: the next one, and after the whole list a pause.
    pub(crate) fn on_registrar_lost(&mut self, id: PhoneId, reason: &str) {
        let Some(phone) = self.phones.get_mut(&id) else { return };
        if phone.registration.phase == RegistrationPhase::Leaving {
            return self.stop_registering(id);
        }
        if phone.registration.phase == RegistrationPhase::Idle {
            return;
        }
        let Some(at) = Self::registrar_of(phone).map(|server| server.address) else { return };
        let count = phone.config.registrars.len();
        let registration = &mut phone.registration;
        registration.at = (registration.at + 1) % count;
        registration.failed += 1;
        registration.auth = None;
        registration.challenges = 0;
        registration.expires_s = None;
        registration.phase = RegistrationPhase::Idle;
        let timers = [registration.timer.take(), registration.keep_alive.take()];
        let has_another = registration.failed % count != 0;
        phone.view.send_modify(|view| {
            view.registered_at = None;
            view.failures += 1;
        });
        let (label, retry_ms) = (phone.config.label.clone(), phone.config.retry_after_ms);
        timers.into_iter().flatten().for_each(|timer| self.timers.cancel(timer));
        self.tell(label, None, EventKind::RegisterFailed { at, reason: reason.to_owned() });
        if has_another {
            return self.send_register(id);
        }
        let at = self.now.plus_ms(retry_ms.max(100));
        let timer = self.timers.set(at, Timer::Phone(id, PhoneTimer::Register));
        if let Some(phone) = self.phones.get_mut(&id) {
            phone.registration.timer = Some(timer);
        }
    }

    pub(crate) fn on_phone_timer(&mut self, id: PhoneId, timer: PhoneTimer) {
        if self.phones.get(&id).is_none_or(|phone| !phone.is_on()) {
            return;
        }
        match timer {
            PhoneTimer::Register => self.send_register(id),
            PhoneTimer::KeepAlive => self.send_keep_alive(id),
        }
    }

    fn set_keep_alive(&mut self, id: PhoneId) {
        let Some(phone) = self.phones.get_mut(&id) else { return };
        let every_ms = match phone.config.keep_alive {
            KeepAlive::Off => return,
            KeepAlive::Crlf { every_ms } | KeepAlive::Options { every_ms } => every_ms.max(100),
        };
        let at = self.now.plus_ms(every_ms);
        let timer = self.timers.set(at, Timer::Phone(id, PhoneTimer::KeepAlive));
        if let Some(before) = phone.registration.keep_alive.replace(timer) {
            self.timers.cancel(before);
        }
    }

    fn send_keep_alive(&mut self, id: PhoneId) {
        let Some(phone) = self.phones.get(&id) else { return };
        let Some(server) = Self::registrar_of(phone) else { return };
        let (endpoint, kind) = (phone.endpoint, phone.config.keep_alive);
        let (user, tag) = (phone.config.user.clone(), phone.registration.tag.clone());
        let flow = Flow { endpoint, transport: server.transport, remote: server.address };
        match kind {
            KeepAlive::Off => return,
            KeepAlive::Crlf { .. } => {
                self.transactions.send(flow, bytes::Bytes::from_static(b"\r\n\r\n"));
            }
            KeepAlive::Options { .. } => {
                let call_id = self.new_call_id();
                let uri = server_uri(None, server);
                let message = Message::request(Method::Options, uri.clone())
                    .with("Via", self.new_via(flow))
                    .with("Max-Forwards", "70")
                    .with("From", format!("<{}>;tag={tag}", server_uri(Some(&user), server)))
                    .with("To", format!("<{uri}>"))
                    .with("Call-ID", call_id)
                    .with("CSeq", "1 OPTIONS");
                let give_up_ms = self.phones.get(&id).and_then(|p| p.config.failover_after_ms);
                self.start(Outgoing { message, flow }, TxUser::KeepAlive(id), give_up_ms);
            }
        }
        self.set_keep_alive(id);
    }
}

fn server_uri(user: Option<&str>, server: Server) -> String {
    let uri = SipUri {
        secure: false,
        user: user.map(str::to_owned),
        host: Host::Ip(server.address.ip()),
        port: Some(server.address.port()).filter(|port| *port != 5060),
        params: Vec::new(),
        headers: None,
    };
    match server.transport {
        Transport::Udp => uri.to_string(),
        Transport::Tcp => uri.with_param("transport", Some("tcp")).to_string(),
    }
}

/// The REGISTER of a phone.
fn register_of(
    phone: &mut PhoneState,
    server: Server,
    via: String,
    address: SocketAddr,
    cnonce: &str,
) -> Message {
    let contact = phone.contact(address);
    let config = &phone.config;
    let registration = &mut phone.registration;
    registration.cseq += 1;
    let request_uri = match &config.domain {
        Some(domain) => format!("sip:{domain}"),
        None => server_uri(None, server),
    };
    let record = match &config.domain {
        Some(domain) => format!("sip:{}@{domain}", config.user),
        None => {
            let ip = Host::Ip(server.address.ip());
            format!("sip:{}@{ip}", config.user)
        }
    };
    let name = match &config.display_name {
        Some(name) => format!("\"{}\" ", name.replace('\\', "\\\\").replace('"', "\\\"")),
        None => String::new(),
    };
    let expires_s = match registration.phase {
        RegistrationPhase::Leaving => 0,
        _ => registration.expires_s.unwrap_or(config.expires_s),
    };
    let mut message = Message::request(Method::Register, request_uri.clone())
        .with("Via", via)
        .with("Max-Forwards", "70")
        .with("From", format!("{name}<{record}>;tag={}", registration.tag))
        .with("To", format!("{name}<{record}>"))
        .with("Call-ID", registration.call_id.clone())
        .with("CSeq", format!("{} REGISTER", registration.cseq))
        .with("Contact", contact)
        .with("Expires", expires_s.to_string())
        .with("Allow", ALLOW);
    if let (Some(auth), Some(credentials)) = (&mut registration.auth, &config.credentials) {
        let value = auth.authorize(credentials, &Method::Register, &request_uri, cnonce);
        message.push(registration.auth_header, value);
    }
    message
}

/// The lifetime that a 200 grants to this Contact (RFC 3261 10.2.4): its `expires` parameter, else
/// the Expires header, else what was asked.
fn granted_s(response: &Message, own_contact: &str, asked_s: u32) -> u32 {
    let own = NameAddr::parse(own_contact).ok();
    let own_at = own.as_ref().and_then(|contact| contact.uri.as_sip());
    let is_own = |contact: &NameAddr| {
        let there = contact.uri.as_sip();
        match (there, own_at) {
            (Some(there), Some(own)) => {
                there.user == own.user
                    && there.host == own.host
                    && there.port.unwrap_or(5060) == own.port.unwrap_or(5060)
            }
            _ => false,
        }
    };
    let contacts = response.values("Contact");
    let contact = contacts.iter().filter_map(|v| NameAddr::parse(v).ok()).find(is_own);
    let by_param =
        contact.and_then(|contact| contact.param("expires").and_then(|v| v.parse().ok()));
    let by_header = || response.header("Expires").and_then(|value| value.parse().ok());
    by_param.or_else(by_header).unwrap_or(asked_s).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: the granted lifetime is read from the right Contact, else from Expires, else as asked.
    #[test]
    fn granted_lifetime() {
        let own = "<sip:1001@127.0.0.2:5060>";
        let base = Message::request(Method::Register, "sip:h");
        let table = [
            (base.clone().with("Contact", "<sip:1001@127.0.0.2:5060>;expires=60"), 60),
            (
                base.clone()
                    .with(
                        "Contact",
                        "<sip:1001@127.0.0.9>;expires=9, <sip:1001@127.0.0.2:5060>;q=1;expires=61",
                    )
                    .with("Expires", "7"),
                61,
            ),
            (base.clone().with("Contact", own).with("Expires", "62"), 62),
            (base.clone().with("Contact", "<sip:1001@127.0.0.2>;expires=63"), 63),
            (base.clone().with("Contact", "<sip:other@127.0.0.2:5060>;expires=9"), 300),
            (base.clone(), 300),
            (base.with("Expires", "0"), 1),
        ];
        for (response, wanted) in table {
            assert_eq!(granted_s(&response, own, 300), wanted);
        }
    }
}
