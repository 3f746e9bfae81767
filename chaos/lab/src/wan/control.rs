//! Changes while a router runs, for people and scripts: a Unix socket on which each line is a
//! request in JSON, and answered by a line.
//!
//! ```text
//! {"do": "set", "from": "site:paris", "to": "milan", "change": {"delay_us": 90000}}
//! {"ok": null}
//! {"do": "isolate", "party": "atlantis"}
//! {"error": "no atlantis; there are paris, milan"}
//! ```
//!
//! The socket has an abstract name (`man 7 unix`), so that no file outlives the router. Such a name
//! has no owner either: the router answers root and the user who runs it, and nobody else.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::config::{Direction, change_links};
use super::limits::{CONTROL_CLIENTS_MAX, CONTROL_IDLE_MAX, NAME_BYTES_MAX, REQUEST_BYTES_MAX};
use super::model::{Endpoint, Party};
use super::presets::Preset;
use super::router::Router;
use crate::host::Lab;

/// What a client may ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// The hosts, their endpoints and namespaces.
    Hosts,
    /// The settings of links.
    Get {
        /// The sending side.
        from: Party,
        /// The receiving side.
        to: Party,
    },
    /// A change of links; fields that are not named stay.
    Set {
        /// The sending side.
        from: Party,
        /// The receiving side.
        to: Party,
        /// Whether the other direction changes too.
        #[serde(default)]
        direction: Direction,
        /// Fields of [`LinkSettings`](super::LinkSettings).
        change: Map<String, Value>,
    },
    /// The delays of a matrix of measured round trips.
    Preset {
        /// Its name.
        name: String,
    },
    /// A cut between a party and everybody else.
    Isolate {
        /// Who.
        party: Party,
    },
    /// The end of such a cut.
    Rejoin {
        /// Who.
        party: Party,
    },
    /// The end of every cut.
    Heal,
    /// What links did so far.
    Counters {
        /// The sending side.
        from: Party,
        /// The receiving side.
        to: Party,
    },
}

/// A host, as [`Request::Hosts`] tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostEntry {
    /// Its name.
    pub name: String,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Where its namespace can be opened while the router runs.
    pub namespace: PathBuf,
}

/// A control socket that answers. Dropping it closes the socket and every connection.
#[derive(Debug)]
pub struct ControlServer {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

/// Answers requests about one router.
#[derive(Clone, Debug)]
pub struct Controller {
    router: Router,
    hosts: Vec<HostEntry>,
}

impl Controller {
    /// Answers requests about a laboratory.
    #[must_use]
    pub fn new(lab: &Lab) -> Self {
        let endpoints = lab.router().endpoints();
        let entry = |(index, host): (usize, &crate::host::Host)| HostEntry {
            name: host.name().to_owned(),
            endpoints: endpoints.iter().filter(|it| it.host.0 == index).cloned().collect(),
            namespace: host.namespace_path(),
        };
        let hosts = lab.hosts().iter().enumerate().map(entry).collect();
        Self { router: lab.router().clone(), hosts }
    }

    /// Answers a line. Whatever it holds, the answer is `{"ok": ...}` or `{"error": "..."}`; after an
    /// error nothing has changed.
    #[must_use]
    pub fn answer(&self, line: &str) -> Value {
        let done = serde_json::from_str(line)
            .map_err(|error| format!("not a request: {error}"))
            .and_then(|request| self.carry_out(request));
        match done {
            Ok(answer) => json!({ "ok": answer }),
            Err(error) => json!({ "error": error }),
        }
    }

