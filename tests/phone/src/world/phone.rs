//! Handles to phones and trunks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

use super::call::Call;
use super::driver::Shared;
use super::{Link, Listen};
use crate::error::PhoneError;
use crate::io::EndpointId;
use crate::ua::{
    AnswerPolicy, CallPlan, CallerConfig, CallerId, IncomingCall, PhoneConfig, PhoneId, PhoneView,
};

/// A phone's own record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhoneReport {
    /// Label.
    pub phone: String,
    /// Where it is registered.
    pub registered_at: Option<SocketAddr>,
    /// Successful registrations and refreshes.
    pub registrations: u64,
    /// Registrars that failed.
    pub register_failures: u64,
    /// INVITEs for new calls, refused and ignored ones included.
    pub invites: u64,
    /// INVITEs left without an answer by policy.
    pub ignored_invites: u64,
    /// Calls alive.
    pub calls_now: usize,
    /// Most calls at once.
    pub calls_peak: usize,
}

/// Opens or shares a SIP socket. A new one is closed again when `act` fails.
fn with_endpoint<T>(
    shared: &Shared,
    listen: Listen,
    act: impl FnOnce(&Shared, EndpointId) -> Result<T, PhoneError>,
) -> Result<(T, SocketAddr), PhoneError> {
    if let Some(known) = shared.net.find_endpoint(listen.address) {
        if listen.transport == crate::io::Transport::Tcp {
            shared.net.add_tcp(known)?;
        }
        return Ok((act(shared, known)?, listen.address));
    }
    let bound = shared.net.bind(listen)?;
    let local = bound.local;
    let id = shared.with(|core| core.add_endpoint(local))?;
    shared.net.add_endpoint(id, bound);
    match act(shared, id) {
        Ok(made) => Ok((made, local)),
        Err(error) => {
            shared.with(|core| core.endpoints.remove(&id));
            shared.net.close_endpoint(id);
            Err(error)
        }
    }
}

/// An agent's phone in a world. Clones are the same phone.
#[derive(Clone, Debug)]
pub struct Phone {
    link: Link,
    id: PhoneId,
    label: Arc<str>,
    address: SocketAddr,
    view: watch::Receiver<PhoneView>,
    calls_seen: watch::Receiver<u64>,
    /// Incoming calls that [`Phone::wait_call`] gave out.
    calls_taken: Arc<AtomicU64>,
}

impl Phone {
    pub(crate) async fn add(link: &Link, config: PhoneConfig) -> Result<Self, PhoneError> {
        let listen = Listen { address: config.listen, transport: config.transport };
        let label: Arc<str> = config.label.as_str().into();
        let added = link
            .run(move |shared| {
                with_endpoint(shared, listen, |shared, endpoint| {
                    shared.with(|core| {
                        let id = core.add_phone(config, endpoint)?;
                        let phone = core.phones.get(&id).ok_or(PhoneError::Gone)?;
                        Ok((id, phone.view.subscribe(), phone.calls_seen.subscribe()))
                    })
                })
            })
            .await?;
        let ((id, view, calls_seen), address) = added?;
        let calls_taken = Arc::default();
        Ok(Self { link: link.clone(), id, label, address, view, calls_seen, calls_taken })
    }

    /// Its label.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Its SIP address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it is registered now.
    #[must_use]
    pub fn registered_at(&self) -> Option<SocketAddr> {
        self.view.borrow().registered_at
    }

    /// Waits until it is registered somewhere; returns where.
    ///
    /// # Errors
    /// `Deadline`, `WorldStopped`.
    pub async fn wait_registered(&self, wait_ms_max: u64) -> Result<SocketAddr, PhoneError> {
        let fits = |view: &PhoneView| view.registered_at.is_some();
        let view = self.wait_view(wait_ms_max, "a registration", fits).await?;
        view.registered_at.ok_or(PhoneError::Gone)
    }

    /// Waits until it is registered at this registrar.
    ///
    /// # Errors
    /// `Deadline`, `WorldStopped`.
    pub async fn wait_registered_at(
        &self,
        registrar: SocketAddr,
        wait_ms_max: u64,
    ) -> Result<(), PhoneError> {
        let fits = move |view: &PhoneView| view.registered_at == Some(registrar);
        self.wait_view(wait_ms_max, "a registration at that registrar", fits).await.map(drop)
    }

