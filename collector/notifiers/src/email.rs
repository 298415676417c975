//! Mail by SMTP: text and HTML of the same words.
//!
//! All mails about an alert refer to one id made of the alert's, so that a mail program shows them as one conversation.
//! A mail that is sent again has the same `Message-ID`. Headers are written by lettre, which encodes whatever could end
//! one; what stands in a subject is made one line before.

use std::time::Duration;

use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use sha2::{Digest, Sha256};

use crate::error::DeliveryError;
use crate::message::{Item, Kind, Message};
use crate::secret::{Secret, scrubbed};
use crate::settings::{Mail, Security};
use crate::text::{cut, escaped, link, one_line, rfc3339};

/// Alerts written out in a mail.
const MAX_ALERTS: usize = 100;

/// Conversations that a mail belongs to.
const MAX_REFERENCES: usize = 20;

const TEXT_CHARS: usize = 2_000;

/// Commands that a delivery takes, more or less: each may take as long as the channel allows, all of them not as long as
/// all of that.
const COMMANDS: u32 = 3;

/// Sends the message to everybody of the channel, in one mail.
pub(crate) async fn send(
    channel: &str,
    mail: &Mail,
    password: Option<&Secret>,
    message: &Message,
    timeout: Duration,
) -> Result<String, DeliveryError> {
    let server = format!("{}:{}", mail.host, mail.port);
    let failed = |error: lettre::transport::smtp::Error| {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        DeliveryError::Smtp {
            server: server.clone(),
            problem: one_line(&scrubbed(&text, &[password]), 300),
            // "Client": what we asked for makes no sense, now as later.
            retryable: !error.is_permanent() && !error.is_client(),
        }
    };
    let letter = letter(mail, message).map_err(|problem| DeliveryError::Encode {
        channel: channel.to_owned(),
        problem,
    })?;
    let tls = match mail.security {
        Security::None => Tls::None,
        Security::Starttls => Tls::Required(TlsParameters::new(mail.host.clone()).map_err(failed)?),
        Security::Tls => Tls::Wrapper(TlsParameters::new(mail.host.clone()).map_err(failed)?),
    };
    let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&mail.host)
        .port(mail.port)
        .tls(tls)
        .timeout(Some(timeout));
    if let (Some((username, _)), Some(password)) = (&mail.login, password) {
        let login = Credentials::new(username.clone(), password.expose().to_owned());
        transport = transport.credentials(login);
    }
    let transport = transport.build();
    let sending = transport.send(letter);
    let sent = tokio::time::timeout(timeout * COMMANDS, sending).await;
    let response = sent.map_err(|_| DeliveryError::NoAnswer {
        server: server.clone(),
        problem: format!(
            "the mail was not taken in {}",
            humantime::format_duration(timeout * COMMANDS)
        ),
    })?;
    let response = response.map_err(failed)?;
    let said: Vec<&str> = response.message().collect();
    Ok(one_line(
        &scrubbed(
            &format!("{} {}", response.code(), said.join(" ")),
            &[password],
        ),
        300,
    ))
}

fn letter(mail: &Mail, message: &Message) -> Result<lettre::Message, String> {
    let id = |what: &str| message_id(what, &mail.from);
    let conversations: Vec<String> = message
        .alerts
        .iter()
        .take(MAX_REFERENCES)
        .map(|item| id(&format!("alert {}", item.id)))
        .collect();
    let mut letter = lettre::Message::builder()
        .from(mail.from.clone())
        .subject(message.title())
        .message_id(Some(id(&format!("message {}", message.key))))
        .date_now();
    for to in &mail.to {
        letter = letter.to(to.clone());
    }
    if let Some(first) = conversations.first() {
        letter = letter
            .in_reply_to(first.clone())
            .references(conversations.join(" "));
    }
    letter
        .multipart(MultiPart::alternative_plain_html(
            text(message),
            html(message),
        ))
        .map_err(|error| error.to_string())
}

fn message_id(what: &str, from: &Mailbox) -> String {
    let hash = hex::encode(Sha256::digest(what.as_bytes()));
    format!("<{}.highwater@{}>", &hash[..32], from.email.domain())
}

/// What is said of an alert below its sentence: a name and a value each, and whether the value is an address.
fn facts(item: &Item) -> Vec<(String, String)> {
    let mut facts = vec![("Severity".to_owned(), item.severity.as_str().to_owned())];
    if let Some(last_hour) = &item.last_hour {
        facts.push(("Last hour".to_owned(), last_hour.clone()));
    }
    facts.push(("Since".to_owned(), rfc3339(item.since)));
    if let Some(resolved_at) = item.resolved_at {
        facts.push(("Resolved".to_owned(), rfc3339(resolved_at)));
    }
    let labels: Vec<_> = item
        .labels
        .iter()
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    if !labels.is_empty() {
        facts.push(("About".to_owned(), labels.join(", ")));
    }
    facts.push(("Rule".to_owned(), item.rule.clone()));
    facts.push(("Why".to_owned(), item.url.clone()));
    if let Some(runbook) = &item.runbook {
        facts.push(("Runbook".to_owned(), runbook.clone()));
    }
    facts
}

fn shown(message: &Message) -> &[Item] {
    &message.alerts[..message.alerts.len().min(MAX_ALERTS)]
}

fn heading(message: &Message) -> &'static str {
    match message.kind {
        Kind::Fired => "Firing",
        Kind::Resolved => "Resolved",
        Kind::Test => "This is a test: nothing has happened.",
    }
}

