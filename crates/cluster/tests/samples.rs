//! The encodings that are on disks already: `samples/` keeps them, and they are read back for ever.
//!
//! A change that breaks one of these tests would make nodes unable to read their own logs. Append
//! variants and fields in a new version instead; `TANDEM_WRITE_SAMPLES=1` writes samples for what
//! is new, and never changes what is there.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]
#![expect(clippy::disallowed_methods, reason = "the samples are files; only this test reads them")]

mod common;

use std::{collections::BTreeMap, fmt::Write, fs, path::PathBuf, sync::Arc};

use common::{GROUP, Sim, TENANT, admission, answered, dialog, media, name, registration};
use tandem_cluster::{
    binding::PhoneTarget,
    command::{
        AdmitCall, Batch, BatchError, Command, Envelope, Evidence, LegEnd, LegFact, Outcome,
        PutBinding, RegisterNode, Rejection, Reply, Report, Ringing, decode_outcome,
        encode_outcome,
    },
    configuration::{ApplyConfiguration, ConfigurationVersion, Document, Made},
    feed::{FeedRow, OverflowCause, Record, Standing, Thing, What},
    ids::{
        AgentId, ClusterId, ContactId, Epoch, LegEpoch, LegId, NodeId, OfferNumber, Ordinal,
        QueueId, SiteId, TenantId,
    },
    leg::{Owner, Transport},
    machine::Machine,
    node::{Node, NodeLife},
    seal::Sealed,
};
use tandem_routing::{
    command::{
        AgentRules, AgentSpec, CalendarSpec, Command as QueueCommand, DeclineCause, Enqueue,
        ListSpec, MembershipSpec, NumberRules, NumberSpec, OfferEnd, PlanSpec, QueueSpec,
        Readiness, Rejection as QueueRejection, Reply as QueueReply, ServiceAbroad,
    },
    digest::Digest,
    entity::{
        Agent, AgentInterval, Choice, Contact, ContactState, Decision, DeviceState, EndReason,
        FailedOffer, ListUse, Matches, NotReadyReason, Occasion, OpenHours, Preferred, Quotas,
        Rival, SiteState, Tally, Tier, WorkState,
    },
    name::CallerNumber,
    rules::{
        AfterDecline, Also, AtClose, Balance, Hours, LastAgentRule, Load, NamedQueueRules,
        Overflow, OwnRequirement, Stage, Step, Target, Trigger, Urgency, Urgent,
    },
    strategy::Strategy,
    table::{decode_row, encode_row},
    time::{ClusterTime, Millis, UtcMillis},
};

/// Named samples in hexadecimal, one per line.
struct Samples {
    file: PathBuf,
    kept: BTreeMap<String, Vec<u8>>,
}

impl Samples {
    fn read(file: &str) -> Self {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("samples").join(file);
        let text = fs::read_to_string(&file).unwrap_or_default();
        let line = |line: &str| {
            let (name, hex) = line.split_once(' ').unwrap();
            (name.to_owned(), unhex(hex))
        };
        let kept = text.lines().map(line).collect();
        Self { file, kept }
    }

