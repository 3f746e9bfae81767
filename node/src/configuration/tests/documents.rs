//! Documents and their errors, and the changes that they ask for.

use tandem_routing::{
    command::{Command, Readiness},
    rules::{OwnRequirement, Target, Trigger},
    state::State,
    strategy::Strategy,
    time::Millis,
};

use super::{CENTER, TENANT, apply, carry_out, center, problems, sources};
use crate::configuration::{Action, Change, NoPlan, Prune, compare, export, plan};

fn name(text: &str) -> tandem_routing::name::Name {
    text.parse().expect("a name")
}

/// Changes, a line each.
fn lines(changes: &[Change]) -> Vec<String> {
    let none = || "-".to_owned();
    let line = |change: &Change| {
        let action = match change.action {
            Action::Add => "new",
            Action::Change => "",
            Action::Remove => "removed",
        };
        let fields = change.fields.iter().map(|field| {
            let before = field.before.clone().unwrap_or_else(none);
            format!("{} {before} -> {}", field.key, field.after.clone().unwrap_or_else(none))
        });
        let fields: Vec<String> = fields.collect();
        format!("{} {} {action}: {}", change.kind, change.name, fields.join(", "))
    };
    changes.iter().map(line).collect()
}

// Goal: everything that can be said is read into what it stands for; things that speak of each other come
// into being together, in whatever order they are written.
#[test]
fn everything_is_read() {
    let state = center();
    let amy = state.agent_named(TENANT, &name("amy")).expect("amy");
    let support = state.queue_named(TENANT, &name("support")).expect("support");
    let sales = state.queue_named(TENANT, &name("sales")).expect("sales");
    assert_eq!(support.rules.strategy, Strategy::Linear);
    assert_eq!((support.ring, sales.ring), (Millis(20_000), Millis(15_000)));
    assert_eq!(support.rules.steps[0].own, OwnRequirement::Dropped);
    assert_eq!(support.rules.after_decline.not_answered, Millis(30_000));
    assert_eq!(sales.rules.overflow[0].when, Trigger::Waited(Millis(60_000)));
    assert_eq!(sales.rules.overflow[0].to, Target::Queue(support.id));
    assert_eq!(sales.rules.overflow[1].to, Target::Away);
    let tier = amy.tiers[&support.id];
    assert_eq!((tier.level, tier.position, amy.reserves[&sales.id]), (2, 7, 1));
    let number = state.numbers().get(&name("8000")).expect("the number");
    assert_eq!(number.prefers, Some((amy.id, Millis(20_000))));
    let weights: Vec<u16> = state.sites().iter().map(|site| site.weight).collect();
    assert_eq!(weights, [50, 100], "fra, lon: in the order of their names");
    let again = plan(&state, TENANT, &sources(&[CENTER]), Prune::Yes).expect("a plan");
    assert_eq!(lines(&again.changes), Vec::<String>::new());
    assert_eq!(again.commands, vec![]);
}

