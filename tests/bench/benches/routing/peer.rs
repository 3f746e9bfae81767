//! The same task by an SQL scan at every tick, as call distributors over a database do it.
//!
//! What is modelled: tables of agents, of their skills and queues, and of queue members. At every tick
//! everybody who waits is read in order of arrival; for each, agents who serve the queue and have one of the
//! skills are asked for, the longest idle first, and the first who is ready gets the contact: both rows are
//! updated. An ended conversation sets its agent free, who waits for the next tick.
//!
//! *Classic* is the shape of FreeSWITCH's `mod_callcenter` (with skills, which that has not): one query for
//! each member selects and sorts all agents of the queue who are at work, and the program reads on until one is
//! ready. *Indexed* is what a careful hand makes of it: only those who are ready, out of an index in the order
//! of idle time, so that the first who fits ends the search.
//!
//! In favour of both: SQLite in the process and in memory, without a journal; one transaction a tick, prepared
//! statements; a tick of one second, where `mod_callcenter` takes ten; no statistics, no explanation, no
//! digest, no second node.

use rusqlite::{Connection, Statement, params};
use tandem_bench::{
    center::Center,
    clock::{cpu_time, per, rate},
    plan::{Asked, Plan, Size},
    report::{Bound, Report, count, number},
};
use tandem_routing::command::{Command, Event};

use crate::{
    pairs::WAITING,
    regime::{self, Regime},
};

/// Times the peer's pairs a second.
const TIMES_MIN: f64 = 500.0;
const AGENTS: usize = 10_000;
/// Contacts that wait where the classic scan would take minutes for more.
const FEW: usize = 1_000;
/// Conversations that end within a tick of one second: 10,000 agents, three minutes each.
const PER_TICK: usize = AGENTS / 180;

const TABLES: &str = "
    PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;
    CREATE TABLE agents (id INTEGER PRIMARY KEY, ready INTEGER, idle_since INTEGER);
    CREATE TABLE agent_skills (agent INTEGER, skill INTEGER, level INTEGER,
                               PRIMARY KEY (agent, skill)) WITHOUT ROWID;
    CREATE TABLE agent_queues (agent INTEGER, queue INTEGER,
                               PRIMARY KEY (agent, queue)) WITHOUT ROWID;
    CREATE INDEX by_queue ON agent_queues (queue, agent);
    CREATE TABLE members (id INTEGER PRIMARY KEY, queue INTEGER, skill INTEGER, level INTEGER,
                          other_skill INTEGER, other_level INTEGER, waits INTEGER, agent INTEGER);
    CREATE INDEX the_waiting ON members (id) WHERE waits = 1;";

const WAITING_NOW: &str = "
    SELECT id, queue, skill, level, other_skill, other_level FROM members WHERE waits = 1 ORDER BY id";

/// How the best agent is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scan {
    Classic,
    Indexed,
}

impl Scan {
    const fn index(self) -> &'static str {
        match self {
            Self::Classic => "DROP INDEX the_ready",
            Self::Indexed => "CREATE INDEX the_ready ON agents (idle_since, id) WHERE ready = 1",
        }
    }

    const fn best(self) -> &'static str {
        match self {
            Self::Classic => {
                "SELECT agents.id, agents.ready FROM agents
                 JOIN agent_queues ON agent_queues.agent = agents.id AND agent_queues.queue = ?1
                 WHERE EXISTS (
                     SELECT 1 FROM agent_skills WHERE agent_skills.agent = agents.id
                     AND (skill = ?2 AND level >= ?3 OR skill = ?4 AND level >= ?5))
                 ORDER BY agents.idle_since, agents.id"
            }
            Self::Indexed => {
                "SELECT agents.id, agents.ready FROM agents
                 JOIN agent_queues ON agent_queues.agent = agents.id AND agent_queues.queue = ?1
                 WHERE agents.ready = 1 AND EXISTS (
                     SELECT 1 FROM agent_skills WHERE agent_skills.agent = agents.id
                     AND (skill = ?2 AND level >= ?3 OR skill = ?4 AND level >= ?5))
                 ORDER BY agents.idle_since, agents.id LIMIT 1"
            }
        }
    }
}

/// The database, and who talks in it.
pub(crate) struct Peer {
    db: Connection,
    scan: Scan,
    now: i64,
    last: i64,
    talking: std::collections::VecDeque<i64>,
}

/// Who was assigned: a member's number, an agent's.
type Assigned = (i64, i64);

impl Peer {
    /// Everybody is ready, since then.
    fn new(plan: &Plan, idle: impl Iterator<Item = (usize, u64)>) -> Self {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(TABLES).unwrap();
        db.execute_batch(Scan::Indexed.index()).unwrap();
        db.execute_batch("BEGIN").unwrap();
        for (agent, since) in idle {
            let id = agent as i64;
            db.execute("INSERT INTO agents VALUES (?1, 1, ?2)", params![id, since as i64]).unwrap();
            for (skill, level) in &plan.people[agent].skills {
                let row = params![id, *skill as i64, level];
                db.execute("INSERT INTO agent_skills VALUES (?1, ?2, ?3)", row).unwrap();
            }
            for queue in 0..plan.size.queues {
                let row = params![id, queue as i64];
                db.execute("INSERT INTO agent_queues VALUES (?1, ?2)", row).unwrap();
            }
        }
        db.execute_batch("COMMIT; ANALYZE").unwrap();
        Self { db, scan: Scan::Indexed, now: 0, last: 0, talking: <_>::default() }
    }

