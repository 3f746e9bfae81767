//! Changes of a link as people type them: `delay=20ms loss=1% rate=10mbit,64kB`.

use serde_json::{Map, Value, json};

use super::model::{Protocol, Share};

/// What can be typed, for help texts.
pub const CHANGES_HELP: &str = "\
Changes:
  state=up|down           carry packets, or none
  delay=20ms              one way; units us, ms, s
  jitter=5ms              further delay, evenly between nothing and this
  order=kept|free         whether jitter may change the order
  loss=1%                 each packet by itself
  loss=burst,1%,25%       in bursts (Gilbert-Elliott): chance to turn bad, chance to recover,
                          and, if given, loss in the good (0%) and in the bad state (100%)
  duplicate=0.1%          packets that arrive twice
  reorder=2%,5ms          packets that are held back, and for how long
  rate=10mbit,64kB        capacity in bit, kbit, mbit, gbit per second; queue in B, kB, MB
  filter=udp,port=5060    drop what matches all of: udp, tcp, icmp, icmpv6, a protocol number,
                          port=N, longer=BYTES; several filters add up
  loss=none, rate=none, filter=none take it away";

/// A change that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no change of a link: {why}")]
pub struct TextError {
    text: String,
    why: String,
}

/// Reads changes into the fields of [`LinkSettings`](super::LinkSettings), for
/// [`with_changes`](super::LinkSettings::with_changes).
///
/// # Errors
/// The first change that cannot be read.
pub fn parse_changes<T: AsRef<str>>(texts: &[T]) -> Result<Map<String, Value>, TextError> {
    let mut changes = Map::new();
    let mut filters: Option<Vec<Value>> = None;
    for text in texts.iter().map(AsRef::as_ref) {
        let wrong = |why: String| TextError { text: text.to_owned(), why };
        let Some((name, value)) = text.split_once('=') else {
            return Err(wrong("write NAME=VALUE, for example delay=20ms".to_owned()));
        };
        if name == "filter" {
            let filters = filters.get_or_insert_default();
            match value {
                "none" => filters.clear(),
                _ => filters.push(parse_filter(value).map_err(wrong)?),
            }
        } else {
            let (field, value) = parse_change(name, value).map_err(wrong)?;
            changes.insert(field.to_owned(), value);
        }
    }
    if let Some(filters) = filters {
        changes.insert("filters".to_owned(), Value::Array(filters));
    }
    Ok(changes)
}

fn parse_change(name: &str, value: &str) -> Result<(&'static str, Value), String> {
    let parts: Vec<&str> = value.split(',').collect();
    Ok(match (name, parts.as_slice()) {
        ("state", ["up" | "down"]) => ("state", json!(value)),
        ("order", ["kept" | "free"]) => ("order", json!(value)),
        ("delay", [time]) => ("delay_us", json!(parse_time_us(time)?)),
        ("jitter", [time]) => ("jitter_us", json!(parse_time_us(time)?)),
        ("duplicate", [share]) => ("duplicate", json!(parse_share(share)?)),
        ("loss", ["none"]) => ("loss", json!({"kind": "none"})),
        ("loss", ["burst", shares @ ..]) => ("loss", parse_burst(shares)?),
        ("loss", [share]) => ("loss", json!({"kind": "random", "share": parse_share(share)?})),
        ("reorder", [share, hold]) => {
            ("reorder", json!({"share": parse_share(share)?, "hold_us": parse_time_us(hold)?}))
        }
        ("rate", ["none"]) => ("rate", Value::Null),
        ("rate", [rate, queue]) => {
            let (bits_per_s, queue_bytes) =
                (parse_number(rate, RATES)?, parse_number(queue, SIZES)?);
            ("rate", json!({"bits_per_s": bits_per_s, "queue_bytes": queue_bytes}))
        }
        _ => return Err("see the list of changes in the help".to_owned()),
    })
}

fn parse_burst(shares: &[&str]) -> Result<Value, String> {
    let (turn, recover, rest) = match shares {
        [turn, recover, rest @ ..] if rest.len() <= 2 => (turn, recover, rest),
        _ => return Err("write loss=burst,1%,25% or loss=burst,1%,25%,0%,100%".to_owned()),
    };
    let loss_good = rest.first().map_or(Ok(Share::NONE), |share| parse_share(share))?;
    let loss_bad = rest.get(1).map_or(Ok(Share::ALL), |share| parse_share(share))?;
    Ok(json!({
        "kind": "gilbert_elliott",
        "good_to_bad": parse_share(turn)?,
        "bad_to_good": parse_share(recover)?,
        "loss_good": loss_good,
        "loss_bad": loss_bad,
    }))
}

fn parse_filter(value: &str) -> Result<Value, String> {
    let mut filter = Map::new();
    for part in value.split(',') {
        let (name, value) = match part.split_once('=') {
            None => {
                ("protocol", json!(part.parse::<Protocol>().map_err(|error| error.to_string())?))
            }
            Some(("port", port)) => ("port", json!(parse_u16(port)?)),
            Some(("longer", bytes)) => ("longer_than", json!(parse_u16(bytes)?)),
            Some(_) => return Err(format!("no condition {part:?}: udp, port=N or longer=BYTES")),
        };
        if filter.insert(name.to_owned(), value).is_some() {
            return Err(format!("{name} twice in one filter; several filters add up"));
        }
    }
    Ok(Value::Object(filter))
}