// Goal: every kind of mistake is refused at the line and column where it stands, with what is expected; all
// of a document are found at once.
#[test]
fn every_mistake_has_its_place() {
    let state = center();
    for (text, expected) in [
        // Form of the document.
        ("[[queue]\n", "a.toml:1:9: this is no TOML: "),
        ("a = 1\na = 2\n", "a.toml:2:1: this is no TOML: duplicate key"),
        ("\n[[queu]]\n", "a.toml:2:3: there is no table queu, the nearest is queue"),
        ("[[zzzz]]\n", "a.toml:1:3: there is no table zzzz; there are site, queue, number, agent"),
        ("[[trunk]]\n", "a.toml:1:3: there is no table trunk here: trunks are in the settings"),
        ("[queue]\nname = 'a'\n", "a.toml:1:2: write [[queue]] with two brackets"),
        ("queue = [1]\n", "a.toml:1:10: this must be a table, not a whole number"),
        // Keys.
        ("[[queue]]\nring_ms = 15000\n", "a.toml:1:1: name is missing"),
        ("[[number]]\nnumber = '1'\n", "a.toml:1:1: queue is missing"),
        (
            "[[queue]]\nname = 'a'\nring = 15\n",
            "a.toml:3:1: there is no key ring, the nearest is ring_ms",
        ),
        (
            "[[queue]]\nname = 'a'\nurgency = { after_ms = 1, advance = 2 }\n",
            "a.toml:3:27: there is no key advance, the nearest is advance_ms\na.toml:3:11: advance_ms is missing",
        ),
        (
            "[[site]]\nname = 'lon'\nstate = 'closed'\n",
            "a.toml:3:1: there is no key state here: a site's state is no configuration",
        ),
        (
            "[[agent]]\nname = 'a'\nsite = 'lon'\npassword = 'x'\n",
            "a.toml:4:1: there is no key password here: secrets do not belong into documents",
        ),
        // Values.
        ("[[queue]]\nname = 'a b'\n", "a.toml:2:8: \"a b\" cannot be a name: "),
        ("[[queue]]\nname = 7\n", "a.toml:2:8: this must be a name in quotes, not a whole number"),
        (
            "[[queue]]\nname = 'a'\nring_ms = '15'\n",
            "a.toml:3:11: this must be a whole number, not a text",
        ),
        (
            "[[queue]]\nname = 'a'\nring_ms = 999\n",
            "a.toml:3:11: this must be 1000 to 300000, not 999",
        ),
        ("[[queue]]\nname = 'a'\nweight = -1\n", "a.toml:3:10: this must be 0 to 100, not -1"),
        ("[[queue]]\nname = 'a'\nweight = 0x65\n", "a.toml:3:10: this must be 0 to 100, not "),
        (
            "[[queue]]\nname = 'a'\nwait_max_ms = 1e3\n",
            "a.toml:3:15: this must be a whole number, not a number with a point",
        ),
        (
            "[[queue]]\nname = 'a'\nstrategy = 'fastest'\n",
            "a.toml:3:12: \"fastest\" is none of longest-idle, ",
        ),
        (
            "[[queue]]\nname = 'a'\nsite_choice = true\n",
            "a.toml:3:15: this must be one of any, nearest, weighted, balanced, not true or false",
        ),
        (
            "[[queue]]\nname = 'a'\nstep = 5\n",
            "a.toml:3:8: this must be a list in brackets, not a whole number",
        ),
        (
            "[[agent]]\nname='a'\nsite='lon'\nskills = { x = 11, y = 0 }\n",
            "a.toml:4:16: this must be 1 to 10, not 11\na.toml:4:24: this must be 1 to 10, not 0",
        ),
        (
            "[[agent]]\nname='a'\nsite='lon'\nskills = ['x']\n",
            "a.toml:4:10: this must be a table, as { sales = 2 }, not a list",
        ),
        (
            "[[agent]]\nname='a'\nsite='lon'\nqueues = ['sales', 'sales']\n",
            "a.toml:4:20: sales is named twice",
        ),
        (
            "[[agent]]\nname='a'\nsite='lon'\nattributes = { team = 5 }\n",
            "a.toml:4:23: this must be a name in quotes, not a whole number",
        ),
        (
            "[[queue]]\nname='a'\n[[queue.step]]\nafter_ms = 5\nrequirement = 'x'\ndrop_own = 1\n",
            "a.toml:6:12: this must be true or false, not a whole number",
        ),
        // Overflow says two things.
        (
            "[[queue]]\nname='a'\noverflow = [{ length = 5, unstaffed = true, away = true }]\n",
            "a.toml:3:13: an overflow says one thing of",
        ),
        (
            "[[queue]]\nname='a'\noverflow = [{ length = 5 }]\n",
            "a.toml:3:13: an overflow says one thing of",
        ),
        // Requirements: the very character, in every way to write a string.
        (
            "[[queue]]\nname = 'a'\nrequirement = 'x and or y'\n",
            "a.toml:3:22: the requirement cannot be read here: expected a skill",
        ),
        (
            "[[queue]]\nname = 'a'\nrequirement = \"a\\u0020and\\u0020or\"\n",
            "a.toml:3:32: the requirement cannot be read here",
        ),
        (
            "[[queue]]\nname = 'a'\nrequirement = '''\nfirst and\n  (second'''\n",
            "a.toml:5:10: the requirement cannot be read here: expected ')'",
        ),
        (
            "[[queue]]\nname = 'a'\nrequirement = 'x11 >= 5 and y >= 11'\n",
            "a.toml:3:34: level 11 is out of range",
        ),
        (
            "[[number]]\nnumber = '1'\nqueue = 'sales'\nrequirement = 'not'\n",
            "a.toml:4:19: the requirement cannot be read here",
        ),
        // What does not exist.
        (
            "[[queue]]\nname = 'a'\nrequirement = 'x and site:mars'\n",
            "a.toml:3:22: there is no site mars, neither in the documents nor in the cluster",
        ),
        (
            "[[queue]]\nname = 'a'\nstep = [{ after_ms = 1, requirement = 'agent:zoe' }]\n",
            "a.toml:3:40: there is no agent zoe",
        ),
        (
            "[[queue]]\nname = 'a'\noverflow = [{ length = 1, to = 'b' }]\n",
            "a.toml:3:32: there is no queue b",
        ),
        (
            "[[number]]\nnumber = '1'\nqueue = 'b'\nprefer = { agent = 'zoe', patience_ms = 1 }\n",
            "a.toml:3:9: there is no queue b\na.toml:4:20: there is no agent zoe",
        ),
        (
            "[[agent]]\nname='a'\nsite='mars'\nqueues=['sales','b']\ntiers={c={}}\n",
            "a.toml:3:6: there is no site mars\na.toml:4:17: there is no queue b\na.toml:5:8: there is no queue c",
        ),
        ("[[site]]\nname='par'\n", "a.toml:1:1: site par is new: say its region"),
        // Twice.
        (
            "[[queue]]\nname='a'\n[[queue]]\nname='a'\n",
            "a.toml:4:6: queue a is configured twice, first at a.toml:1:1",
        ),
        // What only the core knows.
        (
            "[[agent]]\nname='amy'\nsite='lon'\ntiers={sales={level=2}}\n",
            "a.toml:1:1: agent amy: agent amy must serve queue sales",
        ),
        (
            "[[queue]]\nname='a'\nreserve_after_ms=[5,5]\n",
            "a.toml:3:18: queue a: reserve_after must be after 5ms, rising, not 5",
        ),
    ] {
        let found = problems(&state, &[text], Prune::No);
        let mut expected: Vec<&str> = expected.split('\n').collect();
        expected.sort_by_key(|line| {
            let mut parts = line.split(':').skip(1).map(|part| part.parse::<u32>().unwrap_or(0));
            (parts.next(), parts.next())
        });
        let fits = found.len() == expected.len()
            && found.iter().zip(&expected).all(|(found, expected)| found.starts_with(expected));
        // One broken place may break more: what is expected comes first then.
        let first = expected.len() == 1 && text.starts_with("[[queue]\n");
        assert!(fits || first && found[0].starts_with(expected[0]), "{text}\n{found:#?}");
    }
}

