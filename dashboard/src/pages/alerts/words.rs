//! What the page says, from what the API says. Pure, but for the zone of clocks.

use highwater_shared::Instant;
use highwater_shared::alerts::{Alert, Matchers, Phase, Rule, Silence, Subject};

use crate::format::{age_text, clock_short, count_full, plural};
use crate::state::zone;

const MINUTE: u64 = 60_000_000_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Writes an age as a person says it: whole minutes below an hour.
pub(super) fn coarse(nanos: u64) -> String {
    if (MINUTE..HOUR).contains(&nanos) {
        age_text(nanos / MINUTE * MINUTE)
    } else {
        age_text(nanos)
    }
}

/// Returns the names in an alert's sentence: what it is about.
pub(super) fn names(subject: &Subject) -> Vec<String> {
    let named: Vec<String> = [&subject.group, &subject.topic, &subject.service]
        .into_iter()
        .flatten()
        .cloned()
        .collect();
    // A cluster is where the others are; alone, it is what the alert is about.
    if named.is_empty() {
        subject.cluster.iter().cloned().collect()
    } else {
        named
    }
}

/// Returns what an alert is about, in words: `billing on kafka`.
pub(super) fn about(subject: &Subject) -> String {
    let what = names(subject).into_iter().next();
    match (what, &subject.cluster) {
        (Some(what), Some(cluster)) if what != *cluster => format!("{what} on {cluster}"),
        (Some(what), _) => what,
        (None, _) => "Highwater itself".to_owned(),
    }
}

/// Returns the facts under an alert's sentence, without its rule's name.
pub(super) fn facts(alert: &Alert, now: Instant) -> Vec<String> {
    let age = |at: Instant| coarse(now.0.saturating_sub(at.0));
    let mut facts = Vec::new();
    match alert.phase {
        Phase::Pending => {
            facts.push(format!("has been so for {}", age(alert.pending_since)));
            facts.push(match alert.fires_at.map(|at| at.0.saturating_sub(now.0)) {
                None => "not yet long enough to fire".to_owned(),
                Some(0) => "fires at the next look".to_owned(),
                Some(left) => format!("fires in {}", coarse(left)),
            });
        }
        Phase::Firing => {
            let since = alert.fired_at.unwrap_or(alert.pending_since);
            facts.push(format!(
                "firing {}, since {}",
                age(since),
                clock_short(since, now)
            ));
            facts.push(told(&alert.told));
        }
        Phase::Resolved => {
            let over = alert.resolved_at.unwrap_or(now);
            let fired = alert.fired_at.unwrap_or(alert.pending_since);
            facts.push(format!(
                "over since {}, fired for {}",
                clock_short(over, now),
                coarse(over.0.saturating_sub(fired.0))
            ));
            facts.extend(alert.why_resolved.clone());
        }
    }
    facts
}

/// Says who was told.
fn told(channels: &[String]) -> String {
    if channels.is_empty() {
        "told nobody".to_owned()
    } else {
        format!("told {}", channels.join(", "))
    }
}

/// Says how many of the firing alerts somebody has seen.
pub(super) fn acknowledged(seen: u64, firing: u64) -> String {
    match (seen, firing) {
        (_, 0) => String::new(),
        (0, _) => "nobody has acknowledged".to_owned(),
        (seen, firing) if seen >= firing => "all acknowledged".to_owned(),
        (seen, firing) => format!(
            "{} of {} acknowledged",
            count_full(seen),
            count_full(firing)
        ),
    }
}

/// Returns the last part of a path.
fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// Says where a rule is from: `form`, `rules.toml`, `built in`.
pub(super) fn origin(origin: &str, file: Option<&str>) -> String {
    match origin {
        "built_in" => "built in".to_owned(),
        "file" => file.map_or("file", file_name).to_owned(),
        other => other.to_owned(),
    }
}

/// Counts the rules by where they are from: `9: 4 made here, 4 from rules.toml, 1 built in`.
pub(super) fn counted(rules: &[Rule], file: Option<&str>) -> String {
    let of = |origin: &str| rules.iter().filter(|r| r.origin == origin).count();
    let file = file.map_or("the file", file_name);
    let parts: Vec<String> = [
        (of("form"), "made here".to_owned()),
        (of("file"), format!("from {file}")),
        (of("built_in"), "built in".to_owned()),
    ]
    .into_iter()
    .filter(|(n, _)| *n > 0)
    .map(|(n, what)| format!("{n} {what}"))
    .collect();
    if parts.is_empty() {
        return "none".to_owned();
    }
    format!("{}: {}", rules.len(), parts.join(", "))
}

