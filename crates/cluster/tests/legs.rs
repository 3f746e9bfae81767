//! Legs and phones at the edges: facts that must not be taken, phones that nobody can reach.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use common::{GROUP, Sim, TENANT, admission, answered, dialog, name, registration};
use tandem_cluster::{
    command::{Command, Evidence, Rejection, Report},
    ids::{LegId, NodeId, OfferNumber, Ordinal, TenantId},
    leg::{LegPhase, Transport},
    limits::TAKEOVER_WORK_MAX,
    seal::Sealed,
};
use tandem_routing::{
    command::{Command as QueueCommand, QueueSpec, Readiness},
    entity::{DeviceState, SiteState, WorkState},
    invariants,
    limits::APPLY_WORK_MAX,
};

fn log_out(sim: &mut Sim, agents: &[&str]) {
    for agent in agents {
        sim.queue(QueueCommand::LogOut { tenant: TENANT, agent: name(agent) }).unwrap();
    }
}

fn long_queue(sim: &mut Sim) {
    let queue = QueueSpec { length_max: 2_000, ..QueueSpec::named(name("sales")) };
    sim.queue(QueueCommand::PutQueue { tenant: TENANT, queue }).unwrap();
}

fn lost(sim: &mut Sim, node: u64, by: u64) {
    let epoch = sim.lives[&node].0;
    let command = Command::NodeLost { node: NodeId(node), epoch, evidence: Evidence::Witness };
    sim.propose(by, command).unwrap();
}

// Goal: a removed agent leaves neither a secret nor a phone behind; a new agent of the same name
// begins without them.
#[test]
fn a_removed_agent_leaves_nothing() {
    let mut sim = Sim::center();
    let sealed = Sealed { key: 0, nonce: [7; 24], bytes: vec![1] };
    for agent in ["amy", "bob"] {
        let (agent, realm) = (name(agent), "tandem".to_owned());
        let put = Command::PutCredential { tenant: TENANT, agent, realm, sealed: sealed.clone() };
        sim.propose(1, put).unwrap();
    }
    let (amy, bob) = {
        let id = |agent| sim.machine.queue().agent_named(TENANT, &name(agent)).unwrap().id;
        (id("amy"), id("bob"))
    };
    let remove = QueueCommand::RemoveAgent { tenant: TENANT, agent: name("amy") };
    assert!(sim.queue(remove.clone()).is_err(), "amy is logged in");
    assert!(sim.machine.credentials().contains(&amy), "a refusal changes nothing");
    log_out(&mut sim, &["amy"]);
    sim.queue(remove).unwrap();
    assert!(!sim.machine.credentials().contains(&amy));
    assert!(sim.machine.bindings_of(amy).is_empty());
    assert!(sim.machine.credentials().contains(&bob));
    assert_eq!(sim.machine.bindings_of(bob).len(), 1);
    assert!(sim.machine.indexes_are_true());
    assert_eq!(sim.machine, sim.reloaded());
}

// Goal: an agent whose phone's connection died with a node is not blamed for the offer that met them
// in the same entry: they stay ready, out of reach until the phone registers; the next one is asked.
#[test]
fn a_dead_connection_is_nobodys_fault() {
    let mut sim = Sim::center();
    let amy = sim.machine.queue().agent_named(TENANT, &name("amy")).unwrap().id;
    let contact_uri = String::new();
    sim.propose(1, Command::RemoveBinding { tenant: TENANT, agent: amy, contact_uri }).unwrap();
    log_out(&mut sim, &["cy"]);
    // The caller rings at bob's, over node 2; then amy comes within reach of node 2 by TCP.
    sim.call(3);
    assert!(sim.agent_leg("bob").is_some());
    sim.bind(2, "amy", Transport::Tcp).unwrap();
    lost(&mut sim, 2, 3);
    let row = sim.machine.queue().agent_named(TENANT, &name("amy")).unwrap();
    assert_eq!((&row.work, row.device), (&WorkState::Ready, DeviceState::Recovering));
    assert!(sim.machine.queue().offers().is_empty(), "nobody is in reach");
    sim.bind(3, "amy", Transport::Tcp).unwrap();
    assert!(sim.agent_leg("amy").is_some_and(|leg| leg.phase == LegPhase::Inviting));
    assert_eq!(invariants::check(sim.machine.queue()), vec![]);
}

// Goal: R4. A phone takes only the offer that it rang for, whatever number its owner names.
#[test]
fn an_answer_names_its_own_offer() {
    let mut sim = Sim::center();
    sim.call(2);
    let leg = sim.agent_leg("amy").unwrap().clone();
    let mut other = answered(&leg, 1);
    other.offer = OfferNumber(other.offer.0 + 1);
    let before = sim.machine.legs().get(&leg.id).cloned();
    let reply = sim.propose(1, Command::LegAnswered(sim.fact(leg.id, Box::new(other))));
    assert_eq!(reply, Err(Rejection::LegPhaseMustFit { leg: leg.id }));
    assert_eq!(sim.machine.legs().get(&leg.id).cloned(), before);
    sim.answer("amy").unwrap();
}