    /// The kept bytes of a sample; new samples are written when asked for.
    fn expect(&mut self, name: &str, now: &[u8]) -> Vec<u8> {
        if !self.kept.contains_key(name) {
            let write = std::env::var_os("TANDEM_WRITE_SAMPLES").is_some();
            assert!(write, "no sample of {name} is kept; TANDEM_WRITE_SAMPLES=1 writes it");
            self.kept.insert(name.to_owned(), now.to_vec());
            let mut text = String::new();
            for (name, bytes) in &self.kept {
                writeln!(text, "{name} {}", hex(bytes)).unwrap();
            }
            fs::create_dir_all(self.file.parent().unwrap()).unwrap();
            fs::write(&self.file, text).unwrap();
        }
        self.kept[name].clone()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// The name of a command's sample. Without a catch-all, so that a new command needs a sample.
fn label(command: &Command) -> &'static str {
    match command {
        Command::Initialise { .. } => "initialise",
        Command::AdmitNode(_) => "admit_node",
        Command::RegisterNode(_) => "register_node",
        Command::NodeLost { .. } => "node_lost",
        Command::StopNode => "stop_node",
        Command::RemoveNode { .. } => "remove_node",
        Command::RaiseMachineVersion { .. } => "raise_machine_version",
        Command::ReportDigest { .. } => "report_digest",
        Command::ReserveLegIds { .. } => "reserve_leg_ids",
        Command::ExpireDue => "expire_due",
        Command::ContinueWork => "continue_work",
        Command::Queue(command) => match command {
            QueueCommand::PutSite { .. } => "queue.put_site",
            QueueCommand::SetSiteState { .. } => "queue.set_site_state",
            QueueCommand::SetSiteWeight { .. } => "queue.set_site_weight",
            QueueCommand::PutQueue { .. } => "queue.put_queue",
            QueueCommand::RemoveQueue { .. } => "queue.remove_queue",
            QueueCommand::PutNumber { .. } => "queue.put_number",
            QueueCommand::RemoveNumber { .. } => "queue.remove_number",
            QueueCommand::PutAgent { .. } => "queue.put_agent",
            QueueCommand::RemoveAgent { .. } => "queue.remove_agent",
            QueueCommand::LogIn { .. } => "queue.log_in",
            QueueCommand::LogOut { .. } => "queue.log_out",
            QueueCommand::SetReadiness { .. } => "queue.set_readiness",
            QueueCommand::Enqueue(_) => "queue.enqueue",
            QueueCommand::Accept { .. } => "queue.accept",
            QueueCommand::Decline { .. } => "queue.decline",
            QueueCommand::End { .. } => "queue.end",
            QueueCommand::ExpireDue => "queue.expire_due",
            QueueCommand::ContinueWork => "queue.continue_work",
            QueueCommand::ConfigureQueue { .. } => "queue.configure_queue",
            QueueCommand::ConfigureAgent { .. } => "queue.configure_agent",
            QueueCommand::ConfigureNumber { .. } => "queue.configure_number",
            QueueCommand::SetPriority { .. } => "queue.set_priority",
            QueueCommand::Place { .. } => "queue.place",
            QueueCommand::ExtendWrapUp { .. } => "queue.extend_wrap_up",
            QueueCommand::Release { .. } => "queue.release",
            QueueCommand::ApplyPlan { .. } => "queue.apply_plan",
            QueueCommand::UndoPlan { .. } => "queue.undo_plan",
            QueueCommand::RetireQueue { .. } => "queue.retire_queue",
            QueueCommand::AnchorWall { .. } => "queue.anchor_wall",
            QueueCommand::PutCalendar { .. } => "queue.put_calendar",
            QueueCommand::RemoveCalendar { .. } => "queue.remove_calendar",
            QueueCommand::PutTenant { .. } => "queue.put_tenant",
            QueueCommand::RemoveTenant { .. } => "queue.remove_tenant",
            QueueCommand::ChangeList { .. } => "queue.change_list",
            QueueCommand::SetSiteCap { .. } => "queue.set_site_cap",
        },
        Command::AdmitCall(_) => "admit_call",
        Command::LegRinging(_) => "leg_ringing",
        Command::LegAnswered(_) => "leg_answered",
        Command::LegFailed(_) => "leg_failed",
        Command::LegReport(_) => "leg_report",
        Command::LegConfirmed(_) => "leg_confirmed",
        Command::LegEnded(_) => "leg_ended",
        Command::PutBinding(_) => "put_binding",
        Command::RemoveBinding { .. } => "remove_binding",
        Command::DeviceAlive { .. } => "device_alive",
        Command::PutCredential { .. } => "put_credential",
        Command::ApplyConfiguration(_) => "apply_configuration",
    }
}

/// How many labels there are: a command whose sample is missing below is noticed.
const LABELS: usize = 58;

fn queue_commands() -> Vec<QueueCommand> {
    let (tenant, contact) = (TENANT, ContactId { group: GROUP, ordinal: Ordinal(77) });
    let queue = QueueSpec {
        requirement: "spanish>=5 and (billing or not site:lon)".parse().unwrap(),
        weight: 3,
        wait_max: Millis(60_000),
        ..QueueSpec::named(name("sales"))
    };
    let number = NumberSpec {
        number: name("+442071838750"),
        queue: name("sales"),
        requirement: "french".parse().unwrap(),
        priority: 7,
    };
    let amy = AgentSpec {
        name: name("amy"),
        site: name("lon"),
        skills: [(name("spanish"), 7)].into(),
        queues: [name("sales")].into(),
    };
    let enqueue = Enqueue {
        called: name("100"),
        caller: CallerNumber::new("+447700900123"),
        ingress: name("lon"),
        waited: Millis(5),
    };
    let tiers = [(name("sales"), Tier { level: 2, position: 7 })].into();
    vec![
        QueueCommand::PutSite { name: name("lon"), region: name("eu") },
        QueueCommand::SetSiteState { site: name("lon"), state: SiteState::Draining },
        QueueCommand::SetSiteWeight { site: name("lon"), weight: 50 },
        QueueCommand::PutQueue { tenant, queue },
        QueueCommand::RemoveQueue { tenant, queue: name("sales") },
        QueueCommand::PutNumber { tenant, number },
        QueueCommand::RemoveNumber { tenant, number: name("100") },
        QueueCommand::PutAgent { tenant, agent: amy.clone() },
        QueueCommand::RemoveAgent { tenant, agent: name("amy") },
        QueueCommand::LogIn { tenant, agent: name("amy"), as_state: Readiness::Ready },
        QueueCommand::LogOut { tenant, agent: name("amy") },
        QueueCommand::SetReadiness {
            tenant,
            agent: name("amy"),
            to: Readiness::NotReady(Some(name("break"))),
        },
        QueueCommand::Enqueue(enqueue),
        QueueCommand::Accept { offer: OfferNumber(9), contact },
        QueueCommand::Decline { offer: OfferNumber(9), contact, cause: DeclineCause::Busy },
        QueueCommand::End { contact, reason: EndReason::Operator },
        QueueCommand::ExpireDue,
        QueueCommand::ContinueWork,
        QueueCommand::ConfigureQueue {
            tenant,
            queue: QueueSpec::named(name("sales")),
            rules: Box::new(NamedQueueRules {
                strategy: Strategy::MostSkilled,
                steps: vec![Step {
                    after: Millis(20_000),
                    requirement: "team=red or agent:amy".parse().unwrap(),
                    own: OwnRequirement::Dropped,
                }],
                reserve_after: vec![Millis(30_000)],
                urgency: Some(Urgency { after: Millis(15_000), advance: Millis(60_000) }),
                after_decline: AfterDecline { busy: Millis(5_000), ..AfterDecline::default() },
                wrap_up_max: Millis(90_000),
                last_agent: Some(LastAgentRule {
                    patience: Millis(20_000),
                    remembered: Millis(3_600_000),
                }),
                hours: Some(Hours { calendar: name("office"), at_close: AtClose::Leave }),
                balance: Balance {
                    by: Load::Occupancy,
                    hysteresis_percent: 30,
                    moves_per_minute_max: 60,
                },
                answer_within: Millis(30_000),
                also: vec![Also { after: Millis(45_000), queue: name("support") }],
                overflow: vec![
                    Overflow { when: Trigger::Unstaffed, to: Target::Away },
                    Overflow {
                        when: Trigger::Waited(Millis(60_000)),
                        to: Target::Queue(name("support")),
                    },
                ],
            }),
        },
        QueueCommand::ConfigureAgent {
            tenant,
            agent: amy,
            rules: AgentRules {
                tiers,
                reserves: [(name("sales"), 2)].into(),
                attributes: [(name("team"), name("red"))].into(),
                abroad: [(
                    name("acme"),
                    ServiceAbroad {
                        queues: [name("help")].into(),
                        skills: [(name("expert"), 3)].into(),
                    },
                )]
                .into(),
            },
        },
        QueueCommand::ConfigureNumber {
            tenant,
            number: NumberSpec {
                number: name("100"),
                queue: name("sales"),
                requirement: "spanish>=3".parse().unwrap(),
                priority: 1,
            },
            rules: NumberRules {
                prefers: Some((name("amy"), Millis(20_000))),
                lists: vec![(name("vip"), ListUse::Priority(5))],
            },
        },
        QueueCommand::SetPriority { contact, priority: 7 },
        QueueCommand::Place { contact, before: None },
        QueueCommand::ExtendWrapUp { tenant, agent: name("amy"), by: Millis(30_000) },
        QueueCommand::Release { tenant, agent: name("amy"), to: Readiness::Ready },
        QueueCommand::ApplyPlan {
            tenant,
            plan: Box::new(PlanSpec {
                weights: [(name("lon"), 20)].into(),
                agents: [(
                    name("amy"),
                    MembershipSpec {
                        join: [name("sales")].into(),
                        leave: [name("support")].into(),
                    },
                )]
                .into(),
                steps: 4,
                every: Millis(10_000),
            }),
        },
        QueueCommand::UndoPlan { tenant, plan: Ordinal(77) },
        QueueCommand::RetireQueue {
            tenant,
            queue: name("sales"),
            to: Target::Queue(name("support")),
        },
        QueueCommand::AnchorWall { utc: UtcMillis(1_795_000_000_000) },
        QueueCommand::PutCalendar {
            tenant,
            calendar: CalendarSpec {
                name: name("office"),
                source: "mon-fri 09:00-17:00".into(),
                open: vec![OpenHours {
                    from: UtcMillis(1_795_000_000_000),
                    to: UtcMillis(1_795_030_000_000),
                }],
                until: UtcMillis(1_796_000_000_000),
            },
        },
        QueueCommand::RemoveCalendar { tenant, calendar: name("office") },
        QueueCommand::PutTenant {
            name: name("acme"),
            quotas: Quotas { contacts: Some(500), ..Quotas::default() },
        },
        QueueCommand::RemoveTenant { name: name("acme") },
        QueueCommand::SetSiteCap { site: name("lon"), contacts_max: Some(200) },
        QueueCommand::ChangeList {
            tenant,
            change: ListSpec {
                list: name("pests"),
                add: [(CallerNumber::new("+4499"), Matches::Prefix)].into(),
                remove: [CallerNumber::new("+4488")].into(),
            },
        },
    ]
}

fn configuration_document() -> Document {
    Document { tenant: TENANT, bytes: vec![1, 2, 3] }
}

fn commands() -> Vec<Command> {
    let leg = LegId { group: GROUP, ordinal: Ordinal(4_097) };
    let epoch = LegEpoch(2);
    let owner = Owner { node: NodeId(1), epoch: Epoch(3) };
    let report = Box::new(Report { dialog: Some(dialog("report")), media: Some(media(1, 20_000)) });
    let mut sim = Sim::center();
    sim.call(1);
    let agent_leg = sim.agent_leg("amy").unwrap().clone();
    let admit = AdmitCall {
        leg,
        called: name("100"),
        caller: CallerNumber::new("+447700900123"),
        ingress: name("lon"),
        dialog: dialog("call"),
        media: media(1, 20_000),
    };
    let binding = PutBinding {
        tenant: TENANT,
        agent: AgentId(4),
        target: PhoneTarget {
            contact_uri: "sip:amy@192.0.2.7:5060".into(),
            transport: Transport::Tcp,
            source: "192.0.2.7:40000".into(),
            edge: owner,
        },
        call_id: "reg".into(),
        cseq: 3,
        lifetime: Millis(600_000),
    };
    let mut commands = vec![
        Command::Initialise { cluster: ClusterId(9), machine_version: 1 },
        Command::AdmitNode(admission(1, "lon")),
        Command::RegisterNode(RegisterNode { supports: 1, ..registration(1, 5) }),
        Command::NodeLost { node: NodeId(1), epoch: Epoch(3), evidence: Evidence::Witness },
        Command::StopNode,
        Command::RemoveNode { node: NodeId(1) },
        Command::RaiseMachineVersion { to: 2 },
        Command::ReportDigest { index: 512, digest: Digest(0xabcd) },
        Command::ReserveLegIds { count: 4_096 },
        Command::ExpireDue,
        Command::ContinueWork,
        Command::AdmitCall(Box::new(admit)),
        Command::LegRinging(LegFact { leg, epoch, fact: Ringing { dialog: dialog("rings") } }),
        Command::LegAnswered(LegFact { leg, epoch, fact: Box::new(answered(&agent_leg, 1)) }),
        Command::LegFailed(LegFact { leg, epoch, fact: DeclineCause::NotAnswered }),
        Command::LegReport(LegFact { leg, epoch, fact: report.clone() }),
        Command::LegConfirmed(LegFact { leg, epoch, fact: report }),
        Command::LegEnded(LegFact { leg, epoch, fact: LegEnd::PeerGone }),
        Command::PutBinding(binding),
        Command::RemoveBinding { tenant: TENANT, agent: AgentId(4), contact_uri: "sip:a@b".into() },
        Command::DeviceAlive { agent: AgentId(4) },
        Command::PutCredential {
            tenant: TENANT,
            agent: name("amy"),
            realm: "tandem".into(),
            sealed: Sealed { key: 0, nonce: [7; 24], bytes: vec![1, 2, 3] },
        },
        Command::ApplyConfiguration(Box::new(ApplyConfiguration {
            tenant: TENANT,
            base: 12,
            request: 0xabcd,
            changes: vec![
                QueueCommand::PutSite { name: name("lon"), region: name("eu") },
                QueueCommand::RemoveQueue { tenant: TENANT, queue: name("sales") },
            ],
            before: None,
            after: Some(configuration_document()),
            author: "ann".into(),
            comment: "the summer's hours".into(),
            summary: "1 site, 1 queue removed".into(),
            restores: Some(7),
        })),
    ];
    commands.extend(queue_commands().into_iter().map(Command::Queue));
    commands
}

fn batch(command: Command) -> Batch {
    let envelope = Envelope {
        node: NodeId(2),
        epoch: Epoch(3),
        sequence: 41,
        ack_below: 40,
        age: Millis(12),
        idempotency: Some("order-7".into()),
        command,
    };
    let (machine_version, time) = (1, ClusterTime(123_456));
    Batch { machine_version, group: GROUP, time, envelopes: vec![envelope] }
}

// Goal: a log entry with each command is written as it always was, and read as what it was.
#[test]
fn log_entries_keep_their_encoding() {
    let mut samples = Samples::read("batch-1.hex");
    let mut seen = std::collections::BTreeSet::new();
    for command in commands() {
        let label = label(&command);
        seen.insert(label);
        let batch = batch(command);
        let now = batch.encode().unwrap();
        let kept = samples.expect(label, &now);
        assert_eq!(Batch::decode(&kept), Ok(batch), "{label} is read differently");
        assert_eq!(hex(&kept), hex(&now), "{label} is written differently");
    }
    assert_eq!(seen.len(), LABELS, "each command has a sample");
}

fn outcomes() -> Vec<(&'static str, Outcome)> {
    let leg = LegId { group: GROUP, ordinal: Ordinal(1) };
    let contact = ContactId { group: GROUP, ordinal: Ordinal(2) };
    let (node, epoch) = (NodeId(1), Epoch(2));
    vec![
        ("done", Ok(Reply::Done)),
        ("registered", Ok(Reply::Registered { epoch, first_leg: leg })),
        ("leg_ids", Ok(Reply::LegIds { first: leg })),
        ("call_admitted", Ok(Reply::CallAdmitted { contact })),
        ("queue", Ok(Reply::Queue(QueueReply::Enqueued { contact, queue_len: 3 }))),
        ("answered_too_late", Ok(Reply::AnsweredTooLate)),
        ("rejected", Err(Rejection::Queue(QueueRejection::QueueMustExist(name("x"))))),
        ("fenced", Err(Rejection::Fenced { node, epoch, current: Epoch(3) })),
        ("leg_must_be_owned", Err(Rejection::LegMustBeOwned { leg, epoch: LegEpoch(1) })),
        ("bug", Err(Rejection::Bug { incident: 5 })),
        ("node_must_be_trusted", Err(Rejection::NodeMustBeTrusted { node, index: 512 })),
        ("node_must_not_be_removed", Err(Rejection::NodeMustNotBeRemoved(node))),
        ("disk_must_be_new", Err(Rejection::DiskMustBeNew(node))),
        (
            "node_must_support_version",
            Err(Rejection::NodeMustSupportVersion { node, supports: 1, in_force: 2 }),
        ),
        ("relay_name_must_be_free", Err(Rejection::RelayNameMustBeFree(name("r1")))),
        ("idempotency_key_must_fit", Err(Rejection::IdempotencyKeyMustFit)),
        ("configuration_applied", Ok(Reply::ConfigurationApplied { version: 13, changes: 2 })),
        (
            "configuration_must_be_current",
            Err(Rejection::ConfigurationMustBeCurrent { base: 12, current: 13 }),
        ),
        (
            "configuration_change_refused",
            Err(Rejection::ConfigurationChangeRefused {
                change: 3,
                rejection: QueueRejection::QueueMustExist(name("x")),
            }),
        ),
    ]
}

// Goal: remembered outcomes, which answer retries after an upgrade, keep their encoding.
#[test]
fn outcomes_keep_their_encoding() {
    let mut samples = Samples::read("outcome-1.hex");
    for (label, outcome) in outcomes() {
        let now = encode_outcome(&outcome);
        let kept = samples.expect(label, &now);
        assert_eq!(decode_outcome(&kept), Ok(outcome), "{label} is read differently");
        assert_eq!(hex(&kept), hex(&now), "{label} is written differently");
    }
}

/// The name of a life's sample. Without a catch-all, so that a new one needs a sample.
fn life_label(life: NodeLife) -> &'static str {
    match life {
        NodeLife::Admitted => "admitted",
        NodeLife::Up => "up",
        NodeLife::Lost { .. } => "lost",
        NodeLife::Stopped { .. } => "stopped",
        NodeLife::Removed { .. } => "removed",
    }
}

