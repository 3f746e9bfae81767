//! Reading documents: every problem of all of them at once, each at its place.

use std::collections::BTreeMap;

use tandem_routing::name::Name;
use toml::de::{DeTable, DeValue};

use super::{
    Prune,
    current::Whole,
    entries::{AgentEntry, Entry, NumberEntry, QueueEntry, SiteEntry},
    reader::{Kind, Reader, Reference, Value, unknown},
    source::{At, Texts},
};

/// What goes wrong in one document's syntax and is told; what follows is mostly a consequence.
const SYNTAX_PROBLEMS_MAX: usize = 3;

/// What documents say, as far as it could be read.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) sites: Entries<SiteEntry>,
    pub(super) queues: Entries<QueueEntry>,
    pub(super) numbers: Entries<NumberEntry>,
    pub(super) agents: Entries<AgentEntry>,
    /// Problems, in no order.
    pub(super) problems: Vec<(At, String)>,
    /// Whether all documents could be read: only then it is known what they do not speak of.
    pub(super) syntax: Syntax,
}

/// Whether documents are TOML.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Syntax {
    #[default]
    Sound,
    Broken,
}

/// Things of one kind by their names.
pub(super) type Entries<T> = BTreeMap<Name, Placed<T>>;

/// A thing, and where it stands.
#[derive(Debug)]
pub(super) struct Placed<T> {
    pub(super) entry: T,
    /// Of its table.
    pub(super) at: At,
    /// Of its keys.
    pub(super) keys: BTreeMap<String, At>,
    /// What it speaks of.
    pub(super) references: Vec<Reference>,
}

/// The tables of a document.
const TABLES: &[&str] = &["site", "queue", "number", "agent"];
/// Tables that people may look for here.
const ELSEWHERE: &[(&str, &str)] = &[
    ("node", "the settings of a node are another file (docs/operating/configuration.md)"),
    ("skill", "skills need no table: they are there once somebody has or asks for one"),
    ("trunk", "trunks are in the settings of each node ([[sip.trunk]])"),
];

/// Reads documents.
pub(super) fn read(texts: &Texts<'_>) -> Said {
    let mut said = Said::default();
    for (file, source) in texts.sources.iter().enumerate() {
        let (document, errors) = DeTable::parse_recoverable(&source.text);
        if errors.is_empty() {
            read_one(texts, file, document.get_ref(), &mut said);
            continue;
        }
        said.syntax = Syntax::Broken;
        let place = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
        let mut errors: Vec<_> = errors.iter().map(|e| (place(e), e.message())).collect();
        errors.sort_unstable();
        errors.dedup_by_key(|(byte, _)| *byte);
        for (byte, message) in errors.into_iter().take(SYNTAX_PROBLEMS_MAX) {
            said.problems.push((At { file, byte }, format!("this is no TOML: {message}")));
        }
    }
    said
}

fn read_one(texts: &Texts<'_>, file: usize, document: &DeTable<'_>, said: &mut Said) {
    let mut reader = Reader { texts, file, problems: Vec::new(), references: Vec::new() };
    for (table, value) in document {
        let at = reader.at(table.span().start);
        let word = table.get_ref().as_ref();
        if !TABLES.contains(&word) {
            reader.problem(at, unknown("table", word, TABLES, ELSEWHERE));
            continue;
        }
        let DeValue::Array(rows) = value.get_ref() else {
            reader.problem(at, format!("write [[{word}]] with two brackets: there may be several"));
            continue;
        };
        for row in rows.iter() {
            match word {
                "site" => read_row(row, &mut reader, &mut said.sites),
                "queue" => read_row(row, &mut reader, &mut said.queues),
                "number" => read_row(row, &mut reader, &mut said.numbers),
                _ => read_row(row, &mut reader, &mut said.agents),
            }
        }
    }
    said.problems.append(&mut reader.problems);
}

fn read_row<T: Entry>(value: &Value<'_>, reader: &mut Reader<'_>, entries: &mut Entries<T>) {
    reader.references.clear();
    let Some(entry) = reader.table::<T>(value) else { return };
    let references = std::mem::take(&mut reader.references);
    let DeValue::Table(table) = value.get_ref() else { return };
    let keys: BTreeMap<String, At> =
        table.iter().map(|(key, value)| (key.get_ref().to_string(), reader.start(value))).collect();
    // One without a name that can be read was noted.
    let Some(named_at) = keys.get(T::NAMED_BY).copied() else { return };
    let said = table.iter().find(|(key, _)| key.get_ref() == T::NAMED_BY);
    if said.and_then(|(_, value)| value.get_ref().as_str()) != Some(entry.name().as_str()) {
        return;
    }
    let at = reader.start(value);
    let (kind, name) = (T::KIND.word(), entry.name().clone());
    if let Some(first) = entries.get(&name) {
        let first = reader.texts.place(first.at).map(|place| format!(", first at {place}"));
        let text = format!("{kind} {name} is configured twice{}", first.unwrap_or_default());
        reader.problem(named_at, text);
        return;
    }
    entries.insert(name, Placed { entry, at, keys, references });
}

impl Said {
    /// Notes everything that documents speak of and that will not be there.
    pub(super) fn check_references(&mut self, current: &Whole, prune: Prune) {
        let missing = |reference: &&Reference, unchanged: bool| {
            let Reference { kind, name, .. } = reference;
            let here = match kind {
                Kind::Site => self.sites.contains_key(name),
                Kind::Queue => self.queues.contains_key(name),
                Kind::Number => self.numbers.contains_key(name),
                Kind::Agent => self.agents.contains_key(name),
            };
            let there = current.has(*kind, name);
            let stays = there && (prune == Prune::No || *kind == Kind::Site);
            // What the cluster has may speak of an agent who was removed since, and stay so.
            !(here || stays || unchanged && !there)
        };
        let word = |reference: &Reference| {
            let (kind, name) = (reference.kind.word(), &reference.name);
            let text = if current.has(reference.kind, name) {
                format!("{kind} {name} is in no document, so --prune removes it")
            } else {
                format!("there is no {kind} {name}, neither in the documents nor in the cluster")
            };
            (reference.at, text)
        };
        let mut found = Vec::new();
        macro_rules! look {
            ($kind:ident) => {
                for (name, row) in &self.$kind {
                    let unchanged = current.$kind.get(name) == Some(&row.entry);
                    let missing = row.references.iter().filter(|one| missing(one, unchanged));
                    found.extend(missing.map(word));
                }
            };
        }
        look!(sites);
        look!(queues);
        look!(numbers);
        look!(agents);
        self.problems.append(&mut found);
    }
}
