//! OTLP over gRPC: the trace service, and the metrics and logs services that refuse.
//!
//! The one message of a call is taken from its body here. So the bytes reach the decoder as they came (a generated
//! service decodes everything first: 248k against 900k spans a CPU second were measured), the limit and the shared
//! budget hold as they do for HTTP, and a message that is too large is RESOURCE_EXHAUSTED as OTLP asks, where tonic's
//! own limit answers OUT_OF_RANGE. tonic gives the status and its encoding.

use std::convert::Infallible;
use std::sync::Arc;

use ::http::{HeaderMap, HeaderValue, Request, Response};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::admission::{Length, read_body, unframe};
use crate::compression::{Compression, GRPC_ENCODINGS};
use crate::http::{has_token, response_message};
use crate::ingest::{Encoding, Failure, RETRY_AFTER_SECONDS, Received, Signal, ingest};
use crate::serve::{Speaks, sender, serve};
use crate::status::{Code as RpcCode, to_protobuf};
use crate::{ReceiverContext, ServeError};

/// The flag and the length before a message.
const FRAME_HEAD: usize = 5;

/// Serves OTLP over gRPC on `listener` until `shutdown` is cancelled, then answers what has begun and returns.
///
/// # Errors
/// None today; both receivers have one shape.
pub async fn serve_grpc(
    listener: TcpListener,
    context: Arc<ReceiverContext>,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let (limits, counters) = (context.limits(), Arc::clone(context.counters()));
    let answer = move |request| {
        let context = Arc::clone(&context);
        async move { answer(&context, request).await }
    };
    serve(listener, Speaks::Http2, limits, counters, shutdown, answer).await;
    Ok(())
}

async fn answer(context: &ReceiverContext, request: Request<Incoming>) -> Response<Body> {
    if !is_grpc(request.headers()) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = ::http::StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return response;
    }
    let signal = match request.uri().path() {
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => Signal::Traces,
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => Signal::Metrics,
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => Signal::Logs,
        _ => {
            return Status::unimplemented("OTLP's trace, metrics and logs services are served")
                .into_http();
        }
    };
    context.counters.request();
    match call(context, signal, request).await {
        Ok(message) => success(message),
        Err(status) => status.into_http(),
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(::http::header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

async fn call(
    context: &ReceiverContext,
    signal: Signal,
    request: Request<Incoming>,
) -> Result<Bytes, Status> {
    if let Some(token) = &context.options.auth_token
        && !has_token(request.headers(), token)
    {
        context.counters.unauthenticated();
        return Err(Status::unauthenticated(
            "the call needs the metadata authorization: Bearer TOKEN",
        ));
    }
    let encoding = request.headers().get("grpc-encoding");
    let Some(compression) = Compression::of_grpc(encoding.map(HeaderValue::as_bytes)) else {
        context.counters.bad("an unknown grpc-encoding");
        let mut status = Status::unimplemented(format!("grpc-encoding must be {GRPC_ENCODINGS}"));
        if let Ok(accepted) = GRPC_ENCODINGS.parse() {
            status
                .metadata_mut()
                .insert("grpc-accept-encoding", accepted);
        }
        return Err(status);
    };
    take(context, signal, compression, request)
        .await
        .map_err(|failure| {
            failure.count(&context.counters);
            status_of(&failure)
        })
}

async fn take(
    context: &ReceiverContext,
    signal: Signal,
    compression: Compression,
    request: Request<Incoming>,
) -> Result<Bytes, Failure> {
    let limit = context.options.max_request_bytes;
    let mut share = context.budget.share(sender(&request));
    let body = read_body(
        request.into_body(),
        Length::Frame,
        limit.saturating_add(FRAME_HEAD),
        context.patience(),
        &mut share,
    )
    .await
    .map_err(|failure| match failure {
        Failure::TooLarge { .. } => Failure::TooLarge { limit },
        other => other,
    })?;
    let (compressed, body) = unframe(body).map_err(|why| Failure::Bad(why.to_owned()))?;
    if compressed && compression == Compression::Identity {
        return Err(Failure::Bad(
            "the message is compressed and grpc-encoding does not say how".to_owned(),
        ));
    }
    let received = Received {
        signal,
        encoding: Encoding::Protobuf,
        compression: if compressed {
            compression
        } else {
            Compression::Identity
        },
        body,
        share,
    };
    Ok(response_message(signal, ingest(context, received).await?))
}

fn status_of(failure: &Failure) -> Status {
    let message = failure.message();
    match failure {
        Failure::Bad(_) => Status::invalid_argument(message),
        // Without RetryInfo, which would tell the client to send the same again.
        Failure::TooLarge { .. } => Status::resource_exhausted(message),
        Failure::TooSlow => Status::deadline_exceeded(message),
        Failure::Retry(_) => {
            let details = to_protobuf(RpcCode::Unavailable, &message, Some(RETRY_AFTER_SECONDS));
            Status::with_details(Code::Unavailable, message, details)
        }
    }
}

fn success(message: Bytes) -> Response<Body> {
    let mut frame = BytesMut::with_capacity(FRAME_HEAD + message.len());
    frame.put_u8(0);
    // A response is a few hundred bytes.
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.extend_from_slice(&message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body =
        Full::new(frame.freeze()).with_trailers(async move { Some(Ok::<_, Infallible>(trailers)) });
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(
        ::http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    response.headers_mut().insert(
        "grpc-accept-encoding",
        HeaderValue::from_static(GRPC_ENCODINGS),
    );
    response
}
