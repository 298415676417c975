//! Services seen, and how fast spans come: counted as they are committed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use highwater_model::{ServiceKey, Span, UnixNanos};
use highwater_shared::Instant;
use highwater_shared::status::ServiceStatus;
use parking_lot::Mutex;

/// Services told apart; names come from outside.
const MAX_SERVICES: usize = 10_000;
const RATE_OVER: Duration = Duration::from_secs(60);

/// Who sent spans since the process started, or since the store began when it was replayed.
#[derive(Debug, Default)]
pub struct Services(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    services: BTreeMap<ServiceKey, (UnixNanos, u64)>,
    /// Second and spans.
    recent: VecDeque<(u64, u64)>,
}

impl Services {
    /// Notes a committed block.
    pub fn note<'s>(&self, spans: impl IntoIterator<Item = &'s Span>, now: UnixNanos) {
        let mut counts: Vec<(&ServiceKey, u64)> = Vec::new();
        for span in spans {
            // The spans of a service come together: a request's resource is one service.
            match counts.last_mut() {
                Some((service, count)) if **service == span.service => *count += 1,
                _ => counts.push((&span.service, 1)),
            }
        }
        let mut seen = self.0.lock();
        let mut spans = 0;
        for (service, more) in counts {
            spans += more;
            if let Some((last, count)) = seen.services.get_mut(service) {
                *last = (*last).max(now);
                *count += more;
            } else if seen.services.len() < MAX_SERVICES {
                seen.services.insert(service.clone(), (now, more));
            }
        }
        let second = now.0 / 1_000_000_000;
        match seen.recent.back_mut() {
            Some((last, count)) if *last == second => *count += spans,
            _ => seen.recent.push_back((second, spans)),
        }
        while seen
            .recent
            .front()
            .is_some_and(|(at, _)| at + 2 * RATE_OVER.as_secs() < second)
        {
            seen.recent.pop_front();
        }
    }

    /// Spans a second over the last minute.
    #[must_use]
    pub fn rate(&self, now: UnixNanos) -> f64 {
        let from = (now - RATE_OVER).0 / 1_000_000_000;
        let seen = self.0.lock();
        let spans: u64 = seen
            .recent
            .iter()
            .filter(|(second, _)| *second > from)
            .map(|(_, count)| count)
            .sum();
        spans as f64 / RATE_OVER.as_secs_f64()
    }

    /// All of them, by environment and name.
    #[must_use]
    pub fn all(&self) -> Vec<ServiceStatus> {
        let seen = self.0.lock();
        seen.services
            .iter()
            .map(|(key, (last_seen, spans))| ServiceStatus {
                environment: key.environment.to_string(),
                namespace: key.namespace.to_string(),
                name: key.name.to_string(),
                last_seen: Instant(last_seen.0),
                spans: *spans,
            })
            .collect()
    }
}
