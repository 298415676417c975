//! Who is up- or downstream of whom, and where an arrow key leads.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use super::shapes::Rect;

/// Which way an arrow key leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// Against the flow.
    Left,
    /// With the flow.
    Right,
    /// Within the layer, above.
    Up,
    /// Within the layer, below.
    Down,
}

/// Returns `start` and everything that can be reached from it along the edges, or against them.
fn reach<'a>(start: &'a str, next: &HashMap<&'a str, Vec<&'a str>>) -> HashSet<&'a str> {
    let mut seen = HashSet::from([start]);
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for &to in next.get(at).into_iter().flatten() {
            if seen.insert(to) {
                queue.push_back(to);
            }
        }
    }
    seen
}

/// Returns everything up- and downstream of `start`, itself included. `edges` are (from, to).
pub(crate) fn stream<'a>(
    start: &'a str,
    edges: impl Iterator<Item = (&'a str, &'a str)>,
) -> HashSet<&'a str> {
    let (mut down, mut up): (HashMap<_, Vec<_>>, HashMap<_, Vec<_>>) = Default::default();
    for (from, to) in edges {
        down.entry(from).or_default().push(to);
        up.entry(to).or_default().push(from);
    }
    let mut all = reach(start, &down);
    all.extend(reach(start, &up));
    all
}

/// Returns where an arrow key leads from `at`: with or against the flow the nearest neighbour in height; up and down the nearest node of the same layer.
///
/// Without a neighbour that way, `None`.
pub(crate) fn step<'a>(
    at: &str,
    way: Way,
    places: &'a BTreeMap<String, Rect>,
    edges: impl Iterator<Item = (&'a str, &'a str)>,
) -> Option<&'a str> {
    let here = places.get(at)?;
    let (cx, cy) = here.centre();
    let far = |id: &str| places.get(id).map(|r| (r.centre().1 - cy).abs());
    match way {
        Way::Left | Way::Right => edges
            .filter_map(|(from, to)| match way {
                Way::Right if from == at => Some(to),
                Way::Left if to == at => Some(from),
                _ => None,
            })
            .filter_map(|id| Some((id, far(id)?)))
            .min_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(b.0)))
            .map(|(id, _)| id),
        Way::Up | Way::Down => places
            .iter()
            .filter(|(id, r)| {
                let (x, y) = r.centre();
                // A layer is what shares a column: the boxes' middles lie within half a box.
                id.as_str() != at
                    && (x - cx).abs() < here.w.max(r.w) / 2.0
                    && if way == Way::Up { y < cy } else { y > cy }
            })
            .min_by(|a, b| {
                let dy = |r: &Rect| (r.centre().1 - cy).abs();
                dy(a.1).total_cmp(&dy(b.1))
            })
            .map(|(id, _)| id.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDGES: [(&str, &str); 5] = [("a", "t"), ("b", "t"), ("t", "g"), ("t", "h"), ("x", "y")];

    fn places() -> BTreeMap<String, Rect> {
        [
            ("a", 0.0, 0.0),
            ("b", 0.0, 100.0),
            ("t", 200.0, 40.0),
            ("g", 400.0, 30.0),
            ("h", 400.0, 200.0),
        ]
        .into_iter()
        .map(|(id, x, y)| {
            (
                id.to_owned(),
                Rect {
                    x,
                    y,
                    w: 100.0,
                    h: 38.0,
                },
            )
        })
        .collect()
    }

    #[test]
    fn hover_keeps_what_is_up_and_downstream() {
        assert_eq!(
            stream("t", EDGES.into_iter()),
            HashSet::from(["a", "b", "t", "g", "h"])
        );
        assert_eq!(
            stream("g", EDGES.into_iter()),
            HashSet::from(["a", "b", "t", "g"])
        );
    }

    #[test]
    fn a_loop_ends() {
        let edges = [("a", "b"), ("b", "a")];
        assert_eq!(stream("a", edges.into_iter()).len(), 2);
    }

    #[test]
    fn arrows_follow_the_flow_and_the_layer() {
        let places = places();
        let go = |at, way| step(at, way, &places, EDGES.into_iter());
        assert_eq!(go("t", Way::Right), Some("g"));
        assert_eq!(go("t", Way::Left), Some("a"));
        assert_eq!(go("a", Way::Down), Some("b"));
        assert_eq!(go("h", Way::Up), Some("g"));
        assert_eq!(go("t", Way::Up), None);
        assert_eq!(go("g", Way::Right), None);
        assert_eq!(go("nobody", Way::Right), None);
    }
}
