//! Calls to the cluster: any node will do, and the next one is tried when one does not answer.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use tandem_media_relay::identity::Role;
use tonic::{
    Code, Request, Response, Status,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use super::Connection;
use crate::tls::{Tls, TlsError};

/// How long one connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// How long a command tries by default.
const USUAL_TIMEOUT: Duration = Duration::from_secs(15);
/// A repeated try that has less time is not begun: it could only end without an answer.
const LEAST_TRY: Duration = Duration::from_millis(800);
/// Pause after all nodes were tried.
const ROUND_PAUSE: Duration = Duration::from_millis(200);

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CliError {
    /// One side does not trust the other, or the operator's certificates cannot be used.
    #[error("{0}")]
    Security(String),
    /// The cluster refused.
    #[error("{0}")]
    Refused(String),
    /// No node answered, or none with a quorum.
    #[error("{0}")]
    Unavailable(String),
    /// It is not known whether it was done.
    #[error("{0}")]
    Unknown(String),
    /// Something on this side.
    #[error("{0}")]
    Local(String),
}

impl CliError {
    /// The exit code; `docs/errors/exit-codes.md` explains each.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Refused(_) | Self::Local(_) => 1,
            Self::Security(_) => 4,
            Self::Unavailable(_) => 9,
            Self::Unknown(_) => 10,
        }
    }
}

/// What a command does to the cluster, which decides what a lost answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Nothing: it looks.
    Look,
    /// It may have been done though nobody said so.
    Change,
}

/// How one try ended that had no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failed {
    /// Another try cannot better it.
    ForGood(CliError),
    /// Nothing was done: another node, or the same one later, may do better.
    NotDone(String),
    /// It was sent, and what came of it is not known.
    Lost(String),
}

impl Failed {
    fn into_error(self, effect: Effect) -> CliError {
        match (self, effect) {
            (Self::ForGood(error), _) => error,
            // The node's own words say so already.
            (Self::Lost(text), Effect::Change) if text.contains("not known") => {
                CliError::Unknown(text)
            }
            (Self::Lost(text), Effect::Change) => CliError::Unknown(format!(
                "{text}: it is not known whether it was done, and it may still be; look before you \
                 repeat it"
            )),
            (Self::NotDone(text) | Self::Lost(text), _) => CliError::Unavailable(text),
        }
    }
}

/// A connection that tells the node how long its caller waits.
pub(super) type Way = InterceptedService<Channel, Patience>;

/// How long a caller waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience(Duration);

impl Interceptor for Patience {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.set_timeout(self.0);
        Ok(request)
    }
}

/// A command's way to the cluster.
#[derive(Debug)]
pub(super) struct Session {
    nodes: Vec<String>,
    tls: Tls,
    /// What the operator asked for.
    timeout: Option<Duration>,
    /// What this command takes otherwise.
    usual: Duration,
    key: String,
    tenant: String,
}

impl Session {
    pub(super) fn new(connection: &Connection) -> Result<Self, CliError> {
        let file = |name: &str| connection.certs.join(name);
        let tls = Tls::read(&file("ca.pem"), &file("operator.pem"), &file("operator.key"));
        Ok(Self {
            nodes: connection.node.clone(),
            tls: tls.map_err(|error| CliError::Security(certificates(&error)))?,
            timeout: connection.timeout.map(Duration::from_secs),
            usual: USUAL_TIMEOUT,
            key: format!("cli-{:032x}", crate::entropy::random_u128()),
            tenant: connection.tenant.clone(),
        })
    }

    /// Gives a command that takes its time more of it, unless the operator said how much.
    pub(super) fn allow(&mut self, usual: Duration) {
        self.usual = usual;
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout.unwrap_or(self.usual)
    }

    /// The nodes that the operator named.
    pub(super) fn nodes(&self) -> &[String] {
        &self.nodes
    }

    /// For how long a command tries when nobody answers.
    pub(super) fn patience(&self) -> Duration {
        self.timeout.unwrap_or(self.usual)
    }

    /// Opens a connection for a call that lasts.
    pub(super) async fn open(&self, node: &str) -> Result<Channel, Failed> {
        self.connect(node, Instant::now() + CONNECT_WITHIN).await
    }

    /// The idempotency key of this command: every try carries it.
    pub(super) fn key(&self) -> String {
        self.key.clone()
    }

    /// Whose things the command is about.
    pub(super) fn tenant(&self) -> String {
        self.tenant.clone()
    }

