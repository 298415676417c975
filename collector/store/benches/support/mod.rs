//! The work of the store's benches, and what they measure it with.
//!
//! A span is as in the design's measurements: about 900 bytes of OTLP, 25 attributes, 5 spans a trace. Arrival is
//! scattered: traces come in cohorts, and the five spans of a trace stand in five different commits, as many other
//! traces' between them as a cohort has.

#![allow(dead_code, reason = "each bench uses a part of it")]

use std::time::Duration;

use highwater_model::normalise::Rules;
use highwater_model::otlp::{BatchBuilder, encode_span, origin_to_bytes};
use highwater_model::raw::{Origin, RawSpan, SpanKind, StatusCode, Value};
use highwater_model::{Batch, SpanId, TraceId, UnixNanos};

/// Start of the first span.
pub(crate) const BEGIN: UnixNanos = UnixNanos(1_773_716_400_000_000_000);
/// Spans of one trace.
pub(crate) const SPANS_A_TRACE: u64 = 5;
/// Traces that are under way at once: at 8,192 spans a commit, the spans of a trace are two commits apart.
pub(crate) const COHORT: u64 = 16_384;
/// Every so many spans have the attribute that nothing else has.
pub(crate) const RARE: u64 = 10_000;
/// Spans a request.
pub(crate) const REQUEST: usize = 512;

/// The number of a span's trace.
pub(crate) fn trace_of(n: u64) -> u64 {
    let cohort = n / (COHORT * SPANS_A_TRACE);
    cohort * COHORT + n % COHORT
}

/// The id of trace `n`.
pub(crate) fn trace_id(n: u64) -> TraceId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&mix(n).to_be_bytes());
    id[8..].copy_from_slice(&mix(!n).to_be_bytes());
    TraceId(id)
}

/// The correlation value of trace `n`, which two traces share.
pub(crate) fn order(trace: u64) -> String {
    format!("order-{:08x}", mix(trace / 2) as u32)
}

/// splitmix64: ids that look random and come again.
pub(crate) fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}

/// When span `n` arrives.
pub(crate) fn arrival(n: u64) -> UnixNanos {
    BEGIN + Duration::from_micros(n * 10)
}

/// The requests of one commit.
pub(crate) fn commit(numbers: std::ops::Range<u64>) -> Vec<Batch> {
    let numbers: Vec<u64> = numbers.collect();
    numbers.chunks(REQUEST).map(request).collect()
}

fn request(numbers: &[u64]) -> Batch {
    let rules = Rules::default();
    let mut builder = BatchBuilder::new(&rules);
    for number in numbers {
        let (origin, span) = span(*number);
        let origin = builder.push_origin(origin_to_bytes(&origin));
        let pushed = origin.and_then(|origin| builder.push_span(origin, encode_span(&span)));
        assert!(pushed.is_ok());
    }
    builder.finish().0
}

fn span_id(n: u64) -> SpanId {
    SpanId(mix(n ^ 0xABCD).to_be_bytes())
}

fn span(n: u64) -> (Origin, RawSpan) {
    let text = Value::Str;
    let (service, trace) = (n % 8, trace_of(n));
    let step = n / COHORT % SPANS_A_TRACE;
    let origin = Origin {
        resource: vec![
            ("service.name".into(), text(format!("service-{service}"))),
            ("host.name".into(), text(format!("node-{}", n % 16))),
        ],
        scope_name: "io.opentelemetry.kafka-clients-2.6".into(),
        ..Origin::default()
    };
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
            Value::Array(vec![text(order(trace))]),
        ),
    ];
    attributes.extend((0..20).map(|i| {
        let value = (random >> (i % 8)) % 50;
        (
            format!("attribute.{i}"),
            text(format!("value {value} of {i}")),
        )
    }));
    if n % RARE == RARE / 2 {
        attributes.push(("rare".to_owned(), text(format!("rare {}", n / RARE))));
    }
    let start = arrival(n);
    let span = RawSpan {
        trace_id: trace_id(trace),
        span_id: span_id(n),
        parent_span_id: (step > 0).then(|| span_id(n - COHORT)),
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

/// Names and numbers of the command line: `--spans 20000000`. Flags that cargo adds are left out.
pub(crate) fn argument(name: &str, default: u64) -> u64 {
    let words: Vec<String> = std::env::args().collect();
    let place = words.iter().position(|word| word == name);
    let value = place.and_then(|place| words.get(place + 1));
    value.map_or(default, |value| {
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} takes a number"))
    })
}

/// The `q`-th percentile of times, which it sorts.
pub(crate) fn percentile(times: &mut [Duration], q: usize) -> Duration {
    times.sort();
    times[(times.len() * q / 100).min(times.len() - 1)]
}

/// User and system time of the process, of every thread that is or was; zero where the kernel does not tell.
pub(crate) fn process_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in brackets may hold spaces; fields 14 and 15 follow it, in hundredths of a second.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let fields = after.split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// CPU time of the calling thread.
pub(crate) fn thread_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = stat.split_whitespace().next();
    Duration::from_nanos(nanos.and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}

/// The most memory the process ever had, in MiB.
pub(crate) fn peak_memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

/// A data directory beside others, removed by its owner.
pub(crate) fn data_dir(bench: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("highwater-{bench}-{}", std::process::id()))
}
