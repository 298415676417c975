//! Where the map's nodes stand and how its edges run.
//!
//! Layers from left to right by rust-sugiyama, after the cycles are broken; groups docked to their only service, so
//! that both move as one box; components packed below each other. A map that differs little from the one before keeps
//! every old box where it stood and finds free places for the new ones. Pure and deterministic.

mod boxes;
mod curves;
mod place;

use std::sync::Arc;

use crate::topology::Topology;

/// Positions and curves, in pixels at 100%.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Layout {
    /// Version of the topology it is of.
    pub version: String,
    /// Extent.
    pub width: f64,
    /// Extent.
    pub height: f64,
    /// One a node, by id.
    pub nodes: Vec<Placed>,
    /// Curves of the edges that are drawn, by id. Not drawn: `consumes` within a dock, and `derives`, whose way
    /// through group and service is.
    pub edges: Vec<Curve>,
}

/// A node's rectangle; `x`, `y` are its top left corner.
#[derive(Clone, PartialEq, Debug)]
pub struct Placed {
    /// The node.
    pub id: Arc<str>,
    /// Left.
    pub x: f64,
    /// Top.
    pub y: f64,
    /// Width.
    pub w: f64,
    /// Height.
    pub h: f64,
    /// The service whose left edge this group stands at.
    pub dock: Option<Arc<str>>,
}

/// An edge's way: cubic Bezier points, 1 + 3n of them.
#[derive(Clone, PartialEq, Debug)]
pub struct Curve {
    /// The edge.
    pub id: Arc<str>,
    /// `[x, y]`.
    pub points: Vec<[f64; 2]>,
}

impl Layout {
    /// A node's place by id.
    #[must_use]
    pub fn node(&self, id: &str) -> Option<&Placed> {
        self.nodes
            .binary_search_by(|node| (*node.id).cmp(id))
            .ok()
            .map(|at| &self.nodes[at])
    }
}

/// Lays a map out. `seed`: the layout shown before, which the new one departs from as little as it can.
///
/// Cost: below half a second for 1,000 nodes and 2,600 edges on one core; call it off the async threads.
#[must_use]
pub fn layout(topology: &Topology, seed: Option<&Layout>) -> Layout {
    let boxes = boxes::Boxes::of(topology);
    let places = seed
        .and_then(|seed| place::keeping(&boxes, seed))
        .unwrap_or_else(|| place::anew(&boxes, seed));
    let mut nodes = boxes.nodes(&places);
    nodes.sort_by(|a, b| a.id.cmp(&b.id));
    let mut layout = Layout {
        version: topology.version.clone(),
        nodes,
        ..Layout::default()
    };
    layout.edges = curves::curves(topology, &boxes, &places, &layout);
    let right = layout.nodes.iter().map(|n| n.x + n.w);
    let bottom = layout.nodes.iter().map(|n| n.y + n.h);
    layout.width = right.fold(0.0, f64::max) + place::MARGIN;
    layout.height = bottom
        .chain(
            layout
                .edges
                .iter()
                .flat_map(|e| e.points.iter().map(|p| p[1])),
        )
        .fold(0.0, f64::max)
        + place::MARGIN;
    layout
}
