//! The registrar for agents' phones (RFC 3261 section 10, digest by RFC 7616 and 8760).
//!
//! Nonces are stateless under a key that all nodes share, so that a phone may answer a challenge at
//! another node. A binding is replicated when it changes, and again after half of its replicated
//! lifetime; refreshes in between cost the log nothing and need no quorum. The edge that a phone
//! registers through watches it, and takes the binding back when the refreshes stay away or its
//! connection closes, unless the phone has registered through another edge by then.
//!
//! Credentials are in `credential`, what a REGISTER changes in `plan`, the watched phones in `watch`.

mod credential;
mod plan;
mod watch;

use std::{collections::BTreeMap, time::Instant};

use tandem_cluster::{
    binding::Credential,
    command::{Command, Outcome, Rejection},
};
use tandem_routing::name::Name;
use tandem_sip::{
    auth::{
        ChallengeKind, CountVerdict, DigestServer, NoCredentials, NonceCounts, NonceKeys,
        Rejection as DigestRejection, Staleness, Verdict, WallSeconds,
    },
    message::{HeaderName, NameAddr, Request, SipUri, StatusCode},
    text::SipText,
    transaction::{ConnectionId, Flow, ServerTx},
};

use crate::{
    core::{Core, TicketUse},
    io::{AgentEntry, NoOutcome, Note, Now, Output, Ticket},
    limits::{NONCE_LIFE, NONCES_MAX, REGISTER_WITHIN, REGISTERS_OPEN_MAX},
    settings::Settings,
};
pub use credential::{credential_context, credential_secret};
use credential::{nonce_key, unseal};
use plan::{Plan, Refusal};
use watch::{Phone, Watch, Watched};

/// Registrations of one node.
#[derive(Debug)]
pub(crate) struct Registrar {
    digest: DigestServer,
    counts: NonceCounts,
    open: BTreeMap<u64, Open>,
    next: u64,
    watch: Watch,
    /// Phones whose registration is over, whose row is looked up.
    leaving: BTreeMap<Ticket, (Phone, Watched)>,
}

/// A REGISTER on its way.
#[derive(Debug)]
struct Open {
    server_tx: ServerTx,
    request: Request,
    source: Flow,
    /// The agent's name.
    user: Name,
    stage: OpenStage,
}

#[derive(Debug)]
enum OpenStage {
    /// The agent is looked up.
    LookingUp,
    /// The log is told; so many commands have not come back yet.
    Replicating { left: usize, plan: Plan, failed: Failed },
}

/// Whether a part of a REGISTER could not be replicated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failed {
    No,
    /// No quorum: later.
    Unavailable,
    /// An older REGISTER than the one in force (RFC 3261 section 10.3 step 7).
    Older,
}

impl Registrar {
    pub(crate) fn new(settings: &Settings) -> Self {
        let realm = SipText::copy_of(&settings.realm).unwrap_or_default();
        let keys = NonceKeys::new(nonce_key(&settings.cluster_key));
        Self {
            digest: DigestServer::new(
                realm,
                ChallengeKind::Www,
                &settings.digest,
                keys,
                NONCE_LIFE,
            ),
            counts: NonceCounts::new(NONCES_MAX),
            open: BTreeMap::new(),
            next: 1,
            watch: Watch::default(),
            leaving: BTreeMap::new(),
        }
    }

