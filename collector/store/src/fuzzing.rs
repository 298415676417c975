//! The door of `tests/fuzz` into what reads bytes and texts, with what must hold of it. Not in the product.
//!
//! A fact that does not hold panics: that is how a fuzzer is told.

use std::fmt::Write;
use std::path::Path;
use std::sync::OnceLock;

use highwater_model::normalise::Rules;
use highwater_model::otlp::{BatchBuilder, encode_span, origin_to_bytes};
use highwater_model::raw::{Origin, RawEvent, RawLink, RawSpan, SpanKind, StatusCode, Value};
use highwater_model::{Batch, Span, SpanId, TraceId, UnixNanos};
use sqlx::Row;

use crate::block::body::Body;
use crate::block::bytes::{Reader, decompress};
use crate::block::encode::{Moved, OpenBlock, blocks};
use crate::block::fingerprint::linked_records;
use crate::block::gathered::{Gathered, Numbers, Renumbered};
use crate::block::head::Head;
use crate::block::pieces::{Known, Pieces, PiecesBuilder};
use crate::block::runs::find_packed;
use crate::block::wire;
use crate::engine::sqlite;
use crate::query::{Comparison, Condition, Expr, Field, Literal, MAX_LENGTH, SpanFacts, Test};
use crate::query::{TraceContext, Truth, parse};
use crate::spans::StoredSpan;

/// What the first byte of an input says that the rest is.
const PLAIN: u8 = 0;
const COMPRESSED: u8 = 1;
const SENT: u8 = 2;
const INDEX: u8 = 3;
const KINDS: u8 = 4;

/// Spans of an input are read back up to so many bytes: a few bytes can say that a large span is there many times.
const READ_AT_MOST: usize = 256 << 10;
/// Spans that are written again, as clustering does.
const REWRITTEN_AT_MOST: usize = 32;
/// Blocks of seeds are small, so that a mutation meets something.
const SEED_SPANS: usize = 4;
const SEED_BYTES: usize = 8 << 10;

/// Reads a block, as every reader does, from bytes that may be anything.
pub fn block(input: &[u8]) {
    let Some((kind, rest)) = input.split_first() else {
        return;
    };
    match kind % KINDS {
        PLAIN => {
            let (head, body) = divided(rest);
            read(head, body.to_vec());
        }
        COMPRESSED => {
            let (head, body) = divided(rest);
            if let (Ok(head), Ok(body)) = (decompress(head), decompress(body)) {
                read(&head, body);
            }
        }
        SENT => sent(rest),
        _ => {
            let _ = find_packed(rest, 7, u64::MAX - 7, &mut Vec::new());
        }
    }
}

/// Two bytes of length, and two parts.
fn divided(input: &[u8]) -> (&[u8], &[u8]) {
    let Some((len, rest)) = input.split_first_chunk() else {
        return (&[], input);
    };
    let len = usize::from(u16::from_le_bytes(*len));
    rest.split_at(len.min(rest.len()))
}

fn undivided(kind: u8, head: &[u8], body: &[u8]) -> Option<Vec<u8>> {
    let len = u16::try_from(head.len()).ok()?;
    let mut input = vec![kind];
    input.extend_from_slice(&len.to_le_bytes());
    input.extend_from_slice(head);
    input.extend_from_slice(body);
    Some(input)
}

