//! From whom packets are taken and to whom they go (invariant M2).
//!
//! The rule: only the signalled address, or, where the session may learn, the first source that
//! fits (the allowed address, the expected payload type). It is learned again only after the
//! signalled address changed. Off-path senders can then neither be heard nor pull the audio to
//! themselves ("RTP bleed").
//!
//! What does not live here: SRTP, and how many packets a source may send ([`crate::rate`]).

use std::net::{IpAddr, SocketAddr};

/// Where a phone or trunk says that it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Remote {
    /// Address for RTP.
    pub rtp: SocketAddr,
    /// Address for RTCP; the same as `rtp` where both share a port (RFC 5761).
    pub rtcp: SocketAddr,
}

/// Whether an address may be learned from packets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Learning {
    /// Never: trunks with fixed addresses.
    Never,
    /// Once, from the first packet that fits: phones behind NAT.
    Once {
        /// The only address that may be learned (the source of the registration); `None`: any.
        allowed: Option<IpAddr>,
    },
}

/// Whether the payload type is one that was negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadFit {
    /// It is.
    Expected,
    /// It is not.
    Unexpected,
}

/// Answer of the latch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceVerdict {
    /// Take the packet.
    Accepted,
    /// Drop it: not from whom we talk to.
    Refused,
}

/// The source check of one session.
#[derive(Clone)]
pub struct SourceLatch {
    remote: Remote,
    learning: Learning,
    learned_rtp: Option<SocketAddr>,
    learned_rtcp: Option<SocketAddr>,
}

impl SourceLatch {
    /// A latch that has learned nothing.
    pub const fn new(remote: Remote, learning: Learning) -> Self {
        Self { remote, learning, learned_rtp: None, learned_rtcp: None }
    }

    /// Applies a new description. What was learned is kept unless the signalled address changed,
    /// or the description now forbids it.
    pub fn update(&mut self, remote: Remote, learning: Learning) {
        let learned_fits = match (learning, self.learned_rtp) {
            (_, None) => true,
            (Learning::Never, Some(learned)) => learned == remote.rtp,
            (Learning::Once { allowed }, Some(learned)) => {
                learned == remote.rtp || allowed.is_none_or(|ip| ip == learned.ip())
            }
        };
        if remote != self.remote || !learned_fits {
            self.learned_rtp = None;
            self.learned_rtcp = None;
        }
        self.remote = remote;
        self.learning = learning;
    }

    /// Judges an RTP packet and learns its source when it may.
    pub fn judge_rtp(&mut self, from: SocketAddr, payload: PayloadFit) -> SourceVerdict {
        let fits = match (self.learning, self.learned_rtp) {
            (Learning::Never, _) => from == self.remote.rtp,
            (Learning::Once { .. }, Some(learned)) => from == learned,
            (Learning::Once { allowed }, None) => {
                from == self.remote.rtp || allowed.is_none_or(|ip| ip == from.ip())
            }
        };
        if !fits {
            return SourceVerdict::Refused;
        }
        let may_learn = matches!(self.learning, Learning::Once { .. });
        if may_learn && self.learned_rtp.is_none() && payload == PayloadFit::Expected {
            self.learned_rtp = Some(from);
        }
        SourceVerdict::Accepted
    }

    /// Judges an RTCP packet. Its port is learned only after RTP's address was, and only there.
    pub fn judge_rtcp(&mut self, from: SocketAddr) -> SourceVerdict {
        if self.is_mux() {
            let fits = from == self.rtp_target();
            return if fits { SourceVerdict::Accepted } else { SourceVerdict::Refused };
        }
        let fits = match (self.learned_rtp, self.learned_rtcp) {
            (Some(_), Some(learned)) => from == learned,
            (Some(rtp), None) => from.ip() == rtp.ip(),
            (None, _) => from == self.remote.rtcp,
        };
        if !fits {
            return SourceVerdict::Refused;
        }
        if self.learned_rtp.is_some() {
            self.learned_rtcp = Some(from);
        }
        SourceVerdict::Accepted
    }

    /// Where RTP goes: the learned source, else the signalled address.
    pub fn rtp_target(&self) -> SocketAddr {
        self.learned_rtp.unwrap_or(self.remote.rtp)
    }

    /// Where RTCP goes. `None` while RTP was learned elsewhere than signalled and no RTCP came from
    /// there: the signalled RTCP address is then a private one behind a NAT.
    pub fn rtcp_target(&self) -> Option<SocketAddr> {
        if self.is_mux() {
            return Some(self.rtp_target());
        }
        let moved = self.learned_rtp.is_some_and(|rtp| rtp.ip() != self.remote.rtp.ip());
        self.learned_rtcp.or(if moved { None } else { Some(self.remote.rtcp) })
    }

    fn is_mux(&self) -> bool {
        self.remote.rtp == self.remote.rtcp
    }
}

