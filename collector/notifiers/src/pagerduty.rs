//! PagerDuty, Events API v2: one event an alert, told apart by the alert's id.

use reqwest::Url;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::http::Post;
use crate::message::{Item, Kind, Message};
use crate::secret::Secret;
use crate::text::{cut, link, one_line, rfc3339};

const SUMMARY_CHARS: usize = 1_024;
const KEY_CHARS: usize = 255;
const DETAIL_CHARS: usize = 1_024;
const DETAILS: usize = 50;

/// Writes the events of a message, to be sent in their order. Sending one again changes nothing there: it has the same
/// key. A test is an incident of severity `info` that is resolved at once.
pub(crate) fn posts(url: &Url, key: &Secret, message: &Message) -> Result<Vec<Post>, String> {
    let mut posts = Vec::new();
    for item in &message.alerts {
        if message.kind != Kind::Resolved {
            posts.push(Post::json(url.clone(), &trigger(key, item, message))?);
        }
        if message.kind != Kind::Fired {
            let resolve = json!({
                "routing_key": key.expose(),
                "event_action": "resolve",
                "dedup_key": dedup_key(&item.id),
            });
            posts.push(Post::json(url.clone(), &resolve)?);
        }
    }
    Ok(posts)
}

fn trigger(key: &Secret, item: &Item, message: &Message) -> Value {
    let severity = match message.kind {
        Kind::Test => "info",
        _ => item.severity.as_str(),
    };
    let label = |name: &str| item.labels.get(name).map(String::as_str);
    let mut details: Map<String, Value> = item
        .labels
        .iter()
        .take(DETAILS)
        .map(|(name, value)| (cut(name, 100), cut(value, DETAIL_CHARS).into()))
        .collect();
    details.insert("rule".to_owned(), cut(&item.rule, DETAIL_CHARS).into());
    if let Some(last_hour) = &item.last_hour {
        details.insert("last_hour".to_owned(), cut(last_hour, DETAIL_CHARS).into());
    }
    if message.omitted > 0 {
        details.insert("alerts_not_listed".to_owned(), message.omitted.into());
    }
    let links = [
        (Some(&item.url), "The page that explains it"),
        (item.runbook.as_ref(), "Runbook"),
    ];
    let links: Vec<Value> = links
        .into_iter()
        .filter_map(|(url, text)| Some(json!({"href": link(url?)?.as_str(), "text": text})))
        .collect();
    json!({
        "routing_key": key.expose(),
        "event_action": "trigger",
        "dedup_key": dedup_key(&item.id),
        "client": "Highwater",
        "links": links,
        "payload": {
            "summary": one_line(&item.sentence, SUMMARY_CHARS),
            // What is affected: never empty, which it would refuse.
            "source": cut(label("cluster").filter(|name| !name.is_empty()).unwrap_or("highwater"), DETAIL_CHARS),
            "component": label("group").or(label("topic")).or(label("service")),
            "class": item.rule_id,
            "severity": severity,
            "timestamp": rfc3339(item.since),
            "custom_details": details,
        },
    })
}

/// The alert's id, or where it is longer than a key may be, its hash.
fn dedup_key(id: &str) -> String {
    if id.chars().nth(KEY_CHARS).is_none() {
        return id.to_owned();
    }
    hex::encode(Sha256::digest(id.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::testing::{item, message};

    fn written(message: &Message) -> Vec<Value> {
        let url = Url::parse("https://events.example/v2/enqueue").unwrap();
        let posts = posts(&url, &Secret::new("R0UT1NG"), message).unwrap();
        let read = |post: &Post| serde_json::from_slice(&post.body).unwrap();
        posts.iter().map(read).collect()
    }

    #[test]
    fn an_alert_is_triggered_and_resolved_under_one_key() {
        let fired = written(&message(Kind::Fired, vec![item("a"), item("b")]));
        assert_eq!(fired.len(), 2);
        let expected = json!({
            "routing_key": "R0UT1NG",
            "event_action": "trigger",
            "dedup_key": "a",
            "client": "Highwater",
            "links": [
                {"href": "http://127.0.0.1:8844/groups/prod/billing?range=1h&at=1", "text": "The page that explains it"},
                {"href": "https://runbooks.example/lag", "text": "Runbook"},
            ],
            "payload": {
                "summary": "billing is 12,400 messages (3 m 20 s) behind on orders.",
                "source": "prod",
                "component": "billing",
                "class": "time-lag",
                "severity": "critical",
                "timestamp": "2026-03-17T03:00:00.000Z",
                "custom_details": {
                    "cluster": "prod", "group": "billing", "topic": "orders",
                    "rule": "Time lag over 1 m",
                    "last_hour": "12,400 ▁▂▅▇ over the last hour, from 0",
                },
            },
        });
        assert_eq!(fired[0], expected);
        let resolved = written(&message(Kind::Resolved, vec![item("a")]));
        let expected =
            json!({"routing_key": "R0UT1NG", "event_action": "resolve", "dedup_key": "a"});
        assert_eq!(resolved, [expected]);
    }

    #[test]
    fn a_test_leaves_no_incident_open() {
        let events = written(&message(Kind::Test, vec![item("t")]));
        assert_eq!(events[0]["payload"]["severity"], "info");
        assert_eq!(events[1]["event_action"], "resolve");
        assert_eq!(events[0]["dedup_key"], events[1]["dedup_key"]);
    }

    #[test]
    fn what_is_too_long_is_cut_and_a_long_id_still_tells_alerts_apart() {
        let mut long = item(&"é".repeat(300));
        long.sentence = "x\n".repeat(2_000);
        long.labels.clear();
        let mut other = long.clone();
        other.id.push('2');
        let events = written(&message(Kind::Fired, vec![long, other]));
        let summary = events[0]["payload"]["summary"].as_str().unwrap();
        assert_eq!(summary.chars().count(), 1_024);
        assert_eq!(events[0]["payload"]["source"], "highwater");
        let key = events[0]["dedup_key"].as_str().unwrap();
        assert!(key.len() <= 255, "{key}");
        assert_ne!(events[1]["dedup_key"], key);
    }
}
