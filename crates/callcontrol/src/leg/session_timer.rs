//! Session timers (RFC 4028): a session that nobody refreshes ends, so that a lost BYE leaves no call
//! open for ever.

use tandem_cluster::command::LegEnd;
use tandem_sip::dialog::session_timer::TimerDue;

use super::{Leg, TimerKind, Why};
use crate::{core::Core, io::Now};

impl Core {
    /// Waits for the next refresh, counted from the last one.
    pub(crate) fn start_session_timer(&mut self, leg: &Leg) {
        match leg.sip.timer.as_ref().map(|timer| timer.due(leg.sip.refreshed)) {
            Some(TimerDue::Refresh(at) | TimerDue::EndCall(at)) => {
                self.set_timer(leg.id, TimerKind::Session, at);
            }
            None => self.clear_timer(leg.id, TimerKind::Session),
        }
    }

    /// A refresh is due, or overdue.
    pub(crate) fn session_due(&mut self, now: Now, leg: &mut Leg) {
        let Some(timer) = leg.sip.timer else { return };
        match timer.due(leg.sip.refreshed) {
            TimerDue::Refresh(at) if at <= now.instant => {
                let ends = timer.ends(leg.sip.refreshed);
                if ends <= now.instant {
                    return self.hang_up(now, leg, LegEnd::PeerSilent);
                }
                self.set_timer(leg.id, TimerKind::Session, ends);
                // A takeover's re-INVITE is a refresh too.
                if leg.takeover.is_none() {
                    self.reinvite(now, leg, Why::Refresh);
                }
            }
            TimerDue::EndCall(at) if at <= now.instant => {
                self.hang_up(now, leg, LegEnd::PeerSilent)
            }
            TimerDue::Refresh(_) | TimerDue::EndCall(_) => self.start_session_timer(leg),
        }
    }
}
