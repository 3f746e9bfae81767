//! [`DialogRecord`]: what is replicated of a dialog, so that another node can go on with it.

use super::state::{DialogId, DialogRole, DialogStage};
use crate::limits::{CSEQ_MAX, ROUTES_MAX};
use crate::message::{CallId, NameAddr, SyntaxError, Uri};
use crate::redact::Redacted;
use crate::text::SipText;
use std::fmt;

/// A dialog as strings and numbers: plain data for the replicated state. The URIs are personal data and
/// do not show in `Debug` output.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DialogRecord {
    /// Call-ID.
    pub call_id: String,
    /// Our tag.
    pub local_tag: String,
    /// The peer's tag.
    pub remote_tag: String,
    /// Our URI: From of our requests.
    pub local_uri: String,
    /// The peer's URI: To of our requests.
    pub remote_uri: String,
    /// The peer's Contact: where our requests go.
    pub remote_target: String,
    /// Route set, first hop first.
    pub route_set: Vec<String>,
    /// Largest CSeq number that the owner may have used. A taker starts behind it.
    pub cseq_reserved_until: u32,
    /// Highest CSeq number seen from the peer.
    pub remote_cseq: Option<u32>,
    /// Who started the dialog.
    pub role: DialogRole,
    /// How far it is.
    pub stage: DialogStage,
    /// Whether requests need secured hops.
    pub secure: bool,
}

/// Why a record makes no dialog.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdoptError {
    /// A text cannot be read.
    #[error(
        "the {field} of the dialog record cannot be read ({fault}): the leg cannot be taken over"
    )]
    Field {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        fault: SyntaxError,
    },
    /// A number is out of range.
    #[error("the {field} of the dialog record is out of range: the leg cannot be taken over")]
    Range {
        /// Which.
        field: &'static str,
    },
}

/// The parts of a record, read.
pub(super) struct Parts {
    pub(super) id: DialogId,
    pub(super) local_uri: Uri,
    pub(super) remote_uri: Uri,
    pub(super) remote_target: Uri,
    pub(super) route_set: Vec<Uri>,
}

impl DialogRecord {
    /// Reads the texts; a record comes from our own writer, but also from other versions of it.
    pub(super) fn parse(&self) -> Result<Parts, AdoptError> {
        if self.cseq_reserved_until > CSEQ_MAX {
            return Err(AdoptError::Range { field: "CSeq" });
        }
        if self.route_set.len() > ROUTES_MAX {
            return Err(AdoptError::Range { field: "route set" });
        }
        let call_id = text("Call-ID", &self.call_id)?;
        let call_id = CallId::parse(&call_id).map_err(|fault| field("Call-ID", fault))?;
        Ok(Parts {
            id: DialogId {
                call_id,
                local_tag: tag("local tag", &self.local_tag)?,
                remote_tag: tag("remote tag", &self.remote_tag)?,
            },
            local_uri: uri("local URI", &self.local_uri)?,
            remote_uri: uri("remote URI", &self.remote_uri)?,
            remote_target: uri("remote target", &self.remote_target)?,
            route_set: self
                .route_set
                .iter()
                .map(|route| uri("route set", route))
                .collect::<Result<_, _>>()?,
        })
    }
}

fn field(field: &'static str, fault: SyntaxError) -> AdoptError {
    AdoptError::Field { field, fault }
}

fn text(name: &'static str, value: &str) -> Result<SipText, AdoptError> {
    SipText::copy_of(value).map_err(|fault| field(name, SyntaxError::ControlByte { at: fault.at }))
}

fn uri(name: &'static str, value: &str) -> Result<Uri, AdoptError> {
    Uri::parse(value).map_err(|fault| field(name, fault))
}

fn tag(name: &'static str, value: &str) -> Result<SipText, AdoptError> {
    let tag = text(name, value)?;
    let mut probe = NameAddr::from_uri(Uri::Other(crate::message::OtherUri {
        scheme: SipText::from_static("x"),
        rest: SipText::from_static("x"),
    }));
    probe.set_tag(tag.clone());
    if tag.is_empty() {
        return Err(field(name, SyntaxError::Empty));
    }
    probe.check_tag().map_err(|fault| field(name, fault))?;
    Ok(tag)
}

impl fmt::Debug for DialogRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DialogRecord")
            .field("call_id", &self.call_id)
            .field("local_tag", &self.local_tag)
            .field("remote_tag", &self.remote_tag)
            .field("remote_uri", &Redacted(self.remote_uri.as_bytes()))
            .field("routes", &self.route_set.len())
            .field("cseq_reserved_until", &self.cseq_reserved_until)
            .field("remote_cseq", &self.remote_cseq)
            .field("role", &self.role)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}
