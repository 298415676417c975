//! OTLP over HTTP: `/v1/traces`, `/v1/metrics`, `/v1/logs`, protobuf and JSON on one port.

use std::sync::Arc;

use ::http::header::{
    ALLOW, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use ::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use axum::Router;
use axum::body::Body;
use axum::routing::any;
use bytes::Bytes;
use hyper::body::Incoming;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::admission::{Length, read_body, same_secret};
use crate::compression::{Compression, HTTP_ENCODINGS};
use crate::ingest::{Accepted, Encoding, Failure, RETRY_AFTER_SECONDS, Received, Signal, ingest};
use crate::serve::{Limits, Speaks, sender, serve};
use crate::status::{Code, to_json, to_protobuf};
use crate::{Counters, Options, ReceiverContext, ServeError};

/// Serves OTLP over HTTP on `listener` until `shutdown` is cancelled, then answers what has begun and returns.
///
/// # Errors
/// An origin of [`crate::Options::cors_origins`] that is none.
pub async fn serve_http(
    listener: TcpListener,
    context: Arc<ReceiverContext>,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let (limits, counters) = (context.limits(), Arc::clone(context.counters()));
    serve_within(listener, router(context)?, limits, counters, shutdown).await;
    Ok(())
}

/// Serves pages on `listener`, as an OTLP port is served: a connection has its time to ask for something, and a port that is
/// full is shared by address. At most `connections` are open at once. After `shutdown` answers what has begun and returns.
pub async fn serve_pages(
    listener: TcpListener,
    pages: Router,
    connections: usize,
    shutdown: CancellationToken,
) {
    let limits = Limits {
        head: Options::default().head_timeout,
        connections,
    };
    // Senders that are turned away are counted; of readers nobody asks.
    serve_within(listener, pages, limits, Arc::default(), shutdown).await;
}

async fn serve_within(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    counters: Arc<Counters>,
    shutdown: CancellationToken,
) {
    let answer = move |request: Request<Incoming>| {
        let router = router.clone();
        async move {
            match router.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
    };
    serve(listener, Speaks::Http, limits, counters, shutdown, answer).await;
}

fn router(context: Arc<ReceiverContext>) -> Result<Router, ServeError> {
    let mut router = Router::new();
    for (path, signal) in [
        ("/v1/traces", Signal::Traces),
        ("/v1/metrics", Signal::Metrics),
        ("/v1/logs", Signal::Logs),
    ] {
        let context = Arc::clone(&context);
        router =
            router.route(
                path,
                any(move |request: Request<Body>| async move {
                    answer(&context, signal, request).await
                }),
            );
    }
    let router = router.fallback(|| async {
        problem(
            StatusCode::NOT_FOUND,
            Encoding::Json,
            Code::NotFound,
            "OTLP is taken at /v1/traces, /v1/metrics and /v1/logs",
        )
    });
    Ok(match cors(&context.options.cors_origins)? {
        Some(cors) => router.layer(cors),
        None => router,
    })
}

fn cors(origins: &[String]) -> Result<Option<CorsLayer>, ServeError> {
    if origins.is_empty() {
        return Ok(None);
    }
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        let origins = origins
            .iter()
            .map(|origin| {
                HeaderValue::from_str(origin)
                    .ok()
                    .filter(|_| origin.contains("://") && !origin.ends_with('/'))
                    .ok_or_else(|| ServeError::Origin {
                        origin: origin.clone(),
                    })
            })
            .collect::<Result<Vec<_>, _>>()?;
        AllowOrigin::list(origins)
    };
    Ok(Some(
        CorsLayer::new()
            .allow_origin(allowed)
            .allow_methods([Method::POST])
            .allow_headers([CONTENT_TYPE, CONTENT_ENCODING, AUTHORIZATION]),
    ))
}

async fn answer(
    context: &ReceiverContext,
    signal: Signal,
    request: Request<Body>,
) -> Response<Body> {
    context.counters.request();
    let content_type = encoding_of(request.headers());
    let encoding = content_type.unwrap_or(Encoding::Json);
    match admit(context, &request, content_type) {
        Ok(compression) => match take(context, signal, encoding, compression, request).await {
            Ok(accepted) => success(signal, encoding, accepted),
            Err(failure) => {
                failure.count(&context.counters);
                failed(encoding, &failure)
            }
        },
        Err(response) => *response,
    }
}

/// What can be said before the body is read: how it is compressed, or the refusal.
fn admit(
    context: &ReceiverContext,
    request: &Request<Body>,
    content_type: Option<Encoding>,
) -> Result<Compression, Box<Response<Body>>> {
    let encoding = content_type.unwrap_or(Encoding::Json);
    if let Some(token) = &context.options.auth_token
        && !has_token(request.headers(), token)
    {
        context.counters.unauthenticated();
        let mut response = problem(
            StatusCode::UNAUTHORIZED,
            encoding,
            Code::Unauthenticated,
            "the request needs the header Authorization: Bearer TOKEN",
        );
        response
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return Err(Box::new(response));
    }
    let refuse = |status, message: &str| {
        context.counters.bad(message);
        problem(status, encoding, Code::InvalidArgument, message)
    };
    if request.method() != Method::POST {
        let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED, "OTLP is sent with POST");
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("POST"));
        return Err(Box::new(response));
    }
    if content_type.is_none() {
        return Err(Box::new(refuse(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Content-Type must be application/x-protobuf or application/json",
        )));
    }
    let compression = request.headers().get(CONTENT_ENCODING);
    Compression::of_http(compression.map(HeaderValue::as_bytes)).ok_or_else(|| {
        Box::new(refuse(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            &format!("Content-Encoding must be one of {HTTP_ENCODINGS}"),
        ))
    })
}

