//! What the map shows: topology and layout joined, with what the toggles hide taken out.

use std::collections::{BTreeMap, HashSet};

use highwater_shared::Level;
use highwater_shared::lag::State;
use highwater_shared::topology::{Edge, EdgeKind, Layout, Node, NodeKind, Topology};

use super::labels::Labels;
use crate::components::marks::Kind;
use crate::format::{UNKNOWN, count, count_full, duration_ns, percent, plural, rate, time_lag};
use crate::graph::edges::point_at;
use crate::graph::shapes::Rect;

/// A node without traffic for this long is idle.
const IDLE_NS: u64 = 15 * 60 * 1_000_000_000;

/// Half the side of the spot where an edge is best pressed.
pub(super) const HANDLE: f64 = 7.0;

/// A node and its box.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Placed {
    /// The node.
    pub(super) node: Node,
    /// Its box.
    pub(super) rect: Rect,
    /// It stands at the left edge of a service.
    pub(super) docked: bool,
    /// Groups stand at its left edge.
    pub(super) has_docks: bool,
    /// Its second line.
    pub(super) line: String,
}

/// An edge and its curve.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Line {
    /// The edge.
    pub(super) edge: Edge,
    /// Its curve.
    pub(super) points: Vec<[f64; 2]>,
    /// Its colour.
    pub(super) tone: Tone,
    /// Messages run on it.
    pub(super) flows: bool,
    /// What its label says.
    pub(super) label: Option<String>,
    /// A point of the curve that no node covers: where it is best pressed.
    pub(super) handle: Option<[f64; 2]>,
}

/// Colour of an edge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tone {
    /// Grey.
    Plain,
    /// Its group is above the mark.
    Hot,
    /// Its group is on the way there.
    Warm,
    /// Into a dead-letter topic.
    DeadLetter,
    /// Into or out of a retry topic.
    Retry,
}

impl Tone {
    /// Returns its class.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Hot => "hot",
            Self::Warm => "warm",
            Self::DeadLetter => "typed",
            Self::Retry => "retry",
        }
    }

    /// Returns whether its label stands in a pill.
    pub(super) const fn alerts(self) -> bool {
        matches!(self, Self::Hot | Self::Warm)
    }
}

/// What is hidden and shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Toggles {
    /// Idle nodes are shown.
    pub(super) idle: bool,
    /// What sends no spans is shown.
    pub(super) uninstrumented: bool,
    /// What edges say.
    pub(super) labels: Labels,
}

/// The map as drawn.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Scene {
    /// Nodes by id.
    pub(super) nodes: BTreeMap<String, Placed>,
    /// Edges by id.
    pub(super) edges: BTreeMap<String, Line>,
}

impl Scene {
    /// Joins topology and layout.
    pub(super) fn new(topology: &Topology, layout: &Layout, toggles: Toggles) -> Self {
        let mut scene = Self::default();
        let boxes: BTreeMap<&str, &highwater_shared::topology::PlacedNode> =
            layout.nodes.iter().map(|n| (n.id.as_str(), n)).collect();
        let docks: HashSet<&str> = layout
            .nodes
            .iter()
            .filter_map(|n| n.dock.as_deref())
            .collect();
        for node in &topology.nodes {
            if why_hidden(node, topology, toggles).is_some() {
                continue;
            }
            let Some(place) = boxes.get(node.id.as_str()) else {
                continue;
            };
            if ![place.x, place.y, place.w, place.h]
                .iter()
                .all(|v| v.is_finite())
            {
                continue;
            }
            scene.nodes.insert(
                node.id.clone(),
                Placed {
                    node: node.clone(),
                    rect: Rect {
                        x: place.x,
                        y: place.y,
                        w: place.w.max(8.0),
                        h: place.h.max(8.0),
                    },
                    docked: place.dock.is_some(),
                    has_docks: docks.contains(node.id.as_str()),
                    line: second_line(node, topology),
                },
            );
        }
        let curves: BTreeMap<&str, &Vec<[f64; 2]>> = layout
            .edges
            .iter()
            .map(|e| (e.id.as_str(), &e.points))
            .collect();
        for edge in &topology.edges {
            let (Some(from), Some(to)) = (scene.nodes.get(&edge.from), scene.nodes.get(&edge.to))
            else {
                continue;
            };
            // A docked group touches its service: there is no edge to draw.
            let points = curves
                .get(edge.id.as_str())
                .map(|p| (*p).clone())
                .unwrap_or_default();
            let tone = tone(edge, &from.node, &to.node);
            let state = group_of(edge, &from.node, &to.node)
                .and_then(|g| g.lag.as_ref())
                .map(|l| l.state);
            let line = Line {
                handle: handle(&points, scene.nodes.values().map(|n| n.rect)),
                flows: edge.instrumented
                    && edge.rate.is_some_and(|r| r > 0.0)
                    && !matches!(state, Some(State::Stopped)),
                label: label(
                    edge,
                    state,
                    tone,
                    group_of(edge, &from.node, &to.node),
                    toggles.labels,
                ),
                edge: edge.clone(),
                points,
                tone,
            };
            scene.edges.insert(edge.id.clone(), line);
        }
        scene
    }

