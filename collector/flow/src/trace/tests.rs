use Operation::{Create, Process, Receive, Send, Settle};

use super::test_spans::{With, id, span, trace};
use super::*;

const MS: u64 = 1_000_000;

fn view(spans: &[Span], foreign: &[Span]) -> TraceView {
    let spans: Vec<&Span> = spans.iter().collect();
    let foreign: Vec<&Span> = foreign.iter().collect();
    assemble(trace(1), &spans, &foreign)
}

/// (span number, depth) as drawn.
fn drawn(view: &TraceView, spans: &[Span]) -> Vec<(u64, u32)> {
    view.rows
        .iter()
        .map(|row| {
            (
                u64::from_be_bytes(spans[row.index].span_id.0) - 1,
                row.depth,
            )
        })
        .collect()
}

fn row<'a>(view: &'a TraceView, spans: &[Span], n: u64) -> &'a Row {
    let found = view
        .rows
        .iter()
        .find(|row| spans[row.index].span_id == id(n));
    found.unwrap()
}

#[test]
fn parents_come_before_children_and_siblings_by_start() {
    let spans = [
        span(1, 4, "b", 6, 7).under(2),
        span(1, 3, "a", 3, 4).under(1),
        span(1, 2, "b", 5, 8).under(1),
        span(1, 5, "b", 2, 9).under(1),
        span(1, 1, "a", 1, 10),
        span(1, 6, "z", 0, 1),
    ];
    let view = view(&spans, &[]);
    assert_eq!(
        drawn(&view, &spans),
        [(6, 0), (1, 0), (5, 1), (3, 1), (2, 1), (4, 2)]
    );
    assert_eq!(
        (&*view.summary.service, view.summary.duration_ns()),
        ("z", 10 * MS)
    );
    assert_eq!(
        view.summary
            .services
            .iter()
            .map(|s| &**s)
            .collect::<Vec<_>>(),
        ["z", "a", "b"]
    );
    assert!(view.notices.is_empty());
}

#[test]
fn a_message_gives_a_hop_with_its_time_in_the_broker() {
    let spans = [
        span(1, 1, "checkout", 0, 10)
            .message(Send, "orders")
            .at(7, 21),
        span(1, 2, "billing", 200, 250)
            .message(Process, "orders")
            .group("billing")
            .at(7, 21)
            .under(1),
        span(1, 3, "stock", 30, 41)
            .message(Process, "orders")
            .group("stock")
            .at(7, 21)
            .under(1),
    ];
    let view = view(&spans, &[]);
    assert_eq!(drawn(&view, &spans), [(1, 0), (3, 1), (2, 1)]);
    assert_eq!(row(&view, &spans, 2).in_broker_ns, Some(190 * MS));
    assert_eq!(view.summary.in_broker_ns, Some(190 * MS));
    assert_eq!(
        view.hops[1],
        Hop {
            producer: Some("checkout".into()),
            producer_span: Some((trace(1), id(1))),
            topic: "orders".into(),
            group: Some("stock".into()),
            consumer: Some("stock".into()),
            consumer_span: Some((trace(1), id(3))),
            in_broker_ns: Some(20 * MS),
            process_ns: Some(11 * MS),
            error: false,
            attempts: 1,
            partition: Some(7),
            offset: Some(21),
        }
    );
    assert_eq!(view.hops.len(), 2);
}

#[test]
fn a_consumer_that_starts_before_the_producers_end_waited_zero() {
    let spans = [
        span(1, 1, "a", 0, 50).message(Send, "t"),
        span(1, 2, "b", 20, 30).message(Process, "t").under(1),
    ];
    let view = view(&spans, &[]);
    assert_eq!(view.hops[0].in_broker_ns, Some(0));
    assert!(!row(&view, &spans, 2).clock_skew);
}

#[test]
fn a_handler_that_starts_before_its_producer_starts_is_skew_and_is_said() {
    let spans = [
        span(1, 1, "a", 20, 50).message(Send, "t"),
        span(1, 2, "b", 17, 30).message(Process, "t").under(1),
        span(1, 3, "c", 5, 60).message(Receive, "t").under(1),
    ];
    let view = view(&spans, &[]);
    assert!(row(&view, &spans, 2).clock_skew);
    assert!(
        !row(&view, &spans, 3).clock_skew,
        "a poll starts when the waiting starts"
    );
    assert_eq!(
        view.notices,
        [
            "The clock of b is at least 3.0\u{a0}ms behind that of a: it handles messages before they are sent."
        ]
    );
}

