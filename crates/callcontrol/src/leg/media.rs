//! The media side of a leg: what its relay session should be, and making it so.
//!
//! The wanted session follows from the leg's stage and goal; whenever it differs from what the relay
//! was told, the relay is told. One request per leg is under way at a time.

use tandem_cluster::{
    ids::LegEpoch,
    leg::{Codec, Endpoint, LegPhase, MediaDirection},
    node::RelayRecord,
    view::Goal,
};
use tandem_sip::{message::StatusCode, prng::Prng, sdp::Negotiated};

use super::{
    Leg, LegLife, MediaSide, Stage, TakeoverStep, TimerKind,
    facts::Fact,
    record,
    stream::{StreamState, fresh_origin},
};
use crate::{
    core::{Core, TicketUse},
    io::{
        MediaEvent, MediaOperation, MediaReply, MediaRequest, Note, Now, Output, SessionSpec,
        Source,
    },
    limits::{MEDIA_AGAIN, MEDIA_AGAIN_MAX, MEDIA_TRIES},
};

impl MediaSide {
    /// A session that does not exist yet.
    pub(crate) fn new(
        relay: RelayRecord,
        codec: Codec,
        now: Now,
        epoch: LegEpoch,
        prng: &mut Prng,
    ) -> Self {
        Self {
            relay,
            local: None,
            remote: None,
            learn_from: None,
            codec,
            payload_type: match codec {
                Codec::Pcmu => 0,
                Codec::Pcma => 8,
            },
            dtmf_payload_type: None,
            direction: MediaDirection::SendReceive,
            origin: fresh_origin(now, epoch, prng),
            stream: StreamState::default(),
            revision: 0,
            told: None,
            asking: None,
            failures: 0,
            unanswered: None,
        }
    }

    /// Takes over what offer and answer have settled.
    pub(crate) fn agree(
        &mut self,
        now: Now,
        epoch: LegEpoch,
        agreed: &Negotiated,
        prng: &mut Prng,
    ) {
        if let Some(codec) = record::codec(&agreed.send.codec.name) {
            self.codec = codec;
        }
        self.payload_type = agreed.send.payload_type;
        self.dtmf_payload_type = agreed.send_events.as_ref().map(|event| event.payload_type);
        self.turn(now, epoch, record::direction(agreed.direction), prng);
        // A peer that holds by address 0.0.0.0 has no socket for now; the last one stays.
        if let Some(remote) = agreed.remote.rtp_address() {
            self.remote = Some(record::endpoint(remote));
        }
    }
}

impl Core {
    /// Tells the relay what the session should be, if that has changed.
    pub(crate) fn sync_media(&mut self, leg: &mut Leg) {
        let over = matches!(leg.stage, Stage::Over | Stage::Ending(_));
        if over || leg.media.asking.is_some() {
            return;
        }
        let wanted = wanted(leg);
        if leg.media.told.as_ref() == Some(&wanted) {
            return;
        }
        leg.media.revision += 1;
        let spec = SessionSpec { revision: leg.media.revision, ..wanted.clone() };
        leg.media.told = Some(wanted);
        let ticket = self.ticket(TicketUse::Media(leg.id));
        leg.media.asking = Some(ticket);
        let what = MediaOperation::Put(spec);
        let relay = leg.media.relay.clone();
        self.output(Output::Media(Box::new(MediaRequest { ticket, relay, what })));
    }

    /// Ends the session of a leg that is over.
    pub(crate) fn release_media(&mut self, leg: &mut Leg) {
        leg.media.told = None;
        // What it says to a request that is under way matters no more; it ends with the session.
        leg.media.asking.take().map(|ticket| self.tickets.remove(&ticket));
        self.remove_session(leg.media.relay.clone(), leg.id, leg.epoch);
    }

