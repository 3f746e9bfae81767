//! Reads documents, and notes every problem at its place.

use tandem_media_relay::config::nearest;
use tandem_routing::name::Name;
use toml::de::{DeTable, DeValue};

use super::{
    form::{Fields, Form},
    source::{At, Texts, inside_string},
};

/// A value of a document with its place.
pub(super) type Value<'a> = toml::Spanned<DeValue<'a>>;

/// What a value must be beside its form.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rule {
    pub(super) within: Option<(u64, u64)>,
    pub(super) refers: Option<Kind>,
}

/// Numbers between these, both included.
pub(super) fn within(min: impl Into<u64>, max: impl Into<u64>) -> Rule {
    Rule { within: Some((min.into(), max.into())), refers: None }
}

/// Names of things of this kind.
pub(super) fn refers(to: Kind) -> Rule {
    Rule { within: None, refers: Some(to) }
}

impl Rule {
    pub(super) fn within(self, min: impl Into<u64>, max: impl Into<u64>) -> Self {
        Self { within: Some((min.into(), max.into())), ..self }
    }
}

/// What may be spoken of by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Site,
    Queue,
    Number,
    Agent,
}

impl Kind {
    /// The word for one of them, and the name of its table.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Site => "site",
            Self::Queue => "queue",
            Self::Number => "number",
            Self::Agent => "agent",
        }
    }
}

/// A name in a document that must be one of something.
#[derive(Debug, Clone)]
pub(super) struct Reference {
    pub(super) kind: Kind,
    pub(super) name: Name,
    pub(super) at: At,
}

/// Reads one document, and notes what is wrong.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) texts: &'a Texts<'a>,
    /// Which of them.
    pub(super) file: usize,
    pub(super) problems: Vec<(At, String)>,
    pub(super) references: Vec<Reference>,
}

impl Reader<'_> {
    pub(super) fn at(&self, byte: usize) -> At {
        At { file: self.file, byte }
    }

    pub(super) fn start(&self, value: &Value<'_>) -> At {
        self.at(value.span().start)
    }

    pub(super) fn problem(&mut self, at: At, message: impl Into<String>) {
        self.problems.push((at, message.into()));
    }

    /// The value has another form than is wanted.
    pub(super) fn must_be<T>(&mut self, value: &Value<'_>, wanted: &str) -> Option<T> {
        let found = match value.get_ref() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a point",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.problem(self.start(value), format!("this must be {wanted}, not {found}"));
        None
    }

    /// Reads into a field; it stays as it is when there is a problem.
    pub(super) fn read<T: Form>(&mut self, field: &mut T, value: &Value<'_>, rule: Rule) {
        if let Some(read) = T::read(value, rule, self) {
            *field = read;
        }
    }

    pub(super) fn name(&mut self, text: &str, at: At, rule: Rule) -> Option<Name> {
        match text.parse::<Name>() {
            Ok(name) => {
                if let Some(kind) = rule.refers {
                    self.references.push(Reference { kind, name: name.clone(), at });
                }
                Some(name)
            }
            Err(error) => {
                self.problem(at, error.to_string());
                None
            }
        }
    }

    /// Reads a table into its fields; `None` when it is no table.
    pub(super) fn table<T: Fields>(&mut self, value: &Value<'_>) -> Option<T> {
        let DeValue::Table(table) = value.get_ref() else { return self.must_be(value, "a table") };
        let mut row = T::blank();
        for (key, inner) in table {
            if T::KEYS.contains(&key.get_ref().as_ref()) {
                row.read_field(key.get_ref(), inner, self);
            } else {
                let text = unknown("key", key.get_ref(), T::KEYS, T::ELSEWHERE);
                self.problem(self.at(key.span().start), text);
            }
        }
        for needed in T::NEEDED {
            if !has(table, needed) {
                self.problem(self.start(value), format!("{needed} is missing"));
            }
        }
        Some(row)
    }

    /// Notes what a requirement speaks of, with the place of each word.
    pub(super) fn words_of(&mut self, text: &str, value: &Value<'_>) {
        for (index, word) in words(text) {
            let (kind, name) = match (word.strip_prefix("site:"), word.strip_prefix("agent:")) {
                (Some(name), _) => (Kind::Site, name),
                (_, Some(name)) => (Kind::Agent, name),
                _ => continue,
            };
            if let Ok(name) = name.parse() {
                let at = self.within_string(value, index);
                self.references.push(Reference { kind, name, at });
            }
        }
    }

    /// The place of a character of what a string says.
    pub(super) fn within_string(&self, value: &Value<'_>, index: usize) -> At {
        let span = value.span();
        let written = self.texts.text(self.file).get(span.clone()).unwrap_or("");
        self.at(span.start + inside_string(written, index))
    }
}

fn has(table: &DeTable<'_>, key: &str) -> bool {
    table.keys().any(|known| known.get_ref() == key)
}

/// Words as requirements have them, with the index of their first character.
pub(super) fn words(text: &str) -> Vec<(usize, &str)> {
    let in_word = |letter: char| letter.is_ascii_alphanumeric() || "._-+:".contains(letter);
    let mut words = Vec::new();
    let (mut rest, mut index) = (text, 0);
    while let Some(start) = rest.find(in_word) {
        index += rest[..start].chars().count();
        rest = &rest[start..];
        let (word, behind) = rest.split_at(rest.find(|c| !in_word(c)).unwrap_or(rest.len()));
        words.push((index, word));
        index += word.len();
        rest = behind;
    }
    words
}

/// What to say of a word that does not exist; `elsewhere` says of some where they belong.
pub(super) fn unknown(
    what: &str,
    word: &str,
    known: &[&str],
    elsewhere: &[(&str, &str)],
) -> String {
    if let Some((_, advice)) = elsewhere.iter().find(|(other, _)| *other == word) {
        return format!("there is no {what} {word} here: {advice}");
    }
    match nearest(word, known) {
        Some(near) => format!("there is no {what} {word}, the nearest is {near}"),
        None => format!("there is no {what} {word}; there are {}", known.join(", ")),
    }
}