    /// From now on asks in this way; the other one fills a center faster.
    fn ask(&mut self, scan: Scan) {
        if self.scan != scan {
            self.db.execute_batch(scan.index()).unwrap();
            self.scan = scan;
        }
    }

    /// Callers come in.
    fn calls<'a>(&mut self, calls: impl Iterator<Item = &'a Asked>) {
        self.db.execute_batch("BEGIN").unwrap();
        let insert = "INSERT INTO members VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, NULL)";
        let mut insert = self.db.prepare(insert).unwrap();
        for Asked { queue, either: [one, other] } in calls {
            self.last += 1;
            let (queue, skills) = (*queue as i64, [one.skill as i64, other.skill as i64]);
            let row = params![self.last, queue, skills[0], one.level, skills[1], other.level];
            insert.execute(row).unwrap();
        }
        drop(insert);
        self.db.execute_batch("COMMIT").unwrap();
    }

    /// The oldest conversations end.
    fn ends(&mut self, count: usize, now: u64) {
        self.now = now as i64;
        self.db.execute_batch("BEGIN").unwrap();
        let mut agent_of = self.db.prepare("SELECT agent FROM members WHERE id = ?1").unwrap();
        let free = "UPDATE agents SET ready = 1, idle_since = ?2 WHERE id = ?1";
        let mut free = self.db.prepare(free).unwrap();
        let mut remove = self.db.prepare("DELETE FROM members WHERE id = ?1").unwrap();
        for member in self.talking.drain(..count.min(self.talking.len())) {
            let agent: i64 = agent_of.query_row([member], |row| row.get(0)).unwrap();
            free.execute([agent, self.now]).unwrap();
            remove.execute([member]).unwrap();
        }
        drop((agent_of, free, remove));
        self.db.execute_batch("COMMIT").unwrap();
    }

    /// The scan.
    fn tick(&mut self) -> Vec<Assigned> {
        let db = &self.db;
        db.execute_batch("BEGIN").unwrap();
        let mut waiting = db.prepare(WAITING_NOW).unwrap();
        let mut best = db.prepare(self.scan.best()).unwrap();
        let taken = "UPDATE agents SET ready = 0 WHERE id = ?1";
        let mut taken = db.prepare(taken).unwrap();
        let served = "UPDATE members SET waits = 0, agent = ?2 WHERE id = ?1";
        let mut served = db.prepare(served).unwrap();
        let members: Vec<[i64; 6]> = waiting
            .query_map([], |row| Ok(std::array::from_fn(|at| row.get_unwrap(at))))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let mut assigned = Vec::new();
        for [member, asked @ ..] in members {
            if let Some(agent) = first(&mut best, asked) {
                taken.execute([agent]).unwrap();
                served.execute([member, agent]).unwrap();
                assigned.push((member, agent));
            }
        }
        drop((waiting, best, taken, served));
        db.execute_batch("COMMIT").unwrap();
        self.talking.extend(assigned.iter().map(|(member, _)| *member));
        assigned
    }

    fn waiting(&self) -> usize {
        self.db
            .query_row("SELECT COUNT(*) FROM members WHERE waits = 1", [], |row| {
                row.get::<_, i64>(0)
            })
            .unwrap() as usize
    }
}

/// The first who is ready.
fn first(best: &mut Statement<'_>, asked: [i64; 5]) -> Option<i64> {
    let mut rows = best.query(asked).unwrap();
    while let Some(row) = rows.next().unwrap() {
        if row.get_unwrap::<_, i64>(1) == 1 {
            return Some(row.get_unwrap(0));
        }
    }
    None
}

/// Draws callers for both alike.
struct Callers<'a> {
    plan: &'a Plan,
    dice: tandem_bench::plan::Dice,
}

impl Callers<'_> {
    fn rows(&mut self, count: usize) -> Vec<usize> {
        (0..count).map(|_| self.dice.below(self.plan.asked.len())).collect()
    }
}

/// Nanoseconds of a pair in the tick that took least, and how many pairs there were.
pub(crate) fn saturated(plan: &Plan, scan: Scan, waiting: usize, ticks: usize) -> (f64, usize) {
    let mut callers = Callers { plan, dice: tandem_bench::plan::Dice::new(5) };
    let mut peer = Peer::new(plan, (0..plan.size.agents).map(|agent| (agent, agent as u64)));
    while peer.waiting() < waiting {
        let more = callers.rows(waiting - peer.waiting());
        peer.calls(more.iter().map(|row| &plan.asked[*row]));
        peer.tick();
    }
    peer.ask(scan);
    let per_tick = (plan.size.agents / 180).max(1);
    let (mut least, mut pairs) = (f64::INFINITY, 0);
    for tick in 0..ticks {
        let calls = callers.rows(per_tick);
        let began = cpu_time();
        peer.ends(per_tick, 1_000_000 + tick as u64);
        peer.calls(calls.iter().map(|row| &plan.asked[*row]));
        let assigned = peer.tick().len();
        least = least.min(per(cpu_time() - began, assigned));
        pairs += assigned;
    }
    (least, pairs)
}

