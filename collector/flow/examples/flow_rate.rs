//! Prints what the flow costs: `cargo run --release -p highwater-flow --example flow_rate [SPANS]`.
//!
//! Traces of five spans (request, send, handler, send, handler) over 40 topics, in blocks of 8,192, children first.

use std::sync::Arc;
use std::time::Instant;

use highwater_flow::{Config, Flow, TopologyQuery};
use highwater_model::raw::{SpanKind, StatusCode};
use highwater_model::span::{ClusterHint, Messaging};
use highwater_model::{Operation, ServiceKey, Span, SpanId, TraceId, UnixNanos};

const BLOCK: usize = 8_192;
const START: u64 = 1_773_700_000_000_000_000;

/// Seconds this thread has run: the machine may be shared.
fn cpu_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let ns: f64 = text.split_whitespace().next()?.parse().ok()?;
    Some(ns / 1e9)
}

fn text(word: &str, at: u64) -> Arc<str> {
    format!("{word}-{at}").into()
}

fn message(operation: Operation, topic: u64, group: bool, offset: u64) -> Messaging {
    Messaging {
        system: "kafka".into(),
        operation,
        destination: Some(text("topic", topic)),
        group: group.then(|| text("group", topic)),
        partition: Some((offset % 12) as i32),
        offset: Some((offset / 12) as i64),
        message_id: None,
        client_id: None,
        key: None,
        batch_count: None,
        tombstone: false,
        body_size: None,
        cluster: ClusterHint::default(),
        duration_is_work: operation == Operation::Process,
        backoff: false,
    }
}

fn trace(number: u64, spans: &mut Vec<Span>) {
    // Offsets of a topic are dense, as brokers give them.
    let (topic, record) = (number % 20, number / 20);
    let at = START + number * 400_000;
    let mut id = [1; 16];
    id[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    let span_id = |at: u64| SpanId((number * 8 + at + 1).to_be_bytes());
    let parts = [
        (SpanKind::Server, text("front", topic % 5), None),
        (
            SpanKind::Producer,
            text("front", topic % 5),
            Some(message(Operation::Send, topic, false, record)),
        ),
        (
            SpanKind::Consumer,
            text("middle", topic),
            Some(message(Operation::Process, topic, true, record)),
        ),
        (
            SpanKind::Producer,
            text("middle", topic),
            Some(message(Operation::Send, topic + 20, false, record)),
        ),
        (
            SpanKind::Consumer,
            text("back", topic),
            Some(message(Operation::Process, topic + 20, true, record)),
        ),
    ];
    for (order, (kind, service, messaging)) in parts.into_iter().enumerate().rev() {
        let order = order as u64;
        spans.push(Span {
            trace_id: TraceId(id),
            span_id: span_id(order),
            parent: order.checked_sub(1).map(span_id),
            service: ServiceKey {
                environment: "prod".into(),
                namespace: "shop".into(),
                name: service,
            },
            instance: None,
            scope: "bench".into(),
            name: "span".into(),
            kind,
            start: UnixNanos(at + order * 3_000_000),
            end: UnixNanos(at + order * 3_000_000 + 2_000_000 + number % 977 * 1_000),
            status: StatusCode::Unset,
            error: None,
            messaging,
            links: Vec::new(),
            correlations: Vec::new(),
        });
    }
}

fn main() {
    let total: usize = std::env::args()
        .nth(1)
        .and_then(|arg| arg.parse().ok())
        .unwrap_or(2_000_000);
    let mut flow = Flow::new(Config::default());
    let mut number = 0;
    let (mut applying, mut saving) = (0.0, 0.0);
    let (mut rows, mut bytes, mut checkpoints, mut block) = (0, 0, 0, 0u64);
    let mut done = 0;
    while done < total {
        let mut spans = Vec::with_capacity(BLOCK + 5);
        while spans.len() < BLOCK {
            trace(number, &mut spans);
            number += 1;
        }
        done += spans.len();
        block += 1;
        let now = UnixNanos(START + number * 400_000 + 20_000_000);
        let (started, cpu) = (Instant::now(), cpu_seconds());
        flow.apply(&spans, block, now);
        applying += match (cpu, cpu_seconds()) {
            (Some(before), Some(after)) => after - before,
            _ => started.elapsed().as_secs_f64(),
        };
        if block.is_multiple_of(16) {
            let started = Instant::now();
            let checkpoint = flow.take_checkpoint();
            saving += started.elapsed().as_secs_f64();
            checkpoints += 1;
            rows += checkpoint.rows.len();
            bytes += checkpoint
                .rows
                .iter()
                .map(|r| r.key.len() + r.value.len())
                .sum::<usize>();
        }
    }
    let now = UnixNanos(START + number * 400_000);
    let query = TopologyQuery {
        from: UnixNanos(START),
        to: now,
        environment: "prod".into(),
        ..TopologyQuery::default()
    };
    let started = Instant::now();
    let map = flow.topology(&query, now);
    let asked = started.elapsed();
    println!(
        "{done} spans applied in {applying:.2} CPU-s: {:.0}k spans per CPU second",
        done as f64 / applying / 1e3
    );
    println!(
        "{checkpoints} checkpoints: {:.1} ms, {} rows, {} KiB each; {:.0} bytes a span",
        saving / f64::from(checkpoints.max(1)) * 1e3,
        rows / checkpoints.max(1) as usize,
        bytes / checkpoints.max(1) as usize / 1024,
        bytes as f64 / done as f64
    );
    println!(
        "map of {} nodes, {} edges in {asked:.1?}; {} spans pending",
        map.nodes.len(),
        map.edges.len(),
        flow.pending()
    );
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        status
            .lines()
            .filter(|line| line.starts_with("VmHWM"))
            .for_each(|line| println!("peak memory {}", line.trim_start_matches("VmHWM:").trim()));
    }
}
