use std::collections::BTreeMap;
use std::convert::Infallible;

use highwater_model::raw::SpanKind;
use highwater_model::span::{ErrorInfo, Messaging, ServiceKey};

use super::*;
use crate::test_records;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

#[test]
fn trace_contexts_are_read_with_their_flags_as_bits() {
    for (flags, sampled) in [
        ("00", false),
        ("01", true),
        ("02", false),
        ("03", true),
        ("ff", true),
    ] {
        let context = TraceParent::parse(&format!("00-{TRACE}-{SPAN}-{flags}")).unwrap();
        assert_eq!(context.trace_id.to_hex(), TRACE);
        assert_eq!(context.span_id.to_hex(), SPAN);
        assert_eq!(context.sampled(), sampled, "{flags}");
    }
    assert!(TraceParent::parse(&format!("cc-{TRACE}-{SPAN}-01-what-comes-later")).is_some());
}

#[test]
fn malformed_contexts_are_none() {
    let zero = "0".repeat(32);
    for text in [
        String::new(),
        format!("00-{TRACE}-{SPAN}"),
        format!("00-{TRACE}-{SPAN}-1"),
        format!("00-{TRACE}-{SPAN}-01-more"),
        format!("cc-{TRACE}-{SPAN}-01more"),
        format!("ff-{TRACE}-{SPAN}-01"),
        format!("00-{zero}-{SPAN}-01"),
        format!("00-{TRACE}-0000000000000000-01"),
        format!("00-{TRACE}-{SPAN}-0x"),
        format!("+0-{TRACE}-{SPAN}-01"),
        format!("00_{TRACE}-{SPAN}-01"),
        format!("00-{}é-{SPAN}-01", &TRACE[2..]),
        "x".repeat(1_000_000),
    ] {
        assert_eq!(TraceParent::parse(&text), None, "{text:.80}");
    }
}

#[test]
fn of_several_contexts_the_last_readable_one_counts() {
    let other = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [
        test_records::header("traceparent", other.as_bytes()),
        test_records::header("TraceParent", format!("00-{TRACE}-{SPAN}-01").as_bytes()),
        test_records::header("traceparent", b"garbage"),
        ("traceparent".to_owned(), None),
    ];
    assert_eq!(
        TraceParent::from_headers(&headers)
            .unwrap()
            .trace_id
            .to_hex(),
        TRACE
    );
}

fn span(id: u8, operation: Operation, group: Option<&str>, start: u64, failed: bool) -> Span {
    let service = ServiceKey {
        environment: "default".into(),
        namespace: "".into(),
        name: "shop".into(),
    };
    let time = (UnixNanos(start), UnixNanos(start + 5));
    Span {
        kind: SpanKind::Consumer,
        error: failed.then(|| ErrorInfo {
            kind: "x".into(),
            message: "".into(),
        }),
        messaging: Some(Messaging {
            group: group.map(Into::into),
            partition: Some(0),
            offset: Some(21),
            duration_is_work: true,
            ..Messaging::kafka(operation, "orders")
        }),
        ..Span::plain(TraceId([id; 16]), SpanId([id; 8]), service, time)
    }
}

fn chosen(spans: &[Span]) -> Option<u8> {
    let origin = Hop {
        group: Some("fraud".to_owned()),
        ..Hop::default()
    };
    let died = Some(UnixNanos(2_000_000_000));
    choose_span(spans, &origin, Some("c1"), died).map(|span| span.span_id.0[0])
}

