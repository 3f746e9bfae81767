//! How the process ends: one code per kind of reason, so that a supervisor can tell them apart.
//! `docs/errors/exit-codes.md` explains each.

use tandem_raft_store::OpenError;

/// Why the process ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Exit {
    /// The settings cannot be used.
    #[error("{0}")]
    Config(String),
    /// A port is taken, or cannot be opened.
    #[error("{0}")]
    Port(String),
    /// Certificates or keys cannot be used.
    #[error("{0}")]
    Security(String),
    /// The data directory belongs to somebody else, or to an earlier disk.
    #[error("{0}")]
    Identity(String),
    /// The disk failed, is full, or holds damage.
    #[error("{0}")]
    Storage(String),
    /// This node's state differed from the majority's.
    #[error(
        "this node's state differed from the majority's after log entry {index}: it has left service \
         so that it spreads no wrong decisions; keep its data directory for an investigation, and \
         let the node join anew under a new number"
    )]
    Diverged {
        /// After which entry.
        index: u64,
    },
    /// The relay could not be started.
    #[error("{0}")]
    Relay(String),
    /// Something ended that never ends.
    #[error("{0}")]
    Bug(String),
}

impl Exit {
    /// The process's exit code.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Bug(_) => 1,
            Self::Config(_) => 2,
            Self::Port(_) => 3,
            Self::Security(_) => 4,
            Self::Storage(_) => 5,
            Self::Identity(_) => 6,
            Self::Diverged { .. } => 7,
            Self::Relay(_) => 8,
        }
    }

    pub(crate) fn from_open(error: &OpenError) -> Self {
        match error {
            OpenError::OtherCluster { .. } | OpenError::OtherNode { .. } => {
                Self::Identity(error.to_string())
            }
            _ => Self::Storage(error.to_string()),
        }
    }
}

/// The refusal of a socket that cannot be opened; `setting` names where its address stands.
pub(crate) fn port_error(setting: &str, at: std::net::SocketAddr, error: &std::io::Error) -> Exit {
    let remedy = match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "another program uses it: stop that one, or give this node another port"
        }
        std::io::ErrorKind::AddrNotAvailable => {
            "this machine does not have that address: correct the setting"
        }
        std::io::ErrorKind::PermissionDenied => {
            "ports below 1024 need the right CAP_NET_BIND_SERVICE: grant it, or use a higher port"
        }
        _ => "correct the setting, or what the system complains about",
    };
    Exit::Port(format!("{setting}: {at} cannot be opened ({error}); {remedy}"))
}
