//! The part of the map in the window.

use super::shapes::Rect;

/// Smallest zoom.
pub(crate) const MIN: f64 = 0.1;
/// Largest zoom.
pub(crate) const MAX: f64 = 3.0;
/// Room around a map that is fitted.
const MARGIN: f64 = 20.0;

/// Where the map is drawn: its origin in px of the window, and its zoom.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct View {
    /// Left of the map's origin.
    pub(crate) x: f64,
    /// Top of the map's origin.
    pub(crate) y: f64,
    /// Zoom; 1 is 100%.
    pub(crate) k: f64,
}

impl Default for View {
    fn default() -> Self {
        Self {
            x: 0.0,
            y: 0.0,
            k: 1.0,
        }
    }
}

impl View {
    /// Fits what is drawn into a window of `w` by `h`, at most at 100%, in the middle.
    pub(crate) fn fit(bounds: Rect, w: f64, h: f64) -> Self {
        let k = ((w - 2.0 * MARGIN) / bounds.w.max(1.0))
            .min((h - 2.0 * MARGIN) / bounds.h.max(1.0))
            .clamp(MIN, 1.0);
        Self {
            x: (w - bounds.w * k) / 2.0 - bounds.x * k,
            y: (h - bounds.h * k) / 2.0 - bounds.y * k,
            k,
        }
    }

    /// Zooms by `factor` with the point (`x`, `y`) of the window held still.
    pub(crate) fn zoom(self, factor: f64, x: f64, y: f64) -> Self {
        let k = (self.k * factor).clamp(MIN, MAX);
        let by = k / self.k;
        Self {
            x: x - (x - self.x) * by,
            y: y - (y - self.y) * by,
            k,
        }
    }

    /// Moves by so many px of the window.
    pub(crate) fn pan(self, dx: f64, dy: f64) -> Self {
        Self {
            x: self.x + dx,
            y: self.y + dy,
            ..self
        }
    }

    /// Moves as little as needed to bring `rect` into a window of `w` by `h`.
    pub(crate) fn reveal(self, rect: Rect, w: f64, h: f64) -> Self {
        let shift = |start: f64, length: f64, room: f64| {
            let (a, b) = (start, start + length);
            if a < MARGIN {
                MARGIN - a
            } else if b > room - MARGIN {
                // What is larger than the window shows its beginning.
                (room - MARGIN - b).max(MARGIN - a)
            } else {
                0.0
            }
        };
        let dx = shift(self.x + rect.x * self.k, rect.w * self.k, w);
        let dy = shift(self.y + rect.y * self.k, rect.h * self.k, h);
        self.pan(dx, dy)
    }

    /// Returns how much is drawn: 0 all; 1 names, gauges and states; 2 shapes only.
    pub(crate) fn detail(self) -> u8 {
        // A node is about 38 px high at 100%.
        let node = 38.0 * self.k;
        if node >= 32.0 {
            0
        } else if node >= 18.0 {
            1
        } else {
            2
        }
    }

    /// Writes it for the address.
    pub(crate) fn write(self) -> String {
        format!("{:.0},{:.0},{:.3}", self.x, self.y, self.k)
    }

    /// Reads it from the address.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut parts = text
            .split(',')
            .map(|p| p.parse::<f64>().ok().filter(|v| v.is_finite()));
        let view = Self {
            x: parts.next()??,
            y: parts.next()??,
            k: parts.next()??.clamp(MIN, MAX),
        };
        parts.next().is_none().then_some(view)
    }
}

/// Returns the box around all of `rects`.
pub(crate) fn bounds(rects: impl IntoIterator<Item = Rect>) -> Option<Rect> {
    let mut rects = rects.into_iter();
    let first = rects.next()?;
    let (mut x, mut y) = (first.x, first.y);
    let (mut right, mut bottom) = (first.x + first.w, first.y + first.h);
    for r in rects {
        x = x.min(r.x);
        y = y.min(r.y);
        right = right.max(r.x + r.w);
        bottom = bottom.max(r.y + r.h);
    }
    Some(Rect {
        x,
        y,
        w: right - x,
        h: bottom - y,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_map_is_shown_at_100_percent_in_the_middle() {
        let view = View::fit(
            Rect {
                x: 10.0,
                y: 0.0,
                w: 400.0,
                h: 200.0,
            },
            1_000.0,
            600.0,
        );
        assert_eq!(
            view,
            View {
                x: 290.0,
                y: 200.0,
                k: 1.0
            }
        );
    }

    #[test]
    fn zooming_holds_the_point_under_the_pointer() {
        let before = View {
            x: 30.0,
            y: -10.0,
            k: 0.8,
        };
        let after = before.zoom(1.25, 200.0, 100.0);
        let on_map = |v: View| ((200.0 - v.x) / v.k, (100.0 - v.y) / v.k);
        let (a, b) = (on_map(before), on_map(after));
        assert!((a.0 - b.0).abs() < 1e-9 && (a.1 - b.1).abs() < 1e-9);
        assert!((after.k - 1.0).abs() < 1e-9);
        assert!((before.zoom(1e9, 0.0, 0.0).k - MAX).abs() < 1e-9);
    }

    #[test]
    fn revealing_moves_no_more_than_needed() {
        let view = View::default();
        let inside = Rect {
            x: 50.0,
            y: 50.0,
            w: 10.0,
            h: 10.0,
        };
        assert_eq!(view.reveal(inside, 500.0, 300.0), view);
        let right = Rect { x: 600.0, ..inside };
        assert_eq!(view.reveal(right, 500.0, 300.0), View { x: -130.0, ..view });
        let left = Rect { x: -40.0, ..inside };
        assert_eq!(view.reveal(left, 500.0, 300.0), View { x: 60.0, ..view });
    }

    #[test]
    fn the_view_survives_the_address() {
        let view = View {
            x: -12.0,
            y: 40.0,
            k: 0.75,
        };
        assert_eq!(View::read(&view.write()), Some(view));
        for bad in ["", "1,2", "1,2,3,4", "a,b,c", "NaN,0,1"] {
            assert_eq!(View::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn less_is_drawn_the_smaller_it_is() {
        let at = |k: f64| {
            View {
                k,
                ..View::default()
            }
            .detail()
        };
        assert_eq!((at(1.0), at(0.6), at(0.3)), (0, 1, 2));
    }
}