    /// Waits until that many registrations (refreshes included) succeeded since the phone began.
    ///
    /// # Errors
    /// `Deadline`, `WorldStopped`.
    pub async fn wait_registrations(&self, count: u64, wait_ms_max: u64) -> Result<(), PhoneError> {
        let fits = move |view: &PhoneView| view.registrations >= count;
        self.wait_view(wait_ms_max, "more registrations", fits).await.map(drop)
    }

    async fn wait_view(
        &self,
        wait_ms_max: u64,
        what: &str,
        fits: impl Fn(&PhoneView) -> bool,
    ) -> Result<PhoneView, PhoneError> {
        let mut view = self.view.clone();
        let waiting = view.wait_for(fits);
        match tokio::time::timeout(Duration::from_millis(wait_ms_max), waiting).await {
            Ok(Ok(view)) => Ok(*view),
            Ok(Err(_)) => Err(PhoneError::WorldStopped),
            Err(_) => Err(self.deadline(what, wait_ms_max)),
        }
    }

    fn deadline(&self, what: &str, waited_ms: u64) -> PhoneError {
        PhoneError::Deadline { what: format!("{what} ({})", self.label), waited_ms, report: None }
    }

    /// What it does with calls from now on.
    ///
    /// # Errors
    /// `WorldStopped`, `Gone`.
    pub async fn set_policy(&self, policy: AnswerPolicy) -> Result<(), PhoneError> {
        self.set_policy_fn(move |_| policy.clone()).await
    }

    /// Decides for each call anew. The function runs on the world's thread: it must be quick.
    ///
    /// # Errors
    /// `WorldStopped`, `Gone`.
    pub async fn set_policy_fn(
        &self,
        policy: impl Fn(IncomingCall) -> AnswerPolicy + Send + Sync + 'static,
    ) -> Result<(), PhoneError> {
        let id = self.id;
        let policy = Arc::new(policy);
        self.link
            .run(move |shared| {
                shared.with(|core| {
                    let phone = core.phones.get_mut(&id).ok_or(PhoneError::Gone)?;
                    phone.policy = policy;
                    Ok(())
                })
            })
            .await?
    }

