//! Other brokers, as far as their spans can be told.

use super::{AGENT_RABBIT, MICROMETER, Sent, client, consumer, producer, sent};
use crate::raw::SpanKind;
use crate::span::Operation;

/// System, operation, destination, group.
#[track_caller]
fn is(
    sent: &Sent,
    system: &str,
    operation: Operation,
    destination: Option<&str>,
    group: Option<&str>,
) {
    let messaging = sent.messaging();
    assert_eq!(&*messaging.system, system);
    assert_eq!(messaging.operation, operation);
    assert_eq!(messaging.destination.as_deref(), destination, "destination");
    assert_eq!(messaging.group.as_deref(), group, "group");
}

fn rabbit(sent: Sent, destination: &str, key: &str) -> Sent {
    let sent = sent
        .with("messaging.system", "rabbitmq")
        .with("messaging.destination.name", destination);
    if key.is_empty() {
        sent
    } else {
        sent.with("messaging.rabbitmq.destination.routing_key", key)
    }
}

#[test]
fn rabbitmq_exchange_and_queue_are_told_apart_in_every_spelling() {
    use Operation::{Process, Send};
    let agent = |sent: Sent| sent.scope(AGENT_RABBIT);
    let publish = || producer("X publish").with("messaging.operation", "publish");
    let process = |name: &str| consumer(name).with("messaging.operation", "process");
    // Java agent, default: the queue stands only in the span's name.
    is(
        &rabbit(agent(publish()), "X", "K"),
        "rabbitmq",
        Send,
        Some("X"),
        None,
    );
    is(
        &rabbit(agent(process("Q process")), "X", "K"),
        "rabbitmq",
        Process,
        Some("X"),
        Some("Q"),
    );
    is(
        &rabbit(agent(publish()), "<default>", "Q"),
        "rabbitmq",
        Send,
        Some("Q"),
        None,
    );
    is(
        &rabbit(agent(process("Q process")), "<default>", "Q"),
        "rabbitmq",
        Process,
        Some("Q"),
        Some("Q"),
    );
    // Opt-in.
    is(
        &rabbit(agent(publish()), "X:K", "K"),
        "rabbitmq",
        Send,
        Some("X"),
        None,
    );
    is(
        &rabbit(agent(process("process X:K:Q")), "X:K:Q", "K"),
        "rabbitmq",
        Process,
        Some("X"),
        Some("Q"),
    );
    is(
        &rabbit(process("process X:K:Q"), "X:K:Q", ""),
        "rabbitmq",
        Process,
        Some("X"),
        Some("Q"),
    );
    // Colons in an exchange's name (MassTransit) and dots in a key.
    is(
        &rabbit(agent(process("process A:B:k.1:Q")), "A:B:k.1:Q", "k.1"),
        "rabbitmq",
        Process,
        Some("A:B"),
        Some("Q"),
    );
    is(
        &rabbit(publish(), "A:B", "K"),
        "rabbitmq",
        Send,
        Some("A:B"),
        None,
    );
    // aio-pika.
    is(
        &rabbit(publish(), "X,K", ""),
        "rabbitmq",
        Send,
        Some("X"),
        None,
    );
    is(
        &rabbit(publish(), ",K", ""),
        "rabbitmq",
        Send,
        Some("K"),
        None,
    );
    // amqplib: the exchange may be empty, and the queue stands in the name.
    let amqplib = process("Q process")
        .scope("@opentelemetry/instrumentation-amqplib")
        .with("messaging.system", "rabbitmq")
        .with("messaging.destination", "")
        .with("messaging.rabbitmq.routing_key", "Q");
    is(&amqplib, "rabbitmq", Process, Some("Q"), Some("Q"));
    // Spring's default says only the routing key; the rest is the stitched producer's.
    is(
        &rabbit(
            process("K process").scope("io.opentelemetry.spring-rabbit-1.0"),
            "K",
            "",
        ),
        "rabbitmq",
        Process,
        Some("K"),
        None,
    );
}

#[test]
fn pika_receives_are_handlers() {
    for scope in [
        "opentelemetry.instrumentation.pika",
        "opentelemetry.instrumentation.aio_pika",
    ] {
        let receive = consumer("X receive")
            .scope(scope)
            .with("messaging.system", "rabbitmq")
            .with("messaging.destination", "X")
            .with("messaging.operation", "receive");
        is(&receive, "rabbitmq", Operation::Process, Some("X"), None);
        assert!(receive.messaging().duration_is_work);
    }
    // Spring AMQP's Micrometer observation too.
    let spring = rabbit(consumer("X receive").scope(MICROMETER), "X", "")
        .with("messaging.operation", "receive");
    is(&spring, "rabbitmq", Operation::Process, Some("X"), None);
}

