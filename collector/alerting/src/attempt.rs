//! Trying a rule on stored history: would it have fired, for whom, and when?

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_alerts::{Firing, Point, Rule, RuleSpec, Watch, trial};
use highwater_lag::State;
use highwater_model::UnixNanos;
use highwater_model::broker::LagRow;

use crate::book::BookError;
use crate::desk::{Desk, DeskError};

/// Groups that are tried; a page says when there are more.
const MOST_GROUPS: usize = 200;
/// Points of a chart.
const MOST_POINTS: usize = 600;
/// Up to this long every poll is looked at, beyond it one a minute: history has a row a partition and poll.
const EVERY_POLL: Duration = Duration::from_secs(6 * 3_600);
const MINUTE: Duration = Duration::from_secs(60);

/// What came of it.
#[derive(Debug)]
pub struct Attempt {
    /// The rule as it was understood.
    pub rule: Rule,
    /// Looked at from here.
    pub from: UnixNanos,
    /// To here.
    pub to: UnixNanos,
    /// Groups that the rule is about, most firings first.
    pub groups: Vec<AttemptedGroup>,
    /// The group that the points are of.
    pub drawn: Option<String>,
    /// Its value over time; `None` unknown.
    pub points: Vec<(UnixNanos, Option<f64>)>,
    /// When it would have fired for that group.
    pub firings: Vec<Firing>,
    /// Why nothing can be said, or not all that was asked.
    pub reason: Option<String>,
}

/// A group, and how often the rule would have fired for it.
#[derive(Debug)]
pub struct AttemptedGroup {
    /// `CLUSTER/GROUP`.
    pub id: String,
    /// Times.
    pub firings: u64,
}

struct Tried {
    id: String,
    points: Vec<(UnixNanos, Option<f64>)>,
    firings: Vec<Firing>,
}

impl Desk {
    /// Lets a rule, saved or not, run over the history of lag of the groups that it is about.
    ///
    /// Costs a read of the history of every such group: some 10 ms a group and day.
    ///
    /// # Errors
    /// When the rule cannot be understood, or history cannot be read.
    pub async fn attempt(
        &self,
        spec: RuleSpec,
        groups: Vec<(Arc<str>, Arc<str>)>,
        drawn: Option<&str>,
        back: Duration,
        now: UnixNanos,
    ) -> Result<Attempt, DeskError> {
        let rule = Rule::from_spec(spec).map_err(BookError::from)?;
        let mut attempt = Attempt {
            from: now - back,
            to: now,
            groups: Vec::new(),
            drawn: None,
            points: Vec::new(),
            firings: Vec::new(),
            reason: None,
            rule,
        };
        if let Err(why) = trial(&attempt.rule, &[], &self.engine_options) {
            attempt.reason = Some(why.to_string());
            return Ok(attempt);
        }
        let selector = attempt.rule.selector.clone();
        let mut matching: Vec<_> = groups
            .into_iter()
            .filter(|(cluster, group)| {
                selector.cluster.matches(cluster) && selector.group.matches(group)
            })
            .collect();
        let all = matching.len();
        matching.truncate(MOST_GROUPS);
        let step = (back > EVERY_POLL).then_some(MINUTE);
        let mut tried = Vec::new();
        for (cluster, group) in matching {
            let rows = self
                .history
                .lag_rows(&cluster, &group, attempt.from, attempt.to, step)
                .await?;
            let points = points(&rows, |topic| selector.topic.matches(topic));
            let Ok(trial) = trial(&attempt.rule, &points, &self.engine_options) else {
                continue;
            };
            tried.push(Tried {
                id: format!("{cluster}/{group}"),
                points: thinned(attempt.rule.watch, &points),
                firings: trial.firings,
            });
        }
        tried.sort_by_key(|one| std::cmp::Reverse(one.firings.len()));
        attempt.groups = tried
            .iter()
            .map(|one| AttemptedGroup {
                id: one.id.clone(),
                firings: one.firings.len() as u64,
            })
            .collect();
        let at = drawn.and_then(|id| tried.iter().position(|one| one.id == id));
        if !tried.is_empty() {
            let one = tried.swap_remove(at.unwrap_or(0));
            attempt.drawn = Some(one.id);
            (attempt.points, attempt.firings) = (one.points, one.firings);
        }
        attempt.reason = match (all, step) {
            (0, _) => Some("No group matches.".to_owned()),
            (all, _) if all > MOST_GROUPS => Some(format!(
                "The first {MOST_GROUPS} of {all} groups that match were tried."
            )),
            (_, Some(_)) => Some("One reading a minute was looked at.".to_owned()),
            _ if !selector.service.is_empty() => Some(
                "History knows no services: every group that matches otherwise was tried."
                    .to_owned(),
            ),
            _ => None,
        };
        Ok(attempt)
    }
}

