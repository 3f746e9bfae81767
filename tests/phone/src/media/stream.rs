//! One call's audio, both ways, with its RTCP.

use std::net::SocketAddr;
use std::rc::Rc;

use super::receiver::{ReceiveChange, RtpReceiver};
use super::rtcp::{
    Ending, ReportBlock, RtcpPacket, SenderInfo, is_rtcp, parse_compound, write_compound,
};
use super::sender::{PACKET_BYTES_MAX, RtpSender};
use super::stalls::Stalls;
use super::tone::KnownSound;
use super::{SendFormat, SenderTag, SentAudio, SourceCheck, StreamId, Talking};
use crate::dice::Dice;
use crate::io::Io;
use crate::report::{Gap, MediaReport, RtcpReport};
use crate::sip::RtpCodec;
use crate::time::RunTime;
use crate::ua::LegId;

/// CNAMEs kept.
const CNAMES_MAX: usize = 8;

/// Whether audio should come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listening {
    Expected,
    NotExpected,
}

/// What offer and answer agreed on, from this side's view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Negotiated {
    pub(crate) remote_rtp: SocketAddr,
    pub(crate) remote_rtcp: SocketAddr,
    pub(crate) send: SendFormat,
    /// What this side must understand.
    pub(crate) receive: Vec<(RtpCodec, u8)>,
    pub(crate) receive_event: Option<u8>,
    pub(crate) talking: Talking,
    pub(crate) listening: Listening,
}

/// How a stream begins.
pub(crate) struct StreamOptions {
    pub(crate) leg: LegId,
    pub(crate) gap_ms_min: u64,
    pub(crate) rtcp_interval_ms: u64,
    pub(crate) check: SourceCheck,
    pub(crate) cname: String,
    /// NTP time of the run's start, 32.32.
    pub(crate) ntp_start: u64,
    pub(crate) opened: RunTime,
    pub(crate) sender: RtpSender,
}

impl StreamOptions {
    /// Draws SSRC, first sequence number and first timestamp.
    pub(crate) fn sender(dice: &mut Dice, tag: SenderTag, audio: SentAudio) -> RtpSender {
        RtpSender::new(dice, tag, audio)
    }
}

/// One call's audio.
#[derive(Debug)]
pub(crate) struct Stream {
    leg: LegId,
    sender: RtpSender,
    receiver: RtpReceiver,
    remote: Option<(SocketAddr, SocketAddr)>,
    cname: String,
    ntp_start: u64,
    rtcp_interval_ms: u64,
    rtcp_due: RunTime,
    /// Middle NTP of the last SR received and its arrival.
    last_sr: Option<(u32, RunTime)>,
    rtcp: RtcpReport,
    send_failures: u64,
    stalls_before_us: u64,
}

impl Stream {
    pub(crate) fn new(
        options: StreamOptions,
        known_sounds: Rc<[KnownSound]>,
        stalls_before_us: u64,
    ) -> Self {
        Self {
            leg: options.leg,
            sender: options.sender,
            receiver: RtpReceiver::new(options.gap_ms_min, options.check, known_sounds),
            remote: None,
            cname: options.cname,
            ntp_start: options.ntp_start,
            rtcp_interval_ms: options.rtcp_interval_ms,
            rtcp_due: options.opened.plus_ms(options.rtcp_interval_ms),
            last_sr: None,
            rtcp: RtcpReport::default(),
            send_failures: 0,
            stalls_before_us,
        }
    }

    pub(crate) const fn leg(&self) -> LegId {
        self.leg
    }

    pub(crate) fn set_audio(&mut self, audio: SentAudio) {
        self.sender.set_audio(audio);
    }

    pub(crate) fn queue_digits(&mut self, digits: &str) -> bool {
        self.sender.queue_digits(digits)
    }

    pub(crate) fn record(&mut self, now: RunTime) {
        self.receiver.record(now);
    }

    pub(crate) fn take_wav(&mut self) -> Option<Vec<u8>> {
        self.receiver.take_wav()
    }

    pub(crate) fn skip_packets(&mut self, packets: u64) {
        self.sender.skip_packets(packets);
    }

    /// What this side offered must be understood before the answer comes (RFC 3264 5.1).
    pub(crate) fn set_receive_formats(&mut self, codecs: &[(RtpCodec, u8)], event: Option<u8>) {
        self.receiver.set_formats(codecs, event);
    }

    /// Takes a negotiation over; returns the pause that it ended, if media is no longer expected.
    pub(crate) fn apply(
        &mut self,
        now: RunTime,
        negotiated: &Negotiated,
        stalls: &Stalls,
    ) -> Option<Gap> {
        self.remote = Some((negotiated.remote_rtp, negotiated.remote_rtcp));
        if is_reachable(negotiated.remote_rtp) {
            self.receiver.set_signalled(now, negotiated.remote_rtp);
        }
        self.receiver.set_formats(&negotiated.receive, negotiated.receive_event);
        self.sender.set(negotiated.send, negotiated.talking);
        match negotiated.listening {
            Listening::Expected => {
                self.receiver.hearing().expect_from(now);
                None
            }
            Listening::NotExpected => self.receiver.hearing().expect_nothing(now, stalls),
        }
    }

    /// Forgets the other side's address: nothing is sent there, and nothing expected.
    pub(crate) fn detach(&mut self, now: RunTime, stalls: &Stalls) -> Option<Gap> {
        self.remote = None;
        self.receiver.forget_signalled();
        self.receiver.hearing().expect_nothing(now, stalls)
    }

    pub(crate) fn take_rtp(
        &mut self,
        now: RunTime,
        source: SocketAddr,
        bytes: &[u8],
        stalls: &Stalls,
    ) -> Vec<ReceiveChange> {
        if is_rtcp(bytes) {
            self.take_rtcp(now, bytes);
            return Vec::new();
        }
        self.receiver.take(now, source, bytes, stalls)
    }

