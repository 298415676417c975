//! A service's producer: every send has its span, its trace context in the headers, and its line in the book.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use opentelemetry::Context;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::util::Timeout;

use crate::book::{Book, Sent};
use crate::config::Config;
use crate::ledger::Place;
use crate::spring::Header;
use crate::telemetry::{self, Telemetry};

/// What to send.
pub(crate) struct Outgoing<'a> {
    /// The topic's name on the broker.
    pub(crate) topic: &'a str,
    pub(crate) key: &'a str,
    pub(crate) value: &'a [u8],
    /// The order's correlation id.
    pub(crate) order: &'a str,
    /// Other headers; `traceparent` is added.
    pub(crate) headers: Vec<Header>,
}

/// A service's producer.
pub(crate) struct Outlet {
    producer: FutureProducer,
    telemetry: Telemetry,
    book: Arc<Book>,
    service: &'static str,
    client: String,
}

impl Outlet {
    pub(crate) fn new(
        service: &'static str,
        config: &Config,
        telemetry: Telemetry,
        book: Arc<Book>,
    ) -> Result<Outlet> {
        let client = format!("{service}-producer");
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &config.kafka)
            .set("client.id", &client)
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", "2")
            // As Java's clients do, so that a key goes where it would go in most shops.
            .set("partitioner", "murmur2_random")
            // Longer than a broker's restart.
            .set("message.timeout.ms", "120000")
            .create()
            .with_context(|| format!("cannot create the producer of {service}"))?;
        Ok(Outlet {
            producer,
            telemetry,
            book,
            service,
            client,
        })
    }

    /// Sends a record; returns when the broker has acknowledged it, which is also when its span ends.
    pub(crate) async fn send(
        &self,
        parent: &Context,
        record: Outgoing<'_>,
    ) -> Result<Place, KafkaError> {
        let Outgoing {
            topic,
            key,
            value,
            order,
            headers,
        } = record;
        let span = self
            .telemetry
            .start_send(parent, topic, key, order, value.len(), &self.client);
        let mut owned = OwnedHeaders::new_with_capacity(headers.len() + 1);
        for (name, value) in &headers {
            owned = owned.insert(rdkafka::message::Header {
                key: name,
                value: value.as_deref(),
            });
        }
        let traceparent = telemetry::traceparent(&span);
        owned = owned.insert(rdkafka::message::Header {
            key: "traceparent",
            value: Some(&traceparent),
        });
        let record = FutureRecord::to(topic)
            .key(key)
            .payload(value)
            .headers(owned);
        match self.producer.send(record, Timeout::Never).await {
            Ok(delivery) => {
                let place = Place {
                    topic: topic.to_owned(),
                    partition: delivery.partition,
                    offset: delivery.offset,
                };
                telemetry::acknowledged(&span, &place);
                self.book.sent(Sent {
                    order,
                    service: self.service,
                    place: place.clone(),
                });
                Ok(place)
            }
            Err((error, _)) => {
                telemetry::failed(&span, "KafkaError", &error.to_string(), None);
                self.book.send_failed();
                Err(error)
            }
        }
    }

    /// Waits until nothing is under way. Blocks: not for an async thread.
    pub(crate) fn flush(&self, deadline: Duration) {
        if let Err(error) = self.producer.flush(deadline) {
            tracing::warn!(service = self.service, %error, "records are still under way");
        }
    }
}
