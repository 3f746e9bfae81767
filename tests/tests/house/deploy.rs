//! What stands in `deploy/` works with the programs as they are.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use clap::Parser;
use tandem_media_relay::limits::FILES_RESERVED;
use tandem_node::{cli, config::StartRelay, exit::Exit};

use super::{files, root};

/// Largest exposure of a unit, in tenths, on the scale of `systemd-analyze security` (0 to 100). A
/// service with two IP sockets and nothing else comes to 12.
const EXPOSURE_MAX: u32 = 20;

const NODE: &str = "tandem-node.service";
const RELAY: &str = "tandem-relay.service";

fn systemd() -> PathBuf {
    root().join("deploy/systemd")
}

/// The values of a key of a unit, in order.
fn values(unit: &str, key: &str) -> Vec<String> {
    let text = fs::read_to_string(systemd().join(unit)).unwrap();
    let of = |line: &str| Some(line.strip_prefix(key)?.strip_prefix('=')?.to_owned());
    text.lines().filter_map(of).collect()
}

fn value(unit: &str, key: &str) -> String {
    let mut values = values(unit, key);
    assert_eq!(values.len(), 1, "{unit}: {key} stands there once");
    values.remove(0)
}

/// The units in a folder of their own, with a program that exists everywhere.
fn installed(change: impl Fn(String) -> String) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for unit in [NODE, RELAY] {
        let program = value(unit, "ExecStart");
        let text = fs::read_to_string(systemd().join(unit)).unwrap();
        let text = change(text.replace(&program, "/bin/true"));
        fs::write(folder.path().join(unit), text).unwrap();
    }
    folder
}

fn analyze(folder: &Path, arguments: &[&str]) -> Output {
    Command::new("systemd-analyze")
        .args(arguments)
        .args([NODE, RELAY].map(|unit| folder.join(unit)))
        // Where the units find each other; the end of the list stands for the system's own.
        .env("SYSTEMD_UNIT_PATH", format!("{}:", folder.display()))
        .output()
        .unwrap_or_else(|error| {
            panic!("systemd-analyze cannot be run ({error}); `cargo xtask setup` installs systemd")
        })
}

/// What `systemd-analyze verify` says about our units.
fn complaints(change: impl Fn(String) -> String) -> Vec<String> {
    let folder = installed(change);
    let output = analyze(folder.path(), &["verify"]);
    let said = String::from_utf8_lossy(&output.stderr);
    let mut ours: Vec<String> =
        said.lines().filter(|line| line.contains("tandem-")).map(str::to_owned).collect();
    if !output.status.success() && ours.is_empty() {
        ours.push(said.into_owned());
    }
    ours
}

// Goal: systemd understands every line of the units; a misspelt key would be found.
#[test]
fn units_are_understood() {
    assert_eq!(complaints(|text| text), Vec::<String>::new());
    let misspelt = complaints(|text| text.replace("RestrictSUIDSGID", "RestrictSUIDGID"));
    for unit in [NODE, RELAY] {
        assert!(misspelt.iter().any(|line| line.contains(unit)), "{unit}: {misspelt:?}");
    }
}

// Goal: systemd understands the user that the units run as; a misspelt line would be found.
#[test]
fn the_user_is_understood() {
    let folder = tempfile::tempdir().unwrap();
    let understood = |text: String| {
        let file = folder.path().join("tandem.conf");
        fs::write(&file, text).unwrap();
        let output = Command::new("systemd-sysusers").arg("--dry-run").arg(file).output().unwrap();
        output.status.success()
    };
    let text = fs::read_to_string(systemd().join("tandem.sysusers")).unwrap();
    assert!(understood(text.clone()));
    assert!(!understood(text.replace("\nu tandem", "\nu tan/dem")));
}

