use super::*;
use crate::test_records::{self, header};

fn text(name: &str, value: &str) -> Header {
    header(name, value.as_bytes())
}

fn hop(topic: &str, partition: i32, offset: i64, group: Option<&str>) -> Hop {
    Hop {
        topic: Some(topic.to_owned()),
        partition: Some(partition),
        offset: Some(offset),
        timestamp: None,
        group: group.map(str::to_owned),
    }
}

fn shown(headers: &[Header], name: &str) -> Vec<(HeaderEncoding, String)> {
    let (decoded, _) = decode_headers(headers);
    decoded
        .into_iter()
        .filter(|header| header.name == name)
        .map(|header| (header.encoding, header.text))
        .collect()
}

#[test]
fn a_spring_dead_letter_tells_its_origin_and_the_cause_under_the_wrapper() {
    let record = test_records::spring("orders-dlt", 0, 0);
    let analysis = analyse(&record.headers);
    assert_eq!(analysis.framework, Some(Framework::Spring));
    assert_eq!(
        analysis.origin,
        Some(Hop {
            timestamp: Some(UnixNanos::from_millis(0x01a1_fbcd_371f)),
            ..hop("orders", 0, 21, Some("fraud"))
        })
    );
    assert_eq!(analysis.latest_hop, None);
    assert_eq!(analysis.attempts, None);
    let error = analysis.error.unwrap();
    assert_eq!(error.cause, "java.lang.IllegalStateException");
    assert_eq!(
        error.class.as_deref(),
        Some("org.springframework.kafka.listener.ListenerExecutionFailedException")
    );
    assert_eq!(
        error.message.as_deref(),
        Some("negative amount on customer-1")
    );
    assert!(error.stack_trace.unwrap().contains("FraudApp.java:82"));
}

#[test]
fn springs_binary_numbers_are_read() {
    let record = test_records::spring("orders-dlt", 1, 1);
    let one = |name, encoding, text: &str| {
        assert_eq!(shown(&record.headers, name), [(encoding, text.to_owned())]);
    };
    one("kafka_dlt-original-partition", HeaderEncoding::Int32, "1");
    one("kafka_dlt-original-offset", HeaderEncoding::Int64, "20");
    one(
        "kafka_dlt-original-timestamp",
        HeaderEncoding::Int64,
        "1795225882363",
    );
    one(
        "kafka_dlt-original-timestamp-type",
        HeaderEncoding::Text,
        "CreateTime",
    );
}

#[test]
fn a_retryable_topics_dead_letter_tells_three_attempts_though_its_header_says_four() {
    let record = test_records::spring("payments-dlt", 0, 0);
    let analysis = analyse(&record.headers);
    assert_eq!(analysis.framework, Some(Framework::SpringRetry));
    assert_eq!(analysis.attempts, Some(3));
    let origin = analysis.origin.unwrap();
    assert_eq!(
        (
            origin.topic.as_deref(),
            origin.partition,
            origin.offset,
            origin.group.as_deref()
        ),
        (Some("payments"), Some(2), Some(3), Some("receipts"))
    );
    let error = analysis.error.unwrap();
    assert_eq!(error.cause, "java.lang.IllegalArgumentException");
    assert_eq!(error.message.as_deref(), Some("printer jam on attempt 3"));
    assert_eq!(
        shown(&record.headers, "retry_topic-attempts"),
        ["2", "3", "4"].map(|n| (HeaderEncoding::Int32, n.to_owned()))
    );
    assert_eq!(
        shown(&record.headers, "retry_topic-original-timestamp")[0],
        (HeaderEncoding::BigInteger, "1795225878466".to_owned())
    );
}

#[test]
fn a_retry_record_counts_the_attempts_made_so_far() {
    for (topic, offset, attempts) in [("payments-retry-400", 0, 1), ("payments-retry-800", 2, 2)] {
        let analysis = analyse(&test_records::spring(topic, 0, offset).headers);
        assert_eq!(analysis.framework, Some(Framework::SpringRetry));
        assert_eq!(analysis.attempts, Some(attempts), "{topic}");
        assert_eq!(analysis.origin.unwrap().topic.as_deref(), Some("payments"));
    }
}

#[test]
fn a_timestamped_exception_gives_way_to_the_cause_in_the_stack_trace() {
    let analysis = analyse(&[
        text(
            "kafka_exception-fqcn",
            "org.springframework.kafka.listener.ListenerExecutionFailedException",
        ),
        text(
            "kafka_exception-cause-fqcn",
            "org.springframework.kafka.listener.TimestampedException",
        ),
        text(
            "kafka_exception-message",
            "Listener failed; Exception thrown at 2026-11-21T01:51:21Z",
        ),
        text(
            "kafka_exception-stacktrace",
            "org.springframework.kafka.listener.ListenerExecutionFailedException: Listener failed\n\tat a.B\n\
             Caused by: org.springframework.kafka.listener.TimestampedException: Exception thrown at 2026-11-21T01:51:21Z\n\
             Caused by: java.lang.IllegalArgumentException: printer jam",
        ),
    ]);
    let error = analysis.error.unwrap();
    assert_eq!(error.cause, "java.lang.IllegalArgumentException");
    assert_eq!(error.message.as_deref(), Some("printer jam"));
}

