//! The configuration as files: planned, applied as a whole, refused when stale, gone back to, exported.

use std::fs;

use serde_json::Value;
use tandem_phone::AnswerPolicy;

use crate::{
    configuration::json,
    support::{Center, Lab, PATIENCE_MS, Shift},
};

/// What a command that is refused prints and says.
fn refused(lab: &Lab, words: &[&str]) -> (String, String) {
    let output = lab.tandem(&[0], words);
    assert_eq!(output.status.code(), Some(1), "{words:?}");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn export(lab: &Lab, node: usize) -> String {
    let reply = json(lab, &[node], &["config", "export"]);
    reply["document"].as_str().unwrap().to_owned()
}

fn version(reply: &Value) -> u64 {
    reply["version"].as_u64().unwrap()
}

// Goal: a caller waits and an agent is logged in. Broken files are refused with file, line and column; a plan
// says that the caller would be left with nobody, and changes nothing; it is applied at one node and read at
// another; what was planned before somebody else's change is refused; going back offers the caller to the
// agent, as the plan says; the export of all that is what the cluster has.
#[tokio::test(flavor = "multi_thread")]
async fn files_are_planned_applied_and_taken_back() {
    let mut center = Center::start(1, AnswerPolicy::answer_after(300), Shift::NotYet).await;
    let call = center.caller(1).await;
    let lab = &center.lab;
    json(lab, &[0], &["agent", "login", "agent00", "--not-ready", "training"]);
    let dir = lab.cluster.plan().dir.join("center");
    fs::create_dir(&dir).unwrap();
    let folder = dir.to_str().unwrap().to_owned();
    let write = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();

    write("a.toml", "[[queue]]\nname = \"sales\"\nrequirement = \"french and\"\n");
    write("b.toml", "[[agent]]\nname = \"zoe\"\nsite = \"mars\"\n");
    let (printed, said) = refused(lab, &["config", "plan", &folder]);
    assert!(printed.contains("a.toml:3:26: the requirement cannot be read here"), "{printed}");
    assert!(printed.contains("b.toml:3:8: there is no site mars"), "{printed}");
    assert!(said.contains("must be corrected"), "{said}");

    let before = export(lab, 2);
    write("a.toml", "[[queue]]\nname = \"sales\"\nrequirement = \"french\"\nring_ms = 20000\n");
    fs::remove_file(dir.join("b.toml")).unwrap();
    let plan = json(lab, &[2], &["config", "plan", &folder]);
    assert_eq!(
        (plan["impact"]["stranded"].as_u64(), plan["impact"]["offered"].as_u64()),
        (Some(1), Some(0))
    );
    let fields: Vec<&str> = plan["changes"][0]["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| field["key"].as_str().unwrap())
        .collect();
    // What a file leaves out of a queue has its default, and the plan says so.
    assert_eq!(fields, ["requirement", "ring_ms", "wrap_up_ms"]);
    assert_eq!(plan["new_skills"], serde_json::json!(["french"]));
    let base = plan["base_version"].as_u64().unwrap();
    assert_eq!(export(lab, 0), before, "a plan changes nothing");

    // Nobody is there to be asked.
    let (_, said) = refused(lab, &["config", "apply", &folder]);
    assert!(said.contains("add --yes"), "{said}");
    let base_text = base.to_string();
    let apply = ["config", "apply", &folder, "--base", &base_text, "--yes", "--comment", "a try"];
    let applied = version(&json(lab, &[1], &apply));
    assert_eq!(applied, base + 1);
    assert!(export(lab, 2).contains("requirement = \"french\""));

    // Somebody else changes something: what was planned before is refused, and nothing of it is done.
    json(lab, &[2], &["queue", "put", "other"]);
    write("a.toml", "[[queue]]\nname = \"other\"\nring_ms = 9000\n[[queue]]\nname = \"third\"\n");
    let applied_text = applied.to_string();
    let stale = ["config", "apply", &folder, "--base", &applied_text, "--yes"];
    let (_, said) = refused(lab, &stale);
    assert!(said.contains("plan again"), "{said}");
    assert!(!export(lab, 0).contains("third"));

    // Back to what was found: without the other queue, and the caller finds the agent at once.
    json(lab, &[0], &["agent", "ready", "agent00"]);
    let back = ["config", "rollback", &base_text];
    let (_, said) = refused(lab, &back);
    assert!(said.contains("- queue other") && said.contains("1 offered"), "{said}");
    let gone_back = version(&json(lab, &[1], &[&back[..], &["--yes"]].concat()));
    assert_eq!(gone_back, base + 3);
    assert_eq!(export(lab, 2), before);
    let agent = center.phones[0].wait_call(PATIENCE_MS).await.unwrap();
    call.wait_hears_more(agent.sender_tag(), 50, PATIENCE_MS).await.unwrap();

    // The history names all of it, and says what each version changed.
    let lab = &center.lab;
    let history = json(lab, &[0], &["config", "history"]);
    let made: Vec<(u64, &str, bool)> = history["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (version(row), row["made"].as_str().unwrap(), row["kept"].as_bool().unwrap()))
        .take(4)
        .collect();
    assert_eq!(
        made,
        [
            (base + 3, "rollback", true),
            (base + 2, "singly", true),
            (base + 1, "applied", true),
            (base, "singly", true),
        ]
    );
    let shown = json(lab, &[2], &["config", "history", &applied_text]);
    assert_eq!(shown["versions"][0]["comment"], "a try");
    assert_eq!(shown["versions"][0]["against"].as_u64(), Some(base));
    assert_eq!(shown["versions"][0]["changes"][0]["name"], "sales");

    // What is exported changes nothing where it comes from.
    fs::remove_file(dir.join("a.toml")).unwrap();
    write("all.toml", &before);
    let again = json(lab, &[1], &["config", "plan", &folder, "--prune"]);
    assert_eq!(
        (again["changes"].as_array().map(Vec::len), again["problems"].as_array().map(Vec::len)),
        (Some(0), Some(0))
    );
    // Nothing to do is done without a question, and makes no version.
    assert_eq!(version(&json(lab, &[1], &["config", "apply", &folder])), gone_back);
    center.end_clean().await;
}
