//! Whole configurations at random: written, read again, and led from one to another. Every field of every
//! type is made up here, without a default, so that a new field without a line in `entries` is found.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tandem_routing::{
    command::{AgentRules, AgentSpec, Command, NumberRules, NumberSpec, QueueSpec},
    entity::{Quotas, SiteChoice, Tier},
    name::Name,
    requirement::{NamedRequirement, Requirement},
    rules::{
        AfterDecline, Also, Balance, LastAgentRule, Load, NamedQueueRules, Overflow,
        OwnRequirement, Step, Target, Trigger, Urgency,
    },
    state::State,
    strategy::Strategy as Asked,
    time::Millis,
};

use super::{TENANT, apply, sources};
use crate::configuration::{
    NoPlan, Prune,
    current::Whole,
    entries::{AgentEntry, NumberEntry, QueueEntry, SiteEntry},
    export, plan,
};

/// Names as odd as names may be, also such as TOML writes in quotes.
const SITES: &[&str] = &["lon", "2.4"];
const QUEUES: &[&str] = &["sales", "a.b", "+4", "-", "away"];
const AGENTS: &[&str] = &["amy", "true", "x_1.y", "7"];
const SKILLS: &[&str] = &["french", "german.at", "5", "site"];

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn one_of(names: &'static [&'static str]) -> impl Strategy<Value = Name> {
    proptest::sample::select(names).prop_map(name)
}

fn some_of(names: &'static [&'static str]) -> impl Strategy<Value = BTreeSet<Name>> {
    proptest::sample::subsequence(names.to_vec(), 0..=names.len())
        .prop_map(|names| names.into_iter().map(name).collect())
}

fn ms(max: u64) -> impl Strategy<Value = Millis> {
    prop_oneof![Just(Millis(1)), (1..=max).prop_map(Millis)]
}

fn requirement() -> impl Strategy<Value = NamedRequirement> {
    let leaf = prop_oneof![
        4 => (one_of(SKILLS), 1..=10u8)
            .prop_map(|(skill, level_min)| Requirement::Skill { skill, level_min }),
        1 => one_of(SITES).prop_map(Requirement::Site),
        1 => one_of(AGENTS).prop_map(Requirement::Agent),
        1 => (one_of(&["team", "x.y"]), one_of(&["red", "blue-2"]))
            .prop_map(|(key, value)| Requirement::Attribute { key, value }),
        1 => Just(Requirement::anybody()),
    ];
    let tree = leaf.prop_recursive(4, 12, 3, |inner| {
        let list = proptest::collection::vec(inner.clone(), 0..3);
        prop_oneof![
            list.clone().prop_map(Requirement::All),
            list.prop_map(Requirement::Any),
            inner.prop_map(|term| Requirement::Not(Box::new(term))),
        ]
    });
    tree.prop_map(|term| term.canonical()).prop_filter("too large", |term| term.check().is_ok())
}

fn rising(count: usize) -> impl Strategy<Value = Vec<Millis>> {
    proptest::collection::btree_set(1..86_400_000u64, 0..count)
        .prop_map(|times| times.into_iter().map(Millis).collect())
}

fn overflow() -> impl Strategy<Value = Overflow<Name>> {
    let when = prop_oneof![
        (1..100_000u32).prop_map(Trigger::Length),
        ms(86_400_000).prop_map(Trigger::ExpectedWait),
        Just(Trigger::Unstaffed),
        Just(Trigger::Closed),
        ms(86_400_000).prop_map(Trigger::Waited),
    ];
    let to = prop_oneof![one_of(QUEUES).prop_map(Target::Queue), Just(Target::Away)];
    (when, to).prop_map(|(when, to)| Overflow { when, to })
}

