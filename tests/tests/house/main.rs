//! The rules of the house: arrows between rooms, purity of `crates/`, what may be depended on, and
//! that documents and deployment files fit the code.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

mod arrows;
mod dependencies;
mod deploy;
mod documents;
mod purity;

use std::{fs, path::PathBuf};

use cargo_metadata::{Metadata, MetadataCommand};

/// The repository's folder.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn metadata() -> Metadata {
    MetadataCommand::new().manifest_path(root().join("Cargo.toml")).exec().unwrap()
}

/// The repository's files with this ending, without what builds and runs leave behind.
fn files(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && (!name.starts_with('.') || name == ".github") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