// Goal: a node's row is read and written as it always was, whatever its life came to.
#[test]
fn node_rows_keep_their_encoding() {
    let mut samples = Samples::read("node-1.hex");
    let sim = Sim::center();
    let row = sim.machine.nodes().iter().next().unwrap().clone();
    let since = ClusterTime(123_456);
    let lives = [
        NodeLife::Admitted,
        NodeLife::Up,
        NodeLife::Lost { since },
        NodeLife::Stopped { since },
        NodeLife::Removed { since },
    ];
    for life in lives {
        let row = Node { life, supports: 1, ..row.clone() };
        let now = encode_row(&row);
        let kept = samples.expect(life_label(life), &now);
        assert_eq!(decode_row::<Node>(&kept), Ok(row), "{life:?} is read differently");
        assert_eq!(hex(&kept), hex(&now), "{life:?} is written differently");
    }
}

/// The name of a version's sample. Without a catch-all, so that a new way to make one needs a sample.
fn made_label(made: &Made) -> &'static str {
    match made {
        Made::Singly { .. } => "singly",
        Made::Whole { .. } => "whole",
        Made::Found => "found",
    }
}

// Goal: a version of the configuration is read and written as it always was, however it was made.
#[test]
fn versions_of_the_configuration_keep_their_encoding() {
    let mut samples = Samples::read("configuration-1.hex");
    let singly = Made::Singly { latest: vec!["queue sales".into(), "agent amy removed".into()] };
    let whole = Made::Whole {
        author: "ann".into(),
        comment: "the summer's hours".into(),
        summary: "1 queue".into(),
        restores: Some(7),
    };
    for made in [singly, whole, Made::Found] {
        let label = made_label(&made);
        let row = ConfigurationVersion {
            first: 12,
            last: 15,
            tenant: TENANT,
            at: ClusterTime(123_456),
            document: (label != "singly").then(configuration_document),
            made,
        };
        let now = encode_row(&row);
        let kept = samples.expect(label, &now);
        assert_eq!(
            decode_row::<ConfigurationVersion>(&kept),
            Ok(row),
            "{label} is read differently"
        );
        assert_eq!(hex(&kept), hex(&now), "{label} is written differently");
    }
}

