//! What needs attention, worst first: pure.

use highwater_shared::dead_letters::{DeadLetterTopic, DeadLetters};
use highwater_shared::lag::{Changes, GroupSummary, Groups, State};
use highwater_shared::status::{Brokers, Cluster, Status};
use highwater_shared::{Instant, Level};

use super::changes::before;
use crate::format::{
    UNKNOWN, age_text, bounded_lag, clock, count, count_full, duration_ms, plural, rate, time_lag,
};

/// How urgent an item is, most urgent first; the order of the list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Urgency {
    /// Records were lost, or spans cannot be kept.
    Loss,
    /// Above the mark, a broker that does not answer, dead letters arriving fast.
    Critical,
    /// On the way there.
    Warning,
    /// Cannot be told.
    Unknown,
    /// Worth knowing.
    Notice,
}

/// What an item is about: which icon it has, and where it leads.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Subject {
    /// A group.
    Group {
        /// The cluster.
        cluster: String,
        /// The group.
        group: String,
        /// Its state.
        state: State,
    },
    /// A dead-letter topic.
    DeadLetters {
        /// The cluster.
        cluster: String,
        /// The topic.
        topic: String,
    },
    /// A cluster, or the collector itself.
    Health,
}

/// A row of the list.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Item {
    /// Identity.
    pub(super) id: String,
    /// How urgent.
    pub(super) urgency: Urgency,
    /// What it is about.
    pub(super) subject: Subject,
    /// What is wrong, in a sentence.
    pub(super) sentence: String,
    /// Names in the sentence to be bold.
    pub(super) names: Vec<String>,
    /// Facts under it.
    pub(super) facts: Vec<String>,
    /// Time lag over the range, and the mark.
    pub(super) spark: Option<(Vec<Option<u64>>, u64)>,
    /// The figure; `None` is unknown.
    pub(super) figure: Option<String>,
    /// What the figure is.
    pub(super) caption: String,
    /// Within an urgency: lag against mark, arrivals a second.
    weight: f64,
}

/// What the collector has answered so far; `None` where it has not.
#[derive(Clone, Copy, Default)]
pub(super) struct Answers<'a> {
    pub(super) groups: Option<&'a Groups>,
    pub(super) letters: Option<&'a DeadLetters>,
    pub(super) changes: Option<&'a Changes>,
    pub(super) brokers: Option<&'a Brokers>,
    pub(super) status: Option<&'a Status>,
}

/// Returns what needs attention, worst first.
pub(super) fn items(answers: Answers<'_>, now: Instant) -> Vec<Item> {
    let Answers {
        groups,
        letters,
        changes,
        brokers,
        status,
    } = answers;
    let mut all = Vec::new();
    all.extend(status.and_then(write_error));
    all.extend(
        brokers
            .into_iter()
            .flat_map(|b| lost_clusters(b, groups, now)),
    );
    let explained = |g: &GroupSummary| {
        g.state == State::Unknown && brokers.is_some_and(|b| lost(b).any(|c| c.name == g.cluster))
    };
    all.extend(groups.into_iter().flat_map(|g| {
        g.groups
            .iter()
            .filter(|g| !explained(g))
            .filter_map(|g| group(g, changes, now))
    }));
    all.extend(
        letters
            .into_iter()
            .flat_map(|d| d.topics.iter().filter_map(|d| growing(d, now))),
    );
    all.sort_by(|a, b| {
        a.urgency
            .cmp(&b.urgency)
            .then_with(|| b.weight.total_cmp(&a.weight))
            .then_with(|| a.id.cmp(&b.id))
    });
    all
}

/// The collector cannot keep spans.
fn write_error(status: &Status) -> Option<Item> {
    let why = status.ingest.write_error.as_ref()?;
    Some(Item {
        id: "collector".to_owned(),
        urgency: Urgency::Loss,
        subject: Subject::Health,
        sentence: "Spans cannot be written: senders are told to try again.".to_owned(),
        names: Vec::new(),
        facts: vec![why.clone()],
        spark: None,
        figure: Some(count(status.ingest.queue_spans)),
        caption: "spans wait".to_owned(),
        weight: 0.0,
    })
}

