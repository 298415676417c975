//! The rules of the messaging model, one by one.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use std::time::Duration;

use highwater_flow::{Config, Edge, EdgeKind, Flow, NodeKind, RateSource, Topology, TopologyQuery};
use highwater_model::names::TopicKind;
use highwater_model::raw::SpanKind;
use highwater_model::{Operation, Span, UnixNanos};
use world::{MS, Maker, NOW, config, edit, fail, ids, link, place, query, sample};

fn map(spans: &[Span]) -> Topology {
    let mut flow = Flow::new(config());
    flow.apply(spans, 1, NOW);
    flow.topology(&query(), NOW)
}

fn edge<'m>(map: &'m Topology, id: &str) -> &'m Edge {
    map.edge(id).unwrap_or_else(|| {
        let ids: Vec<_> = map.edges.iter().map(|e| &e.id).collect();
        panic!("no {id} in {ids:#?}")
    })
}

fn kinds(map: &Topology) -> Vec<EdgeKind> {
    map.edges.iter().map(|e| e.kind).collect()
}

const PRODUCES: &str = "produces service:a>topic:unknown/t";
const DELIVERS: &str = "delivers topic:unknown/t>group:unknown/g";

#[test]
fn each_side_stands_without_the_other() {
    let mut make = Maker::default();
    let trace = make.trace();
    make.send(trace, None, "a", "t");
    assert_eq!(edge(&map(&make.spans), PRODUCES).messages, Some(1));
    let mut make = Maker::default();
    let trace = make.trace();
    make.process(trace, None, "b", "t", Some("g"));
    let map = map(&make.spans);
    assert_eq!(edge(&map, DELIVERS).messages, Some(1));
    assert_eq!(
        edge(&map, "consumes group:unknown/g>service:b").messages,
        Some(1)
    );
    assert!(edge(&map, DELIVERS).latency.in_broker.is_empty());
}

#[test]
fn time_in_broker_is_from_the_producers_end_and_never_negative() {
    let mut make = Maker::default();
    let trace = make.trace();
    let sent = ids(make.send(trace, None, "a", "t"));
    make.process(trace, Some(sent.1), "b", "t", Some("g"));
    // The producer's span ends at the broker's answer, which can come after the delivery.
    let late = make.send(trace, None, "a", "t");
    late.end = UnixNanos(late.end.0 + 100 * MS);
    let late = ids(late);
    make.process(trace, Some(late.1), "b", "t", Some("g"));
    let map = map(&make.spans);
    let in_broker = &edge(&map, DELIVERS).latency.in_broker;
    assert_eq!(in_broker.count(), 2);
    assert_eq!(in_broker.quantile(0.0), Some(0));
    let wait = in_broker.quantile(1.0).unwrap();
    assert!(wait.abs_diff(5 * MS) < MS / 10, "{wait}");
}

#[test]
fn a_process_span_before_its_message_was_sent_is_skew_and_no_latency() {
    let mut make = Maker::default();
    let trace = make.trace();
    let sent = ids(make.send(trace, None, "a", "t"));
    let early = make.process(trace, Some(sent.1), "b", "t", Some("g"));
    early.start = UnixNanos(early.start.0 - 100 * MS);
    let map = map(&make.spans);
    assert!(edge(&map, DELIVERS).latency.in_broker.is_empty());
    assert_eq!(edge(&map, DELIVERS).messages, Some(1));
    assert_eq!(edge(&map, DELIVERS).latency.process.count(), 1);
}

