//! Sparklines: up to 60 points, no axes; the number stands beside them.

use leptos::prelude::*;

/// Draws a sparkline of `points` (oldest first, `None` where not read), scaled to `mark` or to the largest point when that is higher.
///
/// `class` colours it: `crit`, `warn`, `info`, `dlq`, or none. A gap is left open, never joined.
pub(crate) fn sparkline(
    points: &[Option<f64>],
    mark: Option<f64>,
    class: &str,
    width: f64,
    height: f64,
) -> impl IntoView + use<> {
    let top = points
        .iter()
        .flatten()
        .copied()
        .chain(mark)
        .fold(0.0_f64, f64::max)
        .max(f64::MIN_POSITIVE);
    let base = height - 1.0;
    let x = |i: usize| i as f64 * width / (points.len().max(2) - 1) as f64;
    let y = |v: f64| base - v.max(0.0) / top * (base - 2.0);
    let mut line = String::new();
    let mut area = String::new();
    let mut at = 0;
    while at < points.len() {
        let run: Vec<(f64, f64)> = points[at..]
            .iter()
            .enumerate()
            .map_while(|(i, v)| v.map(|v| (x(at + i), y(v))))
            .collect();
        if let (Some(first), Some(last)) = (run.first(), run.last()) {
            let path = run
                .iter()
                .enumerate()
                .map(|(i, (x, y))| format!("{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' }))
                .collect::<String>();
            area.push_str(&format!(
                "{path}L{:.1} {height}L{:.1} {height}Z",
                last.0, first.0
            ));
            line.push_str(&path);
            // One point alone would draw nothing.
            if run.len() == 1 {
                line.push_str("h1");
            }
        }
        at += run.len().max(1);
    }
    let mark_y = mark.map(|m| format!("{:.1}", y(m)));
    view! {
        <svg class=format!("spark {class}") width=width height=height viewBox=format!("0 0 {width} {height}") aria-hidden="true">
            <path class="ar" d=area></path>
            {mark_y.map(|y| view! { <line x1="0" x2=width y1=y.clone() y2=y.clone()></line> })}
            <path d=line></path>
        </svg>
    }
}

/// Draws a sparkline of time lag over a range.
pub(crate) fn lag_spark(
    points: &[Option<u64>],
    mark_ms: u64,
    class: &str,
    width: f64,
    height: f64,
) -> impl IntoView + use<> {
    let points: Vec<_> = points.iter().map(|p| p.map(|v| v as f64)).collect();
    sparkline(&points, Some(mark_ms as f64), class, width, height)
}