/// The name of a contact's sample. Without a catch-all, so that a new state needs a sample.
fn contact_label(state: ContactState) -> &'static str {
    match state {
        ContactState::Queued => "queued",
        ContactState::Unconfirmed => "unconfirmed",
        ContactState::Offered { .. } => "offered",
        ContactState::Connected { .. } => "connected",
    }
}

fn decision(offer: OfferNumber, agent: AgentId) -> Decision {
    let idle_since = ClusterTime(90_000);
    Decision {
        offer,
        at: ClusterTime(96_000),
        agent,
        site: SiteId(2),
        queue: QueueId(1),
        occasion: Occasion::Sweep,
        choice: Choice::PreferredSite,
        strategy: Strategy::FewestContacts,
        standing: Rival { agent, rank: 3, idle_since },
        next: Some(Rival { agent: AgentId(4), rank: 5, idle_since }),
        stage: Stage { step: 1, reserve: 2, urgent: Urgent::Yes },
        queue_len: 7,
    }
}

/// A contact's row as it is read from version 1, which knew no timed rules.
fn contact_of_version_1(row: &Contact) -> Contact {
    Contact {
        stage: Stage::default(),
        stage_at: None,
        placed: None,
        preferred: None,
        decision: None,
        entered: row.admitted,
        visited: Vec::new(),
        failed_offers: Vec::new(),
        came_as: 0,
        also: Vec::new(),
        via: None,
        ..row.clone()
    }
}