prop_compose! {
    fn rules()(
        strategy in proptest::sample::select(Asked::ALL),
        steps in rising(4),
        requirements in proptest::collection::vec((requirement(), any::<bool>()), 4),
        reserve_after in rising(4),
        urgency in proptest::option::of((ms(86_400_000), ms(86_400_000))),
        declines in (0..3_600_000u64, 0..3_600_000u64, 0..5u64, 0..5u64),
        wrap_up_max in 0..86_400_000u64,
        last_agent in proptest::option::of((ms(3_600_000), ms(31_622_400_000))),
        answer_within in ms(86_400_000),
        overflow in proptest::collection::vec(overflow(), 0..3),
        balance in (any::<bool>(), 0..=1_000u16, any::<u32>()),
        also in proptest::collection::vec((one_of(QUEUES), 0..86_400_000u64), 0..2),
    ) -> NamedQueueRules {
        let own = |drop| if drop { OwnRequirement::Dropped } else { OwnRequirement::Kept };
        let step = |(after, (requirement, drop))| Step { after, requirement, own: own(drop) };
        NamedQueueRules {
            strategy: strategy.0,
            steps: steps.into_iter().zip(requirements).map(step).collect(),
            reserve_after,
            urgency: urgency.map(|(after, advance)| Urgency { after, advance }),
            after_decline: AfterDecline {
                not_answered: Millis(declines.0),
                refused: Millis(declines.1),
                busy: Millis(declines.2),
                unreachable: Millis(declines.3),
            },
            wrap_up_max: Millis(wrap_up_max),
            last_agent: last_agent.map(|(patience, remembered)| LastAgentRule { patience, remembered }),
            answer_within,
            overflow,
            also: also.into_iter().map(|(queue, after)| Also { after: Millis(after), queue }).collect(),
            // Calendars are no part of documents: one that is named must be there.
            hours: None,
            balance: Balance {
                by: if balance.0 { Load::Occupancy } else { Load::ExpectedWait },
                hysteresis_percent: balance.1,
                moves_per_minute_max: balance.2,
            },
        }
    }
}

prop_compose! {
    fn queue()(
        requirement in requirement(),
        weight in 0..=100u8,
        site_choice in proptest::sample::select(vec![
            SiteChoice::Any, SiteChoice::Nearest, SiteChoice::Weighted, SiteChoice::Balanced,
        ]),
        times in (0..3_600_000u64, 1_000..300_000u64, 0..3_600_000u64, 0..86_400_000u64),
        length_max in 1..100_000u32,
        rules in rules(),
    ) -> QueueEntry {
        let spec = QueueSpec {
            requirement,
            weight,
            site_choice,
            widen_after: Millis(times.0),
            ring: Millis(times.1),
            wrap_up: Millis(times.2),
            length_max,
            wait_max: Millis(times.3),
            name: name("-"),
        };
        QueueEntry { spec, rules }
    }
}

prop_compose! {
    fn agent()(
        site in one_of(SITES),
        queues in some_of(QUEUES),
        levels in proptest::collection::vec(1..=10u8, 4),
        skills in some_of(SKILLS),
        tiers in proptest::collection::vec((1..=100u8, 1..=10_000u16), 5),
        reserves in proptest::collection::vec(0..=5u8, 5),
        attributes in proptest::collection::btree_map(one_of(&["team", "x.y"]), one_of(&["red", "5"]), 0..3),
    ) -> AgentEntry {
        let tier = |(queue, (level, position)): (&Name, (u8, u16))| (queue.clone(), Tier { level, position });
        let tiers = queues.iter().zip(tiers).filter(|(_, (level, _))| level % 2 == 0).map(tier).collect();
        let reserves = queues.iter().cloned().zip(reserves).filter(|(_, level)| *level > 0).collect();
        let skills = skills.into_iter().zip(levels).collect();
        let spec = AgentSpec { name: name("-"), site, skills, queues };
        AgentEntry { spec, rules: AgentRules { tiers, reserves, attributes, abroad: BTreeMap::new() } }
    }
}

