//! What a bad network, a broken clock and a hostile sender do.

use std::time::Duration;

use futures::StreamExt;
use highwater_model::UnixNanos;
use highwater_receivers::Options;
use http_body_util::StreamBody;
use hyper::body::Frame;
use opentelemetry_proto::tonic::trace::v1::Span as ProtoSpan;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::body::Body;

use super::grpc::{EXPORT, call, frame, raw};
use super::http::{JSON, PROTOBUF, parts, post, streamed};
use super::{DEADLINE, Receiver, gzip, receiver, receiver_with, request, span, within};

const MIB: usize = 1 << 20;

async fn good_is_taken(receiver: &Receiver) {
    let body = request(vec![span(1)]).encode_to_vec();
    assert_eq!(
        within(parts(post(receiver, PROTOBUF, body.clone())))
            .await
            .0,
        200
    );
    assert_eq!(
        within(raw(receiver, EXPORT, None, frame(0, &body))).await.0,
        Code::Ok
    );
}

#[tokio::test]
async fn every_compression_is_taken() {
    let receiver = receiver().await;
    let body = request(vec![span(1)]).encode_to_vec();
    let zlib = {
        use std::io::Write;
        let level = flate2::Compression::fast();
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
        encoder.write_all(&body).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = zstd::bulk::compress(&body, 1).unwrap();
    let snappy = snap::raw::Encoder::new().compress_vec(&body).unwrap();
    let mut sent = 0;
    for (encoding, compressed) in [
        ("gzip", gzip(&body)),
        ("x-gzip", gzip(&body)),
        ("deflate", zlib),
        ("zstd", zstd.clone()),
        ("snappy", snappy),
    ] {
        let response = post(&receiver, PROTOBUF, compressed).header("content-encoding", encoding);
        assert_eq!(parts(response).await.0, 200, "{encoding}");
        sent += 1;
    }
    for (encoding, compressed) in [("gzip", gzip(&body)), ("zstd", zstd)] {
        let (code, _) = raw(&receiver, EXPORT, Some(encoding), frame(1, &compressed)).await;
        assert_eq!(code, Code::Ok, "{encoding}");
        sent += 1;
    }
    assert_eq!(receiver.spans().len(), sent);
}

/// A gigabyte, of 32 members or frames that each tell the truth about themselves.
fn bombs() -> [(&'static str, Vec<u8>); 2] {
    let zeros = vec![0; 32 * MIB];
    [
        ("gzip", gzip(&zeros).repeat(32)),
        ("zstd", zstd::bulk::compress(&zeros, 1).unwrap().repeat(32)),
    ]
}

#[tokio::test]
async fn a_bomb_of_a_gigabyte_is_refused_and_others_are_served() {
    let options = Options {
        max_request_bytes: MIB,
        // One request and its decompression fit, and nothing beyond: what a bomb held above that would be refused
        // as retryable, not as too large.
        max_in_flight_bytes: 7 * MIB,
        ..Options::default()
    };
    let receiver = receiver_with(options, 1_000).await;
    for (encoding, bomb) in bombs() {
        // Cut to what is admitted at all; most of the gigabyte is still in it.
        let bomb = &bomb[..bomb.len().min(MIB - 16)];
        let sent = post(&receiver, PROTOBUF, bomb.to_vec()).header("content-encoding", encoding);
        assert_eq!(parts(sent).await.0, 413, "{encoding}");
        let (code, _) = raw(&receiver, EXPORT, Some(encoding), frame(1, bomb)).await;
        assert_eq!(code, Code::ResourceExhausted, "{encoding}");
        good_is_taken(&receiver).await;
    }
    assert_eq!(receiver.counters().refused_too_large, 4);
    assert_eq!(receiver.context.in_flight().bytes(), 0);
}

fn impatient() -> Options {
    Options {
        head_timeout: Duration::from_millis(200),
        body_idle_timeout: Duration::from_millis(200),
        body_timeout: Duration::from_millis(400),
        ..Options::default()
    }
}

#[tokio::test]
async fn a_body_that_stands_still_is_given_up() {
    let receiver = receiver_with(impatient(), 1_000).await;
    let never = streamed(futures::stream::pending());
    assert_eq!(parts(post(&receiver, PROTOBUF, never)).await.0, 408);
    let never = StreamBody::new(futures::stream::pending::<
        Result<Frame<bytes::Bytes>, tonic::Status>,
    >());
    let (code, _) = within(call(&receiver, EXPORT, None, Body::new(never))).await;
    assert_eq!(code, Code::DeadlineExceeded);
    assert_eq!(receiver.counters().refused_too_slow, 2);
    good_is_taken(&receiver).await;
}

/// One byte now and then: never idle for long, and never done.
fn trickle() -> impl futures::Stream<Item = u8> + Send + Sync {
    futures::stream::unfold(
        tokio::time::interval(Duration::from_millis(20)),
        |mut ticks| async move {
            ticks.tick().await;
            Some((b'x', ticks))
        },
    )
}

#[tokio::test]
async fn a_body_that_trickles_is_given_up() {
    let receiver = receiver_with(impatient(), 1_000).await;
    let drops = streamed(trickle().map(|byte| Ok(vec![byte])));
    assert_eq!(parts(post(&receiver, PROTOBUF, drops)).await.0, 408);
    let drops = trickle().map(|byte| Ok::<_, tonic::Status>(Frame::data(vec![byte].into())));
    let drops = Body::new(StreamBody::new(Box::pin(drops)));
    let (code, _) = within(call(&receiver, EXPORT, None, drops)).await;
    assert_eq!(code, Code::DeadlineExceeded);
    assert_eq!(receiver.context.in_flight().bytes(), 0);
    good_is_taken(&receiver).await;
}

/// Writes a byte now and then until the other side closes.
async fn trickle_into(address: std::net::SocketAddr, bytes: &'static [u8]) {
    let (mut read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let writing = async {
        for byte in bytes.iter().cycle() {
            ticks.tick().await;
            if write.write_all(&[*byte]).await.is_err() {
                break;
            }
        }
    };
    let closed = async {
        let mut rest = Vec::new();
        // A reset is a close too.
        let _ = read.read_to_end(&mut rest).await;
    };
    tokio::select! {
        () = writing => {}
        () = closed => {}
    }
}

#[tokio::test]
async fn a_head_that_trickles_or_never_comes_is_closed() {
    let receiver = receiver_with(impatient(), 1_000).await;
    within(trickle_into(
        receiver.http,
        b"POST /v1/traces HTTP/1.1\r\nx-y: z\r\n",
    ))
    .await;
    within(trickle_into(
        receiver.grpc,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ))
    .await;
    for address in [receiver.http, receiver.grpc] {
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut rest = Vec::new();
        // HTTP/2 may say why before it closes.
        within(silent.read_to_end(&mut rest)).await.unwrap();
    }
    good_is_taken(&receiver).await;
}

/// Each needs a file on this side, and for a moment one on the server's, which is this process too.
fn half_open_connections() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit {
        current: limit.maximum,
        ..limit
    };
    let files = match rustix::process::setrlimit(rustix::process::Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let files = files.map_or(usize::MAX, |files| usize::try_from(files).unwrap());
    files.saturating_sub(3_000).min(10_000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_half_open_connections_keep_no_good_sender_out() {
    let receiver = receiver().await;
    let count = half_open_connections();
    println!("{count} half-open connections");
    assert!(count >= 1_000, "too few open files are allowed: {count}");
    let mut half_open = Vec::with_capacity(count);
    for n in 0..count {
        let address = if n % 2 == 0 {
            receiver.http
        } else {
            receiver.grpc
        };
        let mut stream = within(TcpStream::connect(address)).await.unwrap();
        // Half of them begin to speak, and stop.
        if n % 4 < 2 {
            let _ = stream.write_all(b"P").await;
        }
        half_open.push(stream);
        if n % 2_000 == 1_999 {
            good_is_taken(&receiver).await;
        }
    }
    good_is_taken(&receiver).await;
    assert_eq!(receiver.counters().refused_connections, 0);
    // The oldest have made room; the newest still wait for their time.
    let mut rest = Vec::new();
    let _ = within(half_open[0].read_to_end(&mut rest)).await;
    let newest = (0..count).rev().find(|n| n % 4 == 2).unwrap();
    let error = half_open[newest].try_read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn connections_that_ask_are_bounded_too() {
    let options = Options {
        max_connections: 4,
        ..Options::default()
    };
    let receiver = receiver_with(options, 1_000).await;
    receiver.close();
    let body = || request(vec![span(1)]).encode_to_vec();
    let asking: Vec<_> = (0..4)
        .map(|_| tokio::spawn(post(&receiver, PROTOBUF, body()).send()))
        .collect();
    within(async {
        while receiver.counters().spans_received < 4 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(post(&receiver, JSON, "{}").send().await.is_err());
    assert_eq!(receiver.counters().refused_connections, 1);
    receiver.open();
    for answer in asking {
        assert!(within(answer).await.unwrap().unwrap().status().is_success());
    }
}

#[tokio::test]
async fn what_a_sender_that_went_away_has_in_flight_still_counts() {
    let receiver = receiver().await;
    receiver.close();
    let sent =
        tokio::spawn(post(&receiver, PROTOBUF, request(vec![span(1)]).encode_to_vec()).send());
    receiver.commit_begins().await;
    sent.abort();
    assert!(sent.await.unwrap_err().is_cancelled());
    assert!(receiver.context.in_flight().bytes() > 0);
    receiver.open();
    within(async {
        while receiver.context.in_flight().bytes() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(receiver.names(), ["span 1"]);
}

#[tokio::test]
async fn spans_of_any_date_are_taken_as_they_are() {
    const YEAR_2100: u64 = 4_102_444_800_000_000_000;
    let receiver = receiver().await;
    let dates = [
        (0, 0),
        (1, 2_000_000_000),
        (YEAR_2100, YEAR_2100 + 1),
        (u64::MAX, u64::MAX),
        // The clock jumped back while the span ran.
        (YEAR_2100, 1),
    ];
    let spans = dates
        .iter()
        .zip(1..)
        .map(|((start, end), id)| ProtoSpan {
            start_time_unix_nano: *start,
            end_time_unix_nano: *end,
            ..span(id)
        })
        .collect();
    let body = request(spans).encode_to_vec();
    assert_eq!(parts(post(&receiver, PROTOBUF, body)).await.0, 200);
    let kept: Vec<_> = receiver
        .spans()
        .iter()
        .map(|span| (span.start, span.end))
        .collect();
    let expected = dates.map(|(start, end)| (UnixNanos(start), UnixNanos(end.max(start))));
    assert_eq!(kept, expected);
    assert!(DEADLINE > impatient().body_timeout);
}
