//! Reading of the settings file, with errors that say where and what instead.

use std::{
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

use thiserror::Error;
use toml::de::{DeTable, DeValue};

use super::{InvalidSetting, RelayConfig, Settings, TlsConfig};

/// Why settings cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the settings file {path} cannot be read: {error}; check the path and its permissions")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Not TOML, a key is missing, or a value has the wrong form.
    #[error("the settings do not fit:\n{0}")]
    Form(#[from] toml::de::Error),
    /// A key that does not exist.
    #[error(transparent)]
    UnknownKey(#[from] UnknownKey),
    /// A value out of range.
    #[error(transparent)]
    Invalid(#[from] InvalidSetting),
    /// One of a pair of keys.
    #[error("[tls] relay_cert and relay_key belong together; give both or neither")]
    HalfRelayIdentity,
}

/// A key, or a table, that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {place} {key:?}{hint}; remove or correct it")]
pub struct UnknownKey {
    line: usize,
    place: String,
    key: String,
    hint: String,
}

/// Reads and checks the tables `[relay]` and `[tls]` of `path`; paths inside them are looked up
/// beside it.
pub fn load(path: &Path) -> Result<Settings, ConfigError> {
    let text = fs::read_to_string(path)
        .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
    let mut settings = parse(&text)?;
    let beside = path.parent().unwrap_or(Path::new(""));
    settings.relay.data_dir = beside.join(&settings.relay.data_dir);
    let tls = &mut settings.tls;
    for file in [&mut tls.ca, &mut tls.cert, &mut tls.key] {
        *file = beside.join(&file);
    }
    for file in [&mut tls.relay_cert, &mut tls.relay_key].into_iter().flatten() {
        *file = beside.join(&file);
    }
    Ok(settings)
}

/// Reads and checks settings from text; paths stay as they are.
pub fn parse(text: &str) -> Result<Settings, ConfigError> {
    let document = DeTable::parse(text)?;
    for (table, keys) in [("relay", RelayConfig::KEYS), ("tls", TlsConfig::KEYS)] {
        // A missing table is told by the types.
        if let Some(DeValue::Table(entries)) = document.get_ref().get(table).map(|v| v.get_ref()) {
            check_keys(text, entries, table, keys)?;
        }
    }
    let settings: Settings = toml::from_str(text)?;
    settings.relay.check()?;
    if settings.tls.relay_cert.is_some() != settings.tls.relay_key.is_some() {
        return Err(ConfigError::HalfRelayIdentity);
    }
    Ok(settings)
}

/// Refuses a key of a table that is not in `keys`. `table` is its name for the error; an empty one
/// means the file itself, whose keys are tables. Also for the node, whose file holds more tables.
pub fn check_keys(
    text: &str,
    entries: &DeTable<'_>,
    table: &str,
    keys: &[&str],
) -> Result<(), UnknownKey> {
    let unknown = entries.keys().find(|key| !keys.contains(&key.get_ref().as_ref()));
    let Some(key) = unknown else { return Ok(()) };
    Err(UnknownKey {
        line: line_of(text, key.span()),
        place: match table {
            "" => "there is no table".to_owned(),
            table => format!("[{table}] has no key"),
        },
        key: key.get_ref().to_string(),
        hint: nearest(key.get_ref(), keys)
            .map_or_else(String::new, |near| format!(", the nearest is {near:?}")),
    })
}

fn line_of(text: &str, span: Range<usize>) -> usize {
    text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1
}

/// The known word that is most like this one, if any is.
pub fn nearest<'a>(key: &str, keys: &[&'a str]) -> Option<&'a str> {
    let scored =
        keys.iter().map(|known| (strsim::normalized_damerau_levenshtein(key, known), known));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.4).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::GOOD, *};

    fn error_of(text: &str) -> String {
        parse(text).expect_err("refused").to_string()
    }

    // Goal: an unknown key is refused with its line and what was probably meant; other tables may
    // hold what they like.
    #[test]
    fn unknown_keys_are_named() {
        let text = GOOD.replace("cluster =", "sesions_max = 5\ncluster =");
        assert_eq!(
            error_of(&text),
            "line 7: [relay] has no key \"sesions_max\", the nearest is \"sessions_max\"; remove or \
             correct it"
        );
        let text = format!("{GOOD}zzz = 1\n");
        assert_eq!(error_of(&text), "line 17: [tls] has no key \"zzz\"; remove or correct it");
    }

    // Goal: missing keys, wrong forms and broken TOML are told with their place.
    #[test]
    fn wrong_forms_are_placed() {
        let missing = error_of(&GOOD.replace("id = \"milan-1\"\n", ""));
        assert!(missing.contains("missing field `id`"), "{missing}");
        let form = error_of(&GOOD.replace("\"192.0.2.10:7400\"", "7400"));
        assert!(form.contains("line 9") || form.contains("control"), "{form}");
        assert!(error_of("[relay").contains("line 1"));
        assert!(error_of("[relay]").contains("missing field"));
        let half = format!("{GOOD}relay_cert = \"x\"\n");
        assert!(error_of(&half).contains("belong together"));
    }

    // Goal: relative paths are beside the file, absolute ones stay.
    #[test]
    fn paths_are_beside_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tandem.toml");
        fs::write(&path, GOOD.replace("\"node.key\"", "\"/etc/node.key\"")).expect("written");
        let settings = load(&path).expect("good settings");
        assert_eq!(settings.tls.ca, folder.path().join("ca.pem"));
        assert_eq!(settings.tls.key, Path::new("/etc/node.key"));
        assert_eq!(settings.relay.data_dir, folder.path().join("relay"));
        let error = load(&folder.path().join("none.toml")).expect_err("no such file");
        assert!(error.to_string().contains("none.toml"), "{error}");
    }
}