#[test]
fn kafka_connect_tells_origin_as_text_and_its_group_by_the_connector() {
    let analysis = analyse(&test_records::connect(0).headers);
    assert_eq!(analysis.framework, Some(Framework::Connect));
    assert_eq!(
        analysis.origin,
        Some(hop("connect.in", 1, 3, Some("connect-archive-file")))
    );
    let error = analysis.error.unwrap();
    assert_eq!(
        error.class.as_deref(),
        Some("org.apache.kafka.connect.errors.DataException")
    );
    assert_eq!(
        error.cause,
        "org.apache.kafka.common.errors.SerializationException"
    );
    let cast = analyse(&test_records::connect(1).headers).error.unwrap();
    assert_eq!(cast.cause, "java.lang.NumberFormatException");
    assert_eq!(cast.message.as_deref(), Some("For input string: \"abc\""));
}

#[test]
fn kafka_streams_headers_are_read() {
    let analysis = analyse(&[
        text(
            "__streams.errors.exception",
            "org.apache.kafka.streams.errors.StreamsException",
        ),
        text("__streams.errors.message", "Exception caught in process"),
        text(
            "__streams.errors.stacktrace",
            "org.apache.kafka.streams.errors.StreamsException: Exception caught in process\n\tat x.Y\nCaused by: java.lang.ArithmeticException: / by zero",
        ),
        text("__streams.errors.topic", "clicks"),
        text("__streams.errors.partition", "4"),
        text("__streams.errors.offset", "77"),
    ]);
    assert_eq!(analysis.framework, Some(Framework::Streams));
    assert_eq!(analysis.origin, Some(hop("clicks", 4, 77, None)));
    let error = analysis.error.unwrap();
    assert_eq!(
        (error.cause.as_str(), error.message.as_deref()),
        ("java.lang.ArithmeticException", Some("/ by zero"))
    );
}

#[test]
fn share_group_pointers_are_read_and_grouped_by_their_message() {
    let analysis = analyse(&[
        text("__dlq.errors.topic", "orders"),
        text("__dlq.errors.partition", "0"),
        text("__dlq.errors.offset", "12"),
        text("__dlq.errors.group", "packers"),
        text("__dlq.errors.delivery.count", "5"),
        text("__dlq.errors.message", "delivery count 5 reached"),
    ]);
    assert_eq!(analysis.framework, Some(Framework::ShareGroup));
    assert_eq!(analysis.origin, Some(hop("orders", 0, 12, Some("packers"))));
    assert_eq!(analysis.attempts, Some(5));
    assert_eq!(analysis.error.unwrap().cause, "delivery count {n} reached");
}

#[test]
fn smallrye_headers_are_read() {
    let analysis = analyse(&[
        text(
            "dead-letter-exception-class-name",
            "java.util.concurrent.CompletionException",
        ),
        text("dead-letter-cause-class-name", "java.io.IOException"),
        text("dead-letter-reason", "java.io.IOException: disk full"),
        text("dead-letter-cause", "disk full"),
        text("dead-letter-topic", "movies"),
        text("dead-letter-partition", "3"),
        text("dead-letter-offset", "9"),
    ]);
    assert_eq!(analysis.framework, Some(Framework::SmallRye));
    assert_eq!(analysis.origin, Some(hop("movies", 3, 9, None)));
    let error = analysis.error.unwrap();
    assert_eq!(
        (error.cause.as_str(), error.message.as_deref()),
        ("java.io.IOException", Some("disk full"))
    );
}

#[test]
fn watermill_headers_are_read() {
    let analysis = analyse(&[
        text("reason_poisoned", "cannot load order 4711"),
        text("topic_poisoned", "orders"),
        text("handler_poisoned", "billing_handler"),
        text("subscriber_poisoned", "kafka.Subscriber"),
    ]);
    assert_eq!(analysis.framework, Some(Framework::Watermill));
    assert_eq!(analysis.origin.unwrap().topic.as_deref(), Some("orders"));
    let error = analysis.error.unwrap();
    assert_eq!(error.cause, "cannot load order {n}");
    assert_eq!(error.message.as_deref(), Some("cannot load order 4711"));
}

#[test]
fn names_of_ones_own_are_read_in_any_case() {
    let analysis = analyse(&[
        text("X-Original-Topic", "orders"),
        text("X-Original-Partition", "2"),
        text("x-original-offset", "33"),
        text("X-Exception-Type", "ValueError"),
        text("x-error-message", "bad amount"),
    ]);
    assert_eq!(analysis.framework, Some(Framework::AdHoc));
    assert_eq!(analysis.origin, Some(hop("orders", 2, 33, None)));
    let error = analysis.error.unwrap();
    assert_eq!(
        (error.cause.as_str(), error.message.as_deref()),
        ("ValueError", Some("bad amount"))
    );
}