    /// The next incoming call that this handle (or a clone) has not given out yet.
    ///
    /// # Errors
    /// `Deadline`, `WorldStopped`.
    pub async fn wait_call(&self, wait_ms_max: u64) -> Result<Call, PhoneError> {
        let wanted = self.calls_taken.fetch_add(1, Ordering::Relaxed);
        let mut seen = self.calls_seen.clone();
        let waiting = seen.wait_for(|count| *count > wanted);
        match tokio::time::timeout(Duration::from_millis(wait_ms_max), waiting).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Err(PhoneError::WorldStopped),
            Err(_) => {
                self.calls_taken.fetch_sub(1, Ordering::Relaxed);
                return Err(self.deadline("an incoming call", wait_ms_max));
            }
        }
        self.call_number(wanted).await
    }

    async fn call_number(&self, wanted: u64) -> Result<Call, PhoneError> {
        let id = self.id;
        let found = self
            .link
            .run(move |shared| {
                shared.with(|core| {
                    let phone = core.phones.get(&id).ok_or(PhoneError::Gone)?;
                    let index =
                        wanted.checked_sub(phone.calls_forgotten).ok_or(PhoneError::Gone)?;
                    let index = usize::try_from(index).unwrap_or(usize::MAX);
                    let (leg, view) = phone.calls.get(index).ok_or(PhoneError::Gone)?;
                    Call::parts(core, *leg, view.clone()).ok_or(PhoneError::Gone)
                })
            })
            .await??;
        Ok(Call::new(self.link.clone(), found))
    }

    /// Calls that came to this phone, the ended ones included, the oldest first (as many as
    /// [`crate::limits::CALLS_KEPT_PER_PHONE_MAX`]).
    ///
    /// # Errors
    /// `WorldStopped`, `Gone`.
    pub async fn calls(&self) -> Result<Vec<Call>, PhoneError> {
        let id = self.id;
        let parts = self
            .link
            .run(move |shared| {
                shared.with(|core| {
                    let phone = core.phones.get(&id).ok_or(PhoneError::Gone)?;
                    let calls = phone.calls.iter();
                    Ok(calls
                        .filter_map(|(leg, view)| Call::parts(core, *leg, view.clone()))
                        .collect())
                })
            })
            .await?;
        let parts: Vec<_> = parts?;
        Ok(parts.into_iter().map(|part| Call::new(self.link.clone(), part)).collect())
    }

    /// The phone's own record.
    ///
    /// # Errors
    /// `WorldStopped`, `Gone`.
    pub async fn report(&self) -> Result<PhoneReport, PhoneError> {
        let id = self.id;
        self.link
            .run(move |shared| {
                shared.with(|core| {
                    let phone = core.phones.get(&id).ok_or(PhoneError::Gone)?;
                    let view = *phone.view.borrow();
                    Ok(PhoneReport {
                        phone: phone.config.label.clone(),
                        registered_at: view.registered_at,
                        registrations: view.registrations,
                        register_failures: view.failures,
                        invites: phone.calls_total,
                        ignored_invites: phone.ignored_invites,
                        calls_now: phone.legs.len(),
                        calls_peak: phone.legs_peak,
                    })
                })
            })
            .await?
    }

    /// Removes its binding; returns when the registrar confirmed it or did not answer.
    ///
    /// # Errors
    /// `WorldStopped`.
    pub async fn unregister(&self) -> Result<(), PhoneError> {
        let id = self.id;
        let (left, leaving) = oneshot::channel();
        self.link.run(move |shared| shared.with(|core| core.unregister(id, left))).await?;
        // Nothing is ever sent: the sender goes when the phone has left, or is removed meanwhile.
        drop(leaving.await);
        Ok(())
    }

    /// Registers again after [`Phone::unregister`].
    ///
    /// # Errors
    /// `WorldStopped`.
    pub async fn register(&self) -> Result<(), PhoneError> {
        let id = self.id;
        self.link.run(move |shared| shared.with(|core| core.start_registering(id))).await
    }

    /// Pulls the plug: nothing is said to anybody, nothing is answered, its calls fall silent.
    ///
    /// # Errors
    /// `WorldStopped`.
    pub async fn power_off(&self) -> Result<(), PhoneError> {
        let id = self.id;
        self.link.run(move |shared| shared.with(|core| core.power_off(id))).await
    }

    /// Power again: registers, and knows nothing of its old calls.
    ///
    /// # Errors
    /// `WorldStopped`.
    pub async fn power_on(&self) -> Result<(), PhoneError> {
        let id = self.id;
        self.link.run(move |shared| shared.with(|core| core.power_on(id))).await
    }

    /// Takes it out of the world as if its plug were pulled, and frees its socket.
    ///
    /// # Errors
    /// `WorldStopped`.
    pub async fn remove(self) -> Result<(), PhoneError> {
        let id = self.id;
        self.link
            .run(move |shared| {
                if let Some(unused) = shared.with(|core| core.remove_phone(id)) {
                    shared.net.close_endpoint(unused);
                }
            })
            .await
    }
}

/// A carrier's trunk in a world. Clones are the same trunk.
#[derive(Clone, Debug)]
pub struct Caller {
    link: Link,
    id: CallerId,
    address: SocketAddr,
}

impl Caller {
    pub(crate) async fn add(link: &Link, config: CallerConfig) -> Result<Self, PhoneError> {
        let transport = config.nodes.first().map_or_else(Default::default, |node| node.transport);
        let listen = Listen { address: config.listen, transport };
        let added = link
            .run(move |shared| {
                with_endpoint(shared, listen, |shared, endpoint| {
                    shared.with(|core| core.add_caller(config, endpoint))
                })
            })
            .await?;
        let (id, address) = added?;
        Ok(Self { link: link.clone(), id, address })
    }

    /// Its SIP address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Places a call.
    ///
    /// # Errors
    /// `Setting`, `Limit`, `Media`, `WorldStopped`.
    pub async fn call(&self, plan: CallPlan) -> Result<Call, PhoneError> {
        let id = self.id;
        let parts = self
            .link
            .run(move |shared| {
                shared.with(|core| {
                    let leg = core.place_call(id, plan)?;
                    let view = core.legs.get(&leg).map(|leg| leg.view.subscribe());
                    view.and_then(|view| Call::parts(core, leg, view)).ok_or(PhoneError::CallEnded)
                })
            })
            .await??;
        Ok(Call::new(self.link.clone(), parts))
    }
}
