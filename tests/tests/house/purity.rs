//! `crates/` never touches the world, and the fence around it works.

use std::{fs, process::Command};

use super::root;

/// What a pure room must not do, one line each.
const VIOLATIONS: &[&str] = &[
    "pub fn clock() -> std::time::Instant { std::time::Instant::now() }",
    "pub fn wall() -> std::time::SystemTime { std::time::SystemTime::now() }",
    "pub fn order() -> std::collections::HashMap<u8, u8> { Default::default() }",
    "pub fn thread() { std::thread::spawn(|| {}); }",
    "pub fn sleep() { std::thread::sleep(std::time::Duration::ZERO) }",
    "pub fn disk() -> std::io::Result<String> { std::fs::read_to_string(\"x\") }",
    "pub fn net() -> std::io::Result<std::net::UdpSocket> { std::net::UdpSocket::bind(\"[::]:0\") }",
    "pub fn environment() -> Option<String> { std::env::var(\"X\").ok() }",
    "pub fn print() { println!(\"x\") }",
];

/// What clippy says about a crate with this code under the fence of `crates/`.
fn clippy(code: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let manifest = "[package]\nname = \"planted\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
                    [workspace]\n";
    fs::create_dir(folder.path().join("src")).unwrap();
    fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
    fs::write(folder.path().join("src/lib.rs"), code).unwrap();
    fs::copy(root().join("crates/clippy.toml"), folder.path().join("clippy.toml")).unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["clippy", "--quiet", "--message-format", "short", "--offline"])
        .current_dir(folder.path())
        .env("CARGO_TARGET_DIR", folder.path().join("target"))
        .env_remove("CLIPPY_CONF_DIR")
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stderr).into_owned()
}

// Goal: the fence catches each kind of violation, planted here one per line, and lets clean code
// through.
#[test]
fn planted_violations_are_caught() {
    let said = clippy(&VIOLATIONS.join("\n"));
    for (index, line) in VIOLATIONS.iter().enumerate() {
        let place = format!("src/lib.rs:{}:", index + 1);
        let caught = said.lines().any(|line| line.contains(&place) && line.contains("disallowed"));
        assert!(caught, "{line} is not caught:\n{said}");
    }
    let clean =
        clippy("pub fn pure() -> std::collections::BTreeMap<u8, u8> { Default::default() }");
    assert!(!clean.contains("disallowed"), "{clean}");
}

// Goal: nobody in crates/ switches the fence off, except where a reason stands: build scripts,
// examples, and the beginning of time in tests and simulations.
#[test]
fn the_fence_stays_on() {
    let mut allowed = Vec::new();
    let mut folders = vec![root().join("crates")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let off = ["disallowed_methods", "disallowed_types", "disallowed_macros"];
                if off.iter().any(|lint| text.contains(&format!("clippy::{lint}"))) {
                    let path = path.strip_prefix(root()).unwrap().display().to_string();
                    allowed.push(path);
                }
            }
        }
    }
    allowed.retain(|path| !path.contains("/tests/") && !path.contains("_tests"));
    allowed.sort();
    assert_eq!(allowed, EXCEPTIONS, "the fence is switched off elsewhere");
}

/// Files that may do what the fence forbids, each with its reason in the file.
const EXCEPTIONS: &[&str] = &[
    "crates/callcontrol/src/leg/stream.rs",
    "crates/callcontrol/src/registrar/watch.rs",
    "crates/proto/build.rs",
    "crates/sim/src/world/mod.rs",
    "crates/sip/examples/throughput.rs",
    "crates/sip/src/lib.rs",
    "crates/sip/src/transaction/layer.rs",
];
