//! Disks and identities: a node comes back from its disk, and from no other.

use std::{fs, time::Duration};

use tandem_chaos::center::{self, QueueSetup};

use crate::support::{Lab, NUMBER, QUEUE, agents};

/// Exit code of a node whose identity does not fit.
const EXIT_IDENTITY: i32 = 6;

async fn wait_for_exit(lab: &Lab, index: usize) -> i32 {
    for _ in 0..1_500 {
        let node = lab.cluster.places()[index].node.as_ref().expect("was started");
        if let Some(code) = node.exit_code() {
            return code;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the node did not end:\n{}", lab.cluster.tail(index));
}

// Goal: a node that was killed and is started again on its disk has the same state as the others, by
// the digest after the same log entry.
#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_node_has_the_same_digest() {
    let mut lab = Lab::start().await;
    let queues = [QueueSetup::new(QUEUE, NUMBER, "english>=3")];
    center::configure(&lab.cluster, &queues, &agents(12)).await.unwrap();
    lab.cluster.kill_node(2).unwrap();
    center::configure(&lab.cluster, &[], &agents(24)).await.unwrap();
    lab.cluster.start_node(2).unwrap();
    lab.cluster.until_answers(2).await.unwrap();
    lab.cluster.until_up(&[0, 1, 2]).await.unwrap();
    let mut compared = 0;
    lab.cluster
        .until("the nodes were read after the same entry", async || {
            let mut readings = Vec::new();
            for index in 0..3 {
                let status = lab.cluster.api(index)?.status_local().await?;
                readings.push((status.as_of.unwrap_or_default().index, status.digest));
            }
            if readings.iter().any(|reading| reading.0 != readings[0].0) {
                return Ok(false);
            }
            assert_eq!(readings[0], readings[2]);
            assert_eq!(readings[1], readings[2]);
            compared += 1;
            Ok(true)
        })
        .await
        .unwrap();
    assert_eq!(compared, 1);
    lab.end();
}

// Goal: a node whose disk was emptied is refused under its old number and says why; the cluster
// goes on, the number can be removed for ever, and the machine comes back under a new one.
#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_disk_is_refused() {
    let mut lab = Lab::start().await;
    lab.cluster.kill_site(2).unwrap();
    let dir = lab.cluster.places()[2].dir.clone();
    fs::remove_dir_all(dir.join("data")).unwrap();
    lab.cluster.start_node(2).unwrap();
    assert_eq!(wait_for_exit(&lab, 2).await, EXIT_IDENTITY, "{}", lab.cluster.tail(2));
    let said = lab.cluster.tail(2);
    assert!(said.contains("must come back under a new number"), "{said}");
    lab.cluster
        .until("the node counts as lost", async || {
            let status = lab.cluster.api(0)?.status().await?;
            Ok(status.nodes.iter().filter(|node| node.life == "up").count() == 2)
        })
        .await
        .unwrap();
    lab.cluster.api(0).unwrap().remove_node(3).await.unwrap();
    let status = lab.cluster.api(0).unwrap().status().await.unwrap();
    let voters =
        status.nodes.iter().filter(|node| matches!(node.role.as_str(), "leader" | "voter"));
    assert_eq!(voters.count(), 2, "{status:#?}");
    // The refused node has ended by itself already; everything else ends in order.
    assert_eq!(lab.cluster.end(), ["mil-1"]);
}

// Goal: a data directory that is not Tandem's is left alone, with one clear error.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_directory_is_left_alone() {
    let mut lab = Lab::prepare();
    let data = lab.cluster.places()[0].dir.join("data");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("photos.tar"), "not ours").unwrap();
    lab.cluster.start_node(0).unwrap();
    assert_eq!(wait_for_exit(&lab, 0).await, 5, "{}", lab.cluster.tail(0));
    let said = lab.cluster.tail(0);
    assert!(said.contains("photos.tar") && said.contains("nothing was touched"), "{said}");
    let left: Vec<_> = fs::read_dir(&data).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["photos.tar"]);
}
