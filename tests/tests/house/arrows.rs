//! Arrows between rooms point one way.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::DependencyKind;

use super::metadata;

/// Which room may know which: the picture of `docs/architecture.md`. Tests of a room may know more:
/// the second list.
const ARROWS: &[(&str, &[&str], &[&str])] = &[
    ("tandem-routing", &[], &[]),
    ("tandem-sip", &[], &[]),
    ("tandem-rtp", &[], &[]),
    ("tandem-proto", &[], &[]),
    ("tandem-cluster", &["tandem-routing"], &[]),
    (
        "tandem-callcontrol",
        &["tandem-cluster", "tandem-routing", "tandem-rtp", "tandem-sip"],
        &["tandem-sim"],
    ),
    (
        "tandem-sim",
        &["tandem-callcontrol", "tandem-cluster", "tandem-routing", "tandem-rtp", "tandem-sip"],
        &[],
    ),
    ("tandem-raft-store", &[], &[]),
    ("tandem-media-relay", &["tandem-rtp", "tandem-proto"], &[]),
    (
        "tandem-node",
        &[
            "tandem-callcontrol",
            "tandem-cluster",
            "tandem-media-relay",
            "tandem-proto",
            "tandem-raft-store",
            "tandem-routing",
            "tandem-rtp",
            "tandem-sip",
        ],
        &[],
    ),
    ("tandem-phone", &[], &[]),
    ("tandem-bench", &["tandem-routing"], &[]),
    ("tandem-lab", &[], &[]),
    ("tandem-chaos", &["tandem-lab", "tandem-proto", "tandem-phone", "tandem-sim"], &[]),
    (
        "tandem-tests",
        &[],
        &["tandem-chaos", "tandem-media-relay", "tandem-node", "tandem-phone", "tandem-proto"],
    ),
    ("xtask", &[], &[]),
];

type Arrows = BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)>;

fn drawn() -> Arrows {
    let metadata = metadata();
    let rooms: BTreeSet<String> =
        metadata.workspace_packages().iter().map(|package| package.name.to_string()).collect();
    let known = |package: &cargo_metadata::Package, test: bool| {
        package
            .dependencies
            .iter()
            .filter(|dependency| (dependency.kind == DependencyKind::Development) == test)
            .map(|dependency| dependency.name.clone())
            .filter(|name| rooms.contains(name))
            .collect()
    };
    metadata
        .workspace_packages()
        .iter()
        .map(|package| (package.name.to_string(), (known(package, false), known(package, true))))
        .collect()
}

/// Every arrow that nobody allowed, and every room that is not in the picture.
fn faults(drawn: &Arrows) -> Vec<String> {
    let mut faults = Vec::new();
    for (room, (needs, tests_need)) in drawn {
        let Some((_, may, tests_may)) = ARROWS.iter().find(|(name, ..)| name == room) else {
            faults.push(format!("{room} is not in the picture"));
            continue;
        };
        for other in needs.iter().filter(|other| !may.contains(&other.as_str())) {
            faults.push(format!("{room} knows {other}"));
        }
        // A room names itself to switch a feature on for its own tests.
        let allowed = |other: &&String| {
            let other = other.as_str();
            other == room || may.contains(&other) || tests_may.contains(&other)
        };
        for other in tests_need.iter().filter(|other| !allowed(other)) {
            faults.push(format!("the tests of {room} know {other}"));
        }
    }
    faults
}

// Goal: no room knows one that it must not know; a planted arrow is found.
#[test]
fn arrows_point_one_way() {
    let mut drawn = drawn();
    assert_eq!(faults(&drawn), Vec::<String>::new());
    for (room, _, _) in ARROWS {
        assert!(drawn.contains_key(*room), "{room} of the picture does not exist");
    }
    drawn.get_mut("tandem-routing").unwrap().0.insert("tandem-sip".to_owned());
    drawn.get_mut("tandem-phone").unwrap().1.insert("tandem-sip".to_owned());
    assert_eq!(
        faults(&drawn),
        ["the tests of tandem-phone know tandem-sip", "tandem-routing knows tandem-sip"]
    );
}
