//! What administrators decide, apart from a day.

use super::*;

const EVERY: Millis = Millis(900_000);

fn lender(loan: Loan) -> Lender {
    Lender::new(&Center::of_seats(10), EVERY, loan)
}

/// A line of so many agents who serve their own line.
fn seen(id: u32, agents: usize) -> Seen {
    let name: Name = format!("line-{id}").parse().unwrap();
    let helper = |n| Helper {
        name: format!("{name}-{n}").parse().unwrap(),
        queues: BTreeSet::from([QueueId(id)]),
    };
    let able = (0..agents).map(helper).collect();
    Seen { id: QueueId(id), name, waiting: 0, pace: 1.0, able, astray: Vec::new() }
}

/// Carries out what a plan says.
fn carry_out(seen: &mut [Seen], changes: &BTreeMap<Name, MembershipSpec>) {
    let ids: BTreeMap<Name, QueueId> = seen.iter().map(|it| (it.name.clone(), it.id)).collect();
    for helper in seen.iter_mut().flat_map(|line| line.able.iter_mut().chain(&mut line.astray)) {
        let Some(change) = changes.get(&helper.name) else { continue };
        helper.queues.extend(change.join.iter().map(|name| ids[name]));
        helper.queues.retain(|id| !change.leave.iter().any(|name| ids[name] == *id));
    }
}

// Goal: an administrator does not know the surprises: one for the day with them is one for the day without.
#[test]
fn surprises_are_not_known() {
    let center = Center::of_seats(10);
    let of = |center: &Center| Lender::new(center, EVERY, Loan::Moved);
    assert_eq!(of(&center), of(&center.clone().surprised()));
    assert_ne!(of(&center), of(&Center::of_seats(11)));
}

// Goal: a forecast is corrected by what came when chance does not explain it, and not else.
#[test]
fn chance_is_no_news() {
    assert_eq!((pace(100.0, 100.0), pace(130.0, 100.0), pace(70.0, 100.0)), (1.0, 1.0, 1.0));
    assert_eq!((pace(131.0, 100.0), pace(1_300.0, 1_000.0)), (1.31, 1.3));
    assert_eq!((pace(0.0, 0.0), pace(5.0, 0.0)), (1.0, 5.0));
}

// Goal: agents are shared out whole: what is left by the square root of the load, and what lacks by the load.
#[test]
fn agents_are_shared_out() {
    assert_eq!(shared_out(&[400.0, 100.0], 530.0), [420.0, 110.0]);
    assert_eq!(shared_out(&[400.0, 100.0], 250.0), [200.0, 50.0]);
    assert_eq!(shared_out(&[0.0, 0.0], 7.0), [0.0, 0.0]);
}

// Goal: nobody lends more than they can spare and nobody gets more than they lack, and of either all that can be.
#[test]
fn loans_add_up() {
    let found = loans(&[10.9, -4.2, 3.0, -20.0, 0.4]);
    assert_eq!(found, BTreeMap::from([((0, 3), 10), ((2, 3), 3)]));
    assert_eq!(loans(&[10.0, -4.0, -3.0]), BTreeMap::from([((0, 1), 4), ((0, 2), 3)]));
    assert!(loans(&[5.0, 3.0]).is_empty() && loans(&[-5.0]).is_empty() && loans(&[]).is_empty());
    assert!(loans(&[f64::INFINITY, f64::INFINITY]).is_empty());
}

// Goal: those who are first in line to be lent go, leaving their own line or not; who helps already stays as long
// as needed; and all are back when nothing lacks, those included who went home meanwhile.
#[test]
fn agents_go_and_come_back() {
    for loan in [Loan::Moved, Loan::Shared] {
        let lender = lender(loan);
        let mut cities = vec![seen(1, 5), seen(2, 5)];
        let lent = |cities: &[Seen]| {
            let away = |helper: &&Helper| helper.queues.contains(&QueueId(2));
            let names = cities[0].able.iter().chain(&cities[0].astray).filter(away);
            names.map(|helper| helper.name.to_string()).collect::<Vec<_>>()
        };
        let changes = lender.changes(&cities, &[2.0, -3.0]);
        carry_out(&mut cities, &changes);
        assert_eq!(lent(&cities), ["line-1-0", "line-1-1"]);
        let own = cities[0].able[0].queues.contains(&QueueId(1));
        assert_eq!(own, loan == Loan::Shared);

        // Another order, and one more: the two go on.
        cities[0].able.reverse();
        let changes = lender.changes(&cities, &[3.0, -3.0]);
        assert_eq!(changes.len(), 1);
        carry_out(&mut cities, &changes);
        assert_eq!(lent(&cities), ["line-1-4", "line-1-1", "line-1-0"]);

        let gone = cities[0].able.pop().unwrap();
        cities[0].astray.push(gone);
        let changes = lender.changes(&cities, &[0.0, 0.0]);
        assert_eq!(changes.len(), 3);
        carry_out(&mut cities, &changes);
        assert!(lent(&cities).is_empty());
        assert!(lender.changes(&cities, &[0.0, 0.0]).is_empty(), "nothing to do");
    }
}

// Goal: a plan never asks for more agents than one takes; the rest is for the next.
#[test]
fn plans_have_a_limit() {
    let lender = lender(Loan::Moved);
    let mut cities = vec![seen(1, 2 * PLAN_AGENTS_MAX), seen(2, 1)];
    let wanted = 1.5 * PLAN_AGENTS_MAX as f64;
    for expected in [PLAN_AGENTS_MAX, PLAN_AGENTS_MAX / 2, 0] {
        let changes = lender.changes(&cities, &[wanted, -wanted]);
        assert_eq!(changes.len(), expected);
        carry_out(&mut cities, &changes);
    }
}

// Goal: until the next look, all half hours count: who will be needed in the next one is not lent in this.
#[test]
fn the_next_half_hour_counts() {
    let lender = lender(Loan::Moved);
    let at = |ms| lender.ahead(ClusterTime(ms)).collect::<Vec<_>>();
    assert_eq!(at(450_000), [HalfHour(0)]);
    assert_eq!(at(1_350_000), [HalfHour(0), HalfHour(1)]);
    assert_eq!(at(super::super::DAY.0 - 1), [HalfHour(HALF_HOURS - 1)]);
    // As many as planned are there, and as many callers came: what can be spared is little, and adds up to none.
    let now = ClusterTime(1_350_000);
    let there = |(id, line): (usize, &Line)| seen(id as u32 + 1, line.agents[0] as usize);
    let mut cities: Vec<Seen> = lender.lines.iter().enumerate().map(there).collect();
    let before = lender.spare(now, &cities);
    assert!(before.iter().sum::<f64>() <= 1e-9, "{before:?}");
    cities[2].pace = 3.0;
    let after = lender.spare(now, &cities);
    assert!(after[2] < before[2] && after[0] > before[0], "{before:?} {after:?}");
}