fn parse_u16(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("{text:?} is no number from 0 to 65535"))
}

const TIMES: &[(&str, u64)] = &[("us", 1), ("ms", 1_000), ("s", 1_000_000)];
const RATES: &[(&str, u64)] =
    &[("kbit", 1_000), ("mbit", 1_000_000), ("gbit", 1_000_000_000), ("bit", 1)];
const SIZES: &[(&str, u64)] = &[("kB", 1_000), ("MB", 1_000_000), ("B", 1)];

/// A time with its unit (`20ms`) in microseconds.
///
/// # Errors
/// What is wrong with it.
pub fn parse_time_us(text: &str) -> Result<u64, String> {
    parse_number(text, TIMES)
}

/// A share of packets, as `1%` or `0.01`.
fn parse_share(text: &str) -> Result<Share, String> {
    let wrong = || format!("{text:?} is no share of packets: write 1% or 0.01");
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map_err(|_| wrong())? / 100.0,
        None => text.parse().map_err(|_| wrong())?,
    };
    Share::new(share).map_err(|error| error.to_string())
}

/// A number with one of the units, the longer of two that fit first; a fraction is rounded.
fn parse_number(text: &str, units: &[(&str, u64)]) -> Result<u64, String> {
    let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
    let wrong = || format!("{text:?} is no number with a unit of {}", names.join(", "));
    for (unit, factor) in units {
        if let Some(number) = text.strip_suffix(unit)
            && let Ok(number) = number.parse::<f64>()
        {
            let value = number * *factor as f64;
            let sensible = (0.0..1e15).contains(&value);
            return if sensible { Ok(value.round() as u64) } else { Err(wrong()) };
        }
    }
    Err(wrong())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wan::LinkSettings;

    /// Each kind of change becomes the settings that it names.
    #[test]
    fn changes_are_read() {
        let cases = [
            ("delay=20ms", r#"{"delay_us": 20000}"#),
            ("delay=1.5s", r#"{"delay_us": 1500000}"#),
            ("jitter=150us", r#"{"jitter_us": 150}"#),
            ("state=down", r#"{"state": "down"}"#),
            ("order=free", r#"{"order": "free"}"#),
            ("loss=1%", r#"{"loss": {"kind": "random", "share": 0.01}}"#),
            ("loss=0.5", r#"{"loss": {"kind": "random", "share": 0.5}}"#),
            ("duplicate=100%", r#"{"duplicate": 1.0}"#),
            ("reorder=50%,5ms", r#"{"reorder": {"share": 0.5, "hold_us": 5000}}"#),
            ("rate=10mbit,64kB", r#"{"rate": {"bits_per_s": 10000000, "queue_bytes": 64000}}"#),
            ("rate=64kbit,1500B", r#"{"rate": {"bits_per_s": 64000, "queue_bytes": 1500}}"#),
            ("filter=udp,port=5060", r#"{"filters": [{"protocol": "udp", "port": 5060}]}"#),
            ("filter=longer=1300", r#"{"filters": [{"longer_than": 1300}]}"#),
            (
                "loss=burst,1%,25%",
                r#"{"loss": {"kind": "gilbert_elliott", "good_to_bad": 0.01, "bad_to_good": 0.25,
                    "loss_good": 0.0, "loss_bad": 1.0}}"#,
            ),
        ];
        for (text, expected) in cases {
            let changes = parse_changes(&[text]).unwrap();
            assert_eq!(
                Value::Object(changes.clone()),
                expected.parse::<Value>().unwrap(),
                "{text}"
            );
            LinkSettings::default().with_changes(&changes).unwrap();
        }
    }

    /// What takes something away leaves the default, and filters add up.
    #[test]
    fn changes_are_taken_back() {
        let full = ["loss=1%", "rate=1mbit,9kB", "filter=udp", "filter=tcp"];
        let full = LinkSettings::default().with_changes(&parse_changes(&full).unwrap()).unwrap();
        assert_eq!(full.filters.len(), 2);
        let none = parse_changes(&["loss=none", "rate=none", "filter=none"]).unwrap();
        assert_eq!(full.with_changes(&none), Ok(LinkSettings::default()));
    }

    /// What cannot be read is refused, with the text in the message.
    #[test]
    fn wrong_text_is_refused() {
        for text in [
            "delay",
            "delay=",
            "delay=20",
            "delay=-1ms",
            "delay=nanms",
            "delay=1e99s",
            "loss=101%",
            "loss=x",
            "loss=burst,1%",
            "rate=10mbit",
            "rate=10,10",
            "state=sideways",
            "speed=1ms",
            "filter=port=70000",
            "filter=colour=red",
            "filter=udp,tcp",
            "filter=",
            "reorder=1%",
        ] {
            let error = parse_changes(&[text]).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
