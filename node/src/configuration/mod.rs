//! The configuration of a center as documents: TOML read with all its problems, compared with what there is,
//! and turned into one change of the replicated state.
//!
//! `entries` says what may stand in documents (a new field is a line there), `form` how values stand,
//! `reader` notes what is wrong, `document` reads whole documents, `current` gives the configuration of a state in the same words, `diff`
//! leads from one to the other, `export` writes, `pack` is how the log keeps documents. What is decided by
//! the log (one version after the other, all or nothing) is in `tandem_cluster::configuration`; what
//! operators and applications say and hear, in `api/configuration.rs`. Settings of a node are something
//! else: `config`.

mod current;
mod diff;
mod document;
mod entries;
mod export;
mod form;
mod pack;
mod reader;
mod source;
mod warnings;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use tandem_cluster::{
    configuration::{
        Document,
        trial::{Impact, trial},
    },
    ids::{GroupId, TenantId},
};
use tandem_routing::{command::Command, name::Name, state::State};

pub(crate) use current::Spelling;
pub use diff::{Action, FieldChange};
pub(crate) use pack::UNPACKED_BYTES_MAX;
pub use source::{Place, Problem, Source};

use current::Whole;
use diff::{Difference, Step};
use document::{Said, Syntax};
use entries::SiteEntry;
use reader::Kind;
use source::{At, Texts};

/// Problems that are told at a time.
const PROBLEMS_MAX: usize = 100;

/// What becomes of queues, numbers and agents that no document speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prune {
    /// They stay as they are.
    No,
    /// They are removed.
    Yes,
}

/// What documents would change.
#[derive(Debug)]
pub struct Plan {
    /// In words.
    pub changes: Vec<Change>,
    /// The commands, in the order in which they are carried out.
    pub commands: Vec<Command>,
    /// For each command, where in the documents it comes from.
    pub places: Vec<Option<Place>>,
    /// What that does to those who wait.
    pub impact: Impact,
    /// Skills that are named for the first time: perhaps a spelling mistake.
    pub new_skills: BTreeSet<Name>,
    /// What people should know beforehand.
    pub warnings: Vec<Problem>,
    /// Gives again what is configured now; `None` when it is too large to be kept.
    pub before: Option<Document>,
    /// Gives again what it leads to; `None` when it is too large to be kept.
    pub after: Option<Document>,
    /// What is changed, in a few words.
    pub summary: String,
}

/// What becomes of one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `site`, `queue`, `number` or `agent`.
    pub kind: &'static str,
    /// Which.
    pub name: Name,
    /// New, changed or removed.
    pub action: Action,
    /// In what.
    pub fields: Vec<FieldChange>,
    /// Where in the documents; `None` for what is in none.
    pub place: Option<Place>,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoPlan {
    /// The documents must be corrected.
    Documents(Vec<Problem>),
    /// A rule forbids it now.
    Refused(Vec<Problem>),
}

/// Plans what documents ask for on a state; changes nothing.
///
/// # Errors
/// Everything that must be corrected, each with its place.
pub fn plan(
    state: &State,
    tenant: TenantId,
    sources: &[Source],
    prune: Prune,
) -> Result<Plan, NoPlan> {
    let current = Whole::of(state, tenant);
    let texts = Texts::of(sources);
    let mut said = document::read(&texts);
    check_sites(&mut said, tenant, &current);
    if said.syntax == Syntax::Sound {
        said.check_references(&current, prune);
    }
    if !said.problems.is_empty() {
        return Err(NoPlan::Documents(told(&texts, said.problems)));
    }
    let target = said.over(&current, prune);
    let differences = diff::differences(&current, &target);
    let steps = diff::steps(tenant, &current, &target);
    let commands: Vec<Command> = steps.iter().map(|step| step.command.clone()).collect();
    let found = trial(state, GroupId(0), tenant, &commands)
        .map_err(|refused| NoPlan::Refused(refusals(&said, &texts, &steps, &refused)))?;
    let after = Whole::of(&found.after, tenant);
    debug_assert_eq!(after, target, "the commands lead to what was asked for");
    let of_step = |step: &Step| said.at(step.kind, &step.name);
    let mut plan = Plan {
        summary: summary(&differences),
        places: steps.iter().map(|step| texts.place(of_step(step)?)).collect(),
        commands,
        impact: found.impact,
        new_skills: found.new_skills,
        warnings: Vec::new(),
        before: pack::pack(tenant, &export::text(tenant, &current)),
        after: pack::pack(tenant, &export::text(tenant, &after)),
        changes: Vec::new(),
    };
    plan.warnings = warnings::of(&said, &texts, &differences, &target, &plan);
    let change = |difference: Difference| Change {
        kind: difference.kind.word(),
        place: said.at(difference.kind, &difference.name).and_then(|at| texts.place(at)),
        name: difference.name,
        action: difference.action,
        fields: difference.fields,
    };
    plan.changes = differences.into_iter().map(change).collect();
    Ok(plan)
}

/// The whole configuration of a tenant as one document; the sites with the tenant that every cluster has.
#[must_use]
pub fn export(state: &State, tenant: TenantId) -> String {
    export::text(tenant, &Whole::of(state, tenant))
}

/// A kept document as text; `None` when this program cannot read it.
#[must_use]
pub fn unpack(document: &Document) -> Option<String> {
    pack::unpack(document)
}

/// What differs between two kept documents.
#[must_use]
pub fn compare(before: &str, after: &str) -> Vec<Change> {
    let whole = |text: &str| {
        let source = Source { name: String::new(), text: text.to_owned() };
        document::read(&Texts::of(&[source])).over(&Whole::default(), Prune::Yes)
    };
    let change = |difference: Difference| Change {
        kind: difference.kind.word(),
        name: difference.name,
        action: difference.action,
        fields: difference.fields,
        place: None,
    };
    diff::differences(&whole(before), &whole(after)).into_iter().map(change).collect()
}

