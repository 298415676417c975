//! Kafka's own tools as the oracle: what they print, read.

use std::collections::BTreeMap;

use crate::kafka::{self, KafkaError, tools};

/// Group, topic, partition.
pub type Place = (String, String, i32);

/// A row of `kafka-consumer-groups --describe`; `None` is its dash: a partition without a commit has no lag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// CURRENT-OFFSET.
    pub committed: Option<i64>,
    /// LOG-END-OFFSET.
    pub end: Option<i64>,
    /// LAG.
    pub lag: Option<i64>,
}

impl Reading {
    /// Committed offset and end, of a row that has both.
    ///
    /// # Panics
    ///
    /// When one is missing.
    #[must_use]
    pub fn known(&self) -> (i64, i64) {
        let both = self.committed.zip(self.end);
        both.unwrap_or_else(|| panic!("offsets are missing: {self:?}"))
    }
}

/// Returns the lag of every partition that `kafka-consumer-groups --describe` prints for `groups` (`--all-groups`, or
/// `--group NAME`...); `None` is its dash: a partition without a commit. Blocks for a Java start.
///
/// # Errors
///
/// When the tool fails.
pub fn lag(bootstrap: &str, groups: &[&str]) -> Result<BTreeMap<Place, Option<i64>>, KafkaError> {
    let rows = offsets(bootstrap, groups)?.into_iter();
    Ok(rows.map(|(place, reading)| (place, reading.lag)).collect())
}

/// As [`lag`], with the offsets it is made of.
///
/// # Errors
///
/// When the tool fails.
pub fn offsets(bootstrap: &str, groups: &[&str]) -> Result<BTreeMap<Place, Reading>, KafkaError> {
    // On a busy machine its five seconds are too few, and then it prints no rows and ends well.
    let describe = ["--describe", "--timeout", "60000"];
    let arguments: Vec<&str> = describe.iter().chain(groups).copied().collect();
    let table = kafka::tool(bootstrap, tools::GROUPS, &arguments)?;
    Ok(table.lines().filter_map(row).collect())
}

/// Reads `GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG ...`; headings and remarks are none.
fn row(line: &str) -> Option<(Place, Reading)> {
    let cells: Vec<&str> = line.split_whitespace().collect();
    let [group, topic, partition, committed, end, lag, ..] = cells[..] else {
        return None;
    };
    let number = |cell: &str| match cell {
        "-" => Some(None),
        cell => cell.parse().ok().map(Some),
    };
    let reading = Reading {
        committed: number(committed)?,
        end: number(end)?,
        lag: number(lag)?,
    };
    Some((
        (group.to_owned(), topic.to_owned(), partition.parse().ok()?),
        reading,
    ))
}

#[cfg(test)]
mod tests {
    use super::{Reading, row};

    #[test]
    fn rows_are_read_and_headings_and_remarks_are_not() {
        let place = |partition| ("g".to_owned(), "t".to_owned(), partition);
        let reading = |committed, end, lag| Reading {
            committed,
            end,
            lag,
        };
        assert_eq!(
            row("g t 0 60 100 40 c-1 /127.0.0.1 c"),
            Some((place(0), reading(Some(60), Some(100), Some(40))))
        );
        assert_eq!(
            row("g t 1 150 100 -50 - - -"),
            Some((place(1), reading(Some(150), Some(100), Some(-50))))
        );
        assert_eq!(
            row("g t 2 - 7 - c-1 /127.0.0.1 c"),
            Some((place(2), reading(None, Some(7), None)))
        );
        assert_eq!(
            row("GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG CONSUMER-ID"),
            None
        );
        assert_eq!(row("Consumer group 'g' has no active members."), None);
    }
}
