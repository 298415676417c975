//! `/metrics`: lag under the names that existing boards read, the service graph for Grafana, and the collector itself.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use highwater_flow as flow;
use highwater_lag as engine;
use highwater_model::UnixNanos;

use crate::ApiState;
use crate::exposition::Exposition;
use crate::problem::ApiError;

const STATES: [engine::State; 9] = [
    engine::State::DataLoss,
    engine::State::Stopped,
    engine::State::Stalled,
    engine::State::BeyondEnd,
    engine::State::FallingBehind,
    engine::State::Rewound,
    engine::State::Unknown,
    engine::State::NoCommit,
    engine::State::Ok,
];

pub(crate) async fn metrics(State(state): State<ApiState>) -> Result<Response, ApiError> {
    let mut out = Exposition::default();
    groups(&state, &mut out);
    topics(&state, &mut out);
    dead_letters(&state, &mut out);
    let now = state.now();
    let graph = {
        let state = state.clone();
        tokio::task::spawn_blocking(move || service_graph(&state, now))
            .await
            .map_err(ApiError::internal("computing the map"))?
    };
    let mut family = out.counter(
        "traces_service_graph_request_total",
        "Messages handled between two services through a broker, over the retention of aggregates.",
    );
    for (client, server, messages, _) in &graph {
        family.sample(&labels(client, server), messages);
    }
    let mut family = out.counter(
        "traces_service_graph_request_failed_total",
        "Failed ones of them.",
    );
    for (client, server, _, failed) in &graph {
        family.sample(&labels(client, server), failed);
    }
    own(&state, &mut out);
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    Ok((kind, out.finish()).into_response())
}

fn labels<'a>(client: &'a str, server: &'a str) -> [(&'static str, &'a str); 3] {
    [
        ("client", client),
        ("server", server),
        ("connection_type", "messaging_system"),
    ]
}

fn groups(state: &ApiState, out: &mut Exposition) {
    let lag = state.lag.read();
    let all = lag.groups();
    // One family after the other, as the format wants it.
    let mut each = |name, help, value: fn(&engine::PartitionLag) -> Option<i64>| {
        let mut family = out.gauge(name, help);
        for ((cluster, group), lag) in all {
            for (at, lag) in lag.partitions.iter() {
                let partition = at.partition.to_string();
                let labels = [
                    ("cluster", &**cluster),
                    ("consumergroup", group),
                    ("topic", &at.topic),
                    ("partition", &partition),
                ];
                family.known(&labels, value(&lag));
            }
        }
    };
    each(
        "kafka_consumergroup_lag",
        "End minus committed offset, as Kafka's own tool prints it.",
        |lag| lag.lag_by_tools,
    );
    each(
        "kafka_consumergroup_current_offset",
        "Committed offset.",
        |lag| lag.committed,
    );
    each(
        "highwater_consumergroup_readable_lag",
        "Messages that the group can still read.",
        |lag| lag.lag_messages.and_then(|n| i64::try_from(n).ok()),
    );
    let mut family = out.gauge(
        "kafka_consumergroup_lag_sum",
        "kafka_consumergroup_lag, summed over a topic's partitions; absent while one of them is unknown.",
    );
    for ((cluster, group), lag) in all {
        let partitions = lag.partitions.open();
        for topic in &lag.topics {
            let of_topic = || partitions.iter().filter(|(at, _)| at.topic == *topic);
            // Without a commit there is nothing to add; what could not be read makes the sum unknown.
            let unread = |lag: &engine::PartitionLag| {
                lag.state == engine::State::Unknown && lag.lag_by_tools.is_none()
            };
            let sum: Option<i64> = of_topic()
                .filter_map(|(_, lag)| lag.lag_by_tools)
                .reduce(|sum, n| sum + n)
                .filter(|_| !of_topic().any(|(_, lag)| unread(lag)));
            family.known(
                &[
                    ("cluster", &**cluster),
                    ("consumergroup", group),
                    ("topic", topic),
                ],
                sum,
            );
        }
    }
    type OfGroup = fn(&engine::GroupLag) -> Option<f64>;
    let of_group: [(&str, &str, OfGroup); 9] = [
        (
            "kafka_consumergroup_members",
            "Members of the group.",
            |lag| lag.members.map(f64::from),
        ),
        (
            "highwater_consumergroup_time_lag_seconds",
            "Age of the oldest unread message; absent while unknown.",
            |lag| lag.time_lag.map(|lag| lag.duration.as_secs_f64()),
        ),
        (
            "highwater_consumergroup_messages_in_per_second",
            "Appended a second to the partitions it reads, over the lag window.",
            |lag| lag.in_per_s,
        ),
        (
            "highwater_consumergroup_messages_out_per_second",
            "Committed by it a second, over the lag window.",
            |lag| lag.out_per_s,
        ),
        (
            "highwater_consumergroup_drain_seconds",
            "Until it has caught up at these rates; absent when it never does, or unknown.",
            |lag| lag.drain.map(|drain| drain.as_secs_f64()),
        ),
        (
            "highwater_consumergroup_retention_left_seconds",
            "Until its oldest unread message is deleted; absent when that is never, or unknown.",
            |lag| lag.retention_left.map(|left| left.as_secs_f64()),
        ),
        (
            "highwater_consumergroup_lost_messages",
            "Messages deleted before it has read them, of its partitions as they stand; absent where nothing is lost.",
            |lag| {
                let lost = lag.partitions.values().filter_map(|lag| lag.lost_messages);
                lost.reduce(|sum, lost| sum + lost).map(|lost| lost as f64)
            },
        ),
        (
            "highwater_consumergroup_clock_suspect_partitions",
            "Partitions it reads whose records' timestamps are more than five minutes from when they came; absent while unknown.",
            |lag| {
                let suspect = |lag: &engine::PartitionLag| lag.clock_suspect.is_some();
                let count = || lag.partitions.values().filter(suspect).count() as f64;
                (lag.partitions_read > 0).then(count)
            },
        ),
        (
            "highwater_consumergroup_partitions_read",
            "Partitions that it has a commit on, and that could be read.",
            |lag| Some(f64::from(lag.partitions_read)),
        ),
    ];
    for (name, help, value) in of_group {
        let mut family = out.gauge(name, help);
        for ((cluster, group), lag) in all {
            family.known(
                &[("cluster", &**cluster), ("consumergroup", group)],
                value(lag),
            );
        }
    }
    let mut family = out.gauge(
        "highwater_consumergroup_state",
        "1 for the state the group is in, 0 for the others.",
    );
    for ((cluster, group), lag) in all {
        for state in STATES {
            let labels = [
                ("cluster", &**cluster),
                ("consumergroup", group),
                ("state", state.as_str()),
            ];
            family.sample(&labels, u8::from(lag.state == state));
        }
    }
}

