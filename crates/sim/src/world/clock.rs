//! A node's monotonic clock: it drifts against true time and can jump ahead or stand still, but never
//! goes back.

/// How fast a clock may run away from true time, in parts per million: with it a lease ends at its
/// holder before the leader gives it up ([`super::LEASE`], [`super::LEASE_MARGIN`]).
pub const DRIFT_PPM_MAX: i64 = 20_000;

const _: () = assert!(
    super::LEASE * (1_000_000 + DRIFT_PPM_MAX as u64) / (1_000_000 - DRIFT_PPM_MAX as u64)
        < super::LEASE + super::LEASE_MARGIN,
    "the margin covers two clocks that run apart"
);

/// A clock, as a function of true time in ms.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    ppm: i64,
    /// What it showed when its rate was last changed, and when that was.
    base: (u64, u64),
}

impl Clock {
    /// What it shows at this true time.
    #[must_use]
    pub fn local(&self, now: u64) -> u64 {
        let (shown, since) = self.base;
        shown + scale(now.saturating_sub(since), 1_000_000 + self.ppm, 1_000_000)
    }

    /// The first true time at which it shows at least this.
    #[must_use]
    pub fn when(&self, local: u64) -> u64 {
        let (shown, since) = self.base;
        let ahead = scale(local.saturating_sub(shown), 1_000_000, 1_000_000 + self.ppm);
        let mut at = since + ahead;
        while self.local(at) < local {
            at += 1;
        }
        at
    }

    /// From now on it runs so much faster than true time; within [`DRIFT_PPM_MAX`].
    pub fn drift(&mut self, now: u64, ppm: i64) {
        self.base = (self.local(now), now);
        self.ppm = ppm.clamp(-DRIFT_PPM_MAX, DRIFT_PPM_MAX);
    }

    /// It jumps ahead by so many ms.
    pub fn jump(&mut self, now: u64, ms: u64) {
        self.base = (self.local(now) + ms, now);
    }

    /// It stood still since this true time: its machine slept.
    pub fn slept(&mut self, now: u64, since: u64) {
        self.base = (self.local(since), now);
    }
}

fn scale(ms: u64, by: i64, of: i64) -> u64 {
    let scaled = i128::from(ms) * i128::from(by) / i128::from(of);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a clock never goes back, whatever happens to it, and `when` is the first moment.
    #[test]
    fn never_back() {
        let mut clock = Clock::default();
        let mut last = 0;
        for now in (0..200_000_u64).step_by(37) {
            match now % 1_000 {
                0..100 => clock.drift(now, 20_000),
                100..200 => clock.drift(now, -20_000),
                200..220 => clock.jump(now, 500),
                220..240 => clock.slept(now, now.saturating_sub(20)),
                _ => {}
            }
            let shown = clock.local(now);
            assert!(shown + 20 >= last, "{now}: {shown} after {last}");
            last = last.max(shown);
            let at = clock.when(shown + 1_000);
            assert!(clock.local(at) >= shown + 1_000);
            assert!(at == 0 || clock.local(at - 1) < shown + 1_000);
        }
    }
}
