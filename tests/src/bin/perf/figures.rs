//! What was measured, and the table of it.

use std::fmt::Write as _;

/// One contender in one row.
pub struct Figures {
    pub row: String,
    pub nodes: u32,
    pub pods: usize,
    pub who: &'static str,
    /// From the first binding to the last.
    pub pods_per_s: f64,
    /// Seconds from the moment that it leads to the last binding.
    pub all_bound_s: f64,
    /// Per 1,000 pods, from the moment that it may lead until it is at rest.
    pub cpu_s: f64,
    pub api_server_cpu_s: f64,
    pub peak_mb: f64,
    /// Seconds; `None` where it has no such metric.
    pub attempt_p50: Option<f64>,
    pub attempt_p99: Option<f64>,
    pub events: usize,
}

/// Markdown. Ratios are to the first of the same row and number of nodes.
pub fn table(all: &[Figures]) -> String {
    let mut text = String::from(
        "| nodes | workload | pods | | pods/s | ratio | s to the last | CPU s per 1,000 pods | ratio | API server's CPU s per 1,000 | ratio | peak MB | ratio | attempt p50, p99 ms | events |\n",
    );
    text.push_str("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
    for one in all {
        let base = all.iter().find(|first| first.row == one.row && first.nodes == one.nodes).unwrap_or(one);
        let ms = |seconds: Option<f64>| seconds.map_or("-".to_owned(), |seconds| format!("{:.2}", seconds * 1_000.0));
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {:.0} | {:.2} | {:.1} | {:.2} | {:.2} | {:.2} | {:.2} | {:.0} | {:.2} | {}, {} | {} |",
            one.nodes,
            one.row,
            one.pods,
            one.who,
            one.pods_per_s,
            one.pods_per_s / base.pods_per_s,
            one.all_bound_s,
            one.cpu_s,
            one.cpu_s / base.cpu_s,
            one.api_server_cpu_s,
            one.api_server_cpu_s / base.api_server_cpu_s,
            one.peak_mb,
            one.peak_mb / base.peak_mb,
            ms(one.attempt_p50),
            ms(one.attempt_p99),
            one.events
        );
    }
    text
}

/// A quantile of a Prometheus histogram, linear within its buckets, as Prometheus' own `histogram_quantile`. `part` is in a series' labels.
pub fn quantile(metrics: &str, name: &str, part: &str, q: f64) -> Option<f64> {
    let mut buckets: Vec<(f64, f64)> = Vec::new();
    for line in metrics.lines().filter(|line| line.starts_with(&format!("{name}_bucket{{")) && line.contains(part)) {
        let bound = line.split(['{', ',']).find_map(|label| label.strip_prefix("le=\""))?.split('"').next()?;
        let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
        let count: f64 = line.split_once("} ")?.1.split(' ').next()?.parse().ok()?;
        match buckets.iter_mut().find(|(other, _)| *other == bound) {
            Some((_, sum)) => *sum += count,
            None => buckets.push((bound, count)),
        }
    }
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total = buckets.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
    let rank = q * total;
    let mut below = (0.0, 0.0);
    for (bound, count) in buckets {
        if count >= rank {
            let within = if count > below.1 { (rank - below.1) / (count - below.1) } else { 1.0 };
            return Some(if bound.is_finite() { below.0 + (bound - below.0) * within } else { below.0 });
        }
        below = (bound, count);
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let metrics = "a_bucket{profile=\"p\",le=\"0.001\",result=\"scheduled\"} 50\na_bucket{le=\"0.002\",result=\"scheduled\"} 90\n\
            a_bucket{le=\"+Inf\",result=\"scheduled\"} 100\na_bucket{le=\"0.001\",result=\"error\"} 7\nother_bucket{le=\"1\"} 3\n";
        let of = |q| quantile(metrics, "a", "result=\"scheduled\"", q);
        assert!((of(0.5).unwrap() - 0.001).abs() < 1e-9);
        assert!((of(0.7).unwrap() - 0.0015).abs() < 1e-9);
        assert!((of(0.99).unwrap() - 0.002).abs() < 1e-9, "beyond the last bound the figure is that bound");
        assert_eq!(quantile(metrics, "none", "", 0.5), None);
    }
}
