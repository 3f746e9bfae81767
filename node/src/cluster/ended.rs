//! Without Raft a node is nothing: when openraft's task ends, the process ends too, and its
//! supervisor starts it again.

use openraft::{errors::Fatal, type_config::async_runtime::watch::WatchReceiver};

use super::core::Raft;
use crate::exit::Exit;

/// Waits until Raft has ended; `None` when it was asked to.
pub(super) async fn until_ended(raft: &Raft) -> Option<Exit> {
    let mut metrics = raft.metrics();
    loop {
        let running = metrics.borrow_watched().running_state.clone();
        match running {
            Err(Fatal::Stopped) => return None,
            Err(error) => return Some(reason(&error.to_string())),
            Ok(()) => {}
        }
        // A task that panicked drops its side without a last word.
        if metrics.changed().await.is_err() {
            return match metrics.borrow_watched().running_state.clone() {
                Err(Fatal::Stopped) => None,
                Err(error) => Some(reason(&error.to_string())),
                Ok(()) => Some(reason("it panicked")),
            };
        }
    }
}

fn reason(what: &str) -> Exit {
    Exit::Bug(format!(
        "Raft has ended ({what}): this node can neither lead nor follow, and a restart takes up where \
         its log ends; this is a bug of Tandem, please report it with the lines before this one"
    ))
}