fn read(head: &[u8], body: Vec<u8>) {
    let Ok(head) = Head::decode(head) else {
        return;
    };
    let _ = (head.weight(), head.body_bytes(), head.keys(Vec::new()));
    for row in head.rows() {
        let _ = (row.trace(), row.environment(), row.service());
        let _ = (row.operation(), row.destination(), row.group());
        let _ = (row.correlations().count(), row.link_fingerprints().len());
        let _ = (row.arrived(), row.identity(), row.place(), row.known());
    }
    let Ok(body) = Body::decode(body, &head) else {
        return;
    };
    let _ = body.weight();
    if let Some(attributes) = body.attributes() {
        for wanted in attributes.iter().take(2).chain(&[0]) {
            if let Some(with) = body.with_attribute(*wanted) {
                assert_eq!(with.len(), head.len());
            }
        }
    }
    let rules = rules();
    let mut left = READ_AT_MOST;
    for row in head.rows() {
        let Ok(bytes) = body.bytes(row) else {
            assert!(body.stored(row, UnixNanos(7), &rules).is_err());
            continue;
        };
        if let Ok(stored) = body.stored(row, UnixNanos(7), &rules) {
            assert!(stored.arrived == row.arrived().unwrap_or(UnixNanos(7)));
        }
        let Some(after) = left.checked_sub(bytes.len()) else {
            return;
        };
        left = after;
    }
    rewrite(&head, &body, &rules);
}

/// What can be read can be written again by trace, and is the same then.
fn rewrite(head: &Head, body: &Body, rules: &Rules) {
    let mut open = OpenBlock::default();
    let (mut gathered, mut from) = (Gathered::default(), Numbers::default());
    let (mut to, mut renumbered) = (Numbers::default(), Renumbered::default());
    let mut moved = Vec::new();
    for row in head.rows().take(REWRITTEN_AT_MOST) {
        let (Ok(raw), Ok(origin)) = (body.bytes(row), body.origin_blob(row)) else {
            return;
        };
        let records = match body.span(row, rules) {
            _ if row.link_fingerprints().is_empty() => Vec::new(),
            Ok(span) => linked_records(&span).collect(),
            Err(_) => return,
        };
        let span = body.gather(row, &mut gathered, &mut from);
        let span = span.unwrap_or_else(|error| panic!("it has bytes, but: {error}"));
        let out = Moved {
            arrived: row.arrived().unwrap_or(UnixNanos(7)),
            records,
            origin,
            span,
        };
        open.push_row(row, out, &mut renumbered, &gathered, &mut to);
        moved.push((row, raw, origin));
    }
    if moved.is_empty() {
        return;
    }
    let written = open.finish();
    let (again, body) = decoded(&written.head, written.body);
    assert_eq!(again.len(), moved.len());
    assert!(again.keys(body.attributes().unwrap_or_default()) == written.keys);
    for ((row, raw, origin), new) in moved.into_iter().zip(again.rows()) {
        assert!(body.bytes(new) == Ok(raw) && body.origin_blob(new) == Ok(origin));
        assert!(new.identity() == row.identity() && new.known() == row.known());
        assert!(new.service() == row.service() && new.environment() == row.environment());
        assert!(new.operation() == row.operation() && new.destination() == row.destination());
        assert!(new.group() == row.group() && new.correlations().eq(row.correlations()));
        assert!(new.link_fingerprints() == row.link_fingerprints());
    }
}

fn decoded(head: &[u8], body: Vec<u8>) -> (Head, Body) {
    let read = Head::decode(head).and_then(|head| {
        let body = Body::decode(body, &head)?;
        Ok((head, body))
    });
    read.unwrap_or_else(|error| panic!("what was written cannot be read: {error}"))
}

/// Bytes that were sent as spans, whatever they are, come back as they were, and their attributes find them.
fn sent(input: &[u8]) {
    let mut reader = Reader::new(input);
    let mut spans = Vec::new();
    while let Ok(span) = reader.bytes() {
        spans.push((span, known(span)));
    }
    let mut builder = PiecesBuilder::default();
    for (raw, known) in &spans {
        builder.push(raw, *known);
    }
    let mut bytes = Vec::new();
    builder.finish(&mut bytes);
    let pieces = match Pieces::decode(bytes, 0) {
        Ok(pieces) => pieces,
        Err(error) => panic!("what was written cannot be read: {error}"),
    };
    assert_eq!(pieces.len(), spans.len());
    let id = |index: usize| spans.get(index).map(|(_, known)| known.span);
    for (index, (raw, known)) in spans.iter().enumerate() {
        let mut out = Vec::new();
        assert_eq!(pieces.raw(index, *known, usize::MAX, id, &mut out), Ok(()));
        assert!(out == *raw);
    }
    let mut attributes = Vec::new();
    pieces.attributes(&mut attributes);
    let mut told = builder.attributes().to_vec();
    attributes.sort_unstable();
    told.sort_unstable();
    assert!(attributes == told);
    for wanted in told.iter().step_by(told.len() / 2 + 1) {
        let with = pieces.with_attribute(*wanted);
        for (&(mut raw, _), with) in spans.iter().zip(with) {
            let mut own = Vec::new();
            while let Some(field) = wire::next(&mut raw) {
                wire::span_attributes(field, &mut own);
            }
            assert_eq!(own.contains(wanted), with);
        }
    }
}

