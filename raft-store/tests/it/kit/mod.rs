//! What the tests share: a toy machine, opening stores, entries, a seeded generator.

pub(crate) mod child;
pub(crate) mod machine;
pub(crate) mod net;
pub(crate) mod rng;
pub(crate) mod stores;

pub(crate) use machine::{Command, Notes, Table};
pub(crate) use rng::Rng;
pub(crate) use stores::{
    CLUSTER, Closing, TestStore, append, append_from, apply, apply_log, blank, commands, copy_dir,
    create, identity, read_log, resume, table_digest, try_resume, vote, wait_until,
};
