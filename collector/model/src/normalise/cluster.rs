//! What a span says about its broker.

use std::borrow::Cow;
use std::sync::Arc;

use super::destination::sqs_broker;
use super::fields::name;
use super::values::View;
use crate::span::ClusterHint;

/// Reads the hint: the broker's own id where an SDK knows it (the Java agent and kafkajs, beside old keys too;
/// Spring in `peer.service`), and an address that an alias may resolve.
pub(super) fn hint(view: &View<'_>, system: &str) -> ClusterHint {
    let id = view
        .text(&["messaging.kafka.cluster.id"])
        .or_else(|| match view.text(&["peer.service"])? {
            Cow::Borrowed(peer) => Some(Cow::Borrowed(peer.strip_prefix("Apache Kafka: ")?)),
            Cow::Owned(_) => None,
        })
        .and_then(|id| name(&id));
    let address = match system {
        // The URL is the queue's: only its host and account tell the broker.
        "aws_sqs" => sqs_broker(view).or_else(|| address(view)),
        _ => address(view),
    };
    ClusterHint { id, address }
}

fn address(view: &View<'_>) -> Option<Arc<str>> {
    [
        ("server.address", "server.port"),
        ("messaging.url", ""),
        ("net.peer.name", "net.peer.port"),
        ("network.peer.address", "network.peer.port"),
        ("peer.address", ""),
    ]
    .iter()
    .find_map(|(host, port)| {
        let text = view.text(&[host])?;
        let host = first_host(&text)?;
        let port = view.int(&[port]).filter(|port| (1..=65535).contains(port));
        name(&with_port(host, port))
    })
}

/// The first host of what SDKs write: `"host:port"` with its quotes and `["a:1", "b:2"]` as text (kafka-python,
/// aiokafka), `a:1,b:2`, `amqp://user:secret@host:port/vhost`. Whatever stands before `@` never leaves here.
fn first_host(text: &str) -> Option<&str> {
    let quote = |c: char| matches!(c, '"' | '\'') || c.is_whitespace();
    let mut text = text.trim_matches(quote);
    if let Some(list) = text.strip_prefix('[')
        && list.trim_start().starts_with(['"', '\'', ']'])
    {
        text = list.strip_suffix(']').unwrap_or(list);
    }
    let first = text.split(',').next()?.trim_matches(quote);
    let rest = first.split_once("://").map_or(first, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next()?;
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    (!host.is_empty()).then_some(host)
}

fn with_port(host: &str, port: Option<i64>) -> String {
    let bare_v6 = host.matches(':').count() > 1 && !host.starts_with('[');
    let has_port = !bare_v6
        && host
            .rsplit_once(':')
            .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    match port {
        Some(port) if bare_v6 => format!("[{host}]:{port}"),
        Some(port) if !has_port => format!("{host}:{port}"),
        _ => host.to_owned(),
    }
}
