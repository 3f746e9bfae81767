//! What a test or a demo says about its phones, callers and calls.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::io::Transport;
use crate::media::{SentAudio, SourceCheck};
use crate::sip::{Credentials, RtpCodec};

/// A SIP server's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// How to speak to it.
    pub transport: Transport,
}

impl Server {
    /// By UDP.
    #[must_use]
    pub const fn udp(address: SocketAddr) -> Self {
        Self { address, transport: Transport::Udp }
    }

    /// By TCP.
    #[must_use]
    pub const fn tcp(address: SocketAddr) -> Self {
        Self { address, transport: Transport::Tcp }
    }
}

/// What a phone does with an incoming call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerPolicy {
    /// Rings, then answers.
    Answer {
        /// Time from INVITE to 180, ms.
        ring_after_ms: u64,
        /// Time from INVITE to 200, ms; not less than `ring_after_ms` in effect.
        answer_after_ms: u64,
        /// What happens then.
        then: AfterAnswer,
    },
    /// Rings until a command answers or refuses, the caller cancels, or the phone's patience ends.
    Ring {
        /// Time from INVITE to 180, ms.
        ring_after_ms: u64,
        /// Time from INVITE to 480 (nobody there), ms.
        give_up_after_ms: u64,
    },
    /// Refuses.
    Reject {
        /// 300 to 699.
        code: u16,
        /// Reason phrase.
        phrase: String,
        /// Time from INVITE, ms.
        after_ms: u64,
    },
    /// Never says a word: a dead phone with a live registration.
    NeverRespond,
}

impl AnswerPolicy {
    /// Rings at once and answers after a time, then stays.
    #[must_use]
    pub const fn answer_after(answer_after_ms: u64) -> Self {
        Self::Answer { ring_after_ms: 0, answer_after_ms, then: AfterAnswer::Stay }
    }

    /// Rings at once, answers after a time, hangs up after a talk.
    #[must_use]
    pub const fn answer_and_hang_up(answer_after_ms: u64, talk_ms: u64) -> Self {
        let then = AfterAnswer::HangUpAfter { talk_ms };
        Self::Answer { ring_after_ms: 0, answer_after_ms, then }
    }

    /// Rings at once and is not answered (for three minutes).
    #[must_use]
    pub const fn ring() -> Self {
        Self::Ring { ring_after_ms: 0, give_up_after_ms: 180_000 }
    }

    /// 486.
    #[must_use]
    pub fn busy() -> Self {
        Self::Reject { code: 486, phrase: "Busy Here".to_owned(), after_ms: 0 }
    }

    /// 603.
    #[must_use]
    pub fn decline() -> Self {
        Self::Reject { code: 603, phrase: "Decline".to_owned(), after_ms: 0 }
    }
}

/// What a phone does after its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterAnswer {
    /// Talks until told otherwise.
    Stay,
    /// Hangs up.
    HangUpAfter {
        /// Time from the answer, ms.
        talk_ms: u64,
    },
}

/// What a phone sends between registrations to keep the path open, and to notice a dead registrar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeepAlive {
    /// Nothing.
    #[default]
    Off,
    /// Two CRLFs (RFC 5626 3.5.1).
    Crlf {
        /// Interval, ms.
        every_ms: u64,
    },
    /// OPTIONS; without an answer the phone goes to its next registrar.
    Options {
        /// Interval, ms.
        every_ms: u64,
    },
}

/// Audio settings of a phone or caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioConfig {
    /// What is sent.
    pub sent: SentAudio,
    /// Codecs in order of liking.
    pub codecs: Vec<RtpCodec>,
    /// Which sources are heard.
    pub source_check: SourceCheck,
    /// Offer RTP and RTCP on one port (RFC 5761). Accepted in answers anyway.
    pub rtcp: RtcpOffer,
}

impl Default for AudioConfig {
    fn default() -> Self {
        Self {
            sent: SentAudio::Tagged,
            codecs: vec![RtpCodec::Pcmu, RtpCodec::Pcma],
            source_check: SourceCheck::SignalledOnly,
            rtcp: RtcpOffer::NextPort,
        }
    }
}

