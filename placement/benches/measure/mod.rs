//! Time for benches.

use std::time::Instant;

/// Seconds that this thread has run on a core, so that a busy machine does not change the figure; wall time where Linux does not tell. In steps of a few
/// milliseconds.
pub fn core_seconds() -> f64 {
    let of_thread = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = of_thread.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok()).filter(|nanos| *nanos > 0.0);
    nanos.map_or_else(wall_seconds, |nanos| nanos / 1e9)
}

/// Seconds since it was asked first.
#[allow(clippy::disallowed_methods)] // A bench reads the clock; the model does not.
pub fn wall_seconds() -> f64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64()
}
