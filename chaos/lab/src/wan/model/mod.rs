//! The network between hosts, as a value: endpoints, and a link for each direction between two of
//! them. Reads no clock, does no I/O; two networks of the same seed that are offered the same
//! packets at the same times decide the same.

mod counters;
mod link;
mod packet;
mod prefix;
mod settings;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

pub use counters::{DropReason, Dropped, LinkCounters, StrayCounters};
pub use link::{Cuts, Link, Verdict};
pub use packet::Header;
pub use prefix::{Prefix, PrefixError};
use serde::{Deserialize, Serialize};
pub use settings::{
    Filter, LinkSettings, LinkState, Loss, Order, Protocol, Rate, Reorder, SettingsError, Share,
};

use super::limits::{ENDPOINTS_MAX, NAME_BYTES_MAX};

/// A block of addresses with a name, at a site, behind the device of one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// Unique among endpoints.
    pub name: String,
    /// Where it stands. Endpoints of a site share what [`Party::Site`] is told.
    pub site: String,
    /// Its addresses. Where blocks overlap, an address belongs to the longest prefix.
    pub addresses: Prefix,
    /// The host whose device it is behind.
    pub host: HostIndex,
}

/// A host's place in the list of hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HostIndex(pub usize);

/// One side of a setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Party {
    /// Every endpoint; written `all`.
    All,
    /// The endpoints of a site; written `site:NAME`.
    Site(String),
    /// One endpoint; written by its name.
    Endpoint(String),
}

/// A link's place in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkIndex(usize);

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage {
    /// The link it takes.
    pub link: LinkIndex,
    /// The host that receives it.
    pub host: HostIndex,
    /// How often the link was cut when the packet entered, for [`Network::still_carries`].
    pub cuts: Cuts,
    /// When it arrives.
    pub at_us: u64,
    /// When its copy arrives.
    pub copy_at_us: Option<u64>,
}

/// A network that cannot be. Nothing was changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NetworkError {
    /// Too many endpoints.
    #[error("{0} endpoints; a network has up to {ENDPOINTS_MAX}")]
    TooManyEndpoints(usize),
    /// An empty, reserved or overlong name.
    #[error(
        "{0:?} cannot name an endpoint or a site: take up to {NAME_BYTES_MAX} of a-z, A-Z, 0-9, '-', '_' and '.'; \"all\" is reserved"
    )]
    Name(String),
    /// Two endpoints share a name.
    #[error("two endpoints are named {0:?}: rename one")]
    DuplicateName(String),
    /// Two endpoints share their addresses.
    #[error("endpoints {0:?} and {1:?} have the same addresses {2}: move one")]
    DuplicateAddresses(String, String, Prefix),
    /// Nobody has that name.
    #[error("no {party}; there are {known}")]
    Unknown {
        /// Who was meant.
        party: String,
        /// Who there is.
        known: String,
    },
    /// Values out of range.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

/// Endpoints and the links between them.
#[derive(Debug)]
pub struct Network {
    endpoints: Vec<Endpoint>,
    /// Indexes of endpoints, longest prefix first.
    by_prefix: Vec<usize>,
    /// From the row's endpoint to the column's.
    links: Vec<Link>,
    stray: StrayCounters,
}

