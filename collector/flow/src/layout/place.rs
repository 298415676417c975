//! Where boxes stand.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::stable_graph::StableDiGraph;
use rust_sugiyama::configure::{Config, CrossingMinimization, RankingType};

use super::Layout;
use super::boxes::Boxes;

/// Free space around the map.
pub(super) const MARGIN: f64 = 20.0;
/// Between columns: room for an edge's curve and its label.
const COLUMN_GAP: f64 = 56.0;
/// Between boxes of a column.
const ROW_GAP: f64 = 22.0;
/// Between components.
const COMPONENT_GAP: f64 = 40.0;
/// Components are packed into rows of at least this width.
const ROW_WIDTH: f64 = 1_000.0;
/// Above either, layers are assigned and ordered by the simple method: the good one would take seconds.
const MAX_BOXES: usize = 2_500;
const MAX_EDGES: usize = 8_000;

/// Top left corners of the boxes, laid out without regard to where they stood, but in the order in which they stood.
pub(super) fn anew(boxes: &Boxes, seed: Option<&Layout>) -> Vec<(f64, f64)> {
    let stood: Vec<Option<(f64, f64)>> = (0..boxes.blocks.len())
        .map(|at| {
            let node = seed?.node(&boxes.blocks[at].node)?;
            Some((node.x, node.y))
        })
        .collect();
    // Top to bottom as before; new ones after the old ones, by id, which is the order of the boxes.
    let mut order: Vec<usize> = (0..boxes.blocks.len()).collect();
    order.sort_by(|&a, &b| {
        let key = |at: usize| stood[at].map_or(f64::INFINITY, |(_, y)| y);
        key(a).total_cmp(&key(b)).then(a.cmp(&b))
    });
    let mut rank = vec![0; order.len()];
    for (at, &block) in order.iter().enumerate() {
        rank[block] = at;
    }

    let mut places = vec![(0.0, 0.0); boxes.blocks.len()];
    let mut parts: Vec<(f64, f64, Vec<usize>)> = components(boxes)
        .into_iter()
        .map(|mut members| {
            members.sort_by_key(|&at| rank[at]);
            let columns = columns(boxes, &members);
            let (w, h) = stack(boxes, &columns, &mut places);
            (w, h, members)
        })
        .collect();
    // The largest first, so that a small one that comes or goes moves nothing else.
    parts.sort_by(|a, b| {
        let first = |part: &(f64, f64, Vec<usize>)| part.2.iter().min().copied();
        b.2.len().cmp(&a.2.len()).then(first(a).cmp(&first(b)))
    });
    let row_width = parts.iter().map(|part| part.0).fold(ROW_WIDTH, f64::max);
    let (mut x, mut y, mut row_height) = (MARGIN, MARGIN, 0.0);
    for (w, h, members) in parts {
        if x > MARGIN && x + w > MARGIN + row_width {
            y += row_height + COMPONENT_GAP;
            (x, row_height) = (MARGIN, 0.0);
        }
        for at in members {
            places[at].0 += x;
            places[at].1 += y;
        }
        x += w + COMPONENT_GAP + COLUMN_GAP;
        row_height = f64::max(row_height, h);
    }
    places
}

/// Boxes that hang together, in order of their first box.
fn components(boxes: &Boxes) -> Vec<Vec<usize>> {
    let mut sets = petgraph::unionfind::UnionFind::<usize>::new(boxes.blocks.len());
    for &(from, to) in boxes.forward.iter().chain(&boxes.feedback) {
        sets.union(from, to);
    }
    let mut parts: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut first: BTreeMap<usize, usize> = BTreeMap::new();
    for at in 0..boxes.blocks.len() {
        let root = sets.find(at);
        let first = *first.entry(root).or_insert(at);
        parts.entry(first).or_default().push(at);
    }
    parts.into_values().collect()
}

/// A box in a column, with the height it would like its middle at.
type Column = Vec<(usize, f64)>;

