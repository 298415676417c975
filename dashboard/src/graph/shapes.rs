//! Outlines of nodes, and names that fit into them.

/// A box.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Rect {
    /// Left.
    pub(crate) x: f64,
    /// Top.
    pub(crate) y: f64,
    /// Width.
    pub(crate) w: f64,
    /// Height.
    pub(crate) h: f64,
}

impl Rect {
    /// Returns whether the two overlap.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.x < other.x + other.w
            && other.x < self.x + self.w
            && self.y < other.y + other.h
            && other.y < self.y + self.h
    }

    /// Returns the middle.
    pub(crate) fn centre(&self) -> (f64, f64) {
        (self.x + self.w / 2.0, self.y + self.h / 2.0)
    }
}

/// A lying cylinder of `w` by `h` at the origin: its outline, and the edge of its right end.
pub(crate) fn cylinder(w: f64, h: f64) -> (String, String) {
    let (end, half) = (w - 6.0, h / 2.0);
    (
        format!("M6 0H{end}A6 {half} 0 0 1 {end} {h}H6A6 {half} 0 0 1 6 0Z"),
        format!("M{end} 0A6 {half} 0 0 0 {end} {h}"),
    )
}

/// A box with cut corners: a dead-letter queue.
pub(crate) fn cut_corners(w: f64, h: f64) -> String {
    let c = 7.0;
    format!(
        "M{c} 0H{}L{w} {c}V{}L{} {h}H{c}L0 {}V{c}Z",
        w - c,
        h - c,
        w - c,
        h - c
    )
}

/// A box with corners rounded by `r`, top left first, clockwise; 0 is square.
pub(crate) fn rounded(w: f64, h: f64, r: [f64; 4]) -> String {
    let [tl, tr, br, bl] = r;
    format!(
        "M{tl} 0H{}q{tr} 0 {tr} {tr}V{}q0 {br} -{br} {br}H{bl}q-{bl} 0 -{bl} -{bl}V{tl}q0 -{tl} {tl} -{tl}Z",
        w - tr,
        h - br
    )
}

/// Advances of Inter's letters in hundredths of an em, semi-bold, from space to tilde.
const ADVANCES: [u8; 95] = [
    25, 32, 46, 64, 65, 100, 66, 28, 37, 37, 54, 67, 32, 47, 32, 38, // space to /
    66, 42, 62, 64, 67, 61, 64, 58, 64, 64, 32, 32, 67, 67, 67, 55, // 0 to ?
    100, 73, 66, 74, 72, 61, 59, 75, 75, 28, 58, 70, 57, 92, 76, 77, // @ to O
    65, 77, 65, 65, 66, 74, 73, 102, 72, 71, 65, 37, 38, 37, 48, 47, // P to _
    36, 57, 62, 58, 62, 59, 39, 63, 61, 26, 26, 57, 26, 90, 61, 61, // ` to o
    62, 62, 40, 55, 35, 61, 59, 84, 57, 59, 57, 45, 34, 45, 67, // p to ~
];

/// Returns about how wide `text` is in Inter at `size` px; `semi` for semi-bold. Letters beyond ASCII count an em.
pub(crate) fn text_width(text: &str, size: f64, semi: bool) -> f64 {
    let hundredths: u32 = text
        .chars()
        .map(|c| match c {
            '\u{a0}' => 25,
            '…' => 96,
            c => usize::try_from(u32::from(c))
                .ok()
                .and_then(|c| ADVANCES.get(c.checked_sub(32)?))
                .map_or(100, |a| u32::from(*a)),
        })
        .sum();
    f64::from(hundredths) / 100.0 * size * if semi { 1.0 } else { 0.97 }
}

/// Shortens `text` to `width` px at `size` px, in front: the end of a topic's or group's name tells it apart.
pub(crate) fn fit(text: &str, width: f64, size: f64, semi: bool) -> String {
    if text_width(text, size, semi) <= width {
        return text.to_owned();
    }
    let mut chars: Vec<char> = text.chars().collect();
    while !chars.is_empty() {
        chars.remove(0);
        let short = format!("…{}", chars.iter().collect::<String>());
        if text_width(&short, size, semi) <= width {
            return short;
        }
    }
    "…".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_loses_its_beginning() {
        assert_eq!(fit("orders", 100.0, 11.0, true), "orders");
        let short = fit("orders.billing.retry-1", 90.0, 11.0, true);
        assert!(
            short.starts_with('…') && short.ends_with(".retry-1"),
            "{short}"
        );
        assert!(text_width(&short, 11.0, true) <= 90.0);
        assert_eq!(fit("orders", 0.0, 11.0, true), "…");
    }

    #[test]
    fn widths_are_those_the_browser_measures() {
        // measureText, Inter: 600 100px and 400 100px.
        assert!((text_width("catalog.changes", 100.0, true) - 806.0).abs() < 12.0);
        assert!((text_width("catalog.changes", 100.0, false) - 782.0).abs() < 12.0);
    }

    #[test]
    fn outlines_stay_in_their_box() {
        assert_eq!(
            rounded(10.0, 8.0, [0.0; 4]),
            "M0 0H10q0 0 0 0V8q0 0 -0 0H0q-0 0 -0 -0V0q0 -0 0 -0Z"
        );
        assert!(cut_corners(116.0, 36.0).starts_with("M7 0H109L116 7V29"));
        assert!(cylinder(116.0, 36.0).0.contains("A6 18"));
    }

    #[test]
    fn touching_boxes_do_not_overlap() {
        let a = Rect {
            x: 0.0,
            y: 0.0,
            w: 10.0,
            h: 10.0,
        };
        assert!(!a.overlaps(&Rect { x: 10.0, ..a }));
        assert!(a.overlaps(&Rect {
            x: 9.0,
            y: 9.0,
            ..a
        }));
    }
}
