//! What must not happen, as a value that says itself in one sentence.

use std::fmt;

use serde::Serialize;
use tandem_phone::RunTime;

use super::conversation::HeardBy;

/// Something that must not happen. Names are labels of phones and calls, never numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "problem")]
pub enum Problem {
    /// A call that had a place ended by nobody's choice.
    CallerLost {
        /// Who.
        caller: String,
        /// When.
        at_us: RunTime,
        /// How.
        end: String,
    },
    /// A caller waits still at the end of the watch.
    NeverServed {
        /// Who.
        caller: String,
        /// For how long.
        waited_ms: u64,
    },
    /// The agent was cut off while the caller stayed.
    ConversationCut {
        /// Who.
        caller: String,
        /// With whom.
        agent: String,
        /// When.
        at_us: RunTime,
    },
    /// Served before somebody who came earlier.
    OrderInversion {
        /// Who was overtaken.
        earlier: String,
        /// By whom.
        later: String,
        /// When.
        at_us: RunTime,
    },
    /// Given to a second agent after the first.
    DeliveredTwice {
        /// Who.
        caller: String,
        /// To whom.
        agents: [String; 2],
        /// When the second heard them.
        at_us: RunTime,
    },
    /// Given to two agents at the same time.
    TwoAgentsAtOnce {
        /// Who.
        caller: String,
        /// To whom.
        agents: [String; 2],
        /// When the second heard them.
        at_us: RunTime,
    },
    /// An agent with two answered calls.
    AgentWithTwoCalls {
        /// Who.
        agent: String,
        /// When the second was answered.
        at_us: RunTime,
    },
    /// The agent does not meet the requirement.
    SkillMismatch {
        /// Who.
        caller: String,
        /// On which line.
        line: String,
        /// With whom.
        agent: String,
    },
    /// A phone rang for somebody who was gone, or was answered by silence.
    GhostRing {
        /// Whose phone.
        agent: String,
        /// For whom, where that is known.
        caller: Option<String>,
        /// When.
        at_us: RunTime,
    },
    /// A pause longer than allowed.
    AudioGap {
        /// Who heard it.
        who: String,
        /// When it began.
        at_us: RunTime,
        /// Its length.
        gap_ms: u64,
        /// The longest that is allowed there.
        gap_ms_max: u64,
    },
    /// Sequence numbers used again or gone back.
    SequenceFault {
        /// Who received them.
        who: String,
        /// How many packets.
        packets: u64,
    },
    /// The two heard each other too late after the agent had answered, or after the last fault.
    LateVoice {
        /// The caller.
        caller: String,
        /// The agent.
        agent: String,
        /// How late, milliseconds.
        after_ms: u64,
        /// How late at most, milliseconds.
        after_ms_max: u64,
    },
    /// One of the two did not hear the other.
    HeardOneWay {
        /// The caller.
        caller: String,
        /// The agent.
        agent: String,
        /// Who heard whom.
        heard: HeardBy,
    },
    /// Heard a voice that is not of the other side: an agent's of a caller's phone, a caller's of an
    /// agent's phone, or nobody's whose calls were recorded.
    Stranger {
        /// Who heard it.
        who: String,
        /// Whose it was, where that is known.
        voice: Option<String>,
        /// When.
        at_us: RunTime,
    },
    /// An agent met two callers in one call.
    LegWithTwoCallers {
        /// Who.
        agent: String,
        /// Whom.
        callers: [String; 2],
        /// When the second came.
        at_us: RunTime,
    },
    /// A person who had been served was served again.
    ServedTwice {
        /// Their calls.
        calls: [String; 2],
        /// When the second began.
        at_us: RunTime,
    },
    /// A stream that a receiver cannot go on playing.
    StreamBroken {
        /// Who received it.
        who: String,
        /// When.
        at_us: RunTime,
        /// How.
        what: String,
    },
    /// A figure of the cluster that is not what phones experienced.
    WrongFigure {
        /// Which.
        what: String,
        /// When.
        at_us: RunTime,
        /// What the cluster said.
        said: u64,
        /// The least that can be true.
        least: u64,
        /// The most that can be true.
        most: u64,
    },
    /// A contact that ended in two ways.
    ContactEndedTwice {
        /// Which.
        contact: String,
    },
    /// A leg of a lost node was not taken over in time.
    NotReinvited {
        /// Whose leg.
        who: String,
        /// After which fault.
        fault: String,
        /// When it was taken over after all; none if never.
        after_ms: Option<u64>,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CallerLost { caller, at_us, end } => {
                write!(f, "{caller} had a place and was cut off at {} ({end})", Seconds(*at_us))
            }
            Self::NeverServed { caller, waited_ms } => {
                write!(f, "{caller} still waits after {waited_ms} ms")
            }
            Self::ConversationCut { caller, agent, at_us } => {
                write!(f, "{agent} was cut off from {caller} at {}", Seconds(*at_us))
            }
            Self::OrderInversion { earlier, later, at_us } => {
                write!(f, "{later} was served before {earlier} at {}", Seconds(*at_us))
            }
            Self::DeliveredTwice { caller, agents: [one, other], at_us } => {
                write!(f, "{caller} was given to {other} after {one} at {}", Seconds(*at_us))
            }
            Self::TwoAgentsAtOnce { caller, agents: [one, other], at_us } => {
                write!(f, "{caller} was given to {one} and {other} at once at {}", Seconds(*at_us))
            }
            Self::AgentWithTwoCalls { agent, at_us } => {
                write!(f, "{agent} had two calls at {}", Seconds(*at_us))
            }
            Self::SkillMismatch { caller, line, agent } => {
                write!(f, "{caller} of line {line} reached {agent}, who lacks the skill")
            }
            Self::GhostRing { agent, caller: Some(caller), at_us } => {
                let at = Seconds(*at_us);
                write!(f, "the phone of {agent} rang for {caller}, who was gone, at {at}")
            }
            Self::GhostRing { agent, caller: None, at_us } => {
                write!(f, "{agent} answered at {} and heard nobody", Seconds(*at_us))
            }
            Self::AudioGap { who, at_us, gap_ms, gap_ms_max } => {
                let at = Seconds(*at_us);
                write!(f, "{who} heard nothing for {gap_ms} ms at {at} (at most {gap_ms_max} ms)")
            }
            Self::SequenceFault { who, packets } => {
                write!(f, "{who} received {packets} packets with a used sequence number")
            }
            Self::LateVoice { caller, agent, after_ms, after_ms_max } => write!(
                f,
                "{caller} and {agent} heard each other {after_ms} ms after the answer or the last fault \
                 (at most {after_ms_max} ms)"
            ),
            Self::HeardOneWay { caller, agent, heard } => {
                let who = match heard {
                    HeardBy::CallerOnly => "the agent did not hear the caller",
                    HeardBy::AgentOnly => "the caller did not hear the agent",
                    HeardBy::Both => "both heard each other",
                };
                write!(f, "{caller} with {agent}: {who}")
            }
            Self::Stranger { who, voice, at_us } => {
                let voice = voice.as_deref().unwrap_or("somebody unknown");
                write!(f, "{who} heard {voice} at {}, who is not the other side", Seconds(*at_us))
            }
            Self::LegWithTwoCallers { agent, callers: [one, other], at_us } => {
                let at = Seconds(*at_us);
                write!(f, "{agent} met {other} in the call with {one} at {at}")
            }
            Self::ServedTwice { calls: [one, other], at_us } => {
                let at = Seconds(*at_us);
                write!(f, "the person of {other} (from {at}) had been served in {one}")
            }
            Self::StreamBroken { who, at_us, what } => {
                write!(f, "{who} received a broken stream at {}: {what}", Seconds(*at_us))
            }
            Self::WrongFigure { what, at_us, said, least, most } => {
                let at = Seconds(*at_us);
                write!(f, "the cluster said {said} {what} at {at}; true are {least} to {most}")
            }
            Self::ContactEndedTwice { contact } => {
                write!(f, "contact {contact} ended in two ways")
            }
            Self::NotReinvited { who, fault, after_ms: None } => {
                write!(f, "no other node took {who} over after '{fault}'")
            }
            Self::NotReinvited { who, fault, after_ms: Some(ms) } => {
                write!(f, "{who} was taken over {ms} ms after '{fault}': too late")
            }
        }
    }
}

/// A moment as seconds since the run's start.
struct Seconds(RunTime);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_ms();
        write!(f, "{}.{:03} s", ms / 1_000, ms % 1_000)
    }
}
