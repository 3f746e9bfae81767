//! What happened to packets, by link and by reason.

use serde::Serialize;

/// Why a packet did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The link was down when it came.
    Down,
    /// The link was cut while it was under way.
    Cut,
    /// A filter matched.
    Filtered,
    /// By the share of loss.
    Lost,
    /// The queue in front of the line had no room.
    QueueFull,
    /// The router itself held too many packets.
    RouterFull,
    /// The receiving host did not take it: its device is down or gone.
    Refused,
}

/// Counts of one link since the router began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LinkCounters {
    /// Packets that came.
    pub offered: u64,
    /// Packets handed to the receiving host, copies included.
    pub delivered: u64,
    /// Bytes of the delivered packets.
    pub delivered_bytes: u64,
    /// Copies made.
    pub duplicated: u64,
    /// Packets held back so that others overtake them.
    pub held_back: u64,
    /// Packets that did not arrive, by reason.
    pub dropped: Dropped,
}

/// Packets that did not arrive, by [`DropReason`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// [`DropReason::Down`].
    pub down: u64,
    /// [`DropReason::Cut`].
    pub cut: u64,
    /// [`DropReason::Filtered`].
    pub filtered: u64,
    /// [`DropReason::Lost`].
    pub lost: u64,
    /// [`DropReason::QueueFull`].
    pub queue_full: u64,
    /// [`DropReason::RouterFull`].
    pub router_full: u64,
    /// [`DropReason::Refused`].
    pub refused: u64,
}

/// Packets that belong to no link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StrayCounters {
    /// Neither IPv4 nor IPv6, or cut short.
    pub malformed: u64,
    /// From an address that no endpoint has, or that belongs to another host.
    pub unknown_source: u64,
    /// To an address that no endpoint has; multicast of the hosts' kernels is among them.
    pub unknown_destination: u64,
}

impl LinkCounters {
    /// Counts a packet that did not arrive.
    pub fn drop(&mut self, reason: DropReason) {
        *self.dropped.of_mut(reason) += 1;
    }
}

impl Dropped {
    /// All reasons together.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self { down, cut, filtered, lost, queue_full, router_full, refused } = *self;
        down + cut + filtered + lost + queue_full + router_full + refused
    }

    fn of_mut(&mut self, reason: DropReason) -> &mut u64 {
        match reason {
            DropReason::Down => &mut self.down,
            DropReason::Cut => &mut self.cut,
            DropReason::Filtered => &mut self.filtered,
            DropReason::Lost => &mut self.lost,
            DropReason::QueueFull => &mut self.queue_full,
            DropReason::RouterFull => &mut self.router_full,
            DropReason::Refused => &mut self.refused,
        }
    }
}
