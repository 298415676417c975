//! What each framework writes into the headers of a dead letter.
//!
//! Numbers are four or eight bytes big-endian under the names known to use that, shorter big-endian under Spring's
//! retry names, and ASCII digits everywhere else. Headers repeat when a record fails again further on: the **first**
//! original is the origin, the **last** the latest hop, and the last error the one that brought it here.

use highwater_model::UnixNanos;

use crate::cause::{in_stack_trace, is_wrapper, normalise_message};
use crate::payload::{cut, hex_text, printable};

/// Text of a header is cut here.
const MAX_HEADER_TEXT: usize = 16 * 1024;
/// Headers shown; the rest are counted.
const MAX_HEADERS: usize = 256;
/// A header's name is cut here.
const MAX_NAME: usize = 512;
/// Names of topics, groups and classes are cut here; Kafka's own limit for topics is 249.
const MAX_WORD: usize = 512;

/// Who wrote the dead-letter headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Framework {
    /// Spring Kafka's `DeadLetterPublishingRecoverer`: `kafka_dlt-*`.
    Spring,
    /// Spring Kafka's `@RetryableTopic`: `retry_topic-*`, `kafka_original-*`.
    SpringRetry,
    /// Kafka Connect: `__connect.errors.*`.
    Connect,
    /// Kafka Streams (KIP-1034): `__streams.errors.*`.
    Streams,
    /// Share groups (KIP-1191): `__dlq.errors.*`.
    ShareGroup,
    /// SmallRye Reactive Messaging (Quarkus): `dead-letter-*`.
    SmallRye,
    /// Watermill: `*_poisoned`.
    Watermill,
    /// Somebody's own: `x-original-*`, `x-error*`, `x-exception-*`.
    AdHoc,
}

impl Framework {
    /// The word the API uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spring => "spring",
            Self::SpringRetry => "spring_retry",
            Self::Connect => "connect",
            Self::Streams => "streams",
            Self::ShareGroup => "share_group",
            Self::SmallRye => "smallrye",
            Self::Watermill => "watermill",
            Self::AdHoc => "ad_hoc",
        }
    }
}

/// Where a record was when it failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hop {
    /// Topic.
    pub topic: Option<String>,
    /// Partition.
    pub partition: Option<i32>,
    /// Offset.
    pub offset: Option<i64>,
    /// When the record was written there.
    pub timestamp: Option<UnixNanos>,
    /// The group that gave up.
    pub group: Option<String>,
}

/// Why a record died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError {
    /// The class to group by: the cause under the wrappers; the folded message where headers name no class.
    pub cause: String,
    /// The outer class.
    pub class: Option<String>,
    /// What the cause said, else what the framework said.
    pub message: Option<String>,
    /// At most 16 KiB.
    pub stack_trace: Option<String>,
}

/// What a record's headers tell, all frameworks read into one vocabulary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Analysis {
    /// Who wrote the headers of the latest failure; `None` when nobody known did.
    pub framework: Option<Framework>,
    /// Where it came from in the first place.
    pub origin: Option<Hop>,
    /// Where it was last, when that is not the origin.
    pub latest_hop: Option<Hop>,
    /// Attempts made, where headers tell.
    pub attempts: Option<u32>,
    /// Why it died.
    pub error: Option<RecordError>,
}

/// How a header's bytes were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderEncoding {
    /// UTF-8.
    Text,
    /// Four bytes big-endian.
    Int32,
    /// Eight bytes big-endian.
    Int64,
    /// One to eight bytes big-endian, two's complement.
    BigInteger,
    /// Anything else.
    Hex,
    /// No value at all.
    Null,
}

impl HeaderEncoding {
    /// The word the API uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::BigInteger => "big_integer",
            Self::Hex => "hex",
            Self::Null => "null",
        }
    }
}

/// A header for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedHeader {
    /// Its name, at most 512 bytes.
    pub name: String,
    /// How it was read.
    pub encoding: HeaderEncoding,
    /// At most 16 KiB.
    pub text: String,
}

