//! The time axis of a trace: linear stretches with the long waits between them folded.
//!
//! Pure. Times are nanoseconds from the start of what is shown; places are fractions of the width, 0 to 1.

use crate::format::duration_fine;

/// A wait longer than this share of the range is folded.
const FOLD_FROM: f64 = 0.10;
/// A stretch between folded waits is at least this wide, where there is room.
const STRETCH_AT_LEAST: f64 = 0.20;
/// Ticks stand at least this far apart, in pixels.
const TICK_EVERY_PX: f64 = 46.0;
/// A folded wait is drawn this wide, in pixels.
pub(crate) const BAND_PX: f64 = 52.0;

/// A piece of the axis: a stretch with a scale of its own, or a folded wait.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Piece {
    /// Start, in nanoseconds.
    pub(crate) from: u64,
    /// End, in nanoseconds.
    pub(crate) to: u64,
    /// Left edge, as a fraction of the width.
    pub(crate) left: f64,
    /// Width, as a fraction.
    pub(crate) width: f64,
    /// It is a folded wait.
    pub(crate) folded: bool,
}

/// A tick with its label.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Tick {
    /// Place, as a fraction of the width.
    pub(crate) x: f64,
    /// What stands there; counted from the start of its stretch.
    pub(crate) label: String,
}

/// A time axis.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Axis {
    /// From left to right, without gaps; never empty.
    pieces: Vec<Piece>,
}

impl Axis {
    /// Makes the axis of `from` to `to`.
    ///
    /// `busy` are the spans' times, in any order; a stretch of more than a tenth of the range in which none runs is
    /// folded to [`BAND_PX`] when `fold` is set. `width_px` is the width it is drawn at.
    pub(crate) fn new(
        from: u64,
        to: u64,
        busy: impl IntoIterator<Item = (u64, u64)>,
        fold: bool,
        width_px: f64,
    ) -> Self {
        let to = to.max(from.saturating_add(1));
        let gaps = if fold {
            gaps(from, to, busy)
        } else {
            Vec::new()
        };
        let mut spans = Vec::with_capacity(gaps.len() * 2 + 1);
        let mut at = from;
        for (start, end) in gaps {
            if start > at {
                spans.push((at, start, false));
            }
            spans.push((start, end, true));
            at = end;
        }
        if at < to || spans.is_empty() {
            spans.push((at, to, false));
        }
        let bands = spans.iter().filter(|s| s.2).count() as f64;
        let stretches = spans.len() as f64 - bands;
        // Bands never take more than half of a narrow axis.
        let band = (BAND_PX / width_px.max(1.0)).min(0.5 / bands.max(1.0));
        let room = if stretches > 0.0 {
            1.0 - band * bands
        } else {
            0.0
        };
        let widths = share(
            &spans
                .iter()
                .filter(|s| !s.2)
                .map(|s| (s.1 - s.0) as f64)
                .collect::<Vec<_>>(),
            room,
        );
        let mut widths = widths.into_iter();
        let mut left = 0.0;
        let mut pieces: Vec<Piece> = spans
            .into_iter()
            .map(|(from, to, folded)| {
                let width = match (folded, stretches > 0.0) {
                    (true, true) => band,
                    (true, false) => 1.0 / bands,
                    (false, _) => widths.next().unwrap_or_default(),
                };
                let piece = Piece {
                    from,
                    to,
                    left,
                    width,
                    folded,
                };
                left += width;
                piece
            })
            .collect();
        // What rounding lost is the last one's, so that the end stands at the edge.
        if let Some(last) = pieces.last_mut() {
            last.width = 1.0 - last.left;
        }
        Self { pieces }
    }

    /// Returns its pieces, from left to right.
    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Returns the place of a moment; what lies outside stands at the edge.
    pub(crate) fn place(&self, at: u64) -> f64 {
        let i = self
            .pieces
            .partition_point(|p| p.to < at)
            .min(self.pieces.len() - 1);
        let piece = &self.pieces[i];
        let inside = at.clamp(piece.from, piece.to) - piece.from;
        let share = inside as f64 / (piece.to - piece.from).max(1) as f64;
        piece.left + share * piece.width
    }

