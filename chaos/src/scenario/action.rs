//! What can be done to a site, and what each action is to the cluster.

use serde::{Deserialize, Serialize};
use tandem_lab::wan::{Filter, LinkSettings, Loss, Reorder, Share};

use crate::faults::FaultKind;

/// How long a packet is held back so that others overtake it, microseconds: one packet's time.
const HELD_BACK_US: u64 = 25_000;

/// What is done to a site. Every one is mended after its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// The node is killed (SIGKILL), and started again.
    KillNode,
    /// The relay is killed (SIGKILL); its node starts it again.
    KillRelay,
    /// The relay is frozen (SIGSTOP); its node finds out, kills it and starts it again.
    FreezeRelay,
    /// Node and relay are killed at once, and started again.
    KillSite,
    /// The node is frozen (SIGSTOP), and goes on.
    FreezeNode,
    /// The site takes no new work, and takes work again.
    DrainSite,
    /// The city is cut off with everybody in it, and joined again.
    CutSite,
    /// Its host (node and relay) is cut off from the other hosts, and joined again; people still reach all
    /// of them.
    CutNode,
    /// Its host hears nothing from the other hosts, or is not heard by them, for a time.
    CutOneWay {
        /// What stays open.
        open: Open,
    },
    /// The link between its host and that of the next city is cut; both reach everybody else.
    CutLink,
    /// Its host is cut off and joined again, so many times.
    Flap {
        /// How often.
        times: u32,
        /// How long each cut and each pause is, milliseconds.
        period_ms: u64,
    },
    /// The city's links to the other cities become worse, and well again.
    Impair(Impairment),
    /// Its disk is full, the node is killed and started again; then the disk has room.
    DiskFull,
    /// Its disk writes and syncs later, and as before.
    DiskSlow {
        /// Added to each write of a block, milliseconds.
        write_ms: u64,
        /// Added to each sync, milliseconds.
        sync_ms: u64,
    },
    /// Its disk refuses one sync (EIO), and works again after a restart of the host.
    SyncFails,
    /// The node is killed and its disk loses power: what was not synced is gone.
    PowerLoss,
    /// The same, and the block written last is half new.
    TornWrite {
        /// Chooses how much of it is new.
        seed: u64,
    },
    /// For a time the disk acknowledges syncs that it does not make; then the node is killed and the
    /// disk loses power.
    LyingDisk {
        /// How long it lies, milliseconds.
        lies_ms: u64,
    },
    /// The node is killed, and a bit of one of its files is another one when it starts again.
    BitFlip {
        /// Which file.
        file: Damaged,
    },
    /// The node's wall clock jumps, and is right again. Its relay goes by the same clock.
    ClockStep {
        /// How far, seconds; negative is the past.
        offset_s: i64,
    },
    /// The node's wall clock goes at another speed, and is right again.
    ClockRate {
        /// The speed; 1000 is the true one.
        permille: u32,
    },
    /// The node, or the relay, gets a share of a processor, and as much as it wants again.
    CpuLimit {
        /// Percent of one processor.
        percent: u32,
        /// Which of the two.
        #[serde(default)]
        of: Program,
    },
    /// The node, or the relay, gets no new file or socket, and gets them again.
    Descriptors {
        /// Which of the two.
        #[serde(default)]
        of: Program,
    },
    /// The node is killed, and killed again at a sync of its start or its work, several times.
    CrashPoints {
        /// At which sync of a thread, for each time.
        syncs: Vec<u64>,
    },
    /// Every SIP datagram of phones and carriers leaves so many times.
    SipStorm {
        /// How many times.
        copies: u32,
    },
    /// The phones of its agents say nothing to new calls, as if they had been unplugged; calls that
    /// they have go on.
    PhonesSilent,
}

/// A program of a site.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Program {
    /// Its node.
    #[default]
    Node,
    /// Its relay.
    Relay,
}

/// A file of a node's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Damaged {
    /// The newest write-ahead log.
    Wal,
    /// The newest sorted table.
    Table,
    /// The list of RocksDB's files.
    Manifest,
    /// The synced-through mark.
    Mark,
    /// Whose data it is.
    Identity,
}

/// What a step needs of the laboratory before the cluster is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Nothing.
    Processes,
    /// Namespaces and the router.
    Wan,
    /// A disk of its own for each site.
    Disks,
    /// A clock of its own for each site.
    Clocks,
    /// Nothing; people misbehave, not the cluster.
    People,
    /// Nothing before; the limits of a running process are changed, as root.
    Limits,
}

