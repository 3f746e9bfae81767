//! Who may ask a peer for a takeover: a few at a time for each address, the rest in line, nobody
//! forgotten.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
};

use tandem_cluster::ids::LegId;

use crate::limits::TAKEOVERS_PER_PEER_MAX;

/// Turns at each peer. A peer is in the table only while somebody asks it or waits for it.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    peers: BTreeMap<IpAddr, Peer>,
    /// Peers at which a turn came free while somebody waits.
    freed: VecDeque<IpAddr>,
}

#[derive(Debug, Default)]
struct Peer {
    asking: usize,
    waiting: VecDeque<LegId>,
}

/// Whether a leg has its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Now; it ends with [`Turns::end`].
    Now,
    /// [`Turns::next`] will name the leg.
    Waits,
}

impl Turns {
    /// Asks for a turn.
    pub(crate) fn take(&mut self, peer: IpAddr, leg: LegId) -> Turn {
        let at = self.peers.entry(peer).or_default();
        if at.asking < TAKEOVERS_PER_PEER_MAX {
            at.asking += 1;
            return Turn::Now;
        }
        at.waiting.push_back(leg);
        Turn::Waits
    }

    /// Ends a turn.
    pub(crate) fn end(&mut self, peer: IpAddr) {
        let Some(at) = self.peers.get_mut(&peer) else { return };
        at.asking = at.asking.saturating_sub(1);
        if !at.waiting.is_empty() {
            self.freed.push_back(peer);
        } else if at.asking == 0 {
            self.peers.remove(&peer);
        }
    }

    /// The next leg that may ask, if a turn is free: it takes the turn anew. A leg that does not want
    /// it any more is simply not heard of again, and the next one is named.
    pub(crate) fn next(&mut self) -> Option<LegId> {
        while let Some(&peer) = self.freed.front() {
            let at = self.peers.get_mut(&peer);
            let next = at
                .filter(|at| at.asking < TAKEOVERS_PER_PEER_MAX)
                .and_then(|at| at.waiting.pop_front());
            if next.is_some() {
                return next;
            }
            self.freed.pop_front();
            if self.peers.get(&peer).is_some_and(|at| at.asking == 0 && at.waiting.is_empty()) {
                self.peers.remove(&peer);
            }
        }
        None
    }

    /// Legs that ask.
    pub(crate) fn asking(&self) -> usize {
        self.peers.values().map(|at| at.asking).sum()
    }

    /// Legs that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.peers.values().map(|at| at.waiting.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tandem_cluster::ids::{GroupId, Ordinal};

    use super::*;

    fn leg(n: u64) -> LegId {
        LegId { group: GroupId(0), ordinal: Ordinal(n) }
    }

    // Goal: at most so many ask at a time, everybody gets a turn in order, also behind legs that
    // left the line, and nothing is kept in the end.
    #[test]
    fn everybody_gets_a_turn() {
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let max = u64::try_from(TAKEOVERS_PER_PEER_MAX).unwrap();
        let mut turns = Turns::default();
        for n in 0..3 * max {
            let expected = if n < max { Turn::Now } else { Turn::Waits };
            assert_eq!(turns.take(peer, leg(n)), expected);
        }
        assert_eq!(turns.next(), None, "no turn is free");
        let mut seen = Vec::new();
        for _ in 0..max {
            turns.end(peer);
            while let Some(next) = turns.next() {
                seen.push(next);
                // Every third leg is gone by now and takes no turn.
                if next.ordinal.0 % 3 != 0 {
                    assert_eq!(turns.take(peer, next), Turn::Now);
                }
            }
            assert!(turns.asking() <= TAKEOVERS_PER_PEER_MAX);
        }
        while turns.asking() > 0 {
            turns.end(peer);
            while let Some(next) = turns.next() {
                seen.push(next);
                assert_eq!(turns.take(peer, next), Turn::Now);
            }
        }
        assert_eq!(seen, (max..3 * max).map(leg).collect::<Vec<_>>());
        assert!(turns.peers.is_empty() && turns.freed.is_empty());
    }
}