// Goal: the problems of all documents are told together, in the order of files and places; many are counted.
#[test]
fn all_problems_are_told() {
    let state = center();
    let b = "[[number]]\nnumber = '9'\nqueue = 'nowhere'\n[[queue]]\nname = 'x'\nwieght = 3\n";
    let found =
        problems(&state, &["[[queue]]\nname = 'x'\nring_ms = 1\nweight = 1000\n", b], Prune::No);
    assert_eq!(
        found,
        [
            "a.toml:3:11: this must be 1000 to 300000, not 1",
            "a.toml:4:10: this must be 0 to 100, not 1000",
            "b.toml:3:9: there is no queue nowhere, neither in the documents nor in the cluster",
            "b.toml:5:8: queue x is configured twice, first at a.toml:1:1",
            "b.toml:6:1: there is no key wieght, the nearest is weight",
        ]
    );
    // A document that is no TOML says nothing of what the others may speak of.
    let found = problems(&state, &["[[queue]]\nname = 'new", b], Prune::No);
    assert!(
        found[0].starts_with("a.toml:2:") && found.iter().all(|line| !line.contains("nowhere"))
    );
    let many = "[[queue]]\nring_ms = 1\n".repeat(80);
    let found = problems(&state, &[&many], Prune::No);
    assert_eq!((found.len(), found[100].as_str()), (101, "and 60 more"));
}

