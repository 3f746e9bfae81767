//! Adopting legs of lost nodes.
//!
//! First the relay is told (with the higher epoch, which fences the lost owner; a relay that does
//! not answer is given up for ours), then the peer is asked by a re-INVITE with our Contact, a CSeq
//! and an SDP version that the lost owner cannot have used. What the peer answers settles it: 2xx
//! kept; 481 gone; 491 later; 403, 488 and the like: the call stands, and is never ended because a
//! takeover failed; no answer: tried again until the session timer runs out.

use tandem_cluster::{
    command::LegEnd,
    leg::{Codec, Control, EndingFrom, LegPhase, LegRole, Transport},
    view::LegView,
};
use tandem_sip::{
    message::StatusCode,
    sdp::{LocalDescription, Origin, SdpVersionBlock},
};

use super::{
    Kind, Leg, MediaSide, Reach, SipSide, Stage, Takeover, TakeoverStep, TimerKind, Why,
    facts::Fact, record, reinvite::Settled, ring::phone_address,
};
use crate::{
    core::Core,
    io::{Note, Now},
    limits::{TAKEOVER_AGAIN, TAKEOVER_AGAIN_MAX, TAKEOVER_GIVE_UP},
    turns::Turn,
};

impl Core {
    /// Makes a leg of another node's life ours.
    pub(crate) fn adopt(&mut self, now: Now, leg: &mut Leg) {
        self.note(Note::TakeoverBegan { leg: leg.id, epoch: leg.epoch });
        leg.stage = Stage::Established;
        match leg.view.as_ref().map(|view| view.leg.phase.clone()) {
            Some(LegPhase::Inviting | LegPhase::Ending { from: EndingFrom::Inviting, .. }) => {
                self.cancel_foreign(now, leg);
            }
            Some(LegPhase::Ending { from: EndingFrom::Active, .. }) => self.reconcile(now, leg),
            _ if leg.sip.dialog.is_none() => self.ended(leg, LegEnd::PeerSilent),
            _ => {
                let (step, tries, turn) = (TakeoverStep::Media, 0, None);
                leg.takeover = Some(Takeover { began: now.instant, step, tries, turn });
                self.start_session_timer(leg);
                self.sync_media(leg);
            }
        }
    }

    /// A leg as its row describes it, with nothing of ours on the wire.
    pub(crate) fn adopted_leg(&mut self, now: Now, view: LegView) -> Leg {
        let sip = self.adopted_sip(now, &view);
        let media = self.adopted_media(now, &view, sip.peer);
        let row = &view.leg;
        let kind = match row.role {
            LegRole::Caller => {
                Kind::Caller(self.settings.trunk_of(sip.peer.ip()).map(|(trunk, _)| trunk))
            }
            LegRole::Agent { offer, .. } => Kind::Agent(offer),
        };
        let owner = self.owner_of(row.id);
        let leg = Leg::new(row.id, row.epoch, owner, kind, sip, media);
        Leg { view: Some(view), ..leg }
    }

    fn adopted_sip(&mut self, now: Now, view: &LegView) -> SipSide {
        let row = &view.leg;
        let record = row.dialog.as_ref();
        let (dialog, description) = match record.map(record::adopt) {
            Some(Ok((dialog, description))) => (Some(dialog), description),
            other => {
                if let Some(Err(error)) = other {
                    self.unexpected(row.id, error);
                }
                let origin = Origin::new(self.settings.udp.ip(), &mut self.prng);
                (None, LocalDescription::new(origin, SdpVersionBlock::first()))
            }
        };
        let known =
            record.and_then(|record| Some((record.peer_address.parse().ok()?, record.transport)));
        let invited =
            row.invitation.as_ref().map(|invitation| phone_address(invitation, self.settings.udp));
        let (peer, transport) = known.or(invited).unwrap_or((self.settings.udp, Transport::Udp));
        let reach = if row.role == LegRole::Caller { Reach::ByContact } else { Reach::BySource };
        let mut sip = SipSide::new(now, transport, peer, reach, description);
        sip.dialog = dialog;
        sip.timer = record.and_then(record::session_timer);
        sip.timer_policy = self.settings.session_timer;
        sip.stated = row.media.as_ref().map(|media| media.local.clone());
        sip
    }

