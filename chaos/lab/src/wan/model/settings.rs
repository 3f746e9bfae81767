//! What a link does to packets, as people write it down.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::wan::limits::{
    DELAY_US_MAX, FILTERS_MAX, QUEUE_BYTES_MAX, RATE_BITS_PER_S_MAX, RATE_BITS_PER_S_MIN,
};

/// Everything that a link does to the packets of one direction. The default passes all packets at
/// once.
///
/// ```
/// use tandem_lab::wan::{LinkSettings, Loss, Share};
///
/// let settings = LinkSettings {
///     delay_us: 20_000,
///     loss: Loss::Random { share: Share::new(0.01)? },
///     ..LinkSettings::default()
/// };
/// settings.check()?;
/// # Ok::<(), tandem_lab::wan::SettingsError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkSettings {
    /// Whether the link carries anything.
    pub state: LinkState,
    /// One-way delay of every packet, in microseconds.
    pub delay_us: u64,
    /// Further delay, drawn evenly between nothing and this, in microseconds.
    pub jitter_us: u64,
    /// Whether jitter may change the order of packets.
    pub order: Order,
    /// Packets that disappear.
    pub loss: Loss,
    /// Share of packets that arrive twice; the copy draws a jitter of its own.
    pub duplicate: Share,
    /// Packets that others overtake.
    pub reorder: Reorder,
    /// The line's capacity; none is unlimited.
    pub rate: Option<Rate>,
    /// A packet that one of these matches is dropped.
    pub filters: Vec<Filter>,
}

/// Whether a link carries anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkState {
    /// Packets pass.
    #[default]
    Up,
    /// Every packet is dropped, also those that were under way at the cut.
    Down,
}

/// Whether jitter may change the order of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// A packet leaves no earlier than the one before it, as on one path with a queue.
    #[default]
    Kept,
    /// Each packet goes by its own draw, as on several paths.
    Free,
}

/// Packets that disappear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Loss {
    /// None does.
    #[default]
    None,
    /// Each packet by itself.
    Random {
        /// Share of packets that disappear.
        share: Share,
    },
    /// In bursts: a chain of two states that steps once for each packet, then loses by its state
    /// (E. N. Gilbert, "Capacity of a burst-noise channel", 1960; E. O. Elliott, 1963). A burst
    /// lasts `1 / bad_to_good` packets in the mean.
    GilbertElliott {
        /// Chance to turn bad, at each packet in the good state.
        good_to_bad: Share,
        /// Chance to recover, at each packet in the bad state.
        bad_to_good: Share,
        /// Share lost in the good state.
        loss_good: Share,
        /// Share lost in the bad state.
        loss_bad: Share,
    },
}

/// Packets that others overtake: the chosen ones are held back, so that nothing ever arrives
/// before its delay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reorder {
    /// Share of packets that are held back.
    pub share: Share,
    /// How long, in microseconds, beyond delay and jitter.
    pub hold_us: u64,
}

/// A line that sends bit after bit, with a queue in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Bits of IP packets per second.
    pub bits_per_s: u64,
    /// Bytes that wait or are being sent; a packet that does not fit is dropped.
    pub queue_bytes: u64,
}

/// Drops the packets that all the given conditions match, as a careless firewall or an MTU black
/// hole does: without a word to the sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// The packet's protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// UDP or TCP port of either side. A fragment other than the first has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The whole IP packet is longer than so many bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longer_than: Option<u16>,
}

/// Protocol number of an IP packet (IANA "Assigned Internet Protocol Numbers"); written by name
/// (`udp`, `tcp`, `icmp`, `icmpv6`) or as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Protocol(pub u8);

/// A share of packets from 0 (none) to 1 (all).
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Share(f64);

