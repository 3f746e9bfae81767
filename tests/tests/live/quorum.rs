//! What operators are told by a cluster that cannot decide, and that it stays true.

use std::{process::Output, time::Duration};

use tandem_chaos::cluster::LocalCluster;
use tandem_proto::api::v1::Queue;
use tokio::task::JoinSet;

use crate::support::Lab;

/// Far beyond the time after which a leader counts as unheard, in ms.
const UNHEARD_MS: u64 = 5_000;
/// Several times as many as milliseconds lie between two tries.
const CHANGES: usize = 300;

async fn all_up(lab: &Lab) {
    lab.cluster.until_up(&[0, 1, 2]).await.unwrap();
}

async fn term(cluster: &LocalCluster, index: usize) -> u64 {
    cluster.api(index).unwrap().status().await.unwrap().term
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What many changes are told that give up a millisecond apart: some while a try is on its way.
async fn changes_given_up(cluster: &LocalCluster, index: usize, queue: &str) -> Vec<String> {
    let api = cluster.api(index).unwrap();
    let mut changes = JoinSet::new();
    for _ in 0..CHANGES {
        let (api, queue) = (api.clone(), Queue { name: queue.to_owned(), ..Queue::default() });
        changes.spawn(async move { api.put_queue(queue).await.unwrap_err().to_string() });
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    changes.join_all().await
}

// Goal: with the majority gone, a change ends with the exit code for "nothing was done", at a leader
// without followers as at a follower without a leader; and it is not done when the majority is back.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_quorum_took_is_not_done_later() {
    let mut lab = Lab::start().await;
    for (queue, leader_survives) in [("late-1", true), ("late-2", false)] {
        all_up(&lab).await;
        let leader = lab.cluster.leader().await.unwrap();
        let survivor = if leader_survives { leader } else { (leader + 1) % 3 };
        let others: Vec<usize> = (0..3).filter(|index| *index != survivor).collect();
        for index in &others {
            lab.cluster.kill_node(*index).unwrap();
        }
        lab.cluster
            .until("the survivor is alone for a while", async || {
                let status = lab.cluster.api(survivor)?.status_local().await?;
                Ok(status.as_of.is_some_and(|as_of| as_of.silent_ms > UNHEARD_MS))
            })
            .await
            .unwrap();
        let dead = (others[0] + 1).to_string();
        for command in [
            &["queue", "put", queue, "--timeout", "3"][..],
            &["cluster", "remove", &dead, "--timeout", "3"],
            &["site", "drain", "lon", "--timeout", "1"],
        ] {
            let output = lab.tandem(&[survivor], command);
            assert_eq!(output.status.code(), Some(9), "{command:?}: {}", said(&output));
        }
        for refused in changes_given_up(&lab.cluster, survivor, queue).await {
            assert!(refused.contains("nothing was done"), "{refused}");
        }
        for index in others {
            lab.cluster.start_node(index).unwrap();
            lab.cluster.until_answers(index).await.unwrap();
        }
        all_up(&lab).await;
        let queues = lab.cluster.api(survivor).unwrap().queues().await.unwrap();
        assert!(queues.iter().all(|row| row.queue.as_ref().is_none_or(|row| row.name != queue)));
        let sites = lab.cluster.api(survivor).unwrap().sites().await.unwrap();
        assert!(sites.iter().all(|site| site.state == "open"), "{sites:?}");
    }
    lab.end();
}

// Goal: a frozen node holds no command up: it ends when its time is over, and at once where another
// node is named too.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_node_holds_no_command_up() {
    let lab = Lab::start().await;
    let leader = lab.cluster.leader().await.unwrap();
    let (frozen, alive) = ((leader + 1) % 3, (leader + 2) % 3);
    lab.cluster.freeze_node(frozen).unwrap();
    let alone = lab.tandem(&[frozen], &["cluster", "status", "--timeout", "2"]);
    let both = lab.tandem(&[frozen, alive], &["queue", "put", "sales"]);
    // Both have ended though it is frozen still.
    lab.cluster.thaw_node(frozen).unwrap();
    assert_eq!(alone.status.code(), Some(9), "{}", said(&alone));
    assert!(said(&alone).contains("does not answer"), "{}", said(&alone));
    assert_eq!(both.status.code(), Some(0), "{}", said(&both));
    all_up(&lab).await;
    lab.end();
}

// Goal: handing leadership to who leads already, or to a node that is dead, unseats nobody.
#[tokio::test(flavor = "multi_thread")]
async fn leadership_goes_to_nobody_who_cannot_take_it() {
    let mut lab = Lab::start().await;
    let leader = lab.cluster.leader().await.unwrap();
    let (dead, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let before = term(&lab.cluster, leader).await;
    let number = |index: usize| (index + 1).to_string();
    for at in [leader, other] {
        let output = lab.tandem(&[at], &["cluster", "transfer", &number(leader)]);
        assert!(output.status.success(), "{}", said(&output));
    }
    lab.cluster.kill_node(dead).unwrap();
    lab.cluster
        .until("the node counts as lost", async || {
            let status = lab.cluster.api(leader)?.status().await?;
            Ok(status.nodes.iter().any(|node| node.life == "lost"))
        })
        .await
        .unwrap();
    for at in [leader, other] {
        let output = lab.tandem(&[at], &["cluster", "transfer", &number(dead)]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains("is not up"), "{}", said(&output));
    }
    assert_eq!(term(&lab.cluster, leader).await, before);
    lab.cluster.start_node(dead).unwrap();
    lab.cluster.until_answers(dead).await.unwrap();
    all_up(&lab).await;
    let output = lab.tandem(&[leader], &["cluster", "transfer", &number(other)]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(lab.cluster.leader().await.unwrap(), other);
    lab.end();
}
