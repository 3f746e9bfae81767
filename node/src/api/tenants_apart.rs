//! Nothing of one tenant is seen through another: all listings, one machine, two tenants.

use tandem_cluster::{
    command::{AdmitNode, Batch, Command, Envelope, Outcome, RegisterNode, Reply, decode_outcome},
    ids::{BootId, ClusterId, ContactId, DiskId, Epoch, GroupId, NodeId, TenantId},
    leg::Endpoint,
    machine::{MACHINE_VERSION, Machine},
};
use tandem_routing::{
    command::{
        AgentRules, AgentSpec, CalendarSpec, Command as QueueCommand, Enqueue, ListSpec,
        MembershipSpec, NumberRules, NumberSpec, PlanSpec, QueueSpec, Readiness, ServiceAbroad,
    },
    entity::{EndReason, ListUse, Matches, OpenHours, Quotas, interval_of},
    limits::INTERVAL_MS,
    name::{CallerNumber, Name},
    requirement::NamedRequirement,
    rules::{AtClose, Hours, NamedQueueRules, Target},
    time::{ClusterTime, Millis, UtcMillis},
};

use super::{
    agents, calendars, callers, contacts, explain, queues,
    read::View,
    rebalance, retire, statistics,
    tenancy::{SOMEBODY, no_contact, refused},
};
use crate::phones;

/// Names of whom must not be seen begin so.
const TENANTS: [&str; 2] = ["acme", "bolt"];

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// A machine that commands go into, one an entry.
struct Log {
    machine: Machine,
    index: u64,
    time: u64,
    life: (Epoch, u64),
}

impl Log {
    fn new() -> Self {
        let machine = Machine::new(GroupId(0));
        let mut log = Self { machine, index: 0, time: 0, life: (Epoch(0), 0) };
        let (cluster, machine_version) = (ClusterId(9), MACHINE_VERSION);
        log.apply(Command::Initialise { cluster, machine_version }).expect("a cluster");
        let endpoint = || Endpoint { address: "127.0.0.1".to_owned(), port: 7_100 };
        let (node, disk) = (NodeId(1), DiskId(101));
        let admit = AdmitNode {
            node,
            name: name("n1"),
            site: name("lon"),
            region: name("eu"),
            disk,
            cluster_address: endpoint(),
        };
        log.apply(Command::AdmitNode(admit)).expect("admitted");
        let register = RegisterNode {
            node,
            disk,
            boot: BootId::after(Epoch(0), 1),
            supports: MACHINE_VERSION,
            cluster_address: endpoint(),
            api_address: endpoint(),
            sip: Vec::new(),
            relay: None,
            leg_ids: 100,
        };
        let Ok(Reply::Registered { epoch, .. }) = log.apply(Command::RegisterNode(register)) else {
            unreachable!("the node registers")
        };
        log.life = (epoch, 1);
        log
    }

    fn apply(&mut self, command: Command) -> Outcome {
        let (epoch, sequence) = self.life;
        self.life.1 += u64::from(epoch != Epoch(0));
        let envelope = Envelope {
            node: NodeId(1),
            epoch,
            sequence,
            ack_below: sequence,
            age: Millis(0),
            idempotency: None,
            command,
        };
        let batch = Batch {
            machine_version: MACHINE_VERSION,
            group: GroupId(0),
            time: ClusterTime(self.time),
            envelopes: vec![envelope],
        };
        self.index += 1;
        let entry = batch.encode().expect("an entry");
        let applied = self.machine.apply(self.index, &entry).expect("applied");
        decode_outcome(applied.outcomes.first().expect("an outcome")).expect("readable")
    }

    fn queue(&mut self, command: QueueCommand) {
        let shown = format!("{command:?}");
        let outcome = self.apply(Command::Queue(command));
        assert!(outcome.is_ok(), "{shown}: {outcome:?}");
    }

    fn tenant(&self, tenant: &str) -> TenantId {
        self.machine.queue().tenant_named(&name(tenant)).expect("a tenant")
    }