fn topics(state: &ApiState, out: &mut Exposition) {
    type Read = fn(&highwater_model::broker::PartitionOffsets) -> Option<i64>;
    let families: [(&'static str, &str, Read); 2] = [
        ("kafka_topic_partition_current_offset", "End offset.", |o| {
            o.end.clone().ok()
        }),
        (
            "kafka_topic_partition_oldest_offset",
            "First offset kept.",
            |o| o.log_start.clone().ok(),
        ),
    ];
    let clusters = state.clusters.all();
    for (name, help, value) in families {
        let mut family = out.gauge(name, help);
        for sample in clusters.iter().filter_map(|entry| entry.sample.as_deref()) {
            for (at, offsets) in &sample.partitions {
                let partition = at.partition.to_string();
                let labels = [
                    ("cluster", &*sample.cluster),
                    ("topic", &at.topic),
                    ("partition", &partition),
                ];
                family.known(&labels, value(offsets));
            }
        }
    }
    let mut family = out.gauge("highwater_cluster_up", "1 while the cluster can be read.");
    for entry in &clusters {
        let up = entry.status.state == highwater_model::broker::ClusterState::Ok;
        family.sample(&[("cluster", &*entry.status.name)], u8::from(up));
    }
}

fn dead_letters(state: &ApiState, out: &mut Exposition) {
    let mut family = out.gauge(
        "highwater_dead_letters_retained",
        "Records a dead-letter topic keeps; absent while unknown.",
    );
    for topic in state.dead_letters.topics() {
        family.known(
            &[("cluster", &*topic.cluster), ("topic", &topic.topic)],
            topic.retained,
        );
    }
}

/// Pairs of producing and consuming services, with messages handled and failed.
fn service_graph(state: &ApiState, now: UnixNanos) -> Vec<(String, String, u64, u64)> {
    let flow = state.flow.read();
    let mut pairs = std::collections::BTreeMap::<(String, String), (u64, u64)>::new();
    for environment in flow.environments() {
        let query = flow::TopologyQuery {
            from: UnixNanos(0),
            to: now,
            environment: environment.to_string(),
            ..Default::default()
        };
        let topology = flow.topology(&query, now);
        let name = |id: &str| topology.node(id).map(|node| node.name.to_string());
        let edges = |kind, from: Option<&str>, to: Option<&str>| -> Vec<&flow::Edge> {
            let ends = |e: &&flow::Edge| {
                from.is_none_or(|id| *e.from == *id) && to.is_none_or(|id| *e.to == *id)
            };
            topology
                .edges
                .iter()
                .filter(|edge| edge.kind == kind)
                .filter(ends)
                .collect()
        };
        for delivery in edges(flow::EdgeKind::Delivers, None, None) {
            let consumers = edges(flow::EdgeKind::Consumes, Some(&delivery.to), None);
            let producers = edges(flow::EdgeKind::Produces, None, Some(&delivery.from));
            // Behind a topic of several producers nothing tells whose messages a service handled: no figure then.
            let [producer] = producers.as_slice() else {
                continue;
            };
            for consumer in &consumers {
                // Known from offsets only: no figure either, where 0 would be one.
                let (Some(delivered), Some(consumed)) = (delivery.messages, consumer.messages)
                else {
                    continue;
                };
                if let (Some(client), Some(server)) = (name(&producer.from), name(&consumer.to)) {
                    let pair = pairs.entry((client, server)).or_default();
                    // A group of several topics or services: the smaller side is what can have passed between the two.
                    pair.0 += delivered.min(consumed);
                    pair.1 += delivery.errors.min(consumer.errors);
                }
            }
        }
    }
    pairs
        .into_iter()
        .map(|((client, server), (messages, failed))| (client, server, messages, failed))
        .collect()
}

fn own(state: &ApiState, out: &mut Exposition) {
    let received = state.counters.snapshot();
    out.counter("highwater_requests_total", "OTLP requests.")
        .sample(&[], received.requests);
    out.counter(
        "highwater_spans_received_total",
        "Spans in readable requests.",
    )
    .sample(&[], received.spans_received);
    out.counter(
        "highwater_spans_committed_total",
        "Spans stored; a resend counts once.",
    )
    .sample(&[], state.pipeline.committed_spans());
    out.counter("highwater_spans_duplicate_total", "Resends recognised.")
        .sample(&[], state.pipeline.duplicate_spans());
    let mut family = out.counter(
        "highwater_spans_rejected_total",
        "Spans rejected, by reason.",
    );
    for (reason, count) in &received.rejected {
        family.sample(&[("reason", reason)], count);
    }
    out.counter(
        "highwater_requests_refused_total",
        "Requests answered: try again.",
    )
    .sample(&[], received.refused_retryable);
    let mut family = out.counter(
        "highwater_requests_failed_total",
        "Requests refused for good, by reason.",
    );
    for (reason, count) in [
        ("unreadable", received.refused_bad),
        ("too_large", received.refused_too_large),
        ("too_slow", received.refused_too_slow),
        ("unauthenticated", received.refused_unauthenticated),
    ] {
        family.sample(&[("reason", reason)], count);
    }
    out.counter(
        "highwater_connections_refused_total",
        "Connections turned away because so many were open.",
    )
    .sample(&[], received.refused_connections);
    out.gauge(
        "highwater_in_flight_bytes",
        "Bytes of the requests in flight, from their arrival to their commit.",
    )
    .sample(&[], state.in_flight.bytes());
    out.gauge(
        "highwater_in_flight_limit_bytes",
        "Bytes that the requests in flight may have.",
    )
    .sample(&[], state.in_flight.limit_bytes());
    out.gauge("highwater_queue_spans", "Spans that wait for the writer.")
        .sample(&[], state.pipeline.queued_spans());
    let mut family = out.gauge(
        "highwater_commit_seconds",
        "Commit latency since the start.",
    );
    for (q, name) in [(0.5, "0.5"), (0.99, "0.99")] {
        let seconds = state
            .pipeline
            .commit_quantile_ns(q)
            .map(|ns| ns as f64 / 1e9);
        family.known(&[("quantile", name)], seconds);
    }
    let stats = state.store.stats();
    out.gauge("highwater_store_bytes", "Bytes of all files.")
        .sample(&[], stats.bytes);
    out.gauge("highwater_store_spans", "Spans kept.")
        .sample(&[], stats.spans);
    out.gauge(
        "highwater_store_damaged_blocks",
        "Blocks of spans that cannot be read and are left out, as far as they were met since the start.",
    )
    .sample(&[], stats.damaged_blocks);
    out.gauge(
        "highwater_store_damaged_files",
        "Span files with damage in them, as far as it was met since the start.",
    )
    .sample(&[], stats.damaged_files);
    let (history, limit, coarsened) = {
        let flow = state.flow.read();
        let (bytes, limit) = (flow.history_bytes(), flow.history_limit_bytes());
        (bytes, limit, flow.stats().coarsened)
    };
    out.gauge(
        "highwater_flow_history_bytes",
        "Bytes of the map's history in memory.",
    )
    .sample(&[], history);
    out.gauge(
        "highwater_flow_history_limit_bytes",
        "Bytes that it may have; beyond, the past becomes coarser.",
    )
    .sample(&[], limit);
    out.gauge(
        "highwater_flow_coarsened",
        "Steps by which the map's past is coarser than it should be, to stay within that; 0 when it is not.",
    )
    .sample(&[], coarsened);
}
