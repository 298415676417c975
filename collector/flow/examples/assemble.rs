//! Prints how long a trace of 100,000 spans takes to assemble: `cargo run --release -p highwater-flow --example assemble`.

use std::time::Instant;

use highwater_flow::trace::assemble;
use highwater_model::span::{Link, Messaging, ServiceKey};
use highwater_model::{Operation, Span, SpanId, TraceId, UnixNanos};

const SPANS: u64 = 100_000;

fn span(n: u64, parent: Option<u64>) -> Span {
    let service = ServiceKey {
        environment: "default".into(),
        namespace: "".into(),
        name: ["checkout", "billing", "stock", "mail"][(n % 4) as usize].into(),
    };
    let time = (UnixNanos(n * 1_000), UnixNanos(n * 1_000 + 500));
    Span {
        parent: parent.map(|parent| SpanId((parent + 1).to_be_bytes())),
        ..Span::plain(
            TraceId([1; 16]),
            SpanId((n + 1).to_be_bytes()),
            service,
            time,
        )
    }
}

fn message(mut span: Span, operation: Operation) -> Span {
    span.messaging = Some(Messaging::kafka(operation, "orders"));
    span
}

fn main() {
    // Messages one after the other, each handled by the next span, half of them by a link only.
    let messages = (0..SPANS).map(|n| match n % 2 {
        0 => message(span(n, n.checked_sub(1)), Operation::Send),
        _ if n % 4 == 1 => message(span(n, Some(n - 1)), Operation::Process),
        _ => {
            let mut linked = message(span(n, None), Operation::Process);
            linked.links.push(Link {
                trace_id: linked.trace_id,
                span_id: SpanId(n.to_be_bytes()),
                partition: None,
                offset: None,
            });
            linked
        }
    });
    let shapes: [(&str, Vec<Span>); 4] = [
        ("messages", messages.collect()),
        (
            "tree of 10",
            (0..SPANS)
                .map(|n| span(n, (n > 0).then(|| (n - 1) / 10)))
                .collect(),
        ),
        (
            "chain",
            (0..SPANS).map(|n| span(n, n.checked_sub(1))).collect(),
        ),
        (
            "star",
            (0..SPANS).map(|n| span(n, (n > 0).then_some(0))).collect(),
        ),
    ];
    for (shape, spans) in &shapes {
        let borrowed: Vec<&Span> = spans.iter().collect();
        let begun = Instant::now();
        let view = assemble(TraceId([1; 16]), &borrowed, &[]);
        println!(
            "{shape}: {} spans, {} hops in {} ms",
            view.rows.len(),
            view.hops.len(),
            begun.elapsed().as_millis()
        );
    }
}
