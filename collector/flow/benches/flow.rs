//! Prints what the flow costs: `cargo xtask bench flow [SPANS] [messages] [scattered] [mixed] [ranges]`.
//!
//! Traces of five spans over 40 topics, in blocks of 8,192, children first. `messages`: request, send, handler, send,
//! handler; `scattered`: the same, each span of a trace in another block. `mixed`: request, internal span, send,
//! handler, client span. `ranges` asks for the map of the last hour and of the last 30 days, over the same series.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use highwater_flow::{Config, Flow, TopologyQuery};
use highwater_model::raw::SpanKind;
use highwater_model::span::Messaging;
use highwater_model::{Operation, ServiceKey, Span, SpanId, TraceId, UnixNanos};

/// The collector's own.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const BLOCK: usize = 8_192;
/// Maps asked for, one after the other.
const TIMES: u32 = 40;
const START: u64 = 1_773_700_000_000_000_000;
const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;

/// Seconds this thread has run: the machine may be shared.
fn cpu_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let ns: f64 = text.split_whitespace().next()?.parse().ok()?;
    Some(ns / 1e9)
}

/// CPU seconds that something took; wall clock where the system does not tell.
fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let out = work();
    let seconds = match (cpu, cpu_seconds()) {
        (Some(before), Some(after)) => after - before,
        _ => started.elapsed().as_secs_f64(),
    };
    (seconds, out)
}

/// A line of the process's status, in MiB.
fn memory_mib(line: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let found = status.lines().find(|at| at.starts_with(line))?;
    let kib: u64 = found.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}

fn text(word: &str, at: u64) -> Arc<str> {
    format!("{word}-{at}").into()
}

fn message(operation: Operation, topic: u64, group: bool, offset: u64) -> Messaging {
    Messaging {
        group: group.then(|| text("group", topic)),
        partition: Some((offset % 12) as i32),
        offset: Some((offset / 12) as i64),
        ..Messaging::kafka(operation, text("topic", topic))
    }
}

/// One part of a trace: who, what, and its message.
type Part = (SpanKind, Arc<str>, Option<Messaging>);

/// Four of five spans are of messages.
fn messages(topic: u64, record: u64) -> [Part; 5] {
    let send = |topic| Some(message(Operation::Send, topic, false, record));
    let process = |topic| Some(message(Operation::Process, topic, true, record));
    [
        (SpanKind::Server, text("front", topic % 5), None),
        (SpanKind::Producer, text("front", topic % 5), send(topic)),
        (SpanKind::Consumer, text("middle", topic), process(topic)),
        (SpanKind::Producer, text("middle", topic), send(topic + 20)),
        (SpanKind::Consumer, text("back", topic), process(topic + 20)),
    ]
}

/// Two of five are.
fn mixed(topic: u64, record: u64) -> [Part; 5] {
    let front = text("front", topic % 5);
    [
        (SpanKind::Server, front.clone(), None),
        (SpanKind::Internal, front.clone(), None),
        (
            SpanKind::Producer,
            front.clone(),
            Some(message(Operation::Send, topic, false, record)),
        ),
        (
            SpanKind::Consumer,
            text("middle", topic),
            Some(message(Operation::Process, topic, true, record)),
        ),
        (SpanKind::Client, text("middle", topic), None),
    ]
}

