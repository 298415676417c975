//! How edges run: curves of our own, because the layout gives positions only.

use std::collections::HashMap;
use std::sync::Arc;

use super::boxes::Boxes;
use super::{Curve, Layout, Placed};
use crate::topology::{Edge, EdgeKind, Topology};

/// Between two edges on one side of a node.
const PORT_GAP: f64 = 8.0;
/// How far under the consumer's box a back edge runs.
const UNDER: f64 = 11.0;

pub(super) fn curves(
    topology: &Topology,
    boxes: &Boxes,
    places: &[(f64, f64)],
    layout: &Layout,
) -> Vec<Curve> {
    let drawn: Vec<(&Edge, &Placed, &Placed)> = topology
        .edges
        .iter()
        .filter(|edge| edge.kind != EdgeKind::Derives)
        .filter_map(|edge| Some((edge, layout.node(&edge.from)?, layout.node(&edge.to)?)))
        .filter(|(_, from, to)| from.dock.as_ref() != Some(&to.id))
        .collect();
    let out = ports(&drawn, |(_, from, to)| (from, to));
    let into = ports(&drawn, |(_, from, to)| (to, from));
    drawn
        .iter()
        .enumerate()
        .map(|(at, (edge, from, to))| {
            // A docked group sends from its service's right edge, which is the edge of the box.
            let source = from
                .dock
                .as_ref()
                .and_then(|service| layout.node(service))
                .unwrap_or(from);
            let start = [source.x + source.w, from.y + from.h / 2.0 + out[at]];
            let end = [to.x, to.y + to.h / 2.0 + into[at]];
            let (a, b) = (boxes.of.get(&edge.from), boxes.of.get(&edge.to));
            let points = if a == b {
                around(source)
            } else if start[0] <= end[0] {
                forward(start, end)
            } else {
                let under = b.map_or(to.y + to.h, |&b| places[b].1 + boxes.blocks[b].h);
                let right = b.map_or(to.x + to.w, |&b| places[b].0 + boxes.blocks[b].w);
                back(from, end, right, under + UNDER)
            };
            Curve {
                id: edge.id.clone(),
                points,
            }
        })
        .collect()
}

/// For every edge, how far from the middle of its node's side it is attached: in the order of the other ends.
fn ports<'p>(
    drawn: &[(&'p Edge, &'p Placed, &'p Placed)],
    side: impl Fn(&(&'p Edge, &'p Placed, &'p Placed)) -> (&'p Placed, &'p Placed),
) -> Vec<f64> {
    let mut by_node: HashMap<&Arc<str>, Vec<(f64, usize)>> = HashMap::new();
    for (at, edge) in drawn.iter().enumerate() {
        let (own, other) = side(edge);
        by_node
            .entry(&own.id)
            .or_default()
            .push((other.y + other.h / 2.0, at));
    }
    let mut offsets = vec![0.0; drawn.len()];
    for mut ends in by_node.into_values() {
        ends.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let Some(&(_, first)) = ends.first() else {
            continue;
        };
        let height = side(&drawn[first]).0.h;
        let gap = PORT_GAP.min((height - 12.0).max(0.0) / (ends.len() as f64 - 1.0).max(1.0));
        let half = gap * (ends.len() as f64 - 1.0) / 2.0;
        for (order, (_, at)) in ends.into_iter().enumerate() {
            offsets[at] = gap * order as f64 - half;
        }
    }
    offsets
}

fn forward(start: [f64; 2], end: [f64; 2]) -> Vec<[f64; 2]> {
    let reach = ((end[0] - start[0]) * 0.5).clamp(8.0, 120.0);
    vec![
        start,
        [start[0] + reach, start[1]],
        [end[0] - reach, end[1]],
        end,
    ]
}

/// Against the flow: out of the source's left foot, under the consumer's box, into it from the left.
fn back(from: &Placed, end: [f64; 2], right: f64, under: f64) -> Vec<[f64; 2]> {
    let start = [from.x + 6.0, from.y + from.h - 9.0];
    let turn = [right + 14.0, under];
    let left = [end[0] - 4.0, under];
    vec![
        start,
        [start[0] - 24.0, start[1] + 5.0],
        [turn[0] + 22.0, turn[1]],
        turn,
        [turn[0] + (left[0] - turn[0]) / 3.0, under],
        [turn[0] + (left[0] - turn[0]) * 2.0 / 3.0, under],
        left,
        [left[0] - 20.0, under],
        [left[0] - 20.0, end[1]],
        end,
    ]
}

/// A loop over the top right corner.
fn around(node: &Placed) -> Vec<[f64; 2]> {
    let start = [node.x + node.w, node.y + 10.0];
    let end = [node.x + node.w - 14.0, node.y];
    vec![
        start,
        [start[0] + 26.0, start[1] - 4.0],
        [end[0] + 2.0, end[1] - 26.0],
        end,
    ]
}
