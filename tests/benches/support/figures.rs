//! Times, as they are printed.

use std::time::Duration;

/// The time that a share of them took at most, by nearest rank; `None` of none.
pub(crate) fn quantile(times: &[Duration], q: f64) -> Option<Duration> {
    let mut times = times.to_vec();
    times.sort();
    let rank = (times.len() as f64 * q).ceil() as usize;
    times.get(rank.max(1) - 1).copied()
}

/// The p50, p95 and p99, by nearest rank.
pub(crate) fn quantiles(times: &[Duration]) -> String {
    let at = |q: f64| quantile(times, q);
    match (at(0.5), at(0.95), at(0.99)) {
        (Some(p50), Some(p95), Some(p99)) => {
            format!("p50 {p50:.1?}, p95 {p95:.1?}, p99 {p99:.1?}")
        }
        _ => "none".to_owned(),
    }
}