    /// Returns the moment at a place.
    pub(crate) fn moment(&self, x: f64) -> u64 {
        let x = x.clamp(0.0, 1.0);
        let i = self
            .pieces
            .partition_point(|p| p.left + p.width < x)
            .min(self.pieces.len() - 1);
        let piece = &self.pieces[i];
        let share = ((x - piece.left) / piece.width.max(f64::EPSILON)).clamp(0.0, 1.0);
        piece.from + (share * (piece.to - piece.from) as f64) as u64
    }

    /// Returns the range shown.
    pub(crate) fn range(&self) -> (u64, u64) {
        let last = self.pieces.last().map_or(0, |p| p.to);
        (self.pieces.first().map_or(0, |p| p.from), last)
    }

    /// Returns the ticks of the stretches: round steps, counted from the start of each; after the first with a plus.
    pub(crate) fn ticks(&self, width_px: f64) -> Vec<Tick> {
        let mut ticks = Vec::new();
        for (i, piece) in self.pieces.iter().enumerate().filter(|(_, p)| !p.folded) {
            let px = piece.width * width_px;
            let length = piece.to - piece.from;
            let step = round_step(length as f64 * TICK_EVERY_PX / px.max(1.0));
            let first = i == 0 && piece.from == 0;
            // The first stretch counts from 0; a later one begins at the label of the wait before it.
            let mut at = if i == 0 { 0 } else { step };
            while at <= length {
                let x = piece.left + at as f64 / length.max(1) as f64 * piece.width;
                let to_end = (piece.left + piece.width - x) * width_px;
                if to_end < 24.0 && at > 0 {
                    break;
                }
                let label = match (at, first) {
                    (0, true) => "0".to_owned(),
                    (0, false) => format!("+{}", duration_fine(piece.from)),
                    (at, true) => stepped(at, step),
                    (at, false) => format!("+{}", stepped(at, step)),
                };
                ticks.push(Tick { x, label });
                at = at.saturating_add(step);
            }
        }
        ticks
    }
}

/// Returns the stretches of `from` to `to` in which nothing runs and that are long enough to fold.
fn gaps(from: u64, to: u64, busy: impl IntoIterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
    let mut busy: Vec<_> = busy
        .into_iter()
        .filter(|&(start, end)| end >= from && start <= to)
        .collect();
    busy.sort_unstable();
    let least = ((to - from) as f64 * FOLD_FROM) as u64;
    let mut gaps = Vec::new();
    let mut free = from;
    for (start, end) in busy {
        if start > free && start - free > least {
            gaps.push((free, start));
        }
        free = free.max(end);
    }
    if to > free && to - free > least && free > from {
        gaps.push((free, to));
    }
    gaps
}

/// Divides `room` by length, so that none gets less than its least share.
fn share(lengths: &[f64], room: f64) -> Vec<f64> {
    let count = lengths.len();
    if count == 0 {
        return Vec::new();
    }
    let least = STRETCH_AT_LEAST.min(room / count as f64);
    let mut widths = vec![None::<f64>; count];
    loop {
        let taken: f64 = widths.iter().flatten().sum();
        let open: f64 = widths
            .iter()
            .zip(lengths)
            .filter(|(w, _)| w.is_none())
            .map(|(_, l)| l)
            .sum();
        let mut settled = true;
        for (width, length) in widths.iter_mut().zip(lengths) {
            let wanted = (room - taken) * length / open.max(f64::EPSILON);
            if width.is_none() && wanted < least - 1e-12 {
                *width = Some(least);
                settled = false;
            }
        }
        if settled {
            return widths
                .into_iter()
                .zip(lengths)
                .map(|(width, length)| {
                    width.unwrap_or((room - taken) * length / open.max(f64::EPSILON))
                })
                .collect();
        }
    }
}

/// Returns the next of 1, 2, 5 times a power of ten, in the units of a clock above a minute.
fn round_step(nanos: f64) -> u64 {
    const SECOND: u64 = 1_000_000_000;
    const CLOCK: [u64; 11] = [
        60, 120, 300, 600, 1_200, 3_600, 7_200, 21_600, 43_200, 86_400, 604_800,
    ];
    if nanos > 30.0 * SECOND as f64 {
        return CLOCK
            .iter()
            .map(|s| s * SECOND)
            .find(|s| *s as f64 >= nanos)
            .unwrap_or_else(|| {
                (nanos / (604_800.0 * SECOND as f64)).ceil() as u64 * 604_800 * SECOND
            });
    }
    let mut power = 1_u64;
    loop {
        for factor in [1, 2, 5] {
            if (factor * power) as f64 >= nanos || factor * power >= 30 * SECOND {
                return (factor * power).min(30 * SECOND);
            }
        }
        power *= 10;
    }
}

