//! What can go wrong for those who use the library.

use std::io;
use std::net::SocketAddr;

use crate::report::CallReport;

/// Why a command or a wait failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PhoneError {
    /// The world was stopped or dropped.
    #[error("the world of phones has stopped: start a new one")]
    WorldStopped,
    /// The world's thread could not begin.
    #[error("the thread of the phones could not be started: {0}; check the limits of the system")]
    Start(#[source] io::Error),
    /// A SIP socket could not be opened.
    #[error(
        "cannot listen for SIP on {address}: {source}; choose a free port on an address of this \
         machine (an unspecified address such as 0.0.0.0 cannot stand in a Contact)"
    )]
    Listen {
        /// The address wanted.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A limit of the phone is reached.
    #[error("{what} reached its limit of {limit}: end some first, or start another process")]
    Limit {
        /// What.
        what: &'static str,
        /// How many.
        limit: usize,
    },
    /// A setting makes no sense.
    #[error("{what}: {why}")]
    Setting {
        /// Which.
        what: &'static str,
        /// What to write instead.
        why: &'static str,
    },
    /// The phone or caller is gone.
    #[error("this phone or caller was removed from its world")]
    Gone,
    /// The call is over.
    #[error("the call is over: its report says why")]
    CallEnded,
    /// The command does not fit the state of the call.
    #[error("{command} is not possible while the call is {state}: wait for the right state first")]
    WrongState {
        /// The command.
        command: &'static str,
        /// The state.
        state: String,
    },
    /// The other side refused to change the session.
    #[error("the other side refused to change the session with {code}; the call goes on unchanged")]
    Refused {
        /// Its status code; 0 when it did not answer.
        code: u16,
    },
    /// Media sockets could not be opened.
    #[error("no RTP sockets: {0}; widen the port range or raise the limit of open files")]
    Media(#[source] io::Error),
    /// What was waited for did not happen in time.
    #[error("waited {waited_ms} ms in vain for: {what}{}", describe(.report.as_deref()))]
    Deadline {
        /// What.
        what: String,
        /// How long.
        waited_ms: u64,
        /// The call as it stood then, when the wait was about a call.
        report: Option<Box<CallReport>>,
    },
}

fn describe(report: Option<&CallReport>) -> String {
    let Some(report) = report else { return String::new() };
    format!(
        "; call {} of {} is {:?}, end {:?}, heard {} packets, {} gaps, {} anomalies",
        report.call,
        report.phone,
        report.state,
        report.end,
        report.media.received_packets,
        report.media.gaps_count,
        report.anomalies_count
    )
}