/// A site that nobody knows has no region; sites are everybody's, and stand with the tenant that every
/// cluster has.
fn check_sites(said: &mut Said, tenant: TenantId, current: &Whole) {
    for (name, site) in &said.sites {
        if tenant != TenantId::DEFAULT {
            let text = format!(
                "site {name} is all tenants': configure it without --tenant, in a file of its own"
            );
            said.problems.push((site.at, text));
            continue;
        }
        if site.entry.region.is_none() && !current.sites.contains_key(name) {
            let text = format!("site {name} is new: say its region (a failure domain)");
            said.problems.push((site.at, text));
        }
    }
}

impl Said {
    /// Where a thing stands.
    fn at(&self, kind: Kind, name: &Name) -> Option<At> {
        match kind {
            Kind::Site => self.sites.get(name).map(|row| row.at),
            Kind::Queue => self.queues.get(name).map(|row| row.at),
            Kind::Number => self.numbers.get(name).map(|row| row.at),
            Kind::Agent => self.agents.get(name).map(|row| row.at),
        }
    }

    /// Where a key of a thing stands, whose name begins as this or is the beginning of it.
    fn at_key(&self, kind: Kind, name: &Name, like: &str) -> Option<At> {
        let keys = match kind {
            Kind::Site => self.sites.get(name).map(|row| &row.keys),
            Kind::Queue => self.queues.get(name).map(|row| &row.keys),
            Kind::Number => self.numbers.get(name).map(|row| &row.keys),
            Kind::Agent => self.agents.get(name).map(|row| &row.keys),
        };
        let is_like = |key: &String| key.starts_with(like) || like.starts_with(key.as_str());
        keys?.iter().find(|(key, _)| is_like(key)).map(|(_, at)| *at)
    }

    /// The configuration that is asked for, over the one there is.
    fn over(&self, current: &Whole, prune: Prune) -> Whole {
        let mut target = match prune {
            Prune::No => current.clone(),
            Prune::Yes => Whole { sites: current.sites.clone(), ..Whole::default() },
        };
        for (name, site) in &self.sites {
            let known = current.sites.get(name);
            let site = SiteEntry {
                name: name.clone(),
                region: site.entry.region.clone().or_else(|| known?.region.clone()),
                weight: site.entry.weight.or_else(|| known?.weight).or(Some(SiteEntry::WEIGHT)),
            };
            target.sites.insert(name.clone(), site);
        }
        let queues = self.queues.iter().map(|(name, row)| (name.clone(), row.entry.clone()));
        target.queues.extend(queues);
        let numbers = self.numbers.iter().map(|(name, row)| (name.clone(), row.entry.clone()));
        target.numbers.extend(numbers);
        let agents = self.agents.iter().map(|(name, row)| (name.clone(), row.entry.clone()));
        target.agents.extend(agents);
        target
    }
}

/// Problems in the order of their places, so many as people can bear.
fn told(texts: &Texts<'_>, mut problems: Vec<(At, String)>) -> Vec<Problem> {
    problems.sort();
    problems.dedup();
    let more = problems.len().saturating_sub(PROBLEMS_MAX);
    problems.truncate(PROBLEMS_MAX);
    let mut told: Vec<Problem> = problems
        .into_iter()
        .map(|(at, message)| Problem { place: texts.place(at), message })
        .collect();
    if more > 0 {
        told.push(Problem { place: None, message: format!("and {more} more") });
    }
    told
}

/// What the core refuses, at the place that it is about.
fn refusals(
    said: &Said,
    texts: &Texts<'_>,
    steps: &[Step],
    refused: &[(usize, tandem_routing::command::Rejection)],
) -> Vec<Problem> {
    use tandem_routing::command::Rejection;
    let mut problems = Vec::new();
    for (index, rejection) in refused.iter().take(PROBLEMS_MAX) {
        let Some(step) = steps.get(*index) else { continue };
        let key = match rejection {
            Rejection::OutOfRange { field, .. } => field,
            Rejection::BadRequirement(_) => "requirement",
            Rejection::QueueMustBeServed { .. } => "queues",
            _ => "",
        };
        let at = Some(key).filter(|key| !key.is_empty());
        let at = at.and_then(|key| said.at_key(step.kind, &step.name, key));
        let at = at.or_else(|| said.at(step.kind, &step.name));
        let message = format!("{} {}: {rejection}", step.kind.word(), step.name);
        let problem = Problem { place: at.and_then(|at| texts.place(at)), message };
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    problems
}

/// `2 queues, 14 agents changed; 1 number removed`.
fn summary(differences: &[Difference]) -> String {
    let mut counts: BTreeMap<(u8, Kind), usize> = BTreeMap::new();
    let order = |action| match action {
        Action::Add => 0,
        Action::Change => 1,
        Action::Remove => 2,
    };
    for one in differences {
        *counts.entry((order(one.action), one.kind)).or_default() += 1;
    }
    let part = |action: u8, verb: &str| {
        let things: Vec<String> = counts
            .iter()
            .filter(|((of, _), _)| *of == action)
            .map(|((_, kind), count)| {
                format!("{count} {}{}", kind.word(), if *count == 1 { "" } else { "s" })
            })
            .collect();
        (!things.is_empty()).then(|| format!("{} {verb}", things.join(", ")))
    };
    let parts = [part(0, "new"), part(1, "changed"), part(2, "removed")];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}
