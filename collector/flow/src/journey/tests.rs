use Operation::{Process, Receive, Send};
use highwater_model::{SpanId, UnixNanos};

use super::*;
use crate::trace::test_spans::{With, id, span, trace};

/// What a store answers.
pub(crate) struct Stored(pub(crate) Vec<Span>);

impl Stored {
    pub(crate) fn answer(&self, need: Need) -> Vec<Span> {
        let wanted = |found: &&Span| match need {
            Need::Trace(trace) => found.trace_id == trace,
            Need::LinksTo { trace, span } => found
                .links
                .iter()
                .any(|link| (link.trace_id, link.span_id) == (trace, span)),
        };
        self.0.iter().filter(wanted).cloned().collect()
    }
}

fn about(value: &str) -> Correlation {
    Correlation {
        key: "correlation".into(),
        value: value.into(),
    }
}

fn follow_within(stored: &Stored, value: &str, bounds: Bounds) -> Journey {
    let carrying = stored
        .0
        .iter()
        .filter(|span| span.correlations.contains(&about(value)));
    let mut journey = Journey::start(about(value), carrying.cloned().collect(), bounds);
    loop {
        let needs = journey.needs();
        if needs.is_empty() {
            return journey;
        }
        for need in needs {
            journey.feed(need, stored.answer(need));
        }
    }
}

fn follow(spans: Vec<Span>, value: &str) -> Journey {
    follow_within(&Stored(spans), value, Bounds::default())
}

/// (trace, span, how) of the members.
fn members(journey: &Journey) -> Vec<(u64, u64, JoinedBy)> {
    let mut members: Vec<_> = journey
        .members()
        .iter()
        .map(|(span, by)| {
            (
                number(span.trace_id),
                u64::from_be_bytes(span.span_id.0) - 1,
                *by,
            )
        })
        .collect();
    members.sort_by_key(|(trace, span, _)| (*trace, *span));
    members
}