/// What a head would tell of the span.
fn known(mut raw: &[u8]) -> Known {
    let mut known = Known {
        trace: TraceId([7; 16]),
        span: SpanId([9; 8]),
        start: 5,
        end: 6,
    };
    while let Some(field) = wire::next(&mut raw) {
        match (field.number, field.value.len()) {
            (1, 16) => known.trace.0.copy_from_slice(field.value),
            (2, 8) => known.span.0.copy_from_slice(field.value),
            (7, 8) => known.start = field.value.try_into().map_or(0, u64::from_le_bytes),
            (8, 8) => known.end = field.value.try_into().map_or(0, u64::from_le_bytes),
            _ => {}
        }
    }
    known
}

/// First inputs of [`block`]: blocks of a request's spans, and its spans as they were sent.
#[must_use]
pub fn block_seeds(batch: Batch) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for spans in batch.spans.chunks(SEED_SPANS) {
        let mut input = vec![SENT];
        for span in spans {
            crate::block::bytes::put_bytes(&mut input, &span.raw);
        }
        seeds.push(input);
    }
    let keep = vec![true; batch.spans.len()];
    for block in blocks(
        &mut OpenBlock::default(),
        &[batch],
        &keep,
        SEED_SPANS,
        SEED_BYTES,
    ) {
        seeds.extend(undivided(PLAIN, &block.head, &block.body));
        if let Ok(block) = block.compress() {
            seeds.extend(undivided(COMPRESSED, &block.head, &block.body));
        }
    }
    seeds
}

/// First inputs of [`block`] from a partition's file of an earlier format.
#[must_use]
pub fn block_seeds_of_file(file: &Path) -> Vec<Vec<u8>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.unwrap_or_else(|error| panic!("{error}"));
    let read = runtime.block_on(async {
        let (mut connection, _) = sqlite::open_reader(file, sqlite::PARTITION)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let sql = "SELECT h.columns, b.spans FROM head h JOIN body b ON b.block = h.block UNION ALL \
                   SELECT x'', entries FROM ix";
        let rows = sqlx::query(sql).fetch_all(&mut connection).await;
        rows.unwrap_or_else(|error| panic!("{error}"))
    });
    let seeds = read.iter().filter_map(|row| {
        let (head, body): (Vec<u8>, Vec<u8>) = (row.get(0), row.get(1));
        if head.is_empty() {
            return Some([&[INDEX], &body[..]].concat());
        }
        undivided(PLAIN, &decompress(&head).ok()?, &decompress(&body).ok()?)
    });
    seeds.collect()
}

