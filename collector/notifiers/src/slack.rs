//! An incoming webhook of Slack's: blocks, within its limits.

use reqwest::Url;
use serde_json::{Value, json};

use crate::http::Post;
use crate::message::{Item, Kind, Message, Severity};
use crate::text::{cut, escaped, link, rfc3339};

/// A message has at most 50 blocks: two are the header and the end.
const MAX_ALERTS: usize = 45;
const HEADER_CHARS: usize = 150;
/// A section has at most 3,000 characters, of which each part takes its share.
const SENTENCE_CHARS: usize = 1_500;
const LINE_CHARS: usize = 400;
const LINK_CHARS: usize = 600;

/// Writes the message.
pub(crate) fn post(url: Url, message: &Message) -> Result<Post, String> {
    let title = message.title();
    let header = cut(&title, HEADER_CHARS);
    let mut blocks = vec![json!({
        "type": "header",
        "text": {"type": "plain_text", "text": header, "emoji": false},
    })];
    let shown = message.alerts.len().min(MAX_ALERTS);
    for item in &message.alerts[..shown] {
        blocks.push(json!({
            "type": "section",
            "text": {"type": "mrkdwn", "text": section(item, message.kind), "verbatim": true},
        }));
    }
    let mut end = rfc3339(message.at);
    if let Some(more) = message.more(shown) {
        end = format!("{more} · {end}");
    }
    blocks.push(json!({
        "type": "context",
        "elements": [{"type": "mrkdwn", "text": escape(&end, LINE_CHARS)}],
    }));
    let body: Value = json!({
        "text": escape(&title, SENTENCE_CHARS),
        "blocks": blocks,
        "unfurl_links": false,
        "unfurl_media": false,
    });
    Post::json(url, &body)
}

fn section(item: &Item, kind: Kind) -> String {
    let word = match (kind, item.severity) {
        (Kind::Resolved, _) => "Resolved",
        (Kind::Test, _) => "Test",
        (Kind::Fired, Severity::Critical) => "Critical",
        (Kind::Fired, Severity::Warning) => "Warning",
    };
    let mut text = format!("*{word}* {}", escape(&item.sentence, SENTENCE_CHARS));
    if let Some(last_hour) = &item.last_hour {
        text = format!("{text}\n{}", escape(last_hour, LINE_CHARS));
    }
    let links = [("Why", Some(&item.url)), ("Runbook", item.runbook.as_ref())];
    let links: Vec<_> = links
        .into_iter()
        .filter_map(|(name, url)| Some(format!("<{}|{name}>", target(url?)?)))
        .collect();
    if !links.is_empty() {
        text = format!("{text}\n{}", links.join(" · "));
    }
    text
}

/// An address for the inside of `<…|…>`; one that is too long to fit is left out, since half of it leads nowhere.
fn target(url: &str) -> Option<String> {
    let url = link(url)?.as_str().replace('|', "%7C");
    let whole = escape(&url, usize::MAX);
    (whole.len() <= LINK_CHARS).then_some(whole)
}

fn escape(text: &str, max: usize) -> String {
    escaped(text, max, |c| match c {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::testing::{item, message};

    fn written(message: &Message) -> Value {
        let url = Url::parse("https://hooks.slack.example/x").unwrap();
        serde_json::from_slice(&post(url, message).unwrap().body).unwrap()
    }

    #[test]
    fn an_alert_is_a_sentence_its_last_hour_and_links() {
        let body = written(&message(Kind::Fired, vec![item("a")]));
        assert_eq!(
            body["blocks"][0]["text"]["text"],
            "Critical: billing is 12,400 messages (3 m 20 s) behind on orders."
        );
        assert_eq!(
            body["blocks"][1]["text"]["text"],
            "*Critical* billing is 12,400 messages (3 m 20 s) behind on orders.\n\
             12,400 ▁▂▅▇ over the last hour, from 0\n\
             <http://127.0.0.1:8844/groups/prod/billing?range=1h&amp;at=1|Why> · \
             <https://runbooks.example/lag|Runbook>"
        );
        assert_eq!(
            body["blocks"][2]["elements"][0]["text"],
            "2026-03-17T03:00:00.000Z"
        );
    }

    #[test]
    fn names_from_outside_call_nobody_and_lead_nowhere() {
        let mut odd = item("a");
        odd.sentence = "<!channel> & <https://evil.example|click>".to_owned();
        odd.url = "javascript:alert(1)".to_owned();
        odd.runbook = Some("https://r.example/a|b>c".to_owned());
        let body = written(&message(Kind::Fired, vec![odd]));
        let text = body["blocks"][1]["text"]["text"].as_str().unwrap();
        assert!(
            text.starts_with(
                "*Critical* &lt;!channel&gt; &amp; &lt;https://evil.example|click&gt;"
            ),
            "{text}"
        );
        assert!(
            text.ends_with("\n<https://r.example/a%7Cb%3Ec|Runbook>"),
            "{text}"
        );
        assert!(!body["text"].as_str().unwrap().contains('<'));
    }

    #[test]
    fn however_much_there_is_to_say_it_stays_within_the_limits() {
        let mut long = item("a");
        long.sentence = "<&>".repeat(5_000);
        long.last_hour = Some("&".repeat(5_000));
        long.url = format!("https://h/?q={}", "&a".repeat(5_000));
        let mut message = message(Kind::Fired, vec![long; 300]);
        message.omitted = 1_000;
        let body = written(&message);
        let blocks = body["blocks"].as_array().unwrap();
        assert!(blocks.len() <= 50, "{}", blocks.len());
        for block in blocks {
            let text = block["text"]["text"].as_str().unwrap_or("");
            let limit = if block["type"] == "header" {
                150
            } else {
                3_000
            };
            assert!(text.chars().count() <= limit, "{}", text.len());
            // No entity is cut in two.
            let left = text
                .replace("&amp;", "")
                .replace("&lt;", "")
                .replace("&gt;", "");
            assert!(block["type"] == "header" || !left.contains('&'), "{left}");
        }
        let end = blocks.last().unwrap()["elements"][0]["text"].as_str();
        assert!(
            end.unwrap().starts_with("and 1255 more alerts · "),
            "{end:?}"
        );
    }
}
