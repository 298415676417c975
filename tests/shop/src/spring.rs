//! The headers that Spring Kafka's `DeadLetterPublishingRecoverer` puts on a record it publishes.
//!
//! As captured from Spring Kafka 3.3.16: numbers are big-endian binary, texts UTF-8. The `original` headers are added
//! again at every hop (the first set is the origin), the `exception` headers only say the last failure.

/// A header; a record's headers keep their order and may repeat.
pub(crate) type Header = (String, Option<Vec<u8>>);

const EXCEPTION: &str = "kafka_dlt-exception-";

/// Why a record could not be handled, as a Java consumer would say it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    /// The class of the cause.
    pub(crate) class: &'static str,
    /// Its message.
    pub(crate) message: String,
    /// The listener's method, for the stack trace.
    pub(crate) listener: &'static str,
    /// False: another attempt would fail as well, so none is made.
    pub(crate) worth_retrying: bool,
}

impl Failure {
    /// Returns the stack trace of the cause.
    pub(crate) fn stack_trace(&self) -> String {
        format!(
            "{}: {}\n\tat shop.{}\n\tat org.springframework.kafka.listener.adapter.HandlerAdapter.invoke(HandlerAdapter.java:78)\n",
            self.class, self.message, self.listener
        )
    }
}

/// The record that failed.
pub(crate) struct Origin<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// Milliseconds since 1970.
    pub(crate) timestamp: i64,
    /// The group that could not handle it.
    pub(crate) group: &'a str,
}

/// Returns the headers of the record that is published for one that failed with `headers`; the trace context is left to
/// the producer.
pub(crate) fn published(headers: &[Header], origin: &Origin<'_>, failure: &Failure) -> Vec<Header> {
    const WRAPPER: &str = "org.springframework.kafka.listener.ListenerExecutionFailedException";
    let method = failure
        .listener
        .split('(')
        .next()
        .unwrap_or(failure.listener);
    let message = format!(
        "Listener method 'public void shop.{method}' threw exception; {}",
        failure.message
    );
    let trace = format!(
        "{WRAPPER}: {message}\n\
         \tat org.springframework.kafka.listener.KafkaMessageListenerContainer$ListenerConsumer.decorateException(KafkaMessageListenerContainer.java:3043)\n\
         \tat org.springframework.kafka.listener.KafkaMessageListenerContainer$ListenerConsumer.doInvokeOnMessage(KafkaMessageListenerContainer.java:2950)\n\
         \tat java.base/java.lang.Thread.run(Thread.java:840)\n\
         Caused by: {}",
        failure.stack_trace()
    );
    let kept = headers
        .iter()
        .filter(|(name, _)| {
            !name.starts_with(EXCEPTION) && name != "traceparent" && name != "tracestate"
        })
        .cloned();
    let text =
        |name: &str, value: &str| (format!("kafka_dlt-{name}"), Some(value.as_bytes().to_vec()));
    let number = |name: &str, value: &[u8]| (format!("kafka_dlt-{name}"), Some(value.to_vec()));
    kept.chain([
        text("exception-fqcn", WRAPPER),
        text("exception-cause-fqcn", failure.class),
        text("exception-message", &message),
        text("exception-stacktrace", &trace),
        text("original-topic", origin.topic),
        number("original-partition", &origin.partition.to_be_bytes()),
        number("original-offset", &origin.offset.to_be_bytes()),
        number("original-timestamp", &origin.timestamp.to_be_bytes()),
        text("original-timestamp-type", "CreateTime"),
        text("original-consumer-group", origin.group),
    ])
    .collect()
}

/// Returns where a record that was published by the recoverer comes from: topic, partition and offset of the first hop.
pub(crate) fn first_origin(headers: &[Header]) -> Option<(String, i32, i64)> {
    let first = |name: &str| {
        headers
            .iter()
            .find(|(header, _)| header == name)?
            .1
            .as_deref()
    };
    Some((
        String::from_utf8(first("kafka_dlt-original-topic")?.to_vec()).ok()?,
        i32::from_be_bytes(first("kafka_dlt-original-partition")?.try_into().ok()?),
        i64::from_be_bytes(first("kafka_dlt-original-offset")?.try_into().ok()?),
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails where it stands")]
    use super::*;

    fn failure(message: &str) -> Failure {
        Failure {
            class: "java.lang.IllegalStateException",
            message: message.to_owned(),
            listener: "billing.ChargeListener.charge(ChargeListener.java:57)",
            worth_retrying: true,
        }
    }

    #[test]
    fn originals_add_up_over_two_hops_and_exceptions_do_not() {
        let headers = vec![
            ("correlation-id".to_owned(), Some(b"ORD-0001".to_vec())),
            ("traceparent".to_owned(), Some(b"00-...".to_vec())),
        ];
        let orders = Origin {
            topic: "orders",
            partition: 4,
            offset: 21,
            timestamp: 0x01a1_fbcd_371f,
            group: "billing",
        };
        let once = published(&headers, &orders, &failure("first"));
        let retry = Origin {
            topic: "orders.billing.retry",
            partition: 1,
            offset: 2,
            timestamp: 0,
            group: "billing-retry",
        };
        let twice = published(&once, &retry, &failure("second"));

        let all = |name: &str| {
            twice
                .iter()
                .filter(|(header, _)| header == name)
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(all("kafka_dlt-original-topic").len(), 2);
        assert_eq!(all("kafka_dlt-exception-message").len(), 1);
        assert!(all("traceparent").is_empty());
        assert_eq!(all("correlation-id").len(), 1);
        assert_eq!(first_origin(&twice), Some(("orders".to_owned(), 4, 21)));
    }

    #[test]
    fn numbers_are_big_endian_as_spring_writes_them() {
        let origin = Origin {
            topic: "orders",
            partition: 2,
            offset: 0x15,
            timestamp: 0x01a1_fbcd_371f,
            group: "fraud",
        };
        let headers = published(&[], &origin, &failure("no"));
        let value = |name: &str| {
            headers
                .iter()
                .find(|(header, _)| header == name)
                .unwrap()
                .1
                .clone()
                .unwrap()
        };
        assert_eq!(value("kafka_dlt-original-partition"), [0, 0, 0, 2]);
        assert_eq!(
            value("kafka_dlt-original-offset"),
            [0, 0, 0, 0, 0, 0, 0, 0x15]
        );
        assert_eq!(
            value("kafka_dlt-original-timestamp"),
            [0, 0, 0x01, 0xa1, 0xfb, 0xcd, 0x37, 0x1f]
        );
        let trace = String::from_utf8(value("kafka_dlt-exception-stacktrace")).unwrap();
        assert!(
            trace.contains("\nCaused by: java.lang.IllegalStateException: no\n"),
            "{trace}"
        );
    }
}
