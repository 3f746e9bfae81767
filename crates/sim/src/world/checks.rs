//! The invariants that hold after every step of every test, and those that hold at rest.
//!
//! | what | where |
//! |---|---|
//! | numbers on the wire (CSeq, SDP version) are reserved in the log before they are used | [`sent`] |
//! | what is reserved never shrinks while a leg lives | [`after_apply`] |
//! | only a node whose life is current and whose lease runs originates requests (S2) | [`sent`] |
//! | a request within a dialog comes from the leg's owner in the log | [`sent`] |
//! | no agent has two conversations (R2) | [`after_apply`] |
//! | no two relay processes send a stream under the same count (M1) | [`Checks::stream_used`] |
//! | peers never see a CSeq twice, a lower SDP version, another `o=` line | the user agents |
//! | tables of call control are bounded by what is open | [`at_rest`] |
//! | the audio of who talks points at each other | [`talks`] |
//! | all is released when all is over | [`at_rest`] |

use std::collections::{BTreeMap, BTreeSet};

use tandem_callcontrol::io::{Load, Note, Source};
use tandem_cluster::{
    command::{Envelope, Outcome, Rejection},
    ids::{AgentId, Epoch, LegEpoch, LegId, NodeId},
    leg::{Control, Leg, LegPhase, LegRole, MediaDirection},
};
use tandem_routing::{command::Event, entity::ContactState};
use tandem_sip::transaction::Transmit;

use crate::judge::Judge;

use super::{OnViolation, World, relays::Relay, relays::StreamUse, text::Msg};

/// What is remembered to judge by.
#[derive(Debug, Default)]
pub struct Checks {
    /// The judges of the log.
    pub judge: Judge,
    /// What broke, in the words of its check.
    pub violations: Vec<String>,
    /// Until when each life may originate.
    leases: BTreeMap<(u64, Epoch), u64>,
    /// Which relay process sent a stream under a count.
    streams: BTreeMap<StreamUse, (String, u64, LegEpoch)>,
    /// Branches of requests that have left already: what comes again originates nothing.
    branches: BTreeSet<(u64, String)>,
    /// Reserved CSeq and SDP version of each leg.
    reserved: BTreeMap<LegId, (u32, u64)>,
    /// First outcome of each command.
    outcomes: BTreeMap<(NodeId, Epoch, u64), Outcome>,
    /// Largest numbers that left for a leg: CSeq, SDP version.
    pub used: BTreeMap<LegId, (u32, u64)>,
}

impl Checks {
    /// A life may originate until then.
    pub fn leased(&mut self, node: u64, epoch: Epoch, until: u64) {
        // Grants overtake each other; a node keeps the longest.
        let known = self.leases.entry((node, epoch)).or_insert(until);
        *known = until.max(*known);
    }

    /// True when this proposal was carried out.
    #[must_use]
    pub fn was_done(&self, key: (NodeId, Epoch, u64)) -> bool {
        self.outcomes.contains_key(&key)
    }

    /// M1: a stream under one count belongs to one process. Not judged: a relay that runs anew, of
    /// which the owner cannot know: it had not heard of this start yet (`judged`), or took the leg over
    /// and asks for the first time.
    pub fn stream_used(
        &mut self,
        used: StreamUse,
        (relay, incarnation): (&str, u64),
        epoch: LegEpoch,
        judged: bool,
    ) {
        let process = (relay.to_owned(), incarnation, epoch);
        let before = self.streams.insert(used, process.clone());
        let Some(before) = before else { return };
        let same = before.0 == process.0 && before.1 == process.1;
        if !same && (before.0 != process.0 || (judged && before.2 == epoch)) {
            let text = format!("M1: stream {used:?} is sent by {before:?} and {process:?}");
            self.violations.push(text);
        }
    }
}

