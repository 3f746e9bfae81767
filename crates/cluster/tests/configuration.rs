//! The configuration as a whole: applied as one or not at all, for the version that it was made for.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use common::{GROUP, Sim, TENANT, name};
use proptest::prelude::*;
use tandem_cluster::{
    command::{Command, Envelope, Rejection, Reply},
    configuration::{ApplyConfiguration, ConfigurationVersion, Document, Made, trial::trial},
    ids::TenantId,
    limits::{
        CONFIGURATION_BYTES_MAX, CONFIGURATION_CHANGES_MAX, CONFIGURATION_DOCUMENT_BYTES_MAX,
        CONFIGURATION_NAMES_KEPT, CONFIGURATION_TEXT_LEN_MAX, CONFIGURATION_VERSIONS_KEPT,
    },
};
use tandem_routing::{
    command::{
        AgentSpec, Command as QueueCommand, MembershipSpec, NumberSpec, PlanSpec, QueueSpec,
        Readiness, Rejection as QueueRejection,
    },
    entity::{ContactState, Quotas},
    invariants,
    table::{TableTag, table_byte},
    time::Millis,
};

fn document(text: &str) -> Option<Document> {
    Some(Document { tenant: TENANT, bytes: text.as_bytes().to_vec() })
}

fn apply(base: u64, changes: Vec<QueueCommand>) -> ApplyConfiguration {
    ApplyConfiguration {
        tenant: TENANT,
        base,
        request: 7,
        changes,
        before: document("before"),
        after: document("after"),
        author: "ann".into(),
        comment: "more Spanish".into(),
        summary: "1 queue".into(),
        restores: None,
    }
}

fn propose(sim: &mut Sim, apply: ApplyConfiguration) -> Result<Reply, Rejection> {
    sim.propose(1, Command::ApplyConfiguration(Box::new(apply)))
}

fn queue(text: &str, requirement: &str) -> QueueCommand {
    let requirement = requirement.parse().unwrap();
    let queue = QueueSpec { requirement, ..QueueSpec::named(name(text)) };
    QueueCommand::PutQueue { tenant: TENANT, queue }
}

fn agent(text: &str, skill: Option<&str>, queues: &[&str]) -> QueueCommand {
    let agent = AgentSpec {
        name: name(text),
        site: name("lon"),
        skills: skill.into_iter().map(|skill| (name(skill), 5)).collect(),
        queues: queues.iter().map(|queue| name(queue)).collect(),
    };
    QueueCommand::PutAgent { tenant: TENANT, agent }
}

fn number(text: &str, queue: &str) -> QueueCommand {
    let (number, queue) = (name(text), name(queue));
    let requirement = "anybody".parse().unwrap();
    let number = NumberSpec { number, queue, requirement, priority: 0 };
    QueueCommand::PutNumber { tenant: TENANT, number }
}

fn remove_agent(text: &str) -> QueueCommand {
    QueueCommand::RemoveAgent { tenant: TENANT, agent: name(text) }
}

fn log_out(text: &str) -> QueueCommand {
    QueueCommand::LogOut { tenant: TENANT, agent: name(text) }
}

fn latest(sim: &Sim) -> ConfigurationVersion {
    sim.machine.configuration().iter().next_back().unwrap().clone()
}

/// Everything that is stored but what counts commands and remembers their replies.
fn rows(sim: &Sim) -> Vec<(Vec<u8>, Vec<u8>)> {
    let counts = [TableTag::Counters, TableTag::Reply, TableTag::Window, TableTag::Idempotency];
    let counts = counts.map(|tag| tag as u8);
    let is_state = |key: &[u8]| !counts.contains(&table_byte(key).unwrap());
    sim.machine.stored_rows().filter(|(key, _)| is_state(key)).collect()
}

