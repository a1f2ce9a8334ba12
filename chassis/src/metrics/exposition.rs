//! Reads what a program prints at `/metrics`, for tests: the families in it, by the names that Prometheus stores them under.

use std::collections::{BTreeMap, BTreeSet};

/// One family of metrics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Family {
    pub help: String,
    /// `counter`, `gauge`, `histogram`.
    pub kind: String,
    /// Of all its series, with their values, without a bucket's `le`.
    pub labels: BTreeMap<String, BTreeSet<String>>,
    /// Upper bounds of its buckets, by size, without the last, which has none.
    pub buckets: Vec<f64>,
}

/// Families by name. OpenMetrics names a counter without the `_total` that its series have; here it has it, as in the older format.
pub fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), help) => {
                families.entry(name.to_owned()).or_default().help = help.unwrap_or_default().to_owned();
            }
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => families.entry(name.to_owned()).or_default().kind = kind.to_owned(),
            _ => series(&mut families, line),
        }
    }
    for family in families.values_mut() {
        family.buckets.sort_by(f64::total_cmp);
        family.buckets.dedup();
    }
    let stored = |name: String, kind: &str| if kind == "counter" && !name.ends_with("_total") { name + "_total" } else { name };
    families.into_iter().map(|(name, family)| (stored(name, &family.kind), family)).collect()
}

/// One line with a value belongs to the family that it is named after.
fn series(families: &mut BTreeMap<String, Family>, line: &str) {
    let name = line.split(['{', ' ']).next().unwrap_or_default();
    let base = ["_total", "_bucket", "_sum", "_count"].into_iter().find_map(|suffix| name.strip_suffix(suffix));
    let Some(named) = [Some(name), base].into_iter().flatten().find(|name| families.contains_key(*name)) else { return };
    let Some(family) = families.get_mut(named) else { return };
    let mut rest = line.strip_prefix(name).and_then(|rest| rest.strip_prefix('{')).unwrap_or_default();
    while let Some((label, value)) = rest.split_once("=\"") {
        // Quotes within a value are escaped.
        let end = value.char_indices().scan(false, |escaped, (at, c)| {
            let ends = c == '"' && !*escaped;
            *escaped = c == '\\' && !*escaped;
            Some((at, ends))
        });
        let Some((end, _)) = end.into_iter().find(|(_, ends)| *ends) else { return };
        match label {
            "le" => family.buckets.extend(value[..end].parse().ok().filter(|le: &f64| le.is_finite())),
            _ => drop(family.labels.entry(label.to_owned()).or_default().insert(value[..end].to_owned())),
        }
        rest = value[end + 1..].trim_start_matches(',');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_give_the_same_families() {
        let series = "a_total{of=\"x \\\"1\\\", {y=}\",by=\"z\"} 1\nb 2\nc_bucket{of=\"x\",le=\"1e-05\"} 1\nc_bucket{of=\"x\",le=\"0.5\"} 1\n\
                      c_bucket{le=\"+Inf\",of=\"y\"} 2\nc_sum{of=\"x\"} 3\nc_count{of=\"x\"} 2\n";
        let older = format!("# HELP a_total [BETA] Some a\n# TYPE a_total counter\n# TYPE b gauge\n# TYPE c histogram\n{series}");
        let newer = format!("# HELP a [BETA] Some a\n# TYPE a counter\n# TYPE b gauge\n# TYPE c histogram\n{series}# EOF\n");
        let found = families(&older);
        assert_eq!(found, families(&newer));
        let labels = |pairs: &[(&str, &[&str])]| {
            let values = |values: &[&str]| values.iter().map(ToString::to_string).collect();
            pairs.iter().map(|(name, of)| ((*name).to_owned(), values(of))).collect()
        };
        let family = |help: &str, kind: &str, labels, buckets: &[f64]| Family {
            help: help.into(),
            kind: kind.into(),
            labels,
            buckets: buckets.into(),
        };
        let wanted = [
            ("a_total", family("[BETA] Some a", "counter", labels(&[("by", &["z"]), ("of", &["x \\\"1\\\", {y=}"])]), &[])),
            ("b", family("", "gauge", labels(&[]), &[])),
            ("c", family("", "histogram", labels(&[("of", &["x", "y"])]), &[0.00001, 0.5])),
        ];
        assert_eq!(found, wanted.into_iter().map(|(name, family)| (name.to_owned(), family)).collect());
    }
}