#[test]
fn rabbitmq_plumbing_is_no_hop() {
    for name in ["basic.ack", "basic.nack", "basic.qos", "queue.declare"] {
        client(name)
            .scope(AGENT_RABBIT)
            .with("messaging.system", "rabbitmq")
            .is_no_hop();
    }
}

#[test]
fn sqs_has_many_names_and_its_broker_is_host_and_account() {
    for system in ["aws_sqs", "aws.sqs", "AmazonSQS"] {
        let send = producer("Q send")
            .with("messaging.system", system)
            .with("messaging.destination", "Q")
            .with(
                "messaging.url",
                "https://sqs.eu-west-1.amazonaws.com/123456789012/Q",
            );
        is(&send, "aws_sqs", Operation::Send, Some("Q"), None);
        assert_eq!(
            send.messaging().cluster.address.as_deref(),
            Some("sqs.eu-west-1.amazonaws.com/123456789012")
        );
    }
    let by_url = consumer("Q process")
        .with("messaging.system", "aws_sqs")
        .with("messaging.operation", "process")
        .with("aws.sqs.queue.url", "http://localhost:9324/000000000000/Q");
    is(&by_url, "aws_sqs", Operation::Process, Some("Q"), None);
    let delete = client("delete Q")
        .with("messaging.system", "aws_sqs")
        .with("messaging.operation.type", "settle");
    is(&delete, "aws_sqs", Operation::Settle, None, None);
    client("Sqs.DeleteMessage")
        .with("messaging.system", "aws_sqs")
        .with("rpc.method", "DeleteMessage")
        .is_no_hop();
}

#[test]
fn a_secret_in_a_queue_url_is_not_kept() {
    for (url, queue, broker) in [
        ("http://user:secret@h:1/0/Q", Some("Q"), "h:1/0"),
        ("http://user:secret@h:1", None, "h:1"),
    ] {
        let send = producer("send")
            .with("messaging.system", "aws_sqs")
            .with("messaging.url", url);
        is(&send, "aws_sqs", Operation::Send, queue, None);
        assert_eq!(send.messaging().cluster.address.as_deref(), Some(broker));
    }
}

#[test]
fn botocore_alone_is_a_hop_by_its_method() {
    let call = |method: &str, scope: &str| {
        client(&format!("SQS.{method}"))
            .scope(scope)
            .with("messaging.system", "aws.sqs")
            .with("messaging.destination", "Q")
            .with("rpc.method", method)
    };
    let botocore = "opentelemetry.instrumentation.botocore.sqs";
    is(
        &call("SendMessage", botocore),
        "aws_sqs",
        Operation::Send,
        Some("Q"),
        None,
    );
    is(
        &call("SendMessageBatch", botocore),
        "aws_sqs",
        Operation::Send,
        Some("Q"),
        None,
    );
    is(
        &call("ReceiveMessage", botocore),
        "aws_sqs",
        Operation::Receive,
        Some("Q"),
        None,
    );
    call("GetQueueUrl", botocore).is_no_hop();
    call("SendMessage", "io.opentelemetry.aws-sdk-2.2").is_no_hop();
}

#[test]
fn sns_is_known_by_its_arn_and_named_by_its_tail() {
    let agent = client("Sns.Publish")
        .scope("io.opentelemetry.aws-sdk-2.2")
        .with("rpc.method", "Publish")
        .with(
            "messaging.destination.name",
            "arn:aws:sns:eu-west-1:123456789012:news",
        );
    is(&agent, "aws_sns", Operation::Send, Some("news"), None);
    let node = producer("news send")
        .with("messaging.system", "aws.sns")
        .with("messaging.destination", "news")
        .with(
            "messaging.destination.name",
            "arn:aws:sns:eu-west-1:123456789012:news",
        );
    is(&node, "aws_sns", Operation::Send, Some("news"), None);
}