/// Layers of a component from left to right, each from top to bottom.
fn columns(boxes: &Boxes, members: &[usize]) -> Vec<Column> {
    let inside: BTreeSet<usize> = members.iter().copied().collect();
    let edges: Vec<(usize, usize)> = boxes
        .forward
        .iter()
        .copied()
        .filter(|(from, _)| inside.contains(from))
        .collect();
    if members.len() == 1 {
        return vec![vec![(members[0], 0.0)]];
    }
    if members.len() > MAX_BOXES || edges.len() > MAX_EDGES || !connected(members, &edges) {
        return simple_columns(boxes, members, &edges);
    }
    let mut graph: StableDiGraph<usize, ()> = StableDiGraph::new();
    let mut index = BTreeMap::new();
    for &at in members {
        index.insert(at, graph.add_node(at));
    }
    // The first order is found depth first, latest edge first: lower targets go in before higher ones.
    let position: BTreeMap<usize, usize> =
        members.iter().enumerate().map(|(i, &at)| (at, i)).collect();
    let mut edges = edges;
    edges.sort_by_key(|(from, to)| (position[from], std::cmp::Reverse(position[to])));
    for (from, to) in edges {
        graph.add_edge(index[&from], index[&to], ());
    }
    let config = Config {
        minimum_length: 1,
        vertex_spacing: ROW_GAP,
        dummy_vertices: true,
        dummy_size: 1.0,
        ranking_type: RankingType::MinimizeEdgeLength,
        c_minimization: CrossingMinimization::Barycenter,
        // Ten to fifty times slower, for few crossings less.
        transpose: false,
    };
    // The library lays layers out from top to bottom: width and height change places.
    let size = |_, at: &usize| (boxes.blocks[*at].h, boxes.blocks[*at].w);
    let mut layers: BTreeMap<i64, Column> = BTreeMap::new();
    for (placed, _, _) in rust_sugiyama::from_graph(&graph, &size, &config) {
        for (index, (across, along)) in placed {
            if let Some(&at) = graph.node_weight(index) {
                layers
                    .entry((along * 16.0).round() as i64)
                    .or_default()
                    .push((at, across));
            }
        }
    }
    let mut columns: Vec<Column> = layers.into_values().collect();
    for column in &mut columns {
        column.sort_by(|a, b| {
            a.1.total_cmp(&b.1)
                .then(position[&a.0].cmp(&position[&b.0]))
        });
    }
    columns
}

/// Whether the forward edges alone hold the members together: breaking cycles can leave one outside.
fn connected(members: &[usize], edges: &[(usize, usize)]) -> bool {
    let index: BTreeMap<usize, usize> =
        members.iter().enumerate().map(|(i, &at)| (at, i)).collect();
    let mut sets = petgraph::unionfind::UnionFind::<usize>::new(members.len());
    let joined = edges
        .iter()
        .filter(|(from, to)| sets.union(index[from], index[to]))
        .count();
    joined + 1 == members.len()
}

/// Longest-path layers, ordered by the mean of their predecessors: linear, for maps beyond what can be read anyway.
fn simple_columns(boxes: &Boxes, members: &[usize], edges: &[(usize, usize)]) -> Vec<Column> {
    let mut incoming: BTreeMap<usize, usize> = members.iter().map(|&at| (at, 0)).collect();
    let mut outgoing: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for &(from, to) in edges {
        *incoming.entry(to).or_default() += 1;
        outgoing.entry(from).or_default().push(to);
    }
    let mut layer: BTreeMap<usize, usize> = members.iter().map(|&at| (at, 0)).collect();
    let mut ready: Vec<usize> = members
        .iter()
        .copied()
        .filter(|at| incoming[at] == 0)
        .collect();
    while let Some(at) = ready.pop() {
        for &to in outgoing.get(&at).into_iter().flatten() {
            let next = layer[&at] + 1;
            if let Some(layer) = layer.get_mut(&to) {
                *layer = (*layer).max(next);
            }
            if let Some(left) = incoming.get_mut(&to) {
                *left -= 1;
                if *left == 0 {
                    ready.push(to);
                }
            }
        }
    }
    let depth = layer.values().max().map_or(0, |deepest| deepest + 1);
    let mut columns: Vec<Column> = vec![Vec::new(); depth];
    for &at in members {
        columns[layer[&at]].push((at, 0.0));
    }
    let mut middle: BTreeMap<usize, f64> = BTreeMap::new();
    let mut above: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for &(from, to) in edges {
        above.entry(to).or_default().push(from);
    }
    for column in &mut columns {
        let mut next = 0.0;
        for (at, wish) in column.iter_mut() {
            let known: Vec<f64> = above
                .get(at)
                .into_iter()
                .flatten()
                .filter_map(|from| middle.get(from).copied())
                .collect();
            *wish = if known.is_empty() {
                next
            } else {
                known.iter().sum::<f64>() / known.len() as f64
            };
            next += boxes.blocks[*at].h + ROW_GAP;
        }
        column.sort_by(|a, b| a.1.total_cmp(&b.1));
        for &(at, wish) in column.iter() {
            middle.insert(at, wish);
        }
    }
    columns
}

/// Places the columns of a component at the origin; boxes that would touch are moved down. Returns its extent.
fn stack(boxes: &Boxes, columns: &[Column], places: &mut [(f64, f64)]) -> (f64, f64) {
    let (mut x, mut top, mut bottom) = (0.0, f64::INFINITY, f64::NEG_INFINITY);
    for column in columns {
        let mut free = f64::NEG_INFINITY;
        let mut width: f64 = 0.0;
        for &(at, middle) in column {
            let block = &boxes.blocks[at];
            let y = (middle - block.h / 2.0).round().max(free);
            places[at] = (x, y);
            free = y + block.h + ROW_GAP;
            width = width.max(block.w);
            top = f64::min(top, y);
            bottom = f64::max(bottom, y + block.h);
        }
        x += width + COLUMN_GAP;
    }
    for column in columns {
        for &(at, _) in column {
            places[at].1 -= top;
        }
    }
    (x - COLUMN_GAP, bottom - top)
}