    /// The relay answered, or did not.
    pub(crate) fn media_answered(&mut self, now: Now, leg: &mut Leg, reply: MediaReply) {
        leg.media.asking = None;
        match reply {
            MediaReply::Ready(local) => self.media_ready(now, leg, local),
            MediaReply::Removed => {}
            // The relay has seen a higher epoch: another node acts for this leg.
            MediaReply::Fenced => leg.life = LegLife::Lost,
            MediaReply::Stale => {
                leg.media.told = None;
                self.sync_media(leg);
            }
            MediaReply::Refused(why) => {
                self.unexpected(leg.id, format_args!("the relay refuses: {why}"));
                if matches!(leg.stage, Stage::Preparing) {
                    if !self.ask_callers_relay(now, leg) {
                        self.cannot_ring(leg);
                    }
                    return;
                }
                self.media_failed(now, leg);
                if leg.media.failures > MEDIA_TRIES {
                    // Perhaps the port went to somebody else: any port is better than none.
                    leg.media.local = None;
                }
            }
            MediaReply::Unreachable => self.media_failed(now, leg),
        }
    }

    fn media_ready(&mut self, now: Now, leg: &mut Leg, local: Endpoint) {
        leg.media.failures = 0;
        leg.media.stream_is_sent();
        leg.media.local = Some(local);
        if let Some(told) = &mut leg.media.told {
            told.local_port = leg.media.local.as_ref().map(|local| local.port);
        }
        match leg.stage {
            Stage::Allocating(_) => return self.admit(now, leg),
            Stage::Preparing => return self.invite(now, leg),
            _ => {}
        }
        self.sync_media(leg);
        if leg.takeover.as_ref().is_some_and(|t| t.step == TakeoverStep::Media) {
            self.ask_peer(now, leg);
        }
        self.media_changed(leg);
        self.next_exchange(now, leg);
    }

    /// Tells the log where the media is, when that is not what it has: the other side's relay goes by
    /// it.
    fn media_changed(&mut self, leg: &mut Leg) {
        let row = leg.view.as_ref().map(|view| &view.leg);
        let known = row.filter(|row| row.phase == LegPhase::Active && leg.is_established());
        if known.is_some_and(|row| row.media != record::media(&leg.media)) {
            self.tell(leg, Fact::Report);
        }
    }

    /// A relay does not answer: our own comes back by itself (we start it again); a foreign one is
    /// given up after a few tries, and the leg moves to ours. A takeover gives it up at the first: its
    /// peer hears from us in any case, so moving costs nothing and waiting costs silence.
    fn media_failed(&mut self, now: Now, leg: &mut Leg) {
        leg.media.told = None;
        leg.media.failures += 1;
        leg.media.stream_is_silent(now);
        // Nobody has been promised anything yet.
        if matches!(leg.stage, Stage::Allocating(_)) {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return self.refuse_admission(now, leg, status, "no relay");
        }
        let own = leg.media.relay.id == self.settings.relay.id;
        let taking = leg.takeover.as_ref().is_some_and(|t| t.step == TakeoverStep::Media);
        let tries = if taking { 1 } else { MEDIA_TRIES };
        if leg.media.failures >= tries && matches!(leg.stage, Stage::Preparing) {
            if self.ask_callers_relay(now, leg) {
                // Ours may be back in a second; the caller need not wait for it.
                return;
            }
            if !own {
                return self.cannot_ring(leg);
            }
        }
        if !own && leg.media.failures >= tries {
            self.move_media(now, leg);
            return self.sync_media(leg);
        }
        let doublings = (leg.media.failures - 1).min(8);
        let wait = (MEDIA_AGAIN * 2_u32.pow(doublings)).min(MEDIA_AGAIN_MAX);
        self.set_timer(leg.id, TimerKind::Media, now.instant + wait);
    }

    /// Asks the caller's relay for the agent's side, if only our own has been asked so far. False when
    /// there is no other.
    ///
    /// What ours may have made without an answer is removed with the leg and not before: a removal that
    /// comes late could end a session that this leg has moved back to.
    fn ask_callers_relay(&mut self, now: Now, leg: &mut Leg) -> bool {
        let Some(Goal::Ring(ring)) = leg.view.as_ref().map(|view| &view.goal) else { return false };
        let own = &self.settings.relay.id;
        let Some(to) = ring.caller_relay.clone().filter(|relay| relay.id != *own) else {
            return false;
        };
        if leg.media.relay.id != *own {
            return false;
        }
        let silent = leg.media.failures > 0;
        let from = self.change_relay(now, leg, to);
        leg.media.unanswered = silent.then_some(from);
        self.sync_media(leg);
        true
    }

