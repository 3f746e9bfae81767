//! What a benchmark is asked to do.

use std::path::PathBuf;

/// The parts that there are, and what each measures; `memory` is a program of its own.
pub const PARTS: &[(&str, &str)] = &[
    ("pairs", "assignments and releases a second, agents free and all busy; growth with agents"),
    ("choice", "what the choice alone costs, by differences"),
    ("peer", "the same task by an SQL scan at every tick"),
    ("decisions", "the slowest single decisions, and steps of entries"),
    ("growth", "the cost of a pair from 1,000 to 1,000,000 waiting contacts; draws the picture"),
    ("memory", "bytes of a waiting contact and of an agent"),
];

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Arguments {
    /// Only this part.
    pub only: Option<String>,
    /// Where tables and pictures are written.
    pub out: Option<PathBuf>,
}

impl Arguments {
    /// Reads the words after the program's name; what cargo adds (`--bench`) is passed over.
    ///
    /// # Errors
    /// What was not understood, with what may be asked.
    pub fn read(words: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self::default();
        let mut words = words.into_iter().filter(|word| word != "--bench");
        while let Some(word) = words.next() {
            match (word.as_str(), words.next()) {
                ("--only", Some(part)) if PARTS.iter().any(|(name, _)| *name == part) => {
                    arguments.only = Some(part);
                }
                ("--out", Some(folder)) => arguments.out = Some(PathBuf::from(folder)),
                (_, next) => {
                    let words = format!("{word} {}", next.unwrap_or_default());
                    return Err(format!("{} is not understood\n\n{}", words.trim_end(), help()));
                }
            }
        }
        Ok(arguments)
    }

    /// True when a part is asked for.
    #[must_use]
    pub fn wants(&self, part: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == part)
    }
}

/// What may be asked.
#[must_use]
pub fn help() -> String {
    let mut help = "  --out FOLDER   writes the tables and pictures there\n".to_owned();
    for (name, what) in PARTS {
        help += &format!("  --only {name:<10} {what}\n");
    }
    help
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: parts and folders are read, what cargo adds is passed over, and the rest is refused with help.
    #[test]
    fn words_are_read() {
        let read = |words: &str| Arguments::read(words.split_whitespace().map(str::to_owned));
        assert_eq!(read("--bench"), Ok(Arguments::default()));
        let asked = read("--only peer --bench --out x").unwrap();
        assert_eq!((asked.only.as_deref(), asked.out), (Some("peer"), Some(PathBuf::from("x"))));
        assert!(read("--only peer").unwrap().wants("peer"));
        assert!(!read("--only peer").unwrap().wants("pairs"));
        for wrong in ["peer", "--only", "--only all", "--out"] {
            assert!(read(wrong).unwrap_err().contains("--only growth"), "{wrong}");
        }
    }
}
