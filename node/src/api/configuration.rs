//! `Config`: a tenant's configuration as documents, planned, applied, gone back to, exported.

use std::time::{Duration, Instant};

use tandem_cluster::{
    command::{Command, Rejection, Reply},
    configuration::{ApplyConfiguration, ConfigurationVersion, Document, Made},
    ids::TenantId,
    limits::CONFIGURATION_TEXT_LEN_MAX,
    machine::Machine,
};
use tandem_proto::api::v1 as api;
use tandem_routing::{command::Unfinished, digest::row_hash, state::State, time::ClusterTime};
use tonic::{Request, Response, Status};

use super::{Api, change::refusal};
use crate::{
    configuration::{self, Action, Change, NoPlan, Plan, Problem, Prune, Source},
    rpc::config_server::Config,
};

/// Documents of one call, together, in bytes.
pub(crate) const DOCUMENTS_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A message with them, in bytes.
pub(crate) const DOCUMENTS_MESSAGE_BYTES_MAX: usize = DOCUMENTS_BYTES_MAX + 1024 * 1024;
/// Documents of one call.
const DOCUMENTS_MAX: usize = 100;
/// A document's name, in bytes.
const DOCUMENT_NAME_LEN_MAX: usize = 1_024;
/// Problems that the refusal of an application names; a plan names more.
const PROBLEMS_IN_REFUSAL: usize = 10;

/// What the state says when a plan is made.
struct Snapshot {
    state: State,
    version: u64,
    /// Whether what is in force is kept with a document.
    kept: bool,
    /// Of the version that is to be gone back to.
    document: Option<Document>,
}

/// What is asked for.
struct Asked {
    tenant: TenantId,
    sources: Vec<Source>,
    prune: Prune,
    /// Instead of documents.
    version: Option<u64>,
}

#[tonic::async_trait]
impl Config for Api {
    async fn plan(
        &self,
        request: Request<api::ConfigPlanRequest>,
    ) -> Result<Response<api::ConfigPlan>, Status> {
        let request = Self::admit(request)?;
        let tenant = self.tenant(&request.tenant).await?;
        let asked = asked(tenant, request.documents, request.prune, request.version)?;
        let (as_of, base, _, made) = self.make_plan(asked).await?;
        let mut reply = match made {
            Ok(plan) => show_plan(&plan),
            Err(NoPlan::Documents(problems) | NoPlan::Refused(problems)) => {
                let problems = problems.iter().map(show_problem).collect();
                api::ConfigPlan { problems, ..<_>::default() }
            }
        };
        (reply.as_of, reply.base_version) = (Some(as_of), base);
        Ok(Response::new(reply))
    }

    async fn apply(
        &self,
        request: Request<api::ConfigApplyRequest>,
    ) -> Result<Response<api::ConfigApplied>, Status> {
        let (request, within) = Self::admit_change(request)?;
        let tenant = self.tenant(&request.tenant).await?;
        let asked = asked(tenant, request.documents, request.prune, None)?;
        let meant =
            Meant { base: request.base_version, author: request.author, comment: request.comment };
        self.carry_out(asked, meant, request.idempotency_key, within).await
    }

    async fn rollback(
        &self,
        request: Request<api::ConfigRollbackRequest>,
    ) -> Result<Response<api::ConfigApplied>, Status> {
        let (request, within) = Self::admit_change(request)?;
        let tenant = self.tenant(&request.tenant).await?;
        let asked = asked(tenant, Vec::new(), !request.keep_new, Some(request.version))?;
        let meant =
            Meant { base: request.base_version, author: request.author, comment: request.comment };
        self.carry_out(asked, meant, request.idempotency_key, within).await
    }

    async fn history(
        &self,
        request: Request<api::ConfigHistoryRequest>,
    ) -> Result<Response<api::ConfigHistory>, Status> {
        let asked = Self::admit(request)?;
        let tenant = self.tenant(&asked.tenant).await?;
        let now = self.core()?.clock.now();
        let (as_of, (version, mut rows)) = self
            .read(asked.consistency, |machine| {
                let rows: Vec<_> = machine.configuration_of(tenant).cloned().collect();
                (machine.configuration_version(), rows)
            })
            .await?;
        rows.reverse();
        let versions = match asked.version {
            None => rows.iter().map(|row| show_version(row, now)).collect(),
            Some(wanted) => {
                let (at, row) = rows
                    .iter()
                    .enumerate()
                    .find(|(_, row)| (row.first..=row.last).contains(&wanted))
                    .ok_or_else(|| not_kept(wanted))?;
                let before = rows.iter().skip(at + 1).find(|row| row.document.is_some());
                vec![show_whole(row, before, now)]
            }
        };
        Ok(Response::new(api::ConfigHistory { as_of: Some(as_of), version, versions }))
    }