    /// Looks at something: calls until a node has an answer that another try cannot better.
    pub(super) async fn look<T, F>(&self, call: impl Fn(Way) -> F) -> Result<T, CliError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.until_answered(call, Effect::Look).await
    }

    /// Changes something that may be asked for twice: calls until a node has an answer that another
    /// try cannot better.
    pub(super) async fn change<T, F>(&self, call: impl Fn(Way) -> F) -> Result<T, CliError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.until_answered(call, Effect::Change).await
    }

    /// Changes something that must not be repeated blindly: calls the first node once.
    pub(super) async fn change_once<T, F>(&self, call: impl Fn(Way) -> F) -> Result<T, CliError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let node = self.nodes.first().ok_or_else(no_node)?;
        let reply = self.call_one(node, self.deadline(), &call).await;
        reply.map_err(|failed| failed.into_error(Effect::Change))
    }

    async fn until_answered<T, F>(
        &self,
        call: impl Fn(Way) -> F,
        effect: Effect,
    ) -> Result<T, CliError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let deadline = self.deadline();
        let mut last = Failed::ForGood(no_node());
        loop {
            for (at, node) in self.nodes.iter().enumerate() {
                // One that keeps silent leaves time for the others.
                let left = deadline.saturating_duration_since(Instant::now());
                let share = left / u32::try_from(self.nodes.len() - at).unwrap_or(u32::MAX);
                match self.call_one(node, Instant::now() + share, &call).await {
                    Ok(reply) => return Ok(reply),
                    Err(Failed::ForGood(error)) => return Err(error),
                    // What one try may have done, another that did nothing does not take back.
                    Err(Failed::NotDone(_)) if matches!(last, Failed::Lost(_)) => {}
                    Err(failed) => last = failed,
                }
            }
            if Instant::now() + ROUND_PAUSE + LEAST_TRY >= deadline {
                return Err(last.into_error(effect));
            }
            tokio::time::sleep(ROUND_PAUSE).await;
        }
    }

    async fn call_one<T, F>(
        &self,
        node: &str,
        until: Instant,
        call: &impl Fn(Way) -> F,
    ) -> Result<T, Failed>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let channel = self.connect(node, until).await?;
        // The node hears how long it has, and answers before.
        let left = until.saturating_duration_since(Instant::now());
        let way = Way::new(channel, Patience(left));
        match tokio::time::timeout_at(until.into(), call(way)).await {
            Ok(reply) => reply.map(Response::into_inner).map_err(|status| of_status(node, &status)),
            Err(_) => Err(Failed::Lost(format!("{node} did not answer in time"))),
        }
    }

    /// Also the handshake is bounded: the system takes connections for a program that is frozen.
    async fn connect(&self, node: &str, until: Instant) -> Result<Channel, Failed> {
        let endpoint = Endpoint::from_shared(format!("https://{node}")).map_err(|error| {
            let text = format!("{node} is no address of a node: {}", chain(&error));
            Failed::ForGood(CliError::Local(text))
        })?;
        let endpoint = endpoint.tls_config(self.tls.client(Role::Node)).map_err(|error| {
            let text = format!(
                "the operator's certificate and key cannot be used: {}; operator.key must belong to \
                 operator.pem",
                chain(&error)
            );
            Failed::ForGood(CliError::Security(text))
        })?;
        let until = until.min(Instant::now() + CONNECT_WITHIN);
        match tokio::time::timeout_at(until.into(), endpoint.connect()).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(error)) => Err(not_connected(node, &chain(&error))),
            Err(_) => Err(Failed::NotDone(format!(
                "{node} takes the connection and does not answer: it is frozen or overloaded, or this \
                 is no [api] address"
            ))),
        }
    }
}

fn no_node() -> CliError {
    CliError::Local("no node is named: give --node HOST:PORT".into())
}

/// Why the operator's files cannot be used, in the words of who typed the command.
fn certificates(error: &TlsError) -> String {
    match error {
        TlsError::Unreadable { path, error } => format!(
            "{} cannot be read: {error}; --certs (or TANDEM_CERTS) names the folder with ca.pem, \
             operator.pem and operator.key",
            path.display()
        ),
        other => other.to_string(),
    }
}