    fn view(&self, tenant: &str) -> View<'_> {
        let now = ClusterTime(self.time);
        View { machine: &self.machine, now, tenant: self.tenant(tenant) }
    }
}

/// Everything that a tenant can have, each thing with the tenant's name in its own.
fn furnish(log: &mut Log, owner: &str) {
    let tenant = log.tenant(owner);
    let of = |what: &str| name(&format!("{owner}-{what}"));
    let calendar = CalendarSpec {
        name: of("office"),
        source: format!("zone UTC; mon-fri 09:00-17:00 # {owner}"),
        open: vec![OpenHours { from: UtcMillis(1_000), to: UtcMillis(2_000) }],
        until: UtcMillis(3_000),
    };
    log.queue(QueueCommand::PutCalendar { tenant, calendar });
    for (queue, calendar) in [("sales", None), ("help", Some(of("office")))] {
        let queue = QueueSpec {
            requirement: format!("{owner}-expert >= 2").parse().expect("a requirement"),
            ..QueueSpec::named(of(queue))
        };
        let hours = calendar.map(|calendar| Hours { calendar, at_close: AtClose::Stay });
        let rules = Box::new(NamedQueueRules { hours, ..NamedQueueRules::default() });
        log.queue(QueueCommand::ConfigureQueue { tenant, queue, rules });
    }
    let caller = CallerNumber::new(&format!("{owner}-caller"));
    let change = ListSpec {
        list: of("list"),
        add: [(caller, Matches::Exactly)].into(),
        remove: <_>::default(),
    };
    log.queue(QueueCommand::ChangeList { tenant, change });
    let number = NumberSpec {
        number: of("8000"),
        queue: of("sales"),
        requirement: NamedRequirement::anybody(),
        priority: 0,
    };
    let lists = vec![(of("list"), ListUse::Priority(3))];
    let rules = NumberRules { prefers: None, lists };
    log.queue(QueueCommand::ConfigureNumber { tenant, number, rules });
    let agent = AgentSpec {
        name: of("amy"),
        site: name("lon"),
        skills: [(of("expert"), 3)].into(),
        queues: [of("sales")].into(),
    };
    let rules = AgentRules::default();
    log.queue(QueueCommand::ConfigureAgent { tenant, agent, rules });
    let as_state = Readiness::NotReady(Some(of("reason")));
    log.queue(QueueCommand::LogIn { tenant, agent: of("amy"), as_state });
    // One waits, one has ended: of both is counted.
    for _ in 0..2 {
        log.queue(QueueCommand::Enqueue(Enqueue {
            called: of("8000"),
            caller: CallerNumber::new("+442079460089"),
            ingress: name("lon"),
            waited: Millis(0),
        }));
    }
    let contact = waiting(log, owner);
    log.queue(QueueCommand::End { contact, reason: EndReason::Abandoned });
    let change = MembershipSpec { join: [of("help")].into(), leave: [of("sales")].into() };
    let plan = PlanSpec {
        weights: <_>::default(),
        agents: [(of("amy"), change)].into(),
        steps: 1,
        every: Millis(1_000),
    };
    log.queue(QueueCommand::ApplyPlan { tenant, plan: Box::new(plan) });
}

fn waiting(log: &Log, owner: &str) -> ContactId {
    let tenant = log.tenant(owner);
    let mut contacts = log.machine.queue().contacts().iter();
    contacts.find(|contact| contact.tenant == tenant).expect("somebody waits").id
}

