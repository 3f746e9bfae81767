//! `tandem cluster certs`: a development authority with certificates for every process, and the
//! cluster key. A carrier's own authority does the same with the same names in the certificates.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use clap::Args;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use serde::Serialize;
use tandem_media_relay::identity::Role;

use super::{CliError, Form, output};

/// Make a development certificate authority, certificates and the cluster key.
///
/// Existing files are kept: run it again with one more --node to add a node.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  tandem cluster certs --dir certs --node lon-1 --node par-1 --node ber-1\n\nEach --node NAME gets NAME.pem and NAME.key, and its relay NAME.relay.pem and NAME.relay.key."
)]
pub(super) struct Arguments {
    /// Folder for the files; made when it does not exist.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Name of a node ([node] name); its relay's name ([relay] id) is taken to be the same.
    #[arg(long, value_name = "NAME", required = true)]
    node: Vec<String>,
    /// Form of the answer on standard output.
    #[arg(long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

#[derive(Debug, Serialize)]
struct Made {
    made: Vec<PathBuf>,
    kept: Vec<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let dir = &arguments.dir;
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        CliError::Local(format!("{what} in {}: {error}", dir.display()))
    };
    for node in &arguments.node {
        check_name(node)?;
    }
    fs::create_dir_all(dir).map_err(|error| failed("the folder cannot be made", &error))?;
    let mut made = Made { made: Vec::new(), kept: Vec::new() };
    let issuer = authority(dir, &mut made).map_err(|error| failed("the authority", &error))?;
    let mut certificates = vec![("operator".to_owned(), Role::Operator, "operator".to_owned())];
    for node in &arguments.node {
        certificates.push((node.clone(), Role::Node, node.clone()));
        certificates.push((format!("{node}.relay"), Role::Relay, node.clone()));
    }
    for (file, role, name) in certificates {
        let (cert, key) = (dir.join(format!("{file}.pem")), dir.join(format!("{file}.key")));
        if cert.exists() && key.exists() {
            made.kept.extend([cert, key]);
            continue;
        }
        issue(&issuer, role, &name, &cert, &key)
            .map_err(|error| failed(&format!("the certificate of {name}"), &error))?;
        made.made.extend([cert, key]);
    }
    let key = dir.join("cluster.key");
    if key.exists() {
        made.kept.push(key);
    } else {
        crate::keys::create(&key).map_err(|error| failed("the cluster key", &error))?;
        made.made.push(key);
    }
    output::print(arguments.output, &made, |made| {
        let row = |path: &PathBuf, what: &str| [path.display().to_string(), what.to_owned()];
        let made_rows = made.made.iter().map(|path| row(path, "made"));
        let kept_rows = made.kept.iter().map(|path| row(path, "kept"));
        output::table(["file", ""], made_rows.chain(kept_rows))
    })
}

/// Names stand in DNS names of certificates (RFC 1035 section 2.3.1).
fn check_name(name: &str) -> Result<(), CliError> {
    let fits = (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if fits {
        return Ok(());
    }
    Err(CliError::Local(format!(
        "{name:?} cannot stand in a certificate: use 1 to 63 lower-case letters, digits and '-', such as lon-1"
    )))
}

type Error = Box<dyn std::error::Error>;

fn authority(dir: &Path, made: &mut Made) -> Result<Issuer<'static, KeyPair>, Error> {
    let (cert, key) = (dir.join("ca.pem"), dir.join("ca.key"));
    if cert.exists() && key.exists() {
        let pair = KeyPair::from_pem(&fs::read_to_string(&key)?)?;
        let issuer = Issuer::from_ca_cert_pem(&fs::read_to_string(&cert)?, pair)?;
        made.kept.extend([cert, key]);
        return Ok(issuer);
    }
    let mut params = params("Tandem development authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let pair = KeyPair::generate()?;
    let own = params.self_signed(&pair)?;
    write_private(&key, &pair.serialize_pem())?;
    fs::write(&cert, own.pem())?;
    made.made.extend([cert, key]);
    Ok(Issuer::new(params, pair))
}

fn issue(
    issuer: &Issuer<'static, KeyPair>,
    role: Role,
    name: &str,
    cert: &Path,
    key: &Path,
) -> Result<(), Error> {
    let names = vec![role.dns_name().to_owned(), role.dns_name_of(name)];
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = named(&format!("{name} ({role})"));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let pair = KeyPair::generate()?;
    let own = params.signed_by(&pair, issuer)?;
    write_private(key, &pair.serialize_pem())?;
    fs::write(cert, own.pem())?;
    Ok(())
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a second run keeps the authority and adds a node whose certificate it signed; names
    // that cannot stand in a certificate are refused before anything is written.
    #[test]
    fn certificates_are_made_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let arguments = |nodes: &[&str]| Arguments {
            dir: folder.path().join("certs"),
            node: nodes.iter().map(ToString::to_string).collect(),
            output: Form::Json,
        };
        run(&arguments(&["lon-1"])).expect("made");
        let read = |name: &str| fs::read(folder.path().join("certs").join(name)).expect("there");
        let (ca, lon, key) = (read("ca.pem"), read("lon-1.pem"), read("cluster.key"));
        run(&arguments(&["lon-1", "par-1"])).expect("made");
        assert_eq!((ca, lon, key), (read("ca.pem"), read("lon-1.pem"), read("cluster.key")));

        let file = |name: &str| folder.path().join("certs").join(name);
        for (name, role, own) in
            [("par-1", Role::Node, "par-1"), ("par-1.relay", Role::Relay, "par-1")]
        {
            let config = tandem_media_relay::config::TlsConfig {
                ca: file("ca.pem"),
                cert: file(&format!("{name}.pem")),
                key: file(&format!("{name}.key")),
                relay_cert: None,
                relay_key: None,
            };
            let of_node = crate::tls::Tls::of_node(&config, own);
            assert_eq!(of_node.is_ok(), role == Role::Node, "{name}: {of_node:?}");
        }
        let error = run(&arguments(&["bad name"])).expect_err("refused").to_string();
        assert!(error.contains("bad name"), "{error}");
    }
}
