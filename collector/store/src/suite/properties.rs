//! Facts that hold for any spans: the store against a list that is searched by hand.

use std::collections::BTreeMap;
use std::time::Duration;

use highwater_model::normalise::{Rules, normalise};
use highwater_model::otlp::encode_span;
use highwater_model::raw::{SpanKind, Value, attribute};
use highwater_model::{Operation, Span, SpanId, TraceId, UnixNanos};
use proptest::prelude::*;

use super::Engine;
use crate::options::Options;
use crate::query::{Expr, parse};
use crate::search::SearchQuery;
use crate::spans::{SpanReader, SpanWriter, Wanted};
use crate::testing::{Sent, at, batch, span_id, spans, trace_id};

/// A span, and its trace.
struct Context<'a> {
    sent: &'a Sent,
    span: &'a Span,
    trace: &'a [&'a (Sent, Span)],
}

impl Context<'_> {
    fn order(&self) -> Option<i64> {
        match attribute(&self.sent.1.attributes, "order.id") {
            Some(Value::Int(id)) => Some(*id),
            _ => None,
        }
    }

    fn topic(&self) -> Option<&str> {
        self.span.messaging.as_ref()?.destination.as_deref()
    }

    fn waited_from_its_parent(&self) -> bool {
        let process = |m: &highwater_model::Messaging| {
            matches!(m.operation, Operation::Process | Operation::Receive)
        };
        let sends = |m: &highwater_model::Messaging| {
            matches!(m.operation, Operation::Send | Operation::Create)
        };
        let linked = self
            .span
            .links
            .iter()
            .filter(|link| link.trace_id == self.span.trace_id);
        let producers: Vec<SpanId> = self
            .span
            .parent
            .into_iter()
            .chain(linked.map(|l| l.span_id))
            .collect();
        self.span.messaging.as_ref().is_some_and(process)
            && self.trace.iter().any(|(_, other)| {
                producers.contains(&other.span_id) && other.messaging.as_ref().is_some_and(sends)
            })
    }
}

/// An expression, and the same by hand.
type Case = (&'static str, fn(&Context<'_>) -> bool);

const CASES: [Case; 17] = [
    ("", |_| true),
    ("service = billing", |c| &*c.span.service.name == "billing"),
    ("status = error", |c| c.span.error.is_some()),
    ("duration >= 250ms", |c| c.span.duration_ns() >= 250_000_000),
    ("topic = orders and not group = audit", |c| {
        c.topic() == Some("orders")
            && c.span.messaging.as_ref().and_then(|m| m.group.as_deref()) != Some("audit")
    }),
    ("order.id = 3", |c| c.order() == Some(3)),
    ("order.id != 3", |c| c.order().is_some_and(|id| id != 3)),
    ("not order.id > 1", |c| c.order().is_none_or(|id| id <= 1)),
    ("order.id in (0, 4) or topic = payments", |c| {
        matches!(c.order(), Some(0 | 4)) || c.topic() == Some("payments")
    }),
    ("kind = producer or operation ~ charge", |c| {
        c.span.kind == SpanKind::Producer || c.span.name.contains("charge")
    }),
    ("correlation = c-2", |c| {
        c.span.correlations.iter().any(|v| &*v.value == "c-2")
    }),
    ("DECLINED", |c| !c.sent.1.events.is_empty()),
    ("spans > 2 and service = shop", |c| {
        c.trace.len() > 2 && &*c.span.service.name == "shop"
    }),
    ("errors = 0", |c| {
        c.trace.iter().all(|(_, span)| span.error.is_none())
    }),
    ("in_broker >= 0", |c| c.waited_from_its_parent()),
    ("trace_duration > 1s and not status = error", |c| {
        let first = c.trace.iter().map(|(_, span)| span.start.0).min();
        let last = c.trace.iter().map(|(_, span)| span.end.0).max();
        last.unwrap_or(0) - first.unwrap_or(0) > 1_000_000_000 && c.span.error.is_none()
    }),
    (
        "trace = a0a0a0a0a0a0a0a00000000000000004 and service != stock",
        |c| c.span.trace_id == trace_id(4) && &*c.span.service.name != "stock",
    ),
];

/// Every span once, by trace: the first of those with equal ids and bytes.
fn model(sent: &[Sent]) -> BTreeMap<TraceId, Vec<(Sent, Span)>> {
    let mut traces: BTreeMap<TraceId, Vec<(Sent, Span)>> = BTreeMap::new();
    for one in sent {
        let trace = traces.entry(one.1.trace_id).or_default();
        let bytes = encode_span(&one.1);
        if !trace
            .iter()
            .any(|((_, other), _)| encode_span(other) == bytes)
        {
            trace.push((one.clone(), normalise(&one.0, &one.1, &Rules::default())));
        }
    }
    traces
}

/// Traces by their newest matching span, with the ids and starts of what matches.
type Expected = Vec<(UnixNanos, TraceId, Vec<(UnixNanos, SpanId)>)>;

fn expected(sent: &[Sent], case: Case, from: UnixNanos, to: UnixNanos) -> Expected {
    let mut found: Expected = Vec::new();
    for (id, trace) in &model(sent) {
        let all: Vec<_> = trace.iter().collect();
        let mut matched: Vec<_> = trace
            .iter()
            .filter(|(sent, span)| {
                (from..to).contains(&span.start)
                    && case.1(&Context {
                        sent,
                        span,
                        trace: &all,
                    })
            })
            .map(|(_, span)| (span.start, span.span_id))
            .collect();
        matched.sort();
        if let Some((newest, _)) = matched.last() {
            found.push((*newest, *id, matched));
        }
    }
    found.sort_by_key(|(newest, trace, _)| std::cmp::Reverse((*newest, *trace)));
    found
}

