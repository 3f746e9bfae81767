//! What a waiting contact and an agent take of memory. A program of its own: it counts every allocation,
//! which would slow the others. `cargo xtask bench routing` runs it.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a benchmark")]
#![expect(unsafe_code, reason = "an allocator is")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    fs,
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering},
};

use tandem_bench::{
    arguments::Arguments,
    center::Center,
    plan::{Plan, Size},
    report::{Bound, Report, count, machine, number},
};

/// Bytes of a contact that waits.
const CONTACT_MAX: f64 = 1_000.0;
/// Bytes of an agent.
const AGENT_MAX: f64 = 2_000.0;
const AGENTS: usize = 50_000;
const CONTACTS: usize = 300_000;

/// Bytes that are asked for and not given back.
static HELD: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator as it came; only a counter is added.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's layout, handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's block and layout, handed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that were asked for, and bytes of the process that are in memory: with what the allocator adds.
#[derive(Debug, Clone, Copy)]
struct Memory {
    held: usize,
    resident: usize,
}

impl Memory {
    fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kib: usize = line.trim().trim_end_matches(" kB").parse().unwrap();
        Self { held: HELD.load(Ordering::Relaxed), resident: kib * 1024 }
    }

    /// Bytes of each of `count`.
    fn each(self, before: Self, count: usize) -> [f64; 2] {
        let of = |now: usize, before: usize| now.saturating_sub(before) as f64 / count as f64;
        [of(self.held, before.held), of(self.resident, before.resident)]
    }
}

fn measure(report: &mut Report) {
    report.heading("Memory");
    let before = Memory::now();
    let plan = Plan::draw(Size { queues: 12, requirements: 204, ..Size::of(AGENTS) });
    let drawn = Memory::now();
    let mut center = Center::new(&plan);
    let agent = Memory::now().each(drawn, AGENTS);
    center.talk(AGENTS / 2);
    center.queue_up(1);
    // Who talks is there before and after; only those who wait come on top.
    let (waiting, before_contacts) = (center.waiting(), Memory::now());
    center.queue_up(CONTACTS);
    let contact = Memory::now().each(before_contacts, center.waiting() - waiting);
    report.say(&format!(
        "Rows and indexes of {} agents with six skills and twelve queues, and of {} waiting contacts; the plan that \
         they are drawn from ({} bytes) is not counted.\n",
        count(AGENTS),
        count(center.waiting()),
        count(drawn.held - before.held),
    ));
    let row = |what: &str, [held, resident]: [f64; 2], limit: f64| {
        [vec![what.to_owned()], [held, resident, limit, limit / held].map(number).to_vec()].concat()
    };
    let rows = [
        row("a contact that waits", contact, CONTACT_MAX),
        row("an agent, ready", agent, AGENT_MAX),
    ];
    report.table(&["bytes", "asked for", "resident", "limit", "limit / asked for"], &rows);
    report.judge("a contact that waits", contact[0], Bound::AtMost, CONTACT_MAX, "bytes");
    report.judge("an agent", agent[0], Bound::AtMost, AGENT_MAX, "bytes");
}

fn main() -> ExitCode {
    let arguments = match Arguments::read(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(said) => {
            eprintln!("{said}");
            return ExitCode::from(2);
        }
    };
    if !arguments.wants("memory") {
        return ExitCode::SUCCESS;
    }
    let mut report = Report::default();
    report.say(&machine());
    measure(&mut report);
    match report.end(arguments.out.as_deref(), "memory.md") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the tables cannot be written: {error}");
            ExitCode::FAILURE
        }
    }
}