/// The idle regime in both, caller by caller; nanoseconds of a pair in the tick that took least, how many
/// pairs there were, and how many went to the same agent.
fn side_by_side(plan: &Plan, scan: Scan, ticks: usize) -> (f64, usize, usize) {
    let mut center = Center::new(plan);
    let number = |agent: &tandem_routing::entity::Agent| agent.name.to_string()[1..].parse();
    let idle: Vec<(usize, u64)> = center
        .state
        .agents()
        .iter()
        .map(|agent| (number(agent).unwrap(), agent.idle_since.0))
        .collect();
    let number_of = |center: &Center, id| number(center.state.agents().get(&id).unwrap()).unwrap();
    let mut peer = Peer::new(plan, idle.into_iter());
    let mut callers = Callers { plan, dice: tandem_bench::plan::Dice::new(5) };
    let (mut least, mut pairs, mut same) = (f64::INFINITY, 0, 0);
    let warm_up = plan.size.agents / 2 / PER_TICK;
    for tick in 0..warm_up + ticks {
        if tick == warm_up {
            peer.ask(scan);
        }
        let rows = callers.rows(PER_TICK);
        let calls: Vec<Command> =
            rows.iter().map(|row| center.call(center.numbers[*row].clone())).collect();
        center.entry(&calls);
        let ours: Vec<usize> = center
            .events
            .iter()
            .filter_map(|event| match event {
                Event::OfferMade { agent, .. } => Some(number_of(&center, *agent)),
                _ => None,
            })
            .collect();
        center.accepts();
        let ends = if tick < warm_up { 0 } else { PER_TICK };
        center.ends(ends);
        let began = cpu_time();
        peer.calls(rows.iter().map(|row| &plan.asked[*row]));
        let theirs = peer.tick();
        peer.ends(ends, center.time);
        if tick >= warm_up {
            least = least.min(per(cpu_time() - began, theirs.len()));
            pairs += theirs.len();
            let both = ours.iter().zip(&theirs);
            same += both.filter(|(ours, (_, theirs))| **ours as i64 == *theirs).count();
        }
    }
    (least, pairs, same)
}

pub(crate) fn run(report: &mut Report) {
    report.heading("Beside an SQL scan at every tick");
    let plan = Plan::draw(Size::of(AGENTS));
    let regimes = [Regime::Idle, Regime::Saturated(FEW), Regime::Saturated(WAITING)];
    let [idle, few, busy] = regimes.map(|regime| regime::measure(&plan, regime).pair());
    let (classic_idle, classic_pairs, classic_same) = side_by_side(&plan, Scan::Classic, 4);
    let (indexed_idle, indexed_pairs, indexed_same) = side_by_side(&plan, Scan::Indexed, 40);
    let classic_few = saturated(&plan, Scan::Classic, FEW, 2);
    let indexed_few = saturated(&plan, Scan::Indexed, FEW, 20);
    let indexed_busy = saturated(&plan, Scan::Indexed, WAITING, 10);
    report.say(&format!(
        "SQLite {}, in memory; one tick a second, {PER_TICK} conversations end in each. With agents free the \
         peers chose the same agents as the queue for {} of {} callers.\n",
        rusqlite::version(),
        count(classic_same + indexed_same),
        count(classic_pairs + indexed_pairs),
    ));
    let row = |what: &str, (peer, pairs): (f64, usize), ours: f64| {
        let numbers = [peer / 1e3, rate(peer), ours / 1e3, rate(ours), peer / ours].map(number);
        [vec![what.to_owned(), count(pairs)], numbers.to_vec()].concat()
    };
    let columns = [
        "10,000 agents",
        "pairs of the scan",
        "scan: pair µs",
        "scan: pairs/s",
        "Tandem: pair µs",
        "Tandem: pairs/s",
        "times",
    ];
    report.table(
        &columns,
        &[
            row("classic: agents free, nobody waits", (classic_idle, classic_pairs), idle),
            row("classic: all busy, 1,000 wait", classic_few, few),
            row("indexed: agents free, nobody waits", (indexed_idle, indexed_pairs), idle),
            row("indexed: all busy, 1,000 wait", indexed_few, few),
            row("indexed: all busy, 10,000 wait", indexed_busy, busy),
        ],
    );
    let mut judge = |what, peer: f64, ours: f64| {
        report.judge(what, peer / ours, Bound::AtLeast, TIMES_MIN, "times");
    };
    judge("classic SQL scan, nobody waits", classic_idle, idle);
    judge("classic SQL scan, 1,000 wait", classic_few.0, few);
    judge("indexed SQL scan, 10,000 wait", indexed_busy.0, busy);
}
