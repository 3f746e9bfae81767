//! A cluster with a center for each test, on loopback addresses of its own, and the judgement of what
//! its people experienced.

use std::{
    collections::BTreeSet,
    net::UdpSocket,
    path::PathBuf,
    process::{Command, Output},
    sync::Arc,
};

use tandem_chaos::{
    center::{self, AgentSetup, QueueSetup},
    check::{self, Allowances, Conversation, Evidence, Judgement},
    cluster::{API_PORT, LocalCluster, Plan},
    faults::{self, Fault, FaultKind},
    record::{CallerFacts, Recorder},
};
use tandem_phone::{AnswerPolicy, Call, CallPlan, Caller, Phone, World, WorldOptions};

/// The number that leads to the queue.
pub(crate) const NUMBER: &str = "8000";
/// The queue, which is the one line that callers stand in.
pub(crate) const QUEUE: &str = "sales";
/// How long something may take that a healthy cluster does at once: bounds a hang, measures nothing.
pub(crate) const PATIENCE_MS: u64 = 30_000;
/// Round trip between sites on one machine, for what may be allowed.
const ROUND_TRIP_MS: u64 = 1;

/// A block of loopback addresses, 127.`block`.0.0/16, that no other process uses.
pub(crate) struct Block {
    pub(crate) number: u8,
    /// Held for as long as the block is used.
    _lock: UdpSocket,
}

impl Block {
    pub(crate) fn take() -> Self {
        let free = |number: u8| {
            let lock = UdpSocket::bind((std::net::Ipv4Addr::new(127, number, 255, 254), 9)).ok()?;
            Some(Self { number, _lock: lock })
        };
        (100..=250).find_map(free).expect("a free block of loopback addresses")
    }
}

/// The folder with the built programs: beside the test's own.
pub(crate) fn programs() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = own.parent().unwrap().parent().unwrap().to_owned();
    for program in ["tandem", "tandem-relay"] {
        let built = folder.join(program).exists();
        assert!(built, "{program} is not built: run `cargo build --workspace --bins` first");
    }
    folder
}

/// A cluster of three sites without a center: its folder stays when the test fails.
pub(crate) struct Lab {
    pub(crate) cluster: LocalCluster,
    dir: Option<tempfile::TempDir>,
    _block: Block,
}

impl Lab {
    /// Prepared; nothing runs yet.
    pub(crate) fn prepare() -> Self {
        let block = Block::take();
        let dir = tempfile::Builder::new().prefix("tandem-live-").tempdir().unwrap();
        let plan = Plan::three_sites(dir.path(), &programs(), block.number);
        let cluster = LocalCluster::prepare(plan).unwrap();
        Self { cluster, dir: Some(dir), _block: block }
    }

    /// Founded and up.
    pub(crate) async fn start() -> Self {
        let mut lab = Self::prepare();
        lab.cluster.found().await.unwrap();
        lab
    }

    /// Runs the command line against these nodes, as the operator.
    pub(crate) fn tandem(&self, nodes: &[usize], words: &[&str]) -> Output {
        self.tandem_with("operator", nodes, words)
    }

    /// Runs the command line with another certificate of the cluster in the operator's place.
    pub(crate) fn tandem_with(&self, certificate: &str, nodes: &[usize], words: &[&str]) -> Output {
        let own = self.cluster.plan().dir.join("certs");
        let certs = tempfile::tempdir().unwrap();
        for (from, to) in [
            ("ca.pem".to_owned(), "ca.pem"),
            (format!("{certificate}.pem"), "operator.pem"),
            (format!("{certificate}.key"), "operator.key"),
        ] {
            std::fs::copy(own.join(from), certs.path().join(to)).unwrap();
        }
        let api = |index: &usize| format!("{}:{API_PORT}", self.cluster.sip(*index).ip());
        let nodes: Vec<String> = nodes.iter().map(api).collect();
        Command::new(programs().join("tandem"))
            .args(words)
            .args(["--node", &nodes.join(","), "--certs"])
            .arg(certs.path())
            .output()
            .unwrap()
    }

    /// Ends all processes in order.
    pub(crate) fn end(mut self) {
        let killed = self.cluster.end();
        assert!(killed.is_empty(), "{killed:?} did not end in order");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(dir) = self.dir.take()
        {
            let kept = dir.keep();
            eprintln!("logs and data are kept in {}", kept.display());
        }
    }
}

/// Agents of the one queue, spread over the sites in turn.
pub(crate) fn agents(count: usize) -> Vec<AgentSetup> {
    let agent = |index: usize| AgentSetup {
        name: format!("agent{index:02}"),
        site: index % 3,
        skills: vec![("english".to_owned(), 5)],
        queues: vec![QUEUE.to_owned()],
    };
    (0..count).map(agent).collect()
}

/// A running center: three sites, one queue, agents with phones, callers on three trunks.
pub(crate) struct Center {
    pub(crate) lab: Lab,
    pub(crate) world: World,
    pub(crate) phones: Vec<Phone>,
    pub(crate) trunks: Vec<Caller>,
    pub(crate) recorder: Arc<Recorder>,
    callers: Vec<Call>,
}

/// Whether agents are logged in from the beginning.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shift {
    /// Logged in and ready.
    Ready,
    /// Phones are registered, nobody is logged in.
    NotYet,
}