/// Sizes of everything that is cut into pieces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    request: usize,
    block: usize,
    seal: u64,
    width: u64,
    pace: u64,
}

fn shape() -> impl Strategy<Value = Shape> {
    (1_usize..20, 1_usize..8, 5_u64..60, 100_u64..900, 0_u64..200).prop_map(
        |(request, block, seal, width, pace)| Shape {
            request,
            block,
            seal,
            width,
            pace,
        },
    )
}

async fn filled<E: Engine>(sent: &[Sent], shape: Shape) -> (E, E::Store) {
    let engine = E::new(Options {
        block_spans: shape.block,
        seal_spans: shape.seal,
        partition_width: Some(Duration::from_secs(shape.width)),
        ..Options::default()
    });
    let store = engine.open().await;
    for (i, request) in (0..).zip(sent.chunks(shape.request)) {
        let arrival = at(i * shape.pace);
        store.write(&[batch(request)], arrival).await.unwrap();
    }
    (engine, store)
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
        .block_on(test);
}

pub(super) fn search_is_what_a_look_at_every_span_finds<E: Engine>() {
    let cases = ProptestConfig::with_cases(48);
    let inputs = (
        spans(60),
        shape(),
        1_usize..8,
        1_u64..80,
        0_u64..3_600,
        1_u64..3_600,
    );
    proptest!(cases, |((sent, shape, limit, max_spans, from, length) in inputs)| {
        run(async {
            let (_engine, store) = filled::<E>(&sent, shape).await;
            let ranges = [(at(from), at(from + length)), (UnixNanos(0), UnixNanos(u64::MAX))];
            for case in CASES {
                for (from, to) in ranges {
                    let filter = parse(case.0).unwrap().unwrap_or(Expr::All(Vec::new()));
                    let mut query = SearchQuery::new(from, to).and(filter);
                    query.limit = limit;
                    query.max_spans = max_spans;
                    let mut found = Expected::new();
                    let mut pages = 0;
                    loop {
                        let page = store.search(&query).await.unwrap();
                        assert!(page.hits.len() <= limit);
                        assert_eq!(page.partial, page.next.is_some() && page.hits.len() < limit);
                        for hit in &page.hits {
                            let matched = hit.matched.iter().map(|i| &hit.spans[*i]);
                            let mut matched: Vec<_> = matched.map(|s| (s.start, s.span_id)).collect();
                            matched.sort();
                            found.push((hit.newest, hit.trace_id, matched));
                        }
                        pages += 1;
                        assert!(pages < 200, "the pages do not end");
                        let Some(next) = page.next else { break };
                        query.cursor = Some(next);
                    }
                    assert_eq!(found, expected(&sent, case, from, to), "{}", case.0);
                }
            }
        });
    });
}

pub(super) fn keys_find_what_a_look_at_every_span_finds<E: Engine>() {
    let cases = ProptestConfig::with_cases(32);
    proptest!(cases, |(sent in spans(80), shape in shape(), restart: bool)| {
        run(async {
            let (engine, mut store) = filled::<E>(&sent, shape).await;
            if restart {
                engine.close(store).await;
                store = engine.open().await;
            }
            let model = model(&sent);
            let all = || model.values().flatten().map(|(_, span)| span);
            let ids = |spans: &mut dyn Iterator<Item = &Span>| {
                let mut ids: Vec<_> = spans.map(|s| (s.start, s.trace_id, s.span_id)).collect();
                ids.sort();
                ids
            };
            for n in 0..14 {
                let found = store.trace(trace_id(n), 1_000).await.unwrap();
                assert_eq!(
                    ids(&mut found.spans.iter().map(|s| &s.span)),
                    ids(&mut all().filter(|s| s.trace_id == trace_id(n)))
                );
                for span in [None, Some(span_id(2))] {
                    let found = store.find_one(Wanted::LinkingTo(trace_id(n), span), 1_000).await.unwrap();
                    let links = |s: &&Span| {
                        s.links.iter().any(|l| {
                            l.trace_id == trace_id(n) && span.is_none_or(|id| l.span_id == id)
                        })
                    };
                    assert_eq!(
                        ids(&mut found.spans.iter().map(|s| &s.span)),
                        ids(&mut all().filter(links))
                    );
                }
            }
            for n in 0..5 {
                let value = format!("c-{n}");
                let found = store.by_correlation(&value, 1_000).await.unwrap();
                let has = |s: &&Span| s.correlations.iter().any(|c| *c.value == *value);
                assert_eq!(
                    ids(&mut found.spans.iter().map(|s| &s.span)),
                    ids(&mut all().filter(has))
                );
            }
            for (partition, offset) in [(0, 0), (1, 3), (2, 2), (3, 0)] {
                let found = store.by_offset("orders", partition, offset, 1_000).await.unwrap();
                let names = |s: &&Span| {
                    s.messaging.as_ref().is_some_and(|m| {
                        m.destination.as_deref() == Some("orders")
                            && (m.partition, m.offset) == (Some(partition), Some(offset))
                    })
                };
                assert_eq!(
                    ids(&mut found.spans.iter().map(|s| &s.span)),
                    ids(&mut all().filter(names))
                );
            }
        });
    });
}
