//! Times, as they are printed.

use std::time::Duration;

/// The p50, p95 and p99, by nearest rank.
pub(crate) fn quantiles(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    times.sort();
    let at = |q: f64| {
        let rank = (times.len() as f64 * q).ceil() as usize;
        times.get(rank.max(1) - 1)
    };
    match (at(0.5), at(0.95), at(0.99)) {
        (Some(p50), Some(p95), Some(p99)) => {
            format!("p50 {p50:.1?}, p95 {p95:.1?}, p99 {p99:.1?}")
        }
        _ => "none".to_owned(),
    }
}
