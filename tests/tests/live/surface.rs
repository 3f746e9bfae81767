//! Opening hours, lists of callers, ringing all, taking a queue out and tenants: said on the command line,
//! heard at phones and by callers.

use std::{collections::BTreeSet, fs, net::SocketAddr, time::Duration};

use serde_json::Value;
use tandem_chaos::center::{self, AgentSetup, PASSWORD, QueueSetup};
use tandem_phone::{
    AnswerPolicy, Call, CallPlan, Caller, EndCause, Phone, PhoneConfig, Server, World, WorldOptions,
};

use crate::{
    configuration::json,
    support::{Lab, PATIENCE_MS},
};

/// Rings until somebody says what to do.
const RINGS: AnswerPolicy =
    AnswerPolicy::Ring { ring_after_ms: 0, give_up_after_ms: PATIENCE_MS * 2 };

/// A cluster with one carrier at its first node.
struct Desk {
    lab: Lab,
    world: World,
    trunk: Caller,
}

impl Desk {
    async fn open() -> Self {
        let lab = Lab::start().await;
        let world = World::start(WorldOptions::default()).await.unwrap();
        let trunk = center::trunk(&lab.cluster, &world, 0).await.unwrap();
        Self { lab, world, trunk }
    }

    fn json(&self, words: &[&str]) -> Value {
        json(&self.lab, &[0], words)
    }

    /// What a command that is refused says, beside its code.
    fn refused(&self, words: &[&str]) -> (Option<i32>, String) {
        let output = self.lab.tandem(&[0], words);
        assert!(!output.status.success(), "{words:?} was taken");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    async fn call(&self, number: &str, from: &str) -> Call {
        let plan = CallPlan {
            nodes: Some(vec![Server::udp(self.lab.cluster.sip(0))]),
            ..CallPlan::to(number).from(from)
        };
        self.trunk.call(plan).await.unwrap()
    }

    /// A caller who is taken in.
    async fn welcome(&self, number: &str, from: &str) -> Call {
        let call = self.call(number, from).await;
        call.wait_established(PATIENCE_MS).await.unwrap();
        call
    }

    /// The status with which a caller is turned away.
    async fn turned_away(&self, number: &str, from: &str) -> u16 {
        let call = self.call(number, from).await;
        match call.wait_ended(PATIENCE_MS).await.unwrap().end {
            Some(EndCause::RejectedThere { code, .. }) => code,
            other => panic!("{from} at {number}: {other:?}"),
        }
    }

    async fn leave(&self, call: &Call) {
        call.hang_up().await.unwrap();
        call.wait_ended(PATIENCE_MS).await.unwrap();
    }

    /// Live contacts of a queue in their order.
    fn waiting(&self, queue: &str) -> Vec<String> {
        let reply = self.json(&["contact", "list", "--queue", queue]);
        let contacts = reply["contacts"].as_array().unwrap().iter();
        contacts.map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    }

    async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        for _ in 0..PATIENCE_MS / 200 {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("{what} did not happen");
    }

    /// What `queue list` says of a queue: its state, and where its contacts go.
    fn state(&self, queue: &str) -> Option<String> {
        let reply = self.json(&["queue", "list"]);
        let mut rows = reply["queues"].as_array().unwrap().iter();
        let row = rows.find(|row| row["queue"]["name"] == queue)?;
        Some(row["state"].as_str().unwrap().to_owned())
    }

    async fn close(self) {
        self.world.stop(5_000).await.unwrap();
        self.lab.end();
    }
}

// Goal: a queue whose calendar is closed refuses callers with 480, or sends them where it is said; it opens with
// the calendar, at once; whoever waits when it closes leaves if that is the rule. A calendar in use stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_calendar_closes_a_queue() {
    let desk = Desk::open().await;
    let never = ["calendar", "put", "office", "--zone", "Europe/Berlin", "--hours"];
    let shut = [&never[..], &["mon 09:00-17:00", "--except", "2000-01-03 10:00-11:00"]].concat();
    // Only a day that is long gone is open.
    let file = desk.lab.cluster.plan().dir.join("office.txt");
    fs::write(&file, "zone Europe/Berlin\n2000-01-03 09:00-17:00   # once\n").unwrap();
    let closed = ["calendar", "put", "office", "--file", file.to_str().unwrap()];
    let opened =
        ["calendar", "put", "office", "--zone", "Europe/Berlin", "--hours", "mon-sun 00:00-24:00"];
    desk.json(&shut);
    desk.json(&closed);
    desk.json(&["queue", "put", "night"]);
    desk.json(&["queue", "put", "day", "--hours", "office", "--leave-at-close"]);
    desk.json(&["queue", "number", "8100", "--queue", "day"]);
    desk.until("the hours count", || desk.state("day").as_deref() == Some("closed")).await;
    let office = desk.json(&["calendar", "show", "office"]);
    assert_eq!((&office["open"], &office["queues"]), (&false.into(), &vec!["day"].into()));
    assert!(office["source"].as_str().unwrap().contains("# once"));
    assert_eq!(desk.turned_away("8100", "+441632960001").await, 480);

