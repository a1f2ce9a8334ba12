//! A length of time in a custom resource: `25ms`, `2.5ms`, `800us`, `30s`, `5m`.

use placement::units::Micros;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Cow, fmt, str::FromStr};

/// A non-negative duration of up to an hour, in microseconds. kube's own `Duration` panics on figures that overflow, so it can't read what users write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub Micros);

/// What the API server holds durations against; what it lets through always parses.
pub const PATTERN: &str = r"^[0-9]{1,7}(\.[0-9]{1,3})?(us|ms|s|m)$";
const LONGEST_US: u64 = 3_600_000_000;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("duration {text:?} is not a number with one of the units us, ms, s, m, of at most an hour, such as \"25ms\"")]
pub struct DurationError {
    pub text: String,
}

impl Duration {
    pub const fn from_micros(us: u32) -> Duration {
        Duration(Micros(us))
    }

    pub const fn from_millis(ms: u32) -> Duration {
        Duration(Micros(ms * 1000))
    }

    pub const fn from_secs(s: u32) -> Duration {
        Duration(Micros(s * 1_000_000))
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> std::time::Duration {
        std::time::Duration::from_micros(u64::from(duration.0.0))
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    /// Rounds up to whole microseconds.
    fn from_str(text: &str) -> Result<Duration, DurationError> {
        let wrong = || DurationError { text: text.to_owned() };
        let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
        let (number, unit) = text.split_at(unit_at);
        let nanos_per_unit: u64 = match unit {
            "us" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            _ => return Err(wrong()),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |s: &str, longest: usize| (1..=longest).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole, 7) || !digits(fraction, 3) {
            return Err(wrong());
        }
        let thousandths: u64 = format!("{whole}{fraction:0<3}").parse().map_err(|_| wrong())?;
        // At most 10^10 thousandths of 6 * 10^10 ns: overflow is possible for absurd minutes alone.
        let us = thousandths.checked_mul(nanos_per_unit / 1_000).ok_or_else(wrong)?.div_ceil(1_000);
        if us > LONGEST_US {
            return Err(wrong());
        }
        Ok(Duration(Micros(us as u32)))
    }
}

/// The largest unit that needs no fraction: `25ms`, `2500us`, `30s`.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.0 {
            us if us % 1_000_000 == 0 => write!(f, "{}s", us / 1_000_000),
            us if us % 1_000 == 0 => write!(f, "{}ms", us / 1_000),
            us => write!(f, "{us}us"),
        }
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": 13, "pattern": PATTERN})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, us: Option<u32>, printed: &str) {
        let parsed = text.parse::<Duration>();
        assert_eq!(parsed.as_ref().ok().map(|d| d.0.0), us, "{text}");
        if let Ok(duration) = parsed {
            assert_eq!(duration.to_string(), printed);
            assert_eq!(printed.parse(), Ok(duration), "what is printed reads back");
        }
    }

    #[test]
    fn durations_read_and_print() {
        check("25ms", Some(25_000), "25ms");
        check("2.5ms", Some(2_500), "2500us");
        check("0.0s", Some(0), "0s");
        check("800us", Some(800), "800us");
        check("1.5us", Some(2), "2us");
        check("5m", Some(300_000_000), "300s");
        check("60m", Some(3_600_000_000), "3600s");
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in [
            "",
            "25",
            "ms",
            "-1ms",
            "1h",
            "61m",
            "9999999m",
            "1e3ms",
            "1.ms",
            ".5ms",
            "1.2345ms",
            "25 ms",
            "5msx",
            "99999999999999999999999s",
        ] {
            check(text, None, "");
        }
    }
}
