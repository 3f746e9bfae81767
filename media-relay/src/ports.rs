//! Pairs of media ports: which are free, and in which order they are used again.
//!
//! A pair that was given back goes to the end of the line, so that late packets of its last call
//! find it closed and not in another call.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;

use crate::config::PortRange;

/// The free pairs of a relay.
#[derive(Debug)]
pub struct PortPool {
    range: PortRange,
    free: Mutex<VecDeque<u16>>,
}

/// A pair in use; given back when dropped.
#[derive(Debug)]
pub struct PortPair {
    even: u16,
    pool: Weak<PortPool>,
}

impl PortPool {
    /// A pool with every pair free. `offset` rotates the order, so that a relay that was restarted
    /// does not begin with the pairs that its last life used most.
    pub fn new(range: PortRange, offset: u64) -> Arc<Self> {
        let mut free: VecDeque<_> = range.even_ports().collect();
        let len = free.len().max(1) as u64;
        free.rotate_left((offset % len) as usize);
        Arc::new(Self { range, free: Mutex::new(free) })
    }

    /// The pair that was free longest.
    pub fn take(self: &Arc<Self>) -> Option<PortPair> {
        let even = self.free.lock().pop_front()?;
        Some(PortPair { even, pool: Arc::downgrade(self) })
    }

    /// This pair, if it is free.
    pub fn take_exactly(self: &Arc<Self>, even: u16) -> Option<PortPair> {
        let mut free = self.free.lock();
        let place = free.iter().position(|port| *port == even)?;
        free.remove(place);
        Some(PortPair { even, pool: Arc::downgrade(self) })
    }

    /// True for the even port of a pair of this pool, free or not.
    pub fn has_pair_at(&self, port: u16) -> bool {
        self.range.has_pair_at(port)
    }
}

impl PortPair {
    /// The port for RTP.
    pub fn rtp(&self) -> u16 {
        self.even
    }

    /// The port for RTCP.
    pub fn rtcp(&self) -> u16 {
        self.even + 1
    }
}

impl Drop for PortPair {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.free.lock().push_back(self.even);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(text: &str, offset: u64) -> Arc<PortPool> {
        let settings = format!(
            "[relay]\nid='r'\ncluster='c'\nmedia_address='127.0.0.1'\nmedia_ports='{text}'\n\
             sessions_max=1\ncontrol='127.0.0.1:1'\nlink='127.0.0.1:1'\ndata_dir='d'\n\
             [tls]\nca='a'\ncert='b'\nkey='c'\n"
        );
        let config = crate::config::parse(&settings).expect("good settings").relay;
        PortPool::new(config.ports().expect("a range"), offset)
    }

    // Goal: a pair is in one hand at a time, comes back last, and none is invented (fault F24).
    #[test]
    fn pairs_rotate() {
        let pool = pool("3000-3005", 0);
        let (a, b, c) = (pool.take(), pool.take(), pool.take());
        assert_eq!(a.as_ref().map(PortPair::rtp), Some(3_000));
        assert_eq!(b.as_ref().map(PortPair::rtp), Some(3_002));
        assert_eq!(c.as_ref().map(PortPair::rtcp), Some(3_005));
        assert!(pool.take().is_none(), "exhausted");
        drop(b);
        drop(a);
        assert_eq!(pool.take().map(|pair| pair.rtp()), Some(3_002));
        assert!(pool.take_exactly(3_004).is_none(), "in use");
        let again = pool.take_exactly(3_000).expect("free");
        assert!(pool.take_exactly(3_000).is_none());
        assert!(pool.take_exactly(4_000).is_none() && !pool.has_pair_at(4_000));
        assert!(pool.has_pair_at(3_000) && !pool.has_pair_at(3_001) && again.rtp() == 3_000);
    }

    // Goal: a restarted relay begins at another place of the same range.
    #[test]
    fn offset_rotates() {
        assert_eq!(pool("3000-3005", 4).take().map(|pair| pair.rtp()), Some(3_002));
    }
}
