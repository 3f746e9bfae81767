//! The agents of one site: everybody by seats, and the ready ones in the orders that queues ask for.

use std::collections::BTreeMap;

use super::{
    board::{Board, ReadyKey},
    dense::Dense,
    filter::{Filter, Slots},
    planes::{Column, Planes},
};
use crate::{
    entity::{Agent, LoginState},
    ids::{AgentId, QueueId, SiteId},
    strategy::Strategy,
};

/// An order among ready agents that some queue asks for. Queues whose agents stand in the same order
/// share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    /// The longest idle first; also where the fit decides, which no order holds.
    Idle,
    Contacts,
    TalkTime,
    Occupancy,
    Chance,
    /// Whose last offer of this queue is the oldest.
    Turns(QueueId),
    /// By tiers of this queue.
    Tiers(QueueId),
}

impl Order {
    pub(crate) fn of(strategy: Strategy, queue: QueueId) -> Self {
        match strategy {
            Strategy::LongestIdle
            | Strategy::MostSkilled
            | Strategy::LeastSkilled
            | Strategy::RingAll => Self::Idle,
            Strategy::RoundRobin => Self::Turns(queue),
            Strategy::FewestContacts => Self::Contacts,
            Strategy::LeastTalkTime => Self::TalkTime,
            Strategy::LowestOccupancy => Self::Occupancy,
            Strategy::Linear => Self::Tiers(queue),
            Strategy::Random => Self::Chance,
        }
    }

    pub(crate) fn key(self, agent: &Agent) -> ReadyKey {
        let rank = match self {
            Self::Idle => 0,
            Self::Contacts => u64::from(agent.tally.contacts),
            Self::TalkTime => agent.tally.talk.0,
            Self::Occupancy => agent.tally.occupancy_ppm(),
            Self::Chance => agent.chance(),
            Self::Turns(queue) => agent.asked.get(&queue).map_or(0, |ordinal| ordinal.0),
            Self::Tiers(queue) => agent.tiers.get(&queue).copied().unwrap_or_default().rank(),
        };
        (rank, agent.idle_since, agent.id)
    }
}

/// Where an agent sits, and what they have.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seat {
    pub(crate) site: SiteId,
    number: u32,
    pub(crate) levels: Box<[(Column, u8)]>,
    /// Orders in which they stand while they are ready.
    pub(crate) orders: Vec<Order>,
}

/// Seats of all sites.
pub(crate) type Seats = Dense<Seat>;

#[derive(Debug, Clone, Default)]
pub(crate) struct Floor {
    blocks: Vec<Block>,
    /// Seats that were given back.
    free: Vec<u32>,
    /// Seats that were ever given.
    given: u32,
    /// No empty boards are kept.
    boards: BTreeMap<Order, Board>,
}

#[derive(Debug, Clone, Default)]
struct Block {
    /// Who is logged in.
    staffed: u64,
    planes: Planes,
    agents: Vec<AgentId>,
}

impl Block {
    fn pass(&self, filter: &Filter, site: SiteId) -> u64 {
        let find = |agent: AgentId| {
            let slots = self.agents.iter().enumerate();
            slots.fold(0, |mask, (at, other)| mask | u64::from(*other == agent) << at)
        };
        filter.pass(Slots { planes: &self.planes, site, find })
    }
}

impl Floor {
    /// Gives an agent a seat.
    pub(crate) fn seat(
        &mut self,
        agent: &Agent,
        levels: Box<[(Column, u8)]>,
        orders: Vec<Order>,
    ) -> Seat {
        let number = self.free.pop().unwrap_or_else(|| {
            if self.given as usize == self.blocks.len() * 64 {
                self.blocks.push(Block::default());
            }
            self.given += 1;
            self.given - 1
        });
        let seat = Seat { site: agent.site, number, levels, orders };
        if let Some((block, slot)) = self.block(&seat) {
            if block.agents.len() <= slot as usize {
                block.agents.resize(slot as usize + 1, AgentId::default());
            }
            if let Some(who) = block.agents.get_mut(slot as usize) {
                *who = agent.id;
            }
            for (column, level) in &seat.levels {
                block.planes.set(*column, slot, *level);
            }
        }
        seat
    }

    /// Takes an agent's seat away; they must not be ready.
    pub(crate) fn clear(&mut self, seat: &Seat) {
        if let Some((block, slot)) = self.block(seat) {
            block.staffed &= !(1 << slot);
            for (column, _) in &seat.levels {
                block.planes.clear(*column, slot);
            }
        }
        self.free.push(seat.number);
    }

    /// Notes whether the agent of a seat is logged in.
    pub(crate) fn staff(&mut self, seat: &Seat, agent: &Agent) {
        if let Some((block, slot)) = self.block(seat) {
            block.staffed &= !(1 << slot);
            block.staffed |= u64::from(agent.login != LoginState::LoggedOut) << slot;
        }
    }

    pub(crate) fn show(&mut self, agent: &Agent, seat: &Seat) {
        for order in &seat.orders {
            self.boards.entry(*order).or_default().insert(order.key(agent), &seat.levels);
        }
    }

    /// Reverses [`Floor::show`]; takes the agent as they were then.
    pub(crate) fn hide(&mut self, agent: &Agent, seat: &Seat, seats: &Seats) {
        // The agent's own seat may be out of the table while it changes.
        let levels = |other: AgentId| match seats.get(other.0) {
            _ if other == agent.id => &*seat.levels,
            Some(seat) => &*seat.levels,
            None => &[],
        };
        for order in &seat.orders {
            let Some(board) = self.boards.get_mut(order) else { continue };
            board.remove(&order.key(agent), levels);
            if board.is_empty() {
                self.boards.remove(order);
            }
        }
    }

    pub(crate) fn board(&self, order: Order) -> Option<&Board> {
        self.boards.get(&order)
    }

    pub(crate) fn boards(&self) -> impl Iterator<Item = (Order, &Board)> {
        self.boards.iter().map(|(order, board)| (*order, board))
    }

    /// True when somebody who passes is logged in.
    pub(crate) fn is_staffed(&self, filter: &Filter, site: SiteId) -> bool {
        self.blocks
            .iter()
            .any(|block| block.staffed != 0 && block.staffed & block.pass(filter, site) != 0)
    }

    /// Agents who are logged in and have something at a level, in this column.
    pub(crate) fn staff_of(&self, column: Column) -> u32 {
        let staff = |block: &Block| (block.staffed & block.planes.at_least(column, 1)).count_ones();
        self.blocks.iter().map(staff).sum()
    }

    /// True when the agent of this seat passes.
    pub(crate) fn passes(&self, filter: &Filter, seat: &Seat) -> bool {
        let block = self.blocks.get(seat.number as usize / 64);
        block.is_some_and(|block| block.pass(filter, seat.site) >> (seat.number % 64) & 1 == 1)
    }

    pub(crate) fn has_staff_at(&self, seat: &Seat) -> bool {
        let block = self.blocks.get(seat.number as usize / 64);
        block.is_some_and(|block| block.staffed >> (seat.number % 64) & 1 == 1)
    }

    fn block(&mut self, seat: &Seat) -> Option<(&mut Block, u32)> {
        let block = self.blocks.get_mut(seat.number as usize / 64)?;
        Some((block, seat.number % 64))
    }
}