fn text(message: &Message) -> String {
    let mut text = format!("{}\n", heading(message));
    for item in shown(message) {
        text.push_str(&format!("\n{}\n", one_line(&item.sentence, TEXT_CHARS)));
        for (name, value) in facts(item) {
            text.push_str(&format!("  {name}: {}\n", one_line(&value, TEXT_CHARS)));
        }
    }
    if let Some(more) = message.more(shown(message).len()) {
        text.push_str(&format!("\n{more}\n"));
    }
    text
}

fn html(message: &Message) -> String {
    let mut html = format!(
        "<!doctype html><html><body style=\"font-family:sans-serif\"><p>{}</p>",
        escape(heading(message))
    );
    for item in shown(message) {
        html.push_str(&format!(
            "<h3 style=\"margin-bottom:4px\">{}</h3><table cellpadding=\"2\">",
            escape(&item.sentence)
        ));
        for (name, value) in facts(item) {
            let is_address = matches!(name.as_str(), "Why" | "Runbook");
            let value = match link(&value).filter(|_| is_address) {
                // One that is cut leads elsewhere: too long a link is text.
                Some(url) if url.as_str().len() <= TEXT_CHARS / 6 => {
                    let url = escape(url.as_str());
                    format!("<a href=\"{url}\">{url}</a>")
                }
                _ => escape(&value),
            };
            html.push_str(&format!("<tr><td>{name}</td><td>{value}</td></tr>"));
        }
        html.push_str("</table>");
    }
    if let Some(more) = message.more(shown(message).len()) {
        html.push_str(&format!("<p>{}</p>", escape(&more)));
    }
    html.push_str("</body></html>");
    html
}

fn escape(text: &str) -> String {
    escaped(&cut(text, TEXT_CHARS), TEXT_CHARS, |c| match c {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '"' => Some("&quot;"),
        '\'' => Some("&#39;"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::testing::{item, message};

    fn written(message: &Message) -> String {
        let mail = Mail {
            host: "localhost".to_owned(),
            port: 25,
            security: Security::None,
            login: None,
            from: "Highwater <hw@example.com>".parse().unwrap(),
            to: vec![
                "a@example.com".parse().unwrap(),
                "b@example.com".parse().unwrap(),
            ],
        };
        String::from_utf8(letter(&mail, message).unwrap().formatted()).unwrap()
    }

    /// The value of a header, unfolded.
    fn header(mail: &str, name: &str) -> Option<String> {
        let (head, _) = mail.split_once("\r\n\r\n")?;
        let head = head.replace("\r\n ", " ");
        let prefix = format!("{name}: ");
        let found: Vec<_> = head
            .lines()
            .filter_map(|line| line.strip_prefix(&prefix))
            .collect();
        assert!(found.len() <= 1, "{name} stands there twice:\n{head}");
        found.first().map(|value| (*value).to_owned())
    }

    #[test]
    fn mails_about_an_alert_are_one_conversation_and_a_second_try_is_the_same_mail() {
        let fired = message(Kind::Fired, vec![item("a"), item("b")]);
        let mut resolved = message(Kind::Resolved, vec![item("b")]);
        resolved.key = "resolved/prod/2".to_owned();
        let (first, again, second) = (written(&fired), written(&fired), written(&resolved));
        assert_eq!(header(&first, "Message-ID"), header(&again, "Message-ID"));
        assert_ne!(header(&first, "Message-ID"), header(&second, "Message-ID"));
        let of_b = header(&second, "References").unwrap();
        assert!(header(&first, "References").unwrap().contains(&of_b));
        assert_eq!(header(&second, "In-Reply-To"), Some(of_b));
        assert_eq!(
            header(&first, "To").unwrap(),
            "a@example.com, b@example.com"
        );
    }

    #[test]
    fn nothing_from_outside_adds_a_header_or_markup() {
        let mut odd = item("a>\r\nBcc: x@evil.example");
        odd.sentence = "lag\r\nBcc: x@evil.example\r\n\r\n<script>alert('1')</script>".to_owned();
        odd.url = "javascript:alert(1)".to_owned();
        let mut message = message(Kind::Fired, vec![odd]);
        message.key = "k\r\nBcc: x@evil.example".to_owned();
        let mail = written(&message);
        assert_eq!(header(&mail, "Bcc"), None);
        assert!(
            header(&mail, "Subject")
                .unwrap()
                .starts_with("Critical: lag  Bcc:"),
            "{mail}"
        );
        let html = html(&message);
        assert!(html.contains("&lt;script&gt;alert(&#39;1&#39;)"), "{html}");
        assert!(
            !html.contains("<script") && !html.contains("href=\"javascript"),
            "{html}"
        );
    }

    #[test]
    fn text_and_html_say_the_same() {
        let mut message = message(Kind::Fired, vec![item("a"); 150]);
        message.omitted = 7;
        let (text, html) = (text(&message), html(&message));
        for part in [
            "billing is 12,400 messages (3 m 20 s) behind on orders.",
            "12,400 ▁▂▅▇ over the last hour, from 0",
            "cluster prod, group billing, topic orders",
            "https://runbooks.example/lag",
            "and 57 more alerts",
        ] {
            assert!(text.contains(part) && html.contains(part), "{part}");
        }
        assert!(
            html.contains(
                "<a href=\"http://127.0.0.1:8844/groups/prod/billing?range=1h&amp;at=1\">"
            )
        );
    }
}
