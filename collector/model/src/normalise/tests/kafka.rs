//! One case for each row of the table of Kafka instrumentations, and each trap.

use super::{
    AGENT_KAFKA, AIOKAFKA, CONFLUENT, KAFKA_PYTHON, KAFKAJS, KOTEL, MICROMETER, SARAMA, Sent,
    client, consumer, producer, sent,
};
use crate::raw::{SpanKind, Value};
use crate::span::{Messaging, Operation};

#[track_caller]
fn is(
    sent: &Sent,
    operation: Operation,
    destination: Option<&str>,
    group: Option<&str>,
    place: (Option<i32>, Option<i64>),
) -> Messaging {
    let messaging = sent.messaging();
    assert_eq!(&*messaging.system, "kafka");
    assert_eq!(messaging.operation, operation);
    assert_eq!(messaging.destination.as_deref(), destination);
    assert_eq!(messaging.group.as_deref(), group);
    assert_eq!((messaging.partition, messaging.offset), place);
    messaging
}

#[test]
fn java_agent_default_mixes_generations() {
    let agent = |sent: Sent, operation: &str| {
        sent.scope(AGENT_KAFKA)
            .kafka()
            .with("messaging.destination.name", "orders")
            .with("messaging.operation", operation)
            .with("messaging.client_id", "c-1")
            .with("messaging.kafka.cluster.id", "M1y5XfG1RJi899AQntlxYA")
            .with("messaging.destination.partition.id", "0")
            .with("messaging.kafka.message.offset", 12)
    };
    let publish = agent(producer("orders publish"), "publish");
    let messaging = is(
        &publish,
        Operation::Send,
        Some("orders"),
        None,
        (Some(0), Some(12)),
    );
    assert_eq!(messaging.client_id.as_deref(), Some("c-1"));
    assert_eq!(
        messaging.cluster.id.as_deref(),
        Some("M1y5XfG1RJi899AQntlxYA")
    );
    assert_eq!(messaging.cluster.address, None);
    assert!(!messaging.duration_is_work);

    let process = agent(consumer("orders process"), "process")
        .with("messaging.kafka.consumer.group", "billing")
        .with("messaging.message.body.size", 7);
    let messaging = is(
        &process,
        Operation::Process,
        Some("orders"),
        Some("billing"),
        (Some(0), Some(12)),
    );
    assert!(messaging.duration_is_work && messaging.body_size == Some(7));
}

#[test]
fn java_agent_receive_telemetry_polls_are_receives_without_a_place() {
    let poll = consumer("orders receive")
        .scope(AGENT_KAFKA)
        .kafka()
        .with("messaging.destination.name", "orders")
        .with("messaging.operation", "receive")
        .with("messaging.kafka.consumer.group", "billing")
        .with("messaging.batch.message_count", 25);
    let messaging = is(
        &poll,
        Operation::Receive,
        Some("orders"),
        Some("billing"),
        (None, None),
    );
    assert_eq!(messaging.batch_count, Some(25));
    assert!(!messaging.duration_is_work);
}

#[test]
fn java_agent_opt_in_uses_the_newest_keys() {
    let process = consumer("process orders")
        .scope(AGENT_KAFKA)
        .kafka()
        .with("messaging.operation.type", "process")
        .with("messaging.operation.name", "process")
        .with("messaging.destination.name", "orders")
        .with("messaging.destination.partition.id", "2")
        .with("messaging.kafka.offset", 9)
        .with("messaging.consumer.group.name", "billing")
        .with("messaging.client.id", "c-1")
        .link(Vec::new());
    let messaging = is(
        &process,
        Operation::Process,
        Some("orders"),
        Some("billing"),
        (Some(2), Some(9)),
    );
    assert!(messaging.duration_is_work);
    assert_eq!(messaging.client_id.as_deref(), Some("c-1"));
}

