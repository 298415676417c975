//! What is said about a group.
//!
//! Pure. The subject first: who, how much, behind what, which way.

use highwater_shared::Instant;
use highwater_shared::lag::{GroupHistory, GroupSummary, State};

use crate::format::{
    age_text, bounded_lag, clock, count_full, duration_ms, plural, rate, time_lag,
};

/// Quotes a name for an expression where it needs it.
pub(super) fn quoted(name: &str) -> String {
    let plain = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':'))
        && !matches!(name, "and" | "or" | "not" | "in");
    if plain {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

/// Names the topics: "orders", "orders and payments", "orders and 3 more topics".
fn on(topics: &[String]) -> String {
    match topics {
        [] => "its topics".to_owned(),
        [one] => one.clone(),
        [one, two] => format!("{one} and {two}"),
        [one, rest @ ..] => format!("{one} and {} more topics", rest.len()),
    }
}

/// Says which way it goes; `None` where that cannot be told.
fn trend(s: &GroupSummary) -> Option<&'static str> {
    match s.state {
        State::FallingBehind => Some("falling further behind"),
        State::Stopped => Some("has stopped"),
        State::Stalled => Some("stalled on a partition"),
        State::Rewound => Some("reading again what it had read"),
        _ => match (s.in_per_s, s.out_per_s) {
            (Some(input), Some(output)) if output > input * 1.02 + 0.01 => Some("draining"),
            (Some(input), Some(output)) if output < input * 0.98 - 0.01 => Some("rising"),
            (Some(_), Some(_)) => Some("steady"),
            _ => None,
        },
    }
}

/// Returns the sentence in pieces: text, and whether it is emphasised.
pub(super) fn pieces(s: &GroupSummary) -> Vec<(String, bool)> {
    let topics = on(&s.topics);
    let Some(messages) = s.lag_messages else {
        let reason = if s.reason.is_empty() {
            format!("The lag of {} is not known.", s.group)
        } else {
            s.reason.clone()
        };
        return vec![(reason, false)];
    };
    if messages == 0 && s.state == State::Ok {
        return vec![(
            format!("{} has read everything on {topics}.", s.group),
            false,
        )];
    }
    let amount = match s.time_lag_ms {
        Some(ms) => format!(
            "{} ({})",
            plural(messages, "message", "messages"),
            bounded_lag(ms, s.time_lag_bound)
        ),
        None => plural(messages, "message", "messages"),
    };
    let way = match (s.state, trend(s)) {
        (State::Stopped, _) => format!(" behind on {topics} and has stopped."),
        (_, Some(trend)) => format!(" behind on {topics} and {trend}."),
        (_, None) => format!(" behind on {topics}."),
    };
    vec![
        (format!("{} is ", s.group), false),
        (amount, true),
        (way, false),
    ]
}

/// Says why, since when and what the rates mean.
pub(super) fn more(s: &GroupSummary, now: Instant) -> String {
    let mut said = Vec::new();
    if let Some(at) = s.state_since
        && s.state != State::Ok
    {
        said.push(format!(
            "Since {}, for {}.",
            clock(at, now),
            age_text(now.0.saturating_sub(at.0))
        ));
    }
    // Where the reason is no more than how far behind and which way, the headline has said it.
    let said_above =
        matches!(s.state, State::Ok | State::FallingBehind) || s.lag_messages.is_none();
    if !s.reason.is_empty() && !said_above {
        said.push(s.reason.clone());
    }
    if let (Some(lag), Some(input), Some(output)) = (s.lag_messages, s.in_per_s, s.out_per_s)
        && lag > 0
        && input > output
        && s.state != State::Ok
    {
        said.push(format!(
            "At these rates it never drains: it needs {} more.",
            rate(input - output)
        ));
    }
    if let Some(ms) = s.time_lag_ms {
        let mark = duration_ms(s.mark_ms);
        said.push(if ms > s.mark_ms {
            format!("Above its mark of {mark}.")
        } else {
            format!("Below its mark of {mark}.")
        });
    }
    said.join(" ")
}

