//! Documents say what the code has: settings, limits, and paths that exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use super::{files, root};

const SETTINGS: &str = "docs/operating/configuration.md";
const LIMITS: &str = "docs/limits.md";

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The second-level sections of a document: title and text.
fn sections(text: &str) -> Vec<(&str, &str)> {
    text.split("\n## ").skip(1).map(|part| part.split_once('\n').unwrap_or((part, ""))).collect()
}

/// A row of a table that begins with code: that code, and the other cells.
fn row(line: &str) -> Option<(&str, Vec<&str>)> {
    let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
    Some((name, rest.trim_end_matches(" |").split(" | ").collect()))
}

fn rows(section: &str) -> Vec<(&str, Vec<&str>)> {
    section.lines().filter_map(row).collect()
}

// --- settings -------------------------------------------------------------------------------------

type Keys = BTreeSet<(String, String)>;

/// Tables and keys that the settings' page describes.
fn described(page: &str) -> Keys {
    let mut keys = Keys::new();
    for (title, text) in sections(page) {
        if let Some(table) = title.strip_prefix('[').and_then(|title| title.strip_suffix(']')) {
            keys.extend(rows(text).into_iter().map(|(key, _)| (table.to_owned(), key.to_owned())));
        }
    }
    keys
}

// Goal: every key of the settings is described in the section of its table, and nothing else is; a key
// in the wrong section would be found.
#[test]
fn settings_are_described() {
    let known: Keys = tandem_node::config::TABLES
        .iter()
        .flat_map(|(table, keys)| keys.iter().map(|key| ((*table).to_owned(), (*key).to_owned())))
        .collect();
    let page = read(SETTINGS);
    assert_eq!(described(&page), known);
    assert_ne!(described(&page.replace("| `lease_ms` |", "| `leese_ms` |")), known);
    assert_ne!(described(&page.replace("\n## [api]", "\n## [cluster]")), known);
}

// Goal: the example of a node's settings is accepted as it stands in the page, and so is the relay's.
#[test]
fn examples_of_settings_are_accepted() {
    let page = read(SETTINGS);
    let example = |title: &str| {
        let (_, text) = *sections(&page).iter().find(|(found, _)| *found == title).unwrap();
        text.split("```toml\n").nth(1).unwrap().split("```").next().unwrap().to_owned()
    };
    tandem_node::config::parse(&example("Example: a node with its relay")).unwrap();
    tandem_media_relay::config::parse(&example("Example: a relay on its own")).unwrap();
}

// --- limits ---------------------------------------------------------------------------------------

/// A public constant: name and expression.
fn constant(item: &str) -> (&str, &str) {
    let (name, rest) = item.split_once(':').unwrap();
    (name, rest.split_once('=').unwrap().1.split_once(';').unwrap().0.trim())
}

fn constants(code: &str) -> BTreeMap<&str, &str> {
    code.split("\npub const ").skip(1).map(constant).collect()
}

/// A product of plain numbers; `None` for what refers to other constants.
fn product(expression: &str) -> Option<u64> {
    expression.split('*').try_fold(1, |product, factor| {
        Some(product * factor.trim().replace('_', "").parse::<u64>().ok()?)
    })
}

/// What a constant comes to: a number, or a duration in milliseconds.
fn value(expression: &str) -> Option<u64> {
    let Some(duration) = expression.strip_prefix("Duration::from_") else {
        return product(expression);
    };
    let (unit, count) = duration.strip_suffix(')')?.split_once('(')?;
    Some(product(count)? * if unit == "secs" { 1_000 } else { 1 })
}

/// What a row of the limits' page says, in the same terms.
fn said(expression: &str, cells: &[&str]) -> Option<u64> {
    let (number, unit) = cells[0].split_once(' ').unwrap_or((cells[0], ""));
    let unit = if expression.starts_with("Duration") { cells[1] } else { unit };
    let factor = match unit {
        "days" => 86_400_000,
        "h" => 3_600_000,
        "s" => 1_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "" | "ms" => 1,
        _ => return None,
    };
    Some(number.replace(',', "").parse::<u64>().ok()? * factor)
}

