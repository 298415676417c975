//! Writes spans into a new store and reads them back: spans a second, spans per CPU second, bytes a span.
//!
//! `cargo run --release -p highwater-store --example store_ingest -- [SPANS, default 1000000] [SPANS A COMMIT, 8192]`.
//! Spans are as in the design's measurements: about 800 bytes of OTLP, 25 attributes, 5 a trace. Making them is not
//! counted. Arrival is scattered: the five spans of a trace stand in five different commits.

use std::path::Path;
use std::time::{Duration, Instant};

use highwater_model::normalise::Rules;
use highwater_model::otlp::{BatchBuilder, encode_span, origin_to_bytes};
use highwater_model::raw::{Origin, RawSpan, SpanKind, StatusCode, Value};
use highwater_model::{Batch, SpanId, TraceId, UnixNanos};
use highwater_store::{Options, SearchQuery, SpanReader, SpanWriter, Store, parse};

const BEGIN: UnixNanos = UnixNanos(1_773_716_400_000_000_000);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>());
    let spans = args.next().transpose()?.unwrap_or(1_000_000);
    let per_commit = args.next().transpose()?.unwrap_or(8_192);
    let dir = std::env::temp_dir().join(format!("highwater-store-ingest-{}", std::process::id()));
    let store = Store::open(&dir, Options::default(), BEGIN).await?;
    let (mut wall, mut cpu, mut raw_bytes, mut written) = (Duration::ZERO, Duration::ZERO, 0, 0);
    for first in (0..spans).step_by(usize::try_from(per_commit)?) {
        let batches: Vec<Batch> = (first..spans.min(first + per_commit))
            .collect::<Vec<_>>()
            .chunks(512)
            .map(|numbers| request(numbers, spans))
            .collect();
        raw_bytes += batches.iter().map(Batch::bytes).sum::<usize>();
        let (started, cpu_before) = (Instant::now(), cpu_time());
        let now = BEGIN + Duration::from_micros(first * 10);
        let commit = store.write(&batches, now).await?;
        wall += started.elapsed();
        cpu += cpu_time().saturating_sub(cpu_before);
        written += commit.stored.iter().sum::<usize>();
    }
    let (started, cpu_before) = (Instant::now(), cpu_time());
    store.settle().await?;
    wall += started.elapsed();
    cpu += cpu_time().saturating_sub(cpu_before);
    assert_eq!(written as u64, spans);
    let stats = store.stats();
    println!(
        "{spans} spans, {per_commit} a commit, {} blocks",
        stats.blocks
    );
    println!(
        "  {:>8.0} spans/s of wall clock",
        spans as f64 / wall.as_secs_f64()
    );
    println!("  {:>8.0} spans/s of CPU", spans as f64 / cpu.as_secs_f64());
    println!(
        "  {:>8.1} bytes a span of OTLP",
        raw_bytes as f64 / spans as f64
    );
    println!(
        "  {:>8.1} bytes a span on disk",
        stats.bytes as f64 / spans as f64
    );
    println!("  {:>8} KiB peak memory", peak_memory_kib());

    let traces = (spans / 5).max(1);
    let mut times = Vec::new();
    for n in 0..200 {
        let started = Instant::now();
        let trace = n * 7_919 % traces;
        let found = store.trace(trace_id(trace), 100).await?;
        assert!(!found.spans.is_empty());
        times.push(started.elapsed());
    }
    println!("  trace by id:   {}", percentiles(&mut times));
    for expression in [
        "status = error",
        "attribute.7 = \"value 3 of 7\" and service = service-2",
    ] {
        let mut times = Vec::new();
        for _ in 0..20 {
            let mut query = SearchQuery::new(BEGIN, BEGIN + Duration::from_secs(86_400));
            query.limit = 20;
            query.filter = parse(expression)?;
            let started = Instant::now();
            let page = store.search(&query).await?;
            assert_eq!(page.hits.len(), 20);
            times.push(started.elapsed());
        }
        println!("  first 20 of `{expression}`: {}", percentiles(&mut times));
    }
    store.close().await;
    let started = Instant::now();
    let store = Store::open(&dir, Options::default(), BEGIN).await?;
    println!("  open again:    {:.1?}", started.elapsed());
    store.close().await;
    std::fs::remove_dir_all(Path::new(&dir))?;
    Ok(())
}

fn trace_id(n: u64) -> TraceId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&mix(n).to_be_bytes());
    id[8..].copy_from_slice(&mix(!n).to_be_bytes());
    TraceId(id)
}

/// splitmix64: ids that look random and come again.
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}

fn request(numbers: &[u64], spans: u64) -> Batch {
    let rules = Rules::default();
    let mut builder = BatchBuilder::new(&rules);
    for number in numbers {
        let (origin, span) = span(*number, spans);
        let origin = builder.push_origin(origin_to_bytes(&origin));
        let pushed = origin.and_then(|origin| builder.push_span(origin, encode_span(&span)));
        assert!(pushed.is_ok());
    }
    builder.finish().0
}

fn span(n: u64, spans: u64) -> (Origin, RawSpan) {
    let text = |text: String| Value::Str(text);
    let service = n % 8;
    let origin = Origin {
        resource: vec![
            ("service.name".into(), text(format!("service-{service}"))),
            ("host.name".into(), text(format!("node-{}", n % 16))),
        ],
        scope_name: "io.opentelemetry.kafka-clients-2.6".into(),
        ..Origin::default()
    };
    let traces = (spans / 5).max(1);
    let random = mix(n);
    let mut attributes = vec![
        ("messaging.system".to_owned(), text("kafka".into())),
        (
            "messaging.destination.name".to_owned(),
            text(format!("topic-{}", n % 12)),
        ),
        ("messaging.kafka.offset".to_owned(), Value::Int(n as i64)),
        (
            "messaging.destination.partition.id".to_owned(),
            text((n % 6).to_string()),
        ),
        (
            "messaging.header.correlation_id".to_owned(),
            Value::Array(vec![text(format!("order-{:08x}", n % traces / 2))]),
        ),
    ];
    attributes.extend((0..20).map(|i| {
        let value = (random >> (i % 8)) % 50;
        (
            format!("attribute.{i}"),
            text(format!("value {value} of {i}")),
        )
    }));
    let start = BEGIN + Duration::from_micros(n * 10);
    let span = RawSpan {
        trace_id: trace_id(n % traces),
        span_id: SpanId(mix(n ^ 0xABCD).to_be_bytes()),
        parent_span_id: None,
        flags: 1,
        name: format!("topic-{} process", n % 12),
        kind: if n.is_multiple_of(2) {
            SpanKind::Producer
        } else {
            SpanKind::Consumer
        },
        start,
        end: start + Duration::from_nanos(random % 50_000_000),
        attributes,
        events: Vec::new(),
        links: Vec::new(),
        status: if n.is_multiple_of(50) {
            StatusCode::Error
        } else {
            StatusCode::Unset
        },
        status_message: String::new(),
    };
    (origin, span)
}

fn percentiles(times: &mut [Duration]) -> String {
    times.sort();
    let at = |q: usize| times[(times.len() * q / 100).min(times.len() - 1)];
    format!("p50 {:.2?}, p95 {:.2?}", at(50), at(95))
}

/// User and system time of the process, of every thread; zero where the kernel does not tell.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in brackets may hold spaces; fields 14 and 15 follow it, in hundredths of a second.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let fields = after.split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
