//! What people and their carriers do wrong: repeated datagrams, phones that say nothing.

use std::time::Duration;

use anyhow::{Result, bail};
use tandem_phone::{AnswerPolicy, Phone};

use super::{action::Action, run::Stage};
use crate::{
    faults::{self, Fault, FaultKind},
    scene,
};

/// The agents' phones, and how they usually answer.
#[derive(Debug)]
pub(super) struct People {
    /// In the order of the agents: of the sites in turn.
    pub(super) phones: Vec<Phone>,
    /// From an INVITE to the answer.
    pub(super) ring: Duration,
    /// After which an agent hangs up who does.
    pub(super) talk: Duration,
}

impl People {
    /// The phones at a site, with their places in the order of all.
    fn at(&self, site: usize, sites: usize) -> impl Iterator<Item = &Phone> {
        self.phones.iter().skip(site).step_by(sites.max(1))
    }
}

impl Stage<'_> {
    /// People begin to do something wrong.
    pub(super) async fn disturb(&mut self, action: &Action, site: usize) -> Result<(Fault, usize)> {
        let fault = faults::planned(self.cluster, &self.world, FaultKind::Impair, site).await?;
        match action {
            Action::SipStorm { copies } => self.world.send_sip_times(*copies).await?,
            Action::PhonesSilent => {
                for phone in self.people.at(site, self.cluster.places().len()) {
                    phone.set_policy(AnswerPolicy::NeverRespond).await?;
                }
            }
            _ => bail!("{}: people do not do this", action.words()),
        }
        Ok(self.note(fault))
    }

    /// They do it no more.
    pub(super) async fn calm(&mut self, action: &Action, site: usize) -> Result<(Fault, usize)> {
        let fault = faults::planned(self.cluster, &self.world, FaultKind::Restore, site).await?;
        match action {
            Action::SipStorm { .. } => self.world.send_sip_times(1).await?,
            Action::PhonesSilent => {
                scene::answer_as(&self.people.phones, self.people.ring, self.people.talk).await?;
            }
            _ => bail!("{}: people do not do this", action.words()),
        }
        Ok(self.note(fault))
    }
}