/// Returns the parts of matchers in words: `group = billing`.
pub(super) fn matchers(matchers: &Matchers) -> Vec<String> {
    [
        ("rule", &matchers.rule),
        ("group", &matchers.group),
        ("topic", &matchers.topic),
        ("service", &matchers.service),
        ("cluster", &matchers.cluster),
    ]
    .into_iter()
    .filter_map(|(name, glob)| glob.as_ref().map(|glob| format!("{name} = {glob}")))
    .collect()
}

/// Says what a silence covers beside its matchers, and until when.
pub(super) fn covers(silence: &Silence, now: Instant) -> String {
    let rules = if silence.matchers.rule.is_none() {
        "every rule, "
    } else {
        ""
    };
    if let Some(act) = &silence.ended {
        return format!("{rules}ended {} by {}", clock_short(act.at, now), act.by);
    }
    if silence.ends <= now {
        return format!("{rules}ended {}", clock_short(silence.ends, now));
    }
    let until = clock_short(silence.ends, now);
    if silence.starts > now {
        return format!(
            "{rules}from {} until {until}",
            clock_short(silence.starts, now)
        );
    }
    let now_silent = match silence.silences_now {
        0 => String::new(),
        n => format!(", keeps {} quiet now", plural(n, "alert", "alerts")),
    };
    format!("{rules}until {until}{now_silent}")
}

/// Returns whether `text` matches a glob of `*` and `?`; `None` for a glob of another kind, which only the collector reads.
fn matches(glob: &str, text: &str) -> Option<bool> {
    if glob.contains(['[', ']', '{', '}', '!', '\\']) {
        return None;
    }
    let (glob, text): (Vec<char>, Vec<char>) = (glob.chars().collect(), text.chars().collect());
    let (mut g, mut t) = (0, 0);
    // Where the last star stands, and how much it has taken.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match glob.get(g) {
            Some('*') => {
                star = Some((g, t));
                g += 1;
            }
            Some(&c) if c == '?' || c == text[t] => {
                g += 1;
                t += 1;
            }
            _ => {
                let Some((at, taken)) = star else {
                    return Some(false);
                };
                star = Some((at, taken + 1));
                g = at + 1;
                t = taken + 1;
            }
        }
    }
    Some(glob[g..].iter().all(|c| *c == '*'))
}

/// Returns how many of the alerts that are not over a silence would cover; `None` when that cannot be told here.
pub(super) fn covered(matchers: &Matchers, alerts: &[Alert]) -> Option<u64> {
    let mut covered = 0;
    for alert in alerts.iter().filter(|a| a.phase != Phase::Resolved) {
        let subject = &alert.subject;
        let mut all = true;
        for (glob, value) in [
            (&matchers.rule, Some(&alert.rule)),
            (&matchers.cluster, subject.cluster.as_ref()),
            (&matchers.group, subject.group.as_ref()),
            (&matchers.topic, subject.topic.as_ref()),
            (&matchers.service, subject.service.as_ref()),
        ] {
            if let Some(glob) = glob {
                all &= matches(glob, value.map_or("", String::as_str))?;
            }
        }
        covered += u64::from(all);
    }
    Some(covered)
}

/// Returns the matchers that cover one alert and what is like it: its rule, and the thing itself.
pub(super) fn matchers_of(alert: &Alert) -> Matchers {
    let subject = &alert.subject;
    Matchers {
        rule: Some(alert.rule.clone()),
        cluster: subject.cluster.clone(),
        group: subject.group.clone(),
        // A group says enough; its topic may be another tomorrow.
        topic: subject.topic.clone().filter(|_| subject.group.is_none()),
        service: subject.service.clone(),
    }
}

/// How the address asks for a silence of a group: `group:kafka/billing`.
const OF_GROUP: &str = "group:";

/// Names a group as the address of the silence's form has it.
pub(crate) fn silence_of_group(cluster: &str, group: &str) -> String {
    format!("{OF_GROUP}{cluster}/{group}")
}

/// Returns what a silence of a group that the address names would cover; `None` where it names none.
pub(super) fn group_of_silence(of: &str) -> Option<Matchers> {
    // A cluster's name has no slash; a group's may.
    let (cluster, group) = of.strip_prefix(OF_GROUP)?.split_once('/')?;
    Some(Matchers {
        cluster: Some(cluster.to_owned()),
        group: Some(group.to_owned()),
        ..Matchers::default()
    })
}