impl Network {
    /// A network whose links all pass everything at once.
    ///
    /// # Errors
    /// Too many endpoints, or two that cannot be told apart.
    pub fn new(endpoints: Vec<Endpoint>, seed: u64) -> Result<Self, NetworkError> {
        check_endpoints(&endpoints)?;
        let mut by_prefix: Vec<usize> = (0..endpoints.len()).collect();
        by_prefix.sort_by_key(|index| {
            std::cmp::Reverse(endpoints.get(*index).map_or(0, |endpoint| endpoint.addresses.bits()))
        });
        // One generator per link: traffic on one does not shift the draws of another.
        let links = (0..endpoints.len() * endpoints.len())
            .map(|index| Link::new(seed ^ (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            .collect();
        Ok(Self { endpoints, by_prefix, links, stray: StrayCounters::default() })
    }

    /// The endpoints, in the order they were given.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Decides about a packet that the host sends now. None if it does not arrive; the counters
    /// know why.
    pub fn offer(&mut self, now_us: u64, from: HostIndex, packet: &[u8]) -> Option<Passage> {
        let Some(header) = Header::parse(packet) else {
            self.stray.malformed += 1;
            return None;
        };
        let source = self.endpoint_of(header.source).filter(|it| self.host_of(*it) == Some(from));
        let Some(source) = source else {
            self.stray.unknown_source += 1;
            return None;
        };
        let target = self.endpoint_of(header.destination);
        let Some((target, host)) = target.and_then(|it| Some((it, self.host_of(it)?))) else {
            self.stray.unknown_destination += 1;
            return None;
        };
        let index = LinkIndex(source * self.endpoints.len() + target);
        let link = self.link_mut(index)?;
        match link.accept(now_us, packet.len(), &header) {
            Verdict::Drop(_) => None,
            Verdict::Deliver { at_us, copy_at_us } => {
                Some(Passage { link: index, host, cuts: link.cuts(), at_us, copy_at_us })
            }
        }
    }

    /// Whether a packet still arrives, now that its time has come. If not, it is counted as cut.
    pub fn still_carries(&mut self, passage: &Passage) -> bool {
        let Some(link) = self.link_mut(passage.link) else { return false };
        let carries = link.still_carries(passage.cuts);
        if !carries {
            link.counters_mut().drop(DropReason::Cut);
        }
        carries
    }

    /// Counts a packet that its host took.
    pub fn count_delivered(&mut self, link: LinkIndex, len: usize) {
        if let Some(link) = self.link_mut(link) {
            link.counters_mut().delivered += 1;
            link.counters_mut().delivered_bytes += len as u64;
        }
    }

    /// Counts a packet that the router could not hold or the host did not take.
    pub fn count_dropped(&mut self, link: LinkIndex, reason: DropReason) {
        if let Some(link) = self.link_mut(link) {
            link.counters_mut().drop(reason);
        }
    }

    /// Sets every link from one party to the other, in this direction only.
    ///
    /// # Errors
    /// Nobody has that name, or a value is out of range. Then nothing has changed.
    pub fn set(
        &mut self,
        from: &Party,
        to: &Party,
        settings: &LinkSettings,
    ) -> Result<(), NetworkError> {
        self.update(from, to, |_| Ok(settings.clone()))
    }

    /// Like [`Network::set`], from the settings that each link has.
    ///
    /// # Errors
    /// Nobody has that name, or what `change` refuses. Then nothing has changed.
    pub fn update(
        &mut self,
        from: &Party,
        to: &Party,
        change: impl Fn(&LinkSettings) -> Result<LinkSettings, SettingsError>,
    ) -> Result<(), NetworkError> {
        let pairs = self.pairs(from, to)?;
        self.change(pairs, change)
    }

    /// Like [`Network::update`], in both directions.
    ///
    /// # Errors
    /// As [`Network::update`].
    pub fn update_pair(
        &mut self,
        one: &Party,
        other: &Party,
        change: impl Fn(&LinkSettings) -> Result<LinkSettings, SettingsError>,
    ) -> Result<(), NetworkError> {
        let mut pairs = self.pairs(one, other)?;
        pairs.extend(self.pairs(other, one)?);
        self.change(pairs, change)
    }

    /// Cuts the party off from everybody else, both ways; within the party nothing changes.
    ///
    /// # Errors
    /// Nobody has that name.
    pub fn isolate(&mut self, party: &Party) -> Result<(), NetworkError> {
        self.set_border(party, LinkState::Down)
    }

    /// Lets the party reach everybody else again, both ways, with the settings from before.
    ///
    /// # Errors
    /// Nobody has that name.
    pub fn rejoin(&mut self, party: &Party) -> Result<(), NetworkError> {
        self.set_border(party, LinkState::Up)
    }

    /// Brings every link up; delays, losses and filters stay.
    pub fn heal(&mut self) {
        for link in &mut self.links {
            let settings = LinkSettings { state: LinkState::Up, ..link.settings().clone() };
            link.set(settings);
        }
    }

    /// Each link with its endpoints, by rows.
    pub fn links(&self) -> impl Iterator<Item = (&Endpoint, &Endpoint, &Link)> {
        let ends =
            self.endpoints.iter().flat_map(|from| self.endpoints.iter().map(move |to| (from, to)));
        ends.zip(&self.links).map(|((from, to), link)| (from, to, link))
    }

    /// The links from one party to the other.
    ///
    /// # Errors
    /// Nobody has that name.
    pub fn links_between(
        &self,
        from: &Party,
        to: &Party,
    ) -> Result<Vec<(&Endpoint, &Endpoint, &Link)>, NetworkError> {
        let wanted = self.pairs(from, to)?;
        Ok(self
            .links()
            .enumerate()
            .filter(|(index, _)| wanted.contains(&LinkIndex(*index)))
            .map(|(_, link)| link)
            .collect())
    }

    /// Packets that belong to no link.
    #[must_use]
    pub fn stray(&self) -> StrayCounters {
        self.stray
    }

    fn change(
        &mut self,
        pairs: Vec<LinkIndex>,
        change: impl Fn(&LinkSettings) -> Result<LinkSettings, SettingsError>,
    ) -> Result<(), NetworkError> {
        let mut changed = Vec::with_capacity(pairs.len());
        for index in pairs {
            if let Some(link) = self.links.get(index.0) {
                let settings = change(link.settings())?;
                settings.check()?;
                changed.push((index, settings));
            }
        }
        for (index, settings) in changed {
            if let Some(link) = self.link_mut(index) {
                link.set(settings);
            }
        }
        Ok(())
    }

    fn set_border(&mut self, party: &Party, state: LinkState) -> Result<(), NetworkError> {
        let inside = self.members(party)?;
        let width = self.endpoints.len();
        for from in 0..width {
            for to in (0..width).filter(|to| inside.contains(to) != inside.contains(&from)) {
                if let Some(link) = self.link_mut(LinkIndex(from * width + to)) {
                    let settings = LinkSettings { state, ..link.settings().clone() };
                    link.set(settings);
                }
            }
        }
        Ok(())
    }

    fn pairs(&self, from: &Party, to: &Party) -> Result<Vec<LinkIndex>, NetworkError> {
        let (rows, columns) = (self.members(from)?, self.members(to)?);
        let width = self.endpoints.len();
        Ok(rows
            .iter()
            .flat_map(|row| columns.iter().map(move |column| LinkIndex(row * width + column)))
            .collect())
    }

    fn members(&self, party: &Party) -> Result<Vec<usize>, NetworkError> {
        let belongs = |endpoint: &Endpoint| match party {
            Party::All => true,
            Party::Site(site) => endpoint.site == *site,
            Party::Endpoint(name) => endpoint.name == *name,
        };
        let members: Vec<usize> = (self.endpoints.iter().enumerate())
            .filter(|(_, endpoint)| belongs(endpoint))
            .map(|(index, _)| index)
            .collect();
        if members.is_empty() { Err(self.unknown(party)) } else { Ok(members) }
    }

    fn unknown(&self, party: &Party) -> NetworkError {
        let mut known: Vec<String> = match party {
            Party::Site(_) => self.endpoints.iter().map(|it| format!("site:{}", it.site)).collect(),
            _ => self.endpoints.iter().map(|it| it.name.clone()).collect(),
        };
        known.dedup();
        NetworkError::Unknown { party: party.to_string(), known: known.join(", ") }
    }

    fn endpoint_of(&self, address: IpAddr) -> Option<usize> {
        let holds = |index: &usize| {
            self.endpoints.get(*index).is_some_and(|it| it.addresses.contains(address))
        };
        self.by_prefix.iter().copied().find(holds)
    }

    fn host_of(&self, endpoint: usize) -> Option<HostIndex> {
        self.endpoints.get(endpoint).map(|endpoint| endpoint.host)
    }

    fn link_mut(&mut self, index: LinkIndex) -> Option<&mut Link> {
        self.links.get_mut(index.0)
    }
}

impl FromStr for Party {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (party, name) = match text.strip_prefix("site:") {
            Some(site) => (Self::Site(site.to_owned()), site),
            None if text == "all" => return Ok(Self::All),
            None => (Self::Endpoint(text.to_owned()), text),
        };
        check_name(name)?;
        Ok(party)
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Site(site) => write!(f, "site:{site}"),
            Self::Endpoint(name) => f.write_str(name),
        }
    }
}

impl TryFrom<String> for Party {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl From<Party> for String {
    fn from(party: Party) -> String {
        party.to_string()
    }
}

fn check_endpoints(endpoints: &[Endpoint]) -> Result<(), NetworkError> {
    if endpoints.len() > ENDPOINTS_MAX {
        return Err(NetworkError::TooManyEndpoints(endpoints.len()));
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        check_name(&endpoint.name)?;
        check_name(&endpoint.site)?;
        for earlier in endpoints.iter().take(index) {
            if earlier.name == endpoint.name {
                return Err(NetworkError::DuplicateName(endpoint.name.clone()));
            }
            if earlier.addresses == endpoint.addresses {
                let names = (earlier.name.clone(), endpoint.name.clone());
                return Err(NetworkError::DuplicateAddresses(names.0, names.1, endpoint.addresses));
            }
        }
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), NetworkError> {
    let plain = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '.');
    let good = !name.is_empty() && name.len() <= NAME_BYTES_MAX && name != "all";
    if good && name.chars().all(plain) { Ok(()) } else { Err(NetworkError::Name(name.to_owned())) }
}

#[cfg(test)]
pub(crate) mod tests_support;

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
