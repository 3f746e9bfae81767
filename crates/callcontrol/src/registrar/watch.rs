//! Phones that registered at this node and must refresh in time.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use tandem_cluster::ids::{AgentId, TenantId};
use tandem_routing::name::Name;
use tandem_sip::transaction::ConnectionId;

/// A contact of an agent.
pub(super) type Phone = (AgentId, String);

/// A phone that must refresh.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    pub(super) tenant: TenantId,
    /// The agent's name.
    pub(super) user: Name,
    pub(super) until: Instant,
    pub(super) connection: Option<ConnectionId>,
    /// Call-ID and CSeq of its last REGISTER.
    pub(super) call_id: String,
    pub(super) cseq: u32,
}

/// All watched phones.
#[derive(Debug, Default)]
pub(super) struct Watch {
    phones: BTreeMap<Phone, Watched>,
    due: BTreeSet<(Instant, Phone)>,
    by_connection: BTreeSet<(ConnectionId, Phone)>,
}

impl Watch {
    pub(super) fn len(&self) -> usize {
        self.phones.len()
    }

    pub(super) fn get(&self, phone: &Phone) -> Option<&Watched> {
        self.phones.get(phone)
    }

    /// When the next refresh is overdue.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Watches a phone, from its newest registration on.
    pub(super) fn add(&mut self, phone: Phone, watched: Watched) {
        self.remove(&phone);
        self.due.insert((watched.until, phone.clone()));
        if let Some(connection) = watched.connection {
            self.by_connection.insert((connection, phone.clone()));
        }
        self.phones.insert(phone, watched);
    }

    pub(super) fn remove(&mut self, phone: &Phone) -> Option<Watched> {
        let watched = self.phones.remove(phone)?;
        self.due.remove(&(watched.until, phone.clone()));
        if let Some(connection) = watched.connection {
            self.by_connection.remove(&(connection, phone.clone()));
        }
        Some(watched)
    }

    /// Takes out a phone that did not refresh in time.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Phone, Watched)> {
        let (at, phone) = self.due.first().cloned()?;
        let watched = if at <= now { self.remove(&phone) } else { None };
        watched.map(|watched| (phone, watched))
    }

    /// Contacts of an agent.
    pub(super) fn of(&self, agent: AgentId) -> Vec<Phone> {
        self.phones
            .range((agent, String::new())..)
            .take_while(|((of, _), _)| *of == agent)
            .map(|(phone, _)| phone.clone())
            .collect()
    }

    /// Phones behind a connection.
    pub(super) fn behind(&self, connection: ConnectionId) -> Vec<Phone> {
        self.by_connection
            .range((connection, (AgentId::default(), String::new()))..)
            .take_while(|(of, _)| *of == connection)
            .map(|(_, phone)| phone.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "an Instant has no other beginning")]
    fn start() -> Instant {
        Instant::now()
    }

    // Goal: a phone is found by agent, by connection and when it is due, each time by its newest
    // registration only, and leaves nothing behind.
    #[test]
    fn the_newest_registration_counts() {
        let (start, mut watch) = (start(), Watch::default());
        let phone = |agent: u32| (AgentId(agent), format!("sip:{agent}@192.0.2.1"));
        let watched = |after_s, connection| Watched {
            tenant: TenantId::DEFAULT,
            user: "amy".parse().unwrap(),
            until: start + Duration::from_secs(after_s),
            connection: Some(ConnectionId(connection)),
            call_id: "call".into(),
            cseq: 1,
        };
        watch.add(phone(1), watched(60, 1));
        watch.add(phone(2), watched(30, 2));
        watch.add(phone(1), watched(20, 3));
        assert_eq!(watch.behind(ConnectionId(1)), Vec::<Phone>::new());
        assert_eq!(watch.behind(ConnectionId(3)), vec![phone(1)]);
        assert_eq!(watch.of(AgentId(2)), vec![phone(2)]);
        assert!(watch.pop_due(start + Duration::from_secs(19)).is_none());
        assert_eq!(watch.pop_due(start + Duration::from_secs(20)).unwrap().0, phone(1));
        assert_eq!(watch.next_due(), Some(start + Duration::from_secs(30)));
        assert!(watch.remove(&phone(2)).is_some());
        assert!(watch.phones.is_empty() && watch.due.is_empty() && watch.by_connection.is_empty());
    }
}
