//! What the command line takes.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

const EXIT_CODES: &str = "Exit codes:
  0  all as wanted: the call was answered and audio was heard; the phone was registered
  1  the call was not answered; the phone never registered
  2  wrong usage
  3  the call was answered, but nothing was heard
  4  a pause in the audio was longer than --fail-on-gap-ms
  5  sockets, files or settings: the message on stderr says what to do";

/// A small SIP phone that reports what a human would have experienced.
#[derive(Debug, Parser)]
#[command(name = "tandem-phone", version, after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Form of events on stdout.
    #[arg(long, value_enum, default_value_t = Output::Text, global = true)]
    pub(crate) output: Output,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Output {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Be an agent's phone: register, answer calls, print what happens.
    #[command(after_help = REGISTER_EXAMPLES)]
    Register(RegisterArgs),
    /// Be a caller: call a number at a node, print what happens.
    #[command(after_help = CALL_EXAMPLES)]
    Call(CallArgs),
}

const REGISTER_EXAMPLES: &str = "Examples:
  Register with two sites, answer after 2 s of ringing:
    tandem-phone register --user 1001 --password-file pw --registrar 10.0.1.5 --registrar 10.0.2.5 \\
        --answer-after-ms 2000
  A phone that is always busy, events as JSON lines:
    tandem-phone register --user 1002 --password-file pw --registrar 10.0.1.5 --busy --output json
  No registrar: wait for calls on an address, and keep what was heard:
    tandem-phone register --user 1001 --listen 127.0.1.50:5060 --wav-folder heard/";

const CALL_EXAMPLES: &str = "Examples:
  Call the number 8000 at a node, talk 30 s with the agent, keep what was heard:
    tandem-phone call 8000 --via 10.0.1.5 --talk-ms 30000 --wav heard.wav
  As a carrier with two nodes, the second one after 3 s of silence; fail on a pause above 400 ms:
    tandem-phone call 8000 --via 10.0.1.5 --via 10.0.2.5 --failover-after-ms 3000 \\
        --duration-s 60 --fail-on-gap-ms 400 --output json
  Press 1 and # after the answer:
    tandem-phone call 8000 --via 10.0.1.5 --digits '1#' --duration-s 20";

#[derive(Debug, clap::Args)]
pub(crate) struct AudioArgs {
    /// What is sent as audio.
    #[arg(long, value_enum, default_value_t = SentKind::Tagged)]
    pub(crate) send: SentKind,
    /// Frequency for --send tone, Hz.
    #[arg(long, default_value_t = 440, value_parser = clap::value_parser!(u16).range(50..=3900))]
    pub(crate) tone_hz: u16,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum SentKind {
    /// Bytes that name the sender (exact, as long as nobody transcodes).
    Tagged,
    /// A sine.
    Tone,
    /// Silence.
    Silence,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RegisterArgs {
    /// User part of the address, and user name of the credentials.
    #[arg(long)]
    pub(crate) user: String,
    /// Password (visible to other users of this machine; prefer --password-file).
    #[arg(long)]
    pub(crate) password: Option<String>,
    /// File with the password in its first line.
    #[arg(long, conflicts_with = "password")]
    pub(crate) password_file: Option<PathBuf>,
    /// Registrar, HOST[:PORT]; several in order of liking.
    #[arg(long)]
    pub(crate) registrar: Vec<String>,
    /// Host of the address of record; the registrar's address when not given.
    #[arg(long)]
    pub(crate) domain: Option<String>,
    /// Local address; any port on the address that leads to the registrar when not given.
    #[arg(long)]
    pub(crate) listen: Option<SocketAddr>,
    /// Speak TCP with the registrar, and take calls by TCP.
    #[arg(long)]
    pub(crate) tcp: bool,
    /// Name in events.
    #[arg(long)]
    pub(crate) label: Option<String>,
    /// Lifetime of the registration to ask for, s.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) expires_s: u32,
    /// Give a registrar up after this time without an answer, ms; 32 s when not given.
    #[arg(long)]
    pub(crate) failover_after_ms: Option<u64>,
    /// Answer after this time of ringing, ms.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) answer_after_ms: u64,
    /// Hang up after this time of talk, ms.
    #[arg(long)]
    pub(crate) talk_ms: Option<u64>,
    /// Refuse every call with 486.
    #[arg(long, conflicts_with_all = ["decline", "never_answer"])]
    pub(crate) busy: bool,
    /// Refuse every call with 603.
    #[arg(long, conflicts_with = "never_answer")]
    pub(crate) decline: bool,
    /// Ring and never answer.
    #[arg(long)]
    pub(crate) never_answer: bool,
    /// End after this time, s; runs until Ctrl-C or SIGTERM when not given.
    #[arg(long)]
    pub(crate) duration_s: Option<u64>,
    /// Write what each call heard to this folder as WAV.
    #[arg(long)]
    pub(crate) wav_folder: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) audio: AudioArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CallArgs {
    /// The number to call.
    pub(crate) number: String,
    /// Node to call it at, HOST[:PORT]; several in the order in which a carrier tries them.
    #[arg(long, required = true)]
    pub(crate) via: Vec<String>,
    /// Caller's number.
    #[arg(long, default_value = "anonymous")]
    pub(crate) from: String,
    /// Caller's name.
    #[arg(long)]
    pub(crate) from_name: Option<String>,
    /// Local address; any port on the address that leads to the node when not given.
    #[arg(long)]
    pub(crate) listen: Option<SocketAddr>,
    /// Call by TCP.
    #[arg(long)]
    pub(crate) tcp: bool,
    /// Try the next node after this time without an answer, ms; 32 s when not given.
    #[arg(long)]
    pub(crate) failover_after_ms: Option<u64>,
    /// Hang up this time after an agent (tagged audio) was first heard, ms.
    #[arg(long)]
    pub(crate) talk_ms: Option<u64>,
    /// Hang up, or give up, after this time from the beginning, s.
    #[arg(long)]
    pub(crate) duration_s: Option<u64>,
    /// DTMF digits to send after the answer.
    #[arg(long, default_value = "")]
    pub(crate) digits: String,
    /// Write what was heard to this file as WAV.
    #[arg(long)]
    pub(crate) wav: Option<PathBuf>,
    /// Exit with 4 when a pause in the audio was longer, ms.
    #[arg(long)]
    pub(crate) fail_on_gap_ms: Option<u64>,
    #[command(flatten)]
    pub(crate) audio: AudioArgs,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    // Goal: the definition of the command line is consistent, and its examples parse.
    #[test]
    fn definition_and_examples() {
        Args::command().debug_assert();
        for examples in [REGISTER_EXAMPLES, CALL_EXAMPLES] {
            let joined = examples.replace("\\\n", " ");
            for line in joined.lines().filter(|line| line.trim_start().starts_with("tandem-phone"))
            {
                let words = line.split_whitespace().map(|word| word.trim_matches('\''));
                assert!(Args::try_parse_from(words).is_ok(), "{line}");
            }
        }
    }

    // Goal: contradictions and missing things are refused as wrong usage.
    #[test]
    fn wrong_usage() {
        for line in [
            "tandem-phone",
            "tandem-phone call 8000",
            "tandem-phone call --via h",
            "tandem-phone register --registrar h",
            "tandem-phone register --user 1 --busy --decline",
            "tandem-phone call 8000 --via h --tone-hz 9",
        ] {
            let refused = Args::try_parse_from(line.split(' ')).map_err(|error| error.exit_code());
            assert_eq!(refused.err(), Some(2), "{line}");
        }
    }
}