/// What the page of the limits and a file of them do not agree on.
fn disagreements(section: &str, code: &str) -> Vec<String> {
    let (rows, constants) = (rows(section), constants(code));
    let listed: BTreeSet<&str> = rows.iter().map(|(name, _)| *name).collect();
    let missing = constants.keys().filter(|name| !listed.contains(**name));
    let mut faults: Vec<String> = missing.map(|name| format!("{name} is not listed")).collect();
    for (name, cells) in rows {
        match constants.get(name) {
            None => faults.push(format!("{name} does not exist")),
            Some(expression) => {
                let real = value(expression);
                if real.is_some() && real != said(expression, &cells) {
                    faults.push(format!("{name} is {expression}, not {} {}", cells[0], cells[1]));
                }
            }
        }
    }
    faults
}

// Goal: every limit is listed with its value in the section that names its file, and nothing else is;
// a missing one and a wrong value would be found.
#[test]
fn limits_are_listed() {
    let page = read(LIMITS);
    let mut seen = BTreeSet::new();
    for (title, section) in sections(&page) {
        let source = section.split_once("Source: `").unwrap().1.split_once('`').unwrap().0;
        if !source.ends_with("limits.rs") {
            continue;
        }
        seen.insert(root().join(source));
        assert_eq!(disagreements(section, &read(source)), Vec::<String>::new(), "{title}");
    }
    let all: BTreeSet<PathBuf> =
        files("rs").into_iter().filter(|path| path.ends_with("limits.rs")).collect();
    assert_eq!(seen, all, "each limits.rs has a section, and each section a limits.rs");

    let code = "\npub const A: u64 = 2 * 1_024;\npub const B: Duration = Duration::from_secs(3);\n\
                pub const C: usize = A;";
    let row = |name, value, unit| format!("| `{name}` | {value} | {unit} | refused |\n");
    let table = [row("A", "2 KiB", "bytes"), row("B", "3", "s"), row("C", "as A", "")].concat();
    assert_eq!(disagreements(&table, code), Vec::<String>::new());
    for (from, to) in [("2 KiB", "2 MiB"), ("| s |", "| ms |"), ("`C`", "`D`")] {
        assert_ne!(disagreements(&table.replace(from, to), code), Vec::<String>::new(), "{to}");
    }
}

// Goal: the limits that stand at their place of use exist there.
#[test]
fn limits_of_the_node_exist() {
    let page = read(LIMITS);
    let (_, section) = *sections(&page).iter().find(|(title, _)| *title == "The node").unwrap();
    let listed = rows(section);
    assert!(listed.len() > 10);
    for (name, cells) in listed {
        let (module, constant) = name.split_once(' ').unwrap();
        let file = format!("node/src/{}", module.replace("::", "/"));
        let at = [format!("{file}.rs"), format!("{file}/mod.rs")];
        let at = at.iter().find(|path| root().join(path).exists());
        let code = read(at.unwrap_or_else(|| panic!("{module} does not exist")));
        let found = code.split_once(&format!("const {constant}:"));
        let found = found.unwrap_or_else(|| panic!("{module} has no {constant}")).1;
        let expression = found.split_once('=').unwrap().1.split_once(';').unwrap().0.trim();
        let real = value(expression);
        let fits = real.is_none() || said(expression, &cells) == real;
        assert!(fits, "{name} is {expression}, not {} {}", cells[0], cells[1]);
    }
}

// --- invariants -----------------------------------------------------------------------------------

/// Names of functions in a page's code spans: `name_of_it`, or `folder::name_of_it`.
fn functions(page: &str) -> BTreeSet<&str> {
    let in_name = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    page.split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|span| span.rsplit("::").next())
        .filter(|name| name.contains('_') && !name.ends_with("_tests"))
        .filter(|name| name.chars().all(|letter| in_name(letter) || letter == '_'))
        .collect()
}