impl Action {
    /// What it needs.
    pub(super) const fn needs(&self) -> Needs {
        match self {
            Self::KillNode
            | Self::KillRelay
            | Self::KillSite
            | Self::FreezeNode
            | Self::DrainSite => Needs::Processes,
            Self::CutSite
            | Self::CutNode
            | Self::CutOneWay { .. }
            | Self::CutLink
            | Self::Flap { .. }
            | Self::Impair(_) => Needs::Wan,
            Self::DiskFull
            | Self::DiskSlow { .. }
            | Self::SyncFails
            | Self::PowerLoss
            | Self::TornWrite { .. }
            | Self::LyingDisk { .. }
            | Self::BitFlip { .. } => Needs::Disks,
            Self::SipStorm { .. } | Self::PhonesSilent => Needs::People,
            Self::ClockStep { .. } | Self::ClockRate { .. } => Needs::Clocks,
            Self::FreezeRelay
            | Self::CpuLimit { .. }
            | Self::Descriptors { .. }
            | Self::CrashPoints { .. } => Needs::Limits,
        }
    }

    /// How much longer a packet between cities and its answer take at most, milliseconds.
    pub(super) const fn added_round_trip_ms(&self) -> u64 {
        match self {
            Self::Impair(by) => by.added_round_trip_ms(),
            _ => 0,
        }
    }

    /// True when only the router can tell that it works.
    pub(super) const fn shows_on_the_router(&self) -> bool {
        matches!(self, Self::CutOneWay { .. } | Self::CutLink | Self::Flap { .. } | Self::Impair(_))
    }

    /// What it is to the cluster, and so to whoever judges.
    pub(super) const fn made(&self) -> FaultKind {
        match self {
            Self::KillNode
            | Self::DiskFull
            | Self::SyncFails
            | Self::PowerLoss
            | Self::TornWrite { .. }
            | Self::LyingDisk { .. }
            | Self::BitFlip { .. }
            | Self::CrashPoints { .. } => FaultKind::KillNode,
            // As lost to calls as if it had been killed.
            Self::KillRelay | Self::FreezeRelay => FaultKind::KillRelay,
            Self::KillSite => FaultKind::KillSite,
            Self::FreezeNode => FaultKind::FreezeNode,
            Self::DrainSite => FaultKind::DrainSite,
            Self::CutSite => FaultKind::CutSite,
            Self::CutNode => FaultKind::CutNode,
            Self::CutOneWay { .. } | Self::CutLink | Self::Flap { .. } => FaultKind::CutLink,
            Self::Impair(_)
            | Self::DiskSlow { .. }
            | Self::ClockStep { .. }
            | Self::ClockRate { .. }
            | Self::CpuLimit { .. }
            | Self::Descriptors { .. }
            | Self::SipStorm { .. }
            | Self::PhonesSilent => FaultKind::Impair,
        }
    }

    /// What mends it, or says that it has mended itself; none when nothing is to be mended.
    pub(super) const fn mended(&self) -> Option<FaultKind> {
        match self.made() {
            FaultKind::KillNode | FaultKind::KillSite => Some(FaultKind::StartNode),
            FaultKind::FreezeNode => Some(FaultKind::ThawNode),
            FaultKind::DrainSite => Some(FaultKind::OpenSite),
            FaultKind::CutSite | FaultKind::CutNode => Some(FaultKind::Join),
            FaultKind::CutLink => Some(FaultKind::Join),
            FaultKind::Impair => Some(FaultKind::Restore),
            _ => None,
        }
    }

    /// In a few words, before the name of a site.
    pub(super) const fn words(&self) -> &'static str {
        match self {
            Self::FreezeRelay => "freeze the relay of",
            Self::DiskFull => "fill the disk of",
            Self::DiskSlow { .. } => "slow the disk of",
            Self::SyncFails => "refuse a sync of the disk of",
            Self::PowerLoss => "cut the power of the disk of",
            Self::TornWrite { .. } => "tear a write of",
            Self::LyingDisk { .. } => "lie about syncs, then cut the power of the disk of",
            Self::BitFlip { .. } => "flip a bit of a file of",
            Self::ClockStep { .. } => "step the clock of",
            Self::ClockRate { .. } => "change the speed of the clock of",
            Self::CpuLimit { of: Program::Node, .. } => "limit the processor of",
            Self::CpuLimit { of: Program::Relay, .. } => "limit the processor of the relay of",
            Self::Descriptors { of: Program::Node } => "take all free descriptors of",
            Self::Descriptors { of: Program::Relay } => "take all free descriptors of the relay of",
            Self::CrashPoints { .. } => "kill at syncs the node of",
            Self::SipStorm { .. } => "repeat all SIP datagrams of people, of",
            Self::PhonesSilent => "silence the agents' phones of",
            _ => self.made().words(),
        }
    }
}

