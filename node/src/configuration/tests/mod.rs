//! Documents: what is read, what is refused and where, what they lead to.

mod documents;
mod page;
mod ranges;
mod whole;

use tandem_cluster::ids::{GroupId, TenantId};
use tandem_routing::{command::Command, state::State};

use super::{NoPlan, Plan, Problem, Prune, Source, plan};

pub(super) const TENANT: TenantId = TenantId::DEFAULT;

/// Documents `a.toml`, `b.toml`, …
pub(super) fn sources(texts: &[&str]) -> Vec<Source> {
    let source = |(index, text): (usize, &&str)| {
        let letter = char::from(b'a' + u8::try_from(index).expect("a few"));
        Source { name: format!("{letter}.toml"), text: (*text).to_owned() }
    };
    texts.iter().enumerate().map(source).collect()
}

/// Carries commands out on a state, as one.
pub(super) fn carry_out(state: &mut State, commands: &[Command]) {
    state.begin_entry(state.now());
    state.begin_command();
    state.apply_all(GroupId(0), commands, &mut Vec::new()).expect("they were tried");
    state.commit();
}

/// Plans and applies.
pub(super) fn apply(state: &mut State, texts: &[&str], prune: Prune) -> Plan {
    let plan = plan(state, TENANT, &sources(texts), prune).expect("good documents");
    carry_out(state, &plan.commands);
    plan
}

/// What must be corrected, a line each.
pub(super) fn problems(state: &State, texts: &[&str], prune: Prune) -> Vec<String> {
    match plan(state, TENANT, &sources(texts), prune) {
        Ok(plan) => panic!("taken: {:?}", plan.changes),
        Err(NoPlan::Documents(found) | NoPlan::Refused(found)) => {
            found.iter().map(Problem::to_string).collect()
        }
    }
}

/// A small center: two sites, two queues, two agents, a number.
pub(super) const CENTER: &str = r#"
[[site]]
name = "lon"
region = "eu-west"

[[site]]
name = "fra"
region = "eu-central"
weight = 50

[[queue]]
name = "sales"
requirement = "english >= 3"
overflow = [{ waited_ms = 60000, to = "support" }, { unstaffed = true, away = true }]

[[queue]]
name = "support"
requirement = "english and (billing or agent:amy)"
strategy = "linear"
ring_ms = 20000
step = [{ after_ms = 20000, requirement = "anybody", drop_own = true }]
reserve_after_ms = [30000, 60000]
urgency = { after_ms = 15000, advance_ms = 60000 }
after_decline = { not_answered_ms = 30000 }
last_agent = { patience_ms = 20000, remembered_ms = 3600000 }

[[number]]
number = "8000"
queue = "sales"
priority = 2
prefer = { agent = "amy", patience_ms = 20000 }

[[agent]]
name = "amy"
site = "lon"
queues = ["sales", "support"]
skills = { english = 9, billing = 3 }
tiers = { support = { level = 2, position = 7 } }
reserve = { sales = 1 }
attributes = { team = "red" }

[[agent]]
name = "bob"
site = "fra"
queues = ["sales"]
skills.english = 5
"#;

/// A state with [`CENTER`].
pub(super) fn center() -> State {
    let mut state = State::default();
    apply(&mut state, &[CENTER], Prune::No);
    state
}
