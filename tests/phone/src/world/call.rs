//! The handle to one call of one side.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::Link;
use crate::error::PhoneError;
use crate::media::{SenderTag, SentAudio};
use crate::report::{CallKey, CallReport, CallState, EndCause};
use crate::sip::Direction;
use crate::ua::{Core, LegId, LegView, Vanish};

/// Between looks at a call whose audio changes without an event, ms.
const LOOK_AGAIN_MS: u64 = 50;

/// What names a call, taken on the world's thread.
pub(crate) struct CallParts {
    id: LegId,
    view: watch::Receiver<LegView>,
    tag: SenderTag,
    key: CallKey,
    label: String,
}

/// One call as one side has it. Clones are the same call; dropping them does not end it.
#[derive(Clone, Debug)]
pub struct Call {
    link: Link,
    id: LegId,
    view: watch::Receiver<LegView>,
    tag: SenderTag,
    key: CallKey,
    label: String,
}

impl Call {
    pub(crate) fn parts(
        core: &Core,
        id: LegId,
        view: watch::Receiver<LegView>,
    ) -> Option<CallParts> {
        let (tag, key, label) = match core.legs.get(&id) {
            Some(leg) => (leg.report.sender_tag, leg.report.call.clone(), leg.report.phone.clone()),
            None => {
                let report = view.borrow().report.clone()?;
                (report.sender_tag, report.call.clone(), report.phone.clone())
            }
        };
        Some(CallParts { id, view, tag, key, label })
    }

    pub(crate) fn new(link: Link, parts: CallParts) -> Self {
        let CallParts { id, view, tag, key, label } = parts;
        Self { link, id, view, tag, key, label }
    }

    /// The tag in the audio that this side sends.
    #[must_use]
    pub const fn sender_tag(&self) -> SenderTag {
        self.tag
    }

    /// The call's key on this side (as it began; a carrier's failover may renew it).
    #[must_use]
    pub const fn key(&self) -> &CallKey {
        &self.key
    }

    /// The label of this side.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Where the call stands now.
    #[must_use]
    pub fn state(&self) -> CallState {
        self.view.borrow().state
    }

    /// What this side experienced so far; final when the call is over.
    ///
    /// # Errors
    /// `WorldStopped` when the world stopped before the call was over.
    pub async fn report(&self) -> Result<CallReport, PhoneError> {
        if let Some(report) = &self.view.borrow().report {
            return Ok(CallReport::clone(report));
        }
        let id = self.id;
        let snapshot = self.link.run(move |shared| shared.with(|core| core.snapshot(id))).await?;
        match snapshot {
            Some(report) => Ok(report),
            // It ended between the look and the question.
            None => {
                let report = self.view.borrow().report.clone().ok_or(PhoneError::Gone)?;
                Ok(CallReport::clone(&report))
            }
        }
    }

    /// Waits until the report fits. A call that ends without fitting fails at once.
    ///
    /// # Errors
    /// `Deadline` with the report as it stood, `WorldStopped`.
    pub async fn wait_for(
        &self,
        wait_ms_max: u64,
        what: &str,
        fits: impl Fn(&CallReport) -> bool,
    ) -> Result<CallReport, PhoneError> {
        let began = tokio::time::Instant::now();
        let deadline = began + Duration::from_millis(wait_ms_max);
        let mut view = self.view.clone();
        loop {
            view.borrow_and_update();
            let report = self.report().await?;
            if fits(&report) {
                return Ok(report);
            }
            let now = tokio::time::Instant::now();
            if report.state == CallState::Ended || now >= deadline {
                return Err(PhoneError::Deadline {
                    what: what.to_owned(),
                    waited_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
                    report: Some(Box::new(report)),
                });
            }
            let look_again = (now + Duration::from_millis(LOOK_AGAIN_MS)).min(deadline);
            tokio::select! {
                changed = view.changed() => changed.map_err(|_| PhoneError::WorldStopped)?,
                () = tokio::time::sleep_until(look_again) => {}
            }
        }
    }

    /// Waits for the first 18x.
    ///
    /// # Errors
    /// As [`Call::wait_for`].
    pub async fn wait_ringing(&self, wait_ms_max: u64) -> Result<CallReport, PhoneError> {
        self.wait_for(wait_ms_max, "ringing", |report| report.ringing_us.is_some()).await
    }

    /// Waits for 200 and ACK.
    ///
    /// # Errors
    /// As [`Call::wait_for`].
    pub async fn wait_established(&self, wait_ms_max: u64) -> Result<CallReport, PhoneError> {
        self.wait_for(wait_ms_max, "200 and ACK", |report| report.established_us.is_some()).await
    }

    /// Waits until that sender is heard here.
    ///
    /// # Errors
    /// As [`Call::wait_for`].
    pub async fn wait_hears(
        &self,
        sender: SenderTag,
        wait_ms_max: u64,
    ) -> Result<CallReport, PhoneError> {
        let what = format!("hearing {sender}");
        self.wait_for(wait_ms_max, &what, |report| report.hears(sender)).await
    }

