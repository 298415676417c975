//! The map's layout: no overlap, left to right, the same each time, and old nodes stay where they were.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use highwater_flow::layout::{Layout, layout};
use highwater_flow::{Config, EdgeKind, Flow, Topology, TopologyQuery};
use highwater_model::raw::SpanKind;
use proptest::prelude::*;
use world::{Maker, NOW, config, query};

fn map(make: &Maker) -> Topology {
    map_with(make, config())
}

fn map_with(make: &Maker, config: Config) -> Topology {
    let mut flow = Flow::new(config);
    flow.apply(&make.spans, 1, NOW);
    flow.topology(&query(), NOW)
}

/// service -> topic -> group -> service, in one trace.
fn hop(make: &mut Maker, from: &str, topic: &str, group: &str, to: &str) {
    let trace = make.trace();
    let sent = make.send(trace, None, from, topic).span_id;
    make.process(trace, Some(sent), to, topic, Some(group));
}

/// The shop of the mockups, its retry loop and dead letters too.
fn shop() -> Maker {
    let mut make = Maker::default();
    for (from, topic, group, to) in [
        ("storefront", "orders", "billing", "billing"),
        ("storefront", "orders", "fraud-check", "fraud"),
        ("mobile-api", "orders", "inventory", "inventory"),
        ("mobile-api", "clickstream", "analytics-sink", "analytics"),
        ("billing", "payments", "ledger", "ledger"),
        ("billing", "payments", "notifications", "notify"),
        ("inventory", "stock.reserved", "shipping", "shipping"),
        ("erp-bridge", "catalog.changes", "search-indexer", "search"),
    ] {
        hop(&mut make, from, topic, group, to);
    }
    let trace = make.trace();
    let handler = make
        .process(trace, None, "billing", "orders", Some("billing"))
        .span_id;
    let sent = make
        .send(trace, Some(handler), "billing", "orders-retry-1")
        .span_id;
    make.process(
        trace,
        Some(sent),
        "billing",
        "orders-retry-1",
        Some("billing-retry"),
    );
    make.send(trace, Some(handler), "billing", "orders-dlt");
    make
}

fn check(map: &Topology, layout: &Layout) {
    assert_eq!(map.nodes.len(), layout.nodes.len());
    for (at, a) in layout.nodes.iter().enumerate() {
        assert!(
            a.x >= 0.0 && a.y >= 0.0 && a.x + a.w <= layout.width && a.y + a.h <= layout.height
        );
        for b in &layout.nodes[at + 1..] {
            let apart = a.x + a.w <= b.x + 0.01
                || b.x + b.w <= a.x + 0.01
                || a.y + a.h <= b.y + 0.01
                || b.y + b.h <= a.y + 0.01;
            assert!(apart, "{a:?} overlaps {b:?}");
        }
    }
    for curve in &layout.edges {
        assert_eq!(curve.points.len() % 3, 1, "{}", curve.id);
        assert!(curve.points.iter().flatten().all(|p| p.is_finite()));
        assert!(map.edge(&curve.id).is_some());
    }
    // Every edge is drawn, but for those within a dock and the derived ones.
    for edge in &map.edges {
        let docked = layout.node(&edge.from).unwrap().dock.as_ref() == Some(&edge.to);
        let drawn = layout.edges.iter().any(|c| c.id == edge.id);
        assert_eq!(
            drawn,
            !docked && edge.kind != EdgeKind::Derives,
            "{}",
            edge.id
        );
    }
}

/// Edges that do not leave to the right.
fn backwards(map: &Topology, layout: &Layout) -> Vec<String> {
    map.edges
        .iter()
        .filter(|e| e.kind != EdgeKind::Derives)
        .filter(|e| {
            let (from, to) = (layout.node(&e.from).unwrap(), layout.node(&e.to).unwrap());
            from.dock.as_ref() != Some(&e.to) && from.x + from.w > to.x
        })
        .map(|e| e.id.to_string())
        .collect()
}

#[test]
fn the_shop_flows_from_left_to_right_but_for_its_retry_loop() {
    let map = map(&shop());
    let layout = layout(&map, None);
    check(&map, &layout);
    assert_eq!(
        backwards(&map, &layout),
        ["delivers topic:unknown/orders-retry-1>group:unknown/billing-retry"]
    );
}