#[test]
fn pubsub_create_subscribe_and_internal_process() {
    let scope = "google.cloud.pubsub_v1";
    let create = producer("T create")
        .scope(scope)
        .with("messaging.system", "gcp_pubsub")
        .with("messaging.operation", "create")
        .with("messaging.destination.name", "T");
    is(&create, "gcp_pubsub", Operation::Create, Some("T"), None);
    let publish = client("T publish")
        .scope(scope)
        .with("messaging.system", "gcp_pubsub")
        .with("messaging.operation", "publish")
        .with("messaging.destination.name", "T");
    is(&publish, "gcp_pubsub", Operation::Send, Some("T"), None);
    let subscribe = consumer("S subscribe")
        .scope(scope)
        .with("messaging.system", "gcp_pubsub")
        .with("messaging.destination.name", "S");
    is(
        &subscribe,
        "gcp_pubsub",
        Operation::Receive,
        Some("S"),
        None,
    );
    let process = sent(SpanKind::Internal, "S process").scope(scope);
    is(&process, "gcp_pubsub", Operation::Process, Some("S"), None);
    assert!(process.messaging().duration_is_work);
    let ack = client("S ack")
        .scope(scope)
        .with("messaging.system", "gcp_pubsub")
        .with("messaging.operation", "ack");
    is(&ack, "gcp_pubsub", Operation::Settle, None, None);
}

#[test]
fn pulsar_partitions_leave_the_topic_name() {
    let of = |name: &str| {
        let messaging = consumer("x process")
            .with("messaging.system", "pulsar")
            .with("messaging.operation", "process")
            .with("messaging.destination.name", name)
            .messaging();
        (
            messaging.destination.unwrap().to_string(),
            messaging.partition,
        )
    };
    assert_eq!(
        of("persistent://t/ns/T-partition-3"),
        ("persistent://t/ns/T".into(), Some(3))
    );
    assert_eq!(
        of("persistent://t/ns/T-partition-3-S-DLQ"),
        ("persistent://t/ns/T-S-DLQ".into(), Some(3))
    );
    assert_eq!(
        of("persistent://t/ns/T"),
        ("persistent://t/ns/T".into(), None)
    );
    assert_eq!(of("T-partition-key"), ("T-partition-key".into(), None));
}

#[test]
fn nats_plumbing_is_no_topic_and_an_acknowledgement_names_the_durable_consumer() {
    let of = |name: &str| {
        producer("x publish")
            .with("messaging.system", "nats")
            .with("messaging.destination.name", name)
    };
    is(
        &of("orders.new"),
        "nats",
        Operation::Send,
        Some("orders.new"),
        None,
    );
    for plumbing in [
        "$JS.API.CONSUMER.MSG.NEXT.s.c",
        "_INBOX.abc.1",
        "(temporary)",
    ] {
        is(&of(plumbing), "nats", Operation::Send, None, None);
    }
    is(
        &of("$JS.ACK.STREAM.worker.1.10.10.1700000000000000000.0"),
        "nats",
        Operation::Settle,
        None,
        Some("worker"),
    );
    is(
        &of("$JS.ACK.hub.acc.STREAM.worker.1.10.10.1700000000000000000.0"),
        "nats",
        Operation::Settle,
        None,
        Some("worker"),
    );
    is(&of("$JS.ACK."), "nats", Operation::Settle, None, None);
}

#[test]
fn temporary_queues_are_one_destination() {
    let jms = |name: &str| {
        consumer("x process")
            .with("messaging.system", "jms")
            .with("messaging.operation", "process")
            .with("messaging.destination.name", name)
    };
    is(
        &jms("0190b5a2-1111-4222-8333-444455556666"),
        "jms",
        Operation::Process,
        Some("(temporary)"),
        None,
    );
    is(
        &jms("orders"),
        "jms",
        Operation::Process,
        Some("orders"),
        None,
    );
    let flagged = jms("anything").with("messaging.destination.temporary", true);
    is(
        &flagged,
        "jms",
        Operation::Process,
        Some("(temporary)"),
        None,
    );
    // pika sets the old key on every producer span.
    let pika = producer("X send")
        .with("messaging.system", "rabbitmq")
        .with("messaging.destination", "X")
        .with("messaging.temp_destination", true);
    is(&pika, "rabbitmq", Operation::Send, Some("X"), None);
}

#[test]
fn celery_and_azure_are_known_without_a_system() {
    let celery = consumer("run/tasks.add")
        .scope("opentelemetry.instrumentation.celery")
        .with("messaging.destination", "celery")
        .with("messaging.message.id", "task-1");
    is(&celery, "celery", Operation::Process, Some("celery"), None);
    let azure = consumer("ServiceBus.process")
        .with("az.namespace", "Microsoft.ServiceBus")
        .with("message_bus.destination", "q")
        .with("peer.address", "ns.servicebus.windows.net");
    is(&azure, "servicebus", Operation::Process, Some("q"), None);
    assert_eq!(
        azure.messaging().cluster.address.as_deref(),
        Some("ns.servicebus.windows.net")
    );
}

#[test]
fn redis_streams_are_database_spans() {
    client("XADD")
        .with("db.system", "redis")
        .with("db.statement", "XADD s * k ?")
        .is_no_hop();
}
