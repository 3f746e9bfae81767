//! The switch that stops a store for good.
//!
//! A write or sync that failed is never tried again, because the kernel may drop what it could not
//! write and report success the next time (Rebello et al., "Can Applications Recover from fsync
//! Failures?", USENIX ATC 2020). So the first error turns this switch; from then on every operation
//! fails, and the node's handler ends the process.

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::OnceLock;

use parking_lot::ReentrantMutex;
use tokio::sync::Semaphore;

use crate::error::{Fatal, FatalHandler, StoreError};

pub(crate) struct Halt {
    fatal: OnceLock<Arc<Fatal>>,
    handler: FatalHandler,
    /// Held while the handler is told; whether that began.
    telling: ReentrantMutex<Cell<bool>>,
    /// Closed when the store stops, so that nobody waits for room in a queue that nobody empties.
    room: Arc<Semaphore>,
}

impl Halt {
    pub(crate) fn new(handler: FatalHandler, room: Arc<Semaphore>) -> Self {
        let telling = ReentrantMutex::new(Cell::new(false));
        Self { fatal: OnceLock::new(), handler, telling, room }
    }

    /// Stops the store. The first call tells the handler; later ones only get the first error.
    ///
    /// The handler is told before anybody can see that the store stopped, so that a node that ends
    /// its process there ends with the right code, and not with that of a failing caller.
    pub(crate) fn stop(&self, fatal: Fatal) -> StoreError {
        let telling = self.telling.lock();
        if let Some(first) = self.fatal() {
            return StoreError::Stopped(Arc::clone(first));
        }
        let fatal = Arc::new(fatal);
        if telling.replace(true) {
            // The handler itself ran into an error; the first one is being told.
            return StoreError::Stopped(fatal);
        }
        tracing::error!(cause = ?fatal.cause, "the store stops: {fatal}");
        let told = catch_unwind(AssertUnwindSafe(|| (self.handler)(&fatal)));
        if told.is_err() {
            tracing::error!("the handler of the store's fatal error panicked");
        }
        let kept = self.fatal.get_or_init(|| fatal);
        self.room.close();
        StoreError::Stopped(Arc::clone(kept))
    }

    /// Why the store stopped, if it did.
    pub(crate) fn fatal(&self) -> Option<&Arc<Fatal>> {
        self.fatal.get()
    }

    /// Fails if the store stopped.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        match self.fatal() {
            Some(fatal) => Err(StoreError::Stopped(Arc::clone(fatal))),
            None => Ok(()),
        }
    }

    /// What an operation returns that found the queue closed.
    pub(crate) fn closed(&self) -> StoreError {
        self.check().err().unwrap_or(StoreError::Closed)
    }
}

impl fmt::Debug for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Halt").field("fatal", &self.fatal).finish_non_exhaustive()
    }
}
