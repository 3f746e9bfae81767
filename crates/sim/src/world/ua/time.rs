//! What happens by itself: copies of what is not answered, answers that were planned.

use super::{Reaction, State, T1X64, T2, Timer, Ua};

impl Ua {
    /// Does what is due.
    pub fn time_passed(&mut self, now: u64) {
        self.now = now;
        while let Some((at, timer)) = self.timers.first().cloned() {
            if at > now {
                return;
            }
            self.timers.pop_first();
            self.fire(timer);
        }
    }

    pub(super) fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Client(key) => self.client_due(key),
            Timer::Resend(key) => self.resend_due(key),
            Timer::Ring(index) => {
                if self.calls[index].state == State::Ringing {
                    self.respond_to_invite(index, 180);
                }
            }
            Timer::Answer(index) => {
                if self.calls[index].state == State::Ringing {
                    let status = match self.plan.invited {
                        Reaction::Rejects(_, status) => status,
                        _ => 200,
                    };
                    self.answer_invite(index, status);
                }
            }
            Timer::Fork(index) => self.fork_answers(index),
            Timer::GiveUp(index) => {
                if self.calls[index].state == State::Calling {
                    self.over(index, false);
                }
            }
            Timer::HangUp(index) => {
                if self.calls[index].state == State::Up {
                    self.bye(index);
                }
            }
        }
    }

    pub(super) fn client_due(&mut self, key: String) {
        let (now, tcp) = (self.now, self.tcp);
        let Some(client) = self.clients.get_mut(&key) else { return };
        if now >= client.until && !(client.method == "INVITE" && client.provisional) {
            let Some(client) = self.clients.remove(&key) else { return };
            if let Some(index) = client.call {
                self.calls[index].finals.push((client.method.clone(), 0));
                if client.method == "INVITE" && self.calls[index].state == State::Calling {
                    self.calls[index].status = Some(408);
                    self.over(index, false);
                } else if client.method == "INVITE" {
                    self.change_refused(index, 408);
                }
            }
            return;
        }
        if client.method == "INVITE" && client.provisional {
            return;
        }
        if !tcp {
            let (to, bytes) = (client.to, client.bytes.clone());
            self.out.push((to, bytes));
        }
        let Some(client) = self.clients.get_mut(&key) else { return };
        let longest = if client.method == "INVITE" { T1X64 } else { T2 };
        client.wait = (client.wait * 2).min(longest);
        let wait = client.wait.min(client.until.saturating_sub(now)).max(1);
        self.set(wait, Timer::Client(key));
    }

    pub(super) fn resend_due(&mut self, key: String) {
        let now = self.now;
        let Some(resend) = self.resends.get_mut(&key) else { return };
        if now >= resend.until {
            let Some(resend) = self.resends.remove(&key) else { return };
            // RFC 3261 section 13.3.1.4.
            if resend.success && self.calls[resend.call].state == State::Up {
                self.bye(resend.call);
            }
            return;
        }
        let (to, bytes, index) = (resend.to, resend.bytes.clone(), resend.call);
        resend.wait = (resend.wait * 2).min(T2);
        let wait = resend.wait.min(resend.until - now);
        if resend.success {
            self.calls[index].oks_sent += 1;
        }
        self.out.push((to, bytes));
        self.set(wait, Timer::Resend(key));
    }
}
