//! An administrator moves load between sites while five hundred callers wait, and asks why.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{
    configuration::json,
    support::{Lab, PATIENCE_MS},
};

/// Callers of each site; SIPp opens so many calls a second.
const CALLERS: usize = 168;
const RATE: usize = 12;

/// SIPp's callers of one site; they wait until they are killed.
struct Callers(Child);

impl Callers {
    fn call(lab: &Lab, site: usize) -> Self {
        let [a, b, _, _] = lab.cluster.plan().sites[site].address.octets();
        let address = format!("{a}.{b}.9.{}", site + 1);
        let (count, rate) = (CALLERS.to_string(), RATE.to_string());
        let child = Command::new("sipp")
            .arg(lab.cluster.sip(site).to_string())
            .args(["-sn", "uac", "-s", "8500", "-d", "600000", "-i", &address, "-mi", &address])
            .args(["-m", &count, "-l", &count, "-r", &rate, "-nostdin"])
            .current_dir(&lab.cluster.plan().dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sipp is installed: cargo xtask setup");
        Self(child)
    }
}

impl Drop for Callers {
    fn drop(&mut self) {
        // One that has ended needs no signal.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Asks until the answer is there, or patience is over.
async fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    for _ in 0..PATIENCE_MS * 3 / 500 {
        if let Some(found) = ask() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("{what} did not happen");
}

/// Contacts of the queue in their order: id, and the site that they prefer.
fn waiting(lab: &Lab) -> Vec<(String, String)> {
    let words = ["contact", "list", "--queue", "spread", "--limit", "1000"];
    let reply = json(lab, &[0], &words);
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let contacts = reply["contacts"].as_array().cloned().unwrap_or_default();
    contacts.iter().map(|row| (text(row, "id"), text(row, "serving_site"))).collect()
}

fn by_site(contacts: &[(String, String)]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for (_, site) in contacts {
        *counts.entry(site.clone()).or_default() += 1;
    }
    counts
}

fn number(value: &Value) -> u64 {
    // 64-bit numbers are strings in the JSON of protocol buffers.
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0)
}

async fn until_plan(lab: &Lab, plan: u64, state: &str) {
    until(&format!("plan {plan} is {state}"), || {
        let reply = json(lab, &[1], &["rebalance", "status"]);
        let plans = reply["plans"].as_array().cloned().unwrap_or_default();
        let found = plans.iter().find(|row| number(&row["id"]) == plan)?;
        (found["state"] == state).then_some(())
    })
    .await;
}

// Goal: with five hundred callers waiting, a plan does what its preview said; everybody keeps the place,
// nobody is left where nobody works, and undoing it brings back what was. Each agent of the queue has a
// reason why they do not have a caller who waits.
#[tokio::test]
async fn a_plan_does_what_its_preview_says() {
    let lab = Lab::start().await;
    let sites: Vec<String> =
        lab.cluster.plan().sites.iter().map(|site| site.name.clone()).collect();
    let queue = ["--site-choice", "weighted", "--widen-after", "3600", "--length-max", "1000"];
    json(&lab, &[0], &[&["queue", "put", "spread"][..], &queue].concat());
    json(&lab, &[0], &["queue", "put", "other"]);
    json(&lab, &[0], &["queue", "number", "8500", "--queue", "spread"]);
    for (site, name) in sites.iter().enumerate() {
        for index in 0..2 {
            let agent = format!("agent{site}{index}");
            json(&lab, &[0], &["agent", "put", &agent, "--site", name, "--queue", "spread"]);
            json(&lab, &[0], &["agent", "login", &agent, "--not-ready", "training"]);
        }
    }
    let helper = ["agent", "put", "helper", "--site", &sites[1], "--queue", "other"];
    json(&lab, &[0], &helper);
    json(&lab, &[0], &["agent", "login", "helper"]);

    let callers: Vec<Callers> = (0..sites.len()).map(|site| Callers::call(&lab, site)).collect();
    let all = CALLERS * sites.len();
    until("all callers wait", || (waiting(&lab).len() == all).then_some(())).await;
    let before = waiting(&lab);
    assert_eq!(by_site(&before).values().copied().collect::<BTreeSet<_>>(), [168].into());

    let weights: Vec<String> =
        sites.iter().zip([20, 100, 40]).map(|(site, weight)| format!("{site}={weight}")).collect();
    let change = [
        "--weight",
        &weights[0],
        "--weight",
        &weights[1],
        "--weight",
        &weights[2],
        "--agent",
        "helper=+spread",
    ];
    let preview = json(&lab, &[2], &[&["rebalance", "preview"][..], &change].concat());
    assert_eq!(waiting(&lab), before, "a preview changes nothing");
    assert_eq!((number(&preview["stranded"]), number(&preview["agents"])), (0, 1));
    let promised: BTreeMap<String, u64> = preview["places"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["queue"] == "spread")
        .map(|row| (row["site"].as_str().unwrap().to_owned(), number(&row["waiting_after"])))
        .collect();
    // 504 by 20 : 100 : 40.
    assert_eq!(promised.values().copied().collect::<Vec<_>>().iter().sum::<u64>(), all as u64);
    assert_eq!((promised[&sites[0]], promised[&sites[1]]), (63, 315));

    let steps = ["--steps", "3", "--every", "1"];
    let words = [&["rebalance", "apply"][..], &change, &steps].concat();
    let plan = number(&json(&lab, &[0], &words)["plan"]);
    until_plan(&lab, plan, "applied").await;
    let after = until("everybody has moved", || {
        let after = waiting(&lab);
        (by_site(&after) == promised).then_some(after)
    })
    .await;
    let ids = |contacts: &[(String, String)]| {
        contacts.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&after), ids(&before), "everybody keeps the place");
    let moved = before.iter().zip(&after).filter(|((_, a), (_, b))| a != b).count();
    assert_eq!(moved as u64, number(&preview["moved"]));

    let explained = json(&lab, &[2], &["explain", &after[3].0]);
    assert_eq!(number(&explained["ahead"]), 3);
    let reasons: BTreeMap<String, String> = explained["agents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let text = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
            (text("name"), text("why"))
        })
        .collect();
    assert_eq!(reasons.len(), 7, "all who serve the queue: {reasons:?}");
    assert_eq!(reasons["helper"], "no-phone");
    assert!(
        reasons.iter().all(|(name, why)| name == "helper" || why == "not-ready"),
        "{reasons:?}"
    );
    let stats = json(&lab, &[1], &["stats", "--queue", "spread", "--last", "2"]);
    let intervals = stats["queues"].as_array().unwrap();
    assert_eq!(intervals.iter().map(|row| number(&row["offered"])).sum::<u64>(), all as u64);

    json(&lab, &[1], &["rebalance", "undo", &plan.to_string()]);
    until_plan(&lab, plan, "undone").await;
    let back = until("everybody is back", || {
        let back = waiting(&lab);
        (by_site(&back) == by_site(&before)).then_some(back)
    })
    .await;
    assert_eq!(ids(&back), ids(&before), "everybody keeps the place");
    let helper = json(&lab, &[2], &["agent", "list", "helper"])["agents"][0]["queues"].clone();
    assert_eq!(helper, serde_json::json!(["other"]));
    drop(callers);
    lab.end();
}
