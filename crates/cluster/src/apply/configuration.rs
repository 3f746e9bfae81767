//! Changes of the configuration as a whole, and the count of those that are made one at a time.

use tandem_routing::command::{Command as QueueCommand, Event};

use crate::{
    command::{Outcome, Rejection, Reply},
    configuration::{ApplyConfiguration, ConfigurationVersion, Document, Made, owner},
    ids::{AgentId, TenantId},
    limits::{CONFIGURATION_NAMES_KEPT, CONFIGURATION_VERSIONS_KEPT},
    machine::Machine,
};

impl Machine {
    /// Carries all changes out, or none.
    pub(crate) fn apply_configuration(
        &mut self,
        apply: &ApplyConfiguration,
        events: &mut Vec<Event>,
    ) -> Outcome {
        let current = self.configuration_version();
        if apply.base != current {
            return Err(Rejection::ConfigurationMustBeCurrent { base: apply.base, current });
        }
        apply.check().map_err(Rejection::Malformed)?;
        let leavers = self.leavers(&apply.changes);
        let before = events.len();
        let carried_out = self.queue.apply_all(self.group, &apply.changes, events);
        if let Err((change, rejection)) = carried_out {
            // Those before it were carried out: they are taken back. Nothing but the queue has changed.
            self.queue.undo();
            events.truncate(before);
            let change = u32::try_from(change).unwrap_or(u32::MAX);
            return Err(Rejection::ConfigurationChangeRefused { change, rejection });
        }
        for agent in leavers {
            self.forget_agent(agent, events);
        }
        self.keep_document(current, apply.tenant, apply.before.as_ref());
        let version = current + 1;
        let made = Made::Whole {
            author: apply.author.clone(),
            comment: apply.comment.clone(),
            summary: apply.summary.clone(),
            restores: apply.restores,
        };
        self.add_version(version, apply.tenant, made, apply.after.clone());
        let changes = u32::try_from(apply.changes.len()).unwrap_or(u32::MAX);
        Ok(Reply::ConfigurationApplied { version, changes })
    }

    /// Agents who are there and are to be removed.
    fn leavers(&self, changes: &[QueueCommand]) -> Vec<AgentId> {
        let leaver = |change: &QueueCommand| match change {
            QueueCommand::RemoveAgent { tenant, agent } => {
                self.queue.agent_named(*tenant, agent).map(|row| row.id)
            }
            _ => None,
        };
        changes.iter().filter_map(leaver).collect()
    }

    /// Keeps the document of a tenant's latest version, if it has none.
    fn keep_document(&mut self, version: u64, tenant: TenantId, document: Option<&Document>) {
        let Some(document) = document else { return };
        // What others changed since then is not in it.
        let Some(latest) = self.configuration_of(tenant).next_back().map(|row| row.first) else {
            if self.configuration.is_empty() {
                // Nothing was configured since versions are counted.
                self.add_version(version, tenant, Made::Found, Some(document.clone()));
            }
            return;
        };
        self.configuration.update(&latest, |row| {
            if row.document.is_none() {
                row.document = Some(document.clone());
            }
        });
    }

    /// Counts a change that was made by itself. Several in a row are one row of the history.
    pub(crate) fn configured_singly(&mut self, tenant: TenantId, what: String) {
        let version = self.configuration_version() + 1;
        let now = self.queue.now();
        let run = self.latest_version().filter(|row| {
            matches!(row.made, Made::Singly { .. })
                && row.tenant == tenant
                && row.document.is_none()
        });
        let Some(first) = run.map(|row| row.first) else {
            self.add_version(version, tenant, Made::Singly { latest: vec![what] }, None);
            return;
        };
        self.configuration.update(&first, |row| {
            row.last = version;
            row.at = now;
            if let Made::Singly { latest } = &mut row.made {
                latest.retain(|known| *known != what);
                latest.push(what);
                if latest.len() > CONFIGURATION_NAMES_KEPT {
                    latest.remove(0);
                }
            }
        });
    }

    fn add_version(
        &mut self,
        version: u64,
        tenant: TenantId,
        made: Made,
        document: Option<Document>,
    ) {
        let at = self.queue.now();
        let (first, last) = (version, version);
        self.configuration.insert(ConfigurationVersion { first, last, tenant, at, made, document });
        while self.configuration.len() > CONFIGURATION_VERSIONS_KEPT {
            let Some(oldest) = self.configuration.iter().next().map(|row| row.first) else { break };
            self.configuration.remove(&oldest);
        }
    }

    fn latest_version(&self) -> Option<&ConfigurationVersion> {
        self.configuration.iter().next_back()
    }

    /// The versions of a tenant's configuration that are kept, the oldest first. Sites, which are
    /// everybody's, count with those of the tenant that every cluster has.
    pub fn configuration_of(
        &self,
        tenant: TenantId,
    ) -> impl DoubleEndedIterator<Item = &ConfigurationVersion> {
        let sites = tenant == TenantId::DEFAULT;
        self.configuration
            .iter()
            .filter(move |row| row.tenant == tenant || sites && row.tenant == TenantId::CLUSTER)
    }

    /// The version of the configuration that is in force; 0 before anything was configured.
    #[must_use]
    pub fn configuration_version(&self) -> u64 {
        self.latest_version().map_or(0, |row| row.last)
    }

    /// Counts what a command that went to the queue by itself has changed.
    pub(crate) fn count_configured(&mut self, command: &QueueCommand, events: &[Event]) {
        // A command that configures steps no plan, and the other way round.
        if let Some(what) = crate::configuration::subject(command) {
            self.configured_singly(owner(command), what);
        }
        for event in events {
            if let Event::PlanStepped(plan) = event {
                self.configured_singly(TenantId::CLUSTER, format!("rebalance plan {}", plan.0));
            }
        }
    }
}