    /// Waits until that many packets more of a sender are heard here than now.
    ///
    /// # Errors
    /// As [`Call::wait_for`].
    pub async fn wait_hears_more(
        &self,
        sender: SenderTag,
        packets: u64,
        wait_ms_max: u64,
    ) -> Result<CallReport, PhoneError> {
        let heard = |report: &CallReport| report.media.sender(sender).map_or(0, |s| s.packets);
        let wanted = heard(&self.report().await?) + packets;
        let what = format!("hearing {packets} packets more of {sender}");
        self.wait_for(wait_ms_max, &what, |report| heard(report) >= wanted).await
    }

    /// Waits for the end; the report is final.
    ///
    /// # Errors
    /// As [`Call::wait_for`].
    pub async fn wait_ended(&self, wait_ms_max: u64) -> Result<CallReport, PhoneError> {
        self.wait_for(wait_ms_max, "the end", |report| report.state == CallState::Ended).await
    }

    async fn act<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Core, LegId) -> T + Send + 'static,
    ) -> Result<T, PhoneError> {
        let id = self.id;
        self.link.run(move |shared| shared.with(|core| act(core, id))).await
    }

    /// Ends the call as its state asks for: CANCEL, 603 or BYE. Returns at once.
    ///
    /// # Errors
    /// `WorldStopped`.
    pub async fn hang_up(&self) -> Result<(), PhoneError> {
        self.act(Core::hang_up).await
    }

    /// What an impatient caller does: the same as [`Call::hang_up`].
    ///
    /// # Errors
    /// `WorldStopped`.
    pub async fn abandon(&self) -> Result<(), PhoneError> {
        self.hang_up().await
    }

    /// Answers a ringing incoming call.
    ///
    /// # Errors
    /// `WorldStopped`.
    pub async fn answer(&self) -> Result<(), PhoneError> {
        self.act(Core::answer_leg).await
    }

    /// Refuses a ringing incoming call.
    ///
    /// # Errors
    /// `WorldStopped`.
    pub async fn reject(&self, code: u16, phrase: &str) -> Result<(), PhoneError> {
        let phrase = phrase.to_owned();
        self.act(move |core, id| core.reject_leg(id, code, &phrase)).await
    }

    /// Puts the other side on hold (re-INVITE with sendonly); returns when it agreed.
    ///
    /// # Errors
    /// `WrongState`, `Refused`, `CallEnded`, `WorldStopped`.
    pub async fn hold(&self) -> Result<(), PhoneError> {
        self.modify(Direction::SendOnly).await
    }

    /// Takes the other side from hold; returns when it agreed.
    ///
    /// # Errors
    /// As [`Call::hold`].
    pub async fn resume(&self) -> Result<(), PhoneError> {
        self.modify(Direction::SendRecv).await
    }

    /// Offers another direction by re-INVITE; returns when the other side agreed.
    ///
    /// # Errors
    /// As [`Call::hold`].
    pub async fn modify(&self, wanted: Direction) -> Result<(), PhoneError> {
        let (done, result) = oneshot::channel();
        self.act(move |core, id| core.start_modify(id, wanted, done)).await?;
        result.await.map_err(|_| PhoneError::CallEnded)?
    }

    /// Sends DTMF digits as telephone events (RFC 4733), 100 ms each with 100 ms between.
    ///
    /// # Errors
    /// `WrongState`, `CallEnded`, `WorldStopped`.
    pub async fn send_digits(&self, digits: &str) -> Result<(), PhoneError> {
        let digits = digits.to_owned();
        self.act(move |core, id| core.send_digits(id, &digits)).await?
    }

    /// Sends other audio from now on.
    ///
    /// # Errors
    /// `CallEnded`, `WorldStopped`.
    pub async fn send_audio(&self, audio: SentAudio) -> Result<(), PhoneError> {
        self.act(move |core, id| {
            let stream = core.stream_of(id).ok_or(PhoneError::CallEnded)?;
            stream.set_audio(audio);
            Ok(())
        })
        .await?
    }

    /// Keeps what is heard from now on and writes it as WAV when the call's audio ends.
    ///
    /// # Errors
    /// `CallEnded`, `WorldStopped`.
    pub async fn record(&self, file: impl Into<PathBuf>) -> Result<(), PhoneError> {
        let file = file.into();
        self.act(move |core, id| core.record_leg(id, file)).await?
    }

    /// Disappears without a word.
    ///
    /// # Errors
    /// `WorldStopped`.
    pub async fn vanish(&self, how: Vanish) -> Result<(), PhoneError> {
        self.act(move |core, id| match how {
            Vanish::Silently => core.cut_line(id),
            Vanish::Answering481 => core.finish(id, EndCause::Vanished),
        })
        .await
    }

    /// A header of the first INVITE of this leg (From, P-Asserted-Identity …), in clear: personal
    /// data. `None` when it has none, or the call is over.
    ///
    /// # Errors
    /// `WorldStopped`.
    pub async fn invite_header(&self, name: &str) -> Result<Option<String>, PhoneError> {
        let name = name.to_owned();
        self.act(move |core, id| {
            let invite = core.legs.get(&id)?.first_invite.as_ref()?;
            invite.header(&name).map(str::to_owned)
        })
        .await
    }
}