    desk.json(&opened);
    assert_eq!(desk.state("day").as_deref(), Some("open"));
    let caller = desk.welcome("8100", "+441632960002").await;
    assert_eq!(desk.waiting("day").len(), 1);
    desk.json(&closed);
    let ended = caller.wait_ended(PATIENCE_MS).await.unwrap().end;
    assert!(matches!(ended, Some(EndCause::HungUpThere { .. })), "{ended:?}");

    let overflow = ["--hours", "office", "--overflow", "closed=night"];
    desk.json(&[&["queue", "put", "day"][..], &overflow].concat());
    let caller = desk.welcome("8100", "+441632960003").await;
    assert_eq!((desk.waiting("day").len(), desk.waiting("night").len()), (0, 1));
    desk.leave(&caller).await;

    for (words, part) in [
        (&["calendar", "remove", "office"][..], "queue day goes by it"),
        (&["queue", "put", "day", "--hours", "nothing"], "no calendar nothing"),
        (&["calendar", "show", "nothing"], "no calendar nothing"),
        (
            &["calendar", "put", "x", "--zone", "Mars/Olympus", "--hours", "mon 09:00-10:00"],
            "Mars/Olympus",
        ),
        (&["calendar", "put", "x", "--zone", "UTC", "--hours", "mon 9-10"], "09:00-17:30"),
    ] {
        let (code, said) = desk.refused(words);
        assert!(code == Some(1) && said.contains(part), "{words:?}: {said}");
    }
    desk.json(&["queue", "put", "day"]);
    desk.json(&["calendar", "remove", "office"]);
    assert_eq!(desk.json(&["calendar", "list"])["calendars"], Value::Array(Vec::new()));
    desk.close().await;
}

// Goal: who is in a list is refused with 603, alone or among all whose numbers begin so; who is not in the only
// list is refused too; others are taken in, and go first where a list says so. Only `show` tells numbers.
#[tokio::test(flavor = "multi_thread")]
async fn lists_of_callers() {
    let desk = Desk::open().await;
    let (known, other) = ("+441632960001", "+441632960002");
    desk.json(&["queue", "put", "sales"]);
    desk.json(&["callers", "add", "annoying", known, "+4499*"]);
    desk.json(&["callers", "add", "gold", other]);
    let lists = ["--refuse", "annoying", "--list-priority", "gold=5"];
    desk.json(&[&["queue", "number", "8200", "--queue", "sales"][..], &lists].concat());
    desk.json(&["queue", "number", "8201", "--queue", "sales", "--only", "gold"]);

    assert_eq!(desk.turned_away("8200", known).await, 603);
    assert_eq!(desk.turned_away("8200", "+449912345678").await, 603);
    assert_eq!(desk.turned_away("8201", known).await, 603);
    let calls = [desk.welcome("8200", "+441632960003").await, desk.welcome("8200", other).await];
    let contacts = desk.json(&["contact", "list"])["contacts"].as_array().unwrap().clone();
    let priorities: Vec<&Value> = contacts.iter().map(|row| &row["priority"]).collect();
    assert_eq!(priorities, [&Value::from(5), &Value::from(0)], "who came later goes first");
    for call in &calls {
        desk.leave(call).await;
    }

    let shown = desk.json(&["callers", "show", "annoying"]);
    assert_eq!(shown["callers"], serde_json::json!([known, "+4499*"]));
    let listed = desk.json(&["callers", "list"]).to_string();
    assert!(listed.contains("annoying") && !listed.contains(known), "{listed}");
    let (_, said) = desk.refused(&["callers", "add", "annoying", "+44 no number 12345678"]);
    assert!(said.contains("entry 1") && !said.contains("12345678"), "{said}");
    let (_, said) =
        desk.refused(&["queue", "number", "8202", "--queue", "sales", "--refuse", "nobody"]);
    assert!(said.contains("nobody in list nobody"), "{said}");

    desk.json(&["callers", "remove", "annoying", known]);
    let call = desk.welcome("8200", known).await;
    desk.leave(&call).await;
    desk.world.stop(5_000).await.unwrap();
    // No process has written a number down.
    let mut read = 0;
    for place in desk.lab.cluster.places() {
        let files = fs::read_dir(&place.dir).unwrap().map(|entry| entry.unwrap().path());
        for file in files.filter(|file| file.extension().is_some_and(|ending| ending == "log")) {
            let text = fs::read_to_string(&file).unwrap();
            assert!(!text.contains("1632960001"), "{} has a caller's number", file.display());
            read += text.lines().count();
        }
    }
    assert!(read > 10, "{read} lines were read");
    desk.lab.end();
}

