//! Actions, done to a world.

use tandem_cluster::command::Command;
use tandem_routing::{
    command::{Command as QueueCommand, Readiness},
    entity::SiteState,
};

use super::action::{Action, Manner, SiteIs};
use crate::world::{
    World,
    log::{TENANT, name},
    relay_of,
    ua::{OnCancel, Plan as PhonePlan, Reaction, Respond},
};

/// Applications wait so long for an answer, in ms.
const PATIENCE: u64 = 3_000;

/// Does it; true when it could be done (nobody crashes what is dead already).
pub(super) fn perform(world: &mut World, action: &Action) -> bool {
    match action {
        Action::Call { who, number, node } => call(world, who, number, *node),
        Action::HangUp { who } => {
            world.ua(who).hang_up();
            true
        }
        Action::Hold { who, held } => hold(world, who, *held),
        Action::Phone { who, manner } => {
            let sends = world.see(who).plan.sends;
            world.ua(who).plan = PhonePlan { sends, ..phone(*manner) };
            true
        }
        Action::Reinvited { who, status } => {
            world.ua(who).plan.reinvited = match status {
                0 => Respond::Silent,
                200 => Respond::Ok,
                status => Respond::Status(*status),
            };
            true
        }
        Action::Ready { who, ready, node } => {
            let to = if *ready { Readiness::Ready } else { Readiness::NotReady(None) };
            ask(world, *node, QueueCommand::SetReadiness { tenant: TENANT, agent: name(who), to })
        }
        Action::Login { who, login: true, node } => {
            let as_state = Readiness::Ready;
            ask(world, *node, QueueCommand::LogIn { tenant: TENANT, agent: name(who), as_state })
        }
        Action::Login { who, login: false, node } => {
            ask(world, *node, QueueCommand::LogOut { tenant: TENANT, agent: name(who) })
        }
        Action::Site { site, state, node } => {
            let site = world.nodes[site].settings.site.clone();
            let state = match state {
                SiteIs::Open => SiteState::Open,
                SiteIs::Draining => SiteState::Draining,
                SiteIs::Closed => SiteState::Closed,
            };
            ask(world, *node, QueueCommand::SetSiteState { site, state })
        }
        Action::NoQuorum => std::mem::replace(&mut world.quorum, false),
        Action::Heal => {
            world.heal();
            true
        }
        Action::Isolate { node } => world.isolated.insert(*node),
        Action::Cut { from, to } => world.cuts.insert((*from, *to)),
        Action::Depose => world.depose_leader(),
        Action::LogSlow { ms } => std::mem::replace(&mut world.log_slow, *ms) != *ms,
        Action::Vanish { who } => std::mem::replace(&mut world.ua(who).alive, false),
        Action::Return { who } => !std::mem::replace(&mut world.ua(who).alive, true),
        Action::RelayCrash { relay, back_after } => {
            let up = world.relays[relay_of(*relay)].up;
            if up {
                world.crash_relay(*relay, *back_after);
            }
            up
        }
        Action::RelayCut { relay, node } => world.relay(*relay).cut_from.insert(*node),
        Action::RelayUncut { relay } => {
            world.uncut_relay(*relay);
            true
        }
        Action::RelayFull { relay } => !std::mem::replace(&mut world.relay(*relay).refuses, true),
        Action::RelayRoomy { relay } => std::mem::replace(&mut world.relay(*relay).refuses, false),
        Action::Crash { .. }
        | Action::PowerLoss { .. }
        | Action::Start { .. }
        | Action::StartFromSnapshot { .. }
        | Action::Freeze { .. }
        | Action::Suspend { .. }
        | Action::Drift { .. }
        | Action::Jump { .. } => to_node(world, action),
    }
}

/// What happens to one node as a whole.
fn to_node(world: &mut World, action: &Action) -> bool {
    let running = |world: &World, node: &u64| world.nodes[node].process.is_some();
    match action {
        Action::Crash { node, witness } if running(world, node) => {
            world.crash_node(*node, *witness);
        }
        Action::PowerLoss { node } if running(world, node) => world.cut_power(*node),
        Action::Start { node } if !running(world, node) => world.start_node(*node),
        Action::StartFromSnapshot { node, of } if !running(world, node) => {
            world.install_snapshot(*node, *of);
            world.start_node(*node);
        }
        Action::Freeze { node, ms } if world.is_awake(*node) => world.freeze_node(*node, *ms),
        Action::Suspend { node, ms } if world.is_awake(*node) => world.suspend_node(*node, *ms),
        Action::Drift { node, ppm } => world.drift(*node, *ppm),
        Action::Jump { node, ms } if world.is_awake(*node) => world.jump(*node, *ms),
        _ => return false,
    }
    true
}

fn call(world: &mut World, who: &str, number: &str, node: u64) -> bool {
    if world.see(who).open() > 0 {
        return false;
    }
    world.ua(who).proxy = world.nodes[&node].udp;
    world.ua(who).invite(number);
    true
}

fn hold(world: &mut World, who: &str, held: bool) -> bool {
    let ua = world.ua(who);
    let ready = (0..ua.calls.len()).find(|index| ua.is_ready(*index));
    if let Some(index) = ready {
        ua.reinvite(index, if held { "sendonly" } else { "sendrecv" });
    }
    ready.is_some()
}

fn ask(world: &mut World, node: u64, command: QueueCommand) -> bool {
    world.ask(node, Command::Queue(command), PATIENCE).is_some()
}

fn phone(manner: Manner) -> PhonePlan {
    let plan = PhonePlan::default();
    match manner {
        Manner::Silent => PhonePlan { invited: Reaction::Silent, ..plan },
        Manner::Rings { after } => PhonePlan { invited: Reaction::Rings(after), ..plan },
        Manner::Rejects { after, status } => {
            PhonePlan { invited: Reaction::Rejects(after, status), ..plan }
        }
        Manner::Answers { rings_after, answers_after, on_cancel, fork_after } => PhonePlan {
            invited: Reaction::Answers(rings_after, answers_after),
            cancelled: if on_cancel { OnCancel::Answers } else { OnCancel::Obeys },
            fork_after,
            ..plan
        },
    }
}