    /// Returns all edges as (from, to).
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.edges
            .values()
            .map(|l| (l.edge.from.as_str(), l.edge.to.as_str()))
    }

    /// Returns the boxes of all nodes.
    pub(super) fn places(&self) -> BTreeMap<String, Rect> {
        self.nodes
            .iter()
            .map(|(id, n)| (id.clone(), n.rect))
            .collect()
    }

    /// Returns the alerting nodes, worst first.
    pub(super) fn alerting(&self) -> Vec<String> {
        let mut all: Vec<&Placed> = self
            .nodes
            .values()
            .filter(|n| matches!(n.node.level, Level::Critical | Level::Warning))
            .collect();
        let badness = |n: &Placed| {
            let over = n.node.lag.as_ref().map_or(0.0, |l| {
                l.time_lag_ms.unwrap_or_default() as f64 / l.mark_ms.max(1) as f64
            });
            (n.node.level == Level::Critical, over)
        };
        all.sort_by(|a, b| {
            let (a, b) = (badness(a), badness(b));
            b.0.cmp(&a.0).then_with(|| b.1.total_cmp(&a.1))
        });
        all.into_iter().map(|n| n.node.id.clone()).collect()
    }
}

/// Why a node is not shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hidden {
    /// Nothing happens at it.
    Idle,
    /// It sends no spans.
    Silent,
}

/// Returns why the toggles hide a node, if they do.
fn why_hidden(node: &Node, topology: &Topology, toggles: Toggles) -> Option<Hidden> {
    if !toggles.idle && is_idle(node, topology.window.to.0) {
        Some(Hidden::Idle)
    } else if !toggles.uninstrumented && is_silent(node) {
        Some(Hidden::Silent)
    } else {
        None
    }
}

/// Returns how many nodes are hidden because they are idle, and because they send no spans.
pub(super) fn hidden(topology: &Topology, toggles: Toggles) -> (usize, usize) {
    let count = |why| {
        topology
            .nodes
            .iter()
            .filter(|n| why_hidden(n, topology, toggles) == Some(why))
            .count()
    };
    (count(Hidden::Idle), count(Hidden::Silent))
}

/// Returns whether nothing happens at a node and nothing waits there.
fn is_idle(node: &Node, now: u64) -> bool {
    let recent = node
        .last_seen
        .is_some_and(|seen| now.saturating_sub(seen.0) < IDLE_NS);
    let moves = node.rate.is_some_and(|r| r > 0.0);
    let waits = node.lag.as_ref().is_some_and(|l| l.lag_messages != Some(0))
        || node
            .dead_letters
            .as_ref()
            .is_some_and(|d| d.retained != Some(0));
    let alerts = matches!(node.level, Level::Critical | Level::Warning);
    !recent && !moves && !waits && !alerts
}