/// Clusters that do not answer. Their groups' lag is unknown because of it: they stand here as a number, not as rows.
fn lost_clusters(brokers: &Brokers, groups: Option<&Groups>, now: Instant) -> Vec<Item> {
    let unknown = |cluster: &str| {
        groups.map_or(0, |g| {
            g.groups
                .iter()
                .filter(|g| g.cluster == cluster && g.state == State::Unknown)
                .count()
        })
    };
    lost(brokers)
        .map(|c| {
            let why = c.reason.as_deref().unwrap_or_default();
            let since = clock(c.since, now);
            let mut facts = Vec::new();
            match unknown(&c.name) {
                0 => {}
                n => facts.push(format!(
                    "the lag of {} is unknown",
                    plural(n as u64, "group", "groups")
                )),
            }
            facts.push(match c.last_read {
                Some(at) => format!("last read {}", clock(at, now)),
                None => "never read".to_owned(),
            });
            facts.push("traces are not affected".to_owned());
            Item {
                id: format!("cluster:{}", c.name),
                urgency: Urgency::Critical,
                subject: Subject::Health,
                sentence: if why.is_empty() {
                    format!("{} does not answer since {since}.", c.name)
                } else if why.starts_with(&c.name) {
                    why.to_owned()
                } else {
                    format!("{} does not answer since {since}: {why}", c.name)
                },
                names: vec![c.name.clone()],
                facts,
                spark: None,
                figure: Some(age_text(now.0.saturating_sub(c.since.0))),
                caption: "unreachable".to_owned(),
                // Before the groups: their lag is unknown because of it.
                weight: f64::INFINITY,
            }
        })
        .collect()
}

/// Clusters that do not answer.
fn lost(brokers: &Brokers) -> impl Iterator<Item = &Cluster> {
    brokers.clusters.iter().filter(|c| c.state == "unreachable")
}

/// A group that is not fine.
fn group(g: &GroupSummary, changes: Option<&Changes>, now: Instant) -> Option<Item> {
    let urgency = match (g.state, g.level) {
        (State::DataLoss, _) => Urgency::Loss,
        (_, Level::Critical) => Urgency::Critical,
        (_, Level::Warning) => Urgency::Warning,
        (State::Unknown, _) => Urgency::Unknown,
        (State::Ok | State::NoCommit, _) => return None,
        _ => Urgency::Notice,
    };
    let mut facts = Vec::new();
    if let Some(since) = g.state_since {
        facts.push(format!("for {}", age_text(now.0.saturating_sub(since.0))));
    }
    facts.extend(changes.and_then(|changes| before(changes, g)));
    if let (Some(out), Some(into)) = (g.out_per_s, g.in_per_s) {
        facts.push(format!("consuming {}, producing {}", rate(out), rate(into)));
        // How fast it grows says more than how much there is.
        if into - out > 0.05 && g.state == State::FallingBehind {
            facts.push(format!("+{}", rate(into - out)));
        }
    }
    if let Some(drain) = g
        .drain_ms
        .filter(|d| *d > 0 && g.state != State::FallingBehind)
    {
        facts.push(format!("drains in {}", duration_ms(drain)));
    }
    if let Some(total) = g.partitions_total
        && g.partitions_read < total
    {
        facts.push(format!("{} of {total} partitions read", g.partitions_read));
    }
    let (figure, caption) = match (g.time_lag_ms, g.lag_messages) {
        (Some(ms), _) => (
            Some(bounded_lag(ms, g.time_lag_bound)),
            format!("of {}", duration_ms(g.mark_ms)),
        ),
        (None, Some(n)) => (Some(count(n)), "unread".to_owned()),
        (None, None) => (None, "lag".to_owned()),
    };
    Some(Item {
        id: format!("group:{}/{}", g.cluster, g.group),
        urgency,
        subject: Subject::Group {
            cluster: g.cluster.clone(),
            group: g.group.clone(),
            state: g.state,
        },
        sentence: g.reason.clone(),
        names: std::iter::once(g.group.clone())
            .chain(g.topics.iter().cloned())
            .collect(),
        facts,
        spark: Some((g.spark_ms.clone(), g.mark_ms)),
        figure,
        caption,
        weight: g.time_lag_ms.unwrap_or_default() as f64 / g.mark_ms.max(1) as f64,
    })
}