/// A header as it is read: name, and bytes or null.
pub(crate) type Header = (String, Option<Vec<u8>>);

/// Decodes headers for people, at most 256; also returns how many were left out.
#[must_use]
pub fn decode_headers(headers: &[Header]) -> (Vec<DecodedHeader>, u32) {
    let decoded = headers
        .iter()
        .take(MAX_HEADERS)
        .map(|(name, value)| {
            let (encoding, text) = match value {
                None => (HeaderEncoding::Null, String::new()),
                Some(bytes) => decode_value(name, bytes),
            };
            DecodedHeader {
                name: cut(name, MAX_NAME).0.to_owned(),
                encoding,
                text,
            }
        })
        .collect();
    let omitted = headers.len().saturating_sub(MAX_HEADERS);
    (decoded, u32::try_from(omitted).unwrap_or(u32::MAX))
}

fn decode_value(name: &str, bytes: &[u8]) -> (HeaderEncoding, String) {
    if let Some(encoding) = binary_encoding(name, bytes.len())
        && let Some(number) = big_endian(bytes)
    {
        return (encoding, number.to_string());
    }
    match printable(bytes) {
        Some(text) => (
            HeaderEncoding::Text,
            cut(text, MAX_HEADER_TEXT).0.to_owned(),
        ),
        None => (HeaderEncoding::Hex, hex_text(bytes, MAX_HEADER_TEXT).0),
    }
}

/// The binary form that a header of this name and length has; `None` when it is text or of the wrong length.
fn binary_encoding(name: &str, len: usize) -> Option<HeaderEncoding> {
    match name {
        "kafka_dlt-original-partition"
        | "kafka_original-partition"
        | "retry_topic-attempts"
        | "kafka_deliveryAttempt" => (len == 4).then_some(HeaderEncoding::Int32),
        "kafka_dlt-original-offset"
        | "kafka_dlt-original-timestamp"
        | "kafka_original-offset"
        | "kafka_original-timestamp" => (len == 8).then_some(HeaderEncoding::Int64),
        "retry_topic-backoff-timestamp" | "retry_topic-original-timestamp" => {
            (1..=8).contains(&len).then_some(HeaderEncoding::BigInteger)
        }
        _ => None,
    }
}

/// One to eight bytes, big-endian, two's complement.
fn big_endian(bytes: &[u8]) -> Option<i64> {
    if bytes.is_empty() || bytes.len() > 8 {
        return None;
    }
    let sign = if bytes[0] & 0x80 == 0 { 0_i64 } else { -1 };
    Some(
        bytes
            .iter()
            .fold(sign, |number, byte| (number << 8) | i64::from(*byte)),
    )
}

/// A number under any name: binary where the name says so, else decimal digits.
fn number(name: &str, bytes: &[u8]) -> Option<i64> {
    if binary_encoding(name, bytes.len()).is_some() {
        return big_endian(bytes);
    }
    std::str::from_utf8(bytes).ok()?.trim().parse().ok()
}

/// Which field of an [`Analysis`] a header fills.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Field {
    Topic,
    Partition,
    Offset,
    Timestamp,
    Group,
    Connector,
    /// The attempt that comes next: one more than were made.
    NextAttempt,
    Attempts,
    Class,
    CauseClass,
    Message,
    CauseMessage,
    StackTrace,
    /// Shows the framework, fills nothing.
    Mark,
}

