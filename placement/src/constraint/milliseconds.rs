//! Numbers of milliseconds as users write them. Bounds round **down** to the microsecond: rounding must never admit.

use crate::topology::matrix::MAX_RTT_MS;
use crate::units::Micros;

const EXAMPLES: &str = r#"such as "25" or "0.5""#;

/// A label's value: an integer or decimal number of milliseconds without a unit. The error continues `"<value>" …`.
pub(super) fn plain(text: &str) -> Result<Micros, String> {
    if let Some(result) = decimal(text, 1000) {
        return result.ok_or_else(too_large);
    }
    let (number, unit) = split_unit(text);
    Err(match unit {
        _ if text.is_empty() => format!("is empty; write the bound in milliseconds, {EXAMPLES}"),
        "ms" if is_decimal(number) => format!("has a unit; the value is in milliseconds: write {number:?}"),
        "s" if is_decimal(number) => {
            let seconds = decimal(number, 1_000_000).flatten().map_or(String::new(), |us| format!(", or {:?} for {text}", bare_ms(us)));
            format!("has a unit; the value is in milliseconds: write {number:?} for {number} ms{seconds}")
        }
        _ => not_plain(text),
    })
}

/// A duration in the annotation: a number with the unit `us`, `ms` or `s`.
pub(super) fn duration(text: &str) -> Result<Micros, String> {
    let (number, unit) = split_unit(text);
    let us_per_unit = match unit {
        "us" => 1,
        "ms" => 1000,
        "s" => 1_000_000,
        _ if text.is_empty() => return Err(r#"is empty; write a duration such as "25ms" or "0.5ms""#.into()),
        "" if is_decimal(number) => return Err(format!("has no unit; write {:?}", format!("{number}ms"))),
        _ if is_decimal(number) && unit.chars().all(char::is_alphabetic) && !text.contains(['e', 'E']) => {
            return Err(format!(r#"has the unknown unit {unit:?}; write us, ms or s, such as "25ms""#));
        }
        _ => {
            return Err(not_plain(text.strip_suffix("ms").unwrap_or(text)).replace(EXAMPLES, r#"with its unit, such as "25ms" or "0.5ms""#));
        }
    };
    match decimal(number, us_per_unit) {
        Some(result) => result.ok_or_else(too_large),
        None => Err(r#"is not a duration such as "25ms" or "0.5ms""#.into()),
    }
}

fn too_large() -> String {
    format!("is too large; a bound is at most {MAX_RTT_MS} ms (one hour)")
}

fn not_plain(text: &str) -> String {
    if text.strip_prefix('-').is_some_and(is_decimal) {
        format!("is negative; write milliseconds, {EXAMPLES}")
    } else if is_decimal(&text.replacen(',', ".", 1)) {
        format!("has a decimal comma; write {:?}", text.replacen(',', ".", 1))
    } else if text.parse::<f64>().is_ok_and(f64::is_finite) {
        format!("is not a plain decimal number; write digits alone, {EXAMPLES}, at most {MAX_RTT_MS}")
    } else {
        format!("is not a number of milliseconds {EXAMPLES}")
    }
}

/// Digits and points in front, the rest behind.
fn split_unit(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()))
}

fn is_decimal(text: &str) -> bool {
    decimal(text, 1).is_some()
}

/// `None`: not digits with at most one point between digits. `Some(None)`: above the largest bound.
fn decimal(text: &str, us_per_unit: u64) -> Option<Option<Micros>> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    // Nine digits are below the microsecond for every unit; what follows them can't matter after rounding down.
    let fraction = &fraction[..fraction.len().min(9)];
    let below_one = fraction.parse::<u64>().unwrap_or(0) * us_per_unit / 10u64.pow(fraction.len() as u32);
    let whole = whole.trim_start_matches('0');
    let us = match whole.len() {
        0 => Some(below_one),
        1..=10 => whole.parse::<u64>().ok().map(|whole| whole * us_per_unit + below_one),
        _ => None,
    };
    let limit_us = (MAX_RTT_MS * 1000.0) as u64;
    Some(us.filter(|&us| us <= limit_us).and_then(|us| u32::try_from(us).ok()).map(Micros))
}

fn bare_ms(rtt: Micros) -> String {
    rtt.to_string().trim_end_matches(" ms").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<u32, &str>) {
        assert_eq!(plain(text).map(|us| us.0), expected.map_err(str::to_owned), "{text:?}");
    }

    fn check_duration(text: &str, expected: Result<u32, &str>) {
        assert_eq!(duration(text).map(|us| us.0), expected.map_err(str::to_owned), "{text:?}");
    }

    #[test]
    fn labels_take_plain_milliseconds() {
        check("25", Ok(25_000));
        check("0", Ok(0));
        check("0.5", Ok(500));
        check("007", Ok(7_000));
        check("0.0019", Ok(1));
        check("3600000", Ok(3_600_000_000));
        check("0.99999999999999999999999", Ok(999));
    }

    #[test]
    fn what_is_not_plain_milliseconds_says_what_would_be() {
        let number = r#"is not a number of milliseconds such as "25" or "0.5""#;
        check("abc", Err(number));
        check("NaN", Err(number));
        check("inf", Err(number));
        check("25.", Err(r#"is not a plain decimal number; write digits alone, such as "25" or "0.5", at most 3600000"#));
        check("1.2.3", Err(number));
        check(" 25", Err(number));
        check("٢٥", Err(number));
        check("", Err(r#"is empty; write the bound in milliseconds, such as "25" or "0.5""#));
        check("25s", Err(r#"has a unit; the value is in milliseconds: write "25" for 25 ms, or "25000" for 25s"#));
        check("25ms", Err(r#"has a unit; the value is in milliseconds: write "25""#));
        check("-3", Err(r#"is negative; write milliseconds, such as "25" or "0.5""#));
        check("1,5", Err(r#"has a decimal comma; write "1.5""#));
        check("1e9", Err(r#"is not a plain decimal number; write digits alone, such as "25" or "0.5", at most 3600000"#));
        check("3600001", Err("is too large; a bound is at most 3600000 ms (one hour)"));
        check("99999999999999999999999999", Err("is too large; a bound is at most 3600000 ms (one hour)"));
    }

    #[test]
    fn the_annotation_takes_durations_with_a_unit() {
        check_duration("25ms", Ok(25_000));
        check_duration("0.5ms", Ok(500));
        check_duration("1s", Ok(1_000_000));
        check_duration("40us", Ok(40));
        check_duration("0.4us", Ok(0));
        check_duration("25", Err(r#"has no unit; write "25ms""#));
        check_duration("5m", Err(r#"has the unknown unit "m"; write us, ms or s, such as "25ms""#));
        check_duration("2h", Err(r#"has the unknown unit "h"; write us, ms or s, such as "25ms""#));
        check_duration("-3ms", Err(r#"is negative; write milliseconds, with its unit, such as "25ms" or "0.5ms""#));
        check_duration("ms", Err(r#"is not a duration such as "25ms" or "0.5ms""#));
        check_duration("NaN", Err(r#"is not a number of milliseconds with its unit, such as "25ms" or "0.5ms""#));
        check_duration("", Err(r#"is empty; write a duration such as "25ms" or "0.5ms""#));
        check_duration("3601s", Err("is too large; a bound is at most 3600000 ms (one hour)"));
    }
}