fn number(trace: TraceId) -> u64 {
    let [.., a, b, c, d, e, f, g, h] = trace.0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

fn numbers(journey: &Journey) -> Vec<(u64, u64)> {
    members(journey)
        .into_iter()
        .map(|(t, n, _)| (t, n))
        .collect()
}

fn tell(journey: &Journey, now_ms: u64) -> JourneyView {
    journey.tell(&NoFacts, UnixNanos(now_ms * 1_000_000))
}

fn plain(text: &str) -> String {
    text.replace('\u{a0}', " ")
}

#[test]
fn an_id_on_one_hop_finds_the_whole_trace_where_it_is_about_one_message() {
    let journey = follow(
        vec![
            span(1, 0, "web", 0, 20),
            span(1, 1, "web", 1, 10).message(Send, "orders").under(0),
            span(1, 2, "billing", 20, 60)
                .message(Process, "orders")
                .group("billing")
                .under(1)
                .about("A"),
            span(1, 3, "billing", 30, 31).under(2),
            span(1, 4, "billing", 40, 45)
                .message(Send, "payments")
                .under(2),
            span(1, 5, "ledger", 50, 60)
                .message(Process, "payments")
                .group("ledger")
                .under(4),
            span(1, 6, "stock", 25, 26)
                .message(Process, "orders")
                .group("stock")
                .under(1),
            // The same request sends another message: it is about who knows what.
            span(1, 7, "web", 11, 12).message(Send, "audit").under(0),
        ],
        "A",
    );
    use JoinedBy::{Id, Parent};
    assert_eq!(
        members(&journey),
        [
            (1, 0, Parent),
            (1, 1, Parent),
            (1, 2, Id),
            (1, 3, Parent),
            (1, 4, Parent),
            (1, 5, Parent),
            (1, 6, Parent)
        ]
    );
}

#[test]
fn links_lead_from_the_sender_to_its_handlers_and_what_they_send() {
    // Java with receive telemetry: one receive over two messages, in a trace of its own.
    let two = |carrier: u64| {
        let mut spans = vec![
            span(1, 1, "a", 0, 1).message(Send, "in"),
            span(2, 1, "a", 0, 1).message(Send, "in"),
            span(3, 1, "b", 0, 5).message(Receive, "in").batch(2),
            span(3, 2, "b", 6, 8)
                .message(Process, "in")
                .under(1)
                .linked(1, 1),
            span(3, 3, "b", 7, 8).message(Send, "out").under(2),
            span(3, 4, "b", 9, 12)
                .message(Process, "in")
                .under(1)
                .linked(2, 1),
            span(3, 5, "b", 10, 11).message(Send, "out").under(4),
            span(4, 1, "c", 12, 13).message(Receive, "out").batch(2),
            span(4, 2, "c", 14, 15)
                .message(Process, "out")
                .under(1)
                .linked(3, 3),
            span(4, 3, "c", 14, 15)
                .message(Process, "out")
                .under(1)
                .linked(3, 5),
        ];
        spans
            .iter_mut()
            .filter(|s| number(s.trace_id) == carrier)
            .for_each(|s| {
                s.correlations.push(about("A"));
            });
        spans
    };
    let from_the_first = follow(two(1), "A");
    assert_eq!(
        numbers(&from_the_first),
        [(1, 1), (3, 1), (3, 2), (3, 3), (4, 1), (4, 2)]
    );
    assert_eq!(members(&from_the_first)[2].2, JoinedBy::Link);
    assert!(!from_the_first.truncated());
    // From the far end back.
    let mut spans = two(9);
    spans[9].correlations.push(about("B"));
    assert_eq!(
        numbers(&follow(spans, "B")),
        [(2, 1), (3, 1), (3, 4), (3, 5), (4, 1), (4, 3)]
    );
}

#[test]
fn a_span_over_several_messages_joins_nothing() {
    let journey = follow(
        vec![
            span(1, 1, "a", 0, 1).message(Send, "in").about("A"),
            span(2, 1, "a", 0, 1).message(Send, "in").about("B"),
            span(3, 1, "b", 2, 9)
                .message(Process, "in")
                .linked(1, 1)
                .linked(2, 1),
            span(3, 2, "b", 3, 4).message(Send, "out").under(1),
        ],
        "A",
    );
    assert_eq!(numbers(&journey), [(1, 1), (3, 1)]);
    let sentences: Vec<_> = tell(&journey, 10)
        .steps
        .into_iter()
        .map(|step| step.sentence)
        .collect();
    assert_eq!(sentences, ["a sent to in", "b handled in in a batch"]);
}

#[test]
fn a_span_with_several_ids_is_in_each_journey_and_joins_none() {
    let spans = vec![
        span(3, 1, "b", 2, 9)
            .message(Receive, "in")
            .about("A")
            .about("B"),
        span(3, 2, "b", 3, 4)
            .message(Process, "in")
            .under(1)
            .about("A"),
        span(3, 3, "b", 5, 6).message(Process, "in").under(1),
        span(3, 4, "b", 7, 8)
            .message(Process, "in")
            .under(1)
            .about("B"),
    ];
    assert_eq!(numbers(&follow(spans.clone(), "A")), [(3, 1), (3, 2)]);
    assert_eq!(numbers(&follow(spans, "B")), [(3, 1), (3, 4)]);
}

#[test]
fn spans_of_another_id_are_not_entered() {
    // One file is split into two orders.
    let spans = vec![
        span(1, 1, "split", 0, 9).message(Process, "files"),
        span(1, 2, "split", 1, 2)
            .message(Send, "orders")
            .under(1)
            .about("A"),
        span(1, 3, "split", 3, 4)
            .message(Send, "orders")
            .under(1)
            .about("B"),
        span(1, 4, "billing", 5, 6)
            .message(Process, "orders")
            .under(3),
    ];
    assert_eq!(numbers(&follow(spans, "A")), [(1, 1), (1, 2)]);
}

#[test]
fn links_of_sending_and_settling_spans_are_not_followed() {
    let spans = vec![
        span(1, 1, "a", 0, 1).message(Send, "in").about("A"),
        span(2, 1, "b", 2, 3).message(Send, "batch").linked(1, 1),
        span(2, 2, "c", 4, 5).message(Process, "batch").under(1),
        span(3, 1, "b", 2, 3)
            .message(Operation::Settle, "in")
            .linked(1, 1),
        span(3, 2, "b", 2, 3).under(1),
        span(4, 1, "d", 2, 3)
            .message(Send, "x")
            .linked(5, 1)
            .about("A"),
        span(5, 1, "e", 0, 1).message(Send, "y"),
    ];
    assert_eq!(numbers(&follow(spans, "A")), [(1, 1), (4, 1)]);
}

#[test]
fn a_poll_of_one_message_brings_what_is_sent_under_it() {
    // kafkajs eachBatch: what the handler sends is a child of the poll, not of the process.
    let spans = |count| {
        vec![
            span(1, 1, "a", 0, 1).message(Send, "in").about("A"),
            span(2, 1, "b", 2, 9).message(Receive, "in").batch(count),
            span(2, 2, "b", 3, 8)
                .message(Process, "in")
                .under(1)
                .linked(1, 1),
            span(2, 3, "b", 4, 5).message(Send, "out").under(1),
        ]
    };
    assert_eq!(
        numbers(&follow(spans(1), "A")),
        [(1, 1), (2, 1), (2, 2), (2, 3)]
    );
    assert_eq!(numbers(&follow(spans(2), "A")), [(1, 1), (2, 1), (2, 2)]);
}

#[test]
fn chains_of_links_through_a_receive_are_followed() {
    // franz-go's kotel with LinkSpans: process links to receive, only receive links to the producer.
    let spans = |carrier: u64| {
        let mut spans = vec![
            span(1, 1, "a", 0, 1).message(Send, "in"),
            span(2, 1, "b", 2, 3)
                .message(Receive, "in")
                .at(0, 1)
                .linked(1, 1),
            span(3, 1, "b", 4, 5)
                .message(Process, "in")
                .at(0, 1)
                .linked(2, 1),
            span(3, 2, "b", 4, 5).message(Send, "out").under(1),
        ];
        spans[usize::try_from(carrier - 1).unwrap()]
            .correlations
            .push(about("A"));
        spans
    };
    for carrier in 1..=3 {
        let all = [(1, 1), (2, 1), (3, 1), (3, 2)];
        assert_eq!(numbers(&follow(spans(carrier), "A")), all, "from {carrier}");
    }
}

#[test]
fn a_journey_stops_at_its_bounds_and_says_so() {
    // A chain of traces, each linked to the one before.
    let mut spans = vec![span(0, 1, "s", 0, 1).message(Send, "t").about("A")];
    for n in 1..50 {
        spans.push(
            span(n, 0, "s", n * 2, n * 2 + 1)
                .message(Process, "t")
                .linked(n - 1, 1),
        );
        spans.push(
            span(n, 1, "s", n * 2, n * 2 + 1)
                .message(Send, "t")
                .under(0),
        );
    }
    let stored = Stored(spans);
    let all = follow_within(&stored, "A", Bounds::default());
    assert_eq!((all.members().len(), all.truncated()), (99, false));
    let few = follow_within(
        &stored,
        "A",
        Bounds {
            traces: 10,
            spans: 20_000,
        },
    );
    assert!(few.truncated());
    assert_eq!(
        few.members().iter().map(|(s, _)| s.trace_id).max(),
        Some(trace(10))
    );
    let small = follow_within(
        &stored,
        "A",
        Bounds {
            traces: 200,
            spans: 7,
        },
    );
    assert!(small.truncated() && small.members().len() <= 7);
    assert!(tell(&small, 1_000).truncated);
}

#[test]
fn a_circle_of_links_and_parents_ends() {
    let spans = vec![
        span(1, 1, "a", 0, 1).message(Send, "t").under(2).about("A"),
        span(1, 2, "a", 0, 1)
            .message(Process, "t")
            .under(1)
            .linked(1, 1),
        span(2, 1, "a", 0, 1).message(Process, "t").linked(1, 1),
        span(2, 2, "a", 0, 1)
            .message(Send, "t")
            .under(1)
            .linked(2, 1),
    ];
    assert_eq!(follow(spans, "A").members().len(), 4);
}

#[test]
fn the_order_of_answers_does_not_matter() {
    let spans: Vec<Span> = (0..20)
        .flat_map(|n| {
            let mut sent = span(n, 1, "s", n, n + 1).message(Send, "t").under(0);
            if n == 7 {
                sent = sent.about("A");
            }
            let taken = span(n, 0, "s", n, n + 1)
                .message(Process, "t")
                .linked(n / 2, 1);
            [taken, sent]
        })
        .collect();
    let forth = follow(spans.clone(), "A");
    let back = follow(spans.into_iter().rev().collect(), "A");
    assert_eq!(numbers(&forth), numbers(&back));
    assert!(numbers(&forth).len() > 20);
}

#[test]
fn an_unknown_id_is_an_empty_journey() {
    let journey = follow(vec![span(1, 1, "a", 0, 1)], "A");
    let view = tell(&journey, 5);
    assert!(view.steps.is_empty() && view.traces.is_empty());
    assert_eq!(view.sentence, "Its spans tell of no message.");
}

fn shop() -> Vec<Span> {
    vec![
        span(1, 1, "checkout", 0, 10)
            .message(Send, "orders")
            .at(7, 21)
            .about("A"),
        span(1, 2, "billing", 30, 71)
            .message(Process, "orders")
            .group("billing")
            .at(7, 21)
            .under(1),
        span(1, 3, "billing", 60, 65)
            .message(Send, "payments")
            .under(2),
        span(1, 4, "ledger", 80, 92)
            .message(Process, "payments")
            .group("ledger")
            .at(1, 4)
            .under(3),
    ]
}

#[test]
fn a_journey_that_was_handled_everywhere_is_done_and_is_told_in_steps() {
    let view = tell(&follow(shop(), "A"), 1_000);
    assert_eq!(view.state, State::Done);
    assert_eq!(
        plain(&view.sentence),
        "Done in 92 ms: 2 messages over 2 topics, the last handled by ledger."
    );
    let steps: Vec<_> = view
        .steps
        .iter()
        .map(|step| {
            (
                step.kind,
                plain(&step.sentence),
                step.in_broker_ns.map(|ns| ns / 1_000_000),
                step.offset,
            )
        })
        .collect();
    assert_eq!(
        steps,
        [
            (
                StepKind::Produced,
                "checkout sent to orders".to_owned(),
                None,
                Some(21)
            ),
            (
                StepKind::Handled,
                "billing handled orders in 41 ms".to_owned(),
                Some(20),
                Some(21)
            ),
            (
                StepKind::Produced,
                "billing sent to payments".to_owned(),
                None,
                Some(4)
            ),
            (
                StepKind::Handled,
                "ledger handled payments in 12 ms".to_owned(),
                Some(15),
                Some(4)
            ),
        ]
    );
    let lanes: Vec<_> = view.lanes.iter().map(|lane| &*lane.id).collect();
    assert_eq!(
        lanes,
        [
            "service:checkout",
            "topic:unknown/orders",
            "service:billing",
            "topic:unknown/payments",
            "service:ledger"
        ]
    );
    assert_eq!(
        (&*view.steps[1].from, &*view.steps[1].to),
        ("topic:unknown/orders", "service:billing")
    );
    assert_eq!(view.traces.len(), 1);
}

/// A flow in which `stock` reads `orders` too, on the cluster `eu`.
struct Known;

impl Facts for Known {
    fn cluster(&self, messaging: &highwater_model::Messaging) -> Option<Arc<str>> {
        // Only consumers tell.
        (messaging.operation == Process).then(|| "eu".into())
    }

    fn readers(&self, topic: &str) -> Vec<Reader> {
        let reader = |name: &str| Reader {
            group: Some(name.into()),
            service: Some(name.into()),
        };
        match topic {
            "orders" => vec![reader("billing"), reader("stock")],
            "payments" => vec![reader("ledger")],
            _ => Vec::new(),
        }
    }
}

#[test]
fn a_message_that_a_known_group_has_not_handled_waits_for_it() {
    let view = follow(shop(), "A").tell(&Known, UnixNanos(18_010 * 1_000_000));
    assert_eq!(view.state, State::InProgress);
    assert_eq!(
        plain(&view.sentence),
        "It waits in orders for stock: 18.0 s so far."
    );
    let wait = view.steps.last().unwrap();
    assert_eq!(
        (wait.kind, wait.duration_ns, wait.group.as_deref()),
        (StepKind::Waiting, None, Some("stock"))
    );
    assert_eq!(
        plain(&wait.sentence),
        "waits in orders for stock, 18.0 s so far"
    );
    assert_eq!(
        (&*wait.from, &*wait.to),
        ("topic:eu/orders", "topic:eu/orders")
    );
    assert_eq!((wait.partition, wait.offset), (Some(7), Some(21)));
}

#[test]
fn a_group_that_handled_one_message_of_a_topic_is_waited_for_on_the_next() {
    let mut spans = shop();
    spans.push(
        span(1, 5, "billing", 66, 67)
            .message(Send, "payments")
            .under(2),
    );
    let view = tell(&follow(spans, "A"), 100);
    assert_eq!(view.state, State::InProgress);
    assert_eq!(
        plain(&view.sentence),
        "It waits in payments for ledger: 33 ms so far."
    );
    assert_eq!(view.steps.last().unwrap().to, "service:ledger");
}

#[test]
fn a_handler_that_failed_last_makes_the_journey_failed_until_it_is_handled() {
    let mut spans = shop();
    spans[1] = spans[1].clone().failed("shop.GatewayTimeoutException");
    let failed = tell(&follow(spans.clone(), "A"), 100);
    assert_eq!(failed.state, State::Failed);
    assert_eq!(
        failed.sentence,
        "billing failed on orders with GatewayTimeoutException; nothing has handled it since."
    );
    assert_eq!(
        failed.steps[1].sentence,
        "billing failed on orders: GatewayTimeoutException"
    );
    assert_eq!(
        failed.steps[1].error.as_ref().unwrap().kind.as_ref(),
        "shop.GatewayTimeoutException"
    );
    spans.push(
        span(1, 6, "billing", 90, 93)
            .message(Process, "orders")
            .group("billing")
            .at(7, 21)
            .under(1),
    );
    let handled = tell(&follow(spans, "A"), 100);
    assert_eq!(handled.state, State::Done);
    assert!(plain(&handled.steps.last().unwrap().sentence).ends_with("(attempt 2)"));
}

#[test]
fn retries_and_the_dead_letter_are_told_and_the_journey_is_dead_lettered() {
    let spans = vec![
        span(1, 1, "a", 0, 1).message(Send, "pay").about("A"),
        span(1, 2, "r", 5, 6)
            .message(Process, "pay")
            .group("r")
            .at(0, 1)
            .under(1)
            .failed("x.Jam"),
        span(1, 3, "r", 7, 8)
            .message(Send, "pay-retry-400")
            .under(2),
        span(1, 4, "r", 9, 9)
            .message(Process, "pay-retry-400")
            .group("r-retry-400")
            .under(3)
            .waiting(),
        span(1, 5, "r", 410, 411)
            .message(Process, "pay-retry-400")
            .group("r-retry-400")
            .under(3)
            .failed("x.Jam"),
    ];
    let halfway = tell(&follow(spans.clone(), "A"), 500);
    assert_eq!(
        halfway.state,
        State::Failed,
        "the last attempt failed and nothing followed yet"
    );
    let mut dead = spans.clone();
    dead.push(span(1, 6, "r", 412, 413).message(Send, "pay-dlt").under(5));
    let view = tell(&follow(dead, "A"), 500);
    assert_eq!(view.state, State::DeadLettered);
    assert_eq!(view.sentence, "r gave up and sent it to pay-dlt: Jam.");
    let kinds: Vec<_> = view.steps.iter().map(|step| step.kind.as_str()).collect();
    assert_eq!(
        kinds,
        ["produced", "failed", "retried", "failed", "dead_lettered"]
    );
    let groups: Vec<_> = view
        .steps
        .iter()
        .map(|step| step.group.as_deref())
        .collect();
    assert_eq!(
        groups,
        [
            None,
            Some("r"),
            Some("r"),
            Some("r-retry-400"),
            Some("r-retry-400")
        ]
    );
    let lanes: Vec<_> = view.lanes.iter().map(|lane| lane.kind.as_str()).collect();
    assert_eq!(
        lanes,
        [
            "service",
            "topic",
            "service",
            "retry_topic",
            "dead_letter_topic"
        ]
    );
    let mut saved = spans;
    saved.push(
        span(1, 7, "r", 810, 812)
            .message(Process, "pay-retry-400")
            .group("r-retry-400")
            .under(3),
    );
    assert_eq!(tell(&follow(saved, "A"), 900).state, State::Done);
}

#[test]
fn a_send_that_failed_is_a_failure_until_one_succeeds() {
    let mut spans = vec![
        span(1, 1, "a", 0, 9)
            .message(Send, "orders")
            .about("A")
            .failed("o.TimeoutException"),
    ];
    let view = tell(&follow(spans.clone(), "A"), 10);
    assert_eq!(
        (view.state, &*view.sentence),
        (
            State::Failed,
            "a could not send to orders: TimeoutException."
        )
    );
    spans.push(span(2, 1, "a", 20, 21).message(Send, "orders").about("A"));
    let again = tell(&follow(spans, "A"), 30);
    assert_eq!(
        (again.state, &*again.sentence),
        (State::Done, "Sent to orders; nothing is known to read it.")
    );
}

#[test]
fn ids_of_spans_are_unique_only_within_a_trace() {
    let spans = vec![
        span(1, 1, "a", 0, 1).message(Send, "t").about("A"),
        span(2, 1, "x", 0, 1).message(Send, "t"),
        span(2, 2, "x", 0, 1).message(Process, "t").under(1),
    ];
    assert_eq!(numbers(&follow(spans, "A")), [(1, 1)]);
    assert_ne!(id(1), SpanId::default());
}

#[test]
fn a_span_whose_parent_never_came_belongs_where_its_trace_leaves_no_doubt() {
    // Spring's own tracing: a record that cannot be read goes to the dead-letter topic under a span never exported.
    let poison = vec![
        span(1, 1, "api", 0, 1).message(Send, "orders").about("A"),
        span(1, 2, "app", 5, 6)
            .message(Send, "orders-dlt")
            .under(77),
        span(1, 3, "app", 7, 8)
            .message(Process, "orders-dlt")
            .under(2),
    ];
    let journey = follow(poison.clone(), "A");
    assert_eq!(numbers(&journey), [(1, 1), (1, 2), (1, 3)]);
    assert_eq!(
        tell(&journey, 10).sentence,
        "app gave up and sent it to orders-dlt."
    );

    let mut with_another_sender = poison.clone();
    with_another_sender.push(span(1, 4, "api", 0, 1).message(Send, "orders"));
    assert_eq!(numbers(&follow(with_another_sender, "A")), [(1, 1)]);
    let mut with_a_batch = poison.clone();
    with_a_batch.push(span(1, 4, "api", 0, 1).message(Receive, "orders").batch(3));
    assert_eq!(numbers(&follow(with_a_batch, "A")), [(1, 1)]);
    let mut of_another = poison;
    of_another[1].correlations.push(about("B"));
    assert_eq!(numbers(&follow(of_another, "A")), [(1, 1)]);
}
