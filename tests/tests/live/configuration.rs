//! What administrators configure on the command line arrives at every node, and nonsense is refused.

use serde_json::Value;

use crate::support::Lab;

/// What a command answers as JSON; the test fails when the command does.
pub(crate) fn json(lab: &Lab, nodes: &[usize], words: &[&str]) -> Value {
    let output = lab.tandem(nodes, &[words, &["--output", "json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What a command that is refused says.
fn refused(lab: &Lab, words: &[&str]) -> String {
    let output = lab.tandem(&[0], words);
    assert!(!output.status.success(), "{words:?} was taken");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

// Goal: a queue's strategy and an agent's tiers are set at one node and read at another; a queue that is
// put again without them has the defaults; what does not exist is refused in words, and changes nothing.
#[tokio::test]
async fn strategies_and_tiers() {
    let lab = Lab::start().await;
    let queue = |lab: &Lab| {
        let reply = json(lab, &[2], &["queue", "list"]);
        let queues = reply["queues"].as_array().unwrap().clone();
        let vip = queues.into_iter().find(|row| row["queue"]["name"] == "vip").unwrap();
        vip["queue"].clone()
    };
    let amy = |lab: &Lab| json(lab, &[2], &["agent", "list", "amy"])["agents"][0].clone();
    json(&lab, &[0], &["queue", "put", "vip", "--strategy", "linear"]);
    let put = ["agent", "put", "amy", "--site", "lon", "--queue", "vip"];
    json(&lab, &[1], &[&put[..], &["--tier", "vip=2:7"]].concat());
    assert_eq!(queue(&lab)["strategy"], "linear");
    assert_eq!(
        (&amy(&lab)["tiers"]["vip"]["level"], &amy(&lab)["tiers"]["vip"]["position"]),
        (&2.into(), &7.into())
    );

    for (words, part) in [
        (&["queue", "put", "vip", "--strategy", "fastest"][..], "longest-idle"),
        (&[&put[..], &["--tier", "vip=0"]].concat()[..], "must be 1 to 100"),
        (&[&put[..], &["--tier", "sales=1"]].concat()[..], "must serve queue sales"),
        (&[&put[..], &["--tier", "vip"]].concat()[..], "queue=level"),
    ] {
        let said = refused(&lab, words);
        assert!(said.contains(part), "{words:?}: {said}");
    }
    assert_eq!(
        (queue(&lab)["strategy"].clone(), amy(&lab)["tiers"]["vip"]["level"].clone()),
        ("linear".into(), 2.into())
    );

    json(&lab, &[0], &["queue", "put", "vip"]);
    json(&lab, &[0], &put);
    assert_eq!(queue(&lab)["strategy"], "longest-idle");
    assert_eq!(amy(&lab)["tiers"], Value::Object(serde_json::Map::new()));
    lab.end();
}
