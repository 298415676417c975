//! Curves, arrows and particles.

/// Length of the gap between a curve's end and the node, which the arrow fills.
const ARROW_GAP: f64 = 5.0;
/// Particles run this far in a period, so that a whole number of gaps makes the loop seamless.
const LOOP: f64 = 120.0;

/// Returns the width of an edge for a rate a second: 1/s 1.3 px, 62/s 2.5 px, 1.2k/s 3.6 px.
pub(crate) fn width(rate: Option<f64>) -> f64 {
    1.0 + 0.85 * (rate.unwrap_or_default().max(0.0) + 1.0).log10()
}

/// Returns the distance between particles for a rate a second; a divisor of the loop.
pub(crate) fn particle_gap(rate: f64) -> f64 {
    let wanted = (24.0 - 5.0 * (rate.max(0.0) + 1.0).log10()).max(7.0);
    LOOP / (LOOP / wanted).round()
}

/// Returns where a curve enters its node: the tip, and the direction as a unit vector.
fn entry(points: &[[f64; 2]]) -> Option<([f64; 2], [f64; 2])> {
    let tip = *points.last()?;
    // Control points that coincide with the end tell no direction.
    let from = points
        .iter()
        .rev()
        .find(|p| (p[0] - tip[0]).hypot(p[1] - tip[1]) > 0.01)?;
    let (dx, dy) = (tip[0] - from[0], tip[1] - from[1]);
    let length = dx.hypot(dy);
    Some((tip, [dx / length, dy / length]))
}

/// Returns whether `points` are a chain of cubic curves whose numbers can be drawn.
pub(crate) fn is_curve(points: &[[f64; 2]]) -> bool {
    points.len() >= 4 && points.len() % 3 == 1 && points.iter().flatten().all(|v| v.is_finite())
}

/// Returns the path of a curve, ending where its arrow begins.
pub(crate) fn path(points: &[[f64; 2]]) -> String {
    if !is_curve(points) {
        return String::new();
    }
    let mut points = points.to_vec();
    if let Some((tip, direction)) = entry(&points)
        && let Some(end) = points.last_mut()
    {
        *end = [
            tip[0] - ARROW_GAP * direction[0],
            tip[1] - ARROW_GAP * direction[1],
        ];
    }
    let mut out = format!("M{:.1} {:.1}", points[0][0], points[0][1]);
    for curve in points[1..].chunks_exact(3) {
        out.push_str(&format!(
            "C{:.1} {:.1} {:.1} {:.1} {:.1} {:.1}",
            curve[0][0], curve[0][1], curve[1][0], curve[1][1], curve[2][0], curve[2][1]
        ));
    }
    out
}

/// Returns the path of the arrow at a curve's end; it grows with the edge's width.
pub(crate) fn arrow(points: &[[f64; 2]], width: f64) -> String {
    let Some((tip, d)) = entry(points) else {
        return String::new();
    };
    let (length, half) = (5.1 + 0.58 * width, 3.05 + 0.6 * width);
    let back = [tip[0] - length * d[0], tip[1] - length * d[1]];
    let side = [-d[1] * half, d[0] * half];
    format!(
        "M{:.1} {:.1}L{:.1} {:.1}L{:.1} {:.1}Z",
        tip[0],
        tip[1],
        back[0] + side[0],
        back[1] + side[1],
        back[0] - side[0],
        back[1] - side[1]
    )
}

/// Returns the point at `t` (0 to 1) of a chain of curves, each curve taking the same share.
pub(crate) fn point_at(points: &[[f64; 2]], t: f64) -> Option<[f64; 2]> {
    if !is_curve(points) {
        return None;
    }
    let curves = (points.len() - 1) / 3;
    let place = t.clamp(0.0, 1.0) * curves as f64;
    let index = (place as usize).min(curves - 1);
    let t = place - index as f64;
    let p = &points[index * 3..index * 3 + 4];
    let u = 1.0 - t;
    let mix = |axis: usize| {
        u * u * u * p[0][axis]
            + 3.0 * u * u * t * p[1][axis]
            + 3.0 * u * t * t * p[2][axis]
            + t * t * t * p[3][axis]
    };
    Some([mix(0), mix(1)])
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAT: [[f64; 2]; 4] = [[0.0, 10.0], [40.0, 10.0], [60.0, 10.0], [100.0, 10.0]];

    #[test]
    fn width_grows_with_the_logarithm_of_the_rate() {
        for (rate, px) in [
            (None, 1.0),
            (Some(1.0), 1.3),
            (Some(62.0), 2.5),
            (Some(1_200.0), 3.6),
        ] {
            assert!((width(rate) - px).abs() < 0.05, "{rate:?} {}", width(rate));
        }
    }

    #[test]
    fn particles_stand_closer_the_more_there_are_and_loop_without_a_seam() {
        let mut before = f64::INFINITY;
        for rate in [0.1, 1.0, 10.0, 100.0, 1_000.0, 1e6] {
            let gap = particle_gap(rate);
            assert!(gap <= before && gap >= 6.5, "{rate} {gap}");
            assert!((LOOP / gap).fract() < 1e-9, "{rate} {gap}");
            before = gap;
        }
    }

    #[test]
    fn a_curve_stops_before_its_arrow() {
        assert_eq!(path(&FLAT), "M0.0 10.0C40.0 10.0 60.0 10.0 95.0 10.0");
        assert_eq!(arrow(&FLAT, 1.0), "M100.0 10.0L94.3 13.7L94.3 6.3Z");
        assert_eq!(point_at(&FLAT, 0.5), Some([50.0, 10.0]));
    }

    #[test]
    fn what_is_no_curve_is_not_drawn() {
        for bad in [&FLAT[..3], &[[0.0, f64::NAN]; 4], &[]] {
            assert_eq!(path(bad), "");
            assert_eq!(point_at(bad, 0.5), None);
        }
        assert_eq!(arrow(&[[1.0, 1.0]; 4], 1.0), "");
    }
}
