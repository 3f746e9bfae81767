//! INVITE server transaction: RFC 3261 section 17.2.1, with the Accepted state of RFC 6026 section 7.1.
//!
//! ```text
//!  Proceeding ──300-699──▶ Completed ──ACK──▶ Confirmed ──I──▶ Terminated
//!       │                      └────H (no ACK)────────────────────▲
//!       └──2xx──▶ Accepted ──L────────────────────────────────────┘
//! ```
//!
//! A transport error is reported and does not end the transaction (RFC 6026 figure 5): the peer
//! sends its INVITE again, and the response then gets another chance.

use super::machine::{Action, Actions, Reliability, ResponseClass};
use super::timers::{Timer, TimerConfig};
use std::time::Duration;

/// States of section 17.2.1 and RFC 6026.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The core works on the request.
    Proceeding,
    /// A failure was sent; the ACK is awaited.
    Completed,
    /// The ACK came.
    Confirmed,
    /// A 2xx was sent (RFC 6026).
    Accepted,
    /// Over.
    Terminated,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// The INVITE came again.
    Retransmission,
    /// An ACK with this transaction's branch came.
    Ack,
    /// The core gives a response.
    Response(ResponseClass),
    /// A timer fired.
    Timer(Timer),
    /// The transport could not send.
    TransportError,
}

/// Whether anything has been sent yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    Nothing,
    Trying,
    Core,
}

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InviteServer {
    state: State,
    reliability: Reliability,
    answered: Answered,
    retransmit_after: Duration,
}

impl InviteServer {
    /// Starts with the first INVITE, which goes up to the core.
    pub fn start(reliability: Reliability, config: &TimerConfig) -> (Self, Actions) {
        let machine = Self {
            state: State::Proceeding,
            reliability,
            answered: Answered::Nothing,
            retransmit_after: config.t1,
        };
        let actions = vec![
            Action::Start(Timer::Trying, config.trying_after),
            Action::Start(Timer::CoreSilent, config.server_invite_max),
            Action::PassUp,
        ];
        (machine, actions)
    }