// Goal: a contact's row is read and written as it always was, whatever its state, with everything that
// it may remember; one of version 1 is read too.
#[test]
fn contact_rows_keep_their_encoding() {
    let (mut samples, first) = (Samples::read("contact-2.hex"), Samples::read("contact-1.hex"));
    let mut sim = Sim::center();
    sim.call(1);
    let row = sim.machine.queue().contacts().iter().next().unwrap().clone();
    let (agent, offer, since) = (AgentId(2), OfferNumber(3), ClusterTime(123_456));
    let states = [
        ContactState::Queued,
        ContactState::Unconfirmed,
        ContactState::Offered { offer, agent },
        ContactState::Connected { agent, offer, since },
    ];
    for state in states {
        let held = state == ContactState::Unconfirmed;
        let row = Contact {
            state,
            widen_at: Some(ClusterTime(1_000)),
            wait_until: Some(ClusterTime(60_000)),
            hold_until: held.then_some(ClusterTime(124_456)),
            left_by: held.then_some(agent),
            last_offer: Some((offer, agent)),
            stage: Stage { step: 1, reserve: 2, urgent: Urgent::Yes },
            stage_at: Some(ClusterTime(99_000)),
            placed: held.then_some(-5),
            preferred: held.then_some(Preferred { agent, until: ClusterTime(98_000) }),
            visited: vec![QueueId(9)],
            decision: Some(Arc::new(decision(offer, agent))),
            failed_offers: vec![FailedOffer {
                offer,
                agent,
                at: ClusterTime(97_000),
                how: OfferEnd::Declined(DeclineCause::Busy),
            }],
            ..row.clone()
        };
        let old = decode_row::<Contact>(&first.kept[contact_label(state)]);
        assert_eq!(old, Ok(contact_of_version_1(&row)), "{state:?}, version 1");
        let now = encode_row(&row);
        let kept = samples.expect(contact_label(state), &now);
        assert_eq!(decode_row::<Contact>(&kept), Ok(row), "{state:?} is read differently");
        assert_eq!(hex(&kept), hex(&now), "{state:?} is written differently");
    }
}

