//! A signed POST of JSON.
//!
//! ```json
//! {"version": 1, "key": "…", "kind": "fired", "at": "2026-03-17T03:00:00.000Z", "omitted": 0,
//!  "alerts": [{"id": "…", "rule": "Time lag over 1 m", "rule_id": "time-lag", "severity": "critical",
//!    "sentence": "…", "since": "…", "resolved_at": null, "url": "…", "runbook": null,
//!    "labels": {"cluster": "prod"}, "last_hour": "…"}]}
//! ```
//!
//! `kind` is `fired`, `resolved` or `test`. Fields may be added; `version` rises when one goes or changes its meaning.
//! `X-Highwater-Delivery` is the message's key: one that comes twice has the same.
//!
//! `X-Highwater-Signature: t=UNIX,v1=HEX`. To verify: take the bytes of the body as they came; compute HMAC-SHA256 with
//! the shared secret over the digits of `t`, a dot, and the body; compare with `v1` in constant time; refuse a `t` that is
//! more than five minutes off, so that a message that was overheard cannot be sent again later.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use reqwest::Url;
use serde::Serialize;
use sha2::Sha256;

use crate::http::Post;
use crate::message::{Item, Message, Severity};
use crate::secret::Secret;
use crate::text::rfc3339;

const VERSION: u32 = 1;

#[derive(Serialize)]
struct Body<'a> {
    version: u32,
    key: &'a str,
    kind: &'static str,
    at: String,
    omitted: usize,
    alerts: Vec<Alert<'a>>,
}

#[derive(Serialize)]
struct Alert<'a> {
    id: &'a str,
    rule: &'a str,
    rule_id: &'a str,
    severity: Severity,
    sentence: &'a str,
    since: String,
    resolved_at: Option<String>,
    url: &'a str,
    runbook: Option<&'a str>,
    labels: &'a BTreeMap<String, String>,
    last_hour: Option<&'a str>,
}

impl<'a> Alert<'a> {
    fn of(item: &'a Item) -> Self {
        Self {
            id: &item.id,
            rule: &item.rule,
            rule_id: &item.rule_id,
            severity: item.severity,
            sentence: &item.sentence,
            since: rfc3339(item.since),
            resolved_at: item.resolved_at.map(rfc3339),
            url: &item.url,
            runbook: item.runbook.as_deref(),
            labels: &item.labels,
            last_hour: item.last_hour.as_deref(),
        }
    }
}

/// Writes the message; `unix_s` is when it is sent.
pub(crate) fn post(url: Url, key: &Secret, message: &Message, unix_s: u64) -> Result<Post, String> {
    let body = Body {
        version: VERSION,
        key: &message.key,
        kind: message.kind.as_str(),
        at: rfc3339(message.at),
        omitted: message.omitted,
        alerts: message.alerts.iter().map(Alert::of).collect(),
    };
    let mut post = Post::json(url, &body)?;
    let signature = signature(key, unix_s, &post.body)?;
    post.header("x-highwater-signature", &signature)?;
    // A header holds no more than what can be seen of ASCII.
    let key: String = message
        .key
        .chars()
        .map(|c| if c.is_ascii_graphic() { c } else { '_' })
        .take(200)
        .collect();
    post.header("x-highwater-delivery", &key)?;
    Ok(post)
}

fn signature(key: &Secret, unix_s: u64, body: &[u8]) -> Result<String, String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes())
        .map_err(|error| error.to_string())?;
    mac.update(format!("{unix_s}.").as_bytes());
    mac.update(body);
    let code = hex::encode(mac.finalize().into_bytes());
    Ok(format!("t={unix_s},v1={code}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Kind;
    use crate::message::testing::{item, message};

    #[test]
    fn the_signature_is_that_of_another_implementation() {
        // printf '1773716400.{"a":1}' | openssl dgst -sha256 -hmac whsec
        assert_eq!(
            signature(&Secret::new("whsec"), 1_773_716_400, br#"{"a":1}"#).unwrap(),
            "t=1773716400,v1=d091be615d1bb04c31a7f20b46cc0fa48277ce2c0ed8021abe526ab4dea097e8"
        );
    }

    #[test]
    fn the_body_is_as_documented() {
        let url = Url::parse("http://h/x").unwrap();
        let message = message(Kind::Fired, vec![item("a/1")]);
        let post = post(url, &Secret::new("k"), &message, 1).unwrap();
        let body: serde_json::Value = serde_json::from_slice(&post.body).unwrap();
        let expected = serde_json::json!({
            "version": 1,
            "key": "fired/prod/1",
            "kind": "fired",
            "at": "2026-03-17T03:00:00.000Z",
            "omitted": 0,
            "alerts": [{
                "id": "a/1",
                "rule": "Time lag over 1 m",
                "rule_id": "time-lag",
                "severity": "critical",
                "sentence": "billing is 12,400 messages (3 m 20 s) behind on orders.",
                "since": "2026-03-17T03:00:00.000Z",
                "resolved_at": null,
                "url": "http://127.0.0.1:8844/groups/prod/billing?range=1h&at=1",
                "runbook": "https://runbooks.example/lag",
                "labels": {"cluster": "prod", "group": "billing", "topic": "orders"},
                "last_hour": "12,400 ▁▂▅▇ over the last hour, from 0",
            }],
        });
        assert_eq!(body, expected);
        assert_eq!(post.headers["x-highwater-delivery"], "fired/prod/1");
        assert!(!format!("{post:?}").contains("v1="), "{post:?}");
    }
}