#[test]
fn java_agent_opt_in_poll_is_a_client_whose_links_name_the_records() {
    let attributes = |partition: Option<&str>, offset: i64| {
        let mut all = vec![("messaging.kafka.offset".to_owned(), Value::Int(offset))];
        if let Some(partition) = partition {
            all.push((
                "messaging.destination.partition.id".to_owned(),
                partition.into(),
            ));
        }
        all
    };
    let poll = |partition: Option<&str>| {
        let poll = client("poll orders")
            .scope(AGENT_KAFKA)
            .kafka()
            .with("messaging.operation.type", "receive")
            .with("messaging.operation.name", "poll")
            .with("messaging.destination.name", "orders")
            .with("messaging.consumer.group.name", "billing")
            .with("messaging.batch.message_count", 2);
        match partition {
            Some(partition) => poll.with("messaging.destination.partition.id", partition),
            None => poll,
        }
    };
    let places = |sent: &Sent| -> Vec<_> {
        sent.span()
            .links
            .iter()
            .map(|link| (link.partition, link.offset))
            .collect()
    };
    let many = poll(None)
        .link(attributes(Some("0"), 4))
        .link(attributes(Some("1"), 7));
    is(
        &many,
        Operation::Receive,
        Some("orders"),
        Some("billing"),
        (None, None),
    );
    assert_eq!(places(&many), [(Some(0), Some(4)), (Some(1), Some(7))]);
    // A batch of one partition names it once, on the span.
    let one = poll(Some("2")).link(attributes(None, 4)).link(Vec::new());
    assert_eq!(
        places(&one),
        [(Some(2), Some(4)), (None, None)],
        "a bare link stays bare"
    );
}

#[test]
fn java_agent_spring_listeners_look_like_the_agent() {
    for (scope, count) in [
        ("io.opentelemetry.spring-kafka-2.7", None),
        ("io.opentelemetry.spring-kafka-2.7", Some(3)),
    ] {
        let mut listener = consumer("orders process")
            .scope(scope)
            .kafka()
            .with("messaging.destination.name", "orders")
            .with("messaging.operation", "process")
            .with("messaging.kafka.consumer.group", "billing");
        if let Some(count) = count {
            listener = listener
                .with("messaging.batch.message_count", count)
                .link(Vec::new())
                .link(Vec::new());
        }
        let messaging = is(
            &listener,
            Operation::Process,
            Some("orders"),
            Some("billing"),
            (None, None),
        );
        assert!(messaging.duration_is_work);
        assert_eq!(
            messaging.batch_count,
            count.map(|count| u32::try_from(count).unwrap())
        );
    }
}

#[test]
fn spring_micrometer_receive_is_the_handler_and_names_its_place_in_strings() {
    let receive = consumer("orders receive")
        .scope(MICROMETER)
        .kafka()
        .with("messaging.operation", "receive")
        .with("messaging.source.name", "orders")
        .with("messaging.kafka.source.partition", "0")
        .with("messaging.kafka.message.offset", "17")
        .with("messaging.kafka.consumer.group", "fraud")
        .with("messaging.consumer.id", "fraud - consumer-fraud-3")
        .with("messaging.kafka.client_id", "consumer-fraud-3")
        .with("peer.service", "Apache Kafka: M1y5XfG1RJi899AQntlxYA");
    let messaging = is(
        &receive,
        Operation::Process,
        Some("orders"),
        Some("fraud"),
        (Some(0), Some(17)),
    );
    assert!(messaging.duration_is_work);
    assert_eq!(
        messaging.cluster.id.as_deref(),
        Some("M1y5XfG1RJi899AQntlxYA")
    );
    let send = producer("orders send")
        .scope(MICROMETER)
        .kafka()
        .with("messaging.operation", "publish")
        .with("messaging.destination.name", "orders")
        .with("peer.service", "Apache Kafka");
    let messaging = is(&send, Operation::Send, Some("orders"), None, (None, None));
    assert_eq!(messaging.cluster.id, None, "no id, no cluster");
}

#[test]
fn group_and_client_are_split_from_a_consumer_id() {
    let of = |id: &str, client: Option<&str>| {
        let mut sent = consumer("t process")
            .kafka()
            .with("messaging.consumer_id", id);
        if let Some(client) = client {
            sent = sent.with("messaging.kafka.client_id", client);
        }
        let messaging = sent.messaging();
        (
            messaging.group.map(|group| group.to_string()),
            messaging.client_id.map(|client| client.to_string()),
        )
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        of("fraud - consumer-3", None),
        (some("fraud"), some("consumer-3"))
    );
    assert_eq!(
        of("a - b - c", Some("c")),
        (some("a - b"), some("c")),
        "the client tells where"
    );
    assert_eq!(of("just-an-id", None), (None, None));
}