// Goal: what a document does not speak of stays, or goes when it is to be pruned; each change is told by its
// fields, and where it comes from.
#[test]
fn changes_are_told() {
    let mut state = center();
    let text = r#"
[[queue]]
name = "sales"
requirement = "english >= 3"
ring_ms = 20000
overflow = [{ waited_ms = 90000, to = "support" }]

[[site]]
name = "fra"
weight = 60

[[agent]]
name = "bob"
site = "fra"
queues = ["sales", "support"]
skills = { english = 6, billing = 1 }

[[agent]]
name = "dan"
site = "lon"
"#;
    let found = plan(&state, TENANT, &sources(&[text]), Prune::No).expect("a plan");
    assert_eq!(
        lines(&found.changes),
        [
            "site fra : weight 50 -> 60",
            "queue sales : ring_ms 15000 -> 20000, overflow [{ to = \"support\", waited_ms = 60000 }, \
             { away = true, unstaffed = true }] -> [{ to = \"support\", waited_ms = 90000 }]",
            "agent bob : queues [\"sales\"] -> [\"sales\", \"support\"], skills.billing - -> 1, \
             skills.english 5 -> 6",
            "agent dan new: site \"-\" -> \"lon\"",
        ]
    );
    let places: Vec<String> =
        found.changes.iter().filter_map(|c| Some(c.place.as_ref()?.to_string())).collect();
    assert_eq!(places, ["a.toml:8:1", "a.toml:2:1", "a.toml:12:1", "a.toml:18:1"]);
    assert_eq!(found.summary, "1 agent new; 1 site, 1 queue, 1 agent changed");
    assert_eq!(found.warnings.len(), 1);
    assert!(found.warnings[0].message.starts_with("agent dan is new"));

    // Support and amy are spoken of and would go.
    let found = problems(&state, &[text], Prune::Yes);
    assert_eq!(
        found,
        [
            "a.toml:6:39: queue support is in no document, so --prune removes it",
            "a.toml:15:20: queue support is in no document, so --prune removes it",
        ]
    );
    let without = text.replace(", \"support\"", "").replace("to = \"support\"", "away = true");
    let pruned = apply(&mut state, &[&without], Prune::Yes);
    let removed: Vec<String> = lines(&pruned.changes).split_off(4);
    assert_eq!(
        removed,
        ["number 8000 removed: ", "queue support removed: ", "agent amy removed: "]
    );
    assert_eq!((state.queues().len(), state.agents().len(), state.sites().len()), (1, 2, 2));
}

// Goal: what the core refuses is told at its place, all of it, and what stands in no document without one.
#[test]
fn refusals_have_their_place() {
    let mut state = center();
    let login =
        |who| Command::LogIn { tenant: TENANT, agent: name(who), as_state: Readiness::Ready };
    carry_out(&mut state, &[login("amy"), login("bob")]);
    let found = problems(&state, &["[[site]]\nname = \"lon\"\n"], Prune::Yes);
    assert_eq!(
        found,
        [
            "agent amy: agent amy must be logged out first: `tandem agent logout amy`",
            "agent bob: agent bob must be logged out first: `tandem agent logout bob`",
        ]
    );
    let sources = sources(&["[[queue]]\nname = \"a\"\nreserve_after_ms = [9, 1]\n"]);
    let found = plan(&state, TENANT, &sources, Prune::No).expect_err("refused");
    let NoPlan::Refused(found) = found else { panic!("{found:?}") };
    assert_eq!(found[0].place.as_ref().map(ToString::to_string).as_deref(), Some("a.toml:3:20"));
}

// Goal: what nobody could ever serve is warned of, at the requirement.
#[test]
fn impossible_requirements_are_warned_of() {
    let state = center();
    let text = "[[queue]]\nname = 'x'\nrequirement = 'english >= 10 or (welsh and not klingon)'\n";
    let found = plan(&state, TENANT, &sources(&[text]), Prune::No).expect("a plan");
    let told: Vec<String> = found.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "a.toml:3:15: queue x asks for english at level 10, which no agent has",
            "a.toml:3:15: queue x asks for welsh, which no agent has",
        ]
    );
    let new: Vec<&str> = found.new_skills.iter().map(|skill| skill.as_str()).collect();
    assert_eq!(new, ["klingon", "welsh"]);
}

// Goal: an agent who was removed and is still asked for stays so in an export, which changes nothing where
// it was made, and is refused at its place elsewhere.
#[test]
fn who_was_removed_is_exported() {
    let mut state = center();
    carry_out(&mut state, &[Command::RemoveAgent { tenant: TENANT, agent: name("amy") }]);
    let text = export(&state, TENANT);
    assert!(text.contains("agent:agent_1"), "{text}");
    let again = plan(&state, TENANT, &sources(&[&text]), Prune::Yes).expect("a plan");
    assert_eq!(lines(&again.changes), Vec::<String>::new());
    let found = problems(&State::default(), &[&text], Prune::No);
    assert_eq!(found.len(), 2, "the number and the queue: {found:#?}");
    assert!(found.iter().all(|line| line.contains("there is no agent agent_1")));
}

// Goal: two kept documents are compared without a cluster.
#[test]
fn documents_are_compared() {
    let mut state = center();
    let before = export(&state, TENANT);
    apply(&mut state, &["[[queue]]\nname = 'sales'\nring_ms = 9000\n"], Prune::No);
    let found = lines(&compare(&before, &export(&state, TENANT)));
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with(
            "queue sales : requirement \"english>=3\" -> \"anybody\", ring_ms 15000 -> 9000"
        ),
        "{found:?}"
    );
}