/// Returns when the clocks of the person's zone show 08:00 next.
pub(super) fn next_morning(now: Instant) -> Instant {
    let shown = zone::shown(now);
    let today = shown.0 / DAY * DAY + 8 * HOUR;
    let next = if today > shown.0 { today } else { today + DAY };
    zone::at(Instant(next))
}

/// Writes a moment as a field for date and time holds it, in the person's zone: `2026-03-17T08:00`.
pub(super) fn field(at: Instant) -> String {
    zone::shown(at).to_string().chars().take(16).collect()
}

/// Reads what a field for date and time holds.
pub(super) fn from_field(text: &str) -> Option<Instant> {
    Instant::parse(&format!("{text}:00Z")).map(zone::at)
}

/// Returns the word for what happened.
pub(super) fn event_word(kind: &str) -> String {
    if kind == "unsilenced" {
        return "Silence ended".to_owned();
    }
    let mut letters = kind.replace('_', " ");
    if let Some(first) = letters.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    letters
}

#[cfg(test)]
pub(super) mod tests {
    use highwater_shared::alerts::{Act, RuleSpec, Severity};

    use super::*;

    fn at(clock: &str) -> Instant {
        Instant::parse(&format!("2026-03-17T{clock}Z")).unwrap()
    }

    fn plain(text: &str) -> String {
        text.replace('\u{a0}', " ")
    }

    fn alert() -> Alert {
        Alert {
            id: "1".to_owned(),
            rule: "time-lag".to_owned(),
            rule_name: "Time lag over 1 m".to_owned(),
            watch: "time_lag".to_owned(),
            severity: Severity::Critical,
            phase: Phase::Firing,
            subject: Subject {
                cluster: Some("kafka".to_owned()),
                group: Some("billing".to_owned()),
                topic: Some("orders".to_owned()),
                partition: Some(7),
                service: None,
            },
            sentence: String::new(),
            href: "/lag/kafka/billing".to_owned(),
            runbook: None,
            pending_since: at("02:50:10"),
            fires_at: None,
            fired_at: Some(at("02:52:10")),
            resolved_at: None,
            why_resolved: None,
            value: None,
            over: None,
            unit: None,
            last_hour: Vec::new(),
            acknowledged: None,
            silenced_by: None,
            inhibited_by: None,
            unknown_since: None,
            unknown_reason: None,
            flapping: false,
            told: vec!["#oncall".to_owned(), "PagerDuty".to_owned()],
        }
    }

    fn silence(matchers: Matchers) -> Silence {
        Silence {
            id: "s1".to_owned(),
            matchers,
            starts: at("02:00:00"),
            ends: at("08:00:00"),
            author: "ann".to_owned(),
            comment: String::new(),
            ended: None,
            active: true,
            silences_now: 0,
        }
    }

    fn said(alert: &Alert) -> String {
        plain(&facts(alert, at("03:12:40")).join(" · "))
    }

    #[test]
    fn a_groups_page_leads_to_a_silence_of_that_group() {
        let of = silence_of_group("kafka", "billing/eu");
        let matchers = group_of_silence(&of).unwrap_or_default();
        assert_eq!(matchers.cluster.as_deref(), Some("kafka"));
        assert_eq!(matchers.group.as_deref(), Some("billing/eu"));
        assert_eq!(matchers.rule, None);
        assert_eq!(group_of_silence("new"), None);
    }

    #[test]
    fn an_alert_says_how_long_since_when_and_who_was_told() {
        let mut alert = alert();
        assert_eq!(
            said(&alert),
            "firing 20 m, since 02:52 · told #oncall, PagerDuty"
        );
        alert.told.clear();
        assert_eq!(said(&alert), "firing 20 m, since 02:52 · told nobody");
        alert.phase = Phase::Pending;
        assert_eq!(
            said(&alert),
            "has been so for 22 m · not yet long enough to fire"
        );
        alert.fires_at = Some(at("03:14:40"));
        assert_eq!(said(&alert), "has been so for 22 m · fires in 2 m");
        alert.fires_at = Some(at("03:12:30"));
        assert_eq!(
            said(&alert),
            "has been so for 22 m · fires at the next look"
        );
        alert.phase = Phase::Resolved;
        alert.resolved_at = Some(at("03:10:00"));
        alert.why_resolved = Some("under 30 s for 5 m".to_owned());
        assert_eq!(
            said(&alert),
            "over since 03:10, fired for 17 m · under 30 s for 5 m"
        );
    }

