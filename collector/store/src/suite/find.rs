//! Facts of reading: by key, and by expression.

use highwater_model::raw::{RawLink, RawSpan, SpanKind, StatusCode, Value};
use highwater_model::{TraceId, UnixNanos};

use super::{Engine, small};
use crate::query::{Expr, parse};
use crate::search::SearchQuery;
use crate::spans::{Found, SpanReader, SpanWriter, Wanted};
use crate::testing::{Sent, at, batch, origin, plain, span_id, text, trace_id, with};

async fn written<E: Engine>(sent: &[Sent]) -> (E, E::Store) {
    let engine = E::new(small());
    let store = engine.open().await;
    for chunk in sent.chunks(3) {
        store.write(&[batch(chunk)], at(0)).await.unwrap();
    }
    engine.settle(&store).await;
    (engine, store)
}

fn traces(found: &Found) -> Vec<TraceId> {
    found
        .spans
        .iter()
        .map(|stored| stored.span.trace_id)
        .collect()
}

fn correlated(span: RawSpan, value: &str) -> RawSpan {
    let values = Value::Array(vec![text(value)]);
    with(span, &[("messaging.header.correlation_id", values)])
}

fn kafka(span: RawSpan, kind: SpanKind, offset: i64) -> RawSpan {
    let span = with(
        span,
        &[
            ("messaging.system", text("kafka")),
            ("messaging.destination.name", text("orders")),
            ("messaging.destination.partition.id", text("3")),
            ("messaging.kafka.offset", Value::Int(offset)),
        ],
    );
    RawSpan { kind, ..span }
}

pub(super) async fn a_correlation_value_finds_its_spans_over_traces<E: Engine>() {
    let sent: Vec<_> = (0..30)
        .map(|n| {
            let value = if n % 10 == 3 { "order-17" } else { "order-18" };
            let span = kafka(plain(n, 0, at(n)), SpanKind::Producer, n as i64);
            (origin("shop"), correlated(span, value))
        })
        .collect();
    let (_engine, store) = written::<E>(&sent).await;
    let found = store.by_correlation("order-17", 100).await.unwrap();
    assert_eq!(traces(&found), [trace_id(3), trace_id(13), trace_id(23)]);
    let newest = store.by_correlation("order-18", 5).await.unwrap();
    assert_eq!((newest.spans.len(), newest.truncated), (5, true));
    assert!(
        store
            .by_correlation("order-1", 9)
            .await
            .unwrap()
            .spans
            .is_empty()
    );
}

pub(super) async fn links_are_followed_backwards<E: Engine>() {
    let mut sent = vec![(origin("shop"), plain(1, 1, at(0)))];
    for n in 2..12 {
        let mut span = plain(n, 0, at(n));
        span.links = vec![
            RawLink {
                trace_id: trace_id(1),
                span_id: span_id(n % 2),
                attributes: Vec::new(),
            },
            RawLink {
                trace_id: trace_id(99),
                span_id: span_id(7),
                attributes: Vec::new(),
            },
        ];
        sent.push((origin("billing"), span));
    }
    let (_engine, store) = written::<E>(&sent).await;
    let all = store
        .find_one(Wanted::LinkingTo(trace_id(1), None), 100)
        .await
        .unwrap();
    assert_eq!(all.spans.len(), 10);
    let one = store
        .find_one(Wanted::LinkingTo(trace_id(1), Some(span_id(1))), 100)
        .await
        .unwrap();
    let odd: Vec<_> = [3, 5, 7, 9, 11].map(trace_id).to_vec();
    assert_eq!(traces(&one), odd);
    assert!(
        store
            .find_one(Wanted::LinkingTo(trace_id(2), None), 9)
            .await
            .unwrap()
            .spans
            .is_empty()
    );
}