/// A dead-letter topic into which records arrive.
fn growing(d: &DeadLetterTopic, now: Instant) -> Option<Item> {
    let arrivals = d.arrivals_per_hour.filter(|a| *a > 0.0)?;
    let kept = match d.retained {
        Some(n) => format!(
            "{} keeps {}",
            d.topic,
            plural(n, "dead letter", "dead letters")
        ),
        None => format!("How many dead letters {} keeps is not known", d.topic),
    };
    let cause = d.causes.first().filter(|c| c.cause != "unknown").map(|c| {
        if c.sampled == c.count {
            format!(
                "; all of the newest {} died of {}",
                count_full(c.sampled),
                c.cause
            )
        } else {
            format!(
                "; {} of the newest {} died of {}",
                count_full(c.count),
                count_full(c.sampled),
                c.cause
            )
        }
    });
    let mut facts = Vec::new();
    if !d.groups.is_empty() {
        facts.push(format!("given up by {}", d.groups.join(", ")));
    }
    if let Some(at) = d.newest_at {
        facts.push(format!("newest {}", crate::format::ago(at, now)));
    }
    Some(Item {
        id: format!("dlq:{}/{}", d.cluster, d.topic),
        urgency: match d.level {
            Level::Critical => Urgency::Critical,
            _ => Urgency::Warning,
        },
        subject: Subject::DeadLetters {
            cluster: d.cluster.clone(),
            topic: d.topic.clone(),
        },
        sentence: format!("{kept}{}.", cause.unwrap_or_default()),
        names: vec![d.topic.clone()],
        facts,
        spark: None,
        figure: Some(format!("+{}", rate(arrivals / 3_600.0))),
        caption: "arriving".to_owned(),
        weight: arrivals / 3_600.0,
    })
}

/// Returns what a group's gauge is labelled with under its name: what matters of its state.
pub(super) fn board_line(g: &GroupSummary) -> String {
    match g.state {
        State::Rewound => g.drain_ms.map_or_else(
            || "rewound".to_owned(),
            |d| format!("drains in {}", duration_ms(d)),
        ),
        State::Unknown => "not read".to_owned(),
        State::NoCommit => "no commit yet".to_owned(),
        _ => match g.lag_messages {
            Some(n) => {
                let way = match (g.in_per_s, g.out_per_s) {
                    (Some(into), Some(out)) if into > out * 1.02 && n > 0 => ", rising",
                    (Some(into), Some(out)) if out > into * 1.02 && n > 0 => ", falling",
                    _ => "",
                };
                format!("{}{way}", count(n))
            }
            None => "messages not known".to_owned(),
        },
    }
}

