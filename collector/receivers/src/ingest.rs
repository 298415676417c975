//! One request from its bytes to its answer, whichever protocol it came by.

use bytes::Bytes;
use highwater_model::Batch;
use highwater_model::otlp::{self, DecodeError, Rejected};

use crate::admission::Share;
use crate::compression::Compression;
use crate::workers::Worker;
use crate::{Counters, ReceiverContext, json};

/// Above this a request is decoded on a thread that may block, not on one that serves the others: half a millisecond.
const DECODE_INLINE_BYTES: usize = 256 << 10;

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
    /// The body did not arrive in time.
    TooSlow,
    /// Sending it again later is right.
    Retry(String),
}

impl Failure {
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Bad(message) | Self::Retry(message) => message.clone(),
            Self::TooLarge { limit } => format!("the request is larger than {limit} bytes"),
            Self::TooSlow => "the request's body did not arrive in time".into(),
        }
    }

    /// Counts it, in the one place where failures leave the room.
    pub(crate) fn count(&self, counters: &Counters) {
        match self {
            Self::Bad(why) => counters.bad(why),
            Self::TooLarge { limit } => counters.too_large(*limit),
            Self::TooSlow => counters.too_slow(),
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
    pub(crate) compression: Compression,
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
    match decoded {
        Decoded::Spans(batch, rejected) => traces(context, batch, &rejected, share).await,
        Decoded::Refused(count) => Ok(refuse(&context.counters, signal, count)),
    }
}

async fn decode(
    context: &ReceiverContext,
    mut received: Received,
) -> Result<(Decoded, Share), Failure> {
    let limit = context.options.max_request_bytes;
    let large = received.compression.usual_length(received.body.len()) > DECODE_INLINE_BYTES;
    let (mut worker, permit) = context.workers.take().await;
    let workers = context.workers.clone();
    let work = move || {
        let decoded = decompress(&mut received, limit, &mut worker)
            .and_then(|body| decode_body(&mut received, &body, &mut worker));
        workers.give_back(worker);
        drop(permit);
        Ok((decoded?, received.share))
    };
    if large {
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| Failure::Retry("decoding was interrupted".into()))?
    } else {
        work()
    }
}

fn decompress(
    received: &mut Received,
    limit: usize,
    worker: &mut Worker,
) -> Result<Bytes, Failure> {
    let compressed = std::mem::take(&mut received.body);
    worker
        .decompressors
        .run(received.compression, compressed, limit, &mut received.share)
}

fn decode_body(
    received: &mut Received,
    body: &Bytes,
    worker: &mut Worker,
) -> Result<Decoded, Failure> {
    // Field numbers from the request down to a point or record.
    const METRIC_POINTS: [&[u32]; 5] = [&[1], &[2], &[2], &[5, 7, 9, 10, 11], &[1]];
    const LOG_RECORDS: [&[u32]; 3] = [&[1], &[2], &[2]];
    let share = &mut received.share;
    Ok(match (received.signal, received.encoding) {
        (Signal::Traces, Encoding::Protobuf) => {
            let (batch, rejected) = worker.decoder.batch_within(body, |more| share.grow(more))?;
            Decoded::Spans(batch, rejected)
        }
        (Signal::Traces, Encoding::Json) => {
            let (batch, rejected) =
                json::batch(body, &mut worker.decoder, |more| share.grow(more))?;
            Decoded::Spans(batch, rejected)
        }
        (Signal::Metrics, Encoding::Protobuf) => {
            Decoded::Refused(otlp::count_messages(body, &METRIC_POINTS)?)
        }
        (Signal::Logs, Encoding::Protobuf) => {
            Decoded::Refused(otlp::count_messages(body, &LOG_RECORDS)?)
        }
        (Signal::Metrics, Encoding::Json) => Decoded::Refused(json::count_metric_points(body)?),
        (Signal::Logs, Encoding::Json) => Decoded::Refused(json::count_log_records(body)?),
    })
}

async fn traces(
    context: &ReceiverContext,
    batch: Batch,
    rejected: &Rejected,
    share: Share,
) -> Result<Accepted, Failure> {
    context
        .counters
        .spans(batch.spans.len() as u64 + rejected.count, rejected);
    if !batch.spans.is_empty() {
        // The share goes with the batch until it is committed, even if the sender does not wait for that.
        let ack = context
            .sender
            .try_send_holding(batch, Box::new(share))
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
