//! One node's API as a service of subjects: how an action travels, and what an answer says.
//!
//! Texts of registers are numbers, so that they fit into settings: a queue holds its number in two
//! fields (halves of two writes would show), an agent in the levels of four skills, a site in its
//! weight. Readings ask for `CONSISTENCY_LINEARIZABLE`; the API promises nothing for local ones.
//!
//! What an error says about the outcome is decided in `refusal`, from what the API promises.

use std::{error::Error, io, time::Duration};

use tandem_proto::api::v1 as api;
use tonic::{Code, Request, Status, transport::Channel};

use super::{Action, Answer, Kind, Outcome, Presence, Refusal, Subject, Value};
use crate::{
    cluster::Api,
    rpc::{agents_client::AgentsClient, queues_client::QueuesClient, sites_client::SitesClient},
};

const LINEARIZABLE: i32 = api::Consistency::Linearizable as i32;
/// The skills whose levels hold an agent's number, one decimal digit each.
const DIGITS: [&str; 4] = ["history-a", "history-b", "history-c", "history-d"];
/// Skills without a meaning that an agent can have: some room is left below `SKILLS_PER_AGENT_MAX`.
pub const BALLAST_SKILLS_MAX: usize = 90;
/// As long as names may be.
const BALLAST_LEN: usize = 64;
/// Numbers that an agent can hold.
pub const AGENT_NUMBERS: u64 = 10_u64.pow(DIGITS.len() as u32);
/// Numbers that a site can hold.
pub const SITE_NUMBERS: u64 = 101;
/// Numbers that a queue can hold: milliseconds of after-contact work.
pub const QUEUE_NUMBERS: u64 = 3_600_001;

/// One node's API.
#[derive(Debug, Clone)]
pub struct Port {
    channel: Channel,
    /// Where agents of registers belong, and the queue that numbers lead to.
    home: Home,
    within: Duration,
}

/// What rows need besides their value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// A site that exists, for agents.
    pub site: String,
    /// A queue that exists and is called by nobody, for numbers.
    pub queue: String,
    /// Skills of agents that mean nothing, up to [`BALLAST_SKILLS_MAX`].
    pub ballast_skills: usize,
}

impl Port {
    /// Speaks with the node behind `api`; every call is given up after `within`.
    #[must_use]
    pub fn new(api: &Api, home: Home, within: Duration) -> Self {
        Self { channel: api.channel(), home, within }
    }

    /// Asks, and says what the answer means.
    pub async fn ask(&self, subject: &Subject, action: &Action, once: Option<&str>) -> Outcome {
        let Some(call) = call(subject, action, once, &self.home) else {
            return Outcome::Refused(Refusal::NotDone);
        };
        match tokio::time::timeout(self.within, self.send(subject, call)).await {
            Ok(Ok(answer)) => Outcome::Ok(answer),
            Ok(Err(status)) => refusal(&status).map_or(Outcome::Unknown, Outcome::Refused),
            Err(_) => Outcome::Unknown,
        }
    }

