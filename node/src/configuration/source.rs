//! Documents as texts, and places in them: what is wrong is told with file, line and column.

use std::fmt;

/// A document: what it is called, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// As the person who gave it calls it: the path of a file.
    pub name: String,
    /// TOML.
    pub text: String,
}

/// A place in the documents: which, and the byte in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub(super) file: usize,
    pub(super) byte: usize,
}

/// A place as people look for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The document's name.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Something that must be corrected before documents can be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where; `None` for what stands in no document.
    pub place: Option<Place>,
    /// What, what it means, what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Documents, with where their lines begin.
#[derive(Debug)]
pub(super) struct Texts<'a> {
    pub(super) sources: &'a [Source],
    lines: Vec<Vec<usize>>,
}

impl<'a> Texts<'a> {
    pub(super) fn of(sources: &'a [Source]) -> Self {
        let lines = |source: &Source| {
            let breaks = source.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
            std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect()
        };
        Self { sources, lines: sources.iter().map(lines).collect() }
    }

    /// What one of them says.
    pub(super) fn text(&self, file: usize) -> &'a str {
        self.sources.get(file).map_or("", |source| &source.text)
    }

    /// Where a place is.
    pub(super) fn place(&self, at: At) -> Option<Place> {
        let (source, lines) = (self.sources.get(at.file)?, self.lines.get(at.file)?);
        let line = lines.partition_point(|start| *start <= at.byte);
        let start = line.checked_sub(1).and_then(|line| lines.get(line)).copied()?;
        let before = source.text.get(start..floor(&source.text, at.byte))?;
        let small = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Some(Place {
            file: source.name.clone(),
            line: small(line),
            column: small(before.chars().count() + 1),
        })
    }
}

fn floor(text: &str, byte: usize) -> usize {
    let mut byte = byte.min(text.len());
    while !text.is_char_boundary(byte) {
        byte -= 1;
    }
    byte
}

/// Where in a string, as it is written with its quotes, the character stands that is the `index`th (from 0)
/// of what it says; one past the last is the closing quote.
pub(super) fn inside_string(written: &str, index: usize) -> usize {
    let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| written.starts_with(quote));
    let Some(quote) = quote else { return 0 };
    let end = written.len().saturating_sub(quote.len());
    let (escapes, lines) = (quote.starts_with('"'), quote.len() == 3);
    let mut at = quote.len();
    if lines {
        // A line break right behind the quotes says nothing.
        let rest = written.get(at..).unwrap_or("");
        at += if rest.starts_with("\r\n") { 2 } else { usize::from(rest.starts_with('\n')) };
    }
    for _ in 0..index {
        at = skip_joints(written, at, escapes && lines);
        at += width(written.get(at..).unwrap_or(""), escapes);
        if at >= end {
            return end;
        }
    }
    skip_joints(written, at, escapes && lines).min(end)
}

/// Behind a backslash at the end of a line, and all white space after it.
fn skip_joints(written: &str, at: usize, joins: bool) -> usize {
    let mut rest = written.get(at..).unwrap_or("");
    while let Some(behind) = rest.strip_prefix('\\').filter(|_| joins) {
        if !behind.trim_start_matches([' ', '\t']).starts_with(['\n', '\r']) {
            break;
        }
        rest = behind.trim_start_matches([' ', '\t', '\n', '\r']);
    }
    written.len() - rest.len()
}

/// How many bytes the next character is written with.
fn width(rest: &str, escapes: bool) -> usize {
    let mut letters = rest.chars();
    match (letters.next(), letters.next()) {
        (Some('\\'), Some(kind)) if escapes => match kind {
            'x' => 4,
            'u' => 6,
            'U' => 10,
            kind => 1 + kind.len_utf8(),
        },
        (Some('\r'), Some('\n')) => 2,
        (Some(letter), _) => letter.len_utf8(),
        (None, _) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a place counts lines and characters, not bytes, from 1, also at the end of a text.
    #[test]
    fn places() {
        let source = Source { name: "a.toml".into(), text: "ä = 1\nb = 'ß' # x\n".into() };
        let texts = Texts::of(std::slice::from_ref(&source));
        for (byte, expected) in
            [(0, "a.toml:1:1"), (3, "a.toml:1:3"), (7, "a.toml:2:1"), (15, "a.toml:2:8")]
        {
            let found = texts.place(At { file: 0, byte });
            assert_eq!(found.map(|place| place.to_string()).as_deref(), Some(expected), "{byte}");
        }
        let end = texts.place(At { file: 0, byte: 999 });
        assert_eq!(end.map(|place| (place.line, place.column)), Some((3, 1)));
        assert_eq!(texts.place(At { file: 1, byte: 0 }), None);
    }

    // Goal: each character of what a string says is found where it is written, in all four ways to write
    // one, with escapes and joined lines; what TOML reads is the judge.
    #[test]
    fn characters_in_strings() {
        for written in [
            r#""plain""#,
            r"'literal \n no escape'",
            r#""tab\t quote\" \u00e9 \U0001F600 \\ end""#,
            "\"\"\"\nfirst\n second\"\"\"",
            "\"\"\"joined \\\n    here \\\n\n   and there\"\"\"",
            "'''\r\nä ß\n'''",
            "''",
        ] {
            let text = format!("a = {written}");
            let table: toml::Table = text.parse().expect(written);
            let said = table["a"].as_str().expect("a string");
            for (index, letter) in said.chars().enumerate() {
                let at = inside_string(written, index);
                let found = written[at..].chars().next();
                let escaped = found == Some('\\') && written.starts_with('"');
                assert!(escaped || found == Some(letter), "{written}: {index} at {at}");
            }
            let end = inside_string(written, said.chars().count());
            assert!(["\"\"\"", "'''", "\"", "'"].contains(&&written[end..]), "{written}: {end}");
        }
    }
}