pub(super) async fn a_record_finds_who_sent_it_and_who_read_it<E: Engine>() {
    let mut sent = Vec::new();
    for n in 0..20 {
        let producer = kafka(plain(n, 0, at(n)), SpanKind::Producer, n as i64);
        let consumer = kafka(plain(n, 1, at(n + 1)), SpanKind::Consumer, n as i64);
        sent.push((origin("shop"), producer));
        sent.push((origin("billing"), consumer));
    }
    // A batch consumer names its records on its links.
    let mut over_a_batch = RawSpan {
        kind: SpanKind::Consumer,
        ..with(
            plain(50, 0, at(50)),
            &[
                ("messaging.system", text("kafka")),
                ("messaging.destination.name", text("orders")),
                ("messaging.operation.type", text("process")),
            ],
        )
    };
    over_a_batch.links = (5..8)
        .map(|n| RawLink {
            trace_id: trace_id(n),
            span_id: span_id(0),
            attributes: vec![
                ("messaging.destination.partition.id".into(), text("3")),
                ("messaging.kafka.offset".into(), Value::Int(n as i64)),
            ],
        })
        .collect();
    sent.push((origin("audit"), over_a_batch));
    let (_engine, store) = written::<E>(&sent).await;
    let found = store.by_offset("orders", 3, 7, 10).await.unwrap();
    assert_eq!(traces(&found), [trace_id(7), trace_id(7), trace_id(50)]);
    let found = store.by_offset("orders", 3, 8, 10).await.unwrap();
    assert_eq!(traces(&found), [trace_id(8), trace_id(8)]);
    for (topic, partition, offset) in [("orders", 3, 20), ("orders", 2, 7), ("order", 3, 7)] {
        let found = store.by_offset(topic, partition, offset, 10).await.unwrap();
        assert!(found.spans.is_empty());
    }
}

/// A key in many blocks, keys in a few that they share, one in none: each finds its own, up to its own limit.
pub(super) async fn keys_asked_for_together_find_what_each_is_of<E: Engine>() {
    let sent: Vec<_> = (0..240)
        .map(|n| {
            let value = if n < 2 { "rare" } else { "common" };
            let mut span = plain(n % 60, n / 60, at(n));
            span.links = vec![RawLink {
                trace_id: trace_id(100 + n % 2),
                span_id: span_id(n % 4),
                attributes: Vec::new(),
            }];
            let span = kafka(span, SpanKind::Producer, n as i64);
            (origin("shop"), correlated(span, value))
        })
        .collect();
    let (_engine, store) = written::<E>(&sent).await;
    let wanted = [
        (Wanted::Trace(trace_id(7)), 9),
        (Wanted::Correlation("common".into()), 500),
        (Wanted::Correlation("rare".into()), 1),
        (Wanted::Trace(trace_id(99)), 9),
        (Wanted::LinkingTo(trace_id(101), Some(span_id(3))), 500),
        (Wanted::Record("orders".into(), 3, 67), 9),
        (Wanted::Trace(trace_id(7)), 3),
    ];
    let found = store.find(&wanted).await.unwrap();
    let counts = found
        .iter()
        .map(|found| (found.spans.len(), found.truncated));
    let expected = [
        (4, false),
        (238, false),
        (1, true),
        (0, false),
        (60, false),
        (1, false),
        (3, true),
    ];
    assert!(counts.eq(expected));
    assert_eq!(traces(&found[0]), [trace_id(7); 4]);
    assert_eq!(traces(&found[5]), [trace_id(7)]);
    for ((wanted, limit), together) in wanted.into_iter().zip(found) {
        assert_eq!(store.find_one(wanted, limit).await.unwrap(), together);
    }
    assert_eq!(store.find(&[]).await.unwrap(), []);
}

/// Trace 1 is an order that billing failed to charge after a wait of 20 s; trace 2 one that went well; trace 3 has
/// nothing of messaging.
fn shop() -> Vec<Sent> {
    let order = |trace: u64, id: i64| {
        let send = kafka(plain(trace, 0, at(0)), SpanKind::Producer, id);
        let send = with(
            RawSpan {
                name: "send orders".into(),
                ..send
            },
            &[
                ("order.id", Value::Int(id)),
                ("messaging.operation.type", text("send")),
            ],
        );
        let mut process = kafka(plain(trace, 1, at(21)), SpanKind::Consumer, id);
        process.parent_span_id = Some(span_id(0));
        process.name = "process orders".into();
        let process = with(
            process,
            &[
                ("messaging.operation.type", text("process")),
                ("messaging.consumer.group.name", text("billing")),
                ("amount", Value::Double(12.5)),
                ("tags", Value::Array(vec![text("new"), text("vip")])),
            ],
        );
        (send, process)
    };
    let (send_1, mut process_1) = order(1, 17);
    process_1.status = StatusCode::Error;
    process_1.status_message = "Card DECLINED by bank".into();
    process_1.end = at(30);
    let (send_2, mut process_2) = order(2, 18);
    process_2.start = at(1);
    process_2.end = at(2);
    process_2.status = StatusCode::Ok;
    let mut get = plain(3, 0, at(5));
    get.kind = SpanKind::Server;
    get.name = "GET /cart".into();
    let get = with(
        get,
        &[
            ("http.response.status_code", Value::Int(200)),
            ("cached", Value::Bool(true)),
        ],
    );
    vec![
        (origin("shop"), send_1),
        (origin("billing"), process_1),
        (origin("shop"), send_2),
        (origin("billing"), process_2),
        (origin("web"), get),
    ]
}

