//! Dead letters.

use crate::{Instant, Level, wire};

wire! {
    /// `GET /api/v1/dead-letters`.
    pub struct DeadLetters {
        /// Deepest first.
        pub topics: Vec<DeadLetterTopic>,
    }

    /// A dead-letter topic.
    pub struct DeadLetterTopic {
        /// The cluster.
        pub cluster: String,
        /// The topic.
        pub topic: String,
        /// `mapping`, `topic_config`, `headers`, `name`.
        pub recognised_by: String,
        /// Topics its records came from, by name or headers.
        pub origin_topics: Vec<String>,
        /// Groups its records were given up by.
        pub groups: Vec<String>,
        /// sum(end - log start); null unknown.
        pub retained: Option<u64>,
        /// Not yet sent back; null until there is a ledger.
        pub undriven: Option<u64>,
        /// Without a decision; null until there is triage.
        pub untriaged: Option<u64>,
        /// Arrivals an hour over the last 5 minutes, from offsets.
        pub arrivals_per_hour: Option<f64>,
        /// Timestamp of the oldest kept record.
        pub oldest_at: Option<Instant>,
        /// Timestamp of the newest.
        pub newest_at: Option<Instant>,
        /// Error classes of the newest records (up to 200), most frequent first.
        pub causes: Vec<CauseCount>,
        /// When its offsets were read.
        pub read_at: Option<Instant>,
        /// Why something above is unknown.
        pub reason: Option<String>,
        /// Colour.
        pub level: Level,
    }

    /// An error class and how often.
    pub struct CauseCount {
        /// The cause's class; `unknown` where headers tell none.
        pub cause: String,
        /// Records.
        pub count: u64,
        /// Out of how many sampled.
        pub sampled: u64,
    }

    /// `GET /api/v1/dead-letters/{cluster}/{topic}/records`.
    pub struct Records {
        /// Newest first.
        pub records: Vec<Record>,
        /// Pass back for the next page; null at the end.
        pub next_cursor: Option<String>,
        /// Records kept in the topic.
        pub retained: Option<u64>,
    }

    /// A record.
    pub struct Record {
        /// Partition.
        pub partition: i32,
        /// Offset.
        pub offset: i64,
        /// Its timestamp; for Spring that of the failure.
        pub timestamp: Option<Instant>,
        /// `create_time`, `log_append_time`.
        pub timestamp_type: Option<String>,
        /// Key; null when none.
        pub key: Option<Payload>,
        /// Value; null for a tombstone.
        pub value: Option<Payload>,
        /// Headers in order, repeats kept.
        pub headers: Vec<Header>,
        /// `spring`, `spring_retry`, `connect`, `streams`, `share_group`, `smallrye`, `watermill`, `ad_hoc`; null when none is known.
        pub framework: Option<String>,
        /// Where it came from.
        pub origin: Option<Origin>,
        /// Why it died.
        pub error: Option<RecordError>,
        /// Its trace.
        pub trace: Option<RecordTrace>,
    }

    /// Bytes, decoded.
    pub struct Payload {
        /// `json`, `text`, `hex`.
        #[serde(rename = "as")]
        pub encoding: String,
        /// As text, at most 64 KiB; JSON is indented.
        pub text: String,
        /// Bytes in the record.
        pub bytes: u64,
        /// The text was cut.
        pub truncated: bool,
    }

    /// A header, decoded.
    pub struct Header {
        /// Name.
        pub name: String,
        /// `text`, `int32`, `int64`, `big_integer`, `hex`, `null` (no value).
        #[serde(rename = "as")]
        pub encoding: String,
        /// As text, at most 16 KiB.
        pub text: String,
    }

    /// Where a dead letter came from.
    pub struct Origin {
        /// Topic.
        pub topic: Option<String>,
        /// Partition.
        pub partition: Option<i32>,
        /// Offset.
        pub offset: Option<i64>,
        /// When the original was written.
        pub timestamp: Option<Instant>,
        /// The group that gave up.
        pub group: Option<String>,
        /// Attempts made, where headers tell.
        pub attempts: Option<u32>,
    }

    /// Why a record died.
    pub struct RecordError {
        /// The class to group by: the cause where there is one.
        pub cause: String,
        /// The outer class.
        pub class: Option<String>,
        /// Message.
        pub message: Option<String>,
        /// Stack trace, at most 16 KiB.
        pub stack_trace: Option<String>,
    }

    /// A record's trace.
    pub struct RecordTrace {
        /// The trace.
        pub trace_id: String,
        /// The span to open at.
        pub span_id: Option<String>,
        /// `origin_offset`, `traceparent`.
        pub found_by: String,
        /// The trace is in the store.
        pub stored: bool,
    }
}