/// The leg whose dialog has this Call-ID and this tag of ours.
fn leg_of<'a>(world: &'a World, call_id: &str, our_tag: &str) -> Option<&'a Leg> {
    world.log.machine.legs().iter().find(|leg| {
        leg.dialog.as_ref().is_some_and(|d| d.call_id == call_id && d.local_tag == our_tag)
    })
}

/// A node sends a message.
pub fn sent(world: &mut World, node: u64, transmit: &Transmit) {
    let Ok(msg) = Msg::parse(&transmit.bytes) else {
        // The user agent that gets it says what is wrong.
        return;
    };
    let mut wrong = Vec::new();
    let request = msg.is_request();
    let our_tag = if request { Some(msg.tag_of_from()) } else { msg.tag_of_to() };
    let leg = our_tag.and_then(|tag| leg_of(world, &msg.call_id(), &tag)).cloned();
    if request {
        judge_request(world, node, &msg, leg.as_ref(), &mut wrong);
    }
    if let (Some(leg), Some(sdp)) = (&leg, msg.sdp()) {
        let dialog = leg.dialog.as_ref().expect("found by its dialog");
        if sdp.version > dialog.sdp_version_reserved {
            let reserved = dialog.sdp_version_reserved;
            wrong.push(format!("SDP version {} is not reserved ({reserved})", sdp.version));
        }
        let used = world.checks.used.entry(leg.id).or_default();
        used.1 = used.1.max(sdp.version);
    }
    let at = format!("node {node} sends {:?}", msg.start);
    world.checks.violations.extend(wrong.into_iter().map(|text| format!("{at}: {text}")));
}

fn judge_request(
    world: &mut World,
    node: u64,
    msg: &Msg,
    leg: Option<&Leg>,
    wrong: &mut Vec<String>,
) {
    let (number, method) = msg.cseq();
    let again = !world.checks.branches.insert((node, format!("{}/{method}", msg.branch())));
    if let Some(leg) = leg
        && method != "ACK"
        && method != "CANCEL"
    {
        let dialog = leg.dialog.as_ref().expect("found by its dialog");
        if number > dialog.local_cseq_reserved {
            wrong.push(format!("CSeq {number} is not reserved ({})", dialog.local_cseq_reserved));
        }
        let used = world.checks.used.entry(leg.id).or_default();
        used.0 = used.0.max(number);
        if !again && leg.owner.node != NodeId(node) {
            wrong.push(format!("{} is owned by {:?}", leg.id, leg.owner));
        }
    }
    if method == "ACK" || again {
        return;
    }
    let epoch = world.nodes[&node].process.as_ref().and_then(|process| process.epoch);
    let current = epoch.is_some_and(|epoch| {
        let row = world.log.machine.nodes().get(&NodeId(node));
        row.is_some_and(|row| row.epoch == epoch && row.is_up())
    });
    let until = epoch.and_then(|epoch| world.checks.leases.get(&(node, epoch))).copied();
    if !current || until.is_none_or(|until| world.local(node) >= until) {
        wrong.push(format!("S2: its life {epoch:?} may not (lease until {until:?})"));
    }
}

/// What holds after every entry of the log.
pub fn after_apply(world: &mut World) {
    let mut wrong = Vec::new();
    let mut talking: BTreeMap<AgentId, LegId> = BTreeMap::new();
    for leg in world.log.machine.legs().iter() {
        if let Some(dialog) = &leg.dialog {
            let now = (dialog.local_cseq_reserved, dialog.sdp_version_reserved);
            let before = world.checks.reserved.insert(leg.id, now).unwrap_or(now);
            if now.0 < before.0 || now.1 < before.1 {
                wrong.push(format!("{}: reserved {before:?} became {now:?}", leg.id));
            }
        }
        if let (LegRole::Agent { agent, .. }, LegPhase::Active) = (leg.role, &leg.phase)
            && let Some(other) = talking.insert(agent, leg.id)
        {
            wrong.push(format!("R2: {agent:?} talks in {} and {other}", leg.id));
        }
    }
    world.checks.violations.append(&mut wrong);
}