#[test]
fn the_span_that_says_most_about_the_death_is_chosen() {
    use Operation::{Process, Receive, Send, Settle};
    let mut spans = vec![span(9, Settle, Some("fraud"), 100, true)];
    assert_eq!(chosen(&spans), None);
    spans.push(span(1, Send, None, 10, false));
    assert_eq!(chosen(&spans), Some(1));
    spans.push(span(2, Receive, None, 20, false));
    assert_eq!(chosen(&spans), Some(2));
    spans.push(span(3, Process, Some("analytics"), 30, false));
    assert_eq!(chosen(&spans), Some(3));
    spans.push(span(4, Process, Some("fraud"), 40, false));
    assert_eq!(chosen(&spans), Some(4));
    spans.push(span(5, Process, Some("analytics"), 50, true));
    assert_eq!(chosen(&spans), Some(5));
    spans.push(span(6, Process, Some("fraud"), 60, true));
    assert_eq!(chosen(&spans), Some(6));
    // The last attempt before the record died.
    spans.push(span(7, Process, Some("fraud"), 70, true));
    spans.push(span(8, Process, Some("fraud"), 9_000_000_000, true));
    assert_eq!(chosen(&spans), Some(7));
}

#[test]
fn spans_of_another_cluster_and_back_off_waits_are_not_chosen() {
    let mut elsewhere = span(1, Operation::Process, Some("fraud"), 10, true);
    elsewhere.messaging.as_mut().unwrap().cluster.id = Some("c2".into());
    let mut waits = span(2, Operation::Process, Some("fraud"), 20, true);
    waits.messaging.as_mut().unwrap().backoff = true;
    assert_eq!(chosen(&[elsewhere.clone(), waits]), None);
    elsewhere.messaging.as_mut().unwrap().cluster.id = Some("c1".into());
    assert_eq!(chosen(&[elsewhere]), Some(1));
}

/// Spans by topic, partition and offset.
#[derive(Default)]
struct Stored(BTreeMap<(String, i32, i64), Vec<Span>>);

impl SpanLookup for Stored {
    type Error = Infallible;

    async fn by_offset(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<Vec<Span>, Infallible> {
        let found = self.0.get(&(topic.to_owned(), partition, offset));
        Ok(found.cloned().unwrap_or_default())
    }

    async fn has_trace(&self, trace: TraceId) -> Result<bool, Infallible> {
        Ok(self.0.values().flatten().any(|span| span.trace_id == trace))
    }
}

#[tokio::test]
async fn a_record_finds_its_trace_by_its_origins_offset_before_its_own_context() {
    let record = DeadLetter::decode(&test_records::spring("orders-dlt", 0, 0));
    let context = record.traceparent.unwrap();
    let mut stored = Stored::default();

    let unstored = trace_of(&record, None, &stored).await.unwrap().unwrap();
    assert_eq!(
        unstored,
        RecordTrace {
            trace_id: context.trace_id,
            span_id: Some(context.span_id),
            found_by: FoundBy::TraceParent,
            stored: false,
        }
    );

    let mut publish = span(1, Operation::Send, None, 10, false);
    publish.trace_id = context.trace_id;
    stored
        .0
        .insert(("orders-dlt".to_owned(), 0, 0), vec![publish]);
    let by_context = trace_of(&record, None, &stored).await.unwrap().unwrap();
    assert_eq!(
        (by_context.found_by, by_context.stored),
        (FoundBy::TraceParent, true)
    );

    let failed = span(2, Operation::Process, Some("fraud"), 10, true);
    stored
        .0
        .insert(("orders".to_owned(), 0, 21), vec![failed.clone()]);
    let by_offset = trace_of(&record, None, &stored).await.unwrap().unwrap();
    assert_eq!(by_offset.found_by, FoundBy::OriginOffset);
    assert_eq!(by_offset.span_id, Some(failed.span_id));
    assert!(by_offset.stored);
}

#[tokio::test]
async fn connect_keeps_the_original_context() {
    let record = DeadLetter::decode(&test_records::connect(1));
    let trace = trace_of(&record, None, &Stored::default())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(trace.trace_id.to_hex(), "0000000000000000000000000abc0005");
    assert_eq!(trace.found_by, FoundBy::TraceParent);
}

#[tokio::test]
async fn a_record_without_origin_and_context_has_no_trace() {
    let record = DeadLetter::decode(&crate::SourceRecord::default());
    assert_eq!(
        trace_of(&record, None, &Stored::default()).await.unwrap(),
        None
    );
}
