//! Scenarios in readable text: what is done, and what the queue makes of it, line by line.
//!
//! A line that begins with `>` is done; the lines behind it are what happened, rewritten by `UPDATE=1`.
//! `script` reads the lines, `center` does them (and the judge beside it), `histories` draws lines by chance,
//! this file compares. The files
//! are in `crates/routing/scenarios`; `docs/routing-scenarios.md` lists them.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]
#![expect(clippy::disallowed_methods, reason = "scenarios are files; only this test reads them")]

mod center;
mod configure;
mod histories;
mod script;

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use center::Center;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

fn files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ext| ext == "txt"));
    files.sort();
    files
}

/// The scenario as it plays in this center.
fn play(name: &str, text: &str, mut center: Center) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let Some(command) = line.strip_prefix('>') else {
            // What is shown is made anew; titles, remarks and empty lines stay.
            if line.is_empty() || line.starts_with('#') {
                writeln!(out, "{line}").unwrap();
            }
            continue;
        };
        writeln!(out, "{line}").unwrap();
        let shown = center
            .run(command.trim())
            .unwrap_or_else(|problem| panic!("{name}: {command}: {problem}"));
        for line in shown {
            writeln!(out, "    {line}").unwrap();
        }
    }
    out
}

// Goal: each rule does what its scenario shows, and the judge agrees with every step.
#[test]
fn scenarios_play_as_written() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut different = Vec::new();
    for path in files() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let now = play(&name, &text, Center::default());
        if now == text {
            continue;
        }
        if update {
            fs::write(&path, now).unwrap();
        } else {
            different.push(format!("{name} plays so now (UPDATE=1 rewrites it):\n{now}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

// Goal: each scenario says in its first line what it shows, and a page lists them all.
#[test]
fn every_scenario_is_listed() {
    let mut page = String::from(
        "# What the queue does, by example\n\nEach line is a file of `crates/routing/scenarios`, played by the tests \
         against the queue and its judge.\n\n| scenario | what it shows |\n|---|---|\n",
    );
    for path in files() {
        let text = fs::read_to_string(&path).unwrap();
        let title = text.lines().next().unwrap_or_default();
        let title =
            title.strip_prefix("# ").unwrap_or_else(|| panic!("{}: no title", path.display()));
        let name = path.file_stem().unwrap().to_string_lossy();
        writeln!(page, "| [{name}](../crates/routing/scenarios/{name}.txt) | {title} |").unwrap();
    }
    let at = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/routing-scenarios.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&at, &page).unwrap();
    }
    assert_eq!(fs::read_to_string(&at).unwrap(), page, "UPDATE=1 rewrites the page");
}

// Goal: a line that cannot be read is an error and not skipped.
#[test]
fn what_cannot_be_read_is_refused() {
    for line in
        ["dance", "agent", "queue sales strategy=fastest", "call", "wait long", "answer nobody"]
    {
        assert!(Center::default().run(line).is_err(), "{line}");
    }
}

// Goal: each fault that is planted in the queue changes what some scenario shows, or the judge sees it.
#[cfg(feature = "planted")]
#[test]
fn planted_faults_are_seen() {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use tandem_routing::planted::{Planted, Room};

    let files: Vec<(String, String)> = files()
        .into_iter()
        .map(|path| (path.display().to_string(), fs::read_to_string(path).unwrap()))
        .collect();
    let same = |fault: Planted, name: &str, text: &str| {
        let played = catch_unwind(AssertUnwindSafe(|| play(name, text, Center::with(fault))));
        played.is_ok_and(|now| now == text)
    };
    let rules = Planted::ALL.iter().filter(|fault| fault.room() == Room::Rules);
    let missed: Vec<&Planted> =
        rules.filter(|fault| files.iter().all(|(name, text)| same(**fault, name, text))).collect();
    assert!(missed.is_empty(), "no scenario shows {missed:?}");
}
