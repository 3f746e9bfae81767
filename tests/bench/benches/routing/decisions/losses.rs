//! Much at once: the loss of a node, and edits that concern every contact.

use tandem_bench::{
    center::{Center, end, name, put_queue, queue_spec},
    plan::{Plan, Size},
};
use tandem_routing::{
    command::{Command, QueueSpec},
    entity::SiteState,
    ids::ContactId,
    limits::{APPLY_WORK_MAX, CONFIRM_HOLD_MS},
    state::State,
};

use super::{Case, live, live_once};
use crate::{
    growth,
    regime::{self, Regime},
};

/// Agents who are freed, and callers who come, while the lost ones are being confirmed.
const MEANWHILE: usize = 300;

/// Rounds before those that count.
const WARM_UP: usize = 50;

pub(crate) fn all() -> Vec<Case> {
    [confirmed(), given_up(), edits()].into_iter().flatten().collect()
}

fn waiting(state: &State) -> Vec<ContactId> {
    state.contacts().iter().filter(|row| row.is_waiting()).map(|row| row.id).collect()
}

/// 10,000 callers wait, all of them at the node that is lost; 300 phones ring from it.
fn before_the_loss() -> Center {
    let plan = Plan::draw(Size::of(10_000));
    let mut center = regime::center(&plan, Regime::Saturated(10_300));
    center.ends(MEANWHILE);
    center
}

/// A share of the loss for each entry, as the cluster takes it.
fn in_shares<T: Copy>(all: &[T], share: impl FnMut(&[T])) {
    all.chunks(APPLY_WORK_MAX).for_each(share);
}

fn lose(center: &mut Center, log: &mut super::Log) -> Vec<ContactId> {
    log.skip(2 * WARM_UP);
    for _ in 0..WARM_UP {
        let ended = end(center.talking.pop_front().unwrap());
        log.one("", center, &ended);
        let call = center.any_call();
        log.one("", center, &call);
    }
    // Phones first: their callers ring elsewhere, as far as there is anybody.
    let ringing: Vec<_> = center.ringing.drain(..).collect();
    in_shares(&ringing, |share| {
        let what = "loss of a node: a phone rings no more";
        log.acts(what, center, share, |state, (offer, _), events| {
            state.offer_owner_lost(*offer, events);
        });
    });
    let lost = waiting(&center.state);
    assert!(lost.len() >= 10_000, "{}", lost.len());
    in_shares(&lost, |share| {
        let what = "loss of a node, 10,000 legs: a caller is to be confirmed";
        log.acts(what, center, share, |state, id, events| state.unconfirm(*id, events));
    });
    for _ in 0..MEANWHILE {
        let ended = end(center.talking.pop_front().unwrap());
        log.one("End: the agent is held for callers being confirmed", center, &ended);
    }
    for _ in 0..MEANWHILE {
        let call = center.any_call();
        log.one("Enqueue: 10,000 are being confirmed", center, &call);
    }
    assert!(center.ringing.is_empty(), "whoever is ready is held");
    let ready = center.state.agents().iter().filter(|agent| center.state.is_available(agent));
    assert!(ready.count() >= MEANWHILE);
    lost
}

fn confirmed() -> Vec<Case> {
    live(&before_the_loss(), |center, log| {
        let lost = lose(center, log);
        in_shares(&lost, |share| {
            let what = "loss of a node: a caller is confirmed";
            log.acts(what, center, share, |state, id, events| state.confirm(*id, events));
        });
        work_on("loss of a node: work that is left", center, log);
    })
}

fn given_up() -> Vec<Case> {
    let all = live(&before_the_loss(), |center, log| {
        lose(center, log);
        center.time += CONFIRM_HOLD_MS;
        while center.state.next_deadline().is_some_and(|at| at.0 <= center.time) {
            log.bulk("loss of a node: nobody is confirmed in time", center, &Command::ExpireDue);
        }
        work_on("loss of a node: nobody is confirmed, work that is left", center, log);
    });
    all.into_iter().filter(|case| case.what.contains("nobody is confirmed")).collect()
}

fn work_on(what: &'static str, center: &mut Center, log: &mut super::Log) {
    while center.state.has_work() {
        log.bulk(what, center, &Command::ContinueWork);
    }
}

fn edits() -> Vec<Case> {
    let plan = growth::plan(growth::AGENTS);
    let mut center = regime::center(&plan, Regime::Saturated(growth::WAITING_MAX));
    live_once(&mut center, |center, log| {
        let queue = QueueSpec { weight: 7, ..queue_spec(0) };
        let what = "an edit of a queue, 1,000,000 contacts";
        log.bulk(what, center, &put_queue(&queue));
        work_on(what, center, log);
        let what = "a site is drained, 1,000,000 contacts";
        let state = SiteState::Draining;
        log.bulk(what, center, &Command::SetSiteState { site: name("s3"), state });
        work_on(what, center, log);
    })
}