/// What stays open of a one-way cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Open {
    /// The host hears the others, and is not heard.
    In,
    /// The host is heard, and hears nobody.
    Out,
}

/// What becomes worse of links between cities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Impairment {
    /// One-way delay on top of the measured one, milliseconds.
    pub delay_ms: u64,
    /// Further delay, even between nothing and this, milliseconds.
    pub jitter_ms: u64,
    /// Share of packets that others overtake.
    pub reorder: Share,
    /// Share of packets that arrive twice.
    pub duplicate: Share,
    /// Share of packets that are lost, each by itself.
    pub loss: Share,
    /// Packets that a burst of losses lasts in the mean; none for single losses. The share lost stays.
    pub burst_packets: Option<u32>,
    /// Longer IP packets disappear without a word.
    pub longer_than: Option<u16>,
}

impl Impairment {
    /// How much longer a packet and its answer take at most, milliseconds.
    const fn added_round_trip_ms(&self) -> u64 {
        2 * (self.delay_ms + self.jitter_ms)
    }

    /// True when every packet arrives, once, in its order.
    pub(super) fn only_delays(&self) -> bool {
        *self == Self { delay_ms: self.delay_ms, jitter_ms: self.jitter_ms, ..Self::default() }
    }

    pub(super) fn on(&self, base: &LinkSettings) -> LinkSettings {
        LinkSettings {
            delay_us: base.delay_us + self.delay_ms * 1_000,
            jitter_us: self.jitter_ms * 1_000,
            loss: self.losses(),
            duplicate: self.duplicate,
            reorder: Reorder { share: self.reorder, hold_us: HELD_BACK_US },
            filters: self
                .longer_than
                .map(|longer_than| Filter { longer_than: Some(longer_than), ..Filter::default() })
                .into_iter()
                .collect(),
            ..base.clone()
        }
    }

    pub(super) fn off(&self, worse: &LinkSettings) -> LinkSettings {
        let delay_us = worse.delay_us.saturating_sub(self.delay_ms * 1_000);
        LinkSettings { state: worse.state, ..LinkSettings::delayed_us(delay_us) }
    }

    /// A chain that loses everything in its bad state loses the share `good_to_bad / (good_to_bad +
    /// bad_to_good)`, in bursts of `1 / bad_to_good` in the mean.
    fn losses(&self) -> Loss {
        let share = f64::from(self.loss);
        let all = Share::new(1.0).unwrap_or_default();
        match self.burst_packets.filter(|packets| *packets > 1 && share > 0.0 && share < 1.0) {
            None => Loss::Random { share: self.loss },
            Some(packets) => {
                let recovers = 1.0 / f64::from(packets);
                let turns = (recovers * share / (1.0 - share)).min(1.0);
                Loss::GilbertElliott {
                    good_to_bad: Share::new(turns).unwrap_or_default(),
                    bad_to_good: Share::new(recovers).unwrap_or_default(),
                    loss_good: Share::default(),
                    loss_bad: all,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: what is made worse is as bad as it says, and taken back whole.
    #[test]
    fn impairments() {
        let share = |share| Share::new(share).unwrap();
        let base = LinkSettings::delayed_us(10_000);
        let worse = Impairment {
            delay_ms: 90,
            loss: share(0.2),
            burst_packets: Some(5),
            ..Impairment::default()
        };
        let on = worse.on(&base);
        assert_eq!(on.delay_us, 100_000);
        let Loss::GilbertElliott { good_to_bad, bad_to_good, .. } = on.loss else {
            panic!("{on:?}")
        };
        let (bad, good) = (f64::from(good_to_bad), f64::from(bad_to_good));
        assert!((bad / (bad + good) - 0.2).abs() < 1e-9, "{bad} {good}");
        assert_eq!(worse.off(&on), base);
        let hole = Impairment { longer_than: Some(1_300), ..Impairment::default() };
        assert_eq!(hole.on(&base).filters.len(), 1);
        assert_eq!(hole.off(&hole.on(&base)), base);
    }
}