/// What a tenant sees, in every listing, as programs read it.
fn everything(view: View<'_>, owner: &str) -> Vec<(&'static str, String)> {
    let json = |what, shown: Result<String, serde_json::Error>| (what, shown.expect("JSON"));
    let of = |what: &str| name(&format!("{owner}-{what}"));
    let plan = PlanSpec {
        weights: [(name("lon"), 50)].into(),
        agents: <_>::default(),
        steps: 1,
        every: Millis(1_000),
    };
    let preview = view.machine.queue().preview(GroupId(0), view.tenant, &plan).expect("a preview");
    let retire = tandem_proto::api::v1::RetireQueueRequest {
        name: of("sales").to_string(),
        ..<_>::default()
    };
    let contact = |contact: &&tandem_routing::entity::Contact| contact.tenant == view.tenant;
    let contact = view.machine.queue().contacts().iter().find(contact).expect("somebody waits");
    let text = serde_json::to_string::<tandem_proto::api::v1::ListQueuesReply>;
    let queues_reply =
        tandem_proto::api::v1::ListQueuesReply { queues: queues::statuses(view), ..<_>::default() };
    vec![
        json("queues", text(&queues_reply)),
        json("numbers", serde_json::to_string(&queues::numbers(view))),
        json("agents", serde_json::to_string(&agents::agents(view, None).expect("agents"))),
        json(
            "contacts",
            serde_json::to_string(&contacts::contacts(view, None, 100).expect("contacts").0),
        ),
        json("contact", serde_json::to_string(&view.contact(contact))),
        json(
            "explanation",
            serde_json::to_string(&explain::live(view, contact, None, 100).expect("explained")),
        ),
        json(
            "intervals",
            serde_json::to_string(&statistics::intervals(view, None, 8).expect("intervals")),
        ),
        json(
            "intervals of agents",
            serde_json::to_string(&statistics::of_agents(view, None, 8).expect("intervals")),
        ),
        json("plans", serde_json::to_string(&rebalance::plans(view))),
        json("plan's preview", serde_json::to_string(&rebalance::show(view, &preview))),
        json(
            "retirement's preview",
            serde_json::to_string(&retire::preview(view, &retire).expect("a preview")),
        ),
        json("calendars", serde_json::to_string(&calendars::calendars(view))),
        json("lists", serde_json::to_string(&callers::lists(view))),
        json(
            "callers",
            serde_json::to_string(&callers::show(view, &of("list"), None, 10).expect("callers")),
        ),
    ]
}

/// A log with two tenants who have everything.
fn two_tenants() -> Log {
    let mut log = Log::new();
    for owner in TENANTS {
        log.queue(QueueCommand::PutTenant { name: name(owner), quotas: Quotas::default() });
        furnish(&mut log, owner);
        // The running plan ends: another one may begin.
        log.time += 2_000;
        log.apply(Command::ExpireDue).expect("due");
        log.time += INTERVAL_MS;
    }
    log
}

// Goal: in all that one tenant is shown, its own things are named, and no name of the other's is.
#[test]
fn nothing_of_another_tenant_is_listed() {
    let log = two_tenants();
    for (owner, other) in [("acme", "bolt"), ("bolt", "acme")] {
        for (what, shown) in everything(log.view(owner), owner) {
            assert!(!shown.contains(other), "{what} of {owner}: {shown}");
            let of_sites = matches!(what, "intervals of agents");
            assert!(of_sites || shown.contains(owner), "{what} of {owner}: {shown}");
        }
        assert_eq!(log.view(owner).tenant, log.tenant(owner));
    }
    // What the default tenant sees is neither's.
    let outside = log.view(TenantId::DEFAULT_NAME);
    assert_eq!(queues::statuses(outside), vec![]);
    assert_eq!(callers::lists(outside), vec![]);
}

