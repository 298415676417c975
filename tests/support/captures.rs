//! Captures of real instrumentation, brought to now, and what can be expected of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use serde::Deserialize;

/// Where the fixtures are.
#[must_use]
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// What one SDK sent, request by request.
#[derive(Clone, Debug)]
pub struct Capture {
    /// The file's name without its ending.
    pub name: String,
    /// In the order in which they were sent.
    pub requests: Vec<ExportTraceServiceRequest>,
}

impl Capture {
    /// Reads `NAME.otlp`: a big-endian length of four bytes and a request, repeated.
    ///
    /// # Errors
    /// A file that is missing or not of this form.
    pub fn read(name: &str) -> anyhow::Result<Self> {
        let path = directory().join(format!("{name}.otlp"));
        let file =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut rest = file.as_slice();
        let mut requests = Vec::new();
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            ensure!(length <= after.len(), "{} is cut off", path.display());
            let (request, after) = after.split_at(length);
            requests.push(
                ExportTraceServiceRequest::decode(request)
                    .with_context(|| format!("request {} of {name}", requests.len()))?,
            );
            rest = after;
        }
        ensure!(rest.is_empty(), "{} is cut off", path.display());
        Ok(Self {
            name: name.to_owned(),
            requests,
        })
    }

    /// Spans in all requests.
    #[must_use]
    pub fn spans(&self) -> usize {
        self.requests
            .iter()
            .flat_map(|request| &request.resource_spans)
            .flat_map(|resource| &resource.scope_spans)
            .map(|scope| scope.spans.len())
            .sum()
    }

    /// Moves every time of every span and event by one amount, so that the newest end is `newest` (nanoseconds since
    /// the epoch). Durations, order and distances stay as they were captured.
    pub fn shift_to(&mut self, newest: u64) {
        let mut end = 0;
        self.each_span(|span| end = end.max(span.end_time_unix_nano));
        let by = i128::from(newest) - i128::from(end);
        let shift = |time: &mut u64| {
            // A time that was not set stays so.
            if *time != 0 {
                *time = u64::try_from(i128::from(*time) + by).unwrap_or_default();
            }
        };
        self.each_span(|span| {
            shift(&mut span.start_time_unix_nano);
            shift(&mut span.end_time_unix_nano);
            span.events
                .iter_mut()
                .for_each(|event| shift(&mut event.time_unix_nano));
        });
    }

    /// Regroups the spans, in their order, into requests of at most `spans` spans each (at least one). Resource and
    /// scope are repeated where a request begins within them.
    #[must_use]
    pub fn in_requests_of(&self, spans: usize) -> Vec<ExportTraceServiceRequest> {
        let limit = spans.max(1);
        let mut requests: Vec<ExportTraceServiceRequest> = Vec::new();
        let mut filled = limit;
        for resource in self
            .requests
            .iter()
            .flat_map(|request| &request.resource_spans)
        {
            for scope in &resource.scope_spans {
                let mut rest = scope.spans.as_slice();
                while !rest.is_empty() {
                    if filled == limit {
                        requests.push(ExportTraceServiceRequest::default());
                        filled = 0;
                    }
                    let (taken, after) = rest.split_at(rest.len().min(limit - filled));
                    rest = after;
                    filled += taken.len();
                    if let Some(request) = requests.last_mut() {
                        request.resource_spans.push(ResourceSpans {
                            resource: resource.resource.clone(),
                            scope_spans: vec![ScopeSpans {
                                scope: scope.scope.clone(),
                                spans: taken.to_vec(),
                                schema_url: scope.schema_url.clone(),
                            }],
                            schema_url: resource.schema_url.clone(),
                        });
                    }
                }
            }
        }
        requests
    }

    fn each_span(&mut self, mut visit: impl FnMut(&mut Span)) {
        self.requests
            .iter_mut()
            .flat_map(|request| &mut request.resource_spans)
            .flat_map(|resource| &mut resource.scope_spans)
            .flat_map(|scope| &mut scope.spans)
            .for_each(&mut visit);
    }
}