/// What an offer says about RTCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RtcpOffer {
    /// On the next port.
    #[default]
    NextPort,
    /// On the same port.
    Mux,
}

/// An agent's phone.
#[derive(Clone, PartialEq, Eq)]
pub struct PhoneConfig {
    /// Name in reports and events. No number.
    pub label: String,
    /// User part of its address of record and Contact.
    pub user: String,
    /// Display name in From.
    pub display_name: Option<String>,
    /// Digest credentials.
    pub credentials: Option<Credentials>,
    /// Registrars in order of liking: one for each site. Empty: the phone does not register, and
    /// whoever knows its address may call it.
    pub registrars: Vec<Server>,
    /// Host of the address of record; the first registrar's address when not given.
    pub domain: Option<String>,
    /// Local SIP address; port 0 takes any. Phones that name the same address share its socket.
    pub listen: SocketAddr,
    /// Also listen for TCP there, and say so in the Contact.
    pub transport: Transport,
    /// Asked lifetime of a registration, s.
    pub expires_s: u32,
    /// Refresh after this share of the granted lifetime, percent, 10 to 95.
    pub refresh_percent: u32,
    /// Give a registrar up after this time without an answer instead of 64*T1, ms.
    pub failover_after_ms: Option<u64>,
    /// After the whole list failed: wait this long, ms, and begin again.
    pub retry_after_ms: u64,
    /// Keep-alive.
    pub keep_alive: KeepAlive,
    /// What it does with calls; may be changed later.
    pub policy: AnswerPolicy,
    /// Calls at once; more get 486.
    pub lines: usize,
    /// Audio.
    pub audio: AudioConfig,
    /// Write what each call heard to this folder, one file a call, named by its call key.
    pub wav_folder: Option<PathBuf>,
}

impl PhoneConfig {
    /// A phone that answers after one second of ringing.
    #[must_use]
    pub fn new(label: &str, user: &str, listen: SocketAddr) -> Self {
        Self {
            label: label.to_owned(),
            user: user.to_owned(),
            display_name: None,
            credentials: None,
            registrars: Vec::new(),
            domain: None,
            listen,
            transport: Transport::Udp,
            expires_s: 300,
            refresh_percent: 70,
            failover_after_ms: None,
            retry_after_ms: 2_000,
            keep_alive: KeepAlive::Off,
            policy: AnswerPolicy::answer_after(1_000),
            lines: 2,
            audio: AudioConfig::default(),
            wav_folder: None,
        }
    }

    /// The same, registering there with a password.
    #[must_use]
    pub fn registering(mut self, password: &str, registrars: Vec<Server>) -> Self {
        self.credentials = Some(Credentials::new(&self.user, password));
        self.registrars = registrars;
        self
    }

    /// The same with another policy.
    #[must_use]
    pub fn with_policy(mut self, policy: AnswerPolicy) -> Self {
        self.policy = policy;
        self
    }
}

impl fmt::Debug for PhoneConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PhoneConfig")
            .field("label", &self.label)
            .field("user", &crate::sip::masked(&self.user))
            .field("registrars", &self.registrars)
            .field("listen", &self.listen)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// A carrier's trunk: places calls from one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerConfig {
    /// Name in reports and events; calls get `label#1`, `label#2` …
    pub label: String,
    /// Local SIP address; port 0 takes any. All calls of the trunk share its socket.
    pub listen: SocketAddr,
    /// Node addresses in the order in which the carrier tries them.
    pub nodes: Vec<Server>,
    /// Give a node up after this time without any response instead of 64*T1, ms.
    pub failover_after_ms: Option<u64>,
    /// Give a node up after this time with nothing but 100, ms (a carrier's post-dial timer).
    pub progress_after_ms: Option<u64>,
    /// Responses after which the next node is tried.
    pub failover_codes: Vec<u16>,
    /// Identity of the INVITE at the next node.
    pub failover_identity: FailoverIdentity,
    /// Digest credentials, for trunks that ask for them.
    pub credentials: Option<Credentials>,
    /// Audio.
    pub audio: AudioConfig,
}

