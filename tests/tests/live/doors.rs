//! What is refused gets one clear error, and loses nothing.

use std::{fs, net::TcpListener, process::Command};

use tandem_chaos::{
    center::{self, PASSWORD, QueueSetup},
    cluster::{API_PORT, LocalCluster},
};
use tandem_phone::{
    AnswerPolicy, CallPlan, EndCause, EventKind, PhoneConfig, Server, World, WorldOptions,
};

use crate::support::{Lab, NUMBER, PATIENCE_MS, QUEUE, agents, programs};

/// Runs `tandem node` with a site's settings until it ends by itself; exit code and what it said.
fn node_ends(cluster: &LocalCluster, site: usize) -> (i32, String) {
    let config = cluster.places()[site].dir.join("node.toml");
    let output = Command::new(programs().join("tandem"))
        .args(["node", "--config"])
        .arg(config)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap_or(-1), said)
}

/// Changes a site's settings file.
fn rewrite(cluster: &LocalCluster, site: usize, from: &str, to: &str) {
    let file = cluster.places()[site].dir.join("node.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(file, text.replacen(from, to, 1)).unwrap();
}

// Goal: settings that cannot work, a port that is taken and a certificate for something else each
// end the node at once with its own exit code and one sentence that names what to correct.
#[tokio::test]
async fn broken_settings_end_the_node_clearly() {
    type Break = fn(&LocalCluster);
    let cases: [(&str, Break, i32, &[&str]); 4] = [
        (
            "an unknown key",
            |cluster| rewrite(cluster, 0, "lease_ms", "leese_ms"),
            2,
            &["line", "leese_ms", "lease_ms"],
        ),
        (
            "a value out of range",
            |cluster| rewrite(cluster, 0, "id = 1", "id = 0"),
            2,
            &["[node] id"],
        ),
        (
            "another node's certificate",
            |cluster| rewrite(cluster, 0, "lon-1.pem", "fra-1.pem"),
            4,
            &["lon-1.node.tandem.internal", "fra-1"],
        ),
        (
            "a missing key file",
            |cluster| rewrite(cluster, 0, "cluster.key", "none.key"),
            4,
            &["none.key", "cluster certs"],
        ),
    ];
    for (what, break_it, code, parts) in cases {
        let lab = Lab::prepare();
        break_it(&lab.cluster);
        let (ended, said) = node_ends(&lab.cluster, 0);
        assert_eq!(ended, code, "{what}: {said}");
        for part in parts {
            assert!(said.contains(part), "{what}: {part} is not in {said}");
        }
        assert!(!said.contains("panicked"), "{what}: {said}");
    }
    let lab = Lab::prepare();
    let address = lab.cluster.sip(0).ip();
    let taken = TcpListener::bind((address, API_PORT)).unwrap();
    let (ended, said) = node_ends(&lab.cluster, 0);
    assert_eq!(ended, 3, "{said}");
    assert!(said.contains("[api] listen") && said.contains("7200"), "{said}");
    drop(taken);
}

// Goal: a wrong password, a number that leads nowhere and a full queue are each refused with the one
// status that says so; the right password, number and place are taken before and after.
#[tokio::test(flavor = "multi_thread")]
async fn callers_and_phones_are_refused_clearly() {
    let lab = Lab::start().await;
    let mut queue = QueueSetup::new(QUEUE, NUMBER, "english>=3");
    queue.queue.length_max = 1;
    center::configure(&lab.cluster, &[queue], &agents(1)).await.unwrap();
    let world = World::start(WorldOptions::default()).await.unwrap();

    let mut events = world.events();
    let node = lab.cluster.sip(0);
    let listen = |port| std::net::SocketAddr::new(node.ip(), port);
    let phone = |label: &str, port, password: &str| PhoneConfig {
        domain: Some("tandem".to_owned()),
        ..PhoneConfig::new(label, "agent00", listen(port))
            .registering(password, vec![Server::udp(node)])
            .with_policy(AnswerPolicy::answer_after(100))
    };
    let wrong = world.phone(phone("wrong", 6_001, "guess")).await.unwrap();
    let refused = events
        .wait_for(PATIENCE_MS, "the refusal", |event| {
            matches!(event.kind, EventKind::RegisterFailed { .. })
        })
        .await
        .unwrap();
    let EventKind::RegisterFailed { reason, .. } = &refused.kind else { unreachable!() };
    assert!(reason.contains("credentials") || reason.contains("403"), "{reason}");
    wrong.remove().await.unwrap();
    let right = world.phone(phone("right", 6_002, PASSWORD)).await.unwrap();
    right.wait_registered(PATIENCE_MS).await.unwrap();

    let trunk = center::trunk(&lab.cluster, &world, 0).await.unwrap();
    let plan = |number: &str, from: &str| CallPlan {
        nodes: Some(vec![Server::udp(node)]),
        ..CallPlan::to(number).from(from)
    };
    let waits = trunk.call(plan(NUMBER, "+441632960001")).await.unwrap();
    waits.wait_established(PATIENCE_MS).await.unwrap();
    for (what, number, code) in [("unknown number", "8999", 404), ("full queue", NUMBER, 486)] {
        let call = trunk.call(plan(number, "+441632960002")).await.unwrap();
        let ended = call.wait_ended(PATIENCE_MS).await.unwrap().end;
        let refused =
            matches!(ended, Some(EndCause::RejectedThere { code: said, .. }) if said == code);
        assert!(refused, "{what}: {ended:?}");
    }
    center::log_in(&lab.cluster, &agents(1)).await.unwrap();
    let agent = right.wait_call(PATIENCE_MS).await.unwrap();
    waits.wait_hears(agent.sender_tag(), PATIENCE_MS).await.unwrap();
    waits.hang_up().await.unwrap();
    waits.wait_ended(PATIENCE_MS).await.unwrap();
    world.stop(5_000).await.unwrap();
    lab.end();
}

// Goal: an operator with another authority's certificate, and a node's or relay's certificate in the
// operator's place, are turned away with the exit code for security; the cluster does not notice.
#[tokio::test(flavor = "multi_thread")]
async fn only_an_operator_opens_the_api() {
    let lab = Lab::start().await;
    let foreign = tempfile::tempdir().unwrap();
    let tandem = programs().join("tandem");
    let certs = Command::new(&tandem)
        .args(["cluster", "certs", "--node", "lon-1", "--dir"])
        .arg(foreign.path().join("certs"))
        .output()
        .unwrap();
    assert!(certs.status.success(), "{certs:?}");
    let api = format!("{}:{API_PORT}", lab.cluster.sip(0).ip());
    let strange = Command::new(&tandem)
        .args(["cluster", "status", "--timeout", "3", "--node", &api, "--certs"])
        .arg(foreign.path().join("certs"))
        .output()
        .unwrap();
    let status = &["cluster", "status", "--timeout", "3"];
    for (who, output) in [
        ("another cluster's operator", strange),
        ("a node", lab.tandem_with("lon-1", &[0], status)),
        ("a relay", lab.tandem_with("lon-1.relay", &[0], status)),
    ] {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{who}: {said}");
        assert!(said.contains("certificate"), "{who}: {said}");
    }
    let own = lab.tandem(&[0], status);
    assert!(own.status.success(), "{own:?}");
    lab.end();
}

// Goal: the likeliest mistakes with addresses name what is wrong: the other port, no port, a port where
// something else listens, the asked node as newcomer.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_addresses_are_named() {
    let lab = Lab::start().await;
    let host = lab.cluster.sip(0).ip();
    let cluster = lab.tandem(&[0], &["cluster", "status", "--output", "json"]);
    let status: serde_json::Value = serde_json::from_slice(&cluster.stdout).unwrap();
    let raft = status["nodes"][0]["cluster_address"].as_str().unwrap().to_owned();
    let api = format!("{host}:{API_PORT}");
    let certs = lab.cluster.plan().dir.join("certs");
    let sip = lab.cluster.sip(0).to_string();
    let run = |words: &[&str], node: &str| {
        let output = Command::new(programs().join("tandem"))
            .args(words)
            .args(["--timeout", "3", "--node", node, "--certs"])
            .arg(&certs)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let status = ["cluster", "status"];
    for (words, node, code, what) in [
        (&status[..], raft.as_str(), 1, "[api] address"),
        (&status[..], &sip, 9, "no [api] address"),
        (&status[..], "127.0.0.1", 2, "port is missing"),
        (&["cluster", "join", &api], &api, 1, "no cluster address"),
        (&["cluster", "join", &raft], &api, 1, "which is asked"),
        (&["cluster", "join", "127.0.0.1"], &api, 2, "port is missing"),
        (&["cluster", "remove", "9"], &api, 1, "cluster's books"),
        (&["contact", "list", "--queue", "nope"], &api, 1, "no queue nope"),
    ] {
        let (ended, said) = run(words, node);
        assert_eq!(ended, Some(code), "{words:?} at {node}: {said}");
        assert!(said.contains(what), "{words:?} at {node}: {said}");
    }
    lab.end();
}
