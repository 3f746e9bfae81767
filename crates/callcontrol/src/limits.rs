//! Limits and waits of call control, in one place, with their relations asserted at compile time.

use std::time::Duration;

/// Legs that one node acts for at a time; further callers get 503.
pub const LEGS_MAX: usize = 20_000;
/// Phones whose registrations one node watches at a time; further ones get 503.
pub const REGISTRATIONS_MAX: usize = 100_000;
/// REGISTERs that wait for the log or for the agent's row at a time; further ones get 503.
pub const REGISTERS_OPEN_MAX: usize = 10_000;
/// Contacts that one REGISTER may name.
pub const CONTACTS_PER_REGISTER_MAX: usize = 4;
/// Facts about one leg that may wait for the log: more than there are kinds of them, and each kind
/// waits once.
pub const FACTS_PER_LEG_MAX: usize = 16;
/// Takeover re-INVITEs that are under way towards one address at a time; the rest waits its turn.
pub const TAKEOVERS_PER_PEER_MAX: usize = 50;
/// Nonces whose counts are remembered against replays.
pub const NONCES_MAX: usize = 50_000;
/// Dialogs of legs that another node took over, remembered so that a peer that does not know yet is
/// not told that its call is over; the oldest is forgotten first. Also the legs whose end the log knows
/// and whose views may still come, and the sessions that went over to another owner; further ones are
/// not remembered.
pub const DEPARTED_MAX: usize = 20_000;
/// Sessions that no relay has confirmed the end of; beyond it a removal is tried once.
pub const REMOVALS_MAX: usize = 20_000;
/// Calls of phones that may belong to nobody, remembered until the log says so; further ones are not, and
/// end when the phone repeats its answer, or by hand.
pub const UNOWNED_MAX: usize = 4_096;

/// How long a caller's admission may take before 503 is answered.
pub const ADMIT_WITHIN: Duration = Duration::from_millis(4_000);
/// How long a registration may take to be replicated before 503 is answered.
pub const REGISTER_WITHIN: Duration = Duration::from_millis(4_000);
/// How long one try to tell the log a fact may take.
pub const FACT_WITHIN: Duration = Duration::from_millis(10_000);
/// First pause before a fact is told again; doubles up to the next one.
pub const FACT_AGAIN: Duration = Duration::from_millis(200);
/// Longest pause before a fact is told again.
pub const FACT_AGAIN_MAX: Duration = Duration::from_secs(5);
/// First pause before a media request is made again; doubles up to the next one.
pub const MEDIA_AGAIN: Duration = Duration::from_millis(150);
/// Longest pause before a media request is made again.
pub const MEDIA_AGAIN_MAX: Duration = Duration::from_secs(2);
/// Requests to a relay that may fail before a foreign one counts as lost, and before ours is asked
/// for another port.
pub const MEDIA_TRIES: u32 = 2;
/// First pause before a session is removed again; doubles with each try.
pub const REMOVAL_AGAIN: Duration = Duration::from_millis(500);
/// Tries to remove a session: about four minutes.
pub const REMOVAL_TRIES: u32 = 10;
/// First pause before a takeover that got no answer is tried again; doubles up to the next one.
pub const TAKEOVER_AGAIN: Duration = Duration::from_millis(1_000);
/// Longest pause between tries.
pub const TAKEOVER_AGAIN_MAX: Duration = Duration::from_secs(30);
/// A leg without a session timer is given up this long after its takeover began.
pub const TAKEOVER_GIVE_UP: Duration = Duration::from_secs(1_800);
/// Pause before a re-INVITE that got no answer, or could not be sent, is tried again.
pub const REINVITE_AGAIN: Duration = Duration::from_secs(15);
/// Pause between two questions to a silent peer whether the call still stands.
pub const AUDIT_EVERY: Duration = Duration::from_secs(15);
/// Retry-After of a 503, in seconds.
pub const RETRY_AFTER_S: u32 = 5;
/// How long a bulk of nonces lives.
pub const NONCE_LIFE: Duration = Duration::from_secs(300);
/// A phone gets this much longer than it was granted: its refresh may be under way.
pub const REGISTRATION_GRACE: Duration = Duration::from_secs(5);
/// The replicated lifetime of a binding is at least this long, so that quick refreshes of a phone
/// need no entry each.
pub const BINDING_LIFETIME_MS_MIN: u64 = 600_000;
/// Leg ids that are asked for when few are left.
pub const LEG_IDS_BLOCK: u32 = 4_096;
/// Leg ids below which more are asked for.
pub const LEG_IDS_LOW: u64 = 1_024;

/// Silence after which a stream begins anew instead of going on under its SSRC.
pub const STREAM_SILENCE_MAX: Duration = Duration::from_secs(6);
/// How long the loss of a node may have gone unnoticed before its legs were handed over.
pub const LOSS_NOTICED_WITHIN: Duration = Duration::from_secs(2);
/// A stream goes over to another relay process at most this often, in milliseconds, and begins anew
/// otherwise.
pub const STREAM_TAKEOVER_EVERY_MS_MIN: u64 = 40_000;

const _: () = {
    assert!(
        tandem_cluster::limits::CSEQ_BLOCK == tandem_sip::limits::CSEQ_BLOCK,
        "the log reserves what a dialog uses"
    );
    assert!(
        tandem_cluster::limits::SDP_VERSION_BLOCK == tandem_sip::limits::SDP_VERSION_BLOCK,
        "the log reserves what a description uses"
    );
    assert!(LEG_IDS_LOW < LEG_IDS_BLOCK as u64);
    assert!(CONTACTS_PER_REGISTER_MAX <= tandem_cluster::limits::BINDINGS_PER_AGENT_MAX);
    assert!(LEGS_MAX <= tandem_cluster::limits::LEGS_MAX);
    assert!(
        LEGS_MAX * 4 <= tandem_sip::limits::CLIENT_TRANSACTIONS_MAX,
        "every leg has room for its requests"
    );
    assert!(DEPARTED_MAX >= LEGS_MAX, "a life that ends remembers all of its dialogs");
    assert!(LOSS_NOTICED_WITHIN.as_secs() < STREAM_SILENCE_MAX.as_secs());
    assert!(
        STREAM_SILENCE_MAX.as_millis() as u64
            == tandem_rtp::limits::TAKEOVER_SILENCE_MAX * tandem_rtp::limits::FRAME_MS as u64
            && STREAM_TAKEOVER_EVERY_MS_MIN == tandem_rtp::limits::TAKEOVERS_WINDOW_MS
            && tandem_rtp::limits::TAKEOVERS_MAX >= 2,
        "the owner's part of what relays count on"
    );
};