#[test]
fn only_the_first_delivery_waited_in_the_broker() {
    let mut make = Maker::default();
    let trace = make.trace();
    let sent = ids(place(make.send(trace, None, "a", "t"), 0, 7));
    for attempt in 0..3 {
        let span = make.process(trace, Some(sent.1), "b", "t", Some("g"));
        place(span, 0, 7);
        if attempt < 2 {
            fail(span);
        }
    }
    // Another group has a first delivery of its own.
    place(make.process(trace, Some(sent.1), "c", "t", Some("h")), 0, 7);
    let map = map(&make.spans);
    let e = edge(&map, DELIVERS);
    assert_eq!((e.messages, e.records, e.errors), (Some(3), Some(1), 2));
    assert_eq!(e.latency.in_broker.count(), 1);
    let other = edge(&map, "delivers topic:unknown/t>group:unknown/h");
    assert_eq!(other.latency.in_broker.count(), 1);
}

#[test]
fn equal_offsets_of_two_topics_are_two_records() {
    let mut make = Maker::default();
    let trace = make.trace();
    for topic in ["t", "u"] {
        // The second attempt is of the same record.
        for _ in 0..2 {
            place(make.process(trace, None, "b", topic, Some("g")), 0, 7);
        }
    }
    let map = map(&make.spans);
    let consumes = edge(&map, "consumes group:unknown/g>service:b");
    assert_eq!((consumes.messages, consumes.records), (Some(4), Some(2)));
    assert_eq!(edge(&map, DELIVERS).records, Some(1));
}

#[test]
fn a_failed_send_makes_no_message_and_no_topic() {
    let mut make = Maker::default();
    let trace = make.trace();
    fail(make.send(trace, None, "a", "missing"));
    fail(make.send(trace, None, "a", "t"));
    make.process(trace, None, "b", "t", Some("g"));
    let map = map(&make.spans);
    assert!(!map.nodes.iter().any(|n| &*n.name == "missing"));
    let e = edge(&map, PRODUCES);
    assert_eq!((e.messages, e.errors), (Some(0), 1));
}

#[test]
fn a_create_and_its_send_are_one_message() {
    let mut make = Maker::default();
    let trace = make.trace();
    let create = edit(make.send(trace, None, "a", "t"), |m| {
        m.operation = Operation::Create
    });
    let create = ids(create);
    let send = make.send(trace, None, "a", "t");
    send.kind = SpanKind::Client;
    link(send, create);
    assert_eq!(edge(&map(&make.spans), PRODUCES).messages, Some(1));
}

#[test]
fn a_back_off_is_no_attempt_and_no_error() {
    let mut make = Maker::default();
    let trace = make.trace();
    let sent = ids(make.send(trace, None, "a", "t"));
    let wait = make.process(trace, Some(sent.1), "b", "t", Some("g"));
    edit(wait, |m| m.backoff = true);
    make.process(trace, Some(sent.1), "b", "t", Some("g"));
    let map = map(&make.spans);
    assert_eq!(edge(&map, DELIVERS).messages, Some(1));
    assert_eq!(edge(&map, DELIVERS).errors, 0);
}

#[test]
fn a_batch_receive_counts_its_children_else_its_links_else_its_count() {
    let batch = |children: usize, links: usize, count: Option<u32>| {
        let mut make = Maker::default();
        let mut sent = Vec::new();
        for _ in 0..links {
            let trace = make.trace();
            sent.push(ids(make.send(trace, None, "a", "t")));
        }
        let trace = make.trace();
        let poll = make.receive(trace, None, "b", "t", Some("g"));
        edit(poll, |m| m.batch_count = count);
        for to in &sent {
            link(poll, *to);
        }
        let poll = ids(poll);
        for _ in 0..children {
            make.process(trace, Some(poll.1), "b", "t", Some("g"));
        }
        edge(&map(&make.spans), DELIVERS).messages
    };
    assert_eq!(batch(3, 0, Some(9)), Some(3));
    assert_eq!(batch(0, 4, Some(9)), Some(4));
    assert_eq!(batch(0, 0, Some(9)), Some(9));
}

#[test]
fn a_links_producer_in_another_trace_is_stitched() {
    let mut make = Maker::default();
    let (one, two) = (make.trace(), make.trace());
    let sent = ids(make.send(one, None, "a", "t"));
    let span = make.process(two, None, "b", "t", Some("g"));
    link(span, sent);
    assert_eq!(
        edge(&map(&make.spans), DELIVERS).latency.in_broker.count(),
        1
    );
}

