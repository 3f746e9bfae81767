//! What only the leader does: watch the other nodes' leases, and propose what is due.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use tandem_cluster::{
    command::{Command, Evidence},
    ids::{Epoch, NodeId},
    machine::MACHINE_VERSION,
    node::Node,
};
use tandem_routing::{
    command::Command as QueueCommand,
    entity::WallAnchor,
    time::{ClusterTime, UtcMillis},
};

use tokio::task::JoinHandle;

use super::{core::Core, horizon::Horizon, removal};

/// How often the leader looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The log's idea of people's time is corrected this often at most,
const ANCHOR_EVERY_MS: u64 = 60_000;
/// and only when it is off by as much.
const ANCHOR_OFF_MS: u64 = 200;
/// How long one of its proposals may take.
const PROPOSE_WITHIN: Duration = Duration::from_secs(5);
/// After an election, and after no quorum answered for a while, what nodes have to tell gets this long to
/// reach the log before deadlines are enforced.
const GRACE: Duration = Duration::from_millis(500);

/// When each node's life was last heard, and which lives were given up, while this node leads.
///
/// A life that was given up gets no lease from this leader any more: the entry that ends it is on its
/// way. And a verdict that a lease ran out counts only under the leader who gave it: the next one may
/// have renewed that lease. Both were found by the simulation (`crates/sim/src/world/group.rs`).
#[derive(Debug, Clone, Default)]
pub struct Heard(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    lives: BTreeMap<NodeId, (Epoch, Instant)>,
    given_up: BTreeMap<NodeId, Epoch>,
}

/// Whether a lease may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// It begins now.
    Given,
    /// This leader has given the life up.
    GivenUp,
}

impl Heard {
    /// A life asks for its lease, and this node leads.
    pub fn renew(&self, node: NodeId, epoch: Epoch) -> Lease {
        self.renew_at(node, epoch, Instant::now())
    }

    fn renew_at(&self, node: NodeId, epoch: Epoch, now: Instant) -> Lease {
        let mut known = self.0.lock();
        if known.gave_up(node, epoch) {
            return Lease::GivenUp;
        }
        known.hear(node, epoch, now);
        Lease::Given
    }

    /// True when this leader has given up that life, or a later one.
    #[must_use]
    pub fn gave_up(&self, node: NodeId, epoch: Epoch) -> bool {
        self.0.lock().gave_up(node, epoch)
    }

    /// Gives a life up that was silent for longer than `limit`; returns for how long. One that was never
    /// heard begins its first lease now: its registration was committed a moment ago, or this node
    /// leads since a moment ago and the old leader may have granted a lease until then.
    fn give_up(
        &self,
        node: NodeId,
        epoch: Epoch,
        limit: Duration,
        now: Instant,
    ) -> Option<Duration> {
        let mut known = self.0.lock();
        let at = match known.lives.get(&node) {
            Some((of, at)) if *of >= epoch => *at,
            _ => {
                known.hear(node, epoch, now);
                now
            }
        };
        let silence = now.saturating_duration_since(at);
        if silence <= limit {
            return None;
        }
        let given_up = known.given_up.entry(node).or_insert(epoch);
        *given_up = epoch.max(*given_up);
        Some(silence)
    }

    /// Everybody is heard anew. Who was given up stays so: what ends that life may be on its way still.
    fn forget_silence(&self) {
        self.0.lock().lives.clear();
    }

    /// Another leadership.
    fn forget(&self) {
        *self.0.lock() = Known::default();
    }
}

impl Known {
    fn hear(&mut self, node: NodeId, epoch: Epoch, now: Instant) {
        let last = self.lives.entry(node).or_insert((epoch, now));
        if (last.0, last.1) < (epoch, now) {
            *last = (epoch, now);
        }
    }

    fn gave_up(&self, node: NodeId, epoch: Epoch) -> bool {
        self.given_up.get(&node).is_some_and(|given_up| *given_up >= epoch)
    }
}