/// A command came to this. One with the same number, or the same key, changes state at most once (R9):
/// its second outcome is the first one again, or a refusal.
pub fn outcome(world: &mut World, envelope: &Envelope, outcome: &Outcome) {
    if envelope.epoch == Epoch(0) {
        return;
    }
    let key = (envelope.node, envelope.epoch, envelope.sequence);
    let refused = |outcome: &Outcome| {
        matches!(
            outcome,
            Err(Rejection::TooOld { .. }
                | Rejection::Fenced { .. }
                | Rejection::WindowExceeded { .. })
        )
    };
    match world.checks.outcomes.get(&key) {
        Some(first) if first != outcome && !refused(outcome) => {
            let text = format!("R9: {key:?} came to {first:?}, and again to {outcome:?}");
            world.wrong(text);
        }
        Some(_) => {}
        None if refused(outcome) => {}
        None => {
            world.checks.outcomes.insert(key, outcome.clone());
        }
    }
}

/// Nobody rings for a caller whose leg its new owner has not confirmed yet: they may be gone.
pub fn after_offers(world: &mut World, events: &[Event]) {
    let mut wrong = Vec::new();
    for event in events {
        let Event::OfferMade { contact, offer, .. } = event else { continue };
        // One that the same entry took back rings nowhere.
        if !world.log.machine.queue().offers().contains(offer) {
            continue;
        }
        let mut callers = world.log.machine.legs_of(*contact);
        let caller = callers.find(|leg| leg.role == LegRole::Caller);
        if let Some(leg) = caller.filter(|leg| matches!(leg.control, Control::Recovering { .. })) {
            wrong.push(format!("ghost: {contact} is offered while {} is in doubt", leg.id));
        }
    }
    world.checks.violations.append(&mut wrong);
}

/// Stops a strict world at the first violation.
pub fn after_step(world: &World) {
    let violations = &world.checks.violations;
    if violations.is_empty() || world.on_violation == OnViolation::Record {
        return;
    }
    let (seed, now, state) = (world.seed, world.now, world.describe());
    assert!(violations.is_empty(), "seed {seed}: at {now} ms:\n{}\n{state}", violations.join("\n"));
}

/// What call control says that should not happen, besides what `but` knows of.
pub fn unexpected(world: &World) -> Vec<String> {
    let of = |node: &super::node::Node| {
        let id = node.id;
        let wrong = node.notes.iter().filter_map(move |(at, note)| match note {
            Note::Unexpected { what } => Some(format!("node {id} at {at} ms: {what}")),
            _ => None,
        });
        wrong.collect::<Vec<_>>()
    };
    world.nodes.values().flat_map(of).collect()
}

/// What is wrong with the audio of who talks, as the log has it: nothing when all has settled.
pub fn talks(world: &World) -> Vec<String> {
    let mut wrong = Vec::new();
    let machine = &world.log.machine;
    for contact in machine.queue().contacts().iter() {
        let ContactState::Connected { offer, .. } = contact.state else { continue };
        let legs: Vec<&Leg> = machine.legs_of(contact.id).collect();
        let caller = legs.iter().find(|leg| leg.role == LegRole::Caller);
        let agent = legs
            .iter()
            .find(|leg| matches!(leg.role, LegRole::Agent { offer: of, .. } if of == offer));
        let (Some(caller), Some(agent)) = (caller, agent) else {
            wrong.push(format!("{}: legs are missing", contact.id));
            continue;
        };
        wrong.extend(bridged(world, caller, agent).err());
        wrong.extend(bridged(world, agent, caller).err());
    }
    wrong
}

