//! Documents from files, folders and standard input.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use tandem_proto::api::v1::ConfigDocument;

use crate::{api::DOCUMENTS_BYTES_MAX, cli::CliError};

/// Reads what is named, in that order; folders give their files by names.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<ConfigDocument>, CliError> {
    let mut documents = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            documents.push(document("-", read_all(io::stdin()))?);
        } else if path.is_dir() {
            let files = folder(path).map_err(|error| unreadable(&path.display(), &error))?;
            if files.is_empty() {
                let text = format!("{} holds no file *.toml", path.display());
                return Err(CliError::Local(text));
            }
            for file in files {
                documents.push(document(file.display(), fs::File::open(&file).and_then(read_all))?);
            }
        } else {
            documents.push(document(path.display(), fs::File::open(path).and_then(read_all))?);
        }
    }
    Ok(documents)
}

fn folder(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        if file.extension().is_some_and(|ending| ending == "toml") && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// A text of at most so much as documents may have together.
fn read_all(from: impl Read) -> io::Result<String> {
    let limit = DOCUMENTS_BYTES_MAX as u64;
    let mut text = String::new();
    from.take(limit + 1).read_to_string(&mut text)?;
    if text.len() > DOCUMENTS_BYTES_MAX {
        let text = format!("it has more than {DOCUMENTS_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(text)
}

fn document(name: impl ToString, text: io::Result<String>) -> Result<ConfigDocument, CliError> {
    let name = name.to_string();
    match text {
        Ok(text) => Ok(ConfigDocument { name, text }),
        Err(error) => Err(unreadable(&name, &error)),
    }
}

fn unreadable(name: &dyn std::fmt::Display, error: &io::Error) -> CliError {
    CliError::Local(format!("{name} cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: files are taken in the order in which they are named, those of a folder by their names and only
    // *.toml; what cannot be read, is too large or no text is refused by its name.
    #[test]
    fn files_and_folders() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        for name in ["b.toml", "a.toml", "notes.txt"] {
            fs::write(at(name), name).expect("written");
        }
        let texts = |paths: &[PathBuf]| {
            read(paths).map(|all| all.into_iter().map(|one| one.text).collect::<Vec<_>>())
        };
        assert_eq!(
            texts(&[at("b.toml"), dir.path().into()]).expect("read"),
            ["b.toml", "a.toml", "b.toml"]
        );
        fs::create_dir(at("empty")).expect("a folder");
        fs::write(at("bytes"), [0xff, 0xfe]).expect("written");
        fs::write(at("large"), vec![b' '; DOCUMENTS_BYTES_MAX + 1]).expect("written");
        for (name, part) in [
            ("missing.toml", "missing.toml cannot be read"),
            ("empty", "holds no file *.toml"),
            ("bytes", "bytes cannot be read"),
            ("large", "has more than"),
        ] {
            let error = texts(&[at(name)]).expect_err(name).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
