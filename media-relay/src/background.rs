//! A tokio runtime that may be dropped anywhere.
//!
//! Dropping a runtime on an async thread panics, because it would block there. A relay is started
//! and dropped from tests and programs that are async themselves.

use std::time::Duration;

use tokio::runtime::{Handle, Runtime};

/// A runtime that ends without waiting when it is dropped.
#[derive(Debug)]
pub(crate) struct Background {
    /// Absent only while it is being dropped.
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Background {
    pub(crate) fn new(runtime: Runtime) -> Self {
        let handle = runtime.handle().clone();
        Self { runtime: Some(runtime), handle }
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Waits for its tasks, at most so long. Not to be called on an async thread.
    pub(crate) fn stop(mut self, grace: Duration) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(grace);
        }
    }

    /// The runtime itself, to be run by its owner's thread.
    pub(crate) fn into_inner(mut self) -> Option<Runtime> {
        self.runtime.take()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
