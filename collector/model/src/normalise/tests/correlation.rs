//! Where a business identity comes from.

use super::{Sent, consumer, producer};
use crate::normalise::{Rules, normalise};
use crate::raw::Value;

fn values(sent: &Sent, rules: &Rules) -> Vec<String> {
    normalise(&sent.origin, &sent.raw, rules)
        .correlations
        .iter()
        .map(|found| format!("{}={}", found.key, found.value))
        .collect()
}

#[test]
fn each_default_source_is_read_under_one_key() {
    for key in [
        "messaging.header.correlation_id",
        "messaging.header.correlation-id",
        "messaging.header.Correlation-Id",
        "messaging.header.x_correlation_id",
        "messaging.header.ce_correlationid",
        "cloudevents.correlationid",
        "nservicebus.conversation_id",
        "nservicebus.correlation_id",
        "messaging.message.conversation_id",
        "messaging.conversation_id",
        "baggage.correlation-id",
        "correlation_id",
        "correlation.id",
        "correlationId",
    ] {
        let sent = consumer("t process").with(key, "ORD-1");
        assert_eq!(
            values(&sent, &Rules::default()),
            ["correlation=ORD-1"],
            "{key}"
        );
    }
}

#[test]
fn the_first_default_source_wins_and_others_do_not_join() {
    let sent = consumer("t process")
        .with("correlation_id", "plain")
        .with("messaging.message.conversation_id", "conversation")
        .with("messaging.header.x_correlation_id", ["x"])
        .with("messaging.header.correlation_id", ["header"]);
    assert_eq!(values(&sent, &Rules::default()), ["correlation=header"]);
}

#[test]
fn a_source_without_a_value_gives_way_to_the_next_that_has_one() {
    let sent = consumer("t process")
        .with("correlation_id", "plain")
        .with("messaging.message.conversation_id", "conversation")
        .with("nservicebus.correlation_id", "")
        .with("messaging.header.x_correlation_id", [""; 0])
        .with("messaging.header.correlation_id", Value::Bool(true));
    assert_eq!(
        values(&sent, &Rules::default()),
        ["correlation=conversation"]
    );
}

#[test]
fn what_is_no_journey_gives_way_and_what_the_operator_named_ends_no_search() {
    let sent = consumer("t process")
        .scope("opentelemetry.instrumentation.pika")
        .with("messaging.conversation_id", "reply-1")
        .with("correlation_id", "plain");
    assert_eq!(values(&sent, &Rules::default()), ["correlation=plain"]);
    let rules = Rules {
        correlation_attributes: vec!["correlation".into()],
        ..Rules::default()
    };
    // The header's value is there already, under that very name: the next source is looked at.
    let sent = consumer("t process")
        .with("correlation", "ORD-1")
        .with("messaging.header.correlation_id", ["ORD-1"])
        .with("correlation_id", "plain");
    assert_eq!(
        values(&sent, &rules),
        ["correlation=ORD-1", "correlation=plain"]
    );
}

#[test]
fn attributes_the_operator_named_keep_their_names_beside_the_default() {
    let rules = Rules {
        correlation_attributes: vec!["order.id".into(), "customer.id".into()],
        ..Rules::default()
    };
    let sent = producer("t send")
        .with("order.id", 42)
        .with("messaging.header.correlation_id", ["ORD-1"]);
    assert_eq!(values(&sent, &rules), ["order.id=42", "correlation=ORD-1"]);
}

#[test]
fn a_batch_keeps_every_distinct_value() {
    let sent = consumer("t receive").with("messaging.header.correlation_id", ["a", "b", "a", ""]);
    assert_eq!(
        values(&sent, &Rules::default()),
        ["correlation=a", "correlation=b"]
    );
}

#[test]
fn headers_can_be_chosen() {
    let rules = Rules {
        correlation_headers: vec!["order-id".into()],
        ..Rules::default()
    };
    let sent = producer("t send")
        .with("messaging.header.order_id", ["42"])
        .with("messaging.header.correlation_id", ["x"]);
    assert_eq!(values(&sent, &rules), ["correlation=42"]);
}

#[test]
fn reply_ids_of_amqp_jms_and_task_ids_are_no_journey_unless_asked_for() {
    for scope in [
        "opentelemetry.instrumentation.pika",
        "opentelemetry.instrumentation.aio_pika",
        "@opentelemetry/instrumentation-amqplib",
        "io.opentelemetry.jms-1.1",
        "opentelemetry.instrumentation.boto3sqs",
        "opentelemetry.instrumentation.celery",
    ] {
        let sent = consumer("t process")
            .scope(scope)
            .with("messaging.conversation_id", "reply-1");
        assert_eq!(values(&sent, &Rules::default()), [""; 0], "{scope}");
        let asked = Rules {
            reply_ids_correlate: true,
            ..Rules::default()
        };
        assert_eq!(values(&sent, &asked), ["correlation=reply-1"]);
    }
}

#[test]
fn values_that_are_no_ids_are_left_out() {
    for value in [
        Value::Empty,
        Value::Bool(true),
        Value::Double(1.5),
        Value::Bytes(vec![1]),
        "".into(),
    ] {
        let sent = consumer("t process").with("correlation_id", value);
        assert_eq!(values(&sent, &Rules::default()), [""; 0]);
    }
}