/// Top left corners with every old box where it stood and a free place found for each new one; `None` when too much
/// changed for that, or when an edge would then run backwards.
pub(super) fn keeping(boxes: &Boxes, seed: &Layout) -> Option<Vec<(f64, f64)>> {
    let count = boxes.blocks.len();
    let mut places: Vec<Option<(f64, f64)>> = (0..count).map(|at| boxes.stood(at, seed)).collect();
    let new: Vec<usize> = (0..count).filter(|&at| places[at].is_none()).collect();
    if new.len() == count || new.len() > (count / 5).max(3) {
        return None;
    }
    let right = |at: usize, x: f64| x + boxes.blocks[at].w;
    for &(from, to) in &boxes.forward {
        if let (Some(a), Some(b)) = (places[from], places[to])
            && right(from, a.0) > b.0
        {
            return None;
        }
    }
    let neighbours = |at: usize, places: &[Option<(f64, f64)>]| {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for &(from, to) in &boxes.forward {
            if to == at
                && let Some(place) = places[from]
            {
                before.push((from, place));
            }
            if from == at
                && let Some(place) = places[to]
            {
                after.push((to, place));
            }
        }
        (before, after)
    };
    let mut waiting = new;
    while !waiting.is_empty() {
        // Those with a placed neighbour first: the others hang on new ones, or on nothing.
        let next = waiting
            .iter()
            .position(|&at| {
                let (before, after) = neighbours(at, &places);
                !before.is_empty() || !after.is_empty()
            })
            .unwrap_or(0);
        let at = waiting.remove(next);
        let (before, after) = neighbours(at, &places);
        let least = before
            .iter()
            .map(|&(from, (x, _))| right(from, x) + COLUMN_GAP)
            .fold(f64::NEG_INFINITY, f64::max);
        let most = after
            .iter()
            .map(|&(_, (x, _))| x - COLUMN_GAP - boxes.blocks[at].w)
            .fold(f64::INFINITY, f64::min);
        if least > most {
            return None;
        }
        let x = match (least.is_finite(), most.is_finite()) {
            // Aligned with a column that is there already, if one fits.
            (true, _) => places
                .iter()
                .flatten()
                .map(|&(x, _)| x)
                .filter(|&x| x >= least - 0.5 && x <= most && x <= least + COLUMN_GAP * 2.0)
                .fold(f64::INFINITY, f64::min),
            (false, true) => most.max(MARGIN),
            (false, false) => MARGIN,
        };
        let x = if x.is_finite() { x } else { least };
        // What would have to stand left of the margin asks for a new layout.
        if x > most {
            return None;
        }
        let middles: Vec<f64> = before
            .iter()
            .chain(&after)
            .map(|&(other, (_, y))| y + boxes.blocks[other].h / 2.0)
            .collect();
        let lowest = places
            .iter()
            .enumerate()
            .filter_map(|(at, place)| place.map(|(_, y)| y + boxes.blocks[at].h))
            .fold(MARGIN, f64::max);
        let wish = if middles.is_empty() {
            lowest + COMPONENT_GAP
        } else {
            middles.iter().sum::<f64>() / middles.len() as f64 - boxes.blocks[at].h / 2.0
        };
        let y = free_row(boxes, &places, at, x, wish);
        places[at] = Some((x, y));
    }
    places.into_iter().collect()
}

/// The free height nearest to `wish` for a box at `x`.
fn free_row(boxes: &Boxes, places: &[Option<(f64, f64)>], at: usize, x: f64, wish: f64) -> f64 {
    let block = &boxes.blocks[at];
    let taken: Vec<(f64, f64)> = places
        .iter()
        .enumerate()
        .filter_map(|(other, place)| place.map(|place| (other, place)))
        .filter(|&(other, (left, _))| {
            left < x + block.w + ROW_GAP && x < left + boxes.blocks[other].w + ROW_GAP
        })
        .map(|(other, (_, y))| (y - ROW_GAP - block.h, y + boxes.blocks[other].h + ROW_GAP))
        .collect();
    let free = |y: f64| y >= MARGIN && taken.iter().all(|&(from, to)| y <= from || y >= to);
    taken
        .iter()
        .flat_map(|&(from, to)| [from, to])
        .chain([wish, MARGIN])
        .filter(|&y| free(y))
        .min_by(|a, b| (a - wish).abs().total_cmp(&(b - wish).abs()))
        .map_or(wish, f64::round)
}