    fn adopted_media(&mut self, now: Now, view: &LegView, peer: std::net::SocketAddr) -> MediaSide {
        let (own, epoch) = (self.settings.relay.clone(), view.leg.epoch);
        let Some(record) = &view.leg.media else {
            return MediaSide::new(own, Codec::Pcmu, now, epoch, &mut self.prng);
        };
        let fresh = MediaSide::new(own, record.codec, now, epoch, &mut self.prng);
        let mut media = MediaSide {
            remote: record.remote.clone(),
            // A phone behind NAT sends from where its signalling comes, a carrier from the address
            // that it names.
            learn_from: match view.leg.role {
                LegRole::Caller => record.remote.as_ref().map(|remote| remote.address.clone()),
                LegRole::Agent { .. } => Some(peer.ip().to_string()),
            },
            payload_type: record.payload_type,
            dtmf_payload_type: record.dtmf_payload_type,
            direction: record.direction,
            ..fresh
        };
        let since = match view.leg.control {
            Control::Recovering { since } => since,
            Control::Held => now.cluster,
        };
        media.adopt_stream(now, record.origin, since);
        match &view.relay {
            // A relay that still has the session goes on with it as it is.
            Some(relay) => {
                media.relay = relay.clone();
                media.local = Some(record.local.clone());
            }
            None => media.begin_stream(now, epoch, &mut self.prng),
        }
        media
    }

    /// The relay knows us: now the peer.
    pub(crate) fn ask_peer(&mut self, now: Now, leg: &mut Leg) {
        let (peer, id) = (leg.sip.peer.ip(), leg.id);
        let Some(takeover) = leg.takeover.as_mut() else { return };
        match self.turns.take(peer, id) {
            Turn::Waits => {
                takeover.step = TakeoverStep::Waiting;
                return;
            }
            Turn::Now => {
                takeover.step = TakeoverStep::Asking;
                takeover.turn = Some(peer);
            }
        }
        self.reinvite(now, leg, Why::Takeover);
        if leg.sip.reinvite.is_none() {
            // An exchange of the peer's is under way, or no numbers are left: later.
            self.end_turn(leg);
            self.ask_peer_later(now, leg, TAKEOVER_AGAIN);
        }
    }

    fn ask_peer_later(&mut self, now: Now, leg: &mut Leg, wait: std::time::Duration) {
        if let Some(takeover) = leg.takeover.as_mut() {
            takeover.step = TakeoverStep::Again;
            self.set_timer(leg.id, TimerKind::Reinvite, now.instant + wait);
        }
    }

    fn end_turn(&mut self, leg: &mut Leg) {
        let turn = leg.takeover.as_mut().and_then(|takeover| takeover.turn.take());
        if let Some(peer) = turn {
            self.turns.end(peer);
        }
    }

    /// The takeover is over, however it went.
    pub(crate) fn end_takeover(&mut self, leg: &mut Leg) {
        self.end_turn(leg);
        if leg.takeover.take().is_some() {
            leg.sip.wanted = leg.sip.wanted.filter(|why| *why != Why::Takeover);
        }
    }

    /// The peer has settled a takeover, or has not.
    pub(crate) fn takeover_settled(
        &mut self,
        now: Now,
        leg: &mut Leg,
        settled: Settled,
        status: Option<StatusCode>,
    ) {
        self.end_turn(leg);
        let status = status.map(StatusCode::code);
        let patience = patience(leg);
        let Some(takeover) = leg.takeover.as_mut() else { return };
        let waited = now.instant - takeover.began;
        match settled {
            Settled::Accepted | Settled::Kept => {
                takeover.step = TakeoverStep::Confirming;
                let after_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
                self.note(Note::TakeoverKept { leg: leg.id, after_ms });
                self.sync_media(leg);
                self.tell(leg, Fact::Confirmed);
                if settled == Settled::Kept {
                    self.takeover_refused(now, leg);
                }
            }
            Settled::Gone => {
                self.note(Note::TakeoverLost { leg: leg.id, status });
                self.ended(leg, LegEnd::PeerGone);
            }
            Settled::Glare | Settled::Unknown if waited >= patience => {
                self.note(Note::TakeoverLost { leg: leg.id, status });
                self.hang_up(now, leg, LegEnd::PeerSilent);
            }
            Settled::Glare => {
                self.note(Note::TakeoverAgain { leg: leg.id, status });
                let wait = self.glare_wait(leg);
                self.ask_peer_later(now, leg, wait);
            }
            Settled::Unknown => {
                takeover.tries += 1;
                let doublings = (takeover.tries - 1).min(10);
                let wait = (TAKEOVER_AGAIN * 2_u32.pow(doublings)).min(TAKEOVER_AGAIN_MAX);
                self.note(Note::TakeoverAgain { leg: leg.id, status });
                self.ask_peer_later(now, leg, wait);
            }
        }
    }
}

/// For how long a takeover is tried: until the session would have run out.
fn patience(leg: &Leg) -> std::time::Duration {
    leg.sip.timer.as_ref().map_or(TAKEOVER_GIVE_UP, |timer| {
        std::time::Duration::from_secs(u64::from(timer.interval_s))
    })
}
