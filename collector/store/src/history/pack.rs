//! Samples of one poll, packed: of a group, or of a topic.

use crate::block::Corrupt;
use crate::block::bytes::{Reader, put, put_signed};

const VERSION: u8 = 1;

/// A group's partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct GroupSample {
    /// Number of the topic in `lag_source`.
    pub(super) topic: i64,
    pub(super) partition: i32,
    pub(super) committed: Option<i64>,
    pub(super) time_lag_ms: Option<u64>,
    pub(super) state: u8,
}

/// A topic's partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TopicSample {
    pub(super) partition: i32,
    pub(super) end: Option<i64>,
    pub(super) log_start: Option<i64>,
}

/// Packs the samples of a group, which stand by topic and partition.
pub(super) fn group(samples: &[GroupSample]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + samples.len() * 8);
    out.push(VERSION);
    let (mut topic, mut committed) = (0, 0);
    for sample in samples {
        put_signed(&mut out, sample.topic - topic);
        put_signed(&mut out, sample.partition.into());
        let known =
            u8::from(sample.committed.is_some()) | u8::from(sample.time_lag_ms.is_some()) << 1;
        out.extend([sample.state, known]);
        if let Some(value) = sample.committed {
            put_signed(&mut out, value.wrapping_sub(committed));
            committed = value;
        }
        if let Some(value) = sample.time_lag_ms {
            put(&mut out, value);
        }
        topic = sample.topic;
    }
    out
}

pub(super) fn read_group(bytes: &[u8]) -> Result<Vec<GroupSample>, Corrupt> {
    let mut reader = begin(bytes)?;
    let (mut topic, mut committed) = (0_i64, 0_i64);
    let mut samples = Vec::new();
    while !reader.is_empty() {
        topic = topic.wrapping_add(reader.signed()?);
        let partition = partition(&mut reader)?;
        let [state, known] = reader.array()?;
        let mut sample = GroupSample {
            topic,
            partition,
            committed: None,
            time_lag_ms: None,
            state,
        };
        if known & 1 != 0 {
            committed = committed.wrapping_add(reader.signed()?);
            sample.committed = Some(committed);
        }
        if known & 2 != 0 {
            sample.time_lag_ms = Some(reader.number()?);
        }
        samples.push(sample);
    }
    Ok(samples)
}

/// Packs the samples of a topic, which stand by partition.
pub(super) fn topic(samples: &[TopicSample]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + samples.len() * 8);
    out.push(VERSION);
    for sample in samples {
        put_signed(&mut out, sample.partition.into());
        out.push(u8::from(sample.end.is_some()) | u8::from(sample.log_start.is_some()) << 1);
        if let Some(end) = sample.end {
            put_signed(&mut out, end);
        }
        if let Some(log_start) = sample.log_start {
            // What is retained is a smaller number than where it starts.
            put_signed(&mut out, sample.end.unwrap_or(0).wrapping_sub(log_start));
        }
    }
    out
}

pub(super) fn read_topic(bytes: &[u8]) -> Result<Vec<TopicSample>, Corrupt> {
    let mut reader = begin(bytes)?;
    let mut samples = Vec::new();
    while !reader.is_empty() {
        let mut sample = TopicSample {
            partition: partition(&mut reader)?,
            end: None,
            log_start: None,
        };
        let known = reader.byte()?;
        if known & 1 != 0 {
            sample.end = Some(reader.signed()?);
        }
        if known & 2 != 0 {
            sample.log_start = Some(sample.end.unwrap_or(0).wrapping_sub(reader.signed()?));
        }
        samples.push(sample);
    }
    Ok(samples)
}

fn begin(bytes: &[u8]) -> Result<Reader<'_>, Corrupt> {
    let mut reader = Reader::new(bytes);
    match reader.byte()? {
        VERSION => Ok(reader),
        _ => Err(Corrupt("samples have an unknown version")),
    }
}

fn partition(reader: &mut Reader<'_>) -> Result<i32, Corrupt> {
    i32::try_from(reader.signed()?).map_err(|_| Corrupt("a partition's number is too large"))
}

#[cfg(test)]
mod tests {
    use super::{GroupSample, TopicSample, group, read_group, read_topic, topic};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn samples_come_back(
            groups in prop::collection::vec((0_i64..9, any::<i32>(), any::<Option<i64>>(), any::<Option<u64>>(), any::<u8>()), 0..20),
            topics in prop::collection::vec((any::<i32>(), any::<Option<i64>>(), any::<Option<i64>>()), 0..20),
        ) {
            let groups: Vec<_> = groups
                .into_iter()
                .map(|(topic, partition, committed, time_lag_ms, state)| GroupSample { topic, partition, committed, time_lag_ms, state })
                .collect();
            prop_assert_eq!(read_group(&group(&groups)), Ok(groups));
            let topics: Vec<_> = topics
                .into_iter()
                .map(|(partition, end, log_start)| TopicSample { partition, end, log_start })
                .collect();
            prop_assert_eq!(read_topic(&topic(&topics)), Ok(topics));
        }

        #[test]
        fn rubbish_is_an_error_or_samples(bytes: Vec<u8>) {
            let _ = (read_group(&bytes), read_topic(&bytes));
        }
    }
}