    /// Moves the media of a leg to our own relay.
    fn move_media(&mut self, now: Now, leg: &mut Leg) {
        let from = self.change_relay(now, leg, self.settings.relay.clone());
        leg.media.unanswered = None;
        // It may be out of reach for us alone, and still send: for a receiver who hears both, one stream
        // from two relays would go back and forth. Ours begins another one.
        self.remove_session(from, leg.id, leg.epoch);
    }

    fn change_relay(&mut self, now: Now, leg: &mut Leg, to: RelayRecord) -> RelayRecord {
        let from = std::mem::replace(&mut leg.media.relay, to.clone());
        self.note(Note::MediaMoved { leg: leg.id, from: from.id.clone(), to: to.id });
        leg.media.local = None;
        leg.media.failures = 0;
        leg.media.told = None;
        leg.media.begin_stream(now, leg.epoch, &mut self.prng);
        from
    }

    /// A relay has lost the session: it is made again on its old port, going on with its stream.
    pub(crate) fn session_lost(&mut self, now: Now, leg: &mut Leg) {
        // The first request of a session finds the relay as it is now; one that got no answer may have
        // reached the process before.
        if leg.media.local.is_none() && leg.media.failures == 0 {
            return;
        }
        leg.media.told = None;
        let logged = leg.logged_stream();
        leg.media.hand_stream_over(now, leg.epoch, logged, &mut self.prng);
        self.sync_media(leg);
        self.media_changed(leg);
    }

    /// Something happened to the session.
    pub(crate) fn media_event(&mut self, now: Now, leg: &mut Leg, event: &MediaEvent) {
        match *event {
            MediaEvent::Flowing => {
                self.clear_timer(leg.id, TimerKind::Audit);
                // A caller whose audio arrives is no ghost, whatever their signalling does.
                if leg.takeover.is_some() {
                    self.tell(leg, Fact::Confirmed);
                }
            }
            MediaEvent::Stopped => self.audit(now, leg),
            MediaEvent::Gone => self.session_lost(now, leg),
            MediaEvent::Restarted { ssrc, first_sequence, first_timestamp } => {
                leg.media.stream_restarted(now, leg.epoch, ssrc, first_sequence, first_timestamp);
                self.media_changed(leg);
            }
            MediaEvent::Dtmf(_) => {}
        }
    }
}

/// The session as it should be now, with revision zero.
fn wanted(leg: &Leg) -> SessionSpec {
    let media = &leg.media;
    SessionSpec {
        leg: leg.id,
        epoch: leg.epoch,
        revision: 0,
        local_port: media.local.as_ref().map(|local| local.port),
        remote: media.remote.clone(),
        learn_from: media.learn_from.clone(),
        codec: media.codec,
        payload_type: media.payload_type,
        dtmf_payload_type: media.dtmf_payload_type,
        direction: media.direction,
        origin: media.origin,
        source: source(leg),
    }
}

fn source(leg: &Leg) -> Source {
    if !leg.is_established() {
        return Source::Silence;
    }
    match leg.view.as_ref().map(|view| &view.goal) {
        Some(Goal::Treat) => Source::Music,
        // Answered, and the log has not said yet that it counts.
        Some(Goal::Ring(_)) => Source::Beep,
        Some(Goal::Talk(bridge)) => {
            let same = bridge.media.relay == leg.media.relay.id;
            let link = bridge.relay.as_ref().map(|relay| relay.link.clone());
            match (same, link) {
                (true, _) => {
                    Source::Peer { leg: bridge.leg, relay: bridge.media.relay.clone(), link: None }
                }
                (false, Some(link)) => Source::Peer {
                    leg: bridge.leg,
                    relay: bridge.media.relay.clone(),
                    link: Some(link),
                },
                (false, None) => Source::Silence,
            }
        }
        Some(Goal::End { .. }) | None => Source::Silence,
    }
}
