//! The page for operators says what the code has.

use std::collections::BTreeSet;

use tandem_routing::state::State;

use super::{TENANT, apply, problems, sources};
use crate::configuration::{
    Prune,
    entries::{AgentEntry, NumberEntry, QueueEntry, SiteEntry},
    form::Fields,
    plan,
};

const PAGE: &str = include_str!("../../../../docs/operating/configuration-as-files.md");

/// The keys that the page describes of a table.
fn described(page: &str, table: &str) -> BTreeSet<String> {
    let (_, section) = page.split_once(&format!("\n### `[[{table}]]`\n")).expect("a section");
    let section = section.split("\n### ").next().unwrap_or("");
    let key = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    section.lines().filter_map(key).collect()
}

// Goal: every key of every table is described, and nothing else is; a missing one would be found.
#[test]
fn every_key_is_described() {
    for (table, keys) in [
        ("site", SiteEntry::KEYS),
        ("queue", QueueEntry::KEYS),
        ("number", NumberEntry::KEYS),
        ("agent", AgentEntry::KEYS),
    ] {
        let known: BTreeSet<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        assert_eq!(described(PAGE, table), known, "{table}");
    }
    assert_ne!(
        described(&PAGE.replace("| `ring_ms`", "| `ring`"), "queue"),
        described(PAGE, "queue")
    );
}

// Goal: the page's example is taken as it stands, by an empty cluster too; the defaults that it names hold.
#[test]
fn the_example_is_taken() {
    let example = PAGE.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let example = example.expect("an example");
    let mut state = State::default();
    let made = apply(&mut state, &[example], Prune::No);
    assert_eq!(made.changes.len(), 5);
    let defaults = "[[queue]]\nname = \"sales\"\n\
                    requirement = \"anybody\"\nstrategy = \"longest-idle\"\nweight = 0\nsite_choice = \"any\"\n\
                    widen_after_ms = 0\nring_ms = 15000\nwrap_up_ms = 10000\nwrap_up_max_ms = 0\n\
                    length_max = 1000\nwait_max_ms = 0\nanswer_within_ms = 20000\n";
    apply(&mut state, &["[[queue]]\nname = \"sales\"\n"], Prune::No);
    let said = plan(&state, TENANT, &sources(&[defaults]), Prune::No).expect("a plan");
    assert!(said.changes.is_empty(), "{:?}", said.changes);
    assert!(!problems(&state, &["[[queue]]\nring = 1\n"], Prune::No).is_empty());
}