impl CallerConfig {
    /// A trunk that tries these nodes in order.
    #[must_use]
    pub fn new(label: &str, listen: SocketAddr, nodes: Vec<Server>) -> Self {
        Self {
            label: label.to_owned(),
            listen,
            nodes,
            failover_after_ms: None,
            progress_after_ms: None,
            failover_codes: vec![408, 503],
            failover_identity: FailoverIdentity::SameCallId,
            credentials: None,
            audio: AudioConfig::default(),
        }
    }
}

/// Whether the INVITE to the next node is the same call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailoverIdentity {
    /// The same request in a new transaction (RFC 3263 4.3).
    #[default]
    SameCallId,
    /// A new call, as from a carrier's back-to-back user agent.
    NewCallId,
}

/// When a caller gives up waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Patience {
    /// Never.
    #[default]
    Endless,
    /// Unless a 200 came within this time.
    UntilAnswered {
        /// From the first INVITE, ms.
        ms: u64,
    },
    /// Unless an agent (tagged audio) was heard within this time, answered or not.
    UntilAgentHeard {
        /// From the first INVITE, ms.
        ms: u64,
    },
}

/// When a caller hangs up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HangUp {
    /// Only when told.
    #[default]
    WhenTold,
    /// After a time from the 200.
    AfterAnswer {
        /// ms.
        ms: u64,
    },
    /// After a time from the first tagged audio, which only agents send.
    AfterAgentHeard {
        /// ms.
        ms: u64,
    },
}

/// One call to be placed.
#[derive(Clone, PartialEq, Eq)]
pub struct CallPlan {
    /// Number dialled: user part of the Request-URI.
    pub number: String,
    /// Caller's number: user part of From.
    pub from_number: String,
    /// Caller's name.
    pub from_name: Option<String>,
    /// Nodes for this call instead of the trunk's list.
    pub nodes: Option<Vec<Server>>,
    /// When to give up.
    pub patience: Patience,
    /// When to hang up.
    pub hang_up: HangUp,
    /// More headers of the INVITE.
    pub headers: Vec<(String, String)>,
    /// Send other audio than the trunk's.
    pub sent: Option<SentAudio>,
    /// Write what was heard to this file.
    pub wav: Option<PathBuf>,
}

impl CallPlan {
    /// A patient caller.
    #[must_use]
    pub fn to(number: &str) -> Self {
        Self {
            number: number.to_owned(),
            from_number: "anonymous".to_owned(),
            from_name: None,
            nodes: None,
            patience: Patience::Endless,
            hang_up: HangUp::WhenTold,
            headers: Vec::new(),
            sent: None,
            wav: None,
        }
    }

    /// The same from a number.
    #[must_use]
    pub fn from(mut self, number: &str) -> Self {
        self.from_number = number.to_owned();
        self
    }

    /// The same with another end.
    #[must_use]
    pub const fn hanging_up(mut self, when: HangUp) -> Self {
        self.hang_up = when;
        self
    }

    /// The same with another patience.
    #[must_use]
    pub const fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }
}

impl fmt::Debug for CallPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallPlan")
            .field("number", &crate::sip::masked(&self.number))
            .field("from_number", &crate::sip::masked(&self.from_number))
            .field("patience", &self.patience)
            .field("hang_up", &self.hang_up)
            .finish_non_exhaustive()
    }
}

/// What a policy function knows of an incoming call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IncomingCall {
    /// How many calls came to this phone before.
    pub calls_before: u64,
    /// How many calls it has now.
    pub calls_now: usize,
    /// Where the INVITE came from.
    pub from: SocketAddr,
}

/// How a caller or phone disappears from a call without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vanish {
    /// Answers nothing any more: its line is cut.
    Silently,
    /// Hung up while nobody was there to hear it: answers 481 to everything about this call.
    Answering481,
}
