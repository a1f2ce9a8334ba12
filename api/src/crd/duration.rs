//! A length of time in a custom resource: `25ms`, `2.5ms`, `800us`, `30s`, `5m`.

use placement::units::Micros;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Cow, fmt, str::FromStr};

/// A duration from 0 to 59 minutes, in microseconds. kube's own `Duration` panics on figures that overflow, so it can't read what users write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub Micros);

/// What the API server holds durations against. It says the same as [`UNITS`], so that whatever it lets through can be read.
const PATTERN: &str = r"^([0-9]{1,9}us|[0-9]{1,6}(\.[0-9]{1,3})?ms|[0-9]{1,3}(\.[0-9]{1,3})?s|[0-5]?[0-9]m)$";
/// Unit, microseconds in it, most digits before and after the point.
const UNITS: [(&str, u64, usize, usize); 4] = [("us", 1, 9, 0), ("ms", 1_000, 6, 3), ("s", 1_000_000, 3, 3), ("m", 60_000_000, 2, 0)];
const LONGEST_US: u64 = 59 * 60_000_000;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("duration {text:?} is not a number with one of the units us, ms, s, m, below an hour, such as \"25ms\", \"2.5s\" or \"5m\"")]
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

    fn from_str(text: &str) -> Result<Duration, DurationError> {
        let wrong = || DurationError { text: text.to_owned() };
        let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?);
        let (_, us_per_unit, whole_digits, fraction_digits) = UNITS.into_iter().find(|(name, ..)| *name == unit).ok_or_else(wrong)?;
        let (whole, fraction) = number.split_once('.').map_or((number, None), |(whole, fraction)| (whole, Some(fraction)));
        let digits = |s: &str, most: usize| (1..=most).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole, whole_digits) || fraction.is_some_and(|fraction| !digits(fraction, fraction_digits)) {
            return Err(wrong());
        }
        // At most twelve digits of at most 60 s: far from overflow. Every unit with a fraction has a thousand microseconds or more.
        let thousandths: u64 = format!("{whole}{:0<3}", fraction.unwrap_or_default()).parse().map_err(|_| wrong())?;
        let us = thousandths * us_per_unit / 1_000;
        if us > LONGEST_US {
            return Err(wrong());
        }
        Ok(Duration(Micros(us as u32)))
    }
}

/// The largest unit that needs no fraction: `25ms`, `2500us`, `30s`; from 1000 s on whole minutes, rounded up.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.0 {
            us if us >= 1_000_000_000 => write!(f, "{}m", us.div_ceil(60_000_000)),
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
        check("0.04ms", Some(40), "40us");
        check("0.0s", Some(0), "0s");
        check("800us", Some(800), "800us");
        check("5m", Some(300_000_000), "300s");
        check("59m", Some(3_540_000_000), "59m");
    }

    const WRONG: [&str; 17] = [
        "",
        "25",
        "ms",
        "-1ms",
        "1h",
        "60m",
        "61m",
        "1000s",
        "1.5us",
        "1.5m",
        "1e3ms",
        "1.ms",
        ".5ms",
        "1.2345ms",
        "25 ms",
        "5msx",
        "99999999999999999999999s",
    ];

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in WRONG {
            check(text, None, "");
        }
    }

    #[test]
    fn the_api_server_says_the_same() {
        let validator =
            jsonschema::validator_for(&json_schema!({"type": "string", "maxLength": 13, "pattern": PATTERN}).to_value()).unwrap();
        let right = ["0us", "999999999us", "999999.999ms", "999.999s", "0.001s", "00ms", "59m", "0m"];
        for text in right.into_iter().chain(WRONG) {
            assert_eq!(validator.is_valid(&text.into()), text.parse::<Duration>().is_ok(), "{text}");
        }
    }
}