prop_compose! {
    fn number()(
        queue in one_of(QUEUES),
        requirement in requirement(),
        priority in 0..=10u8,
        prefers in proptest::option::of((one_of(AGENTS), ms(3_600_000))),
    ) -> NumberEntry {
        let spec = NumberSpec { number: name("-"), queue, requirement, priority };
        NumberEntry { spec, rules: NumberRules { prefers, lists: Vec::new() } }
    }
}

fn named<T: Clone + std::fmt::Debug>(
    names: &'static [&'static str],
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = BTreeMap<Name, T>> {
    proptest::collection::btree_map(one_of(names), value, 0..=names.len())
}

prop_compose! {
    /// A configuration in which everything that is spoken of is there.
    fn whole()(
        weights in proptest::collection::vec(0..=100u16, 2),
        regions in proptest::collection::vec(one_of(&["eu", "us.1"]), 2),
        mut queues in named(QUEUES, queue()),
        mut agents in named(AGENTS, agent()),
        mut numbers in named(&["8000", "+4420", "x"], number()),
    ) -> Whole {
        let site = |(site, (weight, region)): (&&str, (u16, Name))| {
            let site = SiteEntry { name: name(site), region: Some(region), weight: Some(weight) };
            (site.name.clone(), site)
        };
        let sites = SITES.iter().zip(weights.into_iter().zip(regions)).map(site).collect();
        let there: BTreeSet<Name> = queues.keys().cloned().collect();
        let known: BTreeSet<Name> = agents.keys().cloned().collect();
        for (name, queue) in &mut queues {
            queue.spec.name = name.clone();
            queue.rules.overflow.retain(|rule| match &rule.to {
                Target::Queue(to) => there.contains(to),
                Target::Away => true,
            });
            queue.rules.also.retain(|also| there.contains(&also.queue));
            let steps = queue.rules.steps.iter_mut().map(|step| &mut step.requirement);
            std::iter::once(&mut queue.spec.requirement)
                .chain(steps)
                .for_each(|term| only_known(term, &known));
        }
        for (name, agent) in &mut agents {
            agent.spec.name = name.clone();
            agent.spec.queues.retain(|queue| there.contains(queue));
            agent.rules.tiers.retain(|queue, _| there.contains(queue));
            agent.rules.reserves.retain(|queue, _| there.contains(queue));
        }
        numbers.retain(|_, number| there.contains(&number.spec.queue));
        for (name, number) in &mut numbers {
            number.spec.number = name.clone();
            number.rules.prefers = number.rules.prefers.take().filter(|(agent, _)| known.contains(agent));
            only_known(&mut number.spec.requirement, &known);
        }
        Whole { sites, queues, numbers, agents }
    }
}

fn only_known(requirement: &mut NamedRequirement, agents: &BTreeSet<Name>) {
    fn speaks_of_others(term: &NamedRequirement, agents: &BTreeSet<Name>) -> bool {
        match term {
            Requirement::Agent(agent) => !agents.contains(agent),
            Requirement::All(terms) | Requirement::Any(terms) => {
                terms.iter().any(|term| speaks_of_others(term, agents))
            }
            Requirement::Not(term) => speaks_of_others(term, agents),
            _ => false,
        }
    }
    if speaks_of_others(requirement, agents) {
        *requirement = Requirement::anybody();
    }
}

/// A configuration as text.
fn text(whole: &Whole) -> String {
    crate::configuration::export::text(super::TENANT, whole)
}