/// Registers a phone that rings until it is told to answer.
async fn phone(desk: &Desk, user: &str, site: usize, port: u16) -> Phone {
    let node = desk.lab.cluster.sip(site);
    let listen = SocketAddr::new(node.ip(), port);
    let config = PhoneConfig {
        domain: Some("tandem".to_owned()),
        ..PhoneConfig::new(user, user, listen)
            .registering(PASSWORD, vec![Server::udp(node)])
            .with_policy(RINGS)
    };
    let phone = desk.world.phone(config).await.unwrap();
    phone.wait_registered(PATIENCE_MS).await.unwrap();
    phone
}

// Goal: a queue that rings all lets the phones of two sites ring at once; the caller talks with the one who
// answers, the other phone is cancelled, and its agent stays ready.
#[tokio::test(flavor = "multi_thread")]
async fn all_ring_and_one_has_the_caller() {
    let desk = Desk::open().await;
    let agent = |name: &str, site| AgentSetup {
        name: name.to_owned(),
        site,
        skills: Vec::new(),
        queues: vec!["alarm".to_owned()],
    };
    let agents = [agent("amy", 0), agent("bob", 1)];
    let queue = QueueSetup::new("alarm", "8300", "");
    center::configure(&desk.lab.cluster, &[queue], &agents).await.unwrap();
    desk.json(&["queue", "put", "alarm", "--strategy", "ring-all", "--ring", "60"]);
    let phones = [phone(&desk, "amy", 0, 6_001).await, phone(&desk, "bob", 1, 6_001).await];
    center::log_in(&desk.lab.cluster, &agents).await.unwrap();

    let caller = desk.welcome("8300", "+441632960001").await;
    let (amy, bob) =
        tokio::join!(phones[0].wait_call(PATIENCE_MS), phones[1].wait_call(PATIENCE_MS));
    let (amy, bob) = (amy.unwrap(), bob.unwrap());
    bob.answer().await.unwrap();
    bob.wait_hears_more(caller.sender_tag(), 10, PATIENCE_MS).await.unwrap();
    let lost = amy.wait_ended(PATIENCE_MS).await.unwrap();
    assert!(lost.answered_us.is_none(), "amy's phone only rang");
    assert!(matches!(lost.end, Some(EndCause::CancelledThere { .. })), "{:?}", lost.end);
    let work = || desk.json(&["agent", "list", "amy"])["agents"][0]["work"].clone();
    desk.until("amy is ready", || work() == "ready").await;
    desk.leave(&caller).await;
    bob.wait_ended(PATIENCE_MS).await.unwrap();

    let figures = |agent: &str| desk.json(&["stats", "--agent", agent])["agents"][0].clone();
    assert_eq!(figures("amy")["missed"].to_string().trim_matches('"'), "0");
    assert_eq!(figures("bob")["answered"].to_string().trim_matches('"'), "1");
    assert_eq!(desk.json(&["stats", "--agents"])["agents"].as_array().unwrap().len(), 2);
    desk.close().await;
}

