//! Calls to the cluster: any node will do, and the next one is tried when one does not answer.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use tandem_media_relay::identity::Role;
use tonic::{
    Code, Response, Status,
    transport::{Channel, Endpoint},
};

use super::Connection;
use crate::tls::{Tls, TlsError};

/// How long one connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// How long a command tries by default.
const USUAL_TIMEOUT: Duration = Duration::from_secs(15);
/// Pause after all nodes were tried.
const ROUND_PAUSE: Duration = Duration::from_millis(200);

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The operator's certificates cannot be used.
    #[error("{0}")]
    Security(#[from] TlsError),
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
}

impl Session {
    pub(super) fn new(connection: &Connection) -> Result<Self, CliError> {
        let file = |name: &str| connection.certs.join(name);
        Ok(Self {
            nodes: connection.node.clone(),
            tls: Tls::read(&file("ca.pem"), &file("operator.pem"), &file("operator.key"))?,
            timeout: connection.timeout.map(Duration::from_secs),
            usual: USUAL_TIMEOUT,
            key: format!("cli-{:032x}", crate::entropy::random_u128()),
        })
    }

    /// Gives a command that takes its time more of it, unless the operator said how much.
    pub(super) fn allow(&mut self, usual: Duration) {
        self.usual = usual;
    }

    fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(self.usual)
    }

    /// The idempotency key of this command: every try carries it.
    pub(super) fn key(&self) -> String {
        self.key.clone()
    }

    /// Calls until a node has an answer that another try cannot better.
    pub(super) async fn call<T, F>(&self, call: impl Fn(Channel) -> F) -> Result<T, CliError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let deadline = Instant::now() + self.timeout();
        let mut last = None;
        loop {
            for node in &self.nodes {
                match self.call_one(node, &call).await {
                    Ok(reply) => return Ok(reply),
                    Err(status) if may_go_otherwise(&status) => last = Some((node, status)),
                    Err(status) => return Err(CliError::Refused(status.message().to_owned())),
                }
                if Instant::now() >= deadline {
                    break;
                }
            }
            if Instant::now() + ROUND_PAUSE >= deadline {
                return Err(match last {
                    Some((node, status)) => failure(node, &status),
                    None => CliError::Local("no node is named: give --node HOST:PORT".into()),
                });
            }
            tokio::time::sleep(ROUND_PAUSE).await;
        }
    }

    /// Calls the first node once: for what must not be repeated blindly.
    pub(super) async fn call_once<T, F>(&self, call: impl Fn(Channel) -> F) -> Result<T, CliError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let node = self
            .nodes
            .first()
            .ok_or_else(|| CliError::Local("no node is named: give --node HOST:PORT".into()))?;
        self.call_one(node, &call).await.map_err(|status| match status.code() {
            Code::Unavailable | Code::Unknown | Code::DeadlineExceeded => failure(node, &status),
            _ => CliError::Refused(status.message().to_owned()),
        })
    }

    async fn call_one<T, F>(&self, node: &str, call: &impl Fn(Channel) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let channel = self.connect(node).await?;
        match tokio::time::timeout(self.timeout(), call(channel)).await {
            Ok(reply) => reply.map(Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded("the node did not answer in time")),
        }
    }

    async fn connect(&self, node: &str) -> Result<Channel, Status> {
        let unusable = |error: tonic::transport::Error| {
            Status::invalid_argument(format!("{node} is no address of a node: {error}"))
        };
        let endpoint = Endpoint::from_shared(format!("https://{node}"))
            .and_then(|endpoint| endpoint.tls_config(self.tls.client(Role::Node)))
            .map_err(unusable)?
            .connect_timeout(CONNECT_WITHIN);
        endpoint
            .connect()
            .await
            .map_err(|error| Status::unavailable(format!("cannot be reached: {}", chain(&error))))
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

/// True when another node, or the same one later, may do better.
fn may_go_otherwise(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::DeadlineExceeded | Code::Cancelled
    )
}

fn failure(node: &str, status: &Status) -> CliError {
    let text = format!("{node}: {}", status.message());
    match status.code() {
        Code::Unavailable => CliError::Unavailable(text),
        _ => CliError::Unknown(text),
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