#[test]
fn a_polls_end_is_the_delivery() {
    let spans = [
        span(1, 1, "a", 100, 110).message(Send, "t"),
        span(1, 2, "b", 0, 115).message(Receive, "t").under(1),
    ];
    assert_eq!(view(&spans, &[]).hops[0].in_broker_ns, Some(5 * MS));
}

#[test]
fn redeliveries_are_attempts_of_one_hop_and_only_the_first_waited() {
    let spans = [
        span(1, 1, "a", 0, 10).message(Send, "t"),
        span(1, 2, "b", 15, 20)
            .message(Process, "t")
            .group("g")
            .at(0, 5)
            .under(1)
            .failed("Boom"),
        span(1, 3, "b", 120, 130)
            .message(Process, "t")
            .group("g")
            .at(0, 5)
            .under(1)
            .failed("Boom"),
        span(1, 4, "b", 230, 233)
            .message(Process, "t")
            .group("g")
            .at(0, 5)
            .under(1),
    ];
    let view = view(&spans, &[]);
    assert_eq!(view.hops.len(), 1);
    let hop = &view.hops[0];
    assert_eq!(
        (hop.attempts, hop.error, hop.in_broker_ns, hop.process_ns),
        (3, false, Some(5 * MS), Some(3 * MS))
    );
    assert_eq!(hop.consumer_span, Some((trace(1), id(4))));
    let waits: Vec<_> = [2, 3, 4].map(|n| row(&view, &spans, n).in_broker_ns).into();
    assert_eq!(waits, [Some(5 * MS), None, None]);
    assert_eq!(view.summary.errors, 2);
}

#[test]
fn a_back_off_wait_is_no_attempt() {
    let spans = [
        span(1, 1, "a", 0, 10).message(Send, "t"),
        span(1, 2, "b", 15, 16)
            .message(Process, "t")
            .group("g")
            .under(1)
            .waiting(),
        span(1, 3, "b", 420, 430)
            .message(Process, "t")
            .group("g")
            .under(1),
    ];
    assert_eq!(view(&spans, &[]).hops[0].attempts, 1);
}

#[test]
fn a_receive_and_its_process_are_one_hop() {
    // franz-go's kotel: receive under the producer, process under receive.
    let spans = [
        span(1, 1, "a", 0, 10).message(Send, "t"),
        span(1, 2, "b", 14, 15)
            .message(Receive, "t")
            .at(0, 1)
            .under(1),
        span(1, 3, "b", 16, 30)
            .message(Process, "t")
            .at(0, 1)
            .under(2),
    ];
    let nested = view(&spans, &[]);
    assert_eq!(nested.hops.len(), 1);
    assert_eq!(nested.hops[0].consumer_span, Some((trace(1), id(3))));
    assert_eq!(
        (nested.hops[0].in_broker_ns, nested.hops[0].process_ns),
        (Some(5 * MS), Some(14 * MS))
    );
    // The same with LinkSpans: three traces a hop.
    let producer = [span(1, 1, "a", 0, 10).message(Send, "t")];
    let foreign = [
        span(2, 2, "b", 14, 15)
            .message(Receive, "t")
            .at(0, 1)
            .linked(1, 1),
        span(3, 3, "b", 16, 30)
            .message(Process, "t")
            .at(0, 1)
            .linked(2, 2),
    ];
    let linked = view(&producer, &foreign);
    assert_eq!(linked.hops.len(), 1);
    assert_eq!(linked.hops[0].consumer_span, Some((trace(3), id(3))));
    assert_eq!(linked.hops[0].in_broker_ns, Some(5 * MS));
}

#[test]
fn a_parent_and_a_link_to_the_same_span_are_one_stitch() {
    let spans = [
        span(1, 1, "a", 0, 10).message(Send, "t"),
        span(1, 2, "b", 14, 15)
            .message(Process, "t")
            .under(1)
            .linked(1, 1),
    ];
    let view = view(&spans, &[]);
    assert_eq!(view.hops.len(), 1);
    assert!(view.linked.is_empty());
    assert!(!row(&view, &spans, 2).joined_by_link);
    assert_eq!(row(&view, &spans, 1).linked_from.len(), 1);
}