/// Returns whether a node is somebody who sends no spans. A topic sends none itself.
pub(super) fn is_silent(node: &Node) -> bool {
    !node.instrumented
        && matches!(
            node.kind,
            NodeKind::Service | NodeKind::Group | NodeKind::Unknown
        )
}

/// Returns the group an edge belongs to: the one it enters, or leaves.
fn group_of<'a>(edge: &Edge, from: &'a Node, to: &'a Node) -> Option<&'a Node> {
    match edge.kind {
        EdgeKind::Delivers => Some(to),
        EdgeKind::Consumes => Some(from),
        _ => None,
    }
}

/// Returns the colour of an edge.
fn tone(edge: &Edge, from: &Node, to: &Node) -> Tone {
    match group_of(edge, from, to).map(|g| g.level) {
        Some(Level::Critical) => return Tone::Hot,
        Some(Level::Warning) => return Tone::Warm,
        _ => {}
    }
    if edge.kind == EdgeKind::DeadLetters || to.kind == NodeKind::DeadLetterTopic {
        Tone::DeadLetter
    } else if edge.kind == EdgeKind::Retries || [from.kind, to.kind].contains(&NodeKind::RetryTopic)
    {
        Tone::Retry
    } else {
        Tone::Plain
    }
}

/// Returns a point of a curve that none of `nodes` covers, as near the middle as there is one.
fn handle(points: &[[f64; 2]], nodes: impl Iterator<Item = Rect> + Clone) -> Option<[f64; 2]> {
    let open = |p: &[f64; 2]| {
        let spot = Rect {
            x: p[0] - HANDLE,
            y: p[1] - HANDLE,
            w: 2.0 * HANDLE,
            h: 2.0 * HANDLE,
        };
        !nodes.clone().any(|n| n.overlaps(&spot))
    };
    [0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.1, 0.9]
        .into_iter()
        .filter_map(|t| point_at(points, t))
        .find(open)
        .or_else(|| point_at(points, 0.5))
}

/// Returns what an edge's label says: what was chosen, and what is wrong where the group alerts.
fn label(
    edge: &Edge,
    state: Option<State>,
    tone: Tone,
    group: Option<&Node>,
    labels: Labels,
) -> Option<String> {
    if !labels.any() {
        return None;
    }
    match edge.kind {
        EdgeKind::Delivers => {
            let lag = group
                .and_then(|g| g.lag.as_ref())
                .and_then(|l| l.time_lag_ms);
            match state {
                Some(State::Stopped) if tone.alerts() => Some("stopped".to_owned()),
                Some(State::Stalled) if tone.alerts() => Some("stuck".to_owned()),
                Some(State::DataLoss) => Some("data loss".to_owned()),
                _ => labels
                    .of(edge)
                    .or_else(|| lag.filter(|_| tone.alerts()).map(time_lag)),
            }
        }
        EdgeKind::Consumes => None,
        _ => labels.of(edge),
    }
}

/// Returns the second line of a node.
fn second_line(node: &Node, topology: &Topology) -> String {
    let speed = |r: Option<f64>| r.map(rate);
    match node.kind {
        NodeKind::Group => match &node.lag {
            Some(lag) => match (lag.lag_messages, lag.time_lag_ms) {
                (Some(messages), Some(time)) => format!("{}, {}", count(messages), time_lag(time)),
                (Some(messages), None) => format!("{}, {UNKNOWN}", count(messages)),
                (None, Some(time)) => time_lag(time),
                (None, None) => match lag.state {
                    State::NoCommit => "no commit yet".to_owned(),
                    _ => UNKNOWN.to_owned(),
                },
            },
            None => speed(node.rate).unwrap_or_else(|| "lag not read".to_owned()),
        },
        NodeKind::Topic => {
            let partitions = node.partitions.map(|p| format!("{p}\u{a0}p"));
            join(&[speed(node.rate), partitions])
        }
        NodeKind::RetryTopic => join(&[Some("retry".to_owned()), speed(node.rate)]),
        NodeKind::DeadLetterTopic => {
            let depth = node.dead_letters.as_ref();
            let retained = depth
                .and_then(|d| d.retained)
                .map_or_else(|| UNKNOWN.to_owned(), count);
            let arrives = depth
                .and_then(|d| d.arrivals_per_hour)
                .filter(|a| *a > 0.0)
                .map(|a| format!("+{}", rate(a / 3_600.0)));
            join(&[Some(retained), arrives])
        }
        NodeKind::Service => {
            if let Some(work) = &node.work {
                return format!("p95 {}", duration_ns(work.p95_ns));
            }
            let out: f64 = topology
                .edges
                .iter()
                .filter(|e| e.from == node.id)
                .filter_map(|e| e.rate)
                .sum();
            if out > 0.0 {
                format!("{} out", rate(out))
            } else {
                speed(node.rate).unwrap_or_else(|| "no traffic".to_owned())
            }
        }
        NodeKind::Unknown => join(&[
            speed(node.rate.filter(|r| *r > 0.0)),
            Some("no spans".to_owned()),
        ]),
    }
}