/// The name of a work state's sample. Without a catch-all, so that a new state or reason needs a sample.
fn work_label(work: &WorkState) -> &'static str {
    let reason = |reason: &NotReadyReason| match reason {
        NotReadyReason::Unspecified => "not_ready.unspecified",
        NotReadyReason::Code(_) => "not_ready.code",
        NotReadyReason::Rona => "not_ready.rona",
        NotReadyReason::Declined => "not_ready.declined",
        NotReadyReason::DeviceBusy => "not_ready.device_busy",
        NotReadyReason::DeviceFailed => "not_ready.device_failed",
        NotReadyReason::NodeFailed => "not_ready.node_failed",
    };
    match work {
        WorkState::NotReady(why) => reason(why),
        WorkState::Ready => "ready",
        WorkState::Offered(_) => "offered",
        WorkState::Busy(_) => "busy",
        WorkState::WrapUp(_) => "wrap_up",
        WorkState::Paused { .. } => "paused",
    }
}

/// An agent's row as it is read from version 1, which knew neither tallies nor tiers.
fn of_version_1(row: &Agent) -> Agent {
    Agent {
        tally: Tally::default(),
        turn: Ordinal::default(),
        asked: BTreeMap::new(),
        tiers: Arc::default(),
        reserves: Arc::default(),
        attributes: Arc::default(),
        after: None,
        counted: AgentInterval::default(),
        ..row.clone()
    }
}