#[test]
fn confluent_kafka_puts_the_place_into_the_message_id() {
    let process = |id: &str| {
        consumer("shop.orders process")
            .scope(CONFLUENT)
            .kafka()
            .with("messaging.destination", "shop.orders")
            .with("messaging.destination_kind", "queue")
            .with("messaging.kafka.partition", 2)
            .with("messaging.operation", "process")
            .with("server.address", "127.0.0.1")
            .with("server.port", 29092)
            .with("messaging.message.id", id)
            .link(Vec::new())
    };
    let messaging = is(
        &process("shop.orders.2.41"),
        Operation::Process,
        Some("shop.orders"),
        None,
        (Some(2), Some(41)),
    );
    assert_eq!(
        messaging.cluster.address.as_deref(),
        Some("127.0.0.1:29092")
    );
    assert!(messaging.duration_is_work);
    for other in [
        "shop.payments.2.41",
        "shop.orders.3.41",
        "shop.orders.2.",
        "2.41",
        "shop.orders.2.-4",
    ] {
        is(
            &process(other),
            Operation::Process,
            Some("shop.orders"),
            None,
            (Some(2), None),
        );
    }
}

#[test]
fn confluent_kafka_batches_have_links_and_no_place() {
    let batch = consumer("orders process")
        .scope(CONFLUENT)
        .kafka()
        .with("messaging.destination", "orders")
        .with("messaging.operation", "process")
        .link(Vec::new())
        .link(Vec::new());
    is(
        &batch,
        Operation::Process,
        Some("orders"),
        None,
        (None, None),
    );
    assert_eq!(batch.span().links.len(), 2);
}

#[test]
fn confluent_kafka_recv_without_attributes_is_no_messaging_span() {
    consumer("recv").scope(CONFLUENT).is_no_hop();
}

#[test]
fn kafka_python_names_no_operation_and_quotes_its_url() {
    let python = |sent: Sent| {
        sent.scope(KAFKA_PYTHON)
            .kafka()
            .with("messaging.destination", "orders")
            .with("messaging.kafka.partition", 2)
            .with("messaging.url", "\"127.0.0.1:29092\"")
    };
    let messaging = is(
        &python(producer("orders send")),
        Operation::Send,
        Some("orders"),
        None,
        (Some(2), None),
    );
    assert_eq!(
        messaging.cluster.address.as_deref(),
        Some("127.0.0.1:29092")
    );
    let receive = is(
        &python(consumer("orders receive")),
        Operation::Receive,
        Some("orders"),
        None,
        (Some(2), None),
    );
    assert!(!receive.duration_is_work, "0.05 ms, before the handler");
}

#[test]
fn addresses_are_unquoted_and_the_first_of_a_list() {
    let of = |value: Value| {
        consumer("t receive")
            .scope(AIOKAFKA)
            .kafka()
            .with("server.address", value)
            .messaging()
            .cluster
            .address
            .map(|address| address.to_string())
    };
    for (sent, read) in [
        ("\"b1:9092\"", "b1:9092"),
        ("[\"b1:9092\", \"b2:9092\"]", "b1:9092"),
        ("b1:9092,b2:9092", "b1:9092"),
        ("'b1:9092'", "b1:9092"),
        ("b1", "b1"),
        ("[::1]:9092", "[::1]:9092"),
        ("amqp://user:secret@b1:5672/vhost", "b1:5672"),
        ("kafka://b1:9092?x=y@z", "b1:9092"),
    ] {
        assert_eq!(of(sent.into()).as_deref(), Some(read), "{sent}");
    }
    assert_eq!(
        of(["b1:9092", "b2:9092"].into()).as_deref(),
        Some("b1:9092")
    );
    for empty in ["", "\"\"", "[]", "://", "@"] {
        assert_eq!(of(empty.into()), None, "{empty}");
    }
}

