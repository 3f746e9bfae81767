//! How values stand in documents: read with every problem at its place, and written so that they are read as
//! the same.

use std::collections::{BTreeMap, BTreeSet};

use tandem_routing::{
    entity::SiteChoice,
    name::Name,
    requirement::{NamedRequirement, Requirement, RequirementError},
    rules::{AtClose, Load, OwnRequirement},
    strategy::Strategy,
    time::Millis,
};
use toml::de::DeValue;

use super::reader::{Reader, Rule, Value, words};

/// How a value stands in documents.
pub(super) trait Form: Sized {
    /// Reads it; `None` when a problem was noted.
    fn read(value: &Value<'_>, rule: Rule, reader: &mut Reader<'_>) -> Option<Self>;
    /// Writes it; `None` when leaving it out says the same.
    fn show(&self) -> Option<toml::Value>;
}

/// A table of named fields. [`fields`] makes one of a list, in which a new field is a line.
pub(super) trait Fields: Sized {
    /// What may be said.
    const KEYS: &'static [&'static str];
    /// What must be said.
    const NEEDED: &'static [&'static str];
    /// What people may look for here and find elsewhere, with where.
    const ELSEWHERE: &'static [(&'static str, &'static str)];
    /// What holds of everything that is not said.
    fn blank() -> Self;
    /// Reads one of [`Fields::KEYS`].
    fn read_field(&mut self, key: &str, value: &Value<'_>, reader: &mut Reader<'_>);
    /// All that is to be said, in the order of the keys.
    fn show_fields(&self) -> Vec<(&'static str, toml::Value)>;
}

/// Makes [`Fields`] of a list: the word in the document, the field that it stands for, and what its value
/// must be.
macro_rules! fields {
    (
        $type:ty, blank $blank:expr, needed [$($needed:literal),*],
        $(elsewhere [$($other:literal: $advice:literal),*],)?
        { $($key:literal => $($field:ident).+ $(, $rule:expr)?;)* }
    ) => {
        impl $crate::configuration::form::Fields for $type {
            const KEYS: &'static [&'static str] = &[$($key),*];
            const NEEDED: &'static [&'static str] = &[$($needed),*];
            const ELSEWHERE: &'static [(&'static str, &'static str)] =
                &[$($(($other, $advice)),*)?];

            fn blank() -> Self {
                $blank
            }

            fn read_field(
                &mut self,
                key: &str,
                value: &$crate::configuration::reader::Value<'_>,
                reader: &mut $crate::configuration::reader::Reader<'_>,
            ) {
                #[allow(unused_mut, unused_assignments, reason = "most fields have no rule")]
                match key {
                    $($key => {
                        let mut rule = $crate::configuration::reader::Rule::default();
                        $(rule = $rule;)?
                        reader.read(&mut self.$($field).+, value, rule);
                    })*
                    _ => {}
                }
            }

            fn show_fields(&self) -> Vec<(&'static str, toml::Value)> {
                let all = [$(($key, $crate::configuration::form::Form::show(&self.$($field).+))),*];
                all.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
            }
        }
    };
}
pub(super) use fields;

impl<T: Fields> Form for T {
    fn read(value: &Value<'_>, _rule: Rule, reader: &mut Reader<'_>) -> Option<Self> {
        reader.table(value)
    }

    fn show(&self) -> Option<toml::Value> {
        let fields = self.show_fields().into_iter();
        Some(toml::Value::Table(fields.map(|(key, value)| (key.to_owned(), value)).collect()))
    }
}

/// A whole number within its rule's bounds.
fn whole(value: &Value<'_>, rule: Rule, reader: &mut Reader<'_>) -> Option<u64> {
    let DeValue::Integer(number) = value.get_ref() else {
        return reader.must_be(value, "a whole number");
    };
    let digits = number.as_str();
    let (min, max) = rule.within.unwrap_or((0, u64::MAX));
    match i128::from_str_radix(digits, number.radix()) {
        Ok(number) if (i128::from(min)..=i128::from(max)).contains(&number) => {
            u64::try_from(number).ok()
        }
        _ => {
            let text = format!("this must be {min} to {max}, not {digits}");
            reader.problem(reader.start(value), text);
            None
        }
    }
}