    /// Continues a transaction that another node has answered provisionally: nothing is sent.
    pub fn adopt(reliability: Reliability, config: &TimerConfig) -> (Self, Actions) {
        let machine = Self {
            state: State::Proceeding,
            reliability,
            answered: Answered::Trying,
            retransmit_after: config.t1,
        };
        (machine, vec![Action::Start(Timer::CoreSilent, config.server_invite_max)])
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// One step.
    pub fn step(&mut self, input: Input, config: &TimerConfig) -> Actions {
        match (self.state, input) {
            // 17.2.1: a 100 unless the core answers within 200 ms.
            (State::Proceeding, Input::Timer(Timer::Trying)) => self.send_trying(),
            // 17.2.1: "the most recent provisional response … MUST be passed to the transport".
            (State::Proceeding, Input::Retransmission) => match self.answered {
                Answered::Core => vec![Action::SendResponse],
                Answered::Nothing | Answered::Trying => self.send_trying(),
            },
            (State::Proceeding, Input::Response(class)) => self.respond(class, config),
            (State::Proceeding, Input::Timer(Timer::CoreSilent)) => vec![Action::ReportTimeout],
            // 17.2.1: timer G resends with doubled waits up to T2.
            (State::Completed, Input::Timer(Timer::G)) => {
                self.retransmit_after = (self.retransmit_after * 2).min(config.t2);
                vec![Action::SendResponse, Action::Start(Timer::G, self.retransmit_after)]
            }
            (State::Completed, Input::Retransmission) => vec![Action::SendResponse],
            (State::Completed, Input::Ack) => self.confirm(config),
            // 17.2.1: no ACK ever came: the TU is informed.
            (State::Completed, Input::Timer(Timer::H)) => self.end(&[Action::ReportTimeout]),
            (State::Confirmed, Input::Timer(Timer::I)) => self.end(&[]),
            // RFC 6026 section 7.1: the core's 2xx again, and stray ACKs for it.
            (State::Accepted, Input::Response(ResponseClass::Success)) => {
                vec![Action::SendResponse]
            }
            (State::Accepted, Input::Ack) => vec![Action::PassUp],
            (State::Accepted, Input::Timer(Timer::L)) => self.end(&[]),
            (State::Proceeding | State::Completed | State::Accepted, Input::TransportError) => {
                vec![Action::ReportTransportFailure]
            }
            // Everything else changes nothing: RFC 6026 section 7.1 absorbs the INVITE in Accepted,
            // 17.2.1 absorbs ACKs in Confirmed, late timers and late responses have no meaning.
            _ => Vec::new(),
        }
    }

    fn send_trying(&mut self) -> Actions {
        let first = self.answered == Answered::Nothing;
        if first {
            self.answered = Answered::Trying;
            vec![Action::Stop(Timer::Trying), Action::SendTrying]
        } else {
            vec![Action::SendTrying]
        }
    }

    /// The core's response in Proceeding.
    fn respond(&mut self, class: ResponseClass, config: &TimerConfig) -> Actions {
        self.answered = Answered::Core;
        let mut actions = vec![Action::Stop(Timer::Trying), Action::SendResponse];
        match class {
            ResponseClass::Provisional => {}
            // RFC 6026 section 7.1: to Accepted, timer L on every transport.
            ResponseClass::Success => {
                self.state = State::Accepted;
                actions.push(Action::Stop(Timer::CoreSilent));
                actions.push(Action::Start(Timer::L, config.t1x64()));
            }
            // 17.2.1: to Completed; timer G only where the transport can lose, timer H always.
            ResponseClass::Failure => {
                self.state = State::Completed;
                actions.push(Action::Stop(Timer::CoreSilent));
                actions.push(Action::Start(Timer::H, config.t1x64()));
                if self.reliability == Reliability::Unreliable {
                    actions.push(Action::Start(Timer::G, config.t1));
                }
            }
        }
        actions
    }

    /// 17.2.1: ACK in Completed; timer I is zero on streams.
    fn confirm(&mut self, config: &TimerConfig) -> Actions {
        let mut actions = vec![Action::Stop(Timer::G), Action::Stop(Timer::H)];
        match self.reliability {
            Reliability::Unreliable => {
                self.state = State::Confirmed;
                actions.push(Action::Start(Timer::I, config.t4));
            }
            Reliability::Reliable => actions.extend(self.end(&[])),
        }
        actions
    }

    fn end(&mut self, reports: &[Action]) -> Actions {
        self.state = State::Terminated;
        let mut actions = reports.to_vec();
        actions.push(Action::Terminate);
        actions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Action::*;
    use Reliability::{Reliable, Unreliable};
    use ResponseClass::{Failure, Provisional, Success};

    const STATES: [State; 5] =
        [State::Proceeding, State::Completed, State::Confirmed, State::Accepted, State::Terminated];
    const INPUTS: [Input; 12] = [
        Input::Retransmission,
        Input::Ack,
        Input::Response(Provisional),
        Input::Response(Success),
        Input::Response(Failure),
        Input::Timer(Timer::Trying),
        Input::Timer(Timer::CoreSilent),
        Input::Timer(Timer::G),
        Input::Timer(Timer::H),
        Input::Timer(Timer::I),
        Input::Timer(Timer::L),
        Input::TransportError,
    ];

    /// The whole table; pairs that are not listed change nothing. `answered` matters only to
    /// retransmissions in Proceeding.
    fn expected(
        state: State,
        answered: Answered,
        input: Input,
        reliability: Reliability,
    ) -> (State, Actions) {
        let c = TimerConfig::default();
        let max = c.t1x64();
        match (state, input) {
            (State::Proceeding, Input::Timer(Timer::Trying) | Input::Retransmission)
                if answered == Answered::Nothing =>
            {
                (State::Proceeding, vec![Stop(Timer::Trying), SendTrying])
            }
            (State::Proceeding, Input::Retransmission) if answered == Answered::Core => {
                (State::Proceeding, vec![SendResponse])
            }
            (State::Proceeding, Input::Timer(Timer::Trying) | Input::Retransmission) => {
                (State::Proceeding, vec![SendTrying])
            }
            (State::Proceeding, Input::Response(Provisional)) => {
                (State::Proceeding, vec![Stop(Timer::Trying), SendResponse])
            }
            (State::Proceeding, Input::Response(Success)) => (
                State::Accepted,
                vec![
                    Stop(Timer::Trying),
                    SendResponse,
                    Stop(Timer::CoreSilent),
                    Start(Timer::L, max),
                ],
            ),
            (State::Proceeding, Input::Response(Failure)) => {
                let mut actions = vec![
                    Stop(Timer::Trying),
                    SendResponse,
                    Stop(Timer::CoreSilent),
                    Start(Timer::H, max),
                ];
                if reliability == Unreliable {
                    actions.push(Start(Timer::G, c.t1));
                }
                (State::Completed, actions)
            }
            (State::Proceeding, Input::Timer(Timer::CoreSilent)) => {
                (State::Proceeding, vec![ReportTimeout])
            }
            (State::Completed, Input::Retransmission) => (State::Completed, vec![SendResponse]),
            (State::Completed, Input::Timer(Timer::G)) => {
                (State::Completed, vec![SendResponse, Start(Timer::G, 2 * c.t1)])
            }
            (State::Completed, Input::Ack) if reliability == Unreliable => {
                (State::Confirmed, vec![Stop(Timer::G), Stop(Timer::H), Start(Timer::I, c.t4)])
            }
            (State::Completed, Input::Ack) => {
                (State::Terminated, vec![Stop(Timer::G), Stop(Timer::H), Terminate])
            }
            (State::Completed, Input::Timer(Timer::H)) => {
                (State::Terminated, vec![ReportTimeout, Terminate])
            }
            (State::Confirmed, Input::Timer(Timer::I))
            | (State::Accepted, Input::Timer(Timer::L)) => (State::Terminated, vec![Terminate]),
            (State::Accepted, Input::Response(Success)) => (State::Accepted, vec![SendResponse]),
            (State::Accepted, Input::Ack) => (State::Accepted, vec![PassUp]),
            (State::Proceeding | State::Completed | State::Accepted, Input::TransportError) => {
                (state, vec![ReportTransportFailure])
            }
            (state, _) => (state, vec![]),
        }
    }

    // Goal: every (state, input) pair on both kinds of transport does what the RFCs say.
    #[test]
    fn whole_table() {
        let config = TimerConfig::default();
        for reliability in [Unreliable, Reliable] {
            for answered in [Answered::Nothing, Answered::Trying, Answered::Core] {
                for state in STATES {
                    for input in INPUTS {
                        let retransmit_after = config.t1;
                        let mut machine =
                            InviteServer { state, reliability, answered, retransmit_after };
                        let actions = machine.step(input, &config);
                        assert_eq!(
                            (machine.state, actions),
                            expected(state, answered, input, reliability),
                            "{state:?} {answered:?} {input:?}"
                        );
                    }
                }
            }
        }
    }

    // Goal: timer G doubles up to T2 and stays there (section 17.2.1).
    #[test]
    fn response_intervals() {
        let config = TimerConfig::default();
        let (mut machine, _) = InviteServer::start(Unreliable, &config);
        machine.step(Input::Response(Failure), &config);
        let waits: Vec<u128> = (0..6)
            .map(|_| match machine.step(Input::Timer(Timer::G), &config).as_slice() {
                [SendResponse, Start(Timer::G, wait)] => wait.as_millis(),
                other => unreachable!("{other:?}"),
            })
            .collect();
        assert_eq!(waits, [1_000, 2_000, 4_000, 4_000, 4_000, 4_000]);
    }
}