    pub(crate) fn take_rtcp(&mut self, now: RunTime, bytes: &[u8]) {
        let Some(packets) = parse_compound(bytes) else {
            self.rtcp.malformed += 1;
            return;
        };
        for packet in packets {
            match packet {
                RtcpPacket::SenderReport { info, blocks, .. } => {
                    self.rtcp.sender_reports += 1;
                    self.last_sr = Some((info.middle_ntp(), now));
                    self.note_blocks(now, &blocks);
                }
                RtcpPacket::ReceiverReport { blocks, .. } => {
                    self.rtcp.receiver_reports += 1;
                    self.note_blocks(now, &blocks);
                }
                RtcpPacket::Description { cnames } => {
                    for cname in cnames {
                        if !self.rtcp.cnames.contains(&cname) && self.rtcp.cnames.len() < CNAMES_MAX
                        {
                            self.rtcp.cnames.push(cname);
                        }
                    }
                }
                RtcpPacket::Bye { .. } => self.rtcp.byes += 1,
                RtcpPacket::Other => {}
            }
        }
    }

    fn note_blocks(&mut self, now: RunTime, blocks: &[ReportBlock]) {
        let Some(block) = blocks.iter().find(|block| block.ssrc == self.sender.ssrc()) else {
            return;
        };
        self.rtcp.peer_reports_lost = Some(block.lost);
        if block.last_sr != 0 {
            // RFC 3550 6.4.1: arrival - LSR - DLSR, in 1/65536 s.
            let arrival = (self.ntp(now) >> 16) as u32;
            let trip = arrival.wrapping_sub(block.last_sr).wrapping_sub(block.delay_since_last_sr);
            self.rtcp.round_trip_us = Some((u64::from(trip) * 1_000_000) >> 16);
        }
    }

    /// NTP time, 32.32 fixed point.
    fn ntp(&self, now: RunTime) -> u64 {
        let us = u128::from(now.as_us());
        self.ntp_start.wrapping_add(((us << 32) / 1_000_000) as u64)
    }

    /// 20 ms went by: sends a packet, and RTCP when it is due.
    pub(crate) fn tick(&mut self, now: RunTime, id: StreamId, io: &mut dyn Io) {
        let mut buffer = [0; PACKET_BYTES_MAX];
        let packet = self.sender.next_packet(&mut buffer);
        let Some((rtp, rtcp)) = self.remote else { return };
        if let Some(bytes) = packet
            && is_reachable(rtp)
        {
            self.send_failures += u64::from(io.send_rtp(id, rtp, bytes).is_err());
        }
        if now >= self.rtcp_due {
            self.rtcp_due = now.plus_ms(self.rtcp_interval_ms);
            self.send_rtcp(now, id, rtcp, Ending::GoesOn, io);
        }
    }

    fn send_rtcp(
        &mut self,
        now: RunTime,
        id: StreamId,
        to: SocketAddr,
        ending: Ending,
        io: &mut dyn Io,
    ) {
        if !is_reachable(to) {
            return;
        }
        let info = (self.sender.sent_packets() > 0).then(|| SenderInfo {
            ntp: self.ntp(now),
            rtp_timestamp: self.sender.timestamp(),
            packets: self.sender.sent_packets(),
            octets: self.sender.sent_octets(),
        });
        let block = self.report_block(now);
        let blocks: Vec<ReportBlock> = block.into_iter().collect();
        let bytes = write_compound(self.sender.ssrc(), info, &blocks, &self.cname, ending);
        // With rtcp-mux both go by the RTP socket (RFC 5761).
        let is_shared = self.remote.is_some_and(|(rtp, rtcp)| rtp == rtcp);
        let sent = match is_shared {
            true => io.send_rtp(id, to, &bytes),
            false => io.send_rtcp(id, to, &bytes),
        };
        self.rtcp.sent += u64::from(sent.is_ok());
    }

    fn report_block(&mut self, now: RunTime) -> Option<ReportBlock> {
        let (last_sr, since) =
            self.last_sr.map_or((0, 0), |(middle, at)| (middle, now.us_since(at)));
        let tracker = self.receiver.current()?;
        let (fraction_lost, lost, highest_sequence, jitter) = tracker.reception();
        Some(ReportBlock {
            ssrc: tracker.ssrc(),
            fraction_lost,
            lost,
            highest_sequence,
            jitter,
            last_sr,
            delay_since_last_sr: ((since << 16) / 1_000_000) as u32,
        })
    }

    /// The call is over: says BYE by RTCP and closes the last pause.
    pub(crate) fn finish(
        &mut self,
        now: RunTime,
        id: StreamId,
        io: &mut dyn Io,
        stalls: &Stalls,
    ) -> Option<Gap> {
        if let Some((_, rtcp)) = self.remote {
            self.send_rtcp(now, id, rtcp, Ending::Bye, io);
        }
        self.receiver.hearing().expect_nothing(now, stalls)
    }

    pub(crate) fn report(&self, now: RunTime, stalls: &Stalls) -> MediaReport {
        let mut report = MediaReport {
            sent_packets: self.sender.sent_packets().into(),
            send_failures: self.send_failures,
            rtcp: self.rtcp.clone(),
            own_stall_us: stalls.total_us() - self.stalls_before_us,
            ..MediaReport::default()
        };
        self.receiver.report(now, stalls, &mut report);
        report
    }
}

/// `c=0.0.0.0` is the old way to put on hold (RFC 3264 8.4): nothing can be sent there.
fn is_reachable(address: SocketAddr) -> bool {
    !address.ip().is_unspecified() && address.port() != 0
}