/// Reads a header's name: who writes it, and what it says.
fn field(name: &str) -> Option<(Framework, Field)> {
    use Field::{
        Attempts, CauseClass, CauseMessage, Class, Connector, Group, Mark, Message, NextAttempt,
        Offset, Partition, StackTrace, Timestamp, Topic,
    };
    let original = |rest: &str| match rest {
        "topic" => Topic,
        "partition" => Partition,
        "offset" => Offset,
        "timestamp" => Timestamp,
        "consumer-group" => Group,
        _ => Mark,
    };
    let exception = |rest: &str| match rest {
        "fqcn" => Class,
        "cause-fqcn" => CauseClass,
        "message" => Message,
        "stacktrace" => StackTrace,
        _ => Mark,
    };
    if let Some(rest) = name.strip_prefix("kafka_dlt-") {
        let field = if let Some(rest) = rest.strip_prefix("original-") {
            original(rest)
        } else if let Some(rest) = rest
            .strip_prefix("exception-")
            .or_else(|| rest.strip_prefix("key-exception-"))
        {
            exception(rest)
        } else {
            return None;
        };
        return Some((Framework::Spring, field));
    }
    if let Some(rest) = name.strip_prefix("kafka_original-") {
        return Some((Framework::SpringRetry, original(rest)));
    }
    if let Some(rest) = name
        .strip_prefix("kafka_exception-")
        .or_else(|| name.strip_prefix("kafka_key-exception-"))
    {
        return Some((Framework::SpringRetry, exception(rest)));
    }
    if let Some(rest) = name.strip_prefix("retry_topic-") {
        let field = if rest == "attempts" {
            NextAttempt
        } else {
            Mark
        };
        return Some((Framework::SpringRetry, field));
    }
    if name == "kafka_deliveryAttempt" {
        return Some((Framework::Spring, Attempts));
    }
    if let Some(rest) = name.strip_prefix("__connect.errors.") {
        let field = match rest {
            "topic" => Topic,
            "partition" => Partition,
            "offset" => Offset,
            "connector.name" => Connector,
            "exception.class.name" => Class,
            "exception.message" => Message,
            "exception.stacktrace" => StackTrace,
            _ => Mark,
        };
        return Some((Framework::Connect, field));
    }
    if let Some(rest) = name.strip_prefix("__streams.errors.") {
        let field = match rest {
            "topic" => Topic,
            "partition" => Partition,
            "offset" => Offset,
            "exception" => Class,
            "message" => Message,
            "stacktrace" => StackTrace,
            _ => Mark,
        };
        return Some((Framework::Streams, field));
    }
    if let Some(rest) = name.strip_prefix("__dlq.errors.") {
        let field = match rest {
            "topic" => Topic,
            "partition" => Partition,
            "offset" => Offset,
            "group" => Group,
            "delivery.count" => Attempts,
            "message" => Message,
            _ => Mark,
        };
        return Some((Framework::ShareGroup, field));
    }
    if let Some(rest) = name.strip_prefix("dead-letter-") {
        let field = match rest {
            "topic" => Topic,
            "partition" => Partition,
            "offset" => Offset,
            "exception-class-name" => Class,
            "cause-class-name" => CauseClass,
            "reason" => Message,
            "cause" => CauseMessage,
            _ => return None,
        };
        return Some((Framework::SmallRye, field));
    }
    match name {
        "reason_poisoned" => return Some((Framework::Watermill, Message)),
        "topic_poisoned" => return Some((Framework::Watermill, Topic)),
        "handler_poisoned" | "subscriber_poisoned" => return Some((Framework::Watermill, Mark)),
        _ => {}
    }
    ad_hoc(name).map(|field| (Framework::AdHoc, field))
}

/// Names that people choose for themselves, in any case.
fn ad_hoc(name: &str) -> Option<Field> {
    if name.len() > 64 || !name.get(..2)?.eq_ignore_ascii_case("x-") {
        return None;
    }
    let lower = name.to_ascii_lowercase();
    Some(match &lower["x-".len()..] {
        "original-topic" => Field::Topic,
        "original-partition" => Field::Partition,
        "original-offset" => Field::Offset,
        "original-timestamp" => Field::Timestamp,
        "original-group" | "original-consumer-group" => Field::Group,
        "exception-class"
        | "exception-type"
        | "exception-fqcn"
        | "exception-class-name"
        | "error-class"
        | "error-type" => Field::Class,
        "exception-cause-fqcn" | "exception-cause-class" => Field::CauseClass,
        "error" | "error-message" | "error-reason" | "exception-message" => Field::Message,
        "exception-stacktrace"
        | "exception-stack-trace"
        | "error-stacktrace"
        | "error-stack-trace"
        | "error-stack" => Field::StackTrace,
        rest if rest.starts_with("error") || rest.starts_with("exception-") => Field::Mark,
        _ => return None,
    })
}