#[test]
fn a_record_without_context_is_joined_by_its_offset() {
    let mut make = Maker::default();
    let (one, two) = (make.trace(), make.trace());
    place(make.send(one, None, "a", "t"), 2, 40);
    place(make.process(two, None, "b", "t", Some("g")), 2, 40);
    assert_eq!(
        edge(&map(&make.spans), DELIVERS).latency.in_broker.count(),
        1
    );
}

#[test]
fn what_the_error_handler_sends_is_the_groups_and_no_output() {
    let mut make = Maker::default();
    let trace = make.trace();
    let handler = ids(make.process(trace, None, "b", "t", Some("g")));
    let inner = make
        .span(trace, Some(handler.1), "b", SpanKind::Internal)
        .span_id;
    make.send(trace, Some(inner), "b", "t-retry-1");
    make.send(trace, Some(inner), "b", "t-dlt");
    make.send(trace, Some(inner), "b", "out");
    let map = map(&make.spans);
    edge(&map, "retries group:unknown/g>topic:unknown/t-retry-1");
    edge(&map, "dead_letters group:unknown/g>topic:unknown/t-dlt");
    edge(&map, "produces service:b>topic:unknown/out");
    edge(&map, "derives topic:unknown/t>topic:unknown/out");
    assert_eq!(map.edges.len(), 6, "{:?}", kinds(&map));
    let node = map.node("topic:unknown/t-dlt").unwrap();
    assert_eq!(node.kind, NodeKind::DeadLetterTopic);
}

#[test]
fn a_poison_records_dead_letter_is_the_only_reading_groups_else_the_services() {
    let mut make = Maker::default();
    let trace = make.trace();
    make.process(trace, None, "b", "t", Some("g"));
    make.send(trace, None, "b", "t-dlt");
    let one = map(&make.spans);
    edge(&one, "dead_letters group:unknown/g>topic:unknown/t-dlt");
    // Two groups of the service read the topic: nobody can tell.
    make.process(trace, None, "b", "t", Some("h"));
    let two = map(&make.spans);
    edge(&two, "dead_letters service:b>topic:unknown/t-dlt");
}

#[test]
fn a_topic_is_what_the_operator_says_it_is() {
    let mut make = Maker::default();
    let trace = make.trace();
    make.send(trace, None, "a", "t");
    let mut flow = Flow::new(config());
    flow.apply(&make.spans, 1, NOW);
    flow.set_topic_kind("unknown", "t", Some(TopicKind::DeadLetterTopic));
    let map = flow.topology(&query(), NOW);
    edge(&map, "dead_letters service:a>topic:unknown/t");
    flow.set_topic_kind("unknown", "t", None);
    edge(&flow.topology(&query(), NOW), PRODUCES);
}

#[test]
fn a_request_between_services_is_a_call() {
    let mut make = Maker::default();
    let trace = make.trace();
    let client = ids(make.span(trace, None, "a", SpanKind::Client));
    fail(make.span(trace, Some(client.1), "b", SpanKind::Server));
    let map = map(&make.spans);
    let e = edge(&map, "calls service:a>service:b");
    assert_eq!((e.messages, e.errors), (Some(1), 1));
    assert_eq!(e.latency.process.count(), 1);
}