/// Reads an expression: an error lies within the text; what is understood means the same when it is written out and
/// read again; and what a block's head tells of a span is not taken back by the span and its trace.
///
/// True when it is one.
pub fn query(text: &str) -> bool {
    let expr = match parse(text) {
        Err(error) => {
            assert!(text.get(error.at.clone()).is_some(), "{error:?}");
            return false;
        }
        Ok(None) => {
            assert!(text.trim().is_empty());
            return true;
        }
        Ok(Some(expr)) => expr,
    };
    let mut printed = String::new();
    print(&expr, 0, &mut printed);
    if printed.len() <= MAX_LENGTH {
        match parse(&printed) {
            Ok(Some(again)) => assert_eq!(format!("{expr:?}"), format!("{again:?}"), "{printed}"),
            other => panic!("{printed}: {other:?}"),
        }
    }
    let _ = (expr.needs_body(), expr.required().len());
    let sample = sample();
    for ((row, stored), place) in sample.head.rows().zip(&sample.spans).zip(0..) {
        let of_span = || SpanFacts::from_span(&stored.origin, &stored.raw, &stored.span);
        let whole = of_span().in_trace(&sample.context, place).truth(&expr);
        assert!(whole != Truth::Maybe, "{printed}");
        for part in [
            SpanFacts::from_row(row).truth(&expr),
            of_span().truth(&expr),
        ] {
            assert!(part == Truth::Maybe || part == whole, "{printed}");
        }
    }
    true
}

/// Writes an expression out, with no more brackets than it takes: within `depth` 0 anything may stand, within 1 what
/// is joined by `and`, within 2 one condition.
fn print(expr: &Expr, depth: u8, out: &mut String) {
    let (parts, word, own) = match expr {
        Expr::Any(parts) => (parts, " or ", 1),
        Expr::All(parts) => (parts, " and ", 2),
        Expr::Not(inner) => {
            out.push_str("not ");
            return print(inner, 2, out);
        }
        Expr::Text(words) => return quote(words, out),
        Expr::Is(condition) => return print_condition(condition, out),
    };
    let brackets = depth >= own;
    out.push_str(if brackets { "(" } else { "" });
    for (nth, part) in parts.iter().enumerate() {
        out.push_str(if nth > 0 { word } else { "" });
        print(part, own, out);
    }
    out.push_str(if brackets { ")" } else { "" });
}

fn print_condition(Condition { field, test }: &Condition, out: &mut String) {
    let (name, duration) = match field {
        Field::Trace => ("trace", false),
        Field::Span => ("span", false),
        Field::Environment => ("env", false),
        Field::Namespace => ("namespace", false),
        Field::Service => ("service", false),
        Field::Operation => ("name", false),
        Field::Kind => ("kind", false),
        Field::Topic => ("topic", false),
        Field::Group => ("group", false),
        Field::Correlation => ("correlation", false),
        Field::Status => ("status", false),
        Field::Duration => ("duration", true),
        Field::InBroker => ("in_broker", true),
        Field::TraceDuration => ("trace_duration", true),
        Field::Spans => ("spans", false),
        Field::Errors => ("errors", false),
        Field::Attribute(_) => ("", false),
    };
    match field {
        Field::Attribute(name) => quote(name, out),
        _ => out.push_str(name),
    }
    match test {
        Test::OneOf(values) if values.len() == 1 => {
            out.push('=');
            quote(&values[0].text, out);
        }
        Test::OneOf(values) => {
            out.push_str(" in (");
            for (nth, Literal { text, .. }) in values.iter().enumerate() {
                out.push_str(if nth > 0 { "," } else { "" });
                quote(text, out);
            }
            out.push(')');
        }
        Test::Not(value) => {
            out.push_str("!=");
            quote(&value.text, out);
        }
        Test::Matches(regex) => {
            out.push('~');
            quote(regex.as_str(), out);
        }
        Test::Order(comparison, number) => {
            out.push_str(match comparison {
                Comparison::Less => "<",
                Comparison::AtMost => "<=",
                Comparison::More => ">",
                Comparison::AtLeast => ">=",
            });
            let written = match field {
                // Infinite, in digits.
                _ if duration && number.is_infinite() => write!(out, "{}ns", "9".repeat(400)),
                _ if duration => write!(out, "{number}ns"),
                // The largest count is a little more, as a float, than it can be when it is read.
                Field::Spans | Field::Errors => write!(out, "{}", *number as u64),
                _ => write!(out, "{number}"),
            };
            assert!(written.is_ok());
        }
    }
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        out.push_str(if matches!(c, '"' | '\\') { "\\" } else { "" });
        out.push(c);
    }
    out.push('"');
}