/// A trace, each span under the one before it, the last one first.
fn trace(number: u64, at: u64, parts: [Part; 5], spans: &mut Vec<Span>) {
    let mut id = [1; 16];
    id[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    // As random as a real one.
    let span_id = |at: u64| {
        SpanId(
            (number * 8 + at + 1)
                .wrapping_mul(0xD6E8_FEB8_6659_FD93)
                .to_be_bytes(),
        )
    };
    for (order, (kind, service, messaging)) in parts.into_iter().enumerate().rev() {
        let order = order as u64;
        let service = ServiceKey {
            environment: "prod".into(),
            namespace: "shop".into(),
            name: service,
        };
        let start = at + order * 3_000_000;
        let end = start + 2_000_000 + number % 977 * 1_000;
        spans.push(Span {
            parent: order.checked_sub(1).map(span_id),
            scope: "bench".into(),
            kind,
            messaging,
            ..Span::plain(
                TraceId(id),
                span_id(order),
                service,
                (UnixNanos(start), UnixNanos(end)),
            )
        });
    }
}

fn query(from: u64, to: u64) -> TopologyQuery {
    TopologyQuery {
        from: UnixNanos(from),
        to: UnixNanos(to),
        environment: "prod".into(),
        ..TopologyQuery::default()
    }
}

/// How many spans of a workload a CPU second takes in, and what a checkpoint costs beside it. The spans of a trace
/// come in as many blocks as `scattered` says, the last one first.
fn rate(name: &str, total: usize, scattered: usize, parts: fn(u64, u64) -> [Part; 5]) {
    let mut flow = Flow::new(Config::default());
    let (mut number, mut done, mut block) = (0, 0, 0u64);
    let (mut applying, mut saving) = (0.0, 0.0);
    let (mut rows, mut bytes, mut checkpoints) = (0, 0, 0u32);
    let mut later: VecDeque<Vec<Span>> = VecDeque::new();
    while done < total {
        later.resize_with(scattered, Vec::new);
        let mut one = Vec::with_capacity(5);
        for _ in 0..BLOCK / 5 {
            // Offsets of a topic are dense, as brokers give them.
            let at = START + number * 400_000;
            trace(number, at, parts(number % 20, number / 20), &mut one);
            for (order, span) in one.drain(..).enumerate() {
                later[order % scattered].push(span);
            }
            number += 1;
        }
        let spans = later.pop_front().unwrap_or_default();
        done += spans.len();
        block += 1;
        let now = UnixNanos(START + number * 400_000 + 20_000_000);
        applying += timed(|| flow.apply(&spans, block, now)).0;
        if block.is_multiple_of(16) {
            let (seconds, checkpoint) = timed(|| flow.take_checkpoint());
            saving += seconds;
            checkpoints += 1;
            rows += checkpoint.rows.len();
            let size = |row: &highwater_flow::Row| row.key.len() + row.value.len();
            bytes += checkpoint.rows.iter().map(size).sum::<usize>();
        }
    }
    let now = UnixNanos(START + number * 400_000);
    let (asked, map) = timed(|| {
        let ask = || flow.topology(&query(START, now.0), now);
        (1..TIMES).for_each(|_| drop(ask()));
        ask()
    });
    let each = f64::from(checkpoints.max(1));
    println!(
        "{name}: {done} spans applied in {applying:.2} CPU-s: {:.0}k spans per CPU second",
        done as f64 / applying / 1e3
    );
    println!(
        "{name}: {checkpoints} checkpoints of {:.1} CPU-ms, {:.0} rows, {:.0} KiB; {:.0} bytes a span",
        saving / each * 1e3,
        rows as f64 / each,
        bytes as f64 / each / 1024.0,
        bytes as f64 / done as f64
    );
    println!(
        "{name}: map of {} nodes, {} edges in {:.1} CPU-ms; {} spans pending; {} MiB resident",
        map.nodes.len(),
        map.edges.len(),
        asked / f64::from(TIMES) * 1e3,
        flow.pending(),
        memory_mib("VmRSS:").unwrap_or(0)
    );
}

/// What a map of the last month costs beside one of the last hour: a trace of every topic each 10 s of the last hour,
/// each minute of the last day, each ten minutes before.
fn ranges() {
    let before = memory_mib("VmRSS:").unwrap_or(0);
    // Next to no stitching table: what is left is history.
    let mut flow = Flow::new(Config {
        pending_messages: 2_000,
        pending_others: 2_000,
        ..Config::default()
    });
    let end = START + 30 * DAY;
    let (mut at, mut number, mut block) = (START, 0, 0);
    while at < end {
        let mut spans = Vec::new();
        for topic in 0..20 {
            for nth in 0..5 {
                number += 1;
                let record = block * 5 + nth;
                trace(number, at, messages(topic, record), &mut spans);
            }
        }
        block += 1;
        flow.apply(&spans, block, UnixNanos(at + 20_000_000));
        at += match end - at {
            left if left > DAY => 600 * SECOND,
            left if left > HOUR => 60 * SECOND,
            _ => 10 * SECOND,
        };
    }
    let cost = |name: &str, back: u64| {
        let (seconds, map) = timed(|| {
            let ask = || flow.topology(&query(end - back, end), UnixNanos(end));
            (1..TIMES).for_each(|_| drop(ask()));
            ask()
        });
        let messages: u64 = map.edges.iter().filter_map(|edge| edge.messages).sum();
        println!(
            "map of {name}: {:.2} CPU-ms; {} edges, {messages} messages on them",
            seconds / f64::from(TIMES) * 1e3,
            map.edges.len()
        );
        seconds
    };
    let (hour, month) = (cost("1 hour", HOUR), cost("30 days", 30 * DAY));
    println!(
        "30 days / 1 hour: {:.1}; history in {} MiB",
        month / hour,
        memory_mib("VmRSS:").unwrap_or(0).saturating_sub(before)
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let total = arguments.iter().find_map(|arg| arg.parse().ok());
    let total: usize = total.unwrap_or(2_000_000);
    let parts = ["messages", "scattered", "mixed", "ranges"];
    // cargo bench adds arguments of its own.
    let chosen = arguments.iter().any(|arg| parts.contains(&arg.as_str()));
    for part in parts {
        if chosen && !arguments.iter().any(|arg| arg == part) {
            continue;
        }
        match part {
            "messages" => rate(part, total, 1, messages),
            "scattered" => rate(part, total, 5, messages),
            "mixed" => rate(part, total, 1, mixed),
            _ => ranges(),
        }
        println!(
            "peak memory so far {} MiB",
            memory_mib("VmHWM:").unwrap_or(0)
        );
    }
}
