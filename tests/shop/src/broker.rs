//! What the shop asks the broker for: topics, its identity, committed offsets.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::config::Config;
use crate::ledger::Committed;
use crate::plan;
use crate::telemetry::Broker;

const PATIENCE: Duration = Duration::from_secs(20);

/// Creates the topics that are not there yet, and returns who the broker is.
pub(crate) async fn prepare(config: &Config) -> Result<Broker> {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &config.kafka)
        .set("client.id", "shop-admin")
        .create()
        .context("cannot create an admin client")?;
    let names: Vec<(String, i32)> = plan::TOPICS
        .iter()
        .map(|topic| (config.named(topic.name), topic.partitions))
        .collect();
    let topics: Vec<NewTopic<'_>> = names
        .iter()
        .map(|(name, partitions)| NewTopic::new(name, *partitions, TopicReplication::Fixed(1)))
        .collect();
    let options = AdminOptions::new()
        .operation_timeout(Some(PATIENCE))
        .request_timeout(Some(PATIENCE));
    let made = admin
        .create_topics(&topics, &options)
        .await
        .with_context(|| format!("cannot create topics on {}", config.kafka))?;
    for topic in made {
        match topic {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, error)) => bail!("cannot create topic {name}: {error}"),
        }
    }
    let cluster_id =
        tokio::task::spawn_blocking(move || admin.inner().fetch_cluster_id(PATIENCE)).await?;
    Ok(Broker::new(&config.kafka, cluster_id))
}

/// Asks the broker what each group has committed. Blocks: not for an async thread.
pub(crate) fn committed(
    config: &Config,
    ends: &BTreeMap<(String, i32), i64>,
) -> Result<Vec<Committed>> {
    let mut rows = Vec::new();
    for group in plan::GROUPS {
        let name = config.named(group.name);
        // It never subscribes, so it asks without being a member.
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &config.kafka)
            .set("group.id", &name)
            .create()
            .with_context(|| format!("cannot ask about group {name}"))?;
        let mut partitions = TopicPartitionList::new();
        for topic in group.topics {
            partitions.add_partition_range(&config.named(topic.name), 0, topic.partitions - 1);
        }
        let offsets = consumer
            .committed_offsets(partitions, PATIENCE)
            .with_context(|| format!("cannot read the committed offsets of {name}"))?;
        rows.extend(offsets.elements().iter().map(|element| {
            Committed {
                group: name.clone(),
                topic: element.topic().to_owned(),
                partition: element.partition(),
                offset: match element.offset() {
                    Offset::Offset(offset) => Some(offset),
                    _ => None,
                },
                end: ends
                    .get(&(element.topic().to_owned(), element.partition()))
                    .copied(),
            }
        }));
    }
    Ok(rows)
}
