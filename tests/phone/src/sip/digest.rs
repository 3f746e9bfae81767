//! Digest authentication, client side (RFC 3261 22.4, RFC 7616, RFC 8760).

use std::fmt;

use md5::Md5;
use sha2::{Digest as _, Sha256};

use super::header::split_list;
use super::method::Method;

/// A password. `Debug` never shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a password.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The hash of a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestAlgorithm {
    /// RFC 2617's.
    Md5,
    /// RFC 8760's.
    Sha256,
}

impl DigestAlgorithm {
    /// The name in `algorithm=`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    fn hash(self, text: &str) -> String {
        let bytes = match self {
            Self::Md5 => Md5::digest(text.as_bytes()).to_vec(),
            Self::Sha256 => Sha256::digest(text.as_bytes()).to_vec(),
        };
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Why no credentials can be given for a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// No challenge that the phone can answer (and may, when an algorithm is forced).
    #[error(
        "none of the challenges is a Digest with MD5 or SHA-256 and qop=auth (or the forced \
         algorithm): check what the registrar offers"
    )]
    NoSupportedChallenge,
}

/// What a server asks for in `WWW-Authenticate` or `Proxy-Authenticate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Protection domain.
    pub realm: String,
    /// Server nonce.
    pub nonce: String,
    /// To be given back unchanged.
    pub opaque: Option<String>,
    /// The hash.
    pub algorithm: DigestAlgorithm,
    /// The server offers `qop=auth`.
    pub qop_auth: bool,
    /// The credentials were right, only the nonce was too old.
    pub stale: bool,
}

impl Challenge {
    /// Takes the first challenge, top down, that the phone can answer (RFC 8760 2.4: the server
    /// puts the one it likes best first).
    ///
    /// # Errors
    /// `NoSupportedChallenge`.
    pub fn choose<'h>(
        lines: impl Iterator<Item = &'h str>,
        forced: Option<DigestAlgorithm>,
    ) -> Result<Self, DigestError> {
        lines
            .flat_map(challenges_of_line)
            .find(|challenge| forced.is_none_or(|wanted| wanted == challenge.algorithm))
            .ok_or(DigestError::NoSupportedChallenge)
    }
}

/// Challenges of one header line; several may share it (RFC 7235 4.1).
fn challenges_of_line(line: &str) -> Vec<Challenge> {
    let mut groups: Vec<Vec<(String, String)>> = Vec::new();
    for part in split_list(line).unwrap_or_default() {
        let pair = match part.split_once(char::is_whitespace) {
            Some((scheme, rest)) if !scheme.contains('=') => {
                groups.push(vec![("scheme".into(), scheme.to_ascii_lowercase())]);
                rest.trim()
            }
            _ => part,
        };
        if let (Some(group), Some((name, value))) = (groups.last_mut(), pair.split_once('=')) {
            let value = value.trim().trim_matches('"').to_owned();
            group.push((name.trim().to_ascii_lowercase(), value));
        }
    }
    groups.iter().filter_map(|group| challenge_of_group(group)).collect()
}

fn challenge_of_group(group: &[(String, String)]) -> Option<Challenge> {
    let get = |name: &str| group.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    if get("scheme")? != "digest" {
        return None;
    }
    let algorithm = match get("algorithm").map(|name| name.to_ascii_uppercase()).as_deref() {
        None | Some("MD5") => DigestAlgorithm::Md5,
        Some("SHA-256") => DigestAlgorithm::Sha256,
        Some(_) => return None,
    };
    let qop = get("qop");
    let qop_auth =
        qop.as_deref().is_some_and(|list| list.split(',').any(|name| name.trim() == "auth"));
    if qop.is_some() && !qop_auth {
        return None;
    }
    Some(Challenge {
        realm: get("realm")?,
        nonce: get("nonce")?,
        opaque: get("opaque"),
        algorithm,
        qop_auth,
        stale: get("stale").is_some_and(|value| value.eq_ignore_ascii_case("true")),
    })
}

/// User name and password, and the algorithm if one is forced.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password.
    pub password: Secret,
    /// Answer only challenges of this algorithm.
    pub algorithm: Option<DigestAlgorithm>,
}

impl Credentials {
    /// Credentials for any supported algorithm.
    #[must_use]
    pub fn new(username: &str, password: &str) -> Self {
        let password = Secret::new(password);
        Self { username: username.to_owned(), password, algorithm: None }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = super::masked(&self.username);
        write!(f, "Credentials({user}, {:?}, {:?})", self.password, self.algorithm)
    }
}

/// A challenge in use: counts how often its nonce served (`nc`, RFC 7616 3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestUse {
    challenge: Challenge,
    nonce_count: u32,
}

impl DigestUse {
    /// Begins to use a challenge.
    #[must_use]
    pub const fn new(challenge: Challenge) -> Self {
        Self { challenge, nonce_count: 0 }
    }

    /// The challenge.
    #[must_use]
    pub const fn challenge(&self) -> &Challenge {
        &self.challenge
    }

