//! `tandem-lab wan bench`: how exact and how fast the router is on this machine.
//!
//! What bounds it: the kernel. A packet costs the router one read and one write on a TUN device, and
//! the write carries it through the receiving host's stack up to the socket; the model, the heap and
//! the copies are less than a fifth of the router's time. The bench's own sender and receiver cost as
//! much again, so on two processors it reaches its own limit before the router's.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::json;
use tandem_lab::host::{Host, HostSpec, Lab};
use tandem_lab::wan::text::parse_time_us;
use tandem_lab::wan::{LatenessSummary, LinkSettings, Party};

use thread_priority::{RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};

use crate::Output;

/// G.711 for 20 ms with an RTP header.
const PAYLOAD_BYTES: usize = 172;
const PING_GAP: Duration = Duration::from_millis(5);
/// The sender rests for so long whenever it is so far ahead of its rate.
const STEP: Duration = Duration::from_millis(1);
const RECEIVE_BUFFER_BYTES: usize = 16 * 1024 * 1024;
const PACKETS_PER_SECOND_MAX: u32 = 1_000_000;
const SECONDS_MAX: u32 = 60;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// One-way delay of the link, both ways
    #[arg(long, default_value = "20ms", value_parser = parse_time_us)]
    delay: u64,
    /// Round trips to measure, one every 5 ms
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pings: u32,
    /// Rate of the flood; 0 leaves it out
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(0..=PACKETS_PER_SECOND_MAX as i64))]
    packets_per_second: u32,
    /// Length of the flood
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=SECONDS_MAX as i64))]
    seconds: u32,
}

/// What the flood did.
struct Flood {
    sent: u64,
    received: u64,
    /// The router's share of a processor per packet.
    router_us_per_packet: f64,
    /// Lost before the router, because it did not read fast enough.
    lost_before: u64,
    /// Lost after the router, because the receiver did not read fast enough.
    lost_after: u64,
    took: Duration,
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<()> {
    outrank_other_programs();
    let hosts = [("a", [10, 0, 0, 1]), ("b", [10, 0, 0, 2])];
    let specs = hosts.map(|(name, address)| HostSpec::new(name, IpAddr::from(address))).to_vec();
    let lab = Lab::new(specs, 1)?;
    lab.router().set(&Party::All, &Party::All, &LinkSettings::delayed_us(arguments.delay))?;

    let trips = ping(&lab, arguments.pings)?;
    print_round_trips(arguments.delay, &trips, output);
    print_lateness("round trips", lab.router().lateness(), output);
    if arguments.packets_per_second > 0 {
        print_flood(arguments, &flood(&lab, arguments)?, output);
        print_lateness("all so far", lab.router().lateness(), output);
    }
    Ok(())
}

/// Gives this thread, and those that it starts, the router's own priority: the bench is about the
/// router, not about what else runs on the machine.
fn outrank_other_programs() {
    let real_time = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let thread = thread_priority::thread_native_id();
    if let Err(error) =
        thread_priority::set_thread_priority_and_policy(thread, ThreadPriority::Min, real_time)
    {
        eprintln!("no real-time priority, other programs may disturb the figures: {error:?}");
    }
}

/// Round trips between the hosts, in order of length.
fn ping(lab: &Lab, count: u32) -> anyhow::Result<Vec<Duration>> {
    let (client, server) = (socket(lab.host("a")?)?, socket(lab.host("b")?)?);
    let to = server.local_addr()?;
    let patience = Duration::from_secs(130);
    client.set_read_timeout(Some(patience))?;
    server.set_read_timeout(Some(patience))?;
    std::thread::scope(|scope| {
        let echo = scope.spawn(|| -> std::io::Result<()> {
            let mut buffer = [0; PAYLOAD_BYTES];
            for _ in 0..count {
                let (len, from) = server.recv_from(&mut buffer)?;
                server.send_to(buffer.get(..len).unwrap_or(&[]), from)?;
            }
            Ok(())
        });
        let mut trips = Vec::new();
        let mut buffer = [0; PAYLOAD_BYTES];
        for _ in 0..count {
            let sent = Instant::now();
            client.send_to(&[0; PAYLOAD_BYTES], to)?;
            client.recv(&mut buffer).context("a packet was lost on a link without loss")?;
            trips.push(sent.elapsed());
            std::thread::sleep(PING_GAP);
        }
        echo.join().map_err(|_| anyhow::anyhow!("the echo panicked"))??;
        trips.sort();
        Ok(trips)
    })
}

/// Sends at the asked rate from `a` to `b` and counts what arrives.
fn flood(lab: &Lab, arguments: &Arguments) -> anyhow::Result<Flood> {
    let (from, to) = (lab.host("a")?, lab.host("b")?);
    let (sender, receiver) = (socket(from)?, socket(to)?);
    // Beyond the system's limit, as root may.
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&receiver, RECEIVE_BUFFER_BYTES)?;
    let target = receiver.local_addr()?;
    // The last packets are under way for a delay, and need a moment more on a busy machine.
    let silence = Duration::from_micros(arguments.delay) + Duration::from_secs(1);
    receiver.set_read_timeout(Some(silence))?;