// Goal: changes that need each other are carried out in one command; the version rises by one, and is kept
// with who made it, why, and its document; the version before gets its document too.
#[test]
fn everything_is_applied_in_one_command() {
    let mut sim = Sim::center();
    let base = sim.machine.configuration_version();
    let changes = vec![
        queue("support", "spanish"),
        agent("dan", Some("spanish"), &["support"]),
        number("200", "support"),
    ];
    let reply = propose(&mut sim, apply(base, changes));
    assert_eq!(reply, Ok(Reply::ConfigurationApplied { version: base + 1, changes: 3 }));
    let state = sim.machine.queue();
    let support = state.queue_named(TENANT, &name("support")).unwrap().id;
    assert_eq!(state.numbers().get(&name("200")).unwrap().queue, support);
    assert!(state.agent_named(TENANT, &name("dan")).unwrap().queues.contains(&support));

    let row = latest(&sim);
    assert_eq!((row.first, row.last, row.tenant), (base + 1, base + 1, TENANT));
    assert_eq!(row.document, document("after"));
    let made = Made::Whole {
        author: "ann".into(),
        comment: "more Spanish".into(),
        summary: "1 queue".into(),
        restores: None,
    };
    assert_eq!(row.made, made);
    let before = sim.machine.configuration().iter().rev().nth(1).unwrap();
    assert_eq!((before.last, before.document.clone()), (base, document("before")));
    assert_eq!(sim.machine, sim.reloaded());
    assert!(sim.machine.indexes_are_true());
}

// Goal: what was made for another version is refused and changes nothing, whatever moved the version on:
// another document, one command, a step of a rebalance plan. What is no configuration moves nothing.
#[test]
fn what_was_made_for_another_version_is_refused() {
    let mut sim = Sim::center();
    let steps: [(&str, Vec<QueueCommand>, u64); 6] = [
        ("a queue", vec![queue("sales", "anybody")], 1),
        ("an agent", vec![agent("dan", None, &[]), remove_agent("dan")], 2),
        ("a weight", vec![QueueCommand::SetSiteWeight { site: name("lon"), weight: 90 }], 1),
        ("a lever", vec![log_out("amy"), QueueCommand::ExpireDue], 0),
        (
            "a site's state",
            vec![QueueCommand::SetSiteState {
                site: name("fra"),
                state: tandem_routing::entity::SiteState::Draining,
            }],
            0,
        ),
        (
            "a plan",
            vec![QueueCommand::ApplyPlan {
                tenant: TENANT,
                plan: Box::new(PlanSpec {
                    weights: [(name("lon"), 50)].into(),
                    agents: [(
                        name("amy"),
                        MembershipSpec { leave: [name("sales")].into(), ..<_>::default() },
                    )]
                    .into(),
                    steps: 1,
                    every: Millis(1_000),
                }),
            }],
            1,
        ),
    ];
    for (what, commands, moved) in steps {
        let base = sim.machine.configuration_version();
        for command in commands {
            sim.queue(command).unwrap();
        }
        let current = sim.machine.configuration_version();
        assert_eq!(current, base + moved, "{what}");
        let before = rows(&sim);
        let reply = propose(&mut sim, apply(base, vec![queue("new", "anybody")]));
        if moved == 0 {
            assert!(reply.is_ok(), "{what}: {reply:?}");
            let back = QueueCommand::RemoveQueue { tenant: TENANT, queue: name("new") };
            sim.queue(back).unwrap();
        } else {
            assert_eq!(reply, Err(Rejection::ConfigurationMustBeCurrent { base, current }));
            assert_eq!(rows(&sim), before, "{what}");
        }
    }
    // A node that joins at a site that is known, in the same region, configures nothing.
    let base = sim.machine.configuration_version();
    let admission =
        tandem_cluster::command::AdmitNode { site: name("lon"), ..common::admission(4, "lon") };
    sim.first(4, Command::AdmitNode(admission)).unwrap();
    assert_eq!(sim.machine.configuration_version(), base);
    sim.first(5, Command::AdmitNode(common::admission(5, "par"))).unwrap();
    assert_eq!(sim.machine.configuration_version(), base + 1);
}