    async fn send(&self, subject: &Subject, call: Call) -> Result<Answer, Status> {
        let queues = || QueuesClient::new(self.channel.clone());
        let agents = || AgentsClient::new(self.channel.clone());
        let sites = || SitesClient::new(self.channel.clone());
        let done = Answer::Done;
        match call {
            Call::PutQueue(call) => queues().put(self.timed(call)).await.map(|_| done),
            Call::PutNumber(call) => queues().put_number(self.timed(call)).await.map(|_| done),
            Call::PutAgent(call) => agents().put(self.timed(call)).await.map(|_| done),
            Call::SetWeight(call) => sites().set_weight(self.timed(call)).await.map(|_| done),
            Call::LogIn(call) => changed(agents().log_in(self.timed(call)).await?.get_ref()),
            Call::LogOut(call) => changed(agents().log_out(self.timed(call)).await?.get_ref()),
            Call::SetReady(call) => changed(agents().set_ready(self.timed(call)).await?.get_ref()),
            Call::SetNotReady(call) => {
                changed(agents().set_not_ready(self.timed(call)).await?.get_ref())
            }
            Call::ListQueues => {
                let asked = api::ListQueuesRequest { consistency: LINEARIZABLE, ..<_>::default() };
                let reply = queues().list(self.timed(asked)).await?.into_inner();
                Ok(seen(queue_value(&reply.queues, row(subject)), reply.as_of))
            }
            Call::ListNumbers => {
                let asked = api::ListNumbersRequest { consistency: LINEARIZABLE, ..<_>::default() };
                let reply = queues().list_numbers(self.timed(asked)).await?.into_inner();
                Ok(seen(count_value(&reply.numbers, row(subject)), reply.as_of))
            }
            Call::ListSites => {
                let asked = api::ListSitesRequest { consistency: LINEARIZABLE };
                let reply = sites().list(self.timed(asked)).await?.into_inner();
                Ok(seen(site_value(&reply.sites, row(subject)), reply.as_of))
            }
            Call::ListAgents => {
                // All of them: the error for one that is missing names no log index.
                let asked = api::ListAgentsRequest { consistency: LINEARIZABLE, ..<_>::default() };
                let reply = agents().list(self.timed(asked)).await?.into_inner();
                Ok(seen(agent_value(&reply.agents, subject), reply.as_of))
            }
        }
    }

    fn timed<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.within);
        request
    }
}

/// What is sent.
#[derive(Debug, Clone, PartialEq)]
enum Call {
    PutQueue(api::PutQueueRequest),
    PutNumber(api::PutNumberRequest),
    PutAgent(api::PutAgentRequest),
    SetWeight(api::SetSiteWeightRequest),
    LogIn(api::LogInRequest),
    LogOut(api::LogOutRequest),
    SetReady(api::SetReadyRequest),
    SetNotReady(api::SetNotReadyRequest),
    ListQueues,
    ListNumbers,
    ListSites,
    ListAgents,
}

/// The call for an action; none when the API has none.
fn call(subject: &Subject, action: &Action, once: Option<&str>, home: &Home) -> Option<Call> {
    let (table, row) = subject.name.split_once('/')?;
    let idempotency_key = once.unwrap_or_default().to_owned();
    let name = row.to_owned();
    Some(match (subject.kind, table, action) {
        (Kind::Register, "queue", Action::Read) => Call::ListQueues,
        (Kind::Register, "site", Action::Read) => Call::ListSites,
        (_, "agent", Action::Read) => Call::ListAgents,
        (Kind::Counter, "numbers", Action::Read) => Call::ListNumbers,
        (Kind::Register, "queue", Action::Write(text)) => {
            let queue = Some(queue(row, text.parse().ok()?));
            Call::PutQueue(api::PutQueueRequest { queue, idempotency_key, ..<_>::default() })
        }
        (Kind::Register, "site", Action::Write(text)) => {
            let weight = text.parse().ok().filter(|weight| u64::from(*weight) < SITE_NUMBERS)?;
            Call::SetWeight(api::SetSiteWeightRequest { site: name, weight, idempotency_key })
        }
        (Kind::Register, "agent", Action::Write(text)) => {
            let skills = levels(text.parse().ok()?).chain(ballast(home.ballast_skills)).collect();
            let (site, queues) = (home.site.clone(), Vec::new());
            let rest = api::PutAgentRequest::default();
            Call::PutAgent(api::PutAgentRequest {
                name,
                site,
                skills,
                queues,
                idempotency_key,
                ..rest
            })
        }
        (Kind::Counter, "numbers", Action::Add(1)) => {
            // The key makes the number: a second try adds the same one.
            let number = api::Number {
                number: format!("{row}{}", once?),
                queue: home.queue.clone(),
                ..api::Number::default()
            };
            Call::PutNumber(api::PutNumberRequest {
                number: Some(number),
                idempotency_key,
                ..<_>::default()
            })
        }
        (Kind::Presence, "agent", Action::LogIn(to)) => {
            let (ready, reason) = match to {
                Presence::Ready => (true, String::new()),
                Presence::NotReady(reason) => (false, reason.clone()),
                Presence::LoggedOut => return None,
            };
            Call::LogIn(api::LogInRequest {
                name,
                ready,
                reason,
                idempotency_key,
                ..<_>::default()
            })
        }
        (Kind::Presence, "agent", Action::LogOut) => {
            Call::LogOut(api::LogOutRequest { name, idempotency_key, ..<_>::default() })
        }
        (Kind::Presence, "agent", Action::SetPresence(Presence::Ready)) => {
            Call::SetReady(api::SetReadyRequest { name, idempotency_key, ..<_>::default() })
        }
        (Kind::Presence, "agent", Action::SetPresence(Presence::NotReady(reason))) => {
            let reason = reason.clone();
            Call::SetNotReady(api::SetNotReadyRequest {
                name,
                reason,
                idempotency_key,
                ..<_>::default()
            })
        }
        _ => return None,
    })
}