/// Where the headers of one framework begin and end, and the fields they fill.
struct Found<'a> {
    framework: Framework,
    first: usize,
    last: usize,
    fields: Vec<(Field, &'a str, &'a [u8])>,
}

/// Takes a field's first or last header: its name and bytes.
type Pick<'a> = fn(&Found<'a>, Field) -> Option<(&'a str, &'a [u8])>;

impl<'a> Found<'a> {
    fn first(&self, field: Field) -> Option<(&'a str, &'a [u8])> {
        let found = self.fields.iter().find(|(f, ..)| *f == field);
        found.map(|(_, name, bytes)| (*name, *bytes))
    }

    fn last(&self, field: Field) -> Option<(&'a str, &'a [u8])> {
        let found = self.fields.iter().rfind(|(f, ..)| *f == field);
        found.map(|(_, name, bytes)| (*name, *bytes))
    }

    fn count(&self, field: Field) -> usize {
        self.fields.iter().filter(|(f, ..)| *f == field).count()
    }

    /// Where the record was, from the first headers or the last.
    fn hop(&self, pick: Pick<'a>) -> Hop {
        let int = |field| pick(self, field).and_then(|(name, bytes)| number(name, bytes));
        let group = pick(self, Field::Group)
            .and_then(|(_, bytes)| word(bytes))
            // A connector's consumer group is named after it.
            .or_else(|| {
                let (_, bytes) = pick(self, Field::Connector)?;
                Some(format!("connect-{}", word(bytes)?))
            });
        Hop {
            topic: pick(self, Field::Topic).and_then(|(_, bytes)| word(bytes)),
            partition: int(Field::Partition)
                .and_then(|n| i32::try_from(n).ok())
                .filter(|n| *n >= 0),
            offset: int(Field::Offset).filter(|n| *n >= 0),
            timestamp: int(Field::Timestamp)
                .filter(|n| *n > 0)
                .map(UnixNanos::from_millis),
            group,
        }
    }
}

/// A short name; `None` when empty or no text.
fn word(bytes: &[u8]) -> Option<String> {
    let text = printable(bytes)?.trim();
    (!text.is_empty()).then(|| cut(text, MAX_WORD).0.to_owned())
}

/// A message or stack trace; what is no UTF-8 is replaced, since a person may still read the rest.
fn prose(bytes: &[u8]) -> Option<String> {
    let bytes = &bytes[..bytes.len().min(MAX_HEADER_TEXT)];
    let text = String::from_utf8_lossy(bytes);
    let text = cut(text.trim(), MAX_HEADER_TEXT).0;
    (!text.is_empty()).then(|| text.to_owned())
}

/// Reads origin, latest hop, attempts and error out of a record's headers.
///
/// Never fails: a header that is too short, too long or no text is as if it were not there.
#[must_use]
pub fn analyse(headers: &[Header]) -> Analysis {
    let mut found: Vec<Found<'_>> = Vec::new();
    for (index, (name, value)) in headers.iter().enumerate() {
        let Some((framework, field)) = field(name) else {
            continue;
        };
        let at = match found.iter().position(|f| f.framework == framework) {
            Some(at) => at,
            None => {
                found.push(Found {
                    framework,
                    first: index,
                    last: index,
                    fields: Vec::new(),
                });
                found.len() - 1
            }
        };
        found[at].last = index;
        if let Some(bytes) = value {
            found[at].fields.push((field, name, bytes));
        }
    }
    settle_spring(&mut found);
    // Somebody's own names count only where no framework's are.
    if found.len() > 1 {
        found.retain(|f| f.framework != Framework::AdHoc);
    }

    let Some(latest) = found.iter().max_by_key(|f| f.last) else {
        return Analysis::default();
    };
    let with_topic = |f: &&Found<'_>| f.first(Field::Topic).is_some();
    let first = found.iter().filter(with_topic).min_by_key(|f| f.first);
    let last = found.iter().filter(with_topic).max_by_key(|f| f.last);
    let origin = first.unwrap_or(latest).hop(Found::first);
    let latest_hop = last
        .filter(|f| f.count(Field::Topic) > 1 || first.is_some_and(|o| o.framework != f.framework))
        .map(|f| f.hop(Found::last))
        .filter(|hop| *hop != origin);

    Analysis {
        framework: Some(latest.framework),
        origin: (origin != Hop::default()).then_some(origin),
        latest_hop,
        attempts: attempts(latest),
        error: error(latest),
    }
}