macro_rules! whole_form {
    ($($type:ty),*) => {$(
        impl Form for $type {
            fn read(value: &Value<'_>, rule: Rule, reader: &mut Reader<'_>) -> Option<Self> {
                let (min, max) = rule.within.unwrap_or((0, u64::from(Self::MAX)));
                let rule = Rule { within: Some((min, max.min(u64::from(Self::MAX)))), ..rule };
                Self::try_from(whole(value, rule, reader)?).ok()
            }

            fn show(&self) -> Option<toml::Value> {
                Some(toml::Value::Integer(i64::from(*self)))
            }
        }
    )*};
}
whole_form!(u8, u16, u32);

impl Form for Millis {
    fn read(value: &Value<'_>, rule: Rule, reader: &mut Reader<'_>) -> Option<Self> {
        whole(value, rule, reader).map(Self)
    }

    fn show(&self) -> Option<toml::Value> {
        Some(toml::Value::Integer(i64::try_from(self.0).unwrap_or(i64::MAX)))
    }
}

/// Said as `true`, or not at all.
impl Form for bool {
    fn read(value: &Value<'_>, _rule: Rule, reader: &mut Reader<'_>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Boolean(is) => Some(*is),
            _ => reader.must_be(value, "true or false"),
        }
    }

    fn show(&self) -> Option<toml::Value> {
        self.then_some(toml::Value::Boolean(true))
    }
}

/// True where a step drops what the called number asks.
impl Form for OwnRequirement {
    fn read(value: &Value<'_>, rule: Rule, reader: &mut Reader<'_>) -> Option<Self> {
        Some(if bool::read(value, rule, reader)? { Self::Dropped } else { Self::Kept })
    }

    fn show(&self) -> Option<toml::Value> {
        (*self == Self::Dropped).show()
    }
}

/// True where those who wait leave when the queue closes.
impl Form for AtClose {
    fn read(value: &Value<'_>, rule: Rule, reader: &mut Reader<'_>) -> Option<Self> {
        Some(if bool::read(value, rule, reader)? { Self::Leave } else { Self::Stay })
    }

    fn show(&self) -> Option<toml::Value> {
        (*self == Self::Leave).show()
    }
}

const LOADS: &[(Load, &str)] =
    &[(Load::ExpectedWait, "expected-wait"), (Load::Occupancy, "occupancy")];

impl Form for Load {
    fn read(value: &Value<'_>, _rule: Rule, reader: &mut Reader<'_>) -> Option<Self> {
        one_of(LOADS, value, reader)
    }

    fn show(&self) -> Option<toml::Value> {
        let word = LOADS.iter().find(|(load, _)| load == self).map(|(_, word)| *word);
        word.map(|word| toml::Value::String(word.to_owned()))
    }
}

impl Form for Name {
    fn read(value: &Value<'_>, rule: Rule, reader: &mut Reader<'_>) -> Option<Self> {
        let DeValue::String(text) = value.get_ref() else {
            return reader.must_be(value, "a name in quotes");
        };
        reader.name(text, reader.start(value), rule)
    }

    fn show(&self) -> Option<toml::Value> {
        Some(toml::Value::String(self.to_string()))
    }
}

impl Form for NamedRequirement {
    fn read(value: &Value<'_>, _rule: Rule, reader: &mut Reader<'_>) -> Option<Self> {
        let DeValue::String(text) = value.get_ref() else {
            return reader.must_be(value, "a requirement in quotes, as \"spanish >= 5\"");
        };
        let (index, message) = match text.parse::<Self>() {
            Ok(requirement) => {
                reader.words_of(text, value);
                return Some(requirement.canonical());
            }
            Err(RequirementError::Syntax { at, expected, .. }) => {
                let text = format!("the requirement cannot be read here: expected {expected}");
                (at.saturating_sub(1), text)
            }
            Err(error @ RequirementError::LevelRange(level)) => {
                let level = level.to_string();
                let found = words(text).into_iter().find(|(_, word)| *word == level);
                (found.map_or(0, |(index, _)| index), error.to_string())
            }
            Err(error @ RequirementError::TooLarge) => (0, error.to_string()),
        };
        reader.problem(reader.within_string(value, index), message);
        None
    }

    fn show(&self) -> Option<toml::Value> {
        let text = self.to_string();
        let bare = match self {
            // The outermost parentheses say nothing.
            Requirement::All(terms) | Requirement::Any(terms) if !terms.is_empty() => {
                text.strip_prefix('(').and_then(|text| text.strip_suffix(')'))
            }
            _ => None,
        };
        Some(toml::Value::String(bare.map(str::to_owned).unwrap_or(text)))
    }
}

