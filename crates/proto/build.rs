//! Compiles the `.proto` files with `protox`, so that no machine needs `protoc`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a build script, not the crate"
)]

use std::{env, error::Error, fs, path::Path};

/// Every file here is compiled into messages; the shells compile the services that they speak.
const FILES: &[&str] = &[
    "tandem/relay/v1/relay.proto",
    "tandem/cluster/v1/attestation.proto",
    "tandem/cluster/v1/peer.proto",
    "tandem/cluster/v1/raft.proto",
    "tandem/api/v1/api.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("proto");
    println!("cargo:rerun-if-changed={}", root.display());
    // Where the shells' build scripts find the same files (DEP_TANDEM_PROTO_ROOT).
    println!("cargo:root={}", root.display());

    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_source_info(true).include_imports(true).open_files(FILES)?;
    // The descriptor set as bytes serves gRPC reflection and the schema tests.
    let descriptors = Path::new(&env::var("OUT_DIR")?).join("descriptors.bin");
    fs::write(descriptors, compiler.encode_file_descriptor_set())?;

    let mut config = prost_build::Config::new();
    config.btree_map(["."]);
    config.bytes(["."]);
    // For `--output json`.
    config.type_attribute(".tandem.api.v1", "#[derive(serde::Serialize)]");
    config.compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
