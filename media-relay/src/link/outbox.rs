//! Packets that wait for a link.
//!
//! They are collected for a millisecond, so that those of many calls share QUIC packets, then handed
//! over in one go. What is too old, too many, too large, or without a link is dropped and counted:
//! late audio helps nobody, and a queue would only make the next packets late as well.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU32, Ordering},
};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tandem_rtp::{
    limits::RTP_PACKET_MAX,
    link::{FLOW_ID_LEN_MAX, FlowId, write_datagram},
    rate::{Admission, TokenBucket},
    time::MonotonicTime,
};
use tokio::sync::Notify;

use crate::{
    clock::RelayClock,
    counters::Counter,
    limits::{
        LINK_AGGREGATION, LINK_CHUNK, LINK_PACKET_AGE_MAX, LINK_PACKETS_PER_FLOW, LINK_QUEUE_MAX,
    },
};

/// The queue of one link.
pub(super) struct Outbox {
    clock: RelayClock,
    queue: Mutex<Queue>,
    filled: Notify,
    /// Connections that take from the queue: none while the link is down.
    takers: AtomicU32,
    counts: LinkCounts,
}

struct Queue {
    waiting: VecDeque<(MonotonicTime, Bytes)>,
    chunk: BytesMut,
    rate: TokenBucket,
}

/// Counts of one link, over all its connections.
#[derive(Debug, Default)]
pub(super) struct LinkCounts {
    /// Packets handed to QUIC.
    pub(super) sent: Counter,
    /// Packets received.
    pub(super) received: Counter,
    /// Packets not sent: too old, too many, too large, no link.
    pub(super) dropped: Counter,
}

impl Outbox {
    pub(super) fn new(clock: RelayClock, flows_max: u32) -> Self {
        let per_second = u64::from(flows_max) * LINK_PACKETS_PER_FLOW;
        Self {
            clock,
            queue: Mutex::new(Queue {
                waiting: VecDeque::new(),
                chunk: BytesMut::new(),
                rate: TokenBucket::new(clock.now(), per_second, per_second.div_ceil(5)),
            }),
            filled: Notify::new(),
            takers: AtomicU32::new(0),
            counts: LinkCounts::default(),
        }
    }

    pub(super) fn counts(&self) -> &LinkCounts {
        &self.counts
    }

    /// Queues a packet.
    pub(super) fn push(&self, now: MonotonicTime, flow: FlowId, packet: &[u8]) {
        if self.takers.load(Ordering::Acquire) == 0 || !self.queue.lock().push(now, flow, packet) {
            self.counts.dropped.increment();
            return;
        }
        self.filled.notify_one();
    }

    /// Sends what comes, as long as the connection lives.
    pub(super) async fn flush_into(&self, connection: &quinn::Connection) {
        let _taker = Taker::new(self);
        let mut batch = VecDeque::new();
        loop {
            self.filled.notified().await;
            tokio::time::sleep(LINK_AGGREGATION).await;
            std::mem::swap(&mut batch, &mut self.queue.lock().waiting);
            for (queued_at, datagram) in batch.drain(..) {
                if self.send(connection, queued_at, datagram).await.is_err() {
                    return; // the connection is gone; who waits on it says why
                }
            }
        }
    }

    async fn send(
        &self,
        connection: &quinn::Connection,
        queued_at: MonotonicTime,
        datagram: Bytes,
    ) -> Result<(), quinn::SendDatagramError> {
        // QUIC would drop its oldest datagram for a new one; it gets the chance to send first.
        while connection.datagram_send_buffer_space() < datagram.len()
            && !self.is_too_old(queued_at)
            && connection.close_reason().is_none()
        {
            tokio::time::sleep(LINK_AGGREGATION).await;
        }
        let fits = connection.max_datagram_size().is_some_and(|max| datagram.len() <= max);
        if !fits || self.is_too_old(queued_at) {
            self.counts.dropped.increment();
            return Ok(());
        }
        match connection.send_datagram(datagram) {
            Ok(()) => {
                self.counts.sent.increment();
                Ok(())
            }
            Err(quinn::SendDatagramError::TooLarge) => {
                self.counts.dropped.increment();
                Ok(())
            }
            Err(error) => {
                self.counts.dropped.increment();
                Err(error)
            }
        }
    }