// Goal: an agent's row is read and written as it always was, whatever they do and why; one of version 1
// is read too.
#[test]
fn agent_rows_keep_their_encoding() {
    let (mut samples, first) = (Samples::read("agent-2.hex"), Samples::read("agent-1.hex"));
    let sim = Sim::center();
    let row = sim.machine.queue().agents().iter().next().unwrap().clone();
    let (contact, until) = (ContactId { group: GROUP, ordinal: Ordinal(77) }, ClusterTime(123_456));
    let reasons = [
        NotReadyReason::Unspecified,
        NotReadyReason::Code(name("break")),
        NotReadyReason::Rona,
        NotReadyReason::Declined,
        NotReadyReason::DeviceBusy,
        NotReadyReason::DeviceFailed,
        NotReadyReason::NodeFailed,
    ];
    let not_ready = reasons.map(WorkState::NotReady);
    let others = [
        WorkState::Ready,
        WorkState::Offered(OfferNumber(9)),
        WorkState::Busy(contact),
        WorkState::WrapUp(until),
        WorkState::Paused { why: NotReadyReason::NodeFailed, until },
    ];
    for work in not_ready.into_iter().chain(others) {
        let label = work_label(&work);
        let row = Agent { work, ..row.clone() };
        if let Some(old) = first.kept.get(label) {
            assert_eq!(decode_row::<Agent>(old), Ok(of_version_1(&row)), "{label}, version 1");
        }
        let now = encode_row(&row);
        let kept = samples.expect(label, &now);
        assert_eq!(decode_row::<Agent>(&kept), Ok(row), "{label} is read differently");
        assert_eq!(hex(&kept), hex(&now), "{label} is written differently");
    }
}

/// The name of a record's sample. Without a catch-all, so that a new kind needs a sample.
fn record_label(what: &What) -> &'static str {
    match what {
        What::ContactEntered { .. } => "contact_entered",
        What::ContactOverflowed { .. } => "contact_overflowed",
        What::ContactMoved { .. } => "contact_moved",
        What::OfferMade { .. } => "offer_made",
        What::OfferEnded { .. } => "offer_ended",
        What::ContactConnected { .. } => "contact_connected",
        What::ContactRequeued { .. } => "contact_requeued",
        What::ContactUnconfirmed { .. } => "contact_unconfirmed",
        What::ContactConfirmed { .. } => "contact_confirmed",
        What::ContactLeft { .. } => "contact_left",
        What::ContactCompleted { .. } => "contact_completed",
        What::AgentLoggedIn { .. } => "agent_logged_in",
        What::AgentLoggedOut { .. } => "agent_logged_out",
        What::AgentChanged { .. } => "agent_changed",
        What::AgentServes { .. } => "agent_serves",
        What::DeviceChanged { .. } => "device_changed",
        What::PlanStepped { .. } => "plan_stepped",
        What::SiteChanged { .. } => "site_changed",
        What::Configured { .. } => "configured",
    }
}

/// How many labels there are: a record whose sample is missing below is noticed.
const RECORD_LABELS: usize = 19;

fn records() -> Vec<What> {
    let contact = ContactId { group: GROUP, ordinal: Ordinal(77) };
    let (queue, agent, site) = (name("sales"), name("amy"), name("lon"));
    let (offer, caller) = (OfferNumber(9), CallerNumber::new("+447700900123"));
    let (waited, in_queue, talk, ring) =
        (Millis(20_000), Millis(12_000), Millis(90_000), Millis(4_000));
    let (from, to) = (Standing::Serving, Standing::NotReady(NotReadyReason::Code(name("lunch"))));
    vec![
        What::ContactEntered {
            contact,
            queue: queue.clone(),
            caller: caller.clone(),
            called: name("100"),
            site: site.clone(),
            priority: 3,
            came_as: 5,
            waited,
        },
        What::ContactOverflowed {
            contact,
            from: queue.clone(),
            to: name("support"),
            caller: caller.clone(),
            why: OverflowCause::Unstaffed,
            waited,
            in_queue,
            position: 2,
            came_as: 5,
            came_as_to: 1,
        },
        What::ContactMoved { contact, queue: queue.clone(), from: site.clone(), to: name("fra") },
        What::OfferMade {
            contact,
            queue: queue.clone(),
            offer,
            agent: agent.clone(),
            site: site.clone(),
            waited,
        },
        What::OfferEnded {
            contact,
            queue: queue.clone(),
            offer,
            agent: agent.clone(),
            how: OfferEnd::Declined(DeclineCause::Busy),
            ring,
        },
        What::ContactConnected {
            contact,
            queue: queue.clone(),
            offer,
            agent: agent.clone(),
            site: site.clone(),
            waited,
            in_queue,
            ring,
        },
        What::ContactRequeued {
            contact,
            queue: queue.clone(),
            agent: agent.clone(),
            caller,
            waited,
            in_queue,
            talk,
            came_as: 5,
            position: 1,
        },
        What::ContactUnconfirmed { contact, queue: queue.clone() },
        What::ContactConfirmed { contact, queue: queue.clone() },
        What::ContactLeft {
            contact,
            queue: queue.clone(),
            reason: EndReason::Overflowed,
            overflow: Some(OverflowCause::Closed),
            waited,
            in_queue,
            position: 2,
            came_as: 5,
        },
        What::ContactCompleted {
            contact,
            queue: queue.clone(),
            agent: agent.clone(),
            reason: EndReason::AgentHungUp,
            waited,
            in_queue,
            talk,
            came_as: 5,
        },
        What::AgentLoggedIn {
            agent: agent.clone(),
            site: site.clone(),
            queues: vec![queue.clone()],
            standing: Standing::WrapUp,
        },
        What::AgentLoggedOut {
            agent: agent.clone(),
            site: site.clone(),
            queues: vec![queue.clone()],
            logged_in: Millis(28_800_000),
        },
        What::AgentChanged { agent: agent.clone(), site: site.clone(), from, to, lasted: talk },
        What::AgentServes { agent: agent.clone(), joined: vec![queue.clone()], left: vec![] },
        What::DeviceChanged { agent, site: site.clone(), to: DeviceState::Recovering },
        What::PlanStepped { plan: Ordinal(77) },
        What::SiteChanged { site, to: SiteState::Draining },
        What::Configured { thing: Thing::Queue, name: queue },
    ]
}

