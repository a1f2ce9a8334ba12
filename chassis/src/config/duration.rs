//! Durations and sizes as a person writes them in a configuration file.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, str::FromStr};

/// A duration written with its unit: `"15m"`, `"250ms"`, `"1h30m"`. A bare number is refused (but for 0), since its unit is a guess.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub std::time::Duration);

/// Units from large to small, in nanoseconds; display uses them in this order.
const UNITS: [(&str, u64); 8] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("ns", 1),
];

impl Duration {
    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    pub const fn from_millis(millis: u64) -> Self {
        Self(std::time::Duration::from_millis(millis))
    }
}

impl From<std::time::Duration> for Duration {
    fn from(duration: std::time::Duration) -> Self {
        Self(duration)
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl std::ops::Deref for Duration {
    type Target = std::time::Duration;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// Text that is no duration or no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("a duration needs a unit: {0}s, {0}ms or {0}m?")]
    NoUnit(String),
    #[error("expected a duration such as 15m, 250ms or 1h30m (units: d, h, m, s, ms, us, ns)")]
    NotADuration,
    #[error("expected a duration below 584 years")]
    DurationTooLong,
    #[error("expected a size such as 512, 64Ki, 4Mi or 10M (units: k, M, G, Ki, Mi, Gi)")]
    NotASize,
}

impl FromStr for Duration {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let text = text.trim();
        if text == "0" {
            return Ok(Self::default());
        }
        if !text.is_empty() && text.parse::<f64>().is_ok_and(f64::is_finite) {
            return Err(ParseError::NoUnit(text.to_owned()));
        }
        let mut rest = text;
        let mut total_ns: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(ParseError::NotADuration)?;
            let (number, tail) = rest.split_at(digits);
            let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let (_, unit_ns) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(ParseError::NotADuration)?;
            total_ns = scaled(number, *unit_ns)
                .ok_or(ParseError::NotADuration)?
                .and_then(|ns| total_ns.checked_add(ns))
                .ok_or(ParseError::DurationTooLong)?;
            rest = tail;
        }
        if text.is_empty() { Err(ParseError::NotADuration) } else { Ok(Self(std::time::Duration::from_nanos(total_ns))) }
    }
}

/// `number` (digits with at most one point) times `factor`; the outer `None` when it is no number, the inner when it overflows.
fn scaled(number: &str, factor: u64) -> Option<Option<u64>> {
    if let Ok(whole) = number.parse::<u64>() {
        return Some(whole.checked_mul(factor));
    }
    if number.bytes().all(|byte| byte.is_ascii_digit()) && !number.is_empty() {
        return Some(None);
    }
    let value = number.parse::<f64>().ok()? * factor as f64;
    Some((value < u64::MAX as f64).then_some(value.round() as u64))
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() {
            return f.write_str("0s");
        }
        let mut left = self.0.as_nanos();
        for (unit, unit_ns) in UNITS.iter().filter(|(unit, _)| !matches!(*unit, "d" | "µs")) {
            let count = left / u128::from(*unit_ns);
            left %= u128::from(*unit_ns);
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

/// A number of bytes: bare, or with a unit (`64Ki`, `4Mi`, `10M`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

const SIZE_UNITS: [(&str, u64); 6] =
    [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10), ("G", 1_000_000_000), ("M", 1_000_000), ("k", 1_000)];

impl FromStr for Size {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let text = text.trim();
        let (number, factor) =
            SIZE_UNITS.iter().find_map(|(unit, factor)| text.strip_suffix(unit).map(|number| (number, *factor))).unwrap_or((text, 1));
        let number: u64 = number.parse().map_err(|_error| ParseError::NotASize)?;
        number.checked_mul(factor).map(Self).ok_or(ParseError::NotASize)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIZE_UNITS.iter().find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor)) {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Reads text through `FromStr`, and bare numbers as their digits, so that both get the same error.
struct TextOrNumber<T>(std::marker::PhantomData<T>);

impl<T: FromStr<Err = ParseError>> de::Visitor<'_> for TextOrNumber<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number with a unit, as text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrNumber(std::marker::PhantomData))
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrNumber(std::marker::PhantomData))
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check<T: for<'de> Deserialize<'de> + fmt::Display>(input: Value, expected: Result<&str, &str>) {
        let got = serde_json::from_value::<T>(input.clone()).map(|value| value.to_string()).map_err(|error| error.to_string());
        match (got, expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{input}"),
            (Err(got), Err(part)) => assert!(got.contains(part), "{input}: {got}"),
            (got, expected) => panic!("{input}: {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn durations() {
        check::<Duration>(json!("15m"), Ok("15m"));
        check::<Duration>(json!("250ms"), Ok("250ms"));
        check::<Duration>(json!("1h30m"), Ok("1h30m"));
        check::<Duration>(json!("1.5s"), Ok("1s500ms"));
        check::<Duration>(json!("2d"), Ok("48h"));
        check::<Duration>(json!("7µs"), Ok("7us"));
        check::<Duration>(json!(0), Ok("0s"));
        check::<Duration>(json!(15), Err("a duration needs a unit: 15s, 15ms or 15m?"));
        check::<Duration>(json!("15"), Err("a duration needs a unit"));
        check::<Duration>(json!("abc"), Err("expected a duration such as 15m"));
        check::<Duration>(json!(""), Err("expected a duration such as 15m"));
        check::<Duration>(json!("-5s"), Err("expected a duration such as 15m"));
        check::<Duration>(json!("1.2.3s"), Err("expected a duration such as 15m"));
        check::<Duration>(json!("99999999999d"), Err("below 584 years"));
        check::<Duration>(json!("99999999999999999999999s"), Err("below 584 years"));
        check::<Duration>(json!(true), Err("a number with a unit"));
    }

    #[test]
    fn sizes() {
        check::<Size>(json!("4Mi"), Ok("4Mi"));
        check::<Size>(json!("10M"), Ok("10M"));
        check::<Size>(json!(1024), Ok("1Ki"));
        check::<Size>(json!("512"), Ok("512"));
        check::<Size>(json!(-1), Err("expected a size"));
        check::<Size>(json!("4 furlongs"), Err("expected a size"));
        check::<Size>(json!("99999999999999Gi"), Err("expected a size"));
    }
}
