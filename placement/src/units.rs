//! Quantities with their unit in the type. Inside the model no bare number crosses a function boundary.

use serde::{Deserialize, Serialize};
use std::fmt;

/// CPU in thousandths of a core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MilliCpu(pub i64);

/// Memory or storage in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub i64);

/// A round-trip time, a service time or a bound, in microseconds (up to 71 minutes).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Micros(pub u32);

impl Micros {
    pub const MAX: Micros = Micros(u32::MAX);

    /// Milliseconds to microseconds, rounded **up**, so that a bound is never met by rounding. `None` for NaN, infinite, negative or too large.
    pub fn from_ms_ceil(ms: f64) -> Option<Micros> {
        let us = (ms * 1000.0).ceil();
        (ms.is_finite() && ms >= 0.0 && us <= f64::from(u32::MAX)).then_some(Micros(us as u32))
    }

    pub fn as_ms(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

/// Milliseconds with at most three decimals and no trailing zeros: `25 ms`, `0.04 ms`, `31.2 ms`.
impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:03}", self.0 / 1000, self.0 % 1000);
        write!(f, "{} ms", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// Frames (requests) per second that an endpoint can serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fps(pub u32);

/// A moment, in milliseconds since the Unix epoch. Always passed in, never read here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// How long before `self` the moment `earlier` was; zero if it was not.
    pub fn since(self, earlier: Timestamp) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

/// A length of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(pub u64);

/// A Kubernetes quantity (`100m`, `6Gi`, `1e3`, `0.5`) as an exact number of billionths, as apimachinery keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity {
    nanos: i128,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("quantity {text:?} is not a number with an optional suffix of n, u, m, k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei or an exponent")]
pub struct QuantityError {
    pub text: String,
}

impl Quantity {
    pub fn parse(text: &str) -> Result<Quantity, QuantityError> {
        let wrong = || QuantityError { text: text.to_owned() };
        let number_end = text
            .char_indices()
            .find(|&(i, c)| !(c.is_ascii_digit() || c == '.' || (i == 0 && (c == '+' || c == '-'))))
            .map_or(text.len(), |(i, _)| i);
        let (number, suffix) = text.split_at(number_end);
        let (negative, digits) = match number.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, number.strip_prefix('+').unwrap_or(number)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(wrong());
        }
        // mantissa * 10^-fraction_len * numerator / denominator, in billionths, rounded away from zero as apimachinery rounds.
        let (numerator, denominator): (i128, i128) = match suffix {
            "" => (1, 1),
            "n" => (1, 1_000_000_000),
            "u" => (1, 1_000_000),
            "m" => (1, 1_000),
            "k" => (1_000, 1),
            "M" => (1_000_000, 1),
            "G" => (1_000_000_000, 1),
            "T" => (1_000_000_000_000, 1),
            "P" => (1_000_000_000_000_000, 1),
            "E" => (1_000_000_000_000_000_000, 1),
            "Ki" => (1 << 10, 1),
            "Mi" => (1 << 20, 1),
            "Gi" => (1 << 30, 1),
            "Ti" => (1 << 40, 1),
            "Pi" => (1 << 50, 1),
            "Ei" => (1 << 60, 1),
            _ => {
                let exponent = suffix.strip_prefix(['e', 'E']).ok_or_else(wrong)?;
                let exponent: i32 = exponent.parse().map_err(|_| wrong())?;
                let power = 10i128.checked_pow(exponent.unsigned_abs()).filter(|_| exponent.abs() <= 18).ok_or_else(wrong)?;
                if exponent < 0 { (1, power) } else { (power, 1) }
            }
        };
        if fraction.len() > 18 {
            return Err(wrong());
        }
        let mantissa: i128 = format!("{whole}{fraction}").parse().map_err(|_| wrong())?;
        let scale = 10i128.pow(fraction.len() as u32);
        let top = mantissa.checked_mul(numerator).and_then(|n| n.checked_mul(1_000_000_000)).ok_or_else(wrong)?;
        let nanos = ceil_div(top, denominator * scale);
        Ok(Quantity { nanos: if negative { -nanos } else { nanos } })
    }

    /// The whole number, rounded up: bytes, counts.
    pub fn value(self) -> i64 {
        clamp(ceil_div(self.nanos, 1_000_000_000))
    }

    /// Thousandths, rounded up: CPU.
    pub fn milli_value(self) -> i64 {
        clamp(ceil_div(self.nanos, 1_000_000))
    }
}

/// Sums stay exact, so that two containers of 0.5m are 1m together, as apimachinery counts them.
impl std::ops::Add for Quantity {
    type Output = Quantity;

    fn add(self, other: Quantity) -> Quantity {
        Quantity { nanos: self.nanos.saturating_add(other.nanos) }
    }
}

fn ceil_div(n: i128, d: i128) -> i128 {
    n.div_euclid(d) + i128::from(n.rem_euclid(d) != 0)
}

fn clamp(n: i128) -> i64 {
    n.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, value: i64, milli: i64) {
        let q = Quantity::parse(text).unwrap();
        assert_eq!((q.value(), q.milli_value()), (value, milli), "{text}");
    }

    #[test]
    fn quantities_read_as_apimachinery_reads_them() {
        check("100m", 1, 100);
        check("6Gi", 6 << 30, (6 << 30) * 1000);
        check("0.5", 1, 500);
        check(".5", 1, 500);
        check("1e3", 1000, 1_000_000);
        check("1E", 1_000_000_000_000_000_000, i64::MAX);
        check("1.5Gi", 3 << 29, (3 << 29) * 1000);
        check("1n", 1, 1);
        check("-1", -1, -1000);
        check("12e-1", 2, 1200);
    }

    #[test]
    fn sums_round_once() {
        let half = Quantity::parse("0.5m").unwrap();
        assert_eq!((half + half).milli_value(), 1);
        assert_eq!((half + Quantity::default()).milli_value(), 1);
    }

    #[test]
    fn what_is_not_a_quantity_is_refused() {
        for text in ["", "abc", "1.2.3", "5 Gi", "1Xi", "--1", "e3", "1e99", "."] {
            assert!(Quantity::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn milliseconds_round_up_and_print_short() {
        assert_eq!(Micros::from_ms_ceil(0.0401), Some(Micros(41)));
        assert_eq!(Micros::from_ms_ceil(f64::NAN), None);
        assert_eq!(Micros::from_ms_ceil(-1.0), None);
        assert_eq!(Micros(25_000).to_string(), "25 ms");
        assert_eq!(Micros(31_200).to_string(), "31.2 ms");
        assert_eq!(Micros(40).to_string(), "0.04 ms");
    }
}