/// Joins what is there with commas.
fn join(parts: &[Option<String>]) -> String {
    let parts: Vec<&str> = parts.iter().flatten().map(String::as_str).collect();
    parts.join(", ")
}

/// Returns what a node is, in words.
pub(super) fn kind_word(node: &Node) -> &'static str {
    match node.kind {
        NodeKind::Service => "Service",
        NodeKind::Topic => "Topic",
        NodeKind::RetryTopic => "Retry topic",
        NodeKind::DeadLetterTopic => "Dead-letter topic",
        NodeKind::Group => "Consumer group",
        NodeKind::Unknown => "Not instrumented",
    }
}

/// Returns the entity a node is drawn as in text.
pub(super) fn kind_mark(node: &Node) -> Kind {
    match node.kind {
        NodeKind::Service => Kind::Service,
        NodeKind::Topic | NodeKind::RetryTopic => Kind::Topic,
        NodeKind::DeadLetterTopic => Kind::DeadLetter,
        NodeKind::Group => Kind::Group,
        NodeKind::Unknown => Kind::Unknown,
    }
}

/// Returns what an edge is, in words.
pub(super) const fn edge_word(kind: EdgeKind) -> &'static str {
    match kind {
        EdgeKind::Produces => "Edge, service to topic",
        EdgeKind::Delivers => "Edge, topic to group",
        EdgeKind::Consumes => "Edge, group to service",
        EdgeKind::Retries => "Edge, to a retry topic",
        EdgeKind::DeadLetters => "Edge, to dead letters",
        EdgeKind::Calls => "Edge, service to service",
        EdgeKind::Derives => "Edge, topic to topic",
    }
}

/// Returns what a node is called; somebody who sends no spans has no name.
pub(super) fn node_name(node: &Node) -> String {
    if node.kind == NodeKind::Unknown {
        "Unknown".to_owned()
    } else {
        node.name.clone()
    }
}

/// Returns how a node stands, in a sentence.
pub(super) fn node_sentence(node: &Node) -> String {
    let name = node_name(node);
    match node.kind {
        NodeKind::Group => match &node.lag {
            Some(lag) => lag.reason.clone(),
            None => format!("The lag of {name} is not read: no configured cluster has this group."),
        },
        NodeKind::Topic | NodeKind::RetryTopic => {
            let partitions = node
                .partitions
                .map(|p| format!(", over {}", plural(u64::from(p), "partition", "partitions")))
                .unwrap_or_default();
            match node.rate {
                Some(r) => format!("{name} takes {}{partitions}.", rate(r)),
                None => format!("What {name} takes is not known{partitions}."),
            }
        }
        NodeKind::DeadLetterTopic => {
            let depth = node.dead_letters.as_ref();
            let kept = match depth.and_then(|d| d.retained) {
                Some(1) => format!("{name} keeps 1 dead letter"),
                Some(n) => format!("{name} keeps {} dead letters", count_full(n)),
                None => format!("How many dead letters {name} keeps is not known"),
            };
            match depth.and_then(|d| d.arrivals_per_hour) {
                Some(a) if a > 0.0 => format!("{kept}, and {} arrive.", rate(a / 3_600.0)),
                Some(_) => format!("{kept}; none arrives."),
                None => format!("{kept}."),
            }
        }
        NodeKind::Service => match (&node.work, node.rate) {
            (Some(work), Some(r)) => {
                format!("{name} handles {}; half of it within {}.", rate(r), duration_ns(work.p50_ns))
            }
            (Some(work), None) => format!("{name} does half of its work within {}.", duration_ns(work.p50_ns)),
            (None, _) if !node.instrumented => {
                format!("{name} sends no spans: it is known from what the broker tells.")
            }
            (None, _) => format!("{name} produces; it handles nothing in this range."),
        },
        NodeKind::Unknown => {
            "Somebody is at work here who sends no spans: the broker's offsets move, and no span tells whose they are."
                .to_owned()
        }
    }
}

