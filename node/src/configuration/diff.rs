//! From one configuration to another: what differs, in words, and the commands that lead there.

use std::collections::{BTreeMap, BTreeSet};

use tandem_routing::{
    command::{Command, QueueSpec},
    ids::TenantId,
    name::Name,
    requirement::{NamedRequirement, Requirement},
    rules::{Overflow, Target},
};

use super::{
    current::Whole,
    entries::{Entry, QueueEntry, SiteEntry},
    form::Fields,
    reader::Kind,
};

/// What becomes of one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) kind: Kind,
    pub(super) name: Name,
    pub(super) action: Action,
    /// In what; empty for what is removed.
    pub(super) fields: Vec<FieldChange>,
}

/// What becomes of a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is new.
    Add,
    /// It is there, and changes.
    Change,
    /// It goes.
    Remove,
}

/// What becomes of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldChange {
    /// Its key; with a point where it stands in a table.
    pub key: String,
    /// What it was; `None`: not said.
    pub before: Option<String>,
    /// What it is to be; `None`: not said.
    pub after: Option<String>,
}

/// One command, and what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) command: Command,
    pub(super) kind: Kind,
    pub(super) name: Name,
}

// --- in words -------------------------------------------------------------------------------------

/// All differences: what is new and what changes by kinds and names, then what goes.
pub(super) fn differences(before: &Whole, after: &Whole) -> Vec<Difference> {
    let mut found = Vec::new();
    put(&before.sites, &after.sites, &mut found);
    put(&before.queues, &after.queues, &mut found);
    put(&before.numbers, &after.numbers, &mut found);
    put(&before.agents, &after.agents, &mut found);
    gone(&before.sites, &after.sites, &mut found);
    gone(&before.numbers, &after.numbers, &mut found);
    gone(&before.queues, &after.queues, &mut found);
    gone(&before.agents, &after.agents, &mut found);
    found
}

fn put<T: Entry>(
    before: &BTreeMap<Name, T>,
    after: &BTreeMap<Name, T>,
    found: &mut Vec<Difference>,
) {
    for (name, new) in after {
        let old = before.get(name);
        let action = match old {
            Some(old) if old == new => continue,
            Some(_) => Action::Change,
            None => Action::Add,
        };
        let mut fields = fields_of(old.unwrap_or(&T::blank()), new);
        fields.retain(|field| field.key != T::NAMED_BY);
        found.push(Difference { kind: T::KIND, name: name.clone(), action, fields });
    }
}

fn gone<T: Entry>(
    before: &BTreeMap<Name, T>,
    after: &BTreeMap<Name, T>,
    found: &mut Vec<Difference>,
) {
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    found.extend(gone.map(|name| Difference {
        kind: T::KIND,
        name: name.clone(),
        action: Action::Remove,
        fields: Vec::new(),
    }));
}

fn fields_of<T: Fields>(before: &T, after: &T) -> Vec<FieldChange> {
    let shown = |row: &T| -> BTreeMap<&'static str, toml::Value> {
        row.show_fields().into_iter().collect()
    };
    let (old, new) = (shown(before), shown(after));
    let mut changes = Vec::new();
    for key in T::KEYS {
        compare(key, old.get(key), new.get(key), &mut changes);
    }
    changes
}

fn compare(
    key: &str,
    before: Option<&toml::Value>,
    after: Option<&toml::Value>,
    changes: &mut Vec<FieldChange>,
) {
    if before == after {
        return;
    }
    let empty = toml::Table::new();
    let tables = match (before, after) {
        (Some(toml::Value::Table(old)), Some(toml::Value::Table(new))) => Some((old, new)),
        (Some(toml::Value::Table(old)), None) => Some((old, &empty)),
        (None, Some(toml::Value::Table(new))) => Some((&empty, new)),
        _ => None,
    };
    let Some((old, new)) = tables else {
        let text = |value: &toml::Value| value.to_string();
        let (before, after) = (before.map(text), after.map(text));
        changes.push(FieldChange { key: key.to_owned(), before, after });
        return;
    };
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for inner in keys {
        compare(&format!("{key}.{inner}"), old.get(inner), new.get(inner), changes);
    }
}

// --- in commands ----------------------------------------------------------------------------------

/// The commands that lead from one configuration to another: whatever is spoken of is made before, and
/// removed behind who speaks of it.
pub(super) fn steps(tenant: TenantId, current: &Whole, target: &Whole) -> Vec<Step> {
    let mut steps = Steps { tenant, current, target, steps: Vec::new() };
    steps.sites();
    let later = steps.new_queues();
    steps.agents();
    steps.queues(&later);
    steps.numbers();
    steps.weights();
    steps.removals();
    steps.steps
}

struct Steps<'a> {
    tenant: TenantId,
    current: &'a Whole,
    target: &'a Whole,
    steps: Vec<Step>,
}

