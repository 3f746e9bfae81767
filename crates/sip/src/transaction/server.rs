//! Non-INVITE server transaction: RFC 3261 section 17.2.2, with RFC 4320 section 4.
//!
//! ```text
//!  Trying ──1xx──▶ Proceeding ──200-699──▶ Completed ──J──▶ Terminated
//!     └─────────200-699──────────────────────▲                ▲
//!  Trying, Proceeding: 64*T1 without an answer of the core ───┘
//! ```
//!
//! RFC 4320 section 4.2: a request that the core has not answered in 64*T1 is answered no more, since
//! its client has given up.

use super::machine::{Action, Actions, Reliability, ResponseClass};
use super::timers::{Timer, TimerConfig};

/// States of section 17.2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The core works on the request.
    Trying,
    /// A provisional response was sent.
    Proceeding,
    /// A final response was sent.
    Completed,
    /// Over.
    Terminated,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// The request came again.
    Retransmission,
    /// The core gives a response.
    Response(ResponseClass),
    /// A timer fired.
    Timer(Timer),
    /// The transport could not send.
    TransportError,
}

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    state: State,
    reliability: Reliability,
}

impl Server {
    /// Starts with the first request, which goes up to the core.
    pub fn start(reliability: Reliability, config: &TimerConfig) -> (Self, Actions) {
        let actions = vec![Action::Start(Timer::CoreSilent, config.t1x64()), Action::PassUp];
        (Self { state: State::Trying, reliability }, actions)
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// One step.
    pub fn step(&mut self, input: Input, config: &TimerConfig) -> Actions {
        match (self.state, input) {
            (State::Trying | State::Proceeding, Input::Response(ResponseClass::Provisional)) => {
                self.state = State::Proceeding;
                vec![Action::SendResponse]
            }
            (State::Trying | State::Proceeding, Input::Response(_)) => self.complete(config),
            (State::Trying | State::Proceeding, Input::Timer(Timer::CoreSilent)) => {
                self.end(&[Action::ReportTimeout])
            }
            // 17.2.2: the last response again; in Trying there is none, so the request is absorbed.
            (State::Proceeding | State::Completed, Input::Retransmission) => {
                vec![Action::SendResponse]
            }
            // 17.2.2: Proceeding and Completed end with a transport error. In Trying nothing was sent.
            (State::Proceeding | State::Completed, Input::TransportError) => {
                self.end(&[Action::ReportTransportFailure])
            }
            (State::Completed, Input::Timer(Timer::J)) => self.end(&[]),
            // 17.2.2: further responses of the core in Completed are dropped.
            _ => Vec::new(),
        }
    }

    /// 17.2.2: a final response; timer J is zero on streams.
    fn complete(&mut self, config: &TimerConfig) -> Actions {
        self.state = State::Completed;
        let mut actions = vec![Action::Stop(Timer::CoreSilent), Action::SendResponse];
        match self.reliability {
            Reliability::Unreliable => actions.push(Action::Start(Timer::J, config.t1x64())),
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

    const STATES: [State; 4] =
        [State::Trying, State::Proceeding, State::Completed, State::Terminated];
    const INPUTS: [Input; 7] = [
        Input::Retransmission,
        Input::Response(Provisional),
        Input::Response(Success),
        Input::Response(Failure),
        Input::Timer(Timer::J),
        Input::Timer(Timer::CoreSilent),
        Input::TransportError,
    ];

    /// The whole table; pairs that are not listed change nothing.
    fn expected(state: State, input: Input, reliability: Reliability) -> (State, Actions) {
        let max = TimerConfig::default().t1x64();
        match (state, input) {
            (State::Trying | State::Proceeding, Input::Response(Provisional)) => {
                (State::Proceeding, vec![SendResponse])
            }
            (State::Trying | State::Proceeding, Input::Response(Success | Failure)) => {
                match reliability {
                    Unreliable => (
                        State::Completed,
                        vec![Stop(Timer::CoreSilent), SendResponse, Start(Timer::J, max)],
                    ),
                    Reliable => {
                        (State::Terminated, vec![Stop(Timer::CoreSilent), SendResponse, Terminate])
                    }
                }
            }
            (State::Trying | State::Proceeding, Input::Timer(Timer::CoreSilent)) => {
                (State::Terminated, vec![ReportTimeout, Terminate])
            }
            (State::Proceeding | State::Completed, Input::Retransmission) => {
                (state, vec![SendResponse])
            }
            (State::Proceeding | State::Completed, Input::TransportError) => {
                (State::Terminated, vec![ReportTransportFailure, Terminate])
            }
            (State::Completed, Input::Timer(Timer::J)) => (State::Terminated, vec![Terminate]),
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
                    let mut machine = Server { state, reliability };
                    let actions = machine.step(input, &config);
                    let got = (machine.state, actions);
                    assert_eq!(got, expected(state, input, reliability), "{state:?} {input:?}");
                }
            }
        }
    }
}
