//! One direction between two endpoints: decides what becomes of each packet.
//!
//! Pure: time is an argument in microseconds, randomness a seeded generator.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::counters::{DropReason, LinkCounters};
use super::packet::Header;
use super::settings::{Filter, LinkSettings, LinkState, Loss, Order, Rate, Share};

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It arrives.
    Deliver {
        /// When, in microseconds.
        at_us: u64,
        /// When its copy arrives, if it has one.
        copy_at_us: Option<u64>,
    },
    /// It does not.
    Drop(DropReason),
}

/// How many times a link was cut. A packet that entered before the last cut does not arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cuts(u32);

/// One direction between two endpoints.
#[derive(Debug)]
pub struct Link {
    settings: LinkSettings,
    rng: ChaCha8Rng,
    weather: Weather,
    line: Line,
    order_floor_us: u64,
    cuts: Cuts,
    counters: LinkCounters,
}

/// The two states of bursty loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    Good,
    Bad,
}

/// A line that sends bit after bit. The backlog is kept in bits times a million, because that is
/// what a rate in bits per second drains in whole numbers each microsecond: departures are exact,
/// however many packets went before.
#[derive(Debug, Default)]
struct Line {
    backlog_bit_us: u128,
    drained_at_us: u64,
}

impl Link {
    /// A link that passes everything at once until told otherwise.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            settings: LinkSettings::default(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            weather: Weather::Good,
            line: Line::default(),
            order_floor_us: 0,
            cuts: Cuts::default(),
            counters: LinkCounters::default(),
        }
    }

    /// What the link does.
    #[must_use]
    pub fn settings(&self) -> &LinkSettings {
        &self.settings
    }

    /// What the link did.
    #[must_use]
    pub fn counters(&self) -> &LinkCounters {
        &self.counters
    }

    /// What the link did, to be counted on.
    pub fn counters_mut(&mut self) -> &mut LinkCounters {
        &mut self.counters
    }

    /// How often the link was cut so far.
    #[must_use]
    pub fn cuts(&self) -> Cuts {
        self.cuts
    }

    /// Makes the link behave differently from now on.
    ///
    /// Packets under way keep their departures, unless the link goes down: then they are lost. A
    /// change of delay or jitter is another path, so packets on it may overtake those under way.
    /// The caller has checked the settings ([`LinkSettings::check`]).
    pub fn set(&mut self, settings: LinkSettings) {
        if settings.state == LinkState::Down && self.settings.state == LinkState::Up {
            self.cuts.0 = self.cuts.0.wrapping_add(1);
            self.line = Line::default();
        }
        let path = |it: &LinkSettings| (it.delay_us, it.jitter_us, it.order);
        if path(&settings) != path(&self.settings) {
            self.order_floor_us = 0;
        }
        self.settings = settings;
    }

    /// Decides about a packet that enters now. `len` is the whole IP packet in bytes. Time does
    /// not run backwards.
    pub fn accept(&mut self, now_us: u64, len: usize, header: &Header) -> Verdict {
        self.counters.offered += 1;
        match self.decide(now_us, len, header) {
            Ok(verdict) => verdict,
            Err(reason) => {
                self.counters.drop(reason);
                Verdict::Drop(reason)
            }
        }
    }

    /// Whether a packet that entered after so many cuts still arrives.
    #[must_use]
    pub fn still_carries(&self, cuts: Cuts) -> bool {
        self.cuts == cuts
    }

    fn decide(&mut self, now_us: u64, len: usize, header: &Header) -> Result<Verdict, DropReason> {
        if self.settings.state == LinkState::Down {
            return Err(DropReason::Down);
        }
        if self.settings.filters.iter().any(|filter| filter.matches(len, header)) {
            return Err(DropReason::Filtered);
        }
        if self.is_lost() {
            return Err(DropReason::Lost);
        }
        let sent_us = match self.settings.rate {
            Some(rate) => self.line.send(now_us, len, rate).ok_or(DropReason::QueueFull)?,
            None => now_us,
        };
        let at_us = self.arrival(sent_us);
        let copy_at_us = self.draw(self.settings.duplicate).then(|| self.arrival(sent_us));
        self.counters.duplicated += u64::from(copy_at_us.is_some());
        Ok(Verdict::Deliver { at_us, copy_at_us })
    }

    fn is_lost(&mut self) -> bool {
        match self.settings.loss {
            Loss::None => false,
            Loss::Random { share } => self.draw(share),
            Loss::GilbertElliott { good_to_bad, bad_to_good, loss_good, loss_bad } => {
                let (turn, other) = match self.weather {
                    Weather::Good => (good_to_bad, Weather::Bad),
                    Weather::Bad => (bad_to_good, Weather::Good),
                };
                if self.draw(turn) {
                    self.weather = other;
                }
                self.draw(if self.weather == Weather::Bad { loss_bad } else { loss_good })
            }
        }
    }

    fn arrival(&mut self, sent_us: u64) -> u64 {
        let straight = sent_us + self.settings.delay_us + self.jitter();
        if self.draw(self.settings.reorder.share) {
            self.counters.held_back += 1;
            return straight + self.settings.reorder.hold_us;
        }
        match self.settings.order {
            Order::Free => straight,
            Order::Kept => {
                self.order_floor_us = self.order_floor_us.max(straight);
                self.order_floor_us
            }
        }
    }

    /// Even between 0 and the limit, by the high half of a 32 x 64 bit product; the limit is far
    /// below 2^32, so the bias is less than one in a million.
    fn jitter(&mut self) -> u64 {
        if self.settings.jitter_us == 0 {
            return 0;
        }
        (u64::from(self.rng.next_u32()) * (self.settings.jitter_us + 1)) >> 32
    }

    fn draw(&mut self, share: Share) -> bool {
        share > Share::NONE && share.holds(self.rng.next_u32())
    }
}

impl Line {
    /// Queues a packet. When its last bit leaves, in microseconds (rounded up); none if the queue
    /// has no room.
    fn send(&mut self, now_us: u64, len: usize, rate: Rate) -> Option<u64> {
        let per_us = u128::from(rate.bits_per_s);
        let drained = u128::from(now_us.saturating_sub(self.drained_at_us)) * per_us;
        self.backlog_bit_us = self.backlog_bit_us.saturating_sub(drained);
        self.drained_at_us = self.drained_at_us.max(now_us);

        let with_packet = self.backlog_bit_us + len as u128 * 8_000_000;
        if with_packet > u128::from(rate.queue_bytes) * 8_000_000 {
            return None;
        }
        self.backlog_bit_us = with_packet;
        u64::try_from(with_packet.div_ceil(per_us)).ok().map(|wait_us| now_us + wait_us)
    }
}

impl Filter {
    fn matches(&self, len: usize, header: &Header) -> bool {
        let port_matches =
            |port| header.ports.is_some_and(|(source, target)| source == port || target == port);
        self.protocol.is_none_or(|protocol| header.protocol == protocol)
            && self.port.is_none_or(port_matches)
            && self.longer_than.is_none_or(|limit| len > usize::from(limit))
    }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
