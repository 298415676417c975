//! Labels of edges: never over a node, never over each other.

use std::collections::HashMap;

use super::edges::point_at;
use super::shapes::{Rect, text_width};

/// A label to be placed.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Wanted {
    /// The edge.
    pub(crate) id: String,
    /// What it says.
    pub(crate) text: String,
    /// It stands in a pill of the status colour, and is placed before the others.
    pub(crate) pill: bool,
    /// The edge's curve.
    pub(crate) points: Vec<[f64; 2]>,
}

/// A label and where its middle stands.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Placed {
    /// The edge.
    pub(crate) id: String,
    /// What it says.
    pub(crate) text: String,
    /// It stands in a pill.
    pub(crate) pill: bool,
    /// Middle.
    pub(crate) x: f64,
    /// Baseline.
    pub(crate) y: f64,
    /// Width of its box.
    pub(crate) w: f64,
}

/// Height of a label's box.
pub(crate) const HEIGHT: f64 = 16.0;
/// Size of its letters.
const SIZE: f64 = 10.0;

/// Side of a cell of the index.
const CELL: f64 = 96.0;

/// Boxes, found by where they are.
#[derive(Default)]
struct Taken {
    cells: HashMap<(i32, i32), Vec<Rect>>,
}

impl Taken {
    fn cells(rect: &Rect) -> impl Iterator<Item = (i32, i32)> + use<> {
        let cell = |v: f64| (v / CELL).floor().clamp(-1e6, 1e6) as i32;
        let (left, right) = (cell(rect.x), cell(rect.x + rect.w));
        let (top, bottom) = (cell(rect.y), cell(rect.y + rect.h));
        // A box of any size takes a bounded number of cells.
        let right = right.min(left + 64);
        let bottom = bottom.min(top + 64);
        (left..=right).flat_map(move |x| (top..=bottom).map(move |y| (x, y)))
    }

    fn add(&mut self, rect: Rect) {
        for cell in Self::cells(&rect) {
            self.cells.entry(cell).or_default().push(rect);
        }
    }

    fn is_free(&self, rect: &Rect) -> bool {
        Self::cells(rect)
            .filter_map(|cell| self.cells.get(&cell))
            .flatten()
            .all(|other| !other.overlaps(rect))
    }
}

/// Places labels along their curves where they cover no node and no other label; one that finds no room is left out, unless it is a pill.
///
/// About linear: boxes are looked up by where they are.
pub(crate) fn place(mut wanted: Vec<Wanted>, nodes: &[Rect]) -> Vec<Placed> {
    // What alerts has the first choice; a stable order keeps labels where they were.
    wanted.sort_by(|a, b| b.pill.cmp(&a.pill).then_with(|| a.id.cmp(&b.id)));
    let mut taken = Taken::default();
    for node in nodes {
        taken.add(*node);
    }
    let mut placed = Vec::with_capacity(wanted.len());
    for label in wanted {
        let w = text_width(&label.text, SIZE, label.pill) + if label.pill { 14.0 } else { 2.0 };
        let candidates = [0.5, 0.42, 0.58, 0.66, 0.74, 0.34, 0.82, 0.26]
            .into_iter()
            .filter_map(|t| {
                let at = point_at(&label.points, t)?;
                let ahead = point_at(&label.points, t + 0.05)?;
                let steep = (ahead[1] - at[1]).abs() > 0.7 * (ahead[0] - at[0]).abs();
                // Beside a flat line there is room above it; a steep one carries its label across.
                let lift = if label.pill || steep { 0.0 } else { 8.0 };
                let (x, y) = (at[0], at[1] - lift);
                Some((
                    x,
                    y,
                    Rect {
                        x: x - w / 2.0,
                        y: y - HEIGHT / 2.0,
                        w,
                        h: HEIGHT,
                    },
                ))
            })
            .collect::<Vec<_>>();
        let free = candidates.iter().find(|(_, _, rect)| taken.is_free(rect));
        let choice = match (free, label.pill) {
            (Some(choice), _) => Some(choice),
            (None, true) => candidates.first(),
            (None, false) => None,
        };
        if let Some(&(x, y, rect)) = choice {
            taken.add(rect);
            placed.push(Placed {
                id: label.id,
                text: label.text,
                pill: label.pill,
                x,
                y: y + 3.5,
                w,
            });
        }
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(id: &str, y: f64, pill: bool) -> Wanted {
        Wanted {
            id: id.to_owned(),
            text: "62.0/s".to_owned(),
            pill,
            points: vec![[0.0, y], [50.0, y], [100.0, y], [150.0, y]],
        }
    }

    #[test]
    fn a_label_stands_in_the_middle_above_its_line() {
        let placed = place(vec![flat("a", 100.0, false)], &[]);
        assert!((placed[0].x - 75.0).abs() < 1e-9 && (placed[0].y - 95.5).abs() < 1e-9);
    }

    #[test]
    fn labels_cover_neither_nodes_nor_each_other() {
        let node = Rect {
            x: 50.0,
            y: 80.0,
            w: 50.0,
            h: 38.0,
        };
        let wanted = vec![
            flat("a", 100.0, false),
            flat("b", 104.0, false),
            flat("c", 100.0, true),
        ];
        let placed = place(wanted, &[node]);
        assert_eq!(placed[0].id, "c", "what alerts goes first");
        for (i, a) in placed.iter().enumerate() {
            let rect = |p: &Placed| Rect {
                x: p.x - p.w / 2.0,
                y: p.y - 3.5 - HEIGHT / 2.0,
                w: p.w,
                h: HEIGHT,
            };
            assert!(!rect(a).overlaps(&node) || a.pill);
            for b in &placed[i + 1..] {
                assert!(!rect(a).overlaps(&rect(b)), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn an_alert_is_never_left_out() {
        let everywhere = Rect {
            x: -1e3,
            y: -1e3,
            w: 3e3,
            h: 3e3,
        };
        let placed = place(
            vec![flat("a", 0.0, false), flat("b", 0.0, true)],
            &[everywhere],
        );
        assert_eq!(placed.len(), 1);
        assert_eq!(placed[0].id, "b");
    }
}
