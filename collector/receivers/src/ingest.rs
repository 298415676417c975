//! One request from its bytes to its answer, whichever protocol it came by.

use std::sync::Arc;

use bytes::Bytes;
use highwater_model::otlp::{self, DecodeError, Rejected};
use highwater_model::{Batch, normalise::Rules};

use crate::admission::Share;
use crate::gzip::gunzip;
use crate::{Counters, ReceiverContext, json};

/// Above this a request is decoded on a thread that may block, not on one that serves the others: half a millisecond.
const DECODE_INLINE_BYTES: usize = 256 << 10;
/// What gzip makes of OTLP, roughly; only the choice of the thread depends on it.
const USUAL_EXPANSION: usize = 8;

/// How long a refused sender is asked to wait.
pub(crate) const RETRY_AFTER_SECONDS: u32 = 1;

/// What a request is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Signal {
    Traces,
    Metrics,
    Logs,
}

/// How a body is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Encoding {
    Protobuf,
    Json,
}

/// A request that was taken, perhaps not all of it.
#[derive(Default, Debug)]
pub(crate) struct Accepted {
    pub(crate) rejected: u64,
    pub(crate) message: String,
}

/// A request that was not taken.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Sending it again as it is cannot help.
    Bad(String),
    /// Above the limit, compressed or not.
    TooLarge { limit: usize },
    /// Sending it again later is right.
    Retry(String),
}

impl Failure {
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Bad(message) | Self::Retry(message) => message.clone(),
            Self::TooLarge { limit } => format!("the request is larger than {limit} bytes"),
        }
    }

    /// Counts it, in the one place where failures leave the room.
    pub(crate) fn count(&self, counters: &Counters) {
        match self {
            Self::Bad(why) => counters.bad(why),
            Self::TooLarge { limit } => counters.too_large(*limit),
            Self::Retry(why) => counters.retryable(why),
        }
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        match std::error::Error::source(&error) {
            Some(source) => Self::Bad(format!("{error}: {source}")),
            None => Self::Bad(error.to_string()),
        }
    }
}

/// A body as it was read.
pub(crate) struct Received {
    pub(crate) signal: Signal,
    pub(crate) encoding: Encoding,
    pub(crate) gzip: bool,
    pub(crate) body: Bytes,
    pub(crate) share: Share,
}

enum Decoded {
    Spans(Batch, Rejected),
    Refused(u64),
}

/// Decompresses, decodes, queues, and waits for the commit.
pub(crate) async fn ingest(
    context: &ReceiverContext,
    received: Received,
) -> Result<Accepted, Failure> {
    let signal = received.signal;
    let (decoded, share) = decode(context, received).await?;
    let accepted = match decoded {
        Decoded::Spans(batch, rejected) => traces(context, batch, &rejected).await?,
        Decoded::Refused(count) => refuse(&context.counters, signal, count),
    };
    // Held until here: a batch's spans are slices of the body.
    drop(share);
    Ok(accepted)
}

async fn decode(
    context: &ReceiverContext,
    mut received: Received,
) -> Result<(Decoded, Share), Failure> {
    let limit = context.options.max_request_bytes;
    let rules = Arc::clone(&context.rules);
    let expansion = if received.gzip { USUAL_EXPANSION } else { 1 };
    let large = received.body.len().saturating_mul(expansion) > DECODE_INLINE_BYTES;
    let work = move || {
        let body = if received.gzip {
            gunzip(&received.body, limit, &mut received.share)?.into()
        } else {
            received.body
        };
        let decoded = decode_body(received.signal, received.encoding, body, &rules)?;
        Ok((decoded, received.share))
    };
    if large {
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| Failure::Retry("decoding was interrupted".into()))?
    } else {
        work()
    }
}

fn decode_body(
    signal: Signal,
    encoding: Encoding,
    body: Bytes,
    rules: &Rules,
) -> Result<Decoded, Failure> {
    // Field numbers from the request down to a point or record.
    const METRIC_POINTS: [&[u32]; 5] = [&[1], &[2], &[2], &[5, 7, 9, 10, 11], &[1]];
    const LOG_RECORDS: [&[u32]; 3] = [&[1], &[2], &[2]];
    Ok(match (signal, encoding) {
        (Signal::Traces, Encoding::Protobuf) => {
            let (batch, rejected) = otlp::batch_from_bytes(body, rules)?;
            Decoded::Spans(batch, rejected)
        }
        (Signal::Traces, Encoding::Json) => {
            let (batch, rejected) = json::batch(&body, rules)?;
            Decoded::Spans(batch, rejected)
        }
        (Signal::Metrics, Encoding::Protobuf) => {
            Decoded::Refused(otlp::count_messages(&body, &METRIC_POINTS)?)
        }
        (Signal::Logs, Encoding::Protobuf) => {
            Decoded::Refused(otlp::count_messages(&body, &LOG_RECORDS)?)
        }
        (Signal::Metrics, Encoding::Json) => Decoded::Refused(json::count_metric_points(&body)?),
        (Signal::Logs, Encoding::Json) => Decoded::Refused(json::count_log_records(&body)?),
    })
}

async fn traces(
    context: &ReceiverContext,
    batch: Batch,
    rejected: &Rejected,
) -> Result<Accepted, Failure> {
    context
        .counters
        .spans(batch.spans.len() as u64 + rejected.count, rejected);
    if !batch.spans.is_empty() {
        let ack = context
            .sender
            .try_send(batch)
            .map_err(|refused| Failure::Retry(refused.to_string()))?;
        // What the store said is for its operator; the sender is told to try again.
        ack.await
            .map_err(|_| Failure::Retry("the spans could not be committed".into()))?;
    }
    Ok(Accepted {
        rejected: rejected.count,
        message: rejected.message(),
    })
}

fn refuse(counters: &Counters, signal: Signal, count: u64) -> Accepted {
    let (name, what) = match signal {
        Signal::Metrics => {
            counters.metrics(count);
            ("metrics", "metric points")
        }
        _ => {
            counters.logs(count);
            ("logs", "log records")
        }
    };
    Accepted {
        rejected: count,
        message: if count == 0 {
            String::new()
        } else {
            format!("highwater takes traces, not {name}: {count} {what} rejected")
        },
    }
}
