//! How a plan's world is built. Each seed switches some features off altogether (swarm testing, Groce
//! and others, ISSTA 2012): what is always on hides what only shows without it.

use serde::{Deserialize, Serialize};

use crate::world::{group::Adversary, net::Net};

/// What there is in a world, and what may go wrong in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features {
    /// How datagrams fare.
    pub network: Network,
    /// What may happen to proposals.
    pub adversary: Adversary,
    /// Calls have session timers of so many seconds.
    pub session_timer_s: Option<u32>,
    /// Wrap-up after a conversation, in ms.
    pub wrap_up_ms: u64,
    /// How long a phone rings, in ms.
    pub ring_ms: u64,
    /// Callers are let go after so long in the queue, in ms; 0: never.
    pub wait_ms_max: u64,
    /// Whether callers prefer the agents of the site at which they came in.
    pub nearest: bool,
    /// How many agents there are.
    pub agents: usize,
    /// How many callers.
    pub callers: usize,
}

/// How datagrams fare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// All arrive in order.
    Clean,
    /// They overtake each other and come twice.
    Jittery,
    /// One in ten is lost besides.
    Lossy,
}

impl Network {
    pub(super) fn net(self) -> Net {
        match self {
            Self::Clean => Net::clean(),
            Self::Jittery => Net::jittery(),
            Self::Lossy => Net::lossy(),
        }
    }
}