// Goal: what is another tenant's is not there, in the words for what never was.
#[test]
fn anothers_things_are_not_there() {
    let log = two_tenants();
    let view = log.view("acme");
    let (there, nowhere) = (waiting(&log, "bolt"), name("bolt-nothing"));
    for (what, other, none) in [
        (
            "agent",
            agents::agents(view, Some(name("bolt-amy"))).err(),
            agents::agents(view, Some(nowhere.clone())).err(),
        ),
        (
            "queue",
            contacts::contacts(view, Some(name("bolt-sales")), 9).err(),
            contacts::contacts(view, Some(nowhere.clone()), 9).err(),
        ),
        (
            "calendar",
            calendars::find(view, name("bolt-office")).err(),
            calendars::find(view, nowhere.clone()).err(),
        ),
        (
            "list",
            callers::show(view, &name("bolt-list"), None, 9).err(),
            callers::show(view, &nowhere, None, 9).err(),
        ),
        ("contact", contacts::live(view, there).err(), Some(no_contact(there))),
        (
            "intervals of a queue",
            statistics::intervals(view, Some(name("bolt-sales")), 9).err().map(refused),
            statistics::intervals(view, Some(nowhere.clone()), 9).err().map(refused),
        ),
        (
            "intervals of an agent",
            statistics::of_agents(view, Some(name("bolt-amy")), 9).err().map(refused),
            statistics::of_agents(view, Some(nowhere.clone()), 9).err().map(refused),
        ),
    ] {
        let (other, none) = (other.expect(what), none.expect(what));
        let blank = |text: &str| {
            let names = ["amy", "sales", "office", "list", "nothing"];
            names
                .iter()
                .fold(text.to_owned(), |text, name| text.replace(&format!("bolt-{name}"), "X"))
        };
        assert_eq!(other.code(), tonic::Code::NotFound, "{what}");
        assert_eq!(blank(other.message()), blank(none.message()), "{what}");
    }
}

// Goal: an agent who serves another tenant is nobody there, whatever they do, and their own tenant sees no
// contact of the other.
#[test]
fn agents_abroad_have_no_name() {
    let mut log = two_tenants();
    let tenant = log.tenant("acme");
    let agent = AgentSpec {
        name: name("acme-amy"),
        site: name("lon"),
        skills: [(name("acme-expert"), 3)].into(),
        queues: [name("acme-sales")].into(),
    };
    let service = ServiceAbroad {
        queues: [name("bolt-sales")].into(),
        skills: [(name("bolt-expert"), 4)].into(),
    };
    let rules = AgentRules { abroad: [(name("bolt"), service)].into(), ..AgentRules::default() };
    log.queue(QueueCommand::ConfigureAgent { tenant, agent, rules });

    let view = log.view("bolt");
    let contact = contacts::live(view, waiting(&log, "bolt")).expect("own").expect("waits");
    let explained = explain::live(view, contact, None, 10).expect("explained");
    let somebody: Vec<_> = explained.agents.iter().filter(|agent| agent.name == SOMEBODY).collect();
    assert_eq!(somebody.len(), 1, "{:?}", explained.agents);
    assert_eq!((somebody[0].why.as_str(), somebody[0].detail.as_str()), ("not-ready", ""));
    let shown = everything(view, "bolt");
    assert!(shown.iter().all(|(_, shown)| !shown.contains("acme")), "{shown:?}");
    let named = explain::live(view, contact, Some(&name("acme-amy")), 10).expect_err("not theirs");
    assert!(named.to_string().contains("there is no agent"));
    let retire = tandem_proto::api::v1::RetireQueueRequest {
        name: "bolt-sales".to_owned(),
        ..<_>::default()
    };
    assert_eq!(retire::preview(view, &retire).expect("a preview").agents_abroad, 1);

    // Their own tenant has said whom they serve.
    let own = agents::agents(log.view("acme"), Some(name("acme-amy"))).expect("there");
    assert_eq!(own[0].queues, ["acme-sales"]);
    assert_eq!(own[0].abroad["bolt"].queues, ["bolt-sales"]);
    assert_eq!(own[0].abroad["bolt"].skills["bolt-expert"], 4);
}

