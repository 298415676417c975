//! Prometheus Alertmanager, API v2.
//!
//! An alert is known there by its labels, so they are the same when it fires and when it is resolved. What fires ends by
//! itself after five minutes unless it is told again: an Alertmanager whose Highwater is gone does not wake people for
//! ever.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use highwater_model::UnixNanos;
use reqwest::Url;
use serde::Serialize;

use crate::http::Post;
use crate::message::{Item, Kind, Message};
use crate::secret::Secret;
use crate::text::{cut, link, rfc3339};

const FIRES_FOR: Duration = Duration::from_secs(300);
const TEST_FOR: Duration = Duration::from_secs(60);
const MAX_CHARS: usize = 1_024;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<&'static str, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL", skip_serializing_if = "Option::is_none")]
    generator_url: Option<String>,
}

/// Writes the message as of `now`. Alerts that are not listed in it are not told: this format has no place for a number.
pub(crate) fn post(
    root: &Url,
    username: Option<&str>,
    secret: Option<&Secret>,
    message: &Message,
    now: UnixNanos,
) -> Result<Post, String> {
    let mut url = root.clone();
    url.set_path(&format!(
        "{}/api/v2/alerts",
        root.path().trim_end_matches('/')
    ));
    let alerts: Vec<Alert> = message
        .alerts
        .iter()
        .map(|item| alert(item, message.kind, now))
        .collect();
    let mut post = Post::json(url, &alerts)?;
    if let Some(secret) = secret {
        let authorization = match username {
            Some(username) => {
                let encoded = BASE64.encode(format!("{username}:{}", secret.expose()));
                format!("Basic {encoded}")
            }
            None => format!("Bearer {}", secret.expose()),
        };
        post.header("authorization", &authorization)?;
    }
    Ok(post)
}

fn alert(item: &Item, kind: Kind, now: UnixNanos) -> Alert {
    let mut labels = BTreeMap::new();
    let mut add = |name: &str, value: &str| {
        if value.is_empty() {
            return;
        }
        let mut name = label_name(name);
        while labels.contains_key(&name) {
            name.push('_');
        }
        labels.insert(name, cut(value, MAX_CHARS));
    };
    // First, so that nothing from outside takes their names.
    add("alertname", &item.rule);
    add("severity", item.severity.as_str());
    for (name, value) in &item.labels {
        add(name, value);
    }
    let mut annotations = BTreeMap::from([("summary", cut(&item.sentence, MAX_CHARS))]);
    if let Some(runbook) = &item.runbook {
        annotations.insert("runbook_url", cut(runbook, MAX_CHARS));
    }
    if let Some(last_hour) = &item.last_hour {
        annotations.insert("last_hour", cut(last_hour, MAX_CHARS));
    }
    annotations.insert("highwater_id", cut(&item.id, MAX_CHARS));
    let ends_at = match kind {
        Kind::Fired => now + FIRES_FOR,
        Kind::Resolved => item.resolved_at.unwrap_or(now),
        Kind::Test => now + TEST_FOR,
    };
    Alert {
        labels,
        annotations,
        starts_at: rfc3339(item.since),
        // It refuses a whole message for one alert that ends before it began.
        ends_at: rfc3339(ends_at.max(item.since)),
        generator_url: link(&item.url).map(String::from),
    }
}

/// Letters, digits and `_`, not beginning with a digit: what every version takes.
fn label_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = name.chars().map(plain).take(100).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() {
        format!("_{name}")
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::testing::{AT, item, message};

    fn written(message: &Message) -> (Post, serde_json::Value) {
        let root = Url::parse("http://am:9093/prefix/").unwrap();
        let user = Some("u");
        let post = post(&root, user, Some(&Secret::new("p:w")), message, AT).unwrap();
        let body = serde_json::from_slice(&post.body).unwrap();
        (post, body)
    }

    #[test]
    fn what_fires_ends_by_itself_and_what_is_resolved_has_ended_under_the_same_labels() {
        let (post, fired) = written(&message(Kind::Fired, vec![item("a")]));
        assert_eq!(post.url.as_str(), "http://am:9093/prefix/api/v2/alerts");
        assert_eq!(post.headers["authorization"], "Basic dTpwOnc=");
        let labels = serde_json::json!({
            "alertname": "Time lag over 1 m", "severity": "critical",
            "cluster": "prod", "group": "billing", "topic": "orders",
        });
        assert_eq!(fired[0]["labels"], labels);
        assert_eq!(fired[0]["startsAt"], "2026-03-17T03:00:00.000Z");
        assert_eq!(fired[0]["endsAt"], "2026-03-17T03:05:00.000Z");
        assert_eq!(
            fired[0]["generatorURL"],
            "http://127.0.0.1:8844/groups/prod/billing?range=1h&at=1"
        );
        assert_eq!(
            fired[0]["annotations"]["runbook_url"],
            "https://runbooks.example/lag"
        );
        let mut over = item("a");
        over.resolved_at = Some(AT + Duration::from_secs(60));
        let (_, resolved) = written(&message(Kind::Resolved, vec![over]));
        assert_eq!(resolved[0]["labels"], labels);
        assert_eq!(resolved[0]["endsAt"], "2026-03-17T03:01:00.000Z");
    }

    #[test]
    fn labels_from_outside_are_made_fit_and_take_no_name_that_is_ours() {
        let mut odd = item("a");
        odd.url = "not an address".to_owned();
        odd.since = AT + Duration::from_secs(9_999);
        odd.labels = [
            ("1st-ü", "x"),
            ("alertname", "mine"),
            ("a.b", "1"),
            ("a-b", "2"),
            ("none", ""),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let (_, body) = written(&message(Kind::Resolved, vec![odd]));
        let expected = serde_json::json!({
            "alertname": "Time lag over 1 m", "alertname_": "mine", "severity": "critical",
            "_1st__": "x", "a_b": "2", "a_b_": "1",
        });
        assert_eq!(body[0]["labels"], expected);
        assert_eq!(body[0].get("generatorURL"), None);
        assert_eq!(body[0]["endsAt"], body[0]["startsAt"]);
    }
}