    async fn export(
        &self,
        request: Request<api::ConfigExportRequest>,
    ) -> Result<Response<api::ConfigExport>, Status> {
        let asked = Self::admit(request)?;
        let tenant = self.tenant(&asked.tenant).await?;
        let (as_of, version, document) = match asked.version {
            None => {
                let (as_of, (version, state)) = self
                    .read(asked.consistency, |machine| {
                        (machine.configuration_version(), machine.queue().clone())
                    })
                    .await?;
                let export = move || configuration::export(&state, tenant);
                (as_of, version, aside(export).await?)
            }
            Some(version) => {
                let (as_of, document) = self
                    .read(asked.consistency, |machine| document_of(machine, tenant, version))
                    .await?;
                (as_of, version, text_of(version, document.as_ref())?)
            }
        };
        Ok(Response::new(api::ConfigExport { as_of: Some(as_of), version, document }))
    }
}

/// What a person says of a change.
struct Meant {
    base: Option<u64>,
    author: String,
    comment: String,
}

impl Api {
    /// Plans on a copy of the state, beside the threads that serve calls.
    async fn make_plan(
        &self,
        asked: Asked,
    ) -> Result<(api::AsOf, u64, bool, Result<Plan, NoPlan>), Status> {
        // What the leader would do now, as well as this node knows it.
        let consistency = api::Consistency::Linearizable.into();
        let (as_of, found) = self
            .read(consistency, |machine| snapshot(machine, asked.tenant, asked.version))
            .await?;
        let Snapshot { state, version, kept, document } = found;
        let Asked { tenant, mut sources, prune, version: back_to } = asked;
        if let Some(back_to) = back_to {
            let text = text_of(back_to, document.as_ref())?;
            sources = vec![Source { name: format!("version {back_to}"), text }];
        }
        let made = aside(move || configuration::plan(&state, tenant, &sources, prune));
        Ok((as_of, version, kept, made.await?))
    }

    /// Plans once more, and lets the log decide.
    async fn carry_out(
        &self,
        asked: Asked,
        meant: Meant,
        idempotency_key: String,
        within: Duration,
    ) -> Result<Response<api::ConfigApplied>, Status> {
        for (field, text) in [("author", &meant.author), ("comment", &meant.comment)] {
            if text.len() > CONFIGURATION_TEXT_LEN_MAX {
                let text = format!("{field} has more than {CONFIGURATION_TEXT_LEN_MAX} bytes");
                return Err(Status::invalid_argument(text));
            }
        }
        let (request, restores) = (fingerprint(&asked), asked.version);
        let mut apply = ApplyConfiguration {
            tenant: asked.tenant,
            base: meant.base.unwrap_or_default(),
            request,
            changes: Vec::new(),
            before: None,
            after: None,
            author: meant.author,
            comment: meant.comment,
            summary: String::new(),
            restores,
        };
        let began = Instant::now();
        if let Some(meant) = meant.base {
            let consistency = api::Consistency::Linearizable.into();
            let (_, current) = self.read(consistency, Machine::configuration_version).await?;
            if meant != current {
                // It is stale, or a repeat of what was done: the log knows.
                return self.propose_configuration(apply, &[], idempotency_key, within).await;
            }
        }
        let (_, base, kept, made) = self.make_plan(asked).await?;
        let plan = made.map_err(|no_plan| refused(&no_plan))?;
        if meant.base.is_none_or(|meant| meant == base) && plan.commands.is_empty() {
            return Ok(Response::new(api::ConfigApplied { version: base, changes: 0 }));
        }
        apply.base = meant.base.unwrap_or(base);
        apply.changes = plan.commands;
        apply.before = plan.before.filter(|_| !kept);
        apply.after = plan.after;
        apply.summary = plan.summary;
        let within = within.saturating_sub(began.elapsed());
        self.propose_configuration(apply, &plan.places, idempotency_key, within).await
    }