// Goal: each kind of record, which stands in histories for as long as they are kept, is written and read as
// it always was; so is a row with its head.
#[test]
fn records_keep_their_encoding() {
    let mut samples = Samples::read("feed-1.hex");
    let mut seen = std::collections::BTreeSet::new();
    for what in records() {
        let label = record_label(&what);
        seen.insert(label);
        let record = Record { tenant: TenantId(7), tenant_name: Some(name("acme")), what };
        let now = postcard::to_allocvec(&record).unwrap();
        let kept = samples.expect(label, &now);
        let read = postcard::from_bytes::<Record>(&kept);
        assert_eq!(read, Ok(record), "{label} is read differently");
        assert_eq!(hex(&kept), hex(&now), "{label} is written differently");
    }
    assert_eq!(seen.len(), RECORD_LABELS, "each record has a sample");
    let mut sim = Sim::center();
    sim.queue(QueueCommand::AnchorWall { utc: UtcMillis(1_800_000_000_000) }).unwrap();
    sim.call(1);
    let (key, value) = sim.feed.pop_last().unwrap();
    let kept = samples.expect("row", &value);
    assert_eq!(hex(&kept), hex(&value), "a row is written differently");
    assert!(FeedRow::read(GROUP, &key, &kept).is_some());
}

/// A center in which every table has rows.
fn full_center() -> Machine {
    let mut sim = Sim::center();
    let credential = commands()
        .into_iter()
        .find(|command| matches!(command, Command::PutCredential { .. }))
        .unwrap();
    sim.propose(1, credential).unwrap();
    let (talking, waiting) = (sim.call(1), sim.call(2));
    sim.answer("amy").unwrap();
    for _ in 0..3 {
        sim.call(3);
    }
    let mut keyed = sim.envelope(2, Command::ReserveLegIds { count: 1 });
    keyed.idempotency = Some("order-7".into());
    sim.apply(vec![keyed]);
    sim.propose(1, Command::ReportDigest { index: 512, digest: Digest(1) }).unwrap();
    let gone = Command::LegEnded(sim.fact(waiting, LegEnd::PeerGone));
    sim.propose(2, gone).unwrap();
    assert!(sim.machine.legs().contains(&talking));
    sim.machine
}

// Goal: rows that were written are loaded for ever, and written the same again.
#[test]
fn rows_keep_their_encoding() {
    let mut samples = Samples::read("row-2.hex");
    let machine = full_center();
    let mut kept = Vec::new();
    for (key, value) in machine.stored_rows() {
        kept.push((key.clone(), samples.expect(&hex(&key), &value)));
    }
    assert_eq!(kept.len(), samples.kept.len(), "no row of the samples is written any more");
    let loaded = Machine::load(GROUP, kept.iter().cloned().map(Ok::<_, ()>)).unwrap();
    assert_eq!(loaded, machine, "the rows are read differently");
    let again: Vec<_> = loaded.stored_rows().collect();
    assert_eq!(again, kept, "the rows are written differently");
}

// Goal: rows of queues and agents of version 1 are loaded as the same center, and the digest of what they
// become is the digest of their rows as they are written now.
#[test]
fn rows_of_version_1_are_read() {
    let machine = full_center();
    let kept = Samples::read("row-1.hex").kept;
    let rows = kept.iter().map(|(key, value)| Ok::<_, ()>((unhex(key), value.clone())));
    let loaded = Machine::load(GROUP, rows).unwrap();
    let agents =
        |machine: &Machine| machine.queue().agents().iter().map(of_version_1).collect::<Vec<_>>();
    assert_eq!(agents(&loaded), agents(&machine));
    assert!(loaded.queue().queues().iter().eq(machine.queue().queues().iter()));
    assert_eq!(loaded.stored_rows().count(), kept.len(), "intervals are counted since version 2");
    let again = Machine::load(GROUP, loaded.stored_rows().map(Ok::<_, ()>)).unwrap();
    assert_eq!((&again, again.digest()), (&loaded, loaded.digest()));
}

// Goal: what a newer program wrote is refused with its format, not taken for damage; damage is
// refused too.
#[test]
fn foreign_formats_are_refused() {
    let good = batch(Command::ExpireDue).encode().unwrap();
    let mut newer = good.clone();
    newer[0] += 1;
    assert_eq!(Batch::decode(&newer), Err(BatchError::NewerFormat { format: good[0] + 1 }));
    for damaged in [&good[..good.len() - 1], &[], &[good.as_slice(), &[0]].concat()] {
        assert!(matches!(Batch::decode(damaged), Err(BatchError::Damaged(_))), "{damaged:?}");
    }
}