pub(super) async fn an_expression_finds_the_traces_that_it_describes<E: Engine>() {
    let (_engine, store) = written::<E>(&shop()).await;
    for (expression, expected) in [
        ("", &[1, 3, 2][..]),
        ("service = billing", &[1, 2]),
        ("service != billing", &[3, 1, 2]),
        ("service = shop and group = billing", &[]),
        ("group = billing and status = error", &[1]),
        ("status = ok", &[2]),
        ("status = unset", &[3, 1, 2]),
        ("topic = orders", &[1, 2]),
        ("topic != orders", &[]),
        ("not topic = orders", &[3]),
        ("group ~ ^bill", &[1, 2]),
        ("kind = server or kind = producer", &[3, 1, 2]),
        ("operation in (\"GET /cart\", other)", &[3]),
        ("name ~ orders$ duration >= 9s", &[1]),
        ("duration < 9s", &[3, 2, 1]),
        ("trace_duration > 20s", &[1]),
        ("in_broker > 10s", &[1]),
        ("in_broker = 0", &[2]),
        ("not in_broker > 10s", &[3, 2, 1]),
        ("group = billing and not in_broker > 10s", &[2]),
        ("spans = 1", &[3]),
        ("errors > 0", &[1]),
        ("errors = 0 and spans = 2", &[2]),
        ("service = shop and errors > 0", &[1]),
        ("order.id = 17", &[1]),
        ("order.id != 17", &[2]),
        ("order.id in (17, 18)", &[1, 2]),
        ("order.id >= 18", &[2]),
        ("amount = 12.50", &[1, 2]),
        ("tags = vip", &[1, 2]),
        ("tags != vip", &[]),
        ("cached = true", &[3]),
        ("host.name = node-1 and service = web", &[3]),
        ("otel.scope.name = kafka and service = web", &[3]),
        ("environment = default", &[1, 3, 2]),
        ("env = prod", &[]),
        ("declined", &[1]),
        ("\"by bank\"", &[1]),
        ("vip", &[1, 2]),
        ("CART", &[3]),
        ("vip and not declined", &[2]),
        ("nowhere", &[]),
        ("trace = a0a0a0a0a0a0a0a00000000000000002", &[2]),
        ("trace ~ 02$", &[2]),
        ("span = 0000000000000001", &[3, 1, 2]),
    ] {
        let filter = parse(expression).unwrap().unwrap_or(Expr::All(Vec::new()));
        let query = SearchQuery::new(at(0), at(3_600)).and(filter);
        let page = store.search(&query).await.unwrap();
        let found: Vec<_> = page.hits.iter().map(|hit| hit.trace_id).collect();
        // By the newest matching span; trace 1 and 2 begin together, so the greater id is first.
        let mut expected: Vec<_> = expected.iter().copied().map(trace_id).collect();
        let mut sorted = found.clone();
        sorted.sort();
        expected.sort();
        assert_eq!(sorted, expected, "{expression}");
        let places: Vec<_> = page
            .hits
            .iter()
            .map(|hit| (hit.newest, hit.trace_id))
            .collect();
        assert!(
            places.is_sorted_by(|a, b| a > b),
            "{expression}: {places:?}"
        );
        assert!(!page.partial);
        assert_eq!(page.next, None);
    }
}

