//! The rules of the house: arrows between rooms, purity of `crates/`, what may be depended on, and
//! that documents and deployment files fit the code.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

mod arrows;
mod dependencies;
mod purity;

use std::path::PathBuf;

use cargo_metadata::{Metadata, MetadataCommand};

/// The repository's folder.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn metadata() -> Metadata {
    MetadataCommand::new().manifest_path(root().join("Cargo.toml")).exec().unwrap()
}
