//! Generates the client of the operators' API; the messages come compiled in `tandem-proto`.

use std::{env, error::Error, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let proto = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../crates/proto/proto");
    println!("cargo:rerun-if-changed={}", proto.display());
    let descriptors = protox::compile(["tandem/api/v1/api.proto"], [&proto])?;
    tonic_prost_build::configure()
        .build_server(false)
        .extern_path(".tandem.api.v1", "::tandem_proto::api::v1")
        .compile_fds(descriptors)?;
    Ok(())
}