impl Center {
    /// Starts a center whose agents all have the skill that the queue asks for.
    pub(crate) async fn start(agents_count: usize, policy: AnswerPolicy, shift: Shift) -> Self {
        let lab = Lab::start().await;
        let cluster = &lab.cluster;
        let agents = agents(agents_count);
        let queues = [QueueSetup::new(QUEUE, NUMBER, "english>=3")];
        center::configure(cluster, &queues, &agents).await.unwrap();
        let world = World::start(WorldOptions::default()).await.unwrap();
        let phones = center::phones(cluster, &world, &agents, &policy).await.unwrap();
        let facts = agents.iter().map(|agent| check::AgentFacts {
            name: agent.name.clone(),
            site: cluster.plan().sites[agent.site].name.clone(),
            lines: BTreeSet::from([QUEUE.to_owned()]),
        });
        let recorder = Arc::new(Recorder::start(&world, &phones, facts.collect()));
        if shift == Shift::Ready {
            center::log_in(cluster, &agents).await.unwrap();
        }
        let mut trunks = Vec::new();
        for site in 0..3 {
            trunks.push(center::trunk(cluster, &world, site).await.unwrap());
        }
        Self { lab, world, phones, trunks, recorder, callers: Vec::new() }
    }

    /// A new caller at a site, answered and in the queue.
    pub(crate) async fn caller(&mut self, site: usize) -> Call {
        let index = self.callers.len();
        let number = format!("+44163296{index:04}");
        let call = self.trunks[site].call(CallPlan::to(NUMBER).from(&number)).await.unwrap();
        let facts = CallerFacts {
            person: number.clone(),
            number,
            line: QUEUE.to_owned(),
            site: self.lab.cluster.plan().sites[site].name.clone(),
        };
        self.recorder.caller(facts, &call);
        call.wait_established(PATIENCE_MS).await.unwrap();
        self.callers.push(call.clone());
        call
    }

    /// So many callers who talk, each connected before the next one calls, and behind them a queue;
    /// over the sites in turn.
    pub(crate) async fn fill(&mut self, talking: usize, queued: usize) {
        for index in 0..talking {
            self.caller(index % 3).await;
            self.until_talking(index + 1).await;
        }
        for index in 0..queued {
            self.caller(index % 3).await;
        }
    }

    /// Makes a fault and notes it.
    pub(crate) async fn fault(&mut self, kind: FaultKind, site: usize) -> Fault {
        let fault = faults::inject(&mut self.lab.cluster, &self.world, kind, site).await.unwrap();
        self.recorder.fault(fault.clone());
        fault
    }

    /// Starts a node again and waits until it is up.
    pub(crate) async fn restart(&mut self, site: usize) {
        self.fault(FaultKind::StartNode, site).await;
        self.lab.cluster.until_answers(site).await.unwrap();
        self.lab.cluster.until_up(&[0, 1, 2]).await.unwrap();
    }

    /// What everybody experienced up to now.
    pub(crate) async fn evidence(&self) -> Evidence {
        self.recorder.evidence().await.unwrap()
    }

    /// The conversations up to now.
    pub(crate) async fn conversations(&self) -> Vec<Conversation> {
        check::conversations(&self.evidence().await)
    }

    /// Waits until something holds of what people experienced.
    pub(crate) async fn until(&self, what: &str, mut holds: impl FnMut(&Evidence) -> bool) {
        let deadline = self.world.now().plus_ms(PATIENCE_MS);
        while !holds(&self.evidence().await) {
            assert!(self.world.now() < deadline, "waited in vain until {what}");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }

    /// Waits until so many conversations have begun.
    pub(crate) async fn until_talking(&self, conversations: usize) {
        let begun = |evidence: &Evidence| check::conversations(evidence).len() >= conversations;
        self.until(&format!("{conversations} conversations have begun"), begun).await;
    }

    /// What is allowed in this cluster.
    pub(crate) fn allowances(&self) -> Allowances {
        Allowances::for_timing(self.lab.cluster.plan().timing, ROUND_TRIP_MS)
    }

    /// Everybody hangs up, all processes end in order, and the judgement is given.
    pub(crate) async fn end(mut self) -> Judgement {
        let (_, judgement) = self.finish().await;
        judgement
    }

    /// The same, when nothing may have happened that must not; otherwise the evidence is kept.
    pub(crate) async fn end_clean(mut self) -> Judgement {
        let (evidence, judgement) = self.finish().await;
        if !judgement.is_clean() {
            let file = self.lab.cluster.plan().dir.join("evidence.json");
            std::fs::write(&file, serde_json::to_vec(&evidence).unwrap()).unwrap();
            panic!("{:#?}\nevidence: {}", judgement.problems, file.display());
        }
        judgement
    }

    async fn finish(&mut self) -> (Evidence, Judgement) {
        for call in &self.callers {
            self.recorder.left(call);
            // Those whose call is over have nothing to hang up.
            call.hang_up().await.ok();
        }
        for call in &self.callers {
            call.wait_ended(PATIENCE_MS).await.unwrap();
        }
        let evidence = self.evidence().await;
        let judgement = check::judge(&evidence, &self.allowances());
        self.world.clone().stop(5_000).await.unwrap();
        let killed = self.lab.cluster.end();
        assert!(killed.is_empty(), "{killed:?} did not end in order");
        (evidence, judgement)
    }
}