#[cfg(test)]
mod tests {
    use super::{PayloadFit::*, SourceVerdict::*, *};

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("test address")
    }

    const PHONE: &str = "192.0.2.1:4000";
    const NAT: &str = "198.51.100.7:61000";
    const NAT_OTHER_PORT: &str = "198.51.100.7:61002";
    const STRANGER: &str = "203.0.113.9:4000";

    fn remote(rtp: &str, rtcp: &str) -> Remote {
        Remote { rtp: address(rtp), rtcp: address(rtcp) }
    }

    /// From where, with which payload type; the verdict, and where audio goes then.
    type Step = (&'static str, PayloadFit, SourceVerdict, &'static str);

    // Goal: M2 as a table: for each policy, who is heard and where audio goes after each packet.
    #[test]
    fn invariant_m2_table() {
        let nat_ip = Some(address(NAT).ip());
        let once = |allowed| Learning::Once { allowed };
        let steps: [(&str, Learning, &[Step]); 6] = [
            (
                "fixed address",
                Learning::Never,
                &[
                    (STRANGER, Expected, Refused, PHONE),
                    ("192.0.2.1:4002", Expected, Refused, PHONE),
                    (PHONE, Expected, Accepted, PHONE),
                    (STRANGER, Expected, Refused, PHONE),
                ],
            ),
            (
                "allowed address: only it is learned",
                once(nat_ip),
                &[
                    (STRANGER, Expected, Refused, PHONE),
                    (NAT, Expected, Accepted, NAT),
                    (STRANGER, Expected, Refused, NAT),
                    (NAT_OTHER_PORT, Expected, Refused, NAT),
                    (PHONE, Expected, Refused, NAT),
                    (NAT, Expected, Accepted, NAT),
                ],
            ),
            (
                "allowed address, unexpected payload type: heard (and dropped later), not learned",
                once(nat_ip),
                &[
                    (NAT, Unexpected, Accepted, PHONE),
                    (NAT_OTHER_PORT, Expected, Accepted, NAT_OTHER_PORT),
                    (NAT, Expected, Refused, NAT_OTHER_PORT),
                ],
            ),
            (
                "any address: the first fitting source wins for good",
                once(None),
                &[
                    (STRANGER, Unexpected, Accepted, PHONE),
                    (NAT, Expected, Accepted, NAT),
                    (STRANGER, Expected, Refused, NAT),
                    (PHONE, Expected, Refused, NAT),
                ],
            ),
            (
                "the signalled address is learned as well",
                once(nat_ip),
                &[(PHONE, Expected, Accepted, PHONE), (NAT, Expected, Refused, PHONE)],
            ),
            ("nobody yet", once(nat_ip), &[]),
        ];
        for (name, learning, packets) in steps {
            let mut latch = SourceLatch::new(remote(PHONE, "192.0.2.1:4001"), learning);
            assert_eq!(latch.rtp_target(), address(PHONE), "{name}");
            for (i, &(from, payload, verdict, target)) in packets.iter().enumerate() {
                assert_eq!(latch.judge_rtp(address(from), payload), verdict, "{name}, packet {i}");
                assert_eq!(latch.rtp_target(), address(target), "{name}, packet {i}");
            }
        }
    }

    // Goal: a new description keeps what was learned, except after a new signalled address or a
    // policy that forbids it.
    #[test]
    fn relearning_table() {
        let same = remote(PHONE, "192.0.2.1:4001");
        let moved = remote("192.0.2.1:4010", "192.0.2.1:4011");
        let any = Learning::Once { allowed: None };
        let nat = Learning::Once { allowed: Some(address(NAT).ip()) };
        let other = Learning::Once { allowed: Some(address(STRANGER).ip()) };
        let table = [
            (same, any, NAT),
            (same, nat, NAT),
            (same, other, PHONE),
            (same, Learning::Never, PHONE),
            (moved, any, "192.0.2.1:4010"),
        ];
        for (remote, learning, target) in table {
            let mut latch = SourceLatch::new(same, any);
            assert_eq!(latch.judge_rtp(address(NAT), Expected), Accepted);
            latch.update(remote, learning);
            assert_eq!(latch.rtp_target(), address(target));
        }
    }

    // Goal: RTCP follows RTP: signalled until RTP is learned, then that address, one port.
    #[test]
    fn rtcp_follows_rtp() {
        let mut latch =
            SourceLatch::new(remote(PHONE, "192.0.2.1:4001"), Learning::Once { allowed: None });
        assert_eq!(latch.rtcp_target(), Some(address("192.0.2.1:4001")));
        assert_eq!(latch.judge_rtcp(address(STRANGER)), Refused);
        assert_eq!(latch.judge_rtcp(address("192.0.2.1:4001")), Accepted);
        assert_eq!(latch.judge_rtp(address(NAT), Expected), Accepted);
        assert_eq!(latch.rtcp_target(), None);
        assert_eq!(latch.judge_rtcp(address(STRANGER)), Refused);
        assert_eq!(latch.judge_rtcp(address(NAT_OTHER_PORT)), Accepted);
        assert_eq!(latch.judge_rtcp(address("198.51.100.7:61004")), Refused);
        assert_eq!(latch.rtcp_target(), Some(address(NAT_OTHER_PORT)));
    }

    // Goal: on a shared port RTCP is heard from exactly where RTP goes.
    #[test]
    fn rtcp_on_the_same_port() {
        let mut latch = SourceLatch::new(remote(PHONE, PHONE), Learning::Once { allowed: None });
        assert_eq!(latch.judge_rtcp(address(PHONE)), Accepted);
        assert_eq!(latch.judge_rtp(address(NAT), Expected), Accepted);
        assert_eq!(latch.judge_rtcp(address(PHONE)), Refused);
        assert_eq!(latch.judge_rtcp(address(NAT)), Accepted);
        assert_eq!(latch.rtcp_target(), Some(address(NAT)));
    }
}