#[test]
fn ordinary_headers_are_no_dead_letters() {
    let ordinary = [
        text("correlation-id", "1"),
        text("x-request-id", "2"),
        text("kafka_deliveryAttempt", "\0\0\0\u{1}"),
        text("dead-letter-office", "3"),
        text("traceparent", "00-x"),
    ];
    assert_eq!(analyse(&ordinary), Analysis::default());
}

#[test]
fn of_repeated_headers_the_first_is_the_origin_and_the_last_the_latest_hop() {
    let at = |topic: &str, partition: u8, group: &str| {
        [
            text("kafka_dlt-original-topic", topic),
            header("kafka_dlt-original-partition", &[0, 0, 0, partition]),
            header(
                "kafka_dlt-original-offset",
                &[0, 0, 0, 0, 0, 0, 0, partition],
            ),
            text("kafka_dlt-original-consumer-group", group),
            text("kafka_dlt-exception-fqcn", &format!("a.Failed{partition}")),
        ]
    };
    let headers: Vec<Header> = [
        at("orders", 1, "billing"),
        at("orders-dlt", 2, "undertaker"),
    ]
    .concat();
    let analysis = analyse(&headers);
    assert_eq!(analysis.origin, Some(hop("orders", 1, 1, Some("billing"))));
    assert_eq!(
        analysis.latest_hop,
        Some(hop("orders-dlt", 2, 2, Some("undertaker")))
    );
    assert_eq!(analysis.error.unwrap().cause, "a.Failed2");
}

#[test]
fn a_record_that_died_in_two_frameworks_keeps_its_first_origin_and_its_last_error() {
    let mut headers = test_records::spring("orders-dlt", 0, 0).headers;
    headers.extend(test_records::connect(1).headers);
    let analysis = analyse(&headers);
    assert_eq!(analysis.framework, Some(Framework::Connect));
    assert_eq!(analysis.origin.unwrap().topic.as_deref(), Some("orders"));
    assert_eq!(
        analysis.latest_hop.unwrap().topic.as_deref(),
        Some("connect.in")
    );
    assert_eq!(
        analysis.error.unwrap().cause,
        "java.lang.NumberFormatException"
    );
}

#[test]
fn hostile_headers_are_as_if_they_were_not_there() {
    let headers = [
        header("kafka_dlt-original-topic", &[0xff, 0xfe]),
        header("kafka_dlt-original-partition", &[1]),
        header("kafka_dlt-original-offset", &[0xff; 8]),
        header("kafka_dlt-original-timestamp", &[0x80, 0, 0, 0, 0, 0, 0, 0]),
        ("kafka_dlt-original-consumer-group".to_owned(), None),
        header("retry_topic-attempts", &[0x80, 0, 0, 0]),
        header("retry_topic-backoff-timestamp", &[]),
        header("__connect.errors.partition", b"99999999999999999999"),
        header("__connect.errors.offset", b"-1"),
        header("kafka_dlt-exception-message", &[b'a', 0xff, b'b']),
    ];
    let analysis = analyse(&headers);
    assert_eq!(analysis.origin, None);
    assert_eq!(analysis.attempts, None);
    assert_eq!(
        shown(&headers, "kafka_dlt-original-partition")[0].0,
        HeaderEncoding::Hex
    );
    assert_eq!(
        shown(&headers, "retry_topic-backoff-timestamp")[0],
        (HeaderEncoding::Text, String::new())
    );
    assert_eq!(
        shown(&headers, "kafka_dlt-original-consumer-group")[0].0,
        HeaderEncoding::Null
    );
    assert_eq!(
        shown(&headers, "kafka_dlt-original-offset")[0],
        (HeaderEncoding::Int64, "-1".to_owned())
    );
}

#[test]
fn giant_headers_are_cut_and_many_are_counted() {
    let mut headers = vec![
        header("kafka_dlt-exception-stacktrace", &vec![b'x'; 5_000_000]),
        header("kafka_dlt-original-topic", &vec![b't'; 1_000_000]),
        header("blob", &vec![0xff; 1_000_000]),
        header(&"n".repeat(100_000), b"v"),
    ];
    headers.extend((0..10_000).map(|n| text(&format!("h{n}"), "v")));
    let analysis = analyse(&headers);
    assert!(analysis.error.unwrap().stack_trace.unwrap().len() <= 16 * 1024);
    assert!(analysis.origin.unwrap().topic.unwrap().len() <= 512);
    let (decoded, omitted) = decode_headers(&headers);
    assert_eq!((decoded.len(), omitted), (256, 10_004 - 256));
    assert!(
        decoded
            .iter()
            .all(|h| h.text.len() <= 16 * 1024 && h.name.len() <= 512)
    );
}

#[test]
fn ascii_digits_are_read_where_binary_is_expected_too() {
    let analysis = analyse(&[
        text("kafka_dlt-original-topic", "orders"),
        text("kafka_dlt-original-partition", "7"),
        text("kafka_dlt-original-offset", "88213407123"),
    ]);
    assert_eq!(
        analysis.origin,
        Some(hop("orders", 7, 88_213_407_123, None))
    );
}
