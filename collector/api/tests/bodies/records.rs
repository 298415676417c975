//! The dead letters of the capture as a broker would give them back.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use highwater_deadletters::{RecordSource, SourceError, SourcePage, SourceRecord};
use highwater_model::UnixNanos;
use serde_json::Value;

/// Records in memory, by topic; a topic that has none here is one whose broker does not answer.
pub(crate) struct Memory(Vec<(String, SourceRecord)>);

impl Memory {
    /// Reads the records of the capture's dead-letter topics. Long values are left out of the file and are null here.
    pub(crate) fn of_capture(path: &Path) -> Self {
        let bytes = |value: &Value| value.as_str().map(|text| STANDARD.decode(text).unwrap());
        let header = |header: &Value| {
            let value = match header["text"].as_str() {
                Some(text) => Some(text.as_bytes().to_vec()),
                None => bytes(&header["value"]),
            };
            (header["name"].as_str().unwrap().to_owned(), value)
        };
        let record = |record: &Value| SourceRecord {
            partition: i32::try_from(record["partition"].as_i64().unwrap()).unwrap(),
            offset: record["offset"].as_i64().unwrap(),
            timestamp: record["timestamp"].as_i64().map(UnixNanos::from_millis),
            timestamp_type: Some("create_time"),
            key: bytes(&record["key"]),
            value: bytes(&record["value"]),
            headers: record["headers"]
                .as_array()
                .unwrap()
                .iter()
                .map(header)
                .collect(),
        };
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut records: Vec<(String, SourceRecord)> = lines
            .map(|line| (line["topic"].as_str().unwrap().to_owned(), record(&line)))
            .filter(|(topic, _)| topic.ends_with("-dlt"))
            .collect();
        records.sort_by_key(|(_, record)| record.offset);
        Self(records)
    }

    /// Those of a partition, oldest first.
    fn of(&self, topic: &str, partition: i32) -> Result<Vec<&SourceRecord>, SourceError> {
        if !self.0.iter().any(|(known, _)| known == topic) {
            return Err(SourceError {
                reason: "The broker did not answer in 10 s.".into(),
            });
        }
        let wanted = |(known, record): &&(String, SourceRecord)| {
            known == topic && record.partition == partition
        };
        Ok(self.0.iter().filter(wanted).map(|(_, r)| r).collect())
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
        let mut below = self.of(topic, partition)?;
        below.retain(|record| before.is_none_or(|before| record.offset < before));
        let more = below.len() > limit;
        let records: Vec<SourceRecord> = below.into_iter().rev().take(limit).cloned().collect();
        let next = records.last().filter(|_| more).map(|oldest| oldest.offset);
        Ok(SourcePage { records, next })
    }

    fn oldest(&self, topic: &str, partition: i32) -> Result<Option<SourceRecord>, SourceError> {
        Ok(self.of(topic, partition)?.first().copied().cloned())
    }
}
