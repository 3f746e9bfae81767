//! What many runs came to, for people and for programs.

use std::{io, io::Write, time::Duration};

use serde::Serialize;
use tandem_sim::plan::Report;

use super::Format;

/// Failing runs that are kept in full.
const FAILURES_MAX: usize = 20;

/// Sums over runs.
#[derive(Debug, Default, Serialize)]
pub(super) struct Totals {
    pub(super) runs: u64,
    pub(super) failed: u64,
    pub(super) events: u64,
    pub(super) faults: u64,
    pub(super) entries: u64,
    pub(super) leaders: u64,
    pub(super) contacts: u64,
    pub(super) conversations: u64,
    pub(super) virtual_s: u64,
    pub(super) seconds: f64,
    pub(super) events_per_second: f64,
    /// Sum of the runs' digests: the order in which threads finish does not matter.
    pub(super) digest: u64,
    pub(super) failures: Vec<Report>,
    #[serde(skip)]
    virtual_ms: u64,
}

impl Totals {
    pub(super) fn add(&mut self, report: Report) {
        self.runs += 1;
        self.events += report.events;
        self.faults += report.faults;
        self.entries += report.entries;
        self.leaders += report.leaders;
        self.contacts += report.contacts;
        self.conversations += report.conversations;
        self.virtual_ms += report.virtual_ms;
        self.digest = self.digest.wrapping_add(report.digest);
        if !report.is_clean() {
            self.failed += 1;
            let (seed, what) = (report.seed, report.violations.join("; "));
            eprintln!("seed {seed}: {what}\n  again: tandem-chaos sim replay {seed}");
            if self.failures.len() < FAILURES_MAX {
                self.failures.push(report);
            }
        }
    }

    pub(super) fn is_clean(&self) -> bool {
        self.failed == 0
    }

    pub(super) fn finish(&mut self, took: Duration) {
        self.seconds = took.as_secs_f64();
        self.events_per_second = self.events as f64 / self.seconds.max(0.001);
        self.virtual_s = self.virtual_ms / 1_000;
    }

    pub(super) fn progress(&self, took: Duration) {
        let rate = self.events as f64 / took.as_secs_f64().max(0.001);
        eprintln!(
            "{} runs, {} failed, {} events, {} faults, {rate:.0} events/s",
            self.runs, self.failed, self.events, self.faults
        );
    }

    pub(super) fn print(&self, format: Format) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if format == Format::Json {
            return writeln!(out, "{}", serde_json::to_string_pretty(self)?);
        }
        writeln!(out, "runs           {}", self.runs)?;
        writeln!(out, "failed         {}", self.failed)?;
        writeln!(out, "events         {}", self.events)?;
        writeln!(out, "faults         {}", self.faults)?;
        writeln!(out, "log entries    {}", self.entries)?;
        writeln!(out, "elections      {}", self.leaders)?;
        writeln!(out, "contacts       {}", self.contacts)?;
        writeln!(out, "conversations  {}", self.conversations)?;
        writeln!(out, "virtual time   {} s", self.virtual_s)?;
        writeln!(out, "took           {:.1} s", self.seconds)?;
        writeln!(out, "events/s       {:.0}", self.events_per_second)?;
        writeln!(out, "digest         {:016x}", self.digest)
    }
}

/// One run in full.
pub(super) fn print_report(report: &Report, format: Format) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if format == Format::Json {
        return writeln!(out, "{}", serde_json::to_string_pretty(report)?);
    }
    writeln!(out, "seed     {}", report.seed)?;
    writeln!(out, "events   {}", report.events)?;
    writeln!(out, "faults   {}", report.faults)?;
    writeln!(out, "digest   {:016x}", report.digest)?;
    if report.is_clean() {
        return writeln!(out, "nothing broke");
    }
    for violation in &report.violations {
        writeln!(out, "broke    {violation}")?;
    }
    write!(out, "{}", report.state)
}
