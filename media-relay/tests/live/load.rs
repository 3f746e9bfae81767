//! Many calls at once.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tandem_proto::relay::v1::session::Source;

use crate::support::{
    phone::{Phone, audio},
    relays::{Lab, Node, RelayProcess, address_of, endpoint, local_peer, remote_peer},
    until, until_now,
};

const CALLS: usize = 100;
const PACKETS: u32 = 250;

/// CPU time of a process so far, in clock ticks (fields 14 and 15 of `/proc/<pid>/stat`).
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("alive");
    let fields = stat.rsplit_once(')').expect("a name").1;
    let fields: Vec<_> = fields.split_ascii_whitespace().collect();
    fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum()
}

/// Resident memory of a process, in kB.
fn resident_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("alive");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("told");
    line.split_ascii_whitespace().nth(1).expect("a field").parse().expect("a number")
}

/// 200 phones on few threads: each has its socket, all send on one grid.
struct Crowd {
    sockets: Vec<Arc<UdpSocket>>,
    heard: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Crowd {
    fn new(count: usize) -> Self {
        let sockets: Vec<_> = (0..count)
            .map(|_| {
                let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
                socket.set_nonblocking(true).expect("set");
                Arc::new(socket)
            })
            .collect();
        let crowd = Self { sockets, heard: Arc::default(), stop: Arc::default() };
        let (sockets, heard) = (crowd.sockets.clone(), Arc::clone(&crowd.heard));
        let stop = Arc::clone(&crowd.stop);
        thread::spawn(move || {
            let mut buffer = [0; 2_048];
            while !stop.load(Ordering::Acquire) {
                for socket in &sockets {
                    while let Ok((len, _)) = socket.recv_from(&mut buffer) {
                        // Audio of a phone, not the relay's silence or reports.
                        let spoken = len == 172 && buffer[16] == 0x20;
                        heard.fetch_add(u64::from(spoken), Ordering::Relaxed);
                    }
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        crowd
    }

    fn speak(&self, to: &[SocketAddr]) {
        let begin = Instant::now();
        for number in 0..PACKETS {
            for (index, (socket, to)) in self.sockets.iter().zip(to).enumerate() {
                socket.send_to(&audio(index as u32, number), to).expect("sent");
            }
            let due = begin + Duration::from_millis(20) * (number + 1);
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
}

/// Makes a session for each phone of the crowd; `peer` names the source of phone `index`.
async fn seat(
    node: &mut Node,
    crowd: &Crowd,
    places: impl Iterator<Item = usize>,
    peer: impl Fn(u64) -> Source,
) -> Vec<SocketAddr> {
    let spare = Phone::new();
    let mut wanted = Vec::new();
    for index in places {
        let ordinal = index as u64 + 1;
        let other = if index % 2 == 0 { ordinal + 1 } else { ordinal - 1 };
        let mut session = node.session(ordinal, &spare, peer(other));
        let remote = crowd.sockets[index].local_addr().expect("bound");
        session.remote_rtp = Some(endpoint(remote));
        wanted.push(session);
    }
    let results = node.put_all(wanted).await;
    results.iter().map(|result| address_of(result.local_rtp.as_ref().expect("done"))).collect()
}

/// A tick of the kernel's accounting is 10 ms on every Linux that Tandem runs on.
fn micros_each(ticks: u64, packets: u64) -> f64 {
    ticks as f64 * 10_000.0 / packets as f64
}

// Goal: 200 sessions at 50 packets per second for 5 s on loopback: not one packet is lost or
// dropped; the CPU time per packet is printed.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_sessions_lose_nothing() {
    let lab = Lab::new();
    let mut settings = lab.settings("loaded");
    settings.relay.workers = 1;
    let relay = RelayProcess::start(&lab, &settings).await;
    let mut node = lab.node(relay.file.control).await;
    let crowd = Crowd::new(2 * CALLS);
    let memory_before = resident_kb(relay.child.id());
    let addresses = seat(&mut node, &crowd, 0..2 * CALLS, local_peer).await;
    let memory_kb = resident_kb(relay.child.id()).saturating_sub(memory_before);
    println!("{:.1} kB of memory per call", memory_kb as f64 / CALLS as f64);
    let before = cpu_ticks(relay.child.id());
    tokio::task::block_in_place(|| crowd.speak(&addresses));
    let sent = u64::from(PACKETS) * 2 * CALLS as u64;
    let counts = node.describe().await.counters;
    let heard = || crowd.heard.load(Ordering::Relaxed);
    until_now(&format!("every packet arrives: {counts:?}"), || heard() >= sent).await;
    let ticks = cpu_ticks(relay.child.id()) - before;
    crowd.stop.store(true, Ordering::Release);
    assert_eq!(heard(), sent, "each packet once");
    let counts = node.describe().await.counters.expect("counted");
    assert_eq!(counts.received, sent);
    assert_eq!((counts.dropped_late, counts.dropped_duplicate, counts.send_errors), (0, 0, 0));
    println!("{sent} packets, {:.1} us of CPU each", micros_each(ticks, sent));
}

// Goal: 100 calls over one link: what does not arrive is in the relays' counts, and that is little;
// the CPU time per packet of both relays together is printed.
#[tokio::test(flavor = "multi_thread")]
async fn hundred_linked_calls_are_accounted() {
    let lab = Lab::new();
    let mut settings = [lab.settings("a"), lab.settings("b")];
    for settings in &mut settings {
        settings.relay.link.set_port(7_401);
    }
    let [a, b] = &settings;
    let relays = [RelayProcess::start(&lab, a).await, RelayProcess::start(&lab, b).await];
    let [first, second] = &relays;
    let mut nodes = [lab.node(first.file.control).await, lab.node(second.file.control).await];
    let crowd = Crowd::new(2 * CALLS);
    let to_b = |leg| remote_peer(leg, "b", b.relay.link);
    let to_a = |leg| remote_peer(leg, "a", a.relay.link);
    let callers = seat(&mut nodes[0], &crowd, (0..2 * CALLS).step_by(2), to_b).await;
    let agents = seat(&mut nodes[1], &crowd, (1..2 * CALLS).step_by(2), to_a).await;
    let addresses: Vec<_> = callers.iter().zip(&agents).flat_map(|(a, b)| [*a, *b]).collect();
    for node in &mut nodes {
        until("the link is up", async || node.describe().await.links.iter().any(|l| l.up)).await;
    }
    let cpu = || relays.iter().map(|relay| cpu_ticks(relay.child.id())).sum::<u64>();
    let before = cpu();
    tokio::task::block_in_place(|| crowd.speak(&addresses));
    let sent = u64::from(PACKETS) * 2 * CALLS as u64;
    let mut accounted = 0;
    until("every packet arrives or is counted", async || {
        accounted = crowd.heard.load(Ordering::Relaxed);
        for node in &mut nodes {
            let described = node.describe().await;
            let counts = described.counters.expect("counted");
            accounted += counts.dropped_late + counts.dropped_duplicate + counts.send_errors;
            accounted += described.links.iter().map(|l| l.dropped + l.lost).sum::<u64>();
        }
        accounted >= sent
    })
    .await;
    let ticks = cpu() - before;
    crowd.stop.store(true, Ordering::Release);
    let heard = crowd.heard.load(Ordering::Relaxed);
    println!("{heard} of {sent} over a link, {:.1} us of CPU each", micros_each(ticks, sent));
    assert!(heard * 10 >= sent * 9, "{heard} of {sent}");
}