// Goal: nobody is offered a caller by what holds only between two changes of one document.
#[test]
fn no_offer_is_made_between_two_changes() {
    let mut sim = Sim::center();
    sim.queue(queue("sales", "french")).unwrap();
    sim.call(1);
    let waits = |sim: &Sim| sim.machine.queue().contacts().iter().next().unwrap().state;
    assert_eq!(waits(&sim), ContactState::Queued);
    let nobody_serves: Vec<_> = ["amy", "bob", "cy"].map(|who| agent(who, None, &[])).into();
    let changes = [vec![queue("sales", "anybody")], nobody_serves].concat();
    let base = sim.machine.configuration_version();
    propose(&mut sim, apply(base, changes)).unwrap();
    assert_eq!(waits(&sim), ContactState::Queued);
    // Behind the last change everything follows in the same entry.
    let all_serve = ["amy", "bob", "cy"].map(|who| agent(who, None, &["sales"])).into();
    propose(&mut sim, apply(base + 1, all_serve)).unwrap();
    assert!(matches!(waits(&sim), ContactState::Offered { .. }));
    assert_eq!(invariants::check(sim.machine.queue()), vec![]);
}

// Goal: an agent who is removed by a document leaves neither phone nor password behind.
#[test]
fn who_is_removed_leaves_nothing() {
    let mut sim = Sim::center();
    sim.queue(log_out("amy")).unwrap();
    let amy = sim.machine.queue().agent_named(TENANT, &name("amy")).unwrap().id;
    assert_eq!(sim.machine.bindings_of(amy).len(), 1);
    let base = sim.machine.configuration_version();
    propose(&mut sim, apply(base, vec![remove_agent("amy")])).unwrap();
    assert_eq!(sim.machine.bindings_of(amy).len(), 0);
    assert!(sim.machine.indexes_are_true());
}

// Goal: what is out of bounds is refused with its reason and changes nothing; the edges are taken.
#[test]
fn bounds_are_kept() {
    let mut sim = Sim::center();
    let base = sim.machine.configuration_version();
    let good = || apply(base, vec![queue("a", "anybody")]);
    let long = |bytes: usize| "x".repeat(bytes);
    let packed = |bytes| Some(Document { tenant: TENANT, bytes: vec![7; bytes] });
    let other = QueueCommand::RemoveQueue { tenant: TenantId(9), queue: name("sales") };
    let too_many = vec![queue("a", "anybody"); CONFIGURATION_CHANGES_MAX + 1];
    let before = rows(&sim);
    for (part, bad) in [
        ("changes nothing", ApplyConfiguration { changes: vec![], ..good() }),
        ("10001 changes", ApplyConfiguration { changes: too_many, ..good() }),
        ("configures nothing", ApplyConfiguration { changes: vec![log_out("amy")], ..good() }),
        ("another tenant", ApplyConfiguration { changes: vec![other], ..good() }),
        (
            "512 bytes",
            ApplyConfiguration { comment: long(CONFIGURATION_TEXT_LEN_MAX + 1), ..good() },
        ),
        (
            "packed document",
            ApplyConfiguration { after: packed(CONFIGURATION_DOCUMENT_BYTES_MAX + 1), ..good() },
        ),
    ] {
        let reply = propose(&mut sim, bad);
        assert!(
            matches!(&reply, Err(Rejection::Malformed(text)) if text.contains(part)),
            "{reply:?}"
        );
        assert_eq!(rows(&sim), before, "{part}");
    }
    let edge = ApplyConfiguration {
        comment: long(CONFIGURATION_TEXT_LEN_MAX),
        before: packed(CONFIGURATION_DOCUMENT_BYTES_MAX),
        after: packed(CONFIGURATION_DOCUMENT_BYTES_MAX),
        ..good()
    };
    propose(&mut sim, edge).unwrap();

    // The one command that may be larger than others is taken up to its own size, and forwarded.
    let agents = |count: usize| {
        let agents = (0..count).map(|n| agent(&format!("agent{n:05}"), Some("x"), &["sales"]));
        Command::ApplyConfiguration(Box::new(apply(base + 1, agents.collect())))
    };
    assert!(agents(9_000).encoded_len() < CONFIGURATION_BYTES_MAX);
    let envelope = sim.envelope(1, agents(9_000));
    assert_eq!(Envelope::decode(&envelope.encode()), Ok(envelope.clone()));
    assert_eq!(tandem_cluster::command::Room::of_group(256).take(&envelope), Ok(()));
    let large: Vec<_> = (10..40).map(|n| format!("{n}{}", long(62))).collect();
    let too_large =
        ApplyConfiguration { changes: vec![queue("large", &large.join(" and ")); 600], ..good() };
    assert!(Command::ApplyConfiguration(Box::new(too_large)).check_size().is_err());
}