/// Returns the share of failed attempts of an edge; `None` where no spans can tell.
pub(super) fn failed(edge: &Edge) -> Option<String> {
    percent(edge.errors?, edge.messages?).or_else(|| Some("0%".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater_shared::topology::{Latency, NodeLag, PlacedEdge, PlacedNode};
    use highwater_shared::{Instant, Window};

    fn node(id: &str, kind: NodeKind) -> Node {
        Node {
            id: id.to_owned(),
            kind,
            name: id
                .split(['/', ':'])
                .next_back()
                .unwrap_or_default()
                .to_owned(),
            cluster: None,
            namespace: None,
            instrumented: true,
            inferred: false,
            last_seen: Some(Instant(3_600_000_000_000)),
            rate: Some(62.0),
            rate_source: None,
            work: None,
            partitions: Some(12),
            lag: None,
            dead_letters: None,
            level: Level::Ok,
        }
    }

    fn edge(kind: EdgeKind, from: &str, to: &str) -> Edge {
        Edge {
            id: format!("{from}>{to}"),
            from: from.to_owned(),
            to: to.to_owned(),
            kind,
            instrumented: true,
            messages: Some(10),
            records: None,
            errors: Some(0),
            rate: Some(62.0),
            rate_source: None,
            latency: Latency::default(),
        }
    }

    fn behind(state: State, level: Level) -> Node {
        let mut group = node("group:k/billing", NodeKind::Group);
        group.level = level;
        group.lag = Some(NodeLag {
            state,
            reason: String::new(),
            lag_messages: Some(12_400),
            time_lag_ms: Some(200_000),
            mark_ms: 60_000,
        });
        group
    }

    fn map(nodes: Vec<Node>, edges: Vec<Edge>, toggles: Toggles) -> Scene {
        let (topology, layout) = both(nodes, edges);
        Scene::new(&topology, &layout, toggles)
    }

    fn both(nodes: Vec<Node>, edges: Vec<Edge>) -> (Topology, Layout) {
        let layout = Layout {
            version: "1".to_owned(),
            width: 100.0,
            height: 100.0,
            nodes: nodes
                .iter()
                .map(|n| PlacedNode {
                    id: n.id.clone(),
                    x: 0.0,
                    y: 0.0,
                    w: 100.0,
                    h: 38.0,
                    dock: None,
                })
                .collect(),
            edges: edges
                .iter()
                .map(|e| PlacedEdge {
                    id: e.id.clone(),
                    points: vec![[0.0, 0.0]; 4],
                })
                .collect(),
        };
        let topology = Topology {
            window: Window {
                to: Instant(3_600_000_000_000),
                ..Window::default()
            },
            version: "1".to_owned(),
            nodes,
            edges,
            truncated: false,
        };
        (topology, layout)
    }

    const ALL: Toggles = Toggles {
        idle: true,
        uninstrumented: true,
        labels: Labels::USUAL,
    };
    const FEW: Toggles = Toggles {
        idle: false,
        uninstrumented: false,
        labels: Labels::USUAL,
    };

    #[test]
    fn an_edge_takes_the_colour_of_its_group() {
        let topic = node("topic:k/orders", NodeKind::Topic);
        let id = "topic:k/orders>group:k/billing";
        let of = |state, level| {
            let edges = vec![edge(
                EdgeKind::Delivers,
                "topic:k/orders",
                "group:k/billing",
            )];
            let scene = map(vec![topic.clone(), behind(state, level)], edges, ALL);
            let line = scene.edges[id].clone();
            (line.tone, line.label, line.flows)
        };
        assert_eq!(
            of(State::FallingBehind, Level::Critical),
            (Tone::Hot, Some("3\u{a0}m\u{a0}20\u{a0}s".to_owned()), true)
        );
        assert_eq!(
            of(State::Stopped, Level::Critical),
            (Tone::Hot, Some("stopped".to_owned()), false)
        );
        assert_eq!(of(State::Ok, Level::Ok), (Tone::Plain, None, true));
    }

    #[test]
    fn what_waits_or_alerts_is_never_hidden_as_idle() {
        let mut quiet = node("topic:k/old", NodeKind::Topic);
        (quiet.rate, quiet.last_seen) = (Some(0.0), Some(Instant(0)));
        let mut stopped = behind(State::Stopped, Level::Critical);
        (stopped.rate, stopped.last_seen) = (None, None);
        let (topology, layout) = both(vec![quiet, stopped], vec![]);
        let scene = Scene::new(&topology, &layout, FEW);
        assert_eq!(scene.nodes.keys().collect::<Vec<_>>(), ["group:k/billing"]);
        assert_eq!(hidden(&topology, FEW), (1, 0));
        assert_eq!(hidden(&topology, ALL), (0, 0));
    }

    #[test]
    fn edges_of_hidden_nodes_are_hidden_with_them() {
        let mut unknown = node("unknown:producer/k/orders", NodeKind::Unknown);
        unknown.instrumented = false;
        let topic = node("topic:k/orders", NodeKind::Topic);
        let edges = vec![edge(EdgeKind::Produces, &unknown.id, &topic.id)];
        let (topology, layout) = both(vec![unknown, topic], edges);
        let scene = Scene::new(&topology, &layout, FEW);
        assert_eq!((scene.nodes.len(), scene.edges.len()), (1, 0));
        assert_eq!(hidden(&topology, FEW), (0, 1));
    }

    #[test]
    fn second_lines_say_what_matters_of_a_kind() {
        let line = |n: &Node| {
            second_line(
                n,
                &Topology {
                    window: Window::default(),
                    version: String::new(),
                    nodes: vec![],
                    edges: vec![],
                    truncated: false,
                },
            )
            .replace('\u{a0}', " ")
        };
        assert_eq!(
            line(&node("topic:k/orders", NodeKind::Topic)),
            "62.0/s, 12 p"
        );
        assert_eq!(
            line(&node("topic:k/r", NodeKind::RetryTopic)),
            "retry, 62.0/s"
        );
        assert_eq!(
            line(&behind(State::FallingBehind, Level::Critical)),
            "12.4k, 3 m 20 s"
        );
        assert_eq!(line(&node("topic:k/d", NodeKind::DeadLetterTopic)), "—?");
        assert_eq!(
            line(&node("unknown:x", NodeKind::Unknown)),
            "62.0/s, no spans"
        );
    }

    #[test]
    fn alerting_nodes_are_worst_first() {
        let mut worse = behind(State::Stopped, Level::Critical);
        worse.id = "group:k/worse".to_owned();
        if let Some(lag) = &mut worse.lag {
            lag.time_lag_ms = Some(900_000);
        }
        let mut warm = behind(State::FallingBehind, Level::Warning);
        warm.id = "group:k/a-warm".to_owned();
        let scene = map(
            vec![warm, behind(State::Stalled, Level::Critical), worse],
            vec![],
            ALL,
        );
        assert_eq!(
            scene.alerting(),
            ["group:k/worse", "group:k/billing", "group:k/a-warm"]
        );
    }
}
