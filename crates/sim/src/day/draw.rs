//! Draws from distributions that are the same on every machine.
//!
//! The standard library's `ln` and `exp` are those of the platform and may differ in the last bit. These
//! here are made of IEEE additions, multiplications and divisions in a fixed order, and of the bits of a
//! number, which are the same everywhere; they agree with the true value to about 15 digits.

use tandem_routing::time::Millis;
use tandem_sip::prng::Prng;

/// How durations are distributed around their mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Without memory.
    Exponential,
    /// The logarithm is normal, with a standard deviation of 1: as conversations are.
    Lognormal,
}

/// A source of draws.
#[derive(Debug)]
pub struct Draws(Prng);

impl Draws {
    /// All that follows from this generator.
    #[must_use]
    pub fn new(prng: Prng) -> Self {
        Self(prng)
    }

    /// Above 0 and below 1, evenly.
    pub fn unit(&mut self) -> f64 {
        let bits = self.0.next_u64() >> 11;
        (bits as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// True for so many of a hundred.
    pub fn percent(&mut self, percent: u32) -> bool {
        self.0.below(100) < percent
    }

    /// From `low` to `high`, both included, evenly.
    pub fn between(&mut self, low: Millis, high: Millis) -> Millis {
        let span = u32::try_from(high.0.saturating_sub(low.0)).unwrap_or(u32::MAX - 1);
        Millis(low.0 + u64::from(self.0.below(span + 1)))
    }

    /// A duration of this shape.
    pub fn duration(&mut self, shape: Shape, mean: Millis) -> Millis {
        let factor = match shape {
            Shape::Exponential => self.exponential(),
            // The mean of exp(N(m, 1)) is exp(m + 1/2).
            Shape::Lognormal => exp(self.normal() - 0.5),
        };
        Millis((factor * mean.0 as f64 + 0.5) as u64)
    }

    /// Exponential with mean 1.
    pub fn exponential(&mut self) -> f64 {
        -ln(self.unit())
    }

    /// Normal with mean 0 and variance 1 (Marsaglia's polar method; the second of each pair is not used).
    fn normal(&mut self) -> f64 {
        loop {
            let (x, y) = (2.0 * self.unit() - 1.0, 2.0 * self.unit() - 1.0);
            let square = x * x + y * y;
            if square < 1.0 && square > 0.0 {
                return x * (-2.0 * ln(square) / square).sqrt();
            }
        }
    }
}

const LN_2: f64 = std::f64::consts::LN_2;
/// Bits of a number's fraction.
const FRACTION: u32 = 52;
const EXPONENT_OF_ONE: i64 = 1_023;

/// Natural logarithm of a normal positive number; of others, negative infinity.
#[must_use]
pub fn ln(value: f64) -> f64 {
    if !value.is_normal() || value < 0.0 {
        return f64::NEG_INFINITY;
    }
    let bits = value.to_bits();
    let mut exponent = (bits >> FRACTION) as i64 - EXPONENT_OF_ONE;
    let fraction = bits & ((1 << FRACTION) - 1);
    let mut rest = f64::from_bits(fraction | ((EXPONENT_OF_ONE as u64) << FRACTION));
    if rest > std::f64::consts::SQRT_2 {
        rest *= 0.5;
        exponent += 1;
    }
    // ln(rest) = 2 artanh(s), of which the powers beyond 21 do not show.
    let s = (rest - 1.0) / (rest + 1.0);
    let square = s * s;
    let series = (0..=10).rev().fold(0.0, |sum, k| sum * square + 1.0 / f64::from(2 * k + 1));
    exponent as f64 * LN_2 + 2.0 * s * series
}

/// e to this power; 0 and infinity beyond what a number can hold.
#[must_use]
pub fn exp(power: f64) -> f64 {
    if power < -700.0 {
        return 0.0;
    }
    if power > 700.0 {
        return f64::INFINITY;
    }
    let twos = (power / LN_2 + 0.5).floor();
    let rest = power - twos * LN_2;
    // Taylor; below ln(2)/2 the powers beyond 17 do not show.
    let series = (1..=17).rev().fold(1.0, |sum, k| 1.0 + sum * rest / f64::from(k));
    series * f64::from_bits(((twos as i64 + EXPONENT_OF_ONE) as u64) << FRACTION)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: our logarithm and exponential are those of the platform, but for the last digits.
    #[test]
    fn functions_are_right() {
        for step in 1..4_000 {
            let x = f64::from(step) * 0.037;
            for (ours, theirs) in [(ln(x), x.ln()), (ln(1.0 / x), (1.0 / x).ln())] {
                assert!((ours - theirs).abs() <= 1e-14 * theirs.abs().max(1.0), "ln {x}");
            }
            for power in [x, -x] {
                let (ours, theirs) = (exp(power), power.exp());
                assert!((ours / theirs - 1.0).abs() < 1e-13, "exp {power}");
            }
        }
        assert_eq!((exp(-1e9), exp(1e9), ln(0.0)), (0.0, f64::INFINITY, f64::NEG_INFINITY));
    }

    // Goal: draws have the mean and spread that they say, within five standard errors.
    #[test]
    fn draws_have_their_moments() {
        const N: u32 = 100_000;
        for (shape, variance) in
            [(Shape::Exponential, 1.0), (Shape::Lognormal, std::f64::consts::E - 1.0)]
        {
            let mut draws = Draws::new(Prng::from_number(4));
            let mean = Millis(180_000);
            let values: Vec<f64> =
                (0..N).map(|_| draws.duration(shape, mean).0 as f64 / mean.0 as f64).collect();
            let found = values.iter().sum::<f64>() / f64::from(N);
            let error = (variance / f64::from(N)).sqrt();
            assert!((found - 1.0).abs() < 5.0 * error, "{shape:?}: mean {found}");
            let below = values.iter().filter(|value| **value < 1.0).count() as f64 / f64::from(N);
            let expected = match shape {
                Shape::Exponential => 1.0 - (-1.0_f64).exp(),
                // A normal value below half a standard deviation above its mean.
                Shape::Lognormal => 0.691_462,
            };
            assert!((below - expected).abs() < 0.01, "{shape:?}: {below} below the mean");
        }
    }

    // Goal: the first draws of a seed are what they were on the machine where this was written: a change
    // here changes every published figure.
    #[test]
    fn draws_are_for_ever() {
        let mut draws = Draws::new(Prng::from_number(1));
        let mean = Millis(180_000);
        let drawn: Vec<u64> = [Shape::Exponential, Shape::Lognormal]
            .iter()
            .flat_map(|shape| [draws.duration(*shape, mean).0, draws.duration(*shape, mean).0])
            .collect();
        assert_eq!(drawn, [4_697, 66_469, 82_756, 48_294]);
    }
}
