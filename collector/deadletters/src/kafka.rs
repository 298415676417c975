//! Kafka's records, as this room reads them.

use std::time::Duration;

use highwater_brokers::{
    BrokerRecord, KafkaRecords, ReadOptions, ReadStop, RecordError, TimestampKind,
};

use crate::record::{RecordSource, SourceError, SourcePage, SourceRecord};

/// One read of one partition may hold this much.
const MAX_BYTES: usize = 8 << 20;
/// A person waits for a page.
const TIMEOUT: Duration = Duration::from_secs(8);

impl RecordSource for KafkaRecords {
    fn read_before(
        &self,
        topic: &str,
        partition: i32,
        before: Option<i64>,
        limit: usize,
    ) -> Result<SourcePage, SourceError> {
        let options = ReadOptions {
            max_records: limit,
            max_bytes: MAX_BYTES,
            timeout: TIMEOUT,
            // A dead letter of an aborted transaction is still to be seen.
            committed_only: false,
        };
        let page = Self::read_before(self, topic, partition, before, options).map_err(reason)?;
        if page.records.is_empty() && page.stop == ReadStop::TimedOut {
            return Err(SourceError {
                reason: format!(
                    "nothing of {topic}/{partition} came within {} s",
                    TIMEOUT.as_secs()
                )
                .into(),
            });
        }
        Ok(SourcePage {
            records: page.records.into_iter().map(SourceRecord::from).collect(),
            next: page.next,
        })
    }

    fn oldest(&self, topic: &str, partition: i32) -> Result<Option<SourceRecord>, SourceError> {
        let options = ReadOptions {
            max_records: 1,
            max_bytes: MAX_BYTES,
            timeout: TIMEOUT,
            committed_only: false,
        };
        let page = self
            .read(topic, partition, 0, None, options)
            .map_err(reason)?;
        Ok(page.records.into_iter().next().map(SourceRecord::from))
    }
}

impl From<BrokerRecord> for SourceRecord {
    fn from(record: BrokerRecord) -> Self {
        Self {
            partition: record.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            timestamp_type: match record.timestamp_kind {
                TimestampKind::CreateTime => Some("create_time"),
                TimestampKind::LogAppendTime => Some("log_append_time"),
                TimestampKind::NotAvailable => None,
            },
            key: record.key,
            value: record.value,
            headers: record.headers,
        }
    }
}

fn reason(error: RecordError) -> SourceError {
    SourceError {
        reason: error.to_string().into(),
    }
}