    fn carry_out(&self, request: Request) -> Result<Value, String> {
        let router = &self.router;
        match request {
            Request::Hosts => to_value(&self.hosts),
            Request::Get { from, to } => to_value(&router.settings(&from, &to).map_err(text)?),
            Request::Set { from, to, direction, change } => {
                done(change_links(router, &from, &to, direction, &change))
            }
            Request::Preset { name } => {
                done(Preset::named(&name).and_then(|preset| router.apply_preset(preset)))
            }
            Request::Isolate { party } => done(router.isolate(&party)),
            Request::Rejoin { party } => done(router.rejoin(&party)),
            Request::Heal => {
                router.heal();
                Ok(Value::Null)
            }
            Request::Counters { from, to } => {
                let links = to_value(&router.counters(&from, &to).map_err(text)?)?;
                let stray = to_value(&router.stray())?;
                let lateness = to_value(&router.lateness())?;
                Ok(json!({ "links": links, "stray": stray, "lateness": lateness }))
            }
        }
    }
}

impl ControlServer {
    /// Answers on the socket of that name until dropped.
    ///
    /// # Errors
    /// The name is taken, too long, or there is no thread.
    pub fn start(name: &str, controller: Controller) -> io::Result<Self> {
        let listener = UnixListener::bind_addr(&address(name)?).map_err(|error| {
            let hint = "another router has that name: choose another";
            io::Error::new(error.kind(), format!("no control socket {name:?}: {error}; {hint}"))
        })?;
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("wan control".to_owned())
            .spawn(move || serve(&listener, &stopped, &controller))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        if let Err(errno) = rustix::io::write(&self.stop, &1_u64.to_ne_bytes()) {
            tracing::warn!("the control socket was not told to close: {errno}");
            return;
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!("the control socket panicked");
        }
    }
}

/// Asks the router of that name, and gives what it answered.
///
/// # Errors
/// No router has that name, it does not answer, or it refused: then the message is its own.
pub fn ask(name: &str, request: &Request) -> io::Result<Value> {
    let mut stream = UnixStream::connect_addr(&address(name)?).map_err(|error| {
        let hint = "is `tandem-lab wan run` running, with this name and in this network namespace?";
        io::Error::new(error.kind(), format!("no router {name:?}: {error}; {hint}"))
    })?;
    stream.set_read_timeout(Some(CONTROL_IDLE_MAX))?;
    // A router that turns this client away may have answered and closed before it is asked.
    let asked = writeln!(stream, "{}", serde_json::to_string(request)?);
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    if line.is_empty() {
        asked?;
        return Err(io::Error::other(format!("the router {name:?} ended without an answer")));
    }
    let mut answer: BTreeMap<String, Value> = serde_json::from_str(&line)?;
    match (answer.remove("ok"), answer.remove("error")) {
        (Some(ok), None) => Ok(ok),
        (_, Some(Value::String(error))) => Err(io::Error::other(error)),
        _ => Err(io::Error::other(format!("the router {name:?} answered {line:?}"))),
    }
}

fn address(name: &str) -> io::Result<SocketAddr> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        let message = format!("a router's name has 1 to {NAME_BYTES_MAX} bytes, not {name:?}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    SocketAddr::from_abstract_name(format!("tandem-lab/wan/{name}"))
}

/// Connections by number, so that they can be closed from outside.
type Connections = Arc<Mutex<BTreeMap<u64, UnixStream>>>;

fn serve(listener: &UnixListener, stop: &OwnedFd, controller: &Controller) {
    let connections = Connections::default();
    let mut clients: Vec<JoinHandle<()>> = Vec::new();
    let mut number = 0;
    while client_waits(listener, stop) {
        clients.retain(|client| !client.is_finished());
        match listener.accept() {
            Ok((stream, _)) => {
                number += 1;
                match admit(stream, number, &connections, controller) {
                    Ok(client) => clients.push(client),
                    Err(error) => {
                        tracing::warn!("a client of the control socket left out: {error}")
                    }
                }
            }
            Err(error) => tracing::warn!("a client of the control socket was lost: {error}"),
        }
    }
    for stream in lock(&connections).values() {
        if let Err(error) = stream.shutdown(std::net::Shutdown::Both) {
            tracing::debug!("a client of the control socket left first: {error}");
        }
    }
    for client in clients {
        if client.join().is_err() {
            tracing::warn!("a connection of the control socket panicked");
        }
    }
}

/// Waits. False once it is time to stop.
fn client_waits(listener: &UnixListener, stop: &OwnedFd) -> bool {
    loop {
        let mut polled = [PollFd::new(stop, PollFlags::IN), PollFd::new(listener, PollFlags::IN)];
        match poll(&mut polled, None) {
            Ok(_) => return polled.first().is_some_and(|stop| stop.revents().is_empty()),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => {
                tracing::error!("the control socket stops: {errno}");
                return false;
            }
        }
    }
}

fn admit(
    mut stream: UnixStream,
    number: u64,
    connections: &Connections,
    controller: &Controller,
) -> io::Result<JoinHandle<()>> {
    if !may_control(&stream)? {
        writeln!(stream, "{}", json!({ "error": "only root and the router's own user may ask" }))?;
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    if lock(connections).len() >= CONTROL_CLIENTS_MAX {
        writeln!(stream, "{}", json!({ "error": "too many clients: close one and come again" }))?;
        return Err(io::ErrorKind::QuotaExceeded.into());
    }
    stream.set_read_timeout(Some(CONTROL_IDLE_MAX))?;
    stream.set_write_timeout(Some(CONTROL_IDLE_MAX))?;
    lock(connections).insert(number, stream.try_clone()?);
    let (connections, controller) = (connections.clone(), controller.clone());
    std::thread::Builder::new().name("wan client".to_owned()).spawn(move || {
        if let Err(error) = converse(stream, &controller) {
            tracing::debug!("a client of the control socket ended: {error}");
        }
        lock(&connections).remove(&number);
    })
}

fn may_control(stream: &UnixStream) -> io::Result<bool> {
    let client = rustix::net::sockopt::socket_peercred(stream.as_fd())?.uid;
    Ok(client.is_root() || client == rustix::process::geteuid())
}

fn converse(stream: UnixStream, controller: &Controller) -> io::Result<()> {
    let mut answers = stream.try_clone()?;
    let mut requests = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        let len = (&mut requests).take(REQUEST_BYTES_MAX).read_until(b'\n', &mut line)?;
        if len == 0 {
            return Ok(());
        }
        if len as u64 == REQUEST_BYTES_MAX {
            let error = format!("a request has less than {REQUEST_BYTES_MAX} bytes");
            return writeln!(answers, "{}", json!({ "error": error }));
        }
        writeln!(answers, "{}", controller.answer(&String::from_utf8_lossy(&line)))?;
    }
}

fn done<E: std::fmt::Display>(result: Result<(), E>) -> Result<Value, String> {
    result.map(|()| Value::Null).map_err(text)
}

fn to_value<T: Serialize>(value: &T) -> Result<Value, String> {
    serde_json::to_value(value).map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wan::LinkSettings;
    use crate::wan::model::tests_support::network_of_two;

    fn controller() -> Controller {
        let router = Router::start(network_of_two(), Vec::<OwnedFd>::new()).unwrap();
        Controller { router, hosts: Vec::new() }
    }

    fn delays(controller: &Controller) -> Vec<u64> {
        let settings = controller.router.settings(&Party::All, &Party::All).unwrap();
        settings.into_iter().map(|pair| pair.settings.delay_us).collect()
    }

    /// Requests change what they name, in the directions they mean.
    #[test]
    fn requests_are_carried_out() {
        let controller = controller();
        let good = |line: &str| {
            let answer = controller.answer(line);
            assert!(answer.get("ok").is_some(), "{line} {answer}");
            answer["ok"].clone()
        };
        good(r#"{"do": "set", "from": "a", "to": "b", "change": {"delay_us": 5}}"#);
        assert_eq!(delays(&controller), [0, 5, 0, 0]);
        good(
            r#"{"do": "set", "from": "a", "to": "b", "direction": "both_ways", "change": {"delay_us": 7}}"#,
        );
        assert_eq!(delays(&controller), [0, 7, 7, 0]);
        good(r#"{"do": "isolate", "party": "site:a-town"}"#);
        let got = good(r#"{"do": "get", "from": "a", "to": "b"}"#);
        assert_eq!(got[0]["settings"]["state"], "down");
        good(r#"{"do": "heal"}"#);
        let got = good(r#"{"do": "get", "from": "a", "to": "b"}"#);
        assert_eq!(got[0]["settings"]["state"], "up");
        let counters = good(r#"{"do": "counters", "from": "all", "to": "all"}"#);
        assert_eq!(counters["links"].as_array().unwrap().len(), 4);
        assert_eq!(counters["stray"]["malformed"], 0);
    }

    /// A wrong request is answered with what is wrong, and changes nothing.
    #[test]
    fn wrong_requests_change_nothing() {
        let controller = controller();
        controller.router.set(&Party::All, &Party::All, &LinkSettings::delayed_us(3)).unwrap();
        for (line, word) in [
            ("", "not a request"),
            ("[]", "not a request"),
            (r#"{"do": "explode"}"#, "explode"),
            (r#"{"do": "set", "from": "a", "to": "c", "change": {"delay_us": 5}}"#, "no c"),
            (r#"{"do": "set", "from": "a", "to": "b", "change": {"delay": 5}}"#, "delay"),
            (
                r#"{"do": "set", "from": "a", "to": "b", "change": {"delay_us": 5, "jitter_us": 1e99}}"#,
                "1e+99",
            ),
            (r#"{"do": "set", "from": "a", "to": "b", "change": {}, "extra": 1}"#, "extra"),
            (r#"{"do": "preset", "name": "nowhere"}"#, "cities-2011"),
            (r#"{"do": "preset", "name": "cities-2011"}"#, "a-town"),
            (r#"{"do": "isolate", "party": "a b"}"#, "a b"),
        ] {
            let answer = controller.answer(line);
            let error = answer["error"].as_str().unwrap_or_default();
            assert!(error.contains(word), "{line} {answer}");
        }
        assert_eq!(delays(&controller), [3; 4]);
    }

    /// The socket answers line by line, refuses an endless line, and ends with its server.
    #[test]
    fn the_socket_answers_until_its_server_ends() {
        let name = format!("test-{}", std::process::id());
        let server = ControlServer::start(&name, controller()).unwrap();
        assert!(ControlServer::start(&name, controller()).is_err(), "the name is taken");
        assert_eq!(ask(&name, &Request::Heal).unwrap(), Value::Null);
        let party = "nobody".parse().unwrap();
        let refused = ask(&name, &Request::Isolate { party }).unwrap_err();
        assert!(refused.to_string().contains("no nobody"), "{refused}");

        let mut idle = UnixStream::connect_addr(&address(&name).unwrap()).unwrap();
        let mut endless = UnixStream::connect_addr(&address(&name).unwrap()).unwrap();
        endless.write_all(&vec![b'x'; REQUEST_BYTES_MAX as usize]).unwrap();
        let mut answer = String::new();
        endless.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("bytes"), "{answer}");

        drop(server);
        assert_eq!(idle.read(&mut [0]).unwrap(), 0, "the connection is closed");
        assert!(ask(&name, &Request::Heal).is_err());
    }
}