// Goal: the units give the processes nothing that they do not need; a unit with rights would be found.
#[test]
fn units_are_exposed_little() {
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let arguments = ["security", "--no-pager", "--offline=yes", &threshold];
    let fits = |change: fn(String) -> String| {
        let folder = installed(change);
        let output = analyze(folder.path(), &arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(said.matches("Overall exposure level").count(), 2, "{said}{output:?}");
        (output.status.success(), said)
    };
    let (small, said) = fits(|text| text);
    assert!(small, "{said}");
    assert!(!fits(|text| text.replace("SystemCallFilter", "# ").replace("ProtectSystem", "# ")).0);
}

// Goal: systemd leaves alone what a person must look at, and starts the rest again.
#[test]
fn only_what_a_person_must_cure_stays_down() {
    let text = String::new;
    let (cure, pass) = (
        [Exit::Config(text()), Exit::Security(text()), Exit::Identity(text())],
        [Exit::Port(text()), Exit::Storage(text()), Exit::Relay(text())],
    );
    let mut stays: BTreeSet<u8> = cure.iter().map(Exit::code).collect();
    stays.insert(Exit::Diverged { index: 1 }.code());
    assert!(pass.iter().all(|exit| !stays.contains(&exit.code())));
    let prevented = value(NODE, "RestartPreventExitStatus");
    let prevented: BTreeSet<u8> =
        prevented.split_whitespace().map(|code| code.parse().unwrap()).collect();
    assert_eq!(prevented, stays);
    for unit in [NODE, RELAY] {
        assert_eq!(value(unit, "Restart"), "always");
    }
}

// Goal: the relay outlives its node: nothing that happens to one unit is done to the other, and when
// memory runs out the relay goes last.
#[test]
fn the_relay_outlives_the_node() {
    for unit in [NODE, RELAY] {
        for key in ["Requires", "Requisite", "BindsTo", "PartOf", "Upholds", "PropagatesStopTo"] {
            assert_eq!(values(unit, key), Vec::<String>::new(), "{unit} {key}");
        }
    }
    for key in ["Wants", "After"] {
        assert!(value(NODE, key).split_whitespace().any(|unit| unit == RELAY), "{key}");
    }
    let score = |unit: &str| value(unit, "OOMScoreAdjust").parse::<i32>().unwrap();
    assert!(score(RELAY) < score(NODE));
    let settings = production();
    assert_eq!(settings.node.start_relay, StartRelay::Supervisor);
    assert_eq!(settings.relay.orphan_exit_ms, 0, "systemd ends it, not its own clock");
}

fn production() -> tandem_node::config::Config {
    tandem_node::config::load(&systemd().join("node.toml")).unwrap()
}

// Goal: the units and the settings that are installed with them speak of the same folders and limits.
#[test]
fn units_fit_the_settings() {
    let settings = production();
    for (unit, program, folder) in [
        (NODE, "tandem node", settings.node.data_dir),
        (RELAY, "tandem-relay", settings.relay.data_dir),
    ] {
        let command = value(unit, "ExecStart");
        assert_eq!(command, format!("/usr/local/bin/{program} --config /etc/tandem/node.toml"));
        assert_eq!(Path::new("/var/lib").join(value(unit, "StateDirectory")), folder);
        assert!(
            fs::read_to_string(systemd().join("tandem.sysusers"))
                .unwrap()
                .contains(&format!("\nu {} ", value(unit, "User")))
        );
    }
    let files: u64 = value(RELAY, "LimitNOFILE").parse().unwrap();
    assert!(2 * u64::from(settings.relay.sessions_max) + FILES_RESERVED <= files);
    // The node's secrets are hidden from the relay, which parses what strangers send; its own are not.
    let hidden = values(RELAY, "InaccessiblePaths");
    let hides = |path: &Path| hidden.contains(&format!("-{}", path.display()));
    assert!(hides(&settings.security.cluster_key) && hides(&settings.tls.key));
    assert!(hides(Path::new("/var/lib/tandem/node")));
    let own = settings.tls.relay_key.unwrap();
    assert!(!hides(&own) && !hides(&settings.tls.relay_cert.unwrap()) && !hides(&settings.tls.ca));
}

/// Every settings file in `deploy/`.
fn settings_files() -> Vec<PathBuf> {
    let deploy = root().join("deploy");
    let found: Vec<PathBuf> =
        files("toml").into_iter().filter(|path| path.starts_with(&deploy)).collect();
    assert!(found.len() >= 4, "{found:?}");
    found
}

/// A settings file with its certificates and keys taken from `made`.
fn with_certificates(file: &Path, made: &Path) -> String {
    let settings = tandem_node::config::parse(&fs::read_to_string(file).unwrap()).unwrap();
    let name = &settings.node.name;
    let mut text = fs::read_to_string(file).unwrap();
    for (path, from) in [
        (&settings.security.cluster_key, "cluster.key".to_owned()),
        (&settings.tls.ca, "ca.pem".to_owned()),
        (&settings.tls.cert, format!("{name}.pem")),
        (&settings.tls.key, format!("{name}.key")),
        (settings.tls.relay_cert.as_ref().unwrap(), format!("{name}.relay.pem")),
        (settings.tls.relay_key.as_ref().unwrap(), format!("{name}.relay.key")),
    ] {
        let quoted = |path: &Path| format!("\"{}\"", path.display());
        assert!(text.contains(&quoted(path)));
        text = text.replace(&quoted(path), &quoted(&made.join(from)));
    }
    text
}

// Goal: node and relay accept every settings file in deploy/ with the certificates that `tandem cluster
// certs` makes for it; a certificate for another name would be found.
#[test]
fn settings_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made");
    let name = |file: &PathBuf| tandem_node::config::load(file).unwrap().node.name;
    let names: BTreeSet<String> = settings_files().iter().map(name).collect();
    let mut arguments = vec!["tandem", "cluster", "certs", "--output", "json", "--dir"];
    arguments.push(made.to_str().unwrap());
    arguments.extend(names.iter().flat_map(|name| ["--node", name]));
    assert_eq!(cli::run(cli::Arguments::parse_from(arguments)), 0);

    for file in settings_files() {
        let text = with_certificates(&file, &made);
        let copy = folder.path().join("node.toml");
        fs::write(&copy, &text).unwrap();
        assert_eq!(tandem_node::run::check(&copy), Ok(()), "{}", file.display());
        let relay = tandem_media_relay::config::load(&copy).unwrap();
        let id = relay.relay.relay_id().unwrap();
        tandem_media_relay::tls::TlsMaterial::load(&relay.tls, &id).unwrap();

        fs::write(&copy, text.replace("\nname = \"", "\nname = \"x")).unwrap();
        let refused = tandem_node::run::check(&copy).map_err(|exit| exit.code());
        assert_eq!(refused, Err(Exit::Security(String::new()).code()), "{}", file.display());
    }
}

// Goal: with the times in deploy/ a new leader is there before the leases end (the last renewal may be
// a fifth of a lease old), and one lost heartbeat makes no election.
#[test]
fn times_hang_together() {
    for file in settings_files() {
        let times = tandem_node::config::load(&file).unwrap().cluster;
        let least = 2 * times.election_max_ms + times.lease_ms / 5;
        assert!(times.lease_ms > least, "{}: lease_ms below {least}", file.display());
        assert!(times.election_min_ms >= 3 * times.heartbeat_ms, "{}", file.display());
    }
}
