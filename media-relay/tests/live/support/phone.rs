//! A phone: a socket that sends audio on a grid of 20 ms and hears what comes.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tandem_rtp::{
    continuity::{ContinuityBroken, ContinuityJudge, TimeCheck},
    g711::Codec,
    ids::{PayloadType, Ssrc},
    packet::{RtpHeader, RtpPacket, is_rtcp, write},
    time::RtpTime,
};

pub(crate) struct Phone {
    socket: Arc<UdpSocket>,
    stop: Arc<AtomicBool>,
    listener: Option<thread::JoinHandle<Vec<Vec<u8>>>>,
}

/// What a phone heard, in the order of arrival.
pub(crate) struct Recording {
    pub(crate) packets: Vec<Vec<u8>>,
}

impl Phone {
    pub(crate) fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let buffered = socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20);
        buffered.expect("a buffer");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("set");
        let (socket, stop) = (Arc::new(socket), Arc::new(AtomicBool::new(false)));
        let (hearing, stopping) = (Arc::clone(&socket), Arc::clone(&stop));
        let listener = thread::spawn(move || {
            let mut heard = Vec::new();
            let mut buffer = [0; 2_048];
            while !stopping.load(Ordering::Acquire) {
                // An error is the timeout: time to look whether to stop.
                if let Ok((len, _)) = hearing.recv_from(&mut buffer) {
                    heard.push(buffer[..len].to_vec());
                }
            }
            heard
        });
        Self { socket, stop, listener: Some(listener) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("bound")
    }

    /// Hangs up, after everything on the way has come.
    pub(crate) fn hang_up(mut self) -> Recording {
        thread::sleep(Duration::from_millis(100));
        self.stop.store(true, Ordering::Release);
        let packets = self.listener.take().expect("listening").join().expect("no panic");
        Recording { packets }
    }

    pub(crate) fn send(&self, to: SocketAddr, packet: &[u8]) {
        self.socket.send_to(packet, to).expect("sent");
    }

    /// Speaks `count` packets, one each 20 ms, from number `first` on; each payload says its
    /// number.
    pub(crate) fn speak(&self, to: SocketAddr, ssrc: u32, first: u32, count: u32) {
        let begin = Instant::now();
        for i in 0..count {
            self.send(to, &audio(ssrc, first + i));
            let due = begin + Duration::from_millis(20) * (i + 1);
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
}

/// Packet `number` of a phone's audio. The payload holds the number, in bytes that survive G.711
/// (the same law on both sides).
pub(crate) fn audio(ssrc: u32, number: u32) -> Vec<u8> {
    let mut payload = [0x20; 160];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    rtp(0, ssrc, number as u16, number.wrapping_mul(160), &payload)
}

pub(crate) fn rtp(
    payload_type: u8,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    payload: &[u8],
) -> Vec<u8> {
    let header = RtpHeader {
        marker: false,
        payload_type,
        sequence,
        timestamp: RtpTime::new(timestamp),
        ssrc: Ssrc(ssrc),
    };
    let mut buffer = [0; 1_500];
    let len = write(&header, None, payload, &mut buffer).expect("fits");
    buffer[..len].to_vec()
}

impl Recording {
    /// Checks invariant M1 over everything heard.
    pub(crate) fn judge(&self, time: TimeCheck) -> Result<usize, ContinuityBroken> {
        let mut judge = ContinuityJudge::new(PayloadType::PCMU, time);
        self.rtp().try_for_each(|packet| judge.hear(packet))?;
        Ok(judge.sources().count())
    }

    pub(crate) fn rtp(&self) -> impl Iterator<Item = &[u8]> {
        self.packets.iter().map(Vec::as_slice).filter(|packet| !is_rtcp(packet))
    }

    pub(crate) fn rtcp(&self) -> impl Iterator<Item = &[u8]> {
        self.packets.iter().map(Vec::as_slice).filter(|packet| is_rtcp(packet))
    }

    /// Numbers of the audio packets of a speaking phone, in the order heard; music and silence are
    /// left out.
    pub(crate) fn numbers(&self) -> Vec<u32> {
        let payloads = self.rtp().map(|packet| RtpPacket::parse(packet).expect("RTP").payload);
        payloads
            .filter(|payload| payload.len() == 160 && payload[4..].iter().all(|byte| *byte == 0x20))
            .map(|payload| u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]]))
            .collect()
    }

    /// Samples by their place in the stream's time, from the first packet on.
    pub(crate) fn samples(&self) -> Vec<i16> {
        let mut samples = Vec::new();
        let mut first = None;
        for packet in self.rtp() {
            let packet = RtpPacket::parse(packet).expect("RTP");
            let first = *first.get_or_insert(packet.header.timestamp);
            let start = packet.header.timestamp.samples_since(first).max(0) as usize;
            samples.resize(samples.len().max(start + packet.payload.len()), 0);
            for (sample, byte) in samples[start..].iter_mut().zip(packet.payload) {
                *sample = Codec::Pcmu.decode(*byte);
            }
        }
        samples
    }
}

/// Power of one frequency (Goertzel), per sample.
pub(crate) fn power(samples: &[i16], hertz: f64) -> f64 {
    let omega = std::f64::consts::TAU * hertz / 8_000.0;
    let (mut s1, mut s2) = (0.0, 0.0);
    for &sample in samples {
        let s0 = f64::from(sample) + 2.0 * omega.cos() * s1 - s2;
        (s2, s1) = (s1, s0);
    }
    let n = samples.len().max(1) as f64;
    (s1 * s1 + s2 * s2 - 2.0 * omega.cos() * s1 * s2) / (n * n)
}