    async fn propose_configuration(
        &self,
        apply: ApplyConfiguration,
        places: &[Option<configuration::Place>],
        idempotency_key: String,
        within: Duration,
    ) -> Result<Response<api::ConfigApplied>, Status> {
        let command = Command::ApplyConfiguration(Box::new(apply));
        if let Err(error) = command.check_size() {
            return Err(Status::invalid_argument(format!(
                "{error}: apply the documents one after the other"
            )));
        }
        let outcome = self.send(command, idempotency_key, within).await??;
        match outcome {
            Ok(Reply::ConfigurationApplied { version, changes }) => {
                Ok(Response::new(api::ConfigApplied { version, changes }))
            }
            Ok(other) => {
                Err(Status::internal(format!("an unexpected reply of the log: {other:?}")))
            }
            Err(Rejection::ConfigurationChangeRefused { change, rejection }) => {
                let place = usize::try_from(change).ok().and_then(|at| places.get(at));
                let place = place.and_then(Option::as_ref).map(|place| format!("{place}: "));
                Err(Status::failed_precondition(format!(
                    "{}{rejection}; nothing was changed",
                    place.unwrap_or_default()
                )))
            }
            Err(rejection) => Err(refusal(&rejection)),
        }
    }
}

/// Work that takes its time, on a thread of its own.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Status::internal(format!("the documents could not be worked on: {error}")))
}

fn asked(
    tenant: TenantId,
    documents: Vec<api::ConfigDocument>,
    prune: bool,
    version: Option<u64>,
) -> Result<Asked, Status> {
    let size: usize = documents.iter().map(|document| document.text.len()).sum();
    if documents.len() > DOCUMENTS_MAX || size > DOCUMENTS_BYTES_MAX {
        return Err(Status::invalid_argument(format!(
            "{} documents of {size} bytes are too many: at most {DOCUMENTS_MAX} of together \
             {DOCUMENTS_BYTES_MAX} bytes are taken at a time; give them one after the other, without prune",
            documents.len()
        )));
    }
    if documents.iter().any(|document| document.name.len() > DOCUMENT_NAME_LEN_MAX) {
        let text = format!("a document's name has more than {DOCUMENT_NAME_LEN_MAX} bytes");
        return Err(Status::invalid_argument(text));
    }
    if documents.is_empty() == version.is_none() {
        let text = "give either documents or a version";
        return Err(Status::invalid_argument(text));
    }
    let source =
        |document: api::ConfigDocument| Source { name: document.name, text: document.text };
    let prune = if prune { Prune::Yes } else { Prune::No };
    Ok(Asked { tenant, sources: documents.into_iter().map(source).collect(), prune, version })
}

/// Tells what is asked for, so that a repeat is known.
fn fingerprint(asked: &Asked) -> u128 {
    let prune = u8::from(asked.prune == Prune::Yes);
    let mut bytes = vec![prune];
    for source in &asked.sources {
        bytes.extend(row_hash(source.name.as_bytes(), source.text.as_bytes()).to_be_bytes());
    }
    row_hash(&asked.version.unwrap_or_default().to_be_bytes(), &bytes)
}

fn snapshot(machine: &Machine, tenant: TenantId, back_to: Option<u64>) -> Snapshot {
    let latest = machine.configuration_of(tenant).next_back();
    Snapshot {
        state: machine.queue().clone(),
        version: machine.configuration_version(),
        kept: latest.is_some_and(|row| row.document.is_some()),
        document: back_to.and_then(|version| document_of(machine, tenant, version)),
    }
}

/// The document that a version of a tenant is kept with.
fn document_of(machine: &Machine, tenant: TenantId, version: u64) -> Option<Document> {
    machine.configuration_of(tenant).find(|row| row.last == version)?.document.clone()
}

fn not_kept(version: u64) -> Status {
    Status::not_found(format!(
        "version {version} is not kept: tandem config history shows those that are"
    ))
}

fn text_of(version: u64, document: Option<&Document>) -> Result<String, Status> {
    let document = document.ok_or_else(|| {
        Status::not_found(format!(
            "version {version} is not kept with a document: tandem config history shows those that are"
        ))
    })?;
    configuration::unpack(document).ok_or_else(|| {
        Status::internal(format!(
            "the document of version {version} cannot be read: a newer Tandem wrote it, or it is damaged; \
             apply your own files instead"
        ))
    })
}