#[test]
fn a_back_edge_runs_under_the_consumers_box_and_enters_from_the_left() {
    let map = map(&shop());
    let layout = layout(&map, None);
    let id = "delivers topic:unknown/orders-retry-1>group:unknown/billing-retry";
    let curve = layout.edges.iter().find(|c| &*c.id == id).unwrap();
    let group = layout.node("group:unknown/billing-retry").unwrap();
    let service = layout.node("service:billing").unwrap();
    let lowest = curve.points.iter().map(|p| p[1]).fold(0.0, f64::max);
    assert!(lowest > service.y + service.h);
    let [.., before, end] = curve.points.as_slice() else {
        panic!()
    };
    assert_eq!(end[0], group.x);
    assert!(before[0] < end[0] && end[1] > group.y && end[1] < group.y + group.h);
}

#[test]
fn a_group_docks_to_its_only_service_and_stands_free_with_two() {
    let mut make = shop();
    let layout1 = layout(&map(&make), None);
    let (group, retry, service) = (
        layout1.node("group:unknown/billing").unwrap(),
        layout1.node("group:unknown/billing-retry").unwrap(),
        layout1.node("service:billing").unwrap(),
    );
    assert_eq!(group.dock.as_deref(), Some("service:billing"));
    assert_eq!(group.x + group.w, service.x);
    assert_eq!(
        (group.y, group.y + group.h, retry.y + retry.h),
        (service.y, retry.y, service.y + service.h)
    );
    hop(
        &mut make,
        "storefront",
        "orders",
        "billing",
        "billing-canary",
    );
    let map = map(&make);
    let layout2 = layout(&map, None);
    check(&map, &layout2);
    assert_eq!(layout2.node("group:unknown/billing").unwrap().dock, None);
}

#[test]
fn the_same_map_is_laid_out_the_same_way_every_time() {
    let map = map(&shop());
    let first = layout(&map, None);
    for _ in 0..20 {
        assert_eq!(layout(&map, None), first);
    }
    assert_eq!(layout(&map, Some(&first)), first);
}

#[test]
fn a_new_node_leaves_the_old_ones_where_they_were() {
    let mut make = shop();
    let before = layout(&map(&make), None);
    hop(&mut make, "billing", "payments", "audit", "auditor");
    hop(&mut make, "loyalty", "points", "points-sink", "points");
    let map = map(&make);
    let after = layout(&map, Some(&before));
    check(&map, &after);
    for old in &before.nodes {
        assert_eq!(after.node(&old.id), Some(old));
    }
    assert_eq!(backwards(&map, &after).len(), 1);
}

#[test]
fn a_service_that_calls_itself_has_a_loop_of_its_own() {
    let mut make = shop();
    let trace = make.trace();
    let client = make.span(trace, None, "ledger", SpanKind::Client).span_id;
    make.span(trace, Some(client), "ledger", SpanKind::Server);
    let map = map(&make);
    let layout = layout(&map, None);
    check(&map, &layout);
    assert!(
        layout
            .edges
            .iter()
            .any(|c| &*c.id == "calls service:ledger>service:ledger")
    );
}

#[test]
fn nothing_is_laid_out_as_nothing() {
    let map = map(&Maker::default());
    let layout = layout(&map, None);
    assert!(layout.nodes.is_empty() && layout.edges.is_empty());
}

fn any_map() -> impl Strategy<Value = Topology> {
    prop::collection::vec((0u8..8, 0u8..10, 0u8..12, 0u8..8, any::<bool>()), 1..40).prop_map(
        |hops| {
            let mut make = Maker::default();
            for (from, topic, group, to, retries) in hops {
                let topic = format!("topic-{topic}{}", if retries { "-retry" } else { "" });
                hop(
                    &mut make,
                    &format!("s{from}"),
                    &topic,
                    &format!("g{group}"),
                    &format!("s{to}"),
                );
            }
            let mut flow = Flow::new(config());
            flow.apply(&make.spans, 1, NOW);
            flow.topology(&TopologyQuery { ..query() }, NOW)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_two_boxes_overlap_whatever_the_map(a in any_map(), b in any_map()) {
        let first = layout(&a, None);
        check(&a, &first);
        prop_assert_eq!(&layout(&a, None), &first);
        let second = layout(&b, Some(&first));
        check(&b, &second);
        prop_assert_eq!(&layout(&b, Some(&first)), &second);
    }
}