// Goal: a queue with callers in it is taken out: without a person to ask nothing happens, with --yes they wait
// in the other queue in their order, its number leads there, and the queue is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_taken_out() {
    let desk = Desk::open().await;
    for queue in ["old", "new"] {
        desk.json(&["queue", "put", queue]);
    }
    desk.json(&["queue", "number", "8400", "--queue", "old"]);
    let mut calls = Vec::new();
    for caller in 0..3 {
        calls.push(desk.welcome("8400", &format!("+44163296000{caller}")).await);
    }
    let before = desk.waiting("old");
    assert_eq!(before.len(), 3);

    let retire = ["queue", "retire", "old", "--to", "new"];
    let (code, said) = desk.refused(&retire);
    assert_eq!(code, Some(1));
    for part in ["3 contacts that wait go to new", "lead to new: 8400", "--yes"] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(desk.waiting("old"), before, "nothing has happened");
    let (_, said) = desk.refused(&["queue", "retire", "old", "--to", "old", "--yes"]);
    assert!(said.contains("its own destination"), "{said}");

    desk.json(&[&retire[..], &["--yes"]].concat());
    desk.until("the queue is gone", || desk.state("old").is_none()).await;
    assert_eq!(desk.waiting("new"), before, "everybody keeps the place");
    calls.push(desk.welcome("8400", "+441632960009").await);
    assert_eq!(desk.waiting("new").len(), 4);
    for call in &calls {
        assert_eq!(call.report().await.unwrap().ended_us, None, "nobody was hung up");
        desk.leave(call).await;
    }
    desk.close().await;
}

/// The commands that show or change one thing, or list all: what they ask for stands at `{}`.
const ONE: &[&[&str]] = &[
    &["agent", "list", "{agent}"],
    &["agent", "ready", "{agent}"],
    &["agent", "logout", "{agent}"],
    &["agent", "remove", "{agent}"],
    &["agent", "release", "{agent}"],
    &["stats", "--agent", "{agent}"],
    &["stats", "--queue", "{queue}"],
    &["contact", "list", "--queue", "{queue}"],
    &["queue", "remove", "{queue}"],
    &["queue", "retire", "{queue}", "--yes"],
    &["queue", "number", "8999", "--queue", "{queue}"],
    &["queue", "remove-number", "{number}"],
    &["calendar", "show", "{calendar}"],
    &["calendar", "remove", "{calendar}"],
    &["callers", "show", "{list}"],
    &["contact", "show", "{contact}"],
    &["explain", "{contact}"],
    &["contact", "end", "{contact}"],
    &["contact", "priority", "{contact}", "3"],
    &["contact", "place", "{contact}", "--front"],
];
const ALL: &[&[&str]] = &[
    &["agent", "list"],
    &["queue", "list"],
    &["queue", "numbers"],
    &["contact", "list"],
    &["calendar", "list"],
    &["callers", "list"],
    &["rebalance", "status"],
    &["rebalance", "preview", "--weight", "lon=50"],
    &["stats"],
    &["stats", "--agents"],
];