#[test]
fn ports_join_their_host_once() {
    let of = |host: &str, port: i64| {
        consumer("t receive")
            .kafka()
            .with("server.address", host)
            .with("server.port", port)
            .messaging()
            .cluster
            .address
            .map(|address| address.to_string())
    };
    assert_eq!(of("b1", 9092).as_deref(), Some("b1:9092"));
    assert_eq!(of("b1:9092", 9092).as_deref(), Some("b1:9092"));
    assert_eq!(of("::1", 9092).as_deref(), Some("[::1]:9092"));
    assert_eq!(of("[::1]", 9092).as_deref(), Some("[::1]:9092"));
    assert_eq!(of("b1", -1).as_deref(), Some("b1"));
}

#[test]
fn aiokafka_records_are_receives_and_its_batches_may_name_no_topic() {
    let aiokafka = |sent: Sent| {
        sent.scope(AIOKAFKA)
            .kafka()
            .with("server.address", "\"127.0.0.1:29092\"")
            .with("messaging.client.id", "g2-1")
            .with("messaging.consumer.group.name", "g2")
            .with("messaging.operation.name", "receive")
            .with("messaging.operation.type", "receive")
    };
    let record = aiokafka(consumer("orders receive"))
        .with("messaging.destination.name", "orders")
        .with("messaging.destination.partition.id", "1")
        .with("messaging.kafka.message.offset", 4)
        .with("messaging.message.id", "orders.1.4")
        .with("messaging.kafka.message.key", "k4");
    let messaging = is(
        &record,
        Operation::Receive,
        Some("orders"),
        Some("g2"),
        (Some(1), Some(4)),
    );
    assert!(!messaging.duration_is_work);
    assert_eq!(messaging.key.as_deref(), Some("k4"));
    let batch = aiokafka(consumer("orders receive")).with("messaging.batch.message_count", 20);
    let messaging = is(&batch, Operation::Receive, None, Some("g2"), (None, None));
    assert_eq!(messaging.batch_count, Some(20));
    let send = producer("orders send")
        .scope(AIOKAFKA)
        .kafka()
        .with("messaging.destination.name", "orders")
        .with("messaging.operation.name", "send")
        .with("messaging.operation.type", "publish");
    is(&send, Operation::Send, Some("orders"), None, (None, None));
}

#[test]
fn kafkajs_batches_last_as_long_as_the_batch_and_single_messages_as_long_as_the_work() {
    let process = || {
        consumer("process orders")
            .scope(KAFKAJS)
            .kafka()
            .with("messaging.destination.partition.id", "1")
            .with("messaging.destination.name", "orders")
            .with("messaging.operation.type", "process")
            .with("messaging.operation.name", "process")
            .with("messaging.kafka.offset", "3")
            .with("messaging.kafka.message.tombstone", true)
    };
    let each = is(
        &process(),
        Operation::Process,
        Some("orders"),
        None,
        (Some(1), Some(3)),
    );
    assert!(each.duration_is_work && each.tombstone);
    let batch = process().link(Vec::new()).messaging();
    assert!(!batch.duration_is_work);
    let poll = client("poll orders")
        .scope(KAFKAJS)
        .kafka()
        .with("messaging.batch.message_count", 15)
        .with("messaging.destination.partition.id", "1")
        .with("messaging.destination.name", "orders")
        .with("messaging.operation.type", "receive");
    is(
        &poll,
        Operation::Receive,
        Some("orders"),
        None,
        (Some(1), None),
    );
    sent(SpanKind::Internal, "tcp.connect")
        .with("server.address", "127.0.0.1")
        .is_no_hop();
}

#[test]
fn kotel_receives_and_processes_each_record() {
    let kotel = |name: &str, operation: &str| {
        consumer(name)
            .scope(KOTEL)
            .kafka()
            .with("messaging.source.name", "orders")
            .with("messaging.operation", operation)
            .with("messaging.kafka.source.partition", 1)
            .with("messaging.kafka.message.offset", 5)
            .with("messaging.kafka.consumer.group", "g")
    };
    let place = (Some(1), Some(5));
    let receive = is(
        &kotel("orders receive", "receive"),
        Operation::Receive,
        Some("orders"),
        Some("g"),
        place,
    );
    assert!(!receive.duration_is_work);
    let process = is(
        &kotel("orders process", "process"),
        Operation::Process,
        Some("orders"),
        Some("g"),
        place,
    );
    assert!(process.duration_is_work);
    let publish = producer("orders publish")
        .scope(KOTEL)
        .kafka()
        .with("messaging.destination.name", "orders")
        .with("messaging.operation", "publish")
        .with("messaging.kafka.destination.partition", 1)
        .with("messaging.kafka.message.offset", 5);
    is(&publish, Operation::Send, Some("orders"), None, place);
}