#[test]
fn a_consumer_stands_under_its_producer_also_when_only_a_link_joins_them() {
    let spans = [
        span(1, 1, "a", 0, 10).message(Send, "t"),
        span(1, 2, "b", 14, 15).message(Process, "t").linked(1, 1),
    ];
    let same_trace = view(&spans, &[]);
    assert_eq!(drawn(&same_trace, &spans), [(1, 0), (2, 1)]);
    assert!(row(&same_trace, &spans, 2).joined_by_link);

    // Java with receive telemetry: the process is the child of a receive of another trace.
    let inline = [
        span(1, 1, "a", 0, 10).message(Send, "t"),
        span(2, 2, "b", 5, 14).message(Receive, "t").batch(2),
        span(2, 3, "b", 15, 20)
            .message(Process, "t")
            .under(2)
            .linked(1, 1),
        span(2, 4, "b", 21, 25)
            .message(Process, "t")
            .under(2)
            .linked(9, 9),
        span(2, 5, "b", 16, 17).under(3),
    ];
    let shown = view(&inline, &[]);
    assert_eq!(
        drawn(&shown, &inline),
        [(1, 0), (3, 1), (5, 2), (2, 0), (4, 1)]
    );
    let alone = view(&inline[1..], &[]);
    assert_eq!(
        drawn(&alone, &inline[1..]),
        [(2, 0), (3, 1), (5, 2), (4, 1)]
    );
}

#[test]
fn a_batch_stands_under_none_of_its_messages_and_gives_a_hop_for_each() {
    let spans = [
        span(1, 1, "a", 0, 10).message(Send, "t"),
        span(1, 2, "a", 0, 20).message(Send, "t"),
        span(1, 3, "b", 5, 30)
            .message(Receive, "t")
            .group("g")
            .linked(1, 1)
            .linked(1, 2)
            .linked(7, 7),
    ];
    let view = view(&spans, &[]);
    assert_eq!(drawn(&view, &spans), [(1, 0), (2, 0), (3, 0)]);
    let waits: Vec<_> = view.hops.iter().map(|hop| hop.in_broker_ns).collect();
    assert_eq!(
        waits,
        [Some(20 * MS), Some(10 * MS)],
        "the end of a batch receive is the delivery"
    );
    assert_eq!(row(&view, &spans, 3).in_broker_ns, Some(20 * MS));
    assert_eq!(view.linked.len(), 1);
}

#[test]
fn a_batch_poll_takes_no_hop_from_the_handlers_of_its_messages() {
    // Java's opt-in: the poll links to every producer, each process is a child of its own.
    let spans = [
        span(1, 1, "a", 0, 10).message(Send, "t"),
        span(1, 2, "b", 40, 45)
            .message(Process, "t")
            .group("g")
            .at(0, 3)
            .under(1)
            .linked(1, 1),
    ];
    let poll = [span(2, 3, "b", 0, 30)
        .message(Receive, "t")
        .group("g")
        .linked(1, 1)
        .linked(8, 8)];
    let seen = view(&spans, &poll);
    assert_eq!(seen.hops.len(), 1);
    assert_eq!(seen.hops[0].consumer_span, Some((trace(1), id(2))));
    assert_eq!(seen.hops[0].in_broker_ns, Some(30 * MS));
    assert_eq!(
        (seen.linked[0].direction, seen.linked[0].links),
        (Direction::From, 1)
    );
    assert_eq!(seen.linked[0].service.as_deref(), Some("b"));
}