pub(super) async fn a_hit_has_its_whole_trace_and_says_what_matched<E: Engine>() {
    let (_engine, store) = written::<E>(&shop()).await;
    let query = SearchQuery::new(at(0), at(3_600)).and(Expr::failed());
    let page = store.search(&query).await.unwrap();
    let [hit] = &page.hits[..] else {
        panic!("{page:?}")
    };
    assert_eq!(hit.spans.len(), 2);
    assert_eq!(hit.matched, [1]);
    assert_eq!(&*hit.spans[1].service.name, "billing");
    assert_eq!(hit.newest, at(21));
    assert_eq!((page.searched, page.total), (5, 5));
}

pub(super) async fn a_range_counts_the_starts_of_matching_spans<E: Engine>() {
    let (_engine, store) = written::<E>(&shop()).await;
    for (from, to, expected) in [
        (at(0), at(1), vec![trace_id(2), trace_id(1)]),
        (at(1), at(5), vec![trace_id(2)]),
        (at(5), at(6), vec![trace_id(3)]),
        (at(22), at(100), vec![]),
        (at(5), at(5), vec![]),
        (at(6), at(5), vec![]),
        (
            UnixNanos(0),
            UnixNanos(u64::MAX),
            vec![trace_id(1), trace_id(3), trace_id(2)],
        ),
    ] {
        let page = store.search(&SearchQuery::new(from, to)).await.unwrap();
        let found: Vec<_> = page.hits.iter().map(|hit| hit.trace_id).collect();
        assert_eq!(found, expected, "{from:?} {to:?}");
    }
}

pub(super) async fn a_search_stops_at_its_cost_and_goes_on_from_there<E: Engine>() {
    let sent: Vec<_> = (0..200)
        .map(|n| (origin("shop"), plain(n, 0, at(n))))
        .collect();
    let (_engine, store) = written::<E>(&sent).await;
    // Only the oldest span matches: found after many pages that find nothing, each of bounded cost.
    let mut query = SearchQuery::new(at(0), at(3_600)).and(Expr::Text("nothing".into()));
    query.max_spans = 20;
    let mut pages = 0;
    let mut searched = 0;
    loop {
        let page = store.search(&query).await.unwrap();
        assert!(page.hits.is_empty());
        assert_eq!(page.total, 200);
        assert!(page.searched <= 120, "{}", page.searched);
        pages += 1;
        searched += page.searched;
        assert!(pages < 100);
        assert_eq!(page.partial, page.next.is_some());
        match page.next {
            Some(next) => query.cursor = Some(next.to_string().parse().unwrap()),
            None => break,
        }
    }
    assert!(pages > 1);
    assert!(searched >= 200, "{searched}");
}

pub(super) async fn large_traces_end_a_page_at_its_cost<E: Engine>() {
    const TRACES: u64 = 12;
    const SPANS: u64 = 50;
    // One after the other, and all at the same time: the oldest spans of a trace are below the newest of the next.
    for apart in [SPANS, 0] {
        let sent: Vec<_> = (0..TRACES)
            .flat_map(|trace| (0..SPANS).map(move |n| (trace, n)))
            .map(|(trace, n)| {
                let span = plain(trace, n, at(trace * apart + n));
                (origin("shop"), span)
            })
            .collect();
        let (_engine, store) = written::<E>(&sent).await;
        for max_spans in [1, SPANS, 3 * SPANS] {
            let mut query = SearchQuery::new(at(0), at(3_600));
            query.limit = 100;
            query.max_spans = max_spans;
            let mut found = Vec::new();
            loop {
                let page = store.search(&query).await.unwrap();
                let held: usize = page.hits.iter().map(|hit| hit.spans.len()).sum();
                assert!(
                    (held as u64) < max_spans + SPANS,
                    "{held} spans of {max_spans}"
                );
                assert!(
                    page.hits
                        .iter()
                        .all(|hit| hit.matched.len() as u64 == SPANS)
                );
                assert_eq!(page.partial, page.next.is_some());
                found.extend(page.hits.iter().map(|hit| (hit.newest, hit.trace_id)));
                let Some(next) = page.next else { break };
                assert!(query.cursor.is_none_or(|before| next < before));
                query.cursor = Some(next);
            }
            assert_eq!(found.len() as u64, TRACES);
            assert!(found.is_sorted_by(|a, b| a > b), "{found:?}");
        }
    }
}
