//! `google.rpc.Status`, which OTLP answers failures with, in protobuf and in JSON.

use bytes::Bytes;
use prost::Message;
use serde_json::json;

/// gRPC's codes, as far as OTLP over HTTP uses them in a body.
#[derive(Clone, Copy)]
pub(crate) enum Code {
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    ResourceExhausted = 8,
    Unavailable = 14,
    Unauthenticated = 16,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Duration>,
}

#[derive(Clone, PartialEq, Message)]
struct Duration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// The protobuf form; with `retry_after_seconds` a client may send the same again after so long.
pub(crate) fn to_protobuf(code: Code, message: &str, retry_after_seconds: Option<u32>) -> Bytes {
    Status {
        code: code as i32,
        message: message.to_owned(),
        details: retry_after_seconds
            .map(|seconds| Any {
                type_url: RETRY_INFO.to_owned(),
                value: RetryInfo {
                    retry_delay: Some(Duration {
                        seconds: seconds.into(),
                        nanos: 0,
                    }),
                }
                .encode_to_vec(),
            })
            .into_iter()
            .collect(),
    }
    .encode_to_vec()
    .into()
}

/// The JSON form.
pub(crate) fn to_json(code: Code, message: &str, retry_after_seconds: Option<u32>) -> Bytes {
    let mut status = json!({ "code": code as i32, "message": message });
    if let Some(seconds) = retry_after_seconds {
        status["details"] = json!([{ "@type": RETRY_INFO, "retryDelay": format!("{seconds}s") }]);
    }
    status.to_string().into()
}