#[test]
fn a_cluster_is_told_by_id_then_producer_then_address_then_topic() {
    let mut make = Maker::default();
    let by = |make: &mut Maker, topic: &str, id: Option<&str>, address: Option<&str>| {
        let trace = make.trace();
        let span = make.send(trace, None, "a", topic);
        edit(span, |m| {
            m.cluster.id = id.map(Into::into);
            m.cluster.address = address.map(Into::into);
        });
        ids(span)
    };
    let sent = by(&mut make, "by-id", Some("id-west"), Some("east:9092"));
    by(&mut make, "by-address", None, Some("west-1:9092"));
    by(&mut make, "by-topic", None, None);
    by(&mut make, "stranger", Some("id-stranger"), None);
    by(&mut make, "both", None, None);
    make.process(sent.0, Some(sent.1), "b", "by-id", Some("g"));
    let mut flow = Flow::new(config());
    flow.apply(&make.spans, 1, NOW);
    flow.observe(&sample("east", NOW, &[("by-topic", 1), ("both", 1)], &[]));
    flow.observe(&sample("west", NOW, &[("both", 1)], &[]));
    let map = flow.topology(&query(), NOW);
    for id in [
        "topic:west/by-id",
        "group:west/g",
        "topic:west/by-address",
        "topic:east/by-topic",
        "topic:unknown/stranger",
        "topic:unknown/both",
    ] {
        assert!(map.node(id).is_some(), "{id}");
    }
    assert_eq!(map.nodes.iter().filter(|n| n.kind.is_topic()).count(), 5);
}

#[test]
fn one_topic_name_in_two_unconfigured_clusters_is_two_nodes() {
    let mut make = Maker::default();
    for id in ["x", "y"] {
        let trace = make.trace();
        edit(make.send(trace, None, "a", "t"), |m| {
            m.cluster.id = Some(id.into())
        });
    }
    let mut flow = Flow::new(Config::default());
    flow.apply(&make.spans, 1, NOW);
    let map = flow.topology(&query(), NOW);
    assert!(map.node("topic:x/t").is_some() && map.node("topic:y/t").is_some());
}

#[test]
fn a_topic_that_grows_without_producer_spans_has_an_unknown_producer() {
    let mut flow = Flow::new(config());
    let groups: &[(&str, &[(&str, i64)])] = &[("g", &[("t", 10)])];
    let before = UnixNanos(NOW.0 - 60_000 * MS);
    flow.observe(&sample("east", before, &[("t", 100), ("idle", 5)], groups));
    assert!(
        flow.topology(&query(), NOW)
            .edge("produces unknown:producer/east/t>topic:east/t")
            .is_none()
    );
    let groups: &[(&str, &[(&str, i64)])] = &[("g", &[("t", 40)])];
    flow.observe(&sample("east", NOW, &[("t", 700), ("idle", 5)], groups));
    let map = flow.topology(&query(), NOW);
    let e = edge(&map, "produces unknown:producer/east/t>topic:east/t");
    assert_eq!((e.messages, e.records, e.instrumented), (None, None, false));
    assert_eq!(
        (e.rate, e.rate_source),
        (Some(10.0), Some(RateSource::Offsets))
    );
    assert_eq!(
        edge(&map, "delivers topic:east/t>group:east/g").rate,
        Some(0.5)
    );
    assert!(!map.nodes.iter().any(|n| &*n.name == "idle"));
    // Offsets that fell (the topic was made anew) give no negative rate.
    let later = UnixNanos(NOW.0 + 20_000 * MS);
    flow.observe(&sample("east", later, &[("t", 3)], groups));
    let map = flow.topology(&query(), later);
    assert!(map.edges.iter().all(|e| e.rate.is_none_or(|r| r >= 0.0)));
}

#[test]
fn spans_far_ahead_or_past_retention_are_counted_and_not_aggregated() {
    let mut make = Maker::default();
    let trace = make.trace();
    let ahead = make.send(trace, None, "a", "t");
    ahead.end = NOW + Duration::from_secs(601);
    let old = make.send(trace, None, "a", "t");
    old.start = UnixNanos(0);
    old.end = UnixNanos(0);
    let mut flow = Flow::new(config());
    flow.apply(&make.spans, 1, NOW);
    assert_eq!((flow.stats().ahead, flow.stats().too_old), (1, 1));
    assert!(flow.topology(&query(), NOW).edges.is_empty());
}