#[test]
fn linked_traces_are_told_in_both_directions_and_end_the_hops() {
    let spans = [
        span(1, 1, "b", 50, 60)
            .message(Process, "in")
            .group("g")
            .linked(2, 1),
        span(1, 2, "b", 55, 58).message(Send, "out").under(1),
    ];
    let foreign = [
        span(2, 1, "a", 0, 10).message(Send, "in"),
        span(3, 1, "c", 70, 80)
            .message(Process, "out")
            .group("h")
            .linked(1, 2),
        span(4, 1, "x", 70, 80).message(Process, "in").linked(2, 1),
    ];
    let view = view(&spans, &foreign);
    let hops: Vec<_> = view
        .hops
        .iter()
        .map(|hop| {
            (
                hop.producer.as_deref(),
                &*hop.topic,
                hop.consumer.as_deref(),
                hop.in_broker_ns,
            )
        })
        .collect();
    assert_eq!(
        hops,
        [
            (Some("a"), "in", Some("b"), Some(40 * MS)),
            (Some("b"), "out", Some("c"), Some(12 * MS))
        ]
    );
    let linked: Vec<_> = view
        .linked
        .iter()
        .map(|trace| (trace.trace_id, trace.direction, trace.service.as_deref()))
        .collect();
    assert_eq!(
        linked,
        [
            (trace(2), Direction::To, Some("a")),
            (trace(3), Direction::From, Some("c"))
        ]
    );
    let ends = row(&view, &spans, 2);
    assert_eq!(ends.linked_from[0].trace_id, trace(3));
    assert_eq!(
        row(&view, &spans, 1).links[0].name.as_deref(),
        Some("in Send")
    );
}

#[test]
fn create_and_send_are_one_message_and_nested_producers_too() {
    let created = [
        span(1, 1, "a", 0, 10).message(Create, "t"),
        span(1, 2, "a", 11, 20).message(Send, "t").linked(1, 1),
        span(1, 3, "b", 30, 40).message(Process, "t").under(1),
        span(1, 4, "b", 41, 42).message(Settle, "t").under(3),
    ];
    assert_eq!(view(&created, &[]).hops.len(), 1);
    assert_eq!(view(&created[..2], &[]).hops.len(), 1);
    let nested = [
        span(1, 1, "a", 0, 10).message(Send, "t"),
        span(1, 2, "a", 1, 9).message(Send, "t").under(1),
    ];
    let waiting = view(&nested, &[]);
    assert_eq!(waiting.hops.len(), 1);
    assert_eq!(waiting.hops[0].producer_span, Some((trace(1), id(2))));
    assert_eq!(
        (
            waiting.hops[0].consumer.as_deref(),
            waiting.hops[0].attempts
        ),
        (None, 0)
    );
}

#[test]
fn a_failed_send_and_a_span_without_a_topic_give_no_hop() {
    let mut nameless = span(1, 2, "b", 0, 1).message(Receive, "t");
    nameless.messaging.as_mut().unwrap().destination = None;
    let spans = [
        span(1, 1, "a", 0, 10).message(Send, "t").failed("Timeout"),
        nameless,
    ];
    assert!(view(&spans, &[]).hops.is_empty());
}

#[test]
fn a_consumer_whose_producer_is_unknown_is_a_hop_from_nobody() {
    let spans = [
        span(1, 1, "b", 0, 5).message(Receive, "t").batch(2),
        span(1, 2, "b", 6, 7)
            .message(Process, "t")
            .group("g")
            .at(0, 1)
            .under(1),
        span(1, 3, "b", 8, 9)
            .message(Process, "t")
            .group("g")
            .at(0, 2)
            .under(1),
        span(1, 4, "b", 10, 11)
            .message(Process, "t")
            .group("g")
            .at(0, 2)
            .under(1),
    ];
    let view = view(&spans, &[]);
    let hops: Vec<_> = view
        .hops
        .iter()
        .map(|hop| (hop.producer.is_some(), hop.offset, hop.attempts))
        .collect();
    assert_eq!(hops, [(false, Some(1), 1), (false, Some(2), 2)]);
    assert_eq!(view.hops[0].in_broker_ns, None);
}

#[test]
fn duplicates_are_dropped_and_shared_spans_kept() {
    let mut late = span(1, 1, "a", 0, 10);
    late.end = UnixNanos(20 * MS);
    let mut server = span(1, 1, "b", 2, 8);
    server.kind = highwater_model::raw::SpanKind::Server;
    let spans = [
        span(1, 1, "a", 0, 10),
        late,
        server,
        span(1, 2, "b", 3, 4).under(1),
    ];
    let view = view(&spans, &[]);
    assert_eq!(view.rows.len(), 3);
    assert_eq!(view.rows[0].index, 1, "the later end is the finished span");
    assert_eq!(
        view.rows.iter().map(|row| row.depth).collect::<Vec<_>>(),
        [0, 1, 1]
    );
    assert_eq!(
        view.notices,
        ["1\u{a0}span came more than once and is drawn once."]
    );
}

