//! The thread of a host: it is in the host's namespace from the first to the last, and starts
//! programs there. `Command::spawn` on a thread that is inside needs no code between fork and exec.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// A program to start, and where the answer goes.
type Order = (Command, Sender<io::Result<Child>>);

#[derive(Debug)]
pub(super) struct Worker {
    /// None only while it is dropped.
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread; `prepare` is the first thing it does. Its error ends the thread.
    pub(super) fn start<T: Send + 'static>(
        prepare: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<(Self, T)> {
        let (orders, received) = channel();
        let (prepared, outcome) = channel();
        let thread = std::thread::Builder::new().name("host".to_owned()).spawn(move || {
            let result = prepare();
            let good = result.is_ok();
            if prepared.send(result).is_ok() && good {
                start_programs(&received);
            }
        })?;
        let worker = Self { orders: Some(orders), thread: Some(thread) };
        let prepared = outcome.recv().map_err(|_| ended())??;
        Ok((worker, prepared))
    }

    pub(super) fn spawn(&self, command: Command) -> io::Result<Child> {
        let (answer, child) = channel();
        let orders = self.orders.as_ref().ok_or_else(ended)?;
        orders.send((command, answer)).map_err(|_| ended())?;
        child.recv().map_err(|_| ended())?
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The thread ends when nobody can give it orders any more.
        drop(self.orders.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!("the thread of a host panicked");
        }
    }
}

fn start_programs(orders: &Receiver<Order>) {
    for (mut command, answer) in orders {
        if let Err(unheard) = answer.send(command.spawn()) {
            tracing::warn!("nobody waited for a program in a host: {:?}", unheard.0);
        }
    }
}

fn ended() -> io::Error {
    io::Error::other("the host's thread has ended")
}
