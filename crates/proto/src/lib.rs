//! Messages that Tandem's processes exchange.
//!
//! Here live the types generated from `proto/**/*.proto` (compiled by `protox`, no `protoc`), one
//! module per protobuf package. Conversions to and from the pure crates' types stand beside the
//! code that needs them; the gRPC service stubs live in the shells that speak them (`node`,
//! `media-relay`), so that this crate stays free of I/O.

#[expect(missing_docs, reason = "the documentation is in the .proto files")]
#[allow(clippy::all, clippy::pedantic, unreachable_pub, reason = "generated code")]
pub mod relay {
    /// Control of one media relay (`tandem/relay/v1/relay.proto`).
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/tandem.relay.v1.rs"));
    }
}

#[expect(missing_docs, reason = "the documentation is in the .proto files")]
#[allow(clippy::all, clippy::pedantic, unreachable_pub, reason = "generated code")]
pub mod cluster {
    /// What nodes and witnesses say to each other (`tandem/cluster/v1/*.proto`).
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/tandem.cluster.v1.rs"));
    }
}

#[expect(missing_docs, reason = "the documentation is in the .proto files")]
#[allow(clippy::all, clippy::pedantic, unreachable_pub, reason = "generated code")]
pub mod api {
    /// The API for operators and applications (`tandem/api/v1/api.proto`).
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/tandem.api.v1.rs"));
    }
}

/// The compiled descriptor set of every file in `proto/`, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
