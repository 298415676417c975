//! Real dead letters of the fixtures, and a source over records in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use highwater_model::UnixNanos;
use serde_json::Value;

use crate::record::{RecordSource, SourceError, SourcePage, SourceRecord};

pub(crate) fn header(name: &str, value: &[u8]) -> (String, Option<Vec<u8>>) {
    (name.to_owned(), Some(value.to_vec()))
}

fn load(file: &str) -> Vec<(String, SourceRecord)> {
    let path = format!("{}/../../tests/fixtures/{file}", env!("CARGO_MANIFEST_DIR"));
    let bytes = |value: &Value| value.as_str().map(|text| STANDARD.decode(text).unwrap());
    std::fs::read_to_string(&path)
        .unwrap()
        .lines()
        .map(|line| {
            let record: Value = serde_json::from_str(line).unwrap();
            let headers = record["headers"].as_array().unwrap();
            let decoded = SourceRecord {
                partition: i32::try_from(record["partition"].as_i64().unwrap()).unwrap(),
                offset: record["offset"].as_i64().unwrap(),
                timestamp: record["timestamp"].as_i64().map(UnixNanos::from_millis),
                timestamp_type: Some("create_time"),
                key: bytes(&record["key"]),
                value: bytes(&record["value"]),
                headers: headers
                    .iter()
                    .map(|h| (h["name"].as_str().unwrap().to_owned(), bytes(&h["value"])))
                    .collect(),
            };
            (record["topic"].as_str().unwrap().to_owned(), decoded)
        })
        .collect()
}

/// Records of Spring Kafka: `orders-dlt`, `payments-dlt`, `payments-retry-400`, `payments-retry-800`.
pub(crate) fn all_spring() -> Vec<(String, SourceRecord)> {
    load("spring-dlt-and-retry.jsonl")
}

/// Records of Kafka Connect: `connect.dlq`.
pub(crate) fn all_connect() -> Vec<(String, SourceRecord)> {
    load("connect-dlq.jsonl")
}

pub(crate) fn spring(topic: &str, partition: i32, offset: i64) -> SourceRecord {
    all_spring()
        .into_iter()
        .find(|(t, r)| t == topic && (r.partition, r.offset) == (partition, offset))
        .unwrap()
        .1
}

pub(crate) fn connect(index: usize) -> SourceRecord {
    all_connect().swap_remove(index).1
}

/// Topics in memory. Gives at most `cap` records a read, as a source with a cap on bytes does.
#[derive(Default)]
pub(crate) struct Memory {
    records: Mutex<BTreeMap<(String, i32), Vec<SourceRecord>>>,
    pub(crate) cap: Option<usize>,
    pub(crate) reads: AtomicUsize,
    pub(crate) broken: Mutex<Option<&'static str>>,
}

impl Memory {
    pub(crate) fn with(records: impl IntoIterator<Item = (String, SourceRecord)>) -> Self {
        let memory = Self::default();
        for (topic, record) in records {
            memory.push(&topic, record);
        }
        memory
    }

    pub(crate) fn push(&self, topic: &str, record: SourceRecord) {
        let mut records = self.records.lock().unwrap();
        let partition = records
            .entry((topic.to_owned(), record.partition))
            .or_default();
        partition.push(record);
        partition.sort_by_key(|record| record.offset);
    }

    fn check(&self) -> Result<(), SourceError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        match *self.broken.lock().unwrap() {
            Some(reason) => Err(SourceError {
                reason: reason.into(),
            }),
            None => Ok(()),
        }
    }
}

impl RecordSource for Memory {
    fn read_before(
        &self,
        topic: &str,
        partition: i32,
        before: Option<i64>,
        limit: usize,
    ) -> Result<SourcePage, SourceError> {
        self.check()?;
        let all = self.records.lock().unwrap();
        let below: Vec<&SourceRecord> = all
            .get(&(topic.to_owned(), partition))
            .into_iter()
            .flatten()
            .rev()
            .filter(|record| before.is_none_or(|before| record.offset < before))
            .collect();
        let records: Vec<SourceRecord> = below
            .iter()
            .take(limit.min(self.cap.unwrap_or(usize::MAX)))
            .map(|record| (*record).clone())
            .collect();
        let next = (records.len() < below.len())
            .then(|| records.last().map(|record| record.offset))
            .flatten();
        Ok(SourcePage { records, next })
    }

    fn oldest(&self, topic: &str, partition: i32) -> Result<Option<SourceRecord>, SourceError> {
        self.check()?;
        let all = self.records.lock().unwrap();
        let partition = all.get(&(topic.to_owned(), partition));
        Ok(partition.and_then(|records| records.first()).cloned())
    }
}
