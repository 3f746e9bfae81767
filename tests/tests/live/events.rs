//! The feed of events at every node, while the leader is killed: the same everywhere, by index, and whole for
//! a consumer who goes on at another node.

use std::{
    fs::File,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tandem_chaos::{cluster::API_PORT, faults::FaultKind};
use tandem_phone::AnswerPolicy;

use crate::support::{Center, Lab, PATIENCE_MS, Shift, programs};

/// `tandem events` that follows the feed into a file until it is dropped.
struct Consumer {
    child: Child,
    file: PathBuf,
}

impl Consumer {
    fn start(lab: &Lab, nodes: &[usize]) -> Self {
        let dir = &lab.cluster.plan().dir;
        let (file, said) = (dir.join("events.jsonl"), dir.join("events.err"));
        let api = |index: &usize| format!("{}:{API_PORT}", lab.cluster.sip(*index).ip());
        let nodes: Vec<String> = nodes.iter().map(api).collect();
        let child = Command::new(programs().join("tandem"))
            .args(["events", "--from", "oldest", "--format", "json", "--node", &nodes.join(",")])
            .arg("--certs")
            .arg(dir.join("certs"))
            .stdin(Stdio::null())
            .stdout(File::create(&file).unwrap())
            .stderr(File::create(said).unwrap())
            .spawn()
            .unwrap();
        Self { child, file }
    }

    fn events(&self) -> Vec<Value> {
        read(&std::fs::read(&self.file).unwrap())
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // One that has ended needs no signal.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Whole lines; the last one may be on its way.
fn read(bytes: &[u8]) -> Vec<Value> {
    let whole = bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    whole.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// Everything that a node has.
fn all(lab: &Lab, node: usize) -> Vec<Value> {
    let output = lab.tandem(&[node], &["events", "--until-now", "--format", "json"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    read(&output.stdout)
}

fn of_kind(events: &[Value], kind: &str) -> usize {
    events.iter().filter(|event| event["kind"] == kind).count()
}

// Goal (T1): while calls come and go, the leader is killed and starts again. The feeds of all nodes are equal,
// event by event, numbered without a gap; a consumer that read from the dead node goes on at another one
// and has read every event once; the queue log tells each call from beginning to end.
#[tokio::test(flavor = "multi_thread")]
async fn feeds_are_equal_across_the_loss_of_the_leader() {
    let mut center = Center::start(4, AnswerPolicy::answer_after(100), Shift::Ready).await;
    let leader = center.lab.cluster.leader().await.unwrap();
    let others: Vec<usize> = (0..3).filter(|site| *site != leader).collect();
    let consumer = Consumer::start(&center.lab, &[leader, others[0], others[1]]);
    let mut calls = Vec::new();
    for site in [leader, others[0], others[1], leader, others[0]] {
        calls.push(center.caller(site).await);
    }
    center.until_talking(4).await;
    center.fault(FaultKind::KillNode, leader).await;
    calls.push(center.caller(others[0]).await);
    calls.push(center.caller(others[1]).await);
    center.restart(leader).await;
    for call in &calls {
        center.recorder.left(call);
        call.hang_up().await.ok();
    }
    for call in &calls {
        call.wait_ended(PATIENCE_MS).await.unwrap();
    }

    let mut feeds = Vec::new();
    for _ in 0..PATIENCE_MS / 500 {
        feeds = (0..3).map(|node| all(&center.lab, node)).collect();
        feeds.push(consumer.events());
        let over = of_kind(&feeds[0], "contact-left") + of_kind(&feeds[0], "contact-completed");
        if over == calls.len() && feeds.windows(2).all(|pair| pair[0] == pair[1]) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    for (number, event) in feeds[0].iter().enumerate() {
        assert_eq!(event["number"], number as u64, "numbered through");
    }
    for feed in &feeds[1..] {
        let differs = feeds[0].iter().zip(feed).find(|(a, b)| a != b);
        assert_eq!((differs, feed.len()), (None, feeds[0].len()));
    }
    let events = &feeds[0];
    assert_eq!(of_kind(events, "contact-entered"), calls.len());
    assert!(of_kind(events, "contact-connected") >= 4);
    let over = of_kind(events, "contact-left") + of_kind(events, "contact-completed");
    assert_eq!(over, calls.len());

    let words = ["events", "--until-now", "--format", "queue_log"];
    let logs: Vec<_> = (0..3).map(|node| center.lab.tandem(&[node], &words).stdout).collect();
    assert!(logs[0] == logs[1] && logs[1] == logs[2], "every node writes the same lines");
    let log = String::from_utf8(logs[0].clone()).unwrap();
    let lines = |word: &str| log.lines().filter(|line| line.contains(word)).count();
    let requeued = of_kind(events, "contact-requeued");
    assert_eq!(lines("|ENTERQUEUE||+44163296"), calls.len() + requeued);
    assert_eq!(lines("|COMPLETE") + lines("|ABANDON|"), calls.len() + requeued);
    assert_eq!(lines("|ADDMEMBER|"), 4);

    drop(consumer);
    center.end_clean().await;
}