impl Steps<'_> {
    fn push(&mut self, kind: Kind, name: &Name, command: Command) {
        self.steps.push(Step { command, kind, name: name.clone() });
    }

    fn configure_queue(&mut self, queue: &QueueEntry) {
        let command = Command::ConfigureQueue {
            tenant: self.tenant,
            queue: queue.spec.clone(),
            rules: Box::new(queue.rules.clone()),
        };
        self.push(Kind::Queue, &queue.spec.name, command);
    }

    fn sites(&mut self) {
        for (name, site) in &self.target.sites {
            let known = self.current.sites.get(name).and_then(|site| site.region.as_ref());
            if let Some(region) = site.region.clone().filter(|region| known != Some(region)) {
                self.push(Kind::Site, name, Command::PutSite { name: name.clone(), region });
            }
        }
    }

    fn weights(&mut self) {
        for (name, site) in &self.target.sites {
            let known =
                self.current.sites.get(name).map_or(Some(SiteEntry::WEIGHT), |site| site.weight);
            if let Some(weight) = site.weight.filter(|weight| known != Some(*weight)) {
                let site = name.clone();
                self.push(Kind::Site, name, Command::SetSiteWeight { site, weight });
            }
        }
    }

    /// New queues. One that speaks of what is not there yet is made without that first, so that agents and
    /// other queues can speak of it; those are returned.
    fn new_queues(&mut self) -> BTreeSet<Name> {
        let mut there: BTreeSet<Name> = self.current.queues.keys().cloned().collect();
        let mut later = BTreeSet::new();
        for (name, queue) in &self.target.queues {
            if self.current.queues.contains_key(name) {
                continue;
            }
            let queues = queue.rules.overflow.iter().filter_map(|rule| match &rule.to {
                Target::Queue(to) => Some(to),
                Target::Away => None,
            });
            let queues = queues.chain(queue.rules.also.iter().map(|also| &also.queue));
            let mut agents = BTreeSet::new();
            asked_of(queue).for_each(|asked| agents_in(asked, &mut agents));
            let all_there = queues.into_iter().all(|to| there.contains(to))
                && agents.iter().all(|agent| self.current.agents.contains_key(*agent));
            if all_there {
                self.configure_queue(queue);
            } else {
                let queue = QueueSpec::named(name.clone());
                self.push(Kind::Queue, name, Command::PutQueue { tenant: self.tenant, queue });
                later.insert(name.clone());
            }
            there.insert(name.clone());
        }
        later
    }

    fn queues(&mut self, later: &BTreeSet<Name>) {
        for (name, queue) in &self.target.queues {
            let changes = self.current.queues.get(name).is_some_and(|known| known != queue);
            if changes || later.contains(name) {
                self.configure_queue(queue);
            }
        }
    }

    fn agents(&mut self) {
        for (name, agent) in &self.target.agents {
            if self.current.agents.get(name) != Some(agent) {
                let (tenant, rules) = (self.tenant, agent.rules.clone());
                let agent = agent.spec.clone();
                self.push(Kind::Agent, name, Command::ConfigureAgent { tenant, agent, rules });
            }
        }
    }

    fn numbers(&mut self) {
        for (name, number) in &self.target.numbers {
            if self.current.numbers.get(name) != Some(number) {
                let (tenant, rules) = (self.tenant, number.rules.clone());
                let number = number.spec.clone();
                self.push(Kind::Number, name, Command::ConfigureNumber { tenant, number, rules });
            }
        }
    }

    fn removals(&mut self) {
        let tenant = self.tenant;
        let numbers = self.current.numbers.keys();
        for name in numbers.filter(|name| !self.target.numbers.contains_key(*name)) {
            let number = name.clone();
            self.push(Kind::Number, name, Command::RemoveNumber { tenant, number });
        }
        let gone = |name: &&Name| !self.target.queues.contains_key(*name);
        let queues: Vec<&Name> = self.current.queues.keys().filter(gone).collect();
        // Two that lead to each other could not be removed one after the other.
        for queue in queues.iter().filter_map(|name| self.current.queues.get(*name)) {
            let overflows = |rule: &Overflow<_>| matches!(rule.to, Target::Queue(_));
            if queue.rules.overflow.iter().any(overflows) || !queue.rules.also.is_empty() {
                let mut queue = queue.clone();
                queue.rules.also.clear();
                queue.rules.overflow.clear();
                self.configure_queue(&queue);
            }
        }
        for name in queues {
            let queue = name.clone();
            self.push(Kind::Queue, name, Command::RemoveQueue { tenant, queue });
        }
        let agents = self.current.agents.keys();
        for name in agents.filter(|name| !self.target.agents.contains_key(*name)) {
            let agent = name.clone();
            self.push(Kind::Agent, name, Command::RemoveAgent { tenant, agent });
        }
    }
}

/// Everything that a queue asks of agents, sooner or later.
pub(super) fn asked_of(queue: &QueueEntry) -> impl Iterator<Item = &NamedRequirement> {
    let steps = queue.rules.steps.iter().map(|step| &step.requirement);
    std::iter::once(&queue.spec.requirement).chain(steps)
}

fn agents_in<'a>(requirement: &'a NamedRequirement, found: &mut BTreeSet<&'a Name>) {
    match requirement {
        Requirement::Agent(agent) => {
            found.insert(agent);
        }
        Requirement::All(terms) | Requirement::Any(terms) => {
            terms.iter().for_each(|term| agents_in(term, found));
        }
        Requirement::Not(term) => agents_in(term, found),
        Requirement::Skill { .. } | Requirement::Site(_) | Requirement::Attribute { .. } => {}
    }
}
