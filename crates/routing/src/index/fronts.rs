//! Whose board begins with whom: the sites that have ready agents in an order, those first whose first agent is
//! first. The search for the first agent of all sites who passes ends at the first site whose first one is
//! behind somebody found already.

use std::collections::{BTreeMap, BTreeSet};

use super::{board::ReadyKey, floor::Order};
use crate::ids::SiteId;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fronts {
    /// No empty ones are kept.
    orders: BTreeMap<Order, Front>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Front {
    sites: BTreeSet<(ReadyKey, SiteId)>,
    firsts: BTreeMap<SiteId, ReadyKey>,
}

impl Fronts {
    /// Notes who is first on a site's board now.
    pub(crate) fn set(&mut self, order: Order, site: SiteId, first: Option<ReadyKey>) {
        let front = self.orders.entry(order).or_default();
        let before = match first {
            Some(first) => front.firsts.insert(site, first),
            None => front.firsts.remove(&site),
        };
        if before == first {
            if front.firsts.is_empty() {
                self.orders.remove(&order);
            }
            return;
        }
        if let Some(before) = before {
            front.sites.remove(&(before, site));
        }
        front.sites.extend(first.map(|first| (first, site)));
        if front.sites.is_empty() {
            self.orders.remove(&order);
        }
    }

    /// Sites with their first agents, the first of all first.
    pub(crate) fn sites(&self, order: Order) -> impl Iterator<Item = (ReadyKey, SiteId)> {
        self.orders.get(&order).into_iter().flat_map(|front| front.sites.iter().copied())
    }
}