// Goal: the tests and functions that the page of the invariants names exist.
#[test]
fn tests_of_the_invariants_exist() {
    let page = read("docs/invariants.md");
    let named = functions(&page);
    assert!(named.len() > 40, "{named:?}");
    let code: Vec<String> =
        files("rs").iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    for name in named {
        let there = [format!("fn {name}("), format!("fn {name}<")];
        let found = code.iter().any(|text| there.iter().any(|item| text.contains(item)));
        assert!(found, "docs/invariants.md names {name}, which does not exist");
    }
    let planted = "`a::b_c` `D_E` `f.rs` x_y `live` `g_h`: `w/v.rs::i_j`";
    assert_eq!(functions(planted), BTreeSet::from(["b_c", "g_h", "i_j"]));
}

// --- paths ----------------------------------------------------------------------------------------

/// Paths of documents that a text mentions, with the folder of that name.
fn mentioned(text: &str) -> BTreeSet<String> {
    let in_path = |letter: char| letter.is_ascii_alphanumeric() || "-_./".contains(letter);
    text.match_indices("docs/")
        .filter(|(at, _)| !text[..*at].ends_with(in_path))
        .filter_map(|(at, _)| {
            let path = text[at..].split(|letter| !in_path(letter)).next()?;
            let path = path.trim_end_matches(['.', '/']);
            path.ends_with(".md").then(|| path.to_owned())
        })
        .collect()
}

/// Targets of a document's links that are files.
fn linked(text: &str) -> BTreeSet<String> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.split('#').next().unwrap_or_default())
        .filter(|target| !target.is_empty() && !target.contains(':'))
        .map(str::to_owned)
        .collect()
}

// Goal: a document that code, settings or another document names is there.
#[test]
fn mentioned_documents_exist() {
    let mut found = BTreeSet::new();
    for path in ["rs", "toml", "md", "service"].into_iter().flat_map(files) {
        for document in mentioned(&fs::read_to_string(&path).unwrap()) {
            assert!(root().join(&document).is_file(), "{} names {document}", path.display());
            found.insert(document);
        }
    }
    for document in [SETTINGS, LIMITS] {
        assert!(found.contains(document), "{document} is named nowhere: nothing was read");
    }
    let planted = ["doc", "s/a.md, `doc", "s/b/c-d.md`. x/doc", "s/e.md doc", "s/adr/"].concat();
    let expected = [["doc", "s/a.md"].concat(), ["doc", "s/b/c-d.md"].concat()];
    assert_eq!(mentioned(&planted), BTreeSet::from(expected));
}

// Goal: links between documents lead somewhere.
#[test]
fn links_lead_somewhere() {
    let mut count = 0;
    for path in files("md") {
        let beside = path.parent().unwrap_or(Path::new(""));
        for target in linked(&fs::read_to_string(&path).unwrap()) {
            assert!(beside.join(&target).exists(), "{} links to {target}", path.display());
            count += 1;
        }
    }
    assert!(count > 20, "{count} links were read");
    let planted = "[a](b/c.md#d) [e](https://f.example/g.md) [h](#i) [j](k.md)";
    assert_eq!(linked(planted), BTreeSet::from(["b/c.md".to_owned(), "k.md".to_owned()]));
}

// Goal: every document can be reached from the list of documents.
#[test]
fn documents_are_listed() {
    let docs = root().join("docs");
    let mut reached = BTreeSet::from([docs.join("README.md")]);
    let mut open: Vec<PathBuf> = reached.iter().cloned().collect();
    while let Some(page) = open.pop() {
        for target in linked(&fs::read_to_string(&page).unwrap()) {
            let target = page.parent().unwrap().join(target).canonicalize().unwrap();
            let page = target.extension().is_some_and(|ending| ending == "md");
            if page && reached.insert(target.clone()) {
                open.push(target);
            }
        }
    }
    for page in files("md").into_iter().filter(|page| page.starts_with(&docs)) {
        assert!(reached.contains(&page), "{} is linked nowhere", page.display());
    }
}
