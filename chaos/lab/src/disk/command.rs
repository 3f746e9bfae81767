//! `tandem-lab disk`: a disk as a process of its own, and orders to it.

use std::io::Write;
use std::path::PathBuf;

use super::control::{Client, Control};
use super::device::{Answer, COMMIT_INTERVAL_S, Disk, Order, Settings};

/// The subcommands of `tandem-lab disk`.
#[derive(Debug, clap::Subcommand)]
pub enum DiskCommand {
    /// Make a disk, mount it, and obey orders until one stops it. Everything goes with this
    /// process.
    Run {
        /// Size, with K, M or G; only what is written takes memory.
        #[arg(long, default_value = "256M", value_parser = parse_bytes)]
        size: u64,
        /// An existing folder to mount it on.
        #[arg(long)]
        mount: PathBuf,
        /// The socket to take orders on.
        #[arg(long)]
        control: PathBuf,
        /// Seconds after which ext4 syncs by itself what nobody synced.
        #[arg(long, default_value_t = COMMIT_INTERVAL_S)]
        commit_interval_s: u32,
    },
    /// Give a running disk an order; prints the answer as JSON.
    Ctl {
        /// The socket that `run` was given.
        #[arg(long)]
        control: PathBuf,
        /// The order.
        #[command(subcommand)]
        order: Order,
    },
}

/// Does what the command line asks. `run` prints one line when the disk can be used and returns
/// when it was stopped.
pub fn run(command: DiskCommand) -> anyhow::Result<()> {
    match command {
        DiskCommand::Run { size, mount, control, commit_interval_s } => {
            let control = Control::open(&control)?;
            let settings = Settings { bytes: size, dir: mount.clone(), commit_interval_s };
            let disk = Disk::start(settings)?;
            let mut out = std::io::stdout().lock();
            writeln!(out, "ready: {}", mount.display())?;
            out.flush()?;
            drop(out);
            control.serve(disk)?;
        }
        DiskCommand::Ctl { control, order } => {
            let answer: Answer = Client::new(control).apply(&order)?;
            writeln!(std::io::stdout().lock(), "{}", serde_json::to_string_pretty(&answer)?)?;
        }
    }
    Ok(())
}

/// A number of bytes with an optional K, M or G (powers of 1024).
fn parse_bytes(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K') => (&text[..text.len() - 1], 10),
        Some(b'M') => (&text[..text.len() - 1], 20),
        Some(b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| "write a number, with K, M or G if you like")?;
    number.checked_mul(1 << shift).ok_or_else(|| "that is more than a number of bytes".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::super::faults::{Operation, Refusal, Which};
    use super::super::image::Crash;
    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: DiskCommand,
    }

    fn order(words: &[&str]) -> Order {
        let line = ["disk", "ctl", "--control", "socket"].iter().chain(words);
        match Line::try_parse_from(line).unwrap().command {
            DiskCommand::Ctl { order, .. } => order,
            DiskCommand::Run { .. } => panic!("an order was parsed as run"),
        }
    }

    // Goal: the command line is sound and gives the orders that it says, defaults included.
    #[test]
    fn orders_from_the_command_line() {
        Line::command().debug_assert();
        assert_eq!(order(&["power-loss"]), Order::PowerLoss { leaves: Crash::Clean });
        let torn = Order::PowerLoss { leaves: Crash::TornLast { seed: 3 } };
        assert_eq!(order(&["power-loss", "--leaves", "torn-last:3"]), torn);
        let (operation, which) = (Operation::Sync, Which::From(2));
        let fail = Order::Fail { operation, which, refusal: Refusal::Io };
        assert_eq!(order(&["fail", "sync", "from:2"]), fail);
        let flip = Order::FlipFile { path: "wal".into(), offset: 9, mask: 1 };
        assert_eq!(order(&["flip-file", "wal", "9"]), flip);
    }

    // Goal: sizes mean powers of 1024; what is no size, or too large, is refused.
    #[test]
    fn sizes() {
        let rows =
            [("0", Some(0)), ("17", Some(17)), ("4K", Some(4096)), ("256M", Some(256 << 20))];
        for (text, bytes) in
            rows.into_iter().chain([("2G", Some(2 << 30)), ("", None), ("K", None)])
        {
            assert_eq!(parse_bytes(text).ok(), bytes, "{text:?}");
        }
        for text in ["-1", "1T", "18446744073709551615K", "1 M", "é"] {
            assert!(parse_bytes(text).is_err(), "{text:?}");
        }
    }

    // Goal: an order survives its way over the socket as JSON.
    #[test]
    fn orders_keep_their_meaning_as_json() {
        for words in [
            &["status"][..],
            &["delay", "write", "20"],
            &["promise", "lied"],
            &["fail", "write", "nth:3", "--refusal", "no-space"],
            &["flip-device", "4096", "--mask", "128"],
            &["fill", "--leave-bytes", "5"],
            &["stop"],
        ] {
            let order = order(words);
            let json = serde_json::to_string(&order).unwrap();
            assert_eq!(serde_json::from_str::<Order>(&json).unwrap(), order, "{json}");
        }
    }
}