/// Settings that a link cannot have. Nothing was changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// Not a share.
    #[error("a share of packets lies between 0 and 1, not {0}: 1 % is written 0.01")]
    Share(f64),
    /// Too long a time.
    #[error("{field} is {value} microseconds; a link takes up to {DELAY_US_MAX}")]
    TooLong {
        /// The field's name.
        field: &'static str,
        /// What was asked for.
        value: u64,
    },
    /// A rate out of range.
    #[error(
        "a rate of {0} bits per second; a line has {RATE_BITS_PER_S_MIN} to {RATE_BITS_PER_S_MAX}"
    )]
    Rate(u64),
    /// A queue out of range.
    #[error("a queue of {0} bytes; a line has 1 to {QUEUE_BYTES_MAX}")]
    Queue(u64),
    /// Too many filters.
    #[error("{0} filters; a link takes up to {FILTERS_MAX}: leave out what another one covers")]
    TooManyFilters(usize),
    /// A filter without a condition would drop everything.
    #[error(
        "a filter needs `protocol`, `port` or `longer_than`; to drop everything, set the state to down"
    )]
    EmptyFilter,
    /// Not a protocol.
    #[error("no protocol {0:?}: give udp, tcp, icmp, icmpv6 or a number from 0 to 255")]
    Protocol(String),
    /// Not the shape of settings.
    #[error("not the settings of a link: {0}")]
    Shape(String),
}