/// Whether a leg's relay sends what the other leg's peer says to its own peer.
fn bridged(world: &World, leg: &Leg, other: &Leg) -> Result<(), String> {
    let id = leg.id;
    let media = leg.media.as_ref().ok_or(format!("{id}: no media"))?;
    let theirs = other.media.as_ref().ok_or(format!("{id}: no media at the other side"))?;
    let relay = world.relays.iter().find(|relay| relay.record.id == media.relay);
    let relay = relay.ok_or(format!("{id}: no relay {}", media.relay))?;
    let session = relay.sessions.get(&id).ok_or(format!("{id}: no session at {}", media.relay))?;
    match &session.spec.source {
        Source::Peer { leg, relay, .. } if *leg == other.id && *relay == theirs.relay => {}
        source => return Err(format!("{id}: the source is {source:?}, not {}", other.id)),
    }
    if session.spec.epoch != leg.epoch || session.at != media.local {
        return Err(format!("{id}: the session is {:?} at {:?}", session.spec.epoch, session.at));
    }
    let at = Relay::socket(session);
    let dialog = leg.dialog.as_ref().ok_or(format!("{id}: no dialog"))?;
    let peer = world.uas.iter().find_map(|ua| {
        let call = ua
            .calls
            .iter()
            .find(|call| call.call_id == dialog.call_id && call.local_tag == dialog.remote_tag)?;
        Some((ua, call))
    });
    let (ua, call) = peer.ok_or(format!("{id}: nobody has this dialog"))?;
    let told = call.peer_sdp.as_ref().map(super::text::Sdp::socket);
    if told != Some(at) {
        return Err(format!("{id}: {} sends to {told:?}, the session is at {at}", ua.name));
    }
    let remote = session.spec.remote.as_ref().map(|at| (at.address.clone(), at.port));
    let says = Some((call.my_sdp.address.clone(), call.my_sdp.port));
    if remote != says {
        return Err(format!("{id}: audio goes to {remote:?}, {} is at {says:?}", ua.name));
    }
    let expected = match call.my_sdp.direction.as_str() {
        "sendrecv" => MediaDirection::SendReceive,
        "sendonly" => MediaDirection::ReceiveOnly,
        "recvonly" => MediaDirection::SendOnly,
        _ => MediaDirection::Inactive,
    };
    if session.spec.direction != expected && !call.refused {
        return Err(format!("{id}: {:?}, not {expected:?}", session.spec.direction));
    }
    Ok(())
}

/// What is left over when everybody has hung up and time has passed.
pub fn at_rest(world: &World) -> Vec<String> {
    let mut left = Vec::new();
    let machine = &world.log.machine;
    left.extend(machine.legs().iter().map(|leg| format!("{} is in the log: {leg:?}", leg.id)));
    let contacts = machine.queue().contacts().iter();
    left.extend(contacts.map(|contact| format!("{} is in the queue", contact.id)));
    for (id, node) in &world.nodes {
        let Some(process) = &node.process else { continue };
        let load = process.control.load();
        let expected = Load { registrations: load.registrations, ..Load::default() };
        if load != expected {
            left.push(format!("node {id}: {load:?}"));
        }
    }
    for relay in world.relays.iter().filter(|relay| relay.up) {
        for (leg, session) in &relay.sessions {
            left.push(format!("{leg} has a session at {}: {session:?}", relay.record.id));
        }
    }
    for ua in &world.uas {
        if ua.alive && ua.open() > 0 {
            left.push(format!("{} has {} calls", ua.name, ua.open()));
        }
    }
    left
}

/// Fails when anything is left over.
pub fn assert_at_rest(world: &World) {
    let left = at_rest(world);
    assert!(left.is_empty(), "seed {}:\n{}\n{}", world.seed, left.join("\n"), world.describe());
}

/// Fails when who talks cannot hear each other.
pub fn assert_talks(world: &World) {
    let wrong = talks(world);
    assert!(wrong.is_empty(), "seed {}:\n{}\n{}", world.seed, wrong.join("\n"), world.describe());
}
