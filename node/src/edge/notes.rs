//! What call control notes, as log lines. Nothing here names a caller.

use tandem_callcontrol::io::Note;

/// Logs notes, and knows of those before.
#[derive(Debug, Default)]
pub(super) struct Notes {
    had_a_lease: bool,
}

impl Notes {
    pub(super) fn log(&mut self, note: &Note) {
        if matches!(note, Note::Held) && !self.had_a_lease {
            // Every node begins without one.
            tracing::info!("no lease yet: nothing is originated");
            return;
        }
        self.had_a_lease |= matches!(note, Note::Released);
        log(note);
    }
}

fn log(note: &Note) {
    match note {
        Note::CallAnswered { leg } => tracing::debug!(%leg, "a caller is in the queue"),
        Note::CallRefused { status, why } => {
            tracing::info!(status, why, "a call was refused");
        }
        Note::PhoneFailed { leg, status } => {
            tracing::info!(%leg, status, "an agent's phone did not take a call");
        }
        Note::PhoneNotRung { leg } => {
            tracing::warn!(%leg, "this node could not make an agent's phone ring");
        }
        Note::TakeoverBegan { leg, epoch } => {
            tracing::info!(%leg, epoch = epoch.0, "taking a leg over");
        }
        Note::TakeoverKept { leg, after_ms } => {
            tracing::info!(%leg, after_ms, "a leg that was taken over answers");
        }
        Note::TakeoverLost { leg, status } => {
            tracing::warn!(%leg, status, "a leg that was taken over is gone");
        }
        Note::TakeoverAgain { leg, status } => {
            tracing::info!(%leg, status, "a takeover is not settled: it is tried again");
        }
        Note::MediaMoved { leg, from, to } => {
            tracing::warn!(%leg, %from, %to, "the media of a leg moves to another relay");
        }
        Note::LegDropped { leg } => tracing::info!(%leg, "this node acts for a leg no longer"),
        Note::UnownedEnded { leg } => {
            tracing::info!(%leg, "a phone was in a call that nobody had: it is ended");
        }
        Note::LegOver { leg } => tracing::debug!(%leg, "a leg is over"),
        Note::RegisterRefused { status } => {
            tracing::info!(status, "a registration was refused");
        }
        Note::Held => tracing::warn!("the lease has run out: nothing is originated"),
        Note::Released => tracing::info!("the lease is held: requests may be originated"),
        Note::ProposalRefused { leg, why } => {
            let leg = leg.map(|leg| leg.to_string());
            tracing::info!(leg, why, "the log refused what this node told");
        }
        Note::Unexpected { what } => tracing::warn!(what, "something unexpected was survived"),
    }
}
