//! Cities in namespaces with the router between them: the ground that `network = "wan"` stands on.
//!
//! Each city is a host of its own for node and relay; phones and carriers live in the laboratory's own
//! process, on addresses that the router counts as next door to their city's host. The operator, who
//! asks the nodes' APIs, is never cut off and never slow: what is seen of the cluster must not depend on
//! what is broken.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, UdpSocket},
    path::Path,
    process::{Child, Command},
    sync::Arc,
};

use anyhow::{Context, Result};
use tandem_lab::{
    host::{HostSpec, Lab},
    wan::{LinkCounters, LinkSettings, LinkState, Party, presets::Preset},
};

use super::action::Impairment;
use crate::cluster::{Ground, Plan, Timing};

/// First two bytes of all addresses.
const NET: [u8; 2] = [10, 77];
/// Measured round trips between these cities.
const PRESET: &str = "cities-2011";
/// Near ones first.
const CITIES: [&str; 5] = ["paris", "milan", "moscow", "zurich", "new-york"];
/// Third byte of the operator's address.
const OPERATOR: u8 = 250;
/// Last byte of the address of a city's host.
const HOST: u8 = 1;
/// Last byte of the address of a city's phones.
const PEOPLE: u8 = 100;
/// Bytes of a packet before its payload.
const UDP_IPV4_HEADERS: u16 = 28;
/// The port on which packets are thrown away (RFC 863).
const DISCARD: u16 = 9;

/// See the module.
#[derive(Debug)]
pub(super) struct Wan {
    lab: Lab,
    cities: Vec<&'static str>,
}

impl Ground for Wan {
    fn spawn(&self, site: usize, command: Command) -> io::Result<Child> {
        let city = self.cities.get(site).ok_or(io::ErrorKind::NotFound)?;
        self.lab.host(city).map_err(io::Error::other)?.spawn(command)
    }
}

/// Hosts for so many cities, and the plan of a cluster on them.
///
/// # Errors
/// When it does not run as root, or the kernel refuses.
pub(super) fn build(dir: &Path, programs: &Path, sites: usize) -> Result<(Plan, Arc<Wan>)> {
    let cities: Vec<&'static str> = CITIES.into_iter().take(sites).collect();
    let [a, b] = NET;
    let at = |third: u8, last: u8| IpAddr::V4(Ipv4Addr::new(a, b, third, last)).into();
    let mut people = HostSpec::here("people").endpoint("operator", "operator", at(OPERATOR, 1));
    let mut hosts = Vec::new();
    for (third, city) in (1..).zip(&cities) {
        hosts.push(HostSpec::apart(city).endpoint(city, city, at(third, HOST)));
        people = people.endpoint(&format!("{city}-phones"), city, at(third, PEOPLE)).endpoint(
            &format!("{city}-carrier"),
            city,
            at(9, third),
        );
    }
    hosts.push(people);
    let lab = Lab::new(hosts, 1).context("the network of a scenario")?;
    let preset = Preset::named(PRESET)?;
    for (index, one) in cities.iter().enumerate() {
        for other in cities.iter().skip(index + 1) {
            let round_trip_us = preset.round_trip_us(one, other).context("a measured pair")?;
            let settings = LinkSettings::delayed_us(round_trip_us / 2);
            lab.router().set_pair(&site(one), &site(other), &settings)?;
        }
    }
    let wan = Arc::new(Wan { lab, cities: cities.clone() });
    let ground: Arc<dyn Ground> = Arc::clone(&wan) as Arc<dyn Ground>;
    let named: Vec<(&str, &str)> = cities.iter().map(|city| (*city, *city)).collect();
    let plan = Plan::sites(dir, programs, NET, &named, ground);
    Ok((Plan { timing: Timing::BETWEEN_CITIES, ..plan }, wan))
}

fn site(city: &str) -> Party {
    Party::Site(city.to_owned())
}

fn host(city: &str) -> Party {
    Party::Endpoint(city.to_owned())
}

impl Wan {
    /// The longest round trip between two of the cities, milliseconds.
    pub(super) fn round_trip_ms(&self) -> u64 {
        let preset = Preset::named(PRESET).ok();
        let pairs =
            self.cities.iter().flat_map(|one| self.cities.iter().map(move |other| (one, other)));
        let trips = pairs.filter_map(|(one, other)| preset?.round_trip_us(one, other));
        trips.max().unwrap_or(0_u64).div_ceil(1_000)
    }