/// One of some words.
fn one_of<T: Copy>(known: &[(T, &str)], value: &Value<'_>, reader: &mut Reader<'_>) -> Option<T> {
    let names: Vec<&str> = known.iter().map(|(_, name)| *name).collect();
    let DeValue::String(text) = value.get_ref() else {
        return reader.must_be(value, &format!("one of {}", names.join(", ")));
    };
    let found = known.iter().find(|(_, name)| *name == text.as_ref()).map(|(one, _)| *one);
    if found.is_none() {
        let text = format!("{text:?} is none of {}", names.join(", "));
        reader.problem(reader.start(value), text);
    }
    found
}

impl Form for Strategy {
    fn read(value: &Value<'_>, _rule: Rule, reader: &mut Reader<'_>) -> Option<Self> {
        one_of(Self::ALL, value, reader)
    }

    fn show(&self) -> Option<toml::Value> {
        Some(toml::Value::String(self.as_str().to_owned()))
    }
}

const SITE_CHOICES: &[(SiteChoice, &str)] = &[
    (SiteChoice::Any, "any"),
    (SiteChoice::Nearest, "nearest"),
    (SiteChoice::Weighted, "weighted"),
    (SiteChoice::Balanced, "balanced"),
];

impl Form for SiteChoice {
    fn read(value: &Value<'_>, _rule: Rule, reader: &mut Reader<'_>) -> Option<Self> {
        one_of(SITE_CHOICES, value, reader)
    }

    fn show(&self) -> Option<toml::Value> {
        let word = SITE_CHOICES.iter().find(|(choice, _)| choice == self).map(|(_, word)| *word);
        Some(toml::Value::String(word.unwrap_or("any").to_owned()))
    }
}

impl<T: Form> Form for Option<T> {
    fn read(value: &Value<'_>, rule: Rule, reader: &mut Reader<'_>) -> Option<Self> {
        T::read(value, rule, reader).map(Some)
    }

    fn show(&self) -> Option<toml::Value> {
        self.as_ref().and_then(T::show)
    }
}

impl<T: Form> Form for Vec<T> {
    fn read(value: &Value<'_>, rule: Rule, reader: &mut Reader<'_>) -> Option<Self> {
        let DeValue::Array(values) = value.get_ref() else {
            return reader.must_be(value, "a list in brackets");
        };
        // All of them are read, so that each problem is found.
        let read: Vec<_> = values.iter().map(|value| T::read(value, rule, reader)).collect();
        read.into_iter().collect()
    }

    fn show(&self) -> Option<toml::Value> {
        let shown: Vec<_> = self.iter().filter_map(T::show).collect();
        (!shown.is_empty()).then_some(toml::Value::Array(shown))
    }
}

impl Form for BTreeSet<Name> {
    fn read(value: &Value<'_>, rule: Rule, reader: &mut Reader<'_>) -> Option<Self> {
        let DeValue::Array(values) = value.get_ref() else {
            return reader.must_be(value, "a list of names in brackets");
        };
        let mut set = Self::new();
        let mut complete = true;
        for value in values.iter() {
            match Name::read(value, rule, reader) {
                Some(name) if set.contains(&name) => {
                    reader.problem(reader.start(value), format!("{name} is named twice"));
                }
                Some(name) => {
                    set.insert(name);
                }
                None => complete = false,
            }
        }
        complete.then_some(set)
    }

    fn show(&self) -> Option<toml::Value> {
        self.iter().cloned().collect::<Vec<Name>>().show()
    }
}

impl<T: Form> Form for BTreeMap<Name, T> {
    fn read(value: &Value<'_>, rule: Rule, reader: &mut Reader<'_>) -> Option<Self> {
        let DeValue::Table(table) = value.get_ref() else {
            return reader.must_be(value, "a table, as { sales = 2 }");
        };
        let mut map = Self::new();
        let mut complete = true;
        for (key, value) in table {
            let key_at = reader.at(key.span().start);
            let name = reader.name(key.get_ref(), key_at, rule);
            match (name, T::read(value, Rule { refers: None, ..rule }, reader)) {
                (Some(name), Some(value)) => {
                    map.insert(name, value);
                }
                _ => complete = false,
            }
        }
        complete.then_some(map)
    }

    fn show(&self) -> Option<toml::Value> {
        let shown: toml::Table = self
            .iter()
            .filter_map(|(name, value)| Some((name.to_string(), value.show()?)))
            .collect();
        (!shown.is_empty()).then_some(toml::Value::Table(shown))
    }
}