fn rules() -> Rules {
    Rules {
        correlation_attributes: vec!["order.id".into()],
        ..Rules::default()
    }
}

/// A trace that expressions are tried on.
struct Sample {
    head: Head,
    spans: Vec<StoredSpan>,
    context: TraceContext,
}

fn sample() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let rules = rules();
        let mut builder = BatchBuilder::new(&rules);
        let origin = origin_to_bytes(&Origin {
            resource: vec![
                ("service.name".into(), "shop".into()),
                ("service.namespace".into(), "eu".into()),
            ],
            scope_name: "kafka".into(),
            ..Origin::default()
        });
        for span in sample_spans() {
            let pushed = builder
                .push_origin(origin.clone())
                .map(|origin| builder.push_span(origin, encode_span(&span)));
            assert!(matches!(pushed, Ok(Ok(()))));
        }
        let (batch, _) = builder.finish();
        let block = blocks(
            &mut OpenBlock::default(),
            &[batch],
            &[true; 3],
            3,
            usize::MAX,
        )
        .remove(0);
        let (head, body) = decoded(&block.head, block.body);
        let read = |row| {
            let stored = body.stored(row, UnixNanos(7), &rules);
            stored.unwrap_or_else(|error| panic!("{error}"))
        };
        let spans: Vec<StoredSpan> = head.rows().map(read).collect();
        let normalised: Vec<Span> = spans.iter().map(|stored| stored.span.clone()).collect();
        let context = TraceContext::of(normalised.iter());
        Sample {
            head,
            spans,
            context,
        }
    })
}

/// One that sends, one that works on it and fails, one that says nothing.
fn sample_spans() -> [RawSpan; 3] {
    let text = |key: &str, value: &str| (key.to_owned(), Value::from(value));
    let plain = RawSpan {
        trace_id: TraceId([7; 16]),
        span_id: SpanId([1; 8]),
        parent_span_id: None,
        flags: 1,
        name: "work".into(),
        kind: SpanKind::Internal,
        start: UnixNanos(1_000),
        end: UnixNanos(2_000),
        attributes: Vec::new(),
        events: Vec::new(),
        links: Vec::new(),
        status: StatusCode::Ok,
        status_message: String::new(),
    };
    let sends = RawSpan {
        name: "orders send".into(),
        kind: SpanKind::Producer,
        attributes: vec![
            text("messaging.system", "kafka"),
            text("messaging.destination.name", "orders"),
            text("messaging.operation.type", "send"),
            ("order.id".into(), Value::Int(17)),
        ],
        ..plain.clone()
    };
    let works = RawSpan {
        span_id: SpanId([2; 8]),
        parent_span_id: Some(SpanId([1; 8])),
        name: "orders process".into(),
        kind: SpanKind::Consumer,
        start: UnixNanos(5_000),
        end: UnixNanos(900_000_000),
        attributes: vec![
            text("messaging.system", "kafka"),
            text("messaging.destination.name", "orders"),
            text("messaging.operation.type", "process"),
            text("messaging.consumer.group.name", "billing"),
            ("order.id".into(), Value::Double(1.5)),
            ("retry".into(), Value::Bool(true)),
            ("bytes".into(), Value::Bytes(vec![1, 2])),
            ("list".into(), Value::Array(vec!["a".into(), Value::Int(2)])),
        ],
        events: vec![RawEvent {
            time: UnixNanos(6_000),
            name: "exception".into(),
            attributes: vec![text("exception.message", "Card declined")],
        }],
        links: vec![RawLink {
            trace_id: TraceId([7; 16]),
            span_id: SpanId([1; 8]),
            attributes: vec![text("why", "parent")],
        }],
        status: StatusCode::Error,
        status_message: "déclined".into(),
        ..plain.clone()
    };
    let says_nothing = RawSpan {
        span_id: SpanId([3; 8]),
        ..plain
    };
    [sends, works, says_nothing]
}
