//! What survives the loss of a node, of a node with its relay, and of a node that only slept.

use std::time::Duration;

use tandem_chaos::{
    check::{self, Allowances, Evidence, losses::Loss},
    faults::{Fault, FaultKind},
};
use tandem_phone::{AnswerPolicy, Vanish};

use crate::support::{Center, Shift};

/// Sizes of the series of kills. `TANDEM_KILLS` asks for more rounds than the quick set has.
struct Series {
    talking: usize,
    queued: usize,
    rounds: usize,
}

impl Series {
    fn from_environment() -> Self {
        let rounds = std::env::var("TANDEM_KILLS").ok();
        let rounds = rounds.map_or(2, |text| text.parse().expect("TANDEM_KILLS is a number"));
        Self { talking: 20, queued: 100, rounds }
    }
}

/// Which node is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    Leader,
    Another,
}

// Goal: with a long queue and many conversations, killing the leader's node again and again, and
// then another node, loses no caller, no place and no conversation; every talking leg of the dead
// node is re-INVITEd by a survivor and nobody hears a pause longer than 200 ms.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_killed_again_and_again() {
    let series = Series::from_environment();
    let policy = AnswerPolicy::answer_after(100);
    let mut center = Center::start(series.talking, policy, Shift::Ready).await;
    center.fill(series.talking, series.queued).await;
    let mut kills = 0;
    for victim in [Victim::Leader, Victim::Another] {
        for round in 0..series.rounds {
            let leader = center.lab.cluster.leader().await.unwrap();
            let site = match victim {
                Victim::Leader => leader,
                Victim::Another => (leader + 1 + round % 2) % 3,
            };
            let begun = center.conversations().await.len();
            let killed = center.fault(FaultKind::KillNode, site).await;
            // One agent becomes free: who waits longest must be next, also now.
            // Somebody whose node lives, so that the cluster hears of it at once.
            hang_up_elsewhere(&center, &killed).await;
            center.until_talking(begun + 1).await;
            center
                .until("all talking legs were re-INVITEd", |evidence| {
                    let losses = losses_of(evidence);
                    let loss = losses.iter().find(|loss| loss.fault == killed).expect("noted");
                    loss.reinvited.kept == loss.reinvited.of
                })
                .await;
            center.restart(site).await;
            center.caller(site).await;
            kills += 1;
        }
    }
    let judgement = center.end_clean().await;
    print(&judgement.losses);
    assert_eq!((judgement.lost, judgement.order_inversions), (0, 0));
    println!("passed while being taken over: {}", judgement.passed_during_takeover);
    let reinvited: usize = judgement.losses.iter().map(|loss| loss.reinvited.of).sum();
    assert!(reinvited >= kills, "the dead nodes had hardly any calls: this proves nothing");
}

/// An agent hangs up whose leg is not at the lost node.
async fn hang_up_elsewhere(center: &Center, killed: &Fault) {
    let evidence = center.evidence().await;
    let leg = evidence
        .legs
        .iter()
        .find(|leg| check::is_open(&leg.report) && leg.owner(killed.made_us) != killed.sip);
    let leg = leg.expect("a conversation elsewhere");
    let phone = center.phones.iter().find(|phone| phone.label() == leg.agent).expect("a phone");
    let calls = phone.calls().await.unwrap();
    let call = calls.iter().find(|call| call.sender_tag() == leg.report.sender_tag);
    call.expect("the call").hang_up().await.unwrap();
}

fn losses_of(evidence: &Evidence) -> Vec<Loss> {
    check::losses::losses(
        evidence,
        &check::conversations(evidence),
        &[],
        &[],
        &Allowances::default(),
    )
}

/// The table for people; `--nocapture` shows it.
fn print(losses: &[Loss]) {
    println!(
        "fault | talking | waiting | legs | places | conversations | re-INVITEd | after ms | gap ms | next ms"
    );
    let share = |share: check::losses::Share| format!("{}/{}", share.kept, share.of);
    let time = |time: Option<u64>| time.map_or_else(|| "-".to_owned(), |ms| ms.to_string());
    for loss in losses.iter().filter(|loss| loss.fault.kind.loses_node()) {
        println!(
            "{} | {} | {} | {} | {} | {} | {} | {} | {} | {}",
            loss.fault,
            loss.talking,
            loss.waiting,
            share(loss.legs),
            share(loss.places),
            share(loss.conversations),
            share(loss.reinvited),
            time(loss.reinvited_after_ms),
            loss.gap_ms_max,
            time(loss.next_delivery_ms),
        );
    }
}