#[test]
fn counts_survive_the_roll_up_and_the_range_snaps_outward() {
    let mut make = Maker::default();
    make.at = NOW.0 - 1_800_000 * MS;
    let trace = make.trace();
    for offset in 0..30 {
        place(make.send(trace, None, "a", "t"), 0, offset);
        make.at += 5_000 * MS;
    }
    let mut flow = Flow::new(config());
    flow.apply(&make.spans, 1, NOW);
    for hours in [0u64, 2, 30, 24 * 40] {
        let now = NOW + Duration::from_secs(hours * 3_600);
        flow.apply(&[], hours + 2, now);
        let query = TopologyQuery { to: NOW, ..query() };
        let map = flow.topology(&query, now);
        let e = edge(&map, PRODUCES);
        assert_eq!(
            (e.messages, e.records),
            (Some(30), Some(30)),
            "after {hours} h"
        );
        assert!(map.window.from <= query.from && map.window.to >= query.to);
    }
    // Past retention it is gone.
    let now = NOW + Duration::from_secs(91 * 24 * 3_600);
    flow.apply(&[], 10_000, now);
    assert!(flow.topology(&query(), now).edges.is_empty());
}

#[test]
fn rates_are_of_five_minutes_and_counts_of_the_range() {
    let mut make = Maker::default();
    make.at = NOW.0 - 1_800_000 * MS;
    let trace = make.trace();
    make.send(trace, None, "a", "t");
    make.at = NOW.0 - 100_000 * MS;
    for _ in 0..60 {
        make.send(trace, None, "a", "t");
    }
    let map = map(&make.spans);
    let e = edge(&map, PRODUCES);
    assert_eq!(e.messages, Some(61));
    assert_eq!(e.latency.produce.count(), 60);
    let seconds = (NOW.0 - map.window.rate_from.0) as f64 / 1e9;
    assert!((e.rate.unwrap() - 60.0 / seconds).abs() < 1e-9);
    assert!((300.0..310.0).contains(&seconds));
}

#[test]
fn an_environment_a_cluster_and_a_focus_narrow_the_map() {
    let mut make = Maker::default();
    let trace = make.trace();
    let span = edit(make.send(trace, None, "a", "t"), |m| {
        m.cluster.id = Some("id-east".into())
    });
    let sent = ids(span);
    make.process(trace, Some(sent.1), "b", "t", Some("g"));
    edit(make.send(trace, None, "b", "u"), |m| {
        m.cluster.id = Some("id-west".into())
    });
    make.send(trace, None, "z", "t").service.environment = "test".into();
    let mut flow = Flow::new(config());
    flow.apply(&make.spans, 1, NOW);
    flow.observe(&sample("east", NOW, &[], &[]));
    flow.observe(&sample("west", NOW, &[], &[]));
    let all = flow.topology(&query(), NOW);
    assert!(all.node("service:z").is_none());
    let east = flow.topology(
        &TopologyQuery {
            clusters: vec!["east".into()],
            ..query()
        },
        NOW,
    );
    assert!(east.node("topic:east/t").is_some() && east.node("topic:west/u").is_none());
    assert!(east.node("service:b").is_some());
    let near = TopologyQuery {
        focus: Some("service:a".into()),
        hops: 1,
        ..query()
    };
    let near = flow.topology(&near, NOW);
    let ids: Vec<&str> = near.nodes.iter().map(|n| &*n.id).collect();
    assert_eq!(ids, ["service:a", "topic:east/t"]);
    assert_ne!(near.version, all.version);
}