/// Returns the figure over a group's name on the board.
pub(super) fn board_figure(g: &GroupSummary) -> String {
    g.time_lag_ms.map_or_else(|| UNKNOWN.to_owned(), time_lag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater_shared::dead_letters::CauseCount;

    fn summary(name: &str, state: State, level: Level, lag_ms: Option<u64>) -> GroupSummary {
        GroupSummary {
            cluster: "k".to_owned(),
            group: name.to_owned(),
            state,
            state_since: Some(Instant(0)),
            reason: format!("{name} stands so."),
            level,
            mark_ms: 60_000,
            lag_messages: Some(10),
            lag_by_tools: Some(10),
            time_lag_ms: lag_ms,
            time_lag_bound: None,
            in_per_s: Some(62.0),
            out_per_s: Some(55.4),
            rate_from: None,
            drain_ms: None,
            retention_left_ms: None,
            retention_ms: None,
            read_at: None,
            topics: vec!["orders".to_owned()],
            partitions_read: 1,
            partitions_total: Some(1),
            members: None,
            broker_state: None,
            protocol: "classic".to_owned(),
            services: vec![],
            spark_ms: vec![],
        }
    }

    fn order(groups: Vec<GroupSummary>) -> Vec<String> {
        let groups = Groups {
            window: Default::default(),
            groups,
        };
        items(
            Answers {
                groups: Some(&groups),
                ..Answers::default()
            },
            Instant(60_000_000_000),
        )
        .into_iter()
        .map(|i| i.id)
        .collect()
    }

    #[test]
    fn worst_comes_first_and_fine_is_left_out() {
        let all = order(vec![
            summary("ok", State::Ok, Level::Ok, Some(0)),
            summary("rewound", State::Rewound, Level::Ok, Some(9_000)),
            summary("unknown", State::Unknown, Level::Unknown, None),
            summary("warm", State::FallingBehind, Level::Warning, Some(30_000)),
            summary("hot", State::FallingBehind, Level::Critical, Some(200_000)),
            summary("hotter", State::Stopped, Level::Critical, Some(900_000)),
            summary("lost", State::DataLoss, Level::Critical, Some(10)),
            summary("new", State::NoCommit, Level::Unknown, None),
        ]);
        let names: Vec<_> = all
            .iter()
            .map(|id| id.trim_start_matches("group:k/"))
            .collect();
        assert_eq!(
            names,
            ["lost", "hotter", "hot", "warm", "unknown", "rewound"]
        );
    }

    #[test]
    fn groups_of_a_lost_cluster_stand_behind_it_as_a_number() {
        let groups = Groups {
            window: Default::default(),
            groups: vec![
                summary("a", State::Unknown, Level::Unknown, None),
                summary("b", State::Unknown, Level::Unknown, None),
            ],
        };
        let brokers: Brokers = serde_json::from_value(serde_json::json!({"clusters": [{
            "name": "k", "system": "kafka", "environment": "default", "bootstrap": [], "cluster_id": null,
            "state": "unreachable", "reason": "cannot reach 127.0.0.1:9092.", "since": "1970-01-01T00:00:30Z",
            "last_read": null, "last_poll_ns": null, "brokers": null, "topics": null, "partitions": null, "groups": null
        }]}))
        .unwrap();
        let all = items(
            Answers {
                groups: Some(&groups),
                brokers: Some(&brokers),
                ..Answers::default()
            },
            Instant(60_000_000_000),
        );
        assert_eq!(all.len(), 1);
        assert_eq!(
            all[0].sentence,
            "k does not answer since 00:00:30: cannot reach 127.0.0.1:9092."
        );
        assert_eq!(all[0].facts[0], "the lag of 2 groups is unknown");
        let alone = items(
            Answers {
                groups: Some(&groups),
                ..Answers::default()
            },
            Instant(0),
        );
        assert_eq!(
            alone.len(),
            2,
            "without that cluster each stands for itself"
        );
    }

    #[test]
    fn an_ok_group_above_its_mark_is_listed() {
        assert_eq!(
            order(vec![summary(
                "draining",
                State::Ok,
                Level::Critical,
                Some(90_000)
            )])
            .len(),
            1
        );
    }

    #[test]
    fn a_growing_dead_letter_topic_names_its_cause() {
        let letters = DeadLetters {
            topics: vec![DeadLetterTopic {
                cluster: "k".to_owned(),
                topic: "orders.dlt".to_owned(),
                recognised_by: "name".to_owned(),
                origin_topics: vec![],
                groups: vec!["billing".to_owned()],
                retained: Some(245),
                undriven: None,
                untriaged: None,
                arrivals_per_hour: Some(306.0),
                oldest_at: None,
                newest_at: None,
                causes: vec![CauseCount {
                    cause: "Timeout".to_owned(),
                    count: 158,
                    sampled: 200,
                }],
                read_at: None,
                reason: None,
                level: Level::Critical,
            }],
        };
        let all = items(
            Answers {
                letters: Some(&letters),
                ..Answers::default()
            },
            Instant(0),
        );
        assert_eq!(
            all[0].sentence,
            "orders.dlt keeps 245 dead letters; 158 of the newest 200 died of Timeout."
        );
        assert_eq!(all[0].figure.as_deref(), Some("+5.1/min"));
    }
}