/// Sends heartbeats whenever this node leads; ends with Raft.
///
/// openraft would send them by itself, but gives each up as soon as its next is due: were that
/// `heartbeat_ms`, a leader farther away than it would never hear an answer. It waits longer
/// (three quarters of `election_min_ms`), and here is their pace.
pub async fn send_heartbeats(core: Arc<Core>) {
    let mut pace = tokio::time::interval(Duration::from_millis(core.config.heartbeat_ms));
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        if core.raft.is_leader() && core.raft.trigger().heartbeat().await.is_err() {
            return;
        }
    }
}

/// How long a heartbeat's answer may take: the longest that openraft allows below the shortest election
/// time, with its own tick of a fifth.
pub(super) const fn heartbeat_answer_ms(election_min_ms: u64) -> u64 {
    election_min_ms * 3 / 4
}

/// Does the leader's work whenever this node leads; ends with Raft.
pub async fn run(core: Arc<Core>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut leading_since: Option<Instant> = None;
    // Whoever has not been heard for so long has not been heard once: a heartbeat's pace and its answer.
    let config = &core.config;
    let stalled = config.heartbeat_ms + heartbeat_answer_ms(config.election_min_ms);
    let mut heard_since = Instant::now();
    let mut last_look = Instant::now();
    let mut finishing: Option<JoinHandle<()>> = None;
    let mut horizon = Horizon::default();
    loop {
        ticks.tick().await;
        let now = Instant::now();
        if !core.raft.is_leader() {
            leading_since = None;
            continue;
        }
        // A leader that slept was deaf: it hears everybody anew before it judges anybody.
        let slept = now - last_look > Duration::from_millis(core.config.lease_ms) / 2;
        last_look = now;
        if leading_since.is_none() || slept {
            if leading_since.is_none() {
                core.heard.forget();
            } else {
                core.heard.forget_silence();
            }
            leading_since = Some(now);
            continue;
        }
        if core.leader_silent_ms() > stalled {
            heard_since = now;
        }
        let since = leading_since.unwrap_or(now).max(heard_since);
        declare_losses(&core, now).await;
        if now - since > GRACE {
            propose_due(&core).await;
            raise_version(&core).await;
            anchor_wall(&core).await;
            if let Some(command) = horizon.look(&core, now) {
                propose(&core, command).await;
            }
            let unfinished = removal::unfinished(&core);
            if !unfinished.is_empty() && finishing.as_ref().is_none_or(JoinHandle::is_finished) {
                finishing = Some(tokio::spawn(removal::finish(Arc::clone(&core), unfinished)));
            }
        }
    }
}

/// Declares nodes lost that were silent for their lease and its margin.
async fn declare_losses(core: &Arc<Core>, now: Instant) {
    let limit = Duration::from_millis(core.config.lease_ms + core.config.lease_margin_ms);
    let up: Vec<(NodeId, Epoch)> = core.store.read(|replica, _| {
        replica.0.nodes().iter().filter(|n| n.is_up()).map(|n| (n.id, n.epoch)).collect()
    });
    for (node, epoch) in up {
        if node == core.member.node {
            continue;
        }
        let Some(silence) = core.heard.give_up(node, epoch, limit, now) else { continue };
        tracing::warn!(%node, %epoch, silent_ms = silence.as_millis(), "a node is lost");
        let evidence = Evidence::LeaseExpired;
        propose(core, Command::NodeLost { node, epoch, evidence }).await;
    }
}

async fn propose_due(core: &Arc<Core>) {
    let now = core.clock.now();
    let (due, work) = core.store.read(|replica, _| {
        (replica.0.next_deadline().is_some_and(|at| at <= now), replica.0.has_work())
    });
    if due {
        propose(core, Command::ExpireDue).await;
    }
    if work {
        propose(core, Command::ContinueWork).await;
    }
}

/// Puts this program's machine version in force, once every member supports it.
async fn raise_version(core: &Arc<Core>) {
    let ready = core.store.read(|replica, _| {
        let behind = |node: &Node| node.is_member() && node.supports < MACHINE_VERSION;
        replica.0.header().machine_version < MACHINE_VERSION
            && !replica.0.nodes().iter().any(behind)
    });
    if ready {
        propose(core, Command::RaiseMachineVersion { to: MACHINE_VERSION }).await;
    }
}

