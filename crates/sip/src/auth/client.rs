//! [`DigestClient`]: answers the challenges of a trunk (RFC 3261 section 22.2, RFC 8760 section 2.4).

use super::algorithm::{Algorithm, ResponseParts, auth_response};
use super::ha1::Ha1;
use super::header::{Challenge, Credentials, Qop};
use crate::limits::CHALLENGES_MAX;
use crate::message::{HeaderName, Request, Response, StatusCode};
use crate::prng::Prng;
use std::fmt;

/// Why a challenge cannot be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeError {
    /// No Digest challenge with a known algorithm and `qop=auth`.
    #[error(
        "the peer offers no digest challenge with MD5 or SHA-256 and qop=auth: check the trunk"
    )]
    NoneUsable,
    /// The peer refuses our credentials.
    #[error("the peer refuses the credentials (no stale nonce): check user name and password")]
    Refused,
}

/// The answering side: one user name at one peer. Keeps the last challenge, so that later requests
/// carry credentials from the start.
pub struct DigestClient {
    username: Vec<u8>,
    secret: Secret,
    open: Option<Open>,
}

enum Secret {
    Password(Vec<u8>),
    Ha1(Vec<Ha1>),
}

/// The challenge in use.
struct Open {
    challenge: Challenge,
    header: HeaderName,
    ha1: Ha1,
    count: u32,
}

impl DigestClient {
    /// With a password, for any realm.
    pub fn with_password(username: &str, password: &str) -> Self {
        Self {
            username: username.as_bytes().to_vec(),
            secret: Secret::Password(password.as_bytes().to_vec()),
            open: None,
        }
    }

    /// With hashes for one realm, one per algorithm.
    pub fn with_ha1(username: &str, ha1s: Vec<Ha1>) -> Self {
        Self { username: username.as_bytes().to_vec(), secret: Secret::Ha1(ha1s), open: None }
    }

    /// Takes the topmost challenge that we can answer from a 401 or 407 (RFC 8760 section 2.4). `asked`
    /// is the request that was challenged: when it carried an answer to a fresh challenge already, the
    /// credentials are wrong and trying again is useless (RFC 3261 section 22.2).
    ///
    /// # Errors
    /// [`ChallengeError`].
    pub fn take_challenge(
        &mut self,
        response: &Response,
        asked: &Request,
    ) -> Result<(), ChallengeError> {
        let (challenge_name, header) =
            if response.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
                (HeaderName::ProxyAuthenticate, HeaderName::ProxyAuthorization)
            } else {
                (HeaderName::WwwAuthenticate, HeaderName::Authorization)
            };
        let offers = response.headers.all(&challenge_name).take(CHALLENGES_MAX);
        let usable = offers.filter_map(|value| {
            let challenge = Challenge::parse(value).ok().flatten()?;
            let algorithm = challenge.algorithm.filter(|_| challenge.qop == Some(Qop::Auth))?;
            let ha1 = self.ha1_for(&challenge.realm, algorithm)?;
            Some((challenge, ha1))
        });
        let (challenge, ha1) = usable.into_iter().next().ok_or(ChallengeError::NoneUsable)?;
        if asked.headers.has(&header) && !challenge.stale {
            self.open = None;
            return Err(ChallengeError::Refused);
        }
        self.open = Some(Open { challenge, header, ha1, count: 0 });
        Ok(())
    }

    /// Puts credentials on a request, if a challenge is known; replaces those that it has. The nonce count
    /// goes up with each request.
    pub fn authorize(&mut self, request: &mut Request, prng: &mut Prng) {
        let Some(open) = &mut self.open else { return };
        open.count = open.count.saturating_add(1);
        let count = format!("{:08x}", open.count).into_bytes();
        let cnonce = prng.token().as_bytes().to_vec();
        let uri = request.uri.expose().into_bytes();
        let response = auth_response(
            &open.ha1,
            &ResponseParts {
                method: request.method.as_bytes(),
                uri: &uri,
                nonce: &open.challenge.nonce,
                count: &count,
                cnonce: &cnonce,
            },
        );
        let credentials = Credentials {
            username: self.username.clone(),
            realm: open.challenge.realm.clone(),
            nonce: open.challenge.nonce.clone(),
            uri,
            response: response.into_bytes(),
            algorithm: open.challenge.algorithm,
            qop: Some(Qop::Auth),
            count,
            cnonce,
            opaque: open.challenge.opaque.clone(),
        };
        request.headers.set(open.header.clone(), credentials.to_text());
    }

    fn ha1_for(&self, realm: &[u8], algorithm: Algorithm) -> Option<Ha1> {
        match &self.secret {
            Secret::Password(password) => {
                Some(Ha1::compute(algorithm, &self.username, realm, password))
            }
            Secret::Ha1(ha1s) => ha1s.iter().find(|ha1| ha1.algorithm() == algorithm).cloned(),
        }
    }
}

impl fmt::Debug for DigestClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithm = self.open.as_ref().and_then(|open| open.challenge.algorithm);
        f.debug_struct("DigestClient").field("algorithm", &algorithm).finish_non_exhaustive()
    }
}