// Goal: of two tenants, each is served by its own agent at its own number, and no command shows or changes
// anything of the other: one thing of theirs is answered as one that never was, in lists there is no trace.
#[tokio::test(flavor = "multi_thread")]
async fn tenants_see_nothing_of_each_other() {
    let desk = Desk::open().await;
    let file = desk.lab.cluster.plan().dir.join("password");
    fs::write(&file, PASSWORD).unwrap();
    let mut waiting = Vec::new();
    let mut phones = Vec::new();
    for (index, tenant) in ["acme", "bolt"].into_iter().enumerate() {
        desk.json(&["tenant", "put", tenant, "--queues", "1", "--contacts", "2"]);
        let of = |words: &[&str]| desk.json(&[words, &["--tenant", tenant]].concat());
        let thing = |what: &str| format!("{tenant}-{what}");
        let (sales, agent, office) = (thing("sales"), thing("amy"), thing("office"));
        of(&["calendar", "put", &office, "--zone", "UTC", "--hours", "mon-sun 00:00-24:00"]);
        of(&["queue", "put", &sales, "--requirement", &thing("expert"), "--hours", &office]);
        let skill = format!("{}=3", thing("expert"));
        let put = ["agent", "put", &agent, "--site", "lon", "--queue", &sales, "--skill", &skill];
        of(&[&put[..], &["--password-file", file.to_str().unwrap()]].concat());
        of(&["callers", "add", &thing("list"), &format!("+4416329600{index}9")]);
        of(&["queue", "number", &thing("8000"), "--queue", &sales, "--refuse", &thing("list")]);
        let (_, said) = desk.refused(&["queue", "put", "more", "--tenant", tenant]);
        assert!(said.contains("quota of queues is 1"), "{said}");
        let port = 6_001 + u16::try_from(index).unwrap();
        let phone = phone(&desk, &format!("{tenant}+{agent}"), 0, port).await;
        of(&["agent", "login", &agent]);
        // One talks with the tenant's own agent, one waits, a third is beyond the quota.
        let talks = desk.welcome(&thing("8000"), "+441632960001").await;
        phones.push(phone.wait_call(PATIENCE_MS).await.unwrap());
        phones[index].answer().await.unwrap();
        phones[index].wait_hears_more(talks.sender_tag(), 10, PATIENCE_MS).await.unwrap();
        let waits = desk.welcome(&thing("8000"), "+441632960002").await;
        assert_eq!(desk.turned_away(&thing("8000"), "+441632960003").await, 486);
        waiting.push((talks, waits));
    }
    let contact_of = |tenant: &str| {
        let reply = desk.json(&["contact", "list", "--tenant", tenant]);
        let rows = reply["contacts"].as_array().unwrap().clone();
        assert_eq!(rows.len(), 2);
        let waits = rows.iter().find(|row| row["state"] == "queued").unwrap();
        waits["id"].as_str().unwrap().to_owned()
    };
    let (acme, bolt) = (contact_of("acme"), contact_of("bolt"));
    assert_ne!(acme, bolt);
    for (tenant, other, contact) in
        [("acme", "bolt", &bolt), ("bolt", "acme", &acme), ("default", "acme", &acme)]
    {
        for words in ALL {
            let words = [words, &["--tenant", tenant][..]].concat();
            let shown = desk.json(&words).to_string();
            let contact = format!("\"{contact}\"");
            assert!(!shown.contains(other) && !shown.contains(&contact), "{words:?}: {shown}");
        }
        for words in ONE {
            let ask = |prefix: &str, contact: &str| {
                let fill = |word: &&str| match *word {
                    "{contact}" => contact.to_owned(),
                    word if word.starts_with('{') => {
                        let thing = match word {
                            "{agent}" => "amy",
                            "{queue}" => "sales",
                            "{number}" => "8000",
                            "{calendar}" => "office",
                            _ => "list",
                        };
                        format!("{prefix}-{thing}")
                    }
                    word => word.to_owned(),
                };
                let words: Vec<String> = words.iter().map(fill).collect();
                let words: Vec<&str> =
                    words.iter().map(String::as_str).chain(["--tenant", tenant]).collect();
                let (code, said) = desk.refused(&words);
                assert_eq!(code, Some(1), "{words:?}: {said}");
                said.replace(prefix, "X").replace(contact, "C")
            };
            assert_eq!(ask(other, contact), ask("elsewhere", "contact_0_999999"), "{words:?}");
        }
    }
    assert_eq!((contact_of("acme"), contact_of("bolt")), (acme, bolt), "nothing was changed");
    let (_, said) = desk.refused(&["queue", "list", "--tenant", "nobody"]);
    assert!(said.contains("no tenant nobody"), "{said}");
    let tenants = desk.json(&["tenant", "list"]);
    let names: BTreeSet<&str> = tenants["tenants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, BTreeSet::from(["acme", "bolt", "default"]));
    let (_, said) = desk.refused(&["tenant", "remove", "acme"]);
    assert!(said.contains("must own nothing"), "{said}");

    for (talks, waits) in &waiting {
        desk.leave(waits).await;
        desk.leave(talks).await;
    }
    for phone in &phones {
        phone.wait_ended(PATIENCE_MS).await.unwrap();
    }
    desk.close().await;
}