// Goal: each tenant has versions of its own: what another one changed in between neither hides the document
// that goes back nor gets it.
#[test]
fn tenants_have_versions_of_their_own() {
    let mut sim = Sim::center();
    let acme = name("acme");
    sim.queue(QueueCommand::PutTenant { name: acme.clone(), quotas: Quotas::default() }).unwrap();
    let acme = sim.machine.queue().tenant_named(&acme).unwrap();
    let theirs = QueueCommand::PutQueue { tenant: acme, queue: QueueSpec::named(name("theirs")) };
    let own_before = sim.machine.configuration_of(TENANT).next_back().unwrap().first;
    sim.queue(theirs.clone()).unwrap();
    // The latest row of all is acme's; the default tenant's document goes to its own latest one.
    let base = sim.machine.configuration_version();
    propose(&mut sim, apply(base, vec![queue("new", "anybody")])).unwrap();
    let of = |sim: &Sim, first| sim.machine.configuration().get(&first).cloned().unwrap();
    assert_eq!(of(&sim, own_before).document, document("before"));
    assert_eq!(of(&sim, base).document, None, "acme's row has no document of another tenant");
    assert_eq!(latest(&sim).document, document("after"));
    let (own, others): (Vec<_>, Vec<_>) = sim
        .machine
        .configuration()
        .iter()
        .map(|row| row.tenant)
        .partition(|tenant| *tenant != acme);
    assert_eq!(sim.machine.configuration_of(TENANT).count(), own.len());
    assert_eq!(sim.machine.configuration_of(acme).count(), others.len());
    let mixed = ApplyConfiguration {
        tenant: acme,
        ..apply(sim.machine.configuration_version(), vec![theirs, queue("x", "anybody")])
    };
    assert!(matches!(propose(&mut sim, mixed), Err(Rejection::Malformed(_))));
}

// Goal: changes that are made one at a time are one row of the history, with the latest names; the number
// of rows is bounded, the oldest goes.
#[test]
fn the_history_is_bounded() {
    let mut sim = Sim::center();
    let rows_before = sim.machine.configuration().len();
    for round in 0..3 {
        for n in 0..CONFIGURATION_NAMES_KEPT + 2 {
            sim.queue(queue(&format!("q{n}"), if round == 0 { "anybody" } else { "x" })).unwrap();
        }
    }
    assert_eq!(sim.machine.configuration().len(), rows_before, "the run of the beginning goes on");
    let row = latest(&sim);
    let Made::Singly { latest: names } = &row.made else { panic!("{row:?}") };
    let expected: Vec<String> =
        (2..CONFIGURATION_NAMES_KEPT + 2).map(|n| format!("queue q{n}")).collect();
    assert_eq!(*names, expected);
    assert_eq!(row.last, sim.machine.configuration_version());

    for _ in 0..CONFIGURATION_VERSIONS_KEPT {
        let base = sim.machine.configuration_version();
        propose(&mut sim, apply(base, vec![queue("sales", "anybody")])).unwrap();
        sim.queue(queue("sales", "anybody")).unwrap();
    }
    assert_eq!(sim.machine.configuration().len(), CONFIGURATION_VERSIONS_KEPT);
    assert_eq!(latest(&sim).last, sim.machine.configuration_version());
    assert_eq!(sim.machine, sim.reloaded());
}

// Goal: R9. A repeat under the same key gets the first reply, though the changes are others by then; another
// request under it is refused.
#[test]
fn a_repeat_gets_the_first_reply() {
    let mut sim = Sim::center();
    let base = sim.machine.configuration_version();
    let keyed = |sim: &mut Sim, apply: ApplyConfiguration| {
        let mut envelope = sim.envelope(1, Command::ApplyConfiguration(Box::new(apply)));
        envelope.idempotency = Some("deploy-7".into());
        sim.apply(vec![envelope]).remove(0)
    };
    let first = keyed(&mut sim, apply(base, vec![queue("a", "anybody")]));
    assert_eq!(first, Ok(Reply::ConfigurationApplied { version: base + 1, changes: 1 }));
    let again = ApplyConfiguration { before: None, after: None, ..apply(base, vec![]) };
    assert_eq!(keyed(&mut sim, again.clone()), first);
    let other = ApplyConfiguration { request: 8, ..again };
    assert_eq!(keyed(&mut sim, other), Err(Rejection::IdempotencyKeyMustFit));
    assert_eq!(sim.machine.configuration_version(), base + 1);
}

