//! What may be in the tree: licences, bans, and the short list for `crates/`.

use std::{collections::BTreeSet, fs};

use cargo_metadata::DependencyKind;

use super::{metadata, root};

/// Libraries that `crates/` may use: none of them touches the world.
const PURE: &[&str] = &[
    "bytes",
    "chacha20poly1305",
    "hmac",
    "md-5",
    "postcard",
    "prost",
    "rand_chacha",
    "rand_core",
    "rsip",
    "sdp-types",
    "serde",
    "serde_json",
    "sha2",
    "subtle",
    "thiserror",
    "xxhash-rust",
];

fn deny() -> toml::Table {
    fs::read_to_string(root().join("deny.toml")).unwrap().parse().unwrap()
}

// Goal: a new library in a pure room is a decision, not an accident.
#[test]
fn pure_rooms_use_only_pure_libraries() {
    let metadata = metadata();
    let rooms: BTreeSet<String> =
        metadata.workspace_packages().iter().map(|package| package.name.to_string()).collect();
    let pure = |package: &&&cargo_metadata::Package| {
        package.manifest_path.strip_prefix(root().join("crates")).is_ok()
    };
    let packages = metadata.workspace_packages();
    let packages: Vec<_> = packages.iter().filter(pure).collect();
    assert_eq!(packages.len(), 7, "the pure rooms are found");
    for package in packages {
        for dependency in &package.dependencies {
            let normal = dependency.kind == DependencyKind::Normal;
            let known =
                rooms.contains(&dependency.name) || PURE.contains(&dependency.name.as_str());
            assert!(!normal || known, "{} uses {}", package.name, dependency.name);
        }
    }
}

/// True when an SPDX expression (AND, OR, WITH, brackets, and the old slash) can be met by what is
/// allowed.
fn is_met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let joined = spaced.replace(" WITH ", "_WITH_");
    let mut words: Vec<&str> = joined.split_whitespace().rev().collect();
    let met = any(&mut words, allowed);
    met && words.is_empty()
}

fn any(words: &mut Vec<&str>, allowed: &BTreeSet<String>) -> bool {
    let mut met = all(words, allowed);
    while words.last() == Some(&"OR") {
        words.pop();
        met |= all(words, allowed);
    }
    met
}

fn all(words: &mut Vec<&str>, allowed: &BTreeSet<String>) -> bool {
    let mut met = one(words, allowed);
    while words.last() == Some(&"AND") {
        words.pop();
        met &= one(words, allowed);
    }
    met
}

fn one(words: &mut Vec<&str>, allowed: &BTreeSet<String>) -> bool {
    match words.pop() {
        Some("(") => {
            let met = any(words, allowed);
            met && words.pop() == Some(")")
        }
        Some(licence) => allowed.contains(&licence.replace("_WITH_", " WITH ")),
        None => false,
    }
}

// Goal: every library's licence can be met by those of deny.toml; expressions are read right.
#[test]
fn licences_are_allowed() {
    let deny = deny();
    let allowed: BTreeSet<String> = deny["licenses"]["allow"]
        .as_array()
        .unwrap()
        .iter()
        .map(|licence| licence.as_str().unwrap().to_owned())
        .collect();
    let clarified = |name: &str| {
        let clarify = deny["licenses"]["clarify"].as_array().unwrap();
        let entry = clarify.iter().find(|entry| entry["crate"].as_str() == Some(name))?;
        Some(entry["expression"].as_str().unwrap().to_owned())
    };
    for package in metadata().packages {
        let licence = package.license.clone().or_else(|| clarified(&package.name));
        let licence = licence.unwrap_or_default();
        assert!(is_met(&licence, &allowed), "{} has the licence {licence:?}", package.name);
    }
    let allowed = BTreeSet::from(["MIT".to_owned(), "Apache-2.0 WITH LLVM-exception".to_owned()]);
    for (expression, met) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("(GPL-3.0 OR MIT) AND Apache-2.0 WITH LLVM-exception", true),
        ("(GPL-3.0 OR MIT) AND BSD-2-Clause", false),
    ] {
        assert_eq!(is_met(expression, &allowed), met, "{expression}");
    }
}

// Goal: what deny.toml bans is not in the lock file (a second crypto provider is a panic at the
// first handshake); a ban that names nothing would be noticed.
#[test]
fn banned_libraries_are_absent() {
    let deny = deny();
    let banned: Vec<&str> = deny["bans"]["deny"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ban| ban["crate"].as_str().unwrap())
        .collect();
    assert!(banned.contains(&"aws-lc-rs"));
    let lock: toml::Table = fs::read_to_string(root().join("Cargo.lock")).unwrap().parse().unwrap();
    let locked: BTreeSet<&str> = lock["package"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| package["name"].as_str().unwrap())
        .collect();
    assert!(locked.contains("ring"), "the lock file is read");
    for name in banned {
        assert!(!locked.contains(name), "{name} is in Cargo.lock");
    }
}