    /// When a phone's refresh is overdue.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.watch.next_due()
    }

    /// REGISTERs that are not answered yet.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    /// Phones that are watched.
    pub(crate) fn watched(&self) -> usize {
        self.watch.len()
    }

    /// A REGISTER came in.
    pub(crate) fn register(
        &mut self,
        core: &mut Core,
        now: Now,
        server_tx: ServerTx,
        request: Request,
        source: &Flow,
        to_tag: &SipText,
    ) {
        if self.open.len() >= REGISTERS_OPEN_MAX || core.life.is_none() {
            return core.answer_unavailable(now, server_tx);
        }
        if !core.understands(now, server_tx, &request, to_tag) {
            return;
        }
        let user = request.to.uri.as_sip().and_then(SipUri::user_decoded);
        let user = user.and_then(|user| String::from_utf8(user).ok());
        let Some(user) = user.and_then(|user| user.parse::<Name>().ok()) else {
            // The same answer as for a name that could exist but does not.
            return self.challenge(core, now, server_tx, Staleness::NotStale);
        };
        let number = self.next;
        self.next += 1;
        let (source, stage) = (*source, OpenStage::LookingUp);
        let open = Open { server_tx, request, source, user: user.clone(), stage };
        self.open.insert(number, open);
        let ticket = core.ticket(TicketUse::Register(number));
        core.output(Output::LookUp { ticket, user });
    }

    /// The agent that a REGISTER names was looked up.
    pub(crate) fn agent_found(
        &mut self,
        core: &mut Core,
        now: Now,
        number: u64,
        agent: Option<Box<AgentEntry>>,
    ) {
        let Some(open) = self.open.remove(&number) else { return };
        let credential = agent.as_ref().and_then(|agent| agent.credential.as_ref());
        if !self.authentic(core, now, &open, credential) {
            return;
        }
        // Authentic, so there is such an agent.
        let Some(agent) = agent else {
            return self.challenge(core, now, open.server_tx, Staleness::NotStale);
        };
        let server_tx = open.server_tx;
        match self.plan(core, now, &open, &agent) {
            // Known already: no entry is needed, and no quorum.
            Ok(plan) if plan.commands.is_empty() => self.welcome(core, now, server_tx, plan),
            Ok(mut plan) => {
                let commands = std::mem::take(&mut plan.commands);
                let (left, failed) = (commands.len(), Failed::No);
                let stage = OpenStage::Replicating { left, plan, failed };
                self.open.insert(number, Open { stage, ..open });
                for command in commands {
                    let ticket = core.ticket(TicketUse::Register(number));
                    core.output(Output::Propose { ticket, command, within: REGISTER_WITHIN });
                }
            }
            Err(refusal) => refuse(core, now, server_tx, refusal),
        }
    }

    /// Checks the credentials and answers where they do not do.
    fn authentic(
        &mut self,
        core: &mut Core,
        now: Now,
        open: &Open,
        credential: Option<&Credential>,
    ) -> bool {
        let server_tx = open.server_tx;
        let credentials = match self.digest.credentials(&open.request) {
            Ok(credentials) => credentials,
            Err(NoCredentials::Absent) => {
                self.challenge(core, now, server_tx, Staleness::NotStale);
                return false;
            }
            Err(NoCredentials::Unreadable(_) | NoCredentials::Several) => {
                refuse(core, now, server_tx, Refusal::Malformed);
                return false;
            }
        };
        let ha1 = credential.and_then(|credential| {
            let algorithm = credentials.algorithm?;
            unseal(&core.settings.cluster_key, &open.user, credential, algorithm)
        });
        match self.digest.verify(&open.request, &credentials, ha1.as_ref(), now.wall) {
            Verdict::Accepted { nonce, count } => match self.counts.check(nonce, count) {
                CountVerdict::Fresh => return true,
                CountVerdict::Replayed | CountVerdict::Forgotten => {
                    self.challenge(core, now, server_tx, Staleness::Stale);
                }
            },
            Verdict::Stale => self.challenge(core, now, server_tx, Staleness::Stale),
            // Made for another challenge than ours, perhaps under a key that is not in use any more:
            // a phone that is told 403 would give up.
            Verdict::Rejected(
                DigestRejection::ForeignNonce | DigestRejection::Algorithm | DigestRejection::Qop,
            ) => self.challenge(core, now, server_tx, Staleness::NotStale),
            Verdict::Rejected(DigestRejection::WrongResponse | DigestRejection::Uri) => {
                core.note(Note::RegisterRefused { status: 403 });
                core.answer(now, server_tx, StatusCode::FORBIDDEN);
            }
        }
        false
    }

    fn challenge(&self, core: &mut Core, now: Now, server_tx: ServerTx, staleness: Staleness) {
        if let Ok(mut response) = core.sip.response_for(server_tx, StatusCode::UNAUTHORIZED) {
            let mut prng = core.prng.fork();
            self.digest.challenge(&mut response.headers, now.wall, staleness, &mut prng);
            core.respond(now, server_tx, &response);
        }
    }

    /// A part of a REGISTER was replicated, or was not.
    pub(crate) fn replicated(
        &mut self,
        core: &mut Core,
        now: Now,
        number: u64,
        result: Result<Outcome, NoOutcome>,
    ) {
        let Some(open) = self.open.get_mut(&number) else { return };
        let OpenStage::Replicating { left, failed, .. } = &mut open.stage else { return };
        *left = left.saturating_sub(1);
        match result {
            Ok(Ok(_)) => {}
            Ok(Err(Rejection::BindingMustBeNewer)) => *failed = Failed::Older,
            Ok(Err(_)) | Err(_) => *failed = Failed::Unavailable,
        }
        if *left > 0 {
            return;
        }
        let Some(open) = self.open.remove(&number) else { return };
        let OpenStage::Replicating { plan, failed, .. } = open.stage else { return };
        match failed {
            Failed::No => self.welcome(core, now, open.server_tx, plan),
            Failed::Older => refuse(core, now, open.server_tx, Refusal::Older),
            // What was watched before still is: should nothing be heard, it is taken out.
            Failed::Unavailable => refuse(core, now, open.server_tx, Refusal::Full),
        }
    }

    /// The 200 with the bindings.
    fn welcome(&mut self, core: &mut Core, now: Now, server_tx: ServerTx, plan: Plan) {
        for phone in &plan.unwatch {
            self.watch.remove(phone);
        }
        for (phone, watched) in plan.watch {
            self.watch.add(phone, watched);
        }
        let Ok(mut response) = core.sip.response_for(server_tx, StatusCode::OK) else { return };
        for (mut contact, expires_s) in plan.granted {
            contact.params.set(SipText::from_static("expires"), Some(expires_s.into()));
            response.headers.push_address(HeaderName::Contact, &contact);
        }
        core.respond(now, server_tx, &response);
    }

    // --- phones that leave ---------------------------------------------------------------------------

    /// Phones that did not refresh in time are taken out.
    pub(crate) fn time_passed(&mut self, core: &mut Core, now: Now) {
        while let Some((phone, watched)) = self.watch.pop_due(now.instant) {
            self.take_out(core, phone, watched);
        }
        let oldest = now.wall.0.saturating_sub(NONCE_LIFE.as_secs());
        self.counts.expire(WallSeconds(oldest));
    }

    /// A phone's connection closed: it cannot be called any more until it registers anew.
    pub(crate) fn connection_closed(&mut self, core: &mut Core, connection: ConnectionId) {
        for phone in self.watch.behind(connection) {
            if let Some(watched) = self.watch.remove(&phone) {
                self.take_out(core, phone, watched);
            }
        }
    }

    /// Its row is looked up first: the phone may have registered through another edge since.
    fn take_out(&mut self, core: &mut Core, phone: Phone, watched: Watched) {
        let user = watched.user.clone();
        let ticket = core.ticket(TicketUse::Unwatch);
        self.leaving.insert(ticket, (phone, watched));
        core.output(Output::LookUp { ticket, user });
    }

    /// The agent of a phone that leaves was looked up.
    pub(crate) fn unwatched_found(
        &mut self,
        core: &mut Core,
        ticket: Ticket,
        agent: Option<&AgentEntry>,
    ) {
        let Some((phone, watched)) = self.leaving.remove(&ticket) else { return };
        let (Some(agent), Some(life)) = (agent, core.life) else { return };
        let (id, contact_uri) = &phone;
        let ours = agent
            .bindings
            .iter()
            .any(|row| row.target.contact_uri == *contact_uri && row.target.edge == life.owner);
        if agent.agent != *id || !ours || self.watch.get(&phone).is_some() {
            return;
        }
        let (agent, contact_uri) = phone;
        let command = Command::RemoveBinding { tenant: watched.tenant, agent, contact_uri };
        // Should this get lost, the replicated lifetime ends the binding.
        let ticket = core.ticket(TicketUse::Nothing);
        core.output(Output::Propose { ticket, command, within: REGISTER_WITHIN });
    }

    /// This life is over: the phones are watched by whoever they register with next.
    pub(crate) fn forget_all(&mut self, core: &mut Core, now: Now) {
        for open in std::mem::take(&mut self.open).into_values() {
            core.answer_unavailable(now, open.server_tx);
        }
        self.watch = Watch::default();
        self.leaving.clear();
    }
}

fn refuse(core: &mut Core, now: Now, server_tx: ServerTx, refusal: Refusal) {
    let status = refusal.status();
    core.note(Note::RegisterRefused { status: status.code() });
    match refusal {
        Refusal::Full => core.answer_unavailable(now, server_tx),
        Refusal::TooBrief => {
            if let Ok(response) = core.sip.response_for(server_tx, status) {
                let least = core.settings.register_s_min.into();
                core.respond(now, server_tx, &response.with_header(HeaderName::MinExpires, least));
            }
        }
        Refusal::Malformed | Refusal::TooMany | Refusal::Older => {
            core.answer(now, server_tx, status);
        }
    }
}

/// A contact and for how many seconds it is bound.
type Granted = (NameAddr, u32);