/// Why a connection could not be made.
fn not_connected(node: &str, cause: &str) -> Failed {
    if cause.contains("invalid peer certificate") {
        let text = format!(
            "{node} is not of this operator's cluster ({cause}): give the folder of its certificates \
             with --certs"
        );
        return Failed::ForGood(CliError::Security(text));
    }
    let hint = if cause.contains("handshake eof") || cause.contains("InvalidContentType") {
        "; it speaks no TLS, so this is no [api] address of a node"
    } else {
        ""
    };
    Failed::NotDone(format!("{node} cannot be reached: {cause}{hint}"))
}

/// What a status says of a try.
pub(super) fn of_status(node: &str, status: &Status) -> Failed {
    let message = status.message();
    let text = if message.is_empty() {
        format!("{node}: {}", status.code())
    } else {
        format!("{node}: {message}")
    };
    let cause = chain(status);
    if cause.contains("received fatal alert") {
        let text = format!(
            "{node} does not take this operator's certificate ({cause}): give the folder of its \
             cluster's certificates with --certs"
        );
        return Failed::ForGood(CliError::Security(text));
    }
    match status.code() {
        Code::Unavailable => Failed::NotDone(text),
        Code::Unknown | Code::DeadlineExceeded | Code::Cancelled => Failed::Lost(text),
        Code::PermissionDenied | Code::Unauthenticated => Failed::ForGood(CliError::Security(text)),
        Code::Unimplemented => Failed::ForGood(CliError::Refused(format!(
            "{node} does not know this command: name the [api] address of a node, not its [cluster] \
             address; if it is right, the node is of another version"
        ))),
        // The cluster's own words, which name what they are about.
        _ if message.is_empty() => Failed::ForGood(CliError::Refused(text)),
        _ => Failed::ForGood(CliError::Refused(message.to_owned())),
    }
}

/// An error with its causes: the transport's own text says only "transport error".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// `HOST:PORT`, with an IPv6 address in brackets.
pub(super) fn host_and_port(text: &str) -> Result<String, String> {
    let wrong = |what: &str| Err(format!("{what}: write HOST:PORT, as 192.0.2.10:7200"));
    if text.contains("://") {
        return wrong("a scheme does not belong here");
    }
    let Some((host, port)) = text.rsplit_once(':') else { return wrong("the port is missing") };
    if port.parse::<u16>().is_err() {
        return wrong("the port is no number from 0 to 65535");
    }
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bracketed {
        Some(address) if address.parse::<std::net::Ipv6Addr>().is_err() => {
            wrong("no IPv6 address stands in the brackets")
        }
        None if host.is_empty() => wrong("the host is missing"),
        None if host.contains(':') => wrong("an IPv6 address stands in brackets"),
        _ => Ok(text.to_owned()),
    }
}

/// Runs a command's future.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Local(format!("no runtime: {error}")))?
        .block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: only what names a host and a port is an address; the refusal says what is missing.
    #[test]
    fn addresses() {
        for good in ["192.0.2.10:7200", "node-1.example:7200", "[2001:db8::1]:7200"] {
            assert_eq!(host_and_port(good), Ok(good.to_owned()));
        }
        for (bad, what) in [
            ("192.0.2.10", "port is missing"),
            ("node-1:x", "no number"),
            ("node-1:70000", "no number"),
            (":7200", "host is missing"),
            ("2001:db8::1:7200", "brackets"),
            ("[::g]:7200", "no IPv6"),
            ("https://node-1:7200", "scheme"),
        ] {
            let refused = host_and_port(bad).expect_err(bad);
            assert!(refused.contains(what), "{bad}: {refused}");
        }
    }

    // Goal: what each status means for a command that looks and for one that changes something; none
    // has an empty text.
    #[test]
    fn what_a_status_means() {
        let codes = |code: Code| {
            let of = |effect| of_status("node-1:7200", &Status::new(code, "")).into_error(effect);
            let (look, change) = (of(Effect::Look), of(Effect::Change));
            assert!(look.to_string().len() > 12 && change.to_string().len() > 12, "{code:?}");
            (look.code(), change.code())
        };
        for (code, expected) in [
            (Code::Unavailable, (9, 9)),
            (Code::Unknown, (9, 10)),
            (Code::DeadlineExceeded, (9, 10)),
            (Code::PermissionDenied, (4, 4)),
            (Code::Unimplemented, (1, 1)),
            (Code::NotFound, (1, 1)),
            (Code::FailedPrecondition, (1, 1)),
        ] {
            assert_eq!(codes(code), expected, "{code:?}");
        }
    }
}
