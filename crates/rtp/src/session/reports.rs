//! RTCP of one session: what the phone reports, and what is reported to it.

use std::net::SocketAddr;

use super::{Channel, DropReason, MediaSession, Output, RtcpMode, Sink};
use crate::{
    ids::Ssrc,
    latch::SourceVerdict,
    limits::{RTCP_INTERVAL_US, RTCP_PACKET_MAX},
    rate::Admission,
    rtcp::{Compound, CompoundBuilder, NtpTime, ReportBlock, RtcpPacket, SenderInfo},
    stats::{HeardReport, round_trip_us},
    stream::{OutgoingStream, SentCounts, mix},
    time::MonotonicTime,
};

/// The RTCP side of a session.
pub(super) struct Reports {
    cname: String,
    next_at: MonotonicTime,
    count: u64,
    seed: u64,
    /// What had been sent, and under which SSRC, at the last report.
    reported: (Ssrc, SentCounts),
    heard: Option<HeardReport>,
    round_trip_us: u32,
}

impl Reports {
    pub(super) fn new(now: MonotonicTime, ssrc: Ssrc, cname: String) -> Self {
        let mut reports = Self {
            cname,
            next_at: now,
            count: 0,
            seed: u64::from(ssrc.0),
            reported: (ssrc, SentCounts::default()),
            heard: None,
            round_trip_us: 0,
        };
        // The first report comes after half the usual time (RFC 3550 section 6.2).
        reports.next_at = now.plus_micros(reports.interval_us() / 2);
        reports
    }

    pub(super) fn set_cname(&mut self, cname: String) {
        self.cname = cname;
    }

    pub(super) fn round_trip_us(&self) -> u32 {
        self.round_trip_us
    }

    /// Between half and one and a half times the mean, so that reports of many sessions do not
    /// come together (RFC 3550 section 6.3.1). Derived from the SSRC, which is random.
    fn interval_us(&self) -> u64 {
        let spread = mix(self.seed.wrapping_add(self.count << 32)) % RTCP_INTERVAL_US;
        RTCP_INTERVAL_US / 2 + spread
    }
}

impl MediaSession {
    pub(super) fn handle_rtcp(
        &mut self,
        now: MonotonicTime,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Result<(), DropReason> {
        let packets = Compound::parse(bytes).map_err(|_| DropReason::Malformed)?;
        let latch = self.latch.as_mut().ok_or(DropReason::Direction)?;
        if latch.judge_rtcp(from) == SourceVerdict::Refused {
            return Err(DropReason::Source);
        }
        if self.rtcp_rate.admit(now) == Admission::Refused {
            return Err(DropReason::Rate);
        }
        // A phone that is asked to be silent still reports: it is there.
        self.alive_at = self.alive_at.max(now);
        for packet in packets {
            match packet {
                RtcpPacket::SenderReport { source, info, mut blocks } => {
                    self.reports.heard = Some(HeardReport { source, ntp: info.ntp, at: now });
                    self.note_blocks(now, &mut blocks);
                }
                RtcpPacket::ReceiverReport { mut blocks, .. } => self.note_blocks(now, &mut blocks),
                // A goodbye ends nothing: SIP decides about the call, and RTCP can be forged.
                RtcpPacket::CanonicalName { .. }
                | RtcpPacket::Goodbye { .. }
                | RtcpPacket::Other { .. } => {}
            }
        }
        Ok(())
    }

    pub(super) fn report_when_due(&mut self, now: MonotonicTime, sink: &mut impl Sink) {
        if now < self.reports.next_at {
            return;
        }
        self.reports.count += 1;
        self.reports.next_at = now.plus_micros(self.reports.interval_us());
        self.send_report(now, Farewell::No, sink);
    }

    pub(super) fn say_goodbye(&mut self, now: MonotonicTime, sink: &mut impl Sink) {
        self.send_report(now, Farewell::Yes, sink);
    }

    fn note_blocks(&mut self, now: MonotonicTime, blocks: &mut impl Iterator<Item = ReportBlock>) {
        let own = self.stream.ssrc();
        let clock = NtpTime::from_micros(self.stream.elapsed_us(now));
        let measured = blocks.find(|block| block.source == own);
        if let Some(round_trip) = measured.and_then(|block| round_trip_us(clock, &block)) {
            self.reports.round_trip_us = round_trip.max(1);
        }
    }

    fn send_report(&mut self, now: MonotonicTime, farewell: Farewell, sink: &mut impl Sink) {
        let Some(to) = self.latch.as_ref().and_then(|latch| latch.rtcp_target()) else { return };
        let info = sender_info(now, &self.stream, self.reports.reported);
        self.reports.reported = (self.stream.ssrc(), self.stream.counts());
        let block = self.receive.take_report(self.reports.heard.as_ref(), now);
        let mut buffer = [0; RTCP_PACKET_MAX];
        let mut builder = CompoundBuilder::new(&mut buffer, self.stream.ssrc());
        builder.report(info.as_ref(), block.as_ref());
        builder.cname(&self.reports.cname);
        if farewell == Farewell::Yes {
            builder.goodbye();
        }
        let len = builder.finish();
        if let Some(packet) = len.and_then(|len| buffer.get(..len)) {
            let channel = match self.rtcp_mode {
                RtcpMode::Separate => Channel::Rtcp,
                RtcpMode::Mux => Channel::Rtp,
            };
            sink.put(Output::Transmit { channel, to, packet });
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Farewell {
    No,
    Yes,
}

/// The sender's part of a report, when something was sent since the last one.
fn sender_info(
    now: MonotonicTime,
    stream: &OutgoingStream,
    reported: (Ssrc, SentCounts),
) -> Option<SenderInfo> {
    let counts = stream.counts();
    if reported == (stream.ssrc(), counts) || counts.packets == 0 {
        return None;
    }
    Some(SenderInfo {
        ntp: NtpTime::from_micros(stream.elapsed_us(now)),
        rtp: stream.timestamp(now),
        packets: counts.packets as u32,
        octets: counts.octets as u32,
    })
}
