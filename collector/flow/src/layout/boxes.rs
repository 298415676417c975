//! What is moved as one: a node alone, or a service with the groups docked to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use petgraph::graph::DiGraph;
use petgraph::visit::EdgeRef;

use super::Placed;
use crate::topology::{EdgeKind, Node, NodeKind, Topology};

/// Sizes of the design: a docked group is 40 high alone and 36 in a stack.
const GROUP_HEIGHT: f64 = 40.0;
const STACKED_HEIGHT: f64 = 36.0;

/// A box: one node, or a service and its docked groups.
#[derive(Clone, Debug)]
pub(super) struct Block {
    /// The node, or the service of a dock.
    pub(super) node: Arc<str>,
    /// Its own width; a dock's groups stand to the left of it.
    own_width: f64,
    docked: Vec<Arc<str>>,
    dock_width: f64,
    pub(super) w: f64,
    pub(super) h: f64,
}

/// All boxes of a map, and the edges between them.
#[derive(Clone, Debug)]
pub(super) struct Boxes {
    pub(super) blocks: Vec<Block>,
    /// Box of a node.
    pub(super) of: HashMap<Arc<str>, usize>,
    /// Box to box, each once, no loops; in the direction they are laid out, feedback edges left out.
    pub(super) forward: BTreeSet<(usize, usize)>,
    /// Box to box against the flow.
    pub(super) feedback: BTreeSet<(usize, usize)>,
}

fn text_width(name: &str) -> f64 {
    // Inter at 12 px, medium: 6.6 px a character is wide enough for all but the widest names, which are cut.
    name.chars().count() as f64 * 6.6
}

fn size(node: &Node) -> (f64, f64) {
    let text = text_width(&node.name);
    match node.kind {
        NodeKind::Service => ((text + 24.0).clamp(104.0, 180.0).round(), 38.0),
        NodeKind::Unknown => (104.0, 38.0),
        NodeKind::Topic | NodeKind::RetryTopic | NodeKind::DeadLetterTopic => {
            ((text + 26.0).clamp(116.0, 190.0).round(), 36.0)
        }
        NodeKind::Group => ((text + 34.0).clamp(124.0, 190.0).round(), GROUP_HEIGHT),
    }
}

/// Width of a service that groups are docked to: its name only.
fn docked_service_width(node: &Node) -> f64 {
    (text_width(&node.name) + 22.0).clamp(90.0, 160.0).round()
}

impl Boxes {
    pub(super) fn of(topology: &Topology) -> Self {
        let mut services: BTreeMap<&Arc<str>, Vec<&Arc<str>>> = BTreeMap::new();
        for edge in &topology.edges {
            if edge.kind == EdgeKind::Consumes {
                services.entry(&edge.from).or_default().push(&edge.to);
            }
        }
        // A group docks when exactly one service reads it; several groups of one service stack there, by id.
        let mut docks: BTreeMap<&Arc<str>, Vec<&Node>> = BTreeMap::new();
        let mut is_docked = BTreeSet::new();
        for (group, readers) in services {
            if let ([service], Some(node)) = (readers.as_slice(), topology.node(group)) {
                docks.entry(service).or_default().push(node);
                is_docked.insert(group.clone());
            }
        }
        let mut blocks = Vec::new();
        let mut of = HashMap::new();
        for node in &topology.nodes {
            if is_docked.contains(&node.id) {
                continue;
            }
            let docked = docks.remove(&node.id).unwrap_or_default();
            let (own_width, alone) = size(node);
            let block = if docked.is_empty() {
                Block {
                    node: node.id.clone(),
                    own_width,
                    docked: Vec::new(),
                    dock_width: 0.0,
                    w: own_width,
                    h: alone,
                }
            } else {
                let own_width = docked_service_width(node);
                let dock_width = docked.iter().map(|g| size(g).0).fold(124.0, f64::max);
                Block {
                    node: node.id.clone(),
                    own_width,
                    dock_width,
                    w: dock_width + own_width,
                    h: match docked.len() {
                        1 => GROUP_HEIGHT,
                        n => STACKED_HEIGHT * n as f64,
                    },
                    docked: docked.iter().map(|g| g.id.clone()).collect(),
                }
            };
            for id in block.docked.iter().chain([&block.node]) {
                of.insert(id.clone(), blocks.len());
            }
            blocks.push(block);
        }
        let mut boxes = Self {
            blocks,
            of,
            forward: BTreeSet::new(),
            feedback: BTreeSet::new(),
        };
        boxes.connect(topology);
        boxes
    }

    /// Breaks the cycles: first where a retry or dead-letter topic leads back to the consumer that fed it, which is
    /// what a reader takes for the way back; then greedily.
    fn connect(&mut self, topology: &Topology) {
        let mut edges = BTreeSet::new();
        let mut typed = BTreeSet::new();
        for edge in &topology.edges {
            if edge.kind == EdgeKind::Derives {
                continue;
            }
            let (Some(&from), Some(&to)) = (self.of.get(&edge.from), self.of.get(&edge.to)) else {
                continue;
            };
            if from == to {
                continue;
            }
            edges.insert((from, to));
            if matches!(edge.kind, EdgeKind::Retries | EdgeKind::DeadLetters) {
                typed.insert((from, to));
            }
        }
        for (from, to) in typed {
            if edges.remove(&(to, from)) {
                self.feedback.insert((to, from));
            }
        }
        let mut graph = DiGraph::<(), ()>::new();
        let indices: Vec<_> = self.blocks.iter().map(|_| graph.add_node(())).collect();
        for &(from, to) in &edges {
            graph.add_edge(indices[from], indices[to], ());
        }
        let back: Vec<(usize, usize)> = petgraph::algo::greedy_feedback_arc_set(&graph)
            .map(|edge| (edge.source().index(), edge.target().index()))
            .collect();
        for edge in back {
            edges.remove(&edge);
            self.feedback.insert(edge);
        }
        self.forward = edges;
    }

    /// Rectangles of all nodes, given the top left corner of each box.
    pub(super) fn nodes(&self, places: &[(f64, f64)]) -> Vec<Placed> {
        let mut nodes = Vec::with_capacity(self.of.len());
        for (block, &(x, y)) in self.blocks.iter().zip(places) {
            nodes.push(Placed {
                id: block.node.clone(),
                x: x + block.dock_width,
                y,
                w: block.own_width,
                h: block.h,
                dock: None,
            });
            let each = block.h / block.docked.len().max(1) as f64;
            for (at, group) in block.docked.iter().enumerate() {
                nodes.push(Placed {
                    id: group.clone(),
                    x,
                    y: y + each * at as f64,
                    w: block.dock_width,
                    h: each,
                    dock: Some(block.node.clone()),
                });
            }
        }
        nodes
    }

    /// Where a box stood in an earlier layout; `None` when it was not there, or looked different.
    pub(super) fn stood(&self, block: usize, seed: &super::Layout) -> Option<(f64, f64)> {
        let block = &self.blocks[block];
        let service = seed.node(&block.node)?;
        for group in &block.docked {
            if seed.node(group)?.dock.as_ref() != Some(&block.node) {
                return None;
            }
        }
        let same = (service.w - block.own_width).abs() < 0.5 && (service.h - block.h).abs() < 0.5;
        let dock = block.docked.first().and_then(|group| seed.node(group));
        match dock {
            Some(dock) => {
                (same && (dock.w - block.dock_width).abs() < 0.5).then_some((dock.x, service.y))
            }
            None => (same && service.dock.is_none()).then_some((service.x, service.y)),
        }
    }
}
