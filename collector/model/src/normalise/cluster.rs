//! What a span says about its broker.

use std::borrow::Cow;
use std::sync::Arc;

use super::destination::sqs_broker;
use super::fields::name;
use super::values::View;
use crate::sent::{Key, keys};
use crate::span::ClusterHint;
use crate::words::Words;

/// Reads the hint: the broker's own id where an SDK knows it (the Java agent and kafkajs, beside old keys too;
/// Spring in `peer.service`), and an address that an alias may resolve.
pub(super) fn hint(view: &View<'_>, system: &str, words: &mut Words) -> ClusterHint {
    let id = view
        .text(&keys!["messaging.kafka.cluster.id"])
        .or_else(|| match view.text(&keys!["peer.service"])? {
            Cow::Borrowed(peer) => Some(Cow::Borrowed(peer.strip_prefix("Apache Kafka: ")?)),
            Cow::Owned(_) => None,
        })
        .and_then(|id| name(&id, words));
    let address = match system {
        // The URL is the queue's: only its host and account tell the broker.
        "aws_sqs" => sqs_broker(view, words).or_else(|| address(view, words)),
        _ => address(view, words),
    };
    ClusterHint { id, address }
}

fn address(view: &View<'_>, words: &mut Words) -> Option<Arc<str>> {
    const HOSTS: [(Key, Option<Key>); 5] = [
        (
            Key::named("server.address"),
            Some(Key::named("server.port")),
        ),
        (Key::named("messaging.url"), None),
        (
            Key::named("net.peer.name"),
            Some(Key::named("net.peer.port")),
        ),
        (
            Key::named("network.peer.address"),
            Some(Key::named("network.peer.port")),
        ),
        (Key::named("peer.address"), None),
    ];
    HOSTS.iter().find_map(|(host, port)| {
        let text = view.text(&[*host])?;
        let host = first_host(&text)?;
        let port = port
            .and_then(|port| view.int(&[port]))
            .filter(|port| (1..=65535).contains(port));
        name(&with_port(host, port), words)
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

fn with_port(host: &str, port: Option<i64>) -> Cow<'_, str> {
    let bare_v6 = host.matches(':').count() > 1 && !host.starts_with('[');
    let has_port = !bare_v6
        && host
            .rsplit_once(':')
            .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    match port {
        Some(port) if bare_v6 => format!("[{host}]:{port}").into(),
        Some(port) if !has_port => format!("{host}:{port}").into(),
        _ => host.into(),
    }
}
