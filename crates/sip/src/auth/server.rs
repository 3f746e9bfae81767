//! [`DigestServer`]: challenges and checks (RFC 3261 sections 22.2 to 22.4, RFC 8760).

use super::algorithm::{Algorithm, ResponseParts, auth_response};
use super::ha1::Ha1;
use super::header::{Challenge, Credentials, Qop};
use super::nonce::{NonceAge, NonceId, NonceKeys, WallSeconds};
use crate::limits::NONCE_LIFE_MAX;
use crate::message::{HeaderName, Headers, Request, SyntaxError, Uri};
use crate::prng::{Prng, unhex};
use crate::text::SipText;
use std::time::Duration;
use subtle::ConstantTimeEq;

/// As what we challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChallengeKind {
    /// User agent or registrar: 401, WWW-Authenticate, Authorization.
    Www,
    /// Proxy: 407, Proxy-Authenticate, Proxy-Authorization.
    Proxy,
}

/// Whether a challenge says that only the nonce was too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Staleness {
    /// First challenge, or wrong credentials.
    NotStale,
    /// The credentials are right, the nonce has expired: the phone tries again by itself.
    Stale,
}

/// Why a request carries nothing to check: challenge it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoCredentials {
    /// No Digest header for our realm.
    #[error("the request has no Digest credentials for this realm: challenge it")]
    Absent,
    /// A header that cannot be read: 400.
    #[error("the credentials cannot be read ({0}): answer 400")]
    Unreadable(SyntaxError),
    /// More credentials for one realm than one: 400.
    #[error("the request has several credentials for this realm: answer 400")]
    Several,
}

/// Why credentials are wrong. For metrics; a peer is told only by another challenge or a 403.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// The hash does not fit, or the user does not exist (deliberately the same).
    WrongResponse,
    /// The nonce is not one of this cluster's.
    ForeignNonce,
    /// An algorithm that was not offered.
    Algorithm,
    /// No `qop=auth`, or its count or client nonce is missing.
    Qop,
    /// The `uri` names another resource than the Request-URI (RFC 7616 section 3.4.6).
    Uri,
}

/// What credentials are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Right. Hand nonce and count to [`super::NonceCounts`] where replays matter.
    Accepted {
        /// The nonce.
        nonce: NonceId,
        /// The nonce count.
        count: u32,
    },
    /// Right, but the nonce has expired: challenge with [`Staleness::Stale`].
    Stale,
    /// Wrong.
    Rejected(Rejection),
}

/// The checking side of one realm.
#[derive(Debug, Clone)]
pub struct DigestServer {
    realm: SipText,
    kind: ChallengeKind,
    algorithms: Vec<Algorithm>,
    keys: NonceKeys,
    nonce_life: Duration,
}

impl DigestServer {
    /// For a realm. Algorithms are offered strongest first whatever their order here; an empty list means
    /// SHA-256 alone. `nonce_life` is cut to [`NONCE_LIFE_MAX`].
    pub fn new(
        realm: SipText,
        kind: ChallengeKind,
        algorithms: &[Algorithm],
        keys: NonceKeys,
        nonce_life: Duration,
    ) -> Self {
        let mut algorithms = algorithms.to_vec();
        if algorithms.is_empty() {
            algorithms.push(Algorithm::Sha256);
        }
        algorithms.sort_unstable();
        algorithms.dedup();
        algorithms.reverse();
        Self { realm, kind, algorithms, keys, nonce_life: nonce_life.min(NONCE_LIFE_MAX) }
    }

    /// The realm.
    pub fn realm(&self) -> &SipText {
        &self.realm
    }

    /// The keys, for rotation.
    pub fn keys_mut(&mut self) -> &mut NonceKeys {
        &mut self.keys
    }

    /// Adds the challenges to a 401 or 407: one header per algorithm with a nonce of its own, strongest
    /// first (RFC 8760 section 2.3).
    pub fn challenge(
        &self,
        headers: &mut Headers,
        now: WallSeconds,
        staleness: Staleness,
        prng: &mut Prng,
    ) {
        let name = match self.kind {
            ChallengeKind::Www => HeaderName::WwwAuthenticate,
            ChallengeKind::Proxy => HeaderName::ProxyAuthenticate,
        };
        for algorithm in &self.algorithms {
            let challenge = Challenge {
                realm: self.realm.as_bytes().to_vec(),
                nonce: self.keys.issue(now, self.realm.as_bytes(), prng).into_bytes(),
                algorithm: Some(*algorithm),
                qop: Some(Qop::Auth),
                stale: staleness == Staleness::Stale,
                opaque: None,
            };
            headers.push(name.clone(), challenge.to_text());
        }
    }

