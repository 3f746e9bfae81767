//! Plans and histories for people.

use std::fmt::Write;

use tandem_proto::api::v1::{
    ConfigChange, ConfigHistory, ConfigImpact, ConfigPlan, ConfigProblem, ConfigVersion,
};

use crate::cli::output::{duration, or_dash, table};

/// A plan: what would change, what that does to those who wait, and what to know.
pub(super) fn plan(plan: &ConfigPlan) -> String {
    if !plan.problems.is_empty() {
        return lines(plan.problems.iter().map(problem));
    }
    if plan.changes.is_empty() {
        return format!("no changes: version {} is what is asked for", plan.base_version);
    }
    let mut text = format!("planned for version {}: {}\n\n", plan.base_version, plan.summary);
    text.push_str(&changes(&plan.changes));
    text.push_str("\n\n");
    text.push_str(&plan.impact.as_ref().map(impact).unwrap_or_default());
    if !plan.new_skills.is_empty() {
        write!(text, "\nnew skills: {}", plan.new_skills.join(", ")).ok();
    }
    for warning in &plan.warnings {
        write!(text, "\nwarning: {}", problem(warning)).ok();
    }
    text
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.collect::<Vec<_>>().join("\n")
}

fn problem(problem: &ConfigProblem) -> String {
    let ConfigProblem { file, line, column, message } = problem;
    if file.is_empty() { message.clone() } else { format!("{file}:{line}:{column}: {message}") }
}

fn changes(changes: &[ConfigChange]) -> String {
    let mut shown = Vec::new();
    for change in changes {
        let sign = match change.action.as_str() {
            "add" => '+',
            "remove" => '-',
            _ => '~',
        };
        let mut head = format!("{sign} {} {}", change.kind, change.name);
        if !change.file.is_empty() {
            write!(head, "  ({}:{})", change.file, change.line).ok();
        }
        shown.push(head);
        for field in &change.fields {
            let (before, after) = (field.before.as_deref(), field.after.as_deref());
            let value = match (before, after) {
                (_, Some(after)) if change.action == "add" => after.to_owned(),
                (before, after) => {
                    format!("{} -> {}", before.unwrap_or("-"), after.unwrap_or("-"))
                }
            };
            shown.push(format!("    {} {value}", field.key));
        }
    }
    shown.join("\n")
}

fn impact(impact: &ConfigImpact) -> String {
    let facts = [
        (impact.offered, "offered to an agent at once"),
        (impact.moved, "preferring another site"),
        (impact.overflowed, "leaving for another queue by a rule"),
        (impact.ended, "sent away by a rule"),
        (impact.stranded, "left with nobody logged in who could serve them"),
    ];
    let told = facts.iter().filter(|(count, _)| *count > 0);
    let told: Vec<String> = told.map(|(count, what)| format!("{count} {what}")).collect();
    let told = if told.is_empty() { "nothing changes at once".to_owned() } else { told.join(", ") };
    let more = if impact.more_follows { " (and more that was not looked at)" } else { "" };
    let mut text = format!("those who wait: {told}{more}");
    if impact.queues.is_empty() {
        return text;
    }
    let wait = |ms: Option<u64>| ms.map_or_else(|| "nobody there".to_owned(), duration);
    let rows = impact.queues.iter().map(|row| {
        [
            row.queue.clone(),
            format!("{} -> {}", row.waiting_before, row.waiting_after),
            format!("{} -> {}", row.agents_before, row.agents_after),
            format!(
                "{} -> {}",
                wait(row.expected_wait_before_ms),
                wait(row.expected_wait_after_ms)
            ),
            row.stranded.to_string(),
            row.over_length.to_string(),
        ]
    });
    let head = ["queue", "waiting", "agents", "expected wait", "nobody for", "over its length"];
    write!(text, "\n{}", table(head, rows)).ok();
    text
}

/// The versions that are kept.
pub(super) fn history(reply: &ConfigHistory) -> String {
    let rows = reply.versions.iter().map(|row| {
        [
            name(row),
            duration(row.ago_ms),
            made(row),
            if row.kept { "yes" } else { "-" }.to_owned(),
            or_dash(&row.author),
            or_dash(&row.summary),
            or_dash(&row.comment),
        ]
    });
    table(["version", "ago", "made", "way back", "by", "what", "why"], rows)
}

fn name(row: &ConfigVersion) -> String {
    if row.first < row.version {
        format!("{}-{}", row.first, row.version)
    } else {
        row.version.to_string()
    }
}

fn made(row: &ConfigVersion) -> String {
    match row.made.as_str() {
        "rollback" => format!("rollback to {}", row.restores),
        "singly" => "one at a time".to_owned(),
        other => other.to_owned(),
    }
}

/// One version, with what it changed.
pub(super) fn version(reply: &ConfigHistory) -> String {
    let head = history(reply);
    let Some(row) = reply.versions.first() else { return head };
    let rest = match (row.kept, row.against) {
        (false, _) => "it is kept without a document".to_owned(),
        (true, 0) => "none before it is kept with a document to compare it with; \
                      tandem config export --of shows it"
            .to_owned(),
        (true, against) if row.changes.is_empty() => format!("the same as version {against}"),
        (true, against) => format!("against version {against}:\n{}", changes(&row.changes)),
    };
    format!("{head}\n\n{rest}")
}
