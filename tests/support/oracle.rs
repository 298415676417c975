//! Kafka's own tools as the oracle: what they print, read.

use std::collections::BTreeMap;

use crate::kafka::{self, KafkaError, tools};

/// Group, topic, partition.
pub type Place = (String, String, i32);

/// Returns the lag of every partition that `kafka-consumer-groups --describe` prints for `groups` (`--all-groups`, or
/// `--group NAME`...); `None` is its dash: a partition without a commit. Blocks for a Java start.
///
/// # Errors
///
/// When the tool fails.
pub fn lag(bootstrap: &str, groups: &[&str]) -> Result<BTreeMap<Place, Option<i64>>, KafkaError> {
    let arguments: Vec<&str> = ["--describe"].iter().chain(groups).copied().collect();
    let table = kafka::tool(bootstrap, tools::GROUPS, &arguments)?;
    Ok(table.lines().filter_map(row).collect())
}

/// Reads `GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG ...`; headings and remarks are none.
fn row(line: &str) -> Option<(Place, Option<i64>)> {
    let cells: Vec<&str> = line.split_whitespace().collect();
    let [group, topic, partition, _committed, _end, lag, ..] = cells[..] else {
        return None;
    };
    let lag = match lag {
        "-" => None,
        lag => Some(lag.parse().ok()?),
    };
    Some((
        (group.to_owned(), topic.to_owned(), partition.parse().ok()?),
        lag,
    ))
}

#[cfg(test)]
mod tests {
    use super::row;

    #[test]
    fn rows_are_read_and_headings_and_remarks_are_not() {
        let place = |partition| ("g".to_owned(), "t".to_owned(), partition);
        assert_eq!(
            row("g t 0 60 100 40 c-1 /127.0.0.1 c"),
            Some((place(0), Some(40)))
        );
        assert_eq!(row("g t 1 150 100 -50 - - -"), Some((place(1), Some(-50))));
        assert_eq!(row("g t 2 - 7 - c-1 /127.0.0.1 c"), Some((place(2), None)));
        assert_eq!(
            row("GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG CONSUMER-ID"),
            None
        );
        assert_eq!(row("Consumer group 'g' has no active members."), None);
    }
}