#[test]
fn circles_of_parents_are_cut_at_the_earliest_span() {
    let spans = [
        span(1, 1, "a", 10, 11).under(3),
        span(1, 2, "a", 5, 11).under(1),
        span(1, 3, "a", 7, 11).under(2),
        span(1, 4, "a", 1, 2).under(1),
        span(1, 5, "a", 20, 21).under(5),
    ];
    let view = view(&spans, &[]);
    assert_eq!(
        drawn(&view, &spans),
        [(2, 0), (3, 1), (1, 2), (4, 3), (5, 0)]
    );
    assert_eq!(
        view.notices,
        ["1\u{a0}circle of spans that name each other as parents was cut at the earliest span."]
    );
    // A link back to a descendant closes a circle too.
    let by_link = [
        span(1, 1, "a", 10, 11).message(Process, "t").linked(1, 2),
        span(1, 2, "a", 12, 13).message(Send, "t").under(1),
    ];
    let cut = super::tests::view(&by_link, &[]);
    assert_eq!(drawn(&cut, &by_link), [(1, 0), (2, 1)]);
    assert!(!row(&cut, &by_link, 1).joined_by_link);
}

#[test]
fn missing_parents_are_said() {
    let spans = [
        span(1, 1, "a", 0, 1).under(8),
        span(1, 2, "a", 1, 2).under(9),
    ];
    let view = view(&spans, &[]);
    assert!(
        view.rows
            .iter()
            .all(|row| row.missing_parent && row.depth == 0)
    );
    assert_eq!(
        view.notices,
        ["The parents of 2\u{a0}spans were never received."]
    );
}

#[test]
fn no_spans_make_an_empty_view() {
    let view = view(&[], &[]);
    assert!(view.rows.is_empty() && view.hops.is_empty());
    assert_eq!(view.summary.spans, 0);
    assert_eq!(summarise(&[]).duration_ns(), 0);
}

#[test]
fn the_line_for_lists_is_the_views_when_nothing_foreign_is_known() {
    let spans = [
        span(1, 1, "a", 0, 10).message(Send, "t").about("A-1"),
        span(1, 2, "b", 15, 20)
            .message(Process, "t")
            .under(1)
            .failed("Boom")
            .about("A-1"),
    ];
    let borrowed: Vec<&Span> = spans.iter().collect();
    let line = summarise(&borrowed);
    assert_eq!(line, view(&spans, &[]).summary);
    assert_eq!(
        (line.errors, line.in_broker_ns, line.correlations.len()),
        (1, Some(5 * MS), 1)
    );
}

/// 100,000 spans in shapes that punish quadratic steps and recursion. Counts what must come out; a test that took
/// minutes would be noticed. `examples/assemble.rs` prints the time.
#[test]
fn a_hundred_thousand_spans_are_assembled_in_any_shape() {
    const N: u64 = 100_000;
    let chain: Vec<Span> = (0..N)
        .map(|n| {
            if n == 0 {
                span(1, n, "a", n, n + 1)
            } else {
                span(1, n, "a", n, n + 1).under(n - 1)
            }
        })
        .collect();
    let star: Vec<Span> = (0..N)
        .map(|n| {
            if n == 0 {
                span(1, n, "a", 0, N)
            } else {
                span(1, n, "a", N - n, N).under(0)
            }
        })
        .collect();
    let fan: Vec<Span> = (0..N)
        .map(|n| match n {
            0 => span(1, n, "a", 0, 1).message(Send, "t"),
            _ => span(1, n, "b", n, n + 1)
                .message(Process, "t")
                .at(0, 1)
                .linked(1, 0),
        })
        .collect();
    let circle: Vec<Span> = (0..N)
        .map(|n| span(1, n, "a", n, n + 1).under((n + 1) % N))
        .collect();
    for (spans, deepest) in [(chain, N - 1), (star, 1), (fan, 1), (circle, N - 1)] {
        let view = view(&spans, &[]);
        assert_eq!(view.rows.len() as u64, N);
        assert_eq!(
            view.rows.iter().map(|row| u64::from(row.depth)).max(),
            Some(deepest)
        );
    }
}
