//! A UDP proxy that loses, delays and cuts, by a seed.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Stands before one relay's link port. Whoever sends to it first is the client.
pub(crate) struct LossyProxy {
    pub(crate) address: SocketAddr,
    pub(crate) cut: Arc<AtomicBool>,
    pub(crate) passed: Arc<AtomicU64>,
    pub(crate) lost: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

#[derive(Clone, Copy)]
pub(crate) struct Faults {
    /// Lost packets in 1/1000.
    pub(crate) loss_permille: u64,
    /// One way.
    pub(crate) delay: Duration,
    pub(crate) seed: u64,
}

impl LossyProxy {
    pub(crate) fn start(server: SocketAddr, faults: Faults) -> Self {
        let front = bind(super::relays::own_address().to_string() + ":0");
        let back = bind("127.0.0.1:0".to_owned());
        let proxy = Self {
            address: front.local_addr().expect("bound"),
            cut: Arc::default(),
            passed: Arc::default(),
            lost: Arc::default(),
            stop: Arc::default(),
        };
        let client = Arc::new(Mutex::new(None));
        let (known, learned) = (Arc::clone(&client), client);
        let front_out = front.try_clone().expect("cloned");
        let back_out = back.try_clone().expect("cloned");
        proxy.pump(front, faults, move |bytes, from| {
            *known.lock().expect("unpoisoned") = Some(from);
            back_out.send_to(bytes, server).expect("sent");
        });
        let back_faults = Faults { seed: faults.seed ^ 0xffff, ..faults };
        proxy.pump(back, back_faults, move |bytes, _| {
            if let Some(client) = *learned.lock().expect("unpoisoned") {
                front_out.send_to(bytes, client).expect("sent");
            }
        });
        proxy
    }

    fn pump(
        &self,
        socket: UdpSocket,
        faults: Faults,
        forward: impl Fn(&[u8], SocketAddr) + Send + 'static,
    ) {
        let (cut, stop) = (Arc::clone(&self.cut), Arc::clone(&self.stop));
        let (passed, lost) = (Arc::clone(&self.passed), Arc::clone(&self.lost));
        thread::spawn(move || {
            let mut state = faults.seed;
            let mut held = std::collections::VecDeque::<(Instant, Vec<u8>, SocketAddr)>::new();
            let mut buffer = [0; 65_536];
            while !stop.load(Ordering::Acquire) {
                while let Some((due, bytes, from)) = held.pop_front() {
                    if due > Instant::now() {
                        held.push_front((due, bytes, from));
                        break;
                    }
                    forward(&bytes, from);
                }
                let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                if cut.load(Ordering::Acquire) || (state >> 33) % 1_000 < faults.loss_permille {
                    lost.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                passed.fetch_add(1, Ordering::Relaxed);
                held.push_back((Instant::now() + faults.delay, buffer[..len].to_vec(), from));
            }
        });
    }
}

impl Drop for LossyProxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn bind(address: String) -> UdpSocket {
    let socket = UdpSocket::bind(address).expect("a port");
    socket.set_read_timeout(Some(Duration::from_millis(1))).expect("set");
    let buffered = socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20);
    buffered.expect("a buffer");
    socket
}