    fn is_too_old(&self, queued_at: MonotonicTime) -> bool {
        let age_us = self.clock.now().micros_since(queued_at);
        u128::from(age_us) > LINK_PACKET_AGE_MAX.as_micros()
    }
}

impl Queue {
    /// Queues a packet; false when it must be dropped.
    fn push(&mut self, now: MonotonicTime, flow: FlowId, packet: &[u8]) -> bool {
        let full = self.waiting.len() >= LINK_QUEUE_MAX;
        if full || self.rate.admit(now) == Admission::Refused {
            return false;
        }
        let mut datagram = [0; RTP_PACKET_MAX + FLOW_ID_LEN_MAX];
        let written = write_datagram(flow, packet, &mut datagram);
        let Some(bytes) = written.and_then(|len| datagram.get(..len)) else { return false };
        // Cut from a large chunk: one allocation for some hundred packets.
        if self.chunk.capacity() < bytes.len() {
            self.chunk = BytesMut::with_capacity(LINK_CHUNK);
        }
        self.chunk.extend_from_slice(bytes);
        self.waiting.push_back((now, self.chunk.split().freeze()));
        true
    }
}

/// Marks that a connection takes from the queue.
struct Taker<'a>(&'a Outbox);

impl<'a> Taker<'a> {
    fn new(outbox: &'a Outbox) -> Self {
        outbox.takers.fetch_add(1, Ordering::AcqRel);
        Self(outbox)
    }
}

impl Drop for Taker<'_> {
    fn drop(&mut self) {
        if self.0.takers.fetch_sub(1, Ordering::AcqRel) == 1 {
            let abandoned = std::mem::take(&mut self.0.queue.lock().waiting);
            self.0.counts.dropped.add(abandoned.len() as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_rtp::{
        ids::LegId,
        link::{FlowKind, parse_datagram},
    };

    fn flow(ordinal: u64) -> FlowId {
        FlowId::towards(LegId::new(0, ordinal).expect("in range"), FlowKind::Rtp)
    }

    // Goal: without a link packets are dropped and counted; with one they wait in order, up to the
    // rate, and are dropped when the link ends.
    #[test]
    fn packets_wait_only_for_a_link() {
        let outbox = Outbox::new(RelayClock::start(), 2);
        let now = outbox.clock.now();
        outbox.push(now, flow(1), b"early");
        assert_eq!(outbox.counts.dropped.get(), 1);
        let taker = Taker::new(&outbox);
        for i in 0..100u8 {
            outbox.push(now, flow(u64::from(i)), &[i; 172]);
        }
        // Two flows: 300 packets per second, a fifth of them at once.
        assert_eq!(outbox.counts.dropped.get(), 1 + 40);
        {
            let queue = outbox.queue.lock();
            assert_eq!(queue.waiting.len(), 60);
            for (i, (_, datagram)) in queue.waiting.iter().enumerate() {
                let expected = (flow(i as u64), &[i as u8; 172][..]);
                assert_eq!(parse_datagram(datagram), Ok(expected));
            }
        }
        drop(taker);
        assert_eq!(outbox.counts.dropped.get(), 1 + 40 + 60);
        assert!(outbox.queue.lock().waiting.is_empty());
    }

    // Goal: the queue has an end even below the rate.
    #[test]
    fn queue_is_bounded() {
        let outbox = Outbox::new(RelayClock::start(), 10_000);
        let _taker = Taker::new(&outbox);
        for _ in 0..LINK_QUEUE_MAX + 10 {
            outbox.push(outbox.clock.now(), flow(1), &[0; 20]);
        }
        assert_eq!(outbox.counts.dropped.get(), 10);
    }
}