    /// The value of an `Authorization` (or `Proxy-Authorization`) header for one more request.
    pub fn authorize(
        &mut self,
        credentials: &Credentials,
        method: &Method,
        uri: &str,
        cnonce: &str,
    ) -> String {
        self.nonce_count = self.nonce_count.saturating_add(1);
        let Challenge { realm, nonce, opaque, algorithm, qop_auth, .. } = &self.challenge;
        let user = &credentials.username;
        let a1 = algorithm.hash(&format!("{user}:{realm}:{}", credentials.password.0));
        let a2 = algorithm.hash(&format!("{method}:{uri}"));
        let count = format!("{:08x}", self.nonce_count);
        let response = if *qop_auth {
            algorithm.hash(&format!("{a1}:{nonce}:{count}:{cnonce}:auth:{a2}"))
        } else {
            algorithm.hash(&format!("{a1}:{nonce}:{a2}"))
        };
        let mut value = format!(
            "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{response}\", algorithm={}",
            algorithm.name()
        );
        if *qop_auth {
            value.push_str(&format!(", qop=auth, nc={count}, cnonce=\"{cnonce}\""));
        }
        if let Some(opaque) = opaque {
            value.push_str(&format!(", opaque=\"{opaque}\""));
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response_of(value: &str) -> String {
        let at = value.find("response=\"").expect("a response") + 10;
        value[at..].split('"').next().unwrap_or_default().to_owned()
    }

    // Goal: the published examples of RFC 7616 3.9.1 (MD5 and SHA-256) and RFC 2617 3.5 come out.
    #[test]
    fn published_vectors() {
        let line = |algorithm: &str| {
            format!(
                "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm={algorithm}, \
                 nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", \
                 opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
            )
        };
        let get = Method::Other("GET".into());
        let user = Credentials::new("Mufasa", "Circle of Life");
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        for (algorithm, wanted) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let line = line(algorithm);
            let challenge = Challenge::choose([line.as_str()].into_iter(), None).expect("digest");
            let value = DigestUse::new(challenge).authorize(&user, &get, "/dir/index.html", cnonce);
            assert_eq!(response_of(&value), wanted, "{algorithm}");
            assert!(value.contains("opaque=\"FQhe/") && value.contains("nc=00000001"), "{value}");
        }

        let old = "Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", \
                   nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", \
                   opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"";
        let challenge = Challenge::choose([old].into_iter(), None).expect("digest");
        let user = Credentials::new("Mufasa", "Circle Of Life");
        let value = DigestUse::new(challenge).authorize(&user, &get, "/dir/index.html", "0a4f113b");
        assert_eq!(response_of(&value), "6629fae49393a05397450978507c4ef1");
    }

    // Goal: the first supported challenge wins unless one is forced; unknown ones are passed over.
    #[test]
    fn challenge_choice() {
        let sha = "Digest realm=\"r\", nonce=\"n1\", algorithm=SHA-256, qop=\"auth\"";
        let md5 = "Digest realm=\"r\", nonce=\"n2\", algorithm=MD5, qop=\"auth\", stale=TRUE";
        let sha512 = "Digest realm=\"r\", nonce=\"n3\", algorithm=SHA-512-256, qop=\"auth\"";
        let int_only = "Digest realm=\"r\", nonce=\"n4\", qop=\"auth-int\"";
        let both = format!("{sha}, {md5}");
        let table: [(&[&str], Option<DigestAlgorithm>, Option<&str>); 8] = [
            (&[sha512, sha, md5], None, Some("n1")),
            (&[md5, sha], None, Some("n2")),
            (&[sha, md5], Some(DigestAlgorithm::Md5), Some("n2")),
            (&[&both], Some(DigestAlgorithm::Md5), Some("n2")),
            (&[&both], None, Some("n1")),
            (&[md5], Some(DigestAlgorithm::Sha256), None),
            (&[sha512, int_only], None, None),
            (&["Basic realm=\"r\""], None, None),
        ];
        for (lines, forced, nonce) in table {
            let found = Challenge::choose(lines.iter().copied(), forced);
            assert_eq!(found.as_ref().ok().map(|c| c.nonce.as_str()), nonce, "{lines:?}");
        }
        let stale = Challenge::choose([md5].into_iter(), None).expect("digest");
        assert!(stale.stale);
    }

    // Goal: each use of a nonce raises its count, and without qop the old form of RFC 2069 is used.
    #[test]
    fn nonce_count_and_old_form() {
        let user = Credentials::new("u", "p");
        let line = "Digest realm=\"r\", nonce=\"n\", qop=auth";
        let mut usage =
            DigestUse::new(Challenge::choose([line].into_iter(), None).expect("digest"));
        let first = usage.authorize(&user, &Method::Register, "sip:h", "c");
        let second = usage.authorize(&user, &Method::Register, "sip:h", "c");
        assert!(first.contains("nc=00000001") && second.contains("nc=00000002"));
        assert_ne!(response_of(&first), response_of(&second));

        let line = "Digest realm=\"r\", nonce=\"n\"";
        let mut usage =
            DigestUse::new(Challenge::choose([line].into_iter(), None).expect("digest"));
        let value = usage.authorize(&user, &Method::Register, "sip:h", "c");
        assert!(!value.contains("qop") && !value.contains("cnonce"), "{value}");
        assert!(!format!("{user:?}").contains("\"p\""), "the password stays hidden");
    }
}