// Goal: what was counted of an agent is there with the interval that runs, and only in the intervals that
// are asked for.
#[test]
fn intervals_of_agents() {
    let mut log = two_tenants();
    let tenant = log.tenant("acme");
    for reason in ["break", "training"] {
        log.time += INTERVAL_MS;
        let to = Readiness::NotReady(Some(name(reason)));
        log.queue(QueueCommand::SetReadiness { tenant, agent: name("acme-amy"), to });
    }
    let rows = |last| {
        let only = Some(name("acme-amy"));
        statistics::of_agents(log.view("acme"), only, last).expect("there").agents
    };
    assert_eq!(rows(1).len(), 1, "the running one");
    assert_eq!(rows(1)[0].start_ms, interval_of(ClusterTime(log.time)).0);
    assert_eq!(rows(2).len(), 2);
    assert_eq!(rows(2)[1].not_ready_ms, INTERVAL_MS);
    assert!(rows(2).iter().all(|row| row.agent == "acme-amy" && row.site == "lon"));
}

// Goal: a queue is open, closed or on its way out, and what it goes by is told.
#[test]
fn queues_say_whether_they_are_open() {
    let mut log = two_tenants();
    let state = |log: &Log, queue: &str| {
        let statuses = queues::statuses(log.view("acme"));
        let named = |status: &&tandem_proto::api::v1::QueueStatus| {
            status.queue.as_ref().is_some_and(|row| row.name == queue)
        };
        let status = statuses.iter().find(named).expect("there");
        (status.state.clone(), status.retires_to.clone())
    };
    let closed = ("closed".to_owned(), String::new());
    let open = ("open".to_owned(), String::new());
    assert_eq!(state(&log, "acme-help"), open, "nobody has said what time it is");
    log.queue(QueueCommand::AnchorWall { utc: UtcMillis(2_500) });
    assert_eq!((state(&log, "acme-help"), state(&log, "acme-sales")), (closed, open.clone()));
    log.time += 500;
    assert_eq!(state(&log, "acme-help"), open, "nothing is known of that time");
    let tenant = log.tenant("acme");
    let to = Target::Queue(name("acme-help"));
    let retire = QueueCommand::RetireQueue { tenant, queue: name("acme-sales"), to };
    log.queue(retire);
    let gone = queues::statuses(log.view("acme")).len() == 1;
    let state = || state(&log, "acme-sales");
    assert!(gone || state() == ("removing".to_owned(), "acme-help".to_owned()));
}

// Goal: a phone's user names the tenant where that is needed, and is read back; no user reaches another
// tenant's agent.
#[test]
fn users_of_phones() {
    let log = two_tenants();
    let state = log.machine.queue();
    let acme = log.tenant("acme");
    let user = phones::user_of(state, acme, &name("acme-amy")).expect("short");
    assert_eq!(user, name("acme+acme-amy"));
    assert_eq!(phones::agent_of(state, &user).map(|agent| agent.tenant), Some(acme));
    let own = phones::user_of(state, TenantId::DEFAULT, &name("amy")).expect("short");
    assert_eq!(own, name("amy"));
    for nobody in ["acme-amy", "bolt+acme-amy", "acme+bolt-amy", "+acme-amy", "acme+"] {
        assert!(phones::agent_of(state, &name(nobody)).is_none(), "{nobody}");
    }
    let long = name(&"x".repeat(60));
    assert!(phones::user_of(state, acme, &long).is_err());
}

// Goal: each request of a service about tenants' things names a tenant, so that none can be forgotten; what
// names none is the cluster's.
#[test]
fn requests_name_a_tenant() {
    let proto = include_str!("../../../crates/proto/proto/tandem/api/v1/api.proto");
    let mut seen = 0;
    for service in proto.split("\nservice ").skip(1) {
        let (title, body) = service.split_once(" {").expect("a service");
        let of_cluster = ["Cluster", "Sites", "Tenants"].contains(&title);
        let body = body.split("\n}").next().expect("an end");
        for call in body.lines().filter_map(|line| line.trim().strip_prefix("rpc ")) {
            let request = call.split(['(', ')']).nth(1).expect("a request");
            let message = proto.split(&format!("\nmessage {request} {{")).nth(1).expect(request);
            let message = message.split('}').next().expect("an end");
            assert_eq!(message.contains(" string tenant = "), !of_cluster, "{title} {request}");
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen} calls were read");
}
