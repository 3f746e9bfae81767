//! Generates the gRPC stubs that the relay speaks; the messages come from `tandem-proto`.

use std::{env, error::Error, path::Path};

const FILES: &[&str] = &["tandem/relay/v1/relay.proto", "tandem/cluster/v1/attestation.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    let root = env::var("DEP_TANDEM_PROTO_ROOT")?;
    println!("cargo:rerun-if-changed={root}");
    let mut compiler = protox::Compiler::new([Path::new(&root)])?;
    compiler.include_imports(true).open_files(FILES)?;
    tonic_prost_build::configure()
        .extern_path(".tandem.relay.v1", "::tandem_proto::relay::v1")
        .extern_path(".tandem.cluster.v1", "::tandem_proto::cluster::v1")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