// Goal: a trial says what the changes would do to those who wait, and changes nothing.
#[test]
fn a_trial_shows_what_would_happen() {
    let mut sim = Sim::center();
    sim.queue(queue("sales", "french")).unwrap();
    for (who, skill) in [("amy", "french"), ("bob", "german"), ("cy", "italian")] {
        let QueueCommand::PutAgent { tenant, agent } = agent(who, Some(skill), &["sales"]) else {
            panic!("an agent")
        };
        let site = sim.machine.queue().agent_named(TENANT, &name(who)).unwrap().site;
        let site = sim.machine.queue().sites().get(&site).unwrap().name.clone();
        sim.queue(QueueCommand::PutAgent { tenant, agent: AgentSpec { site, ..agent } }).unwrap();
    }
    (0..4).for_each(|_| {
        sim.call(1);
    });
    let before = rows(&sim);
    let state = sim.machine.queue();

    // Amy rings, three wait for her alone. Without her French nobody could serve them, nor the one for whom
    // she rings, should she not answer.
    let impact = trial(state, GROUP, TENANT, &[agent("amy", None, &["sales"])]).unwrap().impact;
    assert_eq!((impact.offered, impact.stranded), (0, 4));
    assert_eq!((impact.queues.len(), impact.queues[0].stranded), (1, 4));
    // Bob and Cy can serve two of them at once.
    let found = trial(state, GROUP, TENANT, &[queue("sales", "anybody")]).unwrap();
    assert_eq!((found.impact.offered, found.impact.stranded), (2, 0));
    assert_eq!(found.new_skills.len(), 0);
    // A line that is too long: who stands in it stays.
    let short = QueueSpec {
        requirement: "french".parse().unwrap(),
        length_max: 3,
        ..QueueSpec::named(name("sales"))
    };
    let short = QueueCommand::PutQueue { tenant: TENANT, queue: short };
    let impact = trial(state, GROUP, TENANT, std::slice::from_ref(&short)).unwrap().impact;
    assert_eq!((impact.queues.len(), impact.queues[0].over_length), (1, 1));
    assert_eq!(impact.queues[0].name, name("sales"));
    // One agent less, and a longer wait.
    let leaves = agent("bob", Some("german"), &[]);
    let impact = trial(state, GROUP, TENANT, &[leaves]).unwrap().impact;
    let (was, is) = (impact.queues[0].before, impact.queues[0].after);
    assert_eq!((was.agents, is.agents, was.waiting, is.waiting), (3, 2, 4, 4));
    assert!(is.expected_wait > was.expected_wait);
    // A word that is new, and a number: nobody is concerned.
    let found =
        trial(state, GROUP, TENANT, &[queue("new", "klingon"), number("9", "new")]).unwrap();
    assert_eq!(found.new_skills, [name("klingon")].into());
    assert_eq!(found.impact.queues, vec![]);
    assert_eq!(rows(&sim), before);
    // What was so before is no doing of a change.
    sim.queue(short).unwrap();
    let other = [number("9", "sales")];
    assert_eq!(trial(sim.machine.queue(), GROUP, TENANT, &other).unwrap().impact.queues, vec![]);
}

// Goal: a trial finds everything that is refused, not only the first.
#[test]
fn a_trial_finds_all_refusals() {
    let sim = Sim::center();
    let changes = [
        remove_agent("amy"),
        queue("fine", "anybody"),
        number("9", "nowhere"),
        agent("dan", None, &["fine"]),
        remove_agent("zoe"),
    ];
    let refused = trial(sim.machine.queue(), GROUP, TENANT, &changes).unwrap_err();
    assert_eq!(
        refused,
        [
            (0, QueueRejection::AgentMustBeLoggedOut(name("amy"))),
            (2, QueueRejection::QueueMustExist(name("nowhere"))),
            (4, QueueRejection::AgentMustExist(name("zoe"))),
        ]
    );
}