/// `@RetryableTopic` writes the group under `kafka_dlt-original-consumer-group`; a delivery attempt alone is no sign of
/// a dead letter.
fn settle_spring(found: &mut Vec<Found<'_>>) {
    let Some(spring) = found.iter().position(|f| f.framework == Framework::Spring) else {
        return;
    };
    let only = |f: &Found<'_>, fields: &[Field]| f.fields.iter().all(|(f, ..)| fields.contains(f));
    let retry = found
        .iter()
        .position(|f| f.framework == Framework::SpringRetry);
    match retry {
        Some(retry)
            if only(
                &found[spring],
                &[Field::Group, Field::Attempts, Field::Mark],
            ) =>
        {
            let fields = std::mem::take(&mut found[spring].fields);
            found[retry].fields.extend(fields);
            found.remove(spring);
        }
        _ if only(&found[spring], &[Field::Attempts]) => {
            found.remove(spring);
        }
        _ => {}
    }
}

fn attempts(found: &Found<'_>) -> Option<u32> {
    let read = |field, less: i64| {
        let (name, bytes) = found.last(field)?;
        let made = number(name, bytes)?.checked_sub(less)?;
        u32::try_from(made).ok().filter(|made| *made > 0)
    };
    read(Field::NextAttempt, 1).or_else(|| read(Field::Attempts, 0))
}

fn error(found: &Found<'_>) -> Option<RecordError> {
    let class = found.last(Field::Class).and_then(|(_, b)| word(b));
    let header_cause = found.last(Field::CauseClass).and_then(|(_, b)| word(b));
    let header_message = found.last(Field::Message).and_then(|(_, b)| prose(b));
    let cause_message = found.last(Field::CauseMessage).and_then(|(_, b)| prose(b));
    let whole_trace = found
        .last(Field::StackTrace)
        .map(|(_, bytes)| String::from_utf8_lossy(bytes));
    let in_trace = whole_trace.as_deref().and_then(in_stack_trace);

    // The framework's word for the cause, unless that is a wrapper itself; then the stack trace's; then the class.
    let named = header_cause.clone().filter(|class| !is_wrapper(class));
    let cause = named
        .or_else(|| {
            let outer = class.as_deref().is_none_or(is_wrapper);
            let cause = in_trace.filter(|_| outer || header_cause.is_some())?;
            Some(cause.class.to_owned())
        })
        .or_else(|| header_cause.clone())
        .or_else(|| class.clone())
        .or_else(|| {
            let message = header_message.as_deref().or(cause_message.as_deref())?;
            Some(normalise_message(message)).filter(|folded| !folded.is_empty())
        });
    let stack_trace = found.last(Field::StackTrace).and_then(|(_, b)| prose(b));
    if cause.is_none() && header_message.is_none() && stack_trace.is_none() {
        return None;
    }
    let cause = cause.unwrap_or_else(|| "unknown".to_owned());
    // What the cause itself said reads better than "Listener method 'public void ...' threw exception".
    let message = in_trace
        .filter(|found| found.class == cause && !found.message.is_empty())
        .map(|found| cut(found.message, MAX_HEADER_TEXT).0.to_owned())
        .or_else(|| cause_message.filter(|_| header_cause.is_some()))
        .or(header_message);
    Some(RecordError {
        cause,
        class,
        message,
        stack_trace,
    })
}

#[cfg(test)]
mod tests;