impl LinkSettings {
    /// A link that only delays.
    #[must_use]
    pub fn delayed_us(delay_us: u64) -> Self {
        Self { delay_us, ..Self::default() }
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// The first value out of its range.
    pub fn check(&self) -> Result<(), SettingsError> {
        for (field, value) in [
            ("delay_us", self.delay_us),
            ("jitter_us", self.jitter_us),
            ("reorder.hold_us", self.reorder.hold_us),
        ] {
            if value > DELAY_US_MAX {
                return Err(SettingsError::TooLong { field, value });
            }
        }
        if let Some(rate) = self.rate {
            if !(RATE_BITS_PER_S_MIN..=RATE_BITS_PER_S_MAX).contains(&rate.bits_per_s) {
                return Err(SettingsError::Rate(rate.bits_per_s));
            }
            if !(1..=QUEUE_BYTES_MAX).contains(&rate.queue_bytes) {
                return Err(SettingsError::Queue(rate.queue_bytes));
            }
        }
        if self.filters.len() > FILTERS_MAX {
            return Err(SettingsError::TooManyFilters(self.filters.len()));
        }
        if self.filters.contains(&Filter::default()) {
            return Err(SettingsError::EmptyFilter);
        }
        Ok(())
    }

    /// These settings with some fields replaced, as a request on the control socket names them;
    /// what is not named stays. Checked.
    ///
    /// # Errors
    /// An unknown field, a wrong type, or a value out of range.
    pub fn with_changes(
        &self,
        changes: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<Self, SettingsError> {
        let shape = |error: serde_json::Error| SettingsError::Shape(error.to_string());
        let mut whole = serde_json::to_value(self).map_err(shape)?;
        if let Some(fields) = whole.as_object_mut() {
            fields.extend(changes.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        let changed: Self = serde_json::from_value(whole).map_err(shape)?;
        changed.check()?;
        Ok(changed)
    }
}

impl Share {
    /// No packet.
    pub const NONE: Self = Self(0.0);
    /// Every packet.
    pub const ALL: Self = Self(1.0);

    /// # Errors
    /// Not between 0 and 1.
    pub fn new(share: f64) -> Result<Self, SettingsError> {
        if (0.0..=1.0).contains(&share) {
            Ok(Self(share))
        } else {
            Err(SettingsError::Share(share))
        }
    }

    /// The share as a number from 0 to 1.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }

    /// Whether a packet belongs to the share, given 32 random bits. Exact at 0 and 1.
    #[must_use]
    pub(crate) fn holds(self, bits: u32) -> bool {
        f64::from(bits) < self.0 * 4_294_967_296.0
    }
}

impl TryFrom<f64> for Share {
    type Error = SettingsError;

    fn try_from(share: f64) -> Result<Self, SettingsError> {
        Self::new(share)
    }
}

impl From<Share> for f64 {
    fn from(share: Share) -> f64 {
        share.0
    }
}

impl Protocol {
    /// ICMP.
    pub const ICMP: Self = Self(1);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// ICMPv6.
    pub const ICMPV6: Self = Self(58);

    const NAMES: [(Self, &'static str); 4] =
        [(Self::ICMP, "icmp"), (Self::TCP, "tcp"), (Self::UDP, "udp"), (Self::ICMPV6, "icmpv6")];
}

impl FromStr for Protocol {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, SettingsError> {
        let named = Self::NAMES.iter().find(|(_, name)| *name == text).map(|(number, _)| *number);
        named
            .or_else(|| text.parse().ok().map(Self))
            .ok_or_else(|| SettingsError::Protocol(text.to_owned()))
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.iter().find(|(number, _)| number == self) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

impl TryFrom<String> for Protocol {
    type Error = SettingsError;

    fn try_from(text: String) -> Result<Self, SettingsError> {
        text.parse()
    }
}

impl From<Protocol> for String {
    fn from(protocol: Protocol) -> String {
        protocol.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values at the edge of their range are taken, the next ones refused.
    #[test]
    fn ranges_have_sharp_edges() {
        let rate = |bits_per_s, queue_bytes| LinkSettings {
            rate: Some(Rate { bits_per_s, queue_bytes }),
            ..LinkSettings::default()
        };
        let filters = |count| LinkSettings {
            filters: vec![Filter { port: Some(53), ..Filter::default() }; count],
            ..LinkSettings::default()
        };
        let cases = [
            (LinkSettings::delayed_us(DELAY_US_MAX), true),
            (LinkSettings::delayed_us(DELAY_US_MAX + 1), false),
            (LinkSettings { jitter_us: DELAY_US_MAX, ..LinkSettings::default() }, true),
            (LinkSettings { jitter_us: DELAY_US_MAX + 1, ..LinkSettings::default() }, false),
            (rate(RATE_BITS_PER_S_MIN, 1), true),
            (rate(RATE_BITS_PER_S_MIN - 1, 1), false),
            (rate(RATE_BITS_PER_S_MAX, QUEUE_BYTES_MAX), true),
            (rate(RATE_BITS_PER_S_MAX + 1, 1), false),
            (rate(RATE_BITS_PER_S_MIN, 0), false),
            (rate(RATE_BITS_PER_S_MIN, QUEUE_BYTES_MAX + 1), false),
            (filters(FILTERS_MAX), true),
            (filters(FILTERS_MAX + 1), false),
            (LinkSettings { filters: vec![Filter::default()], ..LinkSettings::default() }, false),
        ];
        for (settings, good) in cases {
            assert_eq!(settings.check().is_ok(), good, "{settings:?}");
        }
    }

    /// A share is exact at both ends and refuses what is none.
    #[test]
    fn shares_are_exact_at_the_ends() {
        assert!(!Share::NONE.holds(0));
        assert!(Share::ALL.holds(u32::MAX));
        for wrong in [-0.1, 1.000_1, f64::NAN, f64::INFINITY] {
            assert!(Share::new(wrong).is_err(), "{wrong}");
        }
    }

    /// A change replaces what it names and keeps the rest; a wrong one is refused.
    #[test]
    fn changes_touch_only_what_they_name() {
        let before = LinkSettings { jitter_us: 7, ..LinkSettings::delayed_us(5) };
        let change = |text: &str| before.with_changes(&serde_json::from_str(text).unwrap());
        let after =
            change(r#"{"delay_us": 9, "rate": {"bits_per_s": 64000, "queue_bytes": 3000}}"#);
        let rate = Some(Rate { bits_per_s: 64_000, queue_bytes: 3_000 });
        assert_eq!(after, Ok(LinkSettings { delay_us: 9, rate, ..before.clone() }));
        for wrong in [
            r#"{"dellay_us": 9}"#,
            r#"{"delay_us": -1}"#,
            r#"{"delay_us": 99000000}"#,
            r#"{"loss": {"kind": "random", "share": 1.5}}"#,
            r#"{"filters": [{}]}"#,
            r#"{"filters": [{"protocol": "upd"}]}"#,
        ] {
            assert!(change(wrong).is_err(), "{wrong}");
        }
    }

    /// What is written is read back as the same settings.
    #[test]
    fn settings_survive_their_text() {
        let settings = LinkSettings {
            state: LinkState::Down,
            order: Order::Free,
            loss: Loss::GilbertElliott {
                good_to_bad: Share(0.01),
                bad_to_good: Share(0.25),
                loss_good: Share::NONE,
                loss_bad: Share::ALL,
            },
            duplicate: Share(0.125),
            reorder: Reorder { share: Share(0.5), hold_us: 3 },
            filters: vec![Filter {
                protocol: Some(Protocol::UDP),
                port: Some(5060),
                longer_than: Some(1300),
            }],
            ..LinkSettings::delayed_us(1)
        };
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<LinkSettings>(&text).unwrap(), settings);
        assert_eq!("132".parse(), Ok(Protocol(132)));
        assert_eq!(Protocol(132).to_string(), "132");
    }
}