    #[test]
    fn what_an_alert_is_about_is_the_nearest_name() {
        let mut subject = alert().subject;
        assert_eq!(about(&subject), "billing on kafka");
        assert_eq!(names(&subject), ["billing", "orders"]);
        subject.group = None;
        subject.topic = None;
        assert_eq!(about(&subject), "kafka");
        subject.cluster = None;
        assert_eq!(about(&subject), "Highwater itself");
    }

    #[test]
    fn who_has_seen_is_said_without_a_zero() {
        assert_eq!(acknowledged(0, 4), "nobody has acknowledged");
        assert_eq!(acknowledged(1, 4), "1 of 4 acknowledged");
        assert_eq!(acknowledged(4, 4), "all acknowledged");
        assert_eq!(acknowledged(0, 0), "");
    }

    #[test]
    fn rules_are_counted_by_where_they_are_from() {
        let rule = |origin: &str| Rule {
            spec: RuleSpec::default(),
            name: String::new(),
            origin: origin.to_owned(),
            watches: String::new(),
            fires_over: String::new(),
            severity: Severity::Warning,
            enabled: true,
            firing: 0,
            fired_7d: 0,
        };
        let rules = ["form", "file", "file", "built_in"].map(rule);
        assert_eq!(
            counted(&rules, Some("/etc/highwater/rules.toml")),
            "4: 1 made here, 2 from rules.toml, 1 built in"
        );
        assert_eq!(counted(&rules[3..], None), "1: 1 built in");
        assert_eq!(counted(&[], None), "none");
    }

    #[test]
    fn a_silence_says_what_it_covers_and_until_when() {
        let now = at("03:12:40");
        let group = Matchers {
            group: Some("warehouse-*".to_owned()),
            ..Matchers::default()
        };
        let mut silence = silence(group);
        assert_eq!(matchers(&silence.matchers), ["group = warehouse-*"]);
        assert_eq!(covers(&silence, now), "every rule, until 08:00");
        silence.silences_now = 1;
        assert_eq!(
            covers(&silence, now),
            "every rule, until 08:00, keeps 1 alert quiet now"
        );
        silence.matchers.rule = Some("time-lag".to_owned());
        silence.starts = at("05:00:00");
        assert_eq!(covers(&silence, now), "from 05:00 until 08:00");
        silence.ended = Some(Act {
            by: "bob".to_owned(),
            at: at("03:00:00"),
        });
        assert_eq!(covers(&silence, now), "ended 03:00 by bob");
    }

    #[test]
    fn a_glob_is_matched_as_the_collector_does_or_not_at_all() {
        for (glob, text, matched) in [
            ("*", "", true),
            ("bill*", "billing", true),
            ("*-retry", "billing-retry", true),
            ("a*b*c", "aXbYbc", true),
            ("a*b*c", "aXbY", false),
            ("b?lling", "billing", true),
            ("billing", "billing-retry", false),
            ("", "x", false),
        ] {
            assert_eq!(matches(glob, text), Some(matched), "{glob} {text}");
        }
        assert_eq!(matches("[ab]*", "a"), None);
    }

    #[test]
    fn a_silence_made_of_an_alert_covers_it() {
        let firing = alert();
        let mut over = alert();
        over.phase = Phase::Resolved;
        let alerts = [firing.clone(), over];
        assert_eq!(covered(&matchers_of(&firing), &alerts), Some(1));
        let other = Matchers {
            group: Some("loyalty".to_owned()),
            ..Matchers::default()
        };
        assert_eq!(covered(&other, &alerts), Some(0));
        let strange = Matchers {
            group: Some("{a,b}".to_owned()),
            ..Matchers::default()
        };
        assert_eq!(covered(&strange, &alerts), None);
    }

    #[test]
    fn the_morning_is_the_next_one() {
        assert_eq!(next_morning(at("03:12:40")), at("08:00:00"));
        assert_eq!(
            next_morning(at("08:00:00")),
            Instant(at("08:00:00").0 + DAY)
        );
        assert_eq!(field(at("08:00:00")), "2026-03-17T08:00");
        assert_eq!(from_field("2026-03-17T08:00"), Some(at("08:00:00")));
        assert_eq!(from_field(""), None);
    }

    #[test]
    fn an_event_of_a_kind_not_known_here_is_still_said() {
        assert_eq!(event_word("fired"), "Fired");
        assert_eq!(event_word("unsilenced"), "Silence ended");
        assert_eq!(event_word("moved_on"), "Moved on");
        assert_eq!(event_word(""), "");
    }
}