    /// Finds the credentials for our realm. With their user name and algorithm the caller looks the
    /// [`Ha1`] up.
    ///
    /// # Errors
    /// [`NoCredentials`].
    pub fn credentials(&self, request: &Request) -> Result<Credentials, NoCredentials> {
        let name = match self.kind {
            ChallengeKind::Www => HeaderName::Authorization,
            ChallengeKind::Proxy => HeaderName::ProxyAuthorization,
        };
        let mut found = None;
        for value in request.headers.all(&name) {
            let parsed = Credentials::parse(value).map_err(NoCredentials::Unreadable)?;
            let ours = parsed.filter(|c| c.realm == self.realm.as_bytes());
            if ours.is_some() && found.is_some() {
                return Err(NoCredentials::Several);
            }
            found = found.or(ours);
        }
        found.ok_or(NoCredentials::Absent)
    }

    /// Checks credentials against the user's HA1; `None` for a user that does not exist, which takes the
    /// same steps and is rejected for the same reason as a wrong password.
    pub fn verify(
        &self,
        request: &Request,
        credentials: &Credentials,
        ha1: Option<&Ha1>,
        now: WallSeconds,
    ) -> Verdict {
        let Some(algorithm) = credentials.algorithm.filter(|a| self.algorithms.contains(a)) else {
            return Verdict::Rejected(Rejection::Algorithm);
        };
        let count = credentials.count_number();
        let (Some(count), Some(Qop::Auth), false) =
            (count, credentials.qop, credentials.cnonce.is_empty())
        else {
            return Verdict::Rejected(Rejection::Qop);
        };
        if !names_request_uri(&credentials.uri, &request.uri) {
            return Verdict::Rejected(Rejection::Uri);
        }
        let right = self.response_fits(request, credentials, algorithm, ha1);
        let realm = self.realm.as_bytes();
        match self.keys.check(&credentials.nonce, realm, now, self.nonce_life) {
            NonceAge::Foreign => Verdict::Rejected(Rejection::ForeignNonce),
            _ if !right => Verdict::Rejected(Rejection::WrongResponse),
            // RFC 7616 section 3.3: stale only when the rest is right.
            NonceAge::Expired => Verdict::Stale,
            NonceAge::Fresh(nonce) => Verdict::Accepted { nonce, count },
        }
    }

    fn response_fits(
        &self,
        request: &Request,
        credentials: &Credentials,
        algorithm: Algorithm,
        ha1: Option<&Ha1>,
    ) -> bool {
        let seed = self.keys.decoy_seed(&credentials.username, &credentials.realm);
        let decoy = Ha1::decoy(algorithm, &seed);
        // An HA1 of another algorithm cannot fit either.
        let usable = ha1.filter(|ha1| ha1.algorithm() == algorithm);
        let parts = ResponseParts {
            method: request.method.as_bytes(),
            uri: &credentials.uri,
            nonce: &credentials.nonce,
            count: &credentials.count,
            cnonce: &credentials.cnonce,
        };
        let expect = auth_response(usable.unwrap_or(&decoy), &parts);
        let expect = unhex(expect.as_bytes()).unwrap_or_default();
        let given = unhex(&credentials.response).unwrap_or_default();
        let equal = bool::from(expect.as_slice().ct_eq(given.as_slice()));
        equal && usable.is_some()
    }
}

/// RFC 7616 section 3.4.6 wants the same resource. Phones and proxies differ over ports and parameters,
/// so user and host decide.
fn names_request_uri(written: &[u8], request_uri: &Uri) -> bool {
    let Some(written) = std::str::from_utf8(written).ok().and_then(|t| Uri::parse(t).ok()) else {
        return false;
    };
    match (&written, request_uri) {
        (Uri::Sip(a), Uri::Sip(b)) => a.user_decoded() == b.user_decoded() && a.host == b.host,
        (a, b) => a.is_equivalent(b),
    }
}