    /// Cuts a city off with everybody in it, or joins it again. The operator still reaches its node.
    pub(super) fn border(&self, city: usize, state: LinkState) -> Result<()> {
        let city = self.city(city)?;
        for other in self.cities.iter().filter(|other| **other != city) {
            self.set(&site(city), &site(other), state)?;
            self.set(&site(other), &site(city), state)?;
        }
        Ok(())
    }

    /// Cuts a city's host (node and relay) off from the other cities' hosts, or joins it again; people
    /// still reach all of them.
    pub(super) fn between_hosts(
        &self,
        city: usize,
        direction: Direction,
        state: LinkState,
    ) -> Result<()> {
        let city = self.city(city)?;
        for other in self.cities.iter().filter(|other| **other != city) {
            if direction != Direction::In {
                self.set(&host(city), &host(other), state)?;
            }
            if direction != Direction::Out {
                self.set(&host(other), &host(city), state)?;
            }
        }
        Ok(())
    }

    /// Cuts the link between two cities' hosts, or joins it again; both reach everybody else.
    pub(super) fn link(&self, one: usize, other: usize, state: LinkState) -> Result<()> {
        let (one, other) = (host(self.city(one)?), host(self.city(other)?));
        self.set(&one, &other, state)?;
        self.set(&other, &one, state)
    }

    /// Makes all links of a city to the other cities worse, both ways.
    pub(super) fn impair(&self, city: usize, by: &Impairment) -> Result<()> {
        self.change(city, |base| by.on(base))
    }

    /// Takes it back: the measured delays alone.
    pub(super) fn restore(&self, city: usize, by: &Impairment) -> Result<()> {
        self.change(city, |worse| by.off(worse))
    }

    /// Sends one IP packet of so many bytes from people at a city to the host of the next one, where
    /// nobody waits for it.
    pub(super) fn send_to_next(&self, city: usize, bytes: u16) -> Result<()> {
        let third = |index: usize| u8::try_from(index % self.cities.len() + 1);
        let [a, b] = NET;
        let from = Ipv4Addr::new(a, b, third(city)?, PEOPLE);
        let to = Ipv4Addr::new(a, b, third(city + 1)?, HOST);
        let payload = vec![0; usize::from(bytes.saturating_sub(UDP_IPV4_HEADERS))];
        let socket = UdpSocket::bind((from, 0))?;
        let sent = socket.send_to(&payload, (to, DISCARD)).context("a probe of the network");
        sent.map(drop)
    }

    /// What the links of a city to the others did to packets up to now: carried, and harmed (lost, held
    /// back, repeated).
    pub(super) fn done(&self, city: usize) -> Result<Done> {
        let mut done = Done::default();
        let city = self.city(city)?;
        for other in self.cities.iter().filter(|other| **other != city) {
            for (from, to) in [(city, *other), (*other, city)] {
                for pair in self.lab.router().counters(&site(from), &site(to))? {
                    let LinkCounters { delivered, duplicated, held_back, dropped, .. } =
                        pair.counters;
                    let lost = dropped.down + dropped.cut + dropped.lost + dropped.filtered;
                    done.carried += delivered;
                    done.harmed += lost + duplicated + held_back;
                }
            }
        }
        Ok(done)
    }

    fn set(&self, from: &Party, to: &Party, state: LinkState) -> Result<()> {
        let change = |now: &LinkSettings| Ok(LinkSettings { state, ..now.clone() });
        Ok(self.lab.router().update(from, to, change)?)
    }

    fn change(&self, city: usize, change: impl Fn(&LinkSettings) -> LinkSettings) -> Result<()> {
        let city = self.city(city)?;
        for other in self.cities.iter().filter(|other| **other != city) {
            self.lab.router().update_pair(&site(city), &site(other), |now| Ok(change(now)))?;
        }
        Ok(())
    }

    fn city(&self, index: usize) -> Result<&'static str> {
        self.cities.get(index).copied().context("no such city")
    }
}

/// See [`Wan::done`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Packets.
    pub(super) carried: u64,
    /// Packets.
    pub(super) harmed: u64,
}

/// Which way a cut holds, seen from the city.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// It hears nothing.
    In,
    /// It is not heard.
    Out,
    /// Both.
    Both,
}
