//! Quantities in the form that the API server stores: `0.5` as `500m`, `1024Mi` as `1Gi`, `1000m` as `1`.

/// Suffixes of powers of a thousand, from thousandths up.
const DECIMAL: [&str; 8] = ["m", "", "k", "M", "G", "T", "P", "E"];

/// Suffixes of powers of 1024.
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// The canonical form; `None` where the text is not of the usual forms (exponents, micro and nano units), which
/// are stored as they came.
pub(super) fn canonical(text: &str) -> Option<String> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (sign, digits) = match number.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if fraction.len() > 3 || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let thousandths: u128 = format!("{whole}{fraction:0<3}").parse().ok()?;
    if thousandths == 0 {
        return Some("0".to_owned());
    }
    // A suffix keeps its family; what does not come out whole in it is written in the decimal one.
    let binary = BINARY.iter().position(|s| *s == suffix).filter(|at| *at > 0);
    if let Some(at) = binary {
        let mut amount = thousandths.checked_mul(1024u128.checked_pow(u32::try_from(at).ok()?)?)?;
        if amount % 1000 == 0 {
            amount /= 1000;
            let mut unit = 0;
            while amount % 1024 == 0 && unit + 1 < BINARY.len() {
                (amount, unit) = (amount / 1024, unit + 1);
            }
            return Some(format!("{sign}{amount}{}", BINARY[unit]));
        }
        return Some(format!("{sign}{}", decimal(amount, 0)));
    }
    let at = DECIMAL.iter().position(|s| *s == suffix)?;
    // `m` is a thousandth already, so that its thousandths are out of reach.
    if at == 0 {
        return fraction.is_empty().then(|| format!("{sign}{}", decimal(thousandths / 1000, 0)));
    }
    Some(format!("{sign}{}", decimal(thousandths, at - 1)))
}

fn decimal(mut amount: u128, mut unit: usize) -> String {
    while amount.is_multiple_of(1000) && unit + 1 < DECIMAL.len() {
        (amount, unit) = (amount / 1000, unit + 1);
    }
    format!("{amount}{}", DECIMAL[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(canonical(text).as_deref(), expected, "{text}");
    }

    #[test]
    fn canonical_forms() {
        check("1", Some("1"));
        check("0.5", Some("500m"));
        check("1000m", Some("1"));
        check("1500m", Some("1500m"));
        check("1.5Gi", Some("1536Mi"));
        check("1024Mi", Some("1Gi"));
        check("6Gi", Some("6Gi"));
        check("4000", Some("4k"));
        check("-2.0", Some("-2"));
        check("0", Some("0"));
        check("1e3", None);
        check("much", None);
    }
}
