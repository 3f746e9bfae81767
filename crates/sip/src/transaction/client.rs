//! Non-INVITE client transaction: RFC 3261 section 17.1.2.
//!
//! ```text
//!  Trying ──1xx──▶ Proceeding ──200-699──▶ Completed ──K──▶ Terminated
//!     │ └──────200-699────────────────────────▲                ▲
//!     └───────── F, error ─────────────────────────────────────┘
//! ```

use super::machine::{Action, Actions, Reliability, ResponseClass};
use super::timers::{Timer, TimerConfig};
use std::time::Duration;

/// States of section 17.1.2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The request is sent, nothing came back.
    Trying,
    /// A provisional response came.
    Proceeding,
    /// A final response came.
    Completed,
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
    /// The transport could not send.
    TransportError,
}

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    state: State,
    reliability: Reliability,
    retransmit_after: Duration,
}

impl Client {
    /// Starts with the first sending.
    pub fn start(reliability: Reliability, config: &TimerConfig) -> (Self, Actions) {
        let machine = Self { state: State::Trying, reliability, retransmit_after: config.t1 };
        let mut actions = vec![Action::SendRequest, Action::Start(Timer::F, config.t1x64())];
        if reliability == Reliability::Unreliable {
            actions.push(Action::Start(Timer::E, config.t1));
        }
        (machine, actions)
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// One step.
    pub fn step(&mut self, input: Input, config: &TimerConfig) -> Actions {
        match (self.state, input) {
            // 17.1.2.2: in Trying timer E doubles up to T2 …
            (State::Trying, Input::Timer(Timer::E)) => {
                self.retransmit_after = (self.retransmit_after * 2).min(config.t2);
                vec![Action::SendRequest, Action::Start(Timer::E, self.retransmit_after)]
            }
            // … in Proceeding it is always T2.
            (State::Proceeding, Input::Timer(Timer::E)) => {
                vec![Action::SendRequest, Action::Start(Timer::E, config.t2)]
            }
            (State::Trying | State::Proceeding, Input::Timer(Timer::F)) => {
                self.end(&[Action::ReportTimeout])
            }
            (State::Trying | State::Proceeding, Input::TransportError) => {
                self.end(&[Action::ReportTransportFailure])
            }
            (State::Trying | State::Proceeding, Input::Response(ResponseClass::Provisional)) => {
                self.state = State::Proceeding;
                vec![Action::PassUp]
            }
            (State::Trying | State::Proceeding, Input::Response(_)) => self.complete(config),
            (State::Completed, Input::Timer(Timer::K)) => self.end(&[]),
            // 17.1.2.2: Completed absorbs repeated responses; late timers have no meaning.
            _ => Vec::new(),
        }
    }

    /// 17.1.2.2: a final response; timer K is zero on streams.
    fn complete(&mut self, config: &TimerConfig) -> Actions {
        self.state = State::Completed;
        let mut actions = vec![Action::Stop(Timer::E), Action::Stop(Timer::F), Action::PassUp];
        match self.reliability {
            Reliability::Unreliable => actions.push(Action::Start(Timer::K, config.t4)),
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
        Input::Response(Provisional),
        Input::Response(Success),
        Input::Response(Failure),
        Input::Timer(Timer::E),
        Input::Timer(Timer::F),
        Input::Timer(Timer::K),
        Input::TransportError,
    ];

    /// The whole table; pairs that are not listed change nothing.
    fn expected(state: State, input: Input, reliability: Reliability) -> (State, Actions) {
        let c = TimerConfig::default();
        match (state, input) {
            (State::Trying | State::Proceeding, Input::Response(Provisional)) => {
                (State::Proceeding, vec![PassUp])
            }
            (State::Trying | State::Proceeding, Input::Response(Success | Failure)) => {
                let mut actions = vec![Stop(Timer::E), Stop(Timer::F), PassUp];
                match reliability {
                    Unreliable => {
                        actions.push(Start(Timer::K, c.t4));
                        (State::Completed, actions)
                    }
                    Reliable => {
                        actions.push(Terminate);
                        (State::Terminated, actions)
                    }
                }
            }
            (State::Trying, Input::Timer(Timer::E)) => {
                (State::Trying, vec![SendRequest, Start(Timer::E, 2 * c.t1)])
            }
            (State::Proceeding, Input::Timer(Timer::E)) => {
                (State::Proceeding, vec![SendRequest, Start(Timer::E, c.t2)])
            }
            (State::Trying | State::Proceeding, Input::Timer(Timer::F)) => {
                (State::Terminated, vec![ReportTimeout, Terminate])
            }
            (State::Trying | State::Proceeding, Input::TransportError) => {
                (State::Terminated, vec![ReportTransportFailure, Terminate])
            }
            (State::Completed, Input::Timer(Timer::K)) => (State::Terminated, vec![Terminate]),
            (state, _) => (state, vec![]),
        }
    }

    // Goal: every (state, input) pair on both kinds of transport does what the RFC says.
    #[test]
    fn whole_table() {
        let config = TimerConfig::default();
        for reliability in [Unreliable, Reliable] {
            for state in STATES {
                for input in INPUTS {
                    let mut machine = Client { state, reliability, retransmit_after: config.t1 };
                    let actions = machine.step(input, &config);
                    let got = (machine.state, actions);
                    assert_eq!(got, expected(state, input, reliability), "{state:?} {input:?}");
                }
            }
        }
    }

    // Goal: eleven sendings within 32 s, as section 17.1.2.2 counts (0.5, 1, 2, 4, 4, … s apart).
    #[test]
    fn retransmission_intervals() {
        let config = TimerConfig::default();
        let (mut machine, _) = Client::start(Unreliable, &config);
        let (mut sendings, mut elapsed, mut wait) = (1, Duration::ZERO, config.t1);
        while elapsed + wait < config.t1x64() {
            elapsed += wait;
            sendings += 1;
            match machine.step(Input::Timer(Timer::E), &config).as_slice() {
                [SendRequest, Start(Timer::E, next)] => wait = *next,
                other => unreachable!("{other:?}"),
            }
        }
        assert_eq!((sendings, wait), (11, config.t2));
    }
}