    let party = |name: &str| Party::Endpoint(name.to_owned());
    let counted = |lab: &Lab| -> anyhow::Result<u64> {
        let counters = lab.router().counters(&party("a"), &party("b"))?;
        Ok(counters.iter().map(|it| it.counters.offered).sum())
    };
    let (before, cpu_before) = (counted(lab)?, lab.router().cpu_time()?);
    let began = Instant::now();
    let (sent, received) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| count_packets(&receiver));
        let sent = send_paced(&sender, target, arguments);
        let received = reader.join().map_err(|_| anyhow::anyhow!("the receiver panicked"));
        anyhow::Ok((sent?, received?))
    })?;
    let took = began.elapsed().saturating_sub(silence);
    let routed = counted(lab)? - before;
    ensure!(routed > 0, "no packet reached the router");
    let cpu = lab.router().cpu_time()? - cpu_before;
    Ok(Flood {
        sent,
        received,
        router_us_per_packet: cpu.as_secs_f64() * 1e6 / routed as f64,
        lost_before: sent - routed,
        lost_after: routed - received,
        took,
    })
}

fn count_packets(receiver: &UdpSocket) -> u64 {
    let mut buffer = [0; PAYLOAD_BYTES];
    let mut received = 0;
    while receiver.recv(&mut buffer).is_ok() {
        received += 1;
    }
    received
}

/// A step that comes late does not make the next one larger: a burst would measure the length of a
/// queue. The rate that was reached is reported.
fn send_paced(sender: &UdpSocket, to: SocketAddr, arguments: &Arguments) -> anyhow::Result<u64> {
    let total = u64::from(arguments.packets_per_second) * u64::from(arguments.seconds);
    let gap = Duration::from_secs(1) / arguments.packets_per_second.max(1);
    let mut due = Instant::now();
    for _ in 0..total {
        let now = Instant::now();
        if due > now + STEP {
            std::thread::sleep(STEP);
        }
        due = due.max(now.checked_sub(STEP).unwrap_or(now)) + gap;
        sender.send_to(&[0; PAYLOAD_BYTES], to)?;
    }
    Ok(total)
}

fn socket(host: &Host) -> anyhow::Result<UdpSocket> {
    Ok(host.run_in(|| UdpSocket::bind((host.address(), 0)))??)
}

fn print_round_trips(delay_us: u64, trips: &[Duration], output: Output) {
    let us = |part: f64| {
        let index = ((trips.len().saturating_sub(1)) as f64 * part) as usize;
        trips.get(index).map_or(0, Duration::as_micros)
    };
    let (set, count) = (delay_us * 2, trips.len());
    let (min, median, p99, max) = (us(0.0), us(0.5), us(0.99), us(1.0));
    match output {
        Output::Text => println!(
            "round trip, set {set} us: min {min}, median {median}, p99 {p99}, max {max} us ({count} pings)"
        ),
        Output::Json => println!(
            "{}",
            json!({ "round_trip_us": { "set": set, "min": min, "median": median, "p99": p99,
                    "max": max, "pings": count } })
        ),
    }
}

fn print_lateness(of: &str, lateness: LatenessSummary, output: Output) {
    let LatenessSummary { departures, median_below_us, p99_below_us, max_us } = lateness;
    match output {
        Output::Text => println!(
            "  late by the router's own doing ({of}, {departures} departures): \
             median below {median_below_us}, p99 below {p99_below_us}, max {max_us} us"
        ),
        Output::Json => println!("{}", json!({ "lateness": { "of": of, "summary": lateness } })),
    }
}

fn print_flood(arguments: &Arguments, flood: &Flood, output: Output) {
    let asked = arguments.packets_per_second;
    let rate = flood.sent as f64 / flood.took.as_secs_f64();
    match output {
        Output::Text => println!(
            "flood, set {asked} packets/s of {PAYLOAD_BYTES} bytes: {rate:.0} packets/s, sent {}, received {}, \
             lost before the router {}, after it {}; router {:.2} us of processor per packet",
            flood.sent,
            flood.received,
            flood.lost_before,
            flood.lost_after,
            flood.router_us_per_packet
        ),
        Output::Json => println!(
            "{}",
            json!({ "flood": { "packets_per_second_set": asked, "packets_per_second": rate,
                    "sent": flood.sent, "received": flood.received,
                    "lost_before_router": flood.lost_before,
                    "lost_after_router": flood.lost_after,
                    "router_us_per_packet": flood.router_us_per_packet } })
        ),
    }
}
