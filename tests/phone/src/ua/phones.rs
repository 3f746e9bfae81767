//! Phones and callers as the core keeps them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use super::config::{AnswerPolicy, CallerConfig, IncomingCall, PhoneConfig};
use super::leg::LegView;
use super::registration::Registration;
use super::{CallerId, Core, LegId, PhoneId};
use crate::error::PhoneError;
use crate::io::{EndpointId, Transport};
use crate::limits::{CALLERS_MAX, NODES_MAX, PHONES_MAX, REGISTRARS_MAX};
use crate::report::EndCause;
use crate::sip::{Host, SipUri};

/// Decides for each call anew.
pub(crate) type PolicyFn = Arc<dyn Fn(IncomingCall) -> AnswerPolicy + Send + Sync>;

/// What a handle sees of a phone without asking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PhoneView {
    /// Where it is registered.
    pub(crate) registered_at: Option<SocketAddr>,
    /// Successful registrations and refreshes.
    pub(crate) registrations: u64,
    /// Registrars that failed.
    pub(crate) failures: u64,
}

/// Whether a phone has power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Power {
    On,
    Off,
}

/// One phone.
pub(crate) struct PhoneState {
    pub(crate) id: PhoneId,
    pub(crate) config: PhoneConfig,
    pub(crate) endpoint: EndpointId,
    pub(crate) power: Power,
    pub(crate) policy: PolicyFn,
    pub(crate) registration: Registration,
    pub(crate) legs: Vec<LegId>,
    pub(crate) calls_total: u64,
    pub(crate) ignored_invites: u64,
    pub(crate) legs_peak: usize,
    /// Calls that came, for who waits for them.
    pub(crate) calls: VecDeque<(LegId, watch::Receiver<LegView>)>,
    /// How many calls fell off that list.
    pub(crate) calls_forgotten: u64,
    pub(crate) calls_seen: watch::Sender<u64>,
    pub(crate) view: watch::Sender<PhoneView>,
}

impl PhoneState {
    pub(crate) fn is_on(&self) -> bool {
        self.power == Power::On
    }

    /// The value of its Contact header.
    pub(crate) fn contact(&self, address: SocketAddr) -> String {
        contact_of(&self.config.user, address, self.config.transport)
    }
}

/// One trunk.
pub(crate) struct CallerState {
    pub(crate) config: CallerConfig,
    pub(crate) endpoint: EndpointId,
    pub(crate) calls_total: u64,
}

impl Core {
    /// A new phone; it begins to register at once.
    ///
    /// # Errors
    /// A setting that makes no sense, or a limit.
    pub(crate) fn add_phone(
        &mut self,
        config: PhoneConfig,
        endpoint: EndpointId,
    ) -> Result<PhoneId, PhoneError> {
        check_phone(&config)?;
        if self.phones.len() >= PHONES_MAX {
            return Err(PhoneError::Limit { what: "phones", limit: PHONES_MAX });
        }
        let user_key = (endpoint, config.user.clone());
        if self.by_user.contains_key(&user_key) {
            return Err(PhoneError::Setting {
                what: "PhoneConfig::user",
                why: "two phones on one SIP address need different user parts",
            });
        }
        self.phone_serial += 1;
        let id = PhoneId(self.phone_serial);
        let policy = config.policy.clone();
        let registration = Registration::new(&mut self.dice);
        let phone = PhoneState {
            id,
            config,
            endpoint,
            power: Power::On,
            policy: Arc::new(move |_| policy.clone()),
            registration,
            legs: Vec::new(),
            calls_total: 0,
            ignored_invites: 0,
            legs_peak: 0,
            calls: VecDeque::new(),
            calls_forgotten: 0,
            calls_seen: watch::channel(0).0,
            view: watch::channel(PhoneView::default()).0,
        };
        self.phones.insert(id, phone);
        self.by_user.insert(user_key, id);
        self.start_registering(id);
        Ok(id)
    }