/// What the spans of one capture can show; see `fixtures/expected.toml`.
#[derive(Clone, Debug, Deserialize)]
pub struct Expected {
    /// Messages by producing service and topic; equals the ledger.
    pub produced: Vec<Produced>,
    /// Messages that an error handler sent on, by the group it recovers for.
    #[serde(default)]
    pub recovered: Vec<Recovered>,
    /// Processing attempts.
    pub handled: Vec<Handled>,
}

/// An edge from a service to a topic.
#[derive(Clone, Debug, Deserialize)]
pub struct Produced {
    /// The service's name.
    pub service: String,
    /// The topic.
    pub topic: String,
    /// PRODUCER spans without error.
    pub messages: u64,
}

/// An edge from a group to a retry or dead-letter topic.
#[derive(Clone, Debug, Deserialize)]
pub struct Recovered {
    /// The service whose error handler sent.
    pub service: String,
    /// The group it failed in.
    pub group: String,
    /// Where to.
    pub topic: String,
    /// PRODUCER spans without error.
    pub messages: u64,
}

/// An edge from a topic over a group to a service.
#[derive(Clone, Debug, Deserialize)]
pub struct Handled {
    /// The service's name.
    pub service: String,
    /// The topic.
    pub topic: String,
    /// The group, where spans name it.
    pub group: Option<String>,
    /// The group as it truly was.
    pub ledger_group: String,
    /// Handler calls as they truly were.
    pub ledger: u64,
    /// Attempts that spans show; 0 where the SDK makes no span.
    pub messages: u64,
    /// Distinct records that spans show; `None` where they have no offsets.
    pub records: Option<u64>,
    /// Attempts that failed.
    pub errors: u64,
    /// Why it differs from the ledger, where it does.
    pub why: Option<String>,
}

/// Reads `expected.toml`: every capture by its name.
///
/// # Errors
/// A file that is missing or not of this form.
pub fn expected() -> anyhow::Result<BTreeMap<String, Expected>> {
    let path = directory().join("expected.toml");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Capture, expected};

    fn times(capture: &mut Capture) -> Vec<u64> {
        let mut times = Vec::new();
        capture.each_span(|span| {
            times.extend([span.start_time_unix_nano, span.end_time_unix_nano]);
            times.extend(span.events.iter().map(|event| event.time_unix_nano));
        });
        times
    }

    #[test]
    fn shifted_captures_end_now_and_keep_every_distance() -> anyhow::Result<()> {
        for name in expected()?.keys() {
            let mut capture = Capture::read(name)?;
            let before = times(&mut capture);
            capture.shift_to(1_900_000_000_000_000_000);
            let after = times(&mut capture);
            let by: BTreeSet<u64> = before.iter().zip(&after).map(|(b, a)| a - b).collect();
            assert_eq!(by.len(), 1, "{name}: one amount for all");
            let mut newest = 0;
            capture.each_span(|span| newest = newest.max(span.end_time_unix_nano));
            assert_eq!(newest, 1_900_000_000_000_000_000);
        }
        Ok(())
    }

    #[test]
    fn regrouped_captures_hold_the_same_spans_in_the_same_order() -> anyhow::Result<()> {
        let mut capture = Capture::read("py-aiokafka")?;
        let spans = capture.spans();
        let regrouped = capture.in_requests_of(50);
        assert_eq!(regrouped.len(), spans.div_ceil(50));
        let mut again = Capture {
            name: String::new(),
            requests: regrouped,
        };
        let ids = |capture: &mut Capture| {
            let mut ids = Vec::new();
            capture.each_span(|span| ids.push(span.span_id.clone()));
            ids
        };
        assert_eq!(ids(&mut again), ids(&mut capture));
        Ok(())
    }
}
