//! How one of the endpoints within every bound is chosen.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Cow, fmt, str::FromStr};

/// How an endpoint is chosen among those within every bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyType {
    #[default]
    Balance,
    RoundRobin,
    Squeeze,
    Random,
    WeightedRoundRobin,
    LeastConnections,
    Optimized,
}

/// What is minimised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    Cost,
    Performance,
    #[default]
    Mixed,
}

/// `20%` of the best response time, or `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Spread {
    Percent(u16),
    All,
}

impl Default for Spread {
    fn default() -> Spread {
        Spread::Percent(20)
    }
}

impl FromStr for Spread {
    type Err = String;

    fn from_str(text: &str) -> Result<Spread, String> {
        let percent =
            || text.strip_suffix('%').filter(|n| (1..=3).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit()))?.parse().ok();
        match text {
            "all" => Ok(Spread::All),
            _ => {
                percent().map(Spread::Percent).ok_or_else(|| format!("spread {text:?} is neither a percentage such as \"20%\" nor \"all\""))
            }
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spread::Percent(percent) => write!(f, "{percent}%"),
            Spread::All => f.write_str("all"),
        }
    }
}

impl Serialize for Spread {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Spread {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Spread, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Spread {
    fn schema_name() -> Cow<'static, str> {
        "Spread".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": 4, "pattern": "^([0-9]{1,3}%|all)$"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_a_percentage_or_all() {
        let check = |text: &str, expected: Option<Spread>| assert_eq!(text.parse::<Spread>().ok(), expected, "{text}");
        check("20%", Some(Spread::Percent(20)));
        check("0%", Some(Spread::Percent(0)));
        check("all", Some(Spread::All));
        for wrong in ["", "%", "20", "-5%", "1000%", "2.5%", "+5%", "ALL"] {
            check(wrong, None);
        }
    }
}
