//! `tandem-phone`: the callers' and agents' honest view.
//!
//! Dozens of agents' phones and hundreds of trunk callers live in one process, with real SIP over
//! UDP or TCP and real RTP, and report exactly what a human or a carrier would have experienced:
//! who heard whom and when, every pause in the audio, every packet lost, every re-INVITE of a
//! takeover. The crate shares no code with the system that it judges.
//!
//! A [`World`] owns one thread with all sockets and one pacing loop. [`World::phone`] adds an
//! agent's phone, [`World::caller`] a trunk; [`Caller::call`] places a call and gives a [`Call`].
//! [`World::events`] streams [`Event`]s, [`Call::report`] gives a [`CallReport`] at any time.
//!
//! ```
//! use tandem_phone::{AnswerPolicy, CallPlan, CallerConfig, PhoneConfig, Server, World, WorldOptions};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tandem_phone::PhoneError> {
//! let world = World::start(WorldOptions::default()).await?;
//! let agent = world
//!     .phone(
//!         PhoneConfig::new("agent", "1001", "127.0.0.61:0".parse().unwrap())
//!             .with_policy(AnswerPolicy::answer_after(20)),
//!     )
//!     .await?;
//! let node = Server::udp(agent.address()); // in real life: a node of the cluster
//! let trunk =
//!     world.caller(CallerConfig::new("trunk", "127.0.0.62:0".parse().unwrap(), vec![node])).await?;
//! let call = trunk.call(CallPlan::to("1001")).await?;
//! let agents_leg = agent.wait_call(5_000).await?;
//! call.wait_hears(agents_leg.sender_tag(), 5_000).await?;
//! call.hang_up().await?;
//! let report = call.wait_ended(5_000).await?;
//! assert_eq!(report.media.sequence_faults(), 0);
//! # world.stop(2_000).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Folders: `sip/` reads and writes messages, `transaction/` repeats and absorbs them, `ua/` holds
//! phones, callers, registrations and dialogs, `media/` sends and judges audio, `world/` owns
//! sockets and time. Only `world/` touches the outside.

mod dice;
mod error;
mod event;
mod io;
pub mod limits;
pub mod media;
mod report;
pub mod sip;
mod time;
mod transaction;
mod ua;
mod world;

pub use error::PhoneError;
pub use event::{Event, EventKind};
pub use io::Transport;
pub use media::{KnownSound, SenderTag, SentAudio, SourceCheck};
pub use report::{
    Anomaly, AnomalySeen, Attempt, CallKey, CallReport, CallState, CounterJump, EndCause, Gap,
    GapKind, Heard, HeardSpan, MediaReport, Modification, Role, RtcpReport, SenderReport,
    SourceReport, SourceStanding, SsrcReport, StreamBreak,
};
pub use time::RunTime;
pub use transaction::SipTimers;
pub use ua::{
    AfterAnswer, AnswerPolicy, AudioConfig, CallPlan, CallerConfig, FailoverIdentity, HangUp,
    IncomingCall, KeepAlive, Patience, PhoneConfig, RtcpOffer, Server, Vanish,
};
pub use world::{Call, Caller, EventStream, Phone, PhoneReport, World, WorldOptions, WorldReport};