#[test]
fn the_stitching_table_and_the_map_are_bounded_and_say_so() {
    let mut make = Maker::default();
    for at in 0..500 {
        let trace = make.trace();
        make.send(trace, None, &format!("s{at}"), &format!("t{at}"));
    }
    let mut flow = Flow::new(Config {
        pending_messages: 100,
        max_nodes: 300,
        max_edges: 100,
        max_series: 600,
        ..config()
    });
    for (at, span) in make.spans.chunks(50).enumerate() {
        flow.apply(span, at as u64 + 1, NOW);
    }
    assert_eq!(flow.pending(), 100);
    assert_eq!(flow.stats().evicted, 400);
    assert!(flow.stats().folded > 0);
    let map = flow.topology(&query(), NOW);
    assert!(map.truncated);
    assert!(map.nodes.len() <= 300, "{}", map.nodes.len());
    assert!(map.edges.len() <= 100, "{}", map.edges.len());
    assert!(map.nodes.iter().any(|n| &*n.name == "(other)"));
}

#[test]
fn a_resent_span_and_a_replayed_block_change_nothing() {
    let mut make = Maker::default();
    let trace = make.trace();
    make.send(trace, None, "a", "t");
    let mut flow = Flow::new(config());
    flow.apply(&make.spans, 1, NOW);
    flow.apply(&make.spans, 1, NOW);
    flow.apply(&make.spans, 2, NOW);
    assert_eq!(flow.stats().repeated, 1);
    assert_eq!(
        edge(&flow.topology(&query(), NOW), PRODUCES).messages,
        Some(1)
    );
}

#[test]
fn a_checkpoint_holds_only_what_changed() {
    let mut make = Maker::default();
    let trace = make.trace();
    make.send(trace, None, "a", "t");
    let mut flow = Flow::new(config());
    flow.apply(&make.spans, 1, NOW);
    flow.observe(&sample("east", NOW, &[], &[]));
    assert!(!flow.take_checkpoint().rows.is_empty());
    let again = flow.take_checkpoint();
    assert_eq!(again.rows, []);
    assert_eq!(again.last_block, 1);
    assert!(Flow::restore(config(), [], &[9, 9], 1).is_err());
}

#[test]
fn a_groups_work_over_time_adds_up_to_its_edge() {
    let mut make = Maker::default();
    let trace = make.trace();
    let sent = ids(make.send(trace, None, "a", "t"));
    make.process(trace, Some(sent.1), "b", "t", Some("g"));
    fail(make.process(trace, Some(sent.1), "b", "t", Some("g")));
    make.process(trace, Some(sent.1), "b", "t", Some("other"));
    let mut flow = Flow::new(config());
    flow.apply(&make.spans, 1, NOW);
    let map = flow.topology(&query(), NOW);
    let delivers = edge(&map, DELIVERS);
    let step = 30_000 * MS;
    let from = UnixNanos(query().from.0 / step * step);
    let steps = usize::try_from((NOW.0 - from.0) / step + 1).unwrap();
    let work_of = |group| flow.group_work("prod", "unknown", group, from, step, steps);
    assert!(work_of("silent").is_none(), "no span tells of it");
    let work = work_of("g").unwrap();
    assert_eq!(work.len(), steps);
    let attempts: u64 = work.iter().map(|step| step.attempts).sum();
    let errors: u64 = work.iter().map(|step| step.errors).sum();
    assert_eq!((Some(attempts), errors), (delivers.messages, 1));
    assert!(work.iter().any(|step| !step.process.is_empty()));
}

#[test]
fn a_rate_is_taken_over_the_time_that_was_watched() {
    let mut make = Maker::default();
    for _ in 0..30 {
        let trace = make.trace();
        make.send(trace, None, "a", "t");
    }
    let first = make.spans.iter().map(|span| span.start).min().unwrap();
    let mut flow = Flow::new(config());
    flow.apply(&make.spans, 1, NOW);
    let map = flow.topology(&query(), NOW);
    // Buckets are 10 s wide.
    assert!(map.window.rate_from <= first);
    assert!(first.since(map.window.rate_from) < 10_000 * MS);
    let seconds = NOW.since(map.window.rate_from) as f64 / 1e9;
    let rate = edge(&map, PRODUCES).rate.unwrap();
    assert!(
        (rate - 30.0 / seconds.max(1.0)).abs() < 1e-6,
        "{rate} over {seconds} s"
    );
}