/// A queue that nobody calls, holding a number twice.
pub(super) fn queue(name: &str, number: u64) -> api::Queue {
    api::Queue {
        name: name.to_owned(),
        site_choice: "any".to_owned(),
        widen_after_ms: number,
        ring_ms: 15_000,
        wrap_up_ms: number,
        length_max: 1,
        ..api::Queue::default()
    }
}

fn levels(number: u64) -> impl Iterator<Item = (String, u32)> {
    DIGITS.iter().scan(number, |rest, skill| {
        let digit = u32::try_from(*rest % 10).ok()?;
        *rest /= 10;
        Some(((*skill).to_owned(), digit + 1))
    })
}

fn ballast(skills: usize) -> impl Iterator<Item = (String, u32)> {
    (0..skills.min(BALLAST_SKILLS_MAX)).map(|n| (format!("{n:0>BALLAST_LEN$}"), 1))
}

fn row(subject: &Subject) -> &str {
    subject.name.split_once('/').map_or("", |(_, row)| row)
}

fn queue_value(rows: &[api::QueueStatus], name: &str) -> Value {
    let mut queues = rows.iter().filter_map(|row| row.queue.as_ref());
    let Some(queue) = queues.find(|queue| queue.name == name) else { return Value::Absent };
    let (one, other) = (queue.wrap_up_ms, queue.widen_after_ms);
    // Halves of two writes are a text that nobody wrote.
    Value::Text(if one == other { one.to_string() } else { format!("{one}/{other}") })
}

fn site_value(rows: &[api::Site], name: &str) -> Value {
    let site = rows.iter().find(|site| site.name == name);
    site.map_or(Value::Absent, |site| Value::Text(site.weight.to_string()))
}

fn count_value(rows: &[api::Number], prefix: &str) -> Value {
    Value::Count(rows.iter().filter(|row| row.number.starts_with(prefix)).count() as u64)
}

fn agent_value(rows: &[api::Agent], subject: &Subject) -> Value {
    let Some(agent) = rows.iter().find(|agent| agent.name == row(subject)) else {
        return Value::Absent;
    };
    if subject.kind == Kind::Register {
        let mut digits = DIGITS.iter().rev().map(|skill| agent.skills.get(*skill));
        let number = digits
            .try_fold(0_u64, |number, level| Some(number * 10 + u64::from(level?.checked_sub(1)?)));
        let number = number.map(|number| number.to_string());
        return Value::Text(number.unwrap_or_else(|| format!("{:?}", agent.skills)));
    }
    match (agent.login.as_str(), agent.work.as_str()) {
        ("logged-out", _) => Value::Presence(Presence::LoggedOut),
        ("logged-in", "ready") => Value::Presence(Presence::Ready),
        ("logged-in", "not-ready") => Value::Presence(Presence::NotReady(agent.reason.clone())),
        // Agents of histories get no contacts: no model allows this.
        (login, work) => Value::Text(format!("{login}, {work}")),
    }
}

