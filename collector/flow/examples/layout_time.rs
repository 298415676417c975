//! Prints how long layouts take: `cargo run --release -p highwater-flow --example layout_time [NODES EDGES]`.
//!
//! The bar is half a second for 1,000 nodes and about 2,600 edges.

use std::time::Instant;

use highwater_flow::layout::layout;
use highwater_flow::topology::Latency;
use highwater_flow::{Edge, EdgeKind, Node, NodeKind, Sketch, Topology, Window};
use highwater_model::UnixNanos;

/// A map of layers, as event flows are: services, topics and groups in turn, most edges to a near neighbour.
fn made_map(nodes: usize, edges: usize) -> Topology {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    let kinds = [NodeKind::Service, NodeKind::Topic, NodeKind::Group];
    let words = ["service", "topic", "group"];
    let id = |at: usize| format!("{}:{at:06}", words[at % 3]);
    let mut list: Vec<Node> = (0..nodes)
        .map(|at| Node {
            id: id(at).into(),
            kind: kinds[at % 3],
            name: format!("node-{at}").into(),
            cluster: None,
            namespace: None,
            instrumented: true,
            inferred: false,
            last_seen: None,
            rate: None,
            rate_source: None,
            work: Sketch::default(),
            partitions: None,
        })
        .collect();
    list.sort_by(|a, b| a.id.cmp(&b.id));
    let mut made = std::collections::BTreeMap::new();
    for _ in 0..edges * 40 {
        if made.len() >= edges {
            break;
        }
        let from = random(nodes);
        // One in fifty leads back.
        let to = if random(50) == 0 {
            from.saturating_sub(3 * random(20) + 2)
        } else {
            from + 1 + 3 * random(12)
        };
        if to >= nodes || to % 3 != (from + 1) % 3 {
            continue;
        }
        let kind = [EdgeKind::Produces, EdgeKind::Delivers, EdgeKind::Consumes][from % 3];
        let name = format!("{} {}>{}", kind.as_str(), id(from), id(to));
        made.insert(name.clone(), (kind, from, to));
    }
    let edges = made
        .into_iter()
        .map(|(name, (kind, from, to))| Edge {
            id: name.into(),
            from: id(from).into(),
            to: id(to).into(),
            kind,
            instrumented: true,
            messages: Some(1),
            records: None,
            errors: 0,
            rate: None,
            rate_source: None,
            latency: Latency::default(),
        })
        .collect();
    Topology {
        window: Window {
            from: UnixNanos(0),
            to: UnixNanos(0),
            rate_from: UnixNanos(0),
        },
        version: String::new(),
        nodes: list,
        edges,
        truncated: false,
    }
}

fn main() {
    let given: Vec<usize> = std::env::args()
        .skip(1)
        .filter_map(|a| a.parse().ok())
        .collect();
    let sizes = match given.as_slice() {
        [nodes, edges] => vec![(*nodes, *edges)],
        _ => vec![
            (100, 250),
            (300, 780),
            (1_000, 2_616),
            (1_000, 4_880),
            (5_000, 13_000),
        ],
    };
    for (nodes, edges) in sizes {
        let map = made_map(nodes, edges);
        let started = Instant::now();
        let first = layout(&map, None);
        let anew = started.elapsed();
        let started = Instant::now();
        let second = layout(&map, Some(&first));
        let seeded = started.elapsed();
        println!(
            "{nodes:>6} nodes {:>6} edges: {anew:>10.1?} anew, {seeded:>9.1?} with the one before; {:.0} x {:.0} px{}",
            map.edges.len(),
            first.width,
            first.height,
            if first == second { "" } else { "; moved" }
        );
    }
}