#[test]
fn sarama_writes_the_bare_offset_as_message_id_and_counts_more_than_the_body() {
    let receive = consumer("orders receive")
        .scope(SARAMA)
        .kafka()
        .with("messaging.destination.name", "orders")
        .with("messaging.operation", "receive")
        .with("messaging.message.id", "30")
        .with("messaging.message.payload_size_bytes", 83)
        .with("messaging.kafka.source.partition", 0);
    let messaging = is(
        &receive,
        Operation::Receive,
        Some("orders"),
        None,
        (Some(0), Some(30)),
    );
    assert_eq!((messaging.message_id, messaging.body_size), (None, None));
    // The same attributes from anyone else are an id and a size.
    let other = receive.scope("my.own").messaging();
    assert_eq!(
        (other.message_id.as_deref(), other.offset),
        (Some("30"), None)
    );
    assert_eq!(other.body_size, Some(83));
}

#[test]
fn a_failed_send_names_no_place_and_is_an_error() {
    let failed = producer("orders publish")
        .scope(AGENT_KAFKA)
        .kafka()
        .with("messaging.destination.name", "orders")
        .with("messaging.operation", "publish")
        .with("messaging.destination.partition.id", "-1")
        .with("messaging.kafka.message.offset", -1)
        .failed("")
        .exception("TimeoutException", "not present in metadata", "");
    is(&failed, Operation::Send, Some("orders"), None, (None, None));
    let error = failed.span().error.unwrap();
    assert_eq!(
        (&*error.kind, &*error.message),
        ("TimeoutException", "not present in metadata")
    );
}

#[test]
fn spring_back_off_is_no_attempt_and_no_error() {
    let process = || {
        consumer("orders-retry-400 process")
            .kafka()
            .with("messaging.destination.name", "orders-retry-400")
            .with("messaging.operation", "process")
            .failed("")
    };
    let own = process().exception(
        "org.springframework.kafka.listener.KafkaBackoffException",
        "backing off for approx. 399 millis.",
        "",
    );
    let cause = process().exception(
        "org.springframework.kafka.listener.ListenerExecutionFailedException",
        "Listener failed",
        "org.springframework.kafka.listener.ListenerExecutionFailedException: Listener failed\nCaused by: org.springframework.kafka.listener.KafkaBackoffException: Partition 0",
    );
    for span in [own.span(), cause.span()] {
        assert!(span.messaging.unwrap().backoff);
        assert_eq!(span.error, None);
    }
    let real = process()
        .exception(
            "org.springframework.kafka.listener.TimestampedException",
            "Exception thrown at 2026-11-01",
            "Caused by: java.lang.IllegalArgumentException: printer jam\n\tat org.springframework.kafka.listener.adapter.KafkaBackoffAwareMessageListenerAdapter.onMessage",
        )
        .span();
    assert!(!real.messaging.unwrap().backoff);
    assert_eq!(
        &*real.error.unwrap().kind,
        "org.springframework.kafka.listener.TimestampedException"
    );
}

#[test]
fn kafka_streams_and_share_groups_are_ordinary_process_spans() {
    let streams = consumer("in process")
        .scope("io.opentelemetry.kafka-streams-0.11")
        .kafka()
        .with("messaging.destination.name", "in")
        .with("messaging.operation", "process")
        .with("messaging.kafka.consumer.group", "app")
        .with("messaging.client_id", "app-StreamThread-1-consumer");
    is(
        &streams,
        Operation::Process,
        Some("in"),
        Some("app"),
        (None, None),
    );
    let share = consumer("in process")
        .scope(AGENT_KAFKA)
        .kafka()
        .with("messaging.destination.name", "in")
        .with("messaging.operation", "process")
        .with("messaging.destination.partition.id", "0")
        .with("messaging.kafka.message.offset", 1);
    is(
        &share,
        Operation::Process,
        Some("in"),
        None,
        (Some(0), Some(1)),
    );
}
