//! One sender that floods, and another that does not.

use std::net::IpAddr;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use highwater_receivers::Options;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use reqwest::header::CONTENT_TYPE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::http::PROTOBUF;
use super::{DEADLINE, large_request, receiver_with, request, span, within};

/// Senders are told apart by their address.
const FLOODS: [u8; 4] = [127, 0, 0, 2];
const SENDS: [u8; 4] = [127, 0, 0, 3];

async fn send(
    url: String,
    from: [u8; 4],
    request: ExportTraceServiceRequest,
) -> Result<u16, reqwest::Error> {
    let response = reqwest::Client::builder()
        .local_address(IpAddr::from(from))
        .timeout(DEADLINE)
        .build()?
        .post(url)
        .header(CONTENT_TYPE, PROTOBUF)
        .body(request.encode_to_vec())
        .send()
        .await?;
    Ok(response.status().as_u16())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_floods_is_refused_while_another_is_taken() {
    const FLOOD: u64 = 40;
    let options = Options {
        max_in_flight_bytes: 1_000_000,
        ..Options::default()
    };
    let receiver = receiver_with(options, 100_000).await;
    // The store stands still, so that whatever is taken stays in flight.
    receiver.close();
    let flood: FuturesUnordered<_> = (0..FLOOD)
        .map(|_| {
            tokio::spawn(send(
                receiver.url("/v1/traces"),
                FLOODS,
                large_request(60_000),
            ))
        })
        .collect();
    let settled = || {
        let counters = receiver.counters();
        let all = counters.refused_retryable + counters.spans_received;
        (all == FLOOD).then_some(counters.spans_received)
    };
    let taken = within(async {
        loop {
            match settled() {
                Some(taken) => break taken,
                None => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    // Half of the budget, a little less for what decoding adds.
    assert!((5..=9).contains(&taken), "{taken} of the flood were taken");
    let held = receiver.context.in_flight().bytes();
    assert!((300_000..=600_000).contains(&held), "{held}");

    // Fifty requests of the other are all taken, beside the flood.
    let others: Vec<_> = (1..=50)
        .map(|id| {
            tokio::spawn(send(
                receiver.url("/v1/traces"),
                SENDS,
                request(vec![span(id)]),
            ))
        })
        .collect();
    within(async {
        while receiver.counters().spans_received < taken + 50 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    receiver.open();
    for answer in others {
        assert_eq!(within(answer).await.unwrap().unwrap(), 200);
    }
    // What was taken of the flood is answered too, and what it held is given back.
    let flood: Vec<_> = within(flood.collect::<Vec<_>>()).await;
    let (kept, refused): (Vec<_>, Vec<_>) = flood
        .into_iter()
        .map(|answer| answer.unwrap().unwrap())
        .partition(|status| *status == 200);
    assert_eq!(kept.len() as u64, taken);
    assert!(refused.iter().all(|status| *status == 503));
    assert_eq!(receiver.context.in_flight().bytes(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_has_every_connection_makes_room_for_another() {
    const PLACES: usize = 6;
    let options = Options {
        max_connections: PLACES,
        ..Options::default()
    };
    let receiver = receiver_with(options, 1_000).await;
    // They have asked once, and stay.
    let mut crowd = Vec::new();
    for _ in 0..PLACES {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((IpAddr::from(FLOODS), 0).into()).unwrap();
        let mut stream = socket.connect(receiver.http).await.unwrap();
        stream
            .write_all(b"GET /v1/traces HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        let mut status = [0; 12];
        within(stream.read_exact(&mut status)).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 405");
        crowd.push(stream);
    }
    let more = send(receiver.url("/v1/traces"), FLOODS, request(vec![span(1)]));
    assert!(
        within(more).await.is_err(),
        "nobody makes room for more of it"
    );
    let other = send(receiver.url("/v1/traces"), SENDS, request(vec![span(2)]));
    assert_eq!(within(other).await.unwrap(), 200);
    assert_eq!(receiver.names(), ["span 2"]);
    // The one that was silent for the longest is closed, the others are served on.
    let mut rest = Vec::new();
    within(crowd[0].read_to_end(&mut rest)).await.unwrap();
    crowd[1]
        .write_all(b"GET /v1/traces HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    within(crowd[1].read_to_end(&mut rest)).await.unwrap();
    assert!(String::from_utf8_lossy(&rest).ends_with('}'));
    assert_eq!(receiver.counters().refused_connections, 2);
}