// Goal: a report that comes late takes back neither what we reserved nor the peer's highest number
// (RFC 3261 section 12.2.2); another dialog begins with its own.
#[test]
fn late_reports_take_nothing_back() {
    let mut sim = Sim::center();
    let caller = sim.call(2);
    let report = |cseq, tag: &str| {
        let mut record = dialog("call");
        record.call_id = "same".into();
        record.remote_tag = tag.into();
        record.remote_cseq = cseq;
        Box::new(Report { dialog: Some(record), media: None })
    };
    let mut told = |cseq, tag| {
        let fact = sim.fact(caller, report(cseq, tag));
        sim.propose(2, Command::LegReport(fact)).unwrap();
        sim.leg(caller).dialog.as_ref().unwrap().remote_cseq
    };
    assert_eq!(told(Some(9), "a"), Some(9));
    assert_eq!(told(Some(4), "a"), Some(9));
    assert_eq!(told(None, "a"), Some(9));
    assert_eq!(told(Some(10), "a"), Some(10));
    assert_eq!(told(Some(1), "b"), Some(1));
}

// Goal: a call comes in under a leg id that the log gave out; any other could be given to a second
// leg later (pair at the edge).
#[test]
fn a_call_has_a_reserved_leg_id() {
    let mut sim = Sim::center();
    let last = sim.machine.queue().counters().ordinal.0;
    // The command that admits the call takes the next ordinal itself.
    for (ordinal, fits) in [(last + 3, false), (last + 2, true)] {
        sim.leg_ids.insert(2, ordinal);
        let (leg, outcome) = sim.try_call(2);
        assert_eq!(leg, LegId { group: GROUP, ordinal: Ordinal(ordinal) });
        assert_eq!(outcome.is_ok(), fits, "{outcome:?}");
        assert_eq!(sim.machine.legs().contains(&leg), fits);
    }
}

// Goal: a tenant's command reaches only its own agents' phones.
#[test]
fn phones_belong_to_tenants() {
    let mut sim = Sim::center();
    let amy = sim.machine.queue().agent_named(TENANT, &name("amy")).unwrap().id;
    let unbind = |tenant| Command::RemoveBinding { tenant, agent: amy, contact_uri: String::new() };
    let foreign = sim.propose(1, unbind(TenantId(TENANT.0 + 1)));
    assert_eq!(foreign, Err(Rejection::AgentMustExist));
    assert_eq!(sim.machine.bindings_of(amy).len(), 1);
    sim.propose(1, unbind(TENANT)).unwrap();
    assert!(sim.machine.bindings_of(amy).is_empty());
}

// Goal: whatever command an entry's share of bulk work falls to, the offers that it makes get their
// legs: also an admission of a node, which itself makes none.
#[test]
fn offers_made_beside_an_admission_ring() {
    let mut sim = Sim::center();
    long_queue(&mut sim);
    log_out(&mut sim, &["bob", "cy"]);
    let site = |state| QueueCommand::SetSiteState { site: name("lon"), state };
    sim.queue(site(SiteState::Draining)).unwrap();
    for _ in 0..APPLY_WORK_MAX + 1 {
        sim.call(2);
    }
    sim.queue(site(SiteState::Open)).unwrap();
    assert!(sim.agent_leg("amy").is_none(), "the sweep is not done yet");
    sim.first(4, Command::AdmitNode(admission(4, "nyc"))).unwrap();
    assert_eq!(sim.machine.queue().offers().len(), 1);
    assert!(sim.agent_leg("amy").is_some());
    let again = sim.first(4, Command::RegisterNode(registration(4, 5)));
    assert!(again.is_ok());
}

// Goal: an entry takes over so many legs and no more, however many commands it has (pair at the
// edge); the rest follows in the next.
#[test]
fn an_entry_takes_over_so_many_legs() {
    for extra in [0, 1] {
        let mut sim = Sim::center();
        long_queue(&mut sim);
        for agent in ["amy", "bob", "cy"] {
            let to = Readiness::NotReady(None);
            sim.queue(QueueCommand::SetReadiness { tenant: TENANT, agent: name(agent), to })
                .unwrap();
        }
        let legs: Vec<_> = (0..TAKEOVER_WORK_MAX + extra).map(|_| sim.call(1)).collect();
        let (node, epoch) = (NodeId(1), sim.lives[&1].0);
        let envelopes = vec![
            sim.envelope(2, Command::NodeLost { node, epoch, evidence: Evidence::Witness }),
            sim.envelope(2, Command::ContinueWork),
            sim.envelope(2, Command::ContinueWork),
        ];
        sim.apply(envelopes);
        let left = |sim: &Sim| legs.iter().filter(|leg| sim.leg(**leg).owner.node.0 == 1).count();
        assert_eq!((left(&sim), sim.machine.has_work()), (extra, extra == 1));
        sim.propose(2, Command::ContinueWork).unwrap();
        assert_eq!((left(&sim), sim.machine.has_work()), (0, false));
    }
}