fn seen(value: Value, as_of: Option<api::AsOf>) -> Answer {
    Answer::Seen { value, index: as_of.map(|as_of| as_of.index) }
}

/// Agents of histories have no contact that a change could wait for.
fn changed(reply: &api::AgentStateReply) -> Result<Answer, Status> {
    if reply.after_contact {
        return Err(Status::unknown("the change waits for a contact's end"));
    }
    Ok(Answer::Done)
}

/// What an error says about the outcome; none when nobody can know it.
///
/// Only a node's own word counts, and a connection that never came to be. Whatever went wrong on
/// the way may have done so on the way back.
fn refusal(status: &Status) -> Option<Refusal> {
    if let Some(cause) = status.source() {
        return never_connected(cause).then_some(Refusal::NotDone);
    }
    match status.code() {
        Code::Unavailable
        | Code::InvalidArgument
        | Code::ResourceExhausted
        | Code::PermissionDenied
        | Code::Unauthenticated => Some(Refusal::NotDone),
        Code::NotFound => Some(Refusal::Absent),
        Code::FailedPrecondition => Some(Refusal::Rule),
        _ => None,
    }
}

/// Only connecting is answered by "refused".
fn never_connected(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if kind == Some(io::ErrorKind::ConnectionRefused) {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn home() -> Home {
        Home { site: "lon".to_owned(), queue: "history".to_owned(), ballast_skills: 0 }
    }

    // Goal: each number that fits into a row comes out of it again; rows that are not there are
    // absent; halves of two writes are no number.
    #[test]
    fn numbers_survive_their_rows() {
        for number in [0, 7, 9_999] {
            let subject = Subject::register("agent/a");
            let text = number.to_string();
            let Some(Call::PutAgent(put)) =
                call(&subject, &Action::Write(text.clone()), Some("k"), &home())
            else {
                panic!("no call for {number}")
            };
            assert_eq!((put.site.as_str(), put.idempotency_key.as_str()), ("lon", "k"));
            let agent = api::Agent { name: put.name, skills: put.skills, ..<_>::default() };
            assert_eq!(agent_value(&[agent], &subject), Value::Text(text.clone()));
            assert_eq!(agent_value(&[], &subject), Value::Absent);

            let status = |queue| api::QueueStatus { queue: Some(queue), ..<_>::default() };
            let mut row = status(queue("q", number));
            assert_eq!(queue_value(std::slice::from_ref(&row), "q"), Value::Text(text));
            assert_eq!(queue_value(std::slice::from_ref(&row), "r"), Value::Absent);
            row.queue.as_mut().unwrap().wrap_up_ms = number + 1;
            let torn = Value::Text(format!("{}/{number}", number + 1));
            assert_eq!(queue_value(&[row], "q"), torn);
        }
        let weight = |text: &str| {
            call(&Subject::register("site/lon"), &Action::Write(text.to_owned()), None, &home())
        };
        assert!(weight("100").is_some());
        assert!(weight("101").is_none(), "a site cannot hold it");
    }

    // Goal: ballast makes a row longer than a packet and does not change its number.
    #[test]
    fn ballast_means_nothing() {
        let home = Home { ballast_skills: BALLAST_SKILLS_MAX, ..home() };
        let subject = Subject::register("agent/a");
        let write = Action::Write("9999".to_owned());
        let Some(Call::PutAgent(put)) = call(&subject, &write, Some("k"), &home) else {
            panic!("no call")
        };
        assert!(put.skills.keys().map(String::len).sum::<usize>() > 5_000);
        let agent = api::Agent { name: put.name, skills: put.skills, ..<_>::default() };
        assert_eq!(agent_value(&[agent], &subject), Value::Text("9999".to_owned()));
    }

    // Goal: presence comes out as it went in, and a state that agents of histories cannot be in is
    // no presence.
    #[test]
    fn presence_survives_its_row() {
        let subject = Subject::presence("agent/a");
        let row = |login: &str, work: &str, reason: &str| api::Agent {
            name: "a".to_owned(),
            login: login.to_owned(),
            work: work.to_owned(),
            reason: reason.to_owned(),
            ..<_>::default()
        };
        for (agent, presence) in [
            (row("logged-out", "not-ready", ""), Presence::LoggedOut),
            (row("logged-in", "ready", ""), Presence::Ready),
            (row("logged-in", "not-ready", "tea"), Presence::NotReady("tea".to_owned())),
        ] {
            assert_eq!(agent_value(&[agent], &subject), Value::Presence(presence));
        }
        let busy = agent_value(&[row("logged-in", "busy", "")], &subject);
        assert!(matches!(busy, Value::Text(_)), "{busy:?}");
    }

    // Goal: a second try of a count names the same number, and only its own prefix is counted.
    #[test]
    fn numbers_are_counted_once() {
        let subject = Subject::counter("numbers/h1-");
        let put = |once| match call(&subject, &Action::Add(1), Some(once), &home()) {
            Some(Call::PutNumber(put)) => put.number.unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!(put("k1"), put("k1"));
        assert_ne!(put("k1"), put("k2"));
        let foreign = api::Number { number: "8000".to_owned(), ..<_>::default() };
        let rows = [put("k1"), put("k2"), foreign];
        assert_eq!(count_value(&rows, row(&subject)), Value::Count(2));
        assert_eq!(call(&subject, &Action::Add(1), None, &home()), None, "no key, no number");
    }

    // Goal: only what the API promises is taken as not done: a node's own word, and a connection
    // that never was. Everything that happened on the way is unknown.
    #[test]
    fn what_errors_say() {
        let rows: [(Status, Option<Refusal>); 8] = [
            (Status::unavailable("no quorum"), Some(Refusal::NotDone)),
            (Status::resource_exhausted("a limit"), Some(Refusal::NotDone)),
            (Status::not_found("no such agent"), Some(Refusal::Absent)),
            (Status::failed_precondition("must be logged in"), Some(Refusal::Rule)),
            (Status::unknown("asked too long"), None),
            (Status::deadline_exceeded("late"), None),
            (Status::cancelled("late"), None),
            (Status::internal("a bug"), None),
        ];
        for (status, expected) in rows {
            assert_eq!(refusal(&status), expected, "{status}");
        }
        for (kind, expected) in [
            (io::ErrorKind::ConnectionRefused, Some(Refusal::NotDone)),
            (io::ErrorKind::ConnectionReset, None),
            (io::ErrorKind::TimedOut, None),
        ] {
            let mut status = Status::unavailable("transport error");
            status.set_source(Arc::new(io::Error::from(kind)));
            assert_eq!(refusal(&status), expected, "{kind:?}");
        }
    }

    // Goal: a node that is not there refuses at once, by the real client; nothing was done.
    #[tokio::test]
    async fn nobody_listens() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{free}"))
            .unwrap()
            .connect_lazy();
        let port = Port { channel, home: home(), within: Duration::from_secs(20) };
        let subject = Subject::register("site/lon");
        let outcome = port.ask(&subject, &Action::Write("1".to_owned()), None).await;
        assert_eq!(outcome, Outcome::Refused(Refusal::NotDone));
    }

    // Goal: a node that takes the request and says nothing leaves the outcome unknown.
    #[tokio::test]
    async fn somebody_listens_and_says_nothing() {
        let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = deaf.local_addr().unwrap();
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"));
        let channel = endpoint.unwrap().connect_lazy();
        let port = Port { channel, home: home(), within: Duration::from_millis(50) };
        let subject = Subject::register("site/lon");
        let outcome = port.ask(&subject, &Action::Write("1".to_owned()), None).await;
        assert_eq!(outcome, Outcome::Unknown);
    }
}
