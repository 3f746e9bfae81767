//! Labs of a few hosts, and a peer that sends back what it gets.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tandem_lab::host::{Host, HostSpec, Lab};
use tandem_lab::wan::{LinkCounters, Party};

/// Longest wait for something that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How long a socket waits for what may have been lost.
pub(crate) const LOST_AFTER: Duration = Duration::from_millis(300);

/// Fails, with the reason, unless the test runs as root.
pub(crate) fn require_root() {
    let root = rustix::process::geteuid().is_root();
    assert!(root, "this test makes network namespaces and TUN devices: run it as root");
}

/// Hosts with these names; the first has address 10.0.0.1.
pub(crate) fn lab_of(names: &[&str]) -> Lab {
    require_root();
    let specs = names
        .iter()
        .zip(1_u8..)
        .map(|(name, last)| HostSpec::new(name, IpAddr::from([10, 0, 0, last])))
        .collect();
    Lab::new(specs, 42).unwrap()
}

pub(crate) fn party(text: &str) -> Party {
    text.parse().unwrap()
}

pub(crate) fn counters(lab: &Lab, from: &str, to: &str) -> LinkCounters {
    lab.router().counters(&party(from), &party(to)).unwrap()[0].counters
}

/// A socket of a host at an address of its own.
pub(crate) fn socket_at(host: &Host, address: IpAddr) -> UdpSocket {
    let socket = host.run_in(|| UdpSocket::bind((address, 0))).unwrap().unwrap();
    socket.set_read_timeout(Some(LOST_AFTER)).unwrap();
    socket
}

pub(crate) fn socket(host: &Host) -> UdpSocket {
    socket_at(host, host.address())
}

/// Sends back every packet it gets, until dropped.
pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    pub(crate) fn start(host: &Host) -> Self {
        Self::start_at(host, host.address())
    }

    pub(crate) fn start_at(host: &Host, address: IpAddr) -> Self {
        let socket = socket_at(host, address);
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let address = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 65_535];
            while !stopped.load(Ordering::Relaxed) {
                match socket.recv_from(&mut buffer) {
                    Ok((len, from)) => {
                        socket.send_to(&buffer[..len], from).unwrap();
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// Round trips of so many packets of a size, one after the other; a lost one is none.
pub(crate) fn ping(
    socket: &UdpSocket,
    to: SocketAddr,
    count: usize,
    len: usize,
) -> Vec<Option<Duration>> {
    let mut answer = vec![0; 65_535];
    let mut round_trip = |number: usize| {
        let mut packet = vec![0; len];
        packet[..8].copy_from_slice(&number.to_be_bytes());
        let sent = Instant::now();
        socket.send_to(&packet, to).unwrap();
        loop {
            match socket.recv(&mut answer) {
                Ok(got) if answer[..got] == packet => return Some(sent.elapsed()),
                Ok(_late) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => panic!("{error}"),
            }
        }
    };
    (0..count).map(&mut round_trip).collect()
}

pub(crate) fn answered(round_trips: &[Option<Duration>]) -> usize {
    round_trips.iter().flatten().count()
}

/// Waits until a condition holds, and fails with its name if it never does.
pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
