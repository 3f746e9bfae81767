//! Reading a line of a scenario: words, and settings as `key=value` (in single quotes where blanks are).

use std::collections::BTreeMap;

pub(crate) struct Line {
    pub(crate) verb: String,
    words: Vec<String>,
    settings: BTreeMap<String, String>,
}

impl Line {
    /// # Errors
    /// A text that says what cannot be read.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let mut tokens = tokens(text)?.into_iter();
        let verb = tokens.next().ok_or("an empty line")?;
        let (mut words, mut settings) = (Vec::new(), BTreeMap::new());
        for token in tokens {
            match token
                .split_once('=')
                .filter(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
            {
                Some((key, value)) => {
                    settings.insert(key.to_owned(), value.to_owned());
                }
                None => words.push(token),
            }
        }
        words.reverse();
        Ok(Self { verb, words, settings })
    }

    /// The next word.
    ///
    /// # Errors
    /// That there is none.
    pub(crate) fn word(&mut self, what: &str) -> Result<String, String> {
        self.words.pop().ok_or_else(|| format!("{what} is missing"))
    }

    /// The next word, if there is one.
    pub(crate) fn word_if_any(&mut self) -> Option<String> {
        self.words.pop()
    }

    /// A setting, read by `read`; `None` when it is not given.
    ///
    /// # Errors
    /// That it cannot be read.
    pub(crate) fn setting<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        self.settings.remove(key).map(|text| read(&text)).transpose()
    }

    /// # Errors
    /// That words or settings were left over.
    pub(crate) fn end(&self) -> Result<(), String> {
        match (self.words.last(), self.settings.keys().next()) {
            (None, None) => Ok(()),
            (Some(word), _) => Err(format!("{word:?} is not understood here")),
            (_, Some(key)) => Err(format!("there is no setting {key:?} here")),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<String>, String> {
    let (mut tokens, mut token, mut quoted) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => {
                if !token.is_empty() {
                    tokens.push(std::mem::take(&mut token));
                }
            }
            c => token.push(c),
        }
    }
    if quoted {
        return Err("a quote is not closed".to_owned());
    }
    if !token.is_empty() {
        tokens.push(token);
    }
    Ok(tokens)
}

/// `5s`, `500ms`, `2m`.
///
/// # Errors
/// That it is none.
pub(crate) fn millis(text: &str) -> Result<u64, String> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    units
        .iter()
        .find_map(|(unit, ms)| {
            let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
            Some(number * ms)
        })
        .ok_or_else(|| format!("{text:?} is no time such as 500ms, 5s, 2m"))
}

/// What `FromStr` reads.
///
/// # Errors
/// What it says.
pub(crate) fn parsed<T: std::str::FromStr>(text: &str) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error| format!("{text:?}: {error}"))
}
