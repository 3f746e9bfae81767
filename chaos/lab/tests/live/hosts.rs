//! Hosts and what they see of each other.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tandem_lab::host::{HostSpec, Lab};
use tandem_lab::wan::{LinkSettings, Party};

use crate::support::{Echo, PATIENCE, answered, lab_of, party, ping, require_root, socket};

/// Every packet takes its delay, there and back, and none is lost.
#[test]
fn packets_take_their_delay() {
    let lab = lab_of(&["a", "b"]);
    lab.router().set(&Party::All, &Party::All, &LinkSettings::delayed_us(20_000)).unwrap();
    let echo = Echo::start(lab.host("b").unwrap());
    let trips = ping(&socket(lab.host("a").unwrap()), echo.address, 50, 172);
    assert_eq!(answered(&trips), 50);
    let mut trips: Vec<Duration> = trips.into_iter().flatten().collect();
    trips.sort();
    assert!(trips[0] >= Duration::from_millis(40), "a packet was early: {:?}", trips[0]);
    println!("set 40 ms: min {:?}, median {:?}, max {:?}", trips[0], trips[25], trips[49]);
}

/// Each direction of each pair has its own delay.
#[test]
fn pairs_have_delays_of_their_own() {
    let lab = lab_of(&["a", "b", "c"]);
    let delay = |from: &str, to: &str, delay_us| {
        lab.router().set(&party(from), &party(to), &LinkSettings::delayed_us(delay_us)).unwrap();
    };
    delay("a", "b", 30_000);
    delay("b", "a", 5_000);
    delay("c", "a", 60_000);
    let from_a = socket(lab.host("a").unwrap());
    let (b, c) = (Echo::start(lab.host("b").unwrap()), Echo::start(lab.host("c").unwrap()));
    for (echo, least_ms) in [(&b, 35), (&c, 60)] {
        let trips = ping(&from_a, echo.address, 10, 100);
        assert_eq!(answered(&trips), 10);
        assert!(trips.into_iter().flatten().all(|it| it >= Duration::from_millis(least_ms)));
    }
}

/// A program runs in its host's namespace: it has the host's address, and no other network.
#[test]
fn programs_run_in_their_host() {
    let lab = lab_of(&["a", "b"]);
    let host = lab.host("b").unwrap();
    let mut command = Command::new("readlink");
    command.arg("/proc/self/ns/net").stdout(Stdio::piped());
    let output = host.spawn(command).unwrap().wait_with_output().unwrap();
    let seen = String::from_utf8(output.stdout).unwrap();
    assert_eq!(seen.trim(), format!("net:[{}]", host.namespace_inode().unwrap()));

    let mut devices = Command::new("cat");
    devices.arg("/proc/net/dev").stdout(Stdio::piped());
    let output = host.spawn(devices).unwrap().wait_with_output().unwrap();
    let seen = String::from_utf8(output.stdout).unwrap();
    let names: Vec<&str> =
        seen.lines().filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
    assert_eq!(names, ["lo", "wan0"]);
    assert_ne!(host.namespace_inode().unwrap(), lab.host("a").unwrap().namespace_inode().unwrap());
}

/// TCP connects and carries a megabyte whole through 40 ms.
#[test]
fn tcp_crosses_a_long_link() {
    let lab = lab_of(&["a", "b"]);
    lab.router().set(&Party::All, &Party::All, &LinkSettings::delayed_us(20_000)).unwrap();
    let server = lab.host("b").unwrap();
    let listener = server.run_in(|| TcpListener::bind((server.address(), 0))).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let sent: Vec<u8> = (0..1_000_000_u32).map(|it| (it % 251) as u8).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| listener.accept().unwrap().0.write_all(&sent).unwrap());
        let began = Instant::now();
        let client = lab.host("a").unwrap().run_in(|| TcpStream::connect(address)).unwrap();
        let connected = began.elapsed();
        let mut received = Vec::new();
        client.unwrap().read_to_end(&mut received).unwrap();
        assert!(connected >= Duration::from_millis(40), "{connected:?}");
        assert!(received == sent, "{} bytes", received.len());
        println!("connected in {connected:?}, 1 MB in {:?}", began.elapsed());
    });
}

/// A phone in this process is next door to its own site's node and far from the other's.
#[test]
fn phones_of_this_process_stand_at_their_sites() {
    require_root();
    let specs = vec![
        HostSpec::new("node-a", IpAddr::from([10, 77, 0, 1])).at_site("left"),
        HostSpec::new("node-b", IpAddr::from([10, 77, 0, 2])).at_site("right"),
        HostSpec::here("phones")
            .endpoint("phones-a", "left", "10.78.0.0/17".parse().unwrap())
            .endpoint("phones-b", "right", "10.78.128.0/17".parse().unwrap()),
    ];
    let lab = Lab::new(specs, 1).unwrap();
    let wan = LinkSettings::delayed_us(40_000);
    lab.router().set_pair(&party("site:left"), &party("site:right"), &wan).unwrap();
    let node_a = Echo::start(lab.host("node-a").unwrap());
    let node_b = Echo::start(lab.host("node-b").unwrap());
    let far = Duration::from_millis(80);
    for (phone, near_node, far_node) in
        [([10, 78, 3, 4], &node_a, &node_b), ([10, 78, 200, 255], &node_b, &node_a)]
    {
        // Bound without any namespace switch: these are addresses of this very process.
        let socket = UdpSocket::bind((IpAddr::from(phone), 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let near: Vec<_> = ping(&socket, near_node.address, 20, 172);
        assert_eq!(answered(&near), 20);
        assert!(
            near.iter().flatten().min() < Some(&far),
            "next door is nearer than the other site"
        );
        let away = ping(&socket, far_node.address, 5, 172);
        assert_eq!(answered(&away), 5);
        assert!(away.into_iter().flatten().all(|it| it >= far));
    }
}

/// IPv6 crosses the router as IPv4 does.
#[test]
fn ipv6_crosses() {
    require_root();
    let specs = vec![
        HostSpec::new("a", "fd00::1".parse().unwrap()),
        HostSpec::apart("b").endpoint("b", "b", "fd00:b::/64".parse().unwrap()),
    ];
    let lab = Lab::new(specs, 1).unwrap();
    lab.router().set(&Party::All, &Party::All, &LinkSettings::delayed_us(10_000)).unwrap();
    let echo = Echo::start_at(lab.host("b").unwrap(), "fd00:b::77".parse().unwrap());
    let trips = ping(&socket(lab.host("a").unwrap()), echo.address, 10, 172);
    assert_eq!(answered(&trips), 10);
    assert!(trips.into_iter().flatten().all(|it| it >= Duration::from_millis(20)));
}
