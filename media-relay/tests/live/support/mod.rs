//! What every live test needs: certificates, relays, callers, phones.

pub(crate) mod certificates;
pub(crate) mod lossy;
pub(crate) mod phone;
pub(crate) mod relays;

use std::time::Duration;

/// Waits until `check` holds. The bound is far beyond what anything here takes.
pub(crate) async fn until(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let mut tries = 0;
    while !check().await {
        tries += 1;
        assert!(tries < 3_000, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The same for what needs no waiting to look at.
pub(crate) async fn until_now(what: &str, mut check: impl FnMut() -> bool) {
    until(what, async || check()).await;
}
