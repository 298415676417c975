//! Where an alert is explained, and what it is about in words.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use highwater_alerts::{Alert, Subject};

/// The page of the dashboard that explains an alert: its path.
#[must_use]
pub fn href(alert: &Alert) -> String {
    let Subject {
        cluster,
        group,
        topic,
        service,
        ..
    } = &alert.subject;
    let cluster = cluster.as_deref().map(segment);
    match (cluster, group, topic, service) {
        (Some(cluster), Some(group), _, _) => format!("/lag/{cluster}/{}", segment(group)),
        (Some(cluster), None, Some(topic), _) => {
            format!("/dead-letters/{cluster}/{}", segment(topic))
        }
        (_, _, _, Some(service)) => format!("/map?sel=service%3A{}", segment(service)),
        _ => "/settings/health".to_owned(),
    }
}

/// What an alert is about: `billing on kafka`.
#[must_use]
pub fn in_words(subject: &Subject) -> String {
    let Subject {
        cluster,
        group,
        topic,
        service,
        ..
    } = subject;
    let thing = match (group, topic, service) {
        (Some(group), _, _) => Some(group),
        (None, Some(topic), _) => Some(topic),
        (None, None, service) => service.as_ref(),
    };
    match (thing, cluster) {
        (Some(thing), Some(cluster)) => format!("{thing} on {cluster}"),
        (Some(one), None) | (None, Some(one)) => one.to_string(),
        (None, None) => "the collector".to_owned(),
    }
}

/// What history calls the subject of a group's alerts.
#[must_use]
pub fn of_group(cluster: &str, group: &str) -> String {
    in_words(&Subject {
        cluster: Some(cluster.into()),
        group: Some(group.into()),
        ..Subject::default()
    })
}

/// An alert's labels, as other systems group by.
pub(crate) fn labels(alert: &Alert) -> BTreeMap<String, String> {
    let subject = &alert.subject;
    let partition = subject.partition.map(|partition| partition.to_string());
    [
        ("cluster", subject.cluster.as_deref()),
        ("group", subject.group.as_deref()),
        ("topic", subject.topic.as_deref()),
        ("partition", partition.as_deref()),
        ("service", subject.service.as_deref()),
        ("watch", Some(alert.watch.as_str())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
    .collect()
}

/// A name as one segment of a path: names come from outside.
fn segment(name: &str) -> String {
    let mut segment = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(segment, "%{byte:02X}");
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use super::segment;

    #[test]
    fn a_name_from_outside_is_one_segment_of_a_path() {
        assert_eq!(segment("orders.v1"), "orders.v1");
        assert_eq!(segment("a/b?c#d e"), "a%2Fb%3Fc%23d%20e");
    }
}