/// A group's readings: the worst of its partitions at each poll. Unknown is not 0: a sum is of what is known, and of
/// nothing when nothing is.
fn points(rows: &[LagRow], wanted: impl Fn(&str) -> bool) -> Vec<Point> {
    let mut by_poll: BTreeMap<UnixNanos, Point> = BTreeMap::new();
    for row in rows.iter().filter(|row| wanted(&row.topic)) {
        let point = by_poll.entry(row.at).or_insert(Point {
            at: row.at,
            time_lag_ms: None,
            lag_messages: None,
            state: None,
        });
        point.time_lag_ms = point.time_lag_ms.max(row.time_lag_ms);
        if let (Some(end), Some(committed)) = (row.end, row.committed) {
            let first = committed.max(row.log_start.unwrap_or(committed));
            let lag = u64::try_from(end.saturating_sub(first)).unwrap_or(0);
            point.lag_messages = Some(point.lag_messages.unwrap_or(0).saturating_add(lag));
        }
        // The order of states is worst first.
        let state = State::from_code(row.state);
        point.state = match (point.state, state) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
    by_poll.into_values().collect()
}

/// What a chart draws: the worst of each stretch.
fn thinned(watch: Watch, points: &[Point]) -> Vec<(UnixNanos, Option<f64>)> {
    let value = |point: &Point| match watch {
        Watch::OffsetLag => point.lag_messages.map(|messages| messages as f64),
        _ => point.time_lag_ms.map(|ms| ms as f64),
    };
    points
        .chunks(points.len().div_ceil(MOST_POINTS).max(1))
        .filter_map(|chunk| {
            let worst = chunk.iter().filter_map(value).reduce(f64::max);
            Some((chunk.first()?.at, worst))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::points;
    use highwater_lag::State;
    use highwater_model::UnixNanos;
    use highwater_model::broker::LagRow;

    fn row(partition: i32, at: u64, committed: Option<i64>, state: State) -> LagRow {
        LagRow {
            cluster: "kafka".into(),
            group: "billing".into(),
            topic: "orders".into(),
            partition,
            at: UnixNanos(at),
            committed,
            end: Some(100),
            log_start: Some(50),
            time_lag_ms: committed.map(|_| 7),
            state: state as u8,
        }
    }

    #[test]
    fn a_reading_is_the_worst_of_its_partitions_and_unknown_is_not_zero() {
        let rows = [
            row(0, 1, Some(90), State::Ok),
            row(1, 1, Some(10), State::DataLoss),
            row(0, 2, None, State::Unknown),
        ];
        let points = points(&rows, |topic| topic == "orders");
        assert_eq!(points.len(), 2);
        assert_eq!(
            points[0].lag_messages,
            Some(10 + 50),
            "what was deleted cannot be read"
        );
        assert_eq!(points[0].state, Some(State::DataLoss));
        assert_eq!(points[1].lag_messages, None);
        assert_eq!(points[1].state, Some(State::Unknown));
    }
}