// Goal: a site is lost with its relay; its conversations are heard again within the lease, two
// round trips and a second, and its waiting callers keep their places.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_is_lost_with_its_relay() {
    lose_a_site(Victim::Another).await;
}

// Goal: the same for the site whose node leads: an election comes before anybody can be declared lost,
// and no witness is left.
#[tokio::test(flavor = "multi_thread")]
async fn the_leaders_site_is_lost_with_its_relay() {
    lose_a_site(Victim::Leader).await;
}

async fn lose_a_site(victim: Victim) {
    let mut center = Center::start(6, AnswerPolicy::answer_after(100), Shift::Ready).await;
    center.fill(6, 6).await;
    let leader = center.lab.cluster.leader().await.unwrap();
    let site = match victim {
        Victim::Leader => leader,
        Victim::Another => (leader + 1) % 3,
    };
    let killed = center.fault(FaultKind::KillSite, site).await;
    center
        .until("all talking legs were re-INVITEd and are heard", |evidence| {
            let losses = losses_of(evidence);
            let loss = losses.iter().find(|loss| loss.fault == killed).expect("noted");
            loss.reinvited.of > 0 && loss.reinvited.kept == loss.reinvited.of
        })
        .await;
    // Heard again, for a while: a pause that does not end would be as long as this.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let judgement = center.end_clean().await;
    print(&judgement.losses);
    assert_eq!((judgement.lost, judgement.order_inversions), (0, 0));
}

// Goal: a caller who hangs up while their node is dead is never offered to an agent; the next in line
// is.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_left_during_the_loss_is_not_offered() {
    let mut center = Center::start(1, AnswerPolicy::answer_after(100), Shift::NotYet).await;
    let ghost = center.caller(1).await;
    let waits = center.caller(1).await;
    let mut killed = center.fault(FaultKind::KillNode, 1).await;
    center.recorder.left(&ghost);
    ghost.vanish(Vanish::Answering481).await.unwrap();
    // An agent who becomes free in the few milliseconds in which nobody can know of the loss would still
    // be offered the ghost.
    let cluster = &center.lab.cluster;
    cluster
        .until("the loss is known", async || {
            tandem_chaos::faults::seen(cluster, &center.world, &mut killed).await
        })
        .await
        .unwrap();
    let api = center.lab.cluster.api(0).unwrap();
    api.log_in("agent00").await.unwrap();
    let agent = center.phones[0].wait_call(crate::support::PATIENCE_MS).await.unwrap();
    waits.wait_hears(agent.sender_tag(), crate::support::PATIENCE_MS).await.unwrap();
    waits.hang_up().await.unwrap();
    agent.wait_ended(crate::support::PATIENCE_MS).await.unwrap();
    center
        .lab
        .cluster
        .until("nobody is left in the queue", async || {
            Ok(center.lab.cluster.api(0)?.contacts().await?.is_empty())
        })
        .await
        .unwrap();
    let invites = center.phones[0].report().await.unwrap().invites;
    assert_eq!(invites, 1, "the agent's phone rang for the caller who had left");
    assert!(killed.kind.loses_node());
    let judgement = center.end().await;
    assert_eq!(judgement.ghosts, 0, "{:#?}", judgement.problems);
}

// Goal: a node that was frozen for ten seconds and goes on starts nothing for the calls that were
// taken over: no request of its own reaches their people, and no conversation is disturbed.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_slept_starts_nothing() {
    let mut center = Center::start(6, AnswerPolicy::answer_after(100), Shift::Ready).await;
    center.fill(6, 3).await;
    let frozen = center.fault(FaultKind::FreezeNode, 2).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let losses = losses_of(&center.evidence().await);
    let loss = losses.iter().find(|loss| loss.fault == frozen).expect("noted");
    assert!(loss.reinvited.of > 0, "the frozen node had no conversations: this proves nothing");
    assert_eq!(loss.reinvited.kept, loss.reinvited.of, "{loss:#?}");
    let thawed = center.fault(FaultKind::ThawNode, 2).await;
    center.lab.cluster.until_up(&[0, 1, 2]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let evidence = center.evidence().await;
    let reports = evidence.callers.iter().map(|leg| &leg.report);
    for report in reports.chain(evidence.legs.iter().map(|leg| &leg.report)) {
        let own = report
            .modifications
            .iter()
            .find(|change| change.from == thawed.sip && change.at_us >= thawed.made_us);
        assert!(own.is_none(), "{}: {own:?}", report.phone);
        assert!(report.ended_us.is_none(), "{} ended: {:?}", report.phone, report.end);
    }
    let judgement = center.end_clean().await;
    print(&judgement.losses);
}
