//! INVITE client transaction: RFC 3261 section 17.1.1, with the Accepted state of RFC 6026 section 7.2.
//!
//! ```text
//!  Calling ──1xx──▶ Proceeding ──2xx──▶ Accepted ──M──▶ Terminated
//!     │  └──────2xx──────────────────────▲                 ▲
//!     └──────300-699──▶ Completed ◀──300-699── Proceeding  │
//!            B, error ─────┴──── D, error ─────────────────┘
//! ```
//!
//! Ours beside the RFC: timer C bounds ringing, and a wait after CANCEL bounds what follows it (section
//! 9.1), so that every transaction ends.

use super::machine::{Action, Actions, Reliability, ResponseClass};
use super::timers::{Timer, TimerConfig};
use std::time::Duration;

/// States of section 17.1.1.2 and RFC 6026.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The request is sent, nothing came back.
    Calling,
    /// A provisional response came.
    Proceeding,
    /// A failure came and was acknowledged.
    Completed,
    /// A 2xx came (RFC 6026).
    Accepted,
    /// Over.
    Terminated,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A response came.
    Response(ResponseClass),
    /// A timer fired.
    Timer(Timer),
    /// We sent a CANCEL for this INVITE.
    CancelSent,
    /// The transport could not send.
    TransportError,
}

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InviteClient {
    state: State,
    reliability: Reliability,
    retransmit_after: Duration,
}

impl InviteClient {
    /// Starts with the first sending (section 17.1.1.2).
    pub fn start(reliability: Reliability, config: &TimerConfig) -> (Self, Actions) {
        let machine = Self { state: State::Calling, reliability, retransmit_after: config.t1 };
        let mut actions = vec![Action::SendRequest, Action::Start(Timer::B, config.t1x64())];
        if reliability == Reliability::Unreliable {
            actions.push(Action::Start(Timer::A, config.t1));
        }
        (machine, actions)
    }