/// Whether the request carries the token.
pub(crate) fn has_token(headers: &HeaderMap, token: &str) -> bool {
    headers
        .get(AUTHORIZATION)
        .and_then(|value| value.as_bytes().split_first_chunk::<7>())
        .is_some_and(|(scheme, sent)| {
            scheme.eq_ignore_ascii_case(b"bearer ") && same_secret(sent, token.as_bytes())
        })
}

fn encoding_of(headers: &HeaderMap) -> Option<Encoding> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next()?.trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/x-protobuf" | "application/protobuf" => Some(Encoding::Protobuf),
        "application/json" => Some(Encoding::Json),
        _ => None,
    }
}

async fn take(
    context: &ReceiverContext,
    signal: Signal,
    encoding: Encoding,
    compression: Compression,
    request: Request<Body>,
) -> Result<Accepted, Failure> {
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let mut share = context.budget.share(sender(&request));
    let body = read_body(
        request.into_body(),
        Length::Header(announced),
        context.options.max_request_bytes,
        context.patience(),
        &mut share,
    )
    .await?;
    let received = Received {
        signal,
        encoding,
        compression,
        body,
        share,
    };
    ingest(context, received).await
}

fn success(signal: Signal, encoding: Encoding, accepted: Accepted) -> Response<Body> {
    let body = match encoding {
        Encoding::Protobuf => response_message(signal, accepted),
        Encoding::Json => {
            let field = match signal {
                Signal::Traces => "rejectedSpans",
                Signal::Metrics => "rejectedDataPoints",
                Signal::Logs => "rejectedLogRecords",
            };
            if accepted.rejected == 0 {
                Bytes::from_static(b"{}")
            } else {
                // A 64-bit integer is a string in protobuf's JSON.
                json!({ "partialSuccess": {
                    field: accepted.rejected.to_string(),
                    "errorMessage": accepted.message,
                } })
                .to_string()
                .into()
            }
        }
    };
    respond(StatusCode::OK, encoding, body)
}

/// The signal's response message. `partial_success` stays unset when everything was taken, as OTLP asks.
pub(crate) fn response_message(signal: Signal, accepted: Accepted) -> Bytes {
    let rejected = i64::try_from(accepted.rejected).unwrap_or(i64::MAX);
    let error_message = accepted.message;
    let some = rejected != 0;
    match signal {
        Signal::Traces => ExportTraceServiceResponse {
            partial_success: some.then_some(ExportTracePartialSuccess {
                rejected_spans: rejected,
                error_message,
            }),
        }
        .encode_to_vec(),
        Signal::Metrics => ExportMetricsServiceResponse {
            partial_success: some.then_some(ExportMetricsPartialSuccess {
                rejected_data_points: rejected,
                error_message,
            }),
        }
        .encode_to_vec(),
        Signal::Logs => ExportLogsServiceResponse {
            partial_success: some.then_some(ExportLogsPartialSuccess {
                rejected_log_records: rejected,
                error_message,
            }),
        }
        .encode_to_vec(),
    }
    .into()
}

fn failed(encoding: Encoding, failure: &Failure) -> Response<Body> {
    let message = failure.message();
    match failure {
        Failure::Bad(_) => problem(
            StatusCode::BAD_REQUEST,
            encoding,
            Code::InvalidArgument,
            &message,
        ),
        Failure::TooLarge { .. } => problem(
            StatusCode::PAYLOAD_TOO_LARGE,
            encoding,
            Code::ResourceExhausted,
            &message,
        ),
        Failure::TooSlow => {
            let mut response = problem(
                StatusCode::REQUEST_TIMEOUT,
                encoding,
                Code::DeadlineExceeded,
                &message,
            );
            // What may still come of the body is not read.
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
            response
        }
        Failure::Retry(_) => {
            let (code, wait) = (Code::Unavailable, Some(RETRY_AFTER_SECONDS));
            let body = match encoding {
                Encoding::Protobuf => to_protobuf(code, &message, wait),
                Encoding::Json => to_json(code, &message, wait),
            };
            let mut response = respond(StatusCode::SERVICE_UNAVAILABLE, encoding, body);
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
            response
        }
    }
}

fn problem(status: StatusCode, encoding: Encoding, code: Code, message: &str) -> Response<Body> {
    let body = match encoding {
        Encoding::Protobuf => to_protobuf(code, message, None),
        Encoding::Json => to_json(code, message, None),
    };
    respond(status, encoding, body)
}

fn respond(status: StatusCode, encoding: Encoding, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static(match encoding {
            Encoding::Protobuf => "application/x-protobuf",
            Encoding::Json => "application/json",
        }),
    );
    response
}