/// Says what the chart shows: the highest and the last time lag against the mark.
pub(super) fn chart(s: &GroupSummary, history: &GroupHistory) -> String {
    let highest = history.points.iter().filter_map(|p| p.time_lag_ms).max();
    let last = history.points.iter().rev().find_map(|p| p.time_lag_ms);
    let missing = history
        .points
        .iter()
        .filter(|p| p.time_lag_ms.is_none())
        .count() as u64;
    let mut text = match (highest, last) {
        (Some(highest), Some(last)) => format!(
            "Time lag of {} over the range: {} at its end, {} at most, against a mark of {}.",
            s.group,
            time_lag(last),
            time_lag(highest),
            duration_ms(s.mark_ms)
        ),
        _ => format!("Time lag of {} was not read in the range.", s.group),
    };
    if missing > 0 && last.is_some() {
        text.push_str(&format!(
            " {} of {} steps were not read.",
            count_full(missing),
            count_full(history.points.len() as u64)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use highwater_shared::Level;
    use highwater_shared::lag::Bound;

    use super::*;

    fn billing() -> GroupSummary {
        GroupSummary {
            cluster: "kafka".to_owned(),
            group: "billing".to_owned(),
            state: State::FallingBehind,
            state_since: Some(Instant(0)),
            reason: "Lag grew for 10 m.".to_owned(),
            level: Level::Critical,
            mark_ms: 60_000,
            lag_messages: Some(12_400),
            lag_by_tools: Some(12_400),
            time_lag_ms: Some(200_000),
            time_lag_bound: Some(Bound::Exact),
            in_per_s: Some(62.0),
            out_per_s: Some(55.4),
            rate_from: None,
            drain_ms: None,
            retention_left_ms: None,
            retention_ms: None,
            read_at: None,
            topics: vec!["orders".to_owned()],
            partitions_read: 12,
            partitions_total: Some(12),
            members: Some(6),
            broker_state: None,
            protocol: "classic".to_owned(),
            services: Vec::new(),
            spark_ms: Vec::new(),
        }
    }

    fn sentence(s: &GroupSummary) -> String {
        pieces(s)
            .into_iter()
            .map(|p| p.0)
            .collect::<String>()
            .replace('\u{a0}', " ")
    }

    #[test]
    fn the_sentence_says_who_how_much_behind_what_and_which_way() {
        let mut s = billing();
        assert_eq!(
            sentence(&s),
            "billing is 12,400 messages (3 m 20 s) behind on orders and falling further behind."
        );
        assert!(
            more(&s, Instant(1_860_000_000_000))
                .replace('\u{a0}', " ")
                .ends_with(
                    "At these rates it never drains: it needs 6.6/s more. Above its mark of 1 m."
                )
        );
        s.state = State::Ok;
        s.out_per_s = Some(90.0);
        s.topics = ["a", "b", "c"].map(str::to_owned).to_vec();
        assert_eq!(
            sentence(&s),
            "billing is 12,400 messages (3 m 20 s) behind on a and 2 more topics and draining."
        );
        s.lag_messages = Some(0);
        s.topics.truncate(1);
        assert_eq!(sentence(&s), "billing has read everything on a.");
    }

    #[test]
    fn unknown_lag_is_the_reason_and_never_a_number() {
        let mut s = billing();
        s.lag_messages = None;
        s.time_lag_ms = None;
        s.state = State::Unknown;
        s.reason = "kafka refuses.".to_owned();
        assert_eq!(sentence(&s), "kafka refuses.");
    }

    #[test]
    fn names_are_quoted_where_the_language_needs_it() {
        assert_eq!(quoted("orders.billing-1"), "orders.billing-1");
        assert_eq!(quoted("my group"), "\"my group\"");
        assert_eq!(quoted("a\"b"), "\"a\\\"b\"");
        assert_eq!(quoted("and"), "\"and\"");
    }
}