/// Writes a tick with the unit and the decimals its step needs.
fn stepped(at: u64, step: u64) -> String {
    let (unit, name) = if step >= 60_000_000_000 {
        return duration_fine(at);
    } else if step >= 100_000_000 {
        (1e9, "s")
    } else if step >= 100_000 {
        (1e6, "ms")
    } else if step >= 100 {
        (1e3, "µs")
    } else {
        (1.0, "ns")
    };
    let decimals = usize::from((step as f64 / unit).fract() > 1e-9);
    format!("{:.decimals$}\u{a0}{name}", at as f64 / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn folded() -> Axis {
        // Work, 200 s of nothing, work, 30 s of nothing, work: 234 s in all.
        Axis::new(
            0,
            234_000 * MS,
            [
                (0, 90 * MS),
                (200_000 * MS, 202_000 * MS),
                (232_000 * MS, 234_000 * MS),
                (60 * MS, 80 * MS),
            ],
            true,
            650.0,
        )
    }

    #[test]
    fn long_waits_are_folded_and_stretches_stay_readable() {
        let axis = folded();
        let kinds: Vec<_> = axis.pieces().iter().map(|p| p.folded).collect();
        assert_eq!(kinds, [false, true, false, true, false]);
        for piece in axis.pieces() {
            if piece.folded {
                assert!((piece.width * 650.0 - BAND_PX).abs() < 1e-9);
            } else {
                assert!(piece.width >= 0.2 - 1e-9, "{piece:?}");
            }
        }
        let width: f64 = axis.pieces().iter().map(|p| p.width).sum();
        assert!((width - 1.0).abs() < 1e-9);
    }

    #[test]
    fn without_folding_the_axis_is_linear() {
        let axis = Axis::new(0, 1_000, [(0, 10), (990, 1_000)], false, 650.0);
        assert_eq!(axis.pieces().len(), 1);
        assert!((axis.place(250) - 0.25).abs() < 1e-9);
    }

    #[test]
    fn a_wait_under_a_tenth_is_not_folded() {
        let axis = Axis::new(0, 1_000, [(0, 450), (540, 1_000)], true, 650.0);
        assert_eq!(axis.pieces().len(), 1);
    }

    #[test]
    fn places_and_moments_are_inverse_and_never_go_back() {
        let axis = folded();
        let mut before = -1.0;
        for at in (0..=234_000).step_by(97).map(|ms| ms * MS) {
            let x = axis.place(at);
            assert!(x >= before, "{at}");
            before = x;
            assert!(axis.moment(x).abs_diff(at) < 10 * MS, "{at}");
        }
        assert!((axis.place(u64::MAX) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn many_waits_share_what_there_is() {
        let busy = (0..9).map(|i| (i * 1_000, i * 1_000 + 10));
        let axis = Axis::new(0, 9_000, busy, true, 400.0);
        let width: f64 = axis.pieces().iter().map(|p| p.width).sum();
        assert!((width - 1.0).abs() < 1e-9);
        assert!(
            axis.pieces().iter().all(|p| p.width > 0.02),
            "{:?}",
            axis.pieces()
        );
    }

    #[test]
    fn nothing_at_all_still_has_an_axis() {
        let axis = Axis::new(0, 0, [], true, 0.0);
        assert_eq!(axis.pieces().len(), 1);
        assert!(axis.place(0).is_finite());
        assert!(!axis.ticks(0.0).is_empty());
    }

    #[test]
    fn ticks_are_round_and_apart() {
        let axis = folded();
        let ticks = axis.ticks(650.0);
        assert_eq!(ticks[0].label, "0");
        assert!(ticks.iter().any(|t| t.label.starts_with('+')), "{ticks:?}");
        for pair in ticks.windows(2) {
            assert!(
                (pair[1].x - pair[0].x) * 650.0 >= TICK_EVERY_PX - 1.0,
                "{pair:?}"
            );
        }
        for length in [
            7,
            900,
            12_345,
            4_400_000,
            90_000_000,
            61_000_000_000,
            40_000_000_000_000,
            u64::MAX / 4,
        ] {
            let ticks = Axis::new(0, length, [], true, 800.0).ticks(800.0);
            assert!((1..=18).contains(&ticks.len()), "{length}: {}", ticks.len());
        }
    }
}
