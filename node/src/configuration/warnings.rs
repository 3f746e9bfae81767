//! What people should know before they apply documents, though nothing forbids it.

use std::collections::BTreeSet;

use tandem_routing::{
    name::Name,
    requirement::{NamedRequirement, Requirement},
};

use super::{
    Action, Plan, Problem,
    current::Whole,
    diff::{Difference, asked_of},
    document::Said,
    reader::Kind,
    source::Texts,
};

/// Names in one warning.
const NAMES_TOLD: usize = 5;

pub(super) fn of(
    said: &Said,
    texts: &Texts<'_>,
    differences: &[Difference],
    target: &Whole,
    plan: &Plan,
) -> Vec<Problem> {
    let mut warnings = Vec::new();
    unmet(said, texts, differences, target, &mut warnings);
    let new: Vec<&Name> = differences
        .iter()
        .filter(|one| one.kind == Kind::Agent && one.action == Action::Add)
        .map(|one| &one.name)
        .collect();
    if let Some(first) = new.first() {
        let message = format!(
            "{} new and their phones have no password yet: tandem agent password {first} --file FILE",
            names("agent", &new)
        );
        warnings.push(Problem { place: None, message });
    }
    if plan.after.is_none() {
        let message = "this configuration is too large to be kept in the history: there will be no way back \
                       to it but your own files";
        warnings.push(Problem { place: None, message: message.to_owned() });
    }
    warnings
}

fn names(kind: &str, names: &[&Name]) -> String {
    let told: Vec<&str> = names.iter().take(NAMES_TOLD).map(|name| name.as_str()).collect();
    match (names.len(), names.len().saturating_sub(NAMES_TOLD)) {
        (1, _) => format!("{kind} {} is", told.join("")),
        (_, 0) => format!("{kind}s {} are", told.join(", ")),
        (_, more) => format!("{kind}s {} and {more} more are", told.join(", ")),
    }
}

/// What is asked for and nobody has, in whatever is new or changes.
fn unmet(
    said: &Said,
    texts: &Texts<'_>,
    differences: &[Difference],
    target: &Whole,
    warnings: &mut Vec<Problem>,
) {
    let has = |skill: &Name, level: u8| {
        let level_of = |agent: &super::entries::AgentEntry| agent.spec.skills.get(skill).copied();
        target.agents.values().filter_map(level_of).any(|known| known >= level)
    };
    for one in differences {
        let mut asked = BTreeSet::new();
        match one.kind {
            Kind::Queue => {
                let queue = target.queues.get(&one.name);
                queue.into_iter().flat_map(asked_of).for_each(|term| skills(term, &mut asked));
            }
            Kind::Number => {
                let number = target.numbers.get(&one.name);
                number.into_iter().for_each(|row| skills(&row.spec.requirement, &mut asked));
            }
            Kind::Site | Kind::Agent => {}
        }
        for (skill, level) in asked.into_iter().filter(|(skill, level)| !has(skill, *level)) {
            let at = said.at_key(one.kind, &one.name, "requirement");
            let at = at.or_else(|| said.at(one.kind, &one.name));
            let (kind, name) = (one.kind.word(), &one.name);
            let level = if level > 1 { format!(" at level {level}") } else { String::new() };
            let message = format!("{kind} {name} asks for {skill}{level}, which no agent has");
            warnings.push(Problem { place: at.and_then(|at| texts.place(at)), message });
        }
    }
}

/// Skills that somebody must have to meet a requirement, with their levels.
fn skills<'a>(requirement: &'a NamedRequirement, asked: &mut BTreeSet<(&'a Name, u8)>) {
    match requirement {
        Requirement::Skill { skill, level_min } => {
            asked.insert((skill, *level_min));
        }
        Requirement::All(terms) | Requirement::Any(terms) => {
            terms.iter().for_each(|term| skills(term, asked));
        }
        Requirement::Not(_)
        | Requirement::Site(_)
        | Requirement::Attribute { .. }
        | Requirement::Agent(_) => {}
    }
}
