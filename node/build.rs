//! Generates the gRPC services that a node speaks; the messages come compiled in `tandem-proto`.

use std::{env, error::Error, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let proto = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../crates/proto/proto");
    println!("cargo:rerun-if-changed={}", proto.display());
    let files = [
        "tandem/api/v1/api.proto",
        "tandem/cluster/v1/attestation.proto",
        "tandem/cluster/v1/peer.proto",
        "tandem/cluster/v1/raft.proto",
        "tandem/relay/v1/relay.proto",
    ];
    let descriptors = protox::compile(files, [&proto])?;
    tonic_prost_build::configure()
        .extern_path(".tandem.api.v1", "::tandem_proto::api::v1")
        .extern_path(".tandem.cluster.v1", "::tandem_proto::cluster::v1")
        .extern_path(".tandem.relay.v1", "::tandem_proto::relay::v1")
        .compile_fds(descriptors)?;
    Ok(())
}