fn refused(no_plan: &NoPlan) -> Status {
    let text = |problems: &[Problem]| {
        let lines = problems.iter().take(PROBLEMS_IN_REFUSAL).map(ToString::to_string);
        let mut lines: Vec<String> = lines.collect();
        if problems.len() > PROBLEMS_IN_REFUSAL {
            lines.push(format!("and {} more", problems.len() - PROBLEMS_IN_REFUSAL));
        }
        lines.push("nothing was changed".to_owned());
        lines.join("\n")
    };
    match no_plan {
        NoPlan::Documents(problems) => Status::invalid_argument(text(problems)),
        NoPlan::Refused(problems) => Status::failed_precondition(text(problems)),
    }
}

// --- in the API's words ---------------------------------------------------------------------------

fn show_problem(problem: &Problem) -> api::ConfigProblem {
    let message = problem.message.clone();
    match &problem.place {
        None => api::ConfigProblem { message, ..<_>::default() },
        Some(place) => api::ConfigProblem {
            file: place.file.clone(),
            line: place.line,
            column: place.column,
            message,
        },
    }
}

fn show_change(change: &Change) -> api::ConfigChange {
    let field = |field: &configuration::FieldChange| api::ConfigFieldChange {
        key: field.key.clone(),
        before: field.before.clone(),
        after: field.after.clone(),
    };
    api::ConfigChange {
        kind: change.kind.to_owned(),
        name: change.name.to_string(),
        action: match change.action {
            Action::Add => "add",
            Action::Change => "change",
            Action::Remove => "remove",
        }
        .to_owned(),
        fields: change.fields.iter().map(field).collect(),
        file: change.place.as_ref().map(|place| place.file.clone()).unwrap_or_default(),
        line: change.place.as_ref().map_or(0, |place| place.line),
    }
}

fn show_plan(plan: &Plan) -> api::ConfigPlan {
    let impact = &plan.impact;
    let queues = impact.queues.iter().map(|row| api::ConfigQueueImpact {
        queue: row.name.to_string(),
        waiting_before: row.before.waiting,
        waiting_after: row.after.waiting,
        agents_before: row.before.agents,
        agents_after: row.after.agents,
        expected_wait_before_ms: row.before.expected_wait.map(|wait| wait.0),
        expected_wait_after_ms: row.after.expected_wait.map(|wait| wait.0),
        stranded: row.stranded,
        over_length: row.over_length,
    });
    let impact = api::ConfigImpact {
        offered: impact.offered,
        stranded: impact.stranded,
        moved: impact.moved,
        overflowed: impact.overflowed,
        ended: impact.ended,
        queues: queues.collect(),
        more_follows: impact.unfinished == Unfinished::Yes,
    };
    api::ConfigPlan {
        changes: plan.changes.iter().map(show_change).collect(),
        impact: Some(impact),
        warnings: plan.warnings.iter().map(show_problem).collect(),
        new_skills: plan.new_skills.iter().map(ToString::to_string).collect(),
        summary: plan.summary.clone(),
        ..<_>::default()
    }
}

fn show_version(row: &ConfigurationVersion, now: ClusterTime) -> api::ConfigVersion {
    let mut shown = api::ConfigVersion {
        version: row.last,
        first: row.first,
        ago_ms: now.since(row.at).0,
        kept: row.document.is_some(),
        ..<_>::default()
    };
    match &row.made {
        Made::Singly { latest } => {
            shown.made = "singly".to_owned();
            shown.summary = latest.join(", ");
        }
        Made::Found => shown.made = "found".to_owned(),
        Made::Whole { author, comment, summary, restores } => {
            shown.made = if restores.is_some() { "rollback" } else { "applied" }.to_owned();
            shown.author = author.clone();
            shown.comment = comment.clone();
            shown.summary = summary.clone();
            shown.restores = restores.unwrap_or_default();
        }
    }
    shown
}

/// A version with its document, and what differs from the one before.
fn show_whole(
    row: &ConfigurationVersion,
    before: Option<&ConfigurationVersion>,
    now: ClusterTime,
) -> api::ConfigVersion {
    let mut shown = show_version(row, now);
    let text = |row: &ConfigurationVersion| row.document.as_ref().and_then(configuration::unpack);
    if let Some(document) = text(row) {
        if let Some((before, old)) = before.and_then(|row| Some((row, text(row)?))) {
            shown.changes =
                configuration::compare(&old, &document).iter().map(show_change).collect();
            shown.against = before.last;
        }
        shown.document = document;
    }
    shown
}