/// Says what time it is for people, when nobody has or the log's idea is off.
async fn anchor_wall(core: &Arc<Core>) {
    let utc = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let utc = UtcMillis(u64::try_from(utc.as_millis()).unwrap_or_default());
    let command = Command::Queue(QueueCommand::AnchorWall { utc });
    let now = core.clock.now();
    let wanted = core.store.read(|replica, _| {
        let known = command.check_version(replica.0.header().machine_version).is_ok();
        known && replica.0.queue().counters().wall.is_none_or(|anchor| is_off(anchor, now, utc))
    });
    if wanted {
        propose(core, command).await;
    }
}

/// True when a clock says something else than the log for long enough to be worth an entry.
fn is_off(anchor: WallAnchor, now: ClusterTime, clock: UtcMillis) -> bool {
    let off = anchor.utc_at(now).0.abs_diff(clock.0);
    now.since(anchor.at).0 >= ANCHOR_EVERY_MS && off >= ANCHOR_OFF_MS
}

async fn propose(core: &Arc<Core>, command: Command) {
    match core.propose(command, PROPOSE_WITHIN).await {
        Ok(Ok(_)) => {}
        Ok(Err(rejection)) => tracing::warn!(%rejection, "a proposal of the leader was refused"),
        // Tried again at the next look, here or at the next leader.
        Err(error) => tracing::debug!(%error, "a proposal of the leader did not get through"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(1_000);

    // Goal: a life that begins late in a leadership has its whole first lease before it counts as
    // silent; a late word of an earlier life changes nothing.
    #[test]
    fn a_new_life_has_its_first_lease() {
        let (heard, start) = (Heard::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let node = NodeId(2);
        let lost = |epoch, ms| heard.give_up(node, Epoch(epoch), LIMIT, at(ms)).is_some();
        assert!(!lost(4, 100_000), "its first lease begins");
        assert!(!lost(4, 101_000));
        assert_eq!(heard.renew_at(node, Epoch(4), at(101_000)), Lease::Given);
        assert!(!lost(4, 102_000));
        assert!(!lost(5, 110_000), "a new life");
        assert_eq!(heard.renew_at(node, Epoch(4), at(110_500)), Lease::Given);
        assert!(lost(5, 111_001), "what an earlier life says does not count");
        heard.forget();
        assert!(!lost(5, 112_000), "a new leadership");
    }

    // Goal: the anchor is corrected when it is off by enough, in either direction, and not over and over.
    #[test]
    fn the_anchor_is_corrected_when_it_is_off() {
        let anchor = WallAnchor { at: ClusterTime(1_000), utc: UtcMillis(50_000) };
        let late = ClusterTime(1_000 + ANCHOR_EVERY_MS);
        let right = 50_000 + ANCHOR_EVERY_MS;
        for (now, clock, off) in [
            (late, right, false),
            (late, right + ANCHOR_OFF_MS - 1, false),
            (late, right + ANCHOR_OFF_MS, true),
            (late, right - ANCHOR_OFF_MS, true),
            (ClusterTime(2_000), 0, false),
        ] {
            assert_eq!(is_off(anchor, now, UtcMillis(clock)), off, "{now} {clock}");
        }
    }

    // Goal: who was given up gets no lease from this leader, also after it slept; the next life and
    // the next leadership begin anew.
    #[test]
    fn who_was_given_up_gets_no_lease() {
        let (heard, start) = (Heard::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let node = NodeId(2);
        assert_eq!(heard.renew_at(node, Epoch(4), start), Lease::Given);
        assert!(!heard.gave_up(node, Epoch(4)));
        assert_eq!(heard.give_up(node, Epoch(4), LIMIT, at(1_001)), Some(at(1_001) - start));
        heard.forget_silence();
        assert!(heard.gave_up(node, Epoch(4)) && heard.gave_up(node, Epoch(3)));
        assert_eq!(heard.renew_at(node, Epoch(4), at(1_002)), Lease::GivenUp);
        assert_eq!(heard.renew_at(node, Epoch(5), at(1_003)), Lease::Given);
        assert!(!heard.gave_up(node, Epoch(5)));
        heard.forget();
        assert_eq!(heard.renew_at(node, Epoch(4), at(1_004)), Lease::Given);
    }
}