const NAMES: [&str; 4] = ["sales", "support", "vip", "other"];
const AGENTS: [&str; 4] = ["amy", "bob", "cy", "dan"];

fn change() -> impl Strategy<Value = QueueCommand> {
    let of = |names: &'static [&'static str]| proptest::sample::select(names);
    let skills = ["anybody", "french", "french>=7 or german", "site:fra", "not agent:amy"];
    prop_oneof![
        4 => (of(&NAMES), proptest::sample::select(skills.to_vec()))
            .prop_map(|(name, asked)| queue(name, asked)),
        4 => (of(&AGENTS), proptest::option::of(of(&["french", "german"])), proptest::sample::subsequence(NAMES.to_vec(), 0..3))
            .prop_map(|(who, skill, queues)| agent(who, skill, &queues)),
        2 => (of(&["100", "200"]), of(&NAMES)).prop_map(|(what, queue)| number(what, queue)),
        1 => of(&AGENTS).prop_map(remove_agent),
        1 => of(&NAMES).prop_map(|queue| QueueCommand::RemoveQueue { tenant: TENANT, queue: name(queue) }),
        1 => of(&["100", "200"]).prop_map(|number| QueueCommand::RemoveNumber { tenant: TENANT, number: name(number) }),
        1 => (of(&["lon", "fra"]), 0..=101u16).prop_map(|(site, weight)| QueueCommand::SetSiteWeight { site: name(site), weight }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    // Goal: of random changes with callers in the line, all are carried out or none: a refused document
    // leaves every row, the digest and the indexes as they were, and the next command finds nothing of it;
    // a trial foretells which, and what is offered.
    #[test]
    fn all_or_nothing(
        rounds in proptest::collection::vec(proptest::collection::vec(change(), 1..8), 1..6),
        calls in 0..5usize,
    ) {
        let mut sim = Sim::center();
        sim.queue(QueueCommand::SetReadiness {
            tenant: TENANT,
            agent: name("cy"),
            to: Readiness::NotReady(None),
        }).unwrap();
        (0..calls).for_each(|_| { sim.try_call(1).1.ok(); });
        for changes in rounds {
            let (before, digest) = (rows(&sim), sim.digest());
            let version = sim.machine.configuration_version();
            let foretold = trial(sim.machine.queue(), GROUP, TENANT, &changes);
            let reply = propose(&mut sim, apply(version, changes));
            match &reply {
                Ok(_) => {
                    let offers = sim.last.events.iter().filter(|event| {
                        matches!(event, tandem_routing::command::Event::OfferMade { .. })
                    });
                    let foretold = foretold.as_ref().unwrap();
                    prop_assert_eq!(foretold.impact.offered as usize, offers.count());
                    prop_assert_eq!(sim.machine.configuration_version(), version + 1);
                }
                Err(Rejection::ConfigurationChangeRefused { change, rejection }) => {
                    let refused = foretold.as_ref().unwrap_err();
                    // A removed queue is gone when the whole is done, and in the trial at once.
                    let alike = |rejection: &QueueRejection| match rejection {
                        QueueRejection::QueueMustStay(name) => {
                            QueueRejection::QueueMustExist(name.clone())
                        }
                        other => other.clone(),
                    };
                    prop_assert_eq!(refused[0].0, *change as usize);
                    prop_assert_eq!(alike(&refused[0].1), alike(rejection));
                    prop_assert_eq!(rows(&sim), before);
                    prop_assert_ne!(sim.digest(), digest, "the reply is remembered");
                    prop_assert_eq!(sim.machine.configuration_version(), version);
                    prop_assert!(sim.last.events.is_empty() && sim.last.history.is_empty());
                }
                other => prop_assert!(false, "{other:?}"),
            }
            prop_assert!(sim.machine.indexes_are_true());
            let violations = invariants::check(sim.machine.queue());
            prop_assert!(violations.is_empty(), "{}", violations[0]);
            prop_assert_eq!(&sim.machine, &sim.reloaded());
            // Whoever is free is asked: the machine goes on as if nothing had been.
            sim.try_call(2).1.ok();
            let violations = invariants::check(sim.machine.queue());
            prop_assert!(violations.is_empty(), "{}", violations[0]);
        }
    }
}
