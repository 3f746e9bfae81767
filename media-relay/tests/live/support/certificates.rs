//! A certificate authority for tests.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tandem_media_relay::{TlsConfig, identity::Role};

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

pub(crate) struct Certificate {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, "tandem test authority");
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    pub(crate) fn issue(&self, role: Role, name: &str) -> Certificate {
        let names = vec![role.dns_name().to_owned(), role.dns_name_of(name)];
        let params = CertificateParams::new(names).expect("DNS names");
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        Certificate { cert: cert.pem(), key: key.serialize_pem() }
    }

    /// Writes the files of one process.
    pub(crate) fn write(&self, folder: &Path, role: Role, name: &str) -> TlsConfig {
        let certificate = self.issue(role, name);
        let put = |file: &str, text: &str| {
            let path = folder.join(format!("{name}-{file}"));
            fs::write(&path, text).expect("written");
            path
        };
        TlsConfig {
            ca: put("ca.pem", &self.pem),
            cert: put("cert.pem", &certificate.cert),
            key: put("key.pem", &certificate.key),
            relay_cert: None,
            relay_key: None,
        }
    }
}