// Goal: a tenant's documents are about its own things: others' are neither shown, touched nor pruned, those
// who wait elsewhere are not counted, and sites are not its to change.
#[test]
fn tenants_have_documents_of_their_own() {
    let mut state = super::center();
    let quotas = Quotas::default();
    super::carry_out(&mut state, &[Command::PutTenant { name: "acme".parse().unwrap(), quotas }]);
    let acme = state.tenant_named(&"acme".parse().unwrap()).unwrap();
    let theirs = "[[queue]]\nname = \"sales\"\nrequirement = \"klingon\"\n\
                  [[agent]]\nname = \"worf\"\nsite = \"lon\"\nqueues = [\"sales\"]\n";
    let before = export(&state, TENANT);
    let made = plan(&state, acme, &sources(&[theirs]), Prune::Yes).expect("a plan");
    assert_eq!(made.changes.len(), 2, "{:?}", made.changes);
    super::carry_out(&mut state, &made.commands);
    assert_eq!(export(&state, TENANT), before, "the default tenant's is as it was");
    let shown = export(&state, acme);
    assert!(shown.contains("klingon") && shown.contains("worf"), "{shown}");
    assert!(!shown.contains("[[site]]") && !shown.contains("amy"), "{shown}");
    let again = plan(&state, acme, &sources(&[&shown]), Prune::Yes).expect("a plan");
    assert_eq!(again.commands, vec![]);
    let site = "[[site]]\nname = \"lon\"\nweight = 5\n";
    let refused = plan(&state, acme, &sources(&[site]), Prune::No).expect_err("not theirs");
    let NoPlan::Documents(problems) = refused else { panic!("{refused:?}") };
    assert!(
        problems[0].to_string().starts_with("a.toml:1:1: site lon is all tenants'"),
        "{problems:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    // Goal: from any configuration to any other, with everything that speaks of each other, in one plan: the
    // cluster has then what the documents say; its export says the same again, changes nothing there, and
    // gives the same to an empty cluster.
    #[test]
    fn from_any_configuration_to_any_other(first in whole(), second in whole()) {
        let mut state = State::default();
        for target in [&first, &second, &first] {
            apply(&mut state, &[&text(target)], Prune::Yes);
            prop_assert_eq!(&Whole::of(&state, TENANT), target);
            let exported = export(&state, TENANT);
            prop_assert_eq!(&exported, &text(target));
            let again = plan(&state, TENANT, &sources(&[&exported]), Prune::Yes).expect("a plan");
            prop_assert!(again.changes.is_empty() && again.commands.is_empty());
            let mut fresh = State::default();
            apply(&mut fresh, &[&exported], Prune::No);
            prop_assert_eq!(export(&fresh, TENANT), exported);
        }
    }

    // Goal: what stands in several documents is what stands in one; without pruning nothing else is touched.
    #[test]
    fn documents_add_up(first in whole(), second in whole()) {
        let mut state = State::default();
        apply(&mut state, &[&text(&first)], Prune::No);
        let mut expected = Whole::of(&state, TENANT);
        let parts: Vec<String> = text(&second).split("\n\n").map(str::to_owned).collect();
        let half = parts.len() / 2;
        // What is spoken of may stand in the other document.
        let (front, back) = (parts[..half].join("\n\n"), parts[half..].join("\n\n"));
        apply(&mut state, &[&back, &front], Prune::No);
        expected.sites.extend(second.sites);
        expected.queues.extend(second.queues);
        expected.numbers.extend(second.numbers);
        expected.agents.extend(second.agents);
        prop_assert_eq!(Whole::of(&state, TENANT), expected);
    }

    // Goal: no text, however odd, does more than be refused.
    #[test]
    fn odd_texts_are_refused(cuts in proptest::collection::vec((0..1_000usize, 0..1_000usize), 1..6)) {
        let good = super::CENTER;
        let mut odd = String::new();
        for (from, len) in cuts {
            let from = from % good.len();
            odd.push_str(&good[from..(from + len % 60).min(good.len())]);
        }
        let state = super::center();
        let made = plan(&state, TENANT, &sources(&[&odd]), Prune::No);
        let line_count = odd.lines().count().max(1);
        if let Err(crate::configuration::NoPlan::Documents(problems)) = made {
            for problem in problems {
                let line = problem.place.map_or(1, |place| place.line) as usize;
                prop_assert!((1..=line_count + 1).contains(&line));
            }
        }
    }
}