    /// Continues an INVITE that another node sent and that rings: nothing is sent.
    pub fn adopt(reliability: Reliability, config: &TimerConfig) -> (Self, Actions) {
        let machine = Self { state: State::Proceeding, reliability, retransmit_after: config.t1 };
        (machine, vec![Action::Start(Timer::C, config.timer_c)])
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// One step.
    pub fn step(&mut self, input: Input, config: &TimerConfig) -> Actions {
        match (self.state, input) {
            (State::Calling | State::Proceeding, Input::Response(class)) => {
                self.answered(class, config)
            }
            // 17.1.1.2: "timer A fires … MUST retransmit the request … reset with 2*T1", doubling on.
            (State::Calling, Input::Timer(Timer::A)) => {
                self.retransmit_after *= 2;
                vec![Action::SendRequest, Action::Start(Timer::A, self.retransmit_after)]
            }
            // 17.1.1.2: "still in the Calling state when timer B fires … inform the TU".
            (State::Calling, Input::Timer(Timer::B)) => self.end(&[Action::ReportTimeout]),
            // 17.1.4: the TU is informed, directly to Terminated.
            (State::Calling, Input::TransportError) => self.end(&[Action::ReportTransportFailure]),
            // 16.6 step 11 and 16.8: ringing without end is cancelled.
            (State::Proceeding, Input::Timer(Timer::C)) => vec![Action::SendCancel],
            // 9.1: after 64*T1 without a final response the original transaction counts as cancelled.
            (State::Proceeding, Input::CancelSent) => {
                vec![Action::Stop(Timer::C), Action::Start(Timer::AfterCancel, config.t1x64())]
            }
            (State::Proceeding, Input::Timer(Timer::AfterCancel)) => {
                self.end(&[Action::ReportTimeout])
            }
            // 17.1.1.2: a repeated failure is acknowledged again and not passed up.
            (State::Completed, Input::Response(ResponseClass::Failure)) => vec![Action::SendAck],
            (State::Completed, Input::Timer(Timer::D)) => self.end(&[]),
            // 17.1.1.2: an error when sending the ACK.
            (State::Completed, Input::TransportError) => {
                self.end(&[Action::ReportTransportFailure])
            }
            // RFC 6026 section 7.2: every further 2xx goes up, until timer M.
            (State::Accepted, Input::Response(ResponseClass::Success)) => vec![Action::PassUp],
            (State::Accepted, Input::Timer(Timer::M)) => self.end(&[]),
            // Everything else has no meaning in its state and changes nothing: late timers, responses
            // that cannot follow, a transport error while nothing of ours is being sent.
            _ => Vec::new(),
        }
    }

    /// A response in Calling or Proceeding.
    fn answered(&mut self, class: ResponseClass, config: &TimerConfig) -> Actions {
        let mut actions = vec![Action::Stop(Timer::A), Action::Stop(Timer::B)];
        match class {
            // 17.1.1.2: to Proceeding, no more retransmissions, passed up.
            ResponseClass::Provisional => {
                self.state = State::Proceeding;
                actions.push(Action::PassUp);
                actions.push(Action::Start(Timer::C, config.timer_c));
            }
            // RFC 6026 section 7.2: to Accepted, timer M, passed up.
            ResponseClass::Success => {
                self.state = State::Accepted;
                actions.extend([Action::Stop(Timer::C), Action::Stop(Timer::AfterCancel)]);
                actions.push(Action::Start(Timer::M, config.t1x64()));
                actions.push(Action::PassUp);
            }
            // 17.1.1.2: to Completed, ACK, passed up; timer D is zero on streams.
            ResponseClass::Failure => {
                self.state = State::Completed;
                actions.extend([Action::Stop(Timer::C), Action::Stop(Timer::AfterCancel)]);
                actions.extend([Action::SendAck, Action::PassUp]);
                match self.reliability {
                    Reliability::Unreliable => {
                        actions.push(Action::Start(Timer::D, config.t1x64()));
                    }
                    Reliability::Reliable => actions.extend(self.end(&[])),
                }
            }
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
        [State::Calling, State::Proceeding, State::Completed, State::Accepted, State::Terminated];
    const INPUTS: [Input; 11] = [
        Input::Response(Provisional),
        Input::Response(Success),
        Input::Response(Failure),
        Input::Timer(Timer::A),
        Input::Timer(Timer::B),
        Input::Timer(Timer::C),
        Input::Timer(Timer::D),
        Input::Timer(Timer::M),
        Input::Timer(Timer::AfterCancel),
        Input::CancelSent,
        Input::TransportError,
    ];

    /// The whole table: (state, input) to (next state, actions); pairs that are not listed change
    /// nothing.
    fn expected(state: State, input: Input, reliability: Reliability) -> (State, Actions) {
        let c = TimerConfig::default();
        let max = c.t1x64();
        match (state, input) {
            (State::Calling | State::Proceeding, Input::Response(Provisional)) => (
                State::Proceeding,
                vec![Stop(Timer::A), Stop(Timer::B), PassUp, Start(Timer::C, c.timer_c)],
            ),
            (State::Calling | State::Proceeding, Input::Response(Success)) => (
                State::Accepted,
                vec![
                    Stop(Timer::A),
                    Stop(Timer::B),
                    Stop(Timer::C),
                    Stop(Timer::AfterCancel),
                    Start(Timer::M, max),
                    PassUp,
                ],
            ),
            (State::Calling | State::Proceeding, Input::Response(Failure)) => {
                let mut actions = vec![
                    Stop(Timer::A),
                    Stop(Timer::B),
                    Stop(Timer::C),
                    Stop(Timer::AfterCancel),
                    SendAck,
                    PassUp,
                ];
                match reliability {
                    Unreliable => {
                        actions.push(Start(Timer::D, max));
                        (State::Completed, actions)
                    }
                    Reliable => {
                        actions.push(Terminate);
                        (State::Terminated, actions)
                    }
                }
            }
            (State::Calling, Input::Timer(Timer::A)) => {
                (State::Calling, vec![SendRequest, Start(Timer::A, 2 * c.t1)])
            }
            (State::Calling, Input::Timer(Timer::B)) => {
                (State::Terminated, vec![ReportTimeout, Terminate])
            }
            (State::Calling | State::Completed, Input::TransportError) => {
                (State::Terminated, vec![ReportTransportFailure, Terminate])
            }
            (State::Proceeding, Input::Timer(Timer::C)) => (State::Proceeding, vec![SendCancel]),
            (State::Proceeding, Input::CancelSent) => {
                (State::Proceeding, vec![Stop(Timer::C), Start(Timer::AfterCancel, max)])
            }
            (State::Proceeding, Input::Timer(Timer::AfterCancel)) => {
                (State::Terminated, vec![ReportTimeout, Terminate])
            }
            (State::Completed, Input::Response(Failure)) => (State::Completed, vec![SendAck]),
            (State::Completed, Input::Timer(Timer::D)) => (State::Terminated, vec![Terminate]),
            (State::Accepted, Input::Response(Success)) => (State::Accepted, vec![PassUp]),
            (State::Accepted, Input::Timer(Timer::M)) => (State::Terminated, vec![Terminate]),
            (state, _) => (state, vec![]),
        }
    }

    // Goal: every (state, input) pair on both kinds of transport does what the RFCs say.
    #[test]
    fn whole_table() {
        let config = TimerConfig::default();
        for reliability in [Unreliable, Reliable] {
            for state in STATES {
                for input in INPUTS {
                    let mut machine =
                        InviteClient { state, reliability, retransmit_after: config.t1 };
                    let actions = machine.step(input, &config);
                    let got = (machine.state, actions);
                    assert_eq!(got, expected(state, input, reliability), "{state:?} {input:?}");
                }
            }
        }
    }

    // Goal: the intervals of timer A double from T1 until timer B ends it after 7 sendings (section
    // 17.1.1.2), and streams send once.
    #[test]
    fn retransmission_intervals() {
        let config = TimerConfig::default();
        let (mut machine, first) = InviteClient::start(Unreliable, &config);
        assert_eq!(
            first,
            [SendRequest, Start(Timer::B, config.t1x64()), Start(Timer::A, config.t1)]
        );
        let (mut sendings, mut elapsed, mut wait) = (1, Duration::ZERO, config.t1);
        while elapsed + wait < config.t1x64() {
            elapsed += wait;
            sendings += 1;
            match machine.step(Input::Timer(Timer::A), &config).as_slice() {
                [SendRequest, Start(Timer::A, next)] if *next == 2 * wait => wait = *next,
                other => unreachable!("{other:?}"),
            }
        }
        assert_eq!(sendings, 7);
        let (_, first) = InviteClient::start(Reliable, &config);
        assert_eq!(first, [SendRequest, Start(Timer::B, config.t1x64())]);
    }
}