    /// A new trunk.
    ///
    /// # Errors
    /// A setting that makes no sense, or a limit.
    pub(crate) fn add_caller(
        &mut self,
        config: CallerConfig,
        endpoint: EndpointId,
    ) -> Result<CallerId, PhoneError> {
        if config.nodes.len() > NODES_MAX {
            return Err(PhoneError::Limit { what: "nodes of a caller", limit: NODES_MAX });
        }
        if config.audio.codecs.is_empty() {
            return Err(NO_CODEC);
        }
        if self.callers.len() >= CALLERS_MAX {
            return Err(PhoneError::Limit { what: "callers", limit: CALLERS_MAX });
        }
        let id = CallerId(self.callers.len() as u32);
        self.callers.insert(id, CallerState { config, endpoint, calls_total: 0 });
        Ok(id)
    }

    /// Takes a phone out of the world; returns its SIP socket when nobody else uses that.
    pub(crate) fn remove_phone(&mut self, id: PhoneId) -> Option<EndpointId> {
        self.power_off(id);
        let phone = self.phones.remove(&id)?;
        let endpoint = phone.endpoint;
        self.by_user.remove(&(endpoint, phone.config.user));
        let is_used = self.phones.values().any(|other| other.endpoint == endpoint)
            || self.callers.values().any(|caller| caller.endpoint == endpoint);
        if is_used {
            return None;
        }
        self.endpoints.remove(&endpoint);
        Some(endpoint)
    }

    /// Cuts a phone's power: its calls fall silent, nothing is said to anybody, nothing is heard.
    pub(crate) fn power_off(&mut self, id: PhoneId) {
        let Some(phone) = self.phones.get_mut(&id) else { return };
        phone.power = Power::Off;
        let legs = phone.legs.clone();
        self.stop_registering(id);
        for leg in legs {
            self.cut_line(leg);
        }
    }

    /// Gives a phone power again: it registers anew, and knows nothing of its old calls.
    pub(crate) fn power_on(&mut self, id: PhoneId) {
        let Some(phone) = self.phones.get_mut(&id) else { return };
        if phone.power == Power::Off {
            phone.power = Power::On;
            phone.registration = Registration::new(&mut self.dice);
            self.start_registering(id);
        }
    }

    /// Ends a leg as if its wire were cut.
    pub(crate) fn cut_line(&mut self, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let local_tag = leg.local_tag.clone();
        if let Some(sent) = leg.sent.take() {
            self.transactions.forget_client(&sent.branch, crate::sip::Method::Invite);
        }
        self.deafen(local_tag);
        self.finish(id, EndCause::Vanished);
    }
}

const NO_CODEC: PhoneError =
    PhoneError::Setting { what: "AudioConfig::codecs", why: "name at least one of PCMU and PCMA" };

fn check_phone(config: &PhoneConfig) -> Result<(), PhoneError> {
    let is_user = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/%".contains(&byte);
    let setting = |what, why| Err(PhoneError::Setting { what, why });
    if config.user.is_empty() || !config.user.bytes().all(is_user) {
        return setting("PhoneConfig::user", "must be a SIP user part (escape other characters)");
    }
    if !(10..=95).contains(&config.refresh_percent) {
        return setting("PhoneConfig::refresh_percent", "must be 10 to 95");
    }
    if config.registrars.len() > REGISTRARS_MAX {
        return Err(PhoneError::Limit { what: "registrars of a phone", limit: REGISTRARS_MAX });
    }
    if config.audio.codecs.is_empty() {
        return Err(NO_CODEC);
    }
    if !config.registrars.is_empty() && config.expires_s == 0 {
        return setting("PhoneConfig::expires_s", "must be at least 1");
    }
    Ok(())
}

/// A Contact by which this address can be reached.
pub(crate) fn contact_of(user: &str, address: SocketAddr, transport: Transport) -> String {
    let uri = SipUri {
        secure: false,
        user: Some(user.to_owned()),
        host: Host::Ip(address.ip()),
        port: Some(address.port()),
        params: Vec::new(),
        headers: None,
    };
    match transport {
        Transport::Udp => format!("<{uri}>"),
        Transport::Tcp => format!("<{}>", uri.with_param("transport", Some("tcp"))),
    }
}
