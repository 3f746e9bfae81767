//! A congestion controller with a fixed window.
//!
//! RTP is paced by its phones: it cannot be slowed down, only admitted or not. QUIC's usual
//! controllers answer loss with a smaller window, and at 0.1 % loss 200 calls then lose 40 % of
//! their packets (measured; Cubic, round trip 40 ms). Here the window is what the admitted flows
//! need at a long round trip; the rate is bounded by admission ([`super::outbox`]).

use std::{any::Any, sync::Arc, time::Instant};

use quinn::congestion::{Controller, ControllerFactory};

use crate::limits::{LINK_BYTES_PER_FLOW, LINK_ROUND_TRIP_MS, LINK_WINDOW_MIN};

/// The window, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FixedWindow {
    bytes: u64,
}

impl FixedWindow {
    /// The window for a number of admitted flows.
    pub(super) fn for_flows(flows_max: u32) -> Self {
        let needed = u64::from(flows_max) * LINK_BYTES_PER_FLOW * LINK_ROUND_TRIP_MS / 1_000;
        Self { bytes: needed.max(LINK_WINDOW_MIN) }
    }
}

impl ControllerFactory for FixedWindow {
    fn build(self: Arc<Self>, _now: Instant, _current_mtu: u16) -> Box<dyn Controller> {
        Box::new(*self)
    }
}

impl Controller for FixedWindow {
    fn on_congestion_event(&mut self, _: Instant, _: Instant, _persistent: bool, _lost: u64) {}

    fn on_mtu_update(&mut self, _new_mtu: u16) {}

    fn window(&self) -> u64 {
        self.bytes
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(*self)
    }

    fn initial_window(&self) -> u64 {
        self.bytes
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: the window holds what the admitted flows send in the longest round trip, and loss does
    // not shrink it.
    #[test]
    fn window_is_fixed() {
        let now = Instant::now();
        for flows in [1, 200, 2_000] {
            let factory = Arc::new(FixedWindow::for_flows(flows));
            let mut controller = factory.build(now, 1_200);
            let window = controller.window();
            // 50 packets of 172 bytes and about 40 of overhead, for half a second.
            assert!(window >= u64::from(flows) * 50 * 212 / 2);
            controller.on_congestion_event(now, now, true, 1_000_000);
            assert_eq!((controller.window(), controller.initial_window()), (window, window));
        }
    }
}
