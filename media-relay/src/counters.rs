//! Counts of packets since the relay started. Every packet that is thrown away is in one of them.

use std::sync::atomic::{AtomicU64, Ordering};

use tandem_proto::relay::v1::RelayCounters;
use tandem_rtp::session::{DropReason, Verdict};

/// One count.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// `count` more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All counts of one relay.
#[derive(Debug, Default)]
pub struct Counters {
    /// Packets from phones that were taken.
    pub received: Counter,
    /// Packets sent to phones.
    pub sent: Counter,
    /// No valid RTP, RTCP or link datagram.
    pub dropped_malformed: Counter,
    /// Not from whom the session talks to (invariant M2).
    pub dropped_source: Counter,
    /// A payload type that was not negotiated.
    pub dropped_payload_type: Counter,
    /// Against the direction, or before the remote address was known.
    pub dropped_direction: Counter,
    /// Too late to be sent.
    pub dropped_late: Counter,
    /// For a leg without a session here.
    pub dropped_no_session: Counter,
    /// Sent before.
    pub dropped_duplicate: Counter,
    /// Over the rate that one phone may send.
    pub dropped_rate: Counter,
    /// Between legs that do not name each other.
    pub dropped_unbridged: Counter,
    /// The system refused to send.
    pub send_errors: Counter,
    /// Links that were refused: other clusters, wrong roles, wrong names.
    pub links_refused: Counter,
}

impl Counters {
    /// Counts a phone's packet.
    pub fn count_phone(&self, verdict: Verdict) {
        match verdict {
            Verdict::Accepted => self.received.increment(),
            Verdict::Dropped(reason) => self.count_drop(reason),
        }
    }

    /// Counts a peer's packet; those that are taken count as sent when they leave.
    pub fn count_peer(&self, verdict: Verdict) {
        if let Verdict::Dropped(reason) = verdict {
            self.count_drop(reason);
        }
    }

    fn count_drop(&self, reason: DropReason) {
        let counter = match reason {
            DropReason::Malformed => &self.dropped_malformed,
            DropReason::Source => &self.dropped_source,
            DropReason::PayloadType => &self.dropped_payload_type,
            DropReason::Direction => &self.dropped_direction,
            DropReason::Late => &self.dropped_late,
            DropReason::Duplicate => &self.dropped_duplicate,
            DropReason::Rate => &self.dropped_rate,
            DropReason::NotBridged => &self.dropped_unbridged,
        };
        counter.increment();
    }

    /// The counts as the control protocol shows them.
    pub fn to_proto(&self) -> RelayCounters {
        RelayCounters {
            received: self.received.get(),
            sent: self.sent.get(),
            dropped_malformed: self.dropped_malformed.get(),
            dropped_source: self.dropped_source.get(),
            dropped_payload_type: self.dropped_payload_type.get(),
            dropped_direction: self.dropped_direction.get(),
            dropped_late: self.dropped_late.get(),
            dropped_no_session: self.dropped_no_session.get(),
            dropped_duplicate: self.dropped_duplicate.get(),
            dropped_rate: self.dropped_rate.get(),
            dropped_unbridged: self.dropped_unbridged.get(),
            send_errors: self.send_errors.get(),
            links_refused: self.links_refused.get(),
        }
    }
}
